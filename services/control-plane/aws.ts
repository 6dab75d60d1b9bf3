/** The real cloud: customers' AWS accounts, entered by assuming the role that each made for us. */
import type { Account, Accounts, Entrance, Session } from '../reconciler/aws/account.ts';
import { BatchMemory, batched } from '../reconciler/aws/batched.ts';
import { cloudWatchLog } from '../reconciler/aws/logs.ts';
import { allServerLogs, names, serverLogs, shortId, url } from '../reconciler/aws/names.ts';
import { obstaclesOf } from '../reconciler/aws/obstacles.ts';
import { ownerTags } from '../reconciler/aws/tags.ts';
import { resolveImage } from '../reconciler/aws/image.ts';
import { entranceOf, readableTags, recognise, withdraw, type OriginalEntrance } from '../reconciler/aws/original.ts';
import { findInjectable } from '../reconciler/aws/injected.ts';
import {
  ENVIRONMENT,
  environment,
  lostVersions,
  writeEnvironment,
  type EnvironmentInputs,
} from '../reconciler/kinds/environment.ts';
import { fargateSize } from '../reconciler/kinds/fargate.ts';
import { kinds } from '../reconciler/kinds/index.ts';
import { REPOSITORY, pushToken, repository } from '../reconciler/kinds/repository.ts';
import { UPLOADS, checkUpload, uploadUrl, uploads, uploadsOf } from '../reconciler/kinds/uploads.ts';
import { readLog } from '../reconciler/logs.ts';
import { newExternalId, type Place } from '../reconciler/place.ts';
import type { ServerSpec } from '../reconciler/spec.ts';
import { LOG_DAYS, ecs, foundation, vcpusOf } from '../reconciler/platforms/ecs.ts';
import { readLimits, takesOf } from '../reconciler/aws/limits.ts';
import { remaining } from '../reconciler/aws/remaining.ts';
import { namesOf, whoChanged } from '../reconciler/aws/trail.ts';
import { Terminal } from '../reconciler/aws/errors.ts';
import { scopeOf } from '../reconciler/aws/grants.ts';
import { balancerPolicy, deploymentPolicy, deploymentReads, placeReads } from '../reconciler/aws/session.ts';
import { probe, verifyPlace } from '../reconciler/aws/verify.ts';
import { ITSELF, asked } from './asked.ts';
import type { Cloud, Owner } from './cloud.ts';

const DAY_MS = 86_400_000;

/** As the kinds read it. */
const seen = (place: Pick<Entrance, 'original'>, aws: Account): Account => (place.original ? readableTags(aws) : aws);

const actor = (): string => asked()?.actor ?? ITSELF;

/** The session's name is what the customer's CloudTrail shows first. */
const session = (what: string): Session => ({ name: `freehold-${what}`, operation: what, actor: actor() });

/** Of a place: it only reads. */
const inPlace = (place: Place, what: string): Session => ({ ...session(what), policy: placeReads(scopeOf(place)) });

/** Of an original place: it makes and removes its load balancer. */
const balancing = (entrance: OriginalEntrance): Session => ({
  ...session('balancer'),
  policy: balancerPolicy(entrance),
});

const inDeployment = (
  place: Place,
  { id }: Pick<Owner, 'id'>,
  what: string,
  policy: typeof deploymentPolicy,
): Session => ({
  name: `freehold-${shortId(id)}`,
  deployment: id,
  operation: asked()?.operation ?? what,
  actor: actor(),
  policy: policy(scopeOf(place), { id }),
});

const cxOf =
  (place: Place, aws: Account, { id }: Owner) =>
  (nodeId: string) => ({
    aws,
    tags: ownerTags(place, id, nodeId),
    deletionGate: place.deletionGate,
  });

