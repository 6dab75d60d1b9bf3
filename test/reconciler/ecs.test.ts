import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Place } from '../../services/reconciler/place.ts';
import { connectionsPerTask, ecs, foundation } from '../../services/reconciler/platforms/ecs.ts';
import { RESERVED } from '../../services/reconciler/platforms/environment.ts';
import { kinds } from '../../services/reconciler/kinds/index.ts';
import type { EcsServiceInputs } from '../../services/reconciler/kinds/ecs-service.ts';
import type { TaskDefinitionInputs } from '../../services/reconciler/kinds/task-definition.ts';
import type { RdsPostgresInputs } from '../../services/reconciler/kinds/rds-postgres.ts';
import type { ServerSpec } from '../../services/reconciler/spec.ts';

const place: Place = {
  id: '4a6f0f0e-0000-4000-8000-000000000001',
  externalId: 'x',
  version: 1,
  accountId: '222222222222',
  region: 'us-east-1',
  partition: 'aws',
  prefix: 'freehold',
  roleArn: 'arn:aws:iam::222222222222:role/freehold-control-plane',
  vpcId: 'vpc-1',
  privateSubnetIds: ['subnet-b', 'subnet-a'],
  publicSubnetIds: [],
  clusterArn: 'arn:aws:ecs:us-east-1:222222222222:cluster/freehold',
  executionRoleArn: 'arn:aws:iam::222222222222:role/freehold-execution',
  taskRoleArn: 'arn:aws:iam::222222222222:role/freehold-task',
  loadBalancerArn: 'arn:aws:elasticloadbalancing:us-east-1:222222222222:loadbalancer/app/freehold/1',
  loadBalancerDnsName: 'internal-freehold-1.us-east-1.elb.amazonaws.com',
  listenerArn: 'arn:aws:elasticloadbalancing:us-east-1:222222222222:listener/app/freehold/1/2',
  loadBalancerSecurityGroupId: 'sg-balancer',
  scheme: 'http',
  namespaceId: 'ns-1',
  namespaceName: 'freehold.internal',
  databaseSubnetGroup: 'freehold',
  logGroupRoot: '/aws/ecs/freehold',
};

const V1 = '00000000-0000-4000-8000-0000000000a1';
const V2 = '00000000-0000-4000-8000-0000000000a2';
const spec: ServerSpec = {
  deployment: {
    id: '12345678-9abc-4def-8000-000000000000',
    name: 'agent',
    workspaceId: '99999999-0000-4000-8000-000000000000',
  },
  revision: { id: '11111111-0000-4000-8000-000000000000', number: 3 },
  type: 'dev',
  databaseTier: null,
  source: 'external_docker',
  references: [],
  agentAuth: { type: 'noop' },
  image: `222222222222.dkr.ecr.us-east-1.amazonaws.com/agent@sha256:${'a'.repeat(64)}`,
  resources: { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 1 },
  environment: [],
  retainedSecretVersions: [],
};
const variable = (name: string, versionId = V1) => ({ name, versionId });

/** The inputs of every node, as if everything it needs were ready: each output is named after its node. */
function inputsOf(
  given: Partial<ServerSpec> = {},
  at: Place = place,
  graph = ecs({ ...spec, ...given }, at),
): Record<string, unknown> {
  const outs = new Map<string, unknown>();
  const inputs: Record<string, unknown> = {};
  for (const node of graph.nodes) {
    assert.ok(kinds.get(node.kind.kind) === node.kind, `${node.kind.kind} is in the list of kinds`);
    outs.set(node.id, {
      arn: `arn(${node.id})`,
      id: `id(${node.id})`,
      name: `name(${node.id})`,
      identifier: `name(${node.id})`,
      resourceId: `db-(${node.id})`,
      version: V1,
      host: 'db.example',
      port: 5432,
      user: 'langgraph',
      databaseName: 'langgraph',
    });
    inputs[node.id] = node.inputs(
      Object.fromEntries(Object.entries(node.needs).map(([key, need]) => [key, outs.get(need.id)])),
    );
  }
  return inputs;
}
const task = (inputs: Record<string, unknown>) => (inputs['task-r3'] as TaskDefinitionInputs).container;

