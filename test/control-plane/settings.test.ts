/** The settings that depend on each other; what each means is in settings.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settingsFrom } from '../../services/control-plane/settings.ts';

const agentAuth = (env: Record<string, string>) => settingsFrom(env, '/root').agentAuth;

for (const [title, env, auth] of [
  [
    'agents ask at the public URL, a slash at whose end means nothing',
    { FREEHOLD_PUBLIC_URL: 'https://freehold.example.com/', HOST: '0.0.0.0' },
    { type: 'langsmith', endpoint: 'https://freehold.example.com' },
  ],
  [
    'the public URL may have a path',
    { FREEHOLD_PUBLIC_URL: 'https://example.com/freehold' },
    { type: 'langsmith', endpoint: 'https://example.com/freehold' },
  ],
  [
    'where only this machine gets, they are told that',
    { PORT: '81' },
    { type: 'langsmith', endpoint: 'http://127.0.0.1:81' },
  ],
  ['the same with IPv6', { HOST: '::1' }, { type: 'langsmith', endpoint: 'http://[::1]:8124' }],
  ['nobody is asked only when that is said', { FREEHOLD_AGENT_AUTH: 'noop', HOST: '0.0.0.0' }, { type: 'noop' }],
] as const)
  test(title, () => assert.deepEqual(agentAuth(env), auth));

for (const [title, env, says] of [
  ['a service that does not know its public URL does not start', { HOST: '0.0.0.0' }, /FREEHOLD_PUBLIC_URL is not set/],
  ['nor one with a wrong URL', { FREEHOLD_PUBLIC_URL: 'freehold.example.com' }, /not an http or https URL: "freehold/],
  ['nor one with a query in it', { FREEHOLD_PUBLIC_URL: 'https://a.example.com/?x=1' }, /not an http or https URL/],
  ['nor one with another kind of check', { FREEHOLD_AGENT_AUTH: 'none' }, /neither "langsmith" nor "noop": "none"/],
] as [string, Record<string, string>, RegExp][])
  test(title, () => assert.throws(() => agentAuth(env), says));

test('an OIDC provider is named whole, and over https', () => {
  const oidc = (issuer = '', audience = '') =>
    settingsFrom({ FREEHOLD_OIDC_ISSUER: issuer, FREEHOLD_OIDC_AUDIENCE: audience }, '/root').oidc;
  assert.equal(oidc(), null);
  const issuer = 'https://login.example.com/realm';
  assert.deepEqual(oidc(issuer, 'freehold'), { issuer, audience: 'freehold' });
  for (const own of ['http://localhost:9000', 'http://127.0.0.1:9000', 'http://[::1]:9000'])
    assert.equal(oidc(own, 'freehold')?.issuer, own);
  assert.throws(() => oidc(issuer), /FREEHOLD_OIDC_AUDIENCE is needed/);
  assert.throws(() => oidc('', 'freehold'), /FREEHOLD_OIDC_ISSUER is needed/);
  for (const wrong of ['http://login.example.com', 'http://127.example.com', 'login.example.com', 'ftp://localhost'])
    assert.throws(() => oidc(wrong, 'freehold'), /FREEHOLD_OIDC_ISSUER is not an https URL/);
});
