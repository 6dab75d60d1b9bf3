/** `npm run template`: writes what comes from the customer's stack, templates/ and docs/iam.md. Tests compare them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deployerFiles } from '../lib/deployer.ts';
import { rights } from '../lib/rights.ts';
import { templates } from '../lib/templates.ts';

const root = join(import.meta.dirname, '..');
mkdirSync(join(root, 'templates'), { recursive: true });
const files = Object.entries({ ...templates(), ...deployerFiles() }).map(
  ([file, content]) => [`templates/${file}`, content] as const,
);
for (const [path, content] of [...files, ['docs/iam.md', rights()] as const]) {
  writeFileSync(join(root, path), content);
  console.log(`${path}: ${Buffer.byteLength(content)} bytes`);
}
