/** The function that tags an existing network, run as it is against the emulated account. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import {
  CreateSubnetCommand,
  CreateTagsCommand,
  CreateVpcCommand,
  DescribeTagsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { openPromptRehearsal } from '../support/rehearsal.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const ACCOUNT = '241000000001';
const ENABLED = 'langgraph-cloud-enabled';
const PRIVATE = 'langgraph-cloud-private';

let rehearsal: Rehearsal;
let ec2: EC2Client;

before(async () => {
  rehearsal = await openPromptRehearsal();
  await rehearsal.quota(ACCOUNT, 'L-F678F1CE', 20); // VPCs
  ec2 = new EC2Client({ endpoint: rehearsal.endpoint, region: 'us-east-1', credentials: rehearsal.root(ACCOUNT) });
  startLambda();
});
after(async () => {
  lambda.kill();
  ec2.destroy();
  await rehearsal.stop();
});

/** A VPC with four subnets, in two zones by turns. */
async function network() {
  const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.9.0.0/16' }));
  const subnets: string[] = [];
  for (const index of [0, 1, 2, 3]) {
    const AvailabilityZone = `us-east-1${'ab'[index % 2]}`;
    const made = await ec2.send(
      new CreateSubnetCommand({ VpcId: Vpc!.VpcId!, CidrBlock: `10.9.${index}.0/24`, AvailabilityZone }),
    );
    subnets.push(made.Subnet!.SubnetId!);
  }
  return { VpcId: Vpc!.VpcId!, subnets: subnets as [string, string, string, string] };
}

async function tagsOf(id: string): Promise<Record<string, string>> {
  const { Tags } = await ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'resource-id', Values: [id] }] }));
  return Object.fromEntries((Tags ?? []).map((tag) => [tag.Key!, tag.Value!]));
}

const properties = (prefix: string, VpcId: string, PrivateSubnetIds: string[], PublicSubnetIds: string[] = []) => ({
  Mark: `freehold:network:${prefix}`,
  VpcId,
  PrivateSubnetIds,
  PublicSubnetIds,
});
type Properties = ReturnType<typeof properties>;

/** The function, which is kept between events as Lambda does: an event a line, an answer a line. */
let lambda: ChildProcessWithoutNullStreams;
let answers: AsyncIterator<string>;

function startLambda(): void {
  const program = `
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("tags", "lib/network-tags.py")
tags = importlib.util.module_from_spec(spec); spec.loader.exec_module(tags)
for line in sys.stdin:
  try: print(json.dumps({"data": tags.act(json.loads(line))}), flush=True)
  except ValueError as error: print(json.dumps({"reason": str(error)}), flush=True)`;
  const root = rehearsal.root(ACCOUNT);
  lambda = spawn(join(ROOT, '.cache', 'python', 'rehearsal', 'bin', 'python'), ['-c', program], {
    cwd: ROOT,
    env: {
      PYTHONDONTWRITEBYTECODE: '1',
      AWS_ENDPOINT_URL: rehearsal.endpoint,
      AWS_DEFAULT_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: root.accessKeyId,
      AWS_SECRET_ACCESS_KEY: root.secretAccessKey,
    },
  });
  lambda.stderr.pipe(process.stderr);
  answers = createInterface({ input: lambda.stdout })[Symbol.asyncIterator]();
}

/** One event, as CloudFormation sends it. Answers the data, or throws with the reason. */
async function act(
  RequestType: string,
  ResourceProperties: Properties,
  OldResourceProperties?: Properties,
): Promise<unknown> {
  lambda.stdin.write(`${JSON.stringify({ RequestType, ResourceProperties, OldResourceProperties })}\n`);
  const { value, done } = await answers.next();
  assert(!done, 'the function has ended');
  const { data, reason } = JSON.parse(value) as { data?: unknown; reason?: string };
  if (reason !== undefined) throw new Error(reason);
  return data;
}

