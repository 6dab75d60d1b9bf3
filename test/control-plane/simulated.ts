/**
 * A small cloud in memory behind the control plane's own `Cloud`: things take their time, break, and can be held up. It
 * stands in for AWS alone; the store, the queue, the worker, the pass and the API in these tests are the real ones.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Remaining } from '../../services/reconciler/aws/remaining.ts';
import { Held, PlaceUnavailable, Terminal } from '../../services/reconciler/aws/errors.ts';
import type { Braked } from '../../services/reconciler/aws/brake.ts';
import type { Limit, Limits, Takes } from '../../services/reconciler/aws/limits.ts';
import { logOf, readLog, type LogEvent, type LogPage, type LogQuery } from '../../services/reconciler/logs.ts';
import type { Obstacle } from '../../services/reconciler/plan.ts';
import type { Place, PlaceOutputs } from '../../services/reconciler/place.ts';
import { Graph, type Cx, type Kind } from '../../services/reconciler/resource.ts';
import type { DeploymentSpec, ServerSpec } from '../../services/reconciler/spec.ts';
import type { Cloud, Fence, Survey } from '../../services/control-plane/cloud.ts';
import type { Probed } from '../../services/reconciler/aws/verify.ts';
import type { Change } from '../../services/reconciler/aws/trail.ts';

interface Inputs {
  readonly name: string;
  readonly what: string;
}
interface Thing extends Inputs {
  readyAt: number;
}

export class SimulatedCloud implements Cloud {
  /** What exists, by name. */
  readonly things = new Map<string, Thing>();
  /** Each creation, change and removal, in order. */
  readonly acts: string[] = [];
  /** Values that were written, by version. */
  readonly written = new Map<string, Record<string, string>>();
  /** Images that are in the registry, with their digests. */
  readonly images = new Map<string, string>([['repo/agent:1', 'repo/agent@sha256:1']]);
  /** Archives that were uploaded, by path. */
  readonly archives = new Set<string>();
  /** The customer's own secrets, with their ARNs. */
  readonly secrets = new Map<string, string>();
  /** What servers wrote; a stream is called `<deployment>/<revision number>/<task>`. */
  readonly lines: LogEvent[] = [];
  /** Called before each page of them. */
  reading: () => Promise<void> = () => Promise.resolve();
  /** Why the account cannot be entered. */
  closed: string | null = null;
  /** By image: why its rollout fails. */
  readonly crashes = new Map<string, string>();
  /** How long a thing takes to become ready. */
  seconds = 0;
  /** Called within every observation. */
  onObserve: (inputs: Inputs) => Promise<void> = () => Promise.resolve();
  /** Found by the last search, beside `things`. */
  leftovers: string[] = [];
  /** What would stop any plan. */
  inTheWay: Obstacle[] = [];
  /** Called within every search. */
  searching: () => Promise<void> = () => Promise.resolve();
  /** Of every spec that a graph was made from. */
  readonly specs: ServerSpec[] = [];
  /** The last of them for each deployment: the place as it saw it. */
  readonly places = new Map<string, Place>();

  readonly kind: Kind<Inputs, Thing, { arn: string }> = {
    kind: 'thing',
    iam: () => [],
    pollSeconds: 0.1,
    limitSeconds: 3600,
    usual: () => ({ ready: [3600, 3600] }),
    observe: async (_cx, inputs) => {
      await this.onObserve(inputs);
      const live = this.things.get(inputs.name);
      if (live === undefined) return { is: 'absent' };
      const crash = this.crashes.get(live.what);
      if (crash !== undefined && live.what === inputs.what) return { is: 'broken', live, why: crash };
      if (live.readyAt > Date.now()) return { is: 'busy', live, why: 'being made' };
      return { is: 'ready', live, out: { arn: `arn:sim:${inputs.name}` } };
    },
    diff: (inputs, live) => (live.what === inputs.what ? [] : [{ field: 'what', from: live.what, to: inputs.what }]),
    converge: (_cx, inputs, live) => {
      this.acts.push(`${live ? 'change' : 'create'} ${inputs.name}`);
      this.things.set(inputs.name, { ...inputs, readyAt: Date.now() + this.seconds * 1000 });
      return Promise.resolve();
    },
    remove: (_cx, inputs) => {
      this.acts.push(`remove ${inputs.name}`);
      this.things.delete(inputs.name);
      return Promise.resolve();
    },
  };
  /** Who changed what, by its name. */
  readonly changers = new Map<string, Change>();

  whoChanged(_place: Place, { inputs }: { inputs: unknown }): Promise<Change | null> {
    return Promise.resolve(this.changers.get((inputs as Inputs).name) ?? null);
  }

  async survey(place: Place): Promise<Survey> {
    const { cx } = await this.enter(place, { name: 'all' });
    return { page: () => ({ cx: () => cx() }) };
  }

  readonly kinds: ReadonlyMap<string, Kind> = new Map([['thing', this.kind as Kind]]);

  graph(spec: ServerSpec, place: Place): Graph {
    this.specs.push(spec);
    this.places.set(spec.deployment.id, place);
    const g = new Graph();
    const name = (what: string): string => `${spec.deployment.name}/${what}`;
    const database = this.#database(g, spec);
    const task = g.add(`task-r${spec.revision.number}`, this.kind, { database }, () => ({
      name: name(`task-r${spec.revision.number}`),
      what: 'task',
    }));
    g.add('service', this.kind, { task }, () => ({ name: name('service'), what: spec.image }));
    return g;
  }

  foundation(spec: DeploymentSpec): Graph {
    const g = new Graph();
    this.#database(g, spec);
    return g;
  }

  #database = (g: Graph, spec: DeploymentSpec) =>
    g.add('database', this.kind, {}, () => ({ name: `${spec.deployment.name}/database`, what: 'postgres' }));

  url(place: Place, deployment: { name: string }): string {
    return `http://${place.loadBalancerDnsName}/${deployment.name}`;
  }

  taskSize(resources: { cpu: number; memoryMb: number }): { cpu: number; memoryMb: number } {
    if (resources.cpu > 4) throw new Terminal(`larger than there is: ${resources.cpu} CPU`);
    return { cpu: Math.ceil(resources.cpu), memoryMb: Math.ceil(resources.memoryMb / 1024) * 1024 };
  }

  /** As the customer has set it; undefined: the place has none. */
  brake: Braked | undefined;

  braked(): Promise<Braked | undefined> {
    return Promise.resolve().then(() => {
      if (this.closed !== null) throw new PlaceUnavailable(this.closed, 'arn:sim:role');
      return this.brake;
    });
  }

  #hold(...modes: string[]): void {
    const { mode = 'run', since, by } = this.brake ?? {};
    if (modes.includes(mode)) throw new Held(`${mode} since ${since?.toISOString()} by ${by}`);
  }

  #open(place?: Place): void {
    if (place?.suspended) throw new PlaceUnavailable(place.suspended, 'arn:sim:role');
    this.#hold('stopped');
    if (this.closed !== null) throw new PlaceUnavailable(this.closed, 'arn:sim:role');
  }

  enter(place: Place, deployment: { name: string }) {
    return Promise.resolve().then(() => {
      this.#open(place);
      return {
        cx: () => ({ aws: undefined, tags: {} }) as unknown as Cx,
        mayWrite: async () => this.#hold('read-only', 'stopped'),
        remaining: () => this.#search(`${deployment.name}/`),
      };
    });
  }

  async remainingIn(): Promise<Remaining> {
    this.#open();
    return this.#search('');
  }

  async #search(prefix: string): Promise<Remaining> {
    await this.searching();
    const left = [...this.things.keys()].filter((name) => name.startsWith(prefix));
    const secret = { what: 'a secret in its recovery window', arn: 'arn:sim:secret', until: null, sizeGb: null };
    return {
      left: [...left, ...this.leftovers],
      kept: [{ ...secret, remove: null }],
      notes: [],
      calls: ['sim:Search'],
      found: left.length + this.leftovers.length + 1,
    };
  }

  recognise(): Promise<PlaceOutputs> {
    return Promise.reject(new Terminal('not a place as langgraph_cloud_setup makes it: there is none here'));
  }
  withdraw(): Promise<void> {
    return Promise.resolve();
  }
  /** By account: why its role lets in whom it must not. */
  readonly loose = new Map<string, string>();

  async verify(place: Place) {
    const { suspends } = await this.probe(place);
    const message = this.closed ?? suspends;
    return { checks: [{ name: 'role', ok: message === null, message }], suspends };
  }

  async probe({ accountId }: Place): Promise<Probed> {
    this.#hold('stopped');
    return { suspends: this.loose.get(accountId) ?? null, unreachable: this.closed };
  }

  /** Of AWS's, in whatever account. */
  known: Limit[] = [];
  taken: Takes = {};
  limits(): Promise<Limits> {
    return Promise.resolve().then(() => {
      this.#open();
      return { limits: this.known, unread: [] };
    });
  }

  takes = (): Takes => this.taken;

  image(place: Place, uri: string): Promise<string> {
    return Promise.resolve().then(() => {
      this.#open(place);
      const found = this.images.get(uri) ?? [...this.images.values()].find((image) => image === uri);
      if (found === undefined) throw new Terminal(`no such image: "${uri}"`);
      return found;
    });
  }

  uploadUrl(place: Place, deployment: { id: string }) {
    return Promise.resolve().then(() => {
      this.#open(place);
      this.#hold('read-only');
      if (place.uploadBucket === undefined) throw new Terminal('this place has no bucket for uploads');
      const path = `uploads/${deployment.id}/${randomUUID()}.tar.gz`;
      const headers = { 'Content-Type': 'application/gzip' };
      return { url: `https://${place.uploadBucket}.s3.amazonaws.com/${path}?X-Amz-Signature=1`, headers, path };
    });
  }

  pushToken(place: Place, deployment: { name: string }) {
    return Promise.resolve().then(() => {
      this.#open(place);
      this.#hold('read-only');
      const { name, what } = this.#repository(deployment);
      this.things.set(name, { name, what, readyAt: 0 });
      const registry = '555000000001.dkr.ecr.us-east-1.amazonaws.com';
      return { token: `for ${name}`, username: 'AWS', registry, repository: `${registry}/${name}` };
    });
  }

  upload(place: Place, deployment: { id: string }, path: string): Promise<void> {
    return Promise.resolve().then(() => {
      this.#open(place);
      if (!path.includes(deployment.id) || !this.archives.has(path))
        throw new Terminal(`"${path}" was not uploaded for this deployment`);
    });
  }

  secretReference(place: Place, secret: string): Promise<string> {
    return Promise.resolve().then(() => {
      this.#open(place);
      const arn = this.secrets.get(secret) ?? [...this.secrets.values()].find((one) => one === secret);
      if (arn === undefined) throw new Terminal(`no such secret: "${secret}"`);
      return arn;
    });
  }

  logs(place: Place, deployment: { name: string }, revision: number | null, query: LogQuery): Promise<LogPage> {
    return Promise.resolve().then(async () => {
      this.#open(place);
      await this.reading();
      const streams = `${deployment.name}/${revision === null ? '' : `${revision}/`}`;
      return readLog(logOf(this.lines.filter(({ stream }) => stream.startsWith(streams))), query);
    });
  }

  writeEnvironment(
    place: Place,
    deployment: { name: string },
    values: Record<string, string>,
    fence: Fence,
  ): Promise<string> {
    return Promise.resolve().then(async () => {
      this.#open(place);
      const { name, what } = this.#secret(deployment);
      await this.onObserve({ name, what });
      await fence();
      this.#hold('read-only');
      this.things.set(name, { name, what, readyAt: 0 });
      const version = randomUUID();
      this.written.set(version, { ...values });
      return version;
    });
  }

  obstacles(): Promise<Obstacle[]> {
    return Promise.resolve(this.inTheWay);
  }

  lostVersions(place: Place, _deployment: unknown, versionIds: readonly string[]): Promise<string[]> {
    return Promise.resolve().then(() => {
      this.#open(place);
      return versionIds.filter((id) => !this.written.has(id));
    });
  }

  byRequest(_place: Place, deployment: { name: string; source: string }) {
    const rows = [{ id: 'environment', kind: 'thing', inputs: this.#secret(deployment) }];
    if (deployment.source === 'internal_docker')
      rows.push({ id: 'repository', kind: 'thing', inputs: this.#repository(deployment) });
    return rows;
  }

  #repository = ({ name }: { name: string }): Inputs => ({ name: `${name}/repository`, what: 'repository' });

  #secret = (deployment: { name: string }): Inputs => ({ name: `${deployment.name}/environment`, what: 'secret' });
}

export const outputs = (account = '555000000001'): PlaceOutputs => ({
  version: 1,
  accountId: account,
  region: 'us-east-1',
  partition: 'aws',
  prefix: 'freehold',
  roleArn: `arn:aws:iam::${account}:role/freehold-control-plane`,
  vpcId: `vpc-${randomBytes(4).toString('hex')}`,
  privateSubnetIds: ['subnet-1', 'subnet-2'],
  publicSubnetIds: [],
  clusterArn: `arn:aws:ecs:us-east-1:${account}:cluster/freehold`,
  executionRoleArn: `arn:aws:iam::${account}:role/freehold-execution`,
  taskRoleArn: `arn:aws:iam::${account}:role/freehold-task`,
  loadBalancerArn: `arn:aws:elasticloadbalancing:us-east-1:${account}:loadbalancer/app/freehold/1`,
  loadBalancerDnsName: 'internal-freehold-1.us-east-1.elb.amazonaws.com',
  listenerArn: `arn:aws:elasticloadbalancing:us-east-1:${account}:listener/app/freehold/1/1`,
  loadBalancerSecurityGroupId: 'sg-1',
  scheme: 'http',
  namespaceId: 'ns-1',
  namespaceName: 'freehold.internal',
  databaseSubnetGroup: 'freehold',
  logGroupRoot: '/aws/ecs/freehold',
  uploadBucket: `freehold-uploads-${account}-us-east-1`,
});
