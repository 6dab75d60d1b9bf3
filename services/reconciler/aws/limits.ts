/**
 * AWS's limits on what a place is made of: how much of each is used, how much there is, and what to do about it. They
 * are read before they are hit, in a few calls; names and codes are those of AWS's Service Quotas console.
 */
import { DescribeSecurityGroupsCommand } from '@aws-sdk/client-ec2';
import { DescribeClustersCommand, DescribeTasksCommand, ListTasksCommand } from '@aws-sdk/client-ecs';
import { DescribeRulesCommand, DescribeTargetGroupsCommand } from '@aws-sdk/client-elastic-load-balancing-v2';
import { DescribeAccountAttributesCommand } from '@aws-sdk/client-rds';
import { GetServiceQuotaCommand } from '@aws-sdk/client-service-quotas';
import { GetNamespaceCommand } from '@aws-sdk/client-servicediscovery';
import type { Account } from './account.ts';
import { explain } from './errors.ts';
import type { Grant, Scope } from './grant.ts';
import { balancersOf, type Balancer, type Place } from '../place.ts';
import type { Graph } from '../resource.ts';

/** One limit, as it was read. */
export interface Limit {
  /** Service Quotas' own, such as `L-7B6409FD`. */
  readonly code: string;
  /** Of the service there, such as `rds`. */
  readonly service: string;
  /** Such as `DB instances`. */
  readonly name: string;
  /** The ARN of the load balancer that has this limit for itself; null: the account has it, in the region. */
  readonly balancer: string | null;
  readonly used: number;
  readonly limit: number;
  readonly adjustable: boolean;
  /** Whether AWS said so; else it is AWS's default, and the account may have more: nothing is refused for it. */
  readonly isKnown: boolean;
}

export interface Limits {
  readonly limits: readonly Limit[];
  /** What could not be read, and why: one sentence each. */
  readonly unread: readonly string[];
}

/** How much of each limit something takes, by code. */
export type Takes = Readonly<Record<string, number>>;

interface Quota {
  readonly service: string;
  readonly name: string;
  /** What every account has to begin with. */
  readonly usual: number;
  readonly adjustable: boolean;
  /** The kind of ours that takes one of it. */
  readonly kind?: string;
  readonly each?: 'balancer';
}

export const DATABASES = 'L-7B6409FD';
export const SNAPSHOTS = 'L-272F1212';
export const TARGET_GROUPS = 'L-B22855CB';
export const BALANCER_TARGET_GROUPS = 'L-822D1B1B';
export const BALANCER_RULES = 'L-7EED9B64';
export const SERVICES = 'L-9EF96962';
export const VCPUS = 'L-3032A538';
export const SECURITY_GROUPS = 'L-E79EC296';
export const INSTANCES = 'L-D95E8A57';

const QUOTAS: Readonly<Record<string, Quota>> = {
  [DATABASES]: { service: 'rds', name: 'DB instances', usual: 40, adjustable: true, kind: 'rds-postgres' },
  // The last one of a deleted deployment's database is kept: taken by deletes, not by creates.
  [SNAPSHOTS]: { service: 'rds', name: 'Manual DB instance snapshots', usual: 100, adjustable: true },
  [TARGET_GROUPS]: {
    service: 'elasticloadbalancing',
    name: 'Target Groups per Region',
    usual: 3000,
    adjustable: true,
    kind: 'target-group',
  },
  [BALANCER_TARGET_GROUPS]: {
    service: 'elasticloadbalancing',
    name: 'Target Groups per Application Load Balancer',
    usual: 100,
    adjustable: false,
    kind: 'target-group',
    each: 'balancer',
  },
  [BALANCER_RULES]: {
    service: 'elasticloadbalancing',
    name: 'Rules per Application Load Balancer',
    usual: 100,
    adjustable: true,
    kind: 'listener-rule',
    each: 'balancer',
  },
  [SERVICES]: { service: 'ecs', name: 'Services per cluster', usual: 5000, adjustable: true, kind: 'ecs-service' },
  // A new account starts with less than this; AWS raises it by itself as the account is used.
  [VCPUS]: { service: 'fargate', name: 'Fargate On-Demand vCPU resource count', usual: 6, adjustable: true },
  [SECURITY_GROUPS]: {
    service: 'vpc',
    name: 'VPC security groups per Region',
    usual: 2500,
    adjustable: true,
    kind: 'security-group',
  },
  [INSTANCES]: {
    service: 'AWSCloudMap',
    name: 'Instances per namespace',
    usual: 2000,
    adjustable: true,
    kind: 'cloud-map-service',
  },
};

/** Their codes. */
export const LIMITS: readonly string[] = Object.keys(QUOTAS);

/** Which kinds of ours take of a limit; vCPUs are the services'. */
export const kindThatTakes = (code: string): string | undefined =>
  code === VCPUS ? 'ecs-service' : QUOTAS[code]?.kind;

