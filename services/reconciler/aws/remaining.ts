/**
 * What is left in the account: of a deployment after its delete, which is over when nothing is found but what is kept
 * on purpose; and of a whole place when its customer leaves.
 */
import { DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeServicesCommand, DescribeTaskDefinitionCommand, DescribeTasksCommand } from '@aws-sdk/client-ecs';
import { GetResourcesCommand } from '@aws-sdk/client-resource-groups-tagging-api';
import type { Account } from './account.ts';
import { balancerOf } from './original.ts';
import { TAG } from './tags.ts';
import type { PlaceOutputs } from '../place.ts';
import { describeFinalSnapshot } from '../kinds/rds-postgres.ts';
import { describe as describeSecret } from '../kinds/secrets.ts';
import { archivesIn } from '../kinds/uploads.ts';

/** What stays on purpose. Stored with receipts. */
export interface Kept {
  readonly what: string;
  readonly arn: string;
  /** When AWS removes it by itself; null: not before somebody does. */
  readonly until: string | null;
  readonly sizeGb: number | null;
  /** How to be rid of it sooner; null: there is no need, or no way. */
  readonly remove: string | null;
}

export interface Remaining {
  /** ARNs of what should be gone. */
  readonly left: readonly string[];
  readonly kept: readonly Kept[];
  /** What else a reader should know, a sentence each. */
  readonly notes: readonly string[];
  /** How it was looked for: each call, and how often. */
  readonly calls: readonly string[];
  /** How many ARNs the search by tag named, those included that have gone. */
  readonly found: number;
}

/** What a deployment had, as far as its removal leaves something behind under a name that is known beforehand. */
export interface Had {
  readonly kind: string;
  readonly name: string | null;
  /** The name of the snapshot in which its database was to end; null: in none. */
  readonly snapshot?: string | null;
}

type PlaceNames = Pick<PlaceOutputs, 'prefix' | 'region' | 'logGroupRoot' | 'uploadBucket' | 'original'>;

/**
 * Searches by tag, whatever our own rows say. AWS's search goes on naming some things for a while after they are gone,
 * and may not name yet what has just come to be: so a final snapshot is looked for by its name, too.
 * @param deploymentId null: everything of the place, and what tags do not tell: archives in its bucket, and log groups
 *   under its root that somebody has taken the tags off
 */
export async function remaining(
  aws: Account,
  place: PlaceNames,
  deploymentId: string | null,
  had: readonly Had[],
): Promise<Remaining> {
  const look = new Looking(aws, place);
  const arns = await look.search({
    [TAG.place]: place.prefix,
    ...(deploymentId === null ? {} : { [TAG.deployment]: deploymentId }),
  });
  const left = new Set<string>();
  const kept = new Map<string, Kept>();
  for (const arn of arns) {
    const fate = await look.fateOf(arn);
    if (fate === 'left') left.add(arn);
    else if (fate !== 'gone') kept.set(arn, fate);
  }
  const notes: string[] = [];
  for (const { kind, name, snapshot } of had) {
    if (kind !== 'rds-postgres') continue;
    const found = snapshot ? await look.snapshot(snapshot) : undefined;
    if (found !== undefined) kept.set(found.arn, found);
    else if (snapshot)
      notes.push(
        `database ${name}: there is no final snapshot "${snapshot}": RDS takes none of a database that failed or never ` +
          'was available, or somebody has deleted it',
      );
    else if (![...kept.keys()].some((arn) => arn.includes(`:snapshot:${name}-`)))
      notes.push(`database ${name}: it went without a final snapshot, as databases of the type dev do`);
  }
  if (deploymentId === null) {
    for (const arn of await look.logGroups()) left.add(arn);
    for (const archive of await look.archives()) left.add(archive);
  }
  return { left: [...left], kept: [...kept.values()], notes, calls: look.calls(), found: arns.length };
}

class Looking {
  readonly #aws: Account;
  readonly #place: PlaceNames;
  readonly #calls = new Map<string, number>();

  constructor(aws: Account, place: PlaceNames) {
    this.#aws = aws;
    this.#place = place;
  }

