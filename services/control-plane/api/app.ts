/** The HTTP API: `/…` and, for clients of a self-hosted LangSmith, the same under `/api-host/…`. No redirects. */
import { OpenAPIHono, createRoute, z } from '@hono/zod-openapi';
import { Hono, type Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { secureHeaders } from 'hono/secure-headers';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { isAway } from '../store/database.ts';
import { addAgentAuth } from './agents.ts';
import { Audit } from '../audit/chain.ts';
import { addAudit, recordAnswers, recordRequests } from './audit.ts';
import { authenticate, everyRouteHasItsRole } from './auth.ts';
import type { ApiOptions, App, Env } from './context.ts';
import { addDeployments } from './deployments.ts';
import { ApiError, fromZod } from './errors.ts';
import { addIntegrations } from './integrations.ts';
import { addListeners } from './listeners.ts';
import { addLogs } from './logs.ts';
import { addReference } from './reference.ts';
import { addPlan } from './plan.ts';
import { addRevisions } from './revisions.ts';
import { addRolls } from './rolls.ts';
import { addStatusPage } from './status-page.ts';
import { json } from './schemas.ts';
import { addTeardown } from './teardown.ts';
import { addTenants } from './tenants.ts';
import { addTiers } from './tiers.ts';
import { addTimeline } from './timeline.ts';
import { mount, readBody } from './transport.ts';
import { addUploads } from './uploads.ts';

/** How soon a caller may see whether the store is back. */
const STORE_SECONDS = 5;

/** The routes, which are the OpenAPI document. */
export function routes(options: ApiOptions): App {
  const app: App = new OpenAPIHono<Env>({
    defaultHook: (result) => {
      if (!result.success) throw fromZod(result.target, result.error);
    },
  });
  app.openapi(
    createRoute({
      method: 'get',
      path: '/ok',
      tags: ['health'],
      security: [],
      summary: 'Whether it is up',
      responses: {
        200: {
          description: 'It answers, and so does its store',
          content: json(z.object({ ok: z.literal(true) })),
        },
      },
    }),
    async (c) => {
      await options.db.selectFrom('settings').select('name').limit(1).execute();
      return c.json({ ok: true as const }, 200);
    },
  );
  app.use(recordAnswers(options));
  authenticate(app, options);
  app.use(readBody);
  app.use(recordRequests(options));
  addDeployments(app, options);
  addRevisions(app, options);
  addRolls(app, options);
  addPlan(app, options);
  addTiers(app, options);
  addTimeline(app, options);
  addTeardown(app, options);
  addUploads(app, options);
  addLogs(app, options);
  addListeners(app, options);
  addIntegrations(app);
  addTenants(app, options);
  addAudit(app, options);
  addAgentAuth(app);
  addReference(app);
  addStatusPage(app);
  everyRouteHasItsRole(app);
  return app;
}

export function api(options: ApiOptions): Hono<Env> {
  const app = new Hono<Env>({ strict: false });
  app.use('*', observe(options.log));
  app.use('*', closed, headers);
  const { audit = new Audit(options.db, options.digestKey) } = options;
  mount(app, routes({ ...options, audit }));
  app.onError((error, c) => {
    const known = failure(error, c);
    if (known === undefined) {
      options.log.error({ requestId: c.get('requestId'), err: error }, 'a request failed');
      return c.json({ detail: 'internal error', request_id: c.get('requestId') }, 500);
    }
    if (known.status >= 502)
      options.log.warn(
        { requestId: c.get('requestId'), cause: reasons(error) },
        'what was asked does not answer, or refuses',
      );
    if (known.status === 401) c.header('www-authenticate', 'Bearer');
    // What is left of the body is not read: the next request needs another connection.
    if (known.status === 413) c.header('connection', 'close');
    if (known.status === 409) c.header('x-should-retry', 'false');
    if (known.retryAfter !== undefined) c.header('retry-after', String(known.retryAfter));
    return c.json({ detail: known.detail }, known.status);
  });
  return app;
}

/**
 * OWASP's list for APIs. Nobody is let in by a cookie, and no other site's page may read an answer: so none can be made
 * to ask for something in its reader's name, and there is no token against that.
 */
const headers = secureHeaders({
  xFrameOptions: 'DENY',
  strictTransportSecurity: 'max-age=31536000', // heeded only where a proxy speaks HTTPS for us
  xXssProtection: false,
  xDownloadOptions: false,
  xDnsPrefetchControl: false,
  xPermittedCrossDomainPolicies: false,
  originAgentCluster: false,
});

/** An answer is for whoever asked, and no page; the pages that there are say what they may load themselves. */
const closed = createMiddleware(async (c, next) => {
  await next();
  const { headers } = c.res;
  if (!headers.has('content-security-policy'))
    c.header('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
  if (!headers.has('cache-control')) c.header('cache-control', 'no-store');
});

/** What the caller is told; undefined: it is a defect of ours. */
function failure(error: Error, c: Context<Env>): ApiError | undefined {
  if (error instanceof ApiError) return error;
  if (isUnstorable(error)) {
    const loc = [c.req.url.includes('%00') ? 'query' : 'body'];
    return new ApiError(422, [{ loc, msg: 'it holds a character that cannot be stored', type: 'string_unicode' }]);
  }
  if (isAway(error)) return new ApiError(503, 'The store does not answer: try again', { retryAfter: STORE_SECONDS });
  return undefined;
}

/** With what is behind it: "fetch failed" by itself helps nobody. */
const reasons = (error: unknown): string => {
  const { message, code, cause } = error as { message?: string; code?: string; cause?: unknown };
  return [message || code, ...(cause instanceof Error ? [reasons(cause)] : [])].join(': ');
};

/** PostgreSQL's text has every character but NUL: `character_not_in_repertoire`, `untranslatable_character`. */
const isUnstorable = (error: Error): boolean => ['22021', '22P05'].includes((error as { code?: string }).code ?? '');

/** A request's id, in its log line and its answer. Bodies and headers are never logged: they hold secrets and keys. */
const observe = (log: Logger) =>
  createMiddleware<Env>(async (c, next) => {
    const given = c.req.header('x-request-id');
    const requestId = given !== undefined && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID();
    c.set('requestId', requestId);
    const started = performance.now();
    await next();
    c.header('x-request-id', requestId);
    const { method, path } = c.req;
    const line = { requestId, method, path, status: c.res.status, ms: Math.round(performance.now() - started) };
    if (path.endsWith('/ok')) log.debug(line, 'request');
    else log.info({ ...line, caller: c.get('callerId'), workspace: c.get('workspaceId') }, 'request');
  });
