/** The ends of things when two come at the same moment: either goes wholly first. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { sql } from 'kysely';
import { prove } from '../../services/control-plane/prove.ts';
import type { Tx } from '../../services/control-plane/store/database.ts';
import { begin } from '../../services/control-plane/store/observed.ts';
import { eventually } from '../support/eventually.ts';
import { deployment, openControlPlane, type ControlPlane, type Json } from './open.ts';

let api: ControlPlane;
let place: Json;

beforeEach(async () => {
  api = await openControlPlane();
  place = await api.place();
});
afterEach(() => api.close());

/** Holds a deployment as a look does that is about to begin, while `act` is under way. */
const whileHeld = (id: string, act: (tx: Tx) => Promise<void>): Promise<void> =>
  api.db.transaction().execute(async (tx) => {
    await tx.selectFrom('deployments').select('id').where('id', '=', id).forShare().execute();
    await act(tx);
  });

/** Requests of this store that wait for a lock. */
const waiting = (count: number): Promise<boolean> =>
  eventually('they wait', async () => {
    const { rows } = await sql<{ n: number }>`
      select count(*)::int as n from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`.execute(api.db);
    return rows[0]!.n === count;
  });

test('a delete whose time is over is not prolonged by a request that waited for its last look to begin', async () => {
  const { id } = await api.create();
  const path = `/v2/deployments/${id}`;
  await api.call('DELETE', `${path}?retention_hours=0.0005`);
  const end = Date.parse((await api.call('GET', path)).body.final_delete_at);
  let asked: Promise<unknown> | undefined;
  await whileHeld(id, async () => {
    asked = api.call('DELETE', `${path}?retention_hours=1`);
    await eventually('its time is over', () => Date.now() > end + 100);
  });
  await asked;
  assert.equal((await api.call('GET', path)).body.status, 'AWAITING_DELETE');
  assert.equal((await api.call('POST', `${path}/undelete`)).status, 409);
});

test('what was undeleted is not forgotten by a forced delete that was asked for just before', async () => {
  const { id } = await api.create();
  const path = `/v2/deployments/${id}`;
  await api.call('DELETE', `${path}?retention_hours=1`);
  let undone: ReturnType<ControlPlane['call']> | undefined;
  let forced: ReturnType<ControlPlane['call']> | undefined;
  await whileHeld(id, async () => {
    undone = api.call('POST', `${path}/undelete`);
    await waiting(1);
    forced = api.call('DELETE', `${path}?force=true`);
    await waiting(2);
  });
  assert.equal((await undone!).status, 200);
  assert.equal((await forced!).status, 400);
  assert.equal((await api.call('GET', path)).status, 200);
  assert.equal((await api.call('GET', `${path}/receipt`)).status, 404);
});

test('a forced delete that is asked for while a look begins waits for it, and comes to its end', async () => {
  const { id } = await api.create();
  const path = `/v2/deployments/${id}`;
  await api.call('DELETE', `${path}?retention_hours=1`);
  await begin(api.db, id);
  let forced: ReturnType<ControlPlane['call']> | undefined;
  await api.db.transaction().execute(async (tx) => {
    const status = tx.updateTable('deployment_statuses').where('deployment_id', '=', id);
    await status.set({ epoch: sql`epoch + 1` }).execute();
    forced = api.call('DELETE', `${path}?force=true`);
    await waiting(1);
    await tx.selectFrom('deployments').select('id').where('id', '=', id).forShare().execute();
  });
  assert.equal((await forced!).status, 204);
  assert.equal((await api.call('GET', path)).status, 404);
});

test('a create that its place was left during is refused, and what it had made by then goes', async () => {
  await api.startWorker();
  const path = `/v2/listeners/${place.id}/offboard`;
  const confirm = { confirm: place.compute_id, skip_retention: true };
  let began: Json;
  api.cloud.onObserve = async () => {
    if (began !== undefined) return;
    began = null;
    began = (await api.call('POST', path, confirm)).body;
    // As long as a look at what is left of it could take.
    await api.call('GET', path);
    await new Promise((resolve) => setTimeout(resolve, 500));
  };
  const secrets = [{ name: 'A', value: '1' }];
  const refused = await api.call('POST', '/v2/deployments', deployment({ name: 'late', secrets }));
  assert.equal(refused.status, 409, JSON.stringify(refused.body));
  assert.match(refused.body.detail, /is being offboarded/);
  assert.deepEqual([began.state, began.waiting.map((one: Json) => one.name)], ['REMOVING', ['late']]);
  await eventually('the place is clean', async () => {
    await prove({ db: api.db, cloud: api.cloud, log: api.log });
    return (await api.call('GET', path)).body.state === 'CLEAN';
  });
  assert.deepEqual([...api.cloud.things.keys()], []);
});

test('whoever leaves waits for the search of the own account alone', async () => {
  const other = await api.place('other');
  const searched: string[] = [];
  const { remainingIn } = api.cloud;
  api.cloud.remainingIn = (...[where]: Json[]) => {
    searched.push(where.id);
    return remainingIn.call(api.cloud);
  };
  api.cloud.leftovers = ['arn:sim:forgotten'];
  const leave = async ({ id, compute_id: confirm }: Json): Promise<void> => {
    const { body } = await api.call('POST', `/v2/listeners/${id}/offboard`, { confirm, skip_retention: true });
    assert.equal(body.state, 'LEFT_OVER');
    assert.match(
      body.next.join(' '),
      /by itself within five minutes, and at once when the offboarding is asked for again/,
    );
  };
  /** Of what is searched meanwhile, the next search comes so long after. */
  const restsAfter = async (seconds: number, places: readonly Json[], act: () => Promise<unknown>): Promise<void> => {
    const before = Date.now();
    const done = searched.length;
    await act();
    const after = Date.now();
    const ids = places.map(({ id }) => id);
    assert.deepEqual(searched.slice(done).toSorted(), ids.toSorted());
    const rows = await api.db.selectFrom('offboardings').select('search_after').where('place_id', 'in', ids).execute();
    for (const { search_after } of rows) {
      const from = search_after!.getTime() - seconds * 1000;
      assert(from >= before && from <= after, `${seconds} seconds: ${(from - before) / 1000} s off`);
    }
  };
  const upkeep = () => prove({ db: api.db, cloud: api.cloud, log: api.log });
  const due = (at: Date) => api.db.updateTable('offboardings').set({ search_after: at }).execute();

  await restsAfter(15, [place], () => leave(place));
  await restsAfter(15, [other], () => leave(other));
  for (const seconds of [30, 60, 120, 240, 300, 300]) {
    await due(new Date(Date.now() + 3_600_000));
    const done = searched.length;
    await upkeep();
    assert.equal(searched.length, done, 'none is due yet');
    await due(new Date(Date.now()));
    await restsAfter(seconds, [place, other], upkeep);
  }
  await restsAfter(15, [place], () => leave(place));
});
