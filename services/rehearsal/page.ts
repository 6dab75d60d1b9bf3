/** A rehearsal as one page without anything outside it: a picture of all calls in time, then every call to look up. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  expected,
  ACTORS,
  credential,
  explained,
  isRead,
  short,
  tally,
  type Actor,
  type Permission,
  type Phase,
  type Report,
  type Told,
} from './report.ts';

const WIDTH = 1180;
const LEFT = 190;
const LANE = 46;
const TOP = 58;

const escape = (text: string | number): string =>
  String(text).replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign]!);

const kind = (call: Told): string => (call.refused ? 'refused' : isRead(call) ? 'read' : 'write');

const hint = (call: Told): string =>
  [
    `${call.time.toFixed(1)} s  ${call.service}:${call.action}`,
    `by ${call.principal || 'credentials that were refused'}`,
    `on ${call.resource}`,
    call.error ? `answered ${call.error}` : '',
    call.why,
  ]
    .filter(Boolean)
    .join('\n');

/** Lanes by who called, bands by phase, a mark for each call. */
function picture({ phases, calls }: Report): string {
  const actors = ACTORS.filter((who) => calls.some((call) => call.who === who));
  const begin = phases[0]?.from ?? 0;
  const end = Math.max(...phases.map((phase) => phase.to), ...calls.map((call) => call.time));
  const x = (seconds: number): number =>
    LEFT + ((Math.max(seconds, begin) - begin) / (end - begin)) * (WIDTH - LEFT - 10);
  const lane = (who: Actor): number => TOP + actors.indexOf(who) * LANE;
  const height = TOP + actors.length * LANE + 26;
  const band = (phase: Phase, at: number): string => {
    const [from, to] = [x(phase.from), x(phase.to)];
    // Names of short phases would lie on each other: they take turns on three lines.
    const label = `<text x="${(from + 3).toFixed(1)}" y="${14 + (at % 3) * 14}" class="phase${phase.ok ? '' : ' bad'}">${escape(phase.name)}</text>`;
    return `<rect x="${from.toFixed(1)}" y="${TOP - 12}" width="${Math.max(1, to - from).toFixed(1)}" height="${actors.length * LANE}" class="band b${at % 2}"><title>${escape(`${phase.title}\n${phase.outcome}`)}</title></rect><line x1="${from.toFixed(1)}" x2="${from.toFixed(1)}" y1="${4 + (at % 3) * 14}" y2="${TOP - 12}" class="edge"/>${label}`;
  };
  const row = (who: Actor): string =>
    `<line x1="20" x2="${WIDTH - 10}" y1="${lane(who) - 12}" y2="${lane(who) - 12}" class="edge"/>` +
    `<text x="${LEFT - 10}" y="${lane(who) + LANE / 2 - 16}" class="who">${escape(who)}</text>` +
    `<text x="${LEFT - 10}" y="${lane(who) + LANE / 2 - 2}" class="count">${calls.filter((call) => call.who === who).length} calls</text>`;
  // Calls of one moment stand above each other, a step each, so that a burst is seen as one.
  const stacked = new Map<string, number>();
  const mark = (call: Told): string => {
    const at = Math.round(x(call.time) / 3) * 3;
    const key = `${call.who} ${at}`;
    const step = stacked.get(key) ?? 0;
    stacked.set(key, step + 1);
    const y = lane(call.who) + LANE - 18 - Math.min(step, 9) * 3.4;
    return `<rect x="${at}" y="${y.toFixed(1)}" width="2.4" height="${call.refused ? 6 : 2.8}" class="${kind(call)}"><title>${escape(hint(call))}</title></rect>`;
  };
  const every = Math.max(1, Math.ceil((end - begin) / 12));
  const ticks = Array.from({ length: Math.floor((end - begin) / every) + 1 }, (_, i) => begin + i * every).map(
    (seconds) =>
      `<text x="${x(seconds).toFixed(1)}" y="${height - 8}" class="tick">${(seconds - begin).toFixed(0)} s</text>`,
  );
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Every AWS call in time, by who made it">${phases.map(band).join('')}${actors.map(row).join('')}${calls.map(mark).join('')}${ticks.join('')}</svg>`;
}

