/**
 * One pass over one deployment: bring everything wanted one step closer; once all of it is ready, take one step in
 * removing the rest. A pass takes nothing but the graph and the rows, waits for nothing, and may be cut off anywhere.
 */
import { isDeepStrictEqual } from 'node:util';
import { declared } from './aws/declared.ts';
import { HELD, Held, NotOurs, Terminal, explain, mayHaveMade } from './aws/errors.ts';
import { DEFAULT_POLICY, driftsOf, wordsOf, type Drift, type DriftPolicy } from './drift.ts';
import {
  inWords,
  type Change,
  type Cx,
  type Graph,
  type Kind,
  type Node,
  type Observed,
  type Seconds,
} from './resource.ts';

export type State =
  /** Usable and in sync; with a message: what differs, and is left as it is. Of what is being removed: gone. */
  | { readonly state: 'ready'; readonly message: string }
  /** Nothing is wrong; look again soon. */
  | { readonly state: 'waiting'; readonly message: string }
  /** Something went wrong that may pass, or that somebody can mend; backs off. */
  | { readonly state: 'retrying'; readonly message: string }
  /** Only other inputs can help: observed, but not tried again in this generation. */
  | { readonly state: 'failed'; readonly message: string };

/** What is kept of one resource. */
export interface Row {
  readonly id: string;
  readonly kind: string;
  /** Null until AWS has been asked for anything; written before it is. */
  inputs: unknown;
  /**
   * Ids of what it needs and, until it is ready again, of what it needed before: AWS may still hold both. In the order
   * in which it came to need them.
   */
  needs: string[];
  state: State;
  /** The generation that `state` is about. */
  generation: string;
  /** When it came into this state. A message that changes does not change it. */
  since: Date;
  /** When it was last asked for, new or changed: for a moment, not every read of AWS's shows it. Null: refused. */
  askedAt: Date | null;
  /** Since when AWS has been at work on it without it becoming ready. */
  busySince: Date | null;
  /** Tries in a row that went wrong, and when the next one is due. */
  tries: number;
  notBefore: Date | null;
  /** The generation it failed in: it is not tried again in that one. */
  gaveUp: { generation: string; message: string } | null;
  /** The last outputs seen, for people to read, and for `Kind.diff` to bring back what nobody asked for by name. */
  outputs: unknown;
}

export interface Rows {
  all(): Promise<Row[]>;
  put(row: Row): Promise<void>;
  drop(id: string): Promise<void>;
}

/**
 * What this process saw ready in its last passes over a deployment. While one resource takes minutes, the others are
 * not
 * asked for at every look. Only a spared call: it lives a minute at most, and losing it costs nothing but the call.
 */
export type Memory = Map<string, { generation: string; inputs: unknown; seen: Observed<unknown, unknown>; at: Date }>;

export interface Pass {
  /** What the graph was made from: a revision's id. */
  readonly generation: string;
  /** Empty when the deployment is being deleted. */
  readonly graph: Graph;
  /**
   * Ids of what stays although the graph does not want it, beside what holds data: a delete that can still be undone.
   * Without it an empty graph removes everything.
   */
  readonly keeps?: ReadonlySet<string>;
  /** Every kind of this build, so that rows of an older graph can be removed. */
  readonly kinds: ReadonlyMap<string, Kind>;
  readonly rows: Rows;
  /** Of the same deployment's earlier passes in this process. */
  readonly memory: Memory;
  cx(nodeId: string): Cx;
  /** Only look: the graph's revision has failed, and nothing is made or changed for it any more. */
  readonly observeOnly?: boolean;
  /**
   * Everything that is wanted is ready. Answers whether what is not wanted may be removed now, which somebody may want
   * again after all. @default it may
   */
  complete?(rows: readonly Row[]): Promise<boolean>;
  /** What is done when others changed what was as asked in this generation. @default repair */
  readonly driftPolicy?: DriftPolicy;
  /** Resources that others had changed already when an earlier pass looked. */
  readonly drifted?: ReadonlySet<string>;
  /** Told of what others changed, before it is repaired; not when it is ignored. */
  drift?(drifts: readonly Drift[]): Promise<void>;
  /** An event. Said only when something is done to a resource, or its state changes. */
  say(nodeId: string, message: string): Promise<void>;
  /** Takes out of a cause what must not be kept: a server's last words may hold a secret's value. */
  conceal(text: string): string;
  /** Told of an error that is neither AWS's nor the user's but ours, with its stack. */
  defect(nodeId: string, error: unknown): void;
  /** How long AWS's reads may show what was before a change. @default a minute */
  readonly lateSeconds?: number;
  now(): Date;
}

