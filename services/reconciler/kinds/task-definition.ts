import {
  DeregisterTaskDefinitionCommand,
  DescribeTaskDefinitionCommand,
  ListTaskDefinitionsCommand,
  RegisterTaskDefinitionCommand,
} from '@aws-sdk/client-ecs';
import { arn, createsOurs, ours } from '../aws/arn.ts';
import { codeOf, hasCode } from '../aws/errors.ts';
import type { Grant, Scope } from '../aws/grant.ts';
import { ecsTagList, requireOurs, tagRecord } from '../aws/tags.ts';
import type { Kind } from '../resource.ts';
import { compare } from './compare.ts';
import type { FargateSize } from './fargate.ts';

export interface TaskDefinitionInputs {
  readonly family: string;
  readonly size: FargateSize;
  readonly executionRoleArn: string;
  readonly taskRoleArn: string;
  readonly region: string;
  readonly container: Container;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  /** Its own limits, inside the task's size: CPU units (1024 = one CPU) and MB. */
  readonly cpu: number;
  readonly memoryMb: number;
  readonly port: number;
  readonly environment: Readonly<Record<string, string>>;
  /** By variable: what ECS reads the value from when a task starts (`<secret ARN>:<JSON key>::<version id>`). */
  readonly secrets: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  /** Run by a shell in the container; exit code 0 is healthy. */
  readonly healthCommand?: string;
  readonly stopSeconds: number;
  readonly logGroup: string;
  /** Of its tasks' log streams. @default the container's name */
  readonly logPrefix?: string;
}

/** That tasks may be given: of one deployment, also of one that is older than such, no other's execution role. */
const rolesOf = ({ executionRoleArn, taskRoleArn, ownRoles = false, slot, deployment }: Scope): string[] => [
  executionRoleArn,
  ...(ownRoles && slot === undefined && deployment === undefined ? [`${executionRoleArn}-*`] : []),
  taskRoleArn,
  ...(ownRoles ? [`${taskRoleArn}-*`] : []),
];

interface Live {
  readonly arn: string;
  /** As in the inputs. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly size: FargateSize;
}

/**
 * What runs in a task. Another definition has another family, so an old revision's tasks can always be started again as
 * they were. So nothing is compared (or another version of Freehold, with a default of its own, would roll out every
 * server anew) but two things, for which the family gets another version that the service rolls out. Where the injected
 * secrets are: with one that was made anew, or a database that got another password, tasks can no longer start or work.
 * And the size: a Redis that is of no revision grows with the deployment's type.
 */
export const taskDefinition: Kind<TaskDefinitionInputs, Live, { arn: string; family: string }> = {
  kind: 'task-definition',
  iam: (scope): Grant[] => [
    {
      actions: ['ecs:RegisterTaskDefinition'],
      resources: [arn(scope, 'ecs', `task-definition/${ours(scope).named}:*`)],
      // A definition that says nothing of it is not privileged.
      conditions: { ...createsOurs(scope), BoolIfExists: { 'ecs:privileged': 'false' } },
      why: "registers a revision's task definition, tagged from the start and not privileged",
    },
    {
      actions: ['ecs:TagResource'],
      resources: [arn(scope, 'ecs', `task-definition/${ours(scope).named}:*`)],
      conditions: {
        StringEquals: { ...createsOurs(scope).StringEquals, 'ecs:CreateAction': 'RegisterTaskDefinition' },
      },
      why: 'needed to register it with its tags',
    },
    {
      actions: ['ecs:DescribeTaskDefinition', 'ecs:ListTaskDefinitions', 'ecs:DeregisterTaskDefinition'],
      resources: ['*'],
      why: 'ECS has no narrower scope for these; only definitions with our tags are deregistered',
    },
    {
      actions: ['iam:PassRole'],
      resources: rolesOf(scope),
      conditions: { StringEquals: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } },
      why: "gives the tasks the stack's roles, and task roles that the customer made; ECS alone may take them",
    },
  ],
  pollSeconds: 2,
  limitSeconds: 300,
  foresee: ({ family }) => ({ family }),
  renews: ['arn'],
  effect: () => ({ is: 'replace', means: 'another version of the definition, of which the tasks are started anew' }),
  calls: () => ({ observe: 1, create: 1, change: 1, remove: 1 }),

