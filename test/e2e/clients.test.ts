/**
 * The vendor's own clients, unmodified, against a live control plane on the emulated account: `langgraph` (PyPI) and
 * `langgraphjs` (npm), in the environments that set-up makes of test/clients. And whom the deployed agent lets in.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ECRClient, GetAuthorizationTokenCommand } from '@aws-sdk/client-ecr';
import { HeadObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { eventually } from '../support/eventually.ts';

import * as stage from './stage.ts';
import type { Json } from './stage.ts';

const ACCOUNT = '470000000001';
const CACHE = join(import.meta.dirname, '..', '..', '.cache');
const PYTHON_CLI = [join(CACHE, 'python', 'clients', 'bin', 'langgraph')];
const NPM_CLI = [process.execPath, join(CACHE, 'clients', 'node_modules', '.bin', 'langgraphjs')];

let on: stage.Stage;
let folder: string;
let images: string[];
/** Of another workspace of the same organization, and one that is good for all of them. */
let foreign: { workspaceId: string; key: string };
let wide: string;

interface Ran {
  readonly code: number | null;
  /** Both streams, as they came. */
  readonly out: string;
  /** What `--json` printed, a line an event. */
  readonly events: Json[];
}

/** A command of a client in the project's folder: the child, and how it ended. */
function start(command: string[], args: string[], env: Record<string, string> = {}) {
  const [file, ...first] = command;
  const child = spawn(file!, [...first, ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: [dirname(process.execPath), '/usr/bin', '/bin'].join(':'),
      HOME: folder,
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
      LANGGRAPH_CLI_NO_ANALYTICS: '1',
      LANGGRAPH_HOST_API_KEY: on.api.apiKey,
      LANGGRAPH_HOST_URL: on.api.url,
      ...env,
    },
  });
  let out = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (out += text));
  const ended = new Promise<Ran>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      const events = out.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));
      resolve({ code, out, events });
    });
  });
  return { child: child as ChildProcess, ended, said: () => out };
}

const python = (args: string[], env?: Record<string, string>): Promise<Ran> => start(PYTHON_CLI, args, env).ended;
/** It reads its URL from no variable. */
const npm = (args: string[], url = on.api.url): Promise<Ran> => start(NPM_CLI, [...args, '--host-url', url]).ended;

async function good(ran: Promise<Ran>): Promise<Ran> {
  const got = await ran;
  assert.equal(got.code, 0, got.out);
  return got;
}

/** It ends with a status of its own, and says why. */
async function bad(ran: Promise<Ran>, says: RegExp, code = 1): Promise<void> {
  const got = await ran;
  assert.match(got.out, says);
  assert.equal(got.code, code, got.out);
}

const event = (ran: Ran, name: string): Json => {
  const found = ran.events.find((one) => one.event === name);
  assert(found, ran.out);
  return found;
};

const deploy = (name: string, ...args: string[]): string[] => ['deploy', '--name', name, '--no-input', ...args];

const keyOf = (body: Json): Promise<Json> => on.api.call('POST', '/v2/freehold/api-keys', { role: 'viewer', ...body });
const own = (value: string) => ({ LANGGRAPH_HOST_API_KEY: value });
const workspaceId = async (): Promise<string> => (await on.api.call('GET', '/v2/freehold/me')).workspace.id;

before(async () => {
  on = await stage.open('clients', [ACCOUNT], { FREEHOLD_AGENT_AUTH: 'langsmith' });
  folder = mkdtempSync(join(tmpdir(), 'freehold-clients-'));
  writeFileSync(
    join(folder, 'langgraph.json'),
    JSON.stringify({ dependencies: ['.'], graphs: { agent: './agent.py:graph' }, env: '.env' }),
  );
  writeFileSync(join(folder, 'agent.py'), 'graph = None\n');
  writeFileSync(join(folder, 'requirements.txt'), 'langgraph\n');
  writeFileSync(join(folder, '.env'), 'GREETING=hello from the env file\nPOSTGRES_URI=postgres://not-ours\n');
  images = [
    await on.push(ACCOUNT, '1', 'langgraph-server'),
    await on.push(ACCOUNT, '2', 'stub'),
    await on.push(ACCOUNT, '3', 'stub', { SAYS: '3' }),
  ];
  const made = await on.api.call('POST', '/v2/freehold/workspaces', { name: 'another' });
  foreign = { workspaceId: made.id, key: (await keyOf({ name: 'theirs', workspace_id: made.id })).key };
  wide = (await keyOf({ name: 'everywhere', role: 'admin', scope: 'organization' })).key;
});

