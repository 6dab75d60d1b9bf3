/** What is true of every path: prefixes, slashes, methods, bodies, the document and its page. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { PROBLEMS } from '../../services/control-plane/api/problems.ts';
import { api as application } from '../../services/control-plane/api/app.ts';
import { openDatabase } from '../../services/control-plane/store/database.ts';
import { eventually } from '../support/eventually.ts';
import { deployment, openControlPlane, type ControlPlane, type Json } from './open.ts';

let api: ControlPlane;

before(async () => {
  api = await openControlPlane();
});
after(() => api.close());

const NO_KEY = { 'X-Api-Key': '' };
const detailOf = (body: Json): string => JSON.stringify(body.detail);

test('every path is there under /api-host and with a slash at its end; nothing redirects', async () => {
  for (const path of ['/ok', '/openapi.json', '/v2/deployments', '/v2/listeners', '/v1/integrations/github/install']) {
    const plain = await api.call('GET', path);
    assert.equal(plain.status, 200, path);
    for (const other of [`${path}/`, `/api-host${path}`, `/api-host${path}/`]) {
      const { status, body } = await api.call('GET', other);
      const expected = path === '/openapi.json' ? { ...plain.body, servers: body.servers } : plain.body;
      assert.deepEqual([status, body], [200, expected], other);
    }
  }
  const made = await api.call('POST', '/v2/listeners/', {
    compute_type: 'ecs',
    compute_id: 'slash',
    compute_config: {},
  });
  assert.equal(made.status, 201);
});

test('an unknown path is 404 and a wrong method 405, with or without a key', async () => {
  for (const headers of [{}, NO_KEY])
    for (const prefix of ['', '/api-host']) {
      for (const path of [
        '/',
        '/v2',
        '/v2/nothing',
        '/v2/auth/providers',
        '/v3/deployments',
        '/v2//deployments',
        '/%ff',
      ]) {
        const { status, body } = await api.call('GET', prefix + path, undefined, headers);
        assert.deepEqual([status, body], [404, { detail: 'Not Found' }], path);
      }
      for (const [method, path, allow] of [
        ['PUT', '/v2/deployments', 'GET, HEAD, POST, DELETE'],
        ['POST', '/v2/deployments/x', 'GET, HEAD, PATCH, DELETE'],
        ['OPTIONS', '/ok', 'GET, HEAD'],
        ['DELETE', '/docs', 'GET, HEAD'],
      ] as const) {
        const answer = await api.call(method, prefix + path, undefined, headers);
        assert.deepEqual([answer.status, answer.body], [405, { detail: 'Method Not Allowed' }], path);
        assert.equal(answer.headers.get('allow'), allow);
      }
    }
});

test('every answer is closed to other sites: no cookie, no other origin, no frame, no copy kept', async () => {
  const origin = { Origin: 'https://elsewhere.example', 'Sec-Fetch-Site': 'cross-site' };
  for (const [method, path, headers] of [
    ['GET', '/ok', {}],
    ['GET', '/v2/deployments', {}],
    ['GET', '/v2/deployments', { 'X-Api-Key': '', Cookie: 'key=1' }],
    ['POST', '/v2/deployments', { 'X-Api-Key': '' }],
    ['OPTIONS', '/v2/deployments', { 'Access-Control-Request-Method': 'POST' }],
    ['GET', '/nothing', {}],
    ['GET', '/docs', {}],
    ['GET', '/o/w/host/deployments/d', {}],
  ] as const) {
    const answer = await api.request(path, { method, headers: { ...origin, 'X-Api-Key': api.key, ...headers } });
    await answer.arrayBuffer();
    const all = Object.fromEntries(answer.headers);
    const of = (name: string): string => all[name] ?? '';
    assert.deepEqual(
      Object.keys(all).filter((name) => /^(access-control-|set-cookie|x-powered-by|server$)/.test(name)),
      [],
      path,
    );
    assert.match(of('content-security-policy'), /^default-src 'none'.*frame-ancestors 'none'/, path);
    assert.match(of('cache-control'), /^no-(store|cache)$/, path);
    assert.deepEqual(
      ['x-content-type-options', 'x-frame-options', 'referrer-policy', 'cross-origin-resource-policy'].map(of),
      ['nosniff', 'DENY', 'no-referrer', 'same-origin'],
      path,
    );
    assert.match(of('strict-transport-security'), /^max-age=\d+$/, path);
  }
});

test('HEAD answers as GET does, without the body', async () => {
  assert.deepEqual([(await api.call('HEAD', '/ok')).status, (await api.call('HEAD', '/ok')).body], [200, null]);
  assert.equal((await api.call('HEAD', '/v2/deployments', undefined, NO_KEY)).status, 401);
});

const listener = (id: string): string => JSON.stringify({ compute_type: 'ecs', compute_id: id, compute_config: {} });

test('a body is JSON with or without a content type; anything else is 422 at the body', async () => {
  const post = async (
    body: string | Uint8Array<ArrayBuffer> | null,
    headers: Record<string, string> = {},
  ): Promise<Json> => {
    const init = { method: 'POST', headers: { 'X-Api-Key': api.key, ...headers }, body };
    const response = await api.request('/v2/listeners', init);
    return { status: response.status, body: await response.json() };
  };
  const bytes = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(text));
  assert.equal((await post(bytes(listener('bare')))).status, 201, 'no content type');
  for (const type of ['application/json', 'application/json; charset=utf-8', 'APPLICATION/JSON', 'application/x+json'])
    assert.equal((await post(listener(type), { 'Content-Type': type })).status, 201, type);

  const json = { 'Content-Type': 'application/json' };
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  for (const [why, body, headers, type] of [
    ['none', null, {}, 'missing'],
    ['none, said to be JSON', null, json, 'missing'],
    ['not JSON', '{nonsense', json, 'json_invalid'],
    ['cut off', listener('x').slice(0, -1), json, 'json_invalid'],
    ['not UTF-8', new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), json, 'json_invalid'],
    ['a form', 'compute_type=ecs', { 'Content-Type': 'application/x-www-form-urlencoded' }, 'model_attributes_type'],
    ['text', listener('x'), { 'Content-Type': 'text/plain' }, 'model_attributes_type'],
    ['a list', '[]', json, 'model_attributes_type'],
    ['null', 'null', json, 'model_attributes_type'],
    ['a number beyond all', '1e400', json, 'model_attributes_type'],
    ['very deep', deep, json, 'model_attributes_type'],
  ] as const) {
    const answer = await post(body, headers);
    assert.equal(answer.status, 422, `${why}: ${detailOf(answer.body)}`);
    assert.deepEqual([answer.body.detail[0].loc, answer.body.detail[0].type], [['body'], type], why);
  }
});

test('what a route that takes no body is sent does not matter', async () => {
  const place = await api.place();
  for (const [body, type] of [
    ['', 'application/json'],
    ['{nonsense', 'application/json'],
    ['a=b', 'application/x-www-form-urlencoded'],
  ] as const) {
    const answer = await api.call('POST', `/v2/listeners/${place.id}/verify`, body, { 'Content-Type': type });
    assert.equal(answer.status, 200, detailOf(answer.body));
  }
});

test('values that no field is meant to hold: never a 500', async () => {
  const place = await api.place('odd');
  const deep = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
  for (const [method, path, body] of [
    ['POST', '/v2/listeners', { compute_type: 'ecs', compute_id: 'a\u0000b', compute_config: {} }],
    ['POST', '/v2/listeners', { compute_type: 'ecs', compute_id: '\ud800', compute_config: { k8s_namespaces: [] } }],
    ['POST', '/v2/listeners', `{"compute_type":"ecs","compute_id":"deep","compute_config":{"place":${deep}}}`],
    ['PATCH', `/v2/listeners/${place.id}`, { version: '\u0000' }],
    ['PATCH', `/v2/listeners/${place.id}`, `{"compute_config":{"place":${deep}}}`],
    ['GET', '/v2/deployments?name=%00', undefined],
    ['GET', '/v2/deployments?name=%ff', undefined],
    ['GET', '/v2/deployments?limit=1&limit=2', undefined],
    ['GET', '/v2/deployments?offset=9007199254740993', undefined],
    ['GET', '/v2/deployments?offset=9007199254740991', undefined],
    ['GET', '/v2/deployments?limit=1e1', undefined],
    ['GET', '/v2/deployments?limit=', undefined],
    ['GET', `/v2/deployments/%00`, undefined],
    ['GET', `/v2/deployments/%2e%2e%2fok`, undefined],
    ['POST', '/v2/deployments', `{"name":"odd","source":"external_docker","source_config":${deep}}`],
    ['POST', '/v2/deployments', '{"__proto__":{"name":"a"},"constructor":1}'],
  ] as const) {
    const answer = await api.call(method, path, body);
    assert(answer.status < 500, `${method} ${path}: ${answer.status}`);
    if (answer.status === 422) for (const { loc, msg, type } of answer.body.detail) assert(loc && msg && type);
  }
});

test("what is wrong is named as FastAPI's clients know it", async () => {
  const none = randomUUID();
  for (const [method, path, body, loc, type] of [
    ['POST', '/v2/deployments', {}, ['body', 'source'], 'missing'],
    ['POST', '/v2/deployments', deployment({ source: 'gitlab' }), ['body', 'source'], 'enum'],
    ['POST', '/v2/deployments', deployment({ secrets: null }), ['body', 'secrets'], 'list_type'],
    ['POST', '/v2/listeners', {}, ['body', 'compute_type'], 'missing'],
    ['GET', `/v2/deployments/${none}/revisions/${none}/logs`, undefined, ['query', 'type'], 'missing'],
    ['GET', '/v2/deployments?limit=x', undefined, ['query', 'limit'], 'int_parsing'],
    ['GET', '/v2/deployments?limit=0', undefined, ['query', 'limit'], 'greater_than_equal'],
    ['GET', '/v2/deployments?remote_reconciled=maybe', undefined, ['query', 'remote_reconciled'], 'bool_parsing'],
    ['DELETE', '/v2/deployments', undefined, ['query', 'deployment_ids'], 'missing'],
    ['DELETE', '/v2/deployments?deployment_ids=x', undefined, ['query', 'deployment_ids', 0], 'uuid_parsing'],
    ['GET', '/v2/deployments/x', undefined, ['path', 'deployment_id'], 'uuid_parsing'],
  ] as const) {
    const { status, body: said } = await api.call(method, path, body);
    assert.equal(status, 422, `${method} ${path}`);
    assert.deepEqual([said.detail[0].loc, said.detail[0].type], [loc, type], JSON.stringify(said));
    assert.equal(said.detail[0].msg === 'Field required', type === 'missing');
  }
});

test('ids in any case, and of any version', async () => {
  const place = await api.place('cases');
  assert.deepEqual((await api.call('GET', `/v2/listeners/${place.id.toUpperCase()}`)).body, place);
  const tenant = { 'X-Tenant-Id': api.workspaceId.toUpperCase() };
  assert.equal((await api.call('GET', '/v2/listeners', undefined, tenant)).status, 200);
  const { status, body } = await api.call('GET', '/v2/listeners/AAAAAAAA-1111-1111-1111-111111111111');
  assert.deepEqual([status, body.detail], [404, 'Listener ID aaaaaaaa-1111-1111-1111-111111111111 not found.']);
});

test('a conflict says that trying again does not help', async () => {
  await api.place('twice');
  const again = await api.call('POST', '/v2/listeners', listener('twice'));
  const sentence = `Listener for LangSmith workspace ID '${api.workspaceId}' and compute ID 'twice' already exists.`;
  assert.deepEqual([again.status, again.body], [409, { detail: sentence }]);
  assert.equal(again.headers.get('x-should-retry'), 'false');
});

test('listeners: what clients of Kubernetes send is taken, and ignored; what cannot change is refused', async () => {
  const k8s = { compute_type: 'k8s', compute_id: 'cluster', compute_config: { k8s_namespaces: ['a'] } };
  const refused = await api.call('POST', '/v2/listeners', k8s);
  assert.deepEqual([refused.status, refused.body.detail], [400, 'compute_type "k8s" is not supported: use "ecs"']);
  assert.equal((await api.call('POST', '/v2/listeners', { ...k8s, compute_type: 'vm' })).status, 422);
  const made = await api.call('POST', '/v2/listeners', { ...k8s, compute_type: 'ecs', version: '1.0' });
  assert.equal(made.status, 201);
  assert.deepEqual(made.body.compute_config, { k8s_namespaces: ['default'], place: null });
  assert.equal(made.body.version, '1.0');

  const patch = (body: Json) => api.call('PATCH', `/v2/listeners/${made.body.id}`, body);
  const same = { compute_type: 'ecs', compute_id: 'cluster', compute_config: { k8s_namespaces: null }, version: null };
  const { updated_at } = (await api.call('GET', `/v2/listeners/${made.body.id}`)).body;
  assert.deepEqual({ ...(await patch(same)).body, updated_at }, { ...made.body, updated_at }, 'nulls change nothing');
  assert.equal((await patch({ version: '1.1' })).body.version, '1.1');
  assert.match((await patch({ compute_type: 'k8s' })).body.detail, /^compute_type cannot be changed/);
  assert.match((await patch({ compute_id: 'other' })).body.detail, /^compute_id cannot be changed/);
});

test('a defect of ours is 500 with the id that the log has; a store that is away is 503', async () => {
  const { image } = api.cloud;
  api.cloud.image = () => Promise.reject(new TypeError('a defect'));
  await api.place('defect');
  const { body: listed } = await api.call('GET', '/v2/listeners?limit=1');
  const broken = await api.call('POST', '/v2/deployments', {
    name: 'broken',
    source: 'external_docker',
    source_config: { listener_id: listed.resources[0].id, resource_spec: {} },
    source_revision_config: { image_uri: 'repo/agent:1' },
    secrets: [],
  });
  api.cloud.image = image;
  const id = broken.headers.get('x-request-id');
  assert.deepEqual([broken.status, broken.body], [500, { detail: 'internal error', request_id: id }]);
  assert(api.logged.some((line) => line.includes(id!) && line.includes('a defect')));

  const { looks, cloud, log, digestKey } = api;
  const db = openDatabase('postgres://127.0.0.1:1/none', { connections: 1, onError: () => {} });
  const storeless = application({ db, looks, cloud, log, digestKey, principalArn: null, agentAuth: { type: 'noop' } });
  for (const path of ['/ok', '/v2/deployments']) {
    const away = await storeless.request(path, { headers: { 'X-Api-Key': api.key } });
    assert.deepEqual([away.status, await away.json()], [503, { detail: 'The store does not answer: try again' }]);
    assert.equal(away.headers.get('retry-after'), '5');
  }
  await db.destroy();
});

test('what is no request fails in the same shape', async () => {
  const url = new URL(await api.listen());
  const send = async (head: string): Promise<{ status: number; body: Json }> => {
    const socket = connect(Number(url.port), url.hostname);
    socket.write(`${head}\r\nConnection: close\r\n\r\n`);
    let said = '';
    for await (const chunk of socket) said += String(chunk);
    const [, status, body] = /^HTTP\/1\.1 (\d+)[^]*?\r\n\r\n([^]*)$/.exec(said)!;
    return { status: Number(status), body: JSON.parse(body!) };
  };
  for (const [head, status] of [
    ['GET /ok HTTP/1.1\r\nHost: x', 200],
    ['TRACE /ok HTTP/1.1\r\nHost: x', 405],
    ['NONSENSE', 400],
    ['GET /ok HTTP/1.1\r\nHost: a b', 400],
    ['GET /v2\\x HTTP/1.1\r\nHost: x', 400],
    [`GET /ok?${'x'.repeat(20_000)} HTTP/1.1\r\nHost: x`, 431],
  ] as const) {
    const answer = await send(head);
    assert.equal(answer.status, status, head.slice(0, 40));
    if (status !== 200) assert.equal(typeof answer.body.detail, 'string');
  }
});

test('the document: every operation says what it is, and every failure what to do', async () => {
  const { body: document } = await api.call('GET', '/openapi.json');
  const operations = Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    Object.entries<Json>(item).map(([method, operation]) => ({ ...operation, name: `${method} ${path}` })),
  );
  const described = new Set(document.tags.map((tag: Json) => tag.name));
  assert.deepEqual(described, new Set(operations.flatMap(({ tags }) => tags)), 'tags');
  const ids = new Set(operations.map(({ operationId }) => operationId));
  assert.equal(ids.size, operations.length);
  for (const { name, summary, tags, responses } of operations) {
    assert(summary, `${name} has no summary`);
    assert(tags.length === 1 && described.has(tags[0]), `${name}: ${tags}`);
    for (const [status, answer] of Object.entries<Json>(responses)) {
      if (Number(status) < 300) assert(answer.description && answer.headers['X-Request-Id'], `${name} ${status}`);
      else assert.match(answer.$ref, /^#\/components\/responses\//, `${name} ${status}`);
    }
  }
  const secured = operations.filter(({ security }) => security?.length !== 0);
  for (const { name, responses } of secured)
    for (const status of [401, 403, 429, 500, 503]) assert(responses[status], `${name} ${status}`);
  for (const one of Object.values<Json>(document.components.responses)) assert.match(one.description, /\. .+\.$/);
});

test('the sentences of docs/problems.md are those that the code has', () => {
  const folder = join(import.meta.dirname, '..', '..', 'services', 'control-plane', 'api');
  const code = readdirSync(folder)
    .filter((file) => file !== 'problems.ts')
    .map((file) => join(folder, file))
    .concat(join(folder, '../../reconciler/aws/errors.ts'))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  const sentences = Object.values(PROBLEMS).flatMap(({ sentences = [] }) => sentences);
  assert(sentences.length > 15);
  for (const sentence of sentences)
    for (const part of sentence.split(/\{[\w ]+\}|…/).filter((one) => one.trim().length > 3))
      assert(code.includes(part.trim()), `${sentence}: "${part}" is nowhere`);
});

test('integrations: an honest empty list, and none to be found', async () => {
  for (const host of ['github', 'forge/github']) {
    assert.deepEqual((await api.call('GET', `/v1/integrations/${host}/install`)).body, []);
    const id = randomUUID();
    const repos = await api.call('GET', `/v1/integrations/${host}/${id}/repos`);
    assert.deepEqual([repos.status, repos.body], [404, { detail: `Integration ID ${id} not found.` }]);
    assert.equal((await api.call('GET', `/v1/integrations/${host}/x/repos`)).status, 422);
    assert.equal((await api.call('GET', `/v1/integrations/${host}/install`, undefined, NO_KEY)).status, 401);
  }
});

test('the reference page loads all that it needs from where it is, and runs no script of its own text', async () => {
  for (const path of ['/docs', '/docs/', '/redoc', '/api-host/docs', '/api-host/docs/', '/api-host/redoc']) {
    const at = new URL(path, 'http://control-plane.test');
    const get = (url: URL): Promise<Response> => {
      assert.equal(url.origin, at.origin, 'nothing from elsewhere');
      return Promise.resolve(api.request(url.pathname, {}));
    };
    const page = await get(at);
    assert.equal(page.status, 200);
    assert.match(page.headers.get('content-type')!, /^text\/html/);
    const policy = page.headers.get('content-security-policy')!;
    assert.match(policy, /^default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe|https?:/);
    const html = await page.text();
    assert.doesNotMatch(html, /<script[^>]*>[^<]|<style|\sstyle=|\son\w+=/);
    const links = [...html.matchAll(/(?:src|href|data-openapi)="([^"]+)"/g)].map(([, link]) => new URL(link!, at));
    assert.equal(links.length, 5);
    const types = [];
    for (const link of links) {
      const asset = await get(link);
      assert.equal(asset.status, 200, `${path} needs ${link.pathname}`);
      types.push(asset.headers.get('content-type')!.split(';')[0]);
      const text = await asset.text();
      assert(text.length > 50);
      // The style sheet is the only one that could ask for more.
      if (types.at(-1) === 'text/css')
        for (const [, url] of text.matchAll(/url\(["']?([^"')]{0,20})/g)) assert.match(url!, /^data:/);
    }
    assert.deepEqual(types, ['image/png', 'text/css', 'text/javascript', 'text/javascript', 'application/json']);
  }
});

test('where the CLIs send people: a page that is the same for all, and shows what its reader may see', async () => {
  const place = await api.place('page');
  const { body: made } = await api.call('POST', '/v2/deployments', {
    name: 'page',
    source: 'internal_docker',
    source_config: { deployment_type: 'dev', listener_id: place.id },
    source_revision_config: {},
    secrets: [],
  });
  for (const [prefix, slash] of [
    ['', ''],
    ['/api-host', '/'],
  ]) {
    const at = new URL(
      `${prefix}/o/${made.tenant_id}/host/deployments/${made.id}${slash}`,
      'http://control-plane.test',
    );
    const page = await api.request(at.pathname, {});
    assert.equal(page.status, 200);
    assert.match(page.headers.get('content-security-policy')!, /^default-src 'none'; script-src 'self'/);
    const html = await page.text();
    assert.doesNotMatch(html, new RegExp(`${made.id}|${made.tenant_id}|>[^<]*page`), 'nothing of any deployment');
    const script = await api.request(new URL(/src="([^"]+)"/.exec(html)![1]!, at).pathname, {});

    // A browser, as far as the script needs one.
    const shown: Record<string, { textContent: string; value: string }> = {};
    const element = (id: string) => (shown[id] ??= { textContent: '', value: '' });
    let submit = (_event: { preventDefault(): void }): void => assert.fail('nothing is to be submitted');
    const form = { addEventListener: (_: string, act: typeof submit) => void (submit = act) };
    const document = {
      getElementById: element,
      querySelector: (what: string) => (what === 'form' ? form : element(what)),
    };
    const fetch = (path: string, given: { headers: Record<string, string> }) => api.request(path, given);
    runInNewContext(await script.text(), {
      document,
      location: at,
      fetch,
      setTimeout: () => 0,
      clearTimeout: () => {},
    });
    assert.equal(shown['name']!.textContent, made.id);
    const says = async (key: string, id: string): Promise<string> => {
      element('input').value = key;
      element(id).textContent = '';
      submit({ preventDefault: () => {} });
      return eventually(`${id} is shown`, () => shown[id]!.textContent || undefined);
    };
    assert.match(await says('fh_wrong', 'wrong'), /./);
    assert.match(await says(api.key, 'status'), /^AWAITING_DATABASE/);
    assert.deepEqual(
      ['name', 'revision', 'wrong'].map((id) => shown[id]!.textContent),
      ['page', 'none yet', ''],
    );
  }
});
