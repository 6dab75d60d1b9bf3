/** The audit log: a chain of lines for each workspace, and how much of it each place's copy has. Append only. */
import { sql, type SqlBool } from 'kysely';
import { BEGINNING, type Head } from '../audit/line.ts';
import { json, now, type Database, type Tx } from './database.ts';
import type { PlaceRow } from './places.ts';

/** One line, sealed. */
export interface Line {
  readonly seq: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly placeId: string | null;
  readonly deploymentId: string | null;
  readonly line: string;
}

/** Where a chain stands. Within a transaction nobody else moves it until that ends. */
export async function holdHead(tx: Tx, chain: string): Promise<Head> {
  const { seq, hash, time } = await tx
    .insertInto('audit_heads')
    .values({ chain, ...BEGINNING })
    .onConflict((conflict) => conflict.column('chain').doUpdateSet({ chain })) // or it would neither lock nor return
    .returningAll()
    .executeTakeFirstOrThrow();
  return { seq, hash, time };
}

/** For whoever wants to know, and not to append. */
export async function headOf(db: Database, chain: string): Promise<Head> {
  const found = await db.selectFrom('audit_heads').selectAll().where('chain', '=', chain).executeTakeFirst();
  return found === undefined ? BEGINNING : { seq: found.seq, hash: found.hash, time: found.time };
}

/**
 * Appends lines that follow `from`: one statement, which holds the head's row no longer than it runs.
 * @returns false, and nothing has changed: the chain stands elsewhere
 */
export async function extend(
  db: Database | Tx,
  chain: string,
  from: Head,
  to: Head,
  lines: readonly Line[],
): Promise<boolean> {
  const { rows } = await sql`
    with moved as (
      update audit_heads set seq = ${to.seq}, hash = ${to.hash}, time = ${to.time}
      where chain = ${chain} and seq = ${from.seq} and hash = ${from.hash}
      returning 1
    )
    insert into audit (chain, seq, time, place_id, deployment_id, line)
    select ${chain}::uuid, l.* from jsonb_to_recordset(${json(lines)}::jsonb)
      as l (seq bigint, time bigint, "placeId" uuid, "deploymentId" uuid, line text)
    where exists (select from moved)
    returning seq`.execute(db);
  return rows.length > 0;
}

export interface AuditFilter {
  /** Lines after this one. */
  readonly after: number;
  /** Up to this one. */
  readonly until: number;
  readonly deploymentId?: string | undefined;
  /** Milliseconds since 1970; `before` itself is not among them. */
  readonly since?: number | undefined;
  readonly before?: number | undefined;
}

/** In order. */
export function readLines(
  db: Database,
  chain: string,
  { after, until, deploymentId, since, before }: AuditFilter,
  limit: number,
): Promise<{ seq: number; line: string }[]> {
  let found = db
    .selectFrom('audit')
    .select(['seq', 'line'])
    .where('chain', '=', chain)
    .where('seq', '>', after)
    .where('seq', '<=', until);
  if (deploymentId !== undefined) found = found.where('deployment_id', '=', deploymentId);
  if (since !== undefined) found = found.where('time', '>=', since);
  if (before !== undefined) found = found.where('time', '<', before);
  return found.orderBy('seq').limit(limit).execute();
}

export async function workspaceOfPlace(db: Database, placeId: string): Promise<string | undefined> {
  const found = await db.selectFrom('places').select('workspace_id').where('id', '=', placeId).executeTakeFirst();
  return found?.workspace_id;
}

/** What a request is about, as it is asked for; what only looks write is left out. */
export interface Snapshot {
  readonly placeId: string | null;
  readonly content: unknown;
}

const LEFT_OUT = {
  deployments: ['asked', 'asked_by', 'updated_at'],
  places: ['state', 'message', 'checks', 'verified_at', 'limits', 'limits_at', 'updated_at'],
  rolls: ['state', 'message', 'ring', 'rolled_at', 'leased_until', 'ended_at'],
  api_keys: ['hash', 'last_used_at'],
  members: [],
  workspaces: [],
} as const;
export type Table = keyof typeof LEFT_OUT;

/** Undefined: there is none of that id, or it is somebody else's. */
export async function snapshot(
  db: Database,
  table: Table,
  id: string,
  { workspaceId, organizationId }: { readonly workspaceId: string | null; readonly organizationId: string },
): Promise<Snapshot | undefined> {
  const isTheirs = ['deployments', 'places', 'rolls'].includes(table)
    ? sql`t.workspace_id = ${workspaceId}`
    : sql`t.organization_id = ${organizationId}`;
  const revision =
    table === 'deployments'
      ? sql`(select to_jsonb(r) from revisions r where r.deployment_id = t.id order by number desc limit 1)`
      : sql`null::jsonb`;
  const placeId = table === 'deployments' ? sql`t.place_id` : table === 'places' ? sql`t.id` : sql`null::uuid`;
  const { rows } = await sql<{ place_id: string | null; row: unknown; revision: unknown }>`
    select ${placeId} as place_id, to_jsonb(t) - ${[...LEFT_OUT[table]]}::text[] as row, ${revision} as revision
    from ${sql.table(table)} t where t.id = ${id} and ${isTheirs}`.execute(db);
  const [found] = rows;
  return found && { placeId: found.place_id, content: { row: found.row, revision: found.revision } };
}

