/** CloudFormation's query API as an account's root: no SDK client of it is a dependency of the project. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PlaceOutputs } from '../../services/reconciler/place.ts';
import type { CustomerOptions } from '../../services/rehearsal/scene.ts';
import { eventually } from './eventually.ts';

const TEMPLATE = join(import.meta.dirname, '..', '..', 'templates', 'customer-account-new-vpc-http.template.json');

/** @throws Error with the whole answer when it is not 2xx */
export async function cloudFormation(
  endpoint: string,
  account: string,
  action: string,
  form: Record<string, string>,
): Promise<string> {
  const authorization = `AWS4-HMAC-SHA256 Credential=${account}/20260101/us-east-1/cloudformation/aws4_request, SignedHeaders=host, Signature=0`;
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ Action: action, Version: '2010-05-15', ...form }).toString(),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return text;
}

/** What an element of an answer holds, '' when it is not there. */
export const element = (text: string, tag: string): string =>
  new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(text)?.[1] ?? '';

/** A customer's stack from the published template: what `cdk deploy` makes, some seconds sooner than that does. */
export async function publishedStack({ rehearsal, account, context }: CustomerOptions): Promise<PlaceOutputs> {
  const call = (action: string, form: Record<string, string>): Promise<string> =>
    cloudFormation(rehearsal.endpoint, account, action, { StackName: 'freehold-account', ...form });
  await call('CreateStack', {
    TemplateBody: readFileSync(TEMPLATE, 'utf8'),
    'Capabilities.member.1': 'CAPABILITY_NAMED_IAM',
    'Capabilities.member.2': 'CAPABILITY_AUTO_EXPAND',
    'Parameters.member.1.ParameterKey': 'Principal',
    'Parameters.member.1.ParameterValue': context['principal']!,
    'Parameters.member.2.ParameterKey': 'ExternalId',
    'Parameters.member.2.ParameterValue': context['externalId']!,
  });
  const stack = await eventually('the stack is there', async () => {
    const seen = await call('DescribeStacks', {});
    return !element(seen, 'StackStatus').endsWith('_IN_PROGRESS') && seen;
  });
  if (element(stack, 'StackStatus') !== 'CREATE_COMPLETE') throw new Error(stack);
  return JSON.parse(element(stack, 'OutputValue').replaceAll('&quot;', '"').replaceAll('&amp;', '&')) as PlaceOutputs;
}
