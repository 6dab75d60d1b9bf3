/**
 * Whether a place can be used: the role lets us in and nobody without its external id, the network and what else the
 * customer's stack made is there, and the role has every permission that is in `grants`. Nothing is made or changed.
 */
import {
  DescribeSecurityGroupsCommand,
  DescribeSubnetsCommand,
  DescribeVpcsCommand,
  type Tag,
} from '@aws-sdk/client-ec2';
import { DescribeClustersCommand } from '@aws-sdk/client-ecs';
import { DescribeListenersCommand, type Listener } from '@aws-sdk/client-elastic-load-balancing-v2';
import {
  SimulatePrincipalPolicyCommand,
  type ContextEntry,
  type ContextKeyTypeEnum,
  type EvaluationResult,
} from '@aws-sdk/client-iam';
import { DescribeDBSubnetGroupsCommand } from '@aws-sdk/client-rds';
import { GetNamespaceCommand } from '@aws-sdk/client-servicediscovery';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { randomUUID } from 'node:crypto';
import type { Account, Accounts, Entrance, Session } from './account.ts';
import { Held, explain, hasCode } from './errors.ts';
import type { Grant } from './grant.ts';
import { grants, scopeOf } from './grants.ts';
import { originalNotes } from './original.ts';
import { placeReads } from './session.ts';
import { tagRecord } from './tags.ts';
import { balancersOf, newExternalId, type Balancer, type Place } from '../place.ts';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** What is wrong and what to do; of what is well, what one should know all the same, or nothing. */
  readonly message: string;
}

export interface Verdict {
  readonly ok: boolean;
  readonly checks: readonly Check[];
  /** As of `Probed`. */
  readonly suspends: string | null;
}

const ENABLED = 'langgraph-cloud-enabled';
const PRIVATE = 'langgraph-cloud-private';

/** What the role's trust was seen to do. */
export interface Probed {
  /** It lets in whom it must not: what to do. Nobody enters until that is mended. */
  readonly suspends: string | null;
  /** Why it does not let us in with the place's own external id. */
  readonly unreachable: string | null;
}

/**
 * Asks for the role as whoever has learnt its ARN could make us do: without an external id, with another tenant's, with
 * a made-up one. Only a refusal will do. Then with its own.
 *
 * @param stranger another tenant's external id: never a customer's, for this account's trail would show it
 * @throws PlaceUnavailable when the role neither let us in nor refused: nothing is known
 * @throws Held when the customer has stopped everything there
 */
export async function probe(accounts: Accounts, place: Entrance, stranger: string): Promise<Probed> {
  await accounts.mayEnter(place); // suspended or not: the brake says what its customer wants
  const [none, theirs, any] = await Promise.all(
    [null, stranger, newExternalId()].map((externalId) => accounts.accepts(place, externalId)),
  );
  const whom = none
    ? 'without an external id'
    : any
      ? 'with any external id'
      : theirs && "with another tenant's external id";
  const trust = `"${place.roleArn}"`;
  if (whom)
    return {
      suspends:
        `the place is suspended: the role lets us in ${whom}: ${trust}: whoever learns its ARN could have us work there: ` +
        "its trust policy must require this place's external id, and no other (StringEquals, sts:ExternalId); once it " +
        'does, verify the listener',
      unreachable: null,
    };
  if (await accounts.accepts(place, place.externalId)) return { suspends: null, unreachable: null };
  const why = 'the role does not exist, does not trust this control plane, or expects another external id';
  return { suspends: null, unreachable: `the account cannot be entered: ${trust}: ${why}` };
}

export interface Asked extends Pick<Session, 'actor'> {
  /** As of `probe` @default a made-up one */
  readonly stranger?: string;
}

