/**
 * Kills the control plane at every AWS call that creating, rolling, failing to roll and deleting a deployment makes,
 * and looks whether it comes to the right end all the same. See test/e2e/points.ts.
 */
import { availableParallelism } from 'node:os';
import { Lane, FLOWS, nameOf, pointOf, type Flow, type Outcome, type Point, type Survey } from '../test/e2e/points.ts';
import { writeSection } from '../bench/section.ts';
import { curtain } from '../services/rehearsal/scene.ts';
import { awsGone, storeRestarted } from '../test/e2e/outages.ts';
import { shuffled } from '../test/support/random.ts';
import { optionsOf, wrong } from './options.ts';

const USAGE = `npm run crash -- [options]

  --flow <name>    only ${FLOWS.join(', ')}; may be repeated
  --only <point>   only this one, as the list and a failure name it: 'create ecs:CreateService#1 after'
  --sample <n>     so many of each flow, chosen by the seed
  --seed <n>       (1)
  --lanes <n>      control planes at once (2 for each processor)
  --outages <s>    also PostgreSQL and AWS gone for so many seconds each in the middle of a rollout (120 when all
                   points are tried, else not)
  --list           says which points there are
  --write          writes the section "Crash points" of docs/benchmarks.md`;

/** A point that was missed, because its call was not needed this time, is tried so often. */
const TRIES = 3;

const values = optionsOf(USAGE, {
  flow: { type: 'string', multiple: true },
  only: { type: 'string' },
  sample: { type: 'string' },
  seed: { type: 'string', default: '1' },
  lanes: { type: 'string', default: String(2 * availableParallelism()) },
  outages: { type: 'string' },
  list: { type: 'boolean', default: false },
  write: { type: 'boolean', default: false },
});
const number = (name: 'sample' | 'seed' | 'lanes' | 'outages'): number => {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < 1) wrong(`--${name} is not a whole number from 1: ${values[name]}`, USAGE);
  return value;
};
const flows = values.flow ?? FLOWS;
for (const flow of flows) if (!FLOWS.includes(flow as Flow)) wrong(`--flow: there is no "${flow}"`, USAGE);
const seed = number('seed');
const isWhole = values.only === undefined && values.sample === undefined && values.flow === undefined;
const outageSeconds = values.outages !== undefined ? number('outages') : isWhole ? 120 : 0;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const scene = curtain(() => (process.exitCode = 130));
let accounts = 0;
const openLane = async (): Promise<Lane> => {
  const lane = await Lane.open(String(460_000_000_000 + ++accounts));
  scene.before(() => lane.close());
  return lane;
};

const started = performance.now();
try {
  const first = await openLane();
  const survey = await first.survey();
  const points = chosen(survey);
  for (const flow of FLOWS) {
    const all = survey.points.filter((point) => point.flow === flow).length;
    const mine = points.filter((point) => point.flow === flow).length;
    say(`${flow.padEnd(12)} ${String(survey.calls[flow]).padStart(4)} AWS calls, ${all} points, ${mine} of them now`);
  }
  if (values.list) for (const point of points) say(nameOf(point));
  else {
    const outcomes = await crashAll(points, survey, first);
    report(survey, outcomes, outageSeconds > 0 && !scene.closing ? await outages() : []);
  }
} catch (error) {
  if (!scene.closing) throw error;
} finally {
  await scene.close();
}

function chosen({ points }: Survey): Point[] {
  if (values.only !== undefined) {
    try {
      return [pointOf(values.only)];
    } catch (error) {
      wrong((error as Error).message, USAGE);
    }
  }
  return flows.flatMap((flow) => {
    const mine = points.filter((point) => point.flow === flow);
    return values.sample === undefined ? mine : shuffled(mine, seed).slice(0, number('sample'));
  });
}

/** A create and a delete share a deployment; the others share one that stands. */
function roundsOf(points: readonly Point[]): Point[][] {
  const of = (flow: Flow): Point[] => points.filter((point) => point.flow === flow);
  const [creates, deletes] = [of('create'), of('delete')];
  const paired = Array.from({ length: Math.max(creates.length, deletes.length) }, (_, at) =>
    [creates[at], deletes[at]].filter((point) => point !== undefined),
  );
  return [...paired, ...of('roll').map((point) => [point]), ...of('failed-roll').map((point) => [point])];
}

