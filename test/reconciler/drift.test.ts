/**
 * What others change in a customer's account, on the emulated account: seen by a sweep of reads that are put together,
 * told of field by field with who and when, and repaired, left, or not even told of, as the policy says.
 */
import { CloudWatchLogsClient, PutRetentionPolicyCommand } from '@aws-sdk/client-cloudwatch-logs';
import { AuthorizeSecurityGroupIngressCommand, EC2Client } from '@aws-sdk/client-ec2';
import { DeleteServiceCommand, ECSClient } from '@aws-sdk/client-ecs';
import {
  ElasticLoadBalancingV2Client,
  ModifyTargetGroupAttributesCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { BatchMemory, batched } from '../../services/reconciler/aws/batched.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { namesOf, whoChanged } from '../../services/reconciler/aws/trail.ts';
import type { Drift, DriftPolicy } from '../../services/reconciler/drift.ts';
import { writeEnvironment } from '../../services/reconciler/kinds/environment.ts';
import { kinds } from '../../services/reconciler/kinds/index.ts';
import { pass, type Outcome, type Row, type Rows } from '../../services/reconciler/pass.ts';
import { ecs } from '../../services/reconciler/platforms/ecs.ts';
import type { Graph } from '../../services/reconciler/resource.ts';
import { sweep, type Suspicion } from '../../services/reconciler/sweep.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000061';
const COUNT = 3;

class One implements Rows {
  readonly id = randomUUID();
  readonly generation = randomUUID();
  readonly map = new Map<string, Row>();
  readonly told: Drift[] = [];
  graph!: Graph;
  policy: DriftPolicy = 'repair';
  all = () => Promise.resolve([...this.map.values()].map((row) => ({ ...row })));
  put = (row: Row) => Promise.resolve(void this.map.set(row.id, JSON.parse(JSON.stringify(row), revive) as Row));
  drop = (id: string) => Promise.resolve(void this.map.delete(id));
}
const revive = (key: string, value: unknown): unknown =>
  ['since', 'askedAt', 'busySince', 'notBefore'].includes(key) && typeof value === 'string' ? new Date(value) : value;

describe('what others change', { timeout: 180_000 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let aws: Account;
  const all = Array.from({ length: COUNT }, () => new One());
  /** So that what was made a moment ago counts as old. */
  let later = 0;

  const look = (one: One, generation = one.generation): Promise<Outcome> =>
    pass({
      generation,
      graph: one.graph,
      kinds,
      rows: one,
      memory: new Map(),
      driftPolicy: one.policy,
      drifted: new Set(one.told.map(({ resource }) => resource)),
      drift: (drifts) => Promise.resolve(void one.told.push(...drifts)),
      cx: (node) => ({ aws, tags: ownerTags(t.place, one.id, node), fence: () => Promise.resolve() }),
      conceal: (text) => text,
      defect: (node, error) => assert.fail(`${node}: ${String(error)}`),
      say: () => Promise.resolve(),
      now: () => new Date(Date.now() + later),
    });
  const settle = (one: One): Promise<unknown> =>
    eventually('it is settled', async () => (await look(one)).settled, { seconds: 60, every: 200 });
  const memory = new BatchMemory();
  const sweepAll = async (): Promise<Suspicion[]> => {
    memory.lists.clear(); // as if a minute had passed
    const view = batched(aws, { where: 'here', memory, now: Date.now });
    return Promise.all(
      all.map((one) =>
        sweep({
          kinds,
          rows: [...one.map.values()],
          cx: (node) => ({ aws: view, tags: ownerTags(t.place, one.id, node) }),
        }),
      ),
    );
  };
  const suspects = (found: readonly Suspicion[]) =>
    found.map(({ drifts, why }) => why ?? drifts.map(({ resource, field }) => `${resource} ${field}`).join());

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    aws = await t.accounts.enter(t.place, { name: 'drift' });
    const { uri: image } = await rehearsal.pushImage({
      account: ACCOUNT,
      region: t.place.region,
      repository: 'agent',
      image: 'stub',
    });
    const own = { POSTGRES_URI_CUSTOM: 'postgresql://x', REDIS_URI_CUSTOM: 'redis://x' };
    for (const one of all) {
      const versionId = await writeEnvironment(aws, t.place, one, own);
      one.graph = ecs(
        {
          deployment: { id: one.id, name: `agent-${one.id.slice(0, 4)}`, workspaceId: randomUUID() },
          revision: { id: one.generation, number: 1 },
          type: 'dev',
          databaseTier: null,
          source: 'external_docker',
          references: [],
          agentAuth: { type: 'noop' },
          image,
          resources: { cpu: 0.25, memoryMb: 512, minScale: 1, maxScale: 2 },
          environment: Object.keys(own).map((name) => ({ name, versionId })),
          retainedSecretVersions: [],
        },
        t.place,
      );
    }
    await Promise.all(all.map(settle));
    later = 120_000;
  });
  after(async () => {
    t?.close();
    await rehearsal?.stop();
  });

  test('a sweep over what is as asked finds nothing, in few calls and no write', async () => {
    // AWS's index of tags lags behind what was just made.
    await eventually('all is as asked', async () => suspects(await sweepAll()).every((found) => found === ''));
    const from = t.calls.length;
    assert.deepEqual(suspects(await sweepAll()), ['', '', '']);
    const calls = t.calls.slice(from);
    assert.deepEqual(
      calls.filter(({ error }) => error !== undefined).map((call) => `${call.operation} ${call.error}`),
      [],
    );
    assert.deepEqual(
      calls.filter(({ operation }) => !/^(Describe|List|Get|Lookup)/.test(operation)),
      [],
    );
    const count = (operation: string) => calls.filter((call) => call.operation === operation).length;
    for (const operation of ['DescribeServices', 'DescribeSecurityGroups', 'DescribeTargetGroups', 'ListSecrets'])
      assert.equal(count(operation), 1, operation);
    assert.equal(count('DescribeSecret'), 0);
    assert.equal(count('DescribeTags'), 0);
    assert.equal(count('LookupEvents'), 1, "which target groups' attributes were changed");
    const again = t.calls.length;
    await sweepAll();
    const second = t.calls.slice(again).map(({ operation }) => operation);
    assert.equal(second.filter((operation) => operation === 'DescribeTaskDefinition').length, 0, 'they never change');
  });

  test('a difference is repaired, left, or not told of, as the policy says', async () => {
    const client = { region: t.place.region, endpoint: rehearsal.endpoint, credentials: rehearsal.root(ACCOUNT) };
    const [repaired, reported, ignored] = all as [One, One, One];
    reported.policy = 'report';
    ignored.policy = 'ignore';
    const of = (one: One, id: string) => one.map.get(id)!.outputs as { id: string; arn: string; name: string };
    for (const one of all) {
      await new EC2Client(client).send(
        new AuthorizeSecurityGroupIngressCommand({
          GroupId: of(one, 'service-group').id,
          IpPermissions: [{ IpProtocol: 'tcp', FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: '0.0.0.0/0' }] }],
        }),
      );
      await new CloudWatchLogsClient(client).send(
        new PutRetentionPolicyCommand({ logGroupName: of(one, 'log-group').name, retentionInDays: 1 }),
      );
      await new ElasticLoadBalancingV2Client(client).send(
        new ModifyTargetGroupAttributesCommand({
          TargetGroupArn: of(one, 'target-group').arn,
          Attributes: [{ Key: 'deregistration_delay.timeout_seconds', Value: '5' }],
        }),
      );
    }
    const expected = ['log-group retentionDays', 'service-group ingress', 'target-group drainSeconds'];
    await eventually('the sweep sees each', async () =>
      suspects(await sweepAll()).every((found) => expected.every((each) => found.includes(each))),
    );
    for (const one of all)
      assert((await look(one)).rows.every(({ state }) => state.state === 'ready' || one === repaired));
    const told = (one: One) => [...new Set(one.told.map(({ resource, field }) => `${resource} ${field}`))].sort();
    assert.deepEqual([told(repaired), told(reported), told(ignored)], [expected, expected, []]);
    assert.deepEqual(
      repaired.told.find(({ resource }) => resource === 'log-group'),
      { resource: 'log-group', field: 'retentionDays', from: 30, to: 1 },
    );
    assert.match(reported.map.get('log-group')!.state.message, /^retentionDays: 30, found 1: left as it is/);
    await settle(repaired);
    await eventually('only what is left differs', async () => {
      const [first, second, third] = suspects(await sweepAll());
      return first === '' && second !== '' && third !== '';
    });

    const until = new Date(Date.now() + 1000);
    const row = repaired.map.get('service-group')!;
    const who = await eventually('AWS says who', () =>
      whoChanged(aws, t.place.roleArn, namesOf(row), { since: new Date(Date.now() - 3_600_000), until }),
    );
    assert.equal(who?.call, 'ec2:AuthorizeSecurityGroupIngress');
    assert.equal(who?.name, 'the root user');
  });

  test('a service that was deleted comes back; under "report" it waits for the next revision', async () => {
    const [repaired, reported] = all as [One, One, One];
    const client = { region: t.place.region, endpoint: rehearsal.endpoint, credentials: rehearsal.root(ACCOUNT) };
    for (const one of [repaired, reported])
      await new ECSClient(client).send(
        new DeleteServiceCommand({
          cluster: t.place.clusterArn,
          service: (one.map.get('service')!.outputs as { name: string }).name,
          force: true,
        }),
      );
    await eventually('both are gone', async () => {
      const [first, second] = suspects(await sweepAll());
      return first === 'service exists' && second!.includes('service exists');
    });
    await settle(repaired);
    assert(repaired.told.some(({ resource, field }) => resource === 'service' && field === 'exists'));
    for (let i = 0; i < 2; i += 1) await look(reported);
    assert.match(reported.map.get('service')!.state.message, /^deleted: left as it is/);
    assert.equal(reported.map.get('service')!.gaveUp, null);
    // The next revision asks for all of it.
    const next = randomUUID();
    await eventually('it is back', async () => (await look(reported, next)).settled, { seconds: 60, every: 200 });
  });
});
