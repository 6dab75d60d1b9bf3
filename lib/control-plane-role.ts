/** The only way in: the role that the control plane assumes. Its rights come from what the code says it calls. */
import { CfnCondition, Fn, Stack, Token, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import { isDeepStrictEqual } from 'node:util';
import { kept } from '../services/reconciler/aws/gate.ts';
import { auditLogGroup } from '../services/reconciler/aws/audit-log.ts';
import type { Grant, Scope } from '../services/reconciler/aws/grant.ts';
import { denials, type Denial } from '../services/reconciler/aws/denials.ts';
import { grants } from '../services/reconciler/aws/grants.ts';
import type { Balancer } from './balancer.ts';
import { brakeName } from './brake.ts';
import type { Foundation } from './foundation.ts';
import { checkPrefix, InvalidInput, matches } from './input.ts';
import type { INetwork } from './network.ts';

/** What AWS allows in one managed policy, not counting white space (IAM quotas). */
export const POLICY_LIMIT = 6144;
/** What AWS attaches to one role by default. */
const POLICIES_PER_ROLE = 10;

/** As the product that this one replaces attached them. */
export const AWS_MANAGED_POLICIES = [
  'AmazonVPCReadOnlyAccess',
  'AmazonECS_FullAccess',
  'SecretsManagerReadWrite',
  'CloudWatchReadOnlyAccess',
  'AmazonRDSFullAccess',
] as const;

/** One identity: trusting a whole account (`:root`) would let everyone there in. */
export const PRINCIPAL = /^arn:aws[a-z-]*:iam::\d{12}:(user|role)\/[\w+=,.@/-]+$/;
/** https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html */
export const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/;

export interface ControlPlaneRoleProps {
  /** Begins the names of everything that the role may touch. */
  readonly prefix: string;
  /** The one user or role, in the control plane's account, that may assume this role. */
  readonly principalArn: string;
  /** Made by the control plane for this place alone; assuming without it, or with another, fails. */
  readonly externalId: string;
  readonly network: INetwork;
  readonly foundation: Foundation;
  readonly balancer: Balancer;
  /**
   * `scoped`: each call that the control plane makes, on this place's own names and tags.
   * `managed`: the five broad AWS policies of the product that this one replaces, and the calls that they do not allow.
   * Either way the role has the denials, of much that those five would allow.
   *
   * @default 'scoped'
   */
  readonly policies?: 'scoped' | 'managed';
  /**
   * Until when databases and secrets may be deleted, such as `2026-11-30T18:00:00Z`: a policy of its own allows it,
   * which is attached only when this is given, and IAM ends it at that time. What never served may always be deleted.
   *
   * @default - they may not: a delete waits, and does all the rest
   */
  readonly allowDeletionUntil?: string;
}

export class ControlPlaneRole extends Construct {
  readonly roleArn: string;

  constructor(scope: Construct, id: string, props: ControlPlaneRoleProps) {
    super(scope, id);
    const { prefix, policies = 'scoped' } = props;
    checkPrefix(prefix);
    matches(
      'principal',
      props.principalArn,
      PRINCIPAL,
      'give the ARN of one IAM user or role, as the control plane shows it, such as arn:aws:iam::111111111111:role/freehold',
    );
    matches(
      'externalId',
      props.externalId,
      EXTERNAL_ID,
      'give the external id exactly as the control plane shows it (2 to 1224 letters, digits and +=,.@:/-)',
    );
    if (policies !== 'scoped' && policies !== 'managed')
      throw new InvalidInput(`policies is "${policies as string}": say scoped or managed`);

    const until = props.allowDeletionUntil;
    if (until !== undefined) checkFuture(until);

    const stack = Stack.of(this);
    const principal = { AWS: props.principalArn };
    const role = new iam.CfnRole(this, 'Role', {
      roleName: `${prefix}-control-plane`,
      description:
        'Assumed by the Freehold control plane to run LangGraph Servers here. Delete it to revoke all access',
      maxSessionDuration: 3600,
      assumeRolePolicyDocument: {
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: principal,
            Action: 'sts:AssumeRole',
            Condition: { StringEquals: { 'sts:ExternalId': props.externalId } },
          },
          {
            // So that CloudTrail names for which deployment, what for and on whose behalf. Alone it opens nothing.
            Effect: 'Allow',
            Principal: principal,
            Action: ['sts:TagSession', 'sts:SetSourceIdentity'],
          },
        ],
      },
      managedPolicyArns:
        policies === 'managed'
          ? AWS_MANAGED_POLICIES.map((name) => `arn:${stack.partition}:iam::aws:policy/${name}`)
          : undefined,
    });
    if (policies === 'managed')
      Validations.of(role).acknowledge(
        ...AWS_MANAGED_POLICIES.map((name) => ({
          id: `AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/${name}]`,
          reason: 'The customer asked for the policies of the product that this one replaces (policies: managed).',
        })),
      );
    this.roleArn = role.attrArn;

    const named = (service: string, resource: string) =>
      `arn:\${AWS::Partition}:${service}:\${AWS::Region}:\${AWS::AccountId}:${resource}`;
    const sub = (value: string) => template(stack.resolve(value));
    const subnets = props.network.privateSubnetIds;
    const listed = Token.isUnresolved(subnets);
    // A parameter that is a list: its items get their `*` when it is deployed.
    const list = listed ? Fn.split(',', `*${Fn.join(',*', subnets)}`) : [];
    const written = (statement: Statement) => substituted(statement, list);
    const names = sub(prefix);
    const place: Scope = {
      partition: '${AWS::Partition}',
      region: '${AWS::Region}',
      account: '${AWS::AccountId}',
      prefix: names,
      vpcId: sub(props.network.vpcId),
      privateSubnetIds: listed ? [SUBNETS] : subnets.map(sub),
      clusterArn: named('ecs', `cluster/${names}`),
      executionRoleArn: `arn:\${AWS::Partition}:iam::\${AWS::AccountId}:role/${names}-execution`,
      taskRoleArn: `arn:\${AWS::Partition}:iam::\${AWS::AccountId}:role/${names}-task`,
      controlRoleArn: `arn:\${AWS::Partition}:iam::\${AWS::AccountId}:role/${names}-control-plane`,
      listenerArn: sub(props.balancer.listenerArn),
      loadBalancerArn: sub(props.balancer.loadBalancerArn),
      namespaceId: sub(props.foundation.namespaceId),
      databaseSubnetGroup: names,
      logGroupRoot: `/aws/ecs/${names}`,
      brakeParameterArn: named('ssm', `parameter${brakeName(names)}`),
      uploadBucket: `${names}-uploads-\${AWS::AccountId}-\${AWS::Region}`,
      ownRoles: true,
      deletionGate: true,
      auditLogGroup: auditLogGroup(names),
    };
    const granted = grants(place);
    const always = granted.filter((grant) => !grant.gated);
    const deleting = granted.filter((grant) => grant.gated);
    const ends = until === undefined ? undefined : sub(until);
    const documents = pack(
      policies === 'managed' ? always.map(lacking).filter((grant) => grant !== undefined) : always,
    );
    const never = denials(place, granted);
    new iam.CfnManagedPolicy(this, 'Denials', {
      managedPolicyName: `${prefix}-control-plane-denials`,
      policyDocument: {
        Version: '2012-10-17',
        Statement: forbidden(policies === 'managed' ? [...never, kept(deleting, ends)] : never).map(written),
      },
      roles: [role.ref],
    });
    // The denials, and what is attached for a time.
    const attached = documents.length + 2 + (role.managedPolicyArns?.length ?? 0);
    if (attached > POLICIES_PER_ROLE)
      throw new Error(`the role would have ${attached} policies, and AWS attaches at most ${POLICIES_PER_ROLE}`);
    const attach = (
      id: string,
      managedPolicyName: string,
      // Never change one: a new description means a new policy, and the name is taken by the old one.
      description: string,
      { statements, from }: Document,
    ): iam.CfnManagedPolicy => {
      const policy = new iam.CfnManagedPolicy(this, id, {
        managedPolicyName,
        description,
        policyDocument: { Version: '2012-10-17', Statement: statements.map(written) },
        roles: [role.ref],
      });
      const reasons = new Map<string, string[]>();
      for (const grant of from)
        for (const resource of grant.resources.filter((each) => each.includes('*')))
          reasons.set(resource, [...(reasons.get(resource) ?? []), grant.why]);
      if (reasons.size > 0)
        Validations.of(policy).acknowledge(
          ...[...reasons].map(([resource, why]) => ({
            id: `AwsSolutions-IAM5[Resource::${resource.replaceAll('${', '<').replaceAll('}', '>')}]`,
            reason: [...new Set(why)].join('; '),
          })),
        );
      return policy;
    };
    documents.forEach((document, index) => {
      const description = 'What the Freehold control plane may call, generated from what it says it calls';
      attach(`Policy${index + 1}`, `${prefix}-control-plane-${index + 1}`, description, document);
    });
    if (ends === undefined) return;
    const [gate, ...more] = pack(
      deleting.map((grant) => ({
        ...grant,
        conditions: { ...grant.conditions, DateLessThan: { 'aws:CurrentTime': ends } },
      })),
    );
    if (gate === undefined || more.length > 0) throw new Error('what is allowed only for a time is one policy');
    const description = 'Opens the delete gate for a time';
    const policy = attach('DeletionPolicy', `${prefix}-deletion`, description, gate);
    if (Token.isUnresolved(until)) {
      const expression = Fn.conditionNot(Fn.conditionEquals(until!, ''));
      policy.cfnOptions.condition = new CfnCondition(stack, 'DeletionAllowed', { expression });
    }
  }
}

