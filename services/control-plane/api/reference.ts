/**
 * `/openapi.json`, and `/docs` to read it: Swagger UI, from our own process. Customers' networks are closed, and a page
 * on which keys are typed loads nothing from elsewhere.
 */
import type { Context } from 'hono';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { App, Env } from './context.ts';
import { documentOf } from './document.ts';

const resolve = createRequire(import.meta.url).resolve;
const FOLDER = dirname(resolve('swagger-ui-dist/package.json'));
const ASSETS: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

/** Of a page on which keys are typed: it loads and tells nothing elsewhere. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** What a browser gets of ours. */
export const serve = (c: Context<Env>, body: string | Uint8Array<ArrayBuffer>, type: string) =>
  c.body(body, 200, {
    'Content-Type': type,
    'Content-Security-Policy': POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-cache',
  });

/** Without the badge of validator.swagger.io, which would be told the document's address. */
const START = `const { openapi } = document.currentScript.dataset;
SwaggerUIBundle({ url: openapi, dom_id: '#reference', deepLinking: true, validatorUrl: null });
`;

/** @param up from the page's address to where its links start */
const page = (up: string): string => `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Freehold control plane</title>
    <link rel="icon" href="${up}docs/favicon-32x32.png">
    <link rel="stylesheet" href="${up}docs/swagger-ui.css">
    <script defer src="${up}docs/swagger-ui-bundle.js"></script>
    <script defer src="${up}docs/start.js" data-openapi="${up}openapi.json"></script>
  </head>
  <body>
    <div id="reference"></div>
  </body>
</html>
`;

export function addReference(app: App): void {
  let document: ReturnType<typeof documentOf> | undefined;
  app.get('/openapi.json', (c) => {
    document ??= documentOf(app);
    return c.json({ ...document, servers: [{ url: c.req.path.replace(/\/openapi\.json$/, '') || '/' }] });
  });

  // Links are relative, so that a proxy may serve the page under any path.
  for (const path of ['/docs', '/redoc'])
    app.get(path, (c) =>
      serve(c, page(new URL(c.req.url).pathname.endsWith('/') ? '../' : ''), 'text/html; charset=utf-8'),
    );
  app.get('/docs/start.js', (c) => serve(c, START, 'text/javascript; charset=utf-8'));
  for (const [name, type] of Object.entries(ASSETS))
    app.get(`/docs/${name}`, async (c) => serve(c, new Uint8Array(await readFile(join(FOLDER, name))), type));
}
