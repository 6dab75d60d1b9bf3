/**
 * ECS's scheduler of one service: rolling updates within minimumHealthyPercent and maximumPercent, replacement with
 * backoff, the circuit breaker that goes back to what worked last, and the history of rollouts. A deployment is ECS's
 * word here: one rollout. As the emulated account has it (`services/rehearsal/account/services.py`), which has the
 * pages.
 */
import type {
  DeploymentConfiguration,
  LoadBalancer,
  NetworkConfiguration,
  Service as View,
  ServiceDeployment as RolloutView,
  ServiceDeploymentStatus,
  ServiceRegistry,
  ServiceRevision,
} from '@aws-sdk/client-ecs';
import { needsOf, type Definition } from './ecs-definitions.ts';
import { Task, type Around } from './ecs-task.ts';
import type { Thing } from './world.ts';

/** What a rollout fixes besides the definition, and goes back to with it. */
export interface Wiring {
  readonly network: NetworkConfiguration | undefined;
  readonly balancers: readonly LoadBalancer[];
  readonly registries: readonly ServiceRegistry[];
}

const EVENTS_KEPT = 100;
const ROLLOUTS_KEPT = 100;
/** Pause after the second failed start in a row, doubled with each more, up to about twenty minutes. */
const BACKOFF = { seconds: 10, doublings: 7 };

export class Deployment {
  readonly id: string;
  readonly definition: Definition;
  readonly wiring: Wiring;
  readonly revisionArn: string;
  readonly createdAt: number;
  updatedAt: number;
  desired: number;
  status: 'PRIMARY' | 'ACTIVE' = 'PRIMARY';
  state: 'IN_PROGRESS' | 'COMPLETED' | 'FAILED' = 'IN_PROGRESS';
  reason: string;
  /** In a row, for the breaker; and for the backoff. */
  failed = 0;
  setbacks = 0;
  notBefore = 0;
  launching = true;
  steadySince: number | undefined;
  under: Rollout | undefined;

  constructor(service: Service, definition: Definition, around: Around) {
    const { world } = around;
    this.id = `ecs-svc/${world.digits(19)}`;
    this.definition = definition;
    this.wiring = service.wiring;
    this.desired = service.desired;
    this.createdAt = this.updatedAt = world.now();
    this.reason = `ECS deployment ${this.id} in progress.`;
    this.revisionArn = `${service.arn.replace(':service/', ':service-revision/')}/${world.digits(19)}`;
  }

  get securityGroups(): readonly string[] {
    return this.wiring.network?.awsvpcConfiguration?.securityGroups ?? [];
  }

  get targetGroup(): string | undefined {
    return this.wiring.balancers[0]?.targetGroupArn;
  }

  get registries(): readonly string[] {
    return this.wiring.registries.map(({ registryArn }) => registryArn!);
  }
}

/** What ListServiceDeployments lists: one attempt to bring a service to a new revision, and back if that failed. */
export class Rollout {
  readonly arn: string;
  readonly target: Deployment;
  readonly sources: readonly string[];
  readonly createdAt: number;
  status: ServiceDeploymentStatus = 'PENDING';
  statusReason: string | undefined;
  updatedAt: number;
  startedAt: number | undefined;
  finishedAt: number | undefined;
  stoppedAt: number | undefined;
  rollback: RolloutView['rollback'];
  readonly #now: () => number;

  constructor(service: Service, target: Deployment, sources: readonly string[], around: Around) {
    const { world } = around;
    this.arn = `${service.arn.replace(':service/', ':service-deployment/')}/${world.hex(21)}`;
    this.target = target;
    this.sources = sources;
    this.#now = () => world.now();
    this.createdAt = this.updatedAt = world.now();
    target.under = this;
  }

  get isOpen(): boolean {
    return /^(PENDING|IN_PROGRESS|STOP_REQUESTED|ROLLBACK_REQUESTED|ROLLBACK_IN_PROGRESS)$/.test(this.status);
  }

