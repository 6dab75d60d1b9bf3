/** A value that must be seen nowhere, in whatever form, and where it could be. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';

export interface Canary {
  readonly name: string;
  readonly value: string;
}

/** With characters that JSON, URLs and HTML write otherwise; the hexadecimal digits in its middle they leave alone. */
export const canary = (name: string): Canary => ({ name, value: `ca<${randomBytes(12).toString('hex')}/+&é` });

/** What a text shows of it: as it is, or in JSON, in a URL, in HTML; in hexadecimal, as `bytea` is shown; in base64. */
export function formsIn(text: string, { value }: Canary): string[] {
  const core = /[0-9a-f]{24,}/.exec(value)![0];
  const lower = text.toLowerCase();
  const found: string[] = [];
  if (lower.includes(core)) found.push('plain');
  if (lower.includes(Buffer.from(core).toString('hex'))) found.push('hexadecimal');
  // Three bytes are four characters: it depends on what stands before in which ones these digits are found.
  const base64 = [0, 1, 2].map((before) =>
    Buffer.from('\0'.repeat(before) + core)
      .toString('base64')
      .slice(Math.ceil((before * 4) / 3), Math.floor(((before + core.length) * 4) / 3)),
  );
  if (base64.some((part) => text.includes(part))) found.push('base64');
  return found;
}

/** Every row of every table of a database, as text, by the table's name: ours, and the queue's. */
export async function everyRow(url: string): Promise<Map<string, string>> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows: tables } = await client.query<{ name: string }>(`
      select format('%I.%I', table_schema, table_name) as name from information_schema.tables
      where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`);
    const found = new Map<string, string>();
    for (const { name } of tables) {
      const { rows } = await client.query<{ text: string }>(`select t::text as text from ${name} t`);
      found.set(name, rows.map(({ text }) => text).join('\n'));
    }
    return found;
  } finally {
    await client.end();
  }
}
