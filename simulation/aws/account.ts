/**
 * An AWS account and region in this process, for the real kinds to run on, in virtual time: AWS's own refusals, states
 * that take AWS's time, reads that lag behind writes, and request rates; all chance from one seed. Nothing waits,
 * nothing has a timer: every state is worked out from `now()` when somebody looks.
 *
 * What it makes its own: `simulation/aws/<service>.ts`, one file each. Numbers are those of the emulated account
 * (`services/rehearsal/account/durations.json` and `throttle.json`), which has their sources. Rights are not checked:
 * the emulated account does that.
 */
import type { Account } from '../../services/reconciler/aws/account.ts';
import { PlaceUnavailable, noteCall } from '../../services/reconciler/aws/errors.ts';
import { balancersOf, type Balancer, type PlaceOutputs } from '../../services/reconciler/place.ts';
import { Discovery } from './discovery.ts';
import { Ec2 } from './ec2.ts';
import { Ecr } from './ecr.ts';
import { Ecs } from './ecs.ts';
import { Elb } from './elb.ts';
import { Logs } from './logs.ts';
import { NotSimulated, Refused, type Operations } from './operation.ts';
import { Rates } from './rates.ts';
import { Rds } from './rds.ts';
import { S3 } from './s3.ts';
import { Scaling } from './scaling.ts';
import { Secrets } from './secrets.ts';
import { Tagging } from './tagging.ts';
import { Trail } from './trail.ts';
import { World, type Tags } from './world.ts';

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
  /** Load balancers that the customer's stack made. @default 1 */
  readonly balancers?: number;
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

/** What the customer can do to things of one type. */
interface ByHand {
  tamperings?(arn: string): readonly string[];
  tamper?(arn: string, change: string): void;
  delete(arn: string): void;
  /** Where a service keeps tags of its own. */
  retagged?(arn: string, tags: Tags): void;
}

type Client = Exclude<keyof Account, 'id' | 'region'>;

/** As in an IAM action. */
const NAMES: Record<Client, string> = {
  ecs: 'ecs',
  ec2: 'ec2',
  rds: 'rds',
  elb: 'elasticloadbalancing',
  secrets: 'secretsmanager',
  logs: 'logs',
  logReads: 'logs',
  discovery: 'servicediscovery',
  scaling: 'application-autoscaling',
  ecr: 'ecr',
  iam: 'iam',
  quotas: 'servicequotas',
  trail: 'cloudtrail',
  s3: 's3',
  tagging: 'tag',
  ssm: 'ssm',
  sts: 'sts',
};

const NONE: Operations = new Map();

export class SimulatedAccount {
  readonly id: string;
  readonly region: string;
  readonly #world: World;
  readonly #rates: Rates;
  readonly #place: PlaceOutputs;
  readonly #operations: Record<Client, Operations>;
  readonly #byHand: Readonly<Record<string, ByHand>>;
  readonly #ecr: Ecr;
  readonly #s3: S3;

