/**
 * Ways to break the code, each of which the simulation must notice. `from` stands exactly once in its file; when the
 * code has moved on, so must the mutation.
 */
export interface Mutation {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** What else has to go. */
  readonly also?: { readonly from: string; readonly to: string };
}

const PASS = 'services/reconciler/pass.ts';
const KINDS = 'services/reconciler/kinds';

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'nobody asks whether another pass has begun before a write to AWS',
    file: 'services/control-plane/worker.ts',
    from: 'await requireEpoch(db, deployment.id, epoch);',
    to: '',
  },
  {
    name: 'a row is written only after the first call',
    file: PASS,
    from: 'if (!isDeepStrictEqual(row, before)) await p.rows.put(row);\n\n  const cx',
    to: 'const cx',
    also: { from: 'row.askedAt = p.now();\n    await p.rows.put(row);', to: 'row.askedAt = p.now();' },
  },
  {
    name: 'what is wanted is built without waiting for what it needs',
    file: PASS,
    from: "  if (seen.is === 'ready') {\n    got.set(node.id, seen.out);",
    to: "  if (seen.is === 'busy') got.set(node.id, node.id === 'database' ? { identifier: (inputs as { name: string }).name, resourceId: 'none', host: 'none', port: 5432, user: 'none', databaseName: 'none' } : {});\n  if (seen.is === 'ready') {\n    got.set(node.id, seen.out);",
  },
  {
    name: 'what is used is removed with its users',
    file: PASS,
    from: 'users.length > 0 ? Promise.resolve',
    to: 'users.length > 99 ? Promise.resolve',
  },
  {
    name: 'it is forgotten that a creation was asked for',
    file: PASS,
    from: 'if (isLate && (!isAnother || lost(node, inputs, row) !== undefined)) return waiting(NOT_THERE_YET);',
    to: '',
  },
  {
    name: 'a creation without an answer is taken for refused',
    file: PASS,
    from: 'if (live === undefined && !mayHaveMade(error)) row.askedAt = null;',
    to: 'row.askedAt = null;',
  },
  {
    name: 'a creation of which a later call was refused is taken for refused',
    file: 'services/reconciler/aws/errors.ts',
    from: 'return isUnanswered(error) || (call !== undefined && !MAKES.test(call));',
    to: 'return isUnanswered(error);',
  },
  {
    name: 'what needs what has failed is looked at for ever',
    file: PASS,
    from: "row.state.state === 'failed' || row.state.message.startsWith(NEEDS)",
    to: "row.state.state === 'failed' || row.inputs === null",
  },
  {
    name: 'a database that is gone is made anew',
    file: PASS,
    from: 'if (live === undefined) throw new LeftAlone(loss);',
    to: '',
  },
  {
    name: 'a row is dropped although AWS may only not show its resource yet',
    file: PASS,
    from: 'return isNew(p, row) ? waiting(MAY_APPEAR) : { state:',
    to: 'return false ? waiting(MAY_APPEAR) : { state:',
  },
  {
    name: 'what AWS showed before a change is taken for the change',
    file: PASS,
    from: 'if (isUnseen) return waiting(NOT_SEEN_YET);',
    to: 'row.outputs = seen.out;',
  },
  {
    name: 'a pass over what is settled writes its rows',
    file: PASS,
    from: "row.generation = p.generation;\n  if (row.state.state === 'failed' && !isLeft)",
    to: "row.generation = p.generation;\n  row.since = p.now();\n  if (row.state.state === 'failed' && !isLeft)",
  },
  {
    name: 'an older pass writes its rows over those of a newer one',
    file: 'simulation/store.ts',
    from: "if (found === undefined || found.epoch !== epoch) throw new Superseded('another pass has begun');",
    to: "if (found === undefined) throw new Superseded('another pass has begun');",
  },
  {
    name: 'what is there under our name is taken for ours',
    file: 'services/reconciler/aws/tags.ts',
    from: 'if (isOurs(found, ours)) return;',
    to: 'if (isOurs(found, ours) || true) return;',
  },
  {
    name: 'what ECS took back is asked for again, for ever',
    file: PASS,
    from: 'if (isItsFailure || p.observeOnly) changes = changes.filter((change) => !change.isAgain);',
    to: '',
  },
  {
    name: 'a rollout is done as soon as it has begun',
    file: `${KINDS}/ecs-service.ts`,
    from: "if (primary.rolloutState === 'COMPLETED') {",
    to: "if (primary.rolloutState !== 'FAILED') {",
  },
  {
    name: 'secret versions of revisions that wait or serve are swept',
    file: `${KINDS}/environment.ts`,
    from: 'const used = new Set([...Object.keys(inputs.versions), ...inputs.keep]);',
    to: 'const used = new Set<string>();',
  },
  {
    name: 'the secret with the database’s password is not bound to it',
    file: `${KINDS}/database-uri.ts`,
    from: 'await aws.secrets.send(new TagResourceCommand(',
    to: 'if (version === undefined) await aws.secrets.send(new TagResourceCommand(',
  },
  {
    name: 'an interrupted revision is carried out',
    file: 'services/control-plane/target.ts',
    from: "if (revision.isInterrupted) return { status: 'INTERRUPTED', message: 'interrupted on request' };",
    to: '',
  },
  {
    name: 'after a failed rollout the failed revision stays the target',
    file: 'services/control-plane/target.ts',
    from: 'return active ?? (isFailure(last.verdict.status) ? last : undefined);',
    to: 'return active && last;',
  },
  {
    name: 'a delete is over without a search for what is left',
    file: 'services/reconciler/kinds/listener-rule.ts',
    from: 'await aws.elb.send(new DeleteRuleCommand({ RuleArn: live.arn }));',
    to: 'await Promise.resolve(live);',
  },
];
