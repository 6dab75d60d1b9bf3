/** AWS's limits as they are read from an account, and what is said of them before they are hit. */
import assert from 'node:assert/strict';
import { CreateRuleCommand, CreateTargetGroupCommand } from '@aws-sdk/client-elastic-load-balancing-v2';
import { after, before, describe, test } from 'node:test';
import * as limits from '../../services/reconciler/aws/limits.ts';
import type { Limit } from '../../services/reconciler/aws/limits.ts';
import { grants, scopeOf } from '../../services/reconciler/aws/grants.ts';
import { listenerRule } from '../../services/reconciler/kinds/listener-rule.ts';
import { rdsPostgres } from '../../services/reconciler/kinds/rds-postgres.ts';
import { securityGroup } from '../../services/reconciler/kinds/security-group.ts';
import { targetGroup } from '../../services/reconciler/kinds/target-group.ts';
import type { Place } from '../../services/reconciler/place.ts';
import { Graph } from '../../services/reconciler/resource.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { outputs } from '../control-plane/simulated.ts';
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '360000000001';

const FIRST = outputs().loadBalancerArn;
const SECOND = FIRST.replace('freehold/1', 'freehold-2/2');
const two: Place = {
  ...outputs(),
  id: 'p',
  externalId: 'e',
  moreBalancers: [
    { loadBalancerArn: SECOND, loadBalancerDnsName: 'second.example.com', listenerArn: 'arn:second:listener' },
  ],
};
const one = (code: string, used: number, limit: number, more: Partial<Limit> = {}): Limit => ({
  code,
  service: 'rds',
  name: 'DB instances',
  balancer: null,
  used,
  limit,
  adjustable: true,
  isKnown: true,
  ...more,
});
const groups = (balancer: string, used: number): Limit =>
  one(limits.BALANCER_TARGET_GROUPS, used, 100, { balancer, adjustable: false, isKnown: false });

test('what a deployment takes is what its graph is made of', () => {
  const graph = new Graph();
  const [database, groupA, groupB] = [rdsPostgres, securityGroup, securityGroup];
  graph.add('database', database, {}, () => ({}) as never);
  graph.add('a', groupA, {}, () => ({}) as never);
  graph.add('b', groupB, {}, () => ({}) as never);
  graph.add('targets', targetGroup, {}, () => ({}) as never);
  graph.add('rule', listenerRule, {}, () => ({}) as never);
  assert.deepEqual(limits.takesOf(graph, 1.5), {
    [limits.DATABASES]: 1,
    [limits.SECURITY_GROUPS]: 2,
    [limits.TARGET_GROUPS]: 1,
    [limits.BALANCER_TARGET_GROUPS]: 1,
    [limits.BALANCER_RULES]: 1,
    [limits.VCPUS]: 1.5,
  });
});

for (const [title, given, takes, expected] of [
  ['one more fits into the last place', [one(limits.DATABASES, 39, 40)], { [limits.DATABASES]: 1 }, []],
  ['the next one does not', [one(limits.DATABASES, 40, 40)], { [limits.DATABASES]: 1 }, [limits.DATABASES]],
  ['a limit that it takes nothing of is none', [one(limits.DATABASES, 40, 40)], {}, []],
  [
    'one that may have been raised, unseen by us, refuses nobody',
    [one(limits.DATABASES, 40, 40, { isKnown: false })],
    { [limits.DATABASES]: 1 },
    [],
  ],
  [
    'a load balancer that is full is none while another has room',
    [groups(FIRST, 100), groups(SECOND, 7)],
    { [limits.BALANCER_TARGET_GROUPS]: 1 },
    [],
  ],
  [
    'when all are full, that is told of each',
    [groups(FIRST, 100), groups(SECOND, 100)],
    { [limits.BALANCER_TARGET_GROUPS]: 1 },
    [limits.BALANCER_TARGET_GROUPS, limits.BALANCER_TARGET_GROUPS],
  ],
] as [string, Limit[], limits.Takes, string[]][])
  test(title, () =>
    assert.deepEqual(
      limits.obstacles(given, takes).map(({ code }) => code),
      expected,
    ),
  );

test('a deployment behind a load balancer is held up by that one alone', () => {
  const takes = { [limits.BALANCER_TARGET_GROUPS]: 1 };
  const given = [groups(FIRST, 100), groups(SECOND, 7)];
  assert.deepEqual(
    limits.obstacles(given, takes, FIRST).map(({ balancer }) => balancer),
    [FIRST],
  );
  assert.deepEqual(limits.obstacles(given, takes, SECOND), []);
});

