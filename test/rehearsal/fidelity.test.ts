/** docs/fidelity.md keeps its promises: each row has its AWS page, and each test that it names exists. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');
const COLUMNS = ['service', 'behaviour', 'AWS page', 'test', 'not emulated: how the code guards'];
const PAGE = /\]\(https:\/\/docs\.aws\.amazon\.com\/[^\s)]+\)/;

interface Row {
  line: number;
  service: string;
  behaviour: string;
  page: string;
  test: string;
}

const rows: Row[] = [];
const misshapen: string[] = [];
let inTable = false;
for (const [at, line] of readFileSync(join(ROOT, 'docs', 'fidelity.md'), 'utf8')
  .split('\n')
  .entries()) {
  if (!line.startsWith('|')) {
    inTable = false;
    continue;
  }
  const cells = line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) => cell.trim());
  if (cells.join() === COLUMNS.join()) inTable = true;
  else if (inTable && !/^-+$/.test(cells[0] ?? '')) {
    const [service = '', behaviour = '', page = '', shownBy = ''] = cells;
    if (cells.length !== COLUMNS.length || service === '' || behaviour === '')
      misshapen.push(`line ${at + 1}: ${line}`);
    rows.push({ line: at + 1, service, behaviour, page, test: shownBy });
  }
}

const named = (file: string): string => join('test', file.includes('/') ? '' : 'rehearsal', `${file}.test.ts`);

/** `file` “title”, “title”; `file` “title” */
const tests = ({ test: cell }: Row): { file: string; titles: string[] }[] =>
  cell
    .split('; `')
    .map((part) => /^`?([\w/-]+)`(.*)$/s.exec(part))
    .filter((match) => match !== null)
    .map(([, file, rest]) => ({ file: file!, titles: [...rest!.matchAll(/“([^”]*)”/g)].map(([, title]) => title!) }));

/** Every text in a file that can be a title: `${…}` stands for anything, on either side. */
const plain = (text: string): string => text.replace(/\$\{[^}]*\}/g, '${}').replace(/\\(.)/g, '$1');
const titles = new Map<string, Set<string>>();
function titlesIn(path: string): Set<string> {
  const known = titles.get(path);
  if (known) return known;
  const text = readFileSync(join(ROOT, path), 'utf8');
  const quoted = text.matchAll(/'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`/g);
  const found = new Set([...quoted].map(([, single, double, template]) => plain(single ?? double ?? template ?? '')));
  // An apostrophe in a comment would pair with a quote far away: titles that open a call are read line by line, too.
  const calls = text.matchAll(
    /\b(?:test|describe)\((?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g,
  );
  for (const [, single, double, template] of calls) found.add(plain(single ?? double ?? template ?? ''));
  for (const [, key] of text.matchAll(/^\s+(?:\[|\{ (?:why|name|title): )?['"`](.*?)['"`](?:,|:)/gm))
    found.add(plain(key!));
  titles.set(path, found);
  return found;
}

test('the table is there, in its form', () => {
  assert(rows.length > 70, `${rows.length} rows`);
  assert.deepEqual(misshapen, []);
});

test('every row has an AWS page, or says why there is none', () => {
  const without = rows.filter(({ page }) => !PAGE.test(page) && !/^none: \S+ \S+/.test(page));
  assert.deepEqual(
    without.map(({ line, behaviour }) => `line ${line}: ${behaviour}`),
    [],
  );
});

test('every row names a test with its title, or says that there is none', () => {
  const vague = rows.filter(
    (row) => row.test !== 'no test' && (tests(row).length === 0 || tests(row).some((one) => one.titles.length === 0)),
  );
  assert.deepEqual(
    vague.map(({ line, test: cell }) => `line ${line}: ${cell}`),
    [],
  );
});

test('every test that is named exists, by its title', () => {
  const wrong = rows.flatMap((row) =>
    tests(row).flatMap(({ file, titles: wanted }) => {
      const path = named(file);
      if (!existsSync(join(ROOT, path))) return [`line ${row.line}: there is no ${path}`];
      return wanted
        .filter((title) => !titlesIn(path).has(plain(title)))
        .map((title) => `line ${row.line}: ${path} has no “${title}”`);
    }),
  );
  assert.deepEqual(wrong, []);
});

test('every test of the emulated account is named somewhere', () => {
  const all = globSync('test/rehearsal/*.test.ts', { cwd: ROOT }).map((path) => basename(path, '.test.ts'));
  const mentioned = new Set(rows.flatMap((row) => tests(row).map(({ file }) => file)));
  assert.deepEqual(
    all.filter((file) => !mentioned.has(file)),
    [],
  );
});
