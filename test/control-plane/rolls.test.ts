/** Rolls through the real API, queue and worker, over a real PostgreSQL and a simulated cloud. */
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { sql } from 'kysely';
import type { ApiOptions } from '../../services/control-plane/api/context.ts';
import { sizes } from '../../services/control-plane/api/rolls.ts';
import { advance, advanceRolls, estimate, imageIn } from '../../services/control-plane/rolls.ts';
import { findRoll } from '../../services/control-plane/store/rolls.ts';
import { PlaceUnavailable } from '../../services/reconciler/aws/errors.ts';
import type { Place } from '../../services/reconciler/place.ts';
import { eventually } from '../support/eventually.ts';
import { openControlPlane, type ControlPlane, type Json } from './open.ts';

let api: ControlPlane;
let options: ApiOptions;

before(async () => {
  api = await openControlPlane();
  const { db, looks, cloud, log, digestKey } = api;
  options = { db, looks, cloud, log, digestKey, principalArn: null, agentAuth: { type: 'noop' } };
  await api.place();
  for (const n of [1, 2, 3]) api.cloud.images.set(`repo/agent:${n}`, `repo/agent@sha256:${n}`);
  await api.startWorker();
});
afterEach(() => {
  api.cloud.crashes.clear();
  api.cloud.seconds = 0;
});
after(() => api.close());

/** New deployments that serve revision 1, as a roll takes them. */
async function fleet(count: number): Promise<string[]> {
  const made: Json[] = [];
  for (let n = 0; n < count; n++) made.push(await api.create());
  for (const { id, latest_revision_id } of made) await serves(id, latest_revision_id);
  return made.map(({ id }) => id);
}

const serves = (id: string, revisionId: string): Promise<boolean> =>
  eventually('it serves', async () => {
    const { body } = await api.call('GET', `/v2/deployments/${id}`);
    assert.equal(body.active_revision_id, revisionId, body.status_message ?? body.status);
    return true;
  });
const image = async (id: string): Promise<string> => {
  const { body } = await api.call('GET', `/v2/deployments/${id}`);
  const revision = await api.call('GET', `/v2/deployments/${id}/revisions/${body.active_revision_id}`);
  return revision.body.source_revision_config.image_uri;
};
const revisions = async (id: string): Promise<number> =>
  (await api.call('GET', `/v2/deployments/${id}/revisions`)).body.resources.length;

const ask = (ids: readonly string[], more: Json = {}): Json => ({
  name: 'server 2',
  deployments: { ids },
  image_uri: 'repo/agent:2',
  soak_seconds: 0,
  ...more,
});
async function begin(ids: readonly string[], more: Json = {}): Promise<string> {
  const { status, body } = await api.call('POST', '/v2/rolls', ask(ids, more));
  assert.equal(status, 201, JSON.stringify(body));
  return body.id;
}
const roll = async (id: string): Promise<Json> => (await api.call('GET', `/v2/rolls/${id}`)).body;
const rolls = async (): Promise<Json[]> => (await api.call('GET', '/v2/rolls?limit=100')).body.resources;
const step = async (id: string): Promise<void> => {
  const row = await findRoll(api.db, api.workspaceId, id);
  await advance(options, row!);
};
/** Goes on with it until it is in this state. */
const until = (id: string, state: string): Promise<Json> =>
  eventually(
    `the roll is ${state}`,
    async () => {
      await step(id);
      const now = await roll(id);
      assert.equal(now.state, state, JSON.stringify(now.rings));
      return now;
    },
    { seconds: 20, every: 20 },
  );
const members = async (id: string, state = ''): Promise<Json[]> =>
  (await api.call('GET', `/v2/rolls/${id}/deployments?limit=100${state && `&state=${state}`}`)).body.resources;

