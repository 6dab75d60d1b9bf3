/** The store's connection and its tables. One writer per column: the comments say which. */
import { Kysely, PostgresDialect, sql, type ColumnType, type Generated, type Transaction } from 'kysely';
import pg from 'pg';
import type { Limits, Takes } from '../../reconciler/aws/limits.ts';
import type { PlaceOutputs } from '../../reconciler/place.ts';
import type { Kept } from '../../reconciler/aws/remaining.ts';
import type { DriftPolicy } from '../../reconciler/drift.ts';
import type { State } from '../../reconciler/pass.ts';
import type { AgentAuth, DatabaseTier, ServerResources } from '../../reconciler/spec.ts';
import type { DeploymentStatus, RevisionStatus } from '../../reconciler/status.ts';

/** Sent as JSON text, read parsed. */
type Json<T> = ColumnType<T, string, string>;
type Created = ColumnType<Date, Date | undefined, never>;
type Moment = ColumnType<Date, Date | undefined, Date>;
/** `bigint` arrives as text. */
type Counter = ColumnType<number, number | undefined, number>;

export interface Organizations {
  id: Generated<string>;
  name: string;
  created_at: Created;
}

export interface Workspaces {
  id: Generated<string>;
  organization_id: string;
  name: string;
  created_at: Created;
}

/** What a caller may do: read; also change deployments; also all else. */
export type Role = 'viewer' | 'deployer' | 'admin';

export interface ApiKeys {
  id: Generated<string>;
  organization_id: string;
  /** The one that it opens; of an organization-wide key: when a request names none. Null: a request has to. */
  workspace_id: string | null;
  organization_wide: Generated<boolean>;
  role: Role;
  name: string;
  /** Its first characters, to tell keys apart. */
  prefix: string;
  /** SHA-256; the key itself is nowhere. */
  hash: Buffer;
  created_at: Created;
  expires_at: Date | null;
  /** To the minute. */
  last_used_at: Date | null;
  revoked_at: Date | null;
}

/** What the bearers of a claim of the OIDC provider may do. */
export interface Members {
  id: Generated<string>;
  organization_id: string;
  /** Null: all of the organization's. */
  workspace_id: string | null;
  claim: 'sub' | 'email' | 'groups';
  value: string;
  role: Role;
  created_at: Created;
}

export interface Settings {
  name: string;
  value: Buffer;
}

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly message: string | null;
}

export type PlaceState = 'unregistered' | 'unverified' | 'verified';

export interface Places {
  id: Generated<string>;
  workspace_id: string;
  /** The API's `compute_id`: the workspace's own name for it. */
  name: string;
  external_id: string;
  outputs: Json<PlaceOutputs> | null;
  /** Where a load balancer was made for it, or was about to be: an original place's. */
  balancer: Json<Pick<PlaceOutputs, 'accountId' | 'region' | 'roleArn'>> | null;
  version: string | null;
  created_at: Created;
  updated_at: Moment;
  /** These four: by the last verification. */
  state: Generated<PlaceState>;
  message: string | null;
  checks: Json<Check[]>;
  verified_at: Date | null;
  /** AWS's limits there, as they were read at that time. */
  limits: Json<Limits> | null;
  limits_at: Date | null;
  /** Why nobody enters it, by the last probe of its trust. */
  suspended: string | null;
  /** Why it could not be entered at the last probe. */
  unreachable: string | null;
  probed_at: Date | null;
}

