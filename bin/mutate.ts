/** `npm run mutate`: breaks the code in each known way, in a copy of it, and sees whether the simulation notices. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { MUTATIONS, type Mutation } from '../simulation/mutations.ts';
import { optionsOf, wrong } from './options.ts';

const ROOT = join(import.meta.dirname, '..');

const USAGE = `npm run mutate -- [options]

  --only <text>   only those with this in their name
  --seeds N       each is given up after so many seeds (default 1000)
  --list          their names
  --json          one line of JSON at the end, and nothing else`;

const values = optionsOf(USAGE, {
  only: { type: 'string', default: '' },
  seeds: { type: 'string', default: '1000' },
  list: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
});
const say = (text: string): void => void (values.json || process.stdout.write(`${text}\n`));
const waiting = MUTATIONS.filter(({ name }) => name.includes(values.only));
if (waiting.length === 0) wrong(`--only: no mutation has "${values.only}" in its name; --list shows them`, USAGE);
if (!/^[1-9]\d*$/.test(values.seeds)) wrong(`--seeds is not a whole number from 1: ${values.seeds}`, USAGE);
if (values.list) {
  for (const { name, file } of waiting) process.stdout.write(`${name}  (${file})\n`);
  process.exit();
}

/** Whoever ends it is left no copies. */
const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => ending.abort());

interface Caught {
  readonly mutation: string;
  /** Null: nothing noticed it. */
  readonly property: string | null;
  readonly how: string;
  readonly seeds: number;
  readonly seconds: number;
}

/** A copy of what is simulated, with one mutation in it; null: the code has moved on from under it. */
function copyWith({ file, from, to, also }: Mutation): string | null {
  const text = readFileSync(join(ROOT, file), 'utf8');
  if ([from, also?.from ?? from].some((each) => text.split(each).length !== 2)) return null;
  const copy = mkdtempSync(join(tmpdir(), 'freehold-mutant-'));
  for (const folder of ['bin', 'services', 'simulation'])
    cpSync(join(ROOT, folder), join(copy, folder), { recursive: true, filter: (path) => !path.includes('/.venv') });
  cpSync(join(ROOT, 'package.json'), join(copy, 'package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  const mutated = text.replace(from, () => to);
  writeFileSync(join(copy, file), also ? mutated.replace(also.from, () => also.to) : mutated);
  return copy;
}

async function caught(mutation: Mutation): Promise<Caught> {
  const none = { mutation: mutation.name, property: null, seeds: 0, seconds: 0 };
  const copy = copyWith(mutation);
  if (copy === null) return { ...none, how: `it does not apply any more: mend it: ${mutation.file} has changed` };
  try {
    const answer = await new Promise<string>((resolve) => {
      const sim = [join(copy, 'bin', 'sim.ts'), '--brief', '--threads', '1', '--seeds', values.seeds];
      // A mutant that does not run at all shows nothing.
      execFile(process.execPath, sim, { cwd: copy, signal: ending.signal }, (error, stdout, stderr) =>
        resolve(stdout || JSON.stringify({ ...none, how: `it does not even run: ${stderr || error?.message}` })),
      );
    });
    const { property, how, seeds, seconds } = JSON.parse(answer) as Omit<Caught, 'mutation'>;
    return { mutation: mutation.name, property, how, seeds, seconds };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

const many = waiting.length === 1 ? '1 mutation' : `${waiting.length} mutations`;
say(`${many}, each until a seed notices it, ${values.seeds} at most: seconds to minutes for each`);
const found: Caught[] = [];
const inTurn = async (): Promise<void> => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const one = await caught(next);
    if (ending.signal.aborted) return;
    found.push(one);
    const how =
      one.property === null ? `NOT CAUGHT: ${one.how}` : `caught by "${one.property}": ${one.how.split('\n')[0]}`;
    say(`${one.mutation}\n  ${how}\n  ${one.seeds} seeds, ${one.seconds.toFixed(1)} s`);
  }
};
await Promise.all(Array.from({ length: availableParallelism() }, inTurn));
if (ending.signal.aborted) process.exit(130);

const missed = found.filter(({ property }) => property === null);
if (values.json) process.stdout.write(`${JSON.stringify(found)}\n`);
say(`\n${found.length - missed.length} of ${found.length} mutations are caught`);
process.exitCode = missed.length > 0 ? 1 : 0;
