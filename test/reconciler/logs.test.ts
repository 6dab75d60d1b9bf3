/** Logs as CloudWatch Logs has them: of tasks that run at once, by the role that the control plane assumes. */
import { ECSClient, RunTaskCommand } from '@aws-sdk/client-ecs';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { awsCloud } from '../../services/control-plane/aws.ts';
import type { Cloud } from '../../services/control-plane/cloud.ts';
import { isThrottled } from '../../services/reconciler/aws/errors.ts';
import { names, serverLogs } from '../../services/reconciler/aws/names.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { logGroup } from '../../services/reconciler/kinds/log-group.ts';
import { taskDefinition } from '../../services/reconciler/kinds/task-definition.ts';
import {
  lineOf,
  logOf,
  readLog,
  type LogEvent,
  type LogLine,
  type LogQuery,
  type LogSource,
} from '../../services/reconciler/logs.ts';
import type { Cx } from '../../services/reconciler/resource.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

for (const [text, level, message] of [
  ['{"event": "e", "level": "warning"}', 'WARNING', 'e'],
  ['{"message": "m", "severity": "FATAL"}', 'CRITICAL', 'm'],
  ['{"msg": "p", "level": 30}', 'INFO', 'p'],
  ['{"event": "e", "level": "exception", "exception": "Traceback…\\nKeyError"}', 'ERROR', 'e\nTraceback…\nKeyError'],
  ['{"value": 1}', 'INFO', '{"value": 1}'],
  ['{"cut off', 'INFO', '{"cut off'],
  ['INFO:     Started server process [1]', 'INFO', undefined],
  ['2026-01-31 10:00:00,123 ERROR root: broken', 'ERROR', undefined],
  ['2026-01-31T10:00:00.123456Z [warning  ] slow', 'WARNING', undefined],
  ['Error: Cannot find module', 'ERROR', undefined],
  ['Debug mode is on', 'INFO', undefined],
  ['Traceback (most recent call last):', 'ERROR', undefined],
  ['  File "/agent.py", line 3, in <module>', 'ERROR', undefined],
  ['    import nothing', 'INFO', undefined],
  ['ModuleNotFoundError: No module named "nothing"', 'ERROR', undefined],
  ['', 'INFO', undefined],
] as const)
  test(`a line: ${text}`, () => {
    const line = lineOf({ id: '1', at: 0, arrivedAt: 0, stream: '', text });
    assert.deepEqual([line.level, line.message], [level, message ?? text]);
  });

// An agent's line is looked at while everybody else's requests wait.
for (const text of [`T${':'.repeat(256_000)}x`, `T${'1.'.repeat(128_000)}`, ' '.repeat(256_000), 'a.'.repeat(128_000)])
  test(`a line of 256 kB takes no time: ${text.slice(0, 5)}…`, () => {
    const before = process.cpuUsage();
    assert.equal(lineOf({ id: '1', at: 0, arrivedAt: 0, stream: '', text }).level, 'INFO');
    const { user } = process.cpuUsage(before);
    assert(user < 1_000_000, `${user} microseconds`);
  });

for (const order of ['asc', 'desc'] as const)
  test(`a search through pages of nothing goes on where the page before gave up: ${order}`, async () => {
    const event = { id: 'e', at: Date.now() - 60_000, arrivedAt: Date.now(), stream: 's', text: 'found' };
    const read: number[] = [];
    const source: LogSource = ({ token }) => {
      const page = Number(token ?? 0);
      read.push(page);
      return Promise.resolve(
        page < 12 ? { events: [], token: String(page + 1) } : { events: [event], token: undefined },
      );
    };
    let offset: string | undefined;
    for (const lines of [0, 0, 1]) {
      const page = await readLog(source, { from: 0, order, limit: 10, offset });
      assert.equal(page.lines.length, lines);
      offset = page.next ?? undefined;
    }
    assert.deepEqual(
      read,
      Array.from({ length: 13 }, (_, n) => n),
    );
  });

