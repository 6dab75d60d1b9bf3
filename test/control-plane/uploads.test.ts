import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openControlPlane, type ControlPlane, type Json } from './open.ts';

let api: ControlPlane;
let place: Json;
before(async () => {
  api = await openControlPlane();
  place = await api.place();
});
after(() => api.close());

let count = 0;
async function deployment(source: string): Promise<string> {
  const made = await api.call('POST', '/v2/deployments', {
    name: `agent-${++count}`,
    source,
    source_config: {},
    source_revision_config: source === 'external_docker' ? { image_uri: 'repo/agent:1' } : {},
    secrets: [],
  });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  return made.body.id;
}
const ask = (id: string, what: string, body?: unknown, headers?: Record<string, string>) =>
  api.call('POST', `/v2/deployments/${id}/${what}`, body, headers);

test('an upload URL is for one object of this deployment', async () => {
  const id = await deployment('internal_source');
  const { status, body } = await ask(id, 'upload-url', { supports_upload_headers: true });
  assert.equal(status, 200);
  assert.match(body.object_path, new RegExp(`^uploads/${id}/[0-9a-f-]{36}\\.tar\\.gz$`));
  assert.ok(new URL(body.upload_url).pathname.endsWith(body.object_path));
  assert.deepEqual(body.upload_headers, { 'Content-Type': 'application/gzip' });
  assert.notEqual((await ask(id, 'upload-url')).body.object_path, body.object_path);
});

// The Python client sends a body; the JavaScript and the Go client none, with and without a content type.
for (const [how, body, headers] of [
  ['no body', undefined, {}],
  ['no body, and a content type', undefined, { 'Content-Type': 'application/json' }],
  ['an empty object', {}, {}],
  ['a field that is not known', { more: 1 }, {}],
] as const)
  test(`with ${how} both answer what every client reads`, async () => {
    const source = await ask(await deployment('internal_source'), 'upload-url', body, headers);
    assert.deepEqual([source.status, Object.keys(source.body).sort()], [200, ['object_path', 'upload_url']]);
    const image = await ask(await deployment('internal_docker'), 'push-token', body, headers);
    assert.equal(image.status, 200);
    for (const name of ['token', 'registry_url']) assert.ok(image.body[name]);
  });

test('a body that is none is refused', async () => {
  const id = await deployment('internal_docker');
  for (const what of ['upload-url', 'push-token']) {
    assert.equal((await ask(id, what, '{')).status, 422);
    const flag = what === 'push-token' ? 'supports_registry_username' : 'supports_upload_headers';
    assert.equal((await ask(id, what, { [flag]: 'perhaps' })).status, 422);
  }
});

test("a push token is for the deployment's own repository, with ECR's user", async () => {
  const id = await deployment('internal_docker');
  const { body } = await ask(id, 'push-token', { supports_registry_username: true });
  assert.equal(body.username, 'AWS');
  assert.ok(body.repository_url.startsWith(`${body.registry_url}/`));
  assert.ok([...api.cloud.things.values()].some(({ what }) => what === 'repository'));
});

test('a source that has none is told so, in words that clients look for', async () => {
  for (const source of ['internal_source', 'external_docker']) {
    const { status, body } = await ask(await deployment(source), 'push-token');
    assert.equal(status, 400);
    assert.match(body.detail, /only available for 'internal_docker' source deployments/);
  }
  const { status, body } = await ask(await deployment('external_docker'), 'upload-url');
  assert.deepEqual([status, /'internal_source'/.test(body.detail)], [400, true]);
});

test('a stack that was deployed before there was a bucket has to be deployed again', async () => {
  const id = await deployment('internal_source');
  const { place: outputs } = place.compute_config;
  const { uploadBucket: _, ...before } = outputs;
  const register = (one: Json) =>
    api.call('PATCH', `/v2/listeners/${place.id}`, { compute_config: { place: one } }).then(({ status }) => status);
  assert.equal(await register(before), 200);
  const { status, body } = await ask(id, 'upload-url');
  assert.deepEqual([status, body.detail], [400, 'this place has no bucket for uploads']);
  assert.equal(await register(outputs), 200);
  assert.equal((await ask(id, 'upload-url')).status, 200);
});

test('an account that cannot be entered is said, and another id is not found', async () => {
  const id = await deployment('internal_docker');
  api.cloud.closed = 'the role is gone';
  for (const what of ['upload-url', 'push-token']) {
    const { status, body } = await ask(id, what);
    assert.deepEqual([status, body.detail], [502, 'the role is gone']);
    const other = await ask('11111111-1111-4111-8111-111111111111', what);
    assert.equal(other.status, 404);
  }
  api.cloud.closed = null;
});

test('a deployment that is being deleted gets none, and takes its repository with it', async () => {
  const id = await deployment('internal_docker');
  await ask(id, 'push-token');
  const repositories = () => [...api.cloud.things.keys()].filter((name) => name === `agent-${count}/repository`).length;
  assert.equal(repositories(), 1);
  await api.call('DELETE', `/v2/deployments/${id}`);
  for (const what of ['upload-url', 'push-token']) assert.equal((await ask(id, what)).status, 409);
  await api.startWorker();
  for (let tries = 0; repositories() > 0 && tries < 100; tries++) await new Promise((go) => setTimeout(go, 100));
  assert.equal(repositories(), 0);
});
