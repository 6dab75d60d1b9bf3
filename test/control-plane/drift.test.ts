/** What others changed, over the wire: its list, its policy, and the alarm when what they deleted is lost. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { addKey, addWorkspace } from '../../services/control-plane/store/access.ts';
import { addDrifts, endDrifts } from '../../services/control-plane/store/drifts.ts';
import { begin } from '../../services/control-plane/store/observed.ts';
import { eventually } from '../support/eventually.ts';
import { openControlPlane, type Answer, type ControlPlane, type Json } from './open.ts';

let api: ControlPlane;

before(async () => {
  api = await openControlPlane();
  await api.place();
});
after(() => api.close());

const numbers = (count: number): number[] => [...Array(count).keys()];
const read = async (id: string): Promise<Json> => (await api.call('GET', `/v2/deployments/${id}`)).body;
const patch = (id: string, drift_policy: unknown): Promise<Answer> =>
  api.call('PATCH', `/v2/deployments/${id}`, { drift_policy });

test("the list: newest first, in pages, those that are open or not; of a workspace of one's own", async () => {
  const made = await api.create();
  const path = `/v2/deployments/${made.id}/drift`;
  assert.deepEqual((await api.call('GET', path)).body, { resources: [], offset: 0 });
  const { epoch } = (await begin(api.db, made.id))!;
  const generation = made.latest_revision_id as string;
  const tell = (...fields: string[]): Promise<void> =>
    addDrifts(
      api.db,
      { deploymentId: made.id, epoch, generation },
      'report',
      fields.map((field) => ({ resource: field === 'last' ? 'other' : 'service', field, from: { min: 1 }, to: null })),
    );
  await tell(...numbers(5).map((n) => `field-${n}`), 'last');
  await api.db.transaction().execute((tx) => endDrifts(tx, made.id, generation, 'report', ['other']));

  const list = async (query: string): Promise<string[]> => {
    const { status, body } = await api.call('GET', `${path}${query}`);
    assert.equal(status, 200);
    return body.resources.map((one: Json) => one.field);
  };
  assert.deepEqual(await list(''), ['last', 'field-4', 'field-3', 'field-2', 'field-1', 'field-0']);
  const page = await api.call('GET', `${path}?limit=4`);
  assert.equal(page.body.offset, 4);
  assert.deepEqual(await list('?limit=4'), ['last', 'field-4', 'field-3', 'field-2']);
  assert.deepEqual(await list(`?limit=4&offset=${page.body.offset}`), ['field-1', 'field-0']);
  assert.deepEqual(await list('?open=false'), ['last']);
  assert.deepEqual(await list('?open=true&limit=2'), ['field-4', 'field-3']);
  const { body } = await api.call('GET', `${path}?open=true&limit=1`);
  const [{ id: _, detected_at, ...shown }] = body.resources;
  assert(Math.abs(Date.now() - Date.parse(detected_at)) < 60_000, detected_at);
  assert.deepEqual(shown, {
    resource: 'service',
    field: 'field-4',
    from: { min: 1 },
    to: null,
    policy: 'report',
    resolved_at: null,
    resolution: null,
    changed_by: null,
  });
  for (const query of ['?limit=0', '?limit=101', '?offset=-1', '?open=perhaps'])
    assert.equal((await api.call('GET', `${path}${query}`)).status, 422, query);

  const other = await addWorkspace(api.db, 'other');
  await addKey(api.db, other, 'other', 'fh_other_key');
  const theirs = await api.call('GET', path, undefined, { 'X-Api-Key': 'fh_other_key' });
  assert.deepEqual([theirs.status, theirs.body], [404, { detail: `Deployment ID ${made.id} not found.` }]);
});

test('a policy is given in a create or a PATCH, and makes no revision', async () => {
  const made = await api.create();
  assert.equal(made.drift_policy, 'repair');
  assert.equal((await api.create({ drift_policy: 'ignore' })).drift_policy, 'ignore');
  for (const policy of ['report', 'ignore', 'repair']) {
    const { status, body } = await patch(made.id, policy);
    assert.deepEqual([status, body.drift_policy], [200, policy]);
    assert.equal((await read(made.id)).drift_policy, policy);
  }
  await patch(made.id, 'report');
  assert.equal((await patch(made.id, null)).body.drift_policy, 'report', 'null leaves it');
  for (const wrong of ['', 'Repair', 'alarm', 1]) {
    const { status, body } = await patch(made.id, wrong);
    assert.deepEqual([status, body.detail[0].loc], [422, ['body', 'drift_policy']], String(wrong));
  }
  assert.equal((await read(made.id)).drift_policy, 'report');
  const { body } = await api.call('GET', `/v2/deployments/${made.id}/revisions`);
  assert.deepEqual(
    body.resources.map((one: Json) => one.id),
    [made.latest_revision_id],
  );
});

test('a database that was deleted is an alarm, until somebody has restored it; nothing is made in its place', async () => {
  const { cloud } = api;
  Object.assign(cloud.kind, {
    stateful: {
      alarm: 'DATABASE_LOST',
      lost: ({ what }: { what: string }) => (what === 'postgres' ? 'deleted by somebody else: restore it' : undefined),
    },
  });
  cloud.seconds = 0;
  const made = await api.create();
  await api.startWorker({ sweepSeconds: 0.5 });
  await eventually('it is ready', async () => (await read(made.id)).status === 'READY', { seconds: 15 });
  assert.equal((await read(made.id)).alarm, null);
  // Long after it was made: what is new may not be shown yet.
  await api.db.updateTable('resources').set({ asked_at: null }).execute();
  const name = `${made.name}/database`;
  const database = cloud.things.get(name)!;
  const acts = cloud.acts.length;
  const from = Date.now();
  cloud.things.delete(name);
  const lost = await eventually(
    'there is an alarm',
    async () => {
      const now = await read(made.id);
      return now.alarm !== null && now;
    },
    { seconds: 15 },
  );
  const { since, ...alarm } = lost.alarm;
  assert.deepEqual(
    { ...alarm, what_to_do: /restore it/.test(alarm.what_to_do) },
    {
      name: 'DATABASE_LOST',
      resource: 'database',
      what_to_do: true,
    },
  );
  assert(Date.parse(since) >= from - 1000 && Date.parse(since) <= Date.now() + 1000, since);
  assert.equal(lost.status, 'AWAITING_DATABASE');
  const listed = (await api.call('GET', `/v2/deployments?name_contains=${made.name}`)).body.resources;
  assert.deepEqual(listed.find((one: Json) => one.id === made.id).alarm, lost.alarm);
  assert.equal(cloud.things.has(name), false);
  assert.deepEqual(
    cloud.acts.slice(acts).filter((act) => act.includes(name)),
    [],
  );
  cloud.things.set(name, database);
  await eventually('it is over', async () => (await read(made.id)).alarm === null, { seconds: 15 });
  await eventually('and ready', async () => (await read(made.id)).status === 'READY', { seconds: 15 });
});
