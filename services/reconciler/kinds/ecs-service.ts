import {
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServiceRevisionsCommand,
  DescribeServicesCommand,
  ListServiceDeploymentsCommand,
  UpdateServiceCommand,
  type Deployment,
  type Service,
  type ServiceDeploymentBrief,
} from '@aws-sdk/client-ecs';
import type { Account } from '../aws/account.ts';
import { arn, changesOurs, createsOurs } from '../aws/arn.ts';
import { hasCode } from '../aws/errors.ts';
import { ecsTagList, requireOurs, tagRecord } from '../aws/tags.ts';
import type { Change, Kind } from '../resource.ts';
import { compare } from './compare.ts';
import type { FargateSize } from './fargate.ts';
import { whyTasksStopped, type Watched } from './rollout.ts';

export interface EcsServiceInputs {
  readonly name: string;
  readonly clusterArn: string;
  readonly taskDefinitionArn: string;
  /** Of each task, as its definition has it: for what it costs. Rows of earlier versions have none. */
  readonly size?: FargateSize;
  readonly subnets: readonly string[];
  readonly securityGroups: readonly string[];
  /** How many tasks; in between, scaling decides. */
  readonly min: number;
  readonly max: number;
  /** In percent of the number of tasks, while a rollout runs. */
  readonly minHealthy: number;
  readonly maxRunning: number;
  readonly balanced?: { readonly targetGroupArn: string; readonly graceSeconds: number; readonly healthPath: string };
  /** A Cloud Map service that gets the addresses of the tasks. */
  readonly discoveryArn?: string;
  readonly container: {
    readonly name: string;
    readonly port: number;
    readonly logGroup: string;
    readonly logPrefix?: string;
    readonly discreet?: boolean;
  };
}

/** What an update can change, normalised. */
interface Settings {
  readonly taskDefinition: string;
  readonly desiredCount: number;
  readonly subnets: readonly string[];
  readonly securityGroups: readonly string[];
  readonly minHealthy: number;
  readonly maxRunning: number;
  readonly targetGroup: string | null;
  readonly graceSeconds: number | null;
}

interface Live {
  readonly arn: string;
  readonly status: string;
  readonly settings: Settings;
  /** The wanted task definition was tried, and ECS gave up on it. */
  readonly gaveUp: boolean;
}

/** API reference, UpdateService: these start new tasks, the others do not. */
const ROLLS = ['taskDefinition', 'subnets', 'securityGroups', 'targetGroup'];
const rolls = (changes: readonly Change[]): boolean => changes.some(({ field }) => ROLLS.includes(field));

/** A rollout that ECS took back, or could not even take back. */
const TAKEN_BACK = /^ROLLBACK_/;

/**
 * An ECS service on Fargate. A rollout is ready when ECS says COMPLETED for the wanted task definition, and broken when
 * ECS gave up on it. ECS goes back by itself and then soon says COMPLETED of the old one: so before the wanted one is
 * asked for, the service's history of rollouts tells whether it was tried already.
 */
