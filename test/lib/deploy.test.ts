/** The real CDK CLI, as a customer runs it, against accounts that have nothing yet. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import {
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeSubnetsCommand,
  DescribeVpcsCommand,
  EC2Client,
  type Tag,
} from '@aws-sdk/client-ec2';
import { DescribeClustersCommand, ECSClient, ListClustersCommand } from '@aws-sdk/client-ecs';
import {
  DescribeListenersCommand,
  DescribeLoadBalancersCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { IAMClient, ListPoliciesCommand, ListRolesCommand } from '@aws-sdk/client-iam';
import { CloudWatchLogsClient, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeDBSubnetGroupsCommand, RDSClient } from '@aws-sdk/client-rds';
import { ListNamespacesCommand, ServiceDiscoveryClient } from '@aws-sdk/client-servicediscovery';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import type { PlaceOutputs } from '../../services/reconciler/place.ts';
import type { Credentials, Rehearsal } from '../../services/rehearsal/index.ts';
import { cdkDeploy, cdkDestroy, controlPlaneUser, deployerUser } from '../../services/rehearsal/scene.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const REGION = 'us-east-1';
let rehearsal: Rehearsal;
let controlPlane: { arn: string; credentials: Credentials };

before(async () => {
  rehearsal = await openRehearsal();
  controlPlane = await controlPlaneUser(rehearsal);
});
after(() => rehearsal.stop());

const as = (credentials: Credentials) => ({ endpoint: rehearsal.endpoint, region: REGION, credentials });
const record = (tags: Tag[] | undefined) => Object.fromEntries((tags ?? []).map((tag) => [tag.Key!, tag.Value!]));

/** Names of everything in the account that a stack could have left. */
async function inventory(account: string): Promise<Record<string, string[]>> {
  const root = as(rehearsal.root(account));
  const [ec2, ecs, elb, iam] = [
    new EC2Client(root),
    new ECSClient(root),
    new ElasticLoadBalancingV2Client(root),
    new IAMClient(root),
  ];
  const [logs, rds, names] = [new CloudWatchLogsClient(root), new RDSClient(root), new ServiceDiscoveryClient(root)];
  const clusters = await ecs.send(new ListClustersCommand({}));
  const active = clusters.clusterArns?.length
    ? await ecs.send(new DescribeClustersCommand({ clusters: clusters.clusterArns }))
    : { clusters: [] };
  const of = (list: (string | undefined)[] | undefined) => (list ?? []).map((each) => each!).sort();
  return {
    vpcs: of((await ec2.send(new DescribeVpcsCommand({}))).Vpcs?.map((each) => each.VpcId)),
    subnets: of((await ec2.send(new DescribeSubnetsCommand({}))).Subnets?.map((each) => each.SubnetId)),
    clusters: of(active.clusters?.filter((each) => each.status === 'ACTIVE').map((each) => each.clusterName)),
    balancers: of(
      (await elb.send(new DescribeLoadBalancersCommand({}))).LoadBalancers?.map((each) => each.LoadBalancerName),
    ),
    roles: of((await iam.send(new ListRolesCommand({}))).Roles?.map((each) => each.RoleName)),
    policies: of(
      (await iam.send(new ListPoliciesCommand({ Scope: 'Local' }))).Policies?.map((each) => each.PolicyName),
    ),
    logGroups: of((await logs.send(new DescribeLogGroupsCommand({}))).logGroups?.map((each) => each.logGroupName)),
    subnetGroups: of(
      (await rds.send(new DescribeDBSubnetGroupsCommand({}))).DBSubnetGroups?.map((each) => each.DBSubnetGroupName),
    ),
    namespaces: of((await names.send(new ListNamespacesCommand({}))).Namespaces?.map((each) => each.Name)),
  };
}

