/**
 * All that a customer's account holds of one deployment, read as the customer: every resource by its tag, with what
 * AWS's describe calls say of it, so that two moments can be compared field by field. What no two moments share (times,
 * ids of events, tasks and rollouts, counts of versions that ECS keeps) is left out.
 */
import {
  ApplicationAutoScalingClient,
  DescribeScalableTargetsCommand,
  DescribeScalingPoliciesCommand,
} from '@aws-sdk/client-application-auto-scaling';
import { CloudWatchLogsClient, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeSecurityGroupsCommand, EC2Client } from '@aws-sdk/client-ec2';
import {
  DescribeServicesCommand,
  DescribeTaskDefinitionCommand,
  DescribeTasksCommand,
  ECSClient,
} from '@aws-sdk/client-ecs';
import {
  DescribeRulesCommand,
  DescribeTargetGroupAttributesCommand,
  DescribeTargetGroupsCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { DescribeDBInstancesCommand, RDSClient } from '@aws-sdk/client-rds';
import {
  ResourceGroupsTaggingAPIClient,
  paginateGetResources,
  type ResourceTagMapping,
} from '@aws-sdk/client-resource-groups-tagging-api';
import {
  DescribeSecretCommand,
  GetSecretValueCommand,
  ListSecretVersionIdsCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { GetServiceCommand, ServiceDiscoveryClient } from '@aws-sdk/client-servicediscovery';
import { createHash } from 'node:crypto';
import type { Rehearsal } from '../../services/rehearsal/index.ts';

const REGION = 'us-east-1';

/* eslint-disable @typescript-eslint/no-explicit-any */
type Json = any;

/** By `<type> <name>`, each as AWS describes it. */
export type State = Record<string, Json>;

export interface StateOptions {
  readonly rehearsal: Rehearsal;
  readonly account: string;
  /** @default all that are tagged as some deployment's */
  readonly deploymentId?: string;
}

/** What still exists: not what AWS keeps of things that are gone (INACTIVE, STOPPED, in a recovery window). */
export async function stateOf({ rehearsal, account, deploymentId }: StateOptions): Promise<State> {
  const client = { endpoint: rehearsal.endpoint, region: REGION, credentials: rehearsal.root(account) };
  const aws = {
    ec2: new EC2Client(client),
    ecs: new ECSClient(client),
    elb: new ElasticLoadBalancingV2Client(client),
    logs: new CloudWatchLogsClient(client),
    rds: new RDSClient(client),
    scaling: new ApplicationAutoScalingClient(client),
    secrets: new SecretsManagerClient(client),
    discovery: new ServiceDiscoveryClient(client),
  };
  const state: State = {};
  for (const { ResourceARN, Tags } of await tagged(client, deploymentId)) {
    const [, , service, , , ...rest] = ResourceARN!.split(':');
    const read = READ[`${service} ${rest.join(':').split(/[/:]/)[0]}`];
    if (read === undefined) throw new Error(`no way to read the state of ${ResourceARN}`);
    const tags = Object.fromEntries((Tags ?? []).map(({ Key, Value }) => [Key!, Value!]));
    for (const [name, found] of Object.entries(await read(aws, ResourceARN!)))
      state[name] = timeless({ ...found, ...(name.startsWith('task ') ? {} : { tags }) });
  }
  return state;
}

/** Whether something is still marked as what never served: it is not for long after the first revision was deployed. */
export const isProvisional = (state: State): boolean =>
  Object.values(state).some((one: Json) => one.tags?.['freehold:provisioning'] !== undefined);

async function tagged(client: object, deploymentId: string | undefined): Promise<ResourceTagMapping[]> {
  const found: ResourceTagMapping[] = [];
  const Values = deploymentId === undefined ? undefined : [deploymentId];
  const filter = { TagFilters: [{ Key: 'freehold:deployment', Values }] };
  for await (const page of paginateGetResources({ client: new ResourceGroupsTaggingAPIClient(client) }, filter))
    found.push(...(page.ResourceTagMappingList ?? []));
  return found;
}

interface Clients {
  readonly ec2: EC2Client;
  readonly ecs: ECSClient;
  readonly elb: ElasticLoadBalancingV2Client;
  readonly logs: CloudWatchLogsClient;
  readonly rds: RDSClient;
  readonly scaling: ApplicationAutoScalingClient;
  readonly secrets: SecretsManagerClient;
  readonly discovery: ServiceDiscoveryClient;
}

const nameOf = (arn: string): string => arn.split(/[/:]/).at(-1)!;
/** The tagging API and lists go on naming some things for a while after they are gone. */
const orGone = <T>(reading: Promise<T>): Promise<T | undefined> =>
  reading.catch((error: Error) => {
    if (/NotFound|not found|could not be found/i.test(`${error.name} ${error.message}`)) return undefined;
    throw error;
  });

/** By service and type of the ARN. */
const READ: Record<string, (aws: Clients, arn: string) => Promise<State>> = {
  'ecs service': service,
  'ecs task': task,
  'ecs task-definition': taskDefinition,
  'elasticloadbalancing targetgroup': targetGroup,
  'elasticloadbalancing listener-rule': rule,
  'ec2 security-group': securityGroup,
  'secretsmanager secret': secret,
  'logs log-group': logGroup,
  'rds db': database,
  'rds snapshot': (_, arn) => Promise.resolve({ [`snapshot ${nameOf(arn)}`]: {} }),
  'servicediscovery service': discoveryService,
  // Read with their service.
  'application-autoscaling scalable-target': () => Promise.resolve({}),
};

async function service(aws: Clients, arn: string): Promise<State> {
  const [cluster, name] = arn.split('/').slice(-2) as [string, string];
  const { services } = await aws.ecs.send(new DescribeServicesCommand({ cluster, services: [arn] }));
  const found = services?.[0];
  if (found === undefined || found.status === 'INACTIVE') return {};
  const ResourceIds = [`service/${cluster}/${name}`];
  const targets = await aws.scaling.send(new DescribeScalableTargetsCommand({ ServiceNamespace: 'ecs', ResourceIds }));
  const policies = await aws.scaling.send(
    new DescribeScalingPoliciesCommand({ ServiceNamespace: 'ecs', ResourceId: ResourceIds[0]! }),
  );
  const {
    events: _,
    deployments,
    currentServiceDeployment: __,
    currentServiceRevisions: ___,
    ...settings
  } = found as Json;
  return {
    [`service ${name}`]: {
      ...settings,
      deployments: (deployments ?? []).map((each: Json) => {
        const { id: _, serviceConnectResources: __, rolloutStateReason: reason = '', ...rest } = each;
        return { ...rest, rolloutStateReason: String(reason).replaceAll(/ecs-svc\/\d+/g, 'ecs-svc/<id>') };
      }),
    },
    ...((targets.ScalableTargets ?? []).length > 0
      ? { [`scaling ${name}`]: { target: targets.ScalableTargets, policies: policies.ScalingPolicies } }
      : {}),
  };
}

/** Named by what it runs: which tasks there are is told by how many, and of what. */
async function task(aws: Clients, arn: string): Promise<State> {
  const cluster = arn.split('/').at(-2)!;
  const { tasks } = await aws.ecs.send(new DescribeTasksCommand({ cluster, tasks: [arn] }));
  const found = tasks?.[0];
  if (found === undefined || found.lastStatus === 'STOPPED') return {};
  const definition = found.taskDefinitionArn!.split('/').at(-1)!;
  return {
    [`task ${nameOf(arn)}`]: {
      definition,
      lastStatus: found.lastStatus,
      desiredStatus: found.desiredStatus,
      cpu: found.cpu,
      memory: found.memory,
      containers: (found.containers ?? []).map(({ name, image, imageDigest, lastStatus, cpu, memory }) => ({
        name,
        image,
        imageDigest,
        lastStatus,
        cpu,
        memory,
      })),
    },
  };
}

async function taskDefinition(aws: Clients, arn: string): Promise<State> {
  const { taskDefinition: found } = await aws.ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: arn }));
  return found?.status === 'ACTIVE' ? { [`definition ${arn.split('/').at(-1)!}`]: found } : {};
}

