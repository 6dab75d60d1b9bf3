/**
 * Random pairs of deployments: what is done for the one is allowed on its own, and nothing of it on the other's. What
 * AWS would decide is decided by the emulated account's policy engine, of the role's policy and the session's.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { isWrite } from '../../services/reconciler/aws/account.ts';
import { denials } from '../../services/reconciler/aws/denials.ts';
import type { Grant, Scope } from '../../services/reconciler/aws/grant.ts';
import { grants, grantsOfPass } from '../../services/reconciler/aws/grants.ts';
import { shortId } from '../../services/reconciler/aws/names.ts';
import { deploymentPolicy, deploymentReads, placeReads } from '../../services/reconciler/aws/session.ts';
import { TAG } from '../../services/reconciler/aws/tags.ts';
import { randomOf } from '../support/random.ts';

const PAIRS = 120;
/** Of each pair's calls, so many are asked about: all of them are, many times over, of all pairs. */
const PART = 0.2;
const ROOT = join(import.meta.dirname, '..', '..');
const PYTHON = join(ROOT, '.cache', 'python', 'rehearsal', 'bin', 'python');
const EVALUATE = join(ROOT, 'test', 'support', 'evaluate.py');
const SEED = Number(process.env['SESSIONS_SEED'] ?? Date.now() % 1_000_000);

/** Changes that AWS lets nobody cut to one deployment. */
const UNCUT: Readonly<Record<string, string>> = {
  'ecs:DeregisterTaskDefinition': 'ECS takes no resource and no tag for it; a definition with other tags is left alone',
  // As its own, too: and then it may remove it.
  'servicediscovery:TagResource': "Cloud Map takes no resource and no resource's tag for it; it can only add our tags",
};

interface Call {
  readonly action: string;
  readonly resource: string;
  readonly keys: Readonly<Record<string, string | readonly string[]>>;
}

interface Asked {
  readonly place: Scope;
  /** The session's policy, as JSON. */
  readonly session: string;
  readonly calls: readonly Call[];
}

type One = Scope & { readonly deployment: { readonly id: string } };

const random = randomOf(SEED);
const below = (limit: number): number => Math.floor(random() * limit);
const of = (letters: string, length: number): string =>
  Array.from({ length }, () => letters[below(letters.length)]!).join('');
const hex = (length: number): string => of('0123456789abcdef', length);
const uuid = (): string => [8, 4, 4, 4, 12].map(hex).join('-');

function placeNamed(prefix: string, account: string, region: string): Scope {
  const arn = (service: string, resource: string): string => `arn:aws:${service}:${region}:${account}:${resource}`;
  const role = (name: string): string => `arn:aws:iam::${account}:role/${prefix}-${name}`;
  const balancer = `app/${prefix}/${hex(16)}`;
  return {
    partition: 'aws',
    region,
    account,
    prefix,
    vpcId: `vpc-${hex(17)}`,
    privateSubnetIds: [`subnet-${hex(17)}`, `subnet-${hex(17)}`],
    clusterArn: arn('ecs', `cluster/${prefix}`),
    executionRoleArn: role('execution'),
    ownRoles: true,
    taskRoleArn: role('task'),
    controlRoleArn: role('control-plane'),
    listenerArn: arn('elasticloadbalancing', `listener/${balancer}/${hex(16)}`),
    loadBalancerArn: arn('elasticloadbalancing', `loadbalancer/${balancer}`),
    namespaceId: `ns-${hex(16)}`,
    databaseSubnetGroup: prefix,
    logGroupRoot: `/aws/ecs/${prefix}`,
    deletionGate: true,
    uploadBucket: `${prefix}-uploads-${account}-${region}`,
  };
}

/** One deployment of the place, as its pass sees it; some are older than roles of their own. */
const oneOf = (place: Scope, slot: number): One => ({
  ...place,
  deployment: { id: uuid() },
  ...(below(4) > 0 && { slot, executionRoleArn: `${place.executionRoleArn}-${slot}` }),
});

interface Pair {
  readonly how: 'one place' | 'one account' | 'two accounts';
  readonly mine: { readonly place: Scope; readonly one: One };
  readonly theirs: { readonly place: Scope; readonly one: One };
}

