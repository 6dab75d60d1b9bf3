/** Task definitions: versions of a family, which are never gone, only inactive. */
import {
  DeregisterTaskDefinitionCommand,
  DescribeTaskDefinitionCommand,
  ListTaskDefinitionsCommand,
  RegisterTaskDefinitionCommand,
  type ContainerDefinition,
  type RegisterTaskDefinitionCommandInput,
  type TaskDefinition,
} from '@aws-sdk/client-ecs';
import { Refused, type Table } from './operation.ts';
import type { Thing, World } from './world.ts';

export interface Definition {
  readonly arn: string;
  readonly family: string;
  readonly version: number;
  readonly given: RegisterTaskDefinitionCommandInput;
  readonly thing: Thing;
  isActive: boolean;
}

const TYPE = 'ecs:task-definition';
const PAGE = 100;

export class Definitions {
  readonly #world: World;
  /** Oldest first. */
  readonly #families = new Map<string, Definition[]>();

  constructor(world: World, table: Table) {
    this.#world = world;
    table
      .read(DescribeTaskDefinitionCommand, 'taskDefinition include', ({ taskDefinition, include }) => {
        const found = this.#lookUp(taskDefinition!);
        if (found === undefined) throw client('Unable to describe task definition.');
        const tags = include?.includes('TAGS') === true ? ecsTags(found.thing.tags) : undefined;
        return { taskDefinition: view(found), ...(tags !== undefined && { tags }) };
      })
      .read(ListTaskDefinitionsCommand, 'familyPrefix status nextToken maxResults', (input) => {
        const { familyPrefix, status = 'ACTIVE', nextToken, maxResults = PAGE } = input;
        const all = familyPrefix === undefined ? [...this.#families.values()].flat() : this.#of(familyPrefix);
        const arns = all.filter(({ isActive }) => isActive === (status === 'ACTIVE')).map(({ arn }) => arn);
        const from = Number(nextToken ?? 0);
        const next = from + maxResults;
        return { taskDefinitionArns: arns.slice(from, next), ...(next < arns.length && { nextToken: String(next) }) };
      })
      .write(
        RegisterTaskDefinitionCommand,
        'family requiresCompatibilities networkMode cpu memory runtimePlatform executionRoleArn taskRoleArn ' +
          'containerDefinitions tags',
        (input) => {
          const made = this.#register(input);
          return { taskDefinition: view(made), tags: input.tags };
        },
      )
      .write(DeregisterTaskDefinitionCommand, 'taskDefinition', ({ taskDefinition }) => {
        const found = this.#lookUp(taskDefinition!);
        if (found === undefined) throw client('Unable to describe task definition.');
        this.deregister(found);
        return { taskDefinition: view(found) };
      });
  }

  /** For a service to use. @throws Refused unless it is active */
  active(reference: string): Definition {
    const found = this.#lookUp(reference);
    if (found === undefined) throw client('TaskDefinition not found.');
    if (!found.isActive) throw client('TaskDefinition is inactive');
    return found;
  }

  deregister(found: Definition): void {
    if (!found.isActive) return;
    found.isActive = false;
    this.#world.ended(found.thing);
  }

  delete(arn: string): void {
    this.deregister(this.#lookUp(arn)!);
  }

  #of(family: string): Definition[] {
    return this.#families.get(family) ?? [];
  }

  /** A family means its latest active version. */
  #lookUp(reference: string): Definition | undefined {
    const [family, version] = reference.replace(/^.*task-definition\//, '').split(':');
    const all = this.#of(family!);
    return version === undefined ? all.findLast(({ isActive }) => isActive) : all[Number(version) - 1];
  }

  #register(given: RegisterTaskDefinitionCommandInput): Definition {
    const family = given.family!;
    const containers = given.containerDefinitions ?? [];
    if (!/^[A-Za-z0-9_-]{1,255}$/.test(family)) throw client('Family contains invalid characters.');
    if (containers.length === 0) throw client('TaskDefinition must contain at least one container definition.');
    if (given.cpu === undefined) throw client("Fargate requires that 'cpu' be defined at the task level.");
    const all = this.#of(family);
    const version = all.length + 1;
    const arn = this.#world.arn('ecs', `task-definition/${family}:${version}`);
    const tags = Object.fromEntries((given.tags ?? []).map(({ key, value }) => [key ?? '', value ?? '']));
    const uses = () => (definition.isActive ? needsOf(this.#world, definition) : []);
    const thing = this.#world.made(TYPE, arn, `${family}:${version}`, tags, {
      state: () => (definition.isActive ? 'ACTIVE' : 'INACTIVE'),
      uses,
    });
    const definition: Definition = { arn, family, version, given, thing, isActive: true };
    this.#families.set(family, [...all, definition]);
    return definition;
  }
}

/** What tasks of it need when they start: secrets and log groups, by ARN. */
export const needsOf = (world: World, { given }: Definition): string[] =>
  (given.containerDefinitions ?? []).flatMap((container) => {
    const logs = container.logConfiguration?.options?.['awslogs-group'];
    const secrets = (container.secrets ?? []).map(({ valueFrom }) => valueFrom!.split(':').slice(0, 7).join(':'));
    return [...new Set(secrets), ...(logs === undefined ? [] : [world.arn('logs', `log-group:${logs}`)])];
  });

export const client = (message: string): Refused => new Refused('ClientException', message);

export const ecsTags = (tags: Readonly<Record<string, string>>): { key: string; value: string }[] =>
  Object.entries(tags).map(([key, value]) => ({ key, value }));

function view({ arn, family, version, given, isActive }: Definition): TaskDefinition {
  const { tags: _, containerDefinitions = [], ...rest } = given;
  return {
    ...rest,
    taskDefinitionArn: arn,
    family,
    revision: version,
    status: isActive ? 'ACTIVE' : 'INACTIVE',
    containerDefinitions: containerDefinitions.map((each): ContainerDefinition => ({ ...each })),
  };
}
