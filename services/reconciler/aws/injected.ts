/**
 * Secrets of the customer's own that servers may be given: those alone that the customer tagged for it. Found by name,
 * handed to ECS by ARN, never read.
 */
import { DescribeSecretCommand } from '@aws-sdk/client-secrets-manager';
import type { Account } from './account.ts';
import { arn } from './arn.ts';
import { Terminal, hasCode, isDenied } from './errors.ts';
import type { Grant, Scope } from './grant.ts';
import { TAG, tagRecord } from './tags.ts';

/**
 * Both may be conditioned on the secret's tags: Service Authorization Reference, "Actions, resources, and condition
 * keys for AWS Secrets Manager".
 */
export const injectable = (prefix: string) => ({ StringEquals: { [`aws:ResourceTag/${TAG.inject}`]: prefix } });

export const injectedGrants = (scope: Scope): Grant[] => [
  {
    actions: ['secretsmanager:DescribeSecret'],
    resources: [arn(scope, 'secretsmanager', 'secret:*')],
    conditions: injectable(scope.prefix),
    why: "finds a secret of the customer's own that the customer tagged for injection; never its value",
  },
];

interface Where {
  readonly accountId: string;
  readonly region: string;
  readonly prefix: string;
  readonly original?: true;
}

const ARN = /^arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):(\d{12}):secret:(.+)$/;

/**
 * @param secretName its name or ARN
 * @param key in the secret's JSON; null: the whole secret
 * @returns its whole ARN
 * @throws Terminal, saying what to do, when there is none that may be injected
 */
export async function findInjectable(
  aws: Account,
  place: Where,
  secretName: string,
  key: string | null,
): Promise<string> {
  // ECS takes the ARN, the key and the version apart at the colons.
  if (key?.includes(':')) throw new Terminal(`not a key that ECS can take out of a secret: "${key}": it has a colon`);
  const [, region, account, path = secretName] = ARN.exec(secretName) ?? [];
  if (region !== undefined && (region !== place.region || account !== place.accountId))
    throw new Terminal(
      `not a secret of this place: "${secretName}": it must be in account ${place.accountId}, region ${place.region}`,
    );
  if (path.startsWith(`${place.prefix}/`)) throw deploymentsOwn(secretName);

  const found = await look(aws, place, secretName);
  const tags = tagRecord(found.Tags);
  // Whoever could name another deployment's secrets would read them.
  if (TAG.place in tags) throw deploymentsOwn(secretName);
  if (tags[TAG.inject] !== place.prefix) throw untagged(place, secretName);
  if (place.original && !(TAG.original in tags))
    throw new Terminal(
      `a secret that servers there cannot be given: "${secretName}": the place's execution role reads only secrets with the ` +
        `tag "${TAG.original}"`,
    );
  if (found.DeletedDate !== undefined)
    throw new Terminal(`the secret is about to be deleted: "${secretName}": restore it, or name another one`);
  return found.ARN!;
}

async function look(aws: Account, place: Where, SecretId: string) {
  try {
    return await aws.secrets.send(new DescribeSecretCommand({ SecretId }));
  } catch (error) {
    // Without the tag we may not even see whether it exists, and what does not exist has no tag.
    if (isDenied(error) || hasCode(error, 'ResourceNotFoundException')) throw untagged(place, SecretId);
    throw error;
  }
}

const untagged = ({ accountId, region, prefix }: Where, name: string): Terminal =>
  new Terminal(
    `no secret that may be injected: "${name}": it must be in account ${accountId}, region ${region}, and have the tag ` +
      `"${TAG.inject}" = "${prefix}"`,
  );

const deploymentsOwn = (name: string): Terminal =>
  new Terminal(`a deployment's own secret: "${name}": name one that you made`);
