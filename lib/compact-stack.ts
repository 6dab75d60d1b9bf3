/** A stack whose template is as short as CloudFormation allows: a request has room for 51,200 bytes. */
import { Stack } from 'aws-cdk-lib';

export class CompactStack extends Stack {
  override _toCloudFormation(): unknown {
    return compact(this.resolve(super._toCloudFormation()));
  }
}

type Part = string | { readonly Ref: string } | { readonly 'Fn::GetAtt': readonly [string, string] };

/** With `Fn::Sub` for each `Fn::Join` that only puts names into a text, as CDK writes them: a third of the length. */
function compact(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(compact);
  const [delimiter, parts] = ((value as { 'Fn::Join'?: unknown })['Fn::Join'] ?? []) as [string?, Part[]?];
  if (delimiter === '' && Array.isArray(parts) && parts.every(isName)) return { 'Fn::Sub': parts.map(named).join('') };
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, compact(each)]));
}

const isName = (part: unknown): boolean =>
  typeof part === 'string' || (typeof part === 'object' && part !== null && ('Ref' in part || 'Fn::GetAtt' in part));

function named(part: Part): string {
  if (typeof part === 'string') return part.replaceAll('${', '${!');
  return `\${${'Ref' in part ? part.Ref : part['Fn::GetAtt'].join('.')}}`;
}
