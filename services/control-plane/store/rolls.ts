/** Rolls: a change that goes through many deployments in rings. Who is in it, how far it is, and who works on it. */
import { sql, type Selectable } from 'kysely';
import { isFailure, isVerdict } from '../../reconciler/status.ts';
import { asked } from '../asked.ts';
import { containing, now, type Database, type Page, type RollMemberState, type Rolls, type Tx } from './database.ts';

export type RollRow = Selectable<Rolls>;

/** A deployment that a roll may be about. */
export interface Candidate {
  readonly id: string;
  readonly name: string;
  readonly placeId: string;
  /** The revision that serves. */
  readonly activeId: string;
}

export interface Selection {
  readonly ids?: readonly string[];
  readonly nameContains?: string;
  readonly type?: 'dev' | 'prod';
  readonly placeId?: string;
}

/** The most deployments of one roll. */
export const MEMBERS = 5000;
/** The most rolls of a workspace that have not ended. */
export const OPEN_ROLLS = 20;

/**
 * Those of a workspace that serve something, development first: what goes wrong goes wrong there.
 * @returns at most one more than a roll may have
 */
export async function candidates(db: Database, workspaceId: string, wanted: Selection): Promise<Candidate[]> {
  let query = db
    .selectFrom('deployments as d')
    .innerJoin('deployment_statuses as s', 's.deployment_id', 'd.id')
    .where('d.workspace_id', '=', workspaceId)
    .where('d.accepted_at', 'is not', null)
    .where('d.deleted_at', 'is', null)
    .where('s.active_revision_id', 'is not', null);
  if (wanted.ids) query = query.where((e) => e('d.id', '=', e.fn.any(e.val([...wanted.ids!]))));
  if (wanted.nameContains) query = query.where('d.name', 'like', containing(wanted.nameContains));
  if (wanted.type) query = query.where('d.type', '=', wanted.type);
  if (wanted.placeId) query = query.where('d.place_id', '=', wanted.placeId);
  const found = await query
    .select(['d.id', 'd.name', 'd.place_id', 's.active_revision_id'])
    .orderBy('d.type') // "dev" before "prod"
    .orderBy('d.created_at')
    .orderBy('d.id')
    .limit(MEMBERS + 1)
    .execute();
  return found.map((row) => ({
    id: row.id,
    name: row.name,
    placeId: row.place_id,
    activeId: row.active_revision_id!,
  }));
}

export interface NewRoll {
  readonly workspaceId: string;
  readonly name: string;
  readonly imageUri: string | null;
  /** How many deployments are in each. */
  readonly rings: readonly number[];
  readonly atOnce: number;
  readonly maxFailures: number;
  readonly soakSeconds: number;
  readonly takesBack?: string;
  /** In order; `targetId`: the revision to deploy again. */
  readonly members: readonly { readonly id: string; readonly targetId?: string }[];
}

/** Why a roll cannot be begun as things are. */
export type Refused =
  { readonly full: true } | { readonly taken: { readonly deployment: string; readonly roll: string } };

