"""One container of a task: what it is started with, its process, its log stream and its health check."""

import json
import logging
import os
import re
import shlex
import time
from typing import TYPE_CHECKING

from ministack.core.responses import new_uuid, request_scope
from ministack.services import cloudwatch_logs, ecs_metadata, secretsmanager, ssm

from account import addresses, credentials, durations, images, keys, logs, processes, reachability, rights, settings

if TYPE_CHECKING:
    from account.tasks import Task

LOOPBACK = re.compile(r"(?<![\w.-])(localhost|127\.0\.0\.1)(?![\w.-])")
STOP_TIMEOUT = 30
STOP_TIMEOUT_LIMIT = 120
# In the words of https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html
UNABLE_AT_ALL = "ResourceInitializationError: unable to pull secrets or registry auth: "
UNABLE = f"{UNABLE_AT_ALL}execution resource retrieval failed: "
DROPPED = f"dial tcp {reachability.INTERNET}:443: i/o timeout"
CANCELED = "https response error StatusCode: 0, RequestID: , canceled, context deadline exceeded"
log = logging.getLogger("rehearsal.ecs")


class StartError(Exception):
    """The task cannot start; the text is its stoppedReason."""


class Container:
    def __init__(self, task: "Task", definition: dict, override: dict, executes: bool):
        self.task = task
        self.definition = definition
        self.override = override
        self.name: str = definition["name"]
        self.essential: bool = definition.get("essential", True)
        self.check: dict | None = definition.get("healthCheck")
        self.image: images.Image | None = None
        self.process: processes.Process | None = None
        self.started = False
        self.probe: processes.Process | None = None
        self.failures = 0
        self.token = new_uuid().replace("-", "")
        self.stream: tuple[str, str, str] | None = None  # region, group, stream
        self.secrets: dict[str, str] = {}
        self.record = {
            "containerArn": task.arn.replace(":task/", ":container/") + "/" + new_uuid(),
            "taskArn": task.arn,
            "name": self.name,
            "image": definition["image"],
            "lastStatus": "PENDING",
            "networkInterfaces": [],
            "healthStatus": "UNKNOWN",
            **({"managedAgents": [{"name": "ExecuteCommandAgent", "lastStatus": "PENDING"}]} if executes else {}),
            "cpu": str(definition.get("cpu", 0)),
            **({"memory": str(definition["memory"])} if definition.get("memory") else {}),
            **(
                {"memoryReservation": str(definition["memoryReservation"])}
                if definition.get("memoryReservation")
                else {}
            ),
        }

    @property
    def exited(self) -> bool:
        return self.started and (self.process is None or not self.process.alive)

    # Before it starts ---------------------------------------------------------------------------------------

    def cut_off(self) -> str:
        """'' or the stopped reason of a task that does not get to what it needs before it can start."""
        task, image = self.task, self.definition["image"]
        no_way = "Check your task network configuration."
        private = images.is_private(image)

        def leaves(service: str) -> bool:
            return not reachability.leaves(task.interface, service)

        if private and not leaves("ecr.api"):
            return (
                f"{UNABLE_AT_ALL}The task cannot pull registry auth from Amazon ECR: There is a connection issue "
                f"between the task and Amazon ECR. {no_way} operation error ECR: GetAuthorizationToken, exceeded "
                "maximum number of attempts, 3, https response error StatusCode: 0, RequestID: , request send failed, "
                f'Post "https://api.ecr.{task.region}.amazonaws.com/": {DROPPED}'
            )
        for secret in self.definition.get("secrets") or []:
            arn = ":".join(secret["valueFrom"].split(":")[:7])
            if not arn.startswith("arn:") or ":ssm:" in arn:
                if not leaves("ssm"):
                    return (
                        f"{UNABLE_AT_ALL}unable to retrieve secrets from ssm: The task cannot pull secrets from AWS "
                        "Systems Manager. There is a connection issue between the task and AWS Systems Manager "
                        f"Parameter Store. {no_way} operation error SSM: GetParameters, {CANCELED}"
                    )
            elif not leaves("secretsmanager"):
                return (
                    f"{UNABLE_AT_ALL}unable to retrieve secret from asm: There is a connection issue between the task "
                    f"and AWS Secrets Manager. {no_way} failed to fetch secret {arn} from secrets manager: operation "
                    f"error Secrets Manager: GetSecretValue, {CANCELED}"
                )
        for service in ("ecr.dkr", "s3") if private else ("internet",):
            if not leaves(service):
                name, tag, digest = images.split(image)
                registry, _, path = name.partition("/")
                self.record["reason"] = (
                    f"CannotPullContainerError: The task cannot pull '{path}' from the registry '{registry}'. There is "
                    f"a connection issue between the task and the registry. {no_way} : pull image manifest has been "
                    f"retried 5 time(s): failed to resolve ref {image}: failed to do request: Head "
                    f'"https://{registry}/v2/{path}/manifests/{digest or tag}": {DROPPED}'
                )
                return self.record["reason"]
        if (self.definition.get("logConfiguration") or {}).get("logDriver") == "awslogs" and not leaves("logs"):
            return (
                "ResourceInitializationError: failed to validate logger args: The task cannot find the Amazon "
                "CloudWatch log group defined in the task definition. There is a connection issue between the task "
                "and Amazon CloudWatch. Check your network configuration. : signal: killed"
            )
        return ""

    def read_secrets(self) -> None:
        for secret in self.definition.get("secrets") or []:
            self.secrets[secret["name"]] = read_secret(secret["valueFrom"], self.task)

    def open_log(self) -> None:
        """The awslogs driver's stream. Raises StartError as the driver does."""
        configuration = self.definition.get("logConfiguration") or {}
        if configuration.get("logDriver") != "awslogs":
            return
        options, task = configuration.get("options") or {}, self.task
        group, region = options.get("awslogs-group", ""), options.get("awslogs-region") or task.region
        prefix = options.get("awslogs-stream-prefix")
        stream = f"{prefix}/{self.name}/{task.id}" if prefix else self.token
        failed = "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
        arn = f"arn:aws:logs:{region}:{task.account}:log-group:{group}"
        with request_scope(task.account, region):
            if (
                str(options.get("awslogs-create-group", "")).lower() == "true"
                and group not in cloudwatch_logs._log_groups
            ):
                why = rights.denied(task.execution_role, task.id, "logs:CreateLogGroup", f"{arn}:log-stream:", region)
                if why:
                    raise StartError(
                        f"{failed}failed to create Cloudwatch log group: AccessDeniedException: {why} : exit status 1"
                    )
                cloudwatch_logs._create_log_group({"logGroupName": group})
            why = rights.denied(
                task.execution_role, task.id, "logs:CreateLogStream", f"{arn}:log-stream:{stream}", region
            )
            if why:
                raise StartError(
                    f"{failed}failed to create Cloudwatch log stream: AccessDeniedException: {why} : exit status 1"
                )
            status, _, body = cloudwatch_logs._create_log_stream({"logGroupName": group, "logStreamName": stream})
        if status >= 400:
            error = json.loads(body)
            code = str(error.get("__type", "")).rsplit("#", 1)[-1]
            message = (
                "The specified log group does not exist."
                if code == "ResourceNotFoundException"
                else error.get("message", "")
            )
            raise StartError(f"{failed}failed to create Cloudwatch log stream: {code}: {message} : exit status 1")
        if rights.denied(task.execution_role, task.id, "logs:PutLogEvents", f"{arn}:log-stream:{stream}", region):
            return  # as on AWS, it starts all the same and its output is lost
        self.stream = (region, group, stream)

    def pull(self, pinned: str | None) -> None:
        """Find the image; `pinned` is the digest that the service's deployment resolved its tag to. Raises
        images.PullError.
        """
        reference = self.definition["image"]
        name, tag, digest = images.split(reference)
        task = self.task
        wanted = f"{name}@{pinned}" if pinned and not digest and images.is_private(reference) else reference
        self.image = images.pull(wanted, task.execution_role, task.id, task.region, task.platform)
        self.record["imageDigest"] = self.image.digest

    # Running ------------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        task, definition = self.task, self.definition
        env = {**self.image.env, "HOME": str(self.directory), "TMPDIR": str(self.directory)}
        env |= {pair["name"]: pair["value"] for pair in definition.get("environment") or []}
        env |= self.secrets
        env |= {pair["name"]: pair["value"] for pair in self.override.get("environment") or []}
        env = addresses.rewrite(env, task.interface)
        env = {name: LOOPBACK.sub(task.address, value) for name, value in env.items()}
        env["PATH"] = env.get("PATH", images.PATH)
        metadata = f"http://127.0.0.1:{settings.PORT}/v4/{self.token}"
        role = task.overrides.get("taskRoleArn") or task.definition.get("taskRoleArn")
        if role:
            env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = credentials.issue(self.token, role, task.id)
        return {
            **env,
            "ECS_AGENT_URI": f"{metadata}/api",
            "ECS_CONTAINER_METADATA_URI": metadata,
            "ECS_CONTAINER_METADATA_URI_V4": metadata,
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "AWS_DEFAULT_REGION": task.region,
            "AWS_REGION": task.region,
            "AWS_ENDPOINT_URL": settings.ENDPOINT,  # what it calls stays here
            "HOST": task.address,
        }

    @property
    def directory(self):
        """Its own scratch directory, gone with the task."""
        return settings.DIRECTORY / "tasks" / self.task.id / self.name

    def _argv(self) -> list[str]:
        entrypoint, command = (
            self.definition.get("entryPoint"),
            self.override.get("command") or self.definition.get("command"),
        )
        if entrypoint:
            argv = [*entrypoint, *(command or [])]
        else:
            argv = [*self.image.entrypoint, *(command or self.image.cmd)]
        return [LOOPBACK.sub(self.task.address, word) for word in self.image.here(argv)]

    def start(self) -> None:
        """Raises StartError when the program cannot be run."""
        self.directory.mkdir(parents=True, exist_ok=True)
        env, argv = self.environment(), self._argv()
        self._env, cwd = env, self.definition.get("workingDirectory")
        self._cwd = cwd if cwd and os.path.isdir(cwd) else (self.image.cwd or str(self.directory))
        if not argv:
            raise StartError(f"CannotStartContainerError: no command specified for container {self.name}")
        self._register_metadata()
        try:
            self.process = processes.start(
                argv,
                env,
                self._cwd,
                self.task.address,
                self._line,
                self._exit,
                within=self.task.interface.what,
                label={
                    "account": self.task.account,
                    "region": self.task.region,
                    "taskArn": self.task.arn,
                    "container": self.name,
                },
            )
        except OSError as error:
            raise StartError(
                "CannotStartContainerError: failed to create new container runtime task: failed to create shim "
                "task: OCI runtime create failed: "
                f'runc create failed: unable to start container process: exec: "{argv[0]}": {error.strerror}: unknown'
            ) from None
        self.started = True
        timeout = self.definition.get("startTimeout")
        if timeout:
            self.task.after(durations.timer(timeout), lambda: self.task.start_timed_out(self))
        self.record |= {"lastStatus": "RUNNING", "runtimeId": f"{self.task.id}-{abs(hash(self.name)) % 10**10}"}
        ecs_metadata.set_container_status(self.token, "RUNNING")
        if self.check:
            self._up = processes.Span(self.task.address, time.monotonic)
            self._next_probe()

    def stop(self) -> None:
        if self.process is not None:
            timeout = min(self.definition.get("stopTimeout") or STOP_TIMEOUT, STOP_TIMEOUT_LIMIT)
            self.process.stop(timeout)

    def _line(self, line: str) -> None:
        if self.stream is None:
            return
        region, group, stream = self.stream
        with request_scope(self.task.account, region):
            logs.write(group, stream, self._as_there(line))

    def _as_there(self, line: str) -> str:
        """A line with the address that the task has in its subnet: that of this machine would read as a loopback."""
        here = rf"(?<![\w.]){re.escape(self.task.address)}(?!\w|\.\d)"
        return re.sub(here, self.task.private_address, line)

    def _exit(self, code: int) -> None:
        if self.stream is not None:
            region, group, stream = self.stream
            with request_scope(self.task.account, region):
                logs.flush(group, stream)
        self.task.soon(lambda: self._exited(code))

    def _exited(self, code: int) -> None:
        self.record |= {"lastStatus": "STOPPED", "exitCode": code}
        ecs_metadata.set_container_status(self.token, "STOPPED")
        if self.probe is not None:
            self.probe.kill()
        self.task.container_exited(self)

    def _register_metadata(self) -> None:
        task = self.task
        ecs_metadata.register_container(
            self.token,
            task.arn,
            {
                "Cluster": task.record["clusterArn"],
                "TaskARN": task.arn,
                "Family": task.definition["family"],
                "Revision": str(task.definition["revision"]),
                "DesiredStatus": "RUNNING",
                "KnownStatus": task.record["lastStatus"],
                "AvailabilityZone": task.record["availabilityZone"],
                "LaunchType": "FARGATE",
                **({"ServiceName": task.service.name} if task.service else {}),
            },
            {
                "DockerId": self.token,
                "Name": self.name,
                "DockerName": self.name,
                "Image": self.definition["image"],
                "ImageID": self.image.digest,
                "DesiredStatus": "RUNNING",
                "KnownStatus": "PENDING",
                "Type": "NORMAL",
                "ContainerARN": self.record["containerArn"],
                "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [task.private_address]}],
            },
        )

    # Health -------------------------------------------------------------------------------------------------

    def _next_probe(self) -> None:
        self.task.after(durations.timer(self.check.get("interval", 30)), self._probe)

    def _probe(self) -> None:
        if self.exited or self.task.record["desiredStatus"] == "STOPPED":
            return
        kind, *words = self.check["command"]
        if kind == "NONE":
            return
        if kind == "CMD-SHELL":
            words = ["/bin/sh", "-c", words[0] if words else "exit 1"]
        elif kind != "CMD":
            words = ["/bin/sh", "-c", shlex.join([kind, *words])]
        argv = [LOOPBACK.sub(self.task.address, word) for word in self.image.here(words)]
        try:
            self.probe = processes.start(
                argv,
                self._env,
                self._cwd,
                self.task.address,
                None,
                lambda code: self.task.soon(lambda: self._probed(code == 0)),
                within=self.task.interface.what,
                label={
                    "account": self.task.account,
                    "region": self.task.region,
                    "healthCheckOf": self.task.arn,
                    "container": self.name,
                },
            )
        except OSError:
            return self._probed(False)
        probe = self.probe
        self.task.after(self.check.get("timeout", 5), lambda: probe.kill())

    def _probed(self, passed: bool) -> None:
        self.probe = None
        if self.exited:
            return
        within_start_period = not self._up.exceeds(durations.timer(self.check.get("startPeriod", 0)))
        if passed:
            self.failures = 0
            self._health("HEALTHY")
        elif not within_start_period or self.record["healthStatus"] == "HEALTHY":
            self.failures += 1
            if self.failures >= self.check.get("retries", 3):
                self._health("UNHEALTHY")
        self._next_probe()

    def _health(self, status: str) -> None:
        if self.record["healthStatus"] != status:
            self.record["healthStatus"] = status
            self.task.health_changed()


