import { serve } from '@hono/node-server';
import { openControlPlane } from './test/control-plane/open.ts';
const api = await openControlPlane();
await api.place();
await api.startWorker();
serve({ fetch: (r: Request) => api.request(r as any, {} as any) as any, port: 18777 }, () => console.log('up'));
process.on('SIGTERM', () => void api.close().then(() => process.exit()));
setTimeout(() => process.exit(), 1_200_000);