  constructor(options: SimulatedAccountOptions) {
    const world = new World(options);
    const place = placeOf(world);
    this.id = options.id;
    this.region = options.region;
    this.#world = world;
    this.#place = place;
    this.#rates = new Rates(() => world.now(), options.rates ?? 1);

    const ec2 = new Ec2(world, place.vpcId, place.loadBalancerSecurityGroupId);
    const elb = new Elb(world);
    for (const { loadBalancerArn, listenerArn } of balancersOf(place)) elb.listen(loadBalancerArn, listenerArn);
    const logs = new Logs(world);
    const secrets = new Secrets(world);
    const rds = new Rds(world, ec2, place.databaseSubnetGroup);
    const discovery = new Discovery(world, place.namespaceId);
    const around = { world, ec2, elb, logs, secrets, rds, discovery };
    const ecs = new Ecs(around, place.clusterArn, [...place.privateSubnetIds, ...place.publicSubnetIds]);
    const scaling = new Scaling(world, ecs);
    const ecr = (this.#ecr = new Ecr(world));
    const s3 = (this.#s3 = new S3(world, place.uploadBucket!));
    const tagging = new Tagging(world);

    this.#operations = {
      ecs: ecs.table.operations,
      ec2: ec2.table.operations,
      rds: rds.table.operations,
      elb: elb.table.operations,
      secrets: secrets.table.operations,
      logs: logs.table.operations,
      logReads: logs.table.operations,
      discovery: discovery.table.operations,
      scaling: scaling.table.operations,
      ecr: ecr.table.operations,
      iam: NONE,
      quotas: NONE,
      trail: new Trail(world).table.operations,
      s3: s3.table.operations,
      ssm: NONE,
      tagging: tagging.table.operations,
      sts: NONE,
    };
    this.#byHand = {
      'ecs:service': ecs,
      'ecs:task-definition': { delete: (arn) => ecs.delete(arn) },
      'ec2:security-group': ec2,
      'rds:db': rds,
      'rds:snapshot': { delete: (arn) => rds.delete(arn) },
      'elasticloadbalancing:targetgroup': elb,
      'elasticloadbalancing:listener-rule': elb,
      'secretsmanager:secret': secrets,
      'logs:log-group': logs,
      'servicediscovery:service': discovery,
      'application-autoscaling:scalable-target': scaling,
      'ecr:repository': ecr,
      's3:object': s3,
    };
  }

  /** Every write that took effect, oldest first. */
  get history(): readonly Effect[] {
    return this.#world.history;
  }

  /**
   * Clients as the kinds use them. `around` is given each call and the act of it: it may wait before or after, throw
   * instead, lose the answer (call `act`, then throw), or never return, as when the process dies. `act` is synchronous,
   * acts on the true state at `now()`, answers by the account's habits, and throws what AWS refuses, throttling
   * included. A refusal is not tried again here: the SDK's own tries are `around`'s to play. A call or a parameter that
   * is not simulated is rejected with `NotSimulated` before `around` hears of it.
   */
  clients(around: (call: SimulatedCall, act: () => unknown) => Promise<unknown>): Account {
    const clients: Record<string, unknown> = { id: this.id, region: this.region };
    for (const name of Object.keys(NAMES) as Client[])
      clients[name] = { send: (command: { readonly input: object }) => this.#send(name, command, around) };
    return clients as unknown as Account;
  }

  async #send(
    client: Client,
    command: { readonly input: object },
    around: (call: SimulatedCall, act: () => unknown) => Promise<unknown>,
  ): Promise<unknown> {
    const service = NAMES[client];
    const operation = this.#operations[client].get(command.constructor);
    const input = command.input as Record<string, unknown>;
    if (operation === undefined) throw new NotSimulated(`not simulated: "${service}:${command.constructor.name}"`);
    for (const name in input)
      if (input[name] !== undefined && !operation.knows.has(name))
        throw new NotSimulated(`not simulated: "${service}:${operation.name}" with "${name}"`);
    const call: SimulatedCall = {
      service,
      operation: operation.name,
      resource: subjectOf(input[operation.subject]),
      isWrite: operation.isWrite,
    };
    try {
      return await around(call, () => {
        this.#world.catchUp();
        this.#rates.take(service, operation.name, input);
        this.#world.doing = { by: 'call', operation: `${service}:${operation.name}` };
        const answer = operation.run(input as never);
        return { $metadata: { httpStatusCode: 200, attempts: 1 }, ...answer };
      });
    } catch (error) {
      if (!(error instanceof NotSimulated) && !(error instanceof PlaceUnavailable))
        noteCall(error, `${service}:${operation.name}`);
      throw error;
    }
  }

  /** Everything that truly exists now, also what no read shows yet. */
  resources(): readonly SimulatedResource[] {
    this.#world.catchUp();
    return this.#world.resources();
  }

