/** ECR: digests, layers, lists of images, and what a task makes of an image that is gone or for another platform. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import {
  BatchCheckLayerAvailabilityCommand,
  BatchDeleteImageCommand,
  BatchGetImageCommand,
  CompleteLayerUploadCommand,
  DescribeImagesCommand,
  ECRClient,
  GetAuthorizationTokenCommand,
  InitiateLayerUploadCommand,
  PutImageCommand,
  UploadLayerPartCommand,
} from '@aws-sdk/client-ecr';
import { RunTaskCommand } from '@aws-sdk/client-ecs';
import { CreateKeyCommand, DisableKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { CreateSecretCommand } from '@aws-sdk/client-secrets-manager';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { CLUSTER, EXECUTION_ACTIONS, REGION, fargate, type Fargate } from '../support/fargate.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '380000000038';
const repositoryName = 'app';
let rehearsal: Rehearsal;
let ecr: ECRClient;
let f: Fargate;
before(async () => {
  rehearsal = await openRehearsal();
  ecr = new ECRClient({
    region: REGION,
    endpoint: rehearsal.endpoint,
    credentials: rehearsal.root(ACCOUNT),
    maxAttempts: 1,
  });
  f = await fargate(rehearsal, ACCOUNT); // its stub is an image of the repository
});
after(() => rehearsal.stop());

const API = 'https://docs.aws.amazon.com/AmazonECR/latest/APIReference';
const sha = (text: string | Uint8Array): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const name = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'allowed',
    (error: Error) => error.name,
  );
const manifest = (more: object): string => JSON.stringify({ schemaVersion: 2, ...more });
const put = (imageManifest: string, imageTag?: string) =>
  ecr.send(new PutImageCommand({ repositoryName, imageManifest, ...(imageTag ? { imageTag } : {}) }));
const remove = (...imageIds: object[]) => ecr.send(new BatchDeleteImageCommand({ repositoryName, imageIds }));

async function upload(blob: Uint8Array, digest = sha(blob)): Promise<string> {
  const { uploadId } = await ecr.send(new InitiateLayerUploadCommand({ repositoryName }));
  const half = Math.floor(blob.length / 2);
  for (const [partFirstByte, partLastByte] of [
    [0, half - 1],
    [half, blob.length - 1],
  ] as const)
    await ecr.send(
      new UploadLayerPartCommand({
        repositoryName,
        uploadId,
        partFirstByte,
        partLastByte,
        layerPartBlob: blob.slice(partFirstByte, partLastByte + 1),
      }),
    );
  const made = await ecr.send(new CompleteLayerUploadCommand({ repositoryName, uploadId, layerDigests: [digest] }));
  return made.layerDigest!;
}

test(`the same image is found by its tag and by its digest, and what is missing is named (${API}/API_BatchGetImage.html)`, async () => {
  const text = manifest({ annotations: { is: 'both' } });
  await put(text, 'both');
  const { images, failures } = await ecr.send(
    new BatchGetImageCommand({
      repositoryName,
      imageIds: [{ imageTag: 'both' }, { imageDigest: sha(text) }, { imageTag: 'none' }],
    }),
  );
  assert.deepEqual(
    images!.map((one) => [one.imageId!.imageDigest, one.imageManifest]),
    [
      [sha(text), text],
      [sha(text), text],
    ],
  );
  assert.deepEqual(
    failures!.map((one) => [one.imageId!.imageTag, one.failureCode]),
    [['none', 'ImageNotFound']],
  );
});

test(`a digest is of the exact bytes: the same JSON with another space is another image (${API}/API_PutImage.html)`, async () => {
  const one = await put('{"schemaVersion":2,"annotations":{"a":"b"}}');
  const other = await put('{"schemaVersion":2, "annotations":{"a":"b"}}');
  assert.notEqual(one.image!.imageId!.imageDigest, other.image!.imageId!.imageDigest);
});

test(`a layer is kept under its real digest (${API}/API_CompleteLayerUpload.html)`, async () => {
  const blob = Buffer.from('a layer');
  assert.equal(await upload(blob), sha(blob));
  const { layers } = await ecr.send(
    new BatchCheckLayerAvailabilityCommand({ repositoryName, layerDigests: [sha(blob), sha('none')] }),
  );
  assert.deepEqual(
    layers!.map((one) => [one.layerAvailability, one.layerSize]),
    [
      ['AVAILABLE', blob.length],
      ['UNAVAILABLE', undefined],
    ],
  );
  assert.equal(await name(upload(blob)), 'LayerAlreadyExistsException');
});

const UPLOADS: [string, string, () => Promise<unknown>][] = [
  ['another digest than its own', 'InvalidLayerException', () => upload(Buffer.from('wrong'), sha('right'))],
  [
    'a gap between its parts',
    'InvalidLayerPartException',
    async () => {
      const { uploadId } = await ecr.send(new InitiateLayerUploadCommand({ repositoryName }));
      await ecr.send(
        new UploadLayerPartCommand({
          repositoryName,
          uploadId,
          partFirstByte: 5,
          partLastByte: 6,
          layerPartBlob: Buffer.from('xx'),
        }),
      );
    },
  ],
  [
    'nothing in it',
    'EmptyUploadException',
    async () => {
      const { uploadId } = await ecr.send(new InitiateLayerUploadCommand({ repositoryName }));
      await ecr.send(new CompleteLayerUploadCommand({ repositoryName, uploadId, layerDigests: [sha('')] }));
    },
  ],
  [
    'no beginning',
    'UploadNotFoundException',
    () =>
      ecr.send(
        new CompleteLayerUploadCommand({
          repositoryName,
          uploadId: '11111111-1111-4111-8111-111111111111',
          layerDigests: [sha('x')],
        }),
      ),
  ],
];
for (const [what, error, call] of UPLOADS)
  test(`an upload with ${what} is refused (${API}/API_UploadLayerPart.html)`, async () =>
    assert.equal(await name(call()), error));

test(`an image needs its layers, and a list its images (${API}/API_PutImage.html)`, async () => {
  const layers = [{ digest: sha('never uploaded'), size: 3 }];
  assert.equal(await name(put(manifest({ layers }))), 'LayersNotFoundException');
  const manifests = [{ digest: sha('never pushed'), size: 3 }];
  assert.equal(await name(put(manifest({ manifests }))), 'ReferencedImagesNotFoundException');
});

test(`deleting a tag leaves the image while it has another; its last one or its digest takes it (${API}/API_BatchDeleteImage.html)`, async () => {
  const text = manifest({ annotations: { is: 'tagged' } });
  await put(text, 't1');
  await put(text, 't2');
  assert.deepEqual((await remove({ imageTag: 't1' })).imageIds, [{ imageDigest: sha(text), imageTag: 't1' }]);
  const left = await ecr.send(new DescribeImagesCommand({ repositoryName, imageIds: [{ imageDigest: sha(text) }] }));
  assert.deepEqual(left.imageDetails![0]!.imageTags, ['t2']);
  await remove({ imageTag: 't2' });
  const again = await ecr.send(new BatchGetImageCommand({ repositoryName, imageIds: [{ imageDigest: sha(text) }] }));
  assert.equal(again.failures![0]!.failureCode, 'ImageNotFound');
  await put(text, 't2');
  await remove({ imageDigest: sha(text) });
  const gone = ecr.send(new DescribeImagesCommand({ repositoryName, imageIds: [{ imageTag: 't2' }] }));
  assert.equal(await name(gone), 'ImageNotFoundException');
  assert.equal((await remove({ imageTag: 't2' })).failures![0]!.failureCode, 'ImageNotFound');
});

test(`an image that a list refers to stays (${API}/API_ImageFailure.html)`, async () => {
  const text = manifest({ annotations: { is: 'part' } });
  await put(text);
  await put(
    manifest({ manifests: [{ digest: sha(text), size: 1, platform: { os: 'linux', architecture: 'amd64' } }] }),
  );
  const { failures } = await remove({ imageDigest: sha(text) });
  assert.equal(failures![0]!.failureCode, 'ImageReferencedByManifestList');
});

test(`a token for the registry lasts twelve hours (${API}/API_GetAuthorizationToken.html)`, async () => {
  const { authorizationData: [token] = [] } = await ecr.send(new GetAuthorizationTokenCommand({}));
  assert.match(Buffer.from(token!.authorizationToken!, 'base64').toString(), /^AWS:/);
  assert.equal(token!.proxyEndpoint, `https://${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com`);
  const hours = (token!.expiresAt!.getTime() - Date.now()) / 3_600_000;
  assert.ok(hours > 11.9, `${hours}`);
});

/** Why a task of this definition ended before it ran. */
async function reason(definition: string): Promise<string> {
  const { tasks } = await f.ecs.send(
    new RunTaskCommand({
      cluster: CLUSTER,
      taskDefinition: definition,
      launchType: 'FARGATE',
      networkConfiguration: f.networkConfiguration,
    }),
  );
  const end = await f.stopped(tasks![0]!.taskArn!);
  assert.equal(end.stopCode, 'TaskFailedToStart');
  return end.stoppedReason!;
}