/** What a deployment takes when it is made, with so many vCPUs at once. */
export const takesOf = (graph: Graph, vcpus: number): Takes =>
  takesOfKinds(
    graph.nodes.map((node) => node.kind.kind),
    vcpus,
  );

/** The same of what is made, one kind each. */
export function takesOfKinds(made: readonly string[], vcpus: number): Takes {
  const count = (kind: string) => made.filter((one) => one === kind).length;
  const counted = Object.entries(QUOTAS).map(
    ([code, { kind }]) => [code, kind === undefined ? 0 : count(kind)] as const,
  );
  return Object.fromEntries([...counted, [VCPUS, vcpus] as const].filter(([, taken]) => taken > 0));
}

/**
 * The limits that it does not fit into. Of those that each load balancer has: of `balancer` when it has one; else only
 * when it fits nowhere.
 */
export function obstacles(limits: readonly Limit[], takes: Takes, balancer?: string): Limit[] {
  const full = limits.filter(
    ({ code, used, limit, isKnown, adjustable }) =>
      (takes[code] ?? 0) > 0 && used + takes[code]! > limit && (isKnown || !adjustable),
  );
  const everywhere = [...new Set(limits.flatMap((each) => each.balancer ?? []))].every((one) =>
    full.some((each) => each.balancer === one),
  );
  return full.filter((each) => each.balancer === null || (balancer ? each.balancer === balancer : everywhere));
}

/** The emptiest load balancer that has room for one more; undefined: none has. */
export function roomiest(place: Place, limits: readonly Limit[], takes: Takes): Balancer | undefined {
  const room = (balancer: Balancer): number => {
    const own = limits.filter((each) => each.balancer === balancer.loadBalancerArn);
    return Math.min(...own.map(({ code, used, limit }) => limit - used - (takes[code] ?? 0)));
  };
  const balancers = balancersOf(place);
  const most = Math.max(...balancers.map(room));
  return most < 0 ? undefined : balancers.find((balancer) => room(balancer) === most);
}

/** From this part on it is told before it is hit. */
const NEAR = 0.8;
export const isNear = ({ used, limit }: Limit): boolean => used >= limit * NEAR;

/** `limit reached: "DB instances": 40 of 40 used: …what to do…` */
export function sentence(limit: Limit, what = isFull(limit) ? 'limit reached' : 'limit near'): string {
  const { name, balancer, used } = limit;
  const of = balancer === null ? '' : ` of load balancer "${balancer.split('/')[2] ?? balancer}"`;
  return `${what}: "${name}"${of}: ${used} of ${limit.limit} used: ${remedy(limit)}`;
}

const isFull = ({ used, limit }: Limit): boolean => used >= limit;

/** What to do about it. */
export function remedy({ code, service, balancer, adjustable }: Limit): string {
  const ask = `ask AWS for more (Service Quotas, ${service} ${code})`;
  if (balancer === null) return ask;
  const another = "deploy the customer's stack with one more load balancer (-c balancers=…) and register its output";
  return adjustable ? `${another}, or ${ask}` : another;
}

/** The page of the console where more is asked for. */
export const linkOf = ({ service, code }: Limit, region: string): string =>
  `https://${region}.console.aws.amazon.com/servicequotas/home/services/${service}/quotas/${code}`;

/** What reading them takes, beside what the kinds and the checks of a place may do. */
export const limitGrants = (scope: Scope): Grant[] => [
  {
    actions: ['servicequotas:GetServiceQuota'],
    resources: [`arn:${scope.partition}:servicequotas:${scope.region}:${scope.account}:*`],
    why: "reads the account's limits, so that they are told before they are hit",
  },
  {
    actions: ['rds:DescribeAccountAttributes'],
    resources: ['*'],
    why: 'counts databases and snapshots against their limits; RDS has no narrower scope',
  },
];

/** What is used, by code; of a load balancer's limits, by code and ARN. */
interface Used {
  readonly code: string;
  readonly balancer: string | null;
  readonly used: number;
  /** Where the same answer has it. */
  readonly limit?: number;
}

/** Each by itself: what cannot be read says so, and hides nothing else. */
export async function readLimits(aws: Account, place: Place): Promise<Limits> {
  const unread: string[] = [];
  const attempt = async <T>(otherwise: T, read: () => Promise<T>): Promise<T> => {
    try {
      return await read();
    } catch (error) {
      unread.push(explain(error).message);
      return otherwise;
    }
  };
  const counts: (() => Promise<Used[]>)[] = [
    () => databases(aws),
    () => targetGroups(aws, place),
    () => cluster(aws, place),
    () => vcpus(aws, place),
    () => securityGroups(aws),
    () => instances(aws, place),
    ...balancersOf(place).map((balancer) => () => rules(aws, balancer)),
  ];
  const used = (await Promise.all(counts.map((count) => attempt([], count)))).flat();
  const codes = [...new Set(used.filter(({ limit }) => limit === undefined).map(({ code }) => code))];
  const values = new Map(
    await Promise.all(codes.map(async (code) => [code, await attempt(undefined, () => valueOf(aws, code))] as const)),
  );
  return {
    limits: used.map(({ code, balancer, used, limit }): Limit => {
      const { service, name, usual, adjustable } = QUOTAS[code]!;
      const told = limit ?? values.get(code);
      return { code, service, name, balancer, used, limit: told ?? usual, adjustable, isKnown: told !== undefined };
    }),
    unread: [...new Set(unread)].sort(),
  };
}

