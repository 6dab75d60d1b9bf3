/** Intent: what the API writes of deployments and revisions, and what it reads back. */
import { sql, type RawBuilder } from 'kysely';
import type { Takes } from '../../reconciler/aws/limits.ts';
import type { DriftPolicy } from '../../reconciler/drift.ts';
import type { Seat } from '../../reconciler/place.ts';
import type { AgentAuth, DatabaseTier, ServerResources } from '../../reconciler/spec.ts';
import { isVerdict, type DeploymentStatus, type RevisionStatus } from '../../reconciler/status.ts';
import {
  containing,
  json,
  now,
  type Build,
  type Database,
  type Made,
  type Page,
  type Reference,
  type RevisionBase,
  type ShownAlarm,
  type Tx,
  type Variable,
} from './database.ts';
import type { Looks } from './looks.ts';
import { freeSlot, isOffboarding } from './places.ts';
import { dropReceipt, endReceipt } from './receipts.ts';
import { madeFor, madeOf, type ResourceRow } from './resources.ts';

/** Of each deployment, beside the one that serves. */
export const REVISIONS_KEPT = 1000;

export interface DeploymentRow {
  readonly id: string;
  readonly workspace_id: string;
  readonly place_id: string;
  readonly name: string;
  readonly display_name: string | null;
  readonly source: string;
  readonly type: 'dev' | 'prod';
  readonly custom_url: string | null;
  readonly database_tier: DatabaseTier | null;
  readonly k8s_namespace: string | null;
  readonly balancer: string | null;
  readonly slot: number | null;
  readonly database_ca: string | null;
  readonly base: RevisionBase | null;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly deleted_at: Date | null;
  readonly final_delete_at: Date | null;
  readonly status: DeploymentStatus;
  readonly status_message: string | null;
  readonly active_revision_id: string | null;
  readonly drift_policy: DriftPolicy;
  readonly alarm: ShownAlarm | null;
}

export interface RevisionRow {
  readonly id: string;
  readonly deployment_id: string;
  readonly number: number;
  readonly source: string;
  readonly image_uri: string | null;
  readonly image: string | null;
  readonly build: Build | null;
  readonly resource_spec: Record<string, unknown>;
  readonly resources: ServerResources;
  readonly environment: Variable[];
  readonly secret_references: Reference[];
  readonly agent_auth: AgentAuth;
  readonly task_role: string | null;
  readonly plan: string | null;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly status: RevisionStatus;
  readonly status_message: string | null;
}

/** What a revision asks for: all of it, each time. */
export interface RevisionIntent extends RevisionBase {
  readonly source: string;
  /** Both null when it is to be built. */
  readonly imageUri: string | null;
  readonly image: string | null;
  readonly agentAuth: AgentAuth;
  /** The hash of the plan that it was accepted with; never inherited. */
  readonly plan?: string | null;
}

/** Whether there is something to run, or to build it from. */
export const isRunnable = ({ image, build }: RevisionIntent): boolean => image !== null || Boolean(build?.tarball);

export const intentOf = (row: RevisionRow): RevisionIntent => ({
  source: row.source,
  imageUri: row.image_uri,
  image: row.image,
  build: row.build,
  resourceSpec: row.resource_spec,
  resources: row.resources,
  environment: row.environment,
  references: row.secret_references,
  agentAuth: row.agent_auth,
  taskRole: row.task_role,
});

export interface DeploymentFilter {
  readonly name?: string;
  readonly nameContains?: string;
  readonly status?: string;
  readonly type?: string;
  readonly ids?: readonly string[];
}

/** What a pass wrote while there was a delete; of a deployment that has none any more, nothing was seen since. */
const UNDONE = sql`s.status in ('AWAITING_DELETE', 'AWAITING_FINAL_DELETE')`;
const UNDONE_MESSAGE = 'its delete was undone: its servers are made again';

/** Deleted shows at once, before a pass has seen it, and so does that a delete was undone. */
export const shownStatus = sql<DeploymentStatus>`
  case when d.final_delete_at > now() then 'AWAITING_FINAL_DELETE'
    when d.deleted_at is not null then 'AWAITING_DELETE'
    when ${UNDONE} then 'READY'
    else coalesce(s.status, 'AWAITING_DATABASE') end`;

