/** A rehearsal in a terminal: columns as wide as it is, colours only where they are seen. */
import type { WriteStream } from 'node:tty';
import {
  credential,
  expected,
  explained,
  isRead,
  lines,
  numbered,
  short,
  tally,
  type Line,
  type Permission,
  type Phase,
  type Report,
  type Told,
} from '../services/rehearsal/report.ts';

const WIDTH = 160; // where nobody says how wide it is
const NARROWEST = 80;

export class Terminal {
  readonly #out: WriteStream;
  readonly #all: boolean;
  readonly #silent: boolean;
  readonly #live: boolean;

  constructor(out: WriteStream, { all, silent }: { all: boolean; silent: boolean }) {
    this.#out = out;
    this.#all = all;
    this.#silent = silent;
    this.#live = out.isTTY === true;
  }

  get #width(): number {
    return Math.max(NARROWEST, this.#out.columns ?? WIDTH);
  }

  #paint(code: number, text: string): string {
    return this.#live && !process.env['NO_COLOR'] ? `\x1b[${code}m${text}\x1b[0m` : text;
  }
  readonly #bold = (text: string): string => this.#paint(1, text);
  readonly #dim = (text: string): string => this.#paint(2, text);
  readonly #red = (text: string): string => this.#paint(31, text);
  readonly #green = (text: string): string => this.#paint(32, text);

  say(line: string): void {
    if (!this.#silent) this.#out.write(`${line}\n`);
  }

  title(what: string, how: string): void {
    this.say(`${this.#bold(what)}\n${how}`);
  }

  /** Says that a phase is under way; answers what ends that. */
  start(phase: Phase, count: () => number): () => void {
    this.say(`\n${this.#bold(`${phase.name.toUpperCase()}  ${phase.title}`)}`);
    if (!this.#live || this.#silent) return () => {};
    const began = Date.now();
    const draw = (): void => {
      this.#out.write(`\r\x1b[2K  … ${((Date.now() - began) / 1000).toFixed(0)} s, ${count()} calls`);
    };
    const timer = setInterval(draw, 200);
    return () => {
      clearInterval(timer);
      this.#out.write('\r\x1b[2K');
    };
  }

  phase(phase: Phase, calls: readonly Told[], permissions: readonly Permission[]): void {
    const told = this.#all ? calls.map((first): Line => ({ first, times: 1 })) : lines(calls);
    for (const line of this.#columns(told, permissions)) this.say(line);
    const refused = calls.filter((call) => call.refused).length;
    const count = `${calls.length} calls, ${calls.filter((call) => !isRead(call)).length} of them writes`;
    const noes = refused > 0 ? `, ${this.#red(`${refused} refused`)}` : '';
    this.say(`  ${phase.ok ? this.#green('✓') : this.#red('✗')} ${phase.outcome}`);
    this.say(`    ${count}${noes}, ${(phase.to - phase.from).toFixed(1)} s`);
  }

  #columns(told: readonly Line[], permissions: readonly Permission[]): string[] {
    const width = this.#width - 2;
    const cut = (text: string, size: number): string =>
      text.length > size ? `${text.slice(0, Math.max(0, size - 1))}…` : text.padEnd(size);
    const rows = told.map(({ first, times }) => ({
      call: first,
      cells: [
        first.time.toFixed(1),
        first.who === 'control plane' ? `control plane: ${credential(first).split('/').at(-1)}` : first.who,
        times > 1 ? `${times}×` : '',
        `${first.service}:${first.action}`,
        short(first.resource),
        [
          first.refused ? `REFUSED ${first.error}` : first.error && `answered ${first.error}`,
          explained(first.why, permissions).replace(/\s+/g, ' '),
        ]
          .filter(Boolean)
          .join(': '),
      ] as const,
    }));
    const longest = (column: number): number => Math.max(0, ...rows.map(({ cells }) => cells[column]!.length));
    const who = Math.min(longest(1), Math.floor(width * 0.18));
    const did = Math.min(longest(3), Math.floor(width * 0.3));
    const rest = width - 6 - who - 4 - did - 10;
    const on = Math.min(longest(4), Math.max(Math.floor(rest * 0.4), rest - longest(5)));
    return rows.map(({ call, cells: [time, by, times, what, resource, why] }) => {
      const left = `${time.padStart(6)}  ${cut(by, who)}  ${times.padStart(4)}`;
      const [called, end] = [cut(what, did), cut(why, rest - on).trimEnd()];
      if (call.refused) return `  ${this.#red(`${left}  ${called}  ${cut(resource, on)}  ${end}`)}`;
      return `  ${this.#dim(left)}  ${isRead(call) ? called : this.#bold(called)}  ${cut(resource, on)}  ${this.#dim(end)}`;
    });
  }

  /** A heading, then as many in a line as fit. */
  #list(heading: string, all: readonly string[]): void {
    if (all.length === 0) return;
    this.say(`  ${heading}:`);
    let line = '';
    for (const one of all) {
      if (line !== '' && line.length + one.length + 6 > this.#width) {
        this.say(`    ${line},`);
        line = '';
      }
      line += `${line === '' ? '' : ', '}${one}`;
    }
    this.say(`    ${line}`);
  }

  summary(report: Report): void {
    const { calls, phases } = report;
    this.say(`\n${this.#bold('WHO CALLED WHAT')}`);
    const { actors, services, count } = tally(calls);
    const name = Math.max(...services.map((service) => service.length));
    const widths = actors.map((actor) => Math.max(actor.length, 6));
    const row = (first: string, cells: (string | number)[]): void =>
      this.say(`  ${first.padEnd(name)}  ${cells.map((cell, i) => String(cell).padStart(widths[i]!)).join('  ')}`);
    row('', actors);
    for (const service of services)
      row(
        service,
        actors.map((actor) => count(actor, service) || '·'),
      );
    row(
      'all',
      actors.map((actor) => calls.filter(({ who }) => who === actor).length),
    );

    const refused = calls.filter((call) => call.refused);
    this.say(`\n${this.#bold(`REFUSED: ${refused.length}`)}`);
    for (const line of this.#columns(lines(refused), report.permissions)) this.say(line);
    for (const reason of new Set(refused.map(expected).filter(Boolean))) this.say(`  ${reason}`);

    const { permissions } = report;
    const used = permissions.filter((one) => one.used > 0);
    this.say(
      `\n${this.#bold(`THE ROLE'S PERMISSIONS: ${permissions.length} statements, ${used.length} of them used`)}`,
    );
    this.say('  2/14 is the 14th statement of the second of its policies, freehold-control-plane-2.');
    for (const one of permissions) {
      const name = numbered(one.id).padEnd(5);
      const times =
        one.used > 0 ? String(one.used).padStart(4) : ` ${one.effect === 'Deny' ? 'deny' : '   –'}`.slice(-4);
      const never = one.used > 0 && one.unused.length > 0 ? `  (not used: ${one.unused.join(', ')})` : '';
      const text = `  ${name} ${times}  ${one.actions.join(', ')}${never}`;
      const room = this.#width - 1;
      const line = text.length > room ? `${text.slice(0, room - 1)}…` : text;
      this.say(one.used > 0 ? line : this.#dim(line));
    }
    const never = permissions.flatMap((one) => (one.effect === 'Allow' ? one.unused : []));
    const elsewhere = new Set(permissions.flatMap((one) => one.actions.filter((each) => !one.unused.includes(each))));
    this.#list('never used here', [...new Set(never)].filter((action) => !elsewhere.has(action)).toSorted());

    this.say(`\n${this.#bold('LEFT BEHIND')}: ${report.left.length === 0 ? 'nothing' : report.left.join(', ')}`);
    this.#list('kept by AWS for a while', report.kept.map(short));
    const total = phases.at(-1)!.to;
    this.say(`${calls.length} calls in ${phases.length} phases, ${total.toFixed(1)} s; everything went as told.`);
  }
}
