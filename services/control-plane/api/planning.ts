/**
 * What a request would do in the account, told before it is done: the walk of a pass, writing nothing. A request that
 * names a plan's hash is refused unless it would do just that.
 */
import { isDeepStrictEqual } from 'node:util';
import type { z } from '@hono/zod-openapi';
import { DEFAULT_POLICY, type DriftPolicy } from '../../reconciler/drift.ts';
import type { Place } from '../../reconciler/place.ts';
import { digest, plan as planOf, type Obstacle, type Plan, type Step } from '../../reconciler/plan.ts';
import { planText } from '../../reconciler/plan-text.ts';
import { AS_OF, CURRENCY, NOT_INCLUDED, monthlyPrice } from '../../reconciler/prices.ts';
import type { Owner } from '../cloud.ts';
import { redact } from '../redact.ts';
import type { Tx } from '../store/database.ts';
import { secretDigests, type DeploymentChange, type DeploymentRow, type RevisionIntent } from '../store/deployments.ts';
import { hold, peek, rowsOf, type Seen, type SeenRevision } from '../store/observed.ts';
import { concluded, wanted } from '../target.ts';
import type { ApiOptions } from './context.ts';
import { ApiError, inAccount } from './errors.ts';
import { beingDeleted, placeAround } from './find.ts';
import type * as schemas from './schemas.ts';

export type ShownPlan = z.infer<typeof schemas.plan>;

export interface Planned {
  readonly shown: ShownPlan;
  /** What the store had then, of which the plan was made. */
  readonly of: Seen;
}

/** In the transaction that does what was planned. @throws ApiError 409 when the plan would be made of something else */
export type Held = (tx: Tx) => Promise<void>;

/** How a request wants what it asks for. */
export interface Terms {
  /** Not at all: only to see what it would do. */
  readonly dryRun: boolean;
  /** The hash of the plan that it must be. */
  readonly plan: string | null;
}

export const termsOf = (query: z.infer<typeof schemas.termsQuery>): Terms => ({
  dryRun: query.dry_run ?? false,
  plan: query.plan || null,
});

/** Of a deployment as it is asked for now: what others have changed, and what is under way. */
export async function planPresent(options: ApiOptions, row: DeploymentRow, change: DeploymentChange): Promise<Planned> {
  const place = await placeAround(options.db, row);
  const seen = await seenOf(options, row);
  return { shown: await planFor(options, place, withChange(seen, change), null), of: seen };
}

/**
 * Of a request that changes nothing in the account.
 * @returns its plan, when that is all that is asked for
 * @throws ApiError 409 when it is not what was planned
 */
export async function planNothing(
  options: ApiOptions,
  row: DeploymentRow,
  change: DeploymentChange,
  terms: Terms,
): Promise<{ readonly plan: ShownPlan | null; readonly held?: Held }> {
  if (!terms.dryRun && terms.plan === null) return { plan: null };
  const plan = await planPresent(options, row, change);
  return terms.dryRun ? { plan: plan.shown } : { plan: null, held: requirePlan(plan, terms.plan!) };
}

/** Of a revision that a deployment would be given. */
export async function planRevision(
  options: ApiOptions,
  place: Place,
  row: DeploymentRow,
  change: DeploymentChange,
  intent: RevisionIntent,
): Promise<Planned> {
  const seen = await seenOf(options, row);
  const next = withRevision(withChange(seen, change), intent, (seen.revisions[0]?.number ?? 0) + 1);
  return { shown: await planFor(options, place, next, intent), of: seen };
}

function withChange(seen: Seen, { type, databaseTier, driftPolicy }: DeploymentChange): Seen {
  const given = { ...(type && { type }), ...(databaseTier && { databaseTier }), ...(driftPolicy && { driftPolicy }) };
  return { ...seen, deployment: { ...seen.deployment, ...given } };
}

