import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { App, CfnResource, Validations } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { CfnManagedPolicy } from 'aws-cdk-lib/aws-iam';
import { AwsSolutionsChecks } from 'cdk-nag';
import {
  AWS_MANAGED_POLICIES,
  NOT_IN_AWS_MANAGED_POLICIES,
  pack,
  POLICY_LIMIT,
  renderedSize,
} from '../../lib/control-plane-role.ts';
import { CustomerAccountStack, type CustomerAccountStackProps } from '../../lib/customer-account.ts';
import { denials } from '../../services/reconciler/aws/denials.ts';
import { kept } from '../../services/reconciler/aws/gate.ts';
import { grants } from '../../services/reconciler/aws/grants.ts';
import type { Scope } from '../../services/reconciler/aws/grant.ts';
import { INLINE_LIMIT } from '../../lib/templates.ts';

process.env['CDK_VALIDATION'] = 'false';

const REQUIRED = { principalArn: 'arn:aws:iam::111111111111:user/freehold', externalId: 'fh-0123' };
const EXISTING = {
  vpcId: 'vpc-0a1b2c3d',
  privateSubnetIds: ['subnet-0a1b2c3d', 'subnet-1a1b2c3d'],
  publicSubnetIds: ['subnet-2a1b2c3d', 'subnet-3a1b2c3d'],
};
const PUBLIC = {
  certificateArn: 'arn:aws:acm:us-east-1:222222222222:certificate/1',
  domain: 'agents.example.com',
  internetFacing: true,
  allowedCidrs: ['0.0.0.0/0'],
};
const VARIANTS: Record<string, Partial<CustomerAccountStackProps>> = {
  'a new network': {},
  'an existing network': EXISTING,
  'three zones, public, managed policies, all switches turned': {
    ...PUBLIC,
    policies: 'managed',
    zones: 3,
    natGateways: 3,
    flowLogs: false,
    containerInsights: false,
    serviceLinkedRoles: ['ecs', 'elasticloadbalancing', 'rds', 'ecs.application-autoscaling'],
  },
};

/** What a scope may lack. */
const OPTIONAL = new Set<string | symbol>(['deployment']);
const scope = new Proxy(
  {},
  {
    get: (_, name) =>
      OPTIONAL.has(name) ? undefined : name === 'privateSubnetIds' ? ['<subnet>'] : `<${String(name)}>`,
  },
) as Scope;

const synthesized = (props: Partial<CustomerAccountStackProps> = {}) =>
  Template.fromStack(new CustomerAccountStack(new App(), 'customer-account', { ...REQUIRED, ...props }));

/* eslint-disable @typescript-eslint/no-explicit-any */
const statements = (template: Template): any[] =>
  Object.values({
    ...template.findResources('AWS::IAM::ManagedPolicy', { Properties: { Roles: Match.anyValue() } }),
  }).flatMap((policy: any) => policy.Properties.PolicyDocument.Statement);

test('asks for no role of a CDK bootstrap: who deploys needs none, and the account may have none', () => {
  const app = new App();
  new CustomerAccountStack(app, 'customer-account', REQUIRED);
  const stack = app.synth().getStackByName('customer-account');
  assert.deepEqual([stack.assumeRoleArn, stack.cloudFormationExecutionRoleArn], [undefined, undefined]);
});

/** The whole synthesis with cdk-nag and the CDK's own validation of the template; throws on a finding. */
function validated(props: Partial<CustomerAccountStackProps>, change?: (stack: CustomerAccountStack) => void): void {
  const outdir = mkdtempSync(join(tmpdir(), 'freehold-synth-'));
  process.env['CDK_VALIDATION'] = 'true'; // takes seconds: only here
  try {
    const app = new App({ outdir, context: { '@aws-cdk/core:validateAgainstDefaultRules': true } });
    Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
    const stack = new CustomerAccountStack(app, 'customer-account', { ...REQUIRED, ...props });
    change?.(stack);
    app.synth();
    assert.deepEqual(JSON.parse(readFileSync(join(outdir, 'validation-report.json'), 'utf8')).pluginReports, []);
  } finally {
    process.env['CDK_VALIDATION'] = 'false';
    rmSync(outdir, { recursive: true });
  }
}

