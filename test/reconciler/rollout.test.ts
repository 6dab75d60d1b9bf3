/**
 * What a rollout that fails says, from what ECS says of its tasks; and that ECS's going back is not taken for success.
 */
import {
  ECSClient,
  ListServiceDeploymentsCommand,
  ListTasksCommand,
  UpdateServiceCommand,
  type Deployment,
  type Service,
  type ServiceDeploymentBrief,
  type Task,
} from '@aws-sdk/client-ecs';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after as afterAll, before, describe, test } from 'node:test';
import type { Account } from '../../services/reconciler/aws/account.ts';
import { names } from '../../services/reconciler/aws/names.ts';
import { ownerTags } from '../../services/reconciler/aws/tags.ts';
import { ecsService, type EcsServiceInputs } from '../../services/reconciler/kinds/ecs-service.ts';
import { listenerRule } from '../../services/reconciler/kinds/listener-rule.ts';
import { logGroup } from '../../services/reconciler/kinds/log-group.ts';
import { conceal, errorsIn, firstFailure, lastWords, type Watched } from '../../services/reconciler/kinds/rollout.ts';
import { securityGroup } from '../../services/reconciler/kinds/security-group.ts';
import { targetGroup } from '../../services/reconciler/kinds/target-group.ts';
import { taskDefinition } from '../../services/reconciler/kinds/task-definition.ts';
import {
  causeOf,
  crashOf,
  listening,
  sentenceOf,
  type Retry,
  type Told,
} from '../../services/reconciler/kinds/verdict.ts';
import type { Cx, Kind } from '../../services/reconciler/resource.ts';
import type { Rehearsal } from '../../services/rehearsal/index.ts';
import { eventually } from '../support/eventually.ts';
import { makePlace, type TestPlace } from '../support/place.ts';
import { openRehearsal } from '../support/rehearsal.ts';

const ACCOUNT = '350000000003';

const told: Told = { container: { name: 'server', port: 8000 }, healthPath: '/ok', events: [] };
const ECR = '123456789012.dkr.ecr.us-east-1.amazonaws.com';
const IMAGE = `${ECR}/agent@sha256:1`;
const TASK = 'arn:aws:ecs:us-east-1:123456789012:task/freehold/ca675154981d4ebd81b7a97747141a2e';
const taskOf = (container: object, more: object): Task => ({
  taskArn: TASK,
  stopCode: 'TaskFailedToStart',
  containers: [{ name: 'server', image: IMAGE, ...container }],
  ...more,
});
const notStarted = (stoppedReason: string, container: object = {}): Task => taskOf(container, { stoppedReason });
const exited = (container: object, more: object = {}): Task =>
  taskOf(container, {
    stopCode: 'EssentialContainerExited',
    stoppedReason: 'Essential container in task exited',
    ...more,
  });
const SECRETS =
  'ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: ' +
  'unable to retrieve secret from asm: service call has been retried 1 time(s): ';
const SECRET = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:freehold/x/environment-AbCdEf';
const FETCHING = `${SECRETS}failed to fetch secret ${SECRET} from secrets manager: `;
const GROUP = 'arn:aws:elasticloadbalancing:us-west-2:035866691871:targetgroup/stage/555a47e25c5a1850';
const UNHEALTHY = {
  stopCode: 'ServiceSchedulerInitiated',
  stoppedReason: `Task failed ELB health checks in (target-group ${GROUP})`,
};

