/** Looks, passes, verdicts: through the real queue and worker, over a real PostgreSQL and a simulated cloud. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { sql } from 'kysely';
import { Looks } from '../../services/control-plane/store/looks.ts';
import { begin, startRevision } from '../../services/control-plane/store/observed.ts';
import { retainedVersions, targetOf } from '../../services/control-plane/target.ts';
import { prove } from '../../services/control-plane/prove.ts';
import { carryOut } from '../../services/control-plane/worker.ts';
import { eventually } from '../support/eventually.ts';
import { openControlPlane, type ControlPlane, type Json } from './open.ts';
import type { SimulatedCloud } from './simulated.ts';
import { fillRevisions } from './volume.ts';

let api: ControlPlane;
let cloud: SimulatedCloud;

beforeEach(async () => {
  api = await openControlPlane();
  cloud = api.cloud;
  await api.place();
});
afterEach(() => api.close());

const image = (n: number): { source_revision_config: { image_uri: string } } => {
  cloud.images.set(`repo/agent:${n}`, `repo/agent@sha256:${n}`);
  return { source_revision_config: { image_uri: `repo/agent:${n}` } };
};

async function create(name = 'agent', more: object = {}): Promise<Json> {
  const { status, body } = await api.call('POST', '/v2/deployments', {
    name,
    source: 'external_docker',
    source_config: { deployment_type: 'dev' },
    secrets: [],
    ...image(1),
    ...more,
  });
  assert.equal(status, 201, JSON.stringify(body));
  return body;
}

const deployment = async (id: string): Promise<Json> => (await api.call('GET', `/v2/deployments/${id}`)).body;
const revision = async (id: string, revisionId: string): Promise<Json> =>
  (await api.call('GET', `/v2/deployments/${id}/revisions/${revisionId}`)).body;
const becomes = (id: string, revisionId: string, status: string): Promise<Json> =>
  eventually(
    `revision becomes ${status}`,
    async () => {
      const now = await revision(id, revisionId);
      if (now.status !== status) throw new Error(`${now.status}: ${now.status_message}`);
      return now;
    },
    { seconds: 15 },
  );
const patch = async (id: string, body: object): Promise<string> => {
  const answer = await api.call('PATCH', `/v2/deployments/${id}`, body);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body.latest_revision_id;
};

test('a deployment is made step by step, and its statuses say so', async () => {
  cloud.seconds = 0.5;
  const made = await create();
  assert.equal(made.status, 'AWAITING_DATABASE');
  assert.equal((await revision(made.id, made.latest_revision_id)).status, 'CREATING');
  await api.startWorker();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  const now = await deployment(made.id);
  assert.equal(now.status, 'READY');
  assert.equal(now.status_message, null);
  assert.equal(now.active_revision_id, made.latest_revision_id);

  const { body } = await api.call('GET', `/v2/deployments/${made.id}/timeline`);
  assert.deepEqual(
    body.resources.map((resource: Json) => [resource.id, resource.state, resource.name, resource.arn]),
    ['database', 'task-r1', 'service'].map((id) => [id, 'ready', `agent/${id}`, `arn:sim:agent/${id}`]),
  );
  const events = body.events.filter((event: Json) => event.message === 'create' || event.resource === null);
  assert.deepEqual(
    events.map((event: Json) => [event.resource, event.message]),
    [
      ['database', 'create'],
      ['task-r1', 'create'],
      ['service', 'create'],
      [null, 'DEPLOYED'],
    ],
  );
  const page = await api.call('GET', `/v2/deployments/${made.id}/timeline?limit=2`);
  const rest = await api.call('GET', `/v2/deployments/${made.id}/timeline?after=${page.body.next_after}`);
  assert.deepEqual([...page.body.events, ...rest.body.events], body.events);
});

test('a rollout that fails: its verdict stands, the last good revision serves again, the next one works', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  cloud.crashes.set('repo/agent@sha256:2', 'exit code 3: boom');
  const bad = await patch(made.id, image(2));
  const failed = await becomes(made.id, bad, 'DEPLOY_FAILED');
  assert.equal(failed.status_message, 'service: exit code 3: boom');
  await eventually('the old revision is rolled out again', () => cloud.things.get('agent/service')?.what.endsWith('1'));
  const now = await eventually('the deployment says so', async () => {
    const seen = await deployment(made.id);
    return seen.status_message && seen;
  });
  assert.equal(now.status, 'READY');
  assert.equal(now.active_revision_id, made.latest_revision_id);
  assert.match(now.status_message, /revision 2 DEPLOY_FAILED: .*boom; revision 1 serves/);
  assert.equal(await eventually('its definition is removed', () => !cloud.things.has('agent/task-r2')), true);
  assert.equal((await revision(made.id, bad)).status, 'DEPLOY_FAILED');

  const good = await patch(made.id, image(3));
  await becomes(made.id, good, 'DEPLOYED');
  assert.equal((await revision(made.id, made.latest_revision_id)).status, 'DEPLOYED');
  assert.equal((await deployment(made.id)).active_revision_id, good);
});

test('the first revision fails: it is observed, nothing else serves, a new one mends it', async () => {
  await api.startWorker({ sweepSeconds: 0.3 });
  cloud.crashes.set('repo/agent@sha256:1', 'boom');
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOY_FAILED');
  const now = await deployment(made.id);
  assert.equal(now.active_revision_id, null);
  assert.match(now.status_message, /no revision serves/);
  cloud.things.delete('agent/task-r1');
  const acts = [...cloud.acts];
  const from = cloud.specs.length;
  await eventually('it is looked at again', () => cloud.specs.length > from + 1);
  assert.deepEqual(cloud.acts, acts, 'nothing is made for a revision that has failed');
  await becomes(made.id, await patch(made.id, image(2)), 'DEPLOYED');
});

test('newer revisions end older ones: interrupted when it had begun, skipped when not', async () => {
  cloud.seconds = 3600;
  const made = await create();
  await api.startWorker();
  await eventually('the first has begun', () => cloud.things.has('agent/database'));
  let holding = true;
  cloud.onObserve = () => eventually('released', () => !holding).then(() => {});
  const second = await patch(made.id, image(2));
  await eventually('the second look runs', async () => cloud.specs.length >= 2);
  const third = await patch(made.id, image(3));
  const fourth = await patch(made.id, image(4));
  cloud.onObserve = () => Promise.resolve();
  holding = false;
  await eventually('the fourth is carried out', () => cloud.specs.at(-1)?.revision.number === 4);
  cloud.seconds = 0;
  for (const thing of cloud.things.values()) thing.readyAt = 0;
  await becomes(made.id, fourth, 'DEPLOYED');
  const first = await revision(made.id, made.latest_revision_id);
  assert.equal(first.status, 'INTERRUPTED');
  assert.match(first.status_message, /superseded by revision \d/);
  assert.equal((await revision(made.id, second)).status, 'INTERRUPTED');
  assert.equal((await revision(made.id, third)).status, 'SKIPPED');
});

async function interrupt(id: string, revisionId: string): Promise<void> {
  const { status, body } = await api.call('POST', `/v2/deployments/${id}/revisions/${revisionId}/interrupt`);
  assert.equal(status, 200, JSON.stringify(body));
}

/** Its rollout neither ends nor fails. */
function neverUp(what: string): void {
  cloud.onObserve = ({ name }) => {
    const thing = cloud.things.get(name);
    if (thing?.what === what) thing.readyAt = Infinity;
    return Promise.resolve();
  };
}
/** Of what a revision runs: creations, changes, removals. */
const rollouts = (): string[] => cloud.acts.filter((act) => act.endsWith('/service'));

