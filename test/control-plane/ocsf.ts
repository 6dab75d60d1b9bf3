/**
 * What OCSF 1.8.0 asks of an API Activity event (6003, profile cloud), as far as ours has it.
 *
 * Attributes, types, and which must be there; by github.com/ocsf/ocsf-schema. What is not here is found.
 */
type Type = 'integer' | 'long' | 'string' | 'timestamp' | 'ip' | 'any' | readonly [Attributes] | Attributes;
interface Attributes {
  /** Those that must be there. */
  readonly required?: readonly string[];
  /** Of these at least one. */
  readonly oneOf?: readonly string[];
  readonly has: Readonly<Record<string, Type>>;
}

const service: Attributes = { oneOf: ['name', 'uid'], has: { name: 'string', uid: 'string', version: 'string' } };
const account: Attributes = {
  oneOf: ['name', 'uid'],
  has: { name: 'string', uid: 'string', type_id: 'integer', type: 'string' },
};
const user: Attributes = {
  oneOf: ['account', 'name', 'uid'],
  has: { name: 'string', uid: 'string', type_id: 'integer', type: 'string', account },
};
const policy: Attributes = { oneOf: ['name', 'type', 'uid'], has: { name: 'string', uid: 'string', type: 'string' } };
const session: Attributes = { has: { uid: 'string', issuer: 'string', uid_alt: 'string', created_time: 'timestamp' } };

const EVENT: Attributes = {
  required: [
    'activity_id',
    'actor',
    'api',
    'category_uid',
    'class_uid',
    'cloud',
    'metadata',
    'severity_id',
    'src_endpoint',
    'time',
    'type_uid',
  ],
  has: {
    activity_id: 'integer',
    category_uid: 'integer',
    class_uid: 'integer',
    type_uid: 'long',
    severity_id: 'integer',
    status_id: 'integer',
    status: 'string',
    status_code: 'string',
    time: 'timestamp',
    unmapped: 'any',
    metadata: {
      required: ['product', 'version'],
      has: {
        version: 'string',
        uid: 'string',
        tenant_uid: 'string',
        log_name: 'string',
        correlation_uid: 'string',
        profiles: 'any',
        product: {
          oneOf: ['name', 'uid'],
          has: { name: 'string', uid: 'string', vendor_name: 'string', version: 'string' },
        },
      },
    },
    actor: {
      oneOf: ['process', 'user', 'iam_role', 'invoked_by', 'session', 'app_name', 'app_uid'],
      has: {
        user,
        session,
        app_name: 'string',
        authorizations: [{ has: { decision: 'string', policy } }],
      },
    },
    api: {
      required: ['operation'],
      has: {
        operation: 'string',
        service,
        request: { required: ['uid'], has: { uid: 'string' } },
        response: { has: { code: 'integer', error: 'string', message: 'string' } },
      },
    },
    cloud: { required: ['provider'], has: { provider: 'string', region: 'string', account } },
    src_endpoint: { oneOf: ['ip', 'uid', 'name', 'hostname', 'svc_name'], has: { ip: 'ip', name: 'string' } },
    http_request: {
      has: { http_method: 'string', url: { oneOf: ['url_string', 'path'], has: { path: 'string' } } },
    },
    resources: [{ oneOf: ['name', 'uid'], has: { name: 'string', uid: 'string', type: 'string' } }],
  },
};

const IS: Record<string, (value: unknown) => boolean> = {
  any: () => true,
  integer: Number.isInteger,
  long: Number.isSafeInteger,
  string: (value) => typeof value === 'string' && value !== '',
  timestamp: (value) => Number.isInteger(value) && (value as number) > 1_600_000_000_000,
  ip: (value) => typeof value === 'string' && /^[0-9a-fA-F.:]+$/.test(value),
};

/** What is wrong with an event, a sentence each. */
export function wrongIn(event: Record<string, unknown>): string[] {
  const wrong = attributes(event, EVENT, 'event');
  const { activity_id: activity, category_uid: category, class_uid: kind, type_uid: type, status_id: status } = event;
  if (category !== 6 || kind !== 6003 || type !== 600_300 + (activity as number)) wrong.push('it is of another class');
  if (![0, 1, 2, 3, 4, 99].includes(activity as number)) wrong.push(`activity_id ${String(activity)}`);
  if (![0, 1, 2, 99].includes(status as number)) wrong.push(`status_id ${String(status)}`);
  return wrong;
}

function attributes(value: unknown, { required = [], oneOf, has }: Attributes, at: string): string[] {
  if (typeof value !== 'object' || value === null) return [`${at} is no object`];
  const names = Object.keys(value);
  const wrong = required.filter((name) => !names.includes(name)).map((name) => `${at}.${name} is missing`);
  if (oneOf && !oneOf.some((name) => names.includes(name))) wrong.push(`${at} has none of ${oneOf.join(', ')}`);
  for (const [name, one] of Object.entries(value)) {
    const type = has[name];
    if (type === undefined) wrong.push(`${at}.${name} is not known`);
    else wrong.push(...typed(one, type, `${at}.${name}`));
  }
  return wrong;
}

function typed(value: unknown, type: Type, at: string): string[] {
  if (typeof type === 'string') return IS[type]!(value) ? [] : [`${at} is no ${type}: ${JSON.stringify(value)}`];
  if (!('has' in type)) {
    if (!Array.isArray(value)) return [`${at} is no list`];
    return value.flatMap((each, index) => attributes(each, type[0], `${at}[${index}]`));
  }
  return attributes(value, type, at);
}