/** Intent: written by the API alone. */
export interface Deployments {
  id: string;
  workspace_id: string;
  place_id: string;
  name: string;
  display_name: string | null;
  source: string;
  type: 'dev' | 'prod';
  /** As the user set it; else the URL is ours. */
  custom_url: string | null;
  database_tier: DatabaseTier | null;
  /** Kept because clients read back what they gave; it means nothing on ECS. */
  k8s_namespace: string | null;
  /** What the create gave, for the first revision to inherit; null when that came with it. */
  base: Json<RevisionBase> | null;
  created_at: Created;
  updated_at: Moment;
  /** Null while the request that makes it still writes secrets: nobody sees it, and a sweep removes it. */
  accepted_at: Date | null;
  deleted_at: Date | null;
  /** Until then a delete can be undone; null: it never could be. */
  final_delete_at: Date | null;
  /** The ARN of the place's load balancer that it is behind, for good; null: the first. */
  balancer: string | null;
  /** Which of the place's execution roles is its, for good; null: the one that it shares with all such. */
  slot: number | null;
  /** Where its image has RDS's certificates; null: they are not asked for. */
  database_ca: string | null;
  /** Of AWS's limits, when it was made; null: it was made before that was counted. */
  takes: Json<Takes> | null;
  /** Grows with each wish for a look, so that a look that is under way knows of a later wish. */
  asked: Counter;
  /** For whom the last of these was, as `actorOf` says it; null: for nobody but ourselves. */
  asked_by: string | null;
  drift_policy: Generated<DriftPolicy>;
}

export interface Variable {
  readonly name: string;
  /** Of the deployment's environment secret. */
  readonly versionId: string;
  /** HMAC-SHA-256 under the store's key: tells equal values apart from changed ones, and nothing else. */
  readonly digest: string;
}

/** A variable whose value is in a secret of the customer's own. */
export interface Reference {
  readonly name: string;
  /** As given: a name or an ARN. */
  readonly secretName: string;
  readonly secretKey: string | null;
  /** What the name stood for. */
  readonly arn: string;
}

/** What an image is to be built from; of one that came built, what was said of its packages. */
export interface Build {
  /** The uploaded archive; null while there is none. */
  readonly tarball: string | null;
  /** Of langgraph.json within it. */
  readonly configPath: string | null;
  readonly installCommand: string | null;
  readonly buildCommand: string | null;
  readonly trackedPackages: readonly string[];
}

/** What a revision inherits from the one before, where its request says nothing; without its image. */
export interface RevisionBase {
  readonly resourceSpec: Record<string, unknown>;
  readonly resources: ServerResources;
  readonly environment: readonly Variable[];
  readonly references: readonly Reference[];
  readonly build: Build | null;
  /** The ARN of the task role that the customer made for it. Null: the place's. */
  readonly taskRole?: string | null;
}

/** Intent, immutable but for `interrupted_at`. */
export interface Revisions {
  id: string;
  deployment_id: string;
  /** Counts a deployment's revisions from 1. */
  number: number;
  source: string;
  /** Null: it is to be built first. */
  image_uri: string | null;
  /** The same by digest. */
  image: string | null;
  build: Json<Build> | null;
  /** As asked, unknown fields dropped. */
  resource_spec: Json<Record<string, unknown>>;
  resources: Json<ServerResources>;
  environment: Json<Variable[]>;
  secret_references: Json<Reference[]>;
  agent_auth: Json<AgentAuth>;
  task_role: string | null;
  created_at: Created;
  /** The hash of the plan that it was accepted with. */
  plan: string | null;
  /** When a user asked that it be stopped. */
  interrupted_at: Date | null;
}

/** Observation: written by the worker alone. */
export interface DeploymentStatuses {
  deployment_id: string;
  /** Grows with each pass; an older pass may write nothing. */
  epoch: Counter;
  status: DeploymentStatus;
  message: string | null;
  /** The last one that was not UNKNOWN. */
  known_status: DeploymentStatus | null;
  active_revision_id: string | null;
  looked_at: Moment;
  /** What was lost that cannot be made again, and what to do. */
  alarm: Json<ShownAlarm> | null;
  /**
   * How many looks had been asked for when it was found settled; null: it was not. As long as that is all of them, it
   * has no look of its own, and the sweep of its place goes over it. Written with the looks.
   */
  settled_asked: number | null;
}

export interface ShownAlarm {
  readonly name: string;
  readonly resource: string;
  /** When it was seen first. */
  readonly since: string;
  readonly what_to_do: string;
}

/** One field of a resource that somebody else has changed. Written by the worker alone. */
export interface Drifts {
  id: Generated<number>;
  deployment_id: string;
  resource: string;
  field: string;
  asked: Json<unknown>;
  found: Json<unknown>;
  policy: DriftPolicy;
  generation: string;
  detected_at: Moment;
  /** When it was as asked again, or is not looked at any more. */
  resolved_at: Date | null;
  resolution: 'repaired' | 'reverted' | 'ignored' | null;
  /** Who did it, as AWS tells it, some minutes later. */
  actor: string | null;
  actor_name: string | null;
  actor_call: string | null;
  acted_at: Date | null;
  /** How often AWS was asked. */
  asks: Generated<number>;
}

