/** What all routes share. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Logger } from 'pino';
import type { AgentAuth } from '../../reconciler/spec.ts';
import type { Audit } from '../audit/chain.ts';
import type { ApiRequest } from '../audit/events.ts';
import type { Cloud } from '../cloud.ts';
import type { Snapshot } from '../store/audit.ts';
import type { Database, Role } from '../store/database.ts';
import type { Looks } from '../store/looks.ts';
import { PROBLEMS } from './problems.ts';
import type { Oidc } from './tokens.ts';

export interface ApiOptions {
  readonly db: Database;
  readonly looks: Looks;
  readonly cloud: Cloud;
  readonly log: Logger;
  /** Who assumes the customers' roles; shown, so that their stack can be given it. */
  readonly principalArn: string | null;
  /** What each new revision's server asks about its callers; a revision that is there keeps what it was made with. */
  readonly agentAuth: AgentAuth;
  /** For the digests of secret values. */
  readonly digestKey: Buffer;
  /** Whose bearer tokens are taken @default nobody's */
  readonly oidc?: Oidc;
  /** For how long the delete of a production deployment that has served can be undone @default 0 */
  readonly retentionHours?: number;
  /** Requests a minute for each key, 0: any number @default 0 */
  readonly rateLimit?: number;
  /** Where each write is written down @default one of the API's own */
  readonly audit?: Audit;
}

/** Who was let in. */
export interface Caller {
  readonly organizationId: string;
  /** The one that this request is about. Null: the request is about the organization. */
  readonly workspaceId: string | null;
  /** Those that he may name in X-Tenant-Id; null: all of the organization's. */
  readonly workspaceIds: readonly string[] | null;
  /** In the workspace; without one, in the organization. */
  readonly role: Role;
  /** In every workspace of the organization; null: none. */
  readonly organizationRole: Role | null;
  /** Of the key, or of the token's subject. */
  readonly name: string;
  /** Null: a token's bearer. */
  readonly keyId: string | null;
  /** What a token's bearer owes his roles to. */
  readonly membershipIds: readonly string[];
  /** The key's id, or the token's `sub`. */
  readonly user: { readonly id: string; readonly email: string | null };
}

export interface Env {
  Variables: {
    caller: Caller;
    /** The key's id, or the token's `sub`. */
    callerId: string;
    workspaceId: string;
    requestId: string;
    /** Whether the route that was found takes one. */
    body: 'none' | 'optional' | 'required';
    /** What of it is in the audit log already. */
    recorded: { readonly request: ApiRequest; readonly before: Snapshot | undefined } | undefined;
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
