/**
 * The customer's brake: one SSM parameter in their account, made by their stack and written by them alone. It is read
 * before each write. What cannot be read holds, too, for an outage of SSM as for a missing right: from here the two
 * look the same, and whoever could keep us from reading it would have taken the brake away. That stops changes, and
 * nothing that serves.
 */
import { GetParameterCommand, GetParameterHistoryCommand, type Parameter, type SSMClient } from '@aws-sdk/client-ssm';
import { Held, PlaceUnavailable, explain } from './errors.ts';
import { arn } from './arn.ts';
import type { Grant, Scope } from './grant.ts';

/** `read-only`: what is there is looked at, and nothing is changed. `stopped`: nothing but the brake is looked at. */
export const MODES = ['run', 'read-only', 'stopped'] as const;
export type Mode = (typeof MODES)[number];

/** What the brake said last. */
export interface Braked {
  readonly mode: Mode;
  /** When it was set so. Null: not known. */
  readonly since: Date | null;
  /** ARN of who set it so; null: not known, or asked for only while it holds. */
  readonly by: string | null;
  /** Why it cannot be read, or not be understood; null: it can. */
  readonly trouble: string | null;
}

/** How old an answer may be. */
export const BRAKE_SECONDS = 15;
/** After a read that went wrong the next is not far: whatever it was holds everything up. */
const AGAIN_SECONDS = 5;

/** None for one deployment's sake: the brake is the place's, and read in a session of its own. */
export const brakeGrants = (scope: Scope): Grant[] =>
  scope.brakeParameterArn === undefined || scope.deployment !== undefined
    ? []
    : [
        {
          actions: ['ssm:GetParameter', 'ssm:GetParameterHistory'],
          resources: [scope.brakeParameterArn],
          why: "reads the customer's brake before each write, and who has set it; nothing else of Parameter Store",
        },
      ];

/** @param name as a place prints it, such as `/brake/freehold` */
export const brakeArn = (where: Pick<Scope, 'partition' | 'region' | 'account'>, name: string): string =>
  arn(where, 'ssm', `parameter${name}`);

export class Brake {
  readonly #name: string;
  readonly #open: () => Promise<SSMClient>;
  readonly #seconds: number;
  #said: Braked | undefined;
  #version: number | undefined;
  /** In milliseconds of `performance.now`. */
  #until = 0;
  #reading: Promise<Braked> | undefined;

  /**
   * @param open the account, for this alone @throws PlaceUnavailable
   * @param seconds how old an answer may be
   */
  constructor(name: string, open: () => Promise<SSMClient>, seconds = BRAKE_SECONDS) {
    this.#name = name;
    this.#open = open;
    this.#seconds = Math.min(seconds, BRAKE_SECONDS);
  }

  /** As it is now, or was seconds ago. Whoever comes while it is read waits for that. @throws PlaceUnavailable */
  read(): Promise<Braked> {
    if (this.#said !== undefined && performance.now() < this.#until) return Promise.resolve(this.#said);
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  /** @throws Held PlaceUnavailable */
  async mayWrite(): Promise<void> {
    const said = await this.read();
    if (said.mode !== 'run') throw new Held(this.#sentence(said));
  }

  /** @throws Held PlaceUnavailable */
  async mayRead(): Promise<void> {
    const said = await this.read();
    if (said.mode === 'stopped') throw new Held(this.#sentence(said));
  }

  async #read(): Promise<Braked> {
    const began = performance.now();
    let seconds = this.#seconds;
    try {
      this.#said = await this.#ask();
    } catch (error) {
      if (error instanceof PlaceUnavailable) throw error;
      seconds = Math.min(seconds, AGAIN_SECONDS);
      // Whoever stopped everything did not mean less by it since.
      const mode = this.#said?.mode === 'stopped' ? 'stopped' : 'read-only';
      this.#said = {
        mode,
        since: null,
        by: null,
        trouble: `"${this.#name}" cannot be read: ${explain(error).message}`,
      };
      this.#version = undefined;
    }
    this.#until = began + seconds * 1000;
    return this.#said;
  }

  async #ask(): Promise<Braked> {
    const ssm = await this.#open();
    const { Parameter: found } = await ssm.send(new GetParameterCommand({ Name: this.#name }));
    if (this.#said !== undefined && found?.Version !== undefined && found.Version === this.#version) return this.#said;
    const mode = MODES.find((each) => each === found?.Value);
    const by = mode === 'run' ? null : await this.#who(ssm, found).catch(() => undefined);
    const said: Braked = {
      mode: mode ?? 'stopped', // who wrote something else did not mean less
      since: found?.LastModifiedDate ?? null,
      by: by ?? null, // it holds all the same
      trouble: mode === undefined ? `"${this.#name}" says neither ${MODES.join(', nor ')}` : null,
    };
    this.#version = by === undefined ? undefined : found?.Version; // asked for again
    return said;
  }

  /** AWS says it only in the history: at most a hundred versions, two pages. */
  async #who(ssm: SSMClient, found: Parameter | undefined): Promise<string | null> {
    let NextToken: string | undefined;
    do {
      const page = await ssm.send(new GetParameterHistoryCommand({ Name: this.#name, NextToken }));
      const version = page.Parameters?.find(({ Version }) => Version === found?.Version);
      if (version !== undefined) return version.LastModifiedUser ?? null;
      ({ NextToken } = page);
    } while (NextToken !== undefined);
    return null;
  }

  #sentence({ mode, since, by, trouble }: Braked): string {
    const said = [mode, since && `since ${since.toISOString().replace(/\.\d+Z$/, 'Z')}`, by && `by ${by}`];
    const why = trouble === null ? '' : `: ${trouble}`;
    return `${said.filter(Boolean).join(' ')}${why}: it goes on by itself once ${this.#name} says run`;
  }
}
