/** What a customer can take away, the control plane names, survives, and recovers from when it is given back. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CloudTrailClient, paginateLookupEvents } from '@aws-sdk/client-cloudtrail';
import {
  AttachRolePolicyCommand,
  DetachRolePolicyCommand,
  GetRoleCommand,
  IAMClient,
  ListAttachedRolePoliciesCommand,
  PutRolePolicyCommand,
  DeleteRolePolicyCommand,
  UpdateAssumeRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import type { Call, Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import * as stage from './stage.ts';

const [ACCOUNT, OTHER] = ['430000000001', '430000000002'];
let on: stage.Stage;
let rehearsal: Rehearsal;
let place: stage.Stage['places'][string];
let iam: IAMClient;
let image: string;
const role = (): string => place.outputs.roleArn.split('/').at(-1)!;

before(async () => {
  on = await stage.open('trust', [ACCOUNT, OTHER], { FREEHOLD_BRAKE_SECONDS: '1', FREEHOLD_PROBE_SECONDS: '4' });
  ({ rehearsal } = on);
  place = on.places[ACCOUNT]!;
  iam = new IAMClient(stage.customerClient(rehearsal, ACCOUNT));
  image = await on.push(ACCOUNT, '1');
});

after(() => on?.close());

const verify = (): Promise<stage.Json> => on.api.call('POST', `/v2/listeners/${place.id}/verify`);

const trustOf = async (): Promise<string> => {
  const { Role } = await iam.send(new GetRoleCommand({ RoleName: role() }));
  return decodeURIComponent(Role!.AssumeRolePolicyDocument!);
};
const setTrust = async (document: string) => {
  await iam.send(new UpdateAssumeRolePolicyCommand({ RoleName: role(), PolicyDocument: document }));
  await rehearsal.settle();
};

test('a place whose role wants another external id is not verified, and is when that is mended', async () => {
  const good = await trustOf();
  await setTrust(good.replaceAll(place.externalId, 'another-external-id'));
  const bad = await verify();
  assert.equal(bad.place.state, 'unverified');
  assert.match(bad.place.message, /external id/i);
  assert.match(bad.place.message, new RegExp(role()));

  await setTrust(good);
  assert.equal((await verify()).place.state, 'verified');
});

test('the role cannot be assumed with another external id, or with none', async () => {
  const other = await on.api.call('POST', '/v2/listeners', {
    compute_type: 'ecs',
    compute_id: 'thief',
    compute_config: {},
  });
  await assert.rejects(
    on.api.call('PATCH', `/v2/listeners/${other.id}`, { compute_config: { place: place.outputs } }).then((answer) => {
      if (answer.place.state !== 'verified') throw new Error(answer.place.message);
    }),
    /external id|not authorized/i,
  );
  const sts = new STSClient({ ...stage.customerClient(rehearsal, ACCOUNT), credentials: on.principal.credentials });
  const asked = { RoleArn: place.outputs.roleArn, RoleSessionName: 'probe' };
  const denied = { name: 'AccessDenied' };
  await assert.rejects(sts.send(new AssumeRoleCommand(asked)), denied);
  await assert.rejects(sts.send(new AssumeRoleCommand({ ...asked, ExternalId: 'guessed' })), denied);
  await sts.send(new AssumeRoleCommand({ ...asked, ExternalId: place.externalId }));
  await on.api.call('DELETE', `/v2/listeners/${other.id}`);
});

test('a role without one permission: the check names it, a deployment waits and says so, and goes on by itself', async () => {
  const deny = { Effect: 'Deny', Action: 'rds:CreateDBInstance', Resource: '*' };
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [deny] });
  await iam.send(new PutRolePolicyCommand({ RoleName: role(), PolicyName: 'taken', PolicyDocument }));
  await rehearsal.settle();

  const checked = await verify();
  assert.match(JSON.stringify(checked.place.checks.filter((check: stage.Json) => !check.ok)), /rds:CreateDBInstance/);

  const made = await stage.createDeployment(on.api, { name: 'waits', image, listenerId: place.id });
  const waiting = await eventually(
    'the missing permission is named',
    async () => {
      const revision = await on.api.call('GET', `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}`);
      return /rds:CreateDBInstance/.test(revision.status_message ?? '') && revision;
    },
    { seconds: 30, every: 200 },
  );
  assert.equal(waiting.status, 'CREATING');

  await iam.send(new DeleteRolePolicyCommand({ RoleName: role(), PolicyName: 'taken' }));
  await stage.deployed(on.api, made.id, made.latest_revision_id, 120);
});

test('a role that lost its policies: the deployment says that it cannot be looked after, serves on, and recovers', async () => {
  const { resources } = await on.api.call('GET', '/v2/deployments');
  const { id, url } = resources.find((deployment: stage.Json) => deployment.name === 'waits');
  const { AttachedPolicies = [] } = await iam.send(new ListAttachedRolePoliciesCommand({ RoleName: role() }));
  for (const { PolicyArn } of AttachedPolicies)
    await iam.send(new DetachRolePolicyCommand({ RoleName: role(), PolicyArn: PolicyArn! }));
  await rehearsal.settle();

  const revision = await stage
    .newRevision(on.api, id, { secrets: [], source_revision_config: { image_uri: image } })
    .catch((error: Error) => error);
  assert(revision instanceof Error, 'a revision was accepted although nothing in the account may be looked at');
  assert.match(revision.message, /not authorized|permission/i);
  assert((await rehearsal.fetch(`${url}/info`)).ok);

  for (const { PolicyArn } of AttachedPolicies)
    await iam.send(new AttachRolePolicyCommand({ RoleName: role(), PolicyArn: PolicyArn! }));
  await rehearsal.settle();
  await stage.deployed(
    on.api,
    id,
    await stage.newRevision(on.api, id, { source_revision_config: { image_uri: image } }),
  );
});

test('a role whose trust is gone: a new deployment is refused with the cause, and works when it is back', async () => {
  const good = await trustOf();
  await setTrust(good.replaceAll(/arn:aws:iam::111111111111:[^"]+/g, 'arn:aws:iam::999999999999:root'));
  await on.api.stop('SIGKILL'); // sessions that are open live on, in AWS too: a new process has none
  on.api = await on.api.restart();
  const body = { name: 'late', image, listenerId: place.id };
  await assert.rejects(stage.createDeployment(on.api, body), /assume|trust|place/i);

  await setTrust(good);
  const made = await stage.createDeployment(on.api, body);
  await stage.deployed(on.api, made.id, made.latest_revision_id);
});

const shownPlace = async (id = place.id): Promise<stage.Json> =>
  (await on.api.call('GET', `/v2/listeners/${id}`)).place;

test('the customer pulls the brake: a new deployment waits, says by whom, and goes on when it is released', async () => {
  const Name = place.outputs.brakeParameter!;
  const Statement = [{ Effect: 'Allow', Action: 'ssm:PutParameter', Resource: '*' }];
  const credentials = await rehearsal.createUser(ACCOUNT, 'alice', { Version: '2012-10-17', Statement });
  const alice = new SSMClient({ ...stage.customerClient(rehearsal, ACCOUNT), credentials });
  const set = (Value: string) => alice.send(new PutParameterCommand({ Name, Value, Overwrite: true }));
  await assert.rejects(set('stop'), { name: 'ParameterPatternMismatchException' });
  await set('read-only');
  await eventually('the place shows it', async () => (await shownPlace()).brake.mode === 'read-only', { seconds: 10 });
  const by = `arn:aws:iam::${ACCOUNT}:user/alice`;
  assert.equal((await shownPlace()).brake.by, by);
  const made = await stage.createDeployment(on.api, { name: 'held', image, listenerId: place.id });
  const told = await eventually('it says so', async () => {
    const revision = await on.api.call('GET', `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}`);
    return /held by the customer/.test(revision.status_message ?? '') && revision;
  });
  assert.match(told.status_message, new RegExp(`read-only since .+ by ${by}`));
  assert.deepEqual(await stage.tagged(rehearsal, ACCOUNT, made.id), []);
  assert.equal((await shownPlace()).brake.waiting, 1);
  await set('run');
  await stage.deployed(on.api, made.id, made.latest_revision_id);
  assert.equal((await shownPlace()).brake.waiting, 0);
});

test('a trust that is loosened by hand suspends that place alone, within the interval, and mended it goes on', async () => {
  const good = await trustOf();
  const { resources } = await on.api.call('GET', '/v2/deployments');
  const { id } = resources.find((deployment: stage.Json) => deployment.name === 'held');
  const body = { source_revision_config: { image_uri: image } };
  const { Statement, ...rest } = JSON.parse(good) as { Statement: object[] };
  for (const [Condition, whom] of [
    [undefined, 'without an external id'],
    [{ StringLike: { 'sts:ExternalId': 'fh-*' } }, 'with any external id'],
  ] as const) {
    await setTrust(JSON.stringify({ ...rest, Statement: [{ ...Statement[0], Condition }, ...Statement.slice(1)] }));
    const why = new RegExp(`^the place is suspended: the role lets us in ${whom}: `);
    await eventually('it is suspended', async () => why.test((await shownPlace()).suspended ?? ''), { seconds: 15 });
    await assert.rejects(stage.newRevision(on.api, id, body), /the place is suspended/);
    assert.equal((await shownPlace(on.places[OTHER]!.id)).suspended, null);
    await setTrust(good);
    await eventually('it is not any more', async () => (await shownPlace()).suspended === null, { seconds: 15 });
  }
  await stage.deployed(on.api, id, await stage.newRevision(on.api, id, body));
});

// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
test('the customer’s own trail has what the control plane did, by its sessions, and the session itself', async () => {
  const client = new CloudTrailClient(stage.customerClient(rehearsal, ACCOUNT));
  const count = (names: string[]) =>
    Object.entries(Object.groupBy(names, (name) => name))
      .map(([name, all]) => [name, all!.length])
      .toSorted();
  const writes = /^(Authorize|Create|Delete|Modify|Put(?!LogEvents)|Register|Tag|Update)/; // those are data events
  const trail: stage.Json[] = [];
  let calls: Call[] = [];
  await eventually(
    'the trail, which AWS writes minutes later, has each write of the call log', // the clock is the whole run's
    async () => {
      trail.length = 0;
      for await (const page of paginateLookupEvents({ client }, {}))
        trail.push(...page.Events!.map((event) => JSON.parse(event.CloudTrailEvent!)));
      calls = (await rehearsal.calls()).filter((call) => call.account === ACCOUNT && call.session && !call.via);
      const ours = trail.filter((event) => calls.some((call) => call.principal === event.userIdentity.arn));
      assert.deepEqual(
        count(ours.map((event) => event.eventName).filter((name) => writes.test(name))),
        count(calls.map((call) => call.action).filter((name) => writes.test(name))),
      );
      return true;
    },
    { seconds: 20, every: 500 },
  );

  const made = calls.find((call) => call.action === 'CreateDBInstance' && call.error === '')!;
  const found = trail.find(
    (event) =>
      event.eventName === 'CreateDBInstance' &&
      event.requestParameters.dBInstanceIdentifier === made.resource &&
      !event.errorCode,
  );
  assert.equal(found.userIdentity.arn, made.principal);
  assert.equal(found.userIdentity.sessionContext.sessionIssuer.arn, place.outputs.roleArn);
  const opened = trail.find(
    (event) => event.responseElements?.credentials?.accessKeyId === found.userIdentity.accessKeyId,
  );
  assert.equal(opened.eventName, 'AssumeRole');
  assert.equal(opened.requestParameters.roleSessionName, made.session);

  // https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
  const byEcs = trail.filter((event) => event.userIdentity.invokedBy === 'ecs-tasks.amazonaws.com');
  const shown = (event: stage.Json) => `${event.userIdentity.type} from ${event.sourceIPAddress}`;
  for (const [action, by] of [
    ['AssumeRole', 'AWSService from ecs-tasks.amazonaws.com'],
    ['GetSecretValue', 'AssumedRole from ecs-tasks.amazonaws.com'],
  ])
    assert.deepEqual([...new Set(byEcs.filter((event) => event.eventName === action).map(shown))], [by]);

  const own = calls.filter(
    (call) => call.service === 'secretsmanager' && call.action === 'CreateSecret' && !call.error,
  );
  const secrets = new SecretsManagerClient(stage.customerClient(rehearsal, ACCOUNT));
  const values = await Promise.all(
    own.map(async (call) => (await secrets.send(new GetSecretValueCommand({ SecretId: call.resource }))).SecretString!),
  );
  assert.ok(values.length > 1 && values.every((value) => value.length > 10));
  const everything = JSON.stringify([trail, await rehearsal.events(ACCOUNT)]);
  for (const value of values) assert.ok(!everything.includes(JSON.stringify(value).slice(1, -1)));
});
