/**
 * The customer's gate before the deletion of databases and secrets, on an account where AWS's waits are next to
 * nothing: closed, what cannot be made again stays as it is and all else goes; open, and only as long, it goes, too.
 */
import { DescribeServicesCommand, ECSClient } from '@aws-sdk/client-ecs';
import {
  AddTagsToResourceCommand,
  DeleteDBInstanceCommand,
  DescribeDBInstancesCommand,
  RDSClient,
  RemoveTagsFromResourceCommand,
  type DBInstance,
} from '@aws-sdk/client-rds';
import {
  DeleteSecretCommand,
  DescribeSecretCommand,
  ListSecretsCommand,
  SecretsManagerClient,
  TagResourceCommand,
  UntagResourceCommand,
} from '@aws-sdk/client-secrets-manager';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import { publishedStack, stackBeforeTheGate, updatePublishedStack } from '../support/stack.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '420000000091';
/** Where the stack has not been deployed again. */
const OLDER = '420000000092';
const PROVISIONING = { Key: 'freehold:provisioning', Value: 'true' };
const HOUR = 3600;

let on: stage.Stage;
let at: ReturnType<typeof stage.customerClient>;
let rds: RDSClient;
let secrets: SecretsManagerClient;
/** As the control plane, with all that it holds. */
let role: { readonly rds: RDSClient; readonly secrets: SecretsManagerClient };
/** By name. */
const made: Record<string, Json> = {};

before(async () => {
  const closed: typeof publishedStack = (options) =>
    options.account === OLDER
      ? stackBeforeTheGate(options)
      : publishedStack({ ...options, context: { ...options.context, allowDeletionUntil: '' } });
  const env = { FREEHOLD_POLL_SECONDS: '0.2', FREEHOLD_SWEEP_SECONDS: '5', FREEHOLD_RETENTION_HOURS: '0' };
  on = await stage.open('gate', [ACCOUNT, OLDER], env, closed, openQuickRehearsal);
  at = stage.customerClient(on.rehearsal, ACCOUNT);
  rds = new RDSClient(at);
  secrets = new SecretsManagerClient(at);
  const { externalId, outputs } = on.places[ACCOUNT]!;
  const { Credentials: given } = await new STSClient({ ...at, credentials: on.principal.credentials }).send(
    new AssumeRoleCommand({ RoleArn: outputs.roleArn, RoleSessionName: 'stolen', ExternalId: externalId }),
  );
  const { AccessKeyId, SecretAccessKey, SessionToken } = given!;
  const credentials = { accessKeyId: AccessKeyId!, secretAccessKey: SecretAccessKey!, sessionToken: SessionToken! };
  const stolen = { ...at, credentials };
  role = { rds: new RDSClient(stolen), secrets: new SecretsManagerClient(stolen) };
});
after(() => on?.close());

const isOpen = async (): Promise<boolean> => {
  const { place } = await on.api.call('POST', `/v2/listeners/${on.places[ACCOUNT]!.id}/verify`);
  assert.equal(place.state, 'verified', JSON.stringify(place));
  return place.checks.find(({ name }: Json) => name === 'deletion').message.startsWith('open');
};

const nameOf = (id: string): string => `freehold-${id.replaceAll('-', '').slice(0, 12)}`;
const databases = async (): Promise<DBInstance[]> =>
  (await rds.send(new DescribeDBInstancesCommand({}))).DBInstances ?? [];
const databaseOf = async (id: string): Promise<DBInstance | undefined> =>
  (await databases()).find((one) => one.DBInstanceIdentifier === nameOf(id));
const secretsOf = async (id: string): Promise<string[]> =>
  (await secrets.send(new ListSecretsCommand({})))
    .SecretList!.map((one) => one.Name!)
    .filter((name) => name.includes(id))
    .map((name) => name.split('/').at(-1)!)
    .toSorted();
/** What carries the tag of what never served. */
const provisional = async (id: string): Promise<string[]> => {
  const found = await Promise.all(
    (await secretsOf(id)).map(async (name) => {
      const { Tags } = await secrets.send(new DescribeSecretCommand({ SecretId: `freehold/${id}/${name}` }));
      return Tags?.some(({ Key }) => Key === PROVISIONING.Key) ? [name] : [];
    }),
  );
  const ofDatabase = (await databaseOf(id))?.TagList?.some(({ Key }) => Key === PROVISIONING.Key) ? ['database!'] : [];
  return [...found.flat(), ...ofDatabase];
};
const serves = async (id: string): Promise<boolean> => {
  const services = [nameOf(id)];
  const found = await new ECSClient(at).send(new DescribeServicesCommand({ cluster: 'freehold', services }));
  return found.services!.some(({ status }) => status === 'ACTIVE');
};
const GATED = ['database-uri', 'environment', 'redis-secret'];
const KEPT = ['database', 'database-group', ...GATED, 'service-group'];
const waits = (id: string): Promise<Json> =>
  eventually(
    'it waits for the customer, and for nothing else',
    async () => {
      const { resources } = await on.api.call('GET', `/v2/deployments/${id}/timeline`);
      const states = resources.map((one: Json) => `${one.id}: ${one.state}: ${one.message}`);
      const gated = resources.filter((one: Json) => one.message?.startsWith('waits for the customer: '));
      const isSo =
        gated
          .map((one: Json) => one.id)
          .toSorted()
          .join() === GATED.join() &&
        states.every((one: string) => /waiting: (waits for the customer: |used by )/.test(one));
      return isSo ? resources : Promise.reject(new Error(states.join('\n')));
    },
    { seconds: 60 },
  );

