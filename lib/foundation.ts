/**
 * What every deployment in the place shares and what seldom changes: cluster, ECS's roles, names, database subnets,
 * logs.
 */
import { RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as rds from 'aws-cdk-lib/aws-rds';
import * as servicediscovery from 'aws-cdk-lib/aws-servicediscovery';
import { Construct } from 'constructs';
import { injectable } from '../services/reconciler/aws/injected.ts';
import { TAG } from '../services/reconciler/aws/tags.ts';
import { checkPrefix } from './input.ts';
import type { INetwork } from './network.ts';
import { uploadBucketName } from './uploads.ts';

export interface FoundationProps {
  /** Begins every name; at most 12 characters. Several data planes fit one account by different prefixes. */
  readonly prefix: string;
  readonly network: INetwork;
  /**
   * Whether ECS sends metrics of each service and task to CloudWatch (billed as custom metrics).
   *
   * @default true
   */
  readonly containerInsights?: boolean;
  /**
   * How long the shared log group keeps its lines. Each deployment's own group below it has a retention of its own.
   *
   * @default 30
   */
  readonly logRetentionDays?: number;
}

export class Foundation extends Construct {
  readonly clusterArn: string;
  readonly executionRoleArn: string;
  readonly taskRoleArn: string;
  readonly namespaceId: string;
  readonly namespaceName: string;
  readonly databaseSubnetGroup: string;
  readonly logGroupRoot: string;

  constructor(scope: Construct, id: string, props: FoundationProps) {
    super(scope, id);
    const { prefix, network } = props;
    checkPrefix(prefix);
    const stack = Stack.of(this);
    const arn = (service: string, resource: string) =>
      `arn:${stack.partition}:${service}:${stack.region}:${stack.account}:${resource}`;

    const cluster = new ecs.CfnCluster(this, 'Cluster', {
      clusterName: prefix,
      clusterSettings: [
        { name: 'containerInsights', value: (props.containerInsights ?? true) ? 'enabled' : 'disabled' },
      ],
    });
    if (props.containerInsights === false)
      Validations.of(cluster).acknowledge({
        id: 'AwsSolutions-ECS4',
        reason: 'The customer switched Container Insights off (containerInsights): it is billed per metric.',
      });
    this.clusterArn = cluster.attrArn;

    this.logGroupRoot = `/aws/ecs/${prefix}`;
    new logs.LogGroup(this, 'Log', {
      logGroupName: this.logGroupRoot,
      retention: props.logRetentionDays ?? 30,
      removalPolicy: RemovalPolicy.DESTROY,
    });

    const byEcsOfThisAccount = {
      Version: '2012-10-17',
      Statement: [
        {
          Effect: 'Allow',
          Principal: { Service: 'ecs-tasks.amazonaws.com' },
          Action: 'sts:AssumeRole',
          // Against the confused deputy: ECS may use the role only for tasks of this account.
          Condition: {
            StringEquals: { 'aws:SourceAccount': stack.account },
            ArnLike: { 'aws:SourceArn': arn('ecs', '*') },
          },
        },
      ],
    };
    const secrets = arn('secretsmanager', `secret:${prefix}/*`);
    const execution = new iam.CfnRole(this, 'ExecutionRole', {
      roleName: `${prefix}-execution`,
      description:
        'Used by ECS itself to start the tasks of Freehold: pulls images, reads their secrets, writes their logs',
      assumeRolePolicyDocument: byEcsOfThisAccount,
      policies: [
        {
          policyName: 'start-tasks',
          policyDocument: {
            Version: '2012-10-17',
            Statement: [
              { Effect: 'Allow', Action: 'ecr:GetAuthorizationToken', Resource: '*' },
              {
                Effect: 'Allow',
                Action: ['ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer'],
                Resource: arn('ecr', 'repository/*'),
              },
              {
                Effect: 'Allow',
                Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
                Resource: arn('logs', `log-group:${this.logGroupRoot}/*`),
              },
              {
                Effect: 'Allow',
                Action: 'secretsmanager:GetSecretValue',
                Resource: secrets,
                Condition: { StringEquals: { [`aws:ResourceTag/${TAG.place}`]: prefix } },
              },
              {
                Effect: 'Allow',
                Action: 'secretsmanager:GetSecretValue',
                Resource: arn('secretsmanager', 'secret:*'),
                Condition: injectable(prefix),
              },
            ],
          },
        },
      ],
    });
    this.executionRoleArn = execution.attrArn;
    const wildcard = (resource: string, reason: string) => ({
      id: `AwsSolutions-IAM5[Resource::${resource}]`,
      reason,
    });
    const here = '<AWS::Region>:<AWS::AccountId>';
    const shown = stack.resolve(prefix).Ref ? `<${stack.resolve(prefix).Ref}>` : prefix;
    Validations.of(execution).acknowledge(
      wildcard('*', 'ecr:GetAuthorizationToken cannot be scoped to resources.'),
      wildcard(
        `arn:<AWS::Partition>:ecr:${here}:repository/*`,
        'Which repositories hold the agents is chosen with each deployment, inside this account.',
      ),
      wildcard(
        `arn:<AWS::Partition>:logs:${here}:log-group:/aws/ecs/${shown}/*`,
        'One log group per deployment, below the root.',
      ),
      wildcard(
        `arn:<AWS::Partition>:secretsmanager:${here}:secret:${shown}/*`,
        'One set of secrets per deployment, cut by name and by tag.',
      ),
      wildcard(
        `arn:<AWS::Partition>:secretsmanager:${here}:secret:*`,
        "The customer's own secrets, and of these only what the customer tagged for injection.",
      ),
    );

    const archives = `arn:${stack.partition}:s3:::${uploadBucketName(this, prefix)}`;
    const boundary = new iam.CfnManagedPolicy(this, 'Boundary', {
      managedPolicyName: `${prefix}-boundary`,
      // Never change it: a new description means a new policy, and the name is taken by the old one.
      description: 'The most that an agent of Freehold may do, whatever else is attached to its role',
      policyDocument: {
        Version: '2012-10-17',
        Statement: [
          { Sid: 'GrantsNothingByItself', Effect: 'Allow', Action: '*', Resource: '*' },
          { Sid: 'NoIdentities', Effect: 'Deny', Action: ['iam:*', 'organizations:*', 'account:*'], Resource: '*' },
          { Sid: 'NoSecretsOfDeployments', Effect: 'Deny', Action: 'secretsmanager:*', Resource: secrets },
          { Sid: 'NoSourceCodeOfDeployments', Effect: 'Deny', Action: 's3:*', Resource: [archives, `${archives}/*`] },
          {
            Sid: 'NothingOfThePlace',
            Effect: 'Deny',
            // A task may protect itself against being stopped in the middle of a run.
            NotAction: 'ecs:UpdateTaskProtection',
            Resource: '*',
            Condition: { StringEquals: { [`aws:ResourceTag/${TAG.place}`]: prefix } },
          },
        ],
      },
    });
    Validations.of(boundary).acknowledge(
      ...['Action::*', 'Resource::*'].map((finding) => ({
        id: `AwsSolutions-IAM5[${finding}]`,
        reason:
          'A permissions boundary grants nothing by itself: the statement is the ceiling that the denials below cut.',
      })),
    );
    const task = new iam.CfnRole(this, 'TaskRole', {
      roleName: `${prefix}-task`,
      description: 'What the agents may do in AWS: nothing, until the customer attaches policies',
      assumeRolePolicyDocument: byEcsOfThisAccount,
      permissionsBoundary: boundary.ref,
    });
    this.taskRoleArn = task.attrArn;

    this.namespaceName = `${prefix}.internal`;
    const namespace = new servicediscovery.CfnPrivateDnsNamespace(this, 'Namespace', {
      name: this.namespaceName,
      description: 'Names of what the deployments run for themselves, such as their Redis',
      vpc: network.vpcId,
    });
    this.namespaceId = namespace.attrId;

    const subnets = new rds.CfnDBSubnetGroup(this, 'DatabaseSubnets', {
      dbSubnetGroupName: prefix,
      dbSubnetGroupDescription: 'Private subnets for the databases of Freehold',
      subnetIds: network.privateSubnetIds,
    });
    this.databaseSubnetGroup = subnets.ref;
  }
}
