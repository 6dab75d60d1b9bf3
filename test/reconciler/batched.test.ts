/** Reads that are put together: how many calls, of how many things, who gets which answer; and what goes wrong. */
import * as scaling from '@aws-sdk/client-application-auto-scaling';
import * as logs from '@aws-sdk/client-cloudwatch-logs';
import * as ec2 from '@aws-sdk/client-ec2';
import * as ecs from '@aws-sdk/client-ecs';
import * as elb from '@aws-sdk/client-elastic-load-balancing-v2';
import * as secrets from '@aws-sdk/client-secrets-manager';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { BatchMemory, batched } from '../../services/reconciler/aws/batched.ts';

/* eslint-disable @typescript-eslint/no-explicit-any */
type Input = any;
type Answers = Record<string, (input: Input) => unknown>;

const refusal = (name: string): Error => Object.assign(new Error(name), { name, $metadata: {} });
const denied = (): never => {
  throw refusal('AccessDeniedException');
};

/** An AWS that answers so, by `client.Operation`, a moment later. */
function scene(answers: Answers) {
  const calls: { name: string; input: Input }[] = [];
  let running = 0;
  let time = Date.parse('2030-01-01T00:00:00Z');
  const state = { mostAtOnce: 0 };
  const client = (service: string) => ({
    async send(command: { constructor: { name: string }; input: Input }) {
      const name = `${service}.${command.constructor.name.replace(/Command$/, '')}`;
      calls.push({ name, input: command.input });
      running += 1;
      state.mostAtOnce = Math.max(state.mostAtOnce, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      const answer = answers[name];
      assert(answer, `nobody expected ${name}`);
      return answer(command.input);
    },
  });
  const account = new Proxy({} as Account, { get: (_, service: string) => client(service) });
  const memory = new BatchMemory();
  return {
    calls,
    state,
    account,
    view: (): Account => batched(account, { where: 'here', memory, now: () => time }),
    pass: (seconds: number): void => void (time += seconds * 1000),
    now: (): number => time,
    /** The inputs of the calls of that name; forgets all calls. */
    made(name: string): Input[] {
      const found = calls.filter((call) => call.name === name).map(({ input }) => input as unknown);
      calls.length = 0;
      return found;
    },
  };
}

const numbers = (count: number): number[] => [...Array(count).keys()];
const serviceOf = (name: string) =>
  new ecs.DescribeServicesCommand({ cluster: 'c', services: [name], include: ['TAGS'] });
const groupOf = (name: string) => new elb.DescribeTargetGroupsCommand({ Names: [name] });
const attributesOf = (arn: string) => new elb.DescribeTargetGroupAttributesCommand({ TargetGroupArn: arn });

test('no call asks for more than AWS takes, and each asker gets its own answer', async () => {
  const s = scene({
    'ecs.DescribeServices': ({ services }) => ({
      services: services.toReversed().map((serviceName: string) => ({ serviceName })),
    }),
    'scaling.DescribeScalableTargets': ({ ResourceIds }) => ({
      ScalableTargets: ResourceIds.map((ResourceId: string) => ({ ResourceId })),
    }),
    'logs.DescribeLogGroups': ({ logGroupIdentifiers }) => ({
      logGroups: logGroupIdentifiers.map((logGroupName: string) => ({ logGroupName })),
    }),
    'elb.DescribeTargetGroups': ({ Names }) => ({
      TargetGroups: Names.map((TargetGroupName: string) => ({ TargetGroupName })),
    }),
  });
  const aws = s.view();
  const count = 101;
  await Promise.all(
    numbers(count).map(async (n) => {
      const name = `n-${n}`;
      const [service, target, log, group] = await Promise.all([
        aws.ecs.send(serviceOf(name)),
        aws.scaling.send(new scaling.DescribeScalableTargetsCommand({ ServiceNamespace: 'ecs', ResourceIds: [name] })),
        aws.logs.send(new logs.DescribeLogGroupsCommand({ logGroupNamePrefix: name })),
        aws.elb.send(groupOf(name)),
      ]);
      assert.deepEqual(service.services, [{ serviceName: name }]);
      assert.deepEqual(target.ScalableTargets, [{ ResourceId: name }]);
      assert.deepEqual(log.logGroups, [{ logGroupName: name }]);
      assert.deepEqual(group.TargetGroups, [{ TargetGroupName: name }]);
    }),
  );
  const sizes = (name: string, field: string) =>
    s.calls.filter((call) => call.name === name).map(({ input }) => input[field].length as number);
  assert.deepEqual(sizes('ecs.DescribeServices', 'services'), [...Array<number>(10).fill(10), 1]);
  assert.deepEqual(sizes('scaling.DescribeScalableTargets', 'ResourceIds'), [50, 50, 1]);
  assert.deepEqual(sizes('logs.DescribeLogGroups', 'logGroupIdentifiers'), [50, 50, 1]);
  assert.deepEqual(sizes('elb.DescribeTargetGroups', 'Names'), [...Array<number>(5).fill(20), 1]);
  assert(s.calls.every(({ input }) => input.include === undefined || input.include[0] === 'TAGS'));
  assert(s.state.mostAtOnce <= 20, String(s.state.mostAtOnce));
});

test('questions that differ in more than the name are not put together, nor those of two services', async () => {
  const s = scene({
    'ecs.DescribeServices': ({ cluster, services }) => ({
      services: services.map((serviceName: string) => ({ serviceName, clusterArn: cluster })),
    }),
    'tagging.GetResources': () => ({ ResourceTagMappingList: [] }),
    'logs.ListTagsForResource': () => ({ tags: { of: 'logs' } }),
    'scaling.ListTagsForResource': () => ({ Tags: { of: 'scaling' } }),
  });
  const aws = s.view();
  const [one, two, log, target] = await Promise.all([
    aws.ecs.send(new ecs.DescribeServicesCommand({ cluster: 'one', services: ['a'] })),
    aws.ecs.send(new ecs.DescribeServicesCommand({ cluster: 'two', services: ['a'] })),
    aws.logs.send(new logs.ListTagsForResourceCommand({ resourceArn: 'arn' })),
    aws.scaling.send(new scaling.ListTagsForResourceCommand({ ResourceARN: 'arn' })),
  ]);
  assert.deepEqual([one.services![0]!.clusterArn, two.services![0]!.clusterArn], ['one', 'two']);
  assert.deepEqual([log.tags, target.Tags], [{ of: 'logs' }, { of: 'scaling' }]);
});

test('what the answer does not name is asked for alone, in the words of whoever asked', async () => {
  const s = scene({
    'ecs.DescribeServices': ({ services }) =>
      services.length === 1
        ? { services: [], failures: [{ arn: services[0], reason: 'MISSING' }] }
        : {
            services: services
              .filter((name: string) => name !== 'lost')
              .map((serviceName: string) => ({ serviceName })),
          },
  });
  const aws = s.view();
  const [found, lost] = await Promise.all([aws.ecs.send(serviceOf('a')), aws.ecs.send(serviceOf('lost'))]);
  assert.equal(found.services!.length, 1);
  assert.equal(lost.failures![0]!.reason, 'MISSING');
  assert.deepEqual(
    s.made('ecs.DescribeServices').map(({ services }) => services as unknown),
    [['a', 'lost'], ['lost']],
  );
});

test('one that fails the whole call is found in halves; all others have their answers', async () => {
  const s = scene({
    'elb.DescribeTargetGroups': ({ Names }) => {
      if (Names.includes('n-7')) throw refusal('TargetGroupNotFoundException');
      return { TargetGroups: Names.map((TargetGroupName: string) => ({ TargetGroupName })) };
    },
  });
  const aws = s.view();
  const settled = await Promise.allSettled(numbers(20).map((n) => aws.elb.send(groupOf(`n-${n}`))));
  const failed = settled.flatMap(({ status }, n) => (status === 'rejected' ? [n] : []));
  assert.deepEqual(failed, [7]);
  assert.match(String((settled[7] as PromiseRejectedResult).reason), /TargetGroupNotFound/);
  assert(s.calls.length <= 11, `${s.calls.length} calls`);
});

test('a role that may not ask for many: each is asked for alone, for an hour', async () => {
  const s = scene({
    'tagging.GetResources': denied,
    'logs.ListTagsForResource': ({ resourceArn }) => ({ tags: { of: resourceArn } }),
  });
  const ask = async () => {
    const aws = s.view();
    const answers = await Promise.all(
      ['a', 'b', 'c'].map((resourceArn) => aws.logs.send(new logs.ListTagsForResourceCommand({ resourceArn }))),
    );
    assert.deepEqual(
      answers.map(({ tags }) => tags!['of']),
      ['a', 'b', 'c'],
    );
    const tries = s.calls.filter(({ name }) => name === 'tagging.GetResources').length;
    return [tries, s.made('logs.ListTagsForResource').length];
  };
  assert.deepEqual(await ask(), [1, 3]);
  s.pass(3599);
  assert.deepEqual(await ask(), [0, 3]);
  s.pass(2);
  assert.deepEqual(await ask(), [1, 3]);
});

test('when AWS asks for fewer calls, nobody makes more of them', async () => {
  const s = scene({
    'ecs.DescribeServices': () => {
      throw refusal('ThrottlingException');
    },
  });
  const aws = s.view();
  const settled = await Promise.allSettled(numbers(10).map((n) => aws.ecs.send(serviceOf(`n-${n}`))));
  assert(settled.every(({ status }) => status === 'rejected'));
  assert.equal(s.calls.length, 1);
});

test('pages are read to the end', async () => {
  const pages = (all: readonly string[], from: string | undefined, size: number) => {
    const at = Number(from ?? 0);
    return { some: all.slice(at, at + size), next: at + size < all.length ? String(at + size) : undefined };
  };
  const s = scene({
    'ec2.DescribeSecurityGroups': ({ Filters, NextToken }) => {
      const { some, next } = pages(Filters[0].Values, NextToken, 60);
      return { SecurityGroups: some.map((GroupName) => ({ GroupName })), NextToken: next };
    },
    'secrets.ListSecrets': ({ Filters, NextToken }) => {
      const all = Filters[0].Values.flatMap((folder: string) => numbers(3).map((n) => `${folder}${n}`));
      const { some, next } = pages(all, NextToken, 7);
      const SecretsOf = (Name: string) => ({ Name, ARN: `arn:${Name}`, SecretVersionsToStages: { v: ['AWSCURRENT'] } });
      return { SecretList: some.map(SecretsOf), NextToken: next };
    },
    'elb.DescribeRules': ({ Marker }) => {
      const { some, next } = pages(numbers(950).map(String), Marker, 400);
      return { Rules: some.map((RuleArn) => ({ RuleArn })), NextMarker: next };
    },
  });
  const aws = s.view();
  const filters = (name: string) => [
    { Name: 'group-name', Values: [name] },
    { Name: 'vpc-id', Values: ['vpc'] },
  ];
  const groups = await Promise.all(
    numbers(250).map((n) => aws.ec2.send(new ec2.DescribeSecurityGroupsCommand({ Filters: filters(`g-${n}`) }))),
  );
  assert.deepEqual(
    groups.map(({ SecurityGroups }) => SecurityGroups!.map(({ GroupName }) => GroupName).join()),
    numbers(250).map((n) => `g-${n}`),
  );
  // 199 names and the network are the 200 values that a call may have.
  assert.equal(Math.max(...s.made('ec2.DescribeSecurityGroups').map(({ Filters }) => Filters[0].Values.length)), 199);

  const described = await Promise.all(
    numbers(15).map((n) => aws.secrets.send(new secrets.DescribeSecretCommand({ SecretId: `place/${n}/2` }))),
  );
  assert.deepEqual(
    described.map(({ ARN }) => ARN),
    numbers(15).map((n) => `arn:place/${n}/2`),
  );
  const versions = await aws.secrets.send(new secrets.ListSecretVersionIdsCommand({ SecretId: 'place/3/2' }));
  assert.deepEqual(versions.Versions, [{ VersionId: 'v', VersionStages: ['AWSCURRENT'] }]);
  const folders = s.made('secrets.ListSecrets').map(({ Filters }) => Filters[0].Values.length as number);
  assert.deepEqual([Math.max(...folders), folders.length], [10, 5 + 3]);

  const rules = await Promise.all(
    [1, 2].map(() => aws.elb.send(new elb.DescribeRulesCommand({ ListenerArn: 'listener' }))),
  );
  assert.deepEqual(
    rules.map(({ Rules }) => Rules!.length),
    [950, 950],
  );
  assert.equal(s.made('elb.DescribeRules').length, 3);
});

test('what an answer leads to is put together again', async () => {
  const s = scene({
    'elb.DescribeTargetGroups': ({ Names }) => ({
      TargetGroups: Names.map((name: string) => ({ TargetGroupName: name, TargetGroupArn: `arn:${name}` })),
    }),
    'tagging.GetResources': ({ ResourceARNList }) => ({
      ResourceTagMappingList: ResourceARNList.map((ResourceARN: string) => ({
        ResourceARN,
        Tags: [{ Key: 'of', Value: ResourceARN }],
      })),
    }),
  });
  const aws = s.view();
  await Promise.all(
    numbers(60).map(async (n) => {
      const { TargetGroups } = await aws.elb.send(groupOf(`n-${n}`));
      const arn = TargetGroups![0]!.TargetGroupArn!;
      const { TagDescriptions } = await aws.elb.send(new elb.DescribeTagsCommand({ ResourceArns: [arn] }));
      assert.deepEqual(TagDescriptions, [{ ResourceArn: arn, Tags: [{ Key: 'of', Value: `arn:n-${n}` }] }]);
    }),
  );
  assert.deepEqual(
    s.calls.map(({ name }) => name),
    [...Array<string>(3).fill('elb.DescribeTargetGroups'), 'tagging.GetResources'],
  );
});

test('the newest task definitions are listed once a minute, and each is read once', async () => {
  let versions = [1, 1];
  const s = scene({
    'ecs.ListTaskDefinitions': () => ({
      taskDefinitionArns: versions.flatMap((newest, family) =>
        numbers(newest).map((n) => `arn:aws:ecs:r:1:task-definition/f-${family}:${n + 1}`),
      ),
    }),
    'ecs.DescribeTaskDefinition': ({ taskDefinition }) => ({ taskDefinition: { taskDefinitionArn: taskDefinition } }),
  });
  const read = async (): Promise<[string, number, number]> => {
    const aws = s.view();
    const found = await Promise.all(
      ['f-0', 'f-1'].map((taskDefinition) => aws.ecs.send(new ecs.DescribeTaskDefinitionCommand({ taskDefinition }))),
    );
    const newest = found.map(({ taskDefinition }) => taskDefinition!.taskDefinitionArn!.split(':').at(-1)).join();
    const lists = s.calls.filter(({ name }) => name === 'ecs.ListTaskDefinitions').length;
    return [newest, lists, s.made('ecs.DescribeTaskDefinition').length];
  };
  assert.deepEqual(await read(), ['1,1', 1, 2]);
  versions = [1, 2];
  assert.deepEqual(await read(), ['1,1', 0, 0], 'within the minute');
  s.pass(61);
  assert.deepEqual(await read(), ['1,2', 1, 1], 'the other never changes');
});

test("target groups' attributes are read again where the event history tells of a change", async () => {
  const drain = new Map<string, string>(numbers(5).map((n) => [`arn-${n}`, '120']));
  const events: { at: number; arn: string }[] = [];
  let isDenied = false;
  const s = scene({
    'elb.DescribeTargetGroupAttributes': ({ TargetGroupArn }) => ({
      Attributes: [{ Key: 'deregistration_delay.timeout_seconds', Value: drain.get(TargetGroupArn) }],
    }),
    'trail.LookupEvents': ({ LookupAttributes, StartTime, EndTime }) => {
      if (isDenied) denied();
      assert.deepEqual(LookupAttributes, [
        { AttributeKey: 'EventName', AttributeValue: 'ModifyTargetGroupAttributes' },
      ]);
      const shown = events.filter(({ at }) => at >= StartTime.getTime() && at <= EndTime.getTime());
      return {
        Events: shown.map(({ at, arn }) => ({
          EventTime: new Date(at),
          CloudTrailEvent: JSON.stringify({ requestParameters: { targetGroupArn: arn } }),
        })),
      };
    },
  });
  const read = async (): Promise<[drained: string, lookups: number, asked: number]> => {
    const aws = s.view();
    const found = await Promise.all([...drain.keys()].map((arn) => aws.elb.send(attributesOf(arn))));
    const lookups = s.calls.filter(({ name }) => name === 'trail.LookupEvents').length;
    const asked = s.made('elb.DescribeTargetGroupAttributes').length;
    return [found.map(({ Attributes }) => Attributes![0]!.Value).join(), lookups, asked];
  };
  assert.deepEqual(await read(), ['120,120,120,120,120', 0, 5]);
  s.pass(900);
  assert.deepEqual(await read(), ['120,120,120,120,120', 1, 0]);
  drain.set('arn-3', '5');
  const at = s.now() + 1000;
  s.pass(900);
  assert.deepEqual(await read(), ['120,120,120,120,120', 1, 0], 'the history does not have it yet');
  events.push({ at, arn: 'arn-3' });
  s.pass(900);
  assert.deepEqual(await read(), ['120,120,120,5,120', 1, 1]);
  s.pass(900);
  assert.deepEqual(await read(), ['120,120,120,5,120', 1, 0], 'that change is known');
  s.pass(2700);
  assert.deepEqual(await read(), ['120,120,120,5,120', 1, 5], 'the history may have had a gap');
  isDenied = true;
  s.pass(900);
  assert.deepEqual(await read(), ['120,120,120,5,120', 1, 5], 'nobody may read the history');
  s.pass(900);
  assert.deepEqual(await read(), ['120,120,120,5,120', 0, 5], 'nor is it asked again at once');
  isDenied = false;
  s.pass(3600);
  await read();
  for (let n = 0; n < 96; n += 1) {
    s.pass(900);
    await s.view().elb.send(attributesOf('arn-0'));
  }
  assert(s.made('elb.DescribeTargetGroupAttributes').length >= 1, 'at the latest a day later it is read for itself');
});
