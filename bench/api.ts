/**
 * What the API costs with 100 and with 10,000 deployments in the store, beside the bare framework answering a constant:
 * answers a second, how long they take, and queries. docs/benchmarks.md.
 */
import { serve, type ServerType } from '@hono/node-server';
import { Hono } from 'hono';
import { cpus } from 'node:os';
import type { AddressInfo } from 'node:net';
import { openControlPlane, type ControlPlane } from '../test/control-plane/open.ts';
import { countQueries, fill } from '../test/control-plane/volume.ts';
import { load, type Asked, type Taken } from './load.ts';
import { writeSection } from './section.ts';

const SIZES = [100, 10_000];
const SECONDS = 2;
const WARM_SECONDS = 0.5;
const CONNECTIONS = 8;
const CREATES = 3000;
const COUNTED = 5;

const servers: ServerType[] = [];
const listen = (fetch: Parameters<typeof serve>[0]['fetch']): Promise<string> =>
  new Promise((resolve) => {
    const server = serve({ fetch, port: 0, hostname: '127.0.0.1' }, ({ port }: AddressInfo) =>
      resolve(`http://127.0.0.1:${port}`),
    );
    servers.push(server);
  });

const list = (query: string): Asked => ({ path: `/v2/deployments?${query}` });
let created = 0;
const create = (): Asked => ({
  method: 'POST',
  path: '/v2/deployments',
  body: JSON.stringify({
    name: `made-${++created}`,
    source: 'external_docker',
    source_config: { deployment_type: 'dev' },
    source_revision_config: { image_uri: 'repo/agent:1' },
    secrets: [{ name: 'TOKEN', value: 'x' }],
  }),
});

/** What is asked with so many deployments there. */
const asked = (ids: readonly string[], size: number): [what: string, requests: readonly Asked[]][] => [
  ['get one', ids.map((id) => ({ path: `/v2/deployments/${id}` }))],
  ['list, a page of 20', [list('limit=20')]],
  ['list, a page of 100', [list('limit=100')]],
  ['list, the last page of 20', [list(`limit=20&offset=${size - 20}`)]],
  ['list by name', ids.map((_, i) => list(`name=agent-${i}`))],
  ['list by a part of the name: one of them', ids.map((_, i) => list(`name_contains=gent-${(i % 10) + size - 10}`))],
  ['list by a part of the name: none', [list('name_contains=nobody')]],
  ['list by status: nearly all', [list('status=READY&limit=20')]],
  ['list by status: one in a thousand', [list('status=UNKNOWN&limit=20')]],
  ['list by status: before the first look', [list('status=AWAITING_DATABASE&limit=20')]],
  ['create', Array.from({ length: CREATES }, create)],
];

const sent = countQueries();
async function queriesOf(plane: ControlPlane, { method = 'GET', path, body }: Asked): Promise<number> {
  const counts: number[] = [];
  for (let i = 0; i < COUNTED; i++) {
    const before = sent();
    await plane.call(method, path, body === undefined ? undefined : (create().body ?? body));
    counts.push(sent() - before);
  }
  return Math.min(...counts); // the queue's own housekeeping is not the request's
}

interface Row {
  readonly queries: number;
  readonly taken: Taken;
  /** Of the constant's answers a second, right before. */
  readonly share: number;
}

const plane = await openControlPlane();
try {
  const place = await plane.place();
  const url = await listen(plane.fetch);
  const measure = async (at: string, requests: readonly Asked[]): Promise<Taken> => {
    const given = { url: at, headers: { 'x-api-key': plane.key }, requests, connections: CONNECTIONS };
    if (requests[0]!.method === 'POST') return load({ ...given, once: true, seconds: SECONDS });
    await load({ ...given, seconds: WARM_SECONDS });
    return load({ ...given, seconds: SECONDS });
  };

  for (const at of [url, await listen(new Hono().get('/v2/deployments', (c) => c.json({})).fetch)])
    for (let i = 0; i < 3; i++) await measure(at, [list('limit=20')]); // what runs first is not yet compiled well

  const rows = new Map<string, Row[]>();
  const constants: Taken[] = [];
  let there = 0;
  for (const size of SIZES) {
    await fill(plane.db, { workspaceId: plane.workspaceId, placeId: place.id, from: there, to: size });
    there = size;
    const { resources } = (await plane.call('GET', '/v2/deployments?limit=100')).body as {
      resources: { id: string }[];
    };
    const constant = JSON.stringify(resources[0]);
    const bare = await listen(
      new Hono().get('/', (c) => c.body(constant, 200, { 'content-type': 'application/json' })).fetch,
    );
    for (const [what, requests] of asked(
      resources.map(({ id }) => id),
      size,
    )) {
      const queries = await queriesOf(plane, requests[0]!);
      const base = await measure(bare, [{ path: '/' }]);
      const taken = await measure(url, requests);
      constants.push(base);
      rows.set(what, [...(rows.get(what) ?? []), { queries, taken, share: taken.rate / base.rate }]);
      process.stderr.write(
        `${size} ${what}: ${queries} queries, ${taken.rate.toFixed(0)}/s of ${base.rate.toFixed(0)}/s\n`,
      );
    }
  }

  const cells = ({ taken, share }: Row): string =>
    `${taken.rate.toFixed(0)} | ${share.toFixed(3)} | ${taken.p50.toFixed(1)} | ${taken.p99.toFixed(1)}`;
  const lines = [...rows].map(([what, found]) => {
    const queries = [...new Set(found.map((row) => row.queries))].join(', then ');
    return `| ${what} | ${queries} | ${found.map(cells).join(' | ')} |`;
  });
  const sorted = constants.toSorted((a, b) => a.rate - b.rate);
  const [slowest, median, fastest] = [sorted[0]!, sorted[Math.floor(sorted.length / 2)]!, sorted.at(-1)!];
  const bare =
    `${median.rate.toFixed(0)} a second (${slowest.rate.toFixed(0)} to ${fastest.rate.toFixed(0)}), ` +
    `${median.p50.toFixed(1)} ms at the median`;
  const sizes = SIZES.map((size) => `${size.toLocaleString('en')} there: /s | share | p50 | p99`).join(' | ');
  writeSection(`## The API

\`bench/api.ts\`, on ${cpus().length} processors, which the API, its PostgreSQL and the sender of the requests
share; ${CONNECTIONS} connections, ${SECONDS} seconds each; answers a second, and milliseconds. The account is
simulated: AWS is not measured. The share is of what the bare framework answers with a constant, as long as one
deployment's JSON, over the same HTTP server right before: ${bare}.
Queries are all that one request sends, its key's look-up and each transaction's begin and commit included.

| request | queries | ${sizes} |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${lines.join('\n')}
`);
} finally {
  for (const server of servers) server.close();
  await plane.close();
}
