/**
 * What the demo and the end-to-end tests play on: a control plane as a real process, and customers' accounts prepared
 * by
 * the real CDK CLI, all against one emulated AWS. Nothing here is used in production.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { PlaceOutputs } from '../reconciler/place.ts';
import type { Credentials, Rehearsal } from './index.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const CONTROL_PLANE_ACCOUNT = '111111111111';

export interface ControlPlane {
  readonly url: string;
  /** Where the emulated tasks reach it: over the internet. */
  readonly publicUrl: string;
  readonly apiKey: string;
  /** Where its log goes. */
  readonly log: string;
  readonly child: ChildProcess;
  /** @throws ApiError when the answer is not 2xx. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<any>;
  /** The same store, port and key again, after it was stopped or killed. */
  restart(): Promise<ControlPlane>;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export class ApiError extends Error {
  readonly status: number;
  readonly detail: unknown;
  constructor(method: string, path: string, status: number, detail: unknown) {
    super(`${method} ${path}: ${status}: ${typeof detail === 'string' ? detail : JSON.stringify(detail)}`);
    this.status = status;
    this.detail = detail;
  }
}

/** The control plane's own identity: a user of its own account who may assume the roles that customers make for it. */
export async function controlPlaneUser(
  rehearsal: Rehearsal,
  name = 'freehold',
): Promise<{ arn: string; credentials: Credentials }> {
  const assume = { Effect: 'Allow', Action: ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'] };
  const credentials = await rehearsal.createUser(CONTROL_PLANE_ACCOUNT, name, {
    Version: '2012-10-17',
    Statement: [
      { ...assume, Resource: ['arn:aws:iam::*:role/*-control-plane', 'arn:aws:iam::*:role/LangGraphCloudBYOCRole'] },
    ],
  });
  return { arn: `arn:aws:iam::${CONTROL_PLANE_ACCOUNT}:user/${name}`, credentials };
}

export interface ControlPlaneOptions {
  readonly rehearsal: Rehearsal;
  readonly principal: { arn: string; credentials: Credentials };
  /** Of a PostgreSQL server @default the embedded store, in a directory of its own */
  readonly databaseUrl?: string;
  /** Settings on top, as in `services/control-plane/settings.ts`. */
  readonly env?: Record<string, string>;
}

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const directory = mkdtempSync(join(tmpdir(), 'freehold-'));
  const [port, apiKey] = [await freePort(), `fh_${randomBytes(24).toString('hex')}`];
  return launch(options, directory, port, apiKey);
}

