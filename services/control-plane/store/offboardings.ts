/** Offboardings: a customer leaves, all in a place is removed, and the account is proven clean. They outlive it. */
import { sql, type Selectable } from 'kysely';
import { WAITS_FOR_CUSTOMER } from '../../reconciler/aws/gate.ts';
import type { Had, Remaining } from '../../reconciler/aws/remaining.ts';
import type { DeploymentStatus } from '../../reconciler/status.ts';
import { json, now, type Database, type Offboardings } from './database.ts';
import { deletion, shownMessage, shownStatus } from './deployments.ts';
import type { Looks } from './looks.ts';
import type { PlaceRow } from './places.ts';
import { jsonOrNull, searchOf, whereOf } from './receipts.ts';

export type OffboardingRow = Selectable<Offboardings>;

/** Deletes all in the place, and lets nothing in. Asking twice is asking once, but that it may cut retention short. */
export async function offboard(
  db: Database,
  looks: Looks,
  place: PlaceRow,
  given: { readonly skipsRetention: boolean; readonly production: number },
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await tx.selectFrom('places').select('id').where('id', '=', place.id).forUpdate().execute();
    const inIt = await tx
      .selectFrom('deployments')
      .select(['id', 'name'])
      .where('place_id', '=', place.id)
      .where('accepted_at', 'is not', null)
      .orderBy('created_at')
      .forUpdate()
      .execute();
    await tx
      .insertInto('offboardings')
      .values({
        place_id: place.id,
        workspace_id: place.workspace_id,
        name: place.name,
        place: jsonOrNull(whereOf(place)),
        skips_retention: given.skipsRetention,
        deployments: json(inIt),
      })
      .onConflict((conflict) =>
        conflict
          .column('place_id')
          .where('ended_at', 'is', null)
          .doUpdateSet({
            skips_retention: sql`offboardings.skips_retention or excluded.skips_retention`,
            searches: 0,
            search_after: null,
          }),
      )
      .execute();
    // What a request is about to make is given up by that request.
    await tx
      .updateTable('deployments')
      .set({ ...deletion({ hours: given.skipsRetention ? 0 : null, production: given.production }), updated_at: now })
      .where('place_id', '=', place.id)
      .where('accepted_at', 'is not', null)
      .execute();
    for (const { id } of inIt) await looks.ask(tx, id);
  });
}

/** The last one of a place, also of one that has been deleted since. */
export const findOffboarding = (
  db: Database,
  workspaceId: string,
  placeId: string,
): Promise<OffboardingRow | undefined> =>
  db
    .selectFrom('offboardings')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .where('place_id', '=', placeId)
    .orderBy('began_at', 'desc')
    .limit(1)
    .executeTakeFirst();

export interface Waiting {
  readonly id: string;
  readonly name: string;
  readonly status: DeploymentStatus;
  readonly message: string | null;
  readonly final_delete_at: Date | null;
  /** It waits for nothing that passes by itself. */
  readonly is_stuck: boolean;
}

/** What has not gone yet, the oldest first: also what a request is about to make, until it is given up. */
export const waitingIn = (db: Database, placeId: string): Promise<Waiting[]> =>
  db
    .selectFrom('deployments as d')
    .leftJoin('deployment_statuses as s', 's.deployment_id', 'd.id')
    .select(['d.id', 'd.name', 'd.final_delete_at'])
    .select(shownStatus.as('status'))
    .select(shownMessage.as('message'))
    .select(sql<boolean>`${isTroubled} or (s.status = 'AWAITING_DELETE' and not ${isOnlyWaiting})`.as('is_stuck'))
    .where('d.place_id', '=', placeId)
    .orderBy('d.created_at')
    .execute();

const isTroubled = sql`exists (
  select from resources r where r.deployment_id = d.id
  and (r.state in ('failed', 'retrying') or starts_with(r.message, ${WAITS_FOR_CUSTOMER})))`;
/** Its sentence is of a resource that waits, and not of a place that cannot be entered, or of what a search found. */
const isOnlyWaiting = sql`(s.message is null or exists (
  select from resources r where r.deployment_id = d.id and r.state = 'waiting' and starts_with(s.message, r.id || ':')))`;

/** Between two searches: doubled each time, for nobody may be there to remove what is left. */
const SEARCH_SECONDS = [15, 300] as const;

/** Those where all deployments have gone, and that were not found clean yet; of all places, those that are due. */
export const unproven = (db: Database, placeId?: string): Promise<OffboardingRow[]> =>
  db
    .selectFrom('offboardings as o')
    .innerJoin('places as p', 'p.id', 'o.place_id')
    .selectAll('o')
    .where('o.ended_at', 'is', null)
    .where('o.proven_at', 'is', null)
    .$if(placeId !== undefined, (query) => query.where('o.place_id', '=', placeId!))
    .$if(placeId === undefined, (query) =>
      query.where((e) => e.or([e('o.search_after', 'is', null), e('o.search_after', '<=', now)])),
    )
    .where((e) =>
      e.not(e.exists(e.selectFrom('deployments as d').select('d.id').whereRef('d.place_id', '=', 'o.place_id'))),
    )
    .execute();

/** What the receipts of a place's deployments say that they had. */
export async function hadIn(db: Database, workspaceId: string, placeId: string): Promise<Had[]> {
  const found = await db
    .selectFrom('receipts')
    .select('made')
    .where('workspace_id', '=', workspaceId)
    .where(sql<string>`place ->> 'id'`, '=', placeId)
    .execute();
  return found.flatMap(({ made }) => made).filter(({ snapshot }) => snapshot);
}

/** What a search found; or why it could not be made. */
export async function setProof(db: Database, id: string, found: Remaining | string): Promise<void> {
  const failed = typeof found === 'string' ? found : null;
  const { kept, notes, search } =
    typeof found === 'string' ? { kept: [], notes: [], search: null } : { ...found, search: searchOf(found) };
  const isClean = search !== null && search.left.length === 0;
  const [first, most] = SEARCH_SECONDS;
  await db
    .updateTable('offboardings')
    .set({
      proof: json({ search, kept, notes, failed }),
      proven_at: isClean ? now : null,
      searches: sql`searches + 1`,
      search_after: sql<Date>`now() + least(${most}, ${first} * 2 ^ least(searches, 10)) * interval '1 second'`,
    })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .execute();
}