async function valueOf(aws: Account, code: string): Promise<number | undefined> {
  const { service, adjustable } = QUOTAS[code]!;
  if (!adjustable) return undefined; // as everywhere
  const { Quota } = await aws.quotas.send(new GetServiceQuotaCommand({ ServiceCode: service, QuotaCode: code }));
  return Quota?.Value;
}

async function databases({ rds }: Account): Promise<Used[]> {
  const { AccountQuotas } = await rds.send(new DescribeAccountAttributesCommand({}));
  const codes: Record<string, string> = { DBInstances: DATABASES, ManualSnapshots: SNAPSHOTS };
  return (AccountQuotas ?? []).flatMap(({ AccountQuotaName, Used: used, Max }) => {
    const code = codes[AccountQuotaName ?? ''];
    return code === undefined ? [] : [{ code, balancer: null, used: used ?? 0, ...(Max ? { limit: Max } : {}) }];
  });
}

async function targetGroups({ elb }: Account, place: Place): Promise<Used[]> {
  const groups: (string[] | undefined)[] = [];
  let Marker: string | undefined;
  do {
    const page = await elb.send(new DescribeTargetGroupsCommand({ PageSize: 400, Marker }));
    groups.push(...(page.TargetGroups ?? []).map(({ LoadBalancerArns }) => LoadBalancerArns));
    Marker = page.NextMarker;
  } while (Marker !== undefined);
  return [
    { code: TARGET_GROUPS, balancer: null, used: groups.length },
    ...balancersOf(place).map(({ loadBalancerArn: balancer }) => ({
      code: BALANCER_TARGET_GROUPS,
      balancer,
      used: groups.filter((arns) => arns?.includes(balancer)).length,
    })),
  ];
}

/**
 * "Not counting default rules":
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
 */
async function rules({ elb }: Account, { listenerArn, loadBalancerArn }: Balancer): Promise<Used[]> {
  let used = 0;
  let Marker: string | undefined;
  do {
    const page = await elb.send(new DescribeRulesCommand({ ListenerArn: listenerArn, PageSize: 400, Marker }));
    used += (page.Rules ?? []).filter(({ IsDefault }) => !IsDefault).length;
    Marker = page.NextMarker;
  } while (Marker !== undefined);
  return [{ code: BALANCER_RULES, balancer: loadBalancerArn, used }];
}

async function cluster({ ecs }: Account, { clusterArn }: Place): Promise<Used[]> {
  const { clusters } = await ecs.send(new DescribeClustersCommand({ clusters: [clusterArn] }));
  return [{ code: SERVICES, balancer: null, used: clusters?.[0]?.activeServicesCount ?? 0 }];
}

/** Of the place's cluster: what else runs on Fargate in the region is not seen. */
async function vcpus({ ecs }: Account, { clusterArn }: Place): Promise<Used[]> {
  let units = 0;
  let nextToken: string | undefined;
  do {
    const page = await ecs.send(new ListTasksCommand({ cluster: clusterArn, maxResults: 100, nextToken }));
    if (page.taskArns?.length) {
      const { tasks } = await ecs.send(new DescribeTasksCommand({ cluster: clusterArn, tasks: page.taskArns }));
      units += (tasks ?? []).reduce((sum, { cpu }) => sum + Number(cpu ?? 0), 0);
    }
    nextToken = page.nextToken;
  } while (nextToken !== undefined);
  return [{ code: VCPUS, balancer: null, used: units / 1024 }];
}

async function securityGroups({ ec2 }: Account): Promise<Used[]> {
  let used = 0;
  let NextToken: string | undefined;
  do {
    const page = await ec2.send(new DescribeSecurityGroupsCommand({ MaxResults: 1000, NextToken }));
    used += page.SecurityGroups?.length ?? 0;
    NextToken = page.NextToken;
  } while (NextToken !== undefined);
  return [{ code: SECURITY_GROUPS, balancer: null, used }];
}

/** A service of ours has one instance: its Redis. */
async function instances({ discovery }: Account, { namespaceId }: Place): Promise<Used[]> {
  const { Namespace } = await discovery.send(new GetNamespaceCommand({ Id: namespaceId }));
  return [{ code: INSTANCES, balancer: null, used: Namespace?.ServiceCount ?? 0 }];
}
