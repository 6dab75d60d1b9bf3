/** A prepared account for tests of ECS, and short words for what they ask often. */
import { CloudWatchLogsClient, CreateLogGroupCommand, GetLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs';
import {
  AttachInternetGatewayCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateInternetGatewayCommand,
  CreateRouteCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeRouteTablesCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  ECSClient,
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  UpdateServiceCommand,
  type ContainerDefinition,
  type CreateServiceCommandInput,
  type RegisterTaskDefinitionCommandInput,
  type Service,
  type Task,
  type UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateRuleCommand,
  CreateTargetGroupCommand,
  DescribeLoadBalancersCommand,
  ElasticLoadBalancingV2Client,
  type CreateTargetGroupCommandInput,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { CreateRoleCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { ServiceDiscoveryClient } from '@aws-sdk/client-servicediscovery';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from './eventually.ts';

export const REGION = 'us-east-1';
export const CLUSTER = 'main';
const LOG_GROUP = '/test/ecs';

/** What Amazon's own policy for execution roles allows, and reading secrets. */
export const EXECUTION_ACTIONS = [
  'ecr:GetAuthorizationToken',
  'ecr:BatchCheckLayerAvailability',
  'ecr:GetDownloadUrlForLayer',
  'ecr:BatchGetImage',
  'logs:CreateLogStream',
  'logs:PutLogEvents',
  'secretsmanager:GetSecretValue',
];

export type Fargate = Awaited<ReturnType<typeof fargate>>;

/** Every subnet of the VPC without a route table of its own becomes a public one: tasks there get out. */
export async function leadOut(ec2: EC2Client, VpcId: string): Promise<void> {
  const made = await ec2.send(new CreateInternetGatewayCommand({}));
  const GatewayId = made.InternetGateway!.InternetGatewayId!;
  await ec2.send(new AttachInternetGatewayCommand({ InternetGatewayId: GatewayId, VpcId }));
  const Filters = [{ Name: 'vpc-id', Values: [VpcId] }];
  const { RouteTables } = await ec2.send(new DescribeRouteTablesCommand({ Filters }));
  const RouteTableId = RouteTables![0]!.RouteTableId!;
  await ec2.send(new CreateRouteCommand({ RouteTableId, DestinationCidrBlock: '0.0.0.0/0', GatewayId }));
}

// eslint-disable-next-line @typescript-eslint/explicit-function-return-type -- the object is its own description
export async function fargate(rehearsal: Rehearsal, account: string) {
  const aws = { region: REGION, endpoint: rehearsal.endpoint, credentials: rehearsal.root(account) };
  const ecs = new ECSClient(aws);
  const ec2 = new EC2Client(aws);
  const elb = new ElasticLoadBalancingV2Client(aws);
  const iam = new IAMClient(aws);
  const logs = new CloudWatchLogsClient(aws);
  const secrets = new SecretsManagerClient(aws);
  const cloudmap = new ServiceDiscoveryClient(aws);

  const vpc = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
  const subnets = await Promise.all(
    ['a', 'b'].map(
      async (zone, i) =>
        (
          await ec2.send(
            new CreateSubnetCommand({ VpcId: vpc, CidrBlock: `10.0.${i}.0/24`, AvailabilityZone: REGION + zone }),
          )
        ).Subnet!.SubnetId!,
    ),
  );
  const group = (
    await ec2.send(new CreateSecurityGroupCommand({ VpcId: vpc, GroupName: 'tasks', Description: 'tasks' }))
  ).GroupId!;
  // Everyone in the VPC reaches the load balancer, which is in the same group as the tasks.
  const open = (port: number, peer: object) => ({ IpProtocol: 'tcp', FromPort: port, ToPort: port, ...peer });
  // EC2 does not find a group that it has just made.
  await eventually('the group takes rules', () =>
    ec2.send(
      new AuthorizeSecurityGroupIngressCommand({
        GroupId: group,
        IpPermissions: [
          open(80, { IpRanges: [{ CidrIp: '10.0.0.0/16' }] }),
          open(8000, { UserIdGroupPairs: [{ GroupId: group }] }),
        ],
      }),
    ),
  );
  await leadOut(ec2, vpc);
  const networkConfiguration = {
    awsvpcConfiguration: { subnets, securityGroups: [group], assignPublicIp: 'ENABLED' as const },
  };
  await ecs.send(new CreateClusterCommand({ clusterName: CLUSTER }));
  await logs.send(new CreateLogGroupCommand({ logGroupName: LOG_GROUP }));

  /** A role that ECS tasks may use. */
  async function role(name: string, actions: string[], more: object = {}): Promise<string> {
    const trust = { Effect: 'Allow', Principal: { Service: 'ecs-tasks.amazonaws.com' }, Action: 'sts:AssumeRole' };
    const made = await iam.send(
      new CreateRoleCommand({
        RoleName: name,
        AssumeRolePolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [trust] }),
      }),
    );
    await allow(name, actions, more);
    return made.Role!.Arn!;
  }
  /** Replaces what the role may do. */
  async function allow(name: string, actions: string[], more: object = {}): Promise<void> {
    const statement = { Effect: 'Allow', Action: actions, Resource: '*', ...more };
    await iam.send(
      new PutRolePolicyCommand({
        RoleName: name,
        PolicyName: 'own',
        PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [statement] }),
      }),
    );
    await rehearsal.settle();
  }
  const executionRole = await role('execution', EXECUTION_ACTIONS);
  const image = (await rehearsal.pushImage({ account, region: REGION, repository: 'app', image: 'stub' })).uri;

  /** Registers a definition of one container of the stub image, with this environment and whatever else is given. */
  async function define(
    family: string,
    env: Record<string, string> = {},
    container: Partial<ContainerDefinition> = {},
    more: Partial<RegisterTaskDefinitionCommandInput> = {},
  ): Promise<string> {
    const answer = await ecs.send(
      new RegisterTaskDefinitionCommand({
        family,
        networkMode: 'awsvpc',
        requiresCompatibilities: ['FARGATE'],
        cpu: '256',
        memory: '512',
        executionRoleArn: executionRole,
        containerDefinitions: [
          {
            name: 'app',
            image,
            essential: true,
            portMappings: [{ containerPort: 8000 }],
            environment: Object.entries(env).map(([name, value]) => ({ name, value })),
            logConfiguration: {
              logDriver: 'awslogs',
              options: { 'awslogs-group': LOG_GROUP, 'awslogs-region': REGION, 'awslogs-stream-prefix': family },
            },
            ...container,
          },
        ],
        ...more,
      }),
    );
    return answer.taskDefinition!.taskDefinitionArn!;
  }

  async function create(
    serviceName: string,
    taskDefinition: string,
    more: Partial<CreateServiceCommandInput> = {},
  ): Promise<Service> {
    const answer = await ecs.send(
      new CreateServiceCommand({
        cluster: CLUSTER,
        serviceName,
        taskDefinition,
        desiredCount: 1,
        launchType: 'FARGATE',
        networkConfiguration,
        ...more,
      }),
    );
    return answer.service!;
  }

  /** Once reads show it: ECS answers what was before for a moment. */
  async function update(name: string, more: Partial<UpdateServiceCommandInput>): Promise<Service> {
    const changed = (await ecs.send(new UpdateServiceCommand({ cluster: CLUSTER, service: name, ...more }))).service!;
    const primary = (of: Service): string | undefined => of.deployments?.find((d) => d.status === 'PRIMARY')?.id;
    await eventually(
      `the change of ${name} is seen`,
      async () => {
        const seen = await service(name);
        return primary(seen) === primary(changed) && seen.desiredCount === changed.desiredCount;
      },
      { every: 10 },
    );
    return changed;
  }

  async function service(name: string): Promise<Service> {
    const found = await ecs.send(new DescribeServicesCommand({ cluster: CLUSTER, services: [name] }));
    if (!found.services?.[0]) throw new Error(`no service ${name}`);
    return found.services[0];
  }

  async function tasks(serviceName: string, desiredStatus: 'RUNNING' | 'STOPPED' = 'RUNNING'): Promise<Task[]> {
    const { taskArns = [] } = await ecs.send(new ListTasksCommand({ cluster: CLUSTER, serviceName, desiredStatus }));
    if (taskArns.length === 0) return [];
    return (await ecs.send(new DescribeTasksCommand({ cluster: CLUSTER, tasks: taskArns }))).tasks ?? [];
  }

  async function task(arn: string): Promise<Task> {
    const found = await ecs.send(new DescribeTasksCommand({ cluster: CLUSTER, tasks: [arn] }));
    if (!found.tasks?.[0]) throw new Error(`no task ${arn}`);
    return found.tasks[0];
  }

  /** Once its only deployment is completed. */
  const steady = (name: string, seconds = 30): Promise<Service> =>
    eventually(
      `${name} is steady`,
      async () => {
        const seen = await service(name);
        const [first, ...others] = seen.deployments ?? [];
        return others.length === 0 && first?.rolloutState === 'COMPLETED' && seen.runningCount === seen.desiredCount
          ? seen
          : undefined;
      },
      { seconds },
    );

  const stopped = (arn: string, seconds = 20): Promise<Task> =>
    eventually(
      `${arn} has stopped`,
      async () => {
        const seen = await task(arn);
        return seen.lastStatus === 'STOPPED' ? seen : undefined;
      },
      { seconds },
    );

  /** The lines that a task's container wrote. */
  async function lines(family: string, taskArn: string, container = 'app'): Promise<string[]> {
    const logStreamName = `${family}/${container}/${taskArn.split('/').at(-1)}`;
    const found = await logs.send(
      new GetLogEventsCommand({ logGroupName: LOG_GROUP, logStreamName, startFromHead: true }),
    );
    return (found.events ?? []).map((event) => event.message ?? '');
  }

  /** A load balancer that forwards everything below `/<name>` to a new target group of the service. */
  async function balanced(
    name: string,
    health: Partial<CreateTargetGroupCommandInput> = {},
  ): Promise<{ url: string; targetGroupArn: string; loadBalancers: CreateServiceCommandInput['loadBalancers'] }> {
    const targetGroupArn = (
      await elb.send(
        new CreateTargetGroupCommand({
          Name: name,
          Protocol: 'HTTP',
          Port: 8000,
          VpcId: vpc,
          TargetType: 'ip',
          HealthCheckPath: '/ok',
          HealthCheckIntervalSeconds: 5,
          HealthCheckTimeoutSeconds: 3,
          HealthyThresholdCount: 2,
          UnhealthyThresholdCount: 2,
          ...health,
        }),
      )
    ).TargetGroups![0]!.TargetGroupArn!;
    const { listener, dns } = await loadBalancer();
    await elb.send(
      new CreateRuleCommand({
        ListenerArn: listener,
        Priority: ++priority,
        Conditions: [{ Field: 'path-pattern', Values: [`/${name}`, `/${name}/*`] }],
        Actions: [{ Type: 'forward', TargetGroupArn: targetGroupArn }],
      }),
    );
    return {
      url: `http://${dns}/${name}`,
      targetGroupArn,
      loadBalancers: [{ targetGroupArn, containerName: 'app', containerPort: 8000 }],
    };
  }
  let priority = 0;
  let front: Promise<{ listener: string; dns: string }> | undefined;
  const loadBalancer = (): Promise<{ listener: string; dns: string }> => (front ??= makeLoadBalancer());
  async function makeLoadBalancer(): Promise<{ listener: string; dns: string }> {
    const made = await elb.send(
      new CreateLoadBalancerCommand({ Name: 'front', Subnets: subnets, SecurityGroups: [group], Scheme: 'internal' }),
    );
    const balancer = made.LoadBalancers![0]!;
    const listener = await elb.send(
      new CreateListenerCommand({
        LoadBalancerArn: balancer.LoadBalancerArn!,
        Protocol: 'HTTP',
        Port: 80,
        DefaultActions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '404' } }],
      }),
    );
    await eventually('the load balancer is active', async () => {
      const LoadBalancerArns = [balancer.LoadBalancerArn!];
      const seen = await elb.send(new DescribeLoadBalancersCommand({ LoadBalancerArns }));
      return seen.LoadBalancers![0]!.State!.Code === 'active';
    });
    return { listener: listener.Listeners![0]!.ListenerArn!, dns: balancer.DNSName! };
  }

  return {
    account,
    ecs,
    ec2,
    elb,
    iam,
    logs,
    secrets,
    cloudmap,
    vpc,
    subnets,
    group,
    networkConfiguration,
    executionRole,
    image,
    role,
    allow,
    define,
    create,
    update,
    service,
    tasks,
    task,
    steady,
    stopped,
    lines,
    balanced,
  };
}
