/**
 * What a pass would do, without doing it: the same walk over the graph, with observe and diff only. Nothing is written,
 * neither in AWS nor among the rows.
 */
import { explain } from './aws/errors.ts';
import { lost, type Row } from './pass.ts';
import type { Change, Cx, Graph, Kind, Node, Observed } from './resource.ts';

export interface Walk {
  readonly graph: Graph;
  /** Of the deployment, as its passes have left them. */
  readonly rows: readonly Row[];
  cx(nodeId: string): Omit<Cx, 'fence'>;
}

/** What one wanted resource is, beside what is wanted of it. */
export interface Sight {
  readonly id: string;
  readonly kind: Kind;
  /**
   * - `absent`: not there, and would be made.
   * - `in sync`, `changed`: usable; `changes` says what would be changed.
   * - `busy`: AWS is at work on it; what is in `changes` can be asked for already.
   * - `broken`: AWS has given it up.
   * - `lost`: it held what cannot be made again, and is gone.
   * - `refused`: what is asked for cannot be; somebody else's is there, or it cannot be changed in place.
   * - `unseen`: the account did not answer.
   */
  readonly is: 'absent' | 'in sync' | 'changed' | 'busy' | 'broken' | 'lost' | 'refused' | 'unseen';
  /** In part `(known after "…")`, when `after` is not empty. */
  readonly inputs: unknown;
  /** What it needs, and that is not there, or not as it will be. */
  readonly after: readonly string[];
  readonly changes: readonly Change[];
  /** In a sentence; empty for what is well. */
  readonly why: string;
  /** What there is of it now; undefined when there is nothing, or that is not known. */
  readonly live?: unknown;
}

/** An output that AWS has not given yet. */
export const after = (id: string): string => `(known after "${id}")`;

interface Step {
  readonly sight: Sight;
  readonly out: unknown;
  readonly isKnown: boolean;
}

/** In build order. Each resource is looked at as soon as all that it needs was. */
export async function walk(w: Walk): Promise<Sight[]> {
  const rows = new Map(w.rows.map((row) => [row.id, row]));
  const steps = new Map<string, Promise<Step>>();
  for (const node of w.graph.nodes)
    steps.set(
      node.id,
      needed(node, steps).then((needs) => look(w, node, needs, rows.get(node.id))),
    );
  return (await Promise.all(steps.values())).map(({ sight }) => sight);
}

const needed = (node: Node, steps: ReadonlyMap<string, Promise<Step>>): Promise<[string, Step][]> =>
  Promise.all(Object.entries(node.needs).map(async ([key, { id }]) => [key, await steps.get(id)!] as [string, Step]));

async function look(w: Walk, node: Node, needs: [string, Step][], row: Row | undefined): Promise<Step> {
  const { id, kind } = node;
  const unknown = needs.filter(([, { isKnown }]) => !isKnown).map(([, { sight }]) => sight.id);
  const unseen = { sight: { id, kind, inputs: null, after: unknown, changes: [] }, out: notYet(id), isKnown: false };
  try {
    const inputs = node.inputs(Object.fromEntries(needs.map(([key, { out }]) => [key, out])));
    // It is where it was, even when it cannot be told yet what it will be. Without a row it was never asked for.
    const seen = await observe(w, node, unknown.length === 0 ? inputs : row?.inputs);
    const { is, changes, why } = judge(node, inputs, seen, row);
    const live = seen.is === 'absent' ? undefined : seen.live;
    const sight: Sight = { id, kind, is, inputs, after: unknown, changes, why, live };
    const renewed = changes.length > 0 ? (kind.renews ?? []) : [];
    if (seen.is !== 'ready') return { sight, out: notYet(id), isKnown: false };
    const out = { ...(seen.out as object), ...Object.fromEntries(renewed.map((field) => [field, after(id)])) };
    return { sight, out, isKnown: renewed.length === 0 };
  } catch (error) {
    const { terminal, message } = explain(error);
    return { ...unseen, sight: { ...unseen.sight, is: terminal ? 'refused' : 'unseen', why: message } };
  }
}

const observe = (w: Walk, node: Node, inputs: unknown): Promise<Observed<unknown, unknown>> =>
  inputs === null || inputs === undefined
    ? Promise.resolve({ is: 'absent' })
    : node.kind.observe({ ...w.cx(node.id), fence: readsOnly }, inputs);

const readsOnly = (): Promise<void> => Promise.reject(new Error('a plan writes nothing'));

function judge(
  node: Node,
  inputs: unknown,
  seen: Observed<unknown, unknown>,
  row: Row | undefined,
): Pick<Sight, 'is' | 'changes' | 'why'> {
  if (seen.is === 'absent') {
    const why = row === undefined ? undefined : lost(node, inputs, row);
    return why === undefined ? { is: 'absent', changes: [], why: '' } : { is: 'lost', changes: [], why };
  }
  const changes = node.kind.diff(inputs, seen.live);
  if (seen.is !== 'ready') return { is: seen.is, changes, why: seen.why };
  return { is: changes.length > 0 ? 'changed' : 'in sync', changes, why: '' };
}

/** The outputs of what is not there: each is a sentence. */
const notYet = (id: string): object =>
  new Proxy({}, { get: (_, field) => (typeof field === 'string' ? after(id) : undefined) });
