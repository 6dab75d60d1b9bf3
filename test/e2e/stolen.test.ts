/**
 * A stolen control plane: with all that it holds (its AWS credentials, the place's external id and names) somebody
 * tries the customer's account, past our code, by the whole role and with the deletion gate closed. What they get done
 * and what they do not is what docs/threat-model.md lists.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as AutoScaling from '@aws-sdk/client-application-auto-scaling';
import * as Logs from '@aws-sdk/client-cloudwatch-logs';
import * as Ec2 from '@aws-sdk/client-ec2';
import * as Ecr from '@aws-sdk/client-ecr';
import * as Ecs from '@aws-sdk/client-ecs';
import * as Elb from '@aws-sdk/client-elastic-load-balancing-v2';
import * as Iam from '@aws-sdk/client-iam';
import * as Rds from '@aws-sdk/client-rds';
import * as S3 from '@aws-sdk/client-s3';
import * as Secrets from '@aws-sdk/client-secrets-manager';
import * as Ssm from '@aws-sdk/client-ssm';
import * as Discovery from '@aws-sdk/client-servicediscovery';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { names } from '../../services/reconciler/aws/names.ts';
import { TAG } from '../../services/reconciler/aws/tags.ts';
import { eventually } from '../support/eventually.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import { publishedStack } from '../support/stack.ts';
import * as stage from './stage.ts';

const ACCOUNT = '437000000001';
const DOCUMENT = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'threat-model.md'), 'utf8');

const gateClosed: typeof publishedStack = (options) =>
  publishedStack({ ...options, context: { ...options.context, allowDeletionUntil: '' } });

type Sent = Promise<unknown>;
const clientsOf = (config: ReturnType<typeof stage.customerClient>) => ({
  scaling: new AutoScaling.ApplicationAutoScalingClient(config),
  logs: new Logs.CloudWatchLogsClient(config),
  ec2: new Ec2.EC2Client(config),
  ecr: new Ecr.ECRClient(config),
  discovery: new Discovery.ServiceDiscoveryClient(config),
  ecs: new Ecs.ECSClient(config),
  elb: new Elb.ElasticLoadBalancingV2Client(config),
  iam: new Iam.IAMClient(config),
  rds: new Rds.RDSClient(config),
  s3: new S3.S3Client({ ...config, forcePathStyle: true }),
  secrets: new Secrets.SecretsManagerClient(config),
  ssm: new Ssm.SSMClient(config),
  sts: new STSClient(config),
});

let on: stage.Stage;
/** The customer, and the thief. */
let own: ReturnType<typeof clientsOf>;
let thief: ReturnType<typeof clientsOf>;
let place: stage.Stage['places'][string];
let called: ReturnType<typeof names>;
let deployment: stage.Json;
/** The customer's things that have nothing to do with us. */
const theirs = {
  secret: '',
  group: '',
  targetGroup: '',
  admin: '',
  repository: 'payroll',
  bucket: `payroll-${ACCOUNT}`,
};

before(async () => {
  on = await stage.open('stolen', [ACCOUNT], {}, gateClosed, openQuickRehearsal);
  place = on.places[ACCOUNT]!;
  const config = stage.customerClient(on.rehearsal, ACCOUNT);
  own = clientsOf(config);
  deployment = await stage.createDeployment(on.api, {
    name: 'agent',
    image: await on.push(ACCOUNT, '1'),
    listenerId: place.id,
    secrets: [{ name: 'GREETING', value: 'hello' }],
  });
  await stage.deployed(on.api, deployment.id, deployment.latest_revision_id);
  called = names(place.outputs, deployment);
  await belongings();
  await on.rehearsal.settle();

  const { credentials } = on.principal;
  const role = await new STSClient({ ...config, credentials }).send(
    new AssumeRoleCommand({
      RoleArn: place.outputs.roleArn,
      ExternalId: place.externalId,
      RoleSessionName: 'thief',
    }),
  );
  const { AccessKeyId, SecretAccessKey, SessionToken } = role.Credentials!;
  thief = clientsOf({
    ...config,
    credentials: { accessKeyId: AccessKeyId!, secretAccessKey: SecretAccessKey!, sessionToken: SessionToken! },
  });
});
after(() => on?.close());

