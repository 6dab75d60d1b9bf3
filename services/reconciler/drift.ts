/** What others changed of a resource that was as asked, and what is done about it. Pure. */
import type { Change, Observed } from './resource.ts';

/**
 * - `repair`: it is made as asked again.
 * - `report`: it is told of, and left as it is until the next revision, which brings all that it asks for.
 * - `ignore`: it is left, and not told of.
 *
 * Under each of them a loss of what cannot be made again is an alarm.
 */
export type DriftPolicy = 'repair' | 'report' | 'ignore';

/** Of what serves traffic, and of all that it stands on, which is all that a deployment is made of. */
export const DEFAULT_POLICY: DriftPolicy = 'repair';

export interface Drift {
  /** The node's id. */
  readonly resource: string;
  readonly field: string;
  /** As asked. */
  readonly from: unknown;
  /** As found. */
  readonly to: unknown;
}

/** Stands for the whole resource, which is gone. */
export const EXISTS = 'exists';

/** @param changes that would bring it back to what is asked */
export function driftsOf(
  resource: string,
  seen: Observed<unknown, unknown>,
  changes: readonly Change[],
): readonly Drift[] {
  if (seen.is === 'absent') return [{ resource, field: EXISTS, from: true, to: false }];
  return changes
    .filter((change) => !change.isUpkeep)
    .map(({ field, from, to }) => ({ resource, field, from: to, to: from }));
}

/** `min: 1, found 0`; of what is gone: `deleted`. */
export const wordsOf = (drifts: readonly Drift[]): string =>
  drifts
    .map(({ field, from, to }) => (field === EXISTS ? 'deleted' : `${field}: ${text(from)}, found ${text(to)}`))
    .join('; ');

const text = (value: unknown): string =>
  Array.isArray(value) ? `[${value.map(text).join(', ')}]` : typeof value === 'string' ? value : JSON.stringify(value);

/** The same difference has the same words. */
export const keyOf = ({ resource, field, to }: Drift): string => JSON.stringify([resource, field, to]);
