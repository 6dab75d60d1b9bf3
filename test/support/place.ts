/**
 * A place made by plain AWS calls of the customer, with exactly the permissions of `grants`: what the customer's stack
 * makes, in a second.
 */
import {
  AllocateAddressCommand,
  AssociateRouteTableCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateNatGatewayCommand,
  CreateRouteCommand,
  CreateRouteTableCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  EC2Client,
  waitUntilNatGatewayAvailable,
} from '@aws-sdk/client-ec2';
import { CreateClusterCommand, ECSClient } from '@aws-sdk/client-ecs';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import {
  AttachRolePolicyCommand,
  CreatePolicyCommand,
  CreatePolicyVersionCommand,
  CreateRoleCommand,
  DeletePolicyCommand,
  DeletePolicyVersionCommand,
  DetachRolePolicyCommand,
  IAMClient,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { CreateDBSubnetGroupCommand, RDSClient } from '@aws-sdk/client-rds';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import {
  CreatePrivateDnsNamespaceCommand,
  GetOperationCommand,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery';
import { randomUUID } from 'node:crypto';
import { Accounts, type Call, type Credentials } from '../../services/reconciler/aws/account.ts';
import type { Grant } from '../../services/reconciler/aws/grant.ts';
import { denials } from '../../services/reconciler/aws/denials.ts';
import { grants, scopeOf } from '../../services/reconciler/aws/grants.ts';
import { TAG } from '../../services/reconciler/aws/tags.ts';
import type { Place, PlaceOutputs } from '../../services/reconciler/place.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from './eventually.ts';
import { leadOut } from './fargate.ts';

export const CONTROL_PLANE = '111111111111';
const REGION = 'us-east-1';

export interface TestPlace {
  readonly place: Place;
  /** The control plane's way in, as the user `freehold` of its own account. */
  readonly accounts: Accounts;
  /** Of that user. */
  readonly credentials: Credentials;
  readonly calls: Call[];
  /** Replaces what the control plane's role may do. */
  allow(grants: readonly Grant[]): Promise<void>;
  close(): void;
}

/**
 * @param account a number of the test file's own; one prefix for each place in it
 * @param more outputs, of what the test itself makes
 */
export async function makePlace(
  rehearsal: Rehearsal,
  account: string,
  prefix = 'freehold',
  more: Partial<PlaceOutputs> = {},
): Promise<TestPlace> {
  const aws = { region: REGION, endpoint: rehearsal.endpoint, credentials: rehearsal.root(account) };
  const ec2 = new EC2Client(aws);
  const elb = new ElasticLoadBalancingV2Client(aws);
  const iam = new IAMClient(aws);
  const discovery = new ServiceDiscoveryClient(aws);

  const enabled = { Key: 'langgraph-cloud-enabled', Value: '1' };
  const tagged = (ResourceType: 'vpc' | 'subnet', ...more: { Key: string; Value: string }[]) => ({
    TagSpecifications: [{ ResourceType, Tags: [enabled, ...more] }],
  });
  const made = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16', ...tagged('vpc') }));
  const vpcId = made.Vpc!.VpcId!;
  const subnet = async (number: number, isPrivate: boolean): Promise<string> => {
    const answer = await ec2.send(
      new CreateSubnetCommand({
        VpcId: vpcId,
        CidrBlock: `10.0.${number}.0/24`,
        AvailabilityZone: `${REGION}${number % 2 === 0 ? 'a' : 'b'}`,
        ...tagged('subnet', { Key: 'langgraph-cloud-private', Value: isPrivate ? '1' : '0' }),
      }),
    );
    return answer.Subnet!.SubnetId!;
  };
  const [privateA, privateB, publicA, publicB] = await Promise.all([
    subnet(0, true),
    subnet(1, true),
    subnet(2, false),
    subnet(3, false),
  ]);
  await leadOut(ec2, vpcId);
  const elastic = await ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }));
  const nat = await ec2.send(new CreateNatGatewayCommand({ SubnetId: publicA, AllocationId: elastic.AllocationId! }));
  const NatGatewayId = nat.NatGateway!.NatGatewayId!;
  const table = await ec2.send(new CreateRouteTableCommand({ VpcId: vpcId }));
  const RouteTableId = table.RouteTable!.RouteTableId!;
  await ec2.send(new CreateRouteCommand({ RouteTableId, DestinationCidrBlock: '0.0.0.0/0', NatGatewayId }));
  for (const SubnetId of [privateA, privateB])
    await ec2.send(new AssociateRouteTableCommand({ RouteTableId, SubnetId }));
  const group = await ec2.send(
    new CreateSecurityGroupCommand({ VpcId: vpcId, GroupName: `${prefix}-balancer`, Description: 'balancer' }),
  );
  // EC2 does not find a group that it has just made.
  await eventually('the group takes a rule', () =>
    ec2.send(
      new AuthorizeSecurityGroupIngressCommand({
        GroupId: group.GroupId!,
        IpPermissions: [{ IpProtocol: 'tcp', FromPort: 80, ToPort: 80, IpRanges: [{ CidrIp: '10.0.0.0/16' }] }],
      }),
    ),
  );
  const balancer = await elb.send(
    new CreateLoadBalancerCommand({
      Name: prefix,
      Scheme: 'internal',
      Subnets: [privateA, privateB],
      SecurityGroups: [group.GroupId!],
    }),
  );
  const { LoadBalancerArn, DNSName } = balancer.LoadBalancers![0]!;
  const listener = await elb.send(
    new CreateListenerCommand({
      LoadBalancerArn,
      Protocol: 'HTTP',
      Port: 80,
      DefaultActions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '404' } }],
    }),
  );
  const cluster = await new ECSClient(aws).send(new CreateClusterCommand({ clusterName: prefix }));
  await new RDSClient(aws).send(
    new CreateDBSubnetGroupCommand({
      DBSubnetGroupName: prefix,
      DBSubnetGroupDescription: 'databases',
      SubnetIds: [privateA, privateB],
    }),
  );
  const uploadBucket = `${prefix}-uploads-${account}-${REGION}`;
  await new S3Client({ ...aws, forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: uploadBucket }));
  const namespaceName = `${prefix}.internal`;
  const { OperationId } = await discovery.send(
    new CreatePrivateDnsNamespaceCommand({ Name: namespaceName, Vpc: vpcId }),
  );
  const namespaceId = await eventually('the namespace', async () => {
    const { Operation } = await discovery.send(new GetOperationCommand({ OperationId }));
    return Operation?.Status === 'SUCCESS' && Operation.Targets?.NAMESPACE;
  });

  const role = async (name: string, principal: object, condition?: object): Promise<string> => {
    const statement = { Effect: 'Allow', Principal: principal, Action: TRUSTED, Condition: condition };
    const answer = await iam.send(
      new CreateRoleCommand({
        RoleName: `${prefix}-${name}`,
        AssumeRolePolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [statement] }),
      }),
    );
    return answer.Role!.Arn!;
  };
  const policy = (name: string, Statement: object[]) =>
    iam.send(
      new PutRolePolicyCommand({
        RoleName: `${prefix}-${name}`,
        PolicyName: 'own',
        PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement }),
      }),
    );
  const externalId = randomUUID();
  const tasks = { Service: 'ecs-tasks.amazonaws.com' };
  const executionRoleArn = await role('execution', tasks);
  const taskRoleArn = await role('task', tasks);
  const readsTagged = (tag: string) => ({
    Effect: 'Allow',
    Action: 'secretsmanager:GetSecretValue',
    Resource: '*',
    Condition: { StringEquals: { [`aws:ResourceTag/${tag}`]: prefix } },
  });
  await policy('execution', [
    { Effect: 'Allow', Action: EXECUTION, Resource: '*' },
    readsTagged(TAG.place),
    readsTagged(TAG.inject),
  ]);

  const credentials = await rehearsal.createUser(CONTROL_PLANE, `freehold-${account}`, {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: TRUSTED, Resource: 'arn:aws:iam::*:role/*-control-plane' }],
  });
  const user = `arn:aws:iam::${CONTROL_PLANE}:user/freehold-${account}`;
  const roleArn = await role('control-plane', { AWS: user }, { StringEquals: { 'sts:ExternalId': externalId } });

  const place: Place = {
    id: randomUUID(),
    externalId,
    version: 1,
    accountId: account,
    region: REGION,
    partition: 'aws',
    prefix,
    roleArn,
    vpcId,
    privateSubnetIds: [privateA, privateB],
    publicSubnetIds: [publicA, publicB],
    clusterArn: cluster.cluster!.clusterArn!,
    executionRoleArn,
    taskRoleArn,
    loadBalancerArn: LoadBalancerArn!,
    loadBalancerDnsName: DNSName!,
    listenerArn: listener.Listeners![0]!.ListenerArn!,
    loadBalancerSecurityGroupId: group.GroupId!,
    scheme: 'http',
    namespaceId,
    namespaceName,
    databaseSubnetGroup: prefix,
    logGroupRoot: `/aws/ecs/${prefix}`,
    deletionGate: true,
    uploadBucket,
    ...more,
  };
  // All inline policies of a role together may have 10,240 characters: too few. As the stack does it: managed ones.
  const attached: { arn: string; version: string }[] = [];
  const allow = async (granted: readonly Grant[]): Promise<void> => {
    const allowed = granted.map(({ actions, resources, conditions }) => ({
      Effect: 'Allow',
      Action: actions,
      Resource: resources,
      Condition: conditions,
    }));
    const denied = denials(scopeOf(place), grants(scopeOf(place))).map((denial) => ({
      Effect: 'Deny',
      ...(denial.notActions ? { NotAction: denial.notActions } : { Action: denial.actions }),
      ...(denial.notResources ? { NotResource: denial.notResources } : { Resource: denial.resources }),
      Condition: denial.conditions,
    }));
    const documents = packed(allowed.length > 0 ? [...denied, ...allowed] : []); // so that the role can be deleted
    for (const [index, PolicyDocument] of documents.entries()) {
      const there = attached[index];
      if (there) {
        const { arn: PolicyArn, version: VersionId } = there;
        const made = await iam.send(new CreatePolicyVersionCommand({ PolicyArn, PolicyDocument, SetAsDefault: true }));
        await iam.send(new DeletePolicyVersionCommand({ PolicyArn, VersionId }));
        there.version = made.PolicyVersion!.VersionId!;
      } else {
        const PolicyName = `${prefix}-control-plane-${index + 1}`;
        const { Policy } = await iam.send(new CreatePolicyCommand({ PolicyName, PolicyDocument }));
        await iam.send(new AttachRolePolicyCommand({ RoleName: `${prefix}-control-plane`, PolicyArn: Policy!.Arn }));
        attached.push({ arn: Policy!.Arn!, version: Policy!.DefaultVersionId! });
      }
    }
    for (const { arn: PolicyArn } of attached.splice(documents.length)) {
      await iam.send(new DetachRolePolicyCommand({ RoleName: `${prefix}-control-plane`, PolicyArn }));
      await iam.send(new DeletePolicyCommand({ PolicyArn }));
    }
    await rehearsal.settle();
  };
  await allow(grants(scopeOf(place)));

  await waitUntilNatGatewayAvailable(
    { client: ec2, minDelay: 0.1, maxDelay: 0.2, maxWaitTime: 60 },
    { NatGatewayIds: [NatGatewayId] },
  );
  const calls: Call[] = [];
  const { endpoint, pace } = rehearsal;
  const accounts = new Accounts({ credentials, endpoint, rates: { pace }, onCall: (call) => calls.push(call) });
  for (const client of [ec2, elb, iam, discovery]) client.destroy();
  return { place, accounts, credentials, calls, allow, close: () => accounts.close() };
}

const TRUSTED = ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'];
const EXECUTION = [
  'ecr:GetAuthorizationToken',
  'ecr:BatchCheckLayerAvailability',
  'ecr:GetDownloadUrlForLayer',
  'ecr:BatchGetImage',
  'logs:CreateLogStream',
  'logs:PutLogEvents',
];

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html */
const POLICY_LIMIT = 6144;

/** Policy documents of at most the characters that AWS allows in a managed policy. */
function packed(statements: object[]): string[] {
  const documents: object[][] = [];
  const written = (Statement: object[]): string => JSON.stringify({ Version: '2012-10-17', Statement });
  for (const statement of statements) {
    const last = documents.at(-1);
    if (last && written([...last, statement]).length <= POLICY_LIMIT) last.push(statement);
    else documents.push([statement]);
  }
  return documents.map(written);
}
