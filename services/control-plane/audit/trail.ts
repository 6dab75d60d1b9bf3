/**
 * The audit log beside the customer's CloudTrail, joined by AWS's request ids. CloudTrail is AWS's own account of what
 * was done, which nobody here can write: a write of our role that no entry tells of was not made by this control plane.
 */
import type { AuditEvent } from './events.ts';
import type { Finding } from './verify.ts';

/**
 * As far as it is looked at. AWS CloudTrail's user guide, "CloudTrail record contents for management, data, and network
 * activity events".
 */
export interface TrailRecord {
  readonly eventTime: string;
  readonly eventSource: string;
  readonly eventName: string;
  readonly awsRegion: string;
  readonly recipientAccountId?: string;
  readonly requestID?: string;
  readonly readOnly?: boolean | string;
  readonly managementEvent?: boolean;
  readonly errorCode?: string;
  readonly requestParameters?: Readonly<Record<string, unknown>> | null;
  readonly userIdentity?: {
    readonly arn?: string;
    readonly accountId?: string;
    readonly accessKeyId?: string;
    readonly invokedBy?: string;
    readonly sessionContext?: { readonly sessionIssuer?: { readonly arn?: string } };
  };
}

/** Of a trail's log file (`Records`), of `aws cloudtrail lookup-events` (`Events`), or a list of either. */
export function recordsOf(text: string): TrailRecord[] {
  const given = JSON.parse(text) as { Records?: TrailRecord[]; Events?: unknown[] } | unknown[];
  const found = Array.isArray(given) ? given : (given.Records ?? given.Events ?? []);
  return found.map((one) => {
    const inner = (one as { CloudTrailEvent?: string }).CloudTrailEvent;
    return (inner === undefined ? one : JSON.parse(inner)) as TrailRecord;
  });
}

/** CloudTrail has a call minutes after it was made, on average five, and promises nothing. */
const LATE_MS = 15 * 60_000;
/** Between an entry and a call whose request id nobody knows. */
const NEAR_MS = 5 * 60_000;
/** Clocks, and CloudTrail's whole seconds. */
const CLOCKS_MS = 60_000;
/** As long as a session is good that was lent. */
const LENT_MS = 15 * 60_000;
/** Calls that trails do not have unless they log data events. */
const DATA = /^s3:(Put|Delete)Objects?$/;
/** What copies the audit log itself. */
const COPIES = /^\/audit\/[a-z][a-z0-9-]{0,11}$/;

export interface Joined {
  readonly findings: readonly Finding[];
  /** What cannot be known yet, or at all: no proof of anything wrong. */
  readonly notes: readonly string[];
  /** Writes of our role that an entry tells of. */
  readonly joined: number;
}

