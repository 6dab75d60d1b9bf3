/**
 * Events of AWS's services and what reaches queues of them, asked through the real SDK. Each row names the page of
 * AWS's that says so.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventBridgeClient, PutEventsCommand, PutRuleCommand, PutTargetsCommand } from '@aws-sdk/client-eventbridge';
import {
  CreateQueueCommand,
  ReceiveMessageCommand,
  SQSClient,
  SetQueueAttributesCommand,
  type Message,
} from '@aws-sdk/client-sqs';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';

const CUSTOMER = '610000000001';
const REGION = 'us-east-1';
let account: Rehearsal;
const clients = (number: string) => {
  const options = { endpoint: account.endpoint, region: REGION, credentials: account.root(number), maxAttempts: 1 };
  return { events: new EventBridgeClient(options), sqs: new SQSClient(options) };
};
let aws: ReturnType<typeof clients>;
before(async () => {
  account = await startRehearsal({ pace: 100 });
  aws = clients(CUSTOMER);
});
after(() => account.stop());

const queueArn = (name: string, owner = CUSTOMER): string => `arn:aws:sqs:${REGION}:${owner}:${name}`;
const ruleArn = (name: string): string => `arn:aws:events:${REGION}:${CUSTOMER}:rule/${name}`;

/** What the queue's owner writes so that this rule may send. */
const letIn = (queue: string, rule: string): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Service: 'events.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: queueArn(queue),
        Condition: { ArnEquals: { 'aws:SourceArn': ruleArn(rule) } },
      },
    ],
  });

async function ruleTo(name: string, pattern: object, policy = true): Promise<string> {
  const { QueueUrl } = await aws.sqs.send(new CreateQueueCommand({ QueueName: name }));
  if (policy)
    await aws.sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: { Policy: letIn(name, name) } }));
  await aws.events.send(new PutRuleCommand({ Name: name, EventPattern: JSON.stringify(pattern) }));
  await aws.events.send(new PutTargetsCommand({ Rule: name, Targets: [{ Id: '1', Arn: queueArn(name) }] }));
  return QueueUrl!;
}

async function received(QueueUrl: string, seconds = 2): Promise<Message[]> {
  const { Messages } = await aws.sqs.send(
    new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: seconds, MaxNumberOfMessages: 10 }),
  );
  return Messages ?? [];
}

// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
test('an event reaches the queue in AWS’s envelope', async () => {
  const url = await ruleTo('own', { source: ['own.app'] });
  await aws.events.send(
    new PutEventsCommand({ Entries: [{ Source: 'own.app', DetailType: 'Said', Detail: '{"n":1}', Resources: ['r'] }] }),
  );
  const [message] = await received(url);
  const event = JSON.parse(message!.Body!) as Record<string, unknown>;
  assert.match(String(event['id']), /^[0-9a-f-]{36}$/);
  assert.match(String(event['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
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
