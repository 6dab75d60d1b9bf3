/**
 * How fast AWS lets us call: its token buckets, kept on our side, so that a call waits for its token here instead of
 * being refused there. A bucket is an account's, a region's and a group of calls', as AWS has it; ours are a part of
 * AWS's, for the customer's own tools call the same APIs.
 *
 * Whoever waits is served in turn, one call of each deployment at a time: one with many calls does not delay the
 * others. People who wait for an answer go before what runs in the background.
 */

interface Rate {
  readonly name: string;
  readonly operations: RegExp;
  /** The bucket's size. */
  readonly burst: number;
  /** Tokens that come back each second. */
  readonly refill: number;
  /** Every operation has such a bucket of its own. */
  readonly each?: true;
}

interface Service {
  /** Where AWS says so. */
  readonly page: string;
  readonly rates: readonly Rate[];
}

const rate = (name: string, operations: RegExp, burst: number, refill = burst): Rate => ({
  name,
  operations,
  burst,
  refill,
});
const each = (operations: RegExp, burst: number, refill = burst): Rate => ({
  ...rate('', operations, burst, refill),
  each: true,
});

const READ = /^(BatchGet|Describe|Get|List|Simulate)/;
const ANY = /^/;

/** The first row that fits. What AWS publishes nothing about has the last two, of each service. */
export const RATES: Readonly<Record<string, Service>> = {
  ecs: {
    page: 'https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html',
    rates: [
      rate('cluster read', /^(DescribeClusters|ListClusters)$/, 50, 20),
      rate('RegisterTaskDefinition', /^RegisterTaskDefinition$/, 20, 1),
      rate('task definition read', /^(DescribeTaskDefinition|ListTaskDefinitions|ListTaskDefinitionFamilies)$/, 50, 20),
      rate('DeleteTaskDefinitions', /^DeleteTaskDefinitions$/, 5, 1),
      rate('service write', /^(CreateService|UpdateService|DeleteService)$/, 50, 5),
      rate('service read', /^(DescribeServices|ListServices)$/, 100, 20),
      rate('service deployment read', /^(DescribeServiceDeployments|ListServiceDeployments)$/, 50, 20),
      rate('DescribeServiceRevisions', /^DescribeServiceRevisions$/, 50, 20),
      rate('task write', /^(RunTask|StartTask|StopTask|ExecuteCommand)$/, 100, 40),
      rate('task read', /^(DescribeTasks|ListTasks)$/, 100, 20),
      rate('tags', /^(TagResource|UntagResource|ListTagsForResource)$/, 20, 10),
    ],
  },
  ec2: {
    page: 'https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html',
    rates: [each(READ, 100, 20), each(ANY, 50, 5)],
  },
  elasticloadbalancing: {
    page: 'https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-throttling.html',
    rates: [rate('read', /^Describe/, 40, 10), rate('write', ANY, 40)],
  },
  secretsmanager: {
    page: 'https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html',
    rates: [
      rate('versions', /^(PutSecretValue|UpdateSecret|UpdateSecretVersionStage)$/, 50),
      rate('tags', /^(TagResource|UntagResource)$/, 50),
      each(/^(CreateSecret|DeleteSecret|RestoreSecret|ListSecretVersionIds)$/, 50),
      rate('ListSecrets', /^ListSecrets$/, 100),
      rate('DescribeSecret', /^DescribeSecret$/, 40_000),
    ],
  },
  logs: {
    page: 'https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html',
    rates: [
      each(/^(CreateLogGroup|DeleteLogGroup|DescribeLogGroups)$/, 10),
      rate('FilterLogEvents', /^FilterLogEvents$/, 5),
      each(/^(DescribeLogStreams|GetLogEvents)$/, 25),
    ],
  },
  ecr: {
    page: 'https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html',
    rates: [rate('GetAuthorizationToken', /^GetAuthorizationToken$/, 500)],
  },
  sts: {
    page: 'https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html',
    rates: [rate('requests', ANY, 600)],
  },
  tag: {
    page: 'https://docs.aws.amazon.com/general/latest/gr/arg.html',
    rates: [rate('GetResources', /^GetResources$/, 15), rate('others', ANY, 5)],
  },
  cloudtrail: {
    page: 'https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html',
    rates: [rate('LookupEvents', /^LookupEvents$/, 2)],
  },
  s3: {
    page: 'https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html',
    rates: [rate('writes', /^(Put|Copy|Post|Delete)/, 3500), rate('reads', ANY, 5500)],
  },
};

