/**
 * Ours: who may do what. Workspaces of an organization, keys, and members, who are people by what their OIDC provider
 * says of them.
 */
import { createRoute, z } from '@hono/zod-openapi';
import { SETTING } from '../store/access.ts';
import {
  addMember,
  isWorkspaceOf,
  listKeys,
  listMembers,
  listWorkspaces,
  makeKey,
  makeWorkspace,
  namesOf,
  removeMember,
  renameWorkspace,
  revokeKey,
  type KeyRow,
  type MemberRow,
  type Reach,
  type WorkspaceRow,
} from '../store/tenants.ts';
import { problems, type ApiOptions, type App, type Caller } from './context.ts';
import { ApiError, invalid } from './errors.ts';
import { id, instant, json, listOf, pageQuery } from './schemas.ts';

const tags = ['tenants'];

const role = z.enum(['viewer', 'deployer', 'admin']);
const scope = z.enum(['workspace', 'organization']);
const name = z.string().min(1).max(255);

const workspace = z.object({ id, name: z.string(), created_at: instant }).openapi('Workspace');
const workspaceName = z.object({ name }).openapi('WorkspaceRequest');

const keyFields = {
  id,
  name: z.string(),
  prefix: z.string().describe('How the key begins: its own value is nowhere.'),
  role,
  scope,
  workspace_id: id.nullable().describe('The workspace that it opens, if X-Tenant-Id does not name another.'),
  created_at: instant,
  expires_at: instant.nullable(),
  last_used_at: instant.nullable().describe('To the minute.'),
  revoked_at: instant.nullable(),
};
const key = z.object(keyFields).openapi('ApiKey');
const keyMade = z.object({ ...keyFields, key: z.string().describe('Shown this once.') }).openapi('ApiKeyCreated');
const keyCreate = z
  .object({
    name,
    role,
    scope: scope.default('workspace'),
    workspace_id: id
      .nullish()
      .describe("Without it, of a key to a workspace: this request's; of a key to the organization: none."),
    expires_at: z.iso.datetime({ offset: true }).nullish().describe('Without it, never.'),
  })
  .openapi('ApiKeyCreateRequest');

const claim = z.enum(['sub', 'email', 'groups']);
const member = z
  .object({ id, claim, value: z.string(), role, scope, workspace_id: id.nullable(), created_at: instant })
  .openapi('Member');
const memberCreate = z
  .object({
    claim: claim.describe('Of the token. An email counts when the provider has verified it.'),
    value: name.describe('What the claim is, or for `groups`: what is among them.'),
    role,
    scope: scope.default('workspace'),
    workspace_id: id.nullish().describe("Without it, this request's."),
  })
  .openapi('MemberCreateRequest');

const me = z
  .object({
    organization: z.object({ id, name: z.string() }),
    workspace: z.object({ id, name: z.string() }).nullable(),
    role,
    organization_role: role.nullable().describe('In every workspace of the organization.'),
    key: z.object({ id, name: z.string() }).nullable().describe('Null: it was a bearer token.'),
    user: z.object({ id: z.string(), email: z.string().nullable() }).describe("The key's id, or the token's `sub`."),
  })
  .openapi('Me');

const evenInUse = z.object({
  even_in_use: z
    .enum(['true', 'false'])
    .default('false')
    .describe('`true`: even if it is what this request itself was let in by.'),
});

