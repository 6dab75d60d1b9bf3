/**
 * CloudTrail's event history: who did what, in both accounts that a call concerns, and nothing that is secret. Each row
 * names the page of AWS's that says so.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  CloudTrailClient,
  LookupEventsCommand,
  paginateLookupEvents,
  type Event,
  type LookupAttribute,
  type LookupEventsCommandInput,
} from '@aws-sdk/client-cloudtrail';
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  CreateTagsCommand,
  CreateVpcCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import {
  CreateClusterCommand,
  DescribeClustersCommand,
  ECSClient,
  RegisterTaskDefinitionCommand,
} from '@aws-sdk/client-ecs';
import {
  AddUserToGroupCommand,
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { CreateDBInstanceCommand, RDSClient } from '@aws-sdk/client-rds';
import { CreateSecretCommand, GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { CreateQueueCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { startRehearsal, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

const OWN = '620000000001';
const CUSTOMER = '620000000002';
const REGION = 'us-east-1';
const ROLE = `arn:aws:iam::${CUSTOMER}:role/freehold/control-plane`;
const GUIDE = 'https://docs.aws.amazon.com/awscloudtrail/latest/userguide/';
const RECORD = `${GUIDE}cloudtrail-event-reference-record-contents.html`;
const IDENTITY = `${GUIDE}cloudtrail-event-reference-user-identity.html`;
const STS = 'https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html';

let account: Rehearsal;
let user: Credentials;
let session: Credentials;
let began: Date;
const options = (credentials: Credentials, region = REGION) => ({
  endpoint: account.endpoint,
  region,
  credentials,
  maxAttempts: 5,
});
const document = (...Statement: object[]): string => JSON.stringify({ Version: '2012-10-17', Statement });
const look = (who: string, input: LookupEventsCommandInput = {}, region = REGION) =>
  new CloudTrailClient(options(account.root(who), region)).send(new LookupEventsCommand(input));

/* eslint-disable @typescript-eslint/no-explicit-any */
type Json = any;
interface Seen extends Event {
  record: Json;
}
const whole = (one: Event): Seen => ({ ...one, record: JSON.parse(one.CloudTrailEvent!) });
const history: Record<string, Seen[]> = {};