  /** Outputs of the customer's stack, which is there from the beginning and is none of the resources. */
  place(): PlaceOutputs {
    return this.#place;
  }

  /** What `tamper` could change of this resource; empty when it is not there. */
  tamperings(arn: string): readonly string[] {
    this.#world.catchUp();
    const thing = this.#world.things.get(arn);
    return (thing && this.#byHand[thing.type]?.tamperings?.(arn)) ?? [];
  }

  /** @returns whether there was something to do it to, and AWS let the customer do it */
  tamper(arn: string, how: Tampering): boolean {
    const world = this.#world;
    world.catchUp();
    const thing = world.things.get(arn);
    const byHand = thing && this.#byHand[thing.type];
    if (thing === undefined || byHand === undefined) return false;
    world.doing = { by: 'hand', operation: how.act === 'change' ? how.change : how.act };
    try {
      if (how.act === 'delete') byHand.delete(arn);
      else if (how.act === 'change') {
        if (!byHand.tamperings?.(arn).includes(how.change)) return false;
        byHand.tamper!(arn, how.change);
      } else {
        const tags: Record<string, string> = { ...thing.tags };
        for (const [key, value] of Object.entries(how.tags)) {
          if (value === null) delete tags[key];
          else tags[key] = value;
        }
        byHand.retagged?.(arn, tags);
        world.retag(thing, tags);
      }
      return true;
    } catch (error) {
      if (error instanceof Refused) return false;
      throw error;
    }
  }

  /** An image that somebody pushes, found by tag and by digest. The repository is made when it is not there. */
  pushImage(repository: string, tag: string, digest: string): void {
    this.#hand('push an image');
    this.#ecr.push(repository, tag, digest);
  }

  /** An archive that somebody puts into the place's bucket. */
  upload(key: string, bytes: number): void {
    this.#hand('upload');
    this.#s3.put(key, bytes);
  }

  #hand(operation: string): void {
    this.#world.catchUp();
    this.#world.doing = { by: 'hand', operation };
  }
}

const subjectOf = (value: unknown): string =>
  typeof value === 'string'
    ? value
    : Array.isArray(value)
      ? value.filter((each) => typeof each === 'string').join()
      : '';

function placeOf(world: World): PlaceOutputs {
  const { id, region, prefix } = world;
  const role = (name: string) => `arn:aws:iam::${id}:role/${prefix}-${name}`;
  const balancer = (name: string): Balancer => {
    const loadBalancerArn = world.arn('elasticloadbalancing', `loadbalancer/app/${name}/0123456789abcdef`);
    return {
      loadBalancerArn,
      loadBalancerDnsName: `${name}-1.${region}.elb.amazonaws.com`,
      listenerArn: `${loadBalancerArn.replace(':loadbalancer/', ':listener/')}/fedcba9876543210`,
    };
  };
  const more = Array.from({ length: (world.options.balancers ?? 1) - 1 }, (_, n) => balancer(`${prefix}-${n + 2}`));
  return {
    version: 1,
    accountId: id,
    region,
    partition: 'aws',
    prefix,
    roleArn: role('control'),
    vpcId: 'vpc-00000000000000001',
    privateSubnetIds: ['subnet-0000000000000000a', 'subnet-0000000000000000b'],
    publicSubnetIds: ['subnet-0000000000000000c', 'subnet-0000000000000000d'],
    clusterArn: world.arn('ecs', `cluster/${prefix}`),
    executionRoleArn: role('execution'),
    taskRoleArn: role('task'),
    ...balancer(prefix),
    ...(more.length > 0 && { moreBalancers: more }),
    loadBalancerSecurityGroupId: 'sg-00000000000000001',
    scheme: 'http',
    namespaceId: 'ns-0000000000000001',
    namespaceName: `${prefix}.internal`,
    databaseSubnetGroup: prefix,
    logGroupRoot: `/${prefix}`,
    deletionGate: true,
    uploadBucket: `${prefix}-uploads-${id}`,
  };
}
