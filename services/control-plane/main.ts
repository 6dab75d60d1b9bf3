/** The control plane as a process: store, API, worker. The only reader of the environment. */
import { serve, type ServerType } from '@hono/node-server';
import { join } from 'node:path';
import { pino, type Logger } from 'pino';
import { Accounts, type AccountsOptions } from '../reconciler/aws/account.ts';
import { startPostgres } from '../postgres.ts';
import { api } from './api/app.ts';
import { awsCloud } from './aws.ts';
import { settingsFrom, type Settings } from './settings.ts';
import { addKey, addWorkspace, digestKey, firstKey } from './store/access.ts';
import { openDatabase, type Database } from './store/database.ts';
import { abandonDraft, oldDrafts } from './store/deployments.ts';
import { Looks } from './store/looks.ts';
import { migrate } from './store/migrations.ts';
import { prune } from './store/observed.ts';
import { startWorker } from './worker.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const UPKEEP_SECONDS = 60;
const DRAFT_MINUTES = 15;
const STOP_SECONDS = 20;

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
  try {
    await start(settings, log, closers);
  } catch (error) {
    log.fatal({ err: error }, 'the control plane did not start');
    await close();
    process.exit(1);
  }
}

async function start(settings: Settings, log: Logger, closers: (() => Promise<unknown>)[]): Promise<void> {
  const url = settings.databaseUrl ?? (await embedded(settings, closers));
  const onError = (error: Error): void => log.warn({ err: error }, 'the store');
  const db = openDatabase(url, { connections: 10 + settings.looks, onError });
  closers.push(() => db.destroy());
  await migrate(db);
  await openTheDoor(db, settings);
  const looks = await Looks.open(db, {
    url,
    heartbeatSeconds: settings.lookExpiresSeconds,
    expireSeconds: 600,
    onError,
  });
  closers.push(() => looks.stop(STOP_SECONDS));
  // The embedded store served no other process, and the one that it served has ended.
  if (settings.databaseUrl === null) await looks.adopt();

  const accounts = new Accounts({
    ...(settings.credentials ? { credentials: settings.credentials } : {}), // else the SDK looks for them itself
    ...(settings.awsEndpoint ? { endpoint: settings.awsEndpoint } : {}),
    onCall: (call) => log.debug(call, 'aws'),
  } as AccountsOptions);
  closers.push(() => Promise.resolve(accounts.close()));
  const cloud = awsCloud(accounts);

  if (settings.worker)
    await startWorker({
      db,
      looks,
      cloud,
      log,
      concurrency: settings.looks,
      sweepSeconds: settings.sweepSeconds,
      ...(settings.pollSeconds === null ? {} : { pollSeconds: settings.pollSeconds }),
    });
  const upkeep = setInterval(() => void keepUp(db, looks, settings, log), UPKEEP_SECONDS * 1000);
  closers.push(() => Promise.resolve(clearInterval(upkeep)));
  void keepUp(db, looks, settings, log);

  const app = api({ db, looks, cloud, log, principalArn: settings.principalArn, digestKey: await digestKey(db) });
  const server = await listen(app.fetch, settings);
  closers.push(() => new Promise((resolve) => server.close(resolve)));
  log.info(
    { url: `http://${settings.host}:${settings.port}`, store: settings.databaseUrl ? 'server' : 'embedded' },
    'up',
  );
}

async function embedded(settings: Settings, closers: (() => Promise<unknown>)[]): Promise<string> {
  const postgres = await startPostgres({ directory: settings.dataDirectory, durable: true });
  closers.push(() => postgres.stop());
  return postgres.url;
}

/** Sees to it that there is a key. One that is made here is printed, once, and kept nowhere. */
async function openTheDoor(db: Database, settings: Settings): Promise<void> {
  if (settings.apiKey !== null)
    await addKey(db, await addWorkspace(db, 'default'), 'FREEHOLD_API_KEY', settings.apiKey);
  const key = await firstKey(db);
  if (key !== undefined) process.stdout.write(`The first API key, shown this once:  X-Api-Key: ${key}\n`);
}

/** Now and then: what no look is asked for, requests that died midway, and tables that would only grow. */
async function keepUp(db: Database, looks: Looks, settings: Settings, log: Logger): Promise<void> {
  try {
    for (const id of await oldDrafts(db, DRAFT_MINUTES, 100)) await abandonDraft(db, looks, id);
    const lost = await looks.sweep(500);
    if (lost > 0) log.warn({ lost }, 'deployments without a look were given one');
    await prune(db, settings.eventDays);
  } catch (error) {
    log.error({ err: error }, 'upkeep');
  }
}

const listen = (fetch: Parameters<typeof serve>[0]['fetch'], { port, host: hostname }: Settings): Promise<ServerType> =>
  new Promise((resolve, reject) => {
    const server = serve({ fetch, port, hostname }, () => resolve(server));
    server.once('error', reject);
  });
