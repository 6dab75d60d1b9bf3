import assert from 'node:assert/strict';
import { test } from 'node:test';
import { App } from 'aws-cdk-lib';
import { fromContext } from '../../lib/context.ts';
import { CustomerAccountStack } from '../../lib/customer-account.ts';
import { InvalidInput } from '../../lib/input.ts';

process.env['CDK_VALIDATION'] = 'false';

const principal = 'arn:aws:iam::111111111111:user/freehold';
const least = { principal, externalId: 'fh-1' };
const vpc = { vpcId: 'vpc-0a1b2c3d', privateSubnetIds: 'subnet-0a1b2c3d,subnet-1a1b2c3d' };
const certificateArn = 'arn:aws:acm:us-east-1:222222222222:certificate/1';

const synthesized = (context: Record<string, unknown>) =>
  new CustomerAccountStack(new App(), 'customer-account', fromContext(context));

const refused: [why: string, context: Record<string, unknown>, message: RegExp][] = [
  ['nothing given', {}, /principal and externalId missing: add -c principal=… -c externalId=…/],
  ['half given', { principal }, /^externalId missing: add -c externalId=…/],
  [
    'a misspelt name must not be ignored',
    { ...least, certificateARN: 'x' },
    /certificateARN is not known: .*certificateArn/,
  ],
  [
    'a whole account',
    { ...least, principal: 'arn:aws:iam::111111111111:root' },
    /principal is "arn:.*": give the ARN of one/,
  ],
  ['everyone', { ...least, principal: '*' }, /principal is "\*"/],
  ['AWS accepts no blanks', { ...least, externalId: 'a b' }, /externalId is "a b"/],
  [
    'longer names would break target groups',
    { ...least, prefix: 'thirteen-long' },
    /prefix is "thirteen-long": use at most 12/,
  ],
  ['database names are lower case', { ...least, prefix: 'Freehold' }, /prefix is "Freehold"/],
  ['database names have no double hyphen', { ...least, prefix: 'a--b' }, /prefix is "a--b"/],
  ['reserved by load balancers', { ...least, prefix: 'internal' }, /prefix is "internal"/],
  ['its roles would be those of "free"', { ...least, prefix: 'free-task' }, /prefix is "free-task"/],
  ['and so with more after it', { ...least, prefix: 'free-task-x' }, /prefix is "free-task-x"/],
  ['its execution role, too', { ...least, prefix: 'a-execution' }, /prefix is "a-execution"/],
  ['not an id', { ...least, ...vpc, vpcId: 'my-vpc' }, /vpcId is "my-vpc"/],
  ['one subnet', { ...least, ...vpc, privateSubnetIds: 'subnet-0a1b2c3d' }, /at least two subnets .* got 1/],
  ['no subnets', { ...least, vpcId: vpc.vpcId }, /at least two subnets .* got 0/],
  ['both private and public', { ...least, ...vpc, publicSubnetIds: 'subnet-0a1b2c3d' }, /is in both/],
  [
    'an empty item',
    { ...least, ...vpc, privateSubnetIds: 'subnet-0a1b2c3d,,x' },
    /separate the values by single commas/,
  ],
  ['subnets of no VPC', { ...least, publicSubnetIds: 'subnet-0a1b2c3d' }, /given without vpcId/],
  ['two networks', { ...least, ...vpc, cidr: '10.0.0.0/16' }, /cidr given with vpcId/],
  [
    'too small for three zones',
    { ...least, cidr: '10.0.0.0/24' },
    /cidr is "10.0.0.0\/24": give an IPv4 range of \/16/,
  ],
  ['one zone', { ...least, zones: '1' }, /zones must be 2 or 3, got 1/],
  ['zones twice', { ...least, zones: '2', azs: 'us-east-1a,us-east-1b' }, /leave zones out/],
  [
    'more ways out than zones',
    { ...least, natGateways: '3' },
    /natGateways must be from 1 to the number of zones \(2\), got 3/,
  ],
  ['not a number', { ...least, natGateways: 'two' }, /natGateways is "two": give a whole number/],
  ['not a switch', { ...least, flowLogs: 'off' }, /flowLogs is "off": say true or false/],
  ['not a certificate', { ...least, certificateArn: 'x', domain: 'a.example.com' }, /certificateArn is "x"/],
  ['a certificate for what?', { ...least, certificateArn }, /certificateArn needs domain/],
  ['a URL', { ...least, domain: 'https://a.example.com' }, /domain is "https:\/\/a.example.com"/],
  ['the internet without TLS', { ...least, internetFacing: 'true' }, /internetFacing needs certificateArn/],
  [
    'the internet, silently for all',
    { ...least, internetFacing: 'true', certificateArn, domain: 'a.example.com' },
    /internetFacing needs allowedCidrs/,
  ],
  [
    'the internet without public subnets',
    { ...least, ...vpc, internetFacing: true, certificateArn, domain: 'a.example.com', allowedCidrs: '0.0.0.0/0' },
    /at least two public subnets .* got 0: give publicSubnetIds/,
  ],
  ['not a range', { ...least, allowedCidrs: '10.0.0.1' }, /allowedCidrs is "10.0.0.1"/],
  ['neither', { ...least, policies: 'all' }, /policies is "all": say scoped or managed/],
  ['no time', { ...least, allowDeletionUntil: 'tomorrow' }, /allowDeletionUntil is "tomorrow": give a time in UTC/],
  ['no such day', { ...least, allowDeletionUntil: '2099-13-01T00:00:00Z' }, /"2099-13-01T00:00:00Z": give a time/],
  ['not in UTC', { ...least, allowDeletionUntil: '2099-12-01T00:00:00+01:00' }, /give a time in UTC/],
  ['a time that is over', { ...least, allowDeletionUntil: '2026-01-01T00:00Z' }, /"2026-01-01T00:00Z", which is over/],
  [
    'days that CloudWatch Logs does not know',
    { ...least, auditRetentionDays: 100 },
    /is 100: give one of 1, 3, .*3653$/,
  ],
  ['not a service of ours', { ...least, serviceLinkedRoles: 'rds,lambda' }, /serviceLinkedRoles has "lambda"/],
];

for (const [why, context, message] of refused)
  test(`refused: ${why}`, () => {
    assert.throws(
      () => synthesized(context),
      (error) => error instanceof InvalidInput && message.test(error.message),
    );
  });

test('accepted: as little as possible, and CDK’s own context is left alone', () => {
  const stack = synthesized({ ...least, '@aws-cdk/core:x': true, 'aws:cdk:x': 1, 'acknowledged-issue-numbers': [1] });
  assert.equal(stack.stackName, 'freehold-account');
});

test('accepted: a time until which deletion is allowed, and none', () => {
  const until = (allowDeletionUntil: string) => fromContext({ ...least, allowDeletionUntil }).allowDeletionUntil;
  assert.equal(until('2099-11-30T18:00Z'), '2099-11-30T18:00Z');
  assert.equal(until(''), undefined);
});

test('accepted: lists from cdk.json', () => {
  const given = fromContext({ ...least, vpcId: vpc.vpcId, privateSubnetIds: ['subnet-0a1b2c3d', 'subnet-1a1b2c3d'] });
  assert.deepEqual(given.privateSubnetIds, ['subnet-0a1b2c3d', 'subnet-1a1b2c3d']);
});
