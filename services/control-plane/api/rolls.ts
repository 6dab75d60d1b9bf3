/** Rolls: one change for many deployments, in rings. Ours; no client of the vendor's knows them. */
import { createRoute, z } from '@hono/zod-openapi';
import { estimate, imageIn } from '../rolls.ts';
import type { RollMemberState } from '../store/database.ts';
import { listDeployments } from '../store/deployments.ts';
import {
  MEMBERS,
  OPEN_ROLLS,
  beginRoll,
  candidates,
  changeRoll,
  changedMembers,
  findRoll,
  listMembers,
  listRolls,
  resumeRoll,
  ringCounts,
  tookSeconds,
  type Candidate,
  type NewRoll,
  type RingCount,
  type RollRow,
  type Took,
} from '../store/rolls.ts';
import { problems, type ApiOptions, type App } from './context.ts';
import { ApiError, bad, inAccount, invalid } from './errors.ts';
import { placeFor, trusted } from './find.ts';
import * as schemas from './schemas.ts';

const tags = ['rolls'];

/** Accounts that are asked for an image: a fleet has hundreds. */
const ASKED_AT_ONCE = 10;

export const rollPath = z.object({ roll_id: schemas.id });

const ring = z.union([
  z.number().int().min(1).max(MEMBERS),
  z
    .string()
    .regex(/^(100|[1-9]?[0-9](\.[0-9]+)?)%$/, 'Input should be a number of deployments, or a share such as "10%"'),
]);

const rollCreate = z
  .object({
    name: z.string().min(1).max(100).describe('What it is for, for people.'),
    deployments: z
      .object({
        ids: z.array(schemas.id).min(1).max(1000).optional(),
        name_contains: z.string().min(1).max(100).optional(),
        deployment_type: z.enum(['dev', 'prod']).optional(),
        listener_id: schemas.id.optional(),
        all: z.boolean().optional().describe('Whether no filter at all is meant.'),
      })
      .describe('Which: all filters together. Those that serve no revision, or are being deleted, are left out.'),
    image_uri: z
      .string()
      .min(1)
      .max(1000)
      .nullish()
      .describe(
        "The image that all are to run; `{account_id}` and `{region}` in it are those of each deployment's place. Without " +
          'one, each runs its own spec again: as this version of Freehold makes it.',
      ),
    rings: z
      .array(ring)
      .min(1)
      .max(20)
      .default([1, '10%', '50%', '100%'])
      .describe('How many of all deployments, or what share, run the change at the end of each ring. The last is all.'),
    at_once: z.number().int().min(1).max(100).default(20).describe('Rollouts at a time.'),
    max_failures: z.number().int().min(0).max(MEMBERS).default(0).describe('How many may fail without a halt.'),
    soak_seconds: z
      .number()
      .int()
      .min(0)
      .max(86_400)
      .default(60)
      .describe('How long a ring that is rolled out is watched before the next one begins.'),
  })
  .openapi('RollCreate');

const expected = z
  .object({
    seconds: z.tuple([z.number(), z.number()]).openapi({ type: 'array', items: { type: 'number' } }),
    earliest: schemas.instant,
    latest: schemas.instant.describe('Unless something fails.'),
    limited_by: z.string(),
  })
  .openapi('RollExpected');

const shownRoll = z
  .object({
    id: schemas.id.nullable().describe('Null of a dry run.'),
    name: z.string(),
    state: z
      .enum(['PLANNED', 'RUNNING', 'HALTED', 'DONE', 'CANCELLED'])
      .describe('PLANNED of a dry run: nothing has begun.'),
    message: z.string().nullable().describe('Why it was halted, or what it waits for.'),
    image_uri: z.string().nullable(),
    takes_back: schemas.id.nullable().describe('The roll whose change this one takes back.'),
    ring: z.number().int(),
    rings: z.array(
      z
        .object({
          ring: z.number().int(),
          size: z.number().int(),
          pending: z.number().int(),
          unreachable: z.number().int().describe('Of the pending ones: whose account did not answer in their turn.'),
          rolling: z.number().int(),
          deployed: z.number().int(),
          failed: z.number().int(),
          skipped: z.number().int(),
        })
        .openapi('Ring'),
    ),
    at_once: z.number().int(),
    max_failures: z.number().int(),
    soak_seconds: z.number().int(),
    expected: expected.nullable().describe('Null when it has ended.'),
    created_at: schemas.instant,
    ended_at: schemas.instant.nullable(),
  })
  .openapi('Roll');

