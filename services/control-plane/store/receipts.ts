/** Receipts: what was made for a deployment, and what its removal left. They outlive it. */
import { sql, type Selectable } from 'kysely';
import { json, now, type Database, type Receipts, type Tx } from './database.ts';

/** Before the first removal: what there is, since each row goes with its resource. Said again, it changes nothing. */
export async function beginReceipt(
  db: Database | Tx,
  deployment: { readonly id: string; readonly workspaceId: string; readonly name: string },
): Promise<void> {
  const { id, workspaceId, name } = deployment;
  await sql`
    insert into receipts (deployment_id, workspace_id, name, remainders, made)
    select ${id}::uuid, ${workspaceId}::uuid, ${name}, '[]', coalesce(jsonb_agg(jsonb_build_object(
      'id', r.id, 'kind', r.kind, 'arn', r.outputs ->> 'arn', 'name', coalesce(r.inputs ->> 'name',
      r.inputs ->> 'family', r.inputs ->> 'service', r.inputs -> 'match' ->> 'path', r.inputs -> 'match' ->> 'host')
      ) order by r.seq), '[]')
    from resources r where r.deployment_id = ${id} and r.inputs is not null
    on conflict (deployment_id) do nothing`.execute(db);
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
