import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { EC2Client, DescribeVpcsCommand } from '@aws-sdk/client-ec2';
import {
  CreateClusterCommand,
  DeleteClusterCommand,
  DescribeClustersCommand,
  ECSClient,
  ListClustersCommand,
} from '@aws-sdk/client-ecs';
import { DescribeDBInstancesCommand, RDSClient } from '@aws-sdk/client-rds';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';

let account: Rehearsal;
const options = (number: string, maxAttempts = 1) => ({
  endpoint: account.endpoint,
  region: 'us-east-1',
  credentials: account.root(number),
  maxAttempts,
});
const name = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'none',
    (error: Error) => error.name,
  );
const failed = async (call: Promise<unknown>) =>
  (await call.then(
    () => assert.fail('allowed'),
    (error: unknown) => error,
  )) as { name: string; message: string; $metadata: { httpStatusCode: number } };
before(async () => {
  account = await startRehearsal({ pace: 200 });
});
after(() => account.stop());
afterEach(() => account.clearFaults());

test('an error in the shape of each protocol, with its code', async () => {
  await account.fault({ code: 'ThrottlingException', status: 429, message: 'slow & <steady>' });
  const calls = [
    new ECSClient(options('222222222222')).send(new ListClustersCommand({})),
    new EC2Client(options('222222222222')).send(new DescribeVpcsCommand({})),
    new RDSClient(options('222222222222')).send(new DescribeDBInstancesCommand({})),
  ];
  for (const call of calls) {
    const error = (await call.then(
      () => assert.fail('allowed'),
      (it: unknown) => it,
    )) as { name: string; message: string; $metadata: { httpStatusCode: number } };
    assert.deepEqual(
      [error.name, error.message, error.$metadata.httpStatusCode],
      ['ThrottlingException', 'slow & <steady>', 429],
    );
  }
  const form = await fetch(account.endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/cbor',
      'smithy-protocol': 'rpc-v2-cbor',
      authorization:
        'AWS4-HMAC-SHA256 Credential=222222222222/20260101/us-east-1/monitoring/aws4_request, SignedHeaders=host, Signature=0',
      'x-amz-target': 'GraniteServiceVersion20100801.DescribeAlarms',
    },
  });
  assert.equal(form.headers.get('content-type'), 'application/cbor');
  assert.match(await form.text(), /__type.*ThrottlingException/s);
});

test('only what matches: service, action, resource, account; the nth, so many times', async () => {
  const one = new ECSClient(options('222222222222'));
  const other = new ECSClient(options('333333333333'));
  await account.fault({
    service: 'ecs',
    action: 'CreateCluster',
    resource: '^b',
    account: '222222222222',
    nth: 2,
    times: 1,
    code: 'ServerException',
    status: 500,
  });
  const create = (client: ECSClient, clusterName: string) =>
    name(client.send(new CreateClusterCommand({ clusterName })));
  assert.equal(await create(one, 'a1'), 'none');
  assert.equal(await create(one, 'b1'), 'none');
  assert.equal(await create(other, 'b2'), 'none');
  assert.equal(await create(one, 'b2'), 'ServerException');
  assert.equal(await create(one, 'b2'), 'none');
  assert.equal(await name(one.send(new DeleteClusterCommand({ cluster: 'b2' }))), 'none');
});

test('before the effect and after it; an answer that is lost; a delay; all of them logged', async () => {
  const client = new ECSClient(options('444444444444'));
  const exists = async (cluster: string) =>
    (await client.send(new DescribeClustersCommand({ clusters: [cluster] }))).clusters!.length === 1;
  await account.fault({ action: 'CreateCluster', resource: 'before', code: 'ServerException', status: 500 });
  await account.fault({
    action: 'CreateCluster',
    resource: 'after',
    code: 'ServerException',
    status: 500,
    after: true,
  });
  await account.fault({ action: 'CreateCluster', resource: 'lost', cut: true, after: true });
  await account.fault({ action: 'CreateCluster', resource: 'late', delaySeconds: 0.3 });
  const create = (clusterName: string) => name(client.send(new CreateClusterCommand({ clusterName })));
  assert.equal(await create('before'), 'ServerException');
  assert.equal(await exists('before'), false);
  assert.equal(await create('after'), 'ServerException');
  assert.equal(await exists('after'), true);
  assert.notEqual(await create('lost'), 'none');
  assert.equal(await exists('lost'), true);
  const started = Date.now();
  assert.equal(await create('late'), 'none');
  assert.ok(Date.now() - started >= 300);
  const logged = (await account.calls()).filter(
    (call) => call.account === '444444444444' && call.action === 'CreateCluster',
  );
  assert.deepEqual(
    logged.map((call) => [call.resource, call.status, call.error]),
    [
      ['before', 500, 'ServerException'],
      ['after', 500, 'ServerException'],
      ['lost', 0, 'cut'],
      ['late', 200, ''],
    ],
  );
});

