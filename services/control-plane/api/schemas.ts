/** The wire's shapes. Fields of our own are marked so; everything else is as LangSmith Deployment's API has it. */
import { z } from '@hono/zod-openapi';
import { MODES } from '../../reconciler/aws/brake.ts';
import { RETENTION_HOURS } from '../settings.ts';

/** Of any version and in any case, as Python's UUID takes them. */
export const id = z
  .guid({ error: ({ code }) => (code === 'invalid_format' ? 'Input should be a valid UUID' : undefined) })
  .toLowerCase();
const text = z.string().nullish();
export const instant = z.iso.datetime();

export const errorBody = z
  .object({
    detail: z.string(),
    request_id: z.string().optional().describe('Of an internal error: as in the log.'),
  })
  .openapi('Error', { example: { detail: 'Deployment ID 5b1f… not found.' } });

export const validationErrorBody = z
  .object({
    detail: z.array(
      z
        .object({ loc: z.array(z.union([z.string(), z.number().int()])), msg: z.string(), type: z.string() })
        .openapi('ValidationError'),
    ),
  })
  .openapi('HTTPValidationError', {
    example: { detail: [{ loc: ['body', 'name'], msg: 'Field required', type: 'missing' }] },
  });

/** Says that a query's text is nothing of a kind. */
function unlike(expected: 'int' | 'number' | 'boolean', input: string, context: z.RefinementCtx): never {
  context.addIssue({ code: 'invalid_type', expected, input, message: `"${input}" is not of type ${expected}` });
  return z.NEVER;
}

/** An integer of a query. One that is empty or not in decimals is refused, and none at all is `fallback`. */
export const integerQuery = (minimum: number, maximum: number, fallback: number) =>
  z
    .string()
    .transform((text, context) => (/^[+-]?\d+$/.test(text) ? Number(text) : unlike('int', text, context)))
    .pipe(z.number().int().min(minimum).max(maximum))
    .default(fallback)
    .openapi({ type: 'integer', minimum, maximum });

export const json = <S extends z.ZodType>(schema: S) => ({ 'application/json': { schema } });
export const listOf = <S extends z.ZodType>(schema: S, name: string) =>
  z.object({ resources: z.array(schema), offset: z.number().int() }).openapi(name);
/** Of a parameter that takes several values, separated by commas. */
export const csv = (text: string | undefined): string[] | undefined =>
  text === undefined || text === '' ? undefined : text.split(',').map((part) => part.trim());

export const deploymentPath = z.object({ deployment_id: id });
export const revisionPath = deploymentPath.extend({ revision_id: id });

/** Ids in a parameter that is given once for each. */
export const repeatedIds = (most: number) =>
  z
    .union([z.string(), z.array(z.string())])
    .transform((given) => [given].flat())
    .pipe(z.array(id).max(most))
    .openapi({ type: 'array', items: { type: 'string', format: 'uuid' }, minItems: 1, maxItems: most });

/** As FastAPI reads them. */
const YES = ['true', '1', 'yes', 'on', 't', 'y'];
const NO = ['false', '0', 'no', 'off', 'f', 'n'];
export const flag = z
  .string()
  .transform((text, context) => {
    const said = text.toLowerCase();
    return YES.includes(said) || (!NO.includes(said) && unlike('boolean', text, context));
  })
  .openapi({ type: 'boolean' });
export const remoteReconciled = flag
  .optional()
  .describe("All are reconciled from without, in the customer's account: false finds none.");

/** Ours. */
export const retentionHours = z
  .string()
  .transform((text, context) => (/^\d+(\.\d+)?$/.test(text) ? Number(text) : unlike('number', text, context)))
  .pipe(z.number().min(0).max(RETENTION_HOURS))
  .optional()
  .describe(
    'Ours: for how long the delete can be undone, whatever the type. While it can, asked again: from now on; 0 ends it.',
  )
  .openapi({ type: 'number', minimum: 0, maximum: RETENTION_HOURS });

export const pageQuery = z.object({
  limit: integerQuery(1, 100, 20),
  offset: integerQuery(0, Number.MAX_SAFE_INTEGER, 0),
});

