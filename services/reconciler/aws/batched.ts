/**
 * A view of an account whose reads of one thing each become reads of many. Whoever asks waits until everybody who looks
 * through this view waits for AWS: what they ask for by then is asked for in as few calls as AWS has for it. So it
 * takes no timers, and the batches are as full as they can be.
 *
 * The kinds stay as they are, and so does the truth: what the answer to many does not name is asked for alone, in the
 * words that the kind used, so that "there is none" is always AWS's own answer to just that question.
 *
 * For who only wants to know where to look more closely: lists and task definitions may be a minute old, tags come from
 * AWS's index of them, which lags, of a secret's versions only those with a label are seen, and target groups'
 * attributes are those of when CloudTrail last told of a change, which it does minutes later.
 */
import * as scaling from '@aws-sdk/client-application-auto-scaling';
import * as logs from '@aws-sdk/client-cloudwatch-logs';
import * as cloudtrail from '@aws-sdk/client-cloudtrail';
import * as ec2 from '@aws-sdk/client-ec2';
import * as ecr from '@aws-sdk/client-ecr';
import * as ecs from '@aws-sdk/client-ecs';
import * as elb from '@aws-sdk/client-elastic-load-balancing-v2';
import * as rds from '@aws-sdk/client-rds';
import * as tagging from '@aws-sdk/client-resource-groups-tagging-api';
import * as secrets from '@aws-sdk/client-secrets-manager';
import * as discovery from '@aws-sdk/client-servicediscovery';
import type { Account } from './account.ts';
import { isDenied, isThrottled } from './errors.ts';

export interface BatchedOptions {
  /** Which account, region and role; what is remembered of it is not another's. */
  readonly where: string;
  /** What outlives the view. */
  readonly memory: BatchMemory;
  readonly now: () => number;
}

/** Lists of whole accounts, for a minute; task definitions, which never change; and what AWS tells the changes of. */
export class BatchMemory {
  readonly lists = new Map<string, { readonly at: number; readonly answer: Promise<unknown> }>();
  readonly definitions = new Map<string, { at: number; readonly answer: object }>();
  /** Of target groups, by ARN. */
  readonly attributes = new Map<string, Attributes>();
  /** Descriptions of secrets, for as long as the view that asked for them is in use. */
  readonly described = new WeakMap<object, Map<string, secrets.DescribeSecretCommandOutput>>();
  /** Calls that a role may not make for many things, and when that was seen: for a while each is asked for alone. */
  readonly denied = new Map<string, number>();
}

interface Attributes {
  readonly answer: elb.DescribeTargetGroupAttributesCommandOutput;
  /** When AWS was asked, and until when it need not be asked again. */
  readonly askedAt: number;
  readonly until: number;
  /** When the event history told of no change since. */
  checkedAt: number;
}

/** Calls at once: what has to wait for AWS's rate waits its turn here, and not so long that it is given up. */
const AT_ONCE = 20;
const LIST_SECONDS = 60;
const DENIED_SECONDS = 3600;
/** Of each: about 100 MB, for 25,000 deployments of two definitions each; what has no room is asked for each time. */
const KEPT = 50_000;
const DEFINITION_SECONDS = 3600;

/** How one operation's questions are put together. `At` is what has to be equal for all of one call. */
interface Batch<In, Out> {
  /** Undefined: this question is asked as it is. */
  key(input: In): { readonly at?: unknown; readonly key: string } | undefined;
  /** The most that AWS takes in one call. */
  readonly limit: number;
  /** The answers that one alone would have had, by key, of those that AWS names. */
  ask(aws: Account, keys: readonly string[], input: In, o: BatchedOptions): Promise<Map<string, Out>>;
}

type Sent<In, Out> = abstract new (input: In) => {
  readonly input: In;
  resolveMiddleware(...args: never[]): unknown;
} & {
  readonly '~out'?: Out;
};

// eslint-disable-next-line @typescript-eslint/no-explicit-any
const table = new Map<unknown, Batch<any, any>>();
/** @param command its class; the types of its input and answer are those of `how` */
function many<In, Out>(command: Sent<In, unknown>, how: Batch<In, Partial<Out>>, _answer?: Out): void {
  table.set(command, how);
}

