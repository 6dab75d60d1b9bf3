import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeSecurityGroupsCommand,
  type SecurityGroup,
  RevokeSecurityGroupIngressCommand,
  type IpPermission,
} from '@aws-sdk/client-ec2';
import type { Account } from '../aws/account.ts';
import { arn, changesOurs, createsOurs } from '../aws/arn.ts';
import { hasCode } from '../aws/errors.ts';
import { requireOurs, tagList, tagRecord } from '../aws/tags.ts';
import type { Change, Cx, Kind } from '../resource.ts';
import { compare } from './compare.ts';

export interface SecurityGroupInputs {
  readonly name: string;
  readonly vpcId: string;
  readonly description: string;
  /** Single TCP ports, each from one other security group. */
  readonly ingress: readonly { readonly port: number; readonly fromGroup: string }[];
}

interface Live {
  readonly id: string;
  /** One entry for each (protocol, ports, source): its words, and what EC2 takes to revoke it. */
  readonly ingress: ReadonlyMap<string, IpPermission>;
}

const permission = (port: number, fromGroup: string): IpPermission => ({
  IpProtocol: 'tcp',
  FromPort: port,
  ToPort: port,
  UserIdGroupPairs: [{ GroupId: fromGroup }],
});

/** A firewall of one service or one database: nothing comes in but what `ingress` says; everything may go out. */
export const securityGroup: Kind<SecurityGroupInputs, Live, { id: string; arn: string }> = {
  kind: 'security-group',
  iam: (scope) => [
    { actions: ['ec2:DescribeSecurityGroups'], resources: ['*'], why: 'EC2 has no narrower scope for reading' },
    {
      actions: ['ec2:CreateSecurityGroup'],
      resources: [arn(scope, 'ec2', `vpc/${scope.vpcId}`)],
      why: 'makes security groups in this network only',
    },
    {
      actions: ['ec2:CreateSecurityGroup'],
      resources: [arn(scope, 'ec2', 'security-group/*')],
      conditions: createsOurs(scope),
      why: "makes a deployment's security groups, tagged from the start",
    },
    {
      actions: ['ec2:CreateTags'],
      resources: [arn(scope, 'ec2', 'security-group/*')],
      conditions: { StringEquals: { ...createsOurs(scope).StringEquals, 'ec2:CreateAction': 'CreateSecurityGroup' } },
      why: 'needed to make a security group with its tags; nothing else can be tagged',
    },
    {
      actions: ['ec2:AuthorizeSecurityGroupIngress', 'ec2:RevokeSecurityGroupIngress', 'ec2:DeleteSecurityGroup'],
      resources: [arn(scope, 'ec2', 'security-group/*')],
      conditions: { ...changesOurs(scope), ArnEquals: { 'ec2:Vpc': arn(scope, 'ec2', `vpc/${scope.vpcId}`) } },
      why: "opens single ports of a deployment's security groups in this network, and removes the groups",
    },
  ],
  pollSeconds: 2,
  limitSeconds: 300,
  calls: ({ ingress }, [change]) => ({
    observe: 1,
    create: ingress.length > 0 ? 2 : 1,
    change: writesFor(change),
    remove: 1,
  }),

  async observe(cx, inputs) {
    const found = await find(cx, inputs);
    if (found === undefined) return { is: 'absent' };
    requireOurs(tagRecord(found.Tags), cx.tags, inputs.name);
    const live = { id: found.GroupId!, ingress: new Map((found.IpPermissions ?? []).flatMap(single)) };
    return { is: 'ready', live, out: { id: live.id, arn: arnOf(found, cx.aws.region) } };
  },

  diff: (inputs, live) =>
    compare({ ingress: wanted(inputs).map(([words]) => words) }, { ingress: [...live.ingress.keys()].sort() }),

  async converge(cx, inputs, live) {
    const { aws } = cx;
    if (live === undefined) {
      await create(cx, inputs);
      return;
    }
    const asked = new Map(wanted(inputs));
    const add = [...asked].filter(([words]) => !live.ingress.has(words)).map(([, rule]) => rule);
    const drop = [...live.ingress].filter(([words]) => !asked.has(words)).map(([, rule]) => rule);
    if (add.length > 0) await authorize(cx, live.id, add);
    if (drop.length > 0) await revoke(aws, live.id, drop);
  },

  async remove({ aws }, _, live) {
    try {
      await aws.ec2.send(new DeleteSecurityGroupCommand({ GroupId: live.id }));
    } catch (error) {
      // Network interfaces of stopped tasks and deleted databases go a while after them: the next look tries again.
      if (hasCode(error, 'DependencyViolation')) return 'still used by a network interface or another group';
      if (!hasCode(error, 'InvalidGroup.NotFound')) throw error;
    }
  },
};

