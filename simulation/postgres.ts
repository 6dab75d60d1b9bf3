/**
 * The real store, on a real PostgreSQL, held against the model at each operation: both are asked, and must answer the
 * same, or refuse the same. Times are not compared, since PostgreSQL's are its own; the queue is the simulation's.
 */
import { isDeepStrictEqual } from 'node:util';
import { addWorkspace } from '../services/control-plane/store/access.ts';
import { openDatabase, type Database, type Tx } from '../services/control-plane/store/database.ts';
import * as intents from '../services/control-plane/store/deployments.ts';
import type { Looks } from '../services/control-plane/store/looks.ts';
import { migrate } from '../services/control-plane/store/migrations.ts';
import * as observed from '../services/control-plane/store/observed.ts';
import { addPlace, changePlace } from '../services/control-plane/store/places.ts';
import { beginReceipt } from '../services/control-plane/store/receipts.ts';
import { Superseded, type Rows } from '../services/reconciler/pass.ts';
import type { Place } from '../services/reconciler/place.ts';
import { sameSeen, type Intents, type ModelStore, type Settling, type WorkerStore } from './store.ts';
import type { Stores } from './world.ts';

/** The queue is asked elsewhere. */
const NO_LOOKS = { ask: () => Promise.resolve() } as unknown as Looks;

export async function openStores(url: string): Promise<Stores> {
  const db = openDatabase(url, { connections: 4, onError: () => {} });
  await migrate(db);
  let worlds = 0;
  return {
    async open(model, place, differs) {
      const workspaceId = await addWorkspace(db, `world ${(worlds += 1)} at ${process.hrtime.bigint()}`);
      const row = (await addPlace(db, { workspaceId, name: 'place', version: null }))!;
      const { id: _, externalId: __, ...outputs } = place;
      await changePlace(db, row.id, { outputs });
      return new BothStores(db, model, { workspaceId, placeId: row.id, place, differs });
    },
    close: () => db.destroy(),
  };
}

interface Its {
  readonly workspaceId: string;
  readonly placeId: string;
  readonly place: Place;
  readonly differs: (how: string) => void;
}

type Answer<T> = { readonly value: T } | { readonly refused: unknown };

const answer = <T>(act: () => Promise<T>): Promise<Answer<T>> =>
  act().then(
    (value) => ({ value }),
    (refused: unknown) => ({ refused }),
  );

class BothStores implements WorkerStore, Intents {
  readonly #db: Database;
  readonly #model: ModelStore;
  readonly #its: Its;

  constructor(db: Database, model: ModelStore, its: Its) {
    this.#db = db;
    this.#model = model;
    this.#its = its;
  }

