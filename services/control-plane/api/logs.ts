/** Logs: of servers from the customer's account, read when they are asked for and never stored; of builds from here. */
import { createRoute, z } from '@hono/zod-openapi';
import { BadOffset, LEVELS, logOf, readLog, type LogQuery } from '../../reconciler/logs.ts';
import { redactor } from '../redact.ts';
import { newestRevisions, secretDigests, type DeploymentRow, type RevisionRow } from '../store/deployments.ts';
import { findPlace, placeOf } from '../store/places.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError, inAccount } from './errors.ts';
import { deploymentAndRevision, deploymentOf, revisionOf } from './find.ts';
import * as schemas from './schemas.ts';

const tags = ['logs'];
/** Nothing was written before there was anything to write it; clocks differ. */
const CLOCKS_MS = 300_000;
const LIMIT = 1000;

const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[+-]\d\d:\d\d)?)?$/i;

/** A date, or a date and a time, which is UTC unless it says otherwise; in milliseconds since 1970. */
const moment = z
  .string()
  .transform((text, context) => {
    const [, day, time = '00:00', zone = 'Z'] = TIME.exec(text) ?? [];
    const at = Date.parse(`${day}T${time}${zone}`.toUpperCase());
    if (Number.isNaN(at)) context.addIssue({ code: 'custom', message: 'not an ISO 8601 time' });
    return Math.max(0, at);
  })
  .openapi({ type: 'string', format: 'date-time' });
/** The generator does not see through a transform that null is taken, too. */
const maybeMoment = moment.nullish().openapi({ type: ['string', 'null'], format: 'date-time' });

const order = z.enum(['asc', 'desc']);
const level = z.enum(LEVELS).nullish().describe('This level and what is graver.');
/** In a query, 12,000 characters that needed to be escaped would be more than a server takes in a request's head. */
const offset = z
  .string()
  .max(12_000)
  .regex(/^[A-Za-z0-9._-]*$/, 'it is no offset of a page before')
  .nullish()
  .describe('Of the page before, in the same order.');
const query = z.string().nullish().describe('Part of the message or of a field, whatever its case.');
const runId = z.string().max(200).nullish();
const limitOf = (most: number, usual: number) => z.number().int().min(1).max(most).default(usual);

const logBody = z
  .object({
    order: order.default('asc'),
    limit: limitOf(LIMIT, 50),
    offset,
    level,
    query,
    start_time: maybeMoment,
    end_time: maybeMoment,
    run_id: runId,
  })
  .openapi('LogsRequest');
type Request = z.infer<typeof logBody>;

const entry = z
  .object({
    id: z.string().describe('The same whenever the line is read.'),
    timestamp: z.number().int().describe('Milliseconds since 1970.'),
    level: z.enum(LEVELS),
    message: z.string(),
    run_id: z.string().nullable(),
    logger: z.string().nullable().describe('Ours.'),
    task_id: z.string().nullable().describe('Ours: of the server that wrote it, which may be one of several.'),
  })
  .openapi('LogEntry');
const logs = z
  .object({
    logs: z.array(entry),
    next_offset: z
      .string()
      .nullable()
      .describe('Where to go on, also at the end of a log that may grow; null when no line can follow.'),
  })
  .openapi('LogsResponse');
const answer = { description: 'A page of lines', content: schemas.json(logs) };
const body = { required: true, content: schemas.json(logBody) };

