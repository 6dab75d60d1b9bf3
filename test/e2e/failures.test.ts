/** A rollout that fails says why in one sentence, and the old revision goes on answering. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DescribeServicesCommand, DescribeTasksCommand, ECSClient, ListTasksCommand } from '@aws-sdk/client-ecs';
import { DeleteSecretCommand, ListSecretsCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { shortId } from '../../services/reconciler/aws/names.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import type { ControlPlane } from '../../services/rehearsal/scene.ts';
import { eventually } from '../support/eventually.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '420000000001';
/** Of which AWS and the organization withhold something. */
const SCARCE = '420000000002';
let on: stage.Stage;
let rehearsal: Rehearsal;
let api: ControlPlane;
let deployment: Json;
let good: string;
const push = (tag: string, image = 'stub', env: Record<string, string> = {}, account = ACCOUNT): Promise<string> =>
  on.push(account, tag, image, env);
/** With databases elsewhere there is nothing to wait for but the rollout; the stub asks neither. */
const ELSEWHERE = [
  { name: 'POSTGRES_URI_CUSTOM', value: 'postgresql://u:p@db.invalid:5432/x' },
  { name: 'REDIS_URI_CUSTOM', value: 'redis://cache.invalid:6379/0' },
];

before(async () => {
  on = await stage.open('failures', [ACCOUNT, SCARCE]);
  ({ rehearsal, api } = on);
  const made = await stage.createDeployment(api, {
    name: 'agent',
    image: await push('good'),
    listenerId: on.places[ACCOUNT]!.id,
    secrets: [...ELSEWHERE, { name: 'TOKEN', value: 'first' }],
  });
  good = made.latest_revision_id;
  await stage.deployed(api, made.id, good);
  deployment = await api.call('GET', `/v2/deployments/${made.id}`);
});

after(() => on?.close());

/** The failed revision's one sentence, after checking that the old one still answers. */
async function fails(body: Json): Promise<string> {
  const revision = await stage.ended(api, deployment.id, await stage.newRevision(api, deployment.id, body));
  assert.equal(revision.status, 'DEPLOY_FAILED', revision.status_message);
  const now = await api.call('GET', `/v2/deployments/${deployment.id}`);
  assert.equal(now.active_revision_id, good);
  assert.equal(now.status, 'READY');
  assert.match(JSON.stringify(await stage.json(await rehearsal.fetch(`${deployment.url}/info`))), new RegExp(good));
  return revision.status_message;
}

test('a server that crashes: exit code and last log line', async () => {
  const message = await fails({
    source_revision_config: { image_uri: await push('crash', 'stub', { CRASH: 'start', EXIT_CODE: '3' }) },
  });
  assert.match(message, /exit(ed with)? code 3/i);
  assert.match(message, /boom/);
});

test('a health check that fails: its path and its answer', async () => {
  const image = await push('sick', 'stub', { UNHEALTHY: '1' });
  const message = await fails({ source_revision_config: { image_uri: image } });
  assert.match(message, /health check/i);
  assert.match(message, /GET \/ok/);
  assert.match(message, /503/);
});

test('an image that cannot be pulled', async () => {
  // In the registry when it is checked, broken when it is pulled: a layer was lost.
  const message = await fails({ source_revision_config: { image_uri: await push('broken', 'missing-layers') } });
  assert.match(message, /image/i);
  assert.match(message, /pull/i);
});

test('interrupted in the middle: ECS goes back to what served, which never stopped', async () => {
  const image = await push('stuck', 'stub', { UNHEALTHY: '1' });
  const revision = await stage.newRevision(api, deployment.id, { source_revision_config: { image_uri: image } });
  const ecs = new ECSClient(stage.customerClient(rehearsal, ACCOUNT));
  const services = [`freehold-${shortId(deployment.id)}`];
  const service = async () =>
    (await ecs.send(new DescribeServicesCommand({ cluster: 'freehold', services }))).services![0]!;
  const { taskDefinition: serving } = await service();
  await eventually('its tasks are started', async () => (await service()).taskDefinition !== serving, { seconds: 60 });
  await api.call('POST', `/v2/deployments/${deployment.id}/revisions/${revision}/interrupt`);
  const ended = await stage.ended(api, deployment.id, revision);
  assert.deepEqual([ended.status, ended.status_message], ['INTERRUPTED', 'interrupted on request']);
  await eventually(
    'it is as before',
    async () => {
      const { deployments, taskDefinition } = await service();
      return taskDefinition === serving && deployments?.length === 1 && deployments[0]!.rolloutState === 'COMPLETED';
    },
    { seconds: 60 },
  );
  const now = await api.call('GET', `/v2/deployments/${deployment.id}`);
  assert.deepEqual([now.status, now.active_revision_id], ['READY', good]);
  assert.match(JSON.stringify(await stage.json(await rehearsal.fetch(`${deployment.url}/info`))), new RegExp(good));
});

