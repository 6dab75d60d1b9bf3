"""ECS's service scheduler: rolling updates, health, replacement with backoff, the circuit breaker, and the history of
deployments.

A service is looked at when something about it changed, at most every `ecs.scheduler`. A look never waits: it starts
tasks, stops tasks, moves the deployment's state on, and says when to look again. A deployment here is ECS's word: one
rollout of a service.
"""

import copy
import math
import string
from typing import Any

from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import cloudwatch, ecs

from account import announcements, capacity, clock, durations, scheduler
from account.tasks import Task

EVENTS_KEPT = 100
LOOK_SECONDS = 0.2  # at the least, between looks at targets whose health may change
BACKOFF_LIMIT_DOUBLINGS = 7
PROOF_SECONDS = (
    1.5  # a task without any check works if it still runs then; a real process fails as late as it fails, at any pace
)
CONFIGURATION = (
    "loadBalancers",
    "serviceRegistries",
    "networkConfiguration",
    "platformVersion",
    "capacityProviderStrategy",
    "launchType",
)
FAILED_TO_START = "ECS deployment circuit breaker: tasks failed to start."
ALARM_DETECTED = "ECS deployment failed: alarm detected."
MORE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."

services: dict[
    str, "Service"
] = {}  # by ARN; the ACTIVE and DRAINING ones, and INACTIVE ones for as long as they are described
history: dict[str, "ServiceDeployment"] = {}  # by ARN
revisions: dict[str, dict] = {}  # service revisions as DescribeServiceRevisions shows them, by ARN


def _digits(count: int) -> str:
    return "".join(durations.random("ecs.ids").choices("0123456789", k=count))


class Deployment:
    """One entry of a service's `deployments`."""

    def __init__(self, service: "Service", definition: dict, desired: int):
        self.service = service
        self.id = f"ecs-svc/{_digits(19)}"
        self.definition = definition
        self.desired = desired
        self.status = "PRIMARY"
        self.created = self.updated = clock.now()
        self.failed = 0  # consecutive, for the breaker
        self.setbacks = 0  # consecutive, for the backoff
        self.not_before = 0.0
        self.state = "IN_PROGRESS"
        self.reason = f"ECS deployment {self.id} in progress."
        self.launching = True
        self.steady_since: float | None = None
        self.digests: dict[str, str] = {}
        self.configuration = {key: copy.deepcopy(service.record.get(key)) for key in CONFIGURATION}
        prefix = service.arn.replace(":service/", ":service-revision/")
        self.revision_arn = f"{prefix}/{_digits(19)}"
        revisions[self.revision_arn] = {"_deployment": self, "createdAt": self.created}
        self.under: ServiceDeployment | None = None

    @property
    def tasks(self) -> list[Task]:
        return [task for task in self.service.tasks if task.deployment is self]

    @property
    def wanted(self) -> list[Task]:
        return [task for task in self.tasks if task.wanted]

    def view(self) -> dict:
        return {
            "id": self.id,
            "status": self.status,
            "taskDefinition": self.definition["taskDefinitionArn"],
            "desiredCount": self.desired if self.status == "PRIMARY" else min(self.desired, len(self.wanted)),
            "pendingCount": sum(task.pending for task in self.tasks),
            "runningCount": sum(task.running for task in self.tasks),
            "failedTasks": self.failed,
            "createdAt": self.created,
            "updatedAt": self.updated,
            "launchType": self.configuration["launchType"],
            "capacityProviderStrategy": self.configuration["capacityProviderStrategy"],
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "networkConfiguration": self.configuration["networkConfiguration"],
            "rolloutState": self.state,
            "rolloutStateReason": self.reason,
        }

    def revision(self) -> dict:
        containers = self.definition["containerDefinitions"]
        return {
            "serviceRevisionArn": self.revision_arn,
            "serviceArn": self.service.arn,
            "clusterArn": self.service.record["clusterArn"],
            "taskDefinition": self.definition["taskDefinitionArn"],
            "launchType": self.configuration["launchType"],
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "loadBalancers": self.configuration["loadBalancers"] or [],
            "serviceRegistries": self.configuration["serviceRegistries"] or [],
            "networkConfiguration": self.configuration["networkConfiguration"],
            "containerImages": [
                {
                    "containerName": c["name"],
                    "image": c["image"],
                    **({"imageDigest": self.digests[c["name"]]} if c["name"] in self.digests else {}),
                }
                for c in containers
            ],
            "guardDutyEnabled": False,
            "createdAt": self.created,
        }

    def summary(self) -> dict:
        return {
            "arn": self.revision_arn,
            "requestedTaskCount": self.desired if self.status == "PRIMARY" else len(self.wanted),
            "runningTaskCount": sum(t.running for t in self.tasks),
            "pendingTaskCount": sum(t.pending for t in self.tasks),
        }