const member = z
  .object({
    deployment_id: schemas.id,
    name: z.string(),
    ring: z.number().int(),
    state: z.enum(['PENDING', 'ROLLING', 'DEPLOYED', 'FAILED', 'SKIPPED']),
    message: z.string().nullable(),
    revision_id: schemas.id.nullable().describe('The one that the roll made.'),
    before_revision_id: schemas.id.nullable().describe('The one that served before.'),
  })
  .openapi('RollDeployment');

export function addRolls(app: App, options: ApiOptions): void {
  const { db } = options;

  const rollOf = async (workspaceId: string, id: string): Promise<RollRow> => {
    const row = await findRoll(db, workspaceId, id);
    if (row === undefined) throw new ApiError(404, `Roll ID ${id} not found.`);
    return row;
  };
  const shown = async (rows: readonly RollRow[]) => {
    const ids = rows.map((row) => row.id);
    const counts = await ringCounts(db, ids);
    const took = await tookSeconds(db, ids);
    return rows.map((row) => show(row, counts, took));
  };
  const begun = async (roll: NewRoll) => {
    const id = await beginRoll(db, roll);
    if (typeof id !== 'string')
      throw new ApiError(
        409,
        'full' in id
          ? `${OPEN_ROLLS} rolls of this workspace have not ended: cancel one first.`
          : `Deployment "${id.taken.deployment}" is in Roll ID ${id.taken.roll}, which has not ended: cancel that first.`,
      );
    return (await shown([await rollOf(roll.workspaceId, id)]))[0]!;
  };

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/rolls',
      summary: 'Roll a change through many deployments',
      tags,
      description:
        'Ours: a revision for each of the deployments, in rings: a ring begins when the one before is rolled out and was ' +
        'watched for a while, and when more fail than may, nothing more begins. What fails is put back as ever. ' +
        '`?dry_run=true` says who is in which ring and when it will be done, and begins nothing.',
      request: {
        query: z.object({ dry_run: schemas.flag.default(false) }),
        body: { required: true, content: schemas.json(rollCreate) },
      },
      responses: {
        200: { description: 'What it would be', content: schemas.json(shownRoll) },
        201: { description: 'Begun', content: schemas.json(shownRoll) },
        ...problems(400, 404, 409, 502),
      },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const body = c.req.valid('json');
      const { ids, name_contains, deployment_type, listener_id, all } = body.deployments;
      if (!ids && !name_contains && !deployment_type && !listener_id && !all)
        throw invalid(['deployments'], 'name at least one filter, or "all": true');
      if (ids) await requireThere(options, workspaceId, ids);
      const found = await candidates(db, workspaceId, {
        ...(ids && { ids }),
        ...(name_contains && { nameContains: name_contains }),
        ...(deployment_type && { type: deployment_type }),
        ...(listener_id && { placeId: listener_id }),
      });
      if (found.length === 0) throw bad('No such deployment serves a revision: there is nothing to roll.');
      if (found.length > MEMBERS) throw bad(`More than ${MEMBERS} deployments: name fewer, one place after another.`);
      const imageUri = body.image_uri ?? null;
      if (imageUri !== null) await requireImage(options, workspaceId, imageUri, found);
      const roll: NewRoll = {
        workspaceId,
        name: body.name,
        imageUri,
        rings: sizes(body.rings, found.length),
        atOnce: body.at_once,
        maxFailures: body.max_failures,
        soakSeconds: body.soak_seconds,
        members: found,
      };
      return c.req.valid('query').dry_run ? c.json(wouldBe(roll, found), 200) : c.json(await begun(roll), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/rolls',
      summary: 'List rolls',
      tags,
      request: { query: schemas.pageQuery },
      responses: {
        200: {
          description: 'A page of them, newest first',
          content: schemas.json(schemas.listOf(shownRoll, 'RollsList')),
        },
        ...problems(),
      },
    }),
    async (c) => {
      const query = c.req.valid('query');
      const rows = await listRolls(db, c.get('workspaceId'), query);
      return c.json({ resources: await shown(rows), offset: query.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/rolls/{roll_id}',
      summary: 'Read a roll',
      tags,
      request: { params: rollPath },
      responses: { 200: { description: 'It', content: schemas.json(shownRoll) }, ...problems(404) },
    }),
    async (c) => {
      const row = await rollOf(c.get('workspaceId'), c.req.valid('param').roll_id);
      return c.json((await shown([row]))[0]!, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/rolls/{roll_id}/deployments',
      summary: "List a roll's deployments",
      tags,
      request: {
        params: rollPath,
        query: schemas.pageQuery.extend({ state: member.shape.state.optional() }),
      },
      responses: {
        200: {
          description: 'A page of them, in their order',
          content: schemas.json(schemas.listOf(member, 'RollDeploymentsList')),
        },
        ...problems(404),
      },
    }),
    async (c) => {
      const row = await rollOf(c.get('workspaceId'), c.req.valid('param').roll_id);
      const query = c.req.valid('query');
      const rows = await listMembers(db, row.id, query.state, query);
      const resources = rows.map(({ place_id: _place, target_id: _target, before_id, ...one }) => ({
        ...one,
        before_revision_id: before_id,
      }));
      return c.json({ resources, offset: query.offset + rows.length }, 200);
    },
  );

  for (const [verb, summary, description, act] of [
    [
      'halt',
      'Halt a roll',
      'Nothing more begins; rollouts that run go on to their end.',
      (id: string) => changeRoll(db, id, ['RUNNING'], { state: 'HALTED', message: 'halted on request' }),
    ],
    [
      'cancel',
      'Cancel a roll',
      'It ends as it is: rollouts that run go on to their end, and what is changed stays so until it is taken back.',
      (id: string) =>
        changeRoll(db, id, ['RUNNING', 'HALTED'], {
          state: 'CANCELLED',
          message: 'cancelled on request',
          ended_at: new Date(),
        }),
    ],
  ] as const)
    app.openapi(
      createRoute({
        method: 'post',
        path: `/v2/rolls/{roll_id}/${verb}`,
        summary,
        tags,
        description,
        request: { params: rollPath },
        responses: { 200: { description: 'As it is now', content: schemas.json(shownRoll) }, ...problems(404, 409) },
      }),
      async (c) => {
        const workspaceId = c.get('workspaceId');
        const row = await rollOf(workspaceId, c.req.valid('param').roll_id);
        if (!(await act(row.id))) throw notNow(await rollOf(workspaceId, row.id));
        return c.json((await shown([await rollOf(workspaceId, row.id)]))[0]!, 200);
      },
    );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/rolls/{roll_id}/resume',
      summary: 'Go on with a halted roll',
      tags,
      request: {
        params: rollPath,
        body: {
          required: true,
          content: schemas.json(
            z
              .object({
                failed: z
                  .enum(['retry', 'skip'])
                  .default('retry')
                  .describe('Those that failed, or were not reachable, are rolled again, or left as they are.'),
              })
              .openapi('RollResume'),
          ),
        },
      },
      responses: { 200: { description: 'As it is now', content: schemas.json(shownRoll) }, ...problems(404, 409) },
    }),
    async (c) => {
      const workspaceId = c.get('workspaceId');
      const row = await rollOf(workspaceId, c.req.valid('param').roll_id);
      const { failed } = c.req.valid('json');
      if (!(await resumeRoll(db, row.id, failed))) throw notNow(await rollOf(workspaceId, row.id));
      return c.json((await shown([await rollOf(workspaceId, row.id)]))[0]!, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/rolls/{roll_id}/take-back',
      summary: 'Take a roll back',
      tags,
      description:
        'Begins another roll: every deployment that still runs what this one made, or is about to, goes back to the ' +
        'revision before, all of it. One that others have changed since stays. A roll that has not ended is cancelled.',
      request: { params: rollPath },
      responses: { 201: { description: 'The other roll', content: schemas.json(shownRoll) }, ...problems(404, 409) },
    }),
    async (c) => {
      const row = await rollOf(c.get('workspaceId'), c.req.valid('param').roll_id);
      await changeRoll(db, row.id, ['RUNNING', 'HALTED'], {
        state: 'CANCELLED',
        message: 'taken back on request',
        ended_at: new Date(),
      });
      const changed = await changedMembers(db, row.id);
      if (changed.length === 0)
        throw new ApiError(409, `Roll ID ${row.id} cannot be taken back: no deployment runs what it made.`);
      const roll = {
        workspaceId: row.workspace_id,
        name: `Back from: ${row.name}`.slice(0, 100),
        imageUri: null,
        rings: [changed.length],
        atOnce: row.at_once,
        maxFailures: changed.length, // going back does not stop because one cannot
        soakSeconds: 0,
        takesBack: row.id,
        members: changed.map(({ deployment_id, before_id }) => ({ id: deployment_id, targetId: before_id! })),
      };
      return c.json(await begun(roll), 201);
    },
  );
}

