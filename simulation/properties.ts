/** What must hold in every world, at each step and at rest. Each has a name, which a failure says first. */
import type { SimulatedAccount, SimulatedCall, SimulatedResource } from './aws/account.ts';
import type { SimulatedLooks } from './looks.ts';
import type { Process } from './process.ts';
import { verdictOf, type Deployment, type ModelStore, type Revision } from './store.ts';
import type { Time } from './time.ts';
import type { Trace } from './trace.ts';
import type { Customer } from './world.ts';

/** By a resource's id: what must be usable before it is made. Written down a second time here, on purpose. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  'database-group': ['service-group'],
  database: ['database-group'],
  'database-uri': ['database'],
  'redis-group': ['service-group'],
  'redis-task': ['redis-secret', 'log-group'],
  'redis-service': ['redis-task', 'redis-group', 'redis-discovery', 'log-group'],
  'listener-rule': ['target-group'],
  service: ['target-group', 'listener-rule', 'service-group', 'log-group'],
  'scalable-target': ['service'],
};

/** Between two looks at a deployment where all is well. */
export const SWEEP_SECONDS = 900;
/** AWS calls of one look: each resource seen twice and written to, a few pages, and a delete's search. */
const MOST_CALLS = 200;
/** Of a look that is due, when processes die and are paused, and when none does. */
const LATE_SECONDS = { rough: 1800, calm: 90 };
/** Whatever was paused in the last rough moments is awake. */
const AWAKE_SECONDS = 600;
/** Between asking whether one may write and having written. */
const FENCED_SECONDS = 5;
const MOMENT_SECONDS = 120;
/** What AWS keeps of things that are gone. */
const KEPT = new Set(['secretsmanager:secret', 'ecs:task-definition', 'ecs:service']);
const SNAPSHOT = 'rds:snapshot';
const DATABASE = 'rds:db';

interface Surroundings {
  readonly time: Time;
  readonly trace: Trace;
  readonly account: SimulatedAccount;
  readonly model: ModelStore;
  readonly looks: SimulatedLooks;
}

export const deploymentOf = (one: { readonly tags: Readonly<Record<string, string>> }): string | undefined =>
  one.tags['freehold:deployment'];
const resourceOf = (one: { readonly tags: Readonly<Record<string, string>> }): string | undefined =>
  one.tags['freehold:resource'];

export class Properties {
  /** Calls of workers that would change something, whether or not they did. */
  writes = 0;
  isCalmSince = Infinity;
  readonly #in: Surroundings;
  readonly #fail: (property: string, how: string) => void;
  /** Of the history: up to here all was looked at. */
  #seen = 0;
  readonly #begun = new Map<string, { epoch: number; at: number }>();
  readonly #lookedAt = new Map<string, number>();
  readonly #tamperedAt = new Map<string, number>();
  /** By deployment, of the database that was ready once: its incarnation. */
  readonly #data = new Map<string, string>();
  /** Whose database somebody has deleted. */
  readonly #lost = new Set<string>();

  constructor(surroundings: Surroundings, fail: (property: string, how: string) => void) {
    this.#in = surroundings;
    this.#fail = fail;
  }