const only = <T>(list: readonly T[] | undefined): T | undefined => (list?.length === 1 ? list[0] : undefined);
const keyed = (key: string | undefined, at?: unknown) => (key === undefined ? undefined : { key, at });

// "You may specify up to 10 services to describe in a single operation."
many<ecs.DescribeServicesCommandInput, ecs.DescribeServicesCommandOutput>(ecs.DescribeServicesCommand, {
  key: ({ cluster, include, services }) => keyed(only(services), { cluster, include }),
  limit: 10,
  async ask(aws, services, { cluster, include }) {
    const answer = await aws.ecs.send(new ecs.DescribeServicesCommand({ cluster, include, services: [...services] }));
    return new Map((answer.services ?? []).map((found) => [found.serviceName!, { services: [found], failures: [] }]));
  },
});

// There is no call for many, but one that lists the newest of each family, a hundred a page; what one holds is fixed.
many<ecs.DescribeTaskDefinitionCommandInput, ecs.DescribeTaskDefinitionCommandOutput>(
  ecs.DescribeTaskDefinitionCommand,
  {
    key: ({ taskDefinition, include }) => (taskDefinition?.includes(':') ? undefined : keyed(taskDefinition, include)),
    limit: Infinity,
    async ask(aws, families, { include }, o) {
      const newest = await list(o, 'newest task definitions', () => newestDefinitions(aws, families.length));
      const found = families.map(async (family) => {
        const arn = newest?.get(family);
        if (arn === undefined) return [];
        const known = o.memory.definitions.get(arn);
        if (known !== undefined) {
          known.at = o.now();
          return [[family, known.answer] as const];
        }
        const answer = await aws.ecs.send(new ecs.DescribeTaskDefinitionCommand({ taskDefinition: arn, include }));
        keep(o.memory.definitions, arn, { at: o.now(), answer }, ({ at }) => o.now() - at > DEFINITION_SECONDS * 1000);
        return [[family, answer] as const];
      });
      return new Map((await Promise.all(found)).flat());
    },
  },
);

function keep<T>(all: Map<string, T>, key: string, one: T, isOld: (other: T) => boolean): void {
  if (all.size >= KEPT && !all.has(key)) for (const [other, it] of all) if (isOld(it)) all.delete(other);
  if (all.size < KEPT || all.has(key)) all.set(key, one);
}

/** By family; undefined when the account has so many that asking for each of ours is less. */
async function newestDefinitions(aws: Account, families: number): Promise<Map<string, string> | undefined> {
  const newest = new Map<string, { arn: string; version: number }>();
  let nextToken: string | undefined;
  for (let pages = 1; ; pages += 1) {
    const page = await aws.ecs.send(
      new ecs.ListTaskDefinitionsCommand({ status: 'ACTIVE', maxResults: 100, nextToken }),
    );
    for (const arn of page.taskDefinitionArns ?? []) {
      const [, family, digits] = /task-definition\/(.+):(\d+)$/.exec(arn)!;
      const version = Number(digits);
      if (version > (newest.get(family!)?.version ?? 0)) newest.set(family!, { arn, version });
    }
    nextToken = page.nextToken;
    if (nextToken === undefined) return new Map([...newest].map(([family, { arn }]) => [family, arn]));
    if (pages >= families) return undefined;
  }
}

// "MaxRecords: minimum 20, maximum 100"
many<rds.DescribeDBInstancesCommandInput, rds.DescribeDBInstancesCommandOutput>(rds.DescribeDBInstancesCommand, {
  key: ({ DBInstanceIdentifier, Filters }) => (Filters === undefined ? keyed(DBInstanceIdentifier) : undefined),
  limit: 100,
  async ask(aws, identifiers) {
    const Filters = [{ Name: 'db-instance-id', Values: [...identifiers] }];
    const answer = await aws.rds.send(new rds.DescribeDBInstancesCommand({ Filters, MaxRecords: 100 }));
    return new Map((answer.DBInstances ?? []).map((found) => [found.DBInstanceIdentifier!, { DBInstances: [found] }]));
  },
});

