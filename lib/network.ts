/** Where the servers run: a VPC that the stack makes, or one that the customer has. Either way it ends up tagged. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CustomResource, Duration, Fn, RemovalPolicy, Stack, Tags, Token, Validations } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { InvalidInput, matches } from './input.ts';

/** On the VPC and on each subnet that the product may use. */
export const ENABLED_TAG = 'langgraph-cloud-enabled';
/** `1` on private subnets (tasks and databases), `0` on public ones (internet-facing load balancers). */
export const PRIVATE_TAG = 'langgraph-cloud-private';
/** Followed by the prefix: on an existing VPC, which stacks use it, and which of the two tags they put on. */
export const NETWORK_MARK = 'freehold:network:';

export interface INetwork {
  readonly vpcId: string;
  /** The VPC's primary range. */
  readonly cidrBlock: string;
  readonly privateSubnetIds: string[];
  readonly publicSubnetIds: string[];
}

export interface NewNetworkProps {
  /** Names the flow logs' group `/aws/vpc/<prefix>`. */
  readonly prefix: string;
  /**
   * The VPC's range, `/16` to `/18`; it must not overlap networks that it will be peered with.
   *
   * @default '10.0.0.0/16'
   */
  readonly cidr?: string;
  /**
   * In how many availability zones to make subnets: 2 or 3. Some regions give new accounts only two.
   *
   * @default 2
   */
  readonly zones?: number;
  /**
   * The zones by name, instead of `zones`.
   *
   * @default - the first `zones` that the region offers to the account
   */
  readonly availabilityZones?: readonly string[];
  /**
   * NAT gateways, from 1 to one per zone. With fewer than zones, losing one zone can cost the others their way out.
   *
   * @default 1
   */
  readonly natGateways?: number;
  /**
   * Whether to record all traffic in a log group.
   *
   * @default true
   */
  readonly flowLogs?: boolean;
  /**
   * How long flow logs are kept.
   *
   * @default 30
   */
  readonly logRetentionDays?: number;
}

/** A VPC with a public and a private subnet per zone, and a way out to the internet from the private ones. */
export class NewNetwork extends Construct implements INetwork {
  readonly vpcId: string;
  readonly cidrBlock: string;
  readonly privateSubnetIds: string[];
  readonly publicSubnetIds: string[];

  constructor(scope: Construct, id: string, props: NewNetworkProps) {
    super(scope, id);
    const cidr = props.cidr ?? '10.0.0.0/16';
    matches(
      'cidr',
      cidr,
      /^\d{1,3}(\.\d{1,3}){3}\/1[678]$/,
      'give an IPv4 range of /16, /17 or /18, such as 10.0.0.0/16',
    );
    const zones = props.availabilityZones?.length ?? props.zones ?? 2;
    if (zones !== 2 && zones !== 3) throw new InvalidInput(`zones must be 2 or 3, got ${zones}`);
    const natGateways = props.natGateways ?? 1;
    if (!Number.isInteger(natGateways) || natGateways < 1 || natGateways > zones)
      throw new InvalidInput(`natGateways must be from 1 to the number of zones (${zones}), got ${natGateways}`);

    const vpc = new ec2.Vpc(this, 'Vpc', {
      ipAddresses: ec2.IpAddresses.cidr(cidr),
      // Chosen by CloudFormation, so that nothing is looked up at synth and the template fits every account.
      availabilityZones: [
        ...(props.availabilityZones ?? Array.from({ length: zones }, (_, zone) => Fn.select(zone, Fn.getAzs()))),
      ],
      natGateways,
      // Would need a Lambda from a bootstrap bucket. Nothing here uses the default security group.
      restrictDefaultSecurityGroup: false,
      subnetConfiguration: [
        { name: 'Public', subnetType: ec2.SubnetType.PUBLIC, cidrMask: 24, mapPublicIpOnLaunch: false },
        { name: 'Private', subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS, cidrMask: 20 },
      ],
    });
    this.vpcId = vpc.vpcId;
    this.cidrBlock = cidr;
    this.privateSubnetIds = vpc.privateSubnets.map((subnet) => subnet.subnetId);
    this.publicSubnetIds = vpc.publicSubnets.map((subnet) => subnet.subnetId);

    Tags.of(vpc).add(ENABLED_TAG, '1', { includeResourceTypes: ['AWS::EC2::VPC', 'AWS::EC2::Subnet'] });
    for (const [subnets, value] of [
      [vpc.privateSubnets, '1'],
      [vpc.publicSubnets, '0'],
    ] as const)
      for (const subnet of subnets)
        Tags.of(subnet).add(PRIVATE_TAG, value, { includeResourceTypes: ['AWS::EC2::Subnet'] });

    if (props.flowLogs ?? true) {
      const group = new logs.LogGroup(this, 'FlowLogs', {
        logGroupName: `/aws/vpc/${props.prefix}`,
        retention: props.logRetentionDays ?? 30,
        removalPolicy: RemovalPolicy.DESTROY,
      });
      vpc.addFlowLog('FlowLog', { destination: ec2.FlowLogDestination.toCloudWatchLogs(group) });
    } else {
      Validations.of(vpc).acknowledge({
        id: 'AwsSolutions-VPC7',
        reason: 'The customer switched the flow logs off (flowLogs), for instance because a central team records them.',
      });
    }
  }
}

