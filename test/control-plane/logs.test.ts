/** Logs on the wire: every filter, both orders, and offsets that give each line once, whatever arrives when. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { LogEvent } from '../../services/reconciler/logs.ts';
import { openControlPlane, type Answer, type ControlPlane, type Json } from './open.ts';

/** JSON writes it with escapes. */
const KEY = 'CANARY "é\\\n-----END-----';
let api: ControlPlane;
let deployment: Json;
let first: string;
let lines: LogEvent[];

before(async () => {
  api = await openControlPlane();
  const place = await api.place();
  const made = await api.call('POST', '/v2/deployments', {
    name: 'agent',
    source: 'external_docker',
    source_config: { resource_spec: {}, listener_id: place.id },
    source_revision_config: { image_uri: 'repo/agent:1' },
    secrets: [
      { name: 'TOKEN', value: 'CANARY-of-the-log' },
      { name: 'KEY', value: KEY },
    ],
  });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  deployment = made.body;
  first = deployment.latest_revision_id;
  lines = api.cloud.lines;
});
beforeEach(() => {
  lines.length = 0;
});
after(() => api.close());

let count = 0;
/** Written so many seconds ago, by a task of revision 1, and kept at once unless it is said otherwise. */
function write(secondsAgo: number, text: string, { task = 'task-1', revision = 1, lateSeconds = 0 } = {}): void {
  const at = Math.round(Date.now() - secondsAgo * 1000);
  const stream = `agent/${revision}/${task}`;
  lines.push({ id: `event-${++count}`, at, arrivedAt: at + lateSeconds * 1000, text, stream });
}

const deployLogs = (body: Json = {}, revision?: string): Promise<Answer> =>
  api.call('POST', `/v1/projects/${deployment.id}/${revision ? `revisions/${revision}/` : ''}deploy_logs`, body);
const said = (answer: Answer): string[] => {
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body.logs.map((line: Json) => line.message);
};
const ago = (seconds: number): string => new Date(Date.now() - seconds * 1000).toISOString();

