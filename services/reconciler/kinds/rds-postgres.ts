import {
  CreateDBInstanceCommand,
  DeleteDBInstanceCommand,
  DescribeDBInstancesCommand,
  DescribeDBInstanceAutomatedBackupsCommand,
  DescribeDBSnapshotsCommand,
  ModifyDBInstanceCommand,
  RemoveTagsFromResourceCommand,
  type DBInstance,
  type PendingModifiedValues,
} from '@aws-sdk/client-rds';
import { randomBytes } from 'node:crypto';
import { arn, changesOurs, createsOurs, ours } from '../aws/arn.ts';
import type { Account } from '../aws/account.ts';
import { Terminal, hasCode } from '../aws/errors.ts';
import { PROVISIONING_ENDS, deletes, isProvisional, provisional, throughGate, untags } from '../aws/gate.ts';
import type { Grant, Scope } from '../aws/grant.ts';
import { TAG, requireOurs, tagList, tagRecord } from '../aws/tags.ts';
import type { Change, Cx, Kind } from '../resource.ts';
import { changed, compare } from './compare.ts';

export interface RdsPostgresInputs {
  readonly name: string;
  readonly databaseName: string;
  readonly user: string;
  readonly class: string;
  readonly storageGb: number;
  /** RDS enlarges the storage up to here by itself; null: never. */
  readonly maxStorageGb: number | null;
  /** The major version; RDS keeps the minor one current. */
  readonly version: string;
  readonly subnetGroup: string;
  readonly securityGroupId: string;
  readonly multiAz: boolean;
  readonly backupDays: number;
  /** Deletion protection, and a final snapshot when it is removed. */
  readonly protected: boolean;
  /** Its deployment has served: it may hold what cannot be made again. */
  readonly served?: true;
}

/** What can be changed in place, normalised; what is being applied counts as applied. */
interface Settings {
  readonly class: string;
  readonly storageGb: number;
  readonly maxStorageGb: number | null;
  readonly securityGroups: readonly string[];
  readonly multiAz: boolean;
  readonly backupDays: number;
  /** To its snapshots, which are known to be ours by them. A restore from a snapshot leaves it off. */
  readonly copiesTags: boolean;
  readonly protected: boolean;
}

interface Live {
  readonly status: string;
  readonly settings: Settings;
  readonly arn: string;
  readonly resourceId: string;
  readonly fixed: Fixed;
  readonly isProvisional: boolean;
}

/** What only another database could have. */
interface Fixed {
  readonly databaseName: string;
  readonly user: string;
  readonly subnetGroup: string;
  readonly version: string;
}

export interface Database {
  readonly arn: string;
  readonly identifier: string;
  /** `DbiResourceId`: another one when the database was made anew under the same name. */
  readonly resourceId: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly databaseName: string;
}

interface Made extends Database {
  /** What the database ends in when it is removed; null: in nothing. For receipts. */
  readonly finalSnapshot: string | null;
}

/** RDS's "DB instance status" table: these can be connected to. */
const USABLE = new Set([
  'available',
  'backing-up',
  'configuring-enhanced-monitoring',
  'configuring-iam-database-auth',
  'configuring-log-exports',
  'converting-to-vpc',
  'maintenance',
  'modifying',
  'moving-to-vpc',
  'renaming',
  'resetting-master-credentials',
  'storage-config-upgrade',
  'storage-initialization',
  'storage-optimization',
  'upgrading',
]);
/**
 * These take changes, what is being optimized none of its storage. That table: only `available` is "available for
 * modifications"; AWS's knowledge center, "rds-stuck-in-storage-optimization": "any other instance modifications".
 */
const TAKES_CHANGES = new Set(['available', 'storage-optimization', 'storage-full']);
const GIVEN_UP =
  /^(failed|incompatible-|inaccessible-encryption-credentials$|insufficient-capacity$|restore-error|storage-full)/;

/** RDS API reference, DeleteDBInstance: these it deletes only without a final snapshot. */
const NO_SNAPSHOT = new Set(['failed', 'incompatible-network', 'incompatible-restore', 'insufficient-capacity']);

const RESCUES_NAMED = 5;

const isGone = (error: unknown) => hasCode(error, 'DBInstanceNotFound', 'DBInstanceNotFoundFault');

function orProtected(error: unknown): true {
  if (hasCode(error, 'InvalidParameterCombination') && /protected/i.test((error as Error).message)) return true;
  throw error;
}

