/** Revisions over the wire: what makes one, what it inherits, how it is stopped. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { eventually } from '../support/eventually.ts';
import { openControlPlane, type ControlPlane, type Json } from './open.ts';
import type { SimulatedCloud } from './simulated.ts';
import { fillRevisions } from './volume.ts';

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
    [{ revision_source: 'github' }, /no GitHub integration/],
    [{ source_config: { integration_id: randomUUID() } }, /integration_id does not apply/],
    [{ source_config: { build_command: 'make' } }, /build_command does not apply/],
    [{ source_config: { build_on_push: true } }, /build_on_push does not apply/],
    [{ source_revision_config: { source_tarball_path: 'x' } }, /source_tarball_path does not apply/],
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
  const told = await api.call('POST', `/v2/deployments/${made.id}/revisions`, { tracked_packages: ['google-adk:1.2'] });
  assert.deepEqual(told.body.source_revision_config, {
    ...again.body.source_revision_config,
    tracked_packages: ['google-adk:1.2'],
  });
  cloud.images.set('repo/agent:new', 'repo/agent@sha256:8');
  await api.call('PATCH', `/v2/deployments/${made.id}`, {
    source_config: { resource_spec: { cpu: 4 } },
    source_revision_config: { image_uri: 'repo/agent:new' },
    secrets: [{ name: 'B', value: '2' }],
  });
  const back = await api.call('POST', `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}/redeploy`);
  assert.equal(back.status, 200);
  const { body } = await api.call('GET', `/v2/deployments/${made.id}/revisions`);
  const [newest, first] = [body.resources[0], body.resources.at(-1)];
  assert.equal(newest.id, back.body.latest_revision_id);
  for (const field of ['image', 'resource_spec', 'secret_names', 'task_size', 'source_revision_config'])
    assert.deepEqual(newest[field], first[field], field);
  const missing = await api.call('POST', `/v2/deployments/${made.id}/revisions/${randomUUID()}/redeploy`);
  assert.equal(missing.status, 404);
});

test('redeploy goes back to what was deployed; of what failed only the newest is tried again', async () => {
  const made = await create();
  const path = `/v2/deployments/${made.id}/revisions`;
  const made2 = await api.call('POST', path, {});
  const ends = (revisionId: string, status: 'DEPLOYED' | 'DEPLOY_FAILED', message: string | null) =>
    api.db
      .insertInto('revision_statuses')
      .values({ revision_id: revisionId, deployment_id: made.id, status, message, ended_at: new Date() })
      .execute();
  await ends(made.latest_revision_id, 'DEPLOYED', null);
  await ends(made2.body.id, 'DEPLOY_FAILED', 'service: the server crashed');
  assert.equal((await api.call('POST', `${path}/${made2.body.id}/redeploy`)).status, 200, 'the newest, once more');
  const refused = await api.call('POST', `${path}/${made2.body.id}/redeploy`);
  assert.deepEqual(
    [refused.status, refused.body.detail],
    [
      400,
      'revision 2 cannot be redeployed: it never was deployed: DEPLOY_FAILED: service: the server crashed: ' +
        'redeploy one that is DEPLOYED, or PATCH the deployment',
    ],
  );
  assert.equal((await api.call('POST', `${path}/${made.latest_revision_id}/redeploy`)).status, 200);
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
  await fillRevisions(api.db, made.id, 2, 1002);
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

const patched = async (id: string, given: Json): Promise<Json> => {
  const { status, body } = await api.call('PATCH', `/v2/deployments/${id}`, given);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
};
const newest = async (id: string): Promise<Json> =>
  (await api.call('GET', `/v2/deployments/${id}/revisions?limit=1`)).body.resources[0];
const archive = (id: string, n: number): string => {
  const path = `uploads/${id}/${n}.tar.gz`;
  cloud.archives.add(path);
  return path;
};

test('another source for one revision, and what follows is made of it', async () => {
  const made = await create({
    source: 'internal_source',
    source_config: { deployment_type: 'dev' },
    source_revision_config: {},
  });
  const first = archive(made.id, 1);
  await patched(made.id, {
    source_revision_config: { source_tarball_path: first, langgraph_config_path: 'langgraph.json' },
    source_config: { build_command: 'make' },
  });
  const built = await newest(made.id);
  assert.deepEqual([built.number, built.source, built.image], [1, 'internal_source', null]);

  await patched(made.id, { revision_source: 'internal_docker', source_revision_config: { image_uri: 'repo/agent:1' } });
  const pushed = await newest(made.id);
  assert.deepEqual([pushed.source, pushed.source_revision_config.source_tarball_path], ['internal_docker', null]);
  await patched(made.id, { secrets: [{ name: 'A', value: '1' }] });
  const same = await newest(made.id);
  assert.deepEqual([same.number, same.source, same.image], [3, 'internal_docker', pushed.image], 'the same image');

  const back = await api.call('POST', `/v2/deployments/${made.id}/revisions/${built.id}/redeploy`);
  assert.equal(back.status, 200, 'an archive can be built again');
  const again = await newest(made.id);
  assert.deepEqual(again.source_revision_config, built.source_revision_config);
  assert.deepEqual([again.source, again.image, again.secret_names], ['internal_source', null, []]);
  const other = await patched(made.id, { source_revision_config: { langgraph_config_path: 'b/langgraph.json' } });
  assert.deepEqual(
    [other.source_revision_config.source_tarball_path, other.source_config.build_command],
    [first, 'make'],
    'the same archive, by another configuration',
  );

  for (const [given, status, detail] of [
    [{ source_revision_config: { image_uri: 'repo/agent:1' } }, 400, /revision_source "internal_docker" takes it/],
    [{ revision_source: 'internal_docker', secrets: [{ name: 'A', value: '1' }] }, 400, /image_uri is required/],
    [
      { revision_source: 'external_docker', source_revision_config: { image_uri: 'repo/agent:1' } },
      400,
      /does not apply/,
    ],
    [
      { source_revision_config: { source_tarball_path: 'uploads/elsewhere/1.tar.gz' } },
      400,
      /was not uploaded for this/,
    ],
    [{ source_revision_config: { langgraph_config_path: '../langgraph.json' } }, 422, /no path within the archive/],
    [{ source_revision_config: { langgraph_config_path: '/langgraph.json' } }, 422, /no path within the archive/],
    [{ tracked_packages: ['langgraph:1'] }, 422, /google-adk:<version>/],
    [{ source_config: { custom_url: 'https://mine.example' } }, 400, /custom_url cannot be set/],
  ] as const) {
    const answer = await api.call('PATCH', `/v2/deployments/${made.id}`, given);
    assert.equal(answer.status, status, JSON.stringify([given, answer.body]));
    assert.match(JSON.stringify(answer.body.detail).replaceAll('\\"', '"'), detail);
  }
  assert.equal((await newest(made.id)).number, 5);
  cloud.archives.delete(first);
  const gone = await api.call('POST', `/v2/deployments/${made.id}/revisions`, {});
  assert.deepEqual([gone.status, gone.body.detail], [400, `"${first}" was not uploaded for this deployment`]);
});

test('what was read can be sent back: nothing is lost', async () => {
  cloud.secrets.set('theirs', 'arn:aws:secretsmanager:us-east-1:555000000001:secret:theirs-AbCdEf');
  const variables = {
    secrets: [{ name: 'A', value: '1' }],
    secret_references: [{ name: 'B', secret_name: 'theirs', secret_key: '' }],
  };
  const namespace = { listener_config: { k8s_namespace: 'agents' } };
  for (const made of [
    await create({ ...variables, source_config: { resource_spec: { cpu: 1, labels: { team: 'x' } }, ...namespace } }),
    await create({ ...variables, source: 'internal_docker', source_config: { deployment_type: 'dev' } }),
    await create({ ...variables, source: 'internal_source', source_config: {}, source_revision_config: {} }),
  ]) {
    const { latest_revision_id: before, updated_at: _, ...read } = made;
    const { latest_revision_id: after, updated_at: __, ...now } = await patched(made.id, read);
    assert.deepEqual(now, read);
    assert.equal(after === null, before === null);
  }
});

test('an archive needs to be told where its configuration is', async () => {
  const made = await create({ source: 'internal_source', source_config: {}, source_revision_config: {} });
  const given = { source_revision_config: { source_tarball_path: archive(made.id, 1) } };
  const answer = await api.call('PATCH', `/v2/deployments/${made.id}`, given);
  assert.deepEqual(
    [answer.status, answer.body.detail],
    [400, 'source_revision_config.langgraph_config_path is required for source "internal_source"'],
  );
});

test('what a request leaves out comes from the revision before, though its tag has moved since', async () => {
  cloud.images.set('repo/agent:latest', 'repo/agent@sha256:21');
  const made = await create({ source_revision_config: { image_uri: 'repo/agent:latest' } });
  cloud.images.set('repo/agent:latest', 'repo/agent@sha256:22');
  cloud.images.set('repo/agent:kept', 'repo/agent@sha256:21');
  await patched(made.id, { secrets: [{ name: 'A', value: '1' }] });
  const { image, source_revision_config } = await newest(made.id);
  assert.deepEqual([image, source_revision_config.image_uri], ['repo/agent@sha256:21', 'repo/agent:latest']);
  await patched(made.id, { source_revision_config: { image_uri: 'repo/agent:latest' } });
  assert.equal((await newest(made.id)).image, 'repo/agent@sha256:22');
  cloud.images.delete('repo/agent:latest');
  const gone = await api.call('PATCH', `/v2/deployments/${made.id}`, { secrets: [{ name: 'A', value: '2' }] });
  assert.equal(gone.status, 400);
  assert.match(gone.body.detail, /no such image/);
});

test('a list of revisions: by status, by page, newest first', async () => {
  const made = await create();
  for (let i = 0; i < 2; i++) await api.call('POST', `/v2/deployments/${made.id}/revisions`, {});
  const listed = async (query: string): Promise<number[]> => {
    const { body } = await api.call('GET', `/v2/deployments/${made.id}/revisions?${query}`);
    return body.resources.map((one: Json) => one.number);
  };
  assert.deepEqual(await listed('limit=2'), [3, 2]);
  assert.deepEqual(await listed('limit=2&offset=2'), [1]);
  assert.deepEqual(await listed('status=CREATING,DEPLOYED&remote_reconciled=true'), [3, 2, 1]);
  assert.deepEqual(await listed('status=DEPLOYED'), []);
  assert.deepEqual(await listed('remote_reconciled=0'), []);
  assert.equal((await api.call('GET', `/v2/deployments/${made.id}/revisions?remote_reconciled=maybe`)).status, 422);
});

test('interrupt: what has not ended ends as INTERRUPTED; what has ended says how', async () => {
  cloud.seconds = 3600;
  try {
    const made = await create();
    await api.startWorker();
    await eventually('it has begun', () => cloud.things.has(`${made.name}/database`));
    const path = `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}`;
    const asked = await api.call('POST', `${path}/interrupt`);
    assert.deepEqual([asked.status, asked.body.id], [200, made.latest_revision_id]);
    await eventually('it is interrupted', async () => (await api.call('GET', path)).body.status === 'INTERRUPTED');
    const again = await api.call('POST', `${path}/interrupt`);
    assert.deepEqual([again.status, again.body.status], [200, 'INTERRUPTED'], 'asking twice is asking once');

    cloud.seconds = 0;
    for (const thing of cloud.things.values()) thing.readyAt = 0;
    const next = await patched(made.id, { secrets: [{ name: 'A', value: '1' }] });
    const deployed = `/v2/deployments/${made.id}/revisions/${next.latest_revision_id}`;
    await eventually('the next is deployed', async () => (await api.call('GET', deployed)).body.status === 'DEPLOYED');
    const late = await api.call('POST', `${deployed}/interrupt`);
    assert.equal(late.status, 409);
    assert.match(late.body.detail, /has ended as DEPLOYED/);
    assert.equal(late.headers.get('x-should-retry'), 'false');
    const missing = `/v2/deployments/${made.id}/revisions/${randomUUID()}/interrupt`;
    assert.equal((await api.call('POST', missing)).status, 404);
  } finally {
    cloud.seconds = 0;
  }
});

test('many changes at once, while one is carried out: one rollout at a time, and every other ends as what it was', async () => {
  await api.startWorker();
  const made = await create();
  const statuses = async (): Promise<Json[]> =>
    (await api.call('GET', `/v2/deployments/${made.id}/revisions?limit=100`)).body.resources;
  await eventually('the first is deployed', async () => (await statuses())[0].status === 'DEPLOYED');
  cloud.seconds = 0.2;
  const rollouts = new Set<string>();
  let most = 0;
  cloud.onObserve = async ({ name }) => {
    if (!name.startsWith(`${made.name}/task`)) return;
    rollouts.add(name);
    most = Math.max(most, rollouts.size);
    await new Promise((resolve) => setTimeout(resolve, 20));
    rollouts.delete(name);
  };
  try {
    for (let round = 0; round < 3; round++)
      await Promise.all(
        [1, 2, 3, 4].map((n) => patched(made.id, { source_config: { resource_spec: { max_scale: 4 * round + n } } })),
      );
    const ended = await eventually('all have ended', async () => {
      const all = await statuses();
      return all.every((one: Json) => /^(DEPLOYED|SKIPPED|INTERRUPTED)$/.test(one.status)) && all;
    });
    assert.equal(ended.length, 13);
    assert.deepEqual([ended[0].status, ended[12].status], ['DEPLOYED', 'DEPLOYED']);
    assert(ended.slice(1, 12).some((one: Json) => one.status === 'SKIPPED'));
    assert.equal(most, 1);
    const { body: now } = await api.call('GET', `/v2/deployments/${made.id}`);
    assert.deepEqual([now.active_revision_id, now.latest_revision_id], [ended[0].id, ended[0].id]);
  } finally {
    cloud.onObserve = () => Promise.resolve();
    cloud.seconds = 0;
  }
});
