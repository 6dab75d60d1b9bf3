/**
 * What the control plane's role cannot do, tried: each call is one that it makes itself, with one thing changed. The
 * account is as strict as AWS about these keys: https://docs.aws.amazon.com/service-authorization/latest/reference/
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FilterLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs';
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  CreateVpcCommand,
  DeleteSubnetCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import {
  CreateServiceCommand,
  DeleteClusterCommand,
  ECSClient,
  ExecuteCommandCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  UpdateServiceCommand,
  type CreateServiceCommandInput,
  type RegisterTaskDefinitionCommandInput,
} from '@aws-sdk/client-ecs';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  DeleteListenerCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { AttachRolePolicyCommand, GetRoleCommand, ListRolesCommand } from '@aws-sdk/client-iam';
import {
  CreateDBInstanceCommand,
  CreateDBSubnetGroupCommand,
  DeleteDBSubnetGroupCommand,
  ModifyDBInstanceCommand,
  RDSClient,
  type CreateDBInstanceCommandInput,
} from '@aws-sdk/client-rds';
import { GetObjectCommand, ListBucketsCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { GetSecretValueCommand } from '@aws-sdk/client-secrets-manager';
import { DeleteNamespaceCommand } from '@aws-sdk/client-servicediscovery';
import { GetParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { codeOf, isDenied } from '../../services/reconciler/aws/errors.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';

const ACCOUNT = '371000000001';
let rehearsal: Rehearsal;
let t: TestPlace;
let aws: Account;
const ours = { 'freehold:place': 'freehold', 'freehold:deployment': 'd' };
const tags = Object.entries(ours).map(([key, value]) => ({ key, value }));
const Tags = Object.entries(ours).map(([Key, Value]) => ({ Key, Value }));

before(async () => {
  rehearsal = await openQuickRehearsal();
  t = await makePlace(rehearsal, ACCOUNT);
  aws = await t.accounts.enter(t.place, { name: 'bounds' });
});
after(async () => {
  t?.close();
  await rehearsal?.stop();
});

async function refused(what: string, call: () => Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(isDenied(error), `${what}: ${codeOf(error)}: ${String(error)}`);
    return true;
  });
}
const root = () => ({ endpoint: rehearsal.endpoint, region: 'us-east-1', credentials: rehearsal.root(ACCOUNT) });

test('databases: PostgreSQL, encrypted, without a public address, in the subnets of the stack', async () => {
  const asWeDo: CreateDBInstanceCommandInput = {
    DBInstanceIdentifier: 'freehold-bounds',
    DBInstanceClass: 'db.t4g.micro',
    Engine: 'postgres',
    AllocatedStorage: 20,
    MasterUsername: 'freehold',
    MasterUserPassword: 'thrown-away-1',
    DBSubnetGroupName: 'freehold',
    StorageEncrypted: true,
    PubliclyAccessible: false,
    Tags,
  };
  const create = (changed: Partial<CreateDBInstanceCommandInput>) => () =>
    aws.rds.send(new CreateDBInstanceCommand({ ...asWeDo, ...changed }));
  await refused('public', create({ PubliclyAccessible: true }));
  await refused('as AWS decides', create({ PubliclyAccessible: undefined }));
  await refused('not encrypted', create({ StorageEncrypted: false }));
  await refused('encryption not asked for', create({ StorageEncrypted: undefined }));
  await refused('mysql', create({ Engine: 'mysql' }));
  await refused('without our tag', create({ Tags: [] }));
  await refused('another name', create({ DBInstanceIdentifier: 'other' }));
  const { privateSubnetIds: SubnetIds } = t.place;
  await new RDSClient(root()).send(
    new CreateDBSubnetGroupCommand({ DBSubnetGroupName: 'other', DBSubnetGroupDescription: 'x', SubnetIds }),
  );
  await refused('other subnets', create({ DBSubnetGroupName: 'other' }));
  await create({})();
  const into = { DBInstanceIdentifier: 'freehold-bounds', DBSubnetGroupName: 'other' };
  await refused('into other subnets', () => aws.rds.send(new ModifyDBInstanceCommand(into)));
  await refused('the subnet group', () =>
    aws.rds.send(new DeleteDBSubnetGroupCommand({ DBSubnetGroupName: 'freehold' })),
  );
});

test('services: of our definitions, in private subnets, without a public address, without a shell', async () => {
  const { privateSubnetIds, publicSubnetIds, clusterArn, executionRoleArn, taskRoleArn } = t.place;
  const definition: RegisterTaskDefinitionCommandInput = {
    family: 'freehold-bounds',
    requiresCompatibilities: ['FARGATE'],
    networkMode: 'awsvpc',
    cpu: '256',
    memory: '512',
    executionRoleArn,
    taskRoleArn,
    containerDefinitions: [{ name: 'server', image: 'none', essential: true }],
    tags,
  };
  const register = (changed: Partial<RegisterTaskDefinitionCommandInput>) => () =>
    aws.ecs.send(new RegisterTaskDefinitionCommand({ ...definition, ...changed }));
  await refused('privileged', register({ containerDefinitions: [{ name: 'x', image: 'none', privileged: true }] }));
  await refused('another role', register({ taskRoleArn: t.place.roleArn }));
  const { taskDefinition } = await register({})();
  const other = await new ECSClient(root()).send(
    new RegisterTaskDefinitionCommand({ ...definition, family: 'other', tags: undefined }),
  );
  const [subnet] = privateSubnetIds;
  const network = (subnets: string[], assignPublicIp: 'ENABLED' | 'DISABLED' = 'DISABLED') => ({
    awsvpcConfiguration: { subnets, assignPublicIp },
  });
  const asWeDo: CreateServiceCommandInput = {
    cluster: clusterArn,
    serviceName: 'freehold-bounds',
    taskDefinition: taskDefinition!.taskDefinitionArn,
    desiredCount: 0,
    launchType: 'FARGATE',
    networkConfiguration: network([subnet!]),
    enableExecuteCommand: false,
    tags,
  };
  const changes: Record<string, Partial<CreateServiceCommandInput>> = {
    'a public address': { networkConfiguration: network([subnet!], 'ENABLED') },
    'a public subnet': { networkConfiguration: network([publicSubnetIds[0]!]) },
    'a public subnet beside a private one': { networkConfiguration: network([subnet!, publicSubnetIds[0]!]) },
    'a shell': { enableExecuteCommand: true },
    "somebody's definition": { taskDefinition: other.taskDefinition!.taskDefinitionArn },
  };
  const create = (changed: Partial<CreateServiceCommandInput>) => () =>
    aws.ecs.send(new CreateServiceCommand({ ...asWeDo, ...changed }));
  for (const [what, changed] of Object.entries(changes)) await refused(`create: ${what}`, create(changed));
  await refused('create: no network', create({ networkConfiguration: undefined }));
  await create({})();
  const update = (changed: Partial<CreateServiceCommandInput>) => {
    const { networkConfiguration, enableExecuteCommand, taskDefinition: to } = changed;
    const service = 'freehold-bounds';
    return () =>
      aws.ecs.send(
        new UpdateServiceCommand({
          cluster: clusterArn,
          service,
          networkConfiguration,
          enableExecuteCommand,
          taskDefinition: to,
        }),
      );
  };
  await eventually('the service can be changed', () =>
    aws.ecs.send(new UpdateServiceCommand({ cluster: clusterArn, service: 'freehold-bounds', desiredCount: 0 })),
  );
  for (const [what, changed] of Object.entries(changes)) await refused(`update: ${what}`, update(changed));
  await update({ networkConfiguration: network([...privateSubnetIds]) })();
});

test('groups: of this network only', async () => {
  const { Vpc } = await new EC2Client(root()).send(new CreateVpcCommand({ CidrBlock: '10.9.0.0/16' }));
  const TagSpecifications = [{ ResourceType: 'security-group' as const, Tags }];
  const make = { GroupName: 'freehold-bounds', Description: 'x', TagSpecifications };
  await refused('made in another', () => aws.ec2.send(new CreateSecurityGroupCommand({ ...make, VpcId: Vpc!.VpcId })));
  // With our tag, as somebody may have put it there.
  const { GroupId } = await new EC2Client(root()).send(new CreateSecurityGroupCommand({ ...make, VpcId: Vpc!.VpcId }));
  const IpPermissions = [{ IpProtocol: 'tcp', FromPort: 5432, ToPort: 5432, IpRanges: [{ CidrIp: '0.0.0.0/0' }] }];
  await refused('opened in another', () =>
    aws.ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions })),
  );
});

test('what is denied, whatever else is allowed: with the rights of an administrator on top', async () => {
  await t.allow([{ actions: ['*'], resources: ['*'], why: 'somebody attached more' }]);
  const fresh = await t.accounts.enter(t.place, { name: 'denials' });
  const { Credentials: given } = await new STSClient({ ...root(), credentials: t.credentials }).send(
    new AssumeRoleCommand({ RoleArn: t.place.roleArn, RoleSessionName: 'ssm', ExternalId: t.place.externalId }),
  );
  const credentials = {
    accessKeyId: given!.AccessKeyId!,
    secretAccessKey: given!.SecretAccessKey!,
    sessionToken: given!.SessionToken!,
  };
  const ssm = new SSMClient({ ...root(), credentials });
  const Bucket = t.place.uploadBucket!;
  const { clusterArn, listenerArn, roleArn, loadBalancerArn, namespaceId } = t.place;
  const PolicyArn = 'arn:aws:iam::aws:policy/AdministratorAccess';
  const tries: Record<string, () => Promise<unknown>> = {
    'a secret': () => fresh.secrets.send(new GetSecretValueCommand({ SecretId: 'freehold/x' })),
    'an archive': () => fresh.s3.send(new GetObjectCommand({ Bucket, Key: 'uploads/x' })),
    'an object beside the archives': () => fresh.s3.send(new PutObjectCommand({ Bucket, Key: 'x', Body: 'x' })),
    'the buckets': () => fresh.s3.send(new ListBucketsCommand({})),
    'a log that is not of a deployment': () =>
      fresh.logs.send(new FilterLogEventsCommand({ logGroupName: '/aws/rds/instance/x' })),
    'a shell': () =>
      fresh.ecs.send(new ExecuteCommandCommand({ cluster: clusterArn, task: 'x', command: 'sh', interactive: true })),
    'a task': () => fresh.ecs.send(new RunTaskCommand({ cluster: clusterArn, taskDefinition: 'freehold-bounds' })),
    'the cluster': () => fresh.ecs.send(new DeleteClusterCommand({ cluster: clusterArn })),
    'a load balancer': () => fresh.elb.send(new CreateLoadBalancerCommand({ Name: 'x', Scheme: 'internet-facing' })),
    'a listener': () =>
      fresh.elb.send(
        new CreateListenerCommand({ LoadBalancerArn: loadBalancerArn, Port: 81, Protocol: 'HTTP', DefaultActions: [] }),
      ),
    'the listener': () => fresh.elb.send(new DeleteListenerCommand({ ListenerArn: listenerArn })),
    'the namespace': () => fresh.discovery.send(new DeleteNamespaceCommand({ Id: namespaceId })),
    'a subnet': () => fresh.ec2.send(new DeleteSubnetCommand({ SubnetId: t.place.privateSubnetIds[0] })),
    'its own rights': () =>
      fresh.iam.send(new AttachRolePolicyCommand({ RoleName: roleArn.split('/')[1]!, PolicyArn })),
    "its tasks' rights": () => fresh.iam.send(new AttachRolePolicyCommand({ RoleName: 'freehold-task', PolicyArn })),
    'its own role': () => fresh.iam.send(new GetRoleCommand({ RoleName: roleArn.split('/')[1]! })),
    roles: () => fresh.iam.send(new ListRolesCommand({})),
    'a parameter': () => ssm.send(new GetParameterCommand({ Name: '/x' })),
  };
  for (const [what, call] of Object.entries(tries)) await refused(what, call);
});
