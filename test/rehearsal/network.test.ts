import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AllocateAddressCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateNatGatewayCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DeleteNatGatewayCommand,
  DeleteSecurityGroupCommand,
  DeleteSubnetCommand,
  DescribeNatGatewaysCommand,
  EC2Client,
  RevokeSecurityGroupIngressCommand,
  type IpPermission,
} from '@aws-sdk/client-ec2';
import {
  CreateLoadBalancerCommand,
  DeleteLoadBalancerCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';

let account: Rehearsal;
let ec2: EC2Client;
let VpcId: string;
const subnets: string[] = [];
const options = () => ({ endpoint: account.endpoint, region: 'us-east-1', credentials: account.root('222222222222') });
before(async () => {
  account = await startRehearsal({ pace: 200 });
  ec2 = new EC2Client(options());
  VpcId = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))).Vpc!.VpcId!;
  for (const [n, zone] of ['a', 'b'].entries())
    subnets.push(
      (
        await ec2.send(
          new CreateSubnetCommand({ VpcId, CidrBlock: `10.0.${n}.0/24`, AvailabilityZone: `us-east-1${zone}` }),
        )
      ).Subnet!.SubnetId!,
    );
});
after(() => account.stop());

const group = async (GroupName: string): Promise<string> =>
  (await ec2.send(new CreateSecurityGroupCommand({ GroupName, Description: GroupName, VpcId }))).GroupId!;
const port = (FromPort: number, from: string): IpPermission[] => [
  { IpProtocol: 'tcp', FromPort, ToPort: FromPort, UserIdGroupPairs: [{ GroupId: from }] },
];

test('a rule is there once: a second is a duplicate, a missing one is not found', async () => {
  const [to, from] = [await group('to'), await group('from')];
  const authorize = (n: number, peer = from) =>
    ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: to, IpPermissions: port(n, peer) }));
  const revoke = (n: number) =>
    ec2.send(new RevokeSecurityGroupIngressCommand({ GroupId: to, IpPermissions: port(n, from) }));
  await authorize(8000);
  await assert.rejects(authorize(8000), {
    name: 'InvalidPermission.Duplicate',
    message: new RegExp(`peer: ${from}, TCP, from port: 8000, to port: 8000, ALLOW" already exists`),
  });
  await assert.rejects(authorize(8001, 'sg-00000000000000000'), { name: 'InvalidGroup.NotFound' });
  await assert.rejects(revoke(9000), { name: 'InvalidPermission.NotFound' });
  await revoke(8000);
  await authorize(8000);
});

test('a group is made in a VPC that exists, once by its name, and deleted when nothing uses it', async () => {
  await assert.rejects(ec2.send(new CreateSecurityGroupCommand({ GroupName: 'x', Description: 'x', VpcId: 'vpc-0' })), {
    name: 'InvalidVpcID.NotFound',
  });
  const used = await group('used');
  await assert.rejects(group('used'), { name: 'InvalidGroup.Duplicate' });
  const remove = () => ec2.send(new DeleteSecurityGroupCommand({ GroupId: used }));
  const elb = new ElasticLoadBalancingV2Client(options());
  const balancer = (
    await elb.send(
      new CreateLoadBalancerCommand({ Name: 'b', Scheme: 'internal', Subnets: subnets, SecurityGroups: [used] }),
    )
  ).LoadBalancers![0]!;
  await assert.rejects(remove(), { name: 'DependencyViolation', message: `resource ${used} has a dependent object` });
  await assert.rejects(ec2.send(new DeleteSubnetCommand({ SubnetId: subnets[0]! })), { name: 'DependencyViolation' });
  await elb.send(new DeleteLoadBalancerCommand({ LoadBalancerArn: balancer.LoadBalancerArn! }));
  const other = await group('other');
  await ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: other, IpPermissions: port(1, used) }));
  await assert.rejects(remove(), { name: 'DependencyViolation' });
  await ec2.send(new RevokeSecurityGroupIngressCommand({ GroupId: other, IpPermissions: port(1, used) }));
  await remove();
  await assert.rejects(remove(), { name: 'InvalidGroup.NotFound' });
});

test('a NAT gateway is pending, available, deleting, deleted', async () => {
  const { AllocationId } = await ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }));
  const made = await ec2.send(new CreateNatGatewayCommand({ SubnetId: subnets[0]!, AllocationId }));
  const state = async () =>
    (await ec2.send(new DescribeNatGatewaysCommand({ NatGatewayIds: [made.NatGateway!.NatGatewayId!] })))
      .NatGateways![0]!.State;
  const reaches = async (wanted: string) => {
    for (let n = 0; (await state()) !== wanted; n++) {
      assert.ok(n < 200, `it becomes ${wanted}`);
      await sleep(20);
    }
  };
  assert.equal(made.NatGateway!.State, 'pending');
  assert.equal(await state(), 'pending');
  await reaches('available');
  await ec2.send(new DeleteNatGatewayCommand({ NatGatewayId: made.NatGateway!.NatGatewayId! }));
  assert.equal(await state(), 'deleting');
  await reaches('deleted');
});
