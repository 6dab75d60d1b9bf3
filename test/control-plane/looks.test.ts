/** The queue: one look of a deployment at a time, none lost, none late, none left to a dead process. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { openDatabase as connect, type Database } from '../../services/control-plane/store/database.ts';
import { Looks, type Look } from '../../services/control-plane/store/looks.ts';
import { migrate } from '../../services/control-plane/store/migrations.ts';
import { addWorkspace } from '../../services/control-plane/store/access.ts';
import { addPlace } from '../../services/control-plane/store/places.ts';
import { openDatabase, type Database as TestDatabase } from '../support/database.ts';
import { eventually } from '../support/eventually.ts';

let database: TestDatabase;
let db: Database;
let placeId: string;
let workspaceId: string;
const opened: Looks[] = [];

before(async () => {
  database = await openDatabase();
  db = connect(database.url, { connections: 10, onError: () => {} });
  await migrate(db);
  workspaceId = await addWorkspace(db, 'test');
  placeId = (await addPlace(db, { workspaceId, name: 'p', version: null }))!.id;
});
after(async () => {
  await Promise.all(opened.map((looks) => looks.stop(1)));
  await db.destroy();
  await database.close();
});

async function open(): Promise<Looks> {
  const looks = await Looks.open(db, { url: database.url, heartbeatSeconds: 10, expireSeconds: 60, onError: () => {} });
  opened.push(looks);
  return looks;
}

async function deployment(place = placeId): Promise<string> {
  const id = randomUUID();
  const values = { id, workspace_id: workspaceId, place_id: place, name: id, source: 'external_docker', type: 'dev' };
  await db
    .insertInto('deployments')
    .values({ ...values, type: 'dev', accepted_at: new Date() })
    .execute();
  return id;
}

const askedOf = async (id: string): Promise<number> =>
  (await db.selectFrom('deployments').select('asked').where('id', '=', id).executeTakeFirstOrThrow()).asked;
const ask = (looks: Looks, id: string): Promise<void> => db.transaction().execute((tx) => looks.ask(tx, id));
const settle = (looks: Looks, look: Look, asked: number, seconds: Parameters<Looks['settle']>[3]): Promise<void> =>
  db.transaction().execute((tx) => looks.settle(tx, look, asked, seconds));

test('intent and its look are one transaction', async () => {
  const looks = await open();
  const seen: string[] = [];
  await looks.work({ atOnce: 2 }, async (look) => {
    seen.push(look.deploymentId);
    await settle(looks, look, await askedOf(look.deploymentId), 3600);
  });
  const [kept, lost] = [await deployment(), await deployment()];
  await assert.rejects(
    db.transaction().execute(async (tx) => {
      await looks.ask(tx, lost);
      throw new Error('rolled back');
    }),
    /rolled back/,
  );
  await ask(looks, kept);
  await eventually('the look', () => seen.includes(kept));
  assert.deepEqual(seen, [kept]);
  assert.equal(await askedOf(lost), 0);
  await looks.stop(1);
});

test('a look that is asked for while one runs follows it, however many were asked for, and never runs beside it', async () => {
  const looks = await open();
  const id = await deployment();
  let running = 0;
  let most = 0;
  let count = 0;
  let release = (): void => {};
  let held = new Promise<void>((resolve) => (release = resolve));
  await looks.work({ atOnce: 4 }, async (look) => {
    const asked = await askedOf(look.deploymentId);
    running++;
    count++;
    most = Math.max(most, running);
    await held;
    running--;
    await settle(looks, look, asked, 3600); // nothing to do for an hour, were it not for the wishes
  });
  await ask(looks, id);
  await eventually('it runs', () => running === 1);
  await Promise.all([ask(looks, id), ask(looks, id), ask(looks, id)]);
  const other = await deployment();
  await ask(looks, other); // the busy one holds nobody up
  await eventually('the other runs beside it', () => running === 2);
  release();
  held = Promise.resolve();
  await eventually('the second look of the first', () => count === 3);
  await eventually('all have ended', () => running === 0);
  assert.equal(most, 2);
  await new Promise((resolve) => setTimeout(resolve, 1200)); // two polls: there is no fourth
  assert.equal(count, 3);
  await looks.stop(1);
});

test('a storm in one place, however slow it is, does not hold up the others', async () => {
  const looks = await open();
  const other = (await addPlace(db, { workspaceId, name: 'other', version: null }))!.id;
  const storm = await Promise.all(Array.from({ length: 30 }, () => deployment()));
  const calm = await deployment(other);
  const running = new Set<string>();
  let most = 0;
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const seen: string[] = [];
  for (const id of storm) await ask(looks, id);
  await looks.work({ atOnce: 8, perPlace: 4 }, async (look) => {
    if (storm.includes(look.deploymentId)) {
      running.add(look.deploymentId);
      most = Math.max(most, running.size);
      await held; // it does not answer
      running.delete(look.deploymentId);
    }
    seen.push(look.deploymentId);
    await settle(looks, look, await askedOf(look.deploymentId), 3600);
  });
  await eventually('the storm has its share', () => running.size === 4);
  await ask(looks, calm);
  const before = Date.now();
  await eventually('the look of the other place', () => seen.includes(calm), { seconds: 5 });
  assert.ok(Date.now() - before < 3000);
  assert.deepEqual(seen, [calm]);
  release();
  await eventually('all of the storm', () => seen.length === 31, { seconds: 40 });
  assert.equal(most, 4);
  assert.equal(new Set(seen).size, 31);
  await looks.stop(1);
});

test('a sleeping look is brought forward', async () => {
  const looks = await open();
  const id = await deployment();
  const at: number[] = [];
  await looks.work({ atOnce: 1 }, async (look) => {
    at.push(Date.now());
    await settle(looks, look, await askedOf(id), 3600);
  });
  await ask(looks, id);
  await eventually('the first', () => at.length === 1);
  await ask(looks, id);
  await eventually('the second', () => at.length === 2, { seconds: 5 });
  await looks.stop(1);
});

test('a look that throws comes back', async () => {
  const looks = await open();
  const id = await deployment();
  let tries = 0;
  await looks.work({ atOnce: 1 }, async (look) => {
    if (++tries === 1) throw new Error('the store was away');
    await settle(looks, look, await askedOf(id), null);
  });
  await ask(looks, id);
  await eventually('the second try', () => tries === 2, { seconds: 15 });
  await looks.stop(1);
});

test('the sweep asks for what has no look, and only for that', async () => {
  const looks = await open();
  await looks.sweep(1000); // what the tests above left
  const [waiting, lost] = [await deployment(), await deployment()];
  await ask(looks, waiting);
  assert.equal(await looks.sweep(1000), 1);
  assert.equal(await askedOf(lost), 1);
  assert.equal(await askedOf(waiting), 1);
  assert.equal(await looks.sweep(1000), 0);
  await looks.stop(1);
});

test('places are swept at the same time, each by one sweep', async () => {
  const looks = await open();
  const places = await Promise.all(
    ['one', 'two'].map(async (n) => (await addPlace(db, { workspaceId, name: `swept ${n}`, version: null }))!.id),
  );
  const mine: string[] = [];
  for (const place of places) mine.push(await deployment(place), await deployment(place));
  await looks.work({ atOnce: 4 }, async (look) =>
    settle(
      looks,
      look,
      await askedOf(look.deploymentId),
      mine.includes(look.deploymentId) ? { sweepSeconds: 0 } : 3600,
    ),
  );
  const running: string[] = [];
  const seen: string[][] = [];
  let goOn = false;
  await looks.workSweeps(async (placeId) => {
    running.push(placeId);
    seen.push(running.toSorted());
    await eventually('both run', () => goOn);
    running.splice(running.indexOf(placeId), 1);
    return { nextSeconds: 3600 };
  });
  for (const id of mine) await ask(looks, id);
  try {
    await eventually('both run', () => places.every((each) => running.includes(each)));
    // The other deployment of each has settled by now: that is no reason for a second sweep of its place.
    await eventually('all are settled', async () => (await unsettled(mine)) === 0);
    for (const now of seen) assert.equal(new Set(now).size, now.length, 'none twice at once');
  } finally {
    goOn = true;
    await looks.stop(1); // or it would take what the next tests ask for
  }
});

/** How many of them have a look to come. */
const unsettled = async (ids: readonly string[]): Promise<number> => {
  const { rows } = await sql<{ n: number }>`
    select count(*) as n from pgboss.job where name = 'look' and singleton_key = any(${[...ids]})`.execute(db);
  return rows[0]!.n;
};