test('create tags, a repeat changes nothing, delete takes off what was put on and leaves what was found', async () => {
  const { VpcId, subnets } = await network();
  const [a, b, c] = subnets;
  await ec2.send(
    new CreateTagsCommand({
      Resources: [VpcId, a],
      Tags: [
        { Key: ENABLED, Value: '1' },
        { Key: 'team', Value: 'net' },
      ],
    }),
  );
  const own = properties('one', VpcId, [a, b], [c]);
  assert.deepEqual(await act('Create', own), { CidrBlock: '10.9.0.0/16' });
  await act('Create', own); // CloudFormation may ask twice
  assert.deepEqual(await tagsOf(VpcId), { [ENABLED]: '1', team: 'net' });
  assert.deepEqual(await tagsOf(a), { [ENABLED]: '1', [PRIVATE]: '1', team: 'net', 'freehold:network:one': PRIVATE });
  const both = `${ENABLED} ${PRIVATE}`;
  assert.deepEqual(await tagsOf(b), { [ENABLED]: '1', [PRIVATE]: '1', 'freehold:network:one': both });
  assert.deepEqual(await tagsOf(c), { [ENABLED]: '1', [PRIVATE]: '0', 'freehold:network:one': both });
  await act('Delete', own);
  await act('Delete', own);
  assert.deepEqual(await tagsOf(VpcId), { [ENABLED]: '1', team: 'net' });
  assert.deepEqual(await tagsOf(a), { [ENABLED]: '1', team: 'net' });
  assert.deepEqual(await tagsOf(b), {});
  assert.deepEqual(await tagsOf(c), {});
});

test('two stacks share a network: the tags stay until the last has gone', async () => {
  const { VpcId, subnets } = await network();
  const [a, b, c] = subnets;
  const [one, two] = [properties('one', VpcId, [a, b]), properties('two', VpcId, [b, c])];
  await act('Create', one);
  await act('Create', two);
  await act('Delete', one);
  assert.deepEqual(await tagsOf(a), {});
  assert.deepEqual(await tagsOf(b), {
    [ENABLED]: '1',
    [PRIVATE]: '1',
    'freehold:network:two': `${ENABLED} ${PRIVATE}`,
  });
  assert.deepEqual(await tagsOf(VpcId), { [ENABLED]: '1', 'freehold:network:two': ENABLED });
  await act('Delete', two);
  for (const id of [VpcId, a, b, c]) assert.deepEqual(await tagsOf(id), {});
});

test('update: what left the list loses its tags, what moved changes its tag, and a rollback turns it back', async () => {
  const { VpcId, subnets } = await network();
  const [a, b, c, d] = subnets;
  const old = properties('one', VpcId, [a, b, c]);
  const now = properties('one', VpcId, [b, a], [d]);
  await act('Create', old);
  await act('Update', now, old);
  assert.deepEqual(await tagsOf(c), {});
  assert.equal((await tagsOf(d))[PRIVATE], '0');
  const moved = properties('one', VpcId, [b, a, d]);
  await act('Update', moved, now);
  assert.equal((await tagsOf(d))[PRIVATE], '1');
  await act('Update', old, moved);
  assert.deepEqual(await tagsOf(d), {});
  assert.equal((await tagsOf(c))[PRIVATE], '1');
});

test('refused in words, and nothing is tagged', async () => {
  const { VpcId, subnets } = await network();
  const other = await network();
  const [a, b, c] = subnets;
  await assert.rejects(
    () => act('Create', properties('one', VpcId, [a, c])),
    /all private subnets are in one availability zone/,
  );
  await assert.rejects(
    () => act('Create', properties('one', VpcId, [a, other.subnets[1]])),
    new RegExp(`${other.subnets[1]} is in ${other.VpcId}, not in ${VpcId}`),
  );
  await assert.rejects(
    () => act('Create', properties('one', VpcId, [a, b, 'subnet-00000000'])),
    /not in this account and region: subnet-00000000/,
  );
  assert.deepEqual([await tagsOf(a), await tagsOf(VpcId)], [{}, {}]);
});

test('refused: a subnet that the customer, or another stack, has as the opposite', async () => {
  const { VpcId, subnets } = await network();
  const [a, b, c] = subnets;
  await ec2.send(new CreateTagsCommand({ Resources: [a], Tags: [{ Key: PRIVATE, Value: '0' }] }));
  const said = new RegExp(`${a} is tagged ${PRIVATE}=0, this stack needs 1: mend one of them`);
  await assert.rejects(() => act('Create', properties('one', VpcId, [a, b])), said);
  await act('Delete', properties('one', VpcId, [a, b])); // the rollback
  assert.deepEqual(await tagsOf(a), { [PRIVATE]: '0' });
  await act('Create', properties('two', VpcId, [b, c]));
  await assert.rejects(() => act('Create', properties('one', VpcId, [b, c], [b])), /this stack needs/);
});
