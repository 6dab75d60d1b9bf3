/** What all routes share. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Logger } from 'pino';
import type { Cloud } from '../cloud.ts';
import type { Caller } from '../store/access.ts';
import type { Database } from '../store/database.ts';
import type { Looks } from '../store/looks.ts';
import { PROBLEMS } from './problems.ts';

export interface ApiOptions {
  readonly db: Database;
  readonly looks: Looks;
  readonly cloud: Cloud;
  readonly log: Logger;
  /** Who assumes the customers' roles; shown, so that their stack can be given it. */
  readonly principalArn: string | null;
  /** For the digests of secret values. */
  readonly digestKey: Buffer;
}

export interface Env {
  Variables: {
    caller: Caller;
    workspaceId: string;
    requestId: string;
    /** Whether the route that was found takes one. */
    body: 'none' | 'optional' | 'required';
  };
}
export type App = OpenAPIHono<Env>;

/**
 * The failures that a route may answer by itself. What comes before every route (keys, limits, bodies, our own defects)
 * is added to the document by `documentOf`.
 */
export const problems = (...statuses: number[]) =>
  Object.fromEntries(
    statuses.map((status) => [status, { $ref: `#/components/responses/${PROBLEMS[status]!.name}` }]),
  ) as Record<never, never>;