async function launch(
  options: ControlPlaneOptions,
  directory: string,
  port: number,
  apiKey: string,
): Promise<ControlPlane> {
  mkdirSync(directory, { recursive: true });
  const log = join(directory, 'control-plane.log');
  const output = createWriteStream(log, { flags: 'a' });
  const { accessKeyId, secretAccessKey } = options.principal.credentials;
  const publicName = `control-plane-${port}.example.com`;
  await options.rehearsal.outside(publicName, port);
  const publicUrl = `http://${publicName}`;
  const child = spawn(process.execPath, [join(ROOT, 'bin', 'control-plane.ts')], {
    stdio: ['pipe', 'pipe', 'pipe'], // its standard input closes when we are gone, and it ends with that
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
      PORT: String(port),
      AWS_ENDPOINT_URL: options.rehearsal.endpoint,
      FREEHOLD_AWS_PACE: String(options.rehearsal.pace),
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      FREEHOLD_PRINCIPAL_ARN: options.principal.arn,
      FREEHOLD_API_KEY: apiKey,
      FREEHOLD_PUBLIC_URL: publicUrl,
      FREEHOLD_DATA_DIR: join(directory, 'store'),
      FREEHOLD_EXIT_WITH_STDIN: '1',
      FREEHOLD_POLL_SECONDS: '1', // AWS is faster here, so it is looked at sooner
      FREEHOLD_LATE_SECONDS: '3', // and shows sooner what has changed
      FREEHOLD_LOOKS: '4', // a few deployments: each that it could work on asks the store twice a second
      ...(options.databaseUrl ? { DATABASE_URL: options.databaseUrl } : {}),
      ...options.env,
    },
  });
  child.stdout.pipe(output);
  child.stderr.pipe(output);
  const url = `http://127.0.0.1:${port}`;
  await waitUntilUp(url, child, log);

  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    url,
    publicUrl,
    apiKey,
    log,
    child,
    async call(method, path, body, headers) {
      const response = await fetch(url + path, {
        method,
        headers: {
          'X-Api-Key': apiKey,
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      const answer: unknown = text === '' ? null : JSON.parse(text);
      if (!response.ok)
        throw new ApiError(method, path, response.status, (answer as { detail?: unknown })?.detail ?? answer);
      return answer;
    },
    restart: () => launch(options, directory, port, apiKey),
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      await exited;
      if (signal !== 'SIGKILL') rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function waitUntilUp(url: string, child: ChildProcess, log: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const up = await fetch(`${url}/ok`).then(
      (response) => response.ok,
      () => false,
    );
    if (up) return;
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(
        `The control plane did not start. The end of its log:\n${readFileSync(log, 'utf8').slice(-2000)}`,
      );
    }
    await sleep(50);
  }
}

/** Until when a customer lets databases and secrets be deleted who is not asked: for as long as anything is played. */
export const DELETION_ALLOWED = '2099-12-31T23:59:59Z';

export interface CustomerOptions {
  readonly rehearsal: Rehearsal;
  readonly account: string;
  readonly region?: string;
  /**
   * CDK context: `principal`, `externalId`, and whatever else docs/customer-account.md lists. Without an
   * `allowDeletionUntil` databases and secrets may be deleted for as long as anything is played; with '' they may not.
   */
  readonly context: Record<string, string>;
  /** Who deploys @default a user with the published policies and nothing else */
  readonly credentials?: Credentials;
  /** Ends the CDK CLI. */
  readonly signal?: AbortSignal;
  /** Each line that the CDK CLI prints. */
  readonly onLine?: (line: string) => void;
}

/**
 * A user of the customer's who may deploy the stack: with templates/deployer-*.policy.json, where the names in them are
 * put in place as a reader of docs/iam.md does.
 */
export async function deployerUser(
  rehearsal: Rehearsal,
  account: string,
  { prefix = 'freehold', stack = `${prefix}-account`, vpcId }: { prefix?: string; stack?: string; vpcId?: string },
): Promise<Credentials> {
  const directory = join(ROOT, 'templates');
  const wanted = `deployer-${vpcId === undefined ? 'new' : 'existing'}-vpc-`;
  const policies = readdirSync(directory)
    .filter((name) => name.startsWith(wanted))
    .map((name) => readFileSync(join(directory, name), 'utf8'))
    .map((text) =>
      text.replaceAll('freehold-account', '<stack>').replaceAll('freehold', prefix).replaceAll('<stack>', stack),
    )
    .map((text) => JSON.parse(text) as object);
  return rehearsal.createUser(account, `deployer-${randomBytes(4).toString('hex')}`, policies);
}

/** `npx cdk deploy` of the customer's stacks, as the customer. Answers what registering the place takes. */
export async function cdkDeploy(options: CustomerOptions): Promise<PlaceOutputs> {
  const directory = mkdtempSync(join(tmpdir(), 'freehold-cdk-'));
  try {
    const outputs = join(directory, 'outputs.json');
    await cdk(options, directory, ['deploy', '--all', '--require-approval', 'never', '--outputs-file', outputs]);
    const stacks = JSON.parse(readFileSync(outputs, 'utf8')) as Record<string, Record<string, string>>;
    const place = Object.values(stacks).find((stack) => stack['Place'] !== undefined)?.['Place'];
    if (place === undefined) throw new Error(`no stack has an output "Place": ${JSON.stringify(stacks)}`);
    return JSON.parse(place) as PlaceOutputs;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export async function cdkDestroy(options: CustomerOptions): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'freehold-cdk-'));
  try {
    await cdk(options, directory, ['destroy', '--all', '--force']);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function cdk(options: CustomerOptions, directory: string, args: string[]): Promise<void> {
  const { rehearsal, account, region = 'us-east-1', context, signal, onLine } = options;
  const credentials = options.credentials ?? (await deployerUser(rehearsal, account, context));
  const given = { allowDeletionUntil: DELETION_ALLOWED, ...context };
  const flags = Object.entries(given).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const cli = join(ROOT, 'node_modules', 'aws-cdk', 'bin', 'cdk');
  const child = spawn(
    process.execPath,
    [
      cli,
      '--no-notices',
      '--no-version-reporting',
      '--progress',
      'events',
      '-o',
      join(directory, 'out'),
      ...args,
      ...flags,
    ],
    {
      cwd: ROOT,
      ...(signal ? { signal } : {}),
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
        HOME: process.env['HOME'],
        NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
        CI: 'true',
        AWS_ENDPOINT_URL: rehearsal.endpoint,
        AWS_REGION: region,
        AWS_DEFAULT_REGION: region,
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        AWS_EC2_METADATA_DISABLED: 'true',
        CDK_VALIDATION: 'false', // one test synthesizes with it; here it would cost seconds each time
        NO_COLOR: '1',
      },
    },
  );
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop() ?? '';
      for (const line of parts) {
        lines.push(line);
        onLine?.(line);
      }
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', reject);
  });
  if (code !== 0) throw new Error(`cdk ${args[0]} ended with ${code}:\n${lines.slice(-40).join('\n')}`);
}

