/**
 * Looks: "run a pass over deployment d", carried by pg-boss over the store's own database.
 *
 * A deployment has one look at most, waiting or running (policy `exclusive`). A wish that comes while it runs is
 * counted in the deployment's own row, and the look that ends sees the count: then the next is due at once. (Under
 * `stately` a
 * waiting look may be due beside the running one; every fetch would try it first, fail on its unique index, and come
 * back empty: one busy deployment would hold up all others.)
 */
import { PgBoss, fromKysely, type Job } from 'pg-boss';
import { sql } from 'kysely';
import { ITSELF, asked } from '../asked.ts';
import type { Database, Tx } from './database.ts';
import { isHeld } from './places.ts';
import { isSettled, isSwept, unswept } from './sweeps.ts';

const QUEUE = 'look';
const SWEEPS = 'sweep';
/** Places that one process sweeps at once: a sweep waits for its account's request rates, which are its own. */
const SWEEPS_AT_ONCE = 4;
/** The longest that a sweep of the largest place may take; a process that ends is noticed long before. */
const SWEEP_SECONDS = 4 * 3600;

export interface LooksOptions {
  /** Of the store; pg-boss keeps a few connections of its own. */
  readonly url: string;
  /** A look whose process has not been heard of for so long is given to another. At least 10. */
  readonly heartbeatSeconds: number;
  /** The longest that one pass may take. */
  readonly expireSeconds: number;
  readonly onError: (error: Error) => void;
}

/** All is well: nobody has to look before the sweep of its place comes by. */
export interface Settled {
  readonly sweepSeconds: number;
}

export interface Look {
  readonly deploymentId: string;
  readonly job: string;
}

export class Looks {
  readonly #db: Database;
  readonly #boss: PgBoss;
  #isStopping = false;

  private constructor(db: Database, boss: PgBoss) {
    this.#db = db;
    this.#boss = boss;
  }

  /** Makes its own tables when they are missing; safe when several processes do so at once. */
  static async open(db: Database, options: LooksOptions): Promise<Looks> {
    const boss = new PgBoss({
      connectionString: options.url,
      application_name: 'freehold-looks',
      max: 6,
      schedule: false,
      useListenNotify: true,
      superviseIntervalSeconds: 5,
      monitorIntervalSeconds: 5,
      maintenanceIntervalSeconds: 300,
    });
    boss.on('error', options.onError);
    await boss.start();
    await boss.createQueue(QUEUE, {
      policy: 'exclusive',
      notify: true,
      retryLimit: 1_000_000, // a look that fails comes back; a deployment is never given up on
      retryDelay: 1,
      retryBackoff: true,
      retryDelayMax: 300,
      deleteAfterSeconds: 60,
    });
    await boss.updateQueue(QUEUE, {
      heartbeatSeconds: Math.max(10, options.heartbeatSeconds),
      expireInSeconds: options.expireSeconds,
    });
    await boss.createQueue(SWEEPS, {
      policy: 'exclusive',
      notify: true,
      retryLimit: 1_000_000,
      retryDelay: 5,
      retryBackoff: true,
      retryDelayMax: 300,
      deleteAfterSeconds: 60,
    });
    await boss.updateQueue(SWEEPS, {
      heartbeatSeconds: Math.max(10, options.heartbeatSeconds),
      expireInSeconds: SWEEP_SECONDS,
    });
    return new Looks(db, boss);
  }

  /**
   * In the transaction that writes the intent: a look soon. A sleeping one is brought forward. It is in the name of
   * whoever asks; when that is nobody, of whoever asked last.
   */
  async ask(tx: Tx, deploymentId: string): Promise<void> {
    const who = asked()?.actor;
    const deployment = await tx
      .updateTable('deployments')
      .set({ asked: sql`asked + 1`, ...(who !== undefined && { asked_by: who === ITSELF ? null : who }) })
      .where('id', '=', deploymentId)
      .returning('place_id')
      .executeTakeFirst();
    if (deployment === undefined) return;
    const group = { id: deployment.place_id };
    const options = { singletonKey: deploymentId, group, startAfter: 0, db: fromKysely(tx) };
    await this.#boss.upsert(QUEUE, { deploymentId }, options);
  }

  /**
   * Ends a look and sets the next, in the transaction that writes what was seen.
   * @param asked the deployment's count when the look began
   * @param seconds until the next; null: none, the deployment is gone; `settled`: none, it is the sweep's from now on
   */
  async settle(tx: Tx, look: Look, asked: number, seconds: number | null | Settled): Promise<void> {
    const { deploymentId } = look;
    const deployment = await tx
      .selectFrom('deployments')
      .select(['asked', 'place_id'])
      .where('id', '=', deploymentId)
      .forUpdate()
      .executeTakeFirst();
    const db = fromKysely(tx);
    await this.#boss.deleteJob(QUEUE, look.job, { db });
    if (deployment === undefined || seconds === null) return;
    const isNews = deployment.asked !== asked;
    const isSettled = typeof seconds !== 'number' && !isNews;
    await tx
      .updateTable('deployment_statuses')
      .set({ settled_asked: isSettled ? asked : null })
      .where('deployment_id', '=', deploymentId)
      .where('settled_asked', 'is distinct from', isSettled ? asked : null)
      .execute();
    if (isSettled) return this.#sweepLater(tx, deployment.place_id, seconds.sweepSeconds);
    const startAfter = isNews || typeof seconds !== 'number' ? 0 : Number(seconds.toFixed(2));
    const group = { id: deployment.place_id };
    await this.#boss.send(QUEUE, { deploymentId }, { singletonKey: deploymentId, group, startAfter, db });
  }