test('a Development server: its resources in an order in which they can be made', () => {
  assert.deepEqual(Object.keys(inputsOf({ environment: [variable('KEY')] })), [
    'environment',
    'service-group',
    'log-group',
    'database-group',
    'database',
    'database-uri',
    'redis-secret',
    'redis-group',
    'redis-discovery',
    'redis-task',
    'redis-service',
    'target-group',
    'listener-rule',
    'task-r3',
    'service',
    'scalable-target',
  ]);
});

test('the foundation: what takes long, exactly as the first revision wants it', () => {
  for (const given of [{}, { type: 'prod' }, { environment: [variable('POSTGRES_URI_CUSTOM')] }] as const) {
    const whole = inputsOf(given);
    const first = inputsOf(given, place, foundation({ ...spec, ...given }, place));
    for (const [id, inputs] of Object.entries(first)) assert.deepEqual(inputs, whole[id], id);
    assert.deepEqual(Object.keys(first), Object.keys(whole).slice(0, Object.keys(first).length), 'in the same order');
  }
  assert.deepEqual(Object.keys(inputsOf({}, place, foundation(spec, place))), [
    'service-group',
    'log-group',
    'database-group',
    'database',
    'database-uri',
  ]);
});

test('a deployment whose images are pushed for it has a repository of its own, from the first day', () => {
  const name = 'freehold/agent-123456789abc';
  const pushed = { ...spec, source: 'internal_docker' };
  for (const graph of [foundation(pushed, place), ecs(pushed, place)])
    assert.deepEqual(inputsOf({}, place, graph)['repository'], { name });
  assert.equal('repository' in inputsOf({ source: 'internal_source' }), false);
});

const reference = (name: string, key: string | null) => ({
  name,
  arn: 'arn:aws:secretsmanager:us-east-1:222222222222:secret:theirs-AbCdEf',
  key,
});

test("a secret of the customer's own: a key of it, or the whole, as it is when a task starts", () => {
  const { secrets, environment } = task(
    inputsOf({ references: [reference('TOKEN', 'token'), reference('N_JOBS_PER_WORKER', null)] }),
  );
  assert.equal(secrets['TOKEN'], `${reference('', '').arn}:token::`);
  assert.equal(secrets['N_JOBS_PER_WORKER'], reference('', '').arn);
  assert.equal('N_JOBS_PER_WORKER' in environment, false, 'ECS takes no name twice');
});

test("a user's own database and Redis, as secrets of the customer's own", () => {
  const inputs = inputsOf({
    references: [reference('POSTGRES_URI_CUSTOM', 'uri'), reference('REDIS_URI_CUSTOM', null)],
  });
  assert.deepEqual(
    Object.keys(inputs).filter((id) => /^(database|redis|environment)/.test(id)),
    [],
  );
  const { secrets } = task(inputs);
  assert.equal(secrets['DATABASE_URI'], `${reference('', '').arn}:uri::`);
  assert.equal(secrets['REDIS_URI'], reference('', '').arn);
});

test('without variables there is no secret for them', () => {
  assert.equal('environment' in inputsOf(), false);
});

test("a user's own database and Redis replace ours, and stand under the names that the server reads", () => {
  const inputs = inputsOf({ environment: [variable('POSTGRES_URI_CUSTOM'), variable('REDIS_URI_CUSTOM', V2)] });
  assert.deepEqual(
    Object.keys(inputs).filter((id) => /^(database|redis)/.test(id)),
    [],
  );
  const { secrets, environment } = task(inputs);
  assert.equal(secrets['DATABASE_URI'], `arn(environment):POSTGRES_URI_CUSTOM::${V1}`);
  assert.equal(secrets['POSTGRES_URI_CUSTOM'], secrets['DATABASE_URI']);
  assert.equal(secrets['REDIS_URI'], `arn(environment):REDIS_URI_CUSTOM::${V2}`);
  assert.equal('LANGGRAPH_POSTGRES_POOL_MAX_SIZE' in environment, false, 'we do not know their database');
});

test("the container has what was asked, the task Fargate's next size", () => {
  const inputs = inputsOf();
  assert.deepEqual((inputs['task-r3'] as TaskDefinitionInputs).size, { cpu: 1024, memoryMb: 2048 });
  assert.deepEqual([task(inputs).cpu, task(inputs).memoryMb], [1024, 1024]);
});

