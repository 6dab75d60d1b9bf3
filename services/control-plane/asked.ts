/**
 * On whose behalf something is done: a request's caller, whoever asked for what a look carries out, or nobody but the
 * control plane itself. Customers' CloudTrail names it.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';

/** Nobody asked: the control plane does it by itself. */
export const ITSELF = 'freehold';

interface Asked {
  /** As AWS takes a source identity: 2 to 64 characters of `[A-Za-z0-9_=,.@+-]`. */
  readonly actor: string;
  /** What for: a revision's id, `delete`, `repair`. @default what each call to the account is for */
  readonly operation?: string;
}

const asking = new AsyncLocalStorage<Asked>();

export const onBehalfOf = <T>(asked: Asked, work: () => T): T => asking.run(asked, work);

/** Undefined outside of `onBehalfOf`. */
export const asked = (): Asked | undefined => asking.getStore();

/**
 * A caller as customers may know it: the key's id, or the token's subject. A subject that AWS would not take, or that
 * may be an address, is a digest of it.
 */
export function actorOf({ keyId, subject }: { readonly keyId: string | null; readonly subject: string }): string {
  if (keyId !== null) return `key-${keyId}`;
  return /^[\w+=,.-]{1,60}$/.test(subject)
    ? `sub-${subject}`
    : `sub-${createHash('sha256').update(subject).digest('hex').slice(0, 32)}`;
}
