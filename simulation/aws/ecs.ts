/**
 * ECS's API: services, their rollouts, and tasks. What was made or changed a moment ago is MISSING, or shown as it was.
 */
import {
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServiceDeploymentsCommand,
  DescribeServiceRevisionsCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  ListServiceDeploymentsCommand,
  ListServicesCommand,
  ListTasksCommand,
  StopServiceDeploymentCommand,
  UpdateServiceCommand,
  type CreateServiceCommandInput,
  type DeploymentConfiguration,
  type LoadBalancer,
  type NetworkConfiguration,
  type Service as View,
  type ServiceRegistry,
  type UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs';
import { isDeepStrictEqual } from 'node:util';
import { Definitions, ecsTags, type Definition } from './ecs-definitions.ts';
import { Service, type Rollout, type Wiring } from './ecs-service.ts';
import type { Around, Task } from './ecs-task.ts';
import { NotSimulated, Refused, Table } from './operation.ts';
import type { Shelf } from './shelf.ts';
import type { Tags, World } from './world.ts';

/** What reads show of a service: it, or how it was. */
type Shown = () => View;

export class Ecs {
  readonly table = new Table();
  readonly definitions: Definitions;
  readonly #world: World;
  readonly #around: Around;
  readonly #clusterArn: string;
  readonly #subnets: ReadonlySet<string>;
  readonly #services = new Map<string, Service>();
  readonly #shown: Shelf<Shown>;
  readonly #tags: Shelf<Tags>;
  /** By family: running, and stopped for an hour. */
  readonly #stopped = new Map<string, Task[]>();

  constructor(around: Around, clusterArn: string, subnets: readonly string[]) {
    const { world } = around;
    this.#around = around;
    this.#world = world;
    this.#clusterArn = clusterArn;
    this.#subnets = new Set(subnets);
    this.#shown = world.shelf('ecs.consistency');
    this.#tags = world.shelf('ecs.consistency');
    this.definitions = new Definitions(world, this.table);
    this.table
      .read(DescribeServicesCommand, 'services cluster include', ({ services = [], cluster, include }) => {
        this.#inCluster(cluster);
        if (services.length === 0) throw invalid('Services cannot be empty.');
        if (services.length > 10) throw invalid('services can have at most 10 items.');
        const names = services.map(nameOf);
        const found = names.map((name) => this.#shown.see(name)?.());
        return {
          services: found.flatMap((service, at) =>
            service === undefined
              ? []
              : [include?.includes('TAGS') ? { ...service, tags: ecsTags(this.#tags.see(names[at]!) ?? {}) } : service],
          ),
          failures: names.flatMap((name, at) =>
            found[at] === undefined ? [{ arn: this.#arn(name), reason: 'MISSING' }] : [],
          ),
        };
      })
      .read(ListServicesCommand, 'cluster maxResults nextToken', ({ cluster, maxResults = 10, nextToken }) => {
        this.#inCluster(cluster);
        const seen = [...this.#shown.seen()].filter(([, shown]) => shown().status !== 'INACTIVE');
        const from = Number(nextToken ?? 0);
        const next = from + maxResults;
        const serviceArns = seen.slice(from, next).map(([name]) => this.#arn(name));
        return { serviceArns, ...(next < seen.length && { nextToken: String(next) }) };
      })
      .read(ListServiceDeploymentsCommand, 'service cluster maxResults nextToken status createdAt', (input) => {
        this.#inCluster(input.cluster);
        const name = nameOf(input.service!);
        const service = this.#services.get(name);
        const shown = this.#shown.see(name)?.();
        if (service === undefined || shown === undefined) throw noService();
        // What is shown as it was shows its rollouts as they were.
        const newest = shown.currentServiceDeployment;
        const from = Math.max(
          0,
          service.rollouts.findIndex(({ arn }) => arn === newest),
        );
        const after = input.createdAt?.after?.getTime() ?? 0;
        const chosen = service.rollouts
          .slice(from)
          .filter(({ status, createdAt }) => (input.status ?? [status]).includes(status) && createdAt >= after);
        const at = Number(input.nextToken ?? 0);
        const next = at + (input.maxResults ?? 20);
        const serviceDeployments = chosen.slice(at, next).map((rollout) => service.brief(rollout));
        return { serviceDeployments, ...(next < chosen.length && { nextToken: String(next) }) };
      })
      .read(DescribeServiceDeploymentsCommand, 'serviceDeploymentArns', ({ serviceDeploymentArns = [] }) => {
        const found = serviceDeploymentArns.map((arn) => this.#rollout(arn));
        return {
          serviceDeployments: found.flatMap((each) => (each === undefined ? [] : [each[0].rolloutView(each[1])])),
          failures: missing(serviceDeploymentArns, found),
        };
      })
      .read(DescribeServiceRevisionsCommand, 'serviceRevisionArns', ({ serviceRevisionArns = [] }) => {
        if (serviceRevisionArns.length > 20) throw invalid('serviceRevisionArns can have at most 20 items.');
        const found = serviceRevisionArns.map((arn) => {
          const service = this.#services.get(arn.split('/').at(-2)!);
          const deployment = service?.revisions.get(arn);
          return deployment === undefined ? undefined : service!.revisionView(deployment);
        });
        return {
          serviceRevisions: found.flatMap((each) => each ?? []),
          failures: missing(serviceRevisionArns, found),
        };
      })
      .read(ListTasksCommand, 'family cluster desiredStatus maxResults serviceName nextToken', (input) => {
        this.#inCluster(input.cluster);
        if (input.nextToken !== undefined) throw new NotSimulated('ecs: a page of tasks after the first');
        const status = input.desiredStatus ?? 'RUNNING';
        const tasks = this.#tasks(input.family, input.serviceName && nameOf(input.serviceName));
        const chosen = tasks.filter(({ wanted }) => wanted === (status === 'RUNNING'));
        return { taskArns: chosen.slice(0, input.maxResults ?? 100).map(({ arn }) => arn) };
      })
      .read(DescribeTasksCommand, 'tasks cluster include', ({ tasks = [], cluster }) => {
        this.#inCluster(cluster);
        if (tasks.length > 100) throw invalid('Tasks can have at most 100 items.');
        const all = new Map(this.#tasks(undefined, undefined).map((task) => [task.arn, task]));
        const found = tasks.map((arn) => all.get(arn));
        return { tasks: found.flatMap((task) => task?.view() ?? []), failures: missing(tasks, found) };
      })
      .write(
        CreateServiceCommand,
        'serviceName cluster taskDefinition desiredCount launchType networkConfiguration deploymentConfiguration ' +
          'loadBalancers healthCheckGracePeriodSeconds serviceRegistries enableExecuteCommand enableECSManagedTags ' +
          'propagateTags tags',
        (input) => ({ service: this.#create(input).view() }),
      )
      .write(
        UpdateServiceCommand,
        'service cluster taskDefinition desiredCount networkConfiguration deploymentConfiguration loadBalancers ' +
          'healthCheckGracePeriodSeconds forceNewDeployment',
        (input) => ({ service: this.#update(input).view() }),
      )
      .write(DeleteServiceCommand, 'service cluster force', ({ service: reference, cluster, force }) => {
        this.#inCluster(cluster);
        const service = this.#services.get(nameOf(reference!));
        if (service === undefined || service.status === 'INACTIVE') throw noService();
        if (service.status === 'ACTIVE') {
          if (service.desired > 0 && force !== true)
            throw invalid('The service cannot be stopped while it is scaled above 0.');
          this.#drain(service);
        }
        return { service: service.view() };
      })
      .write(StopServiceDeploymentCommand, 'serviceDeploymentArn stopType', ({ serviceDeploymentArn, stopType }) => {
        const found = this.#rollout(serviceDeploymentArn!);
        if (found === undefined)
          throw new Refused(
            'ServiceDeploymentNotFoundException',
            "The service deployment ARN that you specified isn't found.",
          );
        const [service, rollout] = found;
        if (!rollout.isOpen)
          throw new Refused(
            'ConflictException',
            `The service deployment cannot be stopped because it is in the ${rollout.status} state.`,
          );
        const before = service.view();
        service.stopRollout(rollout, stopType ?? 'ROLLBACK');
        this.#changed(service, before);
        return { serviceDeploymentArn };
      });
  }

  // For other services

  arnOf(cluster: string, service: string): string {
    return this.#world.arn('ecs', `service/${cluster}/${service}`);
  }

  /** As Application Auto Scaling finds it, which is not at once; undefined unless ACTIVE. */
  desiredCount(_cluster: string, name: string): number | undefined {
    const service = this.#services.get(name);
    return service?.status === 'ACTIVE' && this.#shown.see(name) !== undefined ? service.desired : undefined;
  }

  scale(_cluster: string, name: string, desired: number): void {
    const service = this.#services.get(name)!;
    const before = service.view();
    service.scale(desired);
    this.#changed(service, before);
  }

  // By hand

  tamperings(arn: string): string[] {
    const service = this.#services.get(nameOf(arn));
    if (service?.status !== 'ACTIVE') return [];
    const { tasks, desired, rollouts } = service;
    return [
      'scale out',
      'start all tasks anew',
      ...(desired > 0 ? ['scale to none'] : []),
      ...(tasks.some(({ wanted }) => wanted) ? ['stop a task'] : []),
      ...(rollouts.some(({ target }) => target.definition.isActive && target.definition !== service.primary.definition)
        ? ['run an older task definition']
        : []),
    ];
  }

  tamper(arn: string, change: string): void {
    const service = this.#services.get(nameOf(arn))!;
    const before = service.view();
    if (change === 'stop a task')
      service.tasks.find(({ wanted }) => wanted)!.stop('UserInitiated', 'Task stopped by user');
    else if (change === 'start all tasks anew') service.deploy(service.primary.definition);
    else if (change === 'run an older task definition') {
      const { definition } = service.primary;
      const older = service.rollouts.find(
        ({ target }) => target.definition.isActive && target.definition !== definition,
      )!;
      service.deploy(older.target.definition);
    } else service.scale(change === 'scale to none' ? 0 : service.desired + 3);
    this.#changed(service, before);
  }

  delete(arn: string): void {
    if (arn.includes(':task-definition/')) return this.definitions.delete(arn);
    const service = this.#services.get(nameOf(arn))!;
    if (service.status !== 'ACTIVE') throw new Refused('ServiceNotActiveException', 'Service was not ACTIVE.');
    return this.#drain(service);
  }

  retagged(arn: string, tags: Tags): void {
    if (arn.includes(':service/')) this.#tags.set(nameOf(arn), tags);
  }

  // Within

  #arn(name: string): string {
    return this.#clusterArn.replace(':cluster/', ':service/').concat('/', name);
  }

  #inCluster(cluster: string | undefined): void {
    if (cluster === undefined || cluster.split('/').at(-1) !== this.#clusterArn.split('/').at(-1))
      throw new Refused('ClusterNotFoundException', 'Cluster not found.');
  }

  #changed(service: Service, before: View): void {
    const now: Shown = () => service.view();
    this.#shown.set(service.name, now, () => ({ ...before }));
    this.#world.note('changed', service.thing);
  }

  #rollout(arn: string): [Service, Rollout] | undefined {
    const service = this.#services.get(arn.split('/').at(-2)!);
    const rollout = service?.rollouts.find((each) => each.arn === arn);
    return rollout === undefined ? undefined : [service!, rollout];
  }

  /** Running ones, and those that stopped within the hour. */
  #tasks(family: string | undefined, service: string | undefined): Task[] {
    const running =
      service === undefined
        ? [...this.#services.values()].flatMap(({ tasks }) => tasks)
        : (this.#services.get(service)?.tasks ?? []);
    const stopped = family === undefined ? [...this.#stopped.values()].flat() : (this.#stopped.get(family) ?? []);
    return [...running, ...stopped].filter((task) => family === undefined || task.definition.family === family);
  }

  #keep(task: Task): void {
    const { family } = task.definition;
    this.#stopped.set(family, [...(this.#stopped.get(family) ?? []), task]);
    this.#world.later(this.#world.kept('ecs.task.stopped'), () => {
      const left = (this.#stopped.get(family) ?? []).filter((each) => each !== task);
      if (left.length > 0) this.#stopped.set(family, left);
      else this.#stopped.delete(family);
    });
  }

  #create(input: CreateServiceCommandInput): Service {
    const world = this.#world;
    this.#inCluster(input.cluster);
    const name = input.serviceName!;
    const there = this.#services.get(name);
    if (there?.status === 'ACTIVE') throw invalid('Creation of service was not idempotent.');
    if (there?.status === 'DRAINING') throw invalid('Unable to Start a service that is still Draining.');
    if (input.launchType !== 'FARGATE') throw new NotSimulated(`ecs: the launch type "${input.launchType}"`);
    const definition = this.definitions.active(input.taskDefinition!);
    const wiring: Wiring = {
      network: this.#network(input.networkConfiguration),
      balancers: this.#balancers(input.loadBalancers ?? [], definition),
      registries: this.#registries(input.serviceRegistries ?? []),
    };
    const given = {
      name,
      clusterArn: this.#clusterArn,
      desired: input.desiredCount ?? 0,
      graceSeconds: input.healthCheckGracePeriodSeconds ?? 0,
      configuration: configurationOf(input.deploymentConfiguration),
      wiring,
      tags: Object.fromEntries((input.tags ?? []).map(({ key, value }) => [key ?? '', value ?? ''])),
    };
    if (there !== undefined) world.forget(there.thing);
    const service = new Service(given, definition, this.#around, (task) => this.#keep(task));
    this.#services.set(name, service);
    this.#shown.set(name, () => service.view());
    this.#tags.set(name, given.tags);
    return service;
  }

  #update(input: UpdateServiceCommandInput): Service {
    this.#inCluster(input.cluster);
    const service = this.#services.get(nameOf(input.service!));
    if (service === undefined) throw noService();
    if (service.status !== 'ACTIVE') throw new Refused('ServiceNotActiveException', 'Service was not ACTIVE.');
    const before = service.view();
    const definition =
      input.taskDefinition === undefined ? service.primary.definition : this.definitions.active(input.taskDefinition);
    for (const entry of service.wiring.balancers) checkPort(entry, definition);
    const wiring: Wiring = {
      network: input.networkConfiguration ? this.#network(input.networkConfiguration) : service.wiring.network,
      balancers: input.loadBalancers ? this.#balancers(input.loadBalancers, definition) : service.wiring.balancers,
      registries: service.wiring.registries,
    };
    if (input.deploymentConfiguration !== undefined)
      service.configuration = configurationOf({ ...service.configuration, ...input.deploymentConfiguration });
    service.graceSeconds = input.healthCheckGracePeriodSeconds ?? service.graceSeconds;
    if (input.desiredCount !== undefined && input.desiredCount !== service.desired) service.scale(input.desiredCount);
    const isRewired = !isDeepStrictEqual(wiring, service.wiring);
    if (definition !== service.primary.definition || isRewired || input.forceNewDeployment === true) {
      service.wiring = wiring;
      service.deploy(definition);
    }
    this.#changed(service, before);
    return service;
  }

  #drain(service: Service): void {
    const world = this.#world;
    const before = service.view();
    service.drain();
    service.thing.isGoing = true;
    this.#shown.set(
      service.name,
      () => service.view(),
      () => ({ ...before }),
    );
    world.note('asked to go', service.thing);
    world.later(world.kept('ecs.service.inactive'), () => {
      if (this.#services.get(service.name) !== service || service.status !== 'INACTIVE') return;
      this.#services.delete(service.name);
      this.#shown.delete(service.name);
      this.#tags.delete(service.name);
      world.forget(service.thing);
    });
  }

  #network(given: NetworkConfiguration | undefined): NetworkConfiguration {
    const { subnets = [], securityGroups = [] } = given?.awsvpcConfiguration ?? {};
    if ((subnets ?? []).length === 0)
      throw invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.");
    for (const subnet of subnets ?? [])
      if (!this.#subnets.has(subnet))
        throw invalid(
          `Error retrieving subnet information for [${subnet}]: The subnet ID '${subnet}' does not exist (ErrorCode: ` +
            'InvalidSubnetID.NotFound)',
        );
    for (const group of securityGroups)
      if (!this.#around.ec2.exists(group))
        throw invalid(
          `Error retrieving security group information for [${group}]: The security group '${group}' does not exist ` +
            '(ErrorCode: InvalidGroup.NotFound)',
        );
    return given!;
  }

  #balancers(entries: readonly LoadBalancer[], definition: Definition): readonly LoadBalancer[] {
    for (const entry of entries) {
      const { targetGroupArn: arn } = entry;
      const group = this.#around.elb.group(arn!);
      if (group === undefined) throw invalid(`The specified target group does not exist: ${arn}`);
      if (!group.isAttached)
        throw invalid(`The target group with targetGroupArn ${arn} does not have an associated load balancer.`);
      checkPort(entry, definition);
    }
    return entries;
  }

  #registries(entries: readonly ServiceRegistry[]): readonly ServiceRegistry[] {
    for (const { registryArn } of entries)
      if (!this.#around.discovery.exists(registryArn!)) throw invalid(`Service registry ${registryArn} does not exist`);
    return entries;
  }
}

const nameOf = (reference: string): string => reference.split('/').at(-1)!;
const invalid = (message: string): Refused => new Refused('InvalidParameterException', message);
const noService = (): Refused => new Refused('ServiceNotFoundException', 'Service not found.');

function checkPort({ containerName, containerPort }: LoadBalancer, definition: Definition): void {
  const container = definition.given.containerDefinitions?.find(({ name }) => name === containerName);
  if (container === undefined) throw invalid(`The container ${containerName} does not exist in the task definition.`);
  if (!(container.portMappings ?? []).some((mapping) => mapping.containerPort === containerPort))
    throw invalid(`The container ${containerName} did not have a container port ${containerPort} defined.`);
}

const missing = (asked: readonly string[], found: readonly unknown[]) =>
  asked.filter((_, at) => found[at] === undefined).map((arn) => ({ arn, reason: 'MISSING' }));

/** https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html */
function configurationOf(given: DeploymentConfiguration | undefined): DeploymentConfiguration {
  const { minimumHealthyPercent = 100, maximumPercent = 200, deploymentCircuitBreaker } = given ?? {};
  if (maximumPercent <= 100 && minimumHealthyPercent >= 100)
    throw invalid('Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.');
  if (maximumPercent < 100) throw invalid('maximumPercent must be at least 100.');
  return { ...given, minimumHealthyPercent, maximumPercent, deploymentCircuitBreaker };
}