after(async () => {
  if (folder) rmSync(folder, { recursive: true, force: true });
  await on?.close();
});

/** A run on a thread of its own, by whoever has these headers; its answer, or the status that it was refused with. */
async function ask(url: string, headers: Record<string, string>, graph = 'echo', input: Json = { text: 'hi' }) {
  const send = (path: string, body: Json) => {
    const request = stage.post(body);
    return on.rehearsal.fetch(url + path, { ...request, headers: { ...request.headers, ...headers } });
  };
  const thread = await send('/threads', {});
  if (!thread.ok) return { status: thread.status };
  const { thread_id } = await stage.json(thread);
  const run = await send(`/threads/${thread_id}/runs/wait`, { assistant_id: graph, input });
  return { status: run.status, answer: run.ok ? await stage.json(run) : undefined };
}

const key = (value: string) => ({ 'X-Api-Key': value });
const get = (path: string): Promise<Json> => on.api.call('GET', `/v2/deployments${path}`);
let agent: { id: string; url: string };
let pushed: string;
const others: string[] = [];

describe('deploying, in every way that the clients have', { concurrency: true }, () => {
  test('langgraph deploy --image-uri waits for a new deployment, and prints the URL at which its agent answers', async () => {
    const ran = await good(python(deploy('support-agent', '--image-uri', images[0]!, '--json')));
    const result = event(ran, 'result');
    assert.equal(result.status, 'succeeded');
    agent = { id: result.deployment_id, url: result.url };
    assert((await fetch(result.status_url)).ok, 'there is a page where it sends people for the status');
    assert.match(event(ran, 'status_change').status, /^(CREATING|QUEUED|AWAITING_DEPLOY|DEPLOYING)$/);

    const seen = await get(`/${agent.id}`);
    assert.equal(seen.status, 'READY');
    assert.equal(seen.source_config.custom_url, agent.url);
    assert.equal(seen.source_revision_config.image_uri, images[0]);
    const { status, answer } = await ask(agent.url, key(on.api.apiKey));
    assert.equal(status, 200);
    assert.equal(answer.answer, 'hello from the env file: hi');
    // What the platform sets is not the user's: the client leaves it out, and so does the deployment.
    assert.match(ran.out, /Skipping reserved env var: POSTGRES_URI/);
    assert.deepEqual(seen.secret_names, ['GREETING']);
  });

  test('--no-wait, with a listener and a namespace; then a second revision, at the other base path', async () => {
    const there = { LANGGRAPH_HOST_URL: `${on.api.url}/api-host` };
    const place = ['--listener-id', on.places[ACCOUNT]!.id, '--k8s-namespace', 'default'];
    const asked = deploy('second', '--image-uri', images[1]!, '--no-wait', '--json', ...place);
    const first = await good(python(asked, there));
    assert.match(first.out, /Deploying through listener \S+ in namespace default/);
    assert(!first.events.some((one) => one.event === 'result'));
    const { deployment_id: id } = first.events.find((one) => one.deployment_id)!;
    others.push(id);
    const before = (await get(`/${id}`)).latest_revision_id;
    await stage.deployed(on.api, id, before, 120);

    const ran = await good(python(deploy('second', '--image-uri', images[2]!), there));
    assert.match(ran.out, new RegExp(`Found existing deployment \\(ID: ${id}\\)`));
    assert.match(ran.out, /Deployment successful!\n\s+URL: http/);
    const seen = await get(`/${id}`);
    assert.notEqual(seen.active_revision_id, before);
    assert.equal(seen.active_revision_id, seen.latest_revision_id);
    const listed = await good(python(['deploy', 'revisions', 'list', id], there));
    assert.match(listed.out, new RegExp(`${seen.active_revision_id}\\s+DEPLOYED.*\n${before}\\s+REPLACED`));
  });

  test('--remote uploads the source; that nothing builds it yet is said, and fails the command', async () => {
    const there = `${on.api.url}/api-host`;
    const args = deploy('built-remotely', '--remote', '--deployment-type', 'dev', '--json');
    for (const act of [() => python(args), () => npm(args, there)]) {
      const ran = await act();
      assert.equal(ran.code, 1, ran.out);
      const { deployment_id: id } = event(ran, 'result');
      if (!others.includes(id)) others.push(id);
      await unbuilt(id, ran);
    }
    const [made] = (await get('?name=built-remotely')).resources;
    assert.equal((await get(`/${made.id}/revisions`)).resources.length, 2);
  });

  test("--image pushes a local image into a repository of the deployment's own, --push-to into another", async () => {
    const docker = join(folder, 'docker');
    mkdirSync(docker);
    const shim = join(import.meta.dirname, '..', 'support', 'docker.ts');
    writeFileSync(join(docker, 'docker'), `#!/bin/sh\nexec ${process.execPath} ${shim} "$@"\n`, { mode: 0o755 });
    const env = {
      PATH: [docker, '/usr/bin', '/bin'].join(':'),
      REHEARSAL_ENDPOINT: on.rehearsal.endpoint,
      DOCKER_IMAGE: 'stub',
    };
    const args = deploy('pushed', '--image', 'local-image', '--deployment-type', 'dev', '--json');
    const ran = await good(python(args, env));
    const { deployment_id: id, status } = event(ran, 'result');
    pushed = id;
    assert.equal(status, 'succeeded');
    const seen = await get(`/${id}`);
    assert.equal(seen.source, 'internal_docker');
    const repository = new RegExp(`^${ACCOUNT}\\.dkr\\.ecr\\.${stage.REGION}\\.amazonaws\\.com/\\S+@sha256:`);
    assert.match(seen.source_revision_config.image_uri, repository);
    const tagged = await stage.tagged(on.rehearsal, ACCOUNT, id);
    assert(
      tagged.some((arn) => arn.includes(':repository/')),
      tagged.join(),
    );

    // With a login of the user's own, to a repository of the customer's own.
    const { authorizationData } = await new ECRClient(stage.customerClient(on.rehearsal, ACCOUNT)).send(
      new GetAuthorizationTokenCommand({}),
    );
    const registry = images[0]!.split('/')[0]!;
    const config = { auths: { [registry]: { auth: authorizationData![0]!.authorizationToken } } };
    mkdirSync(join(folder, '.docker'));
    writeFileSync(join(folder, '.docker', 'config.json'), JSON.stringify(config));
    const there = ['--image', 'local-image', '--push-to', `${registry}/agent`, '--no-wait', '--json'];
    const other = await good(python(deploy('pushed-there', ...there), env));
    const { deployment_id } = other.events.find((one) => one.deployment_id)!;
    others.push(deployment_id);
    const made = await get(`/${deployment_id}`);
    assert.equal(made.source, 'external_docker');
    assert(made.source_revision_config.image_uri.startsWith(`${registry}/agent@sha256:`));
  });
});