/** Begins a roll, unless one of its deployments is in another that has not ended. One at a time in a workspace. */
export async function beginRoll(db: Database, roll: NewRoll): Promise<string | Refused> {
  return db.transaction().execute(async (tx) => {
    await tx.selectFrom('workspaces').select('id').where('id', '=', roll.workspaceId).forUpdate().execute();
    const { open } = await tx
      .selectFrom('rolls')
      .select((e) => e.fn.countAll<number>().as('open'))
      .where('workspace_id', '=', roll.workspaceId)
      .where('state', 'in', ['RUNNING', 'HALTED'])
      .executeTakeFirstOrThrow();
    if (open >= OPEN_ROLLS) return { full: true };
    const ids = roll.members.map((member) => member.id);
    const taken = await tx
      .selectFrom('roll_members as m')
      .innerJoin('rolls as r', 'r.id', 'm.roll_id')
      .innerJoin('deployments as d', 'd.id', 'm.deployment_id')
      .select(['d.name as deployment', 'r.id as roll'])
      .where('r.state', 'in', ['RUNNING', 'HALTED'])
      .where((e) => e('m.deployment_id', '=', e.fn.any(e.val(ids))))
      .executeTakeFirst();
    if (taken) return { taken };
    const { id } = await tx
      .insertInto('rolls')
      .values({
        workspace_id: roll.workspaceId,
        name: roll.name,
        image_uri: roll.imageUri,
        rings: [...roll.rings],
        at_once: roll.atOnce,
        max_failures: roll.maxFailures,
        soak_seconds: roll.soakSeconds,
        takes_back: roll.takesBack ?? null,
        asked_by: asked()?.actor ?? null,
      })
      .returning('id')
      .executeTakeFirstOrThrow();
    const ringOf = roll.rings.flatMap((size, ring) => Array.from({ length: size }, () => ring + 1));
    // Deployments that are being forgotten just now are left out by the join.
    await sql`
      insert into roll_members (roll_id, deployment_id, position, ring, target_id)
      select ${id}, d.id, given.position, given.ring, given.target_id
      from unnest(
        ${ids}::uuid[], ${ids.map((_, i) => i + 1)}::int[], ${ringOf}::int[],
        ${roll.members.map((member) => member.targetId ?? null)}::uuid[]
      ) as given (id, position, ring, target_id)
      join deployments d on d.id = given.id`.execute(tx);
    return id;
  });
}

export const findRoll = (db: Database | Tx, workspaceId: string, id: string): Promise<RollRow | undefined> =>
  db.selectFrom('rolls').selectAll().where('id', '=', id).where('workspace_id', '=', workspaceId).executeTakeFirst();

export const listRolls = (db: Database, workspaceId: string, page: Page): Promise<RollRow[]> =>
  db
    .selectFrom('rolls')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(page.limit)
    .offset(page.offset)
    .execute();

/** How many members of each ring are in which state, and in how many places they are. */
export interface RingCount {
  readonly roll_id: string;
  readonly ring: number;
  readonly state: RollMemberState;
  readonly members: number;
  /** In the place that has most of them. */
  readonly in_one_place: number;
  /** Of those that are pending: whose account did not answer. */
  readonly unreachable: number;
}

export async function ringCounts(db: Database, rollIds: readonly string[]): Promise<RingCount[]> {
  if (rollIds.length === 0) return [];
  const { rows } = await sql<RingCount>`
    select roll_id, ring, state, sum(members)::int as members, max(members)::int as in_one_place,
      sum(unreachable)::int as unreachable
    from (
      select m.roll_id, m.ring, m.state, d.place_id, count(*) as members,
        count(*) filter (where m.state = 'PENDING' and m.unreachable_since is not null) as unreachable
      from roll_members m join deployments d on d.id = m.deployment_id
      where m.roll_id = any(${[...rollIds]}::uuid[])
      group by m.roll_id, m.ring, m.state, d.place_id
    ) by_place
    group by roll_id, ring, state
    order by roll_id, ring, state`.execute(db);
  return rows;
}

export interface Took {
  readonly roll_id: string;
  readonly middle: number;
  readonly longest: number;
}

/** Seconds that the rollouts of rolls took so far: the middle one and the longest. None of those without any. */
export async function tookSeconds(db: Database, rollIds: readonly string[]): Promise<Took[]> {
  if (rollIds.length === 0) return [];
  const { rows } = await sql<Took>`
    select roll_id, percentile_cont(0.5) within group (order by seconds) as middle, max(seconds) as longest
    from (
      select roll_id, extract(epoch from ended_at - started_at)::float8 as seconds
      from roll_members where roll_id = any(${[...rollIds]}::uuid[]) and state = 'DEPLOYED'
    ) took
    group by roll_id`.execute(db);
  return rows;
}

export interface MemberRow {
  readonly deployment_id: string;
  readonly name: string;
  readonly place_id: string;
  readonly ring: number;
  readonly state: RollMemberState;
  readonly message: string | null;
  readonly before_id: string | null;
  readonly target_id: string | null;
  readonly revision_id: string | null;
}

