/**
 * A sweep over 1,000 healthy deployments of the emulated account: its AWS calls by operation, beside the fewest that
 * AWS's limits allow. How it grows with the fleet, and how long AWS's rates make it last: `sweep.ts`.
 * docs/benchmarks.md.
 */
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  ElasticLoadBalancingV2Client,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Cloud } from '../services/control-plane/cloud.ts';
import { addPlace, changePlace } from '../services/control-plane/store/places.ts';
import { sweepPlace } from '../services/control-plane/sweeper.ts';
import type { Account } from '../services/reconciler/aws/account.ts';
import { BatchMemory, batched } from '../services/reconciler/aws/batched.ts';
import { ownerTags } from '../services/reconciler/aws/tags.ts';
import { writeEnvironment } from '../services/reconciler/kinds/environment.ts';
import { kinds } from '../services/reconciler/kinds/index.ts';
import { balancersOf, behind, type Balancer, type Place } from '../services/reconciler/place.ts';
import { ecs } from '../services/reconciler/platforms/ecs.ts';
import type { Graph } from '../services/reconciler/resource.ts';
import { startRehearsal } from '../services/rehearsal/index.ts';
import { openControlPlane } from '../test/control-plane/open.ts';
import { makePlace } from '../test/support/place.ts';
import { writeSection } from './section.ts';

const { values } = parseArgs({
  options: {
    deployments: { type: 'string', default: '1000' },
    'dry-run': { type: 'boolean', default: false },
  },
});
const ACCOUNT = '450000000025';
const PACE = 100;
/** Rules, and target groups, of one load balancer. */
const BALANCER = 100;
const IN_FLIGHT = 16;
const OWN = { POSTGRES_URI_CUSTOM: 'postgresql://x', REDIS_URI_CUSTOM: 'redis://x' };

/** How many things AWS tells of in one call, and how many of them a deployment has. */
const MOST: Readonly<Record<string, readonly [most: number, each: number]>> = {
  LookupEvents: [Infinity, 1],
  ListSecrets: [10, 1],
  DescribeServices: [10, 1],
  DescribeTargetGroups: [20, 1],
  GetResources: [100, 4],
  DescribeLogGroups: [50, 1],
  DescribeScalableTargets: [50, 1],
  DescribeRules: [BALANCER, 1],
  ListTaskDefinitions: [100, 1],
  DescribeSecurityGroups: [199, 1],
};

/** An account with room for a fleet, and the operations that were called there. */
interface Customer {
  readonly aws: Account;
  readonly place: Place;
  readonly calls: string[];
}

interface Deployment {
  readonly id: string;
  readonly name: string;
  readonly graph: Graph;
  readonly rows: Map<string, { readonly kind: string; readonly inputs: unknown; readonly outputs: unknown }>;
}