before(async () => {
  account = await startRehearsal({ pace: 100, postgres: '' });
  const root = options(account.root(CUSTOMER));
  const iam = new IAMClient(root);
  user = await account.createUser(OWN, 'plane', {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
  });
  began = new Date(Date.now() - 1000);
  const trust = {
    Effect: 'Allow',
    Principal: { AWS: `arn:aws:iam::${OWN}:user/plane` },
    Action: ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'],
    Condition: { StringEquals: { 'sts:ExternalId': 'shared-by-both' } },
  };
  await iam.send(
    new CreateRoleCommand({
      RoleName: 'control-plane',
      Path: '/freehold/',
      AssumeRolePolicyDocument: document(trust, { ...trust, Action: 'sts:TagSession', Condition: undefined }),
    }),
  );
  await iam.send(
    new PutRolePolicyCommand({
      RoleName: 'control-plane',
      PolicyName: 'rights',
      PolicyDocument: document({ Effect: 'Allow', Action: ['ecs:*', 'ec2:*'], Resource: '*' }),
    }),
  );
  await account.skip(60); // whatever is new in IAM is seen everywhere
  const sts = new STSClient(options(user));
  await assert.rejects(sts.send(new AssumeRoleCommand({ RoleArn: ROLE, RoleSessionName: 'stranger' })));
  const { Credentials: made } = await sts.send(
    new AssumeRoleCommand({
      RoleArn: ROLE,
      RoleSessionName: 'pass-7',
      ExternalId: 'shared-by-both',
      SourceIdentity: 'ada',
      Tags: [{ Key: 'deployment', Value: 'books' }],
      TransitiveTagKeys: ['deployment'],
    }),
  );
  session = {
    accessKeyId: made!.AccessKeyId!,
    secretAccessKey: made!.SecretAccessKey!,
    sessionToken: made!.SessionToken!,
  };
  const ecs = new ECSClient(options(session));
  await ecs.send(new CreateClusterCommand({ clusterName: 'books', tags: [{ key: 'Team', value: 'x' }] }));
  await ecs.send(new DescribeClustersCommand({ clusters: ['books'] }));
  await ecs.send(
    new RegisterTaskDefinitionCommand({
      family: 'web',
      networkMode: 'awsvpc',
      requiresCompatibilities: ['FARGATE'],
      cpu: '256',
      memory: '512',
      containerDefinitions: [{ name: 'web', image: 'x', environment: [{ name: 'KEY', value: 'hush-environment' }] }],
    }),
  );
  const ec2 = new EC2Client(options(session));
  const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }));
  const { GroupId } = await ec2.send(
    new CreateSecurityGroupCommand({
      GroupName: 'web',
      Description: 'web',
      VpcId: Vpc!.VpcId!,
      TagSpecifications: [{ ResourceType: 'security-group', Tags: [{ Key: 'Team', Value: 'x' }] }],
    }),
  );
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupId: GroupId!,
      IpPermissions: [{ IpProtocol: 'tcp', FromPort: 80, ToPort: 80, IpRanges: [{ CidrIp: '10.0.0.0/8' }] }],
    }),
  );
  await ec2.send(new CreateTagsCommand({ Resources: [GroupId!], Tags: [{ Key: 'a', Value: 'b' }] }));
  const denied = new SecretsManagerClient(options(session));
  await assert.rejects(denied.send(new CreateSecretCommand({ Name: 'no', SecretString: 'hush-denied' })));

  const secrets = new SecretsManagerClient(root);
  await secrets.send(new CreateSecretCommand({ Name: 'place/1', SecretString: 'hush-secret' }));
  await secrets.send(new GetSecretValueCommand({ SecretId: 'place/1' }));
  await iam.send(new CreateUserCommand({ UserName: 'bob' }));
  await iam.send(new CreateAccessKeyCommand({ UserName: 'bob' }));
  await assert.rejects(iam.send(new AddUserToGroupCommand({ UserName: 'bob', GroupName: 'none' })));
  await assert.rejects(
    new RDSClient(root).send(
      new CreateDBInstanceCommand({
        DBInstanceIdentifier: 'books',
        DBInstanceClass: 'db.t4g.micro',
        Engine: 'postgres',
        AllocatedStorage: 20,
        MasterUsername: 'ada',
        MasterUserPassword: 'hush-password',
        DBSubnetGroupName: 'none',
      }),
    ),
  );
  const sqs = new SQSClient(root);
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: 'q' }));
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: 'hush-message' }));
  await new ECSClient(options(account.root(CUSTOMER), 'eu-west-1')).send(
    new CreateClusterCommand({ clusterName: 'elsewhere' }),
  );

  const template = { Resources: { Group: { Type: 'AWS::Logs::LogGroup', Properties: { LogGroupName: 'stacked' } } } };
  const scope = `${CUSTOMER}/20261121/${REGION}/cloudformation/aws4_request`;
  const stack = await fetch(account.endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0`,
    },
    body: new URLSearchParams({
      Action: 'CreateStack',
      Version: '2010-05-15',
      StackName: 'shell',
      TemplateBody: JSON.stringify(template),
    }).toString(),
  });
  assert.equal(stack.status, 200, await stack.text());

  // https://docs.aws.amazon.com/awscloudtrail/latest/userguide/how-cloudtrail-works.html
  assert.ok(!(await look(CUSTOMER)).Events?.some((one) => one.EventName === 'CreateQueue'), 'it takes minutes on AWS');
  await account.skip(600);
  for (const who of [OWN, CUSTOMER]) {
    const client = new CloudTrailClient(options(account.root(who)));
    history[who] = [];
    for await (const page of paginateLookupEvents({ client, pageSize: 10 }, {}))
      history[who].push(...page.Events!.map(whole));
  }
});
after(() => account.stop());

/** The record of a call in an account's history. */
function record(name: string, who = CUSTOMER, wanted: (one: Json) => boolean = () => true): Json {
  const found = history[who]!.find((one) => one.EventName === name && wanted(one.record));
  assert.ok(found, `no ${name} in ${history[who]!.map((one) => one.EventName).join()}`);
  return found.record;
}

describe('who made a call', () => {
  const assumed = () => record('CreateCluster').userIdentity;
  const rows: [string, string, () => unknown, unknown][] = [
    ['root', IDENTITY, () => record('CreateQueue').userIdentity.type, 'Root'],
    ['root’s ARN', IDENTITY, () => record('CreateQueue').userIdentity.arn, `arn:aws:iam::${CUSTOMER}:root`],
    ['a user', IDENTITY, () => record('AssumeRole', OWN).userIdentity.type, 'IAMUser'],
    ['a user’s name', IDENTITY, () => record('AssumeRole', OWN).userIdentity.userName, 'plane'],
    ['a user’s key', IDENTITY, () => record('AssumeRole', OWN).userIdentity.accessKeyId, () => user.accessKeyId],
    ['an assumed role', IDENTITY, () => assumed().type, 'AssumedRole'],
    ['its session', IDENTITY, () => assumed().arn, `arn:aws:sts::${CUSTOMER}:assumed-role/control-plane/pass-7`],
    ['its key', IDENTITY, () => assumed().accessKeyId, () => session.accessKeyId],
    ['the role behind it', IDENTITY, () => assumed().sessionContext.sessionIssuer.arn, ROLE],
    ['the role’s name', IDENTITY, () => assumed().sessionContext.sessionIssuer.userName, 'control-plane'],
    [
      'id of role and session',
      IDENTITY,
      () => assumed().principalId,
      () => `${assumed().sessionContext.sessionIssuer.principalId}:pass-7`,
    ],
    ['no MFA', IDENTITY, () => assumed().sessionContext.attributes.mfaAuthenticated, 'false'],
    [
      'the source identity',
      'https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html',
      () => assumed().sessionContext.sourceIdentity,
      'ada',
    ],
  ];
  for (const [title, page, value, wanted] of rows)
    test(`${title} (${page})`, () =>
      assert.deepEqual(value(), typeof wanted === 'function' ? (wanted as () => unknown)() : wanted));
});

// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
test('what CloudFormation does for someone is that someone’s call, invoked by CloudFormation', () => {
  const made = record('CreateLogGroup');
  assert.equal(made.userIdentity.arn, record('CreateStack').userIdentity.arn);
  const { invokedBy } = made.userIdentity;
  assert.deepEqual([invokedBy, made.sourceIPAddress, made.userAgent], Array(3).fill('cloudformation.amazonaws.com'));
  assert.equal(record('CreateStack').userIdentity.invokedBy, undefined);
  assert.equal(record('CreateStack').requestParameters.templateBody, undefined);
});

describe('AssumeRole stands in both accounts', () => {
  const there = () => record('AssumeRole');
  const here = () => record('AssumeRole', OWN, (one) => !one.errorCode);
  const rows: [string, () => unknown, unknown][] = [
    ['with one shared id', () => there().sharedEventID === here().sharedEventID && !!here().sharedEventID, true],
    ['and ids of their own', () => there().eventID === here().eventID, false],
    ['for each its own recipient', () => [there().recipientAccountId, here().recipientAccountId], [CUSTOMER, OWN]],
    [
      'the owner sees the other account, not its user',
      () => [there().userIdentity.type, there().userIdentity.accountId, there().userIdentity.arn],
      ['AWSAccount', OWN, undefined],
    ],
    ['the role is its resource', () => there().resources, [{ accountId: CUSTOMER, type: 'AWS::IAM::Role', ARN: ROLE }]],
    ['the session’s name', () => there().requestParameters.roleSessionName, 'pass-7'],
    ['session tags', () => there().requestParameters.principalTags, { deployment: 'books' }],
    ['transitive tags', () => there().requestParameters.transitiveTagKeys, ['deployment']],
    ['the source identity', () => there().requestParameters.sourceIdentity, 'ada'],
    ['the external id', () => there().requestParameters.externalId, 'shared-by-both'],
    [
      'the key that was made, by which later calls are found',
      () => there().responseElements.credentials.accessKeyId,
      () => record('CreateCluster').userIdentity.accessKeyId,
    ],
    [
      'the session that was made',
      () => there().responseElements.assumedRoleUser.arn,
      () => record('CreateCluster').userIdentity.arn,
    ],
    ['it is read-only', () => there().readOnly, true],
    [
      'a refused one only where it was asked',
      () => history[CUSTOMER]!.filter((one) => one.EventName === 'AssumeRole').length,
      1,
    ],
    [
      'and says why',
      () => {
        const refusal = record('AssumeRole', OWN, (one) => !!one.errorCode);
        return [refusal.errorCode, /is not authorized to perform: sts:AssumeRole/.test(refusal.errorMessage as string)];
      },
      ['AccessDenied', true],
    ],
  ];
  for (const [title, value, wanted] of rows)
    test(`${title} (${STS})`, () =>
      assert.deepEqual(value(), typeof wanted === 'function' ? (wanted as () => unknown)() : wanted));
});

describe('what a record says', () => {
  const rows: [string, () => unknown, unknown][] = [
    ['the service', () => record('CreateCluster').eventSource, 'ecs.amazonaws.com'],
    ['the region', () => record('CreateCluster').awsRegion, REGION],
    [
      'the request',
      () => record('CreateCluster').requestParameters,
      { clusterName: 'books', tags: [{ key: 'Team', value: 'x' }] },
    ],
    [
      'the answer',
      () => record('CreateCluster').responseElements.cluster.clusterArn,
      `arn:aws:ecs:${REGION}:${CUSTOMER}:cluster/books`,
    ],
    ['a write', () => record('CreateCluster').readOnly, false],
    ['a read', () => record('DescribeClusters').readOnly, true],
    ['a read’s request', () => record('DescribeClusters').requestParameters, { clusters: ['books'] }],
    ['no answer of a read', () => record('DescribeClusters').responseElements, null],
    ['no answer of a write that has none', () => record('PutRolePolicy').responseElements, null],
    [
      'a management event',
      () => [record('CreateCluster').managementEvent, record('CreateCluster').eventCategory],
      [true, 'Management'],
    ],
    ['of an API', () => record('CreateCluster').eventType, 'AwsApiCall'],
    ['the account', () => record('CreateCluster').recipientAccountId, CUSTOMER],
    ['the version of the format', () => record('CreateCluster').eventVersion, '1.11'],
    ['when', () => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(record('CreateCluster').eventTime as string), true],
    ['from where', () => record('CreateCluster').sourceIPAddress, '127.0.0.1'],
    ['the SDK', () => /aws-sdk-js/.test(record('CreateCluster').userAgent as string), true],
    ['the host', () => record('CreateCluster').tlsDetails.clientProvidedHostHeader, `ecs.${REGION}.amazonaws.com`],
    ['no error', () => record('CreateCluster').errorCode, undefined],
    [
      'a denial',
      () => [
        record('CreateSecret', CUSTOMER, (one) => !!one.errorCode).errorCode,
        /not authorized to perform: secretsmanager:CreateSecret/.test(
          record('CreateSecret', CUSTOMER, (one) => !!one.errorCode).errorMessage as string,
        ),
      ],
      ['AccessDeniedException', true],
    ],
    ['an error', () => record('AddUserToGroup').errorCode, 'NoSuchEntityException'],
    ['an error’s request', () => record('AddUserToGroup').requestParameters, { groupName: 'none', userName: 'bob' }],
    ['no answer of an error', () => record('AddUserToGroup').responseElements, null],
    [
      'EC2’s lists are sets',
      () => record('AuthorizeSecurityGroupIngress').requestParameters.ipPermissions,
      { items: [{ ipProtocol: 'tcp', fromPort: 80, toPort: 80, ipRanges: { items: [{ cidrIp: '10.0.0.0/8' }] } }] },
    ],
    ['EC2’s tags', () => record('CreateTags').requestParameters.tagSet, { items: [{ key: 'a', value: 'b' }] }],
    ['RDS’s names', () => record('CreateDBInstance').requestParameters.dBInstanceIdentifier, 'books'],
    ['RDS’s password', () => record('CreateDBInstance').requestParameters.masterUserPassword, '****'],
    [
      'a secret’s value',
      () => record('CreateSecret', CUSTOMER, (one) => !one.errorCode).requestParameters.secretString,
      'HIDDEN_DUE_TO_SECURITY_REASONS',
    ],
    [
      'a session’s token',
      () => record('AssumeRole').responseElements.credentials.sessionToken,
      'HIDDEN_DUE_TO_SECURITY_REASONS',
    ],
  ];
  for (const [title, value, wanted] of rows) test(`${title} (${RECORD})`, () => assert.deepEqual(value(), wanted));

  test('nothing secret, in any record of either account', () => {
    const everything = JSON.stringify(history);
    assert.match(everything, /GetSecretValue/);
    for (const secret of ['hush', session.secretAccessKey, session.sessionToken!, user.secretAccessKey])
      assert.ok(!everything.includes(secret), secret);
  });
});

// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
describe('LookupEvents', () => {
  const names = async (attribute: LookupAttribute, who = CUSTOMER): Promise<string> => {
    const { Events } = await look(who, { LookupAttributes: [attribute] });
    return [...new Set(Events!.map((one) => one.EventName))].toSorted().join();
  };
  const key = (AttributeKey: LookupAttribute['AttributeKey'], AttributeValue: string): LookupAttribute => ({
    AttributeKey,
    AttributeValue,
  });
  const byAttribute: [string, () => LookupAttribute, RegExp][] = [
    ['by name', () => key('EventName', 'CreateCluster'), /^CreateCluster$/],
    ['by service', () => key('EventSource', 'secretsmanager.amazonaws.com'), /^CreateSecret,GetSecretValue$/],
    [
      'by session',
      () => key('Username', 'pass-7'),
      /^AuthorizeSecurityGroupIngress,CreateCluster,CreateSecret,CreateSecurityGroup,CreateTags,CreateVpc,DescribeClusters,RegisterTaskDefinition$/,
    ],
    [
      'by key',
      () => key('AccessKeyId', session.accessKeyId),
      /^AuthorizeSecurityGroupIngress,.*RegisterTaskDefinition$/,
    ],
    ['by the key of no one', () => key('AccessKeyId', 'AKIA0'), /^$/],
    ['reads', () => key('ReadOnly', 'true'), /^AssumeRole,DescribeClusters,.*GetSecretValue/],
    ['by a resource’s name', () => key('ResourceName', 'books'), /^CreateCluster,CreateDBInstance$/],
    ['by a role’s ARN', () => key('ResourceName', ROLE), /^AssumeRole$/],
    [
      'by a resource’s type',
      () => key('ResourceType', 'AWS::IAM::User'),
      /^AddUserToGroup,CreateAccessKey,CreateUser$/,
    ],
  ];
  for (const [title, attribute, wanted] of byAttribute)
    test(title, async () => assert.match(await names(attribute()), wanted));

  test('by id', async () => {
    const [wanted] = history[CUSTOMER]!;
    const { Events } = await look(CUSTOMER, { LookupAttributes: [key('EventId', wanted!.EventId!)] });
    assert.deepEqual(
      Events!.map((one) => one.CloudTrailEvent),
      [wanted!.CloudTrailEvent],
    );
  });

  test('newest first, each once, over pages', () => {
    const times = history[CUSTOMER]!.map((one) => one.EventTime!.getTime());
    assert.ok(times.length > 15);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => b - a),
    );
    assert.equal(new Set(history[CUSTOMER]!.map((one) => one.EventId)).size, times.length);
  });

  test('in the region of the call; IAM’s in us-east-1', async () => {
    const { Events } = await look(CUSTOMER, {}, 'eu-west-1');
    assert.deepEqual(
      Events!.map((one) => one.EventName),
      ['CreateCluster'],
    );
    assert.ok(history[CUSTOMER]!.some((one) => one.EventSource === 'iam.amazonaws.com'));
  });

  // https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html
  test('data events are not in it', () => {
    assert.ok(!history[CUSTOMER]!.some((one) => one.EventName === 'SendMessage'));
  });

  test('by time', async () => {
    const late = await look(CUSTOMER, { StartTime: new Date(Date.now() + 3600_000) });
    assert.deepEqual(late.Events, []);
    const early = await look(CUSTOMER, { EndTime: began });
    assert.deepEqual(early.Events, []);
  });

  const wrong: [string, LookupEventsCommandInput, string][] = [
    [
      'two attributes',
      { LookupAttributes: [key('EventName', 'a'), key('ReadOnly', 'true')] },
      'InvalidLookupAttributesException',
    ],
    ['more than 50 a page', { MaxResults: 51 }, 'InvalidMaxResultsException'],
    [
      'an end before its beginning',
      { StartTime: new Date(2_000_000_000_000), EndTime: new Date(1_900_000_000_000) },
      'InvalidTimeRangeException',
    ],
    ['a token that never was one', { NextToken: 'next' }, 'InvalidNextTokenException'],
  ];
  for (const [title, input, name] of wrong)
    test(`refused: ${title}`, () => assert.rejects(look(CUSTOMER, input), (error: Error) => error.name === name));

  test('a token belongs to its question', async () => {
    const { NextToken } = await look(CUSTOMER, { MaxResults: 1 });
    const other = { MaxResults: 1, NextToken, LookupAttributes: [key('ReadOnly', 'false')] };
    await assert.rejects(look(CUSTOMER, other), { name: 'InvalidNextTokenException' });
  });

  // Last: the clock does not go back.
  test('of the last 90 days', async () => {
    await account.skip(91 * 86_400);
    const { Events } = await look(CUSTOMER);
    assert.ok(!Events!.some((one) => one.EventName === 'CreateCluster'));
  });
});