test('a roll goes ring by ring: none of the next begins before all of one is rolled out', async () => {
  const ids = await fleet(5);
  const id = await begin(ids, { rings: [1, '60%', '100%'] });
  assert.deepEqual(
    (await roll(id)).rings.map((ring: Json) => [ring.size, ring.pending]),
    [
      [1, 1],
      [2, 2],
      [2, 2],
    ],
  );
  assert.equal((await roll(id)).ring, 1);
  await step(id);
  assert.deepEqual(await Promise.all(ids.map(revisions)), [2, 1, 1, 1, 1], 'the first ring alone');
  await eventually(
    'it is done',
    async () => {
      await step(id);
      const now = await roll(id);
      // Whatever instant this is, no ring but the one at hand is under way, and none is passed over.
      const open = now.rings.map((ring: Json) => ring.deployed < ring.size);
      const begun = now.rings.map((ring: Json) => ring.pending < ring.size);
      for (let i = 1; i < begun.length; i++) assert(!begun[i] || !open[i - 1], JSON.stringify(now.rings));
      return now.state === 'DONE';
    },
    { seconds: 20, every: 20 },
  );
  assert.deepEqual(new Set(await Promise.all(ids.map(image))), new Set(['repo/agent:2']));
  assert.deepEqual(await Promise.all(ids.map(revisions)), [2, 2, 2, 2, 2], 'one revision each');
  const ended = await roll(id);
  assert.equal(ended.expected, null);
  assert(ended.ended_at !== null);
});

test('it halts when more fail than may, and what failed serves what it did; resumed, it goes on', async () => {
  const ids = await fleet(4);
  api.cloud.crashes.set('repo/agent@sha256:2', 'the server crashed: exit code 1');
  const id = await begin(ids, { rings: [2, '100%'], at_once: 1 });
  const halted = await until(id, 'HALTED');
  assert.match(halted.message, /^halted in ring 1 of 2, none may fail: "agent-\d+": DEPLOY_FAILED: .*exit code 1$/);
  assert.deepEqual(await Promise.all(ids.map(revisions)), [2, 1, 1, 1], 'no other began');
  assert.deepEqual(new Set(await Promise.all(ids.map(image))), new Set(['repo/agent:1']));

  const refused = await api.call('POST', '/v2/rolls', ask(ids, { name: 'another', image_uri: 'repo/agent:3' }));
  assert.equal(refused.status, 409);
  assert.match(refused.body.detail, new RegExp(`is in Roll ID ${id}, which has not ended: cancel that first`));

  api.cloud.crashes.clear();
  assert.equal((await api.call('POST', `/v2/rolls/${id}/resume`, { failed: 'skip' })).body.state, 'RUNNING');
  await until(id, 'DONE');
  assert.deepEqual(await Promise.all(ids.map(image)), ['repo/agent:1', ...Array(3).fill('repo/agent:2')]);
  const [skipped] = await members(id, 'SKIPPED');
  assert.equal(skipped.deployment_id, ids[0]);
  assert.match(skipped.message, /^DEPLOY_FAILED/);
});

test('as many may fail as were allowed', async () => {
  const ids = await fleet(3);
  api.cloud.crashes.set('repo/agent@sha256:2', 'the server crashed: exit code 1');
  const id = await begin(ids, { rings: ['100%'], at_once: 1, max_failures: 1 });
  const halted = await until(id, 'HALTED');
  assert.match(halted.message, /^halted in ring 1 of 1, 1 may fail/);
  await api.call('POST', `/v2/rolls/${id}/cancel`);
  assert.equal((await members(id, 'FAILED')).length, 2);
  assert.equal(await revisions(ids[2]!), 1);
});

test('a ring soaks, and trouble in it halts the roll before the next begins', async () => {
  const ids = await fleet(2);
  const id = await begin(ids, { rings: [1, '100%'], soak_seconds: 1 });
  await eventually(
    'the first ring is rolled out',
    async () => {
      await step(id);
      return (await roll(id)).rings[0].deployed === 1;
    },
    { every: 20 },
  );
  api.cloud.crashes.set('repo/agent@sha256:2', 'it went wrong later');
  await api.db.transaction().execute((tx) => api.looks.ask(tx, ids[0]!));
  await eventually('a look has seen it', async () => {
    const { body } = await api.call('GET', `/v2/deployments/${ids[0]}`);
    return /it went wrong later/.test(body.status_message ?? '');
  });
  const halted = await until(id, 'HALTED');
  assert.match(halted.message, /after it was deployed: service: it went wrong later$/);
  assert.equal(await revisions(ids[1]!), 1);
});