async function belongings(): Promise<void> {
  const secret = await own.secrets.send(new Secrets.CreateSecretCommand({ Name: 'payroll', SecretString: 'salaries' }));
  theirs.secret = secret.ARN!;
  const group = await own.ec2.send(
    new Ec2.CreateSecurityGroupCommand({ GroupName: 'payroll', Description: 'payroll', VpcId: place.outputs.vpcId }),
  );
  theirs.group = group.GroupId!;
  const target = { Name: 'payroll', Protocol: 'HTTP', Port: 80, VpcId: place.outputs.vpcId, TargetType: 'ip' } as const;
  const made = await own.elb.send(new Elb.CreateTargetGroupCommand(target));
  theirs.targetGroup = made.TargetGroups![0]!.TargetGroupArn!;
  const trust = { Effect: 'Allow', Principal: { Service: 'ecs-tasks.amazonaws.com' }, Action: 'sts:AssumeRole' };
  const AssumeRolePolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [trust] });
  const admin = await own.iam.send(new Iam.CreateRoleCommand({ RoleName: 'admin', AssumeRolePolicyDocument }));
  theirs.admin = admin.Role!.Arn!;
  await own.rds.send(
    new Rds.CreateDBInstanceCommand({
      DBInstanceIdentifier: 'payroll',
      Engine: 'postgres',
      DBInstanceClass: 'db.t4g.micro',
      AllocatedStorage: 20,
      MasterUsername: 'payroll',
      MasterUserPassword: 'payroll-payroll',
      DBSubnetGroupName: place.outputs.databaseSubnetGroup,
    }),
  );
  await own.logs.send(new Logs.CreateLogGroupCommand({ logGroupName: '/payroll' }));
  await own.ecr.send(new Ecr.CreateRepositoryCommand({ repositoryName: theirs.repository }));
  await own.s3.send(new S3.CreateBucketCommand({ Bucket: theirs.bucket }));
  const archive = { Bucket: place.outputs.uploadBucket!, Key: `uploads/${deployment.id}/a.tar.gz`, Body: 'source' };
  await own.s3.send(new S3.PutObjectCommand(archive));
}

const ours = (id = deployment.id) => [
  { Key: TAG.place, Value: place.outputs.prefix },
  { Key: TAG.deployment, Value: id as string },
];
const oursLower = () => ours().map(({ Key, Value }) => ({ key: Key, value: Value }));
const arnOf = (service: string, resource: string): string =>
  `arn:aws:${service}:${stage.REGION}:${ACCOUNT}:${resource}`;
const open = { IpProtocol: 'tcp', FromPort: 5432, ToPort: 5432, IpRanges: [{ CidrIp: '0.0.0.0/0' }] };
const created = (name: string) => ({
  DBInstanceIdentifier: `${place.outputs.prefix}-${name}`,
  Engine: 'postgres',
  DBInstanceClass: 'db.t4g.micro',
  AllocatedStorage: 20,
  MasterUsername: 'thief',
  MasterUserPassword: 'thief-thief-thief',
  DBSubnetGroupName: place.outputs.databaseSubnetGroup,
  StorageEncrypted: true,
  PubliclyAccessible: false,
  Tags: ours(),
});
const family = () => `${place.outputs.prefix}-thief`;
const definition = (more: Partial<Ecs.RegisterTaskDefinitionCommandInput> = {}, container: object = {}) =>
  new Ecs.RegisterTaskDefinitionCommand({
    family: family(),
    networkMode: 'awsvpc',
    requiresCompatibilities: ['FARGATE'],
    cpu: '256',
    memory: '512',
    executionRoleArn: place.outputs.executionRoleArn,
    containerDefinitions: [
      {
        name: 'server',
        image: 'public.ecr.aws/docker/library/redis:7.4',
        essential: true,
        portMappings: [{ containerPort: 8000 }],
        ...container,
      },
    ],
    tags: oursLower(),
    ...more,
  });
const updated = (more: object) =>
  new Ecs.UpdateServiceCommand({ cluster: place.outputs.clusterArn, service: called.service, ...more });
