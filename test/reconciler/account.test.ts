import { CreateLogGroupCommand, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeClustersCommand, ListClustersCommand } from '@aws-sdk/client-ecs';
import { CloudTrailClient, LookupEventsCommand } from '@aws-sdk/client-cloudtrail';
import {
  DeleteRoleCommand,
  GetRoleCommand,
  IAMClient,
  SimulatePrincipalPolicyCommand,
  UpdateAssumeRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Accounts, isWrite, type Write, type Written } from '../../services/reconciler/aws/account.ts';
import { subjectOf } from '../../services/reconciler/aws/subject.ts';
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

  test('a write is told before it is made, and after, with each of its tries; untold it is not made', async () => {
    const told: { write: Write; written?: Written }[] = [];
    let isRefused = false;
    const accounts = new Accounts({
      credentials: t.credentials,
      endpoint: rehearsal.endpoint,
      rates: { pace: rehearsal.pace },
      timeoutSeconds: 0.5,
      async onWrite(write) {
        if (isRefused) throw new Error('not now');
        const one: (typeof told)[number] = { write };
        told.push(one);
        await Promise.resolve();
        return (written) => {
          one.written = written;
          return Promise.resolve();
        };
      },
    });
    const session = { name: 'told', actor: 'ada' };
    const { logs } = await accounts.enter(t.place, session, { isUrgent: true });
    const [made, lost] = ['/aws/ecs/freehold/made', '/aws/ecs/freehold/lost'];
    const create = (logGroupName: string) =>
      logs.send(new CreateLogGroupCommand({ logGroupName, tags: { 'freehold:place': 'freehold' } }));
    const mine = { account: ACCOUNT, service: 'logs', action: 'CreateLogGroup', times: 1 };
    await rehearsal.fault({ ...mine, throttle: true });
    const answer = await create(made);
    await rehearsal.fault({ ...mine, timeout: true });
    await create(lost);
    await assert.rejects(create(made));
    await logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: made }));
    await accounts.lend(t.place, session, [{ actions: ['ecr:PutImage'], resources: ['*'] }]);

    const shown = told.map(({ write, written }) => [
      `${write.service}:${write.operation}`,
      subjectOf(write.input),
      written?.requests.map(({ error }) => error ?? 'done'),
      written?.unanswered,
    ]);
    assert.deepEqual(shown, [
      ['logs:CreateLogGroup', made, ['ThrottlingException', 'done'], 0],
      ['logs:CreateLogGroup', lost, ['done'], 1],
      ['logs:CreateLogGroup', made, ['ResourceAlreadyExistsException'], 0],
      ['sts:AssumeRole', t.place.roleArn, [], 0],
    ]);
    assert.equal(told[0]!.written!.requests[1]!.id, answer.$metadata.requestId);
    assert.deepEqual([told[0]!.write.session, told[0]!.write.place.id], [session, t.place.id]);
    assert.equal(told[2]!.written!.error, 'ResourceAlreadyExistsException');
    assert.match(told[3]!.written!.lentKey!, /^ASIA/);

    isRefused = true;
    await assert.rejects(create('/aws/ecs/freehold/untold'), /not now/);
    const { logGroups } = await logs.send(
      new DescribeLogGroupsCommand({ logGroupNamePrefix: '/aws/ecs/freehold/untold' }),
    );
    assert.deepEqual(logGroups, []);
    accounts.close();
  });

  describe('who asked', () => {
    const deployment = '0d5e2a54-1111-4222-8333-944455556666';
    const session = { name: 'asked', deployment, operation: 'delete', actor: 'key-7' };
    const root = () => ({ region: 'us-east-1', endpoint: rehearsal.endpoint, credentials: rehearsal.root(ACCOUNT) });

    /** Of the customer's event history: the newest of this name by a session of this name. */
    const recorded = (name: string, by: string) =>
      eventually(`CloudTrail has ${name} by ${by}`, async () => {
        const LookupAttributes = [{ AttributeKey: 'EventName' as const, AttributeValue: name }];
        const trail = new CloudTrailClient(root());
        const { Events = [] } = await trail.send(new LookupEventsCommand({ LookupAttributes }));
        const found = Events.map(({ CloudTrailEvent }) => JSON.parse(CloudTrailEvent!) as Record<string, any>);
        const done = found.filter(({ errorCode }) => errorCode === undefined);
        const mine = done.find(({ userIdentity, requestParameters }) =>
          [userIdentity.arn?.split('/').at(-1), requestParameters?.roleSessionName].includes(by),
        );
        assert.ok(mine);
        return mine;
      });

    test("is in the customer's CloudTrail, with what for, and of which deployment", async () => {
      const { logs } = await t.accounts.enter(t.place, session);
      const logGroupName = '/aws/ecs/freehold/asked';
      await logs.send(new CreateLogGroupCommand({ logGroupName, tags: { 'freehold:place': 'freehold' } }));
      const { userIdentity } = await recorded('CreateLogGroup', 'asked');
      assert.equal(userIdentity.sessionContext.sourceIdentity, 'key-7');
      assert.deepEqual((await recorded('AssumeRole', 'asked')).requestParameters.principalTags, {
        'freehold:deployment': deployment,
        'freehold:operation': 'delete',
        'freehold:actor': 'key-7',
      });
    });

    test('stays in it when AWS has no room for the tags', async () => {
      const resource = `::${ACCOUNT}:`;
      await rehearsal.fault({ service: 'sts', action: 'AssumeRole', resource, code: 'PackedPolicyTooLarge', times: 1 });
      const { logs } = await t.accounts.enter(t.place, { ...session, name: 'packed' });
      await logs.send(new DescribeLogGroupsCommand({}));
      const { requestParameters } = await recorded('AssumeRole', 'packed');
      assert.deepEqual([requestParameters.principalTags, requestParameters.sourceIdentity], [undefined, 'key-7']);
    });

    test('is not said to a role whose trust is too old for it; others are told what to allow', async () => {
      const iam = new IAMClient(root());
      const RoleName = 'freehold-control-plane';
      const { Role } = await iam.send(new GetRoleCommand({ RoleName }));
      const trust = decodeURIComponent(Role!.AssumeRolePolicyDocument!);
      const set = (PolicyDocument: string) => iam.send(new UpdateAssumeRolePolicyCommand({ RoleName, PolicyDocument }));
      await set(trust.replaceAll(/,"sts:(TagSession|SetSourceIdentity)"/g, ''));
      const name = await eventually('the role trusts nobody with tags', async () => {
        const one = `old-${randomUUID().slice(0, 8)}`;
        await assert.rejects(t.accounts.enter(t.place, { ...session, name: one }), (error) => {
          assert.match(explain(error).message, /cannot be entered: .*: allow sts:TagSession and sts:SetSourceIdentity/);
          return true;
        });
        return one;
      });
      assert.ok(await t.accounts.enter({ ...t.place, original: true }, { ...session, name }));
      await set(trust);
      await eventually('the role trusts as before', () => t.accounts.enter(t.place, { ...session, name }));
    });
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
