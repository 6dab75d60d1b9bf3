import {
  ListSecretVersionIdsCommand,
  PutSecretValueCommand,
  UpdateSecretVersionStageCommand,
  type SecretVersionsListEntry,
} from '@aws-sdk/client-secrets-manager';
import { randomUUID } from 'node:crypto';
import type { Account } from '../aws/account.ts';
import { Terminal, hasCode } from '../aws/errors.ts';
import { secretName } from '../aws/names.ts';
import { ownerTags } from '../aws/tags.ts';
import type { PlaceOutputs } from '../place.ts';
import type { Cx, Kind } from '../resource.ts';
import {
  describe,
  endProvisioning,
  findOurs,
  make,
  provisionalIn,
  provisioningOf,
  remove,
  secretGrants,
  type Served,
} from './secrets.ts';

export interface EnvironmentInputs extends Served {
  readonly name: string;
  /** By version id: the names of the variables whose values are in it. */
  readonly versions: Readonly<Record<string, readonly string[]>>;
  /** Versions that another revision may need. */
  readonly keep: readonly string[];
}

interface Live {
  readonly arn: string;
  readonly missing: readonly string[];
  /** Needed, and there, but without its label: it was swept before a later revision came to need it. */
  readonly fading: readonly string[];
  readonly unused: readonly string[];
  readonly isProvisional: boolean;
}

/** The node's id, and the last part of the secret's name. */
export const ENVIRONMENT = 'environment';

/**
 * A request writes its version before the revision that uses it is accepted: what is younger may be that. Not longer,
 * for a secret has at most 20 labels: two of AWS's own, one for each version that is kept, and the young ones'.
 */
const YOUNG_SECONDS = 600;

const FULL =
  `the deployment's secret has as many versions as AWS keeps: what requests of the last ${YOUNG_SECONDS / 60} minutes ` +
  'gave is not swept yet: give all values in one request, or wait so long';

/** In a plan: stands for the version that the request would write. */
export const UNWRITTEN = '(known after "environment")';
const NEW_VERSION = 'a new version, with';

/** Keeps a version alive: Secrets Manager deletes versions without a label. */
const labelOf = (versionId: string): string => `freehold-${versionId}`;

/**
 * The user's variables: one secret, a version for each request that changed any, with only the values of that request.
 * The API writes the values (`writeEnvironment`); this kind sees to it that they are there and sweeps what nothing
 * uses.
 */
export const environment: Kind<EnvironmentInputs, Live, { arn: string }> = {
  kind: 'environment',
  iam: secretGrants,
  pollSeconds: 2,
  limitSeconds: 300,
  // A request makes it and writes to it; a pass moves labels, one call each.
  calls: (_, changes) => ({
    observe: 2,
    create: 2,
    change: changes.reduce((sum, { field, from }) => sum + (field === NEW_VERSION ? 1 : Number(from)), 0),
    remove: 1,
  }),
  cost: () => [{ what: 'secret', count: 1 }],
  stateful: {
    alarm: 'SECRET_VALUES_LOST',
    lost({ versions }) {
      const written = Object.entries(versions).filter(([id]) => id !== UNWRITTEN);
      return written.length > 0 ? deleted(written.flatMap(([, names]) => names)) : undefined;
    },
    async rescue({ aws }, { name }) {
      const found = await describe(aws, name);
      return found?.DeletedDate === undefined ? [] : [`the secret in its recovery window: RestoreSecret "${name}"`];
    },
  },

  async observe(cx, inputs) {
    const found = await findOurs(cx, inputs.name);
    if (found === undefined) return { is: 'absent' };
    const versions = await listVersions(cx.aws, inputs.name);
    const labelled = versions.filter((version) => version.VersionStages?.includes(labelOf(version.VersionId!)));
    const there = new Set(versions.map((version) => version.VersionId!));
    const kept = new Set(labelled.map((version) => version.VersionId!));
    const used = new Set([...Object.keys(inputs.versions), ...inputs.keep]);
    const oldEnough = Date.now() - YOUNG_SECONDS * 1000;
    const unused = labelled
      .filter((version) => !used.has(version.VersionId!) && (version.CreatedDate?.getTime() ?? 0) < oldEnough)
      .map((version) => version.VersionId!);
    const missing = Object.entries(inputs.versions).flatMap(([id, names]) =>
      there.has(id) || id === UNWRITTEN ? [] : names,
    );
    const fading = Object.keys(inputs.versions).filter((id) => there.has(id) && !kept.has(id));
    const live = { arn: found.ARN!, missing, fading, unused, isProvisional: provisionalIn(found) };
    return missing.length > 0
      ? { is: 'broken', live, why: deleted(missing), lost: true }
      : { is: 'ready', live, out: { arn: live.arn } };
  },

  diff: ({ versions, served }, live) => [
    ...provisioningOf({ served }, live),
    ...(UNWRITTEN in versions ? [{ field: NEW_VERSION, from: null, to: versions[UNWRITTEN] }] : []),
    ...(live.fading.length > 0
      ? [{ field: 'versions without a label', from: live.fading.length, to: 0, isUpkeep: true as const }]
      : []),
    ...(live.unused.length > 0
      ? [{ field: 'unused versions', from: live.unused.length, to: 0, isUpkeep: true as const }]
      : []),
  ],

  async converge({ aws, fence }, inputs, live) {
    if (live === undefined) throw new Terminal(deleted(Object.values(inputs.versions).flat()));
    if (provisioningOf(inputs, live).length > 0) {
      await endProvisioning(aws, inputs.name);
      await fence();
    }
    for (const [id, to] of [
      ...live.unused.map((id) => [id, { RemoveFromVersionId: id }] as const),
      ...live.fading.map((id) => [id, { MoveToVersionId: id }] as const),
    ])
      await aws.secrets.send(
        new UpdateSecretVersionStageCommand({ SecretId: inputs.name, VersionStage: labelOf(id), ...to }),
      );
  },

  remove: ({ aws }, inputs) => remove(aws, inputs.name),
};

