import {
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServiceRevisionsCommand,
  DescribeServicesCommand,
  ListServiceDeploymentsCommand,
  StopServiceDeploymentCommand,
  UpdateServiceCommand,
  type Deployment,
  type Service,
  type ServiceDeploymentBrief,
} from '@aws-sdk/client-ecs';
import type { Account } from '../aws/account.ts';
import { arn, changesOurs, clusterOf, createsOurs, inPrivateSubnets, logsOf, ours } from '../aws/arn.ts';
import { hasCode, isDenied } from '../aws/errors.ts';
import { ecsTagList, requireOurs, tagRecord } from '../aws/tags.ts';
import type { Change, Kind, Observed } from '../resource.ts';
import { compare } from './compare.ts';
import type { FargateSize } from './fargate.ts';
import { firstFailure, unhealthyTarget, whyTasksStopped, type Watched } from './rollout.ts';

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
  /** ECS is rolling the wanted task definition out. */
  readonly isRolling: boolean;
  /** The rollout of another one is under way, and stopping it brings the wanted one back, which served before. */
  readonly back?: { readonly rolloutArn: string; readonly isAsked: boolean };
}

interface Out {
  readonly arn: string;
  readonly name: string;
  /** How many tasks there are to be, as scaling or somebody has chosen, and how few there may be. Not in old rows. */
  readonly count?: number;
  readonly min?: number;
}

/** Another rollout of what the service has. */
const ROLLOUT = 'rollout';
/** API reference, UpdateService: these start new tasks, the others do not. */
const ROLLS = [ROLLOUT, 'taskDefinition', 'subnets', 'securityGroups', 'targetGroup'];
const rolls = (changes: readonly Change[]): boolean => changes.some(({ field }) => ROLLS.includes(field));

/** A rollout that ECS took back, or could not even take back. */
const TAKEN_BACK = /^ROLLBACK_/;
const UNDER_WAY = /^(PENDING|IN_PROGRESS)$/;
const GOES_BACK = /^ROLLBACK_(REQUESTED|IN_PROGRESS|SUCCESSFUL)$/;

/**
 * An ECS service on Fargate. A rollout is ready when ECS says COMPLETED for the wanted task definition, and broken when
 * ECS gave up on it or, long before that, when its tasks' ends leave no doubt. ECS goes back by itself and then soon
 * says COMPLETED of the old one: so before the wanted one is asked for, the service's history of rollouts tells whether
 * it was tried already. Going back to what served is stopping the rollout that took its place, not another one: the
 * tasks that served never stop.
 */
