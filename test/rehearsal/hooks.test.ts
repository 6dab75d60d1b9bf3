/**
 * The emulated account reaches into ministack; this fails first, and by name, when another version no longer has what
 * it needs.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startRehearsal } from '../../services/rehearsal/index.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const PYTHON = join(ROOT, '.cache/python/rehearsal/bin/python');
const ACCOUNT = join(ROOT, 'services/rehearsal/account');

function python(...args: string[]): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    const env = { PATH: process.env['PATH'], AUTH: 'true', LOG_LEVEL: 'ERROR' };
    execFile(PYTHON, args, { cwd: join(ROOT, 'services/rehearsal'), env }, (error, out) =>
      resolve({ code: error ? Number(error.code) : 0, out }),
    );
  });
}

interface Hooks {
  version: string;
  pinned: string;
  hooks: number;
  missing: string[];
}

test('every name of ministack’s that we use is there, in the version that is pinned', async () => {
  const { code, out } = await python('-m', 'account.hooks');
  const found = JSON.parse(out) as Hooks;
  assert.deepEqual(found.missing, []);
  assert.equal(found.version, found.pinned);
  assert.ok(found.hooks > 200, `${found.hooks} hooks were found`);
  assert.equal(code, 0);
});

test('a name that is gone is named', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'hooks-')), 'gone.py');
  writeFileSync(
    file,
    'from ministack.services import ecs\n\nactions = ecs._ACTION_MAP["CreateNothing"]\necs._no_such_thing()\n',
  );
  const { code, out } = await python('-m', 'account.hooks', file);
  assert.deepEqual((JSON.parse(out) as Hooks).missing, [
    'gone.py: ministack.services.ecs._ACTION_MAP[CreateNothing]',
    'gone.py: ministack.services.ecs._no_such_thing',
  ]);
  assert.equal(code, 1);
});

test('the Python environment is exactly what requirements.txt says, and the file pins everything', async () => {
  const wanted = readFileSync(join(ACCOUNT, 'requirements.txt'), 'utf8')
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter(Boolean);
  for (const line of wanted) assert.match(line, /^[\w-]+==[\w.]+$/);
  const script = `import importlib.metadata as m, json; print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))`;
  const installed = JSON.parse((await python('-c', script)).out) as Record<string, string>;
  for (const line of wanted) {
    const [name, version] = line.split('==') as [string, string];
    assert.equal(installed[name.toLowerCase()], version, name);
  }
});

test('all of our modules are in place when it runs', async () => {
  const account = await startRehearsal();
  const health = (await (await fetch(`${account.endpoint}/_rehearsal/health`)).json()) as { modules: string[] };
  await account.stop();
  const source = readFileSync(join(ACCOUNT, '__main__.py'), 'utf8');
  const listed = [...(/MODULES = \[([\s\S]*?)\]/.exec(source)?.[1] ?? '').matchAll(/"(\w+)"/g)].map((it) => it[1]!);
  assert.ok(listed.length > 10 && listed.every((name) => existsSync(join(ACCOUNT, `${name}.py`))), listed.join());
  assert.deepEqual(health.modules, listed.toSorted());
});
