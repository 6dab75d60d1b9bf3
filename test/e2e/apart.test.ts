/** Two deployments of one place: neither starts with the other's secrets, nor reaches the other's database. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { rootCertificates } from 'node:tls';
import { DescribeServicesCommand, DescribeTaskDefinitionCommand, ECSClient } from '@aws-sdk/client-ecs';
import { DescribeTasksCommand, RegisterTaskDefinitionCommand, RunTaskCommand } from '@aws-sdk/client-ecs';
import { GetLogEventsCommand, CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeDBInstancesCommand, RDSClient } from '@aws-sdk/client-rds';
import { eventually } from '../support/eventually.ts';
import * as stage from './stage.ts';

const directory = mkdtempSync(join(tmpdir(), 'freehold-ca-'));
const bundle = join(directory, 'global-bundle.pem');
chmodSync(directory, 0o755);
const ACCOUNT = '431000000001';
let on: stage.Stage;
let ecs: ECSClient;
let image: string;

/** What a deployment runs with, as ECS has it. */
interface Deployed {
  readonly id: string;
  readonly cluster: string;
  readonly service: string;
  readonly definition: stage.Json;
  readonly network: stage.Json;
  /** ARNs of its secrets, by the variables that come from them. */
  readonly secrets: Record<string, string>;
}
const made: Record<'a' | 'b', Deployed> = {} as never;

async function deploy(name: string, more: stage.Json = {}): Promise<Deployed> {
  const { outputs, id: listenerId } = on.places[ACCOUNT]!;
  const { id, latest_revision_id } = await on.api.call('POST', '/v2/deployments', {
    name,
    source: 'external_docker',
    source_config: { listener_id: listenerId },
    source_revision_config: { image_uri: image },
    secrets: [{ name: 'TOKEN', value: `of ${name}` }],
    ...more,
  });
  await stage.deployed(on.api, id, latest_revision_id);
  const service = `freehold-${id.replaceAll('-', '').slice(0, 12)}`;
  const cluster = outputs.clusterArn;
  const { services } = await ecs.send(new DescribeServicesCommand({ cluster, services: [service] }));
  const { taskDefinition, networkConfiguration } = services![0]!;
  const { taskDefinition: definition } = await ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition }));
  const named = definition!.containerDefinitions![0]!.secrets!.map((one) => [one.name!, one.valueFrom!]);
  return { id, cluster, service, definition, network: networkConfiguration, secrets: Object.fromEntries(named) };
}

/** A task as the deployment's own are, but for its program and its secret; once it has stopped. */
async function run(as: Deployed, program: string, secret: string): Promise<{ reason: string; said: string[] }> {
  const [container] = as.definition.containerDefinitions;
  const { taskDefinition } = await ecs.send(
    new RegisterTaskDefinitionCommand({
      ...as.definition,
      family: 'by-hand',
      containerDefinitions: [
        {
          ...container,
          entryPoint: [process.execPath, '-e', program],
          secrets: [{ name: 'SECRET', valueFrom: secret }],
        },
      ],
    }),
  );
  const { cluster, network: networkConfiguration } = as;
  const { tasks } = await ecs.send(
    new RunTaskCommand({
      cluster,
      taskDefinition: taskDefinition!.taskDefinitionArn!,
      launchType: 'FARGATE',
      networkConfiguration,
    }),
  );
  const { taskArn } = tasks![0]!;
  const task = await eventually('the task has stopped', async () => {
    const seen = (await ecs.send(new DescribeTasksCommand({ cluster, tasks: [taskArn!] }))).tasks?.[0];
    return seen?.lastStatus === 'STOPPED' && seen;
  });
  if (task.stopCode === 'TaskFailedToStart') return { reason: task.stoppedReason!, said: [] };
  const logs = new CloudWatchLogsClient(stage.customerClient(on.rehearsal, ACCOUNT));
  const { options } = container.logConfiguration;
  const logStreamName = `${options['awslogs-stream-prefix']}/${container.name}/${taskArn!.split('/').at(-1)}`;
  const { events = [] } = await logs.send(
    new GetLogEventsCommand({ logGroupName: options['awslogs-group'], logStreamName, startFromHead: true }),
  );
  return { reason: '', said: events.map((event) => event.message!) };
}

