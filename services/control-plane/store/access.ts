/** Who may come in: keys, and what members' tokens are worth. */
import { createHash, randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { newExternalId } from '../../reconciler/place.ts';
import { now, type Database, type Role } from './database.ts';

const DIGEST_KEY = 'digest key';
const STRANGERS_ID = "a stranger's external id";
export const SHOWN = 8;

export const hashOf = (key: string): Buffer => createHash('sha256').update(key).digest();

/** Where a role holds: in one workspace, or in all of the organization. */
export interface Grant {
  readonly organizationId: string;
  /** Null: every workspace of the organization. */
  readonly workspaceId: string | null;
  readonly role: Role;
}

/** A key as a request shows it, and the organization of the workspace that the request names. */
export interface KeyFound extends Grant {
  readonly id: string;
  readonly name: string;
  /** The workspace that an organization-wide key opens when the request names none. */
  readonly home: string | null;
  readonly expired: boolean;
  readonly revoked: boolean;
  /** Its last use was noted more than a minute ago. */
  readonly stale: boolean;
  /** Null: the request names no workspace, or one that is not there. */
  readonly tenantOrganizationId: string | null;
}

/** @param tenant id of the workspace that the request names */
export async function findKey(db: Database, key: string, tenant: string | null): Promise<KeyFound | undefined> {
  const row = await db
    .selectFrom('api_keys as k')
    .leftJoin('workspaces as t', (join) => join.on('t.id', '=', tenant))
    .select(['k.id', 'k.name', 'k.organization_id', 'k.workspace_id', 'k.organization_wide', 'k.role', 'k.revoked_at'])
    .select((e) => [
      't.organization_id as tenant_organization_id',
      e('k.expires_at', '<=', now).as('expired'),
      sql<boolean>`coalesce(k.last_used_at < now() - interval '1 minute', true)`.as('stale'),
    ])
    .where('k.hash', '=', hashOf(key))
    .executeTakeFirst();
  return (
    row && {
      id: row.id,
      name: row.name,
      organizationId: row.organization_id,
      workspaceId: row.organization_wide ? null : row.workspace_id,
      home: row.workspace_id,
      role: row.role,
      expired: row.expired === true,
      revoked: row.revoked_at !== null,
      stale: row.stale,
      tenantOrganizationId: row.tenant_organization_id,
    }
  );
}

/** Of requests at the same time, one notes it. */
export async function noteUse(db: Database, keyId: string): Promise<void> {
  await db
    .updateTable('api_keys')
    .set({ last_used_at: now })
    .where('id', '=', keyId)
    .where(sql<boolean>`coalesce(last_used_at < now() - interval '1 minute', true)`)
    .execute();
}

/** What a token says of its bearer, as far as roles are given for it. */
export interface Claims {
  readonly sub: string;
  /** In lower case, and verified by the provider. */
  readonly email: string | null;
  readonly groups: readonly string[];
}

export interface MembershipFound extends Grant {
  readonly id: string;
  readonly tenantOrganizationId: string | null;
}

/** All that the bearer of these claims was given. */
export async function findMemberships(
  db: Database,
  { sub, email, groups }: Claims,
  tenant: string | null,
): Promise<MembershipFound[]> {
  const rows = await db
    .selectFrom('members as m')
    .leftJoin('workspaces as t', (join) => join.on('t.id', '=', tenant))
    .select(['m.id', 'm.organization_id', 'm.workspace_id', 'm.role', 't.organization_id as tenant_organization_id'])
    .where((e) =>
      e.or([
        e.and([e('m.claim', '=', 'sub'), e('m.value', '=', sub)]),
        e.and([e('m.claim', '=', 'email'), e('m.value', '=', email)]),
        e.and([e('m.claim', '=', 'groups'), e('m.value', '=', e.fn.any(e.val([...groups])))]),
      ]),
    )
    .execute();
  return rows.map((row) => ({
    id: row.id,
    organizationId: row.organization_id,
    workspaceId: row.workspace_id,
    role: row.role,
    tenantOrganizationId: row.tenant_organization_id,
  }));
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

/** What a key may be besides a key to all of one workspace for good. */
export interface KeyScope {
  /** @default admin */
  readonly role?: Role;
  /** Opens every workspace of the organization, and without X-Tenant-Id the given one @default false */
  readonly organizationWide?: boolean;
  readonly expiresAt?: Date | null;
}

/** Adding a key that is there already changes nothing. */
export async function addKey(
  db: Database,
  workspace: string,
  name: string,
  key: string,
  { role = 'admin', organizationWide = false, expiresAt = null }: KeyScope = {},
): Promise<void> {
  await db
    .insertInto('api_keys')
    .values((e) => ({
      organization_id: e.selectFrom('workspaces').select('organization_id').where('id', '=', workspace),
      workspace_id: workspace,
      organization_wide: organizationWide,
      role,
      name,
      prefix: key.slice(0, SHOWN),
      hash: hashOf(key),
      expires_at: expiresAt,
    }))
    .onConflict((conflict) => conflict.column('hash').doNothing())
    .execute();
}

/** The name of the key that the setting names: no other has it. */
export const SETTING = 'FREEHOLD_API_KEY';

/**
 * The setting's key, which another value of the setting ends. It administers the organization, as the first key does;
 * one that was made otherwise becomes the setting's.
 * @returns false when it was revoked: it stays so
 */
export async function settingKey(db: Database, key: string): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    await sql`lock table api_keys in share row exclusive mode`.execute(tx); // of two starts, the later one's key stays
    const hash = hashOf(key);
    const present = await tx.selectFrom('api_keys').select('workspace_id').where('hash', '=', hash).executeTakeFirst();
    const ended = await tx
      .deleteFrom('api_keys')
      .where('name', '=', SETTING)
      .where('hash', '!=', hash)
      .returning('workspace_id')
      .executeTakeFirst();
    // The workspace may have another name by now.
    const home = present?.workspace_id ?? ended?.workspace_id ?? (await addWorkspace(tx, 'default'));
    await addKey(tx, home, SETTING, key, { organizationWide: true });
    const { revoked_at } = await tx
      .updateTable('api_keys')
      .set({ name: SETTING, role: 'admin', organization_wide: true, workspace_id: home, expires_at: null })
      .where('hash', '=', hash)
      .returning('revoked_at')
      .executeTakeFirstOrThrow();
    return revoked_at === null;
  });
}

