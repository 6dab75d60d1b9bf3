/**
 * A place that was set up for the product that this one replaces, with its Terraform module: recognised by the module's
 * fixed names and tags, and used as it is. The module has no load balancer: the place gets one of ours when it is
 * registered, which goes when its customer leaves. What else differs there follows from what the role may do: five
 * managed policies of AWS's and Application Auto Scaling.
 */
import { DescribeSecurityGroupsCommand, DescribeSubnetsCommand, DescribeVpcsCommand } from '@aws-sdk/client-ec2';
import { DescribeClustersCommand } from '@aws-sdk/client-ecs';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  DeleteLoadBalancerCommand,
  DescribeListenersCommand,
  DescribeLoadBalancersCommand,
  DescribeTagsCommand,
  type Action,
  type CreateListenerCommandInput,
  type DescribeListenersCommandInput,
  type DescribeLoadBalancersCommandInput,
  type Listener,
  type LoadBalancer,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { ListRolesCommand } from '@aws-sdk/client-iam';
import { DescribeDBSubnetGroupsCommand } from '@aws-sdk/client-rds';
import { GetResourcesCommand } from '@aws-sdk/client-resource-groups-tagging-api';
import { ListNamespacesCommand } from '@aws-sdk/client-servicediscovery';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Place, PlaceOutputs } from '../place.ts';
import type { Account } from './account.ts';
import { arn, createsOurs } from './arn.ts';
import { Terminal, hasCode } from './errors.ts';
import type { Grant, Scope } from './grant.ts';
import { TAG, requireOurs, tagList, tagRecord, type Tags } from './tags.ts';

/** Exactly as the module has them: they are a contract, of the module's README. */
export const ORIGINAL = {
  enabled: 'langgraph-cloud-enabled',
  private: 'langgraph-cloud-private',
  role: 'LangGraphCloudBYOCRole',
  executionRole: 'LangGraphCloudECSTaskExecutionRole',
  cluster: 'langgraph-cloud-cluster',
  databaseSubnetGroup: 'langgraph-cloud-db-subnet-group',
  logGroup: '/aws/ecs/langgraph-cloud',
  balancerGroup: 'langgraph-cloud-lb-sg',
  serviceGroup: 'langgraph-cloud-service-sg',
  namespace: 'langgraph-cloud-redis',
} as const;

/** Of our own names there; also the load balancer's whole name. Nothing of the module's is `<this>-<12 hex digits>`. */
const PREFIX = 'langgraph-cloud';

export interface OriginalPlace {
  readonly accountId: string;
  readonly region: string;
  /** @default the module's, in that account */
  readonly roleArn?: string;
  /** Whether the load balancer is in the public subnets, and can be reached from the internet. @default false */
  readonly isPublic?: boolean;
  /** HTTPS for `*.<domain>`, with HTTP redirected. @default HTTP, deployments told apart by path */
  readonly https?: { readonly certificateArn: string; readonly domain: string };
}

interface Note {
  readonly name: string;
  readonly ok: true;
  readonly message: string;
}

type Found = Omit<PlaceOutputs, 'loadBalancerArn' | 'loadBalancerDnsName' | 'listenerArn' | 'scheme' | 'domain'>;

/** How such a place is entered before anything else is known of it, and as long as its load balancer may be there. */
export type OriginalEntrance = Pick<Place, 'id' | 'externalId' | 'accountId' | 'region' | 'roleArn'> & {
  readonly original: true;
};

/** @param listener what the place is registered as */
export const entranceOf = (
  { accountId, region, roleArn = `arn:aws:iam::${accountId}:role/${ORIGINAL.role}` }: OriginalPlace,
  { id, externalId }: Pick<Place, 'id' | 'externalId'>,
): OriginalEntrance => ({ id, externalId, accountId, region, roleArn, original: true });

/**
 * Finds all that the module made, and makes the load balancer when there is none yet.
 *
 * @param aws as `readableTags` gives it
 * @param remember told right before something is made: what that is removed by, in case nothing more comes of it
 * @throws Terminal naming each thing that is missing
 */
