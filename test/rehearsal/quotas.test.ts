/** Service Quotas, and that they hold. Each is set low here; its default and its code are AWS's. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CloudWatchLogsClient, CreateLogGroupCommand } from '@aws-sdk/client-cloudwatch-logs';
import {
  AllocateAddressCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateNatGatewayCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  CreateVpcEndpointCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import { CreateRepositoryCommand, ECRClient, PutImageCommand } from '@aws-sdk/client-ecr';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  DescribeServicesCommand,
  ECSClient,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateRuleCommand,
  CreateTargetGroupCommand,
  ElasticLoadBalancingV2Client,
  RegisterTargetsCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { CreateRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import {
  CreateDBInstanceCommand,
  CreateDBSubnetGroupCommand,
  DescribeAccountAttributesCommand,
  RDSClient,
} from '@aws-sdk/client-rds';
import {
  CreatePrivateDnsNamespaceCommand,
  CreateServiceCommand as CreateServiceInNamespaceCommand,
  GetNamespaceCommand,
  ListNamespacesCommand,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery';
import {
  GetAWSDefaultServiceQuotaCommand,
  GetRequestedServiceQuotaChangeCommand,
  GetServiceQuotaCommand,
  ListServiceQuotasCommand,
  RequestServiceQuotaIncreaseCommand,
  ServiceQuotasClient,
} from '@aws-sdk/client-service-quotas';
import { explain, noteCall } from '../../services/reconciler/aws/errors.ts';
import { progress } from '../../services/reconciler/kinds/ecs-service.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000035';
const RDS_API = 'https://docs.aws.amazon.com/AmazonRDS/latest/APIReference';
const TRUST = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Service: 'ecs-tasks.amazonaws.com' }, Action: 'sts:AssumeRole' }],
});
let rehearsal: Rehearsal;
let aws: ReturnType<typeof clients>;
const place = { vpc: '', subnets: [] as string[], group: '', balancer: '', listener: '', targets: [] as string[] };

function clients() {
  const options = {
    endpoint: rehearsal.endpoint,
    region: 'eu-central-1',
    credentials: rehearsal.root(ACCOUNT),
    maxAttempts: 1,
  };
  return {
    ec2: new EC2Client(options),
    ecr: new ECRClient(options),
    ecs: new ECSClient(options),
    elb: new ElasticLoadBalancingV2Client(options),
    iam: new IAMClient(options),
    logs: new CloudWatchLogsClient(options),
    map: new ServiceDiscoveryClient(options),
    quotas: new ServiceQuotasClient(options),
    rds: new RDSClient(options),
  };
}

before(async () => {
  rehearsal = await openRehearsal();
  aws = clients();
  place.vpc = (await aws.ec2.send(new CreateVpcCommand({ CidrBlock: '10.5.0.0/16' }))).Vpc!.VpcId!;
  for (const zone of ['a', 'b']) {
    const made = await aws.ec2.send(
      new CreateSubnetCommand({
        VpcId: place.vpc,
        CidrBlock: `10.5.${zone === 'a' ? 1 : 2}.0/24`,
        AvailabilityZone: `eu-central-1${zone}`,
      }),
    );
    place.subnets.push(made.Subnet!.SubnetId!);
  }
  const group = await aws.ec2.send(
    new CreateSecurityGroupCommand({ GroupName: 'first', Description: 'first', VpcId: place.vpc }),
  );
  place.group = group.GroupId!;
  const balancer = await aws.elb.send(new CreateLoadBalancerCommand({ Name: 'first', Subnets: place.subnets }));
  place.balancer = balancer.LoadBalancers![0]!.LoadBalancerArn!;
  for (const name of ['one', 'two']) place.targets.push(await targetGroup(name));
  const listener = await aws.elb.send(listen(80, 0));
  place.listener = listener.Listeners![0]!.ListenerArn!;
  await aws.ecs.send(new CreateClusterCommand({ clusterName: 'first' }));
  await aws.ecs.send(
    new RegisterTaskDefinitionCommand({
      family: 'app',
      requiresCompatibilities: ['FARGATE'],
      networkMode: 'awsvpc',
      cpu: '1024',
      memory: '2048',
      containerDefinitions: [{ name: 'app', image: 'public.ecr.aws/docker/library/redis:7' }],
    }),
  );
});
after(() => rehearsal.stop());

async function targetGroup(Name: string): Promise<string> {
  const made = await aws.elb.send(
    new CreateTargetGroupCommand({ Name, VpcId: place.vpc, Protocol: 'HTTP', Port: 80, TargetType: 'ip' }),
  );
  return made.TargetGroups![0]!.TargetGroupArn!;
}
const listen = (Port: number, target: number) =>
  new CreateListenerCommand({
    LoadBalancerArn: place.balancer,
    Protocol: 'HTTP',
    Port,
    DefaultActions: [{ Type: 'forward', TargetGroupArn: place.targets[target]! }],
  });
const rule = (Priority: number, target: number) =>
  new CreateRuleCommand({
    ListenerArn: place.listener,
    Priority,
    Conditions: [{ Field: 'path-pattern', Values: [`/${Priority}`] }],
    Actions: [{ Type: 'forward', TargetGroupArn: place.targets[target]! }],
  });
const service = (serviceName: string, desiredCount = 0) =>
  new CreateServiceCommand({
    cluster: 'first',
    serviceName,
    desiredCount,
    launchType: 'FARGATE',
    taskDefinition: 'app',
    networkConfiguration: { awsvpcConfiguration: { subnets: place.subnets, assignPublicIp: 'ENABLED' } },
  });
const permission = (port: number) => ({
  IpProtocol: 'tcp',
  FromPort: port,
  ToPort: port,
  IpRanges: [{ CidrIp: '10.0.0.0/8' }],
});
const database = (name: string) =>
  new CreateDBInstanceCommand({
    DBInstanceIdentifier: name,
    DBInstanceClass: 'db.t4g.micro',
    Engine: 'postgres',
    AllocatedStorage: 20,
    MasterUsername: 'freehold',
    MasterUserPassword: 'not-a-secret-1',
  });

const LIMITS = 'https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html';
const ELB = 'https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference';
const EC2 = 'https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html';
const RDS = 'https://docs.aws.amazon.com/AmazonRDS/latest/APIReference';
const ECS = 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html';

/** [quota, low value, AWS's code, AWS's page, what is one too many] */
const REACHED: [string, number, string, string, () => Promise<unknown>][] = [
  [
    'L-7B6409FD',
    0,
    'InstanceQuotaExceededFault',
    `${RDS}/API_CreateDBInstance.html`,
    () => aws.rds.send(database('x')),
  ],
  [
    'L-48C6BF61',
    0,
    'DBSubnetGroupQuotaExceededFault',
    `${RDS}/API_CreateDBSubnetGroup.html`,
    () =>
      aws.rds.send(
        new CreateDBSubnetGroupCommand({
          DBSubnetGroupName: 'x',
          DBSubnetGroupDescription: 'x',
          SubnetIds: place.subnets,
        }),
      ),
  ],
  [
    'L-53DA6B97',
    1,
    'TooManyLoadBalancersException',
    `${ELB}/API_CreateLoadBalancer.html`,
    () => aws.elb.send(new CreateLoadBalancerCommand({ Name: 'second', Subnets: place.subnets })),
  ],
  ['L-B22855CB', 2, 'TooManyTargetGroupsException', `${ELB}/API_CreateTargetGroup.html`, () => targetGroup('three')],
  ['L-B6DF7632', 1, 'TooManyListenersException', LIMITS, () => aws.elb.send(listen(81, 0))],
  ['L-7EED9B64', 0, 'TooManyRulesException', LIMITS, () => aws.elb.send(rule(1, 0))],
  [
    'L-822D1B1B',
    1,
    'TooManyUniqueTargetGroupsPerLoadBalancerException',
    `${ELB}/API_CreateRule.html`,
    () => aws.elb.send(rule(2, 1)),
  ],
  [
    'L-A0D0B863',
    1,
    'TooManyTargetsException',
    `${ELB}/API_RegisterTargets.html`,
    () =>
      aws.elb.send(
        new RegisterTargetsCommand({
          TargetGroupArn: place.targets[0]!,
          Targets: [{ Id: '10.5.1.10' }, { Id: '10.5.1.11' }],
        }),
      ),
  ],
  ['L-F678F1CE', 1, 'VpcLimitExceeded', EC2, () => aws.ec2.send(new CreateVpcCommand({ CidrBlock: '10.6.0.0/16' }))],
  [
    'L-407747CB',
    2,
    'SubnetLimitExceeded',
    EC2,
    () => aws.ec2.send(new CreateSubnetCommand({ VpcId: place.vpc, CidrBlock: '10.5.9.0/24' })),
  ],
  [
    'L-E79EC296',
    1,
    'SecurityGroupLimitExceeded',
    EC2,
    () => aws.ec2.send(new CreateSecurityGroupCommand({ GroupName: 'next', Description: 'next', VpcId: place.vpc })),
  ],
  [
    'L-0EA8095F',
    2,
    'RulesPerSecurityGroupLimitExceeded',
    EC2,
    () =>
      aws.ec2.send(
        new AuthorizeSecurityGroupIngressCommand({
          GroupId: place.group,
          IpPermissions: [permission(1), permission(2), permission(3)],
        }),
      ),
  ],
  ['L-0263D0A3', 0, 'AddressLimitExceeded', EC2, () => aws.ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }))],
  [
    'L-FE5A380F',
    0,
    'NatGatewayLimitExceeded',
    EC2,
    () => aws.ec2.send(new CreateNatGatewayCommand({ SubnetId: place.subnets[0]!, ConnectivityType: 'private' })),
  ],
  [
    'L-29B6F2EB',
    0,
    'VpcEndpointLimitExceeded',
    EC2,
    () =>
      aws.ec2.send(
        new CreateVpcEndpointCommand({
          VpcId: place.vpc,
          VpcEndpointType: 'Interface',
          ServiceName: 'com.amazonaws.eu-central-1.secretsmanager',
        }),
      ),
  ],
  ['L-9EF96962', 0, 'InvalidParameterException', ECS, () => aws.ecs.send(service('none'))],
  ['L-46458851', 3, 'InvalidParameterException', ECS, () => aws.ecs.send(service('large', 4))],
  [
    'L-FE177D64',
    0,
    'LimitExceededException',
    'https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html',
    () => aws.iam.send(new CreateRoleCommand({ RoleName: 'next', AssumeRolePolicyDocument: TRUST })),
  ],
  [
    'L-0FE3F50E',
    0,
    'ResourceLimitExceeded',
    'https://docs.aws.amazon.com/cloud-map/latest/api/API_CreatePrivateDnsNamespace.html',
    () => aws.map.send(new CreatePrivateDnsNamespaceCommand({ Name: 'next', Vpc: place.vpc })),
  ],
  [
    'L-D2832119',
    0,
    'LimitExceededException',
    'https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html',
    () => aws.logs.send(new CreateLogGroupCommand({ logGroupName: 'next' })),
  ],
  [
    'L-CFEB8E8D',
    0,
    'LimitExceededException',
    'https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html',
    () => aws.ecr.send(new CreateRepositoryCommand({ repositoryName: 'next' })),
  ],
];
for (const [code, low, error, page, call] of REACHED)
  test(`quota ${code} holds: ${error} (${page})`, async () => {
    const { Quota: known } = await aws.quotas.send(
      new GetServiceQuotaCommand({ ServiceCode: await serviceOf(code), QuotaCode: code }),
    );
    await rehearsal.quota(ACCOUNT, code, low);
    try {
      const refused = (await call().then(
        () => assert.fail('allowed'),
        (reason: unknown) => reason,
      )) as Error;
      assert.equal(refused.name, error);
      noteCall(refused, 'aws:Call');
      assert.match(explain(refused).message, /^quota reached: /);
      assert.equal(explain(refused).terminal, false);
    } finally {
      await rehearsal.quota(ACCOUNT, code, known!.Value!);
    }
  });

