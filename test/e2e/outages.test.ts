/** What the control plane stands on goes away for seconds; `npm run crash -- --outages` does it for minutes. */
import { test } from 'node:test';
import { awsGone, storeRestarted } from './outages.ts';

test('PostgreSQL is restarted in the middle of a rollout: the process stays, and the rollout ends well', () =>
  storeRestarted(1));

test('AWS cannot be reached in the middle of a rollout: it is said, judged by nobody, and the rollout ends well', () =>
  awsGone(2));
