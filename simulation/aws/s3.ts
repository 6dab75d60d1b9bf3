/** The place's bucket, with the archives that were uploaded. S3 shows at once what was written. */
import { DeleteObjectsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { Refused, Table } from './operation.ts';
import type { Thing, World } from './world.ts';

const TYPE = 's3:object';
const PAGE = 1000;

export class S3 {
  readonly table = new Table();
  readonly #world: World;
  readonly #bucket: string;
  readonly #objects = new Map<string, { readonly bytes: number; readonly thing: Thing }>();

  constructor(world: World, bucket: string) {
    this.#world = world;
    this.#bucket = bucket;
    this.table
      .read(
        ListObjectsV2Command,
        'Prefix Bucket ExpectedBucketOwner',
        ({ Prefix = '', Bucket, ExpectedBucketOwner }) => {
          this.#owned(Bucket, ExpectedBucketOwner);
          const keys = [...this.#objects].filter(([key]) => key.startsWith(Prefix));
          const Contents = keys.slice(0, PAGE).map(([Key, { bytes }]) => ({ Key, Size: bytes }));
          return {
            Contents: Contents.length > 0 ? Contents : undefined,
            KeyCount: Contents.length,
            IsTruncated: keys.length > PAGE,
          };
        },
      )
      .write(DeleteObjectsCommand, 'Bucket ExpectedBucketOwner Delete', ({ Bucket, ExpectedBucketOwner, Delete }) => {
        this.#owned(Bucket, ExpectedBucketOwner);
        for (const { Key } of Delete?.Objects ?? []) this.#remove(Key!);
        return {};
      });
  }

  put(key: string, bytes: number): void {
    this.#remove(key);
    const thing = this.#world.made(TYPE, `arn:aws:s3:::${this.#bucket}/${key}`, key, {});
    this.#objects.set(key, { bytes, thing });
  }

  delete(arn: string): void {
    this.#remove(arn.slice(`arn:aws:s3:::${this.#bucket}/`.length));
  }

  #remove(key: string): void {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    this.#world.gone(object.thing);
  }

  #owned(bucket: string | undefined, owner: string | undefined): void {
    if (bucket !== this.#bucket) throw new Refused('NoSuchBucket', 'The specified bucket does not exist', 404);
    if (owner !== undefined && owner !== this.#world.id) throw new Refused('AccessDenied', 'Access Denied', 403);
  }
}
