/**
 * Where servers ask who calls them, with the caller's own headers (langgraph-api's `LANGGRAPH_AUTH_TYPE=langsmith`).
 * They let in whom the answer places in their own workspace, and ask `/auth/verify` about tokens when any workspace
 * will do. Whoever may read may call the agents.
 */
import { createRoute, z } from '@hono/zod-openapi';
import type { App } from './context.ts';
import { id, json } from './schemas.ts';

export function addAgentAuth(app: App): void {
  for (const path of ['/auth/public', '/auth/verify'])
    app.openapi(
      createRoute({
        method: 'get',
        path,
        tags: ['auth'],
        summary: 'Whose credentials these are',
        responses: {
          200: {
            description: 'They are good, for this workspace',
            content: json(
              z
                .object({
                  organization_id: id,
                  tenant_id: id,
                  user_id: z.string().describe("The key's id, or the token's `sub`."),
                  user_email: z.string().optional(),
                })
                .openapi('Authentication'),
            ),
          },
        },
      }),
      (c) => {
        const { organizationId, user } = c.get('caller');
        return c.json(
          {
            organization_id: organizationId,
            tenant_id: c.get('workspaceId'),
            user_id: user.id,
            ...(user.email === null ? {} : { user_email: user.email }),
          },
          200,
        );
      },
    );
}