export const ecsService: Kind<EcsServiceInputs, Live, { arn: string; name: string }> = {
  kind: 'ecs-service',
  iam: (scope) => {
    const services = [arn(scope, 'ecs', `service/${scope.prefix}/${scope.prefix}-*`)];
    const inCluster = { ArnEquals: { 'ecs:cluster': scope.clusterArn } };
    return [
      {
        actions: ['ecs:DescribeServices', 'ecs:ListServiceDeployments'],
        resources: services,
        why: "sees a deployment's services and their rollouts",
      },
      {
        actions: ['ecs:DescribeServiceRevisions'],
        resources: [...services, arn(scope, 'ecs', `service-revision/${scope.prefix}/${scope.prefix}-*/*`)],
        why: 'sees which task definition a rollout was for',
      },
      {
        actions: ['ecs:CreateService'],
        resources: services,
        conditions: { ...createsOurs(scope), ...inCluster, Bool: { 'ecs:enable-execute-command': 'false' } },
        why: "makes a deployment's services, tagged from the start",
      },
      {
        actions: ['ecs:TagResource'],
        resources: services,
        conditions: { StringEquals: { ...createsOurs(scope).StringEquals, 'ecs:CreateAction': 'CreateService' } },
        why: 'needed to make a service with its tags',
      },
      {
        actions: ['ecs:UpdateService', 'ecs:DeleteService'],
        resources: services,
        conditions: changesOurs(scope),
        why: "rolls out a deployment's revisions, and removes its services",
      },
      {
        actions: ['ecs:ListTasks', 'ecs:DescribeTasks'],
        resources: ['*'],
        conditions: inCluster,
        why: 'reads why a task stopped',
      },
      {
        actions: ['logs:GetLogEvents'],
        resources: [arn(scope, 'logs', `log-group:${scope.logGroupRoot}/*`)],
        why: 'reads the last log lines of a task that failed',
      },
    ];
  },
  pollSeconds: 5,
  limitSeconds: 1800,
  // On Fargate a task starts in half a minute, and one behind a balancer is rolled out in two; large images take more.
  usual: (_, changes = []) => ({
    ready: [120, 300],
    changed: rolls(changes) ? [120, 300] : [0, 30],
    gone: [60, 180],
  }),
  foresee: ({ name }) => ({ name }),
  effect: (inputs, changes) =>
    rolls(changes)
      ? {
          is: 'restart',
          beside: inputs.minHealthy > 0,
          means:
            inputs.minHealthy > 0
              ? 'its tasks are replaced by new ones: the old ones go when those are healthy'
              : 'its task is stopped, and then a new one is started: half a minute without it',
        }
      : undefined,
  calls: () => ({ observe: 1, create: 1, change: 1, remove: 1 }),
  cost: ({ size = { cpu: 0, memoryMb: 0 }, min, max }) => [
    { what: 'vcpu', count: (min * size.cpu) / 1024, most: (max * size.cpu) / 1024 },
    { what: 'memory-gb', count: (min * size.memoryMb) / 1024, most: (max * size.memoryMb) / 1024 },
  ],

  async observe({ aws, tags }, inputs) {
    const found = await describe(aws, inputs);
    if (found === undefined || found.status === 'INACTIVE') return { is: 'absent' };
    requireOurs(tagRecord(found.tags), tags, inputs.name);
    const live = { arn: found.serviceArn!, status: found.status!, settings: settingsOf(found), gaveUp: false };
    if (found.status === 'DRAINING') return { is: 'busy', live, why: 'the service is being removed' };

    const primary = found.deployments?.find((deployment) => deployment.status === 'PRIMARY');
    const wanted = inputs.taskDefinitionArn;
    if (primary?.taskDefinition === wanted) {
      if (primary.rolloutState === 'COMPLETED') return { is: 'ready', live, out: { arn: live.arn, name: inputs.name } };
      if (primary.rolloutState !== 'FAILED') return { is: 'busy', live, why: progress(found, primary) };
    } else if (!(await wasGivenUp(aws, found, wanted))) {
      return { is: 'busy', live, why: 'another task definition runs' };
    }
    return { is: 'broken', live: { ...live, gaveUp: true }, why: await whyTasksStopped(aws, watched(inputs, found)) };
  },

  diff(inputs, live): Change[] {
    if (live.status !== 'ACTIVE') return [];
    const changes = compare(wantedSettings(inputs, live.settings), live.settings);
    // Asking for what ECS gave up on would roll for ever.
    return live.gaveUp ? changes.filter((change) => change.field !== 'taskDefinition') : changes;
  },

  async converge({ aws, tags }, inputs, live, changes) {
    if (live !== undefined) {
      const to = Object.fromEntries(changes.map((change) => [change.field, change.to])) as Partial<Settings>;
      const has = (...fields: (keyof Settings)[]) => fields.some((field) => field in to);
      await aws.ecs.send(
        new UpdateServiceCommand({
          cluster: inputs.clusterArn,
          service: inputs.name,
          taskDefinition: to.taskDefinition,
          desiredCount: to.desiredCount,
          networkConfiguration: has('subnets', 'securityGroups') ? network(inputs) : undefined,
          deploymentConfiguration: has('minHealthy', 'maxRunning') ? rolling(inputs) : undefined,
          loadBalancers: has('targetGroup') ? balancers(inputs) : undefined,
          healthCheckGracePeriodSeconds: to.graceSeconds ?? undefined,
        }),
      );
      return;
    }
    try {
      await aws.ecs.send(
        new CreateServiceCommand({
          cluster: inputs.clusterArn,
          serviceName: inputs.name,
          taskDefinition: inputs.taskDefinitionArn,
          desiredCount: inputs.min,
          launchType: 'FARGATE',
          networkConfiguration: network(inputs),
          deploymentConfiguration: rolling(inputs),
          loadBalancers: balancers(inputs),
          healthCheckGracePeriodSeconds: inputs.balanced?.graceSeconds,
          serviceRegistries: inputs.discoveryArn === undefined ? undefined : [{ registryArn: inputs.discoveryArn }],
          enableExecuteCommand: false,
          enableECSManagedTags: true,
          propagateTags: 'SERVICE',
          tags: ecsTagList(tags),
        }),
      );
    } catch (error) {
      if (!alreadyMade(error)) throw error;
    }
  },

  async remove({ aws }, inputs, live) {
    if (live.status === 'DRAINING') return 'its tasks are being stopped';
    try {
      await aws.ecs.send(new DeleteServiceCommand({ cluster: inputs.clusterArn, service: inputs.name, force: true }));
    } catch (error) {
      if (!hasCode(error, 'ServiceNotFoundException', 'ServiceNotActiveException')) throw error;
    }
  },
};

