/** The store's schema, step by step. A step that was released is never edited. */
import { Migrator, sql, type Kysely, type Migration } from 'kysely';
import type { Database } from './database.ts';

const steps: Record<string, Migration> = {
  '0001_first': {
    async up(db: Kysely<unknown>) {
      await sql`
        create table workspaces (
          id uuid primary key default gen_random_uuid(),
          name text not null unique,
          created_at timestamptz not null default now()
        )`.execute(db);
      await sql`
        create table api_keys (
          id uuid primary key default gen_random_uuid(),
          workspace_id uuid not null references workspaces on delete cascade,
          name text not null,
          prefix text not null,
          hash bytea not null unique,
          created_at timestamptz not null default now()
        )`.execute(db);
      await sql`create index api_keys_of_workspace on api_keys (workspace_id)`.execute(db);
      await sql`create table settings (name text primary key, value bytea not null)`.execute(db);
      await sql`
        create table places (
          id uuid primary key default gen_random_uuid(),
          workspace_id uuid not null references workspaces,
          name text not null,
          external_id text not null,
          outputs jsonb,
          version text,
          created_at timestamptz not null default now(),
          updated_at timestamptz not null default now(),
          state text not null default 'unregistered' check (state in ('unregistered', 'unverified', 'verified')),
          message text,
          checks jsonb not null default '[]',
          verified_at timestamptz,
          unique (workspace_id, name)
        )`.execute(db);
      await sql`create index places_listed on places (workspace_id, created_at desc, id)`.execute(db);
      await sql`
        create table deployments (
          id uuid primary key,
          workspace_id uuid not null references workspaces,
          place_id uuid not null references places,
          name text not null,
          display_name text,
          source text not null,
          type text not null check (type in ('dev', 'prod')),
          custom_url text,
          created_at timestamptz not null default now(),
          updated_at timestamptz not null default now(),
          accepted_at timestamptz,
          deleted_at timestamptz,
          asked bigint not null default 0
        )`.execute(db);
      // A deployment keeps its name until all of it is removed; one whose request failed never had it.
      await sql`create unique index deployments_name on deployments (workspace_id, name) where accepted_at is not null`.execute(
        db,
      );
      await sql`create index deployments_listed on deployments (workspace_id, created_at desc, id)`.execute(db);
      await sql`create index deployments_of_place on deployments (place_id)`.execute(db);
      await sql`create index deployments_drafts on deployments (created_at) where accepted_at is null`.execute(db);
      await sql`
        create table revisions (
          id uuid primary key,
          deployment_id uuid not null references deployments on delete cascade,
          number int not null,
          source text not null,
          image_uri text not null,
          image text not null,
          resource_spec jsonb not null,
          resources jsonb not null,
          environment jsonb not null,
          created_at timestamptz not null default now(),
          unique (deployment_id, number)
        )`.execute(db);
      await sql`
        create table deployment_statuses (
          deployment_id uuid primary key references deployments on delete cascade,
          epoch bigint not null default 0,
          status text not null,
          message text,
          known_status text,
          active_revision_id uuid references revisions,
          looked_at timestamptz not null default now()
        )`.execute(db);
      await sql`
        create table receipts (
          deployment_id uuid primary key,
          workspace_id uuid not null references workspaces,
          name text not null,
          remainders jsonb not null,
          gone_at timestamptz not null default now()
        )`.execute(db);
      await sql`create index receipts_by_age on receipts (gone_at)`.execute(db);
      await sql`create index deployment_statuses_active on deployment_statuses (active_revision_id)`.execute(db);
      await sql`
        create table revision_statuses (
          revision_id uuid primary key references revisions on delete cascade,
          deployment_id uuid not null references deployments on delete cascade,
          status text not null,
          message text,
          started_at timestamptz,
          ended_at timestamptz,
          updated_at timestamptz not null default now()
        )`.execute(db);
      await sql`create index revision_statuses_of_deployment on revision_statuses (deployment_id)`.execute(db);
      await sql`
        create table resources (
          deployment_id uuid not null references deployments on delete cascade,
          id text not null,
          kind text not null,
          inputs jsonb,
          needs text[] not null,
          state text not null,
          message text not null,
          generation text not null,
          since timestamptz not null,
          asked_at timestamptz,
          busy_since timestamptz,
          tries int not null,
          not_before timestamptz,
          gave_up jsonb,
          outputs jsonb,
          seq bigint generated always as identity,
          primary key (deployment_id, id)
        )`.execute(db);
      await sql`
        create table events (
          id bigint generated always as identity primary key,
          deployment_id uuid not null references deployments on delete cascade,
          revision_id uuid,
          resource text,
          message text not null,
          at timestamptz not null default now()
        )`.execute(db);
      await sql`create index events_of_deployment on events (deployment_id, id)`.execute(db);
      await sql`create index events_by_age on events (at)`.execute(db);
    },
  },
  '0002_receipts_that_are_read': {
    async up(db: Kysely<unknown>) {
      await sql`alter table resources add column if not exists asked_at timestamptz`.execute(db);
      // A receipt is begun with the removal, while it is still known what there is.
      await sql`
        alter table receipts
          add column made jsonb not null default '[]',
          alter column gone_at drop not null,
          alter column gone_at drop default`.execute(db);
    },
  },
  '0003_the_whole_contract': {
    async up(db: Kysely<unknown>) {
      await sql`
        create table organizations (
          id uuid primary key default gen_random_uuid(),
          name text not null unique,
          created_at timestamptz not null default now()
        )`.execute(db);
      // What there was before belongs to one organization.
      await sql`insert into organizations (name) select 'default' where exists (select from workspaces)`.execute(db);
      await sql`alter table workspaces add column organization_id uuid references organizations`.execute(db);
      await sql`update workspaces set organization_id = (select id from organizations)`.execute(db);
      await sql`
        alter table workspaces
          alter column organization_id set not null,
          drop constraint workspaces_name_key,
          add unique (organization_id, name)`.execute(db);
      await sql`
        alter table api_keys
          add column organization_id uuid references organizations on delete cascade,
          add column role text not null default 'admin' check (role in ('viewer', 'deployer', 'admin')),
          add column expires_at timestamptz,
          add column last_used_at timestamptz,
          add column revoked_at timestamptz,
          alter column workspace_id drop not null`.execute(db);
      await sql`update api_keys set organization_id = (select id from organizations)`.execute(db);
      await sql`
        alter table api_keys
          alter column organization_id set not null,
          alter column role drop default`.execute(db);
      await sql`create index api_keys_listed on api_keys (organization_id, created_at desc, id)`.execute(db);
      await sql`
        create table members (
          id uuid primary key default gen_random_uuid(),
          organization_id uuid not null references organizations on delete cascade,
          workspace_id uuid references workspaces on delete cascade,
          claim text not null check (claim in ('sub', 'email', 'groups')),
          value text not null,
          role text not null check (role in ('viewer', 'deployer', 'admin')),
          created_at timestamptz not null default now()
        )`.execute(db);
      await sql`
        create unique index members_once on members
          (organization_id, coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'), claim, value)`.execute(db);
      await sql`create index members_by_claim on members (claim, value)`.execute(db);
      await sql`
        alter table deployments
          add column database_tier text check (database_tier in ('DEDICATED_S', 'DEDICATED_M', 'DEDICATED_L')),
          add column k8s_namespace text,
          add column base jsonb`.execute(db);
      // Those that were made before go on as they are: their servers ask nobody who calls. So do those that a replica
      // of the version before makes while it still runs.
      await sql`
        alter table revisions
          alter column image_uri drop not null,
          alter column image drop not null,
          add column build jsonb,
          add column secret_references jsonb not null default '[]',
          add column agent_auth jsonb not null default '{"type": "noop"}',
          add column interrupted_at timestamptz`.execute(db);
    },
  },
  '0004_keys_of_an_organization': {
    async up(db: Kysely<unknown>) {
      await sql`alter table api_keys add column organization_wide boolean not null default false`.execute(db);
      // Somebody has to be able to make a second workspace: whoever holds the key that there was from the start.
      await sql`
        update api_keys set organization_wide = true
        where workspace_id is null or name in ('first', 'FREEHOLD_API_KEY')`.execute(db);
      await sql`
        alter table api_keys add check (organization_wide or workspace_id is not null)`.execute(db);
      await sql`create index workspaces_listed on workspaces (organization_id, created_at desc, id)`.execute(db);
      await sql`create index members_listed on members (organization_id, created_at desc, id)`.execute(db);
    },
  },
  '0005_lists_by_indices': {
    async up(db: Kysely<unknown>) {
      await sql`drop index deployments_listed`.execute(db);
      await sql`
        create index deployments_listed on deployments (workspace_id, created_at desc, id)
          where accepted_at is not null`.execute(db);
      await sql`create index deployments_deleted on deployments (workspace_id) where deleted_at is not null`.execute(
        db,
      );
      await sql`create index deployment_statuses_by_status on deployment_statuses (status, deployment_id)`.execute(db);
      // A part of a name is found by its groups of three letters. The extension comes with PostgreSQL, and whoever owns
      // the database may add it; without it such a list reads the names of the whole workspace.
      await sql`
        do $$ begin
          create extension if not exists pg_trgm;
          create index deployments_by_part_of_name on deployments using gin (name gin_trgm_ops);
        exception when insufficient_privilege or undefined_object or undefined_file or feature_not_supported then null;
        end $$`.execute(db);
    },
  },
  '0006_drift': {
    async up(db: Kysely<unknown>) {
      await sql`
        alter table deployments
          add column drift_policy text not null default 'repair'
            check (drift_policy in ('repair', 'report', 'ignore'))`.execute(db);
      await sql`
        alter table deployment_statuses
          add column alarm jsonb,
          add column settled_asked bigint`.execute(db);
      await sql`
        create table drifts (
          id bigint generated always as identity primary key,
          deployment_id uuid not null references deployments on delete cascade,
          resource text not null,
          field text not null,
          asked jsonb,
          found jsonb,
          policy text not null,
          generation text not null,
          detected_at timestamptz not null default now(),
          resolved_at timestamptz,
          resolution text check (resolution in ('repaired', 'reverted', 'ignored')),
          actor text,
          actor_name text,
          actor_call text,
          acted_at timestamptz,
          asks int not null default 0
        )`.execute(db);
      await sql`create unique index drifts_open on drifts (deployment_id, resource, field) where resolved_at is null`.execute(
        db,
      );
      await sql`create index drifts_listed on drifts (deployment_id, id)`.execute(db);
      await sql`create index drifts_by_age on drifts (detected_at)`.execute(db);
    },
  },
  '0007_teardown': {
    async up(db: Kysely<unknown>) {
      await sql`alter table deployments add column final_delete_at timestamptz`.execute(db);
      // A receipt says where, when each thing went, what stays and what was searched. Places have one of their own.
      await sql`
        alter table receipts
          add column place jsonb,
          add column began_at timestamptz not null default now(),
          add column gone jsonb not null default '{}',
          add column kept jsonb not null default '[]',
          add column notes jsonb not null default '[]',
          add column search jsonb`.execute(db);
      // Receipts from before, and of replicas of the version before, have sentences alone.
      await sql`alter table receipts alter column remainders set default '[]'`.execute(db);
      await sql`update receipts set began_at = coalesce(gone_at, now())`.execute(db);
      await sql`create index receipts_listed on receipts (workspace_id, began_at desc, deployment_id)`.execute(db);
      await sql`
        create table offboardings (
          id uuid primary key default gen_random_uuid(),
          place_id uuid not null,
          workspace_id uuid not null references workspaces,
          name text not null,
          place jsonb,
          skips_retention boolean not null,
          deployments jsonb not null,
          began_at timestamptz not null default now(),
          proof jsonb,
          proven_at timestamptz,
          ended_at timestamptz
        )`.execute(db);
      await sql`create unique index offboardings_open on offboardings (place_id) where ended_at is null`.execute(db);
      await sql`create index offboardings_of_place on offboardings (place_id, began_at desc)`.execute(db);
    },
  },
  '0008_fleet': {
    async up(db: Kysely<unknown>) {
      await sql`alter table places add column limits jsonb, add column limits_at timestamptz`.execute(db);
      await sql`alter table deployments add column balancer text, add column takes jsonb`.execute(db);
    },
  },
  '0009_plans': {
    async up(db: Kysely<unknown>) {
      await sql`alter table revisions add column plan text`.execute(db);
    },
  },
  '0010_rings': {
    async up(db: Kysely<unknown>) {
      await sql`
        create table rolls (
          id uuid primary key default gen_random_uuid(),
          workspace_id uuid not null references workspaces,
          name text not null,
          image_uri text,
          rings int[] not null,
          at_once int not null,
          max_failures int not null,
          soak_seconds int not null,
          state text not null default 'RUNNING' check (state in ('RUNNING', 'HALTED', 'DONE', 'CANCELLED')),
          message text,
          ring int not null default 1,
          rolled_at timestamptz,
          takes_back uuid references rolls on delete set null,
          leased_until timestamptz,
          created_at timestamptz not null default now(),
          ended_at timestamptz
        )`.execute(db);
      await sql`create index rolls_listed on rolls (workspace_id, created_at desc, id)`.execute(db);
      await sql`create index rolls_open on rolls (id) where state in ('RUNNING', 'HALTED')`.execute(db);
      await sql`create index rolls_by_age on rolls (ended_at)`.execute(db);
      await sql`create index rolls_taken_back on rolls (takes_back)`.execute(db);
      await sql`
        create table roll_members (
          roll_id uuid not null references rolls on delete cascade,
          deployment_id uuid not null references deployments on delete cascade,
          position int not null,
          ring int not null,
          state text not null default 'PENDING'
            check (state in ('PENDING', 'ROLLING', 'DEPLOYED', 'FAILED', 'SKIPPED')),
          message text,
          before_id uuid,
          target_id uuid,
          revision_id uuid,
          started_at timestamptz,
          ended_at timestamptz,
          primary key (roll_id, deployment_id)
        )`.execute(db);
      await sql`create index roll_members_rolling on roll_members (roll_id) where state = 'ROLLING'`.execute(db);
      await sql`create index roll_members_in_order on roll_members (roll_id, position)`.execute(db);
      await sql`create index roll_members_of_deployment on roll_members (deployment_id)`.execute(db);
    },
  },
  '0011_unreachable_members': {
    async up(db: Kysely<unknown>) {
      await sql`
        alter table roll_members add column unreachable_since timestamptz, add column asked_at timestamptz`.execute(db);
    },
  },
  '0012_searches_back_off': {
    async up(db: Kysely<unknown>) {
      await sql`
        alter table offboardings
          add column searches int not null default 0,
          add column search_after timestamptz`.execute(db);
    },
  },
  '0013_tries_of_unreachable_members': {
    async up(db: Kysely<unknown>) {
      await sql`alter table roll_members add column unreachable_tries int not null default 0`.execute(db);
    },
  },
  '0014_execution_roles': {
    async up(db: Kysely<unknown>) {
      await sql`alter table deployments add column slot int`.execute(db);
      await sql`create unique index deployments_slot on deployments (place_id, slot)`.execute(db);
    },
  },
  '0015_who_asked': {
    async up(db: Kysely<unknown>) {
      await sql`alter table deployments add column asked_by text`.execute(db);
      await sql`alter table rolls add column asked_by text`.execute(db);
    },
  },
  '0016_task_roles': {
    async up(db: Kysely<unknown>) {
      await sql`alter table revisions add column task_role text`.execute(db);
    },
  },
  '0017_database_ca': {
    async up(db: Kysely<unknown>) {
      await sql`alter table deployments add column database_ca text`.execute(db);
    },
  },
  '0018_audit': {
    async up(db: Kysely<unknown>) {
      await sql`
        create table audit_heads (
          chain uuid primary key,
          seq bigint not null,
          hash text not null,
          time bigint not null
        )`.execute(db);
      // No reference to what a line is about: it outlives that.
      await sql`
        create table audit (
          chain uuid not null,
          seq bigint not null,
          time bigint not null,
          place_id uuid,
          deployment_id uuid,
          line text not null,
          primary key (chain, seq)
        )`.execute(db);
      await sql`create index audit_by_time on audit (chain, time, seq)`.execute(db);
      await sql`create index audit_of_place on audit (place_id, seq) where place_id is not null`.execute(db);
      await sql`create index audit_of_deployment on audit (deployment_id, seq) where deployment_id is not null`.execute(
        db,
      );
      await sql`
        create table audit_copies (
          place_id uuid primary key references places on delete cascade,
          seq bigint not null default 0,
          copied_at timestamptz,
          failed text,
          tries int not null default 0,
          not_before timestamptz,
          leased_until timestamptz
        )`.execute(db);
    },
  },
  '0019_trust': {
    async up(db: Kysely<unknown>) {
      await sql`
        alter table places
          add column suspended text,
          add column unreachable text,
          add column probed_at timestamptz`.execute(db);
      await sql`create unique index places_by_external_id on places (external_id)`.execute(db);
    },
  },
  '0020_balancers_to_remove': {
    async up(db: Kysely<unknown>) {
      await sql`alter table places add column balancer jsonb`.execute(db);
      await sql`
        update places set balancer = jsonb_build_object(
          'accountId', outputs -> 'accountId', 'region', outputs -> 'region', 'roleArn', outputs -> 'roleArn')
        where outputs @> '{"original": true}'`.execute(db);
    },
  },
};

/**
 * Brings the schema up to date. Safe when several processes do so at once: the migrator holds a lock.
 * @param last step to take @default all
 */
export async function migrate(db: Database, last?: string): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(steps) } });
  const { error } = await (last === undefined ? migrator.migrateToLatest() : migrator.migrateTo(last));
  if (error) throw error instanceof Error ? error : new Error('the store could not be migrated', { cause: error });
}
