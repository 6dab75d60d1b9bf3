/** Plans over the wire: they tell just what is done then, and write nothing. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { eventually } from '../support/eventually.ts';
import { deployment, openControlPlane, type Answer, type ControlPlane, type Json } from './open.ts';
import type { SimulatedCloud } from './simulated.ts';

let api: ControlPlane;
let cloud: SimulatedCloud;

before(async () => {
  api = await openControlPlane();
  cloud = api.cloud;
  await api.place();
  await api.startWorker();
  cloud.images.set('repo/agent:2', 'repo/agent@sha256:2');
  cloud.images.set('repo/agent:3', 'repo/agent@sha256:3');
});
after(() => api.close());

const IMAGE_2 = { source_revision_config: { image_uri: 'repo/agent:2' } };
const IMAGE_3 = { source_revision_config: { image_uri: 'repo/agent:3' } };

/** All that intent and observation are. */
async function store(): Promise<unknown> {
  // Not when a deployment was looked at last: the worker's last look may end a moment later.
  const tables = ['deployments', 'revisions', 'revision_statuses', 'resources', 'events'];
  const digests: unknown[] = [];
  for (const table of tables) {
    const { rows } = await sql`
      select md5(coalesce(string_agg(t::text, '' order by t::text), '')) as digest from ${sql.table(table)} t`.execute(
      api.db,
    );
    digests.push(rows[0]);
  }
  return digests;
}

/** A plan, of which nothing was written in the meantime: not in the store, not in the account. */
async function planned(ask: () => Promise<Answer>): Promise<Json> {
  const before = [await store(), [...cloud.acts], cloud.written.size];
  const answer = await ask();
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.deepEqual([await store(), [...cloud.acts], cloud.written.size], before, 'a plan writes nothing');
  assert.doesNotMatch(JSON.stringify(answer.body), /s3cret/);
  return answer.body;
}

const acts = (plan: Json, name: string): string[] =>
  plan.changes
    .filter(({ action }: Json) => action !== 'wait')
    .map(({ resource, action }: Json) => `${action} ${name}/${resource}`);

/** With all that only the last revision wanted gone. */
const deployed = (id: string): Promise<Json> =>
  eventually('deployed, and settled', async () => {
    const { body } = await api.call('GET', `/v2/deployments/${id}`);
    const { body: timeline } = await api.call('GET', `/v2/deployments/${id}/timeline`);
    const tasks = timeline.resources.filter((one: Json) => one.id.startsWith('task-'));
    const isReady = timeline.resources.every(({ state }: Json) => state === 'ready');
    return body.active_revision_id === body.latest_revision_id && isReady && tasks.length === 1 ? body : undefined;
  });

/** By the customer's own hand. */
const touch = (name: string, what: string): unknown => cloud.things.set(name, { ...cloud.things.get(name)!, what });

async function make(more: Json = {}): Promise<Json> {
  return deployed((await api.create(more)).id);
}

test('of a create: all of it, in the order in which it is made; with its hash it is that or nothing', async () => {
  const body = deployment({ secrets: [{ name: 'TOKEN', value: 's3cret-value' }] });
  const plan = await planned(() => api.call('POST', '/v2/deployments?dry_run=true', body));
  assert.equal(plan.deployment_id, null);
  assert.equal(plan.revision, 1);
  assert.deepEqual(acts(plan, body.name), [
    `create ${body.name}/database`,
    `create ${body.name}/task-r1`,
    `create ${body.name}/service`,
  ]);
  assert.match(plan.text, new RegExp(`^Create "${body.name}" \\(prod\\) in 555000000001, us-east-1: revision 1\n`));
  assert.equal((await api.call('GET', `/v2/deployments?name=${body.name}`)).body.resources.length, 0);

  const other = { ...body, secrets: [{ name: 'TOKEN', value: 's3cret-other' }] };
  const refused = await api.call('POST', `/v2/deployments?plan=${plan.hash}`, other);
  assert.equal(refused.status, 409);
  assert.match(refused.body.detail, /^The plan does not hold: the request asks for something else than was planned/);
  assert.equal(refused.headers.get('x-should-retry'), 'false');

  cloud.acts.length = 0;
  const made = await api.call('POST', `/v2/deployments?plan=${plan.hash}`, body);
  assert.equal(made.status, 201, JSON.stringify(made.body));
  await deployed(made.body.id);
  assert.deepEqual(cloud.acts, acts(plan, body.name), 'what was planned is what was done');
  const { body: revision } = await api.call(
    'GET',
    `/v2/deployments/${made.body.id}/revisions/${made.body.latest_revision_id}`,
  );
  assert.equal(revision.plan, plan.hash);
});