// "The maximum number of filter values specified on a single call is 200."
many<ec2.DescribeSecurityGroupsCommandInput, ec2.DescribeSecurityGroupsCommandOutput>(
  ec2.DescribeSecurityGroupsCommand,
  {
    key({ Filters, NextToken }) {
      const [name, ...others] = Filters ?? [];
      if (NextToken !== undefined || name?.Name !== 'group-name' || others.some((one) => one.Values?.length !== 1))
        return undefined;
      return keyed(only(name.Values), others);
    },
    // With the other filters' one value.
    limit: 199,
    async ask(aws, names, { Filters }) {
      const asked = [{ Name: 'group-name', Values: [...names] }, ...(Filters ?? []).slice(1)];
      const found = new Map<string, { SecurityGroups: ec2.SecurityGroup[] }>();
      let NextToken: string | undefined;
      do {
        const page = await aws.ec2.send(
          new ec2.DescribeSecurityGroupsCommand({ Filters: asked, MaxResults: 1000, NextToken }),
        );
        for (const group of page.SecurityGroups ?? []) found.set(group.GroupName!, { SecurityGroups: [group] });
        NextToken = page.NextToken;
      } while (NextToken !== undefined);
      return found;
    },
  },
);

// One name that is not there fails the whole call: then it is asked for in halves.
many<elb.DescribeTargetGroupsCommandInput, elb.DescribeTargetGroupsCommandOutput>(elb.DescribeTargetGroupsCommand, {
  key: ({ Names }) => keyed(only(Names)),
  limit: 20,
  async ask(aws, Names) {
    const answer = await aws.elb.send(new elb.DescribeTargetGroupsCommand({ Names: [...Names] }));
    return new Map((answer.TargetGroups ?? []).map((found) => [found.TargetGroupName!, { TargetGroups: [found] }]));
  },
});

// AWS has no call for many. What it said holds until the account's event history, one call for all, tells of a change.
many<elb.DescribeTargetGroupAttributesCommandInput, elb.DescribeTargetGroupAttributesCommandOutput>(
  elb.DescribeTargetGroupAttributesCommand,
  {
    key: ({ TargetGroupArn }) => keyed(TargetGroupArn),
    limit: Infinity,
    async ask(aws, arns, _, o) {
      const { attributes } = o.memory;
      const mayKnow = arns.some((arn) => attributes.has(arn));
      const changed = mayKnow ? await list(o, 'changed attributes', () => changedAttributes(aws, o)) : undefined;
      const found = arns.map(async (TargetGroupArn) => {
        const [known, askedAt] = [attributes.get(TargetGroupArn), o.now()];
        if (known !== undefined && changed !== undefined && isAsItWas(known, changed.get(TargetGroupArn), askedAt)) {
          known.checkedAt = askedAt;
          return [[TargetGroupArn, known.answer] as const];
        }
        try {
          const answer = await aws.elb.send(new elb.DescribeTargetGroupAttributesCommand({ TargetGroupArn }));
          const until = askedAt + DAY_SECONDS * 1000 * (0.5 + 0.5 * Math.random());
          const one = { answer, askedAt, until, checkedAt: askedAt };
          keep(attributes, TargetGroupArn, one, ({ checkedAt }) => hasGap(checkedAt, askedAt));
          return [[TargetGroupArn, answer] as const];
        } catch {
          return []; // asked for alone, it gets its own error
        }
      });
      return new Map((await Promise.all(found)).flat());
    },
  },
);

/** CloudTrail has most calls after five minutes, and promises nothing: what it never told of is seen within a day. */
const DAY_SECONDS = 86_400;
const HISTORY_SECONDS = 3600;
const HISTORY_PAGES = 5;
/** The history's times are whole seconds, and what was read then may have been of before. */
const MARGIN_SECONDS = 60;

