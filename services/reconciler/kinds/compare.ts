import { isDeepStrictEqual } from 'node:util';
import type { Change } from '../resource.ts';

/** What differs, in the order of `wanted`. Both sides normalised by the caller: AWS's defaults are not drift. */
export function compare<T extends object>(wanted: T, live: { readonly [K in keyof T]: unknown }): Change[] {
  return (Object.keys(wanted) as (keyof T & string)[])
    .filter((field) => !isDeepStrictEqual(wanted[field], live[field]))
    .map((field) => ({ field, from: live[field], to: wanted[field] }));
}

export const changed = (changes: readonly Change[], field: string): boolean =>
  changes.some((change) => change.field === field);
