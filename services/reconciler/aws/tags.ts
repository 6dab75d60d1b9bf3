/** Whose a resource is. Every resource carries these from the call that makes it; permissions are cut to them. */
import { NotOurs } from './errors.ts';

export const TAG = {
  place: 'freehold:place',
  deployment: 'freehold:deployment',
  resource: 'freehold:resource',
  /** Of the deployment's execution role, which has the same tag: it reads no secret that has another. */
  slot: 'freehold:slot',
  /** Of sessions: what for (a revision's id, `delete`, `repair`, …), and on whose behalf. */
  operation: 'freehold:operation',
  actor: 'freehold:actor',
  /** On a database's URI secret: `<DbiResourceId>/<version id>` of the database whose password is in that version. */
  bound: 'freehold:bound',
  /** Set by the customer, on a secret of their own, to the place's prefix: its values may be injected into servers. */
  inject: 'freehold:inject',
  /** The execution role of an original place reads only secrets that have it, whatever its value. */
  original: 'langgraph-cloud',
  /** On what is a whole place's: the id of the listener that it was made for. */
  listener: 'freehold:listener',
  /** On databases and secrets from the call that makes them until their deployment has served: see `gate.ts`. */
  provisioning: 'freehold:provisioning',
} as const;

export type Tags = Readonly<Record<string, string>>;

/** `place`: the place's prefix. `resource`: the node's id. */
export const ownerTags = (
  place: { readonly prefix: string; readonly original?: true; readonly slot?: number },
  deploymentId: string,
  resource: string,
): Tags => ({
  [TAG.place]: place.prefix,
  [TAG.deployment]: deploymentId,
  [TAG.resource]: resource,
  ...(place.original && { [TAG.original]: '1' }),
  ...(place.slot !== undefined && { [TAG.slot]: String(place.slot) }),
});

export const tagList = (tags: Tags): { Key: string; Value: string }[] =>
  Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

/** ECS spells them in lower case. */
export const ecsTagList = (tags: Tags): { key: string; value: string }[] =>
  Object.entries(tags).map(([key, value]) => ({ key, value }));

interface AnyTag {
  readonly Key?: string | undefined;
  readonly Value?: string | undefined;
  readonly key?: string | undefined;
  readonly value?: string | undefined;
}

export const tagRecord = (list: readonly AnyTag[] | undefined): Tags =>
  Object.fromEntries((list ?? []).map((tag) => [tag.Key ?? tag.key ?? '', tag.Value ?? tag.value ?? '']));

export const isOurs = (found: Tags, ours: Tags): boolean =>
  Object.entries(ours).every(([key, value]) => found[key] === value);

/** @throws NotOurs when what was found under our name is somebody else's: it is never changed or removed. */
export function requireOurs(found: Tags, ours: Tags, what: string): void {
  if (isOurs(found, ours)) return;
  const missing = Object.entries(ours)
    .filter(([key, value]) => found[key] !== value)
    .map(([key, value]) => `"${key}" = "${value}"`);
  throw new NotOurs(
    `exists and is not ours: "${what}": it lacks the tag ${missing.join(', ')}: if it is this deployment's, add what it lacks`,
  );
}