/** So that a call that the history has half an hour late is still in the hour that is asked for. */
const hasGap = (checkedAt: number, now: number): boolean => now - checkedAt > (HISTORY_SECONDS / 2) * 1000;
const isAsItWas = (known: Attributes, changedAt: number | undefined, now: number): boolean =>
  now < known.until &&
  !hasGap(known.checkedAt, now) &&
  (changedAt === undefined || changedAt < known.askedAt - MARGIN_SECONDS * 1000);

/** When each was changed last, by ARN; undefined: the history does not tell, or has more than is worth reading. */
async function changedAttributes(aws: Account, { now }: BatchedOptions): Promise<Map<string, number> | undefined> {
  const changed = new Map<string, number>();
  const until = now();
  const time = { StartTime: new Date(until - HISTORY_SECONDS * 1000), EndTime: new Date(until) };
  const LookupAttributes = [{ AttributeKey: 'EventName' as const, AttributeValue: 'ModifyTargetGroupAttributes' }];
  let NextToken: string | undefined;
  try {
    for (let pages = 0; pages < HISTORY_PAGES; pages += 1) {
      const page: cloudtrail.LookupEventsCommandOutput = await aws.trail.send(
        new cloudtrail.LookupEventsCommand({ LookupAttributes, ...time, MaxResults: 50, NextToken }),
      );
      for (const { EventTime, CloudTrailEvent } of page.Events ?? []) {
        const record = JSON.parse(CloudTrailEvent ?? '{}') as {
          requestParameters?: { targetGroupArn?: string } | null;
        };
        const arn = record.requestParameters?.targetGroupArn;
        if (arn === undefined || EventTime === undefined) return undefined;
        changed.set(arn, Math.max(EventTime.getTime(), changed.get(arn) ?? 0));
      }
      NextToken = page.NextToken;
      if (NextToken === undefined) return changed;
    }
    return undefined;
  } catch (error) {
    if (isDenied(error)) throw error; // then it is not asked again for a while
    return undefined;
  }
}

many<elb.DescribeRulesCommandInput, elb.DescribeRulesCommandOutput>(elb.DescribeRulesCommand, {
  key: ({ ListenerArn, Marker }) => (Marker === undefined ? keyed(ListenerArn) : undefined),
  limit: 1,
  async ask(aws, [ListenerArn], _, o) {
    const Rules = await list(o, `rules ${ListenerArn}`, async () => {
      const rules: elb.Rule[] = [];
      let Marker: string | undefined;
      do {
        const page = await aws.elb.send(new elb.DescribeRulesCommand({ ListenerArn, PageSize: 400, Marker }));
        rules.push(...(page.Rules ?? []));
        Marker = page.NextMarker;
      } while (Marker !== undefined);
      return rules;
    });
    return new Map([[ListenerArn!, { Rules }]]);
  },
});

many<scaling.DescribeScalableTargetsCommandInput, scaling.DescribeScalableTargetsCommandOutput>(
  scaling.DescribeScalableTargetsCommand,
  {
    key: ({ ResourceIds, ServiceNamespace, ScalableDimension }) =>
      keyed(only(ResourceIds), { ServiceNamespace, ScalableDimension }),
    limit: 50,
    async ask(aws, ResourceIds, { ServiceNamespace, ScalableDimension }) {
      const answer = await aws.scaling.send(
        new scaling.DescribeScalableTargetsCommand({
          ServiceNamespace,
          ScalableDimension,
          ResourceIds: [...ResourceIds],
        }),
      );
      return new Map((answer.ScalableTargets ?? []).map((found) => [found.ResourceId!, { ScalableTargets: [found] }]));
    },
  },
);

// "Array Members: Minimum number of 1 item. Maximum number of 50 items."
many<logs.DescribeLogGroupsCommandInput, logs.DescribeLogGroupsCommandOutput>(logs.DescribeLogGroupsCommand, {
  key: ({ logGroupNamePrefix, nextToken }) => (nextToken === undefined ? keyed(logGroupNamePrefix) : undefined),
  limit: 50,
  async ask(aws, names) {
    const answer = await aws.logs.send(new logs.DescribeLogGroupsCommand({ logGroupIdentifiers: [...names] }));
    return new Map((answer.logGroups ?? []).map((found) => [found.logGroupName!, { logGroups: [found] }]));
  },
});