let services: Map<string, string> | undefined;
async function serviceOf(code: string): Promise<string> {
  if (services === undefined) {
    services = new Map();
    for (const ServiceCode of ['ec2', 'ecr', 'ecs', 'elasticloadbalancing', 'fargate', 'iam', 'logs', 'rds', 'vpc'])
      for (const quota of (await aws.quotas.send(new ListServiceQuotasCommand({ ServiceCode }))).Quotas!)
        services.set(quota.QuotaCode!, ServiceCode);
  }
  return services.get(code) ?? 'AWSCloudMap';
}

test(`what is used, beside the limits (${RDS_API}/API_DescribeAccountAttributes.html)`, async () => {
  const { AccountQuotas } = await aws.rds.send(new DescribeAccountAttributesCommand({}));
  const databases = AccountQuotas!.find(({ AccountQuotaName }) => AccountQuotaName === 'DBInstances')!;
  const { Quota } = await aws.quotas.send(new GetServiceQuotaCommand({ ServiceCode: 'rds', QuotaCode: 'L-7B6409FD' }));
  assert.equal(databases.Max, Quota!.Value);
  assert.equal(typeof databases.Used, 'number');
  const [namespace] = (await aws.map.send(new ListNamespacesCommand({}))).Namespaces ?? [];
  const Id = namespace?.Id ?? (await someNamespace());
  const count = async () => (await aws.map.send(new GetNamespaceCommand({ Id }))).Namespace!.ServiceCount!;
  const before = await count();
  await aws.map.send(new CreateServiceInNamespaceCommand({ Name: 'counted', NamespaceId: Id }));
  assert.equal(await count(), before + 1);
});

