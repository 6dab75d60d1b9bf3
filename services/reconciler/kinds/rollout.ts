/**
 * What goes wrong in a rollout: its stopped tasks, its service's events, the balancer's checks and the last logs, read
 * with as few calls as tell it. verdict.ts says what they mean.
 */
import { GetLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeTasksCommand, ListTasksCommand, type Task } from '@aws-sdk/client-ecs';
import { DescribeTargetHealthCommand } from '@aws-sdk/client-elastic-load-balancing-v2';
import type { Account } from '../aws/account.ts';
import { explain, hasCode, isDenied } from '../aws/errors.ts';
import { familyOf, logStreamOf } from './task-definition.ts';
import { causeOf, crashOf, listening, sentenceOf, tidy, type Cause, type Container, type Told } from './verdict.ts';

export interface Watched extends Told {
  readonly clusterArn: string;
  readonly taskDefinitionArn: string;
  /** ECS's id of the rollout, which its tasks carry; unknown once ECS has gone back. */
  readonly id?: string | undefined;
  readonly container: Container & {
    readonly logGroup: string;
    readonly logPrefix?: string;
    /** Its log may hold secrets that nobody here could recognise: it is not quoted. */
    readonly discreet?: boolean;
  };
}

/** Of a task's log: enough to hold a whole traceback. */
const LINES_READ = 100;
/** What is shown of it, in characters. */
const SHOWN = 240;
const LINE_LENGTH = 180;

interface Failed {
  readonly task: Task;
  readonly cause: Cause;
}

/** What went wrong in a rollout that ECS is still at. */
export interface Failure {
  readonly why: string;
  /** No retry can help, or the one that could has ended in the same way. */
  readonly isCertain: boolean;
}

/**
 * The first cause that no retry can help, else the latest. One that may have been bad luck becomes certain when a task
 * that was started after the first one's end has ended likewise. None is certain while a task of the rollout runs for
 * longer than that one did: not all of them end so.
 */
export async function firstFailure(aws: Account, service: Watched): Promise<Failure | undefined> {
  const failed = await failedTasks(aws, service);
  const told = failed.find(({ cause }) => cause.retry === 'useless') ?? failed[0];
  if (told === undefined) return undefined;
  const { cause, why } = await explained(aws, service, told);
  const mayBe =
    cause.retry === 'useless' || (cause.retry === 'once' && (await isAgain(aws, service, failed, told, cause)));
  return { why, isCertain: mayBe && !(await holdsOut(aws, service, told.task)) };
}

/** Whether a task ended for the same cause before this one was started, by what their logs say, too. */
async function isAgain(
  aws: Account,
  service: Watched,
  failed: readonly Failed[],
  { task, cause: asECSSays }: Failed,
  cause: Cause,
): Promise<boolean> {
  const before = failed.find(
    (other) =>
      other.cause.cause === asECSSays.cause &&
      exitOf(other.task, service) === exitOf(task, service) &&
      ended(other.task) <= created(task),
  );
  return before !== undefined && (await explained(aws, service, before)).cause.cause === cause.cause;
}

/** Of a task that ended by itself. */
const exitOf = ({ stopCode, containers }: Task, { container }: Watched): number | undefined =>
  stopCode === 'EssentialContainerExited'
    ? containers?.find(({ name }) => name === container.name)?.exitCode
    : undefined;

/** Of a rollout that ECS has given up. */
export async function whyTasksStopped(aws: Account, service: Watched): Promise<string> {
  const failed = await failedTasks(aws, service);
  const told = failed.find(({ cause }) => cause.retry === 'useless') ?? failed[0];
  if (told !== undefined) return (await explained(aws, service, told)).why;
  return `the rollout failed: ${summary(service.events) ?? 'ECS keeps no stopped task of it any more'}`;
}

/** Newest first, without those whose end says nothing about the revision. */
async function failedTasks(aws: Account, service: Watched): Promise<Failed[]> {
  const tasks = await tasksOf(aws, service, 'STOPPED');
  return tasks
    .toSorted((a, b) => ended(b) - ended(a))
    .flatMap((task) => {
      const cause = causeOf(task, service);
      return cause === undefined ? [] : [{ task, cause }];
    });
}