export async function verifyPlace(
  accounts: Accounts,
  { suspended, ...place }: Place,
  { stranger = newExternalId(), ...asked }: Asked = {},
): Promise<Verdict> {
  // A session of its own: what it may is asked now, not remembered.
  const session: Session = {
    ...asked,
    name: `freehold-verify-${randomUUID().slice(0, 8)}`,
    operation: 'verify',
    policy: placeReads(scopeOf(place)),
  };
  let what = 'external id';
  let aws: Account;
  try {
    const { suspends } = await probe(accounts, place, stranger);
    if (suspends !== null) return { ...verdict([{ name: 'external id', ok: false, message: suspends }]), suspends };
    what = 'role';
    aws = await accounts.enter(place, session);
  } catch (error) {
    if (error instanceof Held) throw error;
    return { ...verdict([{ name: what, ok: false, message: explain(error).message }]), suspends: suspended ?? null };
  }
  const checks = await Promise.all([
    check('role', () => theAccount(aws, place)),
    check('external id', () => Promise.resolve([])), // it was probed just now
    check('network', () => network(aws, place)),
    check('cluster', () => cluster(aws, place)),
    ...balancersOf(place).map((balancer) => check('listener', () => listener(aws, place, balancer))),
    ...(place.original ? [check('security group', () => serviceGroup(aws, place))] : []),
    check('namespace', () => namespace(aws, place)),
    check('database subnets', () => databaseSubnets(aws, place)),
    ...(place.uploadBucket === undefined ? [] : [check('uploads', () => uploads(aws, place.uploadBucket!))]),
    place.original ? originalPermissions(aws, place) : check('permissions', () => permissions(aws, place)),
    place.original ? [] : deletion(aws, place),
  ]);
  return verdict([...checks.flat(), ...(place.original ? originalNotes() : [])]);
}

const verdict = (checks: readonly Check[]): Verdict => ({
  ok: checks.every((each) => each.ok),
  checks,
  suspends: null,
});

/** @param find returns what is wrong, one sentence each */
async function check(name: string, find: () => Promise<string[]>): Promise<Check[]> {
  try {
    const wrong = await find();
    return wrong.length === 0
      ? [{ name, ok: true, message: '' }]
      : wrong.map((message) => ({ name, ok: false, message }));
  } catch (error) {
    return [{ name, ok: false, message: explain(error).message }];
  }
}

async function theAccount(aws: Account, place: Place): Promise<string[]> {
  const { Account } = await aws.sts.send(new GetCallerIdentityCommand({}));
  return Account === place.accountId
    ? []
    : [`another account: "${Account}": the place is registered as "${place.accountId}"`];
}

async function network(aws: Account, place: Place): Promise<string[]> {
  const { Vpcs } = await aws.ec2.send(
    new DescribeVpcsCommand({ Filters: [{ Name: 'vpc-id', Values: [place.vpcId] }] }),
  );
  const vpc = Vpcs?.[0];
  if (vpc === undefined)
    return [`no such network: "${place.vpcId}": deploy the customer's stack again and register its output`];
  const wrong = untagged(place.vpcId, vpc.Tags, { [ENABLED]: '1' });

  const ids = [...place.privateSubnetIds, ...place.publicSubnetIds];
  const { Subnets } = await aws.ec2.send(
    new DescribeSubnetsCommand({ Filters: [{ Name: 'vpc-id', Values: [place.vpcId] }] }),
  );
  const subnets = new Map((Subnets ?? []).map((subnet) => [subnet.SubnetId!, subnet]));
  for (const id of ids) {
    const subnet = subnets.get(id);
    if (subnet === undefined) wrong.push(`no such subnet: "${id}": it is not in "${place.vpcId}"`);
    else
      wrong.push(
        ...untagged(id, subnet.Tags, { [ENABLED]: '1', [PRIVATE]: place.privateSubnetIds.includes(id) ? '1' : '0' }),
      );
  }
  const zones = new Set(place.privateSubnetIds.map((id) => subnets.get(id)?.AvailabilityZone).filter(Boolean));
  if (zones.size < 2) wrong.push(`too few zones: "${[...zones].join(', ')}": private subnets in two zones are needed`);
  return wrong;
}

function untagged(id: string, tags: Tag[] | undefined, wanted: Record<string, string>): string[] {
  const found = tagRecord(tags);
  return Object.entries(wanted)
    .filter(([key, value]) => found[key] !== value)
    .map(([key, value]) => `not tagged: "${id}": it needs the tag "${key}" = "${value}"`);
}

