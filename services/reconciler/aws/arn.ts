/**
 * ARNs and conditions that permissions are cut with. Scopes may hold CDK tokens: strings are only ever put together.
 */
import type { Grant, Scope } from './grant.ts';
import { shortId } from './names.ts';
import { TAG } from './tags.ts';

type Where = Pick<Scope, 'partition' | 'region' | 'account'>;

export const arn = (scope: Where, service: string, resource: string): string =>
  `arn:${scope.partition}:${service}:${scope.region}:${scope.account}:${resource}`;

/** What the names of deployments' things are, as `names` makes them: of all in the place, or of the scope's one. */
export function ours({ prefix, deployment }: Pick<Scope, 'prefix' | 'deployment'>) {
  const short = deployment && shortId(deployment.id);
  return {
    /** After the place's prefix. */
    named: short === undefined ? `${prefix}-*` : `${prefix}-${short}*`,
    /** The last part of a path. */
    slug: short === undefined ? '*' : `*-${short}*`,
    /** A part of a path, and all below it. */
    folder: deployment === undefined ? '*' : `${deployment.id}/*`,
  };
}

/** Of the cluster: the stack's has the prefix for a name, and the Terraform module's its own. */
export const clusterOf = ({ prefix, original }: Pick<Scope, 'prefix' | 'original'>): string =>
  original ? `${prefix}-cluster` : prefix;

/** What deployments' containers write to: one log group each, or all to one. */
export const logsOf = (scope: Scope): string[] =>
  (scope.original ? ['', ':*'] : [`/${ours(scope).slug}`]).map((end) =>
    arn(scope, 'logs', `log-group:${scope.logGroupRoot}${end}`),
  );

/** Where elasticloadbalancing:DescribeTags is not allowed, its tags are read from AWS's index of all. */
export const tagsByIndex = ({ original }: Scope): Grant[] =>
  original ? [{ actions: ['tag:GetResources'], resources: ['*'], why: 'sees whose a thing of the balancer is' }] : [];

const tagged = (kind: 'RequestTag' | 'ResourceTag', { prefix, deployment }: Pick<Scope, 'prefix' | 'deployment'>) => ({
  StringEquals: {
    [`aws:${kind}/${TAG.place}`]: prefix,
    ...(deployment && { [`aws:${kind}/${TAG.deployment}`]: deployment.id }),
  },
});

/** Whatever is created must carry this place's tag, and the deployment's, from the same call. */
export const createsOurs = (scope: Pick<Scope, 'prefix' | 'deployment'>) => tagged('RequestTag', scope);

/** Only what carries this place's tag, and the deployment's, is read in detail, changed or removed. */
export const changesOurs = (scope: Scope) => tagged('ResourceTag', scope);

/**
 * Whatever names subnets in its request names these alone. AWS's reference does not say whether the key holds ids or
 * ARNs: an ARN ends in the id.
 */
export const inPrivateSubnets = (scope: Scope) => ({
  'ForAllValues:StringLike': { 'ecs:subnet': scope.privateSubnetIds.map((id) => `*${id}`) },
});