const members = (db: Database | Tx, rollId: string) =>
  db
    .selectFrom('roll_members as m')
    .innerJoin('deployments as d', 'd.id', 'm.deployment_id')
    .where('m.roll_id', '=', rollId)
    .select([
      'm.deployment_id',
      'd.name',
      'd.place_id',
      'm.ring',
      'm.state',
      'm.message',
      'm.before_id',
      'm.target_id',
      'm.revision_id',
    ]);

export const listMembers = (
  db: Database,
  rollId: string,
  state: RollMemberState | undefined,
  page: Page,
): Promise<MemberRow[]> =>
  members(db, rollId)
    .$if(state !== undefined, (query) => query.where('m.state', '=', state!))
    .orderBy('m.position')
    .limit(page.limit)
    .offset(page.offset)
    .execute();

/** Of the ring at hand. */
const pendingIn = (db: Database, roll: RollRow) =>
  members(db, roll.id).where('m.state', '=', 'PENDING').where('m.ring', '=', roll.ring);

/** Those whose turn it is, as many as may begin. Whose account did not answer comes after all others. */
export const pendingMembers = (db: Database, roll: RollRow, limit: number): Promise<MemberRow[]> =>
  pendingIn(db, roll)
    .orderBy('m.asked_at', (order) => order.asc().nullsFirst())
    .orderBy('m.position')
    .limit(limit)
    .execute();

/** Those of the ring at hand whose account did not answer: the first of them, and how many there are. */
export async function unreachable(
  db: Database,
  roll: RollRow,
): Promise<{ readonly first: MemberRow; readonly count: number } | undefined> {
  const found = pendingIn(db, roll)
    .where('m.unreachable_since', 'is not', null)
    .select((e) => e.fn.countAll<number>().over().as('count'));
  const first = await found.orderBy('m.position').limit(1).executeTakeFirst();
  return first && { first, count: first.count };
}

/** AWS was asked too often for now: it is tried again, after all others. */
export async function notePatience(db: Database, rollId: string, deploymentId: string, message: string): Promise<void> {
  await db
    .updateTable('roll_members')
    .set({ asked_at: now, message })
    .where('roll_id', '=', rollId)
    .where('deployment_id', '=', deploymentId)
    .where('state', '=', 'PENDING')
    .execute();
}

/**
 * Its account did not answer. It is tried again, and has failed when the account never answered for so long, at as many
 * tries or more.
 * @returns whether it has
 */
export async function noteUnreachable(
  db: Database,
  rollId: string,
  deploymentId: string,
  why: string,
  { seconds, tries }: { readonly seconds: number; readonly tries: number },
): Promise<boolean> {
  const { rows } = await sql<{ state: RollMemberState }>`
    update roll_members m
    set asked_at = now(), unreachable_since = coalesce(m.unreachable_since, now()),
      unreachable_tries = m.unreachable_tries + 1,
      state = case when given_up then 'FAILED' else m.state end,
      ended_at = case when given_up then now() end,
      message = case when given_up then ${`not reachable for ${Math.round(seconds / 60)} minutes: ${why}`}::text
        else ${why}::text end
    from (
      select deployment_id, unreachable_tries + 1 >= ${tries}::int
        and coalesce(unreachable_since <= now() - ${seconds} * interval '1 second', false) as given_up
      from roll_members where roll_id = ${rollId} and deployment_id = ${deploymentId}
    ) so_far
    where m.roll_id = ${rollId} and m.deployment_id = so_far.deployment_id and m.state = 'PENDING'
    returning m.state`.execute(db);
  return rows[0]?.state === 'FAILED';
}

/** What the roll changed, to be taken back: those that run its revision, or are about to; the last ones first. */
export const changedMembers = (db: Database, rollId: string): Promise<MemberRow[]> =>
  members(db, rollId)
    .innerJoin('deployment_statuses as s', 's.deployment_id', 'm.deployment_id')
    .leftJoin('revision_statuses as r', 'r.revision_id', 'm.revision_id')
    .where((e) =>
      e.or([
        e('s.active_revision_id', '=', e.ref('m.revision_id')),
        e.and([e('m.state', '=', 'ROLLING'), e('r.ended_at', 'is', null)]),
      ]),
    )
    .where('m.before_id', 'is not', null)
    .where('d.deleted_at', 'is', null)
    .orderBy('m.position', 'desc')
    .execute();