class ServiceDeployment:
    """What ListServiceDeployments lists: one attempt to bring a service to a new revision, with its rollback if there
    was one.
    """

    OPEN = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")

    def __init__(self, service: "Service", target: Deployment, sources: list[Deployment]):
        self.service, self.target, self.sources = service, target, sources
        self.arn = (
            service.arn.replace(":service/", ":service-deployment/")
            + "/"
            + "".join(durations.random("ecs.ids").choices(string.ascii_letters + string.digits, k=21))
        )
        self.status, self.status_reason = "PENDING", None
        self.created = self.updated = clock.now()
        self.started: float | None = None
        self.finished: float | None = None
        self.stopped: float | None = None
        self.rollback: dict | None = None
        self.triggered = False
        self.counts: dict | None = None
        self.configuration = copy.deepcopy(service.record["deploymentConfiguration"])
        alarms = self.configuration.get("alarms") or {}
        # An alarm that rings at the start is not listened to: else nobody could deploy what mends it.
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
        self.alarms: list[str] = alarms.get("alarmNames") or [] if alarms.get("enable") else []
        if ringing(self.alarms):
            self.alarms = []
        self.heard: list[str] = []
        history[self.arn] = self
        target.under = self

    @property
    def open(self) -> bool:
        return self.status in self.OPEN

    def become(self, status: str, reason: str | None = None) -> None:
        self.status, self.updated = status, clock.now()
        if reason:
            self.status_reason = reason
        if status == "IN_PROGRESS":
            self.started = self.updated
        if not self.open:
            self.finished = self.updated
            self.counts = self.target.summary()
        if status in ("STOPPED", "STOP_REQUESTED", "ROLLBACK_REQUESTED"):
            self.stopped = self.updated

    def brief(self) -> dict:
        return {
            "serviceDeploymentArn": self.arn,
            "serviceArn": self.service.arn,
            "clusterArn": self.service.record["clusterArn"],
            "createdAt": self.created,
            "startedAt": self.started,
            "finishedAt": self.finished,
            "targetServiceRevisionArn": self.target.revision_arn,
            "status": self.status,
            "statusReason": self.status_reason,
        }

    def view(self) -> dict:
        breaker = self.service.breaker
        monitoring = "MONITORING" if self.open else "MONITORING_COMPLETE"
        brief = self.brief()
        brief.pop("targetServiceRevisionArn")
        return {
            **brief,
            "updatedAt": self.updated,
            "stoppedAt": self.stopped,
            "sourceServiceRevisions": [source.summary() for source in self.sources],
            "targetServiceRevision": self.counts or self.target.summary(),
            "deploymentConfiguration": self.configuration,
            "rollback": self.rollback,
            "deploymentCircuitBreaker": {
                "status": "TRIGGERED" if self.triggered else monitoring if breaker.get("enable") else "DISABLED",
                "failureCount": self.target.failed,
                "threshold": self.service.threshold,
            },
            "alarms": {
                "status": "TRIGGERED" if self.heard else monitoring if self.alarms else "DISABLED",
                "alarmNames": (self.configuration.get("alarms") or {}).get("alarmNames") or [],
                "triggeredAlarmNames": self.heard,
            },
        }


