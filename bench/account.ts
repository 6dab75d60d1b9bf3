/**
 * What the emulated account costs: its start, its reset, its memory, calls a second with IAM enforced and without, and
 * 200 tasks at once. docs/benchmarks.md.
 */
import {
  CreateServiceCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  ECSClient,
  ListTasksCommand,
  RunTaskCommand,
} from '@aws-sdk/client-ecs';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRehearsal, type Rehearsal } from '../services/rehearsal/index.ts';
import { eventually } from '../test/support/eventually.ts';
import { fargate, CLUSTER, REGION } from '../test/support/fargate.ts';
import { writeSection } from './section.ts';

const ACCOUNT = '450000000002';
const SERVICES = 1000;
const TASKS = 200;
const IN_FLIGHT = 16;
const PACE = 100;

const seconds = async (act: () => Promise<unknown>): Promise<number> => {
  const began = performance.now();
  await act();
  return (performance.now() - began) / 1000;
};
const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
const pidOf = async (rehearsal: Rehearsal): Promise<number> =>
  ((await (await fetch(`${rehearsal.endpoint}/_rehearsal/health`)).json()) as { pid: number }).pid;
const megabytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
/** Seconds of a processor that the process has used. */
const processor = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
};

/** Every item, so many at once; answers each one's milliseconds. */
async function flood<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<number[]> {
  const waiting = [...items];
  const taken: number[] = [];
  const worker = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      const one = item;
      taken.push((await seconds(() => act(one))) * 1000);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return taken;
}

const rows: string[] = [];
const row = (what: string, value: string, beside = ''): void => void rows.push(`| ${what} | ${value} | ${beside} |`);
const directory = mkdtempSync(join(tmpdir(), 'bench-'));
const running: Rehearsal[] = [];
const start = async (): Promise<Rehearsal> => {
  const rehearsal = await startRehearsal({
    pace: PACE,
    timerPace: 10,
    throttle: false,
    postgres: '',
    catalogue: join(directory, 'catalogue.json'),
  });
  running.push(rehearsal);
  return rehearsal;
};
const stop = async (rehearsal: Rehearsal): Promise<void> => {
  running.splice(running.indexOf(rehearsal), 1);
  await rehearsal.stop();
};

