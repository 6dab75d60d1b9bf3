/** Lists come in pages, and a search by tag sees every kind of thing: "nothing is left" is proven with it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  ApplicationAutoScalingClient,
  DescribeScalableTargetsCommand,
  RegisterScalableTargetCommand,
} from '@aws-sdk/client-application-auto-scaling';
import { CloudWatchLogsClient, CreateLogGroupCommand, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import {
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DeleteSecurityGroupCommand,
  DescribeSecurityGroupsCommand,
  DescribeSubnetsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import { CreateRepositoryCommand, DescribeRepositoriesCommand, ECRClient } from '@aws-sdk/client-ecr';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  DeleteServiceCommand,
  ECSClient,
  ListServicesCommand as EcsListServicesCommand,
  ListTaskDefinitionsCommand,
  RegisterTaskDefinitionCommand,
} from '@aws-sdk/client-ecs';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateRuleCommand,
  CreateTargetGroupCommand,
  DescribeListenersCommand,
  DescribeRulesCommand,
  DescribeTargetGroupsCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import {
  CreateDBInstanceCommand,
  CreateDBSubnetGroupCommand,
  DescribeDBSubnetGroupsCommand,
  RDSClient,
} from '@aws-sdk/client-rds';
import {
  GetResourcesCommand,
  paginateGetResources,
  ResourceGroupsTaggingAPIClient,
  type GetResourcesCommandInput,
} from '@aws-sdk/client-resource-groups-tagging-api';
import {
  CreateSecretCommand,
  ListSecretsCommand,
  ListSecretVersionIdsCommand,
  PutSecretValueCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import {
  CreatePrivateDnsNamespaceCommand,
  CreateServiceCommand as CreateMapServiceCommand,
  GetOperationCommand,
  ListServicesCommand,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { SMALLEST_TASK } from '../support/requests.ts';

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

async function namespace(map: ServiceDiscoveryClient, Vpc: string): Promise<string> {
  const { OperationId } = await map.send(new CreatePrivateDnsNamespaceCommand({ Name: 'place.internal', Vpc }));
  for (let n = 0; n < 200; n++) {
    const { Operation } = await map.send(new GetOperationCommand({ OperationId: OperationId! }));
    if (Operation?.Status === 'SUCCESS') return Operation.Targets!['NAMESPACE']!;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return assert.fail('the namespace is made');
}

interface Page {
  rows: string[];
  token?: string | undefined;
}
interface List {
  /** AWS's page about it. */
  page: string;
  /** Rows of one page; both are left out of the request when they are undefined. */
  read: (size?: number, token?: string) => Promise<Page>;
  /** The same list with another filter. */
  filtered: (token: string) => Promise<unknown>;
  size: number;
  sizes: number[];
  refused: string;
  expired?: string;
  /** AWS promises an order. */
  ordered?: boolean;
}

