/** From a request and what was asked before to what a revision asks for. Pure: no store, no account. */
import type { z } from '@hono/zod-openapi';
import type { PlaceOutputs } from '../../reconciler/place.ts';
import { PUBLIC_WITHOUT_AUTH, type AgentAuth } from '../../reconciler/spec.ts';
import type { Build, Reference } from '../store/database.ts';
import type { DeploymentRow, RevisionIntent } from '../store/deployments.ts';
import { bad, invalid } from './errors.ts';
import type { deploymentPatch, revisionCreate } from './schemas.ts';
import { resourcesOf, specOf, type DeploymentType, type ResourceSpec } from './sizes.ts';
import { variablesAfter, type Secret, type Written } from './variables.ts';

export type RevisionRequest = z.infer<typeof revisionCreate>;
/** Whose image runs: the customer's own, one that was pushed for the deployment, one that is built from an archive. */
export type Source = 'external_docker' | 'internal_docker' | 'internal_source';

/** The source of a new deployment, or of a revision. */
export function checkSource(source: string): Source {
  if (source === 'github')
    throw bad(
      'source "github" is not supported: no GitHub integration is configured: use "external_docker" with an image in ' +
        'the place\'s own registry, or "internal_docker" or "internal_source", as `langgraph deploy` does',
    );
  if (source === 'internal_template')
    throw bad('source "internal_template" is not supported: there are no templates: use another source');
  return source as Source;
}

/** What a revision runs, as its request gives it. */
export interface Content {
  /** Null: what the one before ran, whatever that was. */
  readonly source: Source | null;
  readonly imageUri: string | null;
  /** Null: the request gives neither an image nor anything to build one from. */
  readonly build: Partial<Build> | null;
  /** What is in it, by the client's word; empty: as before. */
  readonly trackedPackages: readonly string[];
}

/** The sources that a field means something to. */
const APPLIES: Readonly<Record<string, readonly Source[]>> = {
  'source_config.integration_id': [],
  'source_config.repo_url': [],
  'source_config.build_on_push': [],
  'source_config.template_id': [],
  'source_config.install_command': ['internal_source'],
  'source_config.build_command': ['internal_source'],
  'source_revision_config.repo_ref': [],
  'source_revision_config.langgraph_config_path': ['internal_source'],
  'source_revision_config.image_uri': ['external_docker', 'internal_docker'],
  'source_revision_config.source_tarball_path': ['internal_source'],
};

const entriesOf = (prefix: string, fields: object | null | undefined): [string, unknown][] =>
  Object.entries(fields ?? {}).map(([name, value]) => [`${prefix}.${name}`, value]);

/**
 * @param own the deployment's source, which is the revision's unless the request says otherwise
 * @throws ApiError when something given means nothing to that source
 */
export function contentOf(own: Source, request: RevisionRequest): Content {
  const source = checkSource(request.revision_source ?? own);
  if (source !== own && [source, own].includes('external_docker'))
    throw bad(`revision_source "${source}" does not apply: the deployment's source is "${own}"`);
  const { source_config: config, source_revision_config: revision } = request;
  for (const [field, value] of [
    ...entriesOf('source_config', config),
    ...entriesOf('source_revision_config', revision),
  ]) {
    const applies = APPLIES[field];
    if (!value || applies === undefined || applies.includes(source)) continue;
    const other = own === 'external_docker' ? undefined : applies.at(-1);
    throw bad(`${field} does not apply to source "${source}"${other ? `: revision_source "${other}" takes it` : ''}`);
  }
  const build: Partial<Build> = {
    ...(revision?.source_tarball_path ? { tarball: revision.source_tarball_path } : {}),
    ...(revision?.langgraph_config_path ? { configPath: checkPath(revision.langgraph_config_path) } : {}),
    ...(config?.install_command ? { installCommand: config.install_command } : {}),
    ...(config?.build_command ? { buildCommand: config.build_command } : {}),
  };
  const imageUri = revision?.image_uri || null;
  const isGiven = imageUri !== null || Object.keys(build).length > 0;
  return {
    source: isGiven || request.revision_source ? source : null,
    imageUri,
    build: isGiven ? build : null,
    trackedPackages: request.tracked_packages ?? [],
  };
}

function checkPath(path: string): string {
  if (path.startsWith('/') || path.split('/').includes('..'))
    throw invalid(['source_revision_config', 'langgraph_config_path'], `"${path}" is no path within the archive`);
  return path;
}

/** What a request gives of a revision, once what it names was looked up in the account. Null: as in the one before. */
export interface Given {
  readonly content: Content;
  /** The content's image by digest. */
  readonly image: string | null;
  readonly resourceSpec: ResourceSpec | null;
  readonly secrets: readonly Secret[] | null;
  readonly references: readonly Reference[] | null;
  /** Empty: the place's again. */
  readonly taskRole: string | null;
}

const NO_BUILD: Build = {
  tarball: null,
  configPath: null,
  installCommand: null,
  buildCommand: null,
  trackedPackages: [],
};

/** What a deployment has before its request gives anything. */
export const nothingYet = (type: DeploymentType, source: Source, agentAuth: AgentAuth): RevisionIntent => ({
  source,
  imageUri: null,
  image: null,
  build: null,
  resourceSpec: {},
  resources: resourcesOf(type, {}),
  environment: [],
  references: [],
  agentAuth,
});

