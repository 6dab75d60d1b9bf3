/** The tagging API: a search by tags over all services, in an index that follows them by seconds. */
import { GetResourcesCommand } from '@aws-sdk/client-resource-groups-tagging-api';
import { Table } from './operation.ts';
import { tagListOf, type World } from './world.ts';

/** https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html */
const PAGE = 100;

export class Tagging {
  readonly table = new Table();

  constructor(world: World) {
    this.table.read(
      GetResourcesCommand,
      'TagFilters ResourcesPerPage PaginationToken ResourceTypeFilters ResourceARNList',
      ({ ResourceARNList, TagFilters = [], ResourcesPerPage = PAGE, PaginationToken, ResourceTypeFilters }) => {
        const found: { ResourceARN: string; Tags: { Key: string; Value: string }[] }[] = [];
        const asked = ResourceARNList?.map((arn) => [arn, world.index.see(arn) ?? {}] as const);
        for (const [ResourceARN, tags] of asked ?? world.index.seen()) {
          const isMeant = TagFilters.every(({ Key, Values }) => {
            const value = tags[Key ?? ''];
            return value !== undefined && (Values === undefined || Values.length === 0 || Values.includes(value));
          });
          // What has never had a tag is not in the index; S3's objects never are.
          if (!isMeant || Object.keys(tags).length === 0) continue;
          if (ResourceTypeFilters === undefined || ResourceTypeFilters.some((type) => isOf(ResourceARN, type)))
            found.push({ ResourceARN, Tags: tagListOf(tags) });
        }
        const from = PaginationToken ? Number(PaginationToken) : 0;
        const ResourceTagMappingList = found.slice(from, from + ResourcesPerPage);
        const next = from + ResourcesPerPage;
        return { ResourceTagMappingList, PaginationToken: next < found.length ? String(next) : '' };
      },
    );
  }
}

/** `ecs:service`, or `ecs` for all of its types. */
function isOf(arn: string, type: string): boolean {
  const [, , service, , , ...rest] = arn.split(':');
  return type === service || type === `${service}:${rest.join(':').split(/[/:]/)[0]}`;
}
