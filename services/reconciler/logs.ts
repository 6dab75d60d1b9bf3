/**
 * Pages of a log that nobody has stored for us: each is read from where the log is kept, when it is asked for. An
 * offset says what was given before: where reading goes on, and which lines after that were given already. Nothing else
 * is remembered, so an offset is good for as long as the lines are kept, and two pages never give the same line or
 * leave one out, also when containers write at once and the lines of one arrive later than those of another.
 */
import { createHash } from 'node:crypto';

export const LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'] as const;
export type Level = (typeof LEVELS)[number];

/** As it is kept. Times are milliseconds since 1970. */
export interface LogEvent {
  /** Its own, for ever. */
  readonly id: string;
  readonly at: number;
  /** When it came to be kept: seconds later, or minutes. */
  readonly arrivedAt: number;
  readonly text: string;
  /** Which container wrote it. */
  readonly stream: string;
}

export interface LogRange {
  /** Both are included. `to` undefined: to its end, wherever that is. */
  readonly from: number;
  readonly to: number | undefined;
  readonly newestFirst: boolean;
  /** A regular expression that all wanted lines match. Others may come besides. */
  readonly hint: string | undefined;
  readonly limit: number;
  /** Of the page before, which had the same range. It may have expired: then the range begins anew. */
  readonly token: string | undefined;
}

/** A page in order of time. It may be empty although more follows: `token` alone tells. */
export type LogSource = (range: LogRange) => Promise<{
  readonly events: readonly LogEvent[];
  readonly token: string | undefined;
}>;

export interface LogQuery {
  /** No line is earlier: when there was nothing yet, or what the caller asks for. */
  readonly from: number;
  readonly to?: number | undefined;
  readonly order: 'asc' | 'desc';
  readonly limit: number;
  readonly offset?: string | undefined;
  /** This level and what is graver. */
  readonly level?: Level | undefined;
  /** Part of the message or of a field, whatever its case. */
  readonly text?: string | undefined;
  readonly runId?: string | undefined;
  /**
   * The caller follows the log by time, with the newest line that it has as `from`, and knows lines by their ids: lines
   * that arrived since, although they are a little earlier, are given too.
   */
  readonly following?: boolean;
  /** Takes out of a text what must not be seen. */
  readonly conceal?: (text: string) => Promise<string>;
}

export interface LogLine {
  readonly id: string;
  readonly at: number;
  readonly level: Level;
  readonly message: string;
  readonly runId: string | null;
  readonly logger: string | null;
  readonly stream: string;
}

export interface LogPage {
  /** In the order that was asked for. Fewer than asked for, or none, does not mean that there are no more. */
  readonly lines: readonly LogLine[];
  /** Where to go on, also at the end of a log that may grow; null: no line can follow. */
  readonly next: string | null;
}

/** The offset is none of ours, or was made for the other order. */
export class BadOffset extends Error {}

/** Lines of one container come to be kept in batches: this much earlier than the newest, any may still arrive. */
const LATE_MS = 30_000;
/** Beyond this nothing arrives, and no two clocks are further apart: AWS takes no signature that is older. */
const SETTLED_MS = 300_000;
/** Lines given before that an offset tells from new ones: its size. */
const KNOWN = 400;
/** What one page may cost: calls, seconds, lines of a call, characters of the answer. What was found is given. */
const READS = 5;
const READ_MS = 8_000;
const READ_LINES = 10_000;
const ANSWER_LENGTH = 500_000;

export async function readLog(source: LogSource, query: LogQuery, now = Date.now()): Promise<LogPage> {
  const offset = query.offset === undefined ? undefined : decode(query.offset, query.order);
  if (query.order === 'desc') return newestFirst(source, query, offset, now);
  const following = query.following === true && offset === undefined && query.from > now - SETTLED_MS;
  return oldestFirst(source, { ...query, following }, offset, now);
}