test('of what is as asked for: nothing to do; what others changed is told', async () => {
  const made = await make();
  const ask = () => planned(() => api.call('POST', `/v2/deployments/${made.id}/plan`));
  const nothing = await ask();
  assert.deepEqual([nothing.changes, nothing.obstacles, nothing.aws_calls.writes], [[], [], 0]);
  assert.deepEqual(nothing.unchanged, ['database', 'task-r1', 'service']);
  assert.deepEqual(nothing.seconds, { from: 0, to: 0 });
  assert.match(nothing.text, /\n {2}Nothing to do\.\n/);
  assert.equal((await ask()).hash, nothing.hash, 'the same is the same');

  touch(`${made.name}/service`, 'by hand');
  const drift = await ask();
  assert.notEqual(drift.hash, nothing.hash);
  assert.deepEqual(
    drift.changes.map(({ resource, action, fields }: Json) => [resource, action, fields]),
    [['service', 'change', [{ field: 'what', from: 'by hand', to: 'repo/agent@sha256:1' }]]],
  );
  cloud.things.delete(`${made.name}/task-r1`);
  assert.deepEqual(acts(await ask(), made.name), [`create ${made.name}/task-r1`, `change ${made.name}/service`]);
  cloud.things.delete(`${made.name}/service`);
});

test('of a change: just that, also by another way to ask for it', async () => {
  const made = await make();
  const path = `/v2/deployments/${made.id}`;
  const plan = await planned(() => api.call('POST', `${path}/plan`, IMAGE_2));
  assert.deepEqual([plan.deployment_id, plan.revision], [made.id, 2]);
  assert.equal((await planned(() => api.call('PATCH', `${path}?dry_run=true`, IMAGE_2))).hash, plan.hash);
  assert.equal((await planned(() => api.call('POST', `${path}/revisions?dry_run=true`, IMAGE_2))).hash, plan.hash);
  assert.deepEqual(acts(plan, made.name), [
    `create ${made.name}/task-r2`,
    `change ${made.name}/service`,
    `remove ${made.name}/task-r1`,
  ]);
  assert.deepEqual(plan.changes[1].fields, [{ field: 'what', from: 'repo/agent@sha256:1', to: 'repo/agent@sha256:2' }]);
  assert.deepEqual(plan.changes[1].after, ['task-r2']);
  assert.deepEqual(plan.unchanged, ['database']);

  cloud.acts.length = 0;
  const changed = await api.call('PATCH', `${path}?plan=${plan.hash}`, IMAGE_2);
  assert.equal(changed.status, 200, JSON.stringify(changed.body));
  await deployed(made.id);
  assert.deepEqual(cloud.acts, acts(plan, made.name));

  for (const [method, where, body] of [
    ['POST', `/revisions/${made.latest_revision_id}/redeploy`, undefined],
    ['PATCH', '/resource-tiers', { compute_tier: 'DEDICATED_M' }],
  ] as const) {
    const other = await planned(() => api.call(method, `${path}${where}?dry_run=true`, body));
    assert.equal(other.revision, 3, where);
    cloud.acts.length = 0;
    assert.equal((await api.call(method, `${path}${where}?plan=${other.hash}x`, body)).status, 409);
    assert.deepEqual(cloud.acts, []);
  }
  const again = await planned(() => api.call('PATCH', `${path}?dry_run=true`, { display_name: 'Mine' }));
  assert.deepEqual([again.changes, again.revision], [[], 2]);
  // Neither does one pass that would change nothing, on a hash that is of something else.
  for (const [where, body] of [
    ['', { display_name: 'Mine' }],
    ['/deployment-tier', { deployment_type: 'prod' }],
  ] as const) {
    assert.equal((await api.call('PATCH', `${path}${where}?plan=${plan.hash}`, body)).status, 409, where);
    assert.equal((await api.call('PATCH', `${path}${where}?plan=${again.hash}`, body)).status, 200, where);
  }
});

