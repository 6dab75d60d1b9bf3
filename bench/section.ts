/** docs/benchmarks.md is written in sections, each by the benchmark that it belongs to. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const PAGE = join(ROOT, 'docs', 'benchmarks.md');

/** Replaces the section, or puts it at the end. `text` begins with its `## ` heading. */
export function writeSection(text: string): void {
  const heading = text.split('\n', 1)[0]!;
  const sections = existsSync(PAGE) ? readFileSync(PAGE, 'utf8').split(/^(?=## )/m) : [];
  const at = sections.findIndex((section) => section.split('\n', 1)[0] === heading);
  const section = `${text.trimEnd()}\n\n`;
  if (at < 0) sections.push(section);
  else sections[at] = section;
  writeFileSync(PAGE, `${sections.join('').trimEnd()}\n`);
  execFileSync(join(ROOT, 'node_modules', '.bin', 'prettier'), ['--write', '--log-level', 'warn', PAGE]);
  process.stdout.write(section);
}
