/**
 * One task on Fargate, from its start to its end, in the times that were seen on AWS: created, pulls after 10 to 19
 * seconds, runs after 20 to 39. It runs only if what its definition names is there when it starts: the image, the
 * secrets in the versions asked for, the log group; and a server only works if the database takes the password that it
 * was given.
 */
import type { ContainerDefinition, Task as View } from '@aws-sdk/client-ecs';
import type { TargetHealth } from '@aws-sdk/client-elastic-load-balancing-v2';
import type { Discovery } from './discovery.ts';
import type { Definition } from './ecs-definitions.ts';
import type { Deployment, Service } from './ecs-service.ts';
import type { Ec2 } from './ec2.ts';
import type { Elb } from './elb.ts';
import type { Logs } from './logs.ts';
import type { Rds } from './rds.ts';
import type { Secrets } from './secrets.ts';
import type { World } from './world.ts';

/** What tasks have to do with. */
export interface Around {
  readonly world: World;
  readonly ec2: Ec2;
  readonly elb: Elb;
  readonly logs: Logs;
  readonly secrets: Secrets;
  readonly rds: Rds;
  readonly discovery: Discovery;
}

type Status = 'PROVISIONING' | 'PENDING' | 'RUNNING' | 'DEACTIVATING' | 'DEPROVISIONING' | 'STOPPED';

/** A server goes on trying for so long to reach a database that is not up. */
const CONNECTS_SECONDS = 10;
const CONNECT_TRIES = 30;
/** Of containers that nothing checks: whoever still runs then works. */
const PROOF_SECONDS = 10;
/** As the balancer words it. */
const SICK = 'Health checks failed with these codes: [503]';

export class Task {
  readonly id: string;
  readonly arn: string;
  readonly deployment: Deployment;
  readonly definition: Definition;
  readonly groups: readonly string[];
  status: Status = 'PROVISIONING';
  /** Its desired status is RUNNING. */
  wanted = true;
  healthy = false;
  wasHealthy = false;
  stopCode: View['stopCode'];
  stoppedReason: string | undefined;
  exitCode: number | undefined;
  reason: string | undefined;
  readonly createdAt: number;
  startedAt: number | undefined;
  stoppingAt: number | undefined;
  stoppedAt: number | undefined;
  readonly #service: Service;
  readonly #around: Around;

  constructor(service: Service, deployment: Deployment, around: Around) {
    const { world } = around;
    this.#service = service;
    this.#around = around;
    this.deployment = deployment;
    this.definition = deployment.definition;
    this.groups = deployment.securityGroups;
    this.id = world.hex(32);
    this.arn = world.arn('ecs', `task/${service.cluster}/${this.id}`);
    this.createdAt = world.now();
    around.ec2.attach(this.groups, 1);
    world.later(world.between(10, 19), () => this.#pull());
  }

  get isRunning(): boolean {
    return this.wanted && this.status === 'RUNNING';
  }

  get isPending(): boolean {
    return this.wanted && (this.status === 'PROVISIONING' || this.status === 'PENDING');
  }

  /** Its containers have not been told to stop yet, or it is still being drained. */
  get isServing(): boolean {
    return this.status !== 'DEPROVISIONING' && this.status !== 'STOPPED';
  }

  get #container(): ContainerDefinition {
    return this.definition.given.containerDefinitions![0]!;
  }

  // Its start

  #pull(): void {
    if (!this.wanted) return;
    this.status = 'PENDING';
    const { world } = this.#around;
    const obstacle = this.#obstacle();
    if (obstacle === undefined) world.later(world.between(8, 20), () => this.#run());
    else this.#fail('TaskFailedToStart', obstacle.stopped, obstacle.container);
  }

