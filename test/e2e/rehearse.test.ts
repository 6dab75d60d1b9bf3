/** `npm run rehearse`, once, as someone who reads its lines of JSON and its page. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');
const PHASES = ['onboard', 'verify', 'create', 'roll', 'fail', 'roll back', 'delete', 'leave'];

/* eslint-disable @typescript-eslint/no-explicit-any */
type Json = any;
let lines: Json[];
let page: string;
let code: number | null;
const directory = mkdtempSync(join(tmpdir(), 'freehold-rehearse-'));
after(() => rmSync(directory, { recursive: true, force: true }));

before(
  async () => {
    const out = join(directory, 'report.html');
    const child = spawn(process.execPath, [join(ROOT, 'bin', 'rehearse.ts'), '--json', '--out', out], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    code = await new Promise((resolve) => child.once('close', resolve));
    lines = text.trimEnd().split('\n').map((line) => JSON.parse(line)); // prettier-ignore
    assert.equal(code, 0, JSON.stringify(lines.at(-1)));
    page = readFileSync(out, 'utf8');
  },
  { timeout: 240_000 },
);

const of = (type: string): Json[] => lines.filter((line) => line.type === type);

test('every phase is played, in order, and ends as it was meant to', () => {
  assert.deepEqual(
    of('phase').map(({ name }) => name),
    PHASES,
  );
  assert.deepEqual(
    of('end').map(({ name, ok }) => [name, ok]),
    PHASES.map((name) => [name, true]),
  );
});

test('the revision that crashes fails with its exit code, and the one before it goes on answering', () => {
  const { outcome } = of('end').find(({ name }) => name === 'fail');
  assert.match(outcome, /^DEPLOY_FAILED: .*exit code 3.*boom.*went on answering/s);
});

test('each call says when, who, on what, and what allowed it', () => {
  const calls = of('call');
  assert(calls.length > 200, `${calls.length} calls`);
  assert.deepEqual(new Set(calls.map(({ phase }) => phase)), new Set(PHASES));
  const vague = calls.filter((call) => !call.who || !call.resource || !(call.time >= 0) || !call.why);
  assert.deepEqual(vague, []);
});

test('CloudFormation makes the stack with the deployer’s rights, ECS fetches with the execution role’s, and nobody else', () => {
  const by = (who: string): Set<string> =>
    new Set(of('call').filter((call) => call.who === who).map((call) => `${call.service}:${call.action}`)); // prettier-ignore
  assert(by('CloudFormation').has('iam:CreateRole'));
  assert(by('CloudFormation').has('ec2:CreateVpc'));
  assert(by('ECS, as the execution role').has('secretsmanager:GetSecretValue'));
  assert(by('control plane').has('ecs:CreateService'));
  assert(!by('control plane').has('secretsmanager:GetSecretValue'));
});

test('refused: the control plane without its external id, and the CDK CLI’s look for a bootstrap that nobody needs', () => {
  const refused = of('call').filter((call) => call.refused);
  const words = new Set(refused.map((call) => `${call.who}: ${call.service}:${call.action}, ${call.phase}`));
  assert.deepEqual(
    words,
    new Set(['the customer: cloudformation:DescribeStacks, onboard', 'control plane: sts:AssumeRole, verify']),
  );
  assert.match(refused.find(({ action }) => action === 'AssumeRole').why, /^the trust policy of .* does not allow it$/);
  for (const reason of ['takes the place only if that is refused', 'none is needed']) assert(page.includes(reason));
});

test('the summary: permissions used and not, and nothing left', () => {
  const [summary] = of('summary');
  assert.equal(summary.ok, true);
  assert.deepEqual(summary.left, []);
  assert.equal(summary.calls, of('call').length);
  const used = (action: string): number =>
    summary.permissions
      .filter((one: Json) => one.effect === 'Allow' && one.actions.includes(action) && !one.unused.includes(action))
      .reduce((sum: number, one: Json) => sum + one.used, 0);
  assert.equal(used('ecs:CreateService'), 2);
  assert.equal(used('secretsmanager:RestoreSecret'), 0);
  assert.deepEqual(
    summary.permissions.filter((one: Json) => one.why === ''),
    [],
  );
});

test('the page stands alone, with a mark for each call', () => {
  assert.doesNotMatch(page, /(src|href)=|@import|url\(/);
  const marks = page.match(/<rect [^>]*class="(read|write|refused)"/g) ?? [];
  assert.equal(marks.length, of('call').length);
});
