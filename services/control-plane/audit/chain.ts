/**
 * Appends entries to the chains, and knows of no other way to write one. What is asked for while a chain is being
 * written goes into one next write: many calls to AWS at once cost few to the store.
 */
import { createHmac, randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { AccountsOptions } from '../../reconciler/aws/account.ts';
import { Unrecorded } from '../../reconciler/aws/errors.ts';
import { chainsToPrune, dropLines, extend, holdHead, lastBefore, workspaceOfPlace, type Line } from '../store/audit.ts';
import type { Database, Tx } from '../store/database.ts';
import { anchorEvent, awsEvent, type AuditEvent } from './events.ts';
import { canonical, seal, type Head } from './line.ts';

interface Waiting {
  readonly event: AuditEvent;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/** In one write. */
const AT_ONCE = 500;

export class Audit {
  readonly #db: Database;
  readonly #key: Buffer;
  /** Entries that wait, by the chain; there while it is being written. */
  readonly #waiting = new Map<string, Waiting[]>();
  /** As this process left each chain. Another one may have gone on: then the store says so. */
  readonly #heads = new Map<string, Head>();
  /** The workspace of each place. */
  readonly #workspaces = new Map<string, string>();

  /** @param key of the installation: it digests secret values, too, so what is derived from it digests entries */
  constructor(db: Database, key: Buffer) {
    this.#db = db;
    this.#key = createHmac('sha256', key).update('audit').digest();
  }

  /** HMAC-SHA-256 of the canonical JSON, in hex. */
  digest(value: unknown): string {
    return createHmac('sha256', this.#key).update(canonical(value)).digest('hex');
  }

  /**
   * Resolves once it is stored.
   * @param chain id of the workspace; of what no workspace has, of the organization
   * @throws what the store does
   */
  append(chain: string, event: AuditEvent): Promise<void> {
    return new Promise((done, failed) => {
      const waiting = this.#waiting.get(chain);
      if (waiting !== undefined) return void waiting.push({ event, done, failed });
      this.#waiting.set(chain, [{ event, done, failed }]);
      void this.#write(chain);
    });
  }

  async #write(chain: string): Promise<void> {
    const waiting = this.#waiting.get(chain)!;
    while (waiting.length > 0) {
      const batch = waiting.splice(0, AT_ONCE);
      try {
        await this.#extend(
          chain,
          batch.map(({ event }) => event),
        );
        for (const { done } of batch) done();
      } catch (error) {
        this.#heads.delete(chain);
        for (const { failed } of batch) failed(error);
      }
    }
    this.#waiting.delete(chain);
  }

  /** Where nobody else has appended meanwhile, one statement; else a short transaction that holds the chain's head. */
  async #extend(chain: string, events: readonly AuditEvent[]): Promise<void> {
    const attempt = async (db: Database | Tx, from: Head): Promise<boolean> => {
      const { lines, head } = sealed(chain, from, events);
      const isDone = await extend(db, chain, from, head, lines);
      if (isDone) this.#heads.set(chain, head);
      return isDone;
    };
    const known = this.#heads.get(chain);
    if (known !== undefined && (await attempt(this.#db, known))) return;
    const isDone = await this.#db.transaction().execute(async (tx) => attempt(tx, await holdHead(tx, chain)));
    if (!isDone) throw new Error('the head of an audit chain moved while it was held');
  }

  /** What `Accounts` is to tell of its writes. */
  recorder(log: Logger): NonNullable<AccountsOptions['onWrite']> {
    return async (write) => {
      const correlation = randomUUID();
      const digest = (value: unknown): string => this.digest(value);
      let chain: string;
      try {
        chain = await this.#workspaceOf(write.place.id);
        await this.append(chain, awsEvent(write, null, correlation, digest));
      } catch (error) {
        const call = `${write.service}:${write.operation}`;
        log.error({ err: error, call }, 'a call was not made: the audit log cannot be written');
        throw new Unrecorded(`the audit log cannot be written, and nothing is changed without: "${call}"`, {
          cause: error,
        });
      }
      return async (written) => {
        // The call was made: whoever waits for it is to know what came of it. The intent stays, without an outcome.
        await this.append(chain, awsEvent(write, written, correlation, digest)).catch((error: unknown) =>
          log.error({ err: error, correlation }, 'what came of a call is not in the audit log'),
        );
      };
    };
  }

  async #workspaceOf(placeId: string | undefined): Promise<string> {
    const known = this.#workspaces.get(placeId ?? '');
    if (known !== undefined) return known;
    const found = placeId === undefined ? undefined : await workspaceOfPlace(this.#db, placeId);
    if (found === undefined) throw new Error(`no such place: "${placeId}"`);
    this.#workspaces.set(placeId!, found);
    return found;
  }

  /**
   * Drops what is older than the retention, from the beginning of each chain. Before, an anchor entry says where the
   * chain then begins: without one of it, a chain without its beginning was cut by somebody else.
   */
  async prune(days: number, at = Date.now()): Promise<void> {
    for (const chain of await chainsToPrune(this.#db, days, 100)) {
      const before = at - days * 86_400_000;
      const last = await lastBefore(this.#db, chain, before);
      if (last === undefined) continue;
      const { hash } = (JSON.parse(last.line) as AuditEvent).unmapped;
      const pruned = { seq: last.seq, hash: hash!, before: new Date(before).toISOString() };
      await this.append(chain, anchorEvent(pruned, randomUUID()));
      await dropLines(this.#db, chain, last.seq);
    }
  }
}

function sealed(chain: string, from: Head, events: readonly AuditEvent[]): { lines: Line[]; head: Head } {
  const lines: Line[] = [];
  let head = from;
  for (const event of events) {
    const next = seal(head, chain, event, Date.now());
    head = next.head;
    const { place, deployment } = event.unmapped;
    const about = { placeId: place ?? null, deploymentId: deployment ?? null };
    lines.push({ seq: head.seq, time: head.time, ...about, line: next.line });
  }
  return { lines, head };
}