test('interrupted on request: the one that serves is gone back to, and nothing else is rolled out', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  neverUp('repo/agent@sha256:2');
  const second = await patch(made.id, image(2));
  await eventually('the second is rolling', () => cloud.things.get('agent/service')?.what === 'repo/agent@sha256:2');
  await interrupt(made.id, second);
  const ended = await becomes(made.id, second, 'INTERRUPTED');
  assert.equal(ended.status_message, 'interrupted on request');
  await eventually('the first runs', () => cloud.things.get('agent/service')?.what === 'repo/agent@sha256:1');
  const now = await eventually('it says so', async () => {
    const seen = await deployment(made.id);
    return seen.status_message === 'revision 2 INTERRUPTED: interrupted on request; revision 1 serves' && seen;
  });
  assert.deepEqual([now.status, now.active_revision_id], ['READY', made.latest_revision_id]);
  await eventually('what the second made is gone', () => !cloud.things.has('agent/task-r2'));
  assert.deepEqual(rollouts(), ['create agent/service', 'change agent/service', 'change agent/service']);
  const third = await patch(made.id, image(3));
  await becomes(made.id, third, 'DEPLOYED');
  assert.equal((await revision(made.id, second)).status, 'INTERRUPTED', 'a verdict stands');
});

test('interrupted with none serving: whatever ran of it is removed, the data stays, and the next one works', async () => {
  await api.startWorker();
  neverUp('repo/agent@sha256:1');
  const made = await create();
  await eventually('it is rolling', () => cloud.things.has('agent/service'));
  await interrupt(made.id, made.latest_revision_id);
  await becomes(made.id, made.latest_revision_id, 'INTERRUPTED');
  await eventually('nothing of it runs', () => [...cloud.things.keys()].join() === 'agent/database');
  const now = await deployment(made.id);
  assert.deepEqual([now.status, now.active_revision_id], ['UNUSED', null]);
  assert.match(now.status_message, /^revision 1 INTERRUPTED: interrupted on request; no revision serves yet$/);
  assert.deepEqual(rollouts(), ['create agent/service', 'remove agent/service']);
  await becomes(made.id, await patch(made.id, image(2)), 'DEPLOYED');
  assert.equal(cloud.acts.filter((act) => act === 'create agent/database').length, 1);
});

test('interrupted before it began, and while the place cannot be entered: never SKIPPED, never carried out', async () => {
  const made = await create();
  const second = await patch(made.id, image(2));
  await interrupt(made.id, second);
  cloud.closed = 'the role is gone';
  await api.startWorker();
  await becomes(made.id, second, 'INTERRUPTED');
  const first = await eventually('the first says what it waits for', async () => {
    const now = await revision(made.id, made.latest_revision_id);
    return now.status_message !== null && now;
  });
  assert.deepEqual([first.status, first.status_message], ['CREATING', 'the role is gone']);
  cloud.closed = null;
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  assert.deepEqual(
    cloud.specs.map((spec) => spec.revision.number).filter((number) => number === 2),
    [],
  );
});

