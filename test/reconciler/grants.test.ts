import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { DescribeSecretCommand, GetSecretValueCommand } from '@aws-sdk/client-secrets-manager';
import type { Account } from '../../services/reconciler/aws/account.ts';
import type { Scope } from '../../services/reconciler/aws/grant.ts';
import { CALLED, declared } from '../../services/reconciler/aws/declared.ts';
import { denials } from '../../services/reconciler/aws/denials.ts';
import { grants } from '../../services/reconciler/aws/grants.ts';
import { redisSecret } from '../../services/reconciler/kinds/redis-secret.ts';
import { uploads } from '../../services/reconciler/kinds/uploads.ts';

const SOURCES = join(import.meta.dirname, '..', '..', 'services', 'reconciler');

const scope: Scope = {
  partition: 'aws',
  region: 'eu-central-1',
  account: '222222222222',
  prefix: 'freehold',
  vpcId: 'vpc-1',
  privateSubnetIds: ['subnet-1', 'subnet-2'],
  clusterArn: 'arn:aws:ecs:eu-central-1:222222222222:cluster/freehold',
  executionRoleArn: 'arn:aws:iam::222222222222:role/freehold-execution',
  taskRoleArn: 'arn:aws:iam::222222222222:role/freehold-task',
  controlRoleArn: 'arn:aws:iam::222222222222:role/freehold-control-plane',
  listenerArn: 'arn:aws:elasticloadbalancing:eu-central-1:222222222222:listener/app/freehold/1/2',
  loadBalancerArn: 'arn:aws:elasticloadbalancing:eu-central-1:222222222222:loadbalancer/app/freehold/1',
  namespaceId: 'ns-1',
  databaseSubnetGroup: 'freehold',
  logGroupRoot: '/aws/ecs/freehold',
  deletionGate: true,
  uploadBucket: 'freehold-uploads-222222222222-eu-central-1',
  brakeParameterArn: 'arn:aws:ssm:eu-central-1:222222222222:parameter/brake/freehold',
  auditLogGroup: '/audit/freehold',
};

/** The SDK's packages, by IAM's service prefix. */
const SERVICES: Record<string, string> = {
  'client-application-auto-scaling': 'application-autoscaling',
  'client-cloudtrail': 'cloudtrail',
  'client-cloudwatch-logs': 'logs',
  'client-ec2': 'ec2',
  'client-ecr': 'ecr',
  'client-ecs': 'ecs',
  'client-elastic-load-balancing-v2': 'elasticloadbalancing',
  'client-iam': 'iam',
  'client-rds': 'rds',
  'client-s3': 's3',
  'client-resource-groups-tagging-api': 'tag',
  'client-secrets-manager': 'secretsmanager',
  'client-service-quotas': 'servicequotas',
  'client-servicediscovery': 'servicediscovery',
  'client-ssm': 'ssm',
  'client-sts': 'sts',
};

/** Asked for by AWS beside another call, or for what is lent to somebody else; never called by themselves. */
const IMPLIED = new Set([
  'application-autoscaling:TagResource',
  'ec2:CreateTags',
  'ecr:BatchCheckLayerAvailability',
  'ecr:BatchGetImage',
  'ecr:CompleteLayerUpload',
  'ecr:InitiateLayerUpload',
  'ecr:PutImage',
  'ecr:TagResource',
  'ecr:UploadLayerPart',
  'ecs:TagResource',
  'elasticloadbalancing:AddTags',
  'iam:PassRole',
  'logs:TagResource',
  'rds:AddTagsToResource',
  'servicediscovery:TagResource',
]);

function actionsInCode(): Set<string> {
  const files = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const actions = new Set<string>();
  for (const file of files) {
    const text = readFileSync(join(SOURCES, file), 'utf8');
    for (const [, names, name] of text.matchAll(/import \{([^}]*)\} from '@aws-sdk\/([a-z0-9-]+)'/g)) {
      for (const [, command] of names!.matchAll(/\b([A-Z][A-Za-z0-9]+)Command\b/g)) {
        assert.ok(text.includes(`new ${command}Command(`), `${file} imports ${command} and does not use it`);
        const call = `${SERVICES[name!]}:${command}`;
        actions.add(CALLED[call] ?? call);
      }
    }
    for (const [, alias, name] of text.matchAll(/import \* as (\w+) from '@aws-sdk\/([a-z0-9-]+)'/g))
      for (const [, command] of text.matchAll(new RegExp(`\\bnew ${alias}\\.([A-Za-z0-9]+)Command\\(`, 'g')))
        actions.add(`${SERVICES[name!]}:${command}`);
  }
  return actions;
}

test('every AWS call in the code is granted, and every grant is used', () => {
  const called = actionsInCode();
  // What is called only where the role is not ours is not in ours.
  const places = [scope, { ...scope, original: true as const }];
  const granted = new Set(places.flatMap(grants).flatMap((grant) => grant.actions));
  const needNone = (action: string) => action.startsWith('sts:');
  assert.ok(called.size > 40);
  assert.deepEqual([...called].filter((action) => !granted.has(action) && !needNone(action)).sort(), []);
  assert.deepEqual([...granted].filter((action) => !called.has(action) && !IMPLIED.has(action)).sort(), []);
});

test('no grant reads a secret, an archive or an image, makes a role, or lets anything else be done to IAM', () => {
  const actions = grants(scope).flatMap((grant) => grant.actions);
  assert.deepEqual(
    actions.filter((action) => /GetSecretValue|GetObject|GetDownloadUrlForLayer|\*/.test(action)),
    [],
  );
  assert.deepEqual([...new Set(actions.filter((action) => action.startsWith('iam:')))].sort(), [
    'iam:PassRole',
    'iam:SimulatePrincipalPolicy',
  ]);
});

