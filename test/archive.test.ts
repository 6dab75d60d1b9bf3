import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createReadStream, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { pack, type Header } from 'tar-stream';
import { BadArchive, LIMITS, checkArchive, unpackArchive } from '../services/archive.ts';
import { ARCHIVE_BYTES } from '../services/reconciler/kinds/uploads.ts';

const directory = mkdtempSync(join(tmpdir(), 'archive-'));
after(() => rmSync(directory, { recursive: true }));

type Entry = Partial<Header> & { name: string; content?: string };
const CONFIG: Entry = { name: 'langgraph.json', content: '{}' };

async function tar(...entries: Entry[]): Promise<Buffer> {
  const packing = pack();
  for (const { content = '', ...header } of entries)
    packing.entry({ ...header, size: Buffer.byteLength(content) }, content);
  packing.finalize();
  return buffer(packing);
}
/** The header at `at` is of this type. */
function typed(bytes: Buffer, at: number, type: string): Buffer {
  bytes.write(type, at + 156);
  const sum = bytes.subarray(at, at + 512).reduce((total, byte, n) => total + (n >= 148 && n < 156 ? 32 : byte), 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148);
  return bytes;
}
const archive = async (...entries: Entry[]): Promise<Buffer> => gzipSync(await tar(...entries));
const chunks = (bytes: Buffer) => Readable.from(bytes.length > 0 ? [bytes.subarray(0, 700), bytes.subarray(700)] : []);
const check = (bytes: Buffer, limits = LIMITS) => checkArchive(chunks(bytes), 'langgraph.json', limits);
const refused = (call: Promise<unknown>, why: RegExp) =>
  assert.rejects(call, (error) => {
    assert.ok(error instanceof BadArchive, String(error));
    assert.match(error.message, why);
    return true;
  });

const AGENT: Entry[] = [
  { name: './', type: 'directory' },
  { name: './apps/a/', type: 'directory' },
  { name: './apps/a/agent.py', content: 'graph = None\n', mode: 0o4755 },
  { name: `${'deep/'.repeat(60)}é.py`, content: 'x' }, // too long for a plain header: in an extended one
  { name: 'apps/a/langgraph.json', content: '{}' },
];

test('a good one says what is in it', async () => {
  const good = await archive(...AGENT);
  for (const path of ['apps/a/langgraph.json', './apps/a/langgraph.json'])
    assert.deepEqual(await checkArchive(chunks(good), path), { files: 3, bytes: 16 });
});

test('it is unpacked as it was checked, without owners and special rights', async () => {
  const to = mkdtempSync(join(directory, 'unpacked-'));
  await unpackArchive(chunks(await archive(...AGENT)), 'apps/a/langgraph.json', to);
  assert.equal(readFileSync(join(to, 'apps/a/agent.py'), 'utf8'), 'graph = None\n');
  assert.equal(statSync(join(to, 'apps/a/agent.py')).mode & 0o7777, 0o755);
  assert.equal(readFileSync(join(to, `${'deep/'.repeat(60)}é.py`), 'utf8'), 'x');
});

test('what GNU tar makes is read', async () => {
  const [from, to] = [mkdtempSync(join(directory, 'from-')), join(directory, 'gnu.tar.gz')];
  writeFileSync(join(from, 'langgraph.json'), '{}');
  writeFileSync(join(from, 'x'.repeat(200)), 'long');
  execFileSync('tar', ['-czf', to, '-C', from, '.']);
  assert.deepEqual(await checkArchive(createReadStream(to), 'langgraph.json'), { files: 2, bytes: 6 });
});

const BAD: [string, Entry[], RegExp][] = [
  ['leads out of it', [{ name: '../evil' }], /leads out of the archive: "\.\.\/evil"/],
  ['leads out of it in the middle', [{ name: 'a/../../evil' }], /leads out/],
  ['is absolute', [{ name: '/etc/passwd' }], /^an absolute path: "\/etc\/passwd"/],
  ['is absolute on Windows', [{ name: 'C:/windows' }], /^an absolute path/],
  ['has a backslash', [{ name: 'a\\..\\b' }], /^a character that paths must not have/],
  ['has a control character', [{ name: 'a\nb' }], /^a character that paths must not have/],
  ['is too long', [{ name: 'a/'.repeat(600) + 'b' }], /^too long a path/],
  ['has too long a name', [{ name: `${'é'.repeat(128)}/a` }], /^too long a name/],
  ['is there twice', [{ name: 'a' }, { name: './a' }], /^twice in the archive: "a"/],
  ['is below a file', [{ name: 'a' }, { name: 'a/b' }], /^both a file and a directory: "a"/],
  ['is a directory, too', [{ name: 'a/b' }, { name: 'a' }], /^both a file and a directory: "a"/],
];
for (const [what, entries, why] of BAD)
  test(`a path that ${what} is refused`, async () => refused(check(await archive(CONFIG, ...entries)), why));

for (const type of ['symlink', 'link', 'character-device', 'block-device', 'fifo'] as const)
  test(`a ${type} is refused`, async () => {
    const entry: Entry = { name: 'x', type, linkname: '/etc/passwd' };
    await refused(check(await archive(CONFIG, entry)), type.endsWith('link') ? /^a link/ : /^neither a file nor/);
  });