async function cluster(aws: Account, place: Place): Promise<string[]> {
  const { clusters } = await aws.ecs.send(new DescribeClustersCommand({ clusters: [place.clusterArn] }));
  return clusters?.[0]?.status === 'ACTIVE' ? [] : [missing('ECS cluster', place.clusterArn, place)];
}

async function listener(aws: Account, place: Place, { listenerArn, loadBalancerArn }: Balancer): Promise<string[]> {
  const found = await listenerOf(aws, listenerArn);
  if (found === undefined) return [missing('listener', listenerArn, place)];
  return found.LoadBalancerArn === loadBalancerArn
    ? []
    : [`another load balancer's listener: "${listenerArn}": it belongs to "${found.LoadBalancerArn}"`];
}

async function listenerOf(aws: Account, listenerArn: string): Promise<Listener | undefined> {
  try {
    return (await aws.elb.send(new DescribeListenersCommand({ ListenerArns: [listenerArn] }))).Listeners?.[0];
  } catch (error) {
    if (hasCode(error, 'ListenerNotFound', 'ListenerNotFoundException')) return undefined;
    throw error;
  }
}

async function namespace(aws: Account, place: Place): Promise<string[]> {
  const { Namespace } = await aws.discovery.send(new GetNamespaceCommand({ Id: place.namespaceId }));
  return Namespace?.Name === place.namespaceName ? [] : [missing('namespace', place.namespaceName, place)];
}

async function databaseSubnets(aws: Account, place: Place): Promise<string[]> {
  const { DBSubnetGroups } = await aws.rds.send(
    new DescribeDBSubnetGroupsCommand({ DBSubnetGroupName: place.databaseSubnetGroup }),
  );
  const found = DBSubnetGroups?.[0];
  if (found === undefined) return [missing('database subnet group', place.databaseSubnetGroup, place)];
  return found.VpcId === place.vpcId
    ? []
    : [`in another network: "${place.databaseSubnetGroup}": it is in "${found.VpcId}"`];
}

async function serviceGroup(aws: Account, place: Place): Promise<string[]> {
  const { serviceSecurityGroupId: id = '', vpcId } = place;
  const Filters = [
    { Name: 'vpc-id', Values: [vpcId] },
    { Name: 'group-id', Values: [id] },
  ];
  const { SecurityGroups } = await aws.ec2.send(new DescribeSecurityGroupsCommand({ Filters }));
  return SecurityGroups?.[0] === undefined ? [missing('security group', id, place)] : [];
}

async function uploads(aws: Account, Bucket: string): Promise<string[]> {
  try {
    // As archives are looked for: the role may list nothing else, and in no other account's bucket of this name.
    await aws.s3.send(
      new ListObjectsV2Command({ Bucket, Prefix: 'uploads/', MaxKeys: 1, ExpectedBucketOwner: aws.id }),
    );
    return [];
  } catch (error) {
    if (hasCode(error, 'NoSuchBucket')) return [missing('bucket', Bucket)];
    throw error;
  }
}

const missing = (what: string, which: string, { original }: Pick<Place, 'original'> = {}): string =>
  `no such ${what}: "${which}": ` +
  (original ? 'register the place again' : "deploy the customer's stack again and register its output");

/** Advice: the module's role may not even ask, and which of what it lacks is done without. */
async function originalPermissions(aws: Account, place: Place): Promise<Check[]> {
  const note = (message: string): Check[] => [{ name: 'permissions', ok: true, message }];
  try {
    const lacking = await permissions(aws, place);
    return lacking.length === 0 ? note('') : lacking.flatMap(note);
  } catch (error) {
    return note(
      `not checked beforehand: ${explain(error).message}: what is missing shows when it is called, on the deployment`,
    );
  }
}

