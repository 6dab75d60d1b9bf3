/** The set-up script in a small project of its own, with programs that play npm and Python. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { eventually } from './support/eventually.ts';

const ROOT = join(import.meta.dirname, '..');
const projects: string[] = [];
after(() => projects.forEach((project) => rmSync(project, { recursive: true, force: true })));

const NPM = `echo npm "$@" >> "$TOLD"
case "$1" in --version) echo 10.9.0; exit;; esac
mkdir -p node_modules/.bin && touch node_modules/.bin/node && echo '{"packages":{}}' > node_modules/.package-lock.json`;
const PYTHON = `case "$1 $2" in
  "-c "*) echo "3 12 $0";;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python";;
  "-m pip") cp "$(dirname "$TOLD")/path/uv" "$(dirname "$0")/uv";;
esac`;
const UV = `echo uv "$@" >> "$TOLD"
case "$1" in venv) for folder; do :; done; mkdir -p "$folder/bin" && touch "$folder/bin/python";; esac
case "$1" in pip) echo "Using https://user:word@mirror.example/simple"; sleep "\${SLOW:-0}";; esac`;

function project(programs: Record<string, string> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'freehold-setup-'));
  projects.push(folder);
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  write('package.json', '{"type":"module"}');
  write('package-lock.json', '{"packages":{"":{}}}');
  write('services/rehearsal/account/requirements.txt', 'one==1\n');
  write('services/rehearsal/images/langgraph-server/requirements.txt', 'two==2\n');
  for (const name of ['test', 'test/clients', 'test/rehearsal/differential']) write(`${name}/requirements.txt`, '');
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) write(`test/clients/${name}`, '{}');
  mkdirSync(join(folder, 'bin'));
  copyFileSync(join(ROOT, 'bin', 'setup.js'), join(folder, 'bin', 'setup.js'));
  for (const [name, text] of Object.entries({ npm: NPM, python3: PYTHON, uv: UV, ...programs })) {
    write(join('path', name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, 'path', name), 0o755);
  }
  return folder;
}

function start(folder: string, env: Record<string, string> = {}, ...args: string[]) {
  const PATH = [join(folder, 'path'), dirname(process.execPath), '/usr/bin', '/bin'].join(delimiter);
  const child = spawn(process.execPath, [join(folder, 'bin', 'setup.js'), ...args], {
    env: { PATH, TOLD: join(folder, 'told'), HOME: folder, ...env },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)));
  const ended = new Promise<{ code: number | null; output: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, output })),
  );
  return { child, ended };
}

const setUp = (folder: string, env?: Record<string, string>, ...args: string[]) => start(folder, env, ...args).ended;
const told = (folder: string): string[] =>
  existsSync(join(folder, 'told')) ? readFileSync(join(folder, 'told'), 'utf8').trim().split('\n') : [];

test('it is done once, and again only for what has changed', async () => {
  const folder = project();
  const first = await setUp(folder);
  assert.equal(first.code, 0, first.output);
  assert.match(first.output, /npm packages .* done after \d+\.\d s/);
  const all = told(folder);
  assert.equal(all.filter((line) => line.startsWith('npm ci')).length, 1);
  assert.equal(all.filter((line) => line.startsWith('uv pip install')).length, 2);

  assert.deepEqual(await setUp(folder), { code: 0, output: '' });
  assert.deepEqual(told(folder), all);

  writeFileSync(join(folder, 'services/rehearsal/account/requirements.txt'), '# a comment\none==1.1\n');
  assert.equal((await setUp(folder)).code, 0);
  const since = told(folder).slice(all.length);
  assert.deepEqual(
    since.map((line) => line.split(' ')[0]),
    ['uv', 'uv'],
  );
  assert.match(since.join(), /python\/rehearsal/);
});

test('--tests makes what only they need, an npm client in a folder of its own among it', async () => {
  const folder = project();
  assert.equal((await setUp(folder)).code, 0);
  const before = told(folder).length;
  const first = await setUp(folder, {}, '--tests');
  assert.equal(first.code, 0, first.output);
  const since = told(folder).slice(before);
  assert.deepEqual(
    since.filter((line) => line.startsWith('npm ci')),
    ['npm ci --ignore-scripts --no-audit --no-fund --loglevel=error'],
  );
  assert(existsSync(join(folder, '.cache', 'clients', 'node_modules')));
  for (const name of ['tools', 'clients', 'differential'])
    assert(since.some((line) => line.startsWith('uv pip') && line.includes(`/python/${name}/`)));
  assert.deepEqual(await setUp(folder, {}, '--tests'), { code: 0, output: '' });

  writeFileSync(join(folder, 'test/clients/package-lock.json'), '{"packages":{}}');
  const again = told(folder).length;
  assert.equal((await setUp(folder, {}, '--tests')).code, 0);
  assert.equal(
    told(folder)
      .slice(again)
      .filter((line) => line.startsWith('npm ci')).length,
    1,
  );
});

test('what was interrupted is made again, even after kill -9', async () => {
  const folder = project();
  const killed = start(folder, { SLOW: '5' });
  await eventually(
    'packages are being installed',
    () => told(folder).filter((line) => line.startsWith('uv pip')).length === 2,
  );
  killed.child.kill('SIGKILL');
  await eventually('it is gone', () => killed.child.signalCode === 'SIGKILL');
  const before = told(folder).length;
  const again = await setUp(folder);
  assert.equal(again.code, 0, again.output);
  assert.equal(
    told(folder)
      .slice(before)
      .filter((line) => line.startsWith('uv pip')).length,
    2,
  );
  assert.deepEqual(await setUp(folder), { code: 0, output: '' });
});

test('two at once: the second waits, and finds it done', async () => {
  const folder = project();
  const both = await Promise.all([setUp(folder, { SLOW: '0.3' }), setUp(folder, { SLOW: '0.3' })]);
  assert.deepEqual(
    both.map(({ code }) => code),
    [0, 0],
  );
  assert.equal(told(folder).filter((line) => line.startsWith('npm ci')).length, 1);
});

test('without uv, pip does it', async () => {
  const folder = project({ uv: 'exit 1' });
  const got = await setUp(folder);
  assert.equal(got.code, 0, got.output);
  assert.deepEqual(await setUp(folder), { code: 0, output: '' });
});

for (const [title, programs, says] of [
  ['Python is too old', { python3: 'echo "3 9 $0"' }, /Python 3\.11 or newer.*python3 is 3\.9.*run this again/s],
  ['Python has no venv', { python3: 'echo "3 12 $0"; exit 1' }, /without venv and pip \(install python3\.12-venv\)/],
  ['there is no Python', { python3: 'exit 127' }, /Python 3\.11 or newer with venv is needed/],
  ['npm is too old', { npm: 'echo 6.14.18' }, /npm 6\.14\.18 is too old.*npm install --global npm@10/],
  [
    'the registry cannot be reached',
    {
      npm: 'if [ "$1" = --version ]; then echo 10.0.0; else echo "ENOTFOUND https://mirror.example/x" >&2; exit 1; fi',
    },
    /npm ci failed \(1\): the package registry could not be reached: check the network/,
  ],
] as [string, Record<string, string>, RegExp][])
  test(`${title}: it says so, and what to do`, async () => {
    const others = Object.fromEntries(['python3.13', 'python3.12', 'python3.11'].map((name) => [name, 'exit 127']));
    const folder = project({ ...others, ...programs });
    const { code, output } = await setUp(folder);
    assert.equal(code, 1);
    assert.match(output, says);
    assert.doesNotMatch(output, /mirror\.example|\n\s+at /);
    for (const log of ['npm-ci', 'python-server'].map((name) => join(folder, '.cache', 'setup', `${name}.log`)))
      if (existsSync(log)) assert.doesNotMatch(readFileSync(log, 'utf8'), /mirror\.example/);
  });
