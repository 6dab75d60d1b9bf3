/**
 * From a request to a revision: made of the one before and of what the request gives. What goes to the account (the
 * image's digest, the secret's new version) is done before the store is written; a version that no revision came to use
 * is swept by a later pass.
 */
import type { Place } from '../../reconciler/place.ts';
import { isVerdict } from '../../reconciler/status.ts';
import type { Fence, Owner } from '../cloud.ts';
import type { Reference, Tx } from '../store/database.ts';
import {
  BeingDeleted,
  changeDeployment,
  intentOf,
  isRunnable,
  requireAlive,
  revisionsBefore,
  type Before,
  type DeploymentChange,
  type DeploymentRow,
  type RevisionIntent,
  type RevisionRow,
} from '../store/deployments.ts';
import type { ApiOptions } from './context.ts';
import { bad, inAccount } from './errors.ts';
import { beingDeleted, placeAround } from './find.ts';
import {
  applied,
  checkPublic,
  checkRunnable,
  checkTaskRole,
  contentOf,
  nothingYet,
  type Given,
  type RevisionRequest,
  type Source,
} from './intent.ts';
import { planRevision, requirePlan, type ShownPlan } from './planning.ts';
import { shownReference } from './shown.ts';
import type { DeploymentType } from './sizes.ts';
import {
  checkDatabase,
  checkVariables,
  notWritten,
  valuesOf,
  type ReferenceRequest,
  type Secret,
  type Written,
} from './variables.ts';

export interface Making {
  /** Made twice: to see whether it can be, and, when the values were written, of what is newest then. */
  next(before: RevisionIntent, type: DeploymentType, written: Written): RevisionIntent;
  /** Whose values are written in between. */
  readonly secrets?: readonly Secret[] | null;
  /** Whether what it runs was looked up just now. */
  readonly isFresh?: boolean;
  /** Whether it inherits of nothing that has failed. Else of the newest, whatever became of it, which it may mend. */
  readonly isOnStanding?: boolean;
  /** Whether it is no use without something to run; else that may come with a later request. */
  readonly mustRun?: boolean;
  /** Told of the new revision in the transaction that adds it. */
  readonly noted?: (tx: Tx, revisionId: string) => Promise<void>;
  /** The hash of the plan that it must be. */
  readonly plan?: string | null;
}

/**
 * Adds a revision, and changes the deployment besides.
 * @returns its id; null: there is nothing to run yet, and what was asked is kept for the first revision
 */
export async function add(
  options: ApiOptions,
  place: Place,
  row: DeploymentRow,
  change: DeploymentChange,
  making: Making,
): Promise<string | null> {
  const { digestKey } = options;
  const { make, intent } = await prepare(options, place, row, making);
  const plan = making.plan ?? null;
  const held = plan === null ? undefined : requirePlan(await planRevision(options, place, row, change, intent), plan);
  const written = { versionId: await writeSecrets(options, place, row, making.secrets ?? []), digestKey };
  const next: Parameters<typeof changed>[3] = (before, now) => ({ ...make(before, now, written), plan });
  return changed(options, row.id, change, next, { held, noted: making.noted });
}

/** What `add` would do in the account. Nothing is written. */
export async function preview(
  options: ApiOptions,
  place: Place,
  row: DeploymentRow,
  change: DeploymentChange,
  making: Making,
): Promise<ShownPlan> {
  const { intent } = await prepare(options, place, row, making);
  return (await planRevision(options, place, row, change, intent)).shown;
}

/** Sees whether it can be. */
async function prepare(
  options: ApiOptions,
  place: Place,
  row: DeploymentRow,
  { next, isFresh = false, isOnStanding = false, mustRun = false }: Making,
) {
  const { db, digestKey, agentAuth } = options;
  const make = ({ newest, standing, serving }: Before, now: Pick<DeploymentRow, 'type' | 'base'>, written: Written) => {
    const inherited = isOnStanding ? (standing ?? newest) : newest;
    const before = inherited
      ? intentOf(inherited)
      : { ...nothingYet(now.type, row.source as Source, agentAuth), ...now.base };
    // Where we are reached is no part of what was asked before.
    const intent = { ...next(before, now.type, written), agentAuth };
    if (newest || mustRun || isRunnable(intent)) checkRunnable(intent);
    checkDatabase(intent, serving && intentOf(serving));
    checkPublic(place, intent);
    return intent;
  };
  const before = await revisionsBefore(db, row.id);
  const intent = make(before, row, notWritten(digestKey));
  await checkSize(options, intent);
  if (!isFresh) await checkThere(options, place, row, intent);
  return { make, intent };
}

export interface Made {
  readonly place: Place;
  readonly making: Making;
}

export async function revising(
  options: ApiOptions,
  row: DeploymentRow,
  request: RevisionRequest,
  mustRun: boolean,
): Promise<Made> {
  const place = await placeAround(options.db, row);
  const given = await givenOf(options, place, row, row.source as Source, request);
  const making: Making = {
    next: (before, type, written) => applied(given, before, type, written),
    secrets: given.secrets,
    isFresh: given.image !== null || given.content.build?.tarball !== undefined,
    mustRun,
  };
  return { place, making };
}

