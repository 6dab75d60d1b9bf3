/** Clients of a simulated account that is in another thread: each call is a message there, and its answer one back. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MessagePort, Worker } from 'node:worker_threads';
import type { Account } from '../services/reconciler/aws/account.ts';
import type { SimulatedAccount } from '../simulation/aws/account.ts';

interface Call {
  readonly id: number;
  readonly client: string;
  readonly command: string;
  readonly input: object;
}

interface Answer {
  readonly answers: number;
  readonly output?: unknown;
  readonly error?: { readonly name: string; readonly message: string };
}

const PACKAGES: Readonly<Record<string, string>> = {
  ecs: 'ecs',
  ec2: 'ec2',
  rds: 'rds',
  elb: 'elastic-load-balancing-v2',
  secrets: 'secrets-manager',
  logs: 'cloudwatch-logs',
  logReads: 'cloudwatch-logs',
  discovery: 'servicediscovery',
  scaling: 'application-auto-scaling',
  ecr: 'ecr',
  iam: 'iam',
  s3: 's3',
  tagging: 'resource-groups-tagging-api',
  sts: 'sts',
};

/** In the thread that has the account. */
export function answerCalls(thread: Worker, account: SimulatedAccount): void {
  const clients = account.clients((_, act) => Promise.resolve().then(act)) as unknown as Record<
    string,
    { send(command: unknown): Promise<unknown> }
  >;
  thread.on('message', (call: Call) => {
    if (call.client === undefined) return;
    void (async () => {
      const commands = (await import(`@aws-sdk/client-${PACKAGES[call.client]!}`)) as Record<
        string,
        new (input: object) => unknown
      >;
      try {
        const output = await clients[call.client]!.send(new commands[call.command]!(call.input));
        // eslint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
        thread.postMessage({ answers: call.id, output } satisfies Answer);
      } catch (error) {
        const { name, message } = error as Error;
        // eslint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
        thread.postMessage({ answers: call.id, error: { name, message } } satisfies Answer);
      }
    })();
  });
}

/** In a thread that calls. */
export function remoteAccount(port: MessagePort, id: string, region: string, latencyMs: number): Account {
  const waiting = new Map<number, (answer: Answer) => void>();
  let ids = 0;
  port.on('message', (answer: Answer) => {
    waiting.get(answer.answers)?.(answer);
    waiting.delete(answer.answers);
  });
  const client = (name: string) => ({
    async send(command: { readonly constructor: { readonly name: string }; readonly input: object }) {
      await sleep(latencyMs);
      const call: Call = { id: (ids += 1), client: name, command: command.constructor.name, input: command.input };
      const answer = await new Promise<Answer>((resolve) => {
        waiting.set(call.id, resolve);
        port.postMessage(call);
      });
      if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
      return answer.output;
    },
  });
  const clients = Object.fromEntries(Object.keys(PACKAGES).map((name) => [name, client(name)]));
  return { id, region, ...clients } as unknown as Account;
}
