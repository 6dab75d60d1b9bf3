/** `npm run sim`: plays seeds of the simulation, and tells how the first one failed that does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '../services/postgres.ts';
import { run } from '../simulation/run.ts';
import { optionsOf, wrong } from './options.ts';

const USAGE = `npm run sim -- [options]

  --seeds N       how many (default 1000)
  --from K        the first (default 1)
  --seed X        this one alone, with all that happened in it
  --store S       memory: the store's model, which is fast (default)
                  postgres: the real store, held against the model at each operation
  --threads T     default: as many as there are cores
  --all           go on after a seed has failed, and list each that does
  --brief         one line of JSON at the end, and nothing else`;

const values = optionsOf(USAGE, {
  seeds: { type: 'string', default: '1000' },
  from: { type: 'string', default: '1' },
  seed: { type: 'string' },
  store: { type: 'string', default: 'memory' },
  threads: { type: 'string' },
  all: { type: 'boolean', default: false },
  brief: { type: 'boolean', default: false },
});
if (!['memory', 'postgres'].includes(values.store)) wrong(`--store: there is no "${values.store}"`, USAGE);
for (const name of ['seeds', 'from', 'seed', 'threads'] as const)
  if (!/^[1-9]\d*$/.test(values[name] ?? '1')) wrong(`--${name} is not a whole number from 1: ${values[name]}`, USAGE);
const say = (text: string): void => void (values.brief || process.stdout.write(`${text}\n`));

const directory = values.store === 'postgres' ? mkdtempSync(join(tmpdir(), 'freehold-sim-')) : null;
const postgres = directory === null ? null : await startPostgres({ directory, durable: false });
try {
  const alone = values.seed !== undefined;
  let toldAt = performance.now();
  const started = toldAt;
  const totals = await run({
    from: Number(values.seed ?? values.from),
    seeds: alone ? 1 : Number(values.seeds),
    databaseUrl: postgres?.url ?? null,
    ...(values.threads === undefined ? {} : { threads: Number(values.threads) }),
    goesOn: values.all,
    inFull: alone,
    onTold({ seed, property, how, trace }, soFar) {
      if (alone) return say(trace ?? '');
      if (values.all && property !== null) say(`seed ${seed} broke "${property}": ${how}`);
      if (performance.now() - toldAt < 5000) return;
      toldAt = performance.now();
      say(`${soFar} seeds, ${((soFar / (toldAt - started)) * 1000).toFixed(1)} a second`);
    },
  });
  const { failed, seeds, seconds, looks, calls, virtualSeconds } = totals;
  if (failed !== null) {
    if (!values.all && !alone) say(failed.trace ?? '');
    say(`\nseed ${failed.seed} broke "${failed.property}": ${failed.how}`);
    const store = values.store === 'memory' ? '' : ` --store ${values.store}`;
    say(`play it again: npm run sim -- --seed ${failed.seed}${store}`);
    process.exitCode = 1;
  } else say(`\n${alone ? 'nothing broke' : 'no seed broke anything'}`);
  say(
    `${seeds} ${seeds === 1 ? 'seed' : 'seeds'} in ${seconds.toFixed(1)} s: ${(seeds / seconds).toFixed(1)} a second; ` +
      `${looks} looks, ${calls} AWS calls, ${(virtualSeconds / 3600).toFixed(1)} hours of virtual time`,
  );
  if (values.brief) {
    const { seed = null, property = null, how = '' } = failed ?? {};
    process.stdout.write(`${JSON.stringify({ seeds, seconds, looks, calls, seed, property, how })}\n`);
  }
} finally {
  await postgres?.stop();
  if (directory !== null) rmSync(directory, { recursive: true, force: true });
}
