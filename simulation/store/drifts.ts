/** As `observed.ts`, for what others changed: each policy here is to repair it, so that it is told is all. */
import { wordsOf } from '../../services/reconciler/drift.ts';
import type * as real from '../../services/control-plane/store/drifts.ts';
import type { ProcessStore } from '../process.ts';

export * from '../../services/control-plane/store/drifts.ts';

export const addDrifts: typeof real.addDrifts = (db, { deploymentId }, _policy, drifts) => {
  const message = `changed by somebody else: ${wordsOf(drifts)}`;
  const said = { deploymentId, revisionId: null, resource: drifts[0]!.resource, message };
  return (db as unknown as ProcessStore).say(said);
};
export const endDrifts: typeof real.endDrifts = () => Promise.resolve();
export const unexplained: typeof real.unexplained = () => Promise.resolve([]);
