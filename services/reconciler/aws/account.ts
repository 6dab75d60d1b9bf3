/**
 * The way into a customer's account: the control plane's own credentials assume the place's role, with the place's
 * external id, for one hour at a time (the most that AWS allows a role which assumes a role). Regions and, for an
 * emulated account, the endpoint are given; its own credentials too, or the SDK's usual chain finds them.
 */
import { ApplicationAutoScalingClient } from '@aws-sdk/client-application-auto-scaling';
import { CloudTrailClient } from '@aws-sdk/client-cloudtrail';
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { EC2Client } from '@aws-sdk/client-ec2';
import { ECRClient } from '@aws-sdk/client-ecr';
import { ECSClient } from '@aws-sdk/client-ecs';
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import { IAMClient } from '@aws-sdk/client-iam';
import { RDSClient } from '@aws-sdk/client-rds';
import { ResourceGroupsTaggingAPIClient } from '@aws-sdk/client-resource-groups-tagging-api';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { ServiceDiscoveryClient } from '@aws-sdk/client-servicediscovery';
import { SSMClient } from '@aws-sdk/client-ssm';
import { AssumeRoleCommand, STSClient, type Tag } from '@aws-sdk/client-sts';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { AsyncLocalStorage } from 'node:async_hooks';
import { Brake, type Braked } from './brake.ts';
import {
  PlaceUnavailable,
  codeOf,
  explain,
  hasCode,
  isDenied,
  isSessionLost,
  isThrottled,
  noteCall,
} from './errors.ts';
import { Rates, type RatesOptions } from './rates.ts';
import { TAG, tagList } from './tags.ts';

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
  /** For people who read logs: however many do, they do not slow down the calls of others. */
  readonly logReads: CloudWatchLogsClient;
  readonly discovery: ServiceDiscoveryClient;
  readonly scaling: ApplicationAutoScalingClient;
  readonly ecr: ECRClient;
  readonly iam: IAMClient;
  readonly s3: S3Client;
  readonly quotas: ServiceQuotasClient;
  readonly tagging: ResourceGroupsTaggingAPIClient;
  readonly trail: CloudTrailClient;
  /** For the customer's brake alone, which everything waits for. */
  readonly ssm: SSMClient;
  readonly sts: STSClient;
}

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

export interface AccountsOptions {
  /**
   * The control plane's own; a function is asked again whenever a role is assumed. @default the SDK's chain: the
   * environment, a profile, the role of the task or machine it runs on
   */
  readonly credentials?: Credentials | (() => Promise<Credentials>);
  /** Of every AWS API, for an emulated account. @default AWS's own */
  readonly endpoint?: string;
  /** Calls at once for one account, region and service. @default 10 */
  readonly concurrency?: number;
  /** How much of AWS's request rates is ours. @default four fifths of what AWS publishes */
  readonly rates?: RatesOptions;
  /** Until a call that is not answered counts as failed. @default 30 */
  readonly timeoutSeconds?: number;
  /** How old the brake of a place may be when it is heeded. @default 15, the most */
  readonly brakeSeconds?: number;
  /** Told of every call, after it ended. `service` and `operation` as in an IAM action. */
  readonly onCall?: (call: Call) => void;
  /**
   * Told of every call that may change something, and of every session that is lent to somebody: before it is made, and
   * by what this answers with, which may not throw, what came of it. The call is not made when this throws.
   */
  readonly onWrite?: (write: Write) => Promise<(written: Written) => Promise<void>>;
}

export interface Write {
  readonly place: Entrance;
  readonly session: Session;
  readonly account: string;
  readonly region: string;
  /** As in an IAM action, and so is `operation`. */
  readonly service: string;
  readonly operation: string;
  /** The call's parameters, as the SDK takes them. There may be secrets in them. */
  readonly input: object;
  /** Of a session that is lent: what may be done with it. */
  readonly lent?: readonly Lent[];
}