/** What the lists are read from: of each kind eleven. */
async function scene(): Promise<Record<string, List>> {
  const it = options('222222222222');
  const [ec2, elb, logs, map, secrets, ecs, rds, ecr, scaling, tagging] = [
    new EC2Client(it),
    new ElasticLoadBalancingV2Client(it),
    new CloudWatchLogsClient(it),
    new ServiceDiscoveryClient(it),
    new SecretsManagerClient(it),
    new ECSClient(it),
    new RDSClient(it),
    new ECRClient(it),
    new ApplicationAutoScalingClient(it),
    new ResourceGroupsTaggingAPIClient(it),
  ];
  const VpcId = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
  const NamespaceId = await namespace(map, VpcId);
  await ecs.send(new CreateClusterCommand({ clusterName: 'c' }));
  const subnet = async (n: number) =>
    (
      await ec2.send(
        new CreateSubnetCommand({
          VpcId,
          CidrBlock: `10.0.${n}.0/24`,
          AvailabilityZone: `us-east-1${n % 2 === 0 ? 'a' : 'b'}`,
        }),
      )
    ).Subnet!.SubnetId!;
  const subnets = [await subnet(100), await subnet(101)];
  const balancer = (await elb.send(new CreateLoadBalancerCommand({ Name: 'b', Scheme: 'internal', Subnets: subnets })))
    .LoadBalancers![0]!.LoadBalancerArn!;
  const fixed = [{ Type: 'fixed-response' as const, FixedResponseConfig: { StatusCode: '404' } }];
  const listener = async (Port: number) =>
    (
      await elb.send(
        new CreateListenerCommand({ LoadBalancerArn: balancer, Port, Protocol: 'HTTP', DefaultActions: fixed }),
      )
    ).Listeners![0]!.ListenerArn!;
  const ListenerArn = await listener(80);
  const SecretId = (await secrets.send(new CreateSecretCommand({ Name: 'versions', SecretString: '-1' }))).ARN!;
  for (let n = 0; n < 11; n++) {
    await ec2.send(new CreateSecurityGroupCommand({ GroupName: `g${n}`, Description: 'x', VpcId }));
    if (n < 10) subnets.push(await subnet(n));
    if (n < 10) await listener(8000 + n);
    await elb.send(
      new CreateTargetGroupCommand({
        Name: `t${n}`,
        Protocol: 'HTTP',
        Port: 80,
        VpcId,
        TargetType: 'ip',
        Tags: [{ Key: 'a', Value: 'b' }],
      }),
    );
    await elb.send(
      new CreateRuleCommand({
        ListenerArn,
        Priority: n + 1,
        Conditions: [{ Field: 'path-pattern', Values: [`/${n}`] }],
        Actions: fixed,
      }),
    );
    await logs.send(new CreateLogGroupCommand({ logGroupName: `/l/${n}` }));
    await map.send(new CreateMapServiceCommand({ Name: `s${n}`, NamespaceId }));
    await secrets.send(new PutSecretValueCommand({ SecretId, SecretString: `${n}`, VersionStages: [`stage-${n}`] }));
    await secrets.send(new CreateSecretCommand({ Name: `s${n}`, SecretString: 'x' }));
    await ecs.send(new RegisterTaskDefinitionCommand(SMALLEST_TASK));
    await ecs.send(
      new CreateServiceCommand({
        cluster: 'c',
        serviceName: `s${n}`,
        taskDefinition: 'f',
        desiredCount: 0,
        launchType: 'FARGATE',
        networkConfiguration: { awsvpcConfiguration: { subnets: subnets.slice(0, 2) } },
      }),
    );
    await scaling.send(
      new RegisterScalableTargetCommand({
        ServiceNamespace: 'ecs',
        ResourceId: `service/c/s${n}`,
        ScalableDimension: 'ecs:service:DesiredCount',
        MinCapacity: 0,
        MaxCapacity: 1,
      }),
    );
    await ecr.send(new CreateRepositoryCommand({ repositoryName: `r${n}` }));
  }
  for (let n = 0; n < 22; n++)
    await rds.send(
      new CreateDBSubnetGroupCommand({
        DBSubnetGroupName: `n${n}`,
        DBSubnetGroupDescription: 'x',
        SubnetIds: subnets.slice(0, 2),
      }),
    );
  const Filters = [{ Name: 'vpc-id', Values: [VpcId] }];
  const API = 'https://docs.aws.amazon.com';
  return {
    'ec2 DescribeSecurityGroups': {
      page: `${API}/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html`,
      read: async (MaxResults, NextToken) => {
        const got = await ec2.send(new DescribeSecurityGroupsCommand({ Filters, MaxResults, NextToken }));
        return { rows: got.SecurityGroups!.map((one) => one.GroupId!), token: got.NextToken };
      },
      filtered: (NextToken) => ec2.send(new DescribeSecurityGroupsCommand({ MaxResults: 5, NextToken })),
      size: 5,
      sizes: [5, 5, 2],
      refused: 'InvalidPaginationToken',
    },
    'ec2 DescribeSubnets': {
      page: `${API}/AWSEC2/latest/APIReference/API_DescribeSubnets.html`,
      read: async (MaxResults, NextToken) => {
        const got = await ec2.send(new DescribeSubnetsCommand({ Filters, MaxResults, NextToken }));
        return { rows: got.Subnets!.map((one) => one.SubnetId!), token: got.NextToken };
      },
      filtered: (NextToken) => ec2.send(new DescribeSubnetsCommand({ MaxResults: 5, NextToken })),
      size: 6,
      sizes: [6, 6],
      refused: 'InvalidPaginationToken',
    },
    'elb DescribeTargetGroups': {
      page: `${API}/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html`,
      read: async (PageSize, Marker) => {
        const got = await elb.send(new DescribeTargetGroupsCommand({ PageSize, Marker }));
        return { rows: got.TargetGroups!.map((one) => one.TargetGroupName!), token: got.NextMarker };
      },
      filtered: (Marker) => elb.send(new DescribeTargetGroupsCommand({ Marker, Names: ['t1'] })),
      size: 4,
      sizes: [4, 4, 3],
      refused: 'ValidationError',
    },
    'elb DescribeListeners': {
      page: `${API}/elasticloadbalancing/latest/APIReference/API_DescribeListeners.html`,
      read: async (PageSize, Marker) => {
        const got = await elb.send(new DescribeListenersCommand({ LoadBalancerArn: balancer, PageSize, Marker }));
        return { rows: got.Listeners!.map((one) => String(one.Port)), token: got.NextMarker };
      },
      filtered: (Marker) => elb.send(new DescribeListenersCommand({ Marker, ListenerArns: [ListenerArn] })),
      size: 10,
      sizes: [10, 1],
      refused: 'ValidationError',
    },
    'elb DescribeRules': {
      page: `${API}/elasticloadbalancing/latest/APIReference/API_DescribeRules.html`,
      read: async (PageSize, Marker) => {
        const got = await elb.send(new DescribeRulesCommand({ ListenerArn, PageSize, Marker }));
        return { rows: got.Rules!.map((one) => one.Priority!), token: got.NextMarker };
      },
      filtered: async (Marker) =>
        elb
          .send(new DescribeRulesCommand({ Marker, ListenerArn: ListenerArn.replace(/.$/, 'x') }))
          .catch(() => elb.send(new DescribeTargetGroupsCommand({ Marker }))),
      size: 5,
      sizes: [5, 5, 2], // with the default rule
      refused: 'ValidationError',
    },
    'logs DescribeLogGroups': {
      page: `${API}/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html`,
      read: async (limit, nextToken) => {
        const got = await logs.send(new DescribeLogGroupsCommand({ limit, nextToken }));
        return { rows: got.logGroups!.map((one) => one.logGroupName!), token: got.nextToken };
      },
      filtered: (nextToken) => logs.send(new DescribeLogGroupsCommand({ nextToken, logGroupNamePrefix: '/l' })),
      size: 10,
      sizes: [10, 1],
      refused: 'InvalidParameterException',
      ordered: true,
    },
    'servicediscovery ListServices': {
      page: `${API}/cloud-map/latest/api/API_ListServices.html`,
      read: async (MaxResults, NextToken) => {
        const got = await map.send(new ListServicesCommand({ MaxResults, NextToken }));
        return { rows: got.Services!.map((one) => one.Name!), token: got.NextToken };
      },
      filtered: (NextToken) =>
        map.send(new ListServicesCommand({ NextToken, Filters: [{ Name: 'NAMESPACE_ID', Values: [NamespaceId] }] })),
      size: 10,
      sizes: [10, 1],
      refused: 'InvalidInput',
    },
    'secretsmanager ListSecretVersionIds': {
      page: `${API}/secretsmanager/latest/apireference/API_ListSecretVersionIds.html`,
      read: async (MaxResults, NextToken) => {
        const got = await secrets.send(new ListSecretVersionIdsCommand({ SecretId, MaxResults, NextToken }));
        return { rows: got.Versions!.map((one) => one.VersionStages![0]!), token: got.NextToken };
      },
      filtered: (NextToken) => secrets.send(new ListSecretVersionIdsCommand({ SecretId: 's1', NextToken })),
      size: 8,
      sizes: [8, 4],
      refused: 'InvalidNextTokenException',
    },
    'secretsmanager ListSecrets': {
      page: `${API}/secretsmanager/latest/apireference/API_ListSecrets.html`,
      read: async (MaxResults, NextToken) => {
        const got = await secrets.send(new ListSecretsCommand({ MaxResults, NextToken }));
        return { rows: got.SecretList!.map((one) => one.Name!), token: got.NextToken };
      },
      filtered: (NextToken) =>
        secrets.send(new ListSecretsCommand({ NextToken, Filters: [{ Key: 'name', Values: ['s'] }] })),
      size: 10,
      sizes: [10, 2],
      refused: 'InvalidNextTokenException',
      ordered: true,
    },
    // Ten when no size is asked for.
    'ecs ListServices': {
      page: `${API}/AmazonECS/latest/APIReference/API_ListServices.html`,
      read: async (maxResults, nextToken) => {
        const got = await ecs.send(new EcsListServicesCommand({ cluster: 'c', maxResults, nextToken }));
        return { rows: got.serviceArns!, token: got.nextToken };
      },
      filtered: (nextToken) => ecs.send(new EcsListServicesCommand({ cluster: 'c', launchType: 'FARGATE', nextToken })),
      size: 0,
      sizes: [10, 1],
      refused: 'InvalidParameterException',
    },
    'ecs ListTaskDefinitions': {
      page: `${API}/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html`,
      read: async (maxResults, nextToken) => {
        const got = await ecs.send(new ListTaskDefinitionsCommand({ maxResults, nextToken }));
        return { rows: got.taskDefinitionArns!, token: got.nextToken };
      },
      filtered: (nextToken) => ecs.send(new ListTaskDefinitionsCommand({ familyPrefix: 'f', nextToken })),
      size: 7,
      sizes: [7, 4],
      refused: 'InvalidParameterException',
      ordered: true,
    },
    'application-autoscaling DescribeScalableTargets': {
      page: `${API}/autoscaling/application/APIReference/API_DescribeScalableTargets.html`,
      read: async (MaxResults, NextToken) => {
        const got = await scaling.send(
          new DescribeScalableTargetsCommand({ ServiceNamespace: 'ecs', MaxResults, NextToken }),
        );
        return { rows: got.ScalableTargets!.map((one) => one.ResourceId!), token: got.NextToken };
      },
      filtered: (NextToken) =>
        scaling.send(
          new DescribeScalableTargetsCommand({ ServiceNamespace: 'ecs', ResourceIds: ['service/c/s1'], NextToken }),
        ),
      size: 6,
      sizes: [6, 5],
      refused: 'InvalidNextTokenException',
    },
    'ecr DescribeRepositories': {
      page: `${API}/AmazonECR/latest/APIReference/API_DescribeRepositories.html`,
      read: async (maxResults, nextToken) => {
        const got = await ecr.send(new DescribeRepositoriesCommand({ maxResults, nextToken }));
        return { rows: got.repositories!.map((one) => one.repositoryName!), token: got.nextToken };
      },
      filtered: (nextToken) => ecr.send(new DescribeRepositoriesCommand({ registryId: '222222222222', nextToken })),
      size: 10,
      sizes: [10, 1],
      refused: 'InvalidParameterException',
    },
    'rds DescribeDBSubnetGroups': {
      page: `${API}/AmazonRDS/latest/APIReference/API_DescribeDBSubnetGroups.html`,
      read: async (MaxRecords, Marker) => {
        const got = await rds.send(new DescribeDBSubnetGroupsCommand({ MaxRecords, Marker }));
        return { rows: got.DBSubnetGroups!.map((one) => one.DBSubnetGroupName!), token: got.Marker };
      },
      filtered: (Marker) => rds.send(new DescribeDBSubnetGroupsCommand({ DBSubnetGroupName: 'n1', Marker })),
      size: 20,
      sizes: [20, 2],
      refused: 'InvalidParameterValue',
    },
    'tag GetResources': {
      page: `${API}/resourcegroupstagging/latest/APIReference/API_GetResources.html`,
      read: async (ResourcesPerPage, PaginationToken) => {
        const got = await tagging.send(new GetResourcesCommand({ ResourcesPerPage, PaginationToken }));
        return {
          rows: got.ResourceTagMappingList!.map((one) => one.ResourceARN!),
          token: got.PaginationToken || undefined,
        };
      },
      filtered: (PaginationToken) =>
        tagging.send(new GetResourcesCommand({ PaginationToken, ResourceTypeFilters: ['rds'] })),
      size: 8,
      sizes: [8, 3],
      refused: 'InvalidParameterException',
      expired: 'PaginationTokenExpiredException',
    },
  };
}