  #note(call: string): void {
    this.#calls.set(call, (this.#calls.get(call) ?? 0) + 1);
  }

  calls(): string[] {
    return [...this.#calls].map(([call, times]) => (times === 1 ? call : `${call} (${times} times)`));
  }

  async search(tags: Readonly<Record<string, string>>): Promise<string[]> {
    const found: string[] = [];
    let PaginationToken: string | undefined;
    do {
      this.#note(
        `tag:GetResources ${Object.entries(tags)
          .map(([key, value]) => `${key}=${value}`)
          .join(' ')}`,
      );
      const page = await this.#aws.tagging.send(
        new GetResourcesCommand({
          TagFilters: Object.entries(tags).map(([Key, value]) => ({ Key, Values: [value] })),
          ResourcesPerPage: 100,
          PaginationToken,
        }),
      );
      found.push(...(page.ResourceTagMappingList ?? []).map((one) => one.ResourceARN!));
      PaginationToken = page.PaginationToken === '' ? undefined : page.PaginationToken;
    } while (PaginationToken !== undefined);
    return found.sort();
  }

  /** `left`, `gone`, or what is kept of it. */
  async fateOf(arn: string): Promise<'left' | 'gone' | Kept> {
    const [, , service, , , ...rest] = arn.split(':');
    const resource = rest.join(':');
    if (service === 'rds' && resource.startsWith('snapshot:'))
      return (await this.snapshot(resource.slice('snapshot:'.length))) ?? 'gone';
    if (service === 'secretsmanager') {
      this.#note('secretsmanager:DescribeSecret');
      const secret = await describeSecret(this.#aws, arn);
      if (secret === undefined) return 'gone';
      if (secret.DeletedDate === undefined) return 'left';
      const until = secret.DeletedDate.toISOString();
      return { what: 'a secret in its recovery window', arn, until, sizeGb: null, remove: null };
    }
    if (service === 'elasticloadbalancing' && this.#place.original) {
      // Its listeners go with it.
      const balancer = arn.replace(/:(?:loadbalancer|listener)\/(app\/[^/]+\/[^/]+).*$/, ':loadbalancer/$1');
      if (!balancer.includes(':loadbalancer/')) return 'left';
      this.#note('elasticloadbalancing:DescribeLoadBalancers');
      return (await balancerOf(this.#aws, { LoadBalancerArns: [balancer] })) === undefined ? 'gone' : 'left';
    }
    if (service !== 'ecs') return 'left';
    const [type, cluster] = resource.split('/');
    if (type === 'task-definition') {
      this.#note('ecs:DescribeTaskDefinition');
      const { taskDefinition } = await this.#aws.ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: arn }));
      if (taskDefinition?.status === 'ACTIVE') return 'left';
      const remove = `aws ecs delete-task-definitions --region ${this.#place.region} --task-definitions ${arn}`;
      return { what: 'a deregistered task definition, which ECS keeps', arn, until: null, sizeGb: null, remove };
    }
    if (type === 'service') {
      this.#note('ecs:DescribeServices');
      const { services } = await this.#aws.ecs.send(new DescribeServicesCommand({ cluster, services: [arn] }));
      return (services?.[0]?.status ?? 'INACTIVE') === 'INACTIVE' ? 'gone' : 'left';
    }
    if (type === 'task') {
      this.#note('ecs:DescribeTasks');
      const { tasks } = await this.#aws.ecs.send(new DescribeTasksCommand({ cluster, tasks: [arn] }));
      return (tasks?.[0]?.lastStatus ?? 'STOPPED') === 'STOPPED' ? 'gone' : 'left';
    }
    return 'left';
  }

  /** Undefined: there is none of this name. */
  async snapshot(name: string): Promise<Kept | undefined> {
    this.#note('rds:DescribeDBSnapshots');
    const found = await describeFinalSnapshot(this.#aws, name);
    if (found === undefined) return undefined;
    const what = `the database's final snapshot${found.status === 'available' ? '' : `, which is ${found.status}`}`;
    const remove = `aws rds delete-db-snapshot --region ${this.#place.region} --db-snapshot-identifier ${name}`;
    return { what, arn: found.arn, until: null, sizeGb: found.sizeGb, remove };
  }

  async logGroups(): Promise<string[]> {
    const logGroupNamePrefix = `${this.#place.logGroupRoot}/`;
    const found: string[] = [];
    let nextToken: string | undefined;
    do {
      this.#note(`logs:DescribeLogGroups ${logGroupNamePrefix}`);
      const page = await this.#aws.logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix, nextToken }));
      found.push(...(page.logGroups ?? []).map((group) => group.logGroupArn ?? group.arn!.replace(/:\*$/, '')));
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
    return found;
  }

  async archives(): Promise<string[]> {
    const bucket = this.#place.uploadBucket;
    if (bucket === undefined) return [];
    this.#note('s3:ListObjectsV2');
    return (await archivesIn(this.#aws, bucket)).map((key) => `s3://${bucket}/${key}`);
  }
}
