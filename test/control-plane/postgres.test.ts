/** The embedded store: it keeps what it finds, says what it will not touch, and does not outlive or outwait anyone. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import pg from 'pg';
import { startPostgres, type Postgres } from '../../services/postgres.ts';
import { eventually } from '../support/eventually.ts';

let directory: string;
const started: Postgres[] = [];
const start = async (more: { onEnd?: (said: string) => void } = {}): Promise<Postgres> => {
  const server = await startPostgres({ directory, durable: false, ...more });
  started.push(server);
  return server;
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freehold-store-'));
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((server) => server.stop()));
  rmSync(directory, { recursive: true, force: true });
});

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

test('its data outlives it, also in a directory that cannot be removed, such as a volume', async () => {
  mkdirSync(join(directory, 'lost+found'));
  const first = await start();
  await query(first.url, 'create table kept as select 7 as n');
  await first.stop();
  const second = await start();
  assert.deepEqual(await query(second.url, 'select n from kept'), [{ n: 7 }]);
  assert(existsSync(join(directory, 'lost+found')));
});

test('a directory with other things in it is refused, and they stay', async () => {
  writeFileSync(join(directory, 'thesis.txt'), 'all of it');
  await assert.rejects(start(), new RegExp(`${directory}.*"thesis.txt".*an empty directory`));
  assert.deepEqual(readdirSync(directory), ['thesis.txt']);
  assert.equal(readFileSync(join(directory, 'thesis.txt'), 'utf8'), 'all of it');
});

test('a store that was made in the directory itself, by an earlier version, is found', async () => {
  const first = await start();
  await query(first.url, 'create table kept as select 7 as n');
  await first.stop();
  renameSync(join(directory, 'data'), `${directory}-moved`);
  rmSync(directory, { recursive: true });
  renameSync(`${directory}-moved`, directory);
  const second = await start();
  assert.deepEqual(await query(second.url, 'select n from kept'), [{ n: 7 }]);
});

test('a store whose password file was lost is refused, and serves again when it is back', async () => {
  const first = await start();
  await query(first.url, 'create table kept as select 7 as n');
  await first.stop();
  const file = join(directory, 'data', 'freehold-password');
  const password = readFileSync(file);
  rmSync(file);
  await assert.rejects(start(), /freehold-password.*put it back/);
  writeFileSync(file, password);
  const second = await start();
  assert.deepEqual(await query(second.url, 'select n from kept'), [{ n: 7 }]);
});

test("what a first start that was cut off left behind is in nobody's way", async () => {
  mkdirSync(join(directory, 'freehold-initdb-a1B2c3', 'base'), { recursive: true });
  const server = await start();
  assert.equal((await query(server.url, 'select 1 as n')).length, 1);
});

test('a server that dies is told of, with what it last said', async () => {
  const said: string[] = [];
  const server = await start({ onEnd: (text) => said.push(text) });
  await query(server.url, 'select 1');
  const [postmaster] = readFileSync(join(directory, 'data', 'postmaster.pid'), 'utf8').split('\n');
  process.kill(Number(postmaster), 'SIGKILL');
  await eventually('we are told', () => said.length > 0, { seconds: 10 });
});

test('a server that cannot start is not waited for', async () => {
  const first = await start();
  await first.stop();
  writeFileSync(join(directory, 'data', 'postgresql.conf'), 'no_such_setting = 1\n');
  const before = performance.now();
  await assert.rejects(start(), /no_such_setting|configuration/);
  assert(performance.now() - before < 10_000);
});