test('each value comes from the version of the secret that it was given in', () => {
  const { secrets } = task(inputsOf({ environment: [variable('OLD', V1), variable('NEW', V2)] }));
  assert.deepEqual(secrets, {
    OLD: `arn(environment):OLD::${V1}`,
    NEW: `arn(environment):NEW::${V2}`,
    DATABASE_URI: `arn(database-uri):::${V1}`,
    REDIS_URI: 'arn(redis-secret):uri::',
  });
});

test('the environment of a server behind a path, and behind a host name', () => {
  assert.deepEqual(task(inputsOf()).environment, {
    PORT: '8000',
    MOUNT_PREFIX: '/agent-123456789abc',
    LANGGRAPH_AUTH_TYPE: 'noop',
    LANGSMITH_DEPLOYMENT_NAME: 'agent',
    LANGSMITH_HOST_PROJECT_ID: spec.deployment.id,
    LANGSMITH_HOST_PROJECT_NAME: 'agent',
    LANGSMITH_HOST_REVISION_ID: spec.revision.id,
    LANGSMITH_PROJECT: 'agent',
    LANGSMITH_TENANT_ID: spec.deployment.workspaceId,
    LSD_DEPLOYMENT_TYPE: 'dev',
    LOG_JSON: 'true',
    N_JOBS_PER_WORKER: '10',
    BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS: '110',
    LANGGRAPH_POSTGRES_POOL_MAX_SIZE: '38',
  });
  const byHost = inputsOf({}, { ...place, domain: 'agents.example.com' });
  assert.equal('MOUNT_PREFIX' in task(byHost).environment, false);
  assert.deepEqual((byHost['listener-rule'] as { match: unknown }).match, {
    host: 'agent-123456789abc.agents.example.com',
  });
});

test("callers' keys are checked where the revision says", () => {
  const endpoint = 'https://freehold.example.com';
  const { environment } = task(inputsOf({ agentAuth: { type: 'langsmith', endpoint } }));
  const set = Object.entries(environment).filter(([name]) => /AUTH|TENANT/.test(name));
  assert.deepEqual(Object.fromEntries(set), {
    LANGGRAPH_AUTH_TYPE: 'langsmith',
    LANGSMITH_AUTH_ENDPOINT: endpoint,
    LANGSMITH_AUTH_VERIFY_TENANT_ID: 'true',
    LANGSMITH_TENANT_ID: spec.deployment.workspaceId,
  });
  for (const [name] of set) assert.ok(RESERVED.includes(name), `${name} is not the user's to set`);
});

test('a variable of the user replaces a default of ours; ECS takes no name twice', () => {
  const { environment, secrets } = task(inputsOf({ environment: [variable('N_JOBS_PER_WORKER')] }));
  assert.equal('N_JOBS_PER_WORKER' in environment, false);
  assert.ok('N_JOBS_PER_WORKER' in secrets);
});

test('runs that the user sends to endpoints of their own are traced, unless the user says otherwise', () => {
  const runs = variable('LANGSMITH_RUNS_ENDPOINTS');
  assert.equal(task(inputsOf({ environment: [runs] })).environment['LANGSMITH_TRACING'], 'true');
  assert.equal('LANGSMITH_TRACING' in task(inputsOf()).environment, false);
  const both = task(inputsOf({ environment: [runs, variable('LANGSMITH_TRACING')] }));
  assert.equal('LANGSMITH_TRACING' in both.environment, false);
  assert.ok('LANGSMITH_TRACING' in both.secrets);
});

test('names that cut a server off from the platform are reserved; those that bring a database or Redis are not', () => {
  const set = Object.keys(task(inputsOf()).environment);
  const settable = [
    'BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS',
    'LANGGRAPH_POSTGRES_POOL_MAX_SIZE',
    'LSD_DEPLOYMENT_TYPE',
    'N_JOBS_PER_WORKER',
  ];
  assert.deepEqual(set.filter((name) => !RESERVED.includes(name)).sort(), settable);
  for (const name of ['DATABASE_URI', 'REDIS_URI', 'POSTGRES_URI', 'LANGGRAPH_CLOUD_LICENSE_KEY'])
    assert.ok(RESERVED.includes(name));
  for (const name of ['POSTGRES_URI_CUSTOM', 'REDIS_URI_CUSTOM', 'LANGSMITH_API_KEY', 'LANGSMITH_RUNS_ENDPOINTS'])
    assert.ok(!RESERVED.includes(name));
});