const network = (more: object) => ({
  networkConfiguration: {
    awsvpcConfiguration: { subnets: place.outputs.privateSubnetIds, securityGroups: [], ...more },
  },
});

/** Heading, and what is tried under it, in the words of the document. */
const REFUSED: Record<string, Record<string, () => Sent>> = {
  'read a secret': {
    "a deployment's own secret": () =>
      thief.secrets.send(new Secrets.GetSecretValueCommand({ SecretId: called.secret('environment') })),
    'many at once': () =>
      thief.secrets.send(new Secrets.BatchGetSecretValueCommand({ SecretIdList: [called.secret('environment')] })),
    "one of the customer's": () => thief.secrets.send(new Secrets.GetSecretValueCommand({ SecretId: 'payroll' })),
    'by a policy on the secret that lets others in': () =>
      thief.secrets.send(
        new Secrets.PutResourcePolicyCommand({ SecretId: called.secret('environment'), ResourcePolicy: '{}' }),
      ),
    'by a copy in another region': () =>
      thief.secrets.send(
        new Secrets.ReplicateSecretToRegionsCommand({
          SecretId: called.secret('environment'),
          AddReplicaRegions: [{ Region: 'eu-central-1' }],
        }),
      ),
  },
  'read the database': {
    'by a snapshot of it': () =>
      thief.rds.send(
        new Rds.CreateDBSnapshotCommand({ DBInstanceIdentifier: called.database, DBSnapshotIdentifier: 'thief' }),
      ),
    'by a snapshot that another account may restore': () =>
      thief.rds.send(
        new Rds.ModifyDBSnapshotAttributeCommand({
          DBSnapshotIdentifier: `${called.database}-final`,
          AttributeName: 'restore',
          ValuesToAdd: ['999999999999'],
        }),
      ),
    'by restoring a backup of it': () =>
      thief.rds.send(
        new Rds.RestoreDBInstanceToPointInTimeCommand({
          SourceDBInstanceIdentifier: called.database,
          TargetDBInstanceIdentifier: `${place.outputs.prefix}-copy`,
          UseLatestRestorableTime: true,
        }),
      ),
    'by an export to a bucket': () =>
      thief.rds.send(
        new Rds.StartExportTaskCommand({
          ExportTaskIdentifier: 'thief',
          SourceArn: arnOf('rds', `snapshot:${called.database}`),
          S3BucketName: theirs.bucket,
          IamRoleArn: theirs.admin,
          KmsKeyId: 'alias/aws/rds',
        }),
      ),
    'by its log files': () =>
      thief.rds.send(
        new Rds.DownloadDBLogFilePortionCommand({ DBInstanceIdentifier: called.database, LogFileName: 'error/x' }),
      ),
  },
  'delete a database, or a secret': {
    "a deployment's database": () =>
      thief.rds.send(
        new Rds.DeleteDBInstanceCommand({ DBInstanceIdentifier: called.database, SkipFinalSnapshot: true }),
      ),
    "one of the customer's": () =>
      thief.rds.send(new Rds.DeleteDBInstanceCommand({ DBInstanceIdentifier: 'payroll', SkipFinalSnapshot: true })),
    'after making it look new': () =>
      thief.rds.send(
        new Rds.AddTagsToResourceCommand({
          ResourceName: arnOf('rds', `db:${called.database}`),
          Tags: [...ours(), { Key: 'freehold:provisioning', Value: 'true' }],
        }),
      ),
    "a deployment's secret": () =>
      thief.secrets.send(
        new Secrets.DeleteSecretCommand({ SecretId: called.secret('environment'), RecoveryWindowInDays: 7 }),
      ),
    'a secret, at once': () =>
      thief.secrets.send(
        new Secrets.DeleteSecretCommand({ SecretId: called.secret('environment'), ForceDeleteWithoutRecovery: true }),
      ),
    'a secret, after making it look new': () =>
      thief.secrets.send(
        new Secrets.TagResourceCommand({
          SecretId: called.secret('environment'),
          Tags: [...ours(), { Key: 'freehold:provisioning', Value: 'true' }],
        }),
      ),
    'a snapshot': () =>
      thief.rds.send(new Rds.DeleteDBSnapshotCommand({ DBSnapshotIdentifier: `${called.database}-final` })),
  },
  'touch anything that is not tagged as this place’s': {
    'a security group: open it': () =>
      thief.ec2.send(new Ec2.AuthorizeSecurityGroupIngressCommand({ GroupId: theirs.group, IpPermissions: [open] })),
    'a security group: tag it': () =>
      thief.ec2.send(new Ec2.CreateTagsCommand({ Resources: [theirs.group], Tags: ours() })),
    'a security group: remove it': () => thief.ec2.send(new Ec2.DeleteSecurityGroupCommand({ GroupId: theirs.group })),
    'a secret: write it': () =>
      thief.secrets.send(new Secrets.PutSecretValueCommand({ SecretId: theirs.secret, SecretString: 'x' })),
    'a secret: tag it': () =>
      thief.secrets.send(new Secrets.TagResourceCommand({ SecretId: theirs.secret, Tags: ours() })),
    'a database: change its password': () =>
      thief.rds.send(
        new Rds.ModifyDBInstanceCommand({ DBInstanceIdentifier: 'payroll', MasterUserPassword: 'thief-thief' }),
      ),
    'a database: tag it': () =>
      thief.rds.send(new Rds.AddTagsToResourceCommand({ ResourceName: arnOf('rds', 'db:payroll'), Tags: ours() })),
    'a log group: read it': () => thief.logs.send(new Logs.FilterLogEventsCommand({ logGroupName: '/payroll' })),
    'a log group: remove it': () => thief.logs.send(new Logs.DeleteLogGroupCommand({ logGroupName: '/payroll' })),
    'a repository: push to it': () =>
      thief.ecr.send(new Ecr.InitiateLayerUploadCommand({ repositoryName: theirs.repository })),
    'a repository: remove it': () =>
      thief.ecr.send(new Ecr.DeleteRepositoryCommand({ repositoryName: theirs.repository, force: true })),
    'a target group: change it': () =>
      thief.elb.send(new Elb.ModifyTargetGroupCommand({ TargetGroupArn: theirs.targetGroup, HealthCheckPath: '/x' })),
    'a bucket: write into it': () =>
      thief.s3.send(new S3.PutObjectCommand({ Bucket: theirs.bucket, Key: 'uploads/x', Body: 'x' })),
    'a bucket: list it': () => thief.s3.send(new S3.ListObjectsV2Command({ Bucket: theirs.bucket })),
  },
  'become more than it is': {
    'make a role': () =>
      thief.iam.send(new Iam.CreateRoleCommand({ RoleName: 'thief', AssumeRolePolicyDocument: '{}' })),
    'give its own role a policy': () =>
      thief.iam.send(
        new Iam.PutRolePolicyCommand({ RoleName: 'freehold-control-plane', PolicyName: 'x', PolicyDocument: '{}' }),
      ),
    'change who may assume its role': () =>
      thief.iam.send(
        new Iam.UpdateAssumeRolePolicyCommand({ RoleName: 'freehold-control-plane', PolicyDocument: '{}' }),
      ),
    'take the boundary off': () =>
      thief.iam.send(new Iam.DeleteRolePermissionsBoundaryCommand({ RoleName: 'freehold-task' })),
    'make a user with keys': () => thief.iam.send(new Iam.CreateAccessKeyCommand({ UserName: 'admin' })),
    'run a task as an administrator': () => thief.ecs.send(definition({ taskRoleArn: theirs.admin })),
    'assume another role': () =>
      thief.sts.send(new AssumeRoleCommand({ RoleArn: theirs.admin, RoleSessionName: 'thief' })),
    'run a command in a task': () =>
      thief.ecs.send(
        new Ecs.ExecuteCommandCommand({
          cluster: place.outputs.clusterArn,
          task: 'a'.repeat(32),
          command: 'sh',
          interactive: true,
        }),
      ),
    'run a task by itself': () =>
      thief.ecs.send(new Ecs.RunTaskCommand({ cluster: place.outputs.clusterArn, taskDefinition: family() })),
    'run a privileged container': () => thief.ecs.send(definition({}, { privileged: true })),
    'give a service a public address': () => thief.ecs.send(updated(network({ assignPublicIp: 'ENABLED' }))),
    'put a service into a public subnet': () =>
      thief.ecs.send(updated(network({ subnets: place.outputs.publicSubnetIds }))),
    'let commands into a service': () => thief.ecs.send(updated({ enableExecuteCommand: true })),
    'make a database that is public': () =>
      thief.rds.send(new Rds.CreateDBInstanceCommand({ ...created('a'), PubliclyAccessible: true })),
    'make one that is not encrypted': () =>
      thief.rds.send(new Rds.CreateDBInstanceCommand({ ...created('b'), StorageEncrypted: false })),
    'make one of another engine': () =>
      thief.rds.send(new Rds.CreateDBInstanceCommand({ ...created('c'), Engine: 'mysql' })),
  },
  'change what the stack made, or hide': {
    'release the brake': () =>
      thief.ssm.send(
        new Ssm.PutParameterCommand({ Name: place.outputs.brakeParameter ?? '/x', Value: 'run', Overwrite: true }),
      ),
    'read another parameter': () => thief.ssm.send(new Ssm.GetParameterCommand({ Name: '/payroll' })),
    'remove the log of what it did': () =>
      thief.logs.send(new Logs.DeleteLogGroupCommand({ logGroupName: place.outputs.auditLogGroup ?? '/x' })),
    'keep that log for a day': () =>
      thief.logs.send(
        new Logs.PutRetentionPolicyCommand({ logGroupName: place.outputs.auditLogGroup ?? '/x', retentionInDays: 1 }),
      ),
    'remove the cluster': () => thief.ecs.send(new Ecs.DeleteClusterCommand({ cluster: place.outputs.clusterArn })),
    'remove the load balancer': () =>
      thief.elb.send(new Elb.DeleteLoadBalancerCommand({ LoadBalancerArn: place.outputs.loadBalancerArn })),
    'send every request elsewhere, by the listener itself': () =>
      thief.elb.send(
        new Elb.ModifyListenerCommand({
          ListenerArn: place.outputs.listenerArn,
          DefaultActions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '200' } }],
        }),
      ),
    'open a listener without TLS': () =>
      thief.elb.send(
        new Elb.CreateListenerCommand({
          LoadBalancerArn: place.outputs.loadBalancerArn,
          Protocol: 'HTTP',
          Port: 8080,
          DefaultActions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '200' } }],
        }),
      ),
    'make a load balancer that is public': () =>
      thief.elb.send(
        new Elb.CreateLoadBalancerCommand({
          Name: `${place.outputs.prefix}-thief`,
          Scheme: 'internet-facing',
          Subnets: place.outputs.publicSubnetIds,
          Tags: ours(),
        }),
      ),
    'read an archive of source code': () =>
      thief.s3.send(
        new S3.GetObjectCommand({ Bucket: place.outputs.uploadBucket!, Key: `uploads/${deployment.id}/a.tar.gz` }),
      ),
    'read an image': () =>
      thief.ecr.send(
        new Ecr.GetDownloadUrlForLayerCommand({
          repositoryName: `${place.outputs.prefix}/agent`,
          layerDigest: `sha256:${'0'.repeat(64)}`,
        }),
      ),
  },
};

