/** Source code and images on their way into the customer's account, as the clients send them; and nothing is left. */
import { DescribeRepositoriesCommand, ECRClient } from '@aws-sdk/client-ecr';
import {
  DeleteBucketCommand,
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketOwnershipControlsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { ControlPlane } from '../../services/rehearsal/scene.ts';
import { push } from '../support/push.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '420000000017';
const Bucket = `freehold-uploads-${ACCOUNT}-${stage.REGION}`;
let on: stage.Stage;
let api: ControlPlane;
let s3: S3Client;
before(async () => {
  on = await stage.open('uploads', [ACCOUNT]);
  ({ api } = on);
  s3 = new S3Client({ ...stage.customerClient(on.rehearsal, ACCOUNT), forcePathStyle: true });
});
after(() => on?.close());

const create = (name: string, source: string): Promise<Json> =>
  api.call('POST', '/v2/deployments', {
    name,
    source,
    source_config: { deployment_type: 'dev' },
    source_revision_config: {},
    // A database of their own, so that none is made and waited for.
    secrets: [{ name: 'POSTGRES_URI_CUSTOM', value: 'postgresql://user:password@db.example.com/agent' }],
  });

test("the stack's bucket is encrypted, the owner's alone, and empties itself", async () => {
  const { Rules } = await s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
  assert.deepEqual(
    Rules!.map((rule) => [rule.Status, rule.Expiration?.Days]),
    [['Enabled', 3]],
  );
  const { ServerSideEncryptionConfiguration: encryption } = await s3.send(new GetBucketEncryptionCommand({ Bucket }));
  assert.equal(encryption!.Rules![0]!.ApplyServerSideEncryptionByDefault!.SSEAlgorithm, 'AES256');
  const { OwnershipControls: owner } = await s3.send(new GetBucketOwnershipControlsCommand({ Bucket }));
  assert.equal(owner!.Rules![0]!.ObjectOwnership, 'BucketOwnerEnforced');
});

test('an archive is uploaded and named by a revision, which says that it cannot be built yet; it goes with the deployment', async () => {
  const { id } = await create('from-source', 'internal_source');
  const { upload_url: url, object_path: path } = await api.call('POST', `/v2/deployments/${id}/upload-url`);
  const build = {
    revision_source: 'internal_source',
    source_revision_config: { source_tarball_path: path, langgraph_config_path: 'langgraph.json' },
  };
  const patch = () => api.call('PATCH', `/v2/deployments/${id}`, build);
  await assert.rejects(patch(), /400: not uploaded: /);
  // What the JavaScript and the Go client send.
  const headers = { 'Content-Type': 'application/gzip', 'X-Goog-Content-Length-Range': '0,209715200' };
  assert.equal((await fetch(url, { method: 'PUT', body: gzipSync('archive'), headers })).status, 200);
  const { latest_revision_id: revision } = await patch();
  const end = await stage.ended(api, id, revision);
  assert.equal(end.status, 'BUILD_FAILED');
  assert.match(end.status_message, /not available yet/);

  await api.call('DELETE', `/v2/deployments/${id}`);
  await stage.gone(api, id);
  assert.equal((await s3.send(new ListObjectsV2Command({ Bucket }))).KeyCount, 0);
});

test('an image is pushed with a token and resolved; its repository goes with the deployment', async () => {
  const { id } = await create('from-docker', 'internal_docker');
  const given = await api.call('POST', `/v2/deployments/${id}/push-token`, { supports_registry_username: true });
  const { username, token: password, repository_url: repository } = given;
  const digest = await push(on.rehearsal, { repository, tag: 'latest', username, password, image: 'stub' });
  const image = `${repository}@${digest}`;
  const patch = { revision_source: 'internal_docker', source_revision_config: { image_uri: `${repository}:latest` } };
  const { latest_revision_id: revision } = await api.call('PATCH', `/v2/deployments/${id}`, patch);
  assert.equal((await api.call('GET', `/v2/deployments/${id}/revisions/${revision}`)).image, image);

  await api.call('DELETE', `/v2/deployments/${id}`);
  await stage.gone(api, id);
  const ecr = new ECRClient(stage.customerClient(on.rehearsal, ACCOUNT));
  assert.deepEqual((await ecr.send(new DescribeRepositoriesCommand({}))).repositories, []);
  await s3.send(new DeleteBucketCommand({ Bucket })); // as CloudFormation will: it is empty
});
