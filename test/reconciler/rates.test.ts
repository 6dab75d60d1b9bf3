/** Token buckets of our own, in virtual time: who waits how long, and in whose turn. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { awsCloud } from '../../services/control-plane/aws.ts';
import type { Accounts } from '../../services/reconciler/aws/account.ts';
import { explain } from '../../services/reconciler/aws/errors.ts';
import type { Place } from '../../services/reconciler/place.ts';
import { RATES, RateWait, Rates, rateOf, type RatesOptions, type Wanted } from '../../services/reconciler/aws/rates.ts';
import { SimulatedAccount } from '../../simulation/aws/account.ts';

test('what nobody waits for does not go before requests and looks', async () => {
  const account = new SimulatedAccount({ id: '1', region: 'r', habits: { now: Date.now, random: Math.random } });
  const urgent: string[] = [];
  const cloud = awsCloud({
    enter: (_place, { name }, options) => {
      if (options?.isUrgent) urgent.push(name);
      return Promise.resolve(account.clients((_, act) => Promise.resolve(act())));
    },
  } as Accounts);
  const place: Place = { ...account.place(), id: 'p', externalId: 'x' };
  const time = { since: new Date(0), until: new Date() };
  await cloud.survey(place);
  await cloud.enter(place, { id: '00000000-0000-4000-8000-000000000000', name: 'a' });
  await cloud.remainingIn(place, []).catch(() => {});
  await cloud.whoChanged(place, { inputs: {}, outputs: {} }, time);
  assert.deepEqual(urgent, []);
  await cloud.secretReference(place, 'none', null).catch(() => {});
  assert.deepEqual(urgent, ['freehold-secrets']);
});

/** A clock that only goes when it is told to. */
function scene(options: RatesOptions = {}) {
  let time = 0;
  let timers: { at: number; act: () => void }[] = [];
  const rates = new Rates({
    ...options,
    now: () => time,
    later: (act, milliseconds) => void timers.push({ at: time + milliseconds, act }),
  });
  const until = async (seconds: number): Promise<void> => {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const due = timers.toSorted((a, b) => a.at - b.at)[0];
      if (due === undefined || due.at > seconds * 1000) break;
      timers = timers.filter((timer) => timer !== due);
      time = Math.max(time, due.at);
      due.act();
    }
    time = seconds * 1000;
  };
  const call = (more: Partial<Wanted> = {}): Wanted => ({
    account: '1',
    region: 'r',
    service: 'ecs',
    operation: 'RegisterTaskDefinition',
    who: 'a',
    isUrgent: false,
    seconds: 1000,
    ...more,
  });
  /** What was let through, in order, with the second at which it was. */
  const through: { name: string; at: number }[] = [];
  const take = (name: string, more: Partial<Wanted> = {}) =>
    rates.take(call(more)).then(
      () => through.push({ name, at: time / 1000 }),
      (error: unknown) => through.push({ name: `${name}: ${(error as Error).message}`, at: time / 1000 }),
    );
  return { rates, until, take, through, call };
}

test('a burst goes through at once, the rest at four fifths of AWS’s rate', async () => {
  const { until, take, through } = scene();
  for (let n = 0; n < 20; n += 1) void take(`${n}`);
  await until(0);
  assert.equal(through.length, 16); // of AWS's 20
  await until(5.1);
  assert.equal(through.length, 20); // 0.8 a second
  assert.deepEqual(
    through.slice(16).map(({ at }) => Math.round(at * 100) / 100),
    [1.25, 2.5, 3.75, 5],
  );
});

test('one with many calls does not delay another: each has his turn', async () => {
  const { until, take, through } = scene({ share: 0.05 }); // one token, one each 20 s
  for (let n = 0; n < 5; n += 1) void take(`a${n}`, { who: 'a' });
  void take('b0', { who: 'b' });
  void take('b1', { who: 'b' });
  void take('c0', { who: 'c' });
  await until(200);
  assert.deepEqual(
    through.map(({ name }) => name),
    ['a0', 'a1', 'b0', 'c0', 'a2', 'b1', 'a3', 'a4'],
  );
});

test('who waits for an answer goes before what runs in the background', async () => {
  const { until, take, through } = scene({ share: 0.05 });
  for (const name of ['1', '2', '3']) void take(name, { who: name });
  void take('urgent', { who: 'request', isUrgent: true });
  await until(100);
  assert.deepEqual(
    through.map(({ name }) => name),
    ['1', 'urgent', '2', '3'],
  );
});

