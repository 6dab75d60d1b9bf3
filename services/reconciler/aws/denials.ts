/**
 * What the role may never do, whatever else is attached to it: explicit denials, which no other policy can undo. With
 * the grants alone nothing of this would be allowed either; they are for whoever reads the role, and for the day when
 * somebody attaches more to it.
 */
import { arn } from './arn.ts';
import { NEVER_TAGGED_AGAIN } from './gate.ts';
import type { Grant, Scope } from './grant.ts';

/** As an IAM policy statement that denies it, with its reason. */
export interface Denial {
  readonly actions?: readonly string[];
  /** All but these. */
  readonly notActions?: readonly string[];
  readonly resources?: readonly string[];
  /** All but these, also what has no ARN. */
  readonly notResources?: readonly string[];
  readonly conditions?: Grant['conditions'];
  readonly why: string;
}

/** @param granted what the role may do: of the roles that it may pass, nothing else is done with them */
export function denials(scope: Scope, granted: readonly Grant[]): Denial[] {
  const global = (service: string, resource: string): string => `arn:${scope.partition}:${service}:::${resource}`;
  const passed = granted.filter(({ actions }) => actions.includes('iam:PassRole')).flatMap((each) => each.resources);
  // In any region and account: shorter, and denies the more.
  const anywhere = (service: string, resource: string): string => `arn:${scope.partition}:${service}:*:*:${resource}`;
  const ec2 = (...types: string[]): string[] => types.map((type) => anywhere('ec2', `${type}/*`));
  const bucket = scope.uploadBucket === undefined ? undefined : global('s3', scope.uploadBucket);
  return [
    {
      actions: ['secretsmanager:GetSecretValue', 'secretsmanager:BatchGetSecretValue'],
      resources: ['*'],
      why: 'it writes secrets and reads none',
    },
    {
      actions: [
        'secretsmanager:PutResourcePolicy',
        'secretsmanager:ReplicateSecretToRegions',
        'secretsmanager:RotateSecret',
        'rds:Copy*',
        'rds:ModifyDB*Snapshot*',
        'rds:StartExportTask',
        'rds:AddRoleTo*',
      ],
      resources: ['*'],
      why: 'what it cannot read it cannot hand to others: no secret, no snapshot',
    },
    {
      actions: ['rds-data:*', 'rds-db:*', 'rds:DownloadDBLogFilePortion', 'rds:DownloadCompleteDBLogFile'],
      resources: ['*'],
      why: 'no way into a database: no query, no sign-in, no log of queries',
    },
    {
      actions: ['ecs:ExecuteCommand', 'ecs:RunTask', 'ecs:StartTask'],
      resources: ['*'],
      why: 'no shell in a task, and no task beside the services',
    },
    {
      actions: [
        'ec2:RunInstances',
        'ec2:RequestSpot*',
        'autoscaling:*',
        'cloudformation:*',
        'codedeploy:*',
        'events:*',
        'lambda:*',
      ],
      resources: ['*'],
      why: 'nothing else that runs code, now or later: no machine, no function, no stack, no rule',
    },
    ...(bucket === undefined
      ? [{ actions: ['s3:*'], resources: ['*'], why: 'this stack has no bucket' }]
      : [
          {
            actions: ['s3:*'],
            notResources: [bucket, `${bucket}/uploads/*`],
            why: 'of S3 nothing but the archives that were uploaded',
          },
          { notActions: ['s3:ListBucket'], resources: [bucket], why: 'the bucket is listed, and never changed' },
          {
            notActions: ['s3:PutObject', 's3:DeleteObject'],
            resources: [`${bucket}/uploads/*`],
            why: 'archives are put and removed, and none is read',
          },
        ]),
    {
      actions: ['logs:Get*', 'logs:FilterLogEvents', 'logs:Start*', 'logs:Unmask'],
      notResources: [arn(scope, 'logs', `log-group:${scope.logGroupRoot}/*`)],
      why: "no logs but the deployments' own",
    },
    NEVER_TAGGED_AGAIN,
    ...brakeOnly(scope),
    {
      actions: ['iam:*'],
      notResources: [...passed, scope.controlRoleArn],
      why: 'of IAM nothing but what the next two leave: no user, role, policy or boundary is made, changed or read',
    },
    { notActions: ['iam:PassRole'], resources: passed, why: "the tasks' roles are passed, and nothing else" },
    {
      notActions: ['iam:SimulatePrincipalPolicy'],
      resources: [scope.controlRoleArn],
      why: 'it asks IAM what it may do itself, and cannot change that',
    },
    {
      actions: ['iam:PassRole'],
      resources: ['*'],
      conditions: { StringNotEquals: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } },
      why: 'roles are for tasks of ECS alone',
    },
    {
      actions: [
        'elasticloadbalancing:CreateL*',
        'elasticloadbalancing:ModifyL*',
        'elasticloadbalancing:DeleteL*',
        'elasticloadbalancing:Set*',
        'elasticloadbalancing:AddListenerCertificates',
        'elasticloadbalancing:RemoveListenerCertificates',
      ],
      resources: ['*'],
      why:
        "the load balancers and their listeners are the stack's: it cannot make one public, lower the TLS policy, or " +
        'open a listener of its own',
    },
    {
      actions: ['ecs:CreateC*', 'ecs:UpdateC*', 'ecs:DeleteC*', 'ecs:Put*', 'ecs:DeleteA*'],
      resources: ['*'],
      why: "the cluster is the stack's, and ECS's settings are the account's",
    },
    {
      notActions: ['ec2:CreateSecurityGroup'],
      resources: [arn(scope, 'ec2', `vpc/${scope.vpcId}`)],
      why: 'in the network groups are made; it stays as it is',
    },
    {
      actions: ['ec2:*'],
      resources: ec2('subnet', 'route-table', 'internet-gateway', 'natgateway'),
      why: "where packets can go is the stack's to say",
    },
    {
      actions: ['rds:*DBSubnetGroup'],
      resources: ['*'],
      why: "the databases' subnets are the stack's",
    },
    {
      actions: ['servicediscovery:Create*Namespace', 'servicediscovery:Update*', 'servicediscovery:DeleteNamespace'],
      resources: ['*'],
      why: "the private namespace is the stack's",
    },
    {
      actions: ['servicediscovery:RegisterInstance', 'servicediscovery:DeregisterInstance'],
      resources: ['*'],
      why: 'which tasks have a name, ECS says: no name can be made to lead elsewhere',
    },
    {
      actions: ['logs:*'],
      resources: [
        anywhere('logs', `log-group:${scope.logGroupRoot}`),
        anywhere('logs', `log-group:${scope.logGroupRoot}:*`),
      ],
      why: "the stack's own log group",
    },
    ...(scope.auditLogGroup === undefined
      ? []
      : [
          {
            notActions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
            resources: ['', ':*'].map((all) => anywhere('logs', `log-group:${scope.auditLogGroup}${all}`)),
            why: "the customer's copy of the audit log is appended to, and never read, shortened or removed",
          },
        ]),
  ];
}

/** Of Systems Manager one parameter, with which the customer stops us: read, and never written. */
function brakeOnly({ brakeParameterArn: brake }: Scope): Denial[] {
  const why = 'no parameter, no session on a machine, no command';
  if (brake === undefined) return [{ actions: ['ssm:*', 'ssmmessages:*'], resources: ['*'], why }];
  return [
    { actions: ['ssm:*', 'ssmmessages:*'], notResources: [brake], why: `${why}, but for the brake` },
    {
      notActions: ['ssm:GetParameter', 'ssm:GetParameterHistory'],
      resources: [brake],
      why: "the brake is read, and is the customer's to pull",
    },
  ];
}