/** A revision of an archive that is in the customer's bucket, and of which nothing was built. */
async function unbuilt(id: string, ran: Ran): Promise<void> {
  const log = ran.events.filter((one) => one.event === 'log').map((one) => one.message);
  const [revision] = (await get(`/${id}/revisions?limit=1`)).resources;
  assert.equal(revision.status, 'BUILD_FAILED');
  assert.equal(log.at(-1), revision.status_message);
  assert.match(revision.status_message, /not available yet: .*image_uri/);
  const { source_tarball_path: path, langgraph_config_path } = revision.source_revision_config;
  assert.equal(langgraph_config_path, 'langgraph.json');
  const s3 = new S3Client({ ...stage.customerClient(on.rehearsal, ACCOUNT), forcePathStyle: true });
  const bucket = on.places[ACCOUNT]!.outputs.uploadBucket!;
  const { ContentLength } = await s3.send(new HeadObjectCommand({ Bucket: bucket, Key: path }));
  assert(ContentLength! > 100);
}

describe('reading', { concurrency: true }, () => {
  test('lists: deployments, by a part of their name, as JSON; listeners; revisions', async () => {
    const all = await get('');
    // The address of a self-hosted LangSmith, from which the client makes that of the control plane.
    const elsewhere = { LANGGRAPH_HOST_URL: '', LANGSMITH_ENDPOINT: `${on.api.url}/api/v1` };
    const [table, json, none, listeners, revisions, js] = await Promise.all([
      good(python(['deploy', 'list'])),
      good(python(['deploy', 'list', '--name-contains', 'support', '--json'])),
      good(python(['deploy', 'list', '--name-contains', 'nothing-like-it'], elsewhere)),
      good(python(['deploy', 'listeners', 'list', '--json'], { LANGGRAPH_HOST_URL: `${on.api.url}/api-host` })),
      good(npm(['deploy', 'revisions', 'list', agent.id])),
      good(npm(['deploy', 'list', '--name-contains', 'second'])),
    ]);
    for (const { id, name, source_config } of all.resources)
      assert(table.out.includes(`${id}  ${name}`) && table.out.includes(source_config.custom_url ?? ''), table.out);
    assert.deepEqual(JSON.parse(json.out), [{ id: agent.id, name: 'support-agent' }]);
    assert.match(none.out, /No deployments found/);
    const [listener] = JSON.parse(listeners.out);
    assert.equal(listener.id, on.places[ACCOUNT]!.id);
    assert.deepEqual(listener.compute_config.k8s_namespaces, ['default']);
    assert.match(revisions.out, /\sDEPLOYED\s/);
    assert.match(js.out, /^[0-9a-f-]{36}\s+second\s/m);
  });

  test('errors are said by the clients with what to do', async () => {
    const image = ['--image-uri', images[1]!];
    const nowhere = '00000000-0000-4000-8000-000000000000';
    const listener = ['--listener-id', nowhere, '--k8s-namespace', 'default'];
    const tag = images[1]!.replace(/@.*/, ':1');
    const tenant = (id: string) => ({ LANGSMITH_TENANT_ID: id });
    await Promise.all([
      bad(python(['deploy', 'list'], own('fh_bad')), /status 401: Invalid API key/),
      bad(npm(['deploy', 'list', '--api-key', 'fh_bad']), /status 401: .*Invalid API key/),
      bad(
        python(['deploy', 'list'], { ...own(foreign.key), ...tenant(await workspaceId()) }),
        /403: The API key does not belong to workspace/,
      ),
      bad(
        python(['deploy', 'revisions', 'list', agent.id], own(foreign.key)),
        new RegExp(`404: Deployment ID ${agent.id} not found`),
      ),
    ]);
    await Promise.all([
      bad(python(deploy('x', ...image), own(wide)), /API key is org-scoped and requires a workspace ID/),
      good(python(['deploy', 'list'], { ...own(wide), ...tenant(await workspaceId()) })),
      bad(
        python(deploy('x', ...image, ...listener)),
        new RegExp(`Listener ${nowhere} was not found in this workspace.*${on.places[ACCOUNT]!.id}`, 's'),
        2,
      ),
      bad(python(deploy('x', '--image-uri', tag)), /must pin a digest/, 2),
      bad(
        python(deploy('x', '--remote')),
        /Scale to zero deployments are not supported.*Use --deployment-type dev instead/s,
      ),
    ]);
    assert.deepEqual((await get('?name=x')).resources, [], 'nothing was made of any of them');
  });

  test('deploy logs, and logs -f during a run: its lines appear, and none twice', async () => {
    const follow = start(PYTHON_CLI, ['deploy', 'logs', '--deployment-id', agent.id, '--limit', '1000', '-f']);
    await eventually('what was there is printed', () => follow.said().includes('Uvicorn running'), { seconds: 30 });
    const printed = follow.said().length;
    const [{ status }] = await Promise.all([
      ask(agent.url, key(on.api.apiKey), 'slow', { seconds: 1 }),
      eventually('the run starts', () => follow.said().slice(printed).includes('Starting background run'), {
        seconds: 30,
      }),
    ]);
    assert.equal(status, 200);
    await eventually('it ends', () => follow.said().slice(printed).includes('Background run succeeded'), {
      seconds: 30,
    });
    follow.child.kill('SIGINT');
    const { out } = await follow.ended;
    assert.match(out, /\nStopped\.\n$/);

    const { logs } = await on.api.call('POST', `/v1/projects/${agent.id}/deploy_logs`, { limit: 1000, order: 'asc' });
    const shown = ({ timestamp, level, message }: Json): string =>
      `[${new Date(timestamp).toISOString().slice(0, 19).replace('T', ' ')}] [${level}] ${message}`;
    const lines = out
      .replace(/\nStopped\.\n$/, '')
      .trimEnd()
      .split('\n');
    const kept = logs.map(shown).join('\n').split('\n').slice(0, lines.length);
    assert.deepEqual(lines.toSorted(), kept.toSorted());

    const [js, warnings] = await Promise.all([
      good(npm(['deploy', 'logs', '--deployment-id', agent.id, '-q', 'Background run succeeded'])),
      good(python(['deploy', 'logs', '--name', 'support-agent', '--level', 'CRITICAL'])),
    ]);
    assert.match(js.out, /^\[[-\d: ]+\] \[INFO\] Background run succeeded$/m);
    assert(!js.out.includes('Starting'));
    assert.match(warnings.out, /No log entries found/);
  });
});