for (const [which, n, wanted] of [
  ['deployed', 1, ['SKIPPED', 'INTERRUPTED']],
  ['superseded', 0, ['INTERRUPTED', 'DEPLOYED']],
] as const)
  test(`interrupted while the look that would call it ${which} is under way: as was answered`, async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    let isHeld = false;
    cloud.onObserve = async ({ name }) => {
      if (name !== 'agent/service' || isHeld || !cloud.things.has(name)) return;
      isHeld = true;
      await held;
    };
    const made = await create();
    const both = [made.latest_revision_id, await patch(made.id, image(2))];
    await api.startWorker();
    await eventually('the second is about to be found ready, and the first superseded', () => isHeld);
    await interrupt(made.id, both[n]);
    release();
    const ended = await eventually('both have ended', async () => {
      const statuses = await Promise.all(both.map(async (id) => (await revision(made.id, id)).status));
      return statuses.every((status) => /^(DEPLOYED|SKIPPED|INTERRUPTED)$/.test(status)) && statuses;
    });
    assert.deepEqual(ended, wanted);
    await eventually('what runs is what was deployed', async () => {
      const active = (await deployment(made.id)).active_revision_id;
      return cloud.things.has('agent/service') === (active !== null);
    });
  });

test('interrupted before it began: a pass that was paused until then does not begin it', async () => {
  const made = await create();
  const second = await patch(made.id, image(2));
  await interrupt(made.id, second);
  cloud.closed = 'the role is gone';
  await api.startWorker();
  await becomes(made.id, second, 'INTERRUPTED');
  await startRevision(api.db, made.id, second);
  assert.equal(targetOf((await begin(api.db, made.id))!)?.id, made.latest_revision_id);
});

const createEmpty = (source: string, secrets: Json[] = []): Promise<Json> =>
  create('agent', { source, source_revision_config: {}, secrets });

/** Names an archive that was uploaded; all else is as in the newest one. */
function toBeBuilt(id: string): Promise<string> {
  const source_tarball_path = `uploads/${id}/source.tar.gz`;
  cloud.archives.add(source_tarball_path);
  const source_revision_config = { source_tarball_path, langgraph_config_path: 'langgraph.json' };
  return patch(id, { revision_source: 'internal_source', source_revision_config });
}

test('without a revision: what takes long is made at once, and the first one finds it ready', async () => {
  cloud.seconds = 0.5;
  const made = await createEmpty('external_docker', [{ name: 'A', value: '1' }]);
  await api.startWorker();
  const making = await eventually('the database is being made', async () => {
    const now = await deployment(made.id);
    return now.status_message !== null && now;
  });
  assert.deepEqual(
    [making.status, making.status_message],
    ['AWAITING_DATABASE', 'database: being made: usually an hour'],
  );
  const unused = await eventually('it is ready', async () => {
    const now = await deployment(made.id);
    return now.status === 'UNUSED' && now;
  });
  assert.match(unused.status_message, /^no revision yet: what takes long is ready: push an image/);
  assert.deepEqual(cloud.acts, ['create agent/database']);
  const { body: timeline } = await api.call('GET', `/v2/deployments/${made.id}/timeline`);
  assert.deepEqual(
    timeline.events.map((event: Json) => [event.revision_id, event.resource, event.message]),
    ['create', 'ready'].map((message) => [null, 'database', message]),
  );
  const none = await api.call('POST', `/v2/deployments/${made.id}/revisions`, {});
  assert.deepEqual([none.status, /image_uri is required/.test(none.body.detail)], [400, true]);
  await becomes(made.id, await patch(made.id, image(1)), 'DEPLOYED');
  assert.deepEqual(cloud.acts, ['create agent/database', 'create agent/task-r1', 'create agent/service']);
});

test('a deployment that never had a revision is removed with all that was made for it', async () => {
  const made = await createEmpty('internal_docker', [{ name: 'A', value: '1' }]);
  await api.startWorker();
  await eventually('it is ready', async () => (await deployment(made.id)).status === 'UNUSED');
  await api.call('DELETE', `/v2/deployments/${made.id}`);
  await eventually('it is gone', async () => (await api.call('GET', `/v2/deployments/${made.id}`)).status === 404);
  assert.deepEqual([...cloud.things.keys()], []);
});

test('what the next revision inherits is not swept: of the create, of the newest one whatever became of it', async () => {
  const made = await createEmpty('internal_docker', [{ name: 'A', value: '1' }]);
  const [version] = cloud.written.keys();
  assert.deepEqual(retainedVersions((await begin(api.db, made.id))!), [version]);
  const first = await patch(made.id, { ...image(1), secrets: [{ name: 'A', value: '2' }] });
  await interrupt(made.id, first);
  await api.startWorker();
  await becomes(made.id, first, 'INTERRUPTED');
  assert.deepEqual(retainedVersions((await begin(api.db, made.id))!), [[...cloud.written.keys()][1]]);
});

test('a revision that is to be built ends BUILD_FAILED, and whatever serves or is on its way goes on', async () => {
  const made = await createEmpty('internal_docker');
  const first = await patch(made.id, image(1));
  await toBeBuilt(made.id);
  await api.startWorker();
  await becomes(made.id, first, 'DEPLOYED');
  const acts = [...cloud.acts];
  const third = await toBeBuilt(made.id);
  const ended = await becomes(made.id, third, 'BUILD_FAILED');
  assert.match(
    ended.status_message,
    /not available yet: build the image, push it .* PATCH source_revision_config.image_uri/,
  );
  // The look that gives the verdict says so at its end.
  const now = await eventually('it says so', async () => {
    const shown = await deployment(made.id);
    return /^revision 3 BUILD_FAILED: .*; revision 1 serves$/.test(shown.status_message) && shown;
  });
  assert.equal(now.status, 'READY');
  assert.equal(now.active_revision_id, first);
  assert.deepEqual(cloud.acts, acts);
});