  become(status: ServiceDeploymentStatus, reason?: string): void {
    this.status = status;
    this.updatedAt = this.#now();
    this.statusReason = reason ?? this.statusReason;
    if (status === 'IN_PROGRESS') this.startedAt = this.updatedAt;
    if (!this.isOpen) this.finishedAt = this.updatedAt;
    if (/^(STOPPED|STOP_REQUESTED|ROLLBACK_REQUESTED)$/.test(status)) this.stoppedAt = this.updatedAt;
  }
}

export class Service {
  readonly name: string;
  readonly arn: string;
  readonly cluster: string;
  readonly clusterArn: string;
  readonly thing: Thing;
  readonly createdAt: number;
  status: 'ACTIVE' | 'DRAINING' | 'INACTIVE' = 'ACTIVE';
  desired: number;
  graceSeconds: number;
  configuration: DeploymentConfiguration;
  wiring: Wiring;
  /** Until they are STOPPED. */
  tasks: Task[] = [];
  /** The primary one first. */
  deployments: Deployment[] = [];
  /** Newest first. */
  rollouts: Rollout[] = [];
  readonly revisions = new Map<string, Deployment>();
  #events: { readonly id: string; readonly createdAt: Date; readonly message: string }[] = [];
  #lastCompleted: Deployment | undefined;
  #goingBack: Rollout | undefined;
  #isSteady = false;
  #lookAt: number | undefined;
  readonly #around: Around;
  readonly #stopped: (task: Task) => void;

  constructor(
    given: {
      readonly name: string;
      readonly clusterArn: string;
      readonly desired: number;
      readonly graceSeconds: number;
      readonly configuration: DeploymentConfiguration;
      readonly wiring: Wiring;
      readonly tags: Readonly<Record<string, string>>;
    },
    definition: Definition,
    around: Around,
    /** Told of each task that has come to its end. */
    stopped: (task: Task) => void,
  ) {
    const { world } = around;
    this.name = given.name;
    this.clusterArn = given.clusterArn;
    this.cluster = given.clusterArn.split('/').at(-1)!;
    this.desired = given.desired;
    this.graceSeconds = given.graceSeconds;
    this.configuration = given.configuration;
    this.wiring = given.wiring;
    this.#around = around;
    this.#stopped = stopped;
    this.createdAt = world.now();
    this.arn = world.arn('ecs', `service/${this.cluster}/${this.name}`);
    this.thing = world.made('ecs:service', this.arn, this.name, given.tags, {
      state: () => this.status,
      uses: () => this.#uses(),
    });
    this.deploy(definition);
  }

  get primary(): Deployment {
    return this.deployments[0]!;
  }

