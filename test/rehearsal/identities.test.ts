/**
 * What other services see of IAM, and when. "IAM uses a distributed computing model called eventual consistency. Any
 * change that you make in IAM … takes time to become visible from all possible endpoints":
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ECSClient, ListClustersCommand, RegisterTaskDefinitionCommand } from '@aws-sdk/client-ecs';
import {
  AttachUserPolicyCommand,
  CreateAccessKeyCommand,
  CreatePolicyCommand,
  CreatePolicyVersionCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  DeleteUserPolicyCommand,
  DetachUserPolicyCommand,
  GetRoleCommand,
  GetUserPolicyCommand,
  IAMClient,
  PutUserPermissionsBoundaryCommand,
  PutUserPolicyCommand,
  SimulatePrincipalPolicyCommand,
  UpdateAccessKeyCommand,
  UpdateAssumeRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { startRehearsal, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

const ACCOUNT = '240200000001';
const LONG = 10; // seconds, more than any of IAM's lag
let account: Rehearsal;
let iam: IAMClient;
const options = (credentials: Credentials) => ({
  endpoint: account.endpoint,
  region: 'us-east-1',
  credentials,
  maxAttempts: 1,
});
const policy = (...Statement: object[]) => ({ Version: '2012-10-17', Statement });
const text = (...Statement: object[]) => JSON.stringify(policy(...Statement));
const allow = (Action: string, Resource = '*') => ({ Effect: 'Allow', Action, Resource });
const trust = (AWS: string) =>
  JSON.stringify(policy({ Effect: 'Allow', Principal: { AWS }, Action: 'sts:AssumeRole' }));
const named = (name: string, kind = 'user') => `arn:aws:iam::${ACCOUNT}:${kind}/${name}`;

before(async () => {
  account = await startRehearsal({ lag: true }); // at AWS's own pace: nothing is seen by itself while a test looks
  iam = new IAMClient(options(account.root(ACCOUNT)));
  await iam.send(
    new CreateRoleCommand({ RoleName: 'any', AssumeRolePolicyDocument: trust(`arn:aws:iam::${ACCOUNT}:root`) }),
  );
});
after(() => account.stop());

/** '' when it was allowed, else the error's name. */
const outcome = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => '',
    (error: Error) => error.name,
  );
const lists = (credentials: Credentials) =>
  outcome(new ECSClient(options(credentials)).send(new ListClustersCommand({})));
const enters = (credentials: Credentials, role: string) =>
  outcome(
    new STSClient(options(credentials)).send(
      new AssumeRoleCommand({ RoleArn: named(role, 'role'), RoleSessionName: 'test' }),
    ),
  );

interface Row {
  what: string;
  /** What stands already, is seen, and what is asked then. */
  given: (name: string) => Promise<() => Promise<string>>;
  change: (name: string) => Promise<unknown>;
  first: string;
  later: string;
}
const DENIED = 'AccessDeniedException';
const may = policy(allow('ecs:*'), allow('sts:*'));
const key = async (name: string, rights: object) => {
  const credentials = await account.createUser(ACCOUNT, name, rights);
  return () => lists(credentials);
};
const keys: Record<string, Credentials> = {};

