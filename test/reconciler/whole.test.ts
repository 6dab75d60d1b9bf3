/**
 * A whole server through the pass: made, revised, deleted, and nothing left; with the rights that the kinds declare.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { url } from '../../services/reconciler/aws/names.ts';
import { writeEnvironment } from '../../services/reconciler/kinds/environment.ts';
import { kinds } from '../../services/reconciler/kinds/index.ts';
import { pass, type Outcome, type Row, type Rows } from '../../services/reconciler/pass.ts';
import { ecs } from '../../services/reconciler/platforms/ecs.ts';
import { remaining } from '../../services/reconciler/aws/remaining.ts';
import { Graph } from '../../services/reconciler/resource.ts';
import type { ServerSpec } from '../../services/reconciler/spec.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000005';

class MemoryRows implements Rows {
  readonly map = new Map<string, Row>();
  async all(): Promise<Row[]> {
    return structuredClone([...this.map.values()]);
  }
  async put(row: Row): Promise<void> {
    this.map.set(row.id, structuredClone(row));
  }
  async drop(id: string): Promise<void> {
    this.map.delete(id);
  }
}

describe('a whole server', { timeout: 180_000 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let aws: Account;
  let image: string;

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    aws = await t.accounts.enter(t.place, { name: 'whole' });
    image = (await rehearsal.pushImage({ account: ACCOUNT, region: 'us-east-1', repository: 'app', image: 'stub' }))
      .uri;
  });
  after(async () => {
    t.close();
    await rehearsal.stop();
  });

  test('is made, revised, and removed without a trace', async () => {
    const deployment = { id: randomUUID(), name: 'agent', workspaceId: randomUUID() };
    const rows = new MemoryRows();
    const said: string[] = [];
    const look = async (generation: string, graph: Graph): Promise<Outcome> =>
      pass({
        generation,
        graph,
        kinds,
        rows,
        memory: new Map(),
        cx: (node) => ({ aws, tags: ownerTags(t.place, deployment.id, node), fence: async () => {} }),
        conceal: (text) => text,
        defect: (node, error) => assert.fail(`${node}: ${String(error)}`),
        say: async (node, message) => void said.push(`${node}: ${message}`),
        now: () => new Date(),
      });
    const settle = async (what: string, generation: string, graph: () => Graph): Promise<void> => {
      try {
        await eventually(what, async () => (await look(generation, graph())).settled, { seconds: 90, every: 100 });
      } catch (error) {
        const states = [...rows.map.values()].map((row) => `${row.id}: ${row.state.state} ${row.state.message}`);
        throw new Error(`${what}\n${states.join('\n')}\n${said.slice(-20).join('\n')}`, { cause: error });
      }
    };

    const versionId = await writeEnvironment(aws, t.place, deployment, { REVISION: 'one' });
    const first: ServerSpec = {
      deployment,
      revision: { id: randomUUID(), number: 1 },
      type: 'prod',
      databaseTier: null,
      source: 'external_docker',
      references: [],
      agentAuth: { type: 'noop' },
      image,
      resources: { cpu: 1, memoryMb: 1024, minScale: 1, maxScale: 2 },
      environment: [{ name: 'REVISION', versionId }],
      retainedSecretVersions: [],
    };
    await settle('the first revision', first.revision.id, () => ecs(first, t.place));
    const address = url(t.place, deployment);
    const answer = async () => (await (await rehearsal.fetch(`${address}/info`)).json()) as { revision?: string };
    assert.equal((await answer()).revision, 'one');
    const made = said.filter((line) => line.endsWith(': create')).map((line) => line.split(':')[0]);
    const nodes = ecs(first, t.place).nodes.map((node) => node.id);
    assert.deepEqual(made.sort(), nodes.filter((id) => id !== 'environment').sort(), 'each made once');

    const idle = t.calls.length;
    await look(first.revision.id, ecs(first, t.place));
    const calls = t.calls.slice(idle).map((call) => `${call.service}:${call.operation}`);
    assert.deepEqual(
      calls.filter((call) => !/:(Describe|List|Get)/.test(call)),
      [],
      'an idle look changes nothing',
    );

    const second: ServerSpec = {
      ...first,
      revision: { id: randomUUID(), number: 2 },
      environment: [
        { name: 'REVISION', versionId: await writeEnvironment(aws, t.place, deployment, { REVISION: 'two' }) },
      ],
      retainedSecretVersions: [versionId],
    };
    const before = t.calls.length;
    await settle('the second revision', second.revision.id, () => ecs(second, t.place));
    assert.equal((await answer()).revision, 'two');
    const changes = t.calls.slice(before).map((call) => `${call.service}:${call.operation}`);
    assert.deepEqual(
      [...new Set(changes.filter((call) => !/:(Describe|List|Get)/.test(call)))].sort(),
      ['ecs:DeregisterTaskDefinition', 'ecs:RegisterTaskDefinition', 'ecs:UpdateService'],
      'only the task definition and the service',
    );

    const own: ServerSpec = {
      ...second,
      revision: { id: randomUUID(), number: 3 },
      environment: [
        {
          name: 'POSTGRES_URI_CUSTOM',
          versionId: await writeEnvironment(aws, t.place, deployment, { POSTGRES_URI_CUSTOM: 'postgresql://x' }),
        },
      ],
    };
    await settle("a database of the user's own", own.revision.id, () => ecs(own, t.place));
    const bare: ServerSpec = { ...second, revision: { id: randomUUID(), number: 4 }, environment: [] };
    await settle('no variables any more', bare.revision.id, () => ecs(bare, t.place));
    const destroyed = t.calls.filter((call) => /^Delete(DBInstance|Secret)$/.test(call.operation));
    assert.deepEqual(
      destroyed.map((call) => call.operation),
      ['DeleteSecret'],
      'neither the database nor the variables: only the URI of the database, which is made anew',
    );
    assert.ok(rows.map.has('environment'), 'kept until the deployment is deleted');

    await settle('the removal', randomUUID(), () => new Graph());
    assert.deepEqual([...rows.map.keys()], []);
    // AWS's search names what is gone for a while.
    const rest = await eventually('nothing is left', async () => {
      const found = await remaining(aws, t.place, deployment.id);
      return found.left.length === 0 ? found : undefined;
    });
    const whys = [...new Set(rest.kept.map((each) => each.why))].sort();
    assert.ok(
      whys.every((why) => /final snapshot|recovery window|deregistered task definition/.test(why)),
      whys.join(),
    );
  });
});
