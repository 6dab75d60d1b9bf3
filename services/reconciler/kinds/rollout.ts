/**
 * Why a rollout failed, in one sentence with the cause: from its stopped tasks, the service's events and the last
 * logs.
 */
import { GetLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeTasksCommand, ListTasksCommand, type Task } from '@aws-sdk/client-ecs';
import type { Account } from '../aws/account.ts';
import { explain, hasCode } from '../aws/errors.ts';
import { familyOf, logStreamOf } from './task-definition.ts';

export interface Watched {
  readonly clusterArn: string;
  readonly taskDefinitionArn: string;
  readonly container: {
    readonly name: string;
    readonly logGroup: string;
    readonly logPrefix?: string;
    /** Its log may hold secrets that nobody here could recognise: it is not quoted. */
    readonly discreet?: boolean;
  };
  readonly healthPath?: string | undefined;
  /** The service's events, newest first. */
  readonly events: readonly string[];
}

/** Of a task's log: enough to hold a whole traceback. */
const LINES_READ = 100;
/** What is shown of it, in characters. */
const SHOWN = 240;
const LINE_LENGTH = 180;

export async function whyTasksStopped(aws: Account, service: Watched): Promise<string> {
  const stopped = await stoppedTasks(aws, service);
  const task = stopped.find((each) => tellsWhy(each)) ?? stopped[0];
  if (task === undefined)
    return `the rollout failed: ${summary(service.events) ?? 'ECS keeps no stopped task of it any more'}`;
  const cause = classify(task, service);
  if (cause.logs && service.container.discreet)
    return `${cause.why}; its log says more, and is not quoted: the values of referenced secrets may be in it`;
  const lines = cause.logs ? await lastLines(aws, service, task) : [];
  return lines.length === 0 ? cause.why : `${cause.why}; last log lines: ${lines.map((line) => `"${line}"`).join(' ')}`;
}

/** Newest first. A revision's task definition has a family of its own, so these are tasks of that rollout. */
async function stoppedTasks(aws: Account, service: Watched): Promise<Task[]> {
  const family = familyOf(service.taskDefinitionArn);
  const list = await aws.ecs.send(
    new ListTasksCommand({ cluster: service.clusterArn, family, desiredStatus: 'STOPPED', maxResults: 100 }),
  );
  if ((list.taskArns ?? []).length === 0) return [];
  const { tasks } = await aws.ecs.send(new DescribeTasksCommand({ cluster: service.clusterArn, tasks: list.taskArns }));
  return (tasks ?? [])
    .filter((task) => task.taskDefinitionArn === service.taskDefinitionArn)
    .toSorted((a, b) => time(b) - time(a));
}

const time = (task: Task): number => (task.stoppingAt ?? task.stoppedAt ?? task.createdAt)?.getTime() ?? 0;

/** Not those that ECS itself stopped only because it took the rollout back. */
const tellsWhy = (task: Task): boolean =>
  task.stopCode === 'TaskFailedToStart' ||
  /health check/i.test(task.stoppedReason ?? '') ||
  (task.stopCode === 'EssentialContainerExited' && (task.containers ?? []).some((each) => each.exitCode !== undefined));

