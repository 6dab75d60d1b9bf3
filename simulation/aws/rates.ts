/**
 * Request rates: token buckets of the sizes and refills that AWS publishes, one set for the account and region. The
 * table is the emulated account's (`services/rehearsal/account/throttle.json`), each row with its page.
 */
import { readFileSync } from 'node:fs';
import { Refused } from './operation.ts';

interface Row {
  readonly name: string;
  readonly actions: string;
  readonly burst?: number;
  readonly refill: number;
  readonly each?: boolean;
  readonly unfiltered?: boolean;
}

interface Service {
  readonly code: string;
  readonly status: number;
  readonly message: string;
  readonly rows: readonly Row[];
}

const TABLE = new URL('../../services/rehearsal/account/throttle.json', import.meta.url);
const services = (JSON.parse(readFileSync(TABLE, 'utf8')) as { services: Record<string, Service> }).services;
/** By `service:operation`, and `?` for a call without a filter or a page. */
const rows = new Map<string, Row | null>();

function rowOf(service: string, operation: string, isUnfiltered: boolean): Row | null {
  const key = `${service}:${operation}${isUnfiltered ? '?' : ''}`;
  let row = rows.get(key);
  if (row === undefined) {
    const fits = (each: Row) =>
      new RegExp(`^(${each.actions})$`).test(operation) && (isUnfiltered || each.unfiltered !== true);
    row = services[service]?.rows.find(fits) ?? null;
    rows.set(key, row);
  }
  return row;
}

interface Bucket {
  tokens: number;
  at: number;
}

export class Rates {
  readonly #now: () => number;
  readonly #scale: number;
  readonly #buckets = new Map<string, Bucket>();

  /** @param scale of AWS's rates; Infinity: no limits */
  constructor(now: () => number, scale: number) {
    this.#now = now;
    this.#scale = scale;
  }

  /** Takes a token. @throws Refused in the service's own words when there is none */
  take(service: string, operation: string, input: object): void {
    if (this.#scale === Infinity) return;
    const row = rowOf(service, operation, service === 'ec2' && !('Filters' in input) && !('MaxResults' in input));
    if (row === null) return;
    const size = (row.burst ?? row.refill) * this.#scale;
    const name = `${service} ${row.name}${row.each ? ` ${operation}` : ''}`;
    const now = this.#now();
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) this.#buckets.set(name, (bucket = { tokens: size, at: now }));
    bucket.tokens = Math.min(size, bucket.tokens + ((now - bucket.at) / 1000) * row.refill * this.#scale);
    bucket.at = now;
    if (bucket.tokens < 1) {
      const { code, message, status } = services[service]!;
      throw new Refused(code, message, status);
    }
    bucket.tokens -= 1;
  }
}
