/** How many requests a minute, counted in this process alone. */
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { ApiError } from './errors.ts';

const MINUTE = 60;

/**
 * Who asks is remembered for a minute.
 * @param what is counted, as in "Too many requests with this key"
 * @param perMinute 0: no limit
 * @returns spends one; throws ApiError 429 with `Retry-After`, in seconds, when nothing is left
 */
export function budget(what: string, perMinute: number): (who: string) => Promise<void> {
  if (perMinute === 0) return () => Promise.resolve();
  const limiter = new RateLimiterMemory({ points: perMinute, duration: MINUTE });
  return async (who) => {
    try {
      await limiter.consume(who);
    } catch (left) {
      if (!(left instanceof RateLimiterRes)) throw left;
      const retryAfter = Math.max(1, Math.ceil(left.msBeforeNext / 1000));
      throw new ApiError(
        429,
        `Too many ${what}: ${perMinute} a minute are answered. Try again in ${retryAfter} seconds.`,
        { retryAfter },
      );
    }
  };
}
