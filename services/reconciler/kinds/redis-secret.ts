import { CreateSecretCommand } from '@aws-sdk/client-secrets-manager';
import { randomBytes, randomUUID } from 'node:crypto';
import { isAlreadyExists } from '../aws/errors.ts';
import { requireOurs, tagList, tagRecord } from '../aws/tags.ts';
import type { Kind } from '../resource.ts';
import { describe, isInRecovery, remove, restore, secretGrants } from './secrets.ts';

export interface RedisSecretInputs {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

interface Live {
  readonly arn: string;
}

/** Redis' password, made once: `{"password", "uri"}`. Both Redis and the server read it when they start. */
export const redisSecret: Kind<RedisSecretInputs, Live, { arn: string }> = {
  kind: 'redis-secret',
  iam: secretGrants,
  pollSeconds: 2,
  limitSeconds: 300,

  async observe({ aws, tags }, inputs) {
    const found = await describe(aws, inputs.name);
    if (found === undefined || found.DeletedDate !== undefined) return { is: 'absent' };
    requireOurs(tagRecord(found.Tags), tags, inputs.name);
    return { is: 'ready', live: { arn: found.ARN! }, out: { arn: found.ARN! } };
  },

  diff: () => [],

  async converge({ aws, tags }, { name, host, port }) {
    const password = randomBytes(24).toString('hex');
    const value = { password, uri: `redis://:${password}@${host}:${port}/0` };
    try {
      await aws.secrets.send(
        new CreateSecretCommand({
          Name: name,
          Description: 'Password and URI of the deployment’s Redis',
          ClientRequestToken: randomUUID(),
          SecretString: JSON.stringify(value),
          Tags: tagList(tags),
        }),
      );
    } catch (error) {
      if (isInRecovery(error)) await restore(aws, name);
      else if (!isAlreadyExists(error, 'ResourceExistsException')) throw error;
    }
  },

  remove: ({ aws }, inputs) => remove(aws, inputs.name),
};
