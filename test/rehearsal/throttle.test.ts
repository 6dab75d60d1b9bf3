/** Request rates as AWS publishes them: real bursts, real codes; and that the SDK gets through. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { CloudTrailClient, LookupEventsCommand } from '@aws-sdk/client-cloudtrail';
import { CloudWatchLogsClient, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeSecurityGroupsCommand, DescribeVpcsCommand, EC2Client } from '@aws-sdk/client-ec2';
import {
  DescribeClustersCommand,
  DescribeServicesCommand,
  ECSClient,
  ListTaskDefinitionsCommand,
  RegisterTaskDefinitionCommand,
} from '@aws-sdk/client-ecs';
import { DescribeLoadBalancersCommand, ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import { IAMClient, ListRolesCommand } from '@aws-sdk/client-iam';
import { DescribeDBInstancesCommand, RDSClient } from '@aws-sdk/client-rds';
import { GetResourcesCommand, ResourceGroupsTaggingAPIClient } from '@aws-sdk/client-resource-groups-tagging-api';
import { DeleteSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { kinds } from '../../services/reconciler/kinds/index.ts';
import { logGroup } from '../../services/reconciler/kinds/log-group.ts';
import { pass, type Row } from '../../services/reconciler/pass.ts';
import { Graph } from '../../services/reconciler/resource.ts';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace } from '../support/place.ts';

const ACCOUNT = '340000000034';
let account: Rehearsal;
const options = (number = ACCOUNT, region = 'eu-central-1') => ({
  endpoint: account.endpoint,
  region,
  credentials: account.root(number),
  maxAttempts: 1,
});
before(async () => {
  account = await startRehearsal();
});
after(() => account.stop());

/** Codes of so many calls at once, by how often. */
async function burst(calls: number, call: () => Promise<unknown>): Promise<Record<string, number>> {
  const codes: Record<string, number> = {};
  await Promise.all(
    Array.from({ length: calls }, () =>
      call().then(
        () => 'ok',
        (error: { name: string; $metadata: { httpStatusCode: number } }) =>
          error.name.endsWith('NotFoundException') ? 'ok' : `${error.name} ${error.$metadata.httpStatusCode}`,
      ),
    ),
  ).then((all) => all.forEach((code) => (codes[code] = (codes[code] ?? 0) + 1)));
  return codes;
}

const definition = (family: string) =>
  new RegisterTaskDefinitionCommand({
    family,
    requiresCompatibilities: ['FARGATE'],
    networkMode: 'awsvpc',
    cpu: '256',
    memory: '512',
    containerDefinitions: [{ name: 'app', image: 'public.ecr.aws/docker/library/redis:7' }],
  });

