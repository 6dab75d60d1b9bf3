/**
 * What the control plane asks of customers' accounts. The API and the worker are given it; `aws.ts` is the real one.
 */
import type { PushToken } from '../reconciler/kinds/repository.ts';
import type { Upload } from '../reconciler/kinds/uploads.ts';
import type { Graph, Cx, Kind } from '../reconciler/resource.ts';
import type { LogPage, LogQuery } from '../reconciler/logs.ts';
import type { Had, Remaining } from '../reconciler/aws/remaining.ts';
import type { OriginalEntrance, OriginalPlace } from '../reconciler/aws/original.ts';
import type { Change } from '../reconciler/aws/trail.ts';
import type { Row } from '../reconciler/pass.ts';
import type { Obstacle, Plan } from '../reconciler/plan.ts';
import type { Limits, Takes } from '../reconciler/aws/limits.ts';
import type { Braked } from '../reconciler/aws/brake.ts';
import type { Probed } from '../reconciler/aws/verify.ts';
import type { Place, PlaceOutputs } from '../reconciler/place.ts';
import type { DeploymentSpec, ServerResources, ServerSpec } from '../reconciler/spec.ts';
import type { Check } from './store/database.ts';

/** Which variables are set. */
export interface Named {
  readonly environment: readonly { readonly name: string }[];
  readonly references: readonly { readonly name: string }[];
}

export interface Owner {
  readonly id: string;
  readonly name: string;
}

/**
 * Asked right before each write of a request's. @throws when the deployment is being deleted, or gone: nobody would
 * remove what is made after that
 */
export type Fence = Cx['fence'];

/** A deployment's resources within an account that was entered. */
export interface Entered {
  cx(nodeId: string): Omit<Cx, 'fence'>;
  /** @throws Held PlaceUnavailable when the customer lets nothing be changed now */
  mayWrite(): Promise<void>;
  /** After a delete, a search by tag: what is still there, and what is kept on purpose. */
  remaining(had: readonly Had[]): Promise<Remaining>;
}

/** An account in which many deployments are looked at together. */
export interface Survey {
  /** Through one of these what is read of many deployments is put together, and read once. */
  page(): { cx(deployment: Owner, nodeId: string): Omit<Cx, 'fence'> };
}

export interface Cloud {
  readonly kinds: ReadonlyMap<string, Kind>;
  graph(spec: ServerSpec, place: Place): Graph;
  /** The part of it that takes long and needs no image: what a deployment gets before it has anything to run. */
  foundation(spec: DeploymentSpec, place: Place): Graph;
  /** Of the agent, as its users see it. */
  url(place: Place, deployment: Owner): string;
  /** What the platform rounds a server's size up to. @throws Terminal when it has none so large */
  taskSize(resources: ServerResources): { readonly cpu: number; readonly memoryMb: number };
  /**
   * @param reads only: to plan, and to change nothing
   * @throws an error with one sentence when the account cannot be entered
   */
  enter(place: Place, deployment: Owner, reads?: 'reads'): Promise<Entered>;
  /** The same search over a whole place. @throws an error with one sentence when the account cannot be entered */
  remainingIn(place: Place, had: readonly Had[]): Promise<Remaining>;
  /** The same for many deployments. @throws as `enter` */
  survey(place: Place): Promise<Survey>;
  /** Who was the last to change a resource in that time, other than ourselves; null: AWS does not say. */
  whoChanged(
    place: Place,
    resource: Pick<Row, 'inputs' | 'outputs'>,
    time: { readonly since: Date; readonly until: Date },
  ): Promise<Change | null>;
  /**
   * A place that was set up for the product that this one replaces, as an output `Place` of it would say; its load
   * balancer is made. @param remember told right before that: what `withdraw` will be given, whatever comes of it
   * @throws Terminal naming each thing that is missing; an error with one sentence when the account cannot be entered
   */
  recognise(
    asked: OriginalPlace,
    listener: Pick<Place, 'id' | 'externalId'>,
    remember: (entrance: OriginalEntrance) => Promise<void>,
  ): Promise<PlaceOutputs>;
  /** Removes what recognising it made. @throws an error with one sentence when the account cannot be entered */
  withdraw(entrance: OriginalEntrance): Promise<void>;
  /** What the customer's brake says; undefined: the place has none. @throws PlaceUnavailable */
  braked(place: Place): Promise<Braked | undefined>;
  /**
   * Everything that deployments there will need, one line each. Never throws for what the account says.
   * @throws Held
   */
  verify(place: Place): Promise<{ readonly checks: readonly Check[]; readonly suspends: string | null }>;
  /** Whether its role lets in whom it must not. @throws Held PlaceUnavailable when nothing is known */
  probe(place: Place): Promise<Probed>;
  /** AWS's limits there, and what is used of them. @throws an error with one sentence when it cannot be entered */
  limits(place: Place): Promise<Limits>;
  /** What a deployment will take of them, once it runs. Pure. */
  takes(
    deployment: Owner & Pick<DeploymentSpec, 'type' | 'source'> & { readonly workspaceId: string },
    wanted: Pick<ServerSpec, 'resources'> & Named,
    place: Place,
  ): Takes;
  /** The image by digest. @throws Terminal with the cause when it is not there, or not in the place's own registry */
  image(place: Place, uri: string): Promise<string>;
  /** Where an archive can be put, for minutes, in the account. @throws Terminal when the place has no bucket */
  uploadUrl(place: Place, deployment: Owner): Promise<Upload>;
  /** @throws Terminal unless the archive was uploaded for this deployment, is there, and is not too large */
  upload(place: Place, deployment: Owner, path: string): Promise<void>;
  /** Lets somebody push images to the deployment's own repository, which is made when it is not there yet. */
  pushToken(place: Place, deployment: Owner, fence: Fence): Promise<PushToken>;
  /**
   * The ARN of a secret of the customer's own, given by its name or ARN. Its value is not read.
   * @param key in the secret's JSON; null: the value is the whole secret
   * @throws Terminal with what to do when servers in the place could not be given it
   */
  secretReference(place: Place, secret: string, key: string | null): Promise<string>;
  /**
   * A page of what a deployment's servers wrote, or of what those of one revision did, by its number. Empty where
   * nothing is kept yet, or any more. @throws BadOffset
   */
  logs(place: Place, deployment: Owner, revision: number | null, query: LogQuery): Promise<LogPage>;
  /** Writes values into the deployment's secret in the customer's account: answers the version that they are in. */
  writeEnvironment(
    place: Place,
    deployment: Owner,
    values: Readonly<Record<string, string>>,
    fence: Fence,
  ): Promise<string>;
  /** What in the account would stop a plan: permissions that are missing, limits that it does not fit into. */
  obstacles(place: Place, deployment: Owner, plan: Pick<Plan, 'steps' | 'starts'>): Promise<readonly Obstacle[]>;
  /** Which of these versions of that secret are there no more. */
  lostVersions(place: Place, deployment: Owner, versionIds: readonly string[]): Promise<readonly string[]>;
  /** The resources that requests make themselves (secret, repository, uploads), as a pass keeps them. */
  byRequest(place: Place, deployment: Owner & { readonly source: string }): Pick<Row, 'id' | 'kind' | 'inputs'>[];
}
