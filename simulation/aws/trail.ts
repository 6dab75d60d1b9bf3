/** CloudTrail's event history, of changes that this account has had; minutes after they were made. */
import { LookupEventsCommand } from '@aws-sdk/client-cloudtrail';
import { NotSimulated, Refused, Table } from './operation.ts';
import type { World } from './world.ts';

const PAGE = 50;
const DELAY = 300_000;
/** The calls that the customer makes by hand to tamper. */
const BY_HAND: Readonly<Record<string, string>> = {
  'drain longer': 'elasticloadbalancing:ModifyTargetGroupAttributes',
};

/** https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html */
export class Trail {
  readonly table = new Table();

  constructor(world: World) {
    this.table.read(
      LookupEventsCommand,
      'LookupAttributes StartTime EndTime MaxResults NextToken',
      ({ LookupAttributes, StartTime, EndTime, MaxResults = PAGE, NextToken }) => {
        const { AttributeKey, AttributeValue } = LookupAttributes?.[0] ?? {};
        if (AttributeKey !== 'EventName' || AttributeValue !== 'ModifyTargetGroupAttributes')
          throw new NotSimulated(`cloudtrail: events by "${AttributeKey}" = "${AttributeValue}"`);
        const [from, to] = [StartTime?.getTime() ?? 0, EndTime?.getTime() ?? Infinity];
        if (from > to) throw new Refused('InvalidTimeRangeException', 'The start time must not be after the end time.');
        const shown = Math.min(to, world.now() - DELAY * (world.options.lag ?? 1));
        // Newest first.
        const found = [];
        for (let n = world.history.length - 1; n >= 0 && world.history[n]!.at >= from; n -= 1) {
          const { at, by, operation, arn } = world.history[n]!;
          const name = by === 'hand' ? BY_HAND[operation] : operation;
          if (at > shown || name !== `elasticloadbalancing:${AttributeValue}`) continue;
          const CloudTrailEvent = JSON.stringify({ requestParameters: { targetGroupArn: arn } });
          const EventTime = new Date(Math.floor(at / 1000) * 1000);
          found.push({ EventName: AttributeValue, EventTime, ReadOnly: 'false', CloudTrailEvent });
        }
        const first = Number(NextToken ?? 0);
        const next = first + MaxResults;
        return { Events: found.slice(first, next), ...(next < found.length && { NextToken: String(next) }) };
      },
    );
  }
}
