/**
 * The names of what a deployment is made of. They come from its id (and never from inputs that can change), so that a
 * resource is found again whatever happened, and asking twice makes one.
 *
 * Limits, with a prefix of at most 15 characters: target group 32 (ours ≤ 28), database instance 63, Cloud Map label
 * 63.
 */

interface PlaceNames {
  readonly prefix: string;
  readonly logGroupRoot: string;
  readonly original?: true;
}

interface PlaceAddress {
  readonly scheme: 'http' | 'https';
  readonly domain?: string | undefined;
  readonly loadBalancerDnsName: string;
}

interface DeploymentName {
  readonly id: string;
  readonly name: string;
}

/** The first 12 hex digits of a deployment's UUID. */
export const shortId = (deploymentId: string): string => deploymentId.replaceAll('-', '').slice(0, 12).toLowerCase();

/** A deployment's name as a part of host names, paths and log groups. */
export const label = (name: string): string =>
  name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 50)
    .replace(/^-+|-+$/g, '') || 'deployment';

/** One path segment or host label: readable, and unique by the id in it. */
export const slug = (deployment: DeploymentName): string => `${label(deployment.name)}-${shortId(deployment.id)}`;

export const secretName = (place: { prefix: string }, deploymentId: string, what: string): string =>
  `${place.prefix}/${deploymentId}/${what}`;

export interface Names {
  readonly serviceGroup: string;
  readonly databaseGroup: string;
  readonly redisGroup: string;
  readonly database: string;
  readonly targetGroup: string;
  readonly service: string;
  readonly redis: string;
  readonly discovery: string;
  readonly logGroup: string;
  /** What the names of its log streams begin with: nothing, in a log group of its own. */
  readonly logStreams: string;
  /** Of images that are pushed for this deployment alone. */
  readonly repository: string;
  secret(what: 'environment' | 'database' | 'redis'): string;
  /** A family of its own for each revision: registering it twice still ends in one definition that is used. */
  taskFamily(revision: number): string;
}

export function names(place: PlaceNames, deployment: DeploymentName): Names {
  const base = `${place.prefix}-${shortId(deployment.id)}`;
  return {
    serviceGroup: `${base}-service`,
    databaseGroup: `${base}-database`,
    redisGroup: `${base}-redis`,
    database: base,
    targetGroup: base,
    service: base,
    redis: `${base}-redis`,
    discovery: `redis-${shortId(deployment.id)}`,
    logGroup: place.original ? place.logGroupRoot : `${place.logGroupRoot}/${slug(deployment)}`,
    logStreams: place.original ? `${shortId(deployment.id)}-` : '',
    repository: `${place.prefix}/${slug(deployment)}`,
    secret: (what) => secretName(place, deployment.id, what),
    taskFamily: (revision) => `${base}-r${revision}`,
  };
}

/**
 * What the log streams of servers begin with: of one revision's tasks (with the `/` that follows it), or of all, those
 * included that were started before revisions were told apart. Other containers of a deployment write to the same log
 * group, under other names.
 */
export const serverLogs = (revision: number): string => `${allServerLogs}-r${revision}`;
export const allServerLogs = 'server';

/** Where the balancer sends a deployment's requests from: by host when the place has a domain, else by path. */
export const route = (place: PlaceAddress, deployment: DeploymentName): { host: string } | { path: string } =>
  place.domain === undefined ? { path: `/${slug(deployment)}` } : { host: `${slug(deployment)}.${place.domain}` };

/** The deployment's own URL. */
export function url(place: PlaceAddress, deployment: DeploymentName): string {
  const where = route(place, deployment);
  return 'host' in where
    ? `${place.scheme}://${where.host}`
    : `${place.scheme}://${place.loadBalancerDnsName}${where.path}`;
}
