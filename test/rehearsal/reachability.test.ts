/**
 * Who reaches whom in the emulated account: by the live security groups, network ACLs, subnets and routes, and by
 * nothing else. Each row names the page of AWS that it follows.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  AllocateAddressCommand,
  AssociateRouteTableCommand,
  AttachInternetGatewayCommand,
  AuthorizeSecurityGroupEgressCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateInternetGatewayCommand,
  CreateNatGatewayCommand,
  CreateNetworkAclCommand,
  CreateNetworkAclEntryCommand,
  CreateRouteCommand,
  CreateRouteTableCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  CreateVpcEndpointCommand,
  DeleteNatGatewayCommand,
  DeleteVpcEndpointsCommand,
  DescribeNetworkAclsCommand,
  DescribeNetworkInterfacesCommand,
  DescribeRouteTablesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSubnetsCommand,
  DescribeVpcEndpointsCommand,
  DetachInternetGatewayCommand,
  EC2Client,
  ModifyVpcAttributeCommand,
  ReplaceNetworkAclAssociationCommand,
  RevokeSecurityGroupEgressCommand,
  RevokeSecurityGroupIngressCommand,
  waitUntilNatGatewayAvailable,
  waitUntilNatGatewayDeleted,
  type IpPermission,
} from '@aws-sdk/client-ec2';
import { RunTaskCommand, StopTaskCommand, type Task } from '@aws-sdk/client-ecs';
import {
  CreateLoadBalancerCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import {
  CreateDBInstanceCommand,
  CreateDBSubnetGroupCommand,
  DescribeDBInstancesCommand,
  RDSClient,
} from '@aws-sdk/client-rds';
import {
  CreatePrivateDnsNamespaceCommand,
  CreateServiceCommand,
  GetOperationCommand,
} from '@aws-sdk/client-servicediscovery';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { securityGroup, type SecurityGroupInputs } from '../../services/reconciler/kinds/security-group.ts';
import { ecs } from '../../services/reconciler/platforms/ecs.ts';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate, REGION, type Fargate } from '../support/fargate.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { PACE, TIMER_PACE } from '../support/rehearsal.ts';

const RULES = '366000000001';
const TASKS = '366000000002';
const PRODUCT = '366000000003';
const GUIDE = 'https://docs.aws.amazon.com/vpc/latest/userguide';

let rehearsal: Rehearsal;
before(async () => {
  rehearsal = await startRehearsal({ pace: PACE, timerPace: TIMER_PACE }); // without lag: rules are asked at once
});
after(() => rehearsal.stop());

const tcp = (port: number, peer: Partial<IpPermission>, to = port): IpPermission => ({
  IpProtocol: 'tcp',
  FromPort: port,
  ToPort: to,
  ...peer,
});
const cidr = (CidrIp: string): Partial<IpPermission> => ({ IpRanges: [{ CidrIp }] });
const from = (GroupId: string): Partial<IpPermission> => ({ UserIdGroupPairs: [{ GroupId }] });
const ALL: IpPermission = { IpProtocol: '-1', ...cidr('0.0.0.0/0') };

/** A VPC's parts, made by plain calls. */
function network(account: string) {
  const aws = { region: REGION, endpoint: rehearsal.endpoint, credentials: rehearsal.root(account) };
  const ec2 = new EC2Client(aws);
  let counted = 0;
  const vpc = async (CidrBlock: string) => (await ec2.send(new CreateVpcCommand({ CidrBlock }))).Vpc!.VpcId!;
  const subnet = async (VpcId: string, CidrBlock: string, zone = 'a') => {
    const AvailabilityZone = REGION + zone;
    return (await ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock, AvailabilityZone }))).Subnet!.SubnetId!;
  };
  const group = async (VpcId: string, ingress: IpPermission[] = [], egress?: IpPermission[]): Promise<string> => {
    const name = `group-${++counted}`;
    const made = await ec2.send(new CreateSecurityGroupCommand({ VpcId, GroupName: name, Description: name }));
    const GroupId = made.GroupId!;
    if (ingress.length > 0)
      await ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions: ingress }));
    if (egress) {
      await ec2.send(new RevokeSecurityGroupEgressCommand({ GroupId, IpPermissions: [ALL] }));
      if (egress.length > 0)
        await ec2.send(new AuthorizeSecurityGroupEgressCommand({ GroupId, IpPermissions: egress }));
    }
    return GroupId;
  };
  /** A route table of its own for the subnet, with a default route to whatever is given. */
  const route = async (VpcId: string, SubnetId: string, to: { GatewayId?: string; NatGatewayId?: string }) => {
    const RouteTableId = (await ec2.send(new CreateRouteTableCommand({ VpcId }))).RouteTable!.RouteTableId!;
    await ec2.send(new AssociateRouteTableCommand({ RouteTableId, SubnetId }));
    if (Object.keys(to).length > 0)
      await ec2.send(new CreateRouteCommand({ RouteTableId, DestinationCidrBlock: '0.0.0.0/0', ...to }));
    return RouteTableId;
  };
  const gateway = async (VpcId: string) => {
    const made = await ec2.send(new CreateInternetGatewayCommand({}));
    const InternetGatewayId = made.InternetGateway!.InternetGatewayId!;
    await ec2.send(new AttachInternetGatewayCommand({ InternetGatewayId, VpcId }));
    return InternetGatewayId;
  };
  const nat = async (SubnetId: string, more: { ConnectivityType?: 'private' } = {}) => {
    const { AllocationId } = await ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }));
    const place = more.ConnectivityType ? {} : { AllocationId };
    const made = await ec2.send(new CreateNatGatewayCommand({ SubnetId, ...place, ...more }));
    return made.NatGateway!.NatGatewayId!;
  };
  const until = { client: ec2, minDelay: 0.05, maxDelay: 0.1, maxWaitTime: 30 };
  const available = (id: string) => waitUntilNatGatewayAvailable(until, { NatGatewayIds: [id] });
  const deleted = (id: string) => waitUntilNatGatewayDeleted(until, { NatGatewayIds: [id] });
  return { aws, ec2, vpc, subnet, group, route, gateway, nat, available, deleted };
}
type Network = ReturnType<typeof network>;

