/** Sends requests from a thread of its own, so many at once, one after the other on each connection. */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

export interface Asked {
  readonly method?: string;
  readonly path: string;
  readonly body?: string;
}

export interface Load {
  readonly url: string;
  readonly headers: Record<string, string>;
  /** In turn; from the start again when all were sent, unless `once`. */
  readonly requests: readonly Asked[];
  readonly once?: boolean;
  readonly seconds: number;
  readonly connections: number;
}

export interface Taken {
  /** Answers a second. */
  readonly rate: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** @throws Error at the first answer that is not 2xx */
export async function load(given: Load): Promise<Taken> {
  const worker = new Worker(new URL(import.meta.url), { workerData: given });
  const [taken] = (await once(worker, 'message')) as [Taken];
  return taken;
}

async function run({ url, headers, requests, once: isOnce, seconds, connections }: Load): Promise<Taken> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const send = ({ method = 'GET', path, body }: Asked): Promise<void> =>
    new Promise((resolve, reject) => {
      const json = body === undefined ? {} : { 'content-type': 'application/json' };
      const sent = request(url + path, { agent, method, headers: { ...headers, ...json } }, (answer) => {
        let said = '';
        const good = answer.statusCode! < 300;
        answer.on('data', (chunk: Buffer) => (said = good ? '' : said + chunk.toString()));
        answer.on('end', () => (good ? resolve() : reject(new Error(`${path}: ${answer.statusCode} ${said}`))));
      });
      sent.once('error', reject);
      sent.end(body);
    });
  const milliseconds: number[] = [];
  let next = 0;
  const began = performance.now();
  const connection = async (): Promise<void> => {
    while (performance.now() - began < seconds * 1000 && !(isOnce && next >= requests.length)) {
      const asked = requests[next++ % requests.length]!;
      const sent = performance.now();
      await send(asked);
      milliseconds.push(performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: connections }, connection));
  const rate = milliseconds.length / ((performance.now() - began) / 1000);
  milliseconds.sort((a, b) => a - b);
  const at = (part: number): number => milliseconds[Math.floor(milliseconds.length * part)]!;
  agent.destroy();
  return { rate, p50: at(0.5), p99: at(0.99) };
}

// eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none
if (!isMainThread) parentPort!.postMessage(await run(workerData as Load));