test('the next deployment goes to the load balancer with most room', () => {
  const takes = { [limits.BALANCER_TARGET_GROUPS]: 1, [limits.BALANCER_RULES]: 1 };
  const chosen = (...given: Limit[]) => limits.roomiest(two, given, takes)?.loadBalancerArn;
  assert.equal(chosen(groups(FIRST, 3), groups(SECOND, 3)), FIRST);
  assert.equal(chosen(groups(FIRST, 3), groups(SECOND, 2)), SECOND);
  assert.equal(chosen(groups(FIRST, 99), groups(SECOND, 100)), FIRST);
  assert.equal(chosen(groups(FIRST, 100), groups(SECOND, 100)), undefined);
  const rules = one(limits.BALANCER_RULES, 100, 100, { balancer: SECOND });
  assert.equal(chosen(groups(FIRST, 50), groups(SECOND, 2), rules), FIRST);
  assert.equal(chosen(), FIRST); // nothing is known of them
});

test('a limit is told by its name, with the numbers and what to do', () => {
  assert.equal(
    limits.sentence(one(limits.DATABASES, 40, 40)),
    `limit reached: "DB instances": 40 of 40 used: ask AWS for more (Service Quotas, rds L-7B6409FD)`,
  );
  assert.match(
    limits.sentence({ ...groups(SECOND, 85), name: 'Target Groups' }),
    /^limit near: "Target Groups" of load balancer "freehold-2": 85 of 100 used: deploy the customer's stack with one/,
  );
});

describe('of an account', { timeout: 60_000 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let elb: ElasticLoadBalancingV2Client;

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    elb = new ElasticLoadBalancingV2Client({
      endpoint: rehearsal.endpoint,
      region: t.place.region,
      credentials: rehearsal.root(ACCOUNT),
    });
  });
  after(async () => {
    elb.destroy();
    t.close();
    await rehearsal.stop();
  });

  const read = async (name: string) => limits.readLimits(await t.accounts.enter(t.place, { name }), t.place);
  const of = (found: limits.Limits, code: string) => found.limits.find((each) => each.code === code);

  test('what is used and what there is, in few calls', async () => {
    await rehearsal.quota(ACCOUNT, limits.BALANCER_RULES, 150);
    await rehearsal.quota(ACCOUNT, limits.DATABASES, 5);
    const made = await elb.send(
      new CreateTargetGroupCommand({
        Name: 'theirs',
        Protocol: 'HTTP',
        Port: 80,
        VpcId: t.place.vpcId,
        TargetType: 'ip',
      }),
    );
    const TargetGroupArn = made.TargetGroups![0]!.TargetGroupArn!;
    await elb.send(
      new CreateRuleCommand({
        ListenerArn: t.place.listenerArn,
        Priority: 77,
        Conditions: [{ Field: 'path-pattern', Values: ['/theirs'] }],
        Actions: [{ Type: 'forward', TargetGroupArn }],
      }),
    );
    const before = t.calls.length;
    const found = await eventually('the group is seen', async () => {
      const seen = await read('limits');
      return of(seen, limits.BALANCER_TARGET_GROUPS)?.used === 1 && of(seen, limits.BALANCER_RULES)?.used === 1 && seen;
    });
    assert.deepEqual(found.unread, []);
    const all = found.limits.map(({ code, balancer, used, limit, isKnown }) => [code, balancer, used, limit, isKnown]);
    const groupsThere = of(found, limits.SECURITY_GROUPS)!.used;
    assert.ok(groupsThere >= 1);
    assert.deepEqual(
      all.sort(),
      [
        [limits.BALANCER_RULES, t.place.loadBalancerArn, 1, 150, true],
        [limits.BALANCER_TARGET_GROUPS, t.place.loadBalancerArn, 1, 100, false],
        [limits.DATABASES, null, 0, 5, true],
        [limits.INSTANCES, null, 0, 2000, true],
        [limits.SECURITY_GROUPS, null, groupsThere, 2500, true],
        [limits.SERVICES, null, 0, 5000, true],
        [limits.SNAPSHOTS, null, 0, 100, true],
        [limits.TARGET_GROUPS, null, 1, 3000, true],
        [limits.VCPUS, null, 0, 4000, true],
      ].sort(),
    );
    const once = t.calls.slice(before).filter(({ operation }) => operation === 'DescribeTargetGroups').length;
    assert.ok((t.calls.length - before - 1) / once <= 13, `${(t.calls.length - before) / once} calls`);
  });

  test('what may not be read hides nothing else, and says which permission is missing', async () => {
    await t.allow(grants(scopeOf(t.place)).filter(({ actions }) => !actions.includes('servicequotas:GetServiceQuota')));
    const found = await read('no-quotas');
    assert.match(found.unread.join(), /^missing permission: "servicequotas:GetServiceQuota"/);
    assert.deepEqual(
      [of(found, limits.BALANCER_RULES)!.limit, of(found, limits.BALANCER_RULES)!.isKnown],
      [100, false],
    );
    assert.equal(of(found, limits.DATABASES)!.isKnown, true); // RDS says it itself
  });
});
