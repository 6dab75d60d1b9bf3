/** docs/iam.md: all that the role may call, from the same list as its policies. */
import type { Grant, Scope } from '../services/reconciler/aws/grant.ts';
import { denials, type Denial } from '../services/reconciler/aws/denials.ts';
import { grants } from '../services/reconciler/aws/grants.ts';
import { AWS_MANAGED_POLICIES, forbidden, pack, renderedSize } from './control-plane-role.ts';
import { deployer, type DeployerStatement } from './deployer.ts';
import { WORST, reach, serviceOf } from './reach.ts';

/** As a reader knows them: what the stack was given, and what it makes. */
const NAMES: Scope = {
  partition: 'aws',
  region: '<region>',
  account: '<account>',
  prefix: '<prefix>',
  vpcId: '<vpc>',
  privateSubnetIds: ['<private subnet>'],
  clusterArn: 'arn:aws:ecs:<region>:<account>:cluster/<prefix>',
  executionRoleArn: 'arn:aws:iam::<account>:role/<prefix>-execution',
  taskRoleArn: 'arn:aws:iam::<account>:role/<prefix>-task',
  controlRoleArn: 'arn:aws:iam::<account>:role/<prefix>-control-plane',
  listenerArn: 'arn:aws:elasticloadbalancing:<region>:<account>:listener/app/<prefix>/<balancer>/<listener>',
  loadBalancerArn: 'arn:aws:elasticloadbalancing:<region>:<account>:loadbalancer/app/<prefix>/<balancer>',
  namespaceId: '<namespace>',
  databaseSubnetGroup: '<prefix>',
  logGroupRoot: '/aws/ecs/<prefix>',
  uploadBucket: '<prefix>-uploads-<account>-<region>',
  ownRoles: true,
  deletionGate: true,
  brakeParameterArn: 'arn:aws:ssm:<region>:<account>:parameter/brake/<prefix>',
  auditLogGroup: '/audit/<prefix>',
};

const INTRODUCTION = `# What the role of the control plane may do

\`npm run template\` writes this page, from the list of which the policies of \`<prefix>-control-plane\` are made; a test
compares the two. With \`policies=managed\` the role has five broad AWS policies instead, and of this list only what
those lack. Either way it has the denials, in \`<prefix>-control-plane-denials\`. What all this amounts to in wrong
hands: [customer-account.md](customer-account.md#what-these-rights-amount-to).
`;

const DETAIL = `## Each right

Rights that say \`only while your allowDeletionUntil lies in the future\` destroy what cannot be made again: databases and
secrets. They are in a policy of their own, \`<prefix>-deletion\`, which the stack attaches only when it is given that time,
and which IAM ends then (\`aws:CurrentTime\`). Without it only what carries the tag \`freehold:provisioning\` can be deleted: it is
given in the call that makes a database or a secret, taken off when its deployment has served, and giving it (again) to
what exists is denied. Log groups, images and uploaded archives are not behind that gate.

Each says what for; then on what, and under which condition. Where it is on \`*\` without a condition, the reason
says that AWS offers nothing narrower. An ARN ends in \`*\` where AWS makes the rest of it, or where there is one for each
deployment.
`;

/** The same as the stack's template has it: names that become as long as they may. */
const STACK = JSON.parse(
  Object.entries({
    region: 'AWS::Region',
    account: 'AWS::AccountId',
    prefix: 'Prefix',
    vpc: 'Vpc',
    'private subnet': 'PrivateSubnets',
    namespace: 'Namespace',
  }).reduce((text, [name, parameter]) => text.replaceAll(`<${name}>`, `\${${parameter}}`), JSON.stringify(NAMES)),
) as Scope;

const many = (count: number): string => count.toLocaleString('en-US');

