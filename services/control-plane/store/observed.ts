/**
 * Observation: what the worker reads to run a pass, and all that it writes. Each write holds the pass's epoch while it
 * is made, but for two that an older pass may make too: events, which say what was done, and the mark that a revision
 * was started.
 */
import { sql, type Expression, type ExpressionBuilder, type Selectable, type SqlBool } from 'kysely';
import type { Remaining } from '../../reconciler/aws/remaining.ts';
import type { Place } from '../../reconciler/place.ts';
import type { DriftPolicy } from '../../reconciler/drift.ts';
import type { AgentAuth, DatabaseTier } from '../../reconciler/spec.ts';
import { Superseded, type Row, type Rows, type State } from '../../reconciler/pass.ts';
import {
  isVerdict,
  type DeploymentStatus,
  type Judged,
  type RevisionStatus,
  type Verdict,
} from '../../reconciler/status.ts';
import {
  json,
  now,
  type Database,
  type DeploymentStatuses,
  type Reference,
  type RevisionBase,
  type ShownAlarm,
  type Tables,
  type Tx,
  type Variable,
} from './database.ts';
import { newestRevisions, type RevisionRow } from './deployments.ts';
import { placeOf } from './places.ts';
import { endReceipt, searchOf } from './receipts.ts';

const EVENTS_KEPT = 2000;
/** Revisions that a pass is told of, beside the newest and the active one. */
const OPEN_SEEN = 100;
const DEPLOYED_SEEN = 25;

export interface SeenRevision {
  readonly id: string;
  readonly number: number;
  readonly image: string | null;
  readonly resources: RevisionRow['resources'];
  readonly environment: readonly Variable[];
  readonly references: readonly Reference[];
  readonly agentAuth: AgentAuth;
  readonly taskRole: string | null;
  /** Whether a user asked that it be stopped. */
  readonly isInterrupted: boolean;
  readonly startedAt: Date | null;
  /** As it was last seen. */
  readonly status: RevisionStatus;
  readonly verdict: Judged<Verdict> | null;
}

export interface Seen {
  readonly epoch: number;
  /** How many looks had been asked for. */
  readonly asked: number;
  readonly deployment: {
    readonly id: string;
    readonly name: string;
    readonly workspaceId: string;
    readonly placeId: string;
    readonly type: 'dev' | 'prod';
    readonly databaseTier: DatabaseTier | null;
    readonly databaseCa?: string;
    readonly source: string;
    readonly driftPolicy: DriftPolicy;
    /** Who asked for it as it is to be; null: the control plane itself did. */
    readonly askedBy: string | null;
    /** What the create gave, while there is no revision. */
    readonly base: RevisionBase | null;
  };
  readonly isDeleted: boolean;
  /** Until when its delete can be undone, and in how many seconds that is; null when it cannot be, or not any more. */
  readonly undo: { readonly until: Date; readonly seconds: number } | null;
  /** Whether its request was never answered: what it left behind is only its secret. */
  readonly isDraft: boolean;
  readonly place: Place | undefined;
  readonly activeRevisionId: string | null;
  /** The last that was seen while the place could be entered. */
  readonly knownStatus: DeploymentStatus | null;
  readonly alarm: ShownAlarm | null;
  /** Resources that somebody else has changed, as far as that is known. */
  readonly drifted: ReadonlySet<string>;
  /**
   * Newest first: the newest, the active one, the last that was begun, the last 100 without a verdict (older ones
   * follow when these have one), and the last 25 that were deployed.
   */
  readonly revisions: readonly SeenRevision[];
}