const cpu = z.number().min(0.1).max(8).nullish();
const cpuLimit = z.number().min(0.1).max(16).nullish();
const memory = z.number().int().min(128).nullish();
const count = z.number().int().min(0).nullish();
const list = z.array(z.record(z.string(), z.unknown())).nullish();

export const resourceSpec = z
  .object({
    min_scale: count,
    max_scale: z.number().int().min(1).max(100).nullish(),
    cpu,
    cpu_limit: cpuLimit,
    memory_mb: memory,
    memory_limit_mb: memory,
    queue_min_scale: count,
    queue_max_scale: count,
    queue_cpu: cpu,
    queue_cpu_limit: cpuLimit,
    queue_memory_mb: memory,
    queue_memory_limit_mb: memory,
    redis_cpu: cpu,
    redis_cpu_limit: cpuLimit,
    redis_memory_mb: memory,
    redis_memory_limit_mb: memory,
    db_cpu: cpu,
    db_cpu_limit: cpuLimit,
    db_memory_mb: memory,
    db_memory_limit_mb: memory,
    db_storage_gi: count,
    db_max_connections: count,
    labels: z.record(z.string(), z.string()).nullish(),
    annotations: z.record(z.string(), z.string()).nullish(),
    service_account_name: text,
    image_pull_secrets: z.array(z.object({ name: z.string() })).nullish(),
    volumes: list,
    volume_mounts: list,
    init_containers: list,
    sidecars: list,
  })
  .openapi('ResourceSpec', {
    description:
      'On ECS `cpu`, `memory_mb`, `min_scale` and `max_scale` count. Limits of the first two, labels, annotations and ' +
      'image_pull_secrets are taken and mean nothing; any other value is refused.',
  });

export const secret = z
  .object({
    name: z.string().min(1).max(255),
    value: z.string().nullish().describe('Ours: without a value, the variable keeps the one that it has.'),
  })
  .openapi('Secret');

export const secretReference = z
  .object({
    name: z.string().min(1).max(255).describe('Of the environment variable.'),
    secret_name: z
      .string()
      .min(1)
      .max(2048)
      .describe("Of a secret of the customer's own in the place's account and region: its name or its ARN."),
    secret_key: text.describe("A key of the secret's JSON; empty: the value is the whole secret."),
  })
  .openapi('SecretReference');

/** Ours; all sources have them. */
const databaseCa = z
  .string()
  .max(200)
  .regex(/^(\/[A-Za-z0-9._-]+)*$/, 'not the absolute path of a file')
  .nullish()
  .describe(
    "Ours, for good: where the image has RDS's certificates (its `global-bundle.pem`). The server then holds its database's " +
      'certificate and name against them (`sslmode=verify-full`); without it TLS is required, and nothing is compared.',
  );

const taskRole = z
  .string()
  .max(2048)
  .nullish()
  .describe(
    "Ours: a role that the agent has in AWS, `<the place's task role>-<name>`, made by the customer. Empty: the place's own " +
      'again.',
  );

const references = z
  .array(secretReference)
  .max(500)
  .nullish()
  .describe(
    "Variables whose values are in secrets of the customer's own, which are never read here. Without the " +
      'list they are as before; `POST …/revisions` with an empty one takes all of them away.',
  );

const sourceConfigFields = {
  integration_id: text,
  repo_url: text,
  deployment_type: text.describe('`dev` or `prod`; without it `prod`.'),
  build_on_push: z.boolean().nullish(),
  custom_url: text,
  resource_spec: resourceSpec.nullish(),
  listener_id: id.nullish().describe("The place. Without it, the workspace's only one."),
  listener_config: z.object({ k8s_namespace: text }).nullish(),
  install_command: text,
  build_command: text,
  template_id: text,
};
export const sourceConfigRequest = z.object(sourceConfigFields).openapi('SourceConfigRequest');

const revisionConfigFields = {
  repo_ref: text,
  langgraph_config_path: text,
  image_uri: text.describe("In the place's own registry, by tag or digest."),
  source_tarball_path: text,
};
export const sourceRevisionConfigRequest = z.object(revisionConfigFields).openapi('SourceRevisionConfigRequest');

const IMAGE = '111111111111.dkr.ecr.eu-central-1.amazonaws.com/my-agent:1.0.0';

