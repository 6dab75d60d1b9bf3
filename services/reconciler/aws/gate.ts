/**
 * The delete gate: databases and secrets are deleted only while the customer's stack says so (`allowDeletionUntil`),
 * for then it attaches a policy of its own to the role. What was just made, and whose deployment never served, is
 * tagged as that from the call that makes it, and may always be undone.
 */
import { changesOurs } from './arn.ts';
import type { Denial } from './denials.ts';
import { AwaitsCustomer, isDenied } from './errors.ts';
import type { Grant, Scope } from './grant.ts';
import { TAG, type Tags } from './tags.ts';
import type { Cx } from '../resource.ts';

/** A tag's value, and all that the control plane ever sets it to. */
const YES = 'true';
const MADE = { [TAG.provisioning]: YES } as const;

/** Of a resource that is being made. Where there is no gate, nothing could take the mark off. */
export const provisional = ({ tags, deletionGate }: Pick<Cx, 'tags' | 'deletionGate'>): Tags => ({
  ...tags,
  ...(deletionGate && MADE),
});

export const isProvisional = (found: Tags): boolean => TAG.provisioning in found;

/** What takes the tag off: nothing puts it on again. */
export const PROVISIONING_ENDS = {
  field: 'provisioning',
  from: true,
  to: false,
  isUpkeep: true,
} as const;

/** The right to delete, behind the gate; and without it for what is provisional. */
export function deletes(scope: Scope, grant: Omit<Grant, 'gated'>): Grant[] {
  const { StringEquals, ...conditions } = { ...changesOurs(scope), ...grant.conditions };
  const of = (more: object): Grant['conditions'] => ({ StringEquals: { ...StringEquals, ...more }, ...conditions });
  return [
    { ...grant, conditions: of({}), gated: true },
    {
      ...grant,
      conditions: of({ [`aws:ResourceTag/${TAG.provisioning}`]: YES }),
      why: 'undoes a create: what is tagged as never having served holds nothing',
    },
  ];
}

/** The right to take that tag off, and no other one. */
export function untags(scope: Scope, action: string, resources: readonly string[]): Grant[] {
  if (scope.deletionGate === undefined) return [];
  const conditions = {
    ...changesOurs(scope),
    'ForAllValues:StringEquals': { 'aws:TagKeys': [TAG.provisioning] },
    Null: { 'aws:TagKeys': 'false' },
  };
  const why =
    'takes the mark of what never served off, when it has: from then on deleting it takes your allowDeletionUntil';
  return [{ actions: [action], resources, conditions, why }];
}

/**
 * What has lost that tag, or never had it, is not given it. AWS may show the tags of a request as those of what it is
 * about to make, or none: of neither this is true. (IAM user guide, "AWS global condition context keys",
 * aws:ResourceTag: "in requests that create a resource with an attached tag".)
 */
export const NEVER_TAGGED_AGAIN: Denial = {
  actions: ['rds:AddTagsToResource', 'secretsmanager:TagResource'],
  resources: ['*'],
  conditions: {
    Null: {
      [`aws:RequestTag/${TAG.provisioning}`]: 'false',
      [`aws:ResourceTag/${TAG.place}`]: 'false',
      [`aws:ResourceTag/${TAG.provisioning}`]: 'true',
    },
  },
  why: 'what has served is never marked again as what has not, which could be deleted without your allowDeletionUntil',
};

/** Where other policies allow deleting everything: all but what is provisional is kept, but until that time. */
export const kept = (gated: readonly Grant[], until: string | undefined): Denial => ({
  actions: [...new Set(gated.flatMap(({ actions }) => actions))],
  resources: ['*'],
  conditions: {
    StringNotEquals: { [`aws:ResourceTag/${TAG.provisioning}`]: YES },
    ...(until !== undefined && { DateGreaterThanEquals: { 'aws:CurrentTime': until } }),
  },
  why: 'databases and secrets that have served are deleted only while allowDeletionUntil lies in the future',
});

/** What a delete that is not allowed says, and how that begins. */
export const WAITS_FOR_CUSTOMER = 'waits for the customer: ';
export const GATE_CLOSED =
  `${WAITS_FOR_CUSTOMER}its data is not to be deleted yet: deploy the account’s stack with allowDeletionUntil, ` +
  'a time to come in UTC, and it goes on by itself';

/** @throws AwaitsCustomer when it is the gate that is closed */
export async function throughGate<T>(deleting: () => Promise<T>): Promise<T> {
  try {
    return await deleting();
  } catch (error) {
    // What somebody denies in so many words, or another kind of policy does not allow, is no gate of ours.
    const isElse = /explicit deny|because no (?!identity-based)/i.test((error as Error).message);
    if (isDenied(error) && !isElse) throw new AwaitsCustomer(GATE_CLOSED);
    throw error;
  }
}
