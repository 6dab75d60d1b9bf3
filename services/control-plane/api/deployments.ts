/** Deployments. A request writes intent and asks for a look; it never waits for AWS to make anything. */
import { createRoute, z } from '@hono/zod-openapi';
import { randomUUID } from 'node:crypto';
import type { Place } from '../../reconciler/place.ts';
import type { Owner } from '../cloud.ts';
import type { Variable } from '../store/database.ts';
import {
  abandonDraft,
  acceptDeployment,
  deleteDeployment,
  draftDeployment,
  forgetDeployment,
  listDeployments,
  nameIsTaken,
  newestRevisions,
  type DeploymentChange,
  type RevisionIntent,
} from '../store/deployments.ts';
import { findPlace, placeOf } from '../store/places.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError, bad, inAccount } from './errors.ts';
import { changeableDeployment, deploymentOf, onlyPlace, placeFor } from './find.ts';
import {
  checkCustomUrl,
  checkKept,
  checkRevisionConfig,
  checkSecrets,
  checkSource,
  checkSourceConfig,
  environmentOf,
  resourcesOf,
  specOf,
  typeOf,
  type DeploymentType,
  type ResourceSpec,
} from './intent.ts';
import { changed, refuseImmutable, refuseReferences, revise, writeSecrets } from './revisions.ts';
import * as schemas from './schemas.ts';
import { answerOf, shownDeployment } from './shown.ts';

const tags = ['deployments'];

