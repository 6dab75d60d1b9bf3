/** What is lent to those who deploy: an upload URL and a push token, each for one thing and for minutes. */
import { GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { DescribeImagesCommand, DescribeRepositoriesCommand, ECRClient } from '@aws-sdk/client-ecr';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Terminal } from '../../services/reconciler/aws/errors.ts';
import { resolveImage } from '../../services/reconciler/aws/image.ts';
import { names, shortId } from '../../services/reconciler/aws/names.ts';
import { pushToken } from '../../services/reconciler/kinds/repository.ts';
import { ARCHIVE_BYTES, checkUpload, refusal, uploadUrl } from '../../services/reconciler/kinds/uploads.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { push } from '../support/push.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000017';
let rehearsal: Rehearsal;
let t: TestPlace;
let root: { region: string; endpoint: string; credentials: { accessKeyId: string; secretAccessKey: string } };
before(async () => {
  rehearsal = await openRehearsal();
  t = await makePlace(rehearsal, ACCOUNT);
  root = { region: t.place.region, endpoint: rehearsal.endpoint, credentials: rehearsal.root(ACCOUNT) };
});
after(async () => {
  t.close();
  await rehearsal.stop();
});

const deployment = (): { id: string; name: string } => ({ id: randomUUID(), name: 'agent' });
const GZIP = { 'Content-Type': 'application/gzip' };
const put = (url: string, headers: Record<string, string> = GZIP) =>
  fetch(url, { method: 'PUT', body: 'archive', headers });
const refused = (call: Promise<unknown>, why: RegExp) =>
  assert.rejects(call, (error) => error instanceof Terminal && why.test(error.message));

test('what is put to an upload URL is there, and may be named by its deployment alone', async () => {
  const d = deployment();
  const aws = await t.accounts.enter(t.place, { name: 'uploads' });
  const upload = await uploadUrl(t.accounts, t.place, d);
  await refused(checkUpload(aws, t.place, d, upload.path), /^not uploaded: /);
  assert.equal((await put(upload.url)).status, 200);
  await checkUpload(aws, t.place, d, upload.path);
  await refused(checkUpload(aws, t.place, deployment(), upload.path), /^not issued for this deployment: /);
});

test('a header that S3 does not know does no harm, and another content type is refused', async () => {
  const { url } = await uploadUrl(t.accounts, t.place, deployment());
  const google = { ...GZIP, 'X-Goog-Content-Length-Range': '0,209715200' };
  assert.equal((await put(url, google)).status, 200);
  assert.equal((await put(url, { 'Content-Type': 'text/plain' })).status, 403);
});

test('an upload URL is for that object, and reads nothing', async () => {
  const { url } = await uploadUrl(t.accounts, t.place, deployment());
  assert.equal((await put(url.replace('.tar.gz', 'x.tar.gz'))).status, 403);
  assert.equal((await fetch(url)).status, 403);
});

test('an upload URL is a plain PUT for ten minutes: not a copy of another object, and not with rights for others', async () => {
  const [theirs, mine] = [await uploadUrl(t.accounts, t.place, deployment()), deployment()];
  await put(theirs.url);
  const { url } = await uploadUrl(t.accounts, t.place, mine);
  const { searchParams } = new URL(url);
  assert.equal(searchParams.get('X-Amz-Expires'), '600');
  assert.equal(searchParams.get('X-Amz-SignedHeaders'), 'content-type;host');
  for (const [name, value] of [
    ['x-amz-copy-source', `/${t.place.uploadBucket}/${theirs.path}`],
    ['x-amz-acl', 'public-read'],
    ['x-amz-tagging', 'a=b'],
  ] as const)
    assert.equal((await put(url, { ...GZIP, [name]: value })).status, 403, name);
});

test('the session that signs it may do just that, whatever else the role may', async () => {
  const Bucket = t.place.uploadBucket!;
  const resources = [`arn:aws:s3:::${Bucket}/uploads/one`];
  const lent = await t.accounts.lend(t.place, { name: 'lent' }, [{ actions: ['s3:PutObject'], resources }]);
  const list = () => lent.s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'uploads/' }));
  await assert.rejects(list, { name: 'AccessDenied' });
  const more = await t.accounts.lend(t.place, { name: 'more' }, [{ actions: ['*'], resources: ['*'] }]);
  assert.equal(
    (await more.s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'uploads/' }))).$metadata.httpStatusCode,
    200,
  );
});

