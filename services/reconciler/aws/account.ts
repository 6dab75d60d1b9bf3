/**
 * The way into a customer's account: the control plane's own credentials assume the place's role, with the place's
 * external id, for one hour at a time (the most that AWS allows a role which assumes a role). Endpoints, credentials and
 * regions are given, never looked up in the environment.
 */
import { ApplicationAutoScalingClient } from '@aws-sdk/client-application-auto-scaling';
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { EC2Client } from '@aws-sdk/client-ec2';
import { ECRClient } from '@aws-sdk/client-ecr';
import { ECSClient } from '@aws-sdk/client-ecs';
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import { IAMClient } from '@aws-sdk/client-iam';
import { RDSClient } from '@aws-sdk/client-rds';
import { ResourceGroupsTaggingAPIClient } from '@aws-sdk/client-resource-groups-tagging-api';
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { ServiceDiscoveryClient } from '@aws-sdk/client-servicediscovery';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { PlaceUnavailable, codeOf, explain, isSessionLost, noteCall } from './errors.ts';

/** One customer account in one region, entered. Clients are made when first used. */
export interface Account {
  readonly id: string;
  readonly region: string;
  readonly ecs: ECSClient;
  readonly ec2: EC2Client;
  readonly rds: RDSClient;
  readonly elb: ElasticLoadBalancingV2Client;
  readonly secrets: SecretsManagerClient;
  readonly logs: CloudWatchLogsClient;
  readonly discovery: ServiceDiscoveryClient;
  readonly scaling: ApplicationAutoScalingClient;
  readonly ecr: ECRClient;
  readonly iam: IAMClient;
  readonly tagging: ResourceGroupsTaggingAPIClient;
  readonly sts: STSClient;
}

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

export interface AccountsOptions {
  /** The control plane's own; a function is asked again whenever a role is assumed. */
  readonly credentials: Credentials | (() => Promise<Credentials>);
  /** Of every AWS API, for an emulated account. @default AWS's own */
  readonly endpoint?: string;
  /** Calls at once for one account, region and service. @default 10 */
  readonly concurrency?: number;
  /** Told of every call, after it ended. `service` and `operation` as in an IAM action. */
  readonly onCall?: (call: Call) => void;
}

export interface Call {
  readonly account: string;
  readonly region: string;
  readonly service: string;
  readonly operation: string;
  readonly seconds: number;
  /** AWS's error code; undefined when the call succeeded. */
  readonly error: string | undefined;
}

/** What entering needs to know of a place. */
export interface Entrance {
  readonly accountId: string;
  readonly region: string;
  readonly roleArn: string;
  readonly externalId: string;
}

/** What the customer's CloudTrail shows of us. */
export interface Session {
  /** 2-64 characters of `[A-Za-z0-9_=,.@-]`. */
  readonly name: string;
  readonly sourceIdentity?: string;
  readonly tags?: Readonly<Record<string, string>>;
  /** A session policy (JSON, at most 2,048 characters) that cuts the role's permissions down. */
  readonly policy?: string;
}

const SESSION_SECONDS = 3600;
const REFRESH_BEFORE_SECONDS = 300;
const TIMEOUTS = { connectionTimeout: 5_000, requestTimeout: 30_000, throwOnRequestTimeout: true };

interface Entered {
  readonly account: Account;
  readonly credentials: () => Promise<Credentials>;
  usedAt: number;
}

export class Accounts {
  readonly #options: AccountsOptions;
  readonly #entered = new Map<string, Entered>();
  /** Shared by all sessions in an account: AWS counts by account, region and service. */
  readonly #turns = new Map<string, Turns>();

  constructor(options: AccountsOptions) {
    this.#options = options;
  }

