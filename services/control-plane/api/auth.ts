/** Who calls, in which workspace, and what he may do there. */
import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import { findKey, findMemberships, noteUse, type Claims, type Grant } from '../store/access.ts';
import type { Database, Role } from '../store/database.ts';
import { actorOf, onBehalfOf } from '../asked.ts';
import type { ApiOptions, App, Caller, Env } from './context.ts';
import { ApiError } from './errors.ts';
import { budget } from './limits.ts';
import { tokenReader } from './tokens.ts';

/**
 * Which role an operation takes; the roles after it may do it too. An operation that is not here does not start: what
 * nobody has decided about is open to nobody.
 */
export const ROLES: Record<Role, readonly string[]> = {
  /** Reads, and may call the agents. */
  viewer: [
    'GET /auth/public',
    'GET /auth/verify',
    'GET /v1/integrations/forge/github/install',
    'GET /v1/integrations/forge/github/{integration_id}/repos',
    'GET /v1/integrations/github/install',
    'GET /v1/integrations/github/{integration_id}/repos',
    'GET /v2/deployment-logs',
    'GET /v2/deployments',
    'GET /v2/deployments/free-count',
    'GET /v2/deployments/{deployment_id}',
    'GET /v2/deployments/{deployment_id}/drift',
    'GET /v2/deployments/{deployment_id}/receipt',
    'GET /v2/deployments/{deployment_id}/revisions',
    'GET /v2/deployments/{deployment_id}/revisions/{revision_id}',
    'GET /v2/deployments/{deployment_id}/revisions/{revision_id}/logs',
    'GET /v2/deployments/{deployment_id}/timeline',
    'GET /v2/freehold/me',
    'GET /v2/freehold/workspaces',
    'GET /v2/listeners',
    'GET /v2/listeners/{listener_id}',
    'GET /v2/listeners/{listener_id}/audit',
    'GET /v2/listeners/{listener_id}/offboard',
    'GET /v2/receipts',
    'GET /v2/rolls',
    'GET /v2/rolls/{roll_id}',
    'GET /v2/rolls/{roll_id}/deployments',
    // They read.
    'POST /v1/projects/{deployment_id}/deploy_logs',
    'POST /v1/projects/{deployment_id}/revisions/{revision_id}/build_logs',
    'POST /v1/projects/{deployment_id}/revisions/{revision_id}/deploy_logs',
  ],
  /** Changes deployments. */
  deployer: [
    'DELETE /v2/deployments',
    'DELETE /v2/deployments/{deployment_id}',
    'PATCH /v2/deployments/{deployment_id}',
    'PATCH /v2/deployments/{deployment_id}/deployment-tier',
    'PATCH /v2/deployments/{deployment_id}/resource-tiers',
    'POST /v2/deployments',
    'POST /v2/deployments/{deployment_id}/plan',
    'POST /v2/deployments/{deployment_id}/push-token',
    'POST /v2/deployments/{deployment_id}/revisions',
    'POST /v2/deployments/{deployment_id}/revisions/{revision_id}/interrupt',
    'POST /v2/deployments/{deployment_id}/revisions/{revision_id}/redeploy',
    'POST /v2/deployments/{deployment_id}/undelete',
    'POST /v2/deployments/{deployment_id}/upload-url',
    'POST /v2/rolls',
    'POST /v2/rolls/{roll_id}/cancel',
    'POST /v2/rolls/{roll_id}/halt',
    'POST /v2/rolls/{roll_id}/resume',
    'POST /v2/rolls/{roll_id}/take-back',
  ],
  /** Says where deployments go, and who may do what. */
  admin: [
    'DELETE /v2/freehold/api-keys/{key_id}',
    'DELETE /v2/freehold/members/{member_id}',
    'DELETE /v2/listeners/{listener_id}',
    'DELETE /v2/listeners/{listener_id}/offboard',
    'GET /v2/audit',
    'GET /v2/freehold/api-keys',
    'GET /v2/freehold/members',
    'PATCH /v2/freehold/workspaces/{workspace_id}',
    'PATCH /v2/listeners/{listener_id}',
    'POST /v2/freehold/api-keys',
    'POST /v2/freehold/members',
    'POST /v2/freehold/workspaces',
    'POST /v2/listeners',
    'POST /v2/listeners/{listener_id}/offboard',
    'POST /v2/listeners/{listener_id}/verify',
  ],
};

const ORDER: readonly Role[] = ['viewer', 'deployer', 'admin'];
const NEEDED = new Map(ORDER.flatMap((role) => ROLES[role].map((operation) => [operation, role] as const)));

/** Everything below these takes a key or a token; nothing else does. */
const GUARDED = ['/auth', '/v1', '/v2'];
/** And these are for everyone. */
const OPEN = /^\/(ok|openapi\.json|redoc|docs(\/[\w.-]+)?|o\/status\.js|o\/:\w+\/host\/deployments\/:\w+)$/;
const isGuarded = (path: string): boolean => GUARDED.some((prefix) => path.startsWith(`${prefix}/`));

