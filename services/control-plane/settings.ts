/** All settings, from the environment of the process. */
import { join } from 'node:path';
import { BRAKE_SECONDS } from '../reconciler/aws/brake.ts';
import type { AgentAuth } from '../reconciler/spec.ts';
import type { Oidc } from './api/tokens.ts';

export interface Settings {
  /** `PORT` @default 8124 */
  readonly port: number;
  /** `HOST`: the address to listen on @default 127.0.0.1 */
  readonly host: string;
  /** `DATABASE_URL`: of a PostgreSQL 14 or newer; several replicas may share it @default the embedded one */
  readonly databaseUrl: string | null;
  /** `FREEHOLD_DATA_DIR`: where the embedded PostgreSQL keeps its data @default .data/store */
  readonly dataDirectory: string;
  /**
   * `FREEHOLD_API_KEY`: a key that administers the organization `default` and opens its workspace `default`, at
   * least 32 characters; another value ends the one before @default one is made at the first start, and shown once
   */
  readonly apiKey: string | null;
  /**
   * `FREEHOLD_OIDC_ISSUER`, `FREEHOLD_OIDC_AUDIENCE`: whose bearer tokens are taken, and what their `aud` must name
   * @default none are
   */
  readonly oidc: Oidc | null;
  /** `FREEHOLD_RATE_LIMIT`: requests a minute for each key, in each process; 0: any number @default 3000 */
  readonly rateLimit: number;
  /** `FREEHOLD_PRINCIPAL_ARN`: who we are in AWS; customers' stacks are given it */
  readonly principalArn: string | null;
  /** `AWS_ENDPOINT_URL`: of an emulated AWS @default AWS's own */
  readonly awsEndpoint: string | null;
  /** `FREEHOLD_AWS_SHARE`: of AWS's request rates in an account, how much is ours, between 0 and 1 @default 0.8 */
  readonly awsShare: number;
  /** `FREEHOLD_AWS_PACE`: how many times faster than AWS an emulated one is @default 1 */
  readonly awsPace: number;
  /** `FREEHOLD_REPLICAS`: processes with a worker on the same database: each takes its part of that share @default 1 */
  readonly replicas: number;
  /**
   * `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` @default the SDK's own chain: task role,
   * profile
   */
  readonly credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string } | null;
  /** `FREEHOLD_LOOKS`: deployments that this process works on at once @default 16 */
  readonly looks: number;
  /** `FREEHOLD_LOOKS_PER_PLACE`: of these, how many in one place, so that no place holds up all others @default half */
  readonly looksPerPlace: number;
  /** `FREEHOLD_WORKER=0`: serve the API only @default true */
  readonly worker: boolean;
  /** `FREEHOLD_SWEEP_SECONDS`: how soon drift is seen where all is well @default 900 */
  readonly sweepSeconds: number;
  /** `FREEHOLD_PROBE_SECONDS`: how often a place's role is asked whether it lets in whom it must not @default 3600 */
  readonly probeSeconds: number;
  /** `FREEHOLD_BRAKE_SECONDS`: how old a customer's brake may be when it is heeded, at most 15 @default 15 */
  readonly brakeSeconds: number;
  /** `FREEHOLD_POLL_SECONDS`: the longest wait between looks while AWS is at work @default what each kind asks for */
  readonly pollSeconds: number | null;
  /** `FREEHOLD_LATE_SECONDS`: how long AWS's reads may show what was before a change @default 60 */
  readonly lateSeconds: number;
  /** `FREEHOLD_LOOK_EXPIRES_SECONDS`: silence after which a process counts as dead, at least 10 @default 30 */
  readonly lookExpiresSeconds: number;
  /** `FREEHOLD_EVENT_DAYS`: how long events are kept @default 30 */
  readonly eventDays: number;
  /** `FREEHOLD_RECEIPT_DAYS`: how long the receipts of deletes are kept: over a year, for audits @default 400 */
  readonly receiptDays: number;
  /** `FREEHOLD_AUDIT_DAYS`: how long the audit log is kept: over a year @default 400 */
  readonly auditDays: number;
  /**
   * `FREEHOLD_RETENTION_HOURS`: how long the delete of a production deployment that has served can be undone, at most
   * 720. Terraform waits for the end of a delete for 30 minutes, of which a database takes 15: longer ones fail its
   * destroy @default 0.15, which is nine minutes
   */
  readonly retentionHours: number;
  /** `FREEHOLD_PUBLIC_URL`: where the customers' servers reach this API @default unknown */
  readonly publicUrl: string | null;
  /**
   * `FREEHOLD_AGENT_AUTH`: who may call the agents. `langsmith`: whoever has a key of the deployment's workspace, which
   * the server asks this API about; `noop`: whoever reaches its load balancer. Recorded with each new revision
   * @default langsmith
   */
  readonly agentAuth: AgentAuth;
  /** `LOG_LEVEL` @default info */
  readonly logLevel: string;
  /** `FREEHOLD_EXIT_WITH_STDIN=1`: end when the standard input does, so that a parent takes us along @default false */
  readonly exitWithStdin: boolean;
}

