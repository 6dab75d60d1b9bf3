/**
 * Where the CLIs send people who want to know how a deployment is doing: `/o/<workspace>/host/deployments/<id>`. One
 * page for all, with nothing of any deployment in it: what it shows, its reader's own key asks for.
 */
import type { App } from './context.ts';
import { serve } from './reference.ts';

const SCRIPT = `const [, root, workspace, deployment] = /^(.*)\\/o\\/([^/]+)\\/host\\/deployments\\/([^/]+)/.exec(location.pathname);
const show = (id, text) => (document.getElementById(id).textContent = text ?? '');
const own = '/deployments/' + deployment;
let key, next;

async function ask(path) {
  const headers = { 'X-Api-Key': key, 'X-Tenant-Id': workspace };
  const answer = await fetch(root + '/v2' + path, { headers });
  const body = await answer.json();
  if (answer.ok) return body;
  if (answer.status === 404 && path === own) return receipt();
  throw new Error(typeof body.detail === 'string' ? body.detail : JSON.stringify(body.detail));
}

// What is left of a deployment that has gone.
async function receipt() {
  const { name, made, kept, monthly_usd: usd, notes, search, gone_at: gone } = await ask(own + '/receipt');
  const lines = [
    ...made.map((one) => one.kind + ' ' + (one.name ?? one.id) + ': gone ' + (one.gone_at ?? 'at a time that is not known')),
    ...kept.map((one) => 'kept: ' + one.what + ' ' + one.arn + (one.until ? ' until ' + one.until : '') +
      (one.monthly_usd ? ', about ' + one.monthly_usd + ' USD a month' : '') + (one.remove ? '; removed by: ' + one.remove : '')),
    ...(kept.length > 0 && usd !== null ? ['what is kept costs about ' + usd + ' USD a month'] : []),
    ...notes,
    ...(search ? ['searched ' + search.at + ' by ' + search.calls.join(', ') + ': nothing else was found'] : []),
  ];
  show('receipt', lines.join('\\n'));
  return { name, status: 'gone', status_message: gone, url: null, isGone: true };
}

// What the customer lets us do there.
function held({ suspended, unreachable, brake }) {
  if (suspended || unreachable) return suspended || unreachable;
  if (brake === null) return 'no brake';
  const { mode, since, by, message, waiting } = brake;
  return [mode, since && 'since ' + since, by && 'by ' + by, message].filter(Boolean).join(' ') +
    (waiting > 0 ? '; waiting for it: ' + waiting + ' deployments' : '');
}

async function look() {
  clearTimeout(next);
  try {
    const now = await ask(own);
    const [newest] = now.isGone ? [] : (await ask(own + '/revisions?limit=1')).resources;
    const { place } = now.isGone ? {} : await ask('/listeners/' + now.source_config.listener_id);
    show('name', now.name);
    show('status', [now.status, now.status_message].filter(Boolean).join(': '));
    show('revision', newest ? [newest.number, newest.status, newest.status_message].filter(Boolean).join(': ') : 'none yet');
    show('place', place && held(place));
    show('url', now.url);
    show('wrong', '');
  } catch (error) {
    show('wrong', error.message);
  }
  next = setTimeout(look, 5000);
}

show('name', deployment);
document.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  key = document.querySelector('input').value.trim();
  void look();
});
`;

/** @param up from the page's address to that of its script */
const page = (up: string): string => `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Deployment</title>
    <script defer src="${up}status.js"></script>
  </head>
  <body>
    <h1 id="name"></h1>
    <p>
      How it is doing, every five seconds, for a key of its workspace: the role viewer is enough. The key is not kept.
    </p>
    <form><label>API key <input type="password" autocomplete="off" required></label> <button>Show</button></form>
    <p id="wrong" role="alert"></p>
    <dl>
      <dt>Status</dt><dd id="status"></dd>
      <dt>Newest revision</dt><dd id="revision"></dd>
      <dt>Customer's brake</dt><dd id="place"></dd>
      <dt>Address</dt><dd id="url"></dd>
    </dl>
    <pre id="receipt"></pre>
  </body>
</html>
`;

export function addStatusPage(app: App): void {
  app.get('/o/:workspace_id/host/deployments/:deployment_id', (c) =>
    serve(
      c,
      page(new URL(c.req.url).pathname.endsWith('/') ? '../../../../' : '../../../'),
      'text/html; charset=utf-8',
    ),
  );
  app.get('/o/status.js', (c) => serve(c, SCRIPT, 'text/javascript; charset=utf-8'));
}
