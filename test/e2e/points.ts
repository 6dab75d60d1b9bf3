/**
 * Crash points: the control plane, a real process on a real PostgreSQL, is killed just before or just after one certain
 * AWS call of creating, rolling, failing to roll and deleting a deployment, is started again, and must come to the same
 * end as if nothing had been, with nothing made twice and nothing left. `npm run crash` does this at every call, the
 * tests at a few.
 *
 * A call that only reads is one point: before its answer and after it the account is the same, and so is the process,
 * which waits.
 */
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Call, Rehearsal } from '../../services/rehearsal/index.ts';
import { ApiError, type ControlPlane } from '../../services/rehearsal/scene.ts';
import { queryEmbedded } from '../support/database.ts';
import { eventually } from '../support/eventually.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import { publishedStack } from '../support/stack.ts';
import { differences, isProvisional, linesOf, stateOf, type State } from '../support/state.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

export const FLOWS = ['create', 'roll', 'failed-roll', 'delete'] as const;
export type Flow = (typeof FLOWS)[number];

export interface Point {
  readonly flow: Flow;
  readonly service: string;
  readonly action: string;
  /** Which of the flow's calls of this action, from 1. */
  readonly nth: number;
  readonly when: 'before' | 'after';
}

export const nameOf = ({ flow, service, action, nth, when }: Point): string =>
  `${flow} ${service}:${action}#${nth} ${when}`;

/** Of what `nameOf` says. @throws Error when it is none */
export function pointOf(name: string): Point {
  const [, flow, service, action, nth, when] = /^(\S+) ([a-z0-9-]+):(\w+)#(\d+) (before|after)$/.exec(name) ?? [];
  if (!FLOWS.includes(flow as Flow)) throw new Error(`not a crash point: "${name}"`);
  return { flow: flow as Flow, service: service!, action: action!, nth: Number(nth), when: when as Point['when'] };
}

export interface Outcome {
  readonly point: Point;
  readonly seconds: number;
  /** `missed`: the flow ended without so many of these calls, which may be when they ask until something is done. */
  readonly end: 'converged' | 'missed' | 'failed';
  /** Of a failure: what was wrong, and where the control plane's log is. */
  readonly why: string;
}

/** What happens when nothing crashes. */
export interface Survey {
  /** How many calls each flow made. */
  readonly calls: Readonly<Record<Flow, number>>;
  readonly points: readonly Point[];
  /** What the account holds in the end. */
  readonly usual: {
    readonly create: readonly string[];
    readonly roll: Readonly<Record<'first' | 'second', readonly string[]>>;
  };
}

/** The longest that one flow may take, with its crash. */
const LIMIT_SECONDS = 120;
/** A deployment's secret takes twenty versions in ten minutes, so one deployment is not rolled more often than this. */
const ROLLS = 12;
const NAME = 'agent';
const LOGS = join(import.meta.dirname, '..', '..', '.cache', 'crash');

const isRead = ({ action }: { action: string }): boolean => /^(Describe|List|Get|BatchGet|AssumeRole)/.test(action);
/** Variables are the revision's own; the rest of what a deployment has must not notice a roll. */
const isEnvironment = (text: string): boolean => /^secret .*\/environment:/.test(text);

interface Standing {
  readonly id: string;
  serving: string;
  image: 'first' | 'second';
  rolls: number;
}

/** A control plane with its own store, its own emulated AWS and one customer: as many as processors permit at once. */
export class Lane {
  readonly #rehearsal: Rehearsal;
  readonly #account: string;
  readonly #images: Readonly<Record<'first' | 'second' | 'bad', string>>;
  #api: ControlPlane;
  /** A deployment to be rolled. */
  #standing: Standing | undefined;
  /** A request was made again, so the one that died may have left something that waits to be swept. */
  #hasDraft = false;

  private constructor(
    rehearsal: Rehearsal,
    account: string,
    images: Readonly<Record<'first' | 'second' | 'bad', string>>,
    api: ControlPlane,
  ) {
    this.#rehearsal = rehearsal;
    this.#account = account;
    this.#images = images;
    this.#api = api;
  }

  static async open(account: string): Promise<Lane> {
    const env = { FREEHOLD_POLL_SECONDS: '0.2' };
    const on = await stage.open('crash', [account], env, publishedStack, openQuickRehearsal);
    const images = {
      first: await on.push(account, '1'),
      second: await on.push(account, '2'),
      bad: await on.push(account, '3', 'stub', { CRASH: 'start' }),
    };
    return new Lane(on.rehearsal, account, images, on.api);
  }

  async close(): Promise<void> {
    await this.#api.stop().catch(() => {});
    await this.#rehearsal.stop();
  }

