/** The load balancers of the place: deployments add their rules to their listeners, a hundred to each. */
import { Validations, type CfnCondition, type CfnResource } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import { Construct } from 'constructs';
import { checkPrefix, InvalidInput, matches } from './input.ts';
import type { INetwork } from './network.ts';

/** The longest that a load balancer allows: a stream of events may be silent while an agent thinks. */
const IDLE_TIMEOUT_SECONDS = 4000;
/** The port that LangGraph Servers listen on, for requests and for health checks. */
const SERVER_PORT = 8000;

/** What AWS's own limit of target groups makes more of no use: a hundred deployments are behind each. */
const MOST = 10;

export interface BalancerProps {
  /** Names the load balancer and its security group, `<prefix>-balancer`; further ones are `<prefix>-2` and so on. */
  readonly prefix: string;
  readonly network: INetwork;
  /**
   * A certificate in ACM, in the same region, for `*.<domain>`. With it the balancer speaks HTTPS and redirects HTTP.
   * It can be added and exchanged later, and not taken away: the listener would want port 80 while the redirect has it.
   *
   * @default - HTTP, inside the network
   */
  readonly certificateArn?: string;
  /**
   * Deployments are then told apart by host name, `<deployment>.<domain>`; point `*.<domain>` to the load balancer.
   *
   * @default - by path, under the load balancer's own name
   */
  readonly domain?: string;
  /**
   * Whether the load balancer has public addresses. Needs a certificate, and `allowedCidrs`. It cannot be changed
   * later: AWS makes a new load balancer for it, and the name is taken by the old one.
   *
   * @default false
   */
  readonly internetFacing?: boolean;
  /**
   * The IPv4 ranges that may connect. Clients in a secondary range of the VPC need it named here.
   *
   * @default - the VPC's primary range
   */
  readonly allowedCidrs?: readonly string[];
  /**
   * Whether deleting the load balancer is refused until this is switched off.
   *
   * @default false
   */
  readonly deletionProtection?: boolean;
  /**
   * How many load balancers: each takes 100 deployments, which AWS does not raise. With a domain the second one is for
   * `*.b2.<domain>` and so on: the certificate must name these too, and each of them must point to its load balancer.
   * More can be added at any time; one that has deployments behind it must not be taken away.
   *
   * @default 1
   */
  readonly balancers?: number;
  /** For a template: which of the further ones there are is known only when it is deployed. @default - all */
  readonly conditions?: readonly CfnCondition[];
}

/** One load balancer, beside the first. */
export interface FurtherBalancer {
  readonly loadBalancerArn: string;
  readonly loadBalancerDnsName: string;
  readonly listenerArn: string;
  readonly domain?: string;
  readonly condition: CfnCondition | undefined;
}

export class Balancer extends Construct {
  readonly loadBalancerArn: string;
  readonly loadBalancerDnsName: string;
  readonly listenerArn: string;
  readonly securityGroupId: string;
  readonly scheme: 'http' | 'https';
  readonly further: readonly FurtherBalancer[];

  constructor(scope: Construct, id: string, props: BalancerProps) {
    super(scope, id);
    const { network, certificateArn, internetFacing = false, balancers = 1 } = props;
    checkPrefix(props.prefix);
    if (!Number.isInteger(balancers) || balancers < 1 || balancers > MOST)
      throw new InvalidInput(`balancers is ${balancers}: give a whole number from 1 to ${MOST}`);
    if (certificateArn !== undefined) {
      matches(
        'certificateArn',
        certificateArn,
        /^arn:[a-z-]+:acm:[a-z0-9-]+:\d{12}:certificate\/.+$/,
        'give the ARN of a certificate in ACM, in the same region',
      );
      if (props.domain === undefined)
        throw new InvalidInput(
          'certificateArn needs domain: give the domain that the certificate is for, without "*."',
        );
    }
    if (props.domain !== undefined)
      matches(
        'domain',
        props.domain,
        /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}$/,
        'give a domain name in lower case, without "*." and without a scheme, such as agents.example.com',
      );
    if (internetFacing && certificateArn === undefined)
      throw new InvalidInput(
        'internetFacing needs certificateArn: without it API keys would cross the internet in clear',
      );
    if (internetFacing && !props.allowedCidrs?.length)
      throw new InvalidInput('internetFacing needs allowedCidrs: say who may connect, 0.0.0.0/0 for everyone');
    if (internetFacing && network.publicSubnetIds.length < 2)
      throw new InvalidInput(
        `internetFacing needs at least two public subnets in different zones, got ${network.publicSubnetIds.length}: give publicSubnetIds`,
      );
    for (const range of props.allowedCidrs ?? [])
      matches(
        'allowedCidrs',
        range,
        /^\d{1,3}(\.\d{1,3}){3}\/\d{1,2}$/,
        'give IPv4 ranges separated by commas, such as 10.0.0.0/8',
      );