  get #now(): number {
    return this.#in.time.now;
  }

  #require(held: boolean, property: string, how: () => string): void {
    if (!held) this.#fail(property, how());
  }

  /** A pass has begun. */
  begun(id: string, epoch: number): void {
    this.#begun.set(id, { epoch, at: this.#now });
  }

  looking(id: string, lateSeconds: number): void {
    const isCalm = this.#now - this.isCalmSince > AWAKE_SECONDS * 1000;
    this.#require(lateSeconds <= (isCalm ? LATE_SECONDS.calm : LATE_SECONDS.rough), 'no deployment starves', () => {
      return `a look at ${this.#nameOf(id)} was due for ${Math.round(lateSeconds)} s`;
    });
    this.#lookedAt.set(id, this.#now);
  }

  looked(id: string, calls: number): void {
    this.#require(calls <= MOST_CALLS, 'work per pass is bounded', () => `${calls} calls for ${this.#nameOf(id)}`);
    for (const { given, accepted, gone } of this.#in.model.deployments.values()) {
      const at = this.#lookedAt.get(given.id) ?? this.#now;
      if (gone || !accepted) continue;
      this.#require(this.#now - at < (SWEEP_SECONDS * 1.1 + LATE_SECONDS.rough) * 1000, 'no deployment starves', () => {
        return `nobody has looked at ${given.name} for ${Math.round((this.#now - at) / 1000)} s`;
      });
    }
  }

  /** A look was settled: its statuses are written. */
  settled({ given, revisions, deleted, active, status }: Deployment): void {
    const begun = revisions.filter((each) => each.startedAt !== null && verdictOf(each) === null);
    // While the place cannot be entered, nothing is rolled out at all.
    this.#require(begun.length <= 1 || status === 'UNKNOWN', 'one rollout at a time', () =>
      begun.map(({ number }) => `revision ${number}`).join(' and '),
    );
    if (active === null || deleted || this.#tamperedAt.has(given.id)) return;
    this.#require(
      this.#service(given.id) !== undefined,
      'what serves goes on serving',
      () => `${given.name} has no service`,
    );
  }

  /** A revision has ended. */
  judged({ given }: Deployment, revision: Revision): void {
    if (revision.status !== 'DEPLOYED' || this.#wasTampered(given.id)) return;
    this.#serves(given.id, revision, 'what is deployed runs');
  }

  #serves(id: string, { number }: Revision, property: string): void {
    const service = this.#service(id);
    const runs = this.#ours(id).filter(
      (one) => service?.uses.includes(one.arn) && resourceOf(one)?.startsWith('task-r'),
    );
    const wanted = `task-r${number}`;
    this.#require(
      runs.some((one) => resourceOf(one) === wanted),
      property,
      () => {
        const what = runs.map(resourceOf).join(', ') || 'nothing';
        return `${this.#nameOf(id)} runs ${what}, not ${wanted} (${service?.state ?? 'no service'})`;
      },
    );
  }

  #service(id: string): SimulatedResource | undefined {
    return this.#ours(id).find((one) => one.type === 'ecs:service' && resourceOf(one) === 'service' && !one.isGoing);
  }

  #ours(id: string): SimulatedResource[] {
    return this.#in.account.resources().filter((one) => deploymentOf(one) === id);
  }

  #nameOf(id: string): string {
    return this.#in.model.deployments.get(id)?.given.name ?? id;
  }

  /** A moment ago, or since the pass began that may have seen how it was before. */
  #wasTampered(id: string): boolean {
    const since = this.#begun.get(id)?.at ?? this.#now;
    return since - (this.#tamperedAt.get(id) ?? -Infinity) < MOMENT_SECONDS * 1000;
  }

  /** Somebody's hand has done what is in the history from here on; it may have taken off the tag that says to whom. */
  tampered(id: string, from: number): void {
    const { account, trace } = this.#in;
    for (const effect of account.history.slice(from)) {
      if (effect.by !== 'hand') continue;
      this.#tamperedAt.set(id, this.#now);
      if (effect.type === DATABASE && effect.what !== 'made' && effect.what !== 'changed')
        if (this.#data.get(id) === effect.incarnation) this.#lost.add(id);
    }
    this.#tell(trace);
  }

  #tell(trace: Trace): void {
    const { history } = this.#in.account;
    for (; this.#seen < history.length; this.#seen += 1) trace.effect(history[this.#seen]!);
  }

  /** A worker asks for a write. */
  asked(process: Process): void {
    this.writes += 1;
    const { looksAt } = process;
    if (looksAt === null) return;
    const last = this.#begun.get(looksAt.deploymentId)!;
    this.#require(
      last.epoch === looksAt.epoch || this.#now - last.at < FENCED_SECONDS * 1000,
      'an older pass does nothing any more',
      () => `${process.name} writes ${Math.round((this.#now - last.at) / 1000)} s after another pass has begun`,
    );
  }

  /** A call has had an effect. */
  acted(process: Process, call: SimulatedCall): void {
    const { account, trace, model } = this.#in;
    const from = this.#seen;
    this.#tell(trace);
    const effects = account.history.slice(from).filter(({ by }) => by === 'call');
    if (effects.length === 0) return;
    const there = account.resources();
    for (const effect of effects) {
      const id = deploymentOf(effect);
      const deployment = id === undefined ? undefined : model.deployments.get(id);
      if (id === undefined || deployment === undefined) continue;
      const resource = resourceOf(effect) ?? '';
      const which = `${call.operation} of ${deployment.given.name}'s ${resource}`;
      const others = there.filter((one) => deploymentOf(one) === id && one.arn !== effect.arn);
      if (effect.type === SNAPSHOT) continue;
      if (effect.what === 'made') {
        if (process.looksAt !== null) this.#madeInOrder(deployment, resource, others, which);
        if (effect.type !== 'ecs:task-definition') {
          const twin = others.find((one) => one.type === effect.type && resourceOf(one) === resource && !one.isGoing);
          this.#require(twin === undefined, 'nothing is made twice', () => `${which}: there is ${twin!.arn}`);
        }
        if (effect.type === DATABASE)
          this.#require(!this.#data.has(id), 'no database is replaced', () => `${which}: there was one with data`);
      } else if (effect.what === 'asked to go' || effect.what === 'gone') {
        const users = others.filter((one) => one.uses.includes(effect.arn) && !KEPT.has(one.isGoing ? one.type : ''));
        this.#require(users.length === 0, 'nothing is removed while it is used', () => {
          return `${which}: used by ${users.map((one) => `${one.type} ${one.name} (${one.state})`).join(', ')}`;
        });
        // A database that never was seen ready was never used.
        const isUsed = effect.type === DATABASE && this.#data.get(id) === effect.incarnation;
        const holdsData = isUsed || resource === 'environment';
        this.#require(!holdsData || deployment.deleted, 'no database or secret is lost', () => which);
      }
    }
  }

  #madeInOrder(
    { given, rows }: Deployment,
    resource: string,
    there: readonly SimulatedResource[],
    which: string,
  ): void {
    const row = rows.get(resource);
    this.#require(row !== undefined && row.inputs !== null, 'a row is written before the first call', () => which);
    for (const need of NEEDS[resource] ?? []) {
      const needed = rows.get(need);
      // As it is it can be used: what AWS does not change just now, and nobody waits for.
      const isLater =
        needed !== undefined && needed.outputs !== null && needed.state.message.endsWith(' will be changed');
      const state = isLater ? 'ready' : needed?.state.state;
      const exists = there.some((one) => resourceOf(one) === need && !one.isGoing);
      this.#require(state === 'ready', 'nothing is built before its needs', () => `${which}: ${need} is ${state}`);
      if (!this.#wasTampered(given.id))
        this.#require(exists, 'nothing is built before its needs', () => `${which}: there is no ${need}`);
    }
  }

  /** A row was written: what was seen ready is data from then on. */
  wrote({ given, rows }: Deployment, resource: string): void {
    if (resource !== 'database' || rows.get(resource)!.outputs === null || this.#data.has(given.id)) return;
    const database = this.#ours(given.id).find((one) => one.type === DATABASE);
    if (database !== undefined) this.#data.set(given.id, database.incarnation);
  }

  /** The faults have stopped, and no look will come soon. */
  atRest(customer: Customer): void {
    const { deployment, id } = customer;
    if (deployment === undefined) return;
    const { given, revisions, active, rows, message } = deployment;
    if (this.#lost.has(id)) {
      const isSaid = [...rows.values()].some(({ state }) => /deleted by somebody else/.test(state.message));
      this.#require(isSaid, 'a database that is gone is named', () => `${given.name}: ${message}`);
      return;
    }
    const newest = revisions.at(-1);
    if (newest !== undefined) {
      const wanted = customer.interrupted.has(newest.id)
        ? /^INTERRUPTED$/
        : customer.runs(newest.intent.image!)
          ? /^DEPLOYED$/
          : /^DEPLOY_FAILED$/;
      this.#require(wanted.test(newest.status ?? ''), 'a revision ends as it must', () => {
        return `${given.name}'s revision ${newest.number} is ${newest.status}: ${newest.message}`;
      });
    }
    for (const each of revisions)
      this.#require(
        verdictOf(each)?.status === 'INTERRUPTED' || !customer.interrupted.has(each.id),
        'an interrupt holds',
        () => {
          return `${given.name}'s revision ${each.number} is ${each.status}`;
        },
      );
    const serving = revisions.find((each) => each.id === active);
    if (serving !== undefined) this.#serves(id, serving, 'what was deployed last serves');
    for (const one of active === null || this.#tamperedAt.has(id) ? [] : this.#ours(id))
      this.#require(
        one.isGoing || !('freehold:provisioning' in one.tags),
        'what has served is not provisional',
        () => `${given.name}'s ${one.name}`,
      );
    const data = this.#data.get(id);
    const database = this.#ours(id).find((one) => one.type === DATABASE);
    this.#require(data === undefined || database?.incarnation === data, 'no database is replaced', () => given.name);
    for (const row of rows.values()) {
      if (row.state.state !== 'ready' || !(row.id in NEEDS)) continue;
      const exists = this.#ours(id).some((one) => resourceOf(one) === row.id && !one.isGoing);
      this.#require(exists, 'what is ready is there', () => `${given.name} has no ${row.id}`);
    }
  }

  /** Everything was deleted. */
  allGone(): void {
    for (const one of this.#in.account.resources()) {
      if (deploymentOf(one) === undefined || one.type === SNAPSHOT) continue;
      this.#require(
        one.isGoing && KEPT.has(one.type),
        'nothing is left over',
        () => `${one.type} ${one.name} is ${one.state}`,
      );
    }
  }
}
