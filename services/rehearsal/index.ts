/**
 * Starts and drives an emulated AWS account (the Python package in ./account). Loopback only; it dies with the
 * process that started it.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

/** One AWS call as the emulated account saw it. Never carries values of secrets or passwords. */
export interface Call {
  /** Position in the log, from 1. */
  n: number;
  /** Seconds since 1970. */
  at: number;
  account: string;
  region: string;
  /** ARN of who called, '' when the credentials were refused. */
  principal: string;
  /** Role session name, '' for users and root. */
  session: string;
  /** IAM's service prefix: ecs, rds, ec2, … */
  service: string;
  action: string;
  /** ARN, name or identifier in the request; '*' when it names none. */
  resource: string;
  seconds: number;
  /** HTTP status; 0 when the connection was cut on purpose. */
  status: number;
  /** AWS's error code, '' on success. */
  error: string;
  /** What allowed or denied it. */
  why: string;
  /** Each action that IAM was asked for, more than one where a call also tags or passes a role; and what decided it. */
  checks: [action: string, by: string][];
  /** The AWS service that made the call for the principal, '' for a call over HTTP. */
  via: string;
}

/** An event in EventBridge's envelope. */
export interface AwsEvent {
  id: string;
  time: string;
  source: string;
  'detail-type': string;
  account: string;
  region: string;
  resources: string[];
  detail: Record<string, unknown>;
}

/**
 * A fault: every field of the first group that is given must match; then one thing happens. A fault that has no effect,
 * more than one, or a wrong value is refused, naming the field.
 */
export interface Fault {
  /** IAM's service prefix. */
  service?: string;
  /** Regular expression, whole name: `Create.*`. */
  action?: string;
  /** Regular expression, anywhere in the call's resource. */
  resource?: string;
  account?: string;
  /** Only from the nth matching call on, counted from 1 @default 1 */
  nth?: number;
  /** How many calls it hits @default without end */
  times?: number;
  /** Chance of each matching call to be hit @default 1 */
  probability?: number;
  /** Where that chance comes from @default the account's seed */
  seed?: number;
  /** It ends after so long, not divided by any pace @default it stays */
  forSeconds?: number;

  /** AWS's error code, e.g. ServerException. */
  code?: string;
  /** HTTP status @default 400 */
  status?: number;
  message?: string;
  /** Too many requests, in the service's own words. */
  throttle?: boolean;
  /** The whole service is out of order: 503. */
  down?: boolean;
  /** The connection is closed without an answer @default false */
  cut?: boolean;
  /** No answer until the caller gives up @default false */
  timeout?: boolean;
  /** It stands still until it is let go, and then goes on as if nothing had been; see `hold` @default false */
  hold?: boolean;
  /**
   * The first so many of the same read after a write are answered as before it, or as if nothing were there; then
   * rightly.
   */
  stale?: number;
  /** The account is blocked: its calls are refused and nobody takes a role in it. */
  suspended?: boolean;
  /** Actions that a service control policy denies: `ecs:Create*`. */
  deniedByOrganization?: string;
  /** With code, status, cut, timeout or hold: the call takes effect first @default false */
  after?: boolean;
  /** Waits this long first, not divided by any pace; the only thing that goes with others, or alone. */
  delaySeconds?: number;
}

export interface Hold {
  /**
   * The call, once it stands still.
   * @throws Error when none does within so long
   */
  reached(seconds: number): Promise<Call>;
  /** Lets it go on, and holds no other. What was dropped by its caller stays so. */
  release(): Promise<void>;
}

export interface CapacityLack {
  account: string;
  /** @default us-east-1 */
  region?: string;
  /** @default either */
  provider?: 'FARGATE' | 'FARGATE_SPOT';
  /** An availability zone's name @default every */
  zone?: string;
  /** How many tasks can still be placed @default 0 */
  tasks?: number;
}

export interface AddressLack {
  account: string;
  /** @default us-east-1 */
  region?: string;
  subnetId: string;
  freeAddresses: number;
}

