/** Security groups, and the network interfaces that use them: what is used cannot go. */
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeSecurityGroupsCommand,
  RevokeSecurityGroupIngressCommand,
  type IpPermission,
} from '@aws-sdk/client-ec2';
import { NotSimulated, Refused, Table } from './operation.ts';
import type { Shelf } from './shelf.ts';
import { tagListOf, tagsOf, type Tags, type Thing, type World } from './world.ts';

/** One (protocol, ports, source). */
interface Rule {
  readonly protocol: string;
  readonly from: number;
  readonly to: number;
  /** The one or the other. */
  readonly group?: string;
  readonly cidr?: string;
}

interface Group {
  readonly id: string;
  readonly name: string;
  readonly vpcId: string;
  readonly description: string;
  readonly ingress: readonly Rule[];
  readonly tags: Tags;
  readonly thing: Thing;
}

const TYPE = 'ec2:security-group';

/**
 * https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html: calls that change may come too early too.
 */
export class Ec2 {
  readonly table = new Table();
  readonly #world: World;
  readonly #vpcId: string;
  readonly #groups: Shelf<Group>;
  /** They exist, and are none of the account's resources here. */
  readonly #ofStack: ReadonlySet<string>;
  /** Ids of all that ever had a name and may still be shown. */
  readonly #byName = new Map<string, string[]>();
  /** How many network interfaces each is on. */
  readonly #interfaces = new Map<string, number>();
  /** How many rules of other groups name each. */
  readonly #named = new Map<string, number>();