export const shownMessage = sql<string | null>`
  case when d.deleted_at is null and ${UNDONE} then ${UNDONE_MESSAGE}::text else s.message end`;

const deployments = (db: Database | Tx) =>
  db
    .selectFrom('deployments as d')
    .leftJoin('deployment_statuses as s', 's.deployment_id', 'd.id')
    .where('d.accepted_at', 'is not', null)
    .select([
      'd.id',
      'd.workspace_id',
      'd.place_id',
      'd.name',
      'd.display_name',
      'd.source',
      'd.type',
      'd.custom_url',
      'd.database_tier',
      'd.k8s_namespace',
      'd.balancer',
      'd.slot',
      'd.database_ca',
      'd.base',
      'd.created_at',
      'd.updated_at',
      'd.deleted_at',
      'd.final_delete_at',
      'd.drift_policy',
      's.active_revision_id',
      's.message as status_message',
      's.alarm',
    ])
    .select(shownMessage.as('status_message'))
    .select(shownStatus.as('status'));

const revisions = (db: Database | Tx) =>
  db
    .selectFrom('revisions as r')
    .leftJoin('revision_statuses as s', 's.revision_id', 'r.id')
    .select([
      'r.id',
      'r.deployment_id',
      'r.number',
      'r.source',
      'r.image_uri',
      'r.image',
      'r.resource_spec',
      'r.resources',
      'r.environment',
      'r.build',
      'r.secret_references',
      'r.agent_auth',
      'r.task_role',
      'r.plan',
      'r.created_at',
      's.message as status_message',
    ])
    .select(sql<RevisionStatus>`coalesce(s.status, 'CREATING')`.as('status'))
    .select(sql<Date>`greatest(r.created_at, s.updated_at)`.as('updated_at'));

export const findDeployment = (
  db: Database | Tx,
  workspaceId: string,
  id: string,
): Promise<DeploymentRow | undefined> =>
  deployments(db).where('d.id', '=', id).where('d.workspace_id', '=', workspaceId).executeTakeFirst();

/** Which ones is found from indices alone, however many there are; the rest is read for one page. */
export async function listDeployments(
  db: Database,
  workspaceId: string,
  filter: DeploymentFilter,
  page: Page,
): Promise<DeploymentRow[]> {
  let found = db
    .selectFrom('deployments as d')
    .select('d.id')
    .where('d.workspace_id', '=', workspaceId)
    .where('d.accepted_at', 'is not', null);
  if (filter.name) found = found.where('d.name', '=', filter.name);
  if (filter.nameContains) found = found.where('d.name', 'like', containing(filter.nameContains));
  if (filter.status) found = found.where(isShownAs(filter.status as DeploymentStatus));
  if (filter.type) found = found.where('d.type', '=', filter.type as 'dev' | 'prod');
  if (filter.ids) found = found.where('d.id', 'in', filter.ids.length > 0 ? [...filter.ids] : [sql<string>`null`]);
  return deployments(db)
    .where('d.id', 'in', found.orderBy('d.created_at', 'desc').orderBy('d.id').limit(page.limit).offset(page.offset))
    .orderBy('d.created_at', 'desc')
    .orderBy('d.id')
    .execute();
}

/** The same as `shownStatus`, as PostgreSQL finds it by the indices. */
function isShownAs(status: DeploymentStatus): RawBuilder<boolean> {
  if (status === 'AWAITING_FINAL_DELETE') return sql`d.deleted_at is not null and d.final_delete_at > now()`;
  if (status === 'AWAITING_DELETE')
    return sql`d.deleted_at is not null and coalesce(d.final_delete_at, d.deleted_at) <= now()`;
  const rows = sql`select from deployment_statuses s where s.deployment_id = d.id`;
  if (status === 'AWAITING_DATABASE')
    return sql`d.deleted_at is null and not exists (${rows} and s.status <> ${status})`; // there may be no row yet
  if (status === 'READY') return sql`d.deleted_at is null and exists (${rows} and (s.status = ${status} or ${UNDONE}))`;
  return sql`d.deleted_at is null and exists (${rows} and s.status = ${status})`;
}

