/** The control plane as a process: its doors, its first key, and its end. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { eventually } from '../support/eventually.ts';

const ROOT = join(import.meta.dirname, '..', '..');
let directory: string;
const children: ChildProcess[] = [];

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'freehold-process-'));
});
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  // The server in it ends with its parent.
  await eventually('the directory is free', () => {
    rmSync(directory, { recursive: true, force: true });
    return true;
  });
});

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  said(): string;
  /** The status of a request with this key. */
  get(key: string): Promise<number>;
}

async function start(env: Record<string, string> = {}): Promise<Running> {
  const port = await freePort();
  const child = spawn(process.execPath, [join(ROOT, 'bin', 'control-plane.ts')], {
    env: {
      PATH: process.env['PATH'],
      PORT: String(port),
      FREEHOLD_DATA_DIR: join(directory, 'store'),
      FREEHOLD_EXIT_WITH_STDIN: '1',
      AWS_ACCESS_KEY_ID: '111111111111',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
      ...env,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  children.push(child);
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return {
    child,
    ended,
    said: () => said,
    get: async (key) =>
      (await fetch(`http://127.0.0.1:${port}/v2/deployments`, { headers: { 'X-Api-Key': key } })).status,
  };
}

const up = (one: Running): Promise<unknown> =>
  eventually('it is up', () => {
    if (one.child.exitCode !== null) assert.fail(one.said());
    return one.said().includes('"msg":"up"');
  });

test('the first key is in a private file, in no log, and is made once', async () => {
  const first = await start();
  await up(first);
  const file = join(directory, 'store', 'first-api-key');
  const key = readFileSync(file, 'utf8').trim();
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(await first.get(key), 200);
  assert(!first.said().includes(key));
  assert(first.said().includes(file));
  rmSync(file);
  first.child.stdin!.end();
  assert.equal(await first.ended, 0);

  const second = await start();
  await up(second);
  assert.equal(await second.get(key), 200);
  assert.throws(() => statSync(file), /ENOENT/);
  second.child.kill('SIGTERM');
  assert.equal(await second.ended, 0);
});

test('another FREEHOLD_API_KEY ends the one before; a short one is refused', async () => {
  const [old, other] = ['o'.repeat(32), 'p'.repeat(32)] as const;
  const first = await start({ FREEHOLD_API_KEY: old });
  await up(first);
  assert.equal(await first.get(old), 200);
  first.child.stdin!.end();
  await first.ended;
  const second = await start({ FREEHOLD_API_KEY: other });
  await up(second);
  assert.deepEqual([await second.get(old), await second.get(other)], [401, 200]);
  second.child.stdin!.end();
  await second.ended;

  const short = await start({ FREEHOLD_API_KEY: 'secret' });
  assert.notEqual(await short.ended, 0);
  assert.match(short.said(), /FREEHOLD_API_KEY has 6 characters: use at least 32/);
});

test('when its store dies, it says so and ends, so that whoever watches it can start it again', async () => {
  const one = await start();
  await up(one);
  const [postmaster] = readFileSync(join(directory, 'store', 'data', 'postmaster.pid'), 'utf8').split('\n');
  process.kill(Number(postmaster), 'SIGKILL');
  assert.equal(await one.ended, 1);
  assert.match(one.said(), /the embedded PostgreSQL ended by itself/);
  const next = await start();
  await up(next);
  next.child.stdin!.end();
  await next.ended;
});