export const ecsService: Kind<EcsServiceInputs, Live, Out> = {
  kind: 'ecs-service',
  iam: (scope) => {
    const { named } = ours(scope);
    const services = [arn(scope, 'ecs', `service/${clusterOf(scope)}/${named}`)];
    const ourDefinitions = arn(scope, 'ecs', `task-definition/${named}`);
    const inCluster = { ArnEquals: { 'ecs:cluster': scope.clusterArn } };
    return [
      {
        actions: ['ecs:DescribeServices', 'ecs:ListServiceDeployments'],
        resources: services,
        why: "sees a deployment's services and their rollouts",
      },
      {
        actions: ['ecs:DescribeServiceRevisions'],
        resources: [...services, arn(scope, 'ecs', `service-revision/${clusterOf(scope)}/${named}/*`)],
        why: 'sees which task definition a rollout was for',
      },
      {
        actions: ['ecs:CreateService'],
        resources: services,
        conditions: {
          ...createsOurs(scope),
          ...inCluster,
          ArnLike: { 'ecs:task-definition': ourDefinitions },
          Bool: { 'ecs:enable-execute-command': 'false', 'ecs:auto-assign-public-ip': 'false' },
          ...inPrivateSubnets(scope),
          Null: { 'ecs:subnet': 'false' }, // without it, a request that names none would pass
        },
        why:
          "makes a deployment's services, tagged from the start: of our task definitions, in the private subnets, with " +
          'no public address and no way to open a shell in a task',
      },
      {
        actions: ['ecs:TagResource'],
        resources: services,
        conditions: { StringEquals: { ...createsOurs(scope).StringEquals, 'ecs:CreateAction': 'CreateService' } },
        why: 'needed to make a service with its tags',
      },
      {
        actions: ['ecs:UpdateService'],
        resources: services,
        conditions: {
          ...changesOurs(scope),
          // What an update does not name stays as it was made.
          ArnLikeIfExists: { 'ecs:task-definition': ourDefinitions },
          BoolIfExists: { 'ecs:enable-execute-command': 'false', 'ecs:auto-assign-public-ip': 'false' },
          ...inPrivateSubnets(scope),
        },
        why: "rolls out a deployment's revisions, within the same bounds",
      },
      {
        actions: ['ecs:StopServiceDeployment', 'ecs:DeleteService'],
        resources: services,
        conditions: changesOurs(scope),
        why: 'goes back from a revision that has failed, and removes the services of a deleted deployment',
      },
      {
        actions: ['ecs:StopServiceDeployment'],
        resources: [arn(scope, 'ecs', `service-deployment/${clusterOf(scope)}/${named}/*`)],
        conditions: inCluster,
        why: 'the rollouts of those services: ECS gives them no tags',
      },
      {
        actions: ['ecs:ListTasks', 'ecs:DescribeTasks'],
        resources: ['*'],
        conditions: inCluster,
        why: 'reads why a task stopped',
      },
      {
        actions: ['elasticloadbalancing:DescribeTargetHealth'],
        resources: ['*'],
        why: 'sees what the balancer gets from a task that is not well; it has no narrower scope',
      },
      {
        actions: ['logs:GetLogEvents'],
        resources: logsOf(scope),
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
    const status = found.status!;
    const live = { arn: found.serviceArn!, status, settings: settingsOf(found), gaveUp: false, isRolling: false };
    if (status === 'DRAINING') return { is: 'busy', live, why: 'the service is being removed' };

    const primary = found.deployments?.find((deployment) => deployment.status === 'PRIMARY');
    if (primary?.taskDefinition !== inputs.taskDefinitionArn) {
      const { gaveUp, back } = await pastOf(aws, found, inputs.taskDefinitionArn);
      if (gaveUp) return broken(live, await whyTasksStopped(aws, watched(inputs, found)));
      if (back === undefined) return { is: 'busy', live, why: 'another task definition runs' };
      return { is: 'busy', live: { ...live, back }, why: 'ECS goes back to it' };
    }
    if (primary.rolloutState === 'COMPLETED') {
      const out = { arn: live.arn, name: inputs.name, count: live.settings.desiredCount, min: inputs.min };
      return { is: 'ready', live, out };
    }
    const rollout = watched(inputs, found, primary);
    if (primary.rolloutState === 'FAILED') return broken(live, await whyTasksStopped(aws, rollout));
    const failure =
      isAnyGone(found, primary) && !isReturn(found, primary) ? await firstFailure(aws, rollout) : undefined;
    if (failure?.isCertain) return { is: 'broken', live: { ...live, isRolling: true }, why: failure.why };
    const why = [progress(found, primary), ...(failure ? [`${failure.why}; ECS tries again`] : [])];
    if (failure === undefined && isUp(primary) && inputs.balanced !== undefined) {
      const said = await unhealthyTarget(aws, inputs.balanced.targetGroupArn);
      if (said !== '') why.push(`"GET ${inputs.balanced.healthPath}": ${said}`);
    }
    return { is: 'busy', live: { ...live, isRolling: true }, why: why.join(': ') };
  },

  diff(inputs, live, was): Change[] {
    // What would be rolled out in the middle of going back is what is being left.
    if (live.status !== 'ACTIVE' || live.back?.isAsked) return [];
    const count = countOf(inputs, live, was);
    const changes = compare(wantedSettings(inputs, count), live.settings);
    if (!live.gaveUp) return changes;
    // Whoever has watched ECS give it up would roll for ever. But what is of no revision, as Redis' definition is, may
    // have been given up earlier, for what has been mended since.
    const isPrimary = live.settings.taskDefinition === inputs.taskDefinitionArn;
    return [
      ...changes.map((change) => (change.field === 'taskDefinition' ? { ...change, isAgain: true as const } : change)),
      ...(isPrimary ? [{ field: ROLLOUT, from: 'given up', to: 'another', isAgain: true as const }] : []),
    ];
  },

  async converge({ aws, tags }, inputs, live, changes) {
    if (live !== undefined) {
      if (live.back !== undefined && (await goBack(aws, live.back.rolloutArn))) return; // the rest at the next look
      const to = Object.fromEntries(changes.map((change) => [change.field, change.to])) as Partial<Settings>;
      const has = (...fields: (keyof Settings)[]) => fields.some((field) => field in to);
      await aws.ecs.send(
        new UpdateServiceCommand({
          cluster: inputs.clusterArn,
          service: inputs.name,
          taskDefinition: to.taskDefinition,
          forceNewDeployment: changes.some(({ field }) => field === ROLLOUT) || undefined,
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

  /**
   * With a rollout that served before, ECS goes back to it. With none it would start tasks that fail for as long as its
   * breaker lets it, and a service of no tasks would count as rolled out, to be gone back to later: it is removed, also
   * when the breaker was first.
   */
  async halt({ aws, fence }, inputs, live, everReady) {
    if (!live.isRolling && !live.gaveUp) return;
    const found = await describe(aws, inputs);
    if (found?.status !== 'ACTIVE' || found.taskDefinition !== inputs.taskDefinitionArn) return;
    const { rollouts, definitions } = await historyOf(aws, found);
    const [last] = rollouts;
    const served = servedLast(found, rollouts, definitions);
    if (served !== undefined) {
      const isIts = served === inputs.taskDefinitionArn;
      if (isIts || last === undefined || !UNDER_WAY.test(last.status ?? '')) return;
      await fence();
      return (await goBack(aws, last.serviceDeploymentArn!)) ? 'stopped: ECS goes back to what served' : undefined;
    }
    const others = (found.deployments ?? []).filter(
      ({ taskDefinition }) => taskDefinition !== inputs.taskDefinitionArn,
    );
    if (everReady || others.length > 0) return;
    await fence();
    await removeService(aws, inputs);
    return 'removed: nothing of it ever served';
  },

  async remove({ aws }, inputs, live) {
    if (live.status === 'DRAINING') return 'its tasks are being stopped';
    await removeService(aws, inputs);
  },
};

async function removeService(aws: Account, { clusterArn: cluster, name: service }: EcsServiceInputs): Promise<void> {
  try {
    await aws.ecs.send(new DeleteServiceCommand({ cluster, service, force: true }));
  } catch (error) {
    if (!hasCode(error, 'ServiceNotFoundException', 'ServiceNotActiveException')) throw error;
  }
}

async function describe(aws: Account, inputs: EcsServiceInputs): Promise<Service | undefined> {
  const answer = await aws.ecs.send(
    new DescribeServicesCommand({ cluster: inputs.clusterArn, services: [inputs.name], include: ['TAGS'] }),
  );
  return answer.services?.[0];
}

/** ECS has no code of its own for a service that exists with other settings. */
const alreadyMade = (error: unknown): boolean => /was not idempotent|already exists/i.test(String(error));

/**
 * How many tasks, but for the limits. A rollout that never came to serve may have asked for more than there were, and
 * who stood on the least that there may be stands on it again when that is less: both when the rollout is complete, for
 * until then no task is spared. While it runs, scaling decides.
 */
function countOf({ taskDefinitionArn, min }: EcsServiceInputs, { settings, isRolling }: Live, was?: Out): number {
  const now = settings.desiredCount;
  if (was?.count === undefined || isRolling) return now;
  const before = was.count === was.min ? min : was.count;
  return settings.taskDefinition === taskDefinitionArn ? before : Math.max(before, now);
}

function wantedSettings(inputs: EcsServiceInputs, count: number): Settings {
  return {
    taskDefinition: inputs.taskDefinitionArn,
    desiredCount: Math.min(Math.max(count, inputs.min), inputs.max),
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

/** What ECS said last of this rollout, when that is that it could not start a task: capacity, a quota, a role. */
function unplaced(found: Service, primary: Deployment): string[] {
  const [last = ''] = eventsOf(found, primary);
  const why =
    /was unable to place a task\. Reason: (.*?)\.?(?: For more information.*)?$/.exec(last)?.[1] ??
    /failed to launch a task with \(error (.*?)\.?\)\.?$/.exec(last)?.[1];
  if (why !== undefined) return [`a task cannot be placed: ${why}`];
  return /operations are being throttled/.test(last) ? ['AWS asks ECS to slow down'] : [];
}

/** Newest first. */
const eventsOf = (found: Service, since?: Deployment): string[] =>
  (found.events ?? [])
    .filter((event) => since === undefined || time(event.createdAt) >= time(since.createdAt))
    .toSorted((a, b) => time(b.createdAt) - time(a.createdAt))
    .map((event) => event.message ?? '');

const time = (at: Date | undefined): number => at?.getTime() ?? 0;

/** Whether a task that was started for this rollout is no longer there. Costs no call. */
function isAnyGone(found: Service, primary: Deployment): boolean {
  const started = eventsOf(found, primary).reduce(
    (sum, event) => sum + Number(/has started (\d+) tasks/.exec(event)?.[1] ?? 0),
    0,
  );
  return (primary.failedTasks ?? 0) > 0 || (primary.runningCount ?? 0) + (primary.pendingCount ?? 0) < started;
}

/** ECS takes up a rollout that was complete before, under its old id: what failed in it then says nothing now. */
const isReturn = (found: Service, primary: Deployment): boolean =>
  (found.deployments ?? []).some((other) => time(other.createdAt) > time(primary.createdAt)) ||
  eventsOf(found, primary).some((event) => event.includes(`(deployment ${primary.id}) deployment completed`));

/** All of its tasks run: what is waited for is that they are well. */
const isUp = ({ runningCount = 0, desiredCount = 0 }: Deployment): boolean =>
  desiredCount > 0 && runningCount >= desiredCount;

const broken = (live: Live, why: string): Observed<Live, never> => ({
  is: 'broken',
  live: { ...live, gaveUp: true },
  why,
});

/** What the service's rollouts say of a task definition that is wanted and not the one being rolled out. */
async function pastOf(aws: Account, found: Service, wanted: string): Promise<{ gaveUp: boolean } & Pick<Live, 'back'>> {
  const given = found.deployments?.find((deployment) => deployment.taskDefinition === wanted);
  if (given?.rolloutState === 'FAILED') return { gaveUp: true };
  const { rollouts, definitions } = await historyOf(aws, found);
  const isIts = (rollout: ServiceDeploymentBrief | undefined): boolean =>
    rollout !== undefined && definitions.get(rollout.targetServiceRevisionArn!) === wanted;
  if (TAKEN_BACK.test(rollouts.find(isIts)?.status ?? '')) return { gaveUp: true };
  const [last] = rollouts;
  if (last === undefined || servedLast(found, rollouts, definitions) !== wanted) return { gaveUp: false };
  // The service itself may be shown as it was before: of one that has gone back, this is not what runs.
  const isAsked = GOES_BACK.test(last.status ?? '');
  if (!isAsked && !UNDER_WAY.test(last.status ?? '')) return { gaveUp: false };
  if (definitions.get(last.targetServiceRevisionArn!) !== found.taskDefinition) return { gaveUp: false };
  return { gaveUp: false, back: { rolloutArn: last.serviceDeploymentArn!, isAsked } };
}

/**
 * What was rolled out last, and ECS goes back to. Its history is of 90 days: what has served for
 * longer is only seen to run still.
 */
function servedLast(found: Service, rollouts: History['rollouts'], definitions: History['definitions']) {
  const served = rollouts.find(({ status }) => status === 'SUCCESSFUL');
  if (served !== undefined) return definitions.get(served.targetServiceRevisionArn!) ?? '';
  return found.deployments?.find(({ status, rolloutState }) => status === 'ACTIVE' && rolloutState === 'COMPLETED')
    ?.taskDefinition;
}

/** False when the role may not: the stack in the customer's account is older than this. */
async function goBack(aws: Account, serviceDeploymentArn: string): Promise<boolean> {
  try {
    await aws.ecs.send(new StopServiceDeploymentCommand({ serviceDeploymentArn, stopType: 'ROLLBACK' }));
  } catch (error) {
    if (isDenied(error)) return false;
    // It has come to its end meanwhile.
    if (!hasCode(error, 'ConflictException', 'ServiceDeploymentNotFoundException')) throw error;
  }
  return true;
}

interface History {
  /** Newest first. */
  readonly rollouts: readonly ServiceDeploymentBrief[];
  /** Of their service revisions. */
  readonly definitions: ReadonlyMap<string, string>;
}

async function historyOf(aws: Account, found: Service): Promise<History> {
  const rollouts = await rolloutsOf(aws, found);
  return { rollouts, definitions: rollouts.length > 0 ? await taskDefinitionsOf(aws, rollouts) : new Map() };
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

/** Of the newest ones, and of the last that served. */
async function taskDefinitionsOf(aws: Account, rollouts: ServiceDeploymentBrief[]): Promise<Map<string, string>> {
  const served = rollouts.filter(({ status }) => status === 'SUCCESSFUL').slice(0, 1);
  const revisions = [...served, ...rollouts].map((rollout) => rollout.targetServiceRevisionArn!);
  const serviceRevisionArns = [...new Set(revisions)].slice(0, 20);
  const { serviceRevisions } = await aws.ecs.send(new DescribeServiceRevisionsCommand({ serviceRevisionArns }));
  return new Map((serviceRevisions ?? []).map((each) => [each.serviceRevisionArn!, each.taskDefinition ?? '']));
}

/** @param rollout unknown once ECS has gone back */
const watched = (inputs: EcsServiceInputs, found: Service, rollout?: Deployment): Watched => ({
  clusterArn: inputs.clusterArn,
  taskDefinitionArn: inputs.taskDefinitionArn,
  id: rollout?.id,
  container: inputs.container,
  healthPath: inputs.balanced?.healthPath,
  events: eventsOf(found, rollout),
});
