/**
 * The customer's stack as plain CloudFormation, for those who do not use CDK: what is context there, is parameters
 * here.
 */
import {
  App,
  CfnCondition,
  CfnParameter,
  Fn,
  type ICfnConditionExpression,
  LegacyStackSynthesizer,
  Validations,
} from 'aws-cdk-lib';
import { CompactStack } from './compact-stack.ts';
import { EXTERNAL_ID, PRINCIPAL, UNTIL } from './control-plane-role.ts';
import { CustomerAccount } from './customer-account.ts';
import { PREFIX } from './input.ts';

/** What `aws cloudformation deploy --template-file` and the CDK CLI send without a bucket, in bytes. */
export const INLINE_LIMIT = 51_200;

/** File name and content of each published template. */
export function templates(): Record<string, string> {
  const app = new App({ analyticsReporting: false });
  const files: Record<string, string> = {};
  const variants = ['new', 'existing'].flatMap((network) => ['http', 'https'].map((scheme) => ({ network, scheme })));
  const stacks = variants.map(({ network, scheme }) => {
    const stack = new CompactStack(app, `customer-account-${network}-vpc-${scheme}`, {
      description: `Freehold: what this account needs to run LangGraph Servers (${network} VPC, ${scheme.toUpperCase()})`,
      synthesizer: new LegacyStackSynthesizer(),
    });
    Validations.of(stack).acknowledge({
      id: 'CloudFormation-Validate::W1001',
      reason:
        "The output names each further load balancer within an Fn::If of that one's condition: the rule misses it.",
    });
    const parameter = (id: string, description: string, type = 'String', rest: object = {}) =>
      new CfnParameter(stack, id, { description, type, ...rest });
    const text = (id: string, description: string, pattern: RegExp, rest: object = {}) =>
      parameter(id, description, 'String', { allowedPattern: pattern.source, ...rest }).valueAsString;
    const count = parameter('Balancers', 'Each takes 100 deployments; never fewer than before', 'String', {
      default: '1',
      allowedValues: ['1', '2', '3'],
    }).valueAsString;
    const has = (id: string, expression: ICfnConditionExpression) => new CfnCondition(stack, id, { expression });
    const conditions = [
      has('TwoBalancers', Fn.conditionNot(Fn.conditionEquals(count, '1'))),
      has('ThreeBalancers', Fn.conditionEquals(count, '3')),
    ];
    new CustomerAccount(stack, 'Default', {
      balancers: 3,
      conditions,
      principalArn: text(
        'Principal',
        'The one identity that may assume the role, as the control plane shows it',
        PRINCIPAL,
      ),
      externalId: text('ExternalId', 'As the control plane shows it, made for this place alone', EXTERNAL_ID),
      prefix: text('Prefix', 'Begins every name, at most 12 characters; cannot be changed later', PREFIX, {
        default: 'freehold',
      }),
      allowDeletionUntil: text(
        'AllowDeletionUntil',
        'Until when databases and secrets may be deleted, in UTC, such as 2026-11-30T18:00:00Z; empty: they may not',
        new RegExp(`^$|${UNTIL.source}`),
        { default: '' },
      ),
      ...(network === 'existing' && {
        vpcId: parameter('VpcId', 'With DNS support and DNS host names on', 'AWS::EC2::VPC::Id').valueAsString,
        privateSubnetIds: parameter(
          'PrivateSubnetIds',
          'For tasks and databases: in two or more zones, with a way out to the internet',
          'List<AWS::EC2::Subnet::Id>',
        ).valueAsList,
        publicSubnetIds: parameter(
          'PublicSubnetIds',
          'Tagged, and not used by this stack',
          'List<AWS::EC2::Subnet::Id>',
        ).valueAsList,
      }),
      ...(scheme === 'https' && {
        certificateArn: text('CertificateArn', 'In ACM, in the same region, for *.<Domain>', /^arn:[a-z-]+:acm:.+$/),
        domain: text(
          'Domain',
          'Deployments are <name>.<Domain>: point *.<Domain> to the load balancer',
          /^[a-z0-9.-]+$/,
        ),
      }),
    });
    return stack.stackName;
  });
  const assembly = app.synth();
  for (const name of stacks) files[`${name}.template.json`] = `${json(assembly.getStackByName(name).template)}\n`;
  return files;
}

const LINE = 120;

/**
 * With one line for all that fits into one, and no indentation: a request has room for so many bytes, and that would
 * be a sixth.
 */
export function json(value: unknown): string {
  const flat = JSON.stringify(value);
  if (typeof value !== 'object' || value === null || flat.length <= LINE) return flat;
  const lines = Array.isArray(value)
    ? value.map(json)
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${json(item)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${lines.join(',\n')}\n${close}`;
}
