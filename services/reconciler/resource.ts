/**
 * The one abstraction: a deployment is a typed graph of resources, and each kind of resource can be observed, compared,
 * converged and removed. No call waits, every call may be repeated, and a kind remembers nothing between calls.
 */
import type { Account } from './aws/account.ts';
import type { Grant, Scope } from './aws/grant.ts';
import type { Item } from './prices.ts';

/** What AWS says about one resource, this instant. */
export type Observed<Live, Out> =
  | { is: 'absent' }
  /** Not usable yet; AWS is still working on it. */
  | { is: 'busy'; live: Live; why: string }
  /** Usable by whatever needs it, which is not the same as idle: a database that backs itself up is ready. */
  | { is: 'ready'; live: Live; out: Out }
  /** AWS gave up; only other inputs can help. `lost`: some of what it held is gone. */
  | { is: 'broken'; live: Live; why: string; lost?: true };

/** One field that is not as asked. Printed in plans and events, so never a secret. */
export interface Change {
  readonly field: string;
  readonly from: unknown;
  readonly to: unknown;
  /** Ours to do now and then, such as sweeping what nothing uses any more: nobody else has changed anything. */
  readonly isUpkeep?: true;
  /** AWS has tried it and given it up: worth another try, but not to a generation that has seen it fail. */
  readonly isAgain?: true;
}

/** What is more than a resource: it holds what cannot be made again. */
export interface Stateful<In> {
  /** The name of the state of having lost it, for programs. */
  readonly alarm: string;
  /** What was lost, and what to do, in one sentence; undefined: nothing. */
  lost(inputs: In): string | undefined;
  /** Read-only: what it could be restored from, as far as AWS still shows it; a few words each. */
  rescue?(cx: Cx, inputs: In): Promise<string[]>;
}

/** From so many seconds to so many. */
export type Seconds = readonly [from: number, to: number];

/** For people, who wait. What is not said is done at once. */
export interface Usual {
  readonly ready?: Seconds;
  /** After a change in place. */
  readonly changed?: Seconds;
  readonly gone?: Seconds;
}

/** `5 to 10 minutes`, `up to a minute`, `30 seconds`. */
export function inWords([from, to]: Seconds): string {
  const [unit, name, one] =
    from >= 3600 ? [3600, 'hour', 'an hour'] : to >= 60 ? [60, 'minute', 'a minute'] : [1, 'second', 'a second'];
  const [least, most] = [Math.round(from / unit), Math.round(to / unit)];
  const atMost = most === 1 ? one : `${most} ${name}s`;
  return least === most ? atMost : least === 0 ? `up to ${atMost}` : `${least} to ${atMost}`;
}

/** AWS calls, as a plan counts them. */
export interface Calls {
  /** Of one observation. */
  readonly observe: number;
  /** Writes. */
  readonly create: number;
  readonly change: number;
  readonly remove: number;
}

/** What a change does to those who use it. */
export interface Effect {
  readonly is: 'restart' | 'replace';
  /** In a few words. */
  readonly means: string;
  /** The new runs beside the old for a while. */
  readonly beside?: boolean;
}

/** All that a kind may use: the owner's tags, and clients of the account that the resource lives in. */
export interface Cx {
  readonly aws: Account;
  /** Put on everything at creation, and required of everything found. */
  readonly tags: Readonly<Record<string, string>>;
  /** The place's: what holds data is marked when it is made, until its deployment has served. See aws/gate.ts. */
  readonly deletionGate?: true | undefined;
  /**
   * Throws when another pass has taken over. The pass asks before `converge` and `remove`; a kind that writes more than
   * once in one of them asks again before each further write whose order matters.
   */
  fence(): Promise<void>;
}