interface Offset {
  readonly from: number;
  readonly to: number | undefined;
  /** When the range began to be read: with `token` that was some pages ago. */
  readonly began: number;
  /** Given already, by `keyOf`, with their times, in the order in which they were given. */
  readonly known: ReadonlyMap<string, number>;
  /** More were given than are known: of the first moment of the range, all that come before the first known one. */
  readonly more: boolean;
  readonly token: string | undefined;
}

async function oldestFirst(
  source: LogSource,
  query: LogQuery,
  offset: Offset | undefined,
  now: number,
): Promise<LogPage> {
  const start = offset ?? startOf({ ...query, from: query.following ? query.from - LATE_MS : query.from }, now);
  const { from, to, began, known } = start;
  const earlier: (LogLine & { arrivedAt: number })[] = [];
  const given: LogLine[] = [];
  const read = await readAll(source, query, start, (line, event) => {
    if (query.following && line.at < query.from) earlier.push({ ...line, arrivedAt: event.arrivedAt });
    else given.push(line);
    return given.length < query.limit;
  });
  const lines = [...late(earlier, query, given.length), ...given];
  const seen = new Map([...known, ...lines.map(({ id, at }) => [keyOf(id), at] as const)]);
  const last = given.at(-1)?.at;
  const isDone = read.token === undefined && !read.isFull;
  if (read.token !== undefined && last === undefined)
    return { lines, next: encode('asc', { ...start, known: seen, more: read.more, token: read.token }) };
  if (isDone && to !== undefined && to < began - SETTLED_MS) return { lines, next: null };
  // Up to `position` all that was there was given; what may still arrive is later than `settled`.
  const position = isDone ? Math.max(...seen.values(), from) : (last ?? from);
  const settled = isDone ? began - SETTLED_MS : Math.min(position, began - SETTLED_MS);
  const next = { ...startOf({ from: Math.max(from, settled, position - LATE_MS), to }, now), known: seen };
  return { lines, next: encode('asc', forgetful('asc', next)) };
}

/**
 * Lines before the start that arrived after it. The caller goes on from the last line that is new to it, so none is
 * given that lies so far back that the lines since then would not fit into one page: it would get that page for ever.
 */
function late(
  earlier: readonly (LogLine & { arrivedAt: number })[],
  { from, limit }: LogQuery,
  given: number,
): LogLine[] {
  const room = Math.min(KNOWN, limit - 1 - given);
  return room <= 0 ? [] : earlier.slice(-room).filter(({ arrivedAt }) => arrivedAt >= from);
}

async function newestFirst(
  source: LogSource,
  query: LogQuery,
  offset: Offset | undefined,
  now: number,
): Promise<LogPage> {
  const start = offset ?? startOf(query, now);
  const lines: LogLine[] = [];
  const read = await readAll(source, query, start, (line) => {
    lines.push(line);
    return lines.length < query.limit;
  });
  const last = lines.at(-1)?.at;
  if (read.token === undefined && !read.isFull) return { lines, next: null };
  if (last === undefined) return { lines, next: encode('desc', { ...start, more: read.more, token: read.token }) };
  const known = new Map([...start.known, ...lines.map(({ id, at }) => [keyOf(id), at] as const)]);
  const next = { ...startOf({ from: start.from, to: last }, start.began), known };
  return { lines, next: encode('desc', forgetful('desc', next)) };
}

const startOf = ({ from, to }: Pick<LogQuery, 'from' | 'to'>, now: number): Offset => ({
  from,
  to,
  began: now,
  known: new Map(),
  more: false,
  token: undefined,
});

/**
 * Reads on until `take` wants no more, or for as long as one page may take.
 * @returns whether `take` wanted no more, and else where it goes on; without a token the range was read to its end.
 *   `more` as in the offset
 */