export function addTenants(app: App, { db }: ApiOptions): void {
  /** Where a key or a member is to be, as far as the caller may put one there. */
  const target = async (
    caller: Caller,
    { scope, workspace_id }: { scope: 'workspace' | 'organization'; workspace_id?: string | null | undefined },
  ): Promise<string | null> => {
    if (scope === 'organization') ofOrganization(caller);
    const workspaceId = workspace_id ?? (scope === 'organization' ? null : caller.workspaceId);
    if (workspaceId === null) {
      if (scope === 'organization') return null;
      throw invalid(['workspace_id'], 'Field required, for the request itself is about no workspace', 'missing');
    }
    if (!reaches(caller, workspaceId) || !(await isWorkspaceOf(db, caller.organizationId, workspaceId)))
      throw new ApiError(404, `Workspace ID ${workspaceId} not found.`);
    return workspaceId;
  };

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/freehold/me',
      tags,
      summary: 'Who am I',
      description: 'Ours.',
      responses: { 200: { description: 'The caller', content: json(me) } },
    }),
    async (c) => {
      const caller = c.get('caller');
      const { organizationId, workspaceId } = caller;
      const names = await namesOf(db, organizationId, workspaceId);
      return c.json(
        {
          organization: { id: organizationId, name: names.organization },
          workspace: workspaceId === null ? null : { id: workspaceId, name: names.workspace! },
          role: caller.role,
          organization_role: caller.organizationRole,
          key: caller.keyId === null ? null : { id: caller.keyId, name: caller.name },
          user: caller.user,
        },
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/freehold/workspaces',
      tags,
      summary: 'List workspaces',
      description: 'Ours: those that the caller may name in X-Tenant-Id, newest first.',
      request: { query: pageQuery },
      responses: { 200: { description: 'A page of them', content: json(listOf(workspace, 'WorkspacesList')) } },
    }),
    async (c) => {
      const { organizationId, workspaceIds } = c.get('caller');
      const page = c.req.valid('query');
      const rows = await listWorkspaces(db, organizationId, workspaceIds, page);
      return c.json({ resources: rows.map(shownWorkspace), offset: page.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/freehold/workspaces',
      tags,
      summary: 'Create a workspace',
      description: 'Ours: takes an admin of the organization.',
      request: { body: { required: true, content: json(workspaceName) } },
      responses: { 201: { description: 'Created', content: json(workspace) }, ...problems(409) },
    }),
    async (c) => {
      const caller = c.get('caller');
      ofOrganization(caller);
      const { name } = c.req.valid('json');
      const row = await makeWorkspace(db, caller.organizationId, name);
      if (row === undefined) throw taken(name);
      return c.json(shownWorkspace(row), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'patch',
      path: '/v2/freehold/workspaces/{workspace_id}',
      tags,
      summary: 'Rename a workspace',
      description: 'Ours.',
      request: {
        params: z.object({ workspace_id: id }),
        body: { required: true, content: json(workspaceName) },
      },
      responses: { 200: { description: 'As it is now', content: json(workspace) }, ...problems(404, 409) },
    }),
    async (c) => {
      const { workspace_id } = c.req.valid('param');
      const { name } = c.req.valid('json');
      await target(c.get('caller'), { scope: 'workspace', workspace_id });
      const row = await renameWorkspace(db, workspace_id, name);
      if (row === undefined) throw taken(name);
      return c.json(shownWorkspace(row), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/freehold/api-keys',
      tags,
      summary: 'List keys',
      description: "Ours: the workspace's; to an admin of the organization, all of it. Newest first.",
      request: { query: pageQuery },
      responses: { 200: { description: 'A page of them', content: json(listOf(key, 'ApiKeysList')) } },
    }),
    async (c) => {
      const page = c.req.valid('query');
      const rows = await listKeys(db, reachOf(c.get('caller')), page);
      return c.json({ resources: rows.map(shownKey), offset: page.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/freehold/api-keys',
      tags,
      summary: 'Create a key',
      description: 'Ours. A key to the organization takes an admin of the organization.',
      request: { body: { required: true, content: json(keyCreate) } },
      responses: {
        201: { description: 'The key, whose value is in this answer and nowhere else', content: json(keyMade) },
        ...problems(404),
      },
    }),
    async (c) => {
      const caller = c.get('caller');
      const body = c.req.valid('json');
      if (body.name === SETTING) throw invalid(['name'], `"${SETTING}" is the name of the setting's own key`);
      const expiresAt = body.expires_at ? new Date(body.expires_at) : null;
      if (expiresAt !== null && !(expiresAt.getTime() > Date.now())) throw invalid(['expires_at'], 'it is in the past');
      const made = await makeKey(db, {
        organizationId: caller.organizationId,
        workspaceId: await target(caller, body),
        organizationWide: body.scope === 'organization',
        role: body.role,
        name: body.name,
        expiresAt,
      });
      return c.json({ ...shownKey(made.row), key: made.key }, 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v2/freehold/api-keys/{key_id}',
      tags,
      summary: 'Revoke a key',
      description: 'Ours: from the next request on, it opens nothing.',
      request: { params: z.object({ key_id: id }), query: evenInUse },
      responses: { 204: { description: 'Revoked' }, ...problems(404, 409) },
    }),
    async (c) => {
      const caller = c.get('caller');
      const { key_id } = c.req.valid('param');
      if (key_id === caller.keyId && c.req.valid('query').even_in_use !== 'true')
        throw new ApiError(409, 'This request came with that key. To lose it, say so: ?even_in_use=true');
      if (!(await revokeKey(db, reachOf(caller), key_id))) throw new ApiError(404, `API key ID ${key_id} not found.`);
      return c.body(null, 204);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v2/freehold/members',
      tags,
      summary: 'List members',
      description: "Ours: the workspace's; to an admin of the organization, all of it. Newest first.",
      request: { query: pageQuery },
      responses: { 200: { description: 'A page of them', content: json(listOf(member, 'MembersList')) } },
    }),
    async (c) => {
      const page = c.req.valid('query');
      const rows = await listMembers(db, reachOf(c.get('caller')), page);
      return c.json({ resources: rows.map(shownMember), offset: page.offset + rows.length }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/v2/freehold/members',
      tags,
      summary: 'Add a member',
      description: 'Ours: gives a role to whoever has this claim in a token of the OIDC provider.',
      request: { body: { required: true, content: json(memberCreate) } },
      responses: { 201: { description: 'Added', content: json(member) }, ...problems(404, 409) },
    }),
    async (c) => {
      const caller = c.get('caller');
      const body = c.req.valid('json');
      const value = body.claim === 'email' ? body.value.toLowerCase() : body.value;
      if (body.scope === 'organization' && body.workspace_id)
        throw invalid(['workspace_id'], 'it does not go with the scope "organization"');
      const reach = { organizationId: caller.organizationId, workspaceId: await target(caller, body) };
      const row = await addMember(db, reach, { ...body, value });
      if (row === undefined)
        throw new ApiError(409, `Whoever has the ${body.claim} "${value}" has a role there already.`);
      return c.json(shownMember(row), 201);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v2/freehold/members/{member_id}',
      tags,
      summary: 'Remove a member',
      description: 'Ours.',
      request: { params: z.object({ member_id: id }), query: evenInUse },
      responses: { 204: { description: 'Removed' }, ...problems(404, 409) },
    }),
    async (c) => {
      const caller = c.get('caller');
      const { member_id } = c.req.valid('param');
      if (caller.membershipIds.includes(member_id) && c.req.valid('query').even_in_use !== 'true')
        throw new ApiError(409, 'This request came with a role of that member. To lose it, say so: ?even_in_use=true');
      if (!(await removeMember(db, reachOf(caller), member_id)))
        throw new ApiError(404, `Member ID ${member_id} not found.`);
      return c.body(null, 204);
    },
  );
}

