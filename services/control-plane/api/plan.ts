/** A plan over the wire. */
import { createRoute } from '@hono/zod-openapi';
import { problems, type ApiOptions, type App } from './context.ts';
import { changeableDeployment } from './find.ts';
import { makesRevision, refuseImmutable, type Source } from './intent.ts';
import { planPresent } from './planning.ts';
import { preview, revising, unlessEmpty } from './revise.ts';
import * as schemas from './schemas.ts';

export function addPlan(app: App, options: ApiOptions): void {
  const { db } = options;
  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/plan',
      summary: 'Plan a change',
      tags: ['deployments'],
      description:
        'What a PATCH with this body would do in the account, in order: nothing is written, there or here, and no secret ' +
        'value is sent anywhere. Without a body: what the next look would change, which is what others have changed. It ' +
        'reads the account as a look does.',
      request: {
        params: schemas.deploymentPath,
        body: { required: false, content: schemas.json(schemas.deploymentPatch) },
      },
      responses: {
        200: { description: 'The plan', content: schemas.json(schemas.plan) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const row = await changeableDeployment(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      const given = c.req.valid('json') ?? {};
      const body = { ...given, secret_references: unlessEmpty(given.secret_references) };
      refuseImmutable(row, body);
      const change = body.drift_policy ? { driftPolicy: body.drift_policy } : {};
      if (!makesRevision(row.source as Source, body))
        return c.json((await planPresent(options, row, change)).shown, 200);
      const { place, making } = await revising(options, row, body, false);
      return c.json(await preview(options, place, row, change, making), 200);
    },
  );
}