test('a plan that does not hold any more: the request, the account, another revision', async () => {
  const made = await make();
  const path = `/v2/deployments/${made.id}`;
  const { hash } = await planned(() => api.call('POST', `${path}/plan`, IMAGE_2));
  const refuses = async (body: Json, why: RegExp, plan = hash): Promise<void> => {
    const answer = await api.call('PATCH', `${path}?plan=${plan}`, body);
    assert.equal(answer.status, 409, JSON.stringify(answer.body));
    assert.match(answer.body.detail, why);
  };
  await refuses(IMAGE_2, /"abc" is no plan's hash/, 'abc');
  await refuses(IMAGE_3, /asks for something else than was planned.* It would be:\nChange "/s);
  const written = cloud.written.size;
  await refuses({ ...IMAGE_2, secrets: [{ name: 'A', value: 's3cret' }] }, /asks for something else/);
  assert.equal(cloud.written.size, written, 'no value was sent anywhere');
  touch(`${made.name}/database`, 'by hand');
  await refuses(IMAGE_2, /the account is not as it was\. It would be:\n.*what: by hand -> postgres/s);
  touch(`${made.name}/database`, 'postgres');
  const { body: list } = await api.call('GET', `${path}/revisions`);
  assert.equal(list.resources.length, 1, 'nothing was done');

  const both = await Promise.all([
    api.call('PATCH', `${path}?plan=${hash}`, IMAGE_2),
    api.call('PATCH', `${path}?plan=${hash}`, IMAGE_2),
  ]);
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 409], 'one of two carries it out');
});

test('a plan for one drift_policy is none for another', async () => {
  const asked = deployment({ drift_policy: 'report' });
  const { body: create } = await api.call('POST', '/v2/deployments?dry_run=true', asked);
  const as = (policy: string) => ({ ...asked, drift_policy: policy });
  const refused = await api.call('POST', `/v2/deployments?plan=${create.hash}`, as('ignore'));
  assert.equal(refused.status, 409, JSON.stringify(refused.body));
  const made = await api.call('POST', `/v2/deployments?plan=${create.hash}`, as('report'));
  assert.equal(made.status, 201, JSON.stringify(made.body));
  await deployed(made.body.id);
  const path = `/v2/deployments/${made.body.id}`;
  const { hash } = (await api.call('POST', `${path}/plan`, { drift_policy: 'repair' })).body;
  const other = await api.call('PATCH', `${path}?plan=${hash}`, { drift_policy: 'ignore' });
  assert.equal(other.status, 409, JSON.stringify(other.body));
  assert.match(other.body.detail, /asks for something else than was planned/);
  assert.equal((await api.call('GET', path)).body.drift_policy, 'report');
  assert.equal((await api.call('PATCH', `${path}?plan=${hash}`, { drift_policy: 'repair' })).status, 200);
});

test('what is left as it is under a drift_policy is not planned; the next revision brings it, and so does another policy', async () => {
  for (const policy of ['report', 'ignore']) {
    const made = await make({ drift_policy: policy });
    await eventually('it is no news any more', async () => {
      const { body } = await api.call('GET', `/v2/deployments/${made.id}`);
      return body.status === 'READY' && body.status_message === null;
    });
    // Long after it was made: what is new may not be shown yet.
    await api.db.updateTable('resources').set({ asked_at: null }).execute();
    const path = `/v2/deployments/${made.id}`;
    const ask = (body?: Json) => planned(() => api.call('POST', `${path}/plan`, body));
    const nothing = await ask();
    touch(`${made.name}/service`, 'by hand');
    cloud.things.delete(`${made.name}/task-r1`);
    const left = await ask();
    assert.deepEqual([left.changes, left.aws_calls.writes], [[], 0], policy);
    assert.deepEqual(left.unchanged, ['database', 'task-r1', 'service']);
    assert.notEqual(left.hash, nothing.hash, 'the account is another');
    const told = ['task-r1: deleted', 'service: what: repo/agent@sha256:1, found by hand'];
    assert.deepEqual(
      left.obstacles.map(({ resource, message }: Json) => `${resource}: ${message}`),
      policy === 'report' ? told.map((one) => `${one}: left as it is, as drift_policy says`) : [],
    );
    assert.deepEqual(acts(await ask(IMAGE_2), made.name), [
      `create ${made.name}/task-r2`,
      `change ${made.name}/service`,
    ]);
    const repairs = await ask({ drift_policy: 'repair' });
    assert.deepEqual(acts(repairs, made.name), [`create ${made.name}/task-r1`, `change ${made.name}/service`]);
    cloud.acts.length = 0;
    assert.equal((await api.call('PATCH', `${path}?plan=${repairs.hash}`, { drift_policy: 'repair' })).status, 200);
    await eventually('it is as asked', () => cloud.things.get(`${made.name}/service`)!.what === 'repo/agent@sha256:1');
    assert.deepEqual(cloud.acts, acts(repairs, made.name));
  }
});

