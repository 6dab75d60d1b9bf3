/** RDS instances: AWS's states and refusals around a real PostgreSQL server. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { CreateSecurityGroupCommand, CreateSubnetCommand, CreateVpcCommand, EC2Client } from '@aws-sdk/client-ec2';
import {
  AddTagsToResourceCommand,
  CreateDBInstanceCommand,
  CreateDBParameterGroupCommand,
  CreateDBSnapshotCommand,
  CreateDBSubnetGroupCommand,
  DeleteDBInstanceCommand,
  DeleteDBSnapshotCommand,
  DeleteDBSubnetGroupCommand,
  DescribeDBInstancesCommand,
  DescribeDBSnapshotsCommand,
  ListTagsForResourceCommand,
  ModifyDBInstanceCommand,
  ModifyDBParameterGroupCommand,
  RDSClient,
  RebootDBInstanceCommand,
  RestoreDBInstanceFromDBSnapshotCommand,
  type CreateDBInstanceCommandInput,
  type DBInstance,
  type ModifyDBInstanceCommandInput,
  type RestoreDBInstanceFromDBSnapshotCommandInput,
} from '@aws-sdk/client-rds';
import pg from 'pg';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { openRehearsal, PACE, TIMER_PACE } from '../support/rehearsal.ts';

const REGION = 'eu-west-1';
const ONE = '330000000001';
const OTHER = '330000000002';
const PASSWORD = "it's<a>&password"; // with characters that SQL and XML would trip over
const NEW_PASSWORD = "another's;--password";

interface Site {
  rds: RDSClient;
  ec2: EC2Client;
  vpc: string;
  subnets: string[];
  group: string;
}

async function site(rehearsal: Rehearsal, account: string): Promise<Site> {
  const options = {
    endpoint: rehearsal.endpoint,
    region: REGION,
    credentials: rehearsal.root(account),
    maxAttempts: 1,
  };
  const [ec2, rds] = [new EC2Client(options), new RDSClient(options)];
  const vpc = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.8.0.0/16' }))).Vpc!.VpcId!;
  const subnets: string[] = [];
  for (const zone of ['a', 'b', 'b']) {
    const CidrBlock = `10.8.${subnets.length}.0/24`;
    const made = await ec2.send(
      new CreateSubnetCommand({ VpcId: vpc, CidrBlock, AvailabilityZone: `${REGION}${zone}` }),
    );
    subnets.push(made.Subnet!.SubnetId!);
  }
  const group = await ec2.send(new CreateSecurityGroupCommand({ GroupName: 'db', Description: 'db', VpcId: vpc }));
  await rds.send(
    new CreateDBSubnetGroupCommand({
      DBSubnetGroupName: 'freehold',
      DBSubnetGroupDescription: 'private subnets',
      SubnetIds: subnets.slice(0, 2),
    }),
  );
  return { rds, ec2, vpc, subnets, group: group.GroupId! };
}

const create = async (
  where: Site,
  id: string,
  more: Partial<CreateDBInstanceCommandInput> = {},
): Promise<DBInstance> => {
  const { DBInstance } = await where.rds.send(
    new CreateDBInstanceCommand({
      DBInstanceIdentifier: id,
      DBInstanceClass: 'db.t4g.micro',
      Engine: 'postgres',
      EngineVersion: '16',
      AllocatedStorage: 20,
      StorageType: 'gp3',
      StorageEncrypted: true,
      MasterUsername: 'freehold',
      MasterUserPassword: PASSWORD,
      DBName: 'app',
      DBSubnetGroupName: 'freehold',
      VpcSecurityGroupIds: [where.group],
      BackupRetentionPeriod: 0,
      ...more,
    }),
  );
  return DBInstance!;
};
const describeOne = async (where: Site, id: string): Promise<DBInstance> =>
  (await where.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier: id }))).DBInstances![0]!;
const modify = async (where: Site, id: string, more: Partial<ModifyDBInstanceCommandInput>): Promise<DBInstance> =>
  (await where.rds.send(new ModifyDBInstanceCommand({ DBInstanceIdentifier: id, ...more }))).DBInstance!;
const becomes = (where: Site, id: string, status: string) =>
  eventually(
    `${id} is ${status}`,
    async () => {
      const seen = await describeOne(where, id);
      return seen.DBInstanceStatus === status ? seen : undefined;
    },
    { every: 5 },
  );
const remove = (where: Site, id: string) =>
  where.rds.send(new DeleteDBInstanceCommand({ DBInstanceIdentifier: id, SkipFinalSnapshot: true }));
const isGone = (where: Site, id: string) =>
  eventually(`${id} is gone`, () =>
    describeOne(where, id).then(
      () => false,
      (error: Error) => error.name === 'DBInstanceNotFoundFault',
    ),
  );

describe('databases', { timeout: 120_000, concurrency: 3 }, () => {
  let rehearsal: Rehearsal;
  let one: Site;

  before(async () => {
    rehearsal = await openRehearsal();
    one = await site(rehearsal, ONE);
  });
  after(() => rehearsal?.stop());

  /** Connects as a process would that was given the name in its environment. */
  async function connect(instance: DBInstance, more: pg.ClientConfig = {}): Promise<pg.Client> {
    const client = new pg.Client({
      host: (await rehearsal.names())[instance.Endpoint!.Address!],
      port: instance.Endpoint!.Port,
      user: 'freehold',
      password: PASSWORD,
      database: 'app',
      ssl: { rejectUnauthorized: false },
      ...more,
    });
    client.on('error', () => {});
    await client.connect();
    return client;
  }
  async function ask(
    instance: DBInstance,
    sql: string,
    more: pg.ClientConfig = {},
  ): Promise<Record<string, unknown>[]> {
    const client = await connect(instance, more);
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  test('it passes from creating through backing-up to available, serves, and is gone with its name after deletion', async () => {
    const made = await create(one, 'Life', {
      BackupRetentionPeriod: 7,
      Tags: [{ Key: 'freehold:place', Value: 'freehold' }],
    });
    assert.equal(made.DBInstanceIdentifier, 'life');
    assert.equal(made.DBInstanceStatus, 'creating');
    assert.equal(made.Endpoint, undefined);
    assert.equal(made.DBInstanceArn, `arn:aws:rds:${REGION}:${ONE}:db:life`);
    assert.match(made.DbiResourceId!, /^db-[A-Z0-9]{26}$/);
    const statuses = ['creating'];
    const up = await eventually(
      'it is available',
      async () => {
        const seen = await describeOne(one, 'life');
        if (statuses.at(-1) !== seen.DBInstanceStatus) statuses.push(seen.DBInstanceStatus!);
        assert.equal(seen.Endpoint === undefined, seen.DBInstanceStatus === 'creating');
        return seen.DBInstanceStatus === 'available' ? seen : undefined;
      },
      { every: 5 },
    );
    assert.deepEqual(statuses, ['creating', 'backing-up', 'available']);
    assert.match(up.Endpoint!.Address!, /^life\.c[a-z0-9]{11}\.eu-west-1\.rds\.amazonaws\.com$/);
    assert.equal(up.Endpoint!.Port, 5432);
    assert.match(up.EngineVersion!, /^16\.\d+$/);
    assert.equal(up.StorageEncrypted, true);
    assert.equal(up.PubliclyAccessible, false);
    assert.deepEqual(
      up.VpcSecurityGroups!.map((group) => group.VpcSecurityGroupId),
      [one.group],
    );
    assert.deepEqual(up.TagList, [{ Key: 'freehold:place', Value: 'freehold' }]);

    const [row] = await ask(
      up,
      `select current_user as who, current_database() as database, current_setting('max_connections') as most,
        (select rolsuper from pg_roles where rolname = current_user) as super,
        (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as ssl`,
    );
    assert.deepEqual(row, { who: 'freehold', database: 'app', most: '112', super: false, ssl: true });
    for (const right of ['create extension pg_trgm', 'create role reader', 'create database another'])
      await ask(up, right);
    await assert.rejects(ask(up, "copy (select 1) to '/tmp/no'"), /permission denied/);
    await assert.rejects(connect(up, { ssl: false }), /no pg_hba\.conf entry for host .* no encryption/);
    await assert.rejects(connect(up, { password: 'wrong' }), /password authentication failed/);
    await assert.rejects(connect(up, { user: 'rdsadmin' }), /pg_hba\.conf rejects connection/);

    await one.rds.send(
      new AddTagsToResourceCommand({ ResourceName: up.DBInstanceArn, Tags: [{ Key: 'more', Value: 'x' }] }),
    );
    const { TagList } = await one.rds.send(new ListTagsForResourceCommand({ ResourceName: up.DBInstanceArn }));
    assert.deepEqual(TagList!.map((tag) => tag.Key).sort(), ['freehold:place', 'more']);
    assert.equal((await describeOne(one, 'LIFE')).TagList!.length, 2);

    await remove(one, 'life');
    assert.equal((await describeOne(one, 'life')).DBInstanceStatus, 'deleting');
    await assert.rejects(remove(one, 'life'), { name: 'InvalidDBInstanceStateFault' });
    await isGone(one, 'life');
    assert.equal((await rehearsal.names())[up.Endpoint!.Address!], undefined);
    assert.deepEqual(
      (await rehearsal.processes()).filter((row) => row['account'] === ONE && row['database'] === 'life'),
      [],
    );
  });

  test('a new master password is pending, then really the only one that opens', async () => {
    await create(one, 'password');
    await becomes(one, 'password', 'available');
    const changed = await modify(one, 'password', { MasterUserPassword: NEW_PASSWORD });
    assert.deepEqual(changed.PendingModifiedValues, { MasterUserPassword: '****' });
    assert.equal(changed.DBInstanceStatus, 'available', 'the state shows it only a moment later');
    await becomes(one, 'password', 'resetting-master-credentials');
    await assert.rejects(modify(one, 'password', { BackupRetentionPeriod: 1 }), {
      name: 'InvalidDBInstanceStateFault',
    });
    const done = await becomes(one, 'password', 'available');
    assert.deepEqual(done.PendingModifiedValues, {});
    await assert.rejects(connect(done), /password authentication failed/);
    assert.equal((await ask(done, 'select 1 as n', { password: NEW_PASSWORD })).length, 1);
    await remove(one, 'password');
  });

  test('changes wait for the window, or are applied at once when asked; a larger class has more connections', async () => {
    await create(one, 'change');
    await becomes(one, 'change', 'available');
    const asked = await modify(one, 'change', {
      DBInstanceClass: 'db.t4g.medium',
      AllocatedStorage: 30,
      BackupRetentionPeriod: 3,
      MaxAllocatedStorage: 33,
    });
    assert.deepEqual(asked.PendingModifiedValues, {
      DBInstanceClass: 'db.t4g.medium',
      AllocatedStorage: 30,
      BackupRetentionPeriod: 3, // from zero: an outage, so it waits
    });
    assert.equal(asked.MaxAllocatedStorage, 33, 'this needs no window');
    assert.equal(asked.DBInstanceClass, 'db.t4g.micro');
    await modify(one, 'change', { ApplyImmediately: true });
    await becomes(one, 'change', 'modifying');
    const done = await becomes(one, 'change', 'available');
    assert.equal(done.DBInstanceClass, 'db.t4g.medium');
    assert.equal(done.AllocatedStorage, 30);
    assert.deepEqual(done.PendingModifiedValues, {});
    assert.deepEqual(await ask(done, "select current_setting('max_connections') as most"), [{ most: '450' }]);
    for (const refused of [{ AllocatedStorage: 20 }, { MaxAllocatedStorage: 32 }])
      await assert.rejects(modify(one, 'change', refused), { name: 'InvalidParameterCombination' });
    assert.equal((await modify(one, 'change', { MaxAllocatedStorage: 30 })).MaxAllocatedStorage, 30, 'none any more');
    const more = await modify(one, 'change', { BackupRetentionPeriod: 4 });
    assert.equal(more.BackupRetentionPeriod, 4, 'no outage, no window');
    await remove(one, 'change');
  });

  // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/PostgreSQL.Concepts.General.SSL.html
  test('its certificate is of its own name and signed by RDS: verify-full lets nothing else pass', async () => {
    await create(one, 'proven');
    const up = await becomes(one, 'proven', 'available');
    const ca = await rehearsal.databaseCa();
    const name = up.Endpoint!.Address!;
    const proven = (ssl: pg.ClientConfig['ssl']) => ask(up, 'select 1 as n', { ssl: ssl! });
    assert.deepEqual(await proven({ ca, servername: name }), [{ n: 1 }]);
    await assert.rejects(proven({ ca, servername: name.replace('proven', 'other') }), /does not match certificate/);
    await assert.rejects(proven({ servername: name }), /unable to verify the first certificate/);
    await assert.rejects(connect(up, { ssl: false }), /no encryption/);
    await remove(one, 'proven');
  });

  test('without rds.force_ssl it takes plain connections', async () => {
    const parameters = { DBParameterGroupName: 'plain' };
    await one.rds.send(
      new CreateDBParameterGroupCommand({ ...parameters, DBParameterGroupFamily: 'postgres16', Description: 'plain' }),
    );
    await one.rds.send(
      new ModifyDBParameterGroupCommand({
        ...parameters,
        Parameters: [{ ParameterName: 'rds.force_ssl', ParameterValue: '0', ApplyMethod: 'pending-reboot' }],
      }),
    );
    await create(one, 'plain', parameters);
    const up = await becomes(one, 'plain', 'available');
    const [row] = await ask(up, 'select ssl from pg_stat_ssl where pid = pg_backend_pid()', { ssl: false });
    assert.deepEqual(row, { ssl: false });
    await one.rds.send(
      new ModifyDBParameterGroupCommand({
        ...parameters,
        Parameters: [{ ParameterName: 'rds.force_ssl', ParameterValue: '1', ApplyMethod: 'pending-reboot' }],
      }),
    );
    await one.rds.send(new RebootDBInstanceCommand({ DBInstanceIdentifier: 'plain' }));
    await becomes(one, 'plain', 'available');
    await assert.rejects(connect(up, { ssl: false }), /no encryption/);
    await remove(one, 'plain');
  });

  test('a server that is killed from outside comes back by itself, with its data', async () => {
    await create(one, 'killed');
    const up = await becomes(one, 'killed', 'available');
    await ask(up, 'create table kept as select 42 as answer');
    const client = await connect(up);
    const broken = new Promise((resolve) => client.once('end', resolve));
    await rehearsal.kill({ account: ONE, database: 'killed', signal: 'SIGKILL' });
    await broken;
    await assert.rejects(connect(up));
    assert.equal((await describeOne(one, 'killed')).DBInstanceStatus, 'available');
    const rows = await eventually('it answers again', () => ask(up, 'select answer from kept'));
    assert.deepEqual(rows, [{ answer: 42 }]);
    await remove(one, 'killed');
  });

  test('a protected one is not deleted; a final snapshot stays', async () => {
    await create(one, 'protected', { DeletionProtection: true });
    const finalSnapshot = { DBInstanceIdentifier: 'protected', FinalDBSnapshotIdentifier: 'protected-final' };
    await assert.rejects(remove(one, 'protected'), {
      name: 'InvalidParameterCombination',
      message: 'Cannot delete protected DB Instance, please disable deletion protection and try again.',
    });
    await becomes(one, 'protected', 'available');
    assert.equal((await modify(one, 'protected', { DeletionProtection: false })).DeletionProtection, false);
    await assert.rejects(one.rds.send(new DeleteDBInstanceCommand({ DBInstanceIdentifier: 'protected' })), {
      name: 'InvalidParameterCombination',
    });
    await one.rds.send(new DeleteDBInstanceCommand(finalSnapshot));
    const snapshots = async () =>
      (await one.rds.send(new DescribeDBSnapshotsCommand({ DBSnapshotIdentifier: 'protected-final' })))
        .DBSnapshots![0]!;
    assert.equal((await snapshots()).Status, 'creating');
    await isGone(one, 'protected');
    assert.equal((await snapshots()).Status, 'available');
    await create(one, 'protected');
    await becomes(one, 'protected', 'available');
    await assert.rejects(one.rds.send(new DeleteDBInstanceCommand(finalSnapshot)), {
      name: 'DBSnapshotAlreadyExistsFault',
    });
    await remove(one, 'protected');
  });

  test('restored from a snapshot it is another instance, with the data, the password and the tags of then', async () => {
    const tags = [{ Key: 'whose', Value: 'ours' }];
    const settings = { DeletionProtection: true, CopyTagsToSnapshot: true, MaxAllocatedStorage: 100 };
    const made = await create(one, 'lost', { ...settings, Tags: tags, BackupRetentionPeriod: 3 });
    const up = await becomes(one, 'lost', 'available');
    await ask(up, 'create table notes as select 1 as note');
    await one.rds.send(new CreateDBSnapshotCommand({ DBInstanceIdentifier: 'lost', DBSnapshotIdentifier: 'Midway' }));
    const snapshot = async (id: string): Promise<string> =>
      (await one.rds.send(new DescribeDBSnapshotsCommand({ DBSnapshotIdentifier: id }))).DBSnapshots![0]!.Status!;
    const restore = async (more: Partial<RestoreDBInstanceFromDBSnapshotCommandInput> = {}): Promise<DBInstance> => {
      const given = { DBInstanceIdentifier: 'lost', DBSnapshotIdentifier: 'midway', ...more };
      return (await one.rds.send(new RestoreDBInstanceFromDBSnapshotCommand(given))).DBInstance!;
    };
    await assert.rejects(restore({ DBInstanceIdentifier: 'too-soon' }), { name: 'InvalidDBSnapshotStateFault' });
    await assert.rejects(restore(), { name: 'DBInstanceAlreadyExistsFault' });
    await becomes(one, 'lost', 'available');
    assert.equal(await snapshot('midway'), 'available');
    // After it: not in the snapshot, but in the last one.
    await ask(up, 'insert into notes values (2)');
    await modify(one, 'lost', { DeletionProtection: false, MasterUserPassword: NEW_PASSWORD, ApplyImmediately: true });
    await eventually('the new password opens', () => ask(up, 'select 1', { password: NEW_PASSWORD }));
    await becomes(one, 'lost', 'available');
    const last = { DBInstanceIdentifier: 'lost', FinalDBSnapshotIdentifier: 'last' };
    await one.rds.send(new DeleteDBInstanceCommand(last));
    await isGone(one, 'lost');

    const group = { DBSubnetGroupName: 'freehold', VpcSecurityGroupIds: [one.group] };
    await assert.rejects(restore({ DBSnapshotIdentifier: 'none' }), { name: 'DBSnapshotNotFoundFault' });
    await assert.rejects(restore(), { name: 'DBSubnetGroupNotFoundFault' }, 'AWS looks for the group "default"');
    await assert.rejects(restore({ ...group, DBName: 'app' }), { name: 'InvalidParameterValue' });
    await assert.rejects(restore({ ...group, AllocatedStorage: 19 }), { name: 'InvalidParameterValue' });

    const begun = await restore({ DBSubnetGroupName: 'freehold' });
    assert.deepEqual(
      [begun.DBInstanceStatus, begun.Endpoint, begun.DeletionProtection, begun.CopyTagsToSnapshot],
      ['creating', undefined, false, false],
    );
    assert.notEqual(begun.DbiResourceId, made.DbiResourceId);
    assert.deepEqual([begun.MaxAllocatedStorage, begun.MultiAZ, begun.BackupRetentionPeriod], [undefined, false, 3]);
    assert.deepEqual([begun.DBInstanceClass, begun.AllocatedStorage], ['db.t4g.micro', 20]);
    assert.notEqual(begun.VpcSecurityGroups![0]!.VpcSecurityGroupId, one.group, "the VPC's default group");
    assert.deepEqual(begun.TagList, tags);
    await becomes(one, 'lost', 'backing-up');
    const back = await becomes(one, 'lost', 'available');
    assert.equal(back.Endpoint!.Address, up.Endpoint!.Address);
    assert.deepEqual(await ask(back, 'select note from notes'), [{ note: 1 }]);
    await modify(one, 'lost', { VpcSecurityGroupIds: [one.group] });

    // Tags that are given are all that it has.
    const others = [{ Key: 'whose', Value: 'theirs' }];
    await restore({ ...group, DBInstanceIdentifier: 'last', DBSnapshotIdentifier: 'last', Tags: others });
    const other = await becomes(one, 'last', 'available');
    assert.deepEqual(other.TagList, others);
    await assert.rejects(ask(other, 'select note from notes'));
    const notes = await ask(other, 'select note from notes order by note', { password: NEW_PASSWORD });
    assert.deepEqual(notes, [{ note: 1 }, { note: 2 }]);
    for (const id of ['lost', 'last']) await remove(one, id);
    for (const DBSnapshotIdentifier of ['midway', 'last'])
      await one.rds.send(new DeleteDBSnapshotCommand({ DBSnapshotIdentifier }));
    await assert.rejects(restore({ ...group, DBInstanceIdentifier: 'late' }), { name: 'DBSnapshotNotFoundFault' });
  });

  test('two accounts have databases of the same name and do not see each other', async () => {
    const two = await site(rehearsal, OTHER);
    await Promise.all([create(one, 'same'), create(two, 'same', { MasterUserPassword: 'of-the-other-one' })]);
    const [mine, theirs] = await Promise.all([becomes(one, 'same', 'available'), becomes(two, 'same', 'available')]);
    assert.notEqual(mine.Endpoint!.Address, theirs.Endpoint!.Address);
    await ask(mine, 'create table mine ()');
    const tables = "select tablename from pg_tables where schemaname = 'public'";
    assert.deepEqual(await ask(theirs, tables, { password: 'of-the-other-one' }), []);
    await assert.rejects(connect(theirs), /password authentication failed/);
    await remove(two, 'same');
    await isGone(two, 'same');
    assert.deepEqual(await ask(mine, tables), [{ tablename: 'mine' }]);
    await remove(one, 'same');
  });

  test('deleted while it is being created, it leaves nothing', async () => {
    await create(one, 'brief');
    await remove(one, 'brief');
    await isGone(one, 'brief');
    await create(one, 'brief');
    const up = await becomes(one, 'brief', 'available');
    assert.equal((await ask(up, 'select 1 as n')).length, 1);
    assert.equal((await rehearsal.processes()).filter((row) => row['database'] === 'brief').length, 1);
    await remove(one, 'brief');
  });

  test('refusals are those of AWS', async () => {
    const refused = (name: string, more: Partial<CreateDBInstanceCommandInput>, id = 'refused') =>
      assert.rejects(create(one, id, more), { name });
    await refused('DBSubnetGroupNotFoundFault', { DBSubnetGroupName: 'nowhere' });
    await refused('InvalidParameterValue', { VpcSecurityGroupIds: ['sg-00000000000000000'] });
    await refused('InvalidParameterValue', { DBInstanceClass: 'db.t4g.tiny' });
    await refused('InvalidParameterValue', { MasterUserPassword: 'short' });
    await refused('InvalidParameterValue', { MasterUserPassword: 'with/a/slash' });
    await refused('InvalidParameterValue', { MasterUsername: 'admin' });
    await refused('InvalidParameterValue', { AllocatedStorage: 5 });
    await refused('InvalidParameterCombination', { AllocatedStorage: 20, MaxAllocatedStorage: 20 });
    await refused('InvalidParameterCombination', { AllocatedStorage: 20, MaxAllocatedStorage: 21 });
    await refused('InvalidParameterCombination', { EngineVersion: '99' });
    await refused('InvalidParameterValue', {}, 'two--hyphens');
    await refused('InvalidParameterValue', {}, 'a'.repeat(64));
    const other = await one.ec2.send(new CreateVpcCommand({ CidrBlock: '10.7.0.0/16' }));
    const foreign = await one.ec2.send(
      new CreateSecurityGroupCommand({ GroupName: 'db', Description: 'db', VpcId: other.Vpc!.VpcId! }),
    );
    await refused('InvalidVPCNetworkStateFault', { VpcSecurityGroupIds: [foreign.GroupId!] });
    const subnetGroup = (DBSubnetGroupName: string, SubnetIds: string[]) =>
      one.rds.send(new CreateDBSubnetGroupCommand({ DBSubnetGroupName, DBSubnetGroupDescription: 'x', SubnetIds }));
    await assert.rejects(subnetGroup('narrow', one.subnets.slice(1)), { name: 'DBSubnetGroupDoesNotCoverEnoughAZs' });
    await assert.rejects(subnetGroup('freehold', one.subnets), { name: 'DBSubnetGroupAlreadyExistsFault' });
    await create(one, 'refused');
    await refused('DBInstanceAlreadyExistsFault', {});
    await assert.rejects(modify(one, 'refused', { BackupRetentionPeriod: 1 }), { name: 'InvalidDBInstanceStateFault' });
    await assert.rejects(one.rds.send(new DeleteDBSubnetGroupCommand({ DBSubnetGroupName: 'freehold' })), {
      name: 'InvalidDBSubnetGroupStateFault',
    });
    await assert.rejects(describeOne(one, 'nothing'), { name: 'DBInstanceNotFoundFault' });
    await assert.rejects(modify(one, 'nothing', {}), { name: 'DBInstanceNotFoundFault' });
    await remove(one, 'refused');
  });
});