function pair(index: number): Pair {
  const how = (['one place', 'one account', 'two accounts'] as const)[index % 3]!;
  const prefix = `${of('abcdefghijklmnopqrstuvwxyz', 1)}${of('abcdefghijklmnopqrstuvwxyz0123456789', 1 + below(7))}`;
  const [account, region] = [of('123456789', 12), ['us-east-1', 'eu-central-1'][below(2)]!];
  const place = placeNamed(prefix, account, region);
  const other = {
    'one place': place,
    'one account': placeNamed(`${prefix}-${of('abcdef0123456789', 3)}`, account, region),
    'two accounts': placeNamed(prefix, of('123456789', 12), region),
  }[how];
  return {
    how,
    mine: { place, one: oneOf(place, 1 + 2 * below(50)) },
    theirs: { place: other, one: oneOf(other, 2 + 2 * below(50)) },
  };
}

/** What the grant's own conditions ask for. */
const keysOf = ({ conditions = {} }: Grant): Call['keys'] =>
  Object.fromEntries(
    Object.entries(conditions)
      .filter(([operator]) => operator !== 'Null')
      .flatMap(([operator, keys]) =>
        Object.entries(keys).map(([key, value]) => [
          key,
          operator.startsWith('ForAllValues') ? [value].flat().map(concrete) : concrete([value].flat()[0]!),
        ]),
      ),
  );

const concrete = (pattern: string): string => (pattern === '*' ? '*' : pattern.replaceAll('*', () => hex(8)));

const tagsOf = (kind: 'RequestTag' | 'ResourceTag', { prefix, deployment }: One): Call['keys'] => ({
  [`aws:${kind}/${TAG.place}`]: prefix,
  [`aws:${kind}/${TAG.deployment}`]: deployment.id,
});

/** What is a place's, and no deployment's. */
const IN_COMMON = /:(listener|namespace|vpc)\/|:(subgrp|pg|og):/;
const placesOwn = (keys: Call['keys']): Call['keys'] =>
  Object.fromEntries(Object.entries(keys).filter(([key]) => key !== `aws:ResourceTag/${TAG.deployment}`));

const has = (keys: Call['keys'], kind: string): boolean => `aws:${kind}/${TAG.deployment}` in keys;

/** Calls of a session of `mine`: on what is its own, and the same on what is the other's. */
function callsOf(granted: (scope: One) => Grant[], { mine, theirs }: Pair): { own: Call[]; foreign: Call[] } {
  const [a, b] = [mine.one, theirs.one];
  const [grantsOfA, grantsOfB] = [granted(a), granted(b)];
  const names = (text: string): boolean => text.includes(a.deployment.id) || text.includes(shortId(a.deployment.id));
  const byName = new Set(grantsOfA.filter(({ resources }) => resources.every(names)).flatMap(({ actions }) => actions));
  const own: Call[] = [];
  const foreign: Call[] = [];
  grantsOfA.forEach((grant, index) => {
    const keys = keysOf(grant);
    // Of the other's, but with the tags that this one gives.
    const isGiven = (key: string, value: unknown) => key.startsWith('aws:RequestTag/') || !names(JSON.stringify(value));
    const given = Object.fromEntries(Object.entries(keys).filter(([key, value]) => isGiven(key, value)));
    const toThem = { ...keysOf(grantsOfB[index]!), ...given, ...tagsOf('ResourceTag', b) };
    const isMarked = has(keys, 'RequestTag') || has(keys, 'ResourceTag') || names(JSON.stringify(keys));
    for (const action of grant.actions)
      grant.resources.forEach((pattern, at) => {
        const resource = concrete(pattern);
        // On its own, but with what is the other's in it.
        for (const [key, value] of Object.entries(keys))
          if (names(JSON.stringify(value)) && !key.includes('Tag/'))
            foreign.push({ action, resource, keys: { ...keys, [key]: keysOf(grantsOfB[index]!)[key]! } });
        const itsOwn = names(pattern) || isMarked;
        // Beside their names, such are read of many deployments at once only.
        if (itsOwn || !byName.has(action)) own.push({ action, resource, keys });
        const counterpart = grantsOfB[index]!.resources[at]!;
        if (counterpart === pattern && (IN_COMMON.test(pattern) || (pattern !== '*' && !isMarked))) return;
        const there = concrete(counterpart);
        foreign.push({ action, resource: there, keys: IN_COMMON.test(pattern) ? placesOwn(toThem) : toThem });
        if (!has(keys, 'RequestTag')) return;
        // Made, or tagged, as the other's.
        foreign.push({ action, resource: there, keys: { ...keys, ...tagsOf('RequestTag', b) } });
      });
  });
  return { own, foreign };
}

const statement = (effect: string, each: Pick<Grant, 'conditions'> & Record<string, unknown>) => ({
  Effect: effect,
  ...(each['notActions'] ? { NotAction: each['notActions'] } : { Action: each['actions'] }),
  ...(each['notResources'] ? { NotResource: each['notResources'] } : { Resource: each['resources'] }),
  Condition: each.conditions ?? {},
});

