/** From a request and what was asked before to what a revision asks for. Pure: no store, no account. */
import type { z } from '@hono/zod-openapi';
import { RESERVED } from '../../reconciler/platforms/environment.ts';
import { OWN_POSTGRES, type AgentAuth, type DatabaseTier, type ServerResources } from '../../reconciler/spec.ts';
import { digestOf } from '../redact.ts';
import type { Build, Reference, Variable } from '../store/database.ts';
import type { DeploymentRow, RevisionIntent } from '../store/deployments.ts';
import { bad, invalid } from './errors.ts';
import type { deploymentPatch, resourceSpec, revisionCreate, secret, secretReference } from './schemas.ts';

export type ResourceSpec = z.infer<typeof resourceSpec>;
export type Secret = z.infer<typeof secret>;
export type ReferenceRequest = z.infer<typeof secretReference>;
export type RevisionRequest = z.infer<typeof revisionCreate>;
export type DeploymentType = 'dev' | 'prod';
/** Whose image runs: the customer's own, one that was pushed for the deployment, one that is built from an archive. */
export type Source = 'external_docker' | 'internal_docker' | 'internal_source';

/** Versions of the secret that one revision's variables may be spread over: AWS keeps twenty, for all revisions. */
const VERSIONS_LIMIT = 8;
/** Of one version of a secret, by Secrets Manager's quota. */
const SECRET_BYTES = 65_536;
/** Of a task definition, by ECS's quota; the rest of it needs less than what is left over. */
const DEFINITION_BYTES = 65_536;
const REST_BYTES = 8192;
/** `{"name":"","valueFrom":"<the secret's ARN>::<version id>"}`, at most, without the name, which is in it twice. */
const VARIABLE_BYTES = 220;
/** The same of a reference, without its name, its secret's ARN and its key. */
const REFERENCE_BYTES = 40;

function checkNames(list: 'secrets' | 'secret_references', given: readonly { name: string }[]): void {
  const seen = new Set<string>();
  for (const [i, { name }] of given.entries()) {
    const at = [list, i, 'name'];
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw invalid(at, `"${name}" is not a name for an environment variable`);
    if (RESERVED.includes(name)) throw invalid(at, `"${name}" is reserved: the platform sets it`);
    if (seen.has(name)) throw invalid(at, `"${name}" is given twice`);
    seen.add(name);
  }
}

/** What can be said of variables by themselves, before anything is looked up. */
export function checkVariables(secrets: readonly Secret[], references: readonly ReferenceRequest[]): void {
  checkNames('secrets', secrets);
  checkNames('secret_references', references);
  for (const [i, { name }] of references.entries())
    if (secrets.some((one) => one.name === name))
      throw invalid(['secret_references', i, 'name'], `"${name}" is given in secrets, too`);
  if (Buffer.byteLength(JSON.stringify(valuesOf(secrets))) > SECRET_BYTES)
    throw invalid(['secrets'], `the values together are larger than ${SECRET_BYTES} bytes`);
}

function checkDefinition({ environment, references }: Variables): void {
  const bytes =
    environment.reduce((sum, { name }) => sum + 2 * Buffer.byteLength(name) + VARIABLE_BYTES, 0) +
    references.reduce(
      (sum, { name, arn, secretKey }) => sum + Buffer.byteLength(name + arn + (secretKey ?? '')) + REFERENCE_BYTES,
      0,
    );
  if (bytes <= DEFINITION_BYTES - REST_BYTES) return;
  throw invalid(
    ['secrets'],
    `${environment.length + references.length} variables take ${bytes} bytes of the task definition, in which ECS ` +
      `leaves ${DEFINITION_BYTES - REST_BYTES} for them: use fewer, or shorter names`,
  );
}

/** What is to be written into the customer's account. */
export const valuesOf = (secrets: readonly Secret[]): Record<string, string> =>
  Object.fromEntries(secrets.flatMap(({ name, value }) => (typeof value === 'string' ? [[name, value]] : [])));

/** Where the values of a request were written, and what tells them apart. */
export interface Written {
  /** Null: it gave none. */
  readonly versionId: string | null;
  readonly digestKey: Buffer;
}

