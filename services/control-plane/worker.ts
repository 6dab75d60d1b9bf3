/**
 * Takes looks from the queue. A look runs one pass over one deployment, towards its target revision, and writes down
 * what came of it: rows, statuses, verdicts, events, and when to look again.
 */
import type { Logger } from 'pino';
import { Held, explain } from '../reconciler/aws/errors.ts';
import {
  HELD_LOOK_SECONDS,
  Superseded,
  newRow,
  pass,
  type Alarm,
  type Memory,
  type Outcome,
  type Pass,
  type Row,
} from '../reconciler/pass.ts';
import type { Place } from '../reconciler/place.ts';
import { Graph } from '../reconciler/resource.ts';
import {
  deploymentStatus,
  isFailure,
  isVerdict,
  revisionStatus,
  type Judged,
  type RevisionStatus,
} from '../reconciler/status.ts';
import { ITSELF, onBehalfOf } from './asked.ts';
import type { Cloud, Entered } from './cloud.ts';
import { concealer } from './redact.ts';
import type { Database, Tx } from './store/database.ts';
import type { Look, Looks } from './store/looks.ts';
import {
  begin,
  forget,
  holdEpoch,
  isAnyInterrupted,
  requireEpoch,
  rowsOf,
  say,
  setDeploymentStatus,
  setRevisionStatus,
  startRevision,
  trimEvents,
  type Seen,
  type SeenRevision,
} from './store/observed.ts';
import type { ShownAlarm } from './store/database.ts';
import { addDrifts, endDrifts, unexplained } from './store/drifts.ts';
import { beginReceipt } from './store/receipts.ts';
import { explainDrifts, sweepPlace } from './sweeper.ts';
import { concluded, lastWord, lasting, stopped, targetOf, wanted } from './target.ts';

export interface WorkerOptions {
  readonly db: Database;
  readonly looks: Looks;
  readonly cloud: Cloud;
  readonly log: Logger;
  /** For the digests of secret values. */
  readonly digestKey: Buffer;
  /** Looks at once in this process. */
  readonly concurrency: number;
  /** Of these, how many in one place. @default all */
  readonly perPlace?: number;
  /** Between two sweeps of a place, or two looks at what is not settled: how soon it is seen what others changed. */
  readonly sweepSeconds: number;
  /** The longest that one waits to look again at what AWS is at work on. @default what each kind asks for */
  readonly pollSeconds?: number;
  /** As of the pass. */
  readonly lateSeconds?: number;
  readonly now?: () => Date;
}

/** Resources that a look asks about: who changed them. */
const EXPLAINED = 3;
/** How long a place that cannot be entered, or a delete that found leftovers, is left alone. */
const RETRY_SECONDS = 30;
/**
 * Of deployments that are not settled; all are dropped when there are more, which costs some calls and nothing else.
 */
const MEMORIES_KEPT = 1000;

export async function startWorker(options: WorkerOptions): Promise<void> {
  const memories = new Map<string, Memory>();
  await options.looks.work({ atOnce: options.concurrency, perPlace: options.perPlace }, async (look) => {
    if (memories.size >= MEMORIES_KEPT) memories.clear();
    const memory: Memory = memories.get(look.deploymentId) ?? new Map();
    memories.set(look.deploymentId, memory);
    await carryOut(options, look, memory);
    if (memory.size === 0) memories.delete(look.deploymentId);
  });
  await options.looks.workSweeps((placeId) => sweepPlace(options, placeId));
}

/**
 * One look. Throws only what is no deployment's trouble (the store is away, a defect of ours): then it is tried
 * again.
 */
export async function carryOut(options: WorkerOptions, look: Look, memory: Memory = new Map()): Promise<void> {
  const { db, looks } = options;
  const log = options.log.child({ deployment: look.deploymentId });
  const seen = await begin(db, look.deploymentId);
  if (seen === undefined) {
    await db.transaction().execute((tx) => looks.settle(tx, look, 0, null));
    return;
  }
  try {
    await new OneLook(options, look, seen, memory).run();
  } catch (error) {
    if (error instanceof Superseded) log.warn('another pass has begun: this one ends here');
    else {
      log.error({ err: error }, 'a look failed and will be tried again');
      throw error;
    }
  }
}

