/**
 * Stacks make, change and remove real things in the emulated account, take AWS's time, and are refused what AWS
 * refuses.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloudWatchLogsClient, CreateLogGroupCommand, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import {
  CreateSecurityGroupCommand,
  CreateVpcCommand,
  DeleteSecurityGroupCommand,
  DescribeNatGatewaysCommand,
  DescribeSecurityGroupsCommand,
  DescribeVpcsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import {
  CreateServiceCommand,
  DescribeClustersCommand,
  ECSClient,
  RegisterTaskDefinitionCommand,
} from '@aws-sdk/client-ecs';
import { GetRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import {
  CreateServiceCommand as CreateMapServiceCommand,
  ListNamespacesCommand,
  ServiceDiscoveryClient,
} from '@aws-sdk/client-servicediscovery';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { SMALLEST_TASK } from '../support/requests.ts';
import { cloudFormation, element } from '../support/stack.ts';

let account: Rehearsal;
const ACCOUNT = '222222222222';
const options = (number = ACCOUNT) => ({
  endpoint: account.endpoint,
  region: 'us-east-1',
  credentials: account.root(number),
});
before(async () => {
  account = await startRehearsal({ pace: 50 });
});
after(() => account.stop());

const cfn = (action: string, form: Record<string, string>, number = ACCOUNT): Promise<string> =>
  cloudFormation(account.endpoint, number, action, form);

interface Ended {
  status: string;
  outputs: Record<string, string>;
  events: { resource: string; status: string; reason: string }[];
  seconds: number;
}
async function act(action: string, StackName: string, template?: object, number = ACCOUNT): Promise<Ended> {
  const started = Date.now();
  const form: Record<string, string> = { StackName, 'Capabilities.member.1': 'CAPABILITY_NAMED_IAM' };
  if (template) form['TemplateBody'] = JSON.stringify(template);
  const id = element(await cfn(action, form, number), 'StackId') || StackName;
  for (;;) {
    const stack = await cfn('DescribeStacks', { StackName: id }, number).catch((error: unknown) => String(error));
    const status = stack.includes('does not exist') ? 'DELETE_COMPLETE' : element(stack, 'StackStatus');
    if (!status.endsWith('_IN_PROGRESS')) {
      const outputs = Object.fromEntries(
        [...stack.matchAll(/<OutputKey>([^<]*)<\/OutputKey>\s*<OutputValue>([^<]*)</g)].map((it) => [it[1]!, it[2]!]),
      );
      const events = status === 'DELETE_COMPLETE' ? '' : await cfn('DescribeStackEvents', { StackName: id }, number);
      return {
        status,
        outputs,
        seconds: (Date.now() - started) / 1000,
        events: [...events.matchAll(/<member>([\s\S]*?)<\/member>/g)].map((it) => ({
          resource: element(it[1]!, 'LogicalResourceId'),
          status: element(it[1]!, 'ResourceStatus'),
          reason: element(it[1]!, 'ResourceStatusReason'),
        })),
      };
    }
    if (Date.now() - started > 60_000) assert.fail(`${StackName} is still ${status}`);
    await sleep(50);
  }
}

const ref = (Ref: string) => ({ Ref });
const get = (...path: [string, string]) => ({ 'Fn::GetAtt': path });
const network = {
  Vpc: { Type: 'AWS::EC2::VPC', Properties: { CidrBlock: '10.0.0.0/16' } },
  PublicA: {
    Type: 'AWS::EC2::Subnet',
    Properties: { VpcId: ref('Vpc'), CidrBlock: '10.0.0.0/24', AvailabilityZone: 'us-east-1a' },
  },
  PublicB: {
    Type: 'AWS::EC2::Subnet',
    Properties: { VpcId: ref('Vpc'), CidrBlock: '10.0.1.0/24', AvailabilityZone: 'us-east-1b' },
  },
  Gateway: { Type: 'AWS::EC2::InternetGateway' },
  Attachment: {
    Type: 'AWS::EC2::VPCGatewayAttachment',
    Properties: { VpcId: ref('Vpc'), InternetGatewayId: ref('Gateway') },
  },
  Address: { Type: 'AWS::EC2::EIP', Properties: { Domain: 'vpc' } },
  Nat: {
    Type: 'AWS::EC2::NatGateway',
    DependsOn: 'Attachment',
    Properties: {
      SubnetId: ref('PublicA'),
      AllocationId: get('Address', 'AllocationId'),
      Tags: [{ Key: 'Name', Value: 'nat' }],
    },
  },
  Routes: { Type: 'AWS::EC2::RouteTable', Properties: { VpcId: ref('Vpc') } },
  Route: {
    Type: 'AWS::EC2::Route',
    Properties: { RouteTableId: ref('Routes'), DestinationCidrBlock: '0.0.0.0/0', NatGatewayId: ref('Nat') },
  },
};
const shell = (name: string) => ({
  ...network,
  Group: { Type: 'AWS::EC2::SecurityGroup', Properties: { GroupDescription: 'balancer', VpcId: ref('Vpc') } },
  Inner: { Type: 'AWS::EC2::SecurityGroup', Properties: { GroupDescription: 'inner', VpcId: ref('Vpc') } },
  Rule: {
    Type: 'AWS::EC2::SecurityGroupIngress',
    Properties: {
      GroupId: ref('Inner'),
      IpProtocol: 'tcp',
      FromPort: 8000,
      ToPort: 8000,
      SourceSecurityGroupId: ref('Group'),
    },
  },
  Cluster: { Type: 'AWS::ECS::Cluster', Properties: { ClusterName: name } },
  Balancer: {
    Type: 'AWS::ElasticLoadBalancingV2::LoadBalancer',
    Properties: {
      Name: name,
      Scheme: 'internal',
      Subnets: [ref('PublicA'), ref('PublicB')],
      SecurityGroups: [ref('Group')],
    },
  },
  Listener: {
    Type: 'AWS::ElasticLoadBalancingV2::Listener',
    Properties: {
      LoadBalancerArn: ref('Balancer'),
      Port: 80,
      Protocol: 'HTTP',
      DefaultActions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '404' } }],
    },
  },
  Namespace: {
    Type: 'AWS::ServiceDiscovery::PrivateDnsNamespace',
    Properties: { Name: `${name}.internal`, Vpc: ref('Vpc') },
  },
  Subnets: {
    Type: 'AWS::RDS::DBSubnetGroup',
    Properties: {
      DBSubnetGroupName: name,
      DBSubnetGroupDescription: name,
      SubnetIds: [ref('PublicA'), ref('PublicB')],
    },
  },
  Logs: { Type: 'AWS::Logs::LogGroup', Properties: { LogGroupName: `/aws/ecs/${name}`, RetentionInDays: 7 } },
});

test('a data plane’s shell: made in AWS’s time and order, changed in place, removed', async () => {
  const template = {
    Resources: {
      ...shell('shell'),
      Linked: { Type: 'AWS::IAM::ServiceLinkedRole', Properties: { AWSServiceName: 'ecs.amazonaws.com' } },
    },
    Outputs: { Group: { Value: ref('Inner') } },
  };
  const made = await act('CreateStack', 'shell', template);
  assert.equal(made.status, 'CREATE_COMPLETE', JSON.stringify(made.events.filter((it) => it.reason)));
  // The balancer (150 s) and the NAT gateway (100 s) are made at the same time: the longest chain counts, at pace 50,
  // give or take a tenth.
  assert.ok(made.seconds > 135 / 50 && made.seconds < 250 / 50, `${made.seconds} s`);
  const ec2 = new EC2Client(options());
  const nat = (await ec2.send(new DescribeNatGatewaysCommand({}))).NatGateways![0]!;
  assert.equal(nat.State, 'available');
  assert.ok(await new IAMClient(options()).send(new GetRoleCommand({ RoleName: 'AWSServiceRoleForECS' })));
  const group = async () =>
    (await ec2.send(new DescribeSecurityGroupsCommand({ GroupIds: [made.outputs['Group']!] }))).SecurityGroups![0]!;
  assert.equal((await group()).IpPermissions![0]!.FromPort, 8000);

  const changed = structuredClone(template);
  changed.Resources.Rule.Properties.FromPort = changed.Resources.Rule.Properties.ToPort = 9000;
  (changed.Resources.Inner.Properties as Record<string, unknown>)['Tags'] = [{ Key: 'a', Value: 'b' }];
  const updated = await act('UpdateStack', 'shell', changed);
  assert.equal(updated.status, 'UPDATE_COMPLETE');
  assert.equal(updated.outputs['Group'], made.outputs['Group'], 'the group is changed, not replaced');
  assert.deepEqual(
    (await group()).IpPermissions!.map((it) => it.FromPort),
    [9000],
  );
  assert.ok((await group()).Tags!.some((tag) => tag.Key === 'a' && tag.Value === 'b'));

  assert.equal((await act('DeleteStack', 'shell')).status, 'DELETE_COMPLETE');
  assert.deepEqual(
    (await ec2.send(new DescribeVpcsCommand({}))).Vpcs!.filter((vpc) => !vpc.IsDefault),
    [],
  );
  assert.deepEqual((await new CloudWatchLogsClient(options()).send(new DescribeLogGroupsCommand({}))).logGroups, []);
  assert.deepEqual((await new ServiceDiscoveryClient(options()).send(new ListNamespacesCommand({}))).Namespaces, []);
});

test('a resource that fails takes back what the stack had made', async () => {
  const number = '333333333333';
  await new CloudWatchLogsClient(options(number)).send(new CreateLogGroupCommand({ logGroupName: '/taken' }));
  const ended = await act(
    'CreateStack',
    'fails',
    {
      Resources: {
        Vpc: network.Vpc,
        Taken: { Type: 'AWS::Logs::LogGroup', DependsOn: 'Vpc', Properties: { LogGroupName: '/taken' } },
      },
    },
    number,
  );
  assert.equal(ended.status, 'ROLLBACK_COMPLETE');
  assert.ok(
    ended.events.some((it) => it.resource === 'Taken' && it.status === 'CREATE_FAILED' && /exist/.test(it.reason)),
  );
  assert.deepEqual(
    (await new EC2Client(options(number)).send(new DescribeVpcsCommand({}))).Vpcs!.filter((vpc) => !vpc.IsDefault),
    [],
  );
});

test('a role with a managed policy that does not exist is not made', async () => {
  const AssumeRolePolicyDocument = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { Service: 'ecs-tasks.amazonaws.com' }, Action: 'sts:AssumeRole' }],
  };
  const role = (name: string) => ({
    Resources: {
      Role: {
        Type: 'AWS::IAM::Role',
        Properties: { AssumeRolePolicyDocument, ManagedPolicyArns: [`arn:aws:iam::aws:policy/${name}`] },
      },
    },
  });
  assert.equal((await act('CreateStack', 'good-role', role('AmazonRDSFullAccess'))).status, 'CREATE_COMPLETE');
  const bad = await act('CreateStack', 'bad-role', role('AmazonRDSFulAccess'));
  assert.equal(bad.status, 'ROLLBACK_COMPLETE');
  assert.ok(
    bad.events.some((it) => /AmazonRDSFulAccess does not exist or is not attachable/.test(it.reason)),
    JSON.stringify(bad.events),
  );
});

test('what is in use is not deleted, and can be once it is free', async () => {
  const number = '444444444444';
  const stack = {
    Resources: shell('used'),
    Outputs: {
      Vpc: { Value: ref('Vpc') },
      Inner: { Value: ref('Inner') },
      Namespace: { Value: ref('Namespace') },
      Subnet: { Value: ref('PublicA') },
    },
  };
  const made = await act('CreateStack', 'used', stack, number);
  assert.equal(made.status, 'CREATE_COMPLETE');
  const { ec2, ecs, map } = {
    ec2: new EC2Client(options(number)),
    ecs: new ECSClient(options(number)),
    map: new ServiceDiscoveryClient(options(number)),
  };
  const holder = await ec2.send(
    new CreateSecurityGroupCommand({
      GroupName: 'holder',
      Description: 'its rule names the group of the stack',
      VpcId: made.outputs['Vpc']!,
    }),
  );
  const { AuthorizeSecurityGroupIngressCommand } = await import('@aws-sdk/client-ec2');
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupId: holder.GroupId!,
      IpPermissions: [
        { IpProtocol: 'tcp', FromPort: 1, ToPort: 1, UserIdGroupPairs: [{ GroupId: made.outputs['Inner']! }] },
      ],
    }),
  );
  await map.send(new CreateMapServiceCommand({ Name: 'redis', NamespaceId: made.outputs['Namespace']! }));
  await ecs.send(new RegisterTaskDefinitionCommand(SMALLEST_TASK));
  await ecs.send(
    new CreateServiceCommand({
      cluster: 'used',
      serviceName: 's',
      taskDefinition: 'f',
      desiredCount: 0,
      launchType: 'FARGATE',
      networkConfiguration: { awsvpcConfiguration: { subnets: [made.outputs['Subnet']!] } },
    }),
  );
  const failed = await act('DeleteStack', 'used', undefined, number);
  assert.equal(failed.status, 'DELETE_FAILED');
  const why = (resource: string) =>
    failed.events.find((it) => it.resource === resource && it.status === 'DELETE_FAILED')?.reason ?? '';
  assert.match(why('Inner'), /has a dependent object/);
  assert.match(why('Cluster'), /services/i);
  assert.match(why('Namespace'), /associated services|ResourceInUse/);
  assert.equal((await ecs.send(new DescribeClustersCommand({ clusters: ['used'] }))).clusters![0]!.status, 'ACTIVE');

  const { DeleteServiceCommand, DescribeServicesCommand } = await import('@aws-sdk/client-ecs');
  const { DeleteServiceCommand: DeleteMapServiceCommand, ListServicesCommand } =
    await import('@aws-sdk/client-servicediscovery');
  await ec2.send(new DeleteSecurityGroupCommand({ GroupId: holder.GroupId! }));
  await ecs.send(new DeleteServiceCommand({ cluster: 'used', service: 's' }));
  for (
    let n = 0;
    (await ecs.send(new DescribeServicesCommand({ cluster: 'used', services: ['s'] }))).services![0]!.status !==
    'INACTIVE';
    n++
  ) {
    assert.ok(n < 200, 'the service ends');
    await sleep(50);
  }
  for (const service of (await map.send(new ListServicesCommand({}))).Services!)
    await map.send(new DeleteMapServiceCommand({ Id: service.Id! }));
  assert.equal((await act('DeleteStack', 'used', undefined, number)).status, 'DELETE_COMPLETE');
});

test('an inline function tags an existing VPC with its own role’s rights, and untags it at the end', async () => {
  const number = '555555555555';
  const ec2 = new EC2Client(options(number));
  const vpc = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.1.0.0/16' }))).Vpc!.VpcId!;
  const code = `
import boto3, cfnresponse
def handler(event, context):
    try:
        ec2, vpc = boto3.client('ec2'), event['ResourceProperties']['VpcId']
        act = ec2.delete_tags if event['RequestType'] == 'Delete' else ec2.create_tags
        act(Resources=[vpc], Tags=[{'Key': 'langgraph-cloud-enabled', 'Value': '1'}])
        cfnresponse.send(event, context, cfnresponse.SUCCESS, {}, 'tags')
    except Exception as error:
        cfnresponse.send(event, context, cfnresponse.FAILED, {}, 'tags', reason=str(error))
`;
  const trust = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { Service: 'lambda.amazonaws.com' }, Action: 'sts:AssumeRole' }],
  };
  const template = (Action: string[]) => ({
    Resources: {
      Role: {
        Type: 'AWS::IAM::Role',
        Properties: {
          AssumeRolePolicyDocument: trust,
          Policies: [
            {
              PolicyName: 'p',
              PolicyDocument: {
                Version: '2012-10-17',
                Statement: [{ Effect: 'Allow', Action, Resource: `arn:aws:ec2:*:*:vpc/${vpc}` }],
              },
            },
          ],
        },
      },
      Function: {
        Type: 'AWS::Lambda::Function',
        Properties: {
          Runtime: 'python3.13',
          Handler: 'index.handler',
          Timeout: 30,
          Role: get('Role', 'Arn'),
          Code: { ZipFile: code },
        },
      },
      Tags: { Type: 'Custom::Tags', Properties: { ServiceToken: get('Function', 'Arn'), VpcId: vpc } },
    },
  });
  const tags = async () => (await ec2.send(new DescribeVpcsCommand({ VpcIds: [vpc] }))).Vpcs![0]!.Tags ?? [];
  const refused = await act('CreateStack', 'powerless', template(['ec2:DeleteTags']), number);
  assert.equal(refused.status, 'ROLLBACK_COMPLETE');
  assert.ok(
    refused.events.some((it) => /not authorized to perform: ec2:CreateTags/.test(it.reason)),
    JSON.stringify(refused.events),
  );
  const made = await act('CreateStack', 'tags', template(['ec2:CreateTags', 'ec2:DeleteTags']), number);
  assert.equal(made.status, 'CREATE_COMPLETE', JSON.stringify(made.events.filter((it) => it.reason)));
  assert.deepEqual(await tags(), [{ Key: 'langgraph-cloud-enabled', Value: '1' }]);
  assert.equal((await act('DeleteStack', 'tags', undefined, number)).status, 'DELETE_COMPLETE');
  assert.deepEqual(await tags(), []);
});
