/**
 * One line of the audit log, as it is kept, copied to the customer and exported: an event in canonical JSON, with its
 * place in the chain. Whoever has the lines can check them; nothing else is needed.
 */
import { createHash } from 'node:crypto';
import type { AuditEvent } from './events.ts';

/** Where a chain stands: the last line's number, hash and time. */
export interface Head {
  readonly seq: number;
  readonly hash: string;
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** Before the first line. */
export const BEGINNING: Head = { seq: 0, hash: '0'.repeat(64), time: 0 };

/** As `--head` takes it. */
export const headText = ({ seq, hash }: Pick<Head, 'seq' | 'hash'>): string => `${seq}:${hash}`;

/**
 * The one text of a value: members in the order of their names, no spaces (RFC 8785). Bytes are written in base64; what
 * JSON has no form for is left out.
 */
export function canonical(value: unknown): string {
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString('base64'));
  if (value instanceof Date) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((each) => canonical(each ?? null)).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, each]) => each !== undefined && typeof each !== 'function')
      .toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `{${members.map(([name, each]) => `${JSON.stringify(name)}:${canonical(each)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The event without its own hash: what the hash is of. */
export function hashOf(event: AuditEvent): string {
  const { hash: _, ...unmapped } = event.unmapped;
  return sha256(canonical({ ...event, unmapped }));
}

/** @returns the line that follows `head`, and where the chain stands after it */
export function seal(head: Head, chain: string, event: AuditEvent, now: number): { line: string; head: Head } {
  const seq = head.seq + 1;
  const time = Math.max(head.time, now); // of two processes' clocks one may be behind
  const placed: AuditEvent = {
    ...event,
    time,
    metadata: { ...event.metadata, uid: `${chain}:${seq}`, tenant_uid: chain },
    unmapped: { ...event.unmapped, chain, seq, prev: head.hash },
  };
  const hash = hashOf(placed);
  const line = canonical({ ...placed, unmapped: { ...placed.unmapped, hash } });
  return { line, head: { seq, hash, time } };
}
