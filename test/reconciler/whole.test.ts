/**
 * A whole server through the pass: made, revised, deleted, and nothing left; with the rights that the kinds declare.
 */
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { Terminal } from '../../services/reconciler/aws/errors.ts';
import { findInjectable } from '../../services/reconciler/aws/injected.ts';
import { names, url } from '../../services/reconciler/aws/names.ts';
import { TAG, ownerTags } from '../../services/reconciler/aws/tags.ts';
import { ENVIRONMENT, writeEnvironment } from '../../services/reconciler/kinds/environment.ts';
import { kinds } from '../../services/reconciler/kinds/index.ts';
import { REPOSITORY, pushToken } from '../../services/reconciler/kinds/repository.ts';
import { pass, type Outcome, type Row, type Rows } from '../../services/reconciler/pass.ts';
import { ecs } from '../../services/reconciler/platforms/ecs.ts';
import { remaining } from '../../services/reconciler/aws/remaining.ts';
import { Graph } from '../../services/reconciler/resource.ts';
import type { ServerSpec } from '../../services/reconciler/spec.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { push } from '../support/push.ts';
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

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    aws = await t.accounts.enter(t.place, { name: 'whole' });
  });
  after(async () => {
    t.close();
    await rehearsal.stop();
  });

  /** @param tag its value of the tag that allows injection; undefined: it has none */
  async function customerSecret(Name: string, SecretString: string, tag?: string): Promise<string> {
    const credentials = rehearsal.root(ACCOUNT);
    const secrets = new SecretsManagerClient({ region: t.place.region, endpoint: rehearsal.endpoint, credentials });
    const Tags = tag === undefined ? [] : [{ Key: TAG.inject, Value: tag }];
    return (await secrets.send(new CreateSecretCommand({ Name, SecretString, Tags }))).ARN!;
  }

  test("a secret of the customer's own: found only where the customer tagged it, and nobody else's is", async () => {
    const find = (name: string, key: string | null = null) => findInjectable(aws, t.place, name, key);
    const tagged = await customerSecret('agents/tagged', 'x', t.place.prefix);
    assert.equal(await find('agents/tagged', 'key'), tagged);
    assert.equal(await find(tagged), tagged);

    const untagged = await customerSecret('agents/untagged', 'x');
    await customerSecret('agents/of-another-place', 'x', 'another');
    const none =
      /^no secret that may be injected: ".*": it must be in account 350000000005, region us-east-1, and have the tag "freehold:inject" = "freehold"$/;
    const deployment = { id: randomUUID() };
    await writeEnvironment(aws, t.place, deployment, { A: '1' });
    const own = names(t.place, { ...deployment, name: 'agent' }).secret('environment');
    for (const [name, key, says] of [
      ['agents/untagged', null, none],
      [untagged, null, none],
      ['agents/of-another-place', null, none],
      ['agents/nowhere', null, none],
      [own, 'A', /^a deployment's own secret: .*: name one that you made$/],
      [tagged.replace('us-east-1', 'eu-west-1'), null, /^not a secret of this place: .* region us-east-1$/],
      [tagged.replace(ACCOUNT, '999999999999'), null, /^not a secret of this place: .* account 350000000005/],
      ['agents/tagged', 'a:b', /^not a key that ECS can take out of a secret: "a:b"/],
    ] as const)
      await assert.rejects(
        find(name, key),
        (error) => error instanceof Terminal && says.test(error.message),
        `${name} ${key}`,
      );
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
    const { repository, username, token: password } = await pushToken(t.accounts, t.place, deployment);
    const digest = await push(rehearsal, { repository, tag: 'latest', username, password, image: 'stub' });
    const first: ServerSpec = {
      deployment,
      revision: { id: randomUUID(), number: 1 },
      type: 'prod',
      databaseTier: null,
      source: 'internal_docker',
      references: [],
      agentAuth: { type: 'noop' },
      image: `${repository}@${digest}`,
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
    const byRequest = [ENVIRONMENT, REPOSITORY];
    assert.deepEqual(made.sort(), nodes.filter((id) => !byRequest.includes(id)).sort(), 'each made once');

    const idle = t.calls.length;
    await look(first.revision.id, ecs(first, t.place));
    const calls = t.calls.slice(idle).map((call) => `${call.service}:${call.operation}`);
    assert.deepEqual(
      calls.filter((call) => !/:(Describe|List|Get)/.test(call)),
      [],
      'an idle look changes nothing',
    );

    const theirs = await customerSecret('agents/revision', JSON.stringify({ number: 'two' }), t.place.prefix);
    const second: ServerSpec = {
      ...first,
      revision: { id: randomUUID(), number: 2 },
      environment: [{ name: 'OTHER', versionId: await writeEnvironment(aws, t.place, deployment, { OTHER: 'x' }) }],
      references: [
        { name: 'REVISION', arn: await findInjectable(aws, t.place, 'agents/revision', 'number'), key: 'number' },
      ],
      retainedSecretVersions: [versionId],
    };
    assert.equal(second.references[0]!.arn, theirs);
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
      references: [],
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
      const found = await remaining(aws, t.place, deployment.id, []);
      return found.left.length === 0 ? found : undefined;
    });
    const whys = [...new Set(rest.kept.map((each) => each.what))].sort();
    assert.ok(
      whys.every((why) => /final snapshot|recovery window|deregistered task definition/.test(why)),
      whys.join(),
    );
  });
});
