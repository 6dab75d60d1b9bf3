/**
 * Plans of the real kinds in an AWS account that is simulated in the process, in virtual time: what a plan says is held
 * against what the passes then do, write by write.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DescribeDBInstancesCommand, ModifyDBInstanceCommand } from '@aws-sdk/client-rds';
import { SimulatedAccount } from '../../simulation/aws/account.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { UNWRITTEN, writeEnvironment } from '../../services/reconciler/kinds/environment.ts';
import { kinds } from '../../services/reconciler/kinds/index.ts';
import { pass, type Memory, type Outcome, type Row } from '../../services/reconciler/pass.ts';
import { plan, type Plan, type Planning } from '../../services/reconciler/plan.ts';
import { planText } from '../../services/reconciler/plan-text.ts';
import { ecs } from '../../services/reconciler/platforms/ecs.ts';
import { monthlyPrice } from '../../services/reconciler/prices.ts';
import type { ServerSpec } from '../../services/reconciler/spec.ts';

const ID = '5b1f0c52-7c2e-4f43-9d5a-0c9f3f6d2a11';
const deployment = { id: ID, name: 'agent', workspaceId: 'w' };

/** A deployment in an account of its own, as the control plane would look after it. */
class Stage {
  now = Date.parse('2026-11-01T00:00:00Z');
  readonly account: SimulatedAccount;
  readonly rows = new Map<string, Row>();
  /** Writes to AWS, by the resource that they were for. */
  writes: string[] = [];
  reads = 0;
  spec: ServerSpec;
  readonly #memory: Memory = new Map();

  constructor(more: Partial<ServerSpec> = {}) {
    let seed = 1;
    const random = () => ((seed = (seed * 16_807) % 2_147_483_647) - 1) / 2_147_483_646;
    const habits = { now: () => this.now, random };
    this.account = new SimulatedAccount({
      id: '555000000001',
      region: 'eu-central-1',
      habits,
      lag: 0,
      rates: Infinity,
    });
    this.spec = {
      deployment,
      type: 'dev',
      databaseTier: null,
      source: 'external_docker',
      environment: [{ name: 'TOKEN', versionId: UNWRITTEN }],
      references: [],
      retainedSecretVersions: [],
      revision: { id: 'r1', number: 1 },
      image: this.image(1),
      resources: { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 1 },
      agentAuth: { type: 'noop' },
      ...more,
    };
  }

  image = (n: number): string =>
    `555000000001.dkr.ecr.eu-central-1.amazonaws.com/agent@sha256:${String(n).padStart(64, '0')}`;

  get place() {
    return { ...this.account.place(), id: 'p', externalId: 'x' };
  }

  cx(id: string) {
    const aws = this.account.clients((call, act) => {
      if (call.isWrite) this.writes.push(id);
      else this.reads += 1;
      return Promise.resolve().then(act);
    });
    return { aws, tags: ownerTags(this.place, ID, id), fence: () => Promise.resolve() };
  }

  async plan(spec = this.spec, more: Partial<Planning> = {}): Promise<Plan> {
    const before = structuredClone([...this.rows.values()]);
    this.writes = [];
    const told = await plan({
      graph: ecs(spec, this.place),
      generation: spec.revision.id,
      kinds,
      rows: [...this.rows.values()],
      cx: (id) => this.cx(id),
      conceal: (text) => text,
      ...more,
    });
    assert.deepEqual(this.writes, [], 'a plan writes nothing in AWS');
    assert.deepEqual([...this.rows.values()], before, 'nor among the rows');
    return told;
  }

  /** As the request does, before the passes. */
  async write(spec: ServerSpec): Promise<ServerSpec> {
    const values = spec.environment.filter(({ versionId }) => versionId === UNWRITTEN).map(({ name }) => [name, '1']);
    if (values.length === 0) return spec;
    const { aws } = this.cx('environment');
    const versionId = await writeEnvironment(aws, this.place, deployment, Object.fromEntries(values));
    const environment = spec.environment.map((one) => (one.versionId === UNWRITTEN ? { ...one, versionId } : one));
    return { ...spec, environment };
  }

  /** Passes until it is settled. @returns virtual seconds until all that is wanted was ready */
  async settle(): Promise<number> {
    const graph = ecs(this.spec, this.place);
    const started = this.now;
    let ready: number | undefined;
    for (let looks = 0; looks < 2000; looks += 1) {
      const outcome: Outcome = await pass({
        generation: this.spec.revision.id,
        graph,
        kinds,
        rows: {
          all: () => Promise.resolve([...this.rows.values()].map((row) => structuredClone(row))),
          put: (row) => Promise.resolve(void this.rows.set(row.id, structuredClone(row))),
          drop: (id) => Promise.resolve(void this.rows.delete(id)),
        },
        memory: this.#memory,
        cx: (id) => this.cx(id),
        say: () => Promise.resolve(),
        conceal: (text) => text,
        defect: (_, error) => assert.fail(error as Error),
        now: () => new Date(this.now),
      });
      const wanted = outcome.rows.slice(0, graph.nodes.length);
      const failed = wanted.find(({ state }) => state.state === 'failed');
      assert.equal(failed, undefined, `${failed?.id}: ${failed?.state.message}`);
      if (wanted.every(({ state }) => state.state === 'ready')) ready ??= (this.now - started) / 1000;
      if (outcome.settled) return ready!;
      this.now += (outcome.nextLookSeconds ?? 1) * 1000;
    }
    return assert.fail('never settled');
  }