const ECS = 'https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html';
const EC2 = 'https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html';
// [what, AWS's page, its burst, what comes back while the calls are made at most, the call, the refusal]
const BURSTS: [string, string, number, number, () => () => Promise<unknown>, string][] = [
  [
    'ECS: 20 task definitions',
    ECS,
    20,
    2,
    () => {
      const client = new ECSClient(options());
      return () => client.send(definition('burst'));
    },
    'ThrottlingException 400',
  ],
  [
    'ECS: 100 looks at services',
    ECS,
    100,
    40,
    () => {
      const client = new ECSClient(options());
      return () => client.send(new DescribeServicesCommand({ services: ['x'] }));
    },
    'ThrottlingException 400',
  ],
  [
    'EC2: 50 reads of an action without filter and pages',
    EC2,
    50,
    25,
    () => {
      const client = new EC2Client(options());
      return () => client.send(new DescribeSecurityGroupsCommand({}));
    },
    'RequestLimitExceeded 503',
  ],
  [
    'EC2: 100 reads of an action with a filter',
    EC2,
    100,
    40,
    () => {
      const client = new EC2Client(options());
      return () => client.send(new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'vpc-id', Values: ['vpc-1'] }] }));
    },
    'RequestLimitExceeded 503',
  ],
  [
    'ELB: 40 reads',
    'https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-throttling.html',
    40,
    20,
    () => {
      const client = new ElasticLoadBalancingV2Client(options());
      return () => client.send(new DescribeLoadBalancersCommand({}));
    },
    'ThrottlingException 400',
  ],
  [
    'CloudWatch Logs: 10 a second',
    'https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html',
    10,
    15,
    () => {
      const client = new CloudWatchLogsClient(options());
      return () => client.send(new DescribeLogGroupsCommand({}));
    },
    'ThrottlingException 400',
  ],
  [
    'Secrets Manager: 50 deletions a second',
    'https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html',
    50,
    60,
    () => {
      const client = new SecretsManagerClient(options());
      return () => client.send(new DeleteSecretCommand({ SecretId: 'none' }));
    },
    'ThrottlingException 400',
  ],
  [
    'CloudTrail: 2 a second',
    'https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html',
    2,
    3,
    () => {
      const client = new CloudTrailClient(options());
      return () => client.send(new LookupEventsCommand({}));
    },
    'ThrottlingException 400',
  ],
  [
    'tagging: 15 a second',
    'https://docs.aws.amazon.com/general/latest/gr/arg.html',
    15,
    22,
    () => {
      const client = new ResourceGroupsTaggingAPIClient(options());
      return () => client.send(new GetResourcesCommand({}));
    },
    'ThrottledException 400',
  ],
];
for (const [what, page, size, refilled, client, refusal] of BURSTS)
  test(`${what}, then it refuses (${page})`, async () => {
    const codes = await burst(size + refilled + 10, client());
    assert.deepEqual(Object.keys(codes).sort(), [refusal, 'ok'].sort());
    assert.ok(codes['ok']! >= size && codes['ok']! <= size + refilled, JSON.stringify(codes));
  });

test(`buckets are an account’s and a region’s own, and a group’s (${ECS})`, async () => {
  const spent = new ECSClient(options('340000000035'));
  assert.ok((await burst(30, () => spent.send(definition('a'))))['ThrottlingException 400']);
  assert.deepEqual(await burst(15, () => spent.send(new ListTaskDefinitionsCommand({}))), { ok: 15 });
  const elsewhere = new ECSClient(options('340000000035', 'us-east-1'));
  assert.deepEqual(await burst(15, () => elsewhere.send(definition('a'))), { ok: 15 });
  const another = new ECSClient(options('340000000036'));
  assert.deepEqual(await burst(15, () => another.send(definition('a'))), { ok: 15 });
});

test(`of EC2 each action has its own (${EC2})`, async () => {
  const client = new EC2Client(options('340000000037'));
  assert.ok((await burst(80, () => client.send(new DescribeSecurityGroupsCommand({}))))['RequestLimitExceeded 503']);
  assert.deepEqual(await burst(20, () => client.send(new DescribeVpcsCommand({}))), { ok: 20 });
});

test(`tokens come back with time, up to the bucket’s size (${ECS})`, async () => {
  const client = new ECSClient(options('340000000038'));
  await burst(25, () => client.send(definition('b')));
  await account.skip(5);
  const soon = await burst(12, () => client.send(definition('b')));
  assert.ok(soon['ok']! >= 5 && soon['ok']! <= 8, JSON.stringify(soon));
  await account.skip(3600);
  const later = await burst(26, () => client.send(definition('b')));
  assert.ok(later['ok']! >= 20 && later['ok']! <= 22, JSON.stringify(later));
});

test('where AWS publishes no rate, none is enforced', async () => {
  const iam = new IAMClient(options());
  const rds = new RDSClient(options());
  assert.deepEqual(await burst(120, () => iam.send(new ListRolesCommand({}))), { ok: 120 });
  assert.deepEqual(await burst(60, () => rds.send(new DescribeDBInstancesCommand({}))), { ok: 60 });
});

