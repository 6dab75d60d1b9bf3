/**
 * What a rehearsal tells about its AWS calls: who made each, what allowed it, how many of what, which permissions were
 * used. Words and numbers only; the terminal and the page show them.
 */
import type { Call } from './index.ts';

/** Who makes calls. In the order in which they are shown. */
export const ACTORS = [
  'the customer',
  'CloudFormation',
  "the stack's function",
  'control plane',
  'ECS, as the execution role',
  'a task',
  'the vendor',
  'nobody',
] as const;
export type Actor = (typeof ACTORS)[number];

export interface Told extends Call {
  /** Seconds since the rehearsal began. */
  readonly time: number;
  readonly phase: string;
  readonly who: Actor;
  readonly refused: boolean;
}

export interface Phase {
  readonly name: string;
  readonly title: string;
  readonly from: number;
  to: number;
  /** What came of it, in a sentence. */
  outcome: string;
  /** Whether it went as it was meant to. */
  ok: boolean;
}

export interface Permission {
  readonly action: string;
  readonly why: string;
  used: number;
  refused: number;
  /** AWS asks for it when another action is called: it has no calls of its own. */
  readonly asked: boolean;
}

export interface Report {
  readonly pace: number;
  readonly phases: readonly Phase[];
  readonly calls: readonly Told[];
  readonly permissions: readonly Permission[];
  /** What still carries the deployment's tag and is not on its way out, and every process. */
  readonly left: readonly string[];
  /** What AWS itself keeps for a while: secrets in their recovery window, task definitions that are inactive. */
  readonly kept: readonly string[];
}

/** Accounts by what they are in this play. */
export interface Cast {
  readonly customer: string;
  readonly vendor: string;
}

export function actorOf(call: Call, { customer, vendor }: Cast): Actor {
  if (call.principal === '') return 'nobody';
  if (call.via.startsWith('cloudformation')) return 'CloudFormation';
  if (call.via.startsWith('ecs') || /-execution(\/|$)/.test(call.principal)) return 'ECS, as the execution role';
  if (/-control-plane(\/|$)/.test(call.principal)) return 'control plane';
  if (call.principal.includes(`::${vendor}:user/`)) return 'control plane';
  if (call.principal.includes(`::${vendor}:`)) return 'the vendor';
  if (/-task(\/|$)/.test(call.principal)) return 'a task';
  if (call.principal.includes(':assumed-role/') && call.principal.includes(`::${customer}:`))
    return "the stack's function";
  return 'the customer';
}

/** Whether AWS would not let the caller: other errors (what is not found, what is taken) are answers. */
export const isRefusal = (call: Call): boolean =>
  /AccessDenied|Unauthorized|NotAuthorized|SignatureDoesNotMatch|InvalidClientToken|UnrecognizedClient|Expired/.test(
    call.error,
  );

const READS = /^(Describe|List|Get|BatchGet|Simulate|Lookup|Head|AssumeRole|ValidateTemplate)/;
export const isRead = (call: Call): boolean => READS.test(call.action);

/** Asked for in the course of another call, and never called by the control plane itself. */
const ASKED_WITH_ANOTHER = /:(PassRole|\w*(?:TagResource|AddTags|CreateTags|AddTagsToResource))$/;

export function permissions(
  granted: readonly { actions: readonly string[]; why: string }[],
  calls: readonly Told[],
): Permission[] {
  const reasons = new Map<string, Set<string>>();
  for (const { actions, why } of granted)
    for (const action of actions) reasons.set(action, (reasons.get(action) ?? new Set()).add(why));
  const ours = calls.filter(({ who, principal }) => who === 'control plane' && principal.includes(':assumed-role/'));
  return [...reasons.entries()].toSorted().map(([action, why]) => {
    const mine = ours.filter((call) => `${call.service}:${call.action}` === action || call.why.includes(`${action}:`));
    return {
      action,
      why: [...why].join('; '),
      used: mine.filter((call) => !call.refused).length,
      refused: mine.filter((call) => call.refused).length,
      asked: ASKED_WITH_ANOTHER.test(action),
    };
  });
}

/** Calls of each actor by service: rows and columns that have any, the most first. */
export function tally(calls: readonly Told[]): {
  actors: Actor[];
  services: string[];
  count: (a: Actor, s: string) => number;
} {
  const counts = new Map<string, number>();
  const add = (key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1);
  for (const call of calls) for (const key of [`${call.who}\n${call.service}`, `\n${call.service}`]) add(key);
  const services = [...new Set(calls.map((call) => call.service))];
  services.sort((a, b) => counts.get(`\n${b}`)! - counts.get(`\n${a}`)! || a.localeCompare(b));
  return {
    actors: ACTORS.filter((who) => calls.some((call) => call.who === who)),
    services,
    count: (who, service) => counts.get(`${who}\n${service}`) ?? 0,
  };
}

export interface Line {
  readonly first: Told;
  /** How often the same was called, with the same end. */
  times: number;
}

/** Calls that say the same, as one line at the first of them. */
export function lines(calls: readonly Told[]): Line[] {
  const same = new Map<string, Line>();
  for (const call of calls) {
    const key = [call.who, call.service, call.action, call.resource, call.error, call.why].join('\n');
    const line = same.get(key);
    if (line) line.times++;
    else same.set(key, { first: call, times: 1 });
  }
  return [...same.values()];
}

/** An ARN without what every ARN of the account has in common. */
export const short = (text: string): string => text.replace(/arn:aws[\w-]*:[\w-]*:[\w-]*:(?:aws|\d*):/g, '');

/** What made the call, as a person would say it: a session's name, a user's. */
export const credential = (call: Call): string =>
  call.principal === ''
    ? 'credentials refused'
    : call.principal.endsWith(':root')
      ? 'root'
      : call.principal.replace(/^.*?:(assumed-role|user|role)\//, '');
