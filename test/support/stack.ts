/** CloudFormation's query API as an account's root: no SDK client of it is a dependency of the project. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PlaceOutputs } from '../../services/reconciler/place.ts';
import { DELETION_ALLOWED, type CustomerOptions } from '../../services/rehearsal/scene.ts';
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
export const publishedStack = (options: CustomerOptions): Promise<PlaceOutputs> => deploy('CreateStack', options);

/** As it was before there was a delete gate: what it prints, and what its role has no right to. */
export const stackBeforeTheGate = (options: CustomerOptions): Promise<PlaceOutputs> =>
  deploy('CreateStack', options, (template) =>
    template
      .replaceAll('\\"deletionGate\\":true,', '')
      .replaceAll('"rds:RemoveTagsFromResource"', '"rds:ListTagsForResource"')
      .replaceAll('"secretsmanager:UntagResource"', '"secretsmanager:DescribeSecret"'),
  );

/** Deployed once more, with another context. */
export const updatePublishedStack = (options: CustomerOptions): Promise<PlaceOutputs> => deploy('UpdateStack', options);

async function deploy(
  action: 'CreateStack' | 'UpdateStack',
  { rehearsal, account, context }: CustomerOptions,
  changed = (template: string): string => template,
): Promise<PlaceOutputs> {
  const call = (action: string, form: Record<string, string>): Promise<string> =>
    cloudFormation(rehearsal.endpoint, account, action, { StackName: 'freehold-account', ...form });
  const parameters = Object.entries({
    Principal: context['principal']!,
    ExternalId: context['externalId']!,
    AllowDeletionUntil: context['allowDeletionUntil'] ?? DELETION_ALLOWED,
  }).flatMap(([key, value], index) => [
    [`Parameters.member.${index + 1}.ParameterKey`, key],
    [`Parameters.member.${index + 1}.ParameterValue`, value],
  ]);
  await call(action, {
    TemplateBody: changed(readFileSync(TEMPLATE, 'utf8')),
    'Capabilities.member.1': 'CAPABILITY_NAMED_IAM',
    'Capabilities.member.2': 'CAPABILITY_AUTO_EXPAND',
    ...(Object.fromEntries(parameters) as Record<string, string>),
  });
  const stack = await eventually('the stack is there', async () => {
    const seen = await call('DescribeStacks', {});
    return !element(seen, 'StackStatus').endsWith('_IN_PROGRESS') && seen;
  });
  if (!/^(CREATE|UPDATE)_COMPLETE$/.test(element(stack, 'StackStatus'))) throw new Error(stack);
  return JSON.parse(element(stack, 'OutputValue').replaceAll('&quot;', '"').replaceAll('&amp;', '&')) as PlaceOutputs;
}
