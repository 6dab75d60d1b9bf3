/**
 * Archives of source code, as users upload them: whatever is in one, reading it does no harm. For where an image is
 * built, in the customer's account: the control plane cannot read an archive, and does not (docs/adr/0017).
 */
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';

/** It cannot be built from; the message says why, and what to do. */
export class BadArchive extends Error {}

export interface Limits {
  /** Of the archive as it was uploaded. */
  readonly bytes: number;
  /** Of all that comes out of it, also of what is no file's content. */
  readonly unpackedBytes: number;
  /** How many times larger than the archive all that may be; source code gets 3 to 10 times smaller. */
  readonly ratio: number;
  /** Files and directories, those included that only paths name. */
  readonly entries: number;
}

export const LIMITS: Limits = {
  bytes: 200 * 1024 * 1024,
  unpackedBytes: 1024 * 1024 * 1024,
  ratio: 100,
  entries: 50_000,
};
/** Whatever the ratio: a small archive may hold one long file of spaces. */
const ALWAYS_BYTES = 10 * 1024 * 1024;
const PATH_BYTES = 1024;
const NAME_BYTES = 255;
const BLOCK = 512;
/** What may stand before one file: a long name, attributes. The reader copies what is said of all files for each. */
const EXTRA_BYTES = 16 * 1024;
/** What may stand anywhere without any file, zeros at the end included. The reader is never so far ahead of us. */
const FILLING_BYTES = 1024 * 1024;

export interface Contents {
  readonly files: number;
  /** Of all files. */
  readonly bytes: number;
}

/**
 * Reads an archive once, and keeps nothing of it.
 *
 * @param configPath Of the `langgraph.json` within it
 * @throws BadArchive at the first thing that is wrong
 */
export const checkArchive = (
  archive: AsyncIterable<Uint8Array>,
  configPath: string,
  limits: Limits = LIMITS,
): Promise<Contents> => read(archive, configPath, limits, (_path, content) => drain(content));

/**
 * Unpacks it while it is checked, so that what was checked is what is there, by one reader of the format.
 *
 * @param directory Must be empty. When this throws, what is in it is not to be used
 * @throws BadArchive at the first thing that is wrong
 */
export const unpackArchive = (
  archive: AsyncIterable<Uint8Array>,
  configPath: string,
  directory: string,
  limits: Limits = LIMITS,
): Promise<Contents> =>
  read(archive, configPath, limits, async (path, content, mode) => {
    const to = join(directory, path);
    await mkdir(dirname(to), { recursive: true });
    await pipeline(content, createWriteStream(to, { flags: 'wx', mode }));
  });

type Take = (path: string, content: Readable, mode: number) => Promise<void>;

async function read(
  archive: AsyncIterable<Uint8Array>,
  configPath: string,
  limits: Limits,
  take: Take,
): Promise<Contents> {
  const seen = new Names();
  const wanted = pathOf(configPath);
  let [entries, files, bytes, end] = [0, 0, 0, 0];
  const packed = new Counted((count) =>
    count > limits.bytes ? `too large: more than ${limits.bytes} bytes` : undefined,
  );
  const unpacked = new Counted((count) => {
    if (count > limits.unpackedBytes) return `too large when unpacked: more than ${limits.unpackedBytes} bytes`;
    if (count > end + FILLING_BYTES) return TOO_MUCH_BETWEEN;
    return count > ALWAYS_BYTES && count > limits.ratio * packed.count
      ? `too large when unpacked: more than ${limits.ratio} times the archive`
      : undefined;
  });
  const tar = extract();
  const reading = pipeline(Readable.from(archive), packed, createGunzip(), unpacked, tar);
  const taking = (async () => {
    for await (const entry of tar) {
      const { byteOffset, size, type, mode } = entry.header as Head;
      if (byteOffset > end + BLOCK + EXTRA_BYTES) throw new BadArchive(TOO_MUCH_BETWEEN);
      const isFile = type !== 'directory';
      end = byteOffset + (isFile ? Math.ceil(size / BLOCK) * BLOCK : 0);
      const path = harmless(entry.header as Head);
      if (isFile) seen.file(path);
      else seen.folder(path);
      if (++entries > limits.entries || seen.count > limits.entries)
        throw new BadArchive(`too many files and directories: more than ${limits.entries}`);
      if (isFile) {
        files += 1;
        bytes += size;
        // No owner, no set-user-id: a program or not.
        await take(path, entry as unknown as Readable, mode & 0o100 ? 0o755 : 0o644);
      }
      entry.resume();
    }
  })();
  try {
    await Promise.all([reading, taking]);
  } catch (error) {
    tar.destroy();
    await Promise.allSettled([reading, taking]); // nothing is written after this has thrown
    throw said(error);
  }
  if (!seen.hasFile(wanted)) throw new BadArchive(`no such file in the archive: "${configPath}": give its path within`);
  return { files, bytes };
}

