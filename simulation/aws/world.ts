/**
 * What all services of a simulated account share: its time and chance, what AWS will do later, what exists, and what
 * happened. Later things have no timers: they are carried out, each at its own time, before anybody looks or writes.
 */
import { readFileSync } from 'node:fs';
import { Shelf } from './shelf.ts';
import type { Effect, Quotas, SimulatedAccountOptions, SimulatedResource } from './account.ts';

/** Seconds, each with its source. */
const DURATIONS = JSON.parse(
  readFileSync(new URL('../../services/rehearsal/account/durations.json', import.meta.url), 'utf8'),
) as Record<string, { readonly seconds: number }>;

/** AWS's quotas that are not adjusted: https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html */
const QUOTAS: Quotas = { databases: 40, targetGroupsPerBalancer: 100, rulesPerBalancer: 100 };

/** "A couple of seconds, seldom minutes": seldom is this often, and then this many times as long. */
const SELDOM = { often: 0.03, times: 12, mostSeconds: 30 };

export type Tags = Readonly<Record<string, string>>;

/** What exists, as its service knows it. */
export interface Thing {
  readonly type: string;
  readonly arn: string;
  readonly name: string;
  readonly since: number;
  readonly incarnation: string;
  tags: Tags;
  isGoing: boolean;
  state(): string;
  uses(): readonly string[];
}

interface Later {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
}

/** Who is at work: it is written down with every effect. */
export interface Doing {
  readonly by: Effect['by'];
  readonly operation: string;
}

const ITSELF: Doing = { by: 'aws', operation: '' };

export class World {
  readonly id: string;
  readonly region: string;
  readonly prefix: string;
  readonly options: SimulatedAccountOptions;
  readonly quotas: Quotas;
  readonly history: Effect[] = [];
  /** By ARN; in the order of their making. */
  readonly things = new Map<string, Thing>();
  /** The tagging API's index, which follows all services. */
  readonly index: Shelf<Tags>;
  doing: Doing = ITSELF;
  readonly #heap: Later[] = [];
  #at = 0;
  #order = 0;

  constructor(options: SimulatedAccountOptions) {
    this.options = options;
    this.id = options.id;
    this.region = options.region;
    this.prefix = options.prefix ?? 'freehold';
    this.quotas = { ...QUOTAS, ...options.quotas };
    this.#at = options.habits.now();
    this.index = this.shelf('tags.consistency');
  }

  // Time and chance

  /** Virtual milliseconds: of whatever is being carried out. */
  now(): number {
    return this.#at;
  }

  date(at: number = this.#at): Date {
    return new Date(at);
  }

  random(): number {
    return this.options.habits.random();
  }

  /**
   * Of durations.json, in milliseconds: AWS never takes exactly as long twice, and some things take half as long again.
   */
  takes(name: string): number {
    const row = DURATIONS[name];
    if (row === undefined) throw new Error(`no such duration: "${name}": add it to durations.json, with its source`);
    return row.seconds * 1000 * (0.7 + 0.7 * this.random()) * (this.options.slowness ?? 1);
  }

  /** Seconds between these, in milliseconds. */
  between(low: number, high: number): number {
    return (low + (high - low) * this.random()) * 1000 * (this.options.slowness ?? 1);
  }

  /** How long AWS keeps or promises something, in milliseconds, whatever its pace. */
  kept(name: string): number {
    return DURATIONS[name]!.seconds * 1000;
  }

  shelf<T>(lagName: string): Shelf<T> {
    const usual = DURATIONS[lagName]!.seconds * 1000 * (this.options.lag ?? 1);
    return new Shelf<T>({
      now: () => this.#at,
      random: () => this.random(),
      lag: () => {
        if (usual === 0) return 0;
        const seldom = this.random() < SELDOM.often ? SELDOM.times : 1;
        return Math.min(usual * 2 * this.random() * seldom, SELDOM.mostSeconds * 1000);
      },
    });
  }

  digits(count: number): string {
    let text = '';
    while (text.length < count) text += String(Math.floor(this.random() * 1e9)).padStart(9, '0');
    return text.slice(0, count);
  }