async function someNamespace(): Promise<string> {
  await aws.map.send(new CreatePrivateDnsNamespaceCommand({ Name: 'counted.internal', Vpc: place.vpc }));
  const found = (await aws.map.send(new ListNamespacesCommand({}))).Namespaces ?? [];
  return found.find(({ Name }) => Name === 'counted.internal')!.Id!;
}

test('what exists already is not one more', async () => {
  await rehearsal.quota(ACCOUNT, 'L-9EF96962', 1);
  await aws.ecs.send(service('kept'));
  await assert.rejects(aws.ecs.send(service('kept')), /idempotent/);
  await rehearsal.quota(ACCOUNT, 'L-9EF96962', 5000);
});

const PER_IMAGE = 'https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html';
test(`images per repository (${PER_IMAGE})`, async () => {
  await aws.ecr.send(new CreateRepositoryCommand({ repositoryName: 'full' }));
  const put = (text: string) =>
    aws.ecr.send(
      new PutImageCommand({
        repositoryName: 'full',
        imageTag: text,
        imageManifest: JSON.stringify({ schemaVersion: 2, annotations: { text } }),
      }),
    );
  await rehearsal.quota(ACCOUNT, 'L-03A36CE1', 1);
  await put('a');
  await assert.rejects(put('b'), { name: 'LimitExceededException' });
});

