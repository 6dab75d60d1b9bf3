/** CloudWatch log groups, and the last lines that tasks left in them. */
import {
  CreateLogGroupCommand,
  DeleteLogGroupCommand,
  DescribeLogGroupsCommand,
  GetLogEventsCommand,
  ListTagsForResourceCommand,
  PutRetentionPolicyCommand,
} from '@aws-sdk/client-cloudwatch-logs';
import { Refused, Table } from './operation.ts';
import type { Thing, World } from './world.ts';

interface Group {
  readonly name: string;
  readonly thing: Thing;
  retentionDays: number | undefined;
  /** Lines by stream. */
  readonly streams: Map<string, string[]>;
}

const TYPE = 'logs:log-group';
const PAGE = 50;
/** https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html */
const DAYS = new Set([
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
]);

export class Logs {
  readonly table = new Table();
  readonly #world: World;
  readonly #groups = new Map<string, Group>();

  constructor(world: World) {
    this.#world = world;
    this.table
      .read(DescribeLogGroupsCommand, 'logGroupNamePrefix nextToken logGroupIdentifiers', (input) => {
        const { logGroupNamePrefix = '', nextToken, logGroupIdentifiers } = input;
        // A whole name is what is asked for most: there is no need to look through all of them.
        const exact = this.#groups.get(logGroupNamePrefix);
        const all = exact === undefined ? [...this.#groups.values()] : [exact];
        const found = logGroupIdentifiers
          ? logGroupIdentifiers.map((name) => this.#groups.get(name)).filter((group) => group !== undefined)
          : all.filter(({ name }) => name.startsWith(logGroupNamePrefix));
        const from = Number(nextToken ?? 0);
        const next = from + PAGE;
        const logGroups = found.slice(from, next).map(({ name, retentionDays, thing }) => ({
          logGroupName: name,
          retentionInDays: retentionDays,
          arn: `${thing.arn}:*`,
          logGroupArn: thing.arn,
          creationTime: thing.since,
        }));
        return { logGroups, ...(next < found.length && { nextToken: String(next) }) };
      })
      .read(ListTagsForResourceCommand, 'resourceArn', ({ resourceArn }) => ({
        tags: { ...this.#byArn(resourceArn!).thing.tags },
      }))
      .read(GetLogEventsCommand, 'logStreamName logGroupName limit startFromHead', (input) => {
        const lines = this.#find(input.logGroupName!).streams.get(input.logStreamName!);
        if (lines === undefined)
          throw new Refused('ResourceNotFoundException', 'The specified log stream does not exist.');
        return { events: lines.map((message) => ({ message, timestamp: world.now() })) };
      })
      .write(CreateLogGroupCommand, 'logGroupName tags', ({ logGroupName, tags }) => {
        const name = logGroupName!;
        if (this.#groups.has(name))
          throw new Refused('ResourceAlreadyExistsException', 'The specified log group already exists');
        const thing = world.made(TYPE, world.arn('logs', `log-group:${name}`), name, tags ?? {});
        this.#groups.set(name, { name, thing, retentionDays: undefined, streams: new Map() });
        return {};
      })
      .write(PutRetentionPolicyCommand, 'logGroupName retentionInDays', ({ logGroupName, retentionInDays }) => {
        const group = this.#find(logGroupName!);
        if (!DAYS.has(retentionInDays!))
          throw new Refused('InvalidParameterException', `1 validation error detected: Value '${retentionInDays}'`);
        group.retentionDays = retentionInDays;
        world.note('changed', group.thing);
        return {};
      })
      .write(DeleteLogGroupCommand, 'logGroupName', ({ logGroupName }) => {
        this.#remove(this.#find(logGroupName!));
        return {};
      });
  }

  /** What a task wrote; false when there is no such group. */
  write(group: string, stream: string, lines: readonly string[]): boolean {
    const found = this.#groups.get(group);
    if (found === undefined) return false;
    const there = found.streams.get(stream);
    if (there === undefined) found.streams.set(stream, [...lines]);
    else there.push(...lines);
    return true;
  }

  exists(group: string): boolean {
    return this.#groups.has(group);
  }

  // By hand

  tamperings(): string[] {
    return ['keep logs for ever'];
  }

  tamper(arn: string, _change: string): void {
    const group = this.#byArn(arn);
    group.retentionDays = undefined;
    this.#world.note('changed', group.thing);
  }

  delete(arn: string): void {
    this.#remove(this.#byArn(arn));
  }

  // Within

  #byArn(arn: string): Group {
    return this.#find(arn.split(':').slice(6).join(':'));
  }

  #find(name: string): Group {
    const group = this.#groups.get(name);
    if (group === undefined) throw new Refused('ResourceNotFoundException', 'The specified log group does not exist.');
    return group;
  }

  #remove({ name, thing }: Group): void {
    this.#groups.delete(name);
    this.#world.gone(thing);
  }
}