/** Adds a revision that asks for all that an earlier one did. @throws ApiError when some of it is there no more */
export async function redeploy(
  options: ApiOptions,
  row: DeploymentRow,
  old: RevisionRow,
  noted?: Making['noted'],
): Promise<string | null> {
  const { place, making } = await redeploying(options, row, old);
  return add(options, place, row, {}, { ...making, ...(noted && { noted }) });
}

export async function redeploying(options: ApiOptions, row: DeploymentRow, old: RevisionRow): Promise<Made> {
  await checkProven(options, row, old);
  const place = await placeAround(options.db, row);
  await checkValues(options, place, row, old);
  const references = await resolve(options, place, old.secret_references.map(shownReference));
  return { place, making: { next: () => ({ ...intentOf(old), references }) } };
}

/** What a request gives, checked by itself and looked up in the account. */
export async function givenOf(
  options: ApiOptions,
  place: Place,
  owner: Owner,
  source: Source,
  request: RevisionRequest,
): Promise<Given> {
  const { cloud } = options;
  const content = contentOf(source, request);
  const secrets = unlessEmpty(request.secrets);
  const references = request.secret_references ?? null;
  checkVariables(secrets ?? [], references ?? []);
  const taskRole = request.task_role_arn ?? null;
  checkTaskRole(place, taskRole);
  const image = content.imageUri === null ? null : await inAccount(cloud.image(place, content.imageUri));
  if (content.build?.tarball) await inAccount(cloud.upload(place, owner, content.build.tarball));
  return {
    content,
    image,
    resourceSpec: request.source_config?.resource_spec ?? null,
    secrets,
    references: references && (await resolve(options, place, references)),
    taskRole,
  };
}

export const unlessEmpty = <T>(list: T[] | null | undefined): T[] | null => (list && list.length > 0 ? list : null);

/** Finds the secrets of the customer's own. */
const resolve = ({ cloud }: ApiOptions, place: Place, references: readonly ReferenceRequest[]): Promise<Reference[]> =>
  Promise.all(
    references.map(async ({ name, secret_name: secretName, secret_key }): Promise<Reference> => {
      const secretKey = secret_key || null;
      const arn = await inAccount(cloud.secretReference(place, secretName, secretKey));
      return { name, secretName, secretKey, arn };
    }),
  );

/** @throws ApiError when the platform has none so large */
export const checkSize = ({ cloud }: ApiOptions, { resources }: RevisionIntent): Promise<unknown> =>
  inAccount(Promise.resolve().then(() => cloud.taskSize(resources)));

/** What an earlier revision ran may be gone by now. */
async function checkThere({ cloud }: ApiOptions, place: Place, owner: Owner, { image, build }: RevisionIntent) {
  if (image !== null) await inAccount(cloud.image(place, image));
  else if (build?.tarball) await inAccount(cloud.upload(place, owner, build.tarball));
}

/**
 * One goes back to what has served. Only the newest is tried again whatever became of it: what failed may have been
 * mended meanwhile.
 *
 * @throws ApiError when an earlier revision never was deployed
 */
async function checkProven({ db }: ApiOptions, row: DeploymentRow, old: RevisionRow): Promise<void> {
  const { number, status, status_message: message } = old;
  if (!isVerdict(status) || status === 'DEPLOYED') return;
  if ((await revisionsBefore(db, row.id)).newest?.id === old.id) return;
  throw bad(
    `revision ${number} cannot be redeployed: it never was deployed: ${status}${message === null ? '' : `: ${message}`}: ` +
      'redeploy one that is DEPLOYED, or PATCH the deployment',
  );
}

/** @throws ApiError when values that an earlier revision had are kept no more */
async function checkValues({ cloud }: ApiOptions, place: Place, owner: Owner, old: RevisionRow): Promise<void> {
  const versions = [...new Set(old.environment.map((variable) => variable.versionId))];
  if (versions.length === 0) return;
  const lost = await inAccount(cloud.lostVersions(place, owner, versions));
  const names = old.environment.filter(({ versionId }) => lost.includes(versionId)).map(({ name }) => `"${name}"`);
  if (names.length > 0)
    throw bad(
      `revision ${old.number} cannot be redeployed: its values of ${names.join(', ')} are kept no more: ` +
        'PATCH the deployment with its image and with these values instead',
    );
}

/** @returns the version that the values are in; null: none was given */
export async function writeSecrets(
  options: ApiOptions,
  place: Place,
  owner: Owner,
  secrets: readonly Secret[],
): Promise<string | null> {
  const values = valuesOf(secrets);
  if (Object.keys(values).length === 0) return null;
  return inAccount(options.cloud.writeEnvironment(place, owner, values, fenceOf(options, owner.id)));
}

/** A request may take so long that the deployment is deleted meanwhile, by others. */
export const fenceOf =
  ({ db }: ApiOptions, id: string): Fence =>
  () =>
    orBeingDeleted(id, requireAlive(db, id));

async function orBeingDeleted<T>(id: string, act: Promise<T>): Promise<T> {
  try {
    return await act;
  } catch (error) {
    if (error instanceof BeingDeleted) throw beingDeleted(id, error.undoUntil);
    throw error;
  }
}

/** @throws ApiError 409 when its delete was asked for in the meantime */
export const changed = (
  { db, looks }: ApiOptions,
  id: string,
  change: DeploymentChange,
  next: Parameters<typeof changeDeployment>[4],
  also?: Parameters<typeof changeDeployment>[5],
): Promise<string | null> => orBeingDeleted(id, changeDeployment(db, looks, id, change, next, also));
