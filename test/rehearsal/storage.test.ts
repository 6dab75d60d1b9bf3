/** S3's presigned requests, the registry's own protocol, and Parameter Store. */
import {
  CreateRepositoryCommand,
  DescribeImagesCommand,
  ECRClient,
  GetAuthorizationTokenCommand,
} from '@aws-sdk/client-ecr';
import { CreateRoleCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  CreateBucketCommand,
  DeletePublicAccessBlockCommand,
  GetObjectCommand,
  GetPublicAccessBlockCommand,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  PutPublicAccessBlockCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import {
  DeleteParameterCommand,
  GetParameterCommand,
  GetParameterHistoryCommand,
  GetParametersByPathCommand,
  GetParametersCommand,
  PutParameterCommand,
  SSMClient,
  type PutParameterCommandInput,
} from '@aws-sdk/client-ssm';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { push, type Push } from '../support/push.ts';
import { startRehearsal, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

const ACCOUNT = '370000000037';
const REGION = 'us-east-1';
let rehearsal: Rehearsal;
let s3: S3Client;
let ssm: SSMClient;
const Bucket = 'freehold-artefacts-370000000037';
const options = (credentials: Credentials) => ({
  endpoint: rehearsal.endpoint,
  region: REGION,
  credentials,
  maxAttempts: 1,
  forcePathStyle: true,
});
before(async () => {
  rehearsal = await startRehearsal({ pace: 200, postgres: '' });
  const signer = await rehearsal.createUser(ACCOUNT, 'signer', {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: ['s3:*', 'ssm:*'], Resource: '*' }],
  });
  s3 = new S3Client(options(signer));
  ssm = new SSMClient(options(signer));
  await s3.send(new CreateBucketCommand({ Bucket }));
});
after(() => rehearsal.stop());

const name = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'allowed',
    (error: Error) => error.name,
  );
/** Status and AWS's code of a request without credentials of its own. */
async function bare(url: string, init: RequestInit = {}): Promise<[number, string]> {
  const answer = await fetch(url, init);
  const text = await answer.text();
  return [answer.status, /<Code>([^<]+)<\/Code>/.exec(text)?.[1] ?? text];
}

const PRESIGNED = 'https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html';
const SIGNATURE = 'https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html';
test(`a presigned PUT and a presigned GET need no credentials (${PRESIGNED})`, async () => {
  const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: 'a.txt' }), { expiresIn: 60 });
  assert.equal((await fetch(put, { method: 'PUT', body: 'text' })).status, 200);
  const get = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'a.txt' }), { expiresIn: 60 });
  assert.deepEqual(await bare(get), [200, 'text']);
});

const WRONG: [string, (url: URL) => void, RequestInit][] = [
  ['another object', (url) => (url.pathname = url.pathname.replace('a.txt', 'b.txt')), {}],
  ['a longer life', (url) => url.searchParams.set('X-Amz-Expires', '3600'), {}],
  ['another signature', (url) => url.searchParams.set('X-Amz-Signature', '0'.repeat(64)), {}],
  ['another method', () => {}, { method: 'DELETE' }],
  ['a further parameter', (url) => url.searchParams.set('versionId', 'x'), {}],
];
for (const [what, change, init] of WRONG)
  test(`a presigned URL is for one request: ${what} is refused (${SIGNATURE})`, async () => {
    const url = new URL(await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'a.txt' }), { expiresIn: 60 }));
    change(url);
    assert.deepEqual(await bare(url.href, init), [403, 'SignatureDoesNotMatch']);
  });

test(`headers that were signed must be sent as they were signed (${SIGNATURE})`, async () => {
  const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: 'typed', ContentType: 'text/plain' }), {
    expiresIn: 60,
    signableHeaders: new Set(['content-type']),
  });
  const put = (type: string) => bare(url, { method: 'PUT', body: 'x', headers: { 'content-type': type } });
  assert.deepEqual(await put('application/json'), [403, 'SignatureDoesNotMatch']);
  assert.equal((await put('text/plain'))[0], 200);
});

test(`a presigned URL ends with its time (${PRESIGNED})`, async () => {
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'a.txt' }), { expiresIn: 1 });
  await new Promise((resolve) => setTimeout(resolve, 1200));
  const answer = await fetch(url);
  assert.equal(answer.status, 403);
  assert.match(await answer.text(), /<Code>AccessDenied<\/Code><Message>Request has expired/);
});

