/** What in the account would stop a plan: found by asking, before anything is made. */
import { kinds } from '../kinds/index.ts';
import type { Place } from '../place.ts';
import type { Obstacle, Plan } from '../plan.ts';
import type { Account } from './account.ts';
import { explain } from './errors.ts';
import { GATE_CLOSED } from './gate.ts';
import { once, scopeOf } from './grants.ts';
import { obstacles as limitsInTheWay, readLimits, sentence, takesOfKinds } from './limits.ts';
import { isGateOpen, permissions } from './verify.ts';

/** What cannot be asked is said, too: it is not known whether it would stop it. */
export async function obstaclesOf(
  aws: Account,
  place: Place,
  { steps, starts }: Pick<Plan, 'steps' | 'starts'>,
): Promise<Obstacle[]> {
  const touched = steps.filter(({ what }) => what !== 'keep' && what !== 'wait').map(({ kind }) => kind);
  const removed = steps.filter(({ what }) => what === 'remove');
  const created = steps.filter(({ what }) => what === 'create').map(({ kind }) => kind);
  const vcpus = starts.reduce((sum, { what, count }) => (what === 'vcpu' ? sum + count : sum), 0);
  const [missing, gate, limits] = await Promise.all([
    asked('permission', () => lacking(aws, place, touched)),
    asked('permission', () => closed(aws, place, removed)),
    asked('limit', () => full(aws, place, created, vcpus)),
  ]);
  return [...missing, ...gate, ...limits];
}

async function lacking(aws: Account, place: Place, touched: readonly string[]): Promise<string[]> {
  if (place.original) return []; // which cannot be asked, and the place's checks say so
  const needed = [...new Set(touched)].flatMap((kind) => kinds.get(kind)?.iam(scopeOf(place)) ?? []);
  return needed.length === 0 ? [] : permissions(aws, place, once(needed));
}

/** Of what is removed and holds what cannot be made again: all else goes on without it. */
async function closed(aws: Account, place: Place, removed: Plan['steps']): Promise<string[]> {
  if (place.original) return []; // which has no gate, and cannot be asked
  const gated = removed.flatMap(({ id, kind }) => {
    const needed = (kinds.get(kind)?.iam(scopeOf(place)) ?? []).filter((grant) => grant.gated);
    return needed.length > 0 ? [{ id, needed }] : [];
  });
  if (gated.length === 0 || (await isGateOpen(aws, place, once(gated.flatMap(({ needed }) => needed))))) return [];
  return gated.map(({ id }) => `"${id}" ${GATE_CLOSED}`);
}

async function full(aws: Account, place: Place, created: readonly string[], vcpus: number): Promise<string[]> {
  const takes = takesOfKinds(created, vcpus);
  if (Object.keys(takes).length === 0) return [];
  const { limits, unread } = await readLimits(aws, place);
  const full = limitsInTheWay(limits, takes).map((limit) => sentence(limit, `it takes ${takes[limit.code]} more`));
  // Nor can most limits.
  return [...full, ...(place.original ? [] : unread.map((why) => `a limit cannot be read: ${why}`))];
}

async function asked(what: Obstacle['what'], ask: () => Promise<string[]>): Promise<Obstacle[]> {
  try {
    return (await ask()).map((message) => ({ what, id: null, message }));
  } catch (error) {
    return [{ what, id: null, message: `not known: ${explain(error).message}` }];
  }
}
