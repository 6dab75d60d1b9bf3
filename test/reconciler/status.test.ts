import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Row, State } from '../../services/reconciler/pass.ts';
import { deploymentStatus, revisionStatus, type DeploymentFacts } from '../../services/reconciler/status.ts';

const NOW = new Date(150_000);
const NEW = 'revision-2';
const OLD = 'revision-1';

const row = (id: string, state: State['state'], message = '', generation = NEW): Row => ({
  id,
  kind: 'k',
  inputs: { name: id },
  needs: [],
  state: { state, message },
  generation,
  since: new Date(0),
  askedAt: null,
  busySince: null,
  tries: 0,
  notBefore: null,
  gaveUp: null,
  outputs: null,
});
const ready = (id: string, generation = NEW): Row => row(id, 'ready', '', generation);

const revisions: [why: string, Row[], status: string, message: RegExp | null][] = [
  ['no pass has seen it: no rows', [], 'CREATING', null],
  ['no pass has seen it: rows of the old one', [ready('database', OLD), ready('service', OLD)], 'CREATING', null],
  [
    'its database is being made',
    [ready('secret'), row('database', 'waiting', 'creating'), row('service', 'waiting', 'needs database')],
    'CREATING',
    /^database: creating$/,
  ],
  [
    'its database has been in the making for two minutes and a half',
    [{ ...row('database', 'waiting', 'creating: usually 5 to 10 minutes'), busySince: new Date(0) }],
    'CREATING',
    /^database: creating: usually 5 to 10 minutes; 2 minutes so far$/,
  ],
  [
    'a permission is missing for the database: somebody may mend it',
    [row('database', 'retrying', 'not authorized: rds:CreateDBInstance'), row('service', 'waiting', 'needs database')],
    'CREATING',
    /rds:CreateDBInstance/,
  ],
  [
    'the database was given up on',
    [row('database', 'failed', 'not ready after 40 minutes'), row('service', 'waiting', 'needs database')],
    'CREATE_FAILED',
    /^database: not ready after 40 minutes$/,
  ],
  [
    'what failed in an older revision says nothing about this one',
    [ready('database'), row('service', 'failed', 'crashed', OLD)],
    'DEPLOYING',
    null,
  ],
  [
    'all before the service becomes ready',
    [ready('database'), row('redis', 'waiting', 'starting'), row('service', 'waiting', 'needs redis')],
    'AWAITING_DEPLOY',
    /^redis: starting$/,
  ],
  [
    'all before the service was ready, but in the old revision',
    [ready('database'), ready('definition', OLD), ready('service', OLD)],
    'AWAITING_DEPLOY',
    null,
  ],
  [
    'its own database, so none of ours',
    [ready('definition'), row('service', 'waiting', '1 of 2 running')],
    'DEPLOYING',
    /1 of 2/,
  ],
  [
    'the rollout failed',
    [ready('database'), row('service', 'failed', 'exit code 3')],
    'DEPLOY_FAILED',
    /^service: exit code 3$/,
  ],
  [
    'what comes after the service failed',
    [ready('database'), ready('service'), row('scaling', 'failed', 'refused')],
    'DEPLOY_FAILED',
    /^scaling: refused$/,
  ],
  [
    'the service is ready, what comes after not yet',
    [ready('database'), ready('service'), row('scaling', 'waiting', 'asked for')],
    'DEPLOYING',
    /scaling/,
  ],
  ['all ready in this revision', [ready('database'), ready('service')], 'DEPLOYED', null],
  ['all ready, one of it not looked at yet', [ready('database'), ready('service', OLD)], 'DEPLOYING', null],
];

for (const [why, rows, status, message] of revisions)
  test(`revision ${status}: ${why}`, () => {
    const judged = revisionStatus(NEW, rows, NOW);
    assert.equal(judged.status, status);
    if (message === null) assert.equal(judged.message, null);
    else assert.match(judged.message ?? '', message);
  });

const facts: DeploymentFacts = {
  isDeleted: false,
  unreachable: null,
  newest: { number: 2, verdict: null },
  active: { number: 1 },
  source: 'external_docker',
  hasTarget: true,
  lastKnown: null,
  alarm: null,
};
const unbuilt = { number: 2, verdict: { status: 'BUILD_FAILED', message: 'not yet' } } as const;
const crashed = { number: 2, verdict: { status: 'DEPLOY_FAILED', message: 'exit code 3' } } as const;

