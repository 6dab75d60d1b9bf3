/** What a deployment left in the account: a delete is over when this finds nothing but what is kept on purpose. */
import { DescribeServicesCommand, DescribeTaskDefinitionCommand, DescribeTasksCommand } from '@aws-sdk/client-ecs';
import { GetResourcesCommand } from '@aws-sdk/client-resource-groups-tagging-api';
import type { Account } from './account.ts';
import { TAG } from './tags.ts';
import { describe as describeSecret } from '../kinds/secrets.ts';

export interface Remaining {
  /** ARNs of what should be gone. */
  readonly left: readonly string[];
  /** What a delete leaves behind on purpose, with the reason. */
  readonly kept: readonly { readonly arn: string; readonly why: string }[];
}

/**
 * Searches by tag, whatever our own rows say. AWS's search goes on naming some things for a while after they are gone.
 */
export async function remaining(
  aws: Account,
  place: { readonly prefix: string },
  deploymentId: string,
): Promise<Remaining> {
  const left: string[] = [];
  const kept: { arn: string; why: string }[] = [];
  for (const arn of await search(aws, place.prefix, deploymentId)) {
    const fate = await fateOf(aws, arn);
    if (fate === 'left') left.push(arn);
    else if (fate !== 'gone') kept.push({ arn, why: fate });
  }
  return { left, kept };
}

async function search(aws: Account, prefix: string, deploymentId: string): Promise<string[]> {
  const arns: string[] = [];
  let PaginationToken: string | undefined;
  do {
    const page = await aws.tagging.send(
      new GetResourcesCommand({
        TagFilters: [
          { Key: TAG.place, Values: [prefix] },
          { Key: TAG.deployment, Values: [deploymentId] },
        ],
        ResourcesPerPage: 100,
        PaginationToken,
      }),
    );
    arns.push(...(page.ResourceTagMappingList ?? []).map((found) => found.ResourceARN!));
    PaginationToken = page.PaginationToken === '' ? undefined : page.PaginationToken;
  } while (PaginationToken !== undefined);
  return arns.sort();
}

/** `left`, `gone`, or why it is kept. */
async function fateOf(aws: Account, arn: string): Promise<string> {
  const [, , service, , , ...rest] = arn.split(':');
  const resource = rest.join(':');
  if (service === 'rds' && resource.startsWith('snapshot:')) return "the database's final snapshot";
  if (service === 'secretsmanager') {
    const secret = await describeSecret(aws, arn);
    if (secret === undefined) return 'gone';
    return secret.DeletedDate === undefined ? 'left' : 'a secret in its recovery window';
  }
  if (service !== 'ecs') return 'left';
  const [type, cluster] = resource.split('/');
  if (type === 'task-definition') {
    const { taskDefinition } = await aws.ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: arn }));
    return taskDefinition?.status === 'ACTIVE' ? 'left' : 'a deregistered task definition, which ECS keeps';
  }
  if (type === 'service') {
    const { services } = await aws.ecs.send(new DescribeServicesCommand({ cluster, services: [arn] }));
    return (services?.[0]?.status ?? 'INACTIVE') === 'INACTIVE' ? 'gone' : 'left';
  }
  if (type === 'task') {
    const { tasks } = await aws.ecs.send(new DescribeTasksCommand({ cluster, tasks: [arn] }));
    return (tasks?.[0]?.lastStatus ?? 'STOPPED') === 'STOPPED' ? 'gone' : 'left';
  }
  return 'left';
}
