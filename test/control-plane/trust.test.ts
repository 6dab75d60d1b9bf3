/** What the customer holds: the brake, and the trust of their role, through the real queue, worker, API and store. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { sql } from 'kysely';
import { PlaceUnavailable } from '../../services/reconciler/aws/errors.ts';
import { probePlaces, wakeHeld } from '../../services/control-plane/probes.ts';
import { strangersId } from '../../services/control-plane/store/access.ts';
import { eventually } from '../support/eventually.ts';
import { deployment, openControlPlane, type ControlPlane, type Json } from './open.ts';
import { outputs, type SimulatedCloud } from './simulated.ts';

let api: ControlPlane;
let cloud: SimulatedCloud;
beforeEach(async () => {
  api = await openControlPlane();
  cloud = api.cloud;
});
afterEach(() => api.close());

const SINCE = new Date('2026-01-02T03:04:05Z');
const ALICE = 'arn:aws:iam::555000000001:user/alice';
const brake = (mode: 'run' | 'read-only' | 'stopped') => ({ mode, since: SINCE, by: ALICE, trouble: null });
const HELD =
  /held by the customer: (read-only|stopped) since 2026-01-02T03:04:05.000Z by arn:aws:iam::555000000001:user\/alice/;

const get = async (path: string): Promise<Json> => (await api.call('GET', `/v2/${path}`)).body;
const seen = (id: string): Promise<Json> => get(`deployments/${id}`);
const becomes = (made: Json, status: string): Promise<Json> =>
  eventually(
    `revision becomes ${status}`,
    async () => {
      const now = await get(`deployments/${made.id}/revisions/${made.latest_revision_id}`);
      if (now.status !== status) throw new Error(`${now.status}: ${now.status_message}`);
      return now;
    },
    { seconds: 20 },
  );
const says = (id: string, what: RegExp): Promise<Json> =>
  eventually(
    `deployment ${id} says ${what}`,
    async () => {
      const now = await seen(id);
      if (!what.test(now.status_message ?? '')) throw new Error(`${now.status}: ${now.status_message}`);
      return now;
    },
    { seconds: 20 },
  );

/** Its service is changed by somebody else. */
function byHand({ name }: Json): void {
  cloud.things.set(`${name}/service`, { name: `${name}/service`, what: 'by hand', readyAt: 0 });
}
const isByHand = ({ name }: Json): boolean => cloud.things.get(`${name}/service`)!.what === 'by hand';

/** A verified place, in an account of its own. */
async function place(name: string, more: object = {}, account?: string): Promise<string> {
  const given = { compute_type: 'ecs', compute_id: name, compute_config: {} };
  const { id } = (await api.call('POST', '/v2/listeners', given)).body;
  const compute_config = { place: { ...outputs(account), ...more } };
  const { status, body } = await api.call('PATCH', `/v2/listeners/${id}`, { compute_config });
  assert.equal(status, 200, JSON.stringify(body));
  return id;
}
const braked = (): Promise<string> => place('braked', { brakeParameter: '/brake/freehold' });

test('read-only: what is new waits, drift is seen and left, deletes wait; released, all goes on by itself', async () => {
  cloud.brake = brake('run');
  const listener = await braked();
  await api.startWorker({ sweepSeconds: 0.5 });
  const [drifting, deleted] = [await api.create(), await api.create()];
  for (const made of [drifting, deleted]) await becomes(made, 'DEPLOYED');
  const running = await get(`listeners/${listener}`);
  assert.deepEqual([running.place.brake.mode, running.place.brake.waiting], ['run', 0]);

  cloud.brake = brake('read-only');
  const acts = cloud.acts.length;
  byHand(drifting);
  assert.equal((await api.call('DELETE', `/v2/deployments/${deleted.id}`)).status, 204);
  const fresh = await api.create();
  assert.match((await says(drifting.id, HELD)).status, /^READY$/);
  assert.equal((await says(deleted.id, HELD)).status, 'AWAITING_DELETE');
  await says(fresh.id, HELD);
  const revision = await get(`deployments/${fresh.id}/revisions/${fresh.latest_revision_id}`);
  assert.equal(revision.status, 'CREATING');
  assert.match(revision.status_message, HELD);
  assert.deepEqual(cloud.acts.slice(acts), []);
  const { resources } = await get(`deployments/${drifting.id}/timeline`);
  assert.equal(resources.find((one: Json) => one.id === 'service').state, 'waiting');
  const drifts = await sql<{ resource: string }>`
    select resource from drifts where deployment_id = ${drifting.id} and resolved_at is null`.execute(api.db);
  assert.deepEqual(drifts.rows, [{ resource: 'service' }]);

  const { brake: shown } = (await get(`listeners/${listener}`)).place;
  assert.deepEqual(shown, {
    mode: 'read-only',
    since: SINCE.toISOString(),
    by: ALICE,
    message: null,
    parameter: '/brake/freehold',
    waiting: 3,
  });

  cloud.brake = brake('run');
  await becomes(fresh, 'DEPLOYED');
  await eventually('it is as asked again', () => !isByHand(drifting));
  await eventually('it is gone', async () => (await api.call('GET', `/v2/deployments/${deleted.id}`)).status === 404, {
    seconds: 15,
  });
  await eventually('nothing waits', async () => (await get(`listeners/${listener}`)).place.brake.waiting === 0, {
    seconds: 15,
  });
});

