/** Receipts: what was made for a deployment, and what its removal left. They outlive it. */
import type { Selectable } from 'kysely';
import { json, now, type Database, type Receipts, type Tx } from './database.ts';
import { madeFor } from './resources.ts';

/** Before the first removal: what there is, since each row goes with its resource. Said again, it changes nothing. */
export async function beginReceipt(
  db: Database | Tx,
  deployment: { readonly id: string; readonly workspaceId: string; readonly name: string },
): Promise<void> {
  const { id, workspaceId, name } = deployment;
  await db
    .insertInto('receipts')
    .values({
      deployment_id: id,
      workspace_id: workspaceId,
      name,
      remainders: json([]),
      made: json(await madeFor(db, id)),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Nothing more will be removed. */
export async function endReceipt(tx: Tx, deploymentId: string, remainders: readonly string[]): Promise<void> {
  await tx
    .updateTable('receipts')
    .set({ remainders: json(remainders), gone_at: now })
    .where('deployment_id', '=', deploymentId)
    .execute();
}

export type ReceiptRow = Selectable<Receipts>;

/** Also of a deployment that has gone. */
export const findReceipt = (db: Database, workspaceId: string, id: string): Promise<ReceiptRow | undefined> =>
  db
    .selectFrom('receipts')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .where('deployment_id', '=', id)
    .executeTakeFirst();
