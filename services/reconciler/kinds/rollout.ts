/**
 * Why a rollout failed, in one sentence with the cause: from its stopped tasks, the service's events and the last
 * logs.
 */
import { GetLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeTasksCommand, ListTasksCommand, type Task } from '@aws-sdk/client-ecs';
import type { Account } from '../aws/account.ts';
import { explain, hasCode } from '../aws/errors.ts';
import { familyOf } from './task-definition.ts';

export interface Watched {
  readonly clusterArn: string;
  readonly taskDefinitionArn: string;
  readonly container: { readonly name: string; readonly logGroup: string };
  readonly healthPath?: string | undefined;
  /** The service's events, newest first. */
  readonly events: readonly string[];
}

const LINES = 3;
const LINE_LENGTH = 200;

export async function whyTasksStopped(aws: Account, service: Watched): Promise<string> {
  const stopped = await stoppedTasks(aws, service);
  const task = stopped.find((each) => tellsWhy(each)) ?? stopped[0];
  if (task === undefined)
    return `the rollout failed: ${summary(service.events) ?? 'ECS keeps no stopped task of it any more'}`;
  const cause = classify(task, service);
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
  const reason = tidy(container?.reason ?? '');
  const stopped = tidy(task.stoppedReason ?? '');
  const both = `${stopped} ${reason}`;

  if (/CannotPullContainer|CannotPullImage|pull image|manifest unknown/i.test(both)) {
    return { why: `the image cannot be pulled: "${container?.image}": ${detail(reason || stopped)}`, logs: false };
  }
  if (/ResourceInitializationError|unable to (pull|retrieve) secrets?|secretsmanager/i.test(both)) {
    const secret = /secret/i.test(both);
    return {
      why: `${secret ? 'a secret is missing' : 'the task could not be set up'}: ${detail(stopped || reason)}`,
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
    .slice(0, 400);

async function lastLines(aws: Account, service: Watched, task: Task): Promise<string[]> {
  const { name, logGroup } = service.container;
  const logStreamName = `${name}/${name}/${task.taskArn!.split('/').at(-1)}`;
  try {
    const page = await aws.logs.send(
      new GetLogEventsCommand({ logGroupName: logGroup, logStreamName, limit: LINES * 4, startFromHead: false }),
    );
    return (page.events ?? [])
      .map((event) => conceal((event.message ?? '').trim()).slice(0, LINE_LENGTH))
      .filter((line) => line !== '')
      .slice(-LINES);
  } catch (error) {
    if (hasCode(error, 'ResourceNotFoundException')) return [];
    return [`the logs cannot be read: ${explain(error).message}`];
  }
}

/** Servers print what they should not: passwords in URIs, and values of what is called a key, token or password. */
export const conceal = (line: string): string =>
  line
    .replace(/([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']*@/gi, '$1…@')
    .replace(
      /((?:api[-_]?key|token|secret|password|passwd|authorization)["']?\s*[=:]\s*["']?)(?:bearer |basic )?[^\s"',;]+/gi,
      '$1…',
    )
    .replace(/\b(sk|pk|lsv2|lcl|ghp|xox[a-z])[-_][A-Za-z0-9_-]{8,}/g, '$1_…');