/** A revision's task definition has a family of its own, so these are tasks of that revision. */
async function tasksOf(aws: Account, service: Watched, desiredStatus: 'RUNNING' | 'STOPPED'): Promise<Task[]> {
  const { clusterArn: cluster, taskDefinitionArn, id } = service;
  const family = familyOf(taskDefinitionArn);
  const list = await aws.ecs.send(new ListTasksCommand({ cluster, family, desiredStatus, maxResults: 100 }));
  if ((list.taskArns ?? []).length === 0) return [];
  const { tasks = [] } = await aws.ecs.send(new DescribeTasksCommand({ cluster, tasks: list.taskArns }));
  return tasks.filter(
    (task) => task.taskDefinitionArn === taskDefinitionArn && (id === undefined || task.startedBy === id),
  );
}

const created = (task: Task): number => task.createdAt?.getTime() ?? 0;
const ended = (task: Task): number => (task.stoppingAt ?? task.stoppedAt ?? task.createdAt)?.getTime() ?? 0;

/** Whether a task of the rollout has run for longer than this one did, and still does. */
async function holdsOut(aws: Account, service: Watched, task: Task): Promise<boolean> {
  const lived = task.startedAt === undefined ? 0 : ended(task) - task.startedAt.getTime();
  const running = await tasksOf(aws, service, 'RUNNING');
  return running.some(
    ({ lastStatus, startedAt }) => lastStatus === 'RUNNING' && ended(task) - (startedAt?.getTime() ?? Infinity) > lived,
  );
}

/** What the balancer says of a target that it finds unhealthy, while ECS still waits for it; '' for none. */
export async function unhealthyTarget(aws: Account, TargetGroupArn: string): Promise<string> {
  try {
    const { TargetHealthDescriptions } = await aws.elb.send(new DescribeTargetHealthCommand({ TargetGroupArn }));
    const sick = TargetHealthDescriptions?.find(({ TargetHealth }) => TargetHealth?.State === 'unhealthy');
    return sick?.TargetHealth?.Description ?? '';
  } catch (error) {
    // A stack that is older than this does not allow it; the rollout goes on all the same.
    if (isDenied(error) || hasCode(error, 'TargetGroupNotFound', 'TargetGroupNotFoundException')) return '';
    throw error;
  }
}

async function explained(
  aws: Account,
  service: Watched,
  { task, cause }: Failed,
): Promise<{ cause: Cause; why: string }> {
  if (!cause.logs) return { cause, why: sentenceOf(cause, '') };
  const lines = await logOf(aws, service, task);
  if (typeof lines === 'string') return { cause, why: sentenceOf(cause, `; the logs cannot be read: ${lines}`) };
  const refined =
    cause.cause === 'the server crashed'
      ? crashOf(cause, errorsIn(lines))
      : listening(cause, lines, service.container.port);
  if (service.container.discreet) {
    const more = '; its log says more, and is not quoted: the values of referenced secrets may be in it';
    return { cause: refined, why: sentenceOf(refined, lines.length > 0 ? more : '') };
  }
  const words = lastWords(lines).map((line) => `"${line}"`);
  return { cause: refined, why: sentenceOf(refined, words.length > 0 ? `; last log lines: ${words.join(' ')}` : '') };
}

const summary = (events: readonly string[]): string | undefined => {
  const said = events.find((event) => /fail|unable|error/i.test(event));
  return said === undefined ? undefined : tidy(said.replace(/^\(service [^)]*\) ?/, ''));
};

/** Oldest first; a text: why it cannot be read. */
async function logOf(aws: Account, service: Watched, task: Task): Promise<string[] | string> {
  const { logGroup } = service.container;
  const logStreamName = logStreamOf(service.container, task.taskArn!.split('/').at(-1)!);
  try {
    const page = await aws.logs.send(
      new GetLogEventsCommand({ logGroupName: logGroup, logStreamName, limit: LINES_READ, startFromHead: false }),
    );
    return (page.events ?? []).map((event) => event.message ?? '');
  } catch (error) {
    if (hasCode(error, 'ResourceNotFoundException')) return [];
    return explain(error).message;
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

/** Pure: what a log says of errors, oldest first; of one that names none, all that it says. */
export function errorsIn(lines: readonly string[]): string[] {
  const said = sentences(lines).filter(({ text }) => text !== '');
  const errors = said.filter(({ isError }) => isError);
  return (errors.length > 0 ? errors : said).map(({ text }) => text);
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
