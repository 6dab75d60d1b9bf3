import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { digestOf, redact, redactor } from '../../services/control-plane/redact.ts';

const KEY = randomBytes(32);
const without = (text: string, ...values: string[]): string =>
  redact(text, KEY, new Set(values.map((value) => digestOf(KEY, value))));

const cases: [reason: string, text: string, value: string][] = [
  ['a quoted value', `ValueError: Config 'LANGGRAPH_AES_KEY' has value 'CANARY-41' of wrong length`, 'CANARY-41'],
  ['in double quotes', 'input_value="hunter 2 and more" is no number', 'hunter 2 and more'],
  ['after an equals sign', 'started with --token=abc123def, then ended', 'abc123def'],
  ['inside a URI', 'cannot connect to postgresql://user:pa55word@db:5432/x', 'pa55word'],
  ['a whole URI', 'bad address redis://:pw@host:6379/0.', 'redis://:pw@host:6379/0'],
  [
    'several words without quotes',
    'the pass phrase correct horse battery staple is wrong',
    'correct horse battery staple',
  ],
  ['at the end of a sentence', 'unknown key sk-12345.', 'sk-12345'],
  ['twice', 'k3yk3y and once more: k3yk3y', 'k3yk3y'],
  ['with an equals sign of its own', 'not base64: "c2VjcmV0=="', 'c2VjcmV0=='],
];
for (const [reason, text, value] of cases)
  test(`taken out: ${reason}`, () => {
    const seen = without(text, value);
    assert(!seen.includes(value), seen);
    assert(seen.includes('…'), seen);
  });

test('what is no secret stays, and so do values too short to be one', () => {
  const text = 'exit code 137 (signal 9): "killed"';
  assert.equal(without(text, 'other'), text);
  assert.equal(without(text, '9', '137'), text);
  assert.equal(redact(text, KEY, new Set()), text);
});

test('taken out of a long line wherever it stands in it', async () => {
  const secret = 'postgresql://user:CANARY-41@database:5432/postgres?x=1';
  const conceal = redactor(KEY, new Set([digestOf(KEY, secret)]));
  for (let before = 0; before < 30_000; before += 37) {
    const line = `{"a":"${'x'.repeat(before)}","b":"${secret}","c":"${'y'.repeat(30_000 - before)}"}`;
    const seen = await conceal(line);
    assert(!seen.includes('CANARY'), `after ${before} characters`);
    assert.equal(seen.length, line.length - secret.length + 1);
  }
});

// An agent's line is looked at while everybody else's requests wait.
for (const row of ['.', '"', "'", ':', '(', 'a ', '". '])
  test(`a long row of ${row} takes no time`, async () => {
    const conceal = redactor(KEY, new Set([digestOf(KEY, 'CANARY-41')]));
    const before = process.cpuUsage();
    await conceal(`${row.repeat(200_000 / row.length)}x`);
    const { user } = process.cpuUsage(before);
    assert(user < 1_000_000, `${user} microseconds`);
  });