/** @param stranger as of `probe` */
export function awsCloud(accounts: Accounts, stranger = newExternalId()): Cloud {
  const memory = new BatchMemory();
  /** For a request, whose sender waits. */
  const enter = async (place: Entrance, session: Session): Promise<Account> =>
    seen(place, await accounts.enter(place, session, { isUrgent: true }));
  /** For what nobody waits for: looks and requests do not wait for it either. */
  const enterBehind = async (place: Place, session: Session): Promise<Account> =>
    seen(place, await accounts.enter(place, session));
  return {
    kinds,
    graph: ecs,
    foundation,
    url,
    taskSize({ cpu, memoryMb }) {
      const size = fargateSize(cpu, memoryMb);
      return { cpu: size.cpu / 1024, memoryMb: size.memoryMb };
    },
    async enter(place, deployment, reads) {
      const policy = reads ? deploymentReads : deploymentPolicy;
      const aws = await enterBehind(place, inDeployment(place, deployment, reads ? 'plan' : 'look', policy));
      return {
        cx: cxOf(place, aws, deployment),
        mayWrite: async () => {
          if (place.brakeParameter !== undefined) await accounts.mayWrite(place);
        },
        remaining: (had) => remaining(aws, place, deployment.id, had),
      };
    },
    remainingIn: async (place, had) =>
      remaining(await enterBehind(place, inPlace(place, 'offboarding')), place, null, had),
    async survey(place) {
      const aws = await enterBehind(place, inPlace(place, 'sweep'));
      return {
        page() {
          const view = batched(aws, { where: place.id, memory, now: Date.now });
          return { cx: (deployment, nodeId) => cxOf(place, view, deployment)(nodeId) };
        },
      };
    },
    whoChanged: async (place, resource, time) =>
      whoChanged(await enterBehind(place, inPlace(place, 'sweep')), place.roleArn, namesOf(resource), time),
    async recognise(asked, listener, remember) {
      const entrance = entranceOf(asked, listener);
      // Before anything is made: whoever has learnt of such a role could have us make it there.
      const { suspends } = await probe(accounts, entrance, stranger);
      if (suspends !== null) throw new Terminal(suspends);
      return recognise(await enter(entrance, balancing(entrance)), asked, entrance, () => remember(entrance));
    },
    withdraw: async (entrance) => withdraw(await enter(entrance, balancing(entrance)), entrance.id),
    async verify(place) {
      const { checks, suspends } = await verifyPlace(accounts, place, { stranger, actor: actor() });
      return { checks: checks.map((check) => ({ ...check, message: check.message || null })), suspends };
    },
    probe: (place) => probe(accounts, place, stranger),
    braked: (place) => accounts.braked(place),
    limits: async (place) => readLimits(await enter(place, inPlace(place, 'limits')), place),
    takes({ workspaceId, type, source, ...deployment }, { resources, environment, references }, place) {
      const spec: ServerSpec = {
        deployment: { ...deployment, workspaceId },
        type,
        source,
        databaseTier: null,
        environment: environment.map(({ name }) => ({ name, versionId: '' })),
        references: references.map(({ name }) => ({ name, arn: '', key: null })),
        retainedSecretVersions: [],
        revision: { id: '', number: 1 },
        image: '',
        resources,
        agentAuth: { type: 'noop' },
      };
      return takesOf(ecs(spec, place), vcpusOf(spec));
    },
    image: async (place, uri) => (await resolveImage(await enter(place, inPlace(place, 'images')), place, uri)).uri,
    uploadUrl: (place, deployment) =>
      uploadUrl(accounts, place, deployment, inDeployment(place, deployment, 'upload', deploymentReads)),
    upload: async (place, deployment, path) =>
      checkUpload(
        await enter(place, inDeployment(place, deployment, 'upload', deploymentReads)),
        place,
        deployment,
        path,
      ),
    pushToken: (place, deployment, fence) =>
      pushToken(accounts, place, deployment, fence, inDeployment(place, deployment, 'push', deploymentPolicy)),
    secretReference: async (place, name, key) =>
      findInjectable(await enter(place, inPlace(place, 'secrets')), place, name, key),
    async logs(place, deployment, revision, query) {
      const aws = await enter(place, inDeployment(place, deployment, 'logs', deploymentReads));
      const { logGroup, logStreams } = names(place, deployment);
      const streams = logStreams + (revision === null ? allServerLogs : `${serverLogs(revision)}/`);
      const log = cloudWatchLog(aws, logGroup, streams);
      // Nothing older is kept, and to look for it would take pages of nothing.
      return readLog(log, { ...query, from: Math.max(query.from, Date.now() - LOG_DAYS * DAY_MS) });
    },
    writeEnvironment: async (place: Place, deployment: Owner, values, fence) =>
      writeEnvironment(
        await enter(place, inDeployment(place, deployment, 'environment', deploymentPolicy)),
        place,
        deployment,
        values,
        fence,
      ),
    obstacles: async (place, deployment, plan) =>
      obstaclesOf(await enter(place, inDeployment(place, deployment, 'plan', deploymentReads)), place, plan),
    lostVersions: async (place, deployment, versionIds) =>
      lostVersions(
        await enter(place, inDeployment(place, deployment, 'environment', deploymentReads)),
        place,
        deployment,
        versionIds,
      ),
    byRequest(place, { source, ...deployment }) {
      const called = names(place, deployment);
      const secret: EnvironmentInputs = { name: called.secret('environment'), versions: {}, keep: [] };
      const rows: ReturnType<Cloud['byRequest']> = [{ id: ENVIRONMENT, kind: environment.kind, inputs: secret }];
      if (source === 'internal_docker')
        rows.push({ id: REPOSITORY, kind: repository.kind, inputs: { name: called.repository } });
      if (source.startsWith('internal_') && place.uploadBucket !== undefined)
        rows.push({ id: UPLOADS, kind: uploads.kind, inputs: uploadsOf(place.uploadBucket, deployment.id) });
      return rows;
    },
  };
}