test(`a presigned URL lives seven days at most (${SIGNATURE})`, async () => {
  const url = new URL(await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'a.txt' }), { expiresIn: 60 }));
  url.searchParams.set('X-Amz-Expires', String(7 * 86_400 + 1));
  assert.deepEqual((await bare(url.href))[1], 'AuthorizationQueryParametersError');
});

test(`a presigned URL can do what its signer may do when it is used, no more (${PRESIGNED})`, async () => {
  const poor = new S3Client(
    options(
      await rehearsal.createUser(ACCOUNT, 'poor', {
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: 's3:GetObject', Resource: `arn:aws:s3:::${Bucket}/public/*` }],
      }),
    ),
  );
  const url = await getSignedUrl(poor, new GetObjectCommand({ Bucket, Key: 'a.txt' }), { expiresIn: 60 });
  assert.deepEqual(await bare(url), [403, 'AccessDenied']);
});

const BLOCK = 'https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html';
test(`a new bucket blocks public access, so that a public policy is refused (${BLOCK})`, async () => {
  const { PublicAccessBlockConfiguration: block } = await s3.send(new GetPublicAccessBlockCommand({ Bucket }));
  assert.deepEqual(block, {
    BlockPublicAcls: true,
    IgnorePublicAcls: true,
    BlockPublicPolicy: true,
    RestrictPublicBuckets: true,
  });
  const Policy = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: `arn:aws:s3:::${Bucket}/*` }],
  });
  const put = () => name(s3.send(new PutBucketPolicyCommand({ Bucket, Policy })));
  assert.equal(await put(), 'AccessDenied');
  await s3.send(new DeletePublicAccessBlockCommand({ Bucket }));
  assert.equal(await put(), 'allowed');
  await s3.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration: block }));
});

