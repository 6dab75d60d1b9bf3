import { randomBytes } from 'node:crypto';
import type { Kind } from '../resource.ts';
import {
  endProvisioning,
  findOurs,
  make,
  provisionalIn,
  provisioningOf,
  remove,
  secretGrants,
  type Served,
} from './secrets.ts';

export interface RedisSecretInputs extends Served {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

interface Live {
  readonly arn: string;
  readonly isProvisional: boolean;
}

/** Redis' password, made once: `{"password", "uri"}`. Both Redis and the server read it when they start. */
export const redisSecret: Kind<RedisSecretInputs, Live, { arn: string }> = {
  kind: 'redis-secret',
  iam: secretGrants,
  pollSeconds: 2,
  limitSeconds: 300,
  calls: () => ({ observe: 1, create: 1, change: 1, remove: 1 }),
  cost: () => [{ what: 'secret', count: 1 }],

  async observe(cx, inputs) {
    const found = await findOurs(cx, inputs.name);
    if (found === undefined) return { is: 'absent' };
    const live = { arn: found.ARN!, isProvisional: provisionalIn(found) };
    return { is: 'ready', live, out: { arn: live.arn } };
  },

  diff: provisioningOf,

  async converge(cx, { name, host, port }, live) {
    if (live !== undefined) return endProvisioning(cx.aws, name);
    const password = randomBytes(24).toString('hex');
    const value = { password, uri: `redis://:${password}@${host}:${port}/0` };
    const Description = 'Password and URI of the deployment’s Redis';
    await make(cx, { Name: name, Description, SecretString: JSON.stringify(value) });
  },

  remove: ({ aws }, inputs) => remove(aws, inputs.name),
};
