/**
 * Runs an agent once, on a new thread, with the public LangGraph SDK, and prints its state.
 *
 *     npx node examples/ask.ts URL [TEXT] [--rehearsal http://127.0.0.1:PORT]
 *
 * The agent asks about its callers: the SDK sends the key of the deployment's workspace in `LANGSMITH_API_KEY`.
 * `--rehearsal` is the address of an emulated account: the names of its load balancers mean something only inside it.
 */
import { Client } from '@langchain/langgraph-sdk';
import { attachRehearsal, type Rehearsal } from '../services/rehearsal/index.ts';

/** The graph's final state. Errors: the SDK's own. */
export async function ask(url: string, graph: string, input: object, fetchThrough = fetch): Promise<unknown> {
  const client = new Client({ apiUrl: url, callerOptions: { fetch: fetchThrough, maxRetries: 0 } });
  const thread = await client.threads.create();
  return client.runs.wait(thread.thread_id, graph, { input: { ...input } });
}

/** The rehearsal's proxy as the standard `fetch` that SDKs take; request bodies are strings or bytes. */
export function fetchThrough(rehearsal: Rehearsal): typeof fetch {
  return async (input, init) => {
    const wanted = new Request(input, init);
    const body = wanted.body === null ? {} : { body: new Uint8Array(await wanted.arrayBuffer()) };
    const headers = Object.fromEntries(wanted.headers);
    return rehearsal.fetch(wanted.url, { method: wanted.method, headers, signal: wanted.signal, ...body });
  };
}

if (import.meta.main) {
  const words = process.argv.slice(2);
  const at = words.indexOf('--rehearsal');
  const endpoint = at < 0 ? undefined : words.splice(at, 2)[1];
  const [url, text = 'hi'] = words;
  if (url === undefined) {
    console.error(
      'usage: npx node examples/ask.ts URL [TEXT] [--rehearsal http://127.0.0.1:PORT]\n' +
        "LANGSMITH_API_KEY: a key of the deployment's workspace, sent with each request",
    );
    process.exit(2);
  }
  console.log(await ask(url, 'echo', { text }, endpoint ? fetchThrough(await attachRehearsal(endpoint)) : fetch));
}