export const nameIsTaken = async (db: Database, workspaceId: string, name: string): Promise<boolean> =>
  (await db
    .selectFrom('deployments')
    .select('id')
    .where('workspace_id', '=', workspaceId)
    .where('name', '=', name)
    .where('accepted_at', 'is not', null)
    .executeTakeFirst()) !== undefined;

export const findRevision = (db: Database | Tx, deploymentId: string, id: string): Promise<RevisionRow | undefined> =>
  revisions(db).where('r.deployment_id', '=', deploymentId).where('r.id', '=', id).executeTakeFirst();

export const listRevisions = (
  db: Database | Tx,
  deploymentId: string,
  filter: { statuses?: readonly string[] },
  page: Page,
): Promise<RevisionRow[]> => {
  let query = revisions(db).where('r.deployment_id', '=', deploymentId);
  if (filter.statuses) query = query.where(sql<string>`coalesce(s.status, 'CREATING')`, 'in', [...filter.statuses, '']);
  return query.orderBy('r.number', 'desc').limit(page.limit).offset(page.offset).execute();
};

/** Of every value that a revision of the deployment was given, by `digestOf`. */
export async function secretDigests(db: Database, deploymentId: string): Promise<Set<string>> {
  const found = await sql<{ digest: string }>`
    select distinct variable ->> 'digest' as digest
    from revisions, jsonb_array_elements(environment) variable
    where deployment_id = ${deploymentId}`.execute(db);
  return new Set(found.rows.map(({ digest }) => digest));
}

/** The newest revision of each of some deployments: one look into the index each, however many there are. */
export async function newestRevisions(db: Database | Tx, ids: readonly string[]): Promise<Map<string, RevisionRow>> {
  if (ids.length === 0) return new Map();
  const newest = sql<string>`(
    select (select id from revisions where deployment_id = wanted.id order by number desc limit 1)
    from unnest(${ids}::uuid[]) as wanted (id))`;
  const found = await revisions(db).where('r.id', 'in', newest).execute();
  return new Map(found.map((revision) => [revision.deployment_id, revision]));
}

export interface NewDeployment {
  readonly id: string;
  readonly workspaceId: string;
  readonly placeId: string;
  readonly name: string;
  readonly source: string;
  readonly type: 'dev' | 'prod';
  readonly customUrl: string | null;
  /** @default repair */
  readonly driftPolicy?: DriftPolicy | null;
  readonly k8sNamespace: string | null;
  /** @default none */
  readonly databaseCa?: string | null;
  /** Of AWS's limits. @default not counted */
  readonly takes?: Takes;
}

/**
 * A deployment that nobody sees yet, written before its secret is: whatever the request leaves in the account when its
 * process dies is found by it, and removed. Nothing is when the place has just been removed, or its customer leaves.
 *
 * @param choose its load balancer, one deployment of the place at a time; what it throws leaves nothing
 *   behind. @default the first
 * @returns what it has of the place for itself
 */
export async function draftDeployment(
  db: Database,
  given: NewDeployment,
  choose: (tx: Tx) => Promise<string | null> = () => Promise.resolve(null),
): Promise<Seat | 'no place' | 'offboarding' | 'no execution role'> {
  return db.transaction().execute(async (tx) => {
    const place = await tx
      .selectFrom('places')
      .select(['id', 'outputs'])
      .where('id', '=', given.placeId)
      .forUpdate()
      .executeTakeFirst();
    if (place === undefined) return 'no place';
    if (await isOffboarding(tx, place.id)) return 'offboarding';
    const slots = place.outputs?.executionRoles ?? 0;
    const slot = slots === 0 ? null : await freeSlot(tx, place.id, slots);
    if (slot === undefined) return 'no execution role';
    const balancer = await choose(tx);
    await tx
      .insertInto('deployments')
      .values({
        id: given.id,
        workspace_id: given.workspaceId,
        place_id: given.placeId,
        name: given.name,
        source: given.source,
        type: given.type,
        custom_url: given.customUrl,
        ...(given.driftPolicy && { drift_policy: given.driftPolicy }),
        k8s_namespace: given.k8sNamespace,
        balancer,
        slot,
        database_ca: given.databaseCa ?? null,
        takes: given.takes === undefined ? null : json(given.takes),
      })
      .execute();
    return { balancer, slot };
  });
}