/** AWS publishes none of RDS, IAM, Cloud Map, Auto Scaling, Service Quotas: ours, as small as its other numbers. */
const UNPUBLISHED: readonly Rate[] = [rate('read', READ, 20, 10), rate('write', ANY, 10, 5)];

export function rateOf(service: string, operation: string): Rate {
  const row = [...(RATES[service]?.rates ?? []), ...UNPUBLISHED].find(({ operations }) => operations.test(operation))!;
  return row.each ? { ...row, name: operation } : row;
}

/** A call was not made, since its turn did not come in time. Nothing is wrong: it is tried again. */
export class RateWait extends Error {
  constructor(call: string) {
    super(`waits for AWS's rate: ${call}`);
    this.name = 'RateWait';
  }
}

export interface RatesOptions {
  /** Of AWS's rates, how much is ours @default 0.8 */
  readonly share?: number;
  /** How much faster time goes in an emulated account @default 1 */
  readonly pace?: number;
  /** Of this process, in milliseconds @default performance.now */
  readonly now?: () => number;
  /** @default setTimeout */
  readonly later?: (act: () => void, milliseconds: number) => void;
}

export interface Wanted {
  readonly account: string;
  readonly region: string;
  readonly service: string;
  readonly operation: string;
  /** For whom: calls of others come in between. */
  readonly who: string;
  /** Whether somebody waits for the answer. */
  readonly isUrgent: boolean;
  /** How long it may wait. */
  readonly seconds: number;
}

/** What calls to one bucket went through. */
export interface Waits {
  readonly account: string;
  readonly region: string;
  /** `ecs RegisterTaskDefinition`, `ecs service read` */
  readonly api: string;
  calls: number;
  /** How many of them had to wait, how long in all, and the longest. */
  waited: number;
  waitedSeconds: number;
  longestSeconds: number;
  /** Those whose turn did not come in time. */
  givenUp: number;
  /** AWS's refusals. */
  throttled: number;
}

export class Rates {
  readonly #options: Required<RatesOptions>;
  readonly #buckets = new Map<string, Bucket>();
  #waits = new Map<string, Waits>();

