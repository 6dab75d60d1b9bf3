/** A whole control plane over a real PostgreSQL and a simulated cloud: the API in-process, the worker when started. */
import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino, type Logger } from 'pino';
import { api } from '../../services/control-plane/api/app.ts';
import { listen } from '../../services/control-plane/api/server.ts';
import { startWorker } from '../../services/control-plane/worker.ts';
import { addKey, addWorkspace, digestKey } from '../../services/control-plane/store/access.ts';
import { openDatabase as connect, type Database } from '../../services/control-plane/store/database.ts';
import { Looks } from '../../services/control-plane/store/looks.ts';
import { migrate } from '../../services/control-plane/store/migrations.ts';
import { openDatabase } from '../support/database.ts';
import { checkAnswer } from './contract.ts';
import { SimulatedCloud, outputs } from './simulated.ts';

/* eslint-disable @typescript-eslint/no-explicit-any */
export type Json = any;

export interface Answer {
  readonly status: number;
  readonly body: Json;
  readonly headers: Headers;
}

export interface ControlPlane {
  readonly db: Database;
  readonly url: string;
  readonly looks: Looks;
  readonly cloud: SimulatedCloud;
  readonly key: string;
  readonly workspaceId: string;
  readonly digestKey: Buffer;
  readonly log: Logger;
  /** Every line that was logged. */
  readonly logged: string[];
  /** Serves it over HTTP, at the address that it returns. */
  listen(): Promise<string>;
  /** As it comes: for what `call` would set right. */
  request(path: string, init: RequestInit): Response | Promise<Response>;
  readonly fetch: ReturnType<typeof api>['fetch'];
  /** What it answers is held against the OpenAPI document. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  startWorker(options?: { sweepSeconds?: number; concurrency?: number; pollSeconds?: number }): Promise<void>;
  /** A verified place of a new listener. */
  place(name?: string): Promise<Json>;
  /** A deployment that `deployment` asks for. */
  create(more?: Json): Promise<Json>;
  close(): Promise<void>;
}

export const KEY = 'fh_test_key';

let count = 0;
/** What makes a deployment in the workspace's only place, each with another name. */
export const deployment = (more: Json = {}): Json => ({
  name: `agent-${++count}`,
  source: 'external_docker',
  source_config: { resource_spec: {} },
  source_revision_config: { image_uri: 'repo/agent:1' },
  secrets: [],
  ...more,
});

export async function openControlPlane(): Promise<ControlPlane> {
  const database = await openDatabase({
    name: 'store',
    async migrate(url) {
      const db = connect(url, { connections: 1, onError: () => {} });
      await migrate(db);
      await db.destroy();
    },
  });
  const logged: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  const db = connect(database.url, { connections: 10, onError: () => {} });
  await migrate(db);
  const looks = await Looks.open(db, {
    url: database.url,
    heartbeatSeconds: 10,
    expireSeconds: 60,
    onError: (error) => log.error({ err: error }, 'looks'),
  });
  const workspaceId = await addWorkspace(db, 'test');
  await addKey(db, workspaceId, 'test', KEY);
  const cloud = new SimulatedCloud();
  const secretsKey = await digestKey(db);
  const app = api({
    db,
    looks,
    cloud,
    log,
    principalArn: 'arn:aws:iam::111111111111:user/freehold',
    agentAuth: { type: 'langsmith', endpoint: 'https://freehold.example.com' },
    digestKey: secretsKey,
  });

  let server: Server | undefined;
  const call: ControlPlane['call'] = async (method, path, body, headers = {}) => {
    const response = await app.request(path, {
      method,
      headers: {
        'X-Api-Key': KEY,
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isLines = response.headers.get('content-type') === 'application/x-ndjson';
    const answer: Json = isLines ? text : text === '' ? null : JSON.parse(text);
    if (method !== 'HEAD') checkAnswer(method, path, response, answer);
    return { status: response.status, body: answer, headers: response.headers };
  };
  return {
    db,
    url: database.url,
    looks,
    cloud,
    key: KEY,
    workspaceId,
    digestKey: secretsKey,
    log,
    logged,
    async listen() {
      server = await listen(app.fetch, { port: 0, host: '127.0.0.1' });
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    request: (path, init) => app.request(path, init),
    fetch: app.fetch,
    call,
    startWorker: ({ sweepSeconds = 3600, concurrency = 4, pollSeconds = 0.2 } = {}) =>
      startWorker({
        db,
        looks,
        cloud,
        log,
        digestKey: secretsKey,
        concurrency,
        sweepSeconds,
        pollSeconds,
        lateSeconds: 0,
      }),
    async place(name = 'production') {
      const made = await call('POST', '/v2/listeners', { compute_type: 'ecs', compute_id: name, compute_config: {} });
      const patch = { compute_config: { place: outputs() } };
      return (await call('PATCH', `/v2/listeners/${made.body.id}`, patch)).body;
    },
    async create(more = {}) {
      const answer = await call('POST', '/v2/deployments', deployment(more));
      assert.equal(answer.status, 201, JSON.stringify(answer.body));
      return answer.body;
    },
    async close() {
      server?.close();
      await looks.stop(1);
      await db.destroy();
      await database.close();
    },
  };
}
