/**
 * EventBridge and SQS, and what AWS's services tell of themselves, asked through the real SDK. Each table names the
 * page of AWS's that says so.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CloudTrailClient, CreateTrailCommand, StartLoggingCommand } from '@aws-sdk/client-cloudtrail';
import { CreateSubnetCommand, CreateVpcCommand, EC2Client } from '@aws-sdk/client-ec2';
import { BatchDeleteImageCommand, ECRClient } from '@aws-sdk/client-ecr';
import { CreateClusterCommand, ECSClient } from '@aws-sdk/client-ecs';
import {
  DeleteRuleCommand,
  DescribeRuleCommand,
  DisableRuleCommand,
  EventBridgeClient,
  ListTargetsByRuleCommand,
  PutEventsCommand,
  PutRuleCommand,
  PutTargetsCommand,
  RemoveTargetsCommand,
  TagResourceCommand,
  TestEventPatternCommand,
  type Target,
} from '@aws-sdk/client-eventbridge';
import { CreateRoleCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import {
  CreateDBInstanceCommand,
  CreateDBSubnetGroupCommand,
  DeleteDBInstanceCommand,
  DescribeEventsCommand,
  RDSClient,
} from '@aws-sdk/client-rds';
import {
  CreateSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteMessageCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SetQueueAttributesCommand,
  SQSClient,
  type Message,
} from '@aws-sdk/client-sqs';
import { startRehearsal, type AwsEvent, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

const CUSTOMER = '610000000001';
const OWN = '610000000002';
const REGION = 'us-east-1';
let account: Rehearsal;
const clients = (credentials: Credentials) => {
  const options = { endpoint: account.endpoint, region: REGION, credentials, maxAttempts: 1 };
  return {
    ecr: new ECRClient(options),
    ecs: new ECSClient(options),
    ec2: new EC2Client(options),
    events: new EventBridgeClient(options),
    iam: new IAMClient(options),
    rds: new RDSClient(options),
    secrets: new SecretsManagerClient(options),
    sqs: new SQSClient(options),
    trail: new CloudTrailClient(options),
  };
};
let aws: ReturnType<typeof clients>;
let own: ReturnType<typeof clients>;
before(async () => {
  account = await startRehearsal({ pace: 500, postgres: '' });
  aws = clients(account.root(CUSTOMER));
  own = clients(account.root(OWN));
});
after(() => account.stop());

const queueArn = (name: string, owner = CUSTOMER): string => `arn:aws:sqs:${REGION}:${owner}:${name}`;
const ruleArn = (name: string): string => `arn:aws:events:${REGION}:${CUSTOMER}:rule/${name}`;
const document = (...Statement: object[]): string => JSON.stringify({ Version: '2012-10-17', Statement });

/** What the queue's owner writes so that a rule may send. */
const letIn = (queue: string, rule: string): string =>
  document({
    Effect: 'Allow',
    Principal: { Service: 'events.amazonaws.com' },
    Action: 'sqs:SendMessage',
    Resource: queueArn(queue),
    Condition: { ArnEquals: { 'aws:SourceArn': ruleArn(rule) } },
  });

async function queue(name: string, attributes: Record<string, string> = {}): Promise<string> {
  const { QueueUrl } = await aws.sqs.send(new CreateQueueCommand({ QueueName: name, Attributes: attributes }));
  return QueueUrl!;
}

/** A rule, a queue of the same name that it sends to, and what the queue's policy says. */
async function ruleTo(
  name: string,
  pattern: object,
  { policy = letIn(name, name), target = {} }: { policy?: string; target?: Partial<Target> } = {},
): Promise<string> {
  const url = await queue(name, policy ? { Policy: policy } : {});
  await aws.events.send(new PutRuleCommand({ Name: name, EventPattern: JSON.stringify(pattern) }));
  await targets(name, { Arn: queueArn(name), ...target });
  return url;
}

const targets = (Rule: string, target: Partial<Target>) =>
  aws.events.send(new PutTargetsCommand({ Rule, Targets: [{ Id: '1', Arn: queueArn(Rule), ...target }] }));

const tell = (Source: string, detail: object = {}, DetailType = 'Said') =>
  aws.events.send(
    new PutEventsCommand({ Entries: [{ Source, DetailType, Detail: JSON.stringify(detail), Resources: ['r'] }] }),
  );

async function received(QueueUrl: string, options: object = {}, sqs = aws.sqs): Promise<Message[]> {
  const { Messages } = await sqs.send(
    new ReceiveMessageCommand({
      QueueUrl,
      WaitTimeSeconds: 10,
      MaxNumberOfMessages: 10,
      MessageAttributeNames: ['All'],
      ...options,
    }),
  );
  return Messages ?? [];
}

const body = (message: Message | undefined): AwsEvent => JSON.parse(message!.Body!) as AwsEvent;

/** Nothing arrives, however long one waits. */
async function nothing(QueueUrl: string): Promise<void> {
  await account.skip(60);
  assert.equal(await waiting(QueueUrl), '0');
}

async function waiting(QueueUrl: string): Promise<string | undefined> {
  const { Attributes } = await aws.sqs.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['ApproximateNumberOfMessages'] }),
  );
  return Attributes?.ApproximateNumberOfMessages;
}

const refused = (name: string) => (error: Error) => {
  assert.equal(error.name, name, error.message);
  return true;
};

// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
describe('event patterns match as AWS’s', () => {
  const event = {
    id: '1',
    account: CUSTOMER,
    source: 'aws.ecs',
    time: '2026-11-21T12:00:00Z',
    region: REGION,
    resources: ['arn:aws:ecs:us-east-1:610000000001:task/c/1'],
    'detail-type': 'ECS Task State Change',
    detail: {
      lastStatus: 'STOPPED',
      stopCode: null,
      code: 137,
      group: 'service:web',
      address: '10.0.0.7',
      containers: [{ n: 1 }, { n: 2 }],
    },
  };
  const rows: [string, object, boolean][] = [
    ['equals', { source: ['aws.ecs'] }, true],
    ['one of several', { source: ['aws.rds', 'aws.ecs'] }, true],
    ['and between members', { source: ['aws.ecs'], 'detail-type': ['other'] }, false],
    ['a member that is absent', { detail: { nothing: ['x'] } }, false],
    ['prefix', { detail: { group: [{ prefix: 'service:' }] } }, true],
    ['prefix is case-sensitive', { detail: { group: [{ prefix: 'Service:' }] } }, false],
    ['prefix, any case', { detail: { group: [{ prefix: { 'equals-ignore-case': 'Service:' } }] } }, true],
    ['suffix', { detail: { group: [{ suffix: 'web' }] } }, true],
    ['anything-but', { detail: { lastStatus: [{ 'anything-but': 'RUNNING' }] } }, true],
    ['anything-but a list', { detail: { lastStatus: [{ 'anything-but': ['RUNNING', 'STOPPED'] }] } }, false],
    ['anything-but a prefix', { detail: { group: [{ 'anything-but': { prefix: 'service:' } }] } }, false],
    ['anything-but a suffix', { detail: { group: [{ 'anything-but': { suffix: ':web' } }] } }, false],
    ['anything-but a wildcard', { detail: { group: [{ 'anything-but': { wildcard: 'serv*web' } }] } }, false],
    [
      'anything-but, any case',
      { detail: { lastStatus: [{ 'anything-but': { 'equals-ignore-case': 'stopped' } }] } },
      false,
    ],
    ['an address of a range', { detail: { address: [{ cidr: '10.0.0.0/29' }] } }, true],
    ['an address of another range', { detail: { address: [{ cidr: '10.0.0.8/29' }] } }, false],
    ['exists', { detail: { code: [{ exists: true }] } }, true],
    ['does not exist', { detail: { nothing: [{ exists: false }] } }, true],
    ['exists is about leaves', { detail: { containers: [{ exists: true }] } }, false],
    ['null', { detail: { stopCode: [null] } }, true],
    ['a number', { detail: { code: [137] } }, true],
    ['a number is no text', { detail: { code: ['137'] } }, false],
    ['numeric range', { detail: { code: [{ numeric: ['>', 128, '<=', 137] }] } }, true],
    ['numeric, outside', { detail: { code: [{ numeric: ['<', 100] }] } }, false],
    ['any element of an array', { detail: { containers: { n: [2] } } }, true],
    ['wildcard', { resources: [{ wildcard: 'arn:aws:ecs:*:task/c/*' }] }, true],
    ['ignoring case', { source: [{ 'equals-ignore-case': 'AWS.ECS' }] }, true],
    ['$or, second', { $or: [{ source: ['aws.rds'] }, { detail: { code: [137] } }] }, true],
    ['$or, none', { $or: [{ source: ['aws.rds'] }, { detail: { code: [1] } }] }, false],
  ];
  for (const [title, pattern, matches] of rows)
    test(title, async () => {
      const asked = { Event: JSON.stringify(event), EventPattern: JSON.stringify(pattern) };
      const { Result } = await aws.events.send(new TestEventPatternCommand(asked));
      assert.equal(Result, matches);
    });
});

// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
describe('event patterns that AWS refuses', () => {
  const rows: [string, string][] = [
    ['an operator that does not exist', '{"source":[{"begins-with":"aws"}]}'],
    ['a value that is in no array', '{"source":"aws.ecs"}'],
    ['no JSON', '{"source":['],
    ['an empty array', '{"source":[]}'],
    ['an empty pattern', '{}'],
    ['prefix of a number', '{"detail":{"a":[{"prefix":1}]}}'],
    ['exists with a text', '{"detail":{"a":[{"exists":"yes"}]}}'],
    ['numeric without an operator', '{"detail":{"a":[{"numeric":[5]}]}}'],
    ['two operators in one', '{"detail":{"a":[{"prefix":"a","suffix":"b"}]}}'],
    ['not an object', '["aws.ecs"]'],
  ];
  for (const [title, EventPattern] of rows)
    test(title, () =>
      assert.rejects(
        aws.events.send(new PutRuleCommand({ Name: 'bad', EventPattern })),
        refused('InvalidEventPatternException'),
      ),
    );
});

// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html
describe('rules and targets that AWS refuses', () => {
  before(async () => {
    await aws.events.send(new PutRuleCommand({ Name: 'full', EventPattern: '{"source":["x"]}' }));
    await targets('full', {});
  });
  const put = (one: Partial<Target>, Rule = 'full') =>
    new PutTargetsCommand({ Rule, Targets: [{ Id: 'new', Arn: queueArn('q'), ...one }] });
  const many = [1, 2, 3, 4, 5, 6].map((n) => ({ Id: `t${n}`, Arn: queueArn('q') }));
  const rows: [string, () => Promise<unknown>, string][] = [
    ['neither pattern nor schedule', () => aws.events.send(new PutRuleCommand({ Name: 'a' })), 'ValidationException'],
    [
      'a bus that does not exist',
      () => aws.events.send(new PutRuleCommand({ Name: 'a', EventPattern: '{"source":["x"]}', EventBusName: 'no' })),
      'ResourceNotFoundException',
    ],
    ['targets of no rule', () => aws.events.send(put({}, 'none')), 'ResourceNotFoundException'],
    ['a target that is no ARN', () => aws.events.send(put({ Arn: 'queue' })), 'ValidationException'],
    ['two kinds of input', () => aws.events.send(put({ Input: '{}', InputPath: '$.detail' })), 'ValidationException'],
    [
      'a FIFO queue without a message group',
      () => aws.events.send(put({ Arn: queueArn('q.fifo') })),
      'ValidationException',
    ],
    [
      'a FIFO dead-letter queue',
      () => aws.events.send(put({ DeadLetterConfig: { Arn: queueArn('dead.fifo') } })),
      'ValidationException',
    ],
    [
      'a dead-letter queue in another region',
      () => aws.events.send(put({ DeadLetterConfig: { Arn: `arn:aws:sqs:eu-west-1:${CUSTOMER}:dead` } })),
      'ValidationException',
    ],
    [
      'more than five targets',
      () => aws.events.send(new PutTargetsCommand({ Rule: 'full', Targets: many })),
      'LimitExceededException',
    ],
    [
      'deleting a rule that has targets',
      () => aws.events.send(new DeleteRuleCommand({ Name: 'full' })),
      'ValidationException',
    ],
    ['disabling no rule', () => aws.events.send(new DisableRuleCommand({ Name: 'none' })), 'ResourceNotFoundException'],
    [
      'describing no rule',
      () => aws.events.send(new DescribeRuleCommand({ Name: 'none' })),
      'ResourceNotFoundException',
    ],
    [
      'targets listed of no rule',
      () => aws.events.send(new ListTargetsByRuleCommand({ Rule: 'none' })),
      'ResourceNotFoundException',
    ],
    [
      'targets removed from no rule',
      () => aws.events.send(new RemoveTargetsCommand({ Rule: 'none', Ids: ['1'] })),
      'ResourceNotFoundException',
    ],
  ];
  for (const [title, call, name] of rows) test(title, () => assert.rejects(call, refused(name)));
});

// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
describe('entries of PutEvents are taken or refused one by one', () => {
  const good = { Source: 'own.app', DetailType: 'Said', Detail: '{}' };
  const rows: [string, object, string | undefined][] = [
    ['taken', good, undefined],
    ['AWS’s own source', { ...good, Source: 'aws.ecs' }, 'NotAuthorizedForSourceException'],
    ['no source', { ...good, Source: undefined }, 'InvalidArgument'],
    ['no detail type', { ...good, DetailType: undefined }, 'InvalidArgument'],
    ['no detail', { ...good, Detail: undefined }, 'InvalidArgument'],
    ['a detail that is no JSON', { ...good, Detail: '{' }, 'MalformedDetail'],
    ['a detail that is no object', { ...good, Detail: '[1]' }, 'MalformedDetail'],
  ];
  for (const [title, entry, code] of rows)
    test(title, async () => {
      const answer = await aws.events.send(new PutEventsCommand({ Entries: [good, entry] }));
      assert.equal(answer.FailedEntryCount, code ? 1 : 0);
      assert.equal(answer.Entries?.[0]?.ErrorCode, undefined);
      assert.equal(answer.Entries?.[1]?.ErrorCode, code);
    });
  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html
  test('more than the size of a request is refused whole', () =>
    assert.rejects(tell('own.app', { long: 'x'.repeat(256 << 10) }), refused('ValidationException')));
});