class OneLook {
  readonly #o: WorkerOptions;
  readonly #look: Look;
  #seen: Seen;
  readonly #memory: Memory;
  readonly #now: () => Date;
  #said = false;
  #isHeld = false;
  /** What others have changed, as this look sees it. */
  #hasDrifted = false;
  /** Takes every value out of a text that a server of this deployment may have been given. */
  readonly #conceal: (text: string) => string;
  /** Put among the rows by this look, without knowing whether it exists. */
  readonly #supposed = new Set<string>();

  constructor(options: WorkerOptions, look: Look, seen: Seen, memory: Memory) {
    this.#o = options;
    this.#look = look;
    this.#seen = seen;
    this.#memory = memory;
    this.#now = options.now ?? (() => new Date());
    const given = seen.revisions.flatMap((each) => each.environment.map((variable) => variable.digest));
    this.#conceal = concealer(options.digestKey, new Set(given));
  }

  async run(): Promise<void> {
    const { place } = this.#seen;
    if (place === undefined) throw new Error('a deployment in a place that was never registered');
    await this.#conclude();
    const { deployment, undo, isDeleted } = this.#seen;
    await onBehalfOf({ actor: deployment.askedBy ?? ITSELF, operation: this.#operation() }, () =>
      undo ? this.#retain(place) : isDeleted ? this.#remove(place) : this.#build(place),
    );
  }

  /** What the customer's CloudTrail is told of it. */
  #operation(): string {
    if (this.#seen.isDeleted) return 'delete';
    const target = targetOf(this.#seen);
    if (target === undefined) return 'foundation';
    return target.verdict === null ? target.id : 'repair';
  }

  /** At once, so that what is foregone stands also while the place cannot be entered. */
  async #conclude(): Promise<void> {
    const { judged, seen } = concluded(this.#seen);
    if (judged.size === 0) return;
    await this.#o.db.transaction().execute(async (tx) => {
      await this.#hold(tx);
      await this.#judge(tx, judged);
    });
    this.#seen = seen;
  }

