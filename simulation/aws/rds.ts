/**
 * RDS: PostgreSQL instances with AWS's states, refusals and times, and their final snapshots. Its reads show the truth,
 * and changes take their time: pending, then `modifying`, then applied.
 */
import {
  CreateDBInstanceCommand,
  DeleteDBInstanceCommand,
  DescribeDBInstancesCommand,
  DescribeDBSnapshotsCommand,
  ModifyDBInstanceCommand,
  RemoveTagsFromResourceCommand,
  type CreateDBInstanceCommandInput,
  type DBInstance,
  type ModifyDBInstanceCommandInput,
} from '@aws-sdk/client-rds';
import type { Ec2 } from './ec2.ts';
import { NotSimulated, Refused, Table } from './operation.ts';
import { tagListOf, tagsOf, without, type Tags, type Thing, type World } from './world.ts';

/** Applied with a moment's delay, in the maintenance window or at once as asked. */
interface Pending {
  DBInstanceClass?: string;
  AllocatedStorage?: number;
  MultiAZ?: boolean;
  BackupRetentionPeriod?: number;
  MasterUserPassword?: string;
}
/** A password is never shown. */
const HIDDEN = { MasterUserPassword: '****' } as const;

interface Database {
  readonly id: string;
  readonly arn: string;
  readonly resourceId: string;
  readonly host: string;
  readonly thing: Thing;
  readonly user: string;
  readonly name: string;
  readonly version: string;
  readonly subnetGroup: string;
  status: string;
  class: string;
  storageGb: number;
  maxStorageGb: number | undefined;
  copiesTags: boolean;
  multiAz: boolean;
  backupDays: number;
  isProtected: boolean;
  /** Taking the protection off is known everywhere only then. */
  protectedUntil: number;
  groups: readonly string[];
  password: string;
  pending: Pending;
  /** One change at a time. */
  busyUntil: number;
  isReachable: boolean;
}

interface Snapshot {
  readonly id: string;
  readonly arn: string;
  readonly databaseId: string;
  readonly resourceId: string;
  readonly storageGb: number;
  readonly thing: Thing;
  status: string;
}

const DATABASE = 'rds:db';
const SNAPSHOT = 'rds:snapshot';
const PORT = 5432;
const MINOR: Record<string, string> = { '15': '15.15', '16': '16.11', '17': '17.7', '18': '18.1' };
const DAY = 86_400_000;
/** Modifying API, "ModifyDBInstance": the states that it takes changes in. */
const MODIFIABLE = new Set(['available', 'storage-optimization', 'storage-full', 'incompatible-parameters']);
const SOON = 0.2;

export class Rds {
  readonly table = new Table();
  readonly #world: World;
  readonly #ec2: Ec2;
  readonly #subnetGroup: string;
  readonly #databases = new Map<string, Database>();
  readonly #snapshots = new Map<string, Snapshot>();