const ROWS: Row[] = [
  {
    what: 'a policy that is put',
    given: (name) => key(name, policy(allow('sts:*'))),
    change: (name) =>
      iam.send(new PutUserPolicyCommand({ UserName: name, PolicyName: 'more', PolicyDocument: text(allow('ecs:*')) })),
    first: DENIED,
    later: '',
  },
  {
    what: 'a policy that is deleted still allows',
    given: (name) => key(name, may),
    change: (name) => iam.send(new DeleteUserPolicyCommand({ UserName: name, PolicyName: name })),
    first: '',
    later: DENIED,
  },
  {
    what: 'a managed policy that is attached',
    given: async (name) => {
      await iam.send(new CreatePolicyCommand({ PolicyName: name, PolicyDocument: text(allow('ecs:*')) }));
      return key(name, policy(allow('sts:*')));
    },
    change: (name) => iam.send(new AttachUserPolicyCommand({ UserName: name, PolicyArn: named(name, 'policy') })),
    first: DENIED,
    later: '',
  },
  {
    what: 'a managed policy that is detached still allows',
    given: (name) => key(name, [policy(allow('ecs:*'))]),
    change: (name) =>
      iam.send(new DetachUserPolicyCommand({ UserName: name, PolicyArn: named(`${name}-1`, 'policy') })),
    first: '',
    later: DENIED,
  },
  {
    what: 'a new version of a managed policy',
    given: (name) => key(name, [policy(allow('sts:*'))]),
    change: (name) =>
      iam.send(
        new CreatePolicyVersionCommand({
          PolicyArn: named(`${name}-1`, 'policy'),
          PolicyDocument: text(allow('ecs:*')),
          SetAsDefault: true,
        }),
      ),
    first: DENIED,
    later: '',
  },
  {
    what: 'a permissions boundary that is set',
    given: async (name) => {
      await iam.send(new CreatePolicyCommand({ PolicyName: name, PolicyDocument: text(allow('sts:*')) }));
      return key(name, may);
    },
    change: (name) =>
      iam.send(new PutUserPermissionsBoundaryCommand({ UserName: name, PermissionsBoundary: named(name, 'policy') })),
    first: '',
    later: DENIED,
  },
  {
    what: 'a role that is made cannot be assumed',
    given: async (name) => {
      const credentials = await account.createUser(ACCOUNT, name, may);
      return () => enters(credentials, name);
    },
    change: (name) => iam.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: trust(named(name)) })),
    first: 'AccessDenied',
    later: '',
  },
  {
    what: 'a trust policy that is changed',
    given: async (name) => {
      const credentials = await account.createUser(ACCOUNT, name, may);
      await iam.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: trust(named(name)) }));
      return () => enters(credentials, name);
    },
    change: (name) =>
      iam.send(
        new UpdateAssumeRolePolicyCommand({
          RoleName: name,
          PolicyDocument: trust(named('nobody')).replace(named('nobody'), 'arn:aws:iam::999999999999:root'),
        }),
      ),
    first: '',
    later: 'AccessDenied',
  },
  {
    what: 'an access key that is made is unknown',
    given: async (name) => {
      await account.createUser(ACCOUNT, name, may);
      return () => lists(keys[name]!);
    },
    change: async (name) => {
      const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: name }));
      keys[name] = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! };
    },
    first: 'UnrecognizedClientException',
    later: '',
  },
  {
    what: 'an access key that is deleted still works',
    given: async (name) => {
      keys[name] = await account.createUser(ACCOUNT, name, may);
      return () => lists(keys[name]!);
    },
    change: (name) => iam.send(new DeleteAccessKeyCommand({ UserName: name, AccessKeyId: keys[name]!.accessKeyId })),
    first: '',
    later: 'UnrecognizedClientException',
  },
  {
    what: 'an access key that is switched off still works',
    given: async (name) => {
      keys[name] = await account.createUser(ACCOUNT, name, may);
      return () => lists(keys[name]!);
    },
    change: (name) =>
      iam.send(
        new UpdateAccessKeyCommand({ UserName: name, AccessKeyId: keys[name]!.accessKeyId, Status: 'Inactive' }),
      ),
    first: '',
    later: 'UnrecognizedClientException',
  },
];

describe('for some seconds', () => {
  for (const [at, row] of ROWS.entries())
    test(row.what, async () => {
      const name = `row-${at}`;
      const ask = await row.given(name);
      await account.settle();
      await row.change(name);
      assert.equal(await ask(), row.first, 'at once');
      await account.skip(LONG);
      assert.equal(await ask(), row.later, 'later');
    });
});