export interface Outcome {
  /** What is wanted, in build order, then what is still to be removed. */
  readonly rows: readonly Row[];
  /** Everything wanted is ready and everything else is gone. */
  readonly settled: boolean;
  /** Seconds until another look is worth it; null when only a change of intent can bring news. */
  readonly nextLookSeconds: number | null;
  /** What was lost that cannot be made again. */
  readonly alarms: readonly Alarm[];
}

/** What cannot be made again is gone. It ends by itself when somebody has restored it under its name. */
export interface Alarm {
  readonly name: string;
  readonly resource: string;
  readonly since: Date;
  readonly whatToDo: string;
}

/** Another pass works on this deployment: this one ends here and writes nothing more. */
export class Superseded extends Error {}

/** Seen, and left as it is: the next pass goes on when somebody has mended it. */
class LeftAlone extends Terminal {}

const BACKOFF_LIMIT_SECONDS = 300;
const MEMORY_SECONDS = 60;
/** How long AWS may not show what it has made: its read-after-write lags are seconds. */
const APPEARS_SECONDS = 60;
/** How soon what the customer holds is looked at again, if nobody asks: whoever sees that they let go does. */
export const HELD_LOOK_SECONDS = 300;
const NEEDS = 'needs ';
const NOT_THERE_YET = 'asked for, not there yet';
const NOT_SEEN_YET = 'changed, not seen yet';
const MAY_APPEAR = 'not there, but asked for a moment ago';

export async function pass(p: Pass): Promise<Outcome> {
  const rows = new Map((await p.rows.all()).map((row) => [row.id, row]));
  const losses = new Map<string, Loss>();
  const built = await build(p, rows, losses);
  const mayRemove = built.every(isReady) && ((await p.complete?.(built)) ?? true);
  const left = mayRemove ? await sweep(p, rows) : [];
  const settled = mayRemove && left.length === 0;
  // What is settled is looked at rarely, and then to see what others changed; trouble may come from what was missed.
  if (settled || [...built, ...left].some(isTrouble)) p.memory.clear();
  const alarms = built.flatMap((row): Alarm[] => {
    const loss = losses.get(row.id);
    return loss === undefined ? [] : [{ ...loss, resource: row.id, since: row.since }];
  });
  return { rows: [...built, ...left], settled, nextLookSeconds: nextLook(p, [...built, ...left]), alarms };
}

type Loss = Pick<Alarm, 'name' | 'whatToDo'>;

async function build(p: Pass, rows: ReadonlyMap<string, Row>, losses: Map<string, Loss>): Promise<Row[]> {
  const got = new Map<string, unknown>();
  const built: Row[] = [];
  for (const node of p.graph.nodes) {
    const row = rows.get(node.id) ?? newRow(node.id, node.kind.kind, p.generation, p.now());
    built.push(row);
    const missing = needsOf(node).filter((id) => !got.has(id));
    if (missing.length === 0) {
      await step(p, row, 'ready', () => buildOne(p, node, row, got, losses));
    } else if (!isReady(row) || row.generation !== p.generation) {
      // What was ready stays so while something it needs is looked for again: it still works.
      await step(p, row, 'ready', async () => {
        row.busySince = null; // its own time begins with its turn
        return waiting(`${NEEDS}${missing.join(', ')}`);
      });
    }
  }
  return built;
}

