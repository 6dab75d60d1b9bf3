/** The account's time is moved on instead of waited for; what is AWS's own follows, what is a process's does not. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  CreateNatGatewayCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DeleteNatGatewayCommand,
  DescribeNatGatewaysCommand,
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
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  StopServiceDeploymentCommand,
  StopTaskCommand,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs';
import {
  CreateLoadBalancerCommand,
  DescribeLoadBalancersCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { CreateRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import {
  CreateDBInstanceCommand,
  CreateDBSnapshotCommand,
  CreateDBSubnetGroupCommand,
  DeleteDBInstanceCommand,
  DescribeDBInstancesCommand,
  DescribeDBSnapshotsCommand,
  ModifyDBInstanceCommand,
  RDSClient,
  RebootDBInstanceCommand,
} from '@aws-sdk/client-rds';
import {
  CreateSecretCommand,
  DeleteSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  RestoreSecretCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import {
  CreatePrivateDnsNamespaceCommand,
  CreateServiceCommand as CreateMapServiceCommand,
  GetOperationCommand,
  RegisterInstanceCommand,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery';
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { startRehearsal, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate } from '../support/fargate.ts';
import { SMALLEST_TASK } from '../support/requests.ts';

const ACCOUNT = '424242424242';
const [HOUR, DAY] = [3600, 86_400];
let account: Rehearsal;
let subnets: string[];
let VpcId: string;
const options = (credentials: Credentials = account.root(ACCOUNT), from = account) => ({
  endpoint: from.endpoint,
  region: 'us-east-1',
  credentials,
  maxAttempts: 1,
});
before(async () => {
  account = await startRehearsal({ postgres: '' }); // at AWS's own pace
  const ec2 = new EC2Client(options());
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
  await new ECSClient(options()).send(new CreateClusterCommand({ clusterName: 'c' }));
});
after(() => account.stop());

/** Skips a little at a time until it is so: what is set in motion takes its time from there. */
async function passing<T>(what: string, step: number, look: () => Promise<T | undefined | false>) {
  return eventually(what, async () => {
    const seen = await look();
    if (!seen) await account.skip(step);
    return seen;
  });
}

test('time is skipped forward only, by a number of seconds', async () => {
  const now = await account.skip(0);
  assert.ok(Math.abs((await account.skip(DAY)) - now - DAY) < 2);
  await assert.rejects(account.skip(-1), /time does not go back/);
  await assert.rejects(account.skip('1' as never), /not a number/);
});

// https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_delete-secret.html
test('a deleted secret can be restored within its recovery window, is gone after it, and its name is free then', async () => {
  const secrets = new SecretsManagerClient(options());
  const make = (Name: string) => secrets.send(new CreateSecretCommand({ Name, SecretString: 'x' }));
  await make('kept');
  await make('gone');
  for (const SecretId of ['kept', 'gone'])
    await secrets.send(new DeleteSecretCommand({ SecretId, RecoveryWindowInDays: 7 }));
  await account.skip(7 * DAY - 60);
  assert.ok((await secrets.send(new DescribeSecretCommand({ SecretId: 'gone' }))).DeletedDate);
  await assert.rejects(make('gone'), { name: 'InvalidRequestException' });
  await secrets.send(new RestoreSecretCommand({ SecretId: 'kept' }));
  await account.skip(120);
  assert.equal((await secrets.send(new GetSecretValueCommand({ SecretId: 'kept' }))).SecretString, 'x');
  await assert.rejects(secrets.send(new DescribeSecretCommand({ SecretId: 'gone' })), {
    name: 'ResourceNotFoundException',
  });
  await make('gone');
});

// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html: an hour unless asked otherwise
test('a session ends after its hour', async () => {
  const user = await account.createUser(ACCOUNT, 'u', {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: '*' }],
  });
  await new IAMClient(options()).send(
    new CreateRoleCommand({
      RoleName: 'r',
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Principal: { AWS: ACCOUNT }, Action: 'sts:AssumeRole' }],
      }),
    }),
  );
  const { Credentials: it } = await new STSClient(options(user)).send(
    new AssumeRoleCommand({ RoleArn: `arn:aws:iam::${ACCOUNT}:role/r`, RoleSessionName: 'session' }),
  );
  const session = new STSClient(
    options({ accessKeyId: it!.AccessKeyId!, secretAccessKey: it!.SecretAccessKey!, sessionToken: it!.SessionToken! }),
  );
  await account.skip(HOUR - 60);
  await session.send(new GetCallerIdentityCommand({}));
  await account.skip(120);
  await assert.rejects(session.send(new GetCallerIdentityCommand({})), /ExpiredToken|expired/);
});

// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-currenttime
test('a permission until a date ends at that date', async () => {
  const now = await account.skip(0);
  const until = new Date((now + DAY) * 1000).toISOString();
  const user = await account.createUser(ACCOUNT, 'dated', {
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: 'ecs:*', Resource: '*', Condition: { DateLessThan: { 'aws:CurrentTime': until } } },
    ],
  });
  const ecs = new ECSClient(options(user));
  const read = () => ecs.send(new ListServicesCommand({ cluster: 'c' }));
  await read();
  await account.skip(DAY + 60);
  await assert.rejects(read(), { name: 'AccessDeniedException' });
});

test('RDS', async (t) => {
  const rds = new RDSClient(options());
  const instance = { DBInstanceIdentifier: 'd' };
  const status = async () =>
    (await rds.send(new DescribeDBInstancesCommand(instance))).DBInstances![0]!.DBInstanceStatus!;
  const becomes = async (wanted: string, step: number): Promise<string[]> => {
    const seen: string[] = [];
    await passing(wanted, step, async () => {
      const now = await status();
      if (seen.at(-1) !== now) seen.push(now);
      return now === wanted;
    });
    return seen;
  };
  await rds.send(
    new CreateDBSubnetGroupCommand({ DBSubnetGroupName: 'n', DBSubnetGroupDescription: 'x', SubnetIds: subnets }),
  );
  // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html
  await t.test('an instance is creating, backing-up, available', async () => {
    await rds.send(
      new CreateDBInstanceCommand({
        ...instance,
        DBInstanceClass: 'db.t4g.micro',
        Engine: 'postgres',
        AllocatedStorage: 20,
        MasterUsername: 'owner',
        MasterUserPassword: 'long-enough-1',
        DBSubnetGroupName: 'n',
        BackupRetentionPeriod: 7,
      }),
    );
    assert.deepEqual(await becomes('available', 60), ['creating', 'backing-up', 'available']);
  });
  await t.test('a change and a restart take their time', async () => {
    await rds.send(
      new ModifyDBInstanceCommand({ ...instance, DBInstanceClass: 'db.t4g.small', ApplyImmediately: true }),
    );
    await becomes('modifying', 2);
    await becomes('available', 20);
    await rds.send(new RebootDBInstanceCommand(instance));
    assert.deepEqual(await becomes('available', 20), ['rebooting', 'available']);
  });
  const snapshots = async (SnapshotType: string) =>
    (await rds.send(new DescribeDBSnapshotsCommand({ ...instance, SnapshotType }))).DBSnapshots!;
  // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithAutomatedBackups.html
  await t.test('there is a backup a day, for as long as backups are kept', async () => {
    assert.equal((await snapshots('automated')).length, 1);
    await account.skip(3 * DAY);
    const four = await snapshots('automated');
    assert.equal(four.length, 4);
    assert.match(four[0]!.DBSnapshotIdentifier!, /^rds:d-\d{4}-\d\d-\d\d-\d\d-\d\d$/);
    await account.skip(30 * DAY);
    assert.equal((await snapshots('automated')).length, 7);
  });
  await t.test('a snapshot is creating, then available; a delete takes its time, and the backups with it', async () => {
    await rds.send(new CreateDBSnapshotCommand({ ...instance, DBSnapshotIdentifier: 'mine' }));
    assert.equal((await snapshots('manual'))[0]!.Status, 'creating');
    await passing('the snapshot', 60, async () => (await snapshots('manual'))[0]!.Status === 'available');
    await becomes('available', 10);
    await rds.send(new DeleteDBInstanceCommand({ ...instance, SkipFinalSnapshot: true }));
    assert.equal(await status(), 'deleting');
    await passing('the delete', 60, async () =>
      status().then(
        () => false,
        () => true,
      ),
    );
    assert.deepEqual(await snapshots('automated'), []);
    assert.equal((await snapshots('manual')).length, 1);
  });
});

