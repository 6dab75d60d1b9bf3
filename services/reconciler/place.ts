/**
 * Where servers run: one customer account, one region, one network, and the role that enters it.
 *
 * `PlaceOutputs` is what the customer's stack prints as its `Place` output (one JSON object) and what registering a
 * place takes. Everything in it is a name, an id or an ARN; nothing in it is secret.
 */
import { randomBytes } from 'node:crypto';

export interface PlaceOutputs {
  readonly version: 1;
  readonly accountId: string;
  readonly region: string;
  readonly partition: string;
  /** Every name that the stack or the reconciler makes begins with it; at most 12 characters, 15 where `original`. */
  readonly prefix: string;
  readonly roleArn: string;
  readonly vpcId: string;
  readonly privateSubnetIds: string[];
  readonly publicSubnetIds: string[];
  readonly clusterArn: string;
  readonly executionRoleArn: string;
  readonly taskRoleArn: string;
  readonly loadBalancerArn: string;
  readonly loadBalancerDnsName: string;
  readonly listenerArn: string;
  readonly loadBalancerSecurityGroupId: string;
  readonly scheme: 'http' | 'https';
  /** With a domain, deployments are told apart by host name; without one, by path. */
  readonly domain?: string;
  readonly namespaceId: string;
  readonly namespaceName: string;
  readonly databaseSubnetGroup: string;
  readonly logGroupRoot: string;
  /** Where archives of source code are put. Stacks that were deployed before there was one print none. */
  readonly uploadBucket?: string;
  /**
   * So many roles `<executionRoleArn>-1`, `-2` and on: each deployment has one of its own that reads its secrets alone.
   * Stacks that were deployed before there were such print none: theirs share the one.
   */
  readonly executionRoles?: number;
  /**
   * Databases and secrets are deleted there only while the customer allows it, but for what is marked as never having
   * served. Stacks that were deployed before there was such a gate print nothing, and let nobody take the mark off.
   */
  readonly deletionGate?: true;
  /** Whether its load balancers have public addresses. Stacks that were deployed before this was told print nothing. */
  readonly isPublic?: true;
  /** The name of the SSM parameter that is the customer's brake. A stack that prints none has none. */
  readonly brakeParameter?: string;
  /** The customer's copy of the audit log. Stacks that were deployed before there was one print none. */
  readonly auditLogGroup?: string;
  /** More load balancers, beside the first: a hundred deployments fit behind each. In the same security group. */
  readonly moreBalancers?: Balancer[];
  /** Set up for the product that this one replaces, and used as it is: see aws/original.ts. */
  readonly original?: true;
  /** There: of all deployments' servers, databases and Redis. */
  readonly serviceSecurityGroupId?: string;
}

/** 192 bits at random: nobody guesses one, and no two places are ever given the same. */
export const newExternalId = (): string => `fh-${randomBytes(24).toString('hex')}`;

/** One load balancer of a place, and the listener that deployments' rules are added to. */
export interface Balancer {
  readonly loadBalancerArn: string;
  readonly loadBalancerDnsName: string;
  readonly listenerArn: string;
  /** Where the place has a domain: another one for each, since each has an address of its own. */
  readonly domain?: string | undefined;
}

/** All of a place's, the first one first. */
export const balancersOf = (place: PlaceOutputs): readonly Balancer[] => [
  {
    loadBalancerArn: place.loadBalancerArn,
    loadBalancerDnsName: place.loadBalancerDnsName,
    listenerArn: place.listenerArn,
    ...(place.domain !== undefined && { domain: place.domain }),
  },
  ...(place.moreBalancers ?? []),
];

/** What one deployment has of its place for itself, from its beginning to its end. */
export interface Seat {
  /** The ARN of its load balancer; null: the first, as of every deployment that was made while there was one. */
  readonly balancer: string | null;
  /** Which of the execution roles is its; null: the one that all share which were made before there were such. */
  readonly slot: number | null;
}

/** The place as one deployment sees it: with its own load balancer and its own execution role. */
export function behind<P extends PlaceOutputs>(place: P, { balancer, slot }: Seat): P & { readonly slot?: number } {
  const own = balancersOf(place).find(({ loadBalancerArn }) => loadBalancerArn === balancer);
  const role = slot === null ? {} : { slot, executionRoleArn: `${place.executionRoleArn}-${slot}` };
  return { ...place, ...own, ...role };
}

export interface Place extends PlaceOutputs {
  /** As one deployment sees it that has a slot. */
  readonly slot?: number;
  readonly id: string;
  /** Given with every assume-role; made by us at random for this place alone. */
  readonly externalId: string;
  /** Why nothing enters it, until that is mended. */
  readonly suspended?: string;
}
