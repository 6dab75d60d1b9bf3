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
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import { publishedStack } from '../support/stack.ts';
import { differences, isProvisional, stateOf, type Difference, type State } from '../support/state.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '470000000001';
let on: stage.Stage;
/** Of each test: a deployment, its revision 1, and what the account held of it when the test before left it at rest. */
let id: string;
let first: string;
let atRest: State | undefined;

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
  await quiet();
});

after(() => on?.close());

const state = (): Promise<State> => stateOf({ rehearsal: on.rehearsal, account: ACCOUNT, deploymentId: id });

async function service(): Promise<Service> {
  const ecs = new ECSClient(stage.customerClient(on.rehearsal, ACCOUNT));
  const services = [`freehold-${shortId(id)}`];
  return (await ecs.send(new DescribeServicesCommand({ cluster: 'freehold', services }))).services![0]!;
}

/** The account once nothing is under way in it; kept, for the next test to go on from. */
async function quiet(): Promise<State> {
  await eventually(
    'everything is settled',
    async () => {
      const { resources } = await on.api.call('GET', `/v2/deployments/${id}/timeline`);
      const { deployments, runningCount, desiredCount } = await service();
      const isSettled = resources.every((one: Json) => one.state === 'ready');
      return isSettled && deployments!.length === 1 && runningCount === desiredCount;
    },
    { seconds: 60, every: 500 },
  );
  let last = '';
  atRest = await eventually(
    'the account is at rest',
    async () => {
      const now = await state();
      if (JSON.stringify(now) === last && !isProvisional(now)) return now;
      last = JSON.stringify(now);
      return undefined;
    },
    { seconds: 30, every: 300 },
  );
  return atRest;
}

