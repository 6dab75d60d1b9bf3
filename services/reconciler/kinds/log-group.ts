import {
  CreateLogGroupCommand,
  DeleteLogGroupCommand,
  DescribeLogGroupsCommand,
  ListTagsForResourceCommand,
  PutRetentionPolicyCommand,
  type LogGroup,
} from '@aws-sdk/client-cloudwatch-logs';
import { arn, changesOurs, createsOurs, ours } from '../aws/arn.ts';
import { hasCode } from '../aws/errors.ts';
import { requireOurs } from '../aws/tags.ts';
import type { Cx, Kind } from '../resource.ts';
import { compare } from './compare.ts';

export interface LogGroupInputs {
  readonly name: string;
  readonly retentionDays: number;
}

interface Live {
  readonly retentionDays: number | null;
}

/** Where a deployment's containers write. Removed with the deployment. */
export const logGroup: Kind<LogGroupInputs, Live, { name: string; arn: string }> = {
  kind: 'log-group',
  iam: (scope) => [
    { actions: ['logs:DescribeLogGroups'], resources: ['*'], why: 'CloudWatch Logs has no narrower scope for listing' },
    {
      actions: ['logs:ListTagsForResource'],
      resources: [arn(scope, 'logs', `log-group:${scope.logGroupRoot}/${ours(scope).slug}`)],
      why: 'sees whose a log group is',
    },
    {
      actions: ['logs:CreateLogGroup', 'logs:TagResource'],
      resources: [arn(scope, 'logs', `log-group:${scope.logGroupRoot}/${ours(scope).slug}`)],
      conditions: createsOurs(scope),
      why: "makes a deployment's log group, tagged from the start",
    },
    {
      actions: ['logs:PutRetentionPolicy', 'logs:DeleteLogGroup'],
      resources: [arn(scope, 'logs', `log-group:${scope.logGroupRoot}/${ours(scope).slug}`)],
      conditions: changesOurs(scope),
      why: 'sets how long logs are kept, and removes those of a deleted deployment',
    },
  ],
  pollSeconds: 2,
  limitSeconds: 300,
  foresee: ({ name }) => ({ name }),
  calls: () => ({ observe: 2, create: 2, change: 1, remove: 1 }),

  async observe(cx, inputs) {
    const found = await find(cx, inputs.name);
    if (found === undefined) return { is: 'absent' };
    // `arn` ends in `:*`, which the tagging calls do not take.
    const resourceArn = found.logGroupArn ?? found.arn!.replace(/:\*$/, '');
    const { tags } = await cx.aws.logs.send(new ListTagsForResourceCommand({ resourceArn }));
    requireOurs(tags ?? {}, cx.tags, inputs.name);
    const live = { retentionDays: found.retentionInDays ?? null };
    return { is: 'ready', live, out: { name: inputs.name, arn: resourceArn } };
  },

  diff: ({ retentionDays }, live) => compare({ retentionDays }, live),

  async converge({ aws, tags }, { name, retentionDays }, live) {
    if (live === undefined) {
      try {
        await aws.logs.send(new CreateLogGroupCommand({ logGroupName: name, tags: { ...tags } }));
      } catch (error) {
        if (!hasCode(error, 'ResourceAlreadyExistsException')) throw error;
        return; // whose it is, the next look sees
      }
    }
    await aws.logs.send(new PutRetentionPolicyCommand({ logGroupName: name, retentionInDays: retentionDays }));
  },

  async remove({ aws }, { name }) {
    try {
      await aws.logs.send(new DeleteLogGroupCommand({ logGroupName: name }));
    } catch (error) {
      if (!hasCode(error, 'ResourceNotFoundException')) throw error;
    }
  },
};

async function find({ aws }: Cx, name: string): Promise<LogGroup | undefined> {
  let nextToken: string | undefined;
  do {
    const page = await aws.logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: name, nextToken }));
    const found = page.logGroups?.find((group) => group.logGroupName === name);
    if (found !== undefined) return found;
    nextToken = page.nextToken;
  } while (nextToken !== undefined);
  return undefined;
}
