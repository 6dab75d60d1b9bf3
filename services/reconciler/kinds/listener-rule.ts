import {
  CreateRuleCommand,
  DeleteRuleCommand,
  DescribeRulesCommand,
  DescribeTagsCommand,
  ModifyRuleCommand,
  type Rule,
  type RuleCondition,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import type { Account } from '../aws/account.ts';
import { arn, changesOurs, createsOurs, tagsByIndex } from '../aws/arn.ts';
import { hasCode } from '../aws/errors.ts';
import { requireOurs, tagList, tagRecord } from '../aws/tags.ts';
import type { Kind } from '../resource.ts';
import { compare } from './compare.ts';

export interface ListenerRuleInputs {
  readonly listenerArn: string;
  /** What it forwards to; also how it is found, for rules have no names. */
  readonly targetGroupArn: string;
  /** The requests it is for: of one host, or of one path and everything below it. */
  readonly match: { readonly host: string } | { readonly path: string };
}

interface Live {
  readonly arn: string;
  /** `<field> <values>`, sorted. */
  readonly conditions: readonly string[];
}

/** Tries to get a free priority while others take theirs. */
const TRIES = 5;
const HIGHEST_PRIORITY = 50_000;

/** Sends a deployment's requests from the place's shared balancer to its target group. */
export const listenerRule: Kind<ListenerRuleInputs, Live, { arn: string }> = {
  kind: 'listener-rule',
  iam: (scope) => {
    // The first load balancer has the prefix's name; the others have a number after it.
    const rules = [scope.prefix, `${scope.prefix}-*`].map((name) =>
      arn(scope, 'elasticloadbalancing', `listener-rule/app/${name}/*`),
    );
    // Not `*`: another place's prefix may begin with this one's, and its listener has no tag that tells them apart.
    const more = ['?', '??'].map((number) =>
      arn(scope, 'elasticloadbalancing', `listener/app/${scope.prefix}-${number}/*`),
    );
    return [
      {
        actions: ['elasticloadbalancing:DescribeRules', 'elasticloadbalancing:DescribeTags'],
        resources: ['*'],
        why: 'Elastic Load Balancing has no narrower scope for reading',
      },
      ...tagsByIndex(scope),
      {
        actions: ['elasticloadbalancing:CreateRule'],
        resources: [scope.listenerArn, ...more],
        conditions: createsOurs(scope),
        why: "adds a deployment's rule to the place's listener, tagged from the start",
      },
      {
        actions: ['elasticloadbalancing:AddTags'],
        resources: rules,
        conditions: {
          StringEquals: { ...createsOurs(scope).StringEquals, 'elasticloadbalancing:CreateAction': 'CreateRule' },
        },
        why: 'needed to make it with its tags',
      },
      {
        actions: ['elasticloadbalancing:ModifyRule', 'elasticloadbalancing:DeleteRule'],
        resources: rules,
        conditions: changesOurs(scope),
        why: "changes and removes a deployment's own rule",
      },
    ];
  },
  pollSeconds: 2,
  limitSeconds: 300,

  async observe({ aws, tags }, inputs) {
    for (const found of await list(aws, inputs.listenerArn)) {
      if (!forwardsTo(found, inputs.targetGroupArn)) continue;
      try {
        const described = await aws.elb.send(new DescribeTagsCommand({ ResourceArns: [found.RuleArn!] }));
        requireOurs(tagRecord(described.TagDescriptions?.[0]?.Tags), tags, found.RuleArn!);
      } catch (error) {
        // What is deleted stays in the list for a moment, and another one may stand behind it.
        if (isNoRule(error)) continue;
        throw error;
      }
      const live = { arn: found.RuleArn!, conditions: (found.Conditions ?? []).map(words).sort() };
      return { is: 'ready', live, out: { arn: live.arn } };
    }
    return { is: 'absent' };
  },

  diff: (inputs, live) => compare({ conditions: conditions(inputs).map(words).sort() }, live),

  async converge({ aws, tags, fence }, inputs, live) {
    if (live !== undefined) {
      await aws.elb.send(new ModifyRuleCommand({ RuleArn: live.arn, Conditions: conditions(inputs) }));
      return;
    }
    for (let tries = 1; ; tries += 1) {
      const Priority = freePriority(await list(aws, inputs.listenerArn));
      await fence(); // while that was read, or refused, another pass may have made the rule
      try {
        await aws.elb.send(
          new CreateRuleCommand({
            ListenerArn: inputs.listenerArn,
            Priority,
            Conditions: conditions(inputs),
            Actions: [{ Type: 'forward', TargetGroupArn: inputs.targetGroupArn }],
            Tags: tagList(tags),
          }),
        );
        return;
      } catch (error) {
        if (tries === TRIES || !hasCode(error, 'PriorityInUse', 'PriorityInUseException')) throw error;
      }
    }
  },

  async remove({ aws }, _, live) {
    try {
      await aws.elb.send(new DeleteRuleCommand({ RuleArn: live.arn }));
    } catch (error) {
      if (!isNoRule(error)) throw error;
    }
  },
};

const isNoRule = (error: unknown): boolean => hasCode(error, 'RuleNotFound', 'RuleNotFoundException');

async function list(aws: Account, ListenerArn: string): Promise<Rule[]> {
  const rules: Rule[] = [];
  let Marker: string | undefined;
  do {
    try {
      const page = await aws.elb.send(new DescribeRulesCommand({ ListenerArn, Marker }));
      rules.push(...(page.Rules ?? []));
      Marker = page.NextMarker;
    } catch (error) {
      if (hasCode(error, 'ListenerNotFound', 'ListenerNotFoundException')) return [];
      throw error;
    }
  } while (Marker !== undefined);
  return rules;
}

const forwardsTo = (rule: Rule, targetGroupArn: string): boolean =>
  (rule.Actions ?? []).some(
    (action) =>
      action.TargetGroupArn === targetGroupArn ||
      action.ForwardConfig?.TargetGroups?.some((group) => group.TargetGroupArn === targetGroupArn),
  );

/** The lowest that no rule has. */
export function freePriority(rules: readonly Pick<Rule, 'Priority'>[]): number {
  const taken = new Set(rules.map((rule) => Number(rule.Priority)));
  for (let priority = 1; priority < HIGHEST_PRIORITY; priority += 1) if (!taken.has(priority)) return priority;
  return HIGHEST_PRIORITY;
}

const conditions = ({ match }: ListenerRuleInputs): RuleCondition[] => [
  'host' in match
    ? { Field: 'host-header', HostHeaderConfig: { Values: [match.host] } }
    : { Field: 'path-pattern', PathPatternConfig: { Values: [match.path, `${match.path}/*`] } },
];

const words = (condition: RuleCondition): string => {
  const { Field, Values, HostHeaderConfig, PathPatternConfig } = condition;
  const values = HostHeaderConfig?.Values ?? PathPatternConfig?.Values ?? Values ?? [];
  return `${Field} ${[...values].sort().join(' ')}`;
};