/** Of a deployment that is not there yet. */
export async function planDeployment(
  options: ApiOptions,
  place: Place,
  owner: Owner & {
    readonly workspaceId: string;
    readonly source: string;
    readonly type: 'dev' | 'prod';
    readonly driftPolicy: DriftPolicy | null;
  },
  intent: RevisionIntent,
): Promise<Planned> {
  const seen: Seen = {
    epoch: 0,
    asked: 0,
    deployment: {
      ...owner,
      placeId: place.id,
      databaseTier: null,
      driftPolicy: owner.driftPolicy ?? DEFAULT_POLICY,
      askedBy: null,
      base: null,
    },
    isDeleted: false,
    undo: null,
    isDraft: true,
    place,
    activeRevisionId: null,
    knownStatus: null,
    alarm: null,
    drifted: new Set(),
    revisions: [],
  };
  return { shown: await planFor(options, place, withRevision(seen, intent, 1), intent), of: seen };
}

async function seenOf({ db }: ApiOptions, row: DeploymentRow): Promise<Seen> {
  const seen = await peek(db, row.id);
  if (seen === undefined || seen.isDeleted) throw beingDeleted(row.id, seen?.undo?.until ?? null);
  return seen;
}

/** Stands for the id of a revision that is not there yet. */
const NEXT = '(known when it is accepted)';

function withRevision(seen: Seen, intent: RevisionIntent, number: number): Seen {
  const { image, build, resources, environment, references, agentAuth, taskRole = null } = intent;
  // As when it is accepted: what has nothing to run is kept for the first revision.
  if (image === null && !build?.tarball) return { ...seen, deployment: { ...seen.deployment, base: intent } };
  const fresh = { isInterrupted: false, startedAt: null, status: 'CREATING', verdict: null } as const;
  const asked = { image, resources, environment, references, agentAuth, taskRole };
  const next: SeenRevision = { id: NEXT, number, ...asked, ...fresh };
  return { ...seen, revisions: [next, ...seen.revisions] };
}

async function planFor(
  options: ApiOptions,
  place: Place,
  asked: Seen,
  intent: RevisionIntent | null,
): Promise<ShownPlan> {
  const { db, cloud, digestKey } = options;
  const { judged, seen } = concluded(asked);
  const { deployment } = seen;
  const { target, graph, generation, observeOnly } = wanted(cloud, seen, seen.place ?? place);
  const secrets = await secretDigests(db, deployment.id);
  const entered = await inAccount(cloud.enter(place, deployment, 'reads'));
  const plan = await planOf({
    graph,
    generation,
    observeOnly,
    kinds: cloud.kinds,
    rows: await rowsOf(db, deployment.id, seen.epoch).all(),
    driftPolicy: deployment.driftPolicy,
    drifted: seen.drifted,
    cx: (nodeId) => entered.cx(nodeId),
    conceal: (text) => redact(text, digestKey, secrets),
  });
  const never = judged.get(NEXT);
  const obstacles: Obstacle[] = [
    ...(never ? [{ what: 'revision' as const, id: null, message: never.message ?? never.status }] : []),
    ...plan.obstacles,
    ...(await inAccount(cloud.obstacles(place, deployment, plan))),
  ];
  const hash = [digest(wish(seen, intent, place)), plan.found, plan.changes].join('.');
  const title =
    `${asked.isDraft ? 'Create' : 'Change'} "${deployment.name}" (${deployment.type}) in ${place.accountId}, ${place.region}` +
    (target ? `: revision ${target.number}` : ': what takes long, until there is an image');
  const whole = { ...plan, obstacles };
  return {
    deployment_id: asked.isDraft ? null : deployment.id,
    revision: target?.number ?? null,
    ...shownPlan(whole, place.region),
    hash,
    text: planText(whole, title, place.region, hash),
  };
}

