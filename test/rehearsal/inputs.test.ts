/**
 * What AWS refuses, before anything happens: each row is a call that is wrong in one way, with AWS's code and words,
 * and the page that says so; the second tables are the same limits from inside, which must pass.
 */
import * as scaling from '@aws-sdk/client-application-auto-scaling';
import * as trail from '@aws-sdk/client-cloudtrail';
import * as logs from '@aws-sdk/client-cloudwatch-logs';
import * as ec2 from '@aws-sdk/client-ec2';
import * as ecr from '@aws-sdk/client-ecr';
import * as ecs from '@aws-sdk/client-ecs';
import * as elb from '@aws-sdk/client-elastic-load-balancing-v2';
import * as events from '@aws-sdk/client-eventbridge';
import * as iam from '@aws-sdk/client-iam';
import * as kms from '@aws-sdk/client-kms';
import * as rds from '@aws-sdk/client-rds';
import * as tagging from '@aws-sdk/client-resource-groups-tagging-api';
import * as secrets from '@aws-sdk/client-secrets-manager';
import * as map from '@aws-sdk/client-servicediscovery';
import * as sqs from '@aws-sdk/client-sqs';
import * as ssm from '@aws-sdk/client-ssm';
import * as sts from '@aws-sdk/client-sts';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';

const ACCOUNT = '260000000001';
const REGION = 'us-east-1';

/** Rows are wrong on purpose: no type of the SDK fits them. */
type Loose = any;
interface Sender {
  send(command: Loose): Promise<Loose>;
  destroy(): void;
}

/** Service: its client, its commands, where its actions are documented. */
const SERVICES: Record<string, { client: new (options: Loose) => Sender; of: Loose; pages: string }> = {
  ecs: { client: ecs.ECSClient, of: ecs, pages: 'AmazonECS/latest/APIReference/API_' },
  ec2: { client: ec2.EC2Client, of: ec2, pages: 'AWSEC2/latest/APIReference/API_' },
  ecr: { client: ecr.ECRClient, of: ecr, pages: 'AmazonECR/latest/APIReference/API_' },
  elb: {
    client: elb.ElasticLoadBalancingV2Client,
    of: elb,
    pages: 'elasticloadbalancing/latest/APIReference/API_',
  },
  events: { client: events.EventBridgeClient, of: events, pages: 'eventbridge/latest/APIReference/API_' },
  iam: { client: iam.IAMClient, of: iam, pages: 'IAM/latest/APIReference/API_' },
  kms: { client: kms.KMSClient, of: kms, pages: 'kms/latest/APIReference/API_' },
  logs: { client: logs.CloudWatchLogsClient, of: logs, pages: 'AmazonCloudWatchLogs/latest/APIReference/API_' },
  map: { client: map.ServiceDiscoveryClient, of: map, pages: 'cloud-map/latest/api/API_' },
  rds: { client: rds.RDSClient, of: rds, pages: 'AmazonRDS/latest/APIReference/API_' },
  scaling: {
    client: scaling.ApplicationAutoScalingClient,
    of: scaling,
    pages: 'autoscaling/application/APIReference/API_',
  },
  secrets: { client: secrets.SecretsManagerClient, of: secrets, pages: 'secretsmanager/latest/apireference/API_' },
  sqs: { client: sqs.SQSClient, of: sqs, pages: 'AWSSimpleQueueService/latest/APIReference/API_' },
  ssm: { client: ssm.SSMClient, of: ssm, pages: 'systems-manager/latest/APIReference/API_' },
  sts: { client: sts.STSClient, of: sts, pages: 'STS/latest/APIReference/API_' },
  trail: { client: trail.CloudTrailClient, of: trail, pages: 'awscloudtrail/latest/APIReference/API_' },
  tag: {
    client: tagging.ResourceGroupsTaggingAPIClient,
    of: tagging,
    pages: 'resourcegroupstagging/latest/APIReference/API_',
  },
};

let rehearsal: Rehearsal;
const clients: Record<string, Sender> = {};
const call = (service: string, action: string, input: object): Promise<Loose> =>
  clients[service]!.send(new SERVICES[service]!.of[`${action}Command`](input));

/** What the rows name; filled before the first of them. */
const scene = {
  vpc: '',
  other: '',
  subnets: [] as string[],
  sameZone: '',
  group: '',
  used: '',
  balancer: '',
  targets: '',
  loose: '',
  listener: '',
  rule: '',
  namespace: '',
  registry: '',
  definition: '',
  second: '',
  aside: '',
};

const numbered = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i));

const trust = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Service: 'ecs-tasks.amazonaws.com' }, Action: 'sts:AssumeRole' }],
});
const everyone = JSON.stringify({
  Version: '2012-10-17',
  Statement: numbered(40, () => ({ Effect: 'Allow', Principal: { AWS: ACCOUNT }, Action: 'sts:AssumeRole' })),
});
const on = (Resource: string) =>
  JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource }] });
const allow = (n: number) =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: 'ecs:*', Resource: Array.from({ length: n }, (_, i) => `arn:aws:x:::${i}`) },
    ],
  });
const letters = (n: number) => 'a'.repeat(n);
const TAGS = (n: number) => numbered(n, (i) => ({ Key: `k${i}`, Value: 'v' }));
const tags = (n: number) => numbered(n, (i) => ({ key: `k${i}`, value: 'v' }));
const container = (more: object = {}) => ({ name: 'app', image: 'public.ecr.aws/x/y', ...more });
const definition = (more: object = {}, ...containers: object[]) => ({
  family: 'given',
  networkMode: 'awsvpc',
  requiresCompatibilities: ['FARGATE'],
  cpu: '256',
  memory: '512',
  containerDefinitions: containers.length > 0 ? containers : [container()],
  ...more,
});
const network = (more: object = {}) => ({
  awsvpcConfiguration: { subnets: scene.subnets, securityGroups: [scene.group], ...more },
});
const service = (more: object = {}) => ({
  cluster: 'inputs',
  serviceName: 'given',
  taskDefinition: 'inputs',
  launchType: 'FARGATE',
  desiredCount: 0,
  networkConfiguration: network(),
  ...more,
});
const database = (more: object = {}) => ({
  DBInstanceIdentifier: 'given',
  DBInstanceClass: 'db.t4g.micro',
  Engine: 'postgres',
  AllocatedStorage: 20,
  MasterUsername: 'freehold',
  MasterUserPassword: 'long-enough',
  DBSubnetGroupName: 'inputs',
  ...more,
});
const balancer = (more: object = {}) => ({ Name: 'given', Scheme: 'internal', Subnets: scene.subnets, ...more });
const targetGroup = (more: object = {}) => ({
  Name: 'given',
  Protocol: 'HTTP',
  Port: 8000,
  VpcId: scene.vpc,
  TargetType: 'ip',
  ...more,
});
const forward = () => [{ Type: 'forward', TargetGroupArn: scene.targets }];
const path = (...Values: string[]) => [{ Field: 'path-pattern', Values }];
const rule = (more: object = {}) => ({
  ListenerArn: scene.listener,
  Priority: 77,
  Conditions: path('/given/*'),
  Actions: forward(),
  ...more,
});
const permission = (more: object = {}, groupId = scene.group) => ({
  GroupId: groupId,
  IpPermissions: [{ IpProtocol: 'tcp', FromPort: 443, ToPort: 443, IpRanges: [{ CidrIp: '10.9.0.0/16' }], ...more }],
});
const target = (more: object = {}) => ({
  ServiceNamespace: 'ecs',
  ResourceId: 'service/inputs/standing',
  ScalableDimension: 'ecs:service:DesiredCount',
  MinCapacity: 0,
  MaxCapacity: 4,
  ...more,
});
const MISSING = 'arn:aws:elasticloadbalancing:us-east-1:260000000001:';
const missing = {
  balancer: `${MISSING}loadbalancer/app/none/0123456789abcdef`,
  targets: `${MISSING}targetgroup/none/0123456789abcdef`,
  listener: `${MISSING}listener/app/none/0123456789abcdef/0123456789abcdef`,
  rule: `${MISSING}listener-rule/app/none/0123456789abcdef/0123456789abcdef/0123456789abcdef`,
};
const violates = (n: number) => new RegExp(`^${n} validation errors? detected: Value`);

/** What is wrong, the action, its input, AWS's code and words, and the page where the action's own does not say it. */
type Row = [what: string, action: string, input: () => object, code: string, message: RegExp, page?: string];
type Passing = [what: string, action: string, input: () => object];

