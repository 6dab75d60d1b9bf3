/** Workspaces and the keys that open them. */
import { createHash, randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import type { Database } from './database.ts';

const DIGEST_KEY = 'digest key';
const SHOWN = 8;

export const hashOf = (key: string): Buffer => createHash('sha256').update(key).digest();

/** The workspace that a key opens. */
export async function workspaceOf(db: Database, key: string): Promise<string | undefined> {
  const found = await db
    .selectFrom('api_keys')
    .select('workspace_id')
    .where('hash', '=', hashOf(key))
    .executeTakeFirst();
  return found?.workspace_id;
}

export async function addWorkspace(db: Database, name: string): Promise<string> {
  const { id } = await db
    .insertInto('workspaces')
    .values({ name })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ name })) // or it would not be returned
    .returning('id')
    .executeTakeFirstOrThrow();
  return id;
}

/** Adding a key that is there already changes nothing. */
export async function addKey(db: Database, workspace: string, name: string, key: string): Promise<void> {
  await db
    .insertInto('api_keys')
    .values({ workspace_id: workspace, name, prefix: key.slice(0, SHOWN), hash: hashOf(key) })
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