for (const order of ['asc', 'desc'] as const)
  for (const limit of [50, 1000])
    test(`however many lines one millisecond has, each comes once: ${order}, ${limit} a page`, async () => {
      const at = Date.now() - 3_600_000;
      const [first, last] = [at - 1, at + 1].map((time) => ({ at: time, text: `line ${time}` }));
      const crowd = Array.from({ length: 2500 }, (_, n) => ({ at, text: `line ${n}` }));
      const kept = [first!, ...crowd, last!].map((one) => ({ ...one, id: one.text, arrivedAt: at, stream: 's' }));
      const seen: string[] = [];
      let offset: string | undefined;
      for (let pages = 0; pages < 60; pages++) {
        const page = await readLog(logOf(kept), { from: at - 10, to: at + 10, order, limit, offset });
        seen.push(...page.lines.map(({ id }) => id));
        if (page.next === null) break;
        offset = page.next;
        assert(offset.length < 6000, `an offset of ${offset.length} characters`);
      }
      assert.equal(seen.length, kept.length);
      assert.equal(new Set(seen).size, kept.length);
    });

test('lines that arrive while a search goes through pages of nothing are given after it', async () => {
  const kept: LogEvent[] = [];
  const say = (text: string, ago: number) =>
    kept.push({ id: text, at: Date.now() - ago, arrivedAt: Date.now(), stream: 's', text });
  const source: LogSource = async (range) => {
    const page = Number(range.token ?? 0);
    return page < 7 ? { events: [], token: String(page + 1) } : logOf(kept)({ ...range, token: undefined });
  };
  const query = { from: 0, order: 'asc' as const, limit: 10 };
  const first = await readLog(source, query);
  assert.deepEqual(first.lines, []);
  say('prompt', 0);
  const second = await readLog(source, { ...query, offset: first.next! });
  assert.deepEqual(
    second.lines.map(({ id }) => id),
    ['prompt'],
  );
  say('late', 5000);
  const third = await readLog(logOf(kept), { ...query, offset: second.next! });
  assert.deepEqual(
    third.lines.map(({ id }) => id),
    ['late'],
  );
});

const ACCOUNT = '350000000018';

