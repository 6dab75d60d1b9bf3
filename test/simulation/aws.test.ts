/**
 * The simulated account: the contract that every kind keeps in the emulated account holds here too, so the two show the
 * kinds the same AWS; and AWS's habits, which the simulation is for.
 */
import { CreateSecurityGroupCommand, DescribeSecurityGroupsCommand } from '@aws-sdk/client-ec2';
import {
  DescribeClustersCommand,
  DescribeServiceDeploymentsCommand,
  DescribeServicesCommand,
  ListServiceDeploymentsCommand,
  StopServiceDeploymentCommand,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs';
import { DescribeDBSnapshotsCommand, ModifyDBInstanceCommand } from '@aws-sdk/client-rds';
import { CreateSecretCommand } from '@aws-sdk/client-secrets-manager';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, describe, test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { explain, hasCode, isThrottled } from '../../services/reconciler/aws/errors.ts';
import { names } from '../../services/reconciler/aws/names.ts';
import { remaining } from '../../services/reconciler/aws/remaining.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { cloudMapService } from '../../services/reconciler/kinds/cloud-map-service.ts';
import { databaseUri } from '../../services/reconciler/kinds/database-uri.ts';
import { ecsService, type EcsServiceInputs } from '../../services/reconciler/kinds/ecs-service.ts';
import { environment, writeEnvironment } from '../../services/reconciler/kinds/environment.ts';
import { kinds } from '../../services/reconciler/kinds/index.ts';
import { listenerRule } from '../../services/reconciler/kinds/listener-rule.ts';
import { logGroup } from '../../services/reconciler/kinds/log-group.ts';
import { rdsPostgres, type RdsPostgresInputs } from '../../services/reconciler/kinds/rds-postgres.ts';
import { redisSecret } from '../../services/reconciler/kinds/redis-secret.ts';
import { repository } from '../../services/reconciler/kinds/repository.ts';
import { scalableTarget } from '../../services/reconciler/kinds/scalable-target.ts';
import { securityGroup } from '../../services/reconciler/kinds/security-group.ts';
import { targetGroup } from '../../services/reconciler/kinds/target-group.ts';
import { taskDefinition, type TaskDefinitionInputs } from '../../services/reconciler/kinds/task-definition.ts';
import { uploads, uploadsOf } from '../../services/reconciler/kinds/uploads.ts';
import type { Cx } from '../../services/reconciler/resource.ts';
import { SimulatedAccount, type SimulatedAccountOptions, type SimulatedCall } from '../../simulation/aws/account.ts';
import { NotSimulated } from '../../simulation/aws/operation.ts';
import { contractOf } from '../support/contract.ts';

/** mulberry32 */
function seeded(seed: number): () => number {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Scene {
  readonly account: SimulatedAccount;
  readonly aws: Account;
  readonly calls: SimulatedCall[];
  skip(seconds: number): void;
  now(): number;
}

function scene(options: Partial<SimulatedAccountOptions> = {}, seed = 1): Scene {
  let now = Date.now();
  const habits = { now: () => now, random: seeded(seed) };
  const account = new SimulatedAccount({ id: '350000000001', region: 'us-east-1', habits, ...options });
  const calls: SimulatedCall[] = [];
  const aws = account.clients(async (call, act) => {
    calls.push(call);
    return act();
  });
  const skip = (seconds: number) => void (now += seconds * 1000);
  return { account, aws, calls, skip, now: () => now };
}

/** Looks every two virtual seconds. */
const untilIn =
  ({ skip }: Scene, seconds = 3600) =>
  async <T>(what: string, look: () => Promise<T>) => {
    let last: unknown;
    for (let passed = 0; passed < seconds; passed += 2) {
      try {
        const seen = await look();
        if (seen) return seen as Exclude<T, undefined | null | false | 0 | ''>;
        last = seen;
      } catch (error) {
        if (error instanceof NotSimulated) throw error;
        last = error;
      }
      skip(2);
    }
    throw new Error(`not within ${seconds} virtual seconds: ${what}`, { cause: last });
  };

const HEALTH = {
  path: '/ok',
  intervalSeconds: 10,
  timeoutSeconds: 5,
  healthyAfter: 2,
  unhealthyAfter: 3,
  codes: '200',
};

function inputsOf({ account }: Scene, d: { id: string; name: string }) {
  const place = account.place();
  const called = names(place, d);
  const group = place.loadBalancerSecurityGroupId;
  const database: RdsPostgresInputs = {
    name: called.database,
    databaseName: 'langgraph',
    user: 'langgraph',
    class: 'db.t4g.micro',
    storageGb: 20,
    maxStorageGb: null,
    version: '16',
    subnetGroup: place.databaseSubnetGroup,
    securityGroupId: group,
    multiAz: false,
    backupDays: 0,
    protected: false,
  };
  const definition = (number: number, image = 'good'): TaskDefinitionInputs => ({
    family: called.taskFamily(number),
    size: { cpu: 256, memoryMb: 512 },
    executionRoleArn: place.executionRoleArn,
    taskRoleArn: place.taskRoleArn,
    region: place.region,
    container: {
      name: 'server',
      image: `${account.id}.dkr.ecr.us-east-1.amazonaws.com/app@sha256:${image}`,
      cpu: 256,
      memoryMb: 512,
      port: 8000,
      environment: {},
      secrets: {},
      stopSeconds: 30,
      logGroup: called.logGroup,
    },
  });
  const service = (taskDefinitionArn: string): EcsServiceInputs => ({
    name: called.service,
    clusterArn: place.clusterArn,
    taskDefinitionArn,
    subnets: place.privateSubnetIds,
    securityGroups: [group],
    min: 1,
    max: 2,
    minHealthy: 100,
    maxRunning: 200,
    container: { name: 'server', port: 8000, logGroup: called.logGroup },
  });
  return {
    place,
    called,
    database,
    definition,
    service,
    logs: { name: called.logGroup, retentionDays: 30 },
    group: {
      name: called.serviceGroup,
      vpcId: place.vpcId,
      description: 'a test',
      ingress: [{ port: 8000, fromGroup: group }],
    },
    targets: { name: called.targetGroup, vpcId: place.vpcId, port: 8000, health: HEALTH, drainSeconds: 120 },
  };
}

const deployment = () => ({ id: randomUUID(), name: 'agent' });
const cxIn = ({ account, aws }: Scene, id: string, node: string): Cx => ({
  aws,
  tags: ownerTags(account.place(), id, node),
  deletionGate: true,
  fence: async () => {},
});

/** A service that runs, and all that it needs for that. */
async function running(s: Scene, image = 'good') {
  const d = deployment();
  const inputs = inputsOf(s, d);
  const { untilReady } = contractOf(untilIn(s));
  const cx = cxIn(s, d.id, 'service');
  await untilReady(logGroup, cxIn(s, d.id, 'log-group'), inputs.logs);
  const define = async (number: number, from: string) =>
    (await untilReady(taskDefinition, cxIn(s, d.id, `task-r${number}`), inputs.definition(number, from)))[1].arn;
  const service = inputs.service(await define(1, image));
  await untilReady(ecsService, cx, service);
  return { cx, define, service };
}

for (const lag of [0, 1])
  describe(`the contract of every kind, with ${lag === 0 ? 'no' : 'AWS’s'} lag`, () => {
    const s = scene({ lag });
    const contract = contractOf(untilIn(s));
    const { keeps, goes, untilReady } = contract;
    const d = deployment();
    const { place, called, database, definition, service, logs, group, targets } = inputsOf(s, d);
    const cx = (node: string): Cx => cxIn(s, d.id, node);

    after(() => {
      assert.deepEqual(
        [...kinds.keys()].filter((kind) => !contract.seen.has(kind)),
        [],
      );
    });

    test('what is at rest alone', async () => {
      await keeps(logGroup, cx('log-group'), {
        inputs: logs,
        other: { inputs: { ...logs, retentionDays: 7 }, fields: ['retentionDays'] },
      });
      const ports = [8001, 9000].map((port) => ({ port, fromGroup: place.loadBalancerSecurityGroupId }));
      await keeps(securityGroup, cx('service-group'), {
        inputs: group,
        other: { inputs: { ...group, ingress: ports }, fields: ['ingress'] },
      });
      const name = { name: called.discovery, namespaceId: place.namespaceId, ttlSeconds: 10 };
      await keeps(cloudMapService, cx('redis-discovery'), { inputs: name });
      await keeps(repository, cx('repository'), { inputs: { name: called.repository } });
      const redis = { name: called.secret('redis'), host: 'redis.example.internal', port: 6379 };
      const served = { inputs: { ...redis, served: true as const }, fields: ['provisioning'] };
      await keeps(redisSecret, cx('redis-secret'), { inputs: redis, other: served });
      s.account.upload(`uploads/${d.id}/archive.tar.gz`, 10);
      await keeps(uploads, cx('uploads'), { inputs: uploadsOf(place.uploadBucket!, d.id), there: true });
      const version = await writeEnvironment(s.aws, place, d, { KEY: 'one' });
      const variables = { name: called.secret('environment'), versions: { [version]: ['KEY'] }, keep: [] };
      await keeps(environment, cx('environment'), { inputs: variables, there: true });

      await goes(securityGroup, cx('service-group'), group);
      await goes(cloudMapService, cx('redis-discovery'), name);
      await goes(repository, cx('repository'), { name: called.repository });
      await goes(redisSecret, cx('redis-secret'), redis);
      await goes(uploads, cx('uploads'), uploadsOf(place.uploadBucket!, d.id));
      await goes(environment, cx('environment'), variables);
    });

    test('target group and rule', async () => {
      const other = { ...targets, health: { ...HEALTH, path: '/healthy', codes: '200-299' }, drainSeconds: 60 };
      const { arn } = await keeps(targetGroup, cx('target-group'), {
        inputs: targets,
        other: { inputs: other, fields: ['health.path', 'health.codes', 'drainSeconds'] },
        madeOnce: false, // made again with the settings of its making, which were changed
      });
      const rule = { listenerArn: place.listenerArn, targetGroupArn: arn, match: { path: '/agent' } };
      await keeps(listenerRule, cx('listener-rule'), {
        inputs: rule,
        other: { inputs: { ...rule, match: { host: 'agent.example.com' } }, fields: ['conditions'] },
        madeOnce: false,
      });
      const now = await targetGroup.observe(cx('target-group'), targets);
      assert(now.is === 'ready');
      assert.match(String(await targetGroup.remove(cx('target-group'), targets, now.live)), /still used by a rule/);
      await goes(listenerRule, cx('listener-rule'), rule);
      await goes(targetGroup, cx('target-group'), other);
    });

    test('database and its URI', async () => {
      const larger = {
        ...database,
        class: 'db.m7g.large',
        storageGb: 40,
        maxStorageGb: 100,
        backupDays: 7,
        protected: true,
        served: true as const,
      };
      const made = await keeps(rdsPostgres, cx('database'), {
        inputs: database,
        other: {
          inputs: larger,
          fields: ['class', 'storageGb', 'maxStorageGb', 'backupDays', 'protected', 'provisioning'],
        },
      });
      const uri = { name: called.secret('database'), database: made };
      const ofServed = { inputs: { ...uri, served: true as const }, fields: ['provisioning'] };
      await keeps(databaseUri, cx('database-uri'), { inputs: uri, madeOnce: false, other: ofServed });
      await goes(databaseUri, cx('database-uri'), uri);
      await goes(rdsPostgres, cx('database'), larger);
      const { DBSnapshots } = await s.aws.rds.send(
        new DescribeDBSnapshotsCommand({ DBInstanceIdentifier: database.name }),
      );
      assert.equal(DBSnapshots?.length, 1);
    });

    test('task definition, service and scaling', async () => {
      const secret = (suffix: string) => ({
        KEY: `arn:aws:secretsmanager:us-east-1:350000000001:secret:freehold/x/environment-${suffix}:KEY::1`,
      });
      const three = (suffix: string) => ({
        ...definition(3),
        container: { ...definition(3).container, secrets: secret(suffix) },
      });
      await keeps(taskDefinition, cx('task-r3'), {
        inputs: three('AAAAAA'),
        other: { inputs: three('BBBBBB'), fields: ['secret KEY'] },
        madeOnce: false,
      });
      const one = await keeps(taskDefinition, cx('task-r1'), { inputs: definition(1), madeOnce: false });
      const [, two] = await untilReady(taskDefinition, cx('task-r2'), definition(2));
      await keeps(ecsService, cx('service'), {
        inputs: service(one.arn),
        other: { inputs: { ...service(two.arn), min: 2 }, fields: ['taskDefinition', 'desiredCount'] },
      });
      const limits = { cluster: place.prefix, service: called.service, min: 2, max: 4 };
      await keeps(scalableTarget, cx('scalable-target'), {
        inputs: limits,
        other: { inputs: { ...limits, max: 3 }, fields: ['max'] },
      });
      await goes(scalableTarget, cx('scalable-target'), limits);
      await goes(ecsService, cx('service'), service(two.arn));
      for (const number of [1, 2, 3]) await goes(taskDefinition, cx(`task-r${number}`), definition(number));
      await goes(logGroup, cx('log-group'), logs);
      s.skip(7200);
      assert.deepEqual(
        s.account.resources().filter(({ isGoing }) => !isGoing),
        [],
        'nothing is left',
      );
      const { left, kept } = await remaining(s.aws, place, d.id, []);
      assert.deepEqual(left, []);
      assert(kept.some(({ what }) => /final snapshot/.test(what)));
    });
  });

describe('habits', () => {
  const make = (GroupName: string, VpcId: string) =>
    new CreateSecurityGroupCommand({ GroupName, VpcId, Description: 'x' });
  const find = (name: string) =>
    new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'group-name', Values: [name] }] });

  // https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
  test('reads lag behind writes, go back and forth meanwhile, and come to show the truth', async () => {
    const s = scene({}, 7);
    const shown: string[] = [];
    for (let made = 0; made < 20; made++) {
      await s.aws.ec2.send(make(`group-${made}`, s.account.place().vpcId));
      let looks = '';
      for (let look = 0; look < 60; look++) {
        looks += (await s.aws.ec2.send(find(`group-${made}`))).SecurityGroups!.length;
        s.skip(0.5);
      }
      shown.push(looks);
    }
    assert(
      shown.some((looks) => looks.startsWith('0')),
      'what was made a moment ago is not found',
    );
    assert(
      shown.some((looks) => /10+1/.test(looks)),
      'a later read may be older',
    );
    assert(
      shown.every((looks) => looks.endsWith('1')),
      'half a minute later all know it',
    );
    await assert.rejects(s.aws.ec2.send(make('group-0', s.account.place().vpcId)), (error) =>
      hasCode(error, 'InvalidGroup.Duplicate'),
    );
  });

  test('without lag a read shows the truth, and an answer is nobody else’s', async () => {
    const s = scene({ lag: 0 });
    await s.aws.ec2.send(make('group', s.account.place().vpcId));
    const first = await s.aws.ec2.send(find('group'));
    first.SecurityGroups![0]!.Tags!.push({ Key: 'freehold:place', Value: 'somebody' });
    assert.deepEqual((await s.aws.ec2.send(find('group'))).SecurityGroups![0]!.Tags, []);
  });

  // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html: 100 at once, 20 a second
  test('who asks faster than AWS answers is refused, and may go on a second later', async () => {
    const s = scene();
    const { place } = { place: s.account.place() };
    const look = () => s.aws.ecs.send(new DescribeServicesCommand({ cluster: place.clusterArn, services: ['none'] }));
    for (let call = 0; call < 100; call++) await look();
    await assert.rejects(look(), (error) => isThrottled(error) && /slow down/.test(explain(error).message));
    s.skip(1);
    for (let call = 0; call < 20; call++) await look();
    await assert.rejects(look(), isThrottled);
    const other = scene({ rates: Infinity });
    for (let call = 0; call < 200; call++)
      await other.aws.ecs.send(new DescribeServicesCommand({ cluster: place.clusterArn, services: ['none'] }));
  });

  test('the same seed is the same life, to the last id and time', async () => {
    const lives = await Promise.all(
      [3, 3, 4].map(async (seed) => {
        const s = scene({}, seed);
        for (let made = 0; made < 5; made++)
          await s.aws.secrets.send(
            new CreateSecretCommand({ Name: `s${made}`, SecretString: 'x', ClientRequestToken: 't' }),
          );
        return JSON.stringify(s.account.resources().map(({ arn, incarnation }) => [arn, incarnation]));
      }),
    );
    assert.equal(lives[0], lives[1]);
    assert.notEqual(lives[0], lives[2]);
  });

  test('what is not simulated says so and is never taken for an answer of AWS’s', async () => {
    const { aws, calls } = scene();
    await assert.rejects(aws.ecs.send(new DescribeClustersCommand({})), NotSimulated);
    const unknown = new UpdateServiceCommand({ service: 'x', enableExecuteCommand: true });
    await assert.rejects(aws.ecs.send(unknown), /not simulated: "ecs:UpdateService" with "enableExecuteCommand"/);
    assert.deepEqual(calls, []);
  });
});

