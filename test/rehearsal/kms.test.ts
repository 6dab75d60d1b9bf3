/** KMS keys: policies and grants decide, also through the services that use them; what a lost key makes unreadable. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CreateSubnetCommand, CreateVpcCommand, EC2Client } from '@aws-sdk/client-ec2';
import {
  CreateAliasCommand,
  CreateGrantCommand,
  CreateKeyCommand,
  DecryptCommand,
  DescribeKeyCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  EncryptCommand,
  KMSClient,
  ListGrantsCommand,
  PutKeyPolicyCommand,
  RetireGrantCommand,
  RevokeGrantCommand,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms';
import {
  CreateDBInstanceCommand,
  CreateDBSubnetGroupCommand,
  DescribeDBInstancesCommand,
  RDSClient,
} from '@aws-sdk/client-rds';
import { GetResourcesCommand, ResourceGroupsTaggingAPIClient } from '@aws-sdk/client-resource-groups-tagging-api';
import { CreateSecretCommand, GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { GetParameterCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { startRehearsal, type Credentials, type Rehearsal } from '../../services/rehearsal/index.ts';

const ACCOUNT = '360000000036';
const REGION = 'eu-central-1';
let rehearsal: Rehearsal;
let root: ReturnType<typeof clients>;
before(async () => {
  rehearsal = await startRehearsal({ pace: 200, postgres: '' });
  root = clients(rehearsal.root(ACCOUNT));
});
after(() => rehearsal.stop());

function clients(credentials: Credentials) {
  const options = { endpoint: rehearsal.endpoint, region: REGION, credentials, maxAttempts: 1 };
  return {
    ec2: new EC2Client(options),
    kms: new KMSClient(options),
    rds: new RDSClient(options),
    tags: new ResourceGroupsTaggingAPIClient(options),
    secrets: new SecretsManagerClient(options),
    ssm: new SSMClient(options),
  };
}

async function databaseSubnets(): Promise<void> {
  const vpc = (await root.ec2.send(new CreateVpcCommand({ CidrBlock: '10.7.0.0/16' }))).Vpc!.VpcId!;
  const SubnetIds: string[] = [];
  for (const [n, zone] of ['a', 'b'].entries()) {
    const made = await root.ec2.send(
      new CreateSubnetCommand({ VpcId: vpc, CidrBlock: `10.7.${n}.0/24`, AvailabilityZone: `${REGION}${zone}` }),
    );
    SubnetIds.push(made.Subnet!.SubnetId!);
  }
  await root.rds.send(
    new CreateDBSubnetGroupCommand({
      DBSubnetGroupName: 'databases',
      DBSubnetGroupDescription: 'databases',
      SubnetIds,
    }),
  );
}
let users = 0;
/** A user with these rights. */
async function user(...statements: object[]) {
  const name = `user-${users++}`;
  const policy = { Version: '2012-10-17', Statement: statements };
  return { arn: `arn:aws:iam::${ACCOUNT}:user/${name}`, ...clients(await rehearsal.createUser(ACCOUNT, name, policy)) };
}
const allow = (Action: string | string[], Condition: object = {}) => ({
  Effect: 'Allow',
  Action,
  Resource: '*',
  Condition,
});
const root_ = { AWS: `arn:aws:iam::${ACCOUNT}:root` };
async function key(...statements: object[]): Promise<string> {
  const Policy = statements.length > 0 ? JSON.stringify({ Version: '2012-10-17', Statement: statements }) : undefined;
  const made = await root.kms.send(new CreateKeyCommand(Policy === undefined ? {} : { Policy }));
  return made.KeyMetadata!.Arn!;
}
/** Administrators may change the key, and nobody may use it. */
const ADMINISTRATION = {
  Effect: 'Allow',
  Principal: root_,
  Action: ['kms:Put*', 'kms:Describe*', 'kms:CreateGrant'],
  Resource: '*',
};
const encrypt = (KeyId: string) => new EncryptCommand({ KeyId, Plaintext: Buffer.from('text') });
const name = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'allowed',
    (error: Error) => error.name,
  );

const POLICIES = 'https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html';
test(`the default key policy lets the account’s identity policies decide (${POLICIES})`, async () => {
  const made = await key();
  assert.equal(await name((await user(allow('kms:Encrypt'))).kms.send(encrypt(made))), 'allowed');
  const refused = (await user(allow('kms:Decrypt'))).kms.send(encrypt(made));
  await assert.rejects(refused, {
    name: 'AccessDeniedException',
    message: /is not authorized to perform: kms:Encrypt on resource: arn:aws:kms:.*no identity-based policy allows/,
  });
});

