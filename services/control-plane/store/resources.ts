/** A deployment's resources as people read them: in the timeline and in receipts. A pass reads its own rows. */
import type { Selectable } from 'kysely';
import type { Database, Made, Resources, Tx } from './database.ts';

export type ResourceRow = Selectable<Resources>;

/** What it is called in the account, as far as that is known. */
export const madeOf = ({
  id,
  kind,
  inputs,
  outputs,
}: Pick<ResourceRow, 'id' | 'kind' | 'inputs' | 'outputs'>): Made => ({
  id,
  kind,
  // What has no name of its own is called by its family, by the service that it scales, or by its route.
  name:
    textIn(inputs, 'name') ??
    textIn(inputs, 'family') ??
    textIn(inputs, 'service') ??
    textIn((inputs as { match?: unknown } | null)?.match, 'path') ??
    textIn((inputs as { match?: unknown } | null)?.match, 'host'),
  arn: textIn(outputs, 'arn'),
  ...(textIn(outputs, 'finalSnapshot') === null ? {} : { snapshot: textIn(outputs, 'finalSnapshot') }),
});

const textIn = (value: unknown, name: string): string | null => {
  const found = (value as Record<string, unknown> | null)?.[name];
  return typeof found === 'string' ? found : null;
};

export const listResources = (db: Database | Tx, deploymentId: string): Promise<ResourceRow[]> =>
  db.selectFrom('resources').selectAll().where('deployment_id', '=', deploymentId).orderBy('seq').limit(500).execute();

/** All that AWS was asked for, and that has not gone. */
export const madeFor = async (db: Database | Tx, deploymentId: string): Promise<Made[]> =>
  (await listResources(db, deploymentId)).filter(({ inputs }) => inputs !== null).map(madeOf);
