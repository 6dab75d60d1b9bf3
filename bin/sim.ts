/** `npm run sim`: plays seeds of the simulation, and tells how the first one failed that does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startPostgres } from '../services/postgres.ts';
import { run } from '../simulation/run.ts';

const HELP = `npm run sim -- [options]

  --seeds N       how many (default 1000)
  --from K        the first (default 1)
  --seed X        this one alone, told in full
  --store S       memory: the store's model, which is fast (default)
                  postgres: the real store, held against the model at each operation
  --threads T     default: as many as there are cores
  --all           go on after a seed has failed, and list each that does
  --brief         one line of JSON at the end, and nothing else
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    store: { type: 'string', default: 'memory' },
    threads: { type: 'string' },
    all: { type: 'boolean', default: false },
    brief: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help || !['memory', 'postgres'].includes(values.store)) {
  process.stdout.write(HELP);
  process.exit(values.help ? 0 : 2);
}
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
    onTold({ seed, property, how }, soFar) {
      if (values.all && property !== null) say(`seed ${seed} broke "${property}": ${how}`);
      if (performance.now() - toldAt < 5000) return;
      toldAt = performance.now();
      say(`${soFar} seeds, ${((soFar / (toldAt - started)) * 1000).toFixed(1)} a second`);
    },
  });
  const { failed, seeds, seconds, looks, calls, virtualSeconds } = totals;
  if (failed !== null) {
    if (!values.all) say(failed.trace ?? '');
    say(`\nseed ${failed.seed} broke "${failed.property}": ${failed.how}`);
    const store = values.store === 'memory' ? '' : ` --store ${values.store}`;
    say(`play it again: npm run sim -- --seed ${failed.seed}${store}`);
    process.exitCode = 1;
  }
  say(
    `${seeds} seeds in ${seconds.toFixed(1)} s: ${(seeds / seconds).toFixed(1)} a second; ` +
      `${looks} looks, ${calls} AWS calls, ${(virtualSeconds / 86_400).toFixed(1)} days of virtual time`,
  );
  if (values.brief) {
    const { seed = null, property = null, how = '' } = failed ?? {};
    process.stdout.write(`${JSON.stringify({ seeds, seconds, looks, calls, seed, property, how })}\n`);
  }
} finally {
  await postgres?.stop();
  if (directory !== null) rmSync(directory, { recursive: true, force: true });
}
