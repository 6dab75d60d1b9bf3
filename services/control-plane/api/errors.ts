/** Errors as the wire has them: `{detail: "<sentence>"}`, and for what is wrong with the request itself a list. */
import { z } from '@hono/zod-openapi';
import type { ZodError } from 'zod';
import { Held, explain, isThrottled } from '../../reconciler/aws/errors.ts';

export interface Invalid {
  /** Where, as in `["body", "secrets", 0, "name"]`. */
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  readonly type: string;
}

export class ApiError extends Error {
  readonly status: 400 | 401 | 403 | 404 | 405 | 409 | 413 | 422 | 429 | 502 | 503;
  readonly detail: string | readonly Invalid[];
  /** In seconds. */
  readonly retryAfter: number | undefined;
  constructor(
    status: ApiError['status'],
    detail: string | readonly Invalid[],
    options?: ErrorOptions & { retryAfter?: number },
  ) {
    super(typeof detail === 'string' ? detail : JSON.stringify(detail), options);
    this.status = status;
    this.detail = detail;
    this.retryAfter = options?.retryAfter;
  }
}

export const bad = (detail: string): ApiError => new ApiError(400, detail);

/** One thing that is wrong with the body. */
export const invalid = (loc: readonly (string | number)[], msg: string, type = 'value_error'): ApiError =>
  new ApiError(422, [{ loc: ['body', ...loc], msg, type }]);

/** Of whatever is not there at all, also where one of several values was expected. */
const REQUIRED = 'Field required';
z.config({ customError: ({ input }) => (input === undefined ? REQUIRED : undefined) });

const PLACES: Record<string, string> = { json: 'body', query: 'query', param: 'path', header: 'header' };

export function fromZod(target: string, error: ZodError): ApiError {
  const detail = error.issues.map((issue) => ({
    loc: [PLACES[target] ?? target, ...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))],
    msg: issue.message,
    type: typeOf(issue),
  }));
  return new ApiError(422, detail);
}

type Issue = ZodError['issues'][number];

/** https://docs.pydantic.dev/latest/errors/validation_errors/: the names that FastAPI's clients know. */
function typeOf(issue: Issue): string {
  if (issue.message === REQUIRED) return 'missing';
  if (issue.code === 'invalid_type') return TYPES[issue.expected] ?? 'value_error';
  if (issue.code === 'invalid_format') return FORMATS[issue.format] ?? 'value_error';
  if (issue.code === 'invalid_value') return 'enum';
  if (issue.code === 'too_big') return SIZES[issue.origin]?.[0] ?? 'less_than_equal';
  if (issue.code === 'too_small') return SIZES[issue.origin]?.[1] ?? 'greater_than_equal';
  return 'value_error';
}

const TYPES: Record<string, string> = {
  string: 'string_type',
  number: 'float_parsing',
  int: 'int_parsing',
  boolean: 'bool_parsing',
  array: 'list_type',
  object: 'model_attributes_type',
  record: 'dict_type',
};
const FORMATS: Record<string, string> = {
  guid: 'uuid_parsing',
  uuid: 'uuid_parsing',
  datetime: 'datetime_from_date_parsing',
  regex: 'string_pattern_mismatch',
  url: 'url_parsing',
};
const SIZES: Record<string, readonly [tooBig: string, tooSmall: string]> = {
  string: ['string_too_long', 'string_too_short'],
  array: ['too_long', 'too_short'],
};

/** AWS's rates are by the second, and the SDK has tried for some already. */
const RETRY_SECONDS = 2;

/**
 * Runs what goes to the customer's account. What the account refuses for the request's sake is 400; an account that
 * cannot be entered, or does not allow it, is 502 with the cause: the same request may succeed when that is mended. One
 * that is asked too often is 503: the same request may succeed soon. What the customer holds is 409, and nothing of it
 * was done. A defect of ours is none of these: it stays what it is.
 */
export async function inAccount<T>(act: Promise<T>): Promise<T> {
  try {
    return await act;
  } catch (error) {
    if (error instanceof ApiError) throw error;
    if (error instanceof Held) throw new ApiError(409, error.message, { cause: error });
    const { terminal, message, defect } = explain(error);
    if (defect) throw error;
    if (isThrottled(error)) throw new ApiError(503, message, { cause: error, retryAfter: RETRY_SECONDS });
    throw new ApiError(terminal ? 400 : 502, message, { cause: error });
  }
}