export async function recognise(
  aws: Account,
  asked: OriginalPlace,
  entrance: OriginalEntrance,
  remember: () => Promise<void>,
): Promise<PlaceOutputs> {
  const { missing, found } = await find(aws, entrance);
  if (asked.isPublic && found.publicSubnetIds.length < 2)
    missing.push(untaggedSubnets(found.vpcId, '0', 'for a load balancer that can be reached from the internet'));
  if (missing.length > 0)
    throw new Terminal(`not a place as langgraph_cloud_setup makes it: ${missing.join('; ')}: apply that module again`);
  return { ...found, ...(await balancer(aws, found, asked, entrance.id, remember)) };
}

async function find(
  aws: Account,
  { accountId, region, roleArn }: OriginalEntrance,
): Promise<{ missing: string[]; found: Found }> {
  const missing: string[] = [];
  const partition = roleArn.split(':')[1]!;
  const the = <T>(one: T | undefined, what: string, which: string, otherwise: T): T => {
    if (one === undefined) missing.push(`no ${what} "${which}"`);
    return one ?? otherwise;
  };
  const Filters = [{ Name: `tag:${ORIGINAL.enabled}`, Values: ['1'] }];
  const { Vpcs = [] } = await aws.ec2.send(new DescribeVpcsCommand({ Filters }));
  const vpcId = Vpcs[0]?.VpcId ?? '';
  if (Vpcs.length === 0) missing.push(`no VPC with the tag "${ORIGINAL.enabled}" = "1"`);
  if (Vpcs.length > 1)
    missing.push(
      `more than one VPC has the tag "${ORIGINAL.enabled}" = "1": "${Vpcs.map((one) => one.VpcId).join('", "')}"`,
    );
  const inVpc = { Name: 'vpc-id', Values: [vpcId] };
  const [subnets, groups, cluster, subnetGroup, logGroup, executionRole, namespace] = await Promise.all([
    aws.ec2.send(new DescribeSubnetsCommand({ Filters: [inVpc, ...Filters] })),
    aws.ec2.send(
      new DescribeSecurityGroupsCommand({
        Filters: [inVpc, { Name: 'group-name', Values: [ORIGINAL.balancerGroup, ORIGINAL.serviceGroup] }],
      }),
    ),
    aws.ecs.send(new DescribeClustersCommand({ clusters: [ORIGINAL.cluster] })),
    databaseSubnets(aws),
    logs(aws),
    roleNamed(aws, ORIGINAL.executionRole),
    namespaceNamed(aws, ORIGINAL.namespace),
  ]);
  const subnetsOf = (isPrivate: '0' | '1'): string[] =>
    (subnets.Subnets ?? [])
      .filter(({ Tags }) => tagRecord(Tags)[ORIGINAL.private] === isPrivate)
      .map(({ SubnetId }) => SubnetId!)
      .sort();
  const group = (name: string): string =>
    the(groups.SecurityGroups?.find(({ GroupName }) => GroupName === name)?.GroupId, 'security group', name, '');
  const active = cluster.clusters?.find(({ status }) => status === 'ACTIVE');
  const privateSubnetIds = subnetsOf('1');
  if (privateSubnetIds.length < 2) missing.push(untaggedSubnets(vpcId, '1', 'for servers and databases'));
  if (subnetGroup?.VpcId !== undefined && subnetGroup.VpcId !== vpcId)
    missing.push(`the database subnet group "${ORIGINAL.databaseSubnetGroup}" is in another VPC`);
  const role = the(executionRole, 'role', ORIGINAL.executionRole, '');
  const found: Found = {
    version: 1,
    original: true,
    accountId,
    region,
    partition,
    prefix: PREFIX,
    roleArn,
    vpcId,
    privateSubnetIds,
    publicSubnetIds: subnetsOf('0'),
    clusterArn: the(active?.clusterArn, 'ECS cluster', ORIGINAL.cluster, ''),
    // The module has no other: whatever servers may do in the account, they do with this one.
    executionRoleArn: role,
    taskRoleArn: role,
    loadBalancerSecurityGroupId: group(ORIGINAL.balancerGroup),
    serviceSecurityGroupId: group(ORIGINAL.serviceGroup),
    namespaceId: the(namespace, 'Cloud Map namespace', ORIGINAL.namespace, ''),
    namespaceName: ORIGINAL.namespace,
    databaseSubnetGroup: the(
      subnetGroup && ORIGINAL.databaseSubnetGroup,
      'database subnet group',
      ORIGINAL.databaseSubnetGroup,
      '',
    ),
    logGroupRoot: the(logGroup, 'log group', ORIGINAL.logGroup, ''),
  };
  return { missing, found };
}

