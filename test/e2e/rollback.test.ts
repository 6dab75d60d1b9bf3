/**
 * Going back, whole: what the customer's account holds of a deployment is read before a revision that changes
 * everything that a revision can change, and after it was gone back from, and compared field by field. May differ what
 * is named here, with why.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BatchDeleteImageCommand, ECRClient } from '@aws-sdk/client-ecr';
import { DescribeServicesCommand, ECSClient, type Service } from '@aws-sdk/client-ecs';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { shortId } from '../../services/reconciler/aws/names.ts';
import { eventually } from '../support/eventually.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import { publishedStack } from '../support/stack.ts';
import { differences, stateOf, type Difference, type State } from '../support/state.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '470000000001';
let on: stage.Stage;
/** Of each test: a deployment, what the account held of it while revision 1 served, and that revision. */
let id: string;
let first: string;
let original: State;

before(async () => {
  on = await stage.open('rollback', [ACCOUNT], { FREEHOLD_POLL_SECONDS: '0.2' }, publishedStack, openQuickRehearsal);
  const secrets = new SecretsManagerClient(stage.customerClient(on.rehearsal, ACCOUNT));
  for (const Name of ['theirs', 'other'])
    await secrets.send(
      new CreateSecretCommand({
        Name,
        SecretString: JSON.stringify({ key: Name }),
        Tags: [{ Key: 'freehold:inject', Value: 'freehold' }],
      }),
    );
  const made = await on.api.call('POST', '/v2/deployments', {
    name: 'agent',
    source: 'external_docker',
    source_config: { deployment_type: 'dev', resource_spec: { cpu: 1, memory_mb: 1024, min_scale: 2, max_scale: 4 } },
    source_revision_config: { image_uri: await on.push(ACCOUNT, '1') },
    secrets: [
      { name: 'TOKEN', value: 'first' },
      { name: 'KEPT', value: 'kept' },
    ],
    secret_references: [{ name: 'REFERRED', secret_name: 'theirs', secret_key: 'key' }],
  });
  [id, first] = [made.id, made.latest_revision_id];
  await stage.deployed(on.api, id, first);
  original = await quiet();
});

after(() => on?.close());

const state = (): Promise<State> => stateOf({ rehearsal: on.rehearsal, account: ACCOUNT, deploymentId: id });

async function service(): Promise<Service> {
  const ecs = new ECSClient(stage.customerClient(on.rehearsal, ACCOUNT));
  const services = [`freehold-${shortId(id)}`];
  return (await ecs.send(new DescribeServicesCommand({ cluster: 'freehold', services }))).services![0]!;
}

/** The account once nothing is under way in it. */
async function quiet(): Promise<State> {
  await eventually(
    'everything is settled',
    async () => {
      const { resources } = await on.api.call('GET', `/v2/deployments/${id}/timeline`);
      const { deployments, runningCount, desiredCount } = await service();
      const isSettled = resources.every((one: Json) => one.state === 'ready');
      return isSettled && deployments!.length === 1 && runningCount === desiredCount;
    },
    { seconds: 60, every: 200 },
  );
  let last = '';
  return eventually(
    'the account is at rest',
    async () => {
      const now = await state();
      if (JSON.stringify(now) === last) return now;
      last = JSON.stringify(now);
      return undefined;
    },
    { seconds: 30, every: 300 },
  );
}

/** Another image, size, number of servers, variables and references. */
const everything = (image: string): Json => ({
  source_revision_config: { image_uri: image },
  source_config: { resource_spec: { cpu: 2, memory_mb: 4096, min_scale: 1, max_scale: 7 } },
  secrets: [{ name: 'TOKEN', value: 'second' }, { name: 'KEPT' }, { name: 'ADDED', value: 'new' }],
  secret_references: [{ name: 'REFERRED', secret_name: 'other', secret_key: 'key' }],
});

/** What the request for the newer revision has left in the deployment's secret: neither is read by what serves. */
const VALUES: [RegExp, string][] = [
  [
    /^secret freehold\/[^/]+\/environment: versions\.[^.]+\.stages\.\d+$/,
    'its newest version is AWSCURRENT; servers read their own by its id, and each keeps the label of its own',
  ],
  [
    /^secret freehold\/[^/]+\/environment: versions\.[^.]+\.digest$/,
    'values that the newer revision was given stay for as long as one may want to go to it',
  ],
];

/** @param may what may differ, with why */
function assertAsBefore(now: State, may: readonly [RegExp, string][]): void {
  const seen = differences(original, now);
  const unexpected = seen.filter(({ field }) => !may.some(([pattern]) => pattern.test(field)));
  assert.deepEqual(unexpected, []);
  // A line of the list that nothing needs any more goes.
  for (const [pattern, why] of may)
    assert(
      seen.some(({ field }) => pattern.test(field)),
      `${String(pattern)}: ${why}`,
    );
  assertKept(seen);
}

/** Of what was there before, no version of a secret is gone or has another value. */
function assertKept(seen: readonly Difference[]): void {
  const lost = seen.filter(({ field, from }) => field.endsWith('.digest') && from !== undefined);
  assert.deepEqual(lost, []);
}

test('a rollout that fails after half of the servers were replaced is taken back, whole', async () => {
  const image = await on.push(ACCOUNT, '2', 'stub', { RELEASE: 'second' });
  // Room for one more server: it comes up, takes the place of an old one, and there the rollout stands.
  await on.rehearsal.capacity({ account: ACCOUNT, tasks: 1 });
  const revision = await stage.newRevision(on.api, id, everything(image));
  await eventually(
    'some are replaced',
    async () => {
      const { deployments = [] } = await service();
      const [now, old] = ['PRIMARY', 'ACTIVE'].map((status) => deployments.find((each) => each.status === status));
      return now?.runningCount === 1 && old?.runningCount === 1;
    },
    { seconds: 60, every: 50 },
  );
  // No further one can be started: its image is gone.
  const ecr = new ECRClient(stage.customerClient(on.rehearsal, ACCOUNT));
  const imageIds = [{ imageDigest: image.split('@')[1] }];
  await ecr.send(new BatchDeleteImageCommand({ repositoryName: 'agent', imageIds }));
  await on.rehearsal.clearCapacity(ACCOUNT);
  const failed = await stage.ended(on.api, id, revision);
  assert.equal(failed.status, 'DEPLOY_FAILED', failed.status_message);
  assert.match(failed.status_message, /image cannot be pulled/);
  assertAsBefore(await quiet(), VALUES);
  const now = await on.api.call('GET', `/v2/deployments/${id}`);
  assert.deepEqual([now.status, now.active_revision_id], ['READY', first]);
});