  /** Why it cannot be started, in AWS's words. */
  #obstacle(): { readonly stopped: string; readonly container?: string } | undefined {
    const { world, logs, secrets } = this.#around;
    const { image = '', secrets: injected = [], logConfiguration } = this.#container;
    for (const { valueFrom } of injected) {
      const got = secrets.valueFor(valueFrom!);
      if ('why' in got)
        return {
          stopped:
            'ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: ' +
            `unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret ` +
            `${valueFrom!.split(':').slice(0, 7).join(':')} from secrets manager: ${got.why}`,
        };
    }
    if (world.options.image?.(image) === 'cannot-pull') {
      const why =
        `CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ${image}: ` +
        `${image}: not found`;
      return { stopped: why, container: why };
    }
    const group = logConfiguration?.options?.['awslogs-group'];
    if (group !== undefined && !logs.exists(group))
      return {
        stopped:
          'ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed ' +
          'to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.',
      };
    return undefined;
  }

  #run(): void {
    if (!this.wanted) return;
    const { world, discovery } = this.#around;
    this.status = 'RUNNING';
    this.startedAt = world.now();
    for (const registry of this.deployment.registries) discovery.register(registry, 1);
    this.#target({ State: 'initial', Reason: 'Elb.RegistrationInProgress' });
    this.#service.wake();
    const behaviour = world.options.image?.(this.#container.image ?? '') ?? 'good';
    switch (behaviour) {
      case 'exits':
        return this.#exit(world.between(1, 3), 1, ['RuntimeError: the graph cannot be loaded']);
      case 'out-of-memory':
        return this.#exit(world.between(10, 40), 137, [], 'OutOfMemoryError: Container killed due to memory usage');
      case 'unhealthy':
        if (this.#isChecked()) return this.#turnsOutUnfit();
        return this.#works();
      case 'good':
      case 'cannot-pull':
        return this.#connect(CONNECT_TRIES);
    }
  }

  /** A server that is given a database's URI works only once it is let in. */
  #connect(tries: number): void {
    if (!this.wanted) return;
    const { world, secrets, rds } = this.#around;
    for (const { valueFrom } of this.#container.secrets ?? []) {
      const got = secrets.valueFor(valueFrom!);
      const answer = 'value' in got ? rds.accepts(got.value) : undefined;
      if (answer === undefined || answer === 'in') continue;
      if (answer === 'wrong password' || tries === 0)
        return this.#exit(world.between(1, 3), 3, [
          answer === 'wrong password'
            ? 'psycopg.OperationalError: connection failed: FATAL: password authentication failed for user "langgraph"'
            : 'psycopg.OperationalError: connection failed: the database cannot be reached',
        ]);
      return world.later(CONNECTS_SECONDS * 1000, () => this.#connect(tries - 1));
    }
    return this.#works();
  }

  #works(): void {
    const { world } = this.#around;
    const group = this.#targets();
    const seconds =
      group === undefined
        ? [PROOF_SECONDS, PROOF_SECONDS + 5]
        : [5, 20].map(
            (start) => start + 3 + (group.health.HealthyThresholdCount - 1) * group.health.HealthCheckIntervalSeconds,
          );
    world.later(world.between(seconds[0]!, seconds[1]!), () => {
      if (!this.isRunning) return;
      this.healthy = this.wasHealthy = true;
      this.#target({ State: 'healthy' });
      this.#service.taskIsHealthy(this);
    });
  }

  #target(health: TargetHealth | undefined): void {
    const { targetGroup } = this.deployment;
    const port = this.#container.portMappings?.[0]?.containerPort ?? 0;
    if (targetGroup !== undefined) this.#around.elb.target(targetGroup, this.id, port, health);
  }

  #isChecked(): boolean {
    return this.#targets() !== undefined || this.#container.healthCheck !== undefined;
  }

  #targets() {
    const arn = this.deployment.targetGroup;
    return arn === undefined ? undefined : this.#around.elb.group(arn);
  }

  /** Given up on once the grace period is over and the probes have failed often enough. */
  #turnsOutUnfit(): void {
    const { world } = this.#around;
    const group = this.#targets();
    const { interval = 30, retries = 3 } = this.#container.healthCheck ?? {};
    const probes =
      group === undefined
        ? interval * retries
        : group.health.UnhealthyThresholdCount * group.health.HealthCheckIntervalSeconds;
    world.later(world.between(probes, probes + 10), () => {
      if (this.isRunning)
        this.#target({ State: 'unhealthy', Reason: 'Target.ResponseCodeMismatch', Description: SICK });
    });
    const seconds = Math.max(this.#service.graceSeconds, probes + 10);
    world.later(world.between(seconds, seconds + 15), () => {
      if (!this.isRunning) return;
      const arn = this.deployment.targetGroup;
      if (arn === undefined) {
        this.#service.say(`(task ${this.id}) failed container health checks.`);
        this.stop('ServiceSchedulerInitiated', 'Task failed container health checks');
      } else {
        this.#service.say(
          `(task ${this.id}) (port ${this.#container.portMappings?.[0]?.containerPort}) is unhealthy in (target-group ` +
            `${arn}) due to (reason ${SICK}).`,
        );
        this.stop('ServiceSchedulerInitiated', `Task failed ELB health checks in (target-group ${arn})`);
      }
    });
  }

  // Its end

  #exit(after: number, exitCode: number, lines: readonly string[], reason?: string): void {
    const { world, logs } = this.#around;
    world.later(after, () => {
      if (!this.isRunning) return;
      const { name, logConfiguration } = this.#container;
      const { 'awslogs-group': group, 'awslogs-stream-prefix': prefix } = logConfiguration?.options ?? {};
      if (group !== undefined) logs.write(group, `${prefix}/${name}/${this.id}`, lines);
      this.exitCode = exitCode;
      this.#fail('EssentialContainerExited', 'Essential container in task exited', reason);
    });
  }

  #fail(code: View['stopCode'], stopped: string, reason: string | undefined): void {
    this.reason = reason;
    this.stop(code, stopped);
  }

  stop(code: View['stopCode'], reason: string): void {
    if (!this.wanted) return;
    const { world } = this.#around;
    const ran = this.status === 'RUNNING';
    this.wanted = this.healthy = false;
    this.stopCode = code;
    this.stoppedReason = reason;
    this.stoppingAt = world.now();
    this.status = 'DEACTIVATING';
    // What exited by itself serves nobody any more; others may finish what they have begun.
    const drain = ran && this.exitCode === undefined ? (this.#targets()?.drainSeconds ?? 0) : 0;
    if (ran) for (const registry of this.deployment.registries) this.#leave(registry);
    if (ran) this.#target({ State: 'draining', Reason: 'Target.DeregistrationInProgress' });
    this.#service.taskIsStopping(this);
    world.later(world.between(0, drain), () => {
      this.status = 'DEPROVISIONING';
      this.#target(undefined);
      this.#service.wake();
      world.later(ran ? world.between(18, 26) : world.between(4, 14), () => this.#end());
    });
  }

  #leave(registry: string): void {
    const { world, discovery } = this.#around;
    world.later(world.takes('namespace.instance'), () => discovery.register(registry, -1));
  }

  #end(): void {
    const { world, ec2 } = this.#around;
    this.status = 'STOPPED';
    this.stoppedAt = world.now();
    ec2.attach(this.groups, -1);
    this.#service.taskIsGone(this);
  }

  view(): View {
    const { name, image } = this.#container;
    const date = (at: number | undefined) => (at === undefined ? undefined : new Date(at));
    return {
      taskArn: this.arn,
      clusterArn: this.#service.clusterArn,
      taskDefinitionArn: this.definition.arn,
      group: `service:${this.#service.name}`,
      startedBy: this.deployment.id,
      lastStatus: this.status,
      desiredStatus: this.wanted ? 'RUNNING' : 'STOPPED',
      launchType: 'FARGATE',
      healthStatus: this.#container.healthCheck === undefined ? 'UNKNOWN' : this.healthy ? 'HEALTHY' : 'UNHEALTHY',
      createdAt: date(this.createdAt),
      startedAt: date(this.startedAt),
      stoppingAt: date(this.stoppingAt),
      stoppedAt: date(this.stoppedAt),
      stopCode: this.stopCode,
      stoppedReason: this.stoppedReason,
      containers: [
        {
          name,
          image,
          taskArn: this.arn,
          lastStatus: this.status === 'RUNNING' ? 'RUNNING' : this.wanted ? 'PENDING' : 'STOPPED',
          exitCode: this.exitCode,
          reason: this.reason,
        },
      ],
    };
  }
}
