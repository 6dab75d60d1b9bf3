/** The customer's brake, on the emulated account: their people write it, and we read it before each write. */
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  CreateLogStreamCommand,
  DescribeLogGroupsCommand,
  DescribeLogStreamsCommand,
} from '@aws-sdk/client-cloudwatch-logs';
import { DescribeClustersCommand } from '@aws-sdk/client-ecs';
import { DeleteParameterCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Accounts, type Call } from '../../services/reconciler/aws/account.ts';
import { Held, explain } from '../../services/reconciler/aws/errors.ts';
import { grants, scopeOf } from '../../services/reconciler/aws/grants.ts';
import { probe } from '../../services/reconciler/aws/verify.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import type { Place } from '../../services/reconciler/place.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000032';
const NAME = '/brake/freehold';
const ALICE = `arn:aws:iam::${ACCOUNT}:user/alice`;
const SECONDS = 0.5;
const DEPLOYMENT = '6c1a2f0e-0000-4000-8000-000000000001';

describe("the customer's brake", { timeout: 60_000 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let place: Place;
  let accounts: Accounts;
  let alice: SSMClient;
  const calls: Call[] = [];

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT, 'freehold', { brakeParameter: NAME });
    ({ place } = t);
    const { endpoint, pace } = rehearsal;
    accounts = new Accounts({
      credentials: t.credentials,
      endpoint,
      rates: { pace },
      brakeSeconds: SECONDS,
      onCall: (call) => calls.push(call),
    });
    const Statement = [{ Effect: 'Allow', Action: 'ssm:*', Resource: `arn:aws:ssm:*:${ACCOUNT}:parameter${NAME}` }];
    const credentials = await rehearsal.createUser(ACCOUNT, 'alice', { Version: '2012-10-17', Statement });
    alice = new SSMClient({ region: place.region, endpoint, credentials });
    const AllowedPattern = '^(run|read-only|stopped)$';
    await alice.send(new PutParameterCommand({ Name: NAME, Value: 'run', Type: 'String', AllowedPattern }));
  });
  after(async () => {
    accounts.close();
    t.close();
    await rehearsal.stop();
  });

  const region = () => ({ region: place.region, endpoint: rehearsal.endpoint });
  const set = async (Value: string): Promise<void> => {
    await alice.send(new PutParameterCommand({ Name: NAME, Value, Overwrite: true }));
    await sleep(SECONDS * 1000);
  };
  const enter = () => accounts.enter(place, { name: 'freehold-brakes' });
  const group = (name: string) => `${place.logGroupRoot}/${name}`;
  const write = async (name: string): Promise<void> => {
    const aws = await enter();
    const tags = ownerTags(place, DEPLOYMENT, 'log');
    await aws.logs.send(new CreateLogGroupCommand({ logGroupName: group(name), tags }));
  };
  const groups = async (): Promise<string[]> => {
    const logs = new CloudWatchLogsClient({ ...region(), credentials: rehearsal.root(ACCOUNT) });
    const { logGroups = [] } = await logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: group('') }));
    return logGroups.map(({ logGroupName }) => logGroupName!.slice(group('').length));
  };
  const held = (act: Promise<unknown>, said: RegExp) =>
    assert.rejects(act, (error) => {
      assert(error instanceof Held, String(error));
      assert.match(error.message, said);
      const { terminal, waits } = explain(error);
      return !terminal && waits === true;
    });

  test('while it says run it is read once for all who wait, and its history not at all', async () => {
    const [from, began] = [calls.length, performance.now()];
    const aws = await enter();
    await Promise.all(
      Array.from({ length: 20 }, () => aws.ecs.send(new DescribeClustersCommand({ clusters: [place.clusterArn] }))),
    );
    await write('made');
    assert.deepEqual(await groups(), ['made']);
    const reads = calls.slice(from).filter(({ service }) => service === 'ssm');
    const most = 1 + Math.ceil((performance.now() - began) / (SECONDS * 1000));
    assert(reads.length <= most, `${reads.length} reads`);
    assert(reads.every(({ operation }) => operation === 'GetParameter'));
  });

  test('read-only: nothing is changed, lent or signed, reads go on, and who set it when is said', async () => {
    await set('read-only');
    const said = new RegExp(
      `^held by the customer: read-only since 20\\d\\d-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ by ${ALICE}: it goes on by itself ` +
        `once ${NAME} says run$`,
    );
    await held(write('refused'), said);
    const session = { name: 'freehold-lent' };
    await held(accounts.lend(place, session, [{ actions: ['ecr:*'], resources: ['*'] }]), said);
    const object = { bucket: place.uploadBucket!, key: 'uploads/x', contentType: 'application/gzip' };
    await held(accounts.presignPut(place, session, object, 60), said);
    const aws = await enter();
    const { clusters } = await aws.ecs.send(new DescribeClustersCommand({ clusters: [place.clusterArn] }));
    assert.equal(clusters!.length, 1);
    assert.deepEqual(await groups(), ['made']);
    const { mode, by } = (await accounts.braked(place))!;
    assert.deepEqual([mode, by], ['read-only', ALICE]);
  });

  test('stopped: nobody enters, who is inside makes no call, and only the brake is read', async () => {
    const aws = await enter();
    await set('stopped');
    const began = (await rehearsal.calls()).length;
    await held(enter(), /^held by the customer: stopped since .+ by arn/);
    await held(aws.ecs.send(new DescribeClustersCommand({ clusters: [place.clusterArn] })), /stopped since/);
    await sleep(SECONDS * 1000);
    await held(write('refused'), /stopped since/);
    const made = (await rehearsal.calls()).slice(began).filter(({ account }) => account === ACCOUNT);
    assert.deepEqual([...new Set(made.map(({ service, action }) => `${service}:${action}`))].toSorted(), [
      'ssm:GetParameter',
      'ssm:GetParameterHistory',
    ]);
    assert.equal(made.filter(({ action }) => action === 'GetParameterHistory').length, 1);
  });

  test('stopped, nobody asks for the role of a suspended place either', async () => {
    await held(probe(accounts, { ...place, suspended: 'as it was' }, 'fh-stranger'), /stopped since/);
  });

  test('released, all goes on by itself', async () => {
    await set('run');
    await write('after');
    assert.deepEqual(await groups(), ['after', 'made']);
  });

  test('what is set while a write waits holds it, and its next try', async () => {
    const { endpoint, pace } = rehearsal;
    const onWrite = async () => {
      await set('read-only');
      return () => Promise.resolve();
    };
    const waits = new Accounts({
      credentials: t.credentials,
      endpoint,
      rates: { pace },
      brakeSeconds: SECONDS,
      onWrite,
    });
    const aws = await waits.enter(place, { name: 'freehold-waits' });
    await held(aws.logs.send(new CreateLogGroupCommand({ logGroupName: group('late') })), /read-only since/);
    waits.close();
    assert.deepEqual(await groups(), ['after', 'made']);
  });

  test("the customer's copy of the audit log goes on while nothing is changed, and ends when all is stopped", async () => {
    const logGroupName = '/audit/freehold';
    const logs = new CloudWatchLogsClient({ ...region(), credentials: rehearsal.root(ACCOUNT) });
    await logs.send(new CreateLogGroupCommand({ logGroupName }));
    const resources = [`arn:aws:logs:${place.region}:${ACCOUNT}:log-group:${logGroupName}:*`];
    const may = { actions: ['logs:CreateLogStream'], resources, why: 'appends to the copy' };
    await t.allow([...grants(scopeOf(place)), may]);
    const copy = async (logStreamName: string) =>
      (await enter()).logs.send(new CreateLogStreamCommand({ logGroupName, logStreamName }));
    await copy('read-only');
    await set('stopped');
    await held(copy('stopped'), /stopped since/);
    const { logStreams } = await logs.send(new DescribeLogStreamsCommand({ logGroupName }));
    assert.deepEqual(
      logStreams!.map(({ logStreamName }) => logStreamName),
      ['read-only'],
    );
  });

  test('who set it is asked for again when AWS has not said it', async () => {
    const outage = { code: 'InternalServerError', status: 500, times: 2 };
    await rehearsal.fault({ account: ACCOUNT, service: 'ssm', action: 'GetParameterHistory', ...outage });
    await set('read-only');
    assert.equal((await accounts.braked(place))!.by, null);
    await sleep(SECONDS * 1000);
    assert.equal((await accounts.braked(place))!.by, ALICE);
    await set('run');
  });

  test('what cannot be read holds writes, and says why; what cannot be understood holds all', async () => {
    const readable = grants(scopeOf(place));
    await t.allow(readable.filter(({ actions }) => !actions.includes('ssm:GetParameter')));
    await sleep(SECONDS * 1000);
    await held(
      write('refused'),
      /^held by the customer: read-only: "\/brake\/freehold" cannot be read: missing permission/,
    );
    await t.allow(readable);
    await sleep(SECONDS * 1000);
    await write('readable');

    const outage = { code: 'InternalServerError', status: 500, times: 2 };
    await rehearsal.fault({ account: ACCOUNT, service: 'ssm', action: 'GetParameter', ...outage });
    await sleep(SECONDS * 1000);
    await held(write('refused'), /"\/brake\/freehold" cannot be read: internal server: ssm:GetParameter/);

    await alice.send(new DeleteParameterCommand({ Name: NAME }));
    await sleep(SECONDS * 1000);
    await held(write('refused'), /cannot be read: parameter not found/);
    await alice.send(new PutParameterCommand({ Name: NAME, Value: 'stop!', Type: 'String' }));
    await sleep(SECONDS * 1000);
    await held(
      enter(),
      /stopped since .+ by .+: "\/brake\/freehold" says neither run, nor read-only, nor stopped: it goes on/,
    );
    assert.deepEqual(await groups(), ['after', 'made', 'readable']);
  });
});
