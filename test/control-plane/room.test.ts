/** A place's room by AWS's limits: told before it is out, refused with a name when it is, and more load balancers. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { BALANCER_TARGET_GROUPS, DATABASES, type Limit } from '../../services/reconciler/aws/limits.ts';
import { deployment, openControlPlane, type ControlPlane, type Json } from './open.ts';
import { outputs } from './simulated.ts';
import { eventually } from '../support/eventually.ts';

let plane: ControlPlane;
before(async () => {
  plane = await openControlPlane();
});
after(() => plane.close());

const at = outputs();
const second = {
  loadBalancerArn: at.loadBalancerArn.replace('freehold/1', 'freehold-2/2'),
  loadBalancerDnsName: 'internal-freehold-2-2.us-east-1.elb.amazonaws.com',
  listenerArn: at.listenerArn.replace('freehold/1', 'freehold-2/2'),
};
const databases = (used: number, limit: number, isKnown = true): Limit => ({
  code: DATABASES,
  service: 'rds',
  name: 'DB instances',
  balancer: null,
  used,
  limit,
  adjustable: true,
  isKnown,
});
const groups = (balancer: string, used: number): Limit => ({
  ...databases(used, 100, false),
  code: BALANCER_TARGET_GROUPS,
  service: 'elasticloadbalancing',
  name: 'Target Groups per Application Load Balancer',
  balancer,
  adjustable: false,
});

let place: Json;
let count = 0;
beforeEach(async () => {
  plane.cloud.known = [];
  plane.cloud.taken = { [DATABASES]: 1, [BALANCER_TARGET_GROUPS]: 1 };
  place = await plane.place(`room-${++count}`);
});
const create = () => plane.call('POST', '/v2/deployments', deployment({ source_config: { listener_id: place.id } }));
const shown = async () => (await plane.call('GET', `/v2/listeners/${place.id}`)).body;
const measure = (...known: Limit[]) => {
  plane.cloud.known = known;
  return plane.call('POST', `/v2/listeners/${place.id}/verify`);
};

test('a place shows its limits, and from four fifths on what to do', async () => {
  assert.equal((await measure(databases(31, 40))).status, 200);
  const { limits, limits_at } = (await shown()).place;
  assert.deepEqual(limits, [
    {
      name: 'DB instances',
      code: 'L-7B6409FD',
      service: 'rds',
      load_balancer: null,
      used: 31,
      limit: 40,
      adjustable: true,
      known: true,
      message: null,
      link: 'https://us-east-1.console.aws.amazon.com/servicequotas/home/services/rds/quotas/L-7B6409FD',
    },
  ]);
  assert.ok(Date.now() - Date.parse(limits_at) < 10_000);
  await measure(databases(32, 40));
  const [{ message }] = (await shown()).place.limits;
  assert.equal(message, 'limit near: "DB instances": 32 of 40 used: ask AWS for more (Service Quotas, rds L-7B6409FD)');
});

test('a deployment that does not fit is refused with the limit, the numbers and what to do, and leaves nothing', async () => {
  await measure(databases(40, 40));
  const { status, body } = await create();
  assert.equal(status, 409);
  assert.equal(
    body.detail,
    'There is no room for another deployment: limit reached: "DB instances": 40 of 40 used: ' +
      'ask AWS for more (Service Quotas, rds L-7B6409FD).',
  );
  const left = await plane.db.selectFrom('deployments').select('id').where('place_id', '=', place.id).execute();
  assert.deepEqual(left, []);
  plane.cloud.taken = {}; // with a database of its own, say
  assert.equal((await create()).status, 201);
});

test('each deployment has an execution role of its own, until it is gone; without a free one there is no room', async () => {
  await plane.call('PATCH', `/v2/listeners/${place.id}`, {
    compute_config: { place: { ...outputs(), executionRoles: 2 } },
  });
  const slots = async () =>
    (
      await plane.db.selectFrom('deployments').select('slot').where('place_id', '=', place.id).orderBy('slot').execute()
    ).map(({ slot }) => slot);
  const answers = await Promise.all([create(), create(), create()]);
  assert.deepEqual(answers.map(({ status }) => status).sort(), [201, 201, 409]);
  assert.deepEqual(await slots(), [1, 2]);
  const { detail } = answers.find(({ status }) => status === 409)!.body;
  assert.equal(
    detail,
    "There is no room for another deployment: each of the place's 2 execution roles has one: deploy its stack with more " +
      '(executionRoles), and register what it prints.',
  );
  const dry = deployment({ source_config: { listener_id: place.id } });
  assert.equal((await plane.call('POST', '/v2/deployments?dry_run=true', dry)).body.detail, detail);

  const { outputs: now } = await plane.db
    .selectFrom('places')
    .select('outputs')
    .where('id', '=', place.id)
    .executeTakeFirstOrThrow();
  const register = (executionRoles: number) =>
    plane.call('PATCH', `/v2/listeners/${place.id}`, { compute_config: { place: { ...now, executionRoles } } });
  const fewer = await register(1);
  assert.equal(fewer.status, 400);
  assert.match(fewer.body.detail, /of its 2 execution roles those must stay that they have/);
  assert.equal((await register(3)).status, 200);
  assert.equal((await create()).status, 201);

  await plane.db.deleteFrom('deployments').where('place_id', '=', place.id).where('slot', '=', 2).execute();
  assert.equal((await create()).status, 201);
  assert.deepEqual(await slots(), [1, 2, 3]);
});

test('what was promised since the count is counted: of ten at once as many fit as there is room for', async () => {
  await measure(databases(37, 40));
  const answers = await Promise.all(Array.from({ length: 10 }, create));
  assert.deepEqual(answers.map(({ status }) => status).sort(), [201, 201, 201, ...Array<number>(7).fill(409)]);
  assert.match(answers.find(({ status }) => status === 409)!.body.detail, /"DB instances": 40 of 40 used/);
});

test('of creates at once, one reads the limits for all', async () => {
  await plane.db.updateTable('places').set({ limits: null, limits_at: null }).where('id', '=', place.id).execute();
  let reads = 0;
  plane.cloud.limits = async () => {
    reads += 1;
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { limits: [databases(1, 40)], unread: [] };
  };
  try {
    const answers = await Promise.all(Array.from({ length: 5 }, create));
    assert.deepEqual(
      answers.map(({ status }) => status),
      [201, 201, 201, 201, 201],
    );
    await create();
    assert.equal(reads, 1);
  } finally {
    delete (plane.cloud as Partial<typeof plane.cloud>).limits; // the class's own again
  }
});

test('what AWS has counted is not counted again', async () => {
  await measure(databases(38, 40));
  assert.equal((await create()).status, 201);
  assert.equal((await create()).status, 201);
  assert.equal((await create()).status, 409);
  const kind = 'rds-postgres';
  const [first] = await plane.db.selectFrom('deployments').select('id').where('place_id', '=', place.id).execute();
  const row = { deployment_id: first!.id, id: 'database', kind, needs: [], state: 'waiting', message: '', tries: 0 };
  await plane.db
    .insertInto('resources')
    .values({
      ...row,
      generation: '1',
      since: new Date(),
      busy_since: new Date(),
      inputs: null,
      outputs: null,
    } as never)
    .execute();
  await measure(databases(39, 40)); // with the first one's
  assert.equal((await create()).status, 409);
  await plane.call('DELETE', `/v2/deployments/${first!.id}`);
  assert.equal((await create()).status, 409); // its database is still there
  await measure(databases(38, 40));
  assert.equal((await create()).status, 201);
});

test('what comes back needs room for what it has lost, and for no more', async () => {
  await measure(databases(38, 40), groups(at.loadBalancerArn, 98));
  const { body: made } = await create();
  const kind = 'rds-postgres';
  const row = { deployment_id: made.id, id: 'database', kind, needs: [], state: 'ready', message: '', tries: 0 };
  const seen = { generation: '1', since: new Date(), inputs: '{}', outputs: '{}' };
  await plane.db
    .insertInto('resources')
    .values({ ...row, ...seen } as never)
    .execute();
  const path = `/v2/deployments/${made.id}`;
  await plane.call('DELETE', `${path}?retention_hours=1`);
  // Its database is one of these, and its target group has gone and left its place to others.
  plane.cloud.known = [databases(40, 40), groups(at.loadBalancerArn, 100)];
  const refused = await plane.call('POST', `${path}/undelete`);
  assert.equal(refused.status, 409, JSON.stringify(refused.body));
  assert.match(
    refused.body.detail,
    /^There is no room for Deployment ID \S+ any more: limit reached: "Target Groups per .*": 100 of 100 used: .*; DELETE it with retention_hours=72/,
  );
  assert.doesNotMatch(refused.body.detail, /DB instances/);
  assert.equal((await plane.call('GET', path)).body.status, 'AWAITING_FINAL_DELETE');
  plane.cloud.known = [databases(40, 40), groups(at.loadBalancerArn, 99)];
  assert.equal((await plane.call('POST', `${path}/undelete`)).status, 200);
  await measure(databases(30, 40), groups(at.loadBalancerArn, 99));
  assert.match((await create()).body.detail, /Target Groups per .*: 100 of 100 used/, 'it counts again');
});

test('what comes back is held against no count of what it had before it was deleted', async () => {
  await measure(groups(at.loadBalancerArn, 99));
  const { body: made } = await create();
  // Counted again: with its own, which the delete then removes.
  await measure(groups(at.loadBalancerArn, 100));
  await plane.call('DELETE', `/v2/deployments/${made.id}?retention_hours=1`);
  plane.cloud.limits = () => Promise.reject(new Error('away'));
  try {
    const back = await plane.call('POST', `/v2/deployments/${made.id}/undelete`);
    assert.equal(back.status, 200, JSON.stringify(back.body));
  } finally {
    delete (plane.cloud as Partial<typeof plane.cloud>).limits; // the class's own again
  }
});

test('a limit that cannot be read refuses nobody, and neither does an account that does not answer', async () => {
  await measure(databases(40, 40, false));
  assert.equal((await create()).status, 201);
  plane.cloud.limits = () => Promise.reject(new Error('away'));
  await plane.db.updateTable('places').set({ limits: null, limits_at: null }).where('id', '=', place.id).execute();
  assert.equal((await create()).status, 201);
  delete (plane.cloud as Partial<typeof plane.cloud>).limits; // the class's own again
});

test('deployments go to the emptiest load balancer, stay there, and have its address', async () => {
  const patched = await plane.call('PATCH', `/v2/listeners/${place.id}`, {
    compute_config: { place: { ...at, moreBalancers: [second] } },
  });
  assert.deepEqual(patched.body.compute_config.place.moreBalancers, [second]);
  await measure(groups(at.loadBalancerArn, 98), groups(second.loadBalancerArn, 97));
  const made: Json[] = [];
  for (let n = 0; n < 5; n += 1) made.push(await create());
  assert.deepEqual(
    made.map(({ status }) => status),
    [201, 201, 201, 201, 201],
  );
  const hosts = made.map(({ body }) => new URL(body.url).host);
  assert.deepEqual(
    [hosts.filter((host) => host === at.loadBalancerDnsName).length, hosts[0]],
    [2, second.loadBalancerDnsName],
  );
  const refused = await create();
  assert.equal(refused.status, 409);
  assert.match(
    refused.body.detail,
    /load balancer "freehold": 100 of 100 used: deploy the customer's stack with one more load balancer .*"freehold-2"/,
  );

  // The worker sees it behind its own, too.
  await plane.startWorker();
  const behind = made[0].body;
  await eventually('its graph', () => plane.cloud.specs.some((spec) => spec.deployment.id === behind.id));
  const seen = plane.cloud.places.get(behind.id)!;
  assert.equal(seen.listenerArn, second.listenerArn);

  const away = await plane.call('PATCH', `/v2/listeners/${place.id}`, { compute_config: { place: at } });
  assert.equal(away.status, 400);
  assert.match(away.body.detail, /each of its load balancers must stay as it is/);
  const third = { ...second, loadBalancerArn: `${second.loadBalancerArn}3` };
  const grown = { ...at, moreBalancers: [second, third] };
  const more = await plane.call('PATCH', `/v2/listeners/${place.id}`, { compute_config: { place: grown } });
  assert.equal(more.status, 200);
});
