/**
 * An account that was set up for the product that this one replaces, with its Terraform module and under AWS's own five
 * policies: recognised, used as it is, and left as it was.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import {
  DeleteLoadBalancerCommand,
  DescribeListenersCommand,
  DescribeLoadBalancersCommand,
  DescribeTargetGroupsCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { DescribeDBInstancesCommand, RDSClient } from '@aws-sdk/client-rds';
import { ListServicesCommand, ServiceDiscoveryClient } from '@aws-sdk/client-servicediscovery';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { terraformed, type OriginalAccount } from '../support/original.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import * as stage from './stage.ts';

const ACCOUNT = '431000000001';
const VENDOR = 'arn:aws:iam::640174622193:role/HostBackendRoleProd';
let on: stage.Stage;
let rehearsal: Rehearsal;
let account: OriginalAccount;
let listener: stage.Json;
let image: string;
let id: string;
let url: string;

before(async () => {
  on = await stage.open('original', [], { FREEHOLD_SWEEP_SECONDS: '2' }, undefined, openQuickRehearsal);
  ({ rehearsal } = on);
  account = await terraformed(rehearsal, ACCOUNT);
  image = await on.push(ACCOUNT, '1', 'stub', { SAY: 'hello from the first' });
  listener = await on.api.call('POST', '/v2/listeners', {
    compute_type: 'ecs',
    compute_id: 'original',
    compute_config: {},
  });
});

after(() => on?.close());

const customer = () => stage.customerClient(rehearsal, ACCOUNT);
const register = ({ id }: { id: string }, more: object = {}): Promise<stage.Json> =>
  on.api.call('PATCH', `/v2/listeners/${id}`, {
    compute_config: { original: { account_id: ACCOUNT, region: stage.REGION, ...more } },
  });
const balancers = async () =>
  (await new ElasticLoadBalancingV2Client(customer()).send(new DescribeLoadBalancersCommand({}))).LoadBalancers ?? [];

test('nothing is made where the role lets in whoever asks', async () => {
  await account.trustWithout(on.principal.arn);
  await assert.rejects(register(listener), /400.*lets us in without an external id/);
  assert.deepEqual(await balancers(), []);
  await account.trust(VENDOR);
});

test('it is not entered before its trust is ours, and what is missing is named', async () => {
  await assert.rejects(register(listener), /502.*LangGraphCloudBYOCRole.*does not trust/);
  await account.trust(on.principal.arn, listener.place.external_id);

  await assert.rejects(
    on.api.call('PATCH', `/v2/listeners/${listener.id}`, {
      compute_config: { original: { account_id: ACCOUNT, region: 'eu-west-1' } },
    }),
    /400.*no VPC with the tag.*no ECS cluster "langgraph-cloud-cluster".*no security group "langgraph-cloud-lb-sg"/,
  );
  assert.deepEqual(await balancers(), []);
});

test('a load balancer that cannot be finished is removed; one that is left goes with its listener', async () => {
  const refuse = (action: string) =>
    rehearsal.fault({
      account: ACCOUNT,
      service: 'elasticloadbalancing',
      action,
      code: 'UnsupportedCertificate',
      message: 'no such certificate',
    });
  const half = await on.api.call('POST', '/v2/listeners', {
    compute_type: 'ecs',
    compute_id: 'half',
    compute_config: {},
  });
  await account.trust(on.principal.arn, listener.place.external_id, half.place.external_id);
  await refuse('CreateListener');
  await assert.rejects(register(half), /no such certificate/);
  assert.deepEqual(await balancers(), []);

  await refuse('DeleteLoadBalancer');
  await assert.rejects(register(half), /no such certificate/);
  assert.equal((await balancers()).length, 1);
  await rehearsal.clearFaults();
  await rehearsal.settle();
  await on.api.call('DELETE', `/v2/listeners/${half.id}`);
  await eventually('it is gone', async () => (await balancers()).length === 0);
});

test('it is registered as it is: a load balancer of ours, and what its role cannot do is said', async () => {
  const { place, compute_config } = await register(listener);
  assert.equal(place.state, 'verified', JSON.stringify(place.checks, null, 1));
  const { original, prefix, privateSubnetIds, taskRoleArn, executionRoleArn } = compute_config.place;
  assert.deepEqual([original, prefix, taskRoleArn], [true, 'langgraph-cloud', executionRoleArn]);
  assert.deepEqual(privateSubnetIds, [...account.privateSubnetIds].sort());
  await assert.rejects(
    on.api.call('PATCH', `/v2/listeners/${listener.id}`, {
      compute_config: { place: { ...compute_config.place, original: undefined, prefix: 'freehold' } },
    }),
    /400.*has a load balancer in account/,
  );
  const [balancer, ...more] = await balancers();
  assert.deepEqual([balancer!.LoadBalancerName, balancer!.Scheme, more], ['langgraph-cloud', 'internal', []]);
  const said = Object.fromEntries(place.checks.map((check: stage.Json) => [check.name, check.message]));
  assert.match(said.permissions, /not checked beforehand.*iam:SimulatePrincipalPolicy/);
  for (const name of [
    'managed policies',
    'isolation',
    'images',
    'uploads',
    'logs',
    'load balancer',
    'switches',
    'sessions',
  ])
    assert(said[name], name);
  assert(
    place.limits.some(({ known }: stage.Json) => known),
    'no limit could be read',
  );

  await rehearsal.settle();
  // Asked again, it finds what it made.
  assert.equal((await register(listener)).compute_config.place.loadBalancerArn, balancer!.LoadBalancerArn);
  assert.equal((await balancers()).length, 1);
  await assert.rejects(register(listener, { public: true }), /400.*cannot be changed: it is internal/);
});

test('a deployment is made, answers through the load balancer, is rolled, and its logs are read', async () => {
  const made = await stage.createDeployment(on.api, {
    name: 'old',
    image,
    listenerId: listener.id,
    secrets: [{ name: 'GREETING', value: 'a greeting' }],
  });
  id = made.id;
  await stage.deployed(on.api, id, made.latest_revision_id);
  ({ url } = await on.api.call('GET', `/v2/deployments/${id}`));
  const answer = await stage.json(await rehearsal.fetch(`${url}/info`));
  assert.equal(answer.revision, made.latest_revision_id);

  // By its tag: the role cannot look what that is, so it stays a tag.
  const other = (await on.push(ACCOUNT, '2', 'stub', { SAY: 'hello from the second' })).replace(/@.*/, ':2');
  const revision = await stage.newRevision(on.api, id, {
    source_revision_config: { image_uri: other },
    secrets: [{ name: 'GREETING', value: 'another greeting' }],
  });
  await stage.deployed(on.api, id, revision);
  await eventually('the new one answers', async () => {
    return (await stage.json(await rehearsal.fetch(`${url}/info`))).revision === revision;
  });
  const hello = await eventually('its own lines', async () => {
    const { logs } = await on.api.call('POST', `/v1/projects/${id}/revisions/${revision}/deploy_logs`, {});
    const said: string[] = logs.map(({ message }: stage.Json) => message);
    const found = said.filter((message) => message.startsWith('hello'));
    return found.length > 0 && found;
  });
  assert.deepEqual(hello, ['hello from the second']);
});