/** A time to come, to the minute or second. */
export const UNTIL = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z$/;

function checkFuture(until: string): void {
  const todo = 'give a time in UTC, such as 2026-11-30T18:00:00Z, or leave it out to allow no deletion';
  matches('allowDeletionUntil', until, UNTIL, todo);
  if (Token.isUnresolved(until)) return;
  const at = Date.parse(until);
  if (Number.isNaN(at)) throw new InvalidInput(`allowDeletionUntil is "${until}": ${todo}`);
  if (at <= Date.now()) throw new InvalidInput(`allowDeletionUntil is "${until}", which is over: ${todo}`);
}

interface Document {
  readonly statements: readonly Statement[];
  readonly from: readonly Grant[];
}

interface Statement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Action?: string | readonly string[];
  readonly NotAction?: string | readonly string[];
  readonly Resource?: string | readonly string[];
  readonly NotResource?: string | readonly string[];
  readonly Condition?: Grant['conditions'];
}

const one = <T>(list: readonly T[]): T | readonly T[] => (list.length === 1 ? list[0]! : list);

/** Denials as statements: those on the same things as one. */
export function forbidden(all: readonly Denial[]): Statement[] {
  const bundles: { denial: Denial; actions: string[] }[] = [];
  for (const denial of all) {
    const { actions, resources, notResources, conditions } = denial;
    const same = ({ denial: other }: { denial: Denial }): boolean =>
      isDeepStrictEqual(
        [other.actions !== undefined, other.resources, other.notResources, other.conditions],
        [true, resources, notResources, conditions],
      );
    const there = actions && bundles.find(same);
    if (there) there.actions.push(...actions);
    else bundles.push({ denial, actions: [...(actions ?? [])] });
  }
  return bundles.map(({ denial: { notActions, resources, notResources, conditions }, actions }) => ({
    Effect: 'Deny',
    ...(notActions ? { NotAction: one(notActions) } : { Action: one(actions) }),
    ...(notResources ? { NotResource: one(notResources) } : { Resource: one(resources ?? []) }),
    ...(conditions && { Condition: conditions }),
  }));
}

