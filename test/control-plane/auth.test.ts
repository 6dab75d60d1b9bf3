/** Who may come in, where to, and what he may do there. */
import { serve } from '@hono/node-server';
import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, request as send, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { SignJWT, exportJWK, exportSPKI, generateKeyPair, type CryptoKey, type JWK } from 'jose';
import { api as apiOf, routes } from '../../services/control-plane/api/app.ts';
import { everyRouteHasItsRole, ROLES } from '../../services/control-plane/api/auth.ts';
import type { ApiOptions } from '../../services/control-plane/api/context.ts';
import { addKey, addWorkspace, findKey, hashOf, settingKey } from '../../services/control-plane/store/access.ts';
import { openDatabase as connect } from '../../services/control-plane/store/database.ts';
import { migrate } from '../../services/control-plane/store/migrations.ts';
import { forgetKeys } from '../../services/control-plane/store/tenants.ts';
import { everyRow } from '../support/canary.ts';
import { openDatabase } from '../support/database.ts';
import { checkAnswer } from './contract.ts';
import { KEY, deployment, openControlPlane, type Answer, type ControlPlane, type Json } from './open.ts';
import { outputs } from './simulated.ts';

let cp: ControlPlane;
let other: { id: string; key: string };
/** Organization-wide, and to no workspace in particular. */
let wide: { id: string; key: string };
before(async () => {
  cp = await openControlPlane();
  other = { id: await addWorkspace(cp.db, 'other'), key: 'fh_other' };
  await addKey(cp.db, other.id, 'other', other.key);
  wide = { id: '', key: 'fh_wide' };
  await addKey(cp.db, cp.workspaceId, 'wide', wide.key, { organizationWide: true });
  const rows = await cp.db
    .updateTable('api_keys')
    .set({ workspace_id: null })
    .where('name', '=', 'wide')
    .returning('id')
    .execute();
  wide.id = rows[0]!.id;
});
after(() => cp.close());

const as = (key: string, method: string, path: string, body?: Json, headers: Record<string, string> = {}) =>
  cp.call(method, path, body, { 'X-Api-Key': key, ...headers });

/** A key of the test's own, made by the API. */
async function make(more: Json = {}, by: Record<string, string> = {}): Promise<{ id: string; key: string }> {
  const made = await cp.call('POST', '/v2/freehold/api-keys', { name: 'made', role: 'admin', ...more }, by);
  assert.equal(made.status, 201, JSON.stringify(made.body));
  return made.body;
}

/** The same store behind other settings. */
function another(options: Partial<ApiOptions>): (path: string, init?: RequestInit) => Promise<Answer> {
  const { db, looks, cloud, log, digestKey } = cp;
  const app = apiOf({ db, looks, cloud, log, digestKey, principalArn: null, agentAuth: { type: 'noop' }, ...options });
  return async (path, init = {}) => {
    const response = await app.request(path, init);
    const body: Json = await response.json();
    checkAnswer(init.method ?? 'GET', path, response, body);
    return { status: response.status, body, headers: response.headers };
  };
}

// ---- every endpoint ----

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly role: 'viewer' | 'deployer' | 'admin';
}

const { paths }: Json = await (await routes({} as ApiOptions).request('/openapi.json')).json();
const operations: Operation[] = Object.entries<Json>(paths).flatMap(([path, methods]) =>
  Object.entries<Json>(methods)
    .filter(([, operation]) => operation.security?.length !== 0)
    .map(([method, operation]) => ({ method: method.toUpperCase(), path, role: operation['x-required-role'] })),
);

/** What an operation has to be sent to get as far as looking for what it names. */
const BODIES: Record<string, Json> = {
  'POST /v2/freehold/api-keys': { name: 'x', role: 'viewer', workspace_id: '{workspace_id}' },
  'POST /v2/freehold/members': { claim: 'sub', value: 'x', role: 'viewer', workspace_id: '{workspace_id}' },
  'PATCH /v2/freehold/workspaces/{workspace_id}': { name: 'mine-now' },
  'POST /v2/listeners/{listener_id}/offboard': { confirm: 'x', skip_retention: false },
  'PATCH /v2/deployments/{deployment_id}/resource-tiers': { database_tier: 'DEDICATED_S' },
};
const QUERIES: Record<string, string> = {
  'DELETE /v2/deployments': '?deployment_ids={deployment_id}',
  'GET /v2/deployment-logs': '?deployment_id={deployment_id}',
  'GET /v2/deployments/{deployment_id}/revisions/{revision_id}/logs': '?type=deploy',
};

const filled = (template: string, ids: Record<string, string>): string =>
  template.replaceAll(/\{(\w+_id)\}/g, (_, name: string) => ids[name] ?? randomUUID());

const ask = ({ method, path }: Operation, ids: Record<string, string>, headers: Record<string, string>) => {
  const name = `${method} ${path}`;
  const body = BODIES[name] ?? (method === 'POST' || method === 'PATCH' ? {} : undefined);
  return cp.call(
    method,
    filled(path + (QUERIES[name] ?? ''), ids),
    body && JSON.parse(filled(JSON.stringify(body), ids)),
    headers,
  );
};

const RANK = ['viewer', 'deployer', 'admin'];

test('every operation says which role it takes, and no role is left over', () => {
  const said = operations.map(({ method, path }) => `${method} ${path}`).toSorted();
  assert(said.length > 25);
  assert.deepEqual(Object.values(ROLES).flat().toSorted(), said);
  for (const { method, path, role } of operations) assert(RANK.includes(role), `${method} ${path}`);
});