describe('a page', () => {
  test('in both orders; the oldest first, and fifty, unless it is said otherwise', async () => {
    for (let n = 100; n > 0; n--) write(n, `line ${n}`);
    const usual = await deployLogs();
    assert.equal(usual.body.logs.length, 50);
    assert.equal(usual.body.logs[0].message, 'line 100');
    assert.deepEqual(said(await deployLogs({ order: 'desc', limit: 2 })), ['line 1', 'line 2']);
    assert.deepEqual(said(await deployLogs({ limit: 2 })), ['line 100', 'line 99']);
  });

  test('of one revision, by both APIs', async () => {
    write(2, 'of the first');
    write(1, 'of the second', { revision: 2 });
    assert.deepEqual(said(await deployLogs()), ['of the first', 'of the second']);
    assert.deepEqual(said(await deployLogs({}, first)), ['of the first']);
    const newer = await api.call('GET', `/v2/deployments/${deployment.id}/revisions/${first}/logs?type=deploy`);
    assert.deepEqual(said(newer), ['of the first']);
    const list = await api.call(
      'GET',
      `/v2/deployment-logs?deployment_id=${deployment.id}&sort_order=desc&page_size=1`,
    );
    assert.equal(list.status, 200);
    assert.deepEqual(Object.keys(list.body), ['items', 'next_cursor']);
    assert.equal(list.body.items[0].message, 'of the second');
    const of = await api.call('GET', `/v2/deployment-logs?deployment_id=${deployment.id}&revision_id=${first}`);
    assert.equal(of.body.items.length, 1);
  });

  test('JSON lines say what they are; others are messages', async () => {
    const runId = randomUUID();
    write(3, JSON.stringify({ event: 'ran', level: 'warning', logger: 'x.y', run_id: runId, exception: 'Traceback…' }));
    write(2, 'Traceback (most recent call last):');
    write(1, 'plain {"words"}');
    const { logs } = (await deployLogs()).body;
    const [json, traceback, plain] = logs;
    assert.equal(typeof json.timestamp, 'number');
    const { id: _, timestamp: _1, ...rest } = json;
    assert.deepEqual(rest, {
      level: 'WARNING',
      message: 'ran\nTraceback…',
      run_id: runId,
      logger: 'x.y',
      task_id: 'task-1',
    });
    assert.equal(traceback.level, 'ERROR');
    assert.deepEqual([plain.level, plain.message, plain.run_id], ['INFO', 'plain {"words"}', null]);
  });

  test('is filtered by level and what is graver, by text in any case, by run, by time', async () => {
    const runId = randomUUID();
    write(60, JSON.stringify({ event: 'Noise', level: 'debug' }));
    write(50, JSON.stringify({ event: 'Started', level: 'info', run_id: runId, path: '/threads/T-17' }));
    write(40, 'WARNING: beware');
    write(30, JSON.stringify({ event: 'broke', level: 'error', run_id: runId }));
    write(20, JSON.stringify({ event: 'is over', level: 'critical' }));
    const wanted: [filter: Json, messages: string[]][] = [
      [{ level: 'DEBUG' }, ['Noise', 'Started', 'WARNING: beware', 'broke', 'is over']],
      [{ level: 'INFO' }, ['Started', 'WARNING: beware', 'broke', 'is over']],
      [{ level: 'WARNING' }, ['WARNING: beware', 'broke', 'is over']],
      [{ level: 'ERROR' }, ['broke', 'is over']],
      [{ level: 'CRITICAL' }, ['is over']],
      [{ query: 'sTARTed' }, ['Started']],
      [{ query: 't-17' }, ['Started']],
      [{ query: 'is over' }, ['is over']],
      [{ query: 'info' }, []],
      [{ run_id: runId }, ['Started', 'broke']],
      [{ run_id: runId, level: 'ERROR', query: 'bro' }, ['broke']],
      [{ start_time: ago(35) }, ['broke', 'is over']],
      [{ end_time: ago(45) }, ['Noise', 'Started']],
      [{ start_time: ago(55), end_time: ago(45) }, ['Started']],
      [{ start_time: ago(45), end_time: ago(55) }, []],
      [{ level: null, query: '', run_id: null, offset: null, start_time: null, end_time: null, limit: 1 }, ['Noise']],
    ];
    for (const [filter, messages] of wanted) {
      assert.deepEqual(said(await deployLogs(filter)), messages, JSON.stringify(filter));
      const backwards = said(await deployLogs({ ...filter, order: 'desc', limit: 50 }));
      if (!filter.limit) assert.deepEqual(backwards, messages.toReversed(), JSON.stringify(filter));
    }
    const times = [ago(35).replace('Z', '+00:00'), ago(35).replace('Z', ''), ago(35).replace('T', ' ')];
    for (const start_time of times) assert.equal(said(await deployLogs({ start_time })).length, 2, start_time);
  });

  test('never has a secret in it that the deployment was given', async () => {
    write(1, JSON.stringify({ event: 'the token is CANARY-of-the-log, oh', logger: 'CANARY-of-the-log' }));
    const answer = await deployLogs();
    assert(!JSON.stringify(answer.body).includes('CANARY'), JSON.stringify(answer.body));
    assert.equal(answer.body.logs[0].message, 'the token is …, oh');
    const long = `${'word '.repeat(5000)}CANARY-of-the-log ${'x'.repeat(9000)}\n\nend`;
    write(0, long);
    const [, line] = said(await deployLogs());
    assert.equal(line, long.replace('CANARY-of-the-log', '…'));
  });

  test('is not found by a secret that it does not show, so that nobody can guess it letter by letter', async () => {
    write(3, 'the token is CANARY-of-the-log, oh');
    write(2, JSON.stringify({ event: 'begun', token: 'CANARY-of-the-log', more: { token: 'CANARY-of-the-log' } }));
    write(1, 'no CANARY-at all');
    for (const query of ['CANARY-o', 'of-the-log', 'canary-of-the-log'])
      assert.deepEqual(said(await deployLogs({ query })), [], query);
    assert.deepEqual(said(await deployLogs({ run_id: 'CANARY-o' })), []);
    assert.deepEqual(said(await deployLogs({ query: 'CANARY-a' })), ['no CANARY-at all']);
    assert.deepEqual(said(await deployLogs({ query: 'begun' })), ['begun']);
  });

  test('has no secret in it that JSON writes in another way', async () => {
    const said = { level: 'error', where: [{ key: KEY }], key: KEY, [KEY]: `it is ${KEY}` };
    write(1, JSON.stringify(said).replaceAll('é', '\\u00e9'));
    const { body } = await deployLogs({ level: 'ERROR' });
    assert.equal(body.logs.length, 1);
    assert(!JSON.stringify(body).includes('CANARY'), JSON.stringify(body));
  });
});