export interface Rehearsal {
  /** http://127.0.0.1:PORT: every AWS API, and the proxy for the balancers' DNS names. */
  readonly endpoint: string;
  /** How many times shorter AWS's own waits are, and how many times faster its request rates come back. */
  readonly pace: number;
  /** Root of an account: for the customer's own acts. Any 12 digits are an account. */
  root(account: string): Credentials;
  /** An IAM user with an access key, and one inline policy or as many managed ones as there are documents. */
  createUser(account: string, name: string, policy: object | readonly object[]): Promise<Credentials>;
  /**
   * Puts an image reference into an account's registry; makes the repository when it is missing. `image` is an entry
   * of the catalogue.
   */
  pushImage(push: {
    account: string;
    region: string;
    repository: string;
    tag?: string;
    image: string;
    env?: Record<string, string>;
  }): Promise<{ uri: string; digest: string }>;
  /**
   * One call of a service that speaks JSON, as an account's root. `target` is its X-Amz-Target.
   * @throws Error with the answer, when it is not 2xx
   */
  json(account: string, region: string, service: string, target: string, input: object): Promise<unknown>;
  /** A managed policy's document as it is now, read as an account's root; by ARN, of each that a role has attached. */
  policiesOf(account: string, role: string): Promise<Record<string, { Statement: unknown[] }>>;
  calls(after?: number): Promise<Call[]>;
  clearCalls(): Promise<void>;
  /** All that IAM was told is seen by the other services now, not some seconds later. */
  settle(): Promise<void>;
  /** What AWS's services told EventBridge, whether a rule wanted it or not; the last 2,000. */
  events(account?: string): Promise<AwsEvent[]>;
  fault(...faults: Fault[]): Promise<void>;
  /**
   * Stops a call just before it takes effect or, with `after`, just before it is answered: whoever made it can be
   * killed there, or the world changed.
   */
  hold(which: Omit<Fault, 'hold'>): Promise<Hold>;
  clearFaults(): Promise<void>;
  reset(): Promise<void>;
  processes(): Promise<Record<string, unknown>[]>;
  /** Ends a task's or a database's process from outside, without AWS's knowledge. */
  kill(which: { account: string; taskArn?: string; database?: string; signal?: string }): Promise<void>;
  /** Fargate Spot takes a task's capacity back, with its warning. */
  interrupt(taskArn: string): Promise<void>;
  /**
   * AWS announces that the platform under a task is retired, and retires it `days` later.
   *
   * @param days Default: the account's setting, 7
   */
  retire(taskArn: string, days?: number): Promise<void>;
  /** The kernel kills a task's container for want of memory @default its first one that runs */
  outOfMemory(taskArn: string, container?: string): Promise<void>;
  /** Takes away Fargate's capacity, or a subnet's addresses, until `clearCapacity`. */
  capacity(lack: CapacityLack | AddressLack): Promise<void>;
  clearCapacity(account: string): Promise<void>;
  /** Emulated DNS names and the loopback addresses behind them. */
  names(): Promise<Record<string, string>>;
  /** What RDS's bundle of certificates is on AWS: signs those of all databases. PEM. */
  databaseCa(): Promise<string>;
  /**
   * A server of this machine, on a port of 127.0.0.1, becomes one on the internet by that name. Tasks that start from
   * now on reach it on any port, as far as their way out goes.
   */
  outside(name: string, port: number): Promise<void>;
  /**
   * Whether the live rules of the network would let a connection through: '' or why it would be dropped. `from` and
   * `to` are ARNs of tasks, databases and load balancers, interfaces that might be, or IP addresses; with `service`
   * the question is whether it gets to a service of AWS (`ecr.api`, `logs`, …) or to the `internet`.
   */
  reach(question: {
    account: string;
    region: string;
    from: string | InterfaceLike;
    to?: string | InterfaceLike;
    port?: number;
    service?: string;
  }): Promise<string>;
  /** Through the proxy, for http://….elb.amazonaws.com/ and http://….dkr.ecr.….amazonaws.com/v2/; the body streams. */
  fetch(url: string, init?: ProxyInit): Promise<Response>;
  /**
   * Lets time pass at once: durations, windows, expiry and retention, not what belongs to processes. Answers the
   * account's time, seconds since 1970.
   */
  skip(seconds: number): Promise<number>;
  /** Sets a quota of an account (`L-…`): low, so that a test reaches it soon. */
  quota(account: string, code: string, value: number): Promise<void>;
  stop(): Promise<void>;
}

