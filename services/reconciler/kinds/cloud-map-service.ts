import {
  CreateServiceCommand,
  DeleteServiceCommand,
  ListServicesCommand,
  ListTagsForResourceCommand,
  type ServiceSummary,
} from '@aws-sdk/client-servicediscovery';
import { arn, changesOurs, createsOurs } from '../aws/arn.ts';
import { hasCode } from '../aws/errors.ts';
import { requireOurs, tagList, tagRecord, type Tags } from '../aws/tags.ts';
import type { Cx, Kind } from '../resource.ts';

export interface CloudMapServiceInputs {
  readonly name: string;
  readonly namespaceId: string;
  /** Of the DNS answers: how long a client may go on with the address of a task that is gone. */
  readonly ttlSeconds: number;
  /** Where tagging is not allowed: whose it is stands in its description. */
  readonly isUntagged?: true;
}

interface Live {
  readonly id: string;
  readonly arn: string;
}

/** A DNS name in the place's private namespace; ECS puts the addresses of a service's tasks into it. */
export const cloudMapService: Kind<CloudMapServiceInputs, Live, { arn: string }> = {
  kind: 'cloud-map-service',
  iam: (scope) => [
    {
      actions: ['servicediscovery:ListServices', 'servicediscovery:ListTagsForResource'],
      resources: ['*'],
      why: 'Cloud Map has no narrower scope for reading',
    },
    {
      actions: ['servicediscovery:CreateService'],
      resources: [
        arn(scope, 'servicediscovery', `namespace/${scope.namespaceId}`),
        arn(scope, 'servicediscovery', 'service/*'),
      ],
      ...(!scope.original && { conditions: createsOurs(scope) }),
      why: "makes the DNS name of a deployment's Redis, tagged from the start",
    },
    {
      actions: ['servicediscovery:TagResource'],
      resources: ['*'],
      conditions: createsOurs(scope),
      why: 'needed to make it with its tags; Cloud Map has no narrower scope',
    },
    {
      actions: ['servicediscovery:DeleteService'],
      resources: [arn(scope, 'servicediscovery', 'service/*')],
      ...(!scope.original && { conditions: changesOurs(scope) }),
      why: "removes the DNS name of a deleted deployment's Redis",
    },
  ],
  pollSeconds: 2,
  limitSeconds: 300,

  async observe(cx, inputs) {
    const found = await find(cx, inputs);
    if (found === undefined) return { is: 'absent' };
    const live = { id: found.Id!, arn: found.Arn! };
    const theirs = inputs.isUntagged ? described(found) : await tagged(cx, live.arn);
    requireOurs(theirs, cx.tags, inputs.name);
    return { is: 'ready', live, out: { arn: live.arn } };
  },

  // Its time to live is set once: it never differs between deployments.
  diff: () => [],

  async converge({ aws, tags }, { name, namespaceId, ttlSeconds, isUntagged }) {
    try {
      await aws.discovery.send(
        new CreateServiceCommand({
          Name: name,
          NamespaceId: namespaceId,
          CreatorRequestId: name,
          DnsConfig: { RoutingPolicy: 'MULTIVALUE', DnsRecords: [{ Type: 'A', TTL: ttlSeconds }] },
          HealthCheckCustomConfig: { FailureThreshold: 1 }, // lets ECS take unhealthy tasks out
          ...(isUntagged ? { Description: descriptionOf(tags) } : { Tags: tagList(tags) }),
        }),
      );
    } catch (error) {
      if (!hasCode(error, 'ServiceAlreadyExists')) throw error;
    }
  },

  async remove({ aws }, _, live) {
    try {
      await aws.discovery.send(new DeleteServiceCommand({ Id: live.id }));
    } catch (error) {
      if (hasCode(error, 'ResourceInUse')) return 'still has the address of a task';
      if (!hasCode(error, 'ServiceNotFound')) throw error;
    }
  },
};

const tagged = async ({ aws }: Cx, ResourceARN: string): Promise<Tags> =>
  tagRecord((await aws.discovery.send(new ListTagsForResourceCommand({ ResourceARN }))).Tags);

/** At most 1,024 characters: `<key>=<value>`, as tags would be. */
const descriptionOf = (tags: Tags): string =>
  Object.entries(tags)
    .map((tag) => tag.join('='))
    .join(' ');
const described = ({ Description = '' }: ServiceSummary): Tags =>
  Object.fromEntries(Description.split(' ').map((tag) => tag.split('=', 2) as [string, string]));

async function find({ aws }: Cx, inputs: CloudMapServiceInputs): Promise<ServiceSummary | undefined> {
  let NextToken: string | undefined;
  do {
    const Filters = [{ Name: 'NAMESPACE_ID' as const, Values: [inputs.namespaceId], Condition: 'EQ' as const }];
    const page = await aws.discovery.send(new ListServicesCommand({ Filters, MaxResults: 100, NextToken }));
    const found = page.Services?.find((service) => service.Name === inputs.name);
    if (found !== undefined) return found;
    NextToken = page.NextToken;
  } while (NextToken !== undefined);
  return undefined;
}
