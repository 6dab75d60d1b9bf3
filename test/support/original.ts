/**
 * An account as the Terraform module of the product that this one replaces sets it up: `langgraph_cloud_setup` of
 * langchain-ai/terraform, as it was last (10abe9d~1), by the customer's own calls. What the module leaves to the
 * customer is made beforehand: the network with its way out.
 */
import { CreateLogGroupCommand, CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import {
  AllocateAddressCommand,
  AssociateRouteTableCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateNatGatewayCommand,
  CreateRouteCommand,
  CreateRouteTableCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateTagsCommand,
  CreateVpcCommand,
  EC2Client,
  waitUntilNatGatewayAvailable,
  type IpPermission,
} from '@aws-sdk/client-ec2';
import { CreateClusterCommand, ECSClient } from '@aws-sdk/client-ecs';
import {
  AttachRolePolicyCommand,
  CreatePolicyCommand,
  CreateRoleCommand,
  CreateServiceLinkedRoleCommand,
  IAMClient,
  UpdateAssumeRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { CreateDBSubnetGroupCommand, RDSClient } from '@aws-sdk/client-rds';
import {
  CreatePrivateDnsNamespaceCommand,
  GetOperationCommand,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from './eventually.ts';
import { leadOut } from './fargate.ts';

const REGION = 'us-east-1';
const MANAGED = [
  'AmazonVPCReadOnlyAccess',
  'AmazonECS_FullAccess',
  'SecretsManagerReadWrite',
  'CloudWatchReadOnlyAccess',
  'AmazonRDSFullAccess',
];
const VENDOR = 'arn:aws:iam::640174622193:role/HostBackendRoleProd';

const trust = (Principal: object, Condition?: object): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Principal, Condition }],
  });

export interface OriginalAccount {
  readonly vpcId: string;
  readonly privateSubnetIds: readonly string[];
  readonly publicSubnetIds: readonly string[];
  /** The one change that a customer makes for us: whom the role trusts, and with which external ids. */
  trust(principalArn: string, ...externalIds: string[]): Promise<void>;
  /** The same done badly: no external id is asked for. */
  trustWithout(principalArn: string): Promise<void>;
}