const deployments: [why: string, DeploymentFacts, Row[], status: string, message: RegExp | null][] = [
  [
    'being removed',
    { ...facts, isDeleted: true },
    [row('database', 'waiting', 'being removed')],
    'AWAITING_DELETE',
    /removed/,
  ],
  [
    'deleted, and it can still be undone: until when, and what holds its servers up',
    { ...facts, isDeleted: true, undoUntil: new Date('2026-01-02T03:04:05.678Z'), unreachable: 'role gone' },
    [],
    'AWAITING_FINAL_DELETE',
    /^deleted: until 2026-01-02T03:04:05Z an undelete brings it back, then its data goes, too; role gone$/,
  ],
  [
    'deleted in a place that cannot be entered',
    { ...facts, isDeleted: true, unreachable: 'role gone' },
    [],
    'AWAITING_DELETE',
    /role gone/,
  ],
  [
    'the place cannot be entered: what was known last',
    { ...facts, unreachable: 'role gone', lastKnown: 'READY' },
    [ready('database')],
    'UNKNOWN',
    /^role gone \(last known: READY\)$/,
  ],
  [
    'no database yet',
    { ...facts, active: null },
    [row('database', 'waiting', 'creating')],
    'AWAITING_DATABASE',
    /creating/,
  ],
  ['its first revision, the database there', { ...facts, active: null }, [ready('database')], 'READY', null],
  ['its own database', { ...facts, active: null }, [row('service', 'waiting', 'starting')], 'READY', /starting/],
  [
    'the database of a serving deployment is in trouble: it is not "awaited"',
    facts,
    [row('database', 'retrying', 'throttled')],
    'READY',
    /throttled/,
  ],
  [
    'without a revision: its database is being made',
    { ...facts, newest: null, active: null, hasTarget: false },
    [ready('log-group'), row('database', 'waiting', 'creating')],
    'AWAITING_DATABASE',
    /^database: creating$/,
  ],
  [
    'without a revision: what comes next',
    { ...facts, newest: null, active: null, hasTarget: false },
    [ready('database')],
    'UNUSED',
    /no revision yet: .* push an image .*image_uri/,
  ],
  [
    'without a revision, of a source that is built: what comes next until it is',
    { ...facts, source: 'internal_source', newest: null, active: null, hasTarget: false },
    [ready('database')],
    'UNUSED',
    /no revision yet: .*image_uri with revision_source "internal_docker"$/,
  ],
  [
    'without a revision: what hinders the next one',
    { ...facts, newest: null, active: null, hasTarget: false },
    [ready('database'), row('log-group', 'retrying', 'missing permission')],
    'UNUSED',
    /^log-group: missing permission$/,
  ],
  [
    'its only revision was not built, and its database is being made',
    { ...facts, newest: unbuilt, active: null, hasTarget: false },
    [row('database', 'waiting', 'creating: usually an hour')],
    'AWAITING_DATABASE',
    /^revision 2 BUILD_FAILED: not yet; no revision serves yet; database: creating: usually an hour$/,
  ],
  [
    'its only revision was not built',
    { ...facts, newest: unbuilt, active: null, hasTarget: false },
    [ready('database')],
    'UNUSED',
    /^revision 2 BUILD_FAILED: not yet; no revision serves yet$/,
  ],
  [
    'the newest was interrupted, and the one before serves',
    { ...facts, newest: { number: 2, verdict: { status: 'INTERRUPTED', message: 'interrupted on request' } } },
    [row('service', 'waiting', '1 of 2 running')],
    'READY',
    /^revision 2 INTERRUPTED: interrupted on request; revision 1 serves$/,
  ],
  [
    'the last failed, an earlier serves',
    { ...facts, newest: crashed },
    [ready('service')],
    'READY',
    /revision 2.*exit code 3.*revision 1 serves/,
  ],
  [
    'the first failed',
    { ...facts, newest: crashed, active: null },
    [ready('database')],
    'READY',
    /exit code 3.*no revision serves/,
  ],
  ['all is well', facts, [ready('database'), ready('service')], 'READY', null],
];

for (const [why, given, rows, status, message] of deployments)
  test(`deployment ${status}: ${why}`, () => {
    const judged = deploymentStatus(given, rows, NOW);
    assert.equal(judged.status, status);
    if (message === null) assert.equal(judged.message, null);
    else assert.match(judged.message ?? '', message);
  });