/** A resource as a receipt names it. */
export interface Made {
  /** Within its deployment. */
  readonly id: string;
  readonly kind: string;
  readonly name: string | null;
  readonly arn: string | null;
  /** Of a database: the name of the snapshot that it ends in. */
  readonly snapshot?: string | null;
}

/** Where something was, for as long as somebody may ask: the place itself may be gone. */
export interface Where {
  readonly id: string;
  readonly name: string;
  readonly account: string;
  readonly region: string;
}

/** A search for what is left, and what it found beside what is kept. */
export interface Search {
  readonly at: string;
  readonly calls: readonly string[];
  /** How many ARNs it named, those included that are kept or had gone already. */
  readonly found: number;
  readonly left: readonly string[];
}

/** What is known of a deployment that is being removed or has gone. */
export interface Receipts {
  deployment_id: string;
  workspace_id: string;
  name: string;
  /** Null in receipts from before it was kept. */
  place: Json<Where> | null;
  /** What there was when its removal began. */
  made: Json<Made[]>;
  /** When each of these went, by its id. */
  gone: Json<Record<string, string>>;
  kept: Json<readonly Kept[]>;
  /** What else a reader should know, a sentence each. */
  notes: Json<readonly string[]>;
  /** The same, in receipts from before there were the two. */
  remainders: ColumnType<string[], never, never>;
  /** Null while it is being removed, and of what was forgotten as it was. */
  search: Json<Search> | null;
  began_at: Moment;
  /** Null while it is being removed. */
  gone_at: Date | null;
}

/** A customer leaves: all that is in a place is removed. Written by the API, and by whoever proves that it is done. */
export interface Offboardings {
  id: Generated<string>;
  place_id: string;
  workspace_id: string;
  name: string;
  /** Null of a place whose stack was never registered. */
  place: Json<Where> | null;
  /** Whether deletes cannot be undone meanwhile. */
  skips_retention: boolean;
  /** What was in it when it began. */
  deployments: Json<{ id: string; name: string }[]>;
  began_at: Created;
  /** What the last search found. */
  proof: Json<Proof> | null;
  /** Searches that left something open, and when the next one is due. */
  searches: Generated<number>;
  search_after: Date | null;
  /** When the account was found clean. */
  proven_at: Date | null;
  /** When the place was taken into use again, or deleted. */
  ended_at: Date | null;
}

export interface Proof {
  readonly search: Search | null;
  readonly kept: readonly Kept[];
  readonly notes: readonly string[];
  /** Why the search could not be made. */
  readonly failed: string | null;
}

export interface RevisionStatuses {
  revision_id: string;
  deployment_id: string;
  status: RevisionStatus;
  message: string | null;
  started_at: Date | null;
  ended_at: Date | null;
  updated_at: Moment;
}

/** One row per resource of a deployment: a pass's own memory. Written by the worker alone. */
export interface Resources {
  deployment_id: string;
  id: string;
  kind: string;
  inputs: Json<unknown> | null;
  needs: string[];
  state: State['state'];
  message: string;
  generation: string;
  since: Moment;
  asked_at: Date | null;
  busy_since: Date | null;
  tries: number;
  not_before: Date | null;
  gave_up: Json<{ generation: string; message: string }> | null;
  outputs: Json<unknown> | null;
  /** The order in which they came to be. */
  seq: Counter;
}

export interface Events {
  id: Counter;
  deployment_id: string;
  revision_id: string | null;
  resource: string | null;
  message: string;
  at: Created;
}

export type RollState = 'RUNNING' | 'HALTED' | 'DONE' | 'CANCELLED';
export type RollMemberState = 'PENDING' | 'ROLLING' | 'DEPLOYED' | 'FAILED' | 'SKIPPED';