const untaggedSubnets = (vpcId: string, value: string, what: string): string =>
  `fewer than two subnets of "${vpcId}" with the tags "${ORIGINAL.enabled}" = "1" and "${ORIGINAL.private}" = ` +
  `"${value}", ${what}`;

async function databaseSubnets({ rds }: Account): Promise<{ VpcId?: string } | undefined> {
  try {
    const name = { DBSubnetGroupName: ORIGINAL.databaseSubnetGroup };
    return (await rds.send(new DescribeDBSubnetGroupsCommand(name))).DBSubnetGroups?.[0];
  } catch (error) {
    if (hasCode(error, 'DBSubnetGroupNotFoundFault', 'DBSubnetGroupNotFound')) return undefined;
    throw error;
  }
}

async function logs(aws: Account): Promise<string | undefined> {
  const { logGroups } = await aws.logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: ORIGINAL.logGroup }));
  return logGroups?.find(({ logGroupName }) => logGroupName === ORIGINAL.logGroup)?.logGroupName;
}

/** Its ARN. The policies let roles be listed, and none be looked at. */
async function roleNamed({ iam }: Account, name: string): Promise<string | undefined> {
  let Marker: string | undefined;
  do {
    const page = await iam.send(new ListRolesCommand({ Marker, MaxItems: 1000 }));
    const found = page.Roles?.find(({ RoleName }) => RoleName === name);
    if (found !== undefined) return found.Arn;
    Marker = page.IsTruncated ? page.Marker : undefined;
  } while (Marker !== undefined);
  return undefined;
}

async function namespaceNamed({ discovery }: Account, name: string): Promise<string | undefined> {
  let NextToken: string | undefined;
  do {
    const Filters = [{ Name: 'TYPE' as const, Values: ['DNS_PRIVATE'], Condition: 'EQ' as const }];
    const page = await discovery.send(new ListNamespacesCommand({ Filters, NextToken }));
    const found = page.Namespaces?.find(({ Name }) => Name === name);
    if (found !== undefined) return found.Id;
    NextToken = page.NextToken;
  } while (NextToken !== undefined);
  return undefined;
}

type Balancing = Pick<
  PlaceOutputs,
  'loadBalancerArn' | 'loadBalancerDnsName' | 'listenerArn' | 'scheme' | 'domain' | 'isPublic'
>;

/** Not a deployment's: it is the place's, and the listener's that it was made for. */
const balancerTags = (listenerId: string): Tags => ({
  [TAG.place]: PREFIX,
  [TAG.resource]: 'load-balancer',
  [TAG.listener]: listenerId,
});

const NO_ROUTE: Action = {
  Type: 'fixed-response',
  FixedResponseConfig: { StatusCode: '404', ContentType: 'text/plain', MessageBody: 'no such deployment' },
};
const TO_HTTPS: Action = {
  Type: 'redirect',
  RedirectConfig: { Protocol: 'HTTPS', Port: '443', StatusCode: 'HTTP_301' },
};
/** Looks, a second apart, for a listener that was just made: the place is verified right after. */
const TRIES = 10;
const TLS = 'ELBSecurityPolicy-TLS13-1-2-2021-06';

/**
 * Finds the place's load balancer or makes it; asked again, it makes what is missing. The role may not change one.
 * @throws Terminal when there is another of its name, or it is not as asked
 */
