/**
 * What ends and what comes back, in the emulated account: a delete that is undone brings everything back with its data;
 * what the customer deletes by hand and cannot be made again waits for the customer; and a customer who leaves has an
 * account without a trace but of what is kept on purpose.
 */
import { ApplicationAutoScalingClient, DescribeScalableTargetsCommand } from '@aws-sdk/client-application-auto-scaling';
import {
  CloudWatchLogsClient,
  DescribeLogGroupsCommand,
  PutRetentionPolicyCommand,
} from '@aws-sdk/client-cloudwatch-logs';
import { DescribeSecurityGroupsCommand, EC2Client } from '@aws-sdk/client-ec2';
import { DescribeRepositoriesCommand, ECRClient } from '@aws-sdk/client-ecr';
import { DescribeServicesCommand, ECSClient, ListServicesCommand, ListTasksCommand } from '@aws-sdk/client-ecs';
import { DescribeTargetGroupsCommand, ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import {
  AddTagsToResourceCommand,
  DeleteDBInstanceCommand,
  DeleteDBSnapshotCommand,
  DescribeDBInstancesCommand,
  DescribeDBSnapshotsCommand,
  ModifyDBInstanceCommand,
  RDSClient,
  RestoreDBInstanceFromDBSnapshotCommand,
  type DBInstance,
} from '@aws-sdk/client-rds';
import { ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import {
  DeleteSecretCommand,
  DescribeSecretCommand,
  ListSecretsCommand,
  RestoreSecretCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { ListServicesCommand as ListNamesCommand, ServiceDiscoveryClient } from '@aws-sdk/client-servicediscovery';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import pg from 'pg';
import type { ControlPlane } from '../../services/rehearsal/scene.ts';
import { eventually } from '../support/eventually.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '420000000071';
let on: stage.Stage;
let api: ControlPlane;
let at: ReturnType<typeof stage.customerClient>;
let kept: Json;
before(async () => {
  on = await stage.open('teardown', [ACCOUNT], { FREEHOLD_RETENTION_HOURS: '24', FREEHOLD_SWEEP_SECONDS: '5' });
  ({ api } = on);
  at = stage.customerClient(on.rehearsal, ACCOUNT);
  const image = await on.push(ACCOUNT, '1');
  const own = { name: 'POSTGRES_URI_CUSTOM', value: 'postgresql://user:password@db.example.com/agent' };
  kept = await stage.createDeployment(api, { name: 'kept', image, type: 'prod', secrets: [{ name: 'A', value: '1' }] });
  const brief = await stage.createDeployment(api, { name: 'brief', image, secrets: [own] });
  for (const one of [kept, brief]) await stage.deployed(api, one.id, one.latest_revision_id, 120);
});
after(() => on?.close());

/** What is there by the account's own word, whatever tags say. */
async function inventory(): Promise<string[]> {
  const { clusterArn: cluster, namespaceId, logGroupRoot, uploadBucket, vpcId } = on.places[ACCOUNT]!.outputs;
  const ecs = new ECSClient(at);
  const [services, tasks, databases, secrets, groups, targets, logs, repositories, names, limits, archives] =
    await Promise.all([
      ecs.send(new ListServicesCommand({ cluster })),
      ecs.send(new ListTasksCommand({ cluster })),
      new RDSClient(at).send(new DescribeDBInstancesCommand({})),
      new SecretsManagerClient(at).send(new ListSecretsCommand({})),
      new EC2Client(at).send(new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'vpc-id', Values: [vpcId] }] })),
      new ElasticLoadBalancingV2Client(at).send(new DescribeTargetGroupsCommand({})),
      new CloudWatchLogsClient(at).send(new DescribeLogGroupsCommand({ logGroupNamePrefix: `${logGroupRoot}/` })),
      new ECRClient(at).send(new DescribeRepositoriesCommand({})),
      new ServiceDiscoveryClient(at).send(
        new ListNamesCommand({ Filters: [{ Name: 'NAMESPACE_ID', Values: [namespaceId] }] }),
      ),
      new ApplicationAutoScalingClient(at).send(new DescribeScalableTargetsCommand({ ServiceNamespace: 'ecs' })),
      new S3Client({ ...at, forcePathStyle: true }).send(new ListObjectsV2Command({ Bucket: uploadBucket! })),
    ]);
  return [
    ...services.serviceArns!,
    ...tasks.taskArns!,
    ...databases.DBInstances!.map((one) => one.DBInstanceArn!),
    ...secrets.SecretList!.map((one) => one.ARN!),
    // Those of the stack have names of CloudFormation's.
    ...groups.SecurityGroups!.map((one) => one.GroupName!).filter((name) => /^freehold-[0-9a-f]{12}-/.test(name)),
    ...targets.TargetGroups!.map((one) => one.TargetGroupArn!),
    ...logs.logGroups!.map((one) => one.logGroupName!),
    // The customer's own, from which images are deployed.
    ...repositories.repositories!.map((one) => one.repositoryName!).filter((name) => name !== 'agent'),
    ...names.Services!.map((one) => one.Name!),
    ...limits.ScalableTargets!.map((one) => one.ResourceId!),
    ...(archives.Contents ?? []).map((one) => one.Key!),
  ];
}