export function databaseGrants(scope: Scope): Grant[] {
  const databases = arn(scope, 'rds', `db:${ours(scope).named}`);
  return [
    { actions: ['rds:DescribeDBInstances'], resources: [databases], why: "sees a deployment's database" },
    {
      actions: ['rds:ModifyDBInstance'],
      resources: [databases],
      conditions: changesOurs(scope),
      why: "sets the database's password, size and protection",
    },
  ];
}

/**
 * A PostgreSQL instance: encrypted, private, patched, with a password that nobody has until `database-uri` sets one.
 */
export const rdsPostgres: Kind<RdsPostgresInputs, Live, Made> = {
  kind: 'rds-postgres',
  iam: (scope) => [
    ...databaseGrants(scope),
    {
      actions: ['rds:CreateDBInstance'],
      resources: [arn(scope, 'rds', `db:${ours(scope).named}`)],
      conditions: {
        StringEquals: { ...createsOurs(scope).StringEquals, 'rds:DatabaseEngine': 'postgres' },
        Bool: { 'rds:StorageEncrypted': 'true', 'rds:PubliclyAccessible': 'false' },
      },
      why: "makes a deployment's database, tagged from the start: PostgreSQL, encrypted, without a public address",
    },
    {
      // The keys of the database's own type are not there when AWS asks about these.
      actions: ['rds:CreateDBInstance'],
      resources: [
        arn(scope, 'rds', `subgrp:${scope.databaseSubnetGroup}`),
        arn(scope, 'rds', 'pg:default.postgres*'),
        arn(scope, 'rds', 'og:default:postgres-*'),
      ],
      conditions: createsOurs(scope),
      why: "puts it into the stack's subnets, which are private, with AWS's own settings",
    },
    {
      actions: ['rds:AddTagsToResource'],
      resources: [arn(scope, 'rds', `db:${ours(scope).named}`)],
      conditions: createsOurs(scope),
      why: 'needed to make a database with its tags',
    },
    ...deletes(scope, {
      actions: ['rds:DeleteDBInstance'],
      resources: [arn(scope, 'rds', `db:${ours(scope).named}`)],
      why: "removes a deleted deployment's database, in production with a final snapshot",
    }),
    ...untags(scope, 'rds:RemoveTagsFromResource', [arn(scope, 'rds', `db:${ours(scope).named}`)]),
    {
      actions: ['rds:DescribeDBSnapshots'],
      resources: [arn(scope, 'rds', 'snapshot:*'), arn(scope, 'rds', 'db:*')],
      why:
        'sees the final snapshot of a removed database, for the receipt of the delete, and names what a database that ' +
        'somebody deleted can be restored from, however they called it',
    },
    {
      actions: ['rds:DescribeDBInstances'],
      resources: [arn(scope, 'rds', 'db:*')],
      why:
        'compares a hundred databases a call: RDS takes few calls, and shares them with your own. It shows the settings ' +
        'of your other databases, never their data; without it each database is asked for by itself',
    },
    {
      actions: ['rds:DescribeDBInstanceAutomatedBackups'],
      resources: [arn(scope, 'rds', `db:${ours(scope).named}`), arn(scope, 'rds', 'auto-backup:*')],
      why: 'names the automated backups that a database which somebody deleted can be restored from',
    },
  ],
  pollSeconds: 15,
  limitSeconds: 3600,
  // As seen by users of Terraform's AWS provider; AWS promises nothing. A final snapshot adds to the removal.
  usual: ({ multiAz, protected: snapshot }, changes = []) => ({
    ready: multiAz ? [900, 1200] : [300, 600],
    // Only what restarts it is waited for: a restart takes a minute or two, another class up to a quarter of an hour.
    changed: restarts(changes) ? [120, 900] : [0, 60],
    gone: snapshot ? [300, 900] : [180, 300],
  }),
  foresee: ({ name: identifier, user, databaseName }) => ({ identifier, user, databaseName }),
  effect: (inputs, changes) =>
    restarts(changes)
      ? {
          is: 'restart',
          means:
            inputs.multiAz && !changed(changes, 'multiAz')
              ? 'the database restarts: a minute without it'
              : 'the database restarts: minutes without it',
        }
      : undefined,
  // A delete that its deletion protection refuses, that taken off, and the delete.
  calls: (inputs) => ({ observe: 1, create: 1, change: 1, remove: inputs.protected ? 3 : 1 }),
  cost: ({ class: name, multiAz, storageGb }) => [
    { what: multiAz ? `${name as `db.${string}`} multi-az` : (name as `db.${string}`), count: 1 },
    { what: 'storage-gb', count: multiAz ? 2 * storageGb : storageGb },
  ],
  stateful: {
    alarm: 'DATABASE_LOST',
    lost: ({ name, subnetGroup }) =>
      `deleted by somebody else, with what it held: "${name}": restore a snapshot or an automated backup under this ` +
      `name, into the subnet group "${subnetGroup}": the rest is done by itself`,
    rescue: backups,
  },

  async observe({ aws, tags }, inputs) {
    let found: DBInstance;
    try {
      const answer = await aws.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier: inputs.name }));
      if (answer.DBInstances?.[0] === undefined) return { is: 'absent' };
      found = answer.DBInstances[0];
    } catch (error) {
      if (isGone(error)) return { is: 'absent' };
      throw error;
    }
    requireOurs(tagRecord(found.TagList), tags, inputs.name);
    const status = found.DBInstanceStatus ?? 'unknown';
    const settings = settingsOf(found);
    const live: Live = {
      status,
      settings,
      arn: found.DBInstanceArn!,
      resourceId: found.DbiResourceId!,
      fixed: fixedOf(found),
      isProvisional: isProvisional(tagRecord(found.TagList)),
    };
    if (GIVEN_UP.test(status)) return { is: 'broken', live, why: `the database is not usable: "${status}"` };
    const { Address: host, Port: port } = found.Endpoint ?? {};
    if (!USABLE.has(status) || host === undefined || port === undefined) {
      return { is: 'busy', live, why: `the database is ${status.replaceAll('-', ' ')}` };
    }
    // Servers that were started meanwhile would fail. What others left for the maintenance window is not waited for.
    const restart = outage(found.PendingModifiedValues ?? {}, inputs);
    if (restart !== undefined) return { is: 'busy', live, why: `the database restarts with ${restart}` };
    const { name: identifier, user, databaseName } = inputs;
    return {
      is: 'ready',
      live,
      out: {
        arn: live.arn,
        identifier,
        resourceId: live.resourceId,
        host,
        port,
        user,
        databaseName,
        finalSnapshot: inputs.protected ? finalSnapshot(identifier, live.resourceId) : null,
      },
    };
  },

  diff(inputs, live) {
    requireFixed(inputs, live.fixed);
    if (!USABLE.has(live.status) && live.status !== 'storage-full') return [];
    // Storage cannot shrink, and RDS enlarges it by itself.
    const storageGb = Math.max(inputs.storageGb, live.settings.storageGb);
    const wanted: Settings = {
      class: inputs.class,
      storageGb,
      maxStorageGb: isLimit(inputs.maxStorageGb, storageGb) ? inputs.maxStorageGb : live.settings.maxStorageGb,
      securityGroups: [inputs.securityGroupId],
      // What the account's owner has made safer is not made less so.
      multiAz: inputs.multiAz || live.settings.multiAz,
      backupDays: Math.max(inputs.backupDays, live.settings.backupDays),
      copiesTags: true,
      protected: inputs.protected || live.settings.protected,
    };
    const ends = inputs.served && live.isProvisional ? [PROVISIONING_ENDS] : [];
    const changes = [...compare(wanted, live.settings), ...ends];
    // And one that is full takes nothing but room.
    return live.status === 'storage-full' ? changes.filter(isOfStorage) : changes;
  },

  refuses: ({ status }, changes) =>
    takenNow(status, changes).length > 0
      ? undefined
      : `the database is ${status.replaceAll('-', ' ')}: after that, ${changes.map(({ field }) => field).join(', ')} ` +
        'will be changed',

  async converge(cx, inputs, live, changes) {
    const { aws, fence } = cx;
    if (live !== undefined) {
      const taken = takenNow(live.status, changes);
      if (changed(taken, PROVISIONING_ENDS.field)) {
        const off = { ResourceName: live.arn, TagKeys: [TAG.provisioning] };
        await aws.rds.send(new RemoveTagsFromResourceCommand(off));
        if (taken.length === 1) return;
        await fence();
      }
      const to = Object.fromEntries(taken.map((change) => [change.field, change.to])) as Partial<Settings>;
      await aws.rds.send(
        new ModifyDBInstanceCommand({
          DBInstanceIdentifier: inputs.name,
          ApplyImmediately: true,
          DBInstanceClass: to.class,
          AllocatedStorage: to.storageGb,
          // RDS's way of switching the growth off is a limit at the present size.
          MaxAllocatedStorage: to.maxStorageGb === null ? live.settings.storageGb : to.maxStorageGb,
          VpcSecurityGroupIds: to.securityGroups && [...to.securityGroups],
          MultiAZ: to.multiAz,
          BackupRetentionPeriod: to.backupDays,
          CopyTagsToSnapshot: to.copiesTags,
          DeletionProtection: to.protected,
        }),
      );
      return;
    }
    try {
      await aws.rds.send(
        new CreateDBInstanceCommand({
          DBInstanceIdentifier: inputs.name,
          DBName: inputs.databaseName,
          Engine: 'postgres',
          EngineVersion: inputs.version,
          AutoMinorVersionUpgrade: true,
          DBInstanceClass: inputs.class,
          AllocatedStorage: inputs.storageGb,
          MaxAllocatedStorage: inputs.maxStorageGb ?? undefined,
          StorageType: 'gp3',
          StorageEncrypted: true,
          MasterUsername: inputs.user,
          // Thrown away: `database-uri` sets the one that is used.
          MasterUserPassword: randomBytes(24).toString('hex'),
          DBSubnetGroupName: inputs.subnetGroup,
          VpcSecurityGroupIds: [inputs.securityGroupId],
          PubliclyAccessible: false,
          MultiAZ: inputs.multiAz,
          BackupRetentionPeriod: inputs.backupDays,
          CopyTagsToSnapshot: true,
          DeletionProtection: inputs.protected,
          Tags: tagList(provisional(cx)),
        }),
      );
    } catch (error) {
      if (!hasCode(error, 'DBInstanceAlreadyExists', 'DBInstanceAlreadyExistsFault')) throw error;
    }
  },

  async remove({ aws, fence }, inputs, live) {
    const state = `the database is ${live.status.replaceAll('-', ' ')}`;
    if (live.status === 'deleting') return state;
    if (live.settings.protected && !inputs.protected)
      return 'somebody has put deletion protection on the database: take it off in RDS';
    const DBInstanceIdentifier = inputs.name;
    try {
      const keeps = inputs.protected && !NO_SNAPSHOT.has(live.status);
      const snapshot = keeps
        ? { FinalDBSnapshotIdentifier: finalSnapshot(inputs.name, live.resourceId) }
        : { SkipFinalSnapshot: true };
      const deleting = new DeleteDBInstanceCommand({ DBInstanceIdentifier, ...snapshot });
      const isProtected = await throughGate(() => aws.rds.send(deleting)).then(() => false, orProtected);
      // IAM is asked before RDS looks: what may not be deleted keeps its protection.
      if (isProtected) {
        await fence();
        // Takes effect a moment later: the next look deletes it. Its final snapshot is ours by the tags that it copies.
        const off = { DeletionProtection: false, CopyTagsToSnapshot: true, ApplyImmediately: true };
        await aws.rds.send(new ModifyDBInstanceCommand({ DBInstanceIdentifier, ...off }));
        return 'its deletion protection is taken off';
      }
      if (inputs.protected && !keeps) return `without a final snapshot: RDS takes none while ${state}`;
    } catch (error) {
      // It is being changed: the next look tries again.
      if (hasCode(error, 'InvalidDBInstanceState', 'InvalidDBInstanceStateFault')) return state;
      if (!isGone(error)) throw error;
    }
  },
};

