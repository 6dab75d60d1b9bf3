/**
 * What stopped a task of a rollout, and whether another try can help: two tables, of what ECS says of the task and of
 * what the server's log says. Pure. docs/adr/0023 has the reasons, docs/control-plane.md the table for people.
 */
import type { Task } from '@aws-sdk/client-ecs';

/**
 * `useless`: the next try would end in the same way, so the revision fails at once. `once`: it may have been bad luck;
 * when the try that follows ends likewise, the revision fails. `ecs`: it passes, or somebody mends it; ECS goes on
 * trying, and its own breaker has the last word.
 */
export type Retry = 'useless' | 'once' | 'ecs';

export interface Cause {
  /** In words that are the same for each task that ended so. */
  readonly cause: string;
  /** Which one, and the detail. */
  readonly which: string;
  readonly next: string;
  readonly retry: Retry;
  /** Its last log lines say more. */
  readonly logs: boolean;
}

export interface Container {
  readonly name: string;
  readonly port?: number;
}

/** Of a service's rollout, what a task's end is read with. */
export interface Told {
  readonly container: Container;
  readonly healthPath?: string | undefined;
  /** The service's events since the rollout began, newest first. */
  readonly events: readonly string[];
}

interface Words {
  readonly text: string;
  readonly image: string;
}

interface Rule {
  readonly when: RegExp;
  readonly cause: string;
  readonly which: (words: Words) => string;
  readonly next: string;
  readonly retry: Retry;
}