/** AWS's words, as the page under `from` quotes them; account numbers and names are ours. */
const ENDS: readonly {
  readonly end: string;
  readonly from: string;
  readonly task: Task;
  readonly events?: readonly string[];
  readonly retry: Retry | null;
  readonly why?: string;
}[] = [
  {
    end: 'an image that is not in the registry',
    from: 'https://github.com/aws/containers-roadmap/issues/2687',
    task: notStarted(
      `CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ${ECR}/agent@sha256:1: ${ECR}/agent@sha256:1: not found`,
    ),
    retry: 'useless',
    why: `the image cannot be pulled: "${IMAGE}": pull image manifest has been retried 1 time(s): not found; push it again, or name one that is there`,
  },
  {
    end: 'an image that the execution role may not pull',
    from: 'https://github.com/aws/aws-cdk/issues/29876',
    task: notStarted(
      `CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ${ECR}/agent@sha256:1: pulling from host ${ECR} failed with status code [manifests sha256:1]: 403 Forbidden`,
    ),
    retry: 'once',
    why: `the image cannot be pulled: "${IMAGE}": pull image manifest has been retried 1 time(s): pulling from host ${ECR} failed with status code [manifests sha256:1]: 403 Forbidden; push it again, and let the execution role read its repository`,
  },
  {
    end: 'an image whose layers are not there, in the words of the hub',
    from: 'https://github.com/aws-actions/amazon-ecs-deploy-task-definition/issues/584',
    task: notStarted(
      'CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref agent: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed',
    ),
    retry: 'once',
  },
  {
    end: 'an image of another platform',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html',
    task: notStarted(
      "CannotPullContainerError: pull image manifest has been retried 1 time(s): image Manifest does not contain descriptor matching platform 'linux/amd64'",
    ),
    retry: 'useless',
    why: `the image is of another platform: "${IMAGE}": pull image manifest has been retried 1 time(s): image Manifest does not contain descriptor matching platform 'linux/amd64'; build it for linux/amd64`,
  },
  {
    end: 'an image of another platform, in older words',
    from: 'https://github.com/aws/containers-roadmap/issues/1120',
    task: notStarted('CannotPullContainerError: failed to find a descriptor for platform {linux/amd64}'),
    retry: 'useless',
  },
  {
    end: 'an image by a digest that is there no longer, and is denied for it',
    from: 'https://github.com/aws-samples/bedrock-access-gateway/issues/114',
    task: notStarted(
      `CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ${ECR}/agent:latest@sha256:1: unexpected status from HEAD request to https://${ECR}/v2/agent/blobs/sha256:1: 403 Forbidden`,
    ),
    retry: 'once',
  },
  {
    end: 'too many pulls',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html',
    task: notStarted(
      'CannotPullContainerError: inspect image has been retried 5 time(s): httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/library/redis/manifests/sha256:1: 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit.',
    ),
    retry: 'ecs',
  },
  {
    end: 'no way out of the subnet: the registry is not reached',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html',
    task: notStarted(
      'ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from ' +
        'Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network ' +
        'configuration. operation error ECR: GetAuthorizationToken, exceeded maximum number of attempts, 3, https ' +
        'response error StatusCode: 0, RequestID: , request send failed, Post "https://api.ecr.us-east-1.amazonaws.com' +
        '/": dial tcp 52.94.0.1:443: i/o timeout',
    ),
    retry: 'once',
  },
  {
    end: 'no way out of the subnet: a public image is not reached',
    from: 'https://github.com/ActionIQ/terraform-aws-retool-ecs-fargate/issues/20',
    task: notStarted('Task failed to start', {
      reason:
        'CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref agent:1: ' +
        'failed to do request: Head "https://public.ecr.aws/v2/agent/manifests/1": dial tcp 52.94.0.1:443: i/o timeout',
    }),
    retry: 'once',
    why: 'the task does not get out of its subnet: pull image manifest has been retried 5 time(s): failed to resolve ref agent:1: failed to do request: Head "https://public.ecr.aws/v2/agent/manifests/1": dial tcp 52.94.0.1:443: i/o timeout; look at the NAT gateway, the routes, the endpoints and the security groups',
  },
  {
    end: 'no way out of the subnet: the secret is not reached',
    from: 'https://github.com/umotif-public/terraform-aws-ecs-fargate/issues/50',
    task: notStarted(
      'ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 5 time(s): RequestCanceled: request context canceled caused by: context deadli...',
    ),
    retry: 'once',
  },
  {
    end: 'a registry that the execution role may not use is not a missing secret',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html',
    task: notStarted(
      'ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: ' +
        'unable to retrieve ecr registry auth: service call has been retried 1 time(s): AccessDeniedException: User: ' +
        'arn:aws:sts::123456789012:assumed-role/execution/1 is not authorized to perform: ecr:GetAuthorizationToken on ' +
        'resource: * because no identity-based policy allows the ecr:GetAuthorizationToken action',
    ),
    retry: 'once',
  },
  {
    end: 'a secret that is not there',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html',
    task: notStarted(
      `${FETCHING}ResourceNotFoundException: Secrets Manager can't find the specified secret. status code: 400, request id: 7b0c2c3e-aaaa-bbbb-cccc-000000000001`,
    ),
    retry: 'once',
    why: 'a secret cannot be read: "freehold/x/environment": ResourceNotFoundException: Secrets Manager can\'t find the specified secret.; give its value again',
  },
  {
    end: 'a secret that is being deleted',
    from: 'https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html',
    task: notStarted(
      `${FETCHING}InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion.`,
    ),
    retry: 'useless',
  },
  {
    end: 'a secret that the execution role may not read',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html',
    task: notStarted(
      `${FETCHING}AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/execution/1 is not authorized to perform: secretsmanager:GetSecretValue on resource: ${SECRET} because no identity-based policy allows the secretsmanager:GetSecretValue action status code: 400`,
    ),
    retry: 'once',
    why: 'a secret cannot be read: "freehold/x/environment": "secretsmanager:GetSecretValue" is denied because no identity-based policy allows the secretsmanager:GetSecretValue action; let the execution role read it',
  },
  {
    end: 'a secret without the key',
    from: 'https://github.com/DEFRA/cdp-portal-backend',
    task: notStarted(`${SECRETS}retrieved secret from Secrets Manager did not contain json key TOKEN`),
    retry: 'useless',
    why: 'a secret cannot be read: "TOKEN": the secret has no such key; give the variable a value, or name a key that the secret has',
  },
  {
    end: 'a secret that is no JSON',
    from: 'https://github.com/rileydakota/valheim-ecs-fargate-cdk/issues/9',
    task: notStarted(`${SECRETS}invalid character '\\'' looking for beginning of value`),
    retry: 'useless',
  },
  {
    end: 'a policy of the organization',
    from: 'https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html',
    task: notStarted(
      `${FETCHING}AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/execution/1 is not authorized to perform: secretsmanager:GetSecretValue on resource: ${SECRET} with an explicit deny in a service control policy`,
    ),
    retry: 'useless',
    why: 'an organization policy forbids it: "secretsmanager:GetSecretValue" is denied with an explicit deny in a service control policy; ask whoever keeps the organization\'s policies to allow it',
  },
  {
    end: 'no address left in the subnet',
    from: 'https://github.com/paradisec-archive/nabu/pull/1259',
    task: notStarted(
      "Unexpected EC2 error while attempting to Create Network Interface with public IP assignment disabled in subnet 'subnet-05d93362e947058bc': InsufficientFreeAddressesInSubnet",
    ),
    retry: 'ecs',
    why: 'the subnet has no free address: "subnet-05d93362e947058bc"; free addresses in it, or give the place another subnet',
  },
  {
    end: 'no capacity, after the task was made',
    from: 'https://repost.aws/knowledge-center/ecs-fargate-runtask-capacity',
    task: notStarted(
      'Capacity is unavailable at this time. Please try again later or in a different availability zone',
    ),
    retry: 'ecs',
  },
  {
    end: "AWS's own trouble with the network",
    from: 'https://zenn.dev/mn87/articles/89a72e76e86c59',
    task: notStarted('Timeout waiting for network interface provisioning to complete.'),
    retry: 'ecs',
  },
  {
    end: 'a role that ECS cannot assume',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html',
    task: notStarted(
      "ECS was unable to assume the role 'arn:aws:iam::123456789012:role/execution' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role.",
    ),
    retry: 'once',
    why: 'the role of the tasks cannot be assumed: "arn:aws:iam::123456789012:role/execution"; mend its trust policy: it is part of the stack',
  },
  {
    end: 'an entrypoint that is not there',
    from: 'https://github.com/jenkinsci/amazon-ecs-plugin/issues/258',
    task: notStarted('Task failed to start', {
      reason:
        'CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "-url": executable file not found in $PATH',
    }),
    retry: 'useless',
  },
  {
    end: 'a crash',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html',
    task: exited({ exitCode: 3 }),
    retry: 'once',
    why: 'the server crashed: "server": exit code 3; look at its log',
  },
  {
    end: 'killed from outside',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html',
    task: exited({ exitCode: 137 }),
    retry: 'once',
    why: 'the server crashed: "server": exit code 137 (signal 9); look at its log',
  },
  {
    end: 'a command that the shell does not find',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html',
    task: exited({ exitCode: 127 }),
    retry: 'useless',
  },
  {
    end: 'too little memory',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/out-of-memory.html',
    task: exited({ exitCode: 137, reason: 'OutOfMemoryError: Container killed due to memory usage' }),
    retry: 'once',
    why: 'the server ran out of memory: "server": Container killed due to memory usage; give it more memory',
  },
  {
    end: 'a health check that fails, with what the balancer got',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html',
    task: exited({ exitCode: 143 }, UNHEALTHY),
    events: [
      `(service x) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed with these codes: [503]).`,
    ],
    retry: 'ecs',
    why: 'the health check failed: "GET /ok": Health checks failed with these codes: [503]; look at why it is not well',
  },
  {
    end: 'of two tasks, what is said of this one',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html',
    task: exited({ exitCode: 143 }, UNHEALTHY),
    events: [
      `(service x) (task 0b69d5c0d6554695) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Request timed out).`,
      `(service x) (task ca675154981d4ebd81b7a97747141a2e) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed with these codes: [404]).`,
    ],
    retry: 'once',
    why: 'the health check failed: "GET /ok": Health checks failed with these codes: [404]; the server has to answer it with 200, without asking who is there',
  },
  {
    end: 'nobody listens on the port',
    from: 'https://github.com/hackforla/CivicTechJobs/issues/436',
    task: exited({ exitCode: 143 }, UNHEALTHY),
    events: [`(service x) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed).`],
    retry: 'ecs',
    why: 'the port is not opened: "8000": nothing answered "GET /ok" there; let the server listen on 0.0.0.0 and on the port that PORT says',
  },
  {
    end: 'no answer in time',
    from: 'https://github.com/aws/copilot-cli/issues/4838',
    task: exited({ exitCode: 143 }, UNHEALTHY),
    events: [`(service x) (port 80) is unhealthy in (target-group ${GROUP}) due to (reason Request timed out).`],
    retry: 'ecs',
    why: 'the health check failed: "GET /ok": Request timed out; look at why it does not answer in time',
  },
  {
    end: "the container's own check",
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html',
    task: exited(
      { exitCode: 143 },
      { stopCode: 'ServiceSchedulerInitiated', stoppedReason: 'Task failed container health checks' },
    ),
    retry: 'ecs',
  },
  {
    end: 'another task answers wrongly, which may be one of the revision that served',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html',
    task: exited({ exitCode: 143 }, UNHEALTHY),
    events: [
      `(service x) (task 0b69d5c0d6554695) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed with these codes: [401]).`,
    ],
    retry: 'ecs',
    why: `the health check failed: "GET /ok": Task failed ELB health checks in (target-group ${GROUP}); look at why it is not well`,
  },
  {
    end: 'it wants to know who asks',
    from: 'https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html',
    task: exited({ exitCode: 143 }, UNHEALTHY),
    events: [
      `(service x) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed with these codes: [401]).`,
    ],
    retry: 'useless',
  },
  {
    end: 'what stands in front of a server answers before that one has started',
    from: 'https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html',
    task: exited({ exitCode: 143 }, UNHEALTHY),
    events: [
      `(service x) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed with these codes: [401, 503]).`,
    ],
    retry: 'ecs',
  },
  {
    end: 'a layer that the storage does not find for a moment',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html',
    task: notStarted(
      'CannotPullContainerError: httpReadSeeker: failed open: content at https://prod.s3.us-east-1.amazonaws.com/layer not found: not found',
    ),
    retry: 'once',
  },
  {
    end: 'a registry that asks to slow down in the words of HTTP alone',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html',
    task: notStarted(
      `CannotPullContainerError: failed to resolve ref ${ECR}/agent@sha256:1: unexpected status code: 429 Too Many Requests, context deadline exceeded`,
    ),
    retry: 'ecs',
  },
  {
    end: 'a registry that is not well',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html',
    task: notStarted(
      `CannotPullContainerError: failed to resolve ref ${ECR}/agent@sha256:1: unexpected status from HEAD request: 503 Service Unavailable`,
    ),
    retry: 'ecs',
  },
  {
    end: "a file of the platform's own that is missing",
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html',
    task: notStarted('Task failed to start', {
      reason:
        'CannotStartContainerError: failed to create shim task: open /run/containerd/x/config.json: no such file or directory',
    }),
    retry: 'once',
  },
  {
    end: 'scaled in',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html',
    task: exited(
      { exitCode: 143 },
      { stopCode: 'ServiceSchedulerInitiated', stoppedReason: 'Scaling activity initiated by (deployment ecs-svc/1)' },
    ),
    retry: null,
  },
  {
    end: 'maintenance of the platform',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-maintenance.html',
    task: exited(
      { exitCode: 143 },
      {
        stopCode: 'TerminationNotice',
        stoppedReason: 'ECS is performing maintenance on the underlying infrastructure hosting the task',
      },
    ),
    retry: null,
  },
  {
    end: 'Spot takes its capacity back',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html',
    task: exited({ exitCode: 143 }, { stopCode: 'SpotInterruption', stoppedReason: 'Your Spot Task was interrupted.' }),
    retry: null,
  },
  {
    end: 'stopped by hand',
    from: 'https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html',
    task: exited({ exitCode: 143 }, { stopCode: 'UserInitiated', stoppedReason: 'Task stopped by user' }),
    retry: null,
  },
];

