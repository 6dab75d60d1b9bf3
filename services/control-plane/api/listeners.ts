/** Places, which are listeners on the wire (`compute_type: "ecs"`): the CLI and Terraform know how to name those. */
import { isDeepStrictEqual } from 'node:util';
import { createRoute, z } from '@hono/zod-openapi';
import { PlaceUnavailable, explain, isDenied } from '../../reconciler/aws/errors.ts';
import {
  addPlace,
  balancerOf,
  changePlace,
  findPlace,
  heldIn,
  listPlaces,
  placeOf,
  rememberBalancer,
  removePlace,
  setVerification,
  type PlaceRow,
} from '../store/places.ts';
import { isNear, linkOf, sentence } from '../../reconciler/aws/limits.ts';
import type { PlaceOutputs } from '../../reconciler/place.ts';
import { tell } from '../probes.ts';
import { measure } from '../room.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError, bad, inAccount } from './errors.ts';
import { noListener } from './find.ts';
import * as schemas from './schemas.ts';

const path = z.object({ listener_id: schemas.id });
const answer = (description: string) => ({
  description,
  content: schemas.json(schemas.listener),
});
const tags = ['listeners'];

const inUse = ({ id }: PlaceRow): ApiError =>
  new ApiError(409, `Listener ID ${id} is used by deployments: delete those first.`);

const ANOTHER = 'delete the listener, and register the other place as another one';

/** What was made at registering is in one account and region, and goes with the listener. */
function requireSame({ id, outputs, balancer }: PlaceRow, original?: z.infer<typeof schemas.originalPlace>): void {
  if (original && outputs !== null && !outputs.original)
    throw bad(`Listener ID ${id} has the place that a stack made: ${ANOTHER}`);
  if (balancer && (balancer.accountId !== original?.account_id || balancer.region !== original.region))
    throw bad(
      `Listener ID ${id} has a load balancer in account ${balancer.accountId}, region ${balancer.region}: ${ANOTHER}`,
    );
}

/** An original place is as it was found: it may be given back as it was read, and not otherwise. */
function requireFound(row: PlaceRow, given: PlaceOutputs): void {
  if (isDeepStrictEqual(given, row.outputs)) return;
  if (given.original) throw bad('compute_config.place.original cannot be given: give compute_config.original');
  requireSame(row);
}

/** The longest that somebody who reads a listener waits for its account. */
const PATIENCE_SECONDS = 5;

