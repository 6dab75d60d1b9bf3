/** Holds what the API answers against its OpenAPI document: so every test of the API is one of its contract, too. */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import assert from 'node:assert/strict';
import { openapi } from '../../services/control-plane/openapi.ts';
import type { Json } from './open.ts';

/** No field may be answered that the document does not have. */
function closed(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const parts = Object.fromEntries(Object.entries(schema).map(([name, part]) => [name, closed(part)]));
  const isObject = schema.type === 'object' && typeof schema.properties === 'object';
  return isObject && !('additionalProperties' in schema) ? { ...parts, additionalProperties: false } : parts;
}

const document: Json = closed(JSON.parse(openapi()));
const ajv = new Ajv2020({ strict: false, allErrors: true });
formats.default(ajv);
ajv.addSchema(document, 'openapi');
const compiled = new Map<string, ValidateFunction>();

const templates = Object.keys(document.paths)
  .map((template) => ({ template, matches: new RegExp(`^${template.replaceAll(/\{.+?\}/g, '[^/]+')}/?$`) }))
  .toSorted((a, b) => a.template.split('{').length - b.template.split('{').length);

const pointer = (...parts: string[]): string =>
  parts.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

function at(where: string): Json {
  const parts = where.split('/').slice(1);
  return parts.reduce((found, part) => found?.[part.replaceAll('~1', '/').replaceAll('~0', '~')], document);
}

/** As in `GET /v2/deployments/{deployment_id}`; undefined: a page, or a path or method that is not there. */
export function operationOf(method: string, url: string): string | undefined {
  const path = url.replace(/\?.*$/s, '').replace(/^\/api-host(?=\/)/, '');
  const template = templates.find(({ matches }) => matches.test(path))?.template;
  return template && document.paths[template][method.toLowerCase()] && `${method} ${template}`;
}

/** @throws when the document does not have this status, content type, header or body for what was asked */
export function checkAnswer(method: string, url: string, response: Response, body: Json): void {
  const operation = operationOf(method, url);
  if (operation === undefined) return;
  const asked = `${operation} ${response.status}`;
  let where = pointer(
    'paths',
    operation.slice(method.length + 1),
    method.toLowerCase(),
    'responses',
    `${response.status}`,
  );
  assert(at(where), `${asked} is not in the document: ${JSON.stringify(body)}`);
  where = (at(where).$ref as string | undefined)?.slice(1) ?? where;
  for (const name of Object.keys(at(where).headers ?? {}))
    assert(response.headers.has(name), `${asked} has no header ${name}`);
  if (at(where).content?.['application/x-ndjson']) return assert.equal(typeof body, 'string', asked);
  const content = at(where).content?.['application/json'];
  if (content === undefined) return assert.equal(body, null, `${asked} has a body`);
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/, asked);
  const schema = where + pointer('content', 'application/json', 'schema');
  const validate = compiled.get(schema) ?? ajv.compile({ $ref: `openapi#${schema}` });
  compiled.set(schema, validate);
  assert(validate(body), `${asked}: ${ajv.errorsText(validate.errors)}: ${JSON.stringify(body)}`);
}
