// The image for fast tests: an HTTP server on HOST:PORT that says what it was given, and misbehaves when told to.
//
//   PORT (8000), MOUNT_PREFIX ('')   where it serves: /ok, and below the prefix ok, info, env, slow?ms=n, crash
//   REVISION                         shown by /info; without it LANGSMITH_HOST_REVISION_ID is
//   START_MS                         listens only after so long
//   HEALTHY_AFTER_MS                 /ok answers 503 for so long
//   UNHEALTHY=1                      /ok answers 503 for ever
//   OK_STATUS                        /ok answers this instead of 503
//   UNHEALTHY_AFTER_MS               /ok answers 503 from then on
//   CRASH=start | CRASH_AFTER_MS     ends with EXIT_CODE (1) at once, or after so long
//   IGNORE_SIGTERM=1                 must be killed
//   DRAIN_MS                         after SIGTERM it serves on for so long, then ends with 0
//   SAY                              printed at the start, one line each
//   TELL=name,name                   the last words of CRASH=start have these variables' values
//   PRINT_ENV=name,name              prints these variables' lengths (never values)
import http from 'node:http';

const env = process.env;
const host = env.HOST ?? '127.0.0.1';
const port = Number(env.PORT ?? 8000);
const prefix = env.MOUNT_PREFIX ?? '';
const began = Date.now();
const ms = (name) => (env[name] === undefined ? undefined : Number(env[name]));
const end = (why) => {
  console.error(why);
  process.exit(Number(env.EXIT_CODE ?? 1));
};

for (const line of (env.SAY ?? '').split('\n').filter(Boolean)) console.log(line);
for (const name of (env.PRINT_ENV ?? '').split(',').filter(Boolean))
  console.log(`${name}: ${env[name] === undefined ? 'absent' : `${env[name].length} characters`}`);
const told = (env.TELL ?? '').split(',').filter(Boolean);
if (env.CRASH === 'start')
  end(`boom: cannot start with ${told.map((name) => `${name} ${env[name]}`).join(', ') || 'this configuration'}`);
if (ms('CRASH_AFTER_MS') !== undefined) setTimeout(() => end('boom: crashed while running'), ms('CRASH_AFTER_MS'));

function healthy() {
  const age = Date.now() - began;
  return !env.UNHEALTHY && age >= (ms('HEALTHY_AFTER_MS') ?? 0) && age < (ms('UNHEALTHY_AFTER_MS') ?? Infinity);
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://stub');
  const path = url.pathname.startsWith(prefix) ? url.pathname.slice(prefix.length) : url.pathname;
  const json = (status, value) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };
  if (path === '/ok') return json(healthy() ? 200 : Number(env.OK_STATUS ?? 503), { ok: healthy() });
  if (path === '/crash') {
    json(200, { bye: true });
    return setTimeout(() => end('boom: asked to crash'), 10);
  }
  if (path === '/slow')
    return setTimeout(() => json(200, { revision: env.REVISION }), Number(url.searchParams.get('ms') ?? 1000));
  if (path === '/env') return json(200, { names: Object.keys(env).sort() });
  if (path === '/info' || path === '/' || path === '')
    return json(200, {
      revision: env.REVISION ?? env.LANGSMITH_HOST_REVISION_ID ?? null,
      host,
      pid: process.pid,
      // whether it was given, and how long; a secret is not shown
      given: Object.fromEntries(
        ['SECRET', 'DATABASE_URI', 'REDIS_URI'].map((name) => [
          name,
          env[name] === undefined ? null : env[name].length,
        ]),
      ),
    });
  return json(404, { path: url.pathname });
});

process.on('SIGTERM', () => {
  console.log('SIGTERM');
  if (env.IGNORE_SIGTERM) return;
  server.close();
  setTimeout(() => process.exit(0), ms('DRAIN_MS') ?? 0);
});
setTimeout(() => server.listen(port, host, () => console.log(`listening on ${host}:${port}`)), ms('START_MS') ?? 0);
