import { documentOf } from './api/document.ts';
import { routes } from './api/app.ts';
import type { ApiOptions } from './api/context.ts';

/** docs/openapi.json, which is generated from the routes. That needs neither a store nor an account. */
export const openapi = (): string => `${JSON.stringify(documentOf(routes({} as ApiOptions)), null, 2)}\n`;