describe('in the emulated account', { timeout: 120_000 }, () => {
  const deployment = { id: randomUUID(), name: 'agent' };
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let cloud: Cloud;
  let ecs: ECSClient;
  let image: string;

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    cloud = awsCloud(t.accounts);
    image = (await rehearsal.pushImage({ account: ACCOUNT, region: 'us-east-1', repository: 'app', image: 'stub' }))
      .uri;
    const credentials = rehearsal.root(ACCOUNT);
    ecs = new ECSClient({ endpoint: rehearsal.endpoint, region: 'us-east-1', credentials });
  });
  after(async () => {
    ecs.destroy();
    t.close();
    await rehearsal.stop();
  });

  const cx = async (node: string): Promise<Cx> => ({
    aws: await t.accounts.enter(t.place, { name: 'logs' }),
    tags: ownerTags(t.place, deployment.id, node),
    fence: async () => {},
  });

  /** Tasks that say these lines, of a revision, or of Redis; `old`: defined before streams had revisions' numbers. */
  async function run(revision: number | null, tasks: number, lines: string[], old = false): Promise<void> {
    const called = names(t.place, deployment);
    const family = revision === null ? called.redis : called.taskFamily(revision);
    const container = {
      image,
      cpu: 256,
      memoryMb: 512,
      port: 8000,
      environment: { SAY: lines.join('\n') },
      secrets: {},
      stopSeconds: 30,
      logGroup: called.logGroup,
      ...(revision === null ? { name: 'redis' } : { name: 'server', ...(!old && { logPrefix: serverLogs(revision) }) }),
    };
    await taskDefinition.converge(
      await cx(family),
      {
        family,
        size: { cpu: 256, memoryMb: 512 },
        executionRoleArn: t.place.executionRoleArn,
        taskRoleArn: t.place.taskRoleArn,
        region: t.place.region,
        container,
      },
      undefined,
      [],
    );
    const subnets = t.place.privateSubnetIds;
    const task = new RunTaskCommand({
      cluster: t.place.clusterArn,
      taskDefinition: family,
      count: tasks,
      launchType: 'FARGATE',
      networkConfiguration: { awsvpcConfiguration: { subnets } },
    });
    await eventually('they are started', () => ecs.send(task));
  }

  const read = (query: Partial<LogQuery> = {}, revision: number | null = null) =>
    cloud.logs(t.place, deployment, revision, { from: 0, order: 'asc', limit: 100, ...query });
  const messages = (lines: readonly LogLine[]): string[] => lines.map(({ message }) => message);

  test('a deployment that has no log group yet has no lines, and an offset all the same', async () => {
    const page = await read();
    assert.deepEqual(page.lines, []);
    assert.notEqual(page.next, null);
    assert.deepEqual((await read({ order: 'desc' })).lines, []);
  });

  test('each line of two tasks once, by revision, level and text; nothing of Redis', async () => {
    const group = await cx('log-group');
    const inputs = { name: names(t.place, deployment).logGroup, retentionDays: 7 };
    await logGroup.converge(group, inputs, undefined, []);
    const runId = randomUUID();
    const lines = [
      JSON.stringify({ event: 'a run failed', level: 'error', run_id: runId }),
      'Traceback (most recent call last):',
      'a plain line',
    ];
    await run(null, 1, ['of Redis']);
    await run(1, 2, lines);
    const seen = new Map<string, LogLine>();
    let offset: string | undefined;
    await eventually('all lines are there', async () => {
      const page = await read({ limit: 3, offset });
      for (const line of page.lines) {
        assert(!seen.has(line.id), `given twice: ${line.message}`);
        seen.set(line.id, line);
      }
      offset = page.next!;
      return seen.size === 2 * (lines.length + 1); // and that it listens
    });
    const streams = new Set([...seen.values()].map(({ stream }) => stream));
    assert.equal(streams.size, 2);
    for (const stream of streams) assert.match(stream, /^server-r1\/server\/[0-9a-f]{32}$/);
    assert.deepEqual((await read({ offset })).lines, []);

    assert.equal((await read({ level: 'ERROR' })).lines.length, 4);
    assert.deepEqual(messages((await read({ text: 'PLAIN LINE' })).lines), ['a plain line', 'a plain line']);
    assert.deepEqual(messages((await read({ text: 'plain', limit: 1, order: 'desc' })).lines), ['a plain line']);
    const [failed, ...more] = (await read({ runId })).lines;
    assert.deepEqual([failed!.message, failed!.level, failed!.runId, more.length], ['a run failed', 'ERROR', runId, 1]);
    const newest: LogLine[] = [];
    let before: string | undefined;
    do {
      const page = await read({ order: 'desc', limit: 3, offset: before });
      newest.push(...page.lines);
      before = page.next ?? undefined;
    } while (before !== undefined);
    assert.deepEqual(new Set(newest.map(({ id }) => id)), new Set(seen.keys()));
    assert.equal(newest.length, seen.size);

    await run(2, 1, ['of the second']);
    // What it says and that it listens may have one time, and then either comes first.
    const next = await eventually('its lines are there', async () => {
      const page = await read({ offset });
      return page.lines.length === 2 ? page : undefined;
    });
    assert(messages(next.lines).includes('of the second'));
    assert.deepEqual(new Set(messages((await read({}, 2)).lines)), new Set(messages(next.lines)));
    assert.equal((await read({}, 1)).lines.length, seen.size);

    await run(3, 1, ['of before'], true);
    await eventually('its line is there', async () => messages((await read()).lines).includes('of before'));
  });

  test('a page takes a call or two; what AWS refuses is said', async () => {
    const searches = (): number => t.calls.filter(({ operation }) => operation === 'FilterLogEvents').length;
    const before = searches();
    await read({ limit: 10 });
    assert(searches() - before <= 3, `${searches() - before} calls`);
    await rehearsal.fault({ account: ACCOUNT, service: 'logs', action: 'FilterLogEvents', throttle: true, times: 9 });
    await assert.rejects(read(), (error) => isThrottled(error));
  });
});
