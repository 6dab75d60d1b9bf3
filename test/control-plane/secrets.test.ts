/** Secrets over the wire: values go to the customer's account alone, references are to secrets of his own. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { openControlPlane, type ControlPlane, type Json } from './open.ts';
import type { SimulatedCloud } from './simulated.ts';

let api: ControlPlane;
let cloud: SimulatedCloud;

before(async () => {
  api = await openControlPlane();
  cloud = api.cloud;
  await api.place();
  for (const name of ['theirs', 'other'])
    cloud.secrets.set(name, `arn:aws:secretsmanager:us-east-1:555000000001:secret:${name}-AbCdEf`);
});
after(() => api.close());

const create = (more: Json = {}): Promise<Json> => api.create(more);

test('secret values are nowhere: not in the store, not in an answer, not in a log line', async () => {
  const value = `value-${randomUUID()}`;
  const made = await create({ secrets: [{ name: 'TOKEN', value }] });
  await api.call('PATCH', `/v2/deployments/${made.id}`, { secrets: [{ name: 'TOKEN', value: `${value}-2` }] });
  assert(
    [...cloud.written.values()].some((written) => written['TOKEN'] === value),
    'the account has it',
  );
  for (const table of ['deployments', 'revisions', 'resources', 'events', 'deployment_statuses'] as const)
    assert.doesNotMatch(JSON.stringify(await api.db.selectFrom(table).selectAll().execute()), new RegExp(value), table);
  assert.doesNotMatch(api.logged.join(''), new RegExp(value));
  assert.doesNotMatch(JSON.stringify((await api.call('GET', '/v2/deployments?limit=100')).body), new RegExp(value));
});

const patch = (id: string, given: Json) => api.call('PATCH', `/v2/deployments/${id}`, given);
const patched = async (id: string, given: Json): Promise<Json> => {
  const { status, body } = await patch(id, given);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
};
const reference = (name: string, secret_name = 'theirs', secret_key = 'key'): Json => ({
  name,
  secret_name,
  secret_key,
});

test('redeploy: refused when values of that revision are kept no more, and says which', async () => {
  const made = await create({ secrets: [{ name: 'A', value: '1' }] });
  const [first] = [...cloud.written.keys()].slice(-1);
  const next = await patched(made.id, { secrets: [{ name: 'A' }, { name: 'B', value: '2' }] });
  cloud.written.delete(first!);
  const path = `/v2/deployments/${made.id}/revisions`;
  const refused = await api.call('POST', `${path}/${made.latest_revision_id}/redeploy`);
  assert.equal(refused.status, 400);
  assert.match(refused.body.detail, /^revision 1 cannot be redeployed: its values of "A" are kept no more: PATCH/);
  const { body } = await api.call('GET', `/v2/deployments/${made.id}`);
  assert.equal(body.latest_revision_id, next.latest_revision_id);
});

test('references: found in the account, inherited, answered as given', async () => {
  const arn = cloud.secrets.get('other')!;
  const made = await create({ secret_references: [reference('A'), reference('B', arn, '')] });
  assert.deepEqual(made.secret_references, [reference('A'), reference('B', arn, '')]);
  const stored = await api.db
    .selectFrom('revisions')
    .select('secret_references')
    .where('deployment_id', '=', made.id)
    .executeTakeFirstOrThrow();
  assert.deepEqual(stored.secret_references, [
    { name: 'A', secretName: 'theirs', secretKey: 'key', arn: cloud.secrets.get('theirs') },
    { name: 'B', secretName: arn, secretKey: null, arn },
  ]);
  const { latest_revision_id: first } = made;
  assert.equal((await patched(made.id, { secret_references: [] })).latest_revision_id, first, 'empty is unchanged');
  const next = await patched(made.id, { secrets: [{ name: 'C', value: '3' }], secret_references: [] });
  assert.deepEqual([next.secret_names, next.secret_references], [['C'], made.secret_references]);
  const replaced = await patched(made.id, { secret_references: [reference('D', 'other')] });
  assert.notEqual(replaced.latest_revision_id, next.latest_revision_id);
  assert.deepEqual([replaced.secret_names, replaced.secret_references], [['C'], [reference('D', 'other')]]);
  const back = await api.call('POST', `/v2/deployments/${made.id}/revisions/${first}/redeploy`);
  assert.deepEqual([back.body.secret_names, back.body.secret_references], [[], made.secret_references]);
  const without = await api.call('POST', `/v2/deployments/${made.id}/revisions`, { secret_references: [] });
  assert.deepEqual(without.body.secret_references, []);
});

test('a name is either a secret or a reference: what is given now takes it', async () => {
  const made = await create({ secrets: [{ name: 'A', value: '1' }], secret_references: [reference('B')] });
  const one = await patched(made.id, { secret_references: [reference('A'), reference('B')] });
  assert.deepEqual([one.secret_names, one.secret_references.length], [[], 2]);
  const other = await patched(made.id, { secrets: [{ name: 'B', value: '2' }] });
  assert.deepEqual([other.secret_names, other.secret_references], [['B'], [reference('A')]]);
});

test('references that cannot be', async () => {
  const made = await create();
  for (const [given, status, detail] of [
    [{ secret_references: [reference('A', 'nowhere')] }, 400, /no such secret: "nowhere"/],
    [{ secret_references: [reference('DATABASE_URI')] }, 422, /"DATABASE_URI" is reserved/],
    [{ secret_references: [reference('A-B')] }, 422, /not a name/],
    [{ secret_references: [reference('A'), reference('A')] }, 422, /given twice/],
    [{ secret_references: [reference('A')], secrets: [{ name: 'A', value: '1' }] }, 422, /given in secrets, too/],
    [{ secret_references: [reference('A', '')] }, 422, /secret_name/],
  ] as const) {
    const answer = await patch(made.id, given);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.match(JSON.stringify(answer.body.detail).replaceAll('\\"', '"'), detail);
  }
  const many = Array.from({ length: 300 }, (_, i) => reference(`VARIABLE_${i}`));
  const full = await patch(made.id, { secret_references: many, secrets: [{ name: 'X', value: '1' }] });
  assert.equal(full.status, 200, 'names and ARNs of 301 fit');
  const tooMany = Array.from({ length: 500 }, (_, i) => reference(`VARIABLE_WITH_A_LONG_NAME_${i}`));
  const over = await patch(made.id, { secret_references: tooMany });
  assert.equal(over.status, 422);
  assert.match(over.body.detail[0].msg, /500 variables|501 variables/);
});

test("the customer's own database may be a reference", async () => {
  const made = await create({ secret_references: [reference('POSTGRES_URI_CUSTOM')] });
  const tiers = `/v2/deployments/${made.id}/resource-tiers`;
  const answer = await api.call('PATCH', tiers, { database_tier: 'DEDICATED_S' });
  assert.equal(answer.status, 400);
});