describe('rollouts', () => {
  const image = (name: string) =>
    name.endsWith('exits')
      ? 'exits'
      : name.endsWith('unhealthy')
        ? 'unhealthy'
        : name.endsWith('none')
          ? 'cannot-pull'
          : 'good';

  /** What the service's rollouts have come to, newest first. */
  async function rolloutsOf({ aws }: Scene, { service }: { service: EcsServiceInputs }) {
    const { serviceDeployments } = await aws.ecs.send(
      new ListServiceDeploymentsCommand({ cluster: service.clusterArn, service: service.name }),
    );
    return serviceDeployments!;
  }

  // Seen on AWS, of one task behind a balancer: 84-112 s; without one it is quicker.
  test('one that works takes its time, and the old tasks serve until the new ones do', async () => {
    const s = scene({ lag: 0 });
    const r = await running(s);
    const next = { ...r.service, taskDefinitionArn: await r.define(2, 'good') };
    const began = s.now();
    await s.aws.ecs.send(
      new UpdateServiceCommand({
        cluster: next.clusterArn,
        service: next.name,
        taskDefinition: next.taskDefinitionArn,
      }),
    );
    const counts = new Set<string>();
    await untilIn(s)('rolled out', async () => {
      const now = await ecsService.observe(r.cx, next);
      const { services } = await s.aws.ecs.send(
        new DescribeServicesCommand({ cluster: next.clusterArn, services: [next.name] }),
      );
      const running = services![0]!.runningCount!;
      assert(running >= 1, 'never less than one');
      counts.add(services![0]!.deployments!.map((each) => `${each.status} ${each.runningCount}`).join(', '));
      return now.is === 'ready';
    });
    const seconds = (s.now() - began) / 1000;
    assert(seconds > 30 && seconds < 120, `${seconds} s`);
    assert(counts.has('PRIMARY 0, ACTIVE 1'), [...counts].join('; '));
  });

  for (const [behaviour, why, atMost] of [
    ['exits', /exit code 1.*RuntimeError/, 300],
    ['none', /cannot be pulled/, 300],
  ] as const)
    test(`one whose image ${behaviour} is given up by the circuit breaker, which goes back`, async () => {
      const s = scene({ lag: 0, image });
      const r = await running(s);
      const bad = { ...r.service, taskDefinitionArn: await r.define(2, behaviour) };
      const began = s.now();
      await s.aws.ecs.send(
        new UpdateServiceCommand({ cluster: bad.clusterArn, service: bad.name, taskDefinition: bad.taskDefinitionArn }),
      );
      await untilIn(s)('taken back', async () => (await rolloutsOf(s, r))[0]!.status === 'ROLLBACK_SUCCESSFUL');
      const seconds = (s.now() - began) / 1000;
      assert(seconds > 60 && seconds < atMost, `${seconds} s`);
      const now = await ecsService.observe(r.cx, bad);
      assert(now.is === 'broken');
      assert.match(now.why, why);
      assert.equal((await ecsService.observe(r.cx, r.service)).is, 'ready', 'what served before serves');
    });

  // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopServiceDeployment.html
  test('one that is stopped goes back at once', async () => {
    const s = scene({ lag: 0, image });
    const r = await running(s);
    const taskDefinition = await r.define(2, 'good');
    await s.aws.ecs.send(
      new UpdateServiceCommand({ cluster: r.service.clusterArn, service: r.service.name, taskDefinition }),
    );
    s.skip(15);
    const [{ serviceDeploymentArn } = {}] = await rolloutsOf(s, r);
    await s.aws.ecs.send(new StopServiceDeploymentCommand({ serviceDeploymentArn, stopType: 'ROLLBACK' }));
    await untilIn(s, 120)('taken back', async () => (await rolloutsOf(s, r))[0]!.status === 'ROLLBACK_SUCCESSFUL');
    assert.equal((await ecsService.observe(r.cx, r.service)).is, 'ready');
    await assert.rejects(s.aws.ecs.send(new StopServiceDeploymentCommand({ serviceDeploymentArn })), (error) =>
      hasCode(error, 'ConflictException'),
    );
    const { serviceDeployments } = await s.aws.ecs.send(
      new DescribeServiceDeploymentsCommand({ serviceDeploymentArns: [serviceDeploymentArn!] }),
    );
    assert(serviceDeployments?.[0]?.rollback?.serviceRevisionArn);
  });

  test('a task starts only with its secrets there, and works only with the database’s own password', async () => {
    const s = scene({ lag: 0 });
    const { untilReady } = contractOf(untilIn(s));
    const d = deployment();
    const { called, database, definition, service, logs } = inputsOf(s, d);
    await untilReady(logGroup, cxIn(s, d.id, 'log-group'), logs);
    const [, made] = await untilReady(rdsPostgres, cxIn(s, d.id, 'database'), database);
    const uri = { name: called.secret('database'), database: made };
    const [, secret] = await untilReady(databaseUri, cxIn(s, d.id, 'database-uri'), uri);
    const withUri = (number: number, version: string): TaskDefinitionInputs => {
      const plain = definition(number);
      return { ...plain, container: { ...plain.container, secrets: { DATABASE_URI: `${secret.arn}:::${version}` } } };
    };
    const [, good] = await untilReady(taskDefinition, cxIn(s, d.id, 'task-r1'), withUri(1, secret.version));
    const cx = cxIn(s, d.id, 'service');
    await untilReady(ecsService, cx, service(good.arn));
    const [, lost] = await untilReady(taskDefinition, cxIn(s, d.id, 'task-r2'), withUri(2, randomUUID()));
    const fails = async (inputs: EcsServiceInputs, why: RegExp) => {
      const { clusterArn: cluster, name, taskDefinitionArn } = inputs;
      await s.aws.ecs.send(new UpdateServiceCommand({ cluster, service: name, taskDefinition: taskDefinitionArn }));
      await untilIn(s)('given up', async () => {
        const now = await ecsService.observe(cx, inputs);
        return now.is === 'broken' && why.test(now.why);
      });
    };
    await fails(service(lost.arn), /secret/);
    await s.aws.rds.send(
      new ModifyDBInstanceCommand({
        DBInstanceIdentifier: database.name,
        MasterUserPassword: 'changed-by-hand',
        ApplyImmediately: true,
      }),
    );
    s.skip(300);
    const [, stale] = await untilReady(taskDefinition, cxIn(s, d.id, 'task-r3'), withUri(3, secret.version));
    await fails(service(stale.arn), /password authentication failed/);
  });
});

