/** What is another in a place that was set up for the product that this one replaces, as far as that is pure. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grants, scopeOf } from '../../services/reconciler/aws/grants.ts';
import { names } from '../../services/reconciler/aws/names.ts';
import { ORIGINAL } from '../../services/reconciler/aws/original.ts';
import { SESSION_POLICY_LIMIT, deploymentPolicy } from '../../services/reconciler/aws/session.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { ecs } from '../../services/reconciler/platforms/ecs.ts';
import type { Place } from '../../services/reconciler/place.ts';
import type { ServerSpec } from '../../services/reconciler/spec.ts';

const account = '222222222222';
const region = 'ap-southeast-2';
const arn = (service: string, resource: string): string => `arn:aws:${service}:${region}:${account}:${resource}`;
const executionRoleArn = `arn:aws:iam::${account}:role/${ORIGINAL.executionRole}`;
const place: Place = {
  id: '7b0a2f7e-0000-4000-8000-000000000000',
  externalId: 'fh-1',
  version: 1,
  original: true,
  accountId: account,
  region,
  partition: 'aws',
  prefix: 'langgraph-cloud',
  roleArn: `arn:aws:iam::${account}:role/${ORIGINAL.role}`,
  vpcId: 'vpc-0123456789abcdef0',
  privateSubnetIds: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'],
  publicSubnetIds: [],
  clusterArn: arn('ecs', `cluster/${ORIGINAL.cluster}`),
  executionRoleArn,
  taskRoleArn: executionRoleArn,
  loadBalancerArn: arn('elasticloadbalancing', 'loadbalancer/app/langgraph-cloud/50dc6c495c0c9188'),
  loadBalancerDnsName: 'internal-langgraph-cloud-1.elb.amazonaws.com',
  listenerArn: arn('elasticloadbalancing', 'listener/app/langgraph-cloud/50dc6c495c0c9188/f2f7dc8efc522ab2'),
  loadBalancerSecurityGroupId: 'sg-1',
  serviceSecurityGroupId: 'sg-2',
  scheme: 'http',
  namespaceId: 'ns-abcdefghijklmnop',
  namespaceName: ORIGINAL.namespace,
  databaseSubnetGroup: ORIGINAL.databaseSubnetGroup,
  logGroupRoot: ORIGINAL.logGroup,
};
const deployment = { id: '0192b1e4-7c3d-4f5a-8b6c-9d0e1f2a3b4c', name: 'agent', workspaceId: 'w' };
const spec: ServerSpec = {
  deployment,
  type: 'dev',
  databaseTier: null,
  source: 'external_docker',
  environment: [],
  references: [],
  retainedSecretVersions: [],
  revision: { id: 'r', number: 1 },
  image: `${account}.dkr.ecr.${region}.amazonaws.com/agent:1`,
  resources: { cpu: 1, memoryMb: 2048, minScale: 1, maxScale: 1 },
  agentAuth: { type: 'noop' },
};

test('nothing is made that its role could not tag or not remove', () => {
  const made = new Set(ecs(spec, place).nodes.map(({ kind }) => kind.kind));
  for (const kind of ['security-group', 'log-group']) assert(!made.has(kind), kind);
});

test('its names fit where the shortest names are asked for, and its secrets can be read', () => {
  const called = names(place, deployment);
  assert(called.targetGroup.length <= 32, called.targetGroup);
  assert(called.database.length <= 63);
  assert.deepEqual([called.logGroup, called.logStreams], [ORIGINAL.logGroup, '0192b1e47c3d-']);
  assert('langgraph-cloud' in ownerTags(place, deployment.id, 'environment'));
});

test('a session there is cut to one deployment, in what AWS takes; the role of a stack gets nothing more', () => {
  const { length } = deploymentPolicy(scopeOf(place), deployment);
  assert(length <= SESSION_POLICY_LIMIT, `${length}`);
  const actions = (scoped: Place): string[] => grants(scopeOf(scoped)).flatMap((grant) => grant.actions);
  const { original: _, ...stack } = place;
  const more = new Set(actions(place).filter((action) => !actions(stack).includes(action)));
  assert.deepEqual([...more].sort(), [
    'elasticloadbalancing:CreateListener',
    'elasticloadbalancing:CreateLoadBalancer',
    'elasticloadbalancing:DeleteLoadBalancer',
    'elasticloadbalancing:DescribeLoadBalancers',
    'iam:ListRoles',
    'servicediscovery:ListNamespaces',
  ]);
});
