/**
 * What the customers hold. Every hour each place's trust is asked whether it lets in whom it must not. One that does is
 * suspended: nobody enters it until it is mended, and each of its deployments says so. And every few seconds each brake
 * that holds something is asked whether it still does.
 */
import type { Logger } from 'pino';
import { Held, PlaceUnavailable, explain } from '../reconciler/aws/errors.ts';
import type { Cloud } from './cloud.ts';
import type { Database } from './store/database.ts';
import type { Looks } from './store/looks.ts';
import { placeOf, placesOf, probeSooner, setProbe, takeToProbe, tellPlace, type PlaceRow } from './store/places.ts';

/** Places at a time. */
const BATCH = 20;
/** How soon a place is asked again that could not be asked, or entered. */
const AGAIN_SECONDS = 60;

interface Probing {
  readonly db: Database;
  readonly cloud: Pick<Cloud, 'probe'>;
  readonly looks: Looks;
  readonly log: Logger;
}

interface Waking extends Pick<Probing, 'db' | 'looks'> {
  readonly cloud: Pick<Cloud, 'braked'>;
}

/** All that are due. @param seconds between two probes of a place, about */
export async function probePlaces(options: Probing, seconds: number): Promise<void> {
  for (;;) {
    const due = await takeToProbe(options.db, seconds, BATCH);
    await Promise.all(due.map((row) => probeOne(options, row, seconds)));
    if (due.length < BATCH) return;
  }
}

/** Looks are soon at what waits for a brake that was released: until then they sleep long, however many there are. */
export async function wakeHeld({ db, cloud, looks }: Waking): Promise<void> {
  const held = await looks.held();
  const places = await placesOf(db, [...held.keys()]);
  await Promise.all(
    [...held].map(async ([placeId, deployments]) => {
      try {
        const brake = await cloud.braked(placeOf(places.get(placeId)!)!);
        if (brake !== undefined && brake.mode !== 'run') return;
      } catch (error) {
        if (error instanceof PlaceUnavailable) return; // each deployment says so
        throw error;
      }
      for (const deployment of deployments) await db.transaction().execute((tx) => looks.ask(tx, deployment));
    }),
  );
}

async function probeOne({ db, cloud, looks, log }: Probing, row: PlaceRow, seconds: number): Promise<void> {
  const place = placeOf(row)!;
  const again = (): Promise<void> => probeSooner(db, row.id, Math.max(0, seconds - AGAIN_SECONDS));
  try {
    const found = await cloud.probe(place);
    const isNews = await setProbe(db, row, found);
    if (isNews) await tell({ db, looks, log }, row, found.suspends);
    if (found.unreachable !== null) await again();
  } catch (error) {
    if (error instanceof Held) return; // stopped: nobody enters it, whatever its role would let in
    log.warn({ place: row.id, why: explain(error).message }, 'the trust of a place cannot be probed');
    await again();
  }
}

/** To each deployment in it, which then looks and says so: those that are settled have no look of their own. */
export async function tell(
  { db, looks, log }: Omit<Probing, 'cloud'>,
  { id }: Pick<PlaceRow, 'id'>,
  suspends: string | null,
): Promise<void> {
  log[suspends === null ? 'info' : 'error']({ place: id, suspends }, 'the trust of a place');
  const message = suspends ?? 'the place is not suspended any more: its role lets in nobody but us';
  await db.transaction().execute(async (tx) => {
    for (const deployment of await tellPlace(tx, id, message)) await looks.ask(tx, deployment);
  });
}
