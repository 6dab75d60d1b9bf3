/**
 * The vendor's Terraform provider (langchain-ai/terraform-provider-langsmith, `langsmith_deployment`), played: its
 * calls in its order, with its HTTP client's retries, and the state that it keeps. What is asserted is what Terraform
 * would show: an apply that succeeds is followed by a plan without a difference.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { api as apiOf } from '../../services/control-plane/api/app.ts';
import { openControlPlane, type ControlPlane, type Json } from './open.ts';

/** As written in a `.tf` file. */
interface Configuration {
  readonly name: string;
  readonly source: 'external_docker';
  readonly display_name?: string;
  readonly source_config: Json;
  readonly source_revision_config: Json;
  readonly secrets?: Record<string, string>;
  readonly secrets_version?: string;
  readonly secret_references?: readonly { name: string; secret_name: string; secret_key: string }[];
}
type State = Json;

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, detail: string) {
    super(`${status}: ${detail}`);
    this.status = status;
  }
}

/** Optional and computed: what is not configured takes the API's value once, and is kept. */
const ADOPTED = [
  'integration_id',
  'repo_url',
  'deployment_type',
  'build_on_push',
  'custom_url',
  'listener_id',
  'template_id',
];
/** Configured values that a read does not touch. */
const KEPT = ['install_command', 'build_command', 'listener_config', 'resource_spec'];
const POLL_MS = 50; // 5 s
const RETRY_MS = 10; // half a second, doubled each time

const hash = (secrets: Record<string, string>): string =>
  createHash('sha256')
    .update(JSON.stringify(Object.fromEntries(Object.entries(secrets).sort(([a], [b]) => (a < b ? -1 : 1)))))
    .digest('hex');
const known = (values: Json): Json =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== undefined));
const secretsOf = (secrets: Record<string, string> = {}): Json =>
  Object.keys(secrets)
    .sort()
    .map((name) => ({ name, value: secrets[name] }));

class Terraform {
  /** What `Retry-After` said, in seconds. */
  readonly waits: number[] = [];
  /** Before it tries again. */
  retrying: () => void = () => {};
  /** Each try: `POST /v2/deployments 201`. */
  sent: string[] = [];
  readonly api: ControlPlane;
  readonly base: string;
  constructor(api: ControlPlane, base: string) {
    this.api = api;
    this.base = base;
  }

  /** Tried again twice on 408, 409, 429 and from 500 on, unless `x-should-retry` says otherwise. */
  async request(method: string, path: string, body?: Json): Promise<Json> {
    for (let tries = 0; ; tries++) {
      const headers = { Accept: 'application/json', 'X-Tenant-Id': this.api.workspaceId };
      const answer = await this.api.call(method, `${this.base}/v2/deployments${path}`, body, headers);
      this.sent.push(`${method} ${path.replaceAll(/[0-9a-f-]{36}/g, '{id}')} ${answer.status}`);
      if (answer.status < 400) return answer.body;
      const said = answer.headers.get('x-should-retry');
      const again = said ? said === 'true' : [408, 409, 429].includes(answer.status) || answer.status >= 500;
      if (!again || tries === 2) {
        assert.equal(typeof answer.body?.detail, answer.status === 422 ? 'object' : 'string');
        throw new Refusal(answer.status, JSON.stringify(answer.body.detail));
      }
      this.retrying();
      const after = answer.headers.get('retry-after');
      if (after) this.waits.push(Number(after));
      await sleep(after ? Number(after) : RETRY_MS * 2 ** tries); // a millisecond for a second
    }
  }

