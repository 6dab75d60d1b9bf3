/** What sessions of a place's role may do, as text; whether AWS would allow it is asked in `sessions.test.ts`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Grant, Scope } from '../../services/reconciler/aws/grant.ts';
import { grants, grantsOfPass } from '../../services/reconciler/aws/grants.ts';
import { shortId } from '../../services/reconciler/aws/names.ts';
import {
  SESSION_POLICY_LIMIT,
  deploymentPolicy,
  deploymentReads,
  placeReads,
} from '../../services/reconciler/aws/session.ts';

const id = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee';

/** With the longest names that AWS and we let a place have. */
function scope(partition: string, region: string): Scope {
  const prefix = 'twelve-chars';
  const arn = (service: string, resource: string) => `arn:${partition}:${service}:${region}:222222222222:${resource}`;
  const role = (name: string) => `arn:${partition}:iam::222222222222:role/${prefix}-${name}`;
  const balancer = `app/${prefix}-10/50dc6c495c0c9188`;
  return {
    partition,
    region,
    account: '222222222222',
    prefix,
    vpcId: 'vpc-0123456789abcdef0',
    privateSubnetIds: ['subnet-0123456789abcdef0', 'subnet-1123456789abcdef0', 'subnet-2123456789abcdef0'],
    clusterArn: arn('ecs', `cluster/${prefix}`),
    executionRoleArn: role('execution-1234'),
    ownRoles: true,
    slot: 1234,
    taskRoleArn: role('task'),
    controlRoleArn: role('control-plane'),
    listenerArn: arn('elasticloadbalancing', `listener/${balancer}/f2f7dc8efc522ab2`),
    loadBalancerArn: arn('elasticloadbalancing', `loadbalancer/${balancer}`),
    namespaceId: 'ns-abcdefghijklmnop',
    databaseSubnetGroup: prefix,
    logGroupRoot: `/aws/ecs/${prefix}`,
    deletionGate: true,
    uploadBucket: `${prefix}-uploads-222222222222-${region}`,
  };
}
const PLACES = [
  scope('aws', 'ap-southeast-2'),
  scope('aws-us-gov', 'us-gov-west-1'),
  scope('aws-cn', 'cn-northwest-1'),
];

test('the longest session policies fit into what AWS takes', (t) => {
  for (const place of PLACES) {
    const policies = {
      'a pass': deploymentPolicy(place, { id }),
      'reads of a deployment': deploymentReads(place, { id }),
      'reads of a place': placeReads(place),
    };
    for (const [what, { length }] of Object.entries(policies)) {
      t.diagnostic(`${place.partition}: ${what}: ${length} of ${SESSION_POLICY_LIMIT} characters`);
      assert.ok(length <= SESSION_POLICY_LIMIT, `${what} in ${place.region}: ${length}`);
    }
  }
});

/** AWS refuses policies that do, with a `*` too. */
test('of IAM and S3, whose ARNs have no region, and S3 no account, a session names none', () => {
  for (const place of PLACES)
    for (const policy of [deploymentPolicy(place, { id }), deploymentReads(place, { id })]) {
      const { Statement } = JSON.parse(policy) as { Statement: { Resource: string | string[] }[] };
      const arns = Statement.flatMap(({ Resource }) => Resource).filter((arn) => /^arn:[^:]+:(iam|s3):/.test(arn));
      for (const arn of arns) assert.match(arn, /^arn:[^:]+:(iam::|s3:::)[^:]/);
    }
});

/** Of what a pass may change, what AWS lets nobody cut to one deployment. */
const UNCUT: Record<string, string> = {
  'ecs:DeregisterTaskDefinition': 'ECS takes no resource and no tag for it; one with other tags is left alone',
  'ec2:CreateSecurityGroup': "the network is the place's; the group itself must carry the deployment's tag",
  'iam:PassRole': "the roles are the stack's, and tasks of all deployments may be given them",
};

test('every change is cut to the deployment by name or tag, but for what AWS cannot cut', () => {
  const [place] = PLACES;
  const isCut = ({ resources, conditions }: Grant): boolean => {
    const names = (text: string) => text.includes(id) || text.includes(shortId(id));
    return resources.every(names) || names(JSON.stringify(conditions ?? {}));
  };
  const changes = /:(?!(Describe|List|Get|BatchCheck|BatchGet)[A-Z])/;
  const uncut = grantsOfPass({ ...place!, deployment: { id } }).filter((grant) => !isCut(grant));
  const actions = uncut.flatMap((grant) => grant.actions.filter((action) => changes.test(action)));
  assert.deepEqual([...new Set(actions)].sort(), Object.keys(UNCUT).sort());
});

test('a grant of one deployment says the same as that of the place, and on less', () => {
  const [place] = PLACES;
  const [all, one] = [grants(place!), grants({ ...place!, deployment: { id } })];
  const actions = (granted: Grant[]) => [...new Set(granted.flatMap((grant) => grant.actions))];
  assert.deepEqual(actions(one), actions(all));
});