for (const { end, from, task, events = [], retry, why } of ENDS) {
  test(`the end of a task: ${end} (${from})`, () => {
    const cause = causeOf(task, { ...told, events });
    assert.equal(cause?.retry ?? null, retry, JSON.stringify(cause));
    if (why !== undefined) assert.equal(cause && sentenceOf(cause, ''), why);
  });
}

const crash = causeOf(exited({ exitCode: 3 }), told)!;
const TRACEBACK = 'Traceback (most recent call last):\n  File "/api/langgraph_api/lifespan.py", line 19, in lifespan';

/** What servers print before they end; `from` quotes it. */
for (const { end, from, log, retry, why } of [
  {
    end: 'a licence that is refused',
    from: 'https://github.com/langchain-ai/langgraph-studio/issues/219',
    log: [
      `${TRACEBACK}\nValueError: License verification failed. Please ensure proper configuration:`,
      'Review your configuration settings and try again. If issues persist, contact support for assistance.',
      '[error    ] Application startup failed. Exiting.',
    ],
    retry: 'once',
    why: /^the server refuses its licence: "LANGGRAPH_CLOUD_LICENSE_KEY", "LANGSMITH_API_KEY"; give one of them/,
  },
  {
    end: 'a licence key that is none, as JSON lines',
    from: 'https://github.com/langchain-ai/langgraph-studio/issues/11',
    log: [
      JSON.stringify({ level: 'error', event: `${TRACEBACK}\nValueError: License key is not valid` }),
      JSON.stringify({ level: 'error', event: 'Application startup failed. Exiting.' }),
    ],
    retry: 'useless',
    why: /^the server refuses its licence: /,
  },
  {
    end: 'a licence server that is not reached',
    from: 'https://github.com/langchain-ai/langgraph/issues/2937',
    log: [
      'Error checking Langsmith access [langgraph_license.validation]',
      `${TRACEBACK}\nhttpx.ConnectError: [Errno -2] Name or service not known`,
      `${TRACEBACK}\nValueError: License verification failed. Please ensure proper configuration:`,
    ],
    retry: 'ecs',
    why: /^the server refuses its licence: .*; let the tasks reach the licence server$/,
  },
  {
    end: 'PostgreSQL that refuses connections',
    from: 'https://www.psycopg.org/psycopg3/docs/api/errors.html',
    log: [
      `${TRACEBACK}\npsycopg.OperationalError: connection failed: connection to server at "10.0.1.5", port 5432 failed: Connection refused`,
    ],
    retry: 'ecs',
    why: /^the database cannot be reached: "PostgreSQL"; look at its address and its firewall$/,
  },
  {
    end: 'PostgreSQL behind a firewall',
    from: 'https://www.psycopg.org/psycopg3/docs/api/errors.html',
    log: [`${TRACEBACK}\npsycopg.errors.ConnectionTimeout: connection timeout expired`],
    retry: 'ecs',
    why: /^the database cannot be reached: "PostgreSQL"; /,
  },
  {
    end: 'Redis that is not there',
    from: 'https://redis.readthedocs.io/en/stable/exceptions.html',
    log: [
      `${TRACEBACK}\nredis.exceptions.ConnectionError: Error 111 connecting to cache.local:6379. Connection refused.`,
    ],
    retry: 'ecs',
    why: /^the database cannot be reached: "Redis"; /,
  },
  {
    end: 'a wrong password',
    from: 'https://www.postgresql.org/docs/current/client-authentication-problems.html',
    log: ['psycopg.OperationalError: FATAL:  password authentication failed for user "langgraph"'],
    retry: 'once',
    why: /^the database refuses the server: "PostgreSQL"; look at its user, password and name$/,
  },
  {
    end: 'PostgreSQL that is starting',
    from: 'https://www.postgresql.org/docs/current/server-start.html',
    log: [`${TRACEBACK}\npsycopg.OperationalError: connection failed: FATAL:  the database system is starting up`],
    retry: 'ecs',
    why: /^the database is not ready: "PostgreSQL"; /,
  },
  {
    end: 'PostgreSQL that is full of the other revision',
    from: 'https://www.postgresql.org/docs/current/runtime-config-connection.html',
    log: ['asyncpg.exceptions.TooManyConnectionsError: sorry, too many clients already'],
    retry: 'ecs',
    why: /^the database is not ready: "PostgreSQL"; /,
  },
  {
    end: 'a migration that another task is at',
    from: 'https://www.postgresql.org/docs/current/runtime-config-client.html',
    log: ['psycopg.errors.LockNotAvailable: canceling statement due to lock timeout'],
    retry: 'ecs',
    why: /^the database is not ready: "PostgreSQL"; /,
  },
  {
    end: 'Redis that reads its data',
    from: 'https://redis.io/docs/latest/operate/oss_and_stack/management/troubleshooting/',
    log: ['redis.exceptions.BusyLoadingError: LOADING Redis is loading the dataset in memory'],
    retry: 'ecs',
    why: /^the database is not ready: "Redis"; /,
  },
  {
    end: 'a licence server that is not well',
    from: 'https://github.com/langchain-ai/langgraph/issues/2937',
    log: [
      "httpx.HTTPStatusError: Server error '503 Service Unavailable' for url",
      'ValueError: License verification failed. Please ensure proper configuration:',
    ],
    retry: 'ecs',
    why: /; let the tasks reach the licence server$/,
  },
  {
    end: 'a warning about a licence long before',
    from: 'https://github.com/langchain-ai/langgraph-studio/issues/11',
    log: ['Error: License key is not valid: no tracing', ...[1, 2, 3, 4, 5].map((n) => `RuntimeError: ${n}`)],
    retry: 'once',
    why: /^the server crashed: /,
  },
  {
    end: 'a module that is not in the image',
    from: 'https://docs.python.org/3/library/exceptions.html#ModuleNotFoundError',
    log: [`${TRACEBACK}\nModuleNotFoundError: No module named 'langchain_openai'`],
    retry: 'useless',
    why: /^the server crashed: "server": exit code 3; mend the image: what it runs cannot be loaded$/,
  },
  {
    end: 'a program of another platform',
    from: 'https://github.com/aws-containers/ecs-anywhere-tutorial/issues/2',
    log: ['standard_init_linux.go:228: exec user process caused: exec format error'],
    retry: 'useless',
    why: /^the image cannot be run: .*; build it for linux\/amd64$/,
  },
  {
    end: 'a warning about a module does not say why it ended',
    from: 'https://docs.python.org/3/library/exceptions.html#ImportError',
    log: ['ImportError: no uvloop, going on without it', 'RuntimeError: the port is taken'],
    retry: 'once',
    why: /^the server crashed: "server": exit code 3; look at its log$/,
  },
  {
    end: 'somebody else refuses a connection',
    from: 'https://www.python-httpx.org/exceptions/',
    log: [`${TRACEBACK}\nhttpx.ConnectError: [Errno 111] Connection refused`],
    retry: 'once',
    why: /^the server crashed: /,
  },
]) {
  test(`the log of a crash: ${end} (${from})`, () => {
    const cause = crashOf(crash, errorsIn(log));
    assert.equal(cause.retry, retry);
    assert.match(sentenceOf(cause, ''), why);
  });
}

