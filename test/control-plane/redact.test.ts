import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { digestOf, redact } from '../../services/control-plane/redact.ts';

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