for (const [name, props] of Object.entries(VARIANTS))
  test(`${name}: neither cdk-nag nor the CDK's own validation finds anything`, () => validated(props));

test('both would: a wildcard without a reason, and a property that AWS does not know', (context) => {
  context.mock.method(console, 'error', () => {}); // the reports
  const changed = (type: string, path: string, value: unknown) => (stack: CustomerAccountStack) => {
    const one = stack.node.findAll().find((each) => each instanceof CfnResource && each.cfnResourceType === type);
    (one as CfnResource).addPropertyOverride(path, value);
  };
  assert.throws(() => validated({}, changed('AWS::RDS::DBSubnetGroup', 'Name', 'x')), /Validation failed/);
  assert.throws(
    () =>
      validated({}, (stack) => {
        new CfnManagedPolicy(stack, 'Wide', {
          policyDocument: { Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }] },
        });
      }),
    /Validation failed/,
  );
});

for (const [name, props] of Object.entries(VARIANTS))
  test(`${name}: needs no bootstrap, no look-up, and fits into one request`, () => {
    const app = new App();
    new CustomerAccountStack(app, 'customer-account', { ...REQUIRED, ...props });
    const assembly = app.synth();
    const artifact = assembly.getStackByName('customer-account');
    assert.deepEqual(artifact.assets, []);
    assert.equal(artifact.requiresBootstrapStackVersion, undefined);
    assert.equal(assembly.manifest.missing, undefined);
    assert.equal(artifact.template.Parameters, undefined);
    // The CLI sends YAML, which is a quarter longer than JSON without white space.
    assert.ok(JSON.stringify(artifact.template).length * 1.28 < INLINE_LIMIT);
    rmSync(assembly.directory, { recursive: true });
  });

test('uploads: encrypted, private, over TLS only, gone after days, and known by name', () => {
  const template = synthesized({});
  template.hasResource('AWS::S3::Bucket', {
    DeletionPolicy: 'Delete',
    Properties: {
      BucketEncryption: Match.anyValue(),
      LifecycleConfiguration: { Rules: [Match.objectLike({ Status: 'Enabled', ExpirationInDays: 3 })] },
      OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
    },
  });
  const deny = { Effect: 'Deny', Principal: '*', Condition: { Bool: { 'aws:SecureTransport': 'false' } } };
  template.hasResourceProperties('AWS::S3::BucketPolicy', {
    PolicyDocument: { Statement: [Match.objectLike(deny)] },
  });
  template.hasResourceProperties('AWS::IAM::ManagedPolicy', {
    ManagedPolicyName: 'freehold-boundary',
    PolicyDocument: {
      Statement: Match.arrayWith([Match.objectLike({ Effect: 'Deny', Action: 's3:*' })]),
    },
  });
  assert.match(JSON.stringify(template.toJSON().Outputs), /uploadBucket/);
});

test('a new network: tags tell VPC, private and public subnets apart', () => {
  const template = synthesized({ zones: 3 });
  const tag = (Key: string, Value: string) => ({ Key, Value });
  template.hasResourceProperties('AWS::EC2::VPC', {
    EnableDnsHostnames: true,
    EnableDnsSupport: true,
    Tags: Match.arrayWith([tag('langgraph-cloud-enabled', '1')]),
  });
  const subnets = Object.values(template.findResources('AWS::EC2::Subnet')).map((one: any) => {
    const tags = Object.fromEntries(one.Properties.Tags.map((each: any) => [each.Key, each.Value]));
    return `${/Private/.test(tags.Name)},${tags['langgraph-cloud-enabled']},${tags['langgraph-cloud-private']}`;
  });
  assert.deepEqual(subnets.toSorted(), [...Array<string>(3).fill('false,1,0'), ...Array<string>(3).fill('true,1,1')]);
  template.resourceCountIs('AWS::EC2::NatGateway', 1);
  template.resourceCountIs('AWS::EC2::FlowLog', 1);
});

