/**
 * EventBridge and SQS, and what AWS's services tell of themselves, asked through the real SDK. Each table names the page
 * of AWS's that says so.
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
  type PutTargetsCommandInput,
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
import { CreateSecretCommand, PutSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
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
import { startRehearsal, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

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
      WaitTimeSeconds: 1,
      MaxNumberOfMessages: 10,
      MessageAttributeNames: ['All'],
      ...options,
    }),
  );
  return Messages ?? [];
}

interface Envelope {
  'detail-type': string;
  source: string;
  account: string;
  resources: string[];
  id: string;
  time: string;
  detail: Record<string, unknown>;
}
const body = (message: Message | undefined): Envelope => JSON.parse(message!.Body!) as Envelope;

/** Nothing arrives although something that was told later did. */
async function nothing(url: string): Promise<void> {
  await account.skip(60);
  assert.deepEqual(await received(url, { WaitTimeSeconds: 0 }), []);
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
    new PutTargetsCommand({ Rule, Targets: [{ Id: 'new', Arn: queueArn('q'), ...one }] } as PutTargetsCommandInput);
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
    assert.rejects(tell('own.app', { long: 'x'.repeat(1 << 20) }), refused('ValidationException')));
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
    const first = await received(url);
    const second = await received(url);
    assert.equal(body(first[0]).id, body(second[0]).id);
    assert.notEqual(first[0]!.MessageId, second[0]!.MessageId);
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
