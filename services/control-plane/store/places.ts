import { isDeepStrictEqual } from 'node:util';
import { sql, type Selectable } from 'kysely';
import { HELD } from '../../reconciler/aws/errors.ts';
import type { OriginalEntrance } from '../../reconciler/aws/original.ts';
import { LIMITS, kindThatTakes, type Limits } from '../../reconciler/aws/limits.ts';
import {
  balancersOf,
  behind,
  newExternalId,
  type Place,
  type PlaceOutputs,
  type Seat,
} from '../../reconciler/place.ts';
import { json, now, type Check, type Database, type Page, type PlaceState, type Places, type Tx } from './database.ts';

export type PlaceRow = Selectable<Places>;

/** Of no deployment. */
const NONE: Seat = { balancer: null, slot: null };

/**
 * As the reconciler wants it; undefined before its stack was registered.
 * @param seat of a deployment in it: the place is then as that one sees it
 */
export const placeOf = (row: PlaceRow, seat: Seat = NONE): Place | undefined =>
  row.outputs === null
    ? undefined
    : behind(
        {
          ...row.outputs,
          id: row.id,
          externalId: row.external_id,
          ...(row.suspended !== null && { suspended: row.suspended }),
        },
        seat,
      );

/** How the load balancer is removed that was made for it, or was about to be; undefined: there is none. */
export const balancerOf = (row: PlaceRow): OriginalEntrance | undefined =>
  row.balancer === null
    ? undefined
    : {
        ...row.balancer,
        id: row.id,
        externalId: row.external_id,
        original: true,
        ...(row.suspended !== null && { suspended: row.suspended }),
      };

/** That a load balancer is about to be made for it. @returns false when the place is gone: nobody would remove it */
export async function rememberBalancer(db: Database, { id, ...entrance }: OriginalEntrance): Promise<boolean> {
  const { accountId, region, roleArn } = entrance;
  const told = await db
    .updateTable('places')
    .set({ balancer: json({ accountId, region, roleArn }) })
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst();
  return told !== undefined;
}

export async function addPlace(
  db: Database,
  given: { workspaceId: string; name: string; version: string | null },
): Promise<PlaceRow | undefined> {
  return db
    .insertInto('places')
    .values({
      workspace_id: given.workspaceId,
      name: given.name,
      version: given.version,
      external_id: newExternalId(),
      checks: json([]),
    })
    .onConflict((conflict) => conflict.columns(['workspace_id', 'name']).doNothing())
    .returningAll()
    .executeTakeFirst();
}

/** What was read of AWS's limits there, unless it is older than what is known. */
export async function setLimits(db: Database, id: string, limits: Limits, at: Date): Promise<void> {
  await db
    .updateTable('places')
    .set({ limits: json(limits), limits_at: at })
    .where('id', '=', id)
    .where((e) => e.or([e('limits_at', 'is', null), e('limits_at', '<=', at)]))
    .execute();
}

/** Places in use whose limits were last read so long ago, or never; the longest ago first. */
export const placesToMeasure = (db: Database, minutes: number, count: number): Promise<PlaceRow[]> =>
  db
    .selectFrom('places')
    .selectAll()
    .where('state', '=', 'verified')
    .where((e) =>
      e.or([e('limits_at', 'is', null), e('limits_at', '<', sql<Date>`now() - ${minutes} * interval '1 minute'`)]),
    )
    .where((e) =>
      e.exists(e.selectFrom('deployments').select('deployments.id').whereRef('deployments.place_id', '=', 'places.id')),
    )
    .orderBy('limits_at', (order) => order.asc().nullsFirst())
    .limit(count)
    .execute();

/**
 * What deployments there are to have and AWS did not count yet at that moment, by code and load balancer (null: the
 * first). What was not seen since may be counted twice for a minute; nothing is left out.
 * @param deploymentId of this one alone, also while it is deleted: what it lacks. @default all that are not deleted
 */
