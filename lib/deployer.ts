/**
 * What somebody needs who makes, changes and removes the customer's stack, and no more: templates/deployer-*.json and a
 * part of docs/iam.md. All but the stack itself can be done only through CloudFormation.
 */
import { brakeName } from './brake.ts';
import { auditLogGroup } from '../services/reconciler/aws/audit-log.ts';
import { AWS_MANAGED_POLICIES, POLICY_LIMIT } from './control-plane-role.ts';
import { LINKED_SERVICES } from './service-linked-roles.ts';

export interface DeployerProps {
  /** As given to the stack. */
  readonly prefix: string;
  /** The stack's name. */
  readonly stack: string;
  readonly network: 'new' | 'existing';
  /** @default '*' */
  readonly region?: string;
  /** @default '*' */
  readonly account?: string;
}

export interface DeployerStatement {
  /** What it is for, in a reader's words. */
  readonly why: string;
  readonly sid: string;
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly conditions?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
  /** Needed only if the stack is given this. */
  readonly only?: string;
}

export interface PolicyDocument {
  readonly Version: '2012-10-17';
  readonly Statement: readonly {
    readonly Sid: string;
    readonly Effect: 'Allow';
    readonly Action: readonly string[];
    readonly Resource: readonly string[];
    readonly Condition?: object;
  }[];
}

const all = (service: string, ...names: string[]) => names.map((name) => `${service}:${name}`);

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-calledvia */
const THROUGH_CLOUDFORMATION = { 'aws:CalledVia': 'cloudformation.amazonaws.com' };

