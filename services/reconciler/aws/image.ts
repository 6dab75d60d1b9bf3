/** An image as a user names it, resolved to the one thing that a name can never be moved away from: its digest. */
import { DescribeImagesCommand } from '@aws-sdk/client-ecr';
import type { Account } from './account.ts';
import { Terminal, hasCode, isDenied } from './errors.ts';

const ECR =
  /^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?\/([a-z0-9][a-z0-9._/-]*?)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$/;

export interface ImageName {
  readonly registry: string;
  readonly account: string;
  readonly region: string;
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

/** Undefined when it is no name of an image in an ECR. */
export function parseImage(uri: string): ImageName | undefined {
  const [, account, region, cn, repository, tag, digest] = ECR.exec(uri) ?? [];
  if (account === undefined || region === undefined || repository === undefined) return undefined;
  return {
    registry: `${account}.dkr.ecr.${region}.amazonaws.com${cn ?? ''}`,
    account,
    region,
    repository,
    tag,
    digest,
  };
}

/**
 * Looks the image up in the place's own ECR.
 * @returns the same image by digest; in an original place, whose role may not look, as it was given
 * @throws Terminal, saying what to do, when the name is not of this account's ECR or nothing is found under it
 */
export async function resolveImage(
  aws: Account,
  place: { readonly accountId: string; readonly region: string; readonly original?: true },
  uri: string,
): Promise<{ uri: string; digest: string | undefined }> {
  const image = parseImage(uri);
  const registry = `${place.accountId}.dkr.ecr.${place.region}.amazonaws.com`;
  if (image === undefined) {
    throw new Terminal(
      `not an image in ECR: "${uri}": push it to this account's ECR and give "${registry}/<repository>:<tag>", or with ` +
        '"@sha256:<64 hex digits>" in place of the tag',
    );
  }
  if (image.account !== place.accountId || image.region !== place.region) {
    throw new Terminal(
      `not an image of this place: "${uri}": it must be in account ${place.accountId}, region ${place.region}: ` +
        `push it to "${registry}/${image.repository}"`,
    );
  }
  const { repository, digest } = image;
  const tag = image.tag ?? 'latest';
  const imageId = digest === undefined ? { imageTag: tag } : { imageDigest: digest };
  const which = digest === undefined ? `tag "${tag}"` : `digest "${digest}"`;
  try {
    const found = await aws.ecr.send(
      new DescribeImagesCommand({ registryId: image.account, repositoryName: repository, imageIds: [imageId] }),
    );
    const resolved = found.imageDetails?.[0]?.imageDigest;
    if (resolved === undefined) throw imageMissing(repository, which);
    return { uri: `${image.registry}/${repository}@${resolved}`, digest: resolved };
  } catch (error) {
    if (place.original && isDenied(error)) return { uri, digest };
    if (hasCode(error, 'RepositoryNotFoundException')) {
      throw new Terminal(
        `no such repository in ECR: "${repository}": make it in account ${place.accountId}, region ${place.region}, ` +
          'and push the image to it',
      );
    }
    if (hasCode(error, 'ImageNotFoundException')) throw imageMissing(repository, which);
    throw error;
  }
}

const imageMissing = (repository: string, which: string): Terminal =>
  new Terminal(`no such image in ECR: "${repository}" has no ${which}: push it, or give one that is there`);
