/**
 * What a session of a place's role may do: what the grants say of one deployment, or what they say of reading alone.
 * AWS allows what the role and the session both allow. So a session says exactly on what, by the deployment's id in
 * names and tags, and is brief about what the role says exactly: regions, types, and which calls.
 */
import { isWrite } from './account.ts';
import type { Grant, Scope } from './grant.ts';
import { grants, grantsOfPass } from './grants.ts';
import { shortId } from './names.ts';
import { originalGrants, originalScope, type OriginalEntrance } from './original.ts';
import { TAG } from './tags.ts';

/** Characters: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html */
export const SESSION_POLICY_LIMIT = 2048;

/**
 * Of what a service does with a key that is AWS's own: each such key lets in whoever may use the service, through it.
 * The role has no right to any but what its grants say, so this opens nothing that they do not.
 */
const KEYS = 'kms:*';

interface Deployment {
  readonly id: string;
}

/** All that a pass over one deployment may do. */
export const deploymentPolicy = (scope: Scope, deployment: Deployment): string =>
  document([...cut(grantsOfPass({ ...scope, deployment }), deployment, { onIts: '*' }), itsDefinitions(deployment)]);

/** Its services run its own task definitions only: others' come with others' secrets. */
const itsDefinitions = ({ id }: Deployment): Statement => ({
  Effect: 'Deny',
  Action: 'ecs:*',
  Resource: '*',
  // `ForAnyValue`: a call that names none is not meant.
  Condition: { 'ForAnyValue:StringNotLike': { 'ecs:task-definition': `*-${shortId(id)}*` } },
});

/** What may be read of one deployment, and of what the place's deployments share. */
export function deploymentReads(scope: Scope, deployment: Deployment): string {
  const granted = grants({ ...scope, deployment }).flatMap(reading);
  return document(cut(granted, deployment));
}

/** What may be read of a place, but for what its servers wrote: on what, the role says. */
export const placeReads = (scope: Scope): string =>
  document([allow(brief(actionsOf(grants(scope).flatMap(reading)).filter((action) => !LOGS.test(action))), ['*'])]);
const LOGS = /^logs:(Filter|Get)LogEvents$/;

/** What recognising an original place takes, and making and removing its load balancer. */
export const balancerPolicy = (entrance: OriginalEntrance): string =>
  document(
    originalGrants(originalScope(entrance)).map(({ actions, resources, conditions }) =>
      allow(actions, resources, conditions),
    ),
  );

type Conditions = NonNullable<Grant['conditions']>;

interface Statement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
  readonly Condition?: Conditions;
}

const document = (Statement: readonly Statement[]): string => JSON.stringify({ Version: '2012-10-17', Statement });

const allow = (Action: Statement['Action'], resources: readonly string[], Condition?: Conditions): Statement => ({
  Effect: 'Allow',
  Action,
  Resource: resources.length === 1 ? resources[0]! : resources,
  ...(Condition && { Condition }),
});

const reads = (action: string): boolean => !isWrite(action.split(':')[1]!);

function reading(grant: Grant): Grant[] {
  const actions = grant.actions.filter(reads);
  return actions.length === 0 ? [] : [{ ...grant, actions }];
}

const actionsOf = (granted: readonly Grant[]): string[] => [...new Set(granted.flatMap(({ actions }) => actions))];

/**
 * @param granted of one deployment
 * @param onIts what is allowed on whatever has the deployment's id in its name or tag @default what is granted by name
 */
