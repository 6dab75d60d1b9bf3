/** `npm run template`: writes the customer's stack as plain CloudFormation to templates/. A test compares the two. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { templates } from '../lib/templates.ts';

const directory = join(import.meta.dirname, '..', 'templates');
mkdirSync(directory, { recursive: true });
for (const [file, content] of Object.entries(templates())) {
  writeFileSync(join(directory, file), content);
  console.log(`templates/${file}: ${Buffer.byteLength(content)} bytes`);
}
