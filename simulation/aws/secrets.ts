/** Secrets Manager: versions with their labels, and the recovery window. Its reads of one secret show the truth. */
import {
  CreateSecretCommand,
  DeleteSecretCommand,
  DescribeSecretCommand,
  ListSecretVersionIdsCommand,
  ListSecretsCommand,
  PutSecretValueCommand,
  RestoreSecretCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager';
import { NotSimulated, Refused, Table } from './operation.ts';
import { tagListOf, tagsOf, without, type Tags, type Thing, type World } from './world.ts';

interface Version {
  readonly value: string;
  readonly madeAt: number;
  readonly stages: Set<string>;
}

interface Secret {
  readonly arn: string;
  readonly name: string;
  readonly description: string | undefined;
  readonly versions: Map<string, Version>;
  readonly thing: Thing;
  /** In its recovery window until then. */
  endsAt: number | null;
}

const TYPE = 'secretsmanager:secret';
/** Of all versions together: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html */
const LABELS = 20;
const DAY = 86_400_000;
const MARKED = "You can't perform this operation on the secret because it was marked for deletion.";
const GOING = "You can't perform this operation on the secret because it was already scheduled for deletion.";

export class Secrets {
  readonly table = new Table();
  readonly #world: World;
  readonly #byName = new Map<string, Secret>();
  readonly #byArn = new Map<string, Secret>();

  constructor(world: World) {
    this.#world = world;
    this.table
      .read(DescribeSecretCommand, 'SecretId', ({ SecretId }) => this.#view(this.#find(SecretId)))
      // A filter's value is the beginning of a name.
      .read(ListSecretsCommand, 'Filters MaxResults NextToken', ({ Filters = [], MaxResults = 100, NextToken }) => {
        if (Filters.some(({ Key }) => Key !== 'name')) throw new NotSimulated('secretsmanager: a filter but "name"');
        const shown = [...this.#byName.values()].filter(
          ({ name, endsAt }) =>
            endsAt === null && Filters.every(({ Values }) => Values!.some((value) => name.startsWith(value))),
        );
        const from = Number(NextToken ?? 0);
        const next = from + MaxResults;
        const SecretList = shown.slice(from, next).map((each) => {
          const { VersionIdsToStages: SecretVersionsToStages, ...secret } = this.#view(each);
          return { ...secret, SecretVersionsToStages };
        });
        return { SecretList, ...(next < shown.length && { NextToken: String(next) }) };
      })
      .read(ListSecretVersionIdsCommand, 'SecretId IncludeDeprecated MaxResults NextToken', (input) => {
        const { SecretId, IncludeDeprecated, NextToken } = input;
        if (NextToken !== undefined) throw new NotSimulated('secretsmanager: a page of versions after the first');
        const { arn, name, versions } = this.#find(SecretId);
        const shown = [...versions].filter(([, { stages }]) => IncludeDeprecated || stages.size > 0);
        const Versions = shown.map(([VersionId, { stages, madeAt }]) => ({
          VersionId,
          VersionStages: stages.size > 0 ? [...stages] : undefined,
          CreatedDate: new Date(madeAt),
        }));
        return { ARN: arn, Name: name, Versions };
      })
      .write(CreateSecretCommand, 'Name Description SecretString ClientRequestToken Tags', (input) => {
        const { Name, Description, SecretString, ClientRequestToken: token, Tags } = input;
        const { arn } = this.#make(Name!, Description, SecretString, token, tagsOf(Tags));
        return { ARN: arn, Name, ...(SecretString !== undefined && { VersionId: token }) };
      })
      .write(PutSecretValueCommand, 'SecretId ClientRequestToken SecretString VersionStages', (input) => {
        const secret = this.#usable(input.SecretId);
        const id = input.ClientRequestToken ?? this.#uuid();
        this.#put(secret, id, input.SecretString!, input.VersionStages ?? ['AWSCURRENT']);
        const VersionStages = [...secret.versions.get(id)!.stages];
        return { ARN: secret.arn, Name: secret.name, VersionId: id, VersionStages };
      })
      .write(
        UpdateSecretVersionStageCommand,
        'SecretId VersionStage RemoveFromVersionId MoveToVersionId',
        ({ SecretId, VersionStage, RemoveFromVersionId, MoveToVersionId }) => {
          const secret = this.#usable(SecretId);
          this.#move(secret, VersionStage!, RemoveFromVersionId, MoveToVersionId);
          return { ARN: secret.arn, Name: secret.name };
        },
      )
      .write(TagResourceCommand, 'SecretId Tags', ({ SecretId, Tags }) => {
        const { thing } = this.#usable(SecretId);
        world.retag(thing, { ...thing.tags, ...tagsOf(Tags) });
        return {};
      })
      .write(UntagResourceCommand, 'SecretId TagKeys', ({ SecretId, TagKeys = [] }) => {
        const { thing } = this.#usable(SecretId);
        world.retag(thing, without(thing.tags, TagKeys));
        return {};
      })
      .write(DeleteSecretCommand, 'SecretId RecoveryWindowInDays', ({ SecretId, RecoveryWindowInDays }) => {
        const secret = this.#find(SecretId);
        if (secret.endsAt !== null) throw new Refused('InvalidRequestException', GOING);
        const days = RecoveryWindowInDays ?? 30;
        if (days < 7 || days > 30)
          throw new Refused(
            'InvalidParameterException',
            'RecoveryWindowInDays value must be between 7 and 30 days (inclusive).',
          );
        this.#schedule(secret, days);
        return { ARN: secret.arn, Name: secret.name, DeletionDate: new Date(secret.endsAt!) };
      })
      .write(RestoreSecretCommand, 'SecretId', ({ SecretId }) => {
        const secret = this.#find(SecretId);
        secret.endsAt = null;
        secret.thing.isGoing = false;
        world.note('changed', secret.thing);
        return { ARN: secret.arn, Name: secret.name };
      });
  }

  /** What a task gets for `valueFrom` when it starts, or why it gets nothing. */
  valueFor(valueFrom: string): { readonly value: string } | { readonly why: string } {
    const parts = valueFrom.split(':');
    const [key = '', stage = '', version = ''] = parts.slice(7);
    const secret = this.#byArn.get(parts.slice(0, 7).join(':'));
    if (secret === undefined)
      return { why: "ResourceNotFoundException: Secrets Manager can't find the specified secret." };
    if (secret.endsAt !== null) return { why: `InvalidRequestException: ${MARKED}` };
    const found =
      version === ''
        ? [...secret.versions.values()].find(({ stages }) => stages.has(stage === '' ? 'AWSCURRENT' : stage))
        : secret.versions.get(version);
    if (found === undefined) {
      const what = version === '' ? `value for staging label: ${stage || 'AWSCURRENT'}` : `version: ${version}`;
      return { why: `ResourceNotFoundException: Secrets Manager can't find the specified secret ${what}` };
    }
    if (key === '') return { value: found.value };
    const value = keysOf(found.value)[key];
    return value === undefined
      ? { why: `retrieved secret from Secrets Manager did not contain json key ${key}` }
      : { value };
  }

  // By hand

  tamperings(arn: string): string[] {
    const secret = this.#byArn.get(arn);
    if (secret === undefined) return [];
    if (secret.endsAt !== null) return ['restore'];
    return ['put another value', ...(secret.versions.size > 0 ? ['take labels off'] : [])];
  }

  tamper(arn: string, change: string): void {
    const secret = this.#byArn.get(arn)!;
    if (change === 'put another value') this.#put(secret, this.#uuid(), 'stray', ['AWSCURRENT']);
    else if (change === 'restore') {
      secret.endsAt = null;
      secret.thing.isGoing = false;
      this.#world.note('changed', secret.thing);
    } else {
      for (const { stages } of secret.versions.values())
        for (const stage of stages) if (!stage.startsWith('AWS')) stages.delete(stage);
      this.#world.note('changed', secret.thing);
    }
  }

  delete(arn: string): void {
    const secret = this.#byArn.get(arn)!;
    if (secret.endsAt !== null) throw new Refused('InvalidRequestException', GOING);
    this.#schedule(secret, 30);
  }

  // Within

  #find(id: string | undefined): Secret {
    const secret = this.#byName.get(id ?? '') ?? this.#byArn.get(id ?? '');
    if (secret === undefined)
      throw new Refused('ResourceNotFoundException', "Secrets Manager can't find the specified secret.");
    return secret;
  }

  #usable(id: string | undefined): Secret {
    const secret = this.#find(id);
    if (secret.endsAt !== null) throw new Refused('InvalidRequestException', MARKED);
    return secret;
  }

  #make(
    name: string,
    description: string | undefined,
    value: string | undefined,
    token: string | undefined,
    tags: Tags,
  ): Secret {
    const there = this.#byName.get(name);
    if (there !== undefined) {
      if (there.endsAt !== null)
        throw new Refused(
          'InvalidRequestException',
          "You can't create this secret because a secret with this name is already scheduled for deletion.",
        );
      if (value !== undefined && there.versions.get(token ?? '')?.value === value) return there;
      throw new Refused('ResourceExistsException', `The operation failed because the secret ${name} already exists.`);
    }
    const arn = this.#world.arn('secretsmanager', `secret:${name}-${this.#world.hex(6)}`);
    const thing = this.#world.made(TYPE, arn, name, tags, {
      state: () => (secret.endsAt === null ? 'available' : 'scheduled for deletion'),
    });
    const secret: Secret = { arn, name, description, versions: new Map(), thing, endsAt: null };
    if (value !== undefined) {
      const first = { value, madeAt: this.#world.now(), stages: new Set(['AWSCURRENT']) };
      secret.versions.set(token ?? this.#uuid(), first);
    }
    this.#byName.set(name, secret);
    this.#byArn.set(arn, secret);
    return secret;
  }

  /** https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html */
  #put(secret: Secret, id: string, value: string, labels: readonly string[]): void {
    const there = secret.versions.get(id);
    if (there !== undefined) {
      if (there.value === value) return;
      throw new Refused(
        'ResourceExistsException',
        `You can't use ClientRequestToken ${id} because that value is already in use for a version of secret ` +
          `${secret.arn}.`,
      );
    }
    const kept = new Set([...secret.versions.values()].flatMap(({ stages }) => [...stages]));
    const all = new Set([...kept, ...labels, ...(kept.has('AWSCURRENT') ? ['AWSPREVIOUS'] : [])]);
    if (all.size > LABELS)
      throw new Refused(
        'LimitExceededException',
        'The request failed because it would exceed one of the Secrets Manager quotas: staging labels.',
      );
    const version: Version = { value, madeAt: this.#world.now(), stages: new Set() };
    secret.versions.set(id, version);
    for (const label of labels) this.#label(secret, label, version);
    this.#world.note('changed', secret.thing);
    this.#forgetUnlabelled(secret);
  }

  #label(secret: Secret, label: string, to: Version): void {
    const had = [...secret.versions.values()].find(({ stages }) => stages.has(label));
    if (had === to) return;
    had?.stages.delete(label);
    to.stages.add(label);
    if (label === 'AWSCURRENT' && had !== undefined) this.#label(secret, 'AWSPREVIOUS', had);
  }

  /** https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html */
  #move(secret: Secret, label: string, from: string | undefined, to: string | undefined): void {
    for (const id of [from, to])
      if (id !== undefined && !secret.versions.has(id))
        throw new Refused(
          'ResourceNotFoundException',
          `Secrets Manager can't find the specified secret version: ${id}.`,
        );
    const holder = [...secret.versions].find(([, { stages }]) => stages.has(label))?.[0];
    if (to !== undefined && holder !== undefined && holder !== to && holder !== from)
      throw new Refused(
        'InvalidParameterException',
        `The parameter RemoveFromVersionId can't be empty. Staging label ${label} is currently attached to version ` +
          `${holder}, so you must explicitly reference that version in RemoveFromVersionId.`,
      );
    if (to !== undefined) this.#label(secret, label, secret.versions.get(to)!);
    else secret.versions.get(from!)!.stages.delete(label);
    this.#world.note('changed', secret.thing);
    this.#forgetUnlabelled(secret);
  }

  /** What has no label may be deleted at any time, but not within a day of its making. */
  #forgetUnlabelled(secret: Secret): void {
    const world = this.#world;
    for (const [id, version] of secret.versions)
      if (version.stages.size === 0)
        world.later(version.madeAt + DAY * (1 + world.random()) - world.now(), () => {
          if (version.stages.size === 0) secret.versions.delete(id);
        });
  }

  #schedule(secret: Secret, days: number): void {
    const world = this.#world;
    const endsAt = world.now() + days * DAY;
    secret.endsAt = endsAt;
    secret.thing.isGoing = true;
    world.note('asked to go', secret.thing);
    world.later(days * DAY, () => {
      if (secret.endsAt !== endsAt) return;
      this.#byName.delete(secret.name);
      this.#byArn.delete(secret.arn);
      world.gone(secret.thing);
    });
  }

  #view({ arn, name, description, versions, thing, endsAt }: Secret) {
    return {
      ARN: arn,
      Name: name,
      Description: description,
      Tags: tagListOf(thing.tags),
      VersionIdsToStages: Object.fromEntries(
        [...versions].flatMap(([id, { stages }]) => (stages.size > 0 ? [[id, [...stages]]] : [])),
      ),
      CreatedDate: new Date(thing.since),
      ...(endsAt !== null && { DeletedDate: new Date(endsAt) }),
    };
  }

  #uuid(): string {
    const hex = this.#world.hex(32);
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
  }
}

function keysOf(value: string): Record<string, string> {
  try {
    return JSON.parse(value) as Record<string, string>;
  } catch {
    return {};
  }
}
