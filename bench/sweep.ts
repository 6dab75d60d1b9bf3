/**
 * A sweep over a fleet where all is well: its AWS calls and its seconds, at 1,000 deployments and at 10,000. The real
 * sweep, kinds and store, on simulated accounts whose calls take some time and wait for AWS's rates, as they would for
 * AWS's. docs/benchmarks.md.
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { awsCloud } from '../services/control-plane/aws.ts';
import { addWorkspace } from '../services/control-plane/store/access.ts';
import { openDatabase, type Database } from '../services/control-plane/store/database.ts';
import { Looks } from '../services/control-plane/store/looks.ts';
import { migrate } from '../services/control-plane/store/migrations.ts';
import { addPlace, changePlace } from '../services/control-plane/store/places.ts';
import { sweepPlace, type Swept } from '../services/control-plane/sweeper.ts';
import type { Account, Accounts } from '../services/reconciler/aws/account.ts';
import { Rates } from '../services/reconciler/aws/rates.ts';
import { ownerTags } from '../services/reconciler/aws/tags.ts';
import { kinds } from '../services/reconciler/kinds/index.ts';
import { pass, type Row } from '../services/reconciler/pass.ts';
import type { Place } from '../services/reconciler/place.ts';
import { ecs } from '../services/reconciler/platforms/ecs.ts';
import { startPostgres } from '../services/postgres.ts';
import { SimulatedAccount, type SimulatedCall } from '../simulation/aws/account.ts';
import { writeSection } from './section.ts';

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '100,1000,10000' },
    /** Times as fast as AWS; seconds are told as AWS's. */
    pace: { type: 'string', default: '4' },
    'dry-run': { type: 'boolean', default: false },
  },
});
const SIZES = values.sizes.split(',').map(Number);
const PACE = Number(values.pace);
/** Deployments in one place: two ECS services each, of the 5,000 that a cluster may have. */
const PER_PLACE = 1000;
/** Places that a process sweeps at once, as in `Looks`. */
const AT_ONCE = 4;
/** Of one AWS call, there and back. */
const LATENCY_MS = 40;
const REGION = 'us-east-1';

/** So that fleets are as old, and sweeps come as far apart, as they usually do. */
let laterMs = 0;
const realNow = Date.now;
Date.now = () => realNow() + laterMs;

const log = pino({ level: 'silent' });
const directory = mkdtempSync(join(tmpdir(), 'bench-sweep-'));

/** An account with deployments that are as asked, and what the store knows of them. */
async function fill(db: Database, workspaceId: string, number: number, count: number) {
  const habits = { now: () => Date.now(), random: Math.random };
  const limits = { databases: count, targetGroupsPerBalancer: count, rulesPerBalancer: count };
  const id = String(470_000_000_000 + number);
  const account = new SimulatedAccount({
    id,
    region: REGION,
    habits,
    quotas: limits,
    lag: 0,
    slowness: 0,
    rates: Infinity,
  });
  const { id: placeId } = (await addPlace(db, { workspaceId, name: id, version: null }))!;
  await changePlace(db, placeId, { outputs: account.place() });
  const place: Place = { ...account.place(), id: placeId, externalId: 'none' };
  const aws = account.clients((_, act) => Promise.resolve(act()));
  for (let n = 0; n < count; n += 1)
    await settled(db, { workspaceId, placeId, place, aws, name: `agent-${number}-${n}` });
  return { account, placeId };
}

/** Passes until all is as asked, without the queue; then its rows are written, and it is the sweep's. */
async function settled(
  db: Database,
  o: { workspaceId: string; placeId: string; place: Place; aws: Account; name: string },
): Promise<void> {
  const { workspaceId, placeId, place, aws, name } = o;
  const [id, generation] = [randomUUID(), randomUUID()];
  const deployment = { id, name, workspaceId };
  const graph = ecs(
    {
      deployment,
      revision: { id: generation, number: 1 },
      type: 'dev',
      databaseTier: null,
      source: 'external_docker',
      references: [],
      environment: [],
      retainedSecretVersions: [],
      agentAuth: { type: 'noop' },
      image: `agent@sha256:${'1'.repeat(64)}`,
      resources: { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 2 },
    },
    place,
  );
  const rows = new Map<string, Row>();
  for (let looks = 0; ; looks += 1) {
    if (looks === 50) throw new Error(`"${name}" does not settle: ${JSON.stringify([...rows.values()])}`);
    const { settled: isSettled } = await pass({
      generation,
      graph,
      kinds,
      memory: new Map(),
      rows: {
        all: () => Promise.resolve([...rows.values()].map((row) => ({ ...row }))),
        put: (row) => Promise.resolve(void rows.set(row.id, { ...row })),
        drop: (dropped) => Promise.resolve(void rows.delete(dropped)),
      },
      cx: (node) => ({ aws, tags: ownerTags(place, id, node), fence: () => Promise.resolve() }),
      conceal: (text) => text,
      defect: (node, error) => {
        throw new Error(node, { cause: error });
      },
      say: () => Promise.resolve(),
      now: () => new Date(Date.now() + looks * 120_000), // what was just made counts as old
    });
    if (isSettled) break;
  }
  const given = { id, workspace_id: workspaceId, place_id: placeId, name, source: 'external_docker', type: 'dev' };
  await db
    .insertInto('deployments')
    .values({ ...given, type: 'dev', accepted_at: new Date(), asked: 1 })
    .execute();
  const status = { deployment_id: id, status: 'READY', epoch: 1, settled_asked: 1 } as const;
  await db.insertInto('deployment_statuses').values(status).execute();
  const json = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));
  const values = [...rows.values()].map((row) => ({
    deployment_id: id,
    id: row.id,
    kind: row.kind,
    needs: row.needs,
    state: row.state.state,
    message: row.state.message,
    generation: row.generation,
    since: row.since,
    tries: row.tries,
    inputs: json(row.inputs),
    outputs: json(row.outputs),
    asked_at: row.askedAt,
  }));
  await db.insertInto('resources').values(values).execute();
}

