/** Revisions: each whole and immutable, made of the one before and of what a request gives. */
import { createRoute, z } from '@hono/zod-openapi';
import type { Place } from '../../reconciler/place.ts';
import type { Cloud, Owner } from '../cloud.ts';
import type { Database, Variable } from '../store/database.ts';
import {
  BeingDeleted,
  changeDeployment,
  findRevision,
  listRevisions,
  newestRevisions,
  type DeploymentChange,
  type DeploymentRow,
  type RevisionIntent,
} from '../store/deployments.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { bad, inAccount, invalid } from './errors.ts';
import { beingDeleted, changeableDeployment, deploymentOf, placeFor, revisionOf } from './find.ts';
import {
  checkDatabase,
  checkKept,
  checkRevisionConfig,
  checkSecrets,
  checkSourceConfig,
  environmentOf,
  resourcesOf,
  specOf,
  valuesOf,
  type Secret,
} from './intent.ts';
import * as schemas from './schemas.ts';
import { answerOf, shownRevision } from './shown.ts';

const tags = ['deployments'];

type RevisionRequest = z.infer<typeof schemas.revisionCreate>;

export function addRevisions(app: App, options: ApiOptions): void {
  const { db, cloud } = options;

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/revisions',
      tags,
      request: {
        params: schemas.deploymentPath,
        query: schemas.pageQuery.extend({ status: z.string().optional().describe('Separated by commas.') }),
      },
      responses: {
        200: {
          description: 'A page of them, newest first',
          content: schemas.json(schemas.listOf(schemas.revision, 'RevisionsList')),
        },
        ...problems(401, 403, 404, 422),
      },
    }),
    async (c) => {
      const row = await deploymentOf(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      const query = c.req.valid('query');
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
      tags,
      description: 'Always makes a revision; what is left out is as in the newest one.',
      request: {
        params: schemas.deploymentPath,
        body: { required: true, content: schemas.json(schemas.revisionCreate) },
      },
      responses: {
        201: { description: 'Created', content: schemas.json(schemas.revision) },
        ...problems(400, 401, 403, 404, 409, 422, 502),
      },
    }),
    async (c) => {
      const row = await changeableDeployment(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      const body = c.req.valid('json');
      refuseImmutable(row, body);
      const id = await revise(options, row, body, {});
      return c.json(shownRevision(cloud, await revisionOf(db, row.id, id)), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/revisions/{revision_id}',
      tags,
      request: { params: schemas.revisionPath },
      responses: {
        200: { description: 'It', content: schemas.json(schemas.revision) },
        ...problems(401, 403, 404, 422),
      },
    }),
    async (c) => {
      const { deployment_id, revision_id } = c.req.valid('param');
      const row = await deploymentOf(db, c.get('workspaceId'), deployment_id);
      return c.json(shownRevision(cloud, await revisionOf(db, row.id, revision_id)), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/revisions/{revision_id}/redeploy',
      tags,
      description: 'Makes a revision that asks for all that this one did: image, size, secret versions.',
      request: { params: schemas.revisionPath },
      responses: {
        200: { description: 'The deployment as it is now', content: schemas.json(schemas.deployment) },
        ...problems(400, 401, 403, 404, 409, 422, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const { deployment_id, revision_id } = c.req.valid('param');
      const row = await changeableDeployment(db, workspaceId, deployment_id);
      const old = await revisionOf(db, row.id, revision_id);
      checkDatabase(old.environment, await servingEnvironment(db, row));
      const place = await placeFor(db, workspaceId, row.place_id);
      if (old.image === null) throw bad('it has no image to deploy again: it was never built');
      await inAccount(cloud.image(place, old.image)); // by digest: the same image, if it is still there
      const intent: RevisionIntent = {
        source: old.source,
        imageUri: old.image_uri,
        image: old.image,
        resourceSpec: old.resource_spec,
        resources: old.resources,
        environment: old.environment,
        references: old.secret_references,
        build: old.build,
        agentAuth: options.agentAuth, // not the old one's: where we are reached is no part of what was asked for
      };
      await changed(options, row.id, {}, () => Promise.resolve(intent));
      return c.json(await answerOf(options, await deploymentOf(db, workspaceId, row.id)), 200);
    },
  );
}

/**
 * Adds a revision made of the newest one and of what the request gives. What goes to the account (the image's digest,
 * the secret's new version) is done before, outside of the transaction; a version that no revision came to use is
 * swept by a later pass.
 */
export async function revise(
  options: ApiOptions,
  row: DeploymentRow,
  request: RevisionRequest,
  patch: DeploymentChange,
): Promise<string> {
  const { db, cloud, digestKey } = options;
  const place = await placeFor(db, row.workspace_id, row.place_id);
  checkSourceConfig(request.source_config);
  checkRevisionConfig(request.source_revision_config);
  refuseReferences(request.secret_references);
  const secrets = request.secrets && request.secrets.length > 0 ? request.secrets : null;
  const newest = (await newestRevisions(db, [row.id])).get(row.id);
  if (secrets) {
    checkSecrets(secrets);
    checkKept(secrets, newest?.environment ?? []);
    checkDatabase(secrets, await servingEnvironment(db, row));
  }
  const spec = request.source_config?.resource_spec ?? null;
  const resources = spec && resourcesOf(row.type, spec);
  if (resources) await inAccount(Promise.resolve().then(() => cloud.taskSize(resources)));

  const imageUri = request.source_revision_config?.image_uri ?? newest?.image_uri;
  if (!imageUri) throw bad('source_revision_config.image_uri is required for source "external_docker"');
  // The same tag may have moved, and an image that was there may be gone: looked up each time.
  const image = await inAccount(cloud.image(place, imageUri));
  const versionId = secrets && (await writeSecrets(cloud, place, row, secrets));
  const id = await changed(options, row.id, patch, (base) =>
    Promise.resolve({
      source: row.source,
      imageUri,
      image,
      resourceSpec: spec ? specOf(spec) : (base?.resource_spec ?? {}),
      resources: resources ?? base?.resources ?? resourcesOf(row.type, {}),
      environment: secrets
        ? environmentOf(secrets, base?.environment ?? [], versionId, digestKey)
        : (base?.environment ?? []),
      references: base?.secret_references ?? [],
      build: base?.build ?? null,
      agentAuth: options.agentAuth,
    } satisfies RevisionIntent),
  );
  return id!;
}

/** @throws ApiError 409 when its delete was asked for in the meantime */
export async function changed(
  { db, looks }: ApiOptions,
  id: string,
  patch: DeploymentChange,
  next: Parameters<typeof changeDeployment>[4],
): Promise<string | null> {
  try {
    return await changeDeployment(db, looks, id, patch, next);
  } catch (error) {
    if (error instanceof BeingDeleted) throw beingDeleted(id);
    throw error;
  }
}

/** Of the revision that serves; undefined: none does. */
const servingEnvironment = async (db: Database, row: DeploymentRow): Promise<readonly Variable[] | undefined> =>
  row.active_revision_id === null ? undefined : (await findRevision(db, row.id, row.active_revision_id))?.environment;

/** @returns the version that the values are in; null: none was given */
export async function writeSecrets(
  cloud: Cloud,
  place: Place,
  owner: Owner,
  secrets: readonly Secret[],
): Promise<string | null> {
  const values = valuesOf(secrets);
  return Object.keys(values).length > 0 ? inAccount(cloud.writeEnvironment(place, owner, values)) : null;
}

export function refuseReferences(references: readonly unknown[] | null | undefined): void {
  if (references && references.length > 0)
    throw invalid(['secret_references'], 'Kubernetes secrets do not exist on compute_type "ecs": use secrets');
}

export function refuseImmutable(row: DeploymentRow, body: z.infer<typeof schemas.deploymentPatch>): void {
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