test(
  'when the emulated account is killed, its databases and connections end with it',
  { timeout: 60_000 },
  async () => {
    const rehearsal = await startRehearsal({ pace: PACE, timerPace: TIMER_PACE });
    try {
      const where = await site(rehearsal, ONE);
      await create(where, 'orphan');
      const up = await becomes(where, 'orphan', 'available');
      const client = new pg.Client({
        host: (await rehearsal.names())[up.Endpoint!.Address!],
        port: 5432,
        user: 'freehold',
        password: PASSWORD,
        database: 'app',
        ssl: { rejectUnauthorized: false },
      });
      const ended = new Promise((resolve) => client.once('end', resolve));
      client.on('error', () => {});
      await client.connect();
      const [row] = await rehearsal.processes();
      const postgres = Number(row!['pid']);
      const parent = (pid: number) => Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
      const emulator = parent(postgres);
      const children = readdirSync('/proc')
        .map(Number)
        .filter((pid) => pid > 0)
        .filter((pid) => {
          try {
            return parent(pid) === emulator;
          } catch {
            return false; // it has ended meanwhile
          }
        });
      assert.ok(children.includes(postgres) && children.length >= 3, 'server, keeper and mover');
      process.kill(emulator, 'SIGKILL');
      await ended;
      await eventually('all of them are gone', () => children.every((pid) => !existsSync(`/proc/${pid}`)));
    } finally {
      await rehearsal.stop();
    }
  },
);
