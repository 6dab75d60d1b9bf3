/** The ends of things: deletes that are undone, their receipts, and customers who leave. */
import { createRoute, z } from '@hono/zod-openapi';
import { WAITS_FOR_CUSTOMER } from '../../reconciler/aws/gate.ts';
import { sentence, type Limit } from '../../reconciler/aws/limits.ts';
import { instant } from '../../reconciler/status.ts';
import { currentLimits, obstaclesBack } from '../room.ts';
import type { Proof } from '../store/database.ts';
import { undelete, type DeploymentRow } from '../store/deployments.ts';
import { findOffboarding, offboard, waitingIn, type OffboardingRow, type Waiting } from '../store/offboardings.ts';
import { endOffboarding, findPlace } from '../store/places.ts';
import { findReceipt, listReceipts, type ReceiptRow } from '../store/receipts.ts';
import { madeFor } from '../store/resources.ts';
import { prove } from '../prove.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError, bad } from './errors.ts';
import { deploymentOf, noDeployment, noListener, offboarding } from './find.ts';
import * as schemas from './schemas.ts';
import { answerOf, pricedOf } from './shown.ts';

/** Shown of those that have not gone. */
const WAITING = 100;

export function addTeardown(app: App, options: ApiOptions): void {
  const { db, looks } = options;

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/deployments/{deployment_id}/undelete',
      summary: 'Undo a delete',
      tags: ['deployments'],
      description:
        'Ours: while the status is AWAITING_FINAL_DELETE. The last good revision serves again, at the same address and ' +
        'with the same data, as soon as its servers are made again. Of a deployment that is not deleted: nothing to do. ' +
        'Refused when AWS has no room for them any more; and when its time is over, with what is still to be had.',
      request: { params: schemas.deploymentPath },
      responses: {
        200: { description: 'The deployment as it is now', content: schemas.json(schemas.deployment) },
        ...problems(404, 409),
      },
    }),
    async (c) => {
      const [workspaceId, id] = [c.get('workspaceId'), c.req.valid('param').deployment_id];
      const deleted = await deploymentOf(db, workspaceId, id);
      const place = (await findPlace(db, workspaceId, deleted.place_id))!;
      // What it had when they were last read may have gone since, and is what it needs room for.
      const isAsked = deleted.status === 'AWAITING_FINAL_DELETE';
      const known = isAsked ? await currentLimits(db, options.cloud, place, 0) : undefined;
      const outcome = await undelete(db, looks, workspaceId, id, async (tx) => {
        const inTheWay = known ? await obstaclesBack(tx, place, known, deleted) : [];
        if (inTheWay.length > 0) throw noRoomFor(id, inTheWay);
      });
      if (outcome === 'missing') throw new ApiError(404, noDeployment(id));
      const row = await deploymentOf(db, workspaceId, id);
      if (outcome === 'over') throw over(row, await endsIn(db, workspaceId, id));
      if (outcome === 'offboarding') throw offboarding(row.place_id);
      return c.json(await answerOf(options, row), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/receipt',
      summary: 'Read the receipt of a delete',
      tags: ['receipts'],
      description:
        'Ours: what was made for a deployment that is being deleted or has gone, when each of it went, and what stays on ' +
        'purpose. It outlives the deployment.',
      request: { params: schemas.deploymentPath },
      responses: {
        200: { description: 'It', content: schemas.json(schemas.receipt) },
        ...problems(404),
      },
    }),
    async (c) => {
      const { deployment_id } = c.req.valid('param');
      const row = await findReceipt(db, c.get('workspaceId'), deployment_id);
      if (row === undefined) {
        const when = 'a delete begins one, and an undelete ends it';
        throw new ApiError(404, `There is no receipt of Deployment ID ${deployment_id}: ${when}.`);
      }
      return c.json(shownReceipt(row), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/receipts',
      summary: 'List receipts of deletes',
      tags: ['receipts'],
      description: 'Ours.',
      request: {
        query: schemas.pageQuery.extend({
          listener_id: schemas.id.optional(),
          gone: schemas.flag.optional().describe('Only those whose delete is over; `false`: the others.'),
        }),
      },
      responses: {
        200: {
          description: 'A page of them, the last begun first',
          content: schemas.json(schemas.listOf(schemas.receipt, 'ReceiptsList')),
        },
      },
    }),
    async (c) => {
      const query = c.req.valid('query');
      const filter = { placeId: query.listener_id, isGone: query.gone };
      const rows = await listReceipts(db, c.get('workspaceId'), filter, query);
      return c.json({ resources: rows.map(shownReceipt), offset: query.offset + rows.length }, 200);
    },
  );

  const path = '/v2/listeners/{listener_id}/offboard' as const;
  const params = z.object({ listener_id: schemas.id });
  const answer = { 200: { description: 'How far it is', content: schemas.json(schemas.offboarding) } };

  const shown = async (workspaceId: string, id: string): Promise<z.infer<typeof schemas.offboarding>> => {
    const row = await findOffboarding(db, workspaceId, id);
    if (row === undefined)
      throw new ApiError(404, (await findPlace(db, workspaceId, id)) ? notOffboarding(id) : noListener(id));
    return shownOffboarding(row, row.proven_at === null && row.ended_at === null ? await waitingIn(db, id) : []);
  };

  app.openapi(
    createRoute({
      method: 'post',
      path,
      summary: "Offboard a listener's place",
      tags: ['listeners'],
      description:
        'Ours: deletes every deployment in it, refuses new ones, and then searches the account for what is left. Asked ' +
        'again, it searches again, and `skip_retention` cuts short what can still be undone.',
      request: { params, body: { required: true, content: schemas.json(schemas.offboardRequest) } },
      responses: { ...answer, ...problems(400, 404) },
    }),
    async (c) => {
      const [workspaceId, id] = [c.get('workspaceId'), c.req.valid('param').listener_id];
      const { confirm, skip_retention: skipsRetention } = c.req.valid('json');
      const row = await findPlace(db, workspaceId, id);
      if (row === undefined) throw new ApiError(404, noListener(id));
      if (confirm !== row.name)
        throw bad(`confirm is not the listener's compute_id: "${row.name}" is what to type: everything in it goes`);
      await offboard(db, looks, row, { skipsRetention, production: options.retentionHours ?? 0 });
      await prove(options, id);
      return c.json(await shown(workspaceId, id), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path,
      summary: 'Read how far an offboarding is',
      tags: ['listeners'],
      description:
        'Ours: the last one of this listener; its receipt, when it is over, also when the listener was deleted.',
      request: { params },
      responses: { ...answer, ...problems(404) },
    }),
    async (c) => c.json(await shown(c.get('workspaceId'), c.req.valid('param').listener_id), 200),
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path,
      summary: 'Call an offboarding off',
      tags: ['listeners'],
      description:
        'Ours: new deployments are taken again, and those that can still be undeleted may be. What has gone stays gone.',
      request: { params },
      responses: { ...answer, ...problems(404) },
    }),
    async (c) => {
      const [workspaceId, id] = [c.get('workspaceId'), c.req.valid('param').listener_id];
      if ((await findPlace(db, workspaceId, id)) === undefined) throw new ApiError(404, noListener(id));
      if (!(await endOffboarding(db, id))) throw new ApiError(404, notOffboarding(id));
      return c.json(await shown(workspaceId, id), 200);
    },
  );
}