export interface InterfaceLike {
  /** What it is called in the answer @default interface x */
  what?: string;
  subnet: string;
  /** @default the VPC's default one */
  groups?: string[];
  publicIp?: boolean;
}

export interface ProxyInit {
  /** The IP address that the request comes from @default one on the internet; in the VPC for an internal one */
  from?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  signal?: AbortSignal;
}

export interface RehearsalOptions {
  /** Divides AWS's own durations @default 1, as slow as AWS */
  pace?: number;
  /** Divides timers that the caller configured (health checks, deregistration delay) @default 1 */
  timerPace?: number;
  /** All chance comes from it: jitter, the order of lists, ids @default the same in every run */
  seed?: number;
  /**
   * Reads that come too early see what was before, for some seconds divided by the pace, as on AWS. A number makes it
   * that many times longer @default false: what is written is read at once
   */
  lag?: boolean | number;
  /**
   * Request rates are enforced as AWS publishes them; bursts are real, what refills them follows the pace
   * @default true
   */
  throttle?: boolean;
  /** Tasks get networks of their own where the machine permits it @default true */
  namespaces?: boolean;
  /** @default any free one */
  port?: number;
  /** Path of the images catalogue @default services/rehearsal/images/catalogue.json */
  catalogue?: string;
  /** File that the emulator's output is appended to @default none */
  log?: string;
  /** State of this run @default a temporary directory, removed at the end */
  directory?: string;
  /**
   * Directory with initdb and postgres @default as services/postgres.ts finds them; without them RDS has no server
   * behind it
   */
  postgres?: string;
}

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const PYTHON = join(ROOT, '.cache', 'python', 'rehearsal', 'bin', 'python');
const START_LIMIT_MS = 20_000;

/** @throws Error when the Python environment is missing or the emulator does not start. */
export async function startRehearsal(options: RehearsalOptions = {}): Promise<Rehearsal> {
  if (!existsSync(PYTHON))
    throw new Error(
      `The emulated account's Python environment is missing (${PYTHON}). Run \`npm start\` or \`npm test\` once: they install it.`,
    );
  for (const name of ['pace', 'timerPace'] as const) {
    const value = options[name] ?? 1;
    if (!(Number.isFinite(value) && value > 0)) throw new Error(`${name}: not a number above 0: ${value}`);
  }
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'rehearsal-'));
  const output = options.log ? openSync(options.log, 'a') : undefined;
  const child = spawn(PYTHON, [join(ROOT, 'services', 'rehearsal', 'account')], {
    cwd: ROOT,
    detached: true, // Ctrl-C in the terminal goes to us, not to it: it ends when we say so, or when we are gone
    stdio: ['ignore', output ?? 'ignore', output ?? 'ignore', 'pipe'],
    // A clean environment: an AWS endpoint or key of ours inside would turn the emulator's own calls outward.
    env: {
      PATH: [dirname(process.execPath), process.env['PATH'] ?? ''].join(delimiter), // inline Node functions run on our Node
      HOME: process.env['HOME'],
      LANG: process.env['LANG'] ?? 'C.UTF-8',
      LOG_LEVEL: process.env['REHEARSAL_LOG_LEVEL'] ?? 'WARNING',
      REHEARSAL_PORT: String(options.port ?? 0),
      REHEARSAL_DIR: directory,
      REHEARSAL_TEMPORARY: options.directory ? '' : '1', // we may be killed
      REHEARSAL_PACE: String(options.pace ?? 1),
      REHEARSAL_TIMER_PACE: String(options.timerPace ?? 1),
      REHEARSAL_SEED: options.seed === undefined ? '' : String(options.seed),
      REHEARSAL_NAMESPACES: options.namespaces === false ? 'off' : '',
      REHEARSAL_LAG: String(Number(options.lag ?? false)),
      REHEARSAL_THROTTLE: options.throttle === false ? 'off' : '',
      REHEARSAL_CATALOGUE: options.catalogue ?? '',
      REHEARSAL_PGBIN: options.postgres ?? (await postgresBinaries()),
      REHEARSAL_PARENT: String(process.pid),
      REHEARSAL_READY_FD: '3',
    },
  });
  if (output !== undefined) closeSync(output);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    child.ref();
    child.kill('SIGTERM');
    await ended;
    if (!options.directory) rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    const port = await readyPort(child.stdio[3] as Readable, ended);
    child.unref();
    return drive(`http://127.0.0.1:${port}`, options.pace ?? 1, stop);
  } catch (error) {
    await stop();
    throw new Error(
      `The emulated account did not start${options.log ? `: ${tail(options.log)}` : '; give `log` a file to see why'}`,
      { cause: error },
    );
  }
}

