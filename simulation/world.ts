/**
 * One seed's world: an account, a store, workers that come and go, customers who want things and change their minds,
 * somebody's hand in the account, and faults. After a while the faults stop, and then everything must come to rest.
 */
import type { Logger } from 'pino';
import { awsCloud } from '../services/control-plane/aws.ts';
import type { Cloud, Fence } from '../services/control-plane/cloud.ts';
import type { Look, Settled } from '../services/control-plane/store/looks.ts';
import { digestOf } from '../services/control-plane/redact.ts';
import type { Variable } from '../services/control-plane/store/database.ts';
import type { DeploymentChange, RevisionIntent } from '../services/control-plane/store/deployments.ts';
import { targetOf } from '../services/control-plane/target.ts';
import { carryOut, type WorkerOptions } from '../services/control-plane/worker.ts';
import { PlaceUnavailable } from '../services/reconciler/aws/errors.ts';
import type { Memory } from '../services/reconciler/pass.ts';
import type { Place } from '../services/reconciler/place.ts';
import { OWN_POSTGRES, OWN_REDIS } from '../services/reconciler/spec.ts';
import { isFailure } from '../services/reconciler/status.ts';
import { SimulatedAccount, type ImageBehaviour, type SimulatedCall, type SimulatedResource } from './aws/account.ts';
import { SimulatedLooks } from './looks.ts';
import { CALM, Process, type Faults, type Surroundings } from './process.ts';
import { Properties, SWEEP_SECONDS, deploymentOf } from './properties.ts';
import { ModelStore, seenOf, verdictOf, type Deployment, type Intents, type WorkerStore } from './store.ts';
import { Dice, Time, lend } from './time.ts';
import { Trace } from './trace.ts';

export interface Broken {
  readonly property: string;
  readonly how: string;
}

export interface Played {
  readonly seed: number;
  /** Null: every property held. */
  readonly broken: Broken | null;
  readonly looks: number;
  readonly calls: number;
  readonly virtualSeconds: number;
  readonly trace: Trace;
}

/** The store that a world is played on: the model alone, or the real one held against it. */
export interface Stores {
  open(model: ModelStore, place: Place, differs: (how: string) => void): Promise<WorkerStore & Intents>;
  close(): Promise<void>;
}

const ACCOUNT = '555000000001';
const REGION = 'us-east-1';
const WORKSPACE = '00000000-0000-4000-8000-000000000001';
/** From when the faults stop until all is at rest: a database of production, and two rollouts that fail. */
const REST_SECONDS = 3 * 3600;
/** Until every read of AWS's shows what was done. */
const MOMENT_SECONDS = 90;
/** Versions of secrets that no revision uses are left alone for so long. */
const YOUNG_SECONDS = 660;
/** Who is not at rest has a look sooner than this. */
const SOON_SECONDS = 310;
const DIGEST_KEY = Buffer.alloc(32, 7);

