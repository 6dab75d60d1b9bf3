/**
 * What a deployment is to be, by all that was asked of it and what came of that. Pure: the worker carries it out, and
 * the API plans it.
 */
import type { Place } from '../reconciler/place.ts';
import type { Graph } from '../reconciler/resource.ts';
import type { DeploymentSpec, ServerSpec } from '../reconciler/spec.ts';
import { INSTEAD_OF_BUILDING, isFailure, type Judged, type Verdict } from '../reconciler/status.ts';
import type { Cloud } from './cloud.ts';
import type { Seen, SeenRevision } from './store/observed.ts';

/** Secrets Manager keeps twenty labels: two are its own, and the rest is for versions of requests just now. */
const VERSIONS_KEPT = 10;

export const NOT_BUILT =
  "building from an uploaded archive is not available yet: build the image, push it to this account's ECR, and PATCH " +
  INSTEAD_OF_BUILDING;

/** A verdict that needs no look at the account. */
function foregone(revision: SeenRevision, isDeleted: boolean): Judged<Verdict> | null {
  if (revision.verdict !== null) return null;
  if (revision.isInterrupted) return { status: 'INTERRUPTED', message: 'interrupted on request' };
  if (isDeleted) return stopped(revision, 'the deployment is being deleted');
  return revision.image === null ? { status: 'BUILD_FAILED', message: NOT_BUILT } : null;
}

/** What is foregone, and all that is seen with it. */
export function concluded(seen: Seen): { readonly judged: ReadonlyMap<string, Judged<Verdict>>; readonly seen: Seen } {
  const judged = new Map<string, Judged<Verdict>>();
  for (const revision of seen.revisions) {
    const verdict = foregone(revision, seen.isDeleted);
    if (verdict !== null) judged.set(revision.id, verdict);
  }
  const revisions = seen.revisions.map((each) => ({ ...each, verdict: judged.get(each.id) ?? each.verdict }));
  return { judged, seen: { ...seen, revisions } };
}

export const stopped = ({ startedAt }: SeenRevision, message: string): Judged<'SKIPPED' | 'INTERRUPTED'> => ({
  status: startedAt === null ? 'SKIPPED' : 'INTERRUPTED',
  message,
});

/** Ended before it was carried out: nothing in the account is of it. */
const neverRan = ({ verdict, startedAt }: SeenRevision): boolean =>
  verdict !== null &&
  (verdict.status === 'BUILD_FAILED' ||
    verdict.status === 'SKIPPED' ||
    (verdict.status === 'INTERRUPTED' && startedAt === null));

/** The newest that had, or has, a say in what runs in the account. */
export const lastWord = (seen: Pick<Seen, 'revisions'>): SeenRevision | undefined =>
  seen.revisions.find((revision) => !neverRan(revision));

/**
 * The newest revision, unless it has come to a bad end: then the one that serves. When none does, one that failed
 * stays: AWS has given it up, so it is observed, and everything that it made can be seen. One that was interrupted does
 * not: undefined, only the foundation is wanted, and whatever ran of it is removed.
 */
export function targetOf(seen: Pick<Seen, 'revisions' | 'activeRevisionId'>): SeenRevision | undefined {
  const last = lastWord(seen);
  if (last === undefined || last.verdict === null || last.verdict.status === 'DEPLOYED') return last;
  const active = seen.revisions.find((revision) => revision.id === seen.activeRevisionId);
  return active ?? (isFailure(last.verdict.status) ? last : undefined);
}

/** What the next revision inherits: of the newest one, or of the create. */
const inherited = ({ revisions, deployment }: Pick<Seen, 'revisions' | 'deployment'>) =>
  revisions[0] ?? deployment.base ?? { environment: [], references: [] };

/**
 * Secret versions that must stay: of the target, of the one that serves, of those that wait, and those that the next
 * one inherits; then, as long as there is room, of earlier revisions that one may want to go back to.
 */
export function retainedVersions(seen: Pick<Seen, 'revisions' | 'activeRevisionId' | 'deployment'>): string[] {
  const target = targetOf(seen);
  const active = seen.revisions.find((revision) => revision.id === seen.activeRevisionId);
  const versions = new Set<string>();
  const open = seen.revisions.filter((revision) => revision.verdict === null);
  for (const needed of [target, active, inherited(seen), ...open])
    for (const { versionId } of needed?.environment ?? []) versions.add(versionId);
  for (const revision of seen.revisions) {
    const more = new Set([...versions, ...revision.environment.map((variable) => variable.versionId)]);
    if (more.size > VERSIONS_KEPT) break;
    for (const version of more) versions.add(version);
  }
  return [...versions];
}

/** What the next pass is for. */
export interface Wanted {
  /** Undefined: only the foundation is laid. */
  readonly target: SeenRevision | undefined;
  readonly graph: Graph;
  readonly generation: string;
  /** The target has failed, and nothing else serves: it is only looked at. */
  readonly observeOnly: boolean;
}

export function wanted(cloud: Pick<Cloud, 'graph' | 'foundation'>, seen: Seen, place: Place): Wanted {
  const target = targetOf(seen);
  const graph = target
    ? cloud.graph(serverSpec(seen, target), place)
    : cloud.foundation(specOf(seen, inherited(seen)), place);
  // Another size or safety may be what mends a database that could not be made.
  const { type, databaseTier } = seen.deployment;
  const generation = target?.id ?? `foundation ${type} ${databaseTier}`;
  const observeOnly = target !== undefined && target.verdict !== null && target.verdict.status !== 'DEPLOYED';
  return { target, graph, generation, observeOnly };
}

/** What stays while a delete can be undone, beside what holds data: logs, images, and what a database is reached by. */
export const lasting = (cloud: Pick<Cloud, 'foundation'>, seen: Seen, place: Place): ReadonlySet<string> =>
  new Set(cloud.foundation(specOf(seen, inherited(seen)), place).nodes.map((node) => node.id));

function serverSpec(seen: Seen, target: SeenRevision): ServerSpec {
  const { id, number, image, resources, agentAuth, taskRole } = target;
  if (image === null) throw new Error('a revision without an image cannot be carried out');
  return { ...specOf(seen, target), revision: { id, number }, image, resources, agentAuth, taskRole };
}

function specOf(
  seen: Seen,
  { environment, references }: Pick<SeenRevision, 'environment' | 'references'>,
): DeploymentSpec {
  const { id, name, workspaceId, type, databaseTier, databaseCa, source } = seen.deployment;
  return {
    deployment: { id, name, workspaceId },
    type,
    databaseTier,
    ...(databaseCa !== undefined && { databaseCa }),
    source,
    environment: environment.map(({ name, versionId }) => ({ name, versionId })),
    references: references.map(({ name, arn, secretKey }) => ({ name, arn, key: secretKey })),
    retainedSecretVersions: retainedVersions(seen),
    ...(seen.activeRevisionId !== null && { served: true }),
  };
}