/** The newest snapshots, and the backups that RDS keeps of a database that is gone. */
async function backups({ aws }: Pick<Cx, 'aws'>, { name: DBInstanceIdentifier }: RdsPostgresInputs): Promise<string[]> {
  const { DBSnapshots = [] } = await aws.rds.send(new DescribeDBSnapshotsCommand({ DBInstanceIdentifier }));
  const snapshots = DBSnapshots.filter(({ Status }) => Status === 'available')
    .toSorted((a, b) => (b.SnapshotCreateTime?.getTime() ?? 0) - (a.SnapshotCreateTime?.getTime() ?? 0))
    .slice(0, RESCUES_NAMED)
    .map((one) => `the snapshot "${one.DBSnapshotIdentifier}" of ${one.SnapshotCreateTime?.toISOString() ?? 'once'}`);
  const kept = await aws.rds
    .send(new DescribeDBInstanceAutomatedBackupsCommand({ DBInstanceIdentifier }))
    .then(({ DBInstanceAutomatedBackups = [] }) =>
      DBInstanceAutomatedBackups.filter(({ Status }) => Status !== 'creating'),
    )
    .catch(() => []);
  return [
    ...snapshots,
    ...kept.map(
      (one) => `backups until ${one.RestoreWindow?.LatestTime?.toISOString() ?? 'now'} of ${one.DbiResourceId}`,
    ),
  ];
}

