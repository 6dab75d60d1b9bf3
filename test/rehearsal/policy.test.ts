/**
 * IAM as AWS enforces it, asked through the real SDK. Each row says what AWS's service authorization reference says.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  ApplicationAutoScalingClient,
  DeregisterScalableTargetCommand,
  RegisterScalableTargetCommand,
} from '@aws-sdk/client-application-auto-scaling';
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  DeleteLogGroupCommand,
  DescribeLogGroupsCommand,
  FilterLogEventsCommand,
  GetLogEventsCommand,
  ListTagsForResourceCommand,
  PutRetentionPolicyCommand,
} from '@aws-sdk/client-cloudwatch-logs';
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateTagsCommand,
  CreateVpcCommand,
  DeleteSecurityGroupCommand,
  DeleteSubnetCommand,
  DescribeSecurityGroupsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import {
  CreateRepositoryCommand,
  DescribeImagesCommand,
  ECRClient,
  GetAuthorizationTokenCommand,
} from '@aws-sdk/client-ecr';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  DeleteClusterCommand,
  DeleteServiceCommand,
  DeleteTaskDefinitionsCommand,
  DeregisterTaskDefinitionCommand,
  DescribeServicesCommand,
  DescribeTaskDefinitionCommand,
  DescribeTasksCommand,
  ExecuteCommandCommand,
  ECSClient,
  ListClustersCommand,
  ListTasksCommand,
  PutAccountSettingCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  StopTaskCommand,
  TagResourceCommand,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateRuleCommand,
  CreateTargetGroupCommand,
  DeleteRuleCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
  ModifyTargetGroupCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import {
  AttachRolePolicyCommand,
  CreatePolicyCommand,
  CreateRoleCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  DeleteRolePermissionsBoundaryCommand,
  DetachRolePolicyCommand,
  GetPolicyCommand,
  GetPolicyVersionCommand,
  IAMClient,
  PutRolePermissionsBoundaryCommand,
  PutRolePolicyCommand,
  SimulatePrincipalPolicyCommand,
} from '@aws-sdk/client-iam';
import { CreateAliasCommand, CreateKeyCommand, DescribeKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import {
  CreateDBInstanceCommand,
  CreateDBSubnetGroupCommand,
  DeleteDBInstanceCommand,
  DeleteDBSubnetGroupCommand,
  DescribeDBInstancesCommand,
  ModifyDBInstanceCommand,
  RDSClient,
} from '@aws-sdk/client-rds';
import { GetResourcesCommand, ResourceGroupsTaggingAPIClient } from '@aws-sdk/client-resource-groups-tagging-api';
import {
  CreateSecretCommand,
  DeleteSecretCommand,
  GetSecretValueCommand,
  PutResourcePolicyCommand,
  PutSecretValueCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import {
  CreateHttpNamespaceCommand,
  CreateServiceCommand as CreateMapServiceCommand,
  DeleteServiceCommand as DeleteMapServiceCommand,
  ListNamespacesCommand,
  ListServicesCommand,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery';
import { CreateQueueCommand, GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { GetParameterCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import {
  AssumeRoleCommand,
  GetCallerIdentityCommand,
  STSClient,
  type AssumeRoleCommandInput,
} from '@aws-sdk/client-sts';
import { startRehearsal, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

const OWN = '111111111111';
const CUSTOMER = '222222222222';
const REGION = 'us-east-1';
const ROLE = `arn:aws:iam::${CUSTOMER}:role/control-plane`;
const arn = (service: string, resource: string): string => `arn:aws:${service}:${REGION}:${CUSTOMER}:${resource}`;

interface Statement {
  Effect: 'Allow' | 'Deny';
  Action: string | string[];
  Resource: string | string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}
const allow = (
  Action: string | string[],
  Resource: string | string[] = '*',
  Condition?: Statement['Condition'],
): Statement => ({
  Effect: 'Allow',
  Action,
  Resource,
  ...(Condition ? { Condition } : {}),
});
const document = (...Statement: object[]): string => JSON.stringify({ Version: '2012-10-17', Statement });

let account: Rehearsal;
let user: Credentials;
let iam: IAMClient;
const clients = (credentials: Credentials) => {
  const options = { endpoint: account.endpoint, region: REGION, credentials, maxAttempts: 1 };
  return {
    ec2: new EC2Client(options),
    ecr: new ECRClient(options),
    ecs: new ECSClient(options),
    elb: new ElasticLoadBalancingV2Client(options),
    iam: new IAMClient(options),
    kms: new KMSClient(options),
    logs: new CloudWatchLogsClient(options),
    map: new ServiceDiscoveryClient({ ...options, disableHostPrefix: true }),
    rds: new RDSClient(options),
    scaling: new ApplicationAutoScalingClient(options),
    secrets: new SecretsManagerClient(options),
    sqs: new SQSClient(options),
    ssm: new SSMClient(options),
    sts: new STSClient(options),
    tagging: new ResourceGroupsTaggingAPIClient(options),
  };
};
type Clients = ReturnType<typeof clients>;

const grant = (...statements: Statement[]) =>
  iam.send(
    new PutRolePolicyCommand({
      RoleName: 'control-plane',
      PolicyName: 'rights',
      PolicyDocument: document(...statements),
    }),
  );

async function assume(
  input: Partial<AssumeRoleCommandInput> = {},
  credentials: Credentials = user,
): Promise<Credentials> {
  const made = await clients(credentials).sts.send(
    new AssumeRoleCommand({ RoleArn: ROLE, RoleSessionName: 'pass-1', ExternalId: 'right', ...input }),
  );
  return {
    accessKeyId: made.Credentials!.AccessKeyId!,
    secretAccessKey: made.Credentials!.SecretAccessKey!,
    sessionToken: made.Credentials!.SessionToken!,
  };
}

interface Refused {
  name: string;
  message: string;
}
async function refusal(call: Promise<unknown>): Promise<Refused> {
  try {
    await call;
  } catch (error) {
    return error as Refused;
  }
  return { name: 'none', message: 'it was allowed' };
}
const denied = (it: Refused): boolean => /AccessDenied|UnauthorizedOperation/.test(it.name);

before(async () => {
  account = await startRehearsal({ pace: 200 });
  user = await account.createUser(OWN, 'freehold', {
    Version: '2012-10-17',
    Statement: [allow(['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'])],
  });
  iam = clients(account.root(CUSTOMER)).iam;
  const trust = document({
    Effect: 'Allow',
    Principal: { AWS: `arn:aws:iam::${OWN}:user/freehold` },
    Action: ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'],
    Condition: { StringEquals: { 'sts:ExternalId': 'right' } },
  });
  await iam.send(new CreateRoleCommand({ RoleName: 'control-plane', AssumeRolePolicyDocument: trust }));
});
after(() => account.stop());

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html */
describe("a secret's own policy", () => {
  test('denies what the identity is allowed, and allows what it is not', async () => {
    const root = clients(account.root(CUSTOMER));
    const SecretId = (await root.secrets.send(new CreateSecretCommand({ Name: 'guarded', SecretString: 'x' }))).ARN!;
    const policy = (Effect: 'Allow' | 'Deny') =>
      root.secrets.send(
        new PutResourcePolicyCommand({
          SecretId,
          ResourcePolicy: document({
            Effect,
            Principal: { AWS: ROLE },
            Action: 'secretsmanager:GetSecretValue',
            Resource: '*',
          }),
        }),
      );
    const read = async () => clients(await assume()).secrets.send(new GetSecretValueCommand({ SecretId }));
    await grant(allow('secretsmanager:GetSecretValue'));
    await account.settle();
    assert.equal((await read()).SecretString, 'x');
    await policy('Deny');
    const it = await refusal(read());
    assert.equal(it.name, 'AccessDeniedException');
    assert.match(it.message, /GetSecretValue on resource: \S+ with an explicit deny in a resource-based policy/);
    assert.match((await account.calls()).at(-1)!.why, /resource-based policy: policy of arn:aws:secretsmanager:/);
    await grant(allow('ecs:ListClusters'));
    await account.settle();
    await policy('Allow');
    assert.equal((await read()).SecretString, 'x');
    await root.secrets.send(new DeleteSecretCommand({ SecretId, ForceDeleteWithoutRecovery: true }));
  });
});

