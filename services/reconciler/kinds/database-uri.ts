import { DescribeDBInstancesCommand, ModifyDBInstanceCommand } from '@aws-sdk/client-rds';
import { PutSecretValueCommand, TagResourceCommand } from '@aws-sdk/client-secrets-manager';
import { randomBytes, randomUUID } from 'node:crypto';
import type { Account } from '../aws/account.ts';
import { hasCode } from '../aws/errors.ts';
import { PROVISIONING_ENDS } from '../aws/gate.ts';
import { TAG, tagList, tagRecord } from '../aws/tags.ts';
import type { Kind } from '../resource.ts';
import { changed } from './compare.ts';
import { databaseGrants, type Database } from './rds-postgres.ts';
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

export interface DatabaseUriInputs extends Served {
  readonly name: string;
  readonly database: Database;
  /** The file of certificates that the database's is held against. It never changes. @default TLS, whoever answers */
  readonly ca?: string;
}

interface Live {
  readonly arn: string;
  /** `<DbiResourceId>/<version id>`: the database, and the version of the secret that has its password. */
  readonly bound: string | undefined;
  /** The secret's version that servers read. */
  readonly current: string | undefined;
  /** Of the database, undefined when it is gone: it takes a password only when it is available. */
  readonly status: string | undefined;
  readonly isProvisional: boolean;
}

/**
 * The database's whole URI, as the server wants it. We may not read secrets, so password and secret are set together:
 * the database gets a new password, the secret gets the URI, and only then is that version of the secret bound to the
 * database. Cut off before that, all is done anew with another password; bound, never again. A version that somebody
 * else puts after it is not the bound one, so it is done anew too. (A password that AWS rotates by itself would break
 * running servers, which read their secrets only when they start.)
 */
export const databaseUri: Kind<DatabaseUriInputs, Live, { arn: string; version: string }> = {
  kind: 'database-uri',
  iam: (scope) => [...secretGrants(scope), ...databaseGrants(scope)],
  pollSeconds: 2,
  limitSeconds: 1800,
  usual: () => ({ ready: [60, 60], changed: [60, 60] }),
  renews: ['version'],
  // It is bound to its database right after it was made: another password, another version, a tag.
  calls: (_, changes) => ({
    observe: 2,
    create: 4,
    change: (changed(changes, 'database') ? 3 : 0) + (changed(changes, PROVISIONING_ENDS.field) ? 1 : 0),
    remove: 1,
  }),
  cost: () => [{ what: 'secret', count: 1 }],

  async observe(cx, { name, database }) {
    const found = await findOurs(cx, name);
    if (found === undefined) return { is: 'absent' };
    const versions = Object.entries(found.VersionIdsToStages ?? {});
    const current = versions.find(([, stages]) => stages.includes('AWSCURRENT'))?.[0];
    const { status, takesPassword } = await look(cx.aws, database.identifier);
    const live = {
      arn: found.ARN!,
      bound: tagRecord(found.Tags)[TAG.bound],
      current,
      status,
      isProvisional: provisionalIn(found),
    };
    if (!isBound(database, live)) return { is: 'busy', live, why: 'the database has no password yet' };
    if (takesPassword) return { is: 'busy', live, why: 'the database takes its password' };
    return { is: 'ready', live, out: { arn: live.arn, version: current! } };
  },

  diff: (inputs, live) => [
    ...(live.status !== 'available' || isBound(inputs.database, live)
      ? []
      : [{ field: 'database', from: live.bound, to: inputs.database.resourceId }]),
    ...provisioningOf(inputs, live),
  ],

  /** Without a secret, only that: whether the database needs another password shows when the secret is seen. */
  async converge(cx, { name, database, ca }, live, changes) {
    const { aws, tags } = cx;
    if (live === undefined) {
      await make(cx, { Name: name, Description: 'URI of the deployment’s database' });
      return;
    }
    if (changed(changes, PROVISIONING_ENDS.field)) await endProvisioning(aws, name);
    if (!changed(changes, 'database')) return;
    const password = randomBytes(24).toString('hex');
    try {
      await cx.fence();
      await aws.rds.send(
        new ModifyDBInstanceCommand({
          DBInstanceIdentifier: database.identifier,
          MasterUserPassword: password,
          ApplyImmediately: true,
        }),
      );
    } catch (error) {
      // It is being changed or backed up: the next look tries again.
      if (hasCode(error, 'InvalidDBInstanceState', 'InvalidDBInstanceStateFault')) return;
      throw error;
    }
    const { user, host, port, databaseName } = database;
    const version = randomUUID();
    // https://www.postgresql.org/docs/current/libpq-ssl.html
    const tls = ca === undefined ? 'sslmode=require' : `sslmode=verify-full&sslrootcert=${ca}`;
    await cx.fence();
    await aws.secrets.send(
      new PutSecretValueCommand({
        SecretId: name,
        ClientRequestToken: version,
        SecretString: `postgresql://${user}:${password}@${host}:${port}/${databaseName}?${tls}`,
      }),
    );
    const bound = { ...tags, [TAG.bound]: binding(database, version) };
    await cx.fence();
    await aws.secrets.send(new TagResourceCommand({ SecretId: name, Tags: tagList(bound) }));
  },

  remove: ({ aws }, inputs) => remove(aws, inputs.name),
};

const binding = ({ resourceId }: Database, version: string | undefined): string => `${resourceId}/${version}`;
const isBound = (database: Database, { bound, current }: Live): boolean => bound === binding(database, current);

async function look(aws: Account, identifier: string): Promise<{ status: string | undefined; takesPassword: boolean }> {
  try {
    const found = await aws.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier: identifier }));
    const database = found.DBInstances?.[0];
    const pending = database?.PendingModifiedValues?.MasterUserPassword !== undefined;
    const status = database?.DBInstanceStatus;
    return { status, takesPassword: pending || status === 'resetting-master-credentials' };
  } catch (error) {
    if (hasCode(error, 'DBInstanceNotFound', 'DBInstanceNotFoundFault'))
      return { status: undefined, takesPassword: false };
    throw error;
  }
}
