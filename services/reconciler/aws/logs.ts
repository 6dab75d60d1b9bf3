/**
 * A deployment's log as CloudWatch Logs keeps it. Nothing is stored here: each page is read from the customer's account
 * when it is asked for. https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
 */
import { FilterLogEventsCommand, type FilterLogEventsCommandInput } from '@aws-sdk/client-cloudwatch-logs';
import type { LogSource } from '../logs.ts';
import type { Account } from './account.ts';
import { hasCode } from './errors.ts';

/** Backwards, CloudWatch Logs reads from 2024 on. */
const FIRST_BACKWARDS = Date.UTC(2024, 0, 1);

/** @param streams what the names of the streams begin with */
export const cloudWatchLog =
  (aws: Account, logGroupName: string, streams: string): LogSource =>
  async ({ from, to, newestFirst, hint, limit, token }) => {
    const startTime = newestFirst ? Math.max(from, FIRST_BACKWARDS) : from;
    if (to !== undefined && to < startTime) return { events: [], token: undefined };
    const read = (nextToken: string | undefined) => {
      const input: FilterLogEventsCommandInput = {
        logGroupName,
        logStreamNamePrefix: streams,
        startTime,
        endTime: to,
        startFromHead: !newestFirst,
        filterPattern: hint === undefined ? undefined : `%${hint}%`,
        limit,
        nextToken,
      };
      return aws.logReads.send(new FilterLogEventsCommand(input));
    };
    try {
      const page = await read(token).catch((error: unknown) => {
        // A token is good for a day; what it would have saved is read again.
        if (token === undefined || !hasCode(error, 'InvalidParameterException')) throw error;
        return read(undefined);
      });
      const events = (page.events ?? []).map((event) => ({
        id: event.eventId!,
        at: event.timestamp!,
        arrivedAt: event.ingestionTime ?? event.timestamp!,
        text: event.message ?? '',
        stream: event.logStreamName ?? '',
      }));
      return { events, token: page.nextToken };
    } catch (error) {
      // Of a deployment that is not made yet, or has gone.
      if (hasCode(error, 'ResourceNotFoundException')) return { events: [], token: undefined };
      throw error;
    }
  };
