import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  ApplicationAutoScalingClient,
  DeregisterScalableTargetCommand,
  DescribeScalableTargetsCommand,
  DescribeScalingActivitiesCommand,
  ListTagsForResourceCommand,
  RegisterScalableTargetCommand,
} from '@aws-sdk/client-application-auto-scaling';
import { CreateSubnetCommand, CreateVpcCommand, EC2Client } from '@aws-sdk/client-ec2';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServicesCommand,
  ECSClient,
  RegisterTaskDefinitionCommand,
} from '@aws-sdk/client-ecs';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { SMALLEST_TASK } from '../support/requests.ts';

let account: Rehearsal;
before(async () => {
  account = await startRehearsal({ pace: 500 });
});
after(() => account.stop());

test('limits move a desired count that lies outside them; the target outlives its service', async () => {
  const options = { endpoint: account.endpoint, region: 'us-east-1', credentials: account.root('222222222222') };
  const [ec2, ecs, scaling] = [
    new EC2Client(options),
    new ECSClient(options),
    new ApplicationAutoScalingClient(options),
  ];
  const VpcId = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
  const subnet = (await ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock: '10.0.0.0/24' }))).Subnet!.SubnetId!;
  const target = {
    ServiceNamespace: 'ecs',
    ResourceId: 'service/c/s',
    ScalableDimension: 'ecs:service:DesiredCount',
  } as const;
  const register = (MinCapacity?: number, MaxCapacity?: number, Tags?: Record<string, string>) =>
    scaling.send(new RegisterScalableTargetCommand({ ...target, MinCapacity, MaxCapacity, ...(Tags ? { Tags } : {}) }));
  const desired = async () =>
    (await ecs.send(new DescribeServicesCommand({ cluster: 'c', services: ['s'] }))).services![0]!.desiredCount;
  const targets = async () =>
    (await scaling.send(new DescribeScalableTargetsCommand({ ServiceNamespace: 'ecs' }))).ScalableTargets!;

  await ecs.send(new CreateClusterCommand({ clusterName: 'c' }));
  await assert.rejects(register(1, 2), {
    name: 'ValidationException',
    message: /ECS service doesn't exist: service\/c\/s/,
  });
  await ecs.send(new RegisterTaskDefinitionCommand(SMALLEST_TASK));
  await ecs.send(
    new CreateServiceCommand({
      cluster: 'c',
      serviceName: 's',
      taskDefinition: 'f',
      desiredCount: 0,
      launchType: 'FARGATE',
      networkConfiguration: { awsvpcConfiguration: { subnets: [subnet] } },
    }),
  );
  await assert.rejects(register(3, 2), { name: 'ValidationException' });
  await assert.rejects(register(), { name: 'ValidationException' });
  const { ScalableTargetARN } = await register(0, 3, { a: 'b' });
  assert.equal(await desired(), 0);
  await register(2);
  assert.equal(await desired(), 2);
  await register(0, 1);
  assert.equal(await desired(), 1);
  const causes = (
    await scaling.send(new DescribeScalingActivitiesCommand({ ServiceNamespace: 'ecs' }))
  ).ScalingActivities!.map((it) => it.Cause);
  assert.deepEqual(causes, ['maximum capacity was set to 1', 'minimum capacity was set to 2']);
  assert.deepEqual((await scaling.send(new ListTagsForResourceCommand({ ResourceARN: ScalableTargetARN! }))).Tags, {
    a: 'b',
  });
  assert.deepEqual(
    (await targets()).map((it) => [it.ResourceId, it.MinCapacity, it.MaxCapacity]),
    [['service/c/s', 0, 1]],
  );

  await ecs.send(new DeleteServiceCommand({ cluster: 'c', service: 's', force: true }));
  assert.equal((await targets()).length, 1);
  await scaling.send(new DeregisterScalableTargetCommand(target));
  assert.deepEqual(await targets(), []);
  await assert.rejects(scaling.send(new DeregisterScalableTargetCommand(target)), { name: 'ObjectNotFoundException' });
});
