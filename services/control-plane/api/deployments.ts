/** Deployments. A request writes intent and asks for a look; it never waits for AWS to make anything. */
import { createRoute, z } from '@hono/zod-openapi';
import { randomUUID } from 'node:crypto';
import { obstacles, sentence, type Limit } from '../../reconciler/aws/limits.ts';
import { behind, type Place } from '../../reconciler/place.ts';
import type { Owner } from '../cloud.ts';
import { chooseBalancer, currentLimits, withPromises } from '../room.ts';
import {
  GivenUp,
  abandonDraft,
  acceptDeployment,
  deleteDeployment,
  draftDeployment,
  forgetDeployment,
  isRunnable,
  listDeployments,
  nameIsTaken,
  type DeploymentChange,
} from '../store/deployments.ts';
import { findPlace, freeSlot, placeOf } from '../store/places.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError, bad, invalid } from './errors.ts';
import {
  changeableDeployment,
  deploymentOf,
  noDeployment,
  noListener,
  offboarding,
  onlyPlace,
  placeFor,
  trusted,
} from './find.ts';
import {
  applied,
  checkCustomUrl,
  checkPublic,
  checkRunnable,
  checkSource,
  makesRevision,
  nothingYet,
  refuseImmutable,
  type Source,
} from './intent.ts';
import { planDeployment, planNothing, requirePlan, requireSamePlace, termsOf } from './planning.ts';
import { add, changed, checkSize, givenOf, preview, revising, unlessEmpty, writeSecrets } from './revise.ts';
import * as schemas from './schemas.ts';
import { answerOf, answersOf } from './shown.ts';
import { typeOf } from './sizes.ts';
import { notWritten, type Written } from './variables.ts';

const tags = ['deployments'];

