/** Reads that come too early see what was before; the clock is moved on instead of waited for. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ApplicationAutoScalingClient, RegisterScalableTargetCommand } from '@aws-sdk/client-application-auto-scaling';
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DeleteSecurityGroupCommand,
  DescribeSecurityGroupsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  ECSClient,
  ListServiceDeploymentsCommand,
  ListServicesCommand,
  ListTagsForResourceCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  TagResourceCommand,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs';
import {
  AddTagsCommand,
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateRuleCommand,
  CreateTargetGroupCommand,
  DeleteRuleCommand,
  DeleteTargetGroupCommand,
  DescribeRulesCommand,
  DescribeTagsCommand,
  DescribeTargetGroupAttributesCommand,
  DescribeTargetGroupsCommand,
  ElasticLoadBalancingV2Client,
  ModifyTargetGroupAttributesCommand,
  ModifyTargetGroupCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { GetResourcesCommand, ResourceGroupsTaggingAPIClient } from '@aws-sdk/client-resource-groups-tagging-api';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { SMALLEST_TASK } from '../support/requests.ts';

const ACCOUNT = '414141414141';
let account: Rehearsal;
let ec2: EC2Client;
let ecs: ECSClient;
let elb: ElasticLoadBalancingV2Client;
let scaling: ApplicationAutoScalingClient;
let tagging: ResourceGroupsTaggingAPIClient;
let VpcId: string;
let subnets: string[];
let ListenerArn: string;
before(async () => {
  account = await startRehearsal({ lag: true }); // at AWS's own pace
  const it = { endpoint: account.endpoint, region: 'us-east-1', credentials: account.root(ACCOUNT), maxAttempts: 1 };
  ec2 = new EC2Client(it);
  ecs = new ECSClient(it);
  elb = new ElasticLoadBalancingV2Client(it);
  scaling = new ApplicationAutoScalingClient(it);
  tagging = new ResourceGroupsTaggingAPIClient(it);
  VpcId = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
  subnets = [];
  for (const [n, zone] of ['a', 'b'].entries())
    subnets.push(
      (
        await ec2.send(
          new CreateSubnetCommand({ VpcId, CidrBlock: `10.0.${n}.0/24`, AvailabilityZone: `us-east-1${zone}` }),
        )
      ).Subnet!.SubnetId!,
    );
  const balancer = (await elb.send(new CreateLoadBalancerCommand({ Name: 'b', Scheme: 'internal', Subnets: subnets })))
    .LoadBalancers![0]!.LoadBalancerArn!;
  ListenerArn = (
    await elb.send(
      new CreateListenerCommand({ LoadBalancerArn: balancer, Port: 80, Protocol: 'HTTP', DefaultActions: FIXED }),
    )
  ).Listeners![0]!.ListenerArn!;
  await ecs.send(new CreateClusterCommand({ clusterName: 'c' }));
  for (let n = 0; n < 2; n++) await ecs.send(new RegisterTaskDefinitionCommand(SMALLEST_TASK));
  await account.skip(60);
});
after(() => account.stop());

const FIXED = [{ Type: 'fixed-response' as const, FixedResponseConfig: { StatusCode: '404' } }];
const group = async (GroupName: string) =>
  (await ec2.send(new CreateSecurityGroupCommand({ GroupName, Description: 'x', VpcId }))).GroupId!;
const groups = async (name: string) =>
  (await ec2.send(new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'group-name', Values: [name] }] })))
    .SecurityGroups!;
const targetGroup = async (Name: string) =>
  (
    await elb.send(
      new CreateTargetGroupCommand({
        Name,
        Protocol: 'HTTP',
        Port: 80,
        VpcId,
        TargetType: 'ip',
        Tags: [{ Key: 'a', Value: 'b' }],
      }),
    )
  ).TargetGroups![0]!.TargetGroupArn!;
const seenTargetGroup = async (Name: string) =>
  (await elb.send(new DescribeTargetGroupsCommand({ Names: [Name] }))).TargetGroups![0]!;
const service = async (serviceName: string) =>
  (
    await ecs.send(
      new CreateServiceCommand({
        cluster: 'c',
        serviceName,
        taskDefinition: 'f:1',
        desiredCount: 0,
        launchType: 'FARGATE',
        networkConfiguration: { awsvpcConfiguration: { subnets } },
        tags: [{ key: 'a', value: 'b' }],
      }),
    )
  ).service!.serviceArn!;
const seen = (name: string) =>
  ecs.send(new DescribeServicesCommand({ cluster: 'c', services: [name], include: ['TAGS'] }));
const tagged = async () =>
  (
    await tagging.send(new GetResourcesCommand({ TagFilters: [{ Key: 'a' }], ResourcesPerPage: 100 }))
  ).ResourceTagMappingList!.map((one) => one.ResourceARN!);

// https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
test('a security group that was just made is not found, by reads or by calls that change it', async () => {
  const GroupId = await group('new');
  assert.deepEqual(await groups('new'), []);
  const early = ec2.send(new DescribeSecurityGroupsCommand({ GroupIds: [GroupId] }));
  await assert.rejects(early, { name: 'InvalidGroup.NotFound' });
  const rule = {
    GroupId,
    IpPermissions: [{ IpProtocol: 'tcp', FromPort: 1, ToPort: 1, IpRanges: [{ CidrIp: '10.0.0.0/8' }] }],
  };
  await assert.rejects(ec2.send(new AuthorizeSecurityGroupIngressCommand(rule)), { name: 'InvalidGroup.NotFound' });
  await account.skip(3);
  assert.equal((await groups('new')).length, 1);
  await ec2.send(new AuthorizeSecurityGroupIngressCommand(rule));
  assert.deepEqual((await groups('new'))[0]!.IpPermissions, [], 'its rule is seen later');
  await account.skip(3);
  assert.equal((await groups('new'))[0]!.IpPermissions!.length, 1);
});

test('what is taken is refused at once, whether it is seen or not', async () => {
  await group('taken');
  await assert.rejects(group('taken'), { name: 'InvalidGroup.Duplicate' });
  await targetGroup('taken');
  await assert.rejects(
    elb.send(new CreateTargetGroupCommand({ Name: 'taken', Protocol: 'HTTPS', Port: 1, VpcId, TargetType: 'ip' })),
    /DuplicateTargetGroupName/,
  );
  await service('taken');
  await assert.rejects(
    ecs.send(
      new CreateServiceCommand({
        cluster: 'c',
        serviceName: 'taken',
        taskDefinition: 'f:2',
        launchType: 'FARGATE',
        networkConfiguration: { awsvpcConfiguration: { subnets } },
      }),
    ),
    /idempotent/,
  );
});

test('a security group that was deleted is still seen', async () => {
  const GroupId = await group('old');
  await account.skip(3);
  await ec2.send(new DeleteSecurityGroupCommand({ GroupId }));
  assert.equal((await groups('old')).length, 1);
  await assert.rejects(ec2.send(new DeleteSecurityGroupCommand({ GroupId })), { name: 'InvalidGroup.NotFound' });
  await account.skip(3);
  assert.deepEqual(await groups('old'), []);
});

// https://github.com/hashicorp/terraform-provider-aws/pull/18634, …/issues/16860
test('a target group that was just made is not found; its tags come last', async () => {
  const TargetGroupArn = await targetGroup('new');
  const tags = async () =>
    (await elb.send(new DescribeTagsCommand({ ResourceArns: [TargetGroupArn] }))).TagDescriptions![0]!.Tags!;
  await assert.rejects(seenTargetGroup('new'), /TargetGroupNotFound/);
  await assert.rejects(tags(), /NotFound/);
  await account.skip(2);
  assert.equal((await seenTargetGroup('new')).TargetGroupArn, TargetGroupArn);
  assert.deepEqual(await tags(), []);
  await account.skip(1);
  assert.deepEqual(await tags(), [{ Key: 'a', Value: 'b' }]);
  await elb.send(new AddTagsCommand({ ResourceArns: [TargetGroupArn], Tags: [{ Key: 'a', Value: 'c' }] }));
  assert.deepEqual(await tags(), [{ Key: 'a', Value: 'b' }]);
  await account.skip(3);
  assert.deepEqual(await tags(), [{ Key: 'a', Value: 'c' }]);
});

test('a target group that was changed or deleted shows what was', async () => {
  const TargetGroupArn = await targetGroup('changed');
  const delay = async () =>
    (await elb.send(new DescribeTargetGroupAttributesCommand({ TargetGroupArn }))).Attributes!.find(
      (one) => one.Key === 'deregistration_delay.timeout_seconds',
    )!.Value;
  await account.skip(3);
  await elb.send(new ModifyTargetGroupCommand({ TargetGroupArn, HealthCheckPath: '/ok' }));
  const Attributes = [{ Key: 'deregistration_delay.timeout_seconds', Value: '5' }];
  await elb.send(new ModifyTargetGroupAttributesCommand({ TargetGroupArn, Attributes }));
  assert.equal((await seenTargetGroup('changed')).HealthCheckPath, '/');
  assert.equal(await delay(), '300');
  await account.skip(3);
  assert.equal((await seenTargetGroup('changed')).HealthCheckPath, '/ok');
  assert.equal(await delay(), '5');
  await elb.send(new DeleteTargetGroupCommand({ TargetGroupArn }));
  assert.equal((await seenTargetGroup('changed')).HealthCheckPath, '/ok');
  await account.skip(3);
  await assert.rejects(seenTargetGroup('changed'), /TargetGroupNotFound/);
});

test('a rule is listed some time after it was made, and after it was deleted', async () => {
  const made = await elb.send(
    new CreateRuleCommand({
      ListenerArn,
      Priority: 1,
      Conditions: [{ Field: 'path-pattern', Values: ['/a'] }],
      Actions: FIXED,
    }),
  );
  const rules = async () =>
    (await elb.send(new DescribeRulesCommand({ ListenerArn }))).Rules!.filter((one) => !one.IsDefault).length;
  assert.equal(await rules(), 0);
  await account.skip(2);
  assert.equal(await rules(), 1);
  await elb.send(new DeleteRuleCommand({ RuleArn: made.Rules![0]!.RuleArn! }));
  assert.equal(await rules(), 1);
  await account.skip(2);
  assert.equal(await rules(), 0);
});

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html: "The Amazon ECS API follows an eventual
// consistency model"
test('a service that was just made is MISSING', async () => {
  const arn = await service('new');
  assert.deepEqual((await seen('new')).services, []);
  assert.deepEqual((await seen('new')).failures, [{ arn, reason: 'MISSING' }]);
  const list = async () => (await ecs.send(new ListServicesCommand({ cluster: 'c', maxResults: 100 }))).serviceArns!;
  assert.ok(!(await list()).includes(arn));
  const history = () => ecs.send(new ListServiceDeploymentsCommand({ cluster: 'c', service: 'new' }));
  await assert.rejects(history(), { name: 'ServiceNotFoundException' });
  await account.skip(3);
  assert.equal((await seen('new')).services![0]!.serviceArn, arn);
  assert.ok((await list()).includes(arn));
  assert.equal((await history()).serviceDeployments!.length, 1);
});

test('a service that was changed or deleted shows what was', async () => {
  const arn = await service('changed');
  await account.skip(3);
  const history = async () =>
    (await ecs.send(new ListServiceDeploymentsCommand({ cluster: 'c', service: 'changed' }))).serviceDeployments!;
  const updated = await ecs.send(new UpdateServiceCommand({ cluster: 'c', service: 'changed', taskDefinition: 'f:2' }));
  assert.match(updated.service!.taskDefinition!, /f:2$/, 'the answer of the change itself tells the truth');
  assert.match((await seen('changed')).services![0]!.taskDefinition!, /f:1$/);
  assert.equal((await history()).length, 1);
  await account.skip(3);
  assert.match((await seen('changed')).services![0]!.taskDefinition!, /f:2$/);
  assert.equal((await history()).length, 2);
  await ecs.send(new TagResourceCommand({ resourceArn: arn, tags: [{ key: 'a', value: 'c' }] }));
  const tags = async () => (await ecs.send(new ListTagsForResourceCommand({ resourceArn: arn }))).tags;
  assert.deepEqual(await tags(), [{ key: 'a', value: 'b' }]);
  assert.deepEqual((await seen('changed')).services![0]!.tags, [{ key: 'a', value: 'b' }]);
  await account.skip(3);
  assert.deepEqual(await tags(), [{ key: 'a', value: 'c' }]);
  await ecs.send(new DeleteServiceCommand({ cluster: 'c', service: 'changed' }));
  assert.equal((await seen('changed')).services![0]!.status, 'ACTIVE');
  await account.skip(10);
  assert.notEqual((await seen('changed')).services![0]!.status, 'ACTIVE');
});

test('a task that was just started is MISSING', async () => {
  const run = await ecs.send(
    new RunTaskCommand({
      cluster: 'c',
      taskDefinition: 'f',
      launchType: 'FARGATE',
      networkConfiguration: { awsvpcConfiguration: { subnets } },
    }),
  );
  const tasks = [run.tasks![0]!.taskArn!];
  const early = await ecs.send(new DescribeTasksCommand({ cluster: 'c', tasks }));
  assert.deepEqual(early.failures, [{ arn: tasks[0], reason: 'MISSING' }]);
  await account.skip(3);
  assert.equal((await ecs.send(new DescribeTasksCommand({ cluster: 'c', tasks }))).tasks!.length, 1);
});

// https://github.com/hashicorp/terraform-provider-aws/pull/11693
test('Application Auto Scaling does not find a service that was just made', async () => {
  await service('scaled');
  const register = () =>
    scaling.send(
      new RegisterScalableTargetCommand({
        ServiceNamespace: 'ecs',
        ResourceId: 'service/c/scaled',
        ScalableDimension: 'ecs:service:DesiredCount',
        MinCapacity: 0,
        MaxCapacity: 1,
      }),
    );
  await assert.rejects(register(), { name: 'ValidationException', message: /ECS service doesn't exist/ });
  await account.skip(3);
  await register();
});

test('the tagging API knows what is new, changed and deleted some seconds later', async () => {
  const arn = await targetGroup('tagged');
  await tagged();
  await account.skip(5);
  assert.ok(!(await tagged()).includes(arn));
  await account.skip(7);
  assert.ok((await tagged()).includes(arn));
  await elb.send(new DeleteTargetGroupCommand({ TargetGroupArn: arn }));
  assert.ok((await tagged()).includes(arn));
  await account.skip(12);
  assert.ok(!(await tagged()).includes(arn));
});

test('without lag what is written is read at once', async () => {
  const prompt = await startRehearsal();
  const it = { endpoint: prompt.endpoint, region: 'us-east-1', credentials: prompt.root(ACCOUNT) };
  const client = new ECSClient(it);
  await client.send(new CreateClusterCommand({ clusterName: 'c' }));
  const own = new EC2Client(it);
  const vpc = (await own.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
  const made = await own.send(new CreateSecurityGroupCommand({ GroupName: 'g', Description: 'x', VpcId: vpc }));
  const read = await own.send(new DescribeSecurityGroupsCommand({ GroupIds: [made.GroupId!] }));
  await prompt.stop();
  assert.equal(read.SecurityGroups!.length, 1);
});