try {
  // The lightest program there is: what is measured is the account, not what runs in it.
  writeFileSync(
    join(directory, 'catalogue.json'),
    JSON.stringify({ images: { stub: { entrypoint: ['/bin/sleep', '3600'] } } }),
  );

  const starts: number[] = [];
  for (let i = 0; i < 3; i++) {
    starts.push(await seconds(start));
    await stop(running[0]!);
  }
  row('start', `${median(starts).toFixed(2)} s`, 'median of three');
  const together = await seconds(() => Promise.all([start(), start(), start(), start()]));
  row('four started at once', `${together.toFixed(2)} s`, `${(together / median(starts)).toFixed(1)} × one`);
  while (running.length > 0) await stop(running[0]!);

  const rehearsal = await start();
  const pid = await pidOf(rehearsal);
  row('memory after the start', `${megabytes(pid).toFixed(0)} MB`);

  const place = await fargate(rehearsal, ACCOUNT);
  await place.define('agent');
  const policy = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'ecs:*', Resource: '*' }] };
  const client = (credentials: { accessKeyId: string; secretAccessKey: string }): ECSClient =>
    new ECSClient({ endpoint: rehearsal.endpoint, region: REGION, credentials });
  const user = client(await rehearsal.createUser(ACCOUNT, 'bench', policy));
  const root = client(rehearsal.root(ACCOUNT));
  const names = Array.from({ length: SERVICES }, (_, i) => `service-${i}`);
  const networkConfiguration = place.networkConfiguration;
  const created = await seconds(() =>
    flood(names, (serviceName) =>
      user.send(
        new CreateServiceCommand({
          cluster: CLUSTER,
          serviceName,
          taskDefinition: 'agent',
          desiredCount: 0,
          launchType: 'FARGATE',
          networkConfiguration,
        }),
      ),
    ),
  );
  row(`create ${SERVICES} services`, `${(SERVICES / created).toFixed(0)} calls/s`, `${IN_FLIGHT} in flight`);

  const batches = Array.from({ length: 300 }, (_, i) => names.slice((i % 100) * 10, (i % 100) * 10 + 10));
  const describe = (ecs: ECSClient) => async (): Promise<{ rate: number; middle: number; cost: number }> => {
    let taken: number[] = [];
    const used = processor(pid);
    const all = await seconds(async () => {
      taken = await flood(batches, (services) => ecs.send(new DescribeServicesCommand({ cluster: CLUSTER, services })));
    });
    return {
      rate: batches.length / all,
      middle: median(taken),
      cost: ((processor(pid) - used) * 1000) / batches.length,
    };
  };
  await describe(root)(); // warm
  const enforced = await describe(user)();
  const unchecked = await describe(root)();
  row(
    'describe ten of them',
    `${enforced.rate.toFixed(0)} calls/s, median ${enforced.middle.toFixed(0)} ms`,
    `${enforced.cost.toFixed(1)} ms of a processor a call; ${(enforced.cost / unchecked.cost).toFixed(2)} × as root, whom nothing is asked`,
  );
  row('memory then', `${megabytes(pid).toFixed(0)} MB`);
  const emptied = await seconds(() => rehearsal.reset());
  row(`reset, with ${SERVICES} services`, `${emptied.toFixed(2)} s`);

  const tasks = await fargate(rehearsal, ACCOUNT);
  await tasks.define('agent');
  const own = tasks.ecs;
  const before = { processor: processor(pid), memory: megabytes(pid) };
  const run = await seconds(async () => {
    await flood([...Array(TASKS / 10).keys()], () =>
      own
        .send(
          new RunTaskCommand({
            cluster: CLUSTER,
            taskDefinition: 'agent',
            count: 10,
            launchType: 'FARGATE',
            networkConfiguration: tasks.networkConfiguration,
          }),
        )
        .then(({ failures = [] }) => {
          if (failures.length > 0) throw new Error(JSON.stringify(failures[0]));
        }),
    );
    await eventually(
      `${TASKS} tasks are RUNNING`,
      async () => {
        const arns: string[] = [];
        for (let nextToken: string | undefined, more = true; more; more = nextToken !== undefined) {
          const page = await own.send(new ListTasksCommand({ cluster: CLUSTER, nextToken }));
          arns.push(...(page.taskArns ?? []));
          nextToken = page.nextToken;
        }
        let there = 0;
        for (let i = 0; i < arns.length; i += 100) {
          const { tasks: found = [] } = await own.send(
            new DescribeTasksCommand({ cluster: CLUSTER, tasks: arns.slice(i, i + 100) }),
          );
          there += found.filter((task) => task.lastStatus === 'RUNNING').length;
          const failed = found.find((task) => task.stopCode);
          if (failed) throw new Error(failed.stoppedReason);
        }
        return there === TASKS || Promise.reject(new Error(`${arns.length} tasks, ${there} RUNNING`));
      },
      { seconds: 90, every: 200 },
    );
  });
  row(
    `${TASKS} tasks until RUNNING`,
    `${run.toFixed(1)} s`,
    `${(processor(pid) - before.processor).toFixed(1)} s of a processor`,
  );
  const processes = (await rehearsal.processes()).length;
  if (processes !== TASKS) throw new Error(`${TASKS} tasks are ${processes} processes`);
  const settled = processor(pid);
  const quiet = await seconds(() => new Promise((resolve) => setTimeout(resolve, 3000)));
  row('… at rest', `${(((processor(pid) - settled) / quiet) * 100).toFixed(0)} % of a processor`);
  row('… memory', `${megabytes(pid).toFixed(0)} MB`, `${before.memory.toFixed(0)} MB before`);
  row(`reset, with ${TASKS} tasks`, `${(await seconds(() => rehearsal.reset())).toFixed(2)} s`);

  writeSection(`## The emulated account

\`bench/account.ts\`, on ${cpus().length} processors; AWS's own waits ${PACE} times shorter, throttling off, tasks that do nothing.
Services are made and described as an IAM user, by the SDK, in another process on the same processors.

| what | | |
| --- | ---: | --- |
${rows.join('\n')}
`);
} catch (error) {
  process.stdout.write(`${rows.join('\n')}\n`);
  throw error;
} finally {
  for (const one of running) await one.stop();
  rmSync(directory, { recursive: true, force: true });
}
