/**
 * Goes over the settled deployments of a place, a page at a time, and asks for a look at each where something differs
 * from what its last look left. Healthy ones cost a few calls for many of them; nothing of a page is kept.
 */
import { Held, explain } from '../reconciler/aws/errors.ts';
import { keyOf } from '../reconciler/drift.ts';
import type { Place } from '../reconciler/place.ts';
import { sweep, type Suspicion } from '../reconciler/sweep.ts';
import { ITSELF, onBehalfOf } from './asked.ts';
import type { Survey } from './cloud.ts';
import { driftOf, explainDrift, openDrifts, unexplained, type DriftRow, type Unexplained } from './store/drifts.ts';
import { placeOf } from './store/places.ts';
import { placeById, settledIn, type SettledDeployment } from './store/sweeps.ts';
import type { WorkerOptions } from './worker.ts';

/** Deployments at a time: full batches of most calls, and some megabytes. */
const PAGE = 200;
/** Differences in one place of which a sweep asks who made them: at two calls a second, some of them twice. */
const EXPLAINED = 20;
/** CloudTrail's record may be of a change long before it was seen. */
const EARLIER_SECONDS = 3600;

export interface Swept {
  readonly deployments: number;
  /** Of them, how many are looked at more closely. */
  readonly suspects: number;
  /** Resources of which AWS said nothing. */
  readonly unseen: number;
  readonly seconds: number;
}

/** @returns what was seen, and in how many seconds the next sweep is due */
export const sweepPlace = (options: WorkerOptions, placeId: string): Promise<Swept & { nextSeconds: number }> =>
  onBehalfOf({ actor: ITSELF }, () => sweepOver(options, placeId));

async function sweepOver(options: WorkerOptions, placeId: string): Promise<Swept & { nextSeconds: number }> {
  const { db, looks, cloud, log } = options;
  const started = performance.now();
  const swept = { deployments: 0, suspects: 0, unseen: 0 };
  const row = await placeById(db, placeId);
  const place = row && placeOf(row);
  const survey = place && (await enter(options, place));
  // Nobody looks at anything there, nor asks for a look that would only say so, deployment by deployment.
  if (survey === 'held') return { ...swept, seconds: 0, nextSeconds: options.sweepSeconds };
  let after: string | null = null;
  while (place !== undefined && !looks.isStopping) {
    const deployments: SettledDeployment[] = await settledIn(db, placeId, after, PAGE);
    if (deployments.length === 0) break;
    after = deployments.at(-1)!.id;
    const open = Map.groupBy(
      await openDrifts(
        db,
        deployments.map(({ id }) => id),
      ),
      (drift) => drift.deployment_id,
    );
    const page = survey?.page();
    const seen = await Promise.all(
      deployments.map(async (deployment): Promise<[SettledDeployment, Suspicion]> => {
        // What cannot be entered is looked at one by one: each then says so, and is tried again until it can.
        if (page === undefined) return [deployment, { drifts: [], why: 'the place cannot be entered', unseen: 0 }];
        const { rows } = deployment;
        return [deployment, await sweep({ kinds: cloud.kinds, rows, cx: (id) => page.cx(deployment, id) })];
      }),
    );
    for (const [deployment, suspicion] of seen) {
      swept.unseen += suspicion.unseen;
      const why = reasonToLook(deployment, suspicion, open.get(deployment.id) ?? []);
      if (why === null) continue;
      log.info({ deployment: deployment.id, why }, 'a sweep asks for a look');
      swept.suspects += 1;
      await db.transaction().execute((tx) => looks.ask(tx, deployment.id));
    }
    swept.deployments += deployments.length;
  }
  if (place !== undefined && survey !== undefined && !looks.isStopping)
    await explainDrifts(options, place, await unexplained(db, { placeId }, EXPLAINED));
  const seconds = (performance.now() - started) / 1000;
  if (swept.deployments > 0) log.info({ place: placeId, ...swept, seconds: Number(seconds.toFixed(1)) }, 'swept');
  const due = options.sweepSeconds * (0.9 + 0.2 * Math.random());
  return { ...swept, seconds, nextSeconds: looks.isStopping ? 0 : Math.max(0, due - seconds) };
}

async function enter({ cloud, log }: WorkerOptions, place: Place): Promise<Survey | 'held' | undefined> {
  try {
    return await cloud.survey(place);
  } catch (error) {
    if (error instanceof Held) return 'held';
    log.warn({ place: place.id, why: explain(error).message }, 'a place cannot be swept');
    return undefined;
  }
}

/** Pure. What differs and is known already is no reason. */
export function reasonToLook(
  { driftPolicy }: Pick<SettledDeployment, 'driftPolicy'>,
  { drifts, why }: Suspicion,
  open: readonly DriftRow[],
): string | null {
  if (why !== null) return why;
  const counted = driftPolicy === 'ignore' ? [] : drifts;
  const known = new Set(open.map((row) => keyOf(driftOf(row))));
  const isKnown = driftPolicy !== 'repair' && counted.every((drift) => known.has(keyOf(drift)));
  if (isKnown && counted.length === known.size) return null;
  if (counted.length === 0 && known.size === 0) return null;
  return counted.length === 0 ? 'what differed is as asked again' : `${counted[0]!.resource}: ${counted[0]!.field}`;
}

/** Asks AWS who did it, as far as that is not known yet. What goes wrong is tried again by a later sweep. */
export async function explainDrifts(
  { db, cloud, log }: Pick<WorkerOptions, 'db' | 'cloud' | 'log'>,
  place: Place,
  drifts: readonly Unexplained[],
): Promise<void> {
  for (const drift of drifts) {
    const until = drift.detected_at;
    const since = new Date(until.getTime() - EARLIER_SECONDS * 1000);
    try {
      await explainDrift(db, drift, await cloud.whoChanged(place, drift, { since, until }));
    } catch (error) {
      log.warn({ deployment: drift.deployment_id, why: explain(error).message }, 'who changed something is not known');
      await explainDrift(db, drift, null);
    }
  }
}
