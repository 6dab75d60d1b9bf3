/**
 * What Freehold is made of, as a CycloneDX document: npm's own, of the lock file, and the pinned Python packages of the
 * rehearsal, which the control plane does without.
 *
 *     npm run sbom [-- <file>]      @default sbom.json
 *
 * It needs npm 10.2 or later, and no network: names, versions, licences and hashes are in the lock file.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const REHEARSAL = [
  'services/rehearsal/account/requirements.txt',
  'services/rehearsal/images/langgraph-server/requirements.txt',
];

interface Component {
  readonly 'bom-ref': string;
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly scope?: string;
}
interface Bom {
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
}

/** The package URLs of what is locked and not for development alone. */
const RUNS: ReadonlySet<string> = new Set(
  Object.entries(
    (JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as { packages: Record<string, Locked> })
      .packages,
  )
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, { version }]) => `pkg:npm/${path.replace(/^.*node_modules\//, '').replace('@', '%40')}@${version}`),
);

interface Locked {
  readonly version: string;
  readonly dev?: boolean;
}

/** Of a file of `name==version` lines. */
export const pinned = (requirements: string): { name: string; version: string }[] =>
  requirements.split('\n').flatMap((line) => {
    const [, name, version] = /^([\w.-]+)(?:\[[\w,-]+\])?==([\w.+!-]+)/.exec(line.trim()) ?? [];
    return name === undefined || version === undefined ? [] : [{ name: name.toLowerCase(), version }];
  });

/** @throws Error when npm is too old to make one */
export function bom(): Bom {
  // Not `--omit=dev`, which leaves out what a package for development alone needs, too.
  const text = execFileSync(
    'npm',
    ['sbom', '--sbom-format=cyclonedx', '--sbom-type=application', '--package-lock-only'],
    {
      cwd: ROOT,
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
      shell: process.platform === 'win32', // there it is npm.cmd
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const ofNpm = JSON.parse(text) as Bom;
  const components = ofNpm.components.filter(({ purl }) => RUNS.has(purl));
  const kept = new Set([ofNpm.metadata.component['bom-ref'], ...components.map((component) => component['bom-ref'])]);
  const python = REHEARSAL.flatMap((file) => pinned(readFileSync(join(ROOT, file), 'utf8'))).map(
    ({ name, version }): Component => {
      const purl = `pkg:pypi/${name}@${version}`;
      return { 'bom-ref': purl, type: 'library', name, version, purl, scope: 'optional' };
    },
  );
  const once = new Map(python.map((component) => [component.purl, component]));
  return {
    ...ofNpm,
    // npm takes the folder's name.
    metadata: { ...ofNpm.metadata, component: { ...ofNpm.metadata.component, name: 'freehold' } },
    components: [...components, ...once.values()],
    dependencies: ofNpm.dependencies
      .filter(({ ref }) => kept.has(ref))
      .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((other) => kept.has(other)) })),
  };
}

if (import.meta.main) {
  const [file = 'sbom.json'] = process.argv.slice(2);
  try {
    const made = bom();
    writeFileSync(file, `${JSON.stringify(made, null, 2)}\n`);
    process.stdout.write(`${file}: ${made.components.length} components\n`);
  } catch (error) {
    process.stderr.write(
      `no SBOM was written: ${(error as Error).message}\nnpm 10.2 or later is needed: npm --version\n`,
    );
    process.exitCode = 1;
  }
}
