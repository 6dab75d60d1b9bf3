/**
 * Elastic Load Balancing: target groups and the rules of listeners. New ones are not found for a moment, tags later
 * still.
 */
import {
  CreateRuleCommand,
  CreateTargetGroupCommand,
  DeleteRuleCommand,
  DeleteTargetGroupCommand,
  DescribeRulesCommand,
  DescribeTagsCommand,
  DescribeTargetGroupAttributesCommand,
  DescribeTargetGroupsCommand,
  DescribeTargetHealthCommand,
  ModifyRuleCommand,
  ModifyTargetGroupAttributesCommand,
  ModifyTargetGroupCommand,
  type Action,
  type CreateTargetGroupCommandInput,
  type RuleCondition,
  type TargetGroup,
  type TargetHealth,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { NotSimulated, Refused, Table } from './operation.ts';
import type { Shelf } from './shelf.ts';
import { tagListOf, tagsOf, type Tags, type Thing, type World } from './world.ts';

/** What can be changed of a target group. */
interface Health {
  readonly HealthCheckEnabled: boolean;
  readonly HealthCheckProtocol: 'HTTP';
  readonly HealthCheckPort: string;
  readonly HealthCheckPath: string;
  readonly HealthCheckIntervalSeconds: number;
  readonly HealthCheckTimeoutSeconds: number;
  readonly HealthyThresholdCount: number;
  readonly UnhealthyThresholdCount: number;
  readonly Matcher: { readonly HttpCode: string };
}

interface Group {
  readonly arn: string;
  readonly name: string;
  readonly vpcId: string;
  readonly port: number;
  readonly health: Health;
  readonly drainSeconds: number;
  readonly thing: Thing;
}

interface Rule {
  readonly arn: string;
  readonly listener: string;
  readonly priority: number;
  readonly conditions: readonly RuleCondition[];
  readonly groups: readonly string[];
  readonly thing: Thing;
}

interface Target {
  readonly port: number;
  readonly health: TargetHealth;
}

const GROUP = 'elasticloadbalancing:targetgroup';
const RULE = 'elasticloadbalancing:listener-rule';
const DRAIN = 'deregistration_delay.timeout_seconds';
const HEALTH =
  'HealthCheckEnabled HealthCheckProtocol HealthCheckPort HealthCheckPath HealthCheckIntervalSeconds ' +
  'HealthCheckTimeoutSeconds HealthyThresholdCount UnhealthyThresholdCount Matcher';
const PAGE = 100;
/** Of all rules of a listener. */
const CONDITION_VALUES = 5;

export class Elb {
  readonly table = new Table();
  readonly #world: World;
  /** Listeners by ARN: of a balancer each. */
  readonly #listeners = new Map<string, string>();
  readonly #groups: Shelf<Group>;
  readonly #rules: Shelf<Rule>;
  readonly #tags: Shelf<Tags>;
  /** ARNs of all that ever had a name and may still be shown. */
  readonly #byName = new Map<string, string[]>();
  /** ARNs of a listener's rules, those included that reads may still show. */
  readonly #of = new Map<string, Set<string>>();
  /** By target group, and then by the task's address. */
  readonly #targets = new Map<string, Map<string, Target>>();
  /** Rules by the target group that they forward to. */
  readonly #forwards = new Map<string, Set<string>>();

  constructor(world: World) {
    this.#world = world;
    this.#groups = world.shelf('elb.consistency');
    this.#rules = world.shelf('elb.consistency');
    this.#tags = world.shelf('elb.consistency.tags');
    this.table
      .read(DescribeTargetGroupsCommand, 'Names TargetGroupArns', ({ Names, TargetGroupArns }) => {
        const arns =
          TargetGroupArns ?? Names?.map((name) => this.#shown(name)) ?? [...this.#groups.seen()].map(([arn]) => arn);
        return { TargetGroups: arns.map((arn) => this.#groupView(this.#group(arn ?? ''))) };
      })
      .read(DescribeTagsCommand, 'ResourceArns', ({ ResourceArns }) => ({
        TagDescriptions: (ResourceArns ?? []).map((ResourceArn) => {
          const isGroup = ResourceArn.includes(':targetgroup/');
          const { arn } = isGroup ? this.#group(ResourceArn) : this.#rule(ResourceArn);
          const tags = this.#tags.see(arn);
          // Not known yet, or gone already.
          if (tags === undefined && this.#tags.get(arn) === undefined) throw isGroup ? noGroup() : noRule();
          return { ResourceArn, Tags: tagListOf(tags ?? {}) };
        }),
      }))
      .read(DescribeTargetGroupAttributesCommand, 'TargetGroupArn', ({ TargetGroupArn }) => ({
        Attributes: [{ Key: DRAIN, Value: String(this.#group(TargetGroupArn!).drainSeconds) }],
      }))
      .read(DescribeTargetHealthCommand, 'TargetGroupArn', ({ TargetGroupArn }) => {
        const { arn } = this.#group(TargetGroupArn!);
        const TargetHealthDescriptions = [...(this.#targets.get(arn) ?? [])].map(([Id, { port, health }]) => ({
          Target: { Id, Port: port },
          TargetHealth: { ...health },
        }));
        return { TargetHealthDescriptions };
      })
      .read(
        DescribeRulesCommand,
        'ListenerArn RuleArns Marker PageSize',
        ({ ListenerArn, RuleArns, Marker, PageSize }) => {
          if (RuleArns !== undefined) return { Rules: RuleArns.map((arn) => ruleView(this.#rule(arn))) };
          this.#balancer(ListenerArn!);
          const shown = this.#rulesOf(ListenerArn!);
          const size = PageSize ?? PAGE;
          const from = Number(Marker ?? 0);
          const Rules: object[] = shown.slice(from, from + size).map(ruleView);
          const isLast = from + size >= shown.length;
          if (isLast) Rules.push(defaultRule(ListenerArn!));
          return { Rules, ...(!isLast && { NextMarker: String(from + size) }) };
        },
      )
      .write(CreateTargetGroupCommand, `Name VpcId Protocol Port TargetType Tags ${HEALTH}`, (input) => ({
        TargetGroups: [this.#groupView(this.#make(input))],
      }))
      .write(ModifyTargetGroupCommand, `TargetGroupArn ${HEALTH}`, (input) => {
        const group = this.#truly(input.TargetGroupArn!);
        const health = healthOf(input, group.health);
        this.#groups.set(group.arn, { ...group, health });
        world.note('changed', group.thing);
        return { TargetGroups: [this.#groupView({ ...group, health })] };
      })
      .write(ModifyTargetGroupAttributesCommand, 'TargetGroupArn Attributes', ({ TargetGroupArn, Attributes }) => {
        const group = this.#truly(TargetGroupArn!);
        for (const { Key } of Attributes ?? [])
          if (Key !== DRAIN) throw new NotSimulated(`elasticloadbalancing: the attribute "${Key}"`);
        const drainSeconds = Number(Attributes![0]!.Value);
        this.#groups.set(group.arn, { ...group, drainSeconds });
        world.note('changed', group.thing);
        return { Attributes };
      })
      .write(DeleteTargetGroupCommand, 'TargetGroupArn', ({ TargetGroupArn }) => {
        this.#removeGroup(TargetGroupArn!);
        return {};
      })
      .write(CreateRuleCommand, 'ListenerArn Priority Conditions Actions Tags', (input) => {
        const { ListenerArn, Priority, Conditions, Actions, Tags } = input;
        const rule = this.#makeRule(ListenerArn!, Priority!, Conditions ?? [], Actions ?? [], tagsOf(Tags));
        return { Rules: [ruleView(rule)] };
      })
      .write(ModifyRuleCommand, 'RuleArn Conditions', ({ RuleArn, Conditions }) => {
        const rule = this.#rules.get(RuleArn!);
        if (rule === undefined) throw noRule();
        checkConditions(Conditions ?? []);
        const now = { ...rule, conditions: Conditions ?? rule.conditions };
        this.#rules.set(rule.arn, now);
        world.note('changed', rule.thing);
        return { Rules: [ruleView(now)] };
      })
      .write(DeleteRuleCommand, 'RuleArn', ({ RuleArn }) => {
        this.#removeRule(RuleArn!);
        return {};
      });
  }

  /** A listener that the place's stack made. */
  listen(balancer: string, listener: string): void {
    this.#listeners.set(listener, balancer);
    this.#of.set(listener, new Set());
  }

  /** ECS puts a task's address into a target group, says how its checks go, or takes it out. */
  target(group: string, id: string, port: number, health: TargetHealth | undefined): void {
    const targets = this.#targets.get(group) ?? new Map<string, Target>();
    if (health === undefined) targets.delete(id);
    else targets.set(id, { port, health });
    this.#targets.set(group, targets);
  }

  /** What ECS sees of a target group: the truth. */
  group(arn: string): (Pick<Group, 'health' | 'drainSeconds'> & { readonly isAttached: boolean }) | undefined {
    const group = this.#groups.get(arn);
    if (group === undefined) return undefined;
    return { health: group.health, drainSeconds: group.drainSeconds, isAttached: this.#rulesTo(arn).length > 0 };
  }

  // By hand

  tamperings(arn: string): string[] {
    if (this.#groups.get(arn) !== undefined) return ['change the health check', 'drain longer'];
    return this.#rules.get(arn) === undefined ? [] : ['change the conditions'];
  }

  tamper(arn: string, change: string): void {
    const group = this.#groups.get(arn);
    if (group !== undefined) {
      const health = { ...group.health, HealthCheckPath: '/by-hand' };
      this.#groups.set(arn, change === 'drain longer' ? { ...group, drainSeconds: 600 } : { ...group, health });
      this.#world.note('changed', group.thing);
      return;
    }
    const rule = this.#rules.get(arn)!;
    const conditions = [{ Field: 'path-pattern', PathPatternConfig: { Values: ['/by-hand'] } }];
    this.#rules.set(arn, { ...rule, conditions });
    this.#world.note('changed', rule.thing);
  }

  delete(arn: string): void {
    if (this.#rules.get(arn) !== undefined) this.#removeRule(arn);
    else this.#removeGroup(arn);
  }

  retagged(arn: string, tags: Tags): void {
    this.#tags.set(arn, tags);
  }

  // Within

  #balancer(listener: string): string {
    const balancer = this.#listeners.get(listener);
    if (balancer === undefined) throw new Refused('ListenerNotFoundException', `One or more listeners not found`);
    return balancer;
  }

  #shown(name: string): string | undefined {
    return (this.#byName.get(name) ?? []).findLast((arn) => this.#groups.see(arn) !== undefined);
  }

  #group(arn: string): Group {
    // Found by its name or not at all: the name's own look was one at another copy.
    const group = this.#groups.see(arn);
    if (group === undefined) throw noGroup();
    return group;
  }

  #truly(arn: string): Group {
    const group = this.#groups.get(arn);
    if (group === undefined) throw noGroup();
    return group;
  }

  #rule(arn: string): Rule {
    const rule = this.#rules.see(arn);
    if (rule === undefined) throw noRule();
    return rule;
  }

  #rulesOf(listener: string): Rule[] {
    const known = this.#of.get(listener)!;
    const shown: Rule[] = [];
    for (const arn of known) {
      const rule = this.#rules.see(arn);
      if (rule !== undefined) shown.push(rule);
      else if (this.#rules.isSettled(arn)) known.delete(arn);
    }
    return shown.sort((a, b) => a.priority - b.priority);
  }

  #rulesTo(group: string): Rule[] {
    return [...(this.#forwards.get(group) ?? [])].flatMap((arn) => this.#rules.get(arn) ?? []);
  }

  /** https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html: idempotent. */
  #make(input: CreateTargetGroupCommandInput): Group {
    const name = input.Name!;
    if (!/^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$/.test(name))
      throw new Refused('ValidationError', `Target group name '${name}' cannot be longer than '32' characters`);
    const health = healthOf(input, undefined);
    const there = this.#byName
      .get(name)
      ?.map((arn) => this.#groups.get(arn))
      .find((group) => group !== undefined);
    if (there !== undefined) {
      const isSame =
        there.port === input.Port &&
        JSON.stringify(there.health) === JSON.stringify(health) &&
        there.vpcId === input.VpcId;
      if (isSame) return there;
      throw new Refused(
        'DuplicateTargetGroupNameException',
        `A target group with the same name '${name}' exists, but with different settings`,
      );
    }
    const arn = this.#world.arn('elasticloadbalancing', `targetgroup/${name}/${this.#world.hex(16)}`);
    const tags = tagsOf(input.Tags);
    const thing = this.#world.made(GROUP, arn, name, tags);
    const group: Group = { arn, name, vpcId: input.VpcId!, port: input.Port!, health, drainSeconds: 300, thing };
    this.#groups.set(arn, group);
    this.#tags.set(arn, tags);
    this.#byName.set(name, [...(this.#byName.get(name) ?? []), arn]);
    return group;
  }

  #removeGroup(arn: string): void {
    const group = this.#groups.get(arn);
    if (group === undefined) return; // a success, as on AWS
    if (this.#rulesTo(arn).length > 0)
      throw new Refused('ResourceInUseException', `Target group '${arn}' is currently in use by a listener or a rule`);
    this.#groups.delete(arn);
    this.#tags.delete(arn);
    this.#targets.delete(arn);
    this.#world.gone(group.thing);
  }

  #makeRule(
    listener: string,
    priority: number,
    conditions: readonly RuleCondition[],
    actions: readonly Action[],
    tags: Tags,
  ): Rule {
    const world = this.#world;
    const balancer = this.#balancer(listener);
    checkConditions(conditions);
    const groups = actions.flatMap(({ Type, TargetGroupArn }) => {
      if (Type !== 'forward' || TargetGroupArn === undefined)
        throw new NotSimulated('elasticloadbalancing: rules that do anything but forward');
      return [TargetGroupArn];
    });
    for (const group of groups)
      if (this.#groups.get(group) === undefined)
        throw new Refused('TargetGroupNotFoundException', `Target groups '${group}' not found`);
    const all = [...this.#listeners].flatMap(([each, of]) => (of === balancer ? [...this.#of.get(each)!] : []));
    const rules = all.flatMap((arn) => this.#rules.get(arn) ?? []);
    if (rules.some((rule) => rule.listener === listener && rule.priority === priority))
      throw new Refused('PriorityInUseException', `Priority '${priority}' is currently in use`);
    if (rules.length >= world.quotas.rulesPerBalancer)
      throw new Refused('TooManyRulesException', 'The maximum number of rules has been reached');
    if (new Set([...rules.flatMap((rule) => rule.groups), ...groups]).size > world.quotas.targetGroupsPerBalancer)
      throw new Refused(
        'TooManyUniqueTargetGroupsPerLoadBalancerException',
        'The maximum number of unique target groups per load balancer has been reached',
      );
    const arn = `${listener.replace(':listener/', ':listener-rule/')}/${world.hex(16)}`;
    const thing = world.made(RULE, arn, conditions.map(wordsOf).join(', '), tags, { uses: () => groups });
    const rule: Rule = { arn, listener, priority, conditions, groups, thing };
    this.#rules.set(arn, rule);
    this.#tags.set(arn, tags);
    this.#of.get(listener)!.add(arn);
    for (const group of groups) {
      const to = this.#forwards.get(group) ?? new Set();
      this.#forwards.set(group, to.add(arn));
    }
    return rule;
  }

  #removeRule(arn: string): void {
    const rule = this.#rules.get(arn);
    if (rule === undefined) throw noRule();
    this.#rules.delete(arn);
    this.#tags.delete(arn);
    for (const group of rule.groups) this.#forwards.get(group)?.delete(arn);
    this.#world.gone(rule.thing);
  }

  #groupView({ arn, name, vpcId, port, health }: Group): TargetGroup {
    return {
      TargetGroupArn: arn,
      TargetGroupName: name,
      Protocol: 'HTTP',
      Port: port,
      VpcId: vpcId,
      TargetType: 'ip',
      ...health,
    };
  }
}

const noGroup = (): Refused => new Refused('TargetGroupNotFoundException', 'One or more target groups not found');
const noRule = (): Refused => new Refused('RuleNotFoundException', 'One or more rules not found');

const valuesOf = ({ Values, HostHeaderConfig, PathPatternConfig }: RuleCondition): string[] =>
  HostHeaderConfig?.Values ?? PathPatternConfig?.Values ?? Values ?? [];

const wordsOf = (condition: RuleCondition): string => valuesOf(condition).join(' ');

function checkConditions(conditions: readonly RuleCondition[]): void {
  if (conditions.length === 0) throw new Refused('ValidationError', 'A condition must be specified');
  if (conditions.flatMap(valuesOf).length > CONDITION_VALUES)
    throw new Refused('ValidationError', `The maximum number of condition values is ${CONDITION_VALUES}`);
}

const ruleView = ({ arn, priority, conditions, groups }: Rule): object => ({
  RuleArn: arn,
  Priority: String(priority),
  Conditions: conditions.map((condition) => ({ ...condition, Values: [...valuesOf(condition)] })),
  Actions: groups.map((TargetGroupArn) => ({
    Type: 'forward',
    TargetGroupArn,
    ForwardConfig: { TargetGroups: [{ TargetGroupArn, Weight: 1 }] },
  })),
  IsDefault: false,
});

const defaultRule = (listener: string): object => ({
  RuleArn: `${listener.replace(':listener/', ':listener-rule/')}/default`,
  Priority: 'default',
  Conditions: [],
  Actions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '404' } }],
  IsDefault: true,
});

function healthOf(
  given: Partial<Omit<Health, 'HealthCheckProtocol' | 'Matcher'>> & object,
  old: Health | undefined,
): Health {
  const asked = given as Partial<Health>;
  const health: Health = {
    HealthCheckEnabled: true,
    HealthCheckProtocol: 'HTTP',
    HealthCheckPort: asked.HealthCheckPort ?? old?.HealthCheckPort ?? 'traffic-port',
    HealthCheckPath: asked.HealthCheckPath ?? old?.HealthCheckPath ?? '/',
    HealthCheckIntervalSeconds: asked.HealthCheckIntervalSeconds ?? old?.HealthCheckIntervalSeconds ?? 30,
    HealthCheckTimeoutSeconds: asked.HealthCheckTimeoutSeconds ?? old?.HealthCheckTimeoutSeconds ?? 5,
    HealthyThresholdCount: asked.HealthyThresholdCount ?? old?.HealthyThresholdCount ?? 5,
    UnhealthyThresholdCount: asked.UnhealthyThresholdCount ?? old?.UnhealthyThresholdCount ?? 2,
    Matcher: { HttpCode: asked.Matcher?.HttpCode ?? old?.Matcher.HttpCode ?? '200' },
  };
  if (health.HealthCheckTimeoutSeconds >= health.HealthCheckIntervalSeconds)
    throw new Refused('ValidationError', 'Health check interval must be greater than the timeout');
  return health;
}