test('a route that nobody has decided about does not start', () => {
  for (const path of ['/v2/something', '/v1/something', '/auth/something', '/v3/something', '/docs/a/b']) {
    const app = routes({} as ApiOptions);
    app.get(path, (c) => c.text(''));
    assert.throws(() => everyRouteHasItsRole(app), new RegExp(`no role is decided for GET ${path}: `));
  }
});

for (const [who, key, sentence] of [
  ['no key', '', /^X-Api-Key or Authorization: Bearer header is required$/],
  ['a bad key', 'fh_0', /^Invalid API key$/],
  ['an expired key', 'fh_expired', /^This API key has expired$/],
  ['a revoked key', 'fh_revoked', /^This API key was revoked$/],
] as const)
  test(`every operation × ${who}: 401`, async () => {
    if (key === 'fh_expired') await addKey(cp.db, cp.workspaceId, who, key, { expiresAt: new Date(Date.now() - 1) });
    if (key === 'fh_revoked') {
      await addKey(cp.db, cp.workspaceId, who, key);
      await cp.db.updateTable('api_keys').set({ revoked_at: new Date() }).where('name', '=', who).execute();
    }
    for (const operation of operations) {
      const { status, body, headers } = await ask(operation, {}, { 'X-Api-Key': key });
      assert.equal(status, 401, `${operation.method} ${operation.path}`);
      assert.match(body.detail, sentence);
      assert.equal(headers.get('www-authenticate'), 'Bearer');
    }
  });

test("every operation × another workspace's X-Tenant-Id: 403", async () => {
  for (const tenant of [other.id, randomUUID()])
    for (const operation of operations) {
      const { status, body } = await ask(operation, {}, { 'X-Tenant-Id': tenant });
      assert.equal(status, 403, `${operation.method} ${operation.path}`);
      assert.equal(body.detail, `The API key does not belong to workspace ID '${tenant}'.`);
    }
});

test('every operation × an X-Tenant-Id that is none: 422', async () => {
  for (const operation of operations) {
    const { status, body } = await ask(operation, {}, { 'X-Tenant-Id': 'mine' });
    assert.equal(status, 422, `${operation.method} ${operation.path}`);
    assert.deepEqual(body.detail[0].loc, ['header', 'x-tenant-id']);
  }
});

test('every operation × a key to the organization that names no workspace: 403, with what the CLI looks for', async () => {
  for (const operation of operations) {
    const { status, body } = await ask(operation, {}, { 'X-Api-Key': wide.key });
    const name = `${operation.method} ${operation.path}`;
    if (operation.path.startsWith('/v2/freehold/')) assert([200, 404, 422].includes(status), `${name}: ${status}`);
    else {
      assert.equal(status, 403, name);
      assert.match(body.detail, /requires workspace specification: set the header X-Tenant-Id/);
    }
  }
});

for (const role of ['viewer', 'deployer'] as const)
  test(`every operation × ${role}: what it may not is 403`, async () => {
    const { key } = await make({ role });
    for (const operation of operations) {
      const { status, body } = await ask(operation, {}, { 'X-Api-Key': key });
      const name = `${operation.method} ${operation.path}: ${status}`;
      if (RANK.indexOf(role) >= RANK.indexOf(operation.role)) {
        assert(![401, 403].includes(status) && status < 500, name);
        continue;
      }
      assert.equal(status, 403, name);
      assert.equal(body.detail, `The role "${role}" may not do this: it takes the role "${operation.role}".`);
      assert.doesNotMatch(body.detail, /not enabled|requires workspace specification/i);
    }
  });

test("every operation × another workspace's ids: 404, and its lists have none of them", async () => {
  const { id: listener_id } = await cp.place('foreign');
  const made = await cp.call('POST', '/v2/deployments', deployment({ source_config: { listener_id } }));
  const member = await cp.call('POST', '/v2/freehold/members', { claim: 'sub', value: 'foreign', role: 'viewer' });
  const ids: Record<string, string> = {
    listener_id,
    deployment_id: made.body.id,
    revision_id: made.body.latest_revision_id,
    key_id: (await make()).id,
    member_id: member.body.id,
    workspace_id: cp.workspaceId,
  };
  for (const id of Object.values(ids)) assert.match(id, /^[0-9a-f-]{36}$/);
  for (const operation of operations) {
    const { method, path } = operation;
    const name = `${method} ${path}`;
    const names = /\{\w+_id\}/.test(path + JSON.stringify(BODIES[name] ?? '') + (QUERIES[name] ?? ''));
    const { status, body } = await ask(operation, ids, { 'X-Api-Key': other.key });
    if (names) assert.equal(status, 404, `${name}: ${status} ${JSON.stringify(body)}`);
    // The log of their own workspace has what they have asked for, and nothing of what it stands for: audit.test.ts.
    else if (path !== '/v2/audit')
      for (const id of Object.values(ids)) assert(!JSON.stringify(body).includes(id), name);
  }

  // Nor by way of what is their own: a place for a deployment, a deployment for a revision.
  const inOther = (method: string, path: string, body: Json) => as(other.key, method, path, body);
  const abroad = await inOther('POST', '/v2/deployments', deployment({ source_config: { listener_id } }));
  assert.deepEqual([abroad.status, abroad.body.detail], [404, `Listener ID ${listener_id} not found.`]);
  const place = await inOther('POST', '/v2/listeners', { compute_type: 'ecs', compute_id: 'own', compute_config: {} });
  await inOther('PATCH', `/v2/listeners/${place.body.id}`, { compute_config: { place: outputs() } });
  const own = await inOther('POST', '/v2/deployments', deployment());
  assert.equal(own.status, 201);
  for (const operation of operations.filter(({ path }) => path.includes('{revision_id}'))) {
    const { status } = await ask(operation, { ...ids, deployment_id: own.body.id }, { 'X-Api-Key': other.key });
    assert.equal(status, 404, `${operation.method} ${operation.path}`);
  }
  assert.equal((await cp.call('GET', `/v2/deployments/${ids['deployment_id']}`)).status, 200);
  assert.equal((await cp.call('GET', '/v2/freehold/me')).body.workspace.name, 'test');
});

