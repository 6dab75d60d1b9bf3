/**
 * What a rehearsal tells about its AWS calls: who made each, what allowed it, how many of what, which permissions were
 * used. Words and numbers only; the terminal and the page show them.
 */
import { isDeepStrictEqual } from 'node:util';
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

/** A statement of the role's policies. */
export interface Permission {
  /** As the call log names it. */
  readonly id: string;
  readonly effect: 'Allow' | 'Deny';
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly conditions: unknown;
  /** What it is for. */
  readonly why: string;
  /** How often it allowed something, or denied it. */
  used: number;
  /** Of its actions those that it allowed no call. */
  unused: readonly string[];
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

/** Why the play wants a refusal, or is not harmed by it; '' when nobody expected it. */
export function expected(call: Told): string {
  if (call.action === 'AssumeRole' && call.phase === 'verify')
    return 'AssumeRole: the control plane tries the role without its external id, and takes the place only if that is refused.';
  if (call.resource === 'CDKToolkit')
    return 'CDKToolkit: the CDK CLI looks for a bootstrap stack; none is needed, so nobody allows it.';
  return '';
}

const READS = /^(Describe|List|Get|BatchGet|Simulate|Lookup|Head|AssumeRole|ValidateTemplate)/;
export const isRead = (call: Call): boolean => READS.test(call.action);

interface Statement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Action?: string | readonly string[];
  readonly NotAction?: string | readonly string[];
  readonly Resource?: string | readonly string[];
  readonly NotResource?: string | readonly string[];
  readonly Condition?: unknown;
}

interface Granted {
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly conditions?: unknown;
  readonly why: string;
}

/** What a role's policies allow, statement by statement, with the reasons of the code that they are made from. */
export function permissions(
  policies: Readonly<Record<string, { Statement: unknown[] }>>,
  granted: readonly Granted[],
): Permission[] {
  return Object.entries(policies)
    .toSorted()
    .flatMap(([arn, document]) =>
      (document.Statement as Statement[]).map((statement, at): Permission => {
        const but = (list: string | readonly string[] = []) => [list].flat().map((each) => `all but ${each}`);
        const actions = [statement.Action ?? but(statement.NotAction)].flat();
        const resources = [statement.Resource ?? but(statement.NotResource)].flat();
        // What is allowed for a time has that condition besides the grant's own.
        const { DateLessThan: _, ...conditions } = (statement.Condition ?? {}) as Record<string, unknown>;
        // Grants under the same conditions may share a statement.
        const whys = granted
          .filter(
            (grant) =>
              isDeepStrictEqual(grant.conditions ?? {}, conditions) &&
              grant.actions.every((action) => actions.includes(action)) &&
              grant.resources.every((resource) => resources.includes(resource)),
          )
          .map(({ why }) => why);
        return {
          id: `${arn} / statement ${at + 1}`,
          effect: statement.Effect,
          actions,
          resources,
          conditions: statement.Condition ?? null,
          why: statement.Effect === 'Deny' ? 'whatever else is allowed, never' : [...new Set(whys)].join('; '),
          used: 0,
          unused: actions,
        };
      }),
    );
}

/** Counts the calls by the statements that decided on them. */
export function count(all: readonly Permission[], calls: readonly Call[]): void {
  const checks = calls.flatMap((call) => call.checks);
  for (const permission of all) {
    const decided = checks.filter(([, by]) => by === permission.id).map(([action]) => action);
    permission.used = decided.length;
    permission.unused = permission.actions.filter((action) => !decided.includes(action));
  }
}

/** A statement's short name: `2/14` is the 14th of the role's second policy. */
export const numbered = (id: string): string =>
  short(id)
    .replace(/^policy\//, '')
    .replace(/^.*-control-plane-(\d+|denials) \/ statement (\d+)$/, '$1/$2')
    .replace(' / statement ', ' #');

/** `policy / statement` as a person would say it: its short name, and what it is for. */
export function explained(why: string, all: readonly Permission[]): string {
  const parts = why.split(', ').map((id) => {
    const permission = all.find((each) => each.id === id);
    return permission?.why ? `${numbered(id)} ${permission.why}` : numbered(id);
  });
  return parts.join('; ');
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