/** Pure: what one stopped task says. `logs`: whether its last lines say more. */
export function classify(
  task: Task,
  service: Pick<Watched, 'events' | 'healthPath' | 'container'>,
): { why: string; logs: boolean } {
  const container = task.containers?.find((each) => each.name === service.container.name) ?? task.containers?.[0];
  const whole = `${task.stoppedReason} ${container?.reason}`;
  const reason = tidy(container?.reason ?? '');
  const stopped = tidy(task.stoppedReason ?? '');
  const both = `${stopped} ${reason}`;

  if (/connection issue between the task|i\/o timeout|context deadline exceeded/i.test(whole)) {
    const where = 'look at the NAT gateway, the routes, the endpoints and the security groups';
    return { why: `the task does not get out of its subnet: ${where}: ${detail(stopped || reason)}`, logs: false };
  }
  if (/CannotPullContainer|CannotPullImage|pull image|manifest unknown/i.test(both)) {
    return { why: `the image cannot be pulled: "${container?.image}": ${detail(reason || stopped)}`, logs: false };
  }
  if (/ResourceInitializationError|unable to (pull|retrieve) secrets?|secretsmanager/i.test(both)) {
    const secret = /(retrieve|fetch) secrets? |secretsmanager/i.test(both); // AWS names both whatever it was
    return {
      why: `${secret ? 'a secret cannot be read' : 'the task could not be set up'}: ${detail(stopped || reason)}`,
      logs: false,
    };
  }
  if (/OutOfMemory/i.test(both)) {
    return { why: `the server ran out of memory: "${container?.name}": ${detail(reason || stopped)}`, logs: true };
  }
  if (/container health check/i.test(stopped)) {
    return { why: `the health check failed: "${container?.name}": the container's own check`, logs: true };
  }
  if (/health check/i.test(stopped)) {
    const said = unhealthy(service.events) ?? stopped;
    return { why: `the health check failed: "GET ${service.healthPath ?? '/'}": ${said}`, logs: true };
  }
  if (task.stopCode === 'EssentialContainerExited' || container?.exitCode !== undefined) {
    const code = container?.exitCode;
    const how = code === undefined ? stopped : `exit code ${code}${code > 128 ? ` (signal ${code - 128})` : ''}`;
    return { why: `the server crashed: "${container?.name}": ${how}${reason === '' ? '' : `: ${reason}`}`, logs: true };
  }
  if (task.stopCode === 'TaskFailedToStart') return { why: `the task could not be started: ${stopped}`, logs: false };
  return { why: `the rollout failed: ${stopped || summary(service.events) || 'ECS gives no reason'}`, logs: false };
}

/** What the balancer said when it found a target unhealthy: `Health checks failed with these codes: [503]`. */
const unhealthy = (events: readonly string[]): string | undefined =>
  events
    .map((event) => /is unhealthy in .*?due to \(reason:? ?(.*?)\)\.?$/i.exec(event)?.[1])
    .find((found) => found !== undefined)
    ?.replace(/\.$/, '');

const summary = (events: readonly string[]): string | undefined => {
  const said = events.find((event) => /fail|unable|error/i.test(event));
  return said === undefined ? undefined : tidy(said.replace(/^\(service [^)]*\) ?/, ''));
};

/** Without AWS's own class of the error in front, which says the same. */
const detail = (text: string): string => text.replace(/^[A-Za-z]+(Error|Exception): ?/, '') || 'AWS gives no reason';

/** Ids, attempts and times differ from task to task. */
const tidy = (text: string): string =>
  text
    .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{20,}\b/gi, '…')
    .replace(/[;,]? ?request ?id: ?\S+/gi, '')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 280);

async function lastLines(aws: Account, service: Watched, task: Task): Promise<string[]> {
  const { logGroup } = service.container;
  const logStreamName = logStreamOf(service.container, task.taskArn!.split('/').at(-1)!);
  try {
    const page = await aws.logs.send(
      new GetLogEventsCommand({ logGroupName: logGroup, logStreamName, limit: LINES_READ, startFromHead: false }),
    );
    return lastWords((page.events ?? []).map((event) => event.message ?? ''));
  } catch (error) {
    if (hasCode(error, 'ResourceNotFoundException')) return [];
    return [`the logs cannot be read: ${explain(error).message}`];
  }
}

interface Said {
  readonly text: string;
  readonly isError: boolean;
}

/**
 * Pure: the end of a log, oldest line first, in a few words: errors if there are any, and of each the sentence alone.
 * Servers write JSON lines (`LOG_JSON`), and tracebacks when they cannot even do that.
 */
export function lastWords(lines: readonly string[]): string[] {
  const said = sentences(lines);
  const errors = said.filter((each) => each.isError);
  const shown: string[] = [];
  let left = SHOWN;
  for (const { text } of (errors.length > 0 ? errors : said).toReversed()) {
    const line = cut(conceal(text.replace(/\s+/g, ' ').trim()));
    if (line === '' || shown.includes(line)) continue;
    left -= line.length;
    if (left < 0) break;
    shown.unshift(line);
  }
  return shown;
}

