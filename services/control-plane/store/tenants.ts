/** What admins look after: the workspaces of their organization, its keys and its members. */
import type { Selectable } from 'kysely';
import { hashOf, newKey, SETTING, SHOWN } from './access.ts';
import { now, type ApiKeys, type Database, type Members, type Page, type Role, type Workspaces } from './database.ts';

export type WorkspaceRow = Selectable<Workspaces>;
export type KeyRow = Omit<Selectable<ApiKeys>, 'hash'>;
export type MemberRow = Selectable<Members>;

/** What of it an admin may see and change. */
export interface Reach {
  readonly organizationId: string;
  /** Null: all of the organization; else what is of this workspace alone. */
  readonly workspaceId: string | null;
}

/** @param ids only these; null: all */
export const listWorkspaces = (
  db: Database,
  organizationId: string,
  ids: readonly string[] | null,
  page: Page,
): Promise<WorkspaceRow[]> =>
  db
    .selectFrom('workspaces')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .$if(ids !== null, (query) => query.where((e) => e('id', '=', e.fn.any(e.val([...ids!])))))
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(page.limit)
    .offset(page.offset)
    .execute();

/** The names of an organization and of a workspace. */
export const namesOf = (
  db: Database,
  organizationId: string,
  workspaceId: string | null,
): Promise<{ organization: string; workspace: string | null }> =>
  db
    .selectFrom('organizations as o')
    .leftJoin('workspaces as w', (join) => join.on('w.id', '=', workspaceId))
    .select(['o.name as organization', 'w.name as workspace'])
    .where('o.id', '=', organizationId)
    .executeTakeFirstOrThrow();

export async function isWorkspaceOf(db: Database, organizationId: string, id: string): Promise<boolean> {
  const query = db.selectFrom('workspaces').select('id').where('id', '=', id);
  return (await query.where('organization_id', '=', organizationId).executeTakeFirst()) !== undefined;
}

/** Undefined: the name is taken. */
export const makeWorkspace = (db: Database, organizationId: string, name: string): Promise<WorkspaceRow | undefined> =>
  db
    .insertInto('workspaces')
    .values({ name, organization_id: organizationId })
    .onConflict((conflict) => conflict.columns(['organization_id', 'name']).doNothing())
    .returningAll()
    .executeTakeFirst();

const UNIQUE_VIOLATION = '23505';

/** Undefined: the name is taken. */
export async function renameWorkspace(db: Database, id: string, name: string): Promise<WorkspaceRow | undefined> {
  try {
    return await db.updateTable('workspaces').set({ name }).where('id', '=', id).returningAll().executeTakeFirst();
  } catch (error) {
    if ((error as { code?: string }).code === UNIQUE_VIOLATION) return undefined;
    throw error;
  }
}

const KEY_COLUMNS = [
  'id',
  'organization_id',
  'workspace_id',
  'organization_wide',
  'role',
  'name',
  'prefix',
  'created_at',
  'expires_at',
  'last_used_at',
  'revoked_at',
] as const;

export const listKeys = (db: Database, { organizationId, workspaceId }: Reach, page: Page): Promise<KeyRow[]> =>
  db
    .selectFrom('api_keys')
    .select(KEY_COLUMNS)
    .where('organization_id', '=', organizationId)
    .$if(workspaceId !== null, (query) =>
      query.where('workspace_id', '=', workspaceId).where('organization_wide', '=', false),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(page.limit)
    .offset(page.offset)
    .execute();

/** @returns with the key itself, which is nowhere afterwards */
export async function makeKey(
  db: Database,
  given: {
    organizationId: string;
    workspaceId: string | null;
    organizationWide: boolean;
    role: Role;
    name: string;
    expiresAt: Date | null;
  },
): Promise<{ row: KeyRow; key: string }> {
  const key = newKey();
  const row = await db
    .insertInto('api_keys')
    .values({
      organization_id: given.organizationId,
      workspace_id: given.workspaceId,
      organization_wide: given.organizationWide,
      role: given.role,
      name: given.name,
      expires_at: given.expiresAt,
      prefix: key.slice(0, SHOWN),
      hash: hashOf(key),
    })
    .returning(KEY_COLUMNS)
    .executeTakeFirstOrThrow();
  return { row, key };
}

/** False: there is no such key in reach. One that was revoked before stays so. */
export async function revokeKey(db: Database, { organizationId, workspaceId }: Reach, id: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('api_keys')
    .set((e) => ({ revoked_at: e.fn.coalesce('revoked_at', now) }))
    .where('id', '=', id)
    .where('organization_id', '=', organizationId)
    .$if(workspaceId !== null, (query) =>
      query.where('workspace_id', '=', workspaceId).where('organization_wide', '=', false),
    )
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Keys that ended long ago; but what the setting names has to stay revoked. */
export async function forgetKeys(db: Database, days: number): Promise<void> {
  const before = new Date(Date.now() - days * 86_400_000);
  await db
    .deleteFrom('api_keys')
    .where('name', '!=', SETTING)
    .where((e) => e.or([e('revoked_at', '<', before), e('expires_at', '<', before)]))
    .execute();
}

export const listMembers = (db: Database, { organizationId, workspaceId }: Reach, page: Page): Promise<MemberRow[]> =>
  db
    .selectFrom('members')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .$if(workspaceId !== null, (query) => query.where('workspace_id', '=', workspaceId))
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(page.limit)
    .offset(page.offset)
    .execute();

/** Undefined: whoever has that claim has a role there already. */
export const addMember = (
  db: Database,
  { organizationId, workspaceId }: Reach,
  { claim, value, role }: Pick<MemberRow, 'claim' | 'value' | 'role'>,
): Promise<MemberRow | undefined> =>
  db
    .insertInto('members')
    .values({ organization_id: organizationId, workspace_id: workspaceId, claim, value, role })
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst();

/** False: there is no such member in reach. */
export async function removeMember(db: Database, { organizationId, workspaceId }: Reach, id: string): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom('members')
    .where('id', '=', id)
    .where('organization_id', '=', organizationId)
    .$if(workspaceId !== null, (query) => query.where('workspace_id', '=', workspaceId))
    .executeTakeFirst();
  return numDeletedRows > 0n;
}
