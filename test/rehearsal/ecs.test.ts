/** What the emulated ECS refuses, in AWS's words, and its clusters and task definitions. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  CreateClusterCommand,
  DeleteClusterCommand,
  DeleteServiceCommand,
  DeregisterTaskDefinitionCommand,
  DescribeTaskDefinitionCommand,
  ListServicesCommand,
  ListTaskDefinitionsCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  type CreateServiceCommandInput,
  type RegisterTaskDefinitionCommandInput,
} from '@aws-sdk/client-ecs';
import { CreateTargetGroupCommand } from '@aws-sdk/client-elastic-load-balancing-v2';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate, REGION, type Fargate } from '../support/fargate.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '310000000041';

describe('ecs', { timeout: 90_000 }, () => {
  let rehearsal: Rehearsal;
  let f: Fargate;
  let definition: string;

  before(async () => {
    rehearsal = await openRehearsal();
    f = await fargate(rehearsal, ACCOUNT);
    definition = await f.define('base');
  });
  after(() => rehearsal.stop());

  describe('RegisterTaskDefinition', () => {
    const app = { name: 'app', image: 'public.ecr.aws/docker/library/redis:7' };
    type Input = Partial<RegisterTaskDefinitionCommandInput>;
    const refused: [why: string, given: Input, message: RegExp][] = [
      [
        '1 vCPU with 1 GB is no Fargate size',
        { cpu: '1024', memory: '1024' },
        /^No Fargate configuration exists for given values: 1024 CPU, 1024 memory\./,
      ],
      [
        'nor is 2 vCPU with 2 GB',
        { cpu: '2048', memory: '2048' },
        /^No Fargate configuration exists for given values: 2048 CPU, 2048 memory\./,
      ],
      ['nor anything between two steps', { cpu: '512', memory: '1500' }, /^No Fargate configuration/],
      ['the task must say its cpu', { cpu: undefined }, /^Fargate requires that 'cpu' be defined at the task level\./],
      ['only awsvpc', { networkMode: 'bridge' }, /^Fargate only supports network mode 'awsvpc'\./],
      [
        'no containers',
        { containerDefinitions: [] },
        /^TaskDefinition must contain at least one container definition\./,
      ],
      ['two of one name', { containerDefinitions: [app, app] }, /^Container name 'app' is used more than once\./],
      [
        'none essential',
        { containerDefinitions: [{ ...app, essential: false }] },
        /^There must be at least one essential container/,
      ],
      [
        'a container larger than its task',
        { containerDefinitions: [{ ...app, memory: 4096 }] },
        /memory exceeds the task's memory/,
      ],
      ['stopTimeout over 120', { containerDefinitions: [{ ...app, stopTimeout: 121 }] }, /at most 120 seconds/],
      [
        'a host port of its own',
        { containerDefinitions: [{ ...app, portMappings: [{ containerPort: 1, hostPort: 2 }] }] },
        /host ports and container ports in port mappings must match/,
      ],
      [
        'one name as variable and as secret',
        {
          containerDefinitions: [
            { ...app, environment: [{ name: 'A', value: '' }], secrets: [{ name: 'A', valueFrom: 'arn' }] },
          ],
        },
        /^The secret name must be unique/,
      ],
      [
        'secrets without an execution role',
        { executionRoleArn: undefined, containerDefinitions: [{ ...app, secrets: [{ name: 'A', valueFrom: 'arn' }] }] },
        /you must also specify a value for 'executionRoleArn'/,
      ],
      [
        "a registry's image without an execution role",
        {
          executionRoleArn: undefined,
          containerDefinitions: [{ ...app, image: `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com/app` }],
        },
        /to support ECR images\.$/,
      ],
      [
        'awslogs without an execution role',
        { executionRoleArn: undefined, containerDefinitions: [{ ...app, logConfiguration: { logDriver: 'awslogs' } }] },
        /to support log driver awslogs\.$/,
      ],
      [
        'a health check every second',
        { containerDefinitions: [{ ...app, healthCheck: { command: ['CMD', 'true'], interval: 1 } }] },
        /healthCheck\.interval/,
      ],
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
      [
        'a health check with more than a minute',
        { containerDefinitions: [{ ...app, healthCheck: { command: ['CMD', 'true'], timeout: 61 } }] },
        /healthCheck\.timeout/,
      ],
      [
        'a dependency on nobody',
        { containerDefinitions: [{ ...app, dependsOn: [{ containerName: 'b', condition: 'START' }] }] },
        /depends on container 'b', which does not exist/,
      ],
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
      [
        'COMPLETE of an essential container',
        {
          containerDefinitions: [
            { ...app, dependsOn: [{ containerName: 'b', condition: 'COMPLETE' }] },
            { ...app, name: 'b' },
          ],
        },
        /can't be set on an essential container/,
      ],
      [
        'SUCCESS of an essential container',
        {
          containerDefinitions: [
            { ...app, dependsOn: [{ containerName: 'b', condition: 'SUCCESS' }] },
            { ...app, name: 'b' },
          ],
        },
        /can't be set on an essential container/,
      ],
      [
        'HEALTHY of a container without a health check',
        {
          containerDefinitions: [
            { ...app, dependsOn: [{ containerName: 'b', condition: 'HEALTHY' }] },
            { ...app, name: 'b' },
          ],
        },
        /has no health check/,
      ],
      [
        'containers that wait for each other',
        {
          containerDefinitions: [
            { ...app, dependsOn: [{ containerName: 'b', condition: 'START' }] },
            { ...app, name: 'b', dependsOn: [{ containerName: 'app', condition: 'START' }] },
          ],
        },
        /must not form a circle/,
      ],
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
      ['startTimeout over 120', { containerDefinitions: [{ ...app, startTimeout: 121 }] }, /at most 120 seconds/],
    ];
    const register = (given: Input) =>
      f.ecs.send(
        new RegisterTaskDefinitionCommand({
          family: 'refused',
          networkMode: 'awsvpc',
          requiresCompatibilities: ['FARGATE'],
          cpu: '256',
          memory: '512',
          executionRoleArn: f.executionRole,
          containerDefinitions: [app],
          ...given,
        }),
      );
    for (const [why, given, message] of refused)
      test(why, () => assert.rejects(register(given), { name: 'ClientException', message }));

    const sizes: [cpu: string, memory: string][] = [
      ['256', '2048'],
      ['1024', '2048'],
      ['2048', '4096'],
      ['1 vCPU', '2 GB'],
      ['16384', '122880'],
    ];
    for (const [cpu, memory] of sizes)
      test(`${cpu} with ${memory} is a size`, async () => {
        const made = (await register({ family: 'sizes', cpu, memory })).taskDefinition!;
        assert.match(made.cpu!, /^\d+$/);
        assert.equal(made.executionRoleArn, f.executionRole);
        assert.equal(made.taskRoleArn, undefined, 'what was not given is not answered');
        assert.deepEqual(made.containerDefinitions![0]!.environment, []);
      });

    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Ulimit.html
    test('ulimits are kept', async () => {
      const ulimits = [{ name: 'nofile' as const, softLimit: 1024, hardLimit: 4096 }];
      await register({ family: 'ulimits', containerDefinitions: [{ ...app, ulimits }] });
      const { taskDefinition } = await f.ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: 'ulimits' }));
      assert.deepEqual(taskDefinition!.containerDefinitions![0]!.ulimits, ulimits);
    });
  });

  test('a family alone is its newest active revision; an inactive one is described but not used', async () => {
    const [one, two] = [await f.define('versions', { N: '1' }), await f.define('versions', { N: '2' })];
    const find = async (taskDefinition: string) =>
      (await f.ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition }))).taskDefinition!;
    assert.equal((await find('versions')).taskDefinitionArn, two);
    await f.ecs.send(new DeregisterTaskDefinitionCommand({ taskDefinition: two }));
    assert.equal((await find('versions')).taskDefinitionArn, one);
    assert.equal((await find(two)).status, 'INACTIVE');
    await assert.rejects(f.create('inactive', two), { name: 'ClientException', message: 'TaskDefinition is inactive' });
    await assert.rejects(find('nobody'), { name: 'ClientException', message: 'Unable to describe task definition.' });
    await f.define('versions-2');
    const listed = await f.ecs.send(new ListTaskDefinitionsCommand({ familyPrefix: 'versions' }));
    assert.deepEqual(listed.taskDefinitionArns, [one], 'familyPrefix is a whole family');
  });

  describe('CreateService', () => {
    const refused: [why: string, given: Partial<CreateServiceCommandInput>, name: string, message: RegExp][] = [
      ['no such cluster', { cluster: 'none' }, 'ClusterNotFoundException', /^Cluster not found\.$/],
      ['no such definition', { taskDefinition: 'none' }, 'ClientException', /^TaskDefinition not found\.$/],
      [
        'no network',
        { networkConfiguration: undefined },
        'InvalidParameterException',
        /^Network Configuration must be provided/,
      ],
      [
        'no such subnet',
        { networkConfiguration: { awsvpcConfiguration: { subnets: ['subnet-0'] } } },
        'InvalidParameterException',
        /InvalidSubnetID\.NotFound/,
      ],
      [
        'no such registry',
        { serviceRegistries: [{ registryArn: 'arn:aws:servicediscovery:us-east-1:310000000041:service/srv-none' }] },
        'InvalidParameterException',
        /does not exist$/,
      ],
      [
        'no such target group',
        { loadBalancers: [{ targetGroupArn: 'arn:none', containerName: 'app', containerPort: 8000 }] },
        'InvalidParameterException',
        /target group does not exist/,
      ],
    ];
    for (const [why, given, name, message] of refused)
      test(why, () =>
        assert.rejects(f.create('refused', given.taskDefinition ?? definition, given), { name, message }),
      );

    test('a target group that no listener forwards to', async () => {
      const made = await f.elb.send(
        new CreateTargetGroupCommand({ Name: 'alone', Protocol: 'HTTP', Port: 8000, VpcId: f.vpc, TargetType: 'ip' }),
      );
      const targetGroupArn = made.TargetGroups![0]!.TargetGroupArn!;
      const loadBalancers = [{ targetGroupArn, containerName: 'app', containerPort: 8000 }];
      await assert.rejects(f.create('refused', definition, { loadBalancers }), {
        name: 'InvalidParameterException',
        message: `The target group with targetGroupArn ${targetGroupArn} does not have an associated load balancer.`,
      });
    });
    test('a container port that the definition does not map', async () => {
      const { targetGroupArn } = await f.balanced('ports');
      const loadBalancers = [{ targetGroupArn, containerName: 'app', containerPort: 9 }];
      await assert.rejects(f.create('refused', definition, { loadBalancers }), {
        message: 'The container app did not have a container port 9 defined.',
      });
    });
    test('the same name again', async () => {
      await f.create('again', definition, { desiredCount: 0 });
      await assert.rejects(f.create('again', definition), {
        name: 'InvalidParameterException',
        message: 'Creation of service was not idempotent.',
      });
    });
  });

  test('services come in pages of ten', async () => {
    for (let i = 0; i < 12; i++) await f.create(`paged-${i}`, definition, { desiredCount: 0 });
    await eventually('all are seen', async () => {
      const names: string[] = [];
      let nextToken: string | undefined;
      let pages = 0;
      do {
        const page = await f.ecs.send(
          new ListServicesCommand({ cluster: CLUSTER, ...(nextToken ? { nextToken } : {}) }),
        );
        assert.ok(page.serviceArns!.length <= 10);
        names.push(...page.serviceArns!);
        nextToken = page.nextToken;
        pages++;
      } while (nextToken);
      return pages >= 2 && names.filter((arn) => arn.includes('/paged-')).length === 12;
    });
  });

  test('a cluster with services or tasks is not deleted', async () => {
    const cluster = 'full';
    await f.ecs.send(new CreateClusterCommand({ clusterName: cluster }));
    const remove = () => f.ecs.send(new DeleteClusterCommand({ cluster }));
    await f.create('one', definition, { cluster, desiredCount: 0 });
    await assert.rejects(remove(), {
      name: 'ClusterContainsServicesException',
      message: 'The Cluster cannot be deleted while Services are active.',
    });
    await f.ecs.send(new DeleteServiceCommand({ cluster, service: 'one' }));
    const once = await f.define('once', {}, { entryPoint: ['sh', '-c'], command: ['sleep 0.3'] });
    await f.ecs.send(
      new RunTaskCommand({
        cluster,
        taskDefinition: once,
        launchType: 'FARGATE',
        networkConfiguration: f.networkConfiguration,
      }),
    );
    await eventually('only its task is in the way', () =>
      remove().then(
        () => assert.fail('it was deleted with a task in it'),
        (error: Error) => error.name === 'ClusterContainsTasksException',
      ),
    );
    await eventually('it is deleted', remove);
    await assert.rejects(remove(), { name: 'ClusterNotFoundException' });
  });
});
