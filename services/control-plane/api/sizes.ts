/** How large a server is: by what a request asks, by its deployment's type, by a tier. */
import type { z } from '@hono/zod-openapi';
import type { DatabaseTier, ServerResources } from '../../reconciler/spec.ts';
import type { RevisionIntent } from '../store/deployments.ts';
import { bad } from './errors.ts';
import type { resourceSpec } from './schemas.ts';

export type ResourceSpec = z.infer<typeof resourceSpec>;
export type DeploymentType = 'dev' | 'prod';

const SUPPORTED = new Set(['min_scale', 'max_scale', 'cpu', 'memory_mb']);
/** Mean nothing on ECS, and clients send them: a task has no burst, images come from the place's own registry. */
const IGNORED = new Set(['cpu_limit', 'memory_limit_mb', 'labels', 'annotations', 'image_pull_secrets']);

const DEFAULTS: Record<DeploymentType, ServerResources> = {
  dev: { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 1 },
  prod: { cpu: 2, memoryMb: 2048, minScale: 1, maxScale: 10 },
};

/** @param spec replaces the one before as a whole; what it leaves out is the deployment type's */
export function resourcesOf(type: DeploymentType, spec: ResourceSpec): ServerResources {
  for (const [name, value] of Object.entries(spec)) {
    const isEmpty = value === null || value === undefined || (Array.isArray(value) && value.length === 0);
    if (!isEmpty && !SUPPORTED.has(name) && !IGNORED.has(name))
      throw bad(`resource_spec.${name} is not supported on compute_type "ecs"`);
  }
  const base = DEFAULTS[type];
  if (spec.min_scale === 0) throw bad(NO_SCALE_TO_ZERO);
  const minScale = spec.min_scale ?? base.minScale;
  const maxScale = spec.max_scale ?? Math.max(base.maxScale, minScale);
  if (maxScale < minScale) throw bad(`resource_spec.max_scale (${maxScale}) is below min_scale (${minScale})`);
  return { cpu: spec.cpu ?? base.cpu, memoryMb: spec.memory_mb ?? base.memoryMb, minScale, maxScale };
}

/** Without nulls, so that what was not asked is not kept. */
export const specOf = (spec: ResourceSpec): ResourceSpec =>
  Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== null && value !== undefined));

/** Word for word: clients match it. */
const NO_SCALE_TO_ZERO = 'Scale to zero deployments are not supported in AWS environments';

export function typeOf(asked: string | null | undefined): DeploymentType {
  if (asked === null || asked === undefined) return 'prod';
  if (asked === 'dev' || asked === 'prod') return asked;
  if (asked === 'dedicated') return 'prod';
  if (asked.endsWith('_zero') || asked === 'serverless') throw bad(NO_SCALE_TO_ZERO);
  throw bad(`deployment_type "${asked}" is not offered: use "dev" or "prod"`);
}

/** Of one container, by compute tier: sizes that Fargate has as they are. */
const COMPUTE: Record<DatabaseTier, { cpu: number; memory_mb: number }> = {
  DEDICATED_S: { cpu: 1, memory_mb: 2048 },
  DEDICATED_M: { cpu: 2, memory_mb: 4096 },
  DEDICATED_L: { cpu: 4, memory_mb: 8192 },
};

export function dedicated(tier: string): DatabaseTier {
  if (tier.startsWith('SERVERLESS_')) throw bad(NO_SCALE_TO_ZERO);
  return tier as DatabaseTier;
}

export const isSized = ({ resources }: Pick<RevisionIntent, 'resources'>, tier: DatabaseTier): boolean =>
  resources.cpu === COMPUTE[tier].cpu && resources.memoryMb === COMPUTE[tier].memory_mb;

/** The same with the size of a tier. */
export function sized(before: RevisionIntent, type: DeploymentType, tier: DatabaseTier): RevisionIntent {
  const spec = { ...before.resourceSpec, ...COMPUTE[tier] };
  return { ...before, resourceSpec: spec, resources: resourcesOf(type, spec) };
}

/** The same with what its spec leaves out as another type has it. */
export const retyped = (before: RevisionIntent, type: DeploymentType): RevisionIntent => ({
  ...before,
  resources: resourcesOf(type, before.resourceSpec),
});
