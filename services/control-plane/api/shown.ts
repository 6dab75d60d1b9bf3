/** Deployments and revisions as the wire has them. */
import type { z } from '@hono/zod-openapi';
import type { Place } from '../../reconciler/place.ts';
import type { ServerResources } from '../../reconciler/spec.ts';
import type { Cloud } from '../cloud.ts';
import type { Variable } from '../store/database.ts';
import { newestRevisions, type DeploymentRow, type RevisionRow } from '../store/deployments.ts';
import { findPlace, placeOf } from '../store/places.ts';
import type { ApiOptions } from './context.ts';
import * as schemas from './schemas.ts';

const sizeOf = (cloud: Cloud, resources: ServerResources) => {
  const { cpu, memoryMb } = cloud.taskSize(resources);
  return { cpu, memory_mb: memoryMb };
};

/** @param place undefined when its stack is not registered any more */
export function shownDeployment(
  cloud: Cloud,
  row: DeploymentRow,
  newest: RevisionRow | undefined,
  place: Place | undefined,
): z.infer<typeof schemas.deployment> {
  const url = row.custom_url ?? (place ? cloud.url(place, row) : null);
  return {
    id: row.id,
    tenant_id: row.workspace_id,
    name: row.name,
    display_name: row.display_name,
    source: row.source,
    source_config: {
      integration_id: null,
      repo_url: null,
      deployment_type: row.type,
      build_on_push: false,
      custom_url: url,
      resource_spec: newest ? fullSpec(newest) : null,
      listener_id: row.place_id,
      listener_config: null,
      install_command: null,
      build_command: null,
      template_id: null,
    },
    source_revision_config: revisionConfig(newest),
    secrets: null,
    secret_names: namesOf(newest?.environment),
    secret_references: [],
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    status: row.status,
    status_message: row.status_message,
    latest_revision_id: newest?.id ?? null,
    active_revision_id: row.active_revision_id,
    image_version: null,
    url,
    task_size: newest ? sizeOf(cloud, newest.resources) : null,
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
  source_revision_config: revisionConfig(row),
  image: row.image,
  resource_spec: fullSpec(row),
  task_size: sizeOf(cloud, row.resources),
  secret_names: namesOf(row.environment),
});

/** The deployment as it is now. */
export async function answerOf(
  { db, cloud }: Pick<ApiOptions, 'db' | 'cloud'>,
  row: DeploymentRow,
): Promise<z.infer<typeof schemas.deployment>> {
  const place = await findPlace(db, row.workspace_id, row.place_id);
  return shownDeployment(cloud, row, (await newestRevisions(db, [row.id])).get(row.id), place && placeOf(place));
}

const namesOf = (environment: readonly Variable[] | undefined): string[] =>
  (environment ?? []).map((variable) => variable.name).sort();

const revisionConfig = (revision: RevisionRow | undefined) => ({
  repo_ref: null,
  langgraph_config_path: null,
  image_uri: revision?.image_uri ?? null,
  source_tarball_path: null,
  repo_commit_sha: null,
});

/** Every field, what was asked for and else what is meant without it. */
function fullSpec(revision: RevisionRow): z.infer<typeof schemas.resourceSpec> {
  const { cpu, memoryMb, minScale, maxScale } = revision.resources;
  const nothing = Object.fromEntries(Object.keys(schemas.resourceSpec.shape).map((name) => [name, null]));
  const meant = { cpu, memory_mb: memoryMb, min_scale: minScale, max_scale: maxScale };
  return { ...nothing, ...revision.resource_spec, ...meant };
}
