/** The worker, the pass, the kinds and the store under the simulation: `npm run sim` plays more seeds. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { MUTATIONS } from '../../simulation/mutations.ts';
import { play } from '../../simulation/play.ts';
import { openStores } from '../../simulation/postgres.ts';
import type { Played, Stores } from '../../simulation/world.ts';
import { openDatabase, type Database } from '../support/database.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const SEEDS = 100;
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

function holds({ seed, broken, trace }: Played, store = ''): void {
  if (broken !== null)
    assert.fail(
      `${broken.property}: ${broken.how}\nplay it again: npm run sim -- --seed ${seed}${store}\n${trace.text()}`,
    );
}

test(`${SEEDS} seeds: every property holds, at each step and at rest, in worlds worth their name`, async () => {
  const told = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const played = await play(seed);
    holds(played);
    const text = played.trace.text(true);
    for (const what of HAPPENS) if (new RegExp(what, 'm').test(text)) told.add(what);
  }
  assert.deepEqual([...told].sort(), HAPPENS.toSorted(), 'all of it happened in some world');
});

test('the same seed plays the same, on the real store too, which does what its model does', async () => {
  for (const seed of SEEDS_ON_POSTGRES) {
    const [one, again, real] = [await play(seed), await play(seed), await play(seed, stores)];
    holds(real, ' --store postgres');
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
