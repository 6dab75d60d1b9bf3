/** The worker, the pass, the kinds and the store under the simulation: `npm run sim` plays more seeds. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { MUTATIONS } from '../../simulation/mutations.ts';
import { play } from '../../simulation/play.ts';
import { openStores } from '../../simulation/postgres.ts';
import { run } from '../../simulation/run.ts';
import type { Told } from '../../simulation/thread.ts';
import type { Stores } from '../../simulation/world.ts';
import { openDatabase, type Database } from '../support/database.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const SEEDS = 300;
const SEEDS_ON_POSTGRES = [9, 12];
/** Faults, hands, several workers, and what customers ask for. */
const HAPPENS = [
  ' dies$',
  'is paused for',
  'never hears of Create',
  'refused: ThrottlingException',
  'refused: AccessDeniedException',
  'by somebody’s hand',
  'another pass has begun',
  'asks: interrupt',
  'asks: production',
  'asks: delete',
  'is DEPLOY_FAILED',
  'is INTERRUPTED',
  'worker 3',
];

let database: Database;
let stores: Stores;
before(async () => {
  database = await openDatabase();
  stores = await openStores(database.url);
});
after(async () => {
  await stores.close();
  await database.close();
});

type Failed = Pick<Told, 'seed' | 'property' | 'how' | 'trace'>;
const failure = ({ seed, property, how, trace }: Failed, store = ''): string =>
  `${property}: ${how}\nplay it again: npm run sim -- --seed ${seed}${store}\n${trace}`;

test(`${SEEDS} seeds: every property holds, at each step and at rest, in worlds worth their name`, async () => {
  const told = new Set<string>();
  // In a thread: the test runner's hooks on promises would double what it costs.
  const { seeds, failed } = await run({
    from: 1,
    seeds: SEEDS,
    threads: 1,
    inFull: true,
    onTold({ trace }) {
      for (const what of HAPPENS) if (new RegExp(what, 'm').test(trace!)) told.add(what);
    },
  });
  if (failed !== null) assert.fail(failure(failed));
  assert.equal(seeds, SEEDS);
  assert.deepEqual([...told].sort(), HAPPENS.toSorted(), 'all of it happened in some world');
});

test('the same seed plays the same, on the real store too, which does what its model does', async () => {
  for (const seed of SEEDS_ON_POSTGRES) {
    const [one, again, real] = [await play(seed), await play(seed), await play(seed, stores)];
    if (real.broken !== null)
      assert.fail(failure({ seed, ...real.broken, trace: real.trace.text() }, ' --store postgres'));
    assert.equal(again.trace.digest(), one.trace.digest());
    assert.equal(real.trace.digest(), one.trace.digest());
  }
});

test('every mutation still applies', () => {
  for (const { name, file, also, ...one } of MUTATIONS)
    for (const { from, to } of also ? [one, also] : [one]) {
      assert.equal(readFileSync(join(ROOT, file), 'utf8').split(from).length, 2, `"${name}" in ${file}`);
      assert.notEqual(from, to);
    }
});
