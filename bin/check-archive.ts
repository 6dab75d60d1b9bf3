/**
 * `npx node bin/check-archive.ts <archive> [langgraph.json]`: whether an image could be built from it, as a build will
 * look. `-` is the standard input.
 */
import { createReadStream } from 'node:fs';
import { BadArchive, checkArchive } from '../services/archive.ts';

const [file, configPath = 'langgraph.json'] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: npx node bin/check-archive.ts <archive.tar.gz, or -> [path of langgraph.json within it]');
  process.exit(2);
}
try {
  const { files, bytes } = await checkArchive(file === '-' ? process.stdin : createReadStream(file), configPath);
  console.log(`good: ${files} files of ${bytes} bytes`);
} catch (error) {
  if (!(error instanceof BadArchive)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