/**
 * We make no new database in place of one that holds data. A newer PostgreSQL than asked for is fine: AWS upgrades what
 * it no longer supports, and so may the account's owner.
 * @throws Terminal naming what differs
 */
function requireFixed(inputs: RdsPostgresInputs, live: Fixed): void {
  const { databaseName, user } = inputs;
  const isNewer = Number(live.version) > Number(inputs.version);
  const wanted: Fixed = {
    databaseName,
    user,
    subnetGroup: inputs.subnetGroup.toLowerCase(), // as RDS keeps it
    version: isNewer ? live.version : inputs.version,
  };
  const told = compare(wanted, live).filter((change) => change.from !== '');
  const differs = told.map(({ field, from, to }) => `${field} is "${String(from)}", asked for is "${String(to)}"`);
  if (differs.length === 0) return;
  throw new Terminal(
    `cannot be changed in place: "${inputs.name}": ${differs.join(', ')}: ` +
      'make another deployment, and move the data there',
  );
}

const fixedOf = (found: DBInstance): Fixed => ({
  databaseName: found.DBName ?? '',
  user: found.MasterUsername ?? '',
  subnetGroup: (found.DBSubnetGroup?.DBSubnetGroupName ?? '').toLowerCase(),
  version: (found.EngineVersion ?? '').split('.')[0]!,
});