/** The roll was halted, or somebody else has begun with this one. */
export class NotItsTurn extends Error {}

/** What a roll is to take back was replaced by somebody else. */
export class ChangedSince extends Error {}

/** In the transaction that makes a member's revision: so there is one revision for it, however often this is tried. */
export async function noteRevision(tx: Tx, roll: RollRow, deploymentId: string, revisionId: string): Promise<void> {
  if (roll.takes_back !== null && (await isReplaced(tx, roll, deploymentId, revisionId))) throw new ChangedSince();
  const { rows } = await sql`
    update roll_members m
    set state = 'ROLLING', revision_id = ${revisionId}, started_at = now(), message = null,
      unreachable_since = null, unreachable_tries = 0,
      before_id = coalesce(m.before_id,
        (select active_revision_id from deployment_statuses where deployment_id = ${deploymentId}))
    from (select id from rolls where id = ${roll.id} and state = 'RUNNING' for share) r
    where m.roll_id = r.id and m.deployment_id = ${deploymentId} and m.state = 'PENDING'
    returning m.deployment_id`.execute(tx);
  if (rows.length === 0) throw new NotItsTurn();
}

/** Whether a deployment was given a revision after the one that is taken back, by others, which has not failed. */
async function isReplaced(tx: Tx, roll: RollRow, deploymentId: string, revisionId: string): Promise<boolean> {
  const { rows } = await sql`
    select from roll_members taken
      join roll_members m on m.roll_id = ${roll.id} and m.deployment_id = taken.deployment_id
      join revisions mine on mine.id = taken.revision_id
      join revisions r on r.deployment_id = taken.deployment_id and r.number > mine.number
      left join revision_statuses s on s.revision_id = r.id
    where taken.roll_id = ${roll.takes_back} and taken.deployment_id = ${deploymentId}
      and r.id <> ${revisionId} and r.id is distinct from m.revision_id
      and (s.ended_at is null or s.status = 'DEPLOYED')
    limit 1`.execute(tx);
  return rows.length > 0;
}

export async function endMember(
  db: Database,
  rollId: string,
  deploymentId: string,
  state: 'FAILED' | 'SKIPPED',
  message: string,
): Promise<void> {
  await db
    .updateTable('roll_members')
    .set({ state, message, ended_at: now })
    .where('roll_id', '=', rollId)
    .where('deployment_id', '=', deploymentId)
    .where('state', '=', 'PENDING')
    .execute();
}

/** Writes down how the revisions of a roll ended; what somebody else has replaced or deleted is no failure of it. */
export async function noteEnds(db: Database, rollId: string): Promise<void> {
  const ended = await db
    .selectFrom('roll_members as m')
    .innerJoin('deployments as d', 'd.id', 'm.deployment_id')
    .leftJoin('revision_statuses as s', 's.revision_id', 'm.revision_id')
    .where('m.roll_id', '=', rollId)
    .where('m.state', '=', 'ROLLING')
    .where((e) => e.or([e('s.ended_at', 'is not', null), e('d.deleted_at', 'is not', null)]))
    .select(['m.deployment_id', 's.status', 's.message', 's.ended_at'])
    .execute();
  for (const { deployment_id, status, message, ended_at } of ended) {
    const verdict = status !== null && isVerdict(status) ? status : null;
    const state = verdict === 'DEPLOYED' ? 'DEPLOYED' : verdict && isFailure(verdict) ? 'FAILED' : 'SKIPPED';
    const said = verdict === null ? 'the deployment is being deleted' : `${verdict}: ${message}`;
    await db
      .updateTable('roll_members')
      .set({ state, message: state === 'DEPLOYED' ? null : said, ended_at: ended_at ?? now })
      .where('roll_id', '=', rollId)
      .where('deployment_id', '=', deployment_id)
      .where('state', '=', 'ROLLING')
      .execute();
  }
}

