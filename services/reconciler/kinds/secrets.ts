/** What the kinds that are secrets share. Their values are written here and never read. */
import {
  DeleteSecretCommand,
  DescribeSecretCommand,
  RestoreSecretCommand,
  type DescribeSecretCommandOutput,
} from '@aws-sdk/client-secrets-manager';
import type { Account } from '../aws/account.ts';
import { arn, changesOurs, createsOurs } from '../aws/arn.ts';
import { isNotFound } from '../aws/errors.ts';
import type { Grant, Scope } from '../aws/grant.ts';

const RECOVERY_DAYS = 7;

export const isNoSecret = (error: unknown): boolean => isNotFound(error, 'ResourceNotFoundException');
/** Among other things: it is in its recovery window. */
export const isInRecovery = (error: unknown): boolean => isNotFound(error, 'InvalidRequestException');

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

/** Takes it out of its recovery window. */
export const restore = (aws: Account, name: string): Promise<unknown> =>
  aws.secrets.send(new RestoreSecretCommand({ SecretId: name }));

export async function remove(aws: Account, name: string): Promise<void> {
  try {
    await aws.secrets.send(new DeleteSecretCommand({ SecretId: name, RecoveryWindowInDays: RECOVERY_DAYS }));
  } catch (error) {
    if (!isNoSecret(error) && !isInRecovery(error)) throw error;
  }
}

export function secretGrants(scope: Scope): Grant[] {
  const resources = [arn(scope, 'secretsmanager', `secret:${scope.prefix}/*`)];
  return [
    {
      actions: ['secretsmanager:DescribeSecret', 'secretsmanager:ListSecretVersionIds'],
      resources,
      why: 'sees whether a secret and its versions exist; never their values',
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
    {
      actions: ['secretsmanager:DeleteSecret'],
      resources,
      conditions: {
        ...changesOurs(scope),
        NumericGreaterThanEquals: { 'secretsmanager:RecoveryWindowInDays': String(RECOVERY_DAYS) },
      },
      why: `removes a deleted deployment's secrets, with ${RECOVERY_DAYS} days to recover them`,
    },
  ];
}
