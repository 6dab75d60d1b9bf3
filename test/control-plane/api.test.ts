/** The wire: shapes, codes and sentences, in-process over a real PostgreSQL. No worker runs: only intent is written. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { problemsPage } from '../../services/control-plane/api/problems.ts';
import { openapi } from '../../services/control-plane/openapi.ts';
import { addKey, addWorkspace } from '../../services/control-plane/store/access.ts';
import { deployment, openControlPlane, KEY, type ControlPlane, type Json } from './open.ts';
import { outputs, type SimulatedCloud } from './simulated.ts';
import { countDeployments } from './volume.ts';

let api: ControlPlane;
let cloud: SimulatedCloud;
let place: Json;

before(async () => {
  api = await openControlPlane();
  cloud = api.cloud;
  place = await api.place();
});
after(() => api.close());

const body = (more: Json = {}): Json => deployment({ source_config: { listener_id: place.id }, ...more });
const create = (more: Json = {}): Promise<Json> => api.create(body(more));

test('docs/openapi.json is what the routes say, and docs/problems.md what the problems are', () => {
  const read = (name: string): string => readFileSync(join(import.meta.dirname, '..', '..', 'docs', name), 'utf8');
  assert.equal(read('openapi.json'), openapi(), 'npm run openapi');
  assert.equal(read('problems.md'), problemsPage(), 'npm run openapi');
});

test('docs/control-plane.md has every setting', () => {
  const read = (...path: string[]): string => readFileSync(join(import.meta.dirname, '..', '..', ...path), 'utf8');
  const settings = read('services', 'control-plane', 'settings.ts');
  const names = new Set([...settings.matchAll(/(?:text|number)\('([A-Z_]+)'/g)].map(([, name]) => name!));
  assert(names.size > 10);
  const table = read('docs', 'control-plane.md');
  assert.deepEqual(
    [...names].filter((name) => !table.includes(`\`${name}\``)),
    [],
  );
});

test('the document is OpenAPI 3.1, open to all, the same under both prefixes', async () => {
  const [one, other] = await Promise.all([
    api.call('GET', '/openapi.json', undefined, { 'X-Api-Key': '' }),
    api.call('GET', '/api-host/openapi.json', undefined, { 'X-Api-Key': '' }),
  ]);
  assert.equal(one.body.openapi, '3.1.0');
  assert.deepEqual({ ...other.body, servers: [{ url: '/' }] }, one.body);
  assert.deepEqual(other.body.servers, [{ url: '/api-host' }]);
  assert.equal(`${JSON.stringify(one.body, null, 2)}\n`, openapi());
});

test('keys: none, a wrong one, another workspace', async () => {
  for (const key of ['', 'wrong']) {
    const { status, body } = await api.call('GET', '/v2/deployments', undefined, { 'X-Api-Key': key });
    assert.equal(status, 401);
    assert.equal(typeof body.detail, 'string');
  }
  const tenant = (id: string) => api.call('GET', '/v2/deployments', undefined, { 'X-Tenant-ID': id });
  assert.equal((await tenant(api.workspaceId)).status, 200);
  assert.equal((await tenant(randomUUID())).status, 403);
  const stored = await api.db.selectFrom('api_keys').selectAll().execute();
  assert.doesNotMatch(JSON.stringify(stored), new RegExp(KEY));
});

test('workspaces do not see each other', async () => {
  const made = await create();
  const other = await addWorkspace(api.db, `other-${randomUUID()}`);
  await addKey(api.db, other, 'other', 'other-key');
  const asOther = (method: string, path: string, body?: Json) =>
    api.call(method, path, body, { 'X-Api-Key': 'other-key' });
  for (const [method, path, given] of [
    ['GET', `/v2/deployments/${made.id}`],
    ['PATCH', `/v2/deployments/${made.id}`, {}],
    ['DELETE', `/v2/deployments/${made.id}`],
    ['GET', `/v2/deployments/${made.id}/revisions`],
    ['POST', `/v2/deployments/${made.id}/revisions`, {}],
    ['GET', `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}`],
    ['POST', `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}/redeploy`],
    ['GET', `/v2/deployments/${made.id}/timeline`],
  ] as const) {
    const answer = await asOther(method, path, given);
    assert.deepEqual(
      [answer.status, answer.body],
      [404, { detail: `Deployment ID ${made.id} not found.` }],
      `${method} ${path}`,
    );
  }
  const listener = await asOther('GET', `/v2/listeners/${place.id}`);
  assert.deepEqual([listener.status, listener.body], [404, { detail: `Listener ID ${place.id} not found.` }]);
  assert.deepEqual((await asOther('GET', '/v2/deployments')).body, { resources: [], offset: 0 });
  const theirs = await asOther('POST', '/v2/deployments', body());
  assert.equal(theirs.status, 404, "another workspace's place is no place");
});

test('what FastAPI would call unprocessable', async () => {
  for (const [path, loc] of [
    ['/v2/deployments/nonsense', ['path', 'deployment_id']],
    ['/v2/deployments?limit=0', ['query', 'limit']],
    ['/v2/deployments?limit=101', ['query', 'limit']],
    ['/v2/deployments?offset=-1', ['query', 'offset']],
    ['/v2/deployments?deployment_ids=1,2', ['query', 'deployment_ids']],
    ['/v2/listeners/nonsense', ['path', 'listener_id']],
  ] as const) {
    const { status, body } = await api.call('GET', path);
    assert.equal(status, 422, path);
    assert.deepEqual(body.detail[0].loc, loc);
  }
  const broken = await api.call('POST', '/v2/deployments', '{nonsense');
  assert.deepEqual([broken.status, broken.body.detail[0].loc], [422, ['body']]);
  const large = await api.call('POST', '/v2/deployments', { ...body(), display: 'x'.repeat(1_100_000) });
  assert.deepEqual([large.status, typeof large.body.detail], [413, 'string']);
  assert.deepEqual((await api.call('GET', '/v2/nothing')).body, { detail: 'Not Found' });
});

test('an account that cannot be entered: the request says why and keeps nothing', async () => {
  cloud.closed = 'the role does not trust us';
  try {
    const before = await countDeployments(api.db);
    const { status, body: answer } = await api.call('POST', '/v2/deployments', body());
    assert.deepEqual([status, answer], [502, { detail: 'the role does not trust us' }]);
    assert.equal(await countDeployments(api.db), before);
  } finally {
    cloud.closed = null;
  }
});

test('a request that cannot write its secrets leaves a draft that nobody sees and a look removes', async () => {
  const given = body({ secrets: [{ name: 'A', value: '1' }] });
  const refusal = Object.assign(new Error('the account refuses'), { name: 'AccessDeniedException' });
  cloud.onObserve = () => Promise.reject(refusal);
  try {
    assert.equal((await api.call('POST', '/v2/deployments', given)).status, 502);
  } finally {
    cloud.onObserve = () => Promise.resolve();
  }
  assert.equal((await api.call('GET', `/v2/deployments?name=${given.name}`)).body.resources.length, 0);
  cloud.things.set(`${given.name}/environment`, { name: `${given.name}/environment`, what: 'secret', readyAt: 0 }); // as if it had got so far
  await api.startWorker();
  const { eventually } = await import('../support/eventually.ts');
  await eventually('the draft is removed', async () => {
    const found = await api.db.selectFrom('deployments').select('id').where('name', '=', given.name).execute();
    return found.length === 0;
  });
  assert(!cloud.things.has(`${given.name}/environment`));
  assert.equal((await api.call('POST', '/v2/deployments', given)).status, 201, 'its name is free');
});

test('a defect of ours: 500 with the id under which the log has its stack, and none of its words', async () => {
  cloud.onObserve = () => Promise.reject(new TypeError('undefined is not our table'));
  try {
    const {
      status,
      body: answer,
      headers,
    } = await api.call('POST', '/v2/deployments', {
      ...body({ secrets: [{ name: 'A', value: '1' }] }),
    });
    assert.equal(status, 500);
    const id = headers.get('x-request-id')!;
    assert.deepEqual(answer, { detail: 'internal error', request_id: id });
    const line = api.logged.find((one) => one.includes(id) && one.includes('not our table'));
    assert.match(JSON.parse(line!).err.stack, /api\.test\.ts/);
  } finally {
    cloud.onObserve = () => Promise.resolve();
  }
});

test('listeners: made, registered, verified, listed, changed, deleted', async () => {
  const made = await api.call('POST', '/v2/listeners', {
    compute_type: 'ecs',
    compute_id: 'second',
    compute_config: {},
  });
  assert.equal(made.status, 201);
  assert.match(made.body.place.external_id, /^fh-[0-9a-f]{32,}$/);
  assert.notEqual(made.body.place.external_id, place.place.external_id);
  assert.equal(made.body.place.state, 'unregistered');
  assert.equal(made.body.place.principal_arn, 'arn:aws:iam::111111111111:user/freehold');
  const again = await api.call('POST', '/v2/listeners', {
    compute_type: 'ecs',
    compute_id: 'second',
    compute_config: {},
  });
  assert.deepEqual(again.body, {
    detail: `Listener for LangSmith workspace ID '${api.workspaceId}' and compute ID 'second' already exists.`,
  });
  assert.equal(again.status, 409);
  const k8s = await api.call('POST', '/v2/listeners', { compute_type: 'k8s', compute_id: 'x', compute_config: {} });
  assert.equal(k8s.status, 400);
  assert.equal((await api.call('POST', `/v2/listeners/${made.body.id}/verify`)).status, 400, 'nothing to verify yet');
  const early = await api.call('POST', '/v2/deployments', body({ source_config: { listener_id: made.body.id } }));
  assert.match(early.body.detail, /has no place yet/);

  const wrong = await api.call('PATCH', `/v2/listeners/${made.body.id}`, { compute_config: { place: { version: 1 } } });
  assert.equal(wrong.status, 422);
  assert.deepEqual(wrong.body.detail[0].loc.slice(0, 3), ['body', 'compute_config', 'place']);
  for (const [field, value] of Object.entries({
    accountId: '1234',
    region: 'us-east-1.evil.example/',
    partition: 'aws/',
    prefix: 'ends-',
  })) {
    const given = { compute_config: { place: { ...outputs(), [field]: value } } };
    const { status, body } = await api.call('PATCH', `/v2/listeners/${made.body.id}`, given);
    assert.deepEqual([status, body.detail[0].loc.at(-1)], [422, field]);
  }

  cloud.closed = 'wrong external id';
  const patch = { compute_config: { place: outputs('555000000002') } };
  const bad = await api.call('PATCH', `/v2/listeners/${made.body.id}`, patch);
  assert.deepEqual(
    [bad.status, bad.body.place.state, bad.body.place.message],
    [200, 'unverified', 'wrong external id'],
  );
  const mine = body({ source_config: { listener_id: made.body.id } });
  const untrusted = await api.call('POST', '/v2/deployments', mine);
  assert.equal(untrusted.status, 400);
  assert.match(untrusted.body.detail, /failed the check "role": wrong external id; .*POST .*verify/);
  cloud.closed = null;
  assert.equal((await api.call('POST', '/v2/deployments', mine)).status, 400, 'not before it is verified');
  const good = await api.call('POST', `/v2/listeners/${made.body.id}/verify`);
  assert.deepEqual([good.body.place.state, good.body.place.message], ['verified', null]);
  assert(good.body.place.verified_at);

  const several = await api.call('POST', '/v2/deployments', body({ source_config: {} }));
  assert.equal(several.status, 400);
  assert.match(several.body.detail, /listener_id' is required/);
  const list = await api.call('GET', '/v2/listeners?limit=1');
  assert.deepEqual([list.body.resources.length, list.body.offset], [1, 1]);

  assert.equal((await api.call('DELETE', `/v2/listeners/${made.body.id}`)).status, 204);
  assert.equal((await api.call('GET', `/v2/listeners/${made.body.id}`)).status, 404);
  const only = await create({ source_config: {} });
  assert.equal(only.source_config.listener_id, place.id, "the workspace's only place");
  const used = await api.call('DELETE', `/v2/listeners/${place.id}`);
  assert.equal(used.status, 409);
  const now = place.compute_config.place;
  const network = ['accountId', 'region', 'partition', 'prefix', 'vpcId', 'namespaceId', 'databaseSubnetGroup'];
  for (const field of [...network, 'clusterArn', 'loadBalancerArn', 'listenerArn', 'logGroupRoot']) {
    const other: Json = { accountId: '555000000009', region: 'eu-west-1', partition: 'aws-cn', prefix: 'other' };
    const value = other[field] ?? `${now[field]}x`;
    const given = { compute_config: { place: { ...now, [field]: value } } };
    const moved = await api.call('PATCH', `/v2/listeners/${place.id}`, given);
    assert.equal(moved.status, 400, field);
    assert.match(moved.body.detail, new RegExp(`used by deployments: its ${field} `));
  }
  const role = { ...now, roleArn: `${now.roleArn}-2` };
  const changed = await api.call('PATCH', `/v2/listeners/${place.id}`, { compute_config: { place: role } });
  assert.deepEqual([changed.status, changed.body.place.state], [200, 'verified']);
});

test('a character that PostgreSQL cannot hold', async () => {
  const made = await create();
  const patched = await api.call('PATCH', `/v2/deployments/${made.id}`, { display_name: 'a\u0000b' });
  assert.equal(patched.status, 422);
  assert.equal((await api.call('GET', '/v2/deployments?name_contains=%00')).status, 422);
});

test('requests have ids, in the answer and in the log', async () => {
  const { headers } = await api.call('GET', '/v2/deployments', undefined, { 'X-Request-Id': 'mine-1' });
  assert.equal(headers.get('x-request-id'), 'mine-1');
  assert(api.logged.some((line) => line.includes('"requestId":"mine-1"')));
  assert((await api.call('GET', '/ok')).headers.get('x-request-id'));
});
