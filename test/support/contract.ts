/**
 * Every kind keeps one contract: absent → converge → ready, nothing to change → the same again changes nothing → other
 * inputs are exactly those changes → refused when it is not ours → removed, twice → absent. It is run in the emulated
 * account and in the simulated one, so that neither shows the kinds what the other would not.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Terminal, explain } from '../../services/reconciler/aws/errors.ts';
import type { Cx, Kind } from '../../services/reconciler/resource.ts';
import type { eventually } from './eventually.ts';

export interface Contract<In, Out> {
  readonly inputs: In;
  /** Inputs of the same resource, and the fields that differ. */
  readonly other?: { readonly inputs: In; readonly fields: readonly string[] };
  /** What is checked once it is ready. */
  readonly ready?: (out: Out) => void | Promise<void>;
  /** Asking for it to be made again, as a second pass at the same time would, is refused by AWS @default true */
  readonly madeOnce?: boolean;
  /** It is there before it is asked for: its values come another way @default false */
  readonly there?: boolean;
}

/** As `eventually`. */
type Until = <T>(what: string, look: () => Promise<T>) => ReturnType<typeof eventually<T>>;

/** Looks that show nothing before it is asked for again. */
const PATIENCE = 20;

export function contractOf(until: Until) {
  /** Kinds that were run through it. */
  const seen = new Set<string>();

  /**
   * As the pass does it: converges whatever differs, looks until it is ready. What was asked for may not be shown yet.
   */
  async function untilReady<In, Live, Out>(
    kind: Kind<In, Live, Out>,
    cx: Cx,
    inputs: In,
    wasAsked = false,
  ): Promise<[Live, Out]> {
    let patience = wasAsked ? PATIENCE : 0;
    return until(`${kind.kind} is ready`, async () => {
      const now = await kind.observe(cx, inputs);
      assert.notEqual(now.is, 'broken', JSON.stringify(now));
      const live = now.is === 'absent' ? undefined : now.live;
      if (live === undefined && patience-- > 0) return undefined;
      if (live === undefined) patience = PATIENCE;
      const changes = live === undefined ? [] : kind.diff(inputs, live);
      if (live === undefined || changes.length > 0) await kind.converge(cx, inputs, live, changes);
      return now.is === 'ready' && changes.length === 0 ? ([now.live, now.out] satisfies [Live, Out]) : undefined;
    });
  }

  async function untilAbsent<In, Live>(kind: Kind<In, Live>, cx: Cx, inputs: In): Promise<void> {
    await until(`${kind.kind} is gone`, async () => {
      const now = await kind.observe(cx, inputs);
      if (now.is !== 'absent') await kind.remove(cx, inputs, now.live);
      return now.is === 'absent';
    });
  }

  async function keeps<In, Live, Out>(kind: Kind<In, Live, Out>, cx: Cx, contract: Contract<In, Out>): Promise<Out> {
    const { inputs, other, madeOnce = true, there = false } = contract;
    seen.add(kind.kind);
    if (!there) assert.deepEqual(await kind.observe(cx, inputs), { is: 'absent' });
    if (!there) await kind.converge(cx, inputs, undefined, []);
    const [live, out] = await untilReady(kind, cx, inputs, !there);
    assert.deepEqual(kind.diff(inputs, live), [], 'nothing to change');
    await contract.ready?.(out);

    if (madeOnce && !there) {
      await kind.converge(cx, inputs, undefined, []);
      const [again] = await untilReady(kind, cx, inputs);
      assert.deepEqual(again, live, 'made once');
    }
    if (other !== undefined) {
      const changes = kind.diff(other.inputs, live);
      assert.deepEqual(changes.map((change) => change.field).sort(), other.fields.toSorted());
      await kind.converge(cx, other.inputs, live, changes);
      const [after] = await untilReady(kind, cx, other.inputs);
      assert.deepEqual(kind.diff(other.inputs, after), []);
    }
    const theirs: Cx = { ...cx, tags: { ...cx.tags, 'freehold:deployment': randomUUID() } };
    await assert.rejects(
      async () => kind.observe(theirs, other?.inputs ?? inputs),
      (error) => error instanceof Terminal && /exists and is not ours/.test(error.message),
    );
    return out;
  }

  async function goes<In, Live>(kind: Kind<In, Live>, cx: Cx, inputs: In): Promise<void> {
    const now = await kind.observe(cx, inputs);
    assert.notEqual(now.is, 'absent');
    await untilAbsent(kind, cx, inputs);
    // What is gone has no tags any more, so some services call it denied rather than gone: the next look mends that.
    if (now.is !== 'absent') {
      await kind.remove(cx, inputs, now.live).catch((error: unknown) => {
        assert.match(explain(error).message, /^(missing permission|waits for the customer)/);
      });
    }
    await untilAbsent(kind, cx, inputs); // reads are late: what was seen to be gone may be seen once more
  }

  return { seen, untilReady, untilAbsent, keeps, goes };
}