/** A draft that was given up while its request was under way. */
export class GivenUp extends Error {
  /** Whether that is since its place's customer leaves; else it took too long. */
  readonly isOffboarding: boolean;
  constructor(isOffboarding: boolean) {
    super('given up');
    this.isOffboarding = isOffboarding;
  }
}

/**
 * Accepts a draft with its first revision, if there is something to run, and asks for a look.
 * @throws GivenUp
 */
export async function acceptDeployment(
  db: Database,
  looks: Looks,
  deploymentId: string,
  intent: RevisionIntent,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const draft = tx.selectFrom('deployments').select('place_id').where('id', '=', deploymentId);
    const placeId = (await draft.executeTakeFirst())?.place_id;
    // The place first, as whoever offboards it does: a draft is none of what that deletes, so that it is given up when
    // its request makes nothing any more.
    if (placeId !== undefined && (await isOffboarding(tx, placeId))) throw new GivenUp(true);
    const accepted = await tx
      .updateTable('deployments')
      .set({ accepted_at: now })
      .where('id', '=', deploymentId)
      .where('deleted_at', 'is', null)
      .returning('id')
      .executeTakeFirst();
    if (accepted === undefined) throw new GivenUp(false);
    await addIntent(tx, deploymentId, intent);
    await looks.ask(tx, deploymentId);
  });
}

/** Gives a draft up: what it left in the account, if anything, is removed by the looks. */
export async function abandonDraft(db: Database, looks: Looks, id: string): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const draft = await tx
      .updateTable('deployments')
      .set({ deleted_at: now })
      .where('id', '=', id)
      .where('accepted_at', 'is', null)
      .returning('id')
      .executeTakeFirst();
    if (draft) await looks.ask(tx, id);
  });
}

/** Drafts whose request died long ago. */
export const oldDrafts = async (db: Database, minutes: number, limit: number): Promise<string[]> =>
  (
    await db
      .selectFrom('deployments')
      .select('id')
      .where('accepted_at', 'is', null)
      .where('deleted_at', 'is', null)
      .where('created_at', '<', sql<Date>`now() - ${minutes} * interval '1 minute'`)
      .limit(limit)
      .execute()
  ).map((row) => row.id);

/** By the clock itself, and not by the beginning of the transaction, which may have waited for a pass to begin. */
const undoUntil = sql<Date | null>`case when final_delete_at > clock_timestamp() then final_delete_at end`;

export interface DeploymentChange {
  readonly displayName?: string;
  readonly customUrl?: string;
  readonly driftPolicy?: DriftPolicy;
  readonly type?: 'prod';
  readonly databaseTier?: DatabaseTier;
}

/** What the next revision is made of, and held against. */
export interface Before {
  readonly newest: RevisionRow | undefined;
  /** The newest that has not come to a bad end: the one that serves, or that may yet. */
  readonly standing: RevisionRow | undefined;
  /** The one that serves. */
  readonly serving: RevisionRow | undefined;
}

export async function revisionsBefore(db: Database | Tx, deploymentId: string): Promise<Before> {
  const newest = (await newestRevisions(db, [deploymentId])).get(deploymentId);
  const standing = await revisions(db)
    .where('r.deployment_id', '=', deploymentId)
    .where((e) => e.or([e('s.ended_at', 'is', null), e('s.status', '=', 'DEPLOYED')]))
    .orderBy('r.number', 'desc')
    .limit(1)
    .executeTakeFirst();
  const serving = await revisions(db)
    .innerJoin('deployment_statuses as d', 'd.active_revision_id', 'r.id')
    .where('d.deployment_id', '=', deploymentId)
    .executeTakeFirst();
  return { newest, standing, serving };
}

