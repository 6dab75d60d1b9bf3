/**
 * Deployments and their revisions. A request writes intent and asks for a look; it never waits for AWS to make
 * anything.
 */
import { createRoute, z } from '@hono/zod-openapi';
import { randomUUID } from 'node:crypto';
import type { Place } from '../../reconciler/place.ts';
import type { ServerResources } from '../../reconciler/spec.ts';
import type { Owner } from '../cloud.ts';
import type { Variable } from '../store/database.ts';
import {
  BeingDeleted,
  abandonDraft,
  acceptDeployment,
  changeDeployment,
  deleteDeployment,
  draftDeployment,
  findDeployment,
  findRevision,
  forgetDeployment,
  listDeployments,
  listEvents,
  listRevisions,
  nameIsTaken,
  newestRevisions,
  type DeploymentRow,
  type RevisionIntent,
  type RevisionRow,
} from '../store/deployments.ts';
import { listResources, madeOf } from '../store/resources.ts';
import { findPlace, placeOf, registeredPlaces, type PlaceRow } from '../store/places.ts';
import { findReceipt } from '../store/receipts.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError, bad, inAccount, invalid } from './errors.ts';
import {
  checkCustomUrl,
  checkKept,
  checkDatabase,
  checkRevisionConfig,
  checkSecrets,
  checkSource,
  checkSourceConfig,
  environmentOf,
  resourcesOf,
  specOf,
  typeOf,
  valuesOf,
  type DeploymentType,
  type ResourceSpec,
  type Secret,
} from './intent.ts';
import * as schemas from './schemas.ts';

const deploymentPath = z.object({ deployment_id: schemas.id });
const revisionPath = deploymentPath.extend({ revision_id: schemas.id });
const tags = ['deployments'];
const json = <S extends z.ZodType>(schema: S) => ({ 'application/json': { schema } });
const listOf = <S extends z.ZodType>(schema: S, name: string) =>
  z.object({ resources: z.array(schema), offset: z.number().int() }).openapi(name);
const csv = (text: string | undefined): string[] | undefined =>
  text === undefined || text === '' ? undefined : text.split(',').map((part) => part.trim());

type RevisionRequest = z.infer<typeof schemas.revisionCreate>;