export function addDeployments(app: App, options: ApiOptions): void {
  const { db, looks, cloud, digestKey, agentAuth, retentionHours = 0 } = options;
  const retentionOf = (hours: number | undefined) => ({ hours: hours ?? null, production: retentionHours });

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments',
      summary: 'List deployments',
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
          remote_reconciled: schemas.remoteReconciled,
        }),
      },
      responses: {
        200: {
          description: 'A page of them, newest first',
          content: schemas.json(schemas.listOf(schemas.deployment, 'DeploymentsList')),
        },
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
      const nobodyHas = query.agent_id || query.agent_environment || query.image_version || query.tag_value_ids;
      if (nobodyHas || query.remote_reconciled === false) return c.json({ resources: [], offset: query.offset }, 200);
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
      const resources = await answersOf(options, rows);
      return c.json({ resources, offset: query.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments',
      summary: 'Create a deployment',
      tags,
      request: { query: schemas.termsQuery, body: { required: true, content: schemas.json(schemas.deploymentCreate) } },
      responses: {
        200: { description: 'With `dry_run`: what it would do', content: schemas.json(schemas.plan) },
        201: {
          description: 'Created, with its first revision if there is something to run',
          content: schemas.json(schemas.deployment),
        },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const body = c.req.valid('json');
      const workspaceId = c.get('workspaceId');
      const { name, source_config: config } = body;
      if (body.agent) throw bad('agent is not supported: give the deployment a name instead');
      if (name === undefined) throw invalid(['name'], 'Field required', 'missing');
      const source = checkSource(body.source);
      const type = typeOf(config.deployment_type);
      const customUrl = config.custom_url || null;
      if (customUrl !== null) checkCustomUrl(source, customUrl);
      if (body.source_revision_config.source_tarball_path)
        throw bad(
          'source_revision_config.source_tarball_path: an archive is uploaded for a deployment that is there: create it ' +
            'with an empty source_revision_config, then POST its upload-url, then PATCH it',
        );

      const where = config.listener_id
        ? await placeFor(db, workspaceId, config.listener_id)
        : await onlyPlace(db, workspaceId);
      const place = trusted(where);
      if (place.original && source !== 'external_docker') throw nowhereToPut(place.id, source);
      if (await nameIsTaken(db, workspaceId, name)) throw taken(name);
      const owner: Owner = { id: randomUUID(), name };
      const given = await givenOf(options, place, owner, source, body);
      const intent = (written: Written) => applied(given, nothingYet(type, source, agentAuth), type, written);
      const wanted = intent(notWritten(digestKey));
      if (isRunnable(wanted)) checkRunnable(wanted);
      checkPublic(place, wanted);
      await checkSize(options, wanted);
      const terms = termsOf(c.req.valid('query'));
      const driftPolicy = body.drift_policy ?? null;
      const databaseCa = body.database_ca || null;
      if (terms.dryRun || terms.plan !== null) {
        const slots = place.executionRoles ?? 0;
        if (slots > 0 && (await freeSlot(db, place.id, slots)) === undefined) throw noExecutionRole(place);
        const plan = await planDeployment(options, place, { ...owner, workspaceId, source, type, driftPolicy }, wanted);
        if (terms.dryRun) return c.json(plan.shown, 200);
        requirePlan(plan, terms.plan!);
      }

      const takes = cloud.takes({ ...owner, workspaceId, type, source }, wanted, place);
      const known = await currentLimits(db, cloud, where);
      const asked = {
        ...owner,
        workspaceId,
        placeId: place.id,
        source,
        type,
        customUrl,
        driftPolicy,
        databaseCa,
        k8sNamespace: config.listener_config?.k8s_namespace ?? null,
        takes,
      };
      const drafted = await draftDeployment(db, asked, async (tx) => {
        if (terms.plan !== null) requireSamePlace(place, placeOf((await findPlace(tx, workspaceId, place.id))!));
        const limits = known ? await withPromises(tx, where, known) : [];
        const inTheWay = obstacles(limits, takes);
        if (inTheWay.length > 0) throw noRoom(inTheWay);
        return chooseBalancer(where, limits, takes);
      });
      if (drafted === 'no place') throw new ApiError(404, noListener(place.id));
      if (drafted === 'offboarding') throw offboarding(place.id);
      if (drafted === 'no execution role') throw noExecutionRole(place);
      try {
        const versionId = await writeSecrets(options, behind(place, drafted), owner, body.secrets);
        await acceptDeployment(db, looks, owner.id, { ...intent({ versionId, digestKey }), plan: terms.plan });
      } catch (error) {
        await abandonDraft(db, looks, owner.id);
        if (error instanceof GivenUp) throw error.isOffboarding ? offboarding(place.id) : tookTooLong(name);
        if ((error as { constraint?: string }).constraint === 'deployments_name') throw taken(name);
        throw error;
      }
      return c.json(await answerOf(options, await deploymentOf(db, workspaceId, owner.id)), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v2/deployments',
      summary: 'Delete several deployments',
      tags,
      description: 'The same as deleting each of them.',
      request: {
        query: z.object({ deployment_ids: schemas.repeatedIds(100), retention_hours: schemas.retentionHours }),
      },
      responses: {
        200: { description: 'All are being deleted', content: schemas.json(schemas.deleted) },
        207: { description: 'Some are, and why the others are not', content: schemas.json(schemas.deleted) },
        ...problems(404),
      },
    }),
    async (c) => {
      const { deployment_ids, retention_hours } = c.req.valid('query');
      const ids = [...new Set(deployment_ids)];
      const retention = retentionOf(retention_hours);
      const deleted: string[] = [];
      for (const id of ids)
        if (await deleteDeployment(db, looks, c.get('workspaceId'), id, retention)) deleted.push(id);
      const failed = ids
        .filter((id) => !deleted.includes(id))
        .map((id) => ({ deployment_id: id, detail: noDeployment(id) }));
      if (deleted.length === 0) throw new ApiError(404, failed.map(({ detail }) => detail).join(' '));
      return c.json({ deleted, failed }, failed.length === 0 ? 200 : 207);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/free-count',
      summary: 'Count free deployments',
      tags,
      responses: {
        200: {
          description: 'How many deployments are free of charge: none, there is no such type here',
          content: schemas.json(z.object({ count: z.number().int() })),
        },
      },
    }),
    (c) => c.json({ count: 0 }, 200),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}',
      summary: 'Read a deployment',
      tags,
      request: { params: schemas.deploymentPath },
      responses: {
        200: { description: 'It', content: schemas.json(schemas.deployment) },
        ...problems(404),
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
      summary: 'Change a deployment',
      tags,
      description:
        'Null leaves as it is, and so does an empty list. An image, an archive or how it is built, a resource_spec (which ' +
        'replaces the whole object), secrets or secret references make a revision, which inherits all else from the one ' +
        'before. A secret without a value keeps the one that it has.',
      request: {
        params: schemas.deploymentPath,
        query: schemas.termsQuery,
        body: { required: true, content: schemas.json(schemas.deploymentPatch) },
      },
      responses: {
        200: { description: 'As it is now', content: schemas.json(schemas.deploymentOrPlan) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const given = c.req.valid('json');
      const body = { ...given, secret_references: unlessEmpty(given.secret_references) };
      const row = await changeableDeployment(db, workspaceId, c.req.valid('param').deployment_id);
      refuseImmutable(row, body);
      // Clients send back what they were shown, which is our URL when they set none.
      const asked = body.source_config?.custom_url;
      const customUrl = asked && asked !== (await answerOf(options, row)).url ? asked : null;
      if (customUrl !== null) checkCustomUrl(row.source as Source, customUrl);
      const change: DeploymentChange = {
        ...(body.display_name ? { displayName: body.display_name } : {}),
        ...(customUrl === null ? {} : { customUrl }),
        ...(body.drift_policy ? { driftPolicy: body.drift_policy } : {}),
      };
      const terms = termsOf(c.req.valid('query'));
      if (makesRevision(row.source as Source, body)) {
        const { place, making } = await revising(options, row, body, false);
        if (terms.dryRun) return c.json(await preview(options, place, row, change, making), 200);
        await add(options, place, row, change, { ...making, plan: terms.plan });
      } else {
        const { plan, held } = await planNothing(options, row, change, terms);
        if (plan !== null) return c.json(plan, 200);
        await changed(options, row.id, change, null, { held });
      }
      return c.json(await answerOf(options, await deploymentOf(db, workspaceId, row.id)), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v2/deployments/{deployment_id}',
      summary: 'Delete a deployment',
      tags,
      description:
        'Its servers are removed at once. One of type `prod` that has served can be undeleted for a while, with status ' +
        'AWAITING_FINAL_DELETE, and keeps its data and its name. Then everything that it made is removed, with status ' +
        'AWAITING_DELETE, and then it is 404. With `force`, after a first delete: it is forgotten as it is, also while it ' +
        'could be undeleted, and what is left in the account stays there.',
      request: {
        params: schemas.deploymentPath,
        query: z.object({
          delete_tracing_project: schemas.flag.optional(),
          force: schemas.flag.optional(),
          retention_hours: schemas.retentionHours,
        }),
      },
      responses: { 204: { description: 'It is being deleted' }, ...problems(400, 404) },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const row = await deploymentOf(db, workspaceId, c.req.valid('param').deployment_id);
      const { force, retention_hours } = c.req.valid('query');
      if (!force) await deleteDeployment(db, looks, workspaceId, row.id, retentionOf(retention_hours));
      else {
        const place = placeOf((await findPlace(db, workspaceId, row.place_id))!);
        if (!(await forgetDeployment(db, row, place === undefined ? [] : cloud.byRequest(place, row)))) {
          await deploymentOf(db, workspaceId, row.id);
          throw bad('force is only for a deployment whose delete was asked for before');
        }
      }
      return c.body(null, 204);
    },
  );
}

const noRoom = (limits: readonly Limit[]): ApiError =>
  new ApiError(409, `There is no room for another deployment: ${limits.map((limit) => sentence(limit)).join('; ')}.`);

const noExecutionRole = ({ executionRoles }: Place): ApiError =>
  new ApiError(
    409,
    `There is no room for another deployment: each of the place's ${executionRoles} execution roles has one: deploy its ` +
      'stack with more (executionRoles), and register what it prints.',
  );

const nowhereToPut = (id: string, source: Source): ApiError =>
  bad(
    `Listener ID ${id} was set up without a bucket and without rights on ECR: source '${source}' has nothing to build ` +
      "from: push to a repository of your own, and create the deployment with 'external_docker' and its image_uri",
  );

const taken = (name: string): ApiError =>
  new ApiError(409, `A deployment named "${name}" already exists in this workspace.`);

const tookTooLong = (name: string): ApiError =>
  new ApiError(503, `The create of "${name}" took too long and was given up: ask for it again.`);