/** @throws ApiError unless the caller administers the whole organization */
function ofOrganization({ organizationRole, role }: Caller): void {
  if (organizationRole !== 'admin')
    throw new ApiError(
      403,
      `The role "${role}" in one workspace may not do this: it takes an admin of the organization.`,
    );
}

const reaches = ({ organizationRole, workspaceId }: Caller, id: string): boolean =>
  organizationRole === 'admin' || workspaceId === id;

const reachOf = ({ organizationId, organizationRole, workspaceId }: Caller): Reach => ({
  organizationId,
  workspaceId: organizationRole === 'admin' ? null : workspaceId!, // only an admin of the organization gets here without
});

const taken = (name: string): ApiError => new ApiError(409, `A workspace named "${name}" already exists.`);

const shownWorkspace = ({ id, name, created_at }: WorkspaceRow): z.infer<typeof workspace> => ({
  id,
  name,
  created_at: created_at.toISOString(),
});

const shownKey = (row: KeyRow): z.infer<typeof key> => ({
  id: row.id,
  name: row.name,
  prefix: row.prefix,
  role: row.role,
  scope: row.organization_wide ? 'organization' : 'workspace',
  workspace_id: row.workspace_id,
  created_at: row.created_at.toISOString(),
  expires_at: row.expires_at?.toISOString() ?? null,
  last_used_at: row.last_used_at?.toISOString() ?? null,
  revoked_at: row.revoked_at?.toISOString() ?? null,
});

const shownMember = (row: MemberRow): z.infer<typeof member> => ({
  id: row.id,
  claim: row.claim,
  value: row.value,
  role: row.role,
  scope: row.workspace_id === null ? 'organization' : 'workspace',
  workspace_id: row.workspace_id,
  created_at: row.created_at.toISOString(),
});