/** Begins a pass: from now on an older one writes nothing. Undefined: no such deployment. */
export async function begin(db: Database, deploymentId: string): Promise<Seen | undefined> {
  return db.transaction().execute(async (tx) => {
    const begun = await tx
      .insertInto('deployment_statuses')
      .columns(['deployment_id', 'epoch', 'status'])
      .expression((e) =>
        e
          .selectFrom('deployments')
          .where('id', '=', deploymentId)
          .select(['id', sql<number>`1`.as('epoch'), sql<DeploymentStatus>`'AWAITING_DATABASE'`.as('status')]),
      )
      .onConflict((conflict) =>
        conflict.column('deployment_id').doUpdateSet({ epoch: sql`deployment_statuses.epoch + 1`, looked_at: now }),
      )
      .returning(['epoch', 'active_revision_id', 'known_status', 'alarm'])
      .executeTakeFirst();
    if (begun === undefined) return undefined;
    return seenOf(tx, deploymentId, begun);
  });
}

/** The same without beginning anything: a pass that runs goes on. */
export const peek = (db: Database, deploymentId: string): Promise<Seen | undefined> =>
  db.transaction().execute((tx) => seenNow(tx, deploymentId));

/**
 * The same, and until the transaction ends nothing of it changes but its place, which is not locked. Locks in the order
 * in which a pass does.
 */
export async function hold(tx: Tx, deploymentId: string): Promise<Seen | undefined> {
  const status = tx.selectFrom('deployment_statuses').select('epoch').where('deployment_id', '=', deploymentId);
  await status.forShare().execute();
  await tx.selectFrom('deployments').select('id').where('id', '=', deploymentId).forUpdate().execute();
  return seenNow(tx, deploymentId);
}

async function seenNow(tx: Tx, deploymentId: string): Promise<Seen | undefined> {
  const found = await tx
    .selectFrom('deployments as d')
    .leftJoin('deployment_statuses as s', 's.deployment_id', 'd.id')
    .select(['s.epoch', 's.active_revision_id', 's.known_status', 's.alarm'])
    .where('d.id', '=', deploymentId)
    .executeTakeFirst();
  return found && seenOf(tx, deploymentId, { ...found, epoch: found.epoch ?? 0 });
}

async function seenOf(
  tx: Tx,
  deploymentId: string,
  {
    epoch,
    active_revision_id,
    known_status,
    alarm,
  }: Pick<Selectable<DeploymentStatuses>, 'epoch' | 'active_revision_id' | 'known_status' | 'alarm'>,
): Promise<Seen> {
  // Held until all is read: a revision that comes with another type or tier is never seen with the one before, which
  // its task definition would keep for good.
  const deployment = await tx
    .selectFrom('deployments')
    .selectAll()
    // By the store's own clock, by which an undelete is judged, too: one of the two is first.
    .select(sql<number | null>`extract(epoch from final_delete_at - clock_timestamp())::float8`.as('undo_seconds'))
    .where('id', '=', deploymentId)
    .forShare()
    .executeTakeFirstOrThrow();
  const place = await tx
    .selectFrom('places')
    .selectAll()
    .where('id', '=', deployment.place_id)
    .executeTakeFirstOrThrow();
  return {
    epoch,
    asked: deployment.asked,
    deployment: {
      id: deployment.id,
      name: deployment.name,
      workspaceId: deployment.workspace_id,
      placeId: deployment.place_id,
      type: deployment.type,
      databaseTier: deployment.database_tier,
      ...(deployment.database_ca !== null && { databaseCa: deployment.database_ca }),
      source: deployment.source,
      driftPolicy: deployment.drift_policy,
      askedBy: deployment.asked_by,
      base: deployment.base,
    },
    isDeleted: deployment.deleted_at !== null,
    undo: undoOf(deployment),
    isDraft: deployment.accepted_at === null,
    place: placeOf(place, deployment),
    activeRevisionId: active_revision_id,
    knownStatus: known_status,
    alarm,
    drifted: await drifted(tx, deploymentId),
    revisions: await seenRevisions(tx, deploymentId, active_revision_id),
  };
}

const undoOf = (row: { final_delete_at: Date | null; undo_seconds: number | null }): Seen['undo'] =>
  row.final_delete_at !== null && row.undo_seconds! > 0
    ? { until: row.final_delete_at, seconds: row.undo_seconds! }
    : null;