interface Measured {
  readonly deployments: number;
  readonly places: number;
  readonly calls: ReadonlyMap<string, number>;
  /** As AWS's rates and latency would have it. */
  readonly seconds: number;
  readonly processor: number;
}

async function measure(size: number): Promise<Measured[]> {
  const postgres = await startPostgres({ directory: join(directory, String(size)), durable: false });
  const db = openDatabase(postgres.url, { connections: 10, onError: () => {} });
  await migrate(db);
  const looks = await Looks.open(db, {
    url: postgres.url,
    heartbeatSeconds: 30,
    expireSeconds: 600,
    onError: () => {},
  });
  try {
    const workspaceId = await addWorkspace(db, 'bench');
    const places = new Map<string, SimulatedAccount>();
    for (let left = size, number = 1; left > 0; left -= PER_PLACE, number += 1) {
      const { account, placeId } = await fill(db, workspaceId, number, Math.min(left, PER_PLACE));
      places.set(placeId, account);
      process.stderr.write(`${size - Math.max(0, left - PER_PLACE)} of ${size} are there\n`);
    }
    const rates = new Rates({ pace: PACE });
    let calls = new Map<string, number>();
    const around = (account: string) => async (call: SimulatedCall, act: () => unknown) => {
      if (call.isWrite) throw new Error(`a sweep writes: ${call.operation}`);
      const { service, operation } = call;
      calls.set(`${service}:${operation}`, (calls.get(`${service}:${operation}`) ?? 0) + 1);
      await rates.take({ account, region: REGION, service, operation, who: 'sweep', isUrgent: false, seconds: 20 });
      await sleep(LATENCY_MS / PACE);
      return act();
    };
    const clients = new Map([...places.values()].map((account) => [account.id, account.clients(around(account.id))]));
    const enter = ({ accountId }: Place): Promise<Account> => Promise.resolve(clients.get(accountId)!);
    const cloud = awsCloud({ enter } as unknown as Accounts);
    const options = { db, looks, cloud, log, digestKey: Buffer.alloc(32), concurrency: 1, sweepSeconds: 900 };
    const measured: Measured[] = [];
    laterMs += 7_200_000;
    // The first one reads each task definition and target group's attributes; the next ones know them.
    for (let sweep = 1; sweep <= 2; sweep += 1) {
      laterMs += 900_000;
      calls = new Map();
      const [began, from] = [performance.now(), process.cpuUsage()];
      const waiting = [...places.keys()];
      const swept: Swept[] = [];
      const inTurn = async (): Promise<void> => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
          swept.push(await sweepPlace(options, next));
      };
      await Promise.all(Array.from({ length: AT_ONCE }, inTurn));
      const { user, system } = process.cpuUsage(from);
      const sum = (of: (one: Swept) => number): number => swept.reduce((all, one) => all + of(one), 0);
      const [deployments, suspects, unseen] = [
        sum((one) => one.deployments),
        sum((one) => one.suspects),
        sum((one) => one.unseen),
      ];
      if (deployments !== size || suspects + unseen > 0)
        throw new Error(`of ${size} ${deployments} were swept, ${suspects} with suspicion, ${unseen} things not seen`);
      const seconds = ((performance.now() - began) / 1000) * PACE;
      measured.push({ deployments, places: places.size, calls, seconds, processor: (user + system) / 1e6 });
    }
    return measured;
  } finally {
    await looks.stop(1);
    await db.destroy();
    await postgres.stop();
  }
}

try {
  const rows: string[] = [];
  let most = '';
  for (const size of SIZES) {
    const measured = await measure(size);
    for (const [at, { deployments, places, calls, seconds, processor }] of measured.entries()) {
      const all = [...calls.values()].reduce((sum, count) => sum + count, 0);
      const cells = [
        `${deployments}${places > 1 ? ` in ${places} places` : ''}, ${at === 0 ? 'the first' : 'each later'}`,
        all,
        (all / deployments).toFixed(2),
        seconds.toFixed(0),
        ((seconds / deployments) * 1000).toFixed(0),
        ((processor / deployments) * 1000).toFixed(1),
      ];
      rows.push(`| ${cells.join(' | ')} |`);
      const counted = [...calls].toSorted(([, a], [, b]) => b - a);
      most = `- ${deployments}: ${counted.map(([call, count]) => `${call} ${count}`).join(', ')}`;
    }
  }
  const text = [
    '## Sweep',
    '',
    `\`bench/sweep.ts\`, on ${cpus().length} processors: every resource of each healthy deployment is compared with what was asked for. Simulated`,
    `accounts of at most ${PER_PLACE} deployments, each with its own database and Redis; ${LATENCY_MS} ms a call, and four fifths of AWS's rates, which`,
    `are what it waits for; ${AT_ONCE} places at once. No call writes. (Clocks are ${PACE} times faster, and the seconds are multiplied back.)`,
    '',
    '| deployments | AWS calls | a deployment | seconds | ms a deployment | ms of a processor |',
    '| --- | --: | --: | --: | --: | --: |',
    ...rows,
    '',
    'Where the calls of the last one go:',
    '',
    most,
  ].join('\n');
  if (values['dry-run']) process.stdout.write(`${text}\n`);
  else writeSection(text);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
process.exit();
