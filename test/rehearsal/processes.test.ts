/** No process of the emulated account outlives it, however it ends. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { RunTaskCommand } from '@aws-sdk/client-ecs';
import { attachRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate } from '../support/fargate.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const ACCOUNT = '310000000021';

/** Every process with this text in its environment. */
function marked(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(text);
      } catch {
        return false; // ended meanwhile, or someone else's
      }
    })
    .map(Number);
}

describe('processes', { concurrency: 2, timeout: 90_000 }, () => {
  /** An emulator of its own with one task, whose shell has a child in the background and one that left its session. */
  async function started(
    t: TestContext,
    mark: string,
  ): Promise<{ child: ChildProcess; ended: Promise<void>; rehearsal: Rehearsal }> {
    const child = spawn(join(ROOT, '.cache/python/rehearsal/bin/python'), [join(ROOT, 'services/rehearsal/account')], {
      env: { PATH: process.env['PATH'], REHEARSAL_PACE: '200', REHEARSAL_PARENT: String(process.pid) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const endpoint = await new Promise<string>((resolve, reject) => {
      child.stdout.on('data', (text: Buffer) => resolve(/http:\S+/.exec(text.toString())![0]));
      child.once('exit', () => reject(new Error('the emulator ended')));
    });
    const rehearsal = await attachRehearsal(endpoint);
    const f = await fargate(rehearsal, ACCOUNT);
    const command = ['sleep 1000 & setsid sleep 1000 & wait'];
    const taskDefinition = await f.define('family', { MARK: mark }, { entryPoint: ['sh', '-c'], command });
    await f.ecs.send(
      new RunTaskCommand({
        cluster: CLUSTER,
        taskDefinition,
        launchType: 'FARGATE',
        networkConfiguration: f.networkConfiguration,
      }),
    );
    await eventually('its three processes run', () => marked(mark).length === 3);
    return { child, ended, rehearsal };
  }

  const counted = { skip: !existsSync('/proc/self/schedstat') && 'nobody counts here how long threads wait' };
  test('a limit passes for a process that sleeps, and not for one that waits for a processor', counted, () => {
    const script = `
import json, os, sys, time
from account import processes
spin = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\\nwhile True: pass"
for n in range(4):
    processes.start([sys.executable, "-c", spin], {}, "/", f"127.1.0.{n}")
processes.start(["sleep", "60"], dict(os.environ), "/", "127.1.0.9")
spans = [processes.Span(address) for address in ("127.1.0.1", "127.1.0.9", "127.1.0.10")]
time.sleep(2)
print(json.dumps([[span.exceeds(limit) for limit in (0.05, 1.5, 30)] for span in spans]))
processes.stop()
`;
    const python = join(ROOT, '.cache/python/rehearsal/bin/python');
    const said = execFileSync(python, ['-c', script], { cwd: join(ROOT, 'services/rehearsal'), encoding: 'utf8' });
    const [starved, asleep, nobody] = JSON.parse(said) as boolean[][];
    assert.deepEqual(starved, [true, false, false], 'one of four on a processor has had half a second');
    assert.deepEqual(asleep, [true, true, false]);
    assert.deepEqual(nobody, [true, true, false]);
  });

  test('kill -9 of the emulator ends them all', async (t) => {
    const mark = `mark-${process.pid}-nine`;
    const { child, ended } = await started(t, mark);
    child.kill('SIGKILL');
    await ended;
    await eventually('none is left', () => marked(mark).length === 0, { seconds: 3 });
  });

  test('SIGTERM to the emulator, and a reset before it, end them all', async (t) => {
    const mark = `mark-${process.pid}-term`;
    const { child, ended, rehearsal } = await started(t, mark);
    assert.equal((await rehearsal.processes()).length, 1);
    await rehearsal.reset();
    assert.deepEqual(await rehearsal.processes(), []);
    child.kill('SIGTERM');
    await ended;
    await eventually('none is left', () => marked(mark).length === 0, { seconds: 3 });
  });
});