describe('sts:AssumeRole', () => {
  test('without, with a wrong and with the right external id', async () => {
    assert.equal((await refusal(assume({ ExternalId: undefined }))).name, 'AccessDenied');
    assert.equal((await refusal(assume({ ExternalId: 'wrong' }))).name, 'AccessDenied');
    assert.equal((await account.calls()).at(-1)!.why, `the trust policy of ${ROLE} does not allow it`);
    const session = clients(await assume());
    const who = await session.sts.send(new GetCallerIdentityCommand({}));
    assert.equal(who.Arn, `arn:aws:sts::${CUSTOMER}:assumed-role/control-plane/pass-1`);
    assert.equal(who.Account, CUSTOMER);
  });

  test('a role that does not exist is refused like one that does not trust', async () => {
    const it = await refusal(assume({ RoleArn: `arn:aws:iam::${CUSTOMER}:role/nobody` }));
    assert.equal(it.name, 'AccessDenied');
    assert.match(it.message, /user\/freehold is not authorized to perform: sts:AssumeRole on resource: .*role\/nobody/);
  });

  test('the caller needs the right as well, not only the trust', async () => {
    const other = await account.createUser(OWN, 'powerless', {
      Version: '2012-10-17',
      Statement: [allow('ec2:DescribeVpcs')],
    });
    const it = await refusal(assume({}, other));
    assert.match(it.message, /because no identity-based policy allows the sts:AssumeRole action/);
  });

  test('a wrong secret, an unknown key, no longer than the role allows, no longer than an hour when chained', async () => {
    assert.equal((await refusal(assume({}, { ...user, secretAccessKey: 'wrong' }))).name, 'SignatureDoesNotMatch');
    assert.equal(
      (await refusal(assume({}, { ...user, accessKeyId: 'AKIAAAAAAAAAAAAAAAAA' }))).name,
      'InvalidClientTokenId',
    );
    const long = await refusal(assume({ DurationSeconds: 7200 }));
    assert.equal(long.name, 'ValidationError');
    assert.match(long.message, /exceeds the MaxSessionDuration set for this role/);
    await grant(allow('sts:AssumeRole'));
    await iam.send(
      new CreateRoleCommand({
        RoleName: 'second',
        MaxSessionDuration: 7200,
        AssumeRolePolicyDocument: document({ Effect: 'Allow', Principal: { AWS: ROLE }, Action: 'sts:AssumeRole' }),
      }),
    );
    const second = { RoleArn: `arn:aws:iam::${CUSTOMER}:role/second`, ExternalId: undefined };
    const session = await assume();
    const chained = await refusal(assume({ ...second, DurationSeconds: 7200 }, session));
    assert.equal(chained.name, 'ValidationError');
    assert.match(chained.message, /1 hour session limit for roles assumed by role chaining/);
    assert.ok(await assume({ ...second, DurationSeconds: 3600 }, session));
  });

  test('session tags and source identity need to be in the trust, and reach conditions', async () => {
    const plain = document({
      Effect: 'Allow',
      Principal: { AWS: `arn:aws:iam::${OWN}:root` },
      Action: 'sts:AssumeRole',
    });
    await iam.send(new CreateRoleCommand({ RoleName: 'plain', AssumeRolePolicyDocument: plain }));
    const RoleArn = `arn:aws:iam::${CUSTOMER}:role/plain`;
    assert.ok(await assume({ RoleArn }));
    assert.match(
      (await refusal(assume({ RoleArn, Tags: [{ Key: 'deployment', Value: 'd1' }] }))).message,
      /sts:TagSession/,
    );
    assert.match((await refusal(assume({ RoleArn, SourceIdentity: 'ada' }))).message, /sts:SetSourceIdentity/);

    await grant(
      allow('ecs:ListClusters', '*', {
        StringEquals: { 'aws:PrincipalTag/deployment': 'd1', 'aws:SourceIdentity': 'ada' },
      }),
    );
    const list = async (input: Partial<AssumeRoleCommandInput>) =>
      clients(await assume(input)).ecs.send(new ListClustersCommand({}));
    assert.ok(await list({ Tags: [{ Key: 'deployment', Value: 'd1' }], SourceIdentity: 'ada' }));
    assert.ok(denied(await refusal(list({ Tags: [{ Key: 'deployment', Value: 'd2' }], SourceIdentity: 'ada' }))));
    assert.ok(denied(await refusal(list({ Tags: [{ Key: 'deployment', Value: 'd1' }] }))));
  });
});

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length */
describe('what a session is given', () => {
  const policyOf = (length: number): string => {
    const [start, end] = document(allow('ecs:ListClusters', 'arn:aws:ecs:*:*:#')).split('#');
    return `${start}${'x'.repeat(length - start!.length - end!.length)}${end}`;
  };
  const tag = (Value: string, Key = 'freehold:actor') => ({ Tags: [{ Key, Value }] });

  test('a policy of at most 2,048 characters; it takes away, and gives nothing', async () => {
    assert.ok(await assume({ Policy: policyOf(2048) }));
    const long = await refusal(assume({ Policy: policyOf(2049) }));
    assert.equal(long.name, 'ValidationError');
    assert.match(long.message, /length less than or equal to 2048/);
    await grant(allow('ecs:ListClusters'));
    const broad = clients(await assume({ Policy: document(allow('*')) }));
    assert.ok(await broad.ecs.send(new ListClustersCommand({})));
    assert.ok(denied(await refusal(broad.ecs.send(new CreateClusterCommand({ clusterName: 'mine' })))));
  });

  test('a policy names no region of IAM and S3, and of S3 no account', async () => {
    const assumed = (resource: string) => assume({ Policy: document(allow('*', resource)) });
    for (const resource of ['arn:aws:iam:*:*:role/r', 'arn:aws:s3:*:*:*/uploads/*', 'arn:aws:s3::*:*/uploads/*']) {
      const it = await refusal(assumed(resource));
      assert.equal(it.name, 'MalformedPolicyDocumentException', resource);
      assert.match(it.message, /can ?not contain (region|account) information/);
    }
    assert.ok(await assumed('arn:aws:iam::*:role/r'));
    assert.ok(await assumed('arn:aws:s3:::*/uploads/*'));
    assert.ok(await assumed('arn:aws:s3:*:*:accesspoint/a'));
  });

  test('policy and tags, packed, have a limit of their own, and the answer says how near it is', async () => {
    const packed = async (input: Partial<AssumeRoleCommandInput>) => {
      const given = { RoleArn: ROLE, RoleSessionName: 'pass-1', ExternalId: 'right', ...input };
      return (await clients(user).sts.send(new AssumeRoleCommand(given))).PackedPolicySize!;
    };
    const [none, little, more] = [await packed({}), await packed(tag('ada')), await packed({ Policy: policyOf(2048) })];
    assert.ok(none === 0 && little > 0 && more > little, `${none} ${little} ${more}`);
    const Tags = Array.from({ length: 40 }, (_, index) => ({
      Key: `t${index}`,
      Value: randomBytes(60).toString('hex'),
    }));
    const it = await refusal(assume({ Tags }));
    assert.equal(it.name, 'PackedPolicyTooLargeException');
    assert.match(it.message, /consumes \d{3}% of allotted space/);
  });

  test('tags and source identity within their characters and lengths', async () => {
    assert.ok(await assume({ ...tag('x'.repeat(256)), SourceIdentity: 'a1b2-c3@d=e,f.g+h_i' }));
    for (const input of [tag('x'.repeat(257)), tag('x', 'k'.repeat(129)), tag('a|b'), tag('x', 'aws:mine')])
      assert.equal((await refusal(assume(input))).name, 'ValidationError', JSON.stringify(input));
    for (const SourceIdentity of ['a', 'a b', 'a:b', 'x'.repeat(65), 'aws:a'])
      assert.equal((await refusal(assume({ SourceIdentity }))).name, 'ValidationError', SourceIdentity);
  });

  test('a source identity stays as it is from role to role; tags only where they are transitive', async () => {
    await iam.send(
      new CreateRoleCommand({
        RoleName: 'next',
        AssumeRolePolicyDocument: document({
          Effect: 'Allow',
          Principal: { AWS: ROLE },
          Action: ['sts:AssumeRole', 'sts:SetSourceIdentity'],
        }),
      }),
    );
    await grant(allow(['sts:AssumeRole', 'sts:SetSourceIdentity']));
    const next = { RoleArn: `arn:aws:iam::${CUSTOMER}:role/next`, ExternalId: undefined };
    const first = await assume({ ...tag('ada'), SourceIdentity: 'ada' });
    assert.match((await refusal(assume({ ...next, SourceIdentity: 'eve' }, first))).message, /sts:SetSourceIdentity/);
    const second = await assume(next, first);
    const condition = (key: string) => ({ StringEquals: { [key]: 'ada' } });
    const may = async (key: string) => {
      const PolicyDocument = document(allow('ecs:ListClusters', '*', condition(key)));
      await iam.send(new PutRolePolicyCommand({ RoleName: 'next', PolicyName: 'p', PolicyDocument }));
      return (await refusal(clients(second).ecs.send(new ListClustersCommand({})))).name === 'none';
    };
    assert.equal(await may('aws:SourceIdentity'), true);
    assert.equal(await may('aws:PrincipalTag/freehold:actor'), false);
  });

  test('the caller needs the rights to tag the session and to name who asked, beside the trust', async () => {
    const AssumeRolePolicyDocument = document({
      Effect: 'Allow',
      Principal: { AWS: `arn:aws:iam::${OWN}:root` },
      Action: ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'],
    });
    await iam.send(new CreateRoleCommand({ RoleName: 'open', AssumeRolePolicyDocument }));
    const RoleArn = `arn:aws:iam::${CUSTOMER}:role/open`;
    const rights = { Version: '2012-10-17', Statement: [allow('sts:AssumeRole')] };
    const plain = await account.createUser(OWN, 'plain', rights);
    assert.ok(await assume({ RoleArn }, plain));
    for (const [input, action] of [
      [tag('ada'), 'sts:TagSession'],
      [{ SourceIdentity: 'ada' }, 'sts:SetSourceIdentity'],
    ] as const) {
      const { message } = await refusal(assume({ RoleArn, ...input }, plain));
      assert.match(message, new RegExp(`because no identity-based policy allows the ${action} action`));
    }
  });
});

// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
test('a policy variable in a condition: what the caller has, a default without it, and without either nothing', async () => {
  const Name = 'of-slot-1';
  const { ARN } = await clients(account.root(CUSTOMER)).secrets.send(
    new CreateSecretCommand({ Name, SecretString: 'x', Tags: [{ Key: 'slot', Value: '1' }] }),
  );
  const reads = async (variable: string, slot?: string) => {
    await grant(allow('secretsmanager:GetSecretValue', '*', { StringEquals: { 'aws:ResourceTag/slot': variable } }));
    const session = await assume(slot === undefined ? {} : { Tags: [{ Key: 'slot', Value: slot }] });
    const read = clients(session).secrets.send(new GetSecretValueCommand({ SecretId: ARN }));
    return read.then(
      () => true,
      (error: Refused) => denied(error) && false,
    );
  };
  assert.equal(await reads('${aws:PrincipalTag/slot}', '1'), true);
  assert.equal(await reads('${aws:PrincipalTag/slot}', '2'), false);
  assert.equal(await reads('${aws:PrincipalTag/slot}'), false);
  assert.equal(await reads("${aws:PrincipalTag/slot, '1'}"), true);
});

describe('which policy was missing', () => {
  const list = (session: Clients) => refusal(session.ecs.send(new ListClustersCommand({})));

  test('identity, session, boundary, explicit deny: each in its words', async () => {
    await grant(allow('ec2:*'));
    assert.equal(
      (await list(clients(await assume()))).message,
      `User: arn:aws:sts::${CUSTOMER}:assumed-role/control-plane/pass-1 is not authorized to perform: ecs:ListClusters on resource: * because no identity-based policy allows the ecs:ListClusters action`,
    );
    await grant(allow('ecs:*'));
    assert.match(
      (await list(clients(await assume({ Policy: document(allow('ec2:*')) })))).message,
      /because no session policy allows the ecs:ListClusters action/,
    );
    await grant(allow('ecs:*'), { Effect: 'Deny', Action: 'ecs:List*', Resource: '*' });
    assert.match((await list(clients(await assume()))).message, /with an explicit deny in an identity-based policy/);
    await grant(allow('ecs:*'));
    const boundary = await iam.send(
      new CreatePolicyCommand({ PolicyName: 'boundary', PolicyDocument: document(allow('ec2:*')) }),
    );
    await iam.send(
      new PutRolePermissionsBoundaryCommand({ RoleName: 'control-plane', PermissionsBoundary: boundary.Policy!.Arn! }),
    );
    assert.match(
      (await list(clients(await assume()))).message,
      /because no permissions boundary allows the ecs:ListClusters action/,
    );
    await iam.send(new DeleteRolePermissionsBoundaryCommand({ RoleName: 'control-plane' }));
    assert.equal((await list(clients(await assume()))).name, 'none');
  });

  test('a live session loses what its role loses', async () => {
    const trust = document({
      Effect: 'Allow',
      Principal: { AWS: `arn:aws:iam::${OWN}:root` },
      Action: 'sts:AssumeRole',
    });
    await iam.send(new CreateRoleCommand({ RoleName: 'brief', AssumeRolePolicyDocument: trust }));
    const PolicyArn = 'arn:aws:iam::aws:policy/AmazonECS_FullAccess';
    await iam.send(new AttachRolePolicyCommand({ RoleName: 'brief', PolicyArn }));
    const session = clients(await assume({ RoleArn: `arn:aws:iam::${CUSTOMER}:role/brief`, ExternalId: undefined }));
    assert.equal((await list(session)).name, 'none');
    await iam.send(new DetachRolePolicyCommand({ RoleName: 'brief', PolicyArn }));
    assert.ok(denied(await list(session)));
    await iam.send(
      new PutRolePolicyCommand({ RoleName: 'brief', PolicyName: 'p', PolicyDocument: document(allow('ecs:*')) }),
    );
    assert.equal((await list(session)).name, 'none');
    await iam.send(new DeleteRolePolicyCommand({ RoleName: 'brief', PolicyName: 'p' }));
    await iam.send(new DeleteRoleCommand({ RoleName: 'brief' }));
    assert.ok(denied(await list(session)));
  });

  test("AWS's managed policies have their real documents; a misspelt one does not exist", async () => {
    const PolicyArn = 'arn:aws:iam::aws:policy/AmazonRDSFullAccess';
    const policy = await iam.send(new GetPolicyCommand({ PolicyArn }));
    const version = await iam.send(
      new GetPolicyVersionCommand({ PolicyArn, VersionId: policy.Policy!.DefaultVersionId! }),
    );
    assert.match(decodeURIComponent(version.PolicyVersion!.Document!), /rds:\*/);
    const it = await refusal(
      iam.send(new AttachRolePolicyCommand({ RoleName: 'control-plane', PolicyArn: PolicyArn.replace('Full', 'Ful') })),
    );
    assert.equal(it.name, 'NoSuchEntityException');
  });
});

const TAG = { key: 'freehold:place', value: 'p' };
const TAGS = [{ Key: TAG.key, Value: TAG.value }];
const CONTAINER = [{ name: 'api', image: 'x', essential: true }];
const FARGATE = {
  cpu: '1024',
  memory: '2048',
  networkMode: 'awsvpc',
  requiresCompatibilities: ['FARGATE'],
  containerDefinitions: CONTAINER,
} as const;
const LISTENER = arn('elasticloadbalancing', 'listener/app/place/0123456789abcdef/fedcba9876543210');
const BALANCER = arn('elasticloadbalancing', 'loadbalancer/app/place/0123456789abcdef');
const RULE = LISTENER.replace(':listener/', ':listener-rule/') + '/0123456789abcdef';
const GROUP = arn('elasticloadbalancing', 'targetgroup/place-1/0123456789abcdef');
const PASSED = `arn:aws:iam::${CUSTOMER}:role/execution`;