test('the only revision is to be built: the foundation is laid all the same', async () => {
  const made = await createEmpty('internal_source');
  assert.equal(made.latest_revision_id, null);
  await api.startWorker();
  await becomes(made.id, await toBeBuilt(made.id), 'BUILD_FAILED');
  await eventually('it is ready, and says so', async () => {
    const shown = await deployment(made.id);
    return (
      shown.status === 'UNUSED' && /^revision 1 BUILD_FAILED: .*; no revision serves yet$/.test(shown.status_message)
    );
  });
  assert.deepEqual(cloud.acts, ['create agent/database']);
});

test('delete: users before the used, a search that must find nothing, then 404 and a receipt', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  cloud.leftovers = ['arn:sim:forgotten'];
  assert.equal((await api.call('DELETE', `/v2/deployments/${made.id}`)).status, 204);
  const leaving = await deployment(made.id);
  assert.equal(leaving.status, 'AWAITING_DELETE');
  assert.equal((await api.call('PATCH', `/v2/deployments/${made.id}`, image(2))).status, 409);
  await eventually('what is left is named', async () =>
    /arn:sim:forgotten/.test((await deployment(made.id)).status_message),
  );
  const taken = await api.call('POST', '/v2/deployments', { ...(await body('agent')) });
  assert.equal(taken.status, 409, 'its name is free only when it is gone');

  cloud.leftovers = [];
  await api.call('DELETE', `/v2/deployments/${made.id}`); // again: looks at once
  await eventually('it is gone', async () => (await api.call('GET', `/v2/deployments/${made.id}`)).status === 404);
  assert.deepEqual(
    cloud.acts.filter((act) => act.startsWith('remove')),
    ['remove agent/service', 'remove agent/task-r1', 'remove agent/database'],
  );
  const { body: shown } = await api.call('GET', `/v2/deployments/${made.id}/receipt`);
  assert.deepEqual(
    [shown.name, shown.place.account_id, shown.notes, shown.monthly_usd],
    ['agent', '555000000001', [], 0],
  );
  assert.deepEqual(
    shown.kept.map(({ what, arn, monthly_usd }: Json) => [what, arn, monthly_usd]),
    [['a secret in its recovery window', 'arn:sim:secret', 0]],
  );
  assert.deepEqual([shown.search.left, shown.search.calls, shown.search.found], [[], ['sim:Search'], 1]);
  assert.deepEqual(
    shown.made.map(({ id, kind, name, arn }: Json) => ({ id, kind, name, arn })),
    ['database', 'task-r1', 'service'].map((id) => ({
      id,
      kind: 'thing',
      name: `agent/${id}`,
      arn: `arn:sim:agent/${id}`,
    })),
  );
  const times = shown.made.map((one: Json) => one.gone_at);
  assert.deepEqual(times.toSorted(), times.toReversed(), 'the last made went first');
  assert(shown.began_at <= times.at(-1) && times[0] <= shown.gone_at, JSON.stringify(shown));
  const { body: listed } = await api.call('GET', '/v2/receipts?gone=true&limit=1');
  assert.deepEqual(listed.resources, [shown]);
  assert.deepEqual((await api.call('GET', '/v2/receipts?gone=false')).body.resources, []);
  for (const table of ['resources', 'events', 'revisions', 'revision_statuses', 'deployment_statuses'] as const)
    assert.deepEqual(await api.db.selectFrom(table).selectAll().execute(), [], table);
  await create('agent');
});

test('a delete before the pass that would have seen the secret: it is removed all the same', async () => {
  const early = await create('early', { secrets: [{ name: 'A', value: '1' }] });
  assert(cloud.things.has('early/environment'));
  await api.call('DELETE', `/v2/deployments/${early.id}`);
  assert.equal((await api.call('GET', `/v2/deployments/${early.id}/receipt`)).status, 404);
  const late = await create('late');
  await api.startWorker();
  await becomes(late.id, late.latest_revision_id, 'DEPLOYED');
  await cloud.writeEnvironment({} as never, { name: 'late' }, { A: '1' }, () => Promise.resolve()); // and then its request died
  await api.call('DELETE', `/v2/deployments/${late.id}`);
  for (const { id } of [early, late])
    await eventually('it is gone', async () => (await api.call('GET', `/v2/deployments/${id}`)).status === 404);
  assert.deepEqual([...cloud.things.keys()], []);
});

test('a request that outlives its deployment writes nothing into the account, where nobody would remove it', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  let isWriting = false;
  cloud.onObserve = async ({ what }) => {
    if (what !== 'secret' || isWriting) return;
    isWriting = true;
    await api.call('DELETE', `/v2/deployments/${made.id}`);
    await eventually('it is gone', async () => (await api.call('GET', `/v2/deployments/${made.id}`)).status === 404);
  };
  const secrets = [{ name: 'A', value: '1' }];
  const patched = await api.call('PATCH', `/v2/deployments/${made.id}`, { secrets });
  assert.equal(patched.status, 409, JSON.stringify(patched.body));
  assert.deepEqual([...cloud.things.keys()], []);
});

