/**
 * What a rollout that fails says, from what ECS says of its tasks; and that ECS's going back is not taken for success.
 */
import { ECSClient, ListTasksCommand, UpdateServiceCommand } from '@aws-sdk/client-ecs';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { names } from '../../services/reconciler/aws/names.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { ecsService, type EcsServiceInputs } from '../../services/reconciler/kinds/ecs-service.ts';
import { listenerRule } from '../../services/reconciler/kinds/listener-rule.ts';
import { logGroup } from '../../services/reconciler/kinds/log-group.ts';
import { classify, conceal, lastWords } from '../../services/reconciler/kinds/rollout.ts';
import { securityGroup } from '../../services/reconciler/kinds/security-group.ts';
import { targetGroup } from '../../services/reconciler/kinds/target-group.ts';
import { taskDefinition } from '../../services/reconciler/kinds/task-definition.ts';
import type { Cx, Kind } from '../../services/reconciler/resource.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000003';

const service = { container: { name: 'server', logGroup: '/x' }, healthPath: '/ok', events: [] };
const container = (given: object) => ({ containers: [{ name: 'server', image: 'agent@sha256:1', ...given }] });

const NO_WAY_OUT =
  'the task does not get out of its subnet: look at the NAT gateway, the routes, the endpoints and the security groups';

for (const { reason, task, events, why, logs } of [
  {
    reason: 'an image that is not in the registry',
    task: {
      stopCode: 'TaskFailedToStart' as const,
      stoppedReason:
        'CannotPullContainerError: pull image manifest has been retried 1 time(s): agent@sha256:1: not found',
      ...container({}),
    },
    why: 'the image cannot be pulled: "agent@sha256:1": pull image manifest has been retried 1 time(s): agent@sha256:1: not found',
    logs: false,
  },
  {
    reason: 'no way out of the subnet: the registry is not reached',
    task: {
      stopCode: 'TaskFailedToStart' as const,
      stoppedReason:
        'ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from ' +
        'Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network ' +
        'configuration. operation error ECR: GetAuthorizationToken, exceeded maximum number of attempts, 3, https ' +
        'response error StatusCode: 0, RequestID: , request send failed, Post "https://api.ecr.us-east-1.amazonaws.com' +
        '/": dial tcp 52.94.0.1:443: i/o timeout',
      ...container({}),
    },
    why: `${NO_WAY_OUT}: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network configuration. operation error ECR: GetAuthorizationToken, exceeded maxim`,
    logs: false,
  },
  {
    reason: 'no way out of the subnet: a public image is not reached',
    task: {
      stopCode: 'TaskFailedToStart' as const,
      ...container({
        reason:
          'CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref agent:1: ' +
          'failed to do request: Head "https://public.ecr.aws/v2/agent/manifests/1": dial tcp 52.94.0.1:443: i/o timeout',
      }),
    },
    why: `${NO_WAY_OUT}: pull image manifest has been retried 5 time(s): failed to resolve ref agent:1: failed to do request: Head "https://public.ecr.aws/v2/agent/manifests/1": dial tcp 52.94.0.1:443: i/o timeout`,
    logs: false,
  },
  {
    reason: 'a registry that the execution role may not use is not a missing secret',
    task: {
      stopCode: 'TaskFailedToStart' as const,
      stoppedReason:
        'ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: ' +
        'unable to retrieve ecr registry auth: service call has been retried 1 time(s): AccessDeniedException: no',
      ...container({}),
    },
    why: 'the task could not be set up: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 1 time(s): AccessDeniedException: no',
    logs: false,
  },
  {
    reason: 'a secret that is not there',
    task: {
      stopCode: 'TaskFailedToStart' as const,
      stoppedReason:
        'ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secret from asm: not found, request id: 7b0c2c3e-aaaa-bbbb-cccc-000000000001',
      ...container({}),
    },
    why: 'a secret cannot be read: unable to pull secrets or registry auth: unable to retrieve secret from asm: not found',
    logs: false,
  },
  {
    reason: 'a crash',
    task: {
      stopCode: 'EssentialContainerExited' as const,
      stoppedReason: 'Essential container in task exited',
      ...container({ exitCode: 3 }),
    },
    why: 'the server crashed: "server": exit code 3',
    logs: true,
  },
  {
    reason: 'killed from outside',
    task: { stopCode: 'EssentialContainerExited' as const, ...container({ exitCode: 137 }) },
    why: 'the server crashed: "server": exit code 137 (signal 9)',
    logs: true,
  },
  {
    reason: 'too little memory',
    task: {
      stopCode: 'EssentialContainerExited' as const,
      ...container({ exitCode: 137, reason: 'OutOfMemoryError: Container killed due to memory usage' }),
    },
    why: 'the server ran out of memory: "server": Container killed due to memory usage',
    logs: true,
  },
  {
    reason: 'a health check that fails, with what the balancer saw',
    task: {
      stopCode: 'ServiceSchedulerInitiated' as const,
      stoppedReason: 'Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:x)',
      ...container({ exitCode: 143 }),
    },
    events: [
      '(service x, taskSet y) (port 8000) is unhealthy in (target-group arn:x) due to (reason Health checks failed with these codes: [503]).',
    ],
    why: 'the health check failed: "GET /ok": Health checks failed with these codes: [503]',
    logs: true,
  },
]) {
  test(`the cause of a failed rollout: ${reason}`, () => {
    assert.deepEqual(classify(task, { ...service, events: events ?? [] }), { why, logs });
  });
}