const unopened = causeOf(exited({ exitCode: 143 }, UNHEALTHY), {
  ...told,
  events: [`(service x) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed).`],
})!;
for (const { says, retry, at } of [
  { says: ['applying migrations'], retry: 'ecs' },
  { says: [], retry: 'ecs' },
  { says: ['INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)'], retry: 'ecs' },
  {
    says: ['INFO:     Uvicorn running on http://0.0.0.0:8123 (Press CTRL+C to quit)'],
    retry: 'once',
    at: '0.0.0.0:8123',
  },
  { says: ['INFO:     Uvicorn running on http://127.0.0.1:8000'], retry: 'once', at: '127.0.0.1:8000' },
  { says: ['[INFO] Listening at: http://127.0.0.1:8000 (7)'], retry: 'once', at: '127.0.0.1:8000' },
  { says: ['Running on http://[::1]:8000'], retry: 'once', at: '[::1]:8000' },
  { says: ['Server listening on port 3000'], retry: 'once', at: '*:3000' },
  { says: ['metrics: listening on 0.0.0.0:9090', 'listening on 0.0.0.0:8000'], retry: 'ecs' },
  { says: ['started a worker at 12:30'], retry: 'ecs' },
])
  test(`a port that is not opened, while the log says ${JSON.stringify(says)}`, () => {
    const cause = listening(unopened, says, 8000);
    assert.equal(cause.retry, retry);
    if (at !== undefined) assert.equal(cause.which, `"8000": it listens on "${at}"`);
  });

/** Seconds of a rollout. */
const after = (seconds: number): Date => new Date(Date.UTC(2026, 0, 1) + seconds * 1000);
const ROLLOUT = 'ecs-svc/1';
const DEFINITION = 'arn:aws:ecs:us-east-1:123456789012:task-definition/freehold-x-r2:1';
let count = 0;
const ran = (from: number, until: number, task: Task): Task => ({
  ...task,
  taskArn: `${TASK}${count++}`,
  taskDefinitionArn: DEFINITION,
  startedBy: ROLLOUT,
  createdAt: after(from),
  startedAt: after(from + 1),
  stoppingAt: after(until),
});
const crashed = exited({ exitCode: 1 });
const unreadable = notStarted(`${FETCHING}ResourceNotFoundException: Secrets Manager can't find the specified secret.`);
const foreign = (task: Task): Task => ({ ...task, startedBy: 'ecs-svc/0' });