/** Stands for the version in a try before anything is written. */
export const NOT_WRITTEN: Written = { versionId: 'not written yet', digestKey: Buffer.alloc(32) };

/** The whole list replaces the one before; a variable without a value keeps the one that it has. */
function environmentOf(secrets: readonly Secret[], before: readonly Variable[], written: Written): Variable[] {
  const environment = secrets.map(({ name, value }, i): Variable => {
    if (typeof value === 'string')
      return { name, versionId: written.versionId!, digest: digestOf(written.digestKey, value) };
    const kept = before.find((variable) => variable.name === name);
    if (!kept) throw invalid(['secrets', i, 'value'], `"${name}" has no value yet: give it one`, 'missing');
    return kept;
  });
  const versions = new Set(environment.map((variable) => variable.versionId));
  if (versions.size > VERSIONS_LIMIT)
    throw bad(`the variables were set in more than ${VERSIONS_LIMIT} requests: give all their values in one`);
  return environment;
}

/**
 * Where a deployment's data is cannot change under it: neither would the data move, nor would a redeploy of an earlier
 * revision find it again.
 * @param serving the revision that serves; undefined: nothing has run yet, so there is no data
 */
export function checkDatabase(next: Variables, serving: Variables | undefined): void {
  if (serving === undefined) return;
  if (isOwnDatabase(next) === isOwnDatabase(serving)) return;
  throw bad(
    isOwnDatabase(serving)
      ? `"${OWN_POSTGRES}" cannot be left out: the deployment's data is in that database: name it (without a value it ` +
          `keeps the one it has), or make another deployment`
      : `"${OWN_POSTGRES}" cannot be added: the deployment's data is in the database made for it: make another deployment`,
  );
}

type Variables = Pick<RevisionIntent, 'environment' | 'references'>;

/** Whether the user brought it: then it is not ours to change. */
export const isOwnDatabase = ({ environment, references }: Variables): boolean =>
  [...environment, ...references].some(({ name }) => name === OWN_POSTGRES);

const SUPPORTED = new Set(['min_scale', 'max_scale', 'cpu', 'memory_mb']);
/** Mean nothing on ECS, and clients send them: a task has no burst, images come from the place's own registry. */
const IGNORED = new Set(['cpu_limit', 'memory_limit_mb', 'labels', 'annotations', 'image_pull_secrets']);

const DEFAULTS: Record<DeploymentType, ServerResources> = {
  dev: { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 1 },
  prod: { cpu: 2, memoryMb: 2048, minScale: 1, maxScale: 10 },
};

/** @param spec replaces the one before as a whole; what it leaves out is the deployment type's */
export function resourcesOf(type: DeploymentType, spec: ResourceSpec): ServerResources {
  for (const [name, value] of Object.entries(spec)) {
    const isEmpty = value === null || value === undefined || (Array.isArray(value) && value.length === 0);
    if (!isEmpty && !SUPPORTED.has(name) && !IGNORED.has(name))
      throw bad(`resource_spec.${name} is not supported on compute_type "ecs"`);
  }
  const base = DEFAULTS[type];
  if (spec.min_scale === 0) throw bad(NO_SCALE_TO_ZERO);
  const minScale = spec.min_scale ?? base.minScale;
  const maxScale = spec.max_scale ?? Math.max(base.maxScale, minScale);
  if (maxScale < minScale) throw bad(`resource_spec.max_scale (${maxScale}) is below min_scale (${minScale})`);
  return { cpu: spec.cpu ?? base.cpu, memoryMb: spec.memory_mb ?? base.memoryMb, minScale, maxScale };
}

/** Without nulls, so that what was not asked is not kept. */
const specOf = (spec: ResourceSpec): ResourceSpec =>
  Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== null && value !== undefined));

/** Word for word: clients match it. */
const NO_SCALE_TO_ZERO = 'Scale to zero deployments are not supported in AWS environments';

export function typeOf(asked: string | null | undefined): DeploymentType {
  if (asked === null || asked === undefined) return 'prod';
  if (asked === 'dev' || asked === 'prod') return asked;
  if (asked === 'dedicated') return 'prod';
  if (asked.endsWith('_zero') || asked === 'serverless') throw bad(NO_SCALE_TO_ZERO);
  throw bad(`deployment_type "${asked}" is not offered: use "dev" or "prod"`);
}