for (const [line, shown] of [
  ['connect postgresql://langgraph:hunter2@db:5432/x failed', 'connect postgresql://…@db:5432/x failed'],
  ['OPENAI_API_KEY=sk-abcdefgh12345678 is wrong', 'OPENAI_API_KEY=… is wrong'],
  ['{"password": "hunter2", "n": 1}', '{"password": "…", "n": 1}'],
  ['Authorization: Bearer abc.def', 'Authorization: …'],
  ['used lsv2_pt_0123456789abcdef twice', 'used lsv2_… twice'],
  ['KeyError: REDIS_URI', 'KeyError: REDIS_URI'],
  ['aws_secret_access_key=wJalr/XUtn+FEMI is wrong', 'aws_secret_access_key=… is wrong'],
  ['AWS_SECRET_ACCESS_KEY: wJalr/XUtn+FEMI', 'AWS_SECRET_ACCESS_KEY: …'],
  ['used AKIAIOSFODNN7EXAMPLE twice', 'used AKIA… twice'],
  ['PRIVATE_KEY=MIIEvQIBADAN', 'PRIVATE_KEY=…'],
  ['PRIVATE_KEY="two words" DEBUG=1', 'PRIVATE_KEY="…" DEBUG=1'],
  ['key -----BEGIN RSA PRIVATE KEY----- MIIEvQ', 'key …'],
  ['{"db_password_prod": "hunter2"}', '{"db_password_prod": "…"}'],
  ["{'db_password_prod': 'hunt\"er2', 'n': 1}", "{'db_password_prod': '…', 'n': 1}"],
  ['body {\\"token\\": \\"hunter2\\"}', 'body {\\"token\\": \\"…\\"}'],
  ['got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln back', 'got eyJ… back'],
  ['redis://:pa/ss@host:6379 is down', 'redis://…@host:6379 is down'],
  ['postgresql://u:p@ss@host/x and "redis://:x@y"', 'postgresql://…@host/x and "redis://…@y"'],
  ['credentials: hunter2', 'credentials: …'],
  ['sent Bearer abcdefghijklmnopqrst', 'sent Bearer …'],
  ['denied: secretsmanager:GetSecretValue on x', 'denied: secretsmanager:GetSecretValue on x'],
  ['could not connect to https://host/path: 500', 'could not connect to https://host/path: 500'],
]) {
  test(`in a log line: ${shown}`, () => assert.equal(conceal(line!), shown));
}

const json = (level: string, event: string, more: object = {}): string =>
  JSON.stringify({ level, event, timestamp: '2026-01-01T00:00:00Z', thread: 'MainThread', ...more });
const traceback = [
  'Traceback (most recent call last):',
  '  File "/app/agent.py", line 3, in <module>',
  '    connect()',
  'ConnectionRefusedError: [Errno 111] Connection refused',
];
for (const [reason, lines, shown] of [
  [
    'plain lines',
    ['starting', 'listening', 'boom: no configuration'],
    ['starting', 'listening', 'boom: no configuration'],
  ],
  ['of JSON lines the sentence', [json('info', 'starting'), json('info', 'started')], ['starting', 'started']],
  ['errors before anything else', [json('error', 'no graph "a"'), json('info', 'shutting down')], ['no graph "a"']],
  ['of a traceback the exception', ['starting', ...traceback, ''], [traceback.at(-1)!]],
  ['also when its beginning is cut off', traceback.slice(1), [traceback.at(-1)!]],
  [
    'a traceback in a JSON line',
    [json('error', 'startup failed', { exception: traceback.join('\n') }), json('info', 'bye')],
    [traceback.at(-1)!],
  ],
  [
    'a chain of exceptions',
    [
      ...traceback,
      '',
      'During handling of the above exception, another exception occurred:',
      '',
      ...traceback.slice(0, 3),
      'ValueError: no',
    ],
    [traceback.at(-1)!, 'ValueError: no'],
  ],
  [
    'a group of exceptions',
    ['  + Exception Group Traceback (most recent call last):', '  |   File "x.py", line 1', '  | ValueError: no'],
    ['ValueError: no'],
  ],
  ['a stack of Node', ['Error: no such file', '    at open (node:fs:1:2)'], ['Error: no such file']],
  ['a line once', ['error: a', 'error: a'], ['error: a']],
  ['concealed', [json('error', 'bad password=hunter2')], ['bad password=…']],
  ['no half of a word', [`${'word '.repeat(34)}hunter2hunter2`], [`${'word '.repeat(34)}…`]],
  ['what has no sentence', [JSON.stringify({ value: 'hunter2' }), ''], []],
] as [string, string[], string[]][]) {
  test(`the end of a log: ${reason}`, () => assert.deepEqual(lastWords(lines), shown));
}

