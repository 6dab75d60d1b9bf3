/**
 * What an AWS error means for us: whether trying again can help, and one sentence for people. Sentences are
 * deterministic (`cause: which: detail`, no request ids, no times), so that the same trouble is the same state.
 *
 * Codes: each service's API reference, "Common errors" and the errors of the operations that the kinds call.
 */

import { RateWait } from './rates.ts';

/** Only other inputs can help. */
export class Terminal extends Error {}

/** Something is there under our name without our tags. AWS may show what it has just made before it shows its tags. */
export class NotOurs extends Terminal {}

/** Somebody has to allow it, and may take their time: asked again ever more rarely. */
export class AwaitsCustomer extends Error {}

/** The account cannot be entered, so nothing is known about what is in it. It passes when somebody mends the role. */
export class PlaceUnavailable extends Error {
  readonly roleArn: string;
  constructor(message: string, roleArn: string, options?: ErrorOptions) {
    super(message, options);
    this.roleArn = roleArn;
  }
}

/** Before the call, that it will be made could not be written down: it was not made. */
export class Unrecorded extends Error {}

/** How the sentence of whatever is held begins. */
export const HELD = 'held by the customer: ';

/** The customer's brake is on. Nothing is wrong, and nothing was done: it goes on when they release it. */
export class Held extends Error {
  /** @param said what the brake says, since when, by whom */
  constructor(said: string) {
    super(`${HELD}${said}`);
  }
}

/** AWS refused what was asked for itself: asking the same again gives the same answer. */
const TERMINAL = new Set([
  'ClientException',
  'DBInstanceClassNotSupported',
  'InvalidConfigurationRequest',
  'InvalidConfigurationRequestException',
  'InvalidGroupId.Malformed',
  'InvalidInput',
  'InvalidLoadBalancerAction',
  'InvalidParameter',
  'InvalidParameterCombination',
  'InvalidParameterException',
  'InvalidParameterValue',
  'InvalidParameterValueException',
  'InvalidPermission.Malformed',
  'InvalidTarget',
  'MissingParameter',
  'ParamValidationError',
  'PlatformUnknownException',
  'StorageTypeNotSupported',
  'UnsupportedFeatureException',
  'ValidationError',
  'ValidationException',
]);

/** Said with a terminal code, although it passes or somebody else can mend it. */
const PASSES = [
  /too many concurrent attempts/i,
  /still draining/i,
  /service[- ]linked role/i,
  /unable to assume the (service linked )?role/i,
  /does not have an associated load balancer/i,
  /cannot be found|could not be found|do(es)?( not|n't|n’t) exist|not found/i,
  /cannot delete protected DB instance/i, // its protection is being taken off
  /being created|in progress|not in (an? )?available state/i,
];

const DENIED =
  /^(AccessDenied|AccessDeniedException|AuthorizationError|NotAuthorized|UnauthorizedOperation|AuthorizationException)$/;
const QUOTA = /quota|limit ?exceeded|^TooMany(?!Requests)|^(VcpuLimitExceeded|RulesPerSecurityGroupLimitExceeded)/i;
/** Some services say it in the message alone: ECS of Fargate's vCPUs, with a code of throttling. */
const QUOTA_SAID = /reached the (limit|quota) on|exceeded a service limit/i;
const THROTTLED = /throttl|TooManyRequests|RequestLimitExceeded|PriorRequestNotComplete|SlowDown/i;
const SESSION =
  /^(ExpiredToken|ExpiredTokenException|InvalidClientTokenId|UnrecognizedClientException|InvalidAccessKeyId)$/;
const NETWORK =
  /^(ECONN|ENOTFOUND|EAI_|ETIMEDOUT|EPIPE|EHOSTUNREACH|ENETUNREACH|TimeoutError|RequestTimeout|NetworkingError)/;

const calls = new WeakMap<Error, string>();
/** Remembers which call an error came from, such as `ecs:CreateService`. */
export const noteCall = (error: unknown, call: string): void => {
  if (error instanceof Error) calls.set(error, call);
};

/** AWS's code, else Node's, else the error's name. */
export function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  const { name, code } = error as { name?: unknown; code?: unknown };
  if (typeof code === 'string' && (NETWORK.test(code) || name === 'Error')) return code;
  return typeof name === 'string' ? name : '';
}