async function balancer(
  aws: Account,
  place: Found,
  { isPublic = false, https }: OriginalPlace,
  listenerId: string,
  remember: () => Promise<void>,
): Promise<Balancing> {
  const tags = balancerTags(listenerId);
  const Scheme = isPublic ? 'internet-facing' : 'internal';
  const there = await balancerOf(aws, { Names: [PREFIX] });
  if (there !== undefined) requireOurs(await tagsOf(aws, there.LoadBalancerArn!), tags, there.LoadBalancerArn!);
  if (there !== undefined && there.Scheme !== Scheme) throw unchangeable(`it is ${there.Scheme}`);
  await remember();
  const made = there ?? (await makeBalancer(aws, place, Scheme, tags));
  try {
    // One that was just made is not found yet.
    return await listening(aws, made, there ? await listenersOf(aws, made) : [], { isPublic, https }, tags);
  } catch (error) {
    // Half made it would have to stay as it is, whatever is asked for next. Somebody else who asked may have it by now.
    if (there === undefined && !hasCode(error, 'DuplicateListener', 'DuplicateListenerException'))
      await remove(aws, made.LoadBalancerArn!).catch(() => undefined);
    throw error;
  }
}

/** The load balancer, once it listens as asked. @param Listeners that it has */
async function listening(
  aws: Account,
  { LoadBalancerArn, DNSName }: LoadBalancer,
  Listeners: readonly Listener[],
  { isPublic, https }: Pick<OriginalPlace, 'isPublic' | 'https'>,
  tags: Tags,
): Promise<Balancing> {
  const listen = async (wanted: Omit<CreateListenerCommandInput, 'LoadBalancerArn'>): Promise<string> => {
    const found = Listeners.find(({ Port }) => Port === wanted.Port);
    if (found !== undefined && !isAs(found, wanted))
      throw unchangeable(`port ${wanted.Port} is used for something else`);
    if (found !== undefined) return found.ListenerArn!;
    const made = await aws.elb.send(new CreateListenerCommand({ LoadBalancerArn, ...wanted, Tags: tagList(tags) }));
    const { ListenerArn } = made.Listeners![0]!;
    for (
      let tries = 1;
      tries < TRIES && (await listenersOf(aws, { ListenerArns: [ListenerArn!] })).length === 0;
      tries += 1
    )
      await sleep(1000);
    return ListenerArn!;
  };
  const own = { loadBalancerArn: LoadBalancerArn!, loadBalancerDnsName: DNSName! };
  const open = isPublic ? { isPublic: true as const } : {};
  if (https === undefined) {
    if (Listeners.some(({ Port }) => Port === 443)) throw unchangeable('it speaks HTTPS');
    const listenerArn = await listen({ Protocol: 'HTTP', Port: 80, DefaultActions: [NO_ROUTE] });
    return { ...own, ...open, listenerArn, scheme: 'http' };
  }
  const { certificateArn: CertificateArn, domain } = https;
  await listen({ Protocol: 'HTTP', Port: 80, DefaultActions: [TO_HTTPS] });
  const Certificates = [{ CertificateArn }];
  const listenerArn = await listen({
    Protocol: 'HTTPS',
    Port: 443,
    Certificates,
    SslPolicy: TLS,
    DefaultActions: [NO_ROUTE],
  });
  return { ...own, ...open, listenerArn, scheme: 'https', domain };
}

/** Whether a listener does what is asked of it: what it does at the end, and with which certificate. */
const isAs = (found: Listener, wanted: Omit<CreateListenerCommandInput, 'LoadBalancerArn'>): boolean =>
  found.DefaultActions?.[0]?.Type === wanted.DefaultActions![0]!.Type &&
  found.Certificates?.[0]?.CertificateArn === wanted.Certificates?.[0]?.CertificateArn;

const unchangeable = (how: string): Terminal =>
  new Terminal(
    `the place's load balancer cannot be changed: ${how}, and the role may not modify it: delete the deployments and the ` +
      'listener, which removes it, and register the place again',
  );