test('a new network: zones by name, a NAT gateway each, another range', () => {
  const template = synthesized({
    availabilityZones: ['eu-west-1a', 'eu-west-1c'],
    natGateways: 2,
    cidr: '172.20.0.0/16',
  });
  template.hasResourceProperties('AWS::EC2::VPC', { CidrBlock: '172.20.0.0/16' });
  template.resourceCountIs('AWS::EC2::NatGateway', 2);
  const zones = Object.values(template.findResources('AWS::EC2::Subnet')).map(
    (one: any) => one.Properties.AvailabilityZone,
  );
  assert.deepEqual([...new Set(zones)], ['eu-west-1a', 'eu-west-1c']);
  template.hasResourceProperties('AWS::EC2::SecurityGroup', {
    SecurityGroupIngress: [Match.objectLike({ CidrIp: '172.20.0.0/16', FromPort: 80, ToPort: 80 })],
  });
});

test('an existing network: nothing of it is made, and only its own tags can be set or taken off', () => {
  const template = synthesized(EXISTING);
  for (const type of ['VPC', 'Subnet', 'NatGateway', 'Route', 'RouteTable', 'InternetGateway'])
    template.resourceCountIs(`AWS::EC2::${type}`, 0);
  template.hasResourceProperties('Custom::NetworkTags', {
    Mark: 'freehold:network:freehold',
    VpcId: EXISTING.vpcId,
    PrivateSubnetIds: EXISTING.privateSubnetIds,
    PublicSubnetIds: EXISTING.publicSubnetIds,
  });
  const [role]: any[] = Object.values(
    template.findResources('AWS::IAM::Role', { Properties: { Policies: [{ PolicyName: 'network-tags' }] } }),
  );
  const rights = role.Properties.Policies[0].PolicyDocument.Statement;
  for (const right of rights.filter((each: any) => /Tags/.test(each.Action)))
    assert.deepEqual(
      [right.Condition['ForAllValues:StringEquals'], right.Condition.Null],
      [
        { 'aws:TagKeys': ['langgraph-cloud-enabled', 'langgraph-cloud-private', 'freehold:network:freehold'] },
        { 'aws:TagKeys': 'false' },
      ],
    );
  const created = rights.filter((each: any) => each.Action === 'ec2:CreateTags').flatMap((each: any) => each.Resource);
  assert.equal(created.length, 5);
  assert.doesNotMatch(JSON.stringify(created), /\*/);
});

test('the role: one principal with the external id, an hour, and its session may be tagged', () => {
  synthesized().hasResourceProperties('AWS::IAM::Role', {
    RoleName: 'freehold-control-plane',
    MaxSessionDuration: 3600,
    AssumeRolePolicyDocument: {
      Statement: [
        {
          Effect: 'Allow',
          Principal: { AWS: REQUIRED.principalArn },
          Action: 'sts:AssumeRole',
          Condition: { StringEquals: { 'sts:ExternalId': REQUIRED.externalId } },
        },
        {
          Effect: 'Allow',
          Principal: { AWS: REQUIRED.principalArn },
          Action: ['sts:TagSession', 'sts:SetSourceIdentity'],
        },
      ],
    },
    ManagedPolicyArns: Match.absent(),
  });
});

for (const policies of ['scoped', 'managed'] as const)
  test(`${policies}: secrets cannot be read, whatever else is allowed, and all else that is denied is denied`, () => {
    const denied = statements(synthesized({ policies })).filter((each) => each.Effect === 'Deny');
    const everywhere = denied.find((each) => each.Resource === '*' && each.Condition === undefined);
    for (const action of ['secretsmanager:GetSecretValue', 'secretsmanager:BatchGetSecretValue', 'ecs:ExecuteCommand'])
      assert.ok(everywhere.Action.includes(action), action);
    const all = new Set(denied.flatMap((each) => [each.Action ?? each.NotAction].flat() as string[]));
    const granted = grants(scope);
    const gated = granted.filter((grant) => grant.gated);
    const never = [...denials(scope, granted), ...(policies === 'managed' ? [kept(gated, undefined)] : [])];
    const table = never.flatMap((each) => each.actions ?? each.notActions ?? []);
    assert.deepEqual([...all].sort(), [...new Set(table)].sort());
  });

