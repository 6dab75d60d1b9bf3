/**
 * CloudFormation acts with the rights of who asks for the stack
 * (https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/control-access-with-iam.html), so the published
 * policies of the deployer must be enough, and not more than enough.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual, promisify } from 'node:util';
import { CreateSubnetCommand, CreateVpcCommand, EC2Client } from '@aws-sdk/client-ec2';
import { CreateRoleCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { deployer, deployerPolicies, type PolicyDocument } from '../../lib/deployer.ts';
import { startRehearsal, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const REGION = 'us-east-1';
type Network = 'new' | 'existing';
const names = (network: Network, prefix = 'freehold') => ({ prefix, stack: `${prefix}-account`, network });

let rehearsal: Rehearsal;
before(async () => {
  rehearsal = await startRehearsal({ pace: 5000 });
});
after(() => rehearsal.stop());

interface Case {
  account: string;
  stack: string;
  credentials: Credentials;
  template: object;
  parameters: Record<string, string>;
  role?: string;
}
interface Outcome {
  /** Statuses of the stack after it was made, then after it was removed; an error of the API itself. */
  made: string;
  removed: string;
  /** Reasons of all that failed. */
  failed: string[];
}

/** What `aws cloudformation` does, for all cases at once; boto3 is what it is made of. */
const PROGRAM = `
import boto3, json, sys, time
from concurrent.futures import ThreadPoolExecutor
given = json.load(sys.stdin)
session = boto3.session.Session()
END = ("COMPLETE", "FAILED")

def run(case):
    stacks = session.client("cloudformation", aws_access_key_id=case["credentials"]["accessKeyId"],
                            aws_secret_access_key=case["credentials"]["secretAccessKey"])
    role = {"RoleARN": case["role"]} if case.get("role") else {}
    out = {"made": "", "removed": "", "failed": []}
    try:
        made = stacks.create_stack(StackName=case["stack"], TemplateBody=json.dumps(case["template"]),
            Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"], **role,
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in case["parameters"].items()])["StackId"]
        def settled():
            for _ in range(1200):
                status = stacks.describe_stacks(StackName=made)["Stacks"][0]["StackStatus"]
                if status.endswith(END):
                    return status
                time.sleep(0.05)
            last = stacks.describe_stack_events(StackName=made)["StackEvents"][0]
            return "it never ended: " + last["LogicalResourceId"] + " " + last["ResourceStatus"]
        out["made"] = settled()
        if out["made"] == "CREATE_COMPLETE":
            stacks.delete_stack(StackName=made)
            time.sleep(0.05)
            out["removed"] = settled()
        pages = stacks.get_paginator("describe_stack_events").paginate(StackName=made)
        events = [event for page in pages for event in page["StackEvents"]]
        out["failed"] = [e.get("ResourceStatusReason", "") for e in events if e["ResourceStatus"].endswith("_FAILED")]
    except Exception as error:
        out["failed"].append(str(error))
    return out

session.client("cloudformation", aws_access_key_id="x", aws_secret_access_key="x")  # loads the model once
with ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map(run, given))))`;

async function outcomes(cases: Case[]): Promise<Outcome[]> {
  const python = join(ROOT, '.cache', 'python', 'rehearsal', 'bin', 'python');
  const run = promisify(execFile)(python, ['-c', PROGRAM], {
    maxBuffer: 1 << 24,
    env: { PYTHONDONTWRITEBYTECODE: '1', AWS_ENDPOINT_URL: rehearsal.endpoint, AWS_DEFAULT_REGION: REGION },
  });
  run.child.stdin!.end(JSON.stringify(cases));
  return JSON.parse((await run).stdout) as Outcome[];
}

