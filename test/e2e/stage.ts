/**
 * What the end-to-end tests share: a customer with a place, deployments driven through the API, load, and a look at
 * the account.
 */
import { ResourceGroupsTaggingAPIClient, paginateGetResources } from '@aws-sdk/client-resource-groups-tagging-api';
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PlaceOutputs } from '../../services/reconciler/place.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import * as scene from '../../services/rehearsal/scene.ts';
import {
  controlPlaneUser,
  onboard,
  startControlPlane,
  type ControlPlane,
  type CustomerOptions,
} from '../../services/rehearsal/scene.ts';
import { eventually } from '../support/eventually.ts';
import { openRehearsal } from '../support/rehearsal.ts';
import { publishedStack } from '../support/stack.ts';

export const REGION = 'us-east-1';

/* eslint-disable @typescript-eslint/no-explicit-any */
export type Json = any;

export interface Stage {
  readonly rehearsal: Rehearsal;
  readonly principal: Awaited<ReturnType<typeof controlPlaneUser>>;
  /** Replaced by the test that restarts it. */
  api: ControlPlane;
  /** By account. */
  readonly places: Readonly<Record<string, Awaited<ReturnType<typeof onboard>>>>;
  /** Puts an image into an account's `agent` repository; answers its URI by digest. */
  push(account: string, tag: string, image?: string, env?: Record<string, string>): Promise<string>;
  close(): Promise<void>;
}

/**
 * A control plane with a user of its own, and customers' accounts with a place each, whose stacks `deploy` makes. Its
 * agents let in anyone, unless `env` says otherwise.
 */
export async function open(
  name: string,
  accounts: readonly string[],
  env: Record<string, string> = {},
  deploy: (options: CustomerOptions) => Promise<PlaceOutputs> = publishedStack,
  openAccount: () => Promise<Rehearsal> = openRehearsal,
): Promise<Stage> {
  const rehearsal = await openAccount();
  const principal = await controlPlaneUser(rehearsal, name);
  const api = await startControlPlane({ rehearsal, principal, env: { FREEHOLD_AGENT_AUTH: 'noop', ...env } });
  const places: Record<string, Awaited<ReturnType<typeof onboard>>> = {};
  for (const account of accounts)
    places[account] = await onboard(api, principal.arn, { rehearsal, account, name: `${name}-${account}`, deploy });
  const on: Stage = {
    rehearsal,
    principal,
    api,
    places,
    push: async (account, tag, image = 'stub', baked = {}) =>
      (await rehearsal.pushImage({ account, region: REGION, repository: 'agent', tag, image, env: baked })).uri,
    async close() {
      await on.api.stop();
      await rehearsal.stop();
    },
  };
  return on;
}

export const customerClient = (rehearsal: Rehearsal, account: string) => ({
  endpoint: rehearsal.endpoint,
  region: REGION,
  credentials: rehearsal.root(account),
});

export async function createDeployment(
  api: ControlPlane,
  body: { name: string; image: string; type?: 'dev' | 'prod'; listenerId?: string; secrets?: Json[]; spec?: Json },
): Promise<Json> {
  return api.call('POST', '/v2/deployments', {
    name: body.name,
    source: 'external_docker',
    source_config: {
      deployment_type: body.type ?? 'dev',
      ...(body.listenerId ? { listener_id: body.listenerId } : {}),
      ...(body.spec ? { resource_spec: body.spec } : {}),
    },
    source_revision_config: { image_uri: body.image },
    secrets: body.secrets ?? [],
  });
}

export async function newRevision(api: ControlPlane, id: string, body: Json): Promise<string> {
  return (await api.call('PATCH', `/v2/deployments/${id}`, body)).latest_revision_id;
}

/** The revision once it has come to an end, whichever. */
export async function ended(api: ControlPlane, id: string, revisionId: string, seconds = 180): Promise<Json> {
  try {
    return await scene.ended(api, id, revisionId, { seconds });
  } catch (error) {
    const timeline = await api.call('GET', `/v2/deployments/${id}/timeline`).catch(() => null);
    throw new Error(`${(error as Error).message}\n${JSON.stringify(timeline, null, 1)}`, { cause: error });
  }
}

export async function deployed(api: ControlPlane, id: string, revisionId: string, seconds = 180): Promise<Json> {
  const revision = await ended(api, id, revisionId, seconds);
  if (revision.status !== 'DEPLOYED') throw new Error(`${revision.status}: ${revision.status_message}`);
  return revision;
}

