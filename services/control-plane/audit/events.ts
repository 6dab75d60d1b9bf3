/**
 * What an entry says, as an event of the Open Cybersecurity Schema Framework: class API Activity (6003), version 1.8.0,
 * profile cloud (https://schema.ocsf.io/1.8.0/classes/api_activity). What the schema has no attribute for, such as the
 * chain and the digests, is in `unmapped`. Pure: no values, only names, ids and keyed digests.
 */
import type { Write, Written } from '../../reconciler/aws/account.ts';
import { subjectOf } from '../../reconciler/aws/subject.ts';

export const OCSF_VERSION = '1.8.0';
const [CATEGORY, CLASS] = [6, 6003] as const;

export const PRODUCT = { name: 'Freehold', vendor_name: 'Freehold' } as const;

/** Ours, beside the schema's. */
export interface Unmapped {
  /** Of a write there is an `intent` before, and an `outcome` after; an `anchor` says where a pruned chain begins. */
  readonly phase: 'intent' | 'outcome' | 'refusal' | 'anchor';
  readonly chain?: string;
  readonly seq?: number;
  /** Hash of the line before. */
  readonly prev?: string;
  readonly hash?: string;
  readonly place?: string;
  readonly deployment?: string;
  /** For what: a pass over a revision, a delete, a request. */
  readonly operation?: string;
  /** HMAC-SHA-256 of the canonical JSON of what was asked, under a key of the installation. */
  readonly asked?: string;
  /** The same, of the thing as our store had it before and after; null: there was none. */
  readonly before?: string | null;
  readonly after?: string | null;
  /** The same, of AWS's answer. */
  readonly answered?: string;
  /** Each try that AWS has answered: its request id, and the error's code. */
  readonly requests?: readonly { readonly id: string; readonly error?: string }[];
  /** Tries that AWS did not answer: whether it carried them out is not known. */
  readonly unanswered?: number;
  /** What a session that was lent to somebody may do, and the id of its key. */
  readonly lent?: { readonly actions: readonly string[]; readonly resources: readonly string[] };
  readonly lentKey?: string;
  /** Lines up to this one were older than the retention: it is where the chain begins. */
  readonly pruned?: { readonly seq: number; readonly hash: string; readonly before: string };
}

export interface AuditEvent {
  readonly activity_id: number;
  readonly category_uid: typeof CATEGORY;
  readonly class_uid: typeof CLASS;
  readonly type_uid: number;
  readonly severity_id: number;
  readonly status_id: number;
  readonly status: string;
  readonly status_code?: string;
  readonly time?: number;
  readonly metadata: {
    readonly version: string;
    readonly product: typeof PRODUCT;
    readonly profiles: readonly string[];
    readonly log_name: string;
    readonly correlation_uid: string;
    readonly uid?: string;
    readonly tenant_uid?: string;
  };
  readonly actor: {
    readonly user?: { readonly uid: string; readonly name: string; readonly type_id: number; readonly type: string };
    readonly app_name?: string;
    readonly session?: { readonly uid: string; readonly issuer: string };
    readonly authorizations?: readonly { readonly decision: string; readonly policy?: { readonly name: string } }[];
  };
  readonly api: {
    readonly operation: string;
    readonly service: { readonly name: string };
    readonly request?: { readonly uid: string };
    readonly response?: { readonly code?: number; readonly error?: string };
  };
  readonly cloud: {
    readonly provider: string;
    readonly region?: string;
    readonly account?: { readonly uid: string; readonly type_id: number; readonly type: string };
  };
  readonly src_endpoint: { readonly ip?: string; readonly name?: string };
  readonly http_request?: { readonly http_method: string; readonly url: { readonly path: string } };
  readonly resources?: readonly { readonly type: string; readonly uid?: string; readonly name?: string }[];
  readonly unmapped: Unmapped;
}

const ACTIVITIES: readonly (readonly [number, RegExp])[] = [
  [1, /^(POST|Create|Register|Run|Restore)/],
  [4, /^(DELETE|Delete|Deregister|Remove|Revoke)/],
  [3, /^(PUT|PATCH|Add|Authorize|Modify|Put|Set|Stop|Tag|Untag|Update)/],
];

/** What every event has. */
function event(
  operation: string,
  correlation: string,
  unmapped: Unmapped,
  outcome: { readonly failed: boolean; readonly code?: string | undefined } | null,
): Omit<AuditEvent, 'actor' | 'api' | 'cloud' | 'src_endpoint'> {
  const activity = ACTIVITIES.find(([, verb]) => verb.test(operation))?.[0] ?? 99;
  return {
    activity_id: activity,
    category_uid: CATEGORY,
    class_uid: CLASS,
    type_uid: CLASS * 100 + activity,
    severity_id: 1,
    ...(outcome === null
      ? { status_id: 99, status: 'Intended' }
      : { status_id: outcome.failed ? 2 : 1, status: outcome.failed ? 'Failure' : 'Success' }),
    ...(outcome?.code !== undefined && { status_code: outcome.code }),
    metadata: {
      version: OCSF_VERSION,
      product: PRODUCT,
      profiles: ['cloud'],
      log_name: 'freehold-audit',
      correlation_uid: correlation,
    },
    unmapped,
  };
}