test('deleting databases and secrets is in a policy of its own, only when and as long as it is allowed', () => {
  const until = '2099-11-30T18:00:00Z';
  const deletes = /^(rds:DeleteDBInstance|secretsmanager:DeleteSecret)$/;
  const deleting = (allowDeletionUntil?: string) =>
    Object.values(
      synthesized({ ...(allowDeletionUntil && { allowDeletionUntil }) }).findResources('AWS::IAM::ManagedPolicy'),
    ).flatMap(({ Properties: { ManagedPolicyName: name, PolicyDocument } }: any) =>
      PolicyDocument.Statement.filter(
        (each: any) => each.Effect === 'Allow' && [each.Action].flat().some((action: string) => deletes.test(action)),
      ).map(({ Condition: { StringEquals, DateLessThan } }: any) => [
        name.replace(/\d+$/, 'n'),
        StringEquals['aws:ResourceTag/freehold:provisioning'],
        DateLessThan?.['aws:CurrentTime'],
      ]),
    );
  const always = ['freehold-control-plane-n', 'true', undefined];
  assert.deepEqual(deleting(), [always, always]);
  const gated = ['freehold-deletion', undefined, until];
  assert.deepEqual(deleting(until), [always, always, gated, gated]);
  for (const [given, condition] of [
    [undefined, undefined],
    [until, { 'aws:CurrentTime': until }],
  ] as const) {
    const template = synthesized({ policies: 'managed', ...(given && { allowDeletionUntil: given }) });
    const denied = statements(template).filter(
      (each) => each.Effect === 'Deny' && [each.Action].flat().includes('rds:DeleteDBInstance'),
    );
    assert.deepEqual(
      denied.map(({ Condition }) => Condition),
      [
        {
          StringNotEquals: { 'aws:ResourceTag/freehold:provisioning': 'true' },
          ...(condition && { DateGreaterThanEquals: condition }),
        },
      ],
    );
  }
});

test('scoped: no wildcard actions, and of IAM only two', () => {
  const allowed = statements(synthesized()).filter((each) => each.Effect === 'Allow');
  const actions = allowed.flatMap((each) => each.Action as string[]);
  assert.deepEqual(
    actions.filter((action) => action.includes('*')),
    [],
  );
  assert.deepEqual([...new Set(actions.filter((action) => action.startsWith('iam:')))].sort(), [
    'iam:PassRole',
    'iam:SimulatePrincipalPolicy',
  ]);
  const pass = allowed.filter((each) => [each.Action].flat().includes('iam:PassRole'));
  assert.equal(pass.length, 1);
  assert.deepEqual(
    pass[0].Resource.map((each: any) => each['Fn::Sub']),
    ['execution', 'execution-*', 'task', 'task-*'].map(
      (role) => `arn:\${AWS::Partition}:iam::\${AWS::AccountId}:role/freehold-${role}`,
    ),
  );
  assert.equal(pass[0].Condition.StringEquals['iam:PassedToService'], 'ecs-tasks.amazonaws.com');
  const simulate = allowed.filter((each) => [each.Action].flat().includes('iam:SimulatePrincipalPolicy'));
  assert.deepEqual(
    simulate.flatMap((each) => each.Resource.map((one: any) => one['Fn::Sub']).filter((one: any) => /:iam:/.test(one))),
    ['arn:${AWS::Partition}:iam::${AWS::AccountId}:role/freehold-control-plane'],
  );
});

for (const policies of ['scoped', 'managed'] as const)
  test(`${policies}: each policy fits, with the longest names, and all of them can be attached`, () => {
    const template = synthesized({ policies, prefix: 'twelve-chars' });
    const made = Object.values(
      template.findResources('AWS::IAM::ManagedPolicy', { Properties: { Roles: Match.anyValue() } }),
    ) as any[];
    for (const policy of made) {
      const size = renderedSize(plain(policy.Properties.PolicyDocument.Statement));
      assert.ok(size <= POLICY_LIMIT, `${size} characters`);
    }
    assert.ok(made.length + (policies === 'managed' ? AWS_MANAGED_POLICIES.length : 0) <= 10);
  });

/** `Fn::Sub` texts as they are. */
const plain = (value: any): any =>
  Array.isArray(value)
    ? value.map(plain)
    : typeof value !== 'object' || value === null
      ? value
      : 'Fn::Sub' in value
        ? value['Fn::Sub']
        : Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));