const OWNER = 'https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies-s3-resource-account.html';
test(`aws:ResourceAccount is the account of the bucket's owner (${OWNER})`, async () => {
  const theirs = new S3Client(options(rehearsal.root('370000000038')));
  const foreign = { Bucket: 'theirs-370000000038', Key: 'x' };
  await theirs.send(new CreateBucketCommand({ Bucket: foreign.Bucket }));
  await theirs.send(
    new PutBucketPolicyCommand({
      Bucket: foreign.Bucket,
      Policy: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` },
            Action: 's3:PutObject',
            Resource: `arn:aws:s3:::${foreign.Bucket}/*`,
          },
        ],
      }),
    }),
  );
  const writer = async (user: string, Condition?: object) =>
    new S3Client(
      options(
        await rehearsal.createUser(ACCOUNT, user, {
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Action: 's3:PutObject', Resource: '*', Condition }],
        }),
      ),
    );
  const anywhere = await writer('anywhere');
  const here = await writer('here', { StringEquals: { 'aws:ResourceAccount': ACCOUNT } });
  const at = (client: S3Client, one: object) => name(client.send(new PutObjectCommand({ ...foreign, ...one })));
  assert.deepEqual(
    [await at(anywhere, {}), await at(here, {}), await at(here, { Bucket })],
    ['allowed', 'AccessDenied', 'allowed'],
  );
});

test(`what would change a presigned request has to be signed, too (${SIGNATURE})`, async () => {
  const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: 'plain' }), { expiresIn: 60 });
  const put = (headers: Record<string, string>) => fetch(url, { method: 'PUT', body: 'x', headers });
  assert.equal((await put({ 'cache-control': 'no-store' })).status, 200);
  for (const header of ['x-amz-copy-source', 'x-amz-acl', 'x-amz-meta-a']) {
    const answer = await put({ [header]: 'x' });
    assert.equal(answer.status, 403);
    assert.match(await answer.text(), new RegExp(`<HeadersNotSigned>${header}</HeadersNotSigned>`));
  }
});

const EXPECTED = 'https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html';
test(`a request that expects another owner of the bucket is refused, whoever asks (${EXPECTED})`, async () => {
  const list = (ExpectedBucketOwner: string) =>
    name(s3.send(new ListObjectsV2Command({ Bucket, ExpectedBucketOwner })));
  assert.deepEqual([await list(ACCOUNT), await list('370000000038')], ['allowed', 'AccessDenied']);
});

const LIFECYCLE = 'https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html';
test(`a lifecycle rule expires what is older than its days, below its prefix, at midnight (${LIFECYCLE})`, async () => {
  const rule = { Status: 'Enabled', Filter: { Prefix: 'uploads/' }, Expiration: { Days: 3 } } as const;
  await s3.send(
    new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules: [{ ...rule, ID: 'x' }] } }),
  );
  for (const Key of ['uploads/a', 'kept']) await s3.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }));
  const there = async () =>
    (await s3.send(new ListObjectsV2Command({ Bucket })))
      .Contents!.map((one) => one.Key)
      .filter((key) => key !== 'a.txt');
  await rehearsal.skip(2 * 86_400);
  await s3.send(new PutObjectCommand({ Bucket, Key: 'uploads/b', Body: 'x' }));
  assert.ok((await there()).includes('uploads/a'));
  await rehearsal.skip(2 * 86_400);
  assert.deepEqual(
    (await there()).filter((key) => key === 'kept' || key!.startsWith('uploads/')),
    ['kept', 'uploads/b'],
  );
});

const REGISTRY = 'https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html';
const PUSHING = 'https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html';
const HOST = `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com`;
const registry = (credentials: Credentials) => new ECRClient(options(credentials));
async function login(ecr: ECRClient): Promise<Pick<Push, 'username' | 'password'>> {
  const { authorizationData } = await ecr.send(new GetAuthorizationTokenCommand({}));
  const [username, password] = Buffer.from(authorizationData![0]!.authorizationToken!, 'base64').toString().split(':');
  return { username: username!, password: password! };
}
const pushed = (repository: string, who: Pick<Push, 'username' | 'password'>, tag = 'latest') =>
  push(rehearsal, { repository: `${HOST}/${repository}`, tag, image: 'stub', env: { tag }, ...who });

test(`docker push with a token ends in an image, also a second time (${REGISTRY})`, async () => {
  const ecr = registry(rehearsal.root(ACCOUNT));
  await ecr.send(new CreateRepositoryCommand({ repositoryName: 'team/app' }));
  const digest = await pushed('team/app', await login(ecr));
  assert.equal(await pushed('team/app', await login(ecr)), digest);
  const found = await ecr.send(new DescribeImagesCommand({ repositoryName: 'team/app' }));
  assert.deepEqual(
    found.imageDetails!.map((one) => [one.imageDigest, one.imageTags]),
    [[digest, ['latest']]],
  );
});

test(`the registry's user is AWS, and its password a token (${REGISTRY})`, async () => {
  const who = await login(registry(rehearsal.root(ACCOUNT)));
  for (const wrong of [
    { ...who, username: 'oauth2accesstoken' },
    { ...who, password: 'x' },
  ])
    await assert.rejects(pushed('team/app', wrong), /GET \/v2\/: 401 .*UNAUTHORIZED/);
  const { status, headers } = await rehearsal.fetch(`http://${HOST}/v2/`);
  assert.equal(status, 401);
  assert.match(headers.get('www-authenticate')!, /^Basic realm=/);
});

test(`another account's registry takes no token of this one, not even root's (${REGISTRY})`, async () => {
  const theirs = { username: 'AWS', password: (await login(registry(rehearsal.root('370000000038')))).password };
  await assert.rejects(pushed('team/app', theirs), /403 .*:root is not authorized to perform: ecr:/);
});

test(`who pushes needs the rights of each step, on that repository (${PUSHING})`, async () => {
  const STEPS = [
    'BatchCheckLayerAvailability',
    'InitiateLayerUpload',
    'UploadLayerPart',
    'CompleteLayerUpload',
    'PutImage',
  ];
  const user = async (label: string, steps: string[], on = 'team/rights') => {
    const repository = `arn:aws:ecr:${REGION}:${ACCOUNT}:repository/${on}`;
    const Statement = [
      { Effect: 'Allow', Action: 'ecr:GetAuthorizationToken', Resource: '*' },
      { Effect: 'Allow', Action: steps.map((step) => `ecr:${step}`), Resource: repository },
    ];
    return login(registry(await rehearsal.createUser(ACCOUNT, label, { Version: '2012-10-17', Statement })));
  };
  await registry(rehearsal.root(ACCOUNT)).send(new CreateRepositoryCommand({ repositoryName: 'team/rights' }));
  for (const step of STEPS.slice(1)) {
    const most = await user(
      `without-${step}`,
      STEPS.filter((one) => one !== step),
    );
    const why = new RegExp(`403 .*user/without-${step} is not authorized to perform: ecr:${step} on resource: `);
    await assert.rejects(pushed('team/rights', most), why);
  }
  await assert.rejects(pushed('team/rights', await user('elsewhere', STEPS, 'team/app')), /403 .*InitiateLayerUpload/);
  await pushed('team/rights', await user('pusher', STEPS));
});

test(`a repository that is not there, and a tag that cannot be moved (${PUSHING})`, async () => {
  const ecr = registry(rehearsal.root(ACCOUNT));
  const who = await login(ecr);
  await assert.rejects(pushed('none', who), /404 .*NAME_UNKNOWN/);
  const fixed = { repositoryName: 'fixed', imageTagMutability: 'IMMUTABLE' } as const;
  await ecr.send(new CreateRepositoryCommand(fixed));
  await pushed('fixed', who, 'v1');
  const other = { repository: `${HOST}/fixed`, tag: 'v1', image: 'other', ...who };
  await assert.rejects(push(rehearsal, other), /400 .*TAG_INVALID/);
});

const SESSION = 'https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session';
test(`a token has the rights of its session, cut by the session's policy, and ends with it (${SESSION})`, async () => {
  const iam = new IAMClient(options(rehearsal.root(ACCOUNT)));
  const user = await rehearsal.createUser(ACCOUNT, 'lender', {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Resource: '*' }],
  });
  const Principal = { AWS: `arn:aws:iam::${ACCOUNT}:user/lender` };
  const allow = (Statement: object) => JSON.stringify({ Version: '2012-10-17', Statement });
  const { Role } = await iam.send(
    new CreateRoleCommand({
      RoleName: 'pushes',
      AssumeRolePolicyDocument: allow({ Effect: 'Allow', Principal, Action: 'sts:AssumeRole' }),
    }),
  );
  const everything = allow({ Effect: 'Allow', Action: 'ecr:*', Resource: '*' });
  await iam.send(new PutRolePolicyCommand({ RoleName: 'pushes', PolicyName: 'p', PolicyDocument: everything }));
  await rehearsal.settle();
  const session = async (Policy: string) => {
    const { Credentials: given } = await new STSClient(options(user)).send(
      new AssumeRoleCommand({ RoleArn: Role!.Arn!, RoleSessionName: 'lent', DurationSeconds: 900, Policy }),
    );
    const credentials = { accessKeyId: given!.AccessKeyId!, secretAccessKey: given!.SecretAccessKey! };
    return login(registry({ ...credentials, sessionToken: given!.SessionToken! }));
  };
  const one = [
    { Effect: 'Allow', Action: 'ecr:GetAuthorizationToken', Resource: '*' },
    { Effect: 'Allow', Action: 'ecr:*', Resource: `arn:aws:ecr:${REGION}:${ACCOUNT}:repository/team/app` },
  ];
  const who = await session(allow(one));
  await pushed('team/app', who, 'lent');
  const why = /403 .*assumed-role\/pushes\/lent is not authorized .* because no session policy allows/;
  await assert.rejects(pushed('team/rights', who), why);
  const nothing = allow({ Effect: 'Allow', Action: 's3:*', Resource: '*' });
  await assert.rejects(session(nothing), { name: 'AccessDeniedException' });
  await rehearsal.skip(901);
  await assert.rejects(pushed('team/app', who, 'late'), /403 .*authorization token has expired/);
});

const put = (input: Partial<PutParameterCommandInput>) =>
  ssm.send(new PutParameterCommand({ Name: '/a/b', Value: 'x', Type: 'String', ...input }));
const NAMES = 'https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html';
const PUT = 'https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html';

test(`a parameter is there once; overwriting makes a version (${PUT})`, async () => {
  assert.equal((await put({ Name: '/once', Value: '1' })).Version, 1);
  assert.equal(await name(put({ Name: '/once', Value: '2' })), 'ParameterAlreadyExists');
  assert.equal((await put({ Name: '/once', Value: '2', Overwrite: true })).Version, 2);
  const first = await ssm.send(new GetParameterCommand({ Name: '/once:1' }));
  assert.deepEqual([first.Parameter!.Value, first.Parameter!.Version], ['1', 1]);
  const history = await ssm.send(new GetParameterHistoryCommand({ Name: '/once' }));
  assert.deepEqual(
    history.Parameters!.map((one) => one.Value),
    ['1', '2'],
  );
});

const REFUSED: [string, Partial<PutParameterCommandInput>, string, string][] = [
  ['5 KB in the standard tier', { Name: '/large', Value: 'x'.repeat(4097) }, 'ValidationException', PUT],
  [
    '9 KB in the advanced tier',
    { Name: '/large', Value: 'x'.repeat(8193), Tier: 'Advanced' },
    'ValidationException',
    PUT,
  ],
  ['a name that begins with aws', { Name: 'aws-own' }, 'AccessDeniedException', NAMES],
  ['a name with a space', { Name: '/a b' }, 'ValidationException', NAMES],
  ['sixteen levels', { Name: '/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16' }, 'HierarchyLevelLimitExceededException', PUT],
  ['no type', { Name: '/untyped', Type: undefined }, 'ValidationException', PUT],
  [
    'another type for the same parameter',
    { Name: '/once', Type: 'StringList', Overwrite: true },
    'HierarchyTypeMismatchException',
    PUT,
  ],
];
for (const [what, input, error, page] of REFUSED)
  test(`Parameter Store refuses ${what} (${page})`, async () => assert.equal(await name(put(input)), error));

test(`8 KB fit the advanced tier (${PUT})`, async () =>
  assert.equal((await put({ Name: '/fits', Value: 'x'.repeat(8192), Tier: 'Advanced' })).Tier, 'Advanced'));

const HISTORY = 'https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ParameterHistory.html';
test(`a parameter's history says who has written each version, of the last hundred (${HISTORY})`, async () => {
  const Statement = [{ Effect: 'Allow', Action: 'ssm:PutParameter', Resource: '*' }];
  const other = await rehearsal.createUser(ACCOUNT, 'writer', { Version: '2012-10-17', Statement });
  const writer = new SSMClient(options(other));
  await put({ Name: '/written' });
  await writer.send(new PutParameterCommand({ Name: '/written', Value: '2', Overwrite: true }));
  const written = async () => (await ssm.send(new GetParameterHistoryCommand({ Name: '/written' }))).Parameters!;
  const users = (await written()).map((one) => one.LastModifiedUser!.split(':').at(-1));
  assert.equal(users[1], 'user/writer');
  assert.notEqual(users[0], users[1]);
  for (let n = 3; n <= 101; n += 1) await put({ Name: '/written', Value: `${n}`, Overwrite: true });
  assert.equal((await written())[0]!.Version, 2);
});

test(`a value has to be as the parameter's pattern says, whoever writes it (${PUT})`, async () => {
  await put({ Name: '/pattern', Value: 'on', AllowedPattern: '^(on|off)$' });
  const change = (Value: string) => put({ Name: '/pattern', Value, Overwrite: true });
  assert.equal(await name(change('of')), 'ParameterPatternMismatchException');
  assert.equal(await name(change('off')), 'allowed');
  assert.equal(await name(change('of')), 'ParameterPatternMismatchException');
});

const PATHS = 'https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html';
test(`a path's parameters come ten at a time, a level or all below (${PATHS})`, async () => {
  for (let n = 0; n < 12; n++) await put({ Name: `/path/p${n}` });
  await put({ Name: '/path/deep/q' });
  const page = (Recursive: boolean, NextToken?: string) =>
    ssm.send(new GetParametersByPathCommand({ Path: '/path', Recursive, ...(NextToken ? { NextToken } : {}) }));
  const first = await page(false);
  assert.equal(first.Parameters!.length, 10);
  const second = await page(false, first.NextToken);
  assert.equal(second.Parameters!.length, 2);
  assert.equal(second.NextToken, undefined);
  const all = await page(true);
  assert.equal((await page(true, all.NextToken)).Parameters!.length, 3);
  assert.equal(
    await name(ssm.send(new GetParametersByPathCommand({ Path: '/path', MaxResults: 11 }))),
    'ValidationException',
  );
});

const GET = 'https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html';
test(`what is not there is named (${GET})`, async () => {
  const { Parameters, InvalidParameters } = await ssm.send(new GetParametersCommand({ Names: ['/once', '/none'] }));
  assert.deepEqual([Parameters!.map((one) => one.Name), InvalidParameters], [['/once'], ['/none']]);
  assert.equal(await name(ssm.send(new GetParameterCommand({ Name: '/none' }))), 'ParameterNotFound');
  assert.equal(await name(ssm.send(new DeleteParameterCommand({ Name: '/none' }))), 'ParameterNotFound');
});

const ACCESS = 'https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-access.html';
test(`rights on a parameter are asked by its ARN (${ACCESS})`, async () => {
  const reader = new SSMClient(
    options(
      await rehearsal.createUser(ACCOUNT, 'reader', {
        Version: '2012-10-17',
        Statement: [
          { Effect: 'Allow', Action: 'ssm:GetParameter*', Resource: `arn:aws:ssm:${REGION}:${ACCOUNT}:parameter/once` },
        ],
      }),
    ),
  );
  assert.equal(await name(reader.send(new GetParameterCommand({ Name: '/once' }))), 'allowed');
  assert.equal(await name(reader.send(new GetParameterCommand({ Name: '/fits' }))), 'AccessDeniedException');
  assert.equal(await name(reader.send(new GetParametersByPathCommand({ Path: '/path' }))), 'AccessDeniedException');
});