const serviceOf = (action: string): string => action.split(':')[0]!;

/** Grants that are one statement. */
interface Bundle {
  actions: string[];
  resources: string[];
  readonly conditions: Grant['conditions'];
  readonly from: Grant[];
}

/**
 * Room is short in policies and templates, so grants under the same conditions become one statement: on the same
 * things, or of other services, whose actions know nothing of each other's ARNs. Neither allows anything more.
 */
function bundled(granted: readonly Grant[]): Bundle[] {
  const bundles: Bundle[] = [];
  for (const grant of granted) {
    const services = new Set(grant.actions.map(serviceOf));
    const fits = (bundle: Bundle): boolean => {
      if (!isDeepStrictEqual(bundle.conditions, grant.conditions)) return false;
      if (isDeepStrictEqual(bundle.resources, grant.resources)) return true;
      const everywhere = bundle.resources.includes('*') || grant.resources.includes('*');
      return !everywhere && !bundle.actions.some((action) => services.has(serviceOf(action)));
    };
    const there = bundles.find((bundle) => fits(bundle) && renderedSize([allowed(bundle)]) < POLICY_LIMIT / 2);
    if (there) {
      there.actions = [...new Set([...there.actions, ...grant.actions])];
      there.resources = [...new Set([...there.resources, ...grant.resources])];
      there.from.push(grant);
    } else {
      const { actions, resources, conditions } = grant;
      bundles.push({ actions: [...actions], resources: [...resources], conditions, from: [grant] });
    }
  }
  return bundles;
}

const allowed = ({ actions, resources, conditions }: Omit<Bundle, 'from'>): Statement => ({
  Effect: 'Allow',
  Action: one(actions),
  Resource: one(resources),
  ...(conditions && { Condition: conditions }),
});

/** Fills documents in order, each below AWS's limit however long the names turn out to be. */
export function pack(granted: readonly Grant[]): { statements: Statement[]; from: Grant[] }[] {
  const empty = () => ({ statements: [] as Statement[], from: [] as Grant[] });
  const documents = [empty()];
  for (const bundle of bundled(granted)) {
    const statement = allowed(bundle);
    let last = documents.at(-1)!;
    if (renderedSize([...last.statements, statement]) > POLICY_LIMIT) documents.push((last = empty()));
    last.statements.push(statement);
    last.from.push(...bundle.from);
    if (renderedSize(last.statements) > POLICY_LIMIT)
      throw new Error(`the permission "${bundle.from[0]!.why}" alone is longer than a policy may be`);
  }
  return documents.filter((document) => document.statements.length > 0);
}