test('IAM’s own reads, and its simulation, show a change at once', async () => {
  const credentials = await account.createUser(ACCOUNT, 'own', may);
  const PolicyDocument = text(allow('rds:*'));
  await iam.send(new CreateRoleCommand({ RoleName: 'own', AssumeRolePolicyDocument: trust(named('own')) }));
  await iam.send(new PutUserPolicyCommand({ UserName: 'own', PolicyName: 'more', PolicyDocument }));
  await iam.send(new GetRoleCommand({ RoleName: 'own' }));
  await iam.send(new GetUserPolicyCommand({ UserName: 'own', PolicyName: 'more' }));
  const { EvaluationResults } = await iam.send(
    new SimulatePrincipalPolicyCommand({ PolicySourceArn: named('own'), ActionNames: ['rds:CreateDBInstance'] }),
  );
  assert.equal(EvaluationResults![0]!.EvalDecision, 'allowed');
  assert.equal(await enters(credentials, 'own'), 'AccessDenied');
});

test('settle() lets all be seen, and without lag everything is at once', async () => {
  await iam.send(new CreateUserCommand({ UserName: 'settled' }));
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: 'settled' }));
  const made = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! };
  assert.equal(await lists(made), 'UnrecognizedClientException');
  await account.settle();
  assert.equal(await lists(made), DENIED);
});

describe('what the call log says allowed a call', () => {
  const last = async () => (await account.calls()).at(-1)!;

  test('an inline policy by its name and the statement’s Sid or position; a managed one by its ARN', async () => {
    const inline = await account.createUser(
      ACCOUNT,
      'inline',
      policy(allow('sts:*'), { Sid: 'Clusters', ...allow('ecs:ListClusters') }),
    );
    await lists(inline);
    assert.equal((await last()).why, 'inline / Clusters');
    const managed = await account.createUser(ACCOUNT, 'managed', [policy(allow('ecs:*'))]);
    await lists(managed);
    assert.equal((await last()).why, `${named('managed-1', 'policy')} / statement 1`);
  });

  test('each policy of a call that needs several rights', async () => {
    const user = await account.createUser(
      ACCOUNT,
      'several',
      policy({ Sid: 'Register', ...allow('ecs:*') }, { Sid: 'Pass', ...allow('iam:PassRole') }),
    );
    await new ECSClient(options(user)).send(
      new RegisterTaskDefinitionCommand({
        family: 'f',
        networkMode: 'awsvpc',
        taskRoleArn: named('any', 'role'),
        containerDefinitions: [{ name: 'c', image: 'public.ecr.aws/docker/library/redis:7' }],
      }),
    );
    assert.equal((await last()).why, 'several / Register, several / Pass');
  });

  test('a denial by the policy and statement that denies', async () => {
    const user = await account.createUser(
      ACCOUNT,
      'denied',
      policy(allow('*'), { Sid: 'NoClusters', Effect: 'Deny', Action: 'ecs:*', Resource: '*' }),
    );
    await lists(user);
    assert.equal(
      (await last()).why,
      'ecs:ListClusters on *: with an explicit deny in an identity-based policy: denied / NoClusters',
    );
  });
});

/** https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html */
test('an organization’s policy denies what a call needs besides its own action', async () => {
  const user = await account.createUser(ACCOUNT, 'member', policy(allow('*')));
  await account.fault({ account: ACCOUNT, deniedByOrganization: 'iam:PassRole' });
  const register = new ECSClient(options(user)).send(
    new RegisterTaskDefinitionCommand({
      family: 'f',
      networkMode: 'awsvpc',
      taskRoleArn: named('any', 'role'),
      containerDefinitions: [{ name: 'c', image: 'public.ecr.aws/docker/library/redis:7' }],
    }),
  );
  await assert.rejects(register, {
    name: DENIED,
    message: `User: ${named('member')} is not authorized to perform: iam:PassRole on resource: ${named('any', 'role')} with an explicit deny in a service control policy`,
  });
  await account.clearFaults();
});