describe('delivery', () => {
  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
  test('an event reaches the queue in AWS’s envelope, and not before PutEvents has answered', async () => {
    const url = await ruleTo('own', { source: ['own.app'] });
    await tell('own.app', { n: 1 });
    const [message] = await received(url);
    const event = body(message);
    assert.match(event.id, /^[0-9a-f-]{36}$/);
    assert.match(event.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.deepEqual(
      { ...event, id: '', time: '' },
      {
        version: '0',
        id: '',
        'detail-type': 'Said',
        source: 'own.app',
        account: CUSTOMER,
        time: '',
        region: REGION,
        resources: ['r'],
        detail: { n: 1 },
      },
    );
  });

  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions
  test('a queue whose policy does not let this rule in gets nothing', async () => {
    const open = await ruleTo('none-policy', { source: ['own.policy'] }, { policy: '' });
    const other = await ruleTo('other-policy', { source: ['own.policy'] }, { policy: letIn('other-policy', 'own') });
    await tell('own.policy');
    await nothing(open);
    await nothing(other);
  });

  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
  test('what cannot be delivered goes to the dead-letter queue, with the reason', async () => {
    const dead = await queue('dead', { Policy: letIn('dead', 'failing') });
    const target = { DeadLetterConfig: { Arn: queueArn('dead') } };
    await ruleTo('failing', { source: ['own.dead'] }, { policy: '', target });
    await tell('own.dead', { n: 2 });
    const [refusedOne] = await received(dead);
    assert.deepEqual(body(refusedOne).detail, { n: 2 });
    const told = (message: Message | undefined) =>
      Object.fromEntries(Object.entries(message!.MessageAttributes!).map(([name, one]) => [name, one.StringValue]));
    const said = told(refusedOne);
    assert.deepEqual(
      [said['RULE_ARN'], said['TARGET_ARN'], said['ERROR_CODE']],
      [ruleArn('failing'), queueArn('failing'), 'NO_PERMISSIONS'],
    );
    await targets('failing', { Arn: queueArn('no-such-queue'), ...target });
    await tell('own.dead', { n: 3 });
    assert.equal(told((await received(dead))[0])['ERROR_CODE'], 'NO_RESOURCE');
  });

  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
  test('a target that fails is tried again; after the attempts of the policy it is the dead-letter queue’s', async () => {
    const dead = await queue('late', { Policy: letIn('late', 'again') });
    const target = { DeadLetterConfig: { Arn: queueArn('late') }, RetryPolicy: { MaximumRetryAttempts: 2 } };
    const url = await ruleTo('again', { source: ['own.again'] }, { target });
    const broken = { service: 'sqs', action: 'SendMessage', resource: '/again$', status: 500 };
    await account.fault({ ...broken, times: 2 });
    await tell('own.again', { n: 1 });
    assert.deepEqual(body((await received(url))[0]).detail, { n: 1 });
    await account.fault({ ...broken, times: 3 });
    await tell('own.again', { n: 2 });
    const [lost] = await received(dead);
    assert.equal(lost!.MessageAttributes!['RETRY_ATTEMPTS']!.StringValue, '2');
    assert.equal(lost!.MessageAttributes!['EXHAUSTED_RETRY_CONDITION']!.StringValue, 'MaximumRetryAttempts');
    await account.clearFaults();
  });

  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
  test('an event that has become too old is not tried again', async () => {
    const dead = await queue('aged', { Policy: letIn('aged', 'old') });
    const target = { DeadLetterConfig: { Arn: queueArn('aged') }, RetryPolicy: { MaximumEventAgeInSeconds: 60 } };
    await ruleTo('old', { source: ['own.old'] }, { target });
    await account.fault({ service: 'sqs', action: 'SendMessage', resource: '/old$', status: 500 });
    await tell('own.old', { n: 1 });
    await account.skip(90);
    const [lost] = await received(dead);
    assert.equal(lost!.MessageAttributes!['EXHAUSTED_RETRY_CONDITION']!.StringValue, 'MaximumEventAgeInSeconds');
    await account.clearFaults();
  });

  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-event-delivery.html
  test('at least once: an answer that is lost makes a second message of the same event', async () => {
    const url = await ruleTo('twice', { source: ['own.twice'] });
    await account.fault({
      service: 'sqs',
      action: 'SendMessage',
      resource: '/twice$',
      status: 500,
      after: true,
      times: 1,
    });
    await tell('own.twice');
    const got = await received(url);
    if (got.length < 2) got.push(...(await received(url)));
    assert.equal(body(got[0]).id, body(got[1]).id);
    assert.notEqual(got[0]!.MessageId, got[1]!.MessageId);
    await account.clearFaults();
  });

  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
  const inputs: [string, Partial<Target>, unknown][] = [
    ['constant input', { Input: '{"a":1}' }, { a: 1 }],
    ['a part of the event', { InputPath: '$.detail' }, { n: 7 }],
    [
      'an input transformer',
      {
        InputTransformer: {
          InputPathsMap: { n: '$.detail.n', who: '$.account' },
          InputTemplate: '{"n": <n>, "who": <who>}',
        },
      },
      { n: 7, who: CUSTOMER },
    ],
  ];
  for (const [title, target, wanted] of inputs)
    test(title, async () => {
      const name = title.replaceAll(' ', '-');
      const url = await ruleTo(name, { source: [`own.${name}`] }, { target });
      await tell(`own.${name}`, { n: 7 });
      assert.deepEqual(JSON.parse((await received(url))[0]!.Body!), wanted);
    });

  // https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DisableRule.html
  test('a disabled rule sends nothing', async () => {
    const url = await ruleTo('off', { source: ['own.off'] });
    await aws.events.send(new DisableRuleCommand({ Name: 'off' }));
    await tell('own.off');
    await nothing(url);
  });

  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-cross-account.html
  test('another account’s queue needs a role here, and that the queue’s policy lets the role in', async () => {
    const there = queueArn('inbox', OWN);
    const role = `arn:aws:iam::${CUSTOMER}:role/to-inbox`;
    const allows = document({ Effect: 'Allow', Principal: { AWS: role }, Action: 'sqs:SendMessage', Resource: there });
    const { QueueUrl } = await own.sqs.send(new CreateQueueCommand({ QueueName: 'inbox' }));
    const trust = { Effect: 'Allow', Principal: { Service: 'events.amazonaws.com' }, Action: 'sts:AssumeRole' };
    await aws.iam.send(new CreateRoleCommand({ RoleName: 'to-inbox', AssumeRolePolicyDocument: document(trust) }));
    await aws.events.send(new PutRuleCommand({ Name: 'cross', EventPattern: '{"source":["own.cross"]}' }));
    const dead = await queue('cross-dead', { Policy: letIn('cross-dead', 'cross') });
    const target = { Arn: there, DeadLetterConfig: { Arn: queueArn('cross-dead') } };
    const steps: [string, () => Promise<unknown>][] = [
      ['without a role', () => targets('cross', target)],
      ['with a role that may not', () => targets('cross', { ...target, RoleArn: role })],
      [
        'with a role that may, where the queue says nothing',
        () =>
          aws.iam.send(
            new PutRolePolicyCommand({
              RoleName: 'to-inbox',
              PolicyName: 'send',
              PolicyDocument: document({ Effect: 'Allow', Action: 'sqs:SendMessage', Resource: there }),
            }),
          ),
      ],
    ];
    for (const [title, step] of steps) {
      await step();
      await tell('own.cross');
      const [lost] = await received(dead);
      assert.equal(lost?.MessageAttributes?.['ERROR_CODE']?.StringValue, 'NO_PERMISSIONS', title);
    }
    await own.sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: { Policy: allows } }));
    await tell('own.cross', { n: 9 });
    const [message] = await received(QueueUrl!, {}, own.sqs);
    assert.deepEqual([body(message).account, body(message).detail], [CUSTOMER, { n: 9 }]);
  });
});