test('only the balancer reaches the server, only the server its database and its Redis, each on one port', () => {
  const inputs = inputsOf() as Record<string, { ingress: unknown }>;
  assert.deepEqual(inputs['service-group']!.ingress, [{ port: 8000, fromGroup: 'sg-balancer' }]);
  assert.deepEqual(inputs['database-group']!.ingress, [{ port: 5432, fromGroup: 'id(service-group)' }]);
  assert.deepEqual(inputs['redis-group']!.ingress, [{ port: 6379, fromGroup: 'id(service-group)' }]);
});

test('Production keeps what is lost otherwise: backups, a second zone, protection', () => {
  const { multiAz, backupDays, protected: safe } = inputsOf({ type: 'prod' })['database'] as RdsPostgresInputs;
  assert.deepEqual({ multiAz, backupDays, safe }, { multiAz: true, backupDays: 7, safe: true });
});

for (const [databaseTier, type, wanted, connections] of [
  [null, 'dev', 'db.t4g.micro', '38'],
  [null, 'prod', 'db.m7g.large', '333'],
  ['DEDICATED_S', 'prod', 'db.t4g.medium', '164'],
  ['DEDICATED_M', 'dev', 'db.m7g.large', '333'],
  ['DEDICATED_L', 'prod', 'db.m7g.2xlarge', '1347'],
] as const)
  test(`database tier ${databaseTier} of ${type}: ${wanted}, and the connections that each task may take`, () => {
    const inputs = inputsOf({ databaseTier, type });
    const database = inputs['database'] as RdsPostgresInputs;
    assert.equal(database.class, wanted);
    assert.equal(database.multiAz, type === 'prod', 'the type alone says how safe it is');
    assert.equal(task(inputs).environment['LANGGRAPH_POSTGRES_POOL_MAX_SIZE'], connections);
  });

test('a second revision touches the task definition, the service and nothing else', () => {
  const before = inputsOf({ environment: [variable('KEY', V1)] });
  const after = inputsOf({
    revision: { id: '22222222-0000-4000-8000-000000000000', number: 4 },
    image: `${spec.image.slice(0, -1)}b`,
    environment: [variable('KEY', V2)],
    retainedSecretVersions: [V1],
  });
  const differ = Object.keys(after).filter((id) => JSON.stringify(after[id]) !== JSON.stringify(before[id]));
  assert.deepEqual(differ, ['environment', 'task-r4', 'service']);
  const { family } = after['task-r4'] as TaskDefinitionInputs;
  assert.notEqual(family, (before['task-r3'] as TaskDefinitionInputs).family);
});

test('the numbers of what happens when a task stops fit together', () => {
  const inputs = inputsOf() as { 'target-group': { drainSeconds: number }; service: EcsServiceInputs } & Record<
    string,
    unknown
  >;
  const { stopSeconds, environment } = task(inputs);
  const grace = Number(environment['BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS']);
  assert.ok(stopSeconds <= 120, "Fargate's most");
  assert.ok(grace < stopSeconds, 'runs have ended before the task is killed');
  assert.ok(inputs['target-group'].drainSeconds <= stopSeconds);
  assert.equal(inputs.service.minHealthy, 100, 'a new task is healthy before an old one goes');
});

for (const [memoryGb, maxScale] of [
  [1, 1],
  [1, 3],
  [8, 10],
  [4, 1],
] as const) {
  test(`${maxScale} replicas, and twice as many during a rollout, fit into a database with ${memoryGb} GB`, () => {
    const perTask = connectionsPerTask(memoryGb, maxScale);
    assert.ok(perTask >= 2);
    assert.ok(perTask * 2 * maxScale < (memoryGb * 1024 ** 3) / 9_531_392);
  });
}

test('a task role of the customer’s own is the agent’s, and its Redis has the place’s', () => {
  const own = 'arn:aws:iam::222222222222:role/freehold-task-reader';
  const inputs = inputsOf({ taskRole: own }) as Record<string, TaskDefinitionInputs>;
  assert.deepEqual([inputs['task-r3']!.taskRoleArn, inputs['redis-task']!.taskRoleArn], [own, place.taskRoleArn]);
});