// prettier-ignore
const REFUSED: Record<string, Row[]> = {
  ecs: [
    ['no service name', 'CreateService', () => service({ serviceName: undefined }), 'InvalidParameterException',
      /Value null at 'serviceName'/],
    ['a launch type that there is none of', 'CreateService', () => service({ launchType: 'LAMBDA' }),
      'InvalidParameterException', /'LAMBDA' at 'launchType' .* enum value set: \[EC2, FARGATE, EXTERNAL/],
    ['a scheduling strategy that there is none of', 'CreateService', () => service({ schedulingStrategy: 'SOME' }),
      'InvalidParameterException', /at 'schedulingStrategy'/],
    ['the daemon strategy on Fargate', 'CreateService', () => service({ schedulingStrategy: 'DAEMON' }),
      'InvalidParameterException', /daemon/i, 'AmazonECS/latest/developerguide/ecs_services.html'],
    ['public addresses neither on nor off', 'CreateService',
      () => service({ networkConfiguration: network({ assignPublicIp: 'YES' }) }), 'InvalidParameterException',
      /at 'networkConfiguration.awsvpcConfiguration.assignPublicIp'/],
    ['no subnets', 'CreateService', () => service({ networkConfiguration: { awsvpcConfiguration: {} } }),
      'InvalidParameterException', /Value null at 'networkConfiguration.awsvpcConfiguration.subnets'/],
    ['17 subnets', 'CreateService', () => service({ networkConfiguration: network({ subnets: numbered(17,
      (i) => `subnet-${i}`) }) }), 'InvalidParameterException', /subnets can have at most 16 items/,
      'AmazonECS/latest/APIReference/API_AwsVpcConfiguration.html'],
    ['six security groups', 'CreateService', () => service({ networkConfiguration: network({ securityGroups: numbered(6,
      () => scene.group) }) }), 'InvalidParameterException', /securityGroups can have at most 5 items/,
      'AmazonECS/latest/APIReference/API_AwsVpcConfiguration.html'],
    ['a security group that does not exist', 'CreateService',
      () => service({ networkConfiguration: network({ securityGroups: ['sg-0123456789abcdef0'] }) }),
      'InvalidParameterException', /InvalidGroup.NotFound/],
    ['a name with a dot', 'CreateService', () => service({ serviceName: 'a.b' }), 'InvalidParameterException',
      /service name/i],
    ['a name of 256 letters', 'CreateService', () => service({ serviceName: letters(256) }),
      'InvalidParameterException', /service name/i],
    ['a desired count below zero', 'CreateService', () => service({ desiredCount: -1 }), 'InvalidParameterException',
      /desiredCount/],
    ['six target groups', 'CreateService', () => service({ loadBalancers: numbered(6,
      () => ({ targetGroupArn: scene.targets, containerName: 'app', containerPort: 8000 })) }),
      'InvalidParameterException', /at most 5 items/,
      'AmazonECS/latest/developerguide/register-multiple-targetgroups.html'],
    ['two registries', 'CreateService', () => service({ serviceRegistries: [{ registryArn: 'a' },
      { registryArn: 'b' }] }), 'InvalidParameterException', /at most 1 items/],
    ['launch type and capacity providers at once', 'CreateService',
      () => service({ capacityProviderStrategy: [{ capacityProvider: 'FARGATE' }] }), 'InvalidParameterException',
      /both a launch type and capacity provider strategy/],
    ['a weight of 1,001', 'CreateService', () => service({ launchType: undefined,
      capacityProviderStrategy: [{ capacityProvider: 'FARGATE', weight: 1001 }] }), 'InvalidParameterException',
      /'capacityProviderStrategy.1.member.weight' .* less than or equal to 1000/,
      'AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html'],
    ['two bases', 'CreateService', () => service({ launchType: undefined,
      capacityProviderStrategy: [{ capacityProvider: 'FARGATE', weight: 1, base: 1 },
      { capacityProvider: 'FARGATE_SPOT', base: 1 }] }), 'InvalidParameterException', /base/,
      'AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html'],
    ['a breaker that does not say whether it rolls back', 'CreateService',
      () => service({ deploymentConfiguration: { deploymentCircuitBreaker: { enable: true } } }),
      'InvalidParameterException', /Value null at 'deploymentConfiguration.deploymentCircuitBreaker.rollback'/,
      'AmazonECS/latest/APIReference/API_DeploymentCircuitBreaker.html'],
    ['a deployment that can neither start nor stop a task', 'CreateService',
      () => service({ deploymentConfiguration: { maximumPercent: 100, minimumHealthyPercent: 100 } }),
      'InvalidParameterException', /cannot be 100 as this will block deployments/,
      'AmazonECS/latest/APIReference/API_DeploymentConfiguration.html'],
    ['51 tags', 'CreateService', () => service({ tags: tags(51) }), 'InvalidParameterException',
      /at 'tags' .* less than or equal to 50/],
    ['a tag that begins with aws:', 'CreateService', () => service({ tags: [{ key: 'aws:mine', value: 'x' }] }),
      'InvalidParameterException', /aws:/],
    ['one tag key twice', 'CreateService', () => service({ tags: [{ key: 'a', value: '1' }, { key: 'a',
      value: '2' }] }), 'InvalidParameterException', /Duplicate tag keys/],
    ['a tag key of 129 letters', 'CreateService', () => service({ tags: [{ key: letters(129), value: 'x' }] }),
      'InvalidParameterException', /at 'tags.1.member.key' .* length less than or equal to 128/],
    ['a tag value with a bracket', 'CreateService', () => service({ tags: [{ key: 'a', value: 'x[1]' }] }),
      'InvalidParameterException', /at 'tags.1.member.value' .* regular expression/,
      'AmazonECS/latest/APIReference/API_Tag.html'],
    ['a client token of 37 characters', 'CreateService', () => service({ clientToken: letters(37) }),
      'InvalidParameterException', /clientToken/],
    ['the name of a service that runs', 'CreateService', () => service({ serviceName: 'standing', desiredCount: 1 }),
      'InvalidParameterException', /not idempotent/],
    ['text where a number belongs', 'CreateService', () => service({ desiredCount: 'two' }), 'SerializationException',
      /STRING_VALUE can not be converted to an Integer/],
    ['a number where text belongs', 'CreateService', () => service({ taskDefinition: 7 }), 'SerializationException',
      /NUMBER_VALUE can not be converted to a String/],
    ['text where a list belongs', 'DescribeServices', () => ({ cluster: 'inputs', services: 'standing' }),
      'SerializationException', /list/],
    ['eleven services at once', 'DescribeServices', () => ({ cluster: 'inputs', services: numbered(11,
      (i) => `s${i}`) }), 'InvalidParameterException', /at most 10 items/],
    ['no services', 'DescribeServices', () => ({ cluster: 'inputs', services: [] }), 'InvalidParameterException',
      /cannot be empty/],
    ['something else than tags', 'DescribeServices', () => ({ cluster: 'inputs', services: ['standing'],
      include: ['EVENTS'] }), 'InvalidParameterException', /enum value set: \[TAGS\]/],
    ['101 tasks at once', 'DescribeTasks', () => ({ cluster: 'inputs', tasks: numbered(101, (i) => `t${i}`) }),
      'InvalidParameterException', /at most 100 items/],
    ['101 clusters at once', 'DescribeClusters', () => ({ clusters: numbered(101, (i) => `c${i}`) }),
      'InvalidParameterException', /at most 100 items/],
    ['a page of 101', 'ListServices', () => ({ cluster: 'inputs', maxResults: 101 }), 'InvalidParameterException',
      /maxResults/],
    ['a page of none', 'ListTasks', () => ({ cluster: 'inputs', maxResults: 0 }), 'InvalidParameterException',
      /maxResults/],
    ['a status that a task cannot be wished', 'ListTasks', () => ({ cluster: 'inputs', desiredStatus: 'DEAD' }),
      'InvalidParameterException', /at 'desiredStatus'/],
    ['a cluster with a space', 'CreateCluster', () => ({ clusterName: 'a b' }), 'InvalidParameterException',
      /Cluster must match/],
    ['a cluster that does not exist', 'ListServices', () => ({ cluster: 'none' }), 'ClusterNotFoundException',
      /Cluster not found/],
    ['a cluster with services', 'DeleteCluster', () => ({ cluster: 'inputs' }), 'ClusterContainsServicesException',
      /while Services are active/],
    ['a definition without a family', 'RegisterTaskDefinition', () => definition({ family: undefined }),
      'ClientException', /[Ff]amily/],
    ['a family with a slash', 'RegisterTaskDefinition', () => definition({ family: 'a/b' }), 'ClientException',
      /Family contains invalid characters/],
    ['a network mode that there is none of', 'RegisterTaskDefinition', () => definition({ networkMode: 'fast' }),
      'ClientException', /at 'networkMode'/],
    ['0.25 vCPU with 99,999 MiB', 'RegisterTaskDefinition', () => definition({ memory: '99999' }), 'ClientException',
      /No Fargate configuration exists/, 'AmazonECS/latest/developerguide/fargate-tasks-services.html'],
    ['4 vCPU with 7 GB', 'RegisterTaskDefinition', () => definition({ cpu: '4096', memory: '7168' }), 'ClientException',
      /No Fargate configuration exists/, 'AmazonECS/latest/developerguide/fargate-tasks-services.html'],
    ['8 vCPU with 18 GB, between two steps', 'RegisterTaskDefinition', () => definition({ cpu: '8192',
      memory: '18432' }), 'ClientException', /No Fargate configuration exists/,
      'AmazonECS/latest/developerguide/fargate-tasks-services.html'],
    ['eleven containers', 'RegisterTaskDefinition', () => definition({}, ...numbered(11,
      (i) => container({ name: `c${i}` }))), 'ClientException', /at most 10/,
      'AmazonECS/latest/developerguide/service-quotas.html'],
    ['more than 64 KiB', 'RegisterTaskDefinition', () => definition({}, container({ environment: [{ name: 'A',
      value: letters(65_536) }] })), 'ClientException', /Max allowed length is '65536' bytes/,
      'AmazonECS/latest/developerguide/service-quotas.html'],
    ['a privileged container', 'RegisterTaskDefinition', () => definition({}, container({ privileged: true })),
      'ClientException', /privileged/, 'AmazonECS/latest/developerguide/fargate-tasks-services.html'],
    ['a log driver that Fargate does not have', 'RegisterTaskDefinition', () => definition({},
      container({ logConfiguration: { logDriver: 'syslog' } })), 'ClientException', /log driver/,
      'AmazonECS/latest/developerguide/fargate-tasks-services.html'],
    ['a log driver that there is none of', 'RegisterTaskDefinition', () => definition({},
      container({ logConfiguration: { logDriver: 'paper' } })), 'ClientException',
      /containerDefinitions.1.member.logConfiguration.logDriver/],
    ['a secret without a source', 'RegisterTaskDefinition', () => definition({},
      container({ secrets: [{ name: 'A' }] })), 'ClientException',
      /Value null at 'containerDefinitions.1.member.secrets.1.member.valueFrom'/,
      'AmazonECS/latest/APIReference/API_Secret.html'],
    ['a container of 5 MiB', 'RegisterTaskDefinition', () => definition({}, container({ memory: 5 })),
      'ClientException', /memory/, 'AmazonECS/latest/APIReference/API_ContainerDefinition.html'],
    ['20 GiB of ephemeral storage', 'RegisterTaskDefinition', () => definition({ ephemeralStorage: { sizeInGiB: 20 } }),
      'ClientException', /between 21 and 200/, 'AmazonECS/latest/APIReference/API_EphemeralStorage.html'],
    ['placement constraints on Fargate', 'RegisterTaskDefinition',
      () => definition({ placementConstraints: [{ type: 'memberOf', expression: 'x' }] }), 'ClientException',
      /placement constraints/, 'AmazonECS/latest/developerguide/fargate-tasks-services.html'],
    ['a definition without its revision', 'DeregisterTaskDefinition', () => ({ taskDefinition: 'inputs' }),
      'InvalidParameterException', /revision/],
    ['eleven definitions', 'DeleteTaskDefinitions', () => ({ taskDefinitions: numbered(11, (i) => `x:${i}`) }),
      'InvalidParameterException', /at most 10 items/],
    ['eleven tasks', 'RunTask', () => ({ cluster: 'inputs', taskDefinition: 'inputs', launchType: 'FARGATE', count: 11,
      networkConfiguration: network() }), 'InvalidParameterException', /between 1 and 10/],
    ['a startedBy with a space', 'RunTask', () => ({ cluster: 'inputs', taskDefinition: 'inputs', launchType: 'FARGATE',
      startedBy: 'some one', networkConfiguration: network() }), 'InvalidParameterException', /startedBy/],
    ['overrides of more than 8 KiB', 'RunTask', () => ({ cluster: 'inputs', taskDefinition: 'inputs',
      launchType: 'FARGATE', networkConfiguration: network(), overrides: { containerOverrides: [{ name: 'app',
      environment: [{ name: 'A', value: letters(8193) }] }] } }), 'InvalidParameterException', /8192/],
    ['an override for no container', 'RunTask', () => ({ cluster: 'inputs', taskDefinition: 'inputs',
      launchType: 'FARGATE', networkConfiguration: network(), overrides: { containerOverrides: [{ name: 'none' }] } }),
      'InvalidParameterException', /not a container in the TaskDefinition/],
    ['a task that does not exist', 'StopTask', () => ({ cluster: 'inputs', task: letters(32) }),
      'InvalidParameterException', /task was not found/],
    ['protection for longer than 48 hours', 'UpdateTaskProtection', () => ({ cluster: 'inputs', tasks: ['a'],
      protectionEnabled: true, expiresInMinutes: 2881 }), 'InvalidParameterException', /2,880/],
    ['protection that is neither on nor off', 'UpdateTaskProtection', () => ({ cluster: 'inputs', tasks: ['a'] }),
      'InvalidParameterException', /Value null at 'protectionEnabled'/],
    ['a service that is scaled above zero', 'DeleteService', () => ({ cluster: 'inputs', service: 'standing' }),
      'InvalidParameterException', /scaled above 0/],
    ['a service that does not exist', 'UpdateService', () => ({ cluster: 'inputs', service: 'none', desiredCount: 1 }),
      'ServiceNotFoundException', /Service not found/],
    ['a definition that does not exist', 'UpdateService', () => ({ cluster: 'inputs', service: 'standing',
      taskDefinition: 'none' }), 'ClientException', /not found/],
  ],
  ec2: [
    ['no description', 'CreateSecurityGroup', () => ({ GroupName: 'given', VpcId: scene.vpc }), 'MissingParameter',
      /must contain the parameter GroupDescription/],
    ['no name', 'CreateSecurityGroup', () => ({ Description: 'x', VpcId: scene.vpc }), 'MissingParameter',
      /must contain the parameter GroupName/],
    ['a name of 256 letters', 'CreateSecurityGroup', () => ({ GroupName: letters(256), Description: 'x',
      VpcId: scene.vpc }), 'InvalidParameterValue', /GroupName/],
    ['a name like an id', 'CreateSecurityGroup', () => ({ GroupName: 'sg-mine', Description: 'x', VpcId: scene.vpc }),
      'InvalidParameterValue', /GroupName/],
    ['the name default', 'CreateSecurityGroup', () => ({ GroupName: 'default', Description: 'x', VpcId: scene.vpc }),
      'InvalidGroup.Reserved', /reserved/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a description beyond ASCII', 'CreateSecurityGroup', () => ({ GroupName: 'given', Description: 'für',
      VpcId: scene.vpc }), 'InvalidParameterValue', /beyond ASCII/],
    ['a description of 256 letters', 'CreateSecurityGroup', () => ({ GroupName: 'given', Description: letters(256),
      VpcId: scene.vpc }), 'InvalidParameterValue', /GroupDescription/],
    ['a VPC that does not exist', 'CreateSecurityGroup', () => ({ GroupName: 'given', Description: 'x',
      VpcId: 'vpc-0123456789abcdef0' }), 'InvalidVpcID.NotFound', /vpc-0123456789abcdef0' does not exist/,
      'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a VPC id that cannot be one', 'CreateSecurityGroup', () => ({ GroupName: 'given', Description: 'x',
      VpcId: 'mine' }), 'InvalidVpcID.Malformed', /expecting "vpc-/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a name that is taken in this VPC', 'CreateSecurityGroup', () => ({ GroupName: 'inputs', Description: 'x',
      VpcId: scene.vpc }), 'InvalidGroup.Duplicate', /already exists/,
      'AWSEC2/latest/APIReference/errors-overview.html'],
    ['51 tags', 'CreateSecurityGroup', () => ({ GroupName: 'given', Description: 'x', VpcId: scene.vpc,
      TagSpecifications: [{ ResourceType: 'security-group', Tags: TAGS(51) }] }), 'TagLimitExceeded', /50/,
      'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a tag that begins with aws:', 'CreateSecurityGroup', () => ({ GroupName: 'given', Description: 'x',
      VpcId: scene.vpc, TagSpecifications: [{ ResourceType: 'security-group', Tags: [{ Key: 'aws:mine',
      Value: '' }] }] }), 'InvalidParameterValue', /'aws:' are reserved/, 'AWSEC2/latest/UserGuide/Using_Tags.html'],
    ['a kind of resource that there is none of', 'CreateSecurityGroup', () => ({ GroupName: 'given', Description: 'x',
      VpcId: scene.vpc, TagSpecifications: [{ ResourceType: 'group', Tags: TAGS(1) }] }), 'InvalidParameterValue',
      /TagSpecifications/],
    ['a tag key of 129 letters', 'CreateTags', () => ({ Resources: [scene.group], Tags: [{ Key: letters(129),
      Value: '' }] }), 'InvalidParameterValue', /128 characters/, 'AWSEC2/latest/UserGuide/Using_Tags.html'],
    ['a tag value of 257 letters', 'CreateTags', () => ({ Resources: [scene.group], Tags: [{ Key: 'a',
      Value: letters(257) }] }), 'InvalidParameterValue', /256 characters/, 'AWSEC2/latest/UserGuide/Using_Tags.html'],
    ['one tag key twice', 'CreateTags', () => ({ Resources: [scene.group], Tags: [{ Key: 'a', Value: '1' }, { Key: 'a',
      Value: '2' }] }), 'InvalidParameterValue', /Duplicate tag key 'a'/, 'AWSEC2/latest/UserGuide/Using_Tags.html'],
    ['tags of a group that does not exist', 'CreateTags', () => ({ Resources: ['sg-0123456789abcdef0'],
      Tags: TAGS(1) }), 'InvalidGroup.NotFound', /does not exist/],
    ['tags of nothing', 'CreateTags', () => ({ Tags: TAGS(1) }), 'MissingParameter', /ResourceId/],
    ['tags of what is no id', 'CreateTags', () => ({ Resources: ['mine'], Tags: TAGS(1) }), 'InvalidID', /not valid/,
      'AWSEC2/latest/APIReference/errors-overview.html'],
    ['more than 50 tags together with those that are there', 'CreateTags', () => ({ Resources: [scene.group],
      Tags: TAGS(50) }), 'TagLimitExceeded', /50/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a group that does not exist', 'DescribeSecurityGroups', () => ({ GroupIds: ['sg-0123456789abcdef0'] }),
      'InvalidGroup.NotFound', /'sg-0123456789abcdef0' does not exist/,
      'AWSEC2/latest/APIReference/errors-overview.html'],
    ['one that exists and one that does not', 'DescribeSecurityGroups', () => ({ GroupIds: [scene.group,
      'sg-0123456789abcdef0'] }), 'InvalidGroup.NotFound', /does not exist/],
    ['a group id that cannot be one', 'DescribeSecurityGroups', () => ({ GroupIds: ['inputs'] }),
      'InvalidGroupId.Malformed', /expecting "sg-/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a filter that there is none of', 'DescribeSecurityGroups', () => ({ Filters: [{ Name: 'colour',
      Values: ['red'] }] }), 'InvalidParameterValue', /filter 'colour' is invalid/],
    ['201 values of a filter', 'DescribeSecurityGroups', () => ({ Filters: [{ Name: 'group-id', Values: numbered(201,
      (i) => `sg-${i}`) }] }), 'FilterLimitExceeded', /200/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a page of four', 'DescribeSecurityGroups', () => ({ MaxResults: 4 }), 'InvalidParameterValue',
      /MaxResults is invalid/],
    ['a page of 1,001', 'DescribeSubnets', () => ({ MaxResults: 1001 }), 'InvalidParameterValue',
      /MaxResults is invalid/],
    ['a page of text', 'DescribeSubnets', () => ({ MaxResults: 'ten' }), 'InvalidParameterValue', /MaxResults/],
    ['a subnet that does not exist', 'DescribeSubnets', () => ({ SubnetIds: ['subnet-0123456789abcdef0'] }),
      'InvalidSubnetID.NotFound', /does not exist/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a filter of another list', 'DescribeSubnets', () => ({ Filters: [{ Name: 'group-id', Values: ['x'] }] }),
      'InvalidParameterValue', /filter 'group-id' is invalid/],
    ['a VPC that does not exist', 'DescribeVpcs', () => ({ VpcIds: ['vpc-0123456789abcdef0'] }),
      'InvalidVpcID.NotFound', /does not exist/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a NAT gateway that does not exist', 'DescribeNatGateways', () => ({ NatGatewayIds: ['nat-0123456789abcdef0'] }),
      'NatGatewayNotFound', /not found/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a route table that does not exist', 'DescribeRouteTables', () => ({ RouteTableIds: ['rtb-0123456789abcdef0'] }),
      'InvalidRouteTableID.NotFound', /does not exist/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a rule without a group', 'AuthorizeSecurityGroupIngress', () => ({ ...permission(), GroupId: undefined }),
      'MissingParameter', /groupName or groupId/],
    ['a group without a rule', 'AuthorizeSecurityGroupIngress', () => ({ GroupId: scene.group }), 'MissingParameter',
      /ipPermissions/],
    ['a group that does not exist', 'AuthorizeSecurityGroupIngress', () => permission({}, 'sg-0123456789abcdef0'),
      'InvalidGroup.NotFound', /does not exist/],
    ['a peer that does not exist', 'AuthorizeSecurityGroupIngress', () => permission({ IpRanges: [],
      UserIdGroupPairs: [{ GroupId: 'sg-0123456789abcdef0' }] }), 'InvalidGroup.NotFound', /does not exist/],
    ['a protocol that there is none of', 'AuthorizeSecurityGroupIngress', () => permission({ IpProtocol: 'http' }),
      'InvalidPermission.Malformed', /protocol/, 'AWSEC2/latest/APIReference/API_IpPermission.html'],
    ['tcp without ports', 'AuthorizeSecurityGroupIngress', () => permission({ FromPort: undefined, ToPort: undefined }),
      'MissingParameter', /fromPort/, 'AWSEC2/latest/APIReference/API_IpPermission.html'],
    ['ports from high to low', 'AuthorizeSecurityGroupIngress', () => permission({ FromPort: 90, ToPort: 80 }),
      'InvalidParameterValue', /port range \(90:80\)/, 'AWSEC2/latest/APIReference/API_IpPermission.html'],
    ['port 70,000', 'AuthorizeSecurityGroupIngress', () => permission({ FromPort: 70_000, ToPort: 70_000 }),
      'InvalidParameterValue', /'70000' for portRange/, 'AWSEC2/latest/APIReference/API_IpPermission.html'],
    ['addresses that are none', 'AuthorizeSecurityGroupIngress',
      () => permission({ IpRanges: [{ CidrIp: '10.0.0.0/33' }] }), 'InvalidParameterValue', /10.0.0.0\/33 is malformed/,
      'AWSEC2/latest/APIReference/API_IpRange.html'],
    ['an address without its length', 'AuthorizeSecurityGroupIngress',
      () => permission({ IpRanges: [{ CidrIp: '10.0.0.1' }] }), 'InvalidParameterValue', /malformed/,
      'AWSEC2/latest/APIReference/API_IpRange.html'],
    ['a description of 256 letters for a rule', 'AuthorizeSecurityGroupIngress',
      () => permission({ IpRanges: [{ CidrIp: '10.0.0.0/8', Description: letters(256) }] }), 'InvalidParameterValue',
      /less than 256 characters/, 'AWSEC2/latest/APIReference/API_IpRange.html'],
    ['a rule that is there', 'AuthorizeSecurityGroupIngress',
      () => permission({ IpRanges: [{ CidrIp: '10.1.0.0/16' }] }), 'InvalidPermission.Duplicate', /already exists/,
      'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a rule that is not there', 'RevokeSecurityGroupIngress',
      () => permission({ IpRanges: [{ CidrIp: '10.2.0.0/16' }] }), 'InvalidPermission.NotFound',
      /does not exist in this security group/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a group that a load balancer has', 'DeleteSecurityGroup', () => ({ GroupId: scene.used }), 'DependencyViolation',
      /has a dependent object/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['a group that does not exist', 'DeleteSecurityGroup', () => ({ GroupId: 'sg-0123456789abcdef0' }),
      'InvalidGroup.NotFound', /does not exist/],
    ['no group', 'DeleteSecurityGroup', () => ({}), 'MissingParameter', /groupName or groupId/],
    ['a subnet that a load balancer is in', 'DeleteSubnet', () => ({ SubnetId: scene.subnets[0] }),
      'DependencyViolation', /dependencies/, 'AWSEC2/latest/APIReference/errors-overview.html'],
    ['only asking', 'CreateSecurityGroup', () => ({ GroupName: 'asked', Description: 'x', VpcId: scene.vpc,
      DryRun: true }), 'DryRunOperation', /would have succeeded, but DryRun flag is set/,
      'AWSEC2/latest/APIReference/CommonParameters.html'],
    ['only asking for a list', 'DescribeVpcs', () => ({ DryRun: true }), 'DryRunOperation', /would have succeeded/,
      'AWSEC2/latest/APIReference/CommonParameters.html'],
  ],
  elb: [
    ['a name of 33 letters', 'CreateTargetGroup', () => targetGroup({ Name: letters(33) }), 'ValidationError',
      /cannot be longer than '32' characters/],
    ['a name with an underscore', 'CreateTargetGroup', () => targetGroup({ Name: 'a_b' }), 'ValidationError',
      /alphanumeric characters and hyphens/],
    ['a name that begins with a hyphen', 'CreateTargetGroup', () => targetGroup({ Name: '-a' }), 'ValidationError',
      /cannot begin or end with '-'/],
    ['no port', 'CreateTargetGroup', () => targetGroup({ Port: undefined }), 'ValidationError',
      /port must be specified/],
    ['port 0', 'CreateTargetGroup', () => targetGroup({ Port: 0 }), 'ValidationError',
      /'0' at 'port' .* greater than or equal to 1/],
    ['port 65,536', 'CreateTargetGroup', () => targetGroup({ Port: 65_536 }), 'ValidationError',
      /at 'port' .* less than or equal to 65535/],
    ['a protocol that there is none of', 'CreateTargetGroup', () => targetGroup({ Protocol: 'GOPHER' }),
      'ValidationError', /'GOPHER' at 'protocol' .* enum value set/],
    ['no VPC', 'CreateTargetGroup', () => targetGroup({ VpcId: undefined }), 'ValidationError',
      /VPC ID must be specified/],
    ['a target type that there is none of', 'CreateTargetGroup', () => targetGroup({ TargetType: 'task' }),
      'ValidationError', /at 'targetType'/],
    ['an interval of 4 seconds', 'CreateTargetGroup', () => targetGroup({ HealthCheckIntervalSeconds: 4 }),
      'ValidationError', /'4' at 'healthCheckIntervalSeconds' .* greater than or equal to 5/],
    ['an interval of 301 seconds', 'CreateTargetGroup', () => targetGroup({ HealthCheckIntervalSeconds: 301 }),
      'ValidationError', /less than or equal to 300/],
    ['a time-out as long as the interval', 'CreateTargetGroup', () => targetGroup({ HealthCheckIntervalSeconds: 10,
      HealthCheckTimeoutSeconds: 10 }), 'ValidationError', /interval must be greater than the timeout/],
    ['a threshold of 1', 'CreateTargetGroup', () => targetGroup({ HealthyThresholdCount: 1 }), 'ValidationError',
      /at 'healthyThresholdCount'/],
    ['a health check path without a slash', 'CreateTargetGroup', () => targetGroup({ HealthCheckPath: 'ok' }),
      'ValidationError', /must begin with a '\/'/],
    ['health by 600', 'CreateTargetGroup', () => targetGroup({ Matcher: { HttpCode: '600' } }), 'ValidationError',
      /matcher/i],
    ['51 tags', 'CreateTargetGroup', () => targetGroup({ Tags: TAGS(51) }), 'TooManyTagsException', /limit/],
    ['a tag key with a bracket', 'CreateTargetGroup', () => targetGroup({ Tags: [{ Key: 'a[', Value: '' }] }),
      'ValidationError', /at 'tags.1.member.key' .* regular expression/],
    ['one tag key twice', 'CreateTargetGroup', () => targetGroup({ Tags: [{ Key: 'a' }, { Key: 'a' }] }),
      'DuplicateTagKeysException', /Duplicate/, 'elasticloadbalancing/latest/APIReference/API_AddTags.html'],
    ['two things wrong', 'CreateTargetGroup', () => targetGroup({ HealthyThresholdCount: 11,
      UnhealthyThresholdCount: 11 }), 'ValidationError', violates(2),
      'elasticloadbalancing/latest/APIReference/CommonErrors.html'],
    ['another port for a group of the same name', 'CreateTargetGroup', () => targetGroup({ Name: 'inputs',
      Port: 9000 }), 'DuplicateTargetGroupNameException', /different settings/],
    ['another protocol for a group of the same name', 'CreateTargetGroup', () => targetGroup({ Name: 'inputs',
      Protocol: 'HTTPS' }), 'DuplicateTargetGroupNameException', /different settings/],
    ['another VPC for a group of the same name', 'CreateTargetGroup', () => targetGroup({ Name: 'inputs',
      VpcId: scene.second }), 'DuplicateTargetGroupNameException', /different settings/],
    ['another target type for a group of the same name', 'CreateTargetGroup', () => targetGroup({ Name: 'inputs',
      TargetType: 'instance' }), 'DuplicateTargetGroupNameException', /different settings/],
    ['one that a rule forwards to', 'DeleteTargetGroup', () => ({ TargetGroupArn: scene.targets }),
      'ResourceInUseException', /in use by a listener or a rule/],
    ['an ARN that is none', 'DeleteTargetGroup', () => ({ TargetGroupArn: 'inputs' }), 'ValidationError',
      /not a valid target group ARN/],
    ['one that does not exist', 'DescribeTargetGroups', () => ({ TargetGroupArns: [missing.targets] }),
      'TargetGroupNotFoundException', /not found/],
    ['a name that does not exist', 'DescribeTargetGroups', () => ({ Names: ['none'] }), 'TargetGroupNotFoundException',
      /not found/],
    ['a page of none', 'DescribeTargetGroups', () => ({ PageSize: 0 }), 'ValidationError', /at 'pageSize'/],
    ['a page of 401', 'DescribeLoadBalancers', () => ({ PageSize: 401 }), 'ValidationError',
      /less than or equal to 400/],
    ['an unknown attribute', 'ModifyTargetGroupAttributes', () => ({ TargetGroupArn: scene.targets,
      Attributes: [{ Key: 'colour', Value: 'red' }] }), 'ValidationError', /not recognized/,
      'elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html'],
    ['a deregistration delay of 3,601', 'ModifyTargetGroupAttributes', () => ({ TargetGroupArn: scene.targets,
      Attributes: [{ Key: 'deregistration_delay.timeout_seconds', Value: '3601' }] }), 'ValidationError',
      /between '0' and '3600'/, 'elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html'],
    ['a load balancer called internal-…', 'CreateLoadBalancer', () => balancer({ Name: 'internal-x' }),
      'ValidationError', /cannot begin with 'internal-'/],
    ['a name of 33 letters', 'CreateLoadBalancer', () => balancer({ Name: letters(33) }), 'ValidationError',
      /cannot be longer than '32'/],
    ['one subnet', 'CreateLoadBalancer', () => balancer({ Subnets: scene.subnets.slice(0, 1) }), 'ValidationError',
      /two subnets in two different Availability Zones/],
    ['two subnets of one zone', 'CreateLoadBalancer', () => balancer({ Subnets: [scene.subnets[0], scene.sameZone] }),
      'ValidationError', /two different Availability Zones/],
    ['a subnet that does not exist', 'CreateLoadBalancer', () => balancer({ Subnets: [scene.subnets[0],
      'subnet-0123456789abcdef0'] }), 'SubnetNotFoundException', /does not exist/],
    ['a scheme that there is none of', 'CreateLoadBalancer', () => balancer({ Scheme: 'private' }), 'ValidationError',
      /at 'scheme'/],
    ['other settings for one of the same name', 'CreateLoadBalancer', () => balancer({ Name: 'inputs',
      Scheme: 'internet-facing' }), 'DuplicateLoadBalancerNameException', /different settings/],
    ['a security group of another VPC', 'CreateLoadBalancer', () => balancer({ SecurityGroups: [scene.other] }),
      'InvalidConfigurationRequestException', /does not belong to VPC/],
    ['one that is protected', 'DeleteLoadBalancer', () => ({ LoadBalancerArn: scene.balancer }),
      'OperationNotPermittedException', /deletion protection is enabled/],
    ['one that does not exist', 'DescribeLoadBalancers', () => ({ LoadBalancerArns: [missing.balancer] }),
      'LoadBalancerNotFoundException', /not found/],
    ['an idle time-out of 4,001', 'ModifyLoadBalancerAttributes', () => ({ LoadBalancerArn: scene.balancer,
      Attributes: [{ Key: 'idle_timeout.timeout_seconds', Value: '4001' }] }), 'ValidationError',
      /between '1' and '4000'/, 'elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html'],
    ['a port that is taken', 'CreateListener', () => ({ LoadBalancerArn: scene.balancer, Protocol: 'HTTP', Port: 80,
      DefaultActions: forward() }), 'DuplicateListenerException', /already exists on this port/],
    ['a target group of another load balancer', 'CreateListener', () => ({ LoadBalancerArn: scene.aside,
      Protocol: 'HTTP', Port: 80, DefaultActions: forward() }), 'TargetGroupAssociationLimitException', /load balancer/],
    ['HTTPS without a certificate', 'CreateListener', () => ({ LoadBalancerArn: scene.balancer, Protocol: 'HTTPS',
      Port: 443, DefaultActions: forward() }), 'CertificateNotFoundException', /certificate must be specified/],
    ['a certificate on HTTP', 'CreateListener', () => ({ LoadBalancerArn: scene.balancer, Protocol: 'HTTP', Port: 81,
      Certificates: [{ CertificateArn: 'arn:aws:acm:x' }], DefaultActions: forward() }),
      'InvalidConfigurationRequestException', /Certificates/],
    ['no action', 'CreateListener', () => ({ LoadBalancerArn: scene.balancer, Protocol: 'HTTP', Port: 81 }),
      'ValidationError', /Value null at 'defaultActions'/],
    ['a fixed response of 99', 'CreateListener', () => ({ LoadBalancerArn: scene.balancer, Protocol: 'HTTP', Port: 81,
      DefaultActions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '99' } }] }), 'ValidationError',
      /fixedResponseConfig.statusCode/, 'elasticloadbalancing/latest/APIReference/API_FixedResponseActionConfig.html'],
    ['a fixed response of 1,025 letters', 'CreateListener', () => ({ LoadBalancerArn: scene.balancer, Protocol: 'HTTP',
      Port: 81, DefaultActions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '404',
      MessageBody: letters(1025) } }] }), 'ValidationError', /messageBody' .* less than or equal to 1024/,
      'elasticloadbalancing/latest/APIReference/API_FixedResponseActionConfig.html'],
    ['a priority of 0', 'CreateRule', () => rule({ Priority: 0 }), 'ValidationError', /at 'priority'/],
    ['a priority of 50,001', 'CreateRule', () => rule({ Priority: 50_001 }), 'ValidationError',
      /at 'priority' .* less than or equal to 50000/],
    ['a priority that is taken', 'CreateRule', () => rule({ Priority: 1 }), 'PriorityInUseException',
      /'1' is currently in use/],
    ['no priority', 'CreateRule', () => rule({ Priority: undefined }), 'ValidationError', /Value null at 'priority'/],
    ['no condition', 'CreateRule', () => rule({ Conditions: [] }), 'ValidationError', /condition must be specified/i],
    ['a condition that there is none of', 'CreateRule', () => rule({ Conditions: [{ Field: 'colour',
      Values: ['red'] }] }), 'ValidationError', /Condition field 'colour'/,
      'elasticloadbalancing/latest/APIReference/API_RuleCondition.html'],
    ['a path of 129 letters', 'CreateRule', () => rule({ Conditions: path(`/${letters(128)}`) }), 'ValidationError',
      /128/, 'elasticloadbalancing/latest/APIReference/API_PathPatternConditionConfig.html'],
    ['a path with a space', 'CreateRule', () => rule({ Conditions: path('/a b') }), 'ValidationError',
      /invalid characters/, 'elasticloadbalancing/latest/APIReference/API_PathPatternConditionConfig.html'],
    ['six values', 'CreateRule', () => rule({ Conditions: path('/1', '/2', '/3', '/4', '/5', '/6') }), 'TooManyRules',
      /5 condition values/, 'elasticloadbalancing/latest/application/load-balancer-limits.html'],
    ['a target group that does not exist', 'CreateRule', () => rule({ Actions: [{ Type: 'forward',
      TargetGroupArn: missing.targets }] }), 'TargetGroupNotFoundException', /not found/],
    ['a weight of 1,000', 'CreateRule', () => rule({ Actions: [{ Type: 'forward',
      ForwardConfig: { TargetGroups: [{ TargetGroupArn: scene.targets, Weight: 1000 }] } }] }), 'ValidationError',
      /'0' and '999'/, 'elasticloadbalancing/latest/APIReference/API_TargetGroupTuple.html'],
    ['six target groups', 'CreateRule', () => rule({ Actions: [{ Type: 'forward',
      ForwardConfig: { TargetGroups: numbered(6, () => ({ TargetGroupArn: scene.targets })) } }] }),
      'TooManyTargetGroupsException', /5 target groups/,
      'elasticloadbalancing/latest/application/load-balancer-limits.html'],
    ['a listener that does not exist', 'CreateRule', () => rule({ ListenerArn: missing.listener }),
      'ListenerNotFoundException', /not found/],
    ['a rule that does not exist', 'DeleteRule', () => ({ RuleArn: missing.rule }), 'RuleNotFoundException',
      /not found/],
    ['a rule ARN that is none', 'DeleteRule', () => ({ RuleArn: 'mine' }), 'ValidationError', /not a valid/],
    ['a listener that does not exist', 'DeleteListener', () => ({ ListenerArn: missing.listener }),
      'ListenerNotFoundException', /not found/],
    ['tags of a group that does not exist', 'AddTags', () => ({ ResourceArns: [missing.targets], Tags: TAGS(1) }),
      'TargetGroupNotFoundException', /not found/],
    ['no tags', 'AddTags', () => ({ ResourceArns: [scene.targets] }), 'ValidationError', /Value null at 'tags'/],
    ['a tag that begins with aws:', 'AddTags', () => ({ ResourceArns: [scene.targets], Tags: [{ Key: 'aws:mine',
      Value: '' }] }), 'ValidationError', /aws:/],
    ['more than 50 tags together with those that are there', 'AddTags', () => ({ ResourceArns: [scene.targets],
      Tags: TAGS(50) }), 'TooManyTagsException', /limit/],
    ['tags of 21 things', 'DescribeTags', () => ({ ResourceArns: numbered(21, () => scene.targets) }),
      'ValidationError', /less than or equal to 20/],
    ['a target group that does not exist', 'DescribeTargetHealth', () => ({ TargetGroupArn: missing.targets }),
      'TargetGroupNotFoundException', /not found/],
    ['a target that is no address', 'RegisterTargets', () => ({ TargetGroupArn: scene.targets,
      Targets: [{ Id: 'i-0123' }] }), 'ValidationError', /not a valid IPv4 address/],
    ['no target', 'RegisterTargets', () => ({ TargetGroupArn: scene.targets }), 'ValidationError',
      /Value null at 'targets'/],
  ],
  rds: [
    ['no identifier', 'CreateDBInstance', () => database({ DBInstanceIdentifier: undefined }), 'MissingParameter',
      /must contain the parameter DBInstanceIdentifier/],
    ['no class', 'CreateDBInstance', () => database({ DBInstanceClass: undefined }), 'MissingParameter',
      /DBInstanceClass/],
    ['no engine', 'CreateDBInstance', () => database({ Engine: undefined }), 'MissingParameter', /Engine/],
    ['an identifier that begins with a digit', 'CreateDBInstance', () => database({ DBInstanceIdentifier: '1a' }),
      'InvalidParameterValue', /must begin with a letter/],
    ['an identifier with two hyphens together', 'CreateDBInstance', () => database({ DBInstanceIdentifier: 'a--b' }),
      'InvalidParameterValue', /two consecutive hyphens/],
    ['an identifier that ends with a hyphen', 'CreateDBInstance', () => database({ DBInstanceIdentifier: 'a-' }),
      'InvalidParameterValue', /must not end with a hyphen/],
    ['an identifier of 64 letters', 'CreateDBInstance', () => database({ DBInstanceIdentifier: letters(64) }),
      'InvalidParameterValue', /not a valid identifier/],
    ['an identifier with an underscore', 'CreateDBInstance', () => database({ DBInstanceIdentifier: 'a_b' }),
      'InvalidParameterValue', /not a valid identifier/],
    ['a class that there is none of', 'CreateDBInstance', () => database({ DBInstanceClass: 'db.huge' }),
      'InvalidParameterValue', /Invalid DB Instance class/],
    ['an engine that there is none of', 'CreateDBInstance', () => database({ Engine: 'access' }),
      'InvalidParameterValue', /Invalid DB engine/],
    ['a version that there is none of', 'CreateDBInstance', () => database({ EngineVersion: '9.1' }),
      'InvalidParameterCombination', /Cannot find version 9.1/],
    ['19 GiB', 'CreateDBInstance', () => database({ AllocatedStorage: 19 }), 'InvalidParameterValue',
      /Invalid storage size/],
    ['storage in words', 'CreateDBInstance', () => database({ AllocatedStorage: 'twenty' }), 'InvalidParameterValue',
      /AllocatedStorage/],
    ['a largest storage below the storage', 'CreateDBInstance', () => database({ MaxAllocatedStorage: 20 }),
      'InvalidParameterCombination', /at least 10%/, 'AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html'],
    ['a password of seven letters', 'CreateDBInstance', () => database({ MasterUserPassword: 'short12' }),
      'InvalidParameterValue', /shorter than 8 characters/],
    ['a password with an @', 'CreateDBInstance', () => database({ MasterUserPassword: 'long@enough' }),
      'InvalidParameterValue', /Only printable ASCII/],
    ['a user name that is reserved', 'CreateDBInstance', () => database({ MasterUsername: 'rdsadmin' }),
      'InvalidParameterValue', /reserved word/],
    ['a user name that begins with a digit', 'CreateDBInstance', () => database({ MasterUsername: '1a' }),
      'InvalidParameterValue', /must begin with a letter/],
    ['a database name with a hyphen', 'CreateDBInstance', () => database({ DBName: 'a-b' }), 'InvalidParameterValue',
      /DBName/],
    ['port 80', 'CreateDBInstance', () => database({ Port: 80 }), 'InvalidParameterValue', /port/i],
    ['backups for 36 days', 'CreateDBInstance', () => database({ BackupRetentionPeriod: 36 }), 'InvalidParameterValue',
      /between 0 and 35/],
    ['a backup window of 29 minutes', 'CreateDBInstance', () => database({ PreferredBackupWindow: '03:00-03:29' }),
      'InvalidParameterValue', /at least 30 minutes/],
    ['a backup window that is no time', 'CreateDBInstance', () => database({ PreferredBackupWindow: '3am' }),
      'InvalidParameterValue', /hh24:mi-hh24:mi/],
    ['a maintenance window without days', 'CreateDBInstance',
      () => database({ PreferredMaintenanceWindow: '03:00-04:00' }), 'InvalidParameterValue', /ddd:hh24:mi/],
    ['monitoring every two seconds', 'CreateDBInstance', () => database({ MonitoringInterval: 2 }),
      'InvalidParameterValue', /MonitoringInterval/],
    ['monitoring without a role', 'CreateDBInstance', () => database({ MonitoringInterval: 60 }),
      'InvalidParameterCombination', /MonitoringRoleARN/],
    ['two zones and one zone', 'CreateDBInstance', () => database({ MultiAZ: true, AvailabilityZone: 'us-east-1a' }),
      'InvalidParameterCombination', /Multi-AZ/],
    ['a key for what is not encrypted', 'CreateDBInstance', () => database({ KmsKeyId: 'x', StorageEncrypted: false }),
      'InvalidParameterCombination', /encrypted/],
    ['a subnet group that does not exist', 'CreateDBInstance', () => database({ DBSubnetGroupName: 'none' }),
      'DBSubnetGroupNotFoundFault', /does not exist/],
    ['a parameter group that does not exist', 'CreateDBInstance', () => database({ DBParameterGroupName: 'none' }),
      'DBParameterGroupNotFoundFault', /not found/],
    ['a security group that does not exist', 'CreateDBInstance',
      () => database({ VpcSecurityGroupIds: ['sg-0123456789abcdef0'] }), 'InvalidParameterValue',
      /Invalid security group/],
    ['a security group of another VPC', 'CreateDBInstance', () => database({ VpcSecurityGroupIds: [scene.other] }),
      'InvalidVPCNetworkStateFault', /different VPCs/],
    ['an identifier that is taken', 'CreateDBInstance', () => database({ DBInstanceIdentifier: 'inputs' }),
      'DBInstanceAlreadyExistsFault', /already exists/],
    ['an identifier that is taken, in capitals', 'CreateDBInstance', () => database({ DBInstanceIdentifier: 'INPUTS' }),
      'DBInstanceAlreadyExistsFault', /already exists/],
    ['51 tags', 'CreateDBInstance', () => database({ Tags: TAGS(51) }), 'InvalidParameterValue', /50 tags/,
      'AmazonRDS/latest/UserGuide/USER_Tagging.html'],
    ['a tag that begins with aws:', 'CreateDBInstance', () => database({ Tags: [{ Key: 'aws:mine', Value: '' }] }),
      'InvalidParameterValue', /aws:/, 'AmazonRDS/latest/UserGuide/USER_Tagging.html'],
    ['one that does not exist', 'DescribeDBInstances', () => ({ DBInstanceIdentifier: 'none' }),
      'DBInstanceNotFoundFault', /not found/],
    ['a page of 19', 'DescribeDBInstances', () => ({ MaxRecords: 19 }), 'InvalidParameterValue', /MaxRecords/],
    ['one that does not exist', 'ModifyDBInstance', () => ({ DBInstanceIdentifier: 'none',
      DBInstanceClass: 'db.t4g.small' }), 'DBInstanceNotFoundFault', /not found/],
    ['less storage', 'ModifyDBInstance', () => ({ DBInstanceIdentifier: 'inputs', AllocatedStorage: 20,
      ApplyImmediately: true }), 'InvalidParameterCombination', /Invalid storage size/],
    ['another major version without saying so', 'ModifyDBInstance', () => ({ DBInstanceIdentifier: 'inputs',
      EngineVersion: '18' }), 'InvalidParameterCombination', /AllowMajorVersionUpgrade/],
    ['another engine', 'ModifyDBInstance', () => ({ DBInstanceIdentifier: 'inputs', Engine: 'mysql' }),
      'InvalidParameterCombination', /Engine/],
    ['one that is protected', 'DeleteDBInstance', () => ({ DBInstanceIdentifier: 'inputs', SkipFinalSnapshot: true }),
      'InvalidParameterCombination', /Cannot delete protected DB Instance/],
    ['neither a snapshot nor none', 'DeleteDBInstance', () => ({ DBInstanceIdentifier: 'open' }),
      'InvalidParameterCombination', /FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot/],
    ['a snapshot and none', 'DeleteDBInstance', () => ({ DBInstanceIdentifier: 'open', SkipFinalSnapshot: true,
      FinalDBSnapshotIdentifier: 'x' }), 'InvalidParameterCombination', /can not be specified/],
    ['a snapshot name with a dot', 'DeleteDBInstance', () => ({ DBInstanceIdentifier: 'open',
      FinalDBSnapshotIdentifier: 'a.b' }), 'InvalidParameterValue', /FinalDBSnapshotIdentifier/],
    ['a snapshot name that is taken', 'DeleteDBInstance', () => ({ DBInstanceIdentifier: 'open',
      FinalDBSnapshotIdentifier: 'taken' }), 'DBSnapshotAlreadyExistsFault', /already exists/],
    ['one subnet', 'CreateDBSubnetGroup', () => ({ DBSubnetGroupName: 'given', DBSubnetGroupDescription: 'x',
      SubnetIds: scene.subnets.slice(0, 1) }), 'DBSubnetGroupDoesNotCoverEnoughAZs', /at least 2 AZs/],
    ['two subnets of one zone', 'CreateDBSubnetGroup', () => ({ DBSubnetGroupName: 'given',
      DBSubnetGroupDescription: 'x', SubnetIds: [scene.subnets[0], scene.sameZone] }),
      'DBSubnetGroupDoesNotCoverEnoughAZs', /at least 2 AZs/],
    ['no description', 'CreateDBSubnetGroup', () => ({ DBSubnetGroupName: 'given', SubnetIds: scene.subnets }),
      'MissingParameter', /DBSubnetGroupDescription/],
    ['the name default', 'CreateDBSubnetGroup', () => ({ DBSubnetGroupName: 'default', DBSubnetGroupDescription: 'x',
      SubnetIds: scene.subnets }), 'InvalidParameterValue', /DBSubnetGroupName/],
    ['a name that is taken', 'CreateDBSubnetGroup', () => ({ DBSubnetGroupName: 'inputs', DBSubnetGroupDescription: 'x',
      SubnetIds: scene.subnets }), 'DBSubnetGroupAlreadyExistsFault', /already exists/],
    ['a subnet that does not exist', 'CreateDBSubnetGroup', () => ({ DBSubnetGroupName: 'given',
      DBSubnetGroupDescription: 'x', SubnetIds: ['subnet-0123456789abcdef0', scene.subnets[0]] }), 'InvalidSubnet',
      /subnet/i],
    ['one that a database is in', 'DeleteDBSubnetGroup', () => ({ DBSubnetGroupName: 'inputs' }),
      'InvalidDBSubnetGroupStateFault', /still using it/],
    ['one that does not exist', 'DeleteDBSubnetGroup', () => ({ DBSubnetGroupName: 'none' }),
      'DBSubnetGroupNotFoundFault', /./],
    ['tags of a database that does not exist', 'AddTagsToResource',
      () => ({ ResourceName: `arn:aws:rds:us-east-1:${ACCOUNT}:db:none`, Tags: TAGS(1) }), 'DBInstanceNotFoundFault',
      /not found/],
    ['tags of what is no ARN', 'ListTagsForResource', () => ({ ResourceName: 'inputs' }), 'InvalidParameterValue',
      /Invalid resource name/],
    ['a snapshot of what does not exist', 'CreateDBSnapshot', () => ({ DBInstanceIdentifier: 'none',
      DBSnapshotIdentifier: 'x' }), 'DBInstanceNotFoundFault', /not found/],
    ['a snapshot that does not exist', 'DeleteDBSnapshot', () => ({ DBSnapshotIdentifier: 'none' }),
      'DBSnapshotNotFoundFault', /./],
  ],
  secrets: [
    ['no name', 'CreateSecret', () => ({ SecretString: 'x' }), 'ValidationException', /Value null at 'name'/],
    ['a name with a space', 'CreateSecret', () => ({ Name: 'a b', SecretString: 'x' }), 'ValidationException',
      /Invalid name/],
    ['a name of 513 letters', 'CreateSecret', () => ({ Name: letters(513), SecretString: 'x' }), 'ValidationException',
      /at 'name' .* less than or equal to 512/],
    ['65,537 bytes', 'CreateSecret', () => ({ Name: 'given', SecretString: letters(65_537) }), 'ValidationException',
      /'secretString' .* less than or equal to 65536/],
    ['32,769 characters of two bytes', 'CreateSecret', () => ({ Name: 'given', SecretString: 'é'.repeat(32_769) }),
      'ValidationException', /'secretString'/, 'secretsmanager/latest/userguide/reference_limits.html'],
    ['text and bytes', 'CreateSecret', () => ({ Name: 'given', SecretString: 'x', SecretBinary: new Uint8Array([1]) }),
      'InvalidParameterException', /both a binary secret value and a string/],
    ['a name that is taken', 'CreateSecret', () => ({ Name: 'inputs', SecretString: 'x' }), 'ResourceExistsException',
      /already exists/],
    ['a name that is to be deleted', 'CreateSecret', () => ({ Name: 'leaving', SecretString: 'x' }),
      'InvalidRequestException', /scheduled for deletion/],
    ['51 tags', 'CreateSecret', () => ({ Name: 'given', SecretString: 'x', Tags: TAGS(51) }),
      'InvalidParameterException', /50 tags/],
    ['a tag that begins with aws:', 'CreateSecret', () => ({ Name: 'given', SecretString: 'x', Tags: [{ Key: 'aws:mine',
      Value: '' }] }), 'InvalidParameterException', /aws:/],
    ['a tag key of 129 letters', 'CreateSecret', () => ({ Name: 'given', SecretString: 'x', Tags: [{ Key: letters(129),
      Value: '' }] }), 'ValidationException', /'tags.1.member.key'/],
    ['a description of 2,049 letters', 'CreateSecret', () => ({ Name: 'given', SecretString: 'x',
      Description: letters(2049) }), 'ValidationException', /'description' .* 2048/],
    ['a token of 31 letters', 'CreateSecret', () => ({ Name: 'given', SecretString: 'x',
      ClientRequestToken: letters(31) }), 'ValidationException', /'clientRequestToken' .* 32/],
    ['one that does not exist', 'GetSecretValue', () => ({ SecretId: 'none' }), 'ResourceNotFoundException',
      /can't find the specified secret/],
    ['one that is to be deleted', 'GetSecretValue', () => ({ SecretId: 'leaving' }), 'InvalidRequestException',
      /marked (for deletion|deleted)/],
    ['a stage that does not exist', 'GetSecretValue', () => ({ SecretId: 'inputs', VersionStage: 'NONE' }),
      'ResourceNotFoundException', /NONE/],
    ['no value', 'PutSecretValue', () => ({ SecretId: 'inputs' }), 'InvalidParameterException',
      /SecretString or SecretBinary/],
    ['one that is to be deleted', 'PutSecretValue', () => ({ SecretId: 'leaving', SecretString: 'y' }),
      'InvalidRequestException', /marked (for deletion|deleted)/],
    ['another value for the same token', 'PutSecretValue', () => ({ SecretId: 'inputs', SecretString: 'other',
      ClientRequestToken: 'the-token-of-the-first-version-00' }), 'ResourceExistsException', /token|version/i],
    ['a window of six days', 'DeleteSecret', () => ({ SecretId: 'inputs', RecoveryWindowInDays: 6 }),
      'InvalidParameterException', /between 7 and 30 days/],
    ['a window of 31 days', 'DeleteSecret', () => ({ SecretId: 'inputs', RecoveryWindowInDays: 31 }),
      'InvalidParameterException', /between 7 and 30 days/],
    ['a window and none', 'DeleteSecret', () => ({ SecretId: 'inputs', RecoveryWindowInDays: 7,
      ForceDeleteWithoutRecovery: true }), 'InvalidParameterException',
      /ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays/],
    ['one that does not exist', 'DescribeSecret', () => ({ SecretId: 'none' }), 'ResourceNotFoundException',
      /can't find/],
    ['more than 50 tags together with those that are there', 'TagResource', () => ({ SecretId: 'inputs',
      Tags: TAGS(50) }), 'InvalidParameterException', /50 tags/],
    ['a page of 101', 'ListSecrets', () => ({ MaxResults: 101 }), 'ValidationException', /'maxResults' .* 100/],
  ],
  logs: [
    ['a name with a space', 'CreateLogGroup', () => ({ logGroupName: 'a b' }), 'InvalidParameterException',
      /'logGroupName' .* regular expression/],
    ['a name of 513 letters', 'CreateLogGroup', () => ({ logGroupName: letters(513) }), 'InvalidParameterException',
      /'logGroupName' .* 512/],
    ['a name of AWS', 'CreateLogGroup', () => ({ logGroupName: 'aws/mine' }), 'InvalidParameterException', /reserved/,
      'AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html'],
    ['no name', 'CreateLogGroup', () => ({}), 'InvalidParameterException', /Value null at 'logGroupName'/],
    ['a name that is taken', 'CreateLogGroup', () => ({ logGroupName: '/inputs' }), 'ResourceAlreadyExistsException',
      /already exists/],
    ['a class that there is none of', 'CreateLogGroup', () => ({ logGroupName: '/given', logGroupClass: 'CHEAP' }),
      'InvalidParameterException', /'logGroupClass'/],
    ['a tag that begins with aws:', 'CreateLogGroup', () => ({ logGroupName: '/given', tags: { 'aws:mine': '' } }),
      'InvalidParameterException', /aws:/],
    ['51 tags', 'CreateLogGroup', () => ({ logGroupName: '/given', tags: Object.fromEntries(numbered(51,
      (i) => [`k${i}`, 'v'])) }), 'InvalidParameterException', /'tags' .* 50/],
    ['eight days', 'PutRetentionPolicy', () => ({ logGroupName: '/inputs', retentionInDays: 8 }),
      'InvalidParameterException', /'8' at 'retentionInDays' .* enum value set: \[1, 3, 5, 7, 14/],
    ['no days', 'PutRetentionPolicy', () => ({ logGroupName: '/inputs', retentionInDays: 0 }),
      'InvalidParameterException', /'retentionInDays'/],
    ['a group that does not exist', 'PutRetentionPolicy', () => ({ logGroupName: '/none', retentionInDays: 7 }),
      'ResourceNotFoundException', /does not exist/],
    ['a group that does not exist', 'DeleteLogGroup', () => ({ logGroupName: '/none' }), 'ResourceNotFoundException',
      /does not exist/],
    ['a page of 51', 'DescribeLogGroups', () => ({ limit: 51 }), 'InvalidParameterException', /'limit' .* 50/],
    ['an order by time with a prefix', 'DescribeLogStreams', () => ({ logGroupName: '/inputs', orderBy: 'LastEventTime',
      logStreamNamePrefix: 'a' }), 'InvalidParameterException', /Cannot order by LastEventTime/],
    ['no group', 'DescribeLogStreams', () => ({}), 'InvalidParameterException', /logGroupIdentifier or logGroupName/],
    ['a stream that does not exist', 'GetLogEvents', () => ({ logGroupName: '/inputs', logStreamName: 'none' }),
      'ResourceNotFoundException', /stream does not exist/],
    ['a page of 10,001', 'GetLogEvents', () => ({ logGroupName: '/inputs', logStreamName: 'none', limit: 10_001 }),
      'InvalidParameterException', /'limit' .* 10000/],
    ['a search of 10,001', 'FilterLogEvents', () => ({ logGroupName: '/inputs', limit: 10_001 }),
      'InvalidParameterException', /'limit' .* 10000/],
    ['a search by names and by prefix', 'FilterLogEvents', () => ({ logGroupName: '/inputs', logStreamNames: ['a'],
      logStreamNamePrefix: 'a' }), 'InvalidParameterException', /both/,
      'AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html'],
    ['a search backwards from 2023', 'FilterLogEvents', () => ({ logGroupName: '/inputs', startFromHead: false,
      startTime: Date.UTC(2023, 11, 31) }), 'InvalidParameterException', /2024/,
      'AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html'],
    ['a search with parentheses', 'FilterLogEvents', () => ({ logGroupName: '/inputs', filterPattern: '%(a)%' }),
      'InvalidParameterException', /regular expression/,
      'AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html'],
    ['a search for words', 'FilterLogEvents', () => ({ logGroupName: '/inputs', filterPattern: 'ERROR' }),
      'InvalidParameterException', /not emulated/, 'AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html'],
    ['a search of no stream', 'FilterLogEvents', () => ({ logGroupName: '/inputs', logStreamNames: ['none'] }),
      'ResourceNotFoundException', /stream does not exist/],
    ['a search of no group', 'FilterLogEvents', () => ({}), 'InvalidParameterException',
      /logGroupIdentifier or logGroupName/],
    ['a stream with a colon', 'CreateLogStream', () => ({ logGroupName: '/inputs', logStreamName: 'a:b' }),
      'InvalidParameterException', /'logStreamName'/],
  ],
  map: [
    ['a VPC that does not exist', 'CreatePrivateDnsNamespace', () => ({ Name: 'given.internal',
      Vpc: 'vpc-0123456789abcdef0' }), 'InvalidInput', /VPC/],
    ['a name with a space', 'CreatePrivateDnsNamespace', () => ({ Name: 'a b', Vpc: scene.vpc }), 'InvalidInput',
      /'name'/],
    ['no VPC', 'CreatePrivateDnsNamespace', () => ({ Name: 'given.internal' }), 'InvalidInput', /Value null at 'vpc'/],
    ['a name that is taken in this VPC', 'CreatePrivateDnsNamespace', () => ({ Name: 'inputs.internal',
      Vpc: scene.vpc }), 'NamespaceAlreadyExists', /already/],
    ['a namespace with services', 'DeleteNamespace', () => ({ Id: scene.namespace }), 'ResourceInUse', /services?/],
    ['another sort of a name that is taken', 'CreateService', () => ({ Name: 'standing', NamespaceId: scene.namespace,
      DnsConfig: { DnsRecords: [{ Type: 'SRV', TTL: 5 }] } }), 'ServiceAlreadyExists', /exists/],
    ['a namespace that does not exist', 'DeleteNamespace', () => ({ Id: 'ns-0123456789abcdef' }), 'NamespaceNotFound',
      /not found/i],
    ['a name with a space', 'CreateService', () => ({ Name: 'a b', NamespaceId: scene.namespace }), 'InvalidInput',
      /'name'/],
    ['a name that is taken', 'CreateService', () => ({ Name: 'standing', NamespaceId: scene.namespace,
      DnsConfig: { DnsRecords: [{ Type: 'A', TTL: 10 }] } }), 'ServiceAlreadyExists', /exists/],
    ['a namespace that does not exist', 'CreateService', () => ({ Name: 'given', NamespaceId: 'ns-0123456789abcdef' }),
      'NamespaceNotFound', /not found/i],
    ['a record type that there is none of', 'CreateService', () => ({ Name: 'given', NamespaceId: scene.namespace,
      DnsConfig: { DnsRecords: [{ Type: 'MX', TTL: 10 }] } }), 'InvalidInput', /'dnsConfig.dnsRecords.1.member.type'/],
    ['a record without its time to live', 'CreateService', () => ({ Name: 'given', NamespaceId: scene.namespace,
      DnsConfig: { DnsRecords: [{ Type: 'A' }] } }), 'InvalidInput',
      /Value null at 'dnsConfig.dnsRecords.1.member.tTL'/],
    ['CNAME together with A', 'CreateService', () => ({ Name: 'given', NamespaceId: scene.namespace,
      DnsConfig: { DnsRecords: [{ Type: 'A', TTL: 10 }, { Type: 'CNAME', TTL: 10 }] } }), 'InvalidInput', /combination/,
      'cloud-map/latest/api/API_DnsRecord.html'],
    ['health checks of both sorts', 'CreateService', () => ({ Name: 'given', NamespaceId: scene.namespace,
      HealthCheckConfig: { Type: 'HTTP' }, HealthCheckCustomConfig: {} }), 'InvalidInput', /not both/],
    ['51 tags', 'CreateService', () => ({ Name: 'given', NamespaceId: scene.namespace, Tags: TAGS(51) }),
      'TooManyTagsException', /50/],
    ['a tag that begins with aws:', 'TagResource',
      () => ({ ResourceARN: `arn:aws:servicediscovery:us-east-1:${ACCOUNT}:service/${scene.registry}`,
      Tags: [{ Key: 'aws:mine', Value: '' }] }), 'InvalidInput', /aws:/],
    ['a service that does not exist', 'GetService', () => ({ Id: 'srv-0123456789abcdef' }), 'ServiceNotFound',
      /not found/i],
    ['a service that does not exist', 'DeleteService', () => ({ Id: 'srv-0123456789abcdef' }), 'ServiceNotFound',
      /not found/i],
    ['a page of 101', 'ListServices', () => ({ MaxResults: 101 }), 'InvalidInput', /'maxResults' .* 100/],
  ],
  scaling: [
    ['a minimum above the maximum', 'RegisterScalableTarget', () => target({ MinCapacity: 5 }), 'ValidationException',
      /Maximum capacity cannot be less than minimum capacity/],
    ['a minimum below zero', 'RegisterScalableTarget', () => target({ MinCapacity: -1 }), 'ValidationException',
      /Minimum capacity cannot be less than 0/],
    ['no maximum for a new one', 'RegisterScalableTarget', () => target({ MaxCapacity: undefined }),
      'ValidationException', /MinCapacity and MaxCapacity are required/],
    ['no namespace', 'RegisterScalableTarget', () => target({ ServiceNamespace: undefined }), 'ValidationException',
      /Value null at 'serviceNamespace'/],
    ['a namespace that there is none of', 'RegisterScalableTarget', () => target({ ServiceNamespace: 'lambdas' }),
      'ValidationException', /'serviceNamespace' .* enum value set/],
    ['a dimension of another service', 'RegisterScalableTarget',
      () => target({ ScalableDimension: 'rds:cluster:ReadReplicaCount' }), 'ValidationException', /Unsupported/],
    ['a service that does not exist', 'RegisterScalableTarget', () => target({ ResourceId: 'service/inputs/none' }),
      'ValidationException', /ECS service doesn't exist/],
    ['one that is not registered', 'DeregisterScalableTarget', () => ({ ServiceNamespace: 'ecs',
      ResourceId: 'service/inputs/none', ScalableDimension: 'ecs:service:DesiredCount' }), 'ObjectNotFoundException',
      /No scalable target/],
    ['a policy without its configuration', 'PutScalingPolicy', () => ({ ...target({ MinCapacity: undefined,
      MaxCapacity: undefined }), PolicyName: 'p', PolicyType: 'TargetTrackingScaling' }), 'ValidationException',
      /cannot be null/],
    ['a page of text', 'DescribeScalableTargets', () => ({ ServiceNamespace: 'ecs', MaxResults: 'ten' }),
      'SerializationException', /Integer/],
  ],
  iam: [
    ['a name with a space', 'CreateRole', () => ({ RoleName: 'a b', AssumeRolePolicyDocument: trust }),
      'ValidationError', /'a b' at 'roleName' .* regular expression/],
    ['a name of 65 letters', 'CreateRole', () => ({ RoleName: letters(65), AssumeRolePolicyDocument: trust }),
      'ValidationError', /'roleName' .* 64/],
    ['no trust', 'CreateRole', () => ({ RoleName: 'given' }), 'ValidationError',
      /Value null at 'assumeRolePolicyDocument'/],
    ['sessions of 13 hours', 'CreateRole', () => ({ RoleName: 'given', AssumeRolePolicyDocument: trust,
      MaxSessionDuration: 46_800 }), 'ValidationError', /'maxSessionDuration' .* 43200/],
    ['a trust that is no JSON', 'CreateRole', () => ({ RoleName: 'given', AssumeRolePolicyDocument: 'everyone' }),
      'MalformedPolicyDocumentException', /./],
    ['a trust of more than 2,048 letters', 'CreateRole', () => ({ RoleName: 'given',
      AssumeRolePolicyDocument: everyone }), 'LimitExceededException', /2048/,
      'IAM/latest/UserGuide/reference_iam-quotas.html'],
    ['a name that is taken', 'CreateRole', () => ({ RoleName: 'inputs', AssumeRolePolicyDocument: trust }),
      'EntityAlreadyExistsException', /already exists/],
    ['51 tags', 'CreateRole', () => ({ RoleName: 'given', AssumeRolePolicyDocument: trust, Tags: TAGS(51) }),
      'ValidationError', /'tags' .* 50/],
    ['a tag that begins with aws:', 'CreateRole', () => ({ RoleName: 'given', AssumeRolePolicyDocument: trust,
      Tags: [{ Key: 'aws:mine', Value: '' }] }), 'InvalidInputException', /aws:/, 'IAM/latest/UserGuide/id_tags.html'],
    ['tag keys that differ in case only', 'CreateRole', () => ({ RoleName: 'given', AssumeRolePolicyDocument: trust,
      Tags: [{ Key: 'a', Value: '' }, { Key: 'A', Value: '' }] }), 'InvalidInputException', /case insensitive/,
      'IAM/latest/UserGuide/id_tags.html'],
    ['a managed policy of more than 6,144 letters', 'CreatePolicy', () => ({ PolicyName: 'given',
      PolicyDocument: allow(500) }), 'LimitExceededException', /6144/,
      'IAM/latest/UserGuide/reference_iam-quotas.html'],
    ['inline policies of more than 10,240 letters together', 'PutRolePolicy', () => ({ RoleName: 'inputs',
      PolicyName: 'second', PolicyDocument: allow(400) }), 'LimitExceededException', /10240/,
      'IAM/latest/UserGuide/reference_iam-quotas.html'],
    ['a role in any region', 'CreatePolicy', () => ({ PolicyName: 'given',
      PolicyDocument: on('arn:aws:iam:*:*:role/any') }), 'MalformedPolicyDocumentException', /region information/,
      'IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html'],
    ['objects in any region', 'PutRolePolicy', () => ({ RoleName: 'inputs', PolicyName: 'x',
      PolicyDocument: on('arn:aws:s3:*::any/*') }), 'MalformedPolicyDocumentException', /region information/,
      'IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html'],
    ['objects of any account', 'PutRolePolicy', () => ({ RoleName: 'inputs', PolicyName: 'x',
      PolicyDocument: on('arn:aws:s3::*:any/*') }), 'MalformedPolicyDocumentException', /account information/,
      'IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html'],
    ['a role that does not exist', 'PutRolePolicy', () => ({ RoleName: 'none', PolicyName: 'x',
      PolicyDocument: allow(1) }), 'NoSuchEntityException', /cannot be found/],
    ['a role that does not exist', 'GetRole', () => ({ RoleName: 'none' }), 'NoSuchEntityException',
      /cannot be found|not found/],
    ['a role with a policy', 'DeleteRole', () => ({ RoleName: 'inputs' }), 'DeleteConflictException',
      /must (delete|remove|detach)/],
    ['a policy ARN of ten letters', 'AttachRolePolicy', () => ({ RoleName: 'inputs', PolicyArn: letters(10) }),
      'ValidationError', /'policyArn' .* 20/],
    ['a page of none', 'ListRoles', () => ({ MaxItems: 0 }), 'ValidationError', /'maxItems'/],
    ['a page of text', 'ListRoles', () => ({ MaxItems: 'ten' }), 'MalformedInput', /MaxItems/],
  ],
  sts: [
    ['a session name with a space', 'AssumeRole', () => ({ RoleArn: `arn:aws:iam::${ACCOUNT}:role/inputs`,
      RoleSessionName: 'a b' }), 'ValidationError', /'roleSessionName'/],
    ['no session name', 'AssumeRole', () => ({ RoleArn: `arn:aws:iam::${ACCOUNT}:role/inputs` }), 'ValidationError',
      /'roleSessionName'/],
    ['899 seconds', 'AssumeRole', () => ({ RoleArn: `arn:aws:iam::${ACCOUNT}:role/inputs`, RoleSessionName: 'ab',
      DurationSeconds: 899 }), 'ValidationError', /'durationSeconds' .* 900/],
    ['43,201 seconds', 'AssumeRole', () => ({ RoleArn: `arn:aws:iam::${ACCOUNT}:role/inputs`, RoleSessionName: 'ab',
      DurationSeconds: 43_201 }), 'ValidationError', /'durationSeconds' .* 43200/],
    ['an ARN of ten letters', 'AssumeRole', () => ({ RoleArn: letters(10), RoleSessionName: 'ab' }), 'ValidationError',
      /'roleArn' .* 20/],
    ['51 tags', 'AssumeRole', () => ({ RoleArn: `arn:aws:iam::${ACCOUNT}:role/inputs`, RoleSessionName: 'ab',
      Tags: TAGS(51) }), 'ValidationError', /'tags' .* 50/],
    ['an external id of one letter', 'AssumeRole', () => ({ RoleArn: `arn:aws:iam::${ACCOUNT}:role/inputs`,
      RoleSessionName: 'ab', ExternalId: 'a' }), 'ValidationError', /'externalId'/],
  ],
  ecr: [
    ['a name with a capital', 'CreateRepository', () => ({ repositoryName: 'Mine' }), 'InvalidParameterException',
      /'repositoryName' failed to satisfy constraint: 'must satisfy regular expression/],
    ['a name of one letter', 'CreateRepository', () => ({ repositoryName: 'a' }), 'InvalidParameterException',
      /'repositoryName'/],
    ['a name that ends with a slash', 'CreateRepository', () => ({ repositoryName: 'mine/' }),
      'InvalidParameterException', /'repositoryName'/],
    ['a name that is taken', 'CreateRepository', () => ({ repositoryName: 'inputs' }),
      'RepositoryAlreadyExistsException', /already exists/],
    ['a mutability that there is none of', 'CreateRepository', () => ({ repositoryName: 'given',
      imageTagMutability: 'SOME' }), 'InvalidParameterException', /'imageTagMutability'/],
    ['one that does not exist', 'DescribeRepositories', () => ({ repositoryNames: ['none'] }),
      'RepositoryNotFoundException', /does not exist/],
    ['101 names', 'DescribeRepositories', () => ({ repositoryNames: numbered(101, (i) => `r${i}x`) }),
      'InvalidParameterException', /'repositoryNames'/],
    ['an account of eleven digits', 'DescribeRepositories', () => ({ registryId: '12345678901' }),
      'InvalidParameterException', /'registryId'/],
    ['one with images', 'DeleteRepository', () => ({ repositoryName: 'inputs' }), 'RepositoryNotEmptyException',
      /images/],
    ['101 images at once', 'BatchGetImage', () => ({ repositoryName: 'inputs', imageIds: numbered(101,
      (i) => ({ imageTag: `t${i}` })) }), 'InvalidParameterException', /'imageIds'/],
  ],
  tag: [
    ['a page of 101', 'GetResources', () => ({ ResourcesPerPage: 101 }), 'InvalidParameterException',
      /ResourcesPerPage/],
    ['tags a page that are no hundreds', 'GetResources', () => ({ TagsPerPage: 150 }), 'InvalidParameterException',
      /TagsPerPage/],
    ['51 filters', 'GetResources', () => ({ TagFilters: numbered(51, (i) => ({ Key: `k${i}` })) }),
      'InvalidParameterException', /'tagFilters' .* 50/],
    ['21 values of a filter', 'GetResources', () => ({ TagFilters: [{ Key: 'a', Values: numbered(21, String) }] }),
      'InvalidParameterException', /'tagFilters.1.member.values' .* 20/,
      'resourcegroupstagging/latest/APIReference/API_TagFilter.html'],
    ['ARNs together with filters', 'GetResources', () => ({ ResourceARNList: [scene.targets],
      TagFilters: [{ Key: 'a' }] }), 'InvalidParameterException', /ResourceARNList/],
  ],
  sqs: [
    ['a name with a space', 'CreateQueue', () => ({ QueueName: 'a b' }), 'InvalidParameterValue',
      /alphanumeric characters, hyphens, or underscores/],
    ['a name of 81 letters', 'CreateQueue', () => ({ QueueName: letters(81) }), 'InvalidParameterValue', /1 to 80/],
    ['eleven messages at once', 'ReceiveMessage', () => ({ QueueUrl: 'http://x/y', MaxNumberOfMessages: 11 }),
      'InvalidParameterValue', /<= 10/],
    ['a wait of 21 seconds', 'ReceiveMessage', () => ({ QueueUrl: 'http://x/y', WaitTimeSeconds: 21 }),
      'InvalidParameterValue', /<= 20/],
  ],
  ssm: [
    ['a name with a space', 'PutParameter', () => ({ Name: '/a b', Value: 'x', Type: 'String' }),
      'ValidationException', /letters, numbers/],
    ['a name of AWS', 'PutParameter', () => ({ Name: '/aws/mine', Value: 'x', Type: 'String' }),
      'AccessDeniedException', /No access to reserved parameter name: aws\/mine/],
    ['a name of SSM', 'PutParameter', () => ({ Name: '/ssm/mine', Value: 'x', Type: 'String' }), 'ValidationException',
      /can't be prefixed with "ssm"/],
    ['16 levels', 'PutParameter', () => ({ Name: '/a'.repeat(16), Value: 'x', Type: 'String' }),
      'HierarchyLevelLimitExceededException', /15 levels/],
    ['a type that there is none of', 'PutParameter', () => ({ Name: '/given', Value: 'x', Type: 'Number' }),
      'ValidationException', /'Number' at 'type'/],
    ['4,097 characters', 'PutParameter', () => ({ Name: '/given', Value: letters(4097), Type: 'String' }),
      'ValidationException', /4096/],
    ['no value', 'PutParameter', () => ({ Name: '/given', Type: 'String' }), 'ValidationException',
      /Value null at 'value'/],
    ['eleven names at once', 'GetParameters', () => ({ Names: numbered(11, (i) => `/p${i}`) }), 'ValidationException',
      /'names' .* 10/],
    ['one that does not exist', 'GetParameter', () => ({ Name: '/none' }), 'ParameterNotFound', /./],
  ],
  kms: [
    ['a use that there is none of', 'CreateKey', () => ({ KeyUsage: 'DOORS' }), 'ValidationException', /'keyUsage'/],
    ['a grant of what there is none of', 'CreateGrant', () => ({ KeyId: 'x', GranteePrincipal: 'y',
      Operations: ['Eat'] }), 'ValidationException', /'operations.1'/],
    ['a grant without operations', 'CreateGrant', () => ({ KeyId: 'x', GranteePrincipal: 'y' }), 'ValidationException',
      /Value null at 'operations'/],
    ['a key that does not exist', 'DescribeKey', () => ({ KeyId: '01234567-89ab-cdef-0123-456789abcdef' }),
      'NotFoundException', /./],
  ],
  events: [
    ['a name with a space', 'PutRule', () => ({ Name: 'a b', EventPattern: '{}' }), 'ValidationException', /'name'/],
    ['a name of 65 letters', 'PutRule', () => ({ Name: letters(65), EventPattern: '{}' }), 'ValidationException',
      /'name' .* 64/],
    ['neither pattern nor schedule', 'PutRule', () => ({ Name: 'given' }), 'ValidationException',
      /EventPattern or ScheduleExpression/],
    ['a target without an ARN', 'PutTargets', () => ({ Rule: 'given', Targets: [{ Id: 'a' }] }), 'ValidationException',
      /Value null at 'targets.1.member.arn'/],
  ],
  trail: [
    ['a page of 51', 'LookupEvents', () => ({ MaxResults: 51 }), 'InvalidMaxResultsException', /50/],
    ['an attribute that there is none of', 'LookupEvents',
      () => ({ LookupAttributes: [{ AttributeKey: 'Colour', AttributeValue: 'red' }] }),
      'InvalidLookupAttributesException', /'lookupAttributes.1.member.attributeKey'/],
  ],
};

// prettier-ignore
const PASSING: Record<string, Passing[]> = {
  ecs: [
    ['ten services at once', 'DescribeServices', () => ({ cluster: 'inputs', services: numbered(10, (i) => `s${i}`) })],
    ['100 tasks at once', 'DescribeTasks', () => ({ cluster: 'inputs', tasks: numbered(100, (i) => `t${i}`) })],
    ['a token', 'CreateService', () => service({ serviceName: 'once', clientToken: 'the-same' })],
    ['the same token again', 'CreateService', () => service({ serviceName: 'once', clientToken: 'the-same' })],
    ['a page of 100', 'ListServices', () => ({ cluster: 'inputs', maxResults: 100 })],
    ['a definition with 50 tags, 0.25 vCPU and 2 GB', 'RegisterTaskDefinition', () => definition({ memory: '2048',
      tags: tags(50) })],
    ['16 vCPU with 120 GB', 'RegisterTaskDefinition', () => definition({ cpu: '16384', memory: '122880' })],
    ['an unknown member, which AWS ignores', 'ListClusters', () => ({ colour: 'red' })],
    ['200 GiB of ephemeral storage', 'RegisterTaskDefinition',
      () => definition({ ephemeralStorage: { sizeInGiB: 200 } })],
    ['a name of 255 letters, 16 characters of every sort in a tag', 'CreateService',
      () => service({ serviceName: letters(255), tags: [{ key: 'añ 1_.:/=+-@', value: 'ß' }] })],
  ],
  ec2: [
    ['a name and a description of 255', 'CreateSecurityGroup', () => ({ GroupName: letters(255),
      Description: letters(255), VpcId: scene.vpc })],
    ['50 tags', 'CreateTags', () => ({ Resources: [scene.other], Tags: TAGS(50) })],
    ['a page of five', 'DescribeSecurityGroups', () => ({ MaxResults: 5 })],
    ['filters by tag', 'DescribeSubnets', () => ({ Filters: [{ Name: 'tag:any thing', Values: ['x'] },
      { Name: 'tag-key', Values: ['x'] }] })],
    ['all ports of all protocols', 'AuthorizeSecurityGroupIngress', () => permission({ IpProtocol: '-1',
      FromPort: undefined, ToPort: undefined })],
    ['port 0 to 65,535', 'AuthorizeSecurityGroupEgress', () => permission({ FromPort: 0, ToPort: 65_535,
      IpRanges: [{ CidrIp: '0.0.0.0/0', Description: letters(255) }] })],
  ],
  elb: [
    ['a name of 32 letters, the shortest interval', 'CreateTargetGroup', () => targetGroup({ Name: letters(32),
      HealthCheckIntervalSeconds: 5, HealthCheckTimeoutSeconds: 4 })],
    ['50 tags, the longest interval', 'CreateTargetGroup', () => targetGroup({ Name: 'fifty', Tags: TAGS(50),
      HealthCheckIntervalSeconds: 300 })],
    ['the same again', 'CreateTargetGroup', () => targetGroup({ Name: 'inputs' })],
    ['the last priority, five values, a path of 128', 'CreateRule', () => rule({ Priority: 50_000,
      Conditions: path('/1', '/2', '/3', '/4', `/${letters(127)}`) })],
    ['one that does not exist', 'DeleteTargetGroup', () => ({ TargetGroupArn: missing.targets })],
    ['a page of 400', 'DescribeTargetGroups', () => ({ PageSize: 400 })],
  ],
  rds: [
    ['an identifier of 63 letters, 50 tags, windows', 'CreateDBInstance',
      () => database({ DBInstanceIdentifier: letters(63), Tags: TAGS(50), MaxAllocatedStorage: 22,
      PreferredBackupWindow: '23:45-00:15', PreferredMaintenanceWindow: 'Sun:23:45-Mon:00:15', Port: 1150 })],
    ['a page of 20', 'DescribeDBInstances', () => ({ MaxRecords: 20 })],
    ['a subnet group with a dot and a space', 'CreateDBSubnetGroup', () => ({ DBSubnetGroupName: 'A b.c',
      DBSubnetGroupDescription: 'x', SubnetIds: scene.subnets })],
  ],
  secrets: [
    ['65,536 bytes under a name of every sort', 'CreateSecret', () => ({ Name: 'a/b_c+d=e.f@g!h-1',
      SecretString: letters(65_536) })],
    ['a window of seven days', 'DeleteSecret', () => ({ SecretId: 'a/b_c+d=e.f@g!h-1', RecoveryWindowInDays: 7 })],
    ['the same value for the same token', 'PutSecretValue', () => ({ SecretId: 'inputs', SecretString: 'x',
      ClientRequestToken: 'the-token-of-the-first-version-00' })],
  ],
  logs: [
    ['a name of 512 letters', 'CreateLogGroup', () => ({ logGroupName: `/aws/${letters(507)}` })],
    ['ten years', 'PutRetentionPolicy', () => ({ logGroupName: '/inputs', retentionInDays: 3653 })],
  ],
  map: [
    ['A and AAAA', 'CreateService', () => ({ Name: 'both', NamespaceId: scene.namespace,
      DnsConfig: { DnsRecords: [{ Type: 'A', TTL: 0 }, { Type: 'AAAA', TTL: 10 }] } })],
  ],
  scaling: [['as many at least as at most', 'RegisterScalableTarget', () => target({ MinCapacity: 4 })]],
  iam: [
    ['a managed policy of just under 6,144 letters', 'CreatePolicy', () => ({ PolicyName: 'long',
      PolicyDocument: allow(340) })],
    ['a name of 64 letters', 'CreateRole', () => ({ RoleName: letters(64), AssumeRolePolicyDocument: trust,
      MaxSessionDuration: 43_200, Tags: TAGS(50) })],
  ],
  ecr: [['a name with everything', 'CreateRepository', () => ({ repositoryName: 'a/b-c_d.e__f' })]],
  tag: [['a page of 100', 'GetResources', () => ({ ResourcesPerPage: 100 })]],
};

async function prepare(): Promise<void> {
  const zones = [`${REGION}a`, `${REGION}b`, `${REGION}a`];
  const vpcs = await Promise.all(
    ['10.7.0.0/16', '10.8.0.0/16'].map((CidrBlock) => call('ec2', 'CreateVpc', { CidrBlock })),
  );
  const [vpc, second] = vpcs.map((answer) => answer.Vpc.VpcId);
  scene.vpc = vpc;
  const subnets: string[] = [];
  for (const [i, AvailabilityZone] of zones.entries()) {
    const made = await call('ec2', 'CreateSubnet', { VpcId: vpc, CidrBlock: `10.7.${i}.0/24`, AvailabilityZone });
    subnets.push(made.Subnet.SubnetId);
  }
  scene.subnets = subnets.slice(0, 2);
  scene.sameZone = subnets[2]!;
  const group = async (GroupName: string, VpcId: string): Promise<string> =>
    (await call('ec2', 'CreateSecurityGroup', { GroupName, VpcId, Description: 'x' })).GroupId;
  scene.group = await group('inputs', vpc);
  scene.used = await group('used', vpc);
  scene.second = second;
  scene.other = await group('other', second);
  await call('ec2', 'CreateTags', { Resources: [scene.group], Tags: [{ Key: 'there', Value: 'x' }] });
  await call('ec2', 'AuthorizeSecurityGroupIngress', permission({ IpRanges: [{ CidrIp: '10.1.0.0/16' }] }));

  const made = await call('elb', 'CreateLoadBalancer', balancer({ Name: 'inputs', SecurityGroups: [scene.used] }));
  scene.balancer = made.LoadBalancers[0].LoadBalancerArn;
  scene.aside = (await call('elb', 'CreateLoadBalancer', balancer({ Name: 'aside' }))).LoadBalancers[0].LoadBalancerArn;
  const Attributes = [{ Key: 'deletion_protection.enabled', Value: 'true' }];
  await call('elb', 'ModifyLoadBalancerAttributes', { LoadBalancerArn: scene.balancer, Attributes });
  const tagged = targetGroup({ Name: 'inputs', Tags: [{ Key: 'there', Value: 'x' }] });
  scene.targets = (await call('elb', 'CreateTargetGroup', tagged)).TargetGroups[0].TargetGroupArn;
  const DefaultActions = [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '404' } }];
  const http = { LoadBalancerArn: scene.balancer, Protocol: 'HTTP', Port: 80, DefaultActions };
  scene.listener = (await call('elb', 'CreateListener', http)).Listeners[0].ListenerArn;
  scene.rule = (await call('elb', 'CreateRule', rule({ Priority: 1 }))).Rules[0].RuleArn;

  await call('ecs', 'CreateCluster', { clusterName: 'inputs' });
  await call('ecs', 'RegisterTaskDefinition', definition({ family: 'inputs' }));
  await call('ecs', 'CreateService', service({ serviceName: 'standing', desiredCount: 1 }));

  const { OperationId } = await call('map', 'CreatePrivateDnsNamespace', { Name: 'inputs.internal', Vpc: vpc });
  scene.namespace = await eventually('the namespace', async () => {
    const { Operation } = await call('map', 'GetOperation', { OperationId });
    return Operation.Status === 'SUCCESS' && Operation.Targets.NAMESPACE;
  });
  const standing = {
    Name: 'standing',
    NamespaceId: scene.namespace,
    DnsConfig: { DnsRecords: [{ Type: 'A', TTL: 5 }] },
  };
  scene.registry = (await call('map', 'CreateService', standing)).Service.Id;

  const subnetGroup = { DBSubnetGroupName: 'inputs', DBSubnetGroupDescription: 'x', SubnetIds: scene.subnets };
  await call('rds', 'CreateDBSubnetGroup', subnetGroup);
  const own = { AllocatedStorage: 30, EngineVersion: '17', BackupRetentionPeriod: 0 };
  await call('rds', 'CreateDBInstance', database({ ...own, DBInstanceIdentifier: 'inputs', DeletionProtection: true }));
  await call('rds', 'CreateDBInstance', database({ ...own, DBInstanceIdentifier: 'open' }));

  const ClientRequestToken = 'the-token-of-the-first-version-00';
  const Tags = [{ Key: 'there', Value: 'x' }];
  await call('secrets', 'CreateSecret', { Name: 'inputs', SecretString: 'x', ClientRequestToken, Tags });
  await call('secrets', 'CreateSecret', { Name: 'leaving', SecretString: 'x' });
  await call('secrets', 'DeleteSecret', { SecretId: 'leaving' });
  await call('logs', 'CreateLogGroup', { logGroupName: '/inputs' });
  await call('iam', 'CreateRole', { RoleName: 'inputs', AssumeRolePolicyDocument: trust });
  await call('iam', 'PutRolePolicy', { RoleName: 'inputs', PolicyName: 'first', PolicyDocument: allow(300) });
  const image = { account: ACCOUNT, region: REGION, repository: 'inputs', image: 'langgraph-server' };
  await rehearsal.pushImage(image);
  await eventually('the databases', async () => {
    const { DBInstances } = await call('rds', 'DescribeDBInstances', {});
    return DBInstances.every((one: Loose) => one.DBInstanceStatus === 'available');
  });
  await call('rds', 'CreateDBSnapshot', { DBInstanceIdentifier: 'open', DBSnapshotIdentifier: 'taken' });
  await eventually('the snapshot', async () => {
    const { DBInstances } = await call('rds', 'DescribeDBInstances', { DBInstanceIdentifier: 'open' });
    return DBInstances[0].DBInstanceStatus === 'available';
  });
}

/** All that the rows could have made or changed. */
async function everything(): Promise<object> {
  const lists: [string, string, object][] = [
    ['ecs', 'ListClusters', {}],
    ['ecs', 'ListServices', { cluster: 'inputs' }],
    ['ecs', 'ListTaskDefinitions', {}],
    ['ec2', 'DescribeSecurityGroups', {}],
    ['ec2', 'DescribeSubnets', {}],
    ['ec2', 'DescribeTags', {}],
    ['elb', 'DescribeLoadBalancers', {}],
    ['elb', 'DescribeTargetGroups', {}],
    ['elb', 'DescribeTargetGroupAttributes', { TargetGroupArn: scene.targets }],
    ['elb', 'DescribeListeners', { LoadBalancerArn: scene.balancer }],
    ['elb', 'DescribeRules', { ListenerArn: scene.listener }],
    ['elb', 'DescribeTags', { ResourceArns: [scene.targets] }],
    ['rds', 'DescribeDBInstances', {}],
    ['rds', 'DescribeDBSubnetGroups', {}],
    ['rds', 'DescribeDBSnapshots', {}],
    ['secrets', 'ListSecrets', { IncludePlannedDeletion: true }],
    ['logs', 'DescribeLogGroups', {}],
    ['map', 'ListNamespaces', {}],
    ['map', 'ListServices', {}],
    ['scaling', 'DescribeScalableTargets', { ServiceNamespace: 'ecs' }],
    ['iam', 'ListRoles', {}],
    ['iam', 'ListRolePolicies', { RoleName: 'inputs' }],
    ['ecr', 'DescribeRepositories', {}],
    ['sqs', 'ListQueues', {}],
  ];
  const answers = await Promise.all(lists.map(([on, action, input]) => call(on, action, input)));
  const sorted = (value: Loose): Loose =>
    Array.isArray(value)
      ? value.map(sorted).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
      : value;
  const told = answers.map((answer) =>
    Object.fromEntries(Object.entries(answer).map(([name, value]) => [name, sorted(value)])),
  );
  const passing = /^(\$metadata|LastAccessed|LatestRestorable|AvailableIp)/; // reading, waiting, tasks that start anew
  return JSON.parse(JSON.stringify(told, (name, value) => (passing.test(name) ? undefined : value)));
}

describe('inputs', { timeout: 60_000 }, () => {
  let asBefore: object;

  before(async () => {
    // One of its own: nothing here needs a server or a wait.
    rehearsal = await startRehearsal({ pace: 5000, timerPace: 100, postgres: '', throttle: false });
    const credentials = rehearsal.root(ACCOUNT);
    const options = { region: REGION, endpoint: rehearsal.endpoint, credentials, maxAttempts: 1 };
    for (const [name, { client }] of Object.entries(SERVICES)) clients[name] = new client(options);
    await prepare();
    asBefore = await everything();
  });
  after(async () => {
    for (const client of Object.values(clients)) client.destroy();
    await rehearsal.stop();
  });

  for (const [on, rows] of Object.entries(REFUSED))
    describe(`${on}: refused`, () => {
      for (const [what, action, input, code, message, page = `${SERVICES[on]!.pages}${action}.html`] of rows)
        test(`${action}: ${what}`, async () => {
          const error = await call(on, action, input()).then(
            () => assert.fail(`it was taken: https://docs.aws.amazon.com/${page}`),
            (thrown: Loose) => thrown,
          );
          assert.ok(
            [error.name, error.Code].includes(code),
            `${code}, not ${error.name}: ${error.message} (https://docs.aws.amazon.com/${page})`,
          );
          assert.match(error.message, message);
        });
    });

  test('what was refused has changed nothing', async () => {
    assert.deepEqual(await everything(), asBefore);
  });

  for (const [on, rows] of Object.entries(PASSING))
    describe(`${on}: just inside the limits`, () => {
      for (const [what, action, input] of rows) test(`${action}: ${what}`, () => call(on, action, input()));
    });

  /** What no SDK sends: the answer's status and text. */
  const raw = async (name: string, headers: Record<string, string>, body: string, key = ACCOUNT) => {
    const scope = `${key}/${new Date().toISOString().slice(0, 10).replaceAll('-', '')}/${REGION}/${name}/aws4_request`;
    const authorization = `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0`;
    const answer = await fetch(rehearsal.endpoint, { method: 'POST', headers: { ...headers, authorization }, body });
    return { status: answer.status, text: await answer.text() };
  };
  const form = (name: string, fields: Record<string, string>) =>
    raw(name, { 'content-type': 'application/x-www-form-urlencoded' }, new URLSearchParams(fields).toString());
  const json = (name: string, target: string, body: string) =>
    raw(name, { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target }, body);
  const stack = (StackName: string, more: Record<string, string>) =>
    form('cloudformation', { Action: 'CreateStack', Version: '2010-05-15', StackName, ...more });

  describe('what no SDK sends', () => {
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
    test('a body that is no JSON cannot be read', async () => {
      const { status, text } = await json('ecs', 'AmazonEC2ContainerServiceV20141113.ListClusters', '{"maxResults"');
      assert.equal(status, 400);
      assert.match(text, /SerializationException/);
    });

    test('null is nothing: a required member that is null is missing', async () => {
      const { text } = await json('ecs', 'AmazonEC2ContainerServiceV20141113.CreateService', '{"serviceName": null}');
      assert.match(text, /InvalidParameterException.*Value null at 'serviceName'/);
    });

    // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    test('EC2 refuses a parameter that it does not know', async () => {
      const { status, text } = await form('ec2', { Action: 'DescribeVpcs', Version: '2016-11-15', Colour: 'red' });
      assert.equal(status, 400);
      assert.match(text, /<Code>UnknownParameter<.*The parameter Colour is not recognized/);
    });

    // https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/CommonErrors.html
    test('RDS does not mind one', async () => {
      const { status } = await form('rds', { Action: 'DescribeDBInstances', Version: '2014-10-31', Colour: 'red' });
      assert.equal(status, 200);
    });

    // https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
    test('a new version of a secret needs a token, which the SDKs make', async () => {
      const body = JSON.stringify({ SecretId: 'inputs', SecretString: 'x' });
      assert.match((await json('secretsmanager', 'secretsmanager.PutSecretValue', body)).text, /ClientRequestToken/);
    });

    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    test('an alarm by the query protocol is checked as well', async () => {
      const fields = { Action: 'PutMetricAlarm', Version: '2010-08-01', AlarmName: 'given', Namespace: 'AWS/ECS' };
      const { text } = await form('monitoring', { ...fields, EvaluationPeriods: '0', ComparisonOperator: 'Above' });
      assert.match(text, /<Code>ValidationError</);
      assert.match(text, /'Above' at 'comparisonOperator'/);
    });
  });

  // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
  test('who may not make a call does not hear what is wrong with it', async () => {
    const document = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'ecs:*', Resource: '*' }] };
    const credentials = await rehearsal.createUser(ACCOUNT, 'narrow', document);
    const own = new iam.IAMClient({ region: REGION, endpoint: rehearsal.endpoint, credentials, maxAttempts: 1 });
    const wrong = own.send(new iam.CreateRoleCommand({ RoleName: 'a b', AssumeRolePolicyDocument: trust }));
    await assert.rejects(wrong, /not authorized to perform: iam:CreateRole/);
    own.destroy();
  });

  describe('what a stack makes is checked in the same way', () => {
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html
    test('a stack’s name', async () => {
      const { text } = await stack('a_b', { TemplateBody: '{}' });
      assert.match(text, /'a_b' at 'stackName' failed to satisfy constraint/);
    });

    test('a template of more than 51,200 bytes has to come from a bucket', async () => {
      const { text } = await stack('long', { TemplateBody: `{"Description": "${letters(51_200)}"}` });
      assert.match(text, /at 'templateBody' failed to satisfy constraint: Member must have length less than/);
    });

    const inline = numbered(4, (i) => ({ PolicyName: `p${i}`, PolicyDocument: JSON.parse(allow(200)) }));
    // prettier-ignore
    const failing: [what: string, Type: string, Properties: () => object, reason: RegExp][] = [
      // https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
      ['an interval of one second', 'ElasticLoadBalancingV2::TargetGroup',
        () => ({ ...targetGroup({ Name: 'stacked' }), HealthCheckIntervalSeconds: '1' }), /healthCheckIntervalSeconds/],
      // https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
      ['eight days of logs', 'Logs::LogGroup', () => ({ LogGroupName: '/stacked', RetentionInDays: 8 }),
        /retentionInDays/],
      // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
      ['inline policies that are too long together', 'IAM::Role',
        () => ({ RoleName: 'stacked', AssumeRolePolicyDocument: JSON.parse(trust), Policies: inline }), /10240/],
      ['a managed policy that is too long', 'IAM::ManagedPolicy',
        () => ({ ManagedPolicyName: 'stacked', PolicyDocument: JSON.parse(allow(500)) }), /6144/],
      // https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
      ['a repository in capitals', 'ECR::Repository', () => ({ RepositoryName: 'Stacked' }), /repositoryName/],
    ];
    for (const [n, [what, Type, Properties, reason]] of failing.entries())
      test(what, async () => {
        const StackName = `fails-${n}`;
        const template = { Resources: { Made: { Type: `AWS::${Type}`, Properties: Properties() } } };
        const Capabilities = { 'Capabilities.member.1': 'CAPABILITY_NAMED_IAM' };
        await stack(StackName, { TemplateBody: JSON.stringify(template), ...Capabilities });
        const events = await eventually('the stack has failed', async () => {
          const asked = { Action: 'DescribeStackEvents', Version: '2010-05-15', StackName };
          const { text } = await form('cloudformation', asked);
          return /ROLLBACK_COMPLETE/.test(text) && text;
        });
        assert.match(/<ResourceStatusReason>([^<]*Service: [^<]*)</.exec(events)?.[1] ?? '', reason);
      });
  });
});
