/** How source code and images get into the customer's account: straight there, never through us. */
import { createRoute } from '@hono/zod-openapi';
import { problems, type ApiOptions, type App } from './context.ts';
import { bad, inAccount } from './errors.ts';
import { changeableDeployment, placeAround } from './find.ts';
import { fenceOf } from './revise.ts';
import * as schemas from './schemas.ts';

const tags = ['deployments'];

export function addUploads(app: App, options: ApiOptions): void {
  const { db, cloud } = options;

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/upload-url',
      summary: 'Ask where to upload an archive',
      tags,
      description: 'Where to put an archive of source code (.tar.gz, at most 200 MB) for the next revision.',
      request: {
        params: schemas.deploymentPath,
        body: { required: false, content: schemas.json(schemas.uploadRequest) },
      },
      responses: {
        200: { description: 'It', content: schemas.json(schemas.upload) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const row = await changeableDeployment(db, workspaceId, c.req.valid('param').deployment_id);
      if (!row.source.startsWith('internal_'))
        throw bad(
          `Upload URLs are only available for 'internal_source' and 'internal_docker' source deployments, not for '${row.source}'.`,
        );
      const place = await placeAround(db, row);
      const { url, path, headers } = await inAccount(cloud.uploadUrl(place, row));
      const asked = c.req.valid('json')?.supports_upload_headers === true;
      return c.json({ upload_url: url, object_path: path, ...(asked && { upload_headers: { ...headers } }) }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/push-token',
      summary: 'Ask for a token to push images',
      tags,
      description: "Lets docker push images to the deployment's own repository.",
      request: {
        params: schemas.deploymentPath,
        body: { required: false, content: schemas.json(schemas.pushTokenRequest) },
      },
      responses: {
        200: { description: 'It', content: schemas.json(schemas.pushToken) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const row = await changeableDeployment(db, workspaceId, c.req.valid('param').deployment_id);
      if (row.source !== 'internal_docker')
        throw bad(
          `Push tokens are only available for 'internal_docker' source deployments, and this one's source is '${row.source}'.`,
        );
      const place = await placeAround(db, row);
      const { token, username, registry, repository } = await inAccount(
        cloud.pushToken(place, row, fenceOf(options, row.id)),
      );
      return c.json({ token, username, registry_url: registry, repository_url: repository }, 200);
    },
  );
}
