/** What happened in a simulation, to read when it has failed, and to compare when it is played again. */
import { createHash } from 'node:crypto';
import type { Effect, SimulatedCall } from './aws/account.ts';
import type { Time } from './time.ts';

type Entry = readonly [at: number, who: string, what: string | SimulatedCall, how: string | null];

/** Reads are told only from so long before the end. */
const READS_TOLD = 80;

export class Trace {
  readonly #entries: Entry[] = [];
  readonly #time: Time;
  readonly #since: number;

  constructor(time: Time) {
    this.#time = time;
    this.#since = time.now;
  }

  add(who: string, what: string): void {
    this.#entries.push([this.#time.now, who, what, null]);
  }

  /** @param refused why AWS refused it; null: it went well */
  call(who: string, call: SimulatedCall, refused: string | null): void {
    this.#entries.push([this.#time.now, who, call, refused]);
  }

  effect({ by, operation, what, type, name, incarnation }: Effect): void {
    const how = by === 'call' ? what : `${what} by ${by === 'hand' ? 'somebody’s hand' : 'AWS'} (${operation})`;
    this.add('AWS', `${type} ${name} ${how} [${incarnation}]`);
  }

  get length(): number {
    return this.#entries.length;
  }

  /** The same for the same play, whatever ids a database made up. */
  digest(): string {
    const hash = createHash('sha256');
    for (const entry of this.#entries) hash.update(`${line(entry, 0)}\n`);
    return hash.digest('hex').slice(0, 16);
  }

  /** @param whole with every read */
  text(whole = false): string {
    const from = this.#entries.length - READS_TOLD;
    return this.#entries
      .filter(([, , what, how], at) => whole || at >= from || typeof what === 'string' || what.isWrite || how !== null)
      .map((entry) => line(entry, this.#since))
      .join('\n');
  }
}

function line([at, who, what, how]: Entry, since: number): string {
  const said =
    typeof what === 'string'
      ? what
      : `${what.service}:${what.operation} ${what.resource}${how === null ? '' : ` refused: ${how}`}`;
  return `${clock(at - since)} ${who.padEnd(9)} ${said}`;
}

/** `1:02:03.456` */
function clock(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  const whole = `${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
  return `${whole}.${String(Math.floor(milliseconds % 1000)).padStart(3, '0')}`;
}
