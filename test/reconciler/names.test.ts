import assert from 'node:assert/strict';
import { test } from 'node:test';
import { label, names, route, shortId, url } from '../../services/reconciler/aws/names.ts';

const place = {
  prefix: 'twelve-chars',
  logGroupRoot: '/aws/ecs/twelve-chars',
  scheme: 'http' as const,
  loadBalancerDnsName: 'internal-twelve-chars-1.elb.amazonaws.com',
};
const id = 'AB12cd34-ef56-7890-abcd-ef1234567890';

test('the longest names fit into what AWS takes', () => {
  const longest = names(place, { id, name: 'x'.repeat(200) });
  const limits: [string, number][] = [
    [longest.targetGroup, 32],
    [longest.database, 63],
    [longest.discovery, 63],
    [longest.service, 255],
    [longest.redis, 255],
    [longest.taskFamily(999_999), 255],
    [longest.serviceGroup, 255],
    [longest.logGroup, 512],
    [longest.secret('environment'), 512],
  ];
  for (const [name, limit] of limits) assert.ok(name.length <= limit, `${name} has ${name.length} of ${limit}`);
  const where = route({ ...place, domain: 'agents.example.com' }, { id, name: 'x'.repeat(200) });
  assert.ok('host' in where && where.host.split('.')[0]!.length <= 63);
});

test('two deployments of one name share nothing', () => {
  const other = 'bb12cd34-ef56-7890-abcd-ef1234567890';
  const [one, two] = [names(place, { id, name: 'agent' }), names(place, { id: other, name: 'agent' })];
  const all = (n: typeof one) => [
    n.database,
    n.service,
    n.targetGroup,
    n.redis,
    n.discovery,
    n.logGroup,
    n.taskFamily(1),
    n.secret('redis'),
  ];
  assert.equal(new Set([...all(one), ...all(two)]).size, 2 * new Set(all(one)).size);
});

test('a deployment keeps its names whatever its revision asks for', () => {
  assert.equal(shortId(id), 'ab12cd34ef56');
  assert.equal(names(place, { id, name: 'agent' }).taskFamily(7), 'twelve-chars-ab12cd34ef56-r7');
});

for (const [name, want] of [
  ['My Agent', 'my-agent'],
  ['--a__b--', 'a-b'],
  ['Ünïcode', 'n-code'],
  ['***', 'deployment'],
  [`${'a'.repeat(49)}-tail`, 'a'.repeat(49)],
]) {
  test(`"${name}" in a host name or path is "${want}"`, () => assert.equal(label(name!), want));
}

test('by path without a domain, by host with one', () => {
  assert.equal(
    url(place, { id, name: 'Agent' }),
    'http://internal-twelve-chars-1.elb.amazonaws.com/agent-ab12cd34ef56',
  );
  const domain = { ...place, scheme: 'https' as const, domain: 'agents.example.com' };
  assert.equal(url(domain, { id, name: 'Agent' }), 'https://agent-ab12cd34ef56.agents.example.com');
});