/** What no condition of AWS stops: told, not hidden. Each is done. */
const POSSIBLE: Record<string, () => Sent> = {
  'register a task definition with an image of its choice, which ECS injects the place’s secrets into': () =>
    thief.ecs.send(
      definition(
        { taskRoleArn: place.outputs.taskRoleArn },
        {
          secrets: [{ name: 'GREETING', valueFrom: arnOf('secretsmanager', `secret:${called.secret('environment')}`) }],
        },
      ),
    ),
  'roll a deployment out to that': () => thief.ecs.send(updated({ taskDefinition: family() })),
  'read the deployments’ log groups': () =>
    thief.logs.send(new Logs.FilterLogEventsCommand({ logGroupName: called.logGroup })),
  'set the password of a deployment’s database': () =>
    thief.rds.send(
      new Rds.ModifyDBInstanceCommand({ DBInstanceIdentifier: called.database, MasterUserPassword: 'thief-thief' }),
    ),
  'mark a deployment’s database public: its subnets are private, so that nobody reaches it': () =>
    thief.rds.send(
      new Rds.ModifyDBInstanceCommand({ DBInstanceIdentifier: called.database, PubliclyAccessible: true }),
    ),
  'write new values into a deployment’s secrets': () =>
    thief.secrets.send(
      new Secrets.PutSecretValueCommand({
        SecretId: called.secret('environment'),
        SecretString: '{"GREETING":"thief"}',
        ClientRequestToken: 'a'.repeat(32),
      }),
    ),
  'read and deregister any task definition of the region': () =>
    thief.ecs.send(new Ecs.DeregisterTaskDefinitionCommand({ taskDefinition: `${family()}:1` })),
  'see the names of the region’s secrets, never their values': () =>
    thief.secrets.send(new Secrets.ListSecretsCommand({})),
  'open a port of a deployment’s own security group': async () => {
    const Filters = [{ Name: 'group-name', Values: [called.serviceGroup] }];
    const found = await thief.ec2.send(new Ec2.DescribeSecurityGroupsCommand({ Filters }));
    const { GroupId } = found.SecurityGroups![0]!;
    await thief.ec2.send(new Ec2.AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions: [open] }));
  },
  'send every request to a service of its own, by a rule of the listener': async () => {
    const group = new Elb.CreateTargetGroupCommand({
      Name: `${place.outputs.prefix}-thief`,
      Protocol: 'HTTP',
      Port: 80,
      VpcId: place.outputs.vpcId,
      TargetType: 'ip',
      Tags: ours(),
    });
    const { TargetGroups } = await thief.elb.send(group);
    const { Rules } = await thief.elb.send(new Elb.DescribeRulesCommand({ ListenerArn: place.outputs.listenerArn }));
    const taken = new Elb.ModifyRuleCommand({
      RuleArn: Rules!.find(({ IsDefault }) => !IsDefault)!.RuleArn!,
      Conditions: [{ Field: 'path-pattern', Values: ['/*'] }],
      Actions: [{ Type: 'forward', TargetGroupArn: TargetGroups![0]!.TargetGroupArn! }],
    });
    await thief.elb.send(taken);
  },
  'make databases of its own, at the customer’s cost': () =>
    thief.rds.send(new Rds.CreateDBInstanceCommand(created('d'))),
  'shorten how long backups are kept': () =>
    thief.rds.send(
      new Rds.ModifyDBInstanceCommand({ DBInstanceIdentifier: called.database, BackupRetentionPeriod: 0 }),
    ),
  'remove archives of source code': () =>
    thief.s3.send(
      new S3.DeleteObjectCommand({ Bucket: place.outputs.uploadBucket!, Key: `uploads/${deployment.id}/a.tar.gz` }),
    ),
  'add lines of its own to the log of what it did': async () => {
    const stream = { logGroupName: place.outputs.auditLogGroup!, logStreamName: 'thief' };
    await thief.logs.send(new Logs.CreateLogStreamCommand(stream));
    await thief.logs.send(
      new Logs.PutLogEventsCommand({ ...stream, logEvents: [{ timestamp: Date.now(), message: 'all is well' }] }),
    );
  },
  'tag a Cloud Map service of somebody else as this place’s, and then remove it': async () => {
    const made = await own.discovery.send(
      new Discovery.CreateServiceCommand({
        Name: 'payroll',
        NamespaceId: place.outputs.namespaceId,
        DnsConfig: { DnsRecords: [{ Type: 'A', TTL: 10 }] },
      }),
    );
    const { Arn: ResourceARN, Id } = made.Service!;
    await thief.discovery.send(new Discovery.TagResourceCommand({ ResourceARN, Tags: ours() }));
    await thief.discovery.send(new Discovery.DeleteServiceCommand({ Id }));
  },
  'stop a deployment’s servers': () =>
    thief.ecs.send(
      new Ecs.DeleteServiceCommand({ cluster: place.outputs.clusterArn, service: called.service, force: true }),
    ),
  'remove a deployment’s logs': () =>
    thief.logs.send(new Logs.DeleteLogGroupCommand({ logGroupName: called.logGroup })),
};