def read_secret(value_from: str, task: "Task") -> str:
    """The value behind a container secret's valueFrom, read with the execution role's rights. Raises StartError in the
    agent's words.
    """
    if ":ssm:" in value_from or not value_from.startswith("arn:"):
        return _read_parameter(value_from, task)
    parts = value_from.split(":") + ["", "", ""]
    arn, key, stage, version = ":".join(parts[:7]), parts[7], parts[8], parts[9]
    region, account = parts[3], parts[4]
    failed = f"{UNABLE}unable to retrieve secret from asm: service call has been retried 1 time(s): "
    fetching = f"{failed}failed to fetch secret {arn} from secrets manager: "
    with request_scope(account, region):
        found = [
            s
            for s in secretsmanager._secrets.values()
            if s["ARN"] == arn or re.fullmatch(re.escape(arn) + "-[A-Za-z0-9]{6}", s["ARN"])
        ]
        real = found[0]["ARN"] if found else arn
        context = {"secretsmanager:secretid": real}
        if version:
            context["secretsmanager:versionid"] = version
        context["secretsmanager:versionstage"] = stage or "AWSCURRENT"
        why = rights.denied(task.execution_role, task.id, "secretsmanager:GetSecretValue", real, region, context)
        if why:
            raise StartError(f"{fetching}AccessDeniedException: {why} status code: 400")
        encrypting = keys.customers(found[0].get("KmsKeyId")) if found else ""
        through = {"kms:viaservice": f"secretsmanager.{region}.amazonaws.com", "kms:encryptioncontext:secretarn": real}
        if encrypting and rights.denied(task.execution_role, task.id, "kms:Decrypt", encrypting, region, through):
            raise StartError(f"{fetching}AccessDeniedException: {keys.NO_ACCESS} status code: 400")
        asked = {
            "SecretId": real,
            **({"VersionId": version} if version else {}),
            **({"VersionStage": stage} if stage else {}),
        }
        status, _, body = secretsmanager._get_secret_value(asked)
    answer = json.loads(body)
    if status < 400 and version and stage and stage not in answer["VersionStages"]:
        status, answer = (
            400,
            {
                "__type": "InvalidRequestException",
                "message": "You provided a VersionStage that is not associated to the provided VersionId.",
            },
        )
    if status >= 400:
        raise StartError(
            f"{fetching}{str(answer.get('__type', '')).rsplit('#', 1)[-1]}: {answer.get('message', '')} status "
            f"code: {status}"
        )
    text = answer.get("SecretString")
    if text is None:
        raise StartError(f"{failed}secret {arn} has no string value")
    if not key:
        return text
    try:
        value = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        raise StartError(f"{failed}retrieved secret from Secrets Manager did not contain json key {key}") from None
    return value if isinstance(value, str) else json.dumps(value)


def _read_parameter(value_from: str, task: "Task") -> str:
    name = value_from.split(":parameter", 1)[-1] if value_from.startswith("arn:") else value_from
    region = value_from.split(":")[3] if value_from.startswith("arn:") else task.region
    failed = f"{UNABLE}unable to retrieve secrets from ssm: service call has been retried 1 time(s): "
    arn = f"arn:aws:ssm:{region}:{task.account}:parameter/{name.lstrip('/')}"
    why = rights.denied(task.execution_role, task.id, "ssm:GetParameters", arn, region)
    if why:
        raise StartError(f"{failed}AccessDeniedException: {why} status code: 400")
    with request_scope(task.account, region):
        value = ssm.resolve_parameter_value(name)
        if value is None and name.startswith("/"):
            value = ssm.resolve_parameter_value(name.lstrip("/"))
    if value is None:
        raise StartError(f"{failed}invalid parameters: {name}")
    return value