test('a revision that crashes is found out by its last words, and the one before serves on', async () => {
  const crashes = await on.push(ACCOUNT, '3', 'stub', { CRASH: 'start' });
  const failed = await stage.newRevision(on.api, id, { source_revision_config: { image_uri: crashes } });
  const { status, status_message } = await stage.ended(on.api, id, failed);
  assert.equal(status, 'DEPLOY_FAILED');
  assert.match(status_message, /boom: cannot start/);
  assert((await rehearsal.fetch(`${url}/info`)).ok);
});

test('what would need its own repository or bucket is refused with what to do', async () => {
  for (const source of ['internal_docker', 'internal_source'])
    await assert.rejects(
      on.api.call('POST', '/v2/deployments', {
        name: 'uploaded',
        source,
        secrets: [],
        source_config: { deployment_type: 'dev', listener_id: listener.id },
        source_revision_config: {},
      }),
      /400.*nothing to build from.*external_docker/,
    );
});

test('a sweep finds nothing to look at, and a plan nothing in the way', async () => {
  const swept = (): { suspects: number; unseen: number; deployments: number }[] =>
    readFileSync(on.api.log, 'utf8')
      .split('\n')
      .filter((line) => line.includes('"msg":"swept"'))
      .map((line) => JSON.parse(line));
  const before = swept().length;
  await eventually('two sweeps', () => Promise.resolve(swept().length >= before + 2));
  const { deployments, suspects, unseen } = swept().at(-1)!;
  assert.deepEqual({ deployments, suspects, unseen }, { deployments: 1, suspects: 0, unseen: 0 });
  const plan = await on.api.call('POST', `/v2/deployments/${id}/plan`, {
    source_revision_config: { image_uri: image },
  });
  assert.deepEqual(plan.obstacles, []);
});