test('the end of a log is short, however much was said', () => {
  const said = lastWords(Array.from({ length: 100 }, (_, i) => `error ${i}: ${'x '.repeat(300)}`));
  assert.ok(said.length > 0 && said.join('" "').length <= 260, String(said.join().length));
});

describe('in the emulated account', { timeout: 240_000, concurrency: 3 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let aws: Account;
  let repository: string;

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    aws = await t.accounts.enter(t.place, { name: 'rollouts' });
    const { uri } = await rehearsal.pushImage({
      account: ACCOUNT,
      region: 'us-east-1',
      repository: 'app',
      image: 'stub',
    });
    repository = uri;
  });
  after(async () => {
    t.close();
    await rehearsal.stop();
  });

  async function ready<In, Out>(kind: Kind<In, unknown, Out>, cx: Cx, inputs: In, seconds = 60): Promise<Out> {
    return eventually(
      `${kind.kind} is ready`,
      async () => {
        const now = await kind.observe(cx, inputs);
        if (now.is === 'broken') throw new Error(now.why);
        const live = now.is === 'absent' ? undefined : now.live;
        const changes = live === undefined ? [] : kind.diff(inputs, live);
        if (live === undefined || changes.length > 0) await kind.converge(cx, inputs, live, changes);
        return now.is === 'ready' && changes.length === 0 ? now.out : undefined;
      },
      { seconds, every: 100 },
    );
  }

  /** What a service needs, and ways to define and ask for its revisions. */
  async function prepared() {
    const deployment = { id: randomUUID(), name: 'agent' };
    const called = names(t.place, deployment);
    const cx = (node: string): Cx => ({
      aws,
      tags: ownerTags(t.place, deployment.id, node),
      fence: async () => {},
    });
    await ready(logGroup, cx('log-group'), { name: called.logGroup, retentionDays: 7 });
    const group = await ready(securityGroup, cx('service-group'), {
      name: called.serviceGroup,
      vpcId: t.place.vpcId,
      description: 'a test',
      ingress: [{ port: 8000, fromGroup: t.place.loadBalancerSecurityGroupId }],
    });
    const targets = await ready(targetGroup, cx('target-group'), {
      name: called.targetGroup,
      vpcId: t.place.vpcId,
      port: 8000,
      health: { path: '/ok', intervalSeconds: 5, timeoutSeconds: 2, healthyAfter: 2, unhealthyAfter: 2, codes: '200' },
      drainSeconds: 10,
    });
    await ready(listenerRule, cx('listener-rule'), {
      listenerArn: t.place.listenerArn,
      targetGroupArn: targets.arn,
      match: { path: `/${deployment.id}` },
    });
    const define = (
      number: number,
      given: { env?: Record<string, string>; image?: string; secrets?: Record<string, string> },
    ) =>
      ready(taskDefinition, cx(`task-r${number}`), {
        family: called.taskFamily(number),
        size: { cpu: 256, memoryMb: 512 },
        executionRoleArn: t.place.executionRoleArn,
        taskRoleArn: t.place.taskRoleArn,
        region: t.place.region,
        container: {
          name: 'server',
          image: given.image ?? repository,
          cpu: 256,
          memoryMb: 512,
          port: 8000,
          environment: given.env ?? {},
          secrets: given.secrets ?? {},
          stopSeconds: 30,
          logGroup: called.logGroup,
        },
      });
    const inputs = (taskDefinitionArn: string): EcsServiceInputs => ({
      name: called.service,
      clusterArn: t.place.clusterArn,
      taskDefinitionArn,
      subnets: t.place.privateSubnetIds,
      securityGroups: [group.id],
      min: 1,
      max: 1,
      minHealthy: 100,
      maxRunning: 200,
      balanced: { targetGroupArn: targets.arn, graceSeconds: 5, healthPath: '/ok' },
      container: { name: 'server', port: 8000, logGroup: called.logGroup },
    });
    return { cx: cx('service'), define, inputs };
  }

  /** ECS' verdict on a revision that is asked for, as the pass would ask. */
  async function brokenness(cx: Cx, inputs: EcsServiceInputs): Promise<string> {
    const before = await ecsService.observe(cx, inputs);
    assert.notEqual(before.is, 'broken', 'not tried yet');
    const live = before.is === 'absent' ? undefined : before.live;
    await ecsService.converge(cx, inputs, live, live === undefined ? [] : ecsService.diff(inputs, live));
    return eventually(
      'ECS gives up',
      async () => {
        const now = await ecsService.observe(cx, inputs);
        return now.is === 'broken' && now.why;
      },
      { seconds: 90, every: 200 },
    );
  }

  async function verdictOn(given: { env?: Record<string, string>; image?: string; secrets?: Record<string, string> }) {
    const { cx, define, inputs } = await prepared();
    const first = await define(1, {});
    await ready(ecsService, cx, inputs(first.arn));
    const second = inputs((await define(2, given)).arn);
    const why = await brokenness(cx, second);
    // ECS goes back to the first: ready for whoever wants that one, and still broken for whoever wants the second.
    await ready(ecsService, cx, inputs(first.arn), 90);
    const after = await ecsService.observe(cx, second);
    assert.equal(after.is, 'broken');
    assert.deepEqual(
      after.is === 'broken' ? ecsService.diff(second, after.live) : undefined,
      [],
      'what ECS gave up on is not asked for again',
    );
    assert.equal(after.is === 'broken' ? after.why : undefined, why, 'the same sentence later');
    // A third revision goes on from there.
    await ready(ecsService, cx, inputs((await define(3, { env: { REVISION: '3' } })).arn), 90);
    return why;
  }

  test('a broken image', async () => {
    const image = `${ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/app@sha256:${'0'.repeat(64)}`;
    assert.match(await verdictOn({ image }), /^the image cannot be pulled: ".*app@sha256:0+": /);
  });

  test('a missing secret', async () => {
    const arn = `arn:aws:secretsmanager:us-east-1:${ACCOUNT}:secret:freehold/none/environment-AbCdEf`;
    assert.match(await verdictOn({ secrets: { KEY: `${arn}:KEY::` } }), /^a secret cannot be read: /);
  });

  test('a crashing server', async () => {
    const why = await verdictOn({ env: { CRASH: 'start', EXIT_CODE: '3' } });
    assert.match(
      why,
      /^the server crashed: "server": exit code 3; last log lines: .*"boom: cannot start with this configuration"/,
    );
  });

  test('a failing health check', async () => {
    const why = await verdictOn({ env: { UNHEALTHY: '1' } });
    assert.match(why, /^the health check failed: "GET \/ok": .*503/);
  });

  // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html promises no order
  test('a rollout that was taken back is found among many', async () => {
    const { cx, define, inputs } = await prepared();
    const first = inputs((await define(1, {})).arn);
    await ready(ecsService, cx, first);
    const owner = new ECSClient({
      endpoint: rehearsal.endpoint,
      region: 'us-east-1',
      credentials: rehearsal.root(ACCOUNT),
    });
    const again = new UpdateServiceCommand({
      cluster: first.clusterArn,
      service: first.name,
      forceNewDeployment: true,
    });
    for (let n = 0; n < 120; n++) await owner.send(again);
    owner.destroy();
    const second = inputs((await define(2, { image: repository.replace(/.{64}$/, '0'.repeat(64)) })).arn);
    const why = await brokenness(cx, second);
    await ready(ecsService, cx, first, 90);
    const now = await ecsService.observe(cx, second);
    assert.equal(now.is === 'broken' ? now.why : now.is, why);
  });

  test('a server that runs out of memory', async () => {
    const { cx, define, inputs } = await prepared();
    await ready(ecsService, cx, inputs((await define(1, {})).arn));
    const { arn } = await define(2, { env: { UNHEALTHY: '1' } });
    let decided = false;
    const kernel = (async () => {
      while (!decided) {
        const family = arn.split('/').at(-1)!.split(':')[0]!;
        const { taskArns = [] } = await aws.ecs.send(
          new ListTasksCommand({ cluster: t.place.clusterArn, family, desiredStatus: 'RUNNING' }),
        );
        // Those that do not run yet have nothing to kill.
        await Promise.all(taskArns.map((task) => rehearsal.outOfMemory(task).catch(() => {})));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
    const why = await brokenness(cx, inputs(arn)).finally(() => (decided = true));
    await kernel;
    assert.match(why, /^the server ran out of memory: "server": Container killed due to memory usage/);
  });

  test('the very first revision fails: there is nothing to go back to, and the second one runs all the same', async () => {
    const { cx, define, inputs } = await prepared();
    const first = inputs((await define(1, { env: { CRASH: 'start' } })).arn);
    assert.match(await brokenness(cx, first), /^the server crashed: /);
    await ready(ecsService, cx, inputs((await define(2, {})).arn), 90);
  });
});
