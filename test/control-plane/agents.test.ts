/** Whom a deployment's servers ask about their callers: what was set when the revision was made, and nothing else. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { api as apiOf } from '../../services/control-plane/api/app.ts';
import type { AgentAuth } from '../../services/reconciler/spec.ts';
import { eventually } from '../support/eventually.ts';
import { deployment, openControlPlane, type ControlPlane, type Json } from './open.ts';
import { outputs } from './simulated.ts';

const FIRST: AgentAuth = { type: 'langsmith', endpoint: 'https://freehold.example.com' };
const SECOND: AgentAuth = { type: 'langsmith', endpoint: 'https://moved.example.com' };

let cp: ControlPlane;
before(async () => {
  cp = await openControlPlane();
  await cp.place();
  await cp.startWorker({ sweepSeconds: 0.2 });
});
after(() => cp.close());

/** By the number of its revision. */
const asked = (number: number): AgentAuth[] =>
  cp.cloud.specs.filter((spec) => spec.revision.number === number).map((spec) => spec.agentAuth);
const deployed = (id: string, revision: string): Promise<unknown> =>
  eventually('it is deployed', async () => {
    const { body } = await cp.call('GET', `/v2/deployments/${id}`);
    return body.active_revision_id === revision && body.status === 'READY';
  });

test('a control plane with other settings leaves revisions as they are; the next one, a redeploy too, has the new', async () => {
  const made: Json = await cp.create();
  await deployed(made.id, made.latest_revision_id);
  const acts = cp.cloud.acts.length;
  const { db, looks, cloud, log, digestKey } = cp;
  const upgraded = apiOf({ db, looks, cloud, log, digestKey, principalArn: null, agentAuth: SECOND });
  const ask = async (method: string, path: string, body?: Json): Promise<Json> => {
    const headers = { 'X-Api-Key': cp.key, 'Content-Type': 'application/json' };
    const answer = await upgraded.request(`/v2/deployments/${made.id}${path}`, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
    });
    assert.equal(answer.status, 200);
    return answer.json();
  };

  const looked = asked(1).length;
  await ask('PATCH', '', { display_name: 'Another name' });
  await db.transaction().execute((tx) => looks.ask(tx, made.id));
  await eventually('it was looked at again', () => asked(1).length > looked);
  assert.equal(cp.cloud.acts.length, acts, 'nothing was rolled');
  for (const auth of asked(1)) assert.deepEqual(auth, FIRST);

  const again = await ask('POST', `/revisions/${made.latest_revision_id}/redeploy`);
  await deployed(made.id, again.latest_revision_id);
  assert.deepEqual(asked(2).at(-1), SECOND);
});

test('agents that ask nobody, behind a public load balancer: refused, unless the deployment says that this is meant', async () => {
  const { db, looks, cloud, log, digestKey } = cp;
  const app = apiOf({ db, looks, cloud, log, digestKey, principalArn: null, agentAuth: { type: 'noop' } });
  const ask = async (method: string, path: string, body: Json): Promise<{ status: number; body: Json }> => {
    const headers = { 'X-Api-Key': cp.key, 'Content-Type': 'application/json' };
    const answer = await app.request(path, { method, headers, body: JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  };
  const { id } = await cp.place('public');
  const body = () => deployment({ source_config: { listener_id: id } });
  const inside = await ask('POST', '/v2/deployments', body());
  assert.equal(inside.status, 201);

  const place = { ...outputs(), vpcId: (await cp.call('GET', `/v2/listeners/${id}`)).body.compute_config.place.vpcId };
  const compute_config = { place: { ...place, isPublic: true } };
  assert.equal((await cp.call('PATCH', `/v2/listeners/${id}`, { compute_config })).status, 200);
  const own = `/v2/deployments/${inside.body.id}`;
  const revision = { source_revision_config: { image_uri: 'repo/agent:1' } };
  for (const [method, path, asked] of [
    ['POST', '/v2/deployments', body()],
    ['POST', '/v2/deployments?dry_run=true', body()],
    ['PATCH', own, revision],
    ['PATCH', `${own}?dry_run=true`, revision],
    ['POST', `${own}/revisions/${inside.body.latest_revision_id}/redeploy`, {}],
  ] as const) {
    const refused = await ask(method, path, asked);
    assert.equal(refused.status, 400, path);
    assert.match(refused.body.detail, /public.*LANGGRAPH_AUTH_TYPE=noop.*FREEHOLD_PUBLIC_WITHOUT_AUTH=true/);
  }
  const named = (value: string) => [{ name: 'FREEHOLD_PUBLIC_WITHOUT_AUTH', value }];
  assert.equal((await ask('PATCH', own, { ...revision, secrets: named('false') })).status, 422);
  assert.equal((await ask('PATCH', own, { ...revision, secrets: named('true') })).status, 200);
  assert.equal((await ask('POST', '/v2/deployments', { ...body(), secrets: named('true') })).status, 201);
  // Whoever asks for keys needs to say nothing.
  assert.equal((await cp.call('POST', '/v2/deployments', body())).status, 201);
});

test('a task role of the customer’s own: by its name, by each revision, and back', async () => {
  const { id } = await cp.place('roles');
  const name = (role: string): string => `${outputs().taskRoleArn}${role}`;
  const body = (role?: string): Json =>
    deployment({ source_config: { listener_id: id }, ...(role === undefined ? {} : { task_role_arn: role }) });
  const old = await cp.call('POST', '/v2/deployments', body(name('-reader')));
  assert.equal(old.status, 400);
  assert.match(old.body.detail, /stack is from before.*: deploy it again/);

  const place = (await cp.call('GET', `/v2/listeners/${id}`)).body.compute_config.place;
  const compute_config = { place: { ...place, executionRoles: 5 } };
  assert.equal((await cp.call('PATCH', `/v2/listeners/${id}`, { compute_config })).status, 200);
  for (const wrong of [name(''), name('-'), name('s-x'), name('-x').replace('555', '666'), name('-x/y'), 'reader']) {
    const refused = await cp.call('POST', '/v2/deployments', body(wrong));
    assert.equal(refused.status, 400, wrong);
    assert.match(refused.body.detail, /not a role that may be given to tasks here: ".*": it must be .*-task-<name>/);
  }

  const made = (await cp.call('POST', '/v2/deployments', body(name('-reader')))).body;
  assert.equal(made.task_role_arn, name('-reader'));
  const own = `/v2/deployments/${made.id}`;
  await deployed(made.id, made.latest_revision_id);
  const role = async (): Promise<Json> => {
    const { body: now } = await cp.call('GET', own);
    await deployed(made.id, now.latest_revision_id);
    const spec = cp.cloud.specs.findLast((each) => each.revision.id === now.latest_revision_id);
    assert.equal(spec!.taskRole ?? null, now.task_role_arn);
    return now.task_role_arn;
  };
  assert.equal(await role(), name('-reader'));
  const patch = async (more: Json) => assert.equal((await cp.call('PATCH', own, more)).status, 200);
  await patch({ source_config: { resource_spec: { cpu: 2 } } });
  assert.equal(await role(), name('-reader'), 'what says nothing of it leaves it');
  await patch({ task_role_arn: '' });
  assert.equal(await role(), null);
  assert.equal((await cp.call('POST', `${own}/revisions/${made.latest_revision_id}/redeploy`)).status, 200);
  assert.equal(await role(), name('-reader'), 'going back is whole');
});
