/** Plays many seeds on all cores. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Given, Told } from './thread.ts';

export interface Totals {
  readonly seeds: number;
  readonly seconds: number;
  readonly looks: number;
  readonly calls: number;
  readonly virtualSeconds: number;
  /** The lowest seed that failed. */
  readonly failed: Told | null;
}

export interface RunOptions {
  readonly from: number;
  readonly seeds: number;
  /** Of the real store's database. @default the model alone */
  readonly databaseUrl?: string | null;
  /** @default as many as there are cores */
  readonly threads?: number;
  /** Plays all of them, whatever fails. @default false */
  readonly goesOn?: boolean;
  /** Tells what happened in each, also when nothing broke. @default false */
  readonly inFull?: boolean;
  readonly onTold?: (told: Told, soFar: number) => void;
}

/** Ends at the first failure, when the lower seeds have been played, unless it is to go on. */
export async function run(options: RunOptions): Promise<Totals> {
  const { from, seeds, databaseUrl = null, goesOn = false, inFull = false, onTold } = options;
  const threads = Math.min(options.threads ?? availableParallelism(), seeds);
  const started = performance.now();
  const totals = { seeds: 0, looks: 0, calls: 0, virtualSeconds: 0 };
  let failed: Told | null = null;
  const playing = Array.from({ length: threads }, (_, n) => {
    const part = { from: from + n, step: threads, seeds: Math.ceil((seeds - n) / threads) };
    const workerData: Given = { ...part, databaseUrl, inFull };
    const worker = new Worker(new URL('./thread.ts', import.meta.url), { workerData });
    return new Promise<void>((resolve, reject) => {
      worker.on('message', (told: Told) => {
        totals.seeds += 1;
        totals.looks += told.looks;
        totals.calls += told.calls;
        totals.virtualSeconds += told.virtualSeconds;
        if (told.property !== null && (failed === null || told.seed < failed.seed)) failed = told;
        onTold?.(told, totals.seeds);
        if (failed !== null && told.seed >= failed.seed && !goesOn) void worker.terminate();
      });
      worker.on('error', reject);
      worker.on('exit', () => resolve());
    });
  });
  await Promise.all(playing);
  return { ...totals, seconds: (performance.now() - started) / 1000, failed };
}
