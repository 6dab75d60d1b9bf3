/** Rules about the sources themselves: what a review would otherwise have to look for. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '..');
const SELF = relative(ROOT, import.meta.filename);
const NOT_OURS = /^(node_modules|\.git|\.cache|\.data|cdk\.out|templates)(\/|$)/;

const files = globSync('**/*.{ts,js,mjs,py,md,json,txt,sh,yml}', { cwd: ROOT, exclude: (path) => NOT_OURS.test(path) })
  .concat(globSync('.ci/*', { cwd: ROOT }))
  .filter((path) => !/(^|\/)(node_modules|\.venv|cdk\.out)\//.test(path))
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
const code = files.filter(({ path }) => /\.(ts|js|mjs)$/.test(path));
const python = files.filter(({ path }) => path.endsWith('.py'));

/** Every place where a line matches, as `path:line: what`. */
function found(where: typeof files, wrong: RegExp): string[] {
  return where.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, at) => {
      const match = wrong.exec(line);
      return match ? [`${path}:${at + 1}: ${match[0].slice(0, 100)}`] : [];
    }),
  );
}

const under = (...folders: string[]) => code.filter(({ path }) => folders.some((folder) => path.startsWith(folder)));
const notUnder = (...folders: string[]) => code.filter(({ path }) => !folders.some((one) => path.startsWith(one)));