test('policies are filled in order, and a permission too long for one is refused', () => {
  const grant = (size: number) => ({ actions: ['a:B'], resources: ['x'.repeat(size)], why: 'test' });
  assert.deepEqual(
    pack([grant(4000), grant(1000), grant(4000)]).map((each) => each.from.length),
    [2, 1],
  );
  assert.throws(() => pack([grant(POLICY_LIMIT)]), /the permission "test" alone is longer/);
  // As IAM would see it where names are longest: 12 + 14 + 12 characters, and an ARN.
  assert.equal(
    renderedSize([{ Effect: 'Allow', Action: 'a', Resource: '${AWS::AccountId}${AWS::Region}${Prefix}${Listener}' }]) -
      renderedSize([{ Effect: 'Allow', Action: 'a', Resource: '' }]),
    12 + 14 + 12 + 140,
  );
});

test('grants under the same conditions are one statement, and nothing more is allowed by that', () => {
  const when = { StringEquals: { 'aws:ResourceTag/x': 'y' } };
  const grant = (action: string, resource: string, conditions?: typeof when) => ({
    actions: [action],
    resources: [resource],
    why: 'test',
    ...(conditions && { conditions }),
  });
  const [{ statements: packed } = { statements: [] }] = pack([
    grant('ecs:A', 'arn:ecs:1', when),
    grant('rds:B', 'arn:rds:1', when), // of another service: no action of ECS is about it
    grant('ecs:C', 'arn:ecs:2', when), // would be allowed on the first, too
    grant('ecs:D', 'arn:ecs:1'),
    grant('rds:E', '*'), // would make the one before it be on everything
    grant('ecs:F', '*'),
  ]);
  assert.deepEqual(packed, [
    { Effect: 'Allow', Action: ['ecs:A', 'rds:B'], Resource: ['arn:ecs:1', 'arn:rds:1'], Condition: when },
    { Effect: 'Allow', Action: 'ecs:C', Resource: 'arn:ecs:2', Condition: when },
    { Effect: 'Allow', Action: 'ecs:D', Resource: 'arn:ecs:1' },
    { Effect: 'Allow', Action: ['rds:E', 'ecs:F'], Resource: '*' },
  ]);
});

test('managed: exactly the five AWS policies', () => {
  const template = synthesized({ policies: 'managed' });
  const [role]: any[] = Object.values(
    template.findResources('AWS::IAM::Role', { Properties: { RoleName: 'freehold-control-plane' } }),
  );
  assert.deepEqual(
    role.Properties.ManagedPolicyArns.map((arn: any) => arn['Fn::Sub'].replace('arn:${AWS::Partition}', '')),
    AWS_MANAGED_POLICIES.map((name) => `:iam::aws:policy/${name}`),
  );
});

test('managed: what the five lack is what AWS’s documents say they lack', () => {
  const documents = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../services/rehearsal/account/managed-policies.json'), 'utf8'),
  );
  const everywhere: string[] = AWS_MANAGED_POLICIES.flatMap((name) =>
    [documents[name].document.Statement]
      .flat()
      .filter((each: any) => each.Effect === 'Allow' && !each.Condition && [each.Resource].flat().includes('*'))
      .flatMap((each: any) => each.Action),
  );
  const patterns = everywhere.map(
    (action) =>
      new RegExp(
        `^${action
          .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
          .replaceAll('*', '.*')
          .replaceAll('?', '.')}$`,
        'i',
      ),
  );
  const called = new Set(grants(scope).flatMap((grant) => grant.actions));
  assert.deepEqual(
    [...called].filter((action) => !patterns.some((pattern) => pattern.test(action))).toSorted(),
    NOT_IN_AWS_MANAGED_POLICIES,
  );
  assert.deepEqual(
    [
      ...new Set(
        statements(synthesized({ policies: 'managed' }))
          .filter((each) => each.Effect === 'Allow')
          .flatMap((each): string[] => each.Action),
      ),
    ].toSorted(),
    NOT_IN_AWS_MANAGED_POLICIES,
  );
});

test('the stack’s own resources do not carry the tag by which the role may change things', () => {
  for (const props of Object.values(VARIANTS))
    assert.doesNotMatch(JSON.stringify(synthesized(props).toJSON().Resources), /"Key":"freehold:place"/);
  const [role]: any[] = Object.values(
    synthesized().findResources('AWS::IAM::Role', { Properties: { RoleName: 'freehold-task' } }),
  );
  assert.equal(role.Properties.Policies, undefined);
  assert.ok(role.Properties.PermissionsBoundary);
});