async function describe(aws: Account, inputs: EcsServiceInputs): Promise<Service | undefined> {
  const answer = await aws.ecs.send(
    new DescribeServicesCommand({ cluster: inputs.clusterArn, services: [inputs.name], include: ['TAGS'] }),
  );
  return answer.services?.[0];
}

/** ECS has no code of its own for a service that exists with other settings. */
const alreadyMade = (error: unknown): boolean => /was not idempotent|already exists/i.test(String(error));

function wantedSettings(inputs: EcsServiceInputs, live: Settings): Settings {
  return {
    taskDefinition: inputs.taskDefinitionArn,
    desiredCount: Math.min(Math.max(live.desiredCount, inputs.min), inputs.max),
    subnets: inputs.subnets.toSorted(),
    securityGroups: inputs.securityGroups.toSorted(),
    minHealthy: inputs.minHealthy,
    maxRunning: inputs.maxRunning,
    targetGroup: inputs.balanced?.targetGroupArn ?? null,
    graceSeconds: inputs.balanced?.graceSeconds ?? null,
  };
}

function settingsOf(found: Service): Settings {
  const network = found.networkConfiguration?.awsvpcConfiguration;
  const targetGroup = found.loadBalancers?.[0]?.targetGroupArn ?? null;
  return {
    taskDefinition: found.taskDefinition ?? '',
    desiredCount: found.desiredCount ?? 0,
    subnets: (network?.subnets ?? []).toSorted(),
    securityGroups: (network?.securityGroups ?? []).toSorted(),
    minHealthy: found.deploymentConfiguration?.minimumHealthyPercent ?? 100,
    maxRunning: found.deploymentConfiguration?.maximumPercent ?? 200,
    targetGroup,
    // Means nothing without a balancer.
    graceSeconds: targetGroup === null ? null : (found.healthCheckGracePeriodSeconds ?? 0),
  };
}

const network = (inputs: EcsServiceInputs) => ({
  awsvpcConfiguration: {
    subnets: [...inputs.subnets],
    securityGroups: [...inputs.securityGroups],
    assignPublicIp: 'DISABLED' as const,
  },
});

const rolling = (inputs: EcsServiceInputs) => ({
  minimumHealthyPercent: inputs.minHealthy,
  maximumPercent: inputs.maxRunning,
  deploymentCircuitBreaker: { enable: true, rollback: true },
});