before(async () => {
  on = await stage.open('apart', [ACCOUNT]);
  ecs = new ECSClient(stage.customerClient(on.rehearsal, ACCOUNT));
  image = await on.push(ACCOUNT, '1');
  // Tasks see the files of this machine, as those of an image.
  writeFileSync(bundle, await on.rehearsal.databaseCa());
  [made.a, made.b] = await Promise.all([deploy('a', { database_ca: bundle }), deploy('b')]);
});
after(async () => {
  await on?.close();
  rmSync(directory, { recursive: true, force: true });
});

test('each has an execution role of its own', () => {
  const roles = [made.a, made.b].map(({ definition }) => definition.executionRoleArn.split('/').at(-1));
  assert.deepEqual(roles.toSorted(), ['freehold-execution-1', 'freehold-execution-2']);
});

// https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_tags.html
test('a task starts with each secret of its own deployment, and with none of another', async () => {
  for (const [name, own] of Object.entries(made.a.secrets)) {
    const { reason, said } = await run(made.a, 'console.log(process.env.SECRET.length > 0)', own);
    assert.deepEqual([reason, said], ['', ['true']], name);
    const theirs = await run(made.a, '', made.b.secrets[name]!);
    assert.match(
      theirs.reason,
      /AccessDeniedException: .*freehold-execution-\d\/.*secretsmanager:GetSecretValue/,
      name,
    );
  }
});

// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html
test('a server reaches its own database and Redis, and neither of another', async () => {
  const dial = `
    const net = require('node:net');
    const { hostname, port } = new URL(process.env.SECRET);
    // What each of them answers: PostgreSQL a request for TLS, Redis a PING.
    const hello = port === '5432' ? Buffer.from('0000000804d2162f', 'hex') : 'PING' + String.fromCharCode(13, 10);
    const socket = net.connect(Number(port), hostname, () => socket.write(hello));
    socket.once('data', () => (console.log('answers'), process.exit()));
    socket.on('error', (error) => (console.log(error.code), process.exit()));
    setTimeout(() => (console.log('timeout'), process.exit()), 1500);`;
  const server = { ...made.a };
  for (const name of ['DATABASE_URI', 'REDIS_URI']) {
    assert.deepEqual((await run(server, dial, server.secrets[name]!)).said, ['answers'], name);
    // Started by hand with their role, so that it knows where to go: in a's own security group.
    const knowing = {
      ...server,
      definition: { ...server.definition, executionRoleArn: made.b.definition.executionRoleArn },
    };
    assert.deepEqual((await run(knowing, dial, made.b.secrets[name]!)).said, ['timeout'], name);
  }
});

// https://www.postgresql.org/docs/current/libpq-ssl.html
test('a server that has RDS’s certificates holds its database’s against them, and none of another authority', async () => {
  const rds = new RDSClient(stage.customerClient(on.rehearsal, ACCOUNT));
  const nameOf = async ({ service: DBInstanceIdentifier }: Deployed): Promise<string> =>
    (await rds.send(new DescribeDBInstancesCommand({ DBInstanceIdentifier }))).DBInstances![0]!.Endpoint!.Address!;
  const modules = join(import.meta.dirname, '..', '..', 'node_modules');
  // By what the URI says; but for the name, in whose place a task here has an address.
  const open = (servername: string): string => `
    const { Client } = require(${JSON.stringify(join(modules, 'pg'))});
    const config = require(${JSON.stringify(join(modules, 'pg-connection-string'))}).parse(process.env.SECRET);
    const client = new Client({ ...config, ssl: { ...config.ssl, servername: ${JSON.stringify(servername)} } });
    console.log(new URL(process.env.SECRET).searchParams.toString());
    client.connect().then(() => console.log('open'), (error) => console.log(error.message)).then(() => process.exit());`;
  const asked = new URLSearchParams({ sslmode: 'verify-full', sslrootcert: bundle }).toString();
  const uri = made.a.secrets['DATABASE_URI']!;
  const [own, other] = [await nameOf(made.a), await nameOf(made.b)];
  assert.deepEqual((await run(made.a, open(own), uri)).said, [asked, 'open']);
  assert.match((await run(made.a, open(other), uri)).said[1]!, /does not match certificate/);
  writeFileSync(bundle, rootCertificates[0]!);
  assert.match(
    (await run(made.a, open(own), uri)).said[1]!,
    /unable to (verify the first|get local issuer) certificate/,
  );
});