let accounts = 240100000000;
/** One deployment in an account of its own, by a user with these policies. */
async function prepared(
  network: Network,
  policies: PolicyDocument[] | object,
  { prefix, stack } = names(network),
): Promise<Case> {
  const account = String(++accounts);
  const template = JSON.parse(
    readFileSync(join(ROOT, 'templates', `customer-account-${network}-vpc-http.template.json`), 'utf8'),
  ) as { Resources: Record<string, object> };
  template.Resources['Linked'] = {
    Type: 'AWS::IAM::ServiceLinkedRole',
    DeletionPolicy: 'Retain',
    Properties: { AWSServiceName: 'ecs.amazonaws.com' },
  };
  const parameters: Record<string, string> = {
    Principal: 'arn:aws:iam::111111111111:user/freehold',
    ExternalId: 'fh-1',
    Prefix: prefix,
  };
  if (network === 'existing') {
    const ec2 = new EC2Client({ endpoint: rehearsal.endpoint, region: REGION, credentials: rehearsal.root(account) });
    const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.7.0.0/16' }));
    const subnets = await Promise.all(
      [0, 1, 2, 3].map(async (at) => {
        const AvailabilityZone = `${REGION}${'ab'[at % 2]}`;
        const CidrBlock = `10.7.${at}.0/24`;
        const made = await ec2.send(new CreateSubnetCommand({ VpcId: Vpc!.VpcId!, CidrBlock, AvailabilityZone }));
        return made.Subnet!.SubnetId!;
      }),
    );
    parameters['VpcId'] = Vpc!.VpcId!;
    parameters['PrivateSubnetIds'] = subnets.slice(0, 2).join(',');
    parameters['PublicSubnetIds'] = subnets.slice(2).join(',');
  }
  return { account, stack, credentials: await rehearsal.createUser(account, 'ada', policies), template, parameters };
}

for (const network of ['new', 'existing'] as const)
  describe(`the deployer's policies, ${network} VPC`, () => {
    const statements = deployer(names(network));
    const without = (sid: string, given: ReturnType<typeof names>) =>
      deployerPolicies(given)
        .map((policy) => ({ ...policy, Statement: policy.Statement.filter((each) => each.Sid !== sid) }))
        .filter((policy) => policy.Statement.length > 0);
    // Of the second, those that are not also of the first.
    const own = statements.filter(
      (each) =>
        network === 'new' ||
        !isDeepStrictEqual(
          each,
          deployer(names('new')).find((other) => other.sid === each.sid),
        ),
    );
    let found: Record<string, Outcome>;
    before(async () => {
      const sids = ['', ...own.map((each) => each.sid)];
      const cases = await Promise.all(
        sids.map((sid, at) => {
          // ministack runs functions of one name in one process, whatever their account.
          const given = names(network, `fh${at}`);
          return prepared(network, without(sid, given), given);
        }),
      );
      const results = await outcomes(cases);
      found = Object.fromEntries(sids.map((sid, at) => [sid, results[at]!]));
    });

    test('with all of them the stack is made and removed', () => {
      assert.deepEqual(found[''], { made: 'CREATE_COMPLETE', removed: 'DELETE_COMPLETE', failed: [] });
    });
    for (const { sid, actions } of own)
      test(`without ${sid} it fails, and says what is missing`, () => {
        const { made, removed, failed } = found[sid]!;
        assert.notDeepEqual([made, removed], ['CREATE_COMPLETE', 'DELETE_COMPLETE']);
        const named = failed.map((reason) => /is not authorized to perform: (\S+) /.exec(reason)?.[1]).filter(Boolean);
        assert.ok(
          named.some((action) => actions.includes(action!)),
          failed.join('\n'),
        );
      });
  });

test('with cloudformation:* alone the first call that is missing is named', async () => {
  const policy = (...Statement: object[]) => ({ Version: '2012-10-17', Statement });
  const stacks = { Effect: 'Allow', Action: 'cloudformation:*', Resource: '*' };
  const [outcome] = await outcomes([await prepared('new', policy(stacks))]);
  assert.equal(outcome!.made, 'ROLLBACK_COMPLETE');
  assert.match(
    outcome!.failed.join('\n'),
    /^Resource handler returned message: "User: arn:aws:iam::\d+:user\/ada is not authorized to perform: \S+ on resource: \S+ because no identity-based policy allows the \S+ action \(Service: \w+, Status Code: 40[03], Request ID: [0-9a-f-]+\)" \(RequestToken: [0-9a-f-]+, HandlerErrorCode: AccessDenied\)$/m,
  );
});

