/** A worker of the control plane in a thread: the real store, queue and kinds, an account in another thread. */
import { pino } from 'pino';
import { parentPort, workerData } from 'node:worker_threads';
import { awsCloud } from '../services/control-plane/aws.ts';
import { openDatabase } from '../services/control-plane/store/database.ts';
import { Looks } from '../services/control-plane/store/looks.ts';
import { startWorker, type WorkerOptions } from '../services/control-plane/worker.ts';
import { remoteAccount } from './simulated-calls.ts';

const { url, concurrency, latencyMs } = workerData as { url: string; concurrency: number; latencyMs: number };
const port = parentPort!;
const account = remoteAccount(port, '555000000001', 'us-east-1', latencyMs);
const cloud = awsCloud({ enter: () => Promise.resolve(account) } as unknown as Parameters<typeof awsCloud>[0]);
const db = openDatabase(url, { connections: concurrency, onError: () => {} });
const real = await Looks.open(db, { url, heartbeatSeconds: 10, expireSeconds: 600, onError: () => {} });

let passes = 0;
const looks = {
  isStopping: false,
  // What is settled would be the sweep's from then on: here it is looked at again at once, as what is not settled is.
  settle: (...[tx, look, asked, next]: Parameters<Looks['settle']>) =>
    real.settle(tx, look, asked, next === null || typeof next === 'number' ? next : 0),
  workSweeps: () => Promise.resolve(),
  work: (options: Parameters<Looks['work']>[0], carryOut: Parameters<Looks['work']>[1]) =>
    real.work(options, async (look) => {
      await carryOut(look);
      passes += 1;
    }),
} as unknown as WorkerOptions['looks'];
port.on('message', (message: unknown) => {
  if (message === 'count') port.postMessage({ passes });
});
const log = pino({ level: 'silent' });
await startWorker({
  db,
  looks,
  cloud,
  log,
  digestKey: Buffer.alloc(32),
  concurrency,
  sweepSeconds: 0,
  pollSeconds: 0.5,
});
