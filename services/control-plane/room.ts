/**
 * Whether a place has room for what is to be made there, by AWS's limits: what is used in the account, as it was read
 * last, and what was promised to deployments since.
 */
import { obstacles, roomiest, sentence, type Limit, type Limits, type Takes } from '../reconciler/aws/limits.ts';
import { balancersOf } from '../reconciler/place.ts';
import type { Cloud } from './cloud.ts';
import type { Database, Tx } from './store/database.ts';
import { placeOf, promised, setLimits, type PlaceRow } from './store/places.ts';

/** As old as limits may be that a request is held against. */
const FRESH_SECONDS = 60;
/** The longest that a request waits for them: without them it goes on, and AWS itself may refuse something later. */
const PATIENCE_SECONDS = 5;

type Known = { readonly limits: Limits; readonly at: Date };

/** Reads a place's limits anew, and keeps them. */
export async function measure(db: Database, cloud: Pick<Cloud, 'limits'>, row: PlaceRow): Promise<Known | undefined> {
  const place = placeOf(row);
  if (place === undefined) return undefined;
  const at = new Date();
  const limits = await cloud.limits(place);
  await setLimits(db, row.id, limits, at);
  return { limits, at };
}

/** Under way, by place. */
const reads = new Map<string, Promise<Known | undefined>>();

/** Requests at once wait for the same answer; undefined when there is none. */
function measureOnce(...given: Parameters<typeof measure>): Promise<Known | undefined> {
  const [, , { id }] = given;
  const begun =
    reads.get(id) ??
    measure(...given)
      .catch(() => undefined)
      .finally(() => reads.delete(id));
  reads.set(id, begun);
  return begun;
}

/**
 * A place's limits as they are about now; undefined when they cannot be read in time.
 * @param freshSeconds as old as they may be; while AWS does not answer older ones serve, too, but not if this is 0
 */
export async function currentLimits(
  db: Database,
  cloud: Pick<Cloud, 'limits'>,
  row: PlaceRow,
  freshSeconds = FRESH_SECONDS,
): Promise<Known | undefined> {
  const { limits, limits_at: at } = row;
  const known = limits !== null && at !== null ? { limits, at } : undefined;
  if (known && Date.now() - known.at.getTime() < freshSeconds * 1000) return known;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>(
    (resolve) => (timer = setTimeout(() => resolve(undefined), PATIENCE_SECONDS * 1000)),
  );
  try {
    return (await Promise.race([measureOnce(db, cloud, row), late])) ?? (freshSeconds > 0 ? known : undefined);
  } finally {
    clearTimeout(timer);
  }
}

/** With what was promised since to deployments that AWS did not count then. */
export async function withPromises(db: Database | Tx, row: PlaceRow, { limits, at }: Known): Promise<Limit[]> {
  const first = row.outputs?.loadBalancerArn ?? null;
  const promises = await promised(db, row.id, at);
  return limits.limits.map((limit) => {
    const mine = promises.filter(
      ({ code, balancer }) =>
        code === limit.code && (limit.balancer === null || (balancer ?? first) === limit.balancer),
    );
    return { ...limit, used: mine.reduce((sum, { takes }) => sum + takes, limit.used) };
  });
}

/** Why it does not fit, one sentence each; of a deployment that is there, behind its own load balancer. */
export async function obstaclesIn(
  db: Database,
  cloud: Pick<Cloud, 'limits'>,
  row: PlaceRow,
  takes: Takes,
  balancer?: string,
): Promise<string[]> {
  const known = await currentLimits(db, cloud, row);
  if (known === undefined) return [];
  return obstacles(await withPromises(db, row, known), takes, balancer).map((limit) =>
    sentence(limit, 'limit reached'),
  );
}

/** What is in the way of a deployment that comes back: of what it has lost since it was deleted, there must be room. */
export async function obstaclesBack(
  tx: Tx,
  row: PlaceRow,
  known: Known,
  { id, balancer }: { readonly id: string; readonly balancer: string | null },
): Promise<Limit[]> {
  const lacks = await promised(tx, row.id, known.at, id);
  const takes = Object.fromEntries(lacks.map((each) => [each.code, each.takes]));
  return obstacles(await withPromises(tx, row, known), takes, balancer ?? row.outputs?.loadBalancerArn);
}

/**
 * The load balancer of one more deployment: the emptiest.
 * @returns its ARN; null: the first, or the only one
 */
export function chooseBalancer(row: PlaceRow, limits: readonly Limit[], takes: Takes): string | null {
  const place = placeOf(row)!;
  if (balancersOf(place).length === 1) return null;
  return (roomiest(place, limits, takes) ?? place).loadBalancerArn;
}
