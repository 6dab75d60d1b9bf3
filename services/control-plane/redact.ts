/**
 * Takes secret values out of a text, by their keyed digests: the values themselves are not known here. Servers print
 * what
 * they should not in their last words, and those become the cause of a failed revision.
 */
import { createHmac } from 'node:crypto';

/** Shorter ones are words and numbers like any other: to blank them would hide the cause and no secret. */
const SHORTEST = 4;
const LONGEST_IN_WORDS = 6;

export const digestOf = (key: Buffer, value: string): string => createHmac('sha256', key).update(value).digest('hex');

/** @param digests of the values that must not be seen, by `digestOf` */
export function redact(text: string, key: Buffer, digests: ReadonlySet<string>): string {
  if (digests.size === 0) return text;
  const secrets = [...candidates(text)].filter(
    (candidate) => candidate.length >= SHORTEST && digests.has(digestOf(key, candidate)),
  );
  // The longest first: one secret may be part of another.
  return secrets.toSorted((a, b) => b.length - a.length).reduce((left, secret) => left.replaceAll(secret, '…'), text);
}

/** What may be a value: what stands in quotes, words, runs of words, and words without the marks around them. */
function candidates(text: string): Set<string> {
  const found = new Set<string>();
  for (const [, quoted] of text.matchAll(/(?=(?:"([^"]*)"))/g)) if (quoted) found.add(quoted);
  for (const [, quoted] of text.matchAll(/(?=(?:'([^']*)'))/g)) if (quoted) found.add(quoted);
  for (const part of text.split(/[\s"'`=,;()[\]{}<>|]+/)) found.add(part).add(part.replace(/^[:.!?]+|[:.!?]+$/g, ''));
  for (const part of text.split(/[\s"'`=,;:/@?&()[\]{}<>|]+/)) found.add(part);
  const words = [...text.matchAll(/\S+/g)];
  words.forEach((from, i) => {
    for (const to of words.slice(i, i + LONGEST_IN_WORDS)) {
      const run = text.slice(from.index, to.index + to[0].length);
      found.add(run).add(run.replace(/^["'`([{<=:]+|["'`)\]}>.,;:!?]+$/g, ''));
    }
  });
  return found;
}
