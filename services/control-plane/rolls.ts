/**
 * A change that goes through many deployments, ring by ring: the next ring begins when all of the one before is rolled
 * out and has soaked, and nothing more begins once too many have failed. Each deployment gets a revision as from a
 * request; the looks carry it out, and put what fails back.
 */
import { ITSELF, onBehalfOf } from './asked.ts';
import { ApiError } from './api/errors.ts';
import type { ApiOptions } from './api/context.ts';
import { changeableDeployment, placeAround, revisionOf } from './api/find.ts';
import { add, redeploy, revising, type Making } from './api/revise.ts';
import type { Place } from '../reconciler/place.ts';
import {
  ChangedSince,
  NotItsTurn,
  changeRoll,
  endMember,
  failures,
  leaseRoll,
  noteEnds,
  notePatience,
  noteRevision,
  noteTrouble,
  noteUnreachable,
  pendingMembers,
  releaseRoll,
  ringCounts,
  unreachable,
  type MemberRow,
  type RollRow,
} from './store/rolls.ts';

/** Between two looks at a roll, and for how long a process has it for itself. */
const LOOK_SECONDS = 3;
const LEASE_SECONDS = 120;
/** Tried by one look, one after another: each takes a call or two to the account. */
const TRIED_A_LOOK = 20;
/** The last is begun so early that it ends within the lease, also when its account takes long. */
const TRYING_SECONDS = LEASE_SECONDS / 2;
/**
 * An account that never answered for so long is a failure, as a Kubernetes rollout without progress is. Of many, each
 * is asked rarely: that it did not answer twice, long apart, says nothing of the time in between.
 */
const UNREACHABLE = { seconds: 600, tries: 3 } as const;

/** A rollout usually takes so long: as `ecs-service` says it. */
const ROLLOUT_SECONDS = [120, 300] as const;
/**
 * Each rollout registers a task definition: one a second for an account and region, of which we take four fifths.
 * https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
 */
const REGISTRATIONS_A_SECOND = 0.8;

export interface Estimate {
  /** At least, and at most unless something fails. */
  readonly seconds: readonly [number, number];
  /** What makes it take that long. */
  readonly limitedBy: string;
}

/**
 * Pure: how long the rest of a roll takes.
 * @param rings how many are left of each, and how many of these are in the place that has most of them
 * @param took seconds of a rollout: usually, and at most
 */
export function estimate(
  rings: readonly { readonly left: number; readonly inOnePlace: number }[],
  { atOnce, soakSeconds }: { readonly atOnce: number; readonly soakSeconds: number },
  took: readonly [number, number] = ROLLOUT_SECONDS,
): Estimate {
  let [byRate, inTurns] = [false, false];
  const of = (each: number): number =>
    rings
      .filter(({ left }) => left > 0)
      .reduce((sum, { left, inOnePlace }) => {
        const inTurn = Math.ceil(left / atOnce) * each;
        const atRate = inOnePlace / REGISTRATIONS_A_SECOND + each;
        // A second or two at AWS's rate is not what a ring takes: its rollouts are.
        byRate ||= atRate > inTurn && inOnePlace / REGISTRATIONS_A_SECOND > each;
        inTurns ||= left > atOnce;
        return sum + Math.max(inTurn, atRate) + soakSeconds;
      }, 0);
  const seconds = [Math.round(of(took[0])), Math.round(of(took[1]))] as const;
  return {
    seconds,
    limitedBy: byRate
      ? 'ECS registers one task definition a second in an account and region'
      : inTurns
        ? `${atOnce} deployments at once`
        : 'each ring waits for its slowest rollout',
  };
}

/** An image of each place's own registry. */
export const imageIn = (uri: string, { accountId, region }: Place): string =>
  uri.replaceAll('{account_id}', accountId).replaceAll('{region}', region);

/** Works on every roll that is due, once. Any process may: a roll is one process's at a time. */
export async function advanceRolls(options: ApiOptions): Promise<void> {
  const seen = new Set<string>();
  for (let roll = await leaseRoll(options.db, LEASE_SECONDS); roll; roll = await leaseRoll(options.db, LEASE_SECONDS)) {
    // Due again already: for whoever comes next, since a process that stops waits for this one.
    if (seen.has(roll.id)) return releaseRoll(options.db, roll.id, 0);
    seen.add(roll.id);
    try {
      await onBehalfOf({ actor: roll.asked_by ?? ITSELF }, () => advance(options, roll));
    } catch (error) {
      options.log.error({ err: error, roll: roll.id }, 'a look at a roll failed and will be tried again');
    }
    await releaseRoll(options.db, roll.id, LOOK_SECONDS);
  }
}

/**
 * One step: what has ended is noted, then the next may begin.
 * @param seconds after so long no further one begins
 */