describe('the resources that a call is authorised on', () => {
  // [call, its needs as [action, ARN]]: allowed with all of them, refused by name without any one.
  const rows: [string, (c: Clients) => Promise<unknown>, [string, string][]][] = [
    ['ecs ListClusters', (c) => c.ecs.send(new ListClustersCommand({})), [['ecs:ListClusters', '*']]],
    [
      'ecs CreateCluster',
      (c) => c.ecs.send(new CreateClusterCommand({ clusterName: 'table' })),
      [['ecs:CreateCluster', arn('ecs', 'cluster/table')]],
    ],
    [
      'ecs CreateService with tags',
      (c) =>
        c.ecs.send(
          new CreateServiceCommand({
            cluster: 'place',
            serviceName: 'place-1',
            taskDefinition: 'place-1',
            tags: [TAG],
          }),
        ),
      [
        ['ecs:CreateService', arn('ecs', 'service/place/place-1')],
        ['ecs:TagResource', arn('ecs', 'service/place/place-1')],
      ],
    ],
    [
      'ecs UpdateService by ARNs',
      (c) =>
        c.ecs.send(
          new UpdateServiceCommand({
            cluster: arn('ecs', 'cluster/place'),
            service: arn('ecs', 'service/place/place-1'),
          }),
        ),
      [['ecs:UpdateService', arn('ecs', 'service/place/place-1')]],
    ],
    [
      'ecs DescribeServices, each of them',
      (c) => c.ecs.send(new DescribeServicesCommand({ cluster: 'place', services: ['one', 'two'] })),
      [
        ['ecs:DescribeServices', arn('ecs', 'service/place/one')],
        ['ecs:DescribeServices', arn('ecs', 'service/place/two')],
      ],
    ],
    [
      'ecs ListTasks',
      (c) => c.ecs.send(new ListTasksCommand({ cluster: 'place' })),
      [['ecs:ListTasks', arn('ecs', 'container-instance/place/*')]],
    ],
    [
      'ecs DescribeTasks',
      (c) => c.ecs.send(new DescribeTasksCommand({ cluster: 'place', tasks: ['0123'] })),
      [['ecs:DescribeTasks', arn('ecs', 'task/place/0123')]],
    ],
    [
      'ecs RegisterTaskDefinition with a role and tags',
      (c) =>
        c.ecs.send(
          new RegisterTaskDefinitionCommand({
            ...FARGATE,
            requiresCompatibilities: ['FARGATE'],
            containerDefinitions: [...CONTAINER],
            family: 'place-1',
            executionRoleArn: PASSED,
            tags: [TAG],
          }),
        ),
      [
        ['ecs:RegisterTaskDefinition', arn('ecs', 'task-definition/place-1:*')],
        ['ecs:TagResource', arn('ecs', 'task-definition/place-1:*')],
        ['iam:PassRole', PASSED],
      ],
    ],
    [
      'ecs DescribeTaskDefinition',
      (c) => c.ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: 'place-1:1' })),
      [['ecs:DescribeTaskDefinition', '*']],
    ],
    [
      'ecs DeregisterTaskDefinition',
      (c) => c.ecs.send(new DeregisterTaskDefinitionCommand({ taskDefinition: 'place-1:1' })),
      [['ecs:DeregisterTaskDefinition', '*']],
    ],
    [
      'ec2 CreateSecurityGroup with tags',
      (c) =>
        c.ec2.send(
          new CreateSecurityGroupCommand({
            GroupName: 'g',
            Description: 'g',
            VpcId: 'vpc-0',
            TagSpecifications: [{ ResourceType: 'security-group', Tags: TAGS }],
          }),
        ),
      [
        ['ec2:CreateSecurityGroup', arn('ec2', 'security-group/*')],
        ['ec2:CreateSecurityGroup', arn('ec2', 'vpc/vpc-0')],
        ['ec2:CreateTags', arn('ec2', 'security-group/*')],
      ],
    ],
    [
      'ec2 AuthorizeSecurityGroupIngress',
      (c) =>
        c.ec2.send(
          new AuthorizeSecurityGroupIngressCommand({
            GroupId: 'sg-0',
            IpPermissions: [{ IpProtocol: 'tcp', FromPort: 1, ToPort: 1, IpRanges: [{ CidrIp: '10.0.0.0/8' }] }],
          }),
        ),
      [['ec2:AuthorizeSecurityGroupIngress', arn('ec2', 'security-group/sg-0')]],
    ],
    [
      'ec2 DeleteSecurityGroup',
      (c) => c.ec2.send(new DeleteSecurityGroupCommand({ GroupId: 'sg-0' })),
      [['ec2:DeleteSecurityGroup', arn('ec2', 'security-group/sg-0')]],
    ],
    [
      'ec2 CreateTags',
      (c) => c.ec2.send(new CreateTagsCommand({ Resources: ['vpc-0'], Tags: TAGS })),
      [['ec2:CreateTags', arn('ec2', 'vpc/vpc-0')]],
    ],
    [
      'ec2 DescribeSecurityGroups',
      (c) => c.ec2.send(new DescribeSecurityGroupsCommand({})),
      [['ec2:DescribeSecurityGroups', '*']],
    ],
    [
      'elb CreateTargetGroup with tags',
      (c) => c.elb.send(new CreateTargetGroupCommand({ Name: 'place-1', Tags: TAGS })),
      [
        ['elasticloadbalancing:CreateTargetGroup', arn('elasticloadbalancing', 'targetgroup/place-1/*')],
        ['elasticloadbalancing:AddTags', arn('elasticloadbalancing', 'targetgroup/place-1/*')],
      ],
    ],
    [
      'elb ModifyTargetGroup',
      (c) => c.elb.send(new ModifyTargetGroupCommand({ TargetGroupArn: GROUP })),
      [['elasticloadbalancing:ModifyTargetGroup', GROUP]],
    ],
    [
      'elb CreateRule with tags',
      (c) =>
        c.elb.send(
          new CreateRuleCommand({ ListenerArn: LISTENER, Priority: 1, Conditions: [], Actions: [], Tags: TAGS }),
        ),
      [
        ['elasticloadbalancing:CreateRule', LISTENER],
        ['elasticloadbalancing:AddTags', LISTENER.replace(':listener/', ':listener-rule/') + '/*'],
      ],
    ],
    [
      'elb DeleteRule',
      (c) => c.elb.send(new DeleteRuleCommand({ RuleArn: RULE })),
      [['elasticloadbalancing:DeleteRule', RULE]],
    ],
    [
      'elb DescribeTargetHealth',
      (c) => c.elb.send(new DescribeTargetHealthCommand({ TargetGroupArn: GROUP })),
      [['elasticloadbalancing:DescribeTargetHealth', '*']],
    ],
    [
      'rds CreateDBInstance in a subnet group with tags',
      (c) =>
        c.rds.send(
          new CreateDBInstanceCommand({
            DBInstanceIdentifier: 'Place-1',
            DBInstanceClass: 'db.t4g.micro',
            Engine: 'x',
            DBSubnetGroupName: 'place',
            Tags: TAGS,
          }),
        ),
      [
        ['rds:CreateDBInstance', arn('rds', 'db:place-1')],
        ['rds:CreateDBInstance', arn('rds', 'subgrp:place')],
        ['rds:AddTagsToResource', arn('rds', 'db:place-1')],
      ],
    ],
    [
      'rds ModifyDBInstance',
      (c) => c.rds.send(new ModifyDBInstanceCommand({ DBInstanceIdentifier: 'place-1' })),
      [['rds:ModifyDBInstance', arn('rds', 'db:place-1')]],
    ],
    [
      'rds DescribeDBInstances of all',
      (c) => c.rds.send(new DescribeDBInstancesCommand({})),
      [['rds:DescribeDBInstances', arn('rds', 'db:*')]],
    ],
    [
      'rds DescribeDBInstances of one',
      (c) => c.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier: 'place-1' })),
      [['rds:DescribeDBInstances', arn('rds', 'db:place-1')]],
    ],
    [
      'secrets PutSecretValue by name',
      (c) => c.secrets.send(new PutSecretValueCommand({ SecretId: 'nothing', SecretString: 'x' })),
      [['secretsmanager:PutSecretValue', arn('secretsmanager', 'secret:nothing')]],
    ],
    ['logs DescribeLogGroups', (c) => c.logs.send(new DescribeLogGroupsCommand({})), [['logs:DescribeLogGroups', '*']]],
    [
      'logs CreateLogGroup with tags',
      (c) => c.logs.send(new CreateLogGroupCommand({ logGroupName: '/aws/ecs/table', tags: { a: 'b' } })),
      [
        ['logs:CreateLogGroup', arn('logs', 'log-group:/aws/ecs/table:*')],
        ['logs:TagResource', arn('logs', 'log-group:/aws/ecs/table')],
      ],
    ],
    [
      'logs PutRetentionPolicy',
      (c) => c.logs.send(new PutRetentionPolicyCommand({ logGroupName: '/aws/ecs/p', retentionInDays: 7 })),
      [['logs:PutRetentionPolicy', arn('logs', 'log-group:/aws/ecs/p:*')]],
    ],
    [
      'logs DeleteLogGroup',
      (c) => c.logs.send(new DeleteLogGroupCommand({ logGroupName: '/aws/ecs/p' })),
      [['logs:DeleteLogGroup', arn('logs', 'log-group:/aws/ecs/p:*')]],
    ],
    [
      'logs FilterLogEvents',
      (c) => c.logs.send(new FilterLogEventsCommand({ logGroupName: '/aws/ecs/p', logStreamNamePrefix: 's/' })),
      [['logs:FilterLogEvents', arn('logs', 'log-group:/aws/ecs/p:*')]],
    ],
    [
      'logs GetLogEvents',
      (c) => c.logs.send(new GetLogEventsCommand({ logGroupName: '/aws/ecs/p', logStreamName: 's/1' })),
      [['logs:GetLogEvents', arn('logs', 'log-group:/aws/ecs/p:log-stream:s/1')]],
    ],
    [
      'logs ListTagsForResource',
      (c) => c.logs.send(new ListTagsForResourceCommand({ resourceArn: arn('logs', 'log-group:/aws/ecs/p') })),
      [['logs:ListTagsForResource', arn('logs', 'log-group:/aws/ecs/p')]],
    ],
    [
      'map CreateService with tags',
      (c) => c.map.send(new CreateMapServiceCommand({ Name: 'r', NamespaceId: 'ns-1', Tags: TAGS })),
      [
        ['servicediscovery:CreateService', arn('servicediscovery', 'namespace/ns-1')],
        ['servicediscovery:CreateService', arn('servicediscovery', 'service/*')],
        ['servicediscovery:TagResource', '*'],
      ],
    ],
    [
      'map DeleteService',
      (c) => c.map.send(new DeleteMapServiceCommand({ Id: 'srv-1' })),
      [['servicediscovery:DeleteService', arn('servicediscovery', 'service/srv-1')]],
    ],
    ['map ListServices', (c) => c.map.send(new ListServicesCommand({})), [['servicediscovery:ListServices', '*']]],
    [
      'scaling RegisterScalableTarget with tags',
      (c) =>
        c.scaling.send(
          new RegisterScalableTargetCommand({
            ServiceNamespace: 'ecs',
            ResourceId: 'service/place/none',
            ScalableDimension: 'ecs:service:DesiredCount',
            MinCapacity: 1,
            MaxCapacity: 1,
            Tags: { a: 'b' },
          }),
        ),
      [
        ['application-autoscaling:RegisterScalableTarget', arn('application-autoscaling', 'scalable-target/*')],
        ['application-autoscaling:TagResource', arn('application-autoscaling', 'scalable-target/*')],
      ],
    ],
    [
      'ecr DescribeImages',
      (c) => c.ecr.send(new DescribeImagesCommand({ repositoryName: 'agents' })),
      [['ecr:DescribeImages', arn('ecr', 'repository/agents')]],
    ],
    [
      'ecr GetAuthorizationToken',
      (c) => c.ecr.send(new GetAuthorizationTokenCommand({})),
      [['ecr:GetAuthorizationToken', '*']],
    ],
    ['tag GetResources', (c) => c.tagging.send(new GetResourcesCommand({})), [['tag:GetResources', '*']]],
  ];

  for (const [name, call, needs] of rows)
    test(name, async () => {
      const session = clients(await assume());
      await grant(...needs.map(([action, resource]) => allow(action, resource)));
      const whole = await refusal(call(session));
      assert.ok(!denied(whole), `with everything it needs: ${whole.message}`);
      assert.notEqual(whole.name, 'InternalFailure', whole.message);
      for (const [action, resource] of needs) {
        const rest = needs.filter((one) => one[0] !== action || one[1] !== resource).map(([a, r]) => allow(a, r));
        await grant(allow('sts:GetCallerIdentity'), ...rest);
        const it = await refusal(call(session));
        assert.ok(denied(it), `without ${action} on ${resource}: ${it.name} ${it.message}`);
        const shown = resource.replace(/:\*$/, resource.includes(':log-group:') ? ':log-stream:' : ':*');
        assert.ok(
          it.message.includes(`is not authorized to perform: ${action} on resource: ${shown} because`),
          it.message,
        );
      }
    });
});

