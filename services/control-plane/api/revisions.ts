/** Revisions: each whole and immutable, made of the one before and of what a request gives. */
import { createRoute, z } from '@hono/zod-openapi';
import { interruptRevision, listRevisions } from '../store/deployments.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError } from './errors.ts';
import { changeableDeployment, deploymentAndRevision, deploymentOf, revisionOf } from './find.ts';
import { refuseImmutable } from './intent.ts';
import { termsOf } from './planning.ts';
import { add, preview, redeploying, revising } from './revise.ts';
import * as schemas from './schemas.ts';
import { answerOf, shownRevision } from './shown.ts';

const tags = ['revisions'];

export function addRevisions(app: App, options: ApiOptions): void {
  const { db, looks, cloud } = options;

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/revisions',
      summary: 'List revisions',
      tags,
      request: {
        params: schemas.deploymentPath,
        query: schemas.pageQuery.extend({
          status: z.string().optional().describe('Separated by commas.'),
          remote_reconciled: schemas.remoteReconciled,
        }),
      },
      responses: {
        200: {
          description: 'A page of them, newest first',
          content: schemas.json(schemas.listOf(schemas.revision, 'RevisionsList')),
        },
        ...problems(404),
      },
    }),
    async (c) => {
      const row = await deploymentOf(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      const query = c.req.valid('query');
      if (query.remote_reconciled === false) return c.json({ resources: [], offset: query.offset }, 200);
      const statuses = schemas.csv(query.status);
      const rows = await listRevisions(db, row.id, statuses ? { statuses } : {}, query);
      return c.json(
        { resources: rows.map((row) => shownRevision(cloud, row)), offset: query.offset + rows.length },
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/revisions',
      summary: 'Create a revision',
      tags,
      description: 'Always makes a revision; what is left out is as in the one before.',
      request: {
        params: schemas.deploymentPath,
        query: schemas.termsQuery,
        body: { required: true, content: schemas.json(schemas.revisionCreate) },
      },
      responses: {
        200: { description: 'With `dry_run`: what it would do', content: schemas.json(schemas.plan) },
        201: { description: 'Created', content: schemas.json(schemas.revision) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const row = await changeableDeployment(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      const body = c.req.valid('json');
      refuseImmutable(row, body);
      const terms = termsOf(c.req.valid('query'));
      const { place, making } = await revising(options, row, body, true);
      if (terms.dryRun) return c.json(await preview(options, place, row, {}, making), 200);
      const id = await add(options, place, row, {}, { ...making, plan: terms.plan });
      return c.json(shownRevision(cloud, await revisionOf(db, row.id, id!)), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/revisions/{revision_id}',
      summary: 'Read a revision',
      tags,
      request: { params: schemas.revisionPath },
      responses: {
        200: { description: 'It', content: schemas.json(schemas.revision) },
        ...problems(404),
      },
    }),
    async (c) => {
      const { revision } = await deploymentAndRevision(db, c.get('workspaceId'), c.req.valid('param'));
      return c.json(shownRevision(cloud, revision), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/revisions/{revision_id}/redeploy',
      summary: 'Redeploy a revision',
      tags,
      description:
        'Makes a revision that asks for all that this one did: image or archive, size, secret versions, references. 400 ' +
        'when some of it is there no more, or when it is not the newest one and never was deployed.',
      request: { params: schemas.revisionPath, query: schemas.termsQuery },
      responses: {
        200: { description: 'The deployment as it is now', content: schemas.json(schemas.deploymentOrPlan) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const { deployment_id, revision_id } = c.req.valid('param');
      const row = await changeableDeployment(db, workspaceId, deployment_id);
      const terms = termsOf(c.req.valid('query'));
      const { place, making } = await redeploying(options, row, await revisionOf(db, row.id, revision_id));
      if (terms.dryRun) return c.json(await preview(options, place, row, {}, making), 200);
      await add(options, place, row, {}, { ...making, plan: terms.plan });
      return c.json(await answerOf(options, await deploymentOf(db, workspaceId, row.id)), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/revisions/{revision_id}/interrupt',
      summary: 'Interrupt a revision',
      tags,
      description: 'Stops a revision that has not ended: it ends as INTERRUPTED, and what served before serves on.',
      request: { params: schemas.revisionPath },
      responses: {
        200: { description: 'It will be stopped, or was', content: schemas.json(schemas.revision) },
        ...problems(404, 409),
      },
    }),
    async (c) => {
      const { deployment_id, revision_id } = c.req.valid('param');
      const row = await changeableDeployment(db, c.get('workspaceId'), deployment_id);
      const isRunning = await interruptRevision(db, looks, await revisionOf(db, row.id, revision_id));
      const now = await revisionOf(db, row.id, revision_id);
      if (!isRunning && now.status !== 'INTERRUPTED')
        throw new ApiError(409, `Revision ID ${revision_id} cannot be interrupted: it has ended as ${now.status}.`);
      return c.json(shownRevision(cloud, now), 200);
    },
  );
}
