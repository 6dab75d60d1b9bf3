/**
 * Takes secret values out of a text, by their keyed digests: the values themselves are not known here. Servers print
 * what they should not: in their last words, which become the cause of a failed revision, and in their logs.
 */
import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';

/** Shorter ones are words and numbers like any other: to blank them would hide the cause and no secret. */
const SHORTEST = 4;
const LONGEST_IN_WORDS = 6;
/** Candidates that are remembered: log lines have most of their words in common. */
const REMEMBERED = 50_000;

export const digestOf = (key: Buffer, value: string): string => digester(key)(value);

/**
 * HMAC-SHA-256, in hex. Put together as RFC 2104 has it: for texts as short as these `createHmac` takes six times as
 * long, and a line of a log has a hundred of them.
 */
function digester(key: Buffer): (value: string) => string {
  const [inner, outer] = [0x36, 0x5c].map((byte) => {
    const padded = Buffer.alloc(64, byte);
    key.forEach((part, place) => (padded[place] = part ^ byte));
    return padded;
  }) as [Buffer, Buffer];
  const sha256 = (pad: Buffer, value: Buffer): Buffer => hash('sha256', Buffer.concat([pad, value]), 'buffer');
  return (value) => sha256(outer, sha256(inner, Buffer.from(value))).toString('hex');
}

/** @param digests of the values that must not be seen, by `digestOf` */
export const redact = (text: string, key: Buffer, digests: ReadonlySet<string>): string =>
  concealer(key, digests)(text);

/** The same for texts that have words in common, as those of one look at a deployment have. */
export function concealer(key: Buffer, digests: ReadonlySet<string>): (text: string) => string {
  const find = finder(key, digests);
  return (text) => without(text, find(text));
}

/** The same for many texts, however long: a line with a whole document in it does not hold up everybody else. */
export function redactor(key: Buffer, digests: ReadonlySet<string>): (text: string) => Promise<string> {
  if (digests.size === 0) return (text) => Promise.resolve(text);
  const find = finder(key, digests);
  let since = performance.now();
  return async (text) => {
    const found = new Set<string>();
    // Pieces overlap, or a secret that is cut would not be known in either.
    for (let start = 0; start === 0 || start + OVERLAP < text.length; start += PIECE - OVERLAP) {
      for (const secret of find(text.slice(start, start + PIECE))) found.add(secret);
      if (performance.now() - since < TURN_MS) continue;
      await setImmediate();
      since = performance.now();
    }
    return without(text, found);
  };
}

/** Characters looked at at once, those that are looked at twice, and for how long before it is others' turn. */
const PIECE = 12_000;
const OVERLAP = 4_000;
const TURN_MS = 20;

/** Which values are in a text. */
function finder(key: Buffer, digests: ReadonlySet<string>): (text: string) => string[] {
  const digest = digester(key);
  const known = new Map<string, boolean>();
  const isSecret = (candidate: string): boolean => {
    if (candidate.length < SHORTEST) return false;
    let found = known.get(candidate);
    if (found === undefined) {
      found = digests.has(digest(candidate));
      if (known.size < REMEMBERED) known.set(candidate, found);
    }
    return found;
  };
  return (text) => (digests.size === 0 ? [] : [...candidates(text)].filter(isSecret));
}

/** The longest first: one secret may be part of another. */
const without = (text: string, secrets: Iterable<string>): string =>
  [...secrets].toSorted((a, b) => b.length - a.length).reduce((left, secret) => left.replaceAll(secret, '…'), text);

/** What may be a value: the text, what stands in quotes, words, runs of words, and words without marks around them. */
function candidates(text: string): Set<string> {
  const found = new Set([text]);
  for (const [, quoted] of text.matchAll(/(?=(?:"([^"]*)"))/g)) if (quoted) found.add(quoted);
  for (const [, quoted] of text.matchAll(/(?=(?:'([^']*)'))/g)) if (quoted) found.add(quoted);
  for (const part of text.split(/[\s"'`=,;()[\]{}<>|]+/)) found.add(part).add(trimmed(part, ':.!?', ':.!?'));
  for (const part of text.split(/[\s"'`=,;:/@?&()[\]{}<>|]+/)) found.add(part);
  const words = [...text.matchAll(/\S+/g)];
  words.forEach((from, i) => {
    for (const to of words.slice(i, i + LONGEST_IN_WORDS)) {
      const run = text.slice(from.index, to.index + to[0].length);
      found.add(run).add(trimmed(run, '"\'`([{<=:', '"\'`)]}>.,;:!?'));
    }
  });
  return found;
}

/** Without these characters at its ends. A regular expression would go back and forth in a long row of them. */
function trimmed(text: string, before: string, after: string): string {
  let [start, end] = [0, text.length];
  while (start < end && before.includes(text[start]!)) start += 1;
  while (start < end && after.includes(text[end - 1]!)) end -= 1;
  return text.slice(start, end);
}
