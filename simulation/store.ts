/**
 * The store in memory, with the semantics of the real one: what a worker asks of it (`store/observed.ts` is linked to
 * this), and what requests write into it. It is the model that the real store is held against (`postgres.ts`), and what
 * the properties are checked on.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Made, RevisionBase } from '../services/control-plane/store/database.ts';
import type {
  Before,
  DeploymentChange,
  DeploymentRow,
  NewDeployment,
  RevisionIntent,
  RevisionRow,
} from '../services/control-plane/store/deployments.ts';
import type { Seen, SeenRevision } from '../services/control-plane/store/observed.ts';
import type { Remaining } from '../services/reconciler/aws/remaining.ts';
import { Superseded, type Row, type Rows } from '../services/reconciler/pass.ts';
import type { Place } from '../services/reconciler/place.ts';
import {
  isVerdict,
  type DeploymentStatus,
  type Judged,
  type RevisionStatus,
  type Verdict,
} from '../services/reconciler/status.ts';

export interface Said {
  readonly deploymentId: string;
  readonly revisionId: string | null;
  readonly resource: string | null;
  readonly message: string;
}

/** What a worker does outside of a transaction. */
export interface WorkerStore {
  begin(deploymentId: string): Promise<Seen | undefined>;
  rows(deploymentId: string, epoch: number): Rows;
  requireEpoch(deploymentId: string, epoch: number): Promise<void>;
  startRevision(deploymentId: string, revisionId: string): Promise<void>;
  say(event: Said): Promise<void>;
  beginReceipt(deploymentId: string): Promise<readonly Made[]>;
  transaction<T>(act: (tx: Settling) => Promise<T>): Promise<T>;
}

/** What a worker does in the transaction that settles a look. */
export interface Settling {
  holdEpoch(deploymentId: string, epoch: number): Promise<void>;
  isAnyInterrupted(revisionIds: readonly string[]): Promise<boolean>;
  setRevisionStatus(deploymentId: string, revisionId: string, judged: Judged<RevisionStatus>): Promise<boolean>;
  setDeploymentStatus(id: string, judged: Judged<DeploymentStatus>, activeRevisionId: string | null): Promise<void>;
  forget(seen: Seen, found: Remaining): Promise<void>;
  trimEvents(deploymentId: string): Promise<void>;
  say(event: Said): Promise<void>;
}

/** What requests write. */
export interface Intents {
  draft(given: NewDeployment): Promise<void>;
  accept(id: string, intent: RevisionIntent): Promise<void>;
  abandon(id: string): Promise<void>;
  /** @returns the new revision's id, if there is one */
  change(
    id: string,
    change: DeploymentChange,
    next: ((before: Before) => RevisionIntent) | null,
  ): Promise<string | null>;
  /** @returns whether it had not ended yet */
  interrupt(id: string, revisionId: string): Promise<boolean>;
  delete(id: string): Promise<void>;
}

export interface Revision {
  readonly id: string;
  readonly number: number;
  readonly intent: RevisionIntent;
  interrupted: boolean;
  startedAt: Date | null;
  /** Null: no look has seen it. */
  status: RevisionStatus | null;
  message: string | null;
}

export interface Deployment {
  readonly given: NewDeployment;
  type: 'dev' | 'prod';
  tier: DeploymentRow['database_tier'];
  base: RevisionBase | null;
  accepted: boolean;
  deleted: boolean;
  gone: boolean;
  /** 0: no look has begun. */
  epoch: number;
  status: DeploymentStatus | null;
  message: string | null;
  known: DeploymentStatus | null;
  active: string | null;
  /** Oldest first. */
  readonly revisions: Revision[];
  readonly rows: Map<string, Row>;
  /** Grows with each write of a row. */
  writes: number;
}

const OPEN_SEEN = 100;
const DEPLOYED_SEEN = 25;

export const verdictOf = ({ status, message }: Revision): Judged<Verdict> | null =>
  status !== null && isVerdict(status) ? { status, message } : null;

export interface Watching {
  begun(deploymentId: string, epoch: number): void;
  wrote(deployment: Deployment, row: string): void;
  judged(deployment: Deployment, revision: Revision): void;
  settled(deployment: Deployment): void;
}

export class ModelStore implements WorkerStore, Settling, Intents {
  readonly deployments = new Map<string, Deployment>();
  readonly #place: Place;
  readonly #now: () => Date;
  newId: () => string;
  /** Told of what changes, for the trace. */
  told: (deploymentId: string, what: string) => void = () => {};
  /** Told of it for the properties. */
  watched: Watching = { begun() {}, wrote() {}, judged() {}, settled() {} };

  constructor(place: Place, now: () => Date, newId: () => string) {
    this.#place = place;
    this.#now = now;
    this.newId = newId;
  }

  of(id: string): Deployment | undefined {
    const found = this.deployments.get(id);
    return found?.gone === true ? undefined : found;
  }