export function addLogs(app: App, options: ApiOptions): void {
  const { db, cloud, digestKey } = options;

  const deployLogs = async (
    row: DeploymentRow,
    revision: RevisionRow | undefined,
    request: Request,
    isFollowed = false,
  ): Promise<z.infer<typeof logs>> => {
    const found = await findPlace(db, row.workspace_id, row.place_id);
    const place = found && placeOf(found);
    if (place === undefined) return { logs: [], next_offset: null };
    const since = (revision ?? row).created_at.getTime() - CLOCKS_MS;
    const following = isFollowed && Boolean(request.start_time) && !request.end_time;
    const conceal = redactor(digestKey, await secretDigests(db, row.id));
    const wanted = { ...queryOf(request, since), following, conceal };
    const page = await inAccount(cloud.logs(place, row, revision?.number ?? null, wanted));
    const shown = page.lines.map((line) => ({
      id: line.id,
      timestamp: line.at,
      level: line.level,
      message: line.message,
      run_id: line.runId,
      logger: line.logger,
      task_id: line.stream.split('/').at(-1) ?? null,
    }));
    return { logs: shown, next_offset: page.next };
  };

  /** Nothing is built here yet: what there is to say is why. */
  const buildLogs = async (revision: RevisionRow, request: Request): Promise<z.infer<typeof logs>> => {
    const at = revision.updated_at.getTime();
    const text = JSON.stringify({ level: 'error', event: revision.status_message ?? 'the build failed' });
    const said = { id: `${revision.id}-build`, at, arrivedAt: at, text, stream: '' };
    const log = logOf(revision.status === 'BUILD_FAILED' ? [said] : []);
    const { lines, next } = await readLog(log, queryOf(request, 0));
    const shown = lines.map(({ id, level, message }) => ({ id, timestamp: at, level, message, ...NOWHERE }));
    return { logs: shown, next_offset: next };
  };

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/projects/{deployment_id}/deploy_logs',
      tags,
      summary: "Read a deployment's logs",
      description: "What a deployment's servers wrote.",
      request: { params: schemas.deploymentPath, body },
      responses: { 200: answer, ...problems(404, 409, 502) },
    }),
    async (c) => {
      const row = await deploymentOf(db, c.get('workspaceId'), c.req.valid('param').deployment_id);
      return c.json(await reading(deployLogs(row, undefined, c.req.valid('json'), true), ['body', 'offset']), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/projects/{deployment_id}/revisions/{revision_id}/deploy_logs',
      tags,
      summary: "Read a revision's logs",
      description: "What a revision's servers wrote.",
      request: { params: schemas.revisionPath, body },
      responses: { 200: answer, ...problems(404, 409, 502) },
    }),
    async (c) => {
      const { row, revision } = await deploymentAndRevision(db, c.get('workspaceId'), c.req.valid('param'));
      return c.json(await reading(deployLogs(row, revision, c.req.valid('json'), true), ['body', 'offset']), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v1/projects/{deployment_id}/revisions/{revision_id}/build_logs',
      tags,
      summary: "Read a build's logs",
      description: "What a revision's build wrote.",
      request: { params: schemas.revisionPath, body },
      responses: { 200: answer, ...problems(404) },
    }),
    async (c) => {
      const { revision } = await deploymentAndRevision(db, c.get('workspaceId'), c.req.valid('param'));
      return c.json(await reading(buildLogs(revision, c.req.valid('json')), ['body', 'offset']), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployments/{deployment_id}/revisions/{revision_id}/logs',
      tags,
      summary: 'List log lines of a revision',
      request: {
        params: schemas.revisionPath,
        query: z.object({
          type: z.enum(['build', 'deploy']),
          start_time: moment.optional(),
          end_time: moment.optional(),
          order: order.default('asc'),
          limit: schemas.integerQuery(1, LIMIT, 50),
          offset,
          query,
          level,
          run_id: runId,
        }),
      },
      responses: { 200: answer, ...problems(404, 409, 502) },
    }),
    async (c) => {
      const { row, revision } = await deploymentAndRevision(db, c.get('workspaceId'), c.req.valid('param'));
      const { type, ...request } = c.req.valid('query');
      const page = type === 'build' ? buildLogs(revision, request) : deployLogs(row, revision, request);
      return c.json(await reading(page, ['query', 'offset']), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/deployment-logs',
      tags,
      summary: 'List log lines of a deployment',
      request: {
        query: z.object({
          deployment_id: schemas.id,
          revision_id: schemas.id.optional().describe('Of a build: without it the newest.'),
          log_type: z.enum(['BUILD', 'DEPLOY']).default('DEPLOY'),
          start_time: moment.optional(),
          end_time: moment.optional(),
          sort_order: order.default('asc'),
          page_size: schemas.integerQuery(1, 100, 20),
          cursor: offset,
          query,
          level,
          run_id: runId,
        }),
      },
      responses: {
        200: {
          description: 'A page of lines',
          content: schemas.json(
            z
              .object({
                items: z.array(entry),
                next_cursor: z.string().nullable().describe('As `next_offset` of a revision’s logs.'),
              })
              .openapi('DeploymentLogsList'),
          ),
        },
        ...problems(404, 409, 502),
      },
    }),
    async (c) => {
      const { deployment_id, revision_id, log_type, sort_order, page_size, cursor, ...rest } = c.req.valid('query');
      const request = { ...rest, order: sort_order, limit: page_size, offset: cursor };
      const row = await deploymentOf(db, c.get('workspaceId'), deployment_id);
      const named = revision_id === undefined ? undefined : await revisionOf(db, row.id, revision_id);
      const page = async (): Promise<z.infer<typeof logs>> => {
        if (log_type === 'DEPLOY') return deployLogs(row, named, request);
        const built = named ?? (await newestRevisions(db, [row.id])).get(row.id);
        return built === undefined ? { logs: [], next_offset: null } : buildLogs(built, request);
      };
      const { logs: items, next_offset: next_cursor } = await reading(page(), ['query', 'cursor']);
      return c.json({ items, next_cursor }, 200);
    },
  );
}

const NOWHERE = { run_id: null, logger: null, task_id: null };

/** Of an empty string nothing is meant. */
const queryOf = (request: Omit<Request, 'run_id'> & Partial<Request>, since: number): LogQuery => ({
  from: Math.max(since, request.start_time ?? 0),
  to: request.end_time ?? undefined,
  order: request.order,
  limit: request.limit,
  offset: request.offset || undefined,
  level: request.level ?? undefined,
  text: request.query || undefined,
  runId: request.run_id || undefined,
});

/** @throws ApiError 422 for an offset that is none */
async function reading<Page>(page: Promise<Page>, loc: string[]): Promise<Page> {
  try {
    return await page;
  } catch (error) {
    if (!(error instanceof BadOffset)) throw error;
    throw new ApiError(422, [{ loc, msg: error.message, type: 'value_error' }], { cause: error });
  }
}