/** Its delete was asked for, perhaps while a request was under way. */
export class BeingDeleted extends Error {
  /** Until when it can be undone. */
  readonly undoUntil: Date | null;
  constructor(undoUntil: Date | null) {
    super('being deleted');
    this.undoUntil = undoUntil;
  }
}

/** @throws BeingDeleted also when it is gone */
export async function requireAlive(db: Database, id: string): Promise<void> {
  const row = await db
    .selectFrom('deployments')
    .select(['deleted_at', undoUntil.as('undo_until')])
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined || row.deleted_at !== null) throw new BeingDeleted(row?.undo_until ?? null);
}

/**
 * Changes a deployment, and adds the revision that `next` makes of what was asked before, if any. One at a time: two
 * requests at once each see the other's outcome.
 * @param also in the same transaction: what is held first, and who is told of the new revision
 * @returns the new revision's id, if there is one
 * @throws BeingDeleted
 */
export async function changeDeployment(
  db: Database,
  looks: Looks,
  id: string,
  change: DeploymentChange,
  next: ((before: Before, now: Pick<DeploymentRow, 'type' | 'base'>) => RevisionIntent) | null,
  also: {
    readonly held?: ((tx: Tx) => Promise<void>) | undefined;
    readonly noted?: ((tx: Tx, revisionId: string) => Promise<void>) | undefined;
  } = {},
): Promise<string | null> {
  return db.transaction().execute(async (tx) => {
    await also.held?.(tx);
    const row = await tx
      .selectFrom('deployments')
      .select(['deleted_at', 'type', 'base'])
      .select(undoUntil.as('undo_until'))
      .where('id', '=', id)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined || row.deleted_at !== null) throw new BeingDeleted(row?.undo_until ?? null);
    const intent = next === null ? null : next(await revisionsBefore(tx, id), row);
    const { displayName, customUrl, type, databaseTier, driftPolicy } = change;
    await tx
      .updateTable('deployments')
      .set({
        ...(displayName === undefined ? {} : { display_name: displayName }),
        ...(customUrl === undefined ? {} : { custom_url: customUrl }),
        ...(driftPolicy === undefined ? {} : { drift_policy: driftPolicy }),
        ...(type === undefined ? {} : { type }),
        ...(databaseTier === undefined ? {} : { database_tier: databaseTier }),
        updated_at: now,
      })
      .where('id', '=', id)
      .execute();
    const revision = intent && (await addIntent(tx, id, intent));
    if (revision !== null) await also.noted?.(tx, revision);
    const isNews = [intent ?? undefined, type, databaseTier, driftPolicy].some((given) => given !== undefined);
    if (isNews) await looks.ask(tx, id);
    return revision;
  });
}

/** As a revision; what has nothing to run yet is kept for the first one to inherit. */
async function addIntent(tx: Tx, deploymentId: string, intent: RevisionIntent): Promise<string | null> {
  const runs = isRunnable(intent);
  const { resourceSpec, resources, environment, references, build, taskRole } = intent;
  await tx
    .updateTable('deployments')
    .set({ base: runs ? null : json({ resourceSpec, resources, environment, references, build, taskRole }) })
    .where('id', '=', deploymentId)
    .execute();
  if (!runs) return null;
  const id = await addRevision(tx, deploymentId, intent);
  await pruneRevisions(tx, deploymentId);
  return id;
}