export const newKey = (): string => `fh_${randomBytes(24).toString('hex')}`;

/**
 * The very first start makes a workspace with one key, which administers the organization.
 * @param hand is given it, for once; when that throws, there is no key
 */
export async function firstKey(db: Database, hand: (key: string) => void): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await sql`lock table api_keys in share row exclusive mode`.execute(tx); // of two first starts, one makes it
    if (await tx.selectFrom('api_keys').select('id').limit(1).executeTakeFirst()) return;
    const key = newKey();
    await addKey(tx, await addWorkspace(tx, 'default'), 'first', key, { organizationWide: true });
    hand(key);
  });
}

/** Made once, kept in the store: what secret values are digested with. */
export const digestKey = (db: Database): Promise<Buffer> => madeOnce(db, DIGEST_KEY, randomBytes(32));

/** Made once: the external id of a tenant of ours that is nobody's. Customers' roles are asked whether they take it. */
export const strangersId = async (db: Database): Promise<string> =>
  (await madeOnce(db, STRANGERS_ID, Buffer.from(newExternalId()))).toString();

async function madeOnce(db: Database, name: string, first: Buffer): Promise<Buffer> {
  await db
    .insertInto('settings')
    .values({ name, value: first })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  const { value } = await db.selectFrom('settings').select('value').where('name', '=', name).executeTakeFirstOrThrow();
  return value;
}
