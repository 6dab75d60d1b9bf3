/** The `langgraph-server` image by itself: real servers on one PostgreSQL with TLS and one Redis with a password. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Client } from '@langchain/langgraph-sdk';
import pg from 'pg';
import type { Postgres } from '../../services/postgres.ts';
import { openServer } from '../support/database.ts';
import { eventually } from '../support/eventually.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const IMAGE = join(ROOT, 'services/rehearsal/images/langgraph-server');
const ENVIRONMENT = join(ROOT, '.cache/python/server');
const PASSWORD = 'p@ss/w%rd+:';

let postgres: Postgres;
let sql: pg.Client;
let directory: string;
let databaseUri: string;
let redisPort: number;
const running = new Set<ChildProcess>();

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
};

function start(command: string, args: string[], env: Record<string, string> = {}): ChildProcess {
  const child = spawn(command, args, { cwd: join(ROOT, 'examples/agent'), env, stdio: 'ignore' });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

interface Server {
  url: string;
  client: Client;
  child: ChildProcess;
  ready: Promise<unknown>;
  /** The exit code after SIGTERM. */
  stop(): Promise<unknown>;
}

async function serve(env: Record<string, string> = {}): Promise<Server> {
  const port = await freePort();
  const child = start(join(ENVIRONMENT, 'bin/python'), [join(IMAGE, 'serve.py')], {
    DATABASE_URI: databaseUri,
    REDIS_URI: `redis://:secret@127.0.0.1:${redisPort}/0`,
    LANGSERVE_GRAPHS: '{"echo":"./agent.py:echo","slow":"./agent.py:slow"}',
    HOST: '127.0.0.1',
    PORT: String(port),
    ...env,
  });
  const url = `http://127.0.0.1:${port}${env['MOUNT_PREFIX'] ?? ''}`;
  const ended = (): boolean => child.exitCode !== null;
  const ready = eventually('the server answers', async () => ended() || (await fetch(`${url}/ok`)).ok).then(() =>
    assert(!ended(), `it ended with ${child.exitCode}`),
  );
  const stop = async (): Promise<unknown> => {
    child.kill('SIGTERM');
    return child.exitCode ?? (await once(child, 'exit'))[0];
  };
  return { url, client: new Client({ apiUrl: url, callerOptions: { maxRetries: 0 } }), child, ready, stop };
}

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'freehold-test-'));
  postgres = await openServer();
  sql = new pg.Client({ connectionString: postgres.url });
  await sql.connect();
  await useTls();
  await sql.query(`create role app login superuser password '${PASSWORD}'`);
  await sql.query('create database app');
  const { port } = new URL(postgres.url);
  databaseUri = `postgresql://app:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/app?sslmode=require`;
  redisPort = await freePort();
  const redis = ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--requirepass', 'secret'];
  start(join(ENVIRONMENT, 'bin/redis-server'), redis);
});