def ringing(names: list[str]) -> list[str]:
    """Those CloudWatch alarms that are in ALARM."""
    found = [cloudwatch._alarms.get(name) or cloudwatch._composite_alarms.get(name) or {} for name in names]
    return [name for name, alarm in zip(names, found) if alarm.get("StateValue") == "ALARM"]


def bake(under: ServiceDeployment | None) -> float:
    """How long the alarms are watched once the new tasks serve alone. AWS computes it from the alarms; here it is the
    longest that one of them looks back.
    """
    if under is None:
        return 0.0
    seconds = 60.0 * (under.configuration.get("bakeTimeInMinutes") or 0)
    for name in under.alarms:
        alarm = cloudwatch._alarms.get(name) or {}
        seconds = max(seconds, int(alarm.get("Period") or 60) * int(alarm.get("EvaluationPeriods") or 1))
    return durations.timer(seconds)


class Service:
    def __init__(self, record: dict, definition: dict):
        self.account, self.region = get_account_id(), get_region()
        self.record = record
        self.arn: str = record["serviceArn"]
        self.name: str = record["serviceName"]
        self.tasks: list[Task] = []  # until STOPPED
        self.deployments: list[Deployment] = []
        self.last_completed: Deployment | None = None
        self.rolling_back: ServiceDeployment | None = None
        self.steady = False
        self._look_at: float | None = None
        self._said: dict[str, float] = {}  # cause of an event: when it was last told
        services[self.arn] = self
        self.deploy(definition, None)

    # What the record says -----------------------------------------------------------------------------------

    @property
    def load_balancers(self) -> list[dict]:
        return self.record.get("loadBalancers") or []

    @property
    def registries(self) -> list[dict]:
        return self.record.get("serviceRegistries") or []

    @property
    def desired(self) -> int:
        return self.record["desiredCount"]

    @property
    def primary(self) -> Deployment:
        return self.deployments[0]

    @property
    def breaker(self) -> dict:
        return self.record["deploymentConfiguration"].get("deploymentCircuitBreaker") or {}

    @property
    def threshold(self) -> int:
        """Failures that trip the breaker: half the desired count, at least 3, at most 200, unless configured."""
        asked = self.breaker.get("thresholdConfiguration") or {}
        kind, value = asked.get("type", "BOUNDED_PERCENT"), asked.get("value", 50)
        if kind == "COUNT":
            return max(1, value)
        count = math.ceil(self.desired * value / 100)
        return max(1, count) if kind == "UNBOUNDED_PERCENT" else max(3, min(200, count))

    def event(self, message: str, cause: str = "") -> bool:
        """Tell it, newest first. The same `cause` is told again only after six hours, unless it has been resolved.
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages.html
        """
        if cause:
            if clock.monotonic() - self._said.get(cause, -math.inf) < durations.kept("ecs.events.repeat"):
                return False
            self._said[cause] = clock.monotonic()
        self.record["events"].insert(
            0, {"id": new_uuid(), "createdAt": clock.now(), "message": f"(service {self.name}) {message}"}
        )
        del self.record["events"][EVENTS_KEPT:]
        return True

    def resolved(self, *causes: str) -> None:
        for cause in causes:
            self._said.pop(cause, None)

    def _short(self, tasks: list[Task]) -> str:
        return " ".join(f"(task {task.id})" for task in tasks)

    # Changes ------------------------------------------------------------------------------------------------

    def deploy(self, definition: dict, configuration: dict[str, Any] | None) -> Deployment:
        """A new deployment becomes PRIMARY. One that is still in progress is superseded."""
        for key, value in (configuration or {}).items():
            self.record[key] = value
        sources = [d for d in self.deployments if d.tasks or d.state == "COMPLETED"]
        for old in self.deployments:
            if old.under and old.under.open:
                old.under.become(
                    "STOPPED", "Service deployment was stopped because a newer service deployment was started."
                )
            old.status, old.launching, old.updated = "ACTIVE", False, clock.now()
        self.record["taskDefinition"] = definition["taskDefinitionArn"]
        new = Deployment(self, definition, self.desired)
        self.deployments.insert(0, new)
        self.rolling_back = None
        self.record["currentServiceDeployment"] = ServiceDeployment(self, new, sources).arn
        self.steady = False
        self._said.clear()
        announcements.deployment_changed(new, "SERVICE_DEPLOYMENT_IN_PROGRESS")
        self.wake()
        return new

    def scale(self, desired: int) -> None:
        self.record["desiredCount"] = desired
        self.primary.desired, self.primary.updated = desired, clock.now()
        self.steady = False
        self.wake()

    def drain(self) -> None:
        self.record |= {"status": "DRAINING", "desiredCount": 0}
        self.primary.desired = 0
        for deployment in self.deployments:
            if deployment.under and deployment.under.open:
                deployment.under.become("STOPPED", "Service deployment was stopped because the service was deleted.")
        self.wake()

    def roll_back(self, deployment: Deployment, why: str, status: str, method: str) -> None:
        """Give up on `deployment` and return to the last one that completed; its tasks that still run are kept.
        `method` is what found it out.
        """
        target = self.last_completed
        under = deployment.under
        deployment.launching = False
        if target is None or target is deployment:
            if under:
                under.become("ROLLBACK_FAILED", "No rollback candidate was found to run the rollback.")
            return
        if target in self.deployments:
            self.deployments.remove(target)
        self.deployments.insert(0, target)
        for other in self.deployments[1:]:
            other.status, other.launching = "ACTIVE", False
        target.status, target.launching, target.desired, target.updated = "PRIMARY", True, self.desired, clock.now()
        target.state, target.reason = (
            "IN_PROGRESS",
            f"ECS deployment {method}: rolling back to deploymentId {target.id}.",
        )
        target.failed = target.setbacks = 0
        target.steady_since, target.not_before = None, 0.0
        self.record |= {"taskDefinition": target.definition["taskDefinitionArn"], **copy.deepcopy(target.configuration)}
        self.event(f"rolling back to deployment {target.id}.")
        if under:
            under.rollback = {"reason": why, "startedAt": clock.now(), "serviceRevisionArn": target.revision_arn}
            under.become(status, why)
        self.rolling_back = under
        announcements.deployment_changed(target, "SERVICE_DEPLOYMENT_IN_PROGRESS")
        self.steady = False
        self.wake()

    def stop_deployment(self, under: ServiceDeployment, kind: str) -> None:
        """StopServiceDeployment: ROLLBACK returns to the last completed deployment, ABORT leaves everything where it
        is.
        """
        if under.status not in ("PENDING", "IN_PROGRESS"):
            return  # it is being stopped, or rolled back, already
        deployment = under.target
        if kind == "ABORT":
            under.become("STOP_REQUESTED", "Stop requested by the user.")
        else:
            under.become("ROLLBACK_REQUESTED", "Rollback requested by the user.")
        deployment.launching = False

        def carry_out() -> None:
            if not under.open:
                return
            deployment.state = "FAILED"
            if kind == "ABORT":
                deployment.reason = f"ECS deployment {deployment.id} was stopped by the user."
                under.become("STOPPED", "Service deployment was stopped by the user.")
            else:
                deployment.reason = f"ECS deployment {deployment.id} was rolled back by the user."
                self.roll_back(
                    deployment,
                    "Service deployment rolled back because of a user request.",
                    "ROLLBACK_IN_PROGRESS",
                    "stopped by the user",
                )
            self.wake()

        scheduler.after(durations.seconds("ecs.scheduler"), self.account, self.region, carry_out)

    # Told by tasks ------------------------------------------------------------------------------------------

    def task_stopping(self, task: Task, code: str, reason: str) -> None:
        """A task is on its way down. Failures count for the breaker while its deployment is in progress, until it has
        been healthy.
        """
        self.steady = False
        deployment = task.deployment
        failure = code in ("TaskFailedToStart", "EssentialContainerExited") or reason.startswith("Task failed ")
        if failure:
            deployment.setbacks += 1
            if deployment.setbacks > 1:
                doublings = min(deployment.setbacks - 2, BACKOFF_LIMIT_DOUBLINGS)
                deployment.not_before = clock.monotonic() + durations.seconds("ecs.backoff") * 2**doublings
                if not reason.startswith("Task failed ") and deployment.setbacks > 2:
                    if self.event(f"is unable to consistently start tasks successfully. {MORE}", cause="impaired"):
                        announcements.service_acted(self, "WARN", "SERVICE_TASK_START_IMPAIRED")
            if not task.was_healthy:
                deployment.failed += 1
                deployment.updated = clock.now()
        if code == "ServiceSchedulerInitiated":
            self.event(f"has stopped 1 running tasks: {self._short([task])}.")
            announcements.service_acted(self, "INFO", "TASKS_STOPPED")
        if task.targets:
            self.event("has begun draining connections on 1 tasks.")
        self.wake()

    def task_gone(self, task: Task) -> None:
        if task in self.tasks:
            self.tasks.remove(task)
        self.wake()

    # Looks --------------------------------------------------------------------------------------------------

    def wake(self, seconds: float | None = None) -> None:
        """Look soon, or `seconds` from now; calls until then are one look."""
        delay = durations.seconds("ecs.scheduler") if seconds is None else seconds
        at = clock.monotonic() + delay
        if self._look_at is None or at < self._look_at:
            self._look_at = at
            scheduler.after(delay, self.account, self.region, lambda: self._look() if self._look_at == at else None)

    def _look(self) -> None:
        self._look_at = None
        if services.get(self.arn) is not self or self.record["status"] == "INACTIVE":
            return
        if self.record["status"] == "DRAINING":
            for task in list(self.tasks):  # protected or not
                task.stop("ServiceSchedulerInitiated", f"Scaling activity initiated by (deployment {self.primary.id})")
            self._count()
            if not any(task.serving for task in self.tasks):
                scheduler.after(durations.seconds("ecs.service.draining"), self.account, self.region, self._inactive)
            return
        self._judge()
        self._break()
        self._listen()
        self._roll()
        self._settle()
        self._count()
        self._look_again()

    def _look_again(self) -> None:
        """When time alone may change something: a backoff that ends, a target's health, a grace period, steadiness."""
        delays = []
        primary = self.primary
        if primary.launching and len(primary.wanted) < self.desired and primary.not_before > clock.monotonic():
            delays.append(primary.not_before - clock.monotonic())
        if any(task.wanted and (task.targets or (task.running and not task.was_healthy)) for task in self.tasks):
            delays.append(max(LOOK_SECONDS, durations.seconds("ecs.scheduler")))
        if primary.steady_since is not None and not self.steady and primary.state != "FAILED":
            delays.append(0.05)
        if primary.state == "IN_PROGRESS" and primary.under and primary.under.open and primary.under.alarms:
            delays.append(max(LOOK_SECONDS, durations.seconds("ecs.scheduler")))
        if self.steady:
            told = self._said.get("steady", clock.monotonic())
            delays.append(told + durations.kept("ecs.events.repeat") - clock.monotonic())
        if delays:
            self.wake(min(delays))

    def _judge(self) -> None:
        """Who is healthy, and who is given up on."""
        grace = durations.timer(self.record["healthCheckGracePeriodSeconds"] or 0)
        for task in list(self.tasks):
            if not task.running or task.replace:
                continue
            if task.healthy:
                checked = task.targets or any(c.check and c.essential for c in task.containers)
                if not checked and not task.running_for.exceeds(max(PROOF_SECONDS, durations.seconds("ecs.steady"))):
                    continue  # nothing says that it works but that it still runs
                if not task.was_healthy:
                    task.was_healthy = True
                    self.resolved("impaired")
                    task.deployment.setbacks = 0
                    task.deployment.not_before = 0.0
                    if self.breaker.get("resetOnHealthyTask", True):
                        task.deployment.failed = 0
                continue
            if not task.running_for.exceeds(grace):
                continue
            if task.record["healthStatus"] == "UNHEALTHY":
                self.event(f"(task {task.id}) failed container health checks.")
                self._unfit(task, "Task failed container health checks")
                continue
            target = task.unhealthy_target()
            if target:
                arn, port, _, description = target
                self.event(
                    f"(task {task.id}) (port {port}) is unhealthy in (target-group {arn}) due to (reason "
                    f"{description or 'Health checks failed'})."
                )
                self._unfit(task, f"Task failed ELB health checks in (target-group {arn})")

    def _unfit(self, task: Task, reason: str) -> None:
        """An unhealthy task. Once the deployment has completed its replacement is started first, if maximumPercent has
        room; while it rolls out the task only takes the place of another try.
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html
        """
        if task.deployment is self.primary and self.primary.state == "COMPLETED":
            task.replace = ("ServiceSchedulerInitiated", reason)
        else:
            task.stop("ServiceSchedulerInitiated", reason)

    def _break(self) -> None:
        deployment = self.primary
        if not self.breaker.get("enable") or deployment.state != "IN_PROGRESS" or not deployment.launching:
            return
        if deployment.failed < self.threshold:
            return
        if deployment.under and deployment.under.open:
            deployment.under.triggered = True
        self._fail(
            FAILED_TO_START,
            "tasks failed to start",
            "Service deployment rolled back because the circuit breaker threshold was exceeded.",
            bool(self.breaker.get("rollback")),
            "circuit breaker",
        )

    def _listen(self) -> None:
        """To the alarms of a deployment, which it fails by itself, circuit breaker or not."""
        deployment, under = self.primary, self.primary.under
        if deployment.state != "IN_PROGRESS" or under is None or not under.open or self.rolling_back:
            return
        under.heard = ringing(under.alarms)
        if under.heard:
            self._fail(
                ALARM_DETECTED,
                "alarm detected",
                "Service deployment rolled back because of the CloudWatch alarms that went into ALARM: "
                f"{', '.join(under.heard)}.",
                bool(under.configuration["alarms"].get("rollback")),
                "alarm",
            )

    def _fail(self, reason: str, said: str, why: str, back: bool, method: str) -> None:
        deployment = self.primary
        deployment.state, deployment.reason, deployment.launching = "FAILED", reason, False
        deployment.updated = clock.now()
        self.event(f"(deployment {deployment.id}) deployment failed: {said}.")
        announcements.deployment_changed(deployment, "SERVICE_DEPLOYMENT_FAILED")
        if self.rolling_back and self.rolling_back.open:
            self.rolling_back.become("ROLLBACK_FAILED", reason)
        elif back:
            self.roll_back(deployment, why, "ROLLBACK_IN_PROGRESS", method)
        elif deployment.under and deployment.under.open:
            deployment.under.become("STOPPED", reason)

    def _roll(self) -> None:
        """Start and stop tasks within minimumHealthyPercent (rounded up) and maximumPercent (rounded down)."""
        configuration = self.record["deploymentConfiguration"]
        low = math.ceil(self.desired * configuration.get("minimumHealthyPercent", 100) / 100)
        high = math.floor(self.desired * configuration.get("maximumPercent", 200) / 100)
        primary = self.primary
        old = [task for task in self.tasks if task.wanted and task.deployment is not primary]
        leaving = [task for task in primary.wanted if task.replace]
        staying = [task for task in primary.wanted if not task.replace]
        under = primary.under
        if under and under.status == "PENDING":
            under.become("IN_PROGRESS")
        missing = self.desired - len(staying)
        if missing < 0:  # scaled in: those that serve least go first
            free = [task for task in staying if not task.protected]
            self._stop(sorted(free, key=lambda t: (t.healthy, t.record["createdAt"]))[:-missing], primary)
            if len(free) < -missing:
                self._blocked(primary)
        elif missing > 0 and primary.launching and clock.monotonic() >= primary.not_before:
            self._start(min(missing, max(0, high - len(staying) - len(leaving) - len(old))))
        self._replace(leaving, low, high, len(old))
        if not old or (primary.state == "FAILED"):
            return
        unhealthy = [task for task in old if not task.healthy]
        self._stop(unhealthy, primary)
        old = [task for task in old if task.wanted]
        healthy = sum(task.healthy for task in old) + sum(task.healthy and task.was_healthy for task in primary.wanted)
        short = self.desired - len(primary.wanted) > 0 and len(primary.wanted) + len(old) >= high
        spare = healthy - (low if short else max(low, self.desired))
        if spare > 0:
            free = [task for task in old if not task.protected]
            self._stop(sorted(free, key=lambda t: t.record["createdAt"])[:spare], primary)
            if not free:
                self._blocked(next(task.deployment for task in old))
        elif short and not any(not task.healthy for task in primary.wanted):
            self.event(
                "was unable to stop or start tasks during a deployment because of the service deployment "
                "configuration. Update the minimumHealthyPercent or maximumPercent value and try again.",
                cause="configuration",
            )

    def _blocked(self, deployment: Deployment) -> None:
        self.event(
            f"was unable to reach steady state because task set ({deployment.id}) was unable to scale in. Reason: The "
            "number of protected tasks are more than the desired count of tasks.",
            cause="protected",
        )

    def _replace(self, leaving: list[Task], low: int, high: int, others: int) -> None:
        """Stop those to be replaced, one for each that serves in their stead; where maximumPercent leaves no room for
        that, one at a time as minimumHealthyPercent allows.
        """
        now = self.primary.wanted
        fit = sum(task.healthy and task.was_healthy for task in now if not task.replace)
        surplus = len(leaving) - max(0, self.desired - fit)
        if surplus <= 0 and leaving and self.desired > len(now) - len(leaving) and len(now) + others >= high:
            healthy = sum(task.healthy for task in self.tasks if task.wanted)
            surplus = int(not leaving[0].healthy or healthy - 1 >= low)
        for task in leaving[: max(0, surplus)]:
            task.stop(*task.replace)

    def _start(self, count: int) -> None:
        if count <= 0:
            return
        cluster = {"clusterName": self.record["clusterArn"].rsplit("/", 1)[-1], "clusterArn": self.record["clusterArn"]}
        request = {
            "group": f"service:{self.name}",
            "startedBy": self.primary.id,
            "networkConfiguration": self.record.get("networkConfiguration"),
            "enableExecuteCommand": self.record.get("enableExecuteCommand"),
            "tags": self._task_tags(),
        }
        strategy = self.record.get("capacityProviderStrategy")
        subnets = ((request["networkConfiguration"] or {}).get("awsvpcConfiguration") or {}).get("subnets") or []
        started: list[Task] = []
        for _ in range(count):
            if strategy:
                placed = [t.record.get("capacityProviderName", "") for t in [*self.primary.wanted, *started]]
                request["capacityProviderName"] = capacity.choose(strategy, placed)
            provider = request.get("capacityProviderName") or "FARGATE"
            try:
                subnet = capacity.place(
                    request["group"], subnets, provider, int(self.primary.definition.get("cpu") or 0)
                )
            except capacity.NoCapacity as error:
                self._unplaced(error)
                break
            self.resolved("capacity")
            started.append(Task(self.primary.definition, cluster, request, subnet, self, self.primary))
        self.tasks += started
        if started:
            self.event(f"has started {len(started)} tasks: {self._short(started)}.")

    def _unplaced(self, error: capacity.NoCapacity) -> None:
        """Tried again after a pause; nothing was started, so nothing has failed."""
        self.primary.not_before = clock.monotonic() + durations.seconds("ecs.backoff")
        if not self.event(f"was unable to place a task. Reason: {error}. {MORE}", cause="capacity"):
            return
        arn = f"arn:aws:ecs:{self.region}:{self.account}:capacity-provider/{error.provider}"
        providers = {"capacityProviderArns": [arn]} if self.record.get("capacityProviderStrategy") else {}
        announcements.service_acted(self, "ERROR", "SERVICE_TASK_PLACEMENT_FAILURE", **providers, reason=error.short)

    def _task_tags(self) -> list[dict]:
        tags: dict[str, str] = {}
        if self.record.get("enableECSManagedTags"):
            tags |= {
                "aws:ecs:clusterName": self.record["clusterArn"].rsplit("/", 1)[-1],
                "aws:ecs:serviceName": self.name,
            }
        source = {"SERVICE": self.arn, "TASK_DEFINITION": self.record["taskDefinition"]}.get(
            self.record.get("propagateTags") or ""
        )
        tags |= {tag["key"]: tag["value"] for tag in (ecs._tags.get(source) or [] if source else [])}
        return [{"key": key, "value": value} for key, value in tags.items()]

    def _stop(self, tasks: list[Task], by: Deployment) -> None:
        for task in list(tasks):
            if task.wanted and not task.protected:
                task.stop("ServiceSchedulerInitiated", f"Scaling activity initiated by (deployment {by.id})")

    def _settle(self) -> None:
        """Drop deployments that serve nothing any more; complete the primary one when it is alone, healthy, and stays
        so.
        """
        primary = self.primary
        others = [d for d in self.deployments if d is not primary and any(task.serving for task in d.tasks)]
        baking = primary.state == "IN_PROGRESS" and primary.under and primary.under.open and primary.under.alarms
        if not baking:
            self.deployments = [primary, *others]  # while alarms are watched the old one is still shown
        good = (
            not others
            and len(primary.wanted) == self.desired
            and all(task.healthy and task.was_healthy for task in primary.wanted)
        )
        if not good:
            primary.steady_since = None
            self.steady = False
            return
        if primary.steady_since is None:
            primary.steady_since = clock.monotonic()
            self._steady_wait = durations.seconds("ecs.steady")
            if primary.state == "IN_PROGRESS" and not self.rolling_back:
                self._steady_wait += bake(primary.under)
        if clock.monotonic() - primary.steady_since < self._steady_wait:
            return
        if primary.state == "IN_PROGRESS":
            primary.state, primary.reason, primary.updated = (
                "COMPLETED",
                f"ECS deployment {primary.id} completed.",
                clock.now(),
            )
            primary.failed = 0
            self.last_completed = primary
            self.deployments = [primary]
            self.resolved("impaired", "configuration", "protected")
            self.event(f"(deployment {primary.id}) deployment completed.")
            announcements.deployment_changed(primary, "SERVICE_DEPLOYMENT_COMPLETED")
            if self.rolling_back:
                if self.rolling_back.open:
                    self.rolling_back.become("ROLLBACK_SUCCESSFUL")
                self.rolling_back = None
            elif primary.under and primary.under.open:
                primary.under.become("SUCCESSFUL")
        if primary.state == "COMPLETED":
            if not self.steady:
                self.resolved("steady", "protected")
            self.steady = True
            if self.event("has reached a steady state.", cause="steady"):
                announcements.service_acted(self, "INFO", "SERVICE_STEADY_STATE")

    def _count(self) -> None:
        self.record |= {
            "runningCount": sum(t.running for t in self.tasks),
            "pendingCount": sum(t.pending for t in self.tasks),
        }

    def _inactive(self) -> None:
        if services.get(self.arn) is self and self.record["status"] == "DRAINING":
            self.record["status"] = "INACTIVE"
            self.deployments = []
            # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
            for arn in [arn for arn, under in history.items() if under.service is self]:
                del history[arn]

    def view(self) -> dict:
        self._count()
        return {
            **self.record,
            "deployments": [deployment.view() for deployment in self.deployments],
            "currentServiceRevisions": [deployment.summary() for deployment in self.deployments],
            "tags": None,
        }


def reset() -> None:
    services.clear()
    history.clear()
    revisions.clear()