/** A change that goes through many deployments, ring by ring. */
export interface Rolls {
  id: Generated<string>;
  workspace_id: string;
  name: string;
  /** As asked, `{account_id}` and `{region}` in it; null: each deployment's own spec again. */
  image_uri: string | null;
  /** How many deployments are in each. */
  rings: number[];
  at_once: number;
  max_failures: number;
  soak_seconds: number;
  state: Generated<RollState>;
  message: string | null;
  /** The one at hand, from 1. */
  ring: Generated<number>;
  /** When the last of that ring had ended. */
  rolled_at: Date | null;
  /** The roll whose deployments go back to what they ran before it. */
  takes_back: string | null;
  /** As `actorOf` says it. */
  asked_by: string | null;
  /** While a process works on it. */
  leased_until: Date | null;
  created_at: Created;
  ended_at: Date | null;
}

export interface RollMembers {
  roll_id: string;
  deployment_id: string;
  /** From 1, over all rings. */
  position: number;
  ring: number;
  state: Generated<RollMemberState>;
  message: string | null;
  /** The revision that served when this one's was made. */
  before_id: string | null;
  /** The revision to deploy again; null: as the roll says. */
  target_id: string | null;
  /** The one that was made. */
  revision_id: string | null;
  started_at: Date | null;
  ended_at: Date | null;
  /** Of one that is pending: since when its account did not answer, how often in a row, and when it was asked last. */
  unreachable_since: Date | null;
  unreachable_tries: Generated<number>;
  asked_at: Date | null;
}

/** Where the audit chain of a workspace, or of an organization's own, stands. */
export interface AuditHeads {
  chain: string;
  seq: number;
  hash: string;
  /** Of the last line, in milliseconds since 1970. */
  time: number;
}

/** The lines of these chains, as they were sealed. */
export interface AuditLines {
  chain: string;
  seq: number;
  time: number;
  place_id: string | null;
  deployment_id: string | null;
  line: string;
}

/** Up to which line a place's own lines are in the customer's log group. */
export interface AuditCopies {
  place_id: string;
  seq: Generated<number>;
  copied_at: Date | null;
  failed: string | null;
  tries: Generated<number>;
  not_before: Date | null;
  /** While a process is at it. */
  leased_until: Date | null;
}

export interface Tables {
  audit_heads: AuditHeads;
  audit: AuditLines;
  audit_copies: AuditCopies;
  rolls: Rolls;
  roll_members: RollMembers;
  organizations: Organizations;
  members: Members;
  workspaces: Workspaces;
  api_keys: ApiKeys;
  settings: Settings;
  places: Places;
  deployments: Deployments;
  revisions: Revisions;
  deployment_statuses: DeploymentStatuses;
  revision_statuses: RevisionStatuses;
  receipts: Receipts;
  offboardings: Offboardings;
  resources: Resources;
  events: Events;
  drifts: Drifts;
}

export type Database = Kysely<Tables>;
export type Tx = Transaction<Tables>;

const INT8 = 20;

export function openDatabase(url: string, options: { connections: number; onError: (error: Error) => void }): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.connections,
    types: {
      getTypeParser: (oid: number, format?: 'text' | 'binary') =>
        oid === INT8 ? Number : pg.types.getTypeParser(oid, format),
    },
  });
  // A connection was lost. An idle one: the next query opens another; one in use: its query fails besides.
  pool.on('error', options.onError);
  pool.on('connect', (client) => client.on('error', options.onError));
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
}

/** Of a list. */
export interface Page {
  readonly limit: number;
  readonly offset: number;
}

export const now = sql<Date>`now()`;
export const json = (value: unknown): string => JSON.stringify(value);
/** For `like`: whatever has this text in it. */
export const containing = (text: string): string => `%${text.replace(/[\\%_]/g, '\\$&')}%`;

/** Classes 08 (connection) and 57P (shutdown), 53300 (too many connections), and what Node says of a socket. */
const AWAY = /^(08...|57P0.|53300|ECONN\w+|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE)$/;

/** Whether a query failed because there is no PostgreSQL to answer it. */
export const isAway = (error: Error): boolean =>
  AWAY.test((error as { code?: string }).code ?? '') || error.message.startsWith('Connection terminated');