const answers = (url: string): Promise<boolean> =>
  on.rehearsal.fetch(`${url}/ok`).then(
    ({ ok }) => ok,
    () => false,
  );

const uriOf = async (id: string): Promise<string> => {
  const secrets = await new SecretsManagerClient(at).send(new ListSecretsCommand({}));
  const found = secrets.SecretList!.find((one) => one.Name!.endsWith(`${id}/database`))!;
  return stage.databaseUri(on.rehearsal, ACCOUNT, found.ARN!);
};

async function query(uri: string, text: string): Promise<Json[]> {
  const client = new pg.Client({ connectionString: uri.replace(/\?.*$/, ''), ssl: { rejectUnauthorized: false } });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

const shortOf = (id: string): string => id.replaceAll('-', '').slice(0, 12);

/** The deployment once it is so; told with what it was last when it never is. */
const seen = (what: string, id: string, isSo: (now: Json) => boolean, seconds = 90): Promise<Json> =>
  eventually(
    what,
    async () => {
      const now = await api.call('GET', `/v2/deployments/${id}`);
      return isSo(now) ? now : Promise.reject(new Error(JSON.stringify([now.status, now.status_message, now.alarm])));
    },
    { seconds, every: 300 },
  );
const isWell = ({ status, status_message, alarm }: Json): boolean =>
  status === 'READY' && status_message === null && alarm === null;

test('a production delete that is undone: no server and no cost of one meanwhile, then all of it with its data', async () => {
  const { id, url } = kept;
  const uri = await uriOf(id);
  const sql = (text: string): Promise<Json[]> => query(uri, text);
  await sql("create table notes as select 'remember this' as note");

  await api.call('DELETE', `/v2/deployments/${id}`);
  assert.equal((await api.call('GET', `/v2/deployments/${id}`)).status, 'AWAITING_FINAL_DELETE');
  const short = shortOf(id);
  const ofIt = async (): Promise<string> =>
    (await inventory())
      .filter((name) => name.includes(short) || name.includes(id))
      .map((name) => name.replace(/^arn:.*:(db|secret):/, '').replace(/(?<=database|environment)-\w{6}$/, ''))
      .toSorted()
      .join(' ');
  const lasting = [
    `/aws/ecs/freehold/kept-${short}`,
    `freehold-${short}`,
    `freehold-${short}-database`,
    `freehold-${short}-service`,
    `freehold/${id}/database`,
    `freehold/${id}/environment`,
  ].join(' ');
  await eventually(
    'only what cannot be made again is left, and what that needs',
    async () => (await ofIt()) === lasting || Promise.reject(new Error(await ofIt())),
    { seconds: 60 },
  );
  assert.equal(await answers(url), false);
  await assert.rejects(
    stage.newRevision(api, id, { secrets: [{ name: 'A', value: '2' }] }),
    /409: .* is deleted: until/,
  );

  assert.equal((await api.call('POST', `/v2/deployments/${id}/undelete`)).url, url);
  await eventually('it answers at its address', () => answers(url), { seconds: 90 });
  const back = await seen('all is well', id, isWell);
  assert.deepEqual([back.status, back.active_revision_id], ['READY', kept.latest_revision_id]);
  assert.deepEqual(await sql('select note from notes'), [{ note: 'remember this' }], 'with the same password, too');
});

test('what somebody changed is repaired, and some minutes later it says who it was, and when', async () => {
  const began = Date.now();
  const logGroupName = `/aws/ecs/freehold/kept-${shortOf(kept.id)}`;
  await new CloudWatchLogsClient(at).send(new PutRetentionPolicyCommand({ logGroupName, retentionInDays: 1 }));
  const drift = await eventually(
    'it says who',
    async () => {
      const { resources } = await api.call('GET', `/v2/deployments/${kept.id}/drift`);
      const found = resources.find((one: Json) => one.resource === 'log-group' && one.field === 'retentionDays');
      return found?.changed_by ? found : Promise.reject(new Error(JSON.stringify(resources)));
    },
    { seconds: 90, every: 300 },
  );
  const { from, to, policy, resolution, changed_by: who } = drift;
  assert.deepEqual([from, to, policy, resolution], [30, 1, 'repair', 'repaired']);
  assert.deepEqual(
    [who.id, who.name, who.call],
    [`arn:aws:iam::${ACCOUNT}:root`, 'the root user', 'logs:PutRetentionPolicy'],
  );
  assert(Date.parse(who.at) >= Math.floor(began / 1000) * 1000 && who.at <= drift.detected_at, JSON.stringify(drift));
});

test('a database that was deleted by hand is never made anew; restored by hand, it is taken up with its data', async () => {
  const { id, url } = kept;
  const rds = new RDSClient(at);
  const DBInstanceIdentifier = `freehold-${shortOf(id)}`;
  const database = async (): Promise<DBInstance> =>
    (await rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier }))).DBInstances![0]!;
  const settingsOf = (one: DBInstance): Json => ({
    groups: one.VpcSecurityGroups!.map((group) => group.VpcSecurityGroupId),
    zones: one.MultiAZ,
    most: one.MaxAllocatedStorage,
    isProtected: one.DeletionProtection,
    days: one.BackupRetentionPeriod,
    copiesTags: one.CopyTagsToSnapshot,
  });
  const secret = async (): Promise<string> => {
    const SecretId = `freehold/${id}/database`;
    const { Tags } = await new SecretsManagerClient(at).send(new DescribeSecretCommand({ SecretId }));
    return Tags!.find(({ Key }) => Key === 'freehold:bound')!.Value!;
  };
  const definition = async (): Promise<string> => {
    const services = [DBInstanceIdentifier];
    const found = await new ECSClient(at).send(new DescribeServicesCommand({ cluster: 'freehold', services }));
    return found.services![0]!.taskDefinition!;
  };
  const was = { database: await database(), uri: await uriOf(id), definition: await definition() };
  assert.equal(await secret(), `${was.database.DbiResourceId}/${(await secret()).split('/')[1]}`);
  const before = (await on.rehearsal.calls()).at(-1)!.n;

  await eventually(
    'it is deleted by hand',
    async () => {
      // A sweep between the two puts the protection back.
      const off = { DeletionProtection: false, ApplyImmediately: true };
      await rds.send(new ModifyDBInstanceCommand({ DBInstanceIdentifier, ...off }));
      const last = { FinalDBSnapshotIdentifier: 'by-hand' };
      await rds.send(new DeleteDBInstanceCommand({ DBInstanceIdentifier, ...last }));
      return true;
    },
    { seconds: 30 },
  );
  const lost = await seen('it is missed', id, (now) => /"by-hand"/.test(now.alarm?.what_to_do ?? ''), 120);
  assert.deepEqual(
    [lost.status, lost.alarm.name, lost.alarm.resource],
    ['AWAITING_DATABASE', 'DATABASE_LOST', 'database'],
  );
  const { databaseSubnetGroup } = on.places[ACCOUNT]!.outputs;
  const said =
    `DATABASE_LOST: database: deleted by somebody else, with what it held: "${DBInstanceIdentifier}": restore a snapshot or an ` +
    `automated backup under this name, into the subnet group "${databaseSubnetGroup}": the rest is done by itself; ` +
    'AWS still has the snapshot "by-hand" of ';
  assert(lost.status_message.startsWith(said), lost.status_message);
  const errors = (await readFile(api.log, 'utf8')).split('\n').filter((line) => line.includes('DATABASE_LOST'));
  assert.equal(errors.length, 1, 'once, however often it is looked at');
  assert.deepEqual([JSON.parse(errors[0]!).level, JSON.parse(errors[0]!).deployment], [50, id]);

  // As AWS does it without more: in one zone, unprotected, with the VPC's default group; and under the customer's tags.
  const asked = { DBSnapshotIdentifier: 'by-hand', DBSubnetGroupName: databaseSubnetGroup };
  await rds.send(
    new RestoreDBInstanceFromDBSnapshotCommand({ DBInstanceIdentifier, ...asked, Tags: [{ Key: 'team', Value: 'a' }] }),
  );
  const theirs = await seen('it is not taken for ours', id, (now) => /exists and is not ours/.test(now.status_message));
  assert.deepEqual([theirs.status, theirs.alarm.name], ['AWAITING_DATABASE', 'DATABASE_LOST']);
  assert.match(theirs.alarm.what_to_do, /: if it is this deployment's, add what it lacks$/);
  const named = [...theirs.status_message.matchAll(/"(freehold:\w+)" = "([^"]+)"/g)];
  const Tags = named.map(([, Key, Value]) => ({ Key, Value }));
  assert.deepEqual(Tags, [
    { Key: 'freehold:place', Value: 'freehold' },
    { Key: 'freehold:deployment', Value: id },
    { Key: 'freehold:resource', Value: 'database' },
    was.database.TagList!.find(({ Key }) => Key === 'freehold:slot'),
  ]);
  await rds.send(new AddTagsToResourceCommand({ ResourceName: was.database.DBInstanceArn, Tags }));

  await eventually(
    'its settings are as asked again, and servers are started with its new password',
    async () => {
      const now = await database();
      const isAsAsked = JSON.stringify(settingsOf(now)) === JSON.stringify(settingsOf(was.database));
      const isBound = (await secret()).startsWith(`${now.DbiResourceId}/`);
      const so = [isAsAsked, isBound, (await definition()) !== was.definition];
      return so.every(Boolean) || Promise.reject(new Error(JSON.stringify([so, settingsOf(now)])));
    },
    { seconds: 120, every: 300 },
  );
  const back = await seen('all is well', id, isWell);
  assert.equal(back.active_revision_id, kept.latest_revision_id);
  const now = await database();
  assert.notEqual(now.DbiResourceId, was.database.DbiResourceId);
  const uri = await uriOf(id);
  assert.deepEqual(await query(uri, 'select note from notes'), [{ note: 'remember this' }]);
  const old = new URL(uri);
  old.password = new URL(was.uri).password;
  await assert.rejects(query(old.toString(), 'select 1'), /password authentication failed/);
  await eventually('it answers', () => answers(url), { seconds: 60 });
  const made = (await on.rehearsal.calls(before)).filter((call) => call.account === ACCOUNT);
  assert.deepEqual(
    made.filter(({ action }) => /^(CreateDBInstance|CreateSecret)$/.test(action)),
    [],
  );
  await rds.send(new DeleteDBSnapshotCommand({ DBSnapshotIdentifier: 'by-hand' }));
});

