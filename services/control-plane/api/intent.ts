/** From a request and what was asked before to what a revision asks for. Pure: no store, no account. */
import type { z } from '@hono/zod-openapi';
import { RESERVED } from '../../reconciler/platforms/environment.ts';
import { OWN_POSTGRES, type ServerResources } from '../../reconciler/spec.ts';
import { digestOf } from '../redact.ts';
import type { Variable } from '../store/database.ts';
import { bad, invalid } from './errors.ts';
import type { resourceSpec, secret, sourceConfigRequest, sourceRevisionConfigRequest } from './schemas.ts';

export type ResourceSpec = z.infer<typeof resourceSpec>;
export type Secret = z.infer<typeof secret>;
type SourceConfig = z.infer<typeof sourceConfigRequest>;
type SourceRevisionConfig = z.infer<typeof sourceRevisionConfigRequest>;
export type DeploymentType = 'dev' | 'prod';

/** Versions of the secret that one revision's variables may be spread over: AWS keeps twenty, for all revisions. */
const VERSIONS_LIMIT = 8;
/** Of one version of a secret, by Secrets Manager's quota. */
const SECRET_BYTES = 65_536;
/** Of a task definition, by ECS's quota; the rest of it needs less than what is left over. */
const DEFINITION_BYTES = 65_536;
const REST_BYTES = 8192;
/** `{"name":"","valueFrom":"<the secret's ARN>::<version id>"}`, at most, without the name, which is in it twice. */
const REFERENCE_BYTES = 220;

export function checkSecrets(secrets: readonly Secret[]): void {
  const seen = new Set<string>();
  for (const [i, { name }] of secrets.entries()) {
    const at = ['secrets', i, 'name'];
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw invalid(at, `"${name}" is not a name for an environment variable`);
    if (RESERVED.includes(name)) throw invalid(at, `"${name}" is reserved: the platform sets it`);
    if (seen.has(name)) throw invalid(at, `"${name}" is given twice`);
    seen.add(name);
  }
  const bytes = secrets.reduce((sum, { name }) => sum + 2 * Buffer.byteLength(name) + REFERENCE_BYTES, 0);
  if (bytes > DEFINITION_BYTES - REST_BYTES)
    throw invalid(
      ['secrets'],
      `${secrets.length} variables take ${bytes} bytes of the task definition, in which ECS leaves ` +
        `${DEFINITION_BYTES - REST_BYTES} for them: use fewer, or shorter names`,
    );
  if (Buffer.byteLength(JSON.stringify(valuesOf(secrets))) > SECRET_BYTES)
    throw invalid(['secrets'], `the values together are larger than ${SECRET_BYTES} bytes`);
}

/** What is to be written into the customer's account. */
export const valuesOf = (secrets: readonly Secret[]): Record<string, string> =>
  Object.fromEntries(secrets.flatMap(({ name, value }) => (typeof value === 'string' ? [[name, value]] : [])));

/**
 * The whole list replaces the one before; a variable without a value keeps the one that it has.
 * @param versionId where the given values were written
 */
export function environmentOf(
  secrets: readonly Secret[],
  before: readonly Variable[],
  versionId: string | null,
  digestKey: Buffer,
): Variable[] {
  const environment = secrets.map(({ name, value }, i): Variable => {
    if (typeof value === 'string') return { name, versionId: versionId!, digest: digestOf(digestKey, value) };
    const kept = before.find((variable) => variable.name === name);
    if (!kept) throw invalid(['secrets', i, 'value'], `"${name}" has no value yet: give it one`, 'missing');
    return kept;
  });
  const versions = new Set(environment.map((variable) => variable.versionId));
  if (versions.size > VERSIONS_LIMIT)
    throw bad(`the variables were set in more than ${VERSIONS_LIMIT} requests: give all their values in one`);
  return environment;
}

/** Checked before the values are written, so that a request which names an unknown variable leaves nothing behind. */
export const checkKept = (secrets: readonly Secret[], before: readonly Variable[]): void =>
  void environmentOf(secrets, before, 'not written yet', Buffer.alloc(32));

/**
 * Where a deployment's data is cannot change under it: neither would the data move, nor would a redeploy of an earlier
 * revision find it again.
 * @param serving the variables of the revision that serves; undefined: nothing has run yet, so there is no data
 */
export function checkDatabase(names: readonly { name: string }[], serving: readonly Variable[] | undefined): void {
  if (serving === undefined) return;
  const isOwn = (list: readonly { name: string }[]): boolean => list.some(({ name }) => name === OWN_POSTGRES);
  if (isOwn(names) === isOwn(serving)) return;
  throw bad(
    isOwn(serving)
      ? `"${OWN_POSTGRES}" cannot be left out: the deployment's data is in that database: name it (without a value it ` +
          `keeps the one it has), or make another deployment`
      : `"${OWN_POSTGRES}" cannot be added: the deployment's data is in the database made for it: make another deployment`,
  );
}

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
  if (spec.min_scale === 0) throw bad('Scale to zero deployments are not supported in AWS environments');
  const minScale = spec.min_scale ?? base.minScale;
  const maxScale = spec.max_scale ?? Math.max(base.maxScale, minScale);
  if (maxScale < minScale) throw bad(`resource_spec.max_scale (${maxScale}) is below min_scale (${minScale})`);
  return { cpu: spec.cpu ?? base.cpu, memoryMb: spec.memory_mb ?? base.memoryMb, minScale, maxScale };
}

/** Without nulls, so that what was not asked is not kept. */
export const specOf = (spec: ResourceSpec): ResourceSpec =>
  Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== null && value !== undefined));

export function typeOf(asked: string | null | undefined): DeploymentType {
  if (asked === null || asked === undefined) return 'prod';
  if (asked === 'dev' || asked === 'prod') return asked;
  if (asked.endsWith('_zero') || asked === 'serverless')
    throw bad('Scale to zero deployments are not supported in AWS environments');
  throw bad(`deployment_type "${asked}" is not offered: use "dev" or "prod"`);
}

export function checkSource(source: string): void {
  if (source !== 'external_docker')
    throw bad(
      `source "${source}" is not supported here: use "external_docker" with an image in the customer's registry`,
    );
}

/** What a prebuilt image has no use for, and a request may not change later. */
export function checkSourceConfig(config: SourceConfig | null | undefined): void {
  for (const name of ['integration_id', 'repo_url', 'install_command', 'build_command', 'template_id'] as const)
    if (config?.[name]) throw bad(`source_config.${name} does not apply to source "external_docker"`);
  if (config?.build_on_push) throw bad('source_config.build_on_push does not apply to source "external_docker"');
}

export function checkRevisionConfig(config: SourceRevisionConfig | null | undefined): void {
  for (const name of ['repo_ref', 'langgraph_config_path', 'source_tarball_path'] as const)
    if (config?.[name]) throw bad(`source_revision_config.${name} does not apply to source "external_docker"`);
}

export function checkCustomUrl(url: string): void {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw invalid(['source_config', 'custom_url'], `"${url}" is not an http or https URL`);
}
