/**
 * The role's permissions against what is done with them, both ways: a whole life of deployments is played in a
 * customer's account, and nothing that the control plane calls is refused, and no permission is there that nothing
 * needed. A permission is an action in one statement of the role's policies.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { ApplicationAutoScalingClient, RegisterScalableTargetCommand } from '@aws-sdk/client-application-auto-scaling';
import { CloudWatchLogsClient, PutRetentionPolicyCommand } from '@aws-sdk/client-cloudwatch-logs';
import { AuthorizeSecurityGroupIngressCommand, DescribeSecurityGroupsCommand, EC2Client } from '@aws-sdk/client-ec2';
import { ECSClient, UpdateServiceCommand } from '@aws-sdk/client-ecs';
import {
  DescribeRulesCommand,
  DescribeTargetGroupsCommand,
  ElasticLoadBalancingV2Client,
  ModifyRuleCommand,
  ModifyTargetGroupAttributesCommand,
  ModifyTargetGroupCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { DeleteDBInstanceCommand, ModifyDBInstanceCommand, RDSClient } from '@aws-sdk/client-rds';
import {
  CreateSecretCommand,
  DeleteSecretCommand,
  DescribeSecretCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager';
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { setTimeout as sleep } from 'node:timers/promises';
import { shortId } from '../../services/reconciler/aws/names.ts';
import { grants, scopeOf } from '../../services/reconciler/aws/grants.ts';
import { actorOf, count, isRefusal, permissions } from '../../services/rehearsal/report.ts';
import { CONTROL_PLANE_ACCOUNT } from '../../services/rehearsal/scene.ts';
import { eventually } from '../support/eventually.ts';
import { push } from '../support/push.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import { publishedStack } from '../support/stack.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '372000000001';
/** Not played here: undoing what has never served, which test/e2e/gate.test.ts plays. */
const UNPLAYED = /freehold:provisioning/;
let on: stage.Stage;
let at: ReturnType<typeof stage.customerClient>;
let main: Json;
let lost: Json;
const named = (one: Json): string => `freehold-${shortId(one.id)}`;

before(async () => {
  const env = { FREEHOLD_POLL_SECONDS: '0.2', FREEHOLD_SWEEP_SECONDS: '3', FREEHOLD_RETENTION_HOURS: '24' };
  on = await stage.open('permissions', [ACCOUNT], env, publishedStack, openQuickRehearsal);
  at = stage.customerClient(on.rehearsal, ACCOUNT);
  const Tags = [{ Key: 'freehold:inject', Value: 'freehold' }];
  await new SecretsManagerClient(at).send(
    new CreateSecretCommand({ Name: 'theirs', SecretString: '{"key":"value"}', Tags }),
  );
});
after(() => on?.close());

const seen = (what: string, id: string, isSo: (now: Json) => boolean): Promise<Json> =>
  eventually(
    what,
    async () => {
      const now = await on.api.call('GET', `/v2/deployments/${id}`);
      return isSo(now) ? now : Promise.reject(new Error(JSON.stringify([now.status, now.status_message, now.alarm])));
    },
    { seconds: 90, every: 300 },
  );
const isWell = ({ status, status_message, alarm }: Json): boolean =>
  status === 'READY' && status_message === null && alarm === null;
const rolled = (id: string, body: Json): Promise<string> => stage.newRevision(on.api, id, body);
const image = async (tag: string, env: Record<string, string> = {}): Promise<Json> => ({
  source_revision_config: { image_uri: await on.push(ACCOUNT, tag, 'stub', env) },
});

test('created, with what another deployment and the customer keep for it', async () => {
  const own = { secrets: [{ name: 'TOKEN', value: 'first' }] };
  const [one, other] = await Promise.all([
    on.api.call('POST', '/v2/deployments', {
      name: 'main',
      source: 'external_docker',
      source_config: { deployment_type: 'prod' },
      ...(await image('1')),
      ...own,
      secret_references: [{ name: 'REFERRED', secret_name: 'theirs', secret_key: 'key' }],
    }),
    on.api.call('POST', '/v2/deployments', {
      name: 'lost',
      source: 'external_docker',
      source_config: { deployment_type: 'dev' },
      ...(await image('1')),
      ...own,
    }),
  ]);
  [main, lost] = [one, other];
  for (const made of [main, lost]) await stage.deployed(on.api, made.id, made.latest_revision_id);
});

