import { CreateTagsCommand, DeleteTagsCommand, EC2Client } from '@aws-sdk/client-ec2';
import { IAMClient, UpdateAssumeRolePolicyCommand } from '@aws-sdk/client-iam';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { PlaceUnavailable } from '../../services/reconciler/aws/errors.ts';
import { grants, scopeOf } from '../../services/reconciler/aws/grants.ts';
import { obstaclesOf } from '../../services/reconciler/aws/obstacles.ts';
import { verifyPlace, type Verdict } from '../../services/reconciler/aws/verify.ts';
import { newExternalId } from '../../services/reconciler/place.ts';
import type { Step } from '../../services/reconciler/plan.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000004';

describe('a place is verified', { timeout: 120_000 }, () => {
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

  const customer = () => ({ region: 'us-east-1', endpoint: rehearsal.endpoint, credentials: rehearsal.root(ACCOUNT) });
  const wrong = (verdict: Verdict) =>
    verdict.checks.filter((check) => !check.ok).map((check) => `${check.name}: ${check.message}`);

  test('with everything there, all is well', async () => {
    const verdict = await verifyPlace(t.accounts, t.place);
    assert.deepEqual(wrong(verdict), []);
    assert.equal(verdict.ok, true);
    assert.deepEqual(
      verdict.checks.map((check) => check.name),
      [
        'role',
        'external id',
        'network',
        'cluster',
        'listener',
        'namespace',
        'database subnets',
        'uploads',
        'permissions',
        'deletion',
      ],
    );
    assert.match(verdict.checks.at(-1)!.message, /^open/);
    const { uploadBucket: _, ...before } = t.place;
    assert.equal((await verifyPlace(t.accounts, before)).ok, true, 'a stack from before there was a bucket');
  });

  test('with another external id, or none such role, the account cannot be entered', async () => {
    for (const other of [
      { ...t.place, externalId: 'another' },
      { ...t.place, roleArn: `${t.place.roleArn}-gone` },
    ]) {
      const verdict = await verifyPlace(t.accounts, other);
      assert.equal(verdict.ok, false);
      assert.equal(verdict.checks.length, 1);
      assert.match(verdict.checks[0]!.message, new RegExp(`cannot be entered: "${other.roleArn}".*external id`));
      await assert.rejects(t.accounts.enter(other, { name: 'x1' }), PlaceUnavailable);
    }
  });

  test('a role that anybody may assume without the external id is refused', async () => {
    const iam = new IAMClient(customer());
    const trust = async (Condition?: object) => {
      await iam.send(
        new UpdateAssumeRolePolicyCommand({
          RoleName: 'freehold-control-plane',
          PolicyDocument: JSON.stringify({
            Version: '2012-10-17',
            Statement: [
              {
                Effect: 'Allow',
                Principal: { AWS: `arn:aws:iam::111111111111:user/freehold-${ACCOUNT}` },
                Action: ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity'],
                Condition,
              },
            ],
          }),
        }),
      );
      await rehearsal.settle();
    };
    await trust();
    assert.match(
      wrong(await verifyPlace(t.accounts, t.place)).join(),
      /^external id: the place is suspended: the role lets us in without an external id: /,
    );
    const own = { 'sts:ExternalId': t.place.externalId };
    const stranger = newExternalId();
    for (const [Condition, whom] of [
      [{ StringLike: { 'sts:ExternalId': 'fh-*' } }, 'with any external id'],
      [{ StringEquals: { 'sts:ExternalId': [t.place.externalId, stranger] } }, "with another tenant's external id"],
      [{ StringNotEquals: { 'sts:ExternalId': 'no' } }, 'without an external id'],
    ] as const) {
      await trust(Condition);
      const { suspends } = await verifyPlace(t.accounts, t.place, { stranger });
      assert.match(suspends ?? '', new RegExp(`^the place is suspended: the role lets us in ${whom}: `));
      const closed = { ...t.place, suspended: suspends! };
      for (const enter of [
        () => t.accounts.enter(closed, { name: 'closed' }),
        () => t.accounts.lend(closed, { name: 'closed' }, []),
        () => t.accounts.braked(closed),
      ])
        await assert.rejects(enter(), { message: suspends! });
    }
    await trust({ StringEquals: own });
    assert.equal((await verifyPlace(t.accounts, { ...t.place, suspended: 'as it was' })).suspends, null);
    assert.deepEqual(wrong(await verifyPlace(t.accounts, t.place)), []);
  });

  test('that AWS asks us to slow down does not show that the external id is asked for', async () => {
    const slow = { service: 'sts', action: 'AssumeRole', code: 'ThrottlingException', status: 400, message: 'Rate' };
    // Asked for in three wrong ways, three times each.
    await rehearsal.fault({ ...slow, resource: t.place.roleArn, times: 9 });
    const found = wrong(await verifyPlace(t.accounts, t.place)).join();
    assert.match(found, /^external id: .*slow down/);
  });

  test('each missing permission is named, and it is well again when it is given', async () => {
    const all = grants(scopeOf(t.place));
    const without = (...actions: string[]) =>
      all
        .map((grant) => ({ ...grant, actions: grant.actions.filter((action) => !actions.includes(action)) }))
        .filter((grant) => grant.actions.length > 0);
    await t.allow(without('rds:CreateDBInstance', 'ecs:UpdateService', 'iam:PassRole'));
    const found = wrong(await verifyPlace(t.accounts, t.place));
    assert.deepEqual(
      [...new Set(found.map((message) => /"([a-z-]+:[A-Za-z]+)"/.exec(message)?.[1]))],
      ['ecs:UpdateService', 'iam:PassRole', 'rds:CreateDBInstance'],
    );
    assert.ok(found.every((message) => message.startsWith('permissions: missing permission: ')));
    await t.allow(all);
    assert.equal((await verifyPlace(t.accounts, t.place)).ok, true);
  });

  test('a closed gate is told, and nothing is missing', async () => {
    const all = grants(scopeOf(t.place));
    await t.allow(all.filter((grant) => !grant.gated));
    const { ok, checks } = await verifyPlace(t.accounts, t.place);
    assert.equal(ok, true);
    assert.match(checks.at(-1)!.message, /^closed: .*allowDeletionUntil/);
    await t.allow(all);
  });

  test('a plan is told what its own kinds lack, and the limits that it does not fit into', async () => {
    const all = grants(scopeOf(t.place));
    const aws = await t.accounts.enter(t.place, { name: 'freehold-plan' });
    const step = (kind: string, what: Step['what']): Step => {
      const nothing = { changes: [], means: '', after: [], seconds: [0, 0] as const, writes: 1 };
      return { id: kind, kind, what, ...nothing };
    };
    const asked = async (...steps: Step[]): Promise<string[]> =>
      (await obstaclesOf(aws, t.place, { steps, starts: [{ what: 'vcpu', count: 1 }] })).map(
        ({ what, message }) => `${what}: ${message}`,
      );
    await t.allow(all.filter(({ actions }) => !actions.includes('ecs:UpdateService')));
    await rehearsal.quota(ACCOUNT, 'L-7B6409FD', 0);
    assert.deepEqual(await asked(step('security-group', 'change'), step('ecs-service', 'keep')), []);
    const service = await asked(step('ecs-service', 'restart'));
    assert.match(service.join('\n'), /^permission: missing permission: "ecs:UpdateService" on /m);
    const [limit, ...rest] = await asked(step('rds-postgres', 'create'));
    assert.match(limit!, /^limit: it takes 1 more: "DB instances": 0 of 0 used: ask AWS for more/);
    assert.deepEqual(rest, []);
    assert.deepEqual(await asked(step('rds-postgres', 'change')), [], 'one that is there takes no more');
    await rehearsal.quota(ACCOUNT, 'L-7B6409FD', 40);
    await t.allow(all);
  });

  test('a role with nothing but the right to ask is told all that it needs', async () => {
    const all = grants(scopeOf(t.place));
    await t.allow(all.filter((grant) => grant.actions.includes('iam:SimulatePrincipalPolicy')));
    const found = wrong(await verifyPlace(t.accounts, t.place)).join('\n');
    for (const action of new Set(all.flatMap((grant) => grant.actions))) {
      if (action !== 'iam:SimulatePrincipalPolicy')
        assert.ok(found.includes(`missing permission: "${action}" on`), action);
    }
    await t.allow(all);
  });

  test('what is not there any more, or not tagged, is named with what to do', async () => {
    const ec2 = new EC2Client(customer());
    const tag = { Resources: [t.place.vpcId], Tags: [{ Key: 'langgraph-cloud-enabled', Value: '1' }] };
    await ec2.send(new DeleteTagsCommand(tag));
    const gone = {
      ...t.place,
      privateSubnetIds: [t.place.privateSubnetIds[0]!],
      publicSubnetIds: ['subnet-0000'],
      moreBalancers: [
        { loadBalancerArn: 'arn:second', loadBalancerDnsName: 'second', listenerArn: t.place.listenerArn },
      ],
      uploadBucket: `${t.place.uploadBucket}-gone`,
    };
    const found = wrong(await verifyPlace(t.accounts, gone)).join('\n');
    assert.match(found, /network: not tagged: "vpc-.*": it needs the tag "langgraph-cloud-enabled" = "1"/);
    assert.match(found, /network: no such subnet: "subnet-0000"/);
    assert.match(found, /uploads: .*"s3:ListBucket"|uploads: no such bucket: ".*-gone"/);
    assert.match(found, /listener: another load balancer's listener: ".*": it belongs to ".*freehold\//);
    assert.match(found, /network: too few zones: "us-east-1a"/);
    await ec2.send(new CreateTagsCommand(tag));
    assert.equal((await verifyPlace(t.accounts, t.place)).ok, true);
  });
});
