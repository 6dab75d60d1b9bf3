/** Waiting for the state of the world, never for an amount of time. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds between two looks: each costs processor time, which whoever is waited for needs, too. */
const FIRST = 50;
const LAST = 250;

type Nothing = undefined | null | false | 0 | '';

/**
 * Looks again and again until `look` answers something true, and returns that. A look that throws counts as "not yet".
 * @param every milliseconds between looks @default fewer looks the longer it takes
 * @throws Error naming `what`, the limit, and what the last look said
 */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  { seconds = 30, every }: { seconds?: number; every?: number } = {},
): Promise<Exclude<T, Nothing>> {
  const deadline = performance.now() + seconds * 1000;
  for (let pause = every ?? FIRST; ; pause = every ?? Math.min(LAST, pause * 1.1)) {
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
    await sleep(pause);
  }
}

function shown(value: unknown): string {
  if (value instanceof Error) return value.message;
  return JSON.stringify(value) ?? String(value);
}
