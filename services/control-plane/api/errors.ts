/** Errors as the wire has them: `{detail: "<sentence>"}`, and for what is wrong with the request itself a list. */
import type { ZodError } from 'zod';
import { explain } from '../../reconciler/aws/errors.ts';

export interface Invalid {
  /** Where, as in `["body", "secrets", 0, "name"]`. */
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  readonly type: string;
}

export class ApiError extends Error {
  readonly status: 400 | 401 | 403 | 404 | 409 | 413 | 422 | 502;
  readonly detail: string | readonly Invalid[];
  constructor(status: ApiError['status'], detail: string | readonly Invalid[], options?: ErrorOptions) {
    super(typeof detail === 'string' ? detail : JSON.stringify(detail), options);
    this.status = status;
    this.detail = detail;
  }
}

export const bad = (detail: string): ApiError => new ApiError(400, detail);

/** One thing that is wrong with the body. */
export const invalid = (loc: readonly (string | number)[], msg: string, type = 'value_error'): ApiError =>
  new ApiError(422, [{ loc: ['body', ...loc], msg, type }]);

const PLACES: Record<string, string> = { json: 'body', query: 'query', param: 'path', header: 'header' };

export function fromZod(target: string, error: ZodError): ApiError {
  const detail = error.issues.map((issue) => {
    const missing = issue.code === 'invalid_type' && /received undefined/.test(issue.message);
    return {
      loc: [PLACES[target] ?? target, ...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))],
      msg: missing ? 'Field required' : issue.message,
      type: missing ? 'missing' : issue.code,
    };
  });
  return new ApiError(422, detail);
}

/**
 * Runs what goes to the customer's account. What the account refuses for the request's sake is 400; an account that
 * cannot be entered, or does not allow it, is 502 with the cause: the same request may succeed when that is mended. A
 * defect of ours is neither: it stays what it is.
 */
export async function inAccount<T>(act: Promise<T>): Promise<T> {
  try {
    return await act;
  } catch (error) {
    if (error instanceof ApiError) throw error;
    const { terminal, message, defect } = explain(error);
    if (defect) throw error;
    throw new ApiError(terminal ? 400 : 502, message, { cause: error });
  }
}
