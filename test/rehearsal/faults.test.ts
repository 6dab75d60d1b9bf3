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
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';

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

test('a fault that would do nothing, or has a misspelt field, is refused', async () => {
  await assert.rejects(account.fault({ service: 'ecs' }), /does nothing/);
  await assert.rejects(account.fault({ code: 'X', actoin: 'Y' } as object), /no field actoin/);
});