  begin(id: string): Promise<Seen | undefined> {
    const found = this.of(id);
    if (found === undefined) return Promise.resolve(undefined);
    found.epoch += 1;
    this.watched.begun(id, found.epoch);
    const { given } = found;
    return Promise.resolve({
      epoch: found.epoch,
      asked: 0,
      deployment: {
        id,
        name: given.name,
        workspaceId: given.workspaceId,
        placeId: given.placeId,
        type: found.type,
        databaseTier: found.tier,
        source: given.source,
        driftPolicy: 'repair',
        askedBy: null,
        base: found.base,
      },
      isDeleted: found.deleted,
      undo: null,
      isDraft: !found.accepted,
      place: this.#place,
      activeRevisionId: found.active,
      knownStatus: found.known,
      alarm: null,
      drifted: new Set<string>(),
      revisions: seenOf(found),
    });
  }

  rows(id: string, epoch: number): Rows {
    return {
      all: () => Promise.resolve([...(this.deployments.get(id)?.rows.values() ?? [])].map((row) => ({ ...row }))),
      put: async (row) => {
        const found = this.#held(id, epoch);
        found.rows.set(row.id, stored(row, found.rows.get(row.id)));
        found.writes += 1;
        this.watched.wrote(found, row.id);
        this.told(id, `row ${row.id}: ${row.state.state}${row.state.message === '' ? '' : `: ${row.state.message}`}`);
      },
      drop: async (row) => {
        const found = this.#held(id, epoch);
        found.rows.delete(row);
        found.writes += 1;
        this.told(id, `row ${row}: dropped`);
      },
    };
  }

  async requireEpoch(id: string, epoch: number): Promise<void> {
    this.#held(id, epoch);
  }

  async holdEpoch(id: string, epoch: number): Promise<void> {
    this.#held(id, epoch);
  }

  #held(id: string, epoch: number): Deployment {
    const found = this.of(id);
    if (found === undefined || found.epoch !== epoch) throw new Superseded('another pass has begun');
    return found;
  }

  async startRevision(id: string, revisionId: string): Promise<void> {
    const revision = this.of(id)?.revisions.find((each) => each.id === revisionId);
    if (revision === undefined || verdictOf(revision) !== null) return;
    revision.status ??= 'CREATING';
    if (revision.startedAt === null) this.told(id, `revision ${revision.number} begins`);
    revision.startedAt ??= this.#now();
  }

  async say({ deploymentId, resource, message }: Said): Promise<void> {
    this.told(deploymentId, `event ${resource ?? '-'}: ${message}`);
  }

  beginReceipt(): Promise<readonly Made[]> {
    return Promise.resolve([]);
  }
  async trimEvents(): Promise<void> {}

  transaction<T>(act: (tx: Settling) => Promise<T>): Promise<T> {
    return act(this);
  }

  async isAnyInterrupted(revisionIds: readonly string[]): Promise<boolean> {
    for (const { revisions } of this.deployments.values())
      if (revisions.some((each) => each.interrupted && revisionIds.includes(each.id))) return true;
    return false;
  }

  async setRevisionStatus(id: string, revisionId: string, { status, message }: Judged<RevisionStatus>) {
    const found = this.of(id);
    const revision = found?.revisions.find((each) => each.id === revisionId);
    if (found === undefined || revision === undefined || verdictOf(revision) !== null) return false;
    if (revision.status === status && revision.message === message) return false;
    Object.assign(revision, { status, message });
    this.told(id, `revision ${revision.number} is ${status}${message === null ? '' : `: ${message}`}`);
    if (verdictOf(revision) !== null) this.watched.judged(found, revision);
    return true;
  }

  async setDeploymentStatus(id: string, { status, message }: Judged<DeploymentStatus>, active: string | null) {
    const found = this.of(id);
    if (found === undefined) return;
    if (found.status !== status || found.message !== message)
      this.told(id, `is ${status}${message === null ? '' : `: ${message}`}`);
    Object.assign(found, { status, message, active });
    if (status !== 'UNKNOWN') found.known = status;
    this.watched.settled(found);
  }

  async forget({ deployment }: Seen): Promise<void> {
    const found = this.of(deployment.id);
    if (found === undefined) return;
    found.gone = true;
    found.active = null;
    found.rows.clear();
    this.told(deployment.id, 'is gone');
  }

  async draft(given: NewDeployment): Promise<void> {
    this.deployments.set(given.id, {
      given,
      type: given.type,
      tier: null,
      base: null,
      accepted: false,
      deleted: false,
      gone: false,
      epoch: 0,
      status: null,
      message: null,
      known: null,
      active: null,
      revisions: [],
      rows: new Map(),
      writes: 0,
    });
  }

  async accept(id: string, intent: RevisionIntent): Promise<void> {
    const found = this.of(id);
    if (found === undefined || found.deleted) throw new Error('no such draft');
    found.accepted = true;
    this.#add(found, intent);
  }

  async abandon(id: string): Promise<void> {
    const found = this.of(id);
    if (found && !found.accepted) found.deleted = true;
  }

  async change(id: string, change: DeploymentChange, next: ((before: Before) => RevisionIntent) | null) {
    const found = this.of(id);
    if (found === undefined || found.deleted) throw new Error('it is being deleted');
    const rowOf = (revision: Revision | undefined) => revision && intentAsRow(id, revision);
    const newest = rowOf(found.revisions.at(-1));
    const serving = rowOf(found.revisions.find((each) => each.id === found.active));
    const standing = rowOf(
      found.revisions.findLast(({ status }) => status === null || status === 'DEPLOYED' || !isVerdict(status)),
    );
    const intent = next === null ? null : next({ newest, standing, serving });
    if (change.type !== undefined) found.type = change.type;
    if (change.databaseTier !== undefined) found.tier = change.databaseTier;
    return intent && this.#add(found, intent);
  }

  #add(found: Deployment, intent: RevisionIntent): string | null {
    const { resourceSpec, resources, environment, references, build } = intent;
    const runs = intent.image !== null || Boolean(build?.tarball);
    found.base = runs ? null : { resourceSpec, resources, environment, references, build };
    if (!runs) return null;
    const revision = { id: this.newId(), number: found.revisions.length + 1, intent };
    found.revisions.push({ ...revision, interrupted: false, startedAt: null, status: null, message: null });
    return revision.id;
  }

  async interrupt(id: string, revisionId: string): Promise<boolean> {
    const revision = this.of(id)?.revisions.find((each) => each.id === revisionId);
    if (revision === undefined || verdictOf(revision) !== null) return false;
    revision.interrupted = true;
    return true;
  }

  async delete(id: string): Promise<void> {
    const found = this.of(id);
    if (found?.accepted) found.deleted = true;
  }
}