test('values that were deleted by hand are missed; back from the recovery window or given again, all is well', async () => {
  const { id } = kept;
  const secrets = new SecretsManagerClient(at);
  const SecretId = `freehold/${id}/environment`;
  const isLost = (now: Json): boolean => now.alarm !== null;
  await secrets.send(new DeleteSecretCommand({ SecretId, RecoveryWindowInDays: 7 }));
  const lost = await seen('it is missed', id, isLost);
  assert.deepEqual([lost.alarm.name, lost.alarm.resource], ['SECRET_VALUES_LOST', 'environment']);
  const said =
    'the value was deleted from the account: "A": give it again; AWS still has the secret in its recovery window: ' +
    `RestoreSecret "${SecretId}"`;
  assert.equal(lost.status_message, `SECRET_VALUES_LOST: environment: ${said}`);
  await secrets.send(new RestoreSecretCommand({ SecretId }));
  await seen('it is taken up', id, isWell);

  await secrets.send(new DeleteSecretCommand({ SecretId, ForceDeleteWithoutRecovery: true }));
  const gone = await seen('it is missed once more', id, isLost);
  assert.equal(gone.alarm.what_to_do, 'the value was deleted from the account: "A": give it again');
  const revision = await stage.newRevision(api, id, { secrets: [{ name: 'A', value: '2' }] });
  await stage.deployed(api, id, revision);
  await seen('all is well', id, isWell);
});