export async function promised(
  db: Database | Tx,
  placeId: string,
  at: Date,
  deploymentId: string | null = null,
): Promise<readonly { readonly code: string; readonly balancer: string | null; readonly takes: number }[]> {
  const found = await sql<{ code: string; balancer: string | null; takes: number }>`
    select t.code, d.balancer, sum(t.takes::float)::float as takes
    from deployments d
      cross join lateral jsonb_each_text(d.takes) as t (code, takes)
    where d.place_id = ${placeId}
      and case when ${deploymentId}::uuid is null then d.deleted_at is null else d.id = ${deploymentId} end
      and not exists (
        select from resources r
        where r.deployment_id = d.id
          and r.kind = ${json(KINDS)}::jsonb ->> t.code
          and (r.busy_since <= ${at} or (r.outputs is not null and r.since <= ${at})))
    group by 1, 2`.execute(db);
  return found.rows;
}
const KINDS: Readonly<Record<string, string>> = Object.fromEntries(
  LIMITS.flatMap((code) => {
    const kind = kindThatTakes(code);
    return kind === undefined ? [] : [[code, kind] as const];
  }),
);

export const findPlace = (db: Database | Tx, workspaceId: string, id: string): Promise<PlaceRow | undefined> =>
  db.selectFrom('places').selectAll().where('id', '=', id).where('workspace_id', '=', workspaceId).executeTakeFirst();

/** Those of some deployments, by id. */
export async function placesOf(db: Database, ids: readonly string[]): Promise<Map<string, PlaceRow>> {
  if (ids.length === 0) return new Map();
  const found = await db
    .selectFrom('places')
    .selectAll()
    .where('id', 'in', [...new Set(ids)])
    .execute();
  return new Map(found.map((row) => [row.id, row]));
}

export const listPlaces = (db: Database, workspaceId: string, page: Page): Promise<PlaceRow[]> =>
  db
    .selectFrom('places')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(page.limit)
    .offset(page.offset)
    .execute();

/** Places whose stack was registered, two at most: enough to know whether there is only one. */
export const registeredPlaces = (db: Database, workspaceId: string): Promise<PlaceRow[]> =>
  db
    .selectFrom('places')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .where('outputs', 'is not', null)
    .limit(2)
    .execute();

/** What a deployment's resources are found by, or are made in: a place in use keeps these. */
const IDENTITY = [
  'accountId',
  'region',
  'partition',
  'prefix',
  'vpcId',
  'clusterArn',
  'loadBalancerArn',
  'listenerArn',
  'namespaceId',
  'databaseSubnetGroup',
  'logGroupRoot',
] as const;

/** Whose brake it is. */
const BRAKE_OF = ['accountId', 'region', 'prefix'] as const;

/** Other outputs have to be verified anew: what was found of the ones before says nothing about them. */
const UNVERIFIED = { state: 'unverified', message: null, checks: json([]), verified_at: null } as const;

/**
 * One at a time with the deployments that are added to it.
 * @returns the field that cannot change, since deployments use the place, or the brake; then nothing has changed
 */