const DENIED = /AccessDenied|UnauthorizedOperation|not authorized/i;

test('nothing that needs more than the role has is done, each refused by IAM itself', async () => {
  const done: string[] = [];
  for (const [goal, ways] of Object.entries(REFUSED))
    for (const [way, attempt] of Object.entries(ways)) {
      const seen = await attempt().then(
        () => 'it was done',
        (error: Error & { Code?: string }) =>
          DENIED.test(`${error.name} ${error.Code} ${error.message}`) ? '' : `${error.name}: ${error.message}`,
      );
      if (seen !== '') done.push(`${goal}: ${way}: ${seen}`);
    }
  assert.deepEqual(done, []);
});

test('what is the customer’s is as it was, and so are the database and the secrets of the deployment', async () => {
  const value = await own.secrets.send(new Secrets.GetSecretValueCommand({ SecretId: 'payroll' }));
  assert.equal(value.SecretString, 'salaries');
  const { DBInstances = [] } = await own.rds.send(new Rds.DescribeDBInstancesCommand({}));
  const shown = DBInstances.map(({ DBInstanceIdentifier: id, DBInstanceStatus: status, PubliclyAccessible }) => [
    id,
    status,
    PubliclyAccessible,
  ]).toSorted();
  assert.deepEqual(
    shown.filter(([id]) => id === called.database),
    [[called.database, 'available', false]],
  );
  assert.equal(shown.length, 2, JSON.stringify(shown));
  const { SecurityGroups } = await own.ec2.send(new Ec2.DescribeSecurityGroupsCommand({ GroupIds: [theirs.group] }));
  assert.deepEqual(SecurityGroups![0]!.IpPermissions, []);
  await own.logs.send(new Logs.FilterLogEventsCommand({ logGroupName: '/payroll' }));
  const secret = await own.secrets.send(new Secrets.DescribeSecretCommand({ SecretId: called.secret('environment') }));
  assert.equal(secret.DeletedDate, undefined);
});