function sentences(lines: readonly string[]): Said[] {
  const said: Said[] = [];
  /** The last line of the traceback that is being read: its exception stands last, and is not indented. */
  let traceback: string | undefined;
  for (const line of lines.flatMap((each) => each.split('\n')).map((each) => each.trimEnd())) {
    const isIndented = /^\s/.test(line);
    if (/^\s*[+|]?\s*(Exception Group )?Traceback \(most recent call last\)|^\s+File ".*", line \d+/.test(line)) {
      traceback = '';
    } else if (traceback === undefined) {
      // The rest of a stack: it says nothing without its first line.
      if (!isIndented) said.push(sentence(line));
    } else if (isIndented || line === '') {
      traceback = line.replace(/^[\s|+-]+/, '') || traceback;
    } else {
      said.push({ text: line, isError: true });
      traceback = undefined;
    }
  }
  if (traceback) said.push({ text: traceback, isError: true });
  return said;
}

function sentence(line: string): Said {
  const json = objectIn(line);
  if (json === undefined)
    return { text: line, isError: /^[\w.]*(Error|Exception)\b|\b(error|fatal|panic)\b/i.test(line) };
  const level = json['level'] ?? json['severity'] ?? json['levelname'];
  const text = lastOf(json['exception']) ?? json['event'] ?? json['message'] ?? json['msg'];
  return {
    text: typeof text === 'string' ? text : '',
    isError: typeof level === 'string' && /^(error|critical|fatal|exception)$/i.test(level),
  };
}

/** Of a traceback as one text, its exception. */
const lastOf = (traceback: unknown): string | undefined =>
  typeof traceback === 'string' ? sentences([traceback]).at(-1)?.text : undefined;

function objectIn(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** Whole words: half of a secret is not recognised any more by whoever conceals it later. */
const cut = (line: string): string =>
  line.length <= LINE_LENGTH ? line : `${line.slice(0, LINE_LENGTH).replace(/\S*$/, '')}…`;

const SECRET_NAME =
  '(?:api|access|private|secret|signing|encryption)[-_]?key|token(?!iz)|secret(?!smanager)|password|passwd|passphrase|' +
  'credential|authorization|cookie';

const CONCEALED: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----.*/g, '…'],
  // In URIs. To the last @, for passwords may hold one, and slashes too.
  [/([a-z][a-z0-9+.-]*:\/\/)[^\s"'`]*@/gi, '$1…@'],
  // `NAME=value`, `name: value`, `"name": "value"`, where the name has such a word in it.
  [
    new RegExp(
      `(?<![\\w-])([\\w-]*(?:${SECRET_NAME})[\\w-]*\\\\?["']?\\s*[=:]\\s*)` +
        `(?:(\\\\?["'])(?:(?!\\2).)*(\\2)?|(?:(?:bearer|basic)\\s+)?[^\\s"']+)`,
      'gi',
    ),
    '$1$2…$3',
  ],
  [/\b(bearer\s+)[\w.~+/=-]{16,}/gi, '$1…'],
  [/\b(eyJ)[\w-]{8,}[\w.-]*/g, '$1…'], // a JSON web token
  [/\b(AKIA|ASIA)[A-Z0-9]{12,}/g, '$1…'],
  [/\b(sk|pk|lsv2|lcl|gh[opsu]|github_pat|glpat|xox[a-z])[-_][A-Za-z0-9_-]{8,}/g, '$1_…'],
  [/[A-Za-z0-9+/]{60,}={0,2}/g, '…'], // a line of a key
];

/** Servers print what they should not: passwords in URIs, and values of what is called a key, token or password. */
export const conceal = (line: string): string =>
  CONCEALED.reduce((left, [pattern, instead]) => left.replace(pattern, instead), line.slice(0, 4000));
