/** Every kind keeps its contract in an emulated account, with no more permissions than it declares. */
import { DescribeDBSnapshotsCommand, RDSClient } from '@aws-sdk/client-rds';
import {
  DescribeSecretCommand,
  PutSecretValueCommand,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { Terminal, explain } from '../../services/reconciler/aws/errors.ts';
import { scopeOf } from '../../services/reconciler/aws/grants.ts';
import { names } from '../../services/reconciler/aws/names.ts';
import { deploymentPolicy } from '../../services/reconciler/aws/session.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { cloudMapService } from '../../services/reconciler/kinds/cloud-map-service.ts';
import { databaseUri } from '../../services/reconciler/kinds/database-uri.ts';
import { ecsService, type EcsServiceInputs } from '../../services/reconciler/kinds/ecs-service.ts';
import { environment, lostVersions, writeEnvironment } from '../../services/reconciler/kinds/environment.ts';
import { kinds } from '../../services/reconciler/kinds/index.ts';
import { listenerRule } from '../../services/reconciler/kinds/listener-rule.ts';
import { logGroup } from '../../services/reconciler/kinds/log-group.ts';
import { rdsPostgres, type Database } from '../../services/reconciler/kinds/rds-postgres.ts';
import { repository } from '../../services/reconciler/kinds/repository.ts';
import { redisSecret } from '../../services/reconciler/kinds/redis-secret.ts';
import { scalableTarget } from '../../services/reconciler/kinds/scalable-target.ts';
import { securityGroup } from '../../services/reconciler/kinds/security-group.ts';
import { targetGroup } from '../../services/reconciler/kinds/target-group.ts';
import { taskDefinition, type TaskDefinitionInputs } from '../../services/reconciler/kinds/task-definition.ts';
import { uploadUrl, uploads, uploadsOf } from '../../services/reconciler/kinds/uploads.ts';
import { Superseded } from '../../services/reconciler/pass.ts';
import type { Cx } from '../../services/reconciler/resource.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { contractOf } from '../support/contract.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000001';
const contract = contractOf((what, check) => eventually(what, check, { seconds: 60, every: 100 }));

describe('kinds', { timeout: 240_000 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let aws: Account;
  let image: string;

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    aws = await t.accounts.enter(t.place, { name: 'kinds' });
    image = (await rehearsal.pushImage({ account: ACCOUNT, region: 'us-east-1', repository: 'app', image: 'stub' }))
      .uri;
  });
  after(async () => {
    assert.deepEqual(
      [...kinds.keys()].filter((kind) => !contract.seen.has(kind)),
      [],
      'every kind has kept the contract',
    );
    t.close();
    await rehearsal.stop();
  });

  /** By id: in a session that may do no more than a pass over it. */
  const sessions = new Map<string, Account>();
  const deployment = async (): Promise<{ id: string; name: string }> => {
    const id = randomUUID();
    const policy = deploymentPolicy(scopeOf(t.place), { id });
    const session = { name: `kinds-${id}`, deployment: id, operation: 'test', actor: 'ada', policy };
    sessions.set(id, await t.accounts.enter(t.place, session));
    return { id, name: 'agent' };
  };
  const cxOf = (id: string, node: string): Cx => {
    const tags = ownerTags(t.place, id, node);
    return { aws: sessions.get(id) ?? aws, tags, deletionGate: true, fence: async () => {} };
  };
  const smallDatabase = (d: Awaited<ReturnType<typeof deployment>>) => ({
    name: names(t.place, d).database,
    databaseName: 'langgraph',
    user: 'langgraph',
    class: 'db.t4g.micro',
    storageGb: 20,
    maxStorageGb: null,
    version: '16',
    subnetGroup: t.place.databaseSubnetGroup,
    securityGroupId: t.place.loadBalancerSecurityGroupId,
    multiAz: false,
    backupDays: 0,
    protected: false,
  });

  const { untilReady, untilAbsent, keeps, goes } = contract;

  test('log-group', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'log-group');
    const inputs = { name: names(t.place, d).logGroup, retentionDays: 30 };
    await keeps(logGroup, cx, {
      inputs,
      other: { inputs: { ...inputs, retentionDays: 7 }, fields: ['retentionDays'] },
      ready: (out) => assert.equal(out.name, inputs.name),
    });
    await goes(logGroup, cx, inputs);
  });

  test('security-group', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'service-group');
    const from = t.place.loadBalancerSecurityGroupId;
    const inputs = {
      name: names(t.place, d).serviceGroup,
      vpcId: t.place.vpcId,
      description: 'a test',
      ingress: [{ port: 8000, fromGroup: from }],
    };
    const moved = [
      { port: 8001, fromGroup: from },
      { port: 9000, fromGroup: from },
    ];
    await keeps(securityGroup, cx, {
      inputs,
      other: { inputs: { ...inputs, ingress: moved }, fields: ['ingress'] },
      ready: (out) => assert.match(out.id, /^sg-/),
    });
    await goes(securityGroup, cx, inputs);
  });

  test('cloud-map-service', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'redis-discovery');
    const inputs = { name: names(t.place, d).discovery, namespaceId: t.place.namespaceId, ttlSeconds: 10 };
    await keeps(cloudMapService, cx, { inputs, ready: (out) => assert.match(out.arn, /:service\/srv-/) });
    await goes(cloudMapService, cx, inputs);
  });

  test('target-group and listener-rule', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'target-group');
    const health = {
      path: '/ok',
      intervalSeconds: 10,
      timeoutSeconds: 5,
      healthyAfter: 2,
      unhealthyAfter: 3,
      codes: '200',
    };
    const inputs = { name: names(t.place, d).targetGroup, vpcId: t.place.vpcId, port: 8000, health, drainSeconds: 120 };
    const group = await keeps(targetGroup, cx, {
      inputs,
      other: {
        inputs: { ...inputs, health: { ...health, path: '/healthy', codes: '200-299' }, drainSeconds: 60 },
        fields: ['health.path', 'health.codes', 'drainSeconds'],
      },
    });

    const rule = { listenerArn: t.place.listenerArn, targetGroupArn: group.arn, match: { path: '/agent' } };
    const ruleCx = cxOf(d.id, 'listener-rule');
    const elb = { account: ACCOUNT, service: 'elasticloadbalancing', times: 1 };
    const older = { ...ruleCx, fence: () => Promise.reject(new Superseded()) };
    await assert.rejects(listenerRule.converge(older, rule, undefined, []), Superseded);
    assert.equal((await listenerRule.observe(ruleCx, rule)).is, 'absent', 'another pass makes it now');
    await keeps(listenerRule, ruleCx, {
      inputs: rule,
      other: { inputs: { ...rule, match: { host: 'agent.example.com' } }, fields: ['conditions'] },
      madeOnce: false, // a listener takes any number of rules; the pass makes one only after it saw none
    });
    const gone = { ...elb, action: 'DescribeTags' };
    await rehearsal.fault({ ...gone, code: 'RuleNotFound' });
    assert.equal((await listenerRule.observe(ruleCx, rule)).is, 'absent', 'still in the list for a moment');
    await rehearsal.fault({ ...gone, code: 'TargetGroupNotFound' });
    assert.equal((await targetGroup.observe(cx, inputs)).is, 'absent', 'still found for a moment');

    const now = await targetGroup.observe(cx, inputs);
    assert.equal(now.is, 'ready');
    if (now.is === 'ready')
      assert.equal(await targetGroup.remove(cx, inputs, now.live), 'still used by a rule of the listener');
    assert.equal((await targetGroup.observe(cx, inputs)).is, 'ready', 'kept while the rule forwards to it');
    await goes(listenerRule, ruleCx, rule);
    await goes(targetGroup, cx, inputs);
  });

  test('environment', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'environment');
    const first = await writeEnvironment(aws, t.place, d, { KEY: 'one', URL: 'two' });
    const second = await writeEnvironment(aws, t.place, d, { KEY: 'three' });
    const inputs = {
      name: names(t.place, d).secret('environment'),
      versions: { [first]: ['URL'], [second]: ['KEY'] },
      keep: [],
    };
    await keeps(environment, cx, { inputs, there: true, ready: (out) => assert.match(out.arn, /:secret:/) });

    const never = randomUUID();
    const lost = { ...inputs, versions: { ...inputs.versions, [never]: ['TOKEN'] } };
    const now = await environment.observe(cx, lost);
    assert.equal(now.is, 'broken');
    assert.match(now.is === 'broken' ? now.why : '', /"TOKEN".*give it again/);
    assert.deepEqual(await lostVersions(aws, t.place, d, [first, second, never]), [never]);

    // Swept, and then needed again: AWS may delete what has no label.
    const swept = { SecretId: inputs.name, VersionStage: `freehold-${first}`, RemoveFromVersionId: first };
    await aws.secrets.send(new UpdateSecretVersionStageCommand(swept));
    const fading = await environment.observe(cx, inputs);
    assert(fading.is === 'ready');
    assert.deepEqual(environment.diff(inputs, fading.live), [
      { field: 'versions without a label', from: 1, to: 0, isUpkeep: true },
    ]);
    await untilReady(environment, cx, inputs);
    const { VersionIdsToStages } = await aws.secrets.send(new DescribeSecretCommand({ SecretId: inputs.name }));
    assert(VersionIdsToStages?.[first]?.includes(`freehold-${first}`));

    await rehearsal.fault({
      service: 'secretsmanager',
      action: 'PutSecretValue',
      account: ACCOUNT,
      code: 'LimitExceededException',
      times: 3, // the SDK takes it for throttling
    });
    await assert.rejects(writeEnvironment(aws, t.place, d, { KEY: 'x' }), /as many versions as AWS keeps.* or wait/);

    await goes(environment, cx, inputs);
    await assert.rejects(
      async () => environment.converge(cx, inputs, undefined, []),
      (error) => error instanceof Terminal && /"URL", "KEY"/.test(error.message),
    );
    // Given again while it is in its recovery window.
    const third = await writeEnvironment(aws, t.place, d, { KEY: 'four' });
    assert.equal((await environment.observe(cx, { ...inputs, versions: { [third]: ['KEY'] } })).is, 'ready');
  });

  test('repository', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'repository');
    const inputs = { name: names(t.place, d).repository };
    await keeps(repository, cx, {
      inputs,
      ready: (out) => assert.equal(out.uri, `${ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/${inputs.name}`),
    });
    await rehearsal.pushImage({ account: ACCOUNT, region: 'us-east-1', repository: inputs.name, image: 'stub' });
    await goes(repository, cx, inputs); // with its images
  });

  test('uploads', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'uploads');
    const inputs = uploadsOf(t.place.uploadBucket!, d.id);
    const other = await uploadUrl(t.accounts, t.place, await deployment());
    for (const upload of [await uploadUrl(t.accounts, t.place, d), await uploadUrl(t.accounts, t.place, d), other]) {
      const answer = await fetch(upload.url, { method: 'PUT', body: 'archive', headers: upload.headers });
      assert.equal(answer.status, 200, await answer.text());
    }
    await keeps(uploads, cx, { inputs, there: true });
    await goes(uploads, cx, inputs);
    const theirs = uploadsOf(t.place.uploadBucket!, other.path.split('/')[1]!);
    const left = await uploads.observe(cxOf(other.path.split('/')[1]!, 'uploads'), theirs);
    assert.equal(left.is, 'ready', "another deployment's stay");
    const elsewhere = uploads.remove(cx, inputs, { keys: ['elsewhere'] });
    await assert.rejects(elsewhere, (error) =>
      explain(error).message.includes('missing permission: "s3:DeleteObject"'),
    );
  });

  test('redis-secret', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'redis-secret');
    const inputs = { name: names(t.place, d).secret('redis'), host: 'redis.example.internal', port: 6379 };
    const served = { inputs: { ...inputs, served: true as const }, fields: ['provisioning'] };
    await keeps(redisSecret, cx, { inputs, other: served });
    await goes(redisSecret, cx, inputs);
  });

  test('rds-postgres and database-uri', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'database');
    const inputs = smallDatabase(d);
    const larger = {
      ...inputs,
      class: 'db.m7g.large',
      storageGb: 40,
      maxStorageGb: 100,
      backupDays: 7,
      protected: true,
      served: true as const,
    };
    const database: Database = await keeps(rdsPostgres, cx, {
      inputs,
      other: {
        inputs: larger,
        fields: ['class', 'storageGb', 'maxStorageGb', 'backupDays', 'protected', 'provisioning'],
      },
      ready: (out) => assert.equal(out.identifier, inputs.name),
    });

    const uri = { name: names(t.place, d).secret('database'), database };
    const uriCx = cxOf(d.id, 'database-uri');
    const ofServed = { inputs: { ...uri, served: true as const }, fields: ['provisioning'] };
    await keeps(databaseUri, uriCx, { inputs: uri, madeOnce: false, other: ofServed });
    const made = t.calls.filter((call) => call.operation === 'PutSecretValue').length;
    const [live] = await untilReady(databaseUri, uriCx, uri);
    assert.deepEqual(databaseUri.diff(uri, live), []);
    assert.equal(t.calls.filter((call) => call.operation === 'PutSecretValue').length, made, 'bound: never again');
    // Another worker, paused until now, puts a password of its own.
    await aws.secrets.send(new PutSecretValueCommand({ SecretId: uri.name, SecretString: 'postgresql://stray' }));
    const stray = await databaseUri.observe(uriCx, uri);
    assert.equal(stray.is, 'busy');
    if (stray.is !== 'busy') return;
    const fields = (live: typeof stray.live) => databaseUri.diff(uri, live).map((change) => change.field);
    assert.deepEqual(fields({ ...stray.live, status: 'modifying' }), [], 'RDS would refuse it');
    assert.deepEqual(fields(stray.live), ['database']);
    for (const allowed of [0, 1, 2]) {
      let asked = 0;
      const taken: Cx = {
        ...uriCx,
        fence: async () => {
          if (asked++ === allowed) throw new Error('another pass has taken over');
        },
      };
      const before = t.calls.length;
      await assert.rejects(
        async () => databaseUri.converge(taken, uri, stray.live, databaseUri.diff(uri, stray.live)),
        /taken over/,
      );
      const writes = t.calls.slice(before).map((call) => call.operation);
      assert.deepEqual(writes, ['ModifyDBInstance', 'PutSecretValue', 'TagResource'].slice(0, allowed));
    }
    await untilReady(databaseUri, uriCx, uri);
    const anew = { ...uri, database: { ...database, resourceId: 'db-ANOTHER' } };
    assert.deepEqual(
      databaseUri.diff(anew, live).map((change) => change.field),
      ['database'],
    );
    await goes(databaseUri, uriCx, uri);
    await untilReady(databaseUri, uriCx, uri); // taken out of its recovery window
    await goes(databaseUri, uriCx, uri);

    for (const [other, says] of [
      [{ user: 'another' }, /^cannot be changed in place: ".*": user is "langgraph", asked for is "another": /],
      [{ subnetGroup: 'another', databaseName: 'x' }, /databaseName is .*, subnetGroup is /],
      [{ version: '17' }, /version is "16", asked for is "17"/],
    ] as const) {
      const kept = await rdsPostgres.observe(cx, larger);
      assert.ok(kept.is === 'ready');
      assert.throws(
        () => rdsPostgres.diff({ ...larger, ...other }, kept.live),
        (error) => error instanceof Terminal && says.test(error.message),
      );
      assert.deepEqual(rdsPostgres.diff({ ...larger, version: '15' }, kept.live), [], 'a newer one is fine');
    }
    const atRest = (as = larger) =>
      eventually('the database is at rest', async () => {
        const now = await rdsPostgres.observe(cx, as);
        return now.is === 'ready' && now.live.status === 'available' && now;
      });
    const resting = await atRest();
    const grown = (storageGb: number, status = 'available') => ({
      ...resting.live,
      status,
      settings: { ...resting.live.settings, storageGb, maxStorageGb: null },
    });
    const asked = (live: typeof resting.live) => rdsPostgres.diff({ ...larger, multiAz: true }, live);
    assert.deepEqual(
      asked(grown(90)).map(({ field, to }) => [field, to]),
      [
        ['maxStorageGb', 100],
        ['multiAz', true],
      ],
    );
    assert.deepEqual(
      asked(grown(95)).map(({ field }) => field),
      ['multiAz'],
      'a limit that RDS would refuse would spoil the rest',
    );
    assert.deepEqual(
      asked(grown(90, 'storage-full')).map(({ field }) => field),
      ['maxStorageGb'],
      'what is full takes nothing but room',
    );
    const refused = (status: string) =>
      rdsPostgres.refuses!(grown(90, status), asked(grown(90, status)))?.replace(/^the database is /, '');
    assert.deepEqual(['available', 'storage-full', 'storage-optimization', 'backing-up'].map(refused), [
      undefined,
      undefined,
      undefined,
      'backing up: after that, maxStorageGb, multiAz will be changed',
    ]);
    const room = asked(grown(90, 'storage-full'));
    assert.match(
      rdsPostgres.refuses!(grown(90, 'storage-optimization'), room)!,
      /optimization: after that, maxStorageGb/,
    );
    const owners = { ...resting.live.settings, multiAz: true, backupDays: 35 };
    assert.deepEqual(
      rdsPostgres.diff({ ...larger, protected: false }, { ...resting.live, settings: owners }),
      [],
      'what the owner has made safer stays so',
    );
    const smaller = { ...larger, class: 'db.t4g.small' };
    await rdsPostgres.converge(cx, smaller, resting.live, rdsPostgres.diff(smaller, resting.live));
    const restarting = await rdsPostgres.observe(cx, smaller);
    assert.equal(restarting.is === 'busy' && restarting.why, 'the database restarts with the class db.t4g.small');
    assert.deepEqual(restarting.is === 'busy' && rdsPostgres.diff(smaller, restarting.live), [], 'asked for once');
    const kept = await atRest(smaller);
    const theirs = await rdsPostgres.remove(cx, { ...larger, protected: false }, kept.live);
    assert.match(String(theirs), /^somebody has put deletion protection on the database: take it off in RDS/);
    assert.equal(await rdsPostgres.remove(cx, larger, kept.live), 'its deletion protection is taken off');
    await goes(rdsPostgres, cx, larger);
    assert.equal((await snapshotsOf(inputs.name)).length, 1);
  });

  test('a database that RDS gave up on is removed without a final snapshot, and says so', async () => {
    const d = await deployment();
    const cx = cxOf(d.id, 'database');
    const inputs = smallDatabase(d);
    const [live] = await untilReady(rdsPostgres, cx, inputs);
    const production = { ...inputs, protected: true };
    const said = await rdsPostgres.remove(cx, production, { ...live, status: 'incompatible-network' });
    assert.equal(said, 'without a final snapshot: RDS takes none while the database is incompatible network');
    await untilAbsent(rdsPostgres, cx, production);
    assert.deepEqual(await snapshotsOf(inputs.name), []);
  });

  /** As the customer sees them. */
  async function snapshotsOf(DBInstanceIdentifier: string) {
    const credentials = rehearsal.root(ACCOUNT);
    const rds = new RDSClient({ region: t.place.region, endpoint: rehearsal.endpoint, credentials });
    return (await rds.send(new DescribeDBSnapshotsCommand({ DBInstanceIdentifier }))).DBSnapshots ?? [];
  }

  test('task-definition, ecs-service and scalable-target', async () => {
    const d = await deployment();
    const called = names(t.place, d);
    const logs = { name: called.logGroup, retentionDays: 7 };
    await untilReady(logGroup, cxOf(d.id, 'log-group'), logs);
    const definition = (number: number, environment: Record<string, string>): TaskDefinitionInputs => ({
      family: called.taskFamily(number),
      size: { cpu: 256, memoryMb: 512 },
      executionRoleArn: t.place.executionRoleArn,
      taskRoleArn: t.place.taskRoleArn,
      region: t.place.region,
      container: {
        name: 'server',
        image,
        cpu: 256,
        memoryMb: 512,
        port: 8000,
        environment,
        secrets: {},
        stopSeconds: 30,
        logGroup: called.logGroup,
      },
    });
    const cx = cxOf(d.id, 'task-r1');
    const one = definition(1, { REVISION: 'one' });
    const task = await keeps(taskDefinition, cx, {
      inputs: one,
      madeOnce: false, // registering again makes another version of the same family; the latest is used
      ready: (out) => assert.equal(out.family, one.family),
    });

    const injecting = (suffix: string, version: string): TaskDefinitionInputs => {
      const three = definition(3, {});
      const secret = `arn:aws:secretsmanager:us-east-1:${ACCOUNT}:secret:freehold/x/environment-${suffix}`;
      return { ...three, container: { ...three.container, secrets: { KEY: `${secret}:KEY::${version}` } } };
    };
    const lost = cxOf(d.id, 'task-r3');
    const larger = { cpu: 512, memoryMb: 1024 };
    await keeps(taskDefinition, lost, {
      inputs: injecting('AAAAAA', '1'),
      other: { inputs: { ...injecting('BBBBBB', '1'), size: larger }, fields: ['cpu', 'memoryMb', 'secret KEY'] },
      madeOnce: false,
    });
    const [again] = await untilReady(taskDefinition, lost, injecting('BBBBBB', '1'));
    assert.equal(taskDefinition.diff(injecting('BBBBBB', '2'), again).length, 1, 'another version has another value');
    assert.deepEqual(taskDefinition.diff(definition(3, { OTHER: 'default' }), again), []);
    await goes(taskDefinition, lost, injecting('BBBBBB', '1'));

    const inputs: EcsServiceInputs = {
      name: called.service,
      clusterArn: t.place.clusterArn,
      taskDefinitionArn: task.arn,
      subnets: t.place.privateSubnetIds,
      securityGroups: [t.place.loadBalancerSecurityGroupId],
      min: 1,
      max: 2,
      minHealthy: 100,
      maxRunning: 200,
      container: { name: 'server', port: 8000, logGroup: called.logGroup },
    };
    const two = definition(2, { REVISION: 'two' });
    const [, second] = await untilReady(taskDefinition, cxOf(d.id, 'task-r2'), two);
    const serviceCx = cxOf(d.id, 'service');
    const service = await keeps(ecsService, serviceCx, {
      inputs,
      other: {
        inputs: { ...inputs, taskDefinitionArn: second.arn, min: 2 },
        fields: ['taskDefinition', 'desiredCount'],
      },
    });

    const limits = { cluster: t.place.prefix, service: service.name, min: 2, max: 4 };
    const limitsCx = cxOf(d.id, 'scalable-target');
    await keeps(scalableTarget, limitsCx, {
      inputs: limits,
      other: { inputs: { ...limits, max: 3 }, fields: ['max'] },
    });
    await goes(scalableTarget, limitsCx, limits);
    await goes(ecsService, serviceCx, inputs);
    await goes(taskDefinition, cx, one);
    await goes(taskDefinition, cxOf(d.id, 'task-r2'), two);
  });
});
