/** What a place can run servers on, by the `compute_type` that the API shows for it. */
import type { Place } from '../place.ts';
import type { Graph } from '../resource.ts';
import type { ServerSpec } from '../spec.ts';
import { ecs } from './ecs.ts';

/** Pure: everything that a revision needs, as resources. */
export type Platform = (spec: ServerSpec, place: Place) => Graph;

export const platforms: ReadonlyMap<string, Platform> = new Map([['ecs', ecs]]);

export { RESERVED } from './environment.ts';