export async function play(seed: number, stores: Stores | null = null): Promise<Played> {
  const world = new World(seed);
  const lent = lend(world.time, new Dice(seed ^ 0x5eed).next);
  try {
    await world.open(stores);
    await world.live();
  } catch (error) {
    world.fail('the simulation itself works', error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    lent.giveBack();
  }
  return world.played();
}

class World implements Surroundings {
  readonly seed: number;
  readonly story: Dice;
  readonly dice: Dice;
  readonly time: Time;
  readonly trace: Trace;
  readonly account: SimulatedAccount;
  readonly place: Place;
  readonly model: ModelStore;
  readonly looks: SimulatedLooks;
  readonly properties: Properties;
  readonly denied = new Map<string, number>();
  store!: WorkerStore & Intents;
  faults: Faults = CALM;
  isCalm = false;
  readonly #images = new Map<string, ImageBehaviour>();
  readonly #customers: Customer[] = [];
  #closedUntil = 0;
  #workers = 0;
  #looked = 0;
  #calls = 0;
  #broken: Broken | null = null;
  #isOver = false;
  #started = 0;

  constructor(seed: number) {
    this.seed = seed;
    this.story = new Dice(Math.imul(seed, 0x9e3779b1) ^ 1);
    this.dice = new Dice(Math.imul(seed, 0x9e3779b1) ^ 2);
    const habits = new Dice(Math.imul(seed, 0x9e3779b1) ^ 3);
    this.time = new Time(new Dice(Math.imul(seed, 0x9e3779b1) ^ 4).next);
    this.#started = this.time.now;
    this.trace = new Trace(this.time);
    this.account = new SimulatedAccount({
      id: ACCOUNT,
      region: REGION,
      habits: { now: () => this.time.now, random: habits.next },
      lag: this.story.one([0, 1, 1, 2]),
      slowness: this.story.one([0.05, 0.1, 0.3, 1]),
      rates: this.story.one([1, 1, Infinity]),
      image: (image) => this.#images.get(image) ?? 'good',
    });
    const ids = new Dice(Math.imul(seed, 0x9e3779b1) ^ 5);
    this.place = { ...this.account.place(), id: idOf(ids), externalId: 'fh-simulated' };
    this.model = new ModelStore(
      this.place,
      () => new Date(),
      () => idOf(ids),
    );
    this.looks = new SimulatedLooks(this.time, this.dice);
    this.properties = new Properties(this, (property, how) => this.fail(property, how));
    this.model.told = (id, what) => this.trace.add(nameOf(this.model, id), what);
    this.model.watched = this.properties;
  }

  async open(stores: Stores | null): Promise<void> {
    const differs = (how: string): void => this.fail('the real store does what its model does', how);
    this.store = stores === null ? this.model : await stores.open(this.model, this.place, differs);
  }

  async live(): Promise<void> {
    const { story, time } = this;
    this.faults = roughness(story);
    const roughSeconds = story.between(150, 1000);
    const deployments = story.one([1, 1, 1, 1, 1, 1, 2, 3]);
    for (let n = 1; n <= deployments; n += 1) {
      const customer = new Customer(this, `agent-${n}`, roughSeconds);
      this.#customers.push(customer);
      this.#start(() => customer.live());
    }
    const workers = story.one([2, 2, 3]);
    for (let n = 0; n < workers; n += 1) this.#startWorker();
    this.#start(() => this.looks.watch(() => this.#living().map(({ given }) => given.id)));
    this.#start(() => this.#trouble(roughSeconds));
    if (story.happens(0.4)) this.#start(() => this.#hand(roughSeconds));
    this.#start(() => this.#direct(roughSeconds));
    await time.run(() => this.#isOver);
    if (!this.#isOver) this.fail('converges', 'nobody has anything left to do');
  }

  #start(actor: () => Promise<void>): void {
    this.time.start(actor, (error) =>
      this.fail('the simulation itself works', error instanceof Error ? (error.stack ?? error.message) : String(error)),
    );
  }

  fail(property: string, how: string): void {
    if (this.#broken === null) {
      this.#broken = { property, how };
      this.trace.add('PROPERTY', `broken: ${property}: ${how}`);
    }
    this.#isOver = true;
  }

  played(): Played {
    return {
      seed: this.seed,
      broken: this.#broken,
      looks: this.#looked,
      calls: this.#calls,
      virtualSeconds: (this.time.now - this.#started) / 1000,
      trace: this.trace,
    };
  }

  imageIsGood(image: string): boolean {
    return (this.#images.get(image) ?? 'good') === 'good';
  }

  setImage(image: string, behaviour: ImageBehaviour): void {
    this.#images.set(image, behaviour);
  }

  asks(process: Process): void {
    this.properties.asked(process);
  }

  acted(process: Process, call: SimulatedCall): void {
    this.properties.acted(process, call);
  }

  died(process: Process): void {
    if (process.name.startsWith('worker'))
      this.#start(async () => {
        await this.time.pass(this.dice.between(1, 20) * 1000);
        this.#startWorker();
      });
  }

  #startWorker(): void {
    const process = new Process(`worker ${(this.#workers += 1)}`, this);
    this.#start(() => this.#work(process));
  }

  /** As `startWorker`: one look at a time, with what it remembers of each deployment. */
  async #work(process: Process): Promise<void> {
    const options = this.#options(process);
    const memories = new Map<string, Memory>();
    while (!this.#isOver) {
      const look = await this.looks.take(process);
      const { deploymentId, lateSeconds } = look;
      const memory: Memory = memories.get(deploymentId) ?? new Map();
      memories.set(deploymentId, memory);
      this.properties.looking(deploymentId, lateSeconds);
      process.calls = 0;
      let failed = false;
      try {
        await carryOut(options, look, memory);
      } catch (error) {
        failed = true;
        this.fail('a look never fails', error instanceof Error ? (error.stack ?? error.message) : String(error));
      }
      this.#looked += 1;
      this.#calls += process.calls;
      this.properties.looked(deploymentId, process.calls);
      this.looks.end(look, failed);
    }
  }

  #options(process: Process): WorkerOptions {
    const looks = {
      settle: (_tx: unknown, look: Look, asked: number, due: number | null | Settled) => {
        // What is settled is the sweep's; here it is looked at for itself as often as a sweep would come by.
        const seconds = due !== null && typeof due !== 'number' ? due.sweepSeconds : due;
        this.looks.settle(look, asked, seconds, this.model.of(look.deploymentId) === undefined);
        return Promise.resolve();
      },
    };
    return {
      db: process.db as unknown as WorkerOptions['db'],
      looks: looks as unknown as WorkerOptions['looks'],
      cloud: this.cloudOf(process),
      log: this.#log(process),
      digestKey: DIGEST_KEY,
      concurrency: 1,
      sweepSeconds: SWEEP_SECONDS,
    };
  }

  /** The real one, over the simulated account. */
  cloudOf(process: Process): Cloud {
    const enter = async () => {
      await process.turn(1, 20);
      if (this.#closedUntil > this.time.now) throw new PlaceUnavailable('the role is gone', this.place.roleArn);
      return process.account;
    };
    return awsCloud({ enter } as unknown as Parameters<typeof awsCloud>[0]);
  }

  #log(process: Process): Logger {
    const log = {
      child: () => log,
      debug: () => {},
      info: () => {},
      warn: (_: unknown, message?: string) => this.trace.add(process.name, message ?? String(_)),
      error: ({ err }: { err?: Error }, message: string) =>
        err === undefined
          ? this.trace.add(process.name, message)
          : this.fail('nothing is a defect of ours', `${message}: ${err.stack ?? String(err)}`),
    };
    return log as unknown as Logger;
  }

  /** Of which looks are owed: a draft has none until its request is accepted, or given up. */
  #living(): Deployment[] {
    return [...this.model.deployments.values()].filter((each) => !each.gone && (each.accepted || each.deleted));
  }

  /** Now and then AWS denies a service, or the place cannot be entered. */
  async #trouble(seconds: number): Promise<void> {
    const { story, time } = this;
    const services = ['ecs', 'ec2', 'rds', 'elasticloadbalancing', 'secretsmanager', 'servicediscovery', 'logs'];
    for (let n = story.one([0, 0, 1, 2]); n > 0; n -= 1) {
      await time.pass(story.between(0, seconds) * 500);
      if (this.isCalm) return;
      const until = time.now + story.between(30, 300) * 1000;
      if (story.happens(0.3)) {
        this.#closedUntil = until;
        this.trace.add('AWS', 'lets nobody into the account for a while');
      } else {
        const service = story.one(services);
        this.denied.set(service, until);
        this.trace.add('AWS', `denies ${service} for a while`);
      }
    }
  }

  /** Somebody changes things in the account. */
  async #hand(seconds: number): Promise<void> {
    const { story, time, account } = this;
    for (let n = story.whole(1, 3); n > 0; n -= 1) {
      await time.pass(story.between(60, seconds) * 500);
      if (this.isCalm) return;
      const ours = account.resources().filter((one) => !one.isGoing && deploymentOf(one) !== undefined);
      if (ours.length === 0) continue;
      this.#tamper(story.one(ours));
    }
  }

  #tamper(one: SimulatedResource): void {
    const { story, account } = this;
    const customer = this.#customers.find(({ id }) => id === deploymentOf(one))!;
    // A value that nobody here may read cannot be put right here: the tasks that cannot start say so.
    const isValue = one.type === 'secretsmanager:secret' && one.name.endsWith('/redis');
    const changes = isValue ? [] : account.tamperings(one.arn);
    const effects = account.history.length;
    if (changes.length > 0 && story.happens(0.5)) {
      const change = story.one(changes);
      account.tamper(one.arn, { act: 'change', change });
      // Kept by us, and asked to be taken off before the database can go.
      const off = 'take its protection off';
      if (change === 'protect it') customer.mends.push(() => account.tamper(one.arn, { act: 'change', change: off }));
    } else if (story.happens(0.2)) {
      const tag = story.one(Object.keys(one.tags));
      if (!account.tamper(one.arn, { act: 'retag', tags: { [tag]: null } })) return;
      customer.mends.push(() => account.tamper(one.arn, { act: 'retag', tags: { [tag]: one.tags[tag]! } }));
    } else {
      account.tamper(one.arn, { act: 'delete' });
    }
    if (account.history.length > effects) customer.wasTampered = true;
    this.properties.tampered(customer.id, effects);
  }

  /** Ends the faults, waits for rest, and sees whether it is one. */
  async #direct(roughSeconds: number): Promise<void> {
    const { story, time } = this;
    await time.pass(roughSeconds * 1000);
    this.calm();
    for (const { mends } of this.#customers) for (const mend of mends) mend();
    await time.pass(MOMENT_SECONDS * 1000);
    for (const customer of this.#customers) await customer.mend();
    await this.#rest();
    for (const customer of this.#customers) this.properties.atRest(customer);
    // What requests wrote is swept only when it is no longer young.
    await time.pass(YOUNG_SECONDS * 1000);
    for (const { given } of this.#living()) this.looks.ask(given.id);
    await this.#rest();
    await this.#quiet();
    if (this.#isOver) return;

    this.trace.add('THE END', 'all is deleted');
    if (story.happens(0.5)) this.#roughen();
    const rest = story.between(60, 600);
    for (const customer of this.#customers) await customer.leave();
    await time.pass(rest * 1000);
    this.calm();
    await this.#rest();
    this.properties.allGone();
    this.#isOver = true;
  }

  calm(): void {
    this.isCalm = true;
    this.faults = CALM;
    this.denied.clear();
    this.#closedUntil = 0;
    this.properties.isCalmSince = this.time.now;
    this.trace.add('FAULTS', 'stop');
  }

  #roughen(): void {
    this.isCalm = false;
    this.properties.isCalmSince = Infinity;
    this.faults = roughness(this.story);
    this.trace.add('FAULTS', 'begin again');
  }

  async #rest(): Promise<void> {
    const { time } = this;
    const end = time.now + REST_SECONDS * 1000;
    for (;;) {
      await time.pass(10_000);
      const restless = this.#living().filter((each) => !this.#isAtRest(each));
      if (restless.length === 0) return;
      if (time.now < end) continue;
      const [first] = restless;
      const states = [...first!.rows.values()]
        .filter(({ state }) => state.state !== 'ready')
        .map(({ id, state }) => `${id} ${state.state}: ${state.message}`);
      this.fail('converges', `${first!.given.name} (${first!.status}: ${first!.message}): ${states.join('; ')}`);
      return;
    }
  }

  /** No look will come soon, so the worker itself thinks that there is nothing to do; and every revision has ended. */
  #isAtRest(deployment: Deployment): boolean {
    const { given, deleted, revisions, active, rows } = deployment;
    if (deleted || revisions.some((each) => verdictOf(each) === null)) return false;
    const due = this.looks.dueSince(given.id);
    if (due === undefined || due - this.time.now < SOON_SECONDS * 1000) return false;
    // Where nothing serves and the last one failed, that is only looked at: what earlier ones made is removed when all
    // that is wanted is ready again, or with the deployment.
    const target = targetOf({ revisions: seenOf(deployment), activeRevisionId: active });
    const isOnlyLookedAt = active === null && isFailure(target?.verdict?.status ?? 'DEPLOYED');
    const wanted = [...rows.values()].filter(({ generation }) => !isOnlyLookedAt || generation === target?.id);
    return wanted.every(
      ({ state }) => state.state !== 'retrying' && (state.state !== 'waiting' || state.message.startsWith('needs ')),
    );
  }

  /** Looks at what is at rest write nothing. */
  async #quiet(): Promise<void> {
    const { time, account } = this;
    const living = this.#living();
    const before = { effects: this.properties.writes, rows: living.map(({ writes }) => writes) };
    const { length } = account.history;
    for (let n = 0; n < 2; n += 1) {
      for (const { given } of living) this.looks.ask(given.id);
      await time.pass(120_000);
    }
    const wrote = account.history.slice(length).filter(({ by }) => by === 'call');
    if (wrote.length > 0)
      this.fail(
        'a settled fleet causes no write',
        wrote.map(({ operation, name }) => `${operation} ${name}`).join(', '),
      );
    living.forEach(({ writes, given }, at) => {
      if (writes !== before.rows[at]) this.fail('a settled fleet causes no write', `rows of ${given.name}`);
    });
    if (this.properties.writes !== before.effects)
      this.fail('a settled fleet causes no write', 'a write was asked for that had no effect');
  }
}