  async #build(place: Place): Promise<void> {
    const { db, cloud } = this.#o;
    const { target, graph, generation, observeOnly } = wanted(cloud, this.#seen, place);
    if (target?.verdict === null && target.startedAt === null)
      await startRevision(db, this.#seen.deployment.id, target.id);
    const entered = await this.#enter(place);
    if (typeof entered === 'string') return this.#settleUnreachable(entered, target);
    const outcome = await this.#pass(entered, graph, generation, {
      observeOnly,
      ...(target?.verdict === null && { complete: (rows) => this.#complete(target, rows) }),
    });
    await this.#settle(target, outcome, graph.nodes.length, generation);
    if (!this.#hasDrifted) return;
    const deploymentId = this.#seen.deployment.id;
    await explainDrifts(this.#o, place, await unexplained(db, { deploymentId }, EXPLAINED));
  }

  /** Its delete can still be undone: what runs goes at once, and what could not be made again stays as it is. */
  async #retain(place: Place): Promise<void> {
    await beginReceipt(this.#o.db, this.#seen.deployment.id);
    const entered = await this.#enter(place);
    if (typeof entered === 'string') return this.#settleUnreachable(entered);
    const keeps = lasting(this.#o.cloud, this.#seen, place);
    const outcome = await this.#pass(entered, new Graph(), 'retain', { keeps });
    return this.#settleRemoval(outcome.rows, this.#nextSeconds(outcome));
  }

  async #remove(place: Place): Promise<void> {
    const { db } = this.#o;
    const { deployment } = this.#seen;
    const had = await beginReceipt(db, deployment.id);
    await this.#suppose(place);
    const entered = await this.#enter(place);
    if (typeof entered === 'string') return this.#settleUnreachable(entered);
    const outcome = await this.#pass(entered, new Graph(), 'delete');
    if (!outcome.settled) return this.#settleRemoval(outcome.rows, this.#nextSeconds(outcome));

    let found: Awaited<ReturnType<Entered['remaining']>>;
    try {
      found = await entered.remaining(had);
    } catch (error) {
      const why = this.#explain(error);
      return this.#settleRemoval(outcome.rows, this.#retrySeconds(), `what is left is not known: ${why}`);
    }
    const { left, kept } = found;
    if (left.length > 0) {
      const message = `still tagged as this deployment's: ${left.join(', ')}`;
      return this.#settleRemoval(outcome.rows, this.#retrySeconds(), message);
    }
    await db.transaction().execute(async (tx) => {
      await this.#hold(tx);
      await forget(tx, this.#seen, found);
      await this.#o.looks.settle(tx, this.#look, this.#seen.asked, null);
    });
    this.#o.log.info({ deployment: deployment.id, kept: kept.map(({ arn }) => arn) }, 'everything is removed');
  }

  /**
   * Requests make some things themselves, so these may be there although no pass has written their rows: the request
   * died, or the delete came before the pass. Looked for at each removal, since such a request may still be under way.
   */
  async #suppose(place: Place): Promise<void> {
    const { deployment, epoch } = this.#seen;
    const rows = rowsOf(this.#o.db, deployment.id, epoch);
    const known = new Set((await rows.all()).map((row) => row.id));
    for (const one of this.#o.cloud.byRequest(place, deployment).filter(({ id }) => !known.has(id))) {
      this.#supposed.add(one.id);
      await rows.put({
        ...newRow(one.id, one.kind, 'request', this.#now()),
        inputs: one.inputs,
        state: { state: 'waiting', message: 'may have been made by a request' },
      });
    }
  }

  /** The account, or why it cannot be entered. */
  async #enter(place: Place): Promise<Entered | string> {
    try {
      return await this.#o.cloud.enter(place, this.#seen.deployment);
    } catch (error) {
      this.#isHeld = error instanceof Held;
      if (this.#isHeld || place.suspended !== undefined) await this.#stopClocks();
      return this.#explain(error);
    }
  }

  /** Nobody looks while nobody may enter: what AWS is at work on has all its time again after that. */
  async #stopClocks(): Promise<void> {
    const rows = rowsOf(this.#o.db, this.#seen.deployment.id, this.#seen.epoch);
    for (const row of await rows.all()) if (row.busySince !== null) await rows.put({ ...row, busySince: null });
  }

  #explain(error: unknown): string {
    const { message, defect } = explain(error);
    if (defect) this.#o.log.error({ err: error, deployment: this.#seen.deployment.id }, 'a defect of ours');
    return message;
  }

  async #say(revisionId: string | null, resource: string, message: string): Promise<void> {
    if (this.#supposed.has(resource) && message === 'gone') return; // it never was
    this.#said = true;
    await say(this.#o.db, { deploymentId: this.#seen.deployment.id, revisionId, resource, message });
  }

  /** First in each transaction that settles the look. */
  async #hold(tx: Tx): Promise<void> {
    const { deployment, epoch } = this.#seen;
    await holdEpoch(tx, deployment.id, epoch);
    if (this.#said) await trimEvents(tx, deployment.id);
  }

  #pass(
    entered: Entered,
    graph: Graph,
    generation: string,
    more: Pick<Pass, 'observeOnly' | 'complete' | 'keeps'> = {},
  ): Promise<Outcome> {
    const { db, cloud, lateSeconds } = this.#o;
    const { deployment, epoch } = this.#seen;
    const revisionId = this.#seen.revisions.some((each) => each.id === generation) ? generation : null;
    const fence = async (): Promise<void> => {
      await requireEpoch(db, deployment.id, epoch);
      await entered.mayWrite();
    };
    return pass({
      generation,
      graph,
      kinds: cloud.kinds,
      rows: rowsOf(db, deployment.id, epoch),
      memory: this.#memory,
      ...more,
      cx: (nodeId) => ({ ...entered.cx(nodeId), fence }),
      conceal: this.#conceal,
      defect: (resource, err) => this.#o.log.error({ err, deployment: deployment.id, resource }, 'a defect of ours'),
      say: (resource, message) => this.#say(revisionId, resource, message),
      driftPolicy: deployment.driftPolicy,
      drifted: this.#seen.drifted,
      drift: async (drifts) => {
        this.#hasDrifted = true;
        this.#said = true;
        const found = { deploymentId: deployment.id, epoch, generation };
        await addDrifts(db, found, deployment.driftPolicy, drifts);
      },
      ...(lateSeconds !== undefined && { lateSeconds }),
      now: this.#now,
    });
  }

  #retrySeconds(): number {
    const seconds = this.#isHeld ? HELD_LOOK_SECONDS : RETRY_SECONDS;
    return Math.min(seconds, this.#o.pollSeconds ?? seconds);
  }

  #nextSeconds(outcome: Outcome): number {
    const { pollSeconds } = this.#o;
    const sweepSeconds = this.#o.sweepSeconds * (0.9 + 0.2 * Math.random()); // so that a thousand do not come at once
    return Math.min(
      outcome.nextLookSeconds ?? Infinity,
      sweepSeconds,
      outcome.settled ? Infinity : (pollSeconds ?? Infinity),
    );
  }

  /**
   * Before what served is removed, that it serves no more is written down; or, when somebody has asked for a stop, it
   * stays: the next look goes back to it.
   */
  #complete(target: SeenRevision, built: readonly Row[]): Promise<boolean> {
    return this.#o.db.transaction().execute(async (tx) => {
      await this.#hold(tx);
      return this.#tell(tx, target, built, built);
    });
  }