/** The same, for one that is already running; `stop` leaves it running. */
export async function attachRehearsal(endpoint: string): Promise<Rehearsal> {
  const health = await fetch(`${endpoint}/_rehearsal/health`);
  if (!health.ok) throw new Error(`${endpoint} is not an emulated account`);
  const clock = await fetch(`${endpoint}/_rehearsal/clock`);
  const { pace } = (await clock.json()) as { pace: number };
  return drive(endpoint.replace(/\/$/, ''), pace, async () => {});
}

function mustBeAccount(account: string): void {
  if (!/^\d{12}$/.test(account)) throw new Error(`not an account's 12 digits: ${JSON.stringify(account)}`);
}

async function postgresBinaries(): Promise<string> {
  const module = join(ROOT, 'services', 'postgres.ts');
  if (!existsSync(module)) return '';
  const { postgresBinaries: find } = (await import(module)) as { postgresBinaries: () => string | Promise<string> };
  return find();
}

async function readyPort(pipe: Readable, ended: Promise<void>): Promise<number> {
  let text = '';
  const line = new Promise<number>((resolve, reject) => {
    pipe.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('\n')) resolve((JSON.parse(text) as { port: number }).port);
    });
    pipe.on('end', () => reject(new Error('it ended')));
    void ended.then(() => reject(new Error('it ended')));
    setTimeout(() => reject(new Error(`no answer in ${START_LIMIT_MS / 1000} s`)), START_LIMIT_MS).unref();
  });
  try {
    return await line;
  } finally {
    pipe.destroy();
  }
}

function tail(path: string): string {
  return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-3).join(' | ');
}