/** https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html */
describe('a role that CloudFormation is given', () => {
  const statement = (Action: string, Resource: string, Condition?: object) => ({
    Effect: 'Allow',
    Action,
    Resource,
    ...(Condition ? { Condition } : {}),
  });
  const policy = (...Statement: object[]) => ({ Version: '2012-10-17', Statement });
  /** Who asks may only pass the role; the role may do everything. */
  async function withRole(...more: object[]): Promise<Case> {
    const made = await prepared('new', policy(statement('cloudformation:*', '*'), ...more));
    const role = `arn:aws:iam::${made.account}:role/makes-stacks`;
    const iam = new IAMClient({
      endpoint: rehearsal.endpoint,
      region: REGION,
      credentials: rehearsal.root(made.account),
    });
    const trust = policy({
      Effect: 'Allow',
      Principal: { Service: 'cloudformation.amazonaws.com' },
      Action: 'sts:AssumeRole',
    });
    await iam.send(
      new CreateRoleCommand({ RoleName: 'makes-stacks', AssumeRolePolicyDocument: JSON.stringify(trust) }),
    );
    await iam.send(
      new PutRolePolicyCommand({
        RoleName: 'makes-stacks',
        PolicyName: 'all',
        PolicyDocument: JSON.stringify(policy({ Sid: 'All', ...statement('*', '*') })),
      }),
    );
    return { ...made, role };
  }
  const pass = (service: string) =>
    statement('iam:PassRole', 'arn:aws:iam::*:role/makes-stacks', { StringEquals: { 'iam:PassedToService': service } });

  test('is used instead of who asks, and the call log tells which statement of it allowed what', async () => {
    const given = await withRole(pass('cloudformation.amazonaws.com'));
    const from = (await rehearsal.calls()).at(-1)!.n;
    const [outcome] = await outcomes([given]);
    assert.deepEqual(outcome, { made: 'CREATE_COMPLETE', removed: 'DELETE_COMPLETE', failed: [] });
    const calls = (await rehearsal.calls(from)).filter((call) => call.via === 'cloudformation.amazonaws.com');
    const principal = `arn:aws:sts::${given.account}:assumed-role/makes-stacks/AWSCloudFormation`;
    assert.deepEqual([...new Set(calls.map((call) => `${call.principal} ${call.why}`))], [`${principal} all / All`]);
    assert.ok(calls.some((call) => call.service === 'ecs' && call.action === 'CreateCluster'));
  });
  test('is that of its own stack alone, not of a later one of the same name', async () => {
    const given = await withRole(pass('cloudformation.amazonaws.com'));
    const [first] = await outcomes([given]);
    assert.equal(first!.removed, 'DELETE_COMPLETE');
    const { role: _, ...later } = given;
    const { Linked: __, ...Resources } = (given.template as { Resources: Record<string, object> }).Resources;
    const [second] = await outcomes([{ ...later, template: { ...given.template, Resources } }]);
    assert.equal(second!.made, 'ROLLBACK_COMPLETE');
    assert.match(second!.failed.join('\n'), /User: \S+:user\/ada is not authorized to perform/);
  });
  for (const [what, more] of [
    ['no right to pass it', []],
    ['a right to pass it to another service', [pass('ecs-tasks.amazonaws.com')]],
  ] as const)
    test(`${what}: refused`, async () => {
      const [outcome] = await outcomes([await withRole(...more)]);
      assert.match(outcome!.failed[0]!, /not authorized to perform: iam:PassRole on resource: \S+role\/makes-stacks /);
    });
});