/** We keep no values, so only the user can bring one back. */
const deleted = (names: readonly string[]): string =>
  `the value was deleted from the account: ${names.map((name) => `"${name}"`).join(', ')}: give it again`;

async function listVersions(aws: Account, name: string): Promise<SecretVersionsListEntry[]> {
  const versions: SecretVersionsListEntry[] = [];
  let NextToken: string | undefined;
  do {
    const page = await aws.secrets.send(
      new ListSecretVersionIdsCommand({ SecretId: name, IncludeDeprecated: true, MaxResults: 100, NextToken }),
    );
    versions.push(...(page.Versions ?? []));
    NextToken = page.NextToken;
  } while (NextToken !== undefined);
  return versions;
}

/** Which of these versions are there no more: swept and then deleted by AWS, or deleted by somebody. */
export async function lostVersions(
  aws: Account,
  place: { readonly prefix: string; readonly original?: true },
  deployment: { readonly id: string },
  versionIds: readonly string[],
): Promise<string[]> {
  const name = secretName(place, deployment.id, ENVIRONMENT);
  const found = await findOurs({ aws, tags: ownerTags(place, deployment.id, ENVIRONMENT) }, name);
  const there = found === undefined ? [] : (await listVersions(aws, name)).map((version) => version.VersionId);
  return versionIds.filter((id) => !there.includes(id));
}

/**
 * Writes one request's values as a new version of the deployment's secret, making the secret when it is not there yet.
 * The values pass through and are gone: nothing of them is kept, logged or named in an error.
 * @param fence asked before each write
 * @returns the version's id, which is what a revision's variables refer to
 * @throws Terminal when a secret of that name exists and is not the deployment's, or it has no room for a version
 */
export async function writeEnvironment(
  aws: Account,
  place: Pick<PlaceOutputs, 'prefix' | 'original' | 'deletionGate'>,
  deployment: { readonly id: string },
  values: Readonly<Record<string, string>>,
  fence: Cx['fence'] = () => Promise.resolve(),
): Promise<string> {
  const name = secretName(place, deployment.id, ENVIRONMENT);
  const tags = ownerTags(place, deployment.id, ENVIRONMENT);
  if ((await findOurs({ aws, tags }, name)) === undefined) {
    const Description = `Environment of deployment ${deployment.id}; each version holds what one request set`;
    await fence();
    await make({ aws, tags, fence, deletionGate: place.deletionGate }, { Name: name, Description });
  }
  const versionId = randomUUID();
  await fence();
  try {
    await aws.secrets.send(
      new PutSecretValueCommand({
        SecretId: name,
        ClientRequestToken: versionId,
        SecretString: JSON.stringify(values),
        VersionStages: ['AWSCURRENT', labelOf(versionId)],
      }),
    );
  } catch (error) {
    if (hasCode(error, 'LimitExceededException')) throw new Terminal(FULL);
    throw error;
  }
  return versionId;
}