function roughness(story: Dice): Faults {
  const some = (...rates: number[]): number => story.one([0, 0, ...rates]);
  return {
    crash: some(0.001, 0.004, 0.02),
    pause: some(0.0005, 0.002, 0.01),
    error: some(0.01, 0.05),
    throttle: some(0.02, 0.1),
    lost: some(0.02, 0.1),
  };
}

const idOf = (dice: Dice): string => {
  const hex = Array.from({ length: 32 }, () => Math.floor(dice.next() * 16).toString(16)).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
};

const nameOf = (model: ModelStore, id: string): string => model.deployments.get(id)?.given.name ?? id;

/** What a customer asks for through the API: as its requests do, with the account written to before the store. */
export class Customer {
  readonly id: string;
  readonly name: string;
  /** Undone when the faults stop. */
  readonly mends: (() => void)[] = [];
  wasTampered = false;
  /** Asked to be stopped before they had ended. */
  readonly interrupted = new Set<string>();
  readonly #world: World;
  readonly #seconds: number;
  #requests = 0;
  #images = 0;

  constructor(world: World, name: string, seconds: number) {
    this.#world = world;
    this.name = name;
    this.#seconds = seconds;
    this.id = idOf(world.story);
  }

  get deployment(): Deployment | undefined {
    return this.#world.model.of(this.id);
  }

