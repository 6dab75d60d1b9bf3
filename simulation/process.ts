/**
 * A process of the control plane in a simulation: everything that it does outside of itself, an AWS call or an access
 * to the store, is a turn of it. At each it may take its time, be paused for minutes, or die: then it never goes on.
 */
import type { Dice, Time } from './time.ts';
import type { Said, Settling, WorkerStore } from './store.ts';
import type { SimulatedAccount, SimulatedCall } from './aws/account.ts';
import { NotSimulated } from './aws/operation.ts';
import { noteCall } from '../services/reconciler/aws/errors.ts';
import type { Account } from '../services/reconciler/aws/account.ts';
import type { SimulatedLooks } from './looks.ts';
import type { Trace } from './trace.ts';

/** How rough a world is, while it is; each is the chance of one turn. */
export interface Faults {
  /** A process dies. */
  crash: number;
  /** It is paused for minutes. */
  pause: number;
  /** AWS answers an error of its own. */
  error: number;
  /** AWS asks to slow down. */
  throttle: number;
  /** The call took effect, and its answer is lost. */
  lost: number;
}

export const CALM: Faults = { crash: 0, pause: 0, error: 0, throttle: 0, lost: 0 };

/** What processes share. */
export interface Surroundings {
  readonly time: Time;
  readonly dice: Dice;
  readonly trace: Trace;
  readonly account: SimulatedAccount;
  readonly store: WorkerStore;
  readonly looks: SimulatedLooks;
  faults: Faults;
  /** Until when AWS denies a service's calls. */
  readonly denied: Map<string, number>;
  /** Told before each call that may. */
  asks(process: Process): void;
  /** Told after each call that took effect. */
  acted(process: Process, call: SimulatedCall): void;
  /** Ends the simulation with this. */
  fail(property: string, how: string): void;
  /** A process has died. */
  died(process: Process): void;
}

export class Process {
  readonly name: string;
  readonly db: ProcessStore;
  readonly account: Account;
  /** AWS calls since `counted` was set to 0. */
  calls = 0;
  /** What it looks at. */
  looksAt: { deploymentId: string; epoch: number } | null = null;
  /**
   * It has been told that no other pass has begun, and writes next: it is not paused in between. (Nothing could be done
   * about that but by AWS: names and tokens are what holds then.)
   */
  #isArmed = false;
  #wrote = false;
  isDead = false;
  /** Nobody hears of it before. */
  pausedUntil = 0;
  readonly #in: Surroundings;

  constructor(name: string, surroundings: Surroundings) {
    this.name = name;
    this.#in = surroundings;
    this.db = new ProcessStore(this, surroundings);
    this.account = surroundings.account.clients((call, act) => this.#call(call, act));
  }

  /** One turn: some milliseconds, and whatever may happen. */
  async turn(from: number, to: number): Promise<void> {
    const { time, dice, faults, trace } = this.#in;
    let wait = dice.between(from, to);
    if (dice.happens(faults.crash)) await this.die();
    if (!this.#isArmed && dice.happens(faults.pause)) {
      wait += dice.between(20, 400) * 1000;
      this.pausedUntil = time.now + wait;
      trace.add(this.name, `is paused for ${Math.round(wait / 1000)} s`);
    }
    await time.pass(wait);
  }

  arm(): void {
    this.#isArmed = true;
    this.#wrote = false;
  }

  disarm(): void {
    this.#isArmed = false;
  }

  async die(): Promise<void> {
    const { time, trace } = this.#in;
    this.isDead = true;
    trace.add(this.name, 'dies');
    this.#in.died(this);
    await time.never();
  }

  async #call(call: SimulatedCall, act: () => unknown): Promise<unknown> {
    // What it wrote is looked at next.
    if (call.isWrite) this.#wrote = true;
    else if (this.#wrote) this.disarm();
    await this.turn(20, 120);
    this.calls += 1;
    const { dice, faults, trace } = this.#in;
    const before = this.#refusal(call);
    if (before !== null) {
      trace.call(this.name, call, before.name);
      throw before;
    }
    const { history } = this.#in.account;
    if (call.isWrite) this.#in.asks(this);
    const effects = history.length;
    let answer: unknown;
    try {
      answer = act();
    } catch (error) {
      if (error instanceof NotSimulated) this.#in.fail('everything that is called is simulated', error.message);
      noteCall(error, `${call.service}:${call.operation}`);
      trace.call(this.name, call, error instanceof Error ? `${error.name}: ${error.message}` : String(error));
      throw error;
    }
    trace.call(this.name, call, null);
    if (history.length > effects) this.#in.acted(this, call);
    if (dice.happens(call.isWrite ? faults.lost : 0)) {
      trace.add(this.name, `never hears of ${call.operation}`);
      throw noted(failure('TimeoutError', 'socket hang up'), call);
    }
    if (call.isWrite && dice.happens(faults.crash)) await this.die();
    return answer;
  }

  #refusal(call: SimulatedCall): Error | null {
    const { dice, faults, denied, time } = this.#in;
    if ((denied.get(call.service) ?? 0) > time.now)
      return noted(
        failure('AccessDeniedException', `User is not authorized to perform: ${call.service}:${call.operation}`, 403),
        call,
      );
    if (dice.happens(faults.throttle)) return noted(failure('ThrottlingException', 'Rate exceeded', 429), call);
    if (dice.happens(faults.error)) return noted(failure('InternalFailure', 'an error has occurred', 500), call);
    return null;
  }
}

const failure = (name: string, message: string, httpStatusCode = 400): Error =>
  Object.assign(new Error(message), { name, $metadata: { httpStatusCode } });

function noted(error: Error, call: SimulatedCall): Error {
  noteCall(error, `${call.service}:${call.operation}`);
  return error;
}

/** The store as one process has it. */
export class ProcessStore implements Omit<WorkerStore, 'transaction'> {
  readonly #process: Process;
  readonly #in: Surroundings;

  constructor(process: Process, surroundings: Surroundings) {
    this.#process = process;
    this.#in = surroundings;
  }

  async #turn(): Promise<WorkerStore> {
    await this.#process.turn(1, 5);
    return this.#in.store;
  }

  async begin(id: string) {
    this.#process.disarm();
    const seen = await (await this.#turn()).begin(id);
    this.#process.looksAt = seen === undefined ? null : { deploymentId: id, epoch: seen.epoch };
    return seen && { ...seen, asked: this.#in.looks.asked(id) };
  }

  rows(id: string, epoch: number) {
    const rows = this.#in.store.rows(id, epoch);
    return {
      all: async () => (await this.#turn(), rows.all()),
      put: async (row: Parameters<typeof rows.put>[0]) => (await this.#turn(), rows.put(row)),
      drop: async (row: string) => (await this.#turn(), rows.drop(row)),
    };
  }

  async requireEpoch(id: string, epoch: number) {
    await (await this.#turn()).requireEpoch(id, epoch);
    this.#process.arm();
  }

  async startRevision(id: string, revisionId: string) {
    await (await this.#turn()).startRevision(id, revisionId);
  }

  async say(event: Said) {
    await (await this.#turn()).say(event);
  }

  async beginReceipt(deploymentId: string) {
    return (await this.#turn()).beginReceipt(deploymentId);
  }

  /** As kysely spells it. */
  transaction() {
    return {
      execute: async <T>(act: (tx: Settling) => Promise<T>): Promise<T> => (await this.#turn()).transaction(act),
    };
  }
}