export interface Written {
  /** AWS's error code; undefined when the call succeeded. */
  readonly error: string | undefined;
  /** The tries that AWS has answered, in order: its request id, and the error's code. */
  readonly requests: readonly { readonly id: string; readonly error?: string }[];
  /** Tries that it did not answer, and may have carried out. */
  readonly unanswered: number;
  /** Undefined of a call that failed. There may be secrets in it. */
  readonly answer: object | undefined;
  /** Id of the key of a session that was lent. */
  readonly lentKey?: string;
}

export interface Call {
  readonly account: string;
  readonly region: string;
  readonly service: string;
  readonly operation: string;
  /** Retries and waits included. */
  readonly seconds: number;
  /** For AWS's rates and for other calls. */
  readonly waitedSeconds: number;
  /** AWS's error code; undefined when the call succeeded. */
  readonly error: string | undefined;
}

/** What entering needs to know of a place. */
export interface Entrance {
  /** Of a place that is registered. */
  readonly id?: string;
  readonly accountId: string;
  readonly region: string;
  readonly roleArn: string;
  readonly externalId: string;
  /** Its role's trust is older than tags and source identities of sessions, and would refuse them. */
  readonly original?: boolean | undefined;
  /** The name of the customer's brake @default there is none */
  readonly brakeParameter?: string;
  /** Why nobody enters it @default nothing is known against it */
  readonly suspended?: string;
}

/** What the customer's CloudTrail shows of us. */
export interface Session {
  /** 2-64 characters of `[A-Za-z0-9_=,.@-]`. Sessions of one name share their turns where calls have to wait. */
  readonly name: string;
  /** For which deployment, by its id; for what; and on whose behalf. At most 64 characters each, as in `name`. */
  readonly deployment?: string;
  readonly operation?: string;
  readonly actor?: string;
  /** What of the role's rights it has (`session.ts`), as JSON. @default all */
  readonly policy?: string;
}

export interface EnterOptions {
  /** Somebody waits for the answer: these calls go before all that runs in the background @default false */
  readonly isUrgent?: boolean;
}

/** One thing that whoever is lent a session may do with it. */
export interface Lent {
  readonly actions: readonly string[];
  readonly resources: readonly string[];
}

/** A session policy needs a statement. */
const NOTHING: Lent = { actions: ['sts:GetCallerIdentity'], resources: ['*'] };
const SESSION_SECONDS = 3600;
/** The least that AWS gives: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html */
const LENT_SECONDS = 900;
const REFRESH_BEFORE_SECONDS = 300;
/** The longest that a call waits for its token: then a look says so and comes back, and a request is answered. */
const BACKGROUND_WAIT_SECONDS = 20;
const URGENT_WAIT_SECONDS = 10;
const TIMEOUTS = { connectionTimeout: 5_000, requestTimeout: 30_000, throwOnRequestTimeout: true };
/** How long what runs in the background leaves alone an API that did not answer in time. */
const AWAY_SECONDS = 15;

interface Entered {
  readonly urgent: Account;
  readonly background: Account;
  readonly session: RoleSession;
  usedAt: number;
}

/** Who makes the call at hand: clients are shared by all sessions in an account. */
interface Caller {
  /** Whose credentials sign it. */
  readonly session: RoleSession;
  /** Undefined while a role is assumed. */
  readonly entered?: { readonly place: Entrance; readonly session: Session };
  readonly who: string;
  readonly isUrgent: boolean;
  /** Whatever one call waited, its retries included. */
  waitedSeconds: number;
  /** Of one call, as `Written` has them. */
  requests: Written['requests'][number][];
  unanswered: number;
}
const calling = new AsyncLocalStorage<Caller>();

export class Accounts {
  readonly #options: AccountsOptions;
  readonly #sessions = new Map<string, Entered>();
  /** By account and region, as AWS counts: what one session learns of AWS's rate holds for all. */
  readonly #clients = new Map<string, Account>();
  /** By place. */
  readonly #brakes = new Map<string, Brake>();
  /** Until when, in milliseconds: by account, region and service. */
  readonly #away = new Map<string, number>();
  /** Calls that may be made now, of each account, region and API. */
  readonly rates: Rates;