test('what is made carries our tag, and only what carries it is changed or removed', () => {
  const makes = /:(Create|Register)[A-Z]/;
  const changes = /:(Delete|Modify|Update|Put|Authorize|Revoke|Deregister|Restore)[A-Z]/;
  // AWS has no tag condition for these; an object is ours by its bucket, a stream by its log group.
  const streams = ['logs:CreateLogStream', 'logs:PutLogEvents'];
  const cannot = new Set(['ecs:DeregisterTaskDefinition', 's3:DeleteObject', 's3:PutObject', ...streams]);
  for (const { actions, resources, conditions } of grants(scope)) {
    const keys = Object.values(conditions ?? {}).flatMap((condition) => Object.keys(condition));
    for (const action of actions.filter((each) => !cannot.has(each))) {
      const network = action === 'ec2:CreateSecurityGroup' && resources[0]!.includes(':vpc/');
      const ours = keys.some((key) => /^aws:(Request|Resource)Tag\/freehold:place$/.test(key));
      if (makes.test(action) && !network) assert.ok(ours, `${action} needs a tag`);
      if (changes.test(action)) assert.ok(keys.includes('aws:ResourceTag/freehold:place'), `${action} needs our tag`);
    }
  }
});

test('every grant says why, and one without a scope says why it has none', () => {
  for (const grant of grants(scope)) {
    assert.ok(grant.why.length > 10, grant.actions.join());
    if (grant.resources.includes('*')) {
      assert.deepEqual(grant.resources, ['*']);
      assert.ok(/no narrower scope/.test(grant.why) || grant.conditions !== undefined, grant.actions.join());
    }
  }
});

const matches = (pattern: string, text: string): boolean =>
  new RegExp(
    `^${pattern
      .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
  ).test(text);

const never = denials(scope, grants(scope));

/** Whether a denial without a condition forbids it. */
function isDenied(action: string, resource: string): boolean {
  const any = (patterns: readonly string[], text: string) => patterns.some((pattern) => matches(pattern, text));
  return never.some(
    ({ actions, notActions = [], resources, notResources = [], conditions }) =>
      conditions === undefined &&
      (actions ? any(actions, action) : !any(notActions, action)) &&
      (resources ? any(resources, resource) : !any(notResources, resource)),
  );
}

test('nothing that is granted is denied', () => {
  for (const { actions, resources } of grants(scope))
    for (const action of actions)
      for (const resource of resources) assert.ok(!isDenied(action, resource), `${action} on ${resource}`);
});

test('of IAM, S3 and Systems Manager everything is denied but what is granted, and all that reads data', () => {
  const reference = JSON.parse(
    readFileSync(join(SOURCES, '..', 'rehearsal', 'account', 'authorization.json'), 'utf8'),
  ) as { services: Record<string, { actions: Record<string, unknown> }> };
  const bucket = 'arn:aws:s3:::freehold-uploads-222222222222-eu-central-1';
  const about: Record<string, string[]> = {
    iam: ['*', scope.executionRoleArn, scope.taskRoleArn, scope.controlRoleArn, 'arn:aws:iam::222222222222:role/admin'],
    s3: ['*', bucket, `${bucket}/uploads/a`, `${bucket}/b`, 'arn:aws:s3:::other', 'arn:aws:s3:::other/a'],
    ssm: ['*', 'arn:aws:ssm:eu-central-1:222222222222:parameter/a'],
  };
  const left = Object.entries(about).flatMap(([service, resources]) => {
    const names = [...Object.keys(reference.services[service]!.actions), 'GetObject', 'PutObject', 'DeleteObject'];
    return names.flatMap((name) => {
      const action = `${service}:${name}`;
      return resources.filter((each) => !isDenied(action, each)).map((each) => `${action} ${each}`);
    });
  });
  assert.deepEqual(left.sort(), [
    `iam:PassRole ${scope.executionRoleArn}`,
    `iam:PassRole ${scope.taskRoleArn}`,
    `iam:SimulatePrincipalPolicy ${scope.controlRoleArn}`,
    `s3:DeleteObject ${bucket}/uploads/a`,
    `s3:ListBucket ${bucket}`,
    `s3:PutObject ${bucket}/uploads/a`,
  ]);
  assert.ok(['Create', 'Put', 'Attach', 'Get', 'List'].every((verb) => isDenied(`iam:${verb}Anything`, '*')));
});

test('the clients of a kind make the calls that it declares, and no others', async () => {
  const sent: string[] = [];
  const client = { send: async (command: object) => void sent.push(command.constructor.name) };
  const aws = { id: '222222222222', secrets: client, s3: client } as unknown as Account;
  const { aws: given } = declared(redisSecret, { aws });
  assert.equal(given.id, '222222222222');
  await given.secrets.send(new DescribeSecretCommand({ SecretId: 'x' }));
  await assert.rejects(
    given.secrets.send(new GetSecretValueCommand({ SecretId: 'x' })),
    /the kind "redis-secret" does not declare that it calls secretsmanager:GetSecretValue/,
  );
  // By the name that IAM has for it.
  await declared(uploads, { aws }).aws.s3.send(new ListObjectsV2Command({ Bucket: 'x' }));
  assert.deepEqual(sent, ['DescribeSecretCommand', 'ListObjectsV2Command']);
});