test('a load balancer that somebody removes is told, and made again by registering again', async () => {
  const elb = new ElasticLoadBalancingV2Client(customer());
  const [{ LoadBalancerArn } = {}] = await balancers();
  await elb.send(new DeleteLoadBalancerCommand({ LoadBalancerArn }));
  await rehearsal.settle();
  const { place } = await on.api.call('POST', `/v2/listeners/${listener.id}/verify`);
  assert.equal(place.state, 'unverified');
  assert.match(place.message, /listener.*register/);

  const again = await register(listener);
  assert.equal(again.place.state, 'verified', JSON.stringify(again.place.checks, null, 1));
  assert.notEqual(again.compute_config.place.loadBalancerArn, LoadBalancerArn);
  await eventually('it answers at its new address', async () => {
    ({ url } = await on.api.call('GET', `/v2/deployments/${id}`));
    return (await rehearsal.fetch(`${url}/info`)).ok;
  });
});

test('offboarding leaves nothing but what the module made', async () => {
  await on.api.call('POST', `/v2/listeners/${listener.id}/offboard`, { confirm: 'original', skip_retention: true });
  await stage.gone(on.api, id);
  const end = await eventually('the place is clean', async () => {
    const now = await on.api.call('POST', `/v2/listeners/${listener.id}/offboard`, {
      confirm: 'original',
      skip_retention: true,
    });
    return now.state === 'CLEAN' && now;
  });
  assert.deepEqual(end.search.left, []);
  const client = customer();
  const elb = new ElasticLoadBalancingV2Client(client);
  assert.deepEqual(await balancers(), []);
  assert.deepEqual((await elb.send(new DescribeTargetGroupsCommand({}))).TargetGroups, []);
  assert.deepEqual((await new RDSClient(client).send(new DescribeDBInstancesCommand({}))).DBInstances, []);
  assert.deepEqual((await new ServiceDiscoveryClient(client).send(new ListServicesCommand({}))).Services, []);
  await on.api.call('DELETE', `/v2/listeners/${listener.id}`);
});

test('what its role refused is what the checks of the place say', async () => {
  const refused = (await rehearsal.calls()).filter(
    ({ account: asked, error }) => asked === ACCOUNT && /Denied|Unauthorized/.test(error),
  );
  // Whether a task's health is asked for depends on when somebody looks.
  const seldom = 'elasticloadbalancing:DescribeTargetHealth';
  const actions = new Set(refused.map(({ service, action }) => `${service}:${action}`));
  assert.deepEqual([...actions].filter((action) => action !== seldom).sort(), [
    'ecr:DescribeImages',
    'iam:SimulatePrincipalPolicy',
    'servicequotas:GetServiceQuota',
  ]);
});

test('a load balancer for the internet speaks HTTPS, and goes with its listener', async () => {
  const another = await on.api.call('POST', '/v2/listeners', {
    compute_type: 'ecs',
    compute_id: 'public',
    compute_config: {},
  });
  const third = await on.api.call('POST', '/v2/listeners', { ...another, compute_id: 'third', compute_config: {} });
  await account.trust(on.principal.arn, another.place.external_id, third.place.external_id);
  const certificate_arn = `arn:aws:acm:${stage.REGION}:${ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555`;
  const original = { public: true, certificate_arn, domain: 'agents.example.com' };
  await assert.rejects(register(another, { certificate_arn }), /422.*certificate_arn and domain go together/);
  const { place, compute_config } = await register(another, original);
  assert.equal(place.state, 'verified', JSON.stringify(place.checks, null, 1));
  assert.deepEqual([compute_config.place.scheme, compute_config.place.domain], ['https', 'agents.example.com']);
  await rehearsal.settle();

  const [balancer] = await balancers();
  assert.equal(balancer!.Scheme, 'internet-facing');
  assert.deepEqual(
    balancer!.AvailabilityZones!.map(({ SubnetId }) => SubnetId!).sort(),
    [...account.publicSubnetIds].sort(),
  );
  const { Listeners } = await new ElasticLoadBalancingV2Client(customer()).send(
    new DescribeListenersCommand({ LoadBalancerArn: balancer!.LoadBalancerArn }),
  );
  assert.deepEqual(
    Listeners!.map(({ Port, Protocol, DefaultActions }) => [Port, Protocol, DefaultActions![0]!.Type]).sort(),
    [
      [443, 'HTTPS', 'fixed-response'],
      [80, 'HTTP', 'redirect'],
    ],
  );

  // Whoever registers the account once more neither uses it nor takes it away.
  await assert.rejects(register(third, original), /400.*exists and is not ours/);
  await on.api.call('DELETE', `/v2/listeners/${third.id}`);
  assert.equal((await balancers()).length, 1);
  await on.api.call('DELETE', `/v2/listeners/${another.id}`);
  await eventually('it is gone', async () => (await balancers()).length === 0);
});