async function addRevision(tx: Tx, deploymentId: string, intent: RevisionIntent): Promise<string> {
  const { id } = await tx
    .insertInto('revisions')
    .columns([
      'id',
      'deployment_id',
      'number',
      'source',
      'image_uri',
      'image',
      'resource_spec',
      'resources',
      'environment',
      'build',
      'secret_references',
      'agent_auth',
      'task_role',
      'plan',
    ])
    .expression((e) =>
      e
        .selectFrom('revisions')
        .where('deployment_id', '=', deploymentId)
        .select([
          sql<string>`gen_random_uuid()`.as('id'),
          sql<string>`${deploymentId}::uuid`.as('deployment_id'),
          sql<number>`coalesce(max(number), 0) + 1`.as('number'),
          sql<string>`${intent.source}::text`.as('source'),
          sql<string>`${intent.imageUri}::text`.as('image_uri'),
          sql<string>`${intent.image}::text`.as('image'),
          sql<string>`${json(intent.resourceSpec)}::jsonb`.as('resource_spec'),
          sql<string>`${json(intent.resources)}::jsonb`.as('resources'),
          sql<string>`${json(intent.environment)}::jsonb`.as('environment'),
          sql<string>`${intent.build && json(intent.build)}::jsonb`.as('build'),
          sql<string>`${json(intent.references)}::jsonb`.as('secret_references'),
          sql<string>`${json(intent.agentAuth)}::jsonb`.as('agent_auth'),
          sql<string>`${intent.taskRole ?? null}::text`.as('task_role'),
          sql<string>`${intent.plan ?? null}::text`.as('plan'),
        ]),
    )
    .returning('id')
    .executeTakeFirstOrThrow();
  return id;
}

/** Old revisions that ended go; what serves stays, however old. */
async function pruneRevisions(tx: Tx, deploymentId: string): Promise<void> {
  await sql`
    delete from revisions r using revision_statuses s
    where r.deployment_id = ${deploymentId} and s.revision_id = r.id and s.ended_at is not null
      and r.number <= (select max(number) from revisions where deployment_id = ${deploymentId}) - ${REVISIONS_KEPT}::int
      and not exists (select from deployment_statuses d where d.active_revision_id = r.id)`.execute(tx);
}

/** For how long a delete can be undone. */
export interface Retention {
  /** As the request says. Null: as it is, and of a first delete what follows. */
  readonly hours: number | null;
  /** Of production deployments that have served; others have nothing worth the cost. */
  readonly production: number;
}

/**
 * Asks for everything to be removed, when the time to undo it is over. Asking twice is asking once; while it can be
 * undone, another time may be asked for.
 * @returns whether the workspace has it
 */
export async function deleteDeployment(
  db: Database,
  looks: Looks,
  workspaceId: string,
  id: string,
  retention: Retention,
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const found = await tx
      .selectFrom('deployments')
      .select('id')
      .where('id', '=', id)
      .where('workspace_id', '=', workspaceId)
      .where('accepted_at', 'is not', null)
      .forUpdate()
      .executeTakeFirst();
    if (found === undefined) return false;
    await tx
      .updateTable('deployments')
      .set({ ...deletion(retention), updated_at: now })
      .where('id', '=', id)
      .execute();
    await looks.ask(tx, id);
    return true;
  });
}

/**
 * Of rows that the transaction has locked: whether their time is over is judged by the clock itself, after whatever was
 * waited for, as a look does that is about to begin with what is final. A first delete's time counts from `deleted_at`:
 * with none, both are the same.
 */
export function deletion({ hours, production }: Retention) {
  const from = (start: typeof now, amount: number) => sql`${start} + ${amount}::float8 * interval '1 hour'`;
  const served = sql`exists (
    select from deployment_statuses s where s.deployment_id = deployments.id and s.active_revision_id is not null)`;
  const first =
    hours === null
      ? sql`case when type = 'prod' and ${served} then ${from(now, production)} else ${now} end`
      : from(now, hours);
  const again = hours === null ? sql`final_delete_at` : from(sql`clock_timestamp()`, hours);
  return {
    deleted_at: sql<Date>`coalesce(deleted_at, now())`,
    final_delete_at: sql<Date>`
      case when deleted_at is null then ${first}
        when final_delete_at > clock_timestamp() then ${again}
        else final_delete_at end`,
  };
}

/**
 * Brings a deployment back whose delete can still be undone: its last good revision is the target again.
 * @param admit one deployment of the place at a time, as `draftDeployment`: what it throws leaves it deleted
 * @returns `over`: everything of it is being removed
 */