const balancers = ({ balanced, container }: EcsServiceInputs) =>
  balanced && [
    { targetGroupArn: balanced.targetGroupArn, containerName: container.name, containerPort: container.port },
  ];

/**
 * Pure: how far a rollout is, in counts, so that people see it move, and why ECS cannot place more tasks. How long it
 * has lasted is the row's to say.
 */
export function progress(found: Service, primary: Deployment): string {
  const { runningCount: running = 0, desiredCount: desired = 0, failedTasks: failures = 0 } = primary;
  const old = (found.deployments ?? [])
    .filter((deployment) => deployment !== primary)
    .reduce((sum, deployment) => sum + (deployment.runningCount ?? 0), 0);
  return [
    `${running} of ${desired} tasks running`,
    ...(old > 0 ? [`${old} of the last revision still there`] : []),
    ...(failures > 0 ? [`${failures} failed`] : []),
    ...(running < desired ? unplaced(found, primary) : []),
  ].join(', ');
}

/** What ECS said last of this rollout, when that is that there is no room: capacity, addresses, a quota. */
function unplaced(found: Service, primary: Deployment): string[] {
  const [last] = (found.events ?? []).toSorted((a, b) => time(b.createdAt) - time(a.createdAt));
  if (last === undefined || time(last.createdAt) < time(primary.createdAt)) return [];
  const why = /was unable to place a task\. Reason: (.*?)\.?(?: For more information.*)?$/.exec(
    last.message ?? '',
  )?.[1];
  return why === undefined ? [] : [`a task cannot be placed: ${why}`];
}

const time = (at: Date | undefined): number => at?.getTime() ?? 0;

/** Whether the last rollout of this task definition was taken back by ECS. */
async function wasGivenUp(aws: Account, found: Service, taskDefinitionArn: string): Promise<boolean> {
  const given = found.deployments?.find((deployment) => deployment.taskDefinition === taskDefinitionArn);
  if (given?.rolloutState === 'FAILED') return true;
  const rollouts = await rolloutsOf(aws, found);
  if (rollouts.length === 0) return false;
  const definitions = await taskDefinitionsOf(aws, rollouts);
  const last = rollouts.find((rollout) => definitions.get(rollout.targetServiceRevisionArn!) === taskDefinitionArn);
  return TAKEN_BACK.test(last?.status ?? '');
}

/** Newest first; ECS promises no order, so all of its pages are read. */
async function rolloutsOf(aws: Account, found: Service): Promise<ServiceDeploymentBrief[]> {
  const rollouts: ServiceDeploymentBrief[] = [];
  let nextToken: string | undefined;
  do {
    const { clusterArn: cluster, serviceArn: service } = found;
    const page = await aws.ecs.send(
      new ListServiceDeploymentsCommand({ cluster, service, maxResults: 100, nextToken }),
    );
    rollouts.push(...(page.serviceDeployments ?? []));
    nextToken = page.nextToken;
  } while (nextToken !== undefined);
  return rollouts
    .filter((rollout) => rollout.targetServiceRevisionArn !== undefined)
    .toSorted((a, b) => (b.createdAt?.getTime() ?? 0) - (a.createdAt?.getTime() ?? 0));
}

async function taskDefinitionsOf(aws: Account, rollouts: ServiceDeploymentBrief[]): Promise<Map<string, string>> {
  const serviceRevisionArns = [...new Set(rollouts.map((rollout) => rollout.targetServiceRevisionArn!))].slice(0, 20);
  const { serviceRevisions } = await aws.ecs.send(new DescribeServiceRevisionsCommand({ serviceRevisionArns }));
  return new Map((serviceRevisions ?? []).map((each) => [each.serviceRevisionArn!, each.taskDefinition ?? '']));
}

const watched = (inputs: EcsServiceInputs, found: Service): Watched => ({
  clusterArn: inputs.clusterArn,
  taskDefinitionArn: inputs.taskDefinitionArn,
  container: inputs.container,
  healthPath: inputs.balanced?.healthPath,
  events: (found.events ?? []).map((event) => event.message ?? ''),
});