/** As a JSON column gives it back. What came from there and was not replaced is so already. */
function stored(row: Row, before: Row | undefined): Row {
  const inputs = row.inputs === before?.inputs ? row.inputs : asJson(row.inputs);
  const outputs = row.outputs === before?.outputs ? row.outputs : asJson(row.outputs);
  return { ...row, inputs, outputs };
}

const asJson = (value: unknown): unknown =>
  value === undefined || value === null ? null : (JSON.parse(JSON.stringify(value)) as unknown);

/** Newest first: the newest, the active one, the last that was begun, those without a verdict, the last deployed. */
export function seenOf({ revisions, active }: Deployment): SeenRevision[] {
  const newestFirst = revisions.toReversed();
  const last = (which: (revision: Revision) => boolean, count: number) => newestFirst.filter(which).slice(0, count);
  const seen = new Set([
    ...newestFirst.slice(0, 1),
    ...newestFirst.filter((each) => each.id === active),
    ...last((each) => each.startedAt !== null, 1),
    ...last((each) => verdictOf(each) === null, OPEN_SEEN),
    ...last((each) => each.status === 'DEPLOYED', DEPLOYED_SEEN),
  ]);
  return newestFirst.filter((each) => seen.has(each)).map(seenRevision);
}

const seenRevision = (revision: Revision): SeenRevision => {
  const { id, number, intent, interrupted, startedAt, status } = revision;
  return {
    id,
    number,
    image: intent.image,
    resources: intent.resources,
    environment: intent.environment,
    references: intent.references,
    agentAuth: intent.agentAuth,
    taskRole: intent.taskRole ?? null,
    isInterrupted: interrupted,
    startedAt,
    status: status ?? 'CREATING',
    verdict: verdictOf(revision),
  };
};

const intentAsRow = (deploymentId: string, { id, number, intent, status, message }: Revision): RevisionRow => ({
  id,
  deployment_id: deploymentId,
  number,
  source: intent.source,
  image_uri: intent.imageUri,
  image: intent.image,
  build: intent.build,
  resource_spec: intent.resourceSpec,
  resources: intent.resources,
  environment: [...intent.environment],
  secret_references: [...intent.references],
  agent_auth: intent.agentAuth,
  task_role: intent.taskRole ?? null,
  plan: intent.plan ?? null,
  created_at: new Date(0),
  updated_at: new Date(0),
  status: status ?? 'CREATING',
  status_message: message,
});

/** Whether the real store saw what the model did. Times are each store's own. */
export function sameSeen(a: Seen | undefined, b: Seen | undefined): boolean {
  const timeless = (seen: Seen | undefined) =>
    seen && {
      ...seen,
      asked: 0,
      revisions: seen.revisions.map((each) => ({ ...each, startedAt: each.startedAt !== null })),
    };
  return isDeepStrictEqual(timeless(a), timeless(b));
}