async function drifted(tx: Tx, deploymentId: string): Promise<Set<string>> {
  const open = await tx
    .selectFrom('drifts')
    .select('resource')
    .where('deployment_id', '=', deploymentId)
    .where('resolved_at', 'is', null)
    .execute();
  return new Set(open.map(({ resource }) => resource));
}

async function seenRevisions(tx: Tx, deploymentId: string, active: string | null): Promise<SeenRevision[]> {
  const newest = (await newestRevisions(tx, [deploymentId])).get(deploymentId);
  if (newest === undefined) return [];
  const last = (which: (e: ExpressionBuilder<Tables, 'revision_statuses'>) => Expression<SqlBool>, limit: number) =>
    tx
      .selectFrom('revisions')
      .leftJoin('revision_statuses', 'revision_statuses.revision_id', 'revisions.id')
      .select('revisions.id')
      .where('revisions.deployment_id', '=', deploymentId)
      .where((e) => which(e as never))
      .orderBy('revisions.number', 'desc')
      .limit(limit);
  const rows = await tx
    .selectFrom('revisions as r')
    .leftJoin('revision_statuses as s', 's.revision_id', 'r.id')
    .select(['r.id', 'r.number', 'r.image', 'r.resources', 'r.environment'])
    .select(['r.secret_references', 'r.agent_auth', 'r.task_role', 'r.interrupted_at'])
    .select(['s.status', 's.message', 's.started_at'])
    .where('r.deployment_id', '=', deploymentId)
    .where((e) =>
      e.or([
        e('r.id', 'in', active === null ? [newest.id] : [newest.id, active]),
        e(
          'r.id',
          'in',
          last((of) => of('revision_statuses.started_at', 'is not', null), 1),
        ),
        e(
          'r.id',
          'in',
          last((of) => of('revision_statuses.ended_at', 'is', null), OPEN_SEEN),
        ),
        e(
          'r.id',
          'in',
          last((of) => of('revision_statuses.status', '=', 'DEPLOYED'), DEPLOYED_SEEN),
        ),
      ]),
    )
    .orderBy('r.number', 'desc')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    number: row.number,
    image: row.image,
    resources: row.resources,
    environment: row.environment,
    references: row.secret_references,
    agentAuth: row.agent_auth,
    taskRole: row.task_role,
    isInterrupted: row.interrupted_at !== null,
    startedAt: row.started_at,
    status: row.status ?? 'CREATING',
    verdict: row.status !== null && isVerdict(row.status) ? { status: row.status, message: row.message } : null,
  }));
}

