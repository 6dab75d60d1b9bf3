/**
 * A LangGraph Server on ECS Fargate, with its own database, Redis, firewalls, logs and a route through the balancer.
 */
import { names, route, serverLogs } from '../aws/names.ts';
import { cloudMapService } from '../kinds/cloud-map-service.ts';
import { databaseUri } from '../kinds/database-uri.ts';
import { ecsService } from '../kinds/ecs-service.ts';
import { environment } from '../kinds/environment.ts';
import { fargateSize } from '../kinds/fargate.ts';
import { listenerRule } from '../kinds/listener-rule.ts';
import { logGroup } from '../kinds/log-group.ts';
import { rdsPostgres } from '../kinds/rds-postgres.ts';
import { redisSecret } from '../kinds/redis-secret.ts';
import { REPOSITORY, repository } from '../kinds/repository.ts';
import { scalableTarget } from '../kinds/scalable-target.ts';
import { securityGroup } from '../kinds/security-group.ts';
import { targetGroup, type TargetHealthCheck } from '../kinds/target-group.ts';
import { taskDefinition } from '../kinds/task-definition.ts';
import type { Place } from '../place.ts';
import { Graph, type Node } from '../resource.ts';
import { OWN_POSTGRES, OWN_REDIS, sets, type DatabaseTier, type DeploymentSpec, type ServerSpec } from '../spec.ts';
import { PORT, STOP_SECONDS, platformEnvironment } from './environment.ts';

const SERVER = 'server';
const REDIS = 'redis';
const REDIS_PORT = 6379;
const POSTGRES_PORT = 5432;
export const LOG_DAYS = 30;
/** A server that starts imports the user's code and migrates its database: its health counts only after this. */
const GRACE_SECONDS = 120;
const HEALTH: TargetHealthCheck = {
  path: '/ok',
  intervalSeconds: 10,
  timeoutSeconds: 5,
  healthyAfter: 2,
  unhealthyAfter: 3,
  codes: '200',
};

/** Docker's official image, from AWS's public registry. */
const REDIS_IMAGE = 'public.ecr.aws/docker/library/redis:7.4';

const SIZES = {
  dev: {
    database: { class: 'db.t4g.micro', memoryGb: 1 },
    databaseSafety: { storageGb: 20, maxStorageGb: null, multiAz: false, backupDays: 0, protected: false },
    redis: { cpu: 256, memoryMb: 512 },
  },
  prod: {
    database: { class: 'db.m7g.large', memoryGb: 8 },
    databaseSafety: { storageGb: 20, maxStorageGb: 1000, multiAz: true, backupDays: 7, protected: true },
    redis: { cpu: 1024, memoryMb: 2048 },
  },
} as const;

/** The type says how safe the data is, the tier how much of it can be worked on at once. */
const TIERS: Record<DatabaseTier, { readonly class: string; readonly memoryGb: number }> = {
  DEDICATED_S: { class: 'db.t4g.medium', memoryGb: 4 },
  DEDICATED_M: { class: 'db.m7g.large', memoryGb: 8 },
  DEDICATED_L: { class: 'db.m7g.2xlarge', memoryGb: 32 },
};

const databaseSize = (spec: DeploymentSpec) =>
  spec.databaseTier === null ? SIZES[spec.type].database : TIERS[spec.databaseTier];

/**
 * Pure: what a deployment gets before it has anything to run: all that takes long. The very nodes of `ecs`, so the
 * first revision finds them ready. Not Redis: it takes a minute, and would cost while nothing uses it.
 */
export function foundation(spec: DeploymentSpec, place: Place): Graph {
  const g = new Graph();
  lay(g, spec, place);
  return g;
}

