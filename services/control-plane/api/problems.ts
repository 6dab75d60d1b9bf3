/**
 * Every way in which a request can fail: what happened, and what the caller does next. The OpenAPI document's responses
 * and docs/problems.md are both made of this.
 */

export interface Problem {
  /** Of the response among the document's components. */
  readonly name: string;
  readonly happened: string;
  readonly next: string;
  /** Sentences that clients match, or that people will search for; `{…}` stands for what differs. */
  readonly sentences?: readonly string[];
  readonly headers?: readonly HeaderName[];
}

export const HEADERS = {
  'X-Request-Id': {
    description: "The request's id, as in the log: the one that was sent with it, or one at random.",
    schema: { type: 'string', pattern: '^[A-Za-z0-9_.-]{1,128}$' },
  },
  'Retry-After': { description: 'Seconds to wait before the next try.', schema: { type: 'integer', minimum: 1 } },
  'X-Should-Retry': {
    description: '`false`: the same request would be refused again. Heeded by the Terraform provider.',
    schema: { type: 'string', enum: ['false'] },
  },
  'WWW-Authenticate': {
    description: '`Bearer`: besides `X-Api-Key`, which has no name as a scheme, a bearer token is taken.',
    schema: { type: 'string' },
  },
  Allow: { description: 'The methods that the path has.', schema: { type: 'string' } },
} as const;
export type HeaderName = keyof typeof HEADERS;

export const PROBLEMS: Readonly<Record<number, Problem>> = {
  400: {
    name: 'BadRequest',
    happened: 'The request is well-formed and cannot be carried out as things are; nothing was changed.',
    next: 'Read the sentence, and change the request or what it names.',
    sentences: [
      'Scale to zero deployments are not supported in AWS environments',
      "'source_config.listener_id' is required: this workspace has several listeners.",
      'No listener is registered in this workspace: create and register one first.',
      "Push tokens are only available for 'internal_docker' source deployments, and this one's source is '{source}'.",
    ],
  },
  401: {
    name: 'Unauthorized',
    happened: 'No credentials, or ones that are unknown, revoked or expired.',
    next: 'Send a valid key as `X-Api-Key`, or a token that is still good as `Authorization: Bearer`.',
    sentences: [
      'X-Api-Key or Authorization: Bearer header is required',
      'Invalid API key',
      'This API key was revoked',
      'This API key has expired',
      'Invalid bearer token: {why}',
    ],
    headers: ['WWW-Authenticate'],
  },
  403: {
    name: 'Forbidden',
    happened: 'The credentials are valid, but not for this workspace, or not for this.',
    next: 'Name a workspace of theirs in `X-Tenant-Id`, or ask for a role that may do this.',
    sentences: [
      "The {API key} does not belong to workspace ID '{workspace_id}'.",
      "The bearer token is good, but its subject '{sub}' was given no role: …",
      '… requires workspace specification: set the header X-Tenant-Id …',
      'The role "{role}" may not do this: it takes the role "{role}".',
    ],
  },
  404: {
    name: 'NotFound',
    happened:
      'It is not there, has gone, or is in another workspace. Of a revision the sentence is that of its deployment. An ' +
      'unknown path: `Not Found`.',
    next: 'Look the id up in the list. After a delete, this is the end that was waited for.',
    sentences: [
      'Deployment ID {deployment_id} not found.',
      'Listener ID {listener_id} not found.',
      'Integration ID {integration_id} not found.',
      'Not Found',
    ],
  },
  405: {
    name: 'MethodNotAllowed',
    happened: 'The path is known, the method is not one of its own.',
    next: 'Use one that `Allow` names.',
    sentences: ['Method Not Allowed'],
    headers: ['Allow'],
  },
  409: {
    name: 'Conflict',
    happened:
      'In conflict with what is there: a name that is taken, a deployment that is being deleted, a place whose customer leaves, ' +
      'a plan that does not hold any more, a limit of the AWS account that is reached, the brake of the customer of that account, a roll in another state or with a ' +
      'deployment that is in another one.',
    next:
      'Do not send the same again (`X-Should-Retry: false`): use another name, or wait for the end of the delete, or undo it ' +
      'while that can be done; read the plan as it is now, which the sentence has, and decide anew; make room as the ' +
      'sentence says; wait until the customer has released the brake; wait for the other roll, or cancel it.',
    sentences: [
      'A deployment named "{name}" already exists in this workspace.',
      'Deployment ID {deployment_id} is being deleted.',
      'Deployment ID {deployment_id} is deleted: until {time} POST /v2/deployments/{deployment_id}/undelete brings it back; …',
      'Deployment ID {deployment_id} cannot be undeleted: that could be done until {time}; …',
      'Deployment ID {deployment_id} is being deleted and cannot be undeleted; …',
      'There is no room for Deployment ID {deployment_id} any more: …',
      'Listener ID {listener_id} is being offboarded: …',
      'held by the customer: {mode} since {time} by {arn}: …',
      'The plan does not hold: …',
      "Listener for LangSmith workspace ID '{workspace_id}' and compute ID '{compute_id}' already exists.",
    ],
    headers: ['X-Should-Retry'],
  },
  413: {
    name: 'ContentTooLarge',
    happened: 'The body is larger than a request may be.',
    next: 'Send less: archives go to the address that `upload-url` answers, not here.',
  },
  422: {
    name: 'UnprocessableContent',
    happened:
      'The request is not well-formed. `detail` is a list: `loc` is where (`body`, `query`, `path` or `header` first), `msg` why.',
    next: 'Mend what `loc` names. For a program this is a defect of its own: trying again does not help.',
    sentences: ['Field required', 'JSON decode error'],
  },
  429: {
    name: 'TooManyRequests',
    happened: 'More requests in a short time than one caller may send.',
    next: 'Wait for as long as `Retry-After` says, then send it again.',
    headers: ['Retry-After'],
  },
  500: {
    name: 'InternalError',
    happened: 'A defect of ours. The log has more under the same request id.',
    next: 'A GET may be sent again. Report it with its `request_id`.',
    sentences: ['internal error'],
  },
  502: {
    name: 'BadGateway',
    happened: "The customer's account could not be entered, or does not allow it: the sentence has the cause.",
    next: 'Mend the cause in that account, `POST /v2/listeners/{listener_id}/verify`, then send it again: nothing was kept.',
  },
  503: {
    name: 'ServiceUnavailable',
    happened:
      "The control plane's store does not answer, or of a bearer token: its provider; or AWS asks us to slow down in the " +
      "customer's account. Deployments go on serving.",
    next: 'Wait for as long as `Retry-After` says, then send it again.',
    sentences: ['The store does not answer: try again'],
    headers: ['Retry-After'],
  },
};

