import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { openDatabase } from './database.ts';
import { eventually } from './eventually.ts';

const count = async (url: string): Promise<number> => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query('select from tried')).rowCount ?? 0;
  } finally {
    await client.end();
  }
};

test('databases are made from one template, prepared once, and do not see each other', async () => {
  let prepared = 0;
  const schema = {
    name: 'tried',
    migrate: async (url: string): Promise<void> => {
      prepared++;
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await client.query('create table tried as select 1 as n');
      await client.end();
    },
  };
  const shared = process.env['TEST_DATABASE_URL'];
  const [one, other] = await Promise.all([openDatabase(schema), openDatabase(schema)]);
  try {
    assert.equal(prepared, shared ? 1 : 2);
    assert.notEqual(one.url, other.url);
    const client = new pg.Client({ connectionString: one.url });
    await client.connect();
    await client.query('insert into tried values (2)');
    await client.end();
    assert.deepEqual([await count(one.url), await count(other.url)], [2, 1]);
  } finally {
    await Promise.all([one.close(), other.close()]);
  }
  await assert.rejects(count(one.url));
});

test('eventually says what it waited for, and what it saw last', async () => {
  let looks = 0;
  assert.equal(await eventually('three looks', () => ++looks >= 3 && looks, { every: 1 }), 3);
  await assert.rejects(
    eventually('the impossible', () => Promise.reject(new Error('not there')), { seconds: 0.05, every: 1 }),
    /not within 0.05 s: the impossible; last seen: not there/,
  );
});