test('a new network: outputs, tags, who gets in, and nothing left after destroy', async () => {
  const account = '240000000001';
  const context: Record<string, string> = { principal: controlPlane.arn, externalId: 'fh-right' };
  const customer = { rehearsal, account, context, credentials: await deployerUser(rehearsal, account, context) };
  const before = await inventory(account);
  const place = await cdkDeploy(customer);

  assert.equal(place.version, 1);
  assert.equal(place.accountId, account);
  assert.equal(place.region, REGION);
  assert.equal(place.roleArn, `arn:aws:iam::${account}:role/freehold-control-plane`);
  assert.equal(place.scheme, 'http');
  for (const [name, value] of Object.entries(place))
    assert.ok(Array.isArray(value) ? value.length === 2 : value, `${name} is ${JSON.stringify(value)}`);

  const ec2 = new EC2Client(as(rehearsal.root(account)));
  const [vpc] = (await ec2.send(new DescribeVpcsCommand({ VpcIds: [place.vpcId] }))).Vpcs!;
  assert.equal(record(vpc!.Tags)['langgraph-cloud-enabled'], '1');
  for (const [ids, value] of [
    [place.privateSubnetIds, '1'],
    [place.publicSubnetIds, '0'],
  ] as const) {
    const { Subnets } = await ec2.send(new DescribeSubnetsCommand({ SubnetIds: ids }));
    assert.equal(new Set(Subnets!.map((subnet) => subnet.AvailabilityZone)).size, 2);
    for (const subnet of Subnets!) {
      assert.equal(record(subnet.Tags)['langgraph-cloud-enabled'], '1');
      assert.equal(record(subnet.Tags)['langgraph-cloud-private'], value);
    }
  }

  const sts = new STSClient(as(controlPlane.credentials));
  const enter = (ExternalId?: string) =>
    sts.send(
      new AssumeRoleCommand({
        RoleArn: place.roleArn,
        RoleSessionName: 'test',
        ExternalId,
        Tags: [{ Key: 'freehold:deployment', Value: 'd' }],
        SourceIdentity: 'freehold',
      }),
    );
  const { Credentials: session } = await enter('fh-right');
  await assert.rejects(enter('fh-wrong'), { name: 'AccessDenied' });
  await assert.rejects(enter(), { name: 'AccessDenied' });
  // Another identity of the control plane's account is not the one that was named.
  const other = await rehearsal.createUser('111111111111', 'not-freehold', {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 'sts:*', Resource: '*' }],
  });
  await assert.rejects(
    new STSClient(as(other)).send(
      new AssumeRoleCommand({ RoleArn: place.roleArn, RoleSessionName: 'test', ExternalId: 'fh-right' }),
    ),
    { name: 'AccessDenied' },
  );
  // Inside, it may not make identities.
  const inside = as({
    accessKeyId: session!.AccessKeyId!,
    secretAccessKey: session!.SecretAccessKey!,
    sessionToken: session!.SessionToken!,
  });
  await assert.rejects(new IAMClient(inside).send(new ListRolesCommand({})), { name: 'AccessDenied' });

  const answer = await rehearsal.fetch(`http://${place.loadBalancerDnsName}/nobody`);
  assert.equal(answer.status, 404);
  assert.deepEqual(await answer.json(), { detail: 'no deployment answers here' });

  // HTTPS later: the listener moves to 443, and port 80 only redirects.
  const certificateArn = `arn:aws:acm:${REGION}:${account}:certificate/11111111-2222-3333-4444-555555555555`;
  Object.assign(context, { certificateArn, domain: 'agents.example.com' });
  const moved = await cdkDeploy(customer);
  assert.equal(moved.scheme, 'https');
  assert.equal(moved.listenerArn, place.listenerArn);
  const elb = new ElasticLoadBalancingV2Client(as(rehearsal.root(account)));
  const { Listeners } = await elb.send(new DescribeListenersCommand({ LoadBalancerArn: place.loadBalancerArn }));
  assert.deepEqual(record(Listeners!.map((each) => ({ Key: `${each.Port}`, Value: each.DefaultActions![0]!.Type }))), {
    443: 'fixed-response',
    80: 'redirect',
  });

  await cdkDestroy(customer);
  assert.deepEqual(await inventory(account), before);
});

/** A VPC of the customer's own, with four subnets in two zones. */
async function network(account: string) {
  const ec2 = new EC2Client(as(rehearsal.root(account)));
  const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.7.0.0/16' }));
  const subnets: string[] = [];
  for (const index of [0, 1, 2, 3]) {
    const AvailabilityZone = `${REGION}${'ab'[index % 2]}`;
    const CidrBlock = `10.7.${index}.0/24`;
    const made = await ec2.send(new CreateSubnetCommand({ VpcId: Vpc!.VpcId!, CidrBlock, AvailabilityZone }));
    subnets.push(made.Subnet!.SubnetId!);
  }
  return { ec2, vpcId: Vpc!.VpcId!, subnets };
}