  async observe({ aws, tags }, { family }) {
    try {
      const found = await aws.ecs.send(
        new DescribeTaskDefinitionCommand({ taskDefinition: family, include: ['TAGS'] }),
      );
      requireOurs(tagRecord(found.tags), tags, family);
      const { taskDefinitionArn, status, containerDefinitions, cpu, memory } = found.taskDefinition!;
      if (status !== 'ACTIVE') return { is: 'absent' };
      const injected = containerDefinitions?.[0]?.secrets ?? [];
      const secrets = Object.fromEntries(injected.map(({ name, valueFrom }) => [name!, valueFrom!]));
      const live = { arn: taskDefinitionArn!, secrets, size: { cpu: Number(cpu), memoryMb: Number(memory) } };
      return { is: 'ready', live, out: { arn: live.arn, family } };
    } catch (error) {
      if (isNoTaskDefinition(error)) return { is: 'absent' };
      throw error;
    }
  },

  diff: ({ container, size }, live) => [
    ...compare(size, live.size),
    ...sorted(container.secrets).flatMap(([name, valueFrom]) => {
      const from = live.secrets[name];
      return from === undefined || from === valueFrom ? [] : [{ field: `secret ${name}`, from, to: valueFrom }];
    }),
  ],

  async converge({ aws, tags }, inputs) {
    const { container, size } = inputs;
    await aws.ecs.send(
      new RegisterTaskDefinitionCommand({
        family: inputs.family,
        requiresCompatibilities: ['FARGATE'],
        networkMode: 'awsvpc',
        cpu: String(size.cpu),
        memory: String(size.memoryMb),
        runtimePlatform: { cpuArchitecture: 'X86_64', operatingSystemFamily: 'LINUX' },
        executionRoleArn: inputs.executionRoleArn,
        taskRoleArn: inputs.taskRoleArn,
        containerDefinitions: [
          {
            name: container.name,
            image: container.image,
            essential: true,
            cpu: container.cpu,
            memory: container.memoryMb,
            portMappings: [{ containerPort: container.port, protocol: 'tcp' }],
            environment: sorted(container.environment).map(([name, value]) => ({ name, value })),
            secrets: sorted(container.secrets).map(([name, valueFrom]) => ({ name, valueFrom })),
            command: container.command && [...container.command],
            healthCheck: container.healthCommand === undefined ? undefined : healthCheck(container.healthCommand),
            stopTimeout: container.stopSeconds,
            ulimits: [{ name: 'nofile', softLimit: 65_535, hardLimit: 65_535 }],
            logConfiguration: {
              logDriver: 'awslogs',
              options: {
                'awslogs-group': container.logGroup,
                'awslogs-region': inputs.region,
                'awslogs-stream-prefix': logPrefixOf(container),
              },
            },
          },
        ],
        tags: ecsTagList(tags),
      }),
    );
  },

  /** All its versions: two passes may have registered one each. */
  async remove({ aws }, { family }) {
    let nextToken: string | undefined;
    const versions: string[] = [];
    do {
      const page = await aws.ecs.send(
        new ListTaskDefinitionsCommand({ familyPrefix: family, status: 'ACTIVE', nextToken }),
      );
      versions.push(...(page.taskDefinitionArns ?? []));
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
    for (const version of versions.filter((found) => familyOf(found) === family)) {
      try {
        await aws.ecs.send(new DeregisterTaskDefinitionCommand({ taskDefinition: version }));
      } catch (error) {
        if (!isNoTaskDefinition(error)) throw error;
      }
    }
  },
};

type Logging = Pick<Container, 'name' | 'logPrefix'>;

const logPrefixOf = ({ name, logPrefix }: Logging): string => logPrefix ?? name;

/** As the awslogs driver names it: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html */
export const logStreamOf = (container: Logging, taskId: string): string =>
  `${logPrefixOf(container)}/${container.name}/${taskId}`;

/** Of `arn:…:task-definition/<family>:<version>`. */
export const familyOf = (taskDefinitionArn: string): string =>
  taskDefinitionArn.replace(/^.*task-definition\//, '').replace(/:\d+$/, '');

/** ECS says it with its general code for anything wrong with a request. */
const isNoTaskDefinition = (error: unknown): boolean =>
  hasCode(error, 'ResourceNotFoundException') ||
  (codeOf(error) === 'ClientException' && /unable to (describe|find)|not found|inactive/i.test(String(error)));

const healthCheck = (command: string) => ({
  command: ['CMD-SHELL', command],
  interval: 10,
  timeout: 5,
  retries: 3,
  startPeriod: 10,
});

const sorted = (record: Readonly<Record<string, string>>): [string, string][] =>
  Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
