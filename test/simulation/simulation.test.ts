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
const SEEDS = 120;
const SEEDS_ON_POSTGRES = 3;

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

test(`${SEEDS} seeds: every property holds, at each step and at rest`, async () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) holds(await play(seed));
});

test(`${SEEDS_ON_POSTGRES} seeds on the real store: it does what its model does`, async () => {
  for (let seed = 1; seed <= SEEDS_ON_POSTGRES; seed += 1) holds(await play(seed, stores), ' --store postgres');
});

test('the same seed plays the same, and another one something else', async () => {
  const [one, again, other] = [await play(7), await play(7), await play(8)];
  assert.equal(one.trace.digest(), again.trace.digest());
  assert.notEqual(one.trace.digest(), other.trace.digest());
  const onPostgres = await play(9, stores);
  assert.equal(onPostgres.trace.digest(), (await play(9)).trace.digest(), 'on the real store, too');
});

test('a world is worth its name: it has faults, hands, several workers, and it says what happened', async () => {
  const worlds: string[] = [];
  for (let seed = 1; seed <= 30; seed += 1) worlds.push((await play(seed)).trace.text(true));
  const all = worlds.join('\n');
  for (const what of [
    /dies$/m,
    /is paused for/,
    /never hears of Create/,
    /refused: ThrottlingException/,
    /refused: AccessDeniedException/,
    /by somebody’s hand/,
    /another pass has begun/,
    /asks: interrupt/,
    /asks: production/,
    /asks: delete/,
    /is DEPLOY_FAILED/,
    /is INTERRUPTED/,
    /worker 3/,
  ])
    assert.match(all, what);
});

test('every mutation still applies', () => {
  for (const { name, file, also, ...one } of MUTATIONS)
    for (const { from, to } of also ? [one, also] : [one]) {
      assert.equal(readFileSync(join(ROOT, file), 'utf8').split(from).length, 2, `"${name}" in ${file}`);
      assert.notEqual(from, to);
    }
});
