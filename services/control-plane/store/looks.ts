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
import type { Database, Tx } from './database.ts';

const QUEUE = 'look';

export interface LooksOptions {
  /** Of the store; pg-boss keeps a few connections of its own. */
  readonly url: string;
  /** A look whose process has not been heard of for so long is given to another. At least 10. */
  readonly heartbeatSeconds: number;
  /** The longest that one pass may take. */
  readonly expireSeconds: number;
  readonly onError: (error: Error) => void;
}

export interface Look {
  readonly deploymentId: string;
  readonly job: string;
}

export class Looks {
  readonly #db: Database;
  readonly #boss: PgBoss;

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
    return new Looks(db, boss);
  }

  /** In the transaction that writes the intent: a look soon. A sleeping one is brought forward. */
  async ask(tx: Tx, deploymentId: string): Promise<void> {
    const deployment = await tx
      .updateTable('deployments')
      .set({ asked: sql`asked + 1` })
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
   * @param seconds until the next; null: none, the deployment is gone
   */
  async settle(tx: Tx, look: Look, asked: number, seconds: number | null): Promise<void> {
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
    const startAfter = deployment.asked === asked ? Number(seconds.toFixed(2)) : 0;
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

  /** Gives back the looks of a process that is known to be dead, because nobody else can have run. */
  async adopt(): Promise<void> {
    const running = await sql<{ id: string }>`
      select id from pgboss.job where name = ${QUEUE} and state = 'active'`.execute(this.#db);
    for (const { id } of running.rows) await this.#boss.fail(QUEUE, id, { message: 'its process ended' });
  }

  /** Asks for whatever has no look: a lost one costs minutes, never correctness. Answers how many. */
  async sweep(limit: number): Promise<number> {
    const lost = await sql<{ id: string }>`
      select d.id from deployments d
      where (d.accepted_at is not null or d.deleted_at is not null)
        and not exists (
          select 1 from pgboss.job j
          where j.name = ${QUEUE} and j.singleton_key = d.id::text and j.state in ('created', 'retry', 'active'))
      limit ${limit}`.execute(this.#db);
    for (const { id } of lost.rows) await this.#db.transaction().execute((tx) => this.ask(tx, id));
    return lost.rows.length;
  }

  /** Lets running looks end, for a while. */
  async stop(seconds: number): Promise<void> {
    await this.#boss.stop({ graceful: true, timeout: seconds * 1000 });
  }
}