test('a place that is left: nothing without its last snapshot, users before the used, and a clean account', async () => {
  const before = (await on.rehearsal.calls()).at(-1)!.n;
  const { resources } = await api.call('GET', `/v2/deployments/${kept.id}/timeline`);
  const listener = on.places[ACCOUNT]!.id;
  const progress = (): Promise<Json> => api.call('GET', `/v2/listeners/${listener}/offboard`);
  await on.rehearsal.quota(ACCOUNT, 'L-272F1212', 0); // manual snapshots of databases
  await api.call('POST', `/v2/listeners/${listener}/offboard`, {
    confirm: `teardown-${ACCOUNT}`,
    skip_retention: true,
  });
  const waits = await eventually(
    'the database waits for its snapshot',
    async () => (await progress()).waiting.find((one: Json) => /SnapshotQuotaExceeded/.test(one.status_message)),
    { seconds: 90 },
  );
  assert.deepEqual([waits.name, waits.is_stuck], ['kept', true]);
  assert.match(waits.status_message, /^database: quota reached: "SnapshotQuotaExceededFault": rds:DeleteDBInstance: /);
  const { DBInstances } = await new RDSClient(at).send(new DescribeDBInstancesCommand({}));
  assert.equal(DBInstances!.length, 1, 'never without the snapshot');
  await on.rehearsal.quota(ACCOUNT, 'L-272F1212', 100);

  const clean = await eventually(
    'the account is clean',
    async () => {
      const now = await progress();
      return now.state === 'CLEAN' ? now : Promise.reject(new Error(JSON.stringify(now)));
    },
    { seconds: 120, every: 500 },
  );
  assert.deepEqual([clean.gone, clean.waiting, clean.search.left], [2, [], []]);
  assert(clean.search.found > 0 && clean.search.calls.length >= 4, JSON.stringify(clean.search));
  const snapshot = clean.kept.find(({ what }: Json) => what === "the database's final snapshot");
  const { DBSnapshots } = await new RDSClient(at).send(new DescribeDBSnapshotsCommand({ SnapshotType: 'manual' }));
  assert.deepEqual(
    DBSnapshots!.map((one) => [one.DBSnapshotArn, one.AllocatedStorage, one.Status]),
    [[snapshot.arn, snapshot.size_gb, 'available']],
  );
  assert(DBSnapshots![0]!.TagList!.some(({ Key, Value }) => Key === 'freehold:deployment' && Value === kept.id));
  assert.deepEqual([snapshot.monthly_usd, clean.monthly_usd], [1.9, 1.9], '20 GB in us-east-1');
  assert.match(snapshot.remove, /^aws rds delete-db-snapshot --region us-east-1 --db-snapshot-identifier freehold-/);

  // Secrets are not listed while they wait for their end.
  assert.deepEqual(await inventory(), []);
  const processes = await on.rehearsal.processes();
  assert.deepEqual(
    processes.filter((one) => one['account'] === ACCOUNT),
    [],
  );

  const receipt = await api.call('GET', `/v2/deployments/${kept.id}/receipt`);
  assert(receipt.kept.some(({ arn }: Json) => arn === snapshot.arn));
  assert(receipt.kept.some(({ what, until }: Json) => /recovery window/.test(what) && Date.parse(until) > Date.now()));
  const gone = new Map<string, string>(receipt.made.map((one: Json) => [one.id, one.gone_at]));
  // What the last roll left behind may have gone before.
  for (const { id, needs } of resources.filter((one: Json) => gone.has(one.id)))
    for (const need of needs) assert(gone.get(id)! <= gone.get(need)!, `${id} went after ${need}, which it needs`);
  // And by the account's own log of calls: each before what it uses.
  const short = shortOf(kept.id);
  const calls = (await on.rehearsal.calls(before)).filter(
    (call) => call.account === ACCOUNT && !call.error && /^(Delete|Deregister)/.test(call.action),
  );
  const first = (action: string): number =>
    calls.findIndex((call) => call.action === action && JSON.stringify(call).includes(short));
  const last = (action: string): number => calls.findLastIndex((call) => call.action === action);
  for (const [user, used] of [
    [first('DeregisterScalableTarget'), first('DeleteService')],
    [first('DeleteService'), first('DeleteTargetGroup')],
    [first('DeleteService'), first('DeleteDBInstance')],
    [last('DeleteRule'), last('DeleteTargetGroup')],
    [first('DeleteDBInstance'), last('DeleteSecurityGroup')],
  ] as const)
    assert(user >= 0 && user < used, `${calls[user]?.action} (${user}) before ${calls[used]?.action} (${used})`);

  await api.call('DELETE', `/v2/listeners/${listener}`);
  assert.equal((await progress()).state, 'CLEAN', 'its receipt outlives it');
});