/** Registers a place by the API: a listener of our own compute type, then the customer's stack, then its outputs. */
export async function onboard(
  controlPlane: ControlPlane,
  principalArn: string,
  customer: Omit<CustomerOptions, 'context'> & {
    readonly name: string;
    readonly context?: Record<string, string>;
    /** Makes the customer's stack @default `cdkDeploy` */
    readonly deploy?: (options: CustomerOptions) => Promise<PlaceOutputs>;
  },
): Promise<{ id: string; outputs: PlaceOutputs; externalId: string }> {
  const made = await controlPlane.call('POST', '/v2/listeners', {
    compute_type: 'ecs',
    compute_id: customer.name,
    compute_config: {},
  });
  const externalId: string = made.place.external_id;
  const outputs = await (customer.deploy ?? cdkDeploy)({
    ...customer,
    context: { principal: principalArn, externalId, ...customer.context },
  });
  await controlPlane.call('PATCH', `/v2/listeners/${made.id}`, { compute_config: { place: outputs } });
  return { id: made.id, outputs, externalId };
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });

/** The shape of a revision, as far as a scene looks at it. */
export interface Revision {
  readonly id: string;
  readonly status: string;
  readonly status_message: string | null;
}

const ENDED = new Set(['DEPLOYED', 'CREATE_FAILED', 'BUILD_FAILED', 'DEPLOY_FAILED', 'SKIPPED', 'INTERRUPTED']);

export interface Watching {
  /** The longest wait @default 90 */
  readonly seconds?: number;
  /** Milliseconds between looks @default 200 */
  readonly every?: number;
  readonly signal?: AbortSignal;
  /** After each look. */
  readonly onLook?: (revision: Revision) => Promise<void>;
}

/** A revision once it has come to an end, whichever. */
export async function ended(
  api: ControlPlane,
  deployment: string,
  revision: string,
  { seconds = 90, every = 200, signal, onLook }: Watching = {},
): Promise<Revision> {
  for (const deadline = Date.now() + seconds * 1000; ;) {
    const now: Revision = await api.call('GET', `/v2/deployments/${deployment}/revisions/${revision}`);
    await onLook?.(now);
    if (ENDED.has(now.status)) return now;
    if (Date.now() > deadline)
      throw new Error(
        `not at an end within ${seconds} s: ${now.status}${now.status_message ? `: ${now.status_message}` : ''}`,
      );
    await sleep(every, undefined, signal ? { signal } : {});
  }
}

/** Returns once the deployment is answered with 404. */
export async function gone(
  api: ControlPlane,
  deployment: string,
  { seconds = 60, every = 200, signal }: Watching = {},
): Promise<void> {
  for (const deadline = Date.now() + seconds * 1000; ;) {
    const seen: unknown = await api
      .call('GET', `/v2/deployments/${deployment}`)
      .then(({ status }: { status: string }) => status)
      .catch((error: unknown) => error);
    if (seen instanceof ApiError && seen.status === 404) return;
    if (Date.now() > deadline) throw new Error(`not gone within ${seconds} s: ${String(seen)}`);
    await sleep(every, undefined, signal ? { signal } : {});
  }
}

/** What a command has started: ended last first, once, at its end or by Ctrl-C. */
export interface Curtain {
  /** Aborted when a signal asked to stop. */
  readonly stopping: AbortSignal;
  /** Whether it is being closed, whoever asked. */
  readonly closing: boolean;
  before(stop: () => Promise<void>): void;
  close(): Promise<void>;
}

/** @param onSignal says so, and sets the exit code */
export function curtain(onSignal: () => void): Curtain {
  const stops: (() => Promise<void>)[] = [];
  const asked = new AbortController();
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closed ??= (async () => {
      for (const stop of stops.splice(0).reverse()) await stop().catch(() => {});
    })());
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      onSignal();
      asked.abort();
      void close();
      // What is under way ends with what it stands on; if not, this ends all the same.
      setTimeout(() => process.exit(), 10_000).unref();
    });
  return {
    stopping: asked.signal,
    get closing() {
      return closed !== undefined;
    },
    before: (stop) => void stops.push(stop),
    close,
  };
}