describe('queues', () => {
  const send = (QueueUrl: string, MessageBody: string) =>
    aws.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));

  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
  test('a message that is not deleted comes again after its visibility timeout, counted, with another handle', async () => {
    const url = await queue('visible', { VisibilityTimeout: '30' });
    await send(url, 'x');
    const system = { MessageSystemAttributeNames: ['All'] };
    const [first] = await received(url, system);
    assert.equal(first!.Attributes?.ApproximateReceiveCount, '1');
    assert.equal(await waiting(url), '0');
    await account.skip(31);
    const [second] = await received(url, system);
    assert.equal(second!.Attributes?.ApproximateReceiveCount, '2');
    assert.notEqual(first!.ReceiptHandle, second!.ReceiptHandle);
    assert.equal(first!.MessageId, second!.MessageId);
    // An older handle succeeds and deletes nothing.
    await aws.sqs.send(new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle: first!.ReceiptHandle }));
    await account.skip(31);
    const [third] = await received(url, system);
    assert.equal(third!.Attributes?.ApproximateReceiveCount, '3');
    const last = new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle: third!.ReceiptHandle });
    await aws.sqs.send(last);
    await aws.sqs.send(last); // and once more: gone is gone
    await account.skip(31);
    assert.equal(await waiting(url), '0');
  });

  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
  test('the visibility of a message in flight can be changed, of another it cannot', async () => {
    const url = await queue('change', { VisibilityTimeout: '5' });
    await send(url, 'x');
    const [message] = await received(url);
    const change = (VisibilityTimeout: number) =>
      aws.sqs.send(
        new ChangeMessageVisibilityCommand({ QueueUrl: url, ReceiptHandle: message!.ReceiptHandle, VisibilityTimeout }),
      );
    await change(60);
    await account.skip(30);
    assert.equal(await waiting(url), '0');
    await change(0);
    assert.equal(await waiting(url), '1');
    await assert.rejects(change(10), refused('MessageNotInflight'));
  });

  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
  test('a message received too often goes to the dead-letter queue', async () => {
    const dead = await queue('too-often');
    const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: queueArn('too-often'), maxReceiveCount: 2 });
    const url = await queue('work', { RedrivePolicy, VisibilityTimeout: '1' });
    await send(url, 'poison');
    for (let n = 0; n < 2; n++) {
      assert.equal((await received(url)).length, 1);
      await account.skip(2);
    }
    // It is moved when it would be received once more; a short poll may miss that.
    for (let n = 0; n < 20 && (await waiting(dead)) === '0'; n++) await received(url, { WaitTimeSeconds: 0 });
    const [message] = await received(dead, { MessageSystemAttributeNames: ['All'] });
    assert.equal(message!.Body, 'poison');
    assert.equal(message!.Attributes?.DeadLetterQueueSourceArn, queueArn('work'));
  });

  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
  test('a short poll may miss what is there; a long one waits for what is not', async () => {
    const url = await queue('poll', { VisibilityTimeout: '0' });
    await send(url, 'x');
    const short = [];
    for (let n = 0; n < 40; n++) short.push((await received(url, { WaitTimeSeconds: 0 })).length);
    assert.ok(short.includes(0) && short.includes(1), short.join());
    const empty = await queue('later');
    const waits = received(empty, { WaitTimeSeconds: 5 });
    await send(empty, 'y');
    assert.equal((await waits)[0]?.Body, 'y');
  });

  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html
  test('a standard queue promises no order', async () => {
    const url = await queue('mixed', { VisibilityTimeout: '0' });
    for (const letter of 'abcdef') await send(url, letter);
    const orders = new Set<string>();
    for (let n = 0; n < 12; n++)
      orders.add((await received(url, { VisibilityTimeout: 0 })).map((one) => one.Body).join(''));
    assert.ok(orders.size > 1, [...orders].join());
    for (const order of orders) assert.equal(order.split('').toSorted().join(''), 'abcdef');
  });

  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html
  test('a deleted queue’s name is free again after a minute', async () => {
    const url = await queue('again-and-again');
    await aws.sqs.send(new DeleteQueueCommand({ QueueUrl: url }));
    await assert.rejects(queue('again-and-again'), refused('QueueDeletedRecently'));
    await account.skip(60);
    assert.equal(await queue('again-and-again'), url);
  });

  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-basic-examples-of-sqs-policies.html
  test('another account reaches a queue that its policy opens, and no other', async () => {
    const opened = document({
      Effect: 'Allow',
      Principal: { AWS: `arn:aws:iam::${OWN}:root` },
      Action: ['sqs:GetQueueUrl', 'sqs:ReceiveMessage'],
      Resource: queueArn('shared'),
    });
    const url = await queue('shared', { Policy: opened });
    const closed = await queue('private');
    const asked = { QueueName: 'shared', QueueOwnerAWSAccountId: CUSTOMER };
    assert.equal((await own.sqs.send(new GetQueueUrlCommand(asked))).QueueUrl, url);
    await send(url, 'for you');
    assert.equal((await received(url, {}, own.sqs))[0]?.Body, 'for you');
    const everything = JSON.parse(document({ Effect: 'Allow', Action: 'sqs:*', Resource: '*' })) as object;
    const stranger = clients(await account.createUser(OWN, 'stranger', everything));
    for (const one of [own, stranger]) await assert.rejects(received(closed, {}, one.sqs), refused('AccessDenied'));
    const answer = new SendMessageCommand({ QueueUrl: url, MessageBody: 'back' });
    await assert.rejects(own.sqs.send(answer), refused('AccessDenied'));
  });

  describe('what SQS refuses', () => {
    const API = 'https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/';
    let url = '';
    before(async () => {
      url = await queue('refusing');
    });
    const eleven = Array.from({ length: 11 }, (_, n) => ({ Id: `m${n}`, MessageBody: 'x' }));
    const rows: [string, string, () => Promise<unknown>, string][] = [
      ['a name with a dot', 'API_CreateQueue.html', () => queue('a.b'), 'InvalidParameterValue'],
      ['a name of 81 letters', 'API_CreateQueue.html', () => queue('q'.repeat(81)), 'InvalidParameterValue'],
      ['a FIFO queue by name only', 'API_CreateQueue.html', () => queue('q.fifo'), 'InvalidParameterValue'],
      [
        'a FIFO queue without the suffix',
        'API_CreateQueue.html',
        () => queue('q', { FifoQueue: 'true' }),
        'InvalidParameterValue',
      ],
      [
        'an attribute that does not exist',
        'API_CreateQueue.html',
        () => queue('q', { Size: '1' }),
        'InvalidAttributeName',
      ],
      [
        'a visibility of thirteen hours',
        'API_CreateQueue.html',
        () => queue('q', { VisibilityTimeout: '46800' }),
        'InvalidAttributeValue',
      ],
      [
        'the same name with other attributes',
        'API_CreateQueue.html',
        () => queue('refusing', { DelaySeconds: '9' }),
        'QueueNameExists',
      ],
      [
        'a message larger than the queue takes',
        'API_SendMessage.html',
        () => send(url, 'x'.repeat((1 << 20) + 1)),
        'InvalidParameterValue',
      ],
      [
        'a character that XML does not have',
        'API_SendMessage.html',
        () => send(url, 'a\u0000b'),
        'InvalidMessageContents',
      ],
      [
        'eleven in one batch',
        'API_SendMessageBatch.html',
        () => aws.sqs.send(new SendMessageBatchCommand({ QueueUrl: url, Entries: eleven })),
        'TooManyEntriesInBatchRequest',
      ],
      [
        'a batch larger than a message may be',
        'API_SendMessageBatch.html',
        () =>
          aws.sqs.send(
            new SendMessageBatchCommand({
              QueueUrl: url,
              Entries: [1, 2].map((n) => ({ Id: `b${n}`, MessageBody: 'x'.repeat(600_000) })),
            }),
          ),
        'BatchRequestTooLong',
      ],
      [
        'eleven at once',
        'API_ReceiveMessage.html',
        () => received(url, { MaxNumberOfMessages: 11 }),
        'InvalidParameterValue',
      ],
      [
        'waiting for 21 seconds',
        'API_ReceiveMessage.html',
        () => received(url, { WaitTimeSeconds: 21 }),
        'InvalidParameterValue',
      ],
      [
        'a handle that never was one',
        'API_DeleteMessage.html',
        () => aws.sqs.send(new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle: 'nonsense' })),
        'ReceiptHandleIsInvalid',
      ],
      [
        'a queue that does not exist',
        'API_ReceiveMessage.html',
        () => received(url.replace('refusing', 'gone')),
        'QueueDoesNotExist',
      ],
      [
        'an attribute asked for that does not exist',
        'API_GetQueueAttributes.html',
        () => aws.sqs.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ['Size' as 'All'] })),
        'InvalidAttributeName',
      ],
    ];
    for (const [title, page, call, name] of rows)
      test(`${title} (${API}${page})`, () => assert.rejects(call, refused(name)));

    // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html
    test('of a batch each handle is judged by itself', async () => {
      const Entries = [
        { Id: 'gone', ReceiptHandle: '00000000-0000-4000-8000-000000000000' },
        { Id: 'bad', ReceiptHandle: 'nonsense' },
      ];
      const answer = await aws.sqs.send(new DeleteMessageBatchCommand({ QueueUrl: url, Entries }));
      assert.deepEqual(
        answer.Successful?.map((one) => one.Id),
        ['gone'],
      );
      assert.deepEqual(
        answer.Failed?.map((one) => [one.Id, one.Code]),
        [['bad', 'ReceiptHandleIsInvalid']],
      );
    });

    // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
    test('no attributes are answered when none is asked for', async () => {
      const { Attributes } = await aws.sqs.send(new GetQueueAttributesCommand({ QueueUrl: url }));
      assert.equal(Attributes, undefined);
    });
  });
});

