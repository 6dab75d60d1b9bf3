/** What a call is about, by its parameters: AWS's APIs each call it something else. */

/** The narrower before the wider: a service, and not the cluster that it is in. None of these is ever a secret. */
const FIELDS = [
  'service',
  'serviceName',
  'serviceDeploymentArn',
  'taskDefinition',
  'family',
  'DBInstanceIdentifier',
  'DBSnapshotIdentifier',
  'SecretId',
  'TargetGroupArn',
  'RuleArn',
  'ListenerArn',
  'GroupId',
  'GroupName',
  'ResourceId',
  'resourceArn',
  'ResourceARN',
  'ResourceName',
  'ResourceArns',
  'Resources',
  'logGroupName',
  'repositoryName',
  'Bucket',
  'ServiceId',
  'Id',
  'Name',
  'RoleArn',
] as const;

/** A name, an id or an ARN; of several, separated by commas; empty when the call names none. */
export function subjectOf(input: unknown): string {
  const given = input as Readonly<Record<string, unknown>>;
  for (const field of FIELDS) {
    const value = [given[field]].flat().filter((each) => typeof each === 'string');
    if (value.length > 0) return value.join(',');
  }
  return '';
}
