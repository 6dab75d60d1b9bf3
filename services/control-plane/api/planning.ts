/**
 * What a request would do in the account, told before it is done: the walk of a pass, writing nothing. A request that
 * names a plan's hash is refused unless it would do just that.
 */
import type { z } from '@hono/zod-openapi';
import { DEFAULT_POLICY } from '../../reconciler/drift.ts';
import type { Place } from '../../reconciler/place.ts';
import { digest, plan as planOf, type Obstacle, type Plan, type Step } from '../../reconciler/plan.ts';
import { planText } from '../../reconciler/plan-text.ts';
import { AS_OF, CURRENCY, NOT_INCLUDED, monthlyPrice } from '../../reconciler/prices.ts';
import type { Owner } from '../cloud.ts';
import { redact } from '../redact.ts';
import {
  revisionsBefore,
  secretDigests,
  type DeploymentChange,
  type DeploymentRow,
  type RevisionIntent,
} from '../store/deployments.ts';
import { peek, rowsOf, type Seen, type SeenRevision } from '../store/observed.ts';
import { concluded, wanted } from '../target.ts';
import type { ApiOptions } from './context.ts';
import { ApiError, inAccount } from './errors.ts';
import { beingDeleted, placeAround } from './find.ts';
import type * as schemas from './schemas.ts';

export type ShownPlan = z.infer<typeof schemas.plan>;

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
export async function planPresent(options: ApiOptions, row: DeploymentRow): Promise<ShownPlan> {
  const place = await placeAround(options.db, row);
  return planFor(options, place, await seenOf(options, row), null);
}

/**
 * Of a request that changes nothing in the account.
 * @returns its plan, when that is all that is asked for
 * @throws ApiError 409 when it is not what was planned
 */
export async function planNothing(options: ApiOptions, row: DeploymentRow, terms: Terms): Promise<ShownPlan | null> {
  if (!terms.dryRun && terms.plan === null) return null;
  const plan = await planPresent(options, row);
  if (terms.dryRun) return plan;
  requirePlan(plan, terms.plan!);
  return null;
}

/** Of a revision that a deployment would be given. */
export async function planRevision(
  options: ApiOptions,
  place: Place,
  row: DeploymentRow,
  change: DeploymentChange,
  intent: RevisionIntent,
): Promise<ShownPlan> {
  const seen = await seenOf(options, row);
  const { newest } = await revisionsBefore(options.db, row.id);
  const deployment = {
    ...seen.deployment,
    ...(change.type ? { type: change.type } : {}),
    ...(change.databaseTier ? { databaseTier: change.databaseTier } : {}),
  };
  const next = { ...seen, deployment };
  return planFor(options, place, withRevision(next, intent, (newest?.number ?? 0) + 1), intent);
}

/** Of a deployment that is not there yet. */
export function planDeployment(
  options: ApiOptions,
  place: Place,
  owner: Owner & { readonly workspaceId: string; readonly source: string; readonly type: 'dev' | 'prod' },
  intent: RevisionIntent,
): Promise<ShownPlan> {
  const seen: Seen = {
    epoch: 0,
    asked: 0,
    deployment: { ...owner, placeId: place.id, databaseTier: null, driftPolicy: DEFAULT_POLICY, base: null },
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
  return planFor(options, place, withRevision(seen, intent, 1), intent);
}

async function seenOf({ db }: ApiOptions, row: DeploymentRow): Promise<Seen> {
  const seen = await peek(db, row.id);
  if (seen === undefined || seen.isDeleted) throw beingDeleted(row.id, seen?.undo?.until ?? null);
  return seen;
}

/** Stands for the id of a revision that is not there yet. */
const NEXT = '(known when it is accepted)';

function withRevision(seen: Seen, intent: RevisionIntent, number: number): Seen {
  const { image, build, resources, environment, references, agentAuth } = intent;
  // As when it is accepted: what has nothing to run is kept for the first revision.
  if (image === null && !build?.tarball) return { ...seen, deployment: { ...seen.deployment, base: intent } };
  const fresh = { isInterrupted: false, startedAt: null, status: 'CREATING', verdict: null } as const;
  const next: SeenRevision = { id: NEXT, number, image, resources, environment, references, agentAuth, ...fresh };
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
  const entered = await inAccount(cloud.enter(place, deployment));
  const plan = await planOf({
    graph,
    generation,
    observeOnly,
    kinds: cloud.kinds,
    rows: await rowsOf(db, deployment.id, seen.epoch).all(),
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
  const { name, type, databaseTier, source } = deployment;
  const variables = intent?.environment.map(({ name, digest }) => [name, digest]);
  const references = intent?.references.map(({ name, arn, secretKey }) => [name, arn, secretKey]);
  const runs = intent && [intent.source, intent.image, intent.build, intent.resources, intent.agentAuth];
  return [place.id, name, type, databaseTier, source, runs, variables, references];
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

/** @throws ApiError 409 unless the request would do just what was planned */
export function requirePlan({ hash, text }: ShownPlan, planned: string): void {
  if (hash === planned) return;
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

export const planPassed = (why: string): ApiError => new ApiError(409, `The plan does not hold: ${why}`);