const hasEnded = ({ state }: Pick<RollRow, 'state'>): boolean => state === 'DONE' || state === 'CANCELLED';

const notNow = ({ id, state }: RollRow): ApiError => new ApiError(409, `Roll ID ${id} cannot do that: it is ${state}.`);

/** @throws ApiError naming the first that the workspace does not have */
async function requireThere({ db }: ApiOptions, workspaceId: string, ids: readonly string[]): Promise<void> {
  const there = await listDeployments(db, workspaceId, { ids }, { limit: ids.length, offset: 0 });
  const missing = ids.find((id) => !there.some((row) => row.id === id));
  if (missing) throw new ApiError(404, `Deployment ID ${missing} not found.`);
}

/** @throws ApiError when a place of theirs does not have it */
async function requireImage(
  { db, cloud }: ApiOptions,
  workspaceId: string,
  uri: string,
  found: readonly Candidate[],
): Promise<void> {
  const places = [...new Set(found.map((one) => one.placeId))];
  for (let from = 0; from < places.length; from += ASKED_AT_ONCE)
    await Promise.all(
      places.slice(from, from + ASKED_AT_ONCE).map(async (placeId) => {
        const place = trusted(await placeFor(db, workspaceId, placeId));
        await inAccount(cloud.image(place, imageIn(uri, place)));
      }),
    );
}