test('read-only: requests that write in the account are refused with what to do, and change nothing', async () => {
  cloud.brake = brake('run');
  await braked();
  await api.startWorker();
  const docker = { source: 'internal_docker', source_revision_config: {} };
  const [made, pushed, uploaded] = [
    await api.create(),
    await api.create(docker),
    await api.create({ ...docker, source: 'internal_source' }),
  ];
  await becomes(made, 'DEPLOYED');
  for (const { name } of [pushed, uploaded])
    await eventually('what takes long is there', () => cloud.things.has(`${name}/database`));
  cloud.brake = brake('read-only');
  const [things, count] = [[...cloud.things.keys()].toSorted(), (await get('deployments')).resources.length];
  const secrets = [{ name: 'TOKEN', value: 'x' }];
  for (const [method, path, body] of [
    ['POST', '/v2/deployments', deployment({ secrets })],
    ['PATCH', `/v2/deployments/${made.id}`, { secrets }],
    ['POST', `/v2/deployments/${pushed.id}/push-token`, {}],
    ['POST', `/v2/deployments/${uploaded.id}/upload-url`, {}],
  ] as const) {
    const answer = await api.call(method, path, body);
    assert.equal(answer.status, 409, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    assert.match(answer.body.detail, HELD);
  }
  assert.deepEqual([...cloud.things.keys()].toSorted(), things);
  assert.equal(cloud.written.size, 0);
  assert.equal((await get('deployments')).resources.length, count);
  assert.equal((await seen(made.id)).latest_revision_id, made.latest_revision_id);
});

test('stopped: nothing is looked at, that time is held against nothing, and it goes on by itself', async () => {
  cloud.brake = brake('run');
  const listener = await braked();
  cloud.seconds = 1;
  await api.startWorker({ sweepSeconds: 0.5 });
  const settled = await api.create();
  await becomes(settled, 'DEPLOYED');
  const made = await api.create();
  await eventually('AWS is at work', () => cloud.things.has(`${made.name}/database`));
  cloud.brake = brake('stopped');
  await says(made.id, HELD);
  const long = sql`
    update resources set busy_since = now() - interval '2 hours' where deployment_id = ${made.id} and id = 'database'`;
  await long.execute(api.db);
  let observed = 0;
  cloud.onObserve = async () => void (observed += 1);
  const busy = sql<{ busy: number }>`
    select count(busy_since) as busy from resources where deployment_id = ${made.id}`;
  await eventually('its clock is stopped', async () => (await busy.execute(api.db)).rows[0]!.busy === 0);
  observed = 0;
  assert.equal((await api.call('POST', `/v2/listeners/${listener}/verify`)).status, 409);
  assert.equal((await get(`listeners/${listener}`)).place.state, 'verified');
  assert.equal((await api.call('GET', `/v2/deployment-logs?deployment_id=${settled.id}`)).status, 409);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal(observed, 0);
  assert.equal((await seen(settled.id)).status, 'READY', 'as it was last seen');

  cloud.brake = brake('run');
  await becomes(made, 'DEPLOYED');
});

test('who registers a place again cannot take its brake away', async () => {
  const id = await place('before there was one');
  const register = (more: object) =>
    api.call('PATCH', `/v2/listeners/${id}`, { compute_config: { place: { ...outputs(), ...more } } });
  assert.equal((await register({ brakeParameter: '/brake/freehold' })).status, 200);
  for (const more of [{}, { brakeParameter: '/brake/other' }]) {
    const { status, body } = await register(more);
    assert.equal(status, 400);
    assert.match(body.detail, /the brake of its account \("\/brake\/freehold"\) stays/);
  }
  // Of another place, which nobody is in, it is another one.
  const moved = await register({ brakeParameter: '/brake/other', prefix: 'other' });
  assert.equal(moved.status, 200, JSON.stringify(moved.body));
});

test('what is held sleeps until its brake is released, and is then looked at', async () => {
  cloud.brake = brake('read-only');
  const listener = await braked();
  await api.startWorker({ pollSeconds: 3600 });
  const made = await api.create();
  await says(made.id, HELD);
  let observed = 0;
  cloud.onObserve = async () => void (observed += 1);
  await wakeHeld(api);
  cloud.brake = brake('run');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal(observed, 0, 'a look at what is held');
  assert.equal((await get(`listeners/${listener}`)).place.brake.waiting, 1);
  await wakeHeld(api);
  await eventually('nothing waits', async () => (await get(`listeners/${listener}`)).place.brake.waiting === 0);
  assert(observed > 0);
});

const LOOSE = 'the place is suspended: the role lets us in without an external id';

test('a place whose trust is loosened is suspended, says so, and goes on when it is mended; no other is', async () => {
  const [loose, tight] = [await place('loose', {}, '555000000001'), await place('tight', {}, '555000000002')];
  await api.startWorker({ sweepSeconds: 1 });
  const inPlace = (id: string) => api.create({ source_config: { listener_id: id, resource_spec: {} } });
  const [mine, other] = [await inPlace(loose), await inPlace(tight)];
  for (const made of [mine, other]) await becomes(made, 'DEPLOYED');
  const probed = async () => {
    await sql`update places set probed_at = now() - interval '1 hour'`.execute(api.db);
    await probePlaces(api, 3600);
  };
  await probed();
  assert.equal((await get(`listeners/${loose}`)).place.suspended, null);

  cloud.loose.set('555000000001', LOOSE);
  const entered = cloud.acts.length;
  await probed();
  assert.equal((await get(`listeners/${loose}`)).place.suspended, LOOSE);
  assert.equal((await says(mine.id, /^the place is suspended/)).status, 'UNKNOWN');
  const { events } = await get(`deployments/${mine.id}/timeline`);
  assert.equal(events.filter((event: Json) => event.message === LOOSE).length, 1);
  byHand(mine);
  const refused = await api.call('PATCH', `/v2/deployments/${mine.id}`, {
    source_revision_config: { image_uri: 'repo/agent:1' },
  });
  assert.equal(refused.status, 502);
  assert.equal(refused.body.detail, LOOSE);
  // Nothing is known: it stays as it was.
  const probe = cloud.probe.bind(cloud);
  cloud.probe = () => Promise.reject(new PlaceUnavailable('AWS does not answer', 'arn:sim:role'));
  await probed();
  assert.equal((await get(`listeners/${loose}`)).place.suspended, LOOSE);
  cloud.probe = probe;
  assert.deepEqual(cloud.acts.slice(entered), []);

  assert.equal((await get(`listeners/${tight}`)).place.suspended, null);
  const patched = await api.call('PATCH', `/v2/deployments/${other.id}`, {
    source_revision_config: { image_uri: 'repo/agent:1' },
  });
  await becomes(patched.body, 'DEPLOYED');

  cloud.loose.clear();
  await probed();
  assert.equal((await get(`listeners/${loose}`)).place.suspended, null);
  await eventually('what was changed meanwhile is mended', () => !isByHand(mine), {
    seconds: 15,
  });

  cloud.loose.set('555000000001', LOOSE);
  const verify = async () => (await api.call('POST', `/v2/listeners/${loose}/verify`)).body.place;
  const unverified = await verify();
  assert.deepEqual([unverified.state, unverified.suspended], ['unverified', LOOSE]);
  cloud.loose.clear();
  const verified = await verify();
  assert.deepEqual([verified.state, verified.suspended], ['verified', null]);
});

test('a place that cannot be entered shows it, at once and by its probe', async () => {
  const id = await place('away');
  cloud.closed = 'the account cannot be entered: the role does not exist';
  assert.equal((await get(`listeners/${id}`)).place.unreachable, cloud.closed);
  await sql`update places set probed_at = null`.execute(api.db);
  await probePlaces(api, 3600);
  const listed = async () => (await get('listeners')).resources[0].place;
  assert.deepEqual([(await listed()).unreachable, (await listed()).state], [cloud.closed, 'verified']);
  cloud.closed = null;
  assert.equal((await get(`listeners/${id}`)).place.unreachable, null);
  await sql`update places set probed_at = null`.execute(api.db);
  await probePlaces(api, 3600);
  assert.equal((await listed()).unreachable, null);
});

test('an external id is ours, at random, once, and never what a request says', async () => {
  const given = 'fh-chosen-by-somebody';
  for (const [body, status] of [
    [{ compute_id: 'a', external_id: given, compute_config: { external_id: given } }, 201],
    [{ compute_id: 'b', place: { external_id: given }, compute_config: {} }, 201],
    [{ compute_id: 'c', compute_config: { place: { ...outputs(), externalId: given } } }, 400],
  ] as const) {
    const answer = await api.call('POST', '/v2/listeners', { compute_type: 'ecs', ...body });
    assert.equal(answer.status, status);
    if (status === 400) continue;
    assert.match(answer.body.place.external_id, /^fh-[0-9a-f]{48}$/);
    const { id, place: made } = answer.body;
    const compute_config = { external_id: given, place: { ...outputs(), externalId: given, external_id: given } };
    const patched = await api.call('PATCH', `/v2/listeners/${id}`, { compute_config, place: { external_id: given } });
    if (patched.status === 200) assert.equal(patched.body.place.external_id, made.external_id);
    assert.equal((await get(`listeners/${id}`)).place.external_id, made.external_id);
  }
  await assert.rejects(
    sql`update places set external_id = (select external_id from places order by id limit 1)`.execute(api.db),
    { code: '23505' },
  );
  const stranger = await strangersId(api.db);
  assert.match(stranger, /^fh-[0-9a-f]{48}$/);
  assert.equal(await strangersId(api.db), stranger);
});
