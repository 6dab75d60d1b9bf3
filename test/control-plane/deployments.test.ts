/** Deployments over the wire: made of every source, listed, deleted, moved to other tiers. No worker runs. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { api as apiOf } from '../../services/control-plane/api/app.ts';
import { deployment, openControlPlane, type ControlPlane, type Json } from './open.ts';
import { outputs, type SimulatedCloud } from './simulated.ts';
import { countDeployments, countQueries } from './volume.ts';

let api: ControlPlane;
let cloud: SimulatedCloud;
let place: Json;

before(async () => {
  api = await openControlPlane();
  cloud = api.cloud;
  place = await api.place();
});
after(() => api.close());

const create = (more: Json = {}): Promise<Json> => api.create(more);

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

const refused: [why: string, more: Json, status: number, detail: RegExp][] = [
  ['a repository as the source', { source: 'github' }, 400, /no GitHub integration is configured/],
  ['a template as the source', { source: 'internal_template' }, 400, /there are no templates/],
  [
    'an agent instead of a name',
    { name: undefined, agent: { agent_id: 'a', environment: 'staging' } },
    400,
    /give the deployment a name/,
  ],
  [
    'an archive before the deployment that it is for',
    { source: 'internal_source', source_revision_config: { source_tarball_path: 'x', langgraph_config_path: 'y' } },
    400,
    /create it with an empty source_revision_config/,
  ],
  ['an image to build', { source: 'internal_source' }, 400, /image_uri does not apply to source "internal_source"/],
  [
    'a URL that is ours to give',
    { source: 'internal_docker', source_config: { custom_url: 'https://x' } },
    400,
    /custom_url cannot be set/,
  ],
  [
    'build commands for an image',
    { source_config: { install_command: 'npm ci' } },
    400,
    /install_command does not apply to source "external_docker"$/,
  ],
  ['an unknown source', { source: 'ftp' }, 422, /source/],
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
    const before = await countDeployments(api.db);
    const answer = await api.call('POST', '/v2/deployments', deployment(more));
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    const text =
      typeof answer.body.detail === 'string'
        ? answer.body.detail
        : JSON.stringify(answer.body.detail).replaceAll('\\"', '"');
    assert.match(text, detail);
    if (status === 422) for (const { loc, msg, type } of answer.body.detail) assert(loc[0] === 'body' && msg && type);
    assert.equal(await countDeployments(api.db), before);
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
  for (const all of ['remote_reconciled=true', 'deployment_type=prod', 'deployment_ids='])
    assert.equal((await listed(`name_contains=listed-&${all}`)).resources.length, 3, all);
  const none = ['agent_id=x', 'agent_environment=staging', 'image_version=1', 'tag_value_ids=x', 'deployment_type=dev'];
  for (const nobodyHas of [...none, 'remote_reconciled=false'])
    assert.equal((await listed(`name_contains=listed-&${nobodyHas}`)).resources.length, 0, nobodyHas);
  const ids = all.resources.slice(0, 2).map((one: Json) => one.id);
  assert.deepEqual(
    (await listed(`deployment_ids=${ids.join(',')}`)).resources.map((one: Json) => one.id),
    ids,
  );
});

test('names are unique in a workspace', async () => {
  const { name } = await create();
  const again = await api.call('POST', '/v2/deployments', deployment({ name }));
  assert.equal(again.status, 409);
  assert.match(again.body.detail, new RegExp(name));
  const twins = await Promise.all(
    [1, 2, 3].map(() => api.call('POST', '/v2/deployments', deployment({ name: 'twin' }))),
  );
  assert.deepEqual(twins.map((one) => one.status).sort(), [201, 409, 409]);
});

/** Sends it, and answers the deployment as it is then. */
async function change(method: string, path: string, given?: Json): Promise<Json> {
  const { status, body } = await api.call(method, path, given);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}
async function refuses(method: string, path: string, given: Json, status: number, detail: RegExp): Promise<void> {
  const answer = await api.call(method, path, given);
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  assert.match(JSON.stringify(answer.body.detail).replaceAll('\\"', '"'), detail);
}