/** The pass's rows. @throws Superseded when another pass has begun */
export function rowsOf(db: Database, deploymentId: string, epoch: number): Rows {
  return {
    async all() {
      const rows = await db
        .selectFrom('resources')
        .selectAll()
        .where('deployment_id', '=', deploymentId)
        .orderBy('seq')
        .execute();
      return rows.map((row): Row => ({
        id: row.id,
        kind: row.kind,
        inputs: row.inputs,
        needs: row.needs,
        state: { state: row.state, message: row.message } as State,
        generation: row.generation,
        since: row.since,
        askedAt: row.asked_at,
        busySince: row.busy_since,
        tries: row.tries,
        notBefore: row.not_before,
        gaveUp: row.gave_up,
        outputs: row.outputs,
      }));
    },
    async put(row) {
      // One statement, which holds the epoch's row: a pass that begins meanwhile waits for it, or this one fails.
      const { numAffectedRows } = await sql`
        with mine as (
          select deployment_id from deployment_statuses
          where deployment_id = ${deploymentId} and epoch = ${epoch} for share
        )
        insert into resources (deployment_id, id, kind, inputs, needs, state, message, generation, since, asked_at,
          busy_since, tries, not_before, gave_up, outputs)
        select mine.deployment_id, ${row.id}, ${row.kind}, ${orNull(row.inputs)}::jsonb, ${row.needs}::text[],
          ${row.state.state}, ${row.state.message}, ${row.generation}, ${row.since}::timestamptz,
          ${row.askedAt}::timestamptz, ${row.busySince}::timestamptz, ${row.tries}::int,
          ${row.notBefore}::timestamptz, ${orNull(row.gaveUp)}::jsonb, ${orNull(row.outputs)}::jsonb
        from mine
        on conflict (deployment_id, id) do update set
          kind = excluded.kind, inputs = excluded.inputs, needs = excluded.needs, state = excluded.state,
          message = excluded.message, generation = excluded.generation, since = excluded.since,
          asked_at = excluded.asked_at, busy_since = excluded.busy_since,
          tries = excluded.tries, not_before = excluded.not_before,
          gave_up = excluded.gave_up, outputs = excluded.outputs`.execute(db);
      if (!numAffectedRows) throw new Superseded('another pass has begun');
    },
    async drop(id) {
      const { rows } = await sql<{ mine: boolean }>`
        with mine as (
          select deployment_id from deployment_statuses
          where deployment_id = ${deploymentId} and epoch = ${epoch} for share
        ), dropped as (
          delete from resources r using mine where r.deployment_id = mine.deployment_id and r.id = ${id}
        ), noted as (
          update receipts set gone = gone || jsonb_build_object(${id}::text, now())
          from mine where receipts.deployment_id = mine.deployment_id and gone_at is null
        )
        select exists (select from mine) as mine`.execute(db);
      if (!rows[0]?.mine) throw new Superseded('another pass has begun');
    },
  };
}

const orNull = (value: unknown): string | null => (value === null || value === undefined ? null : json(value));

const epochRow = (db: Database | Tx, deploymentId: string, epoch: number) =>
  db
    .selectFrom('deployment_statuses')
    .select('epoch')
    .where('deployment_id', '=', deploymentId)
    .where('epoch', '=', epoch);

/** Before a write to AWS. @throws Superseded when another pass has begun, or the deployment has gone */
export async function requireEpoch(db: Database, deploymentId: string, epoch: number): Promise<void> {
  const found = await epochRow(db, deploymentId, epoch).executeTakeFirst();
  if (found === undefined) throw new Superseded('another pass has begun');
}

/** The same before writes to the store: until the transaction ends, no other pass begins. */
export async function holdEpoch(tx: Tx, deploymentId: string, epoch: number): Promise<void> {
  const found = await epochRow(tx, deploymentId, epoch).forNoKeyUpdate().executeTakeFirst();
  if (found === undefined) throw new Superseded('another pass has begun');
}

export async function say(
  db: Database | Tx,
  event: { deploymentId: string; revisionId: string | null; resource: string | null; message: string },
): Promise<void> {
  await sql`
    insert into events (deployment_id, revision_id, resource, message)
    select d.id, ${event.revisionId}::uuid, ${event.resource}, ${event.message}
    from deployments d where d.id = ${event.deploymentId}`.execute(db);
}

/** Marks a revision as the one that is carried out: superseded later, it was interrupted rather than skipped. */
export async function startRevision(db: Database, deploymentId: string, revisionId: string): Promise<void> {
  await db
    .insertInto('revision_statuses')
    .values({ revision_id: revisionId, deployment_id: deploymentId, status: 'CREATING', started_at: now })
    .onConflict((conflict) =>
      conflict
        .column('revision_id')
        .doUpdateSet({ started_at: sql`coalesce(revision_statuses.started_at, now())` })
        // One that was ended before it began never ran, whatever a pass that was paused meanwhile thinks.
        .where('revision_statuses.ended_at', 'is', null),
    )
    .execute();
}

/** Whether a user has asked that one of them be stopped; until the transaction ends, nobody does. */
export async function isAnyInterrupted(tx: Tx, revisionIds: readonly string[]): Promise<boolean> {
  if (revisionIds.length === 0) return false;
  const rows = await tx
    .selectFrom('revisions')
    .select('interrupted_at')
    .where('id', 'in', revisionIds)
    .orderBy('id')
    .forNoKeyUpdate()
    .execute();
  return rows.some((row) => row.interrupted_at !== null);
}

