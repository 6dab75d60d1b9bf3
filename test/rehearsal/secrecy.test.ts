/**
 * Nothing secret is told: whatever value a call carries in or out, it is in no line of the call log, no record of
 * CloudTrail's, no event and no error. Each row names the page of AWS's that says what the value is.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  CloudTrailClient,
  CreateTrailCommand,
  paginateLookupEvents,
  StartLoggingCommand,
} from '@aws-sdk/client-cloudtrail';
import { PutLogEventsCommand, CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { CreateKeyPairCommand, EC2Client } from '@aws-sdk/client-ec2';
import { ECRClient, GetAuthorizationTokenCommand } from '@aws-sdk/client-ecr';
import { CreateClusterCommand, ECSClient, RegisterTaskDefinitionCommand, RunTaskCommand } from '@aws-sdk/client-ecs';
import {
  ActionTypeEnum,
  CreateRuleCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { EventBridgeClient, PutEventsCommand, PutRuleCommand, PutTargetsCommand } from '@aws-sdk/client-eventbridge';
import { CreateAccessKeyCommand, CreateLoginProfileCommand, CreateUserCommand, IAMClient } from '@aws-sdk/client-iam';
import {
  CreateKeyCommand,
  DecryptCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GenerateDataKeyWithoutPlaintextCommand,
  GenerateRandomCommand,
  KMSClient,
} from '@aws-sdk/client-kms';
import { CreateDBInstanceCommand, ModifyDBInstanceCommand, RDSClient } from '@aws-sdk/client-rds';
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import {
  BatchGetSecretValueCommand,
  CreateSecretCommand,
  GetRandomPasswordCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  SecretsManagerClient,
  UpdateSecretCommand,
} from '@aws-sdk/client-secrets-manager';
import { CreateQueueCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { GetParameterCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { AssumeRoleCommand, GetSessionTokenCommand, STSClient } from '@aws-sdk/client-sts';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';

const ACCOUNT = '620000000011';
const API = 'https://docs.aws.amazon.com/';

let account: Rehearsal;
let told: { calls: string; trail: string; events: string };
const ended: Record<string, string> = {};
const secret = (about: string): string => `hush-${about}`;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const base64 = (value: Uint8Array | string): string => Buffer.from(value).toString('base64');
/** What is a secret and is not called `hush-`, by the call. */
const made: [string, string][] = [['SecretBinary', base64(secret('binary'))]];
const options = () => ({
  endpoint: account.endpoint,
  region: 'us-east-1',
  credentials: account.root(ACCOUNT),
  maxAttempts: 1,
  forcePathStyle: true,
});
const client = <T>(kind: new (given: ReturnType<typeof options>) => T): T => new kind(options());
const secrets = () => client(SecretsManagerClient);
const ecs = () => client(ECSClient);
const kms = () => client(KMSClient);
const container = (more: object) => ({
  family: 'web',
  networkMode: 'awsvpc' as const,
  requiresCompatibilities: ['FARGATE' as const],
  cpu: '256',
  memory: '512',
  containerDefinitions: [{ name: 'web', image: 'x', ...more }],
});
/** A request as it is, of a protocol or with a mistake that no SDK makes. */
async function raw(service: string, body: string, headers: Record<string, string>, query = ''): Promise<void> {
  const scope = `${ACCOUNT}/20261121/us-east-1/${service}/aws4_request`;
  const answer = await fetch(`${account.endpoint}/${query}`, {
    method: 'POST',
    headers: {
      authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0`,
      ...headers,
    },
    body,
  });
  if (!answer.ok) throw new Error(await answer.text());
}
const json = (service: string, target: string, input: object): Promise<void> =>
  raw(service, JSON.stringify(input), { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target });
const form = (service: string, input: Record<string, string>): Promise<void> =>
  raw(service, new URLSearchParams(input).toString(), { 'content-type': 'application/x-www-form-urlencoded' });
const stack = (name: string, more: Record<string, string>, template: object): Promise<void> =>
  form('cloudformation', {
    Action: 'CreateStack',
    Version: '2010-05-15',
    StackName: name,
    TemplateBody: JSON.stringify(template),
    ...more,
  });
const given = (value: string): Record<string, string> => ({
  'Parameters.member.1.ParameterKey': 'Password',
  'Parameters.member.1.ParameterValue': value,
});
const parameter = (more: object) => ({
  Parameters: { Password: { Type: 'String', NoEcho: true, ...more } },
  Resources: {
    Kept: { Type: 'AWS::SSM::Parameter', Properties: { Type: 'String', Value: { Ref: 'Password' } } },
  },
});

/** [what is secret, AWS's page, the call that carries it in or out] */
const ROWS: [string, string, () => Promise<unknown>][] = [
  [
    'CreateSecret: SecretString',
    'secretsmanager/latest/apireference/API_CreateSecret.html',
    () => secrets().send(new CreateSecretCommand({ Name: 'one', SecretString: secret('create') })),
  ],
  [
    'CreateSecret: SecretBinary',
    'secretsmanager/latest/apireference/API_CreateSecret.html',
    () => secrets().send(new CreateSecretCommand({ Name: 'two', SecretBinary: bytes(secret('binary')) })),
  ],
  [
    'PutSecretValue',
    'secretsmanager/latest/apireference/API_PutSecretValue.html',
    () => secrets().send(new PutSecretValueCommand({ SecretId: 'one', SecretString: secret('put') })),
  ],
  [
    'UpdateSecret',
    'secretsmanager/latest/apireference/API_UpdateSecret.html',
    () => secrets().send(new UpdateSecretCommand({ SecretId: 'one', SecretString: secret('update') })),
  ],
  [
    'GetSecretValue',
    'secretsmanager/latest/apireference/API_GetSecretValue.html',
    () => secrets().send(new GetSecretValueCommand({ SecretId: 'one' })),
  ],
  [
    'BatchGetSecretValue',
    'secretsmanager/latest/apireference/API_BatchGetSecretValue.html',
    () => secrets().send(new BatchGetSecretValueCommand({ SecretIdList: ['one', 'two'] })),
  ],
  [
    'GetRandomPassword',
    'secretsmanager/latest/apireference/API_GetRandomPassword.html',
    async () => {
      const { RandomPassword } = await secrets().send(new GetRandomPasswordCommand({ ExcludePunctuation: true }));
      made.push(['GetRandomPassword', RandomPassword!]);
    },
  ],
  [
    'a secret that is refused',
    'secretsmanager/latest/apireference/API_PutSecretValue.html',
    () => secrets().send(new PutSecretValueCommand({ SecretId: 'none', SecretString: secret('refused') })),
  ],
  [
    'a secret of the wrong type',
    'secretsmanager/latest/apireference/API_CreateSecret.html',
    () => json('secretsmanager', 'secretsmanager.CreateSecret', { Name: 'x', SecretString: { a: secret('typed') } }),
  ],
  [
    'a secret in the name’s place',
    'secretsmanager/latest/apireference/API_CreateSecret.html',
    () => json('secretsmanager', 'secretsmanager.CreateSecret', { Name: { SecretString: secret('misplaced') } }),
  ],
  [
    'a secret under a name that AWS does not know',
    'secretsmanager/latest/apireference/API_CreateSecret.html',
    () => json('secretsmanager', 'secretsmanager.CreateSecret', { Name: 'y', secretString: secret('unknown') }),
  ],
  [
    'a container’s environment',
    'AmazonECS/latest/APIReference/API_ContainerDefinition.html',
    () =>
      ecs().send(
        new RegisterTaskDefinitionCommand(container({ environment: [{ name: 'KEY', value: secret('environment') }] })),
      ),
  ],
  [
    'a container’s command, entry point and health check',
    'AmazonECS/latest/APIReference/API_ContainerDefinition.html',
    () =>
      ecs().send(
        new RegisterTaskDefinitionCommand(
          container({
            command: ['--requirepass', secret('command')],
            entryPoint: ['sh', '-c', secret('entry')],
            healthCheck: { command: ['CMD', 'redis-cli', '-a', secret('health')] },
          }),
        ),
      ),
  ],
  [
    'a log driver’s token',
    'AmazonECS/latest/APIReference/API_LogConfiguration.html',
    () =>
      ecs().send(
        new RegisterTaskDefinitionCommand(
          container({ logConfiguration: { logDriver: 'splunk', options: { 'splunk-token': secret('splunk') } } }),
        ),
      ),
  ],
  [
    'an environment of the wrong type',
    'AmazonECS/latest/APIReference/API_ContainerDefinition.html',
    () =>
      json(
        'ecs',
        'AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition',
        container({ environment: secret('list') }),
      ),
  ],
  [
    'an environment of names and values',
    'AmazonECS/latest/APIReference/API_ContainerDefinition.html',
    () =>
      json(
        'ecs',
        'AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition',
        container({ environment: [secret('text'), { name: 'K', value: { x: secret('map') } }] }),
      ),
  ],
  [
    'RunTask: what a task is given',
    'AmazonECS/latest/APIReference/API_ContainerOverride.html',
    async () => {
      await ecs().send(new CreateClusterCommand({ clusterName: 'books' }));
      await ecs().send(
        new RunTaskCommand({
          cluster: 'books',
          taskDefinition: 'web',
          launchType: 'FARGATE',
          networkConfiguration: { awsvpcConfiguration: { subnets: ['subnet-0'] } },
          overrides: {
            containerOverrides: [
              { name: 'web', command: [secret('override')], environment: [{ name: 'A', value: secret('given') }] },
            ],
          },
        }),
      );
    },
  ],
  [
    'PutParameter',
    'systems-manager/latest/APIReference/API_PutParameter.html',
    () =>
      client(SSMClient).send(
        new PutParameterCommand({ Name: '/one', Type: 'SecureString', Value: secret('parameter') }),
      ),
  ],
  [
    'PutParameter: a value that its pattern refuses',
    'systems-manager/latest/APIReference/API_PutParameter.html',
    () =>
      client(SSMClient).send(
        new PutParameterCommand({
          Name: '/two',
          Type: 'SecureString',
          Value: secret('pattern'),
          AllowedPattern: '^[0-9]+$',
        }),
      ),
  ],
  [
    'GetParameter',
    'systems-manager/latest/APIReference/API_GetParameter.html',
    () => client(SSMClient).send(new GetParameterCommand({ Name: '/one', WithDecryption: true })),
  ],
  [
    'KMS: what it encrypts and decrypts, and the data keys that it makes',
    'kms/latest/APIReference/API_Encrypt.html',
    async () => {
      const { KeyMetadata } = await kms().send(new CreateKeyCommand({}));
      const KeyId = KeyMetadata!.KeyId!;
      const text = bytes(secret('plaintext'));
      const { CiphertextBlob } = await kms().send(new EncryptCommand({ KeyId, Plaintext: text }));
      await kms().send(new DecryptCommand({ CiphertextBlob: CiphertextBlob! }));
      const key = await kms().send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256' }));
      made.push(['Encrypt', base64(text)], ['Encrypt', base64(CiphertextBlob!)], ['data key', base64(key.Plaintext!)]);
      made.push(['data key', base64(key.CiphertextBlob!)]);
      const other = await kms().send(new GenerateDataKeyWithoutPlaintextCommand({ KeyId, KeySpec: 'AES_256' }));
      made.push(['data key', base64(other.CiphertextBlob!)]);
      await assert.rejects(kms().send(new DecryptCommand({ CiphertextBlob: bytes(secret('ciphertext')) })));
      await kms()
        .send(new GenerateRandomCommand({ NumberOfBytes: 32 }))
        .catch(() => {});
    },
  ],
  [
    'a message',
    'AWSSimpleQueueService/latest/APIReference/API_SendMessage.html',
    async () => {
      const { QueueUrl } = await client(SQSClient).send(new CreateQueueCommand({ QueueName: 'q' }));
      await client(SQSClient).send(new SendMessageCommand({ QueueUrl, MessageBody: secret('message') }));
      await client(SQSClient).send(new ReceiveMessageCommand({ QueueUrl }));
    },
  ],
  [
    'a target’s constant input',
    'eventbridge/latest/APIReference/API_Target.html',
    async () => {
      await client(EventBridgeClient).send(new PutRuleCommand({ Name: 'r', EventPattern: '{"source":["none"]}' }));
      const Arn = `arn:aws:sqs:us-east-1:${ACCOUNT}:q`;
      const target = { Id: 'q', Arn, Input: JSON.stringify({ password: secret('input') }) };
      await client(EventBridgeClient).send(new PutTargetsCommand({ Rule: 'r', Targets: [target] }));
    },
  ],
  [
    'an event of one’s own that is refused',
    'eventbridge/latest/APIReference/API_PutEvents.html',
    () =>
      client(EventBridgeClient).send(
        new PutEventsCommand({ Entries: [{ Source: 'own', DetailType: 'x', Detail: secret('event') }] }),
      ),
  ],
  [
    'CreateAccessKey, and a password to sign in',
    'IAM/latest/APIReference/API_AccessKey.html',
    async () => {
      await client(IAMClient).send(new CreateUserCommand({ UserName: 'bob' }));
      const { AccessKey } = await client(IAMClient).send(new CreateAccessKeyCommand({ UserName: 'bob' }));
      made.push(['CreateAccessKey', AccessKey!.SecretAccessKey!]);
      await client(IAMClient)
        .send(new CreateLoginProfileCommand({ UserName: 'bob', Password: secret('login') }))
        .catch(() => {});
      const { Credentials } = await new STSClient({
        ...options(),
        credentials: { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! },
      }).send(new GetSessionTokenCommand({}));
      made.push(['GetSessionToken', Credentials!.SecretAccessKey!], ['GetSessionToken', Credentials!.SessionToken!]);
    },
  ],
  [
    'AssumeRole of a role that does not exist',
    'STS/latest/APIReference/API_AssumeRole.html',
    () =>
      client(STSClient).send(
        new AssumeRoleCommand({
          RoleArn: `arn:aws:iam::${ACCOUNT}:role/none`,
          RoleSessionName: 'some',
          TokenCode: '123456',
          Tags: [{ Key: 'k', Value: 'v' }],
        }),
      ),
  ],
  [
    'a registry’s token',
    'AmazonECR/latest/APIReference/API_AuthorizationData.html',
    async () => {
      const { authorizationData } = await client(ECRClient).send(new GetAuthorizationTokenCommand({}));
      made.push(['GetAuthorizationToken', authorizationData![0]!.authorizationToken!]);
    },
  ],
  [
    'a database’s password',
    'AmazonRDS/latest/APIReference/API_CreateDBInstance.html',
    () =>
      client(RDSClient).send(
        new CreateDBInstanceCommand({
          DBInstanceIdentifier: 'books',
          DBInstanceClass: 'db.t4g.micro',
          Engine: 'postgres',
          AllocatedStorage: 20,
          MasterUsername: 'ada',
          MasterUserPassword: secret('password'),
        }),
      ),
  ],
  [
    'a database’s password that AWS does not take',
    'AmazonRDS/latest/APIReference/API_CreateDBInstance.html',
    () =>
      client(RDSClient).send(
        new CreateDBInstanceCommand({
          DBInstanceIdentifier: 'papers',
          DBInstanceClass: 'db.t4g.micro',
          Engine: 'postgres',
          AllocatedStorage: 20,
          MasterUsername: 'ada',
          MasterUserPassword: secret('pass/word@"'),
        }),
      ),
  ],
  [
    'a database’s next password',
    'AmazonRDS/latest/APIReference/API_ModifyDBInstance.html',
    () =>
      client(RDSClient).send(
        new ModifyDBInstanceCommand({
          DBInstanceIdentifier: 'books',
          MasterUserPassword: secret('modified'),
          TdeCredentialPassword: secret('tde'),
          ApplyImmediately: true,
        }),
      ),
  ],
  [
    'a listener’s client secret',
    'elasticloadbalancing/latest/APIReference/API_AuthenticateOidcActionConfig.html',
    () =>
      client(ElasticLoadBalancingV2Client).send(
        new CreateRuleCommand({
          ListenerArn: `arn:aws:elasticloadbalancing:us-east-1:${ACCOUNT}:listener/app/x/0123456789abcdef/0123456789abcdef`,
          Priority: 1,
          Conditions: [{ Field: 'path-pattern', Values: ['/'] }],
          Actions: [
            {
              Type: ActionTypeEnum.AUTHENTICATE_OIDC,
              AuthenticateOidcConfig: {
                Issuer: 'https://example.com',
                AuthorizationEndpoint: 'https://example.com/a',
                TokenEndpoint: 'https://example.com/t',
                UserInfoEndpoint: 'https://example.com/u',
                ClientId: 'x',
                ClientSecret: secret('client'),
              },
            },
          ],
        }),
      ),
  ],
  [
    'a key pair',
    'AWSEC2/latest/APIReference/API_CreateKeyPair.html',
    async () => {
      const { KeyMaterial } = await client(EC2Client).send(new CreateKeyPairCommand({ KeyName: 'x' }));
      if (KeyMaterial) made.push(['CreateKeyPair', KeyMaterial.split('\n')[1] ?? KeyMaterial]);
    },
  ],
  [
    'a stack’s parameter',
    'AWSCloudFormation/latest/UserGuide/parameters-section-structure.html',
    () => stack('one', given(secret('stack')), parameter({})),
  ],
  [
    'a stack’s parameter that its template refuses',
    'AWSCloudFormation/latest/UserGuide/parameters-section-structure.html',
    () => stack('two', given(secret('constraint')), parameter({ AllowedPattern: '[0-9]+', MaxLength: '4' })),
  ],
  [
    'a stack’s parameter that is none of the allowed',
    'AWSCloudFormation/latest/UserGuide/parameters-section-structure.html',
    () => stack('three', given(secret('allowed')), parameter({ AllowedValues: ['a', 'b'] })),
  ],
  [
    'a stack’s parameter that is no number',
    'AWSCloudFormation/latest/UserGuide/parameters-section-structure.html',
    () => stack('four', given(secret('number')), parameter({ Type: 'Number' })),
  ],
  [
    'a stack’s parameters that are no list',
    'AWSCloudFormation/latest/UserGuide/parameters-section-structure.html',
    () => stack('five', { Parameters: 'none' }, parameter({ Default: 'x' })),
  ],
  [
    'a session’s tag without a value',
    'STS/latest/APIReference/API_AssumeRole.html',
    () =>
      form('sts', {
        Action: 'AssumeRole',
        Version: '2011-06-15',
        RoleArn: `arn:aws:iam::${ACCOUNT}:role/none`,
        RoleSessionName: 'some',
        'Tags.member.1.Key': 'k',
      }),
  ],
  [
    'a stack’s template, and the resource that fails',
    'AWSCloudFormation/latest/UserGuide/parameters-section-structure.html',
    () =>
      stack(
        'six',
        {},
        {
          Resources: {
            Broken: {
              Type: 'AWS::SecretsManager::Secret',
              Properties: { Name: 'one', SecretString: secret('template') },
            },
          },
        },
      ),
  ],
  [
    'an object, and a presigned address',
    'AmazonS3/latest/userguide/using-presigned-url.html',
    async () => {
      await client(S3Client).send(new CreateBucketCommand({ Bucket: 'shelf' }));
      await client(S3Client).send(new PutObjectCommand({ Bucket: 'shelf', Key: 'a', Body: secret('object') }));
      const scope = `${ACCOUNT}%2F20261121%2Fus-east-1%2Fs3%2Faws4_request`;
      const query = `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${scope}&X-Amz-Security-Token=${secret('presigned')}`;
      await fetch(`${account.endpoint}/shelf/a?${query}&X-Amz-Signature=${secret('signature')}`);
      await raw('sts', '', {}, `?Action=GetCallerIdentity&X-Amz-Security-Token=${secret('query')}`).catch(() => {});
    },
  ],
  [
    'a line of a log',
    'AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html',
    () =>
      client(CloudWatchLogsClient).send(
        new PutLogEventsCommand({
          logGroupName: 'none',
          logStreamName: 'none',
          logEvents: [{ timestamp: Date.now(), message: secret('line') }],
        }),
      ),
  ],
];

before(async () => {
  account = await startRehearsal({ pace: 400, postgres: '', throttle: false });
  const trail = client(CloudTrailClient);
  await client(S3Client).send(new CreateBucketCommand({ Bucket: 'trails' }));
  await trail.send(new CreateTrailCommand({ Name: 'all', S3BucketName: 'trails' }));
  await trail.send(new StartLoggingCommand({ Name: 'all' }));
  const EventPattern = JSON.stringify({ account: [ACCOUNT] });
  const State = 'ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS';
  await client(EventBridgeClient).send(new PutRuleCommand({ Name: 'all', EventPattern, State }));
  for (const [title, , call] of ROWS)
    ended[title] = await call().then(
      () => '',
      (error: Error) => `${error.name}: ${error.message}`,
    );
  await account.skip(900);
  const records: string[] = [];
  for await (const page of paginateLookupEvents({ client: trail, pageSize: 50 }, {}))
    records.push(...page.Events!.map((one) => JSON.stringify(one)));
  told = {
    calls: JSON.stringify(await account.calls()),
    trail: records.join('\n'),
    events: JSON.stringify(await account.events(ACCOUNT)),
  };
});
after(() => account.stop());

for (const [title, page] of ROWS)
  test(`no error repeats it: ${title} (${API}${page})`, () => assert.doesNotMatch(ended[title]!, /hush-/));

for (const where of ['calls', 'trail', 'events'] as const)
  test(`nothing secret is in the account's ${where}`, () => {
    for (const call of ['PutSecretValue', 'RegisterTaskDefinition', 'CreateStack', 'CreateAccessKey'])
      assert.ok(told[where].includes(call), `${call} is told`);
    const found = [...new Set(told[where].match(/hush-[\w/@]+/g))];
    found.push(...made.filter(([, value]) => told[where].includes(value)).map(([name]) => name));
    assert.deepEqual(found, []);
  });