describe('offsets', () => {
  /** Pages to the end: what they said, and where the last one ended. */
  async function pages(
    body: Json,
    each: () => void = () => {},
  ): Promise<{ messages: string[]; offset: string | null }> {
    const messages: string[] = [];
    let offset: string | null | undefined;
    for (let n = 0; n < 100; n++) {
      const answer = await deployLogs({ ...body, offset });
      messages.push(...said(answer));
      offset = answer.body.next_offset as string | null;
      if (answer.body.logs.length === 0 || offset === null) return { messages, offset };
      each();
    }
    throw new Error('no end');
  }

  for (const order of ['asc', 'desc'])
    test(`each line once, in order: ${order}`, async () => {
      for (let n = 60; n > 0; n--) write(Math.ceil(n / 7), `line ${n}`); // some at the same instant
      const all = lines.map(({ text }) => text);
      const { messages, offset } = await pages({ order, limit: 9 });
      assert.deepEqual(messages.toSorted(), all.toSorted());
      const times = messages.map((message) => lines.find(({ text }) => text === message)!.at);
      assert.deepEqual(
        times,
        times.toSorted((a, b) => (order === 'asc' ? a - b : b - a)),
      );
      assert.equal(offset === null, order === 'desc');
    });

  test('at the end of the log they go on from there, as often as one likes', async () => {
    write(2, 'one');
    let { body } = await deployLogs({ limit: 10 });
    for (const next of ['two', 'three']) {
      const empty = (await deployLogs({ offset: body.next_offset })).body;
      assert.deepEqual(empty.logs, []);
      assert.notEqual(empty.next_offset, null);
      write(0, next);
      const answer = await deployLogs({ offset: empty.next_offset });
      assert.deepEqual(said(answer), [next]);
      body = answer.body;
    }
  });

  test('a log that is empty has one', async () => {
    const { next_offset } = (await deployLogs()).body;
    write(0, 'one');
    assert.deepEqual(said(await deployLogs({ offset: next_offset })), ['one']);
  });

  test('what arrives late is given, once', async () => {
    write(5, 'of the one task');
    const before = (await deployLogs()).body;
    write(20, 'of the other, late', { task: 'task-2', lateSeconds: 20 });
    const answer = await deployLogs({ offset: before.next_offset });
    assert.deepEqual(said(answer), ['of the other, late']);
    assert.deepEqual(said(await deployLogs({ offset: answer.body.next_offset })), []);
  });

  test('while two tasks write, and one of them is late, in pages of seven', async () => {
    let n = 0;
    const more = (): void => {
      if (n >= 30) return;
      write(0, `prompt ${++n}`);
      write(10, `late ${n}`, { task: 'task-2', lateSeconds: 10 });
    };
    more();
    const { messages } = await pages({ limit: 7 }, more);
    assert.deepEqual(messages.toSorted(), lines.map(({ text }) => text).toSorted());
  });

  test('are no longer the more was given', async () => {
    for (let i = 0; i < 3000; i++) write(25 - i / 200, `line ${i}`);
    let offset: string | null = null;
    const seen = new Set<string>();
    for (let page = 0; page < 3; page++) {
      const { body } = await deployLogs({ limit: 1000, offset });
      for (const { id } of body.logs) seen.add(id);
      offset = body.next_offset as string;
      assert(offset.length < 6000, `${offset.length}`);
    }
    assert.equal(seen.size, 3000);
    assert.deepEqual(said(await deployLogs({ offset })), []);
  });

  test('end with the range that was asked for, when nothing can arrive any more', async () => {
    write(1000, 'old');
    const range = { start_time: ago(2000), end_time: ago(900) };
    assert.equal((await deployLogs(range)).body.next_offset, null);
    assert.notEqual((await deployLogs({ start_time: ago(2000), end_time: ago(1) })).body.next_offset, null);
  });

  test('that are none are refused', async () => {
    write(1, 'one');
    const { next_offset } = (await deployLogs()).body;
    for (const offset of ['x', '0', 'asc......', `${next_offset}x`, 'asc.1.1.1..AAAA.', 'a'.repeat(20_000)]) {
      const { status, body } = await deployLogs({ offset });
      assert.equal(status, 422, offset);
      assert.deepEqual(body.detail[0].loc, ['body', 'offset']);
    }
    assert.equal((await deployLogs({ offset: next_offset, order: 'desc' })).status, 422);
    const { body } = await api.call('GET', `/v2/deployment-logs?deployment_id=${deployment.id}&cursor=x`);
    assert.deepEqual(body.detail[0].loc, ['query', 'cursor']);
  });
});

test('following by time, as the CLI does: with lines that arrive late, and never the same page for ever', async () => {
  const printed = new Set<string>();
  const follow = async (newest: number): Promise<number> => {
    const start_time = new Date(newest).toISOString().replace('Z', '000+00:00');
    const { logs } = (await deployLogs({ order: 'asc', limit: 10, start_time })).body;
    const fresh = logs.filter(({ id }: Json) => !printed.has(id));
    for (const { id } of fresh) printed.add(id);
    return fresh.at(-1)?.timestamp ?? newest;
  };
  write(10, 'before', { lateSeconds: 1 });
  write(5, 'the newest');
  printed.add(lines[0]!.id).add(lines[1]!.id);
  let newest = lines[1]!.at;
  write(8, 'late', { task: 'task-2', lateSeconds: 6 });
  newest = await follow(newest);
  assert(printed.has(lines[2]!.id), 'the late line was given');
  for (let n = 0; n < 40; n++) write(4 - n / 20, `line ${n}`);
  write(6, 'late again', { task: 'task-2', lateSeconds: 5 });
  for (let poll = 0; poll < 8; poll++) newest = await follow(newest);
  const missed = lines.filter(({ id }) => !printed.has(id)).map(({ text }) => text);
  assert.deepEqual(missed, []);
});

