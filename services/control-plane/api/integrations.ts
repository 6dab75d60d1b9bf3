/**
 * Code hosts that deployments could be built from. None can be configured yet, and the lists say so; clients ask for
 * them before they offer a choice.
 */
import { createRoute, z } from '@hono/zod-openapi';
import { problems, type App } from './context.ts';
import { ApiError } from './errors.ts';
import * as schemas from './schemas.ts';

const integration = z
  .object({ id: schemas.id, installation_id: z.number().int(), name: z.string() })
  .openapi('GithubIntegration');
const repository = z
  .object({
    host_integration_id: schemas.id,
    id: z.number().int(),
    name: z.string(),
    owner: z.string(),
    url: z.string(),
    default_branch: z.string(),
  })
  .openapi('GithubRepository');
const tags = ['integrations'];
const listOf = <S extends z.ZodType>(schema: S, description: string) => ({
  200: { description, content: schemas.json(z.array(schema)) },
});

export function addIntegrations(app: App): void {
  for (const host of ['github', 'forge/github']) {
    app.openapi(
      createRoute({
        method: 'get',
        path: `/v1/integrations/${host}/install`,
        tags,
        summary: 'List integrations',
        responses: listOf(integration, 'All of them: none yet'),
      }),
      (c) => c.json([], 200),
    );
    app.openapi(
      createRoute({
        method: 'get',
        path: `/v1/integrations/${host}/{integration_id}/repos`,
        tags,
        summary: 'List the repositories of an integration',
        request: { params: z.object({ integration_id: schemas.id }) },
        responses: { ...listOf(repository, 'All that it may read'), ...problems(404) },
      }),
      (c) => {
        throw new ApiError(404, `Integration ID ${c.req.valid('param').integration_id} not found.`);
      },
    );
  }
}