const quoted = (text: string | undefined, otherwise = 'unknown'): string => `"${text ?? otherwise}"`;
const found = (pattern: RegExp, text: string): string | undefined => pattern.exec(text)?.[1];
/** AWS names it again, up to three times. */
const image = ({ text, image: name }: Words): string => {
  const why = detail(text).replaceAll(`failed to resolve ref ${name}: `, '').replaceAll(`${name}: `, '');
  return `${quoted(name)}: ${why}`;
};
const rest = ({ text }: Words): string => detail(text);
/** `…:secret:<name>-<six characters>`. */
const secret = ({ text }: Words): string => {
  const name = found(/:secret:([^\s:,"']+?)(?:-[A-Za-z0-9]{6})?(?=[\s:,"']|$)/, text);
  const why = /(?:from secrets manager|time\(s\)): (?!failed to fetch)(.*)$/.exec(text)?.[1] ?? detail(text);
  return name === undefined ? denial(why) : `${quoted(name)}: ${denial(why)}`;
};
/** AWS's long sentence about a permission, without the session that it names. */
const denial = (text: string): string => {
  const [, action, why] = /not authorized to perform: (\S+).*?((?:because|with) .*)$/.exec(text) ?? [];
  return action === undefined ? text : `"${action}" is denied ${why}`;
};

const SECRET = /(retrieve|fetch) secrets? |secretsmanager:|did not contain json key|KMS/;
const PULL = /CannotPullContainer|CannotPullImage|pull image|ref pull|manifest unknown|registry auth: service call/i;
const both = (...patterns: RegExp[]): RegExp =>
  new RegExp(patterns.map((pattern) => `(?=[^]*(?:${pattern.source}))`).join(''), 'i');

/** The first that fits. What forbids comes before what is forbidden. */
const RULES: readonly Rule[] = [
  {
    when: /explicit deny in an? (service|resource) control policy/i,
    cause: 'an organization policy forbids it',
    which: ({ text }) => denial(text),
    next: "ask whoever keeps the organization's policies to allow it",
    retry: 'useless',
  },
  {
    when: /too ?many ?requests|rate limit|Rate exceeded|Throttl|RequestLimitExceeded|SlowDown/i,
    cause: 'AWS or the registry asks to slow down',
    which: rest,
    next: 'nothing is to be done but to wait',
    retry: 'ecs',
  },
  {
    when: both(PULL, /\b50[0-4] [A-Z]|TLS handshake timeout|unexpected EOF|connection reset|connection refused/),
    cause: 'the registry does not answer',
    which: image,
    next: 'nothing is to be done but to wait',
    retry: 'ecs',
  },
  {
    when: /connection issue between the task|i\/o timeout|context deadline|RequestCanceled|no such host/i,
    cause: 'the task does not get out of its subnet',
    which: rest,
    next: 'look at the NAT gateway, the routes, the endpoints and the security groups',
    retry: 'once',
  },
  {
    when: /descriptor (matching|for) platform/i,
    cause: 'the image is of another platform',
    which: image,
    next: 'build it for linux/amd64',
    retry: 'useless',
  },
  {
    when: both(PULL, /403 Forbidden|AccessDenied|not authorized|access denied|no basic auth/),
    cause: 'the image cannot be pulled',
    which: image,
    next: 'push it again, and let the execution role read its repository',
    retry: 'once',
  },
  {
    // Its manifest: of a layer, AWS's storage may say so for a moment.
    when: both(
      PULL,
      /failed to resolve ref .*: not found|manifest unknown|(repository|image) .*does not exist|no such image/,
    ),
    cause: 'the image cannot be pulled',
    which: image,
    next: 'push it again, or name one that is there',
    retry: 'useless',
  },
  {
    when: PULL,
    cause: 'the image cannot be pulled',
    which: image,
    next: 'push it again, or name another one',
    retry: 'once',
  },
  {
    when: /did not contain json key|looking for beginning of value|cannot unmarshal/i,
    cause: 'a secret cannot be read',
    which: ({ text }) => {
      const key = found(/did not contain json key (\S+)/i, text);
      return key === undefined ? secret({ text, image: '' }) : `${quoted(key)}: the secret has no such key`;
    },
    next: 'give the variable a value, or name a key that the secret has',
    retry: 'useless',
  },
  {
    when: both(SECRET, /(marked|scheduled) for deletion/),
    cause: 'a secret cannot be read',
    which: secret,
    next: 'give its value again, or restore the secret',
    retry: 'useless',
  },
  {
    when: both(SECRET, /AccessDenied|not authorized/),
    cause: 'a secret cannot be read',
    which: secret,
    next: 'let the execution role read it',
    retry: 'once',
  },
  {
    when: SECRET,
    cause: 'a secret cannot be read',
    which: secret,
    next: 'give its value again',
    retry: 'once',
  },
  {
    when: /InsufficientFreeAddresses|not enough free addresses|insufficient free (IP )?addresses/i,
    cause: 'the subnet has no free address',
    which: ({ text }) => quoted(found(/(subnet-[\w-]+)/, text)),
    next: 'free addresses in it, or give the place another subnet',
    retry: 'ecs',
  },
  {
    when: /Capacity is unavailable|insufficient capacity|RESOURCE:FARGATE/i,
    cause: 'AWS has no capacity',
    which: rest,
    next: 'nothing is to be done but to wait',
    retry: 'ecs',
  },
  {
    when: /Timeout waiting for (network interface|EphemeralStorage) provisioning|InternalError|ServerException/i,
    cause: 'AWS could not place the task',
    which: rest,
    next: 'nothing is to be done but to wait',
    retry: 'ecs',
  },
  {
    when: /unable to assume the role/i,
    cause: 'the role of the tasks cannot be assumed',
    which: ({ text }) => quoted(found(/role '?"?(arn:[^\s'"]+)/, text)),
    next: 'mend its trust policy: it is part of the stack',
    retry: 'once',
  },
  {
    when: /exec format error|executable file not found|exec:? [^]*no such file or directory|no command specified/i,
    cause: 'the image cannot be run',
    which: image,
    next: 'mend its entrypoint, and build it for linux/amd64',
    retry: 'useless',
  },
  {
    when: /CannotStartContainer|CannotCreateContainer/i,
    cause: 'the container cannot be started',
    which: rest,
    next: 'look at the image and its entrypoint',
    retry: 'once',
  },
  {
    when: /ResourceInitializationError/i,
    cause: 'the task could not be set up',
    which: rest,
    next: 'look at the execution role and the log group',
    retry: 'once',
  },
];

/**
 * Why ECS stopped a task; undefined when that says nothing about the revision: scaling, maintenance, somebody's hand,
 * or ECS that went back.
 */
export function causeOf(task: Task, told: Told): Cause | undefined {
  const container = task.containers?.find((each) => each.name === told.container.name) ?? task.containers?.[0];
  const reason = tidy(container?.reason ?? '');
  const stopped = tidy(task.stoppedReason ?? '');
  // ECS says it of the task, of the container, or of both; of a pull in full only of the container.
  const text = /^(Essential container|Task failed to start)/i.test(stopped) ? reason : stopped || reason;
  if (/health check/i.test(stopped)) return unhealthy(task, stopped, told);
  if (/OutOfMemory/i.test(`${stopped} ${reason}`)) {
    return {
      cause: 'the server ran out of memory',
      which: `${quoted(container?.name)}: ${detail(reason || stopped)}`,
      next: 'give it more memory',
      retry: 'once',
      logs: true,
    };
  }
  if (task.stopCode !== 'TaskFailedToStart' && task.stopCode !== 'EssentialContainerExited') return undefined;
  const whole = `${task.stoppedReason ?? ''} ${container?.reason ?? ''}`;
  const rule = RULES.find(({ when }) => when.test(whole));
  if (rule !== undefined) {
    const words = { text: reason.length > text.length ? reason : text, image: container?.image ?? '' };
    return { cause: rule.cause, which: rule.which(words), next: rule.next, retry: rule.retry, logs: false };
  }
  const code = container?.exitCode;
  if (task.stopCode === 'EssentialContainerExited' && code !== undefined) {
    const how = `exit code ${code}${code > 128 ? ` (signal ${code - 128})` : ''}`;
    return {
      cause: 'the server crashed',
      which: `${quoted(container?.name)}: ${how}${reason === '' ? '' : `: ${reason}`}`,
      next: 'look at its log',
      // A shell's way to say that the command cannot be run, or is not there.
      retry: code === 126 || code === 127 ? 'useless' : 'once',
      logs: true,
    };
  }
  if (task.stopCode === 'EssentialContainerExited') return undefined;
  return {
    cause: 'the task could not be started',
    which: detail(text),
    next: 'look at the service in the ECS console',
    retry: 'once',
    logs: false,
  };
}

/**
 * ECS counts a check only after the grace, and stops a task that then fails it. That may be a slow start: a migration
 * that takes longer than the grace, imports on a busy host. The next task may find it done, so it is ECS's to judge,
 * but for answers that no start gives.
 */
function unhealthy(task: Task, stopped: string, { container, healthPath, events }: Told): Cause {
  const one = { cause: 'the health check failed', retry: 'ecs', logs: true } as const;
  if (/container health check/i.test(stopped)) {
    return { ...one, which: `${quoted(container.name)}: the container's own check`, next: 'look at its log' };
  }
  const id = task.taskArn?.split('/').at(-1) ?? '';
  const said = events.flatMap((event) => {
    const why = found(/is unhealthy in .*?due to \(reason:? ?(.*?)\)\.?$/i, event);
    return why === undefined ? [] : [{ event, why: why.replace(/\.$/, '') }];
  });
  // Some of AWS's events name no task. What is said of another one may be of the revision that served.
  const its = said.find(({ event }) => id !== '' && event.includes(id)) ?? said.find(({ event }) => !NAMES.test(event));
  return { ...one, ...probed(its?.why ?? stopped, container, healthPath ?? '/') };
}

const NAMES = /\((task|instance) /;
/** Where else it is, or who is asking: what a server that has started says, and goes on saying. */
const ANSWERED = (code: number): boolean => (code >= 300 && code < 400) || [401, 403, 405].includes(code);

/** What the balancer says of a target that failed its check: the answer's code, or that there was none. */
function probed(why: string, { port }: Container, path: string): Pick<Cause, 'cause' | 'which' | 'next' | 'retry'> {
  const codes = (found(/codes?: \[?([\d, ]+)/i, why)?.match(/\d{3}/g) ?? []).map(Number);
  const cause = 'the health check failed';
  if (codes.length > 0 && codes.every((code) => ANSWERED(code) || code === 404)) {
    const next = 'the server has to answer it with 200, without asking who is there';
    // What stands in front of a server may answer 404 until that one has started.
    const retry = codes.every(ANSWERED) ? 'useless' : 'once';
    return { cause, which: `${quoted(`GET ${path}`)}: ${why}`, next, retry };
  }
  if (/^Health checks failed$/i.test(why) && port !== undefined) {
    return {
      cause: UNOPENED,
      which: `${quoted(String(port))}: nothing answered "GET ${path}" there`,
      next: 'let the server listen on 0.0.0.0 and on the port that PORT says',
      retry: 'ecs',
    };
  }
  const next = /timed out/i.test(why) ? 'look at why it does not answer in time' : 'look at why it is not well';
  return { cause, which: `${quoted(`GET ${path}`)}: ${why}`, next, retry: 'ecs' };
}

const UNOPENED = 'the port is not opened';
/** As uvicorn, gunicorn, hypercorn, Flask, Node and our images say it. */
const LISTENS =
  /\b(?:running|listening|serving|started)\b.*?\b(?:on|at)\b:?\s.*?(?:(\d{1,3}(?:\.\d{1,3}){3}|localhost|\[[\da-f:]*\]|\*|::1?):|port:? )(\d{2,5})\b/i;
const LOOPBACK = /^(127\.|localhost$|\[?::1\]?$)/i;

/**
 * What a task that was stopped for its health check says of where it listens. One that listens elsewhere has not been
 * slow: when the next one does so, too, waiting does not help.
 */
export function listening(unhealthy: Cause, lines: readonly string[], port: number | undefined): Cause {
  if (unhealthy.cause !== UNOPENED || port === undefined) return unhealthy;
  const said = lines.flatMap((line) => {
    const [, host = '*', its] = LISTENS.exec(line) ?? [];
    return its === undefined ? [] : [{ at: `${host}:${its}`, isHeard: Number(its) === port && !LOOPBACK.test(host) }];
  });
  if (said.length === 0 || said.some(({ isHeard }) => isHeard)) return unhealthy;
  return { ...unhealthy, which: `${quoted(String(port))}: it listens on ${quoted(said.at(-1)!.at)}`, retry: 'once' };
}

const UNVERIFIED = /licen[cs]e verification failed/i;
const UNLICENSED =
  /licen[cs]e key (is not valid|is invalid|has expired|is expired)|no (enterprise )?licen[cs]e key or langsmith api key|invalid licen[cs]e/i;
/** The licence server was not reached, or is not well. */
const CUT_OFF = new RegExp(
  [
    'Connect(ion)?(Error|Timeout|Reset)|ReadTimeout|Protocol ?Error|timed out|ECONN',
    'Name or service not known|name resolution|getaddrinfo',
    '\\b(429|50\\d)\\b',
  ].join('|'),
  'i',
);
/** Of the end of a log: what stands earlier may have been a warning. */
const LAST_ERRORS = 5;
/** What databases say while they start, fail over or are full, or hold what another task needs: it passes. */
const PASSES = new RegExp(
  [
    'the database system is (starting up|shutting down|in recovery mode|not yet accepting connections)',
    'terminating connection due to|in a read-only transaction|READONLY You can',
    'too many (clients|connections)|connection slots are reserved|max number of clients reached',
    'LOADING Redis|MASTERDOWN|CLUSTERDOWN|TRYAGAIN',
    'deadlock detected|lock timeout|could not (obtain lock|serialize access)',
  ].join('|'),
  'i',
);
const REFUSED = new RegExp(
  [
    'connection (to server .* )?(was )?(refused|reset|timed out)',
    'Connect call failed',
    'ECONNREFUSED|ETIMEDOUT|ENOTFOUND|EAI_AGAIN',
    "could not (connect|translate host name)|couldn't get a connection|connection timeout expired|PoolTimeout",
    'Name or service not known|Temporary failure in name resolution|server closed the connection',
    'Timeout connecting to server|Error -?\\d+ connecting to',
  ].join('|'),
  'i',
);
const LOCKED_OUT =
  /password authentication failed|WRONGPASS|NOAUTH|no pg_hba\.conf entry|(database|role) "[^"]*" does not exist/i;
const REDIS = /redis|6379|WRONGPASS|NOAUTH|READONLY You|LOADING|MASTERDOWN|CLUSTERDOWN|max number of clients/i;
const POSTGRES = /psycopg|postgres|asyncpg|5432|PoolTimeout|OperationalError|pg_hba|password authentication/i;
const UNLOADABLE =
  /^(ModuleNotFoundError|ImportError|SyntaxError|IndentationError)\b|Cannot find (module|package)|ERR_MODULE_NOT_FOUND/;

/**
 * What a crash was, when its log says so.
 *
 * @param errors the sentences of the log that tell of errors, oldest first, in full
 */
export function crashOf(crash: Cause, errors: readonly string[]): Cause {
  const whole = errors.join('\n');
  const end = errors.slice(-LAST_ERRORS).join('\n');
  if (UNVERIFIED.test(end) || UNLICENSED.test(end)) {
    const isCutOff = CUT_OFF.test(whole);
    return {
      ...crash,
      cause: 'the server refuses its licence',
      which: '"LANGGRAPH_CLOUD_LICENSE_KEY", "LANGSMITH_API_KEY"',
      next: isCutOff
        ? 'let the tasks reach the licence server'
        : 'give one of them a value that the licence server accepts',
      retry: isCutOff ? 'ecs' : UNLICENSED.test(end) ? 'useless' : 'once',
    };
  }
  const last = errors.at(-1) ?? '';
  if (/exec format error/i.test(whole)) {
    return { ...crash, cause: 'the image cannot be run', next: 'build it for linux/amd64', retry: 'useless' };
  }
  const database = errors.findLast(isOfDatabase);
  if (database !== undefined) {
    const which = quoted(REDIS.test(database) ? 'Redis' : 'PostgreSQL');
    if (PASSES.test(database))
      return {
        ...crash,
        cause: 'the database is not ready',
        which,
        next: 'look at its load and its events',
        retry: 'ecs',
      };
    if (LOCKED_OUT.test(database))
      return { ...crash, cause: 'the database refuses the server', which, next: 'look at its user, password and name' };
    const next = 'look at its address and its firewall';
    return { ...crash, cause: 'the database cannot be reached', which, next, retry: 'ecs' };
  }
  if (UNLOADABLE.test(last))
    return { ...crash, next: 'mend the image: what it runs cannot be loaded', retry: 'useless' };
  return crash;
}

const isOfDatabase = (line: string): boolean =>
  PASSES.test(line) || ((REFUSED.test(line) || LOCKED_OUT.test(line)) && (REDIS.test(line) || POSTGRES.test(line)));

/** Without AWS's own class of the error in front, which says the same. */
const detail = (text: string): string =>
  text.replace(/^[A-Za-z]+(Error|Exception): ?/, '').replace(/[.,;]+$/, '') || 'AWS gives no reason';

/** Ids, attempts and times differ from task to task. */
export const tidy = (text: string): string =>
  text
    .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{20,}\b/gi, '…')
    .replace(/[;,]? ?request ?id: ?[^\s,]*/gi, '')
    .replace(/,? ?status code: \d+/gi, '')
    .replace(/\s+/g, ' ')
    .trim();

/** Pure: one sentence, `cause: which: detail; what to do next`. */
export const sentenceOf = ({ cause, which, next }: Cause, said: string): string =>
  `${cause}: ${shortened(which)}${said}; ${next}`;

const shortened = (text: string): string => (text.length <= 320 ? text : `${text.slice(0, 320).replace(/\S*$/, '')}…`);
