/** Whom a deployment's servers ask about their callers: what was set when the revision was made, and nothing else. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { api as apiOf } from '../../services/control-plane/api/app.ts';
import type { AgentAuth } from '../../services/reconciler/spec.ts';
import { eventually } from '../support/eventually.ts';
import { openControlPlane, type ControlPlane, type Json } from './open.ts';

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
