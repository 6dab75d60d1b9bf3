/**
 * Runs the tests: all of them, or the given files.
 *
 *     npm test [-- test/reconciler/pass.test.ts …]
 */
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const ROOT = join(import.meta.dirname, '..');
const SLOW_SECONDS = 5;
const FILE_LIMIT_MINUTES = 10;
const given = process.argv.slice(2).map((file) => resolve(file));

process.chdir(ROOT);
process.env['NODE_COMPILE_CACHE'] ??= join(ROOT, '.cache', 'test', 'node'); // a hundred processes load the same modules
// Those that take long, and mostly wait, first: the others fill what they leave, and the end is short ones.
const LONG = [
  'test/e2e/main-job',
  'test/control-plane/schemathesis',
  'test/e2e/',
  'test/simulation/simulation',
  'test/tidy',
  'test/rehearsal/langgraph-server',
  'test/lib/deploy',
];
const rank = (file: string): number => {
  const at = LONG.findIndex((name) => file.startsWith(name));
  return at < 0 ? LONG.length : at;
};
const all = (): string[] =>
  globSync('test/**/*.test.ts')
    .sort()
    .sort((a, b) => rank(a) - rank(b));
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
const slow: { file: string; seconds: number }[] = [];
const stream = run({
  files: given.length > 0 ? given : all(),
  timeout: FILE_LIMIT_MINUTES * 60_000, // a file that never ends must not hide the results of the others
  signal: stop.signal,
  concurrency: Math.max(4, Math.floor(availableParallelism() / 2)), // most files wait for processes, most of the time
  ...({ globalSetupPath: join(ROOT, 'test/support/global-setup.ts') } as object), // not yet in @types/node
});
stream.on('test:summary', ({ file, duration_ms, success }) => {
  if (file !== undefined && duration_ms > SLOW_SECONDS * 1000)
    slow.push({ file: relative(ROOT, file), seconds: duration_ms / 1000 });
  if (!success) process.exitCode = 1;
});
stream.on('test:fail', () => (process.exitCode = 1));
stream.on('end', () => {
  slow.sort((a, b) => b.seconds - a.seconds);
  const lines = slow.slice(0, 5).map(({ file, seconds }) => `  ${seconds.toFixed(1).padStart(6)} s  ${file}`);
  if (lines.length > 0) process.stderr.write(`slowest files:\n${lines.join('\n')}\n`);
});
stream.compose(spec).pipe(process.stdout);
