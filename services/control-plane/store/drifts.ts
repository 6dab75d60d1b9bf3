/** What others changed in customers' accounts: told by looks, ended by looks, and who did it, which AWS tells later. */
import { sql, type Selectable } from 'kysely';
import { wordsOf, type Drift, type DriftPolicy } from '../../reconciler/drift.ts';
import { json, type Database, type Drifts, type Page, type Tx } from './database.ts';
import { holdEpoch, say } from './observed.ts';

export type DriftRow = Selectable<Drifts>;

/** Of each deployment. */
const KEPT = 1000;
/** Times that AWS is asked who did it, and how long it is worth asking: its record of a call appears within minutes. */
export const ASKS = 6;
const ASK_MINUTES = 120;

/** What is told of a deployment's differences to the pass that is about to look. */
export const openDrifts = (db: Database | Tx, deploymentIds: readonly string[]): Promise<DriftRow[]> =>
  deploymentIds.length === 0
    ? Promise.resolve([])
    : db
        .selectFrom('drifts')
        .selectAll()
        .where('deployment_id', 'in', deploymentIds)
        .where('resolved_at', 'is', null)
        .orderBy('id')
        .execute();

/** Writes down what is new of them, with an event. @throws Superseded when another pass has begun */
export async function addDrifts(
  db: Database,
  seen: { readonly deploymentId: string; readonly epoch: number; readonly generation: string },
  policy: DriftPolicy,
  drifts: readonly Drift[],
): Promise<void> {
  const { deploymentId, epoch, generation } = seen;
  await db.transaction().execute(async (tx) => {
    await holdEpoch(tx, deploymentId, epoch);
    const added: Drift[] = [];
    for (const drift of drifts) {
      const values = { asked: json(drift.from), found: json(drift.to), policy, generation };
      const row = await tx
        .insertInto('drifts')
        .values({ deployment_id: deploymentId, resource: drift.resource, field: drift.field, ...values })
        .onConflict((conflict) =>
          conflict
            .columns(['deployment_id', 'resource', 'field'])
            .where('resolved_at', 'is', null)
            .doUpdateSet({ ...values, detected_at: sql`now()`, asks: 0, actor: null, actor_name: null, acted_at: null })
            // What was told stays told; another difference, or another fate of it, is news.
            .where(
              sql<boolean>`(drifts.found, drifts.policy) is distinct from
                (excluded.found, excluded.policy)`,
            ),
        )
        .returning('id')
        .executeTakeFirst();
      if (row !== undefined) added.push(drift);
    }
    const [first] = added;
    if (first === undefined) return;
    const fate = policy === 'repair' ? 'it is repaired' : 'it is left as it is';
    const message = `changed by somebody else: ${wordsOf(added)}: ${fate}`;
    await say(tx, { deploymentId, revisionId: null, resource: first.resource, message });
    await sql`
      delete from drifts where deployment_id = ${deploymentId} and resolved_at is not null and id <= (
        select id from drifts where deployment_id = ${deploymentId} order by id desc offset ${KEPT} limit 1
      )`.execute(tx);
  });
}

/** These are as asked, or nobody wants to know that they are not. Within the transaction that settles a look. */
export async function endDrifts(
  tx: Tx,
  deploymentId: string,
  generation: string,
  policy: DriftPolicy,
  resources: readonly string[],
): Promise<void> {
  if (resources.length === 0) return;
  const ended = await tx
    .updateTable('drifts')
    .set({
      resolved_at: sql`now()`,
      resolution: sql`case when ${policy}::text = 'ignore' then 'ignored'
        when policy = 'repair' or generation <> ${generation} then 'repaired' else 'reverted' end`,
    })
    .where('deployment_id', '=', deploymentId)
    .where('resolved_at', 'is', null)
    .where('resource', 'in', resources)
    .returning(['resource', 'resolution'])
    .execute();
  const said = new Map(ended.map(({ resource, resolution }) => [resource, resolution]));
  for (const [resource, resolution] of said) {
    const message =
      resolution === 'repaired'
        ? 'as asked again: repaired'
        : resolution === 'reverted'
          ? 'as asked again: somebody else took the change back'
          : 'not looked at any more: drift_policy is "ignore"';
    await say(tx, { deploymentId, revisionId: null, resource, message });
  }
}

export const listDrifts = (
  db: Database,
  deploymentId: string,
  filter: { readonly open?: boolean },
  page: Page,
): Promise<DriftRow[]> => {
  let query = db.selectFrom('drifts').selectAll().where('deployment_id', '=', deploymentId);
  if (filter.open !== undefined) query = query.where('resolved_at', filter.open ? 'is' : 'is not', null);
  return query.orderBy('id', 'desc').limit(page.limit).offset(page.offset).execute();
};

/** Of whom nobody knows yet who did it: a few, those first that were asked about least. */
export interface Unexplained {
  readonly id: number;
  readonly deployment_id: string;
  readonly resource: string;
  readonly detected_at: Date;
  readonly inputs: unknown;
  readonly outputs: unknown;
}

export async function unexplained(
  db: Database,
  where: { readonly placeId: string } | { readonly deploymentId: string },
  limit: number,
): Promise<Unexplained[]> {
  const of = 'placeId' in where ? sql`d.place_id = ${where.placeId}` : sql`d.id = ${where.deploymentId}`;
  const { rows } = await sql<Unexplained>`
    select distinct on (f.asks, f.deployment_id, f.resource)
      f.id, f.deployment_id, f.resource, f.detected_at, r.inputs, r.outputs
    from drifts f
      join deployments d on d.id = f.deployment_id
      join resources r on r.deployment_id = f.deployment_id and r.id = f.resource
    where ${of} and f.actor is null and f.asks < ${ASKS}
      and f.detected_at > now() - ${ASK_MINUTES} * interval '1 minute'
    order by f.asks, f.deployment_id, f.resource, f.id
    limit ${limit}`.execute(db);
  return rows;
}

export interface Actor {
  /** ARN, or what AWS says instead of one. */
  readonly id: string;
  /** For people. */
  readonly name: string;
  /** Such as `ecs:UpdateService`. */
  readonly call: string;
  readonly at: Date;
}

/** What AWS answered about all differences of one resource that were found by then. */
export async function explainDrift(db: Database, one: Unexplained, actor: Actor | null): Promise<void> {
  const { deployment_id: deploymentId, resource, detected_at } = one;
  await db.transaction().execute(async (tx) => {
    const told = await tx
      .updateTable('drifts')
      .set({
        asks: sql`asks + 1`,
        ...(actor && { actor: actor.id, actor_name: actor.name, actor_call: actor.call, acted_at: actor.at }),
      })
      .where('deployment_id', '=', deploymentId)
      .where('resource', '=', resource)
      .where('actor', 'is', null)
      // A Date has milliseconds, PostgreSQL microseconds: to the letter, it would not be found by its own time.
      .where(sql`date_trunc('milliseconds', detected_at)`, '<=', detected_at)
      .returning('id')
      .execute();
    if (actor === null || told.length === 0) return;
    const message = `changed by ${actor.name} (${actor.call}) at ${actor.at.toISOString()}`;
    await say(tx, { deploymentId, revisionId: null, resource, message });
  });
}

/** As a pass names it. */
export const driftOf = (row: DriftRow): Drift => ({
  resource: row.resource,
  field: row.field,
  from: row.asked,
  to: row.found,
});
