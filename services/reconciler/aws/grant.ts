/**
 * The names in a place that permissions are cut to. Plain strings, so that the customer's stack can pass its tokens.
 */
export interface Scope {
  readonly partition: string;
  readonly region: string;
  readonly account: string;
  readonly prefix: string;
  readonly vpcId: string;
  readonly privateSubnetIds: readonly string[];
  readonly clusterArn: string;
  readonly executionRoleArn: string;
  readonly taskRoleArn: string;
  readonly controlRoleArn: string;
  readonly listenerArn: string;
  readonly loadBalancerArn: string;
  readonly namespaceId: string;
  readonly databaseSubnetGroup: string;
  readonly logGroupRoot: string;
  /**
   * Whether roles of one deployment alone may be passed: `<executionRoleArn>-<slot>`, and task roles that the customer
   * made, `<taskRoleArn>-<name>`. Stacks that were deployed before there were such allow neither.
   */
  readonly ownRoles?: boolean;
  /** Whether what never served is marked: before there was a gate, stacks did not let the mark be taken off. */
  readonly deletionGate?: true | undefined;
  /** Given, `executionRoleArn` is the deployment's own, and there is no other. */
  readonly slot?: number;
  /** None in a place whose stack was deployed before there was one. */
  readonly uploadBucket: string | undefined;
  /** Set up for the product that this one replaces: its role is not ours, and other calls do there what that allows. */
  readonly original?: true | undefined;
  /** The parameter with which the customer stops us. None in a place whose stack was deployed before there was one. */
  readonly brakeParameterArn?: string | undefined;
  /** The customer's copy of the audit log; none in a place whose stack was deployed before there was one. */
  readonly auditLogGroup?: string | undefined;
  /** Given, all that AWS can tell apart is cut to this one's. @default every deployment of the place */
  readonly deployment?: { readonly id: string };
}

/** One permission, as an IAM policy statement that allows it, with its reason. */
export interface Grant {
  readonly actions: readonly string[];
  /** ARNs, or `*` alone where AWS offers nothing narrower; `why` then says so. */
  readonly resources: readonly string[];
  readonly conditions?: Readonly<Record<string, Readonly<Record<string, string | string[]>>>>;
  readonly why: string;
  /** Only while the customer's stack allows deletion: it destroys what cannot be made again. */
  readonly gated?: true;
}