// ---- keys ----

test('a key: its value is answered once and kept nowhere; its last use is noted, once a minute; revoked at once', async () => {
  const made = await make({ name: 'ci', role: 'deployer', expires_at: '2099-01-01T00:00:00+02:00' });
  const { key, ...shown } = made as Json;
  assert.match(key, /^fh_[0-9a-f]{48}$/);
  const listed = async (): Promise<Json> =>
    (await cp.call('GET', '/v2/freehold/api-keys?limit=100')).body.resources.find((one: Json) => one.id === made.id);
  assert.deepEqual(await listed(), shown);
  assert.deepEqual(
    [shown.role, shown.scope, shown.workspace_id, shown.expires_at, shown.last_used_at, shown.revoked_at],
    ['deployer', 'workspace', cp.workspaceId, '2098-12-31T22:00:00.000Z', null, null],
  );
  for (const table of ['api_keys', 'settings', 'events'] as const)
    assert(!JSON.stringify(await cp.db.selectFrom(table).selectAll().execute()).includes(key));
  assert(!cp.logged.join('').includes(key));

  assert.equal((await as(key, 'GET', '/v2/deployments')).status, 200);
  const { last_used_at } = await listed();
  assert(Math.abs(Date.now() - Date.parse(last_used_at)) < 10_000);
  await as(key, 'GET', '/v2/deployments');
  assert.equal((await listed()).last_used_at, last_used_at);
  await cp.db
    .updateTable('api_keys')
    .set({ last_used_at: new Date(Date.now() - 61_000) })
    .where('id', '=', made.id)
    .execute();
  await Promise.all([1, 2, 3].map(() => as(key, 'GET', '/v2/deployments')));
  assert(Math.abs(Date.now() - Date.parse((await listed()).last_used_at)) < 10_000);

  assert.equal((await cp.call('DELETE', `/v2/freehold/api-keys/${made.id}`)).status, 204);
  assert.equal((await as(key, 'GET', '/v2/deployments')).body.detail, 'This API key was revoked');
  const { revoked_at } = await listed();
  assert.equal((await cp.call('DELETE', `/v2/freehold/api-keys/${made.id}`)).status, 204);
  assert.equal((await listed()).revoked_at, revoked_at);
  await cp.db
    .updateTable('api_keys')
    .set({ revoked_at: new Date(0) })
    .where('id', '=', made.id)
    .execute();
  await forgetKeys(cp.db, 30);
  assert.equal(await listed(), undefined);
  assert.equal((await cp.call('GET', '/v2/freehold/me')).status, 200);
});

test('nobody gives away more than he has', async () => {
  const asked = (body: Json, by = KEY, headers = {}) => as(by, 'POST', '/v2/freehold/api-keys', body, headers);
  const admin = { name: 'more', role: 'admin' };
  assert.match(
    (await asked({ ...admin, scope: 'organization' })).body.detail,
    /^The role "admin" in one workspace may not do this: it takes an admin of the organization\.$/,
  );
  assert.equal((await asked({ ...admin, workspace_id: other.id })).status, 404);
  assert.equal((await as(KEY, 'POST', '/v2/freehold/workspaces', { name: 'mine' })).status, 403);
  const members = (body: Json) => as(KEY, 'POST', '/v2/freehold/members', { claim: 'sub', value: 'x', ...body });
  assert.equal((await members({ role: 'admin', scope: 'organization' })).status, 403);
  assert.equal((await members({ role: 'viewer', workspace_id: other.id })).status, 404);
  // What is the organization's is not seen, and not revoked, by an admin of a workspace, even if it opens that one.
  const home = await make({ scope: 'organization', workspace_id: cp.workspaceId }, { 'X-Api-Key': wide.key });
  const { resources } = (await cp.call('GET', '/v2/freehold/api-keys?limit=100')).body;
  assert(resources.length > 0 && resources.every((one: Json) => one.scope === 'workspace'));
  assert.equal((await cp.call('DELETE', `/v2/freehold/api-keys/${home.id}`)).status, 404);
  assert.equal((await asked({ ...admin, role: 'owner' })).status, 422);
  assert.equal((await asked({ ...admin, expires_at: '2020-01-01T00:00:00Z' })).status, 422);
  assert.equal((await asked({ ...admin, name: 'FREEHOLD_API_KEY' })).status, 422);
  assert.equal((await asked(admin, wide.key)).status, 422); // to which workspace?
});