  /**
   * Sessions and clients are kept and shared by (role, external id, region, session); the session is renewed in time,
   * also in the middle of somebody's work.
   * @throws PlaceUnavailable with the cause, the role, and what to do
   */
  async enter(place: Entrance, session: Session): Promise<Account> {
    const { roleArn, externalId, region } = place;
    const key = JSON.stringify([roleArn, externalId, region, session]);
    this.#forgetUnused();
    let entered = this.#entered.get(key);
    if (entered === undefined) {
      const credentials = this.#session(place, session);
      entered = { account: this.#account(place.accountId, region, credentials), credentials, usedAt: Date.now() };
      this.#entered.set(key, entered);
    }
    entered.usedAt = Date.now();
    await entered.credentials();
    return entered.account;
  }

  close(): void {
    for (const { account } of this.#entered.values()) destroy(account);
    this.#entered.clear();
  }

  #forgetUnused(): void {
    const limit = Date.now() - SESSION_SECONDS * 1000;
    for (const [key, entered] of this.#entered) {
      if (entered.usedAt >= limit) continue;
      destroy(entered.account);
      this.#entered.delete(key);
    }
  }

  /** The role's credentials, renewed five minutes before they end; asked for once however many wait for them. */
  #session(place: Entrance, session: Session): Renewable {
    let current: Promise<Credentials> | undefined;
    let until = 0;
    const renewable = (): Promise<Credentials> => {
      if (current !== undefined && until - Date.now() > REFRESH_BEFORE_SECONDS * 1000) return current;
      until = Number.POSITIVE_INFINITY; // whoever comes while it is being assumed waits for that
      const next = this.#assume(place, session);
      current = next;
      next.then(
        (credentials) => {
          until = credentials.expiration?.getTime() ?? Number.POSITIVE_INFINITY;
        },
        () => {
          if (current === next) current = undefined;
        },
      );
      return next;
    };
    return Object.assign(renewable, {
      lost: () => {
        current = undefined;
      },
      // Or each client would keep a copy of its own for the whole hour.
      memoized: true,
    });
  }

  async #assume(place: Entrance, session: Session): Promise<Credentials> {
    const sts = new STSClient({
      region: place.region,
      credentials: this.#options.credentials,
      requestHandler: TIMEOUTS,
      maxAttempts: 3,
      ...this.#endpoint(),
    });
    this.#watch(sts, 'sts', place.accountId, place.region);
    try {
      const { Credentials: given } = await sts.send(
        new AssumeRoleCommand({
          RoleArn: place.roleArn,
          RoleSessionName: session.name,
          ExternalId: place.externalId,
          DurationSeconds: SESSION_SECONDS,
          SourceIdentity: session.sourceIdentity,
          Policy: session.policy,
          Tags: session.tags && Object.entries(session.tags).map(([Key, Value]) => ({ Key, Value })),
        }),
      );
      return {
        accessKeyId: given!.AccessKeyId!,
        secretAccessKey: given!.SecretAccessKey!,
        sessionToken: given!.SessionToken!,
        expiration: given!.Expiration!,
      };
    } catch (error) {
      throw unavailable(error, place);
    } finally {
      sts.destroy();
    }
  }

  #account(id: string, region: string, credentials: Renewable): Account {
    // AWS's own rate for each operation is learnt by the client; the connection limits are per client too.
    const config = { region, credentials, retryMode: 'adaptive', maxAttempts: 3, ...this.#endpoint() };
    const watched = <C extends Watchable>(service: string, client: C): C => {
      this.#watch(client, service, id, region, credentials);
      return client;
    };
    const settings = () => ({ ...config, requestHandler: TIMEOUTS });
    return lazy({
      id: () => id,
      region: () => region,
      ecs: () => watched('ecs', new ECSClient(settings())),
      ec2: () => watched('ec2', new EC2Client(settings())),
      rds: () => watched('rds', new RDSClient(settings())),
      elb: () => watched('elasticloadbalancing', new ElasticLoadBalancingV2Client(settings())),
      secrets: () => watched('secretsmanager', new SecretsManagerClient(settings())),
      logs: () => watched('logs', new CloudWatchLogsClient(settings())),
      discovery: () => watched('servicediscovery', new ServiceDiscoveryClient(settings())),
      scaling: () => watched('application-autoscaling', new ApplicationAutoScalingClient(settings())),
      ecr: () => watched('ecr', new ECRClient(settings())),
      iam: () => watched('iam', new IAMClient(settings())),
      tagging: () => watched('tag', new ResourceGroupsTaggingAPIClient(settings())),
      sts: () => watched('sts', new STSClient(settings())),
    });
  }

  #endpoint(): { endpoint?: string; disableHostPrefix?: boolean } {
    const { endpoint } = this.#options;
    // Some APIs put `data-` or the like before the host name, which an emulator's address cannot have.
    return endpoint === undefined ? {} : { endpoint, disableHostPrefix: true };
  }

  /** One middleware around every call, its retries included: waits for its turn, counts, and names errors. */
  #watch(client: Watchable, service: string, account: string, region: string, session?: Renewable): void {
    const key = `${account}/${region}/${service}`;
    const turns = this.#turns.get(key) ?? new Turns(this.#options.concurrency ?? 10);
    this.#turns.set(key, turns);
    client.middlewareStack.add(
      // eslint-disable-next-line @typescript-eslint/no-explicit-any
      (next: (args: any) => Promise<any>, context: { commandName?: string }) => async (args: any) => {
        const operation = (context.commandName ?? '').replace(/Command$/, '');
        const end = await turns.take();
        const started = performance.now();
        let failure: unknown;
        try {
          return await next(args);
        } catch (error) {
          failure = error;
          if (isSessionLost(error)) session?.lost();
          if (!(error instanceof PlaceUnavailable)) noteCall(error, `${service}:${operation}`);
          throw error;
        } finally {
          end();
          const seconds = (performance.now() - started) / 1000;
          const error = failure === undefined ? undefined : codeOf(failure);
          this.#options.onCall?.({ account, region, service, operation, seconds, error });
        }
      },
      { step: 'initialize', name: 'freeholdCall', priority: 'high' },
    );
  }
}