async function targetGroup(aws: Clients, TargetGroupArn: string): Promise<State> {
  const answer = await orGone(aws.elb.send(new DescribeTargetGroupsCommand({ TargetGroupArns: [TargetGroupArn] })));
  const group = answer?.TargetGroups?.[0];
  if (group === undefined) return {};
  const { Attributes = [] } = await aws.elb.send(new DescribeTargetGroupAttributesCommand({ TargetGroupArn }));
  const { TargetHealthDescriptions = [] } = await aws.elb.send(new DescribeTargetHealthCommand({ TargetGroupArn }));
  return {
    [`target group ${group.TargetGroupName}`]: {
      ...group,
      attributes: Object.fromEntries(Attributes.map(({ Key, Value }) => [Key!, Value])),
      targets: TargetHealthDescriptions.map(({ TargetHealth }) => TargetHealth?.State).sort(),
    },
  };
}

async function rule(aws: Clients, arn: string): Promise<State> {
  const answer = await orGone(aws.elb.send(new DescribeRulesCommand({ RuleArns: [arn] })));
  return answer?.Rules?.[0] === undefined ? {} : { [`rule ${nameOf(arn)}`]: answer.Rules[0] };
}

async function securityGroup(aws: Clients, arn: string): Promise<State> {
  const GroupIds = [nameOf(arn)];
  const answer = await orGone(aws.ec2.send(new DescribeSecurityGroupsCommand({ GroupIds })));
  const found = answer?.SecurityGroups?.[0];
  return found === undefined ? {} : { [`security group ${found.GroupName}`]: found };
}

