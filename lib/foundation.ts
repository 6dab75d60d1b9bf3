/**
 * What every deployment in the place shares and what seldom changes: cluster, ECS's roles, names, database subnets,
 * logs.
 */
import { CfnElement, Fn, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as rds from 'aws-cdk-lib/aws-rds';
import * as servicediscovery from 'aws-cdk-lib/aws-servicediscovery';
import { Construct } from 'constructs';
import { auditLogGroup } from '../services/reconciler/aws/audit-log.ts';
import { injectable } from '../services/reconciler/aws/injected.ts';
import { TAG } from '../services/reconciler/aws/tags.ts';
import { brakeName } from './brake.ts';
import { checkPrefix, InvalidInput } from './input.ts';
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
  /**
   * Each deployment gets one of them, which reads its secrets alone: so many deployments there can be, until there are
   * more. One that has a deployment must not be taken away. 0: all deployments share one that reads all their secrets.
   *
   * @default 20
   */
  readonly executionRoles?: number;
  /**
   * How long this account's copy of the audit log is kept.
   *
   * @default 400
   */
  readonly auditRetentionDays?: number;
}

/** With what else is in the stack they must be fewer than the 500 resources that CloudFormation allows. */
const MOST_ROLES = 200;

export class Foundation extends Construct {
  readonly clusterArn: string;
  /** Of deployments that have none of their own. */
  readonly executionRoleArn: string;
  /** How many there are beside it: `<executionRoleArn>-1` and so on. */
  readonly executionRoles: number;
  readonly taskRoleArn: string;
  readonly namespaceId: string;
  readonly namespaceName: string;
  readonly databaseSubnetGroup: string;
  readonly logGroupRoot: string;
  readonly auditLogGroup: string;

  constructor(scope: Construct, id: string, props: FoundationProps) {
    super(scope, id);
    const { prefix, network, executionRoles = 20 } = props;
    checkPrefix(prefix);
    if (!Number.isInteger(executionRoles) || executionRoles < 0 || executionRoles > MOST_ROLES)
      throw new InvalidInput(`executionRoles is ${executionRoles}: give a whole number from 0 to ${MOST_ROLES}`);
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

    this.auditLogGroup = auditLogGroup(prefix);
    new logs.LogGroup(this, 'AuditLog', {
      logGroupName: this.auditLogGroup,
      retention: props.auditRetentionDays ?? 400,
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
    const reads = (Resource: string, Condition: object) => ({
      Effect: 'Allow',
      Action: 'secretsmanager:GetSecretValue',
      Resource,
      Condition,
    });
    const ofPlace = { [`aws:ResourceTag/${TAG.place}`]: prefix };
    const ofSlot = `aws:ResourceTag/${TAG.slot}`;
    const start = new iam.CfnManagedPolicy(this, 'StartTasks', {
      managedPolicyName: `${prefix}-start-tasks`,
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
          // ECS gives its sessions of the role no tags: what tells deployments apart is the tag of the role itself.
          reads(secrets, { StringEquals: { ...ofPlace, [ofSlot]: `\${aws:PrincipalTag/${TAG.slot}}` } }),
          reads(arn('secretsmanager', 'secret:*'), injectable(prefix)),
        ],
      },
    });
    const execution = new iam.CfnRole(this, 'ExecutionRole', {
      roleName: `${prefix}-execution`,
      description:
        'Used by ECS itself to start the tasks of Freehold: pulls images, reads their secrets, writes their logs',
      assumeRolePolicyDocument: byEcsOfThisAccount,
      managedPolicyArns: [start.ref],
      policies: [
        {
          policyName: 'start-tasks',
          policyDocument: {
            Version: '2012-10-17',
            Statement: [reads(secrets, { StringEquals: ofPlace, Null: { [ofSlot]: 'true' } })],
          },
        },
      ],
    });
    this.executionRoleArn = execution.attrArn;
    this.executionRoles = executionRoles;
    if (executionRoles > 0)
      new ForEach(this, 'ExecutionRoles', executionRoles, (slot) => ({
        Type: 'AWS::IAM::Role',
        Properties: {
          RoleName: Fn.join('-', [`${prefix}-execution`, slot]),
          AssumeRolePolicyDocument: byEcsOfThisAccount,
          ManagedPolicyArns: [start.ref],
          Tags: [{ Key: TAG.slot, Value: slot }],
        },
      }));
    const wildcard = (resource: string, reason: string) => ({
      id: `AwsSolutions-IAM5[Resource::${resource}]`,
      reason,
    });
    const here = '<AWS::Region>:<AWS::AccountId>';
    const shown = stack.resolve(prefix).Ref ? `<${stack.resolve(prefix).Ref}>` : prefix;
    const ofDeployments = wildcard(
      `arn:<AWS::Partition>:secretsmanager:${here}:secret:${shown}/*`,
      'One set of secrets per deployment, cut by name and by tag.',
    );
    Validations.of(start).acknowledge(
      wildcard('*', 'ecr:GetAuthorizationToken cannot be scoped to resources.'),
      wildcard(
        `arn:<AWS::Partition>:ecr:${here}:repository/*`,
        'Which repositories hold the agents is chosen with each deployment, inside this account.',
      ),
      wildcard(
        `arn:<AWS::Partition>:logs:${here}:log-group:/aws/ecs/${shown}/*`,
        'One log group per deployment, below the root.',
      ),
      ofDeployments,
      wildcard(
        `arn:<AWS::Partition>:secretsmanager:${here}:secret:*`,
        "The customer's own secrets, and of these only what the customer tagged for injection.",
      ),
    );
    Validations.of(execution).acknowledge(ofDeployments);

    const archives = `arn:${stack.partition}:s3:::${uploadBucketName(this, prefix)}`;
    const boundary = new iam.CfnManagedPolicy(this, 'Boundary', {
      managedPolicyName: `${prefix}-boundary`,
      // Never change it: a new description means a new policy, and the name is taken by the old one.
      description: 'The most that an agent of Freehold may do, whatever else is attached to its role',
      policyDocument: {
        Version: '2012-10-17',
        Statement: [
          { Effect: 'Allow', Action: '*', Resource: '*' },
          { Effect: 'Deny', Action: ['iam:*', 'organizations:*', 'account:*'], Resource: '*' },
          { Effect: 'Deny', Action: 'secretsmanager:*', Resource: secrets },
          { Effect: 'Deny', Action: 's3:*', Resource: [archives, `${archives}/*`] },
          { Effect: 'Deny', Action: 'ssm:*', Resource: arn('ssm', `parameter${brakeName(prefix)}`) },
          {
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

/** One resource written out so many times, by CloudFormation itself: a template has room for it once. */
class ForEach extends CfnElement {
  readonly #resources: () => object;

  /** @param resource given what stands for the number, from 1 */
  constructor(scope: Construct, id: string, count: number, resource: (number: string) => object) {
    super(scope, id);
    Stack.of(this).addTransform('AWS::LanguageExtensions');
    const numbers = Array.from({ length: count }, (_, index) => String(index + 1));
    const name = this.node.id;
    this.#resources = () => ({
      [`Fn::ForEach::${name}`]: ['Number', numbers, { [`${name}\${Number}`]: resource(Fn.ref('Number')) }],
    });
  }

  /** https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-foreach.html */
  override _toCloudFormation(): object {
    return { Resources: this.#resources() };
  }
}
