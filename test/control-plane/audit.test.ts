/** The audit log: what is in it, that nothing is done without it, and that nobody changes it unseen. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { sql } from 'kysely';
import { Audit } from '../../services/control-plane/audit/chain.ts';
import { copyAudit } from '../../services/control-plane/audit/copy.ts';
import { apiEvent, type AuditEvent } from '../../services/control-plane/audit/events.ts';
import {
  BEGINNING,
  canonical,
  hashOf,
  headText,
  seal,
  sha256,
  type Head,
} from '../../services/control-plane/audit/line.ts';
import { joinTrail, recordsOf, type TrailRecord } from '../../services/control-plane/audit/trail.ts';
import { compareCopy, verifyExport, type Expected } from '../../services/control-plane/audit/verify.ts';
import { digestOf } from '../../services/control-plane/redact.ts';
import { copyOf, headOf } from '../../services/control-plane/store/audit.ts';
import { addKey, addWorkspace } from '../../services/control-plane/store/access.ts';
import { batchOf } from '../../services/reconciler/aws/audit-log.ts';
import { Unrecorded } from '../../services/reconciler/aws/errors.ts';
import type { Write } from '../../services/reconciler/aws/account.ts';
import { canary, everyRow, formsIn } from '../support/canary.ts';
import { wrongIn } from './ocsf.ts';
import { deployment, openControlPlane, type ControlPlane, type Json } from './open.ts';
import { outputs } from './simulated.ts';

let cp: ControlPlane;
let place: Json;
before(async () => {
  cp = await openControlPlane();
  place = await cp.place();
});
after(() => cp.close());

async function exported(query = ''): Promise<{ text: string; lines: string[]; events: AuditEvent[]; head: string }> {
  const { status, body, headers } = await cp.call('GET', `/v2/audit${query}`);
  assert.equal(status, 200);
  const lines = (body as string).split('\n').filter((line) => line !== '');
  const events = lines.map((line) => JSON.parse(line) as AuditEvent);
  return { text: body, lines, events, head: headers.get('freehold-audit-head')! };
}
const headOfText = (text: string) => ({ seq: Number(text.split(':')[0]), hash: text.split(':')[1]! });
const shown = ({ api, status, status_code, unmapped: { phase } }: AuditEvent) => [
  phase,
  api.operation,
  status_code ?? status,
];

describe('requests', () => {
  test('each write is an intent and an outcome, with who, what, and digests of before and after', async () => {
    const { head } = await exported();
    const made = await cp.create({ secrets: [{ name: 'TOKEN', value: 'a value' }] });
    await cp.call('PATCH', `/v2/deployments/${made.id}`, { display_name: 'other' }, { 'X-Request-Id': 'mine' });
    const { events } = await exported(`?after=${headOfText(head).seq}`);
    assert.deepEqual(events.map(shown), [
      ['intent', 'POST /v2/deployments', 'Intended'],
      ['outcome', 'POST /v2/deployments', '201'],
      ['intent', 'PATCH /v2/deployments/{deployment_id}', 'Intended'],
      ['outcome', 'PATCH /v2/deployments/{deployment_id}', '200'],
    ]);
    const [, created, , patched] = events as [AuditEvent, AuditEvent, AuditEvent, AuditEvent];
    assert.deepEqual(created.resources, [{ type: 'deployment', uid: made.id }]);
    assert.deepEqual([created.unmapped.deployment, created.unmapped.place], [made.id, place.id]);
    assert.equal(created.unmapped.before, null);
    assert.equal(patched.unmapped.before, created.unmapped.after);
    assert.notEqual(patched.unmapped.after, patched.unmapped.before);
    assert.equal(patched.api.request!.uid, 'mine');
    const { user } = (await cp.call('GET', '/v2/freehold/me')).body;
    assert.equal(patched.actor.user!.uid, user.id);
    assert.equal(patched.actor.user!.name, 'test');
    assert.equal(patched.actor.authorizations![0]!.policy!.name, 'admin');
  });

  test('what is refused is there, too, and what only reads is not', async () => {
    await addKey(cp.db, cp.workspaceId, 'viewer', 'fh_viewer', { role: 'viewer' });
    const made = await cp.create();
    const { head } = await exported();
    const path = `/v2/deployments/${made.id}`;
    await cp.call('GET', path);
    await cp.call('POST', `/v1/projects/${made.id}/deploy_logs`, {});
    await cp.call('DELETE', path, undefined, { 'X-Api-Key': 'fh_viewer' });
    await cp.call('PATCH', path, '{"broken');
    await cp.call('PATCH', path, { name: 'x', source_config: { resource_spec: { cpu: -1 } } });
    await cp.call('DELETE', `/v2/deployments/${randomUUID()}`);
    await cp.call('DELETE', path, undefined, { 'X-Api-Key': 'nobody' });
    const { events } = await exported(`?after=${headOfText(head).seq}`);
    const patch = 'PATCH /v2/deployments/{deployment_id}';
    const remove = 'DELETE /v2/deployments/{deployment_id}';
    assert.deepEqual(events.map(shown), [
      ['refusal', remove, '403'],
      ['refusal', patch, '422'],
      ['intent', patch, 'Intended'],
      ['outcome', patch, '422'],
      ['intent', remove, 'Intended'],
      ['outcome', remove, '404'],
    ]);
    assert.deepEqual(
      [events[0]!.actor.user!.name, events[0]!.actor.authorizations![0]!.decision],
      ['viewer', 'denied'],
    );
  });

  test('nothing is done that cannot be written down', async () => {
    const count = async () => (await cp.call('GET', '/v2/deployments?limit=100')).body.resources.length as number;
    const before = await count();
    await sql`alter table audit rename to audit_away`.execute(cp.db);
    try {
      assert.equal((await cp.call('POST', '/v2/deployments', deployment())).status, 500);
      const failing = new Audit(cp.db, cp.digestKey).recorder(cp.log);
      await assert.rejects(failing(write()), Unrecorded);
    } finally {
      await sql`alter table audit_away rename to audit`.execute(cp.db);
    }
    assert.equal(await count(), before);
    await cp.create();
  });

  test('no value is in it, not in any form, wherever it was sent', async () => {
    const [value, misplaced, key] = [canary('value'), canary('misplaced'), canary('key')];
    const made = await cp.create({ secrets: [{ name: 'TOKEN', value: value.value }] });
    await cp.call('PATCH', `/v2/deployments/${made.id}`, `{"secrets": "${misplaced.value}`);
    await cp.call('PATCH', `/v2/deployments/${made.id}`, { secrets: misplaced.value });
    await cp.call('DELETE', `/v2/freehold/api-keys/${encodeURIComponent(key.value)}`);
    await cp.call('DELETE', `/v2/deployments?deployment_ids=${encodeURIComponent(key.value)}`);
    const own = await cp.call('POST', '/v2/freehold/api-keys', { name: 'made', role: 'viewer' });
    const audit = new Audit(cp.db, cp.digestKey);
    const input = { SecretId: 'freehold/x', SecretString: JSON.stringify({ TOKEN: value.value }) };
    const end = await audit.recorder(cp.log)({ ...write(), operation: 'PutSecretValue', input });
    await end({ error: undefined, requests: [{ id: 'r-1' }], unanswered: 0, answer: { SecretString: value.value } });
    const table = (await everyRow(cp.url)).get('public.audit')!;
    const { text } = await exported();
    assert.match(text, /PutSecretValue/);
    for (const where of [table, text]) {
      assert.deepEqual(
        [value, misplaced, key].flatMap((one) => formsIn(where, one)),
        [],
      );
      assert(!where.includes(own.body.key));
    }
    // Nor a digest that somebody could find by trying: it is keyed, and not with the key of other digests.
    assert(!text.includes(sha256(canonical(input))));
    assert(!text.includes(digestOf(cp.digestKey, canonical(input))));
  });

  test('who may read it: administrators, of their own workspace', async () => {
    await addKey(cp.db, cp.workspaceId, 'deployer', 'fh_deployer', { role: 'deployer' });
    assert.equal((await cp.call('GET', '/v2/audit', undefined, { 'X-Api-Key': 'fh_deployer' })).status, 403);
    assert.equal((await cp.call('GET', '/v2/audit?scope=organization')).status, 403);
    const { events } = await exported();
    assert(events.every(({ metadata }) => metadata.tenant_uid === cp.workspaceId));
    await addKey(cp.db, cp.workspaceId, 'wide', 'fh_wide', { organizationWide: true });
    const wide = await cp.call('GET', '/v2/audit?scope=organization', undefined, { 'X-Api-Key': 'fh_wide' });
    assert.deepEqual([wide.status, wide.body], [200, '']);
  });

  test("whoever names another workspace's deployment learns nothing of it, and writes nothing into its copy", async () => {
    const made = await cp.create();
    const other = await addWorkspace(cp.db, 'other');
    await addKey(cp.db, other, 'other', 'fh_other');
    const before = (await cp.call('GET', `/v2/listeners/${place.id}/audit`)).body.behind;
    const asked = await cp.call('DELETE', `/v2/deployments/${made.id}`, undefined, { 'X-Api-Key': 'fh_other' });
    assert.equal(asked.status, 404);
    const theirs = await cp.call('GET', '/v2/audit', undefined, { 'X-Api-Key': 'fh_other' });
    const [, { unmapped }] = (theirs.body as string)
      .split('\n')
      .slice(0, 2)
      .map((line) => JSON.parse(line)) as [Json, Json];
    assert.deepEqual([unmapped.chain, unmapped.before, unmapped.after, unmapped.place], [other, null, null, undefined]);
    assert.equal((await cp.call('GET', `/v2/listeners/${place.id}/audit`)).body.behind, before);
  });

  test('a page, a deployment, a time', async () => {
    const made = await cp.create();
    const all = await exported();
    const [first, second] = [await exported('?limit=3'), await exported('?after=3')];
    assert.deepEqual([...first.lines, ...second.lines], all.lines);
    const its = await exported(`?deployment_id=${made.id}`);
    assert.deepEqual(its.events.map(shown), [['outcome', 'POST /v2/deployments', '201']]);
    const { time } = its.events[0]!;
    const since = await exported(`?since=${new Date(time!).toISOString()}`);
    assert.equal(since.events.at(-1)!.unmapped.seq, its.events[0]!.unmapped.seq);
    assert.equal((await exported(`?before=${new Date(all.events[0]!.time!).toISOString()}`)).lines.length, 0);
    assert.equal((await cp.call('GET', '/v2/audit?since=yesterday')).status, 422);
  });
});

const write = (more: Partial<Write> = {}): Write => ({
  place: { id: place.id, accountId: '555000000001', region: 'us-east-1', roleArn: ROLE, externalId: 'x' },
  session: { name: 'freehold-abc', deployment: randomUUID(), operation: 'revision 3', actor: 'key ada' },
  account: '555000000001',
  region: 'us-east-1',
  service: 'ecs',
  operation: 'UpdateService',
  input: { cluster: 'freehold', service: 'freehold-abc' },
  ...more,
});
const ROLE = 'arn:aws:iam::555000000001:role/freehold-control-plane';

describe('writes to AWS', () => {
  test('an intent, then an outcome with the tries; many at once are few writes to the store', async () => {
    const { head } = await exported();
    let statements = 0;
    const counted = cp.db.withPlugin({
      transformQuery: ({ node }) => ((statements += 1), node),
      transformResult: ({ result }) => Promise.resolve(result),
    });
    const record = new Audit(counted, cp.digestKey).recorder(cp.log);
    const ended = { error: undefined, unanswered: 0, answer: { service: 'it' } };
    const act = async (id: string) => (await record(write()))({ ...ended, requests: [{ id }] });
    await act('r-0');
    statements = 0;
    await act('r-1');
    assert.equal(statements, 2, 'one statement before a call, one after');
    statements = 0;
    await Promise.all(Array.from({ length: 50 }, (_, i) => act(`many-${i}`)));
    assert(statements <= 8, `${statements}`);

    const { events, lines } = await exported(`?after=${headOfText(head).seq}`);
    assert.equal(lines.length, 104);
    const [intent, outcome] = events as [AuditEvent, AuditEvent];
    assert.equal(intent.metadata.correlation_uid, outcome.metadata.correlation_uid);
    assert.deepEqual(outcome.unmapped.requests, [{ id: 'r-0' }]);
    assert.deepEqual([outcome.unmapped.operation, outcome.actor.user!.uid], ['revision 3', 'key ada']);
    assert.deepEqual(outcome.resources, [{ type: 'ecs', name: 'freehold-abc' }]);
    assert.deepEqual((await verifyExport(lines, { from: headOfText(head) })).findings, []);
  });

  test('of several processes each goes on where the others were', async () => {
    const { head } = await exported();
    const processes = [1, 2, 3].map(() => new Audit(cp.db, cp.digestKey));
    const event = eventOf('PATCH /v2/deployments/{deployment_id}');
    await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        await new Promise((resolve) => setTimeout(resolve, (i % 7) * 3));
        await processes[i % 3]!.append(cp.workspaceId, event);
      }),
    );
    const { lines } = await exported(`?after=${headOfText(head).seq}`);
    assert.equal(lines.length, 60);
    assert.deepEqual((await verifyExport(lines, { from: headOfText(head) })).findings, []);
  });
});

const eventOf = (route: string, more: Partial<AuditEvent['unmapped']> = {}): AuditEvent =>
  apiEvent(
    {
      route,
      requestId: randomUUID(),
      asker: { id: 'k', name: 'ada', isKey: true, role: 'admin' },
      address: '',
      about: [],
    },
    200,
    { phase: 'outcome', ...more },
  );

test('every line of the export is an event of OCSF', async () => {
  const { events, lines } = await exported();
  assert(events.length > 100);
  assert.deepEqual([...new Set(events.flatMap((event) => wrongIn(event as never)))], []);
  const phases = new Set(events.map(({ unmapped, cloud }) => `${unmapped.phase} ${cloud.provider}`));
  assert(['intent AWS', 'outcome AWS', 'refusal Freehold', 'outcome Freehold'].every((each) => phases.has(each)));
  assert.deepEqual(
    lines.map((line) => canonical(JSON.parse(line))),
    lines,
  );
  const { actor: _, ...nobody } = events[0]!;
  assert.deepEqual(wrongIn(nobody), ['event.actor is missing']);
});

describe('verifying', () => {
  const chain = randomUUID();
  const here = randomUUID();
  const at = Date.UTC(2026, 0, 1);
  const nothing: (at: number) => Partial<AuditEvent['unmapped']> = () => ({});
  function chainOf(count: number, { of = chain, from = BEGINNING, more = nothing } = {}) {
    let head: Head = from;
    const lines = Array.from({ length: count }, (_, i) => {
      const event = eventOf('PATCH /v2/deployments/{deployment_id}', { place: here, ...more(i) });
      const sealed = seal(head, of, event, at + i * 1000);
      head = sealed.head;
      return sealed.line;
    });
    return { lines, head };
  }
  const { lines, head } = chainOf(12);
  const kinds = async (changed: readonly string[], expected: Expected = { head }): Promise<string[]> =>
    (await verifyExport(changed, expected)).findings.map(({ kind }) => kind);
  const change = (line: string, act: (event: Json) => void, isResealed = false): string => {
    const event = JSON.parse(line);
    act(event);
    if (isResealed) event.unmapped.hash = hashOf(event);
    return canonical(event);
  };
  const without = (...numbers: number[]) => lines.filter((_, i) => !numbers.includes(i + 1));

  test('what is as it was written is found so', async () => {
    assert.deepEqual(await kinds(lines), []);
    const [first, second] = [lines.slice(0, 5), lines.slice(5)];
    const { head: middle } = await verifyExport(first);
    assert.deepEqual(await kinds(first, { head: middle }), []);
    assert.deepEqual(await kinds(second, { from: middle, head }), []);
  });

  const swapped = [...without(5, 6).slice(0, 4), lines[5]!, lines[4]!, ...lines.slice(6)];
  const anew = chainOf(12, { more: (i) => (i === 3 ? { asked: 'something else' } : {}) }).lines;
  const late = chainOf(12).lines.with(0, lines[0]!);
  let backwards: Head = BEGINNING;
  const turned = [3, 2, 1].map((second) => {
    const sealed = seal({ ...backwards, time: 0 }, chain, eventOf('POST /v2/rolls'), at + second * 1000);
    backwards = sealed.head;
    return sealed.line;
  });
  const tampered: [string, string[], readonly string[], Expected?][] = [
    [
      'a changed line',
      ['changed'],
      lines.with(
        4,
        change(lines[4]!, (e) => (e.actor.user.name = 'eve')),
      ),
    ],
    [
      'a changed digest',
      ['changed'],
      lines.with(
        4,
        change(lines[4]!, (e) => (e.unmapped.asked = 'x')),
      ),
    ],
    [
      'the same in other words',
      ['changed'],
      lines.with(4, JSON.stringify(JSON.parse(lines[4]!), null, 0).replace(',', ', ')),
    ],
    [
      'a member that is there twice',
      ['changed'],
      lines.with(4, lines[4]!.replace('{', '{"actor":{"app_name":"eve"},')),
    ],
    [
      'a changed line with a new hash',
      ['unlinked'],
      lines.with(
        4,
        change(lines[4]!, (e) => (e.status = 'x'), true),
      ),
    ],
    ['a dropped line', ['dropped'], without(5)],
    ['dropped lines', ['dropped'], without(5, 6, 7)],
    ['reordered lines', ['reordered'], swapped],
    ['a duplicated line', ['duplicated'], [...lines.slice(0, 5), lines[4]!, ...lines.slice(5)]],
    [
      'an inserted line',
      ['inserted'],
      [...lines.slice(0, 5), change(lines[4]!, (e) => (e.status = 'x'), true), ...lines.slice(5)],
    ],
    ['a line that is no JSON', ['broken', 'dropped'], lines.with(4, lines[4]!.slice(0, -9))],
    ['a line that is no entry', ['broken'], [...lines, '{}']],
    ['a head that was cut off', ['cut head'], lines.slice(3)],
    ['a tail that was cut off', ['cut tail'], lines.slice(0, 9)],
    ['a chain that was written anew', ['recomputed'], anew],
    ['a line of another workspace', ['other workspace'], [...lines, chainOf(1, { of: randomUUID() }).lines[0]!]],
    ["another workspace's log", Array<string>(12).fill('other workspace'), lines, { chain: randomUUID() }],
    [
      'a wrong number',
      ['changed', 'dropped'],
      lines.with(
        4,
        change(lines[4]!, (e) => (e.unmapped.seq = 99)),
      ),
    ],
    ['times that go back', ['time', 'time'], turned, {}],
    ['a first line of another chain', ['unlinked'], [late[0]!, ...anew.slice(1)], {}],
  ];
  for (const [name, wanted, given, expected] of tampered)
    test(name, async () => {
      const found = await kinds(given, expected);
      for (const kind of wanted) assert(found.includes(kind), `${kind}: ${found.join()}`);
      if (wanted.length === 1) assert.deepEqual(found, wanted);
    });

  test("the customer's copy: all of the place's lines, some of them twice; nothing else", async () => {
    const other = chainOf(3, { of: randomUUID() }).lines;
    const places = chainOf(12, { more: (i) => (i % 3 === 0 ? { place: 'elsewhere' } : {}) });
    const its = places.lines.filter((line) => !line.includes('elsewhere'));
    const verified = await verifyExport(places.lines);
    const compared = (copy: readonly string[], mine = verified) => compareCopy(mine, copy).map(({ kind }) => kind);
    assert.deepEqual(compared([...its, its[3]!, ...other]), []);
    assert.deepEqual(compared(its.slice(0, -2)), [], 'what is new is on its way');
    assert.deepEqual(compared(its.toSpliced(2, 1)), ['not copied']);
    const cut = await verifyExport(places.lines.slice(0, 9));
    assert(compared(its, cut).every((kind) => kind === 'not in the export'));
    assert(compared(its, cut).length > 0);
    const rewritten = await verifyExport(
      chainOf(12, { more: (i) => (i % 3 === 0 ? { place: 'elsewhere' } : { asked: 'x' }) }).lines,
    );
    assert.deepEqual(rewritten.findings, []);
    assert(compared(its, rewritten).includes('recomputed'));
    assert.deepEqual(compared([change(its[0]!, (e) => (e.status = 'x')), ...its.slice(1)]), ['changed']);
  });

  test('a pruned chain begins where its anchor says', async () => {
    const audit = new Audit(cp.db, cp.digestKey);
    const old = randomUUID();
    const append = () => audit.append(old, eventOf('POST /v2/rolls'));
    for (let i = 0; i < 5; i += 1) await append();
    const days = 400;
    await sql`update audit set time = time - ${(days + 2) * 86_400_000} where chain = ${old} and seq <= 3`.execute(
      cp.db,
    );
    await audit.prune(days);
    const kept = await cp.db
      .selectFrom('audit')
      .select(['seq', 'line'])
      .where('chain', '=', old)
      .orderBy('seq')
      .execute();
    assert.deepEqual(
      kept.map(({ seq }) => seq),
      [4, 5, 6],
    );
    const all = kept.map(({ line }) => line);
    const found = await verifyExport(all, { head: await headOf(cp.db, old) });
    assert.deepEqual(found.findings, []);
    assert.equal(found.events.get(6)!.unmapped.phase, 'anchor');
    assert.deepEqual(wrongIn(found.events.get(6) as never), []);
    assert.deepEqual(await kinds(all.slice(0, 2), {}), ['cut head'], 'without it');
    assert.deepEqual(await kinds(all.slice(1), {}), ['cut head'], 'and elsewhere');
    await audit.prune(days);
    assert.equal((await headOf(cp.db, old)).seq, 6, 'nothing more is old');
  });
});

describe('the copy', () => {
  test('has all that is new of a place, and says how far it is', async () => {
    const made = await cp.call('POST', '/v2/listeners', {
      compute_type: 'ecs',
      compute_id: 'copied',
      compute_config: {},
    });
    const path = `/v2/listeners/${made.body.id}`;
    const audit = { ...outputs(), auditLogGroup: '/audit/freehold' };
    await cp.call('PATCH', path, { compute_config: { place: audit } });
    const there: string[] = [];
    let isAway = true;
    const copy = () =>
      copyAudit({
        db: cp.db,
        log: cp.log,
        append: (_, stream, lines) => {
          if (isAway) return Promise.reject(new Error('not now'));
          assert.equal(stream, cp.workspaceId);
          there.push(...lines.slice(0, 2).map(({ line }) => line));
          return Promise.resolve(Math.min(2, lines.length));
        },
      });
    await copy();
    const behind = (await cp.call('GET', `${path}/audit`)).body;
    assert.deepEqual([behind.copied, behind.behind, behind.message], [0, 3, 'not now']);
    assert.equal(behind.log_group, audit.auditLogGroup);
    isAway = false;
    await copy();
    assert.equal(there.length, 0, 'it is left alone for some seconds');
    await cp.db.updateTable('audit_copies').set({ not_before: null }).execute();
    await copy();
    await copy();
    const { head, copied, ...now } = (await cp.call('GET', `${path}/audit`)).body;
    assert.deepEqual([now.behind, now.message], [0, null]);
    assert.equal((await copyOf(cp.db, made.body.id)).seq, copied);
    const { lines } = await exported();
    const verified = await verifyExport(lines, { head: headOfText(head) });
    assert.deepEqual([...verified.findings, ...compareCopy(verified, there)], []);
    assert.equal(there.length, 3);
  });

  test('a call takes what AWS takes: bytes, events, and nothing that is too old, whatever the retention', () => {
    const now = Date.UTC(2026, 5, 1);
    const lines = (count: number, line: string, step = 1) =>
      Array.from({ length: count }, (_, i) => ({ time: now - (count - i) * step, line }));
    assert.equal(batchOf(lines(10_001, 'x'), now).length, 10_000);
    assert.equal(batchOf(lines(2000, 'é'.repeat(499)), now).length, Math.floor(1_048_576 / (998 + 26)));
    const late = batchOf([{ time: 0, line: 'x' }, ...lines(30, 'x', 3_600_000), { time: now + 9, line: 'x' }], now);
    const times = late.map(({ timestamp }) => timestamp!);
    assert.equal(times.length, 32);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
    assert(times[0]! > now - 86_400_000);
    assert.equal(times.at(-1), now);
    assert.equal(batchOf([], now).length, 0);
  });
});

describe('CloudTrail', () => {
  const began = Date.now();
  const record = (requestID: string, eventName: string, more: Partial<TrailRecord> = {}): TrailRecord => ({
    eventTime: new Date(began + 1000).toISOString(),
    eventSource: 'ecs.amazonaws.com',
    eventName,
    awsRegion: 'us-east-1',
    recipientAccountId: '555000000001',
    requestID,
    readOnly: false,
    managementEvent: true,
    userIdentity: {
      arn: 'arn:aws:sts::555000000001:assumed-role/freehold-control-plane/freehold-abc',
      accessKeyId: 'ASIA1',
      sessionContext: { sessionIssuer: { arn: ROLE } },
    },
    ...more,
  });
  /** One call of each, as AWS answered it. */
  async function told(...answers: [string, Partial<Write>, Json?][]): Promise<AuditEvent[]> {
    const { head } = await exported();
    const record = new Audit(cp.db, cp.digestKey).recorder(cp.log);
    for (const [operation, more, written] of answers) {
      const end = await record(write({ operation, ...more }));
      if (written !== undefined) await end({ error: undefined, requests: [], unanswered: 0, answer: {}, ...written });
    }
    return (await exported(`?after=${headOfText(head).seq}`)).events;
  }

  test('a call without intent, an intent without call, and what is neither', async () => {
    const events = await told(
      ['UpdateService', {}, { requests: [{ id: 'tried', error: 'ThrottlingException' }, { id: 'done' }] }],
      ['DeleteService', {}, { requests: [{ id: 'never' }] }],
      ['CreateService', {}, { requests: [{ id: 'found' }], unanswered: 1 }],
      ['DeleteObjects', { service: 's3' }, { requests: [{ id: 's3' }] }],
      ['AssumeRole', { service: 'sts', lent: [{ actions: ['ecr:PutImage'], resources: ['*'] }] }, { lentKey: 'ASIA2' }],
      ['RegisterTaskDefinition', {}],
    );
    const lentTo = { ...record('', '').userIdentity!, accessKeyId: 'ASIA2' };
    const later = new Date(began + 3_600_000).toISOString();
    const records = [
      record('done', 'UpdateService'),
      record('found', 'CreateService'),
      record('lost', 'CreateService'),
      record('cut off', 'RegisterTaskDefinition'),
      record('pushed', 'PutImage', { eventSource: 'ecr.amazonaws.com', userIdentity: lentTo }),
      record('read', 'DescribeServices', { readOnly: true }),
      record('data', 'PutObject', { managementEvent: false }),
      record('theirs', 'UpdateService', { userIdentity: { arn: 'arn:aws:iam::555000000001:user/ada' } }),
      record('for us', 'CreateNetworkInterface', { userIdentity: { ...lentTo, invokedBy: 'ecs.amazonaws.com' } }),
      record('stream', 'CreateLogStream', { requestParameters: { logGroupName: '/audit/freehold' } }),
      record('after', 'DescribeServices', { readOnly: true, eventTime: later }),
    ];
    const well = joinTrail(events, records);
    assert.deepEqual(
      well.findings.map(({ message }) => message.replace(/entry \d+/, 'entry')),
      ['entry: ecs:DeleteService, request never: CloudTrail has no such call'],
    );
    assert.equal(well.joined, 5);
    const rogue = joinTrail(events, [...records, record('rogue', 'DeleteCluster')]);
    assert.deepEqual(
      rogue.findings.map(({ kind }) => kind),
      ['call without intent', 'intent without call'],
    );
    const pushed = joinTrail(events, [record('push', 'DeleteRepository', { userIdentity: lentTo })]);
    assert.deepEqual(
      pushed.findings.map(({ kind }) => kind),
      ['call without intent'],
      'it was lent for something else, and the rest may be late',
    );

    const name = write().session.name;
    const arn = `arn:aws:sts::555000000001:assumed-role/freehold-control-plane/${name}`;
    const pushes = (eventTime: string) => [
      record('put', 'PutImage', {
        eventSource: 'ecr.amazonaws.com',
        eventTime,
        userIdentity: { ...lentTo, arn, accessKeyId: 'ASIA3' },
      }),
    ];
    const soon = new Date(began + 1000).toISOString();
    const byName = joinTrail(events, pushes(soon));
    assert.equal(byName.findings[0]!.kind, 'call without intent', 'the name of a session that was lent is no proof');
    const lend = { service: 'sts', lent: [{ actions: ['ecr:PutImage'], resources: ['*'] }] };
    const cutOff = await told(['AssumeRole', lend]);
    const [near, far] = [joinTrail(cutOff, pushes(soon)), joinTrail(cutOff, pushes(later))];
    assert.deepEqual([near.findings, near.joined], [[], 1]);
    assert.match(near.notes[0]!, /meant to lend such a session/);
    assert.equal(far.findings[0]!.kind, 'call without intent');
  });

  test("a trail's files, the event history, and lists of either", () => {
    const one = record('one', 'UpdateService');
    for (const given of [
      { Records: [one] },
      { Events: [{ EventId: 'x', CloudTrailEvent: JSON.stringify(one) }] },
      [one],
    ])
      assert.deepEqual(recordsOf(JSON.stringify(given)), [one]);
  });
});

test('the head that the API tells is the head of what it exports', async () => {
  const { lines, head } = await exported();
  const { head: found, findings } = await verifyExport(lines, { chain: cp.workspaceId, head: headOfText(head) });
  assert.deepEqual([headText(found), findings], [head, []]);
});