test('the role reads no archive, no image layer, and lists nothing else', async () => {
  const d = deployment();
  const { url, path } = await uploadUrl(t.accounts, t.place, d);
  await put(url);
  const { s3 } = await t.accounts.enter(t.place, { name: 'reader' });
  const object = { Bucket: t.place.uploadBucket!, Key: path };
  await assert.rejects(s3.send(new GetObjectCommand(object)), { name: 'AccessDenied' });
  await assert.rejects(s3.send(new HeadObjectCommand(object)), ({ $metadata }) => $metadata.httpStatusCode === 403);
  await assert.rejects(s3.send(new ListObjectsV2Command({ Bucket: object.Bucket })), { name: 'AccessDenied' });
  const theirs = await new S3Client({ ...root, forcePathStyle: true }).send(new HeadObjectCommand(object));
  assert.equal(theirs.ContentType, 'application/gzip');
});

test('sizes', () => {
  assert.equal(refusal('a', 1), undefined);
  assert.equal(refusal('a', ARCHIVE_BYTES), undefined);
  assert.match(refusal('a', ARCHIVE_BYTES + 1)!, /^too large: "a": it has 209715201 bytes/);
  assert.match(refusal('a', 0)!, /^empty: /);
  assert.match(refusal('a', undefined)!, /^not uploaded: /);
});

for (const path of [
  '',
  'uploads/x/a.tar.gz',
  '/etc/passwd',
  's3://bucket/a.tar.gz',
  'ID/../other/a.tar.gz',
  'ID/a.zip',
])
  test(`a path that was never issued is refused: "${path}"`, async () => {
    const d = deployment();
    const aws = await t.accounts.enter(t.place, { name: 'uploads' });
    const given = path.replace('ID', `uploads/${d.id}`);
    await refused(checkUpload(aws, t.place, d, given), /^not issued for this deployment: /);
  });

test('a place without a bucket says what to do', async () => {
  const { uploadBucket: _, ...before } = t.place;
  await refused(uploadUrl(t.accounts, before, deployment()), /deploy the customer's stack again/);
});

test("an image is pushed with the token to the deployment's own repository, made on first use, and resolved", async () => {
  const d = deployment();
  const token = await pushToken(t.accounts, t.place, d);
  const { username, token: password, repository } = token;
  assert.deepEqual([username, token.registry], ['AWS', `${ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com`]);
  assert.equal(repository, `${token.registry}/${names(t.place, d).repository}`);
  const digest = await push(rehearsal, { repository, tag: 'latest', username, password, image: 'stub' });
  const aws = await t.accounts.enter(t.place, { name: 'images' });
  assert.deepEqual(await resolveImage(aws, t.place, `${repository}:latest`), {
    uri: `${repository}@${digest}`,
    digest,
  });
  // One name, moved again and again, as clients push it.
  const env = { REVISION: 'two' };
  const again = { ...(await pushToken(t.accounts, t.place, d)), tag: 'latest', image: 'stub', env };
  const second = await push(rehearsal, { ...again, password: again.token });
  assert.notEqual(second, digest);
  assert.equal((await resolveImage(aws, t.place, `${repository}@${digest}`)).digest, digest);
});

test('a push token is for that repository alone, and under a name that CloudTrail shows', async () => {
  const [d, other] = [deployment(), deployment()];
  await pushToken(t.accounts, t.place, other);
  const { username, token: password, registry } = await pushToken(t.accounts, t.place, d);
  const repository = `${registry}/${names(t.place, other).repository}`;
  await assert.rejects(
    push(rehearsal, { repository, tag: 'latest', username, password, image: 'stub' }),
    /403 .*assumed-role\/freehold-control-plane\/freehold-push-.* is not authorized to perform: ecr:/,
  );
  const made = (await rehearsal.calls()).filter((call) => call.session === `freehold-push-${shortId(d.id)}`);
  assert.ok(made.some((call) => call.action === 'GetAuthorizationToken'));
  assert.ok(made.some((call) => call.error === 'AccessDeniedException'));
});

test("somebody else's repository of that name is left alone", async () => {
  const d = deployment();
  const name = names(t.place, d).repository;
  await rehearsal.pushImage({ account: ACCOUNT, region: t.place.region, repository: name, image: 'stub' });
  await refused(pushToken(t.accounts, t.place, d), /^exists and is not ours: /);
  const ecr = new ECRClient(root);
  assert.equal((await ecr.send(new DescribeRepositoriesCommand({ repositoryNames: [name] }))).repositories!.length, 1);
  assert.equal((await ecr.send(new DescribeImagesCommand({ repositoryName: name }))).imageDetails!.length, 1);
});