/** What a test begins with. One that fails before it is quiet again leaves nothing to the next. */
async function rested(): Promise<State> {
  const was = atRest ?? (await quiet());
  atRest = undefined;
  return was;
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
function assertAsBefore(was: State, now: State, may: readonly [RegExp, string][]): void {
  const seen = differences(was, now);
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

/** A revision of which one server has come up and taken the place of an old one; for another there is no room. */
async function halfReplaced(image: string): Promise<string> {
  await on.rehearsal.capacity({ account: ACCOUNT, tasks: 1 });
  const revision = await stage.newRevision(on.api, id, everything(image));
  await eventually(
    'half of the servers are replaced',
    async () => {
      const { deployments = [] } = await service();
      const [now, old] = ['PRIMARY', 'ACTIVE'].map((status) => deployments.find((each) => each.status === status));
      return now?.runningCount === 1 && old?.runningCount === 1;
    },
    { seconds: 60, every: 100 },
  );
  return revision;
}

test('a rollout that fails after half of the servers were replaced is taken back, whole', async () => {
  const was = await rested();
  const image = await on.push(ACCOUNT, '2', 'stub', { RELEASE: 'second' });
  const revision = await halfReplaced(image);
  // No further one can be started: its image is gone.
  const ecr = new ECRClient(stage.customerClient(on.rehearsal, ACCOUNT));
  const imageIds = [{ imageDigest: image.split('@')[1] }];
  await ecr.send(new BatchDeleteImageCommand({ repositoryName: 'agent', imageIds }));
  await on.rehearsal.clearCapacity(ACCOUNT);
  const failed = await stage.ended(on.api, id, revision);
  assert.equal(failed.status, 'DEPLOY_FAILED', failed.status_message);
  assert.match(failed.status_message, /image cannot be pulled/);
  assertAsBefore(was, await quiet(), VALUES);
  const now = await on.api.call('GET', `/v2/deployments/${id}`);
  assert.deepEqual([now.status, now.active_revision_id], ['READY', first]);
});

test('a rollout of more servers that fails leaves as many as there were', async () => {
  const was = await rested();
  const image = await on.push(ACCOUNT, 'crashes', 'stub', { CRASH: 'start' });
  const revision = await stage.newRevision(on.api, id, {
    source_revision_config: { image_uri: image },
    source_config: { resource_spec: { min_scale: 3, max_scale: 4 } },
  });
  assert.equal((await stage.ended(on.api, id, revision)).status, 'DEPLOY_FAILED');
  assertAsBefore(was, await quiet(), []);
});

const interrupt = (revision: string, of = id): Promise<Json> =>
  on.api.call('POST', `/v2/deployments/${of}/revisions/${revision}/interrupt`);

async function assertInterrupted(revision: string, serving: string | null, of = id): Promise<void> {
  const ended = await stage.ended(on.api, of, revision);
  assert.deepEqual([ended.status, ended.status_message], ['INTERRUPTED', 'interrupted on request']);
  const now = await on.api.call('GET', `/v2/deployments/${of}`);
  assert.equal(now.active_revision_id, serving);
}

/** Where a rollout stands when it is interrupted: at a call of the control plane that is held just there. */
const STAGES: [string, Parameters<Rehearsal['hold']>[0], Partial<Json>, readonly [RegExp, string][]][] = [
  ['before anything was done for it', { action: 'ListSecretVersionIds' }, { secrets: [] }, []],
  ['its values are written', { action: 'ListSecretVersionIds' }, {}, VALUES],
  ['its task definition is registered', { action: 'RegisterTaskDefinition', after: true }, { secrets: [] }, []],
  ['its rollout is asked for', { action: 'UpdateService', after: true }, { secrets: [] }, []],
  ['its servers serve, and only their limits are left', { action: 'RegisterScalableTarget' }, { secrets: [] }, []],
];

/** Two of them each time, and all of them when asked for: each takes seconds of a processor. */
const chosen = process.env['ROLLBACK_STAGES'] === 'all' ? STAGES : [STAGES[1]!, STAGES[3]!];

for (const [where, at, body, may] of chosen)
  test(`interrupted when ${where}: what served serves on, and the account is as before`, async () => {
    const was = await rested();
    const image = await on.push(ACCOUNT, `interrupted-${where}`.replaceAll(/[^a-z]+/g, '-'));
    const hold = await on.rehearsal.hold({ ...at, account: ACCOUNT, times: 1 });
    const revision = await stage.newRevision(on.api, id, { ...everything(image), ...body });
    await hold.reached(60);
    await interrupt(revision);
    await hold.release();
    await assertInterrupted(revision, first);
    assertAsBefore(was, await quiet(), may);
  });

test('interrupted when half of its servers have replaced others: what served serves on, and the account is as before', async () => {
  const was = await rested();
  const revision = await halfReplaced(await on.push(ACCOUNT, 'interrupted-half'));
  await interrupt(revision);
  await on.rehearsal.clearCapacity(ACCOUNT);
  await assertInterrupted(revision, first);
  assertAsBefore(was, await quiet(), VALUES);
});

/** Of the redeploy to revision 1 what cannot be as it was: it is another revision, of the same content. */
const ANOTHER_REVISION: [RegExp, string][] = [
  [/^definition \S+-r\d+:\d+: /, 'a revision has a task definition of its own, whose content is compared beside this'],
  [/^service \S+: (deployments\.0\.)?taskDefinition$/, 'of the same'],
  [/^tasks: \d+\.definition$/, 'of the same'],
];

test('a revision that was deployed is not interrupted; redeploying an earlier one brings the account back, whole', async () => {
  const was = await rested();
  const image = await on.push(ACCOUNT, '3', 'stub', { RELEASE: 'third' });
  const more = { resource_spec: { cpu: 2, memory_mb: 4096, min_scale: 3, max_scale: 7 } };
  const revision = await stage.newRevision(on.api, id, { ...everything(image), source_config: more });
  await stage.deployed(on.api, id, revision);
  assert(
    differences(was, await quiet()).some(({ field }) => field.startsWith('scaling ')),
    'it has changed something',
  );
  await assert.rejects(interrupt(revision), (error: { status: number; message: string }) => {
    assert.match(error.message, /has ended as DEPLOYED/);
    return error.status === 409;
  });
  const back = await on.api.call('POST', `/v2/deployments/${id}/revisions/${first}/redeploy`);
  await stage.deployed(on.api, id, back.latest_revision_id);
  const now = await quiet();
  assertAsBefore(was, now, [...VALUES, ...ANOTHER_REVISION]);
  assert.deepEqual(definitionOf(now), definitionOf(was));
});

/** What runs, but for what names the revision. */
function definitionOf(state: State): Json {
  const [name] = Object.keys(state).filter((each) => /^definition \S+-r\d+:/.test(each));
  const { taskDefinitionArn: _, family: __, tags: ___, ...rest } = state[name!];
  return JSON.parse(
    JSON.stringify(rest)
      .replaceAll(/"server-r\d+"/g, '"server-r<n>"')
      .replaceAll(/(LANGSMITH_HOST_REVISION_ID","value":)"[^"]+"/g, '$1"<revision>"'),
  );
}

/** Of a first revision: with its database being made, and then, since that stays, with what comes after. */
test('a first revision that is interrupted leaves what the next one needs, and nothing of a server', async () => {
  const image = await on.push(ACCOUNT, '1');
  const foundation = [
    'database',
    'log group',
    'secret database',
    'secret environment',
    'group database',
    'group service',
  ];
  const stages: [string, Parameters<Rehearsal['hold']>[0]][] = [
    ['its database is asked for', { action: 'CreateDBInstance', after: true }],
    ['its Redis runs', { action: 'RegisterTaskDefinition', nth: 2 }],
    [
      'its service is made',
      { service: 'ecs', action: 'CreateService', resource: 'freehold-[0-9a-f]{12}$', after: true },
    ],
  ];
  let of = '';
  for (const [where, at] of stages) {
    const hold = await on.rehearsal.hold({ ...at, account: ACCOUNT, times: 1 });
    let revision: string;
    if (of === '') {
      const secrets = [{ name: 'TOKEN', value: 'x' }];
      const made = await stage.createDeployment(on.api, { name: 'fresh', image, secrets });
      [of, revision] = [made.id, made.latest_revision_id];
    } else revision = await stage.newRevision(on.api, of, { source_revision_config: { image_uri: image } });
    await hold.reached(60);
    await interrupt(revision, of);
    await hold.release();
    await assertInterrupted(revision, null, of);
    await eventually(
      `only the foundation is there, after ${where}`,
      async () => {
        const names = Object.keys(await stateOf({ rehearsal: on.rehearsal, account: ACCOUNT, deploymentId: of }));
        const kinds = names.map((name) =>
          name
            .replace(/^security /, '')
            .replace(/ \S*[-/](?=[a-z]+$)/, ' ')
            .replace(/^(database|log group) .*/, '$1'),
        );
        assert.deepEqual(kinds.toSorted(), foundation.toSorted());
        const { resources } = await on.api.call('GET', `/v2/deployments/${of}/timeline`);
        return resources.every((one: Json) => one.state === 'ready');
      },
      { seconds: 60, every: 300 },
    );
  }
});