  async live(): Promise<void> {
    const { story, time } = this.#world;
    await time.pass(story.between(0, 60) * 1000);
    await this.#create();
    for (let n = story.whole(0, 4); n > 0; n -= 1) {
      await time.pass(story.between(5, this.#seconds / 2) * 1000);
      if (this.#world.isCalm || this.deployment === undefined) return;
      await this.#wish();
    }
  }

  /** A request: its process may die in the middle, and then the customer asks again. */
  async #request(what: string, act: (cloud: Cloud, fence: Fence) => Promise<void>): Promise<void> {
    const { trace, time, looks } = this.#world;
    for (;;) {
      const process = new Process(`api ${(this.#requests += 1)}`, this.#world);
      trace.add(this.name, `asks: ${what}`);
      try {
        await act(this.#world.cloudOf(process), () => this.#fence(process));
        looks.ask(this.id);
        return;
      } catch (error) {
        trace.add(this.name, `is refused: ${error instanceof Error ? error.message : String(error)}`);
        if (this.deployment === undefined || this.deployment.deleted) return;
        if (this.#world.isCalm) throw error;
        await time.pass(20_000);
      }
    }
  }

  /** As the API's: before each of its writes to the account. */
  async #fence(process: Process): Promise<void> {
    await process.turn(1, 5);
    if (this.deployment === undefined || this.deployment.deleted) throw new Error('it is being deleted');
    process.arm();
  }

  async #create(): Promise<void> {
    const { story, store, model, time } = this.#world;
    const source = story.one(['external_docker', 'external_docker', 'internal_docker']);
    const type = story.one(['dev', 'dev', 'prod'] as const);
    const names = [
      'A',
      'B',
      ...(story.happens(0.15) ? [OWN_POSTGRES] : []),
      ...(story.happens(0.1) ? [OWN_REDIS] : []),
    ];
    const given = names.slice(story.whole(0, names.length - 1));
    const isEarly = story.happens(0.2);
    const workspaceId = WORKSPACE;
    const placeId = this.#world.place.id;
    await store.draft({
      id: this.id,
      workspaceId,
      placeId,
      name: this.name,
      source,
      type,
      customUrl: null,
      k8sNamespace: null,
      takes: {},
    });
    await this.#request(`create${isEarly ? ' without an image' : ''}, ${given.join(', ')}`, async (cloud, fence) => {
      const environment = await this.#write(cloud, fence, given);
      await time.pass(10);
      const image = isEarly ? null : this.#image(story.happens(0.2));
      await store.accept(this.id, intentOf(source, image, environment, model.of(this.id)!.type));
    });
  }

  /** @returns variables whose values are in a new version of the secret */
  async #write(cloud: Cloud, fence: Fence, names: readonly string[]): Promise<Variable[]> {
    if (names.length === 0) return [];
    const value = `value-${this.#world.story.whole(1, 1_000_000)}`;
    const values = Object.fromEntries(names.map((name) => [name, value]));
    const versionId = await cloud.writeEnvironment(this.#world.place, this.#owner, values, fence);
    return names.map((name) => ({ name, versionId, digest: digestOf(DIGEST_KEY, value) }));
  }

  get #owner() {
    return { id: this.id, name: this.name };
  }

