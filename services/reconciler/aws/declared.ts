/**
 * The clients that a kind gets make the calls that its `iam` declares, and throw on any other: so the role's policies,
 * which are made from the declarations, have all that a kind calls, and a call that nobody declared never leaves.
 */
import type { Account } from './account.ts';
import type { Grant, Scope } from './grant.ts';

/** Calls that IAM knows by another name. */
export const CALLED: Readonly<Record<string, string>> = {
  's3:DeleteObjects': 's3:DeleteObject',
  's3:ListObjectsV2': 's3:ListBucket',
};

/** IAM's prefix of the clients that we call otherwise. */
const SERVICES: Readonly<Record<string, string>> = {
  discovery: 'servicediscovery',
  elb: 'elasticloadbalancing',
  logReads: 'logs',
  quotas: 'servicequotas',
  scaling: 'application-autoscaling',
  secrets: 'secretsmanager',
  tagging: 'tag',
  trail: 'cloudtrail',
};

interface Declaring {
  readonly kind: string;
  readonly iam: (scope: Scope) => Grant[];
}

/** A defect of ours. */
export class Undeclared extends Error {
  constructor(kind: string, action: string) {
    super(`the kind "${kind}" does not declare that it calls ${action}`);
  }
}

interface Client {
  send(command: object, ...rest: unknown[]): unknown;
}

/** A place that has all that a place may have: which calls are declared does not follow from its names. */
const ANY = new Proxy(
  {},
  {
    get: (_, name) => (name === 'deployment' ? undefined : name === 'privateSubnetIds' ? [] : ''),
  },
) as Scope;

const known = new WeakMap<Declaring, ReadonlySet<string>>();
function actionsOf(kind: Declaring): ReadonlySet<string> {
  const actions = known.get(kind) ?? new Set(kind.iam(ANY).flatMap(({ actions }) => actions));
  known.set(kind, actions);
  return actions;
}

/** The same, with no more than this kind declares. */
export const declared = <C extends { readonly aws: Account }>(kind: Declaring, cx: C): C => ({
  ...cx,
  get aws() {
    return only(kind, cx.aws);
  },
});

function only(kind: Declaring, account: Account): Account {
  const actions = actionsOf(kind);
  return new Proxy(account, {
    get(_, name) {
      const client: unknown = account[name as keyof Account];
      if (typeof client !== 'object' || client === null) return client;
      const send: Client['send'] = (command, ...rest) => {
        const prefix = SERVICES[String(name)] ?? String(name);
        const called = `${prefix}:${command.constructor.name.replace(/Command$/, '')}`;
        const action = CALLED[called] ?? called;
        if (!actions.has(action)) return Promise.reject(new Undeclared(kind.kind, action));
        return (client as Client).send(command, ...rest);
      };
      return Object.assign(Object.create(client) as object, { send });
    },
  });
}
