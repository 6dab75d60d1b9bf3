/** The main job, end to end, with real LangGraph Servers on their own databases, in two customers' accounts. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DescribeServicesCommand, ECSClient, ListServicesCommand, UpdateServiceCommand } from '@aws-sdk/client-ecs';
import { DescribeDBInstancesCommand, RDSClient } from '@aws-sdk/client-rds';
import { ListSecretsCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import pg from 'pg';
import { cdkDeploy, cdkDestroy, type ControlPlane } from '../../services/rehearsal/scene.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const [FIRST, SECOND] = ['410000000001', '410000000002'] as const;
let on: stage.Stage;
let rehearsal: Rehearsal;
let api: ControlPlane;
const deployments: Record<string, Json> = {};
const push = (account: string, tag: string, env: Record<string, string> = {}): Promise<string> =>
  on.push(account, tag, 'langgraph-server', env);

before(async () => {
  on = await stage.open('main-job', [FIRST, SECOND], { FREEHOLD_SWEEP_SECONDS: '5' }, cdkDeploy);
  ({ rehearsal, api } = on);
});

after(() => on?.close());

test('two customers each get a server that answers, on their own database', async () => {
  for (const account of [FIRST, SECOND])
    deployments[account] = await stage.createDeployment(api, {
      name: `agent-${account}`,
      image: await push(account, '1'),
      listenerId: on.places[account]!.id,
      secrets: [{ name: 'GREETING', value: `hello ${account}` }],
    });
  for (const account of [FIRST, SECOND]) {
    const made = deployments[account];
    await stage.deployed(api, made.id, made.latest_revision_id);
    deployments[account] = await api.call('GET', `/v2/deployments/${made.id}`);
    assert.equal(deployments[account].status, 'READY');
    assert.equal(deployments[account].active_revision_id, made.latest_revision_id);
    const info = await stage.json(await rehearsal.fetch(`${deployments[account].url}/info`));
    assert.match(JSON.stringify(info), new RegExp(made.latest_revision_id));
  }
});

test("a thread is found by SQL in its own customer's database, and in no other", async () => {
  const thread = await stage.json(await rehearsal.fetch(`${deployments[FIRST].url}/threads`, stage.post({})));
  const wait = `${deployments[FIRST].url}/threads/${thread.thread_id}/runs/wait`;
  const state = await stage.json(
    await rehearsal.fetch(wait, stage.post({ assistant_id: 'echo', input: { text: 'hi' } })),
  );
  assert.match(JSON.stringify(state), /hi/);

  const rowsIn = async (account: string): Promise<number> => {
    const client = new pg.Client({
      connectionString: (await uriOf(account)).replace(/\?.*$/, ''),
      ssl: { rejectUnauthorized: false },
    });
    await client.connect();
    try {
      const { rows } = await client.query('select count(*)::int as n from threads where thread_id::text = $1', [
        thread.thread_id,
      ]);
      return rows[0].n;
    } finally {
      await client.end();
    }
  };
  assert.equal(await rowsIn(FIRST), 1);
  assert.equal(await rowsIn(SECOND), 0);
});

async function uriOf(account: string): Promise<string> {
  const secrets = new SecretsManagerClient(stage.customerClient(rehearsal, account));
  const { SecretList = [] } = await secrets.send(new ListSecretsCommand({}));
  const tagged = (key: string, value: string) => (secret: (typeof SecretList)[number]) =>
    secret.Tags?.some((tag) => tag.Key === key && tag.Value === value) === true;
  const secret = SecretList.filter(tagged('freehold:deployment', deployments[account].id)).find(
    tagged('freehold:resource', 'database-uri'),
  );
  assert(secret?.ARN, `no database-uri secret in ${account}`);
  return stage.databaseUri(rehearsal, account, secret.ARN);
}

test('stopping its Redis makes the server fail, and the sweep starts it again', async () => {
  const ecs = new ECSClient(stage.customerClient(rehearsal, FIRST));
  const cluster = on.places[FIRST]!.outputs.clusterArn;
  const { serviceArns = [] } = await ecs.send(new ListServicesCommand({ cluster }));
  const service = serviceArns.find((arn) => arn.endsWith('-redis'));
  assert(service, serviceArns.join());
  const { url } = deployments[FIRST];

  await ecs.send(new UpdateServiceCommand({ cluster, service, desiredCount: 0 }));
  await eventually(
    'Redis is stopped',
    async () => {
      const { services } = await ecs.send(new DescribeServicesCommand({ cluster, services: [service] }));
      return services?.[0]?.runningCount === 0;
    },
    { seconds: 20, every: 200 },
  );
  await assert.rejects(stage.run(rehearsal, url, 'echo', { text: 'no redis' }, AbortSignal.timeout(3000)));

  await eventually(
    'the run works again',
    () => stage.run(rehearsal, url, 'echo', { text: 'again' }, AbortSignal.timeout(5000)),
    { seconds: 60, every: 200 },
  );
});

for (const [title, env] of [
  ['a second revision replaces the first under load without a failed request', {}],
  // With its imports longer than the failed checks that end a task, and within the grace period.
  ['so does one whose task takes long to become healthy', { STARTUP_DELAY_SECONDS: '2' }],
] as const)
  test(title, async () => {
    const { id, url } = deployments[FIRST];
    const image = await push(FIRST, `roll-${Object.keys(env).length}`, env);
    await using traffic = stage.load(rehearsal, url);
    const inFlight = stage.run(rehearsal, url, 'slow', { seconds: 8 });
    // Nobody waits for this one: it is in the queue of a server that will be stopped.
    const thread = await stage.json(await rehearsal.fetch(`${url}/threads`, stage.post({})));
    const runs = `${url}/threads/${thread.thread_id}/runs`;
    const background = await stage.json(
      await rehearsal.fetch(runs, stage.post({ assistant_id: 'slow', input: { seconds: 15 } })),
    );

    const revision = await stage.newRevision(api, id, { source_revision_config: { image_uri: image } });
    await stage.deployed(api, id, revision);
    await eventually(
      'the old tasks have gone',
      async () => {
        const ecs = new ECSClient(stage.customerClient(rehearsal, FIRST));
        const cluster = on.places[FIRST]!.outputs.clusterArn;
        const { serviceArns = [] } = await ecs.send(new ListServicesCommand({ cluster }));
        const { services = [] } = await ecs.send(new DescribeServicesCommand({ cluster, services: serviceArns }));
        return services.every(
          (service) => service.deployments?.length === 1 && service.runningCount === service.desiredCount,
        );
      },
      { seconds: 60, every: 200 },
    );
    await sleep(500);
    const { requests, failures, revisions } = await traffic.stop();
    assert.deepEqual(failures, []);
    assert(requests > 60, `${requests} requests`);
    assert(
      [...revisions].some((seen) => seen.includes(revision)),
      `/info showed ${[...revisions].join(', ')}`,
    );
    assert.match(JSON.stringify(await inFlight), /slow:8/);
    const finished = await eventually(
      'the background run ends',
      async () => {
        const seen = await stage.json(await rehearsal.fetch(`${runs}/${background.run_id}`));
        return !['pending', 'running'].includes(seen.status) && seen;
      },
      { seconds: 60, every: 200 },
    );
    assert.equal(finished.status, 'success');
    const last = await stage.json(await rehearsal.fetch(`${url}/info`));
    assert.match(JSON.stringify(last), new RegExp(revision));
  });

test('a revision leaves the database and the redis alone, and does just what was planned', async () => {
  const { id } = deployments[SECOND];
  const path = `/v2/deployments/${id}`;
  const given = { secrets: [{ name: 'GREETING', value: 'changed' }] };
  let seen = (await rehearsal.calls()).at(-1)?.n ?? 0;
  const writes = async (): Promise<string[]> =>
    (await rehearsal.calls(seen))
      .filter(
        (call) =>
          call.account === SECOND &&
          /control-plane/.test(call.principal) &&
          !/^(CreateLogStream|PutLogEvents)$/.test(call.action) && // the copy of the audit log
          /^(Create|Modify|Register|Update|Put|Delete|Deregister|Authorize)/.test(call.action),
      )
      .map((call) => `${call.service}:${call.action}`);
  const plan = await api.call('POST', `${path}/plan`, given);
  assert.deepEqual(await writes(), [], 'a plan writes nothing');
  assert.deepEqual(plan.obstacles, []);
  assert.deepEqual(
    plan.changes.map(({ resource, action }: Json) => `${action} ${resource}`),
    ['change environment', 'create task-r2', 'restart service', 'remove task-r1'],
  );

  seen = (await rehearsal.calls()).at(-1)?.n ?? 0;
  const { latest_revision_id: revision } = await api.call('PATCH', `${path}?plan=${plan.hash}`, given);
  await stage.deployed(api, id, revision);
  const made = await eventually('what the revision replaced is gone', async () => {
    const all = await writes();
    return all.includes('ecs:DeregisterTaskDefinition') && all;
  });
  assert.deepEqual(made.toSorted(), [
    'ecs:DeregisterTaskDefinition',
    'ecs:RegisterTaskDefinition',
    'ecs:UpdateService',
    'secretsmanager:PutSecretValue',
  ]);
  assert.equal(made.length, plan.aws_calls.writes);
  const nothing = await api.call('POST', `${path}/plan`);
  assert.deepEqual([nothing.changes, nothing.obstacles, nothing.aws_calls.writes], [[], [], 0]);
});

test('a secret that the server prints with its last words is in no message, no event and no log of ours', async () => {
  const { id } = deployments[SECOND];
  const canary = `CANARY-${randomBytes(8).toString('hex')}`;
  // Of a wrong length: the server refuses to start, and says with which value.
  const revision = await stage.newRevision(api, id, { secrets: [{ name: 'LANGGRAPH_AES_KEY', value: canary }] });
  const failed = await stage.ended(api, id, revision);
  assert.equal(failed.status, 'DEPLOY_FAILED');
  assert.match(failed.status_message, /LANGGRAPH_AES_KEY/);
  const timeline = await api.call('GET', `/v2/deployments/${id}/timeline`);
  for (const seen of [JSON.stringify(failed), JSON.stringify(timeline), readFileSync(api.log, 'utf8')])
    assert(!seen.includes(canary), seen.slice(Math.max(0, seen.indexOf(canary) - 300), seen.indexOf(canary) + 100));
});

test('delete leaves nothing but the listed remainders, and the stack can then be destroyed', async () => {
  const { id } = deployments[FIRST];
  await api.call('DELETE', `/v2/deployments/${id}`);
  assert.equal((await api.call('GET', `/v2/deployments/${id}`)).status, 'AWAITING_DELETE');
  await stage.gone(api, id);

  const left = await stage.tagged(rehearsal, FIRST, id);
  // Secrets stay for their recovery window, task definitions as INACTIVE: both are AWS's own habit.
  assert.deepEqual(
    left.filter((arn) => !/:secret:|:task-definition\//.test(arn)),
    [],
  );
  const rds = new RDSClient(stage.customerClient(rehearsal, FIRST));
  assert.deepEqual((await rds.send(new DescribeDBInstancesCommand({}))).DBInstances, []);

  // The neighbour has not noticed.
  const state = await stage.run(rehearsal, deployments[SECOND].url, 'echo', { text: 'still here' });
  assert.match(JSON.stringify(state), /still here/);

  await cdkDestroy({
    rehearsal,
    account: FIRST,
    context: { principal: on.principal.arn, externalId: on.places[FIRST]!.externalId },
  });
  assert.match(await push(FIRST, '1'), /agent@sha256/, "the customer's registry is still there");
});