test('a key to the organization: in the workspace that it names, or in the one that it was given', async () => {
  const list = (key: string, tenant?: string) =>
    as(key, 'GET', '/auth/public', undefined, tenant ? { 'X-Tenant-Id': tenant } : {});
  assert.equal((await list(wide.key, other.id)).body.tenant_id, other.id);
  assert.equal((await list(wide.key, other.id.toUpperCase())).body.tenant_id, other.id);
  assert.equal((await list(wide.key, randomUUID())).status, 403);
  const abroad = await addWorkspace(cp.db, 'abroad', 'another organization');
  assert.equal((await list(wide.key, abroad)).status, 403);
  const home = await make({ scope: 'organization', workspace_id: other.id }, { 'X-Api-Key': wide.key });
  assert.equal((await list(home.key)).body.tenant_id, other.id);
  assert.equal((await list(home.key, cp.workspaceId)).body.tenant_id, cp.workspaceId);

  const me = await as(wide.key, 'GET', '/v2/freehold/me');
  assert.deepEqual(
    [me.body.organization.name, me.body.workspace, me.body.organization_role],
    ['default', null, 'admin'],
  );
  const names = async (key: string): Promise<string[]> =>
    (await as(key, 'GET', '/v2/freehold/workspaces')).body.resources.map(({ name }: Json) => name);
  const made = await as(wide.key, 'POST', '/v2/freehold/workspaces', { name: 'second' });
  assert.equal(made.status, 201);
  assert.equal((await as(wide.key, 'POST', '/v2/freehold/workspaces', { name: 'second' })).status, 409);
  assert.deepEqual((await names(wide.key)).toSorted(), ['other', 'second', 'test']);
  assert.deepEqual(await names(KEY), ['test']);
  const rename = (key: string, id: string, name: string) =>
    as(key, 'PATCH', `/v2/freehold/workspaces/${id}`, { name }, key === KEY ? {} : { 'X-Tenant-Id': id });
  assert.equal((await rename(wide.key, made.body.id, 'third')).body.name, 'third');
  assert.equal((await rename(wide.key, made.body.id, 'other')).status, 409);
  assert.equal((await rename(KEY, made.body.id, 'mine')).status, 404);
  assert.equal((await as(wide.key, 'PATCH', `/v2/freehold/workspaces/${abroad}`, { name: 'x' })).status, 404);
});

test('nobody locks himself out unasked', async () => {
  const one = await make();
  const revoke = (query = '') => as(one.key, 'DELETE', `/v2/freehold/api-keys/${one.id}${query}`);
  const refused = await revoke();
  assert.deepEqual([refused.status, refused.headers.get('x-should-retry')], [409, 'false']);
  assert.match(refused.body.detail, /\?even_in_use=true/);
  assert.equal((await revoke('?even_in_use=true')).status, 204);
  assert.equal((await revoke('?even_in_use=true')).status, 401);
});

test("the setting's key administers the organization; revoked, it stays so until the setting is another", async () => {
  const [first, second] = ['first-'.repeat(6), 'second'.repeat(6)];
  assert.equal(await settingKey(cp.db, first), true);
  const me = (await as(first, 'GET', '/v2/freehold/me')).body;
  assert.deepEqual([me.organization_role, me.workspace.name], ['admin', 'default']);
  assert.equal((await as(first, 'DELETE', `/v2/freehold/api-keys/${me.key.id}?even_in_use=true`)).status, 204);
  await forgetKeys(cp.db, -1);
  assert.equal(await settingKey(cp.db, first), false);
  assert.equal((await as(first, 'GET', '/v2/deployments')).status, 401);
  const renamed = { name: 'renamed' };
  assert.equal((await as(wide.key, 'PATCH', `/v2/freehold/workspaces/${me.workspace.id}`, renamed)).status, 200);
  assert.equal(await settingKey(cp.db, second), true);
  assert.equal((await as(second, 'GET', '/v2/freehold/me')).body.workspace.id, me.workspace.id);
  assert.equal((await as(first, 'GET', '/v2/deployments')).body.detail, 'Invalid API key');
});

test("a key that was there becomes the setting's, and ends with it", async () => {
  const first = 'printed'.repeat(5);
  await addKey(cp.db, cp.workspaceId, 'first', first, { role: 'viewer', expiresAt: new Date(0) });
  assert.equal(await settingKey(cp.db, first), true);
  const me = (await as(first, 'GET', '/v2/freehold/me')).body;
  assert.deepEqual([me.organization_role, me.workspace.id], ['admin', cp.workspaceId]);
  assert.equal(await settingKey(cp.db, 'another'.repeat(5)), true);
  assert.equal((await as(first, 'GET', '/v2/deployments')).body.detail, 'Invalid API key');
});

test('the keys of a store from before there were organizations', async () => {
  const database = await openDatabase();
  const db = connect(database.url, { connections: 1, onError: () => {} });
  try {
    await migrate(db, '0002_receipts_that_are_read');
    const [first, ci] = [hashOf('first'), hashOf('ci')];
    await sql`
      with w as (insert into workspaces (name) values ('default') returning id)
      insert into api_keys (workspace_id, name, prefix, hash)
      select w.id, k.name, '', k.hash from w, (values ('first', ${first}::bytea), ('ci', ${ci}::bytea)) as k (name, hash)
    `.execute(db);
    await migrate(db);
    const found = async (key: string): Promise<Json> => {
      const { role, workspaceId, home, organizationId, expired, revoked } = (await findKey(db, key, null))!;
      return [role, workspaceId === null, home !== null, organizationId !== null, expired, revoked];
    };
    assert.deepEqual(await found('first'), ['admin', true, true, true, false, false], 'administers the organization');
    assert.deepEqual(await found('ci'), ['admin', false, true, true, false, false], 'administers its workspace');
  } finally {
    await db.destroy();
    await database.close();
  }
});

