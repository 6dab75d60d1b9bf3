import {
  DeregisterScalableTargetCommand,
  DescribeScalableTargetsCommand,
  ListTagsForResourceCommand,
  RegisterScalableTargetCommand,
} from '@aws-sdk/client-application-auto-scaling';
import { arn, changesOurs, createsOurs } from '../aws/arn.ts';
import { codeOf, hasCode } from '../aws/errors.ts';
import { requireOurs } from '../aws/tags.ts';
import type { Kind } from '../resource.ts';
import { compare } from './compare.ts';

export interface ScalableTargetInputs {
  readonly cluster: string;
  readonly service: string;
  readonly min: number;
  readonly max: number;
}

interface Live {
  readonly arn: string;
  readonly min: number;
  readonly max: number;
}

const DIMENSION = 'ecs:service:DesiredCount';
const identity = (inputs: ScalableTargetInputs) => ({
  ServiceNamespace: 'ecs' as const,
  ResourceId: `service/${inputs.cluster}/${inputs.service}`,
  ScalableDimension: DIMENSION as typeof DIMENSION,
});

/** Between how many tasks and how many scaling may choose for a service. */
export const scalableTarget: Kind<ScalableTargetInputs, Live, { arn: string }> = {
  kind: 'scalable-target',
  iam: (scope) => {
    const targets = [arn(scope, 'application-autoscaling', 'scalable-target/*')];
    const only = {
      'application-autoscaling:service-namespace': 'ecs',
      'application-autoscaling:scalable-dimension': DIMENSION,
    };
    return [
      {
        actions: ['application-autoscaling:DescribeScalableTargets'],
        resources: ['*'],
        why: 'Application Auto Scaling has no narrower scope for listing',
      },
      {
        actions: ['application-autoscaling:ListTagsForResource'],
        resources: targets,
        why: 'sees whose a scalable target is',
      },
      {
        actions: ['application-autoscaling:RegisterScalableTarget'],
        resources: targets,
        conditions: { StringEquals: { ...createsOurs(scope).StringEquals, ...only } },
        why: "makes the scaling limits of a deployment's service, tagged from the start",
      },
      {
        actions: ['application-autoscaling:TagResource'],
        resources: targets,
        conditions: createsOurs(scope),
        why: 'needed to make them with their tags',
      },
      {
        actions: ['application-autoscaling:RegisterScalableTarget', 'application-autoscaling:DeregisterScalableTarget'],
        resources: targets,
        conditions: { StringEquals: { ...changesOurs(scope).StringEquals, ...only } },
        why: "changes and removes the scaling limits of a deployment's service",
      },
    ];
  },
  pollSeconds: 2,
  limitSeconds: 300,

  async observe({ aws, tags }, inputs) {
    const { ServiceNamespace, ResourceId, ScalableDimension } = identity(inputs);
    const page = await aws.scaling.send(
      new DescribeScalableTargetsCommand({ ServiceNamespace, ResourceIds: [ResourceId], ScalableDimension }),
    );
    const found = page.ScalableTargets?.[0];
    if (found === undefined) return { is: 'absent' };
    const live = { arn: found.ScalableTargetARN!, min: found.MinCapacity!, max: found.MaxCapacity! };
    const { Tags } = await aws.scaling.send(new ListTagsForResourceCommand({ ResourceARN: live.arn }));
    requireOurs(Tags ?? {}, tags, ResourceId);
    return { is: 'ready', live, out: { arn: live.arn } };
  },

  diff: ({ min, max }, live) => compare({ min, max }, live),

  async converge({ aws, tags }, inputs, live) {
    const limits = { MinCapacity: inputs.min, MaxCapacity: inputs.max };
    // Tags are taken only when it is made.
    const Tags = live === undefined ? { ...tags } : undefined;
    try {
      await aws.scaling.send(new RegisterScalableTargetCommand({ ...identity(inputs), ...limits, Tags }));
    } catch (error) {
      const madeMeanwhile = Tags !== undefined && codeOf(error) === 'ValidationException' && /tag/i.test(String(error));
      if (!madeMeanwhile) throw error;
    }
  },

  async remove({ aws }, inputs) {
    try {
      await aws.scaling.send(new DeregisterScalableTargetCommand(identity(inputs)));
    } catch (error) {
      if (!hasCode(error, 'ObjectNotFoundException')) throw error;
    }
  },
};