/** What a hash means of what is asked: the values of secrets by their digests, and nothing that comes at random. */
function wish({ deployment }: Seen, intent: RevisionIntent | null, place: Place): unknown {
  const { name, type, databaseTier, driftPolicy, source } = deployment;
  const variables = intent?.environment.map(({ name, digest }) => [name, digest]);
  const references = intent?.references.map(({ name, arn, secretKey }) => [name, arn, secretKey]);
  const runs = intent && [intent.source, intent.image, intent.build, intent.resources, intent.agentAuth];
  // Where there is none it is left out: so hashes are what they were before there could be one.
  const role = intent?.taskRole ? [intent.taskRole] : [];
  return [place.id, name, type, databaseTier, driftPolicy, source, runs, variables, references, ...role];
}

function shownPlan(plan: Plan, region: string) {
  const { steps, unchanged, obstacles, seconds, writes, reads } = plan;
  const [before, after] = [monthlyPrice(region, plan.before), monthlyPrice(region, plan.after)];
  const known = before.amount !== null && after.amount !== null;
  return {
    changes: steps.map(shownStep),
    unchanged: [...unchanged],
    replaced: steps.filter(({ what, means }) => what === 'replace' || (what === 'remove' && means !== '')).map(idOf),
    restarted: steps.filter(({ what }) => what === 'restart').map(idOf),
    seconds: range(seconds),
    aws_calls: { writes, reads: range(reads) },
    price: {
      before: before.amount,
      after: after.amount,
      after_at_most: after.most,
      difference: known ? Math.round((after.amount - before.amount) * 100) / 100 : null,
      currency: CURRENCY,
      as_of: AS_OF,
      estimate: true as const,
      region,
      not_included: [...NOT_INCLUDED],
      message: before.why ?? after.why,
    },
    obstacles: obstacles.map(({ what, id, message }) => ({ what, resource: id, message })),
  };
}

const idOf = ({ id }: Step): string => id;
const range = ([from, to]: readonly [number, number]) => ({ from, to });
const shownStep = ({ id, kind, what, changes, means, after, seconds, writes }: Step) => ({
  resource: id,
  kind,
  action: what,
  fields: changes.map(({ field, from, to }) => ({ field, from: from ?? null, to: to ?? null })),
  means: means || null,
  after: [...after],
  seconds: range(seconds),
  writes,
});

/**
 * @returns holds it to that until it is done
 * @throws ApiError 409 unless the request would do just what was planned
 */
export function requirePlan({ shown: { hash, text }, of }: Planned, planned: string): Held {
  if (hash === planned) return async (tx) => requireSame(of, await hold(tx, of.deployment.id));
  const [is, was] = [hash.split('.'), planned.split('.')];
  const why =
    was.length !== is.length
      ? `"${planned}" is no plan's hash`
      : is[0] !== was[0]
        ? 'the request asks for something else than was planned, or of what has changed since'
        : is[1] !== was[1]
          ? 'the account is not as it was'
          : 'this version of Freehold would do something else';
  throw planPassed(`${why}. It would be:\n${text}`);
}

/** What has gone, or is being deleted, is refused in other words. */
function requireSame(was: Seen, is: Seen | undefined): void {
  if (is === undefined || is.isDeleted) return;
  if (was.revisions[0]?.id !== is.revisions[0]?.id) throw planPassed('another revision came in between');
  if (!isDeepStrictEqual(was.deployment, is.deployment)) throw planPassed('the deployment was changed in between');
  requireSamePlace(was.place, is.place);
  const ends = ({ activeRevisionId, revisions }: Seen) => [
    activeRevisionId,
    revisions.map(({ id, isInterrupted, startedAt, verdict }) => [id, isInterrupted, startedAt, verdict]),
  ];
  if (!isDeepStrictEqual(ends(was), ends(is))) throw planPassed('a revision has begun or ended in between');
}

/** Of the transaction that holds it. @throws ApiError 409 when it was registered anew */
export function requireSamePlace(was: Place | undefined, is: Place | undefined): void {
  if (!isDeepStrictEqual(was, is)) throw planPassed('the place was registered anew in between');
}

const planPassed = (why: string): ApiError => new ApiError(409, `The plan does not hold: ${why}`);