const SOURCES = ['github', 'external_docker', 'internal_docker', 'internal_source', 'internal_template'] as const;
export const source = z.enum(SOURCES);

const driftPolicy = z
  .enum(['repair', 'report', 'ignore'])
  .describe(
    'Ours: what is done when somebody else changes what was made in the account. `repair`, unless another one is given: ' +
      'it is made as asked again; `report`: it is told of, and left until the next revision; `ignore`: neither.',
  );

export const deploymentCreate = z
  .object({
    name: z
      .string()
      .max(50)
      .regex(/^[a-z]([a-z0-9-]*[a-z0-9])?$/, 'lowercase letters, digits and hyphens; a letter first, no hyphen last')
      .optional()
      .describe('Required.'),
    agent: z.record(z.string(), z.unknown()).nullish().describe('Not supported: give a name.'),
    source,
    source_config: sourceConfigRequest,
    source_revision_config: sourceRevisionConfigRequest,
    secrets: z.array(secret).max(500),
    secret_references: references,
    task_role_arn: taskRole,
    drift_policy: driftPolicy.nullish(),
    database_ca: databaseCa,
  })
  .openapi('DeploymentCreateRequest', {
    example: {
      name: 'my-agent',
      source: 'external_docker',
      source_config: { resource_spec: { cpu: 1, memory_mb: 2048 } },
      source_revision_config: { image_uri: IMAGE },
      secrets: [{ name: 'OPENAI_API_KEY', value: 'sk-…' }],
    },
  });

const trackedPackages = z
  .array(
    z
      .string()
      .max(255)
      .regex(/^google-adk:\S.*$/, 'not "google-adk:<version>", the only package that is tracked'),
  )
  .max(100)
  .nullish();

export const deploymentPatch = z
  .object({
    name: text.describe('Immutable: anything but the present name is refused.'),
    source: source.nullish().describe('Immutable.'),
    display_name: z.string().min(1).max(255).nullish(),
    revision_source: source.nullish(),
    source_config: sourceConfigRequest.nullish(),
    source_revision_config: sourceRevisionConfigRequest.nullish(),
    secrets: z.array(secret).max(500).nullish(),
    secret_references: references,
    task_role_arn: taskRole,
    tracked_packages: trackedPackages.describe('What is in the image: a version, or a range of them.'),
    drift_policy: driftPolicy.nullish(),
    database_ca: text.describe('Immutable.'),
  })
  .openapi('DeploymentPatchRequest', {
    example: { display_name: 'My agent', source_revision_config: { image_uri: IMAGE } },
  });

export const revisionCreate = deploymentPatch
  .pick({
    revision_source: true,
    source_config: true,
    source_revision_config: true,
    secrets: true,
    secret_references: true,
    task_role_arn: true,
    tracked_packages: true,
  })
  .openapi('RevisionCreateRequest', { example: { source_revision_config: { image_uri: IMAGE } } });

const tier = z
  .enum(['SERVERLESS_S', 'SERVERLESS_M', 'SERVERLESS_L', 'DEDICATED_S', 'DEDICATED_M', 'DEDICATED_L'])
  .nullish();

export const resourceTiers = z
  .object({
    compute_tier: tier.describe('Of each container: S 1 CPU and 2 GB, M 2 CPU and 4 GB, L 4 CPU and 8 GB.'),
    database_tier: tier.describe("Of the deployment's own database."),
  })
  .refine((given) => given.compute_tier ?? given.database_tier, 'compute_tier or database_tier is required')
  .openapi('ResourceTiersRequest', { example: { compute_tier: 'DEDICATED_M' } });

export const deploymentTier = z
  .object({
    deployment_type: text.describe('`prod`, or what the deployment is already.'),
    deployment_tier: text.describe('Another name of the same.'),
  })
  .openapi('DeploymentTierRequest', { example: { deployment_type: 'prod' } });

export const deleted = z
  .object({
    deleted: z.array(id),
    failed: z.array(z.object({ deployment_id: id, detail: z.string() })),
  })
  .openapi('DeploymentsDeleted');

const taskSize = z
  .object({ cpu: z.number(), memory_mb: z.number().int() })
  .describe('Ours: what the platform rounds the asked size up to; the container itself is held to what was asked.')
  .openapi('TaskSize');

