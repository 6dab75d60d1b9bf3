/** What the kinds that are secrets share. Their values are written here and never read. */
import {
  CreateSecretCommand,
  DeleteSecretCommand,
  DescribeSecretCommand,
  RestoreSecretCommand,
  UntagResourceCommand,
  type DescribeSecretCommandOutput,
} from '@aws-sdk/client-secrets-manager';
import { randomUUID } from 'node:crypto';
import type { Account } from '../aws/account.ts';
import { arn, changesOurs, createsOurs, ours } from '../aws/arn.ts';
import { explain, hasCode } from '../aws/errors.ts';
import { PROVISIONING_ENDS, deletes, isProvisional, provisional, throughGate, untags } from '../aws/gate.ts';
import type { Grant, Scope } from '../aws/grant.ts';
import { TAG, requireOurs, tagList, tagRecord } from '../aws/tags.ts';
import type { Change, Cx } from '../resource.ts';

const RECOVERY_DAYS = 7;

/** Of a secret's inputs. */
export interface Served {
  /** Its deployment has served: it may hold what cannot be made again. */
  readonly served?: true;
}

const isNoSecret = (error: unknown): boolean => hasCode(error, 'ResourceNotFoundException');

export type Found = DescribeSecretCommandOutput;

/** Undefined when there is none. One in its recovery window is found, with a `DeletedDate`. */
export async function describe(aws: Account, name: string): Promise<Found | undefined> {
  try {
    return await aws.secrets.send(new DescribeSecretCommand({ SecretId: name }));
  } catch (error) {
    if (isNoSecret(error)) return undefined;
    throw error;
  }
}

/**
 * Ours, and not in its recovery window.
 * @throws Terminal when it is not ours
 */
export async function findOurs({ aws, tags }: Pick<Cx, 'aws' | 'tags'>, name: string): Promise<Found | undefined> {
  const found = await describe(aws, name);
  if (found === undefined || found.DeletedDate !== undefined) return undefined;
  requireOurs(tagRecord(found.Tags), tags, name);
  return found;
}

/**
 * Makes it with its tags, or takes it out of its recovery window, with the values that it had.
 * @throws Terminal when there is one that is not ours
 */
export async function make(
  cx: Cx,
  secret: { readonly Name: string; readonly Description: string; readonly SecretString?: string },
): Promise<void> {
  const { aws, tags, fence } = cx;
  try {
    const ClientRequestToken = secret.SecretString === undefined ? undefined : randomUUID();
    await aws.secrets.send(new CreateSecretCommand({ ...secret, ClientRequestToken, Tags: tagList(provisional(cx)) }));
  } catch (error) {
    // It exists; or it waits for its end, which Secrets Manager says with a code that means other things too.
    if (!hasCode(error, 'ResourceExistsException', 'InvalidRequestException')) throw error;
    const found = await describe(aws, secret.Name);
    if (found === undefined) throw error;
    requireOurs(tagRecord(found.Tags), tags, secret.Name);
    if (found.DeletedDate === undefined) return;
    await fence();
    await aws.secrets.send(new RestoreSecretCommand({ SecretId: secret.Name }));
  }
}

/** Whether it is to lose its mark of what never served: its deployment has. */
export const provisioningOf = ({ served }: Served, live: { readonly isProvisional: boolean }): Change[] =>
  served && live.isProvisional ? [PROVISIONING_ENDS] : [];

export const provisionalIn = (found: Found): boolean => isProvisional(tagRecord(found.Tags));

export async function endProvisioning(aws: Account, SecretId: string): Promise<void> {
  await aws.secrets.send(new UntagResourceCommand({ SecretId, TagKeys: [TAG.provisioning] }));
}

/** Answers why it cannot go yet. */
export async function remove(aws: Account, name: string): Promise<string | void> {
  try {
    const deleting = new DeleteSecretCommand({ SecretId: name, RecoveryWindowInDays: RECOVERY_DAYS });
    await throughGate(() => aws.secrets.send(deleting));
  } catch (error) {
    if (isNoSecret(error)) return;
    // Already in its recovery window, and then it is not found any more; or it has replicas in other regions.
    if (hasCode(error, 'InvalidRequestException')) return explain(error).message;
    throw error;
  }
}

export function secretGrants(scope: Scope): Grant[] {
  const resources = [arn(scope, 'secretsmanager', `secret:${scope.prefix}/${ours(scope).folder}`)];
  return [
    {
      actions: ['secretsmanager:DescribeSecret', 'secretsmanager:ListSecretVersionIds'],
      resources,
      why: 'sees whether a secret and its versions exist; never their values',
    },
    {
      actions: ['secretsmanager:ListSecrets'],
      resources: ['*'],
      why:
        "sees the secrets of ten deployments a call; AWS has no narrower scope. It shows your other secrets' names, never " +
        'their values; without it each secret is asked for by itself',
    },
    {
      actions: ['secretsmanager:CreateSecret', 'secretsmanager:TagResource'],
      resources,
      conditions: createsOurs(scope),
      why: "makes a deployment's secrets, tagged from the start",
    },
    {
      actions: [
        'secretsmanager:PutSecretValue',
        'secretsmanager:UpdateSecretVersionStage',
        'secretsmanager:RestoreSecret',
      ],
      resources,
      conditions: changesOurs(scope),
      why: 'adds new values, sweeps versions that nothing uses, takes a secret out of its recovery window',
    },
    ...deletes(scope, {
      actions: ['secretsmanager:DeleteSecret'],
      resources,
      conditions: { NumericGreaterThanEquals: { 'secretsmanager:RecoveryWindowInDays': String(RECOVERY_DAYS) } },
      why: `removes a deleted deployment's secrets, with ${RECOVERY_DAYS} days to recover them`,
    }),
    ...untags(scope, 'secretsmanager:UntagResource', resources),
  ];
}