async function buildOne(
  p: Pass,
  node: Node,
  row: Row,
  got: Map<string, unknown>,
  losses: Map<string, Loss>,
): Promise<State> {
  const outs = Object.entries(node.needs).map(([key, need]) => [key, got.get(need.id)]);
  const inputs = node.inputs(Object.fromEntries(outs));
  // Written before the first call to AWS, so that whatever comes to exist can always be found and removed. (A row's
  // values are replaced, never changed in place: a shallow copy is how it was.)
  const before = { ...row };
  const isAnother = !isDeepStrictEqual(inputs, before.inputs);
  if (isAnother) row.inputs = inputs; // what is the same stays the same object: quickly compared
  row.needs = [...new Set([...row.needs, ...needsOf(node)])];
  // What was asked of it before, and had its time, is not held against what is asked of it now.
  const isOver = row.gaveUp !== null && row.gaveUp.generation !== p.generation;
  if (isOver) row.gaveUp = null;
  if (isAnother || isOver) row.busySince = null;
  if (!isDeepStrictEqual(row, before)) await p.rows.put(row);

  const cx = declared(node.kind, p.cx(node.id));
  const gaveUp = row.gaveUp?.generation === p.generation ? row.gaveUp : null;
  let seen = remembered(p, node.id, inputs) ?? (await node.kind.observe(cx, inputs));
  const live = seen.is === 'absent' ? undefined : seen.live;
  const was = outputsBefore(before, p.generation);
  let changes = live === undefined ? [] : node.kind.diff(inputs, live, was);
  // What this generation has waited for, or asked for again, and saw given up, is its failure.
  const isItsFailure =
    seen.is === 'broken' && (gaveUp !== null || (row.busySince !== null && before.generation === p.generation));
  if (isItsFailure && gaveUp === null && isNew(p, row, p.lateSeconds) && isAgain(changes)) return waiting(NOT_SEEN_YET);
  if (isItsFailure || p.observeOnly) changes = changes.filter((change) => !change.isAgain);
  // What was just made may be seen and then not be seen once more.
  const isLate = live === undefined && isNew(p, row);
  const loss = isLoss(seen) && !isLate ? lost(node, inputs, row) : undefined;
  if (loss !== undefined) {
    losses.set(node.id, { name: node.kind.stateful!.alarm, whatToDo: await rescue(node, cx, inputs, loss) });
    if (live === undefined) throw new LeftAlone(loss);
  }
  const isTheirs = gaveUp === null && !isLate && !p.observeOnly && wasInSync(p, inputs, before);
  const others = isTheirs ? driftsOf(node.id, seen, changes) : [];
  const policy = p.driftPolicy ?? DEFAULT_POLICY;
  if (others.length > 0 && policy !== 'ignore') await p.drift?.(others);
  const isLeft = others.length > 0 && policy !== 'repair';
  const difference = isLeft && policy === 'report' ? `${wordsOf(others)}: left as it is, as drift_policy says` : '';
  if (isLeft) {
    if (live === undefined && difference !== '') throw new LeftAlone(difference);
    if (live === undefined) return { state: 'ready', message: '' };
    changes = changes.filter((change) => change.isUpkeep);
  }
  const later = gaveUp || p.observeOnly || changes.length === 0 ? undefined : node.kind.refuses?.(live, changes);
  if (later !== undefined) {
    if (seen.is === 'ready') {
      row.busySince = null;
      // What is to restart does so before what needs it is made for what it then is; nothing else holds anybody up.
      if (node.kind.effect?.(inputs, changes) === undefined) got.set(node.id, seen.out);
      return waiting(later);
    }
    changes = [];
  }
  const isToAsk = live === undefined || changes.length > 0;
  if (isToAsk) {
    if (gaveUp) return failed(gaveUp.message);
    if (p.observeOnly) return failed('not made or changed any more: its revision has failed');
    // A second creation would be refused at best; of what has no name there would be two; and an empty one is no help.
    if (isLate && (!isAnother || lost(node, inputs, row) !== undefined)) return waiting(NOT_THERE_YET);
    await cx.fence();
    row.askedAt = p.now();
    await p.rows.put(row);
    await p.say(node.id, live === undefined ? 'create' : `change ${changes.map((change) => change.field).join(', ')}`);
    await node.kind.converge(cx, inputs, live, changes).catch((error: unknown) => {
      if (live === undefined && !mayHaveMade(error)) row.askedAt = null;
      throw error;
    });
    // Its time begins now, seen at work or not: it is asked for again once.
    if (isAgain(changes)) row.busySince = row.askedAt;
    else if (live === undefined || seen.is !== 'busy') row.busySince = null;
    seen = await node.kind.observe(cx, inputs);
    // What AWS calls ready, or given up, may be what was before the change: nothing is known of the change yet.
    const left = seen.is === 'absent' || isLeft ? [] : node.kind.diff(inputs, seen.live, was);
    const isUnseen = seen.is === 'ready' ? left.length > 0 : isAgain(left);
    if (isUnseen) return waiting(NOT_SEEN_YET);
  }
  if (seen.is === 'ready' && mayBePast(p, node, row)) return waiting(NOT_SEEN_YET);
  if (seen.is === 'ready') {
    got.set(node.id, seen.out);
    row.outputs = seen.out;
    row.needs = needsOf(node);
    row.gaveUp = null;
    if (!isToAsk && !isLeft && !p.memory.has(node.id))
      p.memory.set(node.id, { generation: p.generation, inputs, seen, at: p.now() });
  }
  const state = judge(p, node.kind, row, seen, gaveUp?.message);
  if (state.state === 'failed' && seen.is !== 'absent') await halt(p, node, row, seen.live, state.message);
  return state.state === 'ready' ? { state: 'ready', message: difference } : state;
}