async function readAll(
  source: LogSource,
  query: LogQuery,
  start: Offset,
  take: (line: LogLine, event: LogEvent) => boolean,
): Promise<{ isFull: boolean; more: boolean; token: string | undefined }> {
  const { from, to, known } = start;
  const wanted = filterOf(query);
  const hint = hintOf(query);
  const newestFirst = query.order === 'desc';
  const first = newestFirst ? to : from;
  const isShort = wanted === undefined && !query.following && !start.more;
  const limit = isShort ? Math.min(READ_LINES, query.limit + known.size) : READ_LINES;
  const until = performance.now() + READ_MS;
  let { more, token } = start;
  let length = 0;
  for (let reads = 0; reads < READS && (reads === 0 || performance.now() < until); reads++) {
    const page = await source({ from, to, newestFirst, hint, limit, token });
    for (const event of page.events) {
      const isKnown = known.has(keyOf(event.id));
      if (isKnown || event.at !== first) more = false;
      if (isKnown || more) continue;
      const found = lineOf(event);
      if (wanted !== undefined && !wanted(found, event.text)) continue;
      const text = query.conceal === undefined ? event.text : await concealed(event.text, query.conceal);
      const line = text === event.text ? found : { ...lineOf({ ...event, text }), level: found.level };
      // Or what is not shown could be guessed, letter by letter, by what is found.
      if (wanted !== undefined && !wanted(line, text)) continue;
      length += text.length;
      if (!take(line, event) || length >= ANSWER_LENGTH) return { isFull: true, more, token: undefined };
    }
    token = page.token;
    if (token === undefined) break;
  }
  return { isFull: false, more, token };
}

/** With a bounded number of lines, those that were given last: the range begins with them. */
function forgetful(order: LogQuery['order'], offset: Offset): Offset {
  const { from, to = Infinity } = offset;
  const later = order === 'asc' ? 1 : -1;
  const known = [...offset.known]
    .filter(([, at]) => at >= from && at <= to)
    .toSorted(([, a], [, b]) => later * (a - b));
  const kept = known.slice(-KNOWN);
  const more = kept.length < known.length;
  return { ...offset, ...(more && order === 'asc' && { from: kept[0]![1] }), known: new Map(kept), more };
}

// What a line says ---------------------------------------------------------------------------------------------------

const CALLED: Readonly<Record<string, Level>> = {
  trace: 'DEBUG',
  debug: 'DEBUG',
  info: 'INFO',
  notice: 'INFO',
  warn: 'WARNING',
  warning: 'WARNING',
  err: 'ERROR',
  error: 'ERROR',
  exception: 'ERROR',
  critical: 'CRITICAL',
  fatal: 'CRITICAL',
};
const NAMES = Object.keys(CALLED).join('|');
/** `Error: …`, `[warning  ] …`, `2026-01-31 10:00:00,123 ERROR root …`: at its beginning, perhaps after a time. */
const SAYS_LEVEL = new RegExp(`^[^A-Za-z]*(?:T[\\d:.,]+(?:Z|[+-][\\d:]+)?\\W+)?(${NAMES})\\b(\\s*[\\]:])?`, 'i');
/** A traceback's own lines, those of the code that it shows left out: they look like any others. */
const TRACEBACK =
  /^[\s+|]*(?:Exception Group )?Traceback \(most recent call last\)|^[\s+|]+File ".*", line \d+|^[\w.]+(?:Error|Exception)(?::|$)/;

/** What is looked at for a level: to go back and forth in a whole line of 256 kB would take minutes. */
const BEGINNING = 500;

