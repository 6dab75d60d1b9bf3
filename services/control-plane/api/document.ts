/** The OpenAPI document: what the routes say of themselves, and what is true of all of them. */
import { roleFor } from './auth.ts';
import type { App } from './context.ts';
import { HEADERS, PROBLEMS } from './problems.ts';
import { errorBody, validationErrorBody } from './schemas.ts';

type Document = ReturnType<App['getOpenAPI31Document']>;
type Operation = NonNullable<NonNullable<Document['paths']>[string]['get']>;

const INFO = {
  openapi: '3.1.0',
  info: {
    title: 'Freehold control plane',
    version: '0.1.0',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    description: [
      "LangGraph Servers in the customer's own AWS account. Compatible with LangSmith Deployment's API v2: what is ours",
      'besides is marked so.',
      '',
      'Every path is there under `/api-host`, too, and with a slash at its end. Nothing redirects. Any request may name',
      'itself in `X-Request-Id`; every answer does. What to do about each failure is said with its response. The role',
      'that an operation takes is its `x-required-role`: `viewer`, `deployer` or `admin`, each of which may do what',
      'the one before may.',
    ].join('\n'),
  },
  security: [
    { 'X-Api-Key': [] },
    { 'X-Api-Key': [], 'X-Tenant-Id': [] },
    { Bearer: [] },
    { Bearer: [], 'X-Tenant-Id': [] },
  ] as Record<string, string[]>[],
  servers: [{ url: '/' }],
  tags: [
    { name: 'deployments', description: 'A LangGraph Server under a name, with its database.' },
    { name: 'revisions', description: 'What a deployment runs: immutable, newest first.' },
    { name: 'rolls', description: 'Ours: one change for many deployments, in rings.' },
    {
      name: 'receipts',
      description: 'Ours: what was made, what is gone, and what is kept on purpose, with its price.',
    },
    { name: 'logs', description: "Read from the customer's CloudWatch Logs when they are asked for." },
    { name: 'listeners', description: "Places: where in a customer's account deployments are made." },
    { name: 'integrations', description: 'Code hosts to build from: none can be configured yet.' },
    { name: 'tenants', description: 'Ours: workspaces, the keys to them, and what members may do with their tokens.' },
    { name: 'audit', description: 'Ours: what was done, by whom, in lines that nobody can change unseen.' },
    { name: 'auth', description: 'Where servers ask who calls them.' },
    { name: 'health' },
  ],
};

const SECURITY = {
  'X-Api-Key': { type: 'apiKey', in: 'header', name: 'X-Api-Key' },
  'X-Tenant-Id': {
    type: 'apiKey',
    in: 'header',
    name: 'X-Tenant-Id',
    description: "The workspace's id. A key of one workspace needs none.",
  },
  Bearer: { type: 'http', scheme: 'bearer', description: 'A token of the OpenID Connect provider that is configured.' },
} as const;

export function documentOf(app: App): Document {
  app.openAPIRegistry.register('Error', errorBody);
  app.openAPIRegistry.register('HTTPValidationError', validationErrorBody);
  const document = app.getOpenAPI31Document(INFO);
  document.components = {
    ...document.components,
    securitySchemes: SECURITY,
    headers: HEADERS as never,
    responses: Object.fromEntries(Object.entries(PROBLEMS).map(([status, one]) => [one.name, response(status, one)])),
  };
  for (const [path, item] of Object.entries(document.paths ?? {}))
    for (const method of ['get', 'post', 'put', 'patch', 'delete'] as const)
      if (item[method]) complete(item[method], method, path);
  return nullable(document) as Document;
}

/**
 * The generator writes a nullable reference as `allOf: [{$ref}, {type: ['object', 'null']}]`, which null does not
 * satisfy. This is what pydantic writes.
 */
function nullable(part: unknown): unknown {
  if (Array.isArray(part)) return part.map(nullable);
  if (typeof part !== 'object' || part === null) return part;
  const all = Object.fromEntries(Object.entries(part).map(([name, inner]) => [name, nullable(inner)]));
  const [reference, second, third] = (Array.isArray(all['allOf']) ? all['allOf'] : []) as Record<string, unknown>[];
  const types = second?.['type'];
  if (!reference?.['$ref'] || third !== undefined || !Array.isArray(types) || !types.includes('null')) return all;
  const { allOf: _, ...rest } = all;
  const { type: __, ...more } = second!;
  return { ...rest, ...more, anyOf: [reference, { type: 'null' }] };
}

const header = (name: string) => [name, { $ref: `#/components/headers/${name}` }] as const;

const response = (status: string, { happened, next, headers = [] }: (typeof PROBLEMS)[number]) => ({
  description: `${happened} ${next}`,
  headers: Object.fromEntries(['X-Request-Id', ...headers].map(header)),
  content: {
    'application/json': {
      schema: { $ref: `#/components/schemas/${status === '422' ? 'HTTPValidationError' : 'Error'}` },
    },
  },
});

/** What comes before the route itself may answer instead of it. */
function complete(operation: Operation, method: string, path: string): void {
  operation.operationId ??= `${path.replace(/\W+/g, '_').replace(/^_|_$/g, '')}_${method}`;
  const secured = operation.security?.length !== 0;
  if (secured) operation['x-required-role'] = roleFor(method, path);
  const may = [
    ...(secured ? [401, 403, 422, 429] : []), // 422: an X-Tenant-Id that is none
    ...(operation.requestBody ? [413, 422] : []),
    ...(operation.parameters?.length ? [422] : []),
    500,
    503,
  ];
  for (const given of Object.values(operation.responses ?? {}))
    if (!('$ref' in given)) given.headers = { ...given.headers, ...Object.fromEntries([header('X-Request-Id')]) };
  operation.responses = {
    ...Object.fromEntries(may.map((status) => [status, { $ref: `#/components/responses/${PROBLEMS[status]!.name}` }])),
    ...operation.responses,
  };
}