for (const source of ['internal_docker', 'internal_source'])
  test(`${source}: made with nothing to run, and what was given is kept for the first revision`, async () => {
    cloud.secrets.set('theirs', 'arn:aws:secretsmanager:us-east-1:555000000001:secret:theirs-AbCdEf');
    const isBuilt = source === 'internal_source';
    const made = await create({
      source,
      source_config: {
        deployment_type: 'dev',
        resource_spec: { memory_mb: 4096 },
        ...(isBuilt ? { install_command: 'pnpm i', build_command: 'pnpm build' } : {}),
      },
      source_revision_config: {},
      secrets: [{ name: 'A', value: '1' }],
      secret_references: [{ name: 'B', secret_name: 'theirs', secret_key: 'b' }],
    });
    assert.deepEqual(
      [made.latest_revision_id, made.active_revision_id, made.status, made.source],
      [null, null, 'AWAITING_DATABASE', source],
    );
    assert.equal((await api.call('GET', `/v2/deployments/${made.id}/revisions`)).body.resources.length, 0);
    const { memory_mb, cpu } = made.source_config.resource_spec;
    assert.deepEqual([memory_mb, cpu, made.source_config.install_command], [4096, 1, isBuilt ? 'pnpm i' : null]);
    assert.deepEqual(made.secret_names, ['A']);
    assert.deepEqual(made.secret_references, [{ name: 'B', secret_name: 'theirs', secret_key: 'b' }]);

    const more = await change('PATCH', `/v2/deployments/${made.id}`, {
      secrets: [{ name: 'A' }, { name: 'C', value: '3' }],
    });
    assert.deepEqual([more.latest_revision_id, more.secret_names], [null, ['A', 'C']], 'still nothing to run');
    await refuses(
      'POST',
      `/v2/deployments/${made.id}/revisions`,
      {},
      400,
      /(image_uri|source_tarball_path) is required/,
    );

    const path = `uploads/${made.id}/1.tar.gz`;
    cloud.archives.add(path);
    const content = isBuilt
      ? { source_tarball_path: path, langgraph_config_path: 'apps/a/langgraph.json' }
      : { image_uri: 'repo/agent:1' };
    const now = await change('PATCH', `/v2/deployments/${made.id}`, {
      revision_source: source,
      source_revision_config: content,
      secrets: [],
      tracked_packages: ['google-adk:>=1.2, <2'],
    });
    assert(now.latest_revision_id);
    assert.deepEqual(now.secret_names, ['A', 'C']);
    assert.deepEqual(now.secret_references, made.secret_references);
    assert.equal(now.source_config.resource_spec.memory_mb, 4096);
    assert.deepEqual(now.source_config.build_command, isBuilt ? 'pnpm build' : null);
    assert.deepEqual({ ...now.source_revision_config, ...content }, now.source_revision_config);
    assert.deepEqual(now.source_revision_config.tracked_packages, ['google-adk:>=1.2, <2']);
    const { body: first } = await api.call('GET', `/v2/deployments/${made.id}/revisions/${now.latest_revision_id}`);
    assert.deepEqual(
      [first.number, first.source, first.status, first.image],
      [1, source, 'CREATING', isBuilt ? null : 'repo/agent@sha256:1'],
    );
  });

test('internal_docker with an image: a revision at once', async () => {
  const made = await create({ source: 'internal_docker' });
  assert(made.latest_revision_id);
  assert.equal(made.source_revision_config.image_uri, 'repo/agent:1');
});

test('what means nothing on ECS is taken, shown, and stays', async () => {
  const source_config = { resource_spec: {}, listener_id: place.id, listener_config: { k8s_namespace: 'agents' } };
  const made = await create({ source_config, display_name: 'ignored here' });
  assert.deepEqual([made.source_config.listener_config, made.display_name], [{ k8s_namespace: 'agents' }, null]);
  const path = `/v2/deployments/${made.id}`;
  assert.deepEqual(
    (await change('PATCH', path, { source_config: { ...source_config, resource_spec: null } })).source_config,
    made.source_config,
  );
  const other = { source_config: { listener_config: { k8s_namespace: 'other' } } };
  await refuses('PATCH', path, other, 400, /k8s_namespace cannot be changed: it is "agents"/);
  assert.equal((await create()).source_config.listener_config, null);
});