export function addDeployments(app: App, options: ApiOptions): void {
  const { db, looks, cloud, digestKey } = options;

  const find = async (workspaceId: string, id: string): Promise<DeploymentRow> => {
    const row = await findDeployment(db, workspaceId, id);
    if (row === undefined) throw new ApiError(404, `Deployment ID ${id} not found.`);
    return row;
  };

  const findChangeable = async (workspaceId: string, id: string): Promise<DeploymentRow> => {
    const row = await find(workspaceId, id);
    if (row.deleted_at !== null) throw beingDeleted(id);
    return row;
  };

  const change = async (id: string, patch: Patch, next: Parameters<typeof changeDeployment>[4]) => {
    try {
      return await changeDeployment(db, looks, id, patch, next);
    } catch (error) {
      if (error instanceof BeingDeleted) throw beingDeleted(id);
      throw error;
    }
  };

  const placeFor = async (workspaceId: string, id: string): Promise<Place> => {
    const row = await findPlace(db, workspaceId, id);
    if (row === undefined) throw new ApiError(404, `Listener ID ${id} not found.`);
    return trusted(row);
  };

  const onlyPlace = async (workspaceId: string): Promise<Place> => {
    const [first, second] = await registeredPlaces(db, workspaceId);
    if (first === undefined) throw bad('No listener is registered in this workspace: create and register one first.');
    if (second !== undefined)
      throw bad("'source_config.listener_id' is required: this workspace has several listeners.");
    return trusted(first);
  };

  const sizeOf = (resources: ServerResources) => {
    const { cpu, memoryMb } = cloud.taskSize(resources);
    return { cpu, memory_mb: memoryMb };
  };

  const shown = (
    row: DeploymentRow,
    newest: RevisionRow | undefined,
    place: Place | undefined,
  ): z.infer<typeof schemas.deployment> => {
    const url = row.custom_url ?? (place ? cloud.url(place, row) : null);
    return {
      id: row.id,
      tenant_id: row.workspace_id,
      name: row.name,
      display_name: row.display_name,
      source: row.source,
      source_config: {
        integration_id: null,
        repo_url: null,
        deployment_type: row.type,
        build_on_push: false,
        custom_url: url,
        resource_spec: newest ? fullSpec(newest) : null,
        listener_id: row.place_id,
        listener_config: null,
        install_command: null,
        build_command: null,
        template_id: null,
      },
      source_revision_config: revisionConfig(newest),
      secrets: null,
      secret_names: namesOf(newest?.environment),
      secret_references: [],
      created_at: row.created_at.toISOString(),
      updated_at: row.updated_at.toISOString(),
      status: row.status,
      status_message: row.status_message,
      latest_revision_id: newest?.id ?? null,
      active_revision_id: row.active_revision_id,
      image_version: null,
      url,
      task_size: newest ? sizeOf(newest.resources) : null,
      shareable: false,
      route_through_gateway: false,
      is_managed_deep_agent: false,
      is_preview: false,
      tracer_session_id: null,
      agent: null,
    };
  };

  const shownRevision = (row: RevisionRow): z.infer<typeof schemas.revision> => ({
    id: row.id,
    number: row.number,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    status: row.status,
    status_message: row.status_message,
    source: row.source,
    source_revision_config: revisionConfig(row),
    image: row.image,
    resource_spec: fullSpec(row),
    task_size: sizeOf(row.resources),
    secret_names: namesOf(row.environment),
  });

  const answer = async (row: DeploymentRow): Promise<z.infer<typeof schemas.deployment>> => {
    const place = await findPlace(db, row.workspace_id, row.place_id);
    return shown(row, (await newestRevisions(db, [row.id])).get(row.id), place && placeOf(place));
  };

  /**
   * Adds a revision made of the newest one and of what the request gives. What goes to the account (the image's digest,
   * the secret's new version) is done before, outside of the transaction; a version that no revision came to use is
   * swept by a later pass.
   */
  const revise = async (row: DeploymentRow, request: RevisionRequest, patch: Patch): Promise<string> => {
    const place = await placeFor(row.workspace_id, row.place_id);
    checkSourceConfig(request.source_config);
    checkRevisionConfig(request.source_revision_config);
    refuseReferences(request.secret_references);
    const secrets = request.secrets && request.secrets.length > 0 ? request.secrets : null;
    const newest = (await newestRevisions(db, [row.id])).get(row.id);
    if (secrets) {
      checkSecrets(secrets);
      checkKept(secrets, newest?.environment ?? []);
      checkDatabase(secrets, await servingEnvironment(row));
    }
    const spec = request.source_config?.resource_spec ?? null;
    const resources = spec && resourcesOf(row.type, spec);
    if (resources) await inAccount(Promise.resolve().then(() => cloud.taskSize(resources)));

    const imageUri = request.source_revision_config?.image_uri ?? newest?.image_uri;
    if (!imageUri) throw bad('source_revision_config.image_uri is required for source "external_docker"');
    // The same tag may have moved, and an image that was there may be gone: looked up each time.
    const image = await inAccount(cloud.image(place, imageUri));
    const versionId = secrets && (await writeSecrets(place, row, secrets));
    const id = await change(row.id, patch, (base) =>
      Promise.resolve({
        source: row.source,
        imageUri,
        image,
        resourceSpec: spec ? specOf(spec) : (base?.resource_spec ?? {}),
        resources: resources ?? base?.resources ?? resourcesOf(row.type, {}),
        environment: secrets
          ? environmentOf(secrets, base?.environment ?? [], versionId, digestKey)
          : (base?.environment ?? []),
      } satisfies RevisionIntent),
    );
    return id!;
  };

  const servingEnvironment = async (row: DeploymentRow): Promise<readonly Variable[] | undefined> =>
    row.active_revision_id === null ? undefined : (await findRevision(db, row.id, row.active_revision_id))?.environment;

  const writeSecrets = async (place: Place, owner: Owner, secrets: readonly Secret[]): Promise<string | null> => {
    const values = valuesOf(secrets);
    return Object.keys(values).length > 0 ? inAccount(cloud.writeEnvironment(place, owner, values)) : null;
  };

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
          content: json(listOf(schemas.deployment, 'DeploymentsList')),
        },
        ...problems(401, 403, 422),
      },
    }),
    async (c) => {
      const query = c.req.valid('query');
      const ids = csv(query.deployment_ids);
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
      const resources = rows.map((row) => shown(row, newest.get(row.id), places.get(row.place_id)));
      return c.json({ resources, offset: query.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments',
      tags,
      request: { body: { required: true, content: json(schemas.deploymentCreate) } },
      responses: {
        201: { description: 'Created, with its first revision', content: json(schemas.deployment) },
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
      const place = listener ? await placeFor(workspaceId, listener) : await onlyPlace(workspaceId);
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
        const versionId = await writeSecrets(place, owner, body.secrets);
        await acceptDeployment(db, looks, owner.id, intent(environmentOf(body.secrets, [], versionId, digestKey)));
      } catch (error) {
        await abandonDraft(db, looks, owner.id);
        if ((error as { constraint?: string }).constraint === 'deployments_name') throw taken(body.name);
        throw error;
      }
      return c.json(await answer(await find(workspaceId, owner.id)), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}',
      tags,
      request: { params: deploymentPath },
      responses: { 200: { description: 'It', content: json(schemas.deployment) }, ...problems(401, 403, 404, 422) },
    }),
    async (c) => c.json(await answer(await find(c.get('workspaceId'), c.req.valid('param').deployment_id)), 200),
  );

  app.openapi(
    createRoute({
      method: 'patch',
      path: '/v2/deployments/{deployment_id}',
      tags,
      description:
        'Null leaves as it is. An image, a resource_spec (which replaces the whole object) or secrets make a revision.',
      request: { params: deploymentPath, body: { required: true, content: json(schemas.deploymentPatch) } },
      responses: {
        200: { description: 'As it is now', content: json(schemas.deployment) },
        ...problems(400, 401, 403, 404, 409, 422, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const body = c.req.valid('json');
      const row = await findChangeable(workspaceId, c.req.valid('param').deployment_id);
      refuseImmutable(row, body);
      checkSourceConfig(body.source_config);
      checkRevisionConfig(body.source_revision_config);
      refuseReferences(body.secret_references);
      const customUrl = body.source_config?.custom_url;
      if (customUrl) checkCustomUrl(customUrl);
      const patch: Patch = {
        ...(body.display_name ? { displayName: body.display_name } : {}),
        // Clients send back what they were shown, which is our URL when they set none.
        ...(customUrl && customUrl !== (await answer(row)).url ? { customUrl } : {}),
      };
      const makesRevision =
        Boolean(body.source_config?.resource_spec) ||
        Boolean(body.source_revision_config?.image_uri) ||
        (body.secrets ?? []).length > 0;
      if (makesRevision) await revise(row, body, patch);
      else await change(row.id, patch, null);
      return c.json(await answer(await find(workspaceId, row.id)), 200);
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
        params: deploymentPath,
        query: z.object({ delete_tracing_project: z.string().optional(), force: z.string().optional() }),
      },
      responses: { 204: { description: 'It is being deleted' }, ...problems(400, 401, 403, 404, 422) },
    }),
    async (c) => {
      const row = await find(c.get('workspaceId'), c.req.valid('param').deployment_id);
      if (c.req.valid('query').force !== 'true') await deleteDeployment(db, looks, row.id);
      else if (row.deleted_at === null) throw bad('force is only for a deployment whose delete was asked for before');
      else await forgetDeployment(db, row);
      return c.body(null, 204);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/revisions',
      tags,
      request: {
        params: deploymentPath,
        query: schemas.pageQuery.extend({ status: z.string().optional().describe('Separated by commas.') }),
      },
      responses: {
        200: { description: 'A page of them, newest first', content: json(listOf(schemas.revision, 'RevisionsList')) },
        ...problems(401, 403, 404, 422),
      },
    }),
    async (c) => {
      const row = await find(c.get('workspaceId'), c.req.valid('param').deployment_id);
      const query = c.req.valid('query');
      const statuses = csv(query.status);
      const rows = await listRevisions(db, row.id, statuses ? { statuses } : {}, query);
      return c.json({ resources: rows.map(shownRevision), offset: query.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/revisions',
      tags,
      description: 'Always makes a revision; what is left out is as in the newest one.',
      request: { params: deploymentPath, body: { required: true, content: json(schemas.revisionCreate) } },
      responses: {
        201: { description: 'Created', content: json(schemas.revision) },
        ...problems(400, 401, 403, 404, 409, 422, 502),
      },
    }),
    async (c) => {
      const row = await findChangeable(c.get('workspaceId'), c.req.valid('param').deployment_id);
      const body = c.req.valid('json');
      refuseImmutable(row, body);
      const id = await revise(row, body, {});
      return c.json(shownRevision((await findRevision(db, row.id, id))!), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/revisions/{revision_id}',
      tags,
      request: { params: revisionPath },
      responses: { 200: { description: 'It', content: json(schemas.revision) }, ...problems(401, 403, 404, 422) },
    }),
    async (c) => {
      const { deployment_id, revision_id } = c.req.valid('param');
      const row = await find(c.get('workspaceId'), deployment_id);
      const revision = await findRevision(db, row.id, revision_id);
      if (revision === undefined) throw new ApiError(404, `Deployment ID ${deployment_id} not found.`);
      return c.json(shownRevision(revision), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/revisions/{revision_id}/redeploy',
      tags,
      description: 'Makes a revision that asks for all that this one did: image, size, secret versions.',
      request: { params: revisionPath },
      responses: {
        200: { description: 'The deployment as it is now', content: json(schemas.deployment) },
        ...problems(400, 401, 403, 404, 409, 422, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const { deployment_id, revision_id } = c.req.valid('param');
      const row = await findChangeable(workspaceId, deployment_id);
      const old = await findRevision(db, row.id, revision_id);
      if (old === undefined) throw new ApiError(404, `Deployment ID ${deployment_id} not found.`);
      checkDatabase(old.environment, await servingEnvironment(row));
      const place = await placeFor(workspaceId, row.place_id);
      await inAccount(cloud.image(place, old.image)); // by digest: the same image, if it is still there
      const intent: RevisionIntent = {
        source: old.source,
        imageUri: old.image_uri,
        image: old.image,
        resourceSpec: old.resource_spec,
        resources: old.resources,
        environment: old.environment,
      };
      await change(row.id, {}, () => Promise.resolve(intent));
      return c.json(await answer(await find(workspaceId, row.id)), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/receipt',
      tags,
      description: 'Ours: what was made for a deployment that is being deleted or has gone, and what stays on purpose.',
      request: { params: deploymentPath },
      responses: { 200: { description: 'It', content: json(schemas.receipt) }, ...problems(401, 403, 404, 422) },
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
      tags,
      description: "Ours: the deployment's resources as they are now, and what happened to them, in order.",
      request: {
        params: deploymentPath,
        query: z.object({
          after: z.coerce.number().int().min(0).default(0),
          limit: z.coerce.number().int().min(1).max(1000).default(100),
        }),
      },
      responses: {
        200: { description: 'Resources, and a page of events', content: json(schemas.timeline) },
        ...problems(401, 403, 404, 422),
      },
    }),
    async (c) => {
      const row = await find(c.get('workspaceId'), c.req.valid('param').deployment_id);
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

interface Patch {
  readonly displayName?: string;
  readonly customUrl?: string;
}

const beingDeleted = (id: string): ApiError => new ApiError(409, `Deployment ID ${id} is being deleted.`);

/** The checks that tell whether the account is its own: others are advice, and deployments wait for what is missing. */
const TRUST = ['role', 'external id'];

/**
 * The place of a new deployment or revision.
 * @throws ApiError when its role was never seen to let us in, and only us: somebody else's account must not be worked
 *   on in this workspace's name
 */
function trusted(row: PlaceRow): Place {
  const place = placeOf(row);
  if (place === undefined)
    throw bad(`Listener ID ${row.id} has no place yet: register the output of the customer's stack`);
  const verify = `POST /v2/listeners/${row.id}/verify`;
  if (row.verified_at === null) throw bad(`Listener ID ${row.id}: its place was not verified yet: ${verify}`);
  const failed = row.checks.find((check) => !check.ok && TRUST.includes(check.name));
  if (failed)
    throw bad(
      `Listener ID ${row.id}: its place failed the check "${failed.name}": ${failed.message}; ` +
        `when that is mended: ${verify}`,
    );
  return place;
}

const taken = (name: string): ApiError =>
  new ApiError(409, `A deployment named "${name}" already exists in this workspace.`);

const namesOf = (environment: readonly Variable[] | undefined): string[] =>
  (environment ?? []).map((variable) => variable.name).sort();

const revisionConfig = (revision: RevisionRow | undefined) => ({
  repo_ref: null,
  langgraph_config_path: null,
  image_uri: revision?.image_uri ?? null,
  source_tarball_path: null,
  repo_commit_sha: null,
});

/** Every field, what was asked for and else what is meant without it. */
function fullSpec(revision: RevisionRow): z.infer<typeof schemas.resourceSpec> {
  const { cpu, memoryMb, minScale, maxScale } = revision.resources;
  const nothing = Object.fromEntries(Object.keys(schemas.resourceSpec.shape).map((name) => [name, null]));
  const meant = { cpu, memory_mb: memoryMb, min_scale: minScale, max_scale: maxScale };
  return { ...nothing, ...revision.resource_spec, ...meant };
}

function refuseReferences(references: readonly unknown[] | null | undefined): void {
  if (references && references.length > 0)
    throw invalid(['secret_references'], 'Kubernetes secrets do not exist on compute_type "ecs": use secrets');
}

function refuseImmutable(row: DeploymentRow, body: z.infer<typeof schemas.deploymentPatch>): void {
  if (body.name && body.name !== row.name) throw bad(`name cannot be changed: this deployment is "${row.name}"`);
  if (body.source && body.source !== row.source) throw bad(`source cannot be changed: it is "${row.source}"`);
  if (body.revision_source && body.revision_source !== row.source)
    throw bad(`revision_source "${body.revision_source}" is not supported: it is "${row.source}"`);
  const config = body.source_config;
  if (config?.deployment_type && config.deployment_type !== row.type)
    throw bad(`source_config.deployment_type cannot be changed: it is "${row.type}"`);
  if (config?.listener_id && config.listener_id !== row.place_id)
    throw bad(`source_config.listener_id cannot be changed: it is "${row.place_id}"`);
}
