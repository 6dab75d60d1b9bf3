/** The props of the customer's stack from plain context: `cdk deploy -c name=value`, or `context` in cdk.json. */
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { InvalidInput } from './input.ts';
import type { CustomerAccountStackProps } from './customer-account.ts';
import { LINKED_SERVICES, type LinkedService } from './service-linked-roles.ts';

type Read<T> = (name: string, value: unknown) => T;

const text: Read<string> = (name, value) => {
  if (typeof value !== 'string' || value.trim() === '')
    throw new InvalidInput(`${name} is ${shown(value)}: give a value`);
  return value.trim();
};

const list: Read<string[]> = (name, value) => {
  const items = (Array.isArray(value) ? value : text(name, value).split(',')).map((item) => `${item}`.trim());
  if (items.includes('')) throw new InvalidInput(`${name} is ${shown(value)}: separate the values by single commas`);
  return items;
};

const flag: Read<boolean> = (name, value) => {
  if (value === true || value === 'true') return true;
  if (value === false || value === 'false') return false;
  throw new InvalidInput(`${name} is ${shown(value)}: say true or false`);
};

/** Nothing, which the shell has of a variable that is not set, stands for none. */
const orNone: Read<string | undefined> = (name, value) => (value === '' ? undefined : text(name, value));

const number: Read<number> = (name, value) => {
  const parsed = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof parsed !== 'number' || !Number.isInteger(parsed))
    throw new InvalidInput(`${name} is ${shown(value)}: give a whole number`);
  return parsed;
};

/** CloudWatch Logs knows only these, and would say so when everything else is made. */
const retention: Read<number> = (name, value) => {
  const days = number(name, value);
  const known = Object.values(RetentionDays).filter(
    (each) => typeof each === 'number' && each <= RetentionDays.TEN_YEARS,
  );
  if (!known.includes(days)) throw new InvalidInput(`${name} is ${days}: give one of ${known.join(', ')}`);
  return days;
};

const services: Read<LinkedService[]> = (name, value) => {
  if (value === 'none') return [];
  if (value === 'all') return [...LINKED_SERVICES];
  return list(name, value) as LinkedService[];
};

const shown = (value: unknown) => JSON.stringify(value) ?? 'missing';

const READERS = {
  principal: text,
  externalId: text,
  region: text,
  prefix: text,
  vpcId: text,
  privateSubnetIds: list,
  publicSubnetIds: list,
  cidr: text,
  zones: number,
  azs: list,
  natGateways: number,
  flowLogs: flag,
  certificateArn: text,
  domain: text,
  internetFacing: flag,
  allowedCidrs: list,
  deletionProtection: flag,
  balancers: number,
  policies: text as Read<'scoped' | 'managed'>,
  allowDeletionUntil: orNone,
  serviceLinkedRoles: services,
  containerInsights: flag,
  executionRoles: number,
  logRetentionDays: retention,
  auditRetentionDays: retention,
} satisfies Record<string, Read<unknown>>;

type Given = { [K in keyof typeof READERS]?: ReturnType<(typeof READERS)[K]> };

const FOR_NEW_NETWORK = ['cidr', 'zones', 'azs', 'natGateways', 'flowLogs'] as const;
const FOR_EXISTING_NETWORK = ['privateSubnetIds', 'publicSubnetIds'] as const;

/** Throws `InvalidInput` for what is missing, not understood, or of no use together. */
export function fromContext(context: Readonly<Record<string, unknown>>): CustomerAccountStackProps {
  const given: Given = {};
  for (const [name, value] of Object.entries(context)) {
    // CDK's own: feature flags and look-ups. None of ours has such a character.
    if (/[^a-zA-Z]/.test(name)) continue;
    const read = (READERS as Record<string, Read<unknown>>)[name];
    if (!read) throw new InvalidInput(`${name} is not known: context may have ${Object.keys(READERS).join(', ')}`);
    (given as Record<string, unknown>)[name] = read(name, value);
  }
  const { principal, externalId, region, azs, zones, ...rest } = given;
  if (principal === undefined || externalId === undefined) {
    const missing = [principal ?? 'principal', externalId ?? 'externalId'].filter((name) => name in READERS);
    throw new InvalidInput(
      `${missing.join(' and ')} missing: add ${missing.map((name) => `-c ${name}=…`).join(' ')}, as the control plane shows when you add a place`,
    );
  }
  const useless = (given.vpcId === undefined ? FOR_EXISTING_NETWORK : FOR_NEW_NETWORK).filter((name) => name in given);
  if (useless.length > 0)
    throw new InvalidInput(
      given.vpcId === undefined
        ? `${useless.join(' and ')} given without vpcId: add -c vpcId=vpc-… for an existing network, or leave them out for a new one`
        : `${useless.join(' and ')} given with vpcId: these are for a new network, leave out one or the other`,
    );
  if (azs !== undefined && zones !== undefined)
    throw new InvalidInput('azs and zones given together: azs names the zones, so leave zones out');
  return {
    ...rest,
    principalArn: principal,
    externalId,
    zones,
    availabilityZones: azs,
    env: { region },
    stackName: `${given.prefix ?? 'freehold'}-account`,
  };
}