/**
 * One kind of AWS resource. Its author keeps:
 * - identity is in `inputs.name` (or in what it is made for) and never comes from inputs that can change;
 * - found, but without our tags: throw `Terminal`, "exists and is not ours";
 * - AWS's defaults are not drift: normalise, then compare;
 * - AlreadyExists in `converge` and NotFound in `remove` are success;
 * - it is created with its tags in the same call, and with a client token where AWS has one;
 * - no secret value in inputs, outputs, changes or errors.
 */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export interface Kind<In = any, Live = any, Out = any> {
  /** Stored with each resource; never renamed. */
  readonly kind: string;
  /** What it may call, on what, and why: becomes the customer's role, the session policy and docs/iam.md. */
  readonly iam: (scope: Scope) => Grant[];
  /** Seconds until the next look while it is busy. */
  readonly pollSeconds: number;
  /** Seconds it may be busy before that counts as a failure. A resource that becomes ready later is ready. */
  readonly limitSeconds: number;
  /** What usually passes until it is ready, changed, or gone. @default not worth a word */
  readonly usual?: (inputs: In, changes?: readonly Change[]) => Usual;
  /**
   * It holds what cannot be made again. It is kept until the deployment is deleted, also when a revision no longer
   * wants it; and when it has vanished, that is an alarm, never a reason to make an empty one.
   */
  readonly stateful?: Stateful<In>;
  /** Outputs that follow from its inputs alone, and so are known before it is there: its names. */
  readonly foresee?: (inputs: In) => Partial<Out>;
  /** Outputs that are others after it was changed; all others stay as they are for as long as it exists. */
  readonly renews?: readonly string[];
  /** @default a change in place, which nobody notices */
  readonly effect?: (inputs: In, changes: readonly Change[]) => Effect | undefined;
  /** @default two reads, and one write of each kind */
  readonly calls?: (inputs: In, changes: readonly Change[]) => Calls;
  /** What it costs a month while it exists. @default nothing, or too little to name */
  readonly cost?: (inputs: In) => readonly Item[];
  /** Read-only. Finds it by its name or tags. */
  observe(cx: Cx, inputs: In): Promise<Observed<Live, Out>>;
  /**
   * Pure. Empty: in sync, or AWS is still making it.
   *
   * @param was its outputs when it was last ready, until it is again: for what AWS or the customer had chosen by then,
   *   which a generation that failed may have changed. May be lacking at any time
   */
  diff(inputs: In, live: Live, was?: Out): Change[];
  /**
   * Pure. Why AWS would refuse all of these changes just now, for a cause that passes by itself: it is looked at again.
   * What needs it goes on, unless the changes have an `effect`. @default it would not
   */
  refuses?(live: Live, changes: readonly Change[]): string | undefined;
  /** Creates it (`live` undefined), or applies the changes. */
  converge(cx: Cx, inputs: In, live: Live | undefined, changes: Change[]): Promise<void>;
  /**
   * Its generation has failed, and AWS may go on trying: tells it to stop. Asked after the failure is written down, at
   * each look at it that finds it still there and not ready, so it may find that nothing is to be done. It asks for the
   * fence before it writes.
   *
   * @param everReady whether it was usable once, in whatever generation
   * @returns what was done, for people; nothing: it has stopped already
   */
  halt?(cx: Cx, inputs: In, live: Live, everReady: boolean): Promise<string | void>;
  /** Asks for its deletion. Already gone is success. May answer why it cannot go yet, in a few words. */
  remove(cx: Cx, inputs: In, live: Live): Promise<string | void>;
}

/** One resource of one deployment: its kind, what it needs, and its inputs, computed from what it needs. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export interface Node<Out = any> {
  readonly id: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly kind: Kind<any, any, Out>;
  readonly needs: Readonly<Record<string, Node>>;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  inputs(got: any): unknown;
}

type Got<N extends Record<string, Node>> = { [K in keyof N]: N[K] extends Node<infer Out> ? Out : never };

/** A node can need only nodes added before it: no cycles by construction, and list order is a build order. */
export class Graph {
  readonly nodes: Node[] = [];

  add<In, Live, Out, N extends Record<string, Node>>(
    id: string,
    kind: Kind<In, Live, Out>,
    needs: N,
    inputs: (got: Got<N>) => In,
  ): Node<Out> {
    if (this.nodes.some((node) => node.id === id)) throw new Error(`two resources are called "${id}"`);
    const node: Node<Out> = { id, kind, needs, inputs };
    this.nodes.push(node);
    return node;
  }
}
