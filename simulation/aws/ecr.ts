/** ECR: repositories, and the images that somebody pushed to them. */
import {
  CreateRepositoryCommand,
  DeleteRepositoryCommand,
  DescribeImagesCommand,
  DescribeRepositoriesCommand,
  ListTagsForResourceCommand,
} from '@aws-sdk/client-ecr';
import { Refused, Table } from './operation.ts';
import { tagListOf, tagsOf, type Tags, type Thing, type World } from './world.ts';

interface Repository {
  readonly name: string;
  readonly thing: Thing;
  /** Digests by tag. */
  readonly images: Map<string, string>;
}

const TYPE = 'ecr:repository';

export class Ecr {
  readonly table = new Table();
  readonly #world: World;
  readonly #repositories = new Map<string, Repository>();

  constructor(world: World) {
    this.#world = world;
    this.table
      .read(DescribeRepositoriesCommand, 'repositoryNames', ({ repositoryNames }) => ({
        repositories: (repositoryNames ?? [...this.#repositories.keys()]).map((name) => this.#view(this.#find(name))),
      }))
      .read(ListTagsForResourceCommand, 'resourceArn', ({ resourceArn }) => ({
        tags: tagListOf(this.#find(nameOf(resourceArn!)).thing.tags),
      }))
      .read(DescribeImagesCommand, 'repositoryName registryId imageIds', ({ repositoryName, imageIds }) => {
        const { images } = this.#find(repositoryName!);
        const imageDetails = (imageIds ?? []).map(({ imageTag, imageDigest }) => {
          const digest = imageTag === undefined ? imageDigest : images.get(imageTag);
          if (digest === undefined || ![...images.values()].includes(digest))
            throw new Refused(
              'ImageNotFoundException',
              `The image with imageId {imageDigest:'${imageDigest}', imageTag:'${imageTag}'} does not exist`,
            );
          return { imageDigest: digest, repositoryName };
        });
        return { imageDetails };
      })
      .write(CreateRepositoryCommand, 'repositoryName tags', ({ repositoryName, tags }) => ({
        repository: this.#view(this.#make(repositoryName!, tagsOf(tags))),
      }))
      .write(DeleteRepositoryCommand, 'repositoryName force', ({ repositoryName, force }) => {
        const repository = this.#find(repositoryName!);
        if (repository.images.size > 0 && force !== true)
          throw new Refused('RepositoryNotEmptyException', `The repository '${repositoryName}' still contains images`);
        this.#remove(repository);
        return { repository: this.#view(repository) };
      });
  }

  push(name: string, tag: string, digest: string): void {
    (this.#repositories.get(name) ?? this.#make(name, {})).images.set(tag, digest);
  }

  delete(arn: string): void {
    this.#remove(this.#find(nameOf(arn)));
  }

  #find(name: string): Repository {
    const repository = this.#repositories.get(name);
    if (repository === undefined)
      throw new Refused(
        'RepositoryNotFoundException',
        `The repository with name '${name}' does not exist in the registry with id '${this.#world.id}'`,
      );
    return repository;
  }

  #make(name: string, tags: Tags): Repository {
    if (this.#repositories.has(name))
      throw new Refused(
        'RepositoryAlreadyExistsException',
        `The repository with name '${name}' already exists in the registry with id '${this.#world.id}'`,
      );
    const thing = this.#world.made(TYPE, this.#world.arn('ecr', `repository/${name}`), name, tags);
    const repository: Repository = { name, thing, images: new Map() };
    this.#repositories.set(name, repository);
    return repository;
  }

  #remove({ name, thing }: Repository): void {
    this.#repositories.delete(name);
    this.#world.gone(thing);
  }

  #view({ name, thing }: Repository) {
    const { id, region } = this.#world;
    return {
      repositoryName: name,
      repositoryArn: thing.arn,
      registryId: id,
      repositoryUri: `${id}.dkr.ecr.${region}.amazonaws.com/${name}`,
    };
  }
}

const nameOf = (arn: string): string => arn.slice(arn.indexOf('repository/') + 'repository/'.length);