async function each<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  const waiting = items.values();
  const worker = async (): Promise<void> => {
    for (const item of waiting) await act(item);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

/** Made by the kinds themselves, all of one node at a time: as a pass would, without its own waits and reads. */
async function make({ aws, place }: Customer, count: number): Promise<Deployment[]> {
  const balancers = balancersOf(place);
  const fleet: Deployment[] = [];
  await each([...Array(count).keys()], async (n) => {
    const id = randomUUID();
    const versionId = await writeEnvironment(aws, place, { id }, OWN);
    const name = `agent-${n}`;
    const graph = ecs(
      {
        deployment: { id, name, workspaceId: randomUUID() },
        revision: { id: randomUUID(), number: 1 },
        type: 'dev',
        databaseTier: null,
        source: 'external_docker',
        references: [],
        agentAuth: { type: 'noop' },
        image: `${place.accountId}.dkr.ecr.${place.region}.amazonaws.com/agent@sha256:${'1'.repeat(64)}`,
        // What is read of a service is the same whatever number of tasks it has.
        resources: { cpu: 0.25, memoryMb: 512, minScale: 0, maxScale: 2 },
        environment: Object.keys(OWN).map((variable) => ({ name: variable, versionId })),
        retainedSecretVersions: [],
      },
      behind(place, { balancer: balancers[n % balancers.length]!.loadBalancerArn, slot: null }),
    );
    fleet.push({ id, name, graph, rows: new Map() });
  });
  for (const { id: nodeId } of fleet[0]!.graph.nodes) {
    let missing = fleet;
    for (let tries = 0; missing.length > 0; tries += 1) {
      if (tries === 100) throw new Error(`${missing.length} deployments without "${nodeId}"`);
      if (tries > 0) await sleep(100);
      const view = batched(aws, { where: place.id, memory: new BatchMemory(), now: Date.now });
      const left: Deployment[] = [];
      const wanting: (() => Promise<void>)[] = [];
      await Promise.all(
        missing.map(async (one) => {
          const { kind, needs, inputs: from } = one.graph.nodes.find((node) => node.id === nodeId)!;
          const got = Object.entries(needs).map(([key, need]) => [key, one.rows.get(need.id)!.outputs]);
          const inputs: unknown = from(Object.fromEntries(got));
          const tags = ownerTags(place, one.id, nodeId);
          const seen = await kind.observe({ aws: view, tags, fence: () => Promise.resolve() }, inputs);
          const changes = seen.is === 'ready' ? kind.diff(inputs, seen.live) : [];
          if (seen.is === 'ready' && changes.length === 0)
            return void one.rows.set(nodeId, { kind: kind.kind, inputs, outputs: seen.out });
          left.push(one);
          const live: unknown = seen.is === 'absent' ? undefined : seen.live;
          // What was made a moment ago is not shown at once.
          if (seen.is !== 'busy' && tries % 5 === 0)
            wanting.push(() => kind.converge({ aws, tags, fence: () => Promise.resolve() }, inputs, live, changes));
        }),
      );
      let refused: unknown;
      await each(wanting, (act) => act().catch((error: unknown) => (refused = error)));
      if (tries === 50 && refused !== undefined) throw new Error(`no "${nodeId}"`, { cause: refused });
      missing = left;
    }
  }
  return fleet;
}

interface Sweep {
  readonly calls: Readonly<Record<string, number>>;
  readonly total: number;
  readonly seconds: number;
}

/** The first sweep of a process, and one that comes later. */
async function sweeps(customer: Customer, count: number): Promise<readonly [Sweep, Sweep]> {
  const fleet = await make(customer, count);
  const plane = await openControlPlane();
  try {
    const { db, workspaceId } = plane;
    const { id: place_id } = (await addPlace(db, { workspaceId, name: 'customer', version: null }))!;
    const { id: _, externalId: __, ...outputs } = customer.place;
    await changePlace(db, place_id, { outputs });
    for (let from = 0; from < fleet.length; from += 500) {
      const some = fleet.slice(from, from + 500);
      const type = 'dev' as const;
      const deployments = some.map(({ id, name }) => ({ id, workspace_id: workspaceId, place_id, name, type }));
      const accepted = { source: 'external_docker', accepted_at: new Date(), asked: 1 };
      await db
        .insertInto('deployments')
        .values(deployments.map((one) => ({ ...one, ...accepted })))
        .execute();
      const status = { status: 'READY' as const, settled_asked: 1 };
      await db
        .insertInto('deployment_statuses')
        .values(some.map(({ id }) => ({ deployment_id: id, ...status })))
        .execute();
      const resources = some.flatMap(({ id: deployment_id, rows }) =>
        [...rows].map(([id, { kind, inputs, outputs: out }]) => ({
          deployment_id,
          id,
          kind,
          needs: [],
          state: 'ready' as const,
          message: '',
          generation: deployment_id,
          since: new Date(),
          inputs: JSON.stringify(inputs),
          outputs: JSON.stringify(out),
          tries: 0,
        })),
      );
      await db.insertInto('resources').values(resources).execute();
    }
    const memory = new BatchMemory();
    let later = 0;
    const now = (): number => Date.now() + later;
    const cloud = {
      kinds,
      survey: () =>
        Promise.resolve({
          page() {
            const view = batched(customer.aws, { where: place_id, memory, now });
            return {
              cx: ({ id }: { id: string }, node: string) => ({ aws: view, tags: ownerTags(customer.place, id, node) }),
            };
          },
        }),
    };
    const { looks, log, digestKey } = plane;
    const once = async (): Promise<Sweep> => {
      customer.calls.length = 0;
      const options = { db, looks, log, digestKey, concurrency: 1, sweepSeconds: 900 };
      const swept = await sweepPlace({ ...options, cloud: cloud as unknown as Cloud }, place_id);
      if (swept.deployments !== count || swept.suspects > 0 || swept.unseen > 0)
        throw new Error(`not a sweep over ${count} healthy deployments: ${JSON.stringify(swept)}: ${plane.logged[0]}`);
      const calls: Record<string, number> = {};
      for (const operation of customer.calls) calls[operation] = (calls[operation] ?? 0) + 1;
      return { calls, total: customer.calls.length, seconds: swept.seconds };
    };
    const first = await once();
    // Twice, so that the hour of making them has passed.
    for (const _ of [1, 2]) {
      later += 29 * 60_000;
      await once();
    }
    later += 15 * 60_000;
    return [first, await once()];
  } finally {
    await plane.close();
  }
}

async function emulated(count: number): Promise<readonly [Sweep, Sweep]> {
  const rehearsal = await startRehearsal({ pace: PACE, throttle: false, postgres: '' });
  const t = await makePlace(rehearsal, ACCOUNT);
  try {
    const { region, privateSubnetIds: Subnets, loadBalancerSecurityGroupId } = t.place;
    const elb = new ElasticLoadBalancingV2Client({
      region,
      endpoint: rehearsal.endpoint,
      credentials: rehearsal.root(ACCOUNT),
    });
    const moreBalancers: Balancer[] = [];
    for (let n = 2; n <= count / BALANCER; n += 1) {
      const settings = { Scheme: 'internal' as const, Subnets, SecurityGroups: [loadBalancerSecurityGroupId] };
      const made = await elb.send(new CreateLoadBalancerCommand({ Name: `${t.place.prefix}-${n}`, ...settings }));
      const { LoadBalancerArn, DNSName } = made.LoadBalancers![0]!;
      const DefaultActions = [{ Type: 'fixed-response' as const, FixedResponseConfig: { StatusCode: '404' } }];
      const { Listeners } = await elb.send(
        new CreateListenerCommand({ LoadBalancerArn, Protocol: 'HTTP', Port: 80, DefaultActions }),
      );
      const listenerArn = Listeners![0]!.ListenerArn!;
      moreBalancers.push({ loadBalancerArn: LoadBalancerArn!, loadBalancerDnsName: DNSName!, listenerArn });
    }
    elb.destroy();
    const place = moreBalancers.length > 0 ? { ...t.place, moreBalancers } : t.place;
    const aws = await t.accounts.enter(place, { name: 'sweep' });
    const calls: string[] = [];
    t.calls.push = (...made) => calls.push(...made.map(({ operation }) => operation));
    return await sweeps({ aws, place, calls }, count);
  } finally {
    t.close();
    await rehearsal.stop();
  }
}

const COUNT = Number(values.deployments);
const [first, later] = await emulated(COUNT);

const least = (operation: string): number => {
  const [most, of] = MOST[operation] ?? [1, 0];
  return of === 0 ? 0 : Math.max(1, Math.ceil((COUNT * of) / most));
};
const operations = [...new Set([...Object.keys(MOST), ...Object.keys(later.calls)])];
const extra = Object.entries(first.calls)
  .map(([operation, count]) => [operation, count - (later.calls[operation] ?? 0)] as const)
  .filter(([, count]) => count > 0)
  .map(([operation, count]) => `${count} \`${operation}\``)
  .join(', ');
const tells = (operation: string): string => {
  const [most] = MOST[operation] ?? [1];
  return most === Infinity ? 'all' : String(most);
};
const leastOfAll = operations.reduce((sum, operation) => sum + least(operation), 0);
const text = `## Sweep, call by call

\`bench/sweep-calls.ts\`. A sweep over ${COUNT} healthy deployments with databases and Redis of the customer's own,
behind ${Math.max(1, Math.floor(COUNT / BALANCER))} load balancers of the emulated account, whose request rates are off:
**${later.total} calls,
${(later.total / COUNT).toFixed(2)} a deployment, in ${later.seconds.toFixed(1)} s**;
the fewest that AWS's limits allow are ${leastOfAll}.
The first sweep of a process makes ${first.total}: ${extra} more. They have no call for many, and are remembered.

| Call | tells of | the fewest | made |
| --- | ---: | ---: | ---: |
${operations.map((one) => `| ${one} | ${tells(one)} | ${least(one)} | ${later.calls[one] ?? 0} |`).join('\n')}
`;
if (values['dry-run']) process.stdout.write(text);
else writeSection(text);
process.exit(0);