test(`an identity policy alone is not enough where the key’s policy does not say so (${POLICIES})`, async () => {
  const made = await key(ADMINISTRATION);
  await assert.rejects((await user(allow('kms:*'))).kms.send(encrypt(made)), {
    name: 'AccessDeniedException',
    message: /because no resource-based policy allows the kms:Encrypt action/,
  });
});

test(`a key’s policy lets a principal without any of its own, and denies over everything (${POLICIES})`, async () => {
  const caller = await user(allow('sts:GetCallerIdentity'));
  const open = await key(ADMINISTRATION, {
    Effect: 'Allow',
    Principal: { AWS: caller.arn },
    Action: 'kms:Encrypt',
    Resource: '*',
  });
  assert.equal(await name(caller.kms.send(encrypt(open))), 'allowed');
  const mighty = await user(allow('kms:*'));
  const closed = await key(
    { ...ADMINISTRATION, Action: 'kms:*' },
    { Effect: 'Deny', Principal: { AWS: mighty.arn }, Action: 'kms:Encrypt', Resource: '*' },
  );
  await assert.rejects(mighty.kms.send(encrypt(closed)), /with an explicit deny in a resource-based policy/);
});

const ALIAS = 'https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html';
test(`an alias stands for its key, whose ARN is asked about (${ALIAS})`, async () => {
  const made = await key();
  await root.kms.send(new CreateAliasCommand({ AliasName: 'alias/app', TargetKeyId: made }));
  const one = await user({ ...allow('kms:Encrypt'), Resource: made });
  assert.equal(await name(one.kms.send(encrypt('alias/app'))), 'allowed');
  const other = await user({ ...allow('kms:Encrypt'), Resource: `arn:aws:kms:${REGION}:${ACCOUNT}:alias/app` });
  assert.equal(await name(other.kms.send(encrypt('alias/app'))), 'AccessDeniedException');
});

const CONDITIONS = 'https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html';
test(`kms:EncryptionContext decides, and decryption needs the same context (${CONDITIONS})`, async () => {
  const KeyId = await key();
  const caller = await user(
    allow(['kms:Encrypt', 'kms:Decrypt'], { StringEquals: { 'kms:EncryptionContext:app': 'freehold' } }),
  );
  const Plaintext = Buffer.from('text');
  const EncryptionContext = { app: 'freehold' };
  const { CiphertextBlob } = await caller.kms.send(new EncryptCommand({ KeyId, Plaintext, EncryptionContext }));
  assert.equal(await name(caller.kms.send(new EncryptCommand({ KeyId, Plaintext }))), 'AccessDeniedException');
  const read = await caller.kms.send(new DecryptCommand({ CiphertextBlob: CiphertextBlob!, EncryptionContext }));
  assert.equal(Buffer.from(read.Plaintext!).toString(), 'text');
  await assert.rejects(
    root.kms.send(new DecryptCommand({ CiphertextBlob: CiphertextBlob!, EncryptionContext: { app: 'other' } })),
    { name: 'InvalidCiphertextException' },
  );
});

const GRANTS = 'https://docs.aws.amazon.com/kms/latest/developerguide/grants.html';
test(`a grant lets its grantee do its operations, until it is revoked or retired (${GRANTS})`, async () => {
  const KeyId = await key(ADMINISTRATION, {
    Effect: 'Allow',
    Principal: root_,
    Action: ['kms:ListGrants', 'kms:RevokeGrant', 'kms:RetireGrant'],
    Resource: '*',
  });
  const grantee = await user(allow('sts:GetCallerIdentity'));
  const grant = () =>
    root.kms.send(
      new CreateGrantCommand({ KeyId, GranteePrincipal: grantee.arn, Operations: ['Encrypt'], Name: `g${users++}` }),
    );
  assert.equal(await name(grantee.kms.send(encrypt(KeyId))), 'AccessDeniedException');
  const first = await grant();
  assert.equal(await name(grantee.kms.send(encrypt(KeyId))), 'allowed');
  assert.equal(await name(grantee.kms.send(new DescribeKeyCommand({ KeyId }))), 'AccessDeniedException');
  await root.kms.send(new RevokeGrantCommand({ KeyId, GrantId: first.GrantId! }));
  assert.equal(await name(grantee.kms.send(encrypt(KeyId))), 'AccessDeniedException');
  const second = await grant();
  assert.equal(await name(grantee.kms.send(encrypt(KeyId))), 'allowed');
  await root.kms.send(new RetireGrantCommand({ KeyId, GrantId: second.GrantId! }));
  assert.equal(await name(grantee.kms.send(encrypt(KeyId))), 'AccessDeniedException');
  assert.equal((await root.kms.send(new ListGrantsCommand({ KeyId }))).Grants!.length, 0);
});