test('resource tiers: a revision of another size, another class of database', async () => {
  const made = await create({
    source_config: { deployment_type: 'dev', resource_spec: { max_scale: 3, cpu_limit: 4 } },
    secrets: [{ name: 'A', value: '1' }],
  });
  const path = `/v2/deployments/${made.id}/resource-tiers`;
  const larger = await change('PATCH', path, { compute_tier: 'DEDICATED_M', database_tier: null });
  assert.notEqual(larger.latest_revision_id, made.latest_revision_id);
  const { cpu, memory_mb, max_scale, cpu_limit } = larger.source_config.resource_spec;
  assert.deepEqual([cpu, memory_mb, max_scale, cpu_limit, larger.secret_names], [2, 4096, 3, 4, ['A']]);
  assert.equal(larger.database_tier, null);
  const database = await change('PATCH', path, { compute_tier: 'DEDICATED_M', database_tier: 'DEDICATED_L' });
  assert.equal(database.database_tier, 'DEDICATED_L');
  assert.notEqual(database.latest_revision_id, larger.latest_revision_id, 'its tasks may take more connections');
  assert.deepEqual(await change('PATCH', path, { database_tier: 'DEDICATED_L' }), database, 'nothing new, no revision');
  const both = await change('PATCH', path, { compute_tier: 'DEDICATED_S', database_tier: 'DEDICATED_S' });
  assert.equal(both.database_tier, 'DEDICATED_S');
  assert.equal(both.source_config.resource_spec.memory_mb, 2048);
  for (const nothing of [{}, { compute_tier: null, database_tier: null }, { compute_tier: 'HUGE' }])
    await refuses('PATCH', path, nothing, 422, /compute_tier/);
  const zero = /^"Scale to zero deployments are not supported in AWS environments"$/;
  await refuses('PATCH', path, { compute_tier: 'SERVERLESS_S' }, 400, zero);
  await refuses('PATCH', path, { database_tier: 'SERVERLESS_L' }, 400, zero);
  const theirs = await create({ secrets: [{ name: 'POSTGRES_URI_CUSTOM', value: 'postgresql://u:p@db:5432/x' }] });
  const own = `/v2/deployments/${theirs.id}/resource-tiers`;
  await refuses('PATCH', own, { database_tier: 'DEDICATED_S' }, 400, /the customer's own/);
});

test("deployment tier: dev becomes prod with production's defaults, and never dev again", async () => {
  const made = await create({ source_config: { deployment_type: 'dev', resource_spec: { memory_mb: 3072 } } });
  const path = `/v2/deployments/${made.id}/deployment-tier`;
  const same = await change('PATCH', path, { deployment_type: 'dev' });
  assert.deepEqual(same, made);
  const prod = await change('PATCH', path, { deployment_type: 'prod' });
  assert.equal(prod.source_config.deployment_type, 'prod');
  assert.notEqual(prod.latest_revision_id, made.latest_revision_id);
  const { cpu, memory_mb, max_scale } = prod.source_config.resource_spec;
  assert.deepEqual([cpu, memory_mb, max_scale], [2, 3072, 10]);
  assert.deepEqual(await change('PATCH', path, { deployment_tier: 'prod' }), prod);
  await refuses('PATCH', path, { deployment_type: 'dev' }, 400, /backups .* off: make another deployment/);
  await refuses('PATCH', path, { deployment_type: 'dev_zero' }, 400, /Scale to zero/);
  await refuses('PATCH', path, {}, 422, /deployment_type/);
});

test('no deployment is free of charge', async () => {
  assert.deepEqual(await change('GET', '/v2/deployments/free-count'), { count: 0 });
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
  const made = await create({ secrets: [{ name: 'A', value: '1' }] });
  const early = await api.call('DELETE', `/v2/deployments/${made.id}?force=true`);
  assert.equal(early.status, 400);
  await api.call('DELETE', `/v2/deployments/${made.id}`);
  assert.equal((await api.call('DELETE', `/v2/deployments/${made.id}?force=True`)).status, 204, 'as Python writes it');
  assert.equal((await api.call('GET', `/v2/deployments/${made.id}`)).status, 404);
  const { body: receipt } = await api.call('GET', `/v2/deployments/${made.id}/receipt`);
  assert.deepEqual(
    receipt.notes,
    [`perhaps left in the account by a forced delete: thing ${made.name}/environment`],
    'also what a request made and no look has seen',
  );
});

test('by itself, only a production deployment that has served can be undeleted; a request may ask for any', async () => {
  const { db, looks, cloud, log, digestKey, key } = api;
  const options = { db, looks, cloud, log, digestKey, principalArn: null, agentAuth: { type: 'noop' } as const };
  const app = apiOf({ ...options, retentionHours: 24 });
  const status = async (of: Json, query = ''): Promise<[number, string]> => {
    const headers = { 'X-Api-Key': key };
    const { status } = await app.request(`/v2/deployments/${of.id}${query}`, { method: 'DELETE', headers });
    return [status, (await api.call('GET', `/v2/deployments/${of.id}`)).body.status];
  };
  const served = async (made: Json): Promise<Json> => {
    await sql`
      insert into deployment_statuses (deployment_id, status, active_revision_id)
      values (${made.id}, 'READY', ${made.latest_revision_id})`.execute(db);
    return made;
  };
  const dev = { source_config: { deployment_type: 'dev' } };
  assert.deepEqual(await status(await create()), [204, 'AWAITING_DELETE'], 'it never served');
  assert.deepEqual(await status(await served(await create(dev))), [204, 'AWAITING_DELETE']);
  assert.deepEqual(await status(await create(dev), '?retention_hours=2'), [204, 'AWAITING_FINAL_DELETE']);
  const made = await served(await create());
  assert.deepEqual(await status(made), [204, 'AWAITING_FINAL_DELETE']);
  for (const [filter, found] of [
    ['AWAITING_FINAL_DELETE', 1],
    ['AWAITING_DELETE', 0],
    ['READY', 0],
  ]) {
    const { body } = await api.call('GET', `/v2/deployments?deployment_ids=${made.id}&status=${filter}`);
    assert.equal(body.resources.length, found, String(filter));
  }
  assert.deepEqual(await status(made, '?retention_hours=721'), [422, 'AWAITING_FINAL_DELETE']);
  assert.deepEqual(await status(made, '?retention_hours=0'), [204, 'AWAITING_DELETE']);
  assert.deepEqual(await status(made, '?retention_hours=5'), [204, 'AWAITING_DELETE'], 'what has begun is not stopped');
  const late = await api.call('POST', `/v2/deployments/${made.id}/undelete`);
  const receipt = `GET /v2/deployments/${made.id}/receipt has all that stays.`;
  const until = (await api.call('GET', `/v2/deployments/${made.id}`)).body.final_delete_at.slice(0, 19);
  const over = `Deployment ID ${made.id} cannot be undeleted: that could be done until ${until}Z; `;
  assert.deepEqual([late.status, late.body.detail], [409, `${over}${receipt}`]);
  await sql`
    insert into resources (deployment_id, id, kind, inputs, needs, state, message, generation, since, tries, outputs)
    values (${made.id}, 'database', 'rds-postgres', '{"name": "db"}', '{}', 'ready', '', '1', now(), 0,
      '{"finalSnapshot": "db-final-1"}')`.execute(db);
  const known = await api.call('POST', `/v2/deployments/${made.id}/undelete`);
  assert.equal(known.body.detail, `${over}its database ends in the final snapshot "db-final-1", and ${receipt}`);
  const there = await create();
  assert.equal((await api.call('POST', `/v2/deployments/${there.id}/undelete`)).status, 200, 'nothing to do');
  const [small, now, old] = [await served(await create(dev)), await served(await create()), await create()];
  await status(small);
  await status(now, '?retention_hours=0');
  // As of a release that could not undo deletes.
  await status(old);
  await sql`update deployments set final_delete_at = null where id = ${old.id}`.execute(db);
  for (const { id } of [small, now, old]) {
    const never = await api.call('POST', `/v2/deployments/${id}/undelete`);
    const why = `Deployment ID ${id} is being deleted and cannot be undeleted; GET /v2/deployments/${id}/receipt`;
    assert.deepEqual([never.status, never.body.detail], [409, `${why} has all that stays.`]);
  }
});

test('deletes at once: all, some, none', async () => {
  const [one, two, three] = [await create(), await create(), await create()];
  const [unknown, other] = [randomUUID(), randomUUID()];
  const remove = (...ids: string[]) =>
    api.call('DELETE', `/v2/deployments?${ids.map((id) => `deployment_ids=${id}`).join('&')}`);
  const all = await remove(one.id, two.id, one.id);
  assert.deepEqual([all.status, all.body], [200, { deleted: [one.id, two.id], failed: [] }]);
  const some = await remove(unknown, three.id);
  const notFound = (id: string): string => `Deployment ID ${id} not found.`;
  assert.deepEqual(
    [some.status, some.body],
    [207, { deleted: [three.id], failed: [{ deployment_id: unknown, detail: notFound(unknown) }] }],
  );
  for (const { id } of [one, two, three])
    assert.equal((await api.call('GET', `/v2/deployments/${id}`)).body.status, 'AWAITING_DELETE');
  const none = await remove(unknown, other);
  assert.deepEqual([none.status, none.body.detail], [404, `${notFound(unknown)} ${notFound(other)}`]);
  assert.equal((await remove()).status, 422);
  assert.equal((await remove('nonsense')).status, 422);
  assert.equal((await remove(...Array.from({ length: 101 }, () => randomUUID()))).status, 422);
});

test('what is being deleted is listed as such, and refuses changes without an invitation to try again', async () => {
  const made = await create();
  await api.call('DELETE', `/v2/deployments/${made.id}`);
  const { body } = await api.call('GET', `/v2/deployments?status=AWAITING_DELETE&deployment_ids=${made.id}`);
  assert.equal(body.resources[0].id, made.id);
  const path = `/v2/deployments/${made.id}`;
  for (const [method, of, given] of [
    ['PATCH', '', { display_name: 'x' }],
    ['PATCH', '/resource-tiers', { database_tier: 'DEDICATED_S' }],
    ['PATCH', '/deployment-tier', { deployment_type: 'prod' }],
    ['POST', '/revisions', {}],
    ['POST', `/revisions/${made.latest_revision_id}/redeploy`],
    ['POST', `/revisions/${made.latest_revision_id}/interrupt`],
  ] as const) {
    const answer = await api.call(method, `${path}${of}`, given);
    assert.deepEqual([answer.status, answer.body.detail], [409, `Deployment ID ${made.id} is being deleted.`], of);
    assert.equal(answer.headers.get('x-should-retry'), 'false');
  }
});

test('a list costs the same queries however many it shows', async () => {
  const sent = countQueries();
  const once = async (path: string): Promise<number> => {
    const before = sent();
    assert.equal((await api.call('GET', path)).status, 200);
    return sent() - before;
  };
  // What is done in the background meanwhile, such as counting what AWS limits, only adds to it.
  const cost = async (path: string): Promise<number> => {
    const each: number[] = [];
    for (let n = 0; n < 5; n += 1) each.push(await once(path));
    return Math.min(...each);
  };
  const made = await create();
  await cost('/v2/deployments?limit=1'); // what is written down once a minute of the key
  const one = await cost('/v2/deployments?limit=1');
  assert.equal(await cost('/v2/deployments?limit=100'), one);
  assert.equal(await cost(`/v2/deployments/${made.id}`), one);
  assert(one <= 4, String(one));
});
