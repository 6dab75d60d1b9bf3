/**
 * The simulation: seeds a second on the model and on the real store, and the mutations that it catches. And the control
 * plane's own speed over the simulated account: passes a second of one worker and of two, each a thread with its own
 * connections, over one real PostgreSQL and the real queue. docs/benchmarks.md.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { addWorkspace } from '../services/control-plane/store/access.ts';
import { openDatabase } from '../services/control-plane/store/database.ts';
import { acceptDeployment, draftDeployment, type RevisionIntent } from '../services/control-plane/store/deployments.ts';
import { Looks } from '../services/control-plane/store/looks.ts';
import { migrate } from '../services/control-plane/store/migrations.ts';
import { addPlace, changePlace } from '../services/control-plane/store/places.ts';
import { startPostgres } from '../services/postgres.ts';
import { SimulatedAccount } from '../simulation/aws/account.ts';
import { run, type Totals } from '../simulation/run.ts';
import { answerCalls } from './simulated-calls.ts';
import { writeSection } from './section.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '2000' },
    deployments: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '20' },
    'without-mutations': { type: 'boolean', default: false },
  },
});
const SEEDS = Number(values.seeds);
const DEPLOYMENTS = Number(values.deployments);
const SECONDS = Number(values.seconds);
/** Of one AWS call, there and back. */
const LATENCY_MS = 40;
/** Looks at once in one worker. */
const CONCURRENCY = 16;

const directory = mkdtempSync(join(tmpdir(), 'bench-simulation-'));
const postgres = await startPostgres({ directory, durable: false });
const rows: string[] = [];
const row = (what: string, value: string, beside = ''): void => void rows.push(`| ${what} | ${value} | ${beside} |`);

function tell(store: string, { seeds, seconds, looks, calls, virtualSeconds, failed }: Totals): void {
  if (failed !== null) throw new Error(`seed ${failed.seed} broke "${failed.property}": ${failed.how}`);
  row(
    `seeds a second, ${store}`,
    (seeds / seconds).toFixed(1),
    `${seeds} seeds in ${seconds.toFixed(0)} s: ${looks} looks, ${calls} AWS calls, ` +
      `${(virtualSeconds / 86_400).toFixed(0)} days of virtual time`,
  );
}

interface Passes {
  readonly passes: number;
  readonly seconds: number;
  /** Processor seconds of the threads that are workers. */
  readonly processor: number;
}

/** Passes over a settled fleet, by so many workers, each looking again at once. */
async function passes(url: string, workers: number, account: SimulatedAccount): Promise<Passes> {
  const began = process.resourceUsage();
  const threads = Array.from({ length: workers }, () => {
    const workerData = { url, concurrency: CONCURRENCY, latencyMs: LATENCY_MS };
    const thread = new Worker(new URL('simulated-worker.ts', import.meta.url), { workerData });
    answerCalls(thread, account);
    return thread;
  });
  const counted = (): Promise<number[]> =>
    Promise.all(
      threads.map(
        (thread) =>
          new Promise<number>((resolve) => {
            const told = (message: { passes?: number }): void => {
              if (message.passes === undefined) return;
              thread.off('message', told);
              resolve(message.passes);
            };
            thread.on('message', told);
            // eslint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
            thread.postMessage('count');
          }),
      ),
    );
  const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);
  await new Promise((resolve) => setTimeout(resolve, 5000)); // until all run at full speed
  const [from, at] = [sum(await counted()), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const [to, until] = [sum(await counted()), performance.now()];
  await Promise.all(threads.map((thread) => thread.terminate()));
  const ended = process.resourceUsage();
  const used = ended.userCPUTime + ended.systemCPUTime - began.userCPUTime - began.systemCPUTime;
  return { passes: to - from, seconds: (until - at) / 1000, processor: used / 1e6 };
}

async function fleet(url: string, account: SimulatedAccount): Promise<void> {
  const db = openDatabase(url, { connections: 4, onError: () => {} });
  await migrate(db);
  const looks = await Looks.open(db, { url, heartbeatSeconds: 30, expireSeconds: 600, onError: () => {} });
  const workspaceId = await addWorkspace(db, 'bench');
  const place = (await addPlace(db, { workspaceId, name: 'place', version: null }))!;
  await changePlace(db, place.id, { outputs: account.place() });
  const intent: RevisionIntent = {
    source: 'external_docker',
    imageUri: 'agent',
    image: `agent@sha256:${'1'.repeat(64)}`,
    build: null,
    resourceSpec: {},
    resources: { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 1 },
    environment: [],
    references: [],
    agentAuth: { type: 'noop' },
  };
  for (let n = 0; n < DEPLOYMENTS; n += 1) {
    const given = { id: randomUUID(), workspaceId, placeId: place.id, name: `agent-${n}`, source: 'external_docker' };
    const draft = { ...given, type: 'dev', customUrl: null, k8sNamespace: null, takes: {} } as const;
    await draftDeployment(db, draft, () => Promise.resolve(null));
    await acceptDeployment(db, looks, given.id, intent);
  }
  await looks.stop(1);
  await db.destroy();
}

try {
  tell('memory', await run({ from: 1, seeds: SEEDS }));
  tell('PostgreSQL', await run({ from: 1, seeds: Math.ceil(SEEDS / 50), databaseUrl: postgres.url }));

  if (!values['without-mutations']) {
    const mutate = join(import.meta.dirname, '..', 'bin', 'mutate.ts');
    const found = await new Promise<string>((resolve) =>
      execFile(process.execPath, [mutate, '--json'], (_error, stdout) => resolve(stdout)),
    );
    const caught = JSON.parse(found) as { mutation: string; property: string | null; seeds: number }[];
    row(
      'mutations caught',
      `${caught.filter(({ property }) => property !== null).length} of ${caught.length}`,
      'each below',
    );
    for (const { mutation, property, seeds } of caught)
      row(`_${mutation}_`, property === null ? 'not caught' : `${seeds} seeds`, property ?? '');
  }

  const habits = { now: () => Date.now(), random: Math.random };
  const quotas = { databases: 10_000, targetGroupsPerBalancer: 10_000, rulesPerBalancer: 10_000 };
  const account = new SimulatedAccount({
    id: '555000000001',
    region: 'us-east-1',
    habits,
    lag: 0,
    slowness: 0.001,
    rates: Infinity,
    quotas,
  });
  await fleet(postgres.url, account);
  await passes(postgres.url, 2, account); // until all are deployed
  const [one, two] = [await passes(postgres.url, 1, account), await passes(postgres.url, 2, account)];
  const rate = ({ passes: count, seconds }: Passes): number => count / seconds;
  const busy = ({ processor, seconds }: Passes): string => (processor / (seconds + 5)).toFixed(2);
  row(
    'passes a second, one worker',
    rate(one).toFixed(0),
    `${DEPLOYMENTS} settled deployments, ${CONCURRENCY} looks at once, ${LATENCY_MS} ms a call; ${busy(one)} cores`,
  );
  row(
    'passes a second, two workers',
    rate(two).toFixed(0),
    `${(rate(two) / rate(one)).toFixed(2)} times as many; ${busy(two)} cores busy`,
  );
  writeSection(
    [
      '## Simulation',
      '',
      `On ${cpus().length} cores (${cpus()[0]!.model}). Cores are those of the workers and the account, without PostgreSQL's.`,
      '',
      '| what | value | |',
      '| --- | --- | --- |',
      ...rows,
    ].join('\n'),
  );
} finally {
  await postgres.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit();