  /** Each flow once, without a crash. */
  async survey(): Promise<Survey> {
    const points: Point[] = [];
    const calls = { create: 0, roll: 0, 'failed-roll': 0, delete: 0 };
    const listed = async (flow: Flow, act: () => Promise<void>): Promise<void> => {
      await this.#restart(); // with no session of a customer's role, as after any crash
      const from = await this.#position();
      await act();
      const made = await this.#callsSince(from);
      calls[flow] = made.length;
      const seen = new Map<string, number>();
      for (const call of made) {
        const { service, action } = call;
        const nth = (seen.get(`${service}:${action}`) ?? 0) + 1;
        seen.set(`${service}:${action}`, nth);
        points.push({ flow, service, action, nth, when: 'before' });
        if (!isRead(call)) points.push({ flow, service, action, nth, when: 'after' });
      }
    };
    await listed('create', () => this.#create());
    const create = linesOf(await this.#state());
    const rolled = async (): Promise<string[]> => linesOf(await this.#state()).filter((line) => !isEnvironment(line));
    await listed('roll', () => this.#roll());
    const second = await rolled();
    await this.#roll(); // and back: each roll of a deployment goes to the other one
    const roll = { second, first: await rolled() };
    await listed('failed-roll', () => this.#failToRoll());
    await listed('delete', () => this.#delete());
    return { calls, points, usual: { create, roll } };
  }

  /**
   * Crashes at these points: one, or one of a create and one of a delete, which share a deployment.
   *
   * @param usual what the account holds in the end when nothing crashes; without it, that is not compared
   * @returns of each what came of it; a lane in which one failed is of no use any more
   */
  async run(points: readonly Point[], usual: Partial<Survey['usual']> = {}): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    const at = (flow: Flow): Point | undefined => points.find((point) => point.flow === flow);
    const crash = async (point: Point, act: () => Promise<void>): Promise<void> => {
      const started = performance.now();
      const from = await this.#position();
      const seconds = (): number => (performance.now() - started) / 1000;
      try {
        const reached = await this.#killAt(point, act);
        this.#requireOnce(await this.#callsSince(from), point);
        outcomes.push({ point, seconds: seconds(), end: reached ? 'converged' : 'missed', why: '' });
      } catch (error) {
        const log = this.#keepLog(point);
        const recent = (await this.#callsSince(from)).slice(-15).map(shown).join('\n    ');
        const why = `${(error as Error).message}\n    ${recent}\n    log: ${log}`;
        outcomes.push({ point, seconds: seconds(), end: 'failed', why });
      }
    };
    const failed = (): boolean => outcomes.some(({ end }) => end === 'failed');

    const [create, remove, roll, failing] = [at('create'), at('delete'), at('roll'), at('failed-roll')];
    if (create) {
      if (this.#standing) await this.#delete();
      await crash(create, () => this.#create(usual.create));
    }
    if (roll && !failed()) {
      await this.#stand();
      await crash(roll, () => this.#roll(usual.roll));
    }
    if (failing && !failed()) {
      await this.#stand();
      await crash(failing, () => this.#failToRoll());
    }
    if (remove && !failed()) {
      await this.#stand();
      await crash(remove, () => this.#delete());
    }
    return outcomes;
  }

  /** @returns whether the flow came to this point */
  async #killAt({ service, action, nth, when }: Point, act: () => Promise<void>): Promise<boolean> {
    // Its session would be kept from the flow before.
    if (action === 'AssumeRole') await this.#restart();
    const whose = action === 'AssumeRole' ? { resource: `::${this.#account}:` } : { account: this.#account };
    const hold = await this.#rehearsal.hold({
      ...whose,
      service,
      action,
      nth,
      times: 1,
      after: when === 'after',
    });
    let ended = false;
    const acting = act().finally(() => (ended = true));
    acting.catch(() => {}); // told below
    const held = hold.reached(LIMIT_SECONDS).catch(() => undefined);
    const call = await Promise.race([held, acting.then(() => undefined)]);
    if (call === undefined) {
      await hold.release();
      await acting;
      return false;
    }
    if (ended) throw new Error(`the flow ended with ${shown(call)} unanswered`);
    await this.#restart();
    await hold.release();
    await acting;
    return true;
  }

  async #restart(): Promise<void> {
    await this.#api.stop('SIGKILL');
    this.#api = await this.#api.restart();
  }

  async #create(usual?: readonly string[]): Promise<void> {
    const made = await this.#insist(async (api, isAgain) => {
      if (isAgain) {
        const { resources } = await api.call('GET', `/v2/deployments?name=${NAME}`);
        if (resources.length > 0) return resources[0];
        this.#hasDraft = true;
      }
      const secrets = [{ name: 'TOKEN', value: 'first' }];
      return stage.createDeployment(api, { name: NAME, image: this.#images.first, secrets });
    });
    this.#standing = { id: made.id, serving: made.latest_revision_id, image: 'first', rolls: 0 };
    await this.#ends(made.latest_revision_id, 'DEPLOYED');
    await this.#settles(made.latest_revision_id);
    await this.#looksLike(usual);
  }

  /** Another image, another value of its variable, more room to scale. */
  async #roll(usual?: Survey['usual']['roll']): Promise<void> {
    const standing = this.#standing!;
    const before = await this.#state();
    standing.image = standing.image === 'first' ? 'second' : 'first';
    standing.rolls += 1;
    const revision = await this.#revise({
      source_revision_config: { image_uri: this.#images[standing.image] },
      secrets: [{ name: 'TOKEN', value: `roll ${standing.rolls}` }],
      source_config: { resource_spec: { max_scale: standing.image === 'first' ? 2 : 3 } },
    });
    await this.#ends(revision, 'DEPLOYED');
    standing.serving = revision;
    await this.#settles(revision);
    await this.#looksLike(usual?.[standing.image], (line) => !isEnvironment(line));
    // The data, and what leads to it, are what they were.
    const after = await this.#state();
    const kept = (state: State): State =>
      Object.fromEntries(
        Object.entries(state).filter(([name]) => /^(database|security group|secret .*\/(database|redis))/.test(name)),
      );
    requireNone('changed by a roll', differences(kept(before), kept(after)).map(shownChange));
  }

  /** A server that crashes: the account is in the end as it was, field by field. */
  async #failToRoll(): Promise<void> {
    const standing = this.#standing!;
    const before = await this.#state();
    const revision = await this.#revise({ source_revision_config: { image_uri: this.#images.bad } });
    await this.#ends(revision, 'DEPLOY_FAILED');
    await this.#settles(standing.serving);
    await eventually(
      'the account is as before the rollout',
      async () => {
        const changed = differences(before, await this.#state()).map(shownChange);
        requireNone('changed by a rollout that failed', changed);
        return true;
      },
      { seconds: 20, every: 300 },
    );
  }

  async #delete(): Promise<void> {
    const { id } = this.#standing!;
    const isGone = (error: unknown): boolean => error instanceof ApiError && error.status === 404;
    await this.#insist((api) =>
      api.call('DELETE', `/v2/deployments/${id}`).catch((error: unknown) => {
        if (!isGone(error)) throw error;
      }),
    );
    await this.#insist((api) => stage.gone(api, id, LIMIT_SECONDS));
    this.#standing = undefined;
    const receipt = await this.#insist((api) => api.call('GET', `/v2/deployments/${id}/receipt`));
    if (receipt.gone_at === null) throw new Error('gone, and its receipt does not say so');
    if (this.#hasDraft) {
      // What a request that died has left is swept after a quarter of an hour.
      const store = join(dirname(this.#api.log), 'store');
      await queryEmbedded(
        store,
        "update deployments set created_at = created_at - interval '1 hour' where accepted_at is null",
      );
      await this.#restart();
      this.#hasDraft = false;
    }
    await eventually(
      'nothing is left',
      async () => {
        const left = await stateOf({ rehearsal: this.#rehearsal, account: this.#account });
        requireNone('left after the delete', Object.keys(left));
        return true;
      },
      { seconds: 30, every: 300 },
    );
  }

  /** A deployment that can be rolled. */
  async #stand(): Promise<void> {
    if (this.#standing && this.#standing.rolls >= ROLLS) await this.#delete();
    if (!this.#standing) await this.#create();
  }

  async #revise(body: Json): Promise<string> {
    const path = `/v2/deployments/${this.#standing!.id}`;
    const before = (await this.#api.call('GET', path)).latest_revision_id;
    const revision: string = await this.#insist(async (api, isAgain) => {
      if (isAgain) {
        const { latest_revision_id: now } = await api.call('GET', path);
        if (now !== before) return now;
      }
      return (await api.call('PATCH', path, body)).latest_revision_id;
    });
    return revision;
  }

  /** The revision comes to this end. */
  async #ends(revision: string, wanted: string): Promise<void> {
    const { id } = this.#standing!;
    const ended = await this.#insist((api) => stage.ended(api, id, revision, LIMIT_SECONDS));
    if (ended.status !== wanted) throw new Error(`${ended.status} instead of ${wanted}: ${ended.status_message}`);
  }

  /** Nothing is under way any more, and this revision serves. */
  async #settles(serving: string): Promise<void> {
    const { id } = this.#standing!;
    await eventually(
      'everything is settled',
      async () => {
        const { resources } = await this.#api.call('GET', `/v2/deployments/${id}/timeline`);
        const open = resources
          .filter((one: Json) => one.state !== 'ready')
          .map((one: Json) => `${one.id}: ${one.message}`);
        requireNone('not ready', open);
        const { status, active_revision_id: active } = await this.#api.call('GET', `/v2/deployments/${id}`);
        if (status !== 'READY' || active !== serving) throw new Error(`${status}, ${active} instead of ${serving}`);
        if (isProvisional(await this.#state())) throw new Error('what serves is still provisional');
        return true;
      },
      { seconds: 60, every: 200 },
    );
  }

  async #looksLike(usual: readonly string[] | undefined, which: (line: string) => boolean = () => true): Promise<void> {
    let last = '';
    await eventually(
      'the account holds what it usually does',
      async () => {
        const lines = linesOf(withoutFormerPassword(await this.#state())).filter(which);
        const settled = lines.join('\n') === last;
        last = lines.join('\n');
        if (usual === undefined) return settled; // there is nothing yet that it could look like
        const [more, fewer] = [minus(lines, usual), minus(usual, lines)];
        requireNone('not as usual', [...more.map((line) => `+ ${line}`), ...fewer.map((line) => `- ${line}`)]);
        return true;
      },
      { seconds: 20, every: 300 },
    );
  }

  #state(): Promise<State> {
    return stateOf({ rehearsal: this.#rehearsal, account: this.#account, deploymentId: this.#standing!.id });
  }

  /** As a client does: asks again when whoever it asked has died. */
  async #insist<T>(act: (api: ControlPlane, isAgain: boolean) => Promise<T>): Promise<T> {
    const deadline = Date.now() + LIMIT_SECONDS * 1000;
    for (let isAgain = false; ; isAgain = true) {
      const api = this.#api;
      try {
        return await act(api, isAgain);
      } catch (error) {
        const died = api !== this.#api || api.child.killed || api.child.exitCode !== null;
        if (!died || error instanceof ApiError || Date.now() > deadline) throw error;
      }
      await sleep(100);
    }
  }

  async #position(): Promise<number> {
    return (await this.#rehearsal.calls()).at(-1)?.n ?? 0;
  }

  /** The control plane's in this account. */
  async #callsSince(from: number): Promise<Call[]> {
    const calls = await this.#rehearsal.calls(from);
    return calls.filter(
      ({ via, principal, account, action, resource }) =>
        via === '' &&
        ((account === this.#account && principal.includes('control-plane')) ||
          (action === 'AssumeRole' && resource.includes(`::${this.#account}:`))),
    );
  }

  #requireOnce(calls: readonly Call[], point: Point): void {
    const made = calls
      .filter(({ action, service }) => /^(Create|Register)/.test(action) && service !== 'sts')
      .filter(({ action }) => action !== 'RegisterScalableTarget') // says what it wants, as often as it likes
      .filter(({ error }) => error === '' || (error === 'held' && point.when === 'after'))
      .map(({ service, action, resource }) => `${service}:${action} ${resource}`);
    requireNone(
      'made twice',
      made.filter((name, at) => made.indexOf(name) !== at),
    );
  }

  #keepLog(point: Point): string {
    mkdirSync(LOGS, { recursive: true });
    const kept = join(LOGS, `${nameOf(point).replaceAll(/[^\w.-]+/g, '-')}.log`);
    copyFileSync(this.#api.log, kept);
    return kept;
  }
}

/**
 * Between a password's secret and its tag a crash means another password (ARCHITECTURE.md): AWS keeps the one before
 * it, which opens nothing any more, as AWSPREVIOUS.
 */
function withoutFormerPassword(state: State): State {
  const isFormer = ({ stages }: { stages: readonly string[] }): boolean => stages.join() === 'AWSPREVIOUS';
  return Object.fromEntries(
    Object.entries(state).map(([name, settings]) => {
      if (!/^secret .*\/database$/.test(name)) return [name, settings];
      const { versions, ...rest } = settings as { versions: Record<string, { stages: readonly string[] }> };
      const kept = Object.fromEntries(Object.entries(versions).filter(([, version]) => !isFormer(version)));
      return [name, { ...rest, versions: kept }];
    }),
  );
}

function requireNone(what: string, found: readonly string[]): void {
  if (found.length > 0) throw new Error(`${what}: ${found.slice(0, 8).join('; ')}${found.length > 8 ? '; …' : ''}`);
}

/** As many of each as the other does not have. */
function minus(lines: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const line of others) left.set(line, (left.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

const shownChange = ({ field, from, to }: { field: string; from: unknown; to: unknown }): string =>
  `${field}: ${JSON.stringify(from)} → ${JSON.stringify(to)}`;
const shown = ({ service, action, resource, error }: Call): string =>
  `${service}:${action} ${resource}${error === '' ? '' : ` (${error})`}`;