  /** Half of the desired count, at least 3, at most 200: it trips the breaker. */
  get #threshold(): number {
    return Math.max(3, Math.min(200, Math.ceil(this.desired / 2)));
  }

  #uses(): string[] {
    if (this.status === 'INACTIVE') return [];
    const { world, ec2 } = this.#around;
    return this.deployments.flatMap(({ definition, securityGroups, targetGroup, registries }) => [
      definition.arn,
      ...needsOf(world, definition),
      ...securityGroups.map((id) => ec2.arnOf(id)),
      ...(targetGroup === undefined ? [] : [targetGroup]),
      ...registries,
    ]);
  }

  say(message: string): void {
    const { world } = this.#around;
    const event = { id: world.hex(32), createdAt: world.date(), message: `(service ${this.name}) ${message}` };
    this.#events = [event, ...this.#events.slice(0, EVENTS_KEPT - 1)];
  }

  // Changes

  /** A new deployment becomes PRIMARY; one that is still in progress is superseded. */
  deploy(definition: Definition): void {
    const now = this.#around.world.now();
    const sources = this.deployments.map(({ revisionArn }) => revisionArn);
    for (const old of this.deployments) {
      if (old.under?.isOpen)
        old.under.become('STOPPED', 'Service deployment was stopped because a newer service deployment was started.');
      old.status = 'ACTIVE';
      old.launching = false;
      old.updatedAt = now;
    }
    if (this.#goingBack?.isOpen)
      this.#goingBack.become(
        'STOPPED',
        'Service deployment was stopped because a newer service deployment was started.',
      );
    const next = new Deployment(this, definition, this.#around);
    this.deployments = [next, ...this.deployments];
    this.revisions.set(next.revisionArn, next);
    this.#goingBack = undefined;
    this.rollouts = [new Rollout(this, next, sources, this.#around), ...this.rollouts.slice(0, ROLLOUTS_KEPT - 1)];
    this.#isSteady = false;
    this.wake();
  }

  scale(desired: number): void {
    this.desired = this.primary.desired = desired;
    this.primary.updatedAt = this.#around.world.now();
    this.#isSteady = false;
    this.wake();
  }

  drain(): void {
    this.status = 'DRAINING';
    this.desired = this.primary.desired = 0;
    for (const rollout of this.rollouts)
      if (rollout.isOpen) rollout.become('STOPPED', 'Service deployment was stopped because the service was deleted.');
    this.wake();
  }

  /** StopServiceDeployment: ROLLBACK goes back to what completed last, ABORT leaves everything where it is. */
  stopRollout(rollout: Rollout, kind: 'ROLLBACK' | 'ABORT'): void {
    if (rollout.status !== 'PENDING' && rollout.status !== 'IN_PROGRESS') return; // it is being stopped already
    const { world } = this.#around;
    const deployment = rollout.target;
    if (kind === 'ABORT') rollout.become('STOP_REQUESTED', 'Stop requested by the user.');
    else rollout.become('ROLLBACK_REQUESTED', 'Rollback requested by the user.');
    deployment.launching = false;
    world.later(world.takes('ecs.scheduler'), () => {
      if (!rollout.isOpen) return;
      deployment.state = 'FAILED';
      if (kind === 'ABORT') {
        deployment.reason = `ECS deployment ${deployment.id} was stopped by the user.`;
        rollout.become('STOPPED', 'Service deployment was stopped by the user.');
      } else {
        deployment.reason = `ECS deployment ${deployment.id} was rolled back by the user.`;
        this.#goBack(deployment, 'Service deployment rolled back because of a user request.', 'stopped by the user');
      }
      this.wake();
    });
  }

  /** To the last deployment that completed; its tasks that still run are kept. */
  #goBack(deployment: Deployment, why: string, method: string): void {
    const target = this.#lastCompleted;
    const rollout = deployment.under;
    deployment.launching = false;
    if (target === undefined || target === deployment) {
      rollout?.become('ROLLBACK_FAILED', 'No rollback candidate was found to run the rollback.');
      return;
    }
    this.deployments = [target, ...this.deployments.filter((each) => each !== target)];
    for (const other of this.deployments.slice(1)) {
      other.status = 'ACTIVE';
      other.launching = false;
    }
    Object.assign(target, { status: 'PRIMARY', state: 'IN_PROGRESS', launching: true, failed: 0, setbacks: 0 });
    target.reason = `ECS deployment ${method}: rolling back to deploymentId ${target.id}.`;
    target.desired = this.desired;
    target.updatedAt = this.#around.world.now();
    target.steadySince = undefined;
    target.notBefore = 0;
    this.wiring = target.wiring;
    this.say(`rolling back to deployment ${target.id}.`);
    if (rollout !== undefined) {
      const startedAt = this.#around.world.date();
      rollout.rollback = { reason: why, startedAt, serviceRevisionArn: target.revisionArn };
      rollout.become('ROLLBACK_IN_PROGRESS', why);
    }
    this.#goingBack = rollout;
    this.#isSteady = false;
    this.wake();
  }

  // Told by tasks

  taskIsHealthy({ deployment }: Task): void {
    deployment.setbacks = deployment.failed = 0;
    deployment.notBefore = 0;
    this.wake();
  }

  /** Failures count for the breaker while its deployment is in progress, until it has been healthy. */
  taskIsStopping(task: Task): void {
    this.#isSteady = false;
    const { deployment, stopCode, stoppedReason = '' } = task;
    const isFailure =
      stopCode === 'TaskFailedToStart' ||
      stopCode === 'EssentialContainerExited' ||
      stoppedReason.startsWith('Task failed ');
    if (isFailure) {
      deployment.setbacks += 1;
      if (deployment.setbacks > 1) {
        const doublings = Math.min(deployment.setbacks - 2, BACKOFF.doublings);
        deployment.notBefore = this.#around.world.now() + BACKOFF.seconds * 1000 * 2 ** doublings;
        if (deployment.setbacks === 3) this.say('is unable to consistently start tasks successfully.');
      }
      if (!task.wasHealthy) deployment.failed += 1;
    }
    if (stopCode === 'ServiceSchedulerInitiated') this.say(`has stopped 1 running tasks: (task ${task.id}).`);
    this.wake();
  }

  taskIsGone(task: Task): void {
    this.tasks = this.tasks.filter((each) => each !== task);
    this.#stopped(task);
    this.wake();
  }

  // Looks

  /** Looks soon, or so many milliseconds from now; calls until then are one look. */
  wake(milliseconds: number = this.#around.world.takes('ecs.scheduler')): void {
    const { world } = this.#around;
    const at = world.now() + milliseconds;
    if (this.#lookAt !== undefined && this.#lookAt <= at) return;
    this.#lookAt = at;
    world.later(milliseconds, () => {
      if (this.#lookAt === at) this.#look();
    });
  }

  #look(): void {
    this.#lookAt = undefined;
    if (this.status === 'INACTIVE') return;
    if (this.status === 'DRAINING') {
      for (const task of this.tasks) this.#stop(task);
      if (!this.tasks.some(({ isServing }) => isServing)) this.#end();
      return;
    }
    this.#break();
    this.#roll();
    this.#settle();
    const { notBefore, launching } = this.primary;
    const now = this.#around.world.now();
    if (launching && notBefore > now && this.#wantedOf(this.primary).length < this.desired) this.wake(notBefore - now);
  }

  #wantedOf(deployment: Deployment): Task[] {
    return this.tasks.filter((task) => task.wanted && task.deployment === deployment);
  }

  #stop(task: Task): void {
    task.stop('ServiceSchedulerInitiated', `Scaling activity initiated by (deployment ${this.primary.id})`);
  }

  #break(): void {
    const { primary } = this;
    const { enable, rollback } = this.configuration.deploymentCircuitBreaker ?? {};
    if (enable !== true || primary.state !== 'IN_PROGRESS' || !primary.launching) return;
    if (primary.failed < this.#threshold) return;
    primary.state = 'FAILED';
    primary.reason = 'ECS deployment circuit breaker: tasks failed to start.';
    primary.launching = false;
    primary.updatedAt = this.#around.world.now();
    this.say(`(deployment ${primary.id}) deployment failed: tasks failed to start.`);
    const why = 'Service deployment rolled back because the circuit breaker threshold was exceeded.';
    if (this.#goingBack?.isOpen) this.#goingBack.become('ROLLBACK_FAILED', primary.reason);
    else if (rollback === true) this.#goBack(primary, why, 'circuit breaker');
    else if (primary.under?.isOpen) primary.under.become('STOPPED', primary.reason);
  }

  /** Starts and stops tasks within minimumHealthyPercent (rounded up) and maximumPercent (rounded down). */
  #roll(): void {
    const { primary, desired } = this;
    const { minimumHealthyPercent = 100, maximumPercent = 200 } = this.configuration;
    const low = Math.ceil((desired * minimumHealthyPercent) / 100);
    const high = Math.floor((desired * maximumPercent) / 100);
    const now = this.#around.world.now();
    let mine = this.#wantedOf(primary);
    let old = this.tasks.filter((task) => task.wanted && task.deployment !== primary);
    if (primary.under?.status === 'PENDING') primary.under.become('IN_PROGRESS');
    const missing = desired - mine.length;
    if (missing < 0) {
      const leastUseful = mine.toSorted((a, b) => Number(a.healthy) - Number(b.healthy) || a.createdAt - b.createdAt);
      for (const task of leastUseful.slice(0, -missing)) this.#stop(task);
    } else if (missing > 0 && primary.launching && now >= primary.notBefore) {
      this.#start(Math.min(missing, Math.max(0, high - mine.length - old.length)));
    }
    if (old.length === 0 || primary.state === 'FAILED') return;
    for (const task of old) if (!task.healthy) this.#stop(task);
    old = old.filter(({ wanted }) => wanted);
    mine = this.#wantedOf(primary);
    const healthy = [...old, ...mine].filter((task) => task.healthy).length;
    const isShort = desired > mine.length && mine.length + old.length >= high;
    const spare = healthy - (isShort ? low : Math.max(low, desired));
    for (const task of old.toSorted((a, b) => a.createdAt - b.createdAt).slice(0, Math.max(0, spare))) this.#stop(task);
  }

  #start(count: number): void {
    const { ec2 } = this.#around;
    const missing = this.primary.securityGroups.find((id) => !ec2.exists(id));
    if (missing !== undefined && count > 0) {
      this.primary.notBefore = this.#around.world.now() + BACKOFF.seconds * 1000;
      this.say(`was unable to place a task. Reason: The security group '${missing}' does not exist.`);
      return;
    }
    const started = Array.from({ length: count }, () => new Task(this, this.primary, this.#around));
    this.tasks = [...this.tasks, ...started];
    if (count > 0) this.say(`has started ${count} tasks: ${started.map(({ id }) => `(task ${id})`).join(' ')}.`);
  }

  /**
   * Drops deployments that serve nothing any more; completes the primary one when it is alone, healthy, and stays so.
   */
  #settle(): void {
    const { world } = this.#around;
    const { primary } = this;
    const others = this.deployments.filter(
      (each) => each !== primary && this.tasks.some((task) => task.deployment === each && task.isServing),
    );
    this.deployments = [primary, ...others];
    const mine = this.#wantedOf(primary);
    const isGood = others.length === 0 && mine.length === this.desired && mine.every(({ healthy }) => healthy);
    if (!isGood) {
      primary.steadySince = undefined;
      this.#isSteady = false;
      return;
    }
    if (primary.steadySince === undefined) {
      const since = world.now();
      primary.steadySince = since;
      world.later(world.takes('ecs.steady'), () => {
        if (primary.steadySince === since && this.primary === primary && this.status === 'ACTIVE') this.#complete();
      });
    }
  }

  #complete(): void {
    const { primary } = this;
    if (primary.state === 'IN_PROGRESS') {
      primary.state = 'COMPLETED';
      primary.reason = `ECS deployment ${primary.id} completed.`;
      primary.updatedAt = this.#around.world.now();
      primary.failed = 0;
      this.#lastCompleted = primary;
      this.say(`(deployment ${primary.id}) deployment completed.`);
      if (this.#goingBack !== undefined) {
        if (this.#goingBack.isOpen) this.#goingBack.become('ROLLBACK_SUCCESSFUL');
        this.#goingBack = undefined;
      } else if (primary.under?.isOpen) primary.under.become('SUCCESSFUL');
    }
    if (primary.state === 'COMPLETED' && !this.#isSteady) {
      this.#isSteady = true;
      this.say('has reached a steady state.');
    }
  }

  #end(): void {
    const { world } = this.#around;
    world.later(world.takes('ecs.service.draining'), () => {
      if (this.status !== 'DRAINING') return;
      this.status = 'INACTIVE';
      this.deployments = [];
      this.rollouts = [];
      world.ended(this.thing);
    });
  }

  // What it shows

  view(): View {
    const running = this.tasks.filter(({ isRunning }) => isRunning).length;
    const pending = this.tasks.filter(({ isPending }) => isPending).length;
    const { network, balancers, registries } = this.wiring;
    return {
      serviceArn: this.arn,
      serviceName: this.name,
      clusterArn: this.clusterArn,
      status: this.status,
      desiredCount: this.desired,
      runningCount: running,
      pendingCount: pending,
      launchType: 'FARGATE',
      platformVersion: 'LATEST',
      taskDefinition: this.deployments[0]?.definition.arn,
      deploymentConfiguration: { ...this.configuration },
      networkConfiguration: network && { awsvpcConfiguration: copied(network) },
      loadBalancers: balancers.map((each) => ({ ...each })),
      serviceRegistries: registries.map((each) => ({ ...each })),
      healthCheckGracePeriodSeconds: this.graceSeconds,
      createdAt: new Date(this.createdAt),
      events: [...this.#events],
      ...(this.rollouts[0] !== undefined && { currentServiceDeployment: this.rollouts[0].arn }),
      deployments: this.deployments.map((each) => this.#deploymentView(each)),
    };
  }

  #deploymentView(each: Deployment) {
    const tasks = this.tasks.filter((task) => task.deployment === each);
    return {
      id: each.id,
      status: each.status,
      taskDefinition: each.definition.arn,
      desiredCount: each.status === 'PRIMARY' ? each.desired : Math.min(each.desired, this.#wantedOf(each).length),
      pendingCount: tasks.filter(({ isPending }) => isPending).length,
      runningCount: tasks.filter(({ isRunning }) => isRunning).length,
      failedTasks: each.failed,
      createdAt: new Date(each.createdAt),
      updatedAt: new Date(each.updatedAt),
      launchType: 'FARGATE' as const,
      rolloutState: each.state,
      rolloutStateReason: each.reason,
    };
  }

  brief({ arn, target, status, statusReason, createdAt, startedAt, finishedAt }: Rollout) {
    return {
      serviceDeploymentArn: arn,
      serviceArn: this.arn,
      clusterArn: this.clusterArn,
      createdAt: new Date(createdAt),
      ...(startedAt !== undefined && { startedAt: new Date(startedAt) }),
      ...(finishedAt !== undefined && { finishedAt: new Date(finishedAt) }),
      targetServiceRevisionArn: target.revisionArn,
      status,
      statusReason,
    };
  }

  rolloutView(rollout: Rollout): RolloutView {
    const { target, sources, rollback, stoppedAt, updatedAt, isOpen } = rollout;
    const { targetServiceRevisionArn: _, ...brief } = this.brief(rollout);
    const tasks = this.tasks.filter((task) => task.deployment === target);
    const isTripped = target.reason.includes('circuit breaker') && target.state === 'FAILED';
    return {
      ...brief,
      updatedAt: new Date(updatedAt),
      ...(stoppedAt !== undefined && { stoppedAt: new Date(stoppedAt) }),
      sourceServiceRevisions: sources.map((arn) => ({ arn })),
      targetServiceRevision: {
        arn: target.revisionArn,
        requestedTaskCount: target.desired,
        runningTaskCount: tasks.filter(({ isRunning }) => isRunning).length,
        pendingTaskCount: tasks.filter(({ isPending }) => isPending).length,
      },
      ...(rollback !== undefined && { rollback: { ...rollback } }),
      deploymentConfiguration: { ...this.configuration },
      deploymentCircuitBreaker: {
        status: isTripped ? 'TRIGGERED' : isOpen ? 'MONITORING' : 'MONITORING_COMPLETE',
        failureCount: target.failed,
        threshold: this.#threshold,
      },
    };
  }

  revisionView({ revisionArn, definition, wiring, createdAt }: Deployment): ServiceRevision {
    return {
      serviceRevisionArn: revisionArn,
      serviceArn: this.arn,
      clusterArn: this.clusterArn,
      taskDefinition: definition.arn,
      launchType: 'FARGATE',
      loadBalancers: wiring.balancers.map((each) => ({ ...each })),
      serviceRegistries: wiring.registries.map((each) => ({ ...each })),
      networkConfiguration: wiring.network && { awsvpcConfiguration: copied(wiring.network) },
      containerImages: (definition.given.containerDefinitions ?? []).map(({ name, image }) => ({
        containerName: name,
        image,
      })),
      createdAt: new Date(createdAt),
    };
  }
}

function copied({ awsvpcConfiguration }: NetworkConfiguration) {
  const { subnets = [], securityGroups = [], assignPublicIp } = awsvpcConfiguration ?? {};
  return { subnets: [...(subnets ?? [])], securityGroups: [...securityGroups], assignPublicIp };
}