  /** Plans it, does it, and holds the one against the other. */
  async change(to: Partial<ServerSpec>): Promise<Plan> {
    const spec = { ...this.spec, ...to };
    const told = await this.plan(spec);
    assert.deepEqual(told.obstacles, []);
    this.writes = [];
    this.reads = 0;
    this.spec = await this.write(spec);
    const seconds = await this.settle();
    const planned = told.steps.filter(({ what }) => what !== 'keep' && what !== 'wait');
    assert.deepEqual(
      [...new Set(this.writes)],
      planned.map(({ id }) => id),
      'these, in this order, and no others',
    );
    for (const { id, what, writes } of planned)
      assert.equal(this.writes.filter((one) => one === id).length, writes, `writes to ${what} ${id}`);
    assert.equal(this.writes.length, told.writes);
    assert(
      seconds >= told.seconds[0] * 0.5 && seconds <= told.seconds[1] * 1.5 + 5,
      `${seconds} s: ${told.seconds.join(' to ')}`,
    );
    assert(
      this.reads >= told.reads[0] / 2 && this.reads <= told.reads[1] * 2,
      `${this.reads} reads: ${told.reads.join(' to ')}`,
    );
    const nothing = await this.plan();
    assert.deepEqual([nothing.steps, nothing.obstacles, nothing.writes], [[], [], 0], 'then there is nothing to do');
    return told;
  }
}

const whats = (told: Plan): string[] => told.steps.map(({ id, what }) => `${what} ${id}`);
const fieldsOf = (told: Plan, id: string): string[] =>
  told.steps.find((step) => step.id === id)?.changes.map(({ field }) => field) ?? [];

test('of each change, a plan says what the passes then write, in that order, and nothing else', async () => {
  const stage = new Stage();
  const made = await stage.change({});
  assert(made.steps.every(({ what }) => what === 'create'));
  assert.equal(made.steps.length, ecs(stage.spec, stage.place).nodes.length, 'of a new deployment all of it');
  assert.deepEqual(made.before, []);

  const image = await stage.change({ image: stage.image(2), revision: { id: 'r2', number: 2 } });
  assert.deepEqual(whats(image), ['create task-r2', 'restart service', 'remove task-r1']);
  assert.deepEqual(
    image.steps[1]!.changes.map(({ field, to }) => [field, to]),
    [['taskDefinition', '(known after "task-r2")']],
  );
  assert.deepEqual(image.before, image.after, 'it costs what it did');

  const variables = await stage.change({
    environment: [{ name: 'OTHER', versionId: UNWRITTEN }, stage.spec.environment[0]!],
    revision: { id: 'r3', number: 3 },
  });
  assert.deepEqual(whats(variables), ['change environment', 'create task-r3', 'restart service', 'remove task-r2']);

  const size = await stage.change({
    resources: { cpu: 2, memoryMb: 4096, minScale: 2, maxScale: 4 },
    revision: { id: 'r4', number: 4 },
  });
  assert.deepEqual(whats(size), ['create task-r4', 'restart service', 'change scalable-target', 'remove task-r3']);
  assert.deepEqual(fieldsOf(size, 'service'), ['taskDefinition', 'desiredCount']);
  const [before, after] = [monthlyPrice('eu-central-1', size.before), monthlyPrice('eu-central-1', size.after)];
  assert.equal(Math.round((after.amount! - before.amount!) * 100), Math.round((3 * 0.04656 + 6 * 0.00511) * 73_000));
  assert(after.most! > after.amount!);

  const type = await stage.change({ type: 'prod', revision: { id: 'r5', number: 5 } });
  assert.deepEqual(fieldsOf(type, 'database').toSorted(), [
    'backupDays',
    'class',
    'maxStorageGb',
    'multiAz',
    'protected',
  ]);
  const isAny = Object.fromEntries(type.steps.map(({ id, what }) => [id, what]));
  assert.deepEqual(isAny, {
    database: 'restart',
    'redis-task': 'replace',
    'redis-service': 'restart',
    'task-r5': 'create',
    service: 'restart',
    'task-r4': 'remove',
  });
});