many<discovery.ListServicesCommandInput, discovery.ListServicesCommandOutput>(discovery.ListServicesCommand, {
  key: ({ Filters, NextToken }) => (NextToken === undefined ? keyed(JSON.stringify(Filters)) : undefined),
  limit: 1,
  async ask(aws, [key], { Filters }, o) {
    const Services = await list(o, `names ${key}`, async () => {
      const services: discovery.ServiceSummary[] = [];
      let NextToken: string | undefined;
      do {
        const page = await aws.discovery.send(
          new discovery.ListServicesCommand({ Filters, MaxResults: 100, NextToken }),
        );
        for (const { Id, Arn, Name, Description } of page.Services ?? [])
          services.push({ Id, Arn, Name, ...(Description && { Description }) });
        NextToken = page.NextToken;
      } while (NextToken !== undefined);
      return services;
    });
    return new Map([[key!, { Services }]]);
  },
});

// "100 repositories"
many<ecr.DescribeRepositoriesCommandInput, ecr.DescribeRepositoriesCommandOutput>(ecr.DescribeRepositoriesCommand, {
  key: ({ repositoryNames }) => keyed(only(repositoryNames)),
  limit: 100,
  async ask(aws, repositoryNames) {
    const answer = await aws.ecr.send(new ecr.DescribeRepositoriesCommand({ repositoryNames: [...repositoryNames] }));
    return new Map((answer.repositories ?? []).map((found) => [found.repositoryName!, { repositories: [found] }]));
  },
});

/** A filter takes ten values, each of which is the beginning of a name: a deployment's secrets stand in one folder. */
const FOLDERS = 10;
many<secrets.DescribeSecretCommandInput, secrets.DescribeSecretCommandOutput>(secrets.DescribeSecretCommand, {
  key: ({ SecretId }) => (SecretId?.startsWith('arn:') ? undefined : keyed(SecretId)),
  limit: Infinity,
  async ask(aws, names, _, o) {
    const folders = [...new Set(names.map((name) => name.slice(0, name.lastIndexOf('/') + 1) || name))];
    const found = (await Promise.all(chunks(folders, FOLDERS).map((Values) => listSecrets(aws, Values)))).flat();
    const described = o.memory.described.get(o) ?? new Map<string, secrets.DescribeSecretCommandOutput>();
    for (const { SecretVersionsToStages: VersionIdsToStages, ...it } of found)
      described.set(it.Name!, { ...it, VersionIdsToStages, $metadata: {} });
    o.memory.described.set(o, described);
    return described;
  },
});

async function listSecrets(aws: Account, Values: string[]): Promise<secrets.SecretListEntry[]> {
  const found: secrets.SecretListEntry[] = [];
  let NextToken: string | undefined;
  do {
    const page = await aws.secrets.send(
      new secrets.ListSecretsCommand({ Filters: [{ Key: 'name', Values }], MaxResults: 100, NextToken }),
    );
    found.push(...(page.SecretList ?? []));
    NextToken = page.NextToken;
  } while (NextToken !== undefined);
  return found;
}

/** As the description of a secret shows them. */
many<secrets.ListSecretVersionIdsCommandInput, secrets.ListSecretVersionIdsCommandOutput>(
  secrets.ListSecretVersionIdsCommand,
  {
    key: ({ SecretId, NextToken }) => (NextToken === undefined ? keyed(SecretId) : undefined),
    limit: Infinity,
    async ask(aws, names, _, o) {
      const described = table.get(secrets.DescribeSecretCommand)!;
      type Described = Map<string, Pick<secrets.DescribeSecretCommandOutput, 'VersionIdsToStages'>>;
      const unknown = names.filter((name) => !o.memory.described.get(o)?.has(name));
      if (unknown.length > 0) await described.ask(aws, unknown, {}, o);
      const all: Described = o.memory.described.get(o) ?? new Map();
      const found = [...all].filter(([name]) => names.includes(name));
      return new Map(
        found.map(([name, { VersionIdsToStages }]) => [
          name,
          {
            Versions: Object.entries(VersionIdsToStages ?? {}).map(([VersionId, VersionStages]) => ({
              VersionId,
              VersionStages,
            })),
          },
        ]),
      );
    },
  },
);

