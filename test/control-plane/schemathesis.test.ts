/** schemathesis over the whole OpenAPI document, against a live control plane: https://schemathesis.readthedocs.io */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { addKey } from '../../services/control-plane/store/access.ts';
import { operationOf } from './contract.ts';
import { openControlPlane, type ControlPlane } from './open.ts';

const PROGRAM = join(import.meta.dirname, '..', '..', '.cache', 'python', 'tools', 'bin', 'schemathesis');
const CONFIG = join(import.meta.dirname, 'schemathesis.toml');

const KEY = 'fh_schemathesis';

let api: ControlPlane;
const folder = mkdtempSync(join(tmpdir(), 'freehold-schemathesis-'));

before(async () => {
  api = await openControlPlane();
  await api.place();
  api.cloud.seconds = 1;
  await api.startWorker();
});
after(async () => {
  await api.close();
  rmSync(folder, { recursive: true, force: true });
});

test('no server error, no undocumented status, no answer that breaks its schema', async () => {
  const url = await api.listen();
  const { body: document } = await api.call('GET', '/openapi.json');
  const { image_uri: image } = document.components.schemas.DeploymentCreateRequest.example.source_revision_config;
  api.cloud.images.set(image, `${image.split(':')[0]}@sha256:1`);

  // An admin of the whole organization, as the first key is.
  await addKey(api.db, api.workspaceId, 'schemathesis', KEY, { organizationWide: true });
  for (const source of ['internal_source', 'internal_docker'])
    for (const name of ['one', 'two']) {
      const body = { name: `${name}-${source.slice(9)}`, source, source_config: { deployment_type: 'dev' } };
      await api.call('POST', '/v2/deployments', { ...body, source_revision_config: {}, secrets: [] });
    }

  const run = ['--config-file', CONFIG, 'run', `${url}/openapi.json`, '--header', `X-Api-Key: ${KEY}`];
  const child = spawn(PROGRAM, run, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)));
  const [code] = (await once(child, 'close')) as [number | null];
  const defects = api.logged.filter((line) => line.includes('"a request failed"'));
  assert.equal(code, 0, `${said}\n${defects.slice(0, 10).join('')}`);
  assert.deepEqual(defects, []);

  const operations = Object.values(document.paths).flatMap((item) => Object.keys(item as object)).length;
  assert.match(said, new RegExp(`Tested: ${operations}\\n`), 'every operation');
  // It got beyond the checks of ids and bodies: most operations succeeded at least once.
  const requests = api.logged.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'request');
  const done = new Set(
    requests.filter(({ status }) => status < 300).map(({ method, path }) => operationOf(method, path)),
  );
  assert(done.size > operations * 0.75, `${done.size} of ${operations} succeeded: ${[...done].join(', ')}`);
});