test('the SDK tries again through a fault that ends', async () => {
  await account.fault({ service: 'ecs', times: 2, code: 'ThrottlingException' });
  assert.ok(await new ECSClient(options('222222222222', 4)).send(new ListClustersCommand({})));
});

const FAILURES = 'https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html';

test(`so that answers may be lost by chance, and the same again by the same seed (${FAILURES})`, async () => {
  const client = new ECSClient(options('555555555555'));
  const run = async (seed: number): Promise<string> => {
    await account.clearFaults();
    await account.fault({ account: '555555555555', probability: 0.5, seed, code: 'ServerException', status: 500 });
    let hits = '';
    for (let n = 0; n < 24; n++) hits += (await name(client.send(new ListClustersCommand({})))) === 'none' ? '.' : 'x';
    return hits;
  };
  const first = await run(7);
  assert.match(first, /\./);
  assert.match(first, /x/);
  assert.equal(await run(7), first);
  assert.notEqual(await run(8), first);
});

/** https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html and each service's "Common errors". */
const TOO_FAST: [string, () => Promise<unknown>, string, number][] = [
  ['ecs', () => new ECSClient(options('222222222222')).send(new ListClustersCommand({})), 'ThrottlingException', 400],
  ['ec2', () => new EC2Client(options('222222222222')).send(new DescribeVpcsCommand({})), 'RequestLimitExceeded', 503],
  ['rds', () => new RDSClient(options('222222222222')).send(new DescribeDBInstancesCommand({})), 'Throttling', 400],
];
for (const [service, call, code, status] of TOO_FAST)
  test(`throttled in the words of ${service}`, async () => {
    await account.fault({ service, throttle: true });
    const error = await failed(call());
    assert.deepEqual([error.name, error.$metadata.httpStatusCode], [code, status]);
  });

test('no answer until the caller gives up; the call may have taken effect', async () => {
  const impatient = new ECSClient({
    ...options('444444444444'),
    requestHandler: { requestTimeout: 150, throwOnRequestTimeout: true },
  });
  const patient = new ECSClient(options('444444444444'));
  await account.fault({ action: 'CreateCluster', resource: 'silent', timeout: true });
  await account.fault({ action: 'CreateCluster', resource: 'unheard', timeout: true, after: true });
  for (const clusterName of ['silent', 'unheard'])
    assert.equal(await name(impatient.send(new CreateClusterCommand({ clusterName }))), 'TimeoutError');
  const there = await patient.send(new DescribeClustersCommand({ clusters: ['silent', 'unheard'] }));
  assert.deepEqual(
    there.clusters!.map((one) => one.clusterName),
    ['unheard'],
  );
  const logged = (await account.calls()).filter((call) => call.error === 'timeout');
  assert.deepEqual(
    logged.map((call) => [call.resource, call.status]),
    [
      ['silent', 0],
      ['unheard', 0],
    ],
  );
});

test('a call stands still before its effect or after it, until it is let go; others pass', async () => {
  const client = new ECSClient(options('444444444445'));
  const there = async (cluster: string) =>
    (await client.send(new DescribeClustersCommand({ clusters: [cluster] }))).clusters!.length === 1;
  for (const after of [false, true]) {
    const clusterName = `held-${after}`;
    const hold = await account.hold({ account: '444444444445', action: 'CreateCluster', after, nth: 2, times: 1 });
    await client.send(new CreateClusterCommand({ clusterName: `passes-${after}` }));
    let answered = false;
    const creating = client.send(new CreateClusterCommand({ clusterName })).then((made) => {
      answered = true;
      return made.cluster!.clusterName;
    });
    assert.equal((await hold.reached(10)).resource, clusterName);
    assert.equal(await there(clusterName), after);
    assert.equal(answered, false);
    await hold.release();
    assert.equal(await creating, clusterName);
    assert.equal(await there(clusterName), true);
  }
  await assert.rejects(
    (await account.hold({ account: '444444444445', action: 'DeleteCluster' })).reached(0.1),
    /no such call within 0.1 s: .*DeleteCluster/,
  );
});