export async function terraformed(rehearsal: Rehearsal, account: string): Promise<OriginalAccount> {
  const aws = { region: REGION, endpoint: rehearsal.endpoint, credentials: rehearsal.root(account) };
  const ec2 = new EC2Client(aws);
  const iam = new IAMClient(aws);
  const discovery = new ServiceDiscoveryClient(aws);

  const vpc = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }));
  const VpcId = vpc.Vpc!.VpcId!;
  const subnets = await Promise.all(
    [0, 1, 2, 3].map(async (number) => {
      const zone = { CidrBlock: `10.0.${number}.0/24`, AvailabilityZone: `${REGION}${number % 2 === 0 ? 'a' : 'b'}` };
      return (await ec2.send(new CreateSubnetCommand({ VpcId, ...zone }))).Subnet!.SubnetId!;
    }),
  );
  const [privateSubnetIds, publicSubnetIds] = [subnets.slice(0, 2), subnets.slice(2)];
  await leadOut(ec2, VpcId);
  const { AllocationId } = await ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }));
  const nat = await ec2.send(new CreateNatGatewayCommand({ SubnetId: publicSubnetIds[0]!, AllocationId }));
  const NatGatewayId = nat.NatGateway!.NatGatewayId!;
  const RouteTableId = (await ec2.send(new CreateRouteTableCommand({ VpcId }))).RouteTable!.RouteTableId!;
  await ec2.send(new CreateRouteCommand({ RouteTableId, DestinationCidrBlock: '0.0.0.0/0', NatGatewayId }));
  for (const SubnetId of privateSubnetIds) await ec2.send(new AssociateRouteTableCommand({ RouteTableId, SubnetId }));

  // From here on, the module, in its own order.
  const enabled = { Key: 'langgraph-cloud-enabled', Value: '1' };
  const tag = (Resources: string[], ...Tags: { Key: string; Value: string }[]) =>
    ec2.send(new CreateTagsCommand({ Resources, Tags }));
  await tag([VpcId, ...subnets], enabled);
  await tag(privateSubnetIds, { Key: 'langgraph-cloud-private', Value: '1' });
  await tag(publicSubnetIds, { Key: 'langgraph-cloud-private', Value: '0' });
  await new RDSClient(aws).send(
    new CreateDBSubnetGroupCommand({
      DBSubnetGroupName: 'langgraph-cloud-db-subnet-group',
      DBSubnetGroupDescription: 'Managed by Terraform',
      SubnetIds: privateSubnetIds,
    }),
  );

  const attach = (RoleName: string, PolicyArn: string) =>
    iam.send(new AttachRolePolicyCommand({ RoleName, PolicyArn }));
  const policy = async (PolicyName: string, statement: object): Promise<string> => {
    const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', ...statement }] });
    return (await iam.send(new CreatePolicyCommand({ PolicyName, PolicyDocument }))).Policy!.Arn!;
  };
  const RoleName = 'LangGraphCloudBYOCRole';
  const theirs = trust({ AWS: VENDOR }, { StringEquals: { 'sts:ExternalId': ['an-organization'] } });
  await iam.send(new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument: theirs }));
  for (const name of MANAGED) await attach(RoleName, `arn:aws:iam::aws:policy/${name}`);
  await attach(
    RoleName,
    await policy('LangGraphCloudCustomPermissions', { Action: ['application-autoscaling:*'], Resource: '*' }),
  );
  await new CloudWatchLogsClient(aws).send(new CreateLogGroupCommand({ logGroupName: '/aws/ecs/langgraph-cloud' }));
  await new ECSClient(aws).send(
    new CreateClusterCommand({
      clusterName: 'langgraph-cloud-cluster',
      settings: [{ name: 'containerInsights', value: 'enabled' }],
      tags: [{ key: enabled.Key, value: enabled.Value }],
    }),
  );
  const execution = 'LangGraphCloudECSTaskExecutionRole';
  const byTasks = trust({ Service: 'ecs-tasks.amazonaws.com' });
  await iam.send(new CreateRoleCommand({ RoleName: execution, AssumeRolePolicyDocument: byTasks }));
  await attach(execution, 'arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy');
  await attach(
    execution,
    await policy('SecretsRead', {
      Action: 'secretsmanager:GetSecretValue',
      Resource: '*',
      Condition: { StringLike: { 'aws:ResourceTag/langgraph-cloud': '*' } },
    }),
  );
  await iam.send(new CreateServiceLinkedRoleCommand({ AWSServiceName: 'elasticloadbalancing.amazonaws.com' }));

  const group = async (GroupName: string, Description: string): Promise<string> => {
    const TagSpecifications = [{ ResourceType: 'security-group' as const, Tags: [enabled] }];
    const made = await ec2.send(new CreateSecurityGroupCommand({ VpcId, GroupName, Description, TagSpecifications }));
    return made.GroupId!;
  };
  // EC2 does not find a group that it has just made.
  const open = (GroupId: string, IpPermissions: IpPermission[]) =>
    eventually('the group takes a rule', () =>
      ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions })),
    );
  const balancers = await group('langgraph-cloud-lb-sg', 'Security group for LangGraph Cloud Load Balancer');
  const fromAnywhere = (port: number): IpPermission => ({
    IpProtocol: 'tcp',
    FromPort: port,
    ToPort: port,
    IpRanges: [{ CidrIp: '0.0.0.0/0' }],
  });
  await open(balancers, [fromAnywhere(80), fromAnywhere(443)]);
  const services = await group(
    'langgraph-cloud-service-sg',
    'Security group for LangGraph Cloud ECS services/RDS instances',
  );
  await open(services, [{ IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: balancers }, { GroupId: services }] }]);
  const { OperationId } = await discovery.send(
    new CreatePrivateDnsNamespaceCommand({
      Name: 'langgraph-cloud-redis',
      Description: 'LangGraph Cloud Redis service discovery namespace',
      Vpc: VpcId,
      Tags: [enabled],
    }),
  );
  await eventually('the namespace', async () => {
    const { Operation } = await discovery.send(new GetOperationCommand({ OperationId }));
    return Operation?.Status === 'SUCCESS';
  });
  await waitUntilNatGatewayAvailable(
    { client: ec2, minDelay: 0.1, maxDelay: 0.2, maxWaitTime: 60 },
    { NatGatewayIds: [NatGatewayId] },
  );
  const trusts = async (PolicyDocument: string): Promise<void> => {
    await iam.send(new UpdateAssumeRolePolicyCommand({ RoleName, PolicyDocument }));
    await rehearsal.settle();
  };
  return {
    vpcId: VpcId,
    privateSubnetIds,
    publicSubnetIds,
    trust: (principalArn, ...externalIds) =>
      trusts(trust({ AWS: principalArn }, { StringEquals: { 'sts:ExternalId': externalIds } })),
    trustWithout: (principalArn) => trusts(trust({ AWS: principalArn })),
  };
}