const sourceRevisionConfig = z
  .object({
    ...revisionConfigFields,
    repo_commit_sha: text,
    deepagents_version: text,
    tracked_packages: z.array(z.string()).nullish(),
  })
  .openapi('SourceRevisionConfig');

export const termsQuery = z.object({
  dry_run: flag.optional().describe('Ours: nothing is done; the answer is 200 with the plan.'),
  plan: z
    .string()
    .max(100)
    .optional()
    .describe("Ours: a plan's hash. 409, and nothing is done, unless the request would do just what was planned."),
});

const range = z.object({ from: z.number().int(), to: z.number().int() }).openapi('Range');
const money = z.number().nullable();

/** Ours. */
export const plan = z
  .object({
    deployment_id: id.nullable().describe('Null: of a deployment that is not there yet.'),
    revision: z.number().int().nullable().describe('Which it would be; null: there is nothing to run yet.'),
    changes: z
      .array(
        z
          .object({
            resource: z.string(),
            kind: z.string(),
            action: z
              .enum(['create', 'change', 'replace', 'restart', 'remove', 'keep', 'wait'])
              .describe(
                '`replace`: by another version; `restart`: a change that restarts what runs; `keep`: not wanted any more, ' +
                  'and not removed; `wait`: AWS is at work on it already.',
              ),
            fields: z.array(z.object({ field: z.string(), from: z.unknown(), to: z.unknown() })),
            means: z.string().nullable().describe('For those who use it.'),
            after: z.array(z.string()).describe('The resources that come first.'),
            seconds: range,
            writes: z.number().int(),
          })
          .openapi('PlannedChange'),
      )
      .describe('In the order in which they are done.'),
    unchanged: z.array(z.string()),
    replaced: z.array(z.string()),
    restarted: z.array(z.string()),
    seconds: range.describe('Until all that is wanted is ready; what is removed goes after that.'),
    aws_calls: z.object({ writes: z.number().int(), reads: range }),
    price: z
      .object({
        before: money,
        after: money.describe('A month, with as many servers as `min_scale`.'),
        after_at_most: money.describe('With as many as `max_scale`.'),
        difference: money,
        currency: z.string(),
        as_of: z.string(),
        estimate: z.literal(true),
        region: z.string(),
        not_included: z.array(z.string()),
        message: z.string().nullable().describe('Why there is no price.'),
      })
      .describe("By AWS's public list prices."),
    obstacles: z
      .array(
        z.object({
          what: z.enum(['resource', 'permission', 'limit', 'revision']),
          resource: z.string().nullable(),
          message: z.string(),
        }),
      )
      .describe('What would stop it, or some of it, as far as can be seen.'),
    hash: z.string().describe('Of what is asked, what was found, and what would be done.'),
    text: z.string().describe('The same, to be read in a terminal.'),
  })
  .openapi('Plan');

const nullable = z.null();

export const deploymentStatus = z.enum([
  'AWAITING_DATABASE',
  'READY',
  'UNUSED',
  'AWAITING_DELETE',
  'AWAITING_FINAL_DELETE',
  'UNKNOWN',
]);
export const REVISION_STATUSES = [
  'CREATING',
  'QUEUED',
  'AWAITING_BUILD',
  'BUILDING',
  'AWAITING_DEPLOY',
  'DEPLOYING',
  'DEPLOYED',
  'CREATE_FAILED',
  'BUILD_FAILED',
  'DEPLOY_FAILED',
  'SKIPPED',
  'INTERRUPTED',
  'UNKNOWN',
] as const;

const alarm = z
  .object({
    name: z.string().describe('`DATABASE_LOST` or `SECRET_VALUES_LOST`.'),
    resource: z.string(),
    since: instant,
    what_to_do: z.string(),
  })
  .describe('Ours: what cannot be made again was deleted by somebody else, and nothing empty is made in its place.')
  .openapi('Alarm');