test('a roll is taken back: what it changed goes back to all that it was, and what others changed since stays', async () => {
  const ids = await fleet(3);
  const id = await begin(ids, { rings: ['100%'] });
  await until(id, 'DONE');
  const own = await api.call('PATCH', `/v2/deployments/${ids[1]}`, {
    source_revision_config: { image_uri: 'repo/agent:3' },
  });
  await serves(ids[1]!, own.body.latest_revision_id);
  const back = await api.call('POST', `/v2/rolls/${id}/take-back`);
  assert.equal(back.status, 201, JSON.stringify(back.body));
  assert.equal(back.body.takes_back, id);
  await until(back.body.id, 'DONE');
  assert.deepEqual(await Promise.all(ids.map(image)), ['repo/agent:1', 'repo/agent:3', 'repo/agent:1']);
  const again = await api.call('POST', `/v2/rolls/${id}/take-back`);
  assert.equal(again.status, 409);
  assert.match(again.body.detail, /no deployment runs what it made/);
});

test('taken back while it runs: what is under way goes back, too, and what others change meanwhile stays', async () => {
  const ids = await fleet(3);
  api.cloud.seconds = 1.5;
  const id = await begin(ids, { rings: ['100%'], at_once: 2 });
  await step(id);
  assert.equal((await members(id, 'ROLLING')).length, 2);
  const back = await api.call('POST', `/v2/rolls/${id}/take-back`);
  assert.equal(back.status, 201, JSON.stringify(back.body));
  api.cloud.seconds = 0;
  assert.deepEqual(
    (await members(back.body.id)).map((one: Json) => one.deployment_id).toSorted(),
    ids.slice(0, 2).toSorted(),
  );
  const own = await api.call('PATCH', `/v2/deployments/${ids[0]}`, {
    source_revision_config: { image_uri: 'repo/agent:3' },
  });
  await until(back.body.id, 'DONE');
  await serves(ids[0]!, own.body.latest_revision_id);
  assert.deepEqual(await Promise.all(ids.map(image)), ['repo/agent:3', 'repo/agent:1', 'repo/agent:1']);
  const [left] = await members(back.body.id, 'SKIPPED');
  assert.deepEqual([left.deployment_id, left.message], [ids[0], 'it was changed again since']);
});

test('what is to be tried again and is not any more is taken back as well', async () => {
  const ids = await fleet(1);
  const id = await begin(ids, { rings: ['100%'], max_failures: 0, soak_seconds: 0 });
  await until(id, 'DONE');
  // As a soak finds trouble, and somebody goes on, and then gives it up.
  await api.db.updateTable('roll_members').set({ state: 'FAILED' }).where('roll_id', '=', id).execute();
  await api.db.updateTable('rolls').set({ state: 'HALTED', ended_at: null }).where('id', '=', id).execute();
  assert.equal((await api.call('POST', `/v2/rolls/${id}/resume`, { failed: 'retry' })).status, 200);
  const back = await api.call('POST', `/v2/rolls/${id}/take-back`);
  assert.equal(back.status, 201, JSON.stringify(back.body));
  await until(back.body.id, 'DONE');
  assert.deepEqual(await Promise.all(ids.map(image)), ['repo/agent:1']);
});

/** Of these deployments alone: they are behind a load balancer of their own, whose account answers with this. */
async function away(ids: readonly string[], error: Error = new PlaceUnavailable('away', 'arn:sim:role')) {
  const { image: find } = api.cloud;
  const more = { moreBalancers: [{ loadBalancerArn: 'away', loadBalancerDnsName: 'away', listenerArn: 'away' }] };
  await sql`update places set outputs = outputs || ${JSON.stringify(more)}::jsonb`.execute(api.db);
  await api.db.updateTable('deployments').set({ balancer: 'away' }).where('id', 'in', ids).execute();
  api.cloud.image = function (place, uri) {
    if (place.loadBalancerArn === 'away') return Promise.reject(error);
    return find.call(this, place, uri);
  };
  return () => {
    api.cloud.image = find;
  };
}