  hex(count: number): string {
    let text = '';
    while (text.length < count)
      text += Math.floor(this.random() * 0x1_0000_0000)
        .toString(16)
        .padStart(8, '0');
    return text.slice(0, count);
  }

  // What AWS does later

  later(milliseconds: number, act: () => void): void {
    const heap = this.#heap;
    const one = { at: this.#at + Math.max(0, milliseconds), order: this.#order++, act };
    let at = heap.length;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(one, heap[above]!)) break;
      heap[at] = heap[above]!;
      at = above;
    }
    heap[at] = one;
  }

  /** Carries out what has become due, each at its time. */
  catchUp(): void {
    const now = this.options.habits.now();
    const heap = this.#heap;
    if (heap.length > 0 && heap[0]!.at <= now) {
      const doing = this.doing;
      this.doing = ITSELF;
      while (heap.length > 0 && heap[0]!.at <= now) {
        const due = this.#pop();
        this.#at = Math.max(this.#at, due.at);
        due.act();
      }
      this.doing = doing;
    }
    this.#at = Math.max(this.#at, now);
  }

  #pop(): Later {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) {
      let at = 0;
      for (;;) {
        let below = at * 2 + 1;
        if (below >= heap.length) break;
        if (below + 1 < heap.length && isBefore(heap[below + 1]!, heap[below]!)) below += 1;
        if (!isBefore(heap[below]!, last)) break;
        heap[at] = heap[below]!;
        at = below;
      }
      heap[at] = last;
    }
    return first;
  }

  // What exists, and what happened

  arn(service: string, resource: string): string {
    return `arn:aws:${service}:${this.region}:${this.id}:${resource}`;
  }

  /** @param more what its service works out of it when somebody asks */
  made(
    type: string,
    arn: string,
    name: string,
    tags: Tags,
    more: { state?: () => string; uses?: () => readonly string[] } = {},
  ): Thing {
    const thing: Thing = {
      type,
      arn,
      name,
      since: this.#at,
      incarnation: this.hex(8),
      tags,
      isGoing: false,
      state: more.state ?? (() => 'available'),
      uses: more.uses ?? (() => []),
    };
    this.things.set(arn, thing);
    this.index.set(arn, tags);
    this.note('made', thing);
    return thing;
  }

  retag(thing: Thing, tags: Tags): void {
    thing.tags = tags;
    this.index.set(thing.arn, tags);
    this.note('changed', thing);
  }

  gone(thing: Thing): void {
    if (this.things.get(thing.arn) !== thing) return;
    this.things.delete(thing.arn);
    this.index.delete(thing.arn);
    this.note('gone', thing);
  }

  /** It is gone, and AWS keeps showing what is left of it until `forget`. */
  ended(thing: Thing): void {
    thing.isGoing = true;
    this.note('gone', thing);
  }

  forget(thing: Thing): void {
    if (this.things.get(thing.arn) !== thing) return;
    this.things.delete(thing.arn);
    this.index.delete(thing.arn);
  }

  note(what: Effect['what'], { type, arn, name, tags, incarnation }: Thing): void {
    const { by, operation } = this.doing;
    this.history.push({ at: this.#at, by, operation, what, type, arn, name, tags, incarnation });
  }

  resources(): SimulatedResource[] {
    return [...this.things.values()].map(({ type, arn, name, tags, isGoing, since, incarnation, state, uses }) => ({
      type,
      arn,
      name,
      tags,
      isGoing,
      since,
      incarnation,
      state: state(),
      uses: uses(),
    }));
  }
}

const isBefore = (a: Later, b: Later): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** As RDS, EC2, Elastic Load Balancing, Secrets Manager, ECR and Cloud Map have them. */
export const tagsOf = (list: readonly { Key?: string | undefined; Value?: string | undefined }[] | undefined): Tags =>
  Object.fromEntries((list ?? []).map(({ Key, Value }) => [Key ?? '', Value ?? '']));

export const tagListOf = (tags: Tags): { Key: string; Value: string }[] =>
  Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

export const without = (tags: Tags, keys: readonly string[]): Tags =>
  Object.fromEntries(Object.entries(tags).filter(([key]) => !keys.includes(key)));