/** What a reviewer reads first. */
function short(granted: readonly Grant[], never: readonly Denial[]): string {
  const { granted: own, unscoped, managed, more, unbounded } = reach(granted, never, AWS_MANAGED_POLICIES);
  const documents = pack(grants(STACK).filter(({ gated }) => !gated)).map(({ statements }) => renderedSize(statements));
  const denial = renderedSize(forbidden(denials(STACK, grants(STACK))));
  const free = [...new Set(unscoped.flatMap(({ actions }) => actions))];
  const limited = own.filter((action) => !free.includes(action));
  const reads = (action: string): boolean => /:(Describe|List|Get|Lookup|BatchGet)/.test(action);
  const perService = Map.groupBy(more, serviceOf);
  const services = [...perService].toSorted(([a, x], [b, y]) => y.length - x.length || a.localeCompare(b));
  const why = unscoped.flatMap((grant) => grant.actions.map((action) => [action, grant.why] as const));
  const worst = (service: string): string =>
    Object.entries(WORST)
      .filter(([action]) => serviceOf(action) === service)
      .map(([action, means]) => `${means} (${code(action)})`)
      .join('; ');
  return `## In short

- **${own.length} actions** in ${granted.length} grants, in ${documents.length} policies of
  ${documents.map(many).join(' and ')} characters at their longest (AWS allows 6,144), and ${never.length} denials in one of
  ${many(denial)}. A test plays deployments' lives in an emulated account as strict as AWS, and fails on a call that
  is refused and on a permission that no call used.
- **${limited.length} of them are limited** to names, tags or values. **${free.length} are not**, because AWS offers
  nothing narrower; ${free.filter(reads).length} of these only read. They are listed below.
- **It cannot make or change** a load balancer or a listener (so not its scheme, nor its TLS policy), a role, a policy,
  a user or a network.
- \`policies=managed\`, as the product that this one replaces had it, is AWS's
  ${AWS_MANAGED_POLICIES.map(code).join(', ')}:
  **at least ${many(managed.length)} actions**, against ${own.length} of \`scoped\`.
  ${many(more.length)} of them are needed for nothing, and left after the denials;
  ${unbounded.length} of the needed ones they allow on everything in the account, where \`scoped\` has a limit.

### On everything

| action | why |
| ------ | --- |
${[...new Set(why.map(([action, reason]) => `| ${code(action)} | ${sentence(reason)} |`))].toSorted().join('\n')}

### What \`managed\` allows that nothing needs

By service: actions that those five policies allow on something, that no grant has, and that no denial takes away. A
pattern such as \`sns:Get*\` counts as one action where the list of actions here does not have the service.

| service | actions | among them |
| ------- | ------- | ---------- |
${services.map(([service, actions]) => `| ${code(service)} | ${actions.length} | ${worst(service)} |`).join('\n')}
`;
}

const DENIED = `## Never

Denied explicitly, with either \`policies\`: whatever else is attached to the role, this stays so.
`;

const code = (text: string) => `\`${text}\``;

function conditions(given: Grant['conditions'] | DeployerStatement['conditions']): string[] {
  return Object.entries(given ?? {}).flatMap(([operator, keys]) =>
    Object.entries(keys).map(
      ([key, value]) => `  - if ${code(key)} ${operator} ${[value].flat().map(code).join(' or ')}`,
    ),
  );
}

const DEPLOYER = `# What whoever deploys the stack needs

CloudFormation makes the stack with the rights of whoever asks for it. \`templates/deployer-<network>-vpc-<n>.policy.json\`
are those rights and no others, as managed policies for one user or role; put your own in place of the prefix \`freehold\`,
the stack's name \`freehold-account\`, and the \`*\` that stand for region and account. Each statement is needed: a test
takes each away and sees the deployment fail. All but the stack itself and \`PassRole\` is allowed only through
CloudFormation (\`aws:CalledVia\`); a role that CloudFormation is given to use instead (\`--role-arn\`) needs the same without that
condition. Who may make roles can give them any right, so this identity has to be trusted like an administrator.
`;

function deployerRights(network: 'new' | 'existing'): string {
  const names = { prefix: '<prefix>', stack: '<stack>', region: '<region>', account: '<account>' };
  const rights = deployer({ ...names, network }).map(({ why, sid, actions, resources, conditions: given, only }) =>
    [
      `- \`${sid}\`: ${why}${only ? ` (only with \`${only}\`)` : ''}`,
      `  - may call ${actions.map(code).join(', ')}`,
      ...resources.map((resource) => `  - on ${code(resource)}`),
      ...conditions(given),
    ].join('\n'),
  );
  return `## With ${network === 'new' ? 'a new' : 'an existing'} VPC\n\n${rights.join('\n')}\n`;
}

const denied = (denial: Denial): string =>
  [
    `- ${sentence(denial.why)}`,
    denial.actions
      ? `  - may not call ${denial.actions.map(code).join(', ')}`
      : `  - may call nothing but ${denial.notActions?.map(code).join(', ')}`,
    ...(denial.resources ?? []).map((resource) => `  - on ${code(resource)}`),
    ...(denial.notResources ? [`  - on anything but ${denial.notResources.map(code).join(', ')}`] : []),
    ...conditions(denial.conditions),
  ].join('\n');

const sentence = (why: string) => `${why[0]!.toUpperCase()}${why.slice(1)}`;

/** The page as Markdown. */
export function rights(): string {
  const granted = grants(NAMES);
  const services = [...new Set(granted.flatMap((grant) => grant.actions.map(serviceOf)))].toSorted();
  const section = (service: string) =>
    granted
      .filter((grant) => grant.actions.some((action) => serviceOf(action) === service))
      .map((grant) =>
        [
          `- ${sentence(grant.why)}`,
          `  - may call ${grant.actions
            .filter((action) => serviceOf(action) === service)
            .map(code)
            .join(', ')}`,
          ...grant.resources.map((resource) => `  - on ${code(resource)}`),
          ...conditions(grant.conditions),
          ...(grant.gated ? ['  - only while your `allowDeletionUntil` lies in the future'] : []),
        ].join('\n'),
      )
      .join('\n');
  const never = denials(NAMES, granted);
  return [
    INTRODUCTION,
    short(granted, never),
    DETAIL,
    ...services.map((service) => `## ${service}\n\n${section(service)}\n`),
    `${DENIED}\n${never.map(denied).join('\n')}\n`,
    DEPLOYER,
    deployerRights('new'),
    deployerRights('existing'),
  ].join('\n');
}
