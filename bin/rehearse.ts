/**
 * The main job with every AWS call in sight: who made it, on what, and what allowed it. In an emulated account, in
 * seconds, with a stub in the place of a LangGraph Server.
 *
 *   npm run rehearse                        to read in a terminal
 *   npm run rehearse -- --out report.html   also one page, to look at
 *   npm run -s rehearse -- --json           a line of JSON for each phase and call, and for the summary
 *   npm run rehearse -- --all               no line stands for several calls that say the same
 *   npm run rehearse -- --pace 60           AWS's own waits are so many times shorter
 *
 * Exit code 0 only if everything went as told.
 */
import { statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { grants, scopeOf } from '../services/reconciler/aws/grants.ts';
import type { PlaceOutputs } from '../services/reconciler/place.ts';
import { startRehearsal, type Rehearsal } from '../services/rehearsal/index.ts';
import { page } from '../services/rehearsal/page.ts';
import {
  actorOf,
  count,
  isRefusal,
  permissions,
  type Permission,
  type Phase,
  type Report,
  type Told,
} from '../services/rehearsal/report.ts';
import {
  CONTROL_PLANE_ACCOUNT,
  cdkDeploy,
  cdkDestroy,
  controlPlaneUser,
  curtain,
  ended,
  gone,
  startControlPlane,
} from '../services/rehearsal/scene.ts';
import { optionsOf, wrong } from './options.ts';
import { Terminal } from './terminal.ts';

const CUSTOMER = '222222222222';
const REGION = 'us-east-1';
const NAME = 'support-agent';
const PACE = 400;
const TIMER_PACE = 40;
const LIMIT_SECONDS = 60;

const USAGE = `npm run rehearse -- [options]
  --out report.html   also one page, to look at
  --json              a line of JSON for each phase and call, and for the summary
  --all               no line stands for several calls that say the same
  --pace ${PACE}          AWS's own waits are so many times shorter`;
const options = optionsOf(USAGE, {
  json: { type: 'boolean', default: false },
  all: { type: 'boolean', default: false },
  out: { type: 'string' },
  pace: { type: 'string', default: String(PACE) },
});
const pace = Number(options.pace);
if (!(pace >= 1)) wrong(`--pace takes a number from 1 on, not "${options.pace}"`, USAGE);
if (options.out !== undefined) {
  const folder = dirname(resolve(options.out));
  const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  if (isFolder(options.out)) wrong(`--out: ${options.out} is a folder; a file is wanted`, USAGE);
  if (!isFolder(folder)) wrong(`--out: ${folder} is not a folder`, USAGE);
}
const timerPace = Math.min(TIMER_PACE, pace);
/** Slower paces need as much more patience; what is real (processes, our own code) stays as it is. */
const seconds = LIMIT_SECONDS * Math.max(1, PACE / pace);

const terminal = new Terminal(process.stdout, { all: options.all, silent: options.json });
const json = (line: object): void => void (options.json && process.stdout.write(`${JSON.stringify(line)}\n`));
const stage = curtain(() => {
  terminal.say('\nStopping');
  process.exitCode = 130;
});

const began = Date.now();
const since = (): number => (Date.now() - began) / 1000;
const phases: Phase[] = [];
const calls: Told[] = [];
const allowed: Permission[] = [];

/** The calls made since the last time, told as those of a phase. */
async function gather(rehearsal: Rehearsal, phase: Phase): Promise<void> {
  for (const call of await rehearsal.calls(calls.at(-1)?.n ?? 0)) {
    const told: Told = {
      ...call,
      time: call.at - began / 1000,
      phase: phase.name,
      who: actorOf(call, { customer: CUSTOMER, vendor: CONTROL_PLANE_ACCOUNT }),
      refused: isRefusal(call),
    };
    calls.push(told);
    json({ type: 'call', ...told });
  }
}

/** One phase: `act` answers what came of it, or throws. What it does not expect ends the rehearsal. */
async function play(rehearsal: Rehearsal, name: string, title: string, act: () => Promise<string>): Promise<void> {
  const phase: Phase = { name, title, from: since(), to: 0, outcome: '', ok: false };
  phases.push(phase);
  json({ type: 'phase', name, title, time: phase.from });
  const ticker = terminal.start(phase, () => calls.filter((call) => call.phase === name).length);
  const listening = new AbortController();
  const gathering = (async () => {
    while (!listening.signal.aborted) {
      await gather(rehearsal, phase).catch(() => {});
      await sleep(250, undefined, { signal: listening.signal }).catch(() => {});
    }
  })();
  try {
    phase.outcome = await act();
    phase.ok = true;
  } catch (error) {
    phase.outcome = error instanceof Error ? error.message : String(error);
    throw error;
  } finally {
    listening.abort();
    await gathering;
    if (!stage.closing) await gather(rehearsal, phase).catch(() => {});
    phase.to = since();
    ticker();
    const made = calls.filter((call) => call.phase === name);
    terminal.phase(phase, made, allowed);
    json({ type: 'end', name, ok: phase.ok, outcome: phase.outcome, time: phase.to, calls: made.length });
  }
}

const must = (met: boolean, otherwise: string): void => {
  if (!met) throw new Error(otherwise);
};

async function main(): Promise<Report> {
  terminal.title(
    'A rehearsal of the main job',
    `An emulated AWS on this machine; its waits are ${pace} times shorter than AWS's, health checks ${timerPace} times.`,
  );
  const rehearsal = await startRehearsal({ lag: true, pace, timerPace });
  stage.before(() => rehearsal.stop());
  const principal = await controlPlaneUser(rehearsal);
  const api = await startControlPlane({ rehearsal, principal, env: { FREEHOLD_POLL_SECONDS: '0.3' } });
  stage.before(() => api.stop());
  const watching = { seconds, every: 100, signal: stage.stopping };
  const act = (name: string, title: string, how: () => Promise<string>) => play(rehearsal, name, title, how);

  let listener = '';
  let externalId = '';
  let place: PlaceOutputs | undefined;
  let deployment = '';
  let good = '';
  const push = async (tag: string, env: Record<string, string> = {}): Promise<string> =>
    (await rehearsal.pushImage({ account: CUSTOMER, region: REGION, repository: NAME, tag, image: 'stub', env })).uri;
  const url = async (): Promise<string> => (await api.call('GET', `/v2/deployments/${deployment}`)).url;
  /** Which revision answers behind the load balancer. */
  const serving = async (): Promise<string> => {
    const answer = await rehearsal.fetch(`${await url()}/info`);
    must(answer.ok, `the load balancer answered ${answer.status}`);
    return ((await answer.json()) as { revision: string }).revision;
  };
  const deployed = async (revision: string): Promise<string> => {
    const last = await ended(api, deployment, revision, watching);
    must(last.status === 'DEPLOYED', `${last.status}: ${last.status_message}`);
    must((await serving()) === revision, `revision ${revision} is DEPLOYED and another one answers`);
    return `DEPLOYED, and it answers at ${await url()}`;
  };
  const customer = { rehearsal, account: CUSTOMER, region: REGION, signal: stage.stopping };
  const context = (): Record<string, string> => ({ principal: principal.arn, externalId });

  await act('onboard', 'The customer deploys the stack: npx cdk deploy', async () => {
    const made = await api.call('POST', '/v2/listeners', {
      compute_type: 'ecs',
      compute_id: 'production',
      compute_config: {},
    });
    [listener, externalId] = [made.id, made.place.external_id];
    place = await cdkDeploy({ ...customer, context: context() });
    const role = place.roleArn.split('/').at(-1)!;
    allowed.push(...permissions(await rehearsal.policiesOf(CUSTOMER, role), grants(scopeOf(place))));
    return `the role ${place.roleArn}, for ${principal.arn} with external id ${externalId}`;
  });
  await act('verify', 'The control plane assumes the role for the first time, and checks each permission', async () => {
    const { place: verified } = await api.call('PATCH', `/v2/listeners/${listener}`, { compute_config: { place } });
    const failed = verified.checks.filter((check: { ok: boolean }) => !check.ok);
    must(failed.length === 0, JSON.stringify(failed));
    return `${verified.checks.length} checks, all good`;
  });
  await act('create', `The customer pushes an image, and makes the deployment "${NAME}"`, async () => {
    const made = await api.call('POST', '/v2/deployments', {
      name: NAME,
      source: 'external_docker',
      source_config: { deployment_type: 'dev' },
      source_revision_config: { image_uri: await push('1') },
      secrets: [{ name: 'GREETING', value: 'hello' }],
    });
    deployment = made.id;
    good = made.latest_revision_id;
    return deployed(good);
  });
  const revise = async (tag: string, env: Record<string, string> = {}): Promise<string> =>
    (
      await api.call('PATCH', `/v2/deployments/${deployment}`, {
        source_revision_config: { image_uri: await push(tag, env) },
      })
    ).latest_revision_id;
  await act('roll', 'A second revision: another image', async () => {
    const before = good;
    const next = await revise('2');
    const outcome = await deployed(next);
    good = next;
    return `${outcome}; ${before} was drained`;
  });
  await act('fail', 'A revision whose server crashes at its start', async () => {
    const broken = await revise('3', { CRASH: 'start', EXIT_CODE: '3' });
    const last = await ended(api, deployment, broken, watching);
    must(last.status === 'DEPLOY_FAILED', `a revision that crashes ended as ${last.status}`);
    must((await serving()) === good, 'the revision before it does not answer any more');
    return `DEPLOY_FAILED: ${last.status_message}; the revision before it went on answering.`;
  });
  await act('roll back', 'Back to the first revision: deployed again, whole', async () => {
    const { resources: revisions } = await api.call('GET', `/v2/deployments/${deployment}/revisions?limit=10`);
    const oldest = revisions.at(-1).id;
    await api.call('POST', `/v2/deployments/${deployment}/revisions/${oldest}/redeploy`);
    const { latest_revision_id: again } = await api.call('GET', `/v2/deployments/${deployment}`);
    return deployed(again);
  });
  const ask = (service: string, target: string, input: object): Promise<any> =>
    rehearsal.json(CUSTOMER, REGION, service, target, input);
  /** As the customer sees it: what carries the deployment's tag, and of that what only AWS keeps for a while. */
  const remaining = async (): Promise<{ left: string[]; kept: string[] }> => {
    const left = (await rehearsal.processes()).map((one) => `process ${String(one['name'] ?? one['pid'])}`);
    const kept: string[] = [];
    for (let token = ''; ;) {
      const answer = await ask('tagging', 'ResourceGroupsTaggingAPI_20170126.GetResources', {
        TagFilters: [{ Key: 'freehold:deployment', Values: [deployment] }],
        ...(token ? { PaginationToken: token } : {}),
      });
      for (const { ResourceARN: arn } of answer.ResourceTagMappingList as { ResourceARN: string }[]) {
        let goes = false;
        if (arn.includes(':task-definition/')) {
          const target = 'AmazonEC2ContainerServiceV20141113.DescribeTaskDefinition';
          goes = (await ask('ecs', target, { taskDefinition: arn })).taskDefinition.status === 'INACTIVE';
        } else if (arn.includes(':secret:'))
          goes = 'DeletedDate' in (await ask('secretsmanager', 'secretsmanager.DescribeSecret', { SecretId: arn }));
        (goes ? kept : left).push(arn);
      }
      token = answer.PaginationToken;
      if (!token) return { left, kept };
    }
  };
  let remains: { left: string[]; kept: string[] } = { left: [], kept: [] };
  await act('delete', 'The deployment is deleted: the stack was deployed with allowDeletionUntil', async () => {
    await api.call('DELETE', `/v2/deployments/${deployment}`);
    await gone(api, deployment, watching);
    return 'gone';
  });
  await act('leave', 'The customer looks for what is left, and takes the stack away: npx cdk destroy', async () => {
    remains = await remaining();
    must(remains.left.length === 0, `left behind: ${remains.left.join(', ')}`);
    await cdkDestroy({ ...customer, context: context() });
    return `nothing of the deployment was left but ${remains.kept.length} things that AWS keeps for a while; the role is gone`;
  });
  count(allowed, calls);
  return { pace, phases, calls, permissions: allowed, ...remains };
}

try {
  const report = await main();
  terminal.summary(report);
  const { calls: _calls, phases: _phases, ...summary } = report;
  json({ type: 'summary', ok: true, time: since(), calls: calls.length, ...summary });
  if (options.out) {
    writeFileSync(options.out, page(report));
    terminal.say(`\nThe same to look at: ${options.out}`);
  }
} catch (error) {
  // What breaks because it is being stopped did not fail.
  if (!stage.closing) {
    const message = error instanceof Error ? error.message : String(error);
    terminal.say(`\nIt did not go as told: ${message}`);
    json({ type: 'summary', ok: false, time: since(), calls: calls.length, message });
    process.exitCode = 1;
  }
}
await stage.close();
process.exit();
