/**
 * The customer's copy of the audit log: a log group that the customer's stack makes, to which the role may append, and
 * nothing else. https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
 */
import { CreateLogStreamCommand, PutLogEventsCommand, type InputLogEvent } from '@aws-sdk/client-cloudwatch-logs';
import type { Account } from './account.ts';
import { arn } from './arn.ts';
import { hasCode } from './errors.ts';
import type { Grant, Scope } from './grant.ts';

export const auditLogGroup = (prefix: string): string => `/audit/${prefix}`;

export const auditGrants = (scope: Scope): Grant[] =>
  scope.auditLogGroup === undefined
    ? []
    : [
        {
          actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
          resources: [arn(scope, 'logs', `log-group:${scope.auditLogGroup}:*`)],
          why: "appends to the customer's copy of the audit log; nothing allows to read, shorten or remove it",
        },
      ];

/** May append to it, and nothing else. */
export const auditPolicy = (scope: Scope): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: auditGrants(scope).map(({ actions, resources }) => ({
      Effect: 'Allow',
      Action: actions,
      Resource: resources,
    })),
  });

/** Of one call: bytes, each event's own among them, and events. */
const BATCH_BYTES = 1_048_576;
const EVENT_BYTES = 26;
const BATCH_EVENTS = 10_000;
/**
 * AWS takes nothing that is older than two weeks or than the group's retention, of which a day is the least, nor events
 * more than a day apart; the line itself says when it was.
 */
const OLDEST_MS = 12 * 3_600_000;

export interface AuditLine {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly line: string;
}

/** As many of them as one call takes, from the first; lines are in the order of their times. */
export function batchOf(lines: readonly AuditLine[], now: number): InputLogEvent[] {
  const events: InputLogEvent[] = [];
  let bytes = 0;
  for (const { time, line } of lines) {
    bytes += Buffer.byteLength(line) + EVENT_BYTES;
    if (bytes > BATCH_BYTES || events.length === BATCH_EVENTS) break;
    events.push({ timestamp: Math.min(Math.max(time, now - OLDEST_MS), now), message: line });
  }
  return events;
}

/**
 * Appends as many lines as one call takes. A stream that is not there is made.
 * @returns how many
 */
export async function appendLines(
  { logs }: Pick<Account, 'logs'>,
  logGroupName: string,
  logStreamName: string,
  lines: readonly AuditLine[],
  now = Date.now(),
): Promise<number> {
  const logEvents = batchOf(lines, now);
  const put = () => logs.send(new PutLogEventsCommand({ logGroupName, logStreamName, logEvents }));
  const { rejectedLogEventsInfo } = await put().catch(async (error: unknown) => {
    if (!hasCode(error, 'ResourceNotFoundException')) throw error;
    try {
      await logs.send(new CreateLogStreamCommand({ logGroupName, logStreamName }));
    } catch (other) {
      if (!hasCode(other, 'ResourceAlreadyExistsException')) throw other;
    }
    return put();
  });
  if (rejectedLogEventsInfo !== undefined)
    throw new Error(`CloudWatch Logs has not taken all of it: ${JSON.stringify(rejectedLogEventsInfo)}`);
  return logEvents.length;
}
