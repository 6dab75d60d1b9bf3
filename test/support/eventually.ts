/** Waiting for the state of the world, never for an amount of time. */
import { setTimeout as sleep } from 'node:timers/promises';

type Nothing = undefined | null | false | 0 | '';

/**
 * Looks again and again until `look` answers something true, and returns that. A look that throws counts as "not yet".
 * @throws Error naming `what`, the limit, and what the last look said
 */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  { seconds = 30, every = 50 }: { seconds?: number; every?: number } = {},
): Promise<Exclude<T, Nothing>> {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    let last: unknown;
    try {
      const seen = await look();
      if (seen) return seen as Exclude<T, Nothing>;
      last = seen;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline)
      throw new Error(`not within ${seconds} s: ${what}; last seen: ${shown(last)}`, { cause: last });
    await sleep(every);
  }
}

function shown(value: unknown): string {
  if (value instanceof Error) return value.message;
  return JSON.stringify(value) ?? String(value);
}