test('execution roles read the secrets of their slot, and what the customer tagged for injection in this place', () => {
  const template = synthesized({ prefix: 'second', executionRoles: 3 });
  const reads = (resource: string, Condition: object) => ({
    Effect: 'Allow',
    Action: 'secretsmanager:GetSecretValue',
    Resource: { 'Fn::Sub': Match.stringLikeRegexp(`:secret:${resource}\\*$`) },
    Condition,
  });
  const place = { 'aws:ResourceTag/freehold:place': 'second' };
  const slot = 'aws:ResourceTag/freehold:slot';
  template.hasResourceProperties('AWS::IAM::ManagedPolicy', {
    ManagedPolicyName: 'second-start-tasks',
    PolicyDocument: {
      Statement: Match.arrayWith([
        reads('second/', { StringEquals: { ...place, [slot]: '${aws:PrincipalTag/freehold:slot}' } }),
        reads('', { StringEquals: { 'aws:ResourceTag/freehold:inject': 'second' } }),
      ]),
    },
  });
  template.hasResourceProperties('AWS::IAM::Role', {
    RoleName: 'second-execution',
    Policies: [
      { PolicyDocument: { Statement: [reads('second/', { StringEquals: place, Null: { [slot]: 'true' } })] } },
    ],
  });
  const { Transform, Resources } = template.toJSON();
  assert.equal(Transform, 'AWS::LanguageExtensions');
  const [number, numbers, roles] = Resources['Fn::ForEach::ExecutionRoles'];
  assert.deepEqual(numbers, ['1', '2', '3']);
  const [[name, { Properties }]] = Object.entries<any>(roles) as [[string, any]];
  assert.equal(name, `ExecutionRoles\${${number}}`);
  assert.deepEqual(Properties.RoleName, { 'Fn::Join': ['-', ['second-execution', { Ref: number }]] });
  assert.deepEqual(Properties.Tags, [{ Key: 'freehold:slot', Value: { Ref: number } }]);
});

test('execution roles: from none to as many as a stack has room for', () => {
  const none = synthesized({ executionRoles: 0 }).toJSON();
  assert.equal(none.Transform, undefined);
  assert.match(JSON.stringify(none.Outputs), /executionRoles\\":0/);
  for (const executionRoles of [-1, 1.5, 201])
    assert.throws(() => synthesized({ executionRoles }), /executionRoles is .*: give a whole number from 0 to 200/);
});

test('the balancer: internal HTTP by default, streams may be silent for long, unknown paths get a JSON 404', () => {
  const template = synthesized();
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::LoadBalancer', {
    Name: 'freehold',
    Scheme: 'internal',
    LoadBalancerAttributes: Match.arrayWith([{ Key: 'idle_timeout.timeout_seconds', Value: '4000' }]),
  });
  template.resourceCountIs('AWS::ElasticLoadBalancingV2::Listener', 1);
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::Listener', {
    Port: 80,
    Protocol: 'HTTP',
    DefaultActions: [
      {
        Type: 'fixed-response',
        FixedResponseConfig: { StatusCode: '404', MessageBody: '{"detail":"no deployment answers here"}' },
      },
    ],
  });
});

test('more balancers: beside the first, which stays as it is, in its security group; the role may add rules to all', () => {
  const [one, three] = [synthesized().toJSON(), synthesized({ balancers: 3 }).toJSON()];
  const added = Object.keys(three.Resources).filter((name) => !(name in one.Resources));
  assert.deepEqual(added.map((name) => three.Resources[name].Type).sort(), [
    ...Array<string>(2).fill('AWS::ElasticLoadBalancingV2::Listener'),
    ...Array<string>(2).fill('AWS::ElasticLoadBalancingV2::LoadBalancer'),
  ]);
  for (const [name, resource] of Object.entries(one.Resources)) assert.deepEqual(three.Resources[name], resource);
  const balancers = added.filter((name) => three.Resources[name].Type.endsWith('LoadBalancer'));
  assert.deepEqual(
    balancers.map((name) => three.Resources[name].Properties.Name),
    ['freehold-2', 'freehold-3'],
  );
  const place = JSON.stringify(three.Outputs.Place.Value);
  for (const name of balancers) assert.ok(place.includes(name));
  const rules = statements(synthesized({ balancers: 3 })).find((each) =>
    [each.Action].flat().includes('elasticloadbalancing:CreateRule'),
  );
  assert.match(JSON.stringify(rules.Resource), /listener\/app\/freehold-\?\/\*.*listener\/app\/freehold-\?\?\/\*/);
  assert.throws(() => synthesized({ balancers: 11 }), /balancers is 11: give a whole number from 1 to 10/);
});