describe('what AWS’s services tell', () => {
  let url: string;
  before(async () => {
    url = await ruleTo('services', { source: [{ prefix: 'aws.' }] });
  });
  const seen: AwsEvent[] = [];
  /** The first event that this is true of; what is read on the way is kept for the next who asks. */
  async function event(wanted: (one: AwsEvent) => boolean): Promise<AwsEvent> {
    for (let n = 0; n < 8; n++) {
      const found = seen.find(wanted);
      if (found) return found;
      for (const message of await received(url)) {
        seen.push(body(message));
        await aws.sqs.send(new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle: message.ReceiptHandle }));
      }
    }
    throw new Error(
      `not told; but: ${seen.map((one) => `${one['detail-type']} ${JSON.stringify(one.detail)}`).join('\n')}`,
    );
  }
  const asRoot = async (service: string, form: Record<string, string>): Promise<void> => {
    const scope = `${CUSTOMER}/20261121/${REGION}/${service}/aws4_request`;
    const answer = await fetch(account.endpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0`,
      },
      body: new URLSearchParams(form).toString(),
    });
    assert.equal(answer.status, 200, await answer.text());
  };

  // https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
  test('ECR: an image that is pushed, and deleted', async () => {
    const { digest } = await account.pushImage({
      account: CUSTOMER,
      region: REGION,
      repository: 'team/app',
      tag: 'v1',
      image: 'stub',
    });
    const pushed = await event((one) => one.source === 'aws.ecr');
    const detail = { result: 'SUCCESS', 'repository-name': 'team/app', 'image-digest': digest };
    assert.equal(pushed['detail-type'], 'ECR Image Action');
    assert.deepEqual(pushed.resources, []);
    assert.deepEqual(pushed.detail, { ...detail, 'action-type': 'PUSH', 'image-tag': 'v1' });
    await aws.ecr.send(
      new BatchDeleteImageCommand({ repositoryName: 'team/app', imageIds: [{ imageDigest: digest }] }),
    );
    const gone = await event((one) => one.detail['action-type'] === 'DELETE');
    assert.equal(gone.detail['repository-name'], 'team/app');
    assert.equal(gone.detail['image-digest'], digest);
  });

  // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-cloudwatch-events.sample.html
  test('RDS: a database that is created, backed up and deleted; DescribeEvents tells the same', async () => {
    const { Vpc } = await aws.ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }));
    const subnets = await Promise.all(
      ['a', 'b'].map((zone, n) =>
        aws.ec2.send(
          new CreateSubnetCommand({ VpcId: Vpc!.VpcId, CidrBlock: `10.0.${n}.0/24`, AvailabilityZone: REGION + zone }),
        ),
      ),
    );
    const SubnetIds = subnets.map((one) => one.Subnet!.SubnetId!);
    await aws.rds.send(
      new CreateDBSubnetGroupCommand({ DBSubnetGroupName: 'g', DBSubnetGroupDescription: 'g', SubnetIds }),
    );
    await aws.rds.send(
      new CreateDBInstanceCommand({
        DBInstanceIdentifier: 'books',
        DBInstanceClass: 'db.t4g.micro',
        Engine: 'postgres',
        AllocatedStorage: 20,
        MasterUsername: 'ada',
        MasterUserPassword: 'hush-hush-1',
        DBSubnetGroupName: 'g',
        Tags: [{ Key: 'Team', Value: 'books' }],
      }),
    );
    const created = await event((one) => one.detail['EventID'] === 'RDS-EVENT-0005');
    const arn = `arn:aws:rds:${REGION}:${CUSTOMER}:db:books`;
    assert.equal(created['detail-type'], 'RDS DB Instance Event');
    assert.equal(created.source, 'aws.rds');
    assert.deepEqual(created.resources, [arn]);
    assert.match(String(created.detail['Date']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(
      { ...created.detail, Date: '' },
      {
        EventCategories: ['creation'],
        SourceType: 'DB_INSTANCE',
        SourceArn: arn,
        Date: '',
        Message: 'DB instance created',
        SourceIdentifier: 'books',
        EventID: 'RDS-EVENT-0005',
        Tags: { Team: 'books' },
      },
    );
    await event((one) => one.detail['EventID'] === 'RDS-EVENT-0002');
    await aws.rds.send(new DeleteDBInstanceCommand({ DBInstanceIdentifier: 'books', SkipFinalSnapshot: true }));
    await event((one) => one.detail['EventID'] === 'RDS-EVENT-0003');
    const asked = { SourceIdentifier: 'books', SourceType: 'db-instance' as const };
    const { Events } = await aws.rds.send(new DescribeEventsCommand(asked));
    assert.deepEqual(
      Events!.map((one) => [one.Message, one.EventCategories?.join()]),
      [
        ['DB instance created', 'creation'],
        ['Backing up DB instance', 'backup'],
        ['Finished DB Instance backup', 'backup'],
        ['DB instance deleted', 'deletion'],
      ],
    );
  });

  // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
  test('CloudWatch: an alarm that changes its state', async () => {
    const arn = `arn:aws:cloudwatch:${REGION}:${CUSTOMER}:alarm:hot`;
    await asRoot('monitoring', {
      Action: 'PutMetricAlarm',
      Version: '2010-08-01',
      AlarmName: 'hot',
      Namespace: 'AWS/ECS',
      MetricName: 'CPUUtilization',
      Statistic: 'Average',
      Period: '60',
      EvaluationPeriods: '1',
      Threshold: '80',
      ComparisonOperator: 'GreaterThanThreshold',
    });
    const set = { Action: 'SetAlarmState', Version: '2010-08-01', AlarmName: 'hot' };
    await asRoot('monitoring', { ...set, StateValue: 'ALARM', StateReason: 'it is hot' });
    await asRoot('monitoring', { ...set, StateValue: 'OK', StateReason: 'it is not' });
    const state = (one: AwsEvent) => (one.detail['state'] as Record<string, string> | undefined)?.['value'];
    const told = await event((one) => state(one) === 'OK');
    assert.equal(told['detail-type'], 'CloudWatch Alarm State Change');
    assert.deepEqual(told.resources, [arn]);
    const before = told.detail['previousState'] as Record<string, string>;
    assert.deepEqual([told.detail['alarmName'], before['value'], before['reason']], ['hot', 'ALARM', 'it is hot']);
    const about = told.detail['configuration'] as { metrics: { metricStat: { metric: { name: string } } }[] };
    assert.equal(about.metrics[0]!.metricStat.metric.name, 'CPUUtilization');
  });

  // https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/eventbridge-events-status-changes.html
  test('CloudFormation: a stack’s states', async () => {
    const template = { Resources: { Group: { Type: 'AWS::Logs::LogGroup', Properties: { LogGroupName: 'x' } } } };
    const form = { StackName: 'shell', TemplateBody: JSON.stringify(template), Version: '2010-05-15' };
    await asRoot('cloudformation', { Action: 'CreateStack', ...form });
    const status = (one: AwsEvent) => (one.detail['status-details'] as Record<string, string> | undefined)?.['status'];
    const done = await event((one) => status(one) === 'CREATE_COMPLETE');
    assert.equal(done['detail-type'], 'CloudFormation Stack Status Change');
    assert.match(done.resources[0]!, /:stack\/shell\//);
    assert.equal(done.detail['stack-id'], done.resources[0]);
  });

  // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html
  test('CloudTrail: writes, where a trail logs; never what is secret', async () => {
    await aws.ecs.send(new CreateClusterCommand({ clusterName: 'unseen' }));
    const trail = { Name: 'all', S3BucketName: 'trail-of-610000000001' };
    await aws.trail.send(new CreateTrailCommand({ ...trail, IsMultiRegionTrail: true }));
    await aws.trail.send(new StartLoggingCommand({ Name: 'all' }));
    await aws.ecs.send(new CreateClusterCommand({ clusterName: 'seen' }));
    await aws.secrets.send(new CreateSecretCommand({ Name: 'place/1', SecretString: 'hush-hush-2' }));
    await aws.secrets.send(new PutSecretValueCommand({ SecretId: 'place/1', SecretString: 'hush-hush-3' }));
    await aws.secrets.send(new GetSecretValueCommand({ SecretId: 'place/1' }));
    const told = await event((one) => one.detail['eventName'] === 'PutSecretValue');
    assert.equal(told['detail-type'], 'AWS API Call via CloudTrail');
    assert.equal(told.source, 'aws.secretsmanager');
    assert.equal(told.detail['eventSource'], 'secretsmanager.amazonaws.com');
    const clusters = seen.filter((one) => one.detail['eventName'] === 'CreateCluster');
    assert.deepEqual(
      clusters.map((one) => one.detail['requestParameters']),
      [{ clusterName: 'seen' }],
    );
    // Calls that only look are for a rule that asks for them.
    const State = 'ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS';
    const EventPattern = JSON.stringify({ source: [{ prefix: 'aws.' }] });
    await aws.events.send(new PutRuleCommand({ Name: 'services', EventPattern, State }));
    await aws.secrets.send(new GetSecretValueCommand({ SecretId: 'place/1', VersionStage: 'AWSPREVIOUS' }));
    await event((one) => one.detail['eventName'] === 'GetSecretValue');
    const reads = seen.filter((one) => one.detail['eventName'] === 'GetSecretValue');
    assert.deepEqual(
      reads.map((one) => one.detail['requestParameters']),
      [{ secretId: 'place/1', versionStage: 'AWSPREVIOUS' }],
    );
    const everything = JSON.stringify(await account.events(CUSTOMER));
    assert.ok(everything.includes('PutSecretValue'));
    assert.doesNotMatch(everything, /hush/);
  });
});

// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html and
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
describe('who may', () => {
  const pattern = (source: string) => JSON.stringify({ source: [source] });
  const role = `arn:aws:iam::${CUSTOMER}:role/for-rules`;
  const q = queueArn('mine');
  const url = () => `${account.endpoint}/${CUSTOMER}/mine`;
  const rule = (Name: string, source = 'own.a') => new PutRuleCommand({ Name, EventPattern: pattern(source) });
  type Sdk = ReturnType<typeof clients>;
  const rows: [string, object[], (sdk: Sdk) => Promise<unknown>, string][] = [
    [
      'a rule by its ARN',
      [{ Action: 'events:PutRule', Resource: ruleArn('fh-*') }],
      (c) => c.events.send(rule('fh-1')),
      '',
    ],
    [
      'another rule',
      [{ Action: 'events:PutRule', Resource: ruleArn('fh-*') }],
      (c) => c.events.send(rule('x')),
      'AccessDeniedException',
    ],
    [
      'a rule on what it may listen to',
      [{ Action: 'events:PutRule', Resource: '*', Condition: { StringEquals: { 'events:source': 'aws.ecs' } } }],
      (c) => c.events.send(rule('fh-2', 'aws.ecs')),
      '',
    ],
    [
      'a rule on what it may not listen to',
      [{ Action: 'events:PutRule', Resource: '*', Condition: { StringEquals: { 'events:source': 'aws.ecs' } } }],
      (c) => c.events.send(rule('fh-2', 'aws.rds')),
      'AccessDeniedException',
    ],
    [
      'tags on a rule need the right to tag',
      [{ Action: 'events:PutRule', Resource: '*' }],
      (c) =>
        c.events.send(
          new PutRuleCommand({ Name: 'fh-3', EventPattern: pattern('a'), Tags: [{ Key: 'a', Value: 'b' }] }),
        ),
      'AccessDeniedException',
    ],
    [
      'tagging a rule by its tag',
      [
        {
          Action: 'events:TagResource',
          Resource: '*',
          Condition: { StringEquals: { 'aws:ResourceTag/Team': 'books' } },
        },
      ],
      (c) =>
        c.events.send(new TagResourceCommand({ ResourceARN: ruleArn('tagged'), Tags: [{ Key: 'a', Value: 'b' }] })),
      '',
    ],
    [
      'a target that it may send to',
      [{ Action: 'events:PutTargets', Resource: '*', Condition: { ArnEquals: { 'events:TargetArn': q } } }],
      (c) => c.events.send(new PutTargetsCommand({ Rule: 'tagged', Targets: [{ Id: '1', Arn: q }] })),
      '',
    ],
    [
      'a target that it may not send to',
      [{ Action: 'events:PutTargets', Resource: '*', Condition: { ArnEquals: { 'events:TargetArn': q } } }],
      (c) => c.events.send(new PutTargetsCommand({ Rule: 'tagged', Targets: [{ Id: '1', Arn: queueArn('other') }] })),
      'AccessDeniedException',
    ],
    [
      'a target with a role needs the right to pass it',
      [{ Action: 'events:PutTargets', Resource: '*' }],
      (c) => c.events.send(new PutTargetsCommand({ Rule: 'tagged', Targets: [{ Id: '1', Arn: q, RoleArn: role }] })),
      'AccessDeniedException',
    ],
    [
      'events from its own source',
      [
        {
          Action: 'events:PutEvents',
          Resource: '*',
          Condition: { 'ForAllValues:StringEquals': { 'events:source': 'own.a' } },
        },
      ],
      (c) => c.events.send(new PutEventsCommand({ Entries: [{ Source: 'own.b', DetailType: 'x', Detail: '{}' }] })),
      'AccessDeniedException',
    ],
    [
      'sending to its queue',
      [{ Action: 'sqs:SendMessage', Resource: q }],
      (c) => c.sqs.send(new SendMessageCommand({ QueueUrl: url(), MessageBody: 'x' })),
      '',
    ],
    [
      'sending to another queue',
      [{ Action: 'sqs:SendMessage', Resource: queueArn('other') }],
      (c) => c.sqs.send(new SendMessageCommand({ QueueUrl: url(), MessageBody: 'x' })),
      'AccessDenied',
    ],
    [
      'tags on a queue need the right to tag',
      [{ Action: 'sqs:CreateQueue', Resource: '*' }],
      (c) => c.sqs.send(new CreateQueueCommand({ QueueName: 'mine-2', tags: { a: 'b' } })),
      'AccessDenied',
    ],
    [
      'a trail',
      [{ Action: 'cloudtrail:LookupEvents', Resource: '*' }],
      (c) => c.trail.send(new StartLoggingCommand({ Name: 'all' })),
      'AccessDeniedException',
    ],
  ];
  before(async () => {
    await queue('mine');
    await aws.events.send(
      new PutRuleCommand({ Name: 'tagged', EventPattern: pattern('a'), Tags: [{ Key: 'Team', Value: 'books' }] }),
    );
  });
  for (const [n, [title, statements, call, name]] of rows.entries())
    test(title, async () => {
      const Statement = statements.map((one) => ({ Effect: 'Allow', ...one }));
      const sdk = clients(await account.createUser(CUSTOMER, `user-${n}`, { Version: '2012-10-17', Statement }));
      if (name) await assert.rejects(call(sdk), refused(name));
      else await call(sdk);
    });
});
