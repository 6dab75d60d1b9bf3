/**
 * ARNs and conditions that permissions are cut with. Scopes may hold CDK tokens: strings are only ever put together.
 */
import type { Scope } from './grant.ts';
import { TAG } from './tags.ts';

type Where = Pick<Scope, 'partition' | 'region' | 'account'>;

export const arn = (scope: Where, service: string, resource: string): string =>
  `arn:${scope.partition}:${service}:${scope.region}:${scope.account}:${resource}`;

/** Whatever is created must carry this place's tag from the same call. */
export const createsOurs = (scope: Scope) => ({ StringEquals: { [`aws:RequestTag/${TAG.place}`]: scope.prefix } });

/** Only what carries this place's tag is read in detail, changed or removed. */
export const changesOurs = (scope: Scope) => ({ StringEquals: { [`aws:ResourceTag/${TAG.place}`]: scope.prefix } });
