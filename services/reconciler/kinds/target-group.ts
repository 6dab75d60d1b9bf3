import {
  CreateTargetGroupCommand,
  DeleteTargetGroupCommand,
  DescribeTagsCommand,
  DescribeTargetGroupAttributesCommand,
  DescribeTargetGroupsCommand,
  ModifyTargetGroupAttributesCommand,
  ModifyTargetGroupCommand,
  type TargetGroup,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import type { Account } from '../aws/account.ts';
import { arn, changesOurs, createsOurs, ours, tagsByIndex } from '../aws/arn.ts';
import { hasCode } from '../aws/errors.ts';
import { requireOurs, tagList, tagRecord } from '../aws/tags.ts';
import type { Change, Kind } from '../resource.ts';
import { compare } from './compare.ts';

export interface TargetGroupInputs {
  readonly name: string;
  readonly vpcId: string;
  readonly port: number;
  readonly health: TargetHealthCheck;
  /** How long a target that is taken out may finish its requests; null: as AWS has it, neither read nor set. */
  readonly drainSeconds: number | null;
}

export interface TargetHealthCheck {
  readonly path: string;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
  /** HTTP codes that count as healthy, as the balancer spells them: `200` or `200-299`. */
  readonly codes: string;
}

interface Live {
  readonly arn: string;
  readonly health: TargetHealthCheck;
  readonly drainSeconds: number | null;
}

const DRAIN = 'deregistration_delay.timeout_seconds';

/** The tasks that the balancer sends a deployment's requests to, and how it asks them whether they are well. */
export const targetGroup: Kind<TargetGroupInputs, Live, { arn: string }> = {
  kind: 'target-group',
  iam: (scope) => {
    const groups = [arn(scope, 'elasticloadbalancing', `targetgroup/${ours(scope).named}`)];
    return [
      {
        actions: [
          'elasticloadbalancing:DescribeTargetGroups',
          'elasticloadbalancing:DescribeTargetGroupAttributes',
          'elasticloadbalancing:DescribeTags',
        ],
        resources: ['*'],
        why: 'Elastic Load Balancing has no narrower scope for reading',
      },
      ...tagsByIndex(scope),
      {
        actions: ['elasticloadbalancing:CreateTargetGroup'],
        resources: groups,
        conditions: createsOurs(scope),
        why: "makes a deployment's target group, tagged from the start",
      },
      {
        actions: ['elasticloadbalancing:AddTags'],
        resources: groups,
        conditions: {
          StringEquals: {
            ...createsOurs(scope).StringEquals,
            'elasticloadbalancing:CreateAction': 'CreateTargetGroup',
          },
        },
        why: 'needed to make it with its tags',
      },
      {
        actions: [
          'elasticloadbalancing:ModifyTargetGroup',
          'elasticloadbalancing:ModifyTargetGroupAttributes',
          'elasticloadbalancing:DeleteTargetGroup',
        ],
        resources: groups,
        conditions: changesOurs(scope),
        why: "sets the health check of a deployment's target group, and removes the group",
      },
    ];
  },
  pollSeconds: 2,
  limitSeconds: 300,
  calls: ({ drainSeconds }, changes) => ({
    observe: drainSeconds === null ? 2 : 3,
    create: drainSeconds === null ? 1 : 2,
    change: (changes.some(isOfHealth) ? 1 : 0) + (changes.some((change) => !isOfHealth(change)) ? 1 : 0),
    remove: 1,
  }),

  async observe({ aws, tags }, inputs) {
    try {
      const answer = await aws.elb.send(new DescribeTargetGroupsCommand({ Names: [inputs.name] }));
      const found = answer.TargetGroups?.[0];
      if (found === undefined) return { is: 'absent' };
      const TargetGroupArn = found.TargetGroupArn!;
      const described = await aws.elb.send(new DescribeTagsCommand({ ResourceArns: [TargetGroupArn] }));
      requireOurs(tagRecord(described.TagDescriptions?.[0]?.Tags), tags, inputs.name);
      const drainSeconds = inputs.drainSeconds === null ? null : await drainOf(aws, TargetGroupArn);
      const live = { arn: TargetGroupArn, health: healthOf(found), drainSeconds };
      return { is: 'ready', live, out: { arn: TargetGroupArn } };
    } catch (error) {
      // Of its parts, too: what is deleted is still found by its name for a moment.
      if (isNoTargetGroup(error)) return { is: 'absent' };
      throw error;
    }
  },

  diff: ({ health, drainSeconds }, live) => [
    ...compare(health, live.health).map((change) => ({ ...change, field: `health.${change.field}` })),
    ...compare({ drainSeconds }, live),
  ],

  async converge({ aws, tags }, inputs, live, changes) {
    let TargetGroupArn = live?.arn;
    if (TargetGroupArn === undefined) {
      try {
        const made = await aws.elb.send(
          new CreateTargetGroupCommand({
            Name: inputs.name,
            VpcId: inputs.vpcId,
            Protocol: 'HTTP',
            Port: inputs.port,
            TargetType: 'ip',
            ...healthCheck(inputs.health),
            Tags: tagList(tags),
          }),
        );
        TargetGroupArn = made.TargetGroups![0]!.TargetGroupArn!;
      } catch (error) {
        if (hasCode(error, 'DuplicateTargetGroupName', 'DuplicateTargetGroupNameException')) return;
        throw error;
      }
    } else if (changes.some(isOfHealth)) {
      await aws.elb.send(new ModifyTargetGroupCommand({ TargetGroupArn, ...healthCheck(inputs.health) }));
    }
    const { drainSeconds } = inputs;
    if (drainSeconds !== null && (live === undefined || changes.some(({ field }) => field === 'drainSeconds'))) {
      const Attributes = [{ Key: DRAIN, Value: String(drainSeconds) }];
      await aws.elb.send(new ModifyTargetGroupAttributesCommand({ TargetGroupArn, Attributes }));
    }
  },

  async remove({ aws }, _, live) {
    try {
      await aws.elb.send(new DeleteTargetGroupCommand({ TargetGroupArn: live.arn }));
    } catch (error) {
      if (hasCode(error, 'ResourceInUse', 'ResourceInUseException')) return 'still used by a rule of the listener';
      if (!isNoTargetGroup(error)) throw error;
    }
  },
};

async function drainOf(aws: Account, TargetGroupArn: string): Promise<number> {
  const { Attributes } = await aws.elb.send(new DescribeTargetGroupAttributesCommand({ TargetGroupArn }));
  return Number(Attributes?.find((attribute) => attribute.Key === DRAIN)?.Value ?? 300);
}

const isOfHealth = ({ field }: Change): boolean => field.startsWith('health.');
const isNoTargetGroup = (error: unknown) => hasCode(error, 'TargetGroupNotFound', 'TargetGroupNotFoundException');

const healthCheck = (health: TargetHealthCheck) => ({
  HealthCheckEnabled: true,
  HealthCheckProtocol: 'HTTP' as const,
  HealthCheckPort: 'traffic-port',
  HealthCheckPath: health.path,
  HealthCheckIntervalSeconds: health.intervalSeconds,
  HealthCheckTimeoutSeconds: health.timeoutSeconds,
  HealthyThresholdCount: health.healthyAfter,
  UnhealthyThresholdCount: health.unhealthyAfter,
  Matcher: { HttpCode: health.codes },
});

const healthOf = (group: TargetGroup): TargetHealthCheck => ({
  path: group.HealthCheckPath ?? '',
  intervalSeconds: group.HealthCheckIntervalSeconds ?? 0,
  timeoutSeconds: group.HealthCheckTimeoutSeconds ?? 0,
  healthyAfter: group.HealthyThresholdCount ?? 0,
  unhealthyAfter: group.UnhealthyThresholdCount ?? 0,
  codes: group.Matcher?.HttpCode ?? '',
});