    this.scheme = certificateArn === undefined ? 'http' : 'https';
    const ports = certificateArn === undefined ? [80] : [443, 80];
    const group = new ec2.CfnSecurityGroup(this, 'SecurityGroup', {
      groupName: `${props.prefix}-balancer`,
      // Never change it: a new description means a new group, and the name is taken by the old one.
      groupDescription: 'The load balancer of Freehold',
      vpcId: network.vpcId,
      securityGroupIngress: (props.allowedCidrs ?? [network.cidrBlock]).flatMap((cidrIp) =>
        ports.map((port) => ({ ipProtocol: 'tcp', fromPort: port, toPort: port, cidrIp, description: 'Clients' })),
      ),
      securityGroupEgress: [
        {
          ipProtocol: 'tcp',
          fromPort: SERVER_PORT,
          toPort: SERVER_PORT,
          // Not the VPC's range: CloudFormation can name only the primary one, and private subnets may lie in a
          // secondary one. A load balancer connects to its registered targets alone; their own group lets it in.
          cidrIp: '0.0.0.0/0',
          description: 'Servers',
        },
      ],
    });
    this.securityGroupId = group.attrGroupId;
    if (props.allowedCidrs === undefined || props.allowedCidrs.includes('0.0.0.0/0'))
      Validations.of(group).acknowledge({
        id: 'AwsSolutions-EC23',
        reason: props.allowedCidrs
          ? 'The customer allowed everyone, in these words (allowedCidrs): agents open to the public, over HTTPS.'
          : "The rule cannot read the range: it is the VPC's own, which CloudFormation knows at deploy.",
      });

    const first = this.#balancer('', props, group.attrGroupId);
    this.loadBalancerArn = first.loadBalancerArn;
    this.loadBalancerDnsName = first.loadBalancerDnsName;
    this.listenerArn = first.listenerArn;
    this.further = Array.from({ length: balancers - 1 }, (_, index) => {
      const condition = props.conditions?.[index];
      const domain = props.domain && `b${index + 2}.${props.domain}`;
      return {
        ...this.#balancer(`${index + 2}`, props, group.attrGroupId, condition),
        ...(domain && { domain }),
        condition,
      };
    });
  }

  /** @param number empty for the first: it keeps the names that it had while there was only one */
  #balancer(number: string, props: BalancerProps, group: string, condition?: CfnCondition) {
    const { prefix, network, certificateArn, internetFacing = false } = props;
    const balancer = new elbv2.CfnLoadBalancer(this, `LoadBalancer${number}`, {
      name: number === '' ? prefix : `${prefix}-${number}`,
      type: 'application',
      scheme: internetFacing ? 'internet-facing' : 'internal',
      securityGroups: [group],
      subnets: internetFacing ? network.publicSubnetIds : network.privateSubnetIds,
      loadBalancerAttributes: [
        { key: 'idle_timeout.timeout_seconds', value: `${IDLE_TIMEOUT_SECONDS}` },
        { key: 'deletion_protection.enabled', value: `${props.deletionProtection ?? false}` },
        { key: 'routing.http.drop_invalid_header_fields.enabled', value: 'true' },
      ],
    });
    Validations.of(balancer).acknowledge({
      id: 'AwsSolutions-ELB2',
      reason:
        'Access logs need a bucket with a policy of its own, and hold ids of threads in the paths: the customer turns them on where such logs are kept.',
    });
    const listener = new elbv2.CfnListener(this, `Listener${number}`, {
      loadBalancerArn: balancer.ref,
      ...(certificateArn === undefined
        ? { port: 80, protocol: 'HTTP' }
        : {
            port: 443,
            protocol: 'HTTPS',
            certificates: [{ certificateArn }],
            sslPolicy: 'ELBSecurityPolicy-TLS13-1-2-2021-06',
          }),
      defaultActions: [NOTHING_HERE],
    });
    const parts: CfnResource[] = [balancer, listener];
    if (certificateArn !== undefined) {
      const redirect = new elbv2.CfnListener(this, `Redirect${number}`, {
        loadBalancerArn: balancer.ref,
        port: 80,
        protocol: 'HTTP',
        defaultActions: [
          { type: 'redirect', redirectConfig: { protocol: 'HTTPS', port: '443', statusCode: 'HTTP_301' } },
        ],
      });
      // When HTTPS is added to a stack that had HTTP, the listener must have left port 80 first.
      redirect.addResourceDependency(listener);
      parts.push(redirect);
    }
    if (condition) for (const part of parts) part.cfnOptions.condition = condition;
    return {
      loadBalancerArn: balancer.ref,
      loadBalancerDnsName: balancer.attrDnsName,
      listenerArn: listener.ref,
    };
  }
}

const NOTHING_HERE: elbv2.CfnListener.ActionProperty = {
  type: 'fixed-response',
  fixedResponseConfig: {
    statusCode: '404',
    contentType: 'application/json',
    messageBody: JSON.stringify({ detail: 'no deployment answers here' }),
  },
};