test('more balancers with a domain: each is for one of its own', () => {
  const place = JSON.stringify(synthesized({ ...PUBLIC, balancers: 2 }).toJSON().Outputs.Place.Value);
  assert.match(place, /b2\.agents\.example\.com/);
});

test('the balancer: with a certificate HTTPS, and HTTP only redirects', () => {
  const template = synthesized(PUBLIC);
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::LoadBalancer', { Scheme: 'internet-facing' });
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::Listener', {
    Port: 443,
    Protocol: 'HTTPS',
    SslPolicy: 'ELBSecurityPolicy-TLS13-1-2-2021-06',
    Certificates: [{ CertificateArn: PUBLIC.certificateArn }],
  });
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::Listener', {
    Port: 80,
    DefaultActions: [{ Type: 'redirect', RedirectConfig: { Protocol: 'HTTPS', Port: '443', StatusCode: 'HTTP_301' } }],
  });
  // In an update the first gives up port 80 before the second takes it.
  const listeners = Object.entries(template.findResources('AWS::ElasticLoadBalancingV2::Listener')) as [string, any][];
  const at = (port: number) => listeners.find(([, each]) => each.Properties.Port === port)!;
  assert.deepEqual(at(80)[1].DependsOn, [at(443)[0]]);
});

test('the balancer: reaches servers in whatever range of the VPC, on their port alone', () => {
  for (const props of Object.values(VARIANTS))
    synthesized(props).hasResourceProperties('AWS::EC2::SecurityGroup', {
      GroupName: 'freehold-balancer',
      SecurityGroupEgress: [Match.objectLike({ CidrIp: '0.0.0.0/0', IpProtocol: 'tcp', FromPort: 8000, ToPort: 8000 })],
    });
});

test('service-linked roles: none unless asked for, made before what needs them, kept at the end', () => {
  synthesized().resourceCountIs('AWS::IAM::ServiceLinkedRole', 0);
  const template = synthesized({ serviceLinkedRoles: ['ecs', 'rds'] });
  const roles = template.findResources('AWS::IAM::ServiceLinkedRole');
  assert.deepEqual(
    Object.values(roles).map((role: any) => [role.Properties.AWSServiceName, role.DeletionPolicy]),
    [
      ['ecs.amazonaws.com', 'Retain'],
      ['rds.amazonaws.com', 'Retain'],
    ],
  );
  template.hasResource('AWS::ECS::Cluster', { DependsOn: Object.keys(roles).sort() });
});

test('two data planes fit one account: no name in common', () => {
  const names = (prefix: string) =>
    new Set(
      Object.values(synthesized({ ...EXISTING, prefix }).toJSON().Resources as Record<string, any>).flatMap(
        // Those that CloudFormation writes out have their number in their name.
        ({ Properties: own = { RoleName: `${prefix}-execution-1` } }) =>
          [
            own.RoleName,
            own.ManagedPolicyName,
            own.ClusterName,
            own.Name,
            own.GroupName,
            own.LogGroupName,
            own.FunctionName,
            own.DBSubnetGroupName,
          ].filter(Boolean),
      ),
    );
  const [one, two] = [names('one'), names('two')];
  assert.ok(one.size > 10);
  assert.deepEqual(
    [...one].filter((name) => two.has(name)),
    [],
  );
});

test('a place says that its load balancers are public', () => {
  const place = (props: object) => JSON.stringify(synthesized(props).toJSON().Outputs);
  assert.match(place(PUBLIC), /isPublic\\\\?":true/);
  assert.doesNotMatch(place({}), /isPublic/);
});