/** Who sends a request of the API. */
export interface Asker {
  /** The key's, or the token's `sub`. */
  readonly id: string;
  readonly name: string;
  readonly isKey: boolean;
  readonly role: string;
}

export interface ApiRequest {
  /** As in the OpenAPI document: `PATCH /v2/deployments/{deployment_id}`. */
  readonly route: string;
  readonly requestId: string;
  readonly asker: Asker;
  /** '' where it is not known. */
  readonly address: string;
  /** What it is about: `deployment`, and its id. */
  readonly about: readonly { readonly type: string; readonly uid: string }[];
}

/** @param status of the answer; null: there is none yet */
export function apiEvent(
  { route, requestId, asker, address, about }: ApiRequest,
  status: number | null,
  unmapped: Unmapped,
): AuditEvent {
  const [method, path] = route.split(' ') as [string, string];
  const failed = status !== null && status >= 400;
  return {
    ...event(route, requestId, unmapped, status === null ? null : { failed, code: `${status}` }),
    actor: {
      user: {
        uid: asker.id,
        name: asker.name,
        type_id: asker.isKey ? 4 : 1,
        type: asker.isKey ? 'Service' : 'User',
      },
      authorizations: [
        { decision: status === 401 || status === 403 ? 'denied' : 'allowed', policy: { name: asker.role } },
      ],
    },
    api: {
      operation: route,
      service: { name: 'freehold' },
      request: { uid: requestId },
      ...(status !== null && { response: { code: status } }),
    },
    cloud: { provider: PRODUCT.name },
    src_endpoint: address === '' ? { name: 'unknown' } : { ip: address },
    http_request: { http_method: method, url: { path } },
    ...(about.length > 0 && { resources: about }),
  };
}

/**
 * @param correlation of the intent and the outcome of one call
 * @param written what came of it; null: it is about to be made
 */
export function awsEvent(
  write: Write,
  written: Written | null,
  correlation: string,
  digest: (value: unknown) => string,
): AuditEvent {
  const { account, region, service, operation, session, place } = write;
  const subject = subjectOf(write.input);
  const last = written?.requests.at(-1);
  const error = written?.error;
  return {
    ...event(
      operation,
      correlation,
      unmappedOf(write, written, digest),
      written && {
        failed: error !== undefined,
        code: error,
      },
    ),
    actor: {
      ...(session.actor !== undefined && {
        user: { uid: session.actor, name: session.actor, type_id: 0, type: 'Unknown' },
      }),
      app_name: PRODUCT.name,
      session: { uid: session.name, issuer: place.roleArn },
    },
    api: {
      operation,
      service: { name: service },
      ...(last && { request: { uid: last.id } }),
      ...(error !== undefined && { response: { error } }),
    },
    cloud: { provider: 'AWS', region, account: { uid: account, type_id: 10, type: 'AWS Account' } },
    src_endpoint: { name: 'freehold' },
    ...(subject !== '' && {
      resources: [{ type: service, ...(subject.startsWith('arn:') ? { uid: subject } : { name: subject }) }],
    }),
  };
}

function unmappedOf(
  { place, session, input, lent }: Write,
  written: Written | null,
  digest: (value: unknown) => string,
): Unmapped {
  return {
    phase: written === null ? 'intent' : 'outcome',
    ...(place.id !== undefined && { place: place.id }),
    ...(session.deployment !== undefined && { deployment: session.deployment }),
    ...(session.operation !== undefined && { operation: session.operation }),
    ...(lent !== undefined && {
      lent: {
        actions: lent.flatMap(({ actions }) => actions),
        resources: lent.flatMap(({ resources }) => resources),
      },
    }),
    asked: digest(input),
    ...(written !== null && {
      requests: written.requests,
      ...(written.unanswered > 0 && { unanswered: written.unanswered }),
      ...(written.lentKey !== undefined && { lentKey: written.lentKey }),
      ...(written.answer !== undefined && { answered: digest(written.answer) }),
    }),
  };
}

/** Of a pruning. */
export const anchorEvent = (pruned: NonNullable<Unmapped['pruned']>, correlation: string): AuditEvent => ({
  ...event('DELETE', correlation, { phase: 'anchor', pruned }, { failed: false }),
  actor: { app_name: PRODUCT.name },
  api: { operation: 'prune', service: { name: 'freehold' } },
  cloud: { provider: PRODUCT.name },
  src_endpoint: { name: 'freehold' },
});
