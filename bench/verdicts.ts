/**
 * How soon a rollout that fails is known to have failed, by cause: seconds from the first task's end until
 * `DEPLOY_FAILED`, beside ECS's circuit breaker on a twin of the same service in the same run. docs/benchmarks.md.
 */
import {
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServicesCommand,
  ECSClient,
  ListTasksCommand,
} from '@aws-sdk/client-ecs';
import { setTimeout as sleep } from 'node:timers/promises';
import { shortId } from '../services/reconciler/aws/names.ts';
import { startRehearsal, type AwsEvent } from '../services/rehearsal/index.ts';
import { controlPlaneUser, onboard, startControlPlane } from '../services/rehearsal/scene.ts';
import * as stage from '../test/e2e/stage.ts';
import { eventually } from '../test/support/eventually.ts';
import { writeSection } from './section.ts';

const ACCOUNT = '450000000003';
/** One for AWS's waits and the configured timers, so that seconds can be multiplied back. */
const PACE = 10;
/** How often ECS's kind asks to be looked at. */
const POLL_SECONDS = 5;
const LIMIT_SECONDS = 240;

const crash = (said: string): Record<string, string> => ({ CRASH: 'start', EXIT_CODE: '3', SAY: said });
const CAUSES: readonly { readonly cause: string; readonly env?: Record<string, string>; readonly image?: string }[] = [
  { cause: 'image: layers lost', image: 'missing-layers' },
  { cause: 'crash: exit code 3', env: crash('starting') },
  { cause: 'crash: a module is missing', env: crash("ModuleNotFoundError: No module named 'langchain_openai'") },
  {
    cause: 'licence refused',
    env: crash('ValueError: License verification failed. Please ensure proper configuration:'),
  },
  {
    cause: 'database not reached',
    env: crash('psycopg.OperationalError: connection to server at "10.9.9.9", port 5432 failed: Connection refused'),
  },
  { cause: 'out of memory', env: { UNHEALTHY: '1' } },
  { cause: 'health check: 503', env: { UNHEALTHY: '1' } },
  { cause: 'health check: 404', env: { UNHEALTHY: '1', OK_STATUS: '404' } },
  { cause: 'port not opened', env: { START_MS: '3600000' } },
];
const ELSEWHERE = [
  { name: 'POSTGRES_URI_CUSTOM', value: 'postgresql://u:p@db.invalid:5432/x' },
  { name: 'REDIS_URI_CUSTOM', value: 'redis://cache.invalid:6379/0' },
];

const rehearsal = await startRehearsal({ lag: true, pace: PACE, timerPace: PACE });
const principal = await controlPlaneUser(rehearsal);
const env = { FREEHOLD_POLL_SECONDS: String(POLL_SECONDS / PACE), FREEHOLD_AGENT_AUTH: 'noop' };
const api = await startControlPlane({ rehearsal, principal, env });
const ecs = new ECSClient(stage.customerClient(rehearsal, ACCOUNT));
const cluster = 'freehold';

/** As the account tells EventBridge; the last 2,000 are kept, so they are collected. */
const events = new Map<string, AwsEvent>();
let isOver = false;
const collecting = (async () => {
  while (!isOver) {
    for (const event of await rehearsal.events(ACCOUNT)) events.set(event.id, event);
    await sleep(500);
  }
})();
const at = (event: AwsEvent): number => Date.parse(event.time) / 1000;
/** When its tasks came to an end that is a failure, in seconds since 1970. */
const ends = (service: string): number[] =>
  [...events.values()]
    .filter(({ detail }) => {
      const { group, stopCode, stoppedReason = '', desiredStatus } = detail as Record<string, string | undefined>;
      if (group !== `service:${service}` || desiredStatus !== 'STOPPED') return false;
      return stopCode !== 'ServiceSchedulerInitiated' || /health check/.test(stoppedReason);
    })
    .reduce<number[]>((found, event) => {
      const { stoppingAt } = event.detail as { stoppingAt?: string };
      const when = stoppingAt === undefined ? at(event) : Date.parse(stoppingAt) / 1000;
      return found.includes(when) ? found : [...found, when];
    }, [])
    .toSorted((a, b) => a - b);

async function outOfMemory(service: string, isDone: () => boolean): Promise<void> {
  while (!isDone()) {
    const { taskArns = [] } = await ecs.send(
      new ListTasksCommand({ cluster, serviceName: service, desiredStatus: 'RUNNING' }),
    );
    await Promise.all(taskArns.map((task) => rehearsal.outOfMemory(task).catch(() => {})));
    await sleep(200);
  }
}

interface Measured {
  readonly cause: string;
  readonly message: string;
  /** From the first task's end; and from the one that left no doubt. */
  readonly ours: number;
  readonly sinceLast: number;
  readonly breaker: number;
}

