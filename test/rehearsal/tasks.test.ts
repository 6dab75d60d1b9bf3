/** A task's life in the emulated ECS: its states, its process, its end. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import {
  DeleteServiceCommand,
  DescribeTasksCommand,
  ECSClient,
  ListTasksCommand,
  RunTaskCommand,
  StopTaskCommand,
  type RunTaskCommandInput,
} from '@aws-sdk/client-ecs';
import { DescribeNetworkInterfacesCommand } from '@aws-sdk/client-ec2';
import {
  CreateSecretCommand,
  DescribeSecretCommand,
  PutResourcePolicyCommand,
  PutSecretValueCommand,
} from '@aws-sdk/client-secrets-manager';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, EXECUTION_ACTIONS, fargate, REGION, type Fargate } from '../support/fargate.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '310000000001';

describe('tasks', { concurrency: 4, timeout: 120_000 }, () => {
  let rehearsal: Rehearsal;
  let f: Fargate;

  before(async () => {
    rehearsal = await openRehearsal();
    f = await fargate(rehearsal, ACCOUNT);
  });
  after(() => rehearsal.stop());

  async function run(taskDefinition: string, more: Partial<RunTaskCommandInput> = {}): Promise<string> {
    const answer = await f.ecs.send(
      new RunTaskCommand({
        cluster: CLUSTER,
        taskDefinition,
        launchType: 'FARGATE',
        networkConfiguration: f.networkConfiguration,
        ...more,
      }),
    );
    assert.deepEqual(answer.failures, []);
    return answer.tasks![0]!.taskArn!;
  }
  /** A new task is not seen at once. */
  const seenSoon = (arn: string) => eventually('it is seen', () => f.task(arn), { every: 5 });
  const running = (arn: string) =>
    eventually('it runs', async () => {
      const seen = await f.task(arn);
      return seen.lastStatus === 'RUNNING' ? seen : undefined;
    });
  const address = (task: Awaited<ReturnType<typeof running>>): string =>
    task.containers![0]!.networkInterfaces![0]!.privateIpv4Address!;
  /** Where this machine finds the task's processes. */
  const listens = async (taskArn: string): Promise<string> =>
    String((await rehearsal.processes()).find((one) => one['taskArn'] === taskArn)?.['address']);

  test('a one-off task passes through every state, runs a real process at an address of its own, and is stopped', async (t) => {
    // It drains for so long that STOPPING cannot be missed; PENDING can, on a busy machine: the times below tell.
    const definition = await f.define('life', { REVISION: 'one', SAY: 'first\nsecond\nthird', DRAIN_MS: '1500' });
    const arn = await run(definition, { startedBy: 'a-test', group: 'mine' });
    const seen: string[] = [];
    let watched = true;
    t.after(() => (watched = false));
    const watching = (async () => {
      while (watched) {
        const status = (await seenSoon(arn)).lastStatus!;
        if (seen.at(-1) !== status) seen.push(status);
        if (status === 'STOPPED') return;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    const up = await running(arn);
    const here = await listens(arn);
    const info = await eventually('it answers', async () => {
      const answer = await fetch(`http://${here}:8000/info`);
      return (await answer.json()) as { revision: string; host: string };
    });
    assert.equal(info.revision, 'one');
    assert.equal(info.host, here);
    assert.equal(up.startedBy, 'a-test');
    assert.equal(up.group, 'mine');
    assert.match(up.containers![0]!.imageDigest!, /^sha256:[0-9a-f]{64}$/);
    const details = Object.fromEntries(up.attachments![0]!.details!.map(({ name, value }) => [name, value]));
    assert.ok(f.subnets.includes(details['subnetId']));
    assert.match(address(up), /^10\.0\.[01]\.\d+$/, 'of its subnet');
    assert.equal(details['privateIPv4Address'], address(up));
    const interfaces = await f.ec2.send(
      new DescribeNetworkInterfacesCommand({ NetworkInterfaceIds: [details['networkInterfaceId']!] }),
    );
    assert.equal(interfaces.NetworkInterfaces![0]!.Groups![0]!.GroupId, f.group);

    await f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task: arn, reason: 'enough' }));
    const end = await f.stopped(arn);
    await watching;
    const order = ['PROVISIONING', 'PENDING', 'RUNNING', 'STOPPING', 'DEPROVISIONING', 'STOPPED'];
    assert.deepEqual(
      seen,
      order.filter((status) => seen.includes(status)),
      'in order, none twice, and no other',
    );
    for (const status of ['RUNNING', 'STOPPING', 'STOPPED']) assert.ok(seen.includes(status), status);
    assert.equal(end.stopCode, 'UserInitiated');
    assert.equal(end.stoppedReason, 'enough');
    assert.equal(end.containers![0]!.exitCode, 0);
    for (const time of [
      'createdAt',
      'pullStartedAt',
      'pullStoppedAt',
      'startedAt',
      'stoppingAt',
      'executionStoppedAt',
      'stoppedAt',
    ] as const)
      assert.ok(end[time] instanceof Date, time);
    await assert.rejects(fetch(`http://${here}:8000/info`));

    const lines = await f.lines('life', arn);
    assert.deepEqual(lines.slice(0, 3), ['first', 'second', 'third']);
    assert.equal(lines.at(-1), 'SIGTERM');
    const listed = await f.ecs.send(
      new ListTasksCommand({ cluster: CLUSTER, desiredStatus: 'STOPPED', startedBy: 'a-test' }),
    );
    assert.deepEqual(listed.taskArns, [arn]);
  });

  test('an essential container that ends takes the task with it, with its exit code', async () => {
    const arn = await run(await f.define('crash', { CRASH: 'start', EXIT_CODE: '7' }));
    const end = await f.stopped(arn);
    assert.equal(end.stopCode, 'EssentialContainerExited');
    assert.equal(end.stoppedReason, 'Essential container in task exited');
    assert.equal(end.containers![0]!.exitCode, 7);
    assert.deepEqual(await f.lines('crash', arn), ['boom: cannot start with this configuration']);
  });

  test('a process that ignores SIGTERM is killed after its stopTimeout, which no pace shortens', async () => {
    const arn = await run(await f.define('stubborn', { IGNORE_SIGTERM: '1' }, { stopTimeout: 2 }));
    await running(arn);
    const here = await listens(arn);
    await eventually('it listens', async () => (await fetch(`http://${here}:8000/ok`)).ok);
    const asked = Date.now();
    await f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task: arn }));
    const end = await f.stopped(arn);
    assert.ok(Date.now() - asked >= 1900);
    assert.equal(end.containers![0]!.exitCode, 137);
  });

  test('a task killed from outside ends with 137, without anyone having asked ECS', async () => {
    const arn = await run(await f.define('killed'));
    await running(arn);
    await rehearsal.kill({ account: ACCOUNT, taskArn: arn });
    const end = await f.stopped(arn);
    assert.equal(end.containers![0]!.exitCode, 137);
    assert.equal(end.stopCode, 'EssentialContainerExited');
  });

  test('entryPoint, command and overrides work as in Docker; the environment is exactly what was given', async () => {
    const shell = await f.define(
      'shell',
      { GREETING: 'hello' },
      { entryPoint: ['sh', '-c'], command: ['echo "$GREETING $NAME"; env | cut -d= -f1 | sort | tr "\\n" " "'] },
    );
    const arn = await run(shell, {
      overrides: { containerOverrides: [{ name: 'app', environment: [{ name: 'NAME', value: 'you' }] }] },
    });
    const end = await f.stopped(arn);
    assert.equal(end.containers![0]!.exitCode, 0);
    const [greeting, names] = await f.lines('shell', arn);
    assert.equal(greeting, 'hello you');
    const shells = ['OLDPWD', 'PWD', 'SHLVL', '_']; // what a shell adds by itself
    const given = names!.trim().split(' ');
    assert.deepEqual(
      given.filter((name) => !shells.includes(name)),
      [
        'AWS_DEFAULT_REGION',
        'AWS_ENDPOINT_URL',
        'AWS_EXECUTION_ENV',
        'AWS_REGION',
        'ECS_AGENT_URI',
        'ECS_CONTAINER_METADATA_URI',
        'ECS_CONTAINER_METADATA_URI_V4',
        'GREETING',
        'HOME',
        'HOST',
        'LANG', // the image's
        'NAME',
        'PATH',
        'REHEARSAL_KEEPER', // by which whatever it starts is found and ended with it
        'TMPDIR',
      ],
    );

    const other = await run(shell, { overrides: { containerOverrides: [{ name: 'app', command: ['exit 4'] }] } });
    assert.equal((await f.stopped(other)).containers![0]!.exitCode, 4);
  });

  test('the metadata endpoint knows the task', async () => {
    const arn = await run(
      await f.define(
        'metadata',
        {},
        {
          entryPoint: ['sh', '-c'],
          command: [
            'curl -s "$ECS_CONTAINER_METADATA_URI_V4/task" || python3 -c "import os,urllib.request;print(urllib.request.urlopen(os.environ[\'ECS_CONTAINER_METADATA_URI_V4\']+\'/task\').read().decode())"',
          ],
        },
      ),
    );
    await f.stopped(arn);
    const task = JSON.parse((await f.lines('metadata', arn)).join('')) as { TaskARN: string; Family: string };
    assert.equal(task.TaskARN, arn);
    assert.equal(task.Family, 'metadata');
  });

  test("what runs in a task may do what the task's role may, and nothing else", async () => {
    const taskRoleArn = await f.role('reader', ['secretsmanager:ListSecrets']);
    const sdk = import.meta.resolve('@aws-sdk/client-secrets-manager');
    const ask = `
      const { SecretsManagerClient, ListSecretsCommand, CreateSecretCommand } = await import(${JSON.stringify(sdk)});
      const client = new SecretsManagerClient({});
      console.log((await client.send(new ListSecretsCommand({}))).$metadata.httpStatusCode);
      await client.send(new CreateSecretCommand({ Name: 'x', SecretString: 'x' })).catch((error) => console.log(error.message));`;
    const entryPoint = [process.execPath, '--input-type=module', '-e', ask];
    const arn = await run(await f.define('role', {}, { entryPoint }, { taskRoleArn }));
    await f.stopped(arn);
    const [listed, created] = await f.lines('role', arn);
    assert.equal(listed, '200');
    assert.match(
      created!,
      /^User: arn:aws:sts::310000000001:assumed-role\/reader\/[0-9a-f]{32} is not authorized to perform: secretsmanager:CreateSecret/,
    );
  });

  test('dependsOn: a setup container succeeds before the other starts, and holds it back when it fails', async () => {
    const containers = (code: number) => [
      {
        name: 'setup',
        image: f.image,
        essential: false,
        entryPoint: ['sh', '-c'],
        command: [`sleep 0.3; exit ${code}`],
      },
      {
        name: 'app',
        image: f.image,
        entryPoint: ['sh', '-c'],
        command: ['echo started'],
        dependsOn: [{ containerName: 'setup', condition: 'SUCCESS' as const }],
      },
    ];
    const good = await f.stopped(await run(await f.define('depends', {}, {}, { containerDefinitions: containers(0) })));
    assert.equal(good.stopCode, 'EssentialContainerExited');
    assert.deepEqual(
      good.containers!.map((c) => c.exitCode),
      [0, 0],
    );
    const bad = await f.stopped(await run(await f.define('depends', {}, {}, { containerDefinitions: containers(3) })));
    assert.equal(bad.stopCode, 'TaskFailedToStart');
    assert.deepEqual(
      bad.containers!.map((c) => c.exitCode),
      [3, undefined],
    );
  });

  describe('a container waits for another', () => {
    const say = (name: string, command: string, more: object = {}) => ({
      name,
      image: f.image,
      essential: false,
      entryPoint: ['sh', '-c'],
      command: [command],
      ...more,
    });
    const after = (containerName: string, condition: 'START' | 'COMPLETE' | 'SUCCESS' | 'HEALTHY') => ({
      dependsOn: [{ containerName, condition }],
    });
    const ran = async (first: object, condition: Parameters<typeof after>[1]) => {
      const containerDefinitions = [
        say('first', 'exit 0', first),
        say('app', 'exit 0', { essential: true, ...after('first', condition) }),
      ];
      return f.stopped(await run(await f.define('waits', {}, {}, { containerDefinitions })));
    };
    const check = (command: string) => ({
      healthCheck: { command: ['CMD', command], interval: 5, timeout: 60, retries: 1 },
    });
    const stays = { command: ['sleep 1000'] };
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
    const cases: [
      why: string,
      first: object,
      condition: Parameters<typeof after>[1],
      ends: 'EssentialContainerExited' | 'TaskFailedToStart',
    ][] = [
      ['START: it has been started', stays, 'START', 'EssentialContainerExited'],
      ['COMPLETE: it has ended, however', { command: ['exit 3'] }, 'COMPLETE', 'EssentialContainerExited'],
      ['HEALTHY: its check passes', { ...stays, ...check('true') }, 'HEALTHY', 'EssentialContainerExited'],
      ['HEALTHY: its check fails', { ...stays, ...check('false') }, 'HEALTHY', 'TaskFailedToStart'],
      // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
      [
        'no longer than its startTimeout',
        { ...stays, startTimeout: 2, healthCheck: { command: ['CMD', 'true'], interval: 300 } },
        'HEALTHY',
        'TaskFailedToStart',
      ],
    ];
    for (const [why, first, condition, ends] of cases)
      test(why, async () => {
        const end = await ran(first, condition);
        assert.equal(end.stopCode, ends);
        assert.equal(end.containers![1]!.exitCode, ends === 'TaskFailedToStart' ? undefined : 0);
      });
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
    test('and is stopped before it', async () => {
      const ready = { healthCheck: { command: ['CMD-SHELL', 'test -e "$HOME/ready"'], interval: 5, timeout: 60 } };
      const waits = 'touch "$HOME/ready"; while :; do sleep 0.05; done';
      const containerDefinitions = [
        say('first', `trap 'test -e "$HOME/../app/done"; exit $?' TERM; ${waits}`, ready),
        say('app', `trap 'sleep 0.2; touch "$HOME/done"; exit 0' TERM; ${waits}`, {
          essential: true,
          ...ready,
          ...after('first', 'HEALTHY'),
        }),
      ];
      const arn = await run(await f.define('order', {}, {}, { containerDefinitions }));
      await eventually('both are ready', async () => (await f.task(arn)).healthStatus === 'HEALTHY');
      await f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task: arn }));
      const codes = (await f.stopped(arn)).containers!.map((container) => container.exitCode);
      assert.deepEqual(codes, [0, 0], 'the first one was told when the other had ended');
    });
  });

  describe('a task asks for its own protection at $ECS_AGENT_URI', () => {
    const ask = `
      const uri = process.env.ECS_AGENT_URI + '/task-protection/v1/state';
      const put = (body) => fetch(uri, { method: 'PUT', body: JSON.stringify(body) });
      const answers = [await put({ ProtectionEnabled: true, ExpiresInMinutes: 60 }), await fetch(uri), await put({})];
      for (const answer of answers)
        console.log(JSON.stringify({ status: answer.status, ...(await answer.json()) }));
      setTimeout(() => {}, 1e6);`;
    const asked = async (name: string, actions: string[] | undefined, service: boolean) => {
      const more = actions ? { taskRoleArn: await f.role(name, actions) } : {};
      const entryPoint = [process.execPath, '--input-type=module', '-e', ask];
      const definition = await f.define(name, {}, { entryPoint }, more);
      let arn: string;
      if (service) {
        await f.create(name, definition);
        arn = await eventually('its task is there', async () => (await f.tasks(name))[0]?.taskArn);
      } else arn = await run(definition);
      const said = await eventually('it has asked', async () => {
        const lines = await f.lines(name, arn).catch(() => []);
        return lines.length >= 3 && lines.slice(0, 3).map((line) => JSON.parse(line) as Record<string, any>);
      });
      if (service) await f.ecs.send(new DeleteServiceCommand({ cluster: CLUSTER, service: name, force: true }));
      else await f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task: arn }));
      return { arn, said };
    };
    const may = ['ecs:UpdateTaskProtection', 'ecs:GetTaskProtection'];
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html
    test('and gets it', async () => {
      const { arn, said } = await asked('guard', may, true);
      assert.equal(said[0]!['protection'].ProtectionEnabled, true);
      assert.equal(said[0]!['protection'].TaskArn, arn);
      const minutes = (Date.parse(said[0]!['protection'].ExpirationDate) - Date.now()) / 60_000;
      assert.ok(minutes > 55 && minutes <= 60, `${minutes}`);
      assert.deepEqual(said[1]!['protection'], said[0]!['protection']);
      assert.equal(said[2]!['status'], 400);
      assert.equal(said[2]!['error'].Code, 'InvalidParameterException');
    });
    test('which a task of no service does not get', async () => {
      const { arn, said } = await asked('guard-lone', may, false);
      assert.deepEqual(said[0]!['failure'], { Arn: arn, Detail: null, Reason: 'TASK_NOT_VALID' });
    });
    test('with its own role, which must allow it', async () => {
      const { said } = await asked('guard-not', ['ecs:GetTaskProtection'], true);
      assert.equal(said[0]!['error'].Code, 'AccessDeniedException');
      assert.match(said[0]!['error'].Message, /assumed-role\/guard-not\/.* ecs:UpdateTaskProtection on resource: arn:/);
      assert.equal(said[1]!['protection'].ProtectionEnabled, false);
    });
    test('and without a role not at all', async () => {
      const { said } = await asked('guard-roleless', undefined, false);
      assert.equal(said[0]!['status'], 403);
      assert.equal(said[0]!['error'].Code, 'AccessDeniedException');
    });
  });

  describe('container health checks', () => {
    const check = (command: string[], timeout = 2) => ({
      healthCheck: { command, interval: 5, timeout, retries: 2, startPeriod: 0 },
    });

    test('run in the container, whose localhost is its own address', async () => {
      const good = await run(
        await f.define(
          'healthy',
          { MARK: 'x' },
          check(
            [
              'CMD-SHELL',
              `test "$MARK" = x && ${process.execPath} -e "fetch('http://localhost:8000/ok').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"`,
            ],
            60,
          ),
        ),
      );
      await eventually('it is healthy', async () => (await f.task(good)).healthStatus === 'HEALTHY');
    });
    test('that fail make the task UNHEALTHY, and a one-off task is left running', async () => {
      const bad = await run(await f.define('unhealthy', {}, check(['CMD', 'false'])));
      await eventually('it is unhealthy', async () => (await f.task(bad)).healthStatus === 'UNHEALTHY');
      const seen = await f.task(bad);
      assert.equal(seen.lastStatus, 'RUNNING');
      assert.equal(seen.containers![0]!.healthStatus, 'UNHEALTHY');
    });
    test('that never end count as failures', async () => {
      const hangs = await run(await f.define('hangs', {}, check(['CMD-SHELL', 'sleep 1000'])));
      await eventually('it is unhealthy', async () => (await f.task(hangs)).healthStatus === 'UNHEALTHY');
    });
  });

  describe('a task that cannot start says why', () => {
    async function reason(definition: string): Promise<string> {
      const end = await f.stopped(await run(definition));
      assert.equal(end.stopCode, 'TaskFailedToStart');
      assert.equal(end.startedAt, undefined);
      return end.stoppedReason!;
    }
    const registry = `${ACCOUNT}.dkr.ecr.${REGION}.amazonaws.com`;

    const pulls: [why: string, image: string, reason: RegExp][] = [
      [
        'no such tag',
        `${registry}/app:nope`,
        /^CannotPullContainerError: pull image manifest has been retried 1 time\(s\): failed to resolve ref .*\/app:nope: .*: not found$/,
      ],
      ['no such digest', `${registry}/app@sha256:${'0'.repeat(64)}`, /^CannotPullContainerError: .*: not found$/],
      ['no such repository', `${registry}/other:latest`, /^CannotPullContainerError: .*: not found$/],
      [
        "another account's repository without a policy",
        `319999999999.dkr.ecr.${REGION}.amazonaws.com/app:latest`,
        /^CannotPullContainerError: .*\[manifests latest\]: 403 Forbidden$/,
      ],
      [
        'no such public image',
        'public.ecr.aws/nobody/nothing:1',
        /^CannotPullContainerError: .*public\.ecr\.aws\/nobody\/nothing:1: not found$/,
      ],
    ];
    for (const [why, image, expected] of pulls)
      test(why, async () => assert.match(await reason(await f.define('pull', {}, { image })), expected));

    test('an image that the registry has but cannot deliver', async () => {
      const { uri } = await rehearsal.pushImage({
        account: ACCOUNT,
        region: REGION,
        repository: 'gone',
        image: 'missing-layers',
      });
      assert.match(
        await reason(await f.define('gone', {}, { image: uri })),
        /^CannotPullContainerError: .*insufficient_scope$/,
      );
    });

    const denials: [action: string, reason: RegExp][] = [
      [
        'ecr:GetAuthorizationToken',
        /^ResourceInitializationError: unable to pull secrets or registry auth: .*AccessDeniedException: User: arn:aws:sts::310000000001:assumed-role\/no-[\w-]+\/[0-9a-f]{32} is not authorized to perform: ecr:GetAuthorizationToken on resource: \*/,
      ],
      ['ecr:BatchGetImage', /^CannotPullContainerError: .*\[manifests sha256:[0-9a-f]{64}\]: 403 Forbidden$/],
      ['ecr:GetDownloadUrlForLayer', /^CannotPullContainerError: .*\/blobs\/sha256:[0-9a-f]{64}: 403 Forbidden$/],
      [
        'logs:CreateLogStream',
        /^ResourceInitializationError: failed to validate logger args: .*AccessDeniedException: .*logs:CreateLogStream/,
      ],
    ];
    for (const [action, expected] of denials)
      test(`an execution role without ${action}`, async () => {
        const executionRoleArn = await f.role(
          `no-${action.replace(':', '-')}`,
          EXECUTION_ACTIONS.filter((a) => a !== action),
        );
        assert.match(await reason(await f.define('denied', {}, {}, { executionRoleArn })), expected);
      });

    test('a log group that does not exist', async () => {
      const options = { 'awslogs-group': '/none', 'awslogs-region': REGION, 'awslogs-stream-prefix': 'x' };
      const definition = await f.define('nolog', {}, { logConfiguration: { logDriver: 'awslogs', options } });
      assert.match(
        await reason(definition),
        /^ResourceInitializationError: failed to validate logger args: .*ResourceNotFoundException: The specified log group does not exist\./,
      );
    });

    test('a secret that does not exist, a version that does not, a key that it does not have', async () => {
      const made = await f.secrets.send(new CreateSecretCommand({ Name: 'there', SecretString: '{"a":"1"}' }));
      const with_ = (valueFrom: string) => f.define('nosecret', {}, { secrets: [{ name: 'SECRET', valueFrom }] });
      const prefix =
        /^ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: /;
      const none = await reason(await with_(made.ARN!.replace('secret:there', 'secret:nothere')));
      assert.match(none, prefix);
      assert.match(none, /ResourceNotFoundException: Secrets Manager can't find the specified secret\./);
      const version = await reason(await with_(`${made.ARN}:::00000000-0000-0000-0000-000000000000`));
      assert.match(version, prefix);
      assert.match(version, /ResourceNotFoundException/);
      assert.match(await reason(await with_(`${made.ARN}:b::`)), /did not contain json key b$/);
    });

    test("a secret whose own policy denies it: the reason says which policy's word that is", async () => {
      const { ARN: SecretId } = await f.secrets.send(new CreateSecretCommand({ Name: 'closed', SecretString: 'x' }));
      const Statement = { Effect: 'Deny', Principal: '*', Action: 'secretsmanager:GetSecretValue', Resource: '*' };
      const ResourcePolicy = JSON.stringify({ Version: '2012-10-17', Statement });
      await f.secrets.send(new PutResourcePolicyCommand({ SecretId, ResourcePolicy }));
      const definition = await f.define('closed', {}, { secrets: [{ name: 'SECRET', valueFrom: SecretId! }] });
      assert.match(
        await reason(definition),
        /GetSecretValue on resource: \S+ with an explicit deny in a resource-based/,
      );
    });

    test('a secret that the execution role may not read: another tag than its policy asks for', async () => {
      const tagged = (value: string) =>
        new CreateSecretCommand({ Name: `tagged-${value}`, SecretString: 'x', Tags: [{ Key: 'owner', Value: value }] });
      const [mine, theirs] = [await f.secrets.send(tagged('me')), await f.secrets.send(tagged('them'))];
      const executionRoleArn = await f.role('tagged', EXECUTION_ACTIONS, {
        Condition: { StringEqualsIfExists: { 'aws:ResourceTag/owner': 'me' } },
      });
      const with_ = (valueFrom: string) =>
        f.define('tagged', {}, { secrets: [{ name: 'SECRET', valueFrom }] }, { executionRoleArn });
      assert.match(
        await reason(await with_(theirs.ARN!)),
        /AccessDeniedException: User: .* is not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:/,
      );
      await running(await run(await with_(mine.ARN!)));
    });

    test('a program that does not exist', async () => {
      assert.match(
        await reason(await f.define('noprogram', {}, { entryPoint: ['/no/such/program'] })),
        /^CannotStartContainerError: .*exec: "\/no\/such\/program": No such file or directory/,
      );
    });

    /** https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html, "confused deputy" */
    test('a role that ECS may assume for another account, region or only one cluster', async () => {
      const { UpdateAssumeRolePolicyCommand } = await import('@aws-sdk/client-iam');
      const role = await f.role('deputy', ['ecr:*', 'logs:*']);
      const [region, account] = [await f.ecs.config.region(), role.split(':')[4]!];
      const definition = await f.define('deputy', {}, {}, { executionRoleArn: role });
      const trust = async (of: string, from: string, Effect = 'Allow') => {
        const Principal = { Service: 'ecs-tasks.amazonaws.com' };
        const Condition = { StringEquals: { 'aws:SourceAccount': of }, ArnLike: { 'aws:SourceArn': from } };
        const Statement: object[] = [{ Effect, Principal, Action: 'sts:AssumeRole', Condition }];
        if (Effect === 'Deny') Statement.push({ Effect: 'Allow', Principal, Action: 'sts:AssumeRole' });
        const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement });
        await f.iam.send(new UpdateAssumeRolePolicyCommand({ RoleName: 'deputy', PolicyDocument }));
        await rehearsal.settle();
      };
      const here = `arn:aws:ecs:${region}:${account}:*`;
      for (const given of [
        ['999999999999', here],
        [account, `arn:aws:ecs:${region}:999999999999:*`],
        [account, `arn:aws:ecs:xx-north-1:${account}:*`],
        [account, `arn:aws:ecs:${region}:${account}:cluster/*`],
        [account, here, 'Deny'],
      ] as [string, string, string?][]) {
        await trust(...given);
        assert.match(await reason(definition), /^ECS was unable to assume the role/, given.join(' '));
      }
      await trust(account, here);
      await running(await run(definition));
    });

    test('a role that ECS may not assume', async () => {
      const { CreateRoleCommand } = await import('@aws-sdk/client-iam');
      const trust = {
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Principal: { Service: 'lambda.amazonaws.com' }, Action: 'sts:AssumeRole' }],
      };
      const made = await f.iam.send(
        new CreateRoleCommand({ RoleName: 'others', AssumeRolePolicyDocument: JSON.stringify(trust) }),
      );
      assert.match(
        await reason(await f.define('others', {}, {}, { executionRoleArn: made.Role!.Arn! })),
        /^ECS was unable to assume the role 'arn:aws:iam::310000000001:role\/others'/,
      );
    });
  });

  test('secrets: the whole value, a key of it, and a version that is not the newest', async () => {
    const made = await f.secrets.send(new CreateSecretCommand({ Name: 'values', SecretString: '{"short":"abc"}' }));
    const newer = await f.secrets.send(
      new PutSecretValueCommand({ SecretId: 'values', SecretString: '{"short":"abcdefg"}' }),
    );
    assert.notEqual(newer.VersionId, made.VersionId);
    const secrets = [
      { name: 'WHOLE', valueFrom: made.ARN! },
      { name: 'KEY', valueFrom: `${made.ARN}:short::` },
      { name: 'OLD', valueFrom: `${made.ARN}:short::${made.VersionId}` },
      { name: 'STAGE', valueFrom: `${made.ARN}:short:AWSPREVIOUS:` },
    ];
    const arn = await run(await f.define('values', { PRINT_ENV: 'WHOLE,KEY,OLD,STAGE' }, { secrets }));
    await running(arn);
    await eventually('it has printed', async () => (await f.lines('values', arn)).length >= 4);
    assert.deepEqual((await f.lines('values', arn)).slice(0, 4), [
      'WHOLE: 19 characters',
      'KEY: 7 characters',
      'OLD: 3 characters',
      'STAGE: 3 characters',
    ]);
  });

  // https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
  test('secrets: a version has every label it is written with, and takes them from the others', async () => {
    const SecretId = 'labels';
    await f.secrets.send(new CreateSecretCommand({ Name: SecretId }));
    const put = async (...VersionStages: string[]): Promise<string> => {
      const answer = await f.secrets.send(
        new PutSecretValueCommand({ SecretId, SecretString: VersionStages.join(), VersionStages }),
      );
      assert.deepEqual(answer.VersionStages?.toSorted(), VersionStages.toSorted());
      return answer.VersionId!;
    };
    const labels = async () => (await f.secrets.send(new DescribeSecretCommand({ SecretId }))).VersionIdsToStages;
    const first = await put('AWSCURRENT', 'mine');
    assert.deepEqual(await labels(), { [first]: ['AWSCURRENT', 'mine'] });
    const second = await put('AWSCURRENT', 'other');
    assert.deepEqual(await labels(), { [first]: ['mine', 'AWSPREVIOUS'], [second]: ['AWSCURRENT', 'other'] });
    const third = await put('mine');
    assert.deepEqual(await labels(), {
      [first]: ['AWSPREVIOUS'],
      [second]: ['AWSCURRENT', 'other'],
      [third]: ['mine'],
    });
  });

  test("the public redis image is a real redis-server at the task's address, and redis-cli checks it", async () => {
    const definition = await f.define(
      'redis',
      {},
      {
        image: 'public.ecr.aws/docker/library/redis:7.4-alpine',
        command: ['redis-server', '--save', '', '--appendonly', 'no'],
        portMappings: [{ containerPort: 6379 }],
        healthCheck: { command: ['CMD-SHELL', 'redis-cli -h localhost ping | grep PONG'], interval: 5, retries: 3 },
      },
    );
    const arn = await run(definition);
    await eventually('it is healthy', async () => (await f.task(arn)).healthStatus === 'HEALTHY');
    const here = await listens(arn);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(6379, here, () => socket.write('PING\r\n'));
      socket.once('data', (data) => resolve(data.toString()));
      socket.once('error', reject);
    });
    assert.equal(answer, '+PONG\r\n');
    await f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task: arn }));
    assert.equal((await f.stopped(arn)).containers![0]!.exitCode, 0);
  });

  test('regions and accounts are apart, and DescribeTasks names what is missing', async () => {
    const missing = `arn:aws:ecs:${REGION}:${ACCOUNT}:task/${CLUSTER}/${'0'.repeat(32)}`;
    const answer = await f.ecs.send(new DescribeTasksCommand({ cluster: CLUSTER, tasks: [missing] }));
    assert.deepEqual(answer.failures, [{ arn: missing, reason: 'MISSING' }]);
    const other = await fargate(rehearsal, '310000000002');
    const theirs = await other.ecs.send(new ListTasksCommand({ cluster: CLUSTER }));
    assert.deepEqual(theirs.taskArns, []);
    const elsewhere = { endpoint: rehearsal.endpoint, region: 'eu-west-1', credentials: rehearsal.root(ACCOUNT) };
    await assert.rejects(new ECSClient(elsewhere).send(new ListTasksCommand({ cluster: CLUSTER })), {
      name: 'ClusterNotFoundException',
    });
  });

  test('a repeated client token starts nothing new', async () => {
    const definition = await f.define('token');
    const [one, two] = [await run(definition, { clientToken: 'abc' }), await run(definition, { clientToken: 'abc' })];
    assert.equal(one, two);
  });
});