/** What AWS would go on trying is told to stop. If that goes wrong the failure stands all the same. */
async function halt(p: Pass, node: Node, row: Row, live: unknown, message: string): Promise<void> {
  if (node.kind.halt === undefined) return;
  // Written first: what has been stopped may no longer tell why.
  if (row.gaveUp?.generation !== p.generation) {
    row.gaveUp = { generation: p.generation, message: p.conceal(message) };
    await p.rows.put(row);
  }
  try {
    const done = await node.kind.halt(declared(node.kind, p.cx(node.id)), row.inputs, live, wasReady(row));
    if (done !== undefined) await p.say(node.id, done);
  } catch (error) {
    if (error instanceof Superseded) throw error;
    const { message: why, defect } = explain(error);
    if (defect) p.defect(row.id, error);
    await p.say(node.id, `not stopped: ${why}`);
  }
}

/** It was as asked, and is asked the same: what differs now is somebody else's doing. */
export const wasInSync = (p: Pick<Pass, 'generation' | 'drifted'>, inputs: unknown, before: Row): boolean =>
  before.generation === p.generation &&
  isDeepStrictEqual(before.inputs, inputs) &&
  (before.state.state === 'ready' || (before.state.state === 'failed' && p.drifted?.has(before.id) === true));

const isLoss = (seen: Observed<unknown, unknown>): boolean =>
  seen.is === 'absent' || (seen.is === 'broken' && seen.lost === true);

/** What AWS still has of it is a help, and no more. */
async function rescue({ kind: { stateful } }: Node, cx: Cx, inputs: unknown, loss: string): Promise<string> {
  const found = (await stateful?.rescue?.(cx, inputs).catch(() => [])) ?? [];
  return found.length === 0 ? loss : `${loss}; AWS still has ${found.join(', ')}`;
}

function remembered(p: Pass, id: string, inputs: unknown): Observed<unknown, unknown> | undefined {
  const memory = p.memory.get(id);
  if (memory === undefined) return undefined;
  const isFresh = p.now().getTime() - memory.at.getTime() < MEMORY_SECONDS * 1000;
  if (isFresh && memory.generation === p.generation && isDeepStrictEqual(memory.inputs, inputs)) return memory.seen;
  p.memory.delete(id);
  return undefined;
}

function judge(p: Pass, kind: Kind, row: Row, seen: Observed<unknown, unknown>, gaveUp: string | undefined): State {
  row.busySince = seen.is === 'busy' ? (row.busySince ?? p.now()) : null;
  switch (seen.is) {
    case 'absent':
      return waiting(NOT_THERE_YET);
    case 'ready':
      return { state: 'ready', message: '' };
    case 'broken':
      return failed(gaveUp ?? seen.why); // the first cause told stays: AWS forgets why, we do not
    case 'busy': {
      if (gaveUp !== undefined) return failed(gaveUp);
      const seconds = (p.now().getTime() - row.busySince!.getTime()) / 1000;
      if (seconds <= kind.limitSeconds) return waiting(usually(seen.why, kind.usual?.(row.inputs).ready));
      return failed(`not ready after ${Math.round(kind.limitSeconds / 60)} minutes: ${seen.why}`);
    }
  }
}