describe('condition keys', () => {
  const service = (more: object) => (c: Clients) =>
    c.ecs.send(new CreateServiceCommand({ cluster: 'place', serviceName: 's', taskDefinition: 'f:1', ...more }));
  const network = (assignPublicIp: 'ENABLED' | 'DISABLED', subnet: string) => ({
    networkConfiguration: { awsvpcConfiguration: { subnets: [subnet], assignPublicIp } },
  });
  const database = (more: object) => (c: Clients) =>
    c.rds.send(
      new CreateDBInstanceCommand({
        DBInstanceIdentifier: 'd',
        DBInstanceClass: 'db.t4g.micro',
        Engine: 'sqlserver-none',
        ...more,
      }),
    );
  const secret =
    (Name: string, more: object = {}) =>
    (c: Clients) =>
      c.secrets.send(new CreateSecretCommand({ Name, ...more }));
  const listener = (more: object) => (c: Clients) =>
    c.elb.send(new CreateListenerCommand({ LoadBalancerArn: BALANCER, DefaultActions: [], Port: 80, ...more }));
  const balancer = (more: object) => (c: Clients) => c.elb.send(new CreateLoadBalancerCommand({ Name: 'k', ...more }));
  const connect = (namespace: string) => service({ serviceConnectConfiguration: { enabled: true, namespace } });
  const strategy = (capacityProvider: string) => service({ capacityProviderStrategy: [{ capacityProvider }] });
  const run = (container: string) => (c: Clients) =>
    c.ecs.send(
      new ExecuteCommandCommand({
        cluster: 'place',
        task: 'a'.repeat(32),
        container,
        command: 'id',
        interactive: true,
      }),
    );
  const setting = (name: 'containerInsights' | 'taskLongArnFormat') => (c: Clients) =>
    c.ecs.send(new PutAccountSettingCommand({ name, value: 'enabled' }));
  const KEY = arn('kms', 'key/00000000-0000-4000-8000-000000000000');
  // too small for Fargate: who may is refused for that, and nothing is registered
  const task = (more: object) => (c: Clients) =>
    c.ecs.send(
      new RegisterTaskDefinitionCommand({
        family: 'sized',
        cpu: '256',
        memory: '100',
        requiresCompatibilities: ['FARGATE'],
        containerDefinitions: [...CONTAINER],
        ...more,
      }),
    );

  // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html etc.
  // [key, value in the policy, operator, the actions it is put on, a call that has it, a call that has another]
  const rows: [
    string,
    string | string[],
    string,
    string[],
    (c: Clients) => Promise<unknown>,
    (c: Clients) => Promise<unknown>,
  ][] = [
    [
      'aws:RequestTag/freehold:place',
      'p',
      'StringEquals',
      ['ecs:CreateService', 'ecs:TagResource'],
      service({ tags: [TAG] }),
      service({ tags: [{ ...TAG, value: 'q' }] }),
    ],
    [
      'aws:TagKeys',
      'freehold:place',
      'ForAnyValue:StringEquals',
      ['ecs:CreateService', 'ecs:TagResource'],
      service({ tags: [TAG] }),
      service({}),
    ],
    [
      'ecs:cluster',
      arn('ecs', 'cluster/place'),
      'ArnEquals',
      ['ecs:CreateService'],
      service({}),
      service({ cluster: 'elsewhere' }),
    ],
    [
      'ecs:subnet',
      arn('ec2', 'subnet/subnet-1'),
      'ForAllValues:StringEquals',
      ['ecs:CreateService'],
      service(network('DISABLED', 'subnet-1')),
      service(network('DISABLED', 'subnet-2')),
    ],
    [
      'ecs:capacity-provider',
      'FARGATE_SPOT',
      'ForAnyValue:StringEquals',
      ['ecs:CreateService'],
      strategy('FARGATE_SPOT'),
      strategy('FARGATE'),
    ],
    [
      'ecs:namespace',
      arn('servicediscovery', 'namespace/ns-1'),
      'ArnEquals',
      ['ecs:CreateService'],
      connect(arn('servicediscovery', 'namespace/ns-1')),
      connect(arn('servicediscovery', 'namespace/ns-2')),
    ],
    ['ecs:container-name', 'api', 'StringEquals', ['ecs:ExecuteCommand'], run('api'), run('sidecar')],
    [
      'ecs:account-setting',
      'containerInsights',
      'StringEquals',
      ['ecs:PutAccountSetting'],
      setting('containerInsights'),
      setting('taskLongArnFormat'),
    ],
    [
      'ecs:task-definition',
      arn('ecs', 'task-definition/f:*'),
      'ArnLike',
      ['ecs:CreateService'],
      service({}),
      service({ taskDefinition: 'g:1' }),
    ],
    [
      'ecs:auto-assign-public-ip',
      'false',
      'Bool',
      ['ecs:CreateService'],
      service(network('DISABLED', 's')),
      service(network('ENABLED', 's')),
    ],
    [
      'ecs:enable-execute-command',
      'false',
      'Bool',
      ['ecs:CreateService'],
      service({ enableExecuteCommand: false }),
      service({ enableExecuteCommand: true }),
    ],
    ['ecs:task-cpu', '512', 'NumericLessThanEquals', ['ecs:RegisterTaskDefinition'], task({}), task({ cpu: '1024' })],
    [
      'ecs:task-memory',
      '512',
      'NumericLessThanEquals',
      ['ecs:RegisterTaskDefinition'],
      task({}),
      task({ memory: '1024' }),
    ],
    [
      'ecs:privileged',
      'false',
      'Bool',
      ['ecs:RegisterTaskDefinition'],
      task({}),
      task({ containerDefinitions: [{ ...CONTAINER[0], privileged: true }] }),
    ],
    [
      'ecs:compute-compatibility',
      'FARGATE',
      'ForAllValues:StringEquals',
      ['ecs:RegisterTaskDefinition'],
      task({}),
      task({ requiresCompatibilities: ['EC2'] }),
    ],
    [
      'ecs:enable-ecs-managed-tags',
      'true',
      'Bool',
      ['ecs:CreateService'],
      service({ enableECSManagedTags: true }),
      service({ enableECSManagedTags: false }),
    ],
    [
      'ecs:propagate-tags',
      'SERVICE',
      'StringEquals',
      ['ecs:CreateService'],
      service({ propagateTags: 'SERVICE' }),
      service({ propagateTags: 'TASK_DEFINITION' }),
    ],
    [
      'rds:StorageSize',
      '100',
      'NumericLessThanEquals',
      ['rds:CreateDBInstance'],
      database({ AllocatedStorage: 20 }),
      database({ AllocatedStorage: 200 }),
    ],
    [
      'rds:ManageMasterUserPassword',
      'true',
      'Bool',
      ['rds:CreateDBInstance'],
      database({ ManageMasterUserPassword: true }),
      database({ ManageMasterUserPassword: false }),
    ],
    [
      'rds:DatabaseEngine',
      'sqlserver-none',
      'StringEquals',
      ['rds:CreateDBInstance'],
      database({}),
      database({ Engine: 'mysql-none' }),
    ],
    [
      'rds:DatabaseClass',
      'db.t4g.*',
      'StringLike',
      ['rds:CreateDBInstance'],
      database({}),
      database({ DBInstanceClass: 'db.r8g.large' }),
    ],
    [
      'rds:StorageEncrypted',
      'true',
      'Bool',
      ['rds:CreateDBInstance'],
      database({ StorageEncrypted: true }),
      database({}),
    ],
    [
      'rds:PubliclyAccessible',
      'false',
      'Bool',
      ['rds:CreateDBInstance'],
      database({ PubliclyAccessible: false }),
      database({ PubliclyAccessible: true }),
    ],
    ['rds:MultiAz', 'false', 'Bool', ['rds:CreateDBInstance'], database({}), database({ MultiAZ: true })],
    [
      'secretsmanager:Name',
      'place/*',
      'StringLike',
      ['secretsmanager:CreateSecret'],
      secret('place/a'),
      secret('other/a'),
    ],
    [
      'elasticloadbalancing:CreateAction',
      'CreateTargetGroup',
      'StringEquals',
      ['elasticloadbalancing:AddTags'],
      (c) => c.elb.send(new CreateTargetGroupCommand({ Name: 'k', Tags: TAGS })),
      (c) =>
        c.elb.send(
          new CreateRuleCommand({ ListenerArn: LISTENER, Priority: 1, Conditions: [], Actions: [], Tags: TAGS }),
        ),
    ],
    [
      'elasticloadbalancing:Scheme',
      'internal',
      'StringEquals',
      ['elasticloadbalancing:CreateLoadBalancer'],
      (c) => c.elb.send(new CreateLoadBalancerCommand({ Name: 'k', Scheme: 'internal', Subnets: ['none'] })),
      (c) => c.elb.send(new CreateLoadBalancerCommand({ Name: 'k', Subnets: ['none'] })),
    ],
    [
      'elasticloadbalancing:ListenerProtocol',
      'HTTPS',
      'StringEquals',
      ['elasticloadbalancing:CreateListener'],
      listener({ Protocol: 'HTTPS' }),
      listener({ Protocol: 'HTTP' }),
    ],
    [
      'elasticloadbalancing:SecurityPolicy',
      'ELBSecurityPolicy-TLS13-*',
      'StringLike',
      ['elasticloadbalancing:CreateListener'],
      listener({ Protocol: 'HTTPS', SslPolicy: 'ELBSecurityPolicy-TLS13-1-2-2021-06' }),
      listener({ Protocol: 'HTTPS', SslPolicy: 'ELBSecurityPolicy-2016-08' }),
    ],
    [
      'elasticloadbalancing:Subnet',
      ['subnet-1', 'subnet-2'],
      'ForAllValues:StringEquals',
      ['elasticloadbalancing:CreateLoadBalancer'],
      balancer({ Subnets: ['subnet-1', 'subnet-2'] }),
      balancer({ SubnetMappings: [{ SubnetId: 'subnet-1' }, { SubnetId: 'subnet-3' }] }),
    ],
    [
      'elasticloadbalancing:SecurityGroup',
      'sg-1',
      'ForAllValues:StringEquals',
      ['elasticloadbalancing:CreateLoadBalancer'],
      balancer({ Subnets: ['none'], SecurityGroups: ['sg-1'] }),
      balancer({ Subnets: ['none'], SecurityGroups: ['sg-1', 'sg-2'] }),
    ],
    [
      'secretsmanager:KmsKeyArn',
      KEY,
      'ArnEquals',
      ['secretsmanager:CreateSecret'],
      secret('place/k', { KmsKeyId: KEY.split('/')[1], SecretString: 'x' }),
      secret('place/k', { KmsKeyId: 'alias/other', SecretString: 'x' }),
    ],
    [
      'sts:SourceIdentity',
      'ada',
      'StringEquals',
      ['sts:AssumeRole', 'sts:SetSourceIdentity'],
      (c) => c.sts.send(new AssumeRoleCommand({ RoleArn: ROLE, RoleSessionName: 'x', SourceIdentity: 'ada' })),
      (c) => c.sts.send(new AssumeRoleCommand({ RoleArn: ROLE, RoleSessionName: 'x', SourceIdentity: 'bob' })),
    ],
    [
      'ec2:CreateAction',
      'CreateSecurityGroup',
      'StringEquals',
      ['ec2:CreateTags'],
      (c) =>
        c.ec2.send(
          new CreateSecurityGroupCommand({
            GroupName: 'k',
            Description: 'k',
            VpcId: 'vpc-0',
            TagSpecifications: [{ ResourceType: 'security-group', Tags: TAGS }],
          }),
        ),
      (c) => c.ec2.send(new CreateTagsCommand({ Resources: ['vpc-0'], Tags: TAGS })),
    ],
    [
      'ecs:CreateAction',
      'CreateService',
      'StringEquals',
      ['ecs:TagResource'],
      service({ tags: [TAG] }),
      (c) => c.ecs.send(new CreateClusterCommand({ clusterName: 'k', tags: [TAG] })),
    ],
    [
      'iam:PassedToService',
      'ecs-tasks.amazonaws.com',
      'StringEquals',
      ['iam:PassRole'],
      (c) =>
        c.ecs.send(
          new RegisterTaskDefinitionCommand({
            family: 'k',
            taskRoleArn: PASSED,
            containerDefinitions: [...CONTAINER],
          }),
        ),
      (c) =>
        c.rds.send(
          new CreateDBInstanceCommand({
            DBInstanceIdentifier: 'm',
            DBInstanceClass: 'db.t4g.micro',
            Engine: 'none',
            MonitoringRoleArn: PASSED,
          }),
        ),
    ],
    [
      'secretsmanager:ForceDeleteWithoutRecovery',
      'true',
      'Bool',
      ['secretsmanager:DeleteSecret'],
      (c) => c.secrets.send(new DeleteSecretCommand({ SecretId: 'none', ForceDeleteWithoutRecovery: true })),
      (c) => c.secrets.send(new DeleteSecretCommand({ SecretId: 'none' })),
    ],
    [
      'secretsmanager:RecoveryWindowInDays',
      '7',
      'NumericGreaterThanEquals',
      ['secretsmanager:DeleteSecret'],
      (c) => c.secrets.send(new DeleteSecretCommand({ SecretId: 'none', RecoveryWindowInDays: 7 })),
      (c) => c.secrets.send(new DeleteSecretCommand({ SecretId: 'none', RecoveryWindowInDays: 6 })),
    ],
  ];

  for (const [key, value, operator, actions, has, lacks] of rows)
    test(key, async () => {
      const session = clients(await assume());
      const NotAction = actions;
      await grant(...actions.map((action) => allow(action, '*', { [operator]: { [key]: value } })), {
        Effect: 'Allow',
        NotAction,
        Resource: '*',
      } as unknown as Statement);
      const good = await refusal(has(session));
      assert.ok(!denied(good) && good.name !== 'InternalFailure', `${good.name}: ${good.message}`);
      const bad = await refusal(lacks(session));
      assert.ok(denied(bad), `${bad.name}: ${bad.message}`);
      assert.ok(
        actions.some((action) => bad.message.includes(action)),
        bad.message,
      );
    });

  test('a namespace and a KMS key under another name than their ARN', async () => {
    const root = clients(account.root(CUSTOMER));
    const session = clients(await assume());
    const rest = (NotAction: string) => ({ Effect: 'Allow', NotAction, Resource: '*' }) as unknown as Statement;

    const { KeyMetadata } = await root.kms.send(new CreateKeyCommand({}));
    const KmsKeyId = 'alias/under-another-name';
    await root.kms.send(new CreateAliasCommand({ AliasName: KmsKeyId, TargetKeyId: KeyMetadata!.KeyId! }));
    const create = 'secretsmanager:CreateSecret';
    for (const [wanted, ok] of [
      [KeyMetadata!.Arn!, true],
      [arn('kms', KmsKeyId), false],
    ] as const) {
      await grant(allow(create, '*', { ArnEquals: { 'secretsmanager:KmsKeyArn': wanted } }), rest(create));
      const it = await refusal(secret('by/alias', { KmsKeyId, SecretString: 'x' })(session));
      assert.equal(denied(it), !ok, `${wanted}: ${it.message}`);
    }

    await root.map.send(new CreateHttpNamespaceCommand({ Name: 'by-name' }));
    await account.settle();
    const { Namespaces } = await root.map.send(new ListNamespacesCommand({}));
    const { Arn } = Namespaces!.find((one) => one.Name === 'by-name')!;
    for (const [wanted, ok] of [
      [Arn!, true],
      ['by-name', false],
    ] as const) {
      await grant(
        allow('ecs:CreateService', '*', { StringEquals: { 'ecs:namespace': wanted } }),
        rest('ecs:CreateService'),
      );
      const it = await refusal(connect('by-name')(session));
      assert.equal(denied(it), !ok, `${wanted}: ${it.message}`);
    }
  });

  /** https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAM.Conditions.html */
  test('every database is in a VPC', async () => {
    const session = clients(await assume());
    for (const inside of ['true', 'false']) {
      await grant(allow('rds:DeleteDBInstance', '*', { Bool: { 'rds:Vpc': inside } }));
      const it = await refusal(session.rds.send(new DeleteDBInstanceCommand({ DBInstanceIdentifier: 'none' })));
      assert.equal(denied(it), inside === 'false', it.message);
    }
  });

  /** https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html */
  test("a security group's and a subnet's VPC", async () => {
    const root = clients(account.root(CUSTOMER));
    const session = clients(await assume());
    const make = async (n: number) => {
      const VpcId = (await root.ec2.send(new CreateVpcCommand({ CidrBlock: `10.${n}.0.0/16` }))).Vpc!.VpcId!;
      const group = await root.ec2.send(new CreateSecurityGroupCommand({ GroupName: 'v', Description: 'v', VpcId }));
      const subnet = await root.ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock: `10.${n}.0.0/24` }));
      return [VpcId, group.GroupId!, subnet.Subnet!.SubnetId!] as const;
    };
    const [mine, myGroup, mySubnet] = await make(21);
    const [, theirGroup, theirSubnet] = await make(22);
    await grant(
      allow(['ec2:DeleteSecurityGroup', 'ec2:DeleteSubnet'], '*', {
        ArnEquals: { 'ec2:Vpc': arn('ec2', `vpc/${mine}`) },
      }),
    );
    const group = (GroupId: string) => refusal(session.ec2.send(new DeleteSecurityGroupCommand({ GroupId })));
    const subnet = (SubnetId: string) => refusal(session.ec2.send(new DeleteSubnetCommand({ SubnetId })));
    assert.equal((await group(myGroup)).name, 'none');
    assert.equal((await subnet(mySubnet)).name, 'none');
    assert.ok(denied(await group(theirGroup)));
    assert.ok(denied(await subnet(theirSubnet)));
  });

  test('tags of what exists, under each of their names', async () => {
    const root = clients(account.root(CUSTOMER));
    const vpc = (await root.ec2.send(new CreateVpcCommand({ CidrBlock: '10.9.0.0/16' }))).Vpc!.VpcId!;
    const group = async (Value: string) =>
      (
        await root.ec2.send(
          new CreateSecurityGroupCommand({
            GroupName: `tagged-${Value}`,
            Description: 'x',
            VpcId: vpc,
            TagSpecifications: [{ ResourceType: 'security-group', Tags: [{ Key: TAG.key, Value }] }],
          }),
        )
      ).GroupId!;
    const target = async (Value: string) =>
      (
        await root.elb.send(
          new CreateTargetGroupCommand({
            Name: `tagged-${Value}`,
            Protocol: 'HTTP',
            Port: 80,
            VpcId: vpc,
            TargetType: 'ip',
            Tags: [{ Key: TAG.key, Value }],
          }),
        )
      ).TargetGroups![0]!.TargetGroupArn!;
    const secret = async (Value: string) =>
      (
        await root.secrets.send(
          new CreateSecretCommand({ Name: `tagged/${Value}`, SecretString: 'x', Tags: [{ Key: TAG.key, Value }] }),
        )
      ).ARN!;
    const log = async (Value: string) => {
      await root.logs.send(new CreateLogGroupCommand({ logGroupName: `/tagged/${Value}`, tags: { [TAG.key]: Value } }));
      return `/tagged/${Value}`;
    };
    const subnets = await Promise.all(
      ['a', 'b'].map(
        async (zone, n) =>
          (
            await root.ec2.send(
              new CreateSubnetCommand({
                VpcId: vpc,
                CidrBlock: `10.9.${n}.0/24`,
                AvailabilityZone: `${REGION}${zone}`,
              }),
            )
          ).Subnet!.SubnetId!,
      ),
    );
    const cluster = async (value: string) =>
      (
        await root.ecs.send(
          new CreateClusterCommand({ clusterName: `tagged-${value}`, tags: [{ key: TAG.key, value }] }),
        )
      ).cluster!.clusterArn!;
    const subnetGroup = async (Value: string) =>
      (
        await root.rds.send(
          new CreateDBSubnetGroupCommand({
            DBSubnetGroupName: `tagged-${Value}`,
            DBSubnetGroupDescription: 'x',
            SubnetIds: subnets,
            Tags: [{ Key: TAG.key, Value }],
          }),
        )
      ).DBSubnetGroup!.DBSubnetGroupName!;
    const repository = async (Value: string) =>
      (
        await root.ecr.send(
          new CreateRepositoryCommand({ repositoryName: `tagged/${Value}`, tags: [{ Key: TAG.key, Value }] }),
        )
      ).repository!.repositoryName!;
    const Tags = (Value: string) => [{ Key: TAG.key, Value }];
    const placed = { networkConfiguration: { awsvpcConfiguration: { subnets } } };
    const definition = async (value: string) => {
      const { taskDefinition } = await root.ecs.send(
        new RegisterTaskDefinitionCommand({
          family: `tagged-${value}`,
          ...FARGATE,
          containerDefinitions: [...CONTAINER],
          requiresCompatibilities: ['FARGATE'],
          tags: [{ ...TAG, value }],
        }),
      );
      return taskDefinition!.taskDefinitionArn!;
    };
    const inactive = async (value: string) => {
      const taskDefinition = await definition(`gone-${value}`);
      await root.ecs.send(new TagResourceCommand({ resourceArn: taskDefinition, tags: [{ ...TAG, value }] }));
      await root.ecs.send(new DeregisterTaskDefinitionCommand({ taskDefinition }));
      return taskDefinition;
    };
    await root.ecs.send(new CreateClusterCommand({ clusterName: 'holds' }));
    await account.settle();
    const made = async (value: string) => {
      const taskDefinition = await definition(`of-${value}`);
      const { service: it } = await root.ecs.send(
        new CreateServiceCommand({
          cluster: 'holds',
          serviceName: `tagged-${value}`,
          taskDefinition,
          desiredCount: 0,
          launchType: 'FARGATE',
          tags: [{ ...TAG, value }],
          ...placed,
        }),
      );
      await account.settle();
      return it!.serviceName!;
    };
    const ran = async (value: string) => {
      const { tasks } = await root.ecs.send(
        new RunTaskCommand({
          cluster: 'holds',
          taskDefinition: await definition(`ran-${value}`),
          launchType: 'FARGATE',
          tags: [{ ...TAG, value }],
          ...placed,
        }),
      );
      return tasks![0]!.taskArn!;
    };
    const scaled = async (value: string) => {
      const ResourceId = `service/holds/${await made(`scaled-${value}`)}`;
      await root.scaling.send(
        new RegisterScalableTargetCommand({ ...SCALED, ResourceId, MinCapacity: 0, Tags: { [TAG.key]: value } }),
      );
      return ResourceId;
    };
    const SCALED = {
      ServiceNamespace: 'ecs',
      ScalableDimension: 'ecs:service:DesiredCount',
      MaxCapacity: 1,
    } as const;
    const db = async (Value: string) => {
      const DBInstanceIdentifier = `tagged-${Value}`;
      await root.rds.send(
        new CreateDBInstanceCommand({
          DBInstanceIdentifier,
          DBInstanceClass: 'db.t4g.micro',
          Engine: 'postgres',
          AllocatedStorage: 20,
          MasterUsername: 'ada',
          MasterUserPassword: 'long-enough-1',
          DBSubnetGroupName: await subnetGroup(`db-${Value}`),
          Tags: Tags(Value),
        }),
      );
      return DBInstanceIdentifier;
    };
    const mapped = async (Value: string) =>
      (
        await root.map.send(
          new CreateMapServiceCommand({ Name: `tagged-${Value}`, NamespaceId: namespace, Tags: Tags(Value) }),
        )
      ).Service!.Id!;
    await root.map.send(new CreateHttpNamespaceCommand({ Name: 'holds' }));
    await account.settle();
    const namespace = (await root.map.send(new ListNamespacesCommand({}))).Namespaces!.find(
      (one) => one.Name === 'holds',
    )!.Id!;
    const key = async (Value: string) =>
      (await root.kms.send(new CreateKeyCommand({ Tags: [{ TagKey: TAG.key, TagValue: Value }] }))).KeyMetadata!.KeyId!;
    const parameter = async (Value: string) => {
      await root.ssm.send(
        new PutParameterCommand({ Name: `/tagged/${Value}`, Value: 'x', Type: 'String', Tags: Tags(Value) }),
      );
      return `/tagged/${Value}`;
    };
    const queue = async (Value: string) =>
      (await root.sqs.send(new CreateQueueCommand({ QueueName: `tagged-${Value}`, tags: { [TAG.key]: Value } })))
        .QueueUrl!;
    const kinds: [
      string,
      string,
      string[],
      (which: string) => Promise<string>,
      (c: Clients, id: string) => Promise<unknown>,
    ][] = [
      [
        'ec2',
        'ec2:DeleteSecurityGroup',
        ['aws:ResourceTag', 'ec2:ResourceTag'],
        group,
        (c, GroupId) => c.ec2.send(new DeleteSecurityGroupCommand({ GroupId })),
      ],
      [
        'elb',
        'elasticloadbalancing:ModifyTargetGroup',
        ['aws:ResourceTag', 'elasticloadbalancing:ResourceTag'],
        target,
        (c, TargetGroupArn) => c.elb.send(new ModifyTargetGroupCommand({ TargetGroupArn })),
      ],
      [
        'secrets',
        'secretsmanager:GetSecretValue',
        ['aws:ResourceTag', 'secretsmanager:ResourceTag'],
        secret,
        (c, SecretId) => c.secrets.send(new GetSecretValueCommand({ SecretId })),
      ],
      [
        'logs',
        'logs:PutRetentionPolicy',
        ['aws:ResourceTag'],
        log,
        (c, logGroupName) => c.logs.send(new PutRetentionPolicyCommand({ logGroupName, retentionInDays: 7 })),
      ],
      [
        'ecs',
        'ecs:DeleteCluster',
        ['aws:ResourceTag', 'ecs:ResourceTag'],
        cluster,
        (c, cluster) => c.ecs.send(new DeleteClusterCommand({ cluster })),
      ],
      [
        'rds',
        'rds:DeleteDBSubnetGroup',
        ['aws:ResourceTag', 'rds:subgrp-tag'],
        subnetGroup,
        (c, DBSubnetGroupName) => c.rds.send(new DeleteDBSubnetGroupCommand({ DBSubnetGroupName })),
      ],
      [
        'ecr',
        'ecr:DescribeImages',
        ['aws:ResourceTag', 'ecr:ResourceTag'],
        repository,
        (c, repositoryName) => c.ecr.send(new DescribeImagesCommand({ repositoryName })),
      ],
      [
        'ecs service',
        'ecs:DeleteService',
        ['aws:ResourceTag', 'ecs:ResourceTag'],
        made,
        (c, service) => c.ecs.send(new DeleteServiceCommand({ cluster: 'holds', service })),
      ],
      [
        'ecs task',
        'ecs:StopTask',
        ['aws:ResourceTag', 'ecs:ResourceTag'],
        ran,
        (c, task) => c.ecs.send(new StopTaskCommand({ cluster: 'holds', task })),
      ],
      [
        'ecs task definition',
        'ecs:DeleteTaskDefinitions',
        ['aws:ResourceTag', 'ecs:ResourceTag'],
        inactive,
        (c, one) => c.ecs.send(new DeleteTaskDefinitionsCommand({ taskDefinitions: [one] })),
      ],
      [
        'rds instance',
        'rds:DescribeDBInstances',
        ['aws:ResourceTag', 'rds:db-tag'],
        db,
        (c, DBInstanceIdentifier) => c.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier })),
      ],
      [
        'Cloud Map service',
        'servicediscovery:DeleteService',
        ['aws:ResourceTag'],
        mapped,
        (c, Id) => c.map.send(new DeleteMapServiceCommand({ Id })),
      ],
      [
        'scalable target',
        'application-autoscaling:DeregisterScalableTarget',
        ['aws:ResourceTag'],
        scaled,
        (c, ResourceId) => {
          const { ServiceNamespace, ScalableDimension } = SCALED;
          return c.scaling.send(
            new DeregisterScalableTargetCommand({ ServiceNamespace, ScalableDimension, ResourceId }),
          );
        },
      ],
      [
        'KMS key',
        'kms:DescribeKey',
        ['aws:ResourceTag'],
        key,
        (c, KeyId) => c.kms.send(new DescribeKeyCommand({ KeyId })),
      ],
      [
        'parameter',
        'ssm:GetParameter',
        ['aws:ResourceTag', 'ssm:resourceTag'],
        parameter,
        (c, Name) => c.ssm.send(new GetParameterCommand({ Name })),
      ],
      [
        'queue',
        'sqs:GetQueueAttributes',
        ['aws:ResourceTag'],
        queue,
        (c, QueueUrl) => c.sqs.send(new GetQueueAttributesCommand({ QueueUrl })),
      ],
    ];
    const session = clients(await assume());
    for (const [kind, action, keys, make, call] of kinds)
      for (const [n, key] of keys.entries()) {
        await grant(allow(action, '*', { StringEquals: { [`${key}/${TAG.key}`]: `mine-${n}` } }));
        const mine = await refusal(call(session, await make(`mine-${n}`)));
        assert.equal(mine.name, 'none', `${kind} ${key}: ${mine.message}`);
        const theirs = await refusal(call(session, await make(`theirs-${n}`)));
        assert.ok(denied(theirs), `${kind} ${key}: ${theirs.name}`);
      }
  });

  test('a key that the emulator cannot know fails loudly, in the answer and in the call log', async () => {
    const session = clients(await assume());
    for (const key of ['rds:NoSuchKey', 'aws:NoSuchKey', 'ecs:task-cup', 'cloudwatch:AlarmActions']) {
      await grant(allow('rds:DescribeDBInstances', '*', { StringEquals: { [key]: 'x' } }));
      const it = await refusal(session.rds.send(new DescribeDBInstancesCommand({})));
      assert.equal(it.name, 'InternalFailure');
      assert.ok(it.message.includes(key), it.message);
      const logged = (await account.calls()).at(-1)!;
      assert.deepEqual([logged.action, logged.status, logged.error], ['DescribeDBInstances', 500, 'InternalFailure']);
    }
    // one that AWS has on this action, and that nothing here computes
    await grant(allow('kms:CreateKey', '*', { StringEquals: { 'kms:KeyOrigin': 'AWS_KMS' } }));
    const it = await refusal(session.kms.send(new CreateKeyCommand({})));
    assert.match(`${it.name}: ${it.message}`, /^InternalFailure: .*kms:KeyOrigin is not computed/);
    await grant(allow('rds:DeleteDBInstance'));
    assert.equal(
      (await refusal(session.rds.send(new DeleteDBInstanceCommand({ DBInstanceIdentifier: 'none' })))).name,
      'DBInstanceNotFoundFault',
    );
  });
});

