/**
 * CloudWatch Logs as it is read:
 * https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
 */
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  CreateLogStreamCommand,
  FilterLogEventsCommand,
  GetLogEventsCommand,
  PutLogEventsCommand,
  PutRetentionPolicyCommand,
  type FilterLogEventsCommandInput,
  type FilteredLogEvent,
} from '@aws-sdk/client-cloudwatch-logs';
import { RunTaskCommand } from '@aws-sdk/client-ecs';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate } from '../support/fargate.ts';

const DAY = 86_400_000;
let aws: Rehearsal;
let logs: CloudWatchLogsClient;

before(async () => {
  aws = await startRehearsal({ pace: 20, throttle: false, lag: 0 });
  const credentials = aws.root('700000000001');
  logs = new CloudWatchLogsClient({ endpoint: aws.endpoint, region: 'us-east-1', credentials });
});
after(() => aws.stop());

/** A group with streams, each with events that were so many milliseconds ago. */
async function written(group: string, streams: Record<string, [ago: number, message: string][]>): Promise<void> {
  await logs.send(new CreateLogGroupCommand({ logGroupName: group }));
  for (const [logStreamName, events] of Object.entries(streams)) {
    await logs.send(new CreateLogStreamCommand({ logGroupName: group, logStreamName }));
    const logEvents = events.map(([ago, message]) => ({ timestamp: Date.now() - ago, message }));
    await logs.send(new PutLogEventsCommand({ logGroupName: group, logStreamName, logEvents }));
  }
}

/** All pages. */
async function read(input: FilterLogEventsCommandInput): Promise<{ events: FilteredLogEvent[]; pages: number[] }> {
  const events: FilteredLogEvent[] = [];
  const pages: number[] = [];
  let nextToken: string | undefined;
  do {
    const page = await logs.send(new FilterLogEventsCommand({ ...input, nextToken }));
    events.push(...page.events!);
    pages.push(page.events!.length);
    nextToken = page.nextToken;
  } while (nextToken !== undefined);
  return { events, pages };
}

const messages = (events: readonly FilteredLogEvent[]): string[] => events.map((event) => event.message!);

test('events of all streams by time, each once, in both directions, over pages that may be empty', async () => {
  const of = (name: string, from: number): [number, string][] =>
    Array.from({ length: 50 }, (_, n) => [from - n * 100, `${name} ${n} ${n % 10 === 0 ? 'ERROR' : 'fine'}`]);
  await written('/both', { 'a-1': of('one', 60_000), 'a-2': of('two', 60_050), b: of('other', 60_000) });
  const range = { logGroupName: '/both', logStreamNamePrefix: 'a-', startTime: Date.now() - DAY, limit: 7 };
  const forwards = await read(range);
  assert.equal(forwards.events.length, 100);
  assert(forwards.pages.every((size) => size <= 7));
  const times = forwards.events.map((event) => event.timestamp!);
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
  );
  assert.equal(new Set(forwards.events.map((event) => event.eventId)).size, 100);
  const backwards = await read({ ...range, startFromHead: false });
  assert.deepEqual(messages(backwards.events), messages(forwards.events).toReversed());
  assert([...forwards.pages, ...backwards.pages].includes(0), 'no page was empty');
  const some = await read({ ...range, filterPattern: '%ERR[O]R$|^one.7.%' });
  assert.equal(some.events.length, 11);
  const [first] = (await read({ ...range, endTime: times[0], limit: 10 })).events;
  assert.equal(first!.eventId, forwards.events[0]!.eventId);
});

test('a page has 1 MB at most', async () => {
  const large = 'x'.repeat(200 * 1024);
  await written('/large', { s: Array.from({ length: 4 }, (_, n) => [n, large] as [number, string]) });
  await logs.send(
    new PutLogEventsCommand({
      logGroupName: '/large',
      logStreamName: 's',
      logEvents: [1, 2, 3].map(() => ({ timestamp: Date.now(), message: large })),
    }),
  );
  const { events, pages } = await read({ logGroupName: '/large', startTime: Date.now() - DAY });
  assert.equal(events.length, 7);
  assert(pages.every((size) => size <= 5));
});

test('a token is bound to its question, and good for a day', async () => {
  await written('/tokens', { s: [[2, 'one'], [1, 'two']] }); // prettier-ignore
  const question = { logGroupName: '/tokens', startTime: Date.now() - DAY, limit: 1 };
  const { nextToken } = await logs.send(new FilterLogEventsCommand(question));
  const refused = { name: 'InvalidParameterException', message: /nextToken/ };
  const ask = (more: Partial<FilterLogEventsCommandInput>) =>
    logs.send(new FilterLogEventsCommand({ ...question, ...more }));
  await assert.rejects(ask({ nextToken, filterPattern: '%one%' }), refused);
  await assert.rejects(ask({ nextToken: 'another' }), refused);
  await ask({ nextToken, limit: 5 });
  await aws.skip(25 * 3600);
  await assert.rejects(ask({ nextToken }), refused);
});

test('what is older than the retention has gone', async () => {
  await written('/kept', { s: [[1000, 'yesterday’s']] });
  await logs.send(new PutRetentionPolicyCommand({ logGroupName: '/kept', retentionInDays: 3 }));
  const all = async (): Promise<string[]> => messages((await read({ logGroupName: '/kept', startTime: 0 })).events);
  assert.equal((await all()).length, 1);
  await aws.skip(3 * 86_400);
  assert.deepEqual(await all(), []);
  const get = new GetLogEventsCommand({ logGroupName: '/kept', logStreamName: 's', startFromHead: true });
  assert.deepEqual((await logs.send(get)).events, []);
});

test('a container’s lines arrive some seconds later, the last with its end', async () => {
  const account = await fargate(aws, '700000000002');
  const taskDefinition = await account.define('say', { SAY: 'one\ntwo', CRASH_AFTER_MS: '1500' });
  const { networkConfiguration } = account;
  const launchType = 'FARGATE' as const;
  const run = new RunTaskCommand({ cluster: CLUSTER, taskDefinition, launchType, networkConfiguration });
  const arn = (await account.ecs.send(run)).tasks![0]!.taskArn!;
  await account.stopped(arn);
  assert((await account.lines('say', arn)).some((line) => /boom/.test(line)));
  const found = await eventually('they are found', async () => {
    const page = await account.logs.send(new FilterLogEventsCommand({ logGroupName: '/test/ecs', startTime: 0 }));
    return page.events!.length > 2 ? page.events! : undefined;
  });
  const first = found.find((event) => event.message === 'one')!;
  assert(first.ingestionTime! > first.timestamp!);
});

test('a line names the address that the task has in its subnet, not the loopback address of this machine', async () => {
  const account = await fargate(aws, '700000000003');
  const say = 'console.log(`running on http://${process.env.HOST}:8000 (${process.env.HOST}1)`)';
  const entryPoint = [process.execPath, '--input-type=module', '-e', say];
  const taskDefinition = await account.define('where', {}, { entryPoint });
  const { networkConfiguration } = account;
  const launchType = 'FARGATE' as const;
  const run = new RunTaskCommand({ cluster: CLUSTER, taskDefinition, launchType, networkConfiguration });
  const arn = (await account.ecs.send(run)).tasks![0]!.taskArn!;
  const [container] = (await account.stopped(arn)).containers!;
  const [line] = await account.lines('where', arn);
  const address = container!.networkInterfaces![0]!.privateIpv4Address!;
  assert.match(line!, /^running on http:\/\/10\..*:8000 \(127\.[\d.]+\)$/);
  assert(line!.startsWith(`running on http://${address}:8000`), `${line} of ${address}`);
});