const cells = (row: readonly (string | number)[], tag = 'td'): string =>
  `<tr>${row.map((cell) => `<${tag}>${escape(cell)}</${tag}>`).join('')}</tr>`;

function matrix({ calls }: Report): string {
  const { actors, services, count } = tally(calls);
  const rows = services.map((service) => cells([service, ...actors.map((who) => count(who, service) || '')]));
  return `<table class="numbers">${cells(['', ...actors], 'th')}${rows.join('')}</table>`;
}

function rights({ permissions }: Report): string {
  const row = (one: Permission): string => {
    const actions = one.actions.map((action) => {
      const never = one.used === 0 || one.unused.includes(action);
      return `<code${never ? ' class="unused"' : ''}>${escape(action)}</code>`;
    });
    const use = one.used > 0 ? `${one.used}×` : one.effect === 'Deny' ? 'denied' : 'not here';
    const on = `${one.resources.map(escape).join('<br>')}${one.conditions ? `<br><small>if ${escape(JSON.stringify(one.conditions))}</small>` : ''}`;
    return `<tr class="${one.used > 0 ? '' : 'unused'}"><td>${escape(explained(one.id, []))}</td><td>${use}</td><td>${actions.join('<br>')}</td><td>${escape(one.why)}<details><summary>on what</summary>${on}</details></td></tr>`;
  };
  return `<table>${cells(['statement', 'used', 'may call', 'what for'], 'th')}${permissions.map(row).join('')}</table>`;
}

function phase(one: Phase, calls: readonly Told[], permissions: readonly Permission[]): string {
  const refused = calls.filter((call) => call.refused).length;
  const rows = calls.map(
    (call) =>
      `<tr class="${kind(call)}"><td>${call.time.toFixed(1)}</td><td>${escape(call.who)}<br><small>${escape(credential(call))}${call.via ? ` via ${escape(call.via)}` : ''}</small></td><td><code>${escape(`${call.service}:${call.action}`)}</code></td><td>${escape(short(call.resource))}</td><td>${call.error ? `<b>${escape(call.error)}</b> ` : ''}${escape(explained(call.why, permissions))}</td></tr>`,
  );
  return `<details${refused > 0 ? ' open' : ''}><summary><b>${escape(one.name)}</b> ${escape(one.title)} <small>${calls.length} calls${refused > 0 ? `, <span class="no">${refused} refused</span>` : ''}, ${(one.to - one.from).toFixed(1)} s</small></summary><p class="${one.ok ? 'ok' : 'no'}">${one.ok ? '✓' : '✗'} ${escape(one.outcome)}</p><table>${cells(['s', 'who', 'call', 'on', 'what allowed it, or why not'], 'th')}${rows.join('')}</table></details>`;
}

const STYLE = readFileSync(join(import.meta.dirname, 'page.css'), 'utf8');

export function page(report: Report): string {
  const { phases, calls, left, kept, pace } = report;
  const refused = calls.filter((call) => call.refused);
  const key = (['read', 'write', 'refused'] as const)
    .map((one) => `<span><i style="background:var(--${one})"></i>${one}</span>`)
    .join('');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>A rehearsal</title><style>${STYLE}</style></head><body>
<h1>A rehearsal of the main job</h1>
<p class="dim">${calls.length} AWS calls in an emulated account, whose waits are ${pace} times shorter than AWS's. ${refused.length} refused. Left behind: ${left.length === 0 ? 'nothing' : escape(left.join(', '))}.</p>
${[...new Set(refused.map(expected).filter(Boolean))].map((reason) => `<p class="dim">Refused, as it should be: ${escape(reason)}</p>`).join('')}
${picture(report)}
<p class="key">${key}</p>
<h2>Who called what</h2>${matrix(report)}
<h2>The control plane's permissions in the account</h2>${rights(report)}
<h2>Kept by AWS for a while after the delete</h2><p>${kept.length === 0 ? 'Nothing.' : kept.map((one) => `<code>${escape(short(one))}</code>`).join('<br>')}</p>
<h2>Every call</h2>
${phases
  .map((one) =>
    phase(
      one,
      calls.filter((call) => call.phase === one.name),
      report.permissions,
    ),
  )
  .join('\n')}
</body></html>
`;
}
