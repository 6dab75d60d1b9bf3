/** The API over HTTP. What is no request that the API could see fails in the same shape as everything else. */
import { RequestError, getRequestListener } from '@hono/node-server';
import { once } from 'node:events';
import { STATUS_CODES, createServer, type Server } from 'node:http';

type Fetch = Parameters<typeof getRequestListener>[0];

/** Why Node gave a connection up, by its code; anything else is 400. */
const GIVEN_UP: Record<string, readonly [status: number, detail: string]> = {
  HPE_HEADER_OVERFLOW: [431, 'the head of the request is too large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'the chunk extensions are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request did not come in time'],
};

/** @returns when it listens; throws when it cannot */
export async function listen(fetch: Fetch, { port, host }: { port: number; host: string }): Promise<Server> {
  const answer = getRequestListener(fetch, {
    // A host or an address that is none, before there is a request.
    errorHandler: (error) =>
      error instanceof RequestError
        ? Response.json({ detail: error.message }, { status: 400 })
        : Response.json({ detail: 'internal error' }, { status: 500 }),
  });
  const server = createServer((incoming, outgoing) => void answer(incoming, outgoing));
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!socket.writable || error.code === 'ECONNRESET') return socket.destroy();
    const [status, detail] = GIVEN_UP[error.code ?? ''] ?? [400, 'this is not an HTTP request'];
    const body = JSON.stringify({ detail });
    const head = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
    ];
    return socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  });
  server.listen(port, host);
  await once(server, 'listening');
  return server;
}