  async create(config: Configuration): Promise<State> {
    const made = await this.request('POST', '', {
      name: config.name,
      source: config.source,
      source_config: known(config.source_config),
      source_revision_config: known(config.source_revision_config),
      secrets: secretsOf(config.secrets),
      ...(config.secret_references ? { secret_references: config.secret_references } : {}),
    });
    assert(made.id && made.latest_revision_id, 'an id, and a first revision');
    if (config.display_name) await this.request('PATCH', `/${made.id}`, { display_name: config.display_name });
    await this.#wait(made.id, made.latest_revision_id);
    const state = await this.read({ id: made.id, ...this.#wanted(config) });
    this.#consistent(config, state, made);
    return state;
  }

  /** What refreshing makes of a state; of one with an id alone, importing. */
  async read(state: State): Promise<State> {
    const seen = await this.request('GET', `/${state.id}`);
    const revision = seen.latest_revision_id
      ? await this.request('GET', `/${state.id}/revisions/${seen.latest_revision_id}`)
      : {};
    const imported = state.name === undefined;
    const config: Json = {};
    for (const name of ADOPTED) config[name] = seen.source_config[name] ?? null;
    for (const name of KEPT) config[name] = (imported ? seen.source_config[name] : state.source_config[name]) ?? null;
    const references = seen.secret_references ?? [];
    assert.equal(seen.secrets, null, 'values are not answered: the provider goes on with the hash that it has');
    return {
      ...state,
      id: seen.id,
      name: seen.name,
      source: seen.source,
      display_name: seen.display_name ?? null,
      source_config: config,
      source_revision_config: imported
        ? { image_uri: seen.source_revision_config.image_uri }
        : state.source_revision_config,
      secret_references: (imported ? references.length > 0 : state.secret_references !== null) ? references : null,
      secrets_hash: state.secrets_hash ?? null,
      secrets_version: state.secrets_version ?? null,
      tenant_id: seen.tenant_id,
      created_at: seen.created_at,
      updated_at: seen.updated_at,
      status: seen.status,
      latest_revision_id: seen.latest_revision_id,
      active_revision_id: seen.active_revision_id,
      latest_revision_status: revision.status,
    };
  }

  /** What `terraform plan` would show, after its refresh. */
  async plan(config: Configuration, state: State): Promise<string[]> {
    return this.#changes(config, await this.read(state));
  }

  async update(config: Configuration, before: State): Promise<State> {
    const state = await this.read(before);
    const changes = this.#changes(config, state);
    const { id } = state;
    const wanted = this.#wanted(config);
    const revised = changes.filter((name) => !/^(display_name|source_config\.(build_on_push|custom_url))$/.test(name));
    let body: Json;
    if (revised.length > 0) {
      const sourceConfig = known({
        install_command: config.source_config.install_command,
        build_command: config.source_config.build_command,
      });
      if (config.source_config.resource_spec) {
        // The API replaces the whole object: what is not configured is sent back as it was answered.
        const now = await this.request('GET', `/${id}`);
        sourceConfig.resource_spec = { ...now.source_config.resource_spec, ...config.source_config.resource_spec };
      }
      body = {
        source_revision_config: known(config.source_revision_config),
        ...(Object.keys(sourceConfig).length > 0 ? { source_config: sourceConfig } : {}),
        ...(config.secrets ? { secrets: secretsOf(config.secrets) } : {}),
        ...(config.secret_references ? { secret_references: config.secret_references } : {}),
      };
    }
    const mutable = known({
      display_name: changes.includes('display_name') ? config.display_name : null,
      source_config: changes.includes('source_config.custom_url')
        ? { custom_url: config.source_config.custom_url }
        : null,
    });
    if (Object.keys(mutable).length > 0) await this.request('PATCH', `/${id}`, mutable);
    if (body) {
      const revision = await this.request('POST', `/${id}/revisions`, body);
      await this.#wait(id, revision.id);
    }
    const next = await this.read({
      ...state,
      ...wanted,
      source_config: { ...state.source_config, ...wanted.source_config },
    });
    this.#consistent(config, next, state);
    return next;
  }

  async destroy(state: State): Promise<void> {
    const gone = (error: Error): void => {
      if ((error as Refusal).status !== 404) throw error;
    };
    let left = true;
    const end = (error: Error): void => {
      gone(error);
      left = false;
    };
    await this.request('DELETE', `/${state.id}`).catch(end);
    while (left) {
      await this.request('GET', `/${state.id}`).catch(end);
      if (left) await sleep(POLL_MS);
    }
  }

  async #wait(id: string, revisionId: string): Promise<void> {
    for (const deadline = Date.now() + 20_000; ; await sleep(POLL_MS)) {
      const { status } = await this.request('GET', `/${id}/revisions/${revisionId}`);
      if (status === 'DEPLOYED' || status === 'SKIPPED') return;
      if (status.endsWith('_FAILED')) throw new Refusal(0, `revision ${revisionId} failed with ${status}`);
      if (Date.now() > deadline) throw new Refusal(0, `revision ${revisionId} is still ${status}`);
    }
  }

  /** The configured part of a state. */
  #wanted(config: Configuration): Json {
    const kept = Object.fromEntries(KEPT.map((name) => [name, config.source_config[name] ?? null]));
    return {
      name: config.name,
      source: config.source,
      source_config: kept,
      source_revision_config: config.source_revision_config,
      secret_references: config.secret_references ?? null,
      secrets_version: config.secrets_version ?? null,
      ...(config.secrets ? { secrets_hash: hash(config.secrets) } : {}),
    };
  }