/** The one before with what a request gives. @throws ApiError when that cannot be */
export function applied(given: Given, before: RevisionIntent, type: DeploymentType, written: Written): RevisionIntent {
  const { secrets, references, resourceSpec, taskRole } = given;
  return {
    ...before,
    ...contentAfter(given, before),
    ...(resourceSpec ? { resourceSpec: specOf(resourceSpec), resources: resourcesOf(type, resourceSpec) } : {}),
    ...variablesAfter(before, secrets, references, written),
    ...(taskRole === null ? {} : { taskRole: taskRole || null }),
  };
}

function contentAfter({ content, image }: Given, before: RevisionIntent): Partial<RevisionIntent> {
  const { source, imageUri, build, trackedPackages } = content;
  const packages = trackedPackages.length > 0 ? { trackedPackages } : {};
  if (source === null || (build === null && source === before.source))
    return trackedPackages.length > 0 ? { build: { ...NO_BUILD, ...before.build, ...packages } } : {};
  const earlier = image === null && source === before.source ? before.build : null;
  const given = { ...build, ...packages };
  return {
    source,
    imageUri,
    image,
    build: Object.keys(given).length > 0 ? { ...NO_BUILD, ...earlier, ...given } : null,
  };
}

/** Whether a PATCH changes what runs, and not just what is said of it. */
export function makesRevision(own: Source, request: RevisionRequest): boolean {
  const { build } = contentOf(own, request);
  const variables = [...(request.secrets ?? []), ...(request.secret_references ?? [])];
  const role = request.task_role_arn ?? null;
  return build !== null || Boolean(request.source_config?.resource_spec) || variables.length > 0 || role !== null;
}

/** @throws ApiError that says what a revision of its source still needs */
export function checkRunnable({ source, image, build }: RevisionIntent): void {
  if (source !== 'internal_source') {
    if (image === null) throw bad(`source_revision_config.image_uri is required for source "${source}"`);
    return;
  }
  const missing = !build?.tarball ? 'source_tarball_path' : !build.configPath ? 'langgraph_config_path' : null;
  if (missing) throw bad(`source_revision_config.${missing} is required for source "${source}"`);
}

/**
 * A role that the customer made for this agent: only those may be given to tasks that are named for it.
 * @throws ApiError that says how to name one
 */
export function checkTaskRole({ taskRoleArn, executionRoles }: PlaceOutputs, role: string | null): void {
  if (role === null || role === '') return;
  if (executionRoles === undefined)
    throw bad(
      "task_role_arn: the place's stack is from before deployments could have one: deploy it again, and register what it " +
        'prints',
    );
  if (role.startsWith(`${taskRoleArn}-`) && /^[\w+=,.@-]+$/.test(role.slice(taskRoleArn.length + 1))) return;
  throw bad(
    `task_role_arn: not a role that may be given to tasks here: "${role}": it must be ${taskRoleArn}-<name>, in the place's ` +
      'own account, and trust ecs-tasks.amazonaws.com',
  );
}

/** @throws ApiError where everyone on the internet could use the agent, and nobody said that this is meant */
export function checkPublic({ isPublic }: PlaceOutputs, { agentAuth, environment }: RevisionIntent): void {
  if (!isPublic || agentAuth.type !== 'noop') return;
  if (environment.some(({ name }) => name === PUBLIC_WITHOUT_AUTH)) return;
  throw bad(
    "the place's load balancer is public, and agents here let in whoever reaches them (LANGGRAPH_AUTH_TYPE=noop): have " +
      'the control plane run with FREEHOLD_AGENT_AUTH=langsmith, or, if everyone on the internet is meant to use this ' +
      `agent, give it the variable ${PUBLIC_WITHOUT_AUTH}=true`,
  );
}

export function checkCustomUrl(source: Source, url: string): void {
  if (source !== 'external_docker')
    throw bad(`source_config.custom_url cannot be set: the URL of source "${source}" is ours`);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw invalid(['source_config', 'custom_url'], `"${url}" is not an http or https URL`);
}

/** What a request says of what cannot change must be what is. */
export function refuseImmutable(
  row: Pick<DeploymentRow, 'id' | 'name' | 'source' | 'type' | 'place_id' | 'k8s_namespace' | 'database_ca'>,
  body: z.infer<typeof deploymentPatch>,
): void {
  if (body.name && body.name !== row.name) throw bad(`name cannot be changed: this deployment is "${row.name}"`);
  if (body.source && body.source !== row.source) throw bad(`source cannot be changed: it is "${row.source}"`);
  if (body.database_ca && body.database_ca !== row.database_ca)
    throw bad(`database_ca cannot be changed: it is ${JSON.stringify(row.database_ca)}`);
  const config = body.source_config;
  if (config?.deployment_type && config.deployment_type !== row.type)
    throw bad(
      `source_config.deployment_type cannot be changed: it is "${row.type}"` +
        (row.type === 'dev' ? `: PATCH /v2/deployments/${row.id}/deployment-tier makes it "prod"` : ''),
    );
  if (config?.listener_id && config.listener_id !== row.place_id)
    throw bad(`source_config.listener_id cannot be changed: it is "${row.place_id}"`);
  const namespace = config?.listener_config?.k8s_namespace;
  if (namespace && namespace !== row.k8s_namespace)
    throw bad(
      `source_config.listener_config.k8s_namespace cannot be changed: it is ${JSON.stringify(row.k8s_namespace)}`,
    );
}
