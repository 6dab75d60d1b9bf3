/**
 * How far the role's permissions reach: `scoped` against the five AWS policies of `managed`, in actions, counted from
 * AWS's documents and its list of all actions (services/rehearsal/account, where the emulated IAM reads them, too).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Denial } from '../services/reconciler/aws/denials.ts';
import type { Grant } from '../services/reconciler/aws/grant.ts';

export interface Reach {
  /** Actions that some grant has. */
  readonly granted: readonly string[];
  /** Grants on everything, with no condition: AWS offers nothing narrower. */
  readonly unscoped: readonly Grant[];
  /**
   * Actions that one of the five allows on something. Of a service that is not in the list of actions, a pattern such
   * as `sns:Get*` counts as one: so they are more.
   */
  readonly managed: readonly string[];
  /** Of those, what is neither granted nor denied. */
  readonly more: readonly string[];
  /** Of what is granted, within bounds, what the five allow on everything. */
  readonly unbounded: readonly string[];
}

interface Statement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Action: string | string[];
  readonly Resource: string | string[];
  readonly Condition?: object;
}

const DATA = join(import.meta.dirname, '..', 'services', 'rehearsal', 'account');
const read = (name: string): unknown => JSON.parse(readFileSync(join(DATA, name), 'utf8'));

const matches = (pattern: string, action: string): boolean =>
  new RegExp(`^${pattern.replaceAll('*', '.*')}$`, 'i').test(action);

/** What the patterns stand for; a pattern of a service that nobody listed stays as it is. */
function actionsOf(patterns: readonly string[]): string[] {
  const { services } = read('authorization.json') as { services: Record<string, { actions: object }> };
  const found = patterns.flatMap((pattern) => {
    const service = serviceOf(pattern);
    if (!pattern.includes('*') || !(service in services)) return [pattern];
    const all = Object.keys(services[service]!.actions).map((name) => `${service}:${name}`);
    return all.filter((action) => matches(pattern, action));
  });
  return [...new Set(found)].toSorted();
}

const isLimited = ({ resources, conditions }: Grant): boolean => conditions !== undefined || !resources.includes('*');

export function reach(granted: readonly Grant[], denied: readonly Denial[], policies: readonly string[]): Reach {
  const documents = read('managed-policies.json') as Record<string, { document: { Statement: Statement[] } }>;
  const statements = policies.flatMap((name) => documents[name]!.document.Statement);
  const managed = actionsOf(statements.flatMap(({ Action }) => Action));
  const everywhere = actionsOf(
    statements
      .filter(({ Resource, Condition }) => Condition === undefined && [Resource].flat().includes('*'))
      .flatMap(({ Action }) => Action),
  );
  const own = [...new Set(granted.flatMap(({ actions }) => actions))].toSorted();
  const forbidden = denied.flatMap(({ actions = [], resources, conditions }) =>
    conditions === undefined && (resources === undefined || resources.includes('*')) ? actions : [],
  );
  const limited = new Set(granted.filter(isLimited).flatMap(({ actions }) => actions));
  return {
    granted: own,
    unscoped: granted.filter((grant) => !isLimited(grant)),
    managed,
    more: managed.filter((action) => !own.includes(action) && !forbidden.some((each) => matches(each, action))),
    unbounded: everywhere.filter((action) => limited.has(action)),
  };
}

export const serviceOf = (action: string): string => action.split(':')[0]!;

/** The worst of what `managed` allows and nothing needs, in a reviewer's words. A test holds that each is so. */
export const WORST: Readonly<Record<string, string>> = {
  'rds:DeleteDBSnapshot': "delete the snapshots of every database in the account, whoever's they are",
  'rds:DeleteDBCluster': 'delete clusters of databases, without a final snapshot',
  'rds:DeleteDBInstanceAutomatedBackup': 'delete the backups that outlive a deleted database',
  'rds:CreateDBCluster': 'make databases, public ones too, at any price',
  'secretsmanager:UpdateSecret': 'put another value in place of any secret, also one that others use',
  'secretsmanager:DeleteResourcePolicy': 'take away what protects a secret',
  'ecs:DeleteTaskDefinitions': 'delete the definitions of others',
  'ecs:UpdateServicePrimaryTaskSet': 'send the traffic of others elsewhere',
  'ecs:StopTask': 'stop the tasks of others',
  'ec2:DeleteVpc': 'delete networks of others',
  'cloudwatch:DeleteAlarms': 'switch alarms off',
  'route53:DeleteHostedZone': 'delete DNS zones',
  'sns:Publish': 'send messages to every topic',
};