/** Of each call, null when it is allowed, and else what forbids it. */
async function decided(asked: readonly Asked[]): Promise<(string | null)[][]> {
  const python = spawn(PYTHON, [EVALUATE], { stdio: ['pipe', 'pipe', 'inherit'] });
  for (const { place, session, calls } of asked) {
    const granted = grants(place);
    const Statement = [
      ...granted.map((grant) => statement('Allow', { ...grant })),
      ...denials(place, granted).map((denial) => statement('Deny', { ...denial })),
    ];
    const role = { Version: '2012-10-17', Statement };
    const { controlRoleArn: roleArn, region } = place;
    python.stdin.write(`${JSON.stringify({ role, session: JSON.parse(session), roleArn, region, calls })}\n`);
  }
  python.stdin.end();
  const answers: (string | null)[][] = [];
  for await (const line of createInterface(python.stdout)) answers.push(JSON.parse(line));
  assert.equal(answers.length, asked.length, 'the policy engine has ended early');
  return answers;
}

const changes = ({ action }: Pick<Call, 'action'>): boolean => isWrite(action.split(':')[1]!);
const told = ({ action, resource, keys }: Call): string => `${action} on ${resource} with ${JSON.stringify(keys)}`;

test("a session does all for its deployment, and nothing on another's", { timeout: 120_000 }, async (t) => {
  const all = Array.from({ length: PAIRS }, (_, index) => pair(index)).map((each) => {
    const { own, foreign } = callsOf(grantsOfPass, each);
    const some = (calls: Call[]) => calls.filter(() => random() < PART);
    return { ...each, own: some(own), foreign: some(foreign) };
  });
  const answers = await decided(
    all.map(({ mine: { place, one }, own, foreign }) => ({
      place,
      session: deploymentPolicy(one, one.deployment),
      calls: [...own, ...foreign],
    })),
  );
  const uncut = new Set<string>();
  all.forEach(({ how, own, foreign }, index) => {
    const answer = answers[index]!;
    own.forEach((call, at) => assert.equal(answer[at], null, `seed ${SEED}: ${told(call)}: ${answer[at]}`));
    foreign.forEach((call, at) => {
      if (answer[own.length + at] !== null) return;
      const isCut = call.resource !== '*' && changes(call);
      assert.ok(!isCut, `seed ${SEED}: ${how}: for another: ${told(call)}`);
      uncut.add(call.action);
    });
  });
  assert.deepEqual([...uncut].filter((action) => changes({ action })).sort(), Object.keys(UNCUT).sort());
  // What it may see of others is settings and names: no value, no line of a log, nothing of one deployment by its name.
  const seen = [...uncut].filter((action) => !changes({ action })).sort();
  assert.deepEqual(
    seen.filter((action) =>
      /LogEvents|Secret(Value|VersionIds)|DescribeSecret$|DescribeServices|DBInstances$/.test(action),
    ),
    [],
  );
  const count = (of: 'own' | 'foreign') => all.reduce((sum, each) => sum + each[of].length, 0);
  t.diagnostic(`seed ${SEED}: ${PAIRS} pairs: ${count('own')} calls allowed, ${count('foreign')} on another's asked`);
  t.diagnostic(`reads that are of all: ${seen.join(', ')}`);
});

test('a session for reading reads all that is its, and changes nothing', { timeout: 120_000 }, async () => {
  const all = Array.from({ length: 3 }, (_, index) => pair(index)).map((each) => ({
    ...each,
    ...callsOf((scope) => grants(scope), each),
  }));
  for (const [policy, isOnlyOne] of [
    [deploymentReads, true],
    [placeReads, false],
  ] as const) {
    const answers = await decided(
      all.map(({ mine: { place, one }, own, foreign }) => ({
        place,
        session: policy(one, one.deployment),
        calls: [...own, ...foreign],
      })),
    );
    all.forEach(({ own, foreign }, index) => {
      const answer = answers[index]!;
      own.forEach((call, at) => {
        const may = !changes(call) && (isOnlyOne || !call.action.endsWith('LogEvents'));
        assert.equal(answer[at] === null, may, `seed ${SEED}: ${told(call)}: ${answer[at]}`);
      });
      foreign.forEach((call, at) => {
        if (answer[own.length + at] === null) assert.ok(!changes(call), `seed ${SEED}: ${told(call)}`);
      });
    });
  }
});