  /** @param balancers the group of the place's balancer, which its stack made */
  constructor(world: World, vpcId: string, balancers: string) {
    this.#world = world;
    this.#vpcId = vpcId;
    this.#groups = world.shelf('ec2.consistency');
    this.#ofStack = new Set([balancers]);
    this.table
      .read(DescribeSecurityGroupsCommand, 'GroupIds Filters MaxResults NextToken', (input) => {
        const { GroupIds, Filters, NextToken } = input;
        if (NextToken !== undefined) throw new NotSimulated('ec2: a page of security groups after the first');
        for (const id of GroupIds ?? []) if (this.#groups.see(id) === undefined) throw noGroup(id);
        return { SecurityGroups: this.#find(Filters ?? [], GroupIds).map((group) => this.#view(group)) };
      })
      .write(CreateSecurityGroupCommand, 'GroupName Description VpcId TagSpecifications', (input) => {
        const tags = tagsOf(input.TagSpecifications?.find((each) => each.ResourceType === 'security-group')?.Tags);
        const id = this.make(input.GroupName!, input.VpcId ?? this.#vpcId, input.Description!, tags);
        return { GroupId: id, Tags: tagListOf(tags), SecurityGroupArn: world.arn('ec2', `security-group/${id}`) };
      })
      .write(AuthorizeSecurityGroupIngressCommand, 'GroupId IpPermissions', ({ GroupId, IpPermissions }) => {
        this.authorize(GroupId!, (IpPermissions ?? []).flatMap(rulesOf));
        return { Return: true };
      })
      .write(RevokeSecurityGroupIngressCommand, 'GroupId IpPermissions', ({ GroupId, IpPermissions }) => {
        this.revoke(GroupId!, (IpPermissions ?? []).flatMap(rulesOf));
        return { Return: true };
      })
      .write(DeleteSecurityGroupCommand, 'GroupId', ({ GroupId }) => {
        this.remove(GroupId!);
        return { Return: true };
      });
  }

  exists(id: string): boolean {
    return this.#ofStack.has(id) || this.#groups.get(id) !== undefined;
  }

  /** The group's ARN, for what uses it. */
  arnOf(id: string): string {
    return this.#world.arn('ec2', `security-group/${id}`);
  }

  /** A network interface with these groups is made, or goes. */
  attach(groups: readonly string[], by: 1 | -1): void {
    for (const id of groups) this.#interfaces.set(id, (this.#interfaces.get(id) ?? 0) + by);
  }

  make(name: string, vpcId: string, description: string, tags: Tags): string {
    if (vpcId !== this.#vpcId) throw new Refused('InvalidVpcID.NotFound', `The vpc ID '${vpcId}' does not exist`);
    if (this.#ids(name).some((id) => this.#groups.get(id) !== undefined))
      throw new Refused('InvalidGroup.Duplicate', `The security group '${name}' already exists for VPC '${vpcId}'`);
    const id = `sg-${this.#world.hex(17)}`;
    const uses = () => (this.#groups.get(id)?.ingress ?? []).flatMap(({ group }) => (group ? [this.arnOf(group)] : []));
    const thing = this.#world.made(TYPE, this.arnOf(id), name, tags, { uses });
    this.#groups.set(id, { id, name, vpcId, description, ingress: [], tags, thing });
    this.#byName.set(name, [...this.#ids(name), id]);
    return id;
  }

  authorize(id: string, rules: readonly Rule[]): void {
    const group = this.#seen(id);
    for (const rule of rules) {
      const isThere = rule.group === undefined || this.#ofStack.has(rule.group) || this.#groups.see(rule.group);
      if (!isThere) throw noGroup(rule.group);
      if (group.ingress.some((each) => isSame(each, rule)))
        throw new Refused(
          'InvalidPermission.Duplicate',
          `the specified rule "peer: ${rule.group ?? rule.cidr}, ${rule.protocol}, from port: ${rule.from}, to port: ` +
            `${rule.to}, ALLOW" already exists`,
        );
    }
    this.#set({ ...group, ingress: [...group.ingress, ...rules] });
    for (const rule of rules) this.#count(rule, 1);
  }

  revoke(id: string, rules: readonly Rule[]): void {
    const group = this.#seen(id);
    const missing = rules.find((rule) => !group.ingress.some((each) => isSame(each, rule)));
    if (missing !== undefined)
      throw new Refused('InvalidPermission.NotFound', 'The specified rule does not exist in this security group.');
    this.#set({ ...group, ingress: group.ingress.filter((each) => !rules.some((rule) => isSame(each, rule))) });
    for (const rule of rules) this.#count(rule, -1);
  }

  /** Of whatever is named in another group's rules, or on a network interface: DependencyViolation. */
  remove(id: string): void {
    const group = this.#groups.get(id);
    if (group === undefined) throw noGroup(id);
    if ((this.#interfaces.get(id) ?? 0) > 0 || (this.#named.get(id) ?? 0) > 0)
      throw new Refused('DependencyViolation', `resource ${id} has a dependent object`);
    for (const rule of group.ingress) this.#count(rule, -1);
    this.#groups.delete(id);
    this.#world.gone(group.thing);
  }

  // By hand

  tamperings(arn: string): string[] {
    const group = this.#groups.get(arn.split('/').at(-1)!);
    if (group === undefined) return [];
    return ['open a port', ...(group.ingress.length > 0 ? ['close a port'] : [])];
  }

  tamper(arn: string, change: string): void {
    const id = arn.split('/').at(-1)!;
    const group = this.#groups.get(id)!;
    if (change === 'open a port') {
      const rule = { protocol: 'tcp', from: 22, to: 22, cidr: '0.0.0.0/0' };
      if (!group.ingress.some((each) => isSame(each, rule))) this.#set({ ...group, ingress: [...group.ingress, rule] });
    } else {
      const [first, ...ingress] = group.ingress;
      this.#count(first!, -1);
      this.#set({ ...group, ingress });
    }
  }

  delete(arn: string): void {
    this.remove(arn.split('/').at(-1)!);
  }

  retagged(arn: string, tags: Tags): void {
    const group = this.#groups.get(arn.split('/').at(-1)!)!;
    this.#groups.set(group.id, { ...group, tags });
  }

  // Within

  #ids(name: string): string[] {
    return this.#byName.get(name) ?? [];
  }

  /** For a call that changes it: EC2 may not know yet what was made a moment ago. */
  #seen(id: string): Group {
    const group = this.#groups.get(id);
    if (group === undefined || this.#groups.see(id) === undefined) throw noGroup(id);
    return group;
  }

  #set(group: Group): void {
    this.#groups.set(group.id, group);
    this.#world.note('changed', group.thing);
  }

  #count({ group }: Rule, by: 1 | -1): void {
    if (group !== undefined) this.#named.set(group, (this.#named.get(group) ?? 0) + by);
  }

  #find(filters: { Name?: string | undefined; Values?: string[] | undefined }[], ids: string[] | undefined): Group[] {
    const named = filters.find(({ Name }) => Name === 'group-name')?.Values;
    const candidates = ids ?? named?.flatMap((name) => this.#ids(name));
    const found =
      candidates === undefined
        ? [...this.#groups.seen()].map(([, group]) => group)
        : candidates.flatMap((id) => this.#groups.see(id) ?? []);
    return found.filter((group) =>
      filters.every(({ Name, Values = [] }) => {
        if (Name === 'group-name') return Values.includes(group.name);
        if (Name === 'vpc-id') return Values.includes(group.vpcId);
        if (Name === 'group-id') return Values.includes(group.id);
        if (Name?.startsWith('tag:')) return Values.includes(group.tags[Name.slice(4)] ?? '');
        throw new NotSimulated(`ec2:DescribeSecurityGroups: filter "${Name}"`);
      }),
    );
  }

  #view(group: Group) {
    const { id, name, vpcId, description, ingress, tags } = group;
    const ports = new Map<string, IpPermission>();
    for (const { protocol, from, to, group: source, cidr } of ingress) {
      const key = `${protocol} ${from} ${to}`;
      let one = ports.get(key);
      if (one === undefined) {
        one = { IpProtocol: protocol, FromPort: from, ToPort: to, UserIdGroupPairs: [], IpRanges: [] };
        ports.set(key, one);
      }
      if (source !== undefined) one.UserIdGroupPairs!.push({ GroupId: source, UserId: this.#world.id });
      if (cidr !== undefined) one.IpRanges!.push({ CidrIp: cidr });
    }
    return {
      GroupId: id,
      GroupName: name,
      Description: description,
      VpcId: vpcId,
      OwnerId: this.#world.id,
      SecurityGroupArn: this.arnOf(id),
      IpPermissions: [...ports.values()],
      IpPermissionsEgress: [{ IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }], UserIdGroupPairs: [] }],
      Tags: tagListOf(tags),
    };
  }
}

const noGroup = (id: string): Refused =>
  new Refused('InvalidGroup.NotFound', `The security group '${id}' does not exist`);

const isSame = (a: Rule, b: Rule): boolean =>
  a.protocol === b.protocol && a.from === b.from && a.to === b.to && a.group === b.group && a.cidr === b.cidr;

function rulesOf(permission: IpPermission): Rule[] {
  const { IpProtocol, FromPort, ToPort, UserIdGroupPairs, IpRanges, Ipv6Ranges, PrefixListIds } = permission;
  if ((Ipv6Ranges ?? []).length > 0 || (PrefixListIds ?? []).length > 0)
    throw new NotSimulated('ec2: rules of IPv6 ranges or prefix lists');
  const ports = { protocol: IpProtocol!, from: FromPort ?? -1, to: ToPort ?? -1 };
  return [
    ...(UserIdGroupPairs ?? []).map(({ GroupId }) => ({ ...ports, group: GroupId! })),
    ...(IpRanges ?? []).map(({ CidrIp }) => ({ ...ports, cidr: CidrIp! })),
  ];
}
