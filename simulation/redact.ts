/**
 * As `store/observed.ts`, for redaction: no server here says a secret, and to look for one in each of a million
 * refusals would take as long as all else. Redaction has tests of its own.
 */
import type * as real from '../services/control-plane/redact.ts';

export * from '../services/control-plane/redact.ts';

export const concealer: typeof real.concealer = () => (text) => text;