test('rolled, refused, interrupted and gone back from; planned; its logs read', async () => {
  const { id, latest_revision_id: first } = main;
  await on.api.call('POST', `/v2/deployments/${id}/plan`, await image('2'));
  const size = { source_config: { resource_spec: { cpu: 1, memory_mb: 2048, min_scale: 1, max_scale: 7 } } };
  await stage.deployed(
    on.api,
    id,
    await rolled(id, { ...(await image('2')), ...size, secrets: [{ name: 'TOKEN', value: 'second' }] }),
  );
  const broken = await stage.ended(on.api, id, await rolled(id, await image('3', { CRASH: 'start' })));
  assert.equal(broken.status, 'DEPLOY_FAILED');
  const ill = await stage.ended(on.api, id, await rolled(id, await image('4', { UNHEALTHY: '1' })));
  assert.match(ill.status_message, /the health check failed/);
  const slow = await rolled(id, await image('5', { START_MS: '600000' }));
  await eventually('it is being rolled out', async () => {
    const { status } = await on.api.call('GET', `/v2/deployments/${id}/revisions/${slow}`);
    return status === 'DEPLOYING';
  });
  await on.api.call('POST', `/v2/deployments/${id}/revisions/${slow}/interrupt`);
  await stage.ended(on.api, id, slow);
  await on.api.call('POST', `/v2/deployments/${id}/revisions/${first}/redeploy`);
  const { latest_revision_id: again } = await on.api.call('GET', `/v2/deployments/${id}`);
  await stage.deployed(on.api, id, again);
  await on.api.call('POST', `/v1/projects/${id}/deploy_logs`, {});
});

test('held while the customer has the brake on, and it says since when', async () => {
  const ssm = new SSMClient(at);
  const Name = on.places[ACCOUNT]!.outputs.brakeParameter;
  await ssm.send(new PutParameterCommand({ Name, Value: 'read-only', Overwrite: true }));
  await sleep(16_000); // as long as the last answer is believed
  const held = await rolled(main.id, await image('6'));
  await eventually(
    'it has asked since when',
    async () => (await on.rehearsal.calls()).some(({ action }) => action === 'GetParameterHistory'),
    { seconds: 60, every: 500 },
  );
  await ssm.send(new PutParameterCommand({ Name, Value: 'run', Overwrite: true }));
  await stage.deployed(on.api, main.id, held);
});

test('source code is uploaded, and an image is pushed', async () => {
  const own = { secrets: [{ name: 'POSTGRES_URI_CUSTOM', value: 'postgresql://user:password@db.example.com/agent' }] };
  const create = (name: string, source: string): Promise<Json> =>
    on.api.call('POST', '/v2/deployments', {
      name,
      source,
      source_config: { deployment_type: 'dev' },
      source_revision_config: {},
      ...own,
    });
  const source = await create('from-source', 'internal_source');
  const { upload_url: url, object_path: path } = await on.api.call('POST', `/v2/deployments/${source.id}/upload-url`);
  const headers = { 'Content-Type': 'application/gzip', 'X-Goog-Content-Length-Range': '0,209715200' };
  assert.equal((await fetch(url, { method: 'PUT', body: gzipSync('archive'), headers })).status, 200);
  const config = { source_tarball_path: path, langgraph_config_path: 'langgraph.json' };
  const build = { revision_source: 'internal_source', source_revision_config: config };
  await stage.ended(on.api, source.id, await rolled(source.id, build));

  const { id } = await create('from-docker', 'internal_docker');
  const given = await on.api.call('POST', `/v2/deployments/${id}/push-token`, { supports_registry_username: true });
  const { username, token: password, repository_url: repository } = given;
  await push(on.rehearsal, { repository, tag: 'latest', username, password, image: 'stub' });
  const pushed = {
    revision_source: 'internal_docker',
    source_revision_config: { image_uri: `${repository}:latest` },
  };
  await stage.deployed(on.api, id, await rolled(id, pushed));
  for (const each of [source.id, id]) {
    await on.api.call('DELETE', `/v2/deployments/${each}`);
    await stage.gone(on.api, each);
  }
});