async function sweep(p: Pass, rows: ReadonlyMap<string, Row>): Promise<Row[]> {
  const { unwanted, removed } = unwantedOf(p, [...rows.values()]);
  const left: Row[] = [];
  for (const row of removed) {
    const users = usersOf(row, unwanted);
    await step(p, row, 'gone', () =>
      users.length > 0 ? Promise.resolve(waiting(`used by ${users.join(', ')}`)) : removeOne(p, row),
    );
    if (isReady(row)) await p.rows.drop(row.id);
    else left.push(row);
  }
  return left;
}

/** What the graph does not want any more, and what of that goes: not what holds data, as long as anything is wanted. */
export function unwantedOf(p: Pick<Pass, 'graph' | 'kinds' | 'keeps'>, rows: readonly Row[]) {
  const wanted = new Set(p.graph.nodes.map((node) => node.id));
  const unwanted = rows.filter((row) => !wanted.has(row.id));
  const kept = p.graph.nodes.length > 0 || p.keeps !== undefined ? keptOf(p, unwanted) : new Set<string>();
  return { unwanted, removed: unwanted.filter((row) => !kept.has(row.id)) };
}

export const usersOf = (row: Row, rows: readonly Row[]): string[] =>
  rows.filter((other) => other.needs.includes(row.id)).map((other) => other.id);

/** What holds data that cannot be made again, and what that needs: these go with the deployment, not a revision. */
function keptOf(p: Pick<Pass, 'kinds' | 'keeps'>, unwanted: readonly Row[]): Set<string> {
  const kept = new Set<string>();
  const keep = (row: Row): void => {
    if (kept.has(row.id)) return;
    kept.add(row.id);
    for (const need of unwanted.filter((other) => row.needs.includes(other.id))) keep(need);
  };
  for (const row of unwanted) if (p.keeps?.has(row.id) || (p.kinds.get(row.kind)?.stateful && wasReady(row))) keep(row);
  return kept;
}

async function removeOne(p: Pass, row: Row): Promise<State> {
  if (row.inputs === null) return { state: 'ready', message: '' };
  const kind = p.kinds.get(row.kind);
  if (kind === undefined) throw new Terminal(`unknown kind: "${row.kind}": made by another version of Freehold`);
  const cx = declared(kind, p.cx(row.id));
  let seen = await kind.observe(cx, row.inputs);
  let why: string | void = undefined;
  if (seen.is !== 'absent') {
    await cx.fence();
    why = await kind.remove(cx, row.inputs, seen.live);
    if (why === undefined) row.askedAt = null; // until it is being removed, a read may only not show it
    seen = await kind.observe(cx, row.inputs);
  }
  if (seen.is === 'absent') return isNew(p, row) ? waiting(MAY_APPEAR) : { state: 'ready', message: '' };
  row.busySince ??= p.now();
  const minutes = Math.floor((p.now().getTime() - row.busySince.getTime()) / 60_000);
  const said = why ?? 'being removed';
  // Said, and still tried at each look: something must go, however long it takes.
  return minutes * 60 < kind.limitSeconds
    ? waiting(usually(said, kind.usual?.(row.inputs).gone))
    : { state: 'retrying', message: `still there: ${said}` };
}

/**
 * One resource's step, and the only catch in the reconciler: a resource's trouble is that resource's state, never the
 * pass's. Writes the row and says what changed.
 */