/** These are about the organization: they need no workspace. */
const OF_ORGANIZATION = ' /v2/freehold/';
/** And these are asked by servers, about their own callers. */
const OF_AGENTS = ' /auth/';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** With credentials that were refused: from one address, and, so that addresses cannot pile up, from all of them. */
const REFUSED_A_MINUTE = { each: 100, all: 6000 };
/** A server asks about a caller once a minute from each of its processes, and an agent's callers may share a key. */
const AGENTS_SHARE = 10;

const mayDo = (role: Role, needed: Role): boolean => ORDER.indexOf(role) >= ORDER.indexOf(needed);

const highest = (grants: readonly Grant[]): Role | undefined =>
  ORDER.findLast((role) => grants.some((grant) => grant.role === role));

/** As in the OpenAPI document: `GET /v2/deployments/{deployment_id}`. */
export const operationOf = (method: string, path: string): string =>
  `${method} ${path.replace(/^\/api-host(?=\/)/, '').replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}')}`;

/** Some reads are asked for by POST, since they take a body. */
export const isToRead = (method: string, path: string): boolean =>
  method === 'GET' || NEEDED.get(operationOf(method, path)) === 'viewer';

/** @param path as in the OpenAPI document */
export const roleFor = (method: string, path: string): Role | undefined =>
  NEEDED.get(`${method.toUpperCase()} ${path}`);

/** @throws Error naming the routes that nobody has decided about */
export function everyRouteHasItsRole(app: App): void {
  const undecided = app.routes
    .filter(({ method, path }) => method !== 'ALL' && (isGuarded(path) || !OPEN.test(path)))
    .map(({ method, path }) => operationOf(method, path))
    .filter((name) => !NEEDED.has(name));
  if (undecided.length > 0)
    throw new Error(`no role is decided for ${[...new Set(undecided)].join(', ')}: say it in ROLES of api/auth.ts`);
}