test('a search for leftovers that fails is a state with its cause, and is made again', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  const denied = 'User: x is not authorized to perform: tag:GetResources';
  cloud.searching = () => Promise.reject(Object.assign(new Error(denied), { name: 'AccessDeniedException' }));
  await api.call('DELETE', `/v2/deployments/${made.id}`);
  const waiting = await eventually('it is named', async () => {
    const now = await deployment(made.id);
    return /tag:GetResources/.test(now.status_message ?? '') && now;
  });
  assert.equal(waiting.status, 'AWAITING_DELETE');
  const { body: timeline } = await api.call('GET', `/v2/deployments/${made.id}/timeline`);
  assert(!timeline.events.some((event: Json) => event.resource === 'environment'), 'there never was one');
  const { body: receipt } = await api.call('GET', `/v2/deployments/${made.id}/receipt`);
  assert.deepEqual([receipt.made.length, receipt.gone_at], [3, null]);
  cloud.searching = () => Promise.resolve();
  await api.call('DELETE', `/v2/deployments/${made.id}`);
  await eventually('it is gone', async () => (await api.call('GET', `/v2/deployments/${made.id}`)).status === 404);
});

test('a search that found something left is made again as soon as the polls allow', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  cloud.leftovers = ['arn:sim:seen-late'];
  await api.call('DELETE', `/v2/deployments/${made.id}`);
  await eventually('what is left is named', async () =>
    /arn:sim:seen-late/.test((await deployment(made.id)).status_message),
  );
  cloud.leftovers = [];
  await eventually('it is gone', async () => (await api.call('GET', `/v2/deployments/${made.id}`)).status === 404, {
    seconds: 5,
  });
});

test('a forced delete of what cannot be removed: its receipt names what is left', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  cloud.closed = 'the role is gone';
  await api.call('DELETE', `/v2/deployments/${made.id}`);
  await eventually('the removal has begun', async () => {
    const { status, body: begun } = await api.call('GET', `/v2/deployments/${made.id}/receipt`);
    return status === 200 && begun.gone_at === null;
  });
  assert.equal((await api.call('DELETE', `/v2/deployments/${made.id}?force=true`)).status, 204);
  const { body: receipt } = await api.call('GET', `/v2/deployments/${made.id}/receipt`);
  assert.equal(receipt.made.length, 3);
  assert(receipt.gone_at);
  assert(receipt.notes.includes('left in the account by a forced delete: thing arn:sim:agent/service'), receipt.notes);
});

test('a delete that can be undone: servers go at once, data stays, and comes back whole; at its end all goes', async () => {
  await api.startWorker();
  const made = await create('agent', { secrets: [{ name: 'A', value: '1' }] });
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  const path = `/v2/deployments/${made.id}`;
  const before = await deployment(made.id);
  const everything = [...cloud.things.keys()].toSorted();
  const data = ['agent/database', 'agent/environment'];

  assert.equal((await api.call('DELETE', `${path}?retention_hours=1`)).status, 204);
  assert.equal((await deployment(made.id)).status, 'AWAITING_FINAL_DELETE', 'at once');
  await eventually('only what holds data is left', () => String([...cloud.things.keys()].toSorted()) === String(data));
  const deleted = await eventually('it says until when', async () => {
    const now = await deployment(made.id);
    return /^deleted: until \S+Z an undelete brings it back/.test(now.status_message ?? '') && now;
  });
  assert(Math.abs(Date.parse(deleted.final_delete_at) - Date.now() - 3_600_000) < 60_000, deleted.final_delete_at);
  await api.call('DELETE', path);
  assert.equal((await deployment(made.id)).final_delete_at, deleted.final_delete_at, 'asking twice is asking once');
  const refused = await api.call('PATCH', path, image(2));
  assert.equal(refused.status, 409);
  assert.match(refused.body.detail, new RegExp(`is deleted: until \\S+Z POST ${path}/undelete brings it back; `));
  assert.equal(
    (await api.call('POST', '/v2/deployments', { ...(await body('agent')) })).status,
    409,
    'its name is taken',
  );
  const { body: begun } = await api.call('GET', `${path}/receipt`);
  assert.deepEqual(
    [begun.gone_at, begun.made.filter((one: Json) => one.gone_at !== null).map((one: Json) => one.id)],
    [null, ['task-r1', 'service']],
  );

  const back = await api.call('POST', `${path}/undelete`);
  assert.deepEqual([back.status, back.body.status, back.body.final_delete_at], [200, 'READY', null]);
  await eventually('all is there again', () => String([...cloud.things.keys()].toSorted()) === String(everything));
  const again = await eventually('and said to be', async () => {
    const now = await deployment(made.id);
    return now.status_message === null && now;
  });
  assert.deepEqual(
    { ...again, updated_at: null },
    { ...before, updated_at: null },
    'the same revision, address and all',
  );
  assert.equal(cloud.acts.filter((act) => act === 'create agent/database').length, 1);
  assert.equal((await api.call('GET', `${path}/receipt`)).status, 404, 'what was undone has no receipt');

  await api.call('DELETE', `${path}?retention_hours=0.0003`);
  await eventually('it goes by itself', async () => (await api.call('GET', path)).status === 404);
  assert.deepEqual([...cloud.things.keys()], []);
  assert.equal((await api.call('POST', `${path}/undelete`)).status, 404);
});

