/** Application Auto Scaling: between how many tasks a service may have. A target outlives its service. */
import {
  DeregisterScalableTargetCommand,
  DescribeScalableTargetsCommand,
  ListTagsForResourceCommand,
  RegisterScalableTargetCommand,
} from '@aws-sdk/client-application-auto-scaling';
import type { Ecs } from './ecs.ts';
import { NotSimulated, Refused, Table } from './operation.ts';
import type { Tags, Thing, World } from './world.ts';

interface Target {
  readonly arn: string;
  readonly resource: string;
  readonly thing: Thing;
  min: number;
  max: number;
}

const TYPE = 'application-autoscaling:scalable-target';
const DIMENSION = 'ecs:service:DesiredCount';

export class Scaling {
  readonly table = new Table();
  readonly #world: World;
  readonly #ecs: Ecs;
  readonly #targets = new Map<string, Target>();

  constructor(world: World, ecs: Ecs) {
    this.#world = world;
    this.#ecs = ecs;
    const identity = 'ResourceId ServiceNamespace ScalableDimension';
    this.table
      .read(DescribeScalableTargetsCommand, 'ResourceIds ServiceNamespace ScalableDimension', ({ ResourceIds }) => {
        if (ResourceIds === undefined) throw new NotSimulated('application-autoscaling: a list of all targets');
        const found = ResourceIds.flatMap((id) => this.#targets.get(id) ?? []);
        const ScalableTargets = found.map(({ arn, resource, min, max, thing }) => ({
          ServiceNamespace: 'ecs',
          ResourceId: resource,
          ScalableDimension: DIMENSION,
          MinCapacity: min,
          MaxCapacity: max,
          ScalableTargetARN: arn,
          CreationTime: new Date(thing.since),
        }));
        return { ScalableTargets };
      })
      .read(ListTagsForResourceCommand, 'ResourceARN', ({ ResourceARN }) => {
        const target = [...this.#targets.values()].find(({ arn }) => arn === ResourceARN);
        if (target === undefined) throw new Refused('ResourceNotFoundException', `No such target: ${ResourceARN}`);
        return { Tags: { ...target.thing.tags } };
      })
      .write(RegisterScalableTargetCommand, `${identity} MinCapacity MaxCapacity Tags`, (input) => {
        const { ResourceId, MinCapacity, MaxCapacity, ServiceNamespace, ScalableDimension, Tags } = input;
        if (ServiceNamespace !== 'ecs' || ScalableDimension !== DIMENSION)
          throw new NotSimulated(`application-autoscaling: ${ServiceNamespace}, ${ScalableDimension}`);
        return { ScalableTargetARN: this.#register(ResourceId!, MinCapacity, MaxCapacity, Tags).arn };
      })
      .write(DeregisterScalableTargetCommand, identity, ({ ResourceId }) => {
        const target = this.#targets.get(ResourceId!);
        if (target === undefined)
          throw new Refused(
            'ObjectNotFoundException',
            `No scalable target registered for service namespace: ecs, resource ID: ${ResourceId}, scalable ` +
              `dimension: ${DIMENSION}`,
          );
        this.#remove(target);
        return {};
      });
  }

  tamperings(): string[] {
    return ['allow more tasks'];
  }

  tamper(arn: string, _change: string): void {
    const target = this.#byArn(arn);
    target.max += 5;
    this.#world.note('changed', target.thing);
  }

  delete(arn: string): void {
    this.#remove(this.#byArn(arn));
  }

  #byArn(arn: string): Target {
    return [...this.#targets.values()].find((target) => target.arn === arn)!;
  }

  #remove(target: Target): void {
    this.#targets.delete(target.resource);
    this.#world.gone(target.thing);
  }

  #register(resource: string, low: number | undefined, high: number | undefined, tags: Tags | undefined): Target {
    const world = this.#world;
    const [, cluster, service] = resource.split('/');
    const desired = this.#ecs.desiredCount(cluster!, service!);
    if (desired === undefined) throw invalid(`ECS service doesn't exist: ${resource}`);
    const old = this.#targets.get(resource);
    const min = low ?? old?.min;
    const max = high ?? old?.max;
    if (min === undefined || max === undefined)
      throw invalid('MinCapacity and MaxCapacity are required when registering a new scalable target');
    if (min > max) throw invalid('Maximum capacity cannot be less than minimum capacity');
    if (old !== undefined && tags !== undefined)
      throw invalid('Tags cannot be given for a scalable target that is already registered: use TagResource');
    let target = old;
    if (target === undefined) {
      const arn = world.arn('application-autoscaling', `scalable-target/${world.hex(24)}`);
      target = {
        arn,
        resource,
        min,
        max,
        thing: world.made(TYPE, arn, resource, tags ?? {}, { uses: () => [this.#ecs.arnOf(cluster!, service!)] }),
      };
      this.#targets.set(resource, target);
    } else {
      Object.assign(target, { min, max });
      world.note('changed', target.thing);
    }
    const wanted = Math.min(Math.max(desired, min), max);
    if (wanted !== desired) this.#ecs.scale(cluster!, service!, wanted);
    return target;
  }
}

const invalid = (message: string): Refused => new Refused('ValidationException', message);