  /** Asks both, and gives what the real one says. */
  async #both<T>(
    what: string,
    real: () => Promise<T>,
    model: () => Promise<unknown>,
    same: (real: T, model: T) => boolean = isDeepStrictEqual,
  ): Promise<T> {
    const [is, should] = [await answer(real), await answer(model)];
    if ('refused' in is) {
      const isRight = 'refused' in should && is.refused instanceof Superseded === should.refused instanceof Superseded;
      if (!isRight) this.#its.differs(`${what}: ${String(is.refused)}, where the model does not refuse it`);
      throw is.refused;
    }
    if ('refused' in should)
      this.#its.differs(`${what} is not refused, and by the model it is: ${String(should.refused)}`);
    else if (!same(is.value, should.value as T))
      this.#its.differs(`${what}: ${JSON.stringify(is.value)} is not ${JSON.stringify(should.value)}`);
    return is.value;
  }

  async begin(id: string) {
    const { workspaceId, placeId, place } = this.#its;
    const here = (seen: observed.Seen | undefined): observed.Seen | undefined =>
      seen && { ...seen, place, deployment: { ...seen.deployment, workspaceId, placeId } };
    return this.#both(
      'begin',
      async () => here(await observed.begin(this.#db, id)),
      async () => here(await this.#model.begin(id)),
      sameSeen,
    );
  }

  rows(id: string, epoch: number): Rows {
    const real = observed.rowsOf(this.#db, id, epoch);
    const model = this.#model.rows(id, epoch);
    return {
      all: () => this.#both('all rows', real.all, model.all),
      put: (row) =>
        this.#both(
          `put ${row.id}`,
          () => real.put(row),
          () => model.put(row),
        ),
      drop: (row) =>
        this.#both(
          `drop ${row}`,
          () => real.drop(row),
          () => model.drop(row),
        ),
    };
  }

  requireEpoch(id: string, epoch: number): Promise<void> {
    return this.#both(
      'epoch',
      () => observed.requireEpoch(this.#db, id, epoch),
      () => this.#model.requireEpoch(id, epoch),
    );
  }

  startRevision(id: string, revisionId: string): Promise<void> {
    return this.#both(
      'start',
      () => observed.startRevision(this.#db, id, revisionId),
      () => this.#model.startRevision(id, revisionId),
    );
  }

  say(event: Parameters<WorkerStore['say']>[0]): Promise<void> {
    return this.#both(
      'say',
      () => observed.say(this.#db, event),
      () => this.#model.say(event),
    );
  }

  /** The model keeps none. */
  beginReceipt(deploymentId: string): ReturnType<WorkerStore['beginReceipt']> {
    return beginReceipt(this.#db, deploymentId);
  }

  transaction<T>(act: (tx: Settling) => Promise<T>): Promise<T> {
    return this.#db.transaction().execute((tx) => act(this.#settling(tx)));
  }

  #settling(tx: Tx): Settling {
    const model = this.#model;
    return {
      holdEpoch: (id, epoch) =>
        this.#both(
          'hold',
          () => observed.holdEpoch(tx, id, epoch),
          () => model.holdEpoch(id, epoch),
        ),
      isAnyInterrupted: (ids) =>
        this.#both(
          'interrupted',
          () => observed.isAnyInterrupted(tx, ids),
          () => model.isAnyInterrupted(ids),
        ),
      setRevisionStatus: (id, revisionId, judged) =>
        this.#both(
          `judge ${judged.status}`,
          () => observed.setRevisionStatus(tx, id, revisionId, judged),
          () => model.setRevisionStatus(id, revisionId, judged),
        ),
      setDeploymentStatus: (id, judged, active) =>
        this.#both(
          `status ${judged.status}`,
          () => observed.setDeploymentStatus(tx, id, judged, active),
          () => model.setDeploymentStatus(id, judged, active),
        ),
      forget: (seen, found) =>
        this.#both(
          'forget',
          () => observed.forget(tx, seen, found),
          () => model.forget(seen),
        ),
      trimEvents: (id) => observed.trimEvents(tx, id),
      say: (event) =>
        this.#both(
          'say',
          () => observed.say(tx, event),
          () => model.say(event),
        ),
    };
  }

  // What requests write

  async draft(given: Parameters<Intents['draft']>[0]): Promise<void> {
    const { workspaceId, placeId } = this.#its;
    await intents.draftDeployment(this.#db, { ...given, workspaceId, placeId }, () => Promise.resolve(null));
    await this.#model.draft(given);
  }

  async accept(id: string, intent: intents.RevisionIntent): Promise<void> {
    await this.#both(
      'accept',
      () => intents.acceptDeployment(this.#db, NO_LOOKS, id, intent),
      async () => {
        this.#model.newId = await this.#newest(id);
        await this.#model.accept(id, intent);
      },
    );
  }

  abandon(id: string): Promise<void> {
    return this.#both(
      'abandon',
      () => intents.abandonDraft(this.#db, NO_LOOKS, id),
      () => this.#model.abandon(id),
    );
  }

  change(...[id, change, next]: Parameters<Intents['change']>): Promise<string | null> {
    return this.#both(
      'change',
      () => intents.changeDeployment(this.#db, NO_LOOKS, id, change, next),
      async () => {
        this.#model.newId = await this.#newest(id);
        return this.#model.change(id, change, next);
      },
    );
  }

  interrupt(id: string, revisionId: string): Promise<boolean> {
    return this.#both(
      'interrupt',
      async () => {
        const row = await intents.findRevision(this.#db, id, revisionId);
        return row !== undefined && (await intents.interruptRevision(this.#db, NO_LOOKS, row));
      },
      () => this.#model.interrupt(id, revisionId),
    );
  }

  delete(id: string): Promise<void> {
    const { workspaceId } = this.#its;
    return this.#both(
      'delete',
      async () =>
        void (await intents.deleteDeployment(this.#db, NO_LOOKS, workspaceId, id, { hours: null, production: 0 })),
      () => this.#model.delete(id),
    );
  }

  /** The model calls its revisions as the real store does. */
  async #newest(id: string): Promise<() => string> {
    const newest = (await intents.newestRevisions(this.#db, [id])).get(id);
    return () => newest?.id ?? '';
  }
}
