import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { Terminal } from '../../services/reconciler/aws/errors.ts';
import { parseImage, resolveImage } from '../../services/reconciler/aws/image.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000002';
const DIGEST = `sha256:${'a'.repeat(64)}`;

test('what is a name of an image in ECR', () => {
  const host = '222222222222.dkr.ecr.eu-west-1.amazonaws.com';
  assert.equal(parseImage(`${host}/team/agent:v1`)?.tag, 'v1');
  assert.equal(parseImage(`${host}/agent@${DIGEST}`)?.digest, DIGEST);
  assert.equal(parseImage(`${host}/agent:v1@${DIGEST}`)?.repository, 'agent');
  assert.equal(parseImage('222222222222.dkr.ecr.cn-north-1.amazonaws.com.cn/agent')?.region, 'cn-north-1');
  for (const no of ['agent', 'docker.io/library/redis:7', `${host}/`, `${host}/agent@sha256:short`, `${host}/Agent`]) {
    assert.equal(parseImage(no), undefined, no);
  }
});

describe('in the emulated ECR', { timeout: 60_000 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let aws: Account;
  let pushed: { uri: string; digest: string };
  const registry = `${ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com`;

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    aws = await t.accounts.enter(t.place, { name: 'images' });
    pushed = await rehearsal.pushImage({
      account: ACCOUNT,
      region: 'us-east-1',
      repository: 'app',
      tag: 'v1',
      image: 'stub',
    });
  });
  after(async () => {
    t.close();
    await rehearsal.stop();
  });

  test('a tag becomes the digest that it stands for now', async () => {
    const byTag = await resolveImage(aws, t.place, `${registry}/app:v1`);
    assert.deepEqual(byTag, { uri: `${registry}/app@${pushed.digest}`, digest: pushed.digest });
    assert.deepEqual(await resolveImage(aws, t.place, pushed.uri), byTag);
  });

  for (const [reason, uri, says] of [
    ['a repository that is not there', `${registry}/other:v1`, /no such repository in ECR: "other": make it/],
    ['a tag that is not there', `${registry}/app:v2`, /no such image in ECR: "app" has no tag "v2": push it/],
    ['a digest that is not there', `${registry}/app@${DIGEST}`, /"app" has no digest "sha256:a+"/],
    ["another account's", `999999999999.dkr.ecr.us-east-1.amazonaws.com/app:v1`, /must be in account 350000000002/],
    ["another region's", `${ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/app:v1`, /region us-east-1/],
    ['not in ECR at all', 'docker.io/library/redis:7', /not an image in ECR/],
  ] as const) {
    test(`${reason} is refused with what to do`, async () => {
      await assert.rejects(
        resolveImage(aws, t.place, uri),
        (error) => error instanceof Terminal && says.test(error.message),
      );
    });
  }
});