const isOfStorage = ({ field }: Change): boolean => /storage/i.test(field);

/** Of these changes, what RDS takes in this state. */
function takenNow(status: string, changes: readonly Change[]): readonly Change[] {
  if (!TAKES_CHANGES.has(status)) return [];
  return status === 'storage-optimization' ? changes.filter((change) => !isOfStorage(change)) : changes;
}

/** What `outage` says of changes that are not made yet; backups restart it when they are switched on or off. */
const restarts = (changes: readonly Change[]): boolean =>
  changes.some(({ field, from, to }) => field === 'class' || (field === 'backupDays' && (from === 0) !== (to === 0)));

/** One name for each database that ever had this name. */
export const finalSnapshot = (name: string, resourceId: string): string =>
  `${name}-final-${resourceId
    .replace(/[^a-zA-Z0-9]/g, '')
    .slice(-8)
    .toLowerCase()}`;

export interface FinalSnapshot {
  readonly arn: string;
  readonly sizeGb: number | null;
  /** A database can be restored from it when it is `available`. */
  readonly status: string;
}

/** Undefined: there is none of this name. */
export async function describeFinalSnapshot(aws: Account, name: string): Promise<FinalSnapshot | undefined> {
  try {
    const { DBSnapshots } = await aws.rds.send(new DescribeDBSnapshotsCommand({ DBSnapshotIdentifier: name }));
    const found = DBSnapshots?.[0];
    if (found === undefined) return undefined;
    const { DBSnapshotArn, AllocatedStorage: sizeGb = null, Status: status = 'unknown' } = found;
    return { arn: DBSnapshotArn!, sizeGb, status };
  } catch (error) {
    if (hasCode(error, 'DBSnapshotNotFound', 'DBSnapshotNotFoundFault')) return undefined;
    throw error;
  }
}

/**
 * RDS user guide, "Managing capacity automatically": the limit is at least a tenth more than there is. One that it
 * would refuse is not asked for: the storage has grown up to it already.
 */
const isLimit = (maxGb: number | null, storageGb: number): boolean => maxGb === null || maxGb >= 1.1 * storageGb;

/** User guide, "Settings for DB instances" and "Backup retention period": an outage, while RDS applies what we want. */
function outage({ DBInstanceClass, BackupRetentionPeriod }: PendingModifiedValues, wanted: RdsPostgresInputs) {
  if (DBInstanceClass === wanted.class) return `the class ${wanted.class}`;
  return BackupRetentionPeriod === wanted.backupDays ? `${wanted.backupDays} days of backups` : undefined;
}

function settingsOf(found: DBInstance): Settings {
  const pending = found.PendingModifiedValues ?? {};
  const storageGb = pending.AllocatedStorage ?? found.AllocatedStorage ?? 0;
  const max = found.MaxAllocatedStorage ?? null;
  return {
    class: pending.DBInstanceClass ?? found.DBInstanceClass ?? '',
    storageGb,
    maxStorageGb: max !== null && max <= storageGb ? null : max,
    securityGroups: (found.VpcSecurityGroups ?? [])
      .filter((group) => group.Status !== 'removing')
      .map((group) => group.VpcSecurityGroupId ?? ''),
    multiAz: pending.MultiAZ ?? found.MultiAZ ?? false,
    backupDays: pending.BackupRetentionPeriod ?? found.BackupRetentionPeriod ?? 0,
    copiesTags: found.CopyTagsToSnapshot ?? false,
    protected: found.DeletionProtection ?? false,
  };
}