describe('the customer’s hand', () => {
  test('deletes, retags and changes what is there, and not what AWS does not let go', async () => {
    const s = scene({ lag: 0 });
    const r = await running(s);
    const arnOf = (type: string) => s.account.resources().find((each) => each.type === type)!.arn;
    const service = arnOf('ecs:service');
    assert(s.account.tamperings(service).includes('stop a task'));
    assert.equal(s.account.tamper(service, { act: 'change', change: 'scale to none' }), true);
    const scaled = await ecsService.observe(r.cx, r.service);
    assert(scaled.is !== 'absent');
    assert.deepEqual(
      ecsService.diff(r.service, scaled.live).map(({ field }) => field),
      ['desiredCount'],
    );
    assert.equal(s.account.tamper(service, { act: 'retag', tags: { 'freehold:place': null } }), true);
    await assert.rejects(async () => ecsService.observe(r.cx, r.service), /exists and is not ours/);
    assert.equal(s.account.tamper(arnOf('logs:log-group'), { act: 'delete' }), true);
    assert.equal(
      s.account.tamper('arn:aws:ecs:us-east-1:350000000001:service/freehold/none', { act: 'delete' }),
      false,
    );
    const hand = s.account.history
      .filter(({ by }) => by === 'hand')
      .map(({ operation, what }) => `${operation}: ${what}`);
    assert.deepEqual(hand, ['scale to none: changed', 'retag: changed', 'delete: gone']);
  });
});
