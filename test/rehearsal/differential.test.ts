/**
 * One script of calls (differential/steps.py), played by the same SDK against the emulated account and against moto.
 * Where they come to something else is listed, with which of them AWS agrees with, in differential/differences.json
 * and, the same, in docs/fidelity.md. After a change: WRITE_DIFFERENCES=1 writes what is listed already as it is now.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const PYTHON = join(ROOT, '.cache', 'python', 'differential', 'bin', 'python');
const LIST = join(import.meta.dirname, 'differential', 'differences.json');
const PAGE = join(ROOT, 'docs', 'fidelity.md');
const HEAD = ['| call | step | here | moto | AWS agrees with | why |', '| --- | --- | --- | --- | --- | --- |'];

interface Outcome {
  step: string;
  call: string;
  here: string;
  moto: string;
}

interface Difference extends Outcome {
  /** Which of the two AWS agrees with. */
  aws: 'here' | 'moto' | 'neither';
  page: string;
  why: string;
}

let rehearsal: Rehearsal;
let outcomes: Outcome[];
let listed: Difference[] = JSON.parse(readFileSync(LIST, 'utf8'));

before(
  async () => {
    assert(existsSync(PYTHON), `${PYTHON} is missing: npm test installs it`);
    rehearsal = await startRehearsal({ postgres: '' }); // databases without a server: nothing connects to them
    const script = join(import.meta.dirname, 'differential', 'play.py');
    const { stdout } = await promisify(execFile)(PYTHON, [script, rehearsal.endpoint], { maxBuffer: 1e7 });
    outcomes = JSON.parse(stdout);
    if (process.env['WRITE_DIFFERENCES']) write();
  },
  { timeout: 90_000 },
);
after(() => rehearsal?.stop());

const row = ({ call, step, here, moto, aws, page, why }: Difference): string => {
  const cell = (outcome: string): string => `\`${outcome.replaceAll('|', '\\|')}\``;
  return `| ${call} | ${step} | ${cell(here)} | ${cell(moto)} | [${aws}](${page}) | ${why} |`;
};

function write(): void {
  const differ = outcomes.filter(({ here, moto }) => here !== moto);
  listed = differ.flatMap((outcome) => {
    const known = listed.find(({ step }) => step === outcome.step);
    return known ? [{ ...known, ...outcome }] : [];
  });
  writeFileSync(LIST, `[\n${listed.map((one) => `  ${JSON.stringify(one)}`).join(',\n')}\n]\n`);
  const [before, rest = ''] = readFileSync(PAGE, 'utf8').split(HEAD[0]!);
  const after = rest.slice(rest.indexOf('\n\n'));
  writeFileSync(PAGE, `${before}${[...HEAD, ...listed.map(row)].join('\n')}${after}`);
}

test('every difference is listed, and occurs', () => {
  const words = ({ step, here, moto }: Outcome): string => `${step}: here ${here}, moto ${moto}`;
  const occur = outcomes.filter(({ here, moto }) => here !== moto).map(words);
  const known = listed.map(words);
  assert.deepEqual(
    { unlisted: occur.filter((one) => !known.includes(one)), gone: known.filter((one) => !occur.includes(one)) },
    { unlisted: [], gone: [] },
  );
});

test('moto is right nowhere, and each difference says why, with AWS’s page', () => {
  assert.deepEqual(listed.filter(({ aws }) => aws !== 'here').map(row), []);
  for (const { step, page, why } of listed) {
    assert.match(page, /^https:\/\/docs\.aws\.amazon\.com\//, step);
    assert(why.length > 5, step);
  }
});

test('most of the script comes to the same in both, errors too', () => {
  const same = outcomes.filter(({ here, moto }) => here === moto);
  const refused = same.filter(({ here }) => /^[A-Z]\w+(\.\w+)*$/.test(here));
  assert(same.length > 100 && refused.length > 50, `${same.length} the same, of which ${refused.length} are errors`);
});

test('docs/fidelity.md has the same list', () => {
  const text = readFileSync(PAGE, 'utf8');
  assert(text.includes([...HEAD, ...listed.map(row)].join('\n')), 'WRITE_DIFFERENCES=1 writes it');
});