/** Pure. Servers write one JSON object a line (`LOG_JSON`); what is none is a message of level INFO, or as it looks. */
export function lineOf(event: LogEvent): LogLine {
  const { id, at, stream, text } = event;
  const json = objectIn(text);
  if (json === undefined) {
    const beginning = text.slice(0, BEGINNING);
    const [, word = '', mark] = SAYS_LEVEL.exec(beginning) ?? [];
    const says = mark !== undefined || word === word.toUpperCase() ? CALLED[word.toLowerCase()] : undefined;
    const level = says ?? (TRACEBACK.test(beginning) ? 'ERROR' : 'INFO');
    return { id, at, level, message: text, runId: null, logger: null, stream };
  }
  const level = string(json['level'] ?? json['severity'] ?? json['levelname']);
  const message = string(json['event']) ?? string(json['message']) ?? string(json['msg']) ?? text;
  const traceback = string(json['exception']);
  return {
    id,
    at,
    level: CALLED[level?.toLowerCase() ?? ''] ?? 'INFO',
    message: traceback === undefined ? message : `${message}\n${traceback}`,
    runId: string(json['run_id']) ?? null,
    logger: string(json['logger']) ?? string(json['name']) ?? null,
    stream,
  };
}

const string = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

function objectIn(text: string): Record<string, unknown> | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

type Conceal = NonNullable<LogQuery['conceal']>;

/** In JSON, strings are written with escapes: they are looked at as they are meant. */
async function concealed(text: string, conceal: Conceal): Promise<string> {
  const json = objectIn(text);
  if (json === undefined) return conceal(text);
  const shown = JSON.stringify(await concealedIn(json, conceal, DEPTH));
  return shown === JSON.stringify(json) ? text : shown;
}

/** What is deeper than anybody writes is looked at as it stands. */
const DEPTH = 20;

async function concealedIn(value: unknown, conceal: Conceal, depth: number): Promise<unknown> {
  if (typeof value === 'string') return conceal(value);
  if (typeof value !== 'object' || value === null || depth === 0) {
    const said = JSON.stringify(value);
    const shown = await conceal(said);
    return shown === said ? value : shown;
  }
  const all: unknown[] = [];
  if (Array.isArray(value)) {
    for (const one of value) all.push(await concealedIn(one, conceal, depth - 1));
    return all;
  }
  for (const [name, one] of Object.entries(value))
    all.push([await conceal(name), await concealedIn(one, conceal, depth - 1)]);
  return Object.fromEntries(all as [string, unknown][]);
}

type Wanted = (line: LogLine, text: string) => boolean;

/** Undefined: every line. */
function filterOf({ level, text, runId }: LogQuery): Wanted | undefined {
  const all: Wanted[] = [];
  if (level !== undefined && level !== 'DEBUG') {
    const least = LEVELS.indexOf(level);
    all.push((line) => LEVELS.indexOf(line.level) >= least);
  }
  if (runId !== undefined)
    all.push((line, raw) => line.runId === runId || (line.runId === null && raw.includes(runId)));
  if (text !== undefined && text !== '') {
    const part = text.toLowerCase();
    all.push((line, raw) => line.message.toLowerCase().includes(part) || fieldsOf(raw).includes(part));
  }
  return all.length === 0 ? undefined : (line, raw) => all.every((wanted) => wanted(line, raw));
}

/** In lower case, without their names; the level and the time are asked for otherwise. */
function fieldsOf(raw: string): string {
  const { level: _, severity: _1, levelname: _2, timestamp: _3, ...fields } = objectIn(raw) ?? {};
  return Object.values(fields)
    .map((value) => string(value) ?? JSON.stringify(value))
    .join('\n')
    .toLowerCase();
}

/** Letters, digits, `-` and `_` stand in JSON as they are: whatever line is wanted has them in its text. */
const PLAIN = /^[\w-]{1,64}$/;
const anyCase = (text: string): string =>
  text.replace(/[A-Za-z]/g, (letter) => `[${letter.toLowerCase()}${letter.toUpperCase()}]`);
const ANY_ERROR = [...['err', 'exception', 'crit', 'fatal'].map(anyCase), 'Traceback', 'File'].join('|');
const HINTS: Partial<Record<Level, string>> = {
  WARNING: `${anyCase('warn')}|${ANY_ERROR}`,
  ERROR: ANY_ERROR,
  CRITICAL: ['crit', 'fatal'].map(anyCase).join('|'),
};