export async function advance(options: ApiOptions, roll: RollRow, seconds = TRYING_SECONDS): Promise<void> {
  const { db } = options;
  const end = performance.now() + seconds * 1000;
  await noteEnds(db, roll.id);
  if (roll.state !== 'RUNNING' || (await halted(options, roll))) return;
  const counts = (await ringCounts(db, [roll.id])).filter(({ ring }) => ring === roll.ring);
  const of = (state: string): number => counts.find((count) => count.state === state)?.members ?? 0;
  if (of('PENDING') + of('ROLLING') === 0) return ended(options, roll);
  let room = roll.at_once - of('ROLLING');
  // Those whose account does not answer hold up none of the others.
  for (const member of room > 0 ? await pendingMembers(db, roll, TRIED_A_LOOK) : []) {
    if ((await begin(options, roll, member)) && ((room -= 1) <= 0 || (await halted(options, roll)))) break;
    if (performance.now() >= end) break;
  }
  const message = waitsFor(await unreachable(db, roll));
  if (message !== roll.message) await changeRoll(db, roll.id, ['RUNNING'], { message });
}

function waitsFor(away: Awaited<ReturnType<typeof unreachable>>): string | null {
  if (away === undefined) return null;
  const { first, count } = away;
  const who = count === 1 ? `"${first.name}" is` : `"${first.name}" and ${count - 1} more are`;
  return `waits: ${who} not reachable: ${first.message}`;
}

/** Whether it may not go on, since too many have failed. */
async function halted({ db, log }: ApiOptions, roll: RollRow): Promise<boolean> {
  const failed = await failures(db, roll.id, roll.max_failures + 1);
  const last = failed.at(-1);
  if (last === undefined || failed.length <= roll.max_failures) return false;
  const allowed = roll.max_failures === 0 ? 'none may fail' : `${roll.max_failures} may fail`;
  const message = `halted in ring ${last.ring} of ${roll.rings.length}, ${allowed}: "${last.name}": ${last.message}`;
  if (await changeRoll(db, roll.id, ['RUNNING'], { state: 'HALTED', message })) log.warn({ roll: roll.id }, message);
  return true;
}

/** The ring at hand is rolled out: it soaks, and then the next begins. */
async function ended(options: ApiOptions, roll: RollRow): Promise<void> {
  const { db, log } = options;
  if (roll.rolled_at === null) {
    await changeRoll(db, roll.id, ['RUNNING'], { rolled_at: new Date() });
    if (roll.soak_seconds > 0) return;
  } else if (Date.now() - roll.rolled_at.getTime() < roll.soak_seconds * 1000) return;
  await noteTrouble(db, roll);
  if (await halted(options, roll)) return;
  const isLast = roll.ring >= roll.rings.length;
  if (!isLast) await changeRoll(db, roll.id, ['RUNNING'], { ring: roll.ring + 1, rolled_at: null });
  else if (await changeRoll(db, roll.id, ['RUNNING'], { state: 'DONE', message: null, ended_at: new Date() }))
    log.info({ roll: roll.id }, 'a roll is done');
}

/** Begins with one deployment. @returns whether it has begun or ended; else its account may answer later */
async function begin(options: ApiOptions, roll: RollRow, member: MemberRow): Promise<boolean> {
  const { db } = options;
  try {
    const row = await changeableDeployment(db, roll.workspace_id, member.deployment_id);
    const noted: Making['noted'] = (tx, revision) => noteRevision(tx, roll, row.id, revision);
    if (member.target_id !== null) await redeploy(options, row, await revisionOf(db, row.id, member.target_id), noted);
    else {
      const place = await placeAround(db, row);
      const image_uri = roll.image_uri && imageIn(roll.image_uri, place);
      const making: Making =
        image_uri === null
          ? { next: (before) => before }
          : (await revising(options, row, { source_revision_config: { image_uri } }, true)).making;
      // Nobody looks at each of them: what has failed, for whatever else was in it, is not brought in again.
      await add(options, place, row, {}, { ...making, isOnStanding: true, noted });
    }
  } catch (error) {
    if (error instanceof NotItsTurn) return true;
    if (error instanceof ChangedSince) {
      await endMember(db, roll.id, member.deployment_id, 'SKIPPED', 'it was changed again since');
      return true;
    }
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 503) {
      await notePatience(db, roll.id, member.deployment_id, error.message);
      return false;
    }
    if (error.status >= 500) return noteUnreachable(db, roll.id, member.deployment_id, error.message, UNREACHABLE);
    // Its delete came first: that is nobody's failure.
    const isGone = error.status === 404 || error.status === 409;
    await endMember(db, roll.id, member.deployment_id, isGone ? 'SKIPPED' : 'FAILED', error.message);
  }
  return true;
}