async function step(p: Pass, row: Row, done: 'ready' | 'gone', act: () => Promise<State>): Promise<void> {
  // A new generation may be what mends it, so only the same one waits out its backoff.
  if (row.generation === p.generation && row.notBefore !== null && row.notBefore > p.now()) return;
  const before = { ...row };
  let isLeft = false;
  try {
    row.state = await act();
    row.tries = 0;
    row.notBefore = null;
  } catch (error) {
    if (error instanceof Superseded) throw error;
    const untagged = error instanceof NotOurs && isNew(p, row);
    isLeft = error instanceof LeftAlone || error instanceof NotOurs; // nothing was tried
    const { terminal, message, waits = false, rarely = false, defect } = explain(error);
    const backsOff = !terminal && (!waits || rarely);
    if (defect) p.defect(row.id, error);
    if (error instanceof Held) row.busySince = null; // its time is counted from when it may go on
    row.state = untagged
      ? waiting(NOT_THERE_YET)
      : terminal
        ? failed(message)
        : { state: waits ? 'waiting' : 'retrying', message };
    row.tries = backsOff ? row.tries + 1 : 0;
    row.notBefore = !backsOff ? null : new Date(p.now().getTime() + backoffSeconds(row.tries) * 1000);
  }
  // What was kept of it before holds no secret any more.
  const isKnown = row.state.message === '' || row.state.message === before.state.message;
  if (!isKnown) row.state = { ...row.state, message: p.conceal(row.state.message) };
  row.generation = p.generation;
  if (row.state.state === 'failed' && !isLeft) row.gaveUp = { generation: p.generation, message: row.state.message };
  if (row.state.state !== before.state.state) row.since = p.now();
  if (!isDeepStrictEqual(row, before)) await p.rows.put(row);
  const news =
    row.state.state !== before.state.state ||
    (done === 'gone' && isReady(row)) ||
    (isTrouble(row) && row.state.message !== before.state.message);
  if (news) await p.say(row.id, isReady(row) ? done : `${row.state.state}: ${row.state.message}`);
}

/** What waits only for another resource is looked at when that one is. */
function nextLook(p: Pass, rows: readonly Row[]): number | null {
  const looks = rows.flatMap((row) => {
    if (row.notBefore !== null) return [Math.max(0, (row.notBefore.getTime() - p.now().getTime()) / 1000)];
    if (isReady(row) || row.state.state === 'failed' || row.state.message.startsWith(NEEDS)) return [];
    if (row.state.message.startsWith(HELD)) return [HELD_LOOK_SECONDS];
    return [p.kinds.get(row.kind)?.pollSeconds ?? BACKOFF_LIMIT_SECONDS];
  });
  return looks.length > 0 ? Math.min(...looks) : null;
}

/** Of a resource that nobody has looked at. */
export function newRow(id: string, kind: string, generation: string, since: Date): Row {
  const timeless = {
    inputs: null,
    needs: [],
    askedAt: null,
    busySince: null,
    tries: 0,
    notBefore: null,
    gaveUp: null,
    outputs: null,
  };
  return { id, kind, ...timeless, state: waiting('new'), generation, since };
}

const needsOf = (node: Node): string[] => Object.values(node.needs).map((need) => need.id);
/** Of what is absent: what was lost with it; undefined: nothing, it can be made again. */
export function lost({ kind: { stateful } }: Pick<Node, 'kind'>, inputs: unknown, row: Row): string | undefined {
  if (!stateful || !wasReady(row)) return undefined;
  return stateful.lost(inputs);
}
/** As it was last ready; undefined once it is so again, as this generation wants it. */
export const outputsBefore = (row: Row, generation: string | undefined): unknown =>
  isReady(row) && row.generation === generation ? undefined : (row.outputs ?? undefined);
/** What never was ready was never used, so it holds nothing. */
const wasReady = (row: Row): boolean => row.outputs !== null;
/** For a moment after it was asked for. */
const isNew = (p: Pass, { askedAt }: Row, seconds = APPEARS_SECONDS): boolean =>
  askedAt !== null && p.now().getTime() - askedAt.getTime() < seconds * 1000;
/**
 * What was asked for last is being left for what was there before it. For a moment AWS may call ready what it was
 * before both, while it is at work on what then would be swept, or be taken for somebody else's change. (A version of
 * Freehold whose graph only lacks the last need looks the same: what was just changed waits that moment, too.)
 */
const mayBePast = (p: Pass, node: Node, row: Row): boolean =>
  row.needs.length > 0 && !needsOf(node).includes(row.needs.at(-1)!) && isNew(p, row, p.lateSeconds);
const isAgain = (changes: readonly Change[]): boolean => changes.some((change) => change.isAgain);
const isReady = (row: Row): boolean => row.state.state === 'ready';
const isTrouble = (row: Row): boolean => row.state.state === 'failed' || row.state.state === 'retrying';
const waiting = (message: string): State => ({ state: 'waiting', message });
const usually = (why: string, usual: Seconds | undefined): string =>
  usual === undefined ? why : `${why}: usually ${inWords(usual)}`;
const failed = (message: string): State => ({ state: 'failed', message });
const backoffSeconds = (tries: number): number => Math.min(BACKOFF_LIMIT_SECONDS, 2 ** tries);