export async function changePlace(
  db: Database,
  id: string,
  { outputs, version }: { outputs?: PlaceOutputs; version?: string },
): Promise<(typeof IDENTITY)[number] | 'moreBalancers' | 'brakeParameter' | 'executionRoles' | undefined> {
  return db.transaction().execute(async (tx) => {
    const row = await tx.selectFrom('places').select('outputs').where('id', '=', id).forUpdate().executeTakeFirst();
    const before = row?.outputs ?? null;
    if (outputs !== undefined && before !== null) {
      // A brake may come; who registers a place again cannot take it away. Another place has another, or none.
      const isThere = BRAKE_OF.every((field) => before[field] === outputs[field]);
      if (isThere && before.brakeParameter !== undefined && before.brakeParameter !== outputs.brakeParameter)
        return 'brakeParameter';
      // More load balancers may come; one that is there may have deployments behind it.
      // And one of ours, in an original place, may have been made anew: nobody else would bring it back.
      const isAnew = before.original === true && outputs.original === true;
      const same = (field: (typeof IDENTITY)[number]): boolean =>
        before[field] === outputs[field] || (isAnew && /^(loadBalancer|listener)Arn$/.test(field));
      const stays =
        isAnew || balancersOf(before).every((one) => balancersOf(outputs).some((two) => isDeepStrictEqual(one, two)));
      const moved = IDENTITY.find((field) => !same(field)) ?? (stays ? undefined : 'moreBalancers');
      if (moved !== undefined && (await deploymentsIn(tx, id)) > 0) return moved;
      if ((await highestSlot(tx, id)) > (outputs.executionRoles ?? 0)) return 'executionRoles';
    }
    // Registered anew, it is taken into use again.
    if (outputs !== undefined && !isDeepStrictEqual(outputs, before)) await endOffboarding(tx, id);
    await tx
      .updateTable('places')
      .set({
        ...(outputs === undefined ? {} : { outputs: json(outputs), ...UNVERIFIED }),
        ...(version === undefined ? {} : { version }),
        updated_at: now,
      })
      .where('id', '=', id)
      .execute();
    return undefined;
  });
}

/** Of these outputs: when they have changed since, it says nothing. */
export async function setVerification(
  db: Database,
  { id, outputs }: PlaceRow,
  found: { state: PlaceState; message: string | null; checks: readonly Check[]; suspended: string | null },
): Promise<void> {
  const { state, message, checks, suspended } = found;
  await db
    .updateTable('places')
    .set({ state, message, checks: json(checks), suspended, unreachable: null, verified_at: now, probed_at: now })
    .where('id', '=', id)
    .where(sql<boolean>`outputs = ${json(outputs)}::jsonb`)
    .execute();
}

/** The highest that a deployment has, those being removed included; 0: none has any. */
async function highestSlot(tx: Tx, placeId: string): Promise<number> {
  const { slot } = await tx
    .selectFrom('deployments')
    .select((e) => e.fn.max<number | null>('slot').as('slot'))
    .where('place_id', '=', placeId)
    .executeTakeFirstOrThrow();
  return slot ?? 0;
}

/**
 * The first that no deployment has, those being removed included; undefined: there is none. One deployment of the place
 * at a time.
 * @param slots how many there are
 */
export async function freeSlot(db: Database | Tx, placeId: string, slots: number): Promise<number | undefined> {
  const found = await sql<{ slot: number }>`
    select slot from generate_series(1, ${slots}::int) as each (slot)
    where not exists (select from deployments where place_id = ${placeId} and deployments.slot = each.slot)
    order by slot limit 1`.execute(db);
  return found.rows[0]?.slot;
}

/**
 * Places in use whose trust was last probed about so long ago, or never: now it is, and no other process does so.
 */
export const takeToProbe = (db: Database, seconds: number, count: number): Promise<PlaceRow[]> =>
  db
    .updateTable('places')
    .set({ probed_at: now })
    .where('id', 'in', (e) =>
      e
        .selectFrom('places')
        .select('id')
        .where('outputs', 'is not', null)
        .where((w) =>
          w.or([
            w('state', '=', 'verified'),
            w('suspended', 'is not', null),
            w.exists(
              w.selectFrom('deployments').select('deployments.id').whereRef('deployments.place_id', '=', 'places.id'),
            ),
          ]),
        )
        .where((w) =>
          w.or([
            w('probed_at', 'is', null),
            w('probed_at', '<', sql<Date>`now() - ${seconds} * (0.9 + 0.1 * random()) * interval '1 second'`),
          ]),
        )
        .orderBy('probed_at', (order) => order.asc().nullsFirst())
        .limit(count)
        .forUpdate()
        .skipLocked(),
    )
    .returningAll()
    .execute();

