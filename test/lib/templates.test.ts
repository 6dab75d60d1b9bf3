import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { denials } from '../../services/reconciler/aws/denials.ts';
import type { Scope } from '../../services/reconciler/aws/grant.ts';
import { grants } from '../../services/reconciler/aws/grants.ts';

process.env['CDK_VALIDATION'] = 'false';
const { INLINE_LIMIT, templates } = await import('../../lib/templates.ts');
const { deployerFiles } = await import('../../lib/deployer.ts');
const { rights } = await import('../../lib/rights.ts');
const { AWS_MANAGED_POLICIES } = await import('../../lib/control-plane-role.ts');
const { WORST, reach } = await import('../../lib/reach.ts');

const ROOT = join(import.meta.dirname, '..', '..');
const DIRECTORY = join(ROOT, 'templates');
const files = templates();

test('the published templates are what the code makes (after a change: npm run template, and look at the difference)', () => {
  const published = { ...files, ...deployerFiles() };
  assert.deepEqual(readdirSync(DIRECTORY).sort(), Object.keys(published).sort());
  for (const [file, content] of Object.entries(published))
    assert.equal(readFileSync(join(DIRECTORY, file), 'utf8'), content, `templates/${file} is not what the code makes`);
});

test('docs/iam.md is what the policies are made from (after a change: npm run template)', () => {
  assert.equal(readFileSync(join(ROOT, 'docs', 'iam.md'), 'utf8'), rights());
});

test('docs/iam.md: every action of the policies, and a condition or a reason wherever a right is on everything', () => {
  const page = rights();
  const template = JSON.parse(files['customer-account-new-vpc-http.template.json']!);
  const allowed = Object.values<{
    Type: string;
    Properties: { PolicyDocument: { Statement: object[] }; Roles?: object };
  }>(template.Resources)
    .filter((each) => each.Type === 'AWS::IAM::ManagedPolicy' && each.Properties.Roles)
    .flatMap((each) => each.Properties.PolicyDocument.Statement as { Effect: string; Action: string | string[] }[])
    .filter((each) => each.Effect === 'Allow')
    .flatMap((each) => each.Action);
  assert.deepEqual(
    [...new Set(allowed)].filter((action) => !page.includes(`\`${action}\``)),
    [],
  );
  const everywhere = page
    .split('## Never')[0]!
    .split(/^- /m)
    .filter((right) => /^ {2}- on `\*`$/m.test(right));
  assert.ok(everywhere.length > 3);
  for (const right of everywhere) assert.match(right, /no narrower scope|^ {2}- if /m);
});

test('docs/iam.md: what it says of `managed` is so: each of the worst is allowed, needed for nothing, and not denied', () => {
  const scope = new Proxy({}, { get: (_, name) => (name === 'privateSubnetIds' ? [] : undefined) }) as Scope;
  const granted = grants(scope);
  const { more, managed, granted: own, unscoped } = reach(granted, denials(scope, granted), AWS_MANAGED_POLICIES);
  assert.deepEqual(
    Object.keys(WORST).filter((action) => !more.includes(action)),
    [],
  );
  assert.ok(managed.length > 5 * own.length, `${managed.length} against ${own.length}`);
  // AWS cannot cut either: the code looks at the tags first, and a token is good for what its session may do.
  assert.deepEqual(
    unscoped.flatMap(({ actions }) => actions).filter((action) => !/:(Describe|List|Lookup|GetResources)/.test(action)),
    ['ecr:GetAuthorizationToken', 'ecs:DeregisterTaskDefinition'],
  );
});

for (const [file, content] of Object.entries(files))
  test(`${file} can be deployed without a bucket and without CDK`, () => {
    assert.ok(Buffer.byteLength(content) <= INLINE_LIMIT, `${Buffer.byteLength(content)} bytes`);
    const template = JSON.parse(content);
    for (const [name, parameter] of Object.entries<{ Description?: string }>(template.Parameters))
      assert.ok(parameter.Description, `${name} says nothing about itself`);
    assert.doesNotMatch(content, /cdk-|Custom::CDK|AWS::CDK/);
  });

test('cfn-lint finds nothing in any of them', async () => {
  const lint = join(ROOT, '.cache', 'python', 'tools', 'bin', 'cfn-lint');
  const paths = Object.keys(files).map((file) => join(DIRECTORY, file));
  const found = await promisify(execFile)(lint, paths).catch((error: { stdout?: string; message: string }) => {
    assert.fail(error.stdout || error.message);
  });
  assert.equal(found.stdout, '');
});