  async #settle(target: SeenRevision | undefined, outcome: Outcome, count: number, generation: string): Promise<void> {
    const { db, looks } = this.#o;
    const { activeRevisionId, asked, deployment } = this.#seen;
    const built = outcome.rows.slice(0, count);
    const [loss] = outcome.alarms;
    const alarm = loss ? alarmOf(loss) : stillLost(this.#seen.alarm, built);
    const mine = target?.verdict === null ? revisionStatus(target.id, built, this.#now()) : undefined;
    // A verdict changes the target: what serves is looked after at once.
    const failed = mine !== undefined && isVerdict(mine.status) && isFailure(mine.status);
    const { sweepSeconds } = this.#o;
    const next = outcome.settled && !failed ? { sweepSeconds } : this.#nextSeconds(outcome);
    // And what has served for the first time is no longer provisional.
    const begins = mine?.status === 'DEPLOYED' && activeRevisionId === null;
    const seconds = begins || (failed && activeRevisionId !== null) ? 0 : next;
    // A difference that is left says so in its row's message.
    const inSync = built.filter(({ state }) => state.state === 'ready' && state.message === '').map(({ id }) => id);
    await db.transaction().execute(async (tx) => {
      await this.#hold(tx);
      const isTold = await this.#tell(tx, target, built, outcome.rows, alarm);
      if (alarm !== null) await this.#raise(tx, alarm);
      await endDrifts(tx, deployment.id, generation, deployment.driftPolicy, inSync);
      await looks.settle(tx, this.#look, asked, isTold ? seconds : 0);
    });
  }

  /**
   * How the revisions and the deployment are doing.
   *
   * @returns False: a stop was asked for, and nothing is told. Whoever was told that it will be stopped must not find
   *   it deployed or skipped: the next look stops it
   */
  async #tell(
    tx: Tx,
    target: SeenRevision | undefined,
    built: readonly Row[],
    rows: readonly Row[],
    alarm: ShownAlarm | null = null,
  ): Promise<boolean> {
    const { deployment, revisions } = this.#seen;
    const judged = new Map<string, Judged<RevisionStatus>>();
    const last = lastWord(this.#seen);
    for (const revision of revisions) {
      if (revision.verdict !== null) continue;
      // None is newer than the last word without a verdict: it is the target until it has one.
      judged.set(
        revision.id,
        revision.id === target?.id
          ? revisionStatus(revision.id, built, this.#now())
          : stopped(revision, `superseded by revision ${last!.number}`),
      );
    }
    if (await isAnyInterrupted(tx, [...judged.keys()])) return false;
    const verdict = target && (judged.get(target.id) ?? target.verdict)?.status;
    const activeId = verdict === 'DEPLOYED' ? target!.id : this.#seen.activeRevisionId;
    await this.#judge(tx, judged);
    const status = this.#deploymentStatus(judged, activeId, rows, null, alarm);
    await setDeploymentStatus(tx, deployment.id, status, activeId, alarm);
    return true;
  }

  /** Once, however often it is seen. */
  async #raise(tx: Tx, alarm: ShownAlarm): Promise<void> {
    const { deployment, alarm: known } = this.#seen;
    if (known?.name === alarm.name && known.since === alarm.since) return;
    this.#o.log.error({ deployment: deployment.id, alarm }, 'what cannot be made again is gone');
    const message = `${alarm.name}: ${alarm.what_to_do}`;
    await say(tx, { deploymentId: deployment.id, revisionId: null, resource: alarm.resource, message });
  }

  /** Writes what is new, and says what has ended. */
  async #judge(tx: Tx, judged: ReadonlyMap<string, Judged<RevisionStatus>>): Promise<void> {
    const deploymentId = this.#seen.deployment.id;
    for (const [revisionId, verdict] of judged)
      if ((await setRevisionStatus(tx, deploymentId, revisionId, verdict)) && isVerdict(verdict.status)) {
        const message = verdict.message === null ? verdict.status : `${verdict.status}: ${verdict.message}`;
        await say(tx, { deploymentId, revisionId, resource: null, message });
      }
  }

  #deploymentStatus(
    judged: ReadonlyMap<string, Judged<RevisionStatus>>,
    activeId: string | null,
    rows: readonly Row[],
    unreachable: string | null,
    alarm = this.#seen.alarm,
  ) {
    const { revisions, isDeleted, knownStatus } = this.#seen;
    const newest = revisions[0];
    const now = newest && judged.get(newest.id);
    const verdict = now && isVerdict(now.status) ? { status: now.status, message: now.message } : newest?.verdict;
    const active = revisions.find((revision) => revision.id === activeId);
    return deploymentStatus(
      {
        source: this.#seen.deployment.source,
        isDeleted,
        undoUntil: this.#seen.undo?.until ?? null,
        unreachable,
        newest: newest ? { number: newest.number, verdict: verdict ?? null } : null,
        active: active ? { number: active.number } : null,
        hasTarget: targetOf(this.#seen) !== undefined,
        lastKnown: knownStatus,
        alarm,
      },
      rows,
      this.#now(),
    );
  }

  async #settleRemoval(rows: readonly Row[], seconds: number, found?: string): Promise<void> {
    const { db, looks } = this.#o;
    const { deployment, asked, activeRevisionId } = this.#seen;
    const status = this.#deploymentStatus(new Map(), activeRevisionId, rows, found ?? null);
    const untilFinal = this.#seen.undo?.seconds ?? Infinity;
    await db.transaction().execute(async (tx) => {
      await this.#hold(tx);
      await setDeploymentStatus(tx, deployment.id, status, activeRevisionId);
      await looks.settle(tx, this.#look, asked, Math.min(seconds, untilFinal));
    });
  }

  /** Nothing is known of the resources, so nothing is said about them, and no revision is judged: it waits for this. */
  async #settleUnreachable(why: string, target?: SeenRevision): Promise<void> {
    const { db, looks } = this.#o;
    const { deployment, asked, activeRevisionId } = this.#seen;
    const status = this.#deploymentStatus(new Map(), activeRevisionId, [], why);
    await db.transaction().execute(async (tx) => {
      await this.#hold(tx);
      if (target?.verdict === null)
        await this.#judge(tx, new Map([[target.id, { status: target.status, message: why }]]));
      await setDeploymentStatus(tx, deployment.id, status, activeRevisionId);
      await looks.settle(tx, this.#look, asked, this.#retrySeconds());
    });
  }
}

/** What was lost is being restored, or cannot be taken up: the alarm ends when it is ready again. */
function stillLost(alarm: ShownAlarm | null, built: readonly Row[]): ShownAlarm | null {
  const row = built.find(({ id }) => id === alarm?.resource);
  return alarm && row && row.state.state !== 'ready' ? { ...alarm, what_to_do: row.state.message } : null;
}

const alarmOf = ({ name, resource, since, whatToDo }: Alarm): ShownAlarm => ({
  name,
  resource,
  since: since.toISOString(),
  what_to_do: whatToDo,
});