test('a place that is left: all goes, nothing new comes in, and its account is searched', async () => {
  await api.startWorker();
  const [kept, gone] = [await create('kept'), await create('gone')];
  for (const one of [kept, gone]) await becomes(one.id, one.latest_revision_id, 'DEPLOYED');
  await api.call('DELETE', `/v2/deployments/${kept.id}?retention_hours=1`);
  const path = `/v2/listeners/${kept.source_config.listener_id}`;
  const offboard = (more: object) => api.call('POST', `${path}/offboard`, { skip_retention: false, ...more });
  const state = async (): Promise<Json> => (await api.call('GET', `${path}/offboard`)).body;
  assert.equal((await api.call('GET', `${path}/offboard`)).status, 404);
  assert.equal((await offboard({ confirm: 'produktion' })).status, 400);

  const { body: begun } = await offboard({ confirm: 'production' });
  assert.deepEqual([begun.state, begun.deployments.length], ['REMOVING', 2]);
  const waits = await eventually('one is left', async () => {
    const now = await state();
    return now.gone === 1 && now;
  });
  assert.deepEqual(
    waits.waiting.map((one: Json) => [one.name, one.status, one.is_stuck]),
    [['kept', 'AWAITING_FINAL_DELETE', false]],
  );
  for (const refused of [
    await api.call('POST', '/v2/deployments', await body('new')),
    await api.call('POST', `/v2/deployments/${kept.id}/undelete`),
  ]) {
    assert.equal(refused.status, 409);
    assert.match(refused.body.detail, /is being offboarded: DELETE \S+\/offboard calls that off/);
  }
  assert.equal((await api.call('DELETE', path)).status, 409);

  cloud.closed = 'the role is gone';
  await offboard({ confirm: 'production', skip_retention: true });
  const stuck = await eventually('it is said to be stuck', async () =>
    (await state()).waiting.find((one: Json) => one.is_stuck),
  );
  assert.deepEqual([stuck.name, stuck.status_message], ['kept', 'the role is gone']);
  cloud.closed = null;
  cloud.leftovers = ['arn:sim:forgotten'];
  await eventually('what is left is named', async () =>
    /arn:sim:forgotten/.test((await state()).waiting[0]?.status_message),
  );
  cloud.leftovers = [];
  const clean = await eventually('the account is clean', async () => {
    await prove({ db: api.db, cloud, log: api.log }); // as upkeep does
    const now = await state();
    return now.state === 'CLEAN' && now;
  });
  assert.deepEqual([clean.gone, clean.waiting, clean.search.left, clean.search.calls], [2, [], [], ['sim:Search']]);
  assert.deepEqual(
    clean.kept.map((one: Json) => one.what),
    ['a secret in its recovery window'],
  );
  assert.match(clean.next[1], /cdk destroy/);
  const { body: receipts } = await api.call('GET', `/v2/receipts?listener_id=${kept.source_config.listener_id}`);
  assert.deepEqual(receipts.resources.map((one: Json) => one.name).toSorted(), ['gone', 'kept']);

  assert.equal((await api.call('DELETE', path)).status, 204);
  assert((await state()).ended_at, 'its receipt outlives it');
  await api.place();
  await create('new');
});

test('an offboarding that is called off: what is left of it can be undeleted, and new deployments come in', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  await api.call('DELETE', `/v2/deployments/${made.id}?retention_hours=1`);
  const path = `/v2/listeners/${made.source_config.listener_id}/offboard`;
  await api.call('POST', path, { confirm: 'production', skip_retention: false });
  assert.equal((await api.call('DELETE', path)).body.state, 'CALLED_OFF');
  assert.equal((await api.call('DELETE', path)).status, 404);
  assert.equal((await api.call('POST', `/v2/deployments/${made.id}/undelete`)).status, 200);
  await create('another');
  await eventually('it serves again', () => cloud.things.has('agent/service'));
});

test('a place where nothing is left is searched at once, and again when something was', async () => {
  const { id } = (await api.call('GET', '/v2/listeners')).body.resources[0];
  const offboard = async (): Promise<Json> =>
    (await api.call('POST', `/v2/listeners/${id}/offboard`, { confirm: 'production', skip_retention: true })).body;
  cloud.leftovers = ['arn:sim:forgotten'];
  const left = await offboard();
  assert.deepEqual([left.state, left.search.left], ['LEFT_OVER', ['arn:sim:forgotten']]);
  cloud.closed = 'the role is gone';
  assert.deepEqual([(await offboard()).state, (await offboard()).failed], ['LEFT_OVER', 'the role is gone']);
  cloud.closed = null;
  cloud.leftovers = [];
  await api.db
    .updateTable('offboardings')
    .set({ search_after: new Date(0) })
    .execute(); // some time later
  await prove({ db: api.db, cloud, log: api.log }); // as upkeep does
  assert.equal((await api.call('GET', `/v2/listeners/${id}/offboard`)).body.state, 'CLEAN');
});

test('events are trimmed to the last two thousand of a deployment', async () => {
  const made = await create();
  await sql`
    insert into events (deployment_id, message) select ${made.id}, 'old ' || n from generate_series(1, 2500) n
  `.execute(api.db);
  await api.startWorker();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  const { n } = await api.db
    .selectFrom('events')
    .select((e) => e.fn.countAll<number>().as('n'))
    .executeTakeFirstOrThrow();
  assert(n >= 2000 && n < 2020, String(n));
});

