/** What one revision of one deployment asks for. Pure data: no secret value, nothing observed. */
export interface ServerSpec {
  readonly deployment: { readonly id: string; readonly name: string; readonly workspaceId: string };
  /** `number` counts the deployment's revisions from 1; it names the revision's task definition. */
  readonly revision: { readonly id: string; readonly number: number };
  readonly type: 'dev' | 'prod';
  /** By digest: `<account>.dkr.ecr.<region>.amazonaws.com/<repository>@sha256:<64 hex digits>`. */
  readonly image: string;
  readonly resources: ServerResources;
  /** The user's variables. Each value lives in one version of the deployment's secret, under the variable's name. */
  readonly environment: readonly EnvironmentVariable[];
  /** Secret versions that another revision may still need (the one that serves now): not to be swept. */
  readonly retainedSecretVersions: readonly string[];
}

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

export const sets = (spec: Pick<ServerSpec, 'environment'>, name: string): boolean =>
  spec.environment.some((variable) => variable.name === name);