test('a plan is held to what it was made of until the request is done', async () => {
  const writes = (name: string, act: () => Promise<unknown>): void => {
    // Within the request: its plan was compared, and the store is not written yet.
    cloud.onObserve = async (inputs) => {
      if (inputs.name !== `${name}/environment`) return;
      cloud.onObserve = () => Promise.resolve();
      await act();
    };
  };
  const secrets = [{ name: 'TOKEN', value: 's3cret' }];
  for (const [what, why] of [
    ['type', /the deployment was changed in between/],
    ['policy', /the deployment was changed in between/],
    ['verdict', /a revision has begun or ended in between/],
    ['place', /the place was registered anew in between/],
  ] as const) {
    const made = await make({ source_config: { deployment_type: 'dev' } });
    const path = `/v2/deployments/${made.id}`;
    const body = { ...IMAGE_2, secrets };
    const { hash } = await planned(() => api.call('POST', `${path}/plan`, body));
    writes(made.name, async () => {
      const mine = api.db.updateTable('deployments').where('id', '=', made.id);
      if (what === 'type') await mine.set({ type: 'prod' }).execute();
      if (what === 'policy') await mine.set({ drift_policy: 'report' }).execute();
      if (what === 'verdict')
        await api.db
          .updateTable('revision_statuses')
          .set({ status: 'DEPLOY_FAILED', message: 'it was found out' })
          .where('deployment_id', '=', made.id)
          .execute();
      if (what === 'place')
        await sql`update places set outputs = outputs || '{"scheme": "https"}'::jsonb`.execute(api.db);
    });
    const answer = await api.call('PATCH', `${path}?plan=${hash}`, body);
    if (what === 'place') await sql`update places set outputs = outputs || '{"scheme": "http"}'::jsonb`.execute(api.db);
    assert.equal(answer.status, 409, JSON.stringify(answer.body));
    assert.match(answer.body.detail, why);
    assert.equal((await api.call('GET', `${path}/revisions`)).body.resources.length, 1, 'nothing was done');
  }
});

test('what would stop it is told', async () => {
  const made = await make();
  const path = `/v2/deployments/${made.id}/plan`;
  cloud.inTheWay = [{ what: 'limit', id: null, message: 'limit reached: "DB instances": 40 of 40 used' }];
  const plan = await planned(() => api.call('POST', path, IMAGE_2));
  cloud.inTheWay = [];
  assert.deepEqual(plan.obstacles, [
    { what: 'limit', resource: null, message: 'limit reached: "DB instances": 40 of 40 used' },
  ]);
  assert.match(plan.text, /What would stop it:\n {2}limit reached/);
  cloud.closed = 'the role is gone';
  const away = await api.call('POST', path, {});
  cloud.closed = null;
  assert.deepEqual([away.status, away.body.detail], [502, 'the role is gone']);
  assert.equal((await api.call('POST', path, { source_config: { deployment_type: 'dev' } })).status, 400);
});

test('of a deployment without an image: what takes long', async () => {
  const body = deployment({ source: 'internal_docker', source_revision_config: {} });
  const plan = await planned(() => api.call('POST', '/v2/deployments?dry_run=true', body));
  assert.equal(plan.revision, null);
  assert.deepEqual(acts(plan, body.name), [`create ${body.name}/database`]);
});