test('a type that is not known is refused', async () => {
  const bytes = await tar(CONFIG, { name: 'sparse' });
  await refused(
    check(gzipSync(typed(bytes, bytes.indexOf('sparse'), 'S'))),
    /^neither a file nor a directory: "sparse"/,
  );
});

test('a bomb is refused, by its size and by its ratio', async () => {
  const bomb = await archive(CONFIG, { name: 'zeros', content: '\0'.repeat(40_000_000) });
  assert.ok(bomb.length < 100_000);
  await refused(check(bomb), /^too large when unpacked: more than 100 times the archive/);
  await refused(check(bomb, { ...LIMITS, unpackedBytes: 1_000_000 }), /more than 1000000 bytes/);
});

test('too many files, and too large an archive, are refused', async () => {
  const many = await archive(CONFIG, ...Array.from({ length: 20 }, (_, n) => ({ name: `f${n}` })));
  await refused(check(many, { ...LIMITS, entries: 20 }), /^too many files and directories: more than 20/);
  await check(many, { ...LIMITS, entries: 21 });
  await refused(check(many, { ...LIMITS, bytes: many.length - 1 }), /^too large: more than/);
});

test('directories count, those included that only paths name', async () => {
  const deep = await archive(CONFIG, { name: 'd/'.repeat(30) + 'f' });
  await refused(check(deep, { ...LIMITS, entries: 31 }), /^too many files and directories: more than 31/);
  await check(deep, { ...LIMITS, entries: 32 });
});

/** What is said of the file after it, or with `g` of all files, without any file. */
async function said(bytes: number, type: 'x' | 'g' = 'x'): Promise<Buffer> {
  const whole = await tar({ ...CONFIG, content: '', pax: { comment: 'x'.repeat(bytes) } });
  return typed(whole.subarray(0, whole.length - 3 * 512), 0, type);
}

test('what is said of a file is bounded: the reader keeps it, and copies what is said of all', async () => {
  const good = await tar(CONFIG);
  for (const type of ['x', 'g'] as const) {
    await check(gzipSync(Buffer.concat([await said(10_000, type), good])));
    await refused(check(gzipSync(Buffer.concat([await said(100_000, type), good]))), /^too much between two files/);
  }
  const many = Buffer.concat([...Array.from<Buffer>({ length: 100 }).fill(await said(900_000)), good]);
  const before = process.cpuUsage();
  await refused(check(gzipSync(many)), /^too much between two files/);
  assert.ok(process.cpuUsage(before).user < 10_000_000);
});

test('zeros at the end are read over, but not for long', async () => {
  const good = await tar(CONFIG);
  await check(gzipSync(Buffer.concat([good, Buffer.alloc(512 * 1024)])));
  await refused(check(gzipSync(Buffer.concat([good, Buffer.alloc(2 * 1024 * 1024)]))), /^too much between two files/);
});

test('a sparse file is refused, whose content would be taken for another', async () => {
  const sparse = { name: 'x', content: '1', pax: { 'GNU.sparse.name': '../y' } };
  await refused(check(await archive(CONFIG, sparse)), /^a sparse file: "x"/);
});

test('as large as what may be uploaded', () => assert.equal(LIMITS.bytes, ARCHIVE_BYTES));

test('what is cut off, not gzip, or no tar is refused', async () => {
  const text = Array.from({ length: 5000 }, (_, n) => `line ${n * 7919}`).join('\n');
  const good = await archive(CONFIG, { name: 'text', content: text });
  for (const part of [0.1, 0.5, 0.9, 0.999])
    await refused(check(good.subarray(0, Math.floor(good.length * part))), /^cut off/);
  const plain = await tar(CONFIG, { name: 'text', content: text });
  await refused(check(gzipSync(plain.subarray(0, 2000))), /^cut off/);
  await refused(check(Buffer.alloc(0)), /^cut off|^not a \.tar\.gz|^no such file/);
  await refused(check(plain), /^not a \.tar\.gz: gzip cannot read it/);
  await refused(check(Buffer.from('PK\u0003\u0004')), /^not a \.tar\.gz/);
  await refused(check(gzipSync('x'.repeat(2000))), /^not a \.tar\.gz: what gzip unpacks is no tar archive/);
});

test('the configuration must be there, as a file', async () => {
  await refused(check(await archive({ name: 'agent.py' })), /^no such file in the archive: "langgraph.json"/);
  await refused(check(await archive({ name: 'langgraph.json', type: 'directory' })), /^no such file/);
});

test('a source that fails is no bad archive', async () => {
  const good = await archive(CONFIG);
  const source = (async function* () {
    yield good.subarray(0, 10);
    throw new Error('the network is away');
  })();
  await assert.rejects(checkArchive(source, 'langgraph.json'), /^Error: the network is away$/);
});

test('nothing is written outside of the directory, whatever is in the archive', async () => {
  const to = mkdtempSync(join(directory, 'outside-'));
  const before = readdirSync(directory);
  for (const [, entries] of BAD)
    await unpackArchive(chunks(await archive(...entries, CONFIG)), 'langgraph.json', mkdtempSync(join(to, 'x-'))).then(
      () => assert.fail('it was unpacked'),
      (error: unknown) => assert.ok(error instanceof BadArchive),
    );
  assert.deepEqual(readdirSync(directory), before);
  assert.deepEqual(
    readdirSync(to).filter((name) => !name.startsWith('x-')),
    [],
  );
});
