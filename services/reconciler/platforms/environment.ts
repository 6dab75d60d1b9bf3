/**
 * What a server finds in its environment besides the user's own variables. Names and meanings: langgraph-api's
 * configuration and the variables that langgraph-cli takes as reserved.
 */
import { route } from '../aws/names.ts';
import type { Place } from '../place.ts';
import { sets, type AgentAuth, type ServerSpec } from '../spec.ts';

/** Names that a user may not set: the platform sets them, or they would cut the server off from it. */
export const RESERVED: readonly string[] = [
  'DATABASE_URI',
  'DD_TRACE_PSYCOPG_ENABLED',
  'DD_TRACE_REDIS_ENABLED',
  'LANGCHAIN_API_KEY',
  'LANGCHAIN_CALLBACKS_BACKGROUND',
  'LANGCHAIN_ENDPOINT',
  'LANGCHAIN_PROJECT',
  'LANGCHAIN_TRACING_V2',
  'LANGGRAPH_AUTH_TYPE',
  'LANGGRAPH_CLOUD_LICENSE_KEY',
  'LANGGRAPH_GIT_REPO_PATH',
  'LANGSMITH_AUTH_ENDPOINT',
  'LANGSMITH_AUTH_VERIFY_TENANT_ID',
  'LANGSMITH_CONTROL_PLANE_API_KEY',
  'LANGSMITH_DEPLOYMENT_NAME',
  'LANGSMITH_HOST_PROJECT_ID',
  'LANGSMITH_HOST_PROJECT_NAME',
  'LANGSMITH_HOST_REVISION_ID',
  'LANGSMITH_LANGGRAPH_GIT_REF',
  'LANGSMITH_LANGGRAPH_GIT_REF_SHA',
  'LANGSMITH_LANGGRAPH_GIT_REPO',
  'LANGSMITH_PROJECT',
  'LANGSMITH_TENANT_ID',
  'LANGSMITH_TRACING_V2',
  'LOG_DICT_TRACEBACKS',
  'LOG_JSON',
  // Requests come through the place's balancer, to this port and below this path.
  'MOUNT_PREFIX',
  'PORT',
  'POSTGRES_PASSWORD',
  'POSTGRES_URI',
  'REDIS_URI',
];

export const PORT = 8000;
/** Fargate gives a task at most 120 s from SIGTERM to SIGKILL; runs must have ended before. */
export const STOP_SECONDS = 120;
const RUN_GRACE_SECONDS = 110;
const JOBS_PER_WORKER = 10;

/**
 * Plain variables, by name. The user's own win where a name is not reserved.
 * @param poolSize connections to the database for each task; undefined: the server's own default
 */
export function platformEnvironment(
  spec: ServerSpec,
  place: Place,
  poolSize: number | undefined,
): Record<string, string> {
  const where = route(place, spec.deployment);
  return {
    PORT: String(PORT),
    ...('path' in where ? { MOUNT_PREFIX: where.path } : {}),
    ...authentication(spec.agentAuth),
    LANGSMITH_DEPLOYMENT_NAME: spec.deployment.name,
    LANGSMITH_HOST_PROJECT_ID: spec.deployment.id,
    LANGSMITH_HOST_PROJECT_NAME: spec.deployment.name,
    LANGSMITH_HOST_REVISION_ID: spec.revision.id,
    LANGSMITH_PROJECT: spec.deployment.name,
    // Tracing is on by itself only with an API key; endpoints that the user names bring keys of their own.
    ...(sets(spec, 'LANGSMITH_RUNS_ENDPOINTS') ? { LANGSMITH_TRACING: 'true' } : {}),
    LANGSMITH_TENANT_ID: spec.deployment.workspaceId,
    LSD_DEPLOYMENT_TYPE: spec.type,
    LOG_JSON: 'true',
    N_JOBS_PER_WORKER: String(JOBS_PER_WORKER),
    BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS: String(RUN_GRACE_SECONDS),
    ...(poolSize === undefined ? {} : { LANGGRAPH_POSTGRES_POOL_MAX_SIZE: String(poolSize) }),
  };
}

/**
 * `langsmith`: the server asks `<endpoint>/auth/public` with its caller's headers, keeps a yes for a minute, and lets
 * in whom the answer places in the deployment's own workspace (LANGSMITH_TENANT_ID).
 */
function authentication(auth: AgentAuth): Record<string, string> {
  if (auth.type === 'noop') return { LANGGRAPH_AUTH_TYPE: 'noop' };
  return {
    LANGGRAPH_AUTH_TYPE: 'langsmith',
    LANGSMITH_AUTH_ENDPOINT: auth.endpoint,
    LANGSMITH_AUTH_VERIFY_TENANT_ID: 'true',
  };
}
