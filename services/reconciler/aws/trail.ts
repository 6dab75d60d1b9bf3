/** Who changed a resource, by the event history that CloudTrail keeps in every account. It has a call minutes later. */
import { LookupEventsCommand, type Event } from '@aws-sdk/client-cloudtrail';
import type { Account } from './account.ts';
import type { Grant } from './grant.ts';

export interface Change {
  /** ARN of whoever did it; a service says its name. */
  readonly id: string;
  readonly name: string;
  /** `ecs:UpdateService` */
  readonly call: string;
  readonly at: Date;
}

/** API reference, LookupEvents: two calls a second for an account and region, fifty events each. */
const EVENTS = 50;
const PAGES = 2;

export const trailGrants: Grant = {
  actions: ['cloudtrail:LookupEvents'],
  resources: ['*'],
  why:
    'says who changed a resource by hand, and when; and, once a sweep, which target groups were changed. AWS has no ' +
    'narrower scope: without it, all goes on with more calls, and nobody is named',
};

/**
 * The last that changed what has one of these names, leaving out ourselves, whatever the session is called.
 * @param roleArn the place's: whoever took it is us
 */
export async function whoChanged(
  aws: Account,
  roleArn: string,
  names: readonly string[],
  { since, until }: { readonly since: Date; readonly until: Date },
): Promise<Change | null> {
  for (const name of names) {
    let NextToken: string | undefined;
    for (let page = 0; page < PAGES; page += 1) {
      const answer = await aws.trail.send(
        new LookupEventsCommand({
          LookupAttributes: [{ AttributeKey: 'ResourceName', AttributeValue: name }],
          StartTime: since,
          EndTime: until,
          MaxResults: EVENTS,
          NextToken,
        }),
      );
      // Newest first.
      const found = (answer.Events ?? []).map((event) => changeOf(event, roleArn)).find((change) => change !== null);
      if (found) return found;
      NextToken = answer.NextToken;
      if (NextToken === undefined) break;
    }
  }
  return null;
}

interface Identity {
  readonly type?: string;
  readonly arn?: string;
  readonly userName?: string;
  readonly invokedBy?: string;
  readonly sessionContext?: { readonly sessionIssuer?: { readonly arn?: string } };
}

/** Pure. Null: a read, a call that failed, or one of ours. */
export function changeOf(event: Event, roleArn: string): Change | null {
  if (event.ReadOnly === 'true' || event.EventTime === undefined) return null;
  const record = JSON.parse(event.CloudTrailEvent ?? '{}') as { errorCode?: string; userIdentity?: Identity };
  const who = record.userIdentity ?? {};
  if (record.errorCode !== undefined || who.sessionContext?.sessionIssuer?.arn === roleArn) return null;
  const id = who.arn ?? who.invokedBy ?? who.type ?? 'unknown';
  const name = who.type === 'Root' ? 'the root user' : (event.Username ?? who.userName ?? who.invokedBy ?? id);
  const service = event.EventSource?.replace(/\.amazonaws\.com$/, '') ?? '';
  return { id, name, call: `${service}:${event.EventName}`, at: event.EventTime };
}

/** What events may name it by: a change names it by its id or ARN, a deletion often by its name. */
export function namesOf({ inputs, outputs }: { readonly inputs: unknown; readonly outputs: unknown }): string[] {
  const texts = (of: unknown, ...fields: string[]): string[] =>
    fields.map((field) => (of as Record<string, unknown> | null)?.[field]).filter((value) => typeof value === 'string');
  return [
    ...new Set([...texts(outputs, 'id'), ...texts(inputs, 'name', 'service', 'family'), ...texts(outputs, 'arn')]),
  ];
}