/** With every version, and of each value what tells it from another. */
async function secret(aws: Clients, SecretId: string): Promise<State> {
  const found = await orGone(aws.secrets.send(new DescribeSecretCommand({ SecretId })));
  if (found === undefined || found.DeletedDate !== undefined) return {};
  const { $metadata: _, VersionIdsToStages: __, ...settings } = found;
  const { Versions = [] } = await aws.secrets.send(
    new ListSecretVersionIdsCommand({ SecretId, IncludeDeprecated: true }),
  );
  const versions: Json = {};
  for (const { VersionId, VersionStages } of Versions) {
    const value = await aws.secrets.send(new GetSecretValueCommand({ SecretId, VersionId }));
    const digest = createHash('sha256')
      .update(value.SecretString ?? '')
      .digest('hex');
    versions[VersionId!] = { digest, stages: (VersionStages ?? []).toSorted() };
  }
  return { [`secret ${found.Name}`]: { ...settings, versions } };
}

async function logGroup(aws: Clients, arn: string): Promise<State> {
  const logGroupNamePrefix = arn.replace(/:\*$/, '').split(':').at(-1)!;
  const { logGroups = [] } = await aws.logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix }));
  const found = logGroups.find(({ logGroupName }) => logGroupName === logGroupNamePrefix);
  if (found === undefined) return {};
  const { storedBytes: _, ...settings } = found;
  return { [`log group ${logGroupNamePrefix}`]: settings };
}

async function database(aws: Clients, arn: string): Promise<State> {
  const DBInstanceIdentifier = nameOf(arn);
  const answer = await orGone(aws.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier })));
  return answer?.DBInstances?.[0] === undefined ? {} : { [`database ${DBInstanceIdentifier}`]: answer.DBInstances[0] };
}

async function discoveryService(aws: Clients, arn: string): Promise<State> {
  const answer = await orGone(aws.discovery.send(new GetServiceCommand({ Id: nameOf(arn) })));
  return answer?.Service === undefined ? {} : { [`discovery ${answer.Service.Name}`]: answer.Service };
}

/** Without times, and in an order of its own: AWS promises none. */
function timeless(value: Json): Json {
  if (Array.isArray(value)) {
    const each = value.filter((one) => !(one instanceof Date)).map(timeless);
    // But for a command, whose words say something else in another order.
    return each.every((one) => typeof one === 'string' && !/\s/.test(one)) ? each.toSorted() : each;
  }
  if (value === null || typeof value !== 'object') return value;
  const kept = Object.entries(value as Record<string, unknown>).filter(
    ([name, one]) => one !== undefined && !(one instanceof Date) && !/(Time|Date|At)$|^creationTime$/.test(name),
  );
  return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, one]) => [name, timeless(one)]));
}

export interface Difference {
  /** `<type> <name>: <path>`. */
  readonly field: string;
  readonly from: unknown;
  readonly to: unknown;
}

/** Every field that is not the same, also those that one of them does not have. */
export function differences(from: State, to: State): Difference[] {
  const [before, after] = [fieldsOf(from), fieldsOf(to)];
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((field) => before.get(field) !== after.get(field))
    .map((field) => ({ field, from: before.get(field), to: after.get(field) }));
}

/** Sorted, for two deployments to be compared: what differs between any two (ids, digests, numbers) is cut. */
export const linesOf = (state: State): string[] =>
  [...fieldsOf(state)]
    .map(([field, value]) => `${field} = ${String(value)}`)
    .map((line) =>
      line
        .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}/g, '<id>')
        .replace(/[0-9a-f]{12,}/g, '<id>')
        .replace(/(:secret:[^: ]+)-[0-9A-Za-z]{6}\b/g, '$1-<id>')
        .replace(/\b(db|ns|sg|srv|subnet|vpc)-[0-9A-Za-z]{8,}/g, '$1-<id>')
        .replace(/\b[a-z0-9]{16}\b/g, '<id>') // of balancers, rules, target groups
        .replace(/\.[a-z0-9]{12}(?=\.[a-z0-9-]+\.rds\.)/, '.<id>')
        .replace(/(?<=^database .*AvailabilityZone = ).*/, '<any>')
        .replace(/-r\d+\b/g, '-r<n>'),
    )
    .sort();

/** Tasks are told by what they are, not by which. */
function fieldsOf(state: State): Map<string, unknown> {
  const fields = new Map<string, unknown>();
  const walk = (path: string, value: Json): void => {
    if (value === null || typeof value !== 'object') return void fields.set(path, value);
    if (Object.keys(value).length === 0) fields.set(path, Array.isArray(value) ? '[]' : '{}');
    for (const [name, one] of Object.entries(value)) walk(`${path}${path.endsWith(': ') ? '' : '.'}${name}`, one);
  };
  const tasks = Object.entries(state).filter(([name]) => name.startsWith('task '));
  const counted = tasks.map(([, one]) => JSON.stringify(one)).toSorted();
  counted.forEach((one, at) => walk(`tasks: ${at}`, JSON.parse(one)));
  for (const [name, one] of Object.entries(state)) if (!name.startsWith('task ')) walk(`${name}: `, one);
  return fields;
}