const PULL = 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html';
test(`a task takes its platform's image out of a list, and there may be none (${PULL})`, async () => {
  const text = manifest({ annotations: { 'rehearsal.image': 'missing-layers' } });
  await put(text);
  const platform = { os: 'linux', architecture: 'arm64' };
  await put(manifest({ manifests: [{ digest: sha(text), size: 1, platform }] }), 'arm');
  const image = `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com/${repositoryName}:arm`;
  assert.equal(
    await reason(await f.define('amd', {}, { image })),
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): image Manifest does not contain descriptor matching platform 'linux/amd64'",
  );
  const arm = await f.define('arm', {}, { image }, { runtimePlatform: { cpuArchitecture: 'ARM64' } });
  assert.match(await reason(arm), /insufficient_scope$/); // that image was found
});

test(`an image that was deleted cannot be pulled again (${PULL})`, async () => {
  const pushed = await rehearsal.pushImage({ account: ACCOUNT, region: REGION, repository: 'short', image: 'stub' });
  const definition = await f.define('short', {}, { image: pushed.uri });
  await ecr.send(new BatchDeleteImageCommand({ repositoryName: 'short', imageIds: [{ imageDigest: pushed.digest }] }));
  assert.match(await reason(definition), /^CannotPullContainerError: .*: not found$/);
});

const SECRET = 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html';
test(`a task's secret under a customer's key: without rights on the key, and with a disabled one (${SECRET})`, async () => {
  const kms = new KMSClient({ region: REGION, endpoint: rehearsal.endpoint, credentials: rehearsal.root(ACCOUNT) });
  const KmsKeyId = (await kms.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!;
  const secret = await f.secrets.send(new CreateSecretCommand({ Name: 'under-key', SecretString: 'x', KmsKeyId }));
  const secrets = [{ name: 'SECRET', valueFrom: secret.ARN! }];
  const definition = await f.define('under-key', {}, { secrets });
  assert.match(
    await reason(definition),
    /^ResourceInitializationError: .*from secrets manager: AccessDeniedException: Access to KMS is not allowed status code: 400/,
  );
  const reader = await f.role('reads-key', [...EXECUTION_ACTIONS, 'kms:Decrypt']);
  const allowed = await f.define('with-key', {}, { secrets }, { executionRoleArn: reader });
  await kms.send(new DisableKeyCommand({ KeyId: KmsKeyId }));
  assert.match(
    await reason(allowed),
    /^ResourceInitializationError: .*DecryptionFailure: Secrets Manager can't decrypt/,
  );
});