/** By AWS's code; some services spell the same one with and without `Exception` or `Fault`. */
export const hasCode = (error: unknown, ...codes: string[]): boolean => codes.includes(codeOf(error));
export const isDenied = (error: unknown): boolean => DENIED.test(codeOf(error));
/** Asked too often: the same call may succeed in a moment. */
export const isThrottled = (error: unknown): boolean => THROTTLED.test(codeOf(error));
/** AWS neither did it nor refused it, as far as we know: the answer was lost, or AWS failed. */
const isUnanswered = (error: unknown): boolean =>
  NETWORK.test(codeOf(error)) ||
  ((error as { $metadata?: { httpStatusCode?: number } } | null)?.$metadata?.httpStatusCode ?? 0) >= 500;
/** What makes the resource itself; what follows sets it up. */
const MAKES = /:(?:Create|Register|Restore)/;
/** Of a creation that ended in this: no answer came, or it was a later call of its that AWS refused. */
export function mayHaveMade(error: unknown): boolean {
  if (error instanceof Held) return true; // it was asked before the first call: this one was a later one
  const call = error instanceof Error ? calls.get(error) : undefined;
  return isUnanswered(error) || (call !== undefined && !MAKES.test(call));
}
/** The session itself is no longer accepted: another one may be. */
export const isSessionLost = (error: unknown): boolean => SESSION.test(codeOf(error));

export interface Explained {
  readonly terminal: boolean;
  readonly message: string;
  /** Nothing is wrong: its turn has not come. */
  readonly waits?: true;
  /** Nothing is wrong either, and looking for it soon is of no use. */
  readonly rarely?: true;
  /** Neither AWS nor the user said it: an error of our own. */
  readonly defect?: true;
}

export function explain(error: unknown): Explained {
  if (error instanceof Terminal) return { terminal: true, message: error.message };
  if (error instanceof PlaceUnavailable) return { terminal: false, message: error.message };
  if (error instanceof Unrecorded) return { terminal: false, message: error.message };
  if (error instanceof AwaitsCustomer) return { terminal: false, waits: true, rarely: true, message: error.message };
  if (error instanceof RateWait || error instanceof Held)
    return { terminal: false, waits: true, message: error.message };
  const text = clean(error instanceof Error ? error.message : String(error));
  const code = codeOf(error);
  const call = error instanceof Error ? calls.get(error) : undefined;
  const at = call === undefined ? '' : `: ${call}`;
  const passing = (message: string) => ({ terminal: false, message });

  if (isDenied(error)) return passing(denied(text, call));
  if (QUOTA_SAID.test(text)) return passing(`quota reached: "${code}"${at}: ${text}`);
  if (THROTTLED.test(code)) return passing(`AWS asks us to slow down${at}`);
  if (QUOTA.test(code)) return passing(`quota reached: "${code}"${at}: ${text}`);
  if (NETWORK.test(code)) return passing(`AWS cannot be reached${at}: ${code}`);
  if (SESSION.test(code)) return passing(`the session is not accepted any more: "${code}"${at}`);
  if (call === undefined) return { ...passing(text), defect: true };
  const message = `${words(code)}${at}: ${text}`;
  return { terminal: TERMINAL.has(code) && !PASSES.some((pattern) => pattern.test(text)), message };
}

/** Names the action that the role lacks; AWS says it in the message of nearly every service. */
function denied(text: string, call: string | undefined): string {
  const action = /not authorized to perform:? ([a-z0-9-]+:[A-Za-z0-9*]+)/.exec(text)?.[1] ?? call ?? 'unknown';
  const resource = /on resource:? (?:arn:)?("?)(\S+?)\1(?=[.,]? |\.?$)/.exec(text)?.[2];
  const on = resource === undefined ? '' : ` on "${resource.startsWith('aws') ? `arn:${resource}` : resource}"`;
  const deny = /with an explicit deny in (?:an? )?([a-z- ]+?policy|[a-z- ]+boundary)/i.exec(text)?.[1];
  const remedy = deny === undefined ? 'the role needs it' : `an explicit deny in the ${deny} forbids it`;
  return `missing permission: "${action}"${on}: ${remedy}`;
}

/** Request ids, encoded messages and times differ from call to call. */
const clean = (text: string): string =>
  text
    .replace(/\s*\(Service: [^)]*\)/g, '')
    .replace(/\s*Encoded authorization failure message: \S+/g, '')
    .replace(/[;,]?\s*\(?Request ?ID: ?[0-9a-zA-Z-]+\)?/gi, '')
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?/g, 'some time')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/\.$/, '');

/** `InvalidDBInstanceStateFault` → `invalid DB instance state` */
const words = (code: string): string =>
  code
    .replace(/(Exception|Fault|Error)$/, '')
    .replace(/[._]/g, ' ')
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .replace(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
    .split(' ')
    .map((word) => (/^[A-Z]+$/.test(word) ? word : word.toLowerCase()))
    .join(' ') || 'unknown error';