test('a held call whose caller is gone takes no effect, or keeps the one that it had; the log says so', async () => {
  const client = new ECSClient(options('444444444446'));
  for (const [after, made] of [
    [false, 0],
    [true, 1],
  ] as const) {
    const clusterName = `dropped-${after}`;
    const hold = await account.hold({ account: '444444444446', action: 'CreateCluster', after });
    const giveUp = new AbortController();
    const creating = client.send(new CreateClusterCommand({ clusterName }), { abortSignal: giveUp.signal });
    await hold.reached(10);
    giveUp.abort();
    await assert.rejects(creating);
    await eventually('the call is over', async () => (await account.calls()).some((one) => one.error === 'held'));
    await hold.release();
    const { clusters } = await client.send(new DescribeClustersCommand({ clusters: [clusterName] }));
    assert.equal(clusters!.length, made);
    await account.clearCalls();
  }
});

/** https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html: "eventual consistency". */
test('reads that are wrong at first: as before the last write, or as if nothing were there', async () => {
  const client = new ECSClient(options('666666666666'));
  const seen = async () =>
    (await client.send(new DescribeClustersCommand({ clusters: ['late'] }))).clusters!.map((one) => one.status);
  await account.fault({ service: 'ecs', action: 'DescribeClusters', account: '666666666666', stale: 2 });
  await client.send(new CreateClusterCommand({ clusterName: 'late' }));
  assert.deepEqual([await seen(), await seen(), await seen(), await seen()], [[], [], ['ACTIVE'], ['ACTIVE']]);
  await client.send(new DeleteClusterCommand({ cluster: 'late' }));
  assert.deepEqual([await seen(), await seen()], [['ACTIVE'], ['ACTIVE']]);
  assert.notDeepEqual(await seen(), ['ACTIVE']);
});

test('a whole service is down for a while; others are not', async () => {
  await account.fault({ service: 'rds', down: true, forSeconds: 0.4 });
  const rds = new RDSClient(options('222222222222'));
  assert.equal((await failed(rds.send(new DescribeDBInstancesCommand({})))).$metadata.httpStatusCode, 503);
  assert.equal(await name(new ECSClient(options('222222222222')).send(new ListClustersCommand({}))), 'none');
  await new Promise((resolve) => setTimeout(resolve, 450));
  assert.equal(await name(rds.send(new DescribeDBInstancesCommand({}))), 'none');
});

/**
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (Blocked),
 * https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html (OptInRequired)
 */
test('a suspended account refuses everything, in each service’s words; nobody takes a role in it', async () => {
  await account.fault({ account: '777777777777', suspended: true });
  const codes = [
    await name(new ECSClient(options('777777777777')).send(new ListClustersCommand({}))),
    await name(new EC2Client(options('777777777777')).send(new DescribeVpcsCommand({}))),
    await name(
      new STSClient(options('222222222222')).send(
        new AssumeRoleCommand({ RoleArn: 'arn:aws:iam::777777777777:role/x', RoleSessionName: 'tester' }),
      ),
    ),
    await name(new ECSClient(options('222222222222')).send(new ListClustersCommand({}))),
  ];
  assert.deepEqual(codes, ['OptInRequired', 'Blocked', 'AccessDenied', 'none']);
});

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html */
test('an organization’s policy denies an action, in AWS’s words, root too', async () => {
  await account.fault({ account: '888888888888', deniedByOrganization: 'ecs:Create*' });
  const client = new ECSClient(options('888888888888'));
  const error = await failed(client.send(new CreateClusterCommand({ clusterName: 'x' })));
  assert.equal(error.name, 'AccessDeniedException');
  assert.equal(
    error.message,
    'User: arn:aws:iam::888888888888:root is not authorized to perform: ecs:CreateCluster on resource: x with an explicit deny in a service control policy',
  );
  assert.equal(await name(client.send(new ListClustersCommand({}))), 'none');
});

const REFUSED: [string, object, RegExp][] = [
  ['would do nothing', { service: 'ecs' }, /does nothing/],
  ['has a misspelt field', { code: 'X', actoin: 'Y' }, /no field actoin/],
  ['has two effects', { cut: true, throttle: true }, /throttle: a fault has one effect; this one has .* already|cut: /],
  ['has no regular expression', { code: 'X', action: '(' }, /action: not a regular expression/],
  ['has chance above one', { code: 'X', probability: 2 }, /probability: not between 0 and 1: 2/],
  ['has a number as text', { code: 'X', nth: '2' }, /nth: not a whole number/],
  ['has a status that is none', { status: 200 }, /status: not an HTTP error/],
  ['takes down no service', { down: true }, /service: which one/],
  ['suspends no account', { suspended: true }, /account: which one/],
  ['is after nothing', { throttle: true, after: true }, /after: only with/],
  ['denies no action', { deniedByOrganization: 'CreateService' }, /deniedByOrganization: not an action/],
];
for (const [what, fault, why] of REFUSED)
  test(`a fault that ${what} is refused, naming the field`, () => assert.rejects(account.fault(fault), why));