interface Renewable {
  (): Promise<Credentials>;
  lost(): void;
  readonly memoized: boolean;
}

interface Watchable {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly middlewareStack: { add(middleware: any, options: any): void };
}

function unavailable(error: unknown, place: Entrance): PlaceUnavailable {
  const which = `the account cannot be entered: "${place.roleArn}"`;
  const code = codeOf(error);
  const detail =
    code === 'AccessDenied' || code === 'AccessDeniedException'
      ? 'the role does not exist, does not trust this control plane, or expects another external id: ' +
        "deploy the customer's stack with this control plane's principal and this place's external id"
      : code === 'RegionDisabledException'
        ? `the region "${place.region}" is not switched on in the account: switch it on`
        : code === 'ValidationError'
          ? 'its ARN or the external id is not well-formed: register the place again'
          : `${explain(error).message}: it is tried again`;
  return new PlaceUnavailable(`${which}: ${detail}`, place.roleArn, { cause: error });
}

/** An object whose properties are made when first read. */
function lazy<T extends object>(makers: { [K in keyof T]: () => T[K] }): T {
  const made = {};
  for (const [name, make] of Object.entries<() => unknown>(makers)) {
    Object.defineProperty(made, name, {
      enumerable: true,
      configurable: true,
      get: () => {
        const value = make();
        Object.defineProperty(made, name, { enumerable: true, value });
        return value;
      },
    });
  }
  return made as T;
}

function destroy(account: Account): void {
  for (const name of Object.keys(account)) {
    const property = Object.getOwnPropertyDescriptor(account, name);
    const value: unknown = property?.get === undefined ? property?.value : undefined; // never made: nothing to end
    if (typeof value === 'object' && value !== null && 'destroy' in value) (value as { destroy(): void }).destroy();
  }
}

/** At most so many at once, first come, first served. */
class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return () => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    };
  }
}