/** What a file imports: packages as they are, files as paths from the root. */
function imports({ path, text }: { path: string; text: string }): string[] {
  const named = [...text.matchAll(/^\s*(?:import|export)\s(?:[^;'"]*?\sfrom\s)?['"]([^'"]+)['"]/gm)].map(
    ([, name]) => name!,
  );
  const dynamic = [...text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g)].map(([, name]) => name!);
  return [...named, ...dynamic].map((name) => (name.startsWith('.') ? join(dirname(path), name) : name));
}

const importing = (where: typeof files, wrong: RegExp): string[] =>
  where.flatMap((file) =>
    imports(file)
      .filter((name) => wrong.test(name))
      .map((name) => `${file.path} imports ${name}`),
  );

test('the import finder finds', () => {
  const seen = imports({
    path: 'a/b.ts',
    text: `import x, {\n  y,\n} from 'p';\nimport '../c.ts';\nawait import('./d.ts')`,
  });
  assert.deepEqual(seen, ['p', 'c.ts', 'a/d.ts']);
  assert(code.length > 20);
});

test('who may import whom', () => {
  // The reconciler knows no server, no SQL, no emulator and no CDK.
  const above =
    /^(services\/(control-plane|rehearsal|postgres)|lib\/|bin\/|test\/|hono|@hono\/|pg$|pg-boss|kysely|aws-cdk-lib)/;
  assert.deepEqual(importing(under('services/reconciler/'), above), []);
  const production = under('services/reconciler/', 'services/control-plane/', 'lib/');
  assert.deepEqual(importing(production, /^(services\/rehearsal|test\/|bin\/)/), []);
  assert.deepEqual(importing(under('services/control-plane/'), /^(lib\/|aws-cdk-lib|constructs)/), []);
  assert.deepEqual(importing(under('lib/'), /^services\/(control-plane|postgres)/), []);
  assert.deepEqual(importing(under('services/rehearsal/'), /^(services\/control-plane|lib\/|test\/)/), []);
  assert.deepEqual(importing(under('services/', 'lib/'), /^simulation\//), []);
  // The simulated account knows the reconciler's types, and nothing of the control plane.
  assert.deepEqual(
    importing(under('simulation/aws/'), /^(services\/(control-plane|rehearsal|postgres)|lib\/|test\/)/),
    [],
  );
});

test('what runs needs no package that is for development alone', () => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const packages = under('services/', 'lib/', 'bin/').flatMap((file) =>
    imports(file)
      .filter((name) => /^@?[a-z]/.test(name) && !/^(services|lib|bin|simulation|test|crash|bench|node:)\b/.test(name))
      .map((name) => /^(@[^/]+\/)?[^/]+/.exec(name)![0]),
  );
  assert(packages.includes('@aws-sdk/client-ecs'));
  assert.deepEqual(
    [...new Set(packages)].filter((name) => !(name in dependencies)),
    [],
  );
});

test('AWS is called only in kinds/ and aws/', () => {
  const elsewhere = notUnder(
    'services/reconciler/kinds/',
    'services/reconciler/aws/',
    'simulation/aws/',
    'test/',
    'bench/',
  );
  assert.deepEqual(importing(elsewhere, /^@aws-sdk\//), []);
});

test('SQL is only in store/', () => {
  const elsewhere = notUnder('services/control-plane/store/', 'services/postgres.ts', 'test/');
  assert.deepEqual(importing(elsewhere, /^(pg|kysely)$/), []);
  assert.deepEqual(found(elsewhere, /\bsql`|['"`]\s*(select .+ from|insert into|update \w+ set|delete from)\b/i), []);
});

test('the environment is read where a process starts, nowhere else', () => {
  // The rehearsal passes PATH and HOME on to the processes that it starts.
  const elsewhere = notUnder('services/control-plane/main.ts', 'services/rehearsal/', 'bin/', 'test/', 'examples/');
  assert.deepEqual(found(elsewhere, /\bprocess\.env\b/), []);
});

test('names say what a thing is', () => {
  const vague = '(manager|handler|helper|util|utils|provider|controller)';
  const declared = `(class|interface|type|function|const|let|def)\\s+(\\w*(?<![a-z])|[a-z]+(?=[A-Z]))${vague}(?![a-z])`;
  const names = found([...code, ...python], new RegExp(declared, 'i')).filter(
    (name) => !name.endsWith(': def handler'),
  );
  assert.deepEqual(names, []); // `handler` is what Lambda calls a function
  assert.deepEqual(found(under('services/', 'lib/'), /^\s*(export\s+)?(class|interface|type)\s+(Job|Task)\b/), []);
  const misnamed = files.filter(({ path }) => new RegExp(`(^|[/._-])${vague}s?[._-]`, 'i').test(path));
  assert.deepEqual(
    misnamed.map(({ path }) => path),
    [],
  );
});

test('lines are at most 120 columns, but for what cannot be broken', () => {
  const comment = /^\s*(\/\/|\/?\*|#)/;
  const literal = /(['"`]).*\1|\/.+\/[a-z]*/g; // a string, a template, a regular expression: from its first quote to its last
  const long = ({ path, text }: { path: string; text: string }): string[] =>
    text.split('\n').flatMap((line, at) => {
      const counted = comment.test(line) ? line : line.replace(literal, '');
      return counted.length > 120 ? [`${path}:${at + 1}`] : [];
    });
  assert.deepEqual([...code, ...python].flatMap(long), []);
});

test('nothing names a machine, a registry or a work log', () => {
  const others = files.filter(({ path }) => path !== SELF);
  assert.deepEqual(
    found(others, /(^|[^\w.])\/work\/|\/tmp\/plan|\.pyenv|registry\.npmjs|files\.pythonhosted|\bissue #?\d/i),
    [],
  );
  const locks = files.filter(({ path }) => path.endsWith('package-lock.json'));
  assert.equal(locks.length, 2);
  assert.deepEqual(found(locks, /"resolved"/), []);
});

const execute = promisify(execFile);
const bin = (name: string) => join(ROOT, 'node_modules', '.bin', name);

/** Passes when the command ends with 0; otherwise its output is the message. */
async function passes(command: string, ...args: string[]): Promise<void> {
  await execute(command, args, { cwd: ROOT, maxBuffer: 1e7 }).catch((error: { stdout: string; stderr: string }) =>
    assert.fail(`${error.stdout}${error.stderr}`),
  );
}

test('links in documents lead somewhere', () => {
  const links = files
    .filter(({ path }) => path.endsWith('.md'))
    .flatMap(({ path, text }) =>
      [...text.matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)].map(([, to]) => ({ path, to: to! })),
    );
  assert(links.length > 10);
  const broken = links.filter(({ path, to }) => !existsSync(join(ROOT, dirname(path), to)));
  assert.deepEqual(broken, []);
});

// The compiler's own diagnostics: what the linter asks about types is made once, for both.
test('types hold, and the linter finds nothing', () =>
  passes(bin('oxlint'), '--type-aware', '--type-check', '--quiet'));
test('everything is formatted', () => {
  // What was looked at before and is as it was is not looked at again.
  const cache = ['--cache', '--cache-location', join(ROOT, '.cache', 'test', 'format')];
  return passes(bin('prettier'), '--check', '--log-level=warn', ...cache, '.');
});
test('Python compiles', () => {
  const parse = 'import ast, sys\nfor path in sys.argv[1:]: ast.parse(open(path).read(), path)';
  const interpreter = join(ROOT, '.cache', 'python', 'rehearsal', 'bin', 'python');
  return passes(interpreter, '-W', 'error', '-c', parse, ...python.map(({ path }) => path));
});