test('lists', async (t) => {
  const lists = await scene();
  const open: [string, List, string][] = [];
  for (const [name, list] of Object.entries(lists)) {
    await t.test(`${name}: pages of the size that is asked for, each row once, in an order of their own`, async () => {
      const pages: Page[] = [];
      let token: string | undefined;
      do {
        pages.push(await list.read(list.size || undefined, token));
        token = pages.at(-1)!.token;
        if (token) assert.match(token, /^[^ ]{20,}$/, 'a token tells nothing');
      } while (token);
      assert.deepEqual(
        pages.map((page) => page.rows.length),
        list.sizes,
        list.page,
      );
      const rows = pages.flatMap((page) => page.rows);
      assert.equal(new Set(rows).size, rows.length);
      const number = (row: string) => Number(/(\d+)\D*$/.exec(row)?.[1]);
      if (!list.ordered && !rows[0]!.includes('-0'))
        assert.notDeepEqual(
          rows,
          rows.toSorted((a, b) => number(a) - number(b)),
        );
      const again = await list.read(list.size || undefined);
      assert.deepEqual(again.rows, pages[0]!.rows, 'the same order in every call');
      open.push([name, list, again.token!]);
    });
    await t.test(`${name}: a token is good for this list with these filters only`, async () => {
      const [, , token] = open.find(([one]) => one === name)!;
      for (const wrong of ['1', 'garbage', `${token}0`])
        await assert.rejects(list.read(list.size || undefined, wrong), { name: list.refused }, wrong);
      await assert.rejects(list.filtered(token), { name: list.refused });
    });
  }
  await account.skip(3600);
  for (const [name, list, token] of open)
    await t.test(`${name}: a token does not last`, () =>
      assert.rejects(list.read(list.size || undefined, token), { name: list.expired ?? list.refused }),
    );
});

test('a row that goes between two pages hides no other', async () => {
  const ecs = new ECSClient(options('222222222222'));
  const first = await ecs.send(new EcsListServicesCommand({ cluster: 'c' }));
  await ecs.send(new DeleteServiceCommand({ cluster: 'c', service: first.serviceArns!.at(-1)! }));
  const second = await ecs.send(new EcsListServicesCommand({ cluster: 'c', nextToken: first.nextToken }));
  assert.equal(second.serviceArns!.length, 1);
});

test('Cloud Map lists by filter', async () => {
  const other = { Filters: [{ Name: 'NAMESPACE_ID' as const, Values: ['ns-none'] }] };
  const map = new ServiceDiscoveryClient(options('222222222222'));
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
  const definition = await ecs.send(new RegisterTaskDefinitionCommand({ ...SMALLEST_TASK, tags }));
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