/** @param which one, by its name or its ARN */
export async function balancerOf(
  { elb }: Account,
  which: DescribeLoadBalancersCommandInput,
): Promise<LoadBalancer | undefined> {
  try {
    return (await elb.send(new DescribeLoadBalancersCommand(which))).LoadBalancers?.[0];
  } catch (error) {
    if (hasCode(error, 'LoadBalancerNotFound', 'LoadBalancerNotFoundException')) return undefined;
    throw error;
  }
}

async function listenersOf(
  { elb }: Account,
  { LoadBalancerArn, ListenerArns }: DescribeListenersCommandInput,
): Promise<Listener[]> {
  try {
    const which = ListenerArns ? { ListenerArns } : { LoadBalancerArn };
    return (await elb.send(new DescribeListenersCommand(which))).Listeners ?? [];
  } catch (error) {
    if (hasCode(error, 'ListenerNotFound', 'ListenerNotFoundException')) return [];
    throw error;
  }
}

async function makeBalancer({ elb }: Account, place: Found, Scheme: 'internal' | 'internet-facing', tags: Tags) {
  const made = await elb.send(
    new CreateLoadBalancerCommand({
      Name: PREFIX,
      Scheme,
      Subnets: [...(Scheme === 'internal' ? place.privateSubnetIds : place.publicSubnetIds)],
      SecurityGroups: [place.loadBalancerSecurityGroupId],
      Tags: tagList(tags),
    }),
  );
  return made.LoadBalancers![0]!;
}

const tagsOf = async ({ elb }: Account, Arn: string): Promise<Tags> =>
  tagRecord((await elb.send(new DescribeTagsCommand({ ResourceArns: [Arn] }))).TagDescriptions?.[0]?.Tags);

/** Removes the place's load balancer, with its listeners. There is none, or it is another listener's: nothing to do. */
export async function withdraw(aws: Account, listenerId: string): Promise<void> {
  const LoadBalancerArn = (await balancerOf(aws, { Names: [PREFIX] }))?.LoadBalancerArn;
  if (LoadBalancerArn === undefined) return;
  let theirs = await tagsOf(aws, LoadBalancerArn);
  // One that was just made is in AWS's index of tags some seconds later; it was made with them.
  for (let tries = 1; tries < TRIES && Object.keys(theirs).length === 0; tries += 1) {
    await sleep(1000);
    theirs = await tagsOf(aws, LoadBalancerArn);
  }
  if (theirs[TAG.listener] === listenerId) await remove(aws, LoadBalancerArn);
}

const remove = async ({ elb }: Account, LoadBalancerArn: string): Promise<void> =>
  void (await elb.send(new DeleteLoadBalancerCommand({ LoadBalancerArn })));

/**
 * The same account, in which Elastic Load Balancing's tags are read from AWS's index of all tags: the five policies do
 * not allow elasticloadbalancing:DescribeTags. The index lags; the kinds know that what is new may have no tags yet.
 */
export function readableTags(aws: Account): Account {
  const send = async (command: object): Promise<unknown> => {
    if (!(command instanceof DescribeTagsCommand)) return aws.elb.send(command as DescribeTagsCommand);
    const ResourceARNList = command.input.ResourceArns;
    const { ResourceTagMappingList = [] } = await aws.tagging.send(new GetResourcesCommand({ ResourceARNList }));
    return {
      TagDescriptions: ResourceTagMappingList.map(({ ResourceARN, Tags }) => ({ ResourceArn: ResourceARN, Tags })),
    };
  };
  const elb = Object.assign(Object.create(aws.elb) as Account['elb'], { send });
  return Object.create(aws, { elb: { value: elb, enumerable: true, configurable: true } }) as Account;
}

