/** All kinds that this build knows, by the name that is stored with each resource. */
import type { Kind } from '../resource.ts';
import { cloudMapService } from './cloud-map-service.ts';
import { databaseUri } from './database-uri.ts';
import { ecsService } from './ecs-service.ts';
import { environment } from './environment.ts';
import { listenerRule } from './listener-rule.ts';
import { logGroup } from './log-group.ts';
import { rdsPostgres } from './rds-postgres.ts';
import { redisSecret } from './redis-secret.ts';
import { repository } from './repository.ts';
import { scalableTarget } from './scalable-target.ts';
import { securityGroup } from './security-group.ts';
import { targetGroup } from './target-group.ts';
import { taskDefinition } from './task-definition.ts';
import { uploads } from './uploads.ts';

export const kinds: ReadonlyMap<string, Kind> = new Map(
  [
    cloudMapService,
    databaseUri,
    ecsService,
    environment,
    listenerRule,
    logGroup,
    rdsPostgres,
    redisSecret,
    repository,
    scalableTarget,
    securityGroup,
    targetGroup,
    taskDefinition,
    uploads,
  ].map((kind: Kind) => [kind.kind, kind]),
);