// https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-working-with.html
test('a NAT gateway is pending for minutes, and shown for an hour after it was deleted', async () => {
  const ec2 = new EC2Client(options());
  const made = await ec2.send(new CreateNatGatewayCommand({ SubnetId: subnets[0]!, ConnectivityType: 'private' }));
  const NatGatewayId = made.NatGateway!.NatGatewayId!;
  const state = async () =>
    (
      await ec2.send(new DescribeNatGatewaysCommand({ Filter: [{ Name: 'subnet-id', Values: [subnets[0]!] }] }))
    ).NatGateways!.find((one) => one.NatGatewayId === NatGatewayId)?.State;
  assert.equal(await state(), 'pending');
  await account.skip(120);
  assert.equal(await state(), 'available');
  await ec2.send(new DeleteNatGatewayCommand({ NatGatewayId }));
  assert.equal(await state(), 'deleting');
  await account.skip(HOUR - 60);
  assert.equal(await state(), 'deleted');
  await account.skip(200);
  assert.equal(await state(), undefined);
});

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerState.html
test('a load balancer is provisioning for minutes', async () => {
  const elb = new ElasticLoadBalancingV2Client(options());
  await elb.send(new CreateLoadBalancerCommand({ Name: 'b', Scheme: 'internal', Subnets: subnets }));
  const state = async () =>
    (await elb.send(new DescribeLoadBalancersCommand({ Names: ['b'] }))).LoadBalancers![0]!.State!.Code;
  assert.equal(await state(), 'provisioning');
  await account.skip(100);
  assert.equal(await state(), 'provisioning');
  await account.skip(80);
  assert.equal(await state(), 'active');
});

// https://docs.aws.amazon.com/cloud-map/latest/api/API_GetOperation.html
test('operations of Cloud Map are PENDING first', async () => {
  const map = new ServiceDiscoveryClient(options());
  const done = async (OperationId: string) => {
    const read = async () => (await map.send(new GetOperationCommand({ OperationId }))).Operation!;
    assert.equal((await read()).Status, 'PENDING');
    await account.skip(60);
    const now = await read();
    assert.equal(now.Status, 'SUCCESS');
    return now.Targets!;
  };
  const made = await map.send(new CreatePrivateDnsNamespaceCommand({ Name: 'place.internal', Vpc: VpcId }));
  const NamespaceId = (await done(made.OperationId!))['NAMESPACE']!;
  const service = await map.send(
    new CreateMapServiceCommand({ Name: 's', NamespaceId, DnsConfig: { DnsRecords: [{ Type: 'A', TTL: 10 }] } }),
  );
  const ServiceId = service.Service!.Id!;
  const registered = await map.send(
    new RegisterInstanceCommand({ ServiceId, InstanceId: 'i', Attributes: { AWS_INSTANCE_IPV4: '10.0.0.9' } }),
  );
  await done(registered.OperationId!);
});