const environmentArn = async (): Promise<string> => {
  const secrets = new SecretsManagerClient(stage.customerClient(rehearsal, ACCOUNT));
  const { SecretList = [] } = await secrets.send(new ListSecretsCommand({}));
  const environment = SecretList.find((secret) => secret.Name?.endsWith('/environment'));
  assert(environment?.ARN);
  return environment.ARN;
};

const deleteByHand = async (): Promise<void> => {
  const secrets = new SecretsManagerClient(stage.customerClient(rehearsal, ACCOUNT));
  await secrets.send(new DeleteSecretCommand({ SecretId: await environmentArn(), ForceDeleteWithoutRecovery: true }));
};

test('a secret that is missing when the task starts', async () => {
  // Time to delete it by hand after it was looked at and before ECS reads it.
  await rehearsal.fault({ account: ACCOUNT, service: 'ecs', action: 'UpdateService', times: 1, delaySeconds: 2 });
  const from = (await rehearsal.calls()).at(-1)?.n ?? 0;
  const failing = fails({ source_revision_config: { image_uri: await push('good-again') } });
  await eventually(
    'the task definition is registered',
    async () =>
      (await rehearsal.calls(from)).some(
        (call) => call.account === ACCOUNT && call.action === 'RegisterTaskDefinition',
      ),
    { seconds: 30, every: 200 },
  );
  await deleteByHand();
  assert.match(await failing, /secret/i);
});

test('a secret that is missing before the rollout: its variable is named, and nothing is rolled out', async () => {
  const image = await push('good-once-more');
  const revision = await stage.ended(
    api,
    deployment.id,
    await stage.newRevision(api, deployment.id, { source_revision_config: { image_uri: image } }),
  );
  assert.equal(revision.status, 'CREATE_FAILED');
  assert.match(revision.status_message, /TOKEN/);
  assert.match(JSON.stringify(await stage.json(await rehearsal.fetch(`${deployment.url}/info`))), new RegExp(good));
});

test('the deployment stays usable: giving the value again makes the next revision good', async () => {
  const revision = await stage.newRevision(api, deployment.id, {
    secrets: [...ELSEWHERE, { name: 'TOKEN', value: 'second' }],
    source_revision_config: { image_uri: await push('good-at-last') },
  });
  await stage.deployed(api, deployment.id, revision);
});

test('a server that is killed once before it is well was bad luck: ECS starts another, and the revision is deployed', async () => {
  const ecs = new ECSClient(stage.customerClient(rehearsal, ACCOUNT));
  const running = async (): Promise<string[]> => {
    const serviceName = `freehold-${shortId(deployment.id)}`;
    const { taskArns } = await ecs.send(new ListTasksCommand({ cluster: 'freehold', serviceName }));
    const { tasks } = await ecs.send(new DescribeTasksCommand({ cluster: 'freehold', tasks: taskArns }));
    return (tasks ?? []).filter(({ lastStatus }) => lastStatus === 'RUNNING').map(({ taskArn }) => taskArn!);
  };
  const before = await running();
  const image = await push('slow-to-be-well', 'stub', { HEALTHY_AFTER_MS: '4000' });
  const revision = await stage.newRevision(api, deployment.id, { source_revision_config: { image_uri: image } });
  await eventually(
    'its first task is killed',
    async () => {
      const [taskArn] = (await running()).filter((task) => !before.includes(task));
      if (taskArn === undefined) return false;
      await rehearsal.kill({ account: ACCOUNT, taskArn });
      return true;
    },
    { seconds: 60, every: 50 },
  );
  const path = `/v2/deployments/${deployment.id}/revisions/${revision}`;
  await eventually(
    'it says so',
    async () => {
      const { status, status_message: message } = await api.call('GET', path);
      return status === 'DEPLOYING' && /crashed: "server": exit code 137 .*; ECS tries again/.test(message ?? '');
    },
    { seconds: 30, every: 50 },
  );
  await stage.deployed(api, deployment.id, revision);
});

test('an image that is not there, or not in this account, is refused at once and changes nothing', async () => {
  const before = await api.call('GET', `/v2/deployments/${deployment.id}/revisions`);
  const known = await push('good');
  for (const image of [
    known.replace(/@.*/, ':never-pushed'),
    known.replace(/@.*/, `@sha256:${'0'.repeat(64)}`),
    known.replace('/agent@', '/other@'),
    known.replace(ACCOUNT, '999999999999'),
    'docker.io/library/nginx:latest',
  ])
    await assert.rejects(
      stage.newRevision(api, deployment.id, { source_revision_config: { image_uri: image } }),
      (error: { status: number; message: string }) => error.status === 400 && /image/i.test(error.message),
      image,
    );
  assert.deepEqual(await api.call('GET', `/v2/deployments/${deployment.id}/revisions`), before);
});

