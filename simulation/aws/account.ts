/**
 * An AWS account and region in this process, for the real kinds to run on, in virtual time: AWS's own refusals, states
 * that take AWS's time, reads that lag behind writes, and request rates; all chance from one seed. Nothing waits, nothing
 * has a timer: every state is worked out from `now()` when somebody looks.
 *
 * What it makes its own: `simulation/aws/<service>.ts`, one file each. Numbers are those of the emulated account
 * (`services/rehearsal/account/durations.json` and `throttle.json`), which has their sources. Rights are not checked: the
 * emulated account does that.
 */
import type { Account } from '../../services/reconciler/aws/account.ts';
import type { PlaceOutputs } from '../../services/reconciler/place.ts';

/** One call, as a permission names it. */
export interface SimulatedCall {
  /** `ecs`, `elasticloadbalancing`: as in an IAM action. */
  readonly service: string;
  /** `CreateService` */
  readonly operation: string;
  /** What it is about: a name or an ARN; empty when the call names none. */
  readonly resource: string;
  readonly isWrite: boolean;
}

/** Where time and chance come from. */
export interface Habits {
  /** Virtual milliseconds since 1970. */
  now(): number;
  /** [0, 1), seeded. */
  random(): number;
}

/** What an image does when a task is started from it. */
export type ImageBehaviour = 'good' | 'cannot-pull' | 'exits' | 'unhealthy' | 'out-of-memory';

export interface SimulatedAccountOptions {
  /** 12 digits. */
  readonly id: string;
  readonly region: string;
  readonly habits: Habits;
  /** Of the place's names. @default 'freehold' */
  readonly prefix?: string;
  /** How long reads lag behind writes, times AWS's usual; 0: never. @default 1 */
  readonly lag?: number;
  /** How long things take, times AWS's usual; 0: no time. @default 1 */
  readonly slowness?: number;
  /** AWS's request rates, times this; Infinity: no limits. @default 1 */
  readonly rates?: number;
  /** By the image as the task definition has it (`…@sha256:…`). @default all are good */
  readonly image?: (image: string) => ImageBehaviour;
  /** Limits of AWS's that a fleet may reach. @default AWS's own */
  readonly quotas?: Partial<Quotas>;
}

/** Reference: https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html, each service's quotas. */
export interface Quotas {
  /** Instances in the region. @default 40 */
  readonly databases: number;
  /** Of one application load balancer. @default 100 */
  readonly targetGroupsPerBalancer: number;
  /** Of one application load balancer, default rules not counted. @default 100 */
  readonly rulesPerBalancer: number;
}

/** One thing that exists. */
export interface SimulatedResource {
  /**
   * `ecs:service`, `ecs:task-definition`, `rds:db`, `rds:snapshot`, `ec2:security-group`, `secretsmanager:secret`,
   * `logs:log-group`, `servicediscovery:service`, `application-autoscaling:scalable-target`, `ecr:repository`,
   * `elasticloadbalancing:targetgroup`, `elasticloadbalancing:listener-rule`, `s3:object`
   */
  readonly type: string;
  readonly arn: string;
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
  /** As AWS words it; `deleting`, `INACTIVE`, `scheduled for deletion` and `deregistered` are on their way out. */
  readonly state: string;
  /** It is on its way out, or is what AWS keeps of something that is gone. */
  readonly isGoing: boolean;
  /** When it was made, virtual milliseconds. */
  readonly since: number;
  /** Another one when it was made anew under the same name. */
  readonly incarnation: string;
  /** ARNs (of security groups: ids too) of what it uses now. */
  readonly uses: readonly string[];
}

/** A write that took effect: of a call, of the customer's hand, or of AWS itself. */
export interface Effect {
  readonly at: number;
  readonly by: 'call' | 'hand' | 'aws';
  /** The call; of the hand and of AWS, what they did. */
  readonly operation: string;
  readonly what: 'made' | 'changed' | 'asked to go' | 'gone';
  readonly type: string;
  readonly arn: string;
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly incarnation: string;
}

/** What the customer does by hand, past every fault and lag. */
export type Tampering =
  | { readonly act: 'delete' }
  /** null: that tag is taken off. */
  | { readonly act: 'retag'; readonly tags: Readonly<Record<string, string | null>> }
  /** One of `tamperings()` for it. */
  | { readonly act: 'change'; readonly change: string };

export class SimulatedAccount {
  readonly options: SimulatedAccountOptions;
  /** Every write that took effect, oldest first. */
  readonly history: Effect[] = [];

  constructor(options: SimulatedAccountOptions) {
    this.options = options;
  }

  /**
   * Clients as the kinds use them. `around` is given each call and the act of it: it may wait before or after, throw
   * instead, lose the answer (call `act`, then throw), or never return, as when the process dies. `act` is synchronous,
   * acts on the true state at `now()`, answers by the account's habits, and throws what AWS refuses, throttling included.
   * A refusal is not tried again here: the SDK's own tries are `around`'s to play.
   */
  clients(_around: (call: SimulatedCall, act: () => unknown) => Promise<unknown>): Account {
    throw new Error('not there yet');
  }

  /** Everything that truly exists now, also what no read shows yet. */
  resources(): readonly SimulatedResource[] {
    throw new Error('not there yet');
  }

  /** Outputs of the customer's stack, which is there from the beginning. */
  place(): PlaceOutputs {
    throw new Error('not there yet');
  }

  /** What `tamper` could change of this resource; empty when it is not there. */
  tamperings(_arn: string): readonly string[] {
    throw new Error('not there yet');
  }

  /** @returns whether there was something to do it to, and AWS let the customer do it */
  tamper(_arn: string, _how: Tampering): boolean {
    throw new Error('not there yet');
  }

  /** An image that somebody pushes, found by tag and by digest. The repository is made when it is not there. */
  pushImage(_repository: string, _tag: string, _digest: string): void {
    throw new Error('not there yet');
  }
}