  /**
   * Carries out looks: so many at once, and so many in one place, however many are due there and however slowly it
   * answers. One that throws is tried again, later and later.
   */
  async work(
    { atOnce, perPlace = atOnce }: { readonly atOnce: number; readonly perPlace?: number | undefined },
    carryOut: (look: Look) => Promise<void>,
  ): Promise<void> {
    const options = {
      localConcurrency: atOnce,
      localGroupConcurrency: Math.max(1, Math.min(perPlace, atOnce)),
      pollingIntervalSeconds: 0.5,
      notifyPollingIntervalSeconds: 0.5,
    };
    await this.#boss.work(QUEUE, options, async ([job]: Job<{ deploymentId: string }>[]) => {
      if (job) await carryOut({ deploymentId: job.data.deploymentId, job: job.id });
    });
  }

  /** A sweep of a place, unless there is one. */
  async #sweepLater(tx: Tx, placeId: string, seconds: number): Promise<void> {
    const startAfter = Number(seconds.toFixed(2));
    await this.#boss.send(SWEEPS, { placeId }, { singletonKey: placeId, startAfter, db: fromKysely(tx) });
  }

  /**
   * Carries out sweeps, of a few places at a time and one of each. Each is followed by the next as long as there is
   * anything to go over.
   */
  async workSweeps(carryOut: (placeId: string) => Promise<{ readonly nextSeconds: number }>): Promise<void> {
    const options = {
      localConcurrency: SWEEPS_AT_ONCE,
      pollingIntervalSeconds: 0.5,
      notifyPollingIntervalSeconds: 0.5,
    };
    await this.#boss.work(SWEEPS, options, async ([job]: Job<{ placeId: string }>[]) => {
      if (job === undefined) return;
      const { placeId } = job.data;
      const { nextSeconds } = await carryOut(placeId);
      await this.#db.transaction().execute(async (tx) => {
        await this.#boss.deleteJob(SWEEPS, job.id, { db: fromKysely(tx) });
        if (await isSwept(tx, placeId)) await this.#sweepLater(tx, placeId, nextSeconds);
      });
    });
  }

  /** Gives back the looks and sweeps of a process that is known to be dead, because nobody else can have run. */
  async adopt(): Promise<void> {
    const running = await sql<{ id: string; name: string }>`
      select id, name from pgboss.job where name in (${QUEUE}, ${SWEEPS}) and state = 'active'`.execute(this.#db);
    for (const { id, name } of running.rows) await this.#boss.fail(name, id, { message: 'its process ended' });
  }

  /**
   * Asks for whatever has neither a look nor a sweep: a lost one costs minutes, never correctness. Answers how many
   * looks were lost.
   */
  async sweep(limit: number): Promise<number> {
    for (const placeId of await unswept(this.#db, SWEEPS))
      await this.#db.transaction().execute((tx) => this.#sweepLater(tx, placeId, 0));
    const lost = await sql<{ id: string }>`
      select d.id from deployments d left join deployment_statuses s on s.deployment_id = d.id
      where (d.accepted_at is not null or d.deleted_at is not null)
        and (${isSettled}) is not true
        and not exists (
          select 1 from pgboss.job j
          where j.name = ${QUEUE} and j.singleton_key = d.id::text and j.state in ('created', 'retry', 'active'))
      limit ${limit}`.execute(this.#db);
    for (const { id } of lost.rows) await this.#db.transaction().execute((tx) => this.ask(tx, id));
    return lost.rows.length;
  }

  /** Deployments of which something is held, by place: those whose next look is not due yet. */
  async held(): Promise<Map<string, string[]>> {
    const { rows } = await sql<{ place_id: string; ids: string[] }>`
      select d.place_id, array_agg(d.id) as ids from pgboss.job j join deployments d on d.id::text = j.singleton_key
      where j.name = ${QUEUE} and j.state = 'created' and j.start_after > now() and ${isHeld}
      group by 1`.execute(this.#db);
    return new Map(rows.map(({ place_id, ids }) => [place_id, ids]));
  }

  /** What takes long ends early: another process goes on with it. */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** Lets running looks end, for a while. */
  async stop(seconds: number): Promise<void> {
    this.#isStopping = true;
    await this.#boss.stop({ graceful: true, timeout: seconds * 1000 });
  }
}