const KEY_LENGTH = 32;
/** A month: what is not missed by then was meant. */
export const RETENTION_HOURS = 720;

/** @param host as in `HOST`, or as in a URL */
const isLoopback = (host: string): boolean => /^(localhost|::1|\[::1\]|127(\.\d{1,3}){3})$/.test(host);

type Environment = Readonly<Record<string, string | undefined>>;

/** @throws Error naming the variable that is wrong */
export function settingsFrom(env: Environment, root: string): Settings {
  const text = (name: string): string | null => env[name] || null;
  const number = (name: string, otherwise: number): number => {
    const given = text(name);
    if (given === null) return otherwise;
    const value = Number(given);
    if (!Number.isFinite(value) || value < 0) throw new Error(`${name} is not a number: "${given}"`);
    return value;
  };
  const atMost = (name: string, value: number, most: number): number => {
    if (value > most) throw new Error(`${name} is more than ${most}: "${value}"`);
    return value;
  };
  const [accessKeyId, secretAccessKey, sessionToken] = [
    text('AWS_ACCESS_KEY_ID'),
    text('AWS_SECRET_ACCESS_KEY'),
    text('AWS_SESSION_TOKEN'),
  ];
  const apiKey = text('FREEHOLD_API_KEY');
  if (apiKey !== null && apiKey.length < KEY_LENGTH)
    throw new Error(
      `FREEHOLD_API_KEY has ${apiKey.length} characters: use at least ${KEY_LENGTH}, such as the output of ` +
        '`openssl rand -hex 32`',
    );
  const [port, host] = [number('PORT', 8124), text('HOST') ?? '127.0.0.1'];
  const publicUrl = text('FREEHOLD_PUBLIC_URL')?.replace(/\/+$/, '') ?? null;
  if (publicUrl !== null && !/^https?:\/\/[^/?#\s]+(\/[^?#\s]*)?$/.test(publicUrl))
    throw new Error(`FREEHOLD_PUBLIC_URL is not an http or https URL: "${publicUrl}"`);
  const agentAuth = (): AgentAuth => {
    const type = text('FREEHOLD_AGENT_AUTH') ?? 'langsmith';
    if (type === 'noop') return { type };
    if (type !== 'langsmith') throw new Error(`FREEHOLD_AGENT_AUTH is neither "langsmith" nor "noop": "${type}"`);
    if (publicUrl !== null) return { type, endpoint: publicUrl };
    // A trial on one machine: nobody's server reaches it, so no agent lets anyone in.
    if (isLoopback(host)) return { type, endpoint: `http://${host.includes(':') ? `[${host}]` : host}:${port}` };
    throw new Error(
      "FREEHOLD_PUBLIC_URL is not set: agents ask the control plane about their callers' keys, at this URL. " +
        'FREEHOLD_AGENT_AUTH=noop instead lets in whoever reaches their load balancer',
    );
  };
  const awsShare = (): number => {
    const share = number('FREEHOLD_AWS_SHARE', 0.8);
    if (share > 0 && share <= 1) return share;
    throw new Error(`FREEHOLD_AWS_SHARE is no part of 1: "${share}": 0.8 leaves a fifth of AWS's rates to other tools`);
  };
  const looks = number('FREEHOLD_LOOKS', 16);
  return {
    port,
    host,
    databaseUrl: text('DATABASE_URL'),
    dataDirectory: text('FREEHOLD_DATA_DIR') ?? join(root, '.data', 'store'),
    apiKey,
    oidc: oidcFrom(text('FREEHOLD_OIDC_ISSUER'), text('FREEHOLD_OIDC_AUDIENCE')),
    rateLimit: number('FREEHOLD_RATE_LIMIT', 3000),
    principalArn: text('FREEHOLD_PRINCIPAL_ARN'),
    awsEndpoint: text('AWS_ENDPOINT_URL'),
    awsShare: awsShare(),
    awsPace: Math.max(1, number('FREEHOLD_AWS_PACE', 1)),
    replicas: Math.max(1, number('FREEHOLD_REPLICAS', 1)),
    credentials:
      accessKeyId && secretAccessKey
        ? { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) }
        : null,
    looks,
    looksPerPlace: Math.max(1, number('FREEHOLD_LOOKS_PER_PLACE', Math.ceil(looks / 2))),
    worker: text('FREEHOLD_WORKER') !== '0',
    sweepSeconds: number('FREEHOLD_SWEEP_SECONDS', 900),
    probeSeconds: Math.max(1, number('FREEHOLD_PROBE_SECONDS', 3600)),
    brakeSeconds: atMost('FREEHOLD_BRAKE_SECONDS', number('FREEHOLD_BRAKE_SECONDS', BRAKE_SECONDS), BRAKE_SECONDS),
    pollSeconds: text('FREEHOLD_POLL_SECONDS') === null ? null : number('FREEHOLD_POLL_SECONDS', 0),
    lateSeconds: number('FREEHOLD_LATE_SECONDS', 60),
    lookExpiresSeconds: number('FREEHOLD_LOOK_EXPIRES_SECONDS', 30),
    eventDays: number('FREEHOLD_EVENT_DAYS', 30),
    receiptDays: number('FREEHOLD_RECEIPT_DAYS', 400),
    auditDays: number('FREEHOLD_AUDIT_DAYS', 400),
    retentionHours: atMost('FREEHOLD_RETENTION_HOURS', number('FREEHOLD_RETENTION_HOURS', 0.15), RETENTION_HOURS),
    publicUrl,
    agentAuth: agentAuth(),
    logLevel: text('LOG_LEVEL') ?? 'info',
    exitWithStdin: text('FREEHOLD_EXIT_WITH_STDIN') === '1',
  };
}

/** Over plain HTTP, whoever is on the way could make tokens. */
function oidcFrom(issuer: string | null, audience: string | null): Oidc | null {
  if (issuer === null && audience === null) return null;
  if (issuer === null) throw new Error('FREEHOLD_OIDC_AUDIENCE is set: FREEHOLD_OIDC_ISSUER is needed, too');
  if (audience === null) throw new Error('FREEHOLD_OIDC_ISSUER is set: FREEHOLD_OIDC_AUDIENCE is needed, too');
  const url = URL.canParse(issuer) ? new URL(issuer) : undefined;
  if (url?.protocol !== 'https:' && !(url?.protocol === 'http:' && isLoopback(url.hostname)))
    throw new Error(`FREEHOLD_OIDC_ISSUER is not an https URL: "${issuer}"`);
  return { issuer, audience };
}