/** From "at the end of each ring" to how many are in each; empty ones are left out. */
export function sizes(rings: readonly (number | string)[], total: number): number[] {
  const ends = rings.map((end) =>
    Math.min(total, typeof end === 'number' ? end : Math.ceil((Number(end.slice(0, -1)) / 100) * total)),
  );
  let before = 0;
  const each = [...ends, total].map((end) => {
    const size = Math.max(0, end - before);
    before += size;
    return size;
  });
  return each.filter((size) => size > 0);
}

const NONE = { pending: 0, unreachable: 0, rolling: 0, deployed: 0, failed: 0, skipped: 0 };

function show(row: RollRow, all: readonly RingCount[], allTook: readonly Took[]) {
  const took = allTook.find((one) => one.roll_id === row.id);
  const counts = all.filter((count) => count.roll_id === row.id);
  const rings = row.rings.map((size, i) => {
    const mine = counts.filter((count) => count.ring === i + 1);
    const by = Object.fromEntries(mine.map(({ state, members }) => [state.toLowerCase(), members]));
    const unreachable = mine.reduce((sum, count) => sum + count.unreachable, 0);
    return { ring: i + 1, size, ...NONE, ...(by as Partial<Record<Lowercase<RollMemberState>, number>>), unreachable };
  });
  const left = rings.map(({ ring: number, pending, rolling }) => ({
    left: pending + rolling,
    inOnePlace: Math.max(
      0,
      ...counts
        .filter((count) => count.ring === number && count.state === 'PENDING')
        .map((count) => count.in_one_place),
    ),
  }));
  return {
    id: row.id,
    name: row.name,
    state: row.state,
    message: row.message,
    image_uri: row.image_uri,
    takes_back: row.takes_back,
    ring: row.ring,
    rings,
    at_once: row.at_once,
    max_failures: row.max_failures,
    soak_seconds: row.soak_seconds,
    expected: hasEnded(row)
      ? null
      : expectedOf(left, { atOnce: row.at_once, soakSeconds: row.soak_seconds }, took && [took.middle, took.longest]),
    created_at: row.created_at.toISOString(),
    ended_at: row.ended_at?.toISOString() ?? null,
  };
}

function expectedOf(...given: Parameters<typeof estimate>) {
  const { seconds, limitedBy } = estimate(...given);
  const at = (after: number): string => new Date(Date.now() + after * 1000).toISOString();
  return {
    seconds: [seconds[0], seconds[1]] as [number, number],
    earliest: at(seconds[0]),
    latest: at(seconds[1]),
    limited_by: limitedBy,
  };
}

function wouldBe(roll: NewRoll, found: readonly Candidate[]): z.infer<typeof shownRoll> {
  let from = 0;
  const left = roll.rings.map((size) => {
    const places = found.slice(from, (from += size)).map((one) => one.placeId);
    const most = Math.max(...[...new Set(places)].map((place) => places.filter((one) => one === place).length));
    return { left: size, inOnePlace: most };
  });
  return {
    id: null,
    name: roll.name,
    state: 'PLANNED',
    message: null,
    image_uri: roll.imageUri,
    takes_back: null,
    ring: 1,
    rings: roll.rings.map((size, i) => ({ ring: i + 1, size, ...NONE, pending: size })),
    at_once: roll.atOnce,
    max_failures: roll.maxFailures,
    soak_seconds: roll.soakSeconds,
    expected: expectedOf(left, roll),
    created_at: new Date().toISOString(),
    ended_at: null,
  };
}
