import { ListClustersCommand } from '@aws-sdk/client-ecs';
import { DeleteRoleCommand, IAMClient, SimulatePrincipalPolicyCommand } from '@aws-sdk/client-iam';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Accounts } from '../../services/reconciler/aws/account.ts';
import { PlaceUnavailable, explain } from '../../services/reconciler/aws/errors.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000006';

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
