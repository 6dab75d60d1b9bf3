/** DNS names: a process reaches by name what stands behind it now, whatever there was when it started. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { AuthorizeSecurityGroupIngressCommand } from '@aws-sdk/client-ec2';
import { RunTaskCommand, StopTaskCommand } from '@aws-sdk/client-ecs';
import {
  CreatePrivateDnsNamespaceCommand,
  CreateServiceCommand,
  DeleteServiceCommand,
  DeregisterInstanceCommand,
  GetOperationCommand,
  ListServicesCommand,
  RegisterInstanceCommand,
  ServiceDiscoveryClient,
  UpdateInstanceCustomHealthStatusCommand,
} from '@aws-sdk/client-servicediscovery';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { CLUSTER, fargate, type Fargate } from '../support/fargate.ts';
import { PACE, TIMER_PACE } from '../support/rehearsal.ts';

const ONE = '340000000001';
const OTHER = '340000000002';

describe('names', { timeout: 90_000 }, () => {
  let rehearsal: Rehearsal;
  let one: Fargate;
  let other: Fargate;
  let service: string;
  const servers: Server[] = [];

  /**
   * Says its name, then how many bytes it got, once its client has sent everything: it needs each direction to close
   * by itself.
   */
  async function listen(name: string, host: string, port: number): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      let bytes = 0;
      socket.on('error', () => {});
      socket.on('data', (chunk) => (bytes += chunk.length));
      socket.on('end', () => socket.end(`${name} ${bytes}`));
    });
    servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
    return (server.address() as AddressInfo).port;
  }
  async function say(host: string, port: number, bytes: number): Promise<string> {
    const socket = connect({ host, port, allowHalfOpen: true });
    socket.end(Buffer.alloc(bytes));
    return text(socket);
  }

  async function makeService(cloudmap: ServiceDiscoveryClient, vpc: string): Promise<string> {
    const { OperationId } = await cloudmap.send(
      new CreatePrivateDnsNamespaceCommand({ Name: 'space.internal', Vpc: vpc }),
    );
    const namespace = await eventually('the namespace is there', async () => {
      const { Operation } = await cloudmap.send(new GetOperationCommand({ OperationId: OperationId! }));
      return Operation!.Status === 'SUCCESS' ? Operation!.Targets!.NAMESPACE : undefined;
    });
    const made = {
      Name: 'echo',
      NamespaceId: namespace,
      DnsConfig: { DnsRecords: [{ Type: 'A' as const, TTL: 10 }] },
      HealthCheckCustomConfig: {},
    };
    const { Service } = await cloudmap.send(new CreateServiceCommand(made));
    await assert.rejects(cloudmap.send(new CreateServiceCommand(made)), (error: Error & { ServiceId?: string }) => {
      assert.equal(error.name, 'ServiceAlreadyExists');
      assert.equal(error.ServiceId, Service!.Id);
      return true;
    });
    const filter = { Name: 'NAMESPACE_ID' as const, Values: [namespace] };
    const { Services } = await cloudmap.send(new ListServicesCommand({ Filters: [filter] }));
    assert.deepEqual(
      Services!.map(({ Id }) => Id),
      [Service!.Id],
    );
    return Service!.Id!;
  }
  const register = (id: string, ip: string) =>
    one.cloudmap.send(
      new RegisterInstanceCommand({ ServiceId: service, InstanceId: id, Attributes: { AWS_INSTANCE_IPV4: ip } }),
    );
  const deregister = (id: string) =>
    one.cloudmap.send(new DeregisterInstanceCommand({ ServiceId: service, InstanceId: id }));

  /** A task that runs, and its environment as its process has it. */
  async function running(
    f: Fargate,
    given: Record<string, string>,
  ): Promise<{ env: Record<string, string>; end: () => Promise<unknown> }> {
    const taskDefinition = await f.define('names', given);
    const { tasks } = await f.ecs.send(
      new RunTaskCommand({
        cluster: CLUSTER,
        taskDefinition,
        launchType: 'FARGATE',
        networkConfiguration: f.networkConfiguration,
      }),
    );
    const taskArn = tasks![0]!.taskArn!;
    const row = await eventually('its process runs', async () =>
      (await rehearsal.processes()).find((one) => one['account'] === f.account && one['taskArn'] === taskArn),
    );
    const lines = readFileSync(`/proc/${String(row['pid'])}/environ`, 'utf8').split('\0');
    return {
      env: Object.fromEntries(lines.map((line) => [line.split('=')[0]!, line.slice(line.indexOf('=') + 1)])),
      end: () => f.ecs.send(new StopTaskCommand({ cluster: CLUSTER, task: taskArn })),
    };
  }
  async function environmentOf(f: Fargate, given: Record<string, string>): Promise<Record<string, string>> {
    const { env, end } = await running(f, given);
    await end();
    return env;
  }

  before(async () => {
    // Tasks share this machine's network, so that we can dial the addresses that a task was given as if we were it.
    rehearsal = await startRehearsal({ pace: PACE, timerPace: TIMER_PACE, namespaces: false });
    [one, other] = await Promise.all([fargate(rehearsal, ONE), fargate(rehearsal, OTHER)]);
    service = await makeService(one.cloudmap, one.vpc);
  });
  after(async () => {
    for (const server of servers) server.close();
    await rehearsal?.stop();
  });

  test('a name works for a process that started before there was an instance, and follows the instances', async () => {
    const address = (await rehearsal.names())['echo.space.internal']!;
    const port = await listen('first', '127.0.0.11', 0);
    await listen('second', '127.0.0.12', port);
    const env = await environmentOf(one, {
      ECHO_URL: `redis://user:word@echo.space.internal:${port}/0`,
      BARE: 'echo.space.internal',
      UNKNOWN: `http://other.space.internal:${port}`,
      LONGER: 'my-echo.space.internal echo.space.internal.example.com',
    });
    const own = env['BARE']!;
    assert.match(own, /^127\.[\d.]+$/);
    assert.notEqual(own, address, 'each task has an address of its own for the name, which tells who connects');
    assert.equal(env['ECHO_URL'], `redis://user:word@${own}:${port}/0`);
    assert.equal(env['UNKNOWN'], `http://other.space.internal:${port}`);
    assert.equal(env['LONGER'], 'my-echo.space.internal echo.space.internal.example.com');

    await assert.rejects(say(address, port, 1), 'nobody is registered');
    await register('one', '127.0.0.11');
    assert.equal(await say(address, port, 10), 'first 10');
    assert.equal(await say(address, port, 20_000_000), 'first 20000000');
    await register('two', '127.0.0.12');
    await eventually('both answer', async () => {
      const seen = new Set<string>();
      for (let i = 0; i < 8; i++) seen.add(await say(address, port, 0));
      return seen.size === 2;
    });
    const health = (Status: 'HEALTHY' | 'UNHEALTHY') =>
      one.cloudmap.send(new UpdateInstanceCustomHealthStatusCommand({ ServiceId: service, InstanceId: 'one', Status }));
    await health('UNHEALTHY');
    for (let i = 0; i < 8; i++) assert.equal(await say(address, port, 0), 'second 0');
    await health('HEALTHY');
    await deregister('two');
    for (let i = 0; i < 8; i++) assert.equal(await say(address, port, 0), 'first 0');
    await assert.rejects(one.cloudmap.send(new DeleteServiceCommand({ Id: service })), { name: 'ResourceInUse' });
    await deregister('one');
    await assert.rejects(say(address, port, 1));
  });

  test('a port that another program has on every address is replaced, in the environment too', async () => {
    const port = await listen('everywhere', '0.0.0.0', 0);
    await register('any', '127.0.0.13');
    const { env, end } = await running(one, { ECHO: `http://echo.space.internal:${port}` });
    const there = new URL(env['ECHO']!);
    assert.notEqual(there.port, String(port));
    assert.equal(await say(there.hostname, Number(there.port), 7), 'everywhere 7');
    await end();
    await eventually('the address goes with the task', () =>
      say(there.hostname, Number(there.port), 7).then(
        () => false,
        () => true,
      ),
    );
    await deregister('any');
  });

  test('a private name is known in its own account only', async () => {
    const plain = await environmentOf(other, { ECHO: 'http://echo.space.internal' });
    assert.equal(plain['ECHO'], 'http://echo.space.internal');
    const theirs = await makeService(other.cloudmap, other.vpc);
    const names = await rehearsal.names();
    const [mine, foreign] = [one, other].map((f) => names[`${f.account}/us-east-1/${f.vpc}/echo.space.internal`]);
    assert.ok(mine && foreign && mine !== foreign);
    assert.match((await environmentOf(other, { ECHO: 'echo.space.internal' }))['ECHO']!, /^127\./);
    await other.cloudmap.send(new DeleteServiceCommand({ Id: theirs }));
    assert.equal((await rehearsal.names())['echo.space.internal'], mine);
  });

  test('a process that is given the DNS name of a load balancer reaches it, on the listener it means', async () => {
    const { url } = await one.balanced('names');
    const port = (port: number) => ({
      GroupId: one.group,
      IpPermissions: [{ IpProtocol: 'tcp', FromPort: port, ToPort: port, UserIdGroupPairs: [{ GroupId: one.group }] }],
    });
    await one.ec2.send(new AuthorizeSecurityGroupIngressCommand(port(8080)));
    const { env, end } = await running(one, { URL: `${url}/x`, OTHER_LISTENER: url.replace('.com/', '.com:8080/') });
    assert.match(env['URL']!, /^http:\/\/127\.[\d.]+(:\d+)?\/names\/x$/);
    const answer = await fetch(env['URL']!);
    assert.deepEqual([answer.status, answer.headers.get('server')], [503, 'awselb/2.0'], 'nobody is registered');
    const none = await fetch(env['OTHER_LISTENER']!);
    assert.match(none.headers.get('x-rehearsal')!, /no listener on port 8080/);
    await end();
  });

  test('a deleted service takes its name with it', async () => {
    await one.cloudmap.send(new DeleteServiceCommand({ Id: service }));
    assert.equal((await rehearsal.names())['echo.space.internal'], undefined);
  });
});
