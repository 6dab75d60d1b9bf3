import {
  CreateRepositoryCommand,
  DeleteRepositoryCommand,
  DescribeRepositoriesCommand,
  GetAuthorizationTokenCommand,
  ListTagsForResourceCommand,
  type Repository,
} from '@aws-sdk/client-ecr';
import type { Accounts, Session } from '../aws/account.ts';
import { arn, changesOurs, createsOurs, ours } from '../aws/arn.ts';
import { hasCode } from '../aws/errors.ts';
import { names, shortId } from '../aws/names.ts';
import { ownerTags, requireOurs, tagList, tagRecord } from '../aws/tags.ts';
import type { Place } from '../place.ts';
import type { Cx, Kind } from '../resource.ts';

export interface RepositoryInputs {
  readonly name: string;
}

/** The node's id. */
export const REPOSITORY = 'repository';

/**
 * What `docker push` asks for: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html. Nothing here
 * downloads a layer, so nobody reads through us what is in an image.
 */
const PUSH = [
  'ecr:BatchCheckLayerAvailability',
  'ecr:BatchGetImage',
  'ecr:CompleteLayerUpload',
  'ecr:InitiateLayerUpload',
  'ecr:PutImage',
  'ecr:UploadLayerPart',
];
const TOKEN = ['ecr:GetAuthorizationToken'];

/**
 * Where the images of one deployment are pushed; removed with the deployment and all of them. Tags can be moved, as
 * clients push one name again and again: revisions name digests. Nothing expires: a rule of ECR's cannot know which
 * image serves.
 */
export const repository: Kind<RepositoryInputs, Record<never, never>, { arn: string; uri: string }> = {
  kind: 'repository',
  iam: (scope) => {
    const resources = [arn(scope, 'ecr', `repository/${scope.prefix}/${ours(scope).slug}`)];
    return [
      {
        actions: ['ecr:DescribeRepositories', 'ecr:ListTagsForResource'],
        resources,
        why: 'sees whose a repository is',
      },
      {
        actions: ['ecr:CreateRepository', 'ecr:TagResource'],
        resources,
        conditions: createsOurs(scope),
        why: "makes a deployment's repository, tagged from the start",
      },
      {
        actions: ['ecr:DeleteRepository'],
        resources,
        conditions: changesOurs(scope),
        why: 'removes the repository of a deleted deployment, with its images',
      },
      { actions: TOKEN, resources: ['*'], why: 'asks for push tokens; AWS has no narrower scope' },
      {
        actions: PUSH,
        resources,
        conditions: changesOurs(scope),
        why: "what a push token passes on, each for one deployment's repository; layers cannot be read",
      },
    ];
  },
  pollSeconds: 2,
  limitSeconds: 300,

  async observe(cx, { name }) {
    const found = await find(cx, name);
    return found === undefined ? { is: 'absent' } : { is: 'ready', live: {}, out: outOf(found) };
  },

  diff: () => [],

  async converge(cx, { name }) {
    await make(cx, name);
  },

  async remove({ aws }, { name }) {
    try {
      await aws.ecr.send(new DeleteRepositoryCommand({ repositoryName: name, force: true }));
    } catch (error) {
      if (!hasCode(error, 'RepositoryNotFoundException')) throw error;
    }
  },
};

const outOf = ({ repositoryArn, repositoryUri }: Repository) => ({ arn: repositoryArn!, uri: repositoryUri! });

type At = Pick<Cx, 'aws' | 'tags'>;

async function find({ aws, tags }: At, name: string): Promise<Repository | undefined> {
  try {
    const { repositories } = await aws.ecr.send(new DescribeRepositoriesCommand({ repositoryNames: [name] }));
    const found = repositories?.[0];
    if (found === undefined) return undefined;
    const theirs = await aws.ecr.send(new ListTagsForResourceCommand({ resourceArn: found.repositoryArn! }));
    requireOurs(tagRecord(theirs.tags), tags, name);
    return found;
  } catch (error) {
    if (hasCode(error, 'RepositoryNotFoundException')) return undefined;
    throw error;
  }
}

async function make({ aws, tags }: At, name: string): Promise<Repository | undefined> {
  try {
    const made = await aws.ecr.send(new CreateRepositoryCommand({ repositoryName: name, tags: tagList(tags) }));
    return made.repository;
  } catch (error) {
    if (hasCode(error, 'RepositoryAlreadyExistsException')) return undefined; // whose it is, the next look sees
    throw error;
  }
}

export interface PushToken {
  /** The password of `docker login`. */
  readonly token: string;
  readonly username: string;
  /** Host name of the registry. */
  readonly registry: string;
  /** With the registry's host name, without a tag. */
  readonly repository: string;
}

/**
 * Lets somebody push to the deployment's own repository, making it when it is not there yet. The token is ECR's own, of
 * a session that may do nothing else.
 * @param session that may make it
 * @throws Terminal when a repository of that name exists and is not the deployment's
 */
export async function pushToken(
  accounts: Accounts,
  place: Place,
  deployment: { readonly id: string; readonly name: string },
  fence: Cx['fence'] = () => Promise.resolve(),
  session: Session = { name: `freehold-${shortId(deployment.id)}` },
): Promise<PushToken> {
  const name = names(place, deployment).repository;
  const tags = ownerTags(place, deployment.id, REPOSITORY);
  const aws = await accounts.enter(place, session);
  const at = { aws, tags };
  let found = await find(at, name);
  if (found === undefined) {
    await fence();
    found = (await make(at, name)) ?? (await find(at, name));
  }
  const { arn: resource, uri } = outOf(found!);
  const lent = await accounts.lend(place, { ...session, name: `freehold-push-${shortId(deployment.id)}` }, [
    { actions: TOKEN, resources: ['*'] },
    { actions: PUSH, resources: [resource] },
  ]);
  const { authorizationData } = await lent.ecr.send(new GetAuthorizationTokenCommand({}));
  const [username, token] = Buffer.from(authorizationData![0]!.authorizationToken!, 'base64').toString().split(':');
  return { token: token!, username: username!, registry: uri.split('/')[0]!, repository: uri };
}