export const drift = z
  .object({
    id: z.number().int(),
    resource: z.string().describe("As in the deployment's timeline."),
    field: z.string().describe('`exists`: the whole resource.'),
    from: z.unknown().describe('As asked.'),
    to: z.unknown().describe('As found.'),
    detected_at: instant,
    policy: z.string().describe('What was done about it.'),
    resolved_at: instant.nullable(),
    resolution: z.enum(['repaired', 'reverted', 'ignored']).nullable(),
    changed_by: z
      .object({ id: z.string(), name: z.string(), call: z.string(), at: instant })
      .nullable()
      .describe("Who did it, and when, as the account's CloudTrail tells it: some minutes after."),
  })
  .openapi('Drift');

export const deployment = z
  .object({
    id,
    tenant_id: id,
    name: z.string(),
    display_name: z.string().nullable(),
    source: z.string(),
    source_config: z.object({ ...sourceConfigFields, repo_branch: text }).openapi('SourceConfig'),
    source_revision_config: sourceRevisionConfig,
    secrets: nullable.describe('Values are never kept, so never answered: see secret_names.'),
    secret_names: z.array(z.string()).describe('Ours.'),
    secret_references: z.array(secretReference),
    task_role_arn: z.string().nullable().describe("Ours: of the agent in AWS; null: the place's own."),
    created_at: instant,
    updated_at: instant,
    status: deploymentStatus,
    status_message: z.string().nullable().describe('Ours: one sentence with the cause.'),
    latest_revision_id: id.nullable(),
    active_revision_id: id.nullable(),
    database_ca: z.string().nullable().describe('Ours: as given when it was made.'),
    database_tier: z.string().nullable().describe('Ours: null for the size that goes with the type.'),
    drift_policy: driftPolicy,
    alarm: alarm.nullable(),
    image_version: nullable,
    url: z.string().nullable(),
    deleted_at: instant.nullable().describe('Ours.'),
    final_delete_at: instant.nullable().describe('Ours: until then an undelete brings it back, if it is later.'),
    task_size: taskSize.nullable(),
    shareable: z.boolean(),
    route_through_gateway: z.boolean(),
    is_managed_deep_agent: z.boolean(),
    is_preview: z.boolean(),
    tracer_session_id: nullable,
    agent: nullable,
  })
  .openapi('Deployment');

/** Of a change: the deployment, or with `dry_run` what would be done. */
export const deploymentOrPlan = z.union([deployment, plan]);

export const revision = z
  .object({
    id,
    number: z.number().int().describe("Ours: counts a deployment's revisions from 1."),
    created_at: instant,
    updated_at: instant,
    status: z.enum(REVISION_STATUSES),
    status_message: z.string().nullable(),
    source: z.string(),
    source_revision_config: sourceRevisionConfig,
    image: z.string().nullable().describe('Ours: the image by digest; null while it is to be built.'),
    resource_spec: resourceSpec.describe('Ours.'),
    task_size: taskSize.nullable(),
    secret_names: z.array(z.string()).describe('Ours.'),
    secret_references: z.array(secretReference).describe('Ours.'),
    task_role_arn: z.string().nullable().describe('Ours.'),
    plan: z.string().nullable().describe('Ours: the hash of the plan that it was accepted with.'),
  })
  .openapi('Revision');

