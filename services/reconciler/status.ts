/** The public statuses and their one sentence: pure functions over what is asked and what was seen. */
import type { Row } from './pass.ts';

/** Every platform calls its database and the rollout of the server itself by these ids. */
export const DATABASE = 'database';
export const ROLLOUT = 'service';

/** How a revision ended, seen once and then kept. */
export type Verdict = 'DEPLOYED' | 'CREATE_FAILED' | 'BUILD_FAILED' | 'DEPLOY_FAILED' | 'SKIPPED' | 'INTERRUPTED';
export type RevisionStatus =
  Verdict | 'QUEUED' | 'CREATING' | 'AWAITING_BUILD' | 'BUILDING' | 'AWAITING_DEPLOY' | 'DEPLOYING';
export type DeploymentStatus =
  'AWAITING_DATABASE' | 'READY' | 'UNUSED' | 'AWAITING_DELETE' | 'AWAITING_FINAL_DELETE' | 'UNKNOWN';

export interface Judged<Status> {
  readonly status: Status;
  /** One sentence with the cause; null when there is nothing to say. */
  readonly message: string | null;
}

export const isVerdict = (status: RevisionStatus): status is Verdict =>
  ['DEPLOYED', 'CREATE_FAILED', 'BUILD_FAILED', 'DEPLOY_FAILED', 'SKIPPED', 'INTERRUPTED'].includes(status);

export const isFailure = (verdict: Verdict): boolean => verdict.endsWith('_FAILED');

/**
 * Of the revision that is carried out: every other one has ended, or ends when this one is seen.
 * @param rows of what its graph wants, in build order
 */
export function revisionStatus(revisionId: string, rows: readonly Row[], now: Date): Judged<RevisionStatus> {
  const seen = rows.filter((row) => row.generation === revisionId);
  const rollout = rows.findIndex((row) => row.id === ROLLOUT);
  const failed = rows.findIndex((row) => row.generation === revisionId && row.state.state === 'failed');
  if (failed >= 0) {
    const status = rollout >= 0 && failed >= rollout ? 'DEPLOY_FAILED' : 'CREATE_FAILED';
    return { status, message: sentence(rows[failed]!) };
  }
  if (seen.length === 0) return { status: 'CREATING', message: null };
  const database = rows.find((row) => row.id === DATABASE);
  if (database && !isReady(database)) return { status: 'CREATING', message: trouble(seen, now) };
  if (seen.length === rows.length && rows.every(isReady)) return { status: 'DEPLOYED', message: null };
  const before = rollout < 0 ? rows : rows.slice(0, rollout);
  const isRolling = before.every((row) => isReady(row) && row.generation === revisionId);
  return { status: isRolling ? 'DEPLOYING' : 'AWAITING_DEPLOY', message: trouble(seen, now) };
}

export interface DeploymentFacts {
  readonly source: string;
  readonly isDeleted: boolean;
  /** Until when its delete can be undone @default it cannot be, or not any more */
  readonly undoUntil?: Date | null;
  /** Why the place cannot be entered, when it cannot. */
  readonly unreachable: string | null;
  /** The newest revision that was asked to deploy. */
  readonly newest: { readonly number: number; readonly verdict: Judged<Verdict> | null } | null;
  /** The last one that was rolled out. */
  readonly active: { readonly number: number } | null;
  /** Whether a revision is carried out, or looked after; without one only the foundation is laid. */
  readonly hasTarget: boolean;
  /** The last status that was seen while the place could be entered. */
  readonly lastKnown: DeploymentStatus | null;
  /** What was lost that cannot be made again. */
  readonly alarm: { readonly name: string; readonly resource: string; readonly what_to_do: string } | null;
}

/** What takes an image when building from an archive, which is what that source is for, is not available. */
export const INSTEAD_OF_BUILDING = 'source_revision_config.image_uri with revision_source "internal_docker"';

const next = (source: string): string =>
  "no revision yet: what takes long is ready: push an image to this account's ECR and PATCH " +
  (source === 'internal_source' ? INSTEAD_OF_BUILDING : 'source_revision_config.image_uri');

/** @param rows of what the target's graph, or the foundation, wants in build order, then of what is being removed */
export function deploymentStatus(facts: DeploymentFacts, rows: readonly Row[], now: Date): Judged<DeploymentStatus> {
  const { newest, active, lastKnown, unreachable, alarm } = facts;
  if (facts.isDeleted) {
    const why = unreachable ?? trouble(rows, now);
    if (!facts.undoUntil) return { status: 'AWAITING_DELETE', message: why };
    const undo = `deleted: until ${instant(facts.undoUntil)} an undelete brings it back, then its data goes, too`;
    return { status: 'AWAITING_FINAL_DELETE', message: why === null ? undo : `${undo}; ${why}` };
  }
  if (unreachable !== null) {
    const last = lastKnown ? ` (last known: ${lastKnown})` : '';
    return { status: 'UNKNOWN', message: `${unreachable}${last}` };
  }
  const ended = newest?.verdict && newest.verdict.status !== 'DEPLOYED' ? newest.verdict : null;
  const message = alarm
    ? `${alarm.name}: ${alarm.resource}: ${alarm.what_to_do}`
    : ended
      ? `revision ${newest!.number} ${ended.status}: ${ended.message}` +
        (active ? `; revision ${active.number} serves` : '; no revision serves yet')
      : trouble(rows, now);
  const database = rows.find((row) => row.id === DATABASE);
  if (active === null && database && !isReady(database)) {
    // How the last revision ended is not what is waited for, unless the database is why.
    const waits = ended && database.state.state !== 'failed' ? `; ${sentence(database)}${soFar(database, now)}` : '';
    return { status: 'AWAITING_DATABASE', message: message && message + waits };
  }
  // As before its first one was ready: nothing works without it, and nobody should take it for well.
  if (alarm?.resource === DATABASE) return { status: 'AWAITING_DATABASE', message };
  return facts.hasTarget ? { status: 'READY', message } : { status: 'UNUSED', message: message ?? next(facts.source) };
}

/**
 * The first resource that went wrong, else the first that waits for AWS rather than for another resource, else the
 * first that others changed and that is left so.
 */
function trouble(rows: readonly Row[], now: Date): string | null {
  const bad = rows.find((row) => row.state.state === 'failed') ?? rows.find((row) => row.state.state === 'retrying');
  if (bad) return sentence(bad);
  const waits = rows.find(
    (row) => row.state.state === 'waiting' && row.inputs !== null && !/^(needs|used by) /.test(row.state.message),
  );
  if (waits) return `${sentence(waits)}${soFar(waits, now)}`;
  const differs = rows.find((row) => isReady(row) && row.state.message !== '');
  return differs ? sentence(differs) : null;
}

/** In whole minutes, so that the sentence is another one once a minute and not at each look. */
function soFar(row: Row, now: Date): string {
  const minutes = row.busySince === null ? 0 : Math.floor((now.getTime() - row.busySince.getTime()) / 60_000);
  if (minutes < 1) return '';
  return `; ${minutes} ${minutes === 1 ? 'minute' : 'minutes'} so far`;
}

/** To the second. */
export const instant = (at: Date): string => at.toISOString().replace(/\.\d+Z$/, 'Z');

const isReady = (row: Row): boolean => row.state.state === 'ready';
const sentence = (row: Row): string => `${row.id}: ${row.state.message}`;
