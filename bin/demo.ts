/**
 * The main job, to be watched: an emulated AWS account is prepared with the real `cdk deploy`, a deployment is created
 * through the API, the control plane makes everything in that account, and a real LangGraph Server answers.
 *
 *   npm start              stays up, with lines to try, until Ctrl-C
 *   npm start -- --once    ends after the agent answered; exit code 0 only if it did
 */
import { Client } from '@langchain/langgraph-sdk';
import { startRehearsal, type Rehearsal } from '../services/rehearsal/index.ts';
import {
  cdkDeploy,
  controlPlaneUser,
  curtain,
  ended,
  startControlPlane,
  type ControlPlane,
  type Revision,
} from '../services/rehearsal/scene.ts';
import { optionsOf } from './options.ts';

const CUSTOMER = '222222222222';
const REGION = 'us-east-1';
const NAME = 'support-agent';
/** AWS's own durations are divided by the first, timers that we configure (health checks, draining) by the second. */
const PACE = 60;
const TIMER_PACE = 10;
const LIMIT_SECONDS = 150;
/** How soon it is seen what somebody changed by hand: a quarter of an hour, as everything here. */
const SWEEP_SECONDS = 900 / PACE;

interface Resource {
  id: string;
  kind: string;
  name: string | null;
  state: string;
  since: string;
  message: string | null;
}

const { once } = optionsOf('npm start -- [--once]\n  --once   ends after the agent answered', {
  once: { type: 'boolean', default: false },
});
const live = process.stdout.isTTY === true;
const started = Date.now();

const seconds = (): string => `${((Date.now() - started) / 1000).toFixed(1).padStart(6)} s`;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const step = (line: string): void => say(`\n${seconds()}  ${line}`);
const detail = (line: string): void => say(`          ${line}`);

const stage = curtain(() => {
  say('\nStopping: the servers, the databases, the control plane, the emulated AWS');
  process.exitCode = once ? 1 : 0;
});

async function main(): Promise<void> {
  step('Starting an emulated AWS, on this machine only');
  const rehearsal = await startRehearsal({ lag: true, pace: PACE, timerPace: TIMER_PACE });
  stage.before(() => rehearsal.stop());
  detail(`${rehearsal.endpoint}: AWS's waits are ${PACE} times shorter here, health checks ${TIMER_PACE} times`);

  step('Starting the control plane, with a user of its own account 111111111111 and its embedded store');
  const principal = await controlPlaneUser(rehearsal);
  const controlPlane = await startControlPlane({
    rehearsal,
    principal,
    env: { FREEHOLD_SWEEP_SECONDS: String(SWEEP_SECONDS) },
  });
  stage.before(() => controlPlane.stop());
  detail(`${controlPlane.url}  X-Api-Key: ${controlPlane.apiKey}`);

  step('A new place: the control plane makes its external id');
  const place = await controlPlane.call('POST', '/v2/listeners', {
    compute_type: 'ecs',
    compute_id: 'production',
    compute_config: {},
  });
  detail(`external id ${place.place.external_id}`);

  step(`The customer deploys their stacks in account ${CUSTOMER}: npx cdk deploy`);
  const outputs = await cdkDeploy({
    rehearsal,
    account: CUSTOMER,
    region: REGION,
    context: { principal: principal.arn, externalId: place.place.external_id },
    signal: stage.stopping,
    onLine: (line) => {
      const event = /(\d+\/\d+) \| .*?\| (CREATE_COMPLETE|CREATE_FAILED)\s+\| (AWS::\S+)\s+\| (\S+)/.exec(line);
      if (event) detail(`${event[1]!.trim().padStart(6)}  ${event[3]!.padEnd(44)} ${event[4]}`);
      else if (/✅|❌|error|failed/i.test(line)) detail(line.trim());
    },
  });
  detail(`role ${outputs.roleArn}`);
  detail('databases and secrets may be deleted here; in your account only until -c allowDeletionUntil=<time>');

  step('Registering the place: the role is assumed, the network found, every permission checked');
  const verified = await controlPlane.call('PATCH', `/v2/listeners/${place.id}`, {
    compute_config: { place: outputs },
  });
  for (const check of verified.place.checks)
    detail(`${check.ok ? '✓' : '✗'} ${check.name}${check.message ? `: ${check.message}` : ''}`);

  step("The customer pushes the sample agent's image to their own ECR");
  const image = await rehearsal.pushImage({
    account: CUSTOMER,
    region: REGION,
    repository: NAME,
    tag: '1',
    image: 'langgraph-server',
  });
  detail(image.uri);

  step(`POST /v2/deployments: "${NAME}"`);
  const deployment = await controlPlane.call('POST', '/v2/deployments', {
    name: NAME,
    source: 'external_docker',
    source_config: { deployment_type: 'dev' },
    source_revision_config: { image_uri: image.uri },
    secrets: [{ name: 'GREETING', value: 'hello from your own account' }],
  });
  await watch(controlPlane, deployment.id, deployment.latest_revision_id);

  const { url } = await controlPlane.call('GET', `/v2/deployments/${deployment.id}`);
  step(`The agent's URL, through the load balancer: ${url}`);
  const answer = await ask(rehearsal, url, controlPlane.apiKey);
  step('The agent asked the control plane about the key; run once with the LangGraph SDK, it answered:');
  detail(JSON.stringify(answer));

  if (once) return;
  step('Everything stays up. Things to try (Ctrl-C ends it all):');
  say(hints(rehearsal, controlPlane, deployment.id, url, image.uri));
  await new Promise((resolve) => stage.stopping.addEventListener('abort', resolve));
}

