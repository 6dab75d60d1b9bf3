/** What a deployment asks for before it has an image to run. Pure data: no secret value, nothing observed. */
export interface DeploymentSpec {
  readonly deployment: { readonly id: string; readonly name: string; readonly workspaceId: string };
  readonly type: 'dev' | 'prod';
  /** Null: the size that goes with the type. */
  readonly databaseTier: DatabaseTier | null;
  /** Where the image has RDS's certificates: servers then hold their database's against them. @default they do not */
  readonly databaseCa?: string;
  /** As on the wire: `internal_docker` deployments have a registry repository of their own. */
  readonly source: string;
  /** The user's variables. Each value lives in one version of the deployment's secret, under the variable's name. */
  readonly environment: readonly EnvironmentVariable[];
  /** Variables whose values are in secrets of the customer's own. */
  readonly references: readonly SecretReference[];
  /** Secret versions that another revision may still need (the one that serves now): not to be swept. */
  readonly retainedSecretVersions: readonly string[];
  /** A revision of it was deployed once: its database and secrets may hold what cannot be made again. */
  readonly served?: true;
}

/** What one revision of one deployment asks for. */
export interface ServerSpec extends DeploymentSpec {
  /** `number` counts the deployment's revisions from 1; it names the revision's task definition. */
  readonly revision: { readonly id: string; readonly number: number };
  /** By digest: `<account>.dkr.ecr.<region>.amazonaws.com/<repository>@sha256:<64 hex digits>`. */
  readonly image: string;
  readonly resources: ServerResources;
  readonly agentAuth: AgentAuth;
  /** The ARN of the role that the agent has in AWS, which the customer made. @default the place's */
  readonly taskRole?: string | null;
}

export type DatabaseTier = 'DEDICATED_S' | 'DEDICATED_M' | 'DEDICATED_L';

export interface SecretReference {
  /** Of the variable. */
  readonly name: string;
  /** Of the secret, whole, with the six characters that AWS adds. */
  readonly arn: string;
  /** In the secret's JSON; null: the value is the whole secret. */
  readonly key: string | null;
}

/** Who checks the keys of those that call the agent: nobody, or a service that speaks LangSmith's `/auth/public`. */
export type AgentAuth = { readonly type: 'noop' } | { readonly type: 'langsmith'; readonly endpoint: string };

export interface EnvironmentVariable {
  readonly name: string;
  readonly versionId: string;
}

/** As asked: the container's own size, in CPUs and MB. Fargate's task sizes are rounded up from it. */
export interface ServerResources {
  readonly cpu: number;
  readonly memoryMb: number;
  readonly minScale: number;
  readonly maxScale: number;
}

/** The user brings a database or a Redis by setting these; then nothing is made, monitored or deleted for it. */
export const OWN_POSTGRES = 'POSTGRES_URI_CUSTOM';
export const OWN_REDIS = 'REDIS_URI_CUSTOM';

/** Set by a user to `true`: whoever reaches a public load balancer may use the agent, with nobody asked. */
export const PUBLIC_WITHOUT_AUTH = 'FREEHOLD_PUBLIC_WITHOUT_AUTH';

interface Variables {
  readonly environment: readonly { readonly name: string }[];
  readonly references: readonly { readonly name: string }[];
}

export const sets = ({ environment, references }: Variables, name: string): boolean =>
  [...environment, ...references].some((variable) => variable.name === name);
