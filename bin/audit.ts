/** `npm run audit -- verify`: whether an export of the audit log is what was written. Asks nobody. */
import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { joinTrail, recordsOf } from '../services/control-plane/audit/trail.ts';
import { compareCopy, verifyExport, type Finding } from '../services/control-plane/audit/verify.ts';
import { wrong } from './options.ts';

const USAGE = `npm run audit -- verify <export.ndjson> [options]

Checks an export of GET /v2/audit, line by line, and needs nothing else. Prints what it finds, a line each, and ends
with 1 when it finds anything.

  --head <number:hash>   where the chain stood, as noted earlier (header freehold-audit-head, or of GET /v2/listeners/…/audit):
                         finds a tail that was cut off, and a chain that was written anew
  --from <number:hash>   where the export before this one ended, for an export that does not begin at the beginning
  --workspace <id>       whose log it is to be
  --copy <file>          the customer's own copy: aws logs filter-log-events --log-group-name /audit/<prefix>
                         --output json; several files may be given
  --cloudtrail <file>    log files of a trail, or aws cloudtrail lookup-events --output json, taken before the export;
                         several files may be given
  --role <arn>           of the control plane's role in that account, where the export names none`;

const given = (() => {
  if (process.argv.includes('--help')) {
    process.stdout.write(`${USAGE}\n`);
    process.exit(0);
  }
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        head: { type: 'string' },
        from: { type: 'string' },
        workspace: { type: 'string' },
        copy: { type: 'string', multiple: true },
        cloudtrail: { type: 'string', multiple: true },
        role: { type: 'string', multiple: true },
      },
    });
  } catch (error) {
    return wrong((error as Error).message, USAGE);
  }
})();

const [command, file, ...more] = given.positionals;
if (command !== 'verify' || file === undefined || more.length > 0) wrong('say verify, and one file', USAGE);
const { head, from, workspace: chain, copy, cloudtrail, role } = given.values;

/** `12:ab…` */
function headOf(text: string | undefined) {
  if (text === undefined) return undefined;
  const [, seq, hash] = /^(\d+):([0-9a-f]{64})$/.exec(text) ?? wrong(`no number and hash: "${text}"`, USAGE);
  return { seq: Number(seq), hash: hash! };
}

/** The messages of `aws logs filter-log-events` or `get-log-events`, or of one line each. */
function messagesOf(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  try {
    const { events } = JSON.parse(text) as { events?: { message: string }[] };
    if (events !== undefined) return events.map(({ message }) => message);
  } catch {
    // Lines, then.
  }
  return text.split('\n').filter((line) => line !== '');
}

const lines = createInterface({ input: createReadStream(file, 'utf8'), crlfDelay: Infinity });
const verified = await verifyExport(lines, { chain, head: headOf(head), from: headOf(from) });
const findings: Finding[] = [...verified.findings];
if (copy !== undefined) findings.push(...compareCopy(verified, copy.flatMap(messagesOf)));
let told = '';
if (cloudtrail !== undefined) {
  const records = cloudtrail.flatMap((path) => recordsOf(readFileSync(path, 'utf8')));
  const trail = joinTrail(verified.events.values(), records, role);
  findings.push(...trail.findings);
  for (const note of trail.notes) process.stdout.write(`note: ${note}\n`);
  told = `, ${trail.joined} calls in CloudTrail that entries tell of`;
}
for (const { kind, message } of findings) process.stdout.write(`${kind}: ${message}\n`);
const { seq, hash } = verified.head;
process.stdout.write(
  `${findings.length === 0 ? 'well' : `${findings.length} findings`}: ${verified.lines} lines of ${verified.chain}${told}; ` +
    `head ${seq}:${hash}\n`,
);
process.exitCode = findings.length === 0 ? 0 : 1;