export function deployer(props: DeployerProps): DeployerStatement[] {
  const { prefix, stack, network, region = '*', account = '*' } = props;
  const arn = (service: string, resource: string, where = region) =>
    `arn:aws:${service}:${where}:${account}:${resource}`;
  const through = { 'ForAnyValue:StringEquals': THROUGH_CLOUDFORMATION };
  const fresh = network === 'new';
  const kinds = [
    'security-group',
    ...(fresh ? ['vpc', 'subnet', 'route-table', 'internet-gateway', 'natgateway', 'elastic-ip', 'vpc-flow-log'] : []),
  ].map((kind) => arn('ec2', `${kind}/*`));
  const roles = [arn('iam', `role/${prefix}-*`, ''), arn('iam', `role/${stack}-*`, '')];
  const groups = [
    `/aws/ecs/${prefix}`,
    auditLogGroup(prefix),
    fresh ? `/aws/vpc/${prefix}` : `/aws/lambda/${prefix}-network-tags`,
  ];
  const statements: DeployerStatement[] = [
    {
      why: 'The stack itself, as the CDK CLI and the AWS CLI go about it',
      sid: 'Stack',
      actions: all(
        'cloudformation',
        'CreateStack',
        'UpdateStack',
        'DeleteStack',
        'DescribeStacks',
        'DescribeStackEvents',
        'DescribeStackResources',
        'GetTemplate',
        'CreateChangeSet',
        'DescribeChangeSet',
        'ExecuteChangeSet',
        'DeleteChangeSet',
      ),
      // The template lets CloudFormation write out what is there many times.
      resources: [
        arn('cloudformation', `stack/${stack}/*`),
        `arn:aws:cloudformation:${region}:aws:transform/LanguageExtensions`,
      ],
    },
    {
      why: 'Reading, and what cannot be scoped: a namespace and its hosted zone have no name before they exist',
      sid: 'Look',
      actions: [
        // The VPC and the subnets also where they are given: CloudFormation looks parameters of their types up.
        ...all('ec2', 'DescribeVpcs', 'DescribeRegions', 'DescribeSecurityGroups', 'DescribeSubnets'),
        ...(fresh
          ? all(
              'ec2',
              'DescribeAvailabilityZones',
              'DescribeAccountAttributes',
              'DescribeRouteTables',
              'DescribeInternetGateways',
              'DescribeNatGateways',
              'DescribeAddresses',
              'DescribeFlowLogs',
            )
          : []),
        ...all('elasticloadbalancing', 'DescribeLoadBalancers', 'DescribeListeners'),
        'logs:DescribeLogGroups',
        ...all('servicediscovery', 'CreatePrivateDnsNamespace', 'ListTagsForResource'),
        ...all('route53', 'ListHostedZonesByName', 'CreateHostedZone'),
      ],
      resources: ['*'],
      conditions: through,
    },
    {
      why: fresh ? 'Makes the network and the security group of the load balancer' : "Makes the load balancer's group",
      sid: 'Network',
      actions: all(
        'ec2',
        'CreateSecurityGroup',
        ...(fresh
          ? [
              'CreateVpc',
              'CreateSubnet',
              'CreateRouteTable',
              'CreateInternetGateway',
              'CreateNatGateway',
              'AllocateAddress',
              'CreateFlowLogs',
            ]
          : []),
      ),
      resources: fresh ? kinds : [...kinds, arn('ec2', 'vpc/*')],
      conditions: through,
    },
    ...(fresh
      ? [
          {
            why: 'Needed to make the parts of the network with their tags',
            sid: 'NetworkTags',
            actions: ['ec2:CreateTags', 'ec2:DeleteTags'],
            resources: kinds,
            conditions: through,
          },
        ]
      : []),
    {
      why: 'Connects, changes and removes what this stack made of the network, and nothing else',
      sid: 'OwnNetwork',
      actions: all(
        'ec2',
        'AuthorizeSecurityGroupIngress',
        'AuthorizeSecurityGroupEgress',
        'RevokeSecurityGroupIngress',
        'RevokeSecurityGroupEgress',
        'DeleteSecurityGroup',
        ...(fresh
          ? [
              'DescribeVpcAttribute',
              'ModifyVpcAttribute',
              'ModifySubnetAttribute',
              'AttachInternetGateway',
              'DetachInternetGateway',
              'AssociateRouteTable',
              'DisassociateRouteTable',
              'CreateRoute',
              'ReplaceRoute',
              'DeleteRoute',
              'ReleaseAddress',
              'DeleteNatGateway',
              'DeleteFlowLogs',
              'DeleteInternetGateway',
              'DeleteRouteTable',
              'DeleteSubnet',
              'DeleteVpc',
            ]
          : []),
      ),
      resources: kinds,
      conditions: { ...through, StringEquals: { 'aws:ResourceTag/aws:cloudformation:stack-name': stack } },
    },
    {
      why: 'The cluster',
      sid: 'Cluster',
      actions: all('ecs', 'CreateCluster', 'DescribeClusters', 'UpdateCluster', 'DeleteCluster'),
      resources: [arn('ecs', `cluster/${prefix}`)],
      conditions: through,
    },
    {
      why: 'The load balancer and its listeners',
      sid: 'Balancer',
      actions: all(
        'elasticloadbalancing',
        'CreateLoadBalancer',
        'ModifyLoadBalancerAttributes',
        'SetSecurityGroups',
        'SetSubnets',
        'DeleteLoadBalancer',
        'CreateListener',
        'ModifyListener',
        'DeleteListener',
      ),
      resources: [
        // And those after the first: `<prefix>-2` and so on.
        arn('elasticloadbalancing', `loadbalancer/app/${prefix}/*`),
        arn('elasticloadbalancing', `loadbalancer/app/${prefix}-*`),
        arn('elasticloadbalancing', `listener/app/${prefix}/*`),
        arn('elasticloadbalancing', `listener/app/${prefix}-*`),
      ],
      conditions: through,
    },
    {
      why: 'The roles of the stack, by their names',
      sid: 'Roles',
      actions: all(
        'iam',
        'CreateRole',
        'GetRole',
        'UpdateRole',
        'UpdateRoleDescription',
        'UpdateAssumeRolePolicy',
        'PutRolePermissionsBoundary',
        'PutRolePolicy',
        'GetRolePolicy',
        'DeleteRolePolicy',
        'ListRolePolicies',
        'ListAttachedRolePolicies',
        'DeleteRole',
        'TagRole',
        'UntagRole',
      ),
      resources: roles,
      conditions: through,
    },
    {
      why: 'Attaches to them the policies of the stack, or with `policies=managed` those five of AWS, and no others',
      sid: 'RolePolicies',
      actions: all('iam', 'AttachRolePolicy', 'DetachRolePolicy'),
      resources: roles,
      conditions: {
        ...through,
        ArnLike: {
          'iam:PolicyARN': [
            arn('iam', `policy/${prefix}-*`, ''),
            ...AWS_MANAGED_POLICIES.map((name) => `arn:aws:iam::aws:policy/${name}`),
          ],
        },
      },
    },
    {
      why: 'The policies of the stack, by their names',
      sid: 'Policies',
      actions: all(
        'iam',
        'CreatePolicy',
        'GetPolicy',
        'ListPolicyVersions',
        'CreatePolicyVersion',
        'DeletePolicyVersion',
        'ListEntitiesForPolicy',
        'DeletePolicy',
      ),
      resources: [arn('iam', `policy/${prefix}-*`, '')],
      conditions: through,
    },
    {
      why: fresh ? 'Lets VPC write the flow logs' : 'Lets the function that tags the network use its role',
      sid: 'PassRole',
      actions: ['iam:PassRole'],
      resources: [arn('iam', `role/${stack}-*`, '')],
      conditions: {
        StringEquals: { 'iam:PassedToService': fresh ? 'vpc-flow-logs.amazonaws.com' : 'lambda.amazonaws.com' },
      },
    },
    {
      why: 'The log groups of the stack',
      sid: 'Logs',
      actions: all('logs', 'CreateLogGroup', 'PutRetentionPolicy', 'DeleteRetentionPolicy', 'DeleteLogGroup'),
      resources: groups.map((group) => arn('logs', `log-group:${group}:*`)),
      conditions: through,
    },
    {
      why: 'The bucket for uploads',
      sid: 'Uploads',
      actions: all(
        's3',
        'CreateBucket',
        'ListBucket',
        'PutEncryptionConfiguration',
        'PutLifecycleConfiguration',
        'PutBucketPublicAccessBlock',
        'PutBucketOwnershipControls',
        'GetBucketPolicy',
        'PutBucketPolicy',
        'DeleteBucketPolicy',
        'DeleteBucket',
      ),
      resources: [`arn:aws:s3:::${prefix}-uploads-*`],
      conditions: through,
    },
    {
      why: "The customer's brake",
      sid: 'Brake',
      actions: all('ssm', 'PutParameter', 'GetParameters', 'DeleteParameter'),
      resources: [arn('ssm', `parameter${brakeName(prefix)}`)],
      conditions: through,
    },
    {
      why: "Which subnets the deployments' databases are in",
      sid: 'DatabaseSubnets',
      actions: all(
        'rds',
        'CreateDBSubnetGroup',
        'DescribeDBSubnetGroups',
        'ListTagsForResource',
        'ModifyDBSubnetGroup',
        'DeleteDBSubnetGroup',
      ),
      resources: [arn('rds', `subgrp:${prefix}`)],
      conditions: through,
    },
    {
      why: 'The private namespace',
      sid: 'Names',
      actions: all('servicediscovery', 'GetNamespace', 'GetOperation', 'UpdatePrivateDnsNamespace', 'DeleteNamespace'),
      resources: [arn('servicediscovery', 'namespace/*')],
      conditions: through,
    },
    {
      why: "Cloud Map's look at the hosted zone that it made",
      sid: 'HostedZone',
      actions: ['route53:GetHostedZone'],
      resources: ['arn:aws:route53:::hostedzone/*'],
      conditions: through,
    },
  ];
  if (!fresh)
    statements.push({
      why: 'The function that tags the network, which CloudFormation calls',
      sid: 'NetworkTagger',
      actions: all(
        'lambda',
        'CreateFunction',
        'GetFunction',
        'UpdateFunctionCode',
        'UpdateFunctionConfiguration',
        'DeleteFunction',
        'InvokeFunction',
      ),
      resources: [arn('lambda', `function:${prefix}-network-tags`)],
      conditions: through,
    });
  statements.push({
    why: 'Service-linked roles of an account that lacks them; they stay when the stack goes',
    sid: 'ServiceLinkedRoles',
    only: 'serviceLinkedRoles',
    actions: ['iam:CreateServiceLinkedRole', 'iam:GetRole'],
    resources: LINKED_SERVICES.map((service) => arn('iam', `role/aws-service-role/${service}.amazonaws.com/*`, '')),
    conditions: through,
  });
  return statements;
}

/** As many policies as it takes: AWS limits the size of one. */
export function deployerPolicies(props: DeployerProps): PolicyDocument[] {
  const policies: PolicyDocument[] = [];
  let statements: PolicyDocument['Statement'] = [];
  const close = () => policies.push({ Version: '2012-10-17', Statement: statements });
  for (const { sid, actions, resources, conditions } of deployer(props)) {
    const statement = {
      Sid: sid,
      Effect: 'Allow' as const,
      Action: actions,
      Resource: resources,
      ...(conditions ? { Condition: conditions } : {}),
    };
    const longer = { Version: '2012-10-17', Statement: [...statements, statement] };
    if (JSON.stringify(longer).length > POLICY_LIMIT) {
      close();
      statements = [];
    }
    statements = [...statements, statement];
  }
  close();
  return policies;
}

/** File name and content of each published policy, for the default names. */
export function deployerFiles(): Record<string, string> {
  const files: Record<string, string> = {};
  for (const network of ['new', 'existing'] as const)
    deployerPolicies({ prefix: 'freehold', stack: 'freehold-account', network }).forEach((policy, at) => {
      files[`deployer-${network}-vpc-${at + 1}.policy.json`] = `${JSON.stringify(policy, null, 1)}\n`;
    });
  return files;
}