/** Due again so many seconds earlier. */
export async function probeSooner(db: Database, id: string, seconds: number): Promise<void> {
  await db
    .updateTable('places')
    .set({ probed_at: sql<Date>`probed_at - ${seconds} * interval '1 second'` })
    .where('id', '=', id)
    .execute();
}

/** Of these outputs, as above. @returns whether it is suspended, or not any more, since this was found */
export async function setProbe(
  db: Database | Tx,
  { id, outputs, suspended }: PlaceRow,
  found: { readonly suspends: string | null; readonly unreachable: string | null },
): Promise<boolean> {
  const set = await db
    .updateTable('places')
    .set({ suspended: found.suspends, unreachable: found.unreachable })
    .where('id', '=', id)
    .where(sql<boolean>`outputs = ${json(outputs)}::jsonb`)
    .returning('id')
    .executeTakeFirst();
  return set !== undefined && (suspended === null) !== (found.suspends === null);
}

/** Says it of each deployment in the place. @returns their ids */
export async function tellPlace(tx: Tx, placeId: string, message: string): Promise<string[]> {
  const told = await sql<{ deployment_id: string }>`
    insert into events (deployment_id, message)
    select id, ${message} from deployments where place_id = ${placeId}
    returning deployment_id`.execute(tx);
  return told.rows.map(({ deployment_id }) => deployment_id);
}

/** In SQL, of `deployments d`: something waits until the customer releases the brake. */
export const isHeld = sql<boolean>`(
  exists (select from resources r where r.deployment_id = d.id and r.message like ${`${HELD}%`})
  or exists (select from deployment_statuses s where s.deployment_id = d.id and s.message like ${`${HELD}%`}))`;

/** Of how many deployments in it something waits until the customer releases the brake. */
export async function heldIn(db: Database, placeId: string): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from deployments d where d.place_id = ${placeId} and ${isHeld}`.execute(db);
  return rows[0]!.count;
}

/** How many deployments, those being removed included, are in it. */
export async function deploymentsIn(db: Database | Tx, placeId: string): Promise<number> {
  const { count } = await db
    .selectFrom('deployments')
    .select((e) => e.fn.countAll<number>().as('count'))
    .where('place_id', '=', placeId)
    .executeTakeFirstOrThrow();
  return count;
}

/** Whether a place's customer leaves. Until the transaction ends, none begins to, and none ceases to. */
export async function isOffboarding(tx: Tx, placeId: string): Promise<boolean> {
  await tx.selectFrom('places').select('id').where('id', '=', placeId).forShare().execute();
  const open = tx.selectFrom('offboardings').select('id').where('place_id', '=', placeId).where('ended_at', 'is', null);
  return (await open.executeTakeFirst()) !== undefined;
}

/** What was deleted stays so; new deployments may come, and what can still be undeleted may be. */
export async function endOffboarding(db: Database | Tx, placeId: string): Promise<boolean> {
  const ended = await db
    .updateTable('offboardings')
    .set({ ended_at: now })
    .where('place_id', '=', placeId)
    .where('ended_at', 'is', null)
    .returning('id')
    .executeTakeFirst();
  return ended !== undefined;
}

/**
 * False when deployments use it.
 * @param before what is done once none does, and while none can come; when it fails, the place stays
 */
export async function removePlace(
  db: Database,
  id: string,
  before: (row: PlaceRow) => Promise<void> = () => Promise.resolve(),
): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    // No deployment can be added while we look: adding one locks the place too.
    const row = await tx.selectFrom('places').selectAll().where('id', '=', id).forNoKeyUpdate().executeTakeFirst();
    if ((await deploymentsIn(tx, id)) > 0) return false;
    if (row) await before(row);
    await endOffboarding(tx, id);
    await tx.deleteFrom('places').where('id', '=', id).execute();
    return true;
  });
}
