/**
 * Where the emulated ECS places tasks and what befalls them from outside: capacity providers, lack of capacity and of
 * addresses, Spot interruption, retirement. Each test names the page of AWS's that says so.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  DeleteServiceCommand,
  ECSClient,
  ExecuteCommandCommand,
  GetTaskProtectionCommand,
  ListServiceDeploymentsCommand,
  PutClusterCapacityProvidersCommand,
  RunTaskCommand,
  StopTaskCommand,
  UpdateTaskProtectionCommand,
  type CapacityProviderStrategyItem,
  type RunTaskCommandInput,
  type RunTaskCommandOutput,
  type Service,
  type UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs';
import { CreateSubnetCommand, DescribeSubnetsCommand } from '@aws-sdk/client-ec2';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate, REGION, type Fargate } from '../support/fargate.ts';

const ACCOUNT = '310000000061';
/** Only for its own account: other tests of this file go on. */
const SHORT = '310000000062';
const UNAVAILABLE = 'Capacity is unavailable at this time. Please try again later or in a different availability zone';

interface Told {
  account: string;
  source: string;
  'detail-type': string;
  resources: string[];
  detail: Record<string, unknown>;
}

describe('placement', { concurrency: 4, timeout: 60_000 }, () => {
  let rehearsal: Rehearsal;
  let f: Fargate;
  let short: Fargate;
  /** Runs until it is stopped, needs no time to start, and is healthy soon. */
  let idle: string;
  let idleShort: string;
  /** Timers run a hundred times faster than AWS's, processes do not: a check has as long as it may. */
  const healthCheck = { command: ['CMD', 'true'], interval: 10, timeout: 60 };
  const sleeping = { entryPoint: ['sleep', '1000'], logConfiguration: undefined, healthCheck };

  before(async () => {
    rehearsal = await startRehearsal({ pace: 400, timerPace: 100 });
    [f, short] = await Promise.all([fargate(rehearsal, ACCOUNT), fargate(rehearsal, SHORT)]);
    [idle, idleShort] = await Promise.all([f.define('idle', {}, sleeping), short.define('idle', {}, sleeping)]);
    await f.ecs.send(
      new PutClusterCapacityProvidersCommand({
        cluster: CLUSTER,
        capacityProviders: ['FARGATE', 'FARGATE_SPOT'],
        defaultCapacityProviderStrategy: [],
      }),
    );
  });
  after(() => rehearsal.stop());

  const run = (more: Partial<RunTaskCommandInput> = {}, on = f): Promise<RunTaskCommandOutput> =>
    on.ecs.send(
      new RunTaskCommand({
        cluster: CLUSTER,
        taskDefinition: on === f ? idle : idleShort,
        networkConfiguration: on.networkConfiguration,
        ...(more.capacityProviderStrategy ? {} : { launchType: 'FARGATE' }),
        ...more,
      }),
    );
  const running = (arn: string) =>
    eventually('it runs', async () => {
      const seen = await f.task(arn);
      return seen.lastStatus === 'RUNNING' && seen;
    });
  const end = (task: string) => f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task }));
  const update = (service: string, more: Partial<UpdateServiceCommandInput>): Promise<Service> =>
    f.update(service, more);
  const remove = (service: string, on = f) =>
    on.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service, force: true }));
  const messages = (service: Service): string[] => (service.events ?? []).map((event) => event.message!);
  const told = async (account = ACCOUNT): Promise<Told[]> => {
    const answer = await fetch(`${rehearsal.endpoint}/_rehearsal/events?account=${account}`);
    return ((await answer.json()) as { events: Told[] }).events;
  };

  describe('a capacity provider strategy', () => {
    const refused: [why: string, strategy: CapacityProviderStrategyItem[], message: RegExp][] = [
      ['one that does not exist', [{ capacityProvider: 'OTHER', weight: 1 }], /'OTHER' was not found/],
      [
        'no weight at all',
        [{ capacityProvider: 'FARGATE' }, { capacityProvider: 'FARGATE_SPOT' }],
        /weight greater than 0/,
      ],
      [
        'two bases',
        [
          { capacityProvider: 'FARGATE', weight: 1, base: 1 },
          { capacityProvider: 'FARGATE_SPOT', weight: 1, base: 1 },
        ],
        /only one capacity provider with a base/,
      ],
      [
        'one twice',
        [
          { capacityProvider: 'FARGATE', weight: 1 },
          { capacityProvider: 'FARGATE', weight: 2 },
        ],
        /more than once/,
      ],
    ];
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
    for (const [why, capacityProviderStrategy, message] of refused)
      test(`is refused: ${why}`, () =>
        assert.rejects(run({ capacityProviderStrategy }), { name: 'InvalidParameterException', message }));

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
    test('is refused on a cluster that the provider is not associated with', () =>
      assert.rejects(run({ capacityProviderStrategy: [{ capacityProvider: 'FARGATE_SPOT', weight: 1 }] }, short), {
        name: 'InvalidParameterException',
        message: /not associated with the cluster\. Associate the capacity provider with the cluster/,
      }));
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
    test('is refused next to a launch type', () =>
      assert.rejects(
        run({ launchType: 'FARGATE', capacityProviderStrategy: [{ capacityProvider: 'FARGATE', weight: 1 }] }),
        { message: /both a launch type and capacity provider strategy/ },
      ));
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutClusterCapacityProviders.html
    test('of a cluster names only providers of the cluster', () =>
      assert.rejects(
        f.ecs.send(
          new CreateClusterCommand({
            clusterName: 'odd',
            capacityProviders: ['FARGATE'],
            defaultCapacityProviderStrategy: [{ capacityProvider: 'FARGATE_SPOT', weight: 1 }],
          }),
        ),
        { message: /not associated with the cluster/ },
      ));
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
    test('places the base first, then by weight', async () => {
      const { tasks = [] } = await run({
        count: 7,
        capacityProviderStrategy: [
          { capacityProvider: 'FARGATE', base: 2, weight: 1 },
          { capacityProvider: 'FARGATE_SPOT', weight: 4 },
        ],
      });
      const placed = tasks.map((task) => task.capacityProviderName);
      assert.deepEqual(placed.slice(0, 2), ['FARGATE', 'FARGATE']);
      assert.equal(placed.filter((name) => name === 'FARGATE_SPOT').length, 4);
      assert.deepEqual([...new Set(tasks.map((task) => task.launchType))], ['FARGATE']);
      await Promise.all(tasks.map((task) => end(task.taskArn!)));
    });
    test('of a cluster applies where a service gives neither', async () => {
      await f.ecs.send(
        new CreateClusterCommand({
          clusterName: 'spotted',
          capacityProviders: ['FARGATE_SPOT'],
          defaultCapacityProviderStrategy: [{ capacityProvider: 'FARGATE_SPOT', weight: 1 }],
        }),
      );
      const { service } = await f.ecs.send(
        new CreateServiceCommand({
          cluster: 'spotted',
          serviceName: 'default',
          taskDefinition: idle,
          desiredCount: 0,
          networkConfiguration: f.networkConfiguration,
        }),
      );
      assert.equal(service!.launchType, undefined);
      assert.deepEqual(service!.capacityProviderStrategy, [{ capacityProvider: 'FARGATE_SPOT', weight: 1, base: 0 }]);
    });
  });

  describe('from outside', () => {
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
    test('a Spot interruption warns by event and SIGTERM, and the service starts another task', async () => {
      await f.create('spot', idle, {
        launchType: undefined,
        capacityProviderStrategy: [{ capacityProvider: 'FARGATE_SPOT', weight: 1 }],
      });
      await f.steady('spot');
      const [task] = await f.tasks('spot');
      await rehearsal.interrupt(task!.taskArn!);
      const gone = await f.stopped(task!.taskArn!);
      assert.equal(gone.stopCode, 'SpotInterruption');
      assert.equal(gone.stoppedReason, 'Your Spot Task was interrupted.');
      assert.equal(gone.containers![0]!.exitCode, 143);
      const warning = (await told()).find(
        ({ resources, detail }) => resources.includes(task!.taskArn!) && detail['stopCode'] === 'SpotInterruption',
      );
      assert.equal(warning!['detail-type'], 'ECS Task State Change');
      assert.equal(warning!.detail['lastStatus'], 'RUNNING');
      assert.equal(warning!.detail['desiredStatus'], 'STOPPED');
      const next = await eventually('another runs', async () => (await f.tasks('spot'))[0]);
      assert.notEqual(next.taskArn, task!.taskArn);
      assert.equal(next.capacityProviderName, 'FARGATE_SPOT');
      assert.equal((await f.steady('spot')).deployments![0]!.failedTasks, 0, 'not the service’s fault');
      await remove('spot');
    });
    test('only a Spot task is interrupted', async () => {
      const { tasks } = await run();
      await assert.rejects(rehearsal.interrupt(tasks![0]!.taskArn!), /does not run on Fargate Spot/);
      await end(tasks![0]!.taskArn!);
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-maintenance.html
    test('a retired task of a service is announced, and replaced before it is stopped', async () => {
      await f.create('retired', idle, { desiredCount: 1 });
      await f.steady('retired');
      const [task] = await f.tasks('retired');
      await rehearsal.retire(task!.taskArn!, 0);
      const gone = await f.stopped(task!.taskArn!);
      assert.equal(gone.stopCode, 'TerminationNotice');
      assert.equal(
        gone.stoppedReason,
        'ECS is performing maintenance on the underlying infrastructure hosting the task',
      );
      const [next] = await f.tasks('retired');
      assert.ok(next!.startedAt! < gone.stoppingAt!, 'the other one ran before');
      const notice = (await told()).find(
        ({ source, resources }) => source === 'aws.health' && resources[0] === `${CLUSTER}|retired`,
      );
      assert.equal(notice!.detail['eventTypeCode'], 'AWS_ECS_TASK_PATCHING_RETIREMENT');
      await remove('retired');
    });
    test('a retired task of no service just ends', async () => {
      const arn = (await run()).tasks![0]!.taskArn!;
      await running(arn);
      await rehearsal.retire(arn, 0);
      assert.equal((await f.stopped(arn)).stopCode, 'TerminationNotice');
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html
    test('a container killed for want of memory says so', async () => {
      const arn = (await run()).tasks![0]!.taskArn!;
      await running(arn);
      await rehearsal.outOfMemory(arn);
      const gone = await f.stopped(arn);
      assert.equal(gone.stopCode, 'EssentialContainerExited');
      assert.equal(gone.containers![0]!.exitCode, 137);
      assert.equal(gone.containers![0]!.reason, 'OutOfMemoryError: Container killed due to memory usage');
    });
  });

  describe('what is short', { concurrency: 1 }, () => {
    // https://repost.aws/knowledge-center/ecs-fargate-runtask-capacity
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html
    test('without capacity RunTask answers a failure, a service says so once and starts when there is some', async () => {
      await rehearsal.capacity({ account: SHORT });
      const answer = await run({}, short);
      assert.deepEqual(answer.tasks, []);
      assert.deepEqual(answer.failures, [{ reason: UNAVAILABLE }]);
      await short.create('waits', idleShort, {
        desiredCount: 2,
        deploymentConfiguration: { deploymentCircuitBreaker: { enable: true, rollback: false } },
      });
      const event = await eventually('it is told', async () =>
        messages(await short.service('waits')).find((message) => message.includes('unable to place a task')),
      );
      assert.equal(
        event,
        `(service waits) was unable to place a task. Reason: ${UNAVAILABLE}. For more information, see the ` +
          'Troubleshooting section of the Amazon ECS Developer Guide.',
      );
      const failure = (await told(SHORT)).find(
        ({ detail }) => detail['eventName'] === 'SERVICE_TASK_PLACEMENT_FAILURE',
      );
      assert.equal(failure!.detail['eventType'], 'ERROR');
      assert.equal(failure!.detail['reason'], 'RESOURCE:FARGATE');
      await new Promise((resolve) => setTimeout(resolve, 200));
      const seen = await short.service('waits');
      assert.equal(messages(seen).length, 1, 'told once');
      assert.equal(seen.deployments![0]!.failedTasks, 0);
      assert.equal(seen.deployments![0]!.rolloutState, 'IN_PROGRESS');
      await rehearsal.clearCapacity(SHORT);
      assert.equal((await short.steady('waits')).runningCount, 2);
      await remove('waits', short);
    });
    // https://repost.aws/knowledge-center/ecs-fargate-runtask-capacity: capacity is by zone
    test('a zone without capacity is passed over', async () => {
      await rehearsal.capacity({ account: ACCOUNT, provider: 'FARGATE', zone: `${REGION}a` });
      const { tasks = [] } = await run({ count: 3 });
      await rehearsal.clearCapacity(ACCOUNT);
      assert.deepEqual([...new Set(tasks.map((task) => task.availabilityZone))], [`${REGION}b`]);
      await Promise.all(tasks.map((task) => end(task.taskArn!)));
    });
    test('tasks of a group spread over the zones', async () => {
      const { tasks = [] } = await run({ count: 4, group: 'spread' }, short);
      const zones = tasks.map((task) => task.availabilityZone);
      for (const zone of 'ab') assert.equal(zones.filter((each) => each === REGION + zone).length, 2);
      await Promise.all(
        tasks.map((task) => short.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task: task.taskArn! }))),
      );
    });

    const free = async (SubnetId: string): Promise<number> =>
      (await f.ec2.send(new DescribeSubnetsCommand({ SubnetIds: [SubnetId] }))).Subnets![0]!.AvailableIpAddressCount!;
    // https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
    const sizes: [cidr: string, addresses: number][] = [
      ['10.0.10.0/28', 11],
      ['10.0.11.0/27', 27],
      ['10.0.12.0/24', 251],
      ['10.0.16.0/20', 4091],
    ];
    for (const [CidrBlock, addresses] of sizes)
      test(`a subnet of ${CidrBlock} has ${addresses} addresses`, async () => {
        const made = await f.ec2.send(new CreateSubnetCommand({ VpcId: f.vpc, CidrBlock }));
        assert.equal(made.Subnet!.AvailableIpAddressCount, addresses);
        assert.equal(await free(made.Subnet!.SubnetId!), addresses);
      });
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
    test('each task takes an address of its subnet, and gives it back', async () => {
      const made = await f.ec2.send(new CreateSubnetCommand({ VpcId: f.vpc, CidrBlock: '10.0.40.0/28' }));
      const subnet = made.Subnet!.SubnetId!;
      const awsvpcConfiguration = { ...f.networkConfiguration.awsvpcConfiguration, subnets: [subnet] };
      const { tasks = [] } = await run({ networkConfiguration: { awsvpcConfiguration }, count: 2 });
      await Promise.all(tasks.map((task) => running(task.taskArn!)));
      assert.equal(await free(subnet), 9);
      await Promise.all(tasks.map((task) => end(task.taskArn!)));
      await Promise.all(tasks.map((task) => f.stopped(task.taskArn!)));
      assert.equal(await free(subnet), 11);
    });
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
    test('a task without an address in its subnet fails to start, and says why', async () => {
      const made = await f.ec2.send(new CreateSubnetCommand({ VpcId: f.vpc, CidrBlock: '10.0.41.0/28' }));
      const subnet = made.Subnet!.SubnetId!;
      await rehearsal.capacity({ account: ACCOUNT, subnetId: subnet, freeAddresses: 0 });
      const { tasks } = await run({ networkConfiguration: { awsvpcConfiguration: { subnets: [subnet] } } });
      const gone = await f.stopped(tasks![0]!.taskArn!);
      assert.equal(gone.stopCode, 'TaskFailedToStart');
      assert.equal(
        gone.stoppedReason,
        'Unexpected EC2 error while attempting to Create Network Interface with public IP assignment disabled in ' +
          `subnet '${subnet}': InsufficientFreeAddressesInSubnet`,
      );
    });
  });

  describe('task protection', () => {
    const protect = (tasks: string[], more: { expiresInMinutes?: number; protectionEnabled?: boolean } = {}) =>
      f.ecs.send(new UpdateTaskProtectionCommand({ cluster: CLUSTER, tasks, protectionEnabled: true, ...more }));
    const state = async (tasks: string[]) =>
      (await f.ecs.send(new GetTaskProtectionCommand({ cluster: CLUSTER, tasks }))).protectedTasks!;

    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateTaskProtection.html
    const refused: [why: string, tasks: number, more: { expiresInMinutes?: number }][] = [
      ['no minute', 1, { expiresInMinutes: 0 }],
      ['over 48 hours', 1, { expiresInMinutes: 2881 }],
      ['eleven tasks', 11, {}],
      ['no task', 0, {}],
    ];
    for (const [why, count, more] of refused)
      test(`is refused: ${why}`, () =>
        assert.rejects(
          protect(
            Array.from({ length: count }, () => '0'.repeat(32)),
            more,
          ),
          {
            name: 'InvalidParameterException',
          },
        ));
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
    test('is for tasks of services, and for no more of them than the service wants', async () => {
      const lone = (await run()).tasks![0]!.taskArn!;
      const missing = `arn:aws:ecs:${REGION}:${ACCOUNT}:task/${CLUSTER}/${'0'.repeat(32)}`;
      assert.deepEqual((await protect([lone, missing])).failures, [
        { arn: lone, reason: 'TASK_NOT_VALID' },
        { arn: missing, reason: 'MISSING' },
      ]);
      await end(lone);
    });
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
    test('is asked of IAM, on the task', async () => {
      const { tasks } = await run();
      const task = tasks![0]!.taskArn!;
      const only = { Effect: 'Allow', Action: 'ecs:GetTaskProtection', Resource: '*' };
      const credentials = await rehearsal.createUser(ACCOUNT, 'watcher', { Version: '2012-10-17', Statement: [only] });
      const watcher = new ECSClient({ endpoint: rehearsal.endpoint, region: REGION, credentials });
      const about = { cluster: CLUSTER, tasks: [task] };
      await eventually('it may look', () => watcher.send(new GetTaskProtectionCommand(about)));
      await assert.rejects(watcher.send(new UpdateTaskProtectionCommand({ ...about, protectionEnabled: true })), {
        name: 'AccessDeniedException',
        message: new RegExp(`user/watcher is not authorized to perform: ecs:UpdateTaskProtection on resource: ${task}`),
      });
      await end(task);
    });
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection.html
    test('holds off scale-in and rolling updates until it expires', async () => {
      await f.create('guarded', idle, { desiredCount: 2 });
      await f.steady('guarded');
      const [one, two] = (await f.tasks('guarded')).map((task) => task.taskArn!);
      const { protectedTasks } = await protect([one!]);
      const minutes = (protectedTasks![0]!.expirationDate!.getTime() - Date.now()) / 60_000;
      assert.ok(minutes > 115 && minutes < 125, `two hours by default: ${minutes}`);
      await update('guarded', { desiredCount: 1 });
      assert.equal(
        (await f.stopped(two!)).stoppedReason!.replace(/ecs-svc\/\d+/, 'ID'),
        'Scaling activity initiated by (deployment ID)',
      );
      assert.deepEqual(
        (await f.tasks('guarded')).map((task) => task.taskArn),
        [one],
      );

      await update('guarded', { desiredCount: 2 });
      await f.steady('guarded');
      const third = (await f.tasks('guarded')).map((task) => task.taskArn!).find((arn) => arn !== one)!;
      await update('guarded', { desiredCount: 1 });
      await f.stopped(third);
      assert.deepEqual((await protect([one!])).failures, [], 'again: a new expiry');

      await update('guarded', { forceNewDeployment: true });
      const event = await eventually('it is told', async () =>
        messages(await f.service('guarded')).find((message) => message.includes('protected')),
      );
      assert.match(
        event,
        /^\(service guarded\) was unable to reach steady state because task set \(ecs-svc\/\d+\) was unable to scale in\. Reason: The number of protected tasks are more than the desired count of tasks\.$/,
      );
      assert.equal((await f.service('guarded')).deployments!.length, 2);
      const fresh = (await f.tasks('guarded')).map((task) => task.taskArn!).find((arn) => arn !== one)!;
      assert.deepEqual((await protect([fresh])).failures, [{ arn: fresh, reason: 'DEPLOYMENT_BLOCKED' }]);
      assert.equal((await state([one!]))[0]!.protectionEnabled, true);
      const free = await protect([one!], { protectionEnabled: false });
      assert.equal(free.protectedTasks![0]!.protectionEnabled, false);
      await f.stopped(one!);
      await f.steady('guarded');
      await remove('guarded');
    });
  });

  describe('ECS Exec', () => {
    const execute = (task: string) =>
      f.ecs.send(new ExecuteCommandCommand({ cluster: CLUSTER, task, command: 'sh', interactive: true }));
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
    test('is refused for tasks without a task role', async () => {
      const message = /valid taskRoleArn is not being used/;
      await assert.rejects(f.create('exec', idle, { enableExecuteCommand: true }), {
        name: 'InvalidParameterException',
        message,
      });
      await assert.rejects(run({ enableExecuteCommand: true }), { message });
    });
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html
    test('is refused where it was not enabled; where it was, nobody answers', async () => {
      const taskRoleArn = await f.role('exec', ['ssmmessages:*']);
      const able = await f.define('exec', {}, sleeping, { taskRoleArn });
      const without = (await run()).tasks![0]!.taskArn!;
      const having = (await run({ taskDefinition: able, enableExecuteCommand: true })).tasks![0]!.taskArn!;
      await Promise.all([running(without), running(having)]);
      await assert.rejects(execute(without), {
        name: 'InvalidParameterException',
        message: /^The execute command failed because execute command was not enabled when the task was run or/,
      });
      await assert.rejects(execute(having), { name: 'TargetNotConnectedException' });
      assert.equal((await f.task(having)).containers![0]!.managedAgents![0]!.name, 'ExecuteCommandAgent');
      await Promise.all([end(without), end(having)]);
    });
  });

  // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
  test('what was deployed is forgotten with the service', async () => {
    await f.create('history', idle, { desiredCount: 0 });
    await f.steady('history');
    await remove('history');
    await eventually('it is INACTIVE', async () => (await f.service('history')).status === 'INACTIVE');
    const listed = await f.ecs.send(new ListServiceDeploymentsCommand({ cluster: CLUSTER, service: 'history' }));
    assert.deepEqual(listed.serviceDeployments, []);
  });
});