const noRoomFor = (id: string, limits: readonly Limit[]): ApiError =>
  new ApiError(
    409,
    `There is no room for Deployment ID ${id} any more: ${limits.map((limit) => sentence(limit)).join('; ')}; ` +
      'DELETE it with retention_hours=72 to have as long to mend that.',
  );

/** The final snapshots that its databases end in, as far as that is known. */
async function endsIn(db: ApiOptions['db'], workspaceId: string, id: string): Promise<string[]> {
  const made = (await findReceipt(db, workspaceId, id))?.made ?? (await madeFor(db, id));
  return made.flatMap(({ snapshot }) => snapshot ?? []);
}

function over({ id, deleted_at, final_delete_at: at }: DeploymentRow, snapshots: readonly string[]): ApiError {
  const had = snapshots.length === 0 ? '' : `its database ends in the final snapshot "${snapshots.join('", "')}", and `;
  const stays = `${had}GET /v2/deployments/${id}/receipt has all that stays.`;
  return new ApiError(
    409,
    at === null || at <= deleted_at!
      ? `Deployment ID ${id} is being deleted and cannot be undeleted; ${stays}`
      : `Deployment ID ${id} cannot be undeleted: that could be done until ${instant(at)}; ${stays}`,
  );
}

const notOffboarding = (id: string): string => `Listener ID ${id} is not being offboarded.`;

