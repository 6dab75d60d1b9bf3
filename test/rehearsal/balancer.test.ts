/** Load balancers: real health, routing to healthy targets, draining, streams, and the refusals of the ELBv2 API. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateRuleCommand,
  CreateTargetGroupCommand,
  DeleteLoadBalancerCommand,
  DeleteRuleCommand,
  DeleteTargetGroupCommand,
  DeregisterTargetsCommand,
  DescribeLoadBalancersCommand,
  DescribeRulesCommand,
  DescribeTargetGroupAttributesCommand,
  DescribeTargetGroupsCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
  ModifyLoadBalancerAttributesCommand,
  ModifyTargetGroupAttributesCommand,
  ModifyTargetGroupCommand,
  RegisterTargetsCommand,
  SetRulePrioritiesCommand,
  type CreateTargetGroupCommandInput,
  type RuleCondition,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { openPromptRehearsal } from '../support/rehearsal.ts';

const REGION = 'eu-west-1';
const ONE = '320000000001';
const OTHER = '320000000002';

interface Site {
  elb: ElasticLoadBalancingV2Client;
  vpc: string;
  subnets: string[];
  balancer: string;
  dns: string;
  listener: string;
}

/** A server that stands for a target, on a port of its own. */
async function target(answer: RequestListener): Promise<{ port: number; server: Server; health: { status: number } }> {
  const health = { status: 200 };
  const server = createServer((request, response) => {
    if (request.url === '/ok') {
      assert.equal(request.headers['user-agent'], 'ELB-HealthChecker/2.0');
      response.writeHead(health.status).end();
    } else answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, server, health };
}

const names =
  (name: string): RequestListener =>
  (_request, response) =>
    void response.end(name);

describe('load balancers', { timeout: 120_000 }, () => {
  let rehearsal: Rehearsal;
  let one: Site;
  const servers: Server[] = [];
  let priorities = 100;

  async function up(answer: RequestListener) {
    const made = await target(answer);
    servers.push(made.server);
    return made;
  }

  async function site(account: string): Promise<Site> {
    const options = { endpoint: rehearsal.endpoint, region: REGION, credentials: rehearsal.root(account) };
    const ec2 = new EC2Client(options);
    const elb = new ElasticLoadBalancingV2Client({ ...options, maxAttempts: 1 });
    const vpc = (await ec2.send(new CreateVpcCommand({ CidrBlock: '10.9.0.0/16' }))).Vpc!.VpcId!;
    const subnets: string[] = [];
    for (const zone of ['a', 'b']) {
      const made = await ec2.send(
        new CreateSubnetCommand({
          VpcId: vpc,
          CidrBlock: `10.9.${subnets.length}.0/24`,
          AvailabilityZone: `${REGION}${zone}`,
        }),
      );
      subnets.push(made.Subnet!.SubnetId!);
    }
    const GroupId = (
      await ec2.send(new CreateSecurityGroupCommand({ VpcId: vpc, GroupName: 'balancer', Description: 'balancer' }))
    ).GroupId!;
    const clients = { IpProtocol: 'tcp', FromPort: 80, ToPort: 80, IpRanges: [{ CidrIp: '10.9.0.0/16' }] };
    await eventually('the group takes a rule', () =>
      ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions: [clients] })),
    );
    const made = await elb.send(
      new CreateLoadBalancerCommand({
        Name: 'freehold',
        Scheme: 'internal',
        Type: 'application',
        Subnets: subnets,
        SecurityGroups: [GroupId],
      }),
    );
    const balancer = made.LoadBalancers![0]!;
    assert.equal(balancer.State!.Code, 'provisioning');
    assert.match(balancer.DNSName!, /^internal-freehold-\d{8,10}\.eu-west-1\.elb\.amazonaws\.com$/);
    assert.equal(balancer.VpcId, vpc);
    assert.deepEqual(balancer.AvailabilityZones!.map((zone) => zone.ZoneName).sort(), ['eu-west-1a', 'eu-west-1b']);
    await eventually('the load balancer is active', async () => {
      const { LoadBalancers } = await elb.send(new DescribeLoadBalancersCommand({ Names: ['freehold'] }));
      return LoadBalancers![0]!.State!.Code === 'active';
    });
    const listener = await elb.send(
      new CreateListenerCommand({
        LoadBalancerArn: balancer.LoadBalancerArn,
        Port: 80,
        Protocol: 'HTTP',
        DefaultActions: [
          {
            Type: 'fixed-response',
            FixedResponseConfig: { StatusCode: '404', ContentType: 'text/plain', MessageBody: 'nothing here' },
          },
        ],
      }),
    );
    return {
      elb,
      vpc,
      subnets,
      balancer: balancer.LoadBalancerArn!,
      dns: balancer.DNSName!,
      listener: listener.Listeners![0]!.ListenerArn!,
    };
  }

  const group = async (
    where: Site,
    name: string,
    more: Partial<CreateTargetGroupCommandInput> = {},
  ): Promise<string> => {
    const { TargetGroups } = await where.elb.send(
      new CreateTargetGroupCommand({
        Name: name,
        Protocol: 'HTTP',
        Port: 8000,
        VpcId: where.vpc,
        TargetType: 'ip',
        HealthCheckPath: '/ok',
        HealthCheckIntervalSeconds: 5,
        HealthCheckTimeoutSeconds: 2,
        HealthyThresholdCount: 2,
        UnhealthyThresholdCount: 2,
        ...more,
      }),
    );
    return TargetGroups![0]!.TargetGroupArn!;
  };
  const route = async (where: Site, path: string, to: string, more: RuleCondition[] = []): Promise<string> => {
    const { Rules } = await where.elb.send(
      new CreateRuleCommand({
        ListenerArn: where.listener,
        Priority: priorities++,
        Conditions: [{ Field: 'path-pattern', Values: [path] }, ...more],
        Actions: [{ Type: 'forward', TargetGroupArn: to }],
      }),
    );
    return Rules![0]!.RuleArn!;
  };
  const register = (where: Site, to: string, ...ports: number[]) =>
    where.elb.send(
      new RegisterTargetsCommand({ TargetGroupArn: to, Targets: ports.map((Port) => ({ Id: '127.0.0.1', Port })) }),
    );
  const deregister = (where: Site, from: string, port: number) =>
    where.elb.send(new DeregisterTargetsCommand({ TargetGroupArn: from, Targets: [{ Id: '127.0.0.1', Port: port }] }));
  const health = async (where: Site, of: string, port?: number) => {
    const { TargetHealthDescriptions } = await where.elb.send(
      new DescribeTargetHealthCommand({
        TargetGroupArn: of,
        ...(port ? { Targets: [{ Id: '127.0.0.1', Port: port }] } : {}),
      }),
    );
    return TargetHealthDescriptions!.map((row) => row.TargetHealth!);
  };
  const becomes = (where: Site, of: string, port: number, state: string) =>
    eventually(`the target is ${state}`, async () => {
      const [seen] = await health(where, of, port);
      return seen?.State === state ? seen : undefined;
    });
  const get = async (where: Site, path: string, headers: Record<string, string> = {}) => {
    const answer = await rehearsal.fetch(`http://${where.dns}${path}`, { headers });
    return { status: answer.status, text: await answer.text(), headers: answer.headers };
  };

  before(async () => {
    rehearsal = await openPromptRehearsal();
    one = await site(ONE);
  });
  after(async () => {
    await one?.elb.send(new DeleteLoadBalancerCommand({ LoadBalancerArn: one.balancer }));
    await rehearsal?.stop();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });

  test('a target passes from unused through initial to healthy, fails with its code, and comes back', async () => {
    const { port, health: mood } = await up(names('back'));
    mood.status = 503;
    const to = await group(one, 'states');
    await register(one, to, port);
    assert.deepEqual(await health(one, to), [
      {
        State: 'unused',
        Reason: 'Target.NotInUse',
        Description: 'Target group is not configured to receive traffic from the load balancer',
      },
    ]);
    const rule = await route(one, '/states', to);
    assert.match(
      (await becomes(one, to, port, 'initial')).Reason!,
      /^Elb\.(RegistrationInProgress|InitialHealthChecking)$/,
    );
    assert.deepEqual(await becomes(one, to, port, 'unhealthy'), {
      State: 'unhealthy',
      Reason: 'Target.ResponseCodeMismatch',
      Description: 'Health checks failed with these codes: [503]',
    });
    mood.status = 200;
    await becomes(one, to, port, 'healthy');
    await one.elb.send(new ModifyTargetGroupCommand({ TargetGroupArn: to, Matcher: { HttpCode: '204,300-310' } }));
    await becomes(one, to, port, 'unhealthy');
    mood.status = 307;
    await becomes(one, to, port, 'healthy');
    await assert.rejects(one.elb.send(new DeleteTargetGroupCommand({ TargetGroupArn: to })), {
      name: 'ResourceInUseException',
    });
    await one.elb.send(new DeleteRuleCommand({ RuleArn: rule }));
    await becomes(one, to, port, 'unused');
    await one.elb.send(new DeleteTargetGroupCommand({ TargetGroupArn: to }));
  });

  test('one success makes a new target healthy; a silent one times out; a closed port fails', async () => {
    const good = await up(names('good'));
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    servers.push(silent);
    const silentPort = (silent.address() as AddressInfo).port;
    const closed = await target(names('closed'));
    await new Promise((resolve) => closed.server.close(resolve));
    const to = await group(one, 'three', { HealthyThresholdCount: 10 });
    await route(one, '/three', to);
    const began = performance.now();
    await register(one, to, good.port, silentPort, closed.port);
    await becomes(one, to, good.port, 'healthy');
    // Ten probes five seconds apart would take 45 s as AWS counts them: even divided by ten much longer than one probe.
    assert.ok(performance.now() - began < 4000, 'the first success is enough');
    assert.equal((await becomes(one, to, silentPort, 'unhealthy')).Reason, 'Target.Timeout');
    assert.equal((await becomes(one, to, closed.port, 'unhealthy')).Reason, 'Target.FailedHealthChecks');
    for (let i = 0; i < 6; i++) assert.equal((await get(one, '/three')).text, 'good');
  });

  test('a health check waits for an answer as long as it was told to, whatever the pace', async () => {
    const slow = createServer((_request, response) => void setTimeout(() => response.end(), 1000));
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
    servers.push(slow);
    const { port } = slow.address() as AddressInfo;
    const to = await group(one, 'slow', { HealthCheckTimeoutSeconds: 4 });
    await route(one, '/slow', to);
    await register(one, to, port);
    await becomes(one, to, port, 'healthy');
  });

  test('requests go in turn to the healthy, to all when none is healthy, and get 503 where nobody is registered', async () => {
    const [a, b] = [await up(names('a')), await up(names('b'))];
    const to = await group(one, 'turns');
    await route(one, '/turns', to);
    assert.equal((await get(one, '/turns')).status, 503);
    await register(one, to, a.port, b.port);
    await Promise.all([becomes(one, to, a.port, 'healthy'), becomes(one, to, b.port, 'healthy')]);
    const seen = [];
    for (let i = 0; i < 8; i++) seen.push((await get(one, '/turns')).text);
    assert.deepEqual([seen.filter((text) => text === 'a').length, seen.filter((text) => text === 'b').length], [4, 4]);
    b.health.status = 500;
    await becomes(one, to, b.port, 'unhealthy');
    for (let i = 0; i < 4; i++) assert.equal((await get(one, '/turns')).text, 'a');
    a.health.status = 500;
    await becomes(one, to, a.port, 'unhealthy');
    const open = new Set<string>();
    for (let i = 0; i < 8; i++) open.add((await get(one, '/turns')).text);
    assert.deepEqual(open, new Set(['a', 'b']));
  });

  test('502 when a target refuses, breaks off or talks nonsense, 504 when it says nothing for the idle time-out', async () => {
    const bad = await up((request, response) => {
      if (request.url === '/bad/cut') request.socket.destroy();
      else if (request.url === '/bad/nonsense') request.socket.end('hello\r\n\r\n');
      else if (request.url === '/bad/half') {
        response.writeHead(200, { 'content-length': '100' });
        response.write('half of it');
        setTimeout(() => request.socket.destroy(), 20);
      } else if (request.url !== '/bad/silent') response.end('fine');
    });
    const to = await group(one, 'bad');
    await route(one, '/bad*', to);
    await register(one, to, bad.port);
    await becomes(one, to, bad.port, 'healthy');
    assert.equal((await get(one, '/bad')).text, 'fine');
    for (const path of ['/bad/cut', '/bad/nonsense']) {
      const answer = await get(one, path);
      assert.equal(answer.status, 502, path);
      assert.match(answer.text, /<h1>502 Bad Gateway<\/h1>/);
      assert.equal(answer.headers.get('server'), 'awselb/2.0');
    }
    await assert.rejects(get(one, '/bad/half'), 'a truncated answer does not look whole');
    const idle = (seconds: string) =>
      one.elb.send(
        new ModifyLoadBalancerAttributesCommand({
          LoadBalancerArn: one.balancer,
          Attributes: [{ Key: 'idle_timeout.timeout_seconds', Value: seconds }],
        }),
      );
    await idle('1');
    try {
      const asked = performance.now();
      assert.equal((await get(one, '/bad/silent')).status, 504);
      assert.ok(performance.now() - asked >= 950, 'a real second, whatever the pace');
    } finally {
      await idle('60');
    }
    bad.server.closeAllConnections();
    await new Promise((resolve) => bad.server.close(resolve));
    assert.equal((await get(one, '/bad')).status, 502);
  });

  test('a draining target gets no new request, finishes those it has, and is gone with the last one', async () => {
    const waiting: (() => void)[] = [];
    const old = await up((request, response) => {
      if (request.url === '/drain/long') waiting.push(() => response.end('finished'));
      else response.end('old');
    });
    const fresh = await up(names('fresh'));
    const to = await group(one, 'drain');
    await route(one, '/drain*', to);
    await register(one, to, old.port);
    await becomes(one, to, old.port, 'healthy');
    const long = get(one, '/drain/long');
    await eventually('the request arrived', () => waiting.length === 1);
    await register(one, to, fresh.port);
    await becomes(one, to, fresh.port, 'healthy');
    await deregister(one, to, old.port);
    assert.deepEqual(await health(one, to, old.port), [
      {
        State: 'draining',
        Reason: 'Target.DeregistrationInProgress',
        Description: 'Target deregistration is in progress',
      },
    ]);
    for (let i = 0; i < 4; i++) assert.equal((await get(one, '/drain')).text, 'fresh');
    await sleep(300);
    assert.equal((await health(one, to, old.port))[0]!.State, 'draining');
    waiting[0]!();
    assert.deepEqual({ ...(await long), headers: undefined }, { status: 200, text: 'finished', headers: undefined });
    assert.equal((await becomes(one, to, old.port, 'unused')).Reason, 'Target.NotRegistered');
    assert.equal((await health(one, to)).length, 1);
    // Nothing in flight: it does not take the delay.
    await deregister(one, to, fresh.port);
    assert.deepEqual(await health(one, to), []);
  });

  test('when the deregistration delay is over, what is left is cut', async () => {
    let reached = false;
    const slow = await up(() => void (reached = true));
    const to = await group(one, 'delay');
    await one.elb.send(
      new ModifyTargetGroupAttributesCommand({
        TargetGroupArn: to,
        Attributes: [{ Key: 'deregistration_delay.timeout_seconds', Value: '5' }],
      }),
    );
    await route(one, '/delay', to);
    await register(one, to, slow.port);
    await becomes(one, to, slow.port, 'healthy');
    const asked = get(one, '/delay');
    await eventually('the request arrived', () => reached);
    await deregister(one, to, slow.port);
    assert.equal((await asked).status, 504);
    assert.deepEqual(await health(one, to), []);
  });

  test('bodies pass as they arrive, in both directions, and a client that leaves is noticed', async () => {
    let left = false;
    const feed = await up((request, response) => {
      if (request.url === '/stream/events') {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: one\n\n');
        request.socket.once('close', () => (left = true));
        return;
      }
      let bytes = 0;
      request.on('data', (chunk: Buffer) => (bytes += chunk.length));
      request.on('end', () => {
        response.writeHead(200, { 'x-bytes': String(bytes), 'set-cookie': ['a=1', 'b=2'] });
        for (let i = 0; i < 64; i++) response.write(Buffer.alloc(1 << 20, 'x'));
        response.end();
      });
    });
    const to = await group(one, 'stream');
    await route(one, '/stream*', to);
    await register(one, to, feed.port);
    await becomes(one, to, feed.port, 'healthy');
    const gone = new AbortController();
    const events = await rehearsal.fetch(`http://${one.dns}/stream/events`, { signal: gone.signal });
    const reader = events.body!.getReader();
    assert.equal(Buffer.from((await reader.read()).value).toString(), 'data: one\n\n');
    gone.abort();
    await eventually('the target sees that the client left', () => left);
    const big = await rehearsal.fetch(`http://${one.dns}/stream/big`, { method: 'POST', body: Buffer.alloc(32 << 20) });
    assert.equal(big.headers.get('x-bytes'), String(32 << 20));
    assert.deepEqual(big.headers.getSetCookie(), ['a=1', 'b=2']);
    assert.equal((await big.arrayBuffer()).byteLength, 64 << 20);
  });

  test('a target sees who asked; rules choose by priority, host, method, header and query', async () => {
    let last: IncomingMessage | undefined;
    const plain = await up((request, response) => void ((last = request), response.end('plain')));
    const special = await up(names('special'));
    const [to, other] = [await group(one, 'plain'), await group(one, 'special')];
    await route(one, '/Rules/*', other, [
      { Field: 'host-header', HostHeaderConfig: { Values: ['agents.example.com', '*.agents.example.com'] } },
    ]);
    await route(one, '/Rules/*', other, [
      { Field: 'http-request-method', HttpRequestMethodConfig: { Values: ['POST'] } },
    ]);
    await route(one, '/Rules/*', other, [
      { Field: 'http-header', HttpHeaderConfig: { HttpHeaderName: 'X-Kind', Values: ['spec?al'] } },
    ]);
    await route(one, '/Rules/*', other, [
      { Field: 'query-string', QueryStringConfig: { Values: [{ Key: 'kind', Value: 'special' }] } },
    ]);
    await route(one, '/Rules/*', to);
    await register(one, to, plain.port);
    await register(one, other, special.port);
    await Promise.all([becomes(one, to, plain.port, 'healthy'), becomes(one, other, special.port, 'healthy')]);

    assert.equal((await get(one, '/Rules/a%20b?x=1&y=%2F', { 'x-forwarded-for': '10.0.0.1' })).text, 'plain');
    assert.equal(last!.url, '/Rules/a%20b?x=1&y=%2F');
    assert.equal(last!.headers.host, one.dns);
    assert.equal(last!.headers['x-forwarded-for'], '10.0.0.1, 10.9.255.250');
    assert.equal(last!.headers['x-forwarded-proto'], 'http');
    assert.equal(last!.headers['x-forwarded-port'], '80');
    assert.match(last!.headers['x-amzn-trace-id'] as string, /^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$/);

    assert.equal((await get(one, '/rules/x')).text, 'nothing here', 'paths are compared with their case');
    assert.equal((await get(one, '/Rules/x', { 'x-kind': 'SPECIAL' })).text, 'special');
    assert.equal((await get(one, '/Rules/x?kind=special')).text, 'special');
    const posted = await rehearsal.fetch(`http://${one.dns}/Rules/x`, { method: 'POST', body: '{}' });
    assert.equal(await posted.text(), 'special');
    const named = await rehearsal.fetch('http://a.agents.example.com/Rules/x');
    assert.equal(await named.text(), 'special');
  });

  test('a name that no load balancer has answers as DNS that does not know it', async () => {
    const answer = await rehearsal.fetch('http://internal-nobody-1.eu-west-1.elb.amazonaws.com/');
    assert.equal(answer.status, 502);
    assert.match(answer.headers.get('x-rehearsal') ?? '', /no load balancer/);
  });

  test('two accounts have load balancers of the same name and do not see each other', async () => {
    const two = await site(OTHER);
    const [mine, theirs] = [await up(names('mine')), await up(names('theirs'))];
    const [to, other] = [await group(one, 'same'), await group(two, 'same')];
    await route(one, '/same', to);
    await route(two, '/same', other);
    await register(one, to, mine.port);
    await register(two, other, theirs.port);
    await Promise.all([becomes(one, to, mine.port, 'healthy'), becomes(two, other, theirs.port, 'healthy')]);
    assert.equal((await get(one, '/same')).text, 'mine');
    assert.equal((await get(two, '/same')).text, 'theirs');
    await assert.rejects(two.elb.send(new DescribeTargetHealthCommand({ TargetGroupArn: to })), {
      name: 'TargetGroupNotFoundException',
    });
    await two.elb.send(new DeleteLoadBalancerCommand({ LoadBalancerArn: two.balancer }));
    assert.equal((await becomes(two, other, theirs.port, 'unused')).Reason, 'Target.NotInUse');
    await assert.rejects(two.elb.send(new DescribeLoadBalancersCommand({ Names: ['freehold'] })), {
      name: 'LoadBalancerNotFoundException',
    });
    await two.elb.send(new DeleteTargetGroupCommand({ TargetGroupArn: other }));
  });

  test('refusals are those of AWS', async () => {
    const [to, other] = [await group(one, 'refusals'), await group(one, 'refusals-2')];
    const again = await group(one, 'refusals');
    assert.equal(again, to, 'the same name with the same settings is the same group');
    await assert.rejects(group(one, 'refusals', { HealthCheckPath: '/other' }), {
      name: 'DuplicateTargetGroupNameException',
    });
    await assert.rejects(group(one, 'a'.repeat(33)), { name: 'ValidationError' });
    await assert.rejects(group(one, 'refusals-3', { HealthCheckTimeoutSeconds: 5 }), { name: 'ValidationError' });
    await assert.rejects(
      one.elb.send(new CreateLoadBalancerCommand({ Name: 'single', Subnets: one.subnets.slice(0, 1) })),
      /two different Availability Zones/,
    );
    const rule = await route(one, '/refusals', to);
    priorities -= 1;
    await assert.rejects(route(one, '/refusals-2', other), { name: 'PriorityInUseException' });
    const second = await route(one, '/refusals-2', other);
    await assert.rejects(
      one.elb.send(new SetRulePrioritiesCommand({ RulePriorities: [{ RuleArn: second, Priority: priorities - 2 }] })),
      { name: 'PriorityInUseException' },
    );
    await assert.rejects(route(one, '/refusals-4', `${to}x`), { name: 'TargetGroupNotFoundException' });
    const { TargetGroups } = await one.elb.send(new DescribeTargetGroupsCommand({ TargetGroupArns: [to] }));
    assert.deepEqual(TargetGroups![0]!.LoadBalancerArns, [one.balancer]);
    const { Rules } = await one.elb.send(new DescribeRulesCommand({ RuleArns: [rule] }));
    assert.deepEqual(Rules![0]!.Actions![0]!.ForwardConfig!.TargetGroups, [{ TargetGroupArn: to, Weight: 1 }]);
    const { Attributes } = await one.elb.send(new DescribeTargetGroupAttributesCommand({ TargetGroupArn: to }));
    assert.equal(Attributes!.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds')!.Value, '300');
    for (const RuleArn of [rule, second]) await one.elb.send(new DeleteRuleCommand({ RuleArn }));
    await assert.rejects(one.elb.send(new DeleteRuleCommand({ RuleArn: rule })), { name: 'RuleNotFoundException' });
    await assert.rejects(one.elb.send(new DescribeRulesCommand({ RuleArns: [rule] })), {
      name: 'RuleNotFoundException',
    });
    for (const TargetGroupArn of [to, other, to]) await one.elb.send(new DeleteTargetGroupCommand({ TargetGroupArn }));
    await assert.rejects(one.elb.send(new DescribeTargetGroupsCommand({ Names: ['refusals'] })), {
      name: 'TargetGroupNotFoundException',
    });
    await assert.rejects(register(one, to, 80), { name: 'TargetGroupNotFoundException' });
  });
});
