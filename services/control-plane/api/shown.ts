/** Deployments and revisions as the wire has them. */
import type { z } from '@hono/zod-openapi';
import type { Place } from '../../reconciler/place.ts';
import type { ServerResources } from '../../reconciler/spec.ts';
import type { Cloud } from '../cloud.ts';
import { monthlyPrice } from '../../reconciler/prices.ts';
import type { Kept } from '../../reconciler/aws/remaining.ts';
import type { Build, Reference, RevisionBase, Variable, Where } from '../store/database.ts';
import { intentOf, newestRevisions, type DeploymentRow, type RevisionRow } from '../store/deployments.ts';
import { placeOf, placesOf } from '../store/places.ts';
import type { ApiOptions } from './context.ts';
import * as schemas from './schemas.ts';

const sizeOf = (cloud: Cloud, resources: ServerResources) => {
  const { cpu, memoryMb } = cloud.taskSize(resources);
  return { cpu, memory_mb: memoryMb };
};

/** @param place undefined when its stack is not registered any more */
function shownDeployment(
  cloud: Cloud,
  row: DeploymentRow,
  newest: RevisionRow | undefined,
  place: Place | undefined,
): z.infer<typeof schemas.deployment> {
  const url = row.custom_url ?? (place ? cloud.url(place, row) : null);
  // While there is no revision, what the first one will inherit.
  const asked = newest ? intentOf(newest) : row.base;
  return {
    id: row.id,
    tenant_id: row.workspace_id,
    name: row.name,
    display_name: row.display_name,
    source: row.source,
    source_config: {
      integration_id: null,
      repo_url: null,
      repo_branch: null,
      deployment_type: row.type,
      build_on_push: false,
      custom_url: url,
      resource_spec: asked && fullSpec(asked),
      listener_id: row.place_id,
      listener_config: row.k8s_namespace === null ? null : { k8s_namespace: row.k8s_namespace },
      install_command: asked?.build?.installCommand ?? null,
      build_command: asked?.build?.buildCommand ?? null,
      template_id: null,
    },
    source_revision_config: revisionConfig(newest?.image_uri ?? null, asked?.build ?? null),
    secrets: null,
    secret_names: namesOf(asked?.environment ?? []),
    secret_references: (asked?.references ?? []).map(shownReference),
    task_role_arn: asked?.taskRole ?? null,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    status: row.status,
    status_message: row.status_message,
    latest_revision_id: newest?.id ?? null,
    active_revision_id: row.active_revision_id,
    database_ca: row.database_ca,
    database_tier: row.database_tier,
    drift_policy: row.drift_policy,
    alarm: row.alarm,
    image_version: null,
    url,
    deleted_at: row.deleted_at?.toISOString() ?? null,
    final_delete_at: row.final_delete_at?.toISOString() ?? null,
    task_size: asked && sizeOf(cloud, asked.resources),
    shareable: false,
    route_through_gateway: false,
    is_managed_deep_agent: false,
    is_preview: false,
    tracer_session_id: null,
    agent: null,
  };
}

export const shownRevision = (cloud: Cloud, row: RevisionRow): z.infer<typeof schemas.revision> => ({
  id: row.id,
  number: row.number,
  created_at: row.created_at.toISOString(),
  updated_at: row.updated_at.toISOString(),
  status: row.status,
  status_message: row.status_message,
  source: row.source,
  source_revision_config: revisionConfig(row.image_uri, row.build),
  image: row.image,
  resource_spec: fullSpec(intentOf(row)),
  task_size: sizeOf(cloud, row.resources),
  secret_names: namesOf(row.environment),
  secret_references: row.secret_references.map(shownReference),
  task_role_arn: row.task_role,
  plan: row.plan,
});

/** Deployments as they are now: in two queries, however many there are. */
export async function answersOf(
  { db, cloud }: Pick<ApiOptions, 'db' | 'cloud'>,
  rows: readonly DeploymentRow[],
): Promise<z.infer<typeof schemas.deployment>[]> {
  const [newest, places] = await Promise.all([
    newestRevisions(
      db,
      rows.map((row) => row.id),
    ),
    placesOf(
      db,
      rows.map((row) => row.place_id),
    ),
  ]);
  return rows.map((row) => shownDeployment(cloud, row, newest.get(row.id), placeOf(places.get(row.place_id)!, row)));
}

export const answerOf = async (
  options: Pick<ApiOptions, 'db' | 'cloud'>,
  row: DeploymentRow,
): Promise<z.infer<typeof schemas.deployment>> => (await answersOf(options, [row]))[0]!;

/** What stays on purpose, with about what it costs. */
export function pricedOf(place: Where | null, kept: readonly Kept[]) {
  const priced = kept.map(({ what, arn, until, sizeGb, remove }) => {
    const monthly_usd = priceOf(place, arn, sizeGb);
    return { what, arn, until, size_gb: sizeGb, monthly_usd, remove };
  });
  const known = priced.flatMap(({ monthly_usd }) => monthly_usd ?? []);
  const monthly_usd = kept.length > 0 && known.length === 0 ? null : cents(known.reduce((sum, one) => sum + one, 0));
  return { kept: priced, monthly_usd };
}

const cents = (usd: number): number => Math.round(usd * 100) / 100;

/** Nothing is charged for a secret that waits for its end, or for a task definition. */
function priceOf(place: Where | null, arn: string, sizeGb: number | null): number | null {
  if (!arn.includes(':snapshot:')) return 0;
  return place && sizeGb && monthlyPrice(place.region, [{ what: 'snapshot-gb', count: sizeGb }]).amount;
}

const namesOf = (environment: readonly Variable[]): string[] => environment.map((variable) => variable.name).sort();

export const shownReference = ({ name, secretName, secretKey }: Reference) => ({
  name,
  secret_name: secretName,
  secret_key: secretKey ?? '',
});

const revisionConfig = (imageUri: string | null, build: Build | null) => ({
  repo_ref: null,
  langgraph_config_path: build?.configPath ?? null,
  image_uri: imageUri,
  source_tarball_path: build?.tarball ?? null,
  repo_commit_sha: null,
  deepagents_version: null,
  tracked_packages: build && [...build.trackedPackages],
});

/** Every field, what was asked for and else what is meant without it. */
function fullSpec({ resources, resourceSpec }: RevisionBase): z.infer<typeof schemas.resourceSpec> {
  const { cpu, memoryMb, minScale, maxScale } = resources;
  const nothing = Object.fromEntries(Object.keys(schemas.resourceSpec.shape).map((name) => [name, null]));
  const meant = { cpu, memory_mb: memoryMb, min_scale: minScale, max_scale: maxScale };
  return { ...nothing, ...resourceSpec, ...meant };
}