/** ECS and CloudWatch Logs as they answer; `asked` is what they were asked. */
function answering(state: {
  service?: Service;
  stopped?: Task[];
  running?: Task[];
  log?: string[];
  earlier?: string[];
  rollouts?: ServiceDeploymentBrief[];
}) {
  const asked: string[] = [];
  const tasks = [...(state.stopped ?? []), ...(state.running ?? [])];
  const send = async (command: { constructor: { name: string }; input: unknown }): Promise<unknown> => {
    const name = command.constructor.name.replace('Command', '');
    asked.push(name);
    const input = command.input as { desiredStatus?: string; tasks?: string[]; logStreamName?: string };
    if (name === 'DescribeServices') return { services: [state.service] };
    if (name === 'ListTasks')
      return { taskArns: (input.desiredStatus === 'STOPPED' ? state.stopped : state.running)?.map((t) => t.taskArn) };
    if (name === 'DescribeTasks') return { tasks: tasks.filter((task) => input.tasks!.includes(task.taskArn!)) };
    if (name === 'GetLogEvents') {
      const isFirst = (input.logStreamName ?? '').endsWith(state.stopped?.[0]?.taskArn?.split('/').at(-1) ?? '');
      const lines = (isFirst ? state.earlier : state.log) ?? state.log ?? [];
      return { events: lines.map((message) => ({ message })) };
    }
    if (name === 'DescribeTargetHealth')
      return {
        TargetHealthDescriptions: [{ TargetHealth: { State: 'initial', Reason: 'Elb.InitialHealthChecking' } }],
      };
    if (name === 'ListServiceDeployments') return { serviceDeployments: state.rollouts };
    if (name === 'DescribeServiceRevisions')
      return { serviceRevisions: [{ serviceRevisionArn: 'revision/2', taskDefinition: DEFINITION }] };
    if (name === 'StopServiceDeployment') return {};
    throw new Error(`nobody expected ${name}`);
  };
  return { aws: { ecs: { send }, logs: { send }, elb: { send } } as unknown as Account, asked };
}

const WATCHED: Watched = {
  ...told,
  clusterArn: 'arn:aws:ecs:us-east-1:123456789012:cluster/freehold',
  taskDefinitionArn: DEFINITION,
  id: ROLLOUT,
  container: { name: 'server', port: 8000, logGroup: '/x' },
};

for (const { stream, stopped, running = [], log = [], earlier = log, events = [], verdict } of [
  { stream: 'nothing has ended', stopped: [], verdict: undefined },
  { stream: 'one crash may be bad luck', stopped: [ran(0, 10, crashed)], verdict: false },
  {
    stream: 'siblings that meet the same trouble are one failure',
    stopped: [ran(0, 10, crashed), ran(0, 11, crashed), ran(1, 12, crashed)],
    verdict: false,
  },
  { stream: 'the next try ends in the same way', stopped: [ran(0, 10, crashed), ran(12, 20, crashed)], verdict: true },
  {
    stream: 'the next try ends in another way',
    stopped: [ran(0, 10, unreadable), ran(12, 20, crashed)],
    verdict: false,
  },
  {
    stream: 'tries end in the same way while one that ran before still does',
    stopped: [ran(0, 10, crashed), ran(12, 20, crashed)],
    running: [{ ...ran(0, 0, {}), lastStatus: 'RUNNING' }],
    verdict: false,
  },
  {
    stream: 'crashes with other exit codes are others',
    stopped: [ran(0, 10, exited({ exitCode: 3 })), ran(12, 20, crashed)],
    verdict: false,
  },
  {
    stream: 'a slow start is for ECS to judge, however often',
    stopped: [0, 200].map((n) => ran(n, n + 125, exited({ exitCode: 143 }, UNHEALTHY))),
    verdict: false,
  },
  {
    stream: 'one that says where else it listens has not been slow',
    stopped: [0, 200].map((n) => ran(n, n + 125, exited({ exitCode: 143 }, UNHEALTHY))),
    events: [`(service x) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed).`],
    log: ['Uvicorn running on http://127.0.0.1:8000'],
    verdict: true,
  },
  {
    stream: 'once is not enough for that either',
    stopped: [ran(0, 125, exited({ exitCode: 143 }, UNHEALTHY))],
    events: [`(service x) (port 8000) is unhealthy in (target-group ${GROUP}) due to (reason Health checks failed).`],
    log: ['Uvicorn running on http://127.0.0.1:8000'],
    verdict: false,
  },
  {
    stream: 'a database that is starting is met twice',
    stopped: [ran(0, 10, crashed), ran(12, 20, crashed)],
    log: ['psycopg.OperationalError: FATAL:  the database system is starting up'],
    verdict: false,
  },
  {
    stream: 'the first met a database that was starting, and the second crashed by itself',
    stopped: [ran(0, 10, crashed), ran(12, 20, crashed)],
    log: ['KeyError: X'],
    earlier: ['psycopg.OperationalError: FATAL:  the database system is starting up'],
    verdict: false,
  },
  {
    stream: 'tries end in the same way while one that began between them runs for longer than they did',
    stopped: [ran(0, 10, crashed), ran(20, 28, crashed)],
    running: [{ ...ran(11, 0, {}), lastStatus: 'RUNNING' }],
    verdict: false,
  },
  {
    stream: 'what no retry can help does not happen to another task of it',
    stopped: [ran(5, 10, exited({ exitCode: 127 }))],
    running: [{ ...ran(0, 0, {}), lastStatus: 'RUNNING' }],
    verdict: false,
  },
  {
    stream: 'the one that runs now has only just begun',
    stopped: [ran(0, 10, crashed), ran(12, 20, crashed)],
    running: [{ ...ran(22, 0, {}), lastStatus: 'RUNNING' }],
    verdict: true,
  },
  {
    stream: 'what a retry cannot help is the verdict at once',
    stopped: [ran(0, 10, notStarted(`${SECRETS}retrieved secret from Secrets Manager did not contain json key TOKEN`))],
    verdict: true,
  },
  {
    stream: 'also when something else ended later',
    stopped: [ran(0, 10, exited({ exitCode: 127 })), ran(0, 20, crashed)],
    verdict: true,
  },
  {
    stream: 'the log of one crash leaves no doubt',
    stopped: [ran(0, 10, crashed)],
    log: ["ModuleNotFoundError: No module named 'x'"],
    verdict: true,
  },
  {
    stream: 'a database that is starting is met again',
    stopped: [ran(0, 10, crashed)],
    log: ['psycopg.OperationalError: connection to server at "10.0.1.5", port 5432 failed: Connection refused'],
    verdict: false,
  },
  {
    stream: 'capacity and addresses are not a matter of tries',
    stopped: [0, 20, 40].map((n) => ran(n, n + 5, notStarted('InsufficientFreeAddressesInSubnet'))),
    verdict: false,
  },
  {
    stream: 'maintenance between two tries is none',
    stopped: [ran(0, 10, exited({}, { stopCode: 'TerminationNotice' })), ran(12, 20, crashed)],
    verdict: false,
  },
  {
    stream: 'scaling says nothing',
    stopped: [
      ran(
        0,
        10,
        exited({}, { stopCode: 'ServiceSchedulerInitiated', stoppedReason: 'Scaling activity initiated by x' }),
      ),
    ],
    verdict: undefined,
  },
  {
    stream: 'tasks of an earlier rollout of the same definition say nothing',
    stopped: [foreign(ran(0, 10, crashed)), foreign(ran(12, 20, crashed))],
    verdict: undefined,
  },
] as {
  stream: string;
  stopped: Task[];
  running?: Task[];
  log?: string[];
  /** Of the first task. */
  earlier?: string[];
  events?: string[];
  verdict?: boolean;
}[])
  test(`a stream of ends: ${stream}`, async () => {
    const { aws } = answering({ stopped, running, log, earlier });
    assert.equal((await firstFailure(aws, { ...WATCHED, events }))?.isCertain, verdict);
  });