test('five processes start at once on an empty database', async () => {
  const empty = await openDatabase();
  const connections = Array.from({ length: 5 }, () => connect(empty.url, { connections: 2, onError: () => {} }));
  const started = await Promise.all(
    connections.map(async (one) => {
      await migrate(one);
      return Looks.open(one, { url: empty.url, heartbeatSeconds: 10, expireSeconds: 60, onError: () => {} });
    }),
  );
  await Promise.all(started.map((looks) => looks.stop(1)));
  await Promise.all(connections.map((one) => one.destroy()));
  await empty.close();
});

test('the look of a killed process is given to another', async () => {
  const looks = await open();
  const child = spawn(process.execPath, [import.meta.filename.replace('looks.test.ts', 'hang.ts'), database.url], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    const taken = new Promise<string>((resolve) => child.stdout.setEncoding('utf8').once('data', resolve));
    await ask(looks, await deployment());
    const id = await taken;
    child.kill('SIGKILL');
    const seen: string[] = [];
    await looks.work({ atOnce: 1 }, async (look) => {
      seen.push(look.deploymentId);
      await settle(looks, look, await askedOf(look.deploymentId), 3600);
    });
    await eventually('another process has it', () => seen.includes(id), { seconds: 45 });
  } finally {
    child.kill('SIGKILL');
    await looks.stop(1);
  }
});