/** One that adds, one that drops. */
function writesFor(change: Change | undefined): number {
  const [from, to] = [change?.from as string[] | undefined, change?.to as string[] | undefined];
  const lacks = (some: string[] = [], all: string[] = []): boolean => some.some((rule) => !all.includes(rule));
  return (lacks(to, from) ? 1 : 0) + (lacks(from, to) ? 1 : 0);
}

/** Older answers of EC2 do not carry it. */
const arnOf = (found: SecurityGroup, region: string): string =>
  found.SecurityGroupArn ?? `arn:aws:ec2:${region}:${found.OwnerId}:security-group/${found.GroupId}`;

async function find({ aws }: Cx, inputs: SecurityGroupInputs) {
  const Filters = [
    { Name: 'group-name', Values: [inputs.name] },
    { Name: 'vpc-id', Values: [inputs.vpcId] },
  ];
  return (await aws.ec2.send(new DescribeSecurityGroupsCommand({ Filters }))).SecurityGroups?.[0];
}

async function create(cx: Cx, inputs: SecurityGroupInputs): Promise<void> {
  try {
    const made = await cx.aws.ec2.send(
      new CreateSecurityGroupCommand({
        GroupName: inputs.name,
        Description: inputs.description,
        VpcId: inputs.vpcId,
        TagSpecifications: [{ ResourceType: 'security-group', Tags: tagList(cx.tags) }],
      }),
    );
    const rules = wanted(inputs).map(([, rule]) => rule);
    if (rules.length > 0) await authorize(cx, made.GroupId!, rules);
  } catch (error) {
    if (!hasCode(error, 'InvalidGroup.Duplicate')) throw error;
  }
}

async function authorize({ aws }: Cx, GroupId: string, IpPermissions: IpPermission[]): Promise<void> {
  try {
    await aws.ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions }));
  } catch (error) {
    // A group that was just made is not found everywhere yet: the next look asks again.
    if (!hasCode(error, 'InvalidPermission.Duplicate', 'InvalidGroup.NotFound')) throw error;
  }
}

async function revoke(aws: Account, GroupId: string, IpPermissions: IpPermission[]): Promise<void> {
  try {
    await aws.ec2.send(new RevokeSecurityGroupIngressCommand({ GroupId, IpPermissions }));
  } catch (error) {
    // Revoked by an earlier look, whose effect is not seen yet.
    if (!hasCode(error, 'InvalidPermission.NotFound')) throw error;
  }
}

const wanted = (inputs: SecurityGroupInputs): [string, IpPermission][] =>
  inputs.ingress.flatMap((rule) => single(permission(rule.port, rule.fromGroup))).sort(([a], [b]) => (a < b ? -1 : 1));

/** EC2 puts rules of the same ports together: apart again, each with its words. */
function single(rule: IpPermission): [string, IpPermission][] {
  const { IpProtocol, FromPort, ToPort } = rule;
  const ports = FromPort === ToPort ? `${FromPort ?? 'all'}` : `${FromPort}-${ToPort}`;
  const base = { IpProtocol, FromPort, ToPort };
  const words = (source: string | undefined) => `${IpProtocol === '-1' ? 'all' : IpProtocol} ${ports} from ${source}`;
  return [
    ...(rule.UserIdGroupPairs ?? []).map((pair): [string, IpPermission] => [
      words(pair.GroupId),
      { ...base, UserIdGroupPairs: [{ GroupId: pair.GroupId }] },
    ]),
    ...(rule.IpRanges ?? []).map((range): [string, IpPermission] => [
      words(range.CidrIp),
      { ...base, IpRanges: [{ CidrIp: range.CidrIp }] },
    ]),
    ...(rule.Ipv6Ranges ?? []).map((range): [string, IpPermission] => [
      words(range.CidrIpv6),
      { ...base, Ipv6Ranges: [{ CidrIpv6: range.CidrIpv6 }] },
    ]),
    ...(rule.PrefixListIds ?? []).map((list): [string, IpPermission] => [
      words(list.PrefixListId),
      { ...base, PrefixListIds: [{ PrefixListId: list.PrefixListId }] },
    ]),
  ];
}