  #changes(config: Configuration, state: State): string[] {
    const changed = (wanted: Json, is: Json): boolean => JSON.stringify(wanted ?? null) !== JSON.stringify(is ?? null);
    const given = (wanted: Json, is: Json): boolean => wanted !== undefined && changed(wanted, is);
    return [
      ...['name', 'source', 'source_revision_config', 'secret_references', 'secrets_version'].filter((name) =>
        changed(config[name as keyof Configuration], state[name]),
      ),
      ...(given(config.display_name, state.display_name) ? ['display_name'] : []),
      ...(config.secrets && hash(config.secrets) !== state.secrets_hash ? ['secrets_hash'] : []),
      ...ADOPTED.filter((name) => given(config.source_config[name], state.source_config[name])).map(
        (name) => `source_config.${name}`,
      ),
      ...KEPT.filter((name) => changed(config.source_config[name], state.source_config[name])).map(
        (name) => `source_config.${name}`,
      ),
    ];
  }

  /** Else Terraform fails: "Provider produced inconsistent result after apply". */
  #consistent(config: Configuration, state: State, before: Json): void {
    assert.deepEqual(this.#changes(config, state), []);
    for (const name of ['id', 'tenant_id', 'created_at']) assert.equal(state[name], before[name], name);
    for (const name of ADOPTED)
      if (config.source_config[name] === undefined && (before.source_config?.[name] ?? null) !== null)
        assert.equal(state.source_config[name], before.source_config[name], name);
  }
}

let api: ControlPlane;
let listener: Json;

const image = (n: number): { image_uri: string } => {
  api.cloud.images.set(`repo/agent:${n}`, `repo/agent@sha256:${n}`);
  return { image_uri: `repo/agent:${n}` };
};
const minimal = (name: string): Configuration => ({
  name,
  source: 'external_docker',
  source_config: { resource_spec: {} },
  source_revision_config: image(1),
});

before(async () => {
  api = await openControlPlane();
  listener = await api.place();
  await api.startWorker();
});
after(() => api.close());