test('with other external ids, or against roles of nobody’s place, the credentials open nothing', async () => {
  const sts = new STSClient({ ...stage.customerClient(on.rehearsal, ACCOUNT), credentials: on.principal.credentials });
  for (const given of [
    { RoleArn: place.outputs.roleArn },
    { RoleArn: place.outputs.roleArn, ExternalId: `fh-${'0'.repeat(48)}` },
    { RoleArn: theirs.admin },
    { RoleArn: place.outputs.taskRoleArn, ExternalId: place.externalId },
  ])
    await assert.rejects(sts.send(new AssumeRoleCommand({ RoleSessionName: 'thief', ...given })), {
      name: 'AccessDenied',
    });
  const vendor = clientsOf({
    ...stage.customerClient(on.rehearsal, ACCOUNT),
    credentials: on.principal.credentials,
  });
  for (const attempt of [
    () => vendor.iam.send(new Iam.ListRolesCommand({})),
    () => vendor.secrets.send(new Secrets.ListSecretsCommand({})),
    () => vendor.ecs.send(new Ecs.ListClustersCommand({})),
    () => vendor.s3.send(new S3.ListBucketsCommand({})),
  ])
    await assert.rejects(attempt(), DENIED, 'the control plane’s own identity may do nothing but assume roles');
});

test('what a thief can do all the same is what the document says', async () => {
  // A database takes the next change when it is done with the last one.
  for (const [what, attempt] of Object.entries(POSSIBLE))
    await eventually(what, () => attempt().then(() => true), { seconds: 20, every: 200 });
  const section = DOCUMENT.slice(DOCUMENT.indexOf('## A stolen control plane')).replaceAll(/\s+/g, ' ');
  const tried = Object.values(REFUSED).flatMap((ways) => Object.keys(ways));
  assert.deepEqual(
    [...Object.keys(REFUSED), ...tried, ...Object.keys(POSSIBLE)].filter((each) => !section.includes(each)),
    [],
  );
});