function lay(g: Graph, spec: DeploymentSpec, place: Place) {
  const called = names(place, spec.deployment);
  const env = environmentOf(g, spec, place);
  // The role of an original place can neither tag security groups and log groups nor remove them.
  const group = place.original
    ? undefined
    : g.add('service-group', securityGroup, {}, () => ({
        name: called.serviceGroup,
        vpcId: place.vpcId,
        description: `Servers of deployment ${spec.deployment.id}`,
        ingress: [{ port: PORT, fromGroup: place.loadBalancerSecurityGroupId }],
      }));
  const logs = place.original
    ? undefined
    : g.add('log-group', logGroup, {}, () => ({ name: called.logGroup, retentionDays: LOG_DAYS }));
  if (spec.source === 'internal_docker') g.add(REPOSITORY, repository, {}, () => ({ name: called.repository }));
  const database = sets(spec, OWN_POSTGRES) ? undefined : databaseOf(g, spec, place, group);
  return { env, group, logs, database };
}

/** Pure: everything that a revision needs, as resources. */
export function ecs(spec: ServerSpec, place: Place): Graph {
  const g = new Graph();
  const called = names(place, spec.deployment);
  const { env, group, logs, database } = lay(g, spec, place);
  const redis = sets(spec, OWN_REDIS) ? undefined : redisOf(g, spec, place, group, logs);

  const targets = g.add('target-group', targetGroup, {}, () => ({
    name: called.targetGroup,
    vpcId: place.vpcId,
    port: PORT,
    health: HEALTH,
    drainSeconds: place.original ? null : STOP_SECONDS,
  }));
  const rule = g.add('listener-rule', listenerRule, { targets }, (got) => ({
    listenerArn: place.listenerArn,
    targetGroupArn: got.targets.arn,
    match: route(place, spec.deployment),
  }));

  const poolSize = database && connectionsPerTask(databaseSize(spec).memoryGb, spec.resources.maxScale);
  const plain = platformEnvironment(spec, place, poolSize);
  for (const { name } of [...spec.environment, ...spec.references]) delete plain[name];
  const task = g.add(
    `task-r${spec.revision.number}`,
    taskDefinition,
    {
      ...(logs && { logs }),
      ...(env && { env }),
      ...(database && { database }),
      ...(redis && { redis: redis.secret }),
    },
    (got: { env?: { arn: string }; database?: DatabaseSecret; redis?: { arn: string } }) => ({
      family: called.taskFamily(spec.revision.number),
      size: fargateSize(spec.resources.cpu, spec.resources.memoryMb),
      executionRoleArn: place.executionRoleArn,
      taskRoleArn: spec.taskRole ?? place.taskRoleArn,
      region: place.region,
      container: {
        name: SERVER,
        image: spec.image,
        cpu: Math.round(spec.resources.cpu * 1024),
        memoryMb: spec.resources.memoryMb,
        port: PORT,
        environment: plain,
        secrets: serverSecrets(spec, got),
        stopSeconds: STOP_SECONDS,
        logGroup: called.logGroup,
        logPrefix: called.logStreams + serverLogs(spec.revision.number),
      },
    }),
  );

  const needs = {
    task,
    targets,
    rule,
    ...(group && { group }),
    ...(logs && { logs }),
    ...(redis && { redis: redis.service }),
  };
  const service = g.add('service', ecsService, needs, (got: Got & { task: Made; targets: Made }) => ({
    name: called.service,
    clusterArn: place.clusterArn,
    taskDefinitionArn: got.task.arn,
    size: fargateSize(spec.resources.cpu, spec.resources.memoryMb),
    subnets: place.privateSubnetIds,
    securityGroups: [groupId(place, got.group)],
    min: spec.resources.minScale,
    max: spec.resources.maxScale,
    minHealthy: 100,
    maxRunning: 200,
    balanced: { targetGroupArn: got.targets.arn, graceSeconds: GRACE_SECONDS, healthPath: HEALTH.path },
    container: {
      name: SERVER,
      port: PORT,
      logGroup: called.logGroup,
      logPrefix: called.logStreams + serverLogs(spec.revision.number),
      ...(spec.references.length > 0 && { discreet: true }),
    },
  }));
  g.add('scalable-target', scalableTarget, { service }, (got) => ({
    cluster: clusterName(place),
    service: got.service.name,
    min: spec.resources.minScale,
    max: spec.resources.maxScale,
  }));
  return g;
}

