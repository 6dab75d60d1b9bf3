/**
 * Secrets that are set, referred to, rolled, printed by the server, interrupted, redeployed, sent in the wrong place
 * and deleted, and the keys of those who do so: then every table, every log line and every answer is searched for them.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { CloudWatchLogsClient, FilterLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { TAG } from '../../services/reconciler/aws/tags.ts';
import { ApiError, type ControlPlane } from '../../services/rehearsal/scene.ts';
import { canary, everyRow, formsIn, type Canary } from '../support/canary.ts';
import { openDatabase, type Database } from '../support/database.ts';
import { eventually } from '../support/eventually.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '460000000001';
/** Made as a secret, made anew, sent in requests that are refused, a key and a token that nobody has. */
const [first, second, misplaced, key, token] = ['first', 'second', 'misplaced', 'key', 'token'].map(canary) as [
  Canary,
  Canary,
  Canary,
  Canary,
  Canary,
];
/** In a secret of the customer's own, which the control plane never reads. */
const theirs = canary('theirs');

let on: stage.Stage;
let database: Database;
/** The control plane; every answer is kept, whoever asked. */
let api: ControlPlane;
const answers: { asked: string; text: string }[] = [];

before(async () => {
  database = await openDatabase();
  on = await stage.open('canary', [ACCOUNT], { DATABASE_URL: database.url, LOG_LEVEL: 'trace' });
  api = {
    ...on.api,
    async call(method, path, body, headers) {
      const { status, text } = await ask(method, path, body, headers);
      const answer: Json = text === '' ? null : JSON.parse(text);
      if (status >= 300) throw new ApiError(method, path, status, answer?.detail ?? answer);
      return answer;
    },
  };
});

after(async () => {
  await on?.close();
  await database?.close();
});