  constructor(options: AccountsOptions) {
    this.#options = options;
    this.rates = new Rates(options.rates);
  }

  /**
   * Sessions are kept by all that is given of place and session, and renewed in time, also in the middle of somebody's
   * work.
   * @throws PlaceUnavailable with the cause, the role, and what to do
   * @throws Held when the customer has stopped everything there
   */
  async enter(place: Entrance, session: Session, options: EnterOptions = {}): Promise<Account> {
    if (place.suspended !== undefined) throw new PlaceUnavailable(place.suspended, place.roleArn);
    await this.#brake(place)?.mayRead();
    return this.#enter(place, session, options);
  }

  /** @throws Held when the customer has stopped everything there, as far as that can be known */
  async mayEnter(place: Entrance): Promise<void> {
    await this.#brake(place)
      ?.mayRead()
      .catch((error: unknown) => {
        if (!(error instanceof PlaceUnavailable)) throw error;
      });
  }

  /** @throws Held PlaceUnavailable when nothing may be changed there now */
  async mayWrite(place: Entrance): Promise<void> {
    await this.#brake(place)?.mayWrite();
  }

  /** What the customer's brake says; undefined: there is none. @throws PlaceUnavailable */
  async braked(place: Entrance): Promise<Braked | undefined> {
    if (place.suspended !== undefined) throw new PlaceUnavailable(place.suspended, place.roleArn);
    const brake = this.#brake(place);
    if (brake === undefined) await this.#enter(place, BRAKE);
    return brake?.read();
  }

  /**
   * Whether the role lets us in with this external id, asked anew: without tags or source identity, so that it is
   * refused for nothing else. Nothing can be done with what it then gives.
   * @param externalId null: without any
   * @throws PlaceUnavailable when it neither does nor refuses, such as when AWS does not answer
   */
  async accepts(place: Entrance, externalId: string | null): Promise<boolean> {
    try {
      await this.#assume({ ...place, externalId }, { name: 'freehold-probe' }, [NOTHING]);
      return true;
    } catch (error) {
      if (error instanceof PlaceUnavailable && isDenied(error.cause)) return false;
      throw error;
    }
  }

  #brake(place: Entrance): Brake | undefined {
    const { roleArn, externalId, region, brakeParameter } = place;
    if (brakeParameter === undefined) return undefined;
    const key = JSON.stringify([roleArn, externalId, region, brakeParameter]);
    const open = async () => (await this.#enter(place, BRAKE, { isUrgent: true })).ssm;
    const brake = this.#brakes.get(key) ?? new Brake(brakeParameter, open, this.#options.brakeSeconds);
    this.#brakes.set(key, brake);
    return brake;
  }

  async #enter(place: Entrance, session: Session, { isUrgent = false }: EnterOptions = {}): Promise<Account> {
    const { roleArn, externalId, region, original, brakeParameter } = place;
    const key = JSON.stringify([roleArn, externalId, region, original, brakeParameter, session]);
    let entered = this.#sessions.get(key);
    if (entered === undefined) {
      this.#forgetUnused();
      const role = this.#session(place, session);
      const [who, clients] = [session.name, this.#clientsOf(place)];
      const caller = { session: role, entered: { place, session }, who };
      const urgent = as({ ...caller, isUrgent: true }, clients);
      const background = as({ ...caller, isUrgent: false }, clients);
      entered = { urgent, background, session: role, usedAt: 0 };
      this.#sessions.set(key, entered);
    }
    entered.usedAt = Date.now();
    await entered.session();
    return isUrgent ? entered.urgent : entered.background;
  }