const SERVICE: Service = {
  serviceArn: 'arn:aws:ecs:us-east-1:123456789012:service/freehold/freehold-x',
  serviceName: 'freehold-x',
  status: 'ACTIVE',
  taskDefinition: DEFINITION,
  tags: [{ key: 'freehold:deployment', value: 'x' }],
};
const rolling = (counts: Partial<Deployment>, ...events: string[]): Service => ({
  ...SERVICE,
  deployments: [
    {
      id: ROLLOUT,
      status: 'PRIMARY',
      taskDefinition: DEFINITION,
      desiredCount: 1,
      pendingCount: 0,
      runningCount: 0,
      failedTasks: 0,
      createdAt: after(0),
      rolloutState: 'IN_PROGRESS',
      ...counts,
    },
  ],
  events: events.map((message, i) => ({
    id: String(i),
    createdAt: after(60 - i),
    message: `(service freehold-x) ${message}`,
  })),
});
const STARTED = 'has started 1 tasks: (task ca675154981d4ebd81b7a97747141a2e).';
const BALANCED = { targetGroupArn: GROUP, graceSeconds: 120, healthPath: '/ok' };

/** What a look costs, and says. */
for (const { look, service, is, says, asks } of [
  { look: 'nothing is started yet', service: rolling({}), is: 'busy', says: /^0 of 1 tasks running$/, asks: [] },
  { look: 'a task starts', service: rolling({ pendingCount: 1 }, STARTED), is: 'busy', says: /^0 of 1/, asks: [] },
  {
    look: 'it runs: the balancer is asked',
    service: rolling({ runningCount: 1 }, STARTED),
    is: 'busy',
    says: /^1 of 1/,
    asks: ['DescribeTargetHealth'],
  },
  {
    look: 'it is gone, though ECS counts no failure',
    service: rolling({}, STARTED),
    is: 'busy',
    says: /^0 of 1 tasks running: the server crashed: "server": exit code 1; look at its log; ECS tries again$/,
    asks: ['ListTasks', 'DescribeTasks', 'GetLogEvents'],
  },
  {
    look: 'there is no room for it',
    service: rolling(
      {},
      'was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.',
    ),
    is: 'busy',
    says: /a task cannot be placed: Capacity is unavailable at this time/,
    asks: [],
  },
  {
    look: 'its role cannot be assumed',
    service: rolling(
      {},
      "failed to launch a task with (error ECS was unable to assume the role 'arn:aws:iam::123456789012:role/x' that was provided for this task.).",
    ),
    is: 'busy',
    says: /a task cannot be placed: ECS was unable to assume the role/,
    asks: [],
  },
  {
    look: 'ECS takes up what was complete before: old failures say nothing',
    service: rolling({ pendingCount: 1 }, `(deployment ${ROLLOUT}) deployment completed.`, STARTED, STARTED),
    is: 'busy',
    says: /^0 of 1 tasks running$/,
    asks: [],
  },
])
  test(`a look at a rollout: ${look}`, async () => {
    const { aws, asked } = answering({ service, stopped: [ran(0, 10, crashed)] });
    const cx = { aws, tags: { 'freehold:deployment': 'x' }, fence: async () => {} } as unknown as Cx;
    const seen = await ecsService.observe(cx, INPUTS);
    assert.equal(seen.is, is);
    assert.match('why' in seen ? seen.why : '', says);
    assert.deepEqual(asked, ['DescribeServices', ...asks]);
  });

const INPUTS: EcsServiceInputs = {
  name: 'freehold-x',
  clusterArn: WATCHED.clusterArn,
  taskDefinitionArn: DEFINITION,
  subnets: [],
  securityGroups: [],
  min: 1,
  max: 1,
  minHealthy: 100,
  maxRunning: 200,
  balanced: BALANCED,
  container: { name: 'server', port: 8000, logGroup: '/x' },
};

// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/view-service-deployment.html: the last 90 days.
test('what has served for longer than ECS keeps its history is gone back to all the same', async () => {
  const old = DEFINITION.replace('r2', 'r1');
  const service = rolling({ pendingCount: 1 }, STARTED);
  service.deployments!.push({ id: 'ecs-svc/0', status: 'ACTIVE', taskDefinition: old, rolloutState: 'COMPLETED' });
  const last = { serviceDeploymentArn: 'rollout/2', targetServiceRevisionArn: 'revision/2' };
  const { aws, asked } = answering({ service, rollouts: [{ ...last, status: 'IN_PROGRESS', createdAt: after(0) }] });
  const cx = { aws, tags: { 'freehold:deployment': 'x' }, fence: async () => {} } as unknown as Cx;
  const seen = await ecsService.observe(cx, { ...INPUTS, taskDefinitionArn: old });
  assert(seen.is === 'busy');
  assert.deepEqual(seen.live.back, { rolloutArn: 'rollout/2', isAsked: false });
  const rolled = { ...seen.live, isRolling: true };
  assert.equal(await ecsService.halt!(cx, INPUTS, rolled, true), 'stopped: ECS goes back to what served');
  assert.equal(asked.at(-1), 'StopServiceDeployment');
});

// A rollout that somebody else began, and ECS could not even take back, leaves no task and starts none.
test('of a definition that is wanted and was given up, another rollout is worth a try', async () => {
  const { aws } = answering({ service: rolling({ rolloutState: 'FAILED', failedTasks: 3 }) });
  const cx = { aws, tags: { 'freehold:deployment': 'x' }, fence: async () => {} } as unknown as Cx;
  const seen = await ecsService.observe(cx, INPUTS);
  assert(seen.is === 'broken');
  const again = ecsService.diff(INPUTS, seen.live).filter(({ isAgain }) => isAgain);
  assert.deepEqual(again, [{ field: 'rollout', from: 'given up', to: 'another', isAgain: true }]);
});

