import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = new URL('../..', import.meta.url).pathname;
const ACCOUNT = join(ROOT, 'services/rehearsal/account');
const table = JSON.parse(readFileSync(join(ACCOUNT, 'durations.json'), 'utf8')) as Record<
  string,
  { seconds: number; source: string }
>;

test('every duration has a source, is used, and every one that is used is in the table', () => {
  const source = globSync(join(ACCOUNT, '*.py'))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  const used = new Set([...source.matchAll(/durations\.seconds\(\s*"([a-z.]+)"/g)].map((it) => it[1]!));
  assert.ok(used.size > 10);
  for (const name of used) assert.ok(table[name], `${name} is not in durations.json`);
  for (const [name, { seconds, source: said }] of Object.entries(table)) {
    assert.ok(seconds > 0 && said.length > 10, name);
    assert.ok(source.includes(`"${name}"`), `${name} is not used`);
  }
});

test('the pace divides AWS’s durations, the timer pace what callers configured; the jitter is small and repeatable', () => {
  const script = `
from account import settings, durations
import json
def run():
    durations.reset()
    return [durations.seconds("rds.create") for _ in range(50)]
whole = run()
settings.PACE, settings.TIMER_PACE = 20.0, 4.0
print(json.dumps({"whole": whole, "fast": run(), "again": run(), "timer": durations.timer(30)}))
`;
  const python = join(ROOT, '.cache/python/rehearsal/bin/python');
  const it = JSON.parse(
    execFileSync(python, ['-c', script], { cwd: join(ROOT, 'services/rehearsal'), encoding: 'utf8' }),
  ) as Record<'whole' | 'fast' | 'again', number[]> & { timer: number };
  const { seconds } = table['rds.create']!;
  assert.deepEqual(it.fast, it.again);
  assert.ok(new Set(it.whole).size > 40);
  for (const [n, one] of it.whole.entries()) {
    assert.ok(Math.abs(one - seconds) <= seconds * 0.1);
    assert.ok(Math.abs(it.fast[n]! * 20 - one) < 1e-6);
  }
  assert.equal(it.timer, 7.5);
});