test('the one that serves and those without a verdict are seen, however many others there are', async () => {
  await api.startWorker();
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  await api.looks.stop(1);
  await fillRevisions(api.db, made.id, 2, 251);
  await sql`
    insert into revision_statuses (revision_id, deployment_id, status, ended_at)
    select id, deployment_id, case when number = 251 then 'DEPLOY_FAILED' else 'SKIPPED' end, now()
    from revisions where deployment_id = ${made.id} and (number = 251 or number between 2 and 120)`.execute(api.db);
  const seen = (await begin(api.db, made.id))!;
  assert.deepEqual(
    seen.revisions.map((one) => one.number),
    [251, ...Array.from({ length: 100 }, (_, i) => 250 - i), 1],
  );
  assert.equal(targetOf(seen)?.id, made.latest_revision_id);
});

const body = (name: string): Json => ({
  name,
  source: 'external_docker',
  source_config: { deployment_type: 'dev' },
  secrets: [],
  ...image(1),
});

test('a place that cannot be entered: UNKNOWN with the cause, no verdict, and it goes on by itself', async () => {
  const made = await create();
  cloud.closed = 'the role is gone';
  await api.startWorker();
  const lost = await eventually('it is unknown', async () => {
    const now = await deployment(made.id);
    return now.status === 'UNKNOWN' && now;
  });
  assert.match(lost.status_message, /the role is gone/);
  assert.equal((await revision(made.id, made.latest_revision_id)).status, 'CREATING');
  cloud.closed = null;
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  assert.equal((await deployment(made.id)).status, 'READY');
});

test('drift is mended by the sweep, and a later one says who it was', async () => {
  await api.startWorker({ sweepSeconds: 0.5 });
  const made = await create();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  // Long after it was made: what is new may not be shown yet.
  await api.db.updateTable('resources').set({ asked_at: null }).execute();
  cloud.things.delete('agent/service');
  await eventually('it is made again', () => cloud.things.has('agent/service'));
  const id = 'arn:aws:iam::555000000001:user/ada';
  cloud.changers.set('agent/service', { id, name: 'ada', call: 'ecs:DeleteService', at: new Date() });
  const drift = await eventually('CloudTrail knows it', async () => {
    const { body } = await api.call('GET', `/v2/deployments/${made.id}/drift`);
    return body.resources.find((one: Json) => one.changed_by !== null);
  });
  assert.deepEqual([drift.resource, drift.changed_by.name], ['service', 'ada']);
  cloud.changers.clear();
});

test('what others change is told with who and when, and left, repaired or not told of, as asked', async () => {
  await api.startWorker({ sweepSeconds: 0.3 });
  const made = await create();
  assert.equal(made.drift_policy, 'repair', 'unless asked otherwise');
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  await api.db.updateTable('resources').set({ asked_at: null }).execute();
  const path = `/v2/deployments/${made.id}`;
  const policy = async (drift_policy: string): Promise<void> => {
    const { status, body } = await api.call('PATCH', path, { drift_policy });
    assert.deepEqual([status, body.latest_revision_id], [200, made.latest_revision_id], 'no revision is made');
  };
  const drifts = async (): Promise<Json[]> => (await api.call('GET', `${path}/drift`)).body.resources;
  const byHand = (): void =>
    void cloud.things.set('agent/service', { ...cloud.things.get('agent/service')!, what: 'by hand' });
  const live = (): string => cloud.things.get('agent/service')!.what;
  const asked = live();
  const at = new Date();
  const bob = { id: 'arn:aws:iam::555000000001:user/bob', name: 'bob', call: 'ecs:UpdateService' };
  cloud.changers.set('agent/service', { ...bob, at });

  await policy('report');
  byHand();
  const drift = await eventually('it is known who did it', async () => {
    const [found] = await drifts();
    return found?.changed_by && found;
  });
  assert.deepEqual(
    [drift.resource, drift.field, drift.from, drift.to, drift.policy, drift.resolved_at],
    ['service', 'what', asked, 'by hand', 'report', null],
  );
  assert.deepEqual(drift.changed_by, { ...bob, at: at.toISOString() });
  assert.match((await deployment(made.id)).status_message, /service: .*found by hand: left as it is/);
  assert.equal(live(), 'by hand');

  await policy('repair');
  const repaired = await eventually('it is repaired', async () => {
    const [found] = await drifts();
    return found.resolved_at !== null && found;
  });
  assert.deepEqual([live(), repaired.resolution], [asked, 'repaired']);
  await eventually('nothing more is said', async () => (await deployment(made.id)).status_message === null);

  await policy('ignore');
  byHand();
  let seen = 0;
  cloud.onObserve = ({ name }) => Promise.resolve(void (seen += name === 'agent/service' ? 1 : 0));
  await eventually('it is looked at again and again', () => seen >= 3);
  assert.deepEqual([live(), (await drifts()).length], ['by hand', 1]);
});

test('another pass has begun: the older one writes nothing more, to the cloud or to the store', async () => {
  cloud.seconds = 0;
  const made = await create();
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let first = true;
  cloud.onObserve = async () => {
    if (!first) return;
    first = false;
    await held;
  };
  const { db, looks, log, digestKey } = api;
  const options = { db, looks, cloud, log, digestKey, concurrency: 1, sweepSeconds: 3600 };
  const look = { deploymentId: made.id, job: '00000000-0000-4000-8000-000000000000' };
  const paused = carryOut(options, look);
  await eventually('the first pass is in the middle', () => !first);
  await carryOut(options, look);
  assert.equal((await revision(made.id, made.latest_revision_id)).status, 'DEPLOYED');
  const acts = [...cloud.acts];
  const before = await api.db.selectFrom('resources').selectAll().orderBy('seq').execute();
  cloud.things.clear(); // the paused pass would make all of it again
  release();
  await paused;
  assert.deepEqual(cloud.acts, acts);
  assert.deepEqual(await api.db.selectFrom('resources').selectAll().orderBy('seq').execute(), before);
  assert.match(api.logged.join(''), /another pass has begun/);
});

