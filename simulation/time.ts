/**
 * Virtual time and seeded chance. Actors are ordinary async functions; whatever they wait for is a turn of theirs. One
 * actor runs at a time, until its next turn. Which one is next is decided by time and, of several at once, by the seed.
 */
import { createRequire, syncBuiltinESMExports } from 'node:module';

/** mulberry32: small, fast, and the same on every machine. */
export function chance(seed: number): () => number {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Seeded choices. */
export class Dice {
  readonly next: () => number;

  constructor(seed: number) {
    this.next = chance(seed);
  }

  /** True so often. */
  happens(rate: number): boolean {
    return rate > 0 && this.next() < rate;
  }

  between(from: number, to: number): number {
    return from + this.next() * (to - from);
  }

  whole(from: number, to: number): number {
    return Math.floor(this.between(from, to + 1));
  }

  one<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)]!;
  }
}

interface Turn {
  readonly at: number;
  /** Among turns at the same time. */
  readonly order: number;
  readonly resume: () => void;
}

export class Time {
  /** Virtual milliseconds since 1970. */
  now = Date.UTC(2026, 0, 1);
  readonly #random: () => number;
  /** A binary heap. */
  readonly #turns: Turn[] = [];
  #waits: () => void = () => {};

  constructor(random: () => number) {
    this.#random = random;
  }

  /** The calling actor goes on after so long. */
  pass(milliseconds: number): Promise<void> {
    return new Promise((resume) => {
      this.#push({ at: this.now + milliseconds, order: this.#random(), resume });
      this.#waits();
    });
  }

  /** The calling actor never goes on, as when its process dies. */
  never(): Promise<never> {
    this.#waits();
    return new Promise(() => {});
  }

  /** Lets others go on: what was waited for is there. */
  at(milliseconds: number, resume: () => void): void {
    this.#push({ at: Math.max(this.now, milliseconds), order: this.#random(), resume });
  }

  /** Starts an actor: it runs from the next turn on. */
  start(actor: () => Promise<void>, failed: (error: unknown) => void): void {
    this.at(
      this.now,
      () =>
        void actor()
          .catch(failed)
          .finally(() => this.#waits()),
    );
  }

  /** The calling actor waits for what another one does. */
  waiting(): void {
    this.#waits();
  }

  /** Until `isOver`, or nobody has anything left to do. */
  async run(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const turn = this.#pop();
      if (turn === undefined) return;
      this.now = turn.at;
      const waits = new Promise<void>((resolve) => (this.#waits = resolve));
      turn.resume();
      await waits;
    }
  }

  #push(turn: Turn): void {
    const heap = this.#turns;
    let at = heap.push(turn) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!isBefore(turn, heap[up]!)) break;
      heap[at] = heap[up]!;
      at = up;
    }
    heap[at] = turn;
  }

  #pop(): Turn | undefined {
    const heap = this.#turns;
    const [first] = heap;
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= heap.length) break;
      if (down + 1 < heap.length && isBefore(heap[down + 1]!, heap[down]!)) down += 1;
      if (!isBefore(heap[down]!, last)) break;
      heap[at] = heap[down]!;
      at = down;
    }
    heap[at] = last;
    return first;
  }
}

const isBefore = (a: Turn, b: Turn): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

const real = { Date, random: Math.random };
const crypto = createRequire(import.meta.url)('node:crypto') as {
  -readonly [K in 'randomUUID' | 'randomBytes']: unknown;
};
const realCrypto = { randomUUID: crypto.randomUUID, randomBytes: crypto.randomBytes };

/**
 * Until `giveBack`, whatever in this thread asks the system for the time or for chance gets the simulation's: so that
 * code which asks for itself is simulated as it is, and replays.
 */
export function lend(time: Time, random: () => number): { giveBack(): void } {
  const now = (): number => Math.floor(time.now);
  function Virtual(...given: []): unknown {
    return new real.Date(...((given.length > 0 ? given : [now()]) as []));
  }
  Virtual.prototype = real.Date.prototype; // what it makes is a Date like any other
  globalThis.Date = Object.assign(Virtual, { now, UTC: real.Date.UTC, parse: real.Date.parse }) as never;
  // By the time alone: libraries draw from it as often as they like.
  Math.random = () => chance(now())();
  const bytes = (size: number): Buffer => {
    const made = Buffer.alloc(size);
    for (let at = 0; at < size; at += 1) made[at] = Math.floor(random() * 256);
    return made;
  };
  crypto.randomBytes = bytes;
  crypto.randomUUID = () => uuid(bytes(16));
  syncBuiltinESMExports();
  return {
    giveBack() {
      globalThis.Date = real.Date;
      Math.random = real.random;
      Object.assign(crypto, realCrypto);
      syncBuiltinESMExports();
    },
  };
}

function uuid(bytes: Buffer): string {
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
