/** A deployment's whole life as our export, the customer's copy and CloudTrail tell it: all the same, call by call. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CloudTrailClient, paginateLookupEvents, type Event } from '@aws-sdk/client-cloudtrail';
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  DeleteLogGroupCommand,
  DeleteLogStreamCommand,
  FilterLogEventsCommand,
  PutLogEventsCommand,
  PutRetentionPolicyCommand,
  paginateFilterLogEvents,
} from '@aws-sdk/client-cloudwatch-logs';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { TAG } from '../../services/reconciler/aws/tags.ts';
import { eventually } from '../support/eventually.ts';
import * as stage from './stage.ts';

const ACCOUNT = '490000000001';
const ROOT = join(import.meta.dirname, '..', '..');
let on: stage.Stage;
let directory: string;

before(async () => {
  on = await stage.open('audit', [ACCOUNT]);
  directory = mkdtempSync(join(tmpdir(), 'freehold-audit-'));
});
after(async () => {
  if (directory) rmSync(directory, { recursive: true, force: true });
  await on?.close();
});

const as = () => stage.customerClient(on.rehearsal, ACCOUNT);
const written = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};

async function events(): Promise<Event[]> {
  const found: Event[] = [];
  for await (const page of paginateLookupEvents({ client: new CloudTrailClient(as()) }, { MaxResults: 50 }))
    found.push(...(page.Events ?? []));
  return found;
}

/** The event history, once it has this call. */
const trailWith = (name: string, has: RegExp): Promise<string> =>
  eventually(
    `CloudTrail has ${has.source}`,
    async () => {
      const Events = await events();
      return Events.some((event) => has.test(event.CloudTrailEvent!)) && written(name, JSON.stringify({ Events }));
    },
    { seconds: 120 },
  );

async function copied(): Promise<string[]> {
  const messages: string[] = [];
  const group = { logGroupName: on.places[ACCOUNT]!.outputs.auditLogGroup! };
  for await (const page of paginateFilterLogEvents({ client: new CloudWatchLogsClient(as()) }, group))
    messages.push(...(page.events ?? []).map(({ message }) => message!));
  return messages;
}

async function exported(): Promise<{ text: string; head: string }> {
  const answer = await fetch(`${on.api.url}/v2/audit`, { headers: { 'X-Api-Key': on.api.apiKey } });
  return { text: await answer.text(), head: answer.headers.get('freehold-audit-head')! };
}

function verify(...args: string[]): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'bin/audit.ts'), 'verify', ...args], {
    encoding: 'utf8',
  });
  return { status, said: stdout + stderr };
}

test("our export, the customer's copy and CloudTrail tell the same; a call by hand is seen", async () => {
  const place = on.places[ACCOUNT]!;
  const image = await on.push(ACCOUNT, 'good');
  const secrets = [{ name: 'TOKEN', value: 'one' }];
  const made = await stage.createDeployment(on.api, { name: 'agent', image, secrets });
  await stage.deployed(on.api, made.id, made.latest_revision_id);
  const next = await stage.newRevision(on.api, made.id, { secrets: [{ name: 'TOKEN', value: 'two' }] });
  await stage.deployed(on.api, made.id, next);
  await on.api.call('DELETE', `/v2/deployments/${made.id}`);
  await stage.gone(on.api, made.id);

  await eventually('the copy has it all', async () => {
    const { behind, copied: upTo, message } = await on.api.call('GET', `/v2/listeners/${place.id}/audit`);
    assert.equal(message, null);
    return upTo > 0 && behind === 0;
  });
  const before = await exported();
  const lastId = /"requests":\[\{"id":"([^"]+)"\}\](?!.*"requests":\[\{"id")/s.exec(before.text)![1]!;
  const trail = await trailWith('trail.json', new RegExp(lastId));
  const { text, head } = await exported();
  const [file, copy] = [written('audit.ndjson', text), written('copy.ndjson', (await copied()).join('\n'))];
  const well = verify(file, '--head', head, '--copy', copy, '--cloudtrail', trail);
  assert.equal(well.status, 0, well.said);
  const calls = Number(/(\d+) calls in CloudTrail/.exec(well.said)![1]);
  const told = text
    .split('\n')
    .filter((line) => /"phase":"outcome"/.test(line) && /"provider":"AWS"/.test(line)).length;
  assert(calls > 30, well.said);
  // Each call of the log is one in CloudTrail; what removes the deployment's objects in S3 is a data event.
  const data = text.split('\n').filter((line) => /"operation":"DeleteObjects".*"phase":"outcome"/.test(line)).length;
  assert.equal(calls, told - data, well.said);
  assert.doesNotMatch(well.said, /note: (?!.*refused)/);
  assert.match(text, new RegExp(`"deployment":"${made.id}"`));

  // With the role's credentials, as whoever has stolen the control plane's could.
  const sts = new STSClient({ ...as(), credentials: on.principal.credentials });
  const { Credentials: stolen } = await sts.send(
    new AssumeRoleCommand({
      RoleArn: place.outputs.roleArn,
      RoleSessionName: 'freehold-abc',
      ExternalId: place.externalId,
    }),
  );
  const credentials = {
    accessKeyId: stolen!.AccessKeyId!,
    secretAccessKey: stolen!.SecretAccessKey!,
    sessionToken: stolen!.SessionToken!,
  };
  const logs = new CloudWatchLogsClient({ ...as(), credentials });
  const tags = { [TAG.place]: place.outputs.prefix };
  await logs.send(new CreateLogGroupCommand({ logGroupName: `/aws/ecs/${place.outputs.prefix}/theirs`, tags }));
  const logGroupName = place.outputs.auditLogGroup!;
  const logStreamName = JSON.parse(text.split('\n')[0]!).unmapped.chain as string;
  const denied = { name: 'AccessDeniedException' };
  await assert.rejects(logs.send(new DeleteLogGroupCommand({ logGroupName })), denied);
  await assert.rejects(logs.send(new DeleteLogStreamCommand({ logGroupName, logStreamName })), denied);
  await assert.rejects(logs.send(new PutRetentionPolicyCommand({ logGroupName, retentionInDays: 1 })), denied);
  await assert.rejects(logs.send(new FilterLogEventsCommand({ logGroupName })), denied);
  const logEvents = [{ timestamp: Date.now(), message: text.split('\n')[0]!.replace('Success', 'Failure') }];
  await logs.send(new PutLogEventsCommand({ logGroupName, logStreamName, logEvents }));

  const later = await trailWith('later.json', /\/theirs"/);
  const rogue = verify(file, '--head', head, '--copy', copy, '--cloudtrail', later);
  assert.equal(rogue.status, 1, rogue.said);
  const findings = rogue.said.split('\n').filter((line) => line.startsWith('call without intent: logs:CreateLogGroup'));
  assert.equal(findings.length, 1, rogue.said);
  const forged = written('forged.ndjson', (await copied()).join('\n'));
  if (logEvents[0]!.message !== text.split('\n')[0])
    assert.match(verify(file, '--copy', forged).said, /^changed: event/m);
  const cut = written('cut.ndjson', text.split('\n').toSpliced(20, 1).join('\n'));
  const dropped = verify(cut, '--head', head, '--cloudtrail', trail);
  assert.deepEqual([dropped.status, /^dropped: entry 21 is missing$/m.test(dropped.said)], [1, true], dropped.said);
});