function cut(granted: readonly Grant[], { id }: Deployment, { onIts }: { onIts?: '*' } = {}): Statement[] {
  const short = shortId(id);
  const isIts = (text: string): boolean => text.includes(id) || text.includes(short);
  const asked = `aws:RequestTag/${TAG.deployment}`;
  const has = `aws:ResourceTag/${TAG.deployment}`;

  const [byName, others] = partition(granted, ({ resources }) => resources.every(isIts));
  const [making, rest] = partition(others, (grant) => keysOf(grant).includes(asked));
  const [tagged, unmarked] = partition(rest, (grant) => keysOf(grant).includes(has));
  const [within, shared] = partition(unmarked, ({ conditions }) => isIts(JSON.stringify(conditions ?? {})));
  const named = granted.flatMap(({ resources }) => resources.filter(isIts).map((arn) => anywhere(arn, isIts)));
  const make = actionsOf(making);
  // Changes on names that are not the deployment's: its roles, and what something is made in.
  const [exact, anything] = partition(
    shared.flatMap(({ actions, resources }) => actions.map((action) => ({ action, resources }))),
    ({ action, resources }) => !reads(action) && !resources.includes('*'),
  );
  // What is granted by name is granted beyond it only to look at many deployments at once.
  const more = [...new Set(anything.map(({ action }) => action))].filter((each) => !actionsOf(byName).includes(each));
  return [
    allow(onIts ?? brief(actionsOf(byName)), [...new Set(named)]),
    ...(tagged.length > 0 ? [allow(onIts ?? brief(actionsOf(tagged)), ['*'], { StringEquals: { [has]: id } })] : []),
    // Without the second condition, another deployment's resource could be tagged as this one's, and then be changed.
    ...(make.length > 0
      ? [allow(brief(make, make, 0), ['*'], { StringEquals: { [asked]: id }, StringEqualsIfExists: { [has]: id } })]
      : []),
    ...within.map((grant) => allow(grant.actions, ['*'], conditionsThat(isIts, grant))),
    allow([...(onIts ? [KEYS] : []), ...brief(more, actionsOf(granted))], ['*']),
    ...(exact.length > 0
      ? [
          allow(
            [...new Set(exact.map(({ action }) => action))],
            merged(exact.flatMap(({ resources }) => resources.map((arn) => anywhere(arn)))),
          ),
        ]
      : []),
  ];
}

const partition = <T>(all: readonly T[], is: (each: T) => boolean): [T[], T[]] => [
  all.filter(is),
  all.filter((each) => !is(each)),
];

/** Those that name the deployment. */
const conditionsThat = (isIts: (text: string) => boolean, { conditions = {} }: Grant): Conditions =>
  Object.fromEntries(Object.entries(conditions).filter(([, keys]) => isIts(JSON.stringify(keys))));

const keysOf = ({ conditions = {} }: Grant): string[] => Object.values(conditions).flatMap((keys) => Object.keys(keys));

/** Without those that another one with a `*` covers; `a` and `a-*` are `a*`. */
const merged = (arns: readonly string[]): string[] => {
  const short = [...new Set(arns)].map((arn, _, all) => (all.includes(`${arn}-*`) ? `${arn}*` : arn));
  return short.filter(
    (arn) => !short.some((other) => other !== arn && other.endsWith('*') && arn.startsWith(other.slice(0, -1))),
  );
};

/**
 * The same name in any region and account, and, of what is a deployment's, of any type:
 * `arn:aws:ecs:*:*:*\/freehold-0123456789ab*`. AWS compares what is between colons by itself, and a `*` at the end with
 * all that follows. Where a service's ARNs have no region or account, it takes no `*` either.
 */
function anywhere(arn: string, isIts: (text: string) => boolean = () => true): string {
  const [, partition, service, region, account, ...resource] = arn.split(':');
  const parts = resource.join(':').split(/(?<=[:/])/);
  const at = parts.findIndex(isIts);
  const before = parts
    .slice(0, at)
    .join('')
    .replaceAll(/[^:]+(?=:)/g, '*')
    .replace(/[^:]+$/, '*/');
  const name = parts
    .slice(at)
    .join('')
    .replace(/\*[:/].*$/, '*');
  return ['arn', partition, service, region && '*', account && '*', `${before}${name}`].join(':');
}

/**
 * The same actions in fewer words, a plural's end being one: `rds:Describe*`, where all of `granted` that begin so are
 * among them.
 * @param words that stay at least, the service's name not counted
 */
function brief(actions: readonly string[], granted: readonly string[] = actions, words = 1): string[] {
  const start = (action: string): string | undefined => {
    const parts = action.split(/(?<=:)|(?<=[a-z])(?=[A-Z])|(?=s$)/);
    return parts
      .map((_, last) => parts.slice(0, last + 1).join(''))
      .slice(words)
      .find((begun) => granted.every((each) => !each.startsWith(begun) || actions.includes(each)));
  };
  const found = Map.groupBy(actions, start);
  return [...found].flatMap(([begun, alike]) => (alike.length > 1 ? [`${begun}*`] : alike)).sort();
}