  constructor(world: World, ec2: Ec2, subnetGroup: string) {
    this.#world = world;
    this.#ec2 = ec2;
    this.#subnetGroup = subnetGroup;
    this.table
      .read(DescribeDBInstancesCommand, 'DBInstanceIdentifier MaxRecords Marker Filters', (input) => {
        const { DBInstanceIdentifier: id, MaxRecords = 100, Marker, Filters = [] } = input;
        if (Filters.some(({ Name }) => Name !== 'db-instance-id')) throw new NotSimulated('rds: a filter but its id');
        if (id !== undefined) return { DBInstances: [this.#view(this.#find(id))] };
        const all = [...this.#databases.values()].filter((each) =>
          Filters.every(({ Values }) => Values!.includes(each.id)),
        );
        const from = Number(Marker ?? 0);
        const DBInstances = all.slice(from, from + MaxRecords).map((each) => this.#view(each));
        return { DBInstances, ...(from + MaxRecords < all.length && { Marker: String(from + MaxRecords) }) };
      })
      .read(DescribeDBSnapshotsCommand, 'DBSnapshotIdentifier DBInstanceIdentifier', (input) => {
        const { DBSnapshotIdentifier: id, DBInstanceIdentifier: of } = input;
        if (id !== undefined && !this.#snapshots.has(id))
          throw new Refused('DBSnapshotNotFoundFault', `DBSnapshot ${id} not found.`, 404);
        const found = [...this.#snapshots.values()].filter(
          (each) => (id === undefined || each.id === id) && (of === undefined || each.databaseId === of),
        );
        const DBSnapshots = found.map((each) => ({
          DBSnapshotIdentifier: each.id,
          DBSnapshotArn: each.arn,
          DBInstanceIdentifier: each.databaseId,
          DbiResourceId: each.resourceId,
          AllocatedStorage: each.storageGb,
          Status: each.status,
          TagList: tagListOf(each.thing.tags),
        }));
        return { DBSnapshots };
      })
      .write(
        CreateDBInstanceCommand,
        'DBInstanceIdentifier DBName Engine EngineVersion AutoMinorVersionUpgrade DBInstanceClass AllocatedStorage ' +
          'MaxAllocatedStorage StorageType StorageEncrypted MasterUsername MasterUserPassword DBSubnetGroupName ' +
          'VpcSecurityGroupIds PubliclyAccessible MultiAZ BackupRetentionPeriod CopyTagsToSnapshot ' +
          'DeletionProtection Tags',
        (input) => ({ DBInstance: this.#view(this.#make(input)) }),
      )
      .write(
        ModifyDBInstanceCommand,
        'DBInstanceIdentifier ApplyImmediately DBInstanceClass AllocatedStorage MaxAllocatedStorage ' +
          'VpcSecurityGroupIds MultiAZ BackupRetentionPeriod DeletionProtection MasterUserPassword CopyTagsToSnapshot',
        (input) => ({ DBInstance: this.#view(this.#modify(input)) }),
      )
      .write(RemoveTagsFromResourceCommand, 'ResourceName TagKeys', ({ ResourceName, TagKeys = [] }) => {
        const { thing } = this.#find(ResourceName!);
        world.retag(thing, without(thing.tags, TagKeys));
        return {};
      })
      .write(DeleteDBInstanceCommand, 'DBInstanceIdentifier SkipFinalSnapshot FinalDBSnapshotIdentifier', (input) => {
        const database = this.#find(input.DBInstanceIdentifier!);
        this.#delete(database, input.SkipFinalSnapshot === true ? undefined : input.FinalDBSnapshotIdentifier);
        return { DBInstance: this.#view(database) };
      });
  }

  /** Whether a server gets in with this URI: undefined when the host is no database of this account. */
  accepts(uri: string): 'in' | 'not up' | 'wrong password' | undefined {
    const [, user, password, host] = /^postgres(?:ql)?:\/\/([^:]+):([^@]*)@([^:/]+)/.exec(uri) ?? [];
    const database = this.#databases.get(host?.split('.')[0] ?? '');
    if (database === undefined || database.host !== host)
      return host?.endsWith('.rds.amazonaws.com') === true ? 'not up' : undefined;
    if (!database.isReachable) return 'not up';
    return database.user === user && database.password === password ? 'in' : 'wrong password';
  }

  // By hand

  tamperings(arn: string): string[] {
    const database = this.#byArn(arn);
    if (database === undefined || database.status !== 'available') return [];
    return [
      'make it larger',
      'keep backups longer',
      'back it up',
      'restart it',
      database.isProtected ? 'take its protection off' : 'protect it',
    ];
  }

  tamper(arn: string, change: string): void {
    const database = this.#byArn(arn)!;
    const id = { DBInstanceIdentifier: database.id, ApplyImmediately: true };
    if (change === 'make it larger') this.#modify({ ...id, AllocatedStorage: database.storageGb + 10 });
    else if (change === 'keep backups longer')
      this.#modify({ ...id, BackupRetentionPeriod: Math.min(35, database.backupDays + 1) });
    else if (change === 'back it up') this.#during(database, 'backing-up', this.#world.takes('rds.backup'));
    else if (change === 'restart it') this.#restart(database);
    else this.#modify({ ...id, DeletionProtection: change === 'protect it' });
  }

  delete(arn: string): void {
    const snapshot = [...this.#snapshots.values()].find((each) => each.arn === arn);
    if (snapshot !== undefined) {
      this.#snapshots.delete(snapshot.id);
      this.#world.gone(snapshot.thing);
      return;
    }
    this.#delete(this.#byArn(arn)!, undefined);
  }

  // Within

  #find(id: string): Database {
    const database = this.#databases.get(id.split(':').at(-1)!.toLowerCase());
    if (database === undefined) throw new Refused('DBInstanceNotFoundFault', `DBInstance ${id} not found.`, 404);
    return database;
  }

  #byArn(arn: string): Database | undefined {
    return this.#databases.get(arn.split(':').at(-1)!);
  }

  #is(database: Database): boolean {
    return this.#databases.get(database.id) === database && database.status !== 'deleting';
  }

  #groups(ids: readonly string[]): readonly string[] {
    const missing = ids.find((id) => !this.#ec2.exists(id));
    if (missing !== undefined)
      throw new Refused('InvalidParameterValue', `Invalid security group , groupId= ${missing}, groupName=.`);
    return ids;
  }

  #make(input: CreateDBInstanceCommandInput): Database {
    const world = this.#world;
    const id = input.DBInstanceIdentifier!.toLowerCase();
    if (this.#databases.has(id)) throw new Refused('DBInstanceAlreadyExistsFault', 'DB instance already exists');
    if (!/^[a-z](-?[a-z0-9])*$/.test(id) || id.length > 63)
      throw new Refused('InvalidParameterValue', 'The parameter DBInstanceIdentifier is not a valid identifier.');
    if (this.#databases.size >= world.quotas.databases)
      throw new Refused(
        'InstanceQuotaExceededFault',
        'Operation would result in exceeding the DB Instances quota for this account.',
      );
    if (input.Engine !== 'postgres') throw new NotSimulated(`rds: engine "${input.Engine}"`);
    const version = MINOR[input.EngineVersion ?? '17'] ?? input.EngineVersion!;
    if (!/^\d+\.\d+$/.test(version))
      throw new Refused('InvalidParameterCombination', `Cannot find version ${version} for postgres`);
    if (input.DBSubnetGroupName!.toLowerCase() !== this.#subnetGroup)
      throw new Refused(
        'DBSubnetGroupNotFoundFault',
        `DB subnet group '${input.DBSubnetGroupName}' does not exist.`,
        404,
      );
    checkGrowth(input.MaxAllocatedStorage, input.AllocatedStorage!, true);
    const groups = this.#groups(input.VpcSecurityGroupIds ?? []);
    const arn = world.arn('rds', `db:${id}`);
    const thing = world.made(DATABASE, arn, id, tagsOf(input.Tags), {
      state: () => database.status,
      uses: () => database.groups.map((group) => this.#ec2.arnOf(group)),
    });
    const database: Database = {
      id,
      arn,
      thing,
      resourceId: `db-${world.hex(26).toUpperCase()}`,
      host: `${id}.c${world.hex(11)}.${world.region}.rds.amazonaws.com`,
      user: input.MasterUsername!,
      name: input.DBName ?? '',
      version,
      subnetGroup: this.#subnetGroup,
      copiesTags: input.CopyTagsToSnapshot ?? false,
      status: 'creating',
      class: input.DBInstanceClass!,
      storageGb: input.AllocatedStorage!,
      maxStorageGb: input.MaxAllocatedStorage,
      multiAz: input.MultiAZ ?? false,
      backupDays: input.BackupRetentionPeriod ?? 1,
      isProtected: input.DeletionProtection ?? false,
      protectedUntil: 0,
      groups,
      password: input.MasterUserPassword!,
      pending: HIDDEN,
      busyUntil: 0,
      isReachable: false,
    };
    this.#databases.set(id, database);
    this.#ec2.attach(groups, 1);
    world.later(world.takes(database.multiAz ? 'rds.create.multiaz' : 'rds.create'), () => {
      if (!this.#is(database)) return;
      database.pending = {};
      database.isReachable = true;
      database.status = 'available';
      if (database.backupDays > 0) this.#during(database, 'backing-up', world.takes('rds.backup'));
      this.#backUpDaily(database);
    });
    return database;
  }

  #backUpDaily(database: Database): void {
    const world = this.#world;
    world.later(DAY, () => {
      if (!this.#is(database)) return;
      if (database.backupDays > 0 && database.status === 'available')
        this.#during(database, 'backing-up', world.takes('rds.backup'));
      this.#backUpDaily(database);
    });
  }

  /** Shows this state for a while, and is then available again. */
  #during(database: Database, status: string, milliseconds: number, then?: () => void): void {
    database.status = status;
    this.#world.later(milliseconds, () => {
      if (!this.#is(database)) return;
      then?.();
      database.status = 'available';
    });
  }

  #restart(database: Database): void {
    database.isReachable = false;
    this.#during(database, 'rebooting', this.#world.takes('rds.reboot'), () => {
      database.isReachable = true;
    });
  }

  #modify(input: Partial<ModifyDBInstanceCommandInput>): Database {
    const world = this.#world;
    const database = this.#find(input.DBInstanceIdentifier!);
    if (!MODIFIABLE.has(database.status))
      throw new Refused('InvalidDBInstanceStateFault', 'Database instance is not in available state.');
    if (input.ApplyImmediately !== true) throw new NotSimulated('rds: changes for the maintenance window');
    const storage = input.AllocatedStorage ?? database.storageGb;
    if (storage < database.storageGb)
      throw new Refused(
        'InvalidParameterCombination',
        `Invalid storage size: requested ${storage} GiB is less than the current ${database.storageGb} GiB`,
      );
    if (input.MaxAllocatedStorage !== database.maxStorageGb) checkGrowth(input.MaxAllocatedStorage, storage, false);
    const days = input.BackupRetentionPeriod;
    if (days !== undefined && (days < 0 || days > 35))
      throw new Refused('InvalidParameterValue', `Invalid backup retention period: ${days}. Must be between 0 and 35.`);

    const later: Pending = {};
    if (input.DBInstanceClass !== undefined && input.DBInstanceClass !== database.class)
      later.DBInstanceClass = input.DBInstanceClass;
    if (storage !== database.storageGb) later.AllocatedStorage = storage;
    if (input.MultiAZ !== undefined && input.MultiAZ !== database.multiAz) later.MultiAZ = input.MultiAZ;
    if (days !== undefined && days !== database.backupDays) {
      // From or to none is an outage; any other change is at once.
      if (days > 0 === database.backupDays > 0) database.backupDays = days;
      else later.BackupRetentionPeriod = days;
    }
    if (input.VpcSecurityGroupIds !== undefined) {
      const groups = this.#groups(input.VpcSecurityGroupIds);
      this.#ec2.attach(database.groups, -1);
      this.#ec2.attach(groups, 1);
      database.groups = groups;
    }
    database.copiesTags = input.CopyTagsToSnapshot ?? database.copiesTags;
    if (input.MaxAllocatedStorage !== undefined) database.maxStorageGb = input.MaxAllocatedStorage;
    if (input.DeletionProtection === false && database.isProtected)
      database.protectedUntil = world.now() + world.between(0, 8);
    if (input.DeletionProtection !== undefined) database.isProtected = input.DeletionProtection;
    world.note('changed', database.thing);

    const password = input.MasterUserPassword;
    if (password !== undefined) this.#apply(database, { MasterUserPassword: password });
    if (Object.keys(later).length > 0) this.#apply(database, later);
    return database;
  }

  /** Pending at once; a moment later the state shows it; at the end it is so. After what is being done already. */
  #apply(database: Database, change: Pending): void {
    const world = this.#world;
    const whole = world.takes('rds.modify');
    const begins = Math.max(world.now(), database.busyUntil) + whole * SOON;
    database.busyUntil = begins + whole * (1 - SOON);
    const { MasterUserPassword: password, ...values } = change;
    database.pending = { ...database.pending, ...change };
    const restarts = values.DBInstanceClass !== undefined || values.BackupRetentionPeriod !== undefined;
    world.later(begins - world.now(), () => {
      if (!this.#is(database)) return;
      if (password !== undefined) database.password = password;
      if (restarts) database.isReachable = false;
      const status = password === undefined ? 'modifying' : 'resetting-master-credentials';
      this.#during(database, status, whole * (1 - SOON), () => {
        database.isReachable = true;
        database.class = values.DBInstanceClass ?? database.class;
        database.storageGb = values.AllocatedStorage ?? database.storageGb;
        database.multiAz = values.MultiAZ ?? database.multiAz;
        database.backupDays = values.BackupRetentionPeriod ?? database.backupDays;
        const left = { ...database.pending };
        // What was asked for meanwhile is pending still.
        for (const name of Object.keys(change) as (keyof Pending)[]) if (left[name] === change[name]) delete left[name];
        database.pending = left;
      });
    });
  }

  #delete(database: Database, finalSnapshot: string | undefined): void {
    const world = this.#world;
    if (database.isProtected || database.protectedUntil > world.now())
      throw new Refused(
        'InvalidParameterCombination',
        'Cannot delete protected DB Instance, please disable deletion protection and try again.',
      );
    if (database.status === 'deleting')
      throw new Refused('InvalidDBInstanceStateFault', `Instance ${database.id} is already being deleted.`);
    if (finalSnapshot !== undefined) {
      if (this.#snapshots.has(finalSnapshot))
        throw new Refused(
          'DBSnapshotAlreadyExistsFault',
          `Cannot create the snapshot because a snapshot with the identifier ${finalSnapshot} already exists.`,
        );
      if (database.status !== 'available')
        throw new Refused(
          'InvalidDBInstanceStateFault',
          `Cannot create a snapshot because the database instance ${database.id} is not currently in the available ` +
            'state.',
        );
    }
    database.status = 'deleting';
    database.isReachable = false;
    database.thing.isGoing = true;
    world.note('asked to go', database.thing);
    const copied = finalSnapshot === undefined ? 0 : this.#snapshot(database, finalSnapshot);
    world.later(copied + world.takes('rds.delete'), () => {
      this.#databases.delete(database.id);
      this.#ec2.attach(database.groups, -1);
      world.gone(database.thing);
    });
  }

  /** @returns how long it takes */
  #snapshot(database: Database, id: string): number {
    const world = this.#world;
    const arn = world.arn('rds', `snapshot:${id}`);
    const tags: Tags = database.copiesTags ? database.thing.tags : {};
    const thing = world.made(SNAPSHOT, arn, id, tags, { state: () => snapshot.status });
    thing.isGoing = true; // what is kept of the database, on purpose
    const { id: databaseId, resourceId, storageGb } = database;
    const snapshot: Snapshot = { id, arn, databaseId, resourceId, storageGb, thing, status: 'creating' };
    this.#snapshots.set(id, snapshot);
    const whole = world.takes('rds.snapshot');
    world.later(whole, () => {
      snapshot.status = 'available';
    });
    return whole;
  }

  #view(database: Database): DBInstance {
    const { status, pending, host, isProtected } = database;
    const isUp = status !== 'creating';
    return {
      DBInstanceIdentifier: database.id,
      DBInstanceArn: database.arn,
      DbiResourceId: database.resourceId,
      DBInstanceStatus: status,
      DBInstanceClass: database.class,
      Engine: 'postgres',
      EngineVersion: database.version,
      DBName: database.name,
      MasterUsername: database.user,
      ...(isUp && { Endpoint: { Address: host, Port: PORT, HostedZoneId: 'Z2R2ITUGPM61AM' } }),
      AllocatedStorage: database.storageGb,
      ...(database.maxStorageGb !== undefined && { MaxAllocatedStorage: database.maxStorageGb }),
      MultiAZ: database.multiAz,
      BackupRetentionPeriod: database.backupDays,
      DeletionProtection: isProtected,
      CopyTagsToSnapshot: database.copiesTags,
      VpcSecurityGroups: database.groups.map((id) => ({ VpcSecurityGroupId: id, Status: 'active' })),
      DBSubnetGroup: { DBSubnetGroupName: database.subnetGroup },
      PendingModifiedValues: { ...pending, ...(pending.MasterUserPassword !== undefined && HIDDEN) },
      InstanceCreateTime: new Date(database.thing.since),
      TagList: tagListOf(database.thing.tags),
    };
  }
}

/** A tenth more at least; the size itself, of one that is there already, switches the growth off. */
function checkGrowth(most: number | undefined, size: number, isNew: boolean): void {
  if (most === undefined || (most === size && !isNew) || most >= size * 1.1) return;
  throw new Refused(
    'InvalidParameterCombination',
    'The maximum allocated storage must be increased by at least 10 percent.',
  );
}