test('a refused call is in the log, and nothing of it happened', async () => {
  const client = new ECSClient(options('340000000039'));
  await burst(24, () => client.send(definition('logged')));
  const calls = (await account.calls()).filter((call) => call.account === '340000000039');
  const done = calls.filter((call) => call.status === 200).length;
  assert.equal(calls.length, 24);
  assert.ok(calls.some((call) => call.error === 'ThrottlingException'));
  const { taskDefinitionArns } = await client.send(new ListTaskDefinitionsCommand({ familyPrefix: 'logged' }));
  assert.equal(taskDefinitionArns!.length, done);
});

test('the SDK gets through a burst by waiting: 24 task definitions where 20 are allowed at once', async () => {
  const client = new ECSClient({ ...options('340000000041'), maxAttempts: 10 });
  const all = burst(24, () => client.send(definition('patient')));
  await new Promise((resolve) => setTimeout(resolve, 100));
  await account.skip(20);
  assert.deepEqual(await all, { ok: 24 });
});

test('rates can be switched off, for a benchmark', async () => {
  const free = await startRehearsal({ throttle: false });
  try {
    const client = new ECSClient({ ...options(), endpoint: free.endpoint });
    assert.deepEqual(await burst(60, () => client.send(new DescribeClustersCommand({}))), { ok: 60 });
  } finally {
    await free.stop();
  }
});

/**
 * The product at AWS's real rates: CloudWatch Logs takes ten looks a second. A throttled look is that resource's
 * trouble for a moment, never a deployment's failure.
 */
test('fifteen deployments at once get through AWS’s rates, and none fails', { timeout: 30_000 }, async () => {
  const ticking = setInterval(() => void account.skip(30), 50); // AWS's waits for the place
  const t = await makePlace(account, '340000000042');
  try {
    const aws = await t.accounts.enter(t.place, { name: 'burst' });
    clearInterval(ticking);
    const states = new Set<string>();
    const deploy = async (n: number): Promise<void> => {
      const rows = new Map<string, Row>();
      const graph = new Graph();
      graph.add('log-group', logGroup, {}, () => ({ name: `${t.place.logGroupRoot}/burst-${n}`, retentionDays: 30 }));
      const id = randomUUID();
      const look = () =>
        pass({
          generation: 'one',
          graph,
          kinds: new Map(kinds),
          rows: {
            all: async () => structuredClone([...rows.values()]),
            put: async (row) => void rows.set(row.id, structuredClone(row)),
            drop: async (name) => void rows.delete(name),
          },
          memory: new Map(),
          cx: (node) => ({ aws, tags: ownerTags(t.place, id, node), fence: async () => {} }),
          conceal: (text) => text,
          defect: (node, error) => assert.fail(`${node}: ${String(error)}`),
          say: async () => {},
          now: () => new Date(),
        });
      await eventually(
        'the log group',
        async () => {
          const { settled } = await look();
          const state = rows.get('log-group')!.state;
          states.add(state.state);
          assert.notEqual(state.state, 'retrying', state.message);
          return settled;
        },
        { seconds: 25, every: 200 },
      );
      assert.equal(rows.get('log-group')!.state.state, 'ready');
    };
    await Promise.all(Array.from({ length: 15 }, (_, n) => deploy(n)));
    assert.ok(!states.has('failed'), [...states].join());
    const made = (await account.calls()).filter((call) => call.account === '340000000042');
    assert.deepEqual(
      made.filter((call) => call.error === 'ThrottlingException').map((call) => call.action),
      [],
    );
    const waits = t.accounts.rates.waits().find(({ api }) => api === 'logs DescribeLogGroups')!;
    assert.ok(waits.waited > 0, 'nothing had to wait: the test shows nothing');
    assert.equal(waits.throttled, 0);
  } finally {
    clearInterval(ticking);
    t.close();
  }
});
