/**
 * Eventual consistency: what a service keeps, and what its reads show of it, which for a while may be what was before.
 * AWS answers from copies that follow: a read after a write sees either, and one that saw the new may be followed by
 * one that sees the old. Values are never changed in place: whoever changes one sets another.
 */
interface Past<T> {
  /** undefined: it was not there. */
  readonly before: T | undefined;
  readonly until: number;
}

/** How often a read comes to a copy that is up to date already. */
const AHEAD = 0.3;

export interface Lags {
  now(): number;
  random(): number;
  /** How long this write will be missing in some reads, in milliseconds; 0: in none. */
  lag(): number;
}

export class Shelf<T> {
  readonly #true = new Map<string, T>();
  /** Oldest first; only of what changed a moment ago. */
  readonly #past = new Map<string, Past<T>[]>();
  readonly #lags: Lags;

  constructor(lags: Lags) {
    this.#lags = lags;
  }

  // The truth

  get(key: string): T | undefined {
    return this.#true.get(key);
  }

  values(): IterableIterator<T> {
    return this.#true.values();
  }

  /** @param before what reads may go on to see @default what is there */
  set(key: string, value: T, before: T | undefined = this.#true.get(key)): void {
    this.#note(key, before);
    this.#true.set(key, value);
  }

  delete(key: string, before: T | undefined = this.#true.get(key)): void {
    this.#note(key, before);
    this.#true.delete(key);
  }

  #note(key: string, before: T | undefined): void {
    const lag = this.#lags.lag();
    if (lag <= 0) return;
    const pasts = this.#past.get(key);
    const until = Math.max(this.#lags.now() + lag, pasts?.at(-1)?.until ?? 0);
    if (pasts === undefined) this.#past.set(key, [{ before, until }]);
    else pasts.push({ before, until });
  }

  // What reads show

  see(key: string): T | undefined {
    const pasts = this.#past.size === 0 ? undefined : this.#past.get(key);
    if (pasts === undefined) return this.#true.get(key);
    const now = this.#lags.now();
    while (pasts.length > 0 && pasts[0]!.until <= now) pasts.shift();
    if (pasts.length === 0) this.#past.delete(key);
    if (pasts.length === 0 || this.#lags.random() < AHEAD) return this.#true.get(key);
    return pasts[0]!.before;
  }

  /** Whether all reads show the truth of it. */
  isSettled(key: string): boolean {
    const last = this.#past.get(key)?.at(-1);
    return last === undefined || last.until <= this.#lags.now();
  }

  *seen(): Generator<[string, T]> {
    for (const key of this.#true.keys()) {
      const value = this.see(key);
      if (value !== undefined) yield [key, value];
    }
    for (const key of this.#past.keys()) {
      if (this.#true.has(key)) continue;
      const value = this.see(key);
      if (value !== undefined) yield [key, value];
    }
  }
}
