/**
 * Everything the control plane may do in a customer's account: what the kinds call, and what looking at the place, at
 * images and at logs needs. The customer's role, the check of a place and docs/iam.md are all made from this one list.
 */
import { isDeepStrictEqual } from 'node:util';
import { kinds } from '../kinds/index.ts';
import { arn, logsOf } from './arn.ts';
import type { Place, PlaceOutputs } from '../place.ts';
import { brakeArn, brakeGrants } from './brake.ts';
import { auditGrants } from './audit-log.ts';
import type { Grant, Scope } from './grant.ts';
import { injectedGrants } from './injected.ts';
import { limitGrants } from './limits.ts';
import { originalGrants } from './original.ts';
import { trailGrants } from './trail.ts';

const searching: Grant = {
  actions: ['tag:GetResources'],
  resources: ['*'],
  why: 'finds what a deleted deployment left behind, and whose many things are in one call; AWS has no narrower scope',
};

const looking = (scope: Scope): Grant[] => [
  {
    actions: ['ec2:DescribeSubnets', 'ec2:DescribeVpcs', 'elasticloadbalancing:DescribeListeners'],
    resources: ['*'],
    why: 'checks the network and the listener of the place; AWS has no narrower scope for reading these',
  },
  { actions: ['ecs:DescribeClusters'], resources: [scope.clusterArn], why: "checks the place's cluster" },
  {
    actions: ['rds:DescribeDBSubnetGroups'],
    resources: [arn(scope, 'rds', `subgrp:${scope.databaseSubnetGroup}`)],
    why: "checks the place's database subnets",
  },
  {
    actions: ['servicediscovery:GetNamespace'],
    resources: [arn(scope, 'servicediscovery', `namespace/${scope.namespaceId}`)],
    why: "checks the place's private DNS namespace",
  },
  {
    actions: ['iam:SimulatePrincipalPolicy'],
    resources: [scope.controlRoleArn],
    why: 'checks which of these permissions the role has; of itself only',
  },
  {
    actions: ['ecr:DescribeImages'],
    resources: [arn(scope, 'ecr', 'repository/*')],
    why: 'checks that an image exists and finds its digest',
  },
  {
    actions: ['logs:FilterLogEvents'],
    resources: logsOf(scope),
    why: "shows deployments' logs to those who ask for them",
  },
  searching,
];

const ofKinds = (scope: Scope): Grant[] => [...kinds.values()].flatMap((kind) => kind.iam(scope));

/** Each grant once, in a fixed order. */
export const grants = (scope: Scope): Grant[] =>
  once([
    ...looking(scope),
    trailGrants,
    ...brakeGrants(scope),
    ...limitGrants(scope),
    ...auditGrants(scope),
    ...injectedGrants(scope),
    ...originalGrants(scope),
    ...ofKinds(scope),
  ]);

/** Those that a pass over a deployment needs, some of them more than once. */
export const grantsOfPass = (scope: Scope): Grant[] => [searching, ...ofKinds(scope)];

export const once = (all: readonly Grant[]): Grant[] =>
  all.filter((grant, index) => all.findIndex((other) => isDeepStrictEqual(other, grant)) === index);

export const scopeOf = (place: PlaceOutputs & Pick<Place, 'slot'>): Scope => ({
  partition: place.partition,
  region: place.region,
  account: place.accountId,
  prefix: place.prefix,
  vpcId: place.vpcId,
  privateSubnetIds: place.privateSubnetIds,
  clusterArn: place.clusterArn,
  executionRoleArn: place.executionRoleArn,
  taskRoleArn: place.taskRoleArn,
  controlRoleArn: place.roleArn,
  listenerArn: place.listenerArn,
  loadBalancerArn: place.loadBalancerArn,
  namespaceId: place.namespaceId,
  databaseSubnetGroup: place.databaseSubnetGroup,
  logGroupRoot: place.logGroupRoot,
  uploadBucket: place.uploadBucket,
  original: place.original,
  ownRoles: place.executionRoles !== undefined,
  deletionGate: place.deletionGate,
  ...(place.slot !== undefined && { slot: place.slot }),
  brakeParameterArn:
    place.brakeParameter &&
    brakeArn({ partition: place.partition, region: place.region, account: place.accountId }, place.brakeParameter),
  auditLogGroup: place.auditLogGroup,
});
