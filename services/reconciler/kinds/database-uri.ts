import { DescribeDBInstancesCommand, ModifyDBInstanceCommand } from '@aws-sdk/client-rds';
import { CreateSecretCommand, PutSecretValueCommand, TagResourceCommand } from '@aws-sdk/client-secrets-manager';
import { randomBytes, randomUUID } from 'node:crypto';
import type { Account } from '../aws/account.ts';
import { isAlreadyExists, isNotFound } from '../aws/errors.ts';
import { TAG, requireOurs, tagList, tagRecord } from '../aws/tags.ts';
import type { Kind } from '../resource.ts';
import { databaseGrants } from './rds-postgres.ts';
import { describe, isInRecovery, remove, restore, secretGrants } from './secrets.ts';

export interface DatabaseUriInputs {
  readonly name: string;
  readonly database: {
    readonly identifier: string;
    /** `DbiResourceId`: another one when the database was made anew under the same name. */
    readonly resourceId: string;
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly databaseName: string;
  };
}

interface Live {
  readonly arn: string;
  /** The database that has the password which is in the secret. */
  readonly bound: string | undefined;
}

/**
 * The database's whole URI, as the server wants it. We may not read secrets, so password and secret are set together:
 * the database gets a new password, the secret gets the URI, and only then is the secret bound to the database. Cut off
 * before that, all is done anew with another password; bound, never again. (A password that AWS rotates by itself would
 * break running servers, which read their secrets only when they start.)
 */
export const databaseUri: Kind<DatabaseUriInputs, Live, { arn: string }> = {
  kind: 'database-uri',
  iam: (scope) => [...secretGrants(scope), ...databaseGrants(scope)],
  pollSeconds: 2,
  limitSeconds: 1800,

  async observe({ aws, tags }, { name, database }) {
    const found = await describe(aws, name);
    if (found === undefined || found.DeletedDate !== undefined) return { is: 'absent' };
    const foundTags = tagRecord(found.Tags);
    requireOurs(foundTags, tags, name);
    const live = { arn: found.ARN!, bound: foundTags[TAG.bound] };
    if (live.bound !== database.resourceId) return { is: 'busy', live, why: 'the database has no password yet' };
    return (await takesPassword(aws, database.identifier))
      ? { is: 'busy', live, why: 'the database takes its password' }
      : { is: 'ready', live, out: { arn: live.arn } };
  },

  diff: ({ database }, live) =>
    live.bound === database.resourceId ? [] : [{ field: 'database', from: live.bound, to: database.resourceId }],

  async converge({ aws, tags }, { name, database }, live) {
    if (live === undefined) {
      try {
        const Description = 'URI of the deployment’s database';
        await aws.secrets.send(new CreateSecretCommand({ Name: name, Description, Tags: tagList(tags) }));
      } catch (error) {
        if (isInRecovery(error)) await restore(aws, name);
        else if (!isAlreadyExists(error, 'ResourceExistsException')) throw error;
      }
    }
    const password = randomBytes(24).toString('hex');
    try {
      await aws.rds.send(
        new ModifyDBInstanceCommand({
          DBInstanceIdentifier: database.identifier,
          MasterUserPassword: password,
          ApplyImmediately: true,
        }),
      );
    } catch (error) {
      // It is being changed or backed up: the next look tries again.
      if (isNotFound(error, 'InvalidDBInstanceState', 'InvalidDBInstanceStateFault')) return;
      throw error;
    }
    const { user, host, port, databaseName } = database;
    await aws.secrets.send(
      new PutSecretValueCommand({
        SecretId: name,
        ClientRequestToken: randomUUID(),
        SecretString: `postgresql://${user}:${password}@${host}:${port}/${databaseName}?sslmode=require`,
      }),
    );
    const bound = { ...tags, [TAG.bound]: database.resourceId };
    await aws.secrets.send(new TagResourceCommand({ SecretId: name, Tags: tagList(bound) }));
  },

  remove: ({ aws }, inputs) => remove(aws, inputs.name),
};

async function takesPassword(aws: Account, identifier: string): Promise<boolean> {
  try {
    const found = await aws.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier: identifier }));
    const database = found.DBInstances?.[0];
    const pending = database?.PendingModifiedValues?.MasterUserPassword !== undefined;
    return pending || database?.DBInstanceStatus === 'resetting-master-credentials';
  } catch (error) {
    if (isNotFound(error, 'DBInstanceNotFound', 'DBInstanceNotFoundFault')) return false;
    throw error;
  }
}