test('an account that does not answer holds up nobody else', async () => {
  const ids = await fleet(3);
  const id = await begin(ids, { rings: ['100%'], at_once: 1 });
  const [first] = await members(id);
  const answers = await away([first.deployment_id]);
  try {
    await eventually('the others are done', async () => {
      await step(id);
      return (await members(id, 'DEPLOYED')).length === 2;
    });
    assert.equal((await roll(id)).message, `waits: "${first.name}" is not reachable: away`);
  } finally {
    answers();
  }
  await api.db.updateTable('deployments').set({ balancer: null }).where('id', '=', first.deployment_id).execute();
  await until(id, 'DONE');
});

test('more that do not answer than are tried in a look hold up nobody; after ten minutes they have failed', async () => {
  const ids = await fleet(23);
  const id = await begin(ids, { rings: ['100%'] });
  const order = (await members(id)).map(({ deployment_id }) => deployment_id);
  const answers = await away(order.slice(0, 22));
  try {
    await eventually('the last one is done', async () => {
      await step(id);
      return (await members(id, 'DEPLOYED')).some(({ deployment_id }) => deployment_id === order[22]);
    });
    const waits = await roll(id);
    assert.deepEqual([waits.state, waits.rings[0].pending, waits.rings[0].unreachable], ['RUNNING', 22, 22]);
    assert.match(waits.message, /^waits: "agent-\d+" and 21 more are not reachable: away$/);
    assert.equal((await members(id, 'PENDING'))[0].message, 'away');

    const unreachable_since = new Date(Date.now() - 601_000);
    await api.db.updateTable('roll_members').set({ unreachable_since }).where('state', '=', 'PENDING').execute();
    const halted = await until(id, 'HALTED');
    assert.match(halted.message, /none may fail: "agent-\d+": not reachable for 10 minutes: away$/);
    await api.call('POST', `/v2/rolls/${id}/resume`, { failed: 'retry' });
    await step(id);
    await step(id);
    assert.equal((await roll(id)).state, 'RUNNING', 'their time begins anew');

    await api.call('POST', `/v2/rolls/${id}/halt`);
    await api.call('POST', `/v2/rolls/${id}/resume`, { failed: 'skip' });
    const done = await until(id, 'DONE');
    assert.deepEqual([done.rings[0].deployed, done.rings[0].skipped, done.message], [1, 22, null]);
  } finally {
    answers();
    await api.db.updateTable('deployments').set({ balancer: null }).where('id', 'in', ids).execute();
  }
});

test('an account that did not answer twice, long apart, has not failed; one that asks for patience never does', async () => {
  const [id1, id2] = (await fleet(2)) as [string, string];
  const id = await begin([id1, id2], { rings: ['100%'] });
  const throttled = Object.assign(new Error('Rate exceeded'), { name: 'ThrottlingException' });
  const longAgo = () =>
    api.db
      .updateTable('roll_members')
      .set({ unreachable_since: new Date(Date.now() - 601_000) })
      .where('unreachable_since', 'is not', null)
      .execute();
  let answers = await away([id1], throttled);
  try {
    for (let tries = 0; tries < 4; tries++) {
      await step(id);
      await longAgo();
    }
    const { state, message, rings } = await roll(id);
    assert.deepEqual([state, message, rings[0].pending, rings[0].unreachable], ['RUNNING', null, 1, 0]);
    assert.deepEqual(
      (await members(id, 'PENDING')).map((one: Json) => [one.deployment_id, one.message]),
      [[id1, 'AWS asks us to slow down']],
    );
    answers();
    answers = await away([id1]);
    for (let tries = 1; tries <= 2; tries++) {
      await step(id);
      await longAgo();
      assert.equal((await roll(id)).state, 'RUNNING', `after ${tries}`);
    }
    await step(id);
    assert.match((await roll(id)).message, /not reachable for 10 minutes: away$/);
  } finally {
    answers();
    await api.db.updateTable('deployments').set({ balancer: null }).where('id', '=', id1).execute();
  }
  await api.call('POST', `/v2/rolls/${id}/cancel`);
});