export interface ExistingNetworkProps {
  /** Marks what this stack tagged, so that stacks sharing a VPC do not take each other's tags off. */
  readonly prefix: string;
  /** The VPC; DNS support and DNS host names must be on. */
  readonly vpcId: string;
  /** For tasks and databases: in at least two zones, with a way out to the internet. */
  readonly privateSubnetIds: string[];
  /**
   * For an internet-facing load balancer.
   *
   * @default - none: the load balancer can only be internal
   */
  readonly publicSubnetIds?: string[];
}

/**
 * A VPC of the customer's own. CloudFormation cannot tag what it did not make, so a function inside the stack puts the
 * tags on at deploy and takes off at destroy those that it put on. Nothing else of the network is touched.
 */
export class ExistingNetwork extends Construct implements INetwork {
  readonly vpcId: string;
  readonly cidrBlock: string;
  readonly privateSubnetIds: string[];
  readonly publicSubnetIds: string[];

  constructor(scope: Construct, id: string, props: ExistingNetworkProps) {
    super(scope, id);
    matches(
      'vpcId',
      props.vpcId,
      /^vpc-([0-9a-f]{8}|[0-9a-f]{17})$/,
      'give the id of a VPC in the region, such as vpc-0a1b2c3d',
    );
    const publicSubnetIds = props.publicSubnetIds ?? [];
    for (const [name, ids] of Object.entries({ privateSubnetIds: props.privateSubnetIds, publicSubnetIds })) {
      if (Token.isUnresolved(ids)) continue;
      for (const subnet of ids)
        matches(
          name,
          subnet,
          /^subnet-([0-9a-f]{8}|[0-9a-f]{17})$/,
          'give ids of subnets of the VPC, separated by commas',
        );
    }
    if (!Token.isUnresolved(props.privateSubnetIds) && props.privateSubnetIds.length < 2)
      throw new InvalidInput(
        `privateSubnetIds needs at least two subnets in different zones, got ${props.privateSubnetIds.length}: a database and a load balancer cannot be made in one zone`,
      );
    const both = props.privateSubnetIds.find((subnet) => publicSubnetIds.includes(subnet));
    if (both) throw new InvalidInput(`"${both}" is in both privateSubnetIds and publicSubnetIds: leave it in one`);
    this.vpcId = props.vpcId;
    this.privateSubnetIds = props.privateSubnetIds;
    this.publicSubnetIds = publicSubnetIds;

    const stack = Stack.of(this);
    const arn = (resource: string) => `arn:${stack.partition}:ec2:${stack.region}:${stack.account}:${resource}`;
    const vpc = arn(`vpc/${props.vpcId}`);
    const subnets = [...props.privateSubnetIds, ...publicSubnetIds];
    const mark = `${NETWORK_MARK}${props.prefix}`;
    const onlyOurKeys = {
      'ForAllValues:StringEquals': { 'aws:TagKeys': [ENABLED_TAG, PRIVATE_TAG, mark] },
      // "All of none" is true, and DeleteTags without keys would remove every tag.
      Null: { 'aws:TagKeys': 'false' },
    };

    const log = new logs.LogGroup(this, 'Log', {
      logGroupName: `/aws/lambda/${props.prefix}-network-tags`,
      retention: logs.RetentionDays.ONE_MONTH,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new iam.CfnRole(this, 'Role', {
      description: 'Tags the VPC and subnets that Freehold was given, and takes those tags off again',
      assumeRolePolicyDocument: {
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Principal: { Service: 'lambda.amazonaws.com' }, Action: 'sts:AssumeRole' }],
      },
      policies: [
        {
          policyName: 'network-tags',
          policyDocument: {
            Version: '2012-10-17',
            Statement: [
              { Effect: 'Allow', Action: ['ec2:DescribeVpcs', 'ec2:DescribeSubnets'], Resource: '*' },
              { Effect: 'Allow', Action: 'ec2:CreateTags', Resource: vpc, Condition: onlyOurKeys },
              // Ids that are parameters cannot be made into ARNs by CloudFormation.
              Token.isUnresolved(props.privateSubnetIds)
                ? {
                    Effect: 'Allow',
                    Action: 'ec2:CreateTags',
                    Resource: arn('subnet/*'),
                    Condition: { ...onlyOurKeys, ArnEquals: { 'ec2:Vpc': vpc } },
                  }
                : {
                    Effect: 'Allow',
                    Action: 'ec2:CreateTags',
                    Resource: subnets.map((subnet) => arn(`subnet/${subnet}`)),
                    Condition: onlyOurKeys,
                  },
              {
                // Not by id: when the list of subnets changes, those that left it still have to lose their tags.
                Effect: 'Allow',
                Action: 'ec2:DeleteTags',
                Resource: [arn('vpc/*'), arn('subnet/*')],
                Condition: { ...onlyOurKeys, StringEquals: { [`aws:ResourceTag/${ENABLED_TAG}`]: '1' } },
              },
              { Effect: 'Allow', Action: ['logs:CreateLogStream', 'logs:PutLogEvents'], Resource: log.logGroupArn },
            ],
          },
        },
      ],
    });
    const account = '<AWS::Region>:<AWS::AccountId>';
    Validations.of(role).acknowledge(
      {
        id: 'AwsSolutions-IAM5[Resource::*]',
        reason: 'ec2:DescribeVpcs and ec2:DescribeSubnets cannot be scoped to resources.',
      },
      ...['vpc', 'subnet'].map((type) => ({
        id: `AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ec2:${account}:${type}/*]`,
        reason:
          'Cut by a condition instead: only from networks enabled for the product, and only its own three tag keys.',
      })),
      {
        id: `AwsSolutions-IAM5[Resource::<${stack.getLogicalId(log.node.defaultChild as logs.CfnLogGroup)}.Arn>]`,
        reason: 'The ARN of a log group ends in :* for its streams.',
      },
    );
    const code = readFileSync(join(import.meta.dirname, 'network-tags.py'), 'utf8');
    const tagger = new lambda.Function(this, 'Function', {
      functionName: `${props.prefix}-network-tags`,
      description: 'Tags the VPC and subnets that Freehold was given, and takes those tags off again',
      runtime: lambda.Runtime.PYTHON_3_14,
      handler: 'index.handler',
      code: lambda.Code.fromInline(code),
      role: iam.Role.fromRoleArn(this, 'FunctionRole', role.attrArn, { mutable: false }),
      timeout: Duration.minutes(2),
      logGroup: log,
    });
    Validations.of(tagger).acknowledge({
      id: 'AwsSolutions-L1',
      reason: 'A new runtime reaches the regions one by one; this one is in all of them and supported for years.',
    });
    const tags = new CustomResource(this, 'Tags', {
      resourceType: 'Custom::NetworkTags',
      serviceToken: tagger.functionArn,
      serviceTimeout: Duration.minutes(5),
      properties: {
        Mark: mark,
        VpcId: props.vpcId,
        PrivateSubnetIds: props.privateSubnetIds,
        PublicSubnetIds: publicSubnetIds,
      },
    });
    this.cidrBlock = tags.getAttString('CidrBlock');
  }
}
