/** The emulated ECS's service scheduler: rollouts, health, replacement, circuit breaker, history of deployments. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  DeleteServiceCommand,
  DescribeServiceDeploymentsCommand,
  DescribeServiceRevisionsCommand,
  DescribeServicesCommand,
  ListServiceDeploymentsCommand,
  ListServicesCommand,
  StopServiceDeploymentCommand,
  StopTaskCommand,
  type Service,
  type ServiceDeploymentBrief,
  type UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs';
import { DescribeTargetHealthCommand } from '@aws-sdk/client-elastic-load-balancing-v2';
import {
  CreatePrivateDnsNamespaceCommand,
  CreateServiceCommand,
  ListInstancesCommand,
  ListNamespacesCommand,
} from '@aws-sdk/client-servicediscovery';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate, REGION, type Fargate } from '../support/fargate.ts';
import { openRehearsal, PACE } from '../support/rehearsal.ts';

const ACCOUNT = '310000000011';
const BREAKER = { deploymentCircuitBreaker: { enable: true, rollback: false } };
const BREAKER_ROLLBACK = { deploymentCircuitBreaker: { enable: true, rollback: true } };

describe('services', { concurrency: 3, timeout: 180_000 }, () => {
  let rehearsal: Rehearsal;
  let f: Fargate;

  before(async () => {
    rehearsal = await openRehearsal();
    f = await fargate(rehearsal, ACCOUNT);
  });
  after(() => rehearsal.stop());

  const update = (service: string, more: Partial<UpdateServiceCommandInput>): Promise<Service> =>
    f.update(service, more);
  const messages = (service: Service): string[] => (service.events ?? []).map((event) => event.message!).reverse();
  const history = async (service: string): Promise<ServiceDeploymentBrief[]> =>
    (
      (await f.ecs.send(new ListServiceDeploymentsCommand({ cluster: CLUSTER, service }))).serviceDeployments ?? []
    ).toSorted((a, b) => b.createdAt!.getTime() - a.createdAt!.getTime());
  const primary = (service: Service) => service.deployments!.find((d) => d.status === 'PRIMARY')!;
  const info = async (url: string): Promise<{ revision: string | null }> => {
    const answer = await rehearsal.fetch(url);
    assert.equal(answer.status, 200);
    return (await answer.json()) as { revision: string };
  };

  test('a service starts its tasks, completes, scales out and in, and is deleted', async () => {
    const definition = await f.define('plain');
    const made = await f.create('plain', definition, {
      desiredCount: 2,
      tags: [{ key: 'a', value: 'b' }],
      propagateTags: 'SERVICE',
    });
    assert.equal(primary(made).rolloutState, 'IN_PROGRESS');
    assert.equal(made.runningCount, 0);
    const up = await f.steady('plain');
    assert.equal(up.runningCount, 2);
    assert.equal(primary(up).rolloutStateReason, `ECS deployment ${primary(up).id} completed.`);
    const said = messages(up);
    assert.match(said[0]!, /^\(service plain\) has started 2 tasks: \(task [0-9a-f]{32}\) \(task [0-9a-f]{32}\)\.$/);
    assert.deepEqual(said.slice(-2), [
      `(service plain) (deployment ${primary(up).id}) deployment completed.`,
      '(service plain) has reached a steady state.',
    ]);
    const [one] = await f.tasks('plain');
    assert.equal(one!.startedBy, primary(up).id);
    assert.equal(one!.group, 'service:plain');

    await update('plain', { desiredCount: 3 });
    await eventually('three run', async () => (await f.service('plain')).runningCount === 3);
    await update('plain', { desiredCount: 1 });
    await eventually('one runs', async () => (await f.tasks('plain')).length === 1);
    const ended = await eventually('two have stopped', async () => {
      const seen = (await f.tasks('plain', 'STOPPED')).filter((task) => task.lastStatus === 'STOPPED');
      return seen.length === 2 && seen;
    });
    for (const task of ended) {
      assert.equal(task.stopCode, 'ServiceSchedulerInitiated');
      assert.equal(task.stoppedReason, `Scaling activity initiated by (deployment ${primary(up).id})`);
    }
    assert.equal((await history('plain')).length, 1, 'scaling is not a deployment');

    const remove = (force?: boolean) =>
      f.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service: 'plain', force }));
    await assert.rejects(remove(), {
      name: 'InvalidParameterException',
      message: 'The service cannot be stopped while it is scaled above 0.',
    });
    assert.equal((await remove(true)).service!.status, 'DRAINING');
    await eventually('it is INACTIVE', async () => (await f.service('plain')).status === 'INACTIVE');
    const { serviceArns = [] } = await f.ecs.send(new ListServicesCommand({ cluster: CLUSTER, maxResults: 100 }));
    assert.ok(!serviceArns.includes(made.serviceArn!));
    await assert.rejects(update('plain', { desiredCount: 1 }), { name: 'ServiceNotActiveException' });
    await f.create('plain', definition, { desiredCount: 0 });
    await f.steady('plain');
  });

  test('a rollout behind a load balancer answers every request, drains the old task, and lets its requests in flight finish', async (t) => {
    const { url, targetGroupArn, loadBalancers } = await f.balanced('rolling');
    const env = (revision: string) => ({ REVISION: revision, MOUNT_PREFIX: '/rolling' });
    const one = await f.define('rolling', env('one'));
    const two = await f.define('rolling', { ...env('two'), HEALTHY_AFTER_MS: '1500' });
    // Without the grace period a slow start counts as a failure.
    await f.create('rolling', one, { loadBalancers, healthCheckGracePeriodSeconds: 60 });
    const before = await f.steady('rolling');
    assert.equal((await info(`${url}/info`)).revision, 'one');

    const answers = new Map<string, number>();
    let rolling = true;
    t.after(() => (rolling = false));
    const load = (async () => {
      while (rolling) {
        const seen = await rehearsal.fetch(`${url}/info`).then(
          async (answer) =>
            answer.status === 200
              ? ((await answer.json()) as { revision: string }).revision
              : `status ${answer.status}`,
          (error: Error) => error.message,
        );
        answers.set(seen, (answers.get(seen) ?? 0) + 1);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    const slow: Promise<number>[] = [];
    const updated = await update('rolling', { taskDefinition: two });
    assert.deepEqual(
      updated.deployments!.map((d) => [d.status, d.rolloutState]),
      [
        ['PRIMARY', 'IN_PROGRESS'],
        ['ACTIVE', 'COMPLETED'],
      ],
    );
    await eventually('the new target is healthy', async () => {
      // Some of these are in flight when the old one drains.
      slow.push(rehearsal.fetch(`${url}/slow?ms=1500`).then((answer) => answer.status));
      const { TargetHealthDescriptions: targets = [] } = await f.elb.send(
        new DescribeTargetHealthCommand({ TargetGroupArn: targetGroupArn }),
      );
      return (
        targets.filter((t) => t.TargetHealth!.State === 'healthy').length === 2 ||
        targets.some((t) => t.TargetHealth!.State === 'draining')
      );
    });
    const done = await f.steady('rolling', 40);
    rolling = false;
    await load;
    assert.deepEqual([...answers.keys()].sort(), ['one', 'two'], JSON.stringify([...answers]));
    assert.deepEqual([...new Set(await Promise.all(slow))], [200]);
    assert.equal((await info(`${url}/info`)).revision, 'two');
    const said = messages(done);
    const at = (pattern: RegExp): number => {
      const found = said.findLastIndex((message) => pattern.test(message));
      assert.ok(found >= 0, `${pattern} in ${said.join('\n')}`);
      return found;
    };
    assert.ok(
      at(/\) registered 1 targets in \(target-group arn:/) < at(/deregistered 1 targets in \(target-group arn:/),
    );
    assert.ok(at(/has begun draining connections on 1 tasks\./) < at(/deployment completed\./));
    const deployments = await history('rolling');
    assert.deepEqual(
      deployments.map((d) => d.status),
      ['SUCCESSFUL', 'SUCCESSFUL'],
    );
    const details = await f.ecs.send(
      new DescribeServiceDeploymentsCommand({
        serviceDeploymentArns: [deployments[0]!.serviceDeploymentArn!, 'arn:aws:ecs:none'],
      }),
    );
    assert.deepEqual(details.failures, [{ arn: 'arn:aws:ecs:none', reason: 'MISSING' }]);
    const deployment = details.serviceDeployments![0]!;
    assert.equal(deployment.targetServiceRevision!.runningTaskCount, 1);
    assert.deepEqual(
      deployment.sourceServiceRevisions!.map((r) => r.arn),
      before.currentServiceRevisions!.map((r) => r.arn),
    );
    const revision = await f.ecs.send(
      new DescribeServiceRevisionsCommand({ serviceRevisionArns: [deployment.targetServiceRevision!.arn!] }),
    );
    assert.equal(revision.serviceRevisions![0]!.taskDefinition, two);
    assert.match(revision.serviceRevisions![0]!.containerImages![0]!.imageDigest!, /^sha256:/);
  });

  test('a failing health check of the load balancer: the breaker trips, and ECS rolls back to the task that still serves', async () => {
    const { url, loadBalancers } = await f.balanced('sick');
    const good = await f.define('sick', { REVISION: 'good', MOUNT_PREFIX: '/sick' });
    const bad = await f.define('sick', { REVISION: 'bad', MOUNT_PREFIX: '/sick', UNHEALTHY: '1' });
    await f.create('sick', good, { loadBalancers, deploymentConfiguration: BREAKER_ROLLBACK });
    const first = primary(await f.steady('sick')).id;
    const serving = (await f.tasks('sick'))[0]!.taskArn;
    const failing = primary(await update('sick', { taskDefinition: bad })).id;
    await eventually('it is rolled back', async () => (await history('sick'))[0]!.status === 'ROLLBACK_SUCCESSFUL', {
      seconds: 60,
    });
    const back = await f.steady('sick');
    assert.equal(primary(back).id, first);
    assert.equal(back.taskDefinition, good);
    assert.deepEqual(
      (await f.tasks('sick')).map((task) => task.taskArn),
      [serving],
      'its task was kept',
    );
    assert.equal((await info(`${url}/info`)).revision, 'good');
    const said = messages(back);
    assert.ok(
      said.includes(`(service sick) (deployment ${failing}) deployment failed: tasks failed to start.`),
      said.join('\n'),
    );
    assert.ok(said.includes(`(service sick) rolling back to deployment ${first}.`));
    assert.ok(
      said.some((m) =>
        /\(port 8000\) is unhealthy in \(target-group arn:.*\) due to \(reason Health checks failed/.test(m),
      ),
      said.join('\n'),
    );
    const reasons = new Set(
      (await f.tasks('sick', 'STOPPED')).map((task) => task.stoppedReason!.replace(/arn:.*\)/, 'ARN)')),
    );
    assert.ok(reasons.has('Task failed ELB health checks in (target-group ARN)'), [...reasons].join('\n'));
    const [newest] = (
      await f.ecs.send(
        new DescribeServiceDeploymentsCommand({
          serviceDeploymentArns: [(await history('sick'))[0]!.serviceDeploymentArn!],
        }),
      )
    ).serviceDeployments!;
    assert.equal(newest!.deploymentCircuitBreaker!.status, 'TRIGGERED');
    assert.equal(newest!.deploymentCircuitBreaker!.threshold, 3);
    assert.match(newest!.rollback!.reason!, /circuit breaker/);
  });

  test('a crashing revision without rollback: the deployment FAILED, nothing more is started, the old tasks stay', async () => {
    await f.create('crashing', await f.define('crashing', { REVISION: 'good' }), {
      desiredCount: 2,
      deploymentConfiguration: BREAKER,
    });
    await f.steady('crashing');
    const kept = (await f.tasks('crashing')).map((task) => task.taskArn).sort();
    const bad = await f.define('crashing', { CRASH: 'start' });
    await update('crashing', { taskDefinition: bad });
    const failed = await eventually(
      'it has failed',
      async () => {
        const seen = await f.service('crashing');
        return primary(seen).rolloutState === 'FAILED' && seen.runningCount === 2 && seen.pendingCount === 0 && seen;
      },
      { seconds: 40 },
    );
    assert.equal(primary(failed).rolloutStateReason, 'ECS deployment circuit breaker: tasks failed to start.');
    assert.ok(primary(failed).failedTasks! >= 3);
    assert.equal((await history('crashing'))[0]!.status, 'STOPPED');
    const tried = (await f.tasks('crashing', 'STOPPED')).length;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assert.equal((await f.tasks('crashing', 'STOPPED')).length, tried, 'no further attempts');
    assert.deepEqual((await f.tasks('crashing')).map((task) => task.taskArn).sort(), kept);

    await update('crashing', { taskDefinition: await f.define('crashing', { REVISION: 'mended' }) });
    const mended = await f.steady('crashing');
    assert.equal(mended.runningCount, 2);
  });

  test('an image that cannot be pulled: FAILED with the first deployment, and no rollback candidate', async () => {
    const definition = await f.define('nopull', {}, { image: `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com/app:nope` });
    await f.create('nopull', definition, { deploymentConfiguration: BREAKER_ROLLBACK });
    await eventually('it has failed', async () => primary(await f.service('nopull')).rolloutState === 'FAILED');
    const [deployment] = await history('nopull');
    assert.equal(deployment!.status, 'ROLLBACK_FAILED');
    assert.equal(deployment!.statusReason, 'No rollback candidate was found to run the rollback.');
    const said = messages(await f.service('nopull'));
    assert.ok(
      said.some((message) => message.includes('is unable to consistently start tasks successfully')),
      said.join('\n'),
    );
  });

  test('without a circuit breaker a deployment never fails, however often its tasks do', async () => {
    await f.create('patient', await f.define('patient', { CRASH: 'start' }));
    await eventually('six tasks have failed', async () => (primary(await f.service('patient')).failedTasks ?? 0) >= 6, {
      seconds: 40,
    });
    const seen = await f.service('patient');
    assert.equal(primary(seen).rolloutState, 'IN_PROGRESS');
    const ended = (await f.tasks('patient', 'STOPPED')).toSorted(
      (a, b) => a.createdAt!.getTime() - b.createdAt!.getTime(),
    );
    const pauses = ended.slice(2).map((task, i) => task.createdAt!.getTime() - ended[i + 1]!.stoppingAt!.getTime());
    assert.ok(pauses.length >= 3);
    for (const [i, pause] of pauses.entries())
      assert.ok(
        pause >= (9_000 / PACE) * 2 ** i,
        `10 s, doubled each time, give or take a tenth: ${pauses.join(', ')}`,
      );
    await f.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service: 'patient', force: true }));
  });

  test('a container health check that fails replaces the task; during the grace period it does not', async () => {
    const healthCheck = { command: ['CMD', 'false'], interval: 5, timeout: 2, retries: 1, startPeriod: 0 };
    const definition = await f.define('checked', {}, { healthCheck });
    await f.create('checked', definition, { healthCheckGracePeriodSeconds: 30 });
    const first = await eventually('its task is unhealthy', async () => {
      const [task] = await f.tasks('checked');
      return task?.healthStatus === 'UNHEALTHY' && task;
    });
    const end = await f.stopped(first.taskArn!);
    assert.equal(end.stoppedReason, 'Task failed container health checks');
    assert.ok(
      end.stoppingAt!.getTime() - end.startedAt!.getTime() >= 2900,
      'not before the grace period is over (30 s, timers ÷ 10)',
    );
    await eventually('another one is there', async () => {
      const [task] = await f.tasks('checked');
      return task && task.taskArn !== first.taskArn;
    });
    assert.ok(
      messages(await f.service('checked')).includes(
        `(service checked) (task ${first.taskArn!.split('/').at(-1)}) failed container health checks.`,
      ),
    );
    await f.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service: 'checked', force: true }));
  });

  const counted = { skip: !existsSync('/proc/self/schedstat') && 'nobody counts here how long threads wait' };
  test('a grace period leaves out what a task waits for a processor', counted, async () => {
    // One of six on a processor, it needs seven seconds for one of work, and has four.
    const program = `
import os, time, http.server
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
others = []
for _ in range(5):
    others.append(os.fork())
    while others[-1] == 0: pass
while time.process_time() < 1.2: pass
for other in others: os.kill(other, 9)
class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer((os.environ["HOST"], 8000), Server).serve_forever()
`;
    const python = join(import.meta.dirname, '../../.cache/python/rehearsal/bin/python');
    const definition = await f.define('starved', {}, { entryPoint: [python, '-c'], command: [program] });
    const { loadBalancers } = await f.balanced('starved');
    await f.create('starved', definition, { loadBalancers, healthCheckGracePeriodSeconds: 40 });
    await f.steady('starved');
    assert.deepEqual(await f.tasks('starved', 'STOPPED'), []);
    await f.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service: 'starved', force: true }));
  });

  test('a task that is killed or stopped is replaced', async () => {
    await f.create('replaced', await f.define('replaced'));
    await f.steady('replaced');
    const [first] = await f.tasks('replaced');
    await rehearsal.kill({ account: ACCOUNT, taskArn: first!.taskArn! });
    const second = await eventually('another runs', async () => {
      const [task] = await f.tasks('replaced');
      return task && task.taskArn !== first!.taskArn && task.lastStatus === 'RUNNING' && task;
    });
    await f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task: second.taskArn! }));
    await eventually('a third runs', async () => {
      const [task] = await f.tasks('replaced');
      return task && ![first!.taskArn, second.taskArn].includes(task.taskArn) && task.lastStatus === 'RUNNING';
    });
    assert.equal((await f.steady('replaced')).deployments![0]!.rolloutState, 'COMPLETED');
  });

  test('minimumHealthyPercent and maximumPercent bound a rollout', async () => {
    await f.create('bounded', await f.define('bounded', { REVISION: 'one' }), {
      desiredCount: 4,
      deploymentConfiguration: { minimumHealthyPercent: 50, maximumPercent: 100 },
    });
    await f.steady('bounded');
    await update('bounded', { taskDefinition: await f.define('bounded', { REVISION: 'two' }) });
    let [least, most] = [4, 0];
    await eventually(
      'it has rolled',
      async () => {
        const seen = await f.service('bounded');
        const living = seen.runningCount! + seen.pendingCount!;
        [least, most] = [Math.min(least, seen.runningCount!), Math.max(most, living)];
        return seen.deployments!.length === 1 && primary(seen).rolloutState === 'COMPLETED';
      },
      { every: 10 },
    );
    assert.ok(least >= 2 && least < 4, `at least ${least} ran`);
    assert.ok(most <= 4, `at most ${most} at once`);
    await assert.rejects(
      update('bounded', { deploymentConfiguration: { minimumHealthyPercent: 100, maximumPercent: 100 } }),
      { message: 'Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.' },
    );
  });

  test('StopServiceDeployment rolls back, or aborts and leaves everything as it is', async () => {
    await f.create('halted', await f.define('halted', { REVISION: 'good' }));
    const first = primary(await f.steady('halted')).id;
    const never = { healthCheck: { command: ['CMD', 'false'], interval: 300, retries: 10 } }; // never healthy, never given up on
    const roll = async () => {
      await update('halted', { taskDefinition: await f.define('halted', { REVISION: 'new' }, never) });
      await eventually('the new task runs', async () => (await f.service('halted')).runningCount === 2);
      return (await history('halted'))[0]!.serviceDeploymentArn!;
    };
    const status = async (): Promise<string> => (await history('halted'))[0]!.status!;
    const stop = (serviceDeploymentArn: string, stopType?: 'ABORT' | 'ROLLBACK') =>
      f.ecs.send(new StopServiceDeploymentCommand({ serviceDeploymentArn, ...(stopType ? { stopType } : {}) }));

    const rolled = await roll();
    assert.equal(await status(), 'IN_PROGRESS');
    await stop(rolled); // ROLLBACK_REQUESTED for a moment: time.test.ts stands still in it
    await eventually('it is rolled back', async () => (await status()) === 'ROLLBACK_SUCCESSFUL');
    assert.equal(primary(await f.steady('halted')).id, first);
    await assert.rejects(stop(rolled), { name: 'ConflictException' });

    const aborted = await roll();
    await stop(aborted, 'ABORT');
    await eventually('it is stopped', async () => (await status()) === 'STOPPED');
    const seen = await f.service('halted');
    assert.equal(primary(seen).rolloutState, 'FAILED');
    assert.equal(seen.runningCount, 2);
    await assert.rejects(stop('arn:aws:ecs:us-east-1:310000000011:service-deployment/main/halted/none'), {
      name: 'ServiceDeploymentNotFoundException',
    });
    await f.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service: 'halted', force: true }));
  });

  test('forceNewDeployment replaces the tasks, and a tag is resolved to its digest once per deployment', async () => {
    const push = (env: Record<string, string>) =>
      rehearsal.pushImage({ account: ACCOUNT, region: REGION, repository: 'moving', tag: 'live', image: 'stub', env });
    const one = await push({ REVISION: 'one' });
    const definition = await f.define(
      'moving',
      {},
      { image: `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com/moving:live` },
    );
    await f.create('moving', definition);
    await f.steady('moving');
    const digest = async () => (await f.tasks('moving'))[0]?.containers![0]!.imageDigest;
    assert.equal(await digest(), one.digest);

    const two = await push({ REVISION: 'two' });
    await update('moving', { desiredCount: 2 });
    await f.steady('moving');
    assert.deepEqual(
      (await f.tasks('moving')).map((t) => t.containers![0]!.imageDigest),
      [one.digest, one.digest],
    );

    await update('moving', { forceNewDeployment: true });
    await f.steady('moving');
    assert.deepEqual(
      (await f.tasks('moving')).map((t) => t.containers![0]!.imageDigest),
      [two.digest, two.digest],
    );
    assert.equal((await history('moving')).length, 2);
    await update('moving', { taskDefinition: definition });
    assert.equal((await history('moving')).length, 2, 'the same definition again is no deployment');
  });

  test('a newer deployment supersedes one in progress', async () => {
    await f.create('superseded', await f.define('superseded', { REVISION: 'one' }));
    await f.steady('superseded');
    await update('superseded', { taskDefinition: await f.define('superseded', { CRASH: 'start' }) });
    const last = await f.define('superseded', { REVISION: 'three' });
    await update('superseded', { taskDefinition: last });
    const done = await f.steady('superseded');
    assert.equal(done.taskDefinition, last);
    assert.deepEqual(
      (await history('superseded')).map((d) => d.status),
      ['SUCCESSFUL', 'STOPPED', 'SUCCESSFUL'],
    );
  });

  test('Cloud Map: a task is an instance of its registry for as long as it serves', async () => {
    await f.cloudmap.send(new CreatePrivateDnsNamespaceCommand({ Name: 'test.internal', Vpc: f.vpc }));
    const namespace = await eventually('the namespace is there', async () =>
      (await f.cloudmap.send(new ListNamespacesCommand({}))).Namespaces?.find((n) => n.Name === 'test.internal'),
    );
    const made = await f.cloudmap.send(
      new CreateServiceCommand({
        Name: 'found',
        NamespaceId: namespace.Id!,
        DnsConfig: { DnsRecords: [{ Type: 'A', TTL: 10 }] },
        HealthCheckCustomConfig: {},
      }),
    );
    await f.create('found', await f.define('found'), { serviceRegistries: [{ registryArn: made.Service!.Arn! }] });
    await f.steady('found');
    const instances = async () =>
      (await f.cloudmap.send(new ListInstancesCommand({ ServiceId: made.Service!.Id! }))).Instances!;
    const [task] = await f.tasks('found');
    const [instance] = await instances();
    assert.equal(instance!.Id, task!.taskArn!.split('/').at(-1));
    assert.equal(
      instance!.Attributes!['AWS_INSTANCE_IPV4'],
      task!.containers![0]!.networkInterfaces![0]!.privateIpv4Address,
    );
    await f.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service: 'found', force: true }));
    await eventually('it is gone', async () => (await instances()).length === 0);
  });

  test('DescribeServices names what is missing, and takes ten at most', async () => {
    const ask = (services: string[]) => f.ecs.send(new DescribeServicesCommand({ cluster: CLUSTER, services }));
    const answer = await ask(['nobody']);
    assert.deepEqual(answer.failures, [
      { arn: `arn:aws:ecs:${REGION}:${ACCOUNT}:service/${CLUSTER}/nobody`, reason: 'MISSING' },
    ]);
    await assert.rejects(ask(Array.from({ length: 11 }, (_, i) => `s${i}`)), { name: 'InvalidParameterException' });
    await assert.rejects(f.ecs.send(new DescribeServicesCommand({ cluster: 'none', services: ['a'] })), {
      name: 'ClusterNotFoundException',
    });
  });
});
