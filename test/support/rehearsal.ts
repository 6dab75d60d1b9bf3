/** The emulated AWS of a test run: one for all files, each of which uses AWS account numbers of its own. */
import { attachRehearsal, startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';

/**
 * AWS's own waits (a database takes 7 minutes) are divided by the first. Timers that the caller configured (health
 * checks, draining) run against real processes, which cannot be sped up, so they are divided by less.
 */
export const PACE = 100;
export const TIMER_PACE = 10;
/** Reads miss what was written so many times longer than the pace allows: a tenth of AWS's time, longer than a look. */
export const LAG = 10;

/** The run's, or one of its own for a file that is run alone. `stop` ends only the latter. */
export function openRehearsal(): Promise<Rehearsal> {
  const endpoint = process.env['REHEARSAL_ENDPOINT'];
  return endpoint ? attachRehearsal(endpoint) : startRehearsal({ lag: LAG, pace: PACE, timerPace: TIMER_PACE });
}

/** One of its own, in which what is written is read at once: for tests of something else than that. */
export const openPromptRehearsal = (): Promise<Rehearsal> => startRehearsal({ pace: PACE, timerPace: TIMER_PACE });

/**
 * One of its own, in which AWS's waits are next to nothing, with no server behind RDS: for stub servers, where what the
 * control plane does is looked at and not how long anything takes.
 */
export const openQuickRehearsal = (): Promise<Rehearsal> =>
  startRehearsal({ lag: LAG, pace: 1000, timerPace: 50, throttle: false, postgres: '' });