// ---- what servers ask ----

test('/auth/public: whose key it is, under both prefixes, in one query', async () => {
  const { key, id } = await make({ role: 'viewer' });
  for (const prefix of ['', '/api-host'])
    for (const path of ['/auth/public', '/auth/verify'])
      assert.deepEqual((await as(key, 'GET', prefix + path)).body, {
        organization_id: (await cp.call('GET', '/v2/freehold/me')).body.organization.id,
        tenant_id: cp.workspaceId,
        user_id: id,
      });
  let queries = 0;
  const db = cp.db.withPlugin({
    transformQuery({ node }) {
      queries += 1;
      return node;
    },
    transformResult: ({ result }) => Promise.resolve(result),
  });
  const { status } = await another({ db })('/auth/public', { headers: { 'X-Api-Key': key } });
  assert.deepEqual([status, queries], [200, 1]);
});

// ---- tokens ----

/** An OIDC provider, as far as tokens go. */
class Issuer {
  readonly #server: Server;
  readonly #keys: { kid: string; publicKey: CryptoKey; privateKey: CryptoKey }[] = [];
  readonly asked: string[] = [];
  published: JWK[] = [];
  url = '';
  keysAt = '';

  private constructor() {
    this.#server = createServer((request, response) => {
      this.asked.push(request.url!);
      const answers: Record<string, Json> = {
        '/realm/.well-known/openid-configuration': { issuer: this.url, jwks_uri: this.keysAt || `${this.url}/keys` },
        '/realm/keys': { keys: this.published },
      };
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answers[request.url!] ?? {}));
    });
  }

  static async start(): Promise<Issuer> {
    const issuer = new Issuer();
    await new Promise<void>((resolve) => issuer.#server.listen(0, '127.0.0.1', resolve));
    issuer.url = `http://127.0.0.1:${(issuer.#server.address() as AddressInfo).port}/realm`;
    await issuer.rotate();
    return issuer;
  }

  /** From now on it signs with another key, and publishes that one alone. */
  async rotate(): Promise<void> {
    const pair = { kid: randomUUID(), ...(await generateKeyPair('RS256', { extractable: true })) };
    this.#keys.push(pair);
    this.published = [{ ...(await exportJWK(pair.publicKey)), kid: pair.kid, alg: 'RS256', use: 'sig' }];
  }

  async token(claims: Json, { age = 0, kid, iss = this.url, aud = AUDIENCE }: Json = {}): Promise<string> {
    const { kid: own, privateKey } = this.#keys.at(-1)!;
    const now = Math.floor(Date.now() / 1000) - age;
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'RS256', kid: kid ?? own })
      .setIssuedAt(now)
      .setExpirationTime(now + 60)
      .setIssuer(iss)
      .setAudience(aud)
      .sign(privateKey);
    issued.push(token);
    return token;
  }

  publicKey(): Promise<string> {
    return exportSPKI(this.#keys.at(-1)!.publicKey);
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}
const AUDIENCE = 'freehold';
/** Every token that was ever made here. */
const issued: string[] = [];
const part = (value: Json): string => Buffer.from(JSON.stringify(value)).toString('base64url');

async function withIssuer(
  cooldownSeconds: number,
  act: (issuer: Issuer, asBearer: (token: string, path?: string, tenant?: string) => Promise<Answer>) => Promise<void>,
): Promise<void> {
  const issuer = await Issuer.start();
  const request = another({ oidc: { issuer: issuer.url, audience: AUDIENCE, cooldownSeconds } });
  try {
    await act(issuer, (token, path = '/v2/freehold/me', tenant) =>
      request(path, { headers: { Authorization: `Bearer ${token}`, ...(tenant ? { 'X-Tenant-Id': tenant } : {}) } }),
    );
  } finally {
    await issuer.close();
  }
}

const member = async (claim: string, value: string, role: string, more: Json = {}): Promise<Json> => {
  const added = await as(wide.key, 'POST', '/v2/freehold/members', { claim, value, role, ...more });
  assert.equal(added.status, 201, JSON.stringify(added.body));
  return added.body;
};

test('tokens: what is wrong with one is 401, and says what', async () => {
  await member('sub', 'ada', 'admin', { workspace_id: cp.workspaceId });
  await withIssuer(30, async (issuer, asBearer) => {
    const good = await asBearer(await issuer.token({ sub: 'ada' }));
    assert.equal(good.status, 200);
    assert.deepEqual(
      [good.body.role, good.body.workspace.id, good.body.key, good.body.user],
      ['admin', cp.workspaceId, null, { id: 'ada', email: null }],
    );
    const payload = { sub: 'ada', iss: issuer.url, aud: AUDIENCE, exp: Math.floor(Date.now() / 1000) + 60 };
    const shared = `${part({ alg: 'HS256', kid: issuer.published[0]!.kid })}.${part(payload)}`;
    const stranger = await Issuer.start();
    const kid = issuer.published[0]!.kid;
    for (const [why, token, sentence] of [
      ['another audience', await issuer.token({ sub: 'ada' }, { aud: 'them' }), /its claim "aud" is not/],
      ['another issuer', await issuer.token({ sub: 'ada' }, { iss: stranger.url }), /its claim "iss" is not/],
      ['too old', await issuer.token({ sub: 'ada' }, { age: 100 }), /it has expired/],
      ['too new', await issuer.token({ sub: 'ada', nbf: payload.exp }), /it is not valid yet/],
      ['nobody', await issuer.token({}), /its claim "sub" is not/],
      ['a number', await issuer.token({ sub: 7 }), /its claim "sub" is not/],
      ['no name', await issuer.token({ sub: '' }), /its claim "sub" is not/],
      ['unsigned', `${part({ alg: 'none' })}.${part(payload)}.`, /its algorithm is none of RS256/],
      [
        'the public key as a shared secret',
        `${shared}.${createHmac('sha256', await issuer.publicKey())
          .update(shared)
          .digest('base64url')}`,
        /its algorithm is none of RS256/,
      ],
      ['an unknown key', await stranger.token({ sub: 'ada' }, { iss: issuer.url }), /does not name one of the prov/],
      ['signed by another', await stranger.token({ sub: 'ada' }, { iss: issuer.url, kid }), /its signature is wrong/],
      ['no token', 'fh_0123', /it is not a signed JWT/],
    ] as const) {
      const { status, body } = await asBearer(token);
      assert.equal(status, 401, `${why}: ${JSON.stringify(body)}`);
      assert.match(body.detail, sentence, why);
      assert.match(body.detail, /^Invalid bearer token: /);
    }
    // Within a few seconds of its end it is taken: clocks differ.
    assert.equal((await asBearer(await issuer.token({ sub: 'ada' }, { age: 65 }))).status, 200);
    assert.deepEqual(issuer.asked, ['/realm/.well-known/openid-configuration', '/realm/keys'], 'asked once');
    await stranger.close();
  });
  const { status, body } = await cp.call('GET', '/v2/deployments', undefined, {
    'X-Api-Key': '',
    Authorization: 'Bearer x',
  });
  assert.deepEqual([status, /no OIDC provider is configured/.test(body.detail)], [401, true]);
});

test("tokens: an issuer's name may end with a slash, and the audience be one of several", () =>
  withIssuer(30, async (issuer) => {
    issuer.keysAt = `${issuer.url}/keys`;
    issuer.url += '/';
    const request = another({ oidc: { issuer: issuer.url, audience: AUDIENCE } });
    const status = async (more: Json): Promise<number> => {
      const headers = { Authorization: `Bearer ${await issuer.token({ sub: 'ada' }, more)}` };
      return (await request('/v2/deployments', { headers })).status;
    };
    assert.equal(await status({ aud: ['them', AUDIENCE] }), 200);
    assert.equal(await status({ aud: ['them', `${AUDIENCE}2`] }), 401);
    assert.equal(await status({ iss: issuer.url.slice(0, -1) }), 401);
  }));

test('tokens: the provider may change its keys', () =>
  withIssuer(0, async (issuer, asBearer) => {
    const old = await issuer.token({ sub: 'ada' });
    assert.equal((await asBearer(old)).status, 200);
    await issuer.rotate();
    assert.equal((await asBearer(await issuer.token({ sub: 'ada' }))).status, 200);
    assert.equal((await asBearer(old)).status, 401);
  }));

test('tokens: a provider that cannot be asked is 503, and is asked again', async () => {
  let token = '';
  await withIssuer(30, async (issuer, asBearer) => {
    token = await issuer.token({ sub: 'ada' });
    issuer.url += '/elsewhere'; // it says that it is another
    const wrong = await asBearer(token);
    assert.deepEqual([wrong.status, wrong.headers.get('retry-after')], [503, '5']);
    issuer.url = issuer.url.replace('/elsewhere', '');
    assert.equal((await asBearer(token)).status, 200);
    const nothing = issuer.published;
    issuer.published = 'nothing' as Json;
    const request = another({ oidc: { issuer: issuer.url, audience: AUDIENCE } });
    const headers = { Authorization: `Bearer ${token}` };
    assert.equal((await request('/v2/deployments', { headers })).status, 503);
    issuer.published = nothing;
    assert.equal((await request('/v2/deployments', { headers })).status, 200);
  });
  const elsewhere = await Issuer.start();
  elsewhere.keysAt = 'ftp://127.0.0.1/keys';
  const insecure = another({ oidc: { issuer: elsewhere.url, audience: AUDIENCE } });
  const headers = { Authorization: `Bearer ${await elsewhere.token({ sub: 'ada' })}` };
  assert.equal((await insecure('/v2/deployments', { headers })).status, 503);
  assert(
    cp.logged.some((line) => line.includes('has its keys at ftp://127.0.0.1/keys')),
    'the operator is told why',
  );
  await elsewhere.close();
  const gone = another({ oidc: { issuer: 'http://127.0.0.1:9/realm', audience: AUDIENCE } });
  const { status, body } = await gone('/v2/deployments', { headers: { Authorization: `Bearer ${token}` } });
  assert.equal(status, 503);
  assert.match(body.detail, /^The OIDC provider http:\/\/127\.0\.0\.1:9\/realm cannot be asked/);
  assert.equal((await gone('/v2/deployments', { headers: { 'X-Api-Key': KEY } })).status, 200, 'keys work on');
});

test('tokens: while the provider is away, the keys that are known go on working, whatever else is sent', () =>
  withIssuer(0, async (issuer, asBearer) => {
    const good = await issuer.token({ sub: 'ada' });
    const unknown = await issuer.token({ sub: 'ada' }, { kid: 'unknown' });
    assert.equal((await asBearer(good)).status, 200);
    await issuer.close();
    assert.equal((await asBearer(unknown)).status, 503);
    assert.equal((await asBearer(good)).status, 200);
  }));

test('tokens: what their bearers may do is in members', async () => {
  await member('email', 'Eve@Example.com', 'viewer', { workspace_id: cp.workspaceId });
  await member('groups', 'team', 'deployer', { workspace_id: cp.workspaceId });
  await member('groups', 'both', 'viewer', { workspace_id: other.id });
  const twice = { claim: 'email', value: 'eve@example.com', role: 'admin', workspace_id: cp.workspaceId };
  assert.equal((await as(wide.key, 'POST', '/v2/freehold/members', twice)).status, 409);
  await withIssuer(30, async (issuer, asBearer) => {
    const roleOf = async (claims: Json, tenant?: string): Promise<Json> => {
      const { status, body } = await asBearer(await issuer.token({ sub: 'eve', ...claims }), '/v2/freehold/me', tenant);
      return status === 200 ? [body.role, body.workspace?.id] : status;
    };
    const here = cp.workspaceId;
    const email = 'eve@Example.com';
    assert.equal(await roleOf({}), 403);
    assert.equal(await roleOf({ email }), 403, 'anybody could claim it');
    assert.equal(await roleOf({ email, email_verified: 'true' }), 403);
    assert.deepEqual(await roleOf({ email, email_verified: true }), ['viewer', here]);
    assert.deepEqual(await roleOf({ email, email_verified: true, groups: ['x', 'team'] }), ['deployer', here]);
    assert.deepEqual(await roleOf({ groups: 'team' }), ['deployer', here]);
    assert.equal(await roleOf({ groups: ['team'] }, other.id), 403);

    const both = await issuer.token({ sub: 'eve', groups: ['team', 'both'] });
    const unsaid = await asBearer(both, '/v2/deployments');
    assert.equal(unsaid.status, 403);
    assert.match(unsaid.body.detail, /requires workspace specification/);
    assert.match((await asBearer(both, '/v2/freehold/api-keys')).body.detail, /requires workspace specification/);
    assert.equal((await asBearer(both, '/v2/deployments', other.id)).status, 200);
    const seen = (await asBearer(both, '/v2/freehold/workspaces')).body.resources.map(({ id }: Json) => id);
    assert.deepEqual(seen.toSorted(), [here, other.id].toSorted());

    const all = await member('sub', 'eve', 'admin', { scope: 'organization' });
    assert.deepEqual(await roleOf({}, other.id), ['admin', other.id]);
    const publicly = await asBearer(
      await issuer.token({ sub: 'eve', email, email_verified: true }),
      '/auth/public',
      here,
    );
    assert.deepEqual(
      [publicly.body.tenant_id, publicly.body.user_id, publicly.body.user_email],
      [here, 'eve', 'eve@example.com'],
    );
    const request = another({ oidc: { issuer: issuer.url, audience: AUDIENCE } });
    const headers = { Authorization: `Bearer ${await issuer.token({ sub: 'eve' })}` };
    const own = await request(`/v2/freehold/members/${all.id}`, { method: 'DELETE', headers });
    assert.deepEqual([own.status, /\?even_in_use=true/.test(own.body.detail)], [409, true]);
    assert.equal((await as(wide.key, 'DELETE', `/v2/freehold/members/${all.id}`)).status, 204);
    assert.equal(await roleOf({}), 403);
  });
});

// ---- limits, ids ----

test('requests a minute: 429 with Retry-After, for each key, and for servers apart', async () => {
  const request = another({ rateLimit: 3 });
  const get = (path: string, key: string) => request(path, { headers: { 'X-Api-Key': key } });
  const [one, two] = [await make(), await make()];
  for (let i = 0; i < 3; i++) assert.equal((await get('/v2/deployments', one.key)).status, 200);
  const limited = await get('/v2/deployments', one.key);
  assert.equal(limited.status, 429);
  const seconds = Number(limited.headers.get('retry-after'));
  assert(seconds >= 1 && seconds <= 60);
  assert.match(
    limited.body.detail,
    /^Too many requests with these credentials: 3 a minute are answered\. Try again in/,
  );
  assert.equal((await get('/v2/deployments', two.key)).status, 200);
  for (let i = 0; i < 30; i++) assert.equal((await get('/auth/public', one.key)).status, 200);
  assert.equal((await get('/auth/public', one.key)).status, 429);

  for (let i = 0; i < 100; i++) assert.equal((await get('/v2/deployments', `bad-${i}`)).status, 401);
  const refused = await get('/v2/deployments', 'bad');
  assert.deepEqual([refused.status, refused.headers.has('retry-after')], [429, true]);
  assert.equal((await get('/v2/deployments', two.key)).status, 200, 'a good key from the same address');
  assert.equal((await get('/auth/public', 'bad')).status, 401, "agents pass on their callers' keys");
});

test('requests a minute of whoever has a token, and no role', () =>
  withIssuer(30, async (issuer) => {
    const request = another({ rateLimit: 3, oidc: { issuer: issuer.url, audience: AUDIENCE } });
    const headers = { Authorization: `Bearer ${await issuer.token({ sub: 'stranger' })}` };
    for (let i = 0; i < 100; i++) assert.equal((await request('/v2/deployments', { headers })).status, 403);
    assert.equal((await request('/v2/deployments', { headers })).status, 429);
  }));

test('no answer about a tenant is kept on the way', async () => {
  for (const [path, key] of [
    ['/v2/deployments', KEY],
    ['/auth/public', KEY],
    [`/v2/deployments/${randomUUID()}`, KEY],
    ['/v2/deployments', 'bad'],
  ] as const)
    assert.equal((await as(key, 'GET', path)).headers.get('cache-control'), 'no-store', path);
});

test('bodies: 413 by their length, said or not', async () => {
  const { db, looks, cloud, log, digestKey } = cp;
  const app = apiOf({ db, looks, cloud, log, digestKey, principalArn: null, agentAuth: { type: 'noop' } });
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' });
  await once(server, 'listening');
  const post = (chunks: string[], headers: Record<string, string>, path = '/v2/listeners'): Promise<Json> =>
    new Promise((resolve, reject) => {
      const { port } = server.address() as AddressInfo;
      const request = send(
        { port, host: '127.0.0.1', method: 'POST', path, headers: { 'X-Api-Key': KEY, ...headers } },
        (response) => {
          let text = '';
          response.on('data', (data: Buffer) => (text += data.toString()));
          response.on('end', () =>
            resolve({ status: response.statusCode, body: JSON.parse(text), id: response.headers['x-request-id'] }),
          );
        },
      );
      request.on('error', reject);
      for (const chunk of chunks) request.write(chunk);
      request.end();
    });
  try {
    const large = ['x'.repeat(600_000), 'x'.repeat(600_000)];
    for (const headers of [{ 'Content-Length': '1200000' }, { 'Transfer-Encoding': 'chunked' }]) {
      const { status, body, id } = await post(large, headers as unknown as Record<string, string>);
      assert.deepEqual([status, body.detail], [413, 'the request is larger than 1048576 bytes']);
      assert.match(id, /^[\w-]+$/);
    }
    // Nobody is read from before it is known who he is, and what a route does not take is not read at all.
    for (const headers of [{ 'Content-Length': '1200000' }, { 'Transfer-Encoding': 'chunked' }]) {
      assert.equal((await post(large, { ...headers, 'X-Api-Key': 'bad' } as Json)).status, 401);
      assert.equal((await post(large, headers as Json, `/v2/listeners/${randomUUID()}/verify`)).status, 404);
    }
    const small = JSON.stringify({ compute_type: 'k8s', compute_id: 'x', compute_config: {} });
    const chunked = await post([small.slice(0, 5), small.slice(5)], { 'Transfer-Encoding': 'chunked' });
    assert.equal(chunked.status, 400, JSON.stringify(chunked.body));
  } finally {
    (server as Server).closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

test('every failure has its request id, in the answer and in a line that names key and workspace, but no key', async () => {
  const { key, id } = await make({ role: 'viewer' });
  const broken = another({ db: { selectFrom: undefined } as never });
  const limited = another({ rateLimit: 1 });
  await limited('/v2/deployments', { headers: { 'X-Api-Key': key } });
  const plain = (path: string, init: RequestInit = {}) => Promise.resolve(cp.request(path, init));
  const mine = { 'X-Api-Key': key };
  const known = { caller: id, workspace: cp.workspaceId };
  const { id: testKey } = (await cp.call('GET', '/v2/freehold/me')).body.key;
  for (const [status, line, ask] of [
    [401, {}, (headers: Json) => plain('/v2/deployments', { headers })],
    [
      403,
      { caller: id },
      (headers: Json) => plain('/v2/listeners', { method: 'POST', headers: { ...headers, ...mine } }),
    ],
    [404, known, (headers: Json) => plain(`/v2/deployments/${randomUUID()}`, { headers: { ...headers, ...mine } })],
    [404, {}, (headers: Json) => plain('/nowhere', { headers })],
    [405, {}, (headers: Json) => plain('/v2/deployments', { method: 'PUT', headers })],
    [
      413,
      { ...known, caller: testKey },
      (headers: Json) =>
        plain('/v2/deployments', {
          method: 'POST',
          headers: { ...headers, 'X-Api-Key': KEY },
          body: 'x'.repeat(1_100_000),
        }),
    ],
    [422, known, (headers: Json) => plain('/v2/deployments/x', { headers: { ...headers, ...mine } })],
    [429, { caller: id }, (headers: Json) => limited('/v2/deployments', { headers: { ...headers, ...mine } })],
    [500, {}, (headers: Json) => broken('/v2/deployments', { headers: { ...headers, ...mine } })],
  ] as const) {
    const requestId = randomUUID();
    const answer = await ask({ 'X-Request-Id': requestId });
    assert.deepEqual([answer.status, answer.headers.get('x-request-id')], [status, requestId]);
    const said = cp.logged
      .map((text): Json => JSON.parse(text))
      .find((one) => one.requestId === requestId && one.msg === 'request');
    assert.equal(said?.status, status);
    const { caller, workspace } = said;
    assert.deepEqual(JSON.parse(JSON.stringify({ caller, workspace })), line, String(status));
  }
  assert(!cp.logged.join('').includes(key));
});

test('no token is in a table or a log line, whether it was good or not', async () => {
  assert(issued.length > 5);
  const kept = [...(await everyRow(cp.url)).values(), ...cp.logged].join('\n');
  for (const token of issued) assert(!kept.includes(token.split('.')[2]!));
});
