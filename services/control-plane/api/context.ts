/** What all routes share. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Logger } from 'pino';
import type { Cloud } from '../cloud.ts';
import type { Caller } from '../store/access.ts';
import type { Database } from '../store/database.ts';
import type { Looks } from '../store/looks.ts';
import { errorBody } from './schemas.ts';

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
  Variables: { caller: Caller; workspaceId: string; requestId: string };
}
export type App = OpenAPIHono<Env>;

export const problems = (...statuses: number[]) =>
  Object.fromEntries(
    [...statuses, 500].map((status) => [
      status,
      { description: REASONS[status]!, content: { 'application/json': { schema: errorBody } } },
    ]),
  ) as Record<never, never>;

const REASONS: Record<number, string> = {
  400: 'The request cannot be carried out, and why',
  401: 'No API key, or one that is not known',
  403: 'The API key belongs to another workspace',
  404: 'Not found',
  409: 'In conflict with what is there',
  422: 'The request is not well-formed',
  500: 'A defect of ours; the log has more under the same request id',
  502: "The customer's account could not be entered, or does not allow it: the cause. Nothing was kept",
};