describe('reachability', { concurrency: true, timeout: 120_000 }, () => {
  describe('rules', { concurrency: 1, timeout: 60_000 }, () => {
    let n: Network;
    let vpc: string;
    let one: string;
    let two: string;
    let publicSubnet: string;
    let elsewhere: string;
    let other: string;
    let gateway: string;
    let nat: string;
    let privateNat: string;
    let app: string;
    const subnets: string[] = [];

    before(async () => {
      n = network(RULES);
      [vpc, other] = await Promise.all([n.vpc('10.1.0.0/16'), n.vpc('10.1.0.0/16')]);
      [one, two, publicSubnet, elsewhere] = await Promise.all([
        n.subnet(vpc, '10.1.0.0/24'),
        n.subnet(vpc, '10.1.1.0/24', 'b'),
        n.subnet(vpc, '10.1.2.0/24'),
        n.subnet(other, '10.1.0.0/24'),
      ]);
      [gateway, app] = await Promise.all([n.gateway(vpc), n.group(vpc)]);
      await n.route(vpc, publicSubnet, { GatewayId: gateway });
      [nat, privateNat] = await Promise.all([
        n.nat(publicSubnet),
        n.nat(publicSubnet, { ConnectivityType: 'private' }),
      ]);
      await Promise.all([n.available(nat), n.available(privateNat)]);
      for (const number of [10, 11, 12, 13, 14, 15, 16, 17, 18])
        subnets.push(await n.subnet(vpc, `10.1.${number}.0/24`));
    });
    const reach = (question: object): Promise<string> =>
      rehearsal.reach({ account: RULES, region: REGION, ...question } as Parameters<Rehearsal['reach']>[0]);
    const says = (why: string, expected: RegExp | true): void =>
      expected === true ? assert.equal(why, '') : assert.match(why, expected);

    const NO_INGRESS = /^no ingress rule of sg-\w+ allows tcp port 5432 from interface x$/;
    const NO_EGRESS = /^no egress rule of sg-\w+ allows tcp port 5432 to interface y$/;
    interface Row {
      ingress?: () => IpPermission[];
      egress?: () => IpPermission[];
      reaches: RegExp | true;
      page: string;
    }
    const groups: Record<string, Row> = {
      'a new group lets nobody in': { reaches: NO_INGRESS, page: 'vpc-security-groups.html' },
      'the port, from the group': {
        ingress: () => [tcp(5432, from(app))],
        reaches: true,
        page: 'security-group-rules.html',
      },
      'another port': { ingress: () => [tcp(5433, from(app))], reaches: NO_INGRESS, page: 'security-group-rules.html' },
      'a range with the port in it': {
        ingress: () => [tcp(5000, from(app), 6000)],
        reaches: true,
        page: 'security-group-rules.html',
      },
      'a range that ends before it': {
        ingress: () => [tcp(5000, from(app), 5431)],
        reaches: NO_INGRESS,
        page: 'security-group-rules.html',
      },
      'another protocol': {
        ingress: () => [{ IpProtocol: 'udp', FromPort: 5432, ToPort: 5432, ...from(app) }],
        reaches: NO_INGRESS,
        page: 'security-group-rules.html',
      },
      'the protocol by its number': {
        ingress: () => [{ IpProtocol: '6', FromPort: 5432, ToPort: 5432, ...from(app) }],
        reaches: true,
        page: 'security-group-rules.html',
      },
      'every protocol and port': {
        ingress: () => [{ IpProtocol: '-1', ...from(app) }],
        reaches: true,
        page: 'security-group-rules.html',
      },
      'the subnet it comes from': {
        ingress: () => [tcp(5432, cidr('10.1.0.0/24'))],
        reaches: true,
        page: 'security-group-rules.html',
      },
      'another subnet': {
        ingress: () => [tcp(5432, cidr('10.1.1.0/24'))],
        reaches: NO_INGRESS,
        page: 'security-group-rules.html',
      },
      everywhere: { ingress: () => [tcp(5432, cidr('0.0.0.0/0'))], reaches: true, page: 'security-group-rules.html' },
      'two rules add up': {
        ingress: () => [tcp(1, from(app)), tcp(5432, from(app))],
        reaches: true,
        page: 'vpc-security-groups.html',
      },
      'nothing may leave': {
        ingress: () => [tcp(5432, from(app))],
        egress: () => [],
        reaches: NO_EGRESS,
        page: 'vpc-security-groups.html',
      },
      'only HTTPS may leave': {
        ingress: () => [tcp(5432, cidr('10.1.0.0/16'))],
        egress: () => [tcp(443, cidr('0.0.0.0/0'))],
        reaches: NO_EGRESS,
        page: 'security-group-rules.html',
      },
      'the port may leave to the subnet': {
        ingress: () => [tcp(5432, cidr('10.1.0.0/16'))],
        egress: () => [tcp(5432, cidr('10.1.1.0/24'))],
        reaches: true,
        page: 'security-group-rules.html',
      },
      'the port may leave to another subnet': {
        ingress: () => [tcp(5432, cidr('10.1.0.0/16'))],
        egress: () => [tcp(5432, cidr('10.1.0.0/24'))],
        reaches: NO_EGRESS,
        page: 'security-group-rules.html',
      },
    };
    for (const [name, row] of Object.entries(groups))
      test(`security groups: ${name} (${GUIDE}/${row.page})`, async () => {
        const target = await n.group(vpc, row.ingress?.());
        const source = row.egress ? await n.group(vpc, [], row.egress()) : app;
        const ends = {
          from: { subnet: one, groups: [source] },
          to: { what: 'interface y', subnet: two, groups: [target] },
        };
        says(await reach({ ...ends, port: 5432 }), row.reaches);
      });

    // https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html
    test('a default group lets in whoever is in it', async () => {
      says(await reach({ from: { subnet: one }, to: { subnet: two }, port: 1 }), true);
      says(await reach({ from: { subnet: one, groups: [app] }, to: { subnet: two }, port: 1 }), /^no ingress rule/);
    });
    // https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html
    test('an interface has the rules of all its groups', async () => {
      const [first, second] = [await n.group(vpc), await n.group(vpc, [tcp(5432, from(app))])];
      const to = { subnet: two, groups: [first, second] };
      says(await reach({ from: { subnet: one, groups: [app] }, to, port: 5432 }), true);
      says(
        await reach({ from: { subnet: one, groups: [first] }, to, port: 5432 }),
        /^no ingress rule of sg-\w+, sg-\w+ /,
      );
    });
    // https://docs.aws.amazon.com/vpc/latest/userguide/RouteTables.html
    test('another VPC is out of reach, whatever its rules say', async () => {
      const open = await n.group(other, [ALL]);
      const to = { what: 'interface y', subnet: elsewhere, groups: [open] };
      says(await reach({ from: { subnet: one, groups: [app] }, to, port: 80 }), /no route leads there$/);
    });

    const acls: [
      name: string,
      entries: [number, boolean, 'allow' | 'deny', string, number, number][],
      RegExp | true,
    ][] = [
      [
        'a new one denies everything',
        [],
        /^network ACL acl-\w+ of subnet-\w+ does not let in from 10\.1\.0\.\d+ on port 80$/,
      ],
      [
        'both directions open',
        [
          [100, false, 'allow', '0.0.0.0/0', 0, 65535],
          [100, true, 'allow', '0.0.0.0/0', 0, 65535],
        ],
        true,
      ],
      [
        'it has no memory: the answer needs a rule',
        [[100, false, 'allow', '0.0.0.0/0', 80, 80]],
        /does not let out to 10\.1\.0\.\d+ on port 32768$/,
      ],
      [
        'ephemeral ports let the answer out',
        [
          [100, false, 'allow', '10.1.0.0/24', 80, 80],
          [100, true, 'allow', '10.1.0.0/24', 1024, 65535],
        ],
        true,
      ],
      [
        'the lower number decides',
        [
          [90, false, 'deny', '10.1.0.0/24', 80, 80],
          [100, false, 'allow', '0.0.0.0/0', 0, 65535],
          [100, true, 'allow', '0.0.0.0/0', 0, 65535],
        ],
        /does not let in/,
      ],
      [
        'a higher one does not',
        [
          [110, false, 'deny', '10.1.0.0/24', 80, 80],
          [100, false, 'allow', '0.0.0.0/0', 0, 65535],
          [100, true, 'allow', '0.0.0.0/0', 0, 65535],
        ],
        true,
      ],
    ];
    for (const [name, entries, expected] of acls)
      test(`network ACLs: ${name} (${GUIDE}/nacl-rules.html)`, async () => {
        const made = await n.ec2.send(new CreateNetworkAclCommand({ VpcId: vpc }));
        const NetworkAclId = made.NetworkAcl!.NetworkAclId!;
        for (const [RuleNumber, Egress, RuleAction, CidrBlock, From, To] of entries) {
          const entry = {
            NetworkAclId,
            RuleNumber,
            Egress,
            RuleAction,
            CidrBlock,
            Protocol: '6',
            PortRange: { From, To },
          };
          await n.ec2.send(new CreateNetworkAclEntryCommand(entry));
          await assert.rejects(n.ec2.send(new CreateNetworkAclEntryCommand(entry)), {
            name: 'NetworkAclEntryAlreadyExists',
          });
        }
        const target = subnets[0]!;
        const all = await n.ec2.send(new DescribeNetworkAclsCommand({}));
        const { NetworkAclAssociationId } = all
          .NetworkAcls!.flatMap((acl) => acl.Associations ?? [])
          .find((one) => one.SubnetId === target)!;
        await n.ec2.send(
          new ReplaceNetworkAclAssociationCommand({ AssociationId: NetworkAclAssociationId!, NetworkAclId }),
        );
        const open = await n.group(vpc, [ALL]);
        says(
          await reach({ from: { subnet: one, groups: [app] }, to: { subnet: target, groups: [open] }, port: 80 }),
          expected,
        );
        const neighbour = { subnet: target, groups: [open] };
        says(await reach({ from: neighbour, to: neighbour, port: 80 }), true); // within a subnet none applies
      });

    interface Way {
      to?: () => { GatewayId?: string; NatGatewayId?: string };
      publicIp?: boolean;
      egress?: IpPermission[];
      gets: RegExp | true;
      page: string;
    }
    const ways: Record<string, Way> = {
      'no default route': { gets: /has no route to 52\./, page: 'RouteTables.html' },
      'a NAT gateway in a public subnet': {
        to: () => ({ NatGatewayId: nat }),
        gets: true,
        page: 'nat-gateway-basics.html',
      },
      'a private NAT gateway': {
        to: () => ({ NatGatewayId: privateNat }),
        gets: /is private$/,
        page: 'nat-gateway-basics.html',
      },
      'an internet gateway without a public address': {
        to: () => ({ GatewayId: gateway }),
        gets: /has no public address$/,
        page: 'VPC_Internet_Gateway.html',
      },
      'an internet gateway and a public address': {
        to: () => ({ GatewayId: gateway }),
        publicIp: true,
        gets: true,
        page: 'VPC_Internet_Gateway.html',
      },
      'a NAT gateway, but HTTPS may not leave': {
        to: () => ({ NatGatewayId: nat }),
        egress: [tcp(5432, cidr('10.1.0.0/16'))],
        gets: /^no egress rule of sg-\w+ allows tcp port 443 to 52\./,
        page: 'security-group-rules.html',
      },
      'a NAT gateway, and only HTTPS may leave': {
        to: () => ({ NatGatewayId: nat }),
        egress: [tcp(443, cidr('0.0.0.0/0'))],
        gets: true,
        page: 'security-group-rules.html',
      },
    };
    for (const [index, [name, way]] of Object.entries(ways).entries())
      test(`the way out: ${name} (${GUIDE}/${way.page})`, async () => {
        const subnet = subnets[index + 1]!;
        await n.route(vpc, subnet, way.to?.() ?? {});
        const groups = way.egress ? [await n.group(vpc, [], way.egress)] : [app];
        const me = { subnet, groups, publicIp: way.publicIp ?? false };
        for (const service of ['ecr.api', 'logs', 'internet']) says(await reach({ from: me, service }), way.gets);
        const there = (port: number) => reach({ from: me, to: '52.94.0.7', port });
        says(await there(443), way.gets);
        says(await there(8080), way.egress ? /^no egress rule .* port 8080 to 52\.94\.0\.7$/ : way.gets);
      });

    // https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
    test('a NAT gateway whose own subnet is private leads nowhere, and no more does a deleted one', async () => {
      const [inside, behind] = [await n.subnet(vpc, '10.1.30.0/24'), await n.subnet(vpc, '10.1.31.0/24')];
      const made = await n.nat(inside);
      const table = await n.route(vpc, behind, { NatGatewayId: made });
      const me = { from: { subnet: behind, groups: [app] }, service: 'internet' };
      says(await reach(me), /is pending$/);
      await n.available(made);
      says(await reach(me), /^route table rtb-\w+ of subnet-\w+ has no route to an internet gateway$/);
      await n.route(vpc, inside, { GatewayId: gateway });
      says(await reach(me), true);
      const state = async (): Promise<string> => {
        const { RouteTables } = await n.ec2.send(new DescribeRouteTablesCommand({ RouteTableIds: [table] }));
        return RouteTables![0]!.Routes!.find((one) => one.DestinationCidrBlock === '0.0.0.0/0')!.State!;
      };
      assert.equal(await state(), 'active');
      await n.ec2.send(new DeleteNatGatewayCommand({ NatGatewayId: made }));
      says(await reach(me), /is delet(ing|ed)$/);
      await n.deleted(made);
      assert.equal(await state(), 'blackhole');
    });
    // https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Internet_Gateway.html
    test('a detached internet gateway leads nowhere', async () => {
      const [place, own] = [await n.vpc('10.2.0.0/16'), await n.group(vpc)];
      const [subnet, leads] = [await n.subnet(place, '10.2.0.0/24'), await n.gateway(place)];
      await n.route(place, subnet, { GatewayId: leads });
      const me = { from: { subnet, groups: [await n.group(place)], publicIp: true }, service: 'internet' };
      says(await reach(me), true);
      await n.ec2.send(new DetachInternetGatewayCommand({ InternetGatewayId: leads, VpcId: place }));
      says(await reach(me), /is not attached to the VPC/);
      assert.ok(own);
    });
    // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html
    test('a route leads to what there is, once', async () => {
      const RouteTableId = (await n.ec2.send(new CreateRouteTableCommand({ VpcId: other }))).RouteTable!.RouteTableId!;
      const create = (to: object) =>
        n.ec2.send(new CreateRouteCommand({ RouteTableId, DestinationCidrBlock: '0.0.0.0/0', ...to }));
      await assert.rejects(create({ NatGatewayId: 'nat-0123456789abcdef0' }), { name: 'NatGatewayNotFound' });
      await assert.rejects(create({ GatewayId: 'igw-0123456789abcdef0' }), {
        name: 'InvalidInternetGatewayID.NotFound',
      });
      await assert.rejects(create({ GatewayId: gateway }), { name: 'InvalidParameterValue' }, 'of another VPC');
      await create({ GatewayId: await n.gateway(other) });
      await assert.rejects(create({ GatewayId: gateway }), { name: 'InvalidParameterValue' });
      await assert.rejects(create({ NatGatewayId: nat }), { name: 'RouteAlreadyExists' });
    });

    // https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html
    test('interface endpoints: private DNS sends everyone to them, their group lets in HTTPS', async () => {
      const place = await n.vpc('10.3.0.0/16');
      const subnet = await n.subnet(place, '10.3.0.0/24');
      const [mine, closed] = [await n.group(place), await n.group(place)];
      const open = await n.group(place, [tcp(443, from(mine))]);
      const me = { subnet, groups: [mine] };
      const create = (service: string, groups: string[]) =>
        n.ec2.send(
          new CreateVpcEndpointCommand({
            VpcId: place,
            ServiceName: `com.amazonaws.${REGION}.${service}`,
            VpcEndpointType: 'Interface',
            SubnetIds: [subnet],
            SecurityGroupIds: groups,
          }),
        );
      says(await reach({ from: me, service: 'ecr.api' }), /has no route/);
      await assert.rejects(create('ecr.api', [open]), { name: 'InvalidParameter' }, 'DNS host names are off');
      await n.ec2.send(new ModifyVpcAttributeCommand({ VpcId: place, EnableDnsHostnames: { Value: true } }));
      const made = await create('ecr.api', [open]);
      const endpoint = made.VpcEndpoint!.VpcEndpointId!;
      const seen = await n.ec2.send(new DescribeVpcEndpointsCommand({ VpcEndpointIds: [endpoint] }));
      assert.equal(seen.VpcEndpoints![0]!.PrivateDnsEnabled, true);
      assert.deepEqual(
        seen.VpcEndpoints![0]!.Groups!.map((group) => group.GroupId),
        [open],
      );
      says(await reach({ from: me, service: 'ecr.api' }), true);
      says(await reach({ from: me, service: 'logs' }), /has no route/);
      await create('logs', [closed]);
      says(await reach({ from: me, service: 'logs' }), /^no ingress rule of sg-\w+ allows tcp port 443/);
      await n.ec2.send(new DeleteVpcEndpointsCommand({ VpcEndpointIds: [endpoint] }));
      says(await reach({ from: me, service: 'ecr.api' }), /has no route/);
    });
    // https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
    test('a gateway endpoint serves the subnets whose route table it is in', async () => {
      const [inside, outside] = [await n.subnet(vpc, '10.1.40.0/24'), await n.subnet(vpc, '10.1.41.0/24')];
      const table = await n.route(vpc, inside, {});
      await n.route(vpc, outside, {});
      await n.ec2.send(
        new CreateVpcEndpointCommand({ VpcId: vpc, ServiceName: `com.amazonaws.${REGION}.s3`, RouteTableIds: [table] }),
      );
      const ask = (subnet: string, group: string) => reach({ from: { subnet, groups: [group] }, service: 's3' });
      says(await ask(inside, app), true);
      says(await ask(outside, app), /has no route/);
      const toS3 = await n.group(vpc, [], [tcp(443, { PrefixListIds: [{ PrefixListId: 'pl-63a5400a' }] })]);
      says(await ask(inside, toS3), true);
      says(await ask(inside, await n.group(vpc, [], [])), /^no egress rule/);
    });

    // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-update-security-groups.html
    test('who reaches a load balancer', async () => {
      const elb = new ElasticLoadBalancingV2Client(n.aws);
      const secondPublic = await n.subnet(vpc, '10.1.50.0/24', 'b');
      await n.route(vpc, secondPublic, { GatewayId: gateway });
      const office = await n.group(vpc, [tcp(443, cidr('198.51.100.0/24')), tcp(80, cidr('10.1.0.0/16'))]);
      const make = async (Name: string, Scheme: 'internal' | 'internet-facing', Subnets: string[]) => {
        const made = await elb.send(new CreateLoadBalancerCommand({ Name, Scheme, Subnets, SecurityGroups: [office] }));
        return made.LoadBalancers![0]!.LoadBalancerArn!;
      };
      const wide = await make('wide', 'internet-facing', [publicSubnet, secondPublic]);
      const inner = await make('inner', 'internal', [one, two]);
      says(await reach({ from: '198.51.100.7', to: wide, port: 443 }), true);
      says(await reach({ from: '203.0.113.7', to: wide, port: 443 }), /^no ingress rule .* from 203\.0\.113\.7$/);
      says(await reach({ from: '198.51.100.7', to: wide, port: 80 }), /^no ingress rule/);
      says(await reach({ from: '198.51.100.7', to: inner, port: 443 }), /has no public address/);
      says(await reach({ from: '10.1.9.9', to: inner, port: 80 }), true);
      says(await reach({ from: { subnet: one, groups: [app] }, to: inner, port: 80 }), true);
      // Its name resolves to public addresses in the VPC too: a task reaches it over NAT, and arrives from there.
      const behind = await n.subnet(vpc, '10.1.51.0/24');
      says(await reach({ from: { subnet: behind, groups: [app] }, to: wide, port: 443 }), /has no route/);
      await n.route(vpc, behind, { NatGatewayId: nat });
      says(
        await reach({ from: { subnet: behind, groups: [app] }, to: wide, port: 80 }),
        /^no ingress rule .* from 52\./,
      );
      const blind = await make('blind', 'internet-facing', [one, two]);
      says(await reach({ from: '198.51.100.7', to: blind, port: 443 }), /has no route to an internet gateway/);
    });
  });

  describe('processes', { concurrency: true, timeout: 90_000 }, () => {
    let f: Fargate;
    let n: Network;
    before(async () => {
      f = await fargate(rehearsal, TASKS);
      n = network(TASKS);
    });

    /** Asks PostgreSQL over and over whether it takes TLS, says when the answer changes, keeps its first connection. */
    const ASKS = `
    const net = require('node:net'), [host, port] = process.env.TARGET.split(':');
    let last = '', first;
    const say = (word) => word !== last && console.log((last = word));
    const ask = () => {
      const socket = net.connect(Number(port), host, () => socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])));
      const late = setTimeout(() => (say('blocked'), socket.destroy()), 500);
      socket.once('data', () => {
        clearTimeout(late);
        say('open');
        if (first) return socket.destroy();
        first = socket;
        first.once('close', () => console.log('the first one is cut'));
      });
      socket.on('error', () => {});
      socket.once('close', () => setTimeout(ask, 60));
      if (first) setTimeout(() => socket.destroyed || socket.destroy(), 300);
      else socket.once('data', () => setTimeout(ask, 60));
    };
    ask();`;
    const run = async (
      definition: string,
      network: Partial<Fargate['networkConfiguration']['awsvpcConfiguration']> = {},
    ): Promise<string> => {
      const awsvpcConfiguration = { ...f.networkConfiguration.awsvpcConfiguration, ...network };
      const answer = await f.ecs.send(
        new RunTaskCommand({
          cluster: CLUSTER,
          taskDefinition: definition,
          launchType: 'FARGATE',
          networkConfiguration: { awsvpcConfiguration },
        }),
      );
      return answer.tasks![0]!.taskArn!;
    };
    const end = (task: string) => f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task }));
    const detail = (task: Task, name: string): string =>
      task.attachments![0]!.details!.find((one) => one.name === name)?.value ?? '';

    // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.RDSSecurityGroups.html, and for what stays
    // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html
    test('a task reaches a database from the moment a rule lets it; what is connected then stays', async () => {
      const rds = new RDSClient(n.aws);
      const closed = await n.group(f.vpc);
      await rds.send(
        new CreateDBSubnetGroupCommand({ DBSubnetGroupName: 'd', DBSubnetGroupDescription: 'd', SubnetIds: f.subnets }),
      );
      await rds.send(
        new CreateDBInstanceCommand({
          DBInstanceIdentifier: 'd',
          DBInstanceClass: 'db.t4g.micro',
          Engine: 'postgres',
          EngineVersion: '16',
          AllocatedStorage: 20,
          MasterUsername: 'freehold',
          MasterUserPassword: 'long-enough',
          DBSubnetGroupName: 'd',
          VpcSecurityGroupIds: [closed],
          BackupRetentionPeriod: 0,
        }),
      );
      const instance = await eventually('the database is available', async () => {
        const { DBInstances } = await rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier: 'd' }));
        return DBInstances![0]!.DBInstanceStatus === 'available' && DBInstances![0];
      });
      const command = { entryPoint: [process.execPath, '-e', ASKS] };
      const task = await run(await f.define('asks', { TARGET: `${instance.Endpoint!.Address}:5432` }, command));
      const lines = () => f.lines('asks', task).catch((): string[] => []);
      const says = (word: string) => eventually(`it is ${word}`, async () => (await lines()).at(-1) === word);
      await says('blocked');
      assert.deepEqual(await lines(), ['blocked']);
      const rule = { GroupId: closed, IpPermissions: [tcp(5432, from(f.group))] };
      await n.ec2.send(new AuthorizeSecurityGroupIngressCommand(rule));
      await says('open');
      await n.ec2.send(new RevokeSecurityGroupIngressCommand(rule));
      await says('blocked');
      assert.ok(!(await lines()).includes('the first one is cut'));
      await end(task);
    });

    // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
    test('a load balancer that the rules keep from its target finds it timed out, and answers 504', async () => {
      const { url, targetGroupArn, loadBalancers } = await f.balanced('shut');
      const shut = await n.group(f.vpc);
      const networkConfiguration = {
        awsvpcConfiguration: { ...f.networkConfiguration.awsvpcConfiguration, securityGroups: [shut] },
      };
      await f.create('shut', await f.define('shut'), {
        loadBalancers,
        networkConfiguration,
        healthCheckGracePeriodSeconds: 9999,
      });
      const health = async () =>
        (await f.elb.send(new DescribeTargetHealthCommand({ TargetGroupArn: targetGroupArn })))
          .TargetHealthDescriptions![0]!;
      const seen = await eventually('it is unhealthy', async () => {
        const found = await health();
        return found?.TargetHealth!.State === 'unhealthy' && found;
      });
      assert.equal(seen.TargetHealth!.Reason, 'Target.Timeout');
      assert.match(seen.Target!.Id!, /^10\.0\./, 'registered by its private address');
      const asked = Date.now();
      assert.equal((await rehearsal.fetch(url)).status, 504);
      assert.ok(Date.now() - asked >= 900, 'after ten seconds of AWS, which are one here');
      await n.ec2.send(
        new AuthorizeSecurityGroupIngressCommand({ GroupId: shut, IpPermissions: [tcp(8000, from(f.group))] }),
      );
      await eventually('it is healthy', async () => (await health()).TargetHealth!.State === 'healthy');
      assert.equal((await rehearsal.fetch(`${url}/info`)).status, 404, 'the target itself answers');
      assert.equal((await rehearsal.fetch(url, { from: '10.0.7.7' })).status, 404);
      const away = await rehearsal.fetch(url, { from: '203.0.113.7' });
      assert.equal(away.status, 504, 'an internal load balancer is for the VPC');
      assert.match(away.headers.get('x-rehearsal')!, /has no public address/);
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html and
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
    test('tasks without a way out do not start, and say so; those that run go on when it is lost', async () => {
      const [isolated, natted] = [await n.subnet(f.vpc, '10.0.100.0/24'), await n.subnet(f.vpc, '10.0.101.0/24')];
      await n.route(f.vpc, isolated, {});
      const nat = await n.nat(f.subnets[0]!);
      await n.route(f.vpc, natted, { NatGatewayId: nat });
      const [own, image] = [await f.define('private'), 'public.ecr.aws/docker/library/redis:7.4-alpine'];
      const ofThePublic = await f.define('public', {}, { image });
      const [lost, lostPublic] = await Promise.all([
        run(own, { subnets: [isolated], assignPublicIp: undefined! }),
        run(ofThePublic, { subnets: [isolated], assignPublicIp: undefined! }),
        n.available(nat),
      ]);
      const inside = { subnets: [natted], assignPublicIp: undefined! };
      const works = await run(own, inside);
      await eventually('it runs', async () => (await f.task(works)).lastStatus === 'RUNNING');
      await n.ec2.send(new DeleteNatGatewayCommand({ NatGatewayId: nat }));
      const late = await run(own, inside);
      for (const task of await Promise.all([f.stopped(lost), f.stopped(late)])) {
        assert.equal(task.stopCode, 'TaskFailedToStart');
        assert.match(
          task.stoppedReason!,
          /^ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR\. Check your task network configuration\. .*: i\/o timeout$/,
        );
      }
      const stopped = await f.stopped(lostPublic);
      assert.match(
        stopped.stoppedReason!,
        /^CannotPullContainerError: .*https:\/\/public\.ecr\.aws\/v2\/.*: i\/o timeout$/,
      );
      assert.equal(stopped.containers![0]!.reason, stopped.stoppedReason);
      assert.equal((await f.task(works)).lastStatus, 'RUNNING');
      await end(works);
    });

    // https://docs.aws.amazon.com/cloud-map/latest/dg/working-with-namespaces.html
    test('the names of a private namespace are known in its VPC only', async () => {
      const away = await n.vpc('10.0.0.0/16');
      const make = async (name: string, Vpc: string): Promise<void> => {
        const { OperationId } = await f.cloudmap.send(new CreatePrivateDnsNamespaceCommand({ Name: name, Vpc }));
        const NamespaceId = await eventually('the namespace', async () => {
          const { Operation } = await f.cloudmap.send(new GetOperationCommand({ OperationId }));
          return Operation!.Status === 'SUCCESS' && Operation!.Targets!.NAMESPACE;
        });
        const DnsConfig = { DnsRecords: [{ Type: 'A' as const, TTL: 10 }] };
        await f.cloudmap.send(new CreateServiceCommand({ Name: 'it', NamespaceId, DnsConfig }));
      };
      await Promise.all([make('here.internal', f.vpc), make('away.internal', away)]);
      const command = { entryPoint: [process.execPath, '-e', 'console.log(process.env.HERE, process.env.AWAY)'] };
      const task = await run(
        await f.define('resolves', { HERE: 'it.here.internal', AWAY: 'it.away.internal' }, command),
      );
      await f.stopped(task);
      assert.match((await f.lines('resolves', task))[0]!, /^127\.[\d.]+ it\.away\.internal$/);
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
    test('a task has a private address of its subnet, everywhere the same, and gives it back', async () => {
      const [subnet] = f.subnets;
      const free = async () => {
        const { Subnets } = await f.ec2.send(new DescribeSubnetsCommand({ SubnetIds: [subnet!] }));
        return Subnets![0]!.AvailableIpAddressCount!;
      };
      const arn = await run(await f.define('addressed'), { subnets: [subnet!] });
      await eventually('it runs', async () => (await f.task(arn)).lastStatus === 'RUNNING');
      const up = await f.task(arn);
      const address = detail(up, 'privateIPv4Address');
      assert.match(address, /^10\.0\.0\.\d+$/);
      assert.equal(detail(up, 'privateDnsName'), `ip-${address.replaceAll('.', '-')}.ec2.internal`);
      assert.equal(up.containers![0]!.networkInterfaces![0]!.privateIpv4Address, address);
      const ids = [detail(up, 'networkInterfaceId')];
      const interfaces = await f.ec2.send(new DescribeNetworkInterfacesCommand({ NetworkInterfaceIds: ids }));
      assert.equal(interfaces.NetworkInterfaces![0]!.PrivateIpAddress, address);
      assert.ok((await free()) < 251);
      await end(arn);
    });
  });

  describe('networks of their own', { concurrency: true, timeout: 60_000 }, () => {
    /** Says of each address whether somebody answers there, or how it failed. */
    const DIALS = `
    const net = require('node:net');
    const dial = (target, patience) => new Promise((done) => {
      const [host, port] = target.replace(/^\\w+:\\/\\//, '').split(':');
      const request = ['GET / HTTP/1.0', 'Host: ' + host + ':' + port, '', ''].join(String.fromCharCode(13, 10));
      const socket = net.connect(Number(port), host, () => socket.write(request));
      socket.setTimeout(patience, () => (done('timeout'), socket.destroy()));
      socket.once('data', () => (done('answers'), socket.destroy()));
      socket.once('error', (error) => done(error.code));
    });
    (async () => {
      for (const name of ['NEIGHBOUR', 'OUTSIDE', 'NAMED', 'AWS_ENDPOINT_URL', 'ALLOWED', 'FORBIDDEN'])
        console.log(name, await dial(process.env[name], ['OUTSIDE', 'FORBIDDEN'].includes(name) ? 700 : 5000));
    })();`;

    for (const [how, namespaces] of [
      ['and nothing else', true],
      ['without namespaces too', false],
    ] as const)
      // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
      test(`a task reaches what it has a name for, ${how}`, async (t) => {
        const own = await startRehearsal({ pace: PACE, timerPace: TIMER_PACE, namespaces });
        t.after(() => own.stop());
        const health = (await (await fetch(`${own.endpoint}/_rehearsal/health`)).json()) as { namespaces: boolean };
        if (namespaces && !health.namespaces) return t.skip('this machine does not permit network namespaces');
        assert.equal(health.namespaces, namespaces);
        const f = await fargate(own, TASKS);
        const { url } = await f.balanced('front');
        const host = new URL(url).host;
        const run = async (definition: string): Promise<string> => {
          const { networkConfiguration } = f;
          const how = {
            cluster: CLUSTER,
            taskDefinition: definition,
            launchType: 'FARGATE' as const,
            networkConfiguration,
          };
          return (await f.ecs.send(new RunTaskCommand(how))).tasks![0]!.taskArn!;
        };
        const neighbour = await run(await f.define('neighbour'));
        const row = await eventually('it runs', async () =>
          (await own.processes()).find((one) => one['taskArn'] === neighbour),
        );
        const there = `${String(row['address'])}:8000`;
        await eventually('this machine reaches it', async () => (await fetch(`http://${there}/ok`)).ok);
        await own.outside('api.example.com', Number(new URL(own.endpoint).port));
        const env = {
          NEIGHBOUR: there,
          OUTSIDE: '192.0.2.1:80',
          NAMED: 'http://api.example.com:8080',
          ALLOWED: `${host}:80`,
          FORBIDDEN: `${host}:8080`,
        };
        const task = await run(await f.define('dials', env, { entryPoint: [process.execPath, '-e', DIALS] }));
        await f.stopped(task);
        const said = Object.fromEntries(
          (await f.lines('dials', task)).map((line) => line.split(' ') as [string, string]),
        );
        if (namespaces) assert.equal(said['OUTSIDE'], 'ENETUNREACH');
        delete said['OUTSIDE'];
        assert.deepEqual(said, {
          NEIGHBOUR: namespaces ? 'ECONNREFUSED' : 'answers',
          NAMED: 'answers',
          AWS_ENDPOINT_URL: 'answers',
          ALLOWED: 'answers',
          FORBIDDEN: 'timeout',
        });
      });
  });

  describe('the product’s own security groups', { concurrency: 1, timeout: 60_000 }, () => {
    let t: TestPlace;
    const groups: Record<string, string> = {};
    const rules: { group: string; port: number; fromGroup: string }[] = [];

    /** Those of a deployment's graph, made by the kind itself with the rights that it declares. */
    before(async () => {
      t = await makePlace(rehearsal, PRODUCT);
      const aws = await t.accounts.enter(t.place, { name: 'groups' });
      const deployment = { id: randomUUID(), name: 'agent', workspaceId: randomUUID() };
      const graph = ecs(
        {
          deployment,
          revision: { id: randomUUID(), number: 1 },
          type: 'dev',
          databaseTier: null,
          source: 'external_docker',
          references: [],
          agentAuth: { type: 'noop' },
          image: `${PRODUCT}.dkr.ecr.us-east-1.amazonaws.com/app@sha256:${'0'.repeat(64)}`,
          resources: { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 1 },
          environment: [],
          retainedSecretVersions: [],
        },
        t.place,
      );
      for (const node of graph.nodes.filter((one) => one.kind === securityGroup)) {
        const got = Object.fromEntries(
          Object.entries(node.needs).map(([name, need]) => [name, { id: groups[need.id] }]),
        );
        const inputs = node.inputs(got) as SecurityGroupInputs;
        const cx = { aws, tags: ownerTags(t.place, deployment.id, node.id), fence: async () => {} };
        await securityGroup.converge(cx, inputs, undefined, []);
        const seen = await securityGroup.observe(cx, inputs);
        assert.ok(seen.is === 'ready');
        groups[node.id] = seen.out.id;
        rules.push(...inputs.ingress.map((rule) => ({ group: seen.out.id, ...rule })));
      }
    });
    after(() => t.close());

    const parties = ['balancer', 'server', 'database', 'redis', 'stranger'];
    /** Every connection among them that the rules let through. */
    async function open(): Promise<string[]> {
      const { ec2 } = network(PRODUCT);
      const { SecurityGroups } = await ec2.send(
        new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'vpc-id', Values: [t.place.vpcId] }] }),
      );
      const stranger = SecurityGroups!.find((one) => one.GroupName === 'default')!.GroupId!;
      const [subnet] = t.place.privateSubnetIds;
      const of: Record<string, object | string> = {
        balancer: t.place.loadBalancerArn,
        server: { what: 'server x', subnet, groups: [groups['service-group']] },
        database: { what: 'database x', subnet, groups: [groups['database-group']] },
        redis: { what: 'redis x', subnet, groups: [groups['redis-group']] },
        stranger: { what: 'stranger x', subnet, groups: [stranger] },
      };
      const asked = parties.flatMap((source) =>
        parties
          .filter((target) => target !== source && target !== 'stranger' && target !== 'balancer')
          .flatMap((target) => [80, 443, 5432, 6379, 8000].map((port) => ({ source, target, port }))),
      );
      const answers = await Promise.all(
        asked.map(({ source, target, port }) =>
          rehearsal.reach({
            account: PRODUCT,
            region: REGION,
            from: of[source] as string,
            to: of[target] as string,
            port,
          }),
        ),
      );
      return asked
        .filter((_, i) => answers[i] === '')
        .map(({ source, target, port }) => `${source} → ${target}:${port}`);
    }
    const EXPECTED = ['balancer → server:8000', 'server → database:5432', 'server → redis:6379'];

    // https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html
    test('let through what a deployment needs, and nothing else', async () => {
      assert.deepEqual(await open(), EXPECTED);
      assert.equal(rules.length, EXPECTED.length);
    });
    test('have no rule too many: without any one of them, what it is for breaks, and only that', async () => {
      const { ec2 } = network(PRODUCT);
      const broken: string[] = [];
      for (const { group, port, fromGroup } of rules) {
        const rule = { GroupId: group, IpPermissions: [tcp(port, from(fromGroup))] };
        await ec2.send(new RevokeSecurityGroupIngressCommand(rule));
        const left = await open();
        broken.push(EXPECTED.filter((one) => !left.includes(one)).join());
        await ec2.send(new AuthorizeSecurityGroupIngressCommand(rule));
      }
      assert.deepEqual(broken.sort(), EXPECTED);
    });
    test('let a server and its Redis get out to what they start from', async () => {
      const [subnet] = t.place.privateSubnetIds;
      for (const node of ['service-group', 'redis-group'])
        for (const service of ['ecr.api', 'ecr.dkr', 's3', 'secretsmanager', 'logs', 'internet'])
          assert.equal(
            await rehearsal.reach({
              account: PRODUCT,
              region: REGION,
              from: { subnet: subnet!, groups: [groups[node]!] },
              service,
            }),
            '',
          );
    });
  });
});