for (const base of ['', '/api-host'])
  describe(`with ${base || '/v2'} as the base`, { concurrency: 1 }, () => {
    const name = `agent${base.replace('/', '-')}`;
    let terraform: Terraform;
    let config: Configuration;
    let state: State;
    const counted = async <T>(act: () => Promise<T>): Promise<[T, string[]]> => {
      terraform.sent = [];
      const result = await act();
      const polls = /^GET /;
      return [result, terraform.sent.filter((line) => !polls.test(line))];
    };

    before(() => {
      terraform = new Terraform(api, base);
      config = {
        ...minimal(name),
        display_name: 'An agent',
        source_config: {
          listener_id: listener.id,
          resource_spec: { min_scale: 1, max_scale: 2, cpu: 1, memory_mb: 2048 },
        },
        secrets: { TOKEN: 'one', GREETING: 'hello' },
        secrets_version: '1',
      };
    });

    test('create: POST, PATCH for the name that is shown, wait; then a plan shows nothing', async () => {
      const [made, sent] = await counted(() => terraform.create(config));
      state = made;
      assert.deepEqual(sent, ['POST  201', 'PATCH /{id} 200']);
      assert.equal(state.display_name, 'An agent');
      assert.equal(state.latest_revision_status, 'DEPLOYED');
      assert.equal(state.source_config.build_on_push, false);
      assert.match(state.source_config.custom_url, /^http/, "the agent's URL is adopted");
      const [changes, nothing] = await counted(() => terraform.plan(config, state));
      assert.deepEqual([changes, nothing], [[], []]);
    });

    test('what is left out of the next configuration is left alone', async () => {
      const { display_name: _, ...rest } = config;
      assert.deepEqual(
        await terraform.plan({ ...rest, source_config: { resource_spec: config.source_config.resource_spec } }, state),
        [],
      );
    });

    test('an import shows no difference but in what no answer can tell', async () => {
      const imported = await terraform.read({ id: state.id });
      const { secrets: _, secrets_version: __, ...rest } = config;
      const changes = await terraform.plan(rest, imported);
      assert.deepEqual(changes, ['source_config.resource_spec'], 'its defaults are among what is imported');
    });

    test('update: GET, POST of a revision with the merged size, wait; then a plan shows nothing', async () => {
      config = {
        ...config,
        source_config: { ...config.source_config, resource_spec: { max_scale: 3 } },
        source_revision_config: image(2),
        secrets: { TOKEN: 'two', GREETING: 'hello' },
        secrets_version: '2',
      };
      const before = state.latest_revision_id;
      const [next, sent] = await counted(() => terraform.update(config, state));
      state = next;
      assert.deepEqual(sent, ['POST /{id}/revisions 201']);
      assert.notEqual(state.latest_revision_id, before);
      assert.equal(state.active_revision_id, state.latest_revision_id);
      const seen = (await api.call('GET', `/v2/deployments/${state.id}`)).body;
      const { cpu, memory_mb, min_scale, max_scale } = seen.source_config.resource_spec;
      assert.deepEqual([cpu, memory_mb, min_scale, max_scale], [1, 2048, 1, 3], 'what was not configured is kept');
      assert.deepEqual(await terraform.plan(config, state), []);
    });

    test('another name to show is a PATCH and no revision', async () => {
      config = { ...config, display_name: 'Another name' };
      const before = state.latest_revision_id;
      const [next, sent] = await counted(() => terraform.update(config, state));
      state = next;
      assert.deepEqual(sent, ['PATCH /{id} 200']);
      assert.equal(state.latest_revision_id, before);
      assert.deepEqual(await terraform.plan(config, state), []);
    });

    test('a URL of its own is a PATCH and no revision', async () => {
      config = { ...config, source_config: { ...config.source_config, custom_url: `https://${name}.example.com` } };
      const [next, sent] = await counted(() => terraform.update(config, state));
      state = next;
      assert.deepEqual(sent, ['PATCH /{id} 200']);
      assert.deepEqual(await terraform.plan(config, state), []);
    });

    test('references to secrets: made, read back as they were given, and taken away by an empty list', async () => {
      for (const key of ['a', 'b']) api.cloud.secrets.set(key, `arn:sim:secret:${key}`);
      const references = ['b', 'a'].map((key) => ({
        name: `REF_${key}`.toUpperCase(),
        secret_name: key,
        secret_key: 'k',
      }));
      for (const secret_references of [references, []]) {
        config = { ...config, secret_references };
        state = await terraform.update(config, state);
        assert.deepEqual(await terraform.plan(config, state), []);
      }
    });

    test('the data sources: one revision, and those that were deployed', async () => {
      const revision = await terraform.request('GET', `/${state.id}/revisions/${state.latest_revision_id}`);
      for (const field of ['id', 'created_at', 'updated_at', 'status', 'source'])
        assert.equal(typeof revision[field], 'string', field);
      assert.equal(revision.source_revision_config.image_uri, 'repo/agent:2');
      const page = await terraform.request('GET', `/${state.id}/revisions?limit=10&offset=0&status=DEPLOYED`);
      assert.equal(page.resources[0].id, state.latest_revision_id);
      assert.equal(page.offset, page.resources.length);
    });

    test('a revision that is refused changes nothing, and the next plan still shows what is wanted', async () => {
      const wrong = { ...config, source_revision_config: { image_uri: 'repo/agent:none' } };
      await assert.rejects(terraform.update(wrong, state), /^Error: 400: .*no such image/);
      assert.deepEqual(await terraform.plan(wrong, state), ['source_revision_config']);
      assert.deepEqual(await terraform.plan(config, state), []);
    });

    test('a revision that fails fails the apply, with its status', async () => {
      const failing = { ...config, source_revision_config: image(7) };
      api.cloud.crashes.set('repo/agent@sha256:7', 'exit code 1');
      await assert.rejects(terraform.update(failing, state), /failed with DEPLOY_FAILED/);
      state = await terraform.update({ ...config, secrets_version: '3' }, state);
      config = { ...config, secrets_version: '3' };
      assert.equal(state.latest_revision_status, 'DEPLOYED');
    });

    test('destroy: DELETE, then GET until 404; again it is done at once', async () => {
      const [, sent] = await counted(() => terraform.destroy(state));
      assert.deepEqual(sent, ['DELETE /{id} 204']);
      assert(terraform.sent.at(-1)!.endsWith('404'));
      terraform.sent = [];
      await terraform.destroy(state);
      assert.deepEqual(terraform.sent, ['DELETE /{id} 404']);
    });
  });

