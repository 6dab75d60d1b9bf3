import { parseArgs, type ParseArgsConfig } from 'node:util';

/** A command's options. `--help` ends it with its usage, a wrong option with a sentence about that, and 2. */
export function optionsOf<const T extends NonNullable<ParseArgsConfig['options']>>(usage: string, options: T) {
  if (process.argv.includes('--help')) {
    process.stdout.write(`${usage}\n`);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    wrong((error as Error).message, usage);
  }
}

export function wrong(message: string, usage: string): never {
  process.stderr.write(`${message}\n\n${usage}\n`);
  process.exit(2);
}
