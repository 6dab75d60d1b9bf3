/** A store with many deployments in it, and how many queries it is asked. */
import { sql } from 'kysely';
import pg from 'pg';
import type { Database } from '../../services/control-plane/store/database.ts';

/**
 * Deployments `agent-<from>` … `agent-<to - 1>` of one workspace and place, a second apart, with three revisions each.
 * All are READY but for one in a thousand, which is UNKNOWN.
 */
export async function fill(
  db: Database,
  { workspaceId, placeId, from, to }: { workspaceId: string; placeId: string; from: number; to: number },
): Promise<void> {
  await sql`
    with made as (
      insert into deployments (id, workspace_id, place_id, name, source, type, created_at, accepted_at)
      select gen_random_uuid(), ${workspaceId}, ${placeId}, 'agent-' || n, 'external_docker', 'prod',
             timestamptz '2026-01-01' + n * interval '1 second', now()
      from generate_series(${from}::int, ${to}::int - 1) n
      returning id, name
    ), revised as (
      insert into revisions (id, deployment_id, number, source, image_uri, image, resource_spec, resources,
                             environment, secret_references, agent_auth)
      select gen_random_uuid(), made.id, number, 'external_docker', 'repo/agent:1', 'repo/agent@sha256:1', '{}',
             '{"cpu": 2, "memoryMb": 2048, "minScale": 1, "maxScale": 10}',
             '[{"name": "OPENAI_API_KEY", "versionId": "1", "digest": "00"}]', '[]', '{"type": "noop"}'
      from made, generate_series(1, 3) number
      returning id, deployment_id, number
    ), shown as (
      insert into revision_statuses (revision_id, deployment_id, status, started_at, ended_at)
      select id, deployment_id, case number when 3 then 'DEPLOYED' else 'SKIPPED' end, now(), now() from revised
    )
    insert into deployment_statuses (deployment_id, status, known_status, active_revision_id)
    select made.id, case when made.name like '%500' then 'UNKNOWN' else 'READY' end, 'READY', revised.id
    from made join revised on revised.deployment_id = made.id and revised.number = 3`.execute(db);
  await sql`vacuum analyze`.execute(db); // as autovacuum does after a while
}

/** Drafts included. */
export async function countDeployments(db: Database): Promise<number> {
  const { n } = await db
    .selectFrom('deployments')
    .select((e) => e.fn.countAll<number>().as('n'))
    .executeTakeFirstOrThrow();
  return n;
}

/** More revisions of a deployment, by number, each asking for what its first one does. */
export async function fillRevisions(db: Database, deploymentId: string, from: number, to: number): Promise<void> {
  await sql`
    insert into revisions (id, deployment_id, number, source, image_uri, image, resource_spec, resources, environment,
      secret_references, agent_auth)
    select gen_random_uuid(), deployment_id, n, source, image_uri, image, resource_spec, resources, environment,
      secret_references, agent_auth
    from revisions, generate_series(${from}::int, ${to}::int) n
    where deployment_id = ${deploymentId} and number = 1`.execute(db);
}

/** Counts what every connection of this process sends from now on, transactions' begin and commit included. */
export function countQueries(): () => number {
  let sent = 0;
  const { query } = pg.Client.prototype;
  pg.Client.prototype.query = function (this: pg.Client, ...given: unknown[]): never {
    sent++;
    return query.apply(this, given as never) as never;
  };
  return () => sent;
}
