/** What comes before any route: which paths and methods there are, and what a body is. As FastAPI has it. */
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { createMiddleware } from 'hono/factory';
import { TrieRouter } from 'hono/router/trie-router';
import type { App, Env } from './context.ts';
import { ApiError, type Invalid } from './errors.ts';

type Body = 'none' | 'optional' | 'required';
interface Served {
  readonly method: string;
  readonly body: Body;
}

/** Where clients of a self-hosted LangSmith look for the API. */
export const PREFIXES = ['', '/api-host'] as const;

/**
 * Serves the routes under each prefix. A path that is not there is 404, and a method that a path does not have 405, for
 * everyone: nobody is asked for a key first. A slash at the end makes no difference.
 */
export function mount(app: Hono<Env>, routes: App): void {
  const known = new TrieRouter<Served>();
  const bodies = new Map<string, Body>();
  for (const definition of routes.openAPIRegistry.definitions) {
    if (definition.type !== 'route') continue;
    const { method, path, request } = definition.route;
    const body = request?.body === undefined ? 'none' : request.body.required ? 'required' : 'optional';
    bodies.set(`${method.toUpperCase()} ${path.replaceAll(/\{(.+?)\}/g, ':$1')}`, body);
  }
  for (const { method, path } of routes.routes)
    if (method !== 'ALL')
      for (const prefix of PREFIXES)
        known.add('ALL', prefix + path, { method, body: bodies.get(`${method} ${path}`) ?? 'none' });

  app.use(async (c, next) => {
    const served = known.match('ALL', c.req.path)[0].map(([one]) => one);
    const method = c.req.method === 'HEAD' ? 'GET' : c.req.method;
    const one = served.find((candidate) => candidate.method === method);
    if (served.length === 0) throw new ApiError(404, 'Not Found');
    if (one === undefined) {
      const methods = new Set(served.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method])));
      c.header('allow', [...methods].join(', '));
      throw new ApiError(405, 'Method Not Allowed');
    }
    c.set('body', one.body);
    await next();
  });
  for (const prefix of PREFIXES) app.route(prefix || '/', routes);
}

const unreadable = (invalid: Omit<Invalid, 'loc'>): ApiError => new ApiError(422, [{ loc: ['body'], ...invalid }]);

const BODY_BYTES = 1024 * 1024;
const bounded = bodyLimit({
  maxSize: BODY_BYTES,
  onError: () => {
    throw new ApiError(413, `the request is larger than ${BODY_BYTES} bytes`);
  },
});

/**
 * Leaves the routes nothing but a JSON body, or none: whatever is sent to a route that takes none is ignored, and JSON
 * needs no content type.
 */
export const readBody = createMiddleware<Env>(async (c, next) => {
  const wanted = c.get('body');
  if (wanted === 'none') return next();
  await bounded(c, () => Promise.resolve());
  const bytes = await c.req.arrayBuffer();
  const headers = new Headers(c.req.raw.headers);
  const type = headers.get('content-type');
  headers.delete('content-type');
  if (bytes.byteLength === 0) {
    if (wanted === 'required') throw unreadable({ msg: 'Field required', type: 'missing' });
  } else {
    if (type !== null && !/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(type))
      throw unreadable({ msg: `The body must be JSON: its content type is "${type}"`, type: 'model_attributes_type' });
    checkJson(bytes);
    headers.set('content-type', 'application/json');
  }
  const { url, method, signal } = c.req.raw;
  c.req.raw = new Request(url, { method, headers, signal, ...(bytes.byteLength === 0 ? {} : { body: bytes }) });
  await next();
});

function checkJson(bytes: ArrayBuffer): void {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw unreadable({ msg: 'The body is not UTF-8', type: 'json_invalid' });
  }
  try {
    JSON.parse(text);
  } catch {
    throw unreadable({ msg: 'JSON decode error', type: 'json_invalid' });
  }
}
