/** The HTTP API: `/…` and, for clients of a self-hosted LangSmith, the same under `/api-host/…`. No redirects. */
import { OpenAPIHono, createRoute, z } from '@hono/zod-openapi';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { createMiddleware } from 'hono/factory';
import { HTTPException } from 'hono/http-exception';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { callerOf } from '../store/access.ts';
import type { Database } from '../store/database.ts';
import type { ApiOptions, App, Env } from './context.ts';
import { addDeployments } from './deployments.ts';
import { ApiError, fromZod } from './errors.ts';
import { addListeners } from './listeners.ts';
import { addRevisions } from './revisions.ts';
import { addTimeline } from './timeline.ts';

const BODY_BYTES = 1024 * 1024;

export const DOCUMENT = {
  openapi: '3.1.0',
  info: {
    title: 'Freehold control plane',
    version: '0.1.0',
    description: "LangGraph Servers in the customer's own AWS account. Compatible with LangSmith Deployment's API v2.",
  },
  security: [{ 'X-Api-Key': [] }],
};

/** The routes, which are the OpenAPI document. */
export function routes(options: ApiOptions): App {
  const app: App = new OpenAPIHono<Env>({
    defaultHook: (result) => {
      if (!result.success) throw fromZod(result.target, result.error);
    },
  });
  app.openAPIRegistry.registerComponent('securitySchemes', 'X-Api-Key', {
    type: 'apiKey',
    in: 'header',
    name: 'X-Api-Key',
  });
  app.openapi(
    createRoute({
      method: 'get',
      path: '/ok',
      tags: ['health'],
      security: [],
      responses: {
        200: {
          description: 'It answers, and so does its store',
          content: { 'application/json': { schema: z.object({ ok: z.literal(true) }) } },
        },
      },
    }),
    async (c) => {
      await options.db.selectFrom('settings').select('name').limit(1).execute();
      return c.json({ ok: true as const }, 200);
    },
  );
  app.use('/v2/*', authenticate(options.db));
  addDeployments(app, options);
  addRevisions(app, options);
  addTimeline(app, options);
  addListeners(app, options);
  app.get('/openapi.json', (c) => c.json(app.getOpenAPI31Document(DOCUMENT)));
  return app;
}

export function api(options: ApiOptions): Hono<Env> {
  const app = new Hono<Env>();
  const api = routes(options);
  app.use('*', observe(options.log));
  app.use(
    '*',
    bodyLimit({
      maxSize: BODY_BYTES,
      onError: () => {
        throw new ApiError(413, `the request is larger than ${BODY_BYTES} bytes`);
      },
    }),
  );
  app.route('/api-host', api);
  app.route('/', api);
  app.notFound((c) => c.json({ detail: 'Not Found' }, 404));
  app.onError((error, c) => {
    if (error instanceof ApiError) {
      if (error.status === 502)
        options.log.warn({ requestId: c.get('requestId'), cause: error.message }, 'refused by an account');
      return c.json({ detail: error.detail }, error.status);
    }
    if (error instanceof HTTPException && (error.status === 400 || error.status === 415)) {
      const msg =
        error.status === 400 ? 'JSON decode error' : 'The body must be JSON, with Content-Type: application/json';
      return c.json({ detail: [{ loc: ['body'], msg, type: 'json_invalid' }] }, 422);
    }
    if (isUnstorable(error)) {
      const msg = 'it holds a character that cannot be stored';
      return c.json({ detail: [{ loc: ['body'], msg, type: 'string_unicode' }] }, 422);
    }
    if (error instanceof HTTPException) return c.json({ detail: error.message || 'error' }, error.status);
    options.log.error({ requestId: c.get('requestId'), err: error }, 'a request failed');
    return c.json({ detail: 'internal error', request_id: c.get('requestId') }, 500);
  });
  return app;
}

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
    else log.info({ ...line, workspace: c.get('workspaceId') }, 'request');
  });

const authenticate = (db: Database) =>
  createMiddleware<Env>(async (c, next) => {
    const key = c.req.header('x-api-key');
    if (!key) throw new ApiError(401, 'X-Api-Key header is required');
    const caller = await callerOf(db, key);
    if (caller === undefined) throw new ApiError(401, 'Invalid API key');
    const tenant = c.req.header('x-tenant-id');
    if (tenant && tenant.toLowerCase() !== caller.workspaceId)
      throw new ApiError(403, `The API key does not belong to workspace ID '${tenant}'.`);
    c.set('caller', caller);
    c.set('workspaceId', caller.workspaceId);
    await next();
  });