test('an existing network: tagged while the stack stands, then as it was', async () => {
  const account = '240000000002';
  const { ec2, vpcId, subnets } = await network(account);
  const look = async () => ({
    inventory: await inventory(account),
    vpc: (await ec2.send(new DescribeVpcsCommand({ VpcIds: [vpcId] }))).Vpcs,
    subnets: (await ec2.send(new DescribeSubnetsCommand({ SubnetIds: subnets }))).Subnets,
  });
  const context = {
    principal: controlPlane.arn,
    externalId: 'fh-second',
    prefix: 'second',
    policies: 'managed',
    vpcId,
    privateSubnetIds: subnets.slice(0, 2).join(','),
    publicSubnetIds: subnets.slice(2).join(','),
  };
  const customer = { rehearsal, account, context, credentials: await deployerUser(rehearsal, account, context) };
  const before = await look();
  const place = await cdkDeploy(customer);
  assert.deepEqual([place.vpcId, ...place.privateSubnetIds, ...place.publicSubnetIds], [vpcId, ...subnets]);
  assert.equal(place.clusterArn, `arn:aws:ecs:${REGION}:${account}:cluster/second`);
  const during = await look();
  assert.equal(record(during.vpc?.[0]?.Tags)['langgraph-cloud-enabled'], '1');
  assert.deepEqual(
    subnets.map((id) => record(during.subnets?.find((each) => each.SubnetId === id)?.Tags)['langgraph-cloud-private']),
    ['1', '1', '0', '0'],
  );
  await cdkDestroy(customer);
  assert.deepEqual(await look(), before);
});

test('without CDK: the published template, with parameters, gives the same outputs; two load balancers', async () => {
  const account = '240000000003';
  const { ec2, vpcId, subnets } = await network(account);
  const parameters = {
    Principal: controlPlane.arn,
    ExternalId: 'fh-third',
    Prefix: 'third',
    VpcId: vpcId,
    PrivateSubnetIds: subnets.slice(0, 2).join(','),
    PublicSubnetIds: subnets.slice(2).join(','),
    Balancers: '2',
  };
  // What `aws cloudformation deploy` does; boto3 is what it is made of.
  const program = `
import boto3, json, sys
given = json.load(sys.stdin)
stacks = boto3.client("cloudformation")
stacks.create_stack(StackName="by-hand", TemplateBody=open(given["template"]).read(),
                    Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
                    Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given["parameters"].items()])
stacks.get_waiter("stack_create_complete").wait(StackName="by-hand", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
print(stacks.describe_stacks(StackName="by-hand")["Stacks"][0]["Outputs"][0]["OutputValue"])`;
  const template = join(ROOT, 'templates', 'customer-account-existing-vpc-http.template.json');
  const who = await deployerUser(rehearsal, account, { prefix: 'third', stack: 'by-hand', vpcId });
  const run = promisify(execFile)(join(ROOT, '.cache', 'python', 'rehearsal', 'bin', 'python'), ['-c', program], {
    env: {
      PYTHONDONTWRITEBYTECODE: '1',
      AWS_ENDPOINT_URL: rehearsal.endpoint,
      AWS_DEFAULT_REGION: REGION,
      AWS_ACCESS_KEY_ID: who.accessKeyId,
      AWS_SECRET_ACCESS_KEY: who.secretAccessKey,
    },
  });
  run.child.stdin!.end(JSON.stringify({ template, parameters }));
  const place = JSON.parse((await run).stdout) as PlaceOutputs;
  assert.deepEqual(place.privateSubnetIds, subnets.slice(0, 2));
  assert.deepEqual(place.publicSubnetIds, subnets.slice(2));
  assert.equal(place.prefix, 'third');
  assert.equal(place.roleArn, `arn:aws:iam::${account}:role/third-control-plane`);
  assert.equal(place.moreBalancers!.length, 1);
  const [second] = place.moreBalancers!;
  assert.match(second!.loadBalancerArn, /loadbalancer\/app\/third-2\//);
  const elb = new ElasticLoadBalancingV2Client(as(rehearsal.root(account)));
  const { Listeners } = await elb.send(new DescribeListenersCommand({ ListenerArns: [second!.listenerArn] }));
  assert.equal(Listeners![0]!.LoadBalancerArn, second!.loadBalancerArn);
  const { LoadBalancers } = await elb.send(
    new DescribeLoadBalancersCommand({ LoadBalancerArns: [place.loadBalancerArn, second!.loadBalancerArn] }),
  );
  assert.deepEqual(LoadBalancers!.map((each) => each.SecurityGroups).flat(), [
    place.loadBalancerSecurityGroupId,
    place.loadBalancerSecurityGroupId,
  ]);
  const { Subnets } = await ec2.send(new DescribeSubnetsCommand({ SubnetIds: subnets }));
  for (const subnet of Subnets!) assert.equal(record(subnet.Tags)['langgraph-cloud-enabled'], '1');
});
