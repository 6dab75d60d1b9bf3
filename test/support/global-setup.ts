/** Before and after a run: one PostgreSQL and one emulated AWS, whose addresses the files find in their environment. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startRehearsal, type Rehearsal } from '../../services/rehearsal/index.ts';
import type { Postgres } from '../../services/postgres.ts';
import { openServer } from './database.ts';
import { LAG, PACE, TIMER_PACE } from './rehearsal.ts';

let postgres: Postgres | undefined;
let rehearsal: Rehearsal | undefined;

export async function globalSetup(): Promise<void> {
  const logs = join(import.meta.dirname, '..', '..', '.cache', 'test');
  const log = join(logs, 'rehearsal.log');
  mkdirSync(logs, { recursive: true });
  rmSync(log, { force: true });
  [postgres, rehearsal] = await Promise.all([
    openServer(),
    startRehearsal({ lag: LAG, pace: PACE, timerPace: TIMER_PACE, log }),
  ]);
  process.env['TEST_DATABASE_URL'] = postgres.url;
  process.env['REHEARSAL_ENDPOINT'] = rehearsal.endpoint;
}

export async function globalTeardown(): Promise<void> {
  await Promise.all([rehearsal?.stop(), postgres?.stop()]);
}