const VCPU = 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html#service-quotas-fargate';
test(`vCPUs that run at once: RunTask’s failure and the service’s event say so (${VCPU})`, async () => {
  await rehearsal.quota(ACCOUNT, 'L-3032A538', 0.5);
  const network = { awsvpcConfiguration: { subnets: place.subnets, assignPublicIp: 'ENABLED' as const } };
  const run = await aws.ecs.send(
    new RunTaskCommand({
      cluster: 'first',
      taskDefinition: 'app',
      launchType: 'FARGATE',
      networkConfiguration: network,
    }),
  );
  assert.match(run.failures![0]!.reason!, /^You've reached the limit on the number of vCPUs you can run concurrently/);
  await aws.ecs.send(service('starved', 1));
  // ECS does not show a service at once.
  const said = async () =>
    (await aws.ecs.send(new DescribeServicesCommand({ cluster: 'first', services: ['starved'] }))).services?.[0]
      ?.events ?? [];
  const until = Date.now() + 5000;
  while (!(await said()).some((event) => event.message!.includes('vCPUs')) && Date.now() < until)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.match(
    (await said()).map((event) => event.message).join('\n'),
    /\(service starved\) was unable to place a task\. Reason: You've reached the limit on the number of vCPUs/,
  );
  const { services: seen } = await aws.ecs.send(
    new DescribeServicesCommand({ cluster: 'first', services: ['starved'] }),
  );
  assert.equal(
    progress(seen![0]!, seen![0]!.deployments![0]!),
    "0 of 1 tasks running, a task cannot be placed: You've reached the limit on the number of vCPUs you can run concurrently",
  );
  await aws.ecs.send(new UpdateServiceCommand({ cluster: 'first', service: 'starved', desiredCount: 0 }));
});

const API = 'https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference';
test(`a quota that applies, and AWS’s default (${API}/API_GetServiceQuota.html)`, async () => {
  const which = { ServiceCode: 'rds', QuotaCode: 'L-7B6409FD' };
  await rehearsal.quota(ACCOUNT, which.QuotaCode, 7);
  const applied = (await aws.quotas.send(new GetServiceQuotaCommand(which))).Quota!;
  assert.deepEqual(
    [applied.QuotaName, applied.Value, applied.Adjustable, applied.GlobalQuota],
    ['DB instances', 7, true, false],
  );
  assert.equal(applied.QuotaArn, `arn:aws:servicequotas:eu-central-1:${ACCOUNT}:rds/L-7B6409FD`);
  assert.equal((await aws.quotas.send(new GetAWSDefaultServiceQuotaCommand(which))).Quota!.Value, 40);
});

test(`a quota that AWS does not have (${API}/API_GetServiceQuota.html)`, () =>
  assert.rejects(aws.quotas.send(new GetServiceQuotaCommand({ ServiceCode: 'rds', QuotaCode: 'L-00000000' })), {
    name: 'NoSuchResourceException',
  }));

test(`an increase stays pending, one at a time, and only upwards (${API}/API_RequestServiceQuotaIncrease.html)`, async () => {
  const ask = (QuotaCode: string, DesiredValue: number) =>
    aws.quotas.send(
      new RequestServiceQuotaIncreaseCommand({ ServiceCode: 'elasticloadbalancing', QuotaCode, DesiredValue }),
    );
  const made = (await ask('L-7EED9B64', 200)).RequestedQuota!;
  assert.deepEqual([made.Status, made.DesiredValue], ['PENDING', 200]);
  const kept = await aws.quotas.send(new GetRequestedServiceQuotaChangeCommand({ RequestId: made.Id! }));
  assert.equal(kept.RequestedQuota!.Status, 'PENDING');
  await assert.rejects(ask('L-7EED9B64', 300), { name: 'ResourceAlreadyExistsException' });
  await assert.rejects(ask('L-B6DF7632', 10), { name: 'IllegalArgumentException' });
  await assert.rejects(ask('L-822D1B1B', 200), { name: 'IllegalArgumentException' });
});

test('a test can set only quotas that there are', async () => {
  await assert.rejects(rehearsal.quota(ACCOUNT, 'L-0', 1), /no quota L-0/);
  await assert.rejects(rehearsal.quota('12', 'L-7B6409FD', 1), /account: /);
  await assert.rejects(rehearsal.quota(ACCOUNT, 'L-7B6409FD', -1), /value: /);
});
