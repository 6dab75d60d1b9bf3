import { randomBytes } from 'node:crypto';
import type { Kind } from '../resource.ts';
import { findOurs, make, remove, secretGrants } from './secrets.ts';

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
  calls: () => ({ observe: 1, create: 1, change: 0, remove: 1 }),
  cost: () => [{ what: 'secret', count: 1 }],

  async observe(cx, inputs) {
    const found = await findOurs(cx, inputs.name);
    if (found === undefined) return { is: 'absent' };
    return { is: 'ready', live: { arn: found.ARN! }, out: { arn: found.ARN! } };
  },

  diff: () => [],

  async converge(cx, { name, host, port }) {
    const password = randomBytes(24).toString('hex');
    const value = { password, uri: `redis://:${password}@${host}:${port}/0` };
    const Description = 'Password and URI of the deployment’s Redis';
    await make(cx, { Name: name, Description, SecretString: JSON.stringify(value) });
  },

  remove: ({ aws }, inputs) => remove(aws, inputs.name),
};
