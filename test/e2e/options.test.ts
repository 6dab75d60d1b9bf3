/** What the commands say about options that they do not have, before they start anything. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');
const WRONG: readonly [command: string, options: readonly string[], says: RegExp][] = [
  ['rehearse.ts', ['--jsn'], /^Unknown option '--jsn'/],
  ['rehearse.ts', ['--out', join(ROOT, 'nowhere', 'report.html')], /^--out: .*nowhere is not a folder/],
  ['rehearse.ts', ['--out', ROOT], /^--out: .* is a folder/],
  ['rehearse.ts', ['--pace', '0'], /^--pace takes a number from 1 on, not "0"/],
  ['control-plane.ts', ['--port', '80'], /^Unknown option '--port'/],
  ['demo.ts', ['--onec'], /^Unknown option '--onec'/],
];

const run = (
  command: string,
  options: readonly string[],
): Promise<{ code: number | null; out: string; error: string }> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [join(ROOT, 'bin', command), ...options], { timeout: 20_000 });
    const said = { out: '', error: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said.out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said.error += text));
    child.once('close', (code) => resolve({ code, ...said }));
  });

for (const [command, options, says] of WRONG)
  test(`${command} ${options.map((one) => one.replace(ROOT, '…')).join(' ')}: one sentence and the usage, and nothing starts`, async () => {
    const { code, out, error } = await run(command, options);
    assert.equal(code, 2, error);
    assert.match(error, says);
    assert.match(error, /\n\n(npm (start|run rehearse)|npx node bin\/)/);
    assert.doesNotMatch(error, /\n\s+at /);
    assert.equal(out, '');
  });

test('--help prints the usage', async () => {
  const { code, out } = await run('rehearse.ts', ['--help']);
  assert.equal(code, 0);
  assert.match(out, /^npm run rehearse.*--out.*--json.*--all.*--pace/s);
});