const crash = (...said: string[]): Record<string, string> => ({ CRASH: 'start', EXIT_CODE: '3', SAY: said.join('\n') });

/** By what the image does; all at once, each the first revision of a deployment of its own. */
const FIRST: readonly (readonly [cause: string, env: Record<string, string>, says: RegExp, image?: string])[] = [
  [
    'an image that is not all there',
    {},
    /^service: the image cannot be pulled: ".*agent@sha256:.*": .*; push it again/,
    'missing-layers',
  ],
  ['a port that nobody listens on', { START_MS: '600000' }, /^service: the port is not opened: "8000": .*"GET \/ok"/],
  [
    'a path that is not there',
    { UNHEALTHY: '1', OK_STATUS: '404' },
    /^service: the health check failed: "GET \/ok": .*404/,
  ],
  [
    'a licence that is refused',
    crash('ValueError: License verification failed. Please ensure proper configuration:'),
    /^service: the server refuses its licence: "LANGGRAPH_CLOUD_LICENSE_KEY", "LANGSMITH_API_KEY"; .*License verification/,
  ],
  [
    'a module that is missing',
    crash("ModuleNotFoundError: No module named 'langchain_openai'"),
    /^service: the server crashed: "server": exit code 3; .*; mend the image/,
  ],
  [
    'a database that is not reached',
    crash(
      'psycopg.OperationalError: connection failed: connection to server at "10.9.9.9", port 5432 failed: Connection refused',
    ),
    /^service: the database cannot be reached: "PostgreSQL"; /,
  ],
];

describe(
  'a first revision has nothing to go back to: it says why, and nothing is tried any longer',
  { concurrency: 6 },
  () => {
    for (const [cause, env, says, image = 'stub'] of FIRST)
      test(cause, async () => {
        const name = cause.replaceAll(' ', '-');
        const made = await stage.createDeployment(api, {
          name,
          image: await push(name, image, env),
          listenerId: on.places[ACCOUNT]!.id,
          secrets: ELSEWHERE,
        });
        const revision = await stage.ended(api, made.id, made.latest_revision_id);
        assert.equal(revision.status, 'DEPLOY_FAILED', revision.status_message);
        assert.match(revision.status_message, says);
        const ecs = new ECSClient(stage.customerClient(rehearsal, ACCOUNT));
        const services = [`freehold-${shortId(made.id)}`];
        await eventually(
          'its service is gone',
          async () => {
            const found = await ecs.send(new DescribeServicesCommand({ cluster: 'freehold', services }));
            return (found.services ?? []).every(({ status }) => status === 'INACTIVE');
          },
          { seconds: 60 },
        );
        // The sentence stays, and the next revision begins anew.
        const next = await stage.newRevision(api, made.id, {
          source_revision_config: { image_uri: await push('good') },
        });
        await stage.deployed(api, made.id, next);
        const { status_message } = await api.call(
          'GET',
          `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}`,
        );
        assert.equal(status_message, revision.status_message);
      });
  },
);

test('what AWS withholds is told while ECS tries again; what the organization forbids is the end', async () => {
  await rehearsal.capacity({ account: SCARCE });
  const made = await stage.createDeployment(api, {
    name: 'scarce',
    image: await push('good', 'stub', {}, SCARCE),
    listenerId: on.places[SCARCE]!.id,
    secrets: ELSEWHERE,
  });
  const path = `/v2/deployments/${made.id}/revisions/${made.latest_revision_id}`;
  await eventually(
    'it says that there is no capacity',
    async () => {
      const { status, status_message } = await api.call('GET', path);
      return status === 'DEPLOYING' && /a task cannot be placed: Capacity is unavailable/.test(status_message ?? '');
    },
    { seconds: 60 },
  );
  await rehearsal.clearCapacity(SCARCE);
  await stage.deployed(api, made.id, made.latest_revision_id);

  for (const subnetId of on.places[SCARCE]!.outputs.privateSubnetIds)
    await rehearsal.capacity({ account: SCARCE, subnetId, freeAddresses: 0 });
  const again = async (): Promise<Json> =>
    stage.ended(api, made.id, (await api.call('POST', `${path}/redeploy`)).latest_revision_id);
  const full = await again();
  assert.equal(full.status, 'DEPLOY_FAILED');
  assert.match(full.status_message, /^service: the subnet has no free address: "subnet-\w+"; /);
  await rehearsal.clearCapacity(SCARCE);

  await rehearsal.fault({ account: SCARCE, deniedByOrganization: 'secretsmanager:GetSecretValue' });
  const forbidden = await again();
  assert.equal(forbidden.status, 'DEPLOY_FAILED');
  assert.match(
    forbidden.status_message,
    /^service: an organization policy forbids it: "secretsmanager:GetSecretValue" is denied with an explicit deny/,
  );
});
