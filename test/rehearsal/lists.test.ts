/** Lists come in pages, and a search by tag sees every kind of thing: "nothing is left" is proven with it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ApplicationAutoScalingClient, RegisterScalableTargetCommand } from '@aws-sdk/client-application-auto-scaling';
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  paginateDescribeLogGroups,
} from '@aws-sdk/client-cloudwatch-logs';
import {
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DeleteSecurityGroupCommand,
  EC2Client,
  paginateDescribeSecurityGroups,
  paginateDescribeSubnets,
} from '@aws-sdk/client-ec2';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  ECSClient,
  paginateListServices,
  RegisterTaskDefinitionCommand,
} from '@aws-sdk/client-ecs';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateRuleCommand,
  CreateTargetGroupCommand,
  ElasticLoadBalancingV2Client,
  paginateDescribeTargetGroups,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { CreateDBInstanceCommand, CreateDBSubnetGroupCommand, RDSClient } from '@aws-sdk/client-rds';
import {
  paginateGetResources,
  ResourceGroupsTaggingAPIClient,
  type GetResourcesCommandInput,
} from '@aws-sdk/client-resource-groups-tagging-api';
import { CreateSecretCommand, paginateListSecrets, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import {
  CreatePrivateDnsNamespaceCommand,
  CreateServiceCommand as CreateMapServiceCommand,
  GetOperationCommand,
  ListServicesCommand,
  paginateListServices as paginateListMapServices,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';

let account: Rehearsal;
const options = (number: string, region = 'us-east-1') => ({
  endpoint: account.endpoint,
  region,
  credentials: account.root(number),
});
before(async () => {
  account = await startRehearsal({ pace: 500 });
});
after(() => account.stop());

async function sizes<Page>(pages: AsyncIterable<Page>, rows: (page: Page) => unknown[] | undefined): Promise<number[]> {
  const found: number[] = [];
  for await (const page of pages) found.push(rows(page)?.length ?? 0);
  return found;
}
async function namespace(map: ServiceDiscoveryClient, Vpc: string): Promise<string> {
  const { OperationId } = await map.send(new CreatePrivateDnsNamespaceCommand({ Name: 'place.internal', Vpc }));
  for (let n = 0; n < 200; n++) {
    const { Operation } = await map.send(new GetOperationCommand({ OperationId: OperationId! }));
    if (Operation?.Status === 'SUCCESS') return Operation.Targets!['NAMESPACE']!;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return assert.fail('the namespace is made');
}

test('pages of the size that is asked for, each row once', async () => {
  const it = options('222222222222');
  const [ec2, elb, logs, map, secrets, ecs] = [
    new EC2Client(it),
    new ElasticLoadBalancingV2Client(it),
    new CloudWatchLogsClient(it),
    new ServiceDiscoveryClient(it),
    new SecretsManagerClient(it),
    new ECSClient(it),
  ];
  const VpcId = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
  const NamespaceId = await namespace(map, VpcId);
  await ecs.send(new CreateClusterCommand({ clusterName: 'c' }));
  await ecs.send(
    new RegisterTaskDefinitionCommand({
      family: 'f',
      cpu: '256',
      memory: '512',
      networkMode: 'awsvpc',
      requiresCompatibilities: ['FARGATE'],
      containerDefinitions: [{ name: 'a', image: 'none' }],
    }),
  );
  const made = (await ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock: '10.0.100.0/24' }))).Subnet!.SubnetId!;
  for (let n = 0; n < 11; n++) {
    await ec2.send(new CreateSecurityGroupCommand({ GroupName: `g${n}`, Description: 'x', VpcId }));
    await ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock: `10.0.${n}.0/24` }));
    await elb.send(
      new CreateTargetGroupCommand({ Name: `t${n}`, Protocol: 'HTTP', Port: 80, VpcId, TargetType: 'ip' }),
    );
    await logs.send(new CreateLogGroupCommand({ logGroupName: `/l/${n}` }));
    await map.send(new CreateMapServiceCommand({ Name: `s${n}`, NamespaceId }));
    await secrets.send(new CreateSecretCommand({ Name: `s${n}`, SecretString: 'x' }));
    await ecs.send(
      new CreateServiceCommand({
        cluster: 'c',
        serviceName: `s${n}`,
        taskDefinition: 'f',
        desiredCount: 0,
        launchType: 'FARGATE',
        networkConfiguration: { awsvpcConfiguration: { subnets: [made] } },
      }),
    );
  }
  const inVpc = () => ({ Filters: [{ Name: 'vpc-id', Values: [VpcId] }] });
  assert.deepEqual(
    await sizes(paginateDescribeSecurityGroups({ client: ec2, pageSize: 5 }, inVpc()), (page) => page.SecurityGroups),
    [5, 5, 2],
  );
  assert.deepEqual(
    await sizes(paginateDescribeSubnets({ client: ec2, pageSize: 6 }, inVpc()), (page) => page.Subnets),
    [6, 6],
  );
  assert.deepEqual(
    await sizes(paginateDescribeTargetGroups({ client: elb }, { PageSize: 4 }), (page) => page.TargetGroups),
    [4, 4, 3],
  );
  assert.deepEqual(
    await sizes(paginateDescribeLogGroups({ client: logs, pageSize: 10 }, {}), (page) => page.logGroups),
    [10, 1],
  );
  assert.deepEqual(
    await sizes(paginateListMapServices({ client: map, pageSize: 10 }, {}), (page) => page.Services),
    [10, 1],
  );
  assert.deepEqual(
    await sizes(paginateListSecrets({ client: secrets, pageSize: 10 }, {}), (page) => page.SecretList),
    [10, 1],
  );
  // ECS answers ten services when no size is asked for.
  assert.deepEqual(
    await sizes(paginateListServices({ client: ecs }, { cluster: 'c' }), (page) => page.serviceArns),
    [10, 1],
  );
  const other = { Filters: [{ Name: 'NAMESPACE_ID' as const, Values: ['ns-none'] }] };
  assert.deepEqual((await map.send(new ListServicesCommand(other))).Services, []);
});

test('GetResources sees every kind that we tag, in this account and region only', async () => {
  const number = '333333333333';
  const it = options(number);
  const [ec2, ecs, elb, rds] = [
    new EC2Client(it),
    new ECSClient(it),
    new ElasticLoadBalancingV2Client(it),
    new RDSClient(it),
  ];
  const [Key, Value] = ['freehold:deployment', 'd1'];
  const Tags = [{ Key, Value }];
  const tags = [{ key: Key, value: Value }];
  const expected: string[] = [];
  const arn = (text: string) => `arn:aws:${text.replace(':', `:us-east-1:${number}:`)}`;

  const VpcId = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
  const subnets: string[] = [];
  for (const [n, zone] of ['a', 'b'].entries())
    subnets.push(
      (
        await ec2.send(
          new CreateSubnetCommand({ VpcId, CidrBlock: `10.0.${n}.0/24`, AvailabilityZone: `us-east-1${zone}` }),
        )
      ).Subnet!.SubnetId!,
    );
  const group = await ec2.send(
    new CreateSecurityGroupCommand({
      GroupName: 'g',
      Description: 'x',
      VpcId,
      TagSpecifications: [{ ResourceType: 'security-group', Tags }],
    }),
  );
  expected.push(arn(`ec2:security-group/${group.GroupId}`));

  await ecs.send(new CreateClusterCommand({ clusterName: 'c' }));
  const definition = await ecs.send(
    new RegisterTaskDefinitionCommand({
      family: 'f',
      cpu: '256',
      memory: '512',
      networkMode: 'awsvpc',
      requiresCompatibilities: ['FARGATE'],
      containerDefinitions: [{ name: 'a', image: 'none' }],
      tags,
    }),
  );
  expected.push(definition.taskDefinition!.taskDefinitionArn!);
  const service = await ecs.send(
    new CreateServiceCommand({
      cluster: 'c',
      serviceName: 's',
      taskDefinition: 'f',
      desiredCount: 0,
      launchType: 'FARGATE',
      networkConfiguration: { awsvpcConfiguration: { subnets } },
      tags,
    }),
  );
  expected.push(service.service!.serviceArn!);
  const target = await new ApplicationAutoScalingClient(it).send(
    new RegisterScalableTargetCommand({
      ServiceNamespace: 'ecs',
      ResourceId: 'service/c/s',
      ScalableDimension: 'ecs:service:DesiredCount',
      MinCapacity: 0,
      MaxCapacity: 1,
      Tags: { [Key]: Value },
    }),
  );
  expected.push(target.ScalableTargetARN!);

  const balancer = (await elb.send(new CreateLoadBalancerCommand({ Name: 'b', Scheme: 'internal', Subnets: subnets })))
    .LoadBalancers![0]!;
  const targetGroup = (
    await elb.send(
      new CreateTargetGroupCommand({ Name: 't', Protocol: 'HTTP', Port: 80, VpcId, TargetType: 'ip', Tags }),
    )
  ).TargetGroups![0]!;
  const fixed = [{ Type: 'fixed-response' as const, FixedResponseConfig: { StatusCode: '404' } }];
  const listener = (
    await elb.send(
      new CreateListenerCommand({
        LoadBalancerArn: balancer.LoadBalancerArn!,
        Port: 80,
        Protocol: 'HTTP',
        DefaultActions: fixed,
      }),
    )
  ).Listeners![0]!;
  const rule = (
    await elb.send(
      new CreateRuleCommand({
        ListenerArn: listener.ListenerArn!,
        Priority: 1,
        Conditions: [{ Field: 'path-pattern', Values: ['/a*'] }],
        Actions: [{ Type: 'forward', TargetGroupArn: targetGroup.TargetGroupArn! }],
        Tags,
      }),
    )
  ).Rules![0]!;
  expected.push(targetGroup.TargetGroupArn!, rule.RuleArn!);

  await rds.send(
    new CreateDBSubnetGroupCommand({ DBSubnetGroupName: 'n', DBSubnetGroupDescription: 'x', SubnetIds: subnets }),
  );
  const database = await rds.send(
    new CreateDBInstanceCommand({
      DBInstanceIdentifier: 'd',
      DBInstanceClass: 'db.t4g.micro',
      Engine: 'postgres',
      AllocatedStorage: 20,
      MasterUsername: 'u',
      MasterUserPassword: 'long-enough-1',
      DBSubnetGroupName: 'n',
      Tags,
    }),
  );
  expected.push(database.DBInstance!.DBInstanceArn!);
  const secret = await new SecretsManagerClient(it).send(
    new CreateSecretCommand({ Name: 's', SecretString: 'x', Tags }),
  );
  expected.push(secret.ARN!);
  await new CloudWatchLogsClient(it).send(new CreateLogGroupCommand({ logGroupName: '/l', tags: { [Key]: Value } }));
  expected.push(arn('logs:log-group:/l'));
  const map = new ServiceDiscoveryClient(it);
  const mapped = await map.send(
    new CreateMapServiceCommand({ Name: 'redis', NamespaceId: await namespace(map, VpcId), Tags }),
  );
  expected.push(mapped.Service!.Arn!);

  const search = async (input: Partial<GetResourcesCommandInput>, where = it): Promise<string[]> => {
    const found: string[] = [];
    const client = new ResourceGroupsTaggingAPIClient(where);
    for await (const page of paginateGetResources(
      { client, pageSize: 4 },
      { TagFilters: [{ Key, Values: [Value] }], ...input },
    ))
      found.push(...page.ResourceTagMappingList!.map((row) => row.ResourceARN!));
    return found.toSorted();
  };
  assert.deepEqual(await search({}), expected.toSorted());
  assert.deepEqual(
    await search({ ResourceTypeFilters: ['elasticloadbalancing:targetgroup', 'logs', 'rds:db'] }),
    expected.filter((one) => /targetgroup|logs:|rds:/.test(one)).toSorted(),
  );
  assert.deepEqual(await search({ TagFilters: [{ Key, Values: ['d2'] }] }), []);
  await ec2.send(new DeleteSecurityGroupCommand({ GroupId: group.GroupId! }));
  assert.deepEqual(
    await search({}),
    expected.filter((one) => !one.includes(':security-group/')).toSorted(),
    'what is deleted has no tags',
  );
  assert.deepEqual(await search({}, options('444444444444')), []);
  assert.deepEqual(await search({}, options(number, 'eu-west-1')), []);
});
