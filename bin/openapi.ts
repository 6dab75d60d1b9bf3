/** `npm run openapi`: writes docs/openapi.json. A test compares it with the routes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openapi } from '../services/control-plane/openapi.ts';

writeFileSync(join(import.meta.dirname, '..', 'docs', 'openapi.json'), openapi());