async function within<T>(seconds: number, answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const why = new PlaceUnavailable(`the account did not answer within ${seconds} seconds`, '');
    timer = setTimeout(() => reject(why), seconds * 1000);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

export function addListeners(app: App, options: ApiOptions): void {
  const { db, cloud, principalArn } = options;

  const shown = (row: PlaceRow): z.infer<typeof schemas.listener> => ({
    id: row.id,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    compute_type: 'ecs',
    compute_id: row.name,
    // The CLI wants a listener to have one; it means nothing on ECS.
    compute_config: { k8s_namespaces: ['default'], place: row.outputs },
    version: row.version,
    place: {
      external_id: row.external_id,
      principal_arn: principalArn,
      state: row.state,
      message: row.message,
      checks: [...row.checks],
      verified_at: row.verified_at?.toISOString() ?? null,
      limits: (row.limits?.limits ?? []).map((limit) => ({
        name: limit.name,
        code: limit.code,
        service: limit.service,
        load_balancer: limit.balancer,
        used: limit.used,
        limit: limit.limit,
        adjustable: limit.adjustable,
        known: limit.isKnown,
        message: isNear(limit) ? sentence(limit) : null,
        link: linkOf(limit, row.outputs?.region ?? 'us-east-1'),
      })),
      limits_unread: [...(row.limits?.unread ?? [])],
      limits_at: row.limits_at?.toISOString() ?? null,
      suspended: row.suspended,
      unreachable: row.unreachable,
      brake: null,
    },
  });

  const find = async (workspaceId: string, id: string): Promise<PlaceRow> => {
    const row = await findPlace(db, workspaceId, id);
    if (row === undefined) throw new ApiError(404, noListener(id));
    return row;
  };

  const recognise = async (row: PlaceRow, asked: z.infer<typeof schemas.originalPlace>) => {
    const { account_id: accountId, region, role_arn, public: isPublic, certificate_arn, domain } = asked;
    const https = certificate_arn && domain ? { certificateArn: certificate_arn, domain } : undefined;
    return inAccount(
      cloud.recognise(
        {
          accountId,
          region,
          ...(role_arn && { roleArn: role_arn }),
          ...(isPublic && { isPublic }),
          ...(https && { https }),
        },
        { id: row.id, externalId: row.external_id },
        async (entrance) => {
          if (!(await rememberBalancer(db, entrance))) throw new ApiError(404, noListener(row.id));
        },
      ),
    );
  };

  const withdraw = async (row: PlaceRow): Promise<void> => {
    const balancer = balancerOf(row);
    if (balancer === undefined) return;
    // A role that has gone, or its trust, must not keep the listener: what it left behind is tagged.
    await inAccount(cloud.withdraw(balancer)).catch((error: unknown) => {
      const why = error instanceof ApiError ? error.cause : undefined;
      if (!(why instanceof PlaceUnavailable && isDenied(why.cause))) throw error;
    });
  };

  /** With what is seen of the place this moment. */
  const shownNow = async (row: PlaceRow): Promise<z.infer<typeof schemas.listener>> => {
    const listener = shown(row);
    const place = placeOf(row);
    if (place === undefined || place.suspended !== undefined) return listener;
    try {
      const brake = await within(PATIENCE_SECONDS, cloud.braked(place));
      const said = brake && {
        mode: brake.mode,
        since: brake.since?.toISOString() ?? null,
        by: brake.by,
        message: brake.trouble,
        parameter: place.brakeParameter!,
        waiting: await heldIn(db, row.id),
      };
      return { ...listener, place: { ...listener.place, unreachable: null, brake: said ?? null } };
    } catch (error) {
      const { message, defect } = explain(error);
      if (defect) throw error;
      return { ...listener, place: { ...listener.place, unreachable: message } };
    }
  };

  const verify = async (row: PlaceRow): Promise<void> => {
    const place = placeOf(row);
    if (place === undefined)
      throw bad(`Listener ID ${row.id} has no place yet: PATCH its compute_config.place with the stack's output first`);
    const { checks, suspends } = await inAccount(cloud.verify(place));
    const failed = checks.find((check) => !check.ok);
    const state = failed || checks.length === 0 ? 'unverified' : 'verified';
    const message = failed ? (failed.message ?? failed.name) : null;
    await setVerification(db, row, { state, message, checks, suspended: suspends });
    if ((row.suspended === null) !== (suspends === null)) await tell(options, row, suspends);
    // Advice, and told with the checks: a place whose limits cannot be read can be used.
    if (state === 'verified') await measure(db, cloud, row).catch(() => undefined);
  };

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/listeners',
      tags,
      summary: 'Create a listener',
      request: { body: { required: true, content: schemas.json(schemas.listenerCreate) } },
      responses: { 201: answer('Created'), ...problems(400, 409) },
    }),
    async (c) => {
      const body = c.req.valid('json');
      const workspaceId = c.get('workspaceId');
      if (body.compute_type !== 'ecs') throw bad(`compute_type "${body.compute_type}" is not supported: use "ecs"`);
      const given = body.compute_config.place;
      if (given !== undefined && given !== null)
        throw bad('compute_config.place comes later: the stack that prints it is given the external id of this answer');
      const row = await addPlace(db, { workspaceId, name: body.compute_id, version: body.version ?? null });
      if (row === undefined)
        throw new ApiError(
          409,
          `Listener for LangSmith workspace ID '${workspaceId}' and compute ID '${body.compute_id}' already exists.`,
        );
      return c.json(shown(row), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/listeners',
      tags,
      summary: 'List listeners',
      request: { query: schemas.pageQuery },
      responses: {
        200: {
          description: 'A page of them, newest first',
          content: schemas.json(schemas.listOf(schemas.listener, 'ListenersList')),
        },
      },
    }),
    async (c) => {
      const page = c.req.valid('query');
      const rows = await listPlaces(db, c.get('workspaceId'), page);
      return c.json({ resources: rows.map(shown), offset: page.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/listeners/{listener_id}',
      tags,
      summary: 'Read a listener',
      request: { params: path },
      responses: { 200: answer('It'), ...problems(404) },
    }),
    async (c) => c.json(await shownNow(await find(c.get('workspaceId'), c.req.valid('param').listener_id)), 200),
  );

  app.openapi(
    createRoute({
      method: 'patch',
      path: '/v2/listeners/{listener_id}',
      tags,
      summary: 'Change a listener',
      description:
        "With `compute_config.place` it registers what the customer's stack printed, and verifies it at once. With " +
        '`compute_config.original` it finds what the Terraform module of the product that this one replaces has made, by ' +
        'its names and tags, and makes a load balancer there; what is missing is named.',
      request: {
        params: path,
        body: { required: true, content: schemas.json(schemas.listenerPatch) },
      },
      responses: { 200: answer('As it is now'), ...problems(400, 404, 409, 502, 503) },
    }),
    async (c) => {
      const { listener_id } = c.req.valid('param');
      const body = c.req.valid('json');
      const row = await find(c.get('workspaceId'), listener_id);
      if (body.compute_type && body.compute_type !== 'ecs') throw bad('compute_type cannot be changed: it is "ecs"');
      if (body.compute_id && body.compute_id !== row.name)
        throw bad(`compute_id cannot be changed: it is "${row.name}"`);
      const original = body.compute_config?.original ?? undefined;
      const given = body.compute_config?.place ?? undefined;
      if (original && given) throw bad('compute_config has place and original: give the one that there is');
      if (original) requireSame(row, original);
      if (given) requireFound(row, given);
      const outputs = original ? await recognise(row, original) : given;
      const moved = await changePlace(db, row.id, {
        ...(outputs === undefined ? {} : { outputs }),
        ...(body.version ? { version: body.version } : {}),
      });
      if (moved !== undefined)
        throw bad(
          moved === 'moreBalancers'
            ? `Listener ID ${row.id} is used by deployments: each of its load balancers must stay as it is`
            : moved === 'executionRoles'
              ? `Listener ID ${row.id} is used by deployments: of its ${row.outputs?.executionRoles} execution roles ` +
                'those must stay that they have'
              : moved === 'brakeParameter'
                ? `Listener ID ${row.id}: the brake of its account ("${row.outputs?.brakeParameter}") stays: register ` +
                  'what its stack prints, with it'
                : `Listener ID ${row.id} is used by deployments: its ${moved} ("${row.outputs?.[moved]}") cannot change`,
        );
      if (outputs !== undefined) await verify(await find(c.get('workspaceId'), listener_id));
      return c.json(shown(await find(c.get('workspaceId'), listener_id)), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/listeners/{listener_id}/verify',
      tags,
      summary: "Verify a listener's place",
      description: 'Ours: assumes the role, finds the network, checks every permission that deployments will need.',
      request: { params: path },
      responses: { 200: answer('What was found, in `place`'), ...problems(400, 404, 409) },
    }),
    async (c) => {
      const { listener_id } = c.req.valid('param');
      await verify(await find(c.get('workspaceId'), listener_id));
      return c.json(shown(await find(c.get('workspaceId'), listener_id)), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v2/listeners/{listener_id}',
      tags,
      summary: 'Delete a listener',
      request: { params: path },
      responses: { 204: { description: 'Deleted' }, ...problems(404, 409, 502, 503) },
    }),
    async (c) => {
      const row = await find(c.get('workspaceId'), c.req.valid('param').listener_id);
      if (!(await removePlace(db, row.id, withdraw))) throw inUse(row);
      return c.body(null, 204);
    },
  );
}
