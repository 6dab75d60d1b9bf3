/** The control plane is killed in the middle of a create, again and again, and what it makes is still made once. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import * as stage from './stage.ts';

const ACCOUNT = '440000000001';
let on: stage.Stage;

before(async () => {
  on = await stage.open('crash', [ACCOUNT], { FREEHOLD_LOOK_EXPIRES_SECONDS: '10' });
});

after(() => on?.close());

test('kill -9 after each of several creations: it converges, and the call log shows each name created once', async () => {
  const { rehearsal } = on;
  const image = await on.push(ACCOUNT, '1');
  const from = (await rehearsal.calls()).at(-1)?.n ?? 0;
  const creations = async () =>
    (await rehearsal.calls(from)).filter(
      (call) =>
        call.account === ACCOUNT && call.via === '' && call.error === '' && /^(Create|Register)/.test(call.action),
    );
  const made = await stage.createDeployment(on.api, { name: 'agent', image });

  for (const seen of ['CreateSecurityGroup', 'CreateDBInstance', 'RegisterTaskDefinition', 'CreateService']) {
    await eventually(`${seen} was called`, async () => (await creations()).some((call) => call.action === seen), {
      seconds: 60,
      every: 200,
    });
    await on.api.stop('SIGKILL');
    on.api = await on.api.restart();
  }
  await stage.deployed(on.api, made.id, made.latest_revision_id, 120);

  const names = (await creations())
    .filter((call) => call.service !== 'logs' || call.action === 'CreateLogGroup')
    .filter((call) => call.action !== 'RegisterScalableTarget') // says what it wants, as often as it likes
    .map((call) => `${call.service}:${call.action} ${call.resource}`);
  const twice = names.filter((name, i) => names.indexOf(name) !== i);
  assert.deepEqual(twice, []);
  assert(names.length >= 8, names.join('\n'));
  const { resources } = await on.api.call('GET', `/v2/deployments/${made.id}/timeline`);
  assert.deepEqual(new Set(resources.map((resource: stage.Json) => resource.state)), new Set(['ready']));
});