/** @param roles ARNs of the roles that are ours in that account @default those that the entries name */
export function joinTrail(
  events: Iterable<AuditEvent>,
  records: readonly TrailRecord[],
  roles: readonly string[] = [],
): Joined {
  const entries = [...events];
  const findings: Finding[] = [];
  const notes: string[] = [];
  const aws = entries.filter(({ cloud }) => cloud.provider === 'AWS');
  const ours = new Set([...roles, ...aws.map(({ actor }) => actor.session!.issuer)]);
  const outcomes = aws.filter(({ unmapped }) => unmapped.phase === 'outcome');
  const ended = new Map(outcomes.map((event) => [event.metadata.correlation_uid, event]));
  const told = new Set(outcomes.flatMap(({ unmapped }) => (unmapped.requests ?? []).map(({ id }) => id)));
  const lent = aws.filter(({ unmapped }) => unmapped.lent !== undefined);
  /** Tries whose request id AWS never told. */
  const unknown = aws
    .filter(({ unmapped }) => unmapped.phase === 'intent' && unmapped.lent === undefined)
    .map((event) => {
      const end = ended.get(event.metadata.correlation_uid);
      return { event, end, left: end === undefined ? 3 : (end.unmapped.unanswered ?? 0) };
    });
  const first = Math.min(...entries.map(({ time }) => time!));
  const seen = new Set(records.map(({ requestID }) => requestID));
  let joined = 0;

  const writes = records.filter(isOurWrite(ours));
  for (const record of writes) {
    const at = Date.parse(record.eventTime);
    const call = `${record.eventSource.replace('.amazonaws.com', '')}:${record.eventName}`;
    const what = `${call} at ${record.eventTime}, request ${record.requestID}, by ${record.userIdentity?.arn}`;
    if (told.has(record.requestID ?? '') || lent.some((event) => isByKey(record, event))) {
      joined += 1;
      continue;
    }
    // Its key is not known. Whoever has our credentials can give a session any name: of others it proves nothing.
    const cut = lent.find(
      (event) =>
        !ended.has(event.metadata.correlation_uid) &&
        isByName(record, event) &&
        at > event.time! - CLOCKS_MS &&
        at < event.time! + LENT_MS + CLOCKS_MS,
    );
    if (cut !== undefined) {
      joined += 1;
      notes.push(`${what}: entry ${cut.unmapped.seq} meant to lend such a session, and was not told what came of it`);
      continue;
    }
    const near = unknown.find(
      ({ event, left }) =>
        left > 0 &&
        event.api.operation === record.eventName &&
        event.cloud.region === record.awsRegion &&
        at > event.time! - CLOCKS_MS &&
        at < event.time! + NEAR_MS,
    );
    if (near !== undefined) {
      near.left -= 1;
      joined += 1;
      notes.push(`${what}: entry ${near.event.unmapped.seq} meant such a call, and was not told what came of it`);
    } else if (at < first - CLOCKS_MS) notes.push(`${what}: before the first entry`);
    else findings.push({ kind: 'call without intent', message: `${what}: no entry tells of it` });
  }

  const covered = new Set(records.map(({ recipientAccountId, awsRegion }) => `${recipientAccountId} ${awsRegion}`));
  const times = records.map(({ eventTime }) => Date.parse(eventTime));
  const [begins, ends] = [Math.min(...times), Math.max(...times)];
  for (const { time, api, cloud, unmapped } of outcomes) {
    const call = `${api.service.name}:${api.operation}`;
    if (unmapped.lentKey !== undefined || DATA.test(call) || !covered.has(`${cloud.account!.uid} ${cloud.region}`))
      continue;
    if (time! < begins) continue;
    for (const { id, error } of (unmapped.requests ?? []).filter((request) => !seen.has(request.id))) {
      const what = `entry ${unmapped.seq}: ${call}, request ${id}`;
      if (error !== undefined) notes.push(`${what}: refused with ${error}, and CloudTrail has not every refusal`);
      else if (time! > ends - LATE_MS) notes.push(`${what}: not in CloudTrail yet, which may be minutes late`);
      else findings.push({ kind: 'intent without call', message: `${what}: CloudTrail has no such call` });
    }
  }
  for (const { event, end } of unknown)
    if (end === undefined)
      notes.push(`entry ${event.unmapped.seq}: ${event.api.operation}: what came of it is not told`);
  return { findings, notes, joined };
}

/** Management events that change something, by sessions of our role, and not by AWS for its sake. */
const isOurWrite =
  (ours: ReadonlySet<string>) =>
  ({ userIdentity, readOnly, managementEvent, eventName, requestParameters }: TrailRecord): boolean => {
    if (!ours.has(userIdentity?.sessionContext?.sessionIssuer?.arn ?? '') || userIdentity?.invokedBy !== undefined)
      return false;
    if (managementEvent === false || String(readOnly) === 'true') return false;
    return !(eventName === 'CreateLogStream' && COPIES.test(String(requestParameters?.['logGroupName'])));
  };

/** Whoever was lent a session may do what was lent, in our name. */
const isLent = ({ eventName, eventSource }: TrailRecord, { unmapped }: AuditEvent): boolean =>
  unmapped.lent!.actions.includes(`${eventSource.replace('.amazonaws.com', '')}:${eventName}`);

const isByKey = (record: TrailRecord, event: AuditEvent): boolean =>
  event.unmapped.lentKey !== undefined &&
  event.unmapped.lentKey === record.userIdentity?.accessKeyId &&
  isLent(record, event);

const isByName = (record: TrailRecord, event: AuditEvent): boolean =>
  event.actor.session!.uid === record.userIdentity?.arn?.split('/').at(-1) && isLent(record, event);