test('a look begins with one state of what is asked: a revision and the type that came with it', async () => {
  const made = await create();
  await begin(api.db, made.id);
  const begun = await api.db.transaction().execute(async (tx) => {
    await sql`select from deployment_statuses where deployment_id = ${made.id} for update`.execute(tx);
    const beginning = begin(api.db, made.id);
    await eventually('it waits', async () => {
      const { rows } = await sql<{ waits: boolean }>`
        select exists (select from pg_locks where not granted) as waits`.execute(api.db);
      return rows[0]!.waits;
    });
    const tier = await api.call('PATCH', `/v2/deployments/${made.id}/deployment-tier`, { deployment_type: 'prod' });
    assert.equal(tier.status, 200);
    return { beginning };
  });
  const seen = (await begun.beginning)!;
  assert.deepEqual([seen.revisions[0]?.number, seen.deployment.type], [2, 'prod']);
});

test('secret versions that a revision may need are retained, newest first, and no more than AWS keeps', async () => {
  await api.startWorker();
  const made = await create('agent', { secrets: [{ name: 'A', value: '0' }] });
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  for (let n = 1; n <= 18; n++) {
    const next = await patch(made.id, { secrets: [{ name: 'A', value: String(n) }] });
    await becomes(made.id, next, 'DEPLOYED');
  }
  const versions = [...cloud.written.keys()];
  const spec = cloud.specs.at(-1)!;
  assert.equal(spec.environment[0]?.versionId, versions.at(-1));
  assert.deepEqual(new Set(spec.retainedSecretVersions), new Set(versions.slice(-10)));
});

test('two replicas share the work: each thing is made once, no deployment is worked on twice at a time', async () => {
  const second = await Looks.open(api.db, {
    url: api.url,
    heartbeatSeconds: 10,
    expireSeconds: 60,
    onError: () => {},
  });
  try {
    const busy = new Set<string>();
    const overlaps: string[] = [];
    const workers = { first: 0, second: 0 };
    for (const [who, looks] of [
      ['first', api.looks],
      ['second', second],
    ] as const)
      await looks.work({ atOnce: 4 }, async (look) => {
        workers[who]++;
        if (busy.has(look.deploymentId)) overlaps.push(look.deploymentId);
        busy.add(look.deploymentId);
        const options = {
          db: api.db,
          looks,
          cloud,
          log: api.log,
          digestKey: api.digestKey,
          concurrency: 4,
          sweepSeconds: 3600,
          pollSeconds: 0.1,
        };
        await carryOut(options, look);
        busy.delete(look.deploymentId);
      });
    cloud.seconds = 0.3;
    const made = await Promise.all(Array.from({ length: 20 }, (_, i) => create(`agent-${i}`)));
    for (const one of made) await becomes(one.id, one.latest_revision_id, 'DEPLOYED');
    assert.deepEqual(overlaps, []);
    assert.deepEqual(
      cloud.acts.toSorted(),
      made.flatMap((one) => ['database', 'service', 'task-r1'].map((id) => `create ${one.name}/${id}`)).toSorted(),
    );
    assert(workers.first > 0 && workers.second > 0, JSON.stringify(workers));
  } finally {
    await second.stop(1);
  }
});

test('where the data is cannot change once a revision has served', async () => {
  await api.startWorker();
  const own = { name: 'POSTGRES_URI_CUSTOM', value: 'postgresql://user:pw@theirs:5432/db' };
  const change = (id: string, secrets: Json[]) => api.call('PATCH', `/v2/deployments/${id}`, { secrets });

  const made = await create('made-for-it', { secrets: [{ name: 'A', value: '1' }] });
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  const added = await change(made.id, [own]);
  assert.equal(added.status, 400);
  assert.match(added.body.detail, /POSTGRES_URI_CUSTOM.*cannot be added/);

  const theirs = await create('theirs', { secrets: [own] });
  await becomes(theirs.id, theirs.latest_revision_id, 'DEPLOYED');
  const left = await change(theirs.id, [{ name: 'A', value: '1' }]);
  assert.equal(left.status, 400);
  assert.match(left.body.detail, /POSTGRES_URI_CUSTOM.*cannot be left out/);
  assert.equal((await change(theirs.id, [{ name: own.name }, { name: 'A', value: '1' }])).status, 200);
});

test('where the data is cannot change either when the first revision comes to serve during the request', async () => {
  const made = await create();
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let isWriting = false;
  cloud.onObserve = ({ name }) => {
    if (name !== 'agent/environment') return Promise.resolve();
    isWriting = true;
    return held;
  };
  const secrets = [{ name: 'POSTGRES_URI_CUSTOM', value: 'postgresql://user:pw@theirs:5432/db' }];
  const added = api.call('PATCH', `/v2/deployments/${made.id}`, { secrets });
  await eventually('the values are being written', () => isWriting);
  await api.startWorker();
  await becomes(made.id, made.latest_revision_id, 'DEPLOYED');
  release();
  const { status, body: refused } = await added;
  assert.equal(status, 400);
  assert.match(refused.detail, /POSTGRES_URI_CUSTOM.*cannot be added/);
});