test('a look begins with none any more when half of its lease is over: each may take long to answer', async () => {
  const ids = await fleet(3);
  const id = await begin(ids, { rings: ['100%'] });
  const row = await findRoll(api.db, api.workspaceId, id);
  await advance(options, row!, 0);
  assert.deepEqual((await Promise.all(ids.map(revisions))).toSorted(), [1, 1, 2]);
  await until(id, 'DONE');
});

test('a roll brings in nothing that has failed before, and leaves out nothing that is under way', async () => {
  const ids = await fleet(2);
  api.cloud.crashes.set('repo/agent@sha256:3', 'the server crashed: exit code 1');
  const failed = await api.call('PATCH', `/v2/deployments/${ids[0]}`, {
    source_revision_config: { image_uri: 'repo/agent:3' },
    source_config: { resource_spec: { cpu: 4 } },
  });
  await eventually('it has failed', async () => {
    const path = `/v2/deployments/${ids[0]}/revisions/${failed.body.latest_revision_id}`;
    return (await api.call('GET', path)).body.status === 'DEPLOY_FAILED';
  });
  api.cloud.seconds = 1.5;
  await api.call('PATCH', `/v2/deployments/${ids[1]}`, { source_config: { resource_spec: { cpu: 3 } } });
  const specs = (): Promise<unknown[]> =>
    Promise.all(
      ids.map(async (id) => {
        const [newest] = (await api.call('GET', `/v2/deployments/${id}/revisions`)).body.resources;
        return [newest.source_revision_config.image_uri, newest.resource_spec.cpu];
      }),
    );
  const id = await begin(ids, { rings: ['100%'] });
  await step(id);
  assert.deepEqual(await specs(), [
    ['repo/agent:2', 2],
    ['repo/agent:2', 3],
  ]);
  api.cloud.seconds = 0;
  await until(id, 'DONE');

  const again = await begin(ids, { rings: ['100%'], image_uri: null });
  await until(again, 'DONE');
  assert.deepEqual(await specs(), [
    ['repo/agent:2', 2],
    ['repo/agent:2', 3],
  ]);
});

test('two processes at once, and one that died in between, make one revision of each', async () => {
  const ids = await fleet(4);
  const id = await begin(ids, { rings: ['100%'] });
  const row = await findRoll(api.db, api.workspaceId, id);
  await Promise.all([advance(options, row!), advance(options, row!), advance(options, row!)]);
  assert.deepEqual(await Promise.all(ids.map(revisions)), [2, 2, 2, 2]);
  assert.equal((await members(id, 'FAILED')).length, 0);
  await api.db
    .updateTable('rolls')
    .set({ leased_until: new Date(Date.now() - 1000) })
    .execute();
  await advanceRolls(options);
  await until(id, 'DONE');
});

test('halted, nothing more begins, and what runs is followed to its end; cancelled, it stays so', async () => {
  const ids = await fleet(3);
  api.cloud.seconds = 0.3;
  const id = await begin(ids, { rings: ['100%'], at_once: 1 });
  await step(id);
  const halted = await api.call('POST', `/v2/rolls/${id}/halt`);
  assert.equal(halted.body.state, 'HALTED');
  await eventually('its rollout is noted', async () => {
    await advanceRolls(options);
    await api.db.updateTable('rolls').set({ leased_until: null }).execute();
    return (await members(id, 'DEPLOYED')).length === 1;
  });
  assert.deepEqual(await Promise.all(ids.map(revisions)), [2, 1, 1]);
  assert.equal((await api.call('POST', `/v2/rolls/${id}/cancel`)).body.state, 'CANCELLED');
  const late = await api.call('POST', `/v2/rolls/${id}/resume`, {});
  assert.equal(late.status, 409);
  assert.equal(late.body.detail, `Roll ID ${id} cannot do that: it is CANCELLED.`);
});