test('what others have done is planned away, and what cannot be is told', async () => {
  const stage = new Stage();
  await stage.change({});
  const hand = (type: string, act: 'delete' | 'change'): void => {
    const { arn } = stage.account.resources().find((one) => one.type === type && !/redis/.test(one.name))!;
    const [change] = stage.account.tamperings(arn);
    assert(stage.account.tamper(arn, act === 'delete' ? { act } : { act, change: change! }));
  };
  hand('logs:log-group', 'change');
  assert.deepEqual(whats(await stage.plan()), ['change log-group']);
  const obstaclesOf = async (more: Partial<Planning>) =>
    (await stage.plan(stage.spec, { driftPolicy: 'report', ...more })).obstacles.map(({ what }) => what);
  assert.deepEqual(await obstaclesOf({}), ['resource']);
  assert.deepEqual(await obstaclesOf({ observeOnly: true }), ['revision'], 'a failed revision has no drift');
  await stage.change({});
  hand('ecs:service', 'delete');
  stage.now += 600_000;
  const [service, ...rest] = whats(await stage.plan());
  assert.equal(service, 'create service');
  assert(rest.every((one) => one === 'create scalable-target'));
  await stage.change({});

  hand('rds:db', 'delete');
  stage.now += 1_200_000;
  const lost = await stage.plan();
  assert.deepEqual(lost.obstacles.map(({ id }) => id).slice(0, 1), ['database']);
  assert.match(lost.obstacles[0]!.message, /deleted by somebody else, with what it held/);
  assert(!whats(lost).includes('create database'), 'never an empty one in its place');
});

test('what AWS does not change just now is changed when it does, and is not taken for changed before', async () => {
  const stage = new Stage({ type: 'prod' });
  await stage.change({});
  const { arn, name: DBInstanceIdentifier } = stage.account.resources().find(({ type }) => type === 'rds:db')!;
  const { aws } = stage.cx('hand');
  const settings = async () => {
    const { DBInstances } = await aws.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier }));
    const { DBInstanceStatus, CopyTagsToSnapshot, DeletionProtection, MultiAZ } = DBInstances![0]!;
    return [DBInstanceStatus, CopyTagsToSnapshot, DeletionProtection, MultiAZ];
  };
  // As a restore from a snapshot leaves it.
  const left = { CopyTagsToSnapshot: false, DeletionProtection: false, ApplyImmediately: true };
  await aws.rds.send(new ModifyDBInstanceCommand({ DBInstanceIdentifier, ...left }));
  assert(stage.account.tamper(arn, { act: 'change', change: 'back it up' }));
  assert.deepEqual(await settings(), ['backing-up', false, false, true]);
  const told = await stage.plan();
  assert.deepEqual(fieldsOf(told, 'database').toSorted(), ['copiesTags', 'protected']);
  const message = 'the database is backing up: after that, copiesTags, protected will be changed';
  assert.deepEqual(told.obstacles, [{ what: 'resource', id: 'database', message }]);
  await stage.settle();
  assert.deepEqual(await settings(), ['available', true, true, true]);

  // What is asked for meanwhile is not left for later either, and the revision waits for it.
  assert(stage.account.tamper(arn, { act: 'change', change: 'back it up' }));
  stage.spec = { ...stage.spec, databaseTier: 'DEDICATED_L', revision: { id: 'r2', number: 2 } };
  stage.writes = [];
  await stage.settle();
  const order = [...new Set(stage.writes)].filter((id) => ['database', 'task-r2', 'service'].includes(id));
  assert.deepEqual(order, ['database', 'task-r2', 'service'], 'more connections are not used before there are more');
  const { DBInstances } = await aws.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier }));
  assert.equal(DBInstances![0]!.DBInstanceClass, 'db.m7g.2xlarge');
});

test('as it is printed', async () => {
  const stage = new Stage();
  const told = await stage.plan();
  const text = planText(told, 'Create "agent"', 'eu-central-1', 'a.b.c');
  assert.match(text, /^Create "agent"\n\n {2}\+ environment {6}environment {8}create\n/);
  assert.match(text, /\n {2}\+ database {9}rds-postgres {7}create, 5 to 10 minutes, after database-group\n/);
  assert.match(text, /16 to create, 0 to change, 0 to remove: \d+ to \d+ minutes until it is ready, \d+ writes/);
  assert.match(
    text,
    /Price: about \d+\.\d\d USD a month \(\+\d+\.\d\d\)\. An estimate, by list prices of eu-central-1 as of/,
  );
  const unknown = planText(told, 'x', 'mars-north-1', 'a.b.c');
  assert.match(unknown, /Price: not known: no prices of the region "mars-north-1" are kept here\./);
  assert.match(planText(await stage.plan(), 'x', 'eu-central-1', 'h'), /Nothing that could be found would stop it\./);
});
