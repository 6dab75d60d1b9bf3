/** A database of its own for each test file, on one real PostgreSQL server a run. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { startPostgres, type Postgres } from '../../services/postgres.ts';

export interface Database {
  readonly url: string;
  /** Drops it, whoever is still connected. */
  close(): Promise<void>;
}

/** A temporary server. */
export async function openServer(): Promise<Postgres> {
  const directory = mkdtempSync(join(tmpdir(), 'freehold-test-'));
  const server = await startPostgres({ directory, durable: false });
  return {
    url: server.url,
    async stop() {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/**
 * An empty database, or a copy of one that `schema.migrate` has prepared: it is called once a run for each
 * `schema.name`. A file that is run alone gets a server of its own.
 */
export async function openDatabase(schema?: { name: string; migrate(url: string): Promise<void> }): Promise<Database> {
  const shared = process.env['TEST_DATABASE_URL'];
  const own = shared ? undefined : await openServer();
  const server = shared ?? own!.url;
  const name = `test_${randomBytes(6).toString('hex')}`;
  try {
    await query(server, async (client) => {
      const template = schema && (await preparedTemplate(client, server, schema));
      await client.query(`create database ${name}${template ? ` template ${template} strategy file_copy` : ''}`);
    });
  } catch (error) {
    await own?.stop();
    throw error;
  }
  return {
    url: at(server, name),
    async close() {
      if (own) await own.stop();
      else await query(server, (client) => client.query(`drop database if exists ${name} with (force)`));
    },
  };
}

/** In the store of a control plane that runs with the embedded one, by the directory that it was given. */
export function queryEmbedded(directory: string, sql: string): Promise<void> {
  const data = join(directory, 'data');
  const [, , , port] = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
  const password = readFileSync(join(data, 'freehold-password'), 'utf8').trim();
  return query(`postgres://postgres:${password}@127.0.0.1:${port}/postgres`, async (client) => {
    await client.query(sql);
  });
}

const at = (server: string, database: string): string => {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
};

async function query<T>(url: string, act: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

/** Made under a lock, since files run side by side; it gets its name last, so a half-made one is never used. */
async function preparedTemplate(
  client: pg.Client,
  server: string,
  { name, migrate }: { name: string; migrate(url: string): Promise<void> },
): Promise<string> {
  const template = `template_${name}`;
  const making = `${template}_in_the_making`;
  await client.query('select pg_advisory_lock(hashtext($1))', [template]);
  const { rowCount } = await client.query('select from pg_database where datname = $1', [template]);
  if (rowCount === 0) {
    await client.query(`drop database if exists ${making} with (force)`);
    await client.query(`create database ${making}`);
    await migrate(at(server, making));
    await client.query(`alter database ${making} rename to ${template}`);
  }
  await client.query('select pg_advisory_unlock(hashtext($1))', [template]);
  return template;
}