/** What a deployment keeps running on Fargate when nobody asks anything of it. */
export function vcpusOf(spec: ServerSpec): number {
  const { resources, type } = spec;
  const server = fargateSize(resources.cpu, resources.memoryMb).cpu * resources.minScale;
  return (server + (sets(spec, OWN_REDIS) ? 0 : SIZES[type].redis.cpu)) / 1024;
}

/** None when the deployment has no variables of its own. */
function environmentOf(g: Graph, spec: DeploymentSpec, place: Place): Node<{ arn: string }> | undefined {
  if (spec.environment.length === 0) return undefined;
  const versions: Record<string, string[]> = {};
  for (const { name, versionId } of spec.environment) (versions[versionId] ??= []).push(name);
  return g.add('environment', environment, {}, () => ({
    name: names(place, spec.deployment).secret('environment'),
    versions,
    keep: [...spec.retainedSecretVersions],
    ...servedOf(spec, place),
  }));
}

const servedOf = ({ served }: DeploymentSpec, { deletionGate }: Place) => (served && deletionGate ? { served } : {});

interface Made {
  readonly arn: string;
}

interface DatabaseSecret extends Made {
  readonly version: string;
}

interface Group {
  readonly id: string;
}

/** Of what is in a security group of its own, unless the place is an original one. */
interface Got {
  readonly group?: Group;
}

const groupId = (place: Place, own: Group | undefined): string => own?.id ?? place.serviceSecurityGroupId!;

function databaseOf(g: Graph, spec: DeploymentSpec, place: Place, users?: Node<Group>): Node<DatabaseSecret> {
  const called = names(place, spec.deployment);
  const group =
    users &&
    g.add('database-group', securityGroup, { users }, (got) => ({
      name: called.databaseGroup,
      vpcId: place.vpcId,
      description: `Database of deployment ${spec.deployment.id}`,
      ingress: [{ port: POSTGRES_PORT, fromGroup: got.users.id }],
    }));
  const database = g.add('database', rdsPostgres, { ...(group && { group }) }, (got: Got) => ({
    name: called.database,
    databaseName: 'langgraph',
    user: 'langgraph',
    class: databaseSize(spec).class,
    version: '16',
    subnetGroup: place.databaseSubnetGroup,
    securityGroupId: groupId(place, got.group),
    ...SIZES[spec.type].databaseSafety,
    ...servedOf(spec, place),
  }));
  return g.add('database-uri', databaseUri, { database }, (got) => ({
    name: called.secret('database'),
    database: got.database,
    ...servedOf(spec, place),
    ...(spec.databaseCa !== undefined && { ca: spec.databaseCa }),
  }));
}