/** What tar-stream tells besides. */
interface Head extends Header {
  /** Where the content begins. */
  readonly byteOffset: number;
  readonly pax: Readonly<Record<string, string>> | null;
}

const TOO_MUCH_BETWEEN = 'too much between two files: more than names and attributes need';

/** Its path within the archive. */
function harmless({ name, type, linkname, pax }: Head): string {
  const shown = JSON.stringify(name.slice(0, 200));
  if (type === 'symlink' || type === 'link')
    throw new BadArchive(`a link in the archive: ${shown} to ${JSON.stringify(linkname)}: archive the file itself`);
  if (type !== 'file' && type !== 'contiguous-file' && type !== 'directory')
    throw new BadArchive(`neither a file nor a directory: ${shown} (${type ?? 'of no known type'})`);
  // Its content would be taken as it is packed, and its name would be another one.
  if (Object.keys(pax ?? {}).some((key) => key.startsWith('GNU.sparse.')))
    throw new BadArchive(`a sparse file: ${shown}: archive it without --sparse`);
  if (Buffer.byteLength(name) > PATH_BYTES) throw new BadArchive(`too long a path: ${shown}…`);
  // eslint-disable-next-line no-control-regex
  if (/[\\\x00-\x1f\x7f]/.test(name)) throw new BadArchive(`a character that paths must not have: ${shown}`);
  if (/^\/|^[A-Za-z]:/.test(name))
    throw new BadArchive(`an absolute path: ${shown}: archive what is below the project`);
  if (name.split('/').includes('..')) throw new BadArchive(`a path that leads out of the archive: ${shown}`);
  if (name.split('/').some((part) => Buffer.byteLength(part) > NAME_BYTES))
    throw new BadArchive(`too long a name: ${shown}…`);
  const path = pathOf(name);
  if (path === '' && type !== 'directory') throw new BadArchive(`a file without a name: ${shown}`);
  return path;
}

const pathOf = (name: string): string =>
  name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');

/** Everything once, and nothing below a file: another reader might make something else of it. */
class Names {
  readonly #files = new Set<string>();
  readonly #folders = new Set<string>();

  folder(path: string): void {
    for (let at = path; at !== '' && !this.#folders.has(at); at = dirname(at) === '.' ? '' : dirname(at)) {
      if (this.#files.has(at)) throw new BadArchive(`both a file and a directory: ${JSON.stringify(at)}`);
      this.#folders.add(at);
    }
  }

  file(path: string): void {
    if (this.#files.has(path)) throw new BadArchive(`twice in the archive: ${JSON.stringify(path)}`);
    if (this.#folders.has(path)) throw new BadArchive(`both a file and a directory: ${JSON.stringify(path)}`);
    const parent = dirname(path);
    if (parent !== '.') this.folder(parent);
    this.#files.add(path);
  }

  get count(): number {
    return this.#files.size + this.#folders.size;
  }

  hasFile(path: string): boolean {
    return this.#files.has(path);
  }
}

/** Counts what passes, and ends when `refusal` says why. */
class Counted extends Transform {
  count = 0;
  readonly #refusal: (count: number) => string | undefined;

  constructor(refusal: (count: number) => string | undefined) {
    super();
    this.#refusal = refusal;
  }

  override _transform(chunk: Buffer, _encoding: string, done: (error: Error | null, chunk?: Buffer) => void): void {
    this.count += chunk.length;
    const why = this.#refusal(this.count);
    if (why === undefined) done(null, chunk);
    else done(new BadArchive(why));
  }
}

async function drain(content: Readable): Promise<void> {
  for await (const _ of content);
}

/** In the user's words: zlib and tar-stream say only what they met. */
function said(error: unknown): unknown {
  if (error instanceof BadArchive || !(error instanceof Error)) return error;
  const { code = '' } = error as { code?: string };
  if (code === 'Z_BUF_ERROR' || /Unexpected end/i.test(error.message))
    return new BadArchive('cut off: the end of the archive is missing: upload it again', { cause: error });
  if (code.startsWith('Z_')) return new BadArchive('not a .tar.gz: gzip cannot read it', { cause: error });
  if (/tar header|Invalid header|exceeds max size/.test(error.message))
    return new BadArchive('not a .tar.gz: what gzip unpacks is no tar archive', { cause: error });
  return error;
}