/** Sets `caller` and `workspaceId` of a request, or refuses it. */
export function authenticate(app: App, { db, oidc, rateLimit = 0 }: ApiOptions): void {
  const readToken = oidc && tokenReader(oidc);
  const spend = budget('requests with these credentials', rateLimit);
  const spendOfAgents = budget("requests about agents' callers with these credentials", rateLimit * AGENTS_SHARE);
  const limited = rateLimit > 0;
  const refusedOfAll = budget('requests with credentials that are refused', limited ? REFUSED_A_MINUTE.all : 0);
  const refused = budget('requests with credentials that are refused', limited ? REFUSED_A_MINUTE.each : 0);

  const identify = async (c: Context<Env>): Promise<Identity> => {
    const key = c.req.header('x-api-key');
    const token = /^Bearer +(\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
    if (!key && token === undefined) throw unauthorized('X-Api-Key or Authorization: Bearer header is required');
    const tenant = tenantOf(c);
    if (key) return withKey(db, key, tenant);
    if (readToken === undefined)
      throw unauthorized('Bearer tokens are not accepted here, for no OIDC provider is configured: use X-Api-Key');
    return withClaims(db, await readToken(token!), tenant);
  };

  /** After the look-up: whoever has a good key is never held up by what others send from his address. */
  const countRefused = async (c: Context<Env>): Promise<void> => {
    await refusedOfAll('all');
    await refused(addressOf(c));
  };

  const guard = createMiddleware<Env>(async (c, next) => {
    // What one caller gets is not for the next one, whatever stands between.
    c.header('cache-control', 'no-store');
    const route = matchedRoutes(c).find(({ method }) => method !== 'ALL');
    if (route === undefined) throw new ApiError(404, 'Not Found');
    const asked = operationOf(route.method, route.path);
    const ofAgents = asked.includes(OF_AGENTS); // each sends all that its callers send, from one address
    let identity: Identity;
    try {
      identity = await identify(c);
    } catch (error) {
      if (error instanceof ApiError && [401, 403].includes(error.status) && !ofAgents) await countRefused(c);
      throw error;
    }
    c.set('callerId', identity.user.id);
    await (ofAgents ? spendOfAgents : spend)(`${identity.keyId === null ? 'sub' : 'key'} ${identity.user.id}`);
    const caller = placed(identity, asked.includes(OF_ORGANIZATION));
    c.set('caller', caller);
    const needed = NEEDED.get(asked);
    if (needed === undefined || !mayDo(caller.role, needed)) throw forbiddenTo(caller, needed ?? 'admin');
    if (caller.workspaceId !== null) c.set('workspaceId', caller.workspaceId);
    await onBehalfOf({ actor: actorOf({ keyId: caller.keyId, subject: caller.user.id }) }, next);
  });
  for (const prefix of GUARDED) app.use(`${prefix}/*`, guard);
}

/** Who it is, before it is known in which workspace. */
interface Identity {
  readonly grants: readonly Grant[];
  /** What the request names, and the organization that it is in, if it is there at all. */
  readonly tenant: { readonly id: string; readonly organizationId: string | null } | null;
  /** What is meant when it names none. */
  readonly home: string | null;
  readonly name: string;
  readonly keyId: string | null;
  readonly membershipIds: readonly string[];
  readonly user: Caller['user'];
}

/** One query; and once in a minute another, which notes the use. */
async function withKey(db: Database, key: string, tenant: string | null): Promise<Identity> {
  const found = await findKey(db, key, tenant);
  if (found === undefined) throw unauthorized('Invalid API key');
  if (found.revoked) throw unauthorized('This API key was revoked');
  if (found.expired) throw unauthorized('This API key has expired');
  if (found.stale) await noteUse(db, found.id);
  return {
    grants: [found],
    tenant: tenant === null ? null : { id: tenant, organizationId: found.tenantOrganizationId },
    home: found.home,
    name: found.name,
    keyId: found.id,
    membershipIds: [],
    user: { id: found.id, email: null },
  };
}

async function withClaims(db: Database, claims: Claims, tenant: string | null): Promise<Identity> {
  const grants = await findMemberships(db, claims, tenant);
  if (grants[0] === undefined)
    throw new ApiError(
      403,
      `The bearer token is good, but its subject '${claims.sub}' was given no role: ` +
        'an admin adds a member for its sub, email or group (POST /v2/freehold/members).',
    );
  const workspaces = new Set(grants.map(({ workspaceId }) => workspaceId));
  return {
    grants,
    tenant: tenant === null ? null : { id: tenant, organizationId: grants[0].tenantOrganizationId },
    home: workspaces.size === 1 ? grants[0].workspaceId : null,
    name: claims.email ?? claims.sub,
    keyId: null,
    membershipIds: grants.map(({ id }) => id),
    user: { id: claims.sub, email: claims.email },
  };
}

/** The caller in the workspace that the request is about. */
function placed(identity: Identity, ofOrganization: boolean): Caller {
  const { grants, tenant, home, name, keyId, membershipIds, user } = identity;
  const workspaceId = tenant?.id ?? home;
  const there = grants.filter(
    (grant) =>
      grant.workspaceId === workspaceId ||
      (grant.workspaceId === null && (tenant === null || grant.organizationId === tenant.organizationId)),
  );
  const organizations = new Set((there.length > 0 ? there : grants).map(({ organizationId }) => organizationId));
  const [organizationId] = organizations;
  if (tenant !== null && there.length === 0)
    throw new ApiError(
      403,
      `The ${keyId === null ? 'bearer token' : 'API key'} does not belong to workspace ID '${tenant.id}'.`,
    );
  if (workspaceId === null && !(ofOrganization && organizations.size === 1)) throw unspecified(keyId);
  const wide = grants.filter((grant) => grant.workspaceId === null && grant.organizationId === organizationId);
  const organizationRole = highest(wide) ?? null;
  return {
    organizationId: organizationId!,
    workspaceId,
    workspaceIds: organizationRole === null ? grants.flatMap((grant) => grant.workspaceId ?? []) : null,
    role: highest(there) ?? 'viewer',
    organizationRole,
    name,
    keyId,
    membershipIds,
    user,
  };
}

/** @returns the workspace that the request names, if it names any */
function tenantOf(c: Context<Env>): string | null {
  const given = c.req.header('x-tenant-id')?.toLowerCase();
  if (!given) return null;
  if (UUID.test(given)) return given;
  throw new ApiError(422, [
    { loc: ['header', 'x-tenant-id'], msg: 'Input should be a valid UUID', type: 'uuid_parsing' },
  ]);
}

/** Of the connection: behind a proxy, the proxy's. */
export const addressOf = (c: Context<Env>): string =>
  (c.env as { incoming?: { socket: { remoteAddress?: string } } } | undefined)?.incoming?.socket.remoteAddress ?? '';

const unauthorized = (detail: string): ApiError => new ApiError(401, detail);

/** The CLI asks its user for a workspace when it reads "requires workspace specification". */
const unspecified = (keyId: string | null): ApiError =>
  new ApiError(
    403,
    `This ${keyId === null ? 'bearer token' : 'API key'} is good for more than one workspace and ` +
      'requires workspace specification: set the header X-Tenant-Id to the id of one (GET /v2/freehold/workspaces lists them).',
  );

function forbiddenTo({ workspaceId, organizationRole, role, keyId }: Caller, needed: Role): ApiError {
  // Somebody with roles in workspaces only, who has not said in which.
  if (workspaceId === null && organizationRole === null) return unspecified(keyId);
  return new ApiError(403, `The role "${role}" may not do this: it takes the role "${needed}".`);
}
