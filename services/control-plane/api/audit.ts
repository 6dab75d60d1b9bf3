/**
 * Every request that may change something is in the audit log of its workspace: that it is asked for, before anything
 * is done about it, and what it was answered. And the log itself, to read.
 */
import { createRoute, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import type { Audit } from '../audit/chain.ts';
import { apiEvent, type ApiRequest, type Unmapped } from '../audit/events.ts';
import { headText } from '../audit/line.ts';
import { copyOf, headOf, readLines, snapshot, type AuditFilter, type Snapshot, type Table } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import { findPlace } from '../store/places.ts';
import { addressOf, isToRead, operationOf } from './auth.ts';
import { problems, type ApiOptions, type App, type Caller, type Env } from './context.ts';
import { ApiError } from './errors.ts';
import { noListener } from './find.ts';
import * as schemas from './schemas.ts';

/** What an operation is about, by how its path begins. */
const ABOUT: readonly (readonly [string, string, Table])[] = [
  ['/v2/deployments', 'deployment', 'deployments'],
  ['/v2/listeners', 'listener', 'places'],
  ['/v2/rolls', 'roll', 'rolls'],
  ['/v2/freehold/api-keys', 'api-key', 'api_keys'],
  ['/v2/freehold/members', 'member', 'members'],
  ['/v2/freehold/workspaces', 'workspace', 'workspaces'],
];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Ids of a bulk delete that an entry names; all are digested. */
const NAMED = 100;
const LINES_AT_ONCE = 500;

/** The chain that a request is in: its workspace's; of one about the organization alone, the organization's. */
const chainOf = ({ workspaceId, organizationId }: Caller): string => workspaceId ?? organizationId;

/** Undefined: it changes nothing, or nobody was let in. */
function requestOf(c: Context<Env>): ApiRequest | undefined {
  const caller = c.get('caller');
  const route = matchedRoutes(c).find(({ method }) => method !== 'ALL');
  if (caller === undefined || route === undefined || isToRead(route.method, route.path)) return undefined;
  const { id, email } = caller.user;
  const operation = operationOf(route.method, route.path);
  return {
    route: operation,
    requestId: c.get('requestId'),
    asker: {
      id,
      name: caller.keyId === null ? (email ?? id) : caller.name,
      isKey: caller.keyId !== null,
      role: caller.role,
    },
    address: addressOf(c),
    about: aboutOf(operation, paramsOf(route.path, c.req.path), c.req.queries('deployment_ids') ?? []),
  };
}

/** A middleware is not given those of the route that comes after it. */
function paramsOf(route: string, path: string): Record<string, string> {
  const given = path.split('/');
  const named = route.split('/').map((part, at) => [/^:(\w+)/.exec(part)?.[1], given[at]] as const);
  return Object.fromEntries(named.filter(([name, value]) => name !== undefined && value !== undefined));
}

/** Only what has the form of an id: whatever else somebody puts into a path is nobody's to keep. */
function aboutOf(operation: string, params: Record<string, string>, ids: readonly string[]): ApiRequest['about'] {
  const [, type] = tableOf(operation) ?? [];
  const named = Object.entries(params).map(([name, uid]) => ({
    type: name.replace(/_id$/, '').replace('_', '-'),
    uid,
  }));
  const listed = ids.flatMap((each) => each.split(',')).map((uid) => ({ type: type ?? 'deployment', uid: uid.trim() }));
  return [...named, ...listed.slice(0, NAMED)].filter(({ uid }) => UUID.test(uid));
}

const tableOf = (operation: string) =>
  ABOUT.find(([begins]) => operation.slice(operation.indexOf(' ') + 1).startsWith(begins));

/** The first thing that it names. */
async function shot(db: Database, { route, about }: ApiRequest, caller: Caller): Promise<Snapshot | undefined> {
  const [, type, table] = tableOf(route) ?? [];
  const id = about.find((one) => one.type === type)?.uid;
  return table === undefined || id === undefined ? undefined : snapshot(db, table, id, caller);
}

/** Outermost, so that it sees what a request is answered whoever answers it. */
export const recordAnswers = ({ db, log, audit }: ApiOptions) =>
  createMiddleware<Env>(async (c, next) => {
    await next();
    const recorded = c.get('recorded');
    const asked = recorded?.request ?? requestOf(c);
    if (asked === undefined) return;
    try {
      const request = c.res.status === 201 && asked.about.length === 0 ? await withMade(asked, c.res.clone()) : asked;
      const after = recorded && (await shot(db, request, c.get('caller')));
      const unmapped: Unmapped = {
        phase: recorded ? 'outcome' : 'refusal',
        ...concerning(request, recorded?.before ?? after),
        ...(recorded && { before: digestOf(audit!, recorded.before), after: digestOf(audit!, after) }),
      };
      await audit!.append(chainOf(c.get('caller')), apiEvent(request, c.res.status, unmapped));
    } catch (error) {
      // What was asked is done, or was refused; its intent stands without an outcome.
      log.error({ err: error, requestId: asked.requestId }, 'an answer is not in the audit log');
    }
  });

async function withMade(request: ApiRequest, answer: Response): Promise<ApiRequest> {
  const { id } = (await answer.json()) as { id?: string };
  const [, type] = tableOf(request.route) ?? [];
  return id === undefined || type === undefined ? request : { ...request, about: [{ type, uid: id }] };
}

/** Right before the route: nothing is done that could not be written down before. */
export const recordRequests = ({ db, audit }: ApiOptions) =>
  createMiddleware<Env>(async (c, next) => {
    const request = requestOf(c);
    if (request === undefined) return next();
    const before = await shot(db, request, c.get('caller'));
    const asked = audit!.digest({ query: c.req.queries(), body: c.get('body') === 'none' ? '' : await c.req.text() });
    const unmapped: Unmapped = { phase: 'intent', ...concerning(request, before), asked };
    await audit!.append(chainOf(c.get('caller')), apiEvent(request, null, unmapped));
    c.set('recorded', { request, before });
    await next();
  });

const digestOf = (audit: Audit, seen: Snapshot | undefined): string | null =>
  seen === undefined ? null : audit.digest(seen.content);

function concerning({ about }: ApiRequest, seen: Snapshot | undefined): Pick<Unmapped, 'deployment' | 'place'> {
  const deployment = about.find(({ type }) => type === 'deployment')?.uid.toLowerCase();
  return { ...(deployment !== undefined && { deployment }), ...(seen?.placeId && { place: seen.placeId }) };
}

const query = z.object({
  after: schemas.integerQuery(0, Number.MAX_SAFE_INTEGER, 0).describe('Lines after this number.'),
  limit: schemas
    .integerQuery(1, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
    .describe('At most so many; without it, all.'),
  deployment_id: schemas.id.optional(),
  since: schemas.instant.optional().describe('Not older than this.'),
  before: schemas.instant.optional().describe('Older than this.'),
  scope: z
    .enum(['workspace', 'organization'])
    .default('workspace')
    .describe('`organization`: what was done to the organization itself, by requests that are about no workspace.'),
});

const copy = z
  .object({
    head: z.string().describe("Number and hash of the last line of the workspace's audit log."),
    log_group: z.string().nullable().describe("Of the customer's copy; null: the stack has none."),
    copied: z.number().int().describe('The last line about this place that is there.'),
    behind: z.number().int().describe('Lines about this place that are not there yet.'),
    copied_at: schemas.instant.nullable(),
    message: z.string().nullable().describe('Why it is behind.'),
  })
  .openapi('AuditCopy');

export function addAudit(app: App, { db }: ApiOptions): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/audit',
      tags: ['audit'],
      summary: 'Export the audit log',
      description:
        'Ours: a line for each entry, in order, each an event of OCSF (API Activity). Without a filter it is a whole chain, ' +
        'which `npm run audit -- verify` checks; where it stands is in the header `freehold-audit-head`.',
      request: { query },
      responses: {
        200: {
          description: 'Lines of JSON',
          headers: {
            'freehold-audit-head': { schema: { type: 'string' }, description: 'Number and hash of the last line.' },
          },
          content: { 'application/x-ndjson': { schema: z.string() } },
        },
      },
    }),
    async (c) => {
      const caller = c.get('caller');
      const { after, limit, scope, deployment_id: deploymentId, since, before } = c.req.valid('query');
      if (scope === 'organization' && caller.organizationRole !== 'admin')
        throw new ApiError(403, 'The audit log of the organization takes the role "admin" in all of it.');
      const chain = scope === 'organization' ? caller.organizationId : caller.workspaceId!;
      const head = await headOf(db, chain);
      const filter = {
        until: head.seq,
        deploymentId,
        since: since === undefined ? undefined : Date.parse(since),
        before: before === undefined ? undefined : Date.parse(before),
      };
      c.header('freehold-audit-head', headText(head));
      c.header('content-type', 'application/x-ndjson');
      return c.body(streamOf(db, chain, { ...filter, after }, limit)) as never;
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/listeners/{listener_id}/audit',
      tags: ['audit'],
      summary: "Read how far the customer's copy of the audit log is",
      description: 'Ours. The head is worth noting: `npm run audit -- verify --head` holds an export against it.',
      request: { params: z.object({ listener_id: schemas.id }) },
      responses: { 200: { description: 'It', content: schemas.json(copy) }, ...problems(404) },
    }),
    async (c) => {
      const { listener_id: id } = c.req.valid('param');
      const row = await findPlace(db, c.get('workspaceId'), id);
      if (row === undefined) throw new ApiError(404, noListener(id));
      const [head, { seq, behind, copiedAt, failed }] = [await headOf(db, row.workspace_id), await copyOf(db, id)];
      return c.json(
        {
          head: headText(head),
          log_group: row.outputs?.auditLogGroup ?? null,
          copied: seq,
          behind,
          copied_at: copiedAt?.toISOString() ?? null,
          message: failed,
        },
        200,
      );
    },
  );
}

/** Some lines at a time, as fast as they are taken. */
function streamOf(db: Database, chain: string, filter: AuditFilter, limit: number): ReadableStream<Uint8Array> {
  let [after, left] = [filter.after, limit];
  return new ReadableStream({
    async pull(controller) {
      const lines = left === 0 ? [] : await readLines(db, chain, { ...filter, after }, Math.min(left, LINES_AT_ONCE));
      if (lines.length === 0) return controller.close();
      after = lines.at(-1)!.seq;
      left -= lines.length;
      controller.enqueue(Buffer.from(lines.map(({ line }) => `${line}\n`).join('')));
    },
  });
}