/** Of one container, by compute tier: sizes that Fargate has as they are. */
const COMPUTE: Record<DatabaseTier, { cpu: number; memory_mb: number }> = {
  DEDICATED_S: { cpu: 1, memory_mb: 2048 },
  DEDICATED_M: { cpu: 2, memory_mb: 4096 },
  DEDICATED_L: { cpu: 4, memory_mb: 8192 },
};

export function dedicated(tier: string): DatabaseTier {
  if (tier.startsWith('SERVERLESS_')) throw bad(NO_SCALE_TO_ZERO);
  return tier as DatabaseTier;
}

export const isSized = ({ resources }: Pick<RevisionIntent, 'resources'>, tier: DatabaseTier): boolean =>
  resources.cpu === COMPUTE[tier].cpu && resources.memoryMb === COMPUTE[tier].memory_mb;

/** The same with the size of a tier. */
export function sized(before: RevisionIntent, type: DeploymentType, tier: DatabaseTier): RevisionIntent {
  const spec = { ...before.resourceSpec, ...COMPUTE[tier] };
  return { ...before, resourceSpec: spec, resources: resourcesOf(type, spec) };
}

/** The same with what its spec leaves out as another type has it. */
export const retyped = (before: RevisionIntent, type: DeploymentType): RevisionIntent => ({
  ...before,
  resources: resourcesOf(type, before.resourceSpec),
});

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
  const trackedPackages = request.tracked_packages ?? [];
  return {
    source: isGiven || request.revision_source ? source : null,
    imageUri,
    build: isGiven ? { ...build, ...(trackedPackages.length > 0 ? { trackedPackages } : {}) } : null,
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
  const { secrets, references, resourceSpec } = given;
  const next = {
    ...before,
    ...contentAfter(given, before),
    ...(resourceSpec ? { resourceSpec: specOf(resourceSpec), resources: resourcesOf(type, resourceSpec) } : {}),
    // What has a name now takes it from what had it before.
    environment: without(
      secrets ? environmentOf(secrets, before.environment, written) : before.environment,
      references ?? [],
    ),
    references: without(references ?? before.references, secrets ?? []),
  };
  checkDefinition(next);
  return next;
}

function contentAfter({ content, image }: Given, before: RevisionIntent): Partial<RevisionIntent> {
  const { source, imageUri, build } = content;
  if (source === null || (build === null && source === before.source)) return {};
  const earlier = image === null && source === before.source ? before.build : null;
  const says = build !== null && Object.keys(build).length > 0;
  return { source, imageUri, image, build: says ? { ...NO_BUILD, ...earlier, ...build } : null };
}

const without = <T extends { name: string }>(list: readonly T[], taken: readonly { name: string }[]): T[] =>
  list.filter(({ name }) => !taken.some((one) => one.name === name));

/** Whether a PATCH changes what runs, and not just what is said of it. */
export function makesRevision(own: Source, request: RevisionRequest): boolean {
  const { build } = contentOf(own, request);
  const variables = [...(request.secrets ?? []), ...(request.secret_references ?? [])];
  return build !== null || Boolean(request.source_config?.resource_spec) || variables.length > 0;
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

export function checkCustomUrl(source: Source, url: string): void {
  if (source !== 'external_docker')
    throw bad(`source_config.custom_url cannot be set: the URL of source "${source}" is ours`);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw invalid(['source_config', 'custom_url'], `"${url}" is not an http or https URL`);
}

/** What a request says of what cannot change must be what is. */
export function refuseImmutable(
  row: Pick<DeploymentRow, 'id' | 'name' | 'source' | 'type' | 'place_id' | 'k8s_namespace'>,
  body: z.infer<typeof deploymentPatch>,
): void {
  if (body.name && body.name !== row.name) throw bad(`name cannot be changed: this deployment is "${row.name}"`);
  if (body.source && body.source !== row.source) throw bad(`source cannot be changed: it is "${row.source}"`);
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
