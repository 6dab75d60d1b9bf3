import { DeleteObjectsCommand, ListObjectsV2Command, type ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';
import { randomUUID } from 'node:crypto';
import type { Account, Accounts, Session } from '../aws/account.ts';
import { ours } from '../aws/arn.ts';
import { NotOurs, Terminal, hasCode, noteCall } from '../aws/errors.ts';
import type { Scope } from '../aws/grant.ts';
import { shortId } from '../aws/names.ts';
import { TAG } from '../aws/tags.ts';
import type { Place } from '../place.ts';
import type { Kind } from '../resource.ts';

export interface UploadsInputs {
  readonly bucket: string;
  /** What the keys of this deployment's archives begin with. */
  readonly name: string;
}

/** The row's id. */
export const UPLOADS = 'uploads';
/** As clients refuse themselves to send more. */
export const ARCHIVE_BYTES = 200 * 1024 * 1024;
const CONTENT_TYPE = 'application/gzip';
/** Clients begin at once, and a request that has begun may go on. */
const URL_SECONDS = 600;

const folder = (deploymentId: string): string => `uploads/${deploymentId}/`;

/**
 * The archives of source code that were uploaded for a deployment. In no graph: requests make them, and a delete
 * removes those that have not expired. The bucket is the stack's; whose an archive is says its key. Nothing here reads
 * one.
 */
export const uploads: Kind<UploadsInputs, { keys: string[] }, Record<never, never>> = {
  kind: 'uploads',
  iam: (scope) =>
    scope.uploadBucket === undefined
      ? []
      : [
          {
            actions: ['s3:ListBucket'],
            resources: [bucketArn(scope, scope.uploadBucket)],
            conditions: { StringLike: { 's3:prefix': `uploads/${ours(scope).folder}` }, ...inThisAccount(scope) },
            why: 'sees which archives were uploaded, and how large they are',
          },
          {
            actions: ['s3:DeleteObject', 's3:PutObject'],
            resources: [`${bucketArn(scope, scope.uploadBucket)}/uploads/${ours(scope).folder}`],
            conditions: inThisAccount(scope),
            why: 'signs the URL of each upload, and removes the archives of a deleted deployment; none can be read',
          },
        ],
  pollSeconds: 2,
  limitSeconds: 300,

  async observe({ aws, tags }, { bucket, name }) {
    if (name !== folder(tags[TAG.deployment]!)) throw new NotOurs(`exists and is not ours: "${name}"`);
    const { Contents = [] } = await list(aws, bucket, name);
    const keys = Contents.map((object) => object.Key!);
    return keys.length === 0 ? { is: 'absent' } : { is: 'ready', live: { keys }, out: {} };
  },

  diff: () => [],

  converge: () => Promise.resolve(),

  /** As many as one look finds: 1,000. */
  async remove({ aws }, { bucket }, { keys }) {
    const Delete = { Objects: keys.map((Key) => ({ Key })), Quiet: true };
    const { Errors = [] } = await aws.s3.send(
      new DeleteObjectsCommand({ Bucket: bucket, ExpectedBucketOwner: aws.id, Delete }),
    );
    const [first] = Errors;
    if (first === undefined) return;
    const error = Object.assign(new Error(first.Message), { name: first.Code });
    noteCall(error, 's3:DeleteObject'); // the call as a whole went well
    throw error;
  },
};

const bucketArn = (scope: Pick<Scope, 'partition'>, bucket: string): string => `arn:${scope.partition}:s3:::${bucket}`;

/** A bucket's name is free for everybody once the bucket is gone: archives must not go to somebody else's. */
const inThisAccount = (scope: Scope) => ({ StringEquals: { 'aws:ResourceAccount': scope.account } });

/** Nothing, when the stack and its bucket are gone. */
async function list(aws: Account, Bucket: string, Prefix: string): Promise<Partial<ListObjectsV2CommandOutput>> {
  try {
    return await aws.s3.send(new ListObjectsV2Command({ Bucket, Prefix, ExpectedBucketOwner: aws.id }));
  } catch (error) {
    if (hasCode(error, 'NoSuchBucket')) return {};
    throw error;
  }
}

/** Those that were uploaded for any deployment, a thousand at most: enough to say that some are left. */
export const archivesIn = async (aws: Account, bucket: string): Promise<string[]> =>
  ((await list(aws, bucket, 'uploads/')).Contents ?? []).map((object) => object.Key!);

export const uploadsOf = (bucket: string, deploymentId: string): UploadsInputs => ({
  bucket,
  name: folder(deploymentId),
});

export interface Upload {
  /** Takes one PUT, with these headers, within minutes. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** What a revision calls the archive. */
  readonly path: string;
}

/** @throws Terminal when the place has no bucket */
export async function uploadUrl(
  accounts: Accounts,
  place: Place,
  deployment: { readonly id: string },
  session: Omit<Session, 'name'> = {},
): Promise<Upload> {
  const bucket = bucketOf(place);
  const path = `${folder(deployment.id)}${randomUUID()}.tar.gz`;
  const url = await accounts.presignPut(
    place,
    { ...session, name: `freehold-upload-${shortId(deployment.id)}` },
    { bucket, key: path, contentType: CONTENT_TYPE },
    URL_SECONDS,
  );
  return { url, headers: { 'Content-Type': CONTENT_TYPE }, path };
}

/**
 * Whether a revision may name this archive: it was issued for this deployment, was uploaded, and is not too large. What
 * is in it nobody outside the account sees.
 * @throws Terminal with the cause and what to do
 */
export async function checkUpload(
  aws: Account,
  place: Place,
  deployment: { readonly id: string },
  path: string,
): Promise<void> {
  const bucket = bucketOf(place);
  if (!path.startsWith(folder(deployment.id)) || !/^uploads\/[^/]+\/[0-9a-f-]{36}\.tar\.gz$/.test(path))
    throw new Terminal(`not issued for this deployment: "${path}": ask for an upload URL, and give its object_path`);
  const why = refusal(path, (await list(aws, bucket, path)).Contents?.find((object) => object.Key === path)?.Size);
  if (why !== undefined) throw new Terminal(why);
}

/** Why an archive of so many bytes cannot be built from; undefined bytes are none at all. */
export function refusal(path: string, bytes: number | undefined): string | undefined {
  if (bytes === undefined)
    return `not uploaded: "${path}": put the archive to its upload URL first; archives expire after days`;
  if (bytes === 0) return `empty: "${path}": upload a .tar.gz`;
  if (bytes > ARCHIVE_BYTES)
    return `too large: "${path}": it has ${bytes} bytes, and ${ARCHIVE_BYTES} (200 MB) are the most`;
  return undefined;
}

function bucketOf({ uploadBucket }: Place): string {
  if (uploadBucket === undefined)
    throw new Terminal(
      "this place has no bucket for uploads: deploy the customer's stack again and register its output, or give an image",
    );
  return uploadBucket;
}