  constructor(options: RatesOptions = {}) {
    this.#options = {
      share: options.share ?? 0.8,
      pace: options.pace ?? 1,
      now: options.now ?? (() => performance.now()),
      later: options.later ?? ((act, milliseconds) => void setTimeout(act, milliseconds)),
    };
  }

  /** Resolves when the call may be made. @throws RateWait when that takes too long */
  async take(wanted: Wanted): Promise<void> {
    const before = this.#options.now();
    const { bucket, waits } = this.#of(wanted);
    waits.calls += 1;
    const isInTime = await bucket.take(wanted);
    const seconds = (this.#options.now() - before) / 1000;
    if (seconds > 0.001) waits.waited += 1;
    waits.waitedSeconds += seconds;
    waits.longestSeconds = Math.max(waits.longestSeconds, seconds);
    if (isInTime) return;
    waits.givenUp += 1;
    throw new RateWait(`${wanted.service}:${wanted.operation}`);
  }

  /** AWS refused a call all the same: others call, too, or the account has smaller rates. We go on more slowly. */
  slowDown(wanted: Omit<Wanted, 'who' | 'isUrgent' | 'seconds'>): void {
    const { bucket, waits } = this.#of(wanted);
    waits.throttled += 1;
    bucket.slowDown();
  }

  /** Since this was asked for the last time. Buckets that have long been full are forgotten. */
  waits(): Waits[] {
    const found = [...this.#waits.values()];
    this.#waits = new Map();
    for (const [key, bucket] of this.#buckets) if (bucket.isIdle()) this.#buckets.delete(key);
    return found;
  }

  #of({ account, region, service, operation }: Omit<Wanted, 'who' | 'isUrgent' | 'seconds'>): {
    bucket: Bucket;
    waits: Waits;
  } {
    const { name, burst, refill } = rateOf(service, operation);
    const key = `${account} ${region} ${service} ${name}`;
    const { share, pace } = this.#options;
    // At least one token: a share of little is still to get through.
    const bucket =
      this.#buckets.get(key) ?? new Bucket(Math.max(1, burst * share), refill * share * pace, this.#options);
    this.#buckets.set(key, bucket);
    const none = { calls: 0, waited: 0, waitedSeconds: 0, longestSeconds: 0, givenUp: 0, throttled: 0 };
    const waits = this.#waits.get(key) ?? { account, region, api: `${service} ${name}`, ...none };
    this.#waits.set(key, waits);
    return { bucket, waits };
  }
}

/** A refusal halves our rate, down to this part of it; each quiet second gives back a twentieth. */
const SLOWEST = 1 / 16;
const RECOVERS_SECONDS = 20;

interface Waiting {
  readonly until: number;
  readonly answer: (isInTime: boolean) => void;
}

class Bucket {
  readonly #burst: number;
  readonly #refill: number;
  readonly #options: Required<RatesOptions>;
  #tokens: number;
  #at: number;
  /** The part of our rate that AWS grants just now. */
  #part = 1;
  #slowedAt = -Infinity;
  readonly #urgent = new Line();
  readonly #background = new Line();
  /** When it serves again by itself. */
  #wakesAt = Infinity;

  constructor(burst: number, refill: number, options: Required<RatesOptions>) {
    this.#burst = burst;
    this.#refill = refill;
    this.#options = options;
    this.#tokens = burst;
    this.#at = options.now();
  }

  /** @returns whether its turn came in time */
  take({ who, isUrgent, seconds }: Wanted): Promise<boolean> {
    return new Promise((answer) => {
      (isUrgent ? this.#urgent : this.#background).add(who, { until: this.#options.now() + seconds * 1000, answer });
      this.#serve();
    });
  }

  slowDown(): void {
    const now = this.#options.now();
    this.#fill();
    this.#tokens = Math.min(this.#tokens, 0);
    // The refusals of calls that were under way together are one piece of news.
    if (now - this.#slowedAt < 1000 / this.#options.pace) return;
    this.#slowedAt = now;
    this.#part = Math.max(SLOWEST, this.#part / 2);
  }

  isIdle(): boolean {
    this.#fill();
    return this.#tokens >= this.#burst && this.#part === 1;
  }

  #fill(): void {
    const now = this.#options.now();
    const seconds = (now - this.#at) / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + seconds * this.#refill * this.#part);
    this.#part = Math.min(1, this.#part + (seconds * this.#options.pace) / RECOVERS_SECONDS);
    this.#at = now;
  }

  #serve(): void {
    this.#fill();
    const now = this.#options.now();
    for (const line of [this.#urgent, this.#background]) line.dropLate(now);
    while (this.#tokens >= 1) {
      const next = this.#urgent.next() ?? this.#background.next();
      if (next === undefined) return;
      this.#tokens -= 1;
      next.answer(true);
    }
    const refilled = now + ((1 - this.#tokens) / (this.#refill * this.#part)) * 1000;
    const ends = Math.min(this.#urgent.ends(), this.#background.ends());
    const wakesAt = Math.min(refilled, ends);
    if (ends === Infinity || wakesAt >= this.#wakesAt) return;
    this.#wakesAt = wakesAt;
    this.#options.later(
      () => {
        this.#wakesAt = Infinity;
        this.#serve();
      },
      Math.max(1, Math.ceil(wakesAt - now)),
    );
  }
}

/** Who waits, in the order of their last turns; each with his own calls in order. */
class Line {
  readonly #waiting = new Map<string, Waiting[]>();

  add(who: string, waiting: Waiting): void {
    const mine = this.#waiting.get(who);
    if (mine === undefined) this.#waiting.set(who, [waiting]);
    else mine.push(waiting);
  }

  next(): Waiting | undefined {
    const first = this.#waiting.entries().next();
    if (first.done) return undefined;
    const [who, mine] = first.value;
    const next = mine.shift();
    this.#waiting.delete(who); // and to the end of the line, with what else there is
    if (mine.length > 0) this.#waiting.set(who, mine);
    return next;
  }

  dropLate(now: number): void {
    for (const [who, mine] of this.#waiting) {
      const inTime = mine.filter(({ until }) => until > now);
      if (inTime.length === mine.length) continue;
      if (inTime.length > 0) this.#waiting.set(who, inTime);
      else this.#waiting.delete(who);
      for (const { until, answer } of mine) if (until <= now) answer(false);
    }
  }

  /** When the first of them has waited too long. */
  ends(): number {
    return Math.min(...[...this.#waiting.values()].flat().map(({ until }) => until));
  }
}