test('where the stack is from before the gate, nothing is marked, and revisions follow each other', async () => {
  const { id: listenerId, outputs } = on.places[OLDER]!;
  assert.equal(outputs.deletionGate, undefined);
  const { place } = await on.api.call('POST', `/v2/listeners/${listenerId}/verify`);
  assert.equal(place.state, 'verified', JSON.stringify(place));
  const image = await on.push(OLDER, '1');
  const secrets = [{ name: 'A', value: '1' }];
  const made = await stage.createDeployment(on.api, { name: 'older', listenerId, image, secrets });
  await stage.deployed(on.api, made.id, made.latest_revision_id);
  await stage.deployed(
    on.api,
    made.id,
    await stage.newRevision(on.api, made.id, { secrets: [{ name: 'A', value: '2' }] }),
  );
  const calls = (await on.rehearsal.calls()).filter(({ account }) => account === OLDER);
  assert.deepEqual(
    calls.filter(({ action, error }) => error === 'AccessDenied' || /^(Untag|RemoveTags)/.test(action)),
    [],
  );
  await on.api.call('DELETE', `/v2/deployments/${made.id}`);
  await stage.gone(on.api, made.id, 90);
});

test('what is made is provisional until its deployment serves', async () => {
  assert.equal(await isOpen(), false);
  const { id: listenerId } = on.places[ACCOUNT]!;
  const image = await on.push(ACCOUNT, '1');
  const given = [{ name: 'A', value: '1' }];
  for (const [name, type] of [
    ['prod', 'prod'],
    ['dev', 'dev'],
    ['late', 'dev'],
  ] as const)
    made[name] = await stage.createDeployment(on.api, { name, type, listenerId, image, secrets: given });
  const { id } = made['prod'];
  await eventually('its database is being made', async () => (await databaseOf(id)) !== undefined, { seconds: 30 });
  for (const one of Object.values(made)) await stage.deployed(on.api, one.id, one.latest_revision_id);
  for (const one of Object.values(made))
    await eventually(
      'it is no longer provisional',
      async () =>
        (await provisional(one.id)).length === 0 || Promise.reject(new Error((await provisional(one.id)).join())),
      { seconds: 30 },
    );
  assert.deepEqual(await secretsOf(id), ['database', 'environment', 'redis']);
  const calls = (await on.rehearsal.calls()).filter(({ account, error }) => account === ACCOUNT && !error);
  const times = (action: string): number => calls.filter((call) => call.action === action).length;
  assert.deepEqual([times('RemoveTagsFromResource'), times('UntagResource')], [3, 9], 'once for each');
});

test('with all that the control plane holds, what has served is neither deleted nor marked again', async () => {
  const { id } = made['prod'];
  const { DBInstanceIdentifier, DBInstanceArn: ResourceName } = (await databaseOf(id))!;
  const SecretId = `freehold/${id}/environment`;
  const denied = /not authorized to perform: (rds|secretsmanager):\w+/;
  const tagged = /not authorized to perform: (rds:AddTags|secretsmanager:Tag).*explicit deny/;
  const ours = [
    { Key: 'freehold:place', Value: 'freehold' },
    { Key: 'freehold:deployment', Value: id },
  ];
  await assert.rejects(role.rds.send(new DeleteDBInstanceCommand({ DBInstanceIdentifier, SkipFinalSnapshot: true })), {
    message: denied,
  });
  await assert.rejects(role.secrets.send(new DeleteSecretCommand({ SecretId, RecoveryWindowInDays: 7 })), {
    message: denied,
  });
  for (const Tags of [
    [...ours, PROVISIONING],
    [{ ...PROVISIONING, Value: 'no' }, ...ours],
  ]) {
    await assert.rejects(role.rds.send(new AddTagsToResourceCommand({ ResourceName, Tags })), { message: tagged });
    await assert.rejects(role.secrets.send(new TagResourceCommand({ SecretId, Tags })), { message: tagged });
  }
  for (const TagKeys of [['freehold:place'], ['freehold:provisioning', 'freehold:place'], ['team']]) {
    const off = new RemoveTagsFromResourceCommand({ ResourceName, TagKeys });
    await assert.rejects(role.rds.send(off), { message: denied });
    await assert.rejects(role.secrets.send(new UntagResourceCommand({ SecretId, TagKeys })), { message: denied });
  }
});

