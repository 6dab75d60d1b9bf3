/** The emulated ECR where ministack's is laxer than AWS's. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  CreateRepositoryCommand,
  DescribeImagesCommand,
  ECRClient,
  ListImagesCommand,
  PutImageCommand,
  type PutImageCommandInput,
} from '@aws-sdk/client-ecr';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '310000000031';
const manifest = (text: string): string => JSON.stringify({ schemaVersion: 2, annotations: { text } });
const digest = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

describe('images', { timeout: 60_000 }, () => {
  let rehearsal: Rehearsal;
  let ecr: ECRClient;

  before(async () => {
    rehearsal = await openRehearsal();
    ecr = new ECRClient({ region: 'eu-central-1', endpoint: rehearsal.endpoint, credentials: rehearsal.root(ACCOUNT) });
    await ecr.send(new CreateRepositoryCommand({ repositoryName: 'app' }));
    await ecr.send(new CreateRepositoryCommand({ repositoryName: 'fixed', imageTagMutability: 'IMMUTABLE' }));
  });
  after(() => rehearsal.stop());

  const put = (imageManifest: string, imageTag?: string, more: Partial<PutImageCommandInput> = {}) =>
    ecr.send(new PutImageCommand({ repositoryName: 'app', imageManifest, ...(imageTag ? { imageTag } : {}), ...more }));
  const describeImage = async (imageTag: string, repositoryName = 'app') =>
    (await ecr.send(new DescribeImagesCommand({ repositoryName, imageIds: [{ imageTag }] }))).imageDetails![0]!;

  test("an image's digest is that of its manifest", async () => {
    const pushed = await put(manifest('one'), 'one');
    assert.equal(pushed.image!.imageId!.imageDigest, digest(manifest('one')));
    await assert.rejects(put(manifest('two'), 'two', { imageDigest: digest('other') }), {
      name: 'ImageDigestDoesNotMatchException',
    });
    await assert.rejects(put('no JSON', 'three'), { name: 'InvalidParameterException' });
  });

  test('a tag moves, and the image it was taken from keeps its digest', async () => {
    await put(manifest('old'), 'moving');
    await put(manifest('new'), 'moving');
    const seen = await describeImage('moving');
    assert.equal(seen.imageDigest, digest(manifest('new')));
    assert.deepEqual(seen.imageTags, ['moving']);
    const { imageIds = [] } = await ecr.send(
      new ListImagesCommand({ repositoryName: 'app', filter: { tagStatus: 'UNTAGGED' } }),
    );
    assert.deepEqual(imageIds, [{ imageDigest: digest(manifest('old')) }]);
    await assert.rejects(put(manifest('new'), 'moving'), { name: 'ImageAlreadyExistsException' });
  });

  test('an immutable tag does not move', async () => {
    await put(manifest('a'), 'v1', { repositoryName: 'fixed' });
    await assert.rejects(put(manifest('b'), 'v1', { repositoryName: 'fixed' }), {
      name: 'ImageTagAlreadyExistsException',
    });
  });

  test('what is not there is an error, not an empty answer', async () => {
    await assert.rejects(describeImage('nope'), {
      name: 'ImageNotFoundException',
      message: `The image with imageId {imageDigest:'null', imageTag:'nope'} does not exist within the repository with name 'app' in the registry with id '${ACCOUNT}'`,
    });
    await assert.rejects(describeImage('one', 'none'), {
      name: 'RepositoryNotFoundException',
      message: `The repository with name 'none' does not exist in the registry with id '${ACCOUNT}'`,
    });
  });

  test('images come in pages', async () => {
    for (const n of ['p1', 'p2', 'p3']) await put(manifest(n), n, { repositoryName: 'fixed' });
    const first = await ecr.send(new DescribeImagesCommand({ repositoryName: 'fixed', maxResults: 3 }));
    assert.equal(first.imageDetails!.length, 3);
    const second = await ecr.send(
      new DescribeImagesCommand({ repositoryName: 'fixed', maxResults: 3, nextToken: first.nextToken! }),
    );
    assert.equal(second.imageDetails!.length, 1);
    assert.equal(second.nextToken, undefined);
  });
});