/** One JSON object, as the customer's stack prints it. */
export const placeOutputs = z
  .object({
    version: z.literal(1),
    accountId: z.string().regex(/^\d{12}$/, 'not twelve digits'),
    region: z.string().regex(/^[a-z]{2,}(-[a-z]+)+-\d{1,2}$/, 'not an AWS region'),
    partition: z.string().regex(/^aws(-[a-z]+)*$/, 'not an AWS partition'),
    prefix: z
      .string()
      .regex(
        /^(?!internal$)(?!.*-(task|execution)(-|$))[a-z](?!.*--)([a-z0-9-]{0,10}[a-z0-9])?$|^langgraph-cloud$/,
        'at most 12 lower-case letters, digits and single hyphens; a letter first, no hyphen last, not "internal", ' +
          'no "-task" or "-execution"',
      ),
    roleArn: z.string().startsWith('arn:'),
    vpcId: z.string(),
    privateSubnetIds: z.array(z.string()).min(1),
    publicSubnetIds: z.array(z.string()),
    clusterArn: z.string().startsWith('arn:'),
    executionRoleArn: z.string().startsWith('arn:'),
    taskRoleArn: z.string().startsWith('arn:'),
    loadBalancerArn: z.string().startsWith('arn:'),
    loadBalancerDnsName: z.string().min(1),
    listenerArn: z.string().startsWith('arn:'),
    loadBalancerSecurityGroupId: z.string(),
    scheme: z.enum(['http', 'https']),
    domain: z.string().optional(),
    namespaceId: z.string(),
    namespaceName: z.string(),
    databaseSubnetGroup: z.string(),
    logGroupRoot: z.string().startsWith('/'),
    uploadBucket: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/, "not a bucket's name")
      .optional(),
    isPublic: z.literal(true).optional(),
    executionRoles: z.number().int().min(0).max(200).optional(),
    deletionGate: z.literal(true).optional(),
    brakeParameter: z
      .string()
      .regex(/^\/[a-zA-Z0-9_.\-/]{1,1010}$/, "not a parameter's name with a / first")
      .optional(),
    auditLogGroup: z
      .string()
      .regex(/^[\w./#-]{1,512}$/, "not a log group's name")
      .optional(),
    moreBalancers: z
      .array(
        z.object({
          loadBalancerArn: z.string().startsWith('arn:'),
          loadBalancerDnsName: z.string().min(1),
          listenerArn: z.string().startsWith('arn:'),
          domain: z.string().optional(),
        }),
      )
      .max(9)
      .optional(),
    original: z.literal(true).optional().describe('Found by `original`, not printed by a stack.'),
    serviceSecurityGroupId: z.string().optional().describe('With `original`: of all that runs there.'),
  })
  .refine(
    ({ prefix, original }) => (prefix === 'langgraph-cloud') === (original === true),
    'the prefix "langgraph-cloud" and original go together',
  )
  .openapi('PlaceOutputs');

export const originalPlace = z
  .object({
    account_id: z.string().regex(/^\d{12}$/, 'not twelve digits'),
    region: z.string().regex(/^[a-z]{2,}(-[a-z]+)+-\d{1,2}$/, 'not an AWS region'),
    role_arn: z
      .string()
      .regex(/^arn:aws[a-z-]*:iam::\d{12}:role\/.+$/, "not a role's ARN")
      .nullish()
      .describe('`LangGraphCloudBYOCRole` of that account, unless it was given another name.'),
    public: z
      .boolean()
      .nullish()
      .describe(
        'Whether the load balancer is in the public subnets and can be reached from the internet; else internal.',
      ),
    certificate_arn: z
      .string()
      .startsWith('arn:')
      .nullish()
      .describe('For HTTPS, with `domain`: of `*.<domain>`, in ACM.'),
    domain: z.string().min(1).max(190).nullish().describe('Deployments are told apart by host names in it.'),
  })
  .refine(
    ({ certificate_arn, domain }) => Boolean(certificate_arn) === Boolean(domain),
    'certificate_arn and domain go together: give both or none',
  )
  .openapi('OriginalPlace');

const limit = z
  .object({
    name: z.string().describe("Service Quotas' own, such as `DB instances`."),
    code: z.string().describe('As there, such as `L-7B6409FD`.'),
    service: z.string(),
    load_balancer: z
      .string()
      .nullable()
      .describe('The ARN of the one that has it for itself; else the account has it.'),
    used: z.number(),
    limit: z.number(),
    adjustable: z.boolean().describe('Whether AWS gives more when it is asked.'),
    known: z.boolean().describe("Whether AWS said so; else it is AWS's default."),
    message: z.string().nullable().describe('From four fifths on: what to do.'),
    link: z.string().describe("The console's page of it."),
  })
  .openapi('Limit');

const check = z.object({ name: z.string(), ok: z.boolean(), message: z.string().nullable() }).openapi('Check');

const brake = z
  .object({
    mode: z.enum(MODES).describe('`read-only`: nothing is changed; `stopped`: nothing is looked at, either.'),
    since: instant.nullable(),
    by: z.string().nullable().describe('ARN of who set it so; null: not known, or not asked, since nothing is held.'),
    message: z.string().nullable().describe('Why it cannot be read, or understood: then it holds.'),
    parameter: z.string().describe("The SSM parameter's name, in the customer's account."),
    waiting: z.number().int().describe('Deployments of which something waits for it.'),
  })
  .openapi('Brake');

export const listener = z
  .object({
    id,
    created_at: instant,
    updated_at: instant,
    compute_type: z.literal('ecs'),
    compute_id: z.string(),
    compute_config: z.object({
      k8s_namespaces: z.array(z.string()).nullable(),
      place: placeOutputs.nullable().describe("Ours: what the customer's stack printed."),
    }),
    version: z.string().nullable(),
    place: z
      .object({
        external_id: z.string().describe("Ours, at random, for this place alone: the customer's stack is given it."),
        principal_arn: z.string().nullable().describe("Who assumes the customer's role: the stack is given it."),
        state: z.enum(['unregistered', 'unverified', 'verified']),
        message: z.string().nullable(),
        checks: z.array(check),
        verified_at: instant.nullable(),
        limits: z.array(limit).describe("AWS's limits there, and what is used of them."),
        limits_unread: z.array(z.string()).describe('What could not be read, and why.'),
        limits_at: instant.nullable().describe('When they were read.'),
        suspended: z
          .string()
          .nullable()
          .describe('Why nobody enters it: its role lets in whom it must not. Mend that, and verify the listener.'),
        unreachable: z.string().nullable().describe('Why it cannot be entered. It is tried again by itself.'),
        brake: brake.nullable().describe("Of a listener that is read by its id: what the customer's brake says."),
      })
      .describe('Ours.')
      .openapi('Place'),
  })
  .openapi('Listener');

const namespaces = z.array(z.string()).nullish().describe('Means nothing on ECS: taken, and ignored.');

export const listenerCreate = z
  .object({
    compute_type: z
      .enum(['ecs', 'k8s'])
      .describe('Immutable. Only `ecs` is offered: `k8s` is refused with a sentence.'),
    compute_id: z.string().min(1).max(255).describe('Immutable, and unique in the workspace: a name for the place.'),
    compute_config: z.object({
      k8s_namespaces: namespaces,
      place: z.unknown().optional().describe('Ours. It comes later, by PATCH.'),
    }),
    version: text,
  })
  .openapi('ListenerCreateRequest', {
    example: { compute_type: 'ecs', compute_id: 'production', compute_config: {} },
  });

export const listenerPatch = z
  .object({
    compute_type: text.describe('Immutable: anything but the present one is refused.'),
    compute_id: text.describe('Immutable: anything but the present one is refused.'),
    version: text,
    compute_config: z
      .object({
        k8s_namespaces: namespaces,
        place: placeOutputs.nullish().describe("Ours: the output `Place` of the customer's stack."),
        original: originalPlace
          .nullish()
          .describe('Ours, instead of `place`: a place that the Terraform module `langgraph_cloud_setup` made.'),
      })
      .nullish(),
  })
  .openapi('ListenerPatchRequest');

export const uploadRequest = z.object({ supports_upload_headers: z.boolean().nullish() }).openapi('UploadUrlRequest');

export const upload = z
  .object({
    upload_url: z.url().describe("Takes one PUT within ten minutes, in the customer's own account. Needs no key."),
    object_path: z.string().describe('Give it as source_revision_config.source_tarball_path.'),
    upload_headers: z
      .record(z.string(), z.string())
      .optional()
      .describe('To be sent with the PUT; only for a client that says that it does.'),
  })
  .openapi('UploadUrl');

export const pushTokenRequest = z
  .object({ supports_registry_username: z.boolean().nullish() })
  .openapi('PushTokenRequest');

export const pushToken = z
  .object({
    token: z.string().describe('The password of docker login, for this repository alone.'),
    username: z.string().describe('Of docker login; ECR takes no other.'),
    registry_url: z.string().describe("The registry's host name."),
    repository_url: z.string().describe("The deployment's own repository, without a tag."),
  })
  .openapi('PushToken');

const where = z
  .object({ listener_id: id, compute_id: z.string(), account_id: z.string(), region: z.string() })
  .nullable()
  .openapi('Where');

const search = z
  .object({
    at: instant,
    calls: z.array(z.string()).describe('Each kind of call that was made, and how often.'),
    found: z.number().int().describe("What AWS's search by tag named, with what is kept and what had gone already."),
    left: z.array(z.string()).describe('What should not be there. Empty: nothing is.'),
  })
  .nullable()
  .openapi('Search');

const kept = {
  kept: z
    .array(
      z
        .object({
          what: z.string(),
          arn: z.string(),
          until: instant.nullable().describe('When AWS removes it by itself; null: not before somebody does.'),
          size_gb: z.number().nullable(),
          monthly_usd: z.number().nullable().describe('About, at most; null: not known.'),
          remove: z.string().nullable().describe('A command that does; null: there is no need.'),
        })
        .openapi('Kept'),
    )
    .describe('What stays in the account on purpose.'),
  monthly_usd: z.number().nullable().describe('Of all that is kept, as far as it is known.'),
};

export const receipt = z
  .object({
    deployment_id: id,
    name: z.string(),
    place: where,
    made: z
      .array(
        z
          .object({
            id: z.string(),
            kind: z.string(),
            name: z.string().nullable(),
            arn: z.string().nullable(),
            gone_at: instant.nullable().describe('Null: it has not, or it was not seen to go.'),
          })
          .openapi('Made'),
      )
      .describe('What there was in the account when the removal began, in the order in which it came to be.'),
    ...kept,
    notes: z.array(z.string()).describe('What else to know, a sentence each.'),
    search: search.describe(
      'The last search of the account; null while the removal goes on, or after a forced delete.',
    ),
    began_at: instant,
    gone_at: instant.nullable().describe('Null while it is being removed.'),
  })
  .openapi('Receipt');

export const offboardRequest = z
  .object({
    confirm: z.string().describe("The listener's compute_id, typed: everything in it goes."),
    skip_retention: z
      .boolean()
      .describe(
        '`true`: no delete can be undone. `false`: each can for as long as deletes can, and all waits for that.',
      ),
  })
  .openapi('OffboardRequest', { example: { confirm: 'production', skip_retention: false } });

export const offboarding = z
  .object({
    listener_id: id,
    compute_id: z.string(),
    place: where,
    state: z
      .enum(['REMOVING', 'SEARCHING', 'LEFT_OVER', 'CLEAN', 'CALLED_OFF'])
      .describe(
        'LEFT_OVER: the search found something, or could not be made; it is made again by itself. CLEAN: it found ' +
          'nothing but what is kept on purpose.',
      ),
    skip_retention: z.boolean(),
    deployments: z.array(z.object({ deployment_id: id, name: z.string() })).describe('Each has a receipt of its own.'),
    gone: z.number().int().describe('How many of these have.'),
    waiting: z
      .array(
        z
          .object({
            deployment_id: id,
            name: z.string(),
            status: deploymentStatus,
            status_message: z.string().nullable(),
            final_delete_at: instant.nullable(),
            is_stuck: z.boolean().describe('It waits for nothing that passes by itself: status_message says why.'),
          })
          .openapi('Waiting'),
      )
      .describe('What has not gone yet, a hundred at most.'),
    search,
    failed: z.string().nullable().describe('Why the account could not be searched.'),
    ...kept,
    notes: z.array(z.string()),
    next: z.array(z.string()).describe('What is for the customer to do, in this order.'),
    began_at: instant,
    clean_at: instant.nullable(),
    ended_at: instant.nullable().describe('When it was called off, or the place was registered anew or deleted.'),
  })
  .openapi('Offboarding');

export const timeline = z
  .object({
    deployment_id: id,
    resources: z.array(
      z
        .object({
          id: z.string(),
          kind: z.string(),
          name: z.string().nullable(),
          arn: z.string().nullable(),
          state: z.enum(['ready', 'waiting', 'retrying', 'failed']),
          since: instant,
          message: z.string().nullable(),
          needs: z.array(z.string()),
          tries: z.number().int(),
        })
        .openapi('Resource'),
    ),
    events: z.array(
      z
        .object({
          id: z.number().int(),
          at: instant,
          revision_id: id.nullable(),
          resource: z.string().nullable(),
          message: z.string(),
        })
        .openapi('Event'),
    ),
    next_after: z.number().int().describe('Pass as `after` for the events that follow.'),
  })
  .openapi('Timeline');
