/** Receipts: what was made for a deployment, when each of it went, and what stays. They outlive it. */
import { sql, type Selectable } from 'kysely';
import type { Remaining } from '../../reconciler/aws/remaining.ts';
import {
  json,
  now,
  type Database,
  type Made,
  type Page,
  type Receipts,
  type Search,
  type Tx,
  type Where,
} from './database.ts';
import type { PlaceRow } from './places.ts';
import { madeFor } from './resources.ts';

export type ReceiptRow = Selectable<Receipts>;

/**
 * Before the first removal: what there is, since each row goes with its resource. Said again, it changes nothing; of
 * what is not being deleted (any more) there is none.
 * @returns what there was
 */
export async function beginReceipt(db: Database, deploymentId: string): Promise<readonly Made[]> {
  return db.transaction().execute(async (tx) => {
    const deployment = await tx
      .selectFrom('deployments')
      .select(['id', 'workspace_id', 'name', 'place_id'])
      .where('id', '=', deploymentId)
      .where('deleted_at', 'is not', null)
      .where('accepted_at', 'is not', null)
      .forShare()
      .executeTakeFirst();
    if (deployment === undefined) return [];
    await begin(tx, deployment);
    const begun = tx.selectFrom('receipts').select('made').where('deployment_id', '=', deploymentId);
    return (await begun.executeTakeFirstOrThrow()).made;
  });
}

type Owned = { readonly id: string; readonly workspace_id: string; readonly name: string; readonly place_id: string };

async function begin(tx: Tx, { id, workspace_id, name, place_id }: Owned): Promise<void> {
  const place = await tx.selectFrom('places').selectAll().where('id', '=', place_id).executeTakeFirst();
  await tx
    .insertInto('receipts')
    .values({
      deployment_id: id,
      workspace_id,
      name,
      place: place === undefined ? null : jsonOrNull(whereOf(place)),
      made: json(await madeFor(tx, id)),
      gone: json({}),
      kept: json([]),
      notes: json([]),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Null of a place whose stack was never registered. */
export const whereOf = ({ id, name, outputs }: PlaceRow): Where | null =>
  outputs === null ? null : { id, name, account: outputs.accountId, region: outputs.region };

export const jsonOrNull = (value: unknown): string | null => (value === null ? null : json(value));

/** As it is kept. */
export const searchOf = ({ calls, found, left }: Remaining): Search => ({
  at: new Date().toISOString(),
  calls,
  found,
  left,
});

/** Nothing more will be removed. */
export async function endReceipt(
  tx: Tx,
  deployment: Owned,
  end: Pick<ReceiptRow, 'kept' | 'notes' | 'search'>,
): Promise<void> {
  await begin(tx, deployment);
  await tx
    .updateTable('receipts')
    .set({ kept: json(end.kept), notes: json(end.notes), search: jsonOrNull(end.search), gone_at: now })
    .where('deployment_id', '=', deployment.id)
    .execute();
}

/** Its delete was undone. */
export const dropReceipt = (tx: Tx, deploymentId: string): Promise<unknown> =>
  tx.deleteFrom('receipts').where('deployment_id', '=', deploymentId).where('gone_at', 'is', null).execute();

/** Also of a deployment that has gone. */
export const findReceipt = (db: Database, workspaceId: string, id: string): Promise<ReceiptRow | undefined> =>
  db
    .selectFrom('receipts')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .where('deployment_id', '=', id)
    .executeTakeFirst();

/** The last begun first. */
export function listReceipts(
  db: Database,
  workspaceId: string,
  filter: { readonly placeId?: string | undefined; readonly isGone?: boolean | undefined },
  page: Page,
): Promise<ReceiptRow[]> {
  let found = db.selectFrom('receipts').selectAll().where('workspace_id', '=', workspaceId);
  if (filter.placeId) found = found.where(sql<string>`place ->> 'id'`, '=', filter.placeId);
  if (filter.isGone !== undefined) found = found.where('gone_at', filter.isGone ? 'is not' : 'is', null);
  return found.orderBy('began_at', 'desc').orderBy('deployment_id').limit(page.limit).offset(page.offset).execute();
}
