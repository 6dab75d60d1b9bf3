/**
 * The pass under a seeded simulation: random graphs, faults, crashes between any two calls, the spec changing midway.
 * A failing seed replays alone with `SEED=<n> node --test test/reconciler/pass.test.ts`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Terminal } from '../../services/reconciler/aws/errors.ts';
import { pass, Superseded, type Memory, type Outcome, type Row, type Rows } from '../../services/reconciler/pass.ts';
import { Graph, type Cx, type Kind, type Node } from '../../services/reconciler/resource.ts';

const SEEDS = process.env['SEED'] ? [Number(process.env['SEED'])] : Array.from({ length: 400 }, (_, i) => i + 1);
const TOO_BIG = 9;

/** mulberry32: small, fast, and the same on every machine. */
function prng(seed: number): () => number {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Passes through every catch of the pass, as the end of the process does. */
class Crash extends Superseded {}

interface Thing {
  size: number;
  uses: string[];
  readyAt: number;
  goneAt?: number;
}

type Inputs = { name: string; size: number; uses: string[] };

/** A cloud of things that take their time, fail now and then, and remember every rule that was broken. */
class World {
  now = 0;
  writes = 0;
  faults = true;
  memory: Memory = new Map();
  readonly broken: string[] = [];
  readonly things = new Map<string, Thing>();
  readonly rand: () => number;

  constructor(rand: () => number) {
    this.rand = rand;
  }

  check(held: boolean, rule: string): void {
    if (!held) this.broken.push(rule);
  }

  /** Anything may happen before and after a call. */
  risk(): void {
    if (!this.faults) return;
    const roll = this.rand();
    if (roll < 0.08) throw new Crash('the process died');
    if (roll < 0.25) throw new Error('throttled');
  }

  tick(seconds: number): void {
    this.now += seconds;
    for (const [name, thing] of this.things) if ((thing.goneAt ?? Infinity) <= this.now) this.things.delete(name);
  }

  readonly kind: Kind<Inputs, Thing, { arn: string }> = {
    kind: 'thing',
    iam: () => [],
    pollSeconds: 1,
    limitSeconds: 10_000,
    observe: (_cx, inputs) => {
      this.risk();
      const live = this.things.get(inputs.name);
      if (!live) return Promise.resolve({ is: 'absent' });
      if (live.goneAt !== undefined || live.readyAt > this.now)
        return Promise.resolve({ is: 'busy', live, why: 'pending' });
      return Promise.resolve({ is: 'ready', live, out: { arn: `arn:${inputs.name}` } });
    },
    diff: (inputs, live) => {
      if (live.readyAt > this.now || live.goneAt !== undefined) return [];
      if (live.size !== inputs.size) return [{ field: 'size', from: live.size, to: inputs.size }];
      if (live.uses.join() !== inputs.uses.join()) return [{ field: 'uses', from: live.uses, to: inputs.uses }];
      return [];
    },
    converge: (_cx, inputs, live) => {
      this.risk();
      for (const use of inputs.uses) this.check(this.things.has(use.slice(4)), `${inputs.name} built before ${use}`);
      this.writes++;
      if (inputs.size === TOO_BIG) throw new Terminal('too big');
      const readyAt = this.now + Math.floor(this.rand() * 9);
      if (live) Object.assign(live, { size: inputs.size, uses: inputs.uses, readyAt });
      else {
        this.check(!this.things.has(inputs.name), `${inputs.name} made twice`);
        this.things.set(inputs.name, { size: inputs.size, uses: inputs.uses, readyAt });
      }
      this.risk();
      return Promise.resolve();
    },
    remove: (_cx, inputs) => {
      this.risk();
      this.writes++;
      for (const [name, thing] of this.things)
        this.check(!thing.uses.includes(`arn:${inputs.name}`), `${inputs.name} removed while ${name} uses it`);
      const live = this.things.get(inputs.name);
      if (live) live.goneAt ??= this.now + Math.floor(this.rand() * 5);
      this.risk();
      return Promise.resolve();
    },
  };
}

class MemoryRows implements Rows {
  readonly map = new Map<string, Row>();
  all(): Promise<Row[]> {
    return Promise.resolve([...this.map.values()].map((row) => structuredClone(row)));
  }
  put(row: Row): Promise<void> {
    this.map.set(row.id, structuredClone(row));
    return Promise.resolve();
  }
  drop(id: string): Promise<void> {
    this.map.delete(id);
    return Promise.resolve();
  }
}

function randomGraph(world: World, poison: boolean): Graph {
  const graph = new Graph();
  const made: Node<{ arn: string }>[] = [];
  const count = Math.floor(world.rand() * 7);
  for (let i = 0; i < count; i++) {
    if (world.rand() < 0.2) continue; // this generation leaves it out
    const needs = Object.fromEntries(made.filter(() => world.rand() < 0.4).map((node) => [node.id, node]));
    const size = poison && world.rand() < 0.3 ? TOO_BIG : Math.floor(world.rand() * 3);
    const name = `n${i}`;
    made.push(
      graph.add(name, world.kind, needs, (got) => ({ name, size, uses: Object.values(got).map((o) => o.arn) })),
    );
  }
  return graph;
}

async function once(world: World, rows: Rows, generation: string, graph: Graph): Promise<Outcome> {
  return pass({
    generation,
    graph,
    kinds: new Map([['thing', world.kind as Kind]]),
    rows,
    memory: world.memory,
    cx: () => ({ aws: undefined, tags: {} }) as unknown as Cx,
    fence: () => Promise.resolve(),
    say: () => Promise.resolve(),
    now: () => new Date(world.now * 1000),
  });
}

/** Passes until settled, a crash counting as a pass; false when it is not settled after `limit`. */
async function settle(world: World, rows: Rows, generation: string, graph: Graph, limit: number): Promise<boolean> {
  for (let i = 0; i < limit; i++) {
    let seconds = 1;
    try {
      const outcome = await once(world, rows, generation, graph);
      if (outcome.settled) return true;
      seconds = outcome.nextLookSeconds ?? 1;
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      world.memory = new Map(); // another process goes on
    }
    world.tick(Math.max(1, seconds));
  }
  return false;
}

async function simulate(seed: number): Promise<void> {
  const world = new World(prng(seed));
  const rows = new MemoryRows();

  await settle(world, rows, 'one', randomGraph(world, false), Math.floor(world.rand() * 60));

  // The second generation holds what cannot be made: without faults, all is ready, has failed, or needs what failed.
  const poisoned = randomGraph(world, true);
  await settle(world, rows, 'two', poisoned, Math.floor(world.rand() * 60));
  world.faults = false;
  if (!(await settle(world, rows, 'two', poisoned, 200))) {
    const { rows: states } = await once(world, rows, 'two', poisoned);
    for (const { id, state } of states)
      assert(
        state.state === 'ready' || state.state === 'failed' || state.message.startsWith('needs'),
        `${id} ${state.state}: ${state.message}`,
      );
    world.writes = 0;
    await once(world, rows, 'two', poisoned);
    assert.equal(world.writes, 0, 'what failed is tried again in its generation');
  }

  for (const [generation, graph] of [
    ['three', randomGraph(world, false)],
    ['deleted', new Graph()],
  ] as const) {
    world.faults = true;
    assert(await settle(world, rows, generation, graph, 2000), `${generation} does not converge`);
    const names = graph.nodes.map((node) => node.id).sort();
    assert.deepEqual([...world.things.keys()].sort(), names, 'what exists');
    assert.deepEqual([...rows.map.keys()].sort(), names, 'what is kept');
    world.faults = false;
    world.writes = 0;
    await once(world, rows, generation, graph);
    assert.equal(world.writes, 0, 'a pass over a settled deployment writes');
  }
  assert.deepEqual(world.broken, []);
}

test(`simulation: ${SEEDS.length} seeds converge, in order, once, and leave nothing behind`, async () => {
  for (const seed of SEEDS) {
    try {
      await simulate(seed);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});
