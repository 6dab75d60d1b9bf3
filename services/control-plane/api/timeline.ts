/** What was made for a deployment, and what happened to it. */
import { createRoute, z } from '@hono/zod-openapi';
import { listEvents } from '../store/deployments.ts';
import { listDrifts, type DriftRow } from '../store/drifts.ts';
import { listResources, madeOf } from '../store/resources.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { deploymentOf } from './find.ts';
import * as schemas from './schemas.ts';

const tags = ['deployments'];

export function addTimeline(app: App, { db }: ApiOptions): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/drift',
      summary: 'List what others changed',
      tags,
      description:
        'Ours: fields of what was made in the account that somebody else changed, newest first; with who and when. The ' +
        'newest 1,000 are kept, and the ended ones as long as events are.',
      request: {
        params: schemas.deploymentPath,
        query: schemas.pageQuery.extend({ open: schemas.flag.optional() }),
      },
      responses: {
        200: { description: 'A page of them', content: schemas.json(schemas.listOf(schemas.drift, 'DriftList')) },
        ...problems(404),
      },
    }),
    async (c) => {
      const row = await deploymentOf(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      const { open, ...page } = c.req.valid('query');
      const rows = await listDrifts(db, row.id, open === undefined ? {} : { open }, page);
      return c.json({ resources: rows.map(shownDrift), offset: page.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/timeline',
      summary: 'Read what happened',
      tags,
      description: "Ours: the deployment's resources as they are now, and what happened to them, in order.",
      request: {
        params: schemas.deploymentPath,
        query: z.object({
          after: z.coerce.number().int().min(0).default(0),
          limit: z.coerce.number().int().min(1).max(1000).default(100),
        }),
      },
      responses: {
        200: { description: 'Resources, and a page of events', content: schemas.json(schemas.timeline) },
        ...problems(404),
      },
    }),
    async (c) => {
      const row = await deploymentOf(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      const { after, limit } = c.req.valid('query');
      const events = await listEvents(db, row.id, after, limit);
      const resources = await listResources(db, row.id);
      return c.json(
        {
          deployment_id: row.id,
          resources: resources.map((resource) => ({
            ...madeOf(resource),
            state: resource.state,
            since: resource.since.toISOString(),
            message: resource.message === '' ? null : resource.message,
            needs: resource.needs,
            tries: resource.tries,
          })),
          events: events.map((event) => ({ ...event, at: event.at.toISOString() })),
          next_after: events.at(-1)?.id ?? after,
        },
        200,
      );
    },
  );
}

const shownDrift = (row: DriftRow): z.infer<typeof schemas.drift> => ({
  id: row.id,
  resource: row.resource,
  field: row.field,
  from: row.asked,
  to: row.found,
  detected_at: row.detected_at.toISOString(),
  policy: row.policy,
  resolved_at: row.resolved_at?.toISOString() ?? null,
  resolution: row.resolution,
  changed_by:
    row.actor === null
      ? null
      : { id: row.actor, name: row.actor_name!, call: row.actor_call!, at: row.acted_at!.toISOString() },
});
