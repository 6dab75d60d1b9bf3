/**
 * Service deployments of the emulated ECS: what a deployment configuration may say, when a deployment has failed, what
 * is told of it, and that every answer has the members of AWS's model. Each test names the page of AWS's that says so.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import {
  DeleteServiceCommand,
  DescribeServiceDeploymentsCommand,
  GetTaskProtectionCommand,
  ListServiceDeploymentsCommand,
  RunTaskCommand,
  StopServiceDeploymentCommand,
  UpdateTaskProtectionCommand,
  type DeploymentConfiguration,
  type ListServiceDeploymentsCommandInput,
  type Service,
  type ServiceDeployment,
  type ServiceDeploymentBrief,
  type UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate, REGION, type Fargate } from '../support/fargate.ts';

const ACCOUNT = '310000000071';
/** Where nothing can be placed, so that a service may want 800 tasks. */
const FULL = '310000000072';
const ROOT = join(import.meta.dirname, '..', '..');
const HOUR = 3600;

interface Told {
  source: string;
  'detail-type': string;
  resources: string[];
  detail: Record<string, unknown>;
}

describe('deployments', { concurrency: 1, timeout: 60_000 }, () => {
  let rehearsal: Rehearsal;
  let f: Fargate;
  let full: Fargate;
  /** Needs no time to start, and is healthy soon. */
  let well: string;
  /** Never healthy, never given up on. */
  let undecided: string;
  const sleeping = { entryPoint: ['sleep', '1000'], logConfiguration: undefined };
  /** Timers run a hundred times faster than AWS's, processes do not: a check has as long as it may. */
  const check = (command: string, interval: number) => ({
    healthCheck: { command: ['CMD-SHELL', command], interval, timeout: 60, retries: 1 },
  });

  before(async () => {
    rehearsal = await startRehearsal({ pace: 400, timerPace: 100 });
    [f, full] = await Promise.all([fargate(rehearsal, ACCOUNT), fargate(rehearsal, FULL)]);
    [well, undecided] = await Promise.all([
      f.define('well', {}, { ...sleeping, ...check('true', 10) }),
      f.define('undecided', {}, { ...sleeping, ...check('false', 300) }),
    ]);
    await rehearsal.capacity({ account: FULL });
  });
  after(() => rehearsal.stop());

  const update = (service: string, more: Partial<UpdateServiceCommandInput>): Promise<Service> =>
    f.update(service, more);
  const remove = (service: string, on = f) =>
    on.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service, force: true }));
  const messages = (service: Service): string[] => (service.events ?? []).map((event) => event.message!);
  const primary = (service: Service) => service.deployments!.find((d) => d.status === 'PRIMARY')!;
  const listed = async (
    service: string,
    more: Partial<ListServiceDeploymentsCommandInput> = {},
    on = f,
  ): Promise<ServiceDeploymentBrief[]> =>
    (await on.ecs.send(new ListServiceDeploymentsCommand({ cluster: CLUSTER, service, ...more }))).serviceDeployments!;
  /** AWS names no order. */
  const newest = (briefs: ServiceDeploymentBrief[]): ServiceDeploymentBrief[] =>
    briefs.toSorted((a, b) => b.createdAt!.getTime() - a.createdAt!.getTime());
  const latest = async (service: string, on = f): Promise<ServiceDeployment> => {
    const [brief] = newest(await listed(service, {}, on));
    const serviceDeploymentArns = [brief!.serviceDeploymentArn!];
    return (await on.ecs.send(new DescribeServiceDeploymentsCommand({ serviceDeploymentArns })))
      .serviceDeployments![0]!;
  };
  const stop = (serviceDeploymentArn: string) =>
    f.ecs.send(new StopServiceDeploymentCommand({ serviceDeploymentArn, stopType: 'ROLLBACK' }));
  const told = async (arn: string): Promise<Told[]> => {
    const answer = await fetch(`${rehearsal.endpoint}/_rehearsal/events?account=${ACCOUNT}`);
    const { events } = (await answer.json()) as { events: Told[] };
    return events.filter(({ resources }) => resources.includes(arn));
  };
  /** As the account's root, whose signature is not checked: the answer as it is on the wire. */
  const asRoot = async (service: string, headers: Record<string, string>, body: string): Promise<string> => {
    const authorization = `AWS4-HMAC-SHA256 Credential=${ACCOUNT}/20260101/${REGION}/${service}/aws4_request, SignedHeaders=host, Signature=0`;
    const answer = await fetch(rehearsal.endpoint, { method: 'POST', headers: { ...headers, authorization }, body });
    assert.ok(answer.ok, await answer.clone().text());
    return answer.text();
  };
  const cloudwatch = (form: Record<string, string>) =>
    asRoot(
      'monitoring',
      { 'content-type': 'application/x-www-form-urlencoded' },
      new URLSearchParams({ ...form, Version: '2010-08-01' }).toString(),
    );
  const alarm = async (AlarmName: string, seconds = 10): Promise<(state: 'OK' | 'ALARM') => Promise<unknown>> => {
    await cloudwatch({
      Action: 'PutMetricAlarm',
      AlarmName,
      Namespace: 'own',
      MetricName: AlarmName,
      Statistic: 'Sum',
      Period: String(seconds),
      EvaluationPeriods: '1',
      Threshold: '1',
      ComparisonOperator: 'GreaterThanThreshold',
    });
    return (StateValue) => cloudwatch({ Action: 'SetAlarmState', AlarmName, StateValue, StateReason: 'a test' });
  };
  const alarms = (name: string, rollback = true): DeploymentConfiguration => ({
    alarms: { alarmNames: [name], enable: true, rollback },
  });

  describe('by themselves', { concurrency: 8 }, () => {
    describe('a deployment configuration', () => {
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentAlarms.html
      const refused: [why: string, given: DeploymentConfiguration, name: string, message: RegExp][] = [
        [
          'nothing could move',
          { minimumHealthyPercent: 100, maximumPercent: 100 },
          'InvalidParameterException',
          /^Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments\.$/,
        ],
        [
          'fewer than wanted at most',
          { minimumHealthyPercent: 0, maximumPercent: 99 },
          'InvalidParameterException',
          /100/,
        ],
        [
          'more than all at least',
          { minimumHealthyPercent: 201 },
          'InvalidParameterException',
          /minimumHealthyPercent/,
        ],
        [
          'alarms without names',
          { alarms: { alarmNames: [], enable: true, rollback: true } },
          'InvalidParameterException',
          /alarmNames/,
        ],
        ['an alarm that does not exist', alarms('nobody'), 'InvalidParameterException', /alarms do not exist: nobody/],
        ...(['BLUE_GREEN', 'LINEAR', 'CANARY'] as const).map(
          (strategy): [string, DeploymentConfiguration, string, RegExp] => [
            `${strategy}, which is not emulated`,
            { strategy },
            'UnsupportedFeatureException',
            /^Not emulated: the deployment strategy/,
          ],
        ),
      ];
      for (const [why, deploymentConfiguration, name, message] of refused)
        test(`is refused: ${why}`, () =>
          assert.rejects(f.create('refused', well, { desiredCount: 0, deploymentConfiguration }), { name, message }));

      // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ThresholdConfiguration.html
      type Type = 'COUNT' | 'BOUNDED_PERCENT' | 'UNBOUNDED_PERCENT';
      const thresholds: [desired: number, threshold: number, type?: Type, value?: number][] = [
        [1, 3],
        [6, 3],
        [7, 4],
        [25, 13],
        [400, 200],
        [800, 200],
        [2, 1, 'UNBOUNDED_PERCENT', 50],
        [800, 400, 'UNBOUNDED_PERCENT', 50],
        [4, 4, 'BOUNDED_PERCENT', 100],
        [9, 5, 'COUNT', 5],
      ];
      for (const [desiredCount, threshold, type, value] of thresholds)
        test(`breaks after ${threshold} failures of ${desiredCount} tasks by ${type ?? 'default'}`, async () => {
          const name = `breaks-${desiredCount}-${type ?? 'default'}`;
          const definition = await full.define('any');
          const thresholdConfiguration = type ? { type, value: value! } : undefined;
          await full.create(name, definition, {
            desiredCount,
            deploymentConfiguration: {
              deploymentCircuitBreaker: { enable: true, rollback: true, thresholdConfiguration },
            },
          });
          const { deploymentCircuitBreaker: breaker } = await latest(name, full);
          assert.deepEqual(breaker, { status: 'MONITORING', failureCount: 0, threshold });
          await remove(name, full);
        });

      // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
      const stuck: [desired: number, minimumHealthyPercent: number, maximumPercent: number][] = [
        [2, 75, 100], // the minimum is rounded up
        [3, 100, 125], // the maximum is rounded down
      ];
      for (const [desiredCount, minimumHealthyPercent, maximumPercent] of stuck)
        test(`of ${minimumHealthyPercent} to ${maximumPercent} percent lets none of ${desiredCount} tasks move`, async () => {
          const name = `stuck-${desiredCount}`;
          const deploymentConfiguration = { minimumHealthyPercent, maximumPercent };
          await f.create(name, well, { desiredCount, deploymentConfiguration });
          await f.steady(name);
          await update(name, { forceNewDeployment: true });
          const event = await eventually('it is told', async () =>
            messages(await f.service(name)).find((message) => message.includes('unable')),
          );
          assert.equal(
            event,
            `(service ${name}) was unable to stop or start tasks during a deployment because of the service deployment ` +
              'configuration. Update the minimumHealthyPercent or maximumPercent value and try again.',
          );
          await remove(name);
        });
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
    describe('an alarm', () => {
      const begin = async (name: string, rollback = true) => {
        const ring = await alarm(name);
        await f.create(name, well, { deploymentConfiguration: alarms(name, rollback) });
        return { ring, first: primary(await f.steady(name)).id! };
      };
      test('fails a deployment, which is rolled back', async () => {
        const { ring, first } = await begin('ringing');
        const failing = primary(await update('ringing', { taskDefinition: undecided })).id!;
        assert.equal((await latest('ringing')).alarms!.status, 'MONITORING');
        await ring('ALARM');
        await eventually('it is rolled back', async () => (await latest('ringing')).status === 'ROLLBACK_SUCCESSFUL');
        const seen = await latest('ringing');
        assert.deepEqual(seen.alarms, {
          status: 'TRIGGERED',
          alarmNames: ['ringing'],
          triggeredAlarmNames: ['ringing'],
        });
        assert.match(seen.rollback!.reason!, /CloudWatch alarm/);
        const back = await f.steady('ringing');
        assert.equal(primary(back).id, first);
        assert.ok(
          messages(back).includes(`(service ringing) (deployment ${failing}) deployment failed: alarm detected.`),
        );
        await remove('ringing');
      });
      test('without rollback fails it, and that is all', async () => {
        const { ring } = await begin('alone', false);
        await update('alone', { taskDefinition: undecided });
        await ring('ALARM');
        const seen = await eventually('it has failed', async () => {
          const service = await f.service('alone');
          return primary(service).rolloutState === 'FAILED' && service;
        });
        assert.equal(primary(seen).rolloutStateReason, 'ECS deployment failed: alarm detected.');
        assert.equal((await latest('alone')).status, 'STOPPED');
        await remove('alone');
      });
      test('that rings from the start is not listened to', async () => {
        const { ring } = await begin('before');
        await ring('ALARM');
        await update('before', { forceNewDeployment: true });
        assert.equal((await latest('before')).alarms!.status, 'DISABLED');
        await f.steady('before');
        assert.equal((await latest('before')).status, 'SUCCESSFUL');
        await remove('before');
      });
      test('is listened to while the new tasks bake, and the old deployment is still shown', async () => {
        const ring = await alarm('baking', 300);
        await f.create('baking', well);
        await f.steady('baking');
        await update('baking', { forceNewDeployment: true, deploymentConfiguration: alarms('baking') });
        const seen = await eventually('only the new task is left', async () => {
          const service = await f.service('baking');
          return service.runningCount === 1 && primary(service).runningCount === 1 && service;
        });
        assert.equal(seen.deployments!.length, 2);
        assert.equal(primary(seen).rolloutState, 'IN_PROGRESS');
        await ring('ALARM');
        await eventually('it is rolled back', async () => (await latest('baking')).status === 'ROLLBACK_SUCCESSFUL');
        await remove('baking');
      });
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html
    test('a deployment is stopped while it is open, once or twice; a finished one is not', async () => {
      await f.create('stopped', well);
      await f.steady('stopped');
      const finished = (await listed('stopped'))[0]!.serviceDeploymentArn!;
      await assert.rejects(stop(finished), { name: 'ConflictException' });
      await update('stopped', { taskDefinition: undecided });
      await eventually('it is in progress', async () => (await latest('stopped')).status === 'IN_PROGRESS');
      const open = newest(await listed('stopped'))[0]!;
      await stop(open.serviceDeploymentArn!);
      assert.match((await latest('stopped')).status!, /^ROLLBACK_/);
      await stop(open.serviceDeploymentArn!).catch((error: Error) => assert.equal(error.name, 'ConflictException'));
      await eventually('it is rolled back', async () => (await latest('stopped')).status === 'ROLLBACK_SUCCESSFUL');
      const seen = await latest('stopped');
      for (const time of ['createdAt', 'startedAt', 'stoppedAt', 'finishedAt'] as const)
        assert.ok(seen[time] instanceof Date, time);
      const foreign = open.serviceDeploymentArn!.replace(ACCOUNT, FULL);
      await assert.rejects(stop(foreign), { name: 'ServiceDeploymentNotFoundException' });
      await remove('stopped');
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html
    test('deployments are listed by status, by time, and in pages', async () => {
      await f.create('listed', well, { desiredCount: 0 });
      await f.steady('listed');
      for (let i = 0; i < 3; i++) {
        await update('listed', { forceNewDeployment: true });
        await f.steady('listed');
      }
      const all = newest(await listed('listed'));
      assert.equal(all.length, 4);
      const times = all.map((each) => each.createdAt!.getTime());
      assert.equal((await listed('listed', { status: ['SUCCESSFUL', 'STOPPED'] })).length, 4);
      assert.deepEqual(await listed('listed', { status: ['IN_PROGRESS'] }), []);
      const middle = new Date((times[1]! + times[2]!) / 2);
      assert.equal((await listed('listed', { createdAt: { after: middle } })).length, 2);
      assert.equal((await listed('listed', { createdAt: { before: middle } })).length, 2);
      const arns: string[] = [];
      let nextToken: string | undefined;
      do {
        const page = await f.ecs.send(
          new ListServiceDeploymentsCommand({ cluster: CLUSTER, service: 'listed', maxResults: 3, nextToken }),
        );
        arns.push(...page.serviceDeployments!.map((each) => each.serviceDeploymentArn!));
        nextToken = page.nextToken;
      } while (nextToken);
      assert.deepEqual(arns.toSorted(), all.map((each) => each.serviceDeploymentArn!).toSorted());
    });

    describe('what EventBridge is told', { concurrency: 1 }, () => {
      let service: Service;
      before(async () => {
        await f.create('heard', well);
        service = await f.steady('heard');
      });

      // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
      test('of a deployment: that it is in progress, and that it has completed', async () => {
        const { id } = primary(service);
        const events = (await told(service.serviceArn!)).filter(
          (e) => e['detail-type'] === 'ECS Deployment State Change',
        );
        assert.deepEqual(
          events.map(({ detail: { updatedAt, ...rest } }) => [typeof updatedAt, rest]),
          [
            ['SERVICE_DEPLOYMENT_IN_PROGRESS', 'in progress'],
            ['SERVICE_DEPLOYMENT_COMPLETED', 'completed'],
          ].map(([eventName, how]) => [
            'string',
            { eventType: 'INFO', eventName, deploymentId: id, reason: `ECS deployment ${id} ${how}.` },
          ]),
        );
      });
      // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html
      test('of a service: its steady state', async () => {
        const events = (await told(service.serviceArn!)).filter((e) => e['detail-type'] === 'ECS Service Action');
        assert.equal(events.length, 1);
        const { createdAt, ...detail } = events[0]!.detail;
        assert.deepEqual(detail, {
          eventType: 'INFO',
          eventName: 'SERVICE_STEADY_STATE',
          clusterArn: service.clusterArn,
        });
        assert.match(String(createdAt), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      });
      // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
      test('of a task: each state, with a version that grows', async () => {
        const [task] = await f.tasks('heard');
        const events = await told(task!.taskArn!);
        assert.deepEqual(
          events.map(({ detail }) => detail['lastStatus']),
          ['PROVISIONING', 'PENDING', 'RUNNING'],
        );
        const versions = events.map(({ detail }) => detail['version'] as number);
        assert.deepEqual(
          versions,
          versions.toSorted((a, b) => a - b),
        );
        assert.equal(new Set(versions).size, versions.length);
        const { detail } = events.at(-1)!;
        assert.equal(detail['startedBy'], primary(service).id);
        assert.equal((detail['attachments'] as { type: string }[])[0]!.type, 'eni');
        for (const time of ['createdAt', 'pullStartedAt', 'startedAt', 'updatedAt'])
          assert.match(String(detail[time]), /^\d{4}-.*Z$/, time);
        assert.equal(detail['healthStatus'], undefined);
      });
      // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
      test('of a deployment that has failed', async () => {
        const bad = await f.define('bad', { CRASH: 'start' });
        const deploymentConfiguration = { deploymentCircuitBreaker: { enable: true, rollback: true } };
        const failing = primary(await update('heard', { taskDefinition: bad, deploymentConfiguration })).id;
        await eventually('it is rolled back', async () => (await latest('heard')).status === 'ROLLBACK_SUCCESSFUL');
        const events = (await told(service.serviceArn!)).filter(
          (e) => e['detail-type'] === 'ECS Deployment State Change',
        );
        const { id } = primary(service);
        assert.deepEqual(
          events
            .slice(2)
            .map(({ detail }) => [detail['eventType'], detail['eventName'], detail['deploymentId'], detail['reason']]),
          [
            ['INFO', 'SERVICE_DEPLOYMENT_IN_PROGRESS', failing, `ECS deployment ${failing} in progress.`],
            ['ERROR', 'SERVICE_DEPLOYMENT_FAILED', failing, 'ECS deployment circuit breaker: tasks failed to start.'],
            [
              'INFO',
              'SERVICE_DEPLOYMENT_IN_PROGRESS',
              id,
              `ECS deployment circuit breaker: rolling back to deploymentId ${id}.`,
            ],
            ['INFO', 'SERVICE_DEPLOYMENT_COMPLETED', id, `ECS deployment ${id} completed.`],
          ],
        );
      });
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html
    test('an unhealthy task of a finished deployment is replaced before it is stopped', async (t) => {
      const directory = mkdtempSync(join(tmpdir(), 'sick-'));
      t.after(() => rmSync(directory, { recursive: true }));
      const sick = join(directory, 'tasks');
      writeFileSync(sick, '');
      const isWell = check(`! echo "$HOME" | grep -q -f '${sick}'`, 10); // its home is named after the task
      await f.create('sickly', await f.define('sickly', {}, { ...sleeping, ...isWell }));
      await f.steady('sickly');
      const [first] = await f.tasks('sickly');
      writeFileSync(sick, `${first!.taskArn!.split('/').at(-1)}\n`);
      const gone = await f.stopped(first!.taskArn!);
      assert.equal(gone.stoppedReason, 'Task failed container health checks');
      const [next] = await f.tasks('sickly');
      assert.ok(next!.startedAt! < gone.stoppingAt!, 'the other one ran before');
      await remove('sickly');
    });

    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Operations.html
    test('every answer has what AWS always gives, and no member that its model does not know', async () => {
      await f.create('shapes', well, { tags: [{ key: 'a', value: 'b' }], propagateTags: 'SERVICE' });
      await f.steady('shapes');
      const [task] = (await f.tasks('shapes')).map((each) => each.taskArn!);
      const deployment = await latest('shapes');
      const ask = async (action: string, input: object): Promise<[string, any]> => [
        action,
        JSON.parse(
          await asRoot(
            'ecs',
            {
              'content-type': 'application/x-amz-json-1.1',
              'x-amz-target': `AmazonEC2ContainerServiceV20141113.${action}`,
            },
            JSON.stringify(input),
          ),
        ) as unknown,
      ];
      const here = { cluster: CLUSTER };
      const answers: [string, any][] = [
        await ask('DescribeServices', { ...here, services: ['shapes'], include: ['TAGS'] }),
        await ask('DescribeTasks', { ...here, tasks: [task], include: ['TAGS'] }),
        await ask('DescribeServiceDeployments', { serviceDeploymentArns: [deployment.serviceDeploymentArn] }),
        await ask('DescribeServiceRevisions', { serviceRevisionArns: [deployment.targetServiceRevision!.arn] }),
        await ask('ListServiceDeployments', { ...here, service: 'shapes' }),
        await ask('UpdateTaskProtection', { ...here, tasks: [task], protectionEnabled: true }),
        await ask('GetTaskProtection', { ...here, tasks: [task] }),
        await ask('UpdateService', { ...here, service: 'shapes', desiredCount: 2 }),
        await ask('RunTask', {
          ...here,
          taskDefinition: well,
          launchType: 'FARGATE',
          networkConfiguration: f.networkConfiguration,
        }),
        await ask('StopTask', { ...here, task }),
        await ask('DescribeTaskDefinition', { taskDefinition: well, include: ['TAGS'] }),
        await ask('DescribeClusters', { clusters: [CLUSTER], include: ['STATISTICS', 'SETTINGS', 'TAGS'] }),
        await ask('ListServices', here),
        await ask('ListTasks', here),
        await ask('DeleteService', { ...here, service: 'shapes', force: true }),
      ];
      const look = `
import json, sys
sys.path.insert(0, "services/rehearsal")
from account import wire
unknown = []
for action, answer in json.load(sys.stdin):
    wire._from_json(wire.operation("ecs", action).output_shape, answer, action, unknown)
print(json.dumps(unknown))`;
      const python = promisify(execFile)(join(ROOT, '.cache/python/rehearsal/bin/python'), ['-c', look], { cwd: ROOT });
      python.child.stdin!.end(JSON.stringify(answers));
      assert.deepEqual(JSON.parse((await python).stdout), []);

      const always: [what: string, from: object, members: string][] = [
        [
          'a service',
          answers[0]![1].services[0],
          'serviceArn serviceName clusterArn loadBalancers serviceRegistries status desiredCount runningCount pendingCount ' +
            'launchType platformVersion platformFamily taskDefinition deploymentConfiguration deployments roleArn events ' +
            'createdAt currentServiceDeployment currentServiceRevisions placementConstraints placementStrategy ' +
            'networkConfiguration healthCheckGracePeriodSeconds schedulingStrategy deploymentController tags createdBy ' +
            'enableECSManagedTags propagateTags enableExecuteCommand availabilityZoneRebalancing',
        ],
        [
          'a deployment of it',
          answers[0]![1].services[0].deployments[0],
          'id status taskDefinition desiredCount pendingCount runningCount failedTasks createdAt updatedAt launchType ' +
            'platformVersion platformFamily networkConfiguration rolloutState rolloutStateReason',
        ],
        [
          'a task',
          answers[1]![1].tasks[0],
          'attachments attributes availabilityZone clusterArn connectivity connectivityAt containers cpu createdAt ' +
            'desiredStatus enableExecuteCommand group healthStatus lastStatus launchType memory overrides platformVersion ' +
            'platformFamily pullStartedAt pullStoppedAt startedAt startedBy tags taskArn taskDefinitionArn version ' +
            'ephemeralStorage fargateEphemeralStorage',
        ],
        [
          'a service deployment',
          answers[2]![1].serviceDeployments[0],
          'serviceDeploymentArn serviceArn clusterArn createdAt startedAt finishedAt updatedAt sourceServiceRevisions ' +
            'targetServiceRevision status deploymentConfiguration deploymentCircuitBreaker alarms',
        ],
        [
          'a service revision',
          answers[3]![1].serviceRevisions[0],
          'serviceRevisionArn serviceArn clusterArn taskDefinition launchType platformVersion platformFamily ' +
            'networkConfiguration containerImages guardDutyEnabled createdAt',
        ],
      ];
      for (const [what, from, members] of always)
        assert.deepEqual(
          members.split(' ').filter((member) => !(member in from)),
          [],
          what,
        );
    });
  });

  // Last: time passes for everything above.
  describe('in time', { concurrency: 1 }, () => {
    const reached = async (name: string): Promise<number> =>
      messages(await f.service(name)).filter((message) => message.endsWith('has reached a steady state.')).length;

    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages.html
    test('a service that stays steady says so every six hours', async () => {
      await f.create('patient', well);
      await f.steady('patient');
      await eventually('it is steady', async () => (await reached('patient')) === 1);
      await rehearsal.skip(5 * HOUR);
      assert.equal(await reached('patient'), 1);
      await rehearsal.skip(1.1 * HOUR);
      await eventually('it is told again', async () => (await reached('patient')) === 2);
    });
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection.html
    test('protection ends when it expires, and what waited for it goes on', async () => {
      const [task] = (await f.tasks('patient')).map((each) => each.taskArn!);
      const about = { cluster: CLUSTER, tasks: [task!] };
      await f.ecs.send(new UpdateTaskProtectionCommand({ ...about, protectionEnabled: true, expiresInMinutes: 30 }));
      await update('patient', { desiredCount: 0 });
      await new Promise((resolve) => setTimeout(resolve, 100));
      const [before] = (await f.ecs.send(new GetTaskProtectionCommand(about))).protectedTasks!;
      assert.equal(before!.protectionEnabled, true);
      assert.equal((await f.task(task!)).desiredStatus, 'RUNNING');
      await rehearsal.skip(31 * 60);
      assert.equal((await f.stopped(task!)).stopCode, 'ServiceSchedulerInitiated');
    });
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/prepare-task-retirement.html
    test('a task is retired seven days after the notice', async () => {
      const networkConfiguration = f.networkConfiguration;
      const { tasks } = await f.ecs.send(
        new RunTaskCommand({ cluster: CLUSTER, taskDefinition: well, launchType: 'FARGATE', networkConfiguration }),
      );
      const arn = tasks![0]!.taskArn!;
      await rehearsal.retire(arn);
      await rehearsal.skip(6 * 24 * HOUR);
      assert.equal((await f.task(arn)).desiredStatus, 'RUNNING');
      await rehearsal.skip(25 * HOUR);
      assert.equal((await f.stopped(arn)).stopCode, 'TerminationNotice');
    });
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
    test('deployments are shown for 90 days', async () => {
      assert.equal((await listed('patient')).length, 1);
      await rehearsal.skip(91 * 24 * HOUR);
      assert.deepEqual(await listed('patient'), []);
    });
  });
});
