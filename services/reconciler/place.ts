/**
 * Where servers run: one customer account, one region, one network, and the role that enters it.
 *
 * `PlaceOutputs` is what the customer's stack prints as its `Place` output (one JSON object) and what registering a
 * place takes. Everything in it is a name, an id or an ARN; nothing in it is secret.
 */
export interface PlaceOutputs {
  readonly version: 1;
  readonly accountId: string;
  readonly region: string;
  readonly partition: string;
  /** Every name that the stack or the reconciler makes begins with it; at most 12 characters. */
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
}

export interface Place extends PlaceOutputs {
  readonly id: string;
  /** Given with every assume-role; made by us at random for this place alone. */
  readonly externalId: string;
}