// "ResourceARNList: Maximum number of 100 items."
const TAGS = 100;
const tagsOf = async (aws: Account, ResourceARNList: readonly string[]): Promise<[string, tagging.Tag[]][]> => {
  const answer = await aws.tagging.send(new tagging.GetResourcesCommand({ ResourceARNList: [...ResourceARNList] }));
  // The index lags: what has no tags in it may have some.
  const known = (answer.ResourceTagMappingList ?? []).filter(({ Tags }) => Tags !== undefined && Tags.length > 0);
  return known.map(({ ResourceARN, Tags }) => [ResourceARN!, Tags!]);
};
const asRecord = (tags: tagging.Tag[]): Record<string, string> =>
  Object.fromEntries(tags.map(({ Key, Value }) => [Key!, Value!]));

many<elb.DescribeTagsCommandInput, elb.DescribeTagsCommandOutput>(elb.DescribeTagsCommand, {
  key: ({ ResourceArns }) => keyed(only(ResourceArns)),
  limit: TAGS,
  ask: async (aws, arns) =>
    new Map(
      (await tagsOf(aws, arns)).map(([ResourceArn, Tags]) => [
        ResourceArn,
        { TagDescriptions: [{ ResourceArn, Tags }] },
      ]),
    ),
});
many<logs.ListTagsForResourceCommandInput, logs.ListTagsForResourceCommandOutput>(logs.ListTagsForResourceCommand, {
  key: ({ resourceArn }) => keyed(resourceArn),
  limit: TAGS,
  ask: async (aws, arns) => new Map((await tagsOf(aws, arns)).map(([arn, tags]) => [arn, { tags: asRecord(tags) }])),
});
many<discovery.ListTagsForResourceCommandInput, discovery.ListTagsForResourceCommandOutput>(
  discovery.ListTagsForResourceCommand,
  {
    key: ({ ResourceARN }) => keyed(ResourceARN),
    limit: TAGS,
    ask: async (aws, arns) => new Map((await tagsOf(aws, arns)).map(([arn, tags]) => [arn, { Tags: tags }])),
  },
);
many<scaling.ListTagsForResourceCommandInput, scaling.ListTagsForResourceCommandOutput>(
  scaling.ListTagsForResourceCommand,
  {
    key: ({ ResourceARN }) => keyed(ResourceARN),
    limit: TAGS,
    ask: async (aws, arns) => new Map((await tagsOf(aws, arns)).map(([arn, tags]) => [arn, { Tags: asRecord(tags) }])),
  },
);
many<ecr.ListTagsForResourceCommandInput, ecr.ListTagsForResourceCommandOutput>(ecr.ListTagsForResourceCommand, {
  key: ({ resourceArn }) => keyed(resourceArn),
  limit: TAGS,
  ask: async (aws, arns) => new Map((await tagsOf(aws, arns)).map(([arn, tags]) => [arn, { tags }])),
});

/** Asks once a minute, however many want to know. */
async function list<T>(
  { where, memory: { lists }, now }: BatchedOptions,
  what: string,
  ask: () => Promise<T>,
): Promise<T> {
  const name = `${where} ${what}`;
  const known = lists.get(name);
  if (known !== undefined && now() - known.at < LIST_SECONDS * 1000) return known.answer as Promise<T>;
  for (const [other, { at }] of lists) if (now() - at >= LIST_SECONDS * 1000) lists.delete(other);
  const answer = ask();
  lists.set(name, { at: now(), answer });
  answer.catch(() => lists.delete(name));
  return answer;
}

const chunks = <T>(all: readonly T[], size: number): T[][] => {
  if (size >= all.length) return [[...all]];
  return Array.from({ length: Math.ceil(all.length / size) }, (_, at) => all.slice(at * size, (at + 1) * size));
};

interface Waiting {
  readonly key: string;
  readonly input: unknown;
  readonly alone: () => Promise<unknown>;
  readonly answer: (answer: unknown) => void;
}

