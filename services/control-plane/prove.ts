/** When all deployments of a place that is left have gone, its account is searched: for whoever leaves. */
import type { Logger } from 'pino';
import { explain } from '../reconciler/aws/errors.ts';
import type { Cloud } from './cloud.ts';
import type { Database } from './store/database.ts';
import { hadIn, setProof, unproven } from './store/offboardings.ts';
import { balancerOf, findPlace, placeOf } from './store/places.ts';

const NOTHING = { left: [], kept: [], notes: ['its stack was never registered'], calls: [], found: 0 };

/**
 * Said again, it searches again only where something was left, or the account could not be entered.
 * @param of this place, at once. @default all that are due
 */
export async function prove(
  { db, cloud, log }: { db: Database; cloud: Cloud; log: Logger },
  of?: string,
): Promise<void> {
  for (const { id, place_id, workspace_id, name } of await unproven(db, of)) {
    const row = await findPlace(db, workspace_id, place_id);
    const place = row && placeOf(row);
    const balancer = row && balancerOf(row);
    try {
      if (balancer) await cloud.withdraw(balancer);
      await setProof(
        db,
        id,
        place === undefined ? NOTHING : await cloud.remainingIn(place, await hadIn(db, workspace_id, place_id)),
      );
    } catch (error) {
      const { message, defect } = explain(error);
      if (defect) log.error({ err: error, place: name }, 'a defect of ours');
      await setProof(db, id, message);
    }
  }
}