export function addDeployments(app: App, options: ApiOptions): void {
  const { db, looks, cloud, digestKey } = options;

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments',
      tags,
      request: {
        query: schemas.pageQuery.extend({
          name: z.string().optional(),
          name_contains: z.string().optional(),
          status: z.string().optional(),
          deployment_type: z.string().optional(),
          deployment_ids: z.string().optional().describe('Separated by commas.'),
          agent_id: z.string().optional().describe('No deployment has an agent: finds none.'),
          agent_environment: z.string().optional().describe('No deployment has an agent: finds none.'),
          image_version: z.string().optional().describe('No deployment has one: finds none.'),
          tag_value_ids: z.string().optional().describe('No deployment has tags: finds none.'),
        }),
      },
      responses: {
        200: {
          description: 'A page of them, newest first',
          content: schemas.json(schemas.listOf(schemas.deployment, 'DeploymentsList')),
        },
        ...problems(401, 403, 422),
      },
    }),
    async (c) => {
      const query = c.req.valid('query');
      const ids = schemas.csv(query.deployment_ids);
      for (const id of ids ?? [])
        if (!schemas.id.safeParse(id).success)
          throw new ApiError(422, [
            { loc: ['query', 'deployment_ids'], msg: `"${id}" is not a UUID`, type: 'uuid_parsing' },
          ]);
      const workspaceId = c.get('workspaceId');
      // A client that looks for its agent's deployment must not take another for it.
      if (query.agent_id || query.agent_environment || query.image_version || query.tag_value_ids)
        return c.json({ resources: [], offset: query.offset }, 200);
      const rows = await listDeployments(
        db,
        workspaceId,
        {
          ...(query.name ? { name: query.name } : {}),
          ...(query.name_contains ? { nameContains: query.name_contains } : {}),
          ...(query.status ? { status: query.status } : {}),
          ...(query.deployment_type ? { type: query.deployment_type } : {}),
          ...(ids ? { ids } : {}),
        },
        query,
      );
      const newest = await newestRevisions(
        db,
        rows.map((row) => row.id),
      );
      const places = new Map<string, Place | undefined>();
      for (const id of new Set(rows.map((row) => row.place_id))) {
        const place = await findPlace(db, workspaceId, id);
        places.set(id, place && placeOf(place));
      }
      const resources = rows.map((row) => shownDeployment(cloud, row, newest.get(row.id), places.get(row.place_id)));
      return c.json({ resources, offset: query.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments',
      tags,
      request: { body: { required: true, content: schemas.json(schemas.deploymentCreate) } },
      responses: {
        201: { description: 'Created, with its first revision', content: schemas.json(schemas.deployment) },
        ...problems(400, 401, 403, 404, 409, 422, 502),
      },
    }),
    async (c) => {
      const body = c.req.valid('json');
      const workspaceId = c.get('workspaceId');
      checkSource(body.source);
      checkSourceConfig(body.source_config);
      checkRevisionConfig(body.source_revision_config);
      refuseReferences(body.secret_references);
      checkSecrets(body.secrets);
      checkKept(body.secrets, []);
      const type: DeploymentType = typeOf(body.source_config.deployment_type);
      const spec: ResourceSpec = body.source_config.resource_spec ?? {};
      const resources = resourcesOf(type, spec);
      const customUrl = body.source_config.custom_url ?? null;
      if (customUrl !== null) checkCustomUrl(customUrl);
      const imageUri = body.source_revision_config.image_uri;
      if (!imageUri) throw bad('source_revision_config.image_uri is required for source "external_docker"');

      const listener = body.source_config.listener_id;
      const place = listener ? await placeFor(db, workspaceId, listener) : await onlyPlace(db, workspaceId);
      if (await nameIsTaken(db, workspaceId, body.name)) throw taken(body.name);
      await inAccount(Promise.resolve().then(() => cloud.taskSize(resources)));
      const image = await inAccount(cloud.image(place, imageUri));

      const owner: Owner = { id: randomUUID(), name: body.name };
      const intent = (environment: Variable[]): RevisionIntent => ({
        source: body.source,
        imageUri,
        image,
        resourceSpec: specOf(spec),
        resources,
        environment,
        references: [],
        build: null,
        agentAuth: options.agentAuth,
      });
      const drafted = await draftDeployment(db, {
        ...owner,
        workspaceId,
        placeId: place.id,
        source: body.source,
        type,
        customUrl,
      });
      if (!drafted) throw new ApiError(404, `Listener ID ${place.id} not found.`);
      try {
        const versionId = await writeSecrets(cloud, place, owner, body.secrets);
        await acceptDeployment(db, looks, owner.id, intent(environmentOf(body.secrets, [], versionId, digestKey)));
      } catch (error) {
        await abandonDraft(db, looks, owner.id);
        if ((error as { constraint?: string }).constraint === 'deployments_name') throw taken(body.name);
        throw error;
      }
      return c.json(await answerOf(options, await deploymentOf(db, workspaceId, owner.id)), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}',
      tags,
      request: { params: schemas.deploymentPath },
      responses: {
        200: { description: 'It', content: schemas.json(schemas.deployment) },
        ...problems(401, 403, 404, 422),
      },
    }),
    async (c) =>
      c.json(
        await answerOf(options, await deploymentOf(db, c.get('workspaceId'), c.req.valid('param').deployment_id)),
        200,
      ),
  );

  app.openapi(
    createRoute({
      method: 'patch',
      path: '/v2/deployments/{deployment_id}',
      tags,
      description:
        'Null leaves as it is. An image, a resource_spec (which replaces the whole object) or secrets make a revision.',
      request: {
        params: schemas.deploymentPath,
        body: { required: true, content: schemas.json(schemas.deploymentPatch) },
      },
      responses: {
        200: { description: 'As it is now', content: schemas.json(schemas.deployment) },
        ...problems(400, 401, 403, 404, 409, 422, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const body = c.req.valid('json');
      const row = await changeableDeployment(db, workspaceId, c.req.valid('param').deployment_id);
      refuseImmutable(row, body);
      checkSourceConfig(body.source_config);
      checkRevisionConfig(body.source_revision_config);
      refuseReferences(body.secret_references);
      const customUrl = body.source_config?.custom_url;
      if (customUrl) checkCustomUrl(customUrl);
      const patch: DeploymentChange = {
        ...(body.display_name ? { displayName: body.display_name } : {}),
        // Clients send back what they were shown, which is our URL when they set none.
        ...(customUrl && customUrl !== (await answerOf(options, row)).url ? { customUrl } : {}),
      };
      const makesRevision =
        Boolean(body.source_config?.resource_spec) ||
        Boolean(body.source_revision_config?.image_uri) ||
        (body.secrets ?? []).length > 0;
      if (makesRevision) await revise(options, row, body, patch);
      else await changed(options, row.id, patch, null);
      return c.json(await answerOf(options, await deploymentOf(db, workspaceId, row.id)), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v2/deployments/{deployment_id}',
      tags,
      description:
        'Everything it made is removed; until then it is there with status AWAITING_DELETE, then 404. With `force`, after ' +
        'a first delete: it is forgotten as it is, and what is left in the account stays there.',
      request: {
        params: schemas.deploymentPath,
        query: z.object({ delete_tracing_project: z.string().optional(), force: z.string().optional() }),
      },
      responses: { 204: { description: 'It is being deleted' }, ...problems(400, 401, 403, 404, 422) },
    }),
    async (c) => {
      const row = await deploymentOf(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      if (c.req.valid('query').force !== 'true') await deleteDeployment(db, looks, row.id);
      else if (row.deleted_at === null) throw bad('force is only for a deployment whose delete was asked for before');
      else await forgetDeployment(db, row);
      return c.body(null, 204);
    },
  );
}

const taken = (name: string): ApiError =>
  new ApiError(409, `A deployment named "${name}" already exists in this workspace.`);
