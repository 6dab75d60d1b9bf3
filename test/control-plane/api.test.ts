/** The wire: shapes, codes and sentences, in-process over a real PostgreSQL. No worker runs: only intent is written. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { problemsPage } from '../../services/control-plane/api/problems.ts';
import { openapi } from '../../services/control-plane/openapi.ts';
import { addKey, addWorkspace } from '../../services/control-plane/store/access.ts';
import { openControlPlane, KEY, type ControlPlane, type Json } from './open.ts';
import { outputs, type SimulatedCloud } from './simulated.ts';

let api: ControlPlane;
let cloud: SimulatedCloud;
let place: Json;

before(async () => {
  api = await openControlPlane();
  cloud = api.cloud;
  place = await api.place();
});
after(() => api.close());

let count = 0;
const body = (more: Json = {}): Json => ({
  name: `agent-${++count}`,
  source: 'external_docker',
  source_config: { resource_spec: {}, listener_id: place.id },
  source_revision_config: { image_uri: 'repo/agent:1' },
  secrets: [],
  ...more,
});

async function create(more: Json = {}): Promise<Json> {
  const answer = await api.call('POST', '/v2/deployments', body(more));
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return answer.body;
}

const rowsOf = async (): Promise<number> =>
  Number(
    (
      await api.db
        .selectFrom('deployments')
        .select((e) => e.fn.countAll().as('n'))
        .executeTakeFirstOrThrow()
    ).n,
  );

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

test('a deployment: every field of the wire, and the same under /api-host', async () => {
  const made = await create({ secrets: [{ name: 'TOKEN', value: 's3cret-value' }] });
  const { body } = await api.call('GET', `/api-host/v2/deployments/${made.id}`);
  assert.deepEqual(body, made);
  assert.equal(made.tenant_id, api.workspaceId);
  assert.equal(made.source_config.deployment_type, 'prod');
  assert.equal(made.source_config.listener_id, place.id);
  assert.equal(made.source_config.custom_url, `http://${outputs().loadBalancerDnsName}/${made.name}`);
  assert.equal(made.url, made.source_config.custom_url);
  assert.equal(made.source_revision_config.image_uri, 'repo/agent:1');
  assert.equal(made.status, 'AWAITING_DATABASE');
  assert.equal(made.active_revision_id, null);
  assert.equal(made.secrets, null);
  assert.deepEqual(made.secret_names, ['TOKEN']);
  assert.deepEqual(made.task_size, { cpu: 2, memory_mb: 2048 });
  const { min_scale, max_scale, cpu, memory_mb, queue_cpu } = made.source_config.resource_spec;
  assert.deepEqual([min_scale, max_scale, cpu, memory_mb, queue_cpu], [1, 10, 2, 2048, null]);

  const revisions = await api.call('GET', `/v2/deployments/${made.id}/revisions?limit=1`);
  assert.equal(revisions.body.resources[0].id, made.latest_revision_id);
  assert.equal(revisions.body.resources[0].status, 'CREATING');
  assert.equal(revisions.body.resources[0].image, 'repo/agent@sha256:1');
});

test('secret values are nowhere: not in the store, not in an answer, not in a log line', async () => {
  const value = `value-${randomUUID()}`;
  const made = await create({ secrets: [{ name: 'TOKEN', value }] });
  await api.call('PATCH', `/v2/deployments/${made.id}`, { secrets: [{ name: 'TOKEN', value: `${value}-2` }] });
  assert(
    [...cloud.written.values()].some((written) => written['TOKEN'] === value),
    'the account has it',
  );
  for (const table of ['deployments', 'revisions', 'resources', 'events', 'deployment_statuses'] as const)
    assert.doesNotMatch(JSON.stringify(await api.db.selectFrom(table).selectAll().execute()), new RegExp(value), table);
  assert.doesNotMatch(api.logged.join(''), new RegExp(value));
  assert.doesNotMatch(JSON.stringify((await api.call('GET', '/v2/deployments?limit=100')).body), new RegExp(value));
});

const refused: [why: string, more: Json, status: number, detail: RegExp][] = [
  ['another source', { source: 'github' }, 400, /source "github" is not supported/],
  ['an unknown source', { source: 'ftp' }, 422, /source/],
  ['no image', { source_revision_config: {} }, 400, /image_uri is required/],
  ['an image that is not there', { source_revision_config: { image_uri: 'repo/none:1' } }, 400, /no such image/],
  ['a name in capitals', { name: 'Agent' }, 422, /lowercase/],
  ['a name with an underscore', { name: 'my_agent' }, 422, /lowercase/],
  ['a long name', { name: 'a'.repeat(51) }, 422, /50/],
  ['no name', { name: undefined }, 422, /Field required/],
  ['no secrets', { secrets: undefined }, 422, /Field required/],
  ['a reserved name', { secrets: [{ name: 'DATABASE_URI', value: 'x' }] }, 422, /"DATABASE_URI" is reserved/],
  ['the port', { secrets: [{ name: 'PORT', value: '1' }] }, 422, /reserved/],
  ['a name that is no variable', { secrets: [{ name: 'A-B', value: 'x' }] }, 422, /not a name/],
  [
    'a name twice',
    {
      secrets: [
        { name: 'A', value: 'x' },
        { name: 'A', value: 'y' },
      ],
    },
    422,
    /given twice/,
  ],
  ['no value to keep', { secrets: [{ name: 'A' }] }, 422, /no value yet/],
  [
    'more variables than a task definition holds',
    { secrets: Array.from({ length: 245 }, (_, i) => ({ name: `VARIABLE_${i}`, value: 'x' })) },
    422,
    /245 variables take \d+ bytes of the task definition/,
  ],
  ['values too large', { secrets: [{ name: 'A', value: 'x'.repeat(70_000) }] }, 422, /larger than 65536/],
  [
    'a secret that is not there',
    { secret_references: [{ name: 'A', secret_name: 'b', secret_key: 'c' }] },
    400,
    /no such secret/,
  ],
  [
    'scale to zero',
    { source_config: { resource_spec: { min_scale: 0 } } },
    400,
    /^Scale to zero deployments are not supported in AWS environments$/,
  ],
  ['a serverless type', { source_config: { deployment_type: 'dev_zero' } }, 400, /^Scale to zero deployments/],
  ['an unknown type', { source_config: { deployment_type: 'huge' } }, 400, /"huge" is not offered/],
  [
    'scales the wrong way',
    { source_config: { resource_spec: { min_scale: 3, max_scale: 2 } } },
    400,
    /below min_scale/,
  ],
  ['more CPU than the API has', { source_config: { resource_spec: { cpu: 9 } } }, 422, /8/],
  ['more CPU than the platform has', { source_config: { resource_spec: { cpu: 8 } } }, 400, /larger than there is/],
  [
    'a sidecar',
    { source_config: { resource_spec: { sidecars: [{ name: 'x' }] } } },
    400,
    /resource_spec.sidecars is not supported/,
  ],
  ['a repository', { source_config: { repo_url: 'https://x' } }, 400, /repo_url does not apply/],
  ['an unknown place', { source_config: { listener_id: randomUUID() } }, 404, /Listener ID .* not found/],
  ['a place that is no id', { source_config: { listener_id: 'x' } }, 422, /listener_id/],
  ['a URL that is none', { source_config: { custom_url: 'nowhere' } }, 422, /not an http/],
];

for (const [why, more, status, detail] of refused)
  test(`refused: ${why}`, async () => {
    const before = await rowsOf();
    const answer = await api.call('POST', '/v2/deployments', body(more));
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    const text =
      typeof answer.body.detail === 'string'
        ? answer.body.detail
        : JSON.stringify(answer.body.detail).replaceAll('\\"', '"');
    assert.match(text, detail);
    if (status === 422) for (const { loc, msg, type } of answer.body.detail) assert(loc[0] === 'body' && msg && type);
    assert.equal(await rowsOf(), before);
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

test('lists: filters, pages, next offsets, unknown parameters', async () => {
  const names = [];
  for (let i = 0; i < 3; i++) names.push((await create({ name: `listed-${i}` })).name);
  const listed = async (query: string): Promise<Json> => (await api.call('GET', `/v2/deployments?${query}`)).body;
  const all = await listed('name_contains=listed-&limit=100&unknown=1');
  assert.deepEqual(all.resources.map((one: Json) => one.name).sort(), names);
  assert.equal(all.offset, 3);
  const first = await listed('name_contains=listed-&limit=2');
  const second = await listed(`name_contains=listed-&limit=2&offset=${first.offset}`);
  assert.deepEqual([first.offset, second.offset], [2, 3]);
  assert.deepEqual([...first.resources, ...second.resources], all.resources);
  assert.deepEqual(
    (await listed('name=listed-1&name_contains=listed-1')).resources.map((one: Json) => one.name),
    ['listed-1'],
  );
  assert.equal((await listed('name=listed-')).resources.length, 0);
  for (const wildcard of ['%25', '_', '%5C'])
    assert.equal((await listed(`name_contains=listed${wildcard}`)).resources.length, 0, 'no wildcards');
  assert((await listed('name_contains=&limit=100')).resources.length >= 3);
  assert.equal((await listed('name_contains=listed-&status=READY')).resources.length, 0);
  assert.equal((await listed('name_contains=listed-&status=AWAITING_DATABASE')).resources.length, 3);
  for (const nobodyHas of ['agent_id=x', 'agent_environment=staging', 'image_version=1', 'tag_value_ids=x'])
    assert.equal((await listed(`name_contains=listed-&${nobodyHas}`)).resources.length, 0, nobodyHas);
  const ids = all.resources.slice(0, 2).map((one: Json) => one.id);
  assert.deepEqual(
    (await listed(`deployment_ids=${ids.join(',')}`)).resources.map((one: Json) => one.id),
    ids,
  );
});

test('names are unique in a workspace', async () => {
  const { name } = await create();
  const again = await api.call('POST', '/v2/deployments', body({ name }));
  assert.equal(again.status, 409);
  assert.match(again.body.detail, new RegExp(name));
  const twins = await Promise.all([1, 2, 3].map(() => api.call('POST', '/v2/deployments', body({ name: 'twin' }))));
  assert.deepEqual(twins.map((one) => one.status).sort(), [201, 409, 409]);
});

test('patch: what makes a revision, what is kept, what is refused', async () => {
  const secrets = [
    { name: 'A', value: '1' },
    { name: 'B', value: '2' },
  ];
  const made = await create({
    secrets,
    source_config: { listener_id: place.id, resource_spec: { cpu: 1, min_scale: 2 } },
  });
  const patch = async (given: Json): Promise<Json> => {
    const answer = await api.call('PATCH', `/v2/deployments/${made.id}`, given);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body;
  };
  const environment = async (): Promise<Record<string, string>> => {
    const rows = await api.db
      .selectFrom('revisions')
      .selectAll()
      .where('deployment_id', '=', made.id)
      .orderBy('number', 'desc')
      .limit(1)
      .execute();
    return Object.fromEntries(
      rows[0]!.environment.map((variable) => [variable.name, cloud.written.get(variable.versionId)![variable.name]!]),
    );
  };
  const same = async (given: Json): Promise<Json> => {
    const now = await patch(given);
    assert.equal(now.latest_revision_id, latest, JSON.stringify(given));
    return now;
  };
  let latest = made.latest_revision_id;

  await same({});
  await same({ source_config: null, source_revision_config: null, secrets: null });
  await same({ secrets: [] });
  await same({ source_revision_config: { image_uri: null } });
  assert.equal((await same({ display_name: 'My agent' })).display_name, 'My agent');
  assert.equal((await same({ source_config: { custom_url: made.url } })).url, made.url);
  assert.equal((await same({ source_config: { custom_url: 'https://mine.example' } })).url, 'https://mine.example');
  assert.equal(
    (await same({ source_config: { listener_id: place.id, deployment_type: 'prod' } })).display_name,
    'My agent',
  );

  const spec = await patch({ source_config: { resource_spec: { memory_mb: 4096 } } });
  assert.notEqual(spec.latest_revision_id, latest);
  const { cpu, memory_mb, min_scale } = spec.source_config.resource_spec;
  assert.deepEqual([cpu, memory_mb, min_scale], [2, 4096, 1], 'the whole object is replaced');
  assert.deepEqual(await environment(), { A: '1', B: '2' });

  cloud.images.set('repo/agent:moved', 'repo/agent@sha256:7');
  const image = await patch({ source_revision_config: { image_uri: 'repo/agent:moved' } });
  assert.equal(image.source_config.resource_spec.memory_mb, 4096, 'what is left out stays');

  const kept = await patch({ secrets: [{ name: 'A' }, { name: 'C', value: '3' }] });
  assert.deepEqual(kept.secret_names, ['A', 'C'], 'the whole list is replaced');
  assert.deepEqual(await environment(), { A: '1', C: '3' });
  latest = kept.latest_revision_id;

  for (const [given, detail] of [
    [{ name: 'other' }, /name cannot be changed/],
    [{ source: 'github' }, /source cannot be changed/],
    [{ revision_source: 'internal_source' }, /does not apply: the deployment's source is "external_docker"/],
    [{ source_config: { deployment_type: 'dev' } }, /deployment_type cannot be changed/],
    [{ source_config: { listener_id: randomUUID() } }, /listener_id cannot be changed/],
    [{ source_revision_config: { repo_ref: 'main' } }, /does not apply/],
    [{ source_revision_config: { image_uri: 'repo/none:1' } }, /no such image/],
  ] as const) {
    const answer = await api.call('PATCH', `/v2/deployments/${made.id}`, given);
    assert.equal(answer.status, 400, JSON.stringify(given));
    assert.match(answer.body.detail, detail);
  }
  assert.equal((await api.call('GET', `/v2/deployments/${made.id}`)).body.latest_revision_id, latest);
});

test('revisions at once: each sees the one before', async () => {
  const made = await create({ secrets: [{ name: 'A', value: '1' }] });
  const answers = await Promise.all(
    Array.from({ length: 5 }, (_, i) =>
      api.call('POST', `/v2/deployments/${made.id}/revisions`, {
        source_config: { resource_spec: { max_scale: i + 1 } },
      }),
    ),
  );
  assert.deepEqual(
    answers.map((one) => one.status),
    [201, 201, 201, 201, 201],
  );
  const { body } = await api.call('GET', `/v2/deployments/${made.id}/revisions`);
  assert.deepEqual(
    body.resources.map((one: Json) => one.number),
    [6, 5, 4, 3, 2, 1],
  );
  assert.equal(body.offset, 6);
  assert(body.resources.every((one: Json) => one.secret_names.join() === 'A'));
});

test('POST revisions always makes one; redeploy makes one like an old one, whole', async () => {
  const made = await create({ secrets: [{ name: 'A', value: '1' }] });
  const again = await api.call('POST', `/v2/deployments/${made.id}/revisions`, {});
  assert.equal(again.status, 201);
  assert.equal(again.body.status, 'CREATING');
  cloud.images.set('repo/agent:new', 'repo/agent@sha256:8');
  await api.call('PATCH', `/v2/deployments/${made.id}`, {
    source_config: { resource_spec: { cpu: 4 } },
    source_revision_config: { image_uri: 'repo/agent:new' },
    secrets: [{ name: 'B', value: '2' }],
  });
  const back = await api.call('POST', `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}/redeploy`);
  assert.equal(back.status, 200);
  const { body } = await api.call('GET', `/v2/deployments/${made.id}/revisions`);
  const [newest, , , first] = body.resources;
  assert.equal(newest.id, back.body.latest_revision_id);
  for (const field of ['image', 'resource_spec', 'secret_names', 'task_size', 'source_revision_config'])
    assert.deepEqual(newest[field], first[field], field);
  const missing = await api.call('POST', `/v2/deployments/${made.id}/revisions/${randomUUID()}/redeploy`);
  assert.equal(missing.status, 404);
});

test('an account that cannot be entered: the request says why and keeps nothing', async () => {
  cloud.closed = 'the role does not trust us';
  try {
    const before = await rowsOf();
    const { status, body: answer } = await api.call('POST', '/v2/deployments', body());
    assert.deepEqual([status, answer], [502, { detail: 'the role does not trust us' }]);
    assert.equal(await rowsOf(), before);
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

test('a delete while a request is under way: the request is refused, and adds nothing', async () => {
  const made = await create();
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let isWriting = false;
  cloud.onObserve = () => {
    isWriting = true;
    return held;
  };
  const { eventually } = await import('../support/eventually.ts');
  try {
    const patched = api.call('PATCH', `/v2/deployments/${made.id}`, { secrets: [{ name: 'A', value: '1' }] });
    await eventually('the values are being written', () => isWriting);
    assert.equal((await api.call('DELETE', `/v2/deployments/${made.id}`)).status, 204);
    release();
    const answer = await patched;
    assert.deepEqual([answer.status, answer.body.detail], [409, `Deployment ID ${made.id} is being deleted.`]);
  } finally {
    release();
    cloud.onObserve = () => Promise.resolve();
  }
  const { body: revisions } = await api.call('GET', `/v2/deployments/${made.id}/revisions`);
  assert.equal(revisions.resources.length, 1);
});

test('a thousand revisions are kept, and whatever has not ended', async () => {
  const made = await create();
  await sql`
    insert into revisions (id, deployment_id, number, source, image_uri, image, resource_spec, resources, environment,
      secret_references, agent_auth)
    select gen_random_uuid(), deployment_id, n, source, image_uri, image, resource_spec, resources, environment,
      secret_references, agent_auth
    from revisions, generate_series(2, 1002) n where deployment_id = ${made.id}`.execute(api.db);
  await sql`
    insert into revision_statuses (revision_id, deployment_id, status, ended_at)
    select id, deployment_id, 'SKIPPED', now() from revisions where deployment_id = ${made.id} and number > 1
  `.execute(api.db);
  assert.equal((await api.call('POST', `/v2/deployments/${made.id}/revisions`, {})).status, 201);
  const numbers = (
    await api.db
      .selectFrom('revisions')
      .select('number')
      .where('deployment_id', '=', made.id)
      .orderBy('number')
      .execute()
  ).map((row) => row.number);
  assert.deepEqual([numbers.length, ...numbers.slice(0, 2), numbers.at(-1)], [1001, 1, 4, 1003]);
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

test('delete: 204, then AWAITING_DELETE', async () => {
  const made = await create();
  for (let i = 0; i < 2; i++) {
    const gone = await api.call('DELETE', `/v2/deployments/${made.id}`);
    assert.deepEqual([gone.status, gone.body], [204, null]);
  }
  assert.equal((await api.call('DELETE', `/v2/deployments/${randomUUID()}`)).status, 404);
});

test('a forced delete: only after a first one, then it is forgotten', async () => {
  const made = await create();
  const early = await api.call('DELETE', `/v2/deployments/${made.id}?force=true`);
  assert.equal(early.status, 400);
  await api.call('DELETE', `/v2/deployments/${made.id}`);
  assert.equal((await api.call('DELETE', `/v2/deployments/${made.id}?force=true`)).status, 204);
  assert.equal((await api.call('GET', `/v2/deployments/${made.id}`)).status, 404);
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