for (const [line, shown] of [
  ['connect postgresql://langgraph:hunter2@db:5432/x failed', 'connect postgresql://…@db:5432/x failed'],
  ['OPENAI_API_KEY=sk-abcdefgh12345678 is wrong', 'OPENAI_API_KEY=… is wrong'],
  ['{"password": "hunter2", "n": 1}', '{"password": "…", "n": 1}'],
  ['Authorization: Bearer abc.def', 'Authorization: …'],
  ['used lsv2_pt_0123456789abcdef twice', 'used lsv2_… twice'],
  ['KeyError: REDIS_URI', 'KeyError: REDIS_URI'],
  ['aws_secret_access_key=wJalr/XUtn+FEMI is wrong', 'aws_secret_access_key=… is wrong'],
  ['AWS_SECRET_ACCESS_KEY: wJalr/XUtn+FEMI', 'AWS_SECRET_ACCESS_KEY: …'],
  ['used AKIAIOSFODNN7EXAMPLE twice', 'used AKIA… twice'],
  ['PRIVATE_KEY=MIIEvQIBADAN', 'PRIVATE_KEY=…'],
  ['PRIVATE_KEY="two words" DEBUG=1', 'PRIVATE_KEY="…" DEBUG=1'],
  ['key -----BEGIN RSA PRIVATE KEY----- MIIEvQ', 'key …'],
  ['{"db_password_prod": "hunter2"}', '{"db_password_prod": "…"}'],
  ["{'db_password_prod': 'hunt\"er2', 'n': 1}", "{'db_password_prod': '…', 'n': 1}"],
  ['body {\\"token\\": \\"hunter2\\"}', 'body {\\"token\\": \\"…\\"}'],
  ['got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln back', 'got eyJ… back'],
  ['redis://:pa/ss@host:6379 is down', 'redis://…@host:6379 is down'],
  ['postgresql://u:p@ss@host/x and "redis://:x@y"', 'postgresql://…@host/x and "redis://…@y"'],
  ['credentials: hunter2', 'credentials: …'],
  ['sent Bearer abcdefghijklmnopqrst', 'sent Bearer …'],
  ['denied: secretsmanager:GetSecretValue on x', 'denied: secretsmanager:GetSecretValue on x'],
  ['could not connect to https://host/path: 500', 'could not connect to https://host/path: 500'],
]) {
  test(`in a log line: ${shown}`, () => assert.equal(conceal(line!), shown));
}

const json = (level: string, event: string, more: object = {}): string =>
  JSON.stringify({ level, event, timestamp: '2026-01-01T00:00:00Z', thread: 'MainThread', ...more });
const traceback = [
  'Traceback (most recent call last):',
  '  File "/app/agent.py", line 3, in <module>',
  '    connect()',
  'ConnectionRefusedError: [Errno 111] Connection refused',
];
for (const [reason, lines, shown] of [
  [
    'plain lines',
    ['starting', 'listening', 'boom: no configuration'],
    ['starting', 'listening', 'boom: no configuration'],
  ],
  ['of JSON lines the sentence', [json('info', 'starting'), json('info', 'started')], ['starting', 'started']],
  ['errors before anything else', [json('error', 'no graph "a"'), json('info', 'shutting down')], ['no graph "a"']],
  ['of a traceback the exception', ['starting', ...traceback, ''], [traceback.at(-1)!]],
  ['also when its beginning is cut off', traceback.slice(1), [traceback.at(-1)!]],
  [
    'a traceback in a JSON line',
    [json('error', 'startup failed', { exception: traceback.join('\n') }), json('info', 'bye')],
    [traceback.at(-1)!],
  ],
  [
    'a chain of exceptions',
    [
      ...traceback,
      '',
      'During handling of the above exception, another exception occurred:',
      '',
      ...traceback.slice(0, 3),
      'ValueError: no',
    ],
    [traceback.at(-1)!, 'ValueError: no'],
  ],
  [
    'a group of exceptions',
    ['  + Exception Group Traceback (most recent call last):', '  |   File "x.py", line 1', '  | ValueError: no'],
    ['ValueError: no'],
  ],
  ['a stack of Node', ['Error: no such file', '    at open (node:fs:1:2)'], ['Error: no such file']],
  ['a line once', ['error: a', 'error: a'], ['error: a']],
  ['concealed', [json('error', 'bad password=hunter2')], ['bad password=…']],
  ['no half of a word', [`${'word '.repeat(34)}hunter2hunter2`], [`${'word '.repeat(34)}…`]],
  ['what has no sentence', [JSON.stringify({ value: 'hunter2' }), ''], []],
] as [string, string[], string[]][]) {
  test(`the end of a log: ${reason}`, () => assert.deepEqual(lastWords(lines), shown));
}

test('the end of a log is short, however much was said', () => {
  const said = lastWords(Array.from({ length: 100 }, (_, i) => `error ${i}: ${'x '.repeat(300)}`));
  assert.ok(said.length > 0 && said.join('" "').length <= 260, String(said.join().length));
});