describe('the logs of a build', () => {
  const build = (body: Json = {}): Promise<Answer> =>
    api.call('POST', `/v1/projects/${deployment.id}/revisions/${first}/build_logs`, body);

  test('have one line when it failed, and always say where to go on', async () => {
    const before = await build();
    assert.deepEqual(before.body.logs, []);
    assert.notEqual(before.body.next_offset, null);
    const message = 'building from source comes later';
    const status = { revision_id: first, deployment_id: deployment.id, status: 'BUILD_FAILED' as const, message };
    await api.db.deleteFrom('revision_statuses').where('revision_id', '=', first).execute();
    await api.db.insertInto('revision_statuses').values(status).execute();
    const tail = await build({ order: 'asc', limit: 50, offset: before.body.next_offset });
    assert.deepEqual(said(tail), [message]);
    assert.equal(tail.body.logs[0].level, 'ERROR');
    const again = await build({ order: 'asc', limit: 50, offset: tail.body.next_offset });
    assert.deepEqual(again.body.logs, []);
    assert.notEqual(again.body.next_offset, null);
    const [last] = (await build({ order: 'desc', limit: 30 })).body.logs;
    assert.equal(last.id, tail.body.logs[0].id);
    const list = await api.call('GET', `/v2/deployment-logs?deployment_id=${deployment.id}&log_type=BUILD`);
    assert.equal(list.body.items[0].message, message);
    const newer = await api.call('GET', `/v2/deployments/${deployment.id}/revisions/${first}/logs?type=build`);
    assert.deepEqual(said(newer), [message]);
  });
});

test('404 with its sentence, 422 for what is not well-formed, 503 for a busy account, 502 for a closed one', async () => {
  const none = randomUUID();
  const sentence = (id: string): Json => ({ detail: `Deployment ID ${id} not found.` });
  for (const path of [`${none}/deploy_logs`, `${none}/revisions/${first}/deploy_logs`]) {
    const answer = await api.call('POST', `/v1/projects/${path}`, {});
    assert.deepEqual([answer.status, answer.body], [404, sentence(none)]);
  }
  for (const [method, path] of [
    ['POST', `/v1/projects/${deployment.id}/revisions/${none}/build_logs`],
    ['GET', `/v2/deployments/${deployment.id}/revisions/${none}/logs?type=deploy`],
    ['GET', `/v2/deployment-logs?deployment_id=${deployment.id}&revision_id=${none}`],
  ] as const) {
    const answer = await api.call(method, path, method === 'POST' ? {} : undefined);
    assert.deepEqual([answer.status, answer.body], [404, sentence(deployment.id)], path);
  }
  for (const body of [{ limit: 0 }, { limit: 1001 }, { order: 'up' }, { level: 'LOUD' }, { start_time: 'yesterday' }])
    assert.equal((await deployLogs(body)).status, 422, JSON.stringify(body));
  const revision = `/v2/deployments/${deployment.id}/revisions/${first}/logs`;
  for (const path of [
    revision,
    `${revision}?type=both`,
    `${revision}?type=deploy&limit=1001`,
    `${revision}?type=deploy&limit=x`,
    '/v2/deployment-logs',
    `/v2/deployment-logs?deployment_id=${deployment.id}&page_size=101`,
    `/v2/deployment-logs?deployment_id=${deployment.id}&log_type=deploy`,
  ])
    assert.equal((await api.call('GET', path)).status, 422, path);

  api.cloud.reading = () => Promise.reject(Object.assign(new Error('Rate exceeded'), { name: 'ThrottlingException' }));
  const throttled = await deployLogs();
  api.cloud.reading = () => Promise.resolve();
  assert.deepEqual([throttled.status, throttled.headers.get('retry-after')], [503, '2']);
  assert.match(throttled.body.detail, /^AWS asks us to slow down/);

  api.cloud.closed = 'the account cannot be entered: "r": the role does not exist';
  const refused = await deployLogs();
  api.cloud.closed = null;
  assert.deepEqual(
    [refused.status, refused.body.detail],
    [502, 'the account cannot be entered: "r": the role does not exist'],
  );
});
