/**
 * Whether what a deployment's last look left is still so: each resource as it was last asked for, all at once, so that
 * reads of many deployments can be put together (`aws/batched.ts`). Nothing is written, in AWS or among the rows. What
 * a sweep sees is a reason to look, never a finding: the look sees for itself.
 */
import { isDeepStrictEqual } from 'node:util';
import { declared } from './aws/declared.ts';
import { explain, isDenied } from './aws/errors.ts';
import { driftsOf, type Drift } from './drift.ts';
import type { Row } from './pass.ts';
import type { Cx, Kind } from './resource.ts';

/** What is needed of a row. */
export type Settled = Pick<Row, 'id' | 'kind' | 'inputs' | 'outputs'>;

export interface Sweep {
  readonly kinds: ReadonlyMap<string, Kind>;
  readonly rows: readonly Settled[];
  cx(nodeId: string): Omit<Cx, 'fence'>;
}

export interface Suspicion {
  /** Fields that differ. */
  readonly drifts: readonly Drift[];
  /** Why the deployment should be looked at whatever its policy says of differences; null: for no other reason. */
  readonly why: string | null;
  /** Resources of which AWS did not say anything. */
  readonly unseen: number;
}

export async function sweep(s: Sweep): Promise<Suspicion> {
  const found = await Promise.all(s.rows.map((row) => compare(s, row)));
  return {
    drifts: found.flatMap(({ drifts }) => drifts),
    why: found.find(({ why }) => why !== null)?.why ?? null,
    unseen: found.reduce((sum, { unseen }) => sum + unseen, 0),
  };
}

const WELL: Suspicion = { drifts: [], why: null, unseen: 0 };
const because = (row: Settled, why: string): Suspicion => ({ ...WELL, why: `${row.id}: ${why}` });

async function compare(s: Sweep, row: Settled): Promise<Suspicion> {
  const kind = s.kinds.get(row.kind);
  if (kind === undefined || row.inputs === null) return because(row, 'nobody knows it');
  try {
    const seen = await kind.observe(declared(kind, { ...s.cx(row.id), fence: readsOnly }), row.inputs);
    if (seen.is === 'absent' && kind.stateful) return because(row, 'what it held is gone');
    if (seen.is === 'busy' || seen.is === 'broken') return because(row, seen.why);
    const changes = seen.is === 'absent' ? [] : kind.diff(row.inputs, seen.live);
    if (changes.some((change) => change.isUpkeep)) return because(row, 'there is something to tidy up');
    if (seen.is === 'absent' || changes.length > 0) return { ...WELL, drifts: driftsOf(row.id, seen, changes) };
    // Another one of the same name and settings: what stands on it knows the one before.
    return sameOutputs(seen.out, row.outputs) ? WELL : because(row, 'another one stands in its place');
  } catch (error) {
    const { terminal, message } = explain(error);
    return terminal || isDenied(error) ? because(row, message) : { ...WELL, unseen: 1 };
  }
}

/** Kept ones went through JSON. */
const sameOutputs = (seen: unknown, kept: unknown): boolean =>
  isDeepStrictEqual(JSON.parse(JSON.stringify(seen)) as unknown, kept);

const readsOnly = (): Promise<void> => Promise.reject(new Error('a sweep writes nothing'));
