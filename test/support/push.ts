/** `docker push` to an emulated registry: the same requests, with a layer and an image that the catalogue knows. */
import { createHash } from 'node:crypto';
import type { Rehearsal } from '../../services/rehearsal/index.ts';

export interface Push {
  /** With the registry's host name, without a tag. */
  readonly repository: string;
  readonly tag: string;
  readonly username: string;
  readonly password: string;
  /** An entry of the catalogue. */
  readonly image: string;
  readonly env?: Readonly<Record<string, string>>;
}

const sha = (content: string): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;

/**
 * @returns the image's digest
 * @throws Error with the registry's words
 */
export async function push(
  rehearsal: Pick<Rehearsal, 'fetch'>,
  { repository, tag, username, password, image, env = {} }: Push,
): Promise<string> {
  const [host, ...name] = repository.split('/');
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  const ask = async (method: string, path: string, init: { body?: string; headers?: Record<string, string> } = {}) => {
    const headers = { ...init.headers, authorization };
    const answer = await rehearsal.fetch(`http://${host}${path}`, { method, ...init, headers });
    if (answer.ok || method === 'HEAD') return answer; // why it was refused, the next request says
    throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  };
  await ask('GET', '/v2/'); // docker login
  const base = `/v2/${name.join('/')}`;
  const blob = async (content: string) => {
    const digest = sha(content);
    if (!(await ask('HEAD', `${base}/blobs/${digest}`)).ok) {
      const started = await ask('POST', `${base}/blobs/uploads/`);
      const sent = await ask('PATCH', started.headers.get('location')!, { body: content });
      await ask('PUT', `${sent.headers.get('location')!}?digest=${digest}`);
    }
    return { digest, size: Buffer.byteLength(content) };
  };
  const annotations = { 'rehearsal.image': image, 'rehearsal.env': JSON.stringify(env) };
  const type = 'application/vnd.oci.image';
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: `${type}.manifest.v1+json`,
    config: { mediaType: `${type}.config.v1+json`, ...(await blob('{}')) },
    layers: [{ mediaType: `${type}.layer.v1.tar`, ...(await blob(`layer of ${image}`)) }],
    annotations,
  });
  const headers = { 'content-type': `${type}.manifest.v1+json` };
  await ask('HEAD', `${base}/manifests/${tag}`); // as containerd and BuildKit do, to see whether it is there
  const put = await ask('PUT', `${base}/manifests/${tag}`, { body: manifest, headers });
  return put.headers.get('docker-content-digest')!;
}