/** How much of a place's lines its copy has. */
export interface Copy {
  readonly seq: number;
  readonly copiedAt: Date | null;
  /** Why the last try failed. */
  readonly failed: string | null;
  /** Lines that are still to be copied. */
  readonly behind: number;
}

export async function copyOf(db: Database, placeId: string): Promise<Copy> {
  const { rows } = await sql<{ seq: number; copied_at: Date | null; failed: string | null; behind: number }>`
    select coalesce(c.seq, 0) as seq, c.copied_at, c.failed,
      (select count(*) from audit a where a.place_id = p.id and a.seq > coalesce(c.seq, 0)) as behind
    from places p left join audit_copies c on c.place_id = p.id where p.id = ${placeId}`.execute(db);
  const [found] = rows;
  return {
    seq: found?.seq ?? 0,
    copiedAt: found?.copied_at ?? null,
    failed: found?.failed ?? null,
    behind: found?.behind ?? 0,
  };
}

/** Places with a log group for the copy, of which something is to be copied: the one that waits longest first. */
export const placesToCopy = (db: Database, count: number): Promise<PlaceRow[]> =>
  db
    .selectFrom('places')
    .selectAll('places')
    .leftJoin('audit_copies as c', 'c.place_id', 'places.id')
    .where(sql<SqlBool>`places.outputs ->> 'auditLogGroup' is not null`)
    .where(sql<SqlBool>`coalesce(greatest(c.not_before, c.leased_until), '-infinity') <= now()`)
    .where(sql<SqlBool>`exists (select from audit a where a.place_id = places.id and a.seq > coalesce(c.seq, 0))`)
    .orderBy(sql`c.copied_at nulls first`)
    .limit(count)
    .execute();

/** @returns up to which line it is copied; undefined: another process is at it */
export async function leaseCopy(db: Database, placeId: string, seconds: number): Promise<number | undefined> {
  const until = sql<Date>`now() + ${seconds} * interval '1 second'`;
  const leased = await db
    .insertInto('audit_copies')
    .values({ place_id: placeId, leased_until: until })
    .onConflict((conflict) =>
      conflict
        .column('place_id')
        .doUpdateSet({ leased_until: until })
        .where(sql<SqlBool>`coalesce(audit_copies.leased_until, '-infinity') <= now()`),
    )
    .returning('seq')
    .executeTakeFirst();
  return leased?.seq;
}

export const linesOfPlace = (
  db: Database,
  placeId: string,
  after: number,
  limit: number,
): Promise<{ seq: number; time: number; chain: string; line: string }[]> =>
  db
    .selectFrom('audit')
    .select(['seq', 'time', 'chain', 'line'])
    .where('place_id', '=', placeId)
    .where('seq', '>', after)
    .orderBy('seq')
    .limit(limit)
    .execute();

/** Everything up to this line is in the copy. */
export const noteCopied = (db: Database, placeId: string, seq: number): Promise<unknown> =>
  db
    .updateTable('audit_copies')
    .set({ seq, copied_at: now, failed: null, tries: 0, not_before: null, leased_until: null })
    .where('place_id', '=', placeId)
    .execute();

/** The wait doubles with each failure in a row. */
export const noteNotCopied = (
  db: Database,
  placeId: string,
  why: string,
  { first, most }: { readonly first: number; readonly most: number },
): Promise<unknown> =>
  db
    .updateTable('audit_copies')
    .set({
      failed: why,
      leased_until: null,
      tries: sql<number>`tries + 1`,
      not_before: sql<Date>`now() + least(${most}, ${first} * 2 ^ least(tries, 20)) * interval '1 second'`,
    })
    .where('place_id', '=', placeId)
    .execute();

/** Chains whose oldest line is older than the retention by a day: so each is pruned once a day at most. */
export async function chainsToPrune(db: Database, days: number, count: number): Promise<string[]> {
  const { rows } = await sql<{ chain: string }>`
    select h.chain from audit_heads h
    where (select a.time from audit a where a.chain = h.chain order by a.seq limit 1)
      < extract(epoch from now() - ${days + 1} * interval '1 day') * 1000
    limit ${count}`.execute(db);
  return rows.map(({ chain }) => chain);
}

/** The last line that is older; undefined: none is. */
export async function lastBefore(
  db: Database,
  chain: string,
  time: number,
): Promise<{ seq: number; line: string } | undefined> {
  return db
    .selectFrom('audit')
    .select(['seq', 'line'])
    .where('chain', '=', chain)
    .where('time', '<', time)
    .orderBy('time', 'desc')
    .orderBy('seq', 'desc')
    .limit(1)
    .executeTakeFirst();
}

export const dropLines = (db: Database, chain: string, seq: number): Promise<unknown> =>
  db.deleteFrom('audit').where('chain', '=', chain).where('seq', '<=', seq).execute();
