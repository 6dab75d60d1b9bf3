/** Workspaces and the keys that open them. */
import { createHash, randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import type { Database, Role } from './database.ts';

const DIGEST_KEY = 'digest key';
const SHOWN = 8;

export const hashOf = (key: string): Buffer => createHash('sha256').update(key).digest();

/** A caller who was let in. */
export interface Caller {
  readonly organizationId: string;
  /** The one that this request is about. */
  readonly workspaceId: string;
  readonly role: Role;
  /** Of the key, or of the token's subject. */
  readonly name: string;
  /** Null: a token's bearer. */
  readonly keyId: string | null;
}

/** Whom a key lets in. */
export async function callerOf(db: Database, key: string): Promise<Caller | undefined> {
  const found = await db
    .selectFrom('api_keys')
    .select(['id', 'organization_id', 'workspace_id', 'role', 'name'])
    .where('hash', '=', hashOf(key))
    .where('workspace_id', 'is not', null)
    .executeTakeFirst();
  return (
    found && {
      organizationId: found.organization_id,
      workspaceId: found.workspace_id!,
      role: found.role,
      name: found.name,
      keyId: found.id,
    }
  );
}

/** In the organization of the given name, which is made too when there is none. */
export async function addWorkspace(db: Database, name: string, organization = 'default'): Promise<string> {
  const { id: organizationId } = await db
    .insertInto('organizations')
    .values({ name: organization })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ name: organization })) // or it would not be returned
    .returning('id')
    .executeTakeFirstOrThrow();
  const { id } = await db
    .insertInto('workspaces')
    .values({ name, organization_id: organizationId })
    .onConflict((conflict) => conflict.columns(['organization_id', 'name']).doUpdateSet({ name }))
    .returning('id')
    .executeTakeFirstOrThrow();
  return id;
}

/** Adding a key that is there already changes nothing. */
export async function addKey(db: Database, workspace: string, name: string, key: string): Promise<void> {
  await db
    .insertInto('api_keys')
    .values((e) => ({
      organization_id: e.selectFrom('workspaces').select('organization_id').where('id', '=', workspace),
      workspace_id: workspace,
      role: 'admin',
      name,
      prefix: key.slice(0, SHOWN),
      hash: hashOf(key),
    }))
    .onConflict((conflict) => conflict.column('hash').doNothing())
    .execute();
}

/** The key of this name, which another one of the same name ends. */
export async function nameKey(db: Database, workspace: string, name: string, key: string): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await sql`lock table api_keys in share row exclusive mode`.execute(tx); // of two starts, the later one's key stays
    await tx
      .deleteFrom('api_keys')
      .where('workspace_id', '=', workspace)
      .where('name', '=', name)
      .where('hash', '!=', hashOf(key))
      .execute();
    await addKey(tx, workspace, name, key);
  });
}

export const newKey = (): string => `fh_${randomBytes(24).toString('hex')}`;

/**
 * The very first start makes a workspace with one key.
 * @param hand is given it, for once; when that throws, there is no key
 */
export async function firstKey(db: Database, hand: (key: string) => void): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await sql`lock table api_keys in share row exclusive mode`.execute(tx); // of two first starts, one makes it
    if (await tx.selectFrom('api_keys').select('id').limit(1).executeTakeFirst()) return;
    const key = newKey();
    await addKey(tx, await addWorkspace(tx, 'default'), 'first', key);
    hand(key);
  });
}

/** Made once, kept in the store: what secret values are digested with. */
export async function digestKey(db: Database): Promise<Buffer> {
  await db
    .insertInto('settings')
    .values({ name: DIGEST_KEY, value: randomBytes(32) })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  const { value } = await db
    .selectFrom('settings')
    .select('value')
    .where('name', '=', DIGEST_KEY)
    .executeTakeFirstOrThrow();
  return value;
}
