/** A rollout that fails says why in one sentence, and the old revision goes on answering. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DeleteSecretCommand, ListSecretsCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import {
  controlPlaneUser,
  onboard,
  startControlPlane,
  until,
  type ControlPlane,
} from '../../services/rehearsal/scene.ts';
import { openRehearsal } from '../support/rehearsal.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '420000000001';
let rehearsal: Rehearsal;
let api: ControlPlane;
let place: Awaited<ReturnType<typeof onboard>>;
let deployment: Json;
let good: string;

const push = async (tag: string, image = 'stub', env: Record<string, string> = {}): Promise<string> =>
  (await rehearsal.pushImage({ account: ACCOUNT, region: stage.REGION, repository: 'agent', tag, image, env })).uri;

before(async () => {
  rehearsal = await openRehearsal();
  const principal = await controlPlaneUser(rehearsal, 'failures');
  api = await startControlPlane({ rehearsal, principal });
  place = await onboard(api, principal.arn, { rehearsal, account: ACCOUNT, name: 'failures' });
  const made = await stage.createDeployment(api, {
    name: 'agent',
    image: await push('good'),
    listenerId: place.id,
    secrets: [{ name: 'TOKEN', value: 'first' }],
  });
  good = made.latest_revision_id;
  await stage.deployed(api, made.id, good);
  deployment = await api.call('GET', `/v2/deployments/${made.id}`);
});

after(async () => {
  await api?.stop();
  await rehearsal?.stop();
});

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
});

test('an image that cannot be pulled', async () => {
  // In the registry when it is checked, broken when it is pulled: a layer was lost.
  const message = await fails({ source_revision_config: { image_uri: await push('broken', 'missing-layers') } });
  assert.match(message, /image/i);
  assert.match(message, /pull/i);
});

test('a secret that is missing when the task starts', async () => {
  const secrets = new SecretsManagerClient(stage.customerClient(rehearsal, ACCOUNT));
  const find = async (): Promise<string> => {
    const { SecretList = [] } = await secrets.send(new ListSecretsCommand({}));
    const environment = SecretList.find((secret) => secret.Name?.endsWith('/environment'));
    assert(environment?.ARN);
    return environment.ARN;
  };
  const arn = await find();
  const image = await push('good-again');
  // Deleted by hand, between the request and the rollout.
  const revision = await stage.newRevision(api, deployment.id, { source_revision_config: { image_uri: image } });
  await secrets.send(new DeleteSecretCommand({ SecretId: arn, ForceDeleteWithoutRecovery: true }));
  const seen = await until('the loss of the secret is named', 60, async () => {
    const now = await api.call('GET', `/v2/deployments/${deployment.id}/revisions/${revision}`);
    return /FAILED/.test(now.status) && now;
  });
  assert.match(seen.status_message, /secret|TOKEN/i);
  assert.match(JSON.stringify(await stage.json(await rehearsal.fetch(`${deployment.url}/info`))), new RegExp(good));
});

test('the deployment stays usable: giving the value again makes the next revision good', async () => {
  const revision = await stage.newRevision(api, deployment.id, {
    secrets: [{ name: 'TOKEN', value: 'second' }],
    source_revision_config: { image_uri: await push('good-at-last') },
  });
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
