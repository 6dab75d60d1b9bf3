/**
 * Sweeps: "go over the settled deployments of place p", carried by the same queues as looks. A place has one at most,
 * waiting or running, whatever number of processes there are. A deployment is in a sweep or has a look of its own,
 * never neither: as long as all looks that it was asked for were carried out and found it settled, it is the sweep's.
 */
import { sql, type Selectable } from 'kysely';
import type { Settled } from '../../reconciler/sweep.ts';
import type { DriftPolicy } from '../../reconciler/drift.ts';
import type { Database, Places, Tx } from './database.ts';

/** In SQL, of `deployments d` and `deployment_statuses s`. */
export const isSettled = sql<boolean>`s.settled_asked = d.asked and d.deleted_at is null`;

export interface SettledDeployment {
  readonly id: string;
  readonly name: string;
  readonly driftPolicy: DriftPolicy;
  readonly rows: readonly Settled[];
}

/** A page of a place's settled deployments with their resources, in the order of their ids. */
export async function settledIn(
  db: Database,
  placeId: string,
  after: string | null,
  limit: number,
): Promise<SettledDeployment[]> {
  const found = await db
    .selectFrom('deployments as d')
    .innerJoin('deployment_statuses as s', 's.deployment_id', 'd.id')
    .select(['d.id', 'd.name', 'd.drift_policy'])
    .where('d.place_id', '=', placeId)
    .where(isSettled)
    .$if(after !== null, (query) => query.where('d.id', '>', after!))
    .orderBy('d.id')
    .limit(limit)
    .execute();
  if (found.length === 0) return [];
  const ids = found.map(({ id }) => id);
  const resources = await db
    .selectFrom('resources')
    .select(['deployment_id', 'id', 'kind', 'inputs', 'outputs'])
    .where('deployment_id', 'in', ids)
    .orderBy('seq')
    .execute();
  const rows = Map.groupBy(resources, (row) => row.deployment_id);
  return found.map(({ id, name, drift_policy }) => ({ id, name, driftPolicy: drift_policy, rows: rows.get(id) ?? [] }));
}

export const placeById = (db: Database, id: string): Promise<Selectable<Places> | undefined> =>
  db.selectFrom('places').selectAll().where('id', '=', id).executeTakeFirst();

/** Places with deployments that are the sweep's, but no sweep. */
export async function unswept(db: Database, queue: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select p.id from places p
    where exists (
        select from deployments d join deployment_statuses s on s.deployment_id = d.id
        where d.place_id = p.id and ${isSettled})
      and not exists (
        select from pgboss.job j
        where j.name = ${queue} and j.singleton_key = p.id::text and j.state in ('created', 'retry', 'active'))`.execute(
    db,
  );
  return rows.map(({ id }) => id);
}

/** Whether there is anything for a sweep to go over. */
export async function isSwept(db: Database | Tx, placeId: string): Promise<boolean> {
  const found = await db
    .selectFrom('deployments as d')
    .innerJoin('deployment_statuses as s', 's.deployment_id', 'd.id')
    .select('d.id')
    .where('d.place_id', '=', placeId)
    .where(isSettled)
    .limit(1)
    .executeTakeFirst();
  return found !== undefined;
}
