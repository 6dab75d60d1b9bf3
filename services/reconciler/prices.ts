/**
 * What resources cost a month, by AWS's public on-demand list prices: an estimate, for people to decide by. What a
 * customer pays differs by discounts, reservations, credits and taxes.
 */

/** So much of one thing, for a whole month. Where it scales, `count` is the least, and `most` the most. */
export interface Item {
  readonly what: Priced;
  readonly count: number;
  readonly most?: number;
}

/**
 * `vcpu`, `memory-gb`: of Linux tasks on Fargate, x86. A class: a PostgreSQL on RDS, which is `multi-az` with its
 * standby. `storage-gb`: its gp3 volume, twice as much with a standby. `snapshot-gb`: of what outlives its database.
 */
export type Priced =
  'vcpu' | 'memory-gb' | `db.${string}` | `db.${string} multi-az` | 'storage-gb' | 'snapshot-gb' | 'secret';

export const CURRENCY = 'USD';

/**
 * Of the oldest source. Later ones that were found for parts of it (RDS classes 2025-04-04; eu-central-1, us-east-2,
 * us-west-2 and ap-southeast-1 in part July to September 2026) say the same.
 */
export const AS_OF = '2024-09-28';

export const NOT_INCLUDED: readonly string[] = [
  'traffic',
  'logs',
  "the place's balancer, NAT and endpoints, which all of its deployments share",
  'images and uploads',
  'DNS',
  "backups beyond the database's own size",
  'taxes',
];

const HOURS = 730;

/**
 * By the hour: vCPU, GB of memory, and four classes of RDS for PostgreSQL, alone and with a standby; by the month: a GB
 * of gp3 and of a snapshot.
 *
 * RDS: AWS's price map (b0.p.awsstatic.com/pricing/2.0/meteredUnitMaps, rds/USD/current/rds-postgresql-ondemand.json)
 * as published 2024-09-28, and the on-demand prices in its reserved-instance maps of 2025-04-04.
 * Fargate: https://aws.amazon.com/fargate/pricing/, as public calculators have it, checked against the price lists of
 * AmazonECS that were found. Secrets Manager: its price list, 2026-09-11; the same in all of these regions.
 */
const REGIONS: Readonly<Record<string, readonly number[]>> = {
  'us-east-1': [0.04048, 0.004445, 0.016, 0.032, 0.065, 0.129, 0.168, 0.337, 0.674, 1.348, 0.115, 0.095],
  'us-east-2': [0.04048, 0.004445, 0.016, 0.032, 0.065, 0.129, 0.168, 0.337, 0.674, 1.348, 0.115, 0.095],
  'us-west-1': [0.04656, 0.00511, 0.021, 0.043, 0.085, 0.171, 0.192, 0.384, 0.768, 1.536, 0.138, 0.095],
  'us-west-2': [0.04048, 0.004445, 0.016, 0.032, 0.065, 0.129, 0.168, 0.337, 0.674, 1.348, 0.115, 0.095],
  'ca-central-1': [0.04456, 0.004865, 0.018, 0.035, 0.07, 0.141, 0.1856, 0.3712, 0.7424, 1.4848, 0.127, 0.105],
  'eu-west-1': [0.04048, 0.004445, 0.017, 0.035, 0.069, 0.138, 0.186, 0.372, 0.745, 1.49, 0.127, 0.095],
  'eu-west-2': [0.04656, 0.00511, 0.018, 0.036, 0.072, 0.145, 0.1952, 0.3904, 0.7808, 1.5616, 0.133, 0.1],
  'eu-central-1': [0.04656, 0.00511, 0.019, 0.037, 0.074, 0.149, 0.2, 0.401, 0.801, 1.602, 0.137, 0.103],
  'eu-north-1': [0.0445, 0.0049, 0.016, 0.033, 0.065, 0.13, 0.177, 0.354, 0.708, 1.416, 0.12, 0.09],
  'ap-southeast-1': [0.05056, 0.00553, 0.025, 0.051, 0.102, 0.203, 0.234, 0.468, 0.937, 1.874, 0.138, 0.095],
  'ap-southeast-2': [0.04856, 0.00532, 0.025, 0.051, 0.102, 0.203, 0.234, 0.468, 0.937, 1.874, 0.138, 0.095],
  'ap-northeast-1': [0.05056, 0.00553, 0.025, 0.05, 0.101, 0.202, 0.234, 0.468, 0.937, 1.874, 0.138, 0.095],
  'ap-south-1': [0.04256, 0.004655, 0.021, 0.042, 0.084, 0.167, 0.24, 0.479, 0.958, 1.916, 0.131, 0.095],
};
const HOURLY: readonly Priced[] = [
  'vcpu',
  'memory-gb',
  ...['db.t4g.micro', 'db.t4g.medium', 'db.m7g.large', 'db.m7g.2xlarge'].flatMap(
    (name) => [name, `${name} multi-az`] as Priced[],
  ),
];
const MONTHLY: readonly Priced[] = ['storage-gb', 'snapshot-gb'];
const SECRET = 0.4;

/** In `CURRENCY`, to the cent, or why there is no telling. `most`: where it scales, when all of it runs. */
export type Price =
  | { readonly amount: number; readonly most: number; readonly why: null }
  | { readonly amount: null; readonly most: null; readonly why: string };

export function monthlyPrice(region: string, items: readonly Item[]): Price {
  const known = REGIONS[region];
  if (known === undefined) return none(`no prices of the region "${region}" are kept here`);
  const prices = new Map<Priced, number>([
    ...[...HOURLY, ...MONTHLY].map((what, i): [Priced, number] => [what, known[i]! * (i < HOURLY.length ? HOURS : 1)]),
    ['secret', SECRET],
  ]);
  const missing = items.find(({ what }) => !prices.has(what));
  if (missing) return none(`no price of "${missing.what}" in the region "${region}" is kept here`);
  const sum = (count: (item: Item) => number): number =>
    Math.round(items.reduce((total, item) => total + count(item) * prices.get(item.what)!, 0) * 100) / 100;
  return { amount: sum(({ count }) => count), most: sum(({ count, most }) => most ?? count), why: null };
}

const none = (why: string): Price => ({ amount: null, most: null, why });
