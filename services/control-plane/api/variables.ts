/** The variables of a revision: values that go to the customer's account, references to secrets of his own. */
import type { z } from '@hono/zod-openapi';
import { UNWRITTEN } from '../../reconciler/kinds/environment.ts';
import { RESERVED } from '../../reconciler/platforms/environment.ts';
import { OWN_POSTGRES, PUBLIC_WITHOUT_AUTH, sets } from '../../reconciler/spec.ts';
import { digestOf } from '../redact.ts';
import type { Reference, Variable } from '../store/database.ts';
import { bad, invalid } from './errors.ts';
import type { secret, secretReference } from './schemas.ts';

export type Secret = z.infer<typeof secret>;
export type ReferenceRequest = z.infer<typeof secretReference>;

/** As a revision has them. */
export interface Variables {
  readonly environment: readonly Variable[];
  readonly references: readonly Reference[];
}

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
  for (const [i, { name, value }] of secrets.entries())
    if (name === PUBLIC_WITHOUT_AUTH && typeof value === 'string' && value !== 'true')
      throw invalid(['secrets', i, 'value'], `"${name}" says what it says with "true": leave it out to say nothing`);
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
export const notWritten = (digestKey: Buffer): Written => ({ versionId: UNWRITTEN, digestKey });

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

/** Whether the user brought it: then it is not ours to change. */
export const isOwnDatabase = (variables: Variables): boolean => sets(variables, OWN_POSTGRES);

/**
 * What there was before with what is given now. What has a name now takes it from what had it before.
 * @param secrets the whole list; null: as before, and so with the references
 * @throws ApiError when they do not fit, or one has no value
 */
export function variablesAfter(
  before: Variables,
  secrets: readonly Secret[] | null,
  references: readonly Reference[] | null,
  written: Written,
): Variables {
  const environment = secrets ? environmentOf(secrets, before.environment, written) : before.environment;
  const next = {
    environment: without(environment, references ?? []),
    references: without(references ?? before.references, secrets ?? []),
  };
  checkDefinition(next);
  return next;
}

const without = <T extends { name: string }>(list: readonly T[], taken: readonly { name: string }[]): T[] =>
  list.filter(({ name }) => !taken.some((one) => one.name === name));