after(async () => {
  for (const child of running) child.kill('SIGKILL');
  await sql.end();
  await postgres.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** A certificate that nobody vouches for, as RDS's is to a container without RDS's authorities. */
async function useTls(): Promise<void> {
  const [certificate, key] = [join(directory, 'certificate'), join(directory, 'key')];
  execFileSync(join(ENVIRONMENT, 'bin/python'), ['-c', SELF_SIGNED, certificate, key]);
  chmodSync(directory, 0o711);
  chmodSync(key, 0o600);
  if (process.getuid?.() === 0) chownSync(key, 65534, 65534);
  await sql.query(`alter system set ssl_cert_file = '${certificate}'`);
  await sql.query(`alter system set ssl_key_file = '${key}'`);
  await sql.query('alter system set ssl = on');
  await sql.query('select pg_reload_conf()');
  await eventually('TLS is on', async () => (await sql.query('show ssl')).rows[0].ssl === 'on');
}
const SELF_SIGNED = `
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as out
from cryptography.hazmat.primitives.asymmetric import ec
key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "db")])
now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256()))
open(sys.argv[1], "wb").write(certificate.public_bytes(out.Encoding.PEM))
private = out.PrivateFormat.PKCS8, out.NoEncryption()
open(sys.argv[2], "wb").write(key.private_bytes(out.Encoding.PEM, *private))
`;

test('three start at once on an empty database, and share it, encrypted', async () => {
  const prefixed = { MOUNT_PREFIX: '/agents/a', LANGSMITH_HOST_REVISION_ID: 'revision-7', GREETING: 'good day' };
  const servers = await Promise.all([serve(prefixed), serve(), serve()]);
  await Promise.all(servers.map(({ ready }) => ready));
  const [first, second] = servers;

  const info = (await (await fetch(`${first.url}/info`)).json()) as { host: { host_revision_id: string } };
  assert.equal(info.host.host_revision_id, 'revision-7');
  const healthcheck = { HOST: '127.0.0.1', PORT: new URL(first.url).port, MOUNT_PREFIX: '/agents/a' };
  execFileSync(join(ENVIRONMENT, 'bin/python'), [join(IMAGE, 'healthcheck.py')], { env: healthcheck });

  const thread = await first.client.threads.create();
  await first.client.runs.wait(thread.thread_id, 'echo', { input: { text: 'one' } });
  await second.client.runs.wait(thread.thread_id, 'echo', { input: { text: 'two' } });
  const { values } = await first.client.threads.getState<{ log: string[] }>(thread.thread_id);
  assert.deepEqual(values.log, ['echo:one', 'echo:two']);

  const clear = 'select from pg_stat_ssl join pg_stat_activity using (pid) where not ssl and usename = $1';
  assert.equal((await sql.query(clear, ['app'])).rowCount, 0);
  const sessions = await sql.query('select from pg_stat_activity where usename = $1', ['app']);
  assert((sessions.rowCount ?? 0) >= 3);
  assert.deepEqual(await Promise.all(servers.map(({ stop }) => stop())), [0, 0, 0]);
});

test('SIGTERM: what is in flight finishes, nothing new is begun, and the exit code is 0', async () => {
  const [old, next] = await Promise.all([serve(), serve()]);
  await Promise.all([old.ready, next.ready]);
  const waits = Array.from({ length: 6 }, async (_, i) => {
    const { client } = i % 2 === 0 ? old : next;
    const thread = await client.threads.create();
    await client.runs.wait(thread.thread_id, 'slow', { input: { seconds: 2 } });
    return thread.thread_id;
  });
  const begun = "select from runs where status = 'running'";
  await eventually('all are running', () => inApp(async (client) => (await client.query(begun)).rowCount === 6));
  const exit = old.stop();
  // The runtime that stands in here may answer a wait just before the last checkpoint is seen by another process, so
  // the thread itself tells; that each wait was answered is what the exit had to wait for.
  for (const id of await Promise.all(waits))
    await eventually('its result is in the thread', async () => {
      const { values } = await next.client.threads.getState<{ log?: string[] }>(id);
      return values.log?.join() === 'slow:2';
    });
  assert.equal(await exit, 0);
  assert.equal(await next.stop(), 0);
});

test('a run that outlasts the grace period goes on in another server, and its waiter gets the answer', async () => {
  const [leaving, waited] = await Promise.all([
    serve({ BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS: '1' }),
    serve({ N_JOBS_PER_WORKER: '0' }), // serves requests, runs nothing
  ]);
  await Promise.all([leaving.ready, waited.ready]);
  const thread = await waited.client.threads.create();
  const answer = waited.client.runs.wait(thread.thread_id, 'slow', { input: { seconds: 4 } });
  const begun = "select from runs where status = 'running'";
  await eventually('it runs', () => inApp(async (client) => (await client.query(begun)).rowCount === 1));
  assert.equal(await leaving.stop(), 0);
  const taking = await serve();
  await answer;
  await eventually('its result is in the thread', async () => {
    const { values } = await waited.client.threads.getState<{ log?: string[] }>(thread.thread_id);
    return values.log?.join() === 'slow:4';
  });
  await eventually('the run is a success', async () => {
    const [run] = await waited.client.runs.list(thread.thread_id);
    return run?.status === 'success';
  });
  await Promise.all([taking.stop(), waited.stop()]);
});

test('a variable that is missing is named, and nothing starts', async () => {
  const server = await serve({ REDIS_URI: '' });
  server.ready.catch(() => {});
  const [code] = await once(server.child, 'exit');
  assert.equal(code, 1);
});

async function inApp<T>(act: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: postgres.url.replace(/\/postgres$/, '/app') });
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}