function drive(endpoint: string, pace: number, stop: () => Promise<void>): Rehearsal {
  async function own(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(`${endpoint}/_rehearsal${path}`, {
      method,
      body: body === undefined ? null : JSON.stringify(body),
    });
    const value = (await answer.json()) as { error?: string };
    if (!answer.ok) throw new Error(`${method} ${path}: ${value.error}`);
    return value;
  }

  /** An account's root, whose signature the emulator does not check: no SDK is needed to prepare a scene. */
  async function asRoot(
    account: string,
    region: string,
    service: string,
    headers: Record<string, string>,
    body: string,
  ): Promise<string> {
    const scope = `${account}/${new Date().toISOString().slice(0, 10).replaceAll('-', '')}/${region}/${service}/aws4_request`;
    const authorization = `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0`;
    const answer = await fetch(endpoint, { method: 'POST', headers: { ...headers, authorization }, body });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${service}: ${answer.status} ${text}`);
    return text;
  }
  const iam = (account: string, form: Record<string, string>): Promise<string> =>
    asRoot(
      account,
      'us-east-1',
      'iam',
      { 'content-type': 'application/x-www-form-urlencoded' },
      new URLSearchParams({ ...form, Version: '2010-05-08' }).toString(),
    );
  const json: Rehearsal['json'] = async (account, region, service, target, input) =>
    JSON.parse(
      await asRoot(
        account,
        region,
        service,
        { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target },
        JSON.stringify(input),
      ),
    );
  const ecr = (account: string, region: string, action: string, input: object): Promise<unknown> =>
    json(account, region, 'ecr', `AmazonEC2ContainerRegistry_V20150921.${action}`, input);

  return {
    endpoint,
    pace,
    root: (account) => {
      mustBeAccount(account);
      return { accessKeyId: account, secretAccessKey: 'test' };
    },
    async createUser(account, name, policy) {
      mustBeAccount(account);
      await iam(account, { Action: 'CreateUser', UserName: name });
      for (const [at, document] of [policy].flat().entries()) {
        const PolicyDocument = JSON.stringify(document);
        if (!Array.isArray(policy)) {
          await iam(account, { Action: 'PutUserPolicy', UserName: name, PolicyName: name, PolicyDocument });
          continue;
        }
        const PolicyName = `${name}-${at + 1}`;
        await iam(account, { Action: 'CreatePolicy', PolicyName, PolicyDocument });
        const PolicyArn = `arn:aws:iam::${account}:policy/${PolicyName}`;
        await iam(account, { Action: 'AttachUserPolicy', UserName: name, PolicyArn });
      }
      const key = await iam(account, { Action: 'CreateAccessKey', UserName: name });
      const field = (tag: string): string => {
        const found = new RegExp(`<${tag}>([^<]+)</${tag}>`).exec(key)?.[1];
        if (!found) throw new Error(`CreateAccessKey answered no ${tag}`);
        return found;
      };
      await own('POST', '/iam/settle');
      return { accessKeyId: field('AccessKeyId'), secretAccessKey: field('SecretAccessKey') };
    },
    async pushImage({ account, region, repository, tag = 'latest', image, env = {} }) {
      await ecr(account, region, 'CreateRepository', { repositoryName: repository }).catch((error: unknown) => {
        if (!String(error).includes('RepositoryAlreadyExistsException')) throw error;
      });
      const manifest = {
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: { mediaType: 'application/vnd.oci.image.config.v1+json', size: 2, digest: `sha256:${'0'.repeat(64)}` },
        layers: [],
        annotations: { 'rehearsal.image': image, 'rehearsal.env': JSON.stringify(env) },
      };
      const put = await ecr(account, region, 'PutImage', {
        repositoryName: repository,
        imageTag: tag,
        imageManifest: JSON.stringify(manifest),
        imageManifestMediaType: manifest.mediaType,
      }).catch(async (error: unknown) => {
        if (!String(error).includes('ImageAlreadyExistsException')) throw error;
        return ecr(account, region, 'BatchGetImage', { repositoryName: repository, imageIds: [{ imageTag: tag }] });
      });
      const answer = put as { image?: Pushed; images?: Pushed[] };
      const digest = (answer.image ?? answer.images?.[0])?.imageId.imageDigest;
      if (!digest) throw new Error(`the registry answered no digest: ${JSON.stringify(put)}`);
      return { uri: `${account}.dkr.ecr.${region}.amazonaws.com/${repository}@${digest}`, digest };
    },
    json,
    async policiesOf(account, role) {
      const attached = await iam(account, { Action: 'ListAttachedRolePolicies', RoleName: role });
      const documents: Record<string, { Statement: unknown[] }> = {};
      for (const [, arn = ''] of attached.matchAll(/<PolicyArn>([^<]+)</g)) {
        const policy = await iam(account, { Action: 'GetPolicy', PolicyArn: arn });
        const version = /<DefaultVersionId>([^<]+)</.exec(policy)?.[1] ?? 'v1';
        const answer = await iam(account, { Action: 'GetPolicyVersion', PolicyArn: arn, VersionId: version });
        documents[arn] = JSON.parse(decodeURIComponent(/<Document>([^<]+)</.exec(answer)?.[1] ?? '{"Statement":[]}'));
      }
      return documents;
    },
    calls: async (after = 0) => ((await own('GET', `/calls?after=${after}`)) as { calls: Call[] }).calls,
    events: async (account) =>
      ((await own('GET', `/events${account ? `?account=${account}` : ''}`)) as { events: AwsEvent[] }).events,
    settle: async () => void (await own('POST', '/iam/settle')),
    clearCalls: async () => void (await own('DELETE', '/calls')),
    fault: async (...faults) => void (await own('POST', '/faults', faults)),
    async hold(which) {
      const { added } = (await own('POST', '/faults', [{ ...which, hold: true }])) as { added: number[] };
      const id = added[0]!;
      const held = async (): Promise<Call[]> => ((await own('GET', `/faults/held?id=${id}`)) as { held: Call[] }).held;
      return {
        async reached(seconds) {
          for (const deadline = Date.now() + seconds * 1000; ;) {
            const late = new Promise<Call[]>((resolve) => setTimeout(resolve, deadline - Date.now(), []).unref());
            const [call] = await Promise.race([held(), late]);
            if (call !== undefined) return call;
            if (Date.now() >= deadline) throw new Error(`no such call within ${seconds} s: ${JSON.stringify(which)}`);
          }
        },
        release: async () => void (await own('DELETE', `/faults?id=${id}`)),
      };
    },
    clearFaults: async () => void (await own('DELETE', '/faults')),
    reset: async () => void (await own('POST', '/reset')),
    processes: async () => ((await own('GET', '/processes')) as { processes: Record<string, unknown>[] }).processes,
    kill: async (which) => void (await own('POST', '/processes/kill', which)),
    interrupt: async (taskArn) => void (await own('POST', '/tasks/interrupt', { taskArn })),
    retire: async (taskArn, days) => void (await own('POST', '/tasks/retire', { taskArn, days })),
    outOfMemory: async (taskArn, container) => void (await own('POST', '/tasks/out-of-memory', { taskArn, container })),
    capacity: async (lack) => void (await own('POST', '/capacity', lack)),
    clearCapacity: async (account) => void (await own('DELETE', `/capacity?account=${account}`)),
    names: async () => (await own('GET', '/names')) as Record<string, string>,
    databaseCa: async () => ((await own('GET', '/rds-ca')) as { pem: string }).pem,
    outside: async (name, port) => void (await own('POST', '/outside', { name, port })),
    reach: async (question) => ((await own('POST', '/reach', question)) as { why: string }).why,
    fetch: (url, init = {}) => throughProxy(endpoint, url, init),
    quota: async (number, code, value) => void (await own('POST', '/quotas', { account: number, code, value })),
    skip: async (seconds) => ((await own('POST', '/clock', { skipSeconds: seconds })) as { now: number }).now,
    stop,
  };
}

interface Pushed {
  imageId: { imageDigest: string };
}

/** fetch() cannot be given a proxy without a dependency; node:http can: the request's target is the whole URL. */
function throughProxy(endpoint: string, url: string, init: ProxyInit): Promise<Response> {
  const proxy = new URL(endpoint);
  const target = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      {
        host: proxy.hostname,
        port: proxy.port,
        method: init.method ?? 'GET',
        path: target.href,
        headers: { ...init.headers, host: target.host, ...(init.from ? { 'x-rehearsal-from': init.from } : {}) },
        ...(init.signal ? { signal: init.signal } : {}),
      },
      (answer) => {
        const status = answer.statusCode ?? 0;
        const empty = status === 204 || status === 304 || init.method === 'HEAD';
        if (empty) answer.resume();
        resolve(
          new Response(empty ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>), {
            status,
            statusText: answer.statusMessage ?? '',
            headers: pairs(answer.headers),
          }),
        );
      },
    );
    sent.once('error', reject);
    sent.end(init.body);
  });
}

function pairs(headers: IncomingHttpHeaders): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value])
      .filter((one) => one !== undefined)
      .map((one): [string, string] => [name, one]),
  );
}