/** @param body a text is sent as it is */
async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const answer = await fetch(on.api.url + path, {
    method,
    headers: { 'X-Api-Key': on.api.apiKey, 'Content-Type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  answers.push({ asked: `${method} ${path}`, text: JSON.stringify([...answer.headers]) + text });
  return { status: answer.status, text };
}

const push = (tag: string, env: Record<string, string> = {}): Promise<string> => on.push(ACCOUNT, tag, 'stub', env);

async function referTo(): Promise<Json> {
  const secrets = new SecretsManagerClient(stage.customerClient(on.rehearsal, ACCOUNT));
  await secrets.send(
    new CreateSecretCommand({
      Name: 'agents/theirs',
      SecretString: JSON.stringify({ key: theirs.value }),
      Tags: [{ Key: TAG.inject, Value: on.places[ACCOUNT]!.outputs.prefix }],
    }),
  );
  return { name: 'THEIRS', secret_name: 'agents/theirs', secret_key: 'key' };
}

/** What clients send by mistake, with a secret in it. */
async function mistakes(id: string): Promise<void> {
  const { value } = misplaced;
  const path = `/v2/deployments/${id}`;
  const refused = async (status: number, ...asked: Parameters<typeof ask>): Promise<void> =>
    assert.equal((await ask(...asked)).status, status, JSON.stringify(asked));
  for (const secrets of [{ TOKEN: value }, value, [value], [{ name: 'TOKEN', value: [value] }], [{ value }]])
    await refused(422, 'PATCH', path, { secrets });
  await refused(422, 'PATCH', path, { secrets: [{ name: '1', value }] });
  await refused(422, 'PATCH', path, { secrets: [{ name: 'PORT', value }] });
  await refused(422, 'PATCH', path, { secrets: [{ name: 'TOKEN', value: value.repeat(3000) }] });
  await refused(422, 'PATCH', path, `{"secrets": [{"name": "TOKEN", "value": "${value}`);
  await refused(422, 'POST', '/v2/deployments', { name: 'other', source: 'external_docker', secrets: [{ value }] });
  await refused(413, 'PATCH', path, { secrets: [{ name: 'TOKEN', value: value.repeat(100_000) }] });
  await refused(401, 'GET', path, undefined, { 'X-Api-Key': key.value });
  await refused(401, 'GET', path, undefined, { 'X-Api-Key': '', Authorization: `Bearer ${token.value}` });
}

async function readEverything(id: string, revisions: readonly string[]): Promise<void> {
  const paths = ['', '/revisions', '/timeline', ...revisions.map((revision) => `/revisions/${revision}`)];
  for (const path of paths) await ask('GET', `/v2/deployments/${id}${path}`);
  for (const path of ['/v2/deployments?limit=100', '/v2/listeners', '/v2/freehold/api-keys', '/openapi.json'])
    await ask('GET', path);
  for (const path of ['', ...revisions.map((revision) => `/revisions/${revision}`)])
    await ask('POST', `/v1/projects/${id}${path}/deploy_logs`, { limit: 1000 });
}

test('the search finds what is there, in whatever form', () => {
  const { value } = first;
  for (const [form, text] of [
    ['plain', `{"message":"${value}"}`],
    ['plain', JSON.stringify({ message: JSON.stringify({ value }) })],
    ['plain', `?value=${encodeURIComponent(value)}`],
    ['plain', value.toUpperCase()],
    ['hexadecimal', `\\x${Buffer.from(`a${value}`).toString('hex')}`],
    ...['', 'a', 'ab'].map((before) => ['base64', Buffer.from(`${before}${value} after`).toString('base64url')]),
  ] as [string, string][])
    assert.deepEqual(formsIn(`before ${text} after`, first), [form], text);
  assert.deepEqual(formsIn(second.value, first), []);
});

test('nothing that is secret is in a table, a log line or an answer', async () => {
  const made = await stage.createDeployment(api, {
    name: 'agent',
    image: await push('good'),
    secrets: [
      { name: 'SAY', value: first.value }, // printed when it starts
      { name: 'GREETING', value: first.value },
    ],
  });
  const { id } = made;
  const revisions = [made.latest_revision_id];
  const revise = async (body: Json): Promise<string> => {
    revisions.push(await stage.newRevision(api, id, body));
    return revisions.at(-1)!;
  };
  await mistakes(id);
  await stage.deployed(api, id, made.latest_revision_id);

  const telling = await push('telling', { CRASH: 'start', TELL: 'SAY,GREETING' });
  const quoted = await stage.ended(api, id, await revise({ source_revision_config: { image_uri: telling } }));
  assert.equal(quoted.status, 'DEPLOY_FAILED');
  assert.match(quoted.status_message, /"boom: cannot start with SAY …, GREETING …"/);

  const secret_references = [await referTo()];
  const secrets = [{ name: 'SAY', value: second.value }, { name: 'GREETING' }];
  const image_uri = await push('good');
  const good = await revise({ secrets, secret_references, source_revision_config: { image_uri } });
  await stage.deployed(api, id, good);

  const betraying = await push('betraying', { CRASH: 'start', TELL: 'SAY,GREETING,THEIRS' });
  const silent = await stage.ended(api, id, await revise({ source_revision_config: { image_uri: betraying } }));
  assert.equal(silent.status, 'DEPLOY_FAILED');
  assert.match(silent.status_message, /crashed.*is not quoted/);

  const slow = await push('slow', { UNHEALTHY: '1' });
  const interrupted = await revise({ source_revision_config: { image_uri: slow } });
  await ask('POST', `/v2/deployments/${id}/revisions/${interrupted}/interrupt`);
  assert.equal((await stage.ended(api, id, interrupted)).status, 'INTERRUPTED');
  const again = await api.call('POST', `/v2/deployments/${id}/revisions/${good}/redeploy`);
  revisions.push(again.latest_revision_id);
  await stage.deployed(api, id, again.latest_revision_id);

  // The server did have them, and printed them.
  const logs = new CloudWatchLogsClient(stage.customerClient(on.rehearsal, ACCOUNT));
  await eventually('the log has them', async () => {
    const logGroupName = `/aws/ecs/freehold/agent-${id.replaceAll('-', '').slice(0, 12)}`;
    const { events = [] } = await logs.send(new FilterLogEventsCommand({ logGroupName }));
    const said = events.map((event) => event.message).join('\n');
    return [first, second, theirs].every((one) => formsIn(said, one).length > 0);
  });
  await readEverything(id, revisions);
  assert.ok(answers.some(({ asked, text }) => asked.endsWith('/deploy_logs') && text.includes('boom')));
  await api.call('DELETE', `/v2/deployments/${id}`);
  const tables = await everyRow(database.url);
  await stage.gone(api, id);
  await ask('GET', `/v2/deployments/${id}/receipt`);
  for (const path of ['/v2/audit', '/v2/audit?scope=organization'])
    assert.equal((await ask('GET', path)).status, 200, path);
  for (const [name, rows] of await everyRow(database.url)) tables.set(name, `${tables.get(name)}\n${rows}`);

  assert.match(tables.get('public.revisions')!, /GREETING/);
  assert.match(tables.get('pgboss.job') ?? [...tables.keys()].join(), new RegExp(id));
  const log = readFileSync(on.api.log, 'utf8');
  assert.match(log, /"level":(10|20),/);
  const own: Canary = { name: 'our key', value: on.api.apiKey };
  const places = [...tables, ['the log', log], ...answers.map(({ asked, text }) => [asked, text])] as [
    string,
    string,
  ][];
  const seen = places.flatMap(([place, text]) =>
    [first, second, misplaced, key, token, theirs, own]
      // What a server prints is in the customer's log, and of their own secret we do not know what to take out of it.
      .filter((one) => !(one === theirs && place.endsWith('/deploy_logs')))
      .flatMap((one) => formsIn(text, one).map((form) => `${one.name}, ${form}: ${place}`)),
  );
  assert.deepEqual(seen, []);
});
