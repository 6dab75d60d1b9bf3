/**
 * What the control plane stands on goes away in the middle of a rollout, for so long, and comes back: its PostgreSQL,
 * or every API of AWS. The process stays, says what is wrong, and carries the rollout to its end.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPostgres } from '../../services/postgres.ts';
import { eventually } from '../support/eventually.ts';
import { openQuickRehearsal } from '../support/rehearsal.ts';
import { publishedStack } from '../support/stack.ts';
import * as stage from './stage.ts';

const ACCOUNT = '480000000001';
const LIMIT_SECONDS = 420; // a look that went wrong is tried again after five minutes at the latest

/** A rollout that stands just after it was asked for, and goes on when `go` is called. */
async function rolling(on: stage.Stage) {
  const made = await stage.createDeployment(on.api, { name: 'agent', image: await on.push(ACCOUNT, '1') });
  await stage.deployed(on.api, made.id, made.latest_revision_id);
  const hold = await on.rehearsal.hold({ account: ACCOUNT, action: 'UpdateService', after: true, times: 1 });
  const image = await on.push(ACCOUNT, '2');
  const revision = await stage.newRevision(on.api, made.id, { source_revision_config: { image_uri: image } });
  await hold.reached(60);
  return { id: made.id as string, revision, go: () => hold.release() };
}

const read = (on: stage.Stage, id: string): Promise<stage.Json> => on.api.call('GET', `/v2/deployments/${id}`);

async function endsWell(on: stage.Stage, id: string, revision: string): Promise<void> {
  await stage.deployed(on.api, id, revision, LIMIT_SECONDS);
  const { status, active_revision_id: active } = await read(on, id);
  assert.deepEqual([status, active], ['READY', revision]);
  assert.equal(on.api.child.exitCode, null);
}

/** PostgreSQL is stopped, and started again on the same data and port. */
export async function storeRestarted(seconds: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'freehold-outage-'));
  let postgres = await startPostgres({ directory, durable: false });
  const env = { DATABASE_URL: postgres.url, FREEHOLD_POLL_SECONDS: '0.2', FREEHOLD_LOOK_EXPIRES_SECONDS: '10' };
  const on = await stage.open('store', [ACCOUNT], env, publishedStack, openQuickRehearsal);
  try {
    const { id, revision, go } = await rolling(on);
    await postgres.stop();
    await go();
    const answer = await fetch(`${on.api.url}/v2/deployments/${id}`, { headers: { 'X-Api-Key': on.api.apiKey } });
    assert.equal(answer.status, 503, await answer.text());
    await sleep(seconds * 1000);
    postgres = await startPostgres({ directory, durable: false, port: Number(new URL(postgres.url).port) });
    await eventually('the API answers', () => read(on, id).then(() => true), { seconds: 30, every: 200 });
    await endsWell(on, id, revision);
  } finally {
    await on.close();
    await postgres.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A way to the emulated account that can be shut: then connections are refused. */
async function doorTo(endpoint: string) {
  const sockets = new Set<Socket>();
  const { hostname, port } = new URL(endpoint);
  const server = createServer((socket) => {
    const there = connect(Number(port), hostname);
    for (const [one, other] of [
      [socket, there],
      [there, socket],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy()).on('close', () => sockets.delete(one));
      one.pipe(other);
    }
  });
  const open = (at: number): Promise<void> => new Promise((resolve) => server.listen(at, '127.0.0.1', resolve));
  await open(0);
  const at = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${at}`,
    open: () => open(at),
    shut: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** No API of AWS can be connected to; the process is started anew meanwhile, so it cannot even enter the account. */
export async function awsGone(seconds: number): Promise<void> {
  const rehearsal = await openQuickRehearsal();
  const door = await doorTo(rehearsal.endpoint);
  const env = { FREEHOLD_POLL_SECONDS: '0.2', AWS_ENDPOINT_URL: door.url };
  const on = await stage.open('gone', [ACCOUNT], env, publishedStack, () => Promise.resolve(rehearsal));
  try {
    const { id, revision, go } = await rolling(on);
    await door.shut();
    await go();
    const says = (status: string, message: RegExp): Promise<unknown> =>
      eventually(
        `${status}, and why`,
        async () => {
          const now = await read(on, id);
          if (now.status === status && message.test(now.status_message)) return true;
          throw new Error(`${now.status}: ${now.status_message}`);
        },
        { seconds: 30, every: 200 },
      );
    // Its session is good for an hour: the calls themselves do not get through.
    await says('READY', /AWS cannot be reached/);
    await on.api.stop('SIGKILL');
    on.api = await on.api.restart();
    await says('UNKNOWN', /cannot be entered|cannot be reached/);
    await sleep(seconds * 1000);
    const { status } = await on.api.call('GET', `/v2/deployments/${id}/revisions/${revision}`);
    assert(!/_FAILED|INTERRUPTED|DEPLOYED/.test(status), `an outage is no verdict: ${status}`);
    await door.open();
    await endsWell(on, id, revision);
  } finally {
    await door.open().catch(() => {});
    await on.close();
    await door.shut();
  }
}