async function measured({ cause, env = {}, image = 'stub' }: (typeof CAUSES)[number]): Promise<Measured> {
  const tag = cause.replaceAll(/[^a-z0-9]+/g, '-');
  const { uri } = await rehearsal.pushImage({
    account: ACCOUNT,
    region: stage.REGION,
    repository: 'agent',
    tag,
    image,
    env,
  });
  const made = await stage.createDeployment(api, { name: tag, image: uri, secrets: ELSEWHERE });
  const service = `freehold-${shortId(made.id)}`;
  let failedAt = 0;
  let tripped = 0;
  const describe = async (name: string) =>
    (await ecs.send(new DescribeServicesCommand({ cluster, services: [name] }))).services?.[0];
  const original = await eventually('its service is made', () => describe(service), { seconds: 60, every: 50 });
  const twin = `twin-${service}`;
  await ecs.send(
    new CreateServiceCommand({
      cluster,
      serviceName: twin,
      taskDefinition: original.taskDefinition,
      desiredCount: 1,
      launchType: 'FARGATE',
      networkConfiguration: original.networkConfiguration,
      deploymentConfiguration: original.deploymentConfiguration,
      loadBalancers: original.loadBalancers,
      healthCheckGracePeriodSeconds: original.healthCheckGracePeriodSeconds,
    }),
  );
  const isOutOfMemory = cause === 'out of memory';
  const killing = isOutOfMemory
    ? Promise.all([outOfMemory(service, () => failedAt > 0), outOfMemory(twin, () => tripped > 0)])
    : undefined;
  const ours = eventually(
    'DEPLOY_FAILED',
    async () => {
      const revision = await api.call('GET', `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}`);
      if (revision.status === 'DEPLOYED') throw new Error('it was deployed');
      if (revision.status !== 'DEPLOY_FAILED') return false;
      failedAt = Date.now() / 1000;
      return revision.status_message as string;
    },
    { seconds: LIMIT_SECONDS, every: 100 },
  );
  const theirs = eventually(
    "ECS's breaker",
    async () => {
      const found = await describe(twin);
      if (found?.deployments?.[0]?.rolloutState !== 'FAILED') return false;
      tripped = Date.now() / 1000;
      return true;
    },
    { seconds: LIMIT_SECONDS, every: 100 },
  );
  const [message] = await Promise.all([ours, theirs]);
  await killing;
  await sleep(1000);
  await ecs.send(new DeleteServiceCommand({ cluster, service: twin, force: true }));
  const before = ends(service).filter((when) => when <= failedAt);
  return {
    cause,
    message,
    ours: (failedAt - before[0]!) * PACE,
    sinceLast: (failedAt - before.at(-1)!) * PACE,
    breaker: (tripped - ends(twin)[0]!) * PACE,
  };
}

try {
  await onboard(api, principal.arn, { rehearsal, account: ACCOUNT, name: 'bench' });
  const all: Measured[] = [];
  // A few at a time: what is measured is a wait, not this machine.
  const waiting = [...CAUSES];
  const worker = async (): Promise<void> => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) all.push(await measured(one));
  };
  await Promise.all([worker(), worker(), worker()]);
  const rows = CAUSES.map(({ cause }) => all.find((one) => one.cause === cause)!);
  for (const { cause, message } of rows) process.stderr.write(`${cause}: ${message}\n`);
  const row = ({ cause, ours, sinceLast, breaker }: Measured): string =>
    `| ${cause} | ${ours.toFixed(0)} | ${sinceLast.toFixed(0)} | ${breaker.toFixed(0)} | ${(ours / breaker).toFixed(2)} |`;
  writeSection(`## Verdicts

\`bench/verdicts.ts\`: seconds of AWS's time from the end of the first task of a first revision until \`DEPLOY_FAILED\`;
from the task's end that left no doubt, which is the second one where a retry might have helped; and until ECS's circuit
breaker trips for a twin of the same service. A look every ${POLL_SECONDS} seconds. The emulated AWS, its timers and our
looks are ${PACE} times faster here, and the seconds multiplied back: what processes take to start counts ${PACE}-fold.

What may be a slow start (503, a port that is not open yet, a database that is not reached) is left to ECS's breaker
on purpose (docs/adr/0023): there the ratio is near 1, and the message has the cause from the first task's end on. Not
measured: a secret that is missing, an organization's policy, no capacity, no addresses (docs/control-plane.md has what
they do).

| cause | first end → \`DEPLOY_FAILED\` | deciding end → \`DEPLOY_FAILED\` | first end → ECS's breaker | ratio |
| --- | ---: | ---: | ---: | ---: |
${rows.map(row).join('\n')}
`);
} finally {
  isOver = true;
  await collecting.catch(() => {});
  ecs.destroy();
  await api.stop();
  await rehearsal.stop();
}
