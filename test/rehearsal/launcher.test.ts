import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DescribeImagesCommand, ECRClient } from '@aws-sdk/client-ecr';
import { ListUsersCommand, IAMClient } from '@aws-sdk/client-iam';
import { attachRehearsal, startRehearsal } from '../../services/rehearsal/index.ts';

const MODULE = new URL('../../services/rehearsal/index.ts', import.meta.url).pathname;

async function until(condition: () => boolean | Promise<boolean>, limitMs: number, what: string): Promise<number> {
  const started = Date.now();
  while (!(await condition())) {
    if (Date.now() - started > limitMs) assert.fail(`${what}: not within ${limitMs} ms`);
    await sleep(20);
  }
  return Date.now() - started;
}
const answers = (endpoint: string): Promise<boolean> =>
  fetch(`${endpoint}/_rehearsal/health`).then(
    (answer) => answer.ok,
    () => false,
  );

test('starts on a free port, twice at once, and stops', async () => {
  const [one, two] = await Promise.all([startRehearsal(), startRehearsal()]);
  assert.notEqual(one.endpoint, two.endpoint);
  assert.ok(await answers(one.endpoint));
  await Promise.all([one.stop(), two.stop()]);
  assert.equal(await answers(one.endpoint), false);
});

test('refuses a pace that is none and an account that is none, naming them', async () => {
  await assert.rejects(startRehearsal({ pace: -1 }), /^Error: pace: not a number above 0: -1$/);
  await assert.rejects(startRehearsal({ timerPace: NaN }), /^Error: timerPace: not a number above 0: NaN$/);
  const account = await startRehearsal();
  await assert.rejects(account.createUser('12', 'ada', []), /^Error: not an account's 12 digits: "12"$/);
  await account.stop();
});

test('takes the port, the paces and the directory it is given; leaves that directory, removes its own', async () => {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  const directory = mkdtempSync(join(tmpdir(), 'launcher-'));
  const it = await startRehearsal({ port, pace: 7, timerPace: 3, directory });
  assert.equal(it.endpoint, `http://127.0.0.1:${port}`);
  const health = (await (await fetch(`${it.endpoint}/_rehearsal/health`)).json()) as {
    pace: number;
    timerPace: number;
  };
  assert.deepEqual([health.pace, health.timerPace], [7, 3]);
  await it.stop();
  assert.ok(existsSync(directory));
  rmSync(directory, { recursive: true });
});

test('a port that is taken is an error that says so, not a hang', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  const log = join(mkdtempSync(join(tmpdir(), 'launcher-')), 'log');
  await assert.rejects(
    startRehearsal({ port: (taken.address() as { port: number }).port, log }),
    /did not start: .*Address already in use/,
  );
  taken.close();
});

test('without its Python environment it says what installs it', async () => {
  const elsewhere = join(mkdtempSync(join(tmpdir(), 'launcher-')), 'services', 'rehearsal');
  mkdirSync(elsewhere, { recursive: true });
  copyFileSync(MODULE, join(elsewhere, 'index.ts'));
  writeFileSync(join(elsewhere, 'package.json'), '{"type":"module"}');
  const copy = (await import(join(elsewhere, 'index.ts'))) as { startRehearsal: typeof startRehearsal };
  await assert.rejects(
    copy.startRehearsal(),
    /Python environment is missing .*Run `npm start` or `npm test` once: they install it\./,
  );
});

test('keeps a clean environment: no endpoint and no key of ours inside', async () => {
  process.env['AWS_ENDPOINT_URL'] = 'http://127.0.0.1:9';
  process.env['AWS_ACCESS_KEY_ID'] = 'AKIAOUTSIDE';
  const it = await startRehearsal();
  try {
    const { pid } = (await (await fetch(`${it.endpoint}/_rehearsal/health`)).json()) as { pid: number };
    const inside = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .filter((line) => line.startsWith('AWS_'));
    assert.deepEqual(inside, []);
  } finally {
    delete process.env['AWS_ENDPOINT_URL'];
    delete process.env['AWS_ACCESS_KEY_ID'];
    await it.stop();
  }
});

test('dies with the process that started it, even when that is killed', async () => {
  const script = `const { startRehearsal } = await import(${JSON.stringify(MODULE)}); const it = await startRehearsal(); console.log(it.endpoint); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const endpoint = await new Promise<string>((resolve) =>
    child.stdout.once('data', (line: Buffer) => resolve(line.toString().trim())),
  );
  const { pid } = (await (await fetch(`${endpoint}/_rehearsal/health`)).json()) as { pid: number };
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  const directory = environment.find((one) => one.startsWith('REHEARSAL_DIR='))!.split('=')[1]!;
  assert.ok(existsSync(directory));
  child.kill('SIGKILL');
  // Ended is what nobody has collected yet, too.
  const ended = () => !existsSync(`/proc/${pid}`) || /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  await until(ended, 1500, 'the emulator ends');
  assert.equal(await answers(endpoint), false);
  assert.ok(!existsSync(directory));
});

test('attach: the same account, and its stop leaves it running; reset empties it', async () => {
  const it = await startRehearsal();
  const other = await attachRehearsal(it.endpoint);
  await other.createUser('222222222222', 'ada', {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 'ecs:*', Resource: '*' }],
  });
  const iam = new IAMClient({ endpoint: it.endpoint, region: 'us-east-1', credentials: it.root('222222222222') });
  const users = async () => (await iam.send(new ListUsersCommand({}))).Users!.map((user) => user.UserName);
  assert.deepEqual(await users(), ['ada']);
  await other.stop();
  assert.ok(await answers(it.endpoint));
  await it.reset();
  assert.deepEqual(await users(), []);
  assert.equal((await it.calls()).length, 1);
  await it.stop();
});

test('pushImage: a reference by digest in the account’s own registry', async () => {
  const it = await startRehearsal();
  const push = { account: '222222222222', region: 'eu-west-1', repository: 'agents/one', tag: 'v1', image: 'stub' };
  const first = await it.pushImage(push);
  assert.equal(first.uri, `222222222222.dkr.ecr.eu-west-1.amazonaws.com/agents/one@${first.digest}`);
  assert.deepEqual(await it.pushImage(push), first);
  const changed = await it.pushImage({ ...push, tag: 'v2', env: { A: '1' } });
  assert.notEqual(changed.digest, first.digest);
  const images = async (account: string) => {
    const ecr = new ECRClient({ endpoint: it.endpoint, region: 'eu-west-1', credentials: it.root(account) });
    return (await ecr.send(new DescribeImagesCommand({ repositoryName: 'agents/one' }))).imageDetails!.length;
  };
  assert.equal(await images('222222222222'), 2);
  await assert.rejects(images('333333333333'), { name: 'RepositoryNotFoundException' });
  await it.stop();
});
