/**
 * Whether an export of the audit log is what was written, by the lines alone: nobody is asked. Each finding is one
 * sentence. What makes the answer strong is a head that was noted elsewhere, or the customer's own copy: whoever
 * rewrites all lines can make all hashes fit, and cannot make them those that others have.
 */
import type { AuditEvent } from './events.ts';
import { BEGINNING, canonical, hashOf, type Head } from './line.ts';

export interface Finding {
  readonly kind:
    | 'broken'
    | 'changed'
    | 'dropped'
    | 'reordered'
    | 'duplicated'
    | 'inserted'
    | 'unlinked'
    | 'cut head'
    | 'cut tail'
    | 'recomputed'
    | 'other workspace'
    | 'time'
    | 'not copied'
    | 'not in the export'
    | 'call without intent'
    | 'intent without call';
  readonly message: string;
}

export interface Verified {
  readonly findings: readonly Finding[];
  readonly lines: number;
  readonly chain: string | null;
  /** Of the last line. */
  readonly head: Pick<Head, 'seq' | 'hash'>;
  /** Every entry that could be read, by its number. */
  readonly events: ReadonlyMap<number, AuditEvent>;
}

export interface Expected {
  /** Id of the workspace @default that of the first line */
  readonly chain?: string | undefined;
  /** As noted earlier, or as the API or the place shows it. */
  readonly head?: Pick<Head, 'seq' | 'hash'> | undefined;
  /** Where the export before this one ended @default the chain's beginning, or an anchor entry */
  readonly from?: Pick<Head, 'seq' | 'hash'> | undefined;
}

/** More lines than this are not missing: the number is made up. */
const FAR = 1_000_000;

/** @param lines of the export, in its order */
export async function verifyExport(
  lines: AsyncIterable<string> | Iterable<string>,
  { chain: wanted, head, from }: Expected = {},
): Promise<Verified> {
  const findings: Finding[] = [];
  const find = (kind: Finding['kind'], message: string): void => void findings.push({ kind, message });
  const events = new Map<number, AuditEvent>();
  const missing = new Set<number>();
  const anchors: NonNullable<AuditEvent['unmapped']['pruned']>[] = [];
  let first: { seq: number; prev: string } | undefined;
  let chain = wanted ?? null;
  let last: Pick<Head, 'seq' | 'hash'> = from ?? BEGINNING;
  let time = 0;
  let number = 0;

  for await (const text of lines) {
    if (text === '') continue;
    number += 1;
    const at = `line ${number}`;
    const event = parsed(text);
    if (event === undefined) {
      find('broken', `${at} is no JSON, or no entry`);
      continue;
    }
    const { seq, prev, hash, pruned } = event.unmapped as Required<AuditEvent['unmapped']>;
    chain ??= event.unmapped.chain ?? null;
    if (event.unmapped.chain !== chain || event.metadata.tenant_uid !== chain) {
      find('other workspace', `${at} (entry ${seq}) is of another workspace: ${event.unmapped.chain}`);
      continue;
    }
    if (hashOf(event) !== hash || canonical(event) !== text)
      find('changed', `${at} (entry ${seq}) was changed: it is not what its hash is of`);
    if (seq > last.seq + FAR) {
      find('inserted', `${at} says it is entry ${seq}, which is far from entry ${last.seq}`);
      continue;
    }
    const known = events.get(seq);
    if (known !== undefined) {
      if (known.unmapped.hash === hash) find('duplicated', `${at} says entry ${seq} once more`);
      else find('inserted', `${at} says it is entry ${seq}, as another line does: one of them was inserted`);
      continue;
    }
    if (first === undefined) first = { seq, prev };
    else if (missing.delete(seq)) {
      find('reordered', `${at} (entry ${seq}) is not in its place`);
      events.set(seq, event);
      continue;
    } else if (seq <= last.seq) {
      find('inserted', `${at} says it is entry ${seq}, which was before the first`);
      continue;
    }
    for (let lost = last.seq + 1; lost < seq && events.size > 0; lost += 1) missing.add(lost);
    events.set(seq, event);
    if (event.time! < time) find('time', `${at} (entry ${seq}) is older than the one before it`);
    time = event.time!;
    last = { seq, hash };
    if (pruned) anchors.push(pruned);
  }

  for (const [seq, { unmapped }] of events) {
    const before = events.get(seq - 1)?.unmapped.hash ?? unmapped.prev;
    if (unmapped.prev !== before) find('unlinked', `entry ${seq} does not follow entry ${seq - 1}: its link differs`);
  }
  for (const [begins, ends] of ranges(missing))
    find('dropped', begins === ends ? `entry ${begins} is missing` : `entries ${begins} to ${ends} are missing`);
  const starts = from ?? BEGINNING;
  if (first !== undefined && (first.seq !== starts.seq + 1 || first.prev !== starts.hash)) {
    const anchor = from === undefined && anchors.some(({ seq, hash }) => seq + 1 === first.seq && hash === first.prev);
    if (!anchor) find('cut head', `it begins with entry ${first.seq}, and no anchor entry says that it does`);
  }
  if (head !== undefined) {
    const there = head.seq === starts.seq ? starts.hash : events.get(head.seq)?.unmapped.hash;
    if (there === undefined && last.seq < head.seq)
      find('cut tail', `it ends with entry ${last.seq}, and there were ${head.seq}`);
    else if (there !== undefined && there !== head.hash)
      find('recomputed', `entry ${head.seq} has another hash than was noted: entries up to it were written anew`);
  }
  return { findings, lines: number, chain, head: { seq: last.seq, hash: last.hash }, events };
}

