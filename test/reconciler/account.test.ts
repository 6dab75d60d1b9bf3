import { DescribeClustersCommand, ListClustersCommand } from '@aws-sdk/client-ecs';
import { DeleteRoleCommand, IAMClient, SimulatePrincipalPolicyCommand } from '@aws-sdk/client-iam';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Accounts, isWrite } from '../../services/reconciler/aws/account.ts';
import { PlaceUnavailable, explain } from '../../services/reconciler/aws/errors.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000006';

test('a call that is not known to only read is a write', () => {
  const reads = ['DescribeServices', 'ListTasks', 'GetResources', 'FilterLogEvents', 'SimulatePrincipalPolicy'];
  assert.deepEqual(reads.filter(isWrite), []);
  assert.equal(isWrite('AssumeRole'), false);
  const writes = [
    'CreateService',
    'AssumeRoleWithSAML',
    'DeregisterTaskDefinition',
    'PutObject',
    'StartQuery',
    'RunTask',
  ];
  assert.deepEqual(writes.filter(isWrite), writes);
});

describe('entering an account', { timeout: 60_000 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
  });
  after(async () => {
    t.close();
    await rehearsal.stop();
  });

  const whoIs = async (name: string) => {
    const aws = await t.accounts.enter(t.place, { name });
    return (await aws.sts.send(new GetCallerIdentityCommand({}))).Arn!;
  };

  test('the role is assumed once for each session, and many sessions at once are not mixed up', async () => {
    const before = t.calls.length;
    const names = Array.from({ length: 30 }, (_, i) => `session-${i % 3}`);
    const arns = await Promise.all(names.map(whoIs));
    names.forEach((name, i) =>
      assert.equal(arns[i], `arn:aws:sts::${ACCOUNT}:assumed-role/freehold-control-plane/${name}`),
    );
    const assumed = t.calls.slice(before).filter((call) => call.operation === 'AssumeRole');
    assert.equal(assumed.length, 3);
  });

  test('no more calls at once than allowed, whatever the session', async () => {
    const [delaySeconds, concurrency, calls] = [0.2, 2, 6];
    const accounts = new Accounts({
      credentials: t.credentials,
      endpoint: rehearsal.endpoint,
      rates: { pace: rehearsal.pace },
      concurrency,
    });
    const sessions = await Promise.all(
      ['one', 'two', 'three'].map((name) => accounts.enter(t.place, { name: `narrow-${name}` })),
    );
    await rehearsal.fault({ account: ACCOUNT, service: 'iam', action: 'SimulatePrincipalPolicy', delaySeconds });
    const before = performance.now();
    const ask = { PolicySourceArn: t.place.roleArn, ActionNames: ['ecs:ListClusters'] };
    await Promise.all(
      Array.from({ length: calls }, (_, i) => sessions[i % 3]!.iam.send(new SimulatePrincipalPolicyCommand(ask))),
    );
    assert.ok((performance.now() - before) / 1000 >= (calls / concurrency) * delaySeconds);
    accounts.close();
  });

  test('an API that does not answer holds up one look, and not each of those behind it', async () => {
    const timeouts = { timeoutSeconds: 0.4, rates: { pace: rehearsal.pace } };
    const accounts = new Accounts({ credentials: t.credentials, endpoint: rehearsal.endpoint, ...timeouts });
    const aws = await accounts.enter(t.place, { name: 'unanswered' });
    const urgent = await accounts.enter(t.place, { name: 'unanswered' }, { isUrgent: true });
    await rehearsal.fault({ account: ACCOUNT, service: 'ecs', action: 'DescribeClusters', timeout: true, times: 9 });
    const seconds = async (act: () => Promise<unknown>): Promise<number> => {
      const before = performance.now();
      await assert.rejects(act(), (error) =>
        /^AWS cannot be reached: ecs:Des.*: ETIMEDOUT/.test(explain(error).message),
      );
      return (performance.now() - before) / 1000;
    };
    const ask = () => aws.ecs.send(new DescribeClustersCommand({ clusters: [t.place.clusterArn] }));
    const asked = async () =>
      (await rehearsal.calls()).filter(
        (call) =>
          call.account === ACCOUNT && call.principal.endsWith('/unanswered') && call.action.startsWith('DescribeC'),
      ).length;
    const first = await seconds(ask);
    const others = [await seconds(ask), await seconds(ask)];
    assert.ok(first >= 0.4, `${first}`);
    assert.ok(Math.max(...others) < 2, others.join());
    const one = await asked();
    assert.ok(one <= 1, `${one}`);
    // It may be back for who waits.
    await assert.rejects(urgent.ecs.send(new DescribeClustersCommand({ clusters: [t.place.clusterArn] })));
    await eventually('the urgent call was made', async () => (await asked()) > one);
    accounts.close();
  });

  test('a missing permission is named with its action, from the call itself', async () => {
    const aws = await t.accounts.enter(t.place, { name: 'denied' });
    await assert.rejects(aws.ecs.send(new ListClustersCommand({})), (error) => {
      assert.match(explain(error).message, /^missing permission: "ecs:ListClusters"/);
      return true;
    });
    assert.equal(t.calls.at(-1)!.error, 'AccessDeniedException');
  });

  test('a role that is taken away is named, and the place is entered again when it is back', async () => {
    const aws = await t.accounts.enter(t.place, { name: 'revoked' });
    const iam = new IAMClient({
      region: 'us-east-1',
      endpoint: rehearsal.endpoint,
      credentials: rehearsal.root(ACCOUNT),
    });
    await t.allow([]);
    await iam.send(new DeleteRoleCommand({ RoleName: 'freehold-control-plane' }));
    await assert.rejects(aws.ecs.send(new ListClustersCommand({})));
    await assert.rejects(t.accounts.enter(t.place, { name: 'anew' }), (error) => {
      assert.ok(error instanceof PlaceUnavailable);
      assert.match(
        error.message,
        /^the account cannot be entered: ".*freehold-control-plane": the role does not exist/,
      );
      return true;
    });
  });
});