test('what others change is repaired, whatever it is', async () => {
  const { id } = main;
  const name = named(main);
  await seen('all is well', id, isWell);
  const elb = new ElasticLoadBalancingV2Client(at);
  const ec2 = new EC2Client(at);
  const { listenerArn: ListenerArn, vpcId } = on.places[ACCOUNT]!.outputs;
  const { Rules } = await elb.send(new DescribeRulesCommand({ ListenerArn }));
  const { TargetGroups } = await elb.send(new DescribeTargetGroupsCommand({}));
  const { TargetGroupArn } = TargetGroups!.find((each) => each.TargetGroupName!.startsWith(name))!;
  const isIts = ({ Actions }: { Actions?: { TargetGroupArn?: string }[] }): boolean =>
    JSON.stringify(Actions).includes(TargetGroupArn!);
  const { RuleArn } = Rules!.find(isIts)!;
  const { SecurityGroups } = await ec2.send(
    new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'vpc-id', Values: [vpcId] }] }),
  );
  const { GroupId } = SecurityGroups!.find((group) => group.GroupName === `${name}-service`)!;
  const IpPermissions = [{ IpProtocol: 'tcp', FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: '10.0.0.0/8' }] }];
  await Promise.all([
    new CloudWatchLogsClient(at).send(
      new PutRetentionPolicyCommand({ logGroupName: `/aws/ecs/freehold/main-${shortId(id)}`, retentionInDays: 1 }),
    ),
    new ECSClient(at).send(
      new UpdateServiceCommand({ cluster: 'freehold', service: name, healthCheckGracePeriodSeconds: 1 }),
    ),
    ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions })),
    elb.send(
      new ModifyRuleCommand({
        RuleArn,
        Conditions: [{ Field: 'path-pattern', PathPatternConfig: { Values: ['/elsewhere/*'] } }],
      }),
    ),
    elb.send(new ModifyTargetGroupCommand({ TargetGroupArn, HealthCheckPath: '/elsewhere' })),
    elb.send(
      new ModifyTargetGroupAttributesCommand({
        TargetGroupArn,
        Attributes: [{ Key: 'deregistration_delay.timeout_seconds', Value: '7' }],
      }),
    ),
    new ApplicationAutoScalingClient(at).send(
      new RegisterScalableTargetCommand({
        ServiceNamespace: 'ecs',
        ScalableDimension: 'ecs:service:DesiredCount',
        ResourceId: `service/freehold/${name}`,
        MaxCapacity: 9,
      }),
    ),
    new RDSClient(at).send(
      new ModifyDBInstanceCommand({ DBInstanceIdentifier: name, CopyTagsToSnapshot: false, ApplyImmediately: true }),
    ),
  ]);
  const secrets = new SecretsManagerClient(at);
  const SecretId = `freehold/${id}/environment`;
  const labels = async (): Promise<[version: string, label: string][]> => {
    const { VersionIdsToStages } = await secrets.send(new DescribeSecretCommand({ SecretId }));
    return Object.entries(VersionIdsToStages!).flatMap(([version, stages]) =>
      stages.filter((stage) => stage.startsWith('freehold-')).map((stage): [string, string] => [version, stage]),
    );
  };
  // Of the version that serves: with its label gone, AWS would delete it in time.
  const before = await labels();
  for (const [RemoveFromVersionId, VersionStage] of before)
    await secrets.send(new UpdateSecretVersionStageCommand({ SecretId, VersionStage, RemoveFromVersionId }));
  const resources = ['log-group', 'service', 'rule', 'target-group', 'scaling', 'database', 'security-group'];
  await eventually(
    'all of it is repaired',
    async () => {
      const drifts = (await on.api.call('GET', `/v2/deployments/${id}/drift?limit=100`)).resources;
      const repaired = new Set(
        drifts.filter((each: Json) => each.resolution === 'repaired').map((each: Json) => each.resource),
      );
      return repaired.size >= resources.length || Promise.reject(new Error(JSON.stringify([...repaired])));
    },
    { seconds: 90, every: 500 },
  );
  await eventually('a label is back', async () => (await labels()).length > 0, { seconds: 60, every: 300 });
  await seen('all is well', id, isWell);
});

test('values that somebody deleted are given again; a database that somebody deleted is missed', async () => {
  const SecretId = `freehold/${main.id}/environment`;
  await new SecretsManagerClient(at).send(new DeleteSecretCommand({ SecretId, RecoveryWindowInDays: 7 }));
  await seen('the values are missed', main.id, (now) => now.alarm?.name === 'SECRET_VALUES_LOST');
  const revision = await rolled(main.id, { secrets: [{ name: 'TOKEN', value: 'third' }] });
  await stage.deployed(on.api, main.id, revision);
  await new RDSClient(at).send(
    new DeleteDBInstanceCommand({ DBInstanceIdentifier: named(lost), FinalDBSnapshotIdentifier: 'by-hand' }),
  );
  await seen('the database is missed', lost.id, (now) => /"by-hand"/.test(now.alarm?.what_to_do ?? ''));
});

test('deleted, and the place is left without a trace', async () => {
  const listener = on.places[ACCOUNT]!.id;
  const confirm = `permissions-${ACCOUNT}`;
  await on.api.call('POST', `/v2/listeners/${listener}/offboard`, { confirm, skip_retention: true });
  await eventually(
    'the account is clean',
    async () => {
      const now = await on.api.call('GET', `/v2/listeners/${listener}/offboard`);
      return now.state === 'CLEAN' || Promise.reject(new Error(JSON.stringify(now)));
    },
    { seconds: 120, every: 500 },
  );
});

test('no call was refused, and each that was allowed is one of a grant', async () => {
  const cast = { customer: ACCOUNT, vendor: CONTROL_PLANE_ACCOUNT };
  const calls = (await on.rehearsal.calls()).filter((call) => actorOf(call, cast) === 'control plane');
  const refused = calls.filter((call) => isRefusal(call) && call.action !== 'AssumeRole');
  assert.deepEqual(
    refused.map(({ service, action, resource, why }) => `${service}:${action} ${resource}: ${why}`),
    [],
  );
  const { outputs } = on.places[ACCOUNT]!;
  const role = outputs.roleArn.split('/').at(-1)!;
  const all = permissions(await on.rehearsal.policiesOf(ACCOUNT, role), grants(scopeOf(outputs)));
  assert.deepEqual(
    all.filter(({ why }) => why === '').map(({ id }) => id),
    [],
  );
  count(all, calls);
  const unused = all
    .filter(({ effect }) => effect === 'Allow')
    .flatMap(({ unused: never, conditions, resources }) =>
      never.map((action) => ({ action, conditions: JSON.stringify(conditions), resources: resources.join(' ') })),
    );
  assert.deepEqual(
    unused.filter(({ conditions }) => !UNPLAYED.test(conditions)),
    [],
  );
});
