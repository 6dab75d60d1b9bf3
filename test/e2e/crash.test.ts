/**
 * The control plane is killed at one AWS call each of creating, rolling, failing to roll and deleting a deployment, as
 * a seed chooses them. `npm run crash` does it at all of them, and compares more.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { shuffled } from '../support/random.ts';
import { FLOWS, Lane, nameOf, pointOf, type Flow, type Point } from './points.ts';

/** Another one is another choice of calls; all of them are for `npm run crash`. */
const SEED = Number(process.env['CRASH_SEED'] ?? 1);
/** Calls that each of these makes and that make or change something, so often. */
const CALLS: Readonly<Record<Flow, Readonly<Record<string, number>>>> = {
  create: {
    'secretsmanager:CreateSecret': 3,
    'secretsmanager:PutSecretValue': 2,
    'secretsmanager:TagResource': 1,
    'secretsmanager:UntagResource': 3,
    'ec2:CreateSecurityGroup': 3,
    'ec2:AuthorizeSecurityGroupIngress': 3,
    'logs:CreateLogGroup': 1,
    'rds:CreateDBInstance': 1,
    'rds:ModifyDBInstance': 1,
    'rds:RemoveTagsFromResource': 1,
    'servicediscovery:CreateService': 1,
    'elasticloadbalancing:CreateTargetGroup': 1,
    'elasticloadbalancing:CreateRule': 1,
    'ecs:RegisterTaskDefinition': 2,
    'ecs:CreateService': 2,
    'application-autoscaling:RegisterScalableTarget': 1,
  },
  roll: {
    'secretsmanager:PutSecretValue': 1,
    'ecs:RegisterTaskDefinition': 1,
    'ecs:UpdateService': 1,
    'application-autoscaling:RegisterScalableTarget': 1,
    'ecs:DeregisterTaskDefinition': 1,
  },
  'failed-roll': { 'ecs:RegisterTaskDefinition': 1, 'ecs:UpdateService': 1 },
  delete: {
    'application-autoscaling:DeregisterScalableTarget': 1,
    'ecs:DeleteService': 2,
    'ecs:DeregisterTaskDefinition': 2,
    'elasticloadbalancing:DeleteRule': 1,
    'elasticloadbalancing:DeleteTargetGroup': 1,
    'rds:DeleteDBInstance': 1,
    'secretsmanager:DeleteSecret': 3,
    'servicediscovery:DeleteService': 1,
    'logs:DeleteLogGroup': 1,
  },
};
let lane: Lane;

before(async () => {
  lane = await Lane.open('440000000001');
});

after(() => lane?.close());

const chosen = (flow: Flow): Point => {
  const names = Object.entries(CALLS[flow]).flatMap(([call, times]) => {
    // What may have been made, and is not there, is waited for: a minute, which is left to `npm run crash`.
    const whens = /:(Create|Register)/.test(call) ? ['after'] : ['before', 'after'];
    return Array.from({ length: times }, (_, at) => whens.map((when) => `${flow} ${call}#${at + 1} ${when}`));
  });
  return pointOf(shuffled(names.flat(), SEED)[0]!);
};

test(`killed at a call and started again, it comes to the end that it would have come to (CRASH_SEED=${SEED})`, async (t) => {
  for (const flow of FLOWS)
    for (const { point, end, seconds, why } of await lane.run([chosen(flow)])) {
      t.diagnostic(`${nameOf(point)}: ${end}, ${seconds.toFixed(1)} s`);
      assert.equal(end, 'converged', `${nameOf(point)}: ${why}\nCRASH_SEED=${SEED}`);
    }
});
