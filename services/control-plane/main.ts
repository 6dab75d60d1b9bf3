/** The control plane as a process: store, API, worker. The only reader of the environment. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino, type Logger } from 'pino';
import { Accounts } from '../reconciler/aws/account.ts';
import { startPostgres } from '../postgres.ts';
import { appendLines, auditPolicy } from '../reconciler/aws/audit-log.ts';
import { scopeOf } from '../reconciler/aws/grants.ts';
import { ITSELF } from './asked.ts';
import { api } from './api/app.ts';
import { listen } from './api/server.ts';
import { Audit } from './audit/chain.ts';
import { copyAudit, type CopyOptions } from './audit/copy.ts';
import { awsCloud } from './aws.ts';
import { probePlaces, wakeHeld } from './probes.ts';
import { prove } from './prove.ts';
import { advanceRolls } from './rolls.ts';
import type { Cloud } from './cloud.ts';
import { measure } from './room.ts';
import { settingsFrom, type Settings } from './settings.ts';
import { digestKey, firstKey, settingKey, strangersId } from './store/access.ts';
import { openDatabase, type Database } from './store/database.ts';
import { abandonDraft, oldDrafts } from './store/deployments.ts';
import { Looks } from './store/looks.ts';
import { migrate } from './store/migrations.ts';
import { placesToMeasure } from './store/places.ts';
import { prune } from './store/observed.ts';
import { pruneRolls } from './store/rolls.ts';
import { forgetKeys } from './store/tenants.ts';
import { startWorker } from './worker.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const UPKEEP_SECONDS = 60;
/** Between two looks whether a place that is left is empty, or is to be searched again. */
const PROOF_SECONDS = 15;
const ROLL_SECONDS = 2;
/** How soon a write is in the customer's own copy of the audit log, or a little later. */
const COPY_SECONDS = 3;
const DRAFT_MINUTES = 15;
/** How old what is shown of AWS's limits in a place may become. */
const LIMITS_MINUTES = 30;
const STOP_SECONDS = 20;
/** Without a store nothing can be put in order: passes may be cut off anywhere. */
const LOST_SECONDS = 5;
const FIRST_KEY_FILE = 'first-api-key';

export async function main(): Promise<void> {
  const settings = settingsFrom(process.env, ROOT);
  const log = pino({
    level: settings.logLevel,
    // No line is meant to hold any of these; should one come to, it is cut out.
    redact: {
      paths: ['*.secretAccessKey', '*.sessionToken', '*.value', '*.secrets', 'headers', '*.headers'],
      remove: true,
    },
  });
  const closers: (() => Promise<unknown>)[] = [];
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      for (const closer of closers.splice(0).reverse())
        await closer().catch((error: unknown) => log.error({ err: error }, 'while stopping'));
    })());
  const end = (why: string): void => {
    log.info({ why }, 'stopping');
    void close().then(() => process.exit());
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => end(signal));
  if (settings.exitWithStdin) process.stdin.resume().once('end', () => end('the standard input ended'));
  const lost = (said: string): void => {
    log.fatal({ said }, 'the embedded PostgreSQL ended by itself');
    process.exitCode = 1;
    setTimeout(() => process.exit(1), LOST_SECONDS * 1000).unref();
    end('there is no store any more');
  };
  try {
    await start(settings, log, closers, lost);
  } catch (error) {
    log.fatal({ err: error }, 'the control plane did not start');
    await close();
    process.exit(1);
  }
}

async function start(
  settings: Settings,
  log: Logger,
  closers: (() => Promise<unknown>)[],
  lost: (said: string) => void,
): Promise<void> {
  const url = settings.databaseUrl ?? (await embedded(settings, closers, lost));
  const onError = (error: Error): void => log.warn({ err: error }, 'the store');
  const db = openDatabase(url, { connections: 10 + settings.looks, onError });
  closers.push(() => db.destroy());
  await migrate(db);
  await openTheDoor(db, settings, log);
  const key = await digestKey(db);
  const audit = new Audit(db, key);
  const accounts = new Accounts({
    ...(settings.credentials ? { credentials: settings.credentials } : {}), // else the SDK looks for them itself
    ...(settings.awsEndpoint ? { endpoint: settings.awsEndpoint } : {}),
    rates: { share: settings.awsShare / settings.replicas, pace: settings.awsPace },
    brakeSeconds: settings.brakeSeconds,
    onCall: (call) => log.debug(call, 'aws'),
    onWrite: audit.recorder(log),
  });
  const cloud = awsCloud(accounts, await strangersId(db));
  // Before the looks are opened, so closed after them: the last ones still need it.
  closers.push(() => Promise.resolve(accounts.close()));
  const looks = await Looks.open(db, {
    url,
    heartbeatSeconds: settings.lookExpiresSeconds,
    expireSeconds: 600,
    onError,
  });
  closers.push(() => looks.stop(STOP_SECONDS));
  // The embedded store served no other process, and the one that it served has ended.
  if (settings.databaseUrl === null) await looks.adopt();

  if (settings.worker)
    await startWorker({
      db,
      looks,
      cloud,
      log,
      digestKey: key,
      concurrency: settings.looks,
      perPlace: settings.looksPerPlace,
      sweepSeconds: settings.sweepSeconds,
      lateSeconds: settings.lateSeconds,
      ...(settings.pollSeconds === null ? {} : { pollSeconds: settings.pollSeconds }),
    });
  const { probeSeconds } = settings;
  const probeEvery = Math.min(UPKEEP_SECONDS, probeSeconds / 2);
  if (settings.worker) closers.push(every(probeEvery, log, () => probePlaces({ db, looks, cloud, log }, probeSeconds)));
  const watchEvery = settings.brakeSeconds;
  if (settings.worker) closers.push(every(watchEvery, log, () => wakeHeld({ db, looks, cloud })));
  closers.push(every(UPKEEP_SECONDS, log, () => keepUp({ db, looks, accounts, cloud, audit, settings, log })));

  warnOfAgents(settings, log);
  const { principalArn, agentAuth, rateLimit, retentionHours } = settings;
  const oidc = settings.oidc ? { oidc: settings.oidc } : {};
  const options = {
    db,
    looks,
    cloud,
    log,
    principalArn,
    agentAuth,
    digestKey: key,
    rateLimit,
    retentionHours,
    audit,
    ...oidc,
  };
  if (settings.worker) closers.push(every(PROOF_SECONDS, log, () => prove(options)));
  if (settings.worker) closers.push(every(ROLL_SECONDS, log, () => advanceRolls(options)));
  const append: CopyOptions['append'] = async (place, stream, lines) => {
    const session = { name: 'freehold-audit', operation: 'audit', actor: ITSELF, policy: auditPolicy(scopeOf(place)) };
    return appendLines(await accounts.enter(place, session), place.auditLogGroup!, stream, lines);
  };
  if (settings.worker) closers.push(every(COPY_SECONDS, log, () => copyAudit({ db, log, append })));
  const app = api(options);
  const server = await listen(app.fetch, settings);
  closers.push(() => new Promise((resolve) => server.close(resolve)));
  log.info(
    { url: `http://${settings.host}:${settings.port}`, store: settings.databaseUrl ? 'server' : 'embedded' },
    'up',
  );
}

