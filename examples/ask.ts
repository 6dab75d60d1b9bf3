/**
 * Runs an agent once with the public LangGraph SDK and prints its answer.
 *
 *     node examples/ask.ts URL [TEXT] [--proxy http://127.0.0.1:PORT]
 *
 * `--proxy` is for the emulated account, whose load balancers are reached through the emulator as an HTTP proxy.
 */
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { Client } from '@langchain/langgraph-sdk';

export interface Answer {
  threadId: string;
  runSeconds: number;
  values: { answer?: string; said?: string[] };
}

/** One run on a new thread, to its end. `fetch` replaces the global one: for a proxy. Errors: the SDK's own. */
export async function ask(
  url: string,
  text: string,
  options: { seconds?: number; apiKey?: string; fetch?: typeof fetch } = {},
): Promise<Answer> {
  const client = new Client({
    apiUrl: url,
    apiKey: options.apiKey ?? null,
    callerOptions: { fetch: options.fetch ?? fetch, maxRetries: 0 },
  });
  const thread = await client.threads.create();
  const from = performance.now();
  const values = await client.runs.wait(thread.thread_id, 'agent', {
    input: { text, ...(options.seconds === undefined ? {} : { seconds: options.seconds }) },
  });
  return {
    threadId: thread.thread_id,
    runSeconds: (performance.now() - from) / 1000,
    values: values as Answer['values'],
  };
}

/** A `fetch` that sends plain-HTTP requests through an HTTP proxy; bodies stream. Errors: `TypeError`, as fetch's own. */
export function fetchThrough(proxy: string): typeof fetch {
  const { hostname, port } = new URL(proxy);
  return async (input, init) => {
    const wanted = new Request(input, init);
    const body = wanted.body === null ? undefined : Buffer.from(await wanted.arrayBuffer());
    return await new Promise<Response>((resolve, reject) => {
      const headers = { ...Object.fromEntries(wanted.headers), host: new URL(wanted.url).host };
      const sent = request(
        { hostname, port, path: wanted.url, method: wanted.method, headers, signal: wanted.signal },
        (got) => {
          const answerHeaders = new Headers();
          for (let i = 0; i < got.rawHeaders.length; i += 2)
            answerHeaders.append(got.rawHeaders[i]!, got.rawHeaders[i + 1]!);
          const status = got.statusCode ?? 500;
          const empty = status === 204 || status === 304;
          if (empty) got.resume();
          const stream = empty ? null : (Readable.toWeb(got) as ReadableStream<Uint8Array>);
          resolve(new Response(stream, { status, headers: answerHeaders }));
        },
      );
      sent.on('error', (cause) => reject(new TypeError(`${wanted.url} through ${proxy}: ${cause.message}`, { cause })));
      sent.end(body);
    });
  };
}

if (import.meta.main) {
  const words = process.argv.slice(2);
  const at = words.indexOf('--proxy');
  const proxy = at < 0 ? undefined : words.splice(at, 2)[1];
  const [url, text = 'How many words are these?'] = words;
  if (url === undefined) {
    console.error('usage: node examples/ask.ts URL [TEXT] [--proxy http://127.0.0.1:PORT]');
    process.exit(2);
  }
  const got = await ask(url, text, proxy === undefined ? {} : { fetch: fetchThrough(proxy) });
  console.log(`${got.values.answer ?? JSON.stringify(got.values)}   (thread ${got.threadId}, ${got.runSeconds.toFixed(2)} s)`);
}
