import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlaceUnavailable, Terminal, explain, noteCall } from '../../services/reconciler/aws/errors.ts';

const error = (name: string, message: string, call = 'ecs:CreateService'): Error => {
  const made = Object.assign(new Error(message), { name });
  noteCall(made, call);
  return made;
};

const USER = 'User: arn:aws:sts::222222222222:assumed-role/freehold-control-plane/s is not authorized to perform:';
const cases: { reason: string; error: unknown; terminal: boolean; message: string }[] = [
  {
    reason: 'a parameter that AWS refuses stays refused',
    error: error('InvalidParameterException', 'No Fargate configuration exists for given values.'),
    terminal: true,
    message: 'invalid parameter: ecs:CreateService: No Fargate configuration exists for given values',
  },
  {
    reason: 'the same code, said of what is still on its way',
    error: error('InvalidParameterException', 'Unable to Start a service that is still Draining.'),
    terminal: false,
    message: 'invalid parameter: ecs:CreateService: Unable to Start a service that is still Draining',
  },
  {
    reason: 'Application Auto Scaling sees a service a while after ECS has made it',
    error: error('ValidationException', "ECS service doesn't exist: service/freehold/freehold-1"),
    terminal: false,
    message: "validation: ecs:CreateService: ECS service doesn't exist: service/freehold/freehold-1",
  },
  {
    reason: 'deletion protection goes a moment after RDS was asked to take it off',
    error: error('InvalidParameterCombination', 'Cannot delete protected DB Instance, please disable it.'),
    terminal: false,
    message: 'invalid parameter combination: ecs:CreateService: Cannot delete protected DB Instance, please disable it',
  },
  {
    reason: 'denied names the action and the resource',
    error: error(
      'AccessDeniedException',
      `${USER} ecs:CreateService on resource: arn:aws:ecs:us-east-1:222222222222:service/freehold/freehold-1 because no identity-based policy allows the ecs:CreateService action`,
    ),
    terminal: false,
    message:
      'missing permission: "ecs:CreateService" on "arn:aws:ecs:us-east-1:222222222222:service/freehold/freehold-1": the role needs it',
  },
  {
    reason: 'an explicit deny says whose',
    error: error(
      'AccessDeniedException',
      `${USER} rds:CreateDBInstance on resource: arn:aws:rds:us-east-1:222222222222:db:x with an explicit deny in a service control policy`,
    ),
    terminal: false,
    message:
      'missing permission: "rds:CreateDBInstance" on "arn:aws:rds:us-east-1:222222222222:db:x": an explicit deny in the service control policy forbids it',
  },
  {
    reason: "EC2's encoded message changes with every call",
    error: error(
      'UnauthorizedOperation',
      'You are not authorized to perform this operation. Encoded authorization failure message: abcDEF123',
      'ec2:CreateSecurityGroup',
    ),
    terminal: false,
    message: 'missing permission: "ec2:CreateSecurityGroup": the role needs it',
  },
  {
    reason: 'a quota is named, and somebody can raise it',
    error: error(
      'TooManyTargetGroups',
      'The maximum number of target groups has been reached',
      'elasticloadbalancing:CreateTargetGroup',
    ),
    terminal: false,
    message:
      'quota reached: "TooManyTargetGroups": elasticloadbalancing:CreateTargetGroup: The maximum number of target groups has been reached',
  },
  {
    reason: "Fargate's vCPUs: a quota, though the code says throttling and the SDK has tried again",
    error: error(
      'ThrottlingException',
      "You've reached the limit on the number of vCPUs you can run concurrently",
      'ecs:RunTask',
    ),
    terminal: false,
    message:
      'quota reached: "ThrottlingException": ecs:RunTask: You\'ve reached the limit on the number of vCPUs you can run concurrently',
  },
  {
    reason: 'a quota that ECS says with a code for bad parameters: somebody can raise it',
    error: error('InvalidParameterException', "You've reached the limit on the number of services in a cluster: 5000"),
    terminal: false,
    message:
      'quota reached: "InvalidParameterException": ecs:CreateService: You\'ve reached the limit on the number of services in a cluster: 5000',
  },
  {
    reason: 'TooManyRequests is throttling, not a quota',
    error: error('TooManyRequestsException', 'Rate exceeded'),
    terminal: false,
    message: 'AWS asks us to slow down: ecs:CreateService',
  },
  {
    reason: 'the network',
    error: Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' }),
    terminal: false,
    message: 'AWS cannot be reached: ECONNREFUSED',
  },
  {
    reason: 'what is not known passes, or so we hope',
    error: error('SomethingNewException', 'It broke. (Service: Ecs, Status Code: 500, Request ID: 1-2-3)'),
    terminal: false,
    message: 'something new: ecs:CreateService: It broke',
  },
  {
    reason: 'our own verdict',
    error: new Terminal('exists and is not ours: "x"'),
    terminal: true,
    message: 'exists and is not ours: "x"',
  },
  {
    reason: 'a role can be mended',
    error: new PlaceUnavailable('the account cannot be entered: "r": why', 'r'),
    terminal: false,
    message: 'the account cannot be entered: "r": why',
  },
];

for (const { reason, error: given, terminal, message } of cases) {
  test(reason, () => assert.deepEqual(explain(given), { terminal, message }));
}

test('the same trouble is the same sentence, whatever ids AWS puts into it', () => {
  const at = (id: string) => explain(error('InternalFailure', `Try again. RequestId: ${id}`)).message;
  assert.equal(at('7b0c2c3e-aaaa-bbbb-cccc-000000000001'), at('7b0c2c3e-aaaa-bbbb-cccc-000000000002'));
});