export async function undelete(
  db: Database,
  looks: Looks,
  workspaceId: string,
  id: string,
  admit: (tx: Tx) => Promise<void> = () => Promise.resolve(),
): Promise<'back' | 'over' | 'missing' | 'offboarding'> {
  return db.transaction().execute(async (tx) => {
    const owned = tx.selectFrom('deployments').where('id', '=', id).where('workspace_id', '=', workspaceId);
    const accepted = owned.where('accepted_at', 'is not', null);
    const found = await accepted.select('place_id').executeTakeFirst();
    if (found === undefined) return 'missing';
    // The place first, as whoever offboards it does, or adds to it: each sees the other.
    await tx.selectFrom('places').select('id').where('id', '=', found.place_id).forUpdate().execute();
    const leaves = await isOffboarding(tx, found.place_id);
    const row = await accepted
      .select(['deleted_at', undoUntil.as('undo_until')])
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined) return 'missing';
    if (row.deleted_at === null) return 'back';
    if (leaves) return 'offboarding';
    if (row.undo_until === null) return 'over';
    await admit(tx);
    const back = await tx
      .updateTable('deployments')
      .set({ deleted_at: null, final_delete_at: null, updated_at: now })
      .where('id', '=', id)
      .where(sql<boolean>`final_delete_at > clock_timestamp()`)
      .returning('id')
      .executeTakeFirst();
    if (back === undefined) return 'over';
    await dropReceipt(tx, id);
    await looks.ask(tx, id);
    return 'back';
  });
}

/**
 * Asks for a revision to be stopped. Asking twice is asking once.
 * @returns whether it had not ended yet
 */
export async function interruptRevision(db: Database, looks: Looks, row: RevisionRow): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    // A look that is about to end it is waited for, and one that comes later sees this.
    await tx.selectFrom('revisions').select('id').where('id', '=', row.id).forNoKeyUpdate().execute();
    const found = await findRevision(tx, row.deployment_id, row.id);
    if (found === undefined || isVerdict(found.status)) return false;
    await tx
      .updateTable('revisions')
      .set({ interrupted_at: sql`coalesce(interrupted_at, now())` })
      .where('id', '=', row.id)
      .execute();
    await looks.ask(tx, row.deployment_id);
    return true;
  });
}

/**
 * Forgets a deployment as it is: what is in the account stays there.
 * @param byRequest what requests may have made, and no look has seen
 * @returns whether it is being deleted: its delete may have been undone, or come to its end, in the meantime
 */
export async function forgetDeployment(
  db: Database,
  row: DeploymentRow,
  byRequest: readonly Pick<ResourceRow, 'id' | 'kind' | 'inputs'>[],
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    // In the order in which a look that begins takes them: neither holds what the other waits for.
    const status = tx.selectFrom('deployment_statuses').select('epoch').where('deployment_id', '=', row.id);
    await status.forUpdate().execute();
    const deleted = tx
      .selectFrom('deployments')
      .select('id')
      .where('id', '=', row.id)
      .where('deleted_at', 'is not', null);
    if ((await deleted.forUpdate().executeTakeFirst()) === undefined) return false;
    const seen = await madeFor(tx, row.id);
    const unseen = byRequest
      .filter(({ id }) => !seen.some((one) => one.id === id))
      .map((one) => madeOf({ ...one, outputs: null }));
    const notes = [
      ...seen.map((one) => `left in the account by a forced delete: ${called(one)}`),
      ...unseen.map((one) => `perhaps left in the account by a forced delete: ${called(one)}`),
    ];
    await endReceipt(tx, row, { kept: [], notes, search: null });
    await tx
      .updateTable('deployment_statuses')
      .set({ active_revision_id: null })
      .where('deployment_id', '=', row.id)
      .execute();
    await tx.deleteFrom('deployments').where('id', '=', row.id).execute();
    return true;
  });
}

const called = ({ id, kind, name, arn }: Made): string => `${kind} ${arn ?? name ?? id}`;

export interface EventRow {
  readonly id: number;
  readonly revision_id: string | null;
  readonly resource: string | null;
  readonly message: string;
  readonly at: Date;
}

export const listEvents = (db: Database, deploymentId: string, after: number, limit: number): Promise<EventRow[]> =>
  db
    .selectFrom('events')
    .select(['id', 'revision_id', 'resource', 'message', 'at'])
    .where('deployment_id', '=', deploymentId)
    .where('id', '>', after)
    .orderBy('id')
    .limit(limit)
    .execute();