test('ECS', async (t) => {
  const ecs = new ECSClient(options());
  await ecs.send(new RegisterTaskDefinitionCommand(SMALLEST_TASK));
  const places = { awsvpcConfiguration: { subnets } };
  const create = (serviceName: string) =>
    ecs.send(
      new CreateServiceCommand({
        cluster: 'c',
        serviceName,
        taskDefinition: 'f',
        desiredCount: 0,
        launchType: 'FARGATE',
        networkConfiguration: places,
      }),
    );
  // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html: "stopped tasks appear in the
  // returned results for at least one hour"
  await t.test('a task goes through its states; a stopped one is known for an hour', async () => {
    const run = await ecs.send(
      new RunTaskCommand({ cluster: 'c', taskDefinition: 'f', launchType: 'FARGATE', networkConfiguration: places }),
    );
    const tasks = [run.tasks![0]!.taskArn!];
    const found = async () => (await ecs.send(new DescribeTasksCommand({ cluster: 'c', tasks }))).tasks![0];
    assert.equal((await found())!.lastStatus, 'PROVISIONING');
    const made = (await found())!.createdAt!.getTime() / 1000;
    assert.ok(Math.abs(made - (await account.skip(0))) < 60, 'at the time of the account');
    await ecs.send(new StopTaskCommand({ cluster: 'c', task: tasks[0]! }));
    await passing('it is stopped', 10, async () => (await found())!.lastStatus === 'STOPPED');
    await account.skip(HOUR - 120);
    assert.ok(await found());
    await account.skip(240);
    assert.equal(await found(), undefined);
    const stopped = await ecs.send(new ListTasksCommand({ cluster: 'c', desiredStatus: 'STOPPED' }));
    assert.deepEqual(stopped.taskArns, []);
  });
  // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html
  await t.test('a deleted service is INACTIVE for a time, then MISSING', async () => {
    await create('s');
    await ecs.send(new DeleteServiceCommand({ cluster: 'c', service: 's' }));
    await assert.rejects(create('s'), { message: 'Unable to Start a service that is still Draining.' });
    const read = () => ecs.send(new DescribeServicesCommand({ cluster: 'c', services: ['s'] }));
    await passing('INACTIVE', 5, async () => (await read()).services![0]!.status === 'INACTIVE');
    await account.skip(HOUR + 60);
    assert.equal((await read()).failures![0]!.reason, 'MISSING');
  });
  // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopServiceDeployment.html
  await t.test(
    'a stopped deployment is asked to roll back, rolls back at the scheduler’s next look, then has',
    async () => {
      const service = { cluster: 'c', service: 'rolled' };
      await create('rolled');
      const newest = async () =>
        (await ecs.send(new ListServiceDeploymentsCommand(service))).serviceDeployments!.toSorted(
          (a, b) => b.createdAt!.getTime() - a.createdAt!.getTime(),
        )[0]!;
      await passing('a first one has completed', 5, async () => (await newest()).status === 'SUCCESSFUL');
      await ecs.send(new UpdateServiceCommand({ ...service, forceNewDeployment: true }));
      await account.skip(4);
      const { serviceDeploymentArn, status } = await newest();
      assert.equal(status, 'IN_PROGRESS');
      await ecs.send(new StopServiceDeploymentCommand({ serviceDeploymentArn }));
      assert.equal((await newest()).status, 'ROLLBACK_REQUESTED');
      await account.skip(4);
      assert.equal((await newest()).status, 'ROLLBACK_IN_PROGRESS');
      await passing('it has', 5, async () => (await newest()).status === 'ROLLBACK_SUCCESSFUL');
    },
  );
});

test('a process that runs lives through a skip of thirty days, and so does a service with its health checks', async () => {
  const f = await fargate(account, '434343434343');
  const definition = await f.define('f', { REVISION: 'one' });
  const networkConfiguration = f.networkConfiguration;
  await f.ecs.send(
    new CreateServiceCommand({
      cluster: CLUSTER,
      serviceName: 's',
      taskDefinition: definition,
      desiredCount: 1,
      launchType: 'FARGATE',
      networkConfiguration,
    }),
  );
  const read = async () =>
    (await f.ecs.send(new DescribeServicesCommand({ cluster: CLUSTER, services: ['s'] }))).services![0]!;
  await passing('it runs', 5, async () => (await read()).deployments![0]!.rolloutState === 'COMPLETED');
  const before = (await account.processes()).length;
  const { taskArns } = await f.ecs.send(new ListTasksCommand({ cluster: CLUSTER }));
  await account.skip(30 * DAY);
  const since = await read();
  assert.equal(since.runningCount, 1);
  assert.equal(since.deployments![0]!.rolloutState, 'COMPLETED');
  assert.deepEqual((await f.ecs.send(new ListTasksCommand({ cluster: CLUSTER }))).taskArns, taskArns);
  assert.equal((await account.processes()).length, before);
});

// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListStacks.html: "kept for 90 days"
test('a deleted stack is listed for 90 days', async () => {
  const call = async (Action: string, given: Record<string, string> = {}): Promise<string> => {
    const answer = await fetch(account.endpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `AWS4-HMAC-SHA256 Credential=${ACCOUNT}/20261121/us-east-1/cloudformation/aws4_request, SignedHeaders=host, Signature=0`,
      },
      body: new URLSearchParams({ Action, Version: '2010-05-15', ...given }),
    });
    return answer.text();
  };
  const TemplateBody = JSON.stringify({ Resources: { L: { Type: 'AWS::Logs::LogGroup', Properties: {} } } });
  await call('CreateStack', { StackName: 's', TemplateBody });
  const listed = async () => /<StackStatus>(\w+)</.exec(await call('ListStacks'))?.[1];
  await passing('it is made', 5, async () => (await listed()) === 'CREATE_COMPLETE');
  await call('DeleteStack', { StackName: 's' });
  await passing('it is deleted', 5, async () => (await listed()) === 'DELETE_COMPLETE');
  assert.match(await call('DescribeStacks', { StackName: 's' }), /does not exist/);
  await account.skip(89 * DAY);
  assert.equal(await listed(), 'DELETE_COMPLETE');
  await account.skip(2 * DAY);
  assert.equal(await listed(), undefined);
});

test('one seed, one run: ids, orders and calls; another seed, another', async () => {
  const run = async (seed: number) => {
    const it = await startRehearsal({ seed, postgres: '' });
    const with_ = options(it.root(ACCOUNT), it);
    const [ec2, secrets, ecs, map] = [
      new EC2Client(with_),
      new SecretsManagerClient(with_),
      new ECSClient(with_),
      new ServiceDiscoveryClient(with_),
    ];
    const vpc = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
    const subnet = (await ec2.send(new CreateSubnetCommand({ VpcId: vpc, CidrBlock: '10.0.0.0/24' }))).Subnet!
      .SubnetId!;
    const secret = (await secrets.send(new CreateSecretCommand({ Name: 's', SecretString: 'x' }))).ARN!;
    await ecs.send(new CreateClusterCommand({ clusterName: 'c' }));
    await ecs.send(new RegisterTaskDefinitionCommand(SMALLEST_TASK));
    for (let n = 0; n < 12; n++)
      await ecs.send(
        new CreateServiceCommand({
          cluster: 'c',
          serviceName: `s${n}`,
          taskDefinition: 'f',
          desiredCount: 0,
          launchType: 'FARGATE',
          networkConfiguration: { awsvpcConfiguration: { subnets: [subnet] } },
        }),
      );
    const page = await ecs.send(new ListServicesCommand({ cluster: 'c' }));
    const task = await ecs.send(
      new RunTaskCommand({
        cluster: 'c',
        taskDefinition: 'f',
        launchType: 'FARGATE',
        networkConfiguration: { awsvpcConfiguration: { subnets: [subnet] } },
      }),
    );
    const { OperationId } = await map.send(new CreatePrivateDnsNamespaceCommand({ Name: 'p.internal', Vpc: vpc }));
    const calls = (await it.calls()).map((call) => `${call.service}:${call.action} ${call.resource} ${call.error}`);
    await it.stop();
    return {
      vpc,
      subnet,
      secret,
      page: page.serviceArns,
      token: page.nextToken,
      task: task.tasks![0]!.taskArn,
      OperationId,
      calls,
    };
  };
  const [one, same, other] = [await run(7), await run(7), await run(8)];
  assert.deepEqual(same, one);
  for (const key of ['vpc', 'subnet', 'page', 'token', 'task', 'OperationId'] as const)
    assert.notDeepEqual(other[key], one[key], key);
});
