/** Sizes by name, of the servers and of the database, and the way from a development deployment to a production one. */
import { createRoute } from '@hono/zod-openapi';
import { intentOf, newestRevisions, type DeploymentChange } from '../store/deployments.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { bad, invalid } from './errors.ts';
import { changeableDeployment, deploymentOf, placeAround } from './find.ts';
import { planNothing, termsOf } from './planning.ts';
import { add, preview, type Making } from './revise.ts';
import * as schemas from './schemas.ts';
import { answerOf } from './shown.ts';
import { dedicated, isSized, retyped, sized, typeOf } from './sizes.ts';
import { isOwnDatabase } from './variables.ts';

const tags = ['deployments'];

export function addTiers(app: App, options: ApiOptions): void {
  const { db } = options;

  app.openapi(
    createRoute({
      method: 'patch',
      path: '/v2/deployments/{deployment_id}/resource-tiers',
      summary: "Change a deployment's sizes",
      tags,
      description:
        'Null leaves as it is. Another compute tier makes a revision with its size, which inherits all else. Another ' +
        'database tier restarts the database with another class, minutes without it, and makes a revision with as many ' +
        'connections as that has.',
      request: {
        params: schemas.deploymentPath,
        query: schemas.termsQuery,
        body: { required: true, content: schemas.json(schemas.resourceTiers) },
      },
      responses: {
        200: { description: 'As it is now', content: schemas.json(schemas.deploymentOrPlan) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const row = await changeableDeployment(db, workspaceId, c.req.valid('param').deployment_id);
      const terms = termsOf(c.req.valid('query'));
      const { compute_tier, database_tier } = c.req.valid('json');
      const compute = compute_tier && dedicated(compute_tier);
      const database = database_tier && dedicated(database_tier);
      const newest = (await newestRevisions(db, [row.id])).get(row.id);
      const asked = newest ? intentOf(newest) : row.base!;
      if (database && isOwnDatabase(asked))
        throw bad("database_tier does not apply: the deployment's database is the customer's own");
      const change: DeploymentChange = database && database !== row.database_tier ? { databaseTier: database } : {};
      const size = compute && !isSized(asked, compute) ? compute : null;
      // How many connections a task may take follows from the database: its tasks are started anew.
      if (size || change.databaseTier) {
        const next: Making['next'] = (before, type) => (size ? sized(before, type, size) : before);
        const place = await placeAround(db, row);
        if (terms.dryRun) return c.json(await preview(options, place, row, change, { next }), 200);
        await add(options, place, row, change, { next, plan: terms.plan });
      } else {
        const { plan } = await planNothing(options, row, {}, terms);
        if (plan !== null) return c.json(plan, 200);
      }
      return c.json(await answerOf(options, await deploymentOf(db, workspaceId, row.id)), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'patch',
      path: '/v2/deployments/{deployment_id}/deployment-tier',
      summary: "Change a deployment's type",
      tags,
      description:
        'From `dev` to `prod`, not back: the database gets backups, a standby in another zone and protection, and a ' +
        "revision takes production's defaults for what was not asked.",
      request: {
        params: schemas.deploymentPath,
        query: schemas.termsQuery,
        body: { required: true, content: schemas.json(schemas.deploymentTier) },
      },
      responses: {
        200: { description: 'As it is now', content: schemas.json(schemas.deploymentOrPlan) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const row = await changeableDeployment(db, workspaceId, c.req.valid('param').deployment_id);
      const terms = termsOf(c.req.valid('query'));
      const { deployment_type, deployment_tier } = c.req.valid('json');
      const asked = deployment_type ?? deployment_tier;
      if (!asked) throw invalid(['deployment_type'], 'Field required', 'missing');
      const type = typeOf(asked);
      if (type === 'dev' && row.type === 'prod')
        throw bad(
          'deployment_type cannot go from "prod" to "dev": that would switch the backups of the database, its standby ' +
            'and its protection off: make another deployment',
        );
      if (type === 'prod' && row.type === 'dev') {
        const next: Making['next'] = (before) => retyped(before, type);
        const place = await placeAround(db, row);
        if (terms.dryRun) return c.json(await preview(options, place, row, { type }, { next }), 200);
        await add(options, place, row, { type }, { next, plan: terms.plan });
      } else {
        const { plan } = await planNothing(options, row, {}, terms);
        if (plan !== null) return c.json(plan, 200);
      }
      return c.json(await answerOf(options, await deploymentOf(db, workspaceId, row.id)), 200);
    },
  );
}