describe('in the emulated account', { timeout: 240_000, concurrency: 3 }, () => {
  let rehearsal: Rehearsal;
  let t: TestPlace;
  let aws: Account;
  let repository: string;

  before(async () => {
    rehearsal = await openRehearsal();
    t = await makePlace(rehearsal, ACCOUNT);
    aws = await t.accounts.enter(t.place, { name: 'rollouts' });
    const { uri } = await rehearsal.pushImage({
      account: ACCOUNT,
      region: 'us-east-1',
      repository: 'app',
      image: 'stub',
    });
    repository = uri;
  });
  afterAll(async () => {
    t.close();
    await rehearsal.stop();
  });

  async function ready<In, Out>(kind: Kind<In, unknown, Out>, cx: Cx, inputs: In, seconds = 60): Promise<Out> {
    return eventually(
      `${kind.kind} is ready`,
      async () => {
        const now = await kind.observe(cx, inputs);
        if (now.is === 'broken') throw new Error(now.why);
        const live = now.is === 'absent' ? undefined : now.live;
        const changes = live === undefined ? [] : kind.diff(inputs, live);
        if (live === undefined || changes.length > 0) await kind.converge(cx, inputs, live, changes);
        return now.is === 'ready' && changes.length === 0 ? now.out : undefined;
      },
      { seconds, every: 100 },
    );
  }

  /** What a service needs, and ways to define and ask for its revisions. */
  async function prepared() {
    const deployment = { id: randomUUID(), name: 'agent' };
    const called = names(t.place, deployment);
    const cx = (node: string): Cx => ({
      aws,
      tags: ownerTags(t.place, deployment.id, node),
      fence: async () => {},
    });
    await ready(logGroup, cx('log-group'), { name: called.logGroup, retentionDays: 7 });
    const group = await ready(securityGroup, cx('service-group'), {
      name: called.serviceGroup,
      vpcId: t.place.vpcId,
      description: 'a test',
      ingress: [{ port: 8000, fromGroup: t.place.loadBalancerSecurityGroupId }],
    });
    const targets = await ready(targetGroup, cx('target-group'), {
      name: called.targetGroup,
      vpcId: t.place.vpcId,
      port: 8000,
      health: { path: '/ok', intervalSeconds: 5, timeoutSeconds: 2, healthyAfter: 2, unhealthyAfter: 2, codes: '200' },
      drainSeconds: 10,
    });
    await ready(listenerRule, cx('listener-rule'), {
      listenerArn: t.place.listenerArn,
      targetGroupArn: targets.arn,
      match: { path: `/${deployment.id}` },
    });
    const define = (
      number: number,
      given: { env?: Record<string, string>; image?: string; secrets?: Record<string, string> },
    ) =>
      ready(taskDefinition, cx(`task-r${number}`), {
        family: called.taskFamily(number),
        size: { cpu: 256, memoryMb: 512 },
        executionRoleArn: t.place.executionRoleArn,
        taskRoleArn: t.place.taskRoleArn,
        region: t.place.region,
        container: {
          name: 'server',
          image: given.image ?? repository,
          cpu: 256,
          memoryMb: 512,
          port: 8000,
          environment: given.env ?? {},
          secrets: given.secrets ?? {},
          stopSeconds: 30,
          logGroup: called.logGroup,
        },
      });
    const inputs = (taskDefinitionArn: string): EcsServiceInputs => ({
      name: called.service,
      clusterArn: t.place.clusterArn,
      taskDefinitionArn,
      subnets: t.place.privateSubnetIds,
      securityGroups: [group.id],
      min: 1,
      max: 1,
      minHealthy: 100,
      maxRunning: 200,
      balanced: { targetGroupArn: targets.arn, graceSeconds: 5, healthPath: '/ok' },
      container: { name: 'server', port: 8000, logGroup: called.logGroup },
    });
    return { cx: cx('service'), define, inputs };
  }

  /** ECS' verdict on a revision that is asked for, as the pass would ask. */
  async function brokenness(cx: Cx, inputs: EcsServiceInputs): Promise<string> {
    const before = await ecsService.observe(cx, inputs);
    assert.notEqual(before.is, 'broken', 'not tried yet');
    const live = before.is === 'absent' ? undefined : before.live;
    await ecsService.converge(cx, inputs, live, live === undefined ? [] : ecsService.diff(inputs, live));
    return eventually(
      'ECS gives up',
      async () => {
        const now = await ecsService.observe(cx, inputs);
        return now.is === 'broken' && now.why;
      },
      { seconds: 90, every: 200 },
    );
  }

  /** As the history of rollouts says, which is read late. */
  const givenUp = (cx: Cx, inputs: EcsServiceInputs) =>
    eventually(
      'it is known as given up',
      async () => {
        const now = await ecsService.observe(cx, inputs);
        return now.is === 'broken' && now;
      },
      { seconds: 10, every: 100 },
    );

  async function verdictOn(given: { env?: Record<string, string>; image?: string; secrets?: Record<string, string> }) {
    const { cx, define, inputs } = await prepared();
    const first = await define(1, {});
    await ready(ecsService, cx, inputs(first.arn));
    const second = inputs((await define(2, given)).arn);
    const why = await brokenness(cx, second);
    // Whoever wants the first one makes ECS go back to it, without another rollout of it.
    const { arn } = await ready(ecsService, cx, inputs(first.arn), 90);
    const { serviceDeployments: rollouts = [] } = await aws.ecs.send(
      new ListServiceDeploymentsCommand({ cluster: t.place.clusterArn, service: arn }),
    );
    assert.equal(rollouts.length, 2, 'of the first and of the second');
    // It is ready for whoever wants that one, and still broken for whoever wants the second.
    const after = await givenUp(cx, second);
    assert(
      ecsService.diff(second, after.live).every(({ isAgain }) => isAgain),
      'what ECS gave up on is not asked for again by whoever has seen that',
    );
    assert.equal(after.why, why, 'the same sentence later');
    // A third revision goes on from there.
    await ready(ecsService, cx, inputs((await define(3, { env: { REVISION: '3' } })).arn), 90);
    return why;
  }

  test('a broken image', async () => {
    const image = `${ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/app@sha256:${'0'.repeat(64)}`;
    assert.match(await verdictOn({ image }), /^the image cannot be pulled: ".*app@sha256:0+": /);
  });

  test('a missing secret', async () => {
    const arn = `arn:aws:secretsmanager:us-east-1:${ACCOUNT}:secret:freehold/none/environment-AbCdEf`;
    assert.match(await verdictOn({ secrets: { KEY: `${arn}:KEY::` } }), /^a secret cannot be read: /);
  });

  test('a crashing server', async () => {
    const why = await verdictOn({ env: { CRASH: 'start', EXIT_CODE: '3' } });
    assert.match(
      why,
      /^the server crashed: "server": exit code 3; last log lines: .*"boom: cannot start with this configuration"/,
    );
  });

  test('a failing health check', async () => {
    const why = await verdictOn({ env: { UNHEALTHY: '1' } });
    assert.match(why, /^the health check failed: "GET \/ok": .*503/);
  });

  // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html promises no order
  test('a rollout that was taken back is found among many', async () => {
    const { cx, define, inputs } = await prepared();
    const first = inputs((await define(1, {})).arn);
    await ready(ecsService, cx, first);
    const owner = new ECSClient({
      endpoint: rehearsal.endpoint,
      region: 'us-east-1',
      credentials: rehearsal.root(ACCOUNT),
    });
    const again = new UpdateServiceCommand({
      cluster: first.clusterArn,
      service: first.name,
      forceNewDeployment: true,
    });
    for (let n = 0; n < 120; n++) await owner.send(again);
    owner.destroy();
    const second = inputs((await define(2, { image: repository.replace(/.{64}$/, '0'.repeat(64)) })).arn);
    const why = await brokenness(cx, second);
    await ready(ecsService, cx, first, 90);
    assert.equal((await givenUp(cx, second)).why, why);
  });

  test('a server that runs out of memory', async () => {
    const { cx, define, inputs } = await prepared();
    await ready(ecsService, cx, inputs((await define(1, {})).arn));
    const { arn } = await define(2, { env: { UNHEALTHY: '1' } });
    let decided = false;
    const kernel = (async () => {
      while (!decided) {
        const family = arn.split('/').at(-1)!.split(':')[0]!;
        const { taskArns = [] } = await aws.ecs.send(
          new ListTasksCommand({ cluster: t.place.clusterArn, family, desiredStatus: 'RUNNING' }),
        );
        // Those that do not run yet have nothing to kill.
        await Promise.all(taskArns.map((task) => rehearsal.outOfMemory(task).catch(() => {})));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
    const why = await brokenness(cx, inputs(arn)).finally(() => (decided = true));
    await kernel;
    assert.match(why, /^the server ran out of memory: "server": Container killed due to memory usage/);
  });

  test('the very first revision fails: there is nothing to go back to, and the second one runs all the same', async () => {
    const { cx, define, inputs } = await prepared();
    const first = inputs((await define(1, { env: { CRASH: 'start' } })).arn);
    assert.match(await brokenness(cx, first), /^the server crashed: /);
    await ready(ecsService, cx, inputs((await define(2, {})).arn), 90);
  });
});
