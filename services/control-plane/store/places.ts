import { randomBytes } from 'node:crypto';
import type { Selectable } from 'kysely';
import type { Place, PlaceOutputs } from '../../reconciler/place.ts';
import { json, now, type Check, type Database, type PlaceState, type Places, type Tx } from './database.ts';

export type PlaceRow = Selectable<Places>;

/** As the reconciler wants it; undefined before its stack was registered. */
export const placeOf = (row: PlaceRow): Place | undefined =>
  row.outputs === null ? undefined : { ...row.outputs, id: row.id, externalId: row.external_id };

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
      external_id: `fh-${randomBytes(24).toString('hex')}`,
      checks: json([]),
    })
    .onConflict((conflict) => conflict.columns(['workspace_id', 'name']).doNothing())
    .returningAll()
    .executeTakeFirst();
}

export const findPlace = (db: Database, workspaceId: string, id: string): Promise<PlaceRow | undefined> =>
  db.selectFrom('places').selectAll().where('id', '=', id).where('workspace_id', '=', workspaceId).executeTakeFirst();

export const listPlaces = (
  db: Database,
  workspaceId: string,
  page: { limit: number; offset: number },
): Promise<PlaceRow[]> =>
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

export async function changePlace(
  db: Database,
  id: string,
  change: { outputs?: PlaceOutputs; version?: string },
): Promise<void> {
  await db
    .updateTable('places')
    .set({
      ...(change.outputs === undefined ? {} : { outputs: json(change.outputs), state: 'unverified' as const }),
      ...(change.version === undefined ? {} : { version: change.version }),
      updated_at: now,
    })
    .where('id', '=', id)
    .execute();
}

export async function setVerification(
  db: Database,
  id: string,
  found: { state: PlaceState; message: string | null; checks: readonly Check[] },
): Promise<void> {
  await db
    .updateTable('places')
    .set({ state: found.state, message: found.message, checks: json(found.checks), verified_at: now })
    .where('id', '=', id)
    .execute();
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

/** False when deployments use it. */
export async function removePlace(db: Database, id: string): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    // No deployment can be added while we look: adding one locks the place too.
    await tx.selectFrom('places').select('id').where('id', '=', id).forUpdate().execute();
    if ((await deploymentsIn(tx, id)) > 0) return false;
    await tx.deleteFrom('places').where('id', '=', id).execute();
    return true;
  });
}