const shownReceipt = (row: ReceiptRow): z.infer<typeof schemas.receipt> => ({
  deployment_id: row.deployment_id,
  name: row.name,
  place: row.place && shownWhere(row.place),
  made: row.made.map(({ id, kind, name, arn }) => ({ id, kind, name, arn, gone_at: goneAt(row.gone[id]) })),
  ...pricedOf(row.place, row.kept),
  notes: [...row.notes, ...row.remainders],
  search: row.search && { ...row.search, calls: [...row.search.calls], left: [...row.search.left] },
  began_at: row.began_at.toISOString(),
  gone_at: row.gone_at?.toISOString() ?? null,
});

const goneAt = (at: string | undefined): string | null => (at === undefined ? null : new Date(at).toISOString());

const shownWhere = ({ id, name, account, region }: NonNullable<ReceiptRow['place']>) => ({
  listener_id: id,
  compute_id: name,
  account_id: account,
  region,
});

const NOTHING: Proof = { search: null, kept: [], notes: [], failed: null };

function shownOffboarding(row: OffboardingRow, waiting: readonly Waiting[]): z.infer<typeof schemas.offboarding> {
  const { search, kept, notes, failed } = row.proof ?? NOTHING;
  const state = stateOf(row, waiting);
  const isGated = waiting.some(({ message }) => message?.includes(WAITS_FOR_CUSTOMER));
  return {
    listener_id: row.place_id,
    compute_id: row.name,
    place: row.place && shownWhere(row.place),
    state,
    skip_retention: row.skips_retention,
    deployments: row.deployments.map(({ id, name }) => ({ deployment_id: id, name })),
    gone: row.deployments.length - waiting.filter(({ id }) => row.deployments.some((one) => one.id === id)).length,
    waiting: waiting.slice(0, WAITING).map((one) => ({
      deployment_id: one.id,
      name: one.name,
      status: one.status,
      status_message: one.message,
      final_delete_at: one.final_delete_at?.toISOString() ?? null,
      is_stuck: one.is_stuck,
    })),
    search: search && { ...search, calls: [...search.calls], left: [...search.left] },
    failed,
    ...pricedOf(row.place, kept),
    notes: [...notes],
    next: nextOf(row, state, kept.length, isGated),
    began_at: row.began_at.toISOString(),
    clean_at: row.proven_at?.toISOString() ?? null,
    ended_at: row.ended_at?.toISOString() ?? null,
  };
}

type State = z.infer<typeof schemas.offboarding>['state'];

function stateOf({ proof, proven_at, ended_at }: OffboardingRow, waiting: readonly Waiting[]): State {
  if (proven_at !== null) return 'CLEAN';
  if (ended_at !== null) return 'CALLED_OFF';
  if (waiting.length > 0) return 'REMOVING';
  return proof === null ? 'SEARCHING' : 'LEFT_OVER';
}

/** What is for the customer to do, in this order. */
function nextOf({ place, place_id, ended_at }: OffboardingRow, state: State, kept: number, isGated: boolean): string[] {
  if (ended_at !== null) return [];
  if (state !== 'CLEAN')
    return [
      ...(isGated
        ? [
            'Deploy the stack with allowDeletionUntil, a time to come in UTC: until then databases and secrets are kept, and ' +
              'what is waiting goes on by itself.',
          ]
        : []),
      'Keep the stack and its role until the state is CLEAN: without the role nothing can be removed, and nothing searched.',
      ...(state === 'LEFT_OVER'
        ? [
            'Mend what `failed` says, or remove what `search.left` names: the search is made again by itself within five ' +
              'minutes, and at once when the offboarding is asked for again.',
          ]
        : []),
    ];
  return [
    ...(kept > 0
      ? [
          'Decide about what is kept: none of it is of the stack, so it stays, and costs what it says, until it is removed.',
        ]
      : []),
    ...(place === null
      ? []
      : ['Delete the stack: `npx cdk destroy` with the context of its deploy, or CloudFormation’s delete-stack.']),
    `Then DELETE /v2/listeners/${place_id}. Your own repositories and the service-linked roles stay.`,
  ];
}