/** Whether the customer's gate is open, as IAM says now: either way the place can be used. */
async function deletion(aws: Account, place: Place): Promise<Check[]> {
  const told = (message: string): Check[] => [{ name: 'deletion', ok: true, message }];
  try {
    if (await isGateOpen(aws, place))
      return told(
        place.deletionGate
          ? 'open: databases and secrets may be deleted for a time'
          : 'open: the stack that printed this place has no gate: deploy it again and register its output',
      );
    return told(
      'closed: a deployment that is deleted keeps its database and secrets until allowDeletionUntil is given',
    );
  } catch (error) {
    return told(`not known: ${explain(error).message}`);
  }
}

export async function isGateOpen(
  aws: Account,
  place: Place,
  needed: readonly Grant[] = grants(scopeOf(place)),
): Promise<boolean> {
  const deleting = needed.filter(({ gated }) => gated);
  const wrong = await Promise.all(deleting.map((grant) => denied(aws, place, grant)));
  return wrong.flat().length === 0;
}

/** Which of these the role lacks, a sentence each; what it has only for a time may be lacking. */
export async function permissions(
  aws: Account,
  place: Place,
  needed: readonly Grant[] = grants(scopeOf(place)),
): Promise<string[]> {
  const always = needed.filter(({ gated }) => !gated);
  const wrong = await Promise.all(always.map((grant) => denied(aws, place, grant)));
  return [...new Set(wrong.flat())].sort();
}

/** Asks IAM itself, with the resources and tags that a real call would have. */
async function denied(aws: Account, place: Place, grant: Grant): Promise<string[]> {
  const results: EvaluationResult[] = [];
  let Marker: string | undefined;
  do {
    const page = await aws.iam.send(
      new SimulatePrincipalPolicyCommand({
        PolicySourceArn: place.roleArn,
        ActionNames: [...grant.actions],
        // A pattern stands for what will have such a name.
        ResourceArns: grant.resources.map((resource) => (resource === '*' ? '*' : resource.replaceAll('*', 'example'))),
        ContextEntries: contextOf(grant),
        Marker,
      }),
    );
    results.push(...(page.EvaluationResults ?? []));
    Marker = page.IsTruncated ? page.Marker : undefined;
  } while (Marker !== undefined);
  return results.flatMap((result) => {
    const specific = (result.ResourceSpecificResults ?? []).filter((each) => each.EvalResourceDecision !== 'allowed');
    if (result.EvalDecision === 'allowed' && specific.length === 0) return [];
    return [missingPermission(result, grant)];
  });
}

function missingPermission(result: EvaluationResult, grant: Grant): string {
  const remedy =
    result.OrganizationsDecisionDetail?.AllowedByOrganizations === false
      ? "a service control policy of the customer's organization forbids it"
      : result.PermissionsBoundaryDecisionDetail?.AllowedByPermissionsBoundary === false
        ? "the role's permissions boundary forbids it"
        : result.EvalDecision === 'explicitDeny'
          ? 'an explicit deny forbids it'
          : "the role's policy must allow it";
  return `missing permission: "${result.EvalActionName}" on "${grant.resources.join('", "')}": ${remedy} (${grant.why})`;
}

/** The values that the grant's own conditions ask for, of a pattern one like it; and what every request has. */
function contextOf(grant: Grant): ContextEntry[] {
  const asked = Object.entries(grant.conditions ?? {}).filter(([operator]) => operator !== 'Null');
  const now = new Date().toISOString();
  return [
    { ContextKeyName: 'aws:CurrentTime', ContextKeyValues: [now], ContextKeyType: 'date' },
    ...asked.flatMap(([operator, keys]) =>
      Object.entries(keys).map(([ContextKeyName, value]) => ({
        ContextKeyName,
        ContextKeyValues: [value].flat().map((each) => (/Like/.test(operator) ? each.replaceAll('*', 'x') : each)),
        ContextKeyType: typeOf(operator),
      })),
    ),
  ];
}

function typeOf(operator: string): ContextKeyTypeEnum {
  if (operator.startsWith('ForAllValues')) return 'stringList';
  if (operator.startsWith('Numeric')) return 'numeric';
  return operator.startsWith('Bool') ? 'boolean' : 'string';
}
