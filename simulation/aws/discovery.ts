/**
 * Cloud Map: DNS names in the place's namespace, and whether a task's address is still in one. Its reads show the
 * truth.
 */
import {
  CreateServiceCommand,
  DeleteServiceCommand,
  ListServicesCommand,
  ListTagsForResourceCommand,
} from '@aws-sdk/client-servicediscovery';
import { NotSimulated, Refused, Table } from './operation.ts';
import { tagListOf, tagsOf, type Thing, type World } from './world.ts';

interface Service {
  readonly id: string;
  readonly arn: string;
  readonly name: string;
  readonly creator: string | undefined;
  readonly thing: Thing;
  /** Addresses of tasks in it. */
  instances: number;
}

const TYPE = 'servicediscovery:service';

export class Discovery {
  readonly table = new Table();
  readonly #world: World;
  readonly #byName = new Map<string, Service>();
  readonly #byId = new Map<string, Service>();

  constructor(world: World, namespaceId: string) {
    this.#world = world;
    this.table
      .read(ListServicesCommand, 'Filters MaxResults NextToken', ({ Filters, MaxResults = 100, NextToken }) => {
        for (const { Name, Values } of Filters ?? [])
          if (Name !== 'NAMESPACE_ID' || Values?.[0] !== namespaceId)
            throw new NotSimulated(`servicediscovery: the filter "${Name}" = "${Values?.join()}"`);
        const from = Number(NextToken ?? 0);
        const all = [...this.#byName.values()];
        const Services = all
          .slice(from, from + MaxResults)
          .map(({ id, arn, name }) => ({ Id: id, Arn: arn, Name: name }));
        return { Services, ...(from + MaxResults < all.length && { NextToken: String(from + MaxResults) }) };
      })
      .read(ListTagsForResourceCommand, 'ResourceARN', ({ ResourceARN }) => {
        const service = this.#byId.get(ResourceARN!.split('/').at(-1)!);
        if (service === undefined) throw new Refused('ResourceNotFoundException', `Resource not found: ${ResourceARN}`);
        return { Tags: tagListOf(service.thing.tags) };
      })
      .write(
        CreateServiceCommand,
        'Name NamespaceId CreatorRequestId DnsConfig HealthCheckCustomConfig Tags',
        (input) => {
          const { Name: name, NamespaceId, CreatorRequestId: creator, Tags } = input;
          if (NamespaceId !== namespaceId) throw new Refused('NamespaceNotFound', `Namespace ${NamespaceId} not found`);
          if (this.#byName.has(name!))
            throw new Refused('ServiceAlreadyExists', 'A service with the same name already exists in this namespace.');
          const id = `srv-${world.hex(16)}`;
          const arn = world.arn('servicediscovery', `service/${id}`);
          const thing = world.made(TYPE, arn, name!, tagsOf(Tags));
          const service: Service = { id, arn, name: name!, creator, thing, instances: 0 };
          this.#byName.set(service.name, service);
          this.#byId.set(id, service);
          return { Service: { Id: id, Arn: arn, Name: name } };
        },
      )
      .write(DeleteServiceCommand, 'Id', ({ Id }) => {
        const service = this.#byId.get(Id!);
        if (service === undefined) throw new Refused('ServiceNotFound', `Service not found: ${Id}`);
        this.#remove(service);
        return {};
      });
  }

  exists(arn: string): boolean {
    return this.#byId.has(arn.split('/').at(-1)!);
  }

  /** A task's address is put into it, or taken out. */
  register(arn: string, by: 1 | -1): void {
    const service = this.#byId.get(arn.split('/').at(-1)!);
    if (service !== undefined) service.instances += by;
  }

  delete(arn: string): void {
    this.#remove(this.#byId.get(arn.split('/').at(-1)!)!);
  }

  #remove(service: Service): void {
    if (service.instances > 0)
      throw new Refused(
        'ResourceInUse',
        'Service contains registered instances; delete the instances before deleting the service',
      );
    this.#byName.delete(service.name);
    this.#byId.delete(service.id);
    this.#world.gone(service.thing);
  }
}