/** Stands for a list of subnets that is known when the stack is deployed. */
const SUBNETS = '${PrivateSubnets}';

/** The longest that each name can become; anything else is an id or ARN that AWS makes. */
const LONGEST: Record<string, number> = {
  'AWS::Partition': 10,
  'AWS::Region': 14,
  'AWS::AccountId': 12,
  Prefix: 12,
  PrivateSubnets: 6 * '*subnet-0123456789abcdef0,""'.length,
};
const LONGEST_ARN = 140;

/** Characters of the policy as IAM counts them, each `${name}` at its longest. */
export function renderedSize(statements: readonly Statement[]): number {
  return JSON.stringify({ Version: '2012-10-17', Statement: statements }).replaceAll(
    /\$\{([^}]+)\}/g,
    (_, name: string) => 'x'.repeat(LONGEST[name] ?? LONGEST_ARN),
  ).length;
}

/** A name that CDK has resolved, as it is written within `Fn::Sub`. */
function template(resolved: unknown): string {
  if (typeof resolved === 'string') return resolved;
  const { Ref: ref, 'Fn::GetAtt': attribute } = resolved as { Ref?: string; 'Fn::GetAtt'?: [string, string] };
  if (ref !== undefined) return `\${${ref}}`;
  if (attribute !== undefined) return `\${${attribute.join('.')}}`;
  throw new Error(`cannot be written in a policy: ${JSON.stringify(resolved)}`);
}

/** The same statement, with `Fn::Sub` around every text that names something: short, and readable in the template. */
function substituted<T>(value: T, subnets: readonly string[]): T {
  if (Array.isArray(value) && value[0] === `*${SUBNETS}`) return subnets as T;
  if (typeof value === 'string') return (value.includes('${') ? Fn.sub(value) : value) as T;
  if (Array.isArray(value)) return value.map((each: unknown) => substituted(each, subnets)) as T;
  if (typeof value !== 'object' || value === null || Token.isUnresolved(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => {
      if (key.includes('${')) throw new Error(`CloudFormation substitutes no names in keys: "${key}"`);
      return [key, substituted(each, subnets)];
    }),
  ) as T;
}

/** What the code calls and none of `AWS_MANAGED_POLICIES` allows everywhere (a test compares with AWS's documents). */
export const NOT_IN_AWS_MANAGED_POLICIES: readonly string[] = [
  'application-autoscaling:ListTagsForResource',
  'application-autoscaling:TagResource',
  'cloudtrail:LookupEvents',
  'ec2:CreateTags',
  'ec2:DeleteSecurityGroup',
  'ec2:RevokeSecurityGroupIngress',
  'ecr:BatchCheckLayerAvailability',
  'ecr:BatchGetImage',
  'ecr:CompleteLayerUpload',
  'ecr:CreateRepository',
  'ecr:DeleteRepository',
  'ecr:DescribeImages',
  'ecr:DescribeRepositories',
  'ecr:GetAuthorizationToken',
  'ecr:InitiateLayerUpload',
  'ecr:ListTagsForResource',
  'ecr:PutImage',
  'ecr:TagResource',
  'ecr:UploadLayerPart',
  'elasticloadbalancing:AddTags',
  'elasticloadbalancing:DescribeTags',
  'elasticloadbalancing:DescribeTargetGroupAttributes',
  'elasticloadbalancing:DescribeTargetHealth',
  'elasticloadbalancing:ModifyRule',
  'elasticloadbalancing:ModifyTargetGroup',
  'elasticloadbalancing:ModifyTargetGroupAttributes',
  'iam:PassRole',
  'iam:SimulatePrincipalPolicy',
  'logs:CreateLogStream',
  'logs:DeleteLogGroup',
  'logs:PutLogEvents',
  'logs:PutRetentionPolicy',
  'logs:TagResource',
  's3:DeleteObject',
  's3:ListBucket',
  's3:PutObject',
  'servicediscovery:ListTagsForResource',
  'servicediscovery:TagResource',
  'servicequotas:GetServiceQuota',
  'ssm:GetParameter',
  'ssm:GetParameterHistory',
];

function lacking(grant: Grant): Grant | undefined {
  const actions = grant.actions.filter((action) => NOT_IN_AWS_MANAGED_POLICIES.includes(action));
  return actions.length > 0 ? { ...grant, actions } : undefined;
}