export function batched(account: Account, given: BatchedOptions): Account {
  const options = { ...given };
  const turn = turns(AT_ONCE);
  const aws = through(account, (client, command) => turn(() => client.send(command)));
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  const queues = new Map<string, { name: string; batch: Batch<any, any>; waiting: Waiting[] }>();
  /** What was asked for through this view is asked for once. */
  const known = new Map<string, Promise<unknown>>();
  let busy = 0;
  let isDue = false;

  const call = async (ask: () => Promise<unknown>): Promise<unknown> => {
    busy += 1;
    try {
      return await ask();
    } finally {
      busy -= 1;
      whenAllWait();
    }
  };

  /** Whoever an answer woke has asked for the next thing by then, or is done. */
  function whenAllWait(): void {
    if (isDue || busy > 0 || queues.size === 0) return;
    isDue = true;
    setImmediate(() => {
      isDue = false;
      if (busy > 0) return;
      const due = [...queues.values()];
      queues.clear();
      for (const { name, batch, waiting } of due)
        for (const some of chunks(waiting, batch.limit)) void call(() => ask(name, batch, some));
    });
  }

  /** Never fails: each of them gets an answer, or an error, of its own. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  async function ask(name: string, batch: Batch<any, any>, some: readonly Waiting[]): Promise<void> {
    const alone = (each: readonly Waiting[]): void => each.forEach((one) => one.answer(call(one.alone)));
    const right = `${options.where} ${name}`;
    const deniedAt = options.memory.denied.get(right);
    if (deniedAt !== undefined && options.now() - deniedAt < DENIED_SECONDS * 1000) return alone(some);
    try {
      const found = await batch.ask(
        aws,
        some.map(({ key }) => key),
        some[0]!.input,
        options,
      );
      alone(some.filter(({ key }) => !found.has(key)));
      for (const one of some) if (found.has(one.key)) one.answer(found.get(one.key));
    } catch (error) {
      if (isDenied(error)) options.memory.denied.set(right, options.now());
      if (some.length === 1 || isDenied(error)) return alone(some);
      if (isThrottled(error)) return some.forEach((one) => one.answer(call(() => Promise.reject(asError(error)))));
      // One of them may be what it failed for.
      for (const half of chunks(some, Math.ceil(some.length / 2))) await ask(name, batch, half);
    }
  }

  return through(aws, (client, command, service) => {
    const batch = table.get(command.constructor);
    const { input } = command;
    const asked = batch?.key(input);
    const alone = (): Promise<unknown> => client.send(command);
    if (batch === undefined || asked === undefined) return call(alone);
    // Several services have calls of one name.
    const operation = `${service} ${command.constructor.name}`;
    const name = `${operation} ${JSON.stringify(asked.at) ?? ''}`;
    const id = `${name} ${asked.key}`;
    const before = known.get(id);
    if (before !== undefined) return before;
    const answer = new Promise<unknown>((resolve) => {
      const queue = queues.get(name) ?? { name: operation, batch, waiting: [] };
      queues.set(name, queue);
      queue.waiting.push({ key: asked.key, input, alone, answer: resolve });
    });
    known.set(id, answer);
    whenAllWait();
    return answer;
  });
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

interface Client {
  send(command: Command): Promise<unknown>;
}
interface Command {
  readonly input?: unknown;
}

/** The same account, each of whose calls is made by `send`. Clients are made when first used, as the account's are. */
function through(
  account: Account,
  send: (client: Client, command: Command, service: string) => Promise<unknown>,
): Account {
  const views = new Map<string, object>();
  return new Proxy(account, {
    get(_, name: keyof Account) {
      if (name === 'id' || name === 'region') return account[name];
      const client = account[name] as unknown as Client;
      if (!views.has(name))
        views.set(
          name,
          Object.assign(Object.create(client) as object, { send: (command: Command) => send(client, command, name) }),
        );
      return views.get(name);
    },
  });
}

/** So many at once, first come, first served. */
function turns(count: number): <T>(act: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let free = count;
  return async (act) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await act();
    } finally {
      const next = waiting.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}