  /**
   * The account for somebody else's sake, who waits for it: a session of 15 minutes that may do what the role may and
   * `lent` says, and is not renewed.
   * @throws PlaceUnavailable as `enter`
   * @throws Held as for a write: what somebody else does with it, nobody could hold any more
   */
  async lend(place: Entrance, session: Session, lent: readonly Lent[]): Promise<Account> {
    await this.#mayLend(place);
    const credentials = await this.#lent(place, session, lent);
    const lost = Object.assign(() => Promise.resolve(credentials), { lost: () => {} });
    const caller = { session: lost, entered: { place, session }, who: session.name, isUrgent: true };
    return as(caller, this.#clientsOf(place));
  }

  /**
   * A URL for one PUT of just this object, with this content type, by whoever has it.
   *
   * @param seconds At most the 15 minutes of the session that signs it
   * @throws PlaceUnavailable as `enter`
   * @throws Held as `lend`
   */
  async presignPut(
    place: Entrance,
    session: Session,
    { bucket, key, contentType }: { bucket: string; key: string; contentType: string },
    seconds: number,
  ): Promise<string> {
    await this.#mayLend(place);
    const resources = [`arn:${partitionOf(place.roleArn)}:s3:::${bucket}/${key}`];
    const credentials = await this.#lent(place, session, [{ actions: ['s3:PutObject'], resources }]);
    const s3 = new S3Client({ region: place.region, credentials, ...this.#s3() });
    const put = new PutObjectCommand({ Bucket: bucket, Key: key, ContentType: contentType });
    // A header that is not signed could be any.
    const signed = { expiresIn: seconds, signableHeaders: new Set(['content-type']) };
    return getSignedUrl(s3, put, signed).finally(() => s3.destroy());
  }

  /** Credentials that leave us: what is done with them is done in our name. */
  async #lent(place: Entrance, session: Session, lent: readonly Lent[]): Promise<Credentials> {
    const { accountId: account, region, roleArn } = place;
    const call = { account, region, service: 'sts', operation: 'AssumeRole', input: { RoleArn: roleArn } };
    const end = await this.#options.onWrite?.({ ...call, place, session, lent });
    const nothing = { requests: [], unanswered: 0, answer: undefined };
    try {
      const credentials = await this.#assume(place, session, lent);
      await end?.({ ...nothing, error: undefined, lentKey: credentials.accessKeyId });
      return credentials;
    } catch (error) {
      await end?.({ ...nothing, error: codeOf(error instanceof PlaceUnavailable ? error.cause : error) });
      throw error;
    }
  }

  async #mayLend(place: Entrance): Promise<void> {
    if (place.suspended !== undefined) throw new PlaceUnavailable(place.suspended, place.roleArn);
    await this.mayWrite(place);
  }

  close(): void {
    for (const clients of this.#clients.values()) destroy(clients);
    this.#clients.clear();
    this.#sessions.clear();
    this.#brakes.clear();
  }

  #forgetUnused(): void {
    const limit = Date.now() - SESSION_SECONDS * 1000;
    for (const [key, { usedAt }] of this.#sessions) if (usedAt < limit) this.#sessions.delete(key);
  }

  #clientsOf({ accountId, region }: Entrance): Account {
    const key = `${accountId}/${region}`;
    const clients = this.#clients.get(key) ?? this.#makeClients(accountId, region);
    this.#clients.set(key, clients);
    return clients;
  }

  /** The role's credentials, renewed five minutes before they end; asked for once however many wait for them. */
  #session(place: Entrance, session: Session): RoleSession {
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
    });
  }

  async #assume(
    place: Omit<Entrance, 'externalId'> & { readonly externalId: string | null },
    session: Session,
    lent?: readonly Lent[],
  ): Promise<Credentials> {
    const sts = new STSClient({
      region: place.region,
      credentials: this.#options.credentials,
      requestHandler: TIMEOUTS,
      maxAttempts: 3,
      ...this.#endpoint(),
    });
    this.#watch(sts, 'sts', place.accountId, place.region);
    const assume = async (Tags: Tag[]) => {
      const input = {
        RoleArn: place.roleArn,
        RoleSessionName: session.name,
        ExternalId: place.externalId ?? undefined,
        DurationSeconds: lent ? LENT_SECONDS : SESSION_SECONDS,
        Policy: lent ? policyOf(lent) : session.policy,
        ...(!place.original && { SourceIdentity: session.actor, ...(Tags.length > 0 && { Tags }) }),
      };
      return (await sts.send(new AssumeRoleCommand(input))).Credentials;
    };
    try {
      // How AWS packs policies and tags is not public: the policy matters more, and who asked is not packed.
      const given = await assume(tagsOf(session)).catch((error: unknown) => {
        if (!hasCode(error, 'PackedPolicyTooLarge', 'PackedPolicyTooLargeException')) throw error;
        return assume([]);
      });
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

  #makeClients(id: string, region: string): Account {
    const timeouts = { ...TIMEOUTS, requestTimeout: (this.#options.timeoutSeconds ?? 30) * 1000 };
    const credentials = Object.assign(() => calling.getStore()!.session(), {
      memoized: true, // or the client would keep the first session's
    });
    const config = () => ({
      region,
      credentials,
      retryMode: 'standard', // the SDK's adaptive mode slows all calls of a service for one that is refused
      maxAttempts: 3,
      requestHandler: timeouts,
      ...this.#endpoint(),
    });
    const watched = <C extends Watchable>(service: string, client: C): C => {
      this.#watch(client, service, id, region);
      return client;
    };
    return lazy({
      id: () => id,
      region: () => region,
      ecs: () => watched('ecs', new ECSClient(config())),
      ec2: () => watched('ec2', new EC2Client(config())),
      rds: () => watched('rds', new RDSClient(config())),
      elb: () => watched('elasticloadbalancing', new ElasticLoadBalancingV2Client(config())),
      secrets: () => watched('secretsmanager', new SecretsManagerClient(config())),
      logs: () => watched('logs', new CloudWatchLogsClient(config())),
      logReads: () => {
        const patience = { ...TIMEOUTS, requestTimeout: 8_000 };
        return watched('logs', new CloudWatchLogsClient({ ...config(), requestHandler: patience }));
      },
      discovery: () => watched('servicediscovery', new ServiceDiscoveryClient(config())),
      scaling: () => watched('application-autoscaling', new ApplicationAutoScalingClient(config())),
      ecr: () => watched('ecr', new ECRClient(config())),
      iam: () => watched('iam', new IAMClient(config())),
      s3: () => watched('s3', new S3Client({ ...config(), ...this.#s3() })),
      quotas: () => watched('servicequotas', new ServiceQuotasClient(config())),
      tagging: () => watched('tag', new ResourceGroupsTaggingAPIClient(config())),
      ssm: () => {
        const patience = { ...TIMEOUTS, connectionTimeout: 2_000, requestTimeout: 3_000 };
        return watched('ssm', new SSMClient({ ...config(), maxAttempts: 2, requestHandler: patience }));
      },
      trail: () => watched('cloudtrail', new CloudTrailClient(config())),
      sts: () => watched('sts', new STSClient(config())),
    });
  }

  /** @throws Held PlaceUnavailable when this call may not be made now */
  async #heed({ entered }: Caller, operation: string): Promise<void> {
    // Who comes in has asked already, and the brake's own session would wait for itself.
    if (entered === undefined || entered.session === BRAKE || operation === 'AssumeRole') return;
    const { place } = entered;
    await (isRecorded(operation) ? this.mayWrite(place) : this.#brake(place)?.mayRead());
  }

  #endpoint(): { endpoint?: string; disableHostPrefix?: boolean } {
    const { endpoint } = this.#options;
    // Some APIs put `data-` or the like before the host name, which an emulator's address cannot have.
    return endpoint === undefined ? {} : { endpoint, disableHostPrefix: true };
  }

  /**
   * An emulated account has no name for each bucket. Without the checksum that the SDK adds by default, a signed URL
   * takes any content: it would be the checksum of none.
   */
  #s3() {
    const { endpoint } = this.#options;
    return {
      ...this.#endpoint(),
      forcePathStyle: endpoint !== undefined,
      requestChecksumCalculation: 'WHEN_REQUIRED',
    } as const;
  }

  /**
   * Around every call: heeds the customer's brake, counts it, and names its errors. Around each of its tries: waits for
   * a token of AWS's rate, then for its turn, so that what waits for a token holds up no call that has one; then heeds
   * the brake once more.
   */
  #watch(client: Watchable, service: string, account: string, region: string): void {
    const turns = new Turns(this.#options.concurrency ?? 10);
    const { rates } = this;
    const around: Middleware = (next, context) => (args) => {
      const asked = calling.getStore();
      const mine = { waitedSeconds: 0, requests: [], unanswered: 0 };
      const caller = { session: asked?.session, who: '', isUrgent: true, ...asked, ...mine } as Caller;
      return calling.run(caller, async () => {
        const operation = operationOf(context);
        const call = { account, region, service, operation };
        const { entered } = caller;
        await this.#heed(caller, operation); // or what is held would be written down as done
        const end =
          entered && isRecorded(operation)
            ? await this.#options.onWrite?.({ ...call, ...entered, input: args.input })
            : undefined;
        const started = performance.now();
        let failure: unknown;
        let answer: object | undefined;
        try {
          const answered = await next(args);
          answer = answered.output;
          return answered;
        } catch (error) {
          failure = error;
          if (isSessionLost(error)) caller.session?.lost();
          if (!(error instanceof PlaceUnavailable)) noteCall(error, `${service}:${operation}`);
          throw error;
        } finally {
          const seconds = (performance.now() - started) / 1000;
          const error = failure === undefined ? undefined : codeOf(failure);
          const { waitedSeconds, requests, unanswered } = caller;
          this.#options.onCall?.({ ...call, seconds, waitedSeconds, error });
          await end?.({ error, requests, unanswered, answer });
        }
      });
    };
    const tried: Middleware = (next, context) => async (args) => {
      const caller = calling.getStore()!;
      const { who, isUrgent } = caller;
      const call = { account, region, service, operation: operationOf(context) };
      const started = performance.now();
      // One look found out that it does not answer: the others need not hold a worker for as long, each.
      const key = `${account} ${region} ${service}`;
      if (!isUrgent && started < (this.#away.get(key) ?? 0)) throw new Unanswered();
      const seconds = isUrgent ? URGENT_WAIT_SECONDS : BACKGROUND_WAIT_SECONDS;
      await rates.take({ ...call, who, isUrgent, seconds });
      const end = await turns.take();
      caller.waitedSeconds += (performance.now() - started) / 1000;
      const answered = (id: string | undefined, error?: string): void => {
        if (id === undefined) return;
        caller.unanswered -= 1;
        caller.requests.push({ id, ...(error !== undefined && { error }) });
      };
      try {
        await this.#heed(caller, call.operation); // the wait was long, or this is a later try
        caller.unanswered += 1;
        const answer = await next(args);
        answered(answer.output?.$metadata?.requestId);
        return answer;
      } catch (error) {
        answered((error as { $metadata?: { requestId?: string } }).$metadata?.requestId, codeOf(error));
        if (isThrottled(error)) rates.slowDown(call);
        if (!isUrgent && codeOf(error) === 'ETIMEDOUT') this.#away.set(key, performance.now() + AWAY_SECONDS * 1000);
        throw error;
      } finally {
        end();
      }
    };
    client.middlewareStack.add(around, { step: 'initialize', name: 'freeholdCall', priority: 'high' });
    const after = { relation: 'after', toMiddleware: 'retryMiddleware' };
    client.middlewareStack.addRelativeTo(tried, { ...after, name: 'freeholdTry' });
  }
}

/** As the SDK has it. */
class Unanswered extends Error {
  override readonly name = 'TimeoutError';
  readonly code = 'ETIMEDOUT';
  constructor() {
    super('it did not answer a moment ago');
  }
}

/** Answers with credentials that are good for some minutes more. */
interface RoleSession {
  (): Promise<Credentials>;
  /** AWS does not accept them any more, whatever their time: the next call assumes the role anew. */
  lost(): void;
}

type Middleware = (
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  next: (args: any) => Promise<any>,
  context: { commandName?: string },
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
) => (args: any) => Promise<any>;

interface Watchable {
  readonly middlewareStack: {
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    add(middleware: any, options: any): void;
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    addRelativeTo(middleware: any, options: any): void;
  };
}

/** Of no call that is known to only read; assuming the role is how one comes in, and changes nothing there. */
export const isWrite = (operation: string): boolean => !READS.test(operation);
const READS = /^(AssumeRole$|BatchCheck|BatchGet|Describe|Filter|Get|Head|List|Lookup|Simulate)/;

/**
 * To append to the customer's copy of the audit log is no entry of it, or there would be no end; and it changes nothing
 * that `read-only` holds: the customer looks into it just then.
 */
const COPIES = ['CreateLogStream', 'PutLogEvents'];
const isRecorded = (operation: string): boolean => isWrite(operation) && !COPIES.includes(operation);

const operationOf = ({ commandName = '' }: { commandName?: string }): string => commandName.replace(/Command$/, '');

const partitionOf = (arn: string): string => arn.split(':')[1]!;

/** Of the session: conditions may ask for them, and CloudTrail shows them with the AssumeRole. */
const tagsOf = ({ deployment, operation, actor }: Session): Tag[] =>
  tagList({
    ...(deployment !== undefined && { [TAG.deployment]: deployment }),
    ...(operation !== undefined && { [TAG.operation]: operation }),
    ...(actor !== undefined && { [TAG.actor]: actor }),
  });

const policyOf = (lent: readonly Lent[]): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: lent.map(({ actions, resources }) => ({ Effect: 'Allow', Action: actions, Resource: resources })),
  });

const BRAKE: Session = {
  name: 'freehold-brake',
  operation: 'brake',
  policy: policyOf([{ actions: ['ssm:GetParameter', 'ssm:GetParameterHistory'], resources: ['*'] }]),
};

function unavailable(error: unknown, place: Pick<Entrance, 'roleArn' | 'region'>): PlaceUnavailable {
  const which = `the account cannot be entered: "${place.roleArn}"`;
  const code = codeOf(error);
  const detail = /sts:(TagSession|SetSourceIdentity)/.test(String(error))
    ? 'we may not say on whose behalf we come: allow sts:TagSession and sts:SetSourceIdentity beside sts:AssumeRole, ' +
      "to this control plane's own identity, and in the role's trust policy (deploy the customer's stack again)"
    : isDenied(error)
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

/** The same clients, with every call made by this caller. */
function as(caller: Omit<Caller, 'waitedSeconds' | 'requests' | 'unanswered'>, clients: Account): Account {
  const view = <K extends Exclude<keyof Account, 'id' | 'region'>>(name: K) => {
    const client = clients[name];
    const send = (...call: unknown[]): unknown =>
      calling.run({ ...caller, waitedSeconds: 0, requests: [], unanswered: 0 }, () =>
        (client.send as (...call: unknown[]) => unknown).apply(client, call),
      );
    return Object.assign(Object.create(client) as Account[K], { send });
  };
  return lazy({
    id: () => clients.id,
    region: () => clients.region,
    ecs: () => view('ecs'),
    ec2: () => view('ec2'),
    rds: () => view('rds'),
    elb: () => view('elb'),
    secrets: () => view('secrets'),
    logs: () => view('logs'),
    logReads: () => view('logReads'),
    discovery: () => view('discovery'),
    scaling: () => view('scaling'),
    ecr: () => view('ecr'),
    iam: () => view('iam'),
    s3: () => view('s3'),
    quotas: () => view('quotas'),
    tagging: () => view('tagging'),
    ssm: () => view('ssm'),
    trail: () => view('trail'),
    sts: () => view('sts'),
  });
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