test(`kms:GrantIsForAWSResource: grants for services only; RDS makes one for its instance (${CONDITIONS})`, async () => {
  const KeyId = await key();
  const caller = await user(
    allow(['rds:*', 'kms:DescribeKey']),
    allow('kms:CreateGrant', { Bool: { 'kms:GrantIsForAWSResource': 'true' } }),
  );
  const own = new CreateGrantCommand({ KeyId, GranteePrincipal: caller.arn, Operations: ['Decrypt'] });
  assert.equal(await name(caller.kms.send(own)), 'AccessDeniedException');
  await databaseSubnets();
  const instance = (DBInstanceIdentifier: string, KmsKeyId: string) =>
    new CreateDBInstanceCommand({
      DBInstanceIdentifier,
      DBSubnetGroupName: 'databases',
      DBInstanceClass: 'db.t4g.micro',
      Engine: 'postgres',
      AllocatedStorage: 20,
      MasterUsername: 'freehold',
      MasterUserPassword: 'not-a-secret-1',
      StorageEncrypted: true,
      KmsKeyId,
    });
  await caller.rds.send(instance('encrypted', KeyId));
  const seen = await root.rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier: 'encrypted' }));
  assert.equal(seen.DBInstances![0]!.KmsKeyId, KeyId);
  const grants = (await root.kms.send(new ListGrantsCommand({ KeyId }))).Grants!;
  assert.deepEqual(
    grants.map((grant) => grant.GranteePrincipal),
    ['rds.amazonaws.com'],
  );
  const without = await user(allow('rds:*'));
  assert.equal(await name(without.rds.send(instance('refused', KeyId))), 'KMSKeyNotAccessibleFault');
  await root.kms.send(new DisableKeyCommand({ KeyId }));
  assert.equal(await name(root.rds.send(instance('refused', KeyId))), 'KMSKeyNotAccessibleFault');
});

const SECRETS = 'https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html';
test(`a secret under a customer’s key needs rights on the key too, through Secrets Manager (${SECRETS})`, async () => {
  const KmsKeyId = await key();
  await root.secrets.send(new CreateSecretCommand({ Name: 'kept', SecretString: 'x', KmsKeyId }));
  const read = new GetSecretValueCommand({ SecretId: 'kept' });
  const without = await user(allow('secretsmanager:*'));
  await assert.rejects(without.secrets.send(read), {
    name: 'AccessDeniedException',
    message: 'Access to KMS is not allowed',
  });
  await assert.rejects(
    without.secrets.send(new CreateSecretCommand({ Name: 'new', SecretString: 'x', KmsKeyId })),
    /Access to KMS is not allowed/,
  );
  const through = { StringEquals: { 'kms:ViaService': `secretsmanager.${REGION}.amazonaws.com` } };
  const caller = await user(allow('secretsmanager:*'), allow(['kms:Decrypt', 'kms:GenerateDataKey'], through));
  assert.equal((await caller.secrets.send(read)).SecretString, 'x');
  await caller.secrets.send(new CreateSecretCommand({ Name: 'new', SecretString: 'x', KmsKeyId }));
  const { CiphertextBlob } = await root.kms.send(encrypt(KmsKeyId));
  const direct = caller.kms.send(new DecryptCommand({ KeyId: KmsKeyId, CiphertextBlob: CiphertextBlob! }));
  assert.equal(await name(direct), 'AccessDeniedException');
});

const STATES = 'https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html';
test(`a disabled key makes its secrets unreadable until it is enabled again (${STATES})`, async () => {
  const KmsKeyId = await key();
  await root.secrets.send(new CreateSecretCommand({ Name: 'sleeping', SecretString: 'x', KmsKeyId }));
  await root.kms.send(new DisableKeyCommand({ KeyId: KmsKeyId }));
  const read = () => name(root.secrets.send(new GetSecretValueCommand({ SecretId: 'sleeping' })));
  assert.equal(await read(), 'DecryptionFailure');
  assert.equal(
    await name(root.secrets.send(new CreateSecretCommand({ Name: 'none', SecretString: 'x', KmsKeyId }))),
    'EncryptionFailure',
  );
  assert.equal(await name(root.kms.send(encrypt(KmsKeyId))), 'DisabledException');
  await root.kms.send(new EnableKeyCommand({ KeyId: KmsKeyId }));
  assert.equal(await read(), 'allowed');
});