test('a name that is taken is said once: the client does not try again', async () => {
  const terraform = new Terraform(api, '');
  const state = await terraform.create(minimal('taken'));
  terraform.sent = [];
  await assert.rejects(terraform.create(minimal('taken')), /^Error: 409: /);
  assert.deepEqual(terraform.sent, ['POST  409']);
  await terraform.destroy(state);
});

test('an account that cannot be entered for a moment: the next try makes it, and once', async () => {
  const terraform = new Terraform(api, '');
  api.cloud.closed = 'the role is gone';
  terraform.retrying = () => (api.cloud.closed = null);
  const state = await terraform.create(minimal('second-try'));
  assert.deepEqual(terraform.sent.slice(0, 2), ['POST  502', 'POST  201']);
  const { body } = await api.call('GET', '/v2/deployments?name=second-try');
  assert.equal(body.resources.length, 1);
  await terraform.destroy(state);
});

test('too many requests: it waits for as long as it is told, and gives up after the third', async () => {
  const { db, looks, cloud, log, digestKey } = api;
  const agentAuth = { type: 'noop' } as const;
  const limited = apiOf({ db, looks, cloud, log, digestKey, principalArn: null, agentAuth, rateLimit: 1 });
  const call: ControlPlane['call'] = async (method, path, body, headers) => {
    const sent = { ...headers, 'X-Api-Key': api.key, 'Content-Type': 'application/json' };
    const answer = await limited.request(path, { method, headers: sent, body: body ? JSON.stringify(body) : null });
    return { status: answer.status, body: await answer.json(), headers: answer.headers };
  };
  const terraform = new Terraform({ ...api, call }, '');
  await terraform.request('GET', '?limit=1');
  await assert.rejects(terraform.request('GET', '?limit=1'), /^Error: 429: /);
  assert.equal(terraform.sent.length, 4);
  assert.equal(terraform.waits.length, 2);
  for (const seconds of terraform.waits) assert(seconds >= 1 && seconds <= 60, `${seconds} s`);
});
