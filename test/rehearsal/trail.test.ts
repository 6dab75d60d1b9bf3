import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CreateClusterCommand, ECSClient, ListClustersCommand } from '@aws-sdk/client-ecs';
import { CreateRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import { CreateDBInstanceCommand, ModifyDBInstanceCommand, RDSClient } from '@aws-sdk/client-rds';
import { CreateSecretCommand, PutSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { startRehearsal, type Call, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

const ACCOUNT = '222222222222';
let account: Rehearsal;
const options = (credentials: Credentials, region = 'us-east-1') => ({
  endpoint: account.endpoint,
  region,
  credentials,
  maxAttempts: 1,
});
before(async () => {
  account = await startRehearsal({ pace: 200 });
});
after(() => account.stop());

const shown = (call: Call) => [
  call.account,
  call.region,
  call.principal,
  call.session,
  call.service,
  call.action,
  call.resource,
  call.status,
  call.error,
];

test('who called what, on what, and how it ended', async () => {
  const root = account.root(ACCOUNT);
  const user = await account.createUser(ACCOUNT, 'ada', {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: ['sts:*'], Resource: '*' }],
  });
  const trust = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` }, Action: 'sts:AssumeRole' }],
  };
  await new IAMClient(options(root)).send(
    new CreateRoleCommand({ RoleName: 'r', AssumeRolePolicyDocument: JSON.stringify(trust) }),
  );
  const from = (await account.calls()).at(-1)!.n;

  await new ECSClient(options(root, 'eu-west-1')).send(new CreateClusterCommand({ clusterName: 'mine' }));
  const { Credentials: made } = await new STSClient(options(user)).send(
    new AssumeRoleCommand({ RoleArn: `arn:aws:iam::${ACCOUNT}:role/r`, RoleSessionName: 'pass-7' }),
  );
  const session = {
    accessKeyId: made!.AccessKeyId!,
    secretAccessKey: made!.SecretAccessKey!,
    sessionToken: made!.SessionToken!,
  };
  await assert.rejects(new ECSClient(options(session)).send(new ListClustersCommand({})));
  await assert.rejects(new ECSClient(options({ ...user, secretAccessKey: 'wrong' })).send(new ListClustersCommand({})));

  const calls = await account.calls(from);
  assert.deepEqual(
    calls.map((call) => call.why),
    [
      'root',
      'ada / statement 1',
      'ecs:ListClusters on *: because no identity-based policy allows the ecs:ListClusters action',
      '',
    ],
  );
  const arn = `arn:aws:iam::${ACCOUNT}:`;
  assert.deepEqual(calls.map(shown), [
    [ACCOUNT, 'eu-west-1', `${arn}root`, '', 'ecs', 'CreateCluster', 'mine', 200, ''],
    [ACCOUNT, 'us-east-1', `${arn}user/ada`, '', 'sts', 'AssumeRole', `${arn}role/r`, 200, ''],
    [
      ACCOUNT,
      'us-east-1',
      `arn:aws:sts::${ACCOUNT}:assumed-role/r/pass-7`,
      'pass-7',
      'ecs',
      'ListClusters',
      '*',
      400,
      'AccessDeniedException',
    ],
    [ACCOUNT, 'us-east-1', '', '', 'ecs', 'ListClusters', '*', 400, 'InvalidSignatureException'],
  ]);
  assert.deepEqual(
    calls.map((call) => call.n),
    [from + 1, from + 2, from + 3, from + 4],
  );
  for (const call of calls) assert.ok(call.seconds >= 0 && call.at > 1.7e9);
});

test('names, never values', async () => {
  const secrets = new SecretsManagerClient(options(account.root(ACCOUNT)));
  const rds = new RDSClient(options(account.root(ACCOUNT)));
  await account.clearCalls();
  await secrets.send(new CreateSecretCommand({ Name: 'place/1/env', SecretString: 'hush-hush-1' }));
  await secrets.send(new PutSecretValueCommand({ SecretId: 'place/1/env', SecretString: 'hush-hush-2' }));
  await rds
    .send(
      new CreateDBInstanceCommand({
        DBInstanceIdentifier: 'x',
        DBInstanceClass: 'none',
        Engine: 'none',
        MasterUserPassword: 'hush-hush-3',
      }),
    )
    .catch(() => {});
  await rds
    .send(new ModifyDBInstanceCommand({ DBInstanceIdentifier: 'x', MasterUserPassword: 'hush-hush-4' }))
    .catch(() => {});
  const calls = await account.calls();
  assert.deepEqual(
    calls.map((call) => [call.action, call.resource]),
    [
      ['CreateSecret', 'place/1/env'],
      ['PutSecretValue', 'place/1/env'],
      ['CreateDBInstance', 'x'],
      ['ModifyDBInstance', 'x'],
    ],
  );
  assert.doesNotMatch(JSON.stringify(calls), /hush/);
});