const DELETION = 'https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html';
test(`a key is deleted 7 to 30 days later, and what it encrypted is lost (${DELETION})`, async () => {
  const KeyId = await key();
  await root.secrets.send(new CreateSecretCommand({ Name: 'lost', SecretString: 'x', KmsKeyId: KeyId }));
  const schedule = (PendingWindowInDays: number) =>
    root.kms.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays }));
  assert.equal(await name(schedule(6)), 'ValidationException');
  assert.equal((await schedule(7)).KeyState, 'PendingDeletion');
  assert.equal(await name(schedule(7)), 'KMSInvalidStateException');
  assert.equal(await name(root.kms.send(encrypt(KeyId))), 'KMSInvalidStateException');
  assert.equal(await name(root.kms.send(new DescribeKeyCommand({ KeyId }))), 'allowed');
  await rehearsal.skip(7 * 86_400 + 60);
  assert.equal(await name(root.kms.send(new DescribeKeyCommand({ KeyId }))), 'NotFoundException');
  assert.equal(await name(root.secrets.send(new GetSecretValueCommand({ SecretId: 'lost' }))), 'DecryptionFailure');
});

const PUT_POLICY = 'https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html';
test(`a key policy that would lock everybody out is refused (${PUT_POLICY})`, async () => {
  const KeyId = await key();
  const put = (Policy: string) => name(root.kms.send(new PutKeyPolicyCommand({ KeyId, Policy })));
  assert.equal(await put('no JSON'), 'MalformedPolicyDocumentException');
  const reads = { Effect: 'Allow', Principal: root_, Action: 'kms:DescribeKey', Resource: '*' };
  assert.equal(
    await put(JSON.stringify({ Version: '2012-10-17', Statement: [reads] })),
    'MalformedPolicyDocumentException',
  );
});

const STORE =
  'https://docs.aws.amazon.com/systems-manager/latest/userguide/secure-string-parameter-kms-encryption.html';
test(`a SecureString under a customer’s key needs rights on the key (${STORE})`, async () => {
  const KeyId = await key();
  const without = await user(allow('ssm:*'));
  const put = new PutParameterCommand({ Name: '/app/token', Value: 'x', Type: 'SecureString', KeyId });
  assert.equal(await name(without.ssm.send(put)), 'AccessDeniedException');
  const caller = await user(allow('ssm:*'), allow(['kms:Encrypt']));
  await caller.ssm.send(put);
  const read = (WithDecryption: boolean) => new GetParameterCommand({ Name: '/app/token', WithDecryption });
  assert.equal(await name(caller.ssm.send(read(true))), 'AccessDeniedException');
  assert.notEqual((await caller.ssm.send(read(false))).Parameter!.Value, 'x');
  assert.equal((await root.ssm.send(read(true))).Parameter!.Value, 'x');
});

const GET_RESOURCES = 'https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/supported-services.html';
test(`the tagging API finds keys, parameters and alarms by their tags (${GET_RESOURCES})`, async () => {
  const TagKey = 'found-by';
  const made = await root.kms.send(new CreateKeyCommand({ Tags: [{ TagKey, TagValue: 'tag' }] }));
  const Tags = [{ Key: TagKey, Value: 'tag' }];
  await root.ssm.send(new PutParameterCommand({ Name: '/tagged', Value: 'x', Type: 'String', Tags }));
  const form = new URLSearchParams({
    Action: 'PutMetricAlarm',
    Version: '2010-08-01',
    AlarmName: 'tagged',
    MetricName: 'CPUUtilization',
    Namespace: 'AWS/ECS',
    Statistic: 'Average',
    Period: '60',
    EvaluationPeriods: '1',
    Threshold: '1',
    ComparisonOperator: 'GreaterThanThreshold',
    'Tags.member.1.Key': TagKey,
    'Tags.member.1.Value': 'tag',
  });
  const scope = `${ACCOUNT}/20260101/${REGION}/monitoring/aws4_request`;
  const answer = await fetch(rehearsal.endpoint, {
    method: 'POST',
    headers: { authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0` },
    body: form,
  });
  assert.equal(answer.status, 200, await answer.text());
  const found = await root.tags.send(new GetResourcesCommand({ TagFilters: [{ Key: TagKey, Values: ['tag'] }] }));
  assert.deepEqual(
    found.ResourceTagMappingList!.map((one) => one.ResourceARN).sort(),
    [
      `arn:aws:cloudwatch:${REGION}:${ACCOUNT}:alarm:tagged`,
      made.KeyMetadata!.Arn,
      `arn:aws:ssm:${REGION}:${ACCOUNT}:parameter/tagged`,
    ].sort(),
  );
});