async function crashAll(points: readonly Point[], survey: Survey, first: Lane): Promise<Outcome[]> {
  const began = performance.now();
  const rounds = roundsOf(points);
  const tries = new Map<string, number>();
  const outcomes: Outcome[] = [];
  const tell = (outcome: Outcome): void => {
    outcomes.push(outcome);
    const each = (performance.now() - began) / outcomes.length;
    const left = duration(((points.length - outcomes.length) * each) / 1000);
    const { point, end, seconds, why } = outcome;
    const count = `[${String(outcomes.length).padStart(String(points.length).length)}/${points.length}]`;
    say(`${count} ${left} left  ${nameOf(point)}: ${end}, ${seconds.toFixed(1)} s`);
    if (end === 'failed') say(`  ${why}\n  again: npm run crash -- --only '${nameOf(point)}'`);
  };
  const work = async (lane: Lane): Promise<void> => {
    let own = lane;
    for (let round = rounds.shift(); round !== undefined && !scene.closing; round = rounds.shift()) {
      const ended = await own.run(round, survey.usual);
      for (const outcome of ended) {
        const name = nameOf(outcome.point);
        tries.set(name, (tries.get(name) ?? 0) + 1);
        if (outcome.end === 'missed' && tries.get(name)! < TRIES) rounds.push([outcome.point]);
        else tell(outcome);
      }
      const undone = round.filter((point) => !ended.some((outcome) => outcome.point === point));
      if (undone.length > 0) rounds.push(undone);
      if (ended.some(({ end }) => end === 'failed')) {
        await own.close();
        own = await openLane();
      }
    }
  };
  const lanes = Math.min(number('lanes'), rounds.length);
  await Promise.all(Array.from({ length: lanes }, async (_, at) => work(at === 0 ? first : await openLane())));
  return outcomes;
}

interface Outage {
  readonly what: string;
  /** How long all of it took. */
  readonly seconds: number;
  readonly error: Error | undefined;
}

/** At once: both wait, most of the time. */
function outages(): Promise<Outage[]> {
  const gone: [string, (seconds: number) => Promise<void>][] = [
    ['PostgreSQL stopped and started again', storeRestarted],
    ['connections to AWS refused, the process killed meanwhile', awsGone],
  ];
  return Promise.all(
    gone.map(async ([what, act]) => {
      const began = performance.now();
      const error = await act(outageSeconds).then(
        () => undefined,
        (thrown: unknown) => thrown as Error,
      );
      const seconds = (performance.now() - began) / 1000;
      say(
        `${what} for ${outageSeconds} s: ${error ? `failed: ${error.message}` : 'converged'}, ${seconds.toFixed(0)} s`,
      );
      return { what, seconds, error };
    }),
  );
}

function report(survey: Survey, outcomes: readonly Outcome[], gone: readonly Outage[]): void {
  const rows = FLOWS.filter((flow) => outcomes.some(({ point }) => point.flow === flow)).map((flow) => {
    const mine = outcomes.filter(({ point }) => point.flow === flow);
    const count = (end: Outcome['end']): number => mine.filter((one) => one.end === end).length;
    const seconds = mine.map((one) => one.seconds).toSorted((a, b) => a - b);
    const median = seconds[Math.floor(seconds.length / 2)]!.toFixed(1);
    const cells = [survey.calls[flow], mine.length, count('converged'), count('missed'), count('failed'), median];
    return `| ${[flow, ...cells].join(' | ')} |`;
  });
  const failed = outcomes.filter(({ end }) => end === 'failed');
  const missed = outcomes.filter(({ end }) => end === 'missed');
  const head = [
    '| flow | AWS calls | points | converged | missed | failed | median s |',
    '| ---- | --------: | -----: | --------: | -----: | -----: | -------: |',
  ];
  const table = [...head, ...rows].join('\n');
  const took = duration((performance.now() - started) / 1000);
  const processors = availableParallelism();
  say(`\n${table}\n\n${outcomes.length} points in ${took}, seed ${seed}`);
  for (const { point } of missed) say(`missed ${TRIES} times: ${nameOf(point)}`);
  for (const { point } of failed) say(`failed: npm run crash -- --only '${nameOf(point)}'`);
  if (failed.length > 0 || gone.some(({ error }) => error)) process.exitCode = 1;
  if (values.write)
    writeSection(`## Crash points

\`npm run crash\`, on ${processors} processors: the control plane, a process on its own PostgreSQL, killed (\`SIGKILL\`)
just before and just after each of its AWS calls in turn, and started again.
**${outcomes.length} points, ${outcomes.length - failed.length - missed.length} converged**, in ${took}.

Converged is: the status that it should have; the account as it is without a crash, field by field; nothing made
twice; after a rollout that failed, everything as before it; after a delete, nothing left. A call that only reads is one
point, since before and after it are the same. Missed is a call that three times was not needed again, because AWS was
done sooner than when the calls were listed.

${table}
${gone.length === 0 ? '' : outagesTold(gone)}`);
}

function outagesTold(gone: readonly Outage[]): string {
  return `
In the middle of a rollout, for ${outageSeconds} seconds: ${gone
    .map(
      ({ what, error }) =>
        `${what}: ${error ? 'failed' : 'the rollout ends as it should, the statuses truthful meanwhile'}`,
    )
    .join('; ')}.
`;
}

function duration(seconds: number): string {
  return seconds < 60 ? `${Math.round(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
