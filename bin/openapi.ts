/** `npm run openapi`: writes docs/openapi.json and docs/problems.md. A test compares them with the code. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openapi } from '../services/control-plane/openapi.ts';
import { problemsPage } from '../services/control-plane/api/problems.ts';

const docs = join(import.meta.dirname, '..', 'docs');
writeFileSync(join(docs, 'openapi.json'), openapi());
writeFileSync(join(docs, 'problems.md'), problemsPage());
