/** A plan as people read it in a terminal. */
import type { Plan, Step } from './plan.ts';
import { AS_OF, CURRENCY, NOT_INCLUDED, monthlyPrice, type Price } from './prices.ts';
import { inWords } from './resource.ts';

const SIGNS: Record<Step['what'], string> = {
  create: '+',
  change: '~',
  restart: '!',
  replace: '±',
  remove: '-',
  keep: '=',
  wait: '…',
};

/** @param title of what is planned, and where */
export function planText(plan: Plan, title: string, region: string, hash: string): string {
  const { steps, obstacles, unchanged } = plan;
  const widths = [
    Math.max(0, ...steps.map(({ id }) => id.length)),
    Math.max(0, ...steps.map(({ kind }) => kind.length)),
  ] as const;
  return [
    title,
    '',
    ...(steps.length === 0 ? ['  Nothing to do.'] : steps.flatMap((step) => lines(step, widths))),
    '',
    ...(steps.length === 0 ? [] : [summary(plan)]),
    `${unchanged.length} ${unchanged.length === 1 ? 'resource stays' : 'resources stay'} as they are.`,
    priceLine(monthlyPrice(region, plan.before), monthlyPrice(region, plan.after), region),
    ...(obstacles.length === 0
      ? ['Nothing that could be found would stop it.']
      : ['What would stop it:', ...obstacles.map(({ id, message }) => `  ${id === null ? '' : `${id}: `}${message}`)]),
    `Plan: ${hash}`,
    '',
  ].join('\n');
}

function lines(step: Step, [id, kind]: readonly [number, number]): string[] {
  const { what, changes, means, seconds, after } = step;
  const takes = seconds[1] >= 30 ? inWords(seconds) : '';
  const waits = what !== 'wait' && after.length > 0 ? `after ${after.join(', ')}` : '';
  const said = [what, takes, waits].filter((part) => part !== '').join(', ');
  return [
    `  ${SIGNS[what]} ${step.id.padEnd(id)}  ${step.kind.padEnd(kind)}  ${said}`,
    ...changes.map(({ field, from, to }) => `      ${field}: ${shown(from)} -> ${shown(to)}`),
    ...(means === '' ? [] : [`      ${means}`]),
  ];
}

const shown = (value: unknown): string => {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing');
  return text === '' ? 'nothing' : text;
};

function summary({ steps, seconds, writes, reads }: Plan): string {
  const count = (...which: Step['what'][]): number => steps.filter(({ what }) => which.includes(what)).length;
  const parts = [
    `${count('create')} to create`,
    `${count('change', 'restart', 'replace')} to change`,
    ...(count('restart') > 0 ? [`${count('restart')} of them with a restart`] : []),
    `${count('remove')} to remove`,
  ];
  const takes = seconds[1] > 0 ? `${inWords(seconds)} until it is ready` : 'ready';
  return `${parts.join(', ')}: ${takes}, ${writes} writes to AWS and about ${reads[0]} to ${reads[1]} reads.`;
}

function priceLine(before: Price, after: Price, region: string): string {
  if (before.why !== null) return `Price: not known: ${before.why}.`;
  if (after.why !== null) return `Price: not known: ${after.why}.`;
  const difference = Math.round((after.amount - before.amount) * 100) / 100;
  const differs = difference === 0 ? 'as now' : `${difference > 0 ? '+' : '-'}${money(Math.abs(difference))}`;
  const most = after.most > after.amount ? `, up to ${money(after.most)} when all servers run` : '';
  return (
    `Price: about ${money(after.amount)} ${CURRENCY} a month (${differs})${most}. An estimate, by list prices of ${region} ` +
    `as of ${AS_OF};\n  not included: ${NOT_INCLUDED.join('; ')}.`
  );
}

const money = (amount: number): string => amount.toFixed(2);