  /** Whether a server of this image does. */
  runs(image: string): boolean {
    return this.#world.imageIsGood(image);
  }

  #image(isBad: boolean): string {
    const digest = `${(this.#images += 1)}`.padStart(64, '0');
    const image = `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com/${this.name}@sha256:${digest}`;
    const { story } = this.#world;
    this.#world.setImage(image, isBad ? story.one(['cannot-pull', 'exits', 'unhealthy', 'out-of-memory']) : 'good');
    return image;
  }

  async #wish(): Promise<void> {
    const { story } = this.#world;
    const wish = story.next();
    if (wish < 0.3) await this.#revise('another image', { image: this.#image(story.happens(0.35)) });
    else if (wish < 0.45) await this.#revise('another value', { values: story.one([['A'], ['B'], ['A', 'B']]) });
    else if (wish < 0.55) await this.#revise('another scale', { scale: true });
    else if (wish < 0.65) await this.#revise('production', { change: { type: 'prod' } });
    else if (wish < 0.8) await this.#interrupt();
    else if (wish < 0.9) await this.#goBack();
    else await this.leave();
  }

  async #revise(
    what: string,
    asked: { image?: string; values?: readonly string[]; scale?: boolean; change?: DeploymentChange },
  ): Promise<void> {
    const { story, store } = this.#world;
    const max = story.whole(1, 4);
    await this.#request(what, async (cloud, fence) => {
      const written = await this.#write(cloud, fence, asked.values ?? []);
      const before = this.deployment;
      if (before === undefined || before.deleted) return;
      const { given, type, base } = before;
      await store.change(this.id, asked.change ?? {}, ({ newest }) => {
        const last = newest
          ? { image: newest.image, resources: newest.resources, environment: newest.environment }
          : { image: null, resources: resourcesOf(type), environment: base?.environment ?? [] };
        const environment = [
          ...last.environment.filter((old) => !written.some(({ name }) => name === old.name)),
          ...written,
        ];
        return {
          ...intentOf(given.source, asked.image ?? last.image, environment, type),
          resources: asked.scale ? { ...last.resources, minScale: 1, maxScale: max } : last.resources,
        };
      });
    });
  }

  async #interrupt(): Promise<void> {
    const newest = this.deployment?.revisions.at(-1);
    if (newest === undefined) return;
    await this.#request(`interrupt revision ${newest.number}`, async () => {
      if (await this.#world.store.interrupt(this.id, newest.id)) this.interrupted.add(newest.id);
    });
  }

  /** To a revision that was deployed, if its values are still there. */
  async #goBack(): Promise<void> {
    const { story, store, place } = this.#world;
    const deployed = this.deployment?.revisions.filter((each) => each.status === 'DEPLOYED') ?? [];
    if (deployed.length === 0) return;
    const { intent, number } = story.one(deployed);
    await this.#request(`back to revision ${number}`, async (cloud) => {
      const versions = intent.environment.map(({ versionId }) => versionId);
      const lost = versions.length === 0 ? [] : await cloud.lostVersions(place, this.#owner, versions);
      if (lost.length > 0 || this.deployment === undefined || this.deployment.deleted) return;
      await store.change(this.id, {}, () => intent);
    });
  }

  async leave(): Promise<void> {
    const { store } = this.#world;
    if (this.deployment === undefined || this.deployment.deleted) return;
    await this.#request('delete', async () => {
      if (this.deployment?.accepted) await store.delete(this.id);
      else await store.abandon(this.id);
    });
  }

  /** When the faults have stopped, and what hands did is undone: asks again, if that may have been why it failed. */
  async mend(): Promise<void> {
    const { deployment } = this;
    if (deployment === undefined || deployment.deleted || !deployment.accepted) return;
    const names = [
      ...new Set((deployment.revisions.at(-1)?.intent ?? deployment.base)?.environment.map(({ name }) => name)),
    ];
    if (this.wasTampered)
      await this.#revise('another image, all values anew', { image: this.#image(false), values: names });
  }
}

function resourcesOf(type: 'dev' | 'prod'): RevisionIntent['resources'] {
  return type === 'dev'
    ? { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 1 }
    : { cpu: 2, memoryMb: 2048, minScale: 1, maxScale: 3 };
}

const intentOf = (
  source: string,
  image: string | null,
  environment: readonly Variable[],
  type: 'dev' | 'prod',
): RevisionIntent => ({
  source,
  imageUri: image,
  image,
  build: null,
  resourceSpec: {},
  resources: resourcesOf(type),
  environment,
  references: [],
  agentAuth: { type: 'noop' },
});