/** docs/problems.md. */
export function problemsPage(): string {
  const all = Object.entries(PROBLEMS);
  const rows = all.map(([status, { happened, next }]) => [status, happened, next]);
  const sentences = all.flatMap(([status, { sentences = [] }]) =>
    sentences.map((sentence) => [status, `\`${sentence}\``]),
  );
  return [
    '# When a request fails',
    '',
    'Made by `npm run openapi` from `services/control-plane/api/problems.ts`; the OpenAPI document says the same.',
    '',
    'The body is `{"detail": "<sentence>"}`, of a 422 `{"detail": [{"loc": ["body", "name"], "msg": "…", "type": "…"}]}`',
    "with pydantic's names in `type`. A 500 has `request_id`, too; every answer has it as `X-Request-Id`.",
    '',
    ...table(['Status', 'What happened', 'What the caller does next'], rows),
    '',
    'What is no HTTP request, has too large a head, or does not come in time is answered before it is one: 400, 431 or 408',
    'without an id.',
    '',
    'A 207 of a bulk delete is half a success: its `failed` has a sentence for each deployment that stays. Ask again for those.',
    '',
    '## Sentences that clients may match',
    '',
    'They stay as they are; `{…}` is what differs. Other sentences may change.',
    '',
    ...table(['Status', 'Sentence'], sentences),
    '',
  ].join('\n');
}

/** As prettier has it. */
function table(head: string[], rows: string[][]): string[] {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i]!.length)));
  const line = (row: string[]): string => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)];
}