/** Undefined: it is none. */
function parsed(text: string): AuditEvent | undefined {
  try {
    const event = JSON.parse(text) as AuditEvent;
    const { seq, prev, hash } = event.unmapped;
    const isEntry = Number.isInteger(seq) && typeof prev === 'string' && typeof hash === 'string';
    return isEntry && Number.isInteger(event.time) && typeof event.metadata === 'object' ? event : undefined;
  } catch {
    return undefined;
  }
}

/** First and last of each run. */
function ranges(numbers: ReadonlySet<number>): (readonly [number, number])[] {
  const found: [number, number][] = [];
  for (const number of [...numbers].toSorted((a, b) => a - b)) {
    const last = found.at(-1);
    if (last?.[1] === number - 1) last[1] = number;
    else found.push([number, number]);
  }
  return found;
}

/**
 * The customer's copy has the entries about its own place, each some seconds after it was written, and some of them
 * twice. Each must be in the export as it is, and, up to the copy's last one, the other way round.
 *
 * @param messages of the log group's events, in any order
 */
export function compareCopy({ events, chain }: Verified, messages: readonly string[]): Finding[] {
  const findings: Finding[] = [];
  const copied = new Set<number>();
  const places = new Set<string>();
  for (const [index, text] of messages.entries()) {
    const event = parsed(text);
    const { seq, hash, place, chain: theirs } = event?.unmapped ?? {};
    if (event === undefined || hashOf(event) !== hash) {
      findings.push({ kind: 'changed', message: `event ${index + 1} of the copy is not what its hash is of` });
      continue;
    }
    if (theirs !== chain) continue; // several workspaces may have a place in one account
    const ours = events.get(seq!);
    if (ours === undefined)
      findings.push({ kind: 'not in the export', message: `the copy has entry ${seq}, and the export has not` });
    else if (ours.unmapped.hash !== hash)
      findings.push({
        kind: 'recomputed',
        message: `entry ${seq} is another one in the copy: it was written anew since`,
      });
    copied.add(seq!);
    places.add(place!);
  }
  // What is older has expired there; what is newer is yet to come.
  const numbers = [...copied.keys()];
  const [from, until] = [
    numbers.reduce((a, b) => Math.min(a, b), Infinity),
    numbers.reduce((a, b) => Math.max(a, b), 0),
  ];
  for (const [seq, { unmapped }] of events)
    if (seq > from && seq < until && places.has(unmapped.place ?? '') && !copied.has(seq))
      findings.push({ kind: 'not copied', message: `entry ${seq} is about the place, and the copy has it not` });
  return findings;
}