async function embedded(
  { dataDirectory: directory }: Settings,
  closers: (() => Promise<unknown>)[],
  onEnd: (said: string) => void,
): Promise<string> {
  const postgres = await startPostgres({ directory, durable: true, onEnd });
  closers.push(() => postgres.stop());
  return postgres.url;
}

/** What an operator would rather hear at the start than from the users of an agent. */
function warnOfAgents({ agentAuth, publicUrl }: Settings, log: Logger): void {
  if (agentAuth.type === 'noop')
    log.warn('FREEHOLD_AGENT_AUTH is noop: whoever reaches the load balancer of an agent may call it');
  else if (publicUrl === null)
    log.warn(
      { endpoint: agentAuth.endpoint },
      "FREEHOLD_PUBLIC_URL is not set: agents are to check their callers' keys where none of them gets, and let nobody in",
    );
  else if (publicUrl.startsWith('http:'))
    log.warn({ publicUrl }, "FREEHOLD_PUBLIC_URL is not https: agents send their callers' keys in the clear");
}

/**
 * Sees to it that there is a key. One that is made here is shown once: to whoever sits at the terminal, else in a file
 * that only we may read. It is kept nowhere else, and no log has it.
 */
async function openTheDoor(db: Database, settings: Settings, log: Logger): Promise<void> {
  if (settings.apiKey !== null && !(await settingKey(db, settings.apiKey)))
    log.warn('the key in FREEHOLD_API_KEY was revoked, and stays so: set another one');
  let shown: (() => void) | undefined;
  // Within the transaction that adds it: a key that could not be shown is not added.
  await firstKey(db, (key) => {
    if (process.stdout.isTTY)
      shown = () => process.stdout.write(`The first API key, shown this once:  X-Api-Key: ${key}\n`);
    else {
      const file = join(settings.dataDirectory, FIRST_KEY_FILE);
      mkdirSync(settings.dataDirectory, { recursive: true, mode: 0o700 });
      rmSync(file, { force: true });
      writeFileSync(file, `${key}\n`, { mode: 0o600, flag: 'wx' });
      shown = () => log.warn({ file }, 'the first API key is in this file: take it from there, and delete the file');
    }
  });
  shown?.();
}

/** What no look is asked for, requests that died midway, and tables that would only grow. */
async function keepUp({
  db,
  looks,
  accounts,
  cloud,
  audit,
  settings,
  log,
}: {
  readonly db: Database;
  readonly looks: Looks;
  readonly accounts: Accounts;
  readonly cloud: Cloud;
  readonly audit: Audit;
  readonly settings: Settings;
  readonly log: Logger;
}): Promise<void> {
  for (const waits of accounts.rates.waits())
    if (waits.waited > 0 || waits.throttled > 0) log.info(waits, "waited for AWS's rate");
  for (const id of await oldDrafts(db, DRAFT_MINUTES, 100)) await abandonDraft(db, looks, id);
  const lost = await looks.sweep(500);
  if (lost > 0) log.warn({ lost }, 'deployments without a look were given one');
  for (const place of await placesToMeasure(db, LIMITS_MINUTES, 10))
    await measure(db, cloud, place).catch((error: unknown) => log.info({ err: error, place: place.id }, 'limits'));
  await prune(db, settings);
  await audit.prune(settings.auditDays);
  await pruneRolls(db, settings.eventDays);
  await forgetKeys(db, settings.eventDays);
}

/**
 * Does it now and then, one at a time.
 * @returns ends it, after what is under way
 */
function every(seconds: number, log: Logger, act: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  const begin = (): void => {
    running ??= act()
      .catch((error: unknown) => log.error({ err: error }, 'upkeep'))
      .finally(() => (running = undefined));
  };
  const timer = setInterval(begin, seconds * 1000);
  begin();
  return async () => {
    clearInterval(timer);
    await running;
  };
}
