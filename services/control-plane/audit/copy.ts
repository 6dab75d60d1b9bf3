/**
 * Appends to each customer's copy what is new about his place. The copy is never read: what it should have is known
 * here, and what it has is for the customer to compare. A line may be in it twice, when an answer of AWS's was lost.
 */
import type { Logger } from 'pino';
import { explain } from '../../reconciler/aws/errors.ts';
import type { Place } from '../../reconciler/place.ts';
import { leaseCopy, linesOfPlace, noteCopied, noteNotCopied, placesToCopy } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import { placeOf } from '../store/places.ts';

export interface CopyOptions {
  readonly db: Database;
  readonly log: Logger;
  /**
   * @param stream one for each workspace
   * @returns how many of the lines are there now, from the first
   */
  append(
    place: Place,
    stream: string,
    lines: readonly { readonly time: number; readonly line: string }[],
  ): Promise<number>;
}

const PLACES_AT_ONCE = 10;
/** A few seconds at the usual rate of entries; many more are more than one call anyway. */
const LINES_AT_ONCE = 1000;
/** Of a place in which a process copies; another one takes it up when that has died. */
const LEASE_SECONDS = 60;
/** Between tries at a copy that fails: doubled each time. */
const RETRY_SECONDS = { first: 5, most: 300 };

/** Once over the places of which something is to be copied. */
export async function copyAudit({ db, log, append }: CopyOptions): Promise<void> {
  const places = await placesToCopy(db, PLACES_AT_ONCE);
  await Promise.all(
    places.map(async (row) => {
      const place = placeOf(row);
      let copied = await leaseCopy(db, row.id, LEASE_SECONDS);
      if (place === undefined || copied === undefined) return;
      try {
        const lines = await linesOfPlace(db, row.id, copied, LINES_AT_ONCE);
        // A place is in one workspace for good.
        const many = lines.length === 0 ? 0 : await append(place, lines[0]!.chain, lines);
        copied = lines[many - 1]?.seq ?? copied;
        await noteCopied(db, row.id, copied);
      } catch (error) {
        const { message } = explain(error);
        log.warn({ place: row.id, why: message }, "the customer's copy of the audit log is behind");
        await noteNotCopied(db, row.id, message, RETRY_SECONDS);
      }
    }),
  );
}
