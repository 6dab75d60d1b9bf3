/**
 * What the main job costs: AWS calls for a create, a revision, a delete and an idle look, and seconds beside the
 * emulated
 * AWS's own critical path (the sum of its delays along the longest chain). Ratios within one run; docs/benchmarks.md.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startRehearsal, type Call } from '../services/rehearsal/index.ts';
import { controlPlaneUser, onboard, startControlPlane } from '../services/rehearsal/scene.ts';
import * as stage from '../test/e2e/stage.ts';
import { writeSection } from './section.ts';

const ACCOUNT = '450000000001';
const PACE = 20;
const TIMER_PACE = 5;
const IDLE_LOOKS = 5;
const ROOT = join(import.meta.dirname, '..');
const durations = JSON.parse(readFileSync(join(ROOT, 'services/rehearsal/account/durations.json'), 'utf8')) as Record<
  string,
  { seconds: number }
>;

/** The chains of AWS's own waits that nothing can shorten, by the names in durations.json. */
const START_A_TASK = ['ecs.scheduler', 'ecs.provisioning', 'ecs.pending', 'ecs.pull', 'ecs.activating', 'elb.register'];
const STOP_A_TASK = ['ecs.deactivating', 'ecs.deprovisioning'];
const CHAINS = {
  create: ['rds.create', 'rds.modify', ...START_A_TASK, 'ecs.steady'],
  revision: [...START_A_TASK, 'ecs.steady'],
  delete: [...STOP_A_TASK, 'ecs.service.draining', 'rds.delete'],
};

const critical = (chain: readonly string[]): number =>
  chain.reduce((sum, name) => sum + durations[name]!.seconds, 0) / PACE;

const rehearsal = await startRehearsal({ lag: true, pace: PACE, timerPace: TIMER_PACE });
const principal = await controlPlaneUser(rehearsal);
const api = await startControlPlane({ rehearsal, principal, env: { FREEHOLD_SWEEP_SECONDS: '2' } });
try {
  const place = await onboard(api, principal.arn, { rehearsal, account: ACCOUNT, name: 'bench' });
  const push = async (tag: string): Promise<string> =>
    (
      await rehearsal.pushImage({
        account: ACCOUNT,
        region: stage.REGION,
        repository: 'agent',
        tag,
        image: 'stub',
        env: { TAG: tag },
      })
    ).uri;
  const images = [await push('1'), await push('2')];

  const measured = async (act: () => Promise<void>): Promise<{ calls: Call[]; seconds: number }> => {
    const from = (await rehearsal.calls()).at(-1)?.n ?? 0;
    const started = performance.now();
    await act();
    const seconds = (performance.now() - started) / 1000;
    const calls = await rehearsal.calls(from);
    return { seconds, calls: calls.filter((call) => call.via === '' && call.principal.includes('control-plane')) };
  };

  let id = '';
  const create = await measured(async () => {
    const made = await stage.createDeployment(api, {
      name: 'agent',
      image: images[0]!,
      listenerId: place.id,
      secrets: [{ name: 'TOKEN', value: 'x' }],
    });
    id = made.id;
    await stage.deployed(api, id, made.latest_revision_id, 240);
  });
  const revision = await measured(async () => {
    const next = await stage.newRevision(api, id, { source_revision_config: { image_uri: images[1] } });
    await stage.deployed(api, id, next, 240);
  });
  await sleep(5000);
  const idle = await measured(async () => {
    await sleep(IDLE_LOOKS * 2000 + 1000);
  });
  // Every look asks for the target group once.
  const looks = idle.calls.filter((call) => call.action === 'DescribeTargetGroups').length;
  const remove = await measured(async () => {
    await api.call('DELETE', `/v2/deployments/${id}`);
    await stage.gone(api, id, 240);
  });

  const writes = (calls: Call[]): number =>
    calls.filter((call) => !/^(Describe|List|Get|Simulate|BatchGet|AssumeRole)/.test(call.action)).length;
  const row = (name: keyof typeof CHAINS, run: { calls: Call[]; seconds: number }): string => {
    const chain = critical(CHAINS[name]);
    return `| ${name} | ${run.calls.length} | ${writes(run.calls)} | ${run.seconds.toFixed(1)} | ${chain.toFixed(1)} | ${(run.seconds / chain).toFixed(2)} |`;
  };
  const perAction = (calls: Call[]): string => {
    const counts = new Map<string, number>();
    for (const call of calls) {
      const key = `${call.service}:${call.action}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return [...counts]
      .sort((a, b) => b[1] - a[1])
      .map(([key, count]) => `${key} ${count}`)
      .join(', ');
  };
  writeSection(`## The main job

Seconds are those of an emulated AWS whose own waits are ${PACE} times shorter than AWS's and whose
configured timers (health checks, draining) are ${TIMER_PACE} times shorter; only the ratio is worth comparing. The
critical path is the sum of the emulated AWS's own waits along the longest chain; health checks, draining and the server's
own start come on top of it. Each wait is a tenth longer or shorter by chance, so a ratio near 1 may be just below it.

One deployment (\`dev\`, one variable, its own database and Redis) with a stub server, by one control plane.

| what | AWS calls | of which writes | seconds | critical path | ratio |
| --- | ---: | ---: | ---: | ---: | ---: |
${row('create', create)}
${row('revision', revision)}
${row('delete', remove)}

An idle look, at a deployment where nothing has changed: **${(idle.calls.length / looks).toFixed(1)} calls**
(${writes(idle.calls)} writes in ${looks} looks).

Where the calls go:

- create: ${perAction(create.calls)}
- revision: ${perAction(revision.calls)}
- idle, ${looks} looks: ${perAction(idle.calls)}
- delete: ${perAction(remove.calls)}
`);
} finally {
  await api.stop();
  await rehearsal.stop();
}
