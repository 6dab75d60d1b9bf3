/**
 * A storm in one account: what it costs the others, and the account itself, with and without what keeps a fleet in
 * order.
 * docs/benchmarks.md.
 */
import { DescribeServicesCommand, RegisterTaskDefinitionCommand } from '@aws-sdk/client-ecs';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Accounts } from '../services/reconciler/aws/account.ts';
import { addPlace } from '../services/control-plane/store/places.ts';
import { startRehearsal } from '../services/rehearsal/index.ts';
import { openControlPlane } from '../test/control-plane/open.ts';
import { makePlace } from '../test/support/place.ts';
import { writeSection } from './section.ts';

const STORM = 120;
const LOOK_SECONDS = 1;
const OTHERS = 5;
const SLOTS = 16;
const ACCOUNT = '450000000027';
const DEPLOYMENTS = 25;
const PACE = 3;

/** Seconds until each look of other places is carried out, while the storm's take their time. */
async function looks(perPlace: number): Promise<number[]> {
  const plane = await openControlPlane();
  const { db } = plane;
  const add = async (place: string): Promise<string> => {
    const id = randomUUID();
    const row = { id, workspace_id: plane.workspaceId, place_id: place, name: id, source: 'external_docker' };
    await db
      .insertInto('deployments')
      .values({ ...row, type: 'dev', accepted_at: new Date() })
      .execute();
    return id;
  };
  const placeOf = async (name: string): Promise<string> =>
    (await addPlace(db, { workspaceId: plane.workspaceId, name, version: null }))!.id;
  const storm = await placeOf('storm');
  const ask = (id: string): Promise<void> => db.transaction().execute((tx) => plane.looks.ask(tx, id));
  for (let n = 0; n < STORM; n += 1) await ask(await add(storm));
  const stormy = new Set((await db.selectFrom('deployments').select('id').execute()).map(({ id }) => id));
  const done = new Map<string, number>();
  await plane.looks.work({ atOnce: SLOTS, perPlace }, async (look) => {
    if (stormy.has(look.deploymentId)) await sleep(LOOK_SECONDS * 1000);
    done.set(look.deploymentId, performance.now());
    await db.transaction().execute((tx) => plane.looks.settle(tx, look, 1, 3600));
  });
  await sleep(1500);
  const waited: number[] = [];
  for (let n = 0; n < OTHERS; n += 1) {
    const other = await add(await placeOf(`other-${n}`));
    const asked = performance.now();
    await ask(other);
    while (!done.has(other)) await sleep(10);
    waited.push((done.get(other)! - asked) / 1000);
  }
  await plane.close();
  return waited;
}

/** Many deployments register a task definition each and look at their services, and one of them but looks once. */
async function calls(share: number) {
  const rehearsal = await startRehearsal({ pace: PACE });
  const t = await makePlace(rehearsal, ACCOUNT);
  const accounts = new Accounts({
    credentials: t.credentials,
    endpoint: rehearsal.endpoint,
    rates: { pace: PACE, share },
  });
  const enter = (name: string) => accounts.enter(t.place, { name });
  const entered = await Promise.all(Array.from({ length: DEPLOYMENTS }, (_, n) => enter(`storm-${n}`)));
  const calm = await enter('calm');
  let failed = 0;
  const fail = (): void => void (failed += 1);
  const look = new DescribeServicesCommand({ cluster: t.place.clusterArn, services: [`${t.place.prefix}-none`] });
  const began = performance.now();
  const all = entered.flatMap((aws, n) => [
    ...[1, 2].map((r) => aws.ecs.send(definition(`${t.place.prefix}-storm-${n}-${r}`, t.place.prefix))),
    ...Array.from({ length: 20 }, () => aws.ecs.send(look)),
  ]);
  const settled = Promise.all(all.map((call) => call.then(() => {}, fail)));
  const asked = performance.now();
  const mine = calm.ecs.send(look).then(
    () => (performance.now() - asked) / 1000,
    () => Infinity,
  );
  await settled;
  const seconds = (performance.now() - began) / 1000;
  const throttled = (await rehearsal.calls()).filter((call) => call.account === ACCOUNT && /Throttl/.test(call.error));
  const result = { calls: all.length, seconds, failed, throttled: throttled.length, calm: await mine };
  accounts.close();
  t.close();
  await rehearsal.stop();
  return result;
}

const definition = (family: string, prefix: string) =>
  new RegisterTaskDefinitionCommand({
    family,
    requiresCompatibilities: ['FARGATE'],
    networkMode: 'awsvpc',
    cpu: '256',
    memory: '512',
    containerDefinitions: [{ name: 'server', image: 'example.com/server', essential: true }],
    tags: [{ key: 'freehold:place', value: prefix }],
  });

const most = (waited: readonly number[]): string => `${Math.max(...waited).toFixed(1)} s`;
const [unfair, fair] = [await looks(SLOTS), await looks(SLOTS / 2)];
// As if AWS granted a thousand times as much: only the SDK's own retries are left.
const [without, withBuckets] = [await calls(1000), await calls(0.8)];
const row = (what: string, { seconds, failed, throttled, calm }: Awaited<ReturnType<typeof calls>>): string =>
  `| ${[what, throttled, failed, `${seconds.toFixed(1)} s`, `${calm.toFixed(2)} s`].join(' | ')} |`;

writeSection(`## Fleet

\`bench/fleet.ts\`. A storm: ${STORM} looks of one place, each of ${LOOK_SECONDS} s, on ${SLOTS} slots; meanwhile one
look in each of ${OTHERS} other places.

| Looks at once in one place | The longest that a look elsewhere waited |
| --- | --- |
| any number (${SLOTS}) | ${most(unfair)} |
| half (${SLOTS / 2}) | ${most(fair)} |

${DEPLOYMENTS} deployments in one account make ${without.calls} calls at once
(2 \`RegisterTaskDefinition\` and 20 \`DescribeServices\` each);
another one asks for its services in the middle.
An emulated account, ${PACE} times faster than AWS, whose rates hold; 3 tries a call.

| | Refused by AWS | Failed | All done after | The other's call |
| --- | --- | --- | --- | --- |
${row('the SDK alone', without)}
${row('with buckets of our own', withBuckets)}
`);
process.exit(0);