/** The narrowest: one is enough, for what it lets through is looked at again. */
function hintOf({ level, text, runId }: LogQuery): string | undefined {
  if (runId !== undefined && PLAIN.test(runId)) return runId;
  if (text !== undefined && PLAIN.test(text)) return anyCase(text);
  return level && HINTS[level];
}

// Offsets ------------------------------------------------------------------------------------------------------------

const KEY_BYTES = 6;
const TIME_BYTES = 4;

/** Forty-eight bits: among four hundred lines, one in a million million is taken for another. */
const keyOf = (id: string): string => createHash('sha256').update(id).digest().subarray(0, KEY_BYTES).toString('hex');

/** What the times of known lines are counted from: near them all. */
const baseOf = (order: LogQuery['order'], { from, to }: Pick<Offset, 'from' | 'to'>): number =>
  order === 'desc' ? (to ?? from) : from;

function encode(order: LogQuery['order'], offset: Offset): string {
  const { from, to, began, known, more, token } = offset;
  const bytes = Buffer.alloc(known.size * (KEY_BYTES + TIME_BYTES));
  let place = 0;
  for (const [key, at] of known) {
    bytes.write(key, place, 'hex');
    bytes.writeUInt32BE(Math.min(Math.max(0, at - baseOf(order, offset)), 2 ** 32 - 1), place + KEY_BYTES);
    place += KEY_BYTES + TIME_BYTES;
  }
  const after = token === undefined ? '' : Buffer.from(token).toString('base64url');
  const times = [from, to, began].map((time) => time?.toString(36) ?? '');
  return [order, ...times, more ? 'more' : '', bytes.toString('base64url'), after].join('.');
}

const SHAPE = /^(asc|desc)\.([0-9a-z]{1,10})\.([0-9a-z]{0,10})\.([0-9a-z]{1,10})\.(more)?\.([\w-]*)\.([\w-]*)$/;

function decode(offset: string, order: LogQuery['order']): Offset {
  const [, made, from, to, began, more, known, token] = SHAPE.exec(offset) ?? [];
  if (made === undefined) throw new BadOffset('it is no offset of a page before');
  if (made !== order) throw new BadOffset(`it is of a page in the order "${made}"`);
  const bytes = Buffer.from(known!, 'base64url');
  const range = { from: Number.parseInt(from!, 36), to: to === '' ? undefined : Number.parseInt(to!, 36) };
  const base = baseOf(order, range);
  const keys = new Map<string, number>();
  for (let place = 0; place + KEY_BYTES + TIME_BYTES <= bytes.length; place += KEY_BYTES + TIME_BYTES) {
    const key = bytes.toString('hex', place, place + KEY_BYTES);
    keys.set(key, base + bytes.readUInt32BE(place + KEY_BYTES));
  }
  const found = {
    ...range,
    began: Number.parseInt(began!, 36),
    known: keys,
    more: more !== undefined,
    token: token === '' ? undefined : Buffer.from(token!, 'base64url').toString(),
  };
  if (encode(order, found) !== offset) throw new BadOffset('it is no whole offset of a page before');
  return found;
}

/** A log that is at hand, in any order. */
export const logOf =
  (events: readonly LogEvent[]): LogSource =>
  ({ from, to, newestFirst, hint, limit, token }) => {
    const matching = new RegExp(hint ?? '');
    const found = events
      .filter(({ at, text }) => at >= from && at <= (to ?? Infinity) && matching.test(text))
      .toSorted(
        (a, b) => (newestFirst ? -1 : 1) * (a.at - b.at || a.arrivedAt - b.arrivedAt || (a.id < b.id ? -1 : 1)),
      );
    const start = Number(token ?? 0);
    const end = start + limit;
    return Promise.resolve({ events: found.slice(start, end), token: end < found.length ? String(end) : undefined });
  };