function hints(rehearsal: Rehearsal, controlPlane: ControlPlane, id: string, url: string, image: string): string {
  const key = `-H 'X-Api-Key: ${controlPlane.apiKey}'`;
  const json = `-H 'Content-Type: application/json'`;
  const api = `${controlPlane.url}/v2/deployments/${id}`;
  const root = rehearsal.root(CUSTOMER);
  return `
  # the agent, through its load balancer
  curl -x ${rehearsal.endpoint} ${url}/info
  curl -x ${rehearsal.endpoint} ${url}/runs/wait ${key} ${json} -d '{"assistant_id":"echo","input":{"text":"hi"}}'

  # what was made, and what happened, in order
  curl ${key} ${api}/timeline

  # what a second revision would do, cost and need; the same with ?plan=<hash> on the next line does that or nothing
  curl -s -X POST ${key} ${json} ${api}/plan -d '{"secrets":[{"name":"GREETING","value":"changed"}]}' | jq -r .text

  # a second revision, then its status
  curl -X PATCH ${key} ${json} ${api} -d '{"secrets":[{"name":"GREETING","value":"changed"}]}'
  curl ${key} ${api}/revisions

  # what the lines of docs/control-plane.md take: deletes and undeletes, rolls in rings, offboarding
  export FREEHOLD_URL=${controlPlane.url} FREEHOLD_API_KEY=${controlPlane.apiKey}

  # the API's reference, in a browser: ${controlPlane.url}/docs

  # the vendor's CLI (pip install langgraph-cli); deploy needs a langgraph.json with a graph in the folder
  export LANGGRAPH_HOST_URL=${controlPlane.url} LANGGRAPH_HOST_API_KEY=${controlPlane.apiKey}
  langgraph deploy logs --deployment-id ${id} -f
  langgraph deploy --name another --image-uri ${image}

  # the account, with the AWS CLI, as its root
  export AWS_ENDPOINT_URL=${rehearsal.endpoint} AWS_DEFAULT_REGION=${REGION}
  export AWS_ACCESS_KEY_ID=${root.accessKeyId} AWS_SECRET_ACCESS_KEY=${root.secretAccessKey}
  aws ecs list-tasks --cluster freehold

  # what somebody changes by hand is seen within half a minute, written down, and changed back
  aws ecs update-service --cluster freehold --service freehold-${id.replaceAll('-', '').slice(0, 12)} --desired-count 0
  curl ${key} ${api}/drift

  # every AWS call that was made, by whom
  curl '${rehearsal.endpoint}/_rehearsal/calls?after=0'

  # delete it, and watch it go
  curl -X DELETE ${key} ${api}
  curl ${key} ${api}/timeline
`;
}

/** The live timeline: what, state, seconds, why it waits. Redrawn in a terminal, a line a change elsewhere. */
async function watch(controlPlane: ControlPlane, id: string, revisionId: string): Promise<void> {
  const shown = new Map<string, string>();
  let drawn = 0;
  const headOf = ({ status, status_message: message }: Revision): string =>
    `revision ${status}${message ? `: ${message}` : ''}`;
  const draw = async (revision: Revision): Promise<void> => {
    const { resources }: { resources: Resource[] } = await controlPlane.call('GET', `/v2/deployments/${id}/timeline`);
    const head = headOf(revision);
    if (live) {
      const width = process.stdout.columns ?? 120;
      const lines = [head, ...resources.map(line)].map((text) => `          ${text}`.slice(0, width - 1));
      process.stdout.write(`${drawn > 0 ? `\x1b[${drawn}A` : ''}${lines.map((text) => `\x1b[2K${text}\n`).join('')}`);
      drawn = lines.length;
    } else {
      for (const resource of resources) {
        const now = `${resource.state} ${resource.state === 'ready' ? '' : (resource.message ?? '')}`;
        if (shown.get(resource.id) !== now) say(`${seconds()}  ${line(resource)}`);
        shown.set(resource.id, now);
      }
      if (shown.get('') !== head) say(`${seconds()}  ${head}`);
      shown.set('', head);
    }
  };
  const every = live ? 250 : 500;
  const last = await ended(controlPlane, id, revisionId, { seconds: LIMIT_SECONDS, every, onLook: draw });
  if (last.status !== 'DEPLOYED') throw new Error(headOf(last));
}

function line(resource: Resource): string {
  const mark = { ready: '✓', waiting: '…', retrying: '↻', failed: '✗' }[resource.state] ?? ' ';
  const inState = Math.max(0, Math.round((Date.now() - Date.parse(resource.since)) / 1000));
  const why = resource.state === 'ready' ? (resource.name ?? '') : (resource.message ?? '');
  return `${mark} ${resource.id.padEnd(18)} ${resource.state.padEnd(9)} ${String(inState).padStart(3)} s  ${why}`;
}

async function ask(rehearsal: Rehearsal, url: string, apiKey: string): Promise<unknown> {
  // The balancer's name means something only inside the emulated network, so the SDK's requests go through its proxy.
  const through = (input: string | URL | Request, init?: RequestInit): Promise<Response> =>
    rehearsal.fetch(input instanceof Request ? input.url : String(input), {
      method: init?.method ?? 'GET',
      headers: Object.fromEntries(new Headers(init?.headers)),
      ...(typeof init?.body === 'string' ? { body: init.body } : {}),
    });
  const client = new Client({ apiUrl: url, apiKey, callerOptions: { fetch: through } });
  const thread = await client.threads.create();
  return client.runs.wait(thread.thread_id, 'echo', { input: { text: 'hello' } });
}

try {
  await main();
} catch (error) {
  // What breaks because it is being stopped did not fail.
  if (!stage.closing) {
    step('It did not work:');
    detail(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
await stage.close();
process.exit();