/** What is not there as in a place of the stack's, or not as safe: told with the checks, and no reason to fail. */
export function originalNotes(): readonly Note[] {
  const notes: readonly (readonly [name: string, message: string])[] = [
    [
      'managed policies',
      'AmazonVPCReadOnlyAccess, AmazonECS_FullAccess, SecretsManagerReadWrite, CloudWatchReadOnlyAccess and ' +
        'AmazonRDSFullAccess let the role read every secret and delete every database of the account, ours or not: ' +
        "docs/iam.md counts what they allow; the customer's stack allows what is called and no more",
    ],
    [
      'isolation',
      `all deployments share the security group "${ORIGINAL.serviceGroup}" and the role "${ORIGINAL.executionRole}": ` +
        "one's servers can connect to another's database and Redis, and can be given another's secrets, and what they may " +
        'do in the account they do as that role',
    ],
    [
      'images',
      'images are taken as they are named where the role may not look into ECR (ecr:DescribeImages): one that is not there ' +
        'shows when its tasks start; give digests, or a tag can be moved between two tasks of a revision',
    ],
    [
      'uploads',
      'no uploads of source code and no push tokens: the module has no bucket, and the role nothing of ECR: deployments ' +
        'there are made with the source "external_docker", of images in a repository of your own',
    ],
    [
      'logs',
      `all deployments write to the log group "${ORIGINAL.logGroup}", for as long as it keeps them: the role may neither ` +
        "set that nor remove a deleted deployment's streams",
    ],
    [
      'load balancer',
      "the role may make it and remove it, and not change it: AWS's own 60 s without a byte end a request, 300 s are " +
        'waited for a target that is taken out, and why a target is not healthy is not seen',
    ],
    [
      'switches',
      "no brake, no delete gate and no audit log group: those come with the customer's stack; to stop everything, take " +
        `the trust off "${ORIGINAL.role}"`,
    ],
    [
      'sessions',
      'each is cut to one deployment, or to reading, but by us and not by the account; its trust takes neither session ' +
        'tags nor a source identity, so CloudTrail does not name who asked; and who changed something by hand is not told ' +
        '(cloudtrail:LookupEvents)',
    ],
    [
      'limits',
      "of AWS's quotas the role reads those of RDS, Fargate and the load balancer: the others are taken as AWS's defaults",
    ],
  ];
  return notes.map(([name, message]) => ({ name, ok: true, message }));
}

/** All that recognising such a place takes, and its load balancer. */
export const originalGrants = (
  scope: Pick<Scope, 'partition' | 'region' | 'account' | 'prefix' | 'original'>,
): Grant[] =>
  scope.original
    ? [
        {
          actions: [
            'ec2:DescribeSecurityGroups',
            'ec2:DescribeSubnets',
            'ec2:DescribeVpcs',
            'ecs:DescribeClusters',
            'elasticloadbalancing:DescribeListeners',
            'elasticloadbalancing:DescribeLoadBalancers',
            'iam:ListRoles',
            'logs:DescribeLogGroups',
            'rds:DescribeDBSubnetGroups',
            'servicediscovery:ListNamespaces',
            'tag:GetResources',
          ],
          resources: ['*'],
          why: 'recognises a place by the names that its Terraform module gave; AWS has no narrower scope',
        },
        {
          actions: [
            'elasticloadbalancing:CreateLoadBalancer',
            'elasticloadbalancing:CreateListener',
            'elasticloadbalancing:AddTags',
          ],
          resources: [
            arn(scope, 'elasticloadbalancing', `loadbalancer/app/${PREFIX}/*`),
            arn(scope, 'elasticloadbalancing', `listener/app/${PREFIX}/*`),
          ],
          conditions: createsOurs(scope),
          why: "makes the place's load balancer, tagged from the start",
        },
        {
          actions: ['elasticloadbalancing:DeleteLoadBalancer'],
          resources: [arn(scope, 'elasticloadbalancing', `loadbalancer/app/${PREFIX}/*`)],
          conditions: { StringEquals: { [`aws:ResourceTag/${TAG.place}`]: scope.prefix } },
          why: 'removes it when the place is left',
        },
      ]
    : [];

/** The scope of those grants, as far as it is known before the place is. */
export const originalScope = ({
  accountId: account,
  region,
  roleArn,
}: OriginalEntrance): Parameters<typeof originalGrants>[0] => ({
  partition: roleArn.split(':')[1]!,
  region,
  account,
  prefix: PREFIX,
  original: true,
});
