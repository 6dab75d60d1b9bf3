/**
 * The queue of looks, in virtual time, with what pg-boss promises under `exclusive`: a deployment has one look at most,
 * waiting or running; the look of a process that is not heard of comes back; a wish during a look brings another.
 */
import type { Look } from '../services/control-plane/store/looks.ts';
import type { Process } from './process.ts';
import type { Dice, Time } from './time.ts';

/** A look whose process has not been heard of for so long is given to another. */
const HEARTBEAT_SECONDS = 30;
/** Between two searches for deployments without a look. */
const SWEEP_SECONDS = 60;

interface Job {
  readonly id: string;
  readonly deploymentId: string;
  due: number;
  tries: number;
  /** Undefined: it waits. */
  by: Process | undefined;
  heardOf: number;
}

export class SimulatedLooks {
  readonly #time: Time;
  readonly #dice: Dice;
  /** By deployment. */
  readonly #jobs = new Map<string, Job>();
  readonly #asked = new Map<string, number>();
  readonly #idle = new Set<() => void>();
  #ids = 0;

  constructor(time: Time, dice: Dice) {
    this.#time = time;
    this.#dice = dice;
  }

  asked(id: string): number {
    return this.#asked.get(id) ?? 0;
  }

  /** Since when a look has been due that nobody has begun. Undefined: none is. */
  dueSince(id: string): number | undefined {
    const job = this.#jobs.get(id);
    return job === undefined || job.by !== undefined ? undefined : job.due;
  }

  has(id: string): boolean {
    return this.#jobs.has(id);
  }

  /** A look soon. */
  ask(id: string): void {
    this.#asked.set(id, this.asked(id) + 1);
    const job = this.#jobs.get(id);
    if (job === undefined) this.#add(id, 0);
    else if (job.by === undefined) job.due = Math.min(job.due, this.#time.now);
    this.#wake();
  }

  #add(deploymentId: string, seconds: number): void {
    const due = this.#time.now + seconds * 1000;
    const id = `${(this.#ids += 1)}`;
    this.#jobs.set(deploymentId, { id, deploymentId, due, tries: 0, by: undefined, heardOf: 0 });
    this.#wake();
  }

  /** As the worker's `looks.settle`. */
  settle({ deploymentId, job }: Look, asked: number, seconds: number | null, isGone: boolean): void {
    if (this.#jobs.get(deploymentId)?.id === job) this.#jobs.delete(deploymentId);
    if (isGone || seconds === null || this.#jobs.has(deploymentId)) return;
    this.#add(deploymentId, this.asked(deploymentId) === asked ? seconds : 0);
  }

  /** The calling process's next look: whichever has been due longest. */
  async take(process: Process): Promise<Look & { readonly lateSeconds: number }> {
    for (;;) {
      const due = [...this.#jobs.values()].filter((job) => job.by === undefined && job.due <= this.#time.now);
      const job = due.toSorted((a, b) => a.due - b.due)[0];
      if (job !== undefined) {
        job.by = process;
        job.heardOf = this.#time.now;
        const lateSeconds = (this.#time.now - job.due) / 1000;
        return { deploymentId: job.deploymentId, job: job.id, lateSeconds };
      }
      await new Promise<void>((resolve) => {
        this.#idle.add(resolve);
        this.#wake();
        this.#time.waiting();
      });
    }
  }

  /** A look has ended without being settled: another pass has begun, or it failed. */
  end({ deploymentId, job }: Look, failed: boolean): void {
    const found = this.#jobs.get(deploymentId);
    if (found?.id !== job) return;
    if (failed) this.#retry(found);
    else this.#jobs.delete(deploymentId);
  }

  #retry(job: Job): void {
    job.tries += 1;
    job.by = undefined;
    job.due = this.#time.now + Math.min(300, 2 ** job.tries) * 1000;
    this.#wake();
  }

  /** Idle processes look again when the next look is due. */
  #wake(): void {
    const waiting = [...this.#jobs.values()].filter((job) => job.by === undefined);
    if (this.#idle.size === 0 || waiting.length === 0) return;
    const next = Math.max(this.#time.now, Math.min(...waiting.map((job) => job.due)));
    for (const resume of this.#idle)
      this.#time.at(next + this.#dice.between(0, 500), () =>
        this.#idle.delete(resume) ? resume() : this.#time.waiting(),
      );
  }

  /** Whatever a queue does by itself, once a second or so: for ever. */
  async watch(deployments: () => Iterable<string>): Promise<void> {
    let swept = this.#time.now;
    for (;;) {
      await this.#time.pass(5_000);
      const { now } = this.#time;
      for (const job of this.#jobs.values()) {
        if (job.by === undefined) continue;
        if (!job.by.isDead && job.by.pausedUntil <= now) job.heardOf = now;
        else if (now - job.heardOf > HEARTBEAT_SECONDS * 1000) this.#retry(job);
      }
      if (now - swept < SWEEP_SECONDS * 1000) continue;
      swept = now;
      for (const id of deployments()) if (!this.#jobs.has(id)) this.ask(id);
    }
  }
}
