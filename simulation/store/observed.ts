/**
 * What `worker.ts` is linked with in a simulation, in place of the control plane's file of the same name: each access
 * is a turn of its process, which may end there, and goes on to the simulation's store.
 */
import type * as real from '../../services/control-plane/store/observed.ts';
import type { Said, Settling } from '../store.ts';
import type { ProcessStore } from '../process.ts';

export * from '../../services/control-plane/store/observed.ts';

// What the worker holds as the database, and as a transaction, is the simulation's.
const processOf = (db: unknown): ProcessStore => db as ProcessStore;
const settling = (tx: unknown): Settling => tx as Settling;

export const begin: typeof real.begin = (db, id) => processOf(db).begin(id);
export const rowsOf: typeof real.rowsOf = (db, id, epoch) => processOf(db).rows(id, epoch);
export const requireEpoch: typeof real.requireEpoch = (db, id, epoch) => processOf(db).requireEpoch(id, epoch);
export const startRevision: typeof real.startRevision = (db, id, revision) => processOf(db).startRevision(id, revision);
export const say: typeof real.say = (db, event: Said) => (db as unknown as ProcessStore | Settling).say(event);

export const holdEpoch: typeof real.holdEpoch = (tx, id, epoch) => settling(tx).holdEpoch(id, epoch);
export const isAnyInterrupted: typeof real.isAnyInterrupted = (tx, ids) => settling(tx).isAnyInterrupted(ids);
export const setRevisionStatus: typeof real.setRevisionStatus = (tx, id, revision, judged) =>
  settling(tx).setRevisionStatus(id, revision, judged);
export const setDeploymentStatus: typeof real.setDeploymentStatus = (tx, id, judged, active) =>
  settling(tx).setDeploymentStatus(id, judged, active);
export const forget: typeof real.forget = (tx, seen, found) => settling(tx).forget(seen, found);
export const trimEvents: typeof real.trimEvents = (tx, id) => settling(tx).trimEvents(id);
