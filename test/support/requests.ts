/** Requests that AWS takes and that say as little as they may, for tests of something else. */
import type { RegisterTaskDefinitionCommandInput } from '@aws-sdk/client-ecs';

/** A task definition of family `f` for Fargate; its image is never pulled. */
export const SMALLEST_TASK: RegisterTaskDefinitionCommandInput = {
  family: 'f',
  cpu: '256',
  memory: '512',
  networkMode: 'awsvpc',
  requiresCompatibilities: ['FARGATE'],
  containerDefinitions: [{ name: 'a', image: 'none' }],
};