export const gone = (api: ControlPlane, id: string, seconds = 60): Promise<void> => scene.gone(api, id, { seconds });

/** The database URI that ECS gives the server, read as the customer; its host is a name of the emulated network. */
export async function databaseUri(rehearsal: Rehearsal, account: string, arn: string): Promise<string> {
  const secrets = new SecretsManagerClient(customerClient(rehearsal, account));
  const { SecretString } = await secrets.send(new GetSecretValueCommand({ SecretId: arn }));
  const uri = new URL(SecretString!);
  uri.hostname = (await rehearsal.names())[uri.hostname]!;
  return uri.toString();
}

/** Everything in the account that carries the deployment's tag, by ARN. */
export async function tagged(rehearsal: Rehearsal, account: string, deploymentId: string): Promise<string[]> {
  const client = new ResourceGroupsTaggingAPIClient(customerClient(rehearsal, account));
  const found: string[] = [];
  const input = { TagFilters: [{ Key: 'freehold:deployment', Values: [deploymentId] }] };
  for await (const page of paginateGetResources({ client }, input))
    found.push(...(page.ResourceTagMappingList ?? []).map((mapping) => mapping.ResourceARN!));
  return found;
}

export const post = (body: unknown) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

export async function json(response: Response): Promise<Json> {
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.status} ${text.slice(0, 300)}`);
  return JSON.parse(text);
}

/** One run on a thread of its own, waited for. Answers the final state. */
export async function run(
  rehearsal: Rehearsal,
  url: string,
  graph: string,
  input: Json,
  signal?: AbortSignal,
): Promise<Json> {
  const options = signal ? { signal } : {};
  const thread = await json(await rehearsal.fetch(`${url}/threads`, { ...post({}), ...options }));
  const body = { assistant_id: graph, input };
  const answer = await json(
    await rehearsal.fetch(`${url}/threads/${thread.thread_id}/runs/wait`, { ...post(body), ...options }),
  );
  if (answer?.log?.length > 0) return answer;
  // The runtime that stands in here may answer just before the last checkpoint is seen by another process.
  return eventually(
    `the result of ${thread.thread_id}`,
    async () => {
      const { values } = await json(await rehearsal.fetch(`${url}/threads/${thread.thread_id}/state`, options));
      return values?.log?.length > 0 && values;
    },
    { seconds: 30, every: 200 },
  );
}

export interface Load {
  readonly requests: number;
  readonly failures: string[];
  readonly revisions: Set<string>;
}

/**
 * 20 requests a second, half of them `/info`, half threaded runs of which at most 10 are under way, until stopped.
 * A run fails when it does not answer its own input.
 */
export function load(rehearsal: Rehearsal, url: string): AsyncDisposable & { stop(): Promise<Load> } {
  const failures: string[] = [];
  const revisions = new Set<string>();
  const underWay = new Set<Promise<void>>();
  let requests = 0;
  let runs = 0;
  let stopped = false;

  const send = (act: () => Promise<void>): void => {
    requests++;
    const sent: Promise<void> = act()
      .catch((error: unknown) => void failures.push(`${new Date().toISOString()} ${String(error)}`))
      .finally(() => underWay.delete(sent));
    underWay.add(sent);
  };
  const info = async (): Promise<void> => {
    const answer = await json(await rehearsal.fetch(`${url}/info`));
    revisions.add(answer.host?.revision_id ?? answer.metadata?.revision_id ?? JSON.stringify(answer));
  };
  const echo = async (): Promise<void> => {
    runs++;
    try {
      const text = `load-${requests}`;
      const state = await run(rehearsal, url, 'echo', { text });
      if (!JSON.stringify(state).includes(text))
        throw new Error(`the run of ${text} answered ${JSON.stringify(state)}`);
    } finally {
      runs--;
    }
  };
  const loop = (async () => {
    for (let i = 0; !stopped; i++) {
      send(i % 2 === 0 || runs >= 10 ? info : echo);
      await sleep(50);
    }
  })();
  const stop = async (): Promise<Load> => {
    stopped = true;
    await loop;
    await Promise.all(underWay);
    return { requests, failures, revisions };
  };
  // A test that fails midway stops its load all the same.
  return { stop, [Symbol.asyncDispose]: async () => void (await stop()) };
}
