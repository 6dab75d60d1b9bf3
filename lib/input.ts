/** What is wrong with a value that was given, and what to do about it. Shown without a stack trace. */
import { Token } from 'aws-cdk-lib';

export class InvalidInput extends Error {}

/** A value that CloudFormation will only know at deploy (a parameter) is not looked at. */
export function matches(name: string, value: string, pattern: RegExp, todo: string): void {
  if (!Token.isUnresolved(value) && !pattern.test(value)) throw new InvalidInput(`${name} is "${value}": ${todo}`);
}

/**
 * What several services accept: the narrowest are target groups (32 characters) and database instances. With a word of
 * the roles' names in it, the roles would be named as those of another place that may be in the same account: what may
 * pass `free-task-*` may pass `free-task-execution`.
 */
export const PREFIX = /^(?!internal$)(?!.*-(task|execution)(-|$))[a-z](?!.*--)([a-z0-9-]{0,10}[a-z0-9])?$/;

export function checkPrefix(prefix: string): void {
  matches(
    'prefix',
    prefix,
    PREFIX,
    'use at most 12 lower-case letters, digits and single hyphens, beginning with a letter and not ending in a hyphen ' +
      '(not "internal", and without "-task" and "-execution")',
  );
}
