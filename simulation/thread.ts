/** Plays seeds, one after the other, and tells of each. */
import { parentPort, workerData } from 'node:worker_threads';
import { play } from './play.ts';
import type { Stores } from './world.ts';

export interface Given {
  readonly from: number;
  readonly step: number;
  readonly seeds: number;
  /** Of the real store's database; null: on the model alone. */
  readonly databaseUrl: string | null;
  /** What happened is told of each, also when nothing broke. */
  readonly inFull: boolean;
}

export interface Told {
  readonly seed: number;
  readonly property: string | null;
  readonly how: string;
  readonly looks: number;
  readonly calls: number;
  readonly virtualSeconds: number;
  /** Null: nothing broke, and nobody asked. */
  readonly trace: string | null;
}

const { from, step, seeds, databaseUrl, inFull } = workerData as Given;
// AWS refuses things by the thousand: only a seed that is played alone tells where an error is from.
if (seeds > 1) Error.stackTraceLimit = 0;
let stores: Stores | null = null;
if (databaseUrl !== null) stores = await (await import('./postgres.ts')).openStores(databaseUrl);
for (let seed = from; seed < from + seeds * step; seed += step) {
  const { broken, looks, calls, virtualSeconds, trace } = await play(seed, stores);
  const told: Told = {
    seed,
    property: broken?.property ?? null,
    how: broken?.how ?? '',
    looks,
    calls,
    virtualSeconds,
    trace: broken !== null || inFull ? trace.text() : null,
  };
  // eslint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
  parentPort!.postMessage(told);
}
await stores?.close();
