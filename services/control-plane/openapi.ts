import { DOCUMENT, routes } from './api/app.ts';
import type { ApiOptions } from './api/context.ts';

/** docs/openapi.json, which is generated from the routes. That needs neither a store nor an account. */
export function openapi(): string {
  const app = routes({} as ApiOptions);
  return `${JSON.stringify(app.getOpenAPI31Document(DOCUMENT), null, 2)}\n`;
}