function redisOf(
  g: Graph,
  spec: ServerSpec,
  place: Place,
  users?: Node<Group>,
  logs?: Node<{ name: string }>,
): { secret: Node<{ arn: string }>; service: Node<{ arn: string; name: string }> } {
  const called = names(place, spec.deployment);
  const { cpu, memoryMb } = SIZES[spec.type].redis;
  const secret = g.add('redis-secret', redisSecret, {}, () => ({
    name: called.secret('redis'),
    host: `${called.discovery}.${place.namespaceName}`,
    port: REDIS_PORT,
    ...servedOf(spec, place),
  }));
  const group =
    users &&
    g.add('redis-group', securityGroup, { users }, (got) => ({
      name: called.redisGroup,
      vpcId: place.vpcId,
      description: `Redis of deployment ${spec.deployment.id}`,
      ingress: [{ port: REDIS_PORT, fromGroup: got.users.id }],
    }));
  const discovery = g.add('redis-discovery', cloudMapService, {}, () => ({
    name: called.discovery,
    namespaceId: place.namespaceId,
    ttlSeconds: 10,
    ...(place.original && { isUntagged: true as const }),
  }));
  const logsNeeded = logs && { logs };
  const task = g.add('redis-task', taskDefinition, { secret, ...logsNeeded }, (got: { secret: Made }) => ({
    family: called.redis,
    size: { cpu, memoryMb },
    executionRoleArn: place.executionRoleArn,
    taskRoleArn: place.taskRoleArn,
    region: place.region,
    container: {
      name: REDIS,
      image: REDIS_IMAGE,
      cpu,
      memoryMb,
      port: REDIS_PORT,
      environment: {},
      secrets: { REDIS_PASSWORD: `${got.secret.arn}:password::` },
      // A queue and streams, nothing to keep: what must last is in PostgreSQL. Nothing may be evicted, though.
      command: [
        'sh',
        '-c',
        'exec docker-entrypoint.sh redis-server --save "" --appendonly no --requirepass "$REDIS_PASSWORD" ' +
          `--maxmemory ${Math.floor(memoryMb * 0.75)}mb --maxmemory-policy noeviction`,
      ],
      healthCommand: 'redis-cli -a "$REDIS_PASSWORD" --no-auth-warning ping | grep -q PONG',
      stopSeconds: 30,
      logGroup: called.logGroup,
      ...(place.original && { logPrefix: called.logStreams + REDIS }),
    },
  }));
  const needs = { task, discovery, ...(group && { group }), ...logsNeeded };
  const service = g.add('redis-service', ecsService, needs, (got: Got & { task: Made; discovery: Made }) => ({
    name: called.redis,
    clusterArn: place.clusterArn,
    taskDefinitionArn: got.task.arn,
    size: { cpu, memoryMb },
    subnets: place.privateSubnetIds,
    securityGroups: [groupId(place, got.group)],
    min: 1,
    max: 1,
    // Never two at once: half of the servers would talk to the one, half to the other.
    minHealthy: 0,
    maxRunning: 100,
    discoveryArn: got.discovery.arn,
    container: {
      name: REDIS,
      port: REDIS_PORT,
      logGroup: called.logGroup,
      ...(place.original && { logPrefix: called.logStreams + REDIS }),
    },
  }));
  return { secret, service };
}

/**
 * A user's own database or Redis stands under both names: the server reads the first, and the second is what images of
 * other versions read.
 */
function serverSecrets(
  spec: ServerSpec,
  got: { env?: { arn: string }; database?: DatabaseSecret; redis?: { arn: string } },
): Record<string, string> {
  const secrets: Record<string, string> = {};
  for (const { name, versionId } of spec.environment) secrets[name] = `${got.env!.arn}:${name}::${versionId}`;
  // Without a version: a task gets what the customer's secret holds when it starts.
  for (const { name, arn, key } of spec.references) secrets[name] = key === null ? arn : `${arn}:${key}::`;
  // By its version: another password is another version, and tasks have to be started with it.
  secrets['DATABASE_URI'] = got.database ? `${got.database.arn}:::${got.database.version}` : secrets[OWN_POSTGRES]!;
  secrets['REDIS_URI'] = got.redis === undefined ? secrets[OWN_REDIS]! : `${got.redis.arn}:uri::`;
  return secrets;
}

/**
 * So that all tasks, twice as many during a rollout, get by with what the database allows. RDS's default is
 * `max_connections` = memory / 9,531,392 bytes, of which the operating system's share is not counted: three quarters.
 */
export function connectionsPerTask(databaseMemoryGb: number, maxScale: number): number {
  const connections = Math.floor((databaseMemoryGb * 1024 ** 3 * 0.75) / 9_531_392);
  const RESERVED_FOR_RDS = 8;
  return Math.max(2, Math.floor((connections - RESERVED_FOR_RDS) / (2 * maxScale)));
}

/** Of `arn:…:cluster/<name>`. */
const clusterName = (place: Place): string => place.clusterArn.split('/').at(-1)!;
