/** What was made for a deployment, and what happened to it. */
import { createRoute, z } from '@hono/zod-openapi';
import { listEvents } from '../store/deployments.ts';
import { findReceipt } from '../store/receipts.ts';
import { listResources, madeOf } from '../store/resources.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError } from './errors.ts';
import { deploymentOf } from './find.ts';
import * as schemas from './schemas.ts';

const tags = ['deployments'];

export function addTimeline(app: App, { db }: ApiOptions): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/receipt',
      summary: 'Read the receipt of a delete',
      tags,
      description: 'Ours: what was made for a deployment that is being deleted or has gone, and what stays on purpose.',
      request: { params: schemas.deploymentPath },
      responses: {
        200: { description: 'It', content: schemas.json(schemas.receipt) },
        ...problems(404),
      },
    }),
    async (c) => {
      const { deployment_id } = c.req.valid('param');
      const row = await findReceipt(db, c.get('workspaceId'), deployment_id);
      if (row === undefined) throw new ApiError(404, `There is no receipt of Deployment ID ${deployment_id}.`);
      const { name, made, remainders, gone_at } = row;
      return c.json(
        { deployment_id, name, made: [...made], kept: [...remainders], gone_at: gone_at?.toISOString() ?? null },
        200,
      );
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