/** Of a ring that has soaked: whose deployment has trouble now, although its revision was rolled out. */
export async function noteTrouble(db: Database, roll: RollRow): Promise<void> {
  await sql`
    update roll_members m
    set state = 'FAILED', message = 'after it was deployed: ' || trouble.said
    from (
      select t.roll_id, t.deployment_id, min(r.id || ': ' || r.message) as said
      from roll_members t
      join deployment_statuses s on s.deployment_id = t.deployment_id and s.active_revision_id = t.revision_id
      join resources r on r.deployment_id = t.deployment_id and r.state in ('failed', 'retrying')
      where t.roll_id = ${roll.id} and t.ring = ${roll.ring} and t.state = 'DEPLOYED'
      group by t.roll_id, t.deployment_id
    ) trouble
    where m.roll_id = trouble.roll_id and m.deployment_id = trouble.deployment_id`.execute(db);
}

/** The failures that count, first ones first. */
export const failures = (db: Database, rollId: string, limit: number): Promise<MemberRow[]> =>
  members(db, rollId).where('m.state', '=', 'FAILED').orderBy('m.position').limit(limit).execute();

export type RollChange = Partial<Pick<RollRow, 'state' | 'message' | 'ring' | 'rolled_at' | 'ended_at'>>;

/** @returns whether it was in one of these states */
export async function changeRoll(
  db: Database | Tx,
  id: string,
  from: readonly RollRow['state'][],
  change: RollChange,
): Promise<boolean> {
  const found = await db
    .updateTable('rolls')
    .set(change)
    .where('id', '=', id)
    .where('state', 'in', [...from])
    .returning('id')
    .executeTakeFirst();
  return found !== undefined;
}

/**
 * Goes on with a halted roll: what failed, and what could not be reached, is tried again or left as it is.
 * @returns whether it was halted
 */
export async function resumeRoll(db: Database, id: string, failed: 'retry' | 'skip'): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    if (!(await changeRoll(tx, id, ['HALTED'], { state: 'RUNNING', message: null, rolled_at: null }))) return false;
    // It may still run the revision that the roll made: that one is taken back unless another one follows.
    const none = { started_at: null, ended_at: null, unreachable_since: null, unreachable_tries: 0, asked_at: null };
    await tx
      .updateTable('roll_members')
      .set(
        failed === 'retry'
          ? { state: 'PENDING', message: null, ...none }
          : { state: 'SKIPPED', ended_at: sql<Date>`coalesce(ended_at, now())` },
      )
      .where('roll_id', '=', id)
      .where((e) =>
        e.or([e('state', '=', 'FAILED'), e.and([e('state', '=', 'PENDING'), e('unreachable_since', 'is not', null)])]),
      )
      .execute();
    // Those of earlier rings that are tried again are first.
    await sql`
      update rolls r set ring = coalesce(
        (select min(ring) from roll_members m where m.roll_id = r.id and m.state = 'PENDING'), r.ring)
      where id = ${id}`.execute(tx);
    return true;
  });
}

/** A roll that goes on, or whose last rollouts do, and that nobody works on: for so long. */
export const leaseRoll = (db: Database, seconds: number): Promise<RollRow | undefined> =>
  db
    .updateTable('rolls')
    .set({ leased_until: sql<Date>`now() + ${seconds} * interval '1 second'` })
    .where('id', '=', (e) =>
      e
        .selectFrom('rolls')
        .select('id')
        .where((w) =>
          w.or([
            w('state', '=', 'RUNNING'),
            w('id', 'in', w.selectFrom('roll_members').select('roll_id').where('state', '=', 'ROLLING')),
          ]),
        )
        .where((w) => w.or([w('leased_until', 'is', null), w('leased_until', '<', now)]))
        .orderBy('leased_until', (order) => order.asc().nullsFirst())
        .limit(1)
        .forUpdate()
        .skipLocked(),
    )
    .returningAll()
    .executeTakeFirst();

/** It is worked on again after so many seconds. */
export async function releaseRoll(db: Database, id: string, seconds: number): Promise<void> {
  const leased_until = sql<Date>`now() + ${seconds} * interval '1 second'`;
  await db.updateTable('rolls').set({ leased_until }).where('id', '=', id).execute();
}

/** Rolls that ended long ago. */
export async function pruneRolls(db: Database, days: number): Promise<void> {
  await sql`
    delete from rolls where id in (
      select id from rolls where ended_at < now() - ${days} * interval '1 day' limit 100)`.execute(db);
}