test('buckets are an account’s, a region’s and a group of calls’ own', async () => {
  const { until, take, through } = scene({ share: 0.05 });
  void take('first');
  void take('second');
  void take('other account', { account: '2' });
  void take('other region', { region: 's' });
  void take('other call', { operation: 'DescribeServices' });
  await until(0);
  assert.deepEqual(
    through.map(({ name }) => name),
    ['first', 'other account', 'other region', 'other call'],
  );
});

test('a wait is bounded, says what it was for, and is no failure', async () => {
  const { rates, until, take, through, call } = scene({ share: 0.05 });
  void take('first');
  void take('late', { seconds: 5 });
  void take('patient', { seconds: 60 });
  await until(30);
  assert.deepEqual(through, [
    { name: 'first', at: 0 },
    { name: "late: waits for AWS's rate: ecs:RegisterTaskDefinition", at: 5 },
    { name: 'patient', at: 20 },
  ]);
  assert.deepEqual(explain(new RateWait('ecs:CreateService')), {
    terminal: false,
    waits: true,
    message: "waits for AWS's rate: ecs:CreateService",
  });
  const [waits] = rates.waits();
  assert.deepEqual(
    { ...waits },
    {
      account: '1',
      region: 'r',
      api: 'ecs RegisterTaskDefinition',
      calls: 3,
      waited: 2,
      waitedSeconds: 25,
      longestSeconds: 20,
      givenUp: 1,
      throttled: 0,
    },
  );
  assert.deepEqual(rates.waits(), []);
  assert.equal(call().account, '1');
});

test('when AWS refuses all the same, we go on at half the rate, and come back', async () => {
  const { rates, until, take, through, call } = scene();
  const some = async (count: number, from: number, to: number): Promise<number> => {
    through.length = 0;
    for (let n = 0; n < count; n += 1) void take(`${n}`, { operation: 'DescribeServices', seconds: to - from });
    await until(to);
    return through.filter(({ name }) => !name.includes(':')).length;
  };
  await some(80, 0, 0.001); // the burst is gone
  rates.slowDown(call({ operation: 'DescribeServices' }));
  rates.slowDown(call({ operation: 'DescribeServices' })); // of the same moment: the same news
  const slowed = await some(100, 0.001, 1.001);
  assert.ok(slowed >= 7 && slowed <= 9, `${slowed} in a second, of 16`);
  await some(1000, 1.001, 30);
  assert.ok((await some(100, 30, 31)) >= 15);
});

test('an emulated account that runs faster has its tokens back sooner', async () => {
  const { until, take, through } = scene({ pace: 100 });
  for (let n = 0; n < 17; n += 1) void take(`${n}`);
  await until(0.014);
  assert.equal(through.length, 17);
});

test('our table is no larger than what the emulated account has of AWS’s pages', () => {
  const file = join(import.meta.dirname, '../../services/rehearsal/account/throttle.json');
  const table = (JSON.parse(readFileSync(file, 'utf8')) as { services: Record<string, Service> }).services;
  interface Service {
    readonly page: string;
    readonly rows: readonly { actions: string; burst?: number; refill: number; unfiltered?: true }[];
  }
  const calls: [string, string[]][] = [
    ['ecs', ['CreateService', 'DescribeServices', 'RegisterTaskDefinition', 'DescribeTaskDefinition', 'ListTasks']],
    ['ecs', ['ListServiceDeployments', 'DescribeClusters', 'DescribeServiceRevisions', 'TagResource', 'StopTask']],
    ['ec2', ['DescribeVpcs', 'CreateSecurityGroup', 'AuthorizeSecurityGroupIngress']],
    ['elasticloadbalancing', ['DescribeRules', 'CreateRule', 'ModifyTargetGroup', 'DescribeTags']],
    ['secretsmanager', ['CreateSecret', 'PutSecretValue', 'DescribeSecret', 'ListSecretVersionIds', 'TagResource']],
    ['logs', ['CreateLogGroup', 'DescribeLogGroups', 'FilterLogEvents', 'GetLogEvents']],
    ['ecr', ['GetAuthorizationToken']],
    ['tag', ['GetResources']],
    ['cloudtrail', ['LookupEvents']],
  ];
  for (const [service, operations] of calls) {
    assert.equal(RATES[service]!.page, table[service]!.page);
    for (const operation of operations) {
      const row = table[service]!.rows.find(
        ({ actions, unfiltered }) => !unfiltered && new RegExp(`^(${actions})$`).test(operation),
      )!;
      const ours = rateOf(service, operation);
      assert.ok(ours.burst <= (row.burst ?? row.refill) && ours.refill <= row.refill, `${service}:${operation}`);
    }
  }
});