describe('iam:SimulatePrincipalPolicy', () => {
  test('a role about itself: decisions, missing context, what is given', async () => {
    const secret = arn('secretsmanager', 'secret:place/x-AbCdEf');
    await grant(
      allow('iam:SimulatePrincipalPolicy', ROLE),
      allow('secretsmanager:CreateSecret', arn('secretsmanager', 'secret:place/*'), {
        StringEquals: { 'aws:RequestTag/freehold:place': 'p' },
      }),
      allow('ecs:*'),
      { Effect: 'Deny', Action: 'ecs:DeleteCluster', Resource: '*' },
    );
    const session = clients(await assume());
    const ask = async (more: object = {}) => {
      const answer = await session.iam.send(
        new SimulatePrincipalPolicyCommand({
          PolicySourceArn: ROLE,
          ActionNames: [
            'secretsmanager:CreateSecret',
            'ecs:CreateService',
            'ecs:DeleteCluster',
            'rds:CreateDBInstance',
          ],
          ResourceArns: [secret],
          ...more,
        }),
      );
      return answer.EvaluationResults!.map((one) => [
        one.EvalActionName,
        one.EvalDecision,
        one.MissingContextValues ?? [],
      ]);
    };
    assert.deepEqual(await ask(), [
      ['secretsmanager:CreateSecret', 'implicitDeny', ['aws:RequestTag/freehold:place']],
      ['ecs:CreateService', 'allowed', []],
      ['ecs:DeleteCluster', 'explicitDeny', []],
      ['rds:CreateDBInstance', 'implicitDeny', []],
    ]);
    const entry = {
      ContextKeyName: 'aws:RequestTag/freehold:place',
      ContextKeyType: 'string',
      ContextKeyValues: ['p'],
    };
    assert.deepEqual((await ask({ ContextEntries: [entry] }))[0], ['secretsmanager:CreateSecret', 'allowed', []]);
    const other = await refusal(
      session.iam.send(
        new SimulatePrincipalPolicyCommand({
          PolicySourceArn: `arn:aws:iam::${CUSTOMER}:role/second`,
          ActionNames: ['ecs:CreateService'],
        }),
      ),
    );
    assert.ok(denied(other), other.message);
  });
});
