/** From the ids of a request to what they name: a workspace finds only its own. */
import type { Place, Seat } from '../../reconciler/place.ts';
import { instant } from '../../reconciler/status.ts';
import type { Database } from '../store/database.ts';
import { findDeployment, findRevision, type DeploymentRow, type RevisionRow } from '../store/deployments.ts';
import { findPlace, placeOf, registeredPlaces, type PlaceRow } from '../store/places.ts';
import { ApiError, bad } from './errors.ts';

/** @throws ApiError 404 */
export async function deploymentOf(db: Database, workspaceId: string, id: string): Promise<DeploymentRow> {
  const row = await findDeployment(db, workspaceId, id);
  if (row === undefined) throw new ApiError(404, noDeployment(id));
  return row;
}

/** @throws ApiError 404, and 409 when its delete was asked for */
export async function changeableDeployment(db: Database, workspaceId: string, id: string): Promise<DeploymentRow> {
  const row = await deploymentOf(db, workspaceId, id);
  if (row.deleted_at !== null)
    throw beingDeleted(row.id, row.status === 'AWAITING_FINAL_DELETE' ? row.final_delete_at : null);
  return row;
}

/** @throws ApiError 404, with the sentence of a missing deployment, as the wire has it */
export async function revisionOf(db: Database, deploymentId: string, id: string): Promise<RevisionRow> {
  const row = await findRevision(db, deploymentId, id);
  if (row === undefined) throw new ApiError(404, noDeployment(deploymentId));
  return row;
}

/** What the path names. @throws ApiError 404 */
export async function deploymentAndRevision(
  db: Database,
  workspaceId: string,
  path: { readonly deployment_id: string; readonly revision_id: string },
): Promise<{ readonly row: DeploymentRow; readonly revision: RevisionRow }> {
  const row = await deploymentOf(db, workspaceId, path.deployment_id);
  return { row, revision: await revisionOf(db, row.id, path.revision_id) };
}

export const noDeployment = (id: string): string => `Deployment ID ${id} not found.`;

/** @param undoUntil null: it cannot be undone */
export const beingDeleted = (id: string, undoUntil: Date | null): ApiError =>
  new ApiError(
    409,
    undoUntil === null
      ? `Deployment ID ${id} is being deleted.`
      : `Deployment ID ${id} is deleted: until ${instant(undoUntil)} POST /v2/deployments/${id}/undelete brings it back; ` +
          `DELETE it with retention_hours=0 to have its name free sooner.`,
  );

export const noListener = (id: string): string => `Listener ID ${id} not found.`;

export const offboarding = (placeId: string): ApiError =>
  new ApiError(
    409,
    `Listener ID ${placeId} is being offboarded: DELETE /v2/listeners/${placeId}/offboard calls that off.`,
  );

/** Where a new deployment is to go. @throws ApiError 404, and 400 when nothing may be deployed there */
export async function placeFor(db: Database, workspaceId: string, id: string): Promise<PlaceRow> {
  const row = await findPlace(db, workspaceId, id);
  if (row === undefined) throw new ApiError(404, noListener(id));
  return row;
}

/** Where a deployment is, as it sees it. @throws as `placeFor` */
export const placeAround = async (
  db: Database,
  row: Pick<DeploymentRow, 'workspace_id' | 'place_id' | 'balancer' | 'slot'>,
): Promise<Place> => trusted(await placeFor(db, row.workspace_id, row.place_id), row);

/** Where a deployment goes that names no place. @throws ApiError 400 */
export async function onlyPlace(db: Database, workspaceId: string): Promise<PlaceRow> {
  const [first, second] = await registeredPlaces(db, workspaceId);
  if (first === undefined) throw bad('No listener is registered in this workspace: create and register one first.');
  if (second !== undefined) throw bad("'source_config.listener_id' is required: this workspace has several listeners.");
  return first;
}

/** The checks that tell whether the account is its own: others are advice, and deployments wait for what is missing. */
const TRUST = ['role', 'external id'];

/**
 * The place of a new deployment or revision.
 * @throws ApiError when its role was never seen to let us in, and only us: somebody else's account must not be worked
 *   on in this workspace's name
 */
export function trusted(row: PlaceRow, seat?: Seat): Place {
  const place = placeOf(row, seat);
  if (place === undefined)
    throw bad(`Listener ID ${row.id} has no place yet: register the output of the customer's stack`);
  const verify = `POST /v2/listeners/${row.id}/verify`;
  if (row.verified_at === null) throw bad(`Listener ID ${row.id}: its place was not verified yet: ${verify}`);
  const failed = row.checks.find((check) => !check.ok && TRUST.includes(check.name));
  if (failed)
    throw bad(
      `Listener ID ${row.id}: its place failed the check "${failed.name}": ${failed.message}; ` +
        `when that is mended: ${verify}`,
    );
  return place;
}
