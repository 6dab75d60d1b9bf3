/** All that a customer's account needs before its first deployment, as one stack. */
import { CfnOutput, Fn, LegacyStackSynthesizer, Stack, type StackProps, Token } from 'aws-cdk-lib';
import { Construct } from 'constructs';
import type { Balancer as PlaceBalancer, PlaceOutputs } from '../services/reconciler/place.ts';
import { Balancer, type BalancerProps, type FurtherBalancer } from './balancer.ts';
import { Brake } from './brake.ts';
import { CompactStack } from './compact-stack.ts';
import { ControlPlaneRole, type ControlPlaneRoleProps } from './control-plane-role.ts';
import { Foundation, type FoundationProps } from './foundation.ts';
import { checkPrefix } from './input.ts';
import {
  ExistingNetwork,
  type ExistingNetworkProps,
  type INetwork,
  NewNetwork,
  type NewNetworkProps,
} from './network.ts';
import { type LinkedService, ServiceLinkedRoles } from './service-linked-roles.ts';
import { Uploads } from './uploads.ts';

type Own = 'prefix' | 'network' | 'foundation' | 'balancer';

export interface CustomerAccountProps
  extends
    Omit<ControlPlaneRoleProps, Own>,
    Omit<FoundationProps, Own>,
    Omit<BalancerProps, Own>,
    Omit<NewNetworkProps, Own>,
    Partial<Omit<ExistingNetworkProps, Own>> {
  /**
   * Begins every name; at most 12 lower-case letters, digits and hyphens. It cannot be changed later. IAM's names span
   * regions, so a second data plane in another region of the account needs another prefix, too.
   *
   * @default 'freehold'
   */
  readonly prefix?: string;
  /**
   * Service-linked roles to make; only for an account that has never used the service.
   *
   * @default - none
   */
  readonly serviceLinkedRoles?: readonly LinkedService[];
}

/** With `vpcId` in that network, without it in a new one. */
export class CustomerAccount extends Construct {
  /** What registering the place takes, as one JSON text. */
  readonly place: string;

  constructor(scope: Construct, id: string, props: CustomerAccountProps) {
    super(scope, id);
    const stack = Stack.of(this);
    const prefix = props.prefix ?? 'freehold';
    checkPrefix(prefix);
    const linked = new ServiceLinkedRoles(this, 'ServiceLinkedRoles', { services: props.serviceLinkedRoles ?? [] });
    const network: INetwork =
      props.vpcId === undefined
        ? new NewNetwork(this, 'Network', { ...props, prefix })
        : new ExistingNetwork(this, 'Network', {
            prefix,
            vpcId: props.vpcId,
            privateSubnetIds: props.privateSubnetIds ?? [],
            publicSubnetIds: props.publicSubnetIds,
          });
    const foundation = new Foundation(this, 'Foundation', { ...props, prefix, network });
    const balancer = new Balancer(this, 'Balancer', { ...props, prefix, network });
    // Made by AWS on first use otherwise, at the same moment.
    foundation.node.addDependency(linked);
    balancer.node.addDependency(linked);
    const uploads = new Uploads(this, 'Uploads', { prefix });
    const brake = new Brake(this, 'Brake', { prefix });
    const role = new ControlPlaneRole(this, 'ControlPlane', { ...props, prefix, network, foundation, balancer });

    // CDK's own `toJsonString` would escape those quotes. No value here has a character that JSON escapes.
    const place = JSON.stringify({
      version: 1,
      accountId: stack.account,
      region: stack.region,
      partition: stack.partition,
      prefix,
      roleArn: role.roleArn,
      vpcId: network.vpcId,
      privateSubnetIds: inJson(network.privateSubnetIds),
      publicSubnetIds: inJson(network.publicSubnetIds),
      clusterArn: foundation.clusterArn,
      executionRoleArn: foundation.executionRoleArn,
      taskRoleArn: foundation.taskRoleArn,
      loadBalancerArn: balancer.loadBalancerArn,
      loadBalancerDnsName: balancer.loadBalancerDnsName,
      listenerArn: balancer.listenerArn,
      loadBalancerSecurityGroupId: balancer.securityGroupId,
      scheme: balancer.scheme,
      ...(props.domain !== undefined && { domain: props.domain }),
      namespaceId: foundation.namespaceId,
      namespaceName: foundation.namespaceName,
      databaseSubnetGroup: foundation.databaseSubnetGroup,
      logGroupRoot: foundation.logGroupRoot,
      uploadBucket: uploads.bucketName,
      executionRoles: foundation.executionRoles,
      deletionGate: true,
      ...(props.internetFacing && { isPublic: true as const }),
      brakeParameter: brake.parameterName,
      auditLogGroup: foundation.auditLogGroup,
    } satisfies PlaceOutputs);
    this.place = `${place.slice(0, -1)}${listed(balancer.further)}}`;
    new CfnOutput(stack, 'Place', {
      value: this.place,
      description: 'Give this to the control plane to register the place',
    });
  }
}

/**
 * As JSON. Where conditions say which there are, each has those that follow within it: none is there without those
 * before it.
 */
function listed([next, ...rest]: readonly FurtherBalancer[], before = ',"moreBalancers":[', after = ']'): string {
  if (next === undefined) return '';
  const { condition, ...balancer } = next;
  const text = `${before}${JSON.stringify(balancer satisfies PlaceBalancer)}${listed(rest, ',', '')}${after}`;
  return condition ? Fn.conditionIf(condition.logicalId, text, '').toString() : text;
}

/** A list that is a parameter becomes JSON at deploy: one item, in whose text quotes end and begin between the ids. */
const inJson = (ids: string[]) => (Token.isUnresolved(ids) ? [Fn.join('","', ids)] : ids);

export interface CustomerAccountStackProps extends Omit<StackProps, 'synthesizer'>, CustomerAccountProps {}

/**
 * Needs no bootstrapped account: the template is small enough to be sent as it is, and has no assets. Deployed with the
 * rights of who runs the CDK CLI: CDK's BootstraplessSynthesizer would have it ask for the roles of a bootstrap.
 */
export class CustomerAccountStack extends CompactStack {
  readonly place: string;

  constructor(scope: Construct, id: string, props: CustomerAccountStackProps) {
    super(scope, id, {
      ...props,
      description: props.description ?? 'Freehold: what this account needs to run LangGraph Servers',
      synthesizer: new LegacyStackSynthesizer(),
    });
    // "Default" leaves no trace in the resources' logical ids.
    this.place = new CustomerAccount(this, 'Default', props).place;
  }
}