test('a create that never came to serve is undone while the gate is closed', async () => {
  const { id } = await on.api.call('POST', '/v2/deployments', {
    name: 'never',
    source: 'internal_docker',
    source_config: { deployment_type: 'prod', listener_id: on.places[ACCOUNT]!.id },
    source_revision_config: {},
    secrets: [{ name: 'A', value: '1' }],
  });
  await eventually(
    'what takes long is ready',
    async () => (await on.api.call('GET', `/v2/deployments/${id}`)).status === 'UNUSED',
    { seconds: 60 },
  );
  assert.deepEqual(await provisional(id), ['database', 'environment', 'database!']);
  assert.equal((await databaseOf(id))!.DeletionProtection, true);
  await on.api.call('DELETE', `/v2/deployments/${id}`);
  await stage.gone(on.api, id);
  assert.deepEqual([await databaseOf(id), await secretsOf(id)], [undefined, []]);
});

test('a roll that leaves a secret behind is deployed, and the secret waits', async () => {
  const { id } = made['dev'];
  const own = [
    { name: 'A', value: '1' },
    { name: 'REDIS_URI_CUSTOM', value: 'redis://redis.example.com:6379' },
  ];
  const plan = await on.api.call('POST', `/v2/deployments/${id}/plan`, { secrets: own });
  const said = plan.obstacles.map(({ what, message }: Json) => `${what}: ${message}`);
  assert.equal(said.length, 1, JSON.stringify(said));
  assert.match(said[0], /^permission: "redis-secret" waits for the customer: .*allowDeletionUntil/);
  await stage.deployed(on.api, id, await stage.newRevision(on.api, id, { secrets: own }));
  const now = await eventually(
    'it says so',
    async () => {
      const deployment = await on.api.call('GET', `/v2/deployments/${id}`);
      return deployment.status_message.startsWith('redis-secret: waits for the customer: ') && deployment;
    },
    { seconds: 30 },
  );
  assert.equal(now.status, 'READY');
  assert.deepEqual(await secretsOf(id), ['database', 'environment', 'redis']);
});

test('a delete while it is closed: data stays as it is, all else goes, and it says what it waits for', async () => {
  const before = (await on.rehearsal.calls()).at(-1)!.n;
  for (const name of ['prod', 'dev']) await on.api.call('DELETE', `/v2/deployments/${made[name].id}`);
  for (const name of ['prod', 'dev']) {
    const { id } = made[name];
    const left = await waits(id);
    assert.deepEqual(left.map((one: Json) => one.id).toSorted(), KEPT);
    const { status, status_message: message } = await on.api.call('GET', `/v2/deployments/${id}`);
    assert.equal(status, 'AWAITING_DELETE');
    assert.match(message, /waits for the customer: its data is not to be deleted yet: .*allowDeletionUntil/);
    assert.deepEqual(await secretsOf(id), ['database', 'environment', 'redis']);
    assert.equal(await serves(id), false);
    const { DeletionProtection, DBInstanceStatus } = (await databaseOf(id))!;
    assert.deepEqual([DeletionProtection, DBInstanceStatus], [name === 'prod', 'available']);
    const receipt = await on.api.call('GET', `/v2/deployments/${id}/receipt`);
    assert.equal(receipt.gone_at, null);
  }
  const asked = (await on.rehearsal.calls(before)).filter(({ account }) => account === ACCOUNT);
  assert.deepEqual(
    asked.filter(({ action }) => action === 'ModifyDBInstance'),
    [],
  );
});

test('opened by the stack, it goes on by itself, as long as that lasts', async () => {
  const until = new Date(Date.now() + HOUR * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
  const customer = { rehearsal: on.rehearsal, account: ACCOUNT };
  const { externalId } = on.places[ACCOUNT]!;
  const context = { principal: on.principal.arn, externalId };
  await updatePublishedStack({ ...customer, context: { ...context, allowDeletionUntil: until } });
  await eventually('IAM lets the control plane delete', isOpen, { seconds: 30 });
  for (const name of ['prod', 'dev']) await stage.gone(on.api, made[name].id, 90);
  assert.equal((await databases()).length, 1);
  const receipt = await on.api.call('GET', `/v2/deployments/${made['prod'].id}/receipt`);
  assert(receipt.kept.some(({ what }: Json) => what === "the database's final snapshot"));

  await on.rehearsal.skip(2 * HOUR);
  const { id } = made['late'];
  await on.api.call('DELETE', `/v2/deployments/${id}`);
  await waits(id);
  assert.equal((await databaseOf(id))!.DBInstanceStatus, 'available');
  const offboarding = await on.api.call('POST', `/v2/listeners/${on.places[ACCOUNT]!.id}/offboard`, {
    confirm: `gate-${ACCOUNT}`,
    skip_retention: true,
  });
  assert.deepEqual([offboarding.state, offboarding.waiting[0].is_stuck], ['REMOVING', true]);
  assert.match(offboarding.next.join('\n'), /allowDeletionUntil/);
});