test('what is deleted meanwhile is left out, and an account that does not answer is waited for', async () => {
  const ids = await fleet(3);
  const id = await begin(ids, { rings: ['100%'] });
  await api.call('DELETE', `/v2/deployments/${ids[0]}`);
  api.cloud.closed = 'the account cannot be entered';
  await step(id);
  const waits = await roll(id);
  assert.match(waits.message, /^waits: "agent-\d+" and 1 more are not reachable: the account cannot be entered$/);
  assert.deepEqual([waits.state, waits.rings[0].pending, waits.rings[0].unreachable], ['RUNNING', 2, 2]);
  api.cloud.closed = null;
  const done = await until(id, 'DONE');
  assert.equal(done.rings[0].deployed, 2);
  assert.equal(done.message, null);
});

test('a dry run says who and when, and begins nothing', async () => {
  const ids = await fleet(3);
  const before = (await rolls()).length;
  const dry = await api.call('POST', '/v2/rolls?dry_run=true', ask(ids, { rings: [1, '100%'], soak_seconds: 60 }));
  assert.equal(dry.status, 200, JSON.stringify(dry.body));
  assert.deepEqual(
    dry.body.rings.map((ring: Json) => ring.size),
    [1, 2],
  );
  const [low, high] = dry.body.expected.seconds;
  assert(low >= 2 * (120 + 60) && high >= 2 * (300 + 60), JSON.stringify(dry.body.expected));
  assert.equal(dry.body.state, 'PLANNED', 'a forecast, and no roll');
  assert.equal((await rolls()).length, before);
  assert.deepEqual(await Promise.all(ids.map(revisions)), [1, 1, 1]);
});

test('what cannot be is refused, and nothing begins', async () => {
  const ids = await fleet(1);
  const before = (await rolls()).length;
  const foreign = '00000000-0000-4000-8000-000000000000';
  for (const [more, status, detail] of [
    [{ deployments: {} }, 422, /name at least one filter/],
    [{ deployments: { ids: [...ids, foreign] } }, 404, new RegExp(`Deployment ID ${foreign} not found`)],
    [{ deployments: { name_contains: 'nobody' } }, 400, /nothing to roll/],
    [{ image_uri: 'repo/agent:9' }, 400, /no such image/],
    [{ rings: ['101%'] }, 422, /a share such as/],
  ] as const) {
    const answer = await api.call('POST', '/v2/rolls', ask(ids, more));
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.match(JSON.stringify(answer.body.detail), detail);
  }
  assert.equal((await rolls()).length, before);
});

test('rings, the time they take, and the image of each place', () => {
  assert.deepEqual(sizes([1, '10%', '50%', '100%'], 500), [1, 49, 200, 250]);
  assert.deepEqual(sizes([1, '10%', '50%', '100%'], 2), [1, 1]);
  assert.deepEqual(sizes(['10%'], 20), [2, 18], 'the last is all');
  assert.deepEqual(sizes([50, 10], 20), [20]);
  // 500 in one place: a task definition a second is the limit, not the rollouts.
  const many = estimate([{ left: 500, inOnePlace: 500 }], { atOnce: 100, soakSeconds: 60 });
  assert.deepEqual(many.seconds, [500 / 0.8 + 120 + 60, 5 * 300 + 60]);
  assert.match(many.limitedBy, /one task definition a second/);
  const few = estimate([{ left: 40, inOnePlace: 4 }], { atOnce: 20, soakSeconds: 0 });
  assert.deepEqual(few, { seconds: [240, 600], limitedBy: '20 deployments at once' });
  const small = estimate(
    [3, 4].map((left) => ({ left, inOnePlace: left })),
    { atOnce: 20, soakSeconds: 5 },
  );
  assert.equal(small.limitedBy, 'each ring waits for its slowest rollout');
  assert.deepEqual(estimate([{ left: 0, inOnePlace: 0 }], { atOnce: 1, soakSeconds: 60 }).seconds, [0, 0]);
  const place = { accountId: '555000000001', region: 'eu-west-1' } as Place;
  assert.equal(imageIn('{account_id}.dkr.ecr.{region}.x/agent:2', place), '555000000001.dkr.ecr.eu-west-1.x/agent:2');
});