test('the agent lets in who has a key of its workspace, and nobody else', async () => {
  const revoked = await keyOf({ name: 'a caller no more' });
  await on.api.call('DELETE', `/v2/freehold/api-keys/${revoked.id}`);
  const viewer = await keyOf({ name: 'a caller' });
  const status = async (headers: Record<string, string>): Promise<number> => (await ask(agent.url, headers)).status;
  const workspace = { 'X-Tenant-Id': await workspaceId() };
  const got = await Promise.all([
    status({}),
    status(key('fh_guessed')),
    status(key(foreign.key)),
    status({ ...key(foreign.key), ...workspace }),
    status({ ...key(wide), 'X-Tenant-Id': foreign.workspaceId }),
    status(key(revoked.key)),
    status(key(viewer.key)),
    status({ ...key(wide), ...workspace }),
  ]);
  assert.deepEqual(got, [403, 403, 403, 403, 403, 403, 200, 200]);
  assert((await on.rehearsal.fetch(`${agent.url}/ok`)).ok, 'the load balancer asks without a key');

  // https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html: it asks through the place's NAT gateway.
  const unseen = await keyOf({ name: 'a caller that it has not seen' });
  await on.api.stop('SIGKILL');
  const [seen, other] = await Promise.all([status(key(viewer.key)), status(key(unseen.key))]);
  on.api = await on.api.restart();
  assert.equal(seen, 200, 'a key that it asked about within the last minute');
  assert.equal(other, 500, 'any other: it cannot know, and lets nobody in');
  assert.equal(await status(key(unseen.key)), 200);
});

test('langgraph deploy delete --force, langgraphjs deploy delete --force: everything goes', async () => {
  const all = [agent.id, pushed, ...others];
  const deleted = all.map((id, i) => good((i === 0 ? npm : python)(['deploy', 'delete', id, '--force'])));
  for (const [i, ran] of (await Promise.all(deleted)).entries())
    assert(ran.out.includes(`Deleted deployment ${all[i]}.`));
  // Those of production can still be undeleted: the CLI shows them, as any that is being deleted.
  for (const { id, status } of (await get('')).resources) assert.match(status, /^AWAITING_(FINAL_)?DELETE$/, id);
  await stage.gone(on.api, pushed, 120); // the one that takes least: no last snapshot, no runs to wait for
  await bad(python(['deploy', 'delete', pushed, '--force']), new RegExp(`404: Deployment ID ${pushed} not found`));
  const left = await stage.tagged(on.rehearsal, ACCOUNT, pushed);
  assert.deepEqual(
    left.filter((arn) => !/:secret:|:task-definition\//.test(arn)), // AWS's own habits
    [],
  );
});