/** @returns whether it changed */
export async function setRevisionStatus(
  tx: Tx,
  deploymentId: string,
  revisionId: string,
  judged: Judged<RevisionStatus>,
): Promise<boolean> {
  const ended = isVerdict(judged.status) ? now : null;
  const changed = await tx
    .insertInto('revision_statuses')
    .values({
      revision_id: revisionId,
      deployment_id: deploymentId,
      status: judged.status,
      message: judged.message,
      ended_at: ended,
    })
    .onConflict((conflict) =>
      conflict
        .column('revision_id')
        .doUpdateSet({ status: judged.status, message: judged.message, ended_at: ended, updated_at: now })
        // A verdict stands, and what did not change is not written.
        .where('revision_statuses.ended_at', 'is', null)
        .where(
          sql<boolean>`(revision_statuses.status, revision_statuses.message)
            is distinct from (${judged.status}::text, ${judged.message}::text)`,
        ),
    )
    .returning('revision_id')
    .executeTakeFirst();
  return changed !== undefined;
}

export async function setDeploymentStatus(
  tx: Tx,
  deploymentId: string,
  judged: Judged<DeploymentStatus>,
  activeRevisionId: string | null,
  alarm?: ShownAlarm | null,
): Promise<void> {
  await tx
    .updateTable('deployment_statuses')
    .set({
      status: judged.status,
      message: judged.message,
      looked_at: now,
      active_revision_id: activeRevisionId,
      ...(alarm === undefined ? {} : { alarm: alarm && json(alarm) }),
      ...(judged.status === 'UNKNOWN' ? {} : { known_status: judged.status }),
    })
    .where('deployment_id', '=', deploymentId)
    .execute();
}

/** Everything is removed: all that stays is the receipt. */
export async function forget(tx: Tx, seen: Seen, found: Remaining): Promise<void> {
  const { id, workspaceId: workspace_id, name, placeId: place_id } = seen.deployment;
  if (!seen.isDraft) await endReceipt(tx, { id, workspace_id, name, place_id }, { ...found, search: searchOf(found) });
  await tx
    .updateTable('deployment_statuses')
    .set({ active_revision_id: null })
    .where('deployment_id', '=', id)
    .execute();
  await tx.deleteFrom('deployments').where('id', '=', id).execute();
}

/** Keeps a deployment's events bounded. Called by the looks that added any, so that there are few to delete. */
export async function trimEvents(tx: Tx, deploymentId: string): Promise<void> {
  await sql`
    delete from events where deployment_id = ${deploymentId} and id <= (
      select id from events where deployment_id = ${deploymentId} order by id desc offset ${EVENTS_KEPT} limit 1
    )`.execute(tx);
}

/** Deletes what is too old: a batch, by one process at a time. */
export async function prune(
  db: Database,
  keep: { readonly eventDays: number; readonly receiptDays: number },
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const { rows } = await sql<{ mine: boolean }>`
      select pg_try_advisory_xact_lock(hashtext('freehold prune')) as mine`.execute(tx);
    if (!rows[0]?.mine) return;
    const before = (days: number) => sql<Date>`now() - ${days} * interval '1 day'`;
    const [old, settled] = [before(keep.eventDays), before(keep.receiptDays)];
    await sql`delete from events where id in (select id from events where at < ${old} limit 10000)`.execute(tx);
    await sql`
      delete from drifts where id in (
        select id from drifts where detected_at < ${old} and resolved_at is not null limit 10000)`.execute(tx);
    await sql`
      delete from receipts where deployment_id in (
        select deployment_id from receipts where gone_at < ${settled} limit 1000)`.execute(tx);
    await sql`delete from offboardings where ended_at < ${settled}`.execute(tx);
  });
}
