/** The store by itself: what an older pass may not write, and what is kept how long. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { Superseded, newRow } from '../../services/reconciler/pass.ts';
import {
  begin,
  holdEpoch,
  prune,
  requireEpoch,
  rowsOf,
  setDeploymentStatus,
} from '../../services/control-plane/store/observed.ts';
import { openDatabase as connect } from '../../services/control-plane/store/database.ts';
import { migrate } from '../../services/control-plane/store/migrations.ts';
import { openDatabase } from '../support/database.ts';
import { openControlPlane, type ControlPlane } from './open.ts';

let api: ControlPlane;
let id: string;

before(async () => {
  api = await openControlPlane();
  const place = await api.place();
  const made = await api.call('POST', '/v2/deployments', {
    name: 'agent',
    source: 'external_docker',
    source_config: { listener_id: place.id },
    source_revision_config: { image_uri: 'repo/agent:1' },
    secrets: [],
  });
  id = made.body.id;
});
after(() => api.close());

const rows = () => api.db.selectFrom('resources').select('id').where('deployment_id', '=', id).execute();

test('an older pass neither adds nor drops a row, and may not write to AWS', async () => {
  const old = (await begin(api.db, id))!;
  const secret = api.cloud.byRequest({} as never, { name: 'agent', source: 'external_docker' })[0]!;
  const row = { ...newRow(secret.id, secret.kind, 'one', new Date()), inputs: secret.inputs };
  await rowsOf(api.db, id, old.epoch).put(row);
  const now = (await begin(api.db, id))!;
  await assert.rejects(rowsOf(api.db, id, old.epoch).drop(row.id), Superseded);
  await assert.rejects(rowsOf(api.db, id, old.epoch).put({ ...row, id: 'other' }), Superseded);
  await assert.rejects(requireEpoch(api.db, id, old.epoch), Superseded);
  assert.deepEqual(await rows(), [{ id: row.id }]);
  await requireEpoch(api.db, id, now.epoch);
  await rowsOf(api.db, id, now.epoch).drop(row.id);
  assert.deepEqual(await rows(), []);
});

test('while a look settles, no other begins', async () => {
  const { epoch } = (await begin(api.db, id))!;
  const order: string[] = [];
  let next: Promise<unknown> | undefined;
  await api.db.transaction().execute(async (tx) => {
    await holdEpoch(tx, id, epoch);
    next = begin(api.db, id).then(() => order.push('the next began'));
    await new Promise((resolve) => setTimeout(resolve, 200)); // were it not held up, it would begin now
    await setDeploymentStatus(tx, id, { status: 'READY', message: null }, null);
    order.push('settled');
  });
  await next;
  assert.deepEqual(order, ['settled', 'the next began']);
});

test('old events and receipts go; receipts of what is still being removed stay', async () => {
  await sql`
    insert into events (deployment_id, message, at) values (${id}, 'old', now() - interval '31 days'), (${id}, 'new', now())
  `.execute(api.db);
  const [old, fresh, open] = [randomUUID(), randomUUID(), randomUUID()];
  await sql`
    insert into receipts (deployment_id, workspace_id, name, remainders, gone_at) values
      (${old}, ${api.workspaceId}, 'old', '[]', now() - interval '31 days'),
      (${fresh}, ${api.workspaceId}, 'fresh', '[]', now()),
      (${open}, ${api.workspaceId}, 'open', '[]', null)`.execute(api.db);
  await prune(api.db, { eventDays: 30, receiptDays: 30 });
  const events = await api.db.selectFrom('events').select('message').execute();
  assert.deepEqual(events, [{ message: 'new' }]);
  const receipts = await api.db.selectFrom('receipts').select('name').orderBy('name').execute();
  assert.deepEqual(receipts, [{ name: 'fresh' }, { name: 'open' }]);
  assert.equal((await api.call('GET', `/v2/deployments/${fresh}/receipt`)).body.name, 'fresh');
});

test('a connection that is lost in the middle of a transaction fails that transaction, and nothing else', async () => {
  await assert.rejects(
    api.db.transaction().execute(async (tx) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(tx);
      await sql`select pg_terminate_backend(${rows[0]!.pid}, 5000)`.execute(api.db);
      await new Promise((resolve) => setTimeout(resolve, 50)); // it is told of the loss while it asks for nothing
      await sql`select 1`.execute(tx);
    }),
  );
  assert.equal((await api.call('GET', '/ok')).status, 200);
});

test('a role that may make tables in its database, and no extension, has a store without that index', async () => {
  const role = `guest_${randomUUID().slice(0, 8)}`;
  const database = await openDatabase();
  const as = (user: string) => {
    const url = new URL(database.url);
    if (user !== '') [url.username, url.password] = [user, 'x'];
    return connect(url.href, { connections: 1, onError: () => {} });
  };
  const [owner, guest] = [as(''), as(role)];
  try {
    await sql.raw(`create role ${role} login password 'x'`).execute(owner);
    await sql.raw(`grant create on schema public to ${role}`).execute(owner);
    await migrate(guest);
    const { rows: found } = await sql<{ name: string }>`
      select indexname as name from pg_indexes where tablename = 'deployments'`.execute(guest);
    const names = found.map(({ name }) => name);
    assert(names.includes('deployments_listed'), names.join());
    assert(!names.includes('deployments_by_part_of_name'), names.join());
  } finally {
    await guest.destroy();
    await sql.raw(`drop owned by ${role} cascade`).execute(owner);
    await sql.raw(`drop role ${role}`).execute(owner);
    await owner.destroy();
    await database.close();
  }
});

test('while the version before still runs, its revisions are added to the store of the new one', async () => {
  const database = await openDatabase();
  const db = connect(database.url, { connections: 1, onError: () => {} });
  try {
    await migrate(db, '0002_receipts_that_are_read');
    await sql`
      with w as (insert into workspaces (name) values ('default') returning id)
      insert into places (workspace_id, name, external_id) select id, 'production', '' from w`.execute(db);
    await migrate(db);
    await sql`
      with d as (
        insert into deployments (id, workspace_id, place_id, name, source, type)
        select gen_random_uuid(), workspace_id, id, 'agent', 'external_docker', 'dev' from places returning id
      )
      insert into revisions (id, deployment_id, number, source, image_uri, image, resource_spec, resources, environment)
      select gen_random_uuid(), id, 1, 'external_docker', 'agent:1', 'agent@sha256:1', '{}', '{}', '{}' from d`.execute(
      db,
    );
    const made = await db.selectFrom('revisions').select(['agent_auth', 'secret_references']).execute();
    assert.deepEqual(made, [{ agent_auth: { type: 'noop' }, secret_references: [] }]);
  } finally {
    await db.destroy();
    await database.close();
  }
});
