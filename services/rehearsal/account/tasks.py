"""A Fargate task's life: PROVISIONING > PENDING > ACTIVATING > RUNNING > DEACTIVATING > STOPPING > DEPROVISIONING >
STOPPED.

Its containers are processes that share one loopback address of this machine, which they listen on. What DescribeTasks
shows as the network interface's private address, and what is registered as target and in Cloud Map, is an address of
the task's subnet; reachability.py knows which loopback address stands behind it.
"""

import copy
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import ec2, ecs, ecs_metadata
from ministack.services import servicediscovery as cloudmap

from account import (
    addresses,
    announcements,
    balancer,
    capacity,
    clock,
    cloudtrail,
    credentials,
    durations,
    images,
    namespaces,
    processes,
    reachability,
    rights,
    scheduler,
    settings,
)
from account.containers import Container, StartError

if TYPE_CHECKING:
    from account.services import Deployment, Service

DRAIN_LOOK_SECONDS = 0.1
MAINTENANCE = "ECS is performing maintenance on the underlying infrastructure hosting the task"
RETIREMENT_SETTING = "fargateTaskRetirementWaitPeriod"
RETIREMENT_DAYS = 7

live: dict[str, "Task"] = {}  # by ARN, until STOPPED


class Task:
    """Made for RunTask and by services; `record` is what DescribeTasks shows."""

    def __init__(
        self,
        definition: dict,
        cluster: dict,
        request: dict,
        subnet: str,
        service: "Service | None" = None,
        deployment: "Deployment | None" = None,
    ):
        self.account, self.region = get_account_id(), get_region()
        self.definition = copy.deepcopy(definition)
        self.service, self.deployment = service, deployment
        self.id = f"{durations.random('ecs.ids').getrandbits(128):032x}"
        self.arn = f"arn:aws:ecs:{self.region}:{self.account}:task/{cluster['clusterName']}/{self.id}"
        self.address = ""  # loopback
        self.private_address = ""
        self.interface: reachability.Interface | None = None
        self.overrides = request.get("overrides") or {}
        architecture = (definition.get("runtimePlatform") or {}).get("cpuArchitecture")
        self.platform = "linux/arm64" if architecture == "ARM64" else "linux/amd64"
        self.execution_role = self.overrides.get("executionRoleArn") or definition.get("executionRoleArn") or ""
        self.was_healthy = False
        self.running_for: processes.Span | None = None
        self.targets: list[tuple[str, int]] = []  # (target group ARN, port) it is registered in
        self.instances: list[str] = []  # Cloud Map service ids it is registered in
        self.protected_until: float | None = None
        network = (request.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
        self.subnet = subnet
        self.has_address = False  # one of the subnet's
        self.replace: tuple[str, str] | None = None  # stop code and reason, once another task serves in its place
        self.security_groups = network.get("securityGroups") or []
        self.public = network.get("assignPublicIp") == "ENABLED"
        zone = (ec2._subnets.get(self.subnet) or {}).get("AvailabilityZone") or f"{self.region}a"
        overrides = {o.get("name"): o for o in self.overrides.get("containerOverrides") or []}
        self.containers = [
            Container(self, d, overrides.get(d["name"], {}), bool(request.get("enableExecuteCommand")))
            for d in self.definition["containerDefinitions"]
        ]
        now = clock.now()
        self.record: dict = {
            "taskArn": self.arn,
            "clusterArn": cluster["clusterArn"],
            "taskDefinitionArn": definition["taskDefinitionArn"],
            "overrides": {
                "containerOverrides": [{"name": c.name} for c in self.containers],
                "inferenceAcceleratorOverrides": [],
                **self.overrides,
            },
            "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
            "lastStatus": "PROVISIONING",
            "desiredStatus": "RUNNING",
            "healthStatus": "UNKNOWN",
            "launchType": request.get("launchType") or "FARGATE",
            "cpu": str(self.overrides.get("cpu") or definition.get("cpu", "256")),
            "memory": str(self.overrides.get("memory") or definition.get("memory", "512")),
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "createdAt": now,
            "group": request.get("group") or f"family:{definition['family']}",
            "startedBy": request.get("startedBy") or None,
            "version": 1,
            "containers": [c.record for c in self.containers],
            "attachments": [],
            "availabilityZone": zone,
            "enableExecuteCommand": bool(request.get("enableExecuteCommand")),
            "tags": request.get("tags") or [],
            "_network": request.get("networkConfiguration") or {},
            "ephemeralStorage": definition.get("ephemeralStorage") or {"sizeInGiB": 20},
            "fargateEphemeralStorage": {"sizeInGiB": (definition.get("ephemeralStorage") or {}).get("sizeInGiB", 20)},
        }
        if request.get("capacityProviderName"):
            self.record["capacityProviderName"] = request["capacityProviderName"]
        ecs._tasks[self.arn] = self.record
        if self.record["tags"]:
            ecs._tags[self.arn] = list(self.record["tags"])
        live[self.arn] = self
        self._attachment()
        announcements.task_changed(self)
        self.after(durations.seconds("ecs.provisioning"), self._provisioned)

    # Words used by services ---------------------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        return self.record["desiredStatus"] == "RUNNING"

    @property
    def running(self) -> bool:
        return self.record["lastStatus"] == "RUNNING" and self.wanted

    @property
    def pending(self) -> bool:
        return self.wanted and self.record["lastStatus"] in ("PROVISIONING", "PENDING", "ACTIVATING")

    @property
    def serving(self) -> bool:
        """Its containers have not been told to stop yet, or it is still being drained."""
        return self.record["lastStatus"] not in ("DEPROVISIONING", "STOPPED")

    @property
    def protected(self) -> bool:
        return self.protected_until is not None and clock.now() < self.protected_until

    # Time ---------------------------------------------------------------------------------------------------

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Unless the task has been forgotten by then (reset). An error of ours ends the task, and says so."""

        def due() -> None:
            if live.get(self.arn) is not self:
                return
            try:
                call()
            except Exception as error:
                self.stop("TaskFailedToStart", f"the emulated account failed: {type(error).__name__}: {error}")
                raise

        scheduler.after(seconds, self.account, self.region, due)

    def soon(self, call: Callable[[], None]) -> None:
        self.after(0, call)

    def _is(self, status: str, **more) -> None:
        self.record |= {"lastStatus": status, "version": self.record["version"] + 1, **more}
        ecs_metadata.set_task_status(self.arn, known_status=status, desired_status=self.record["desiredStatus"])
        announcements.task_changed(self)
        if self.service:
            self.service.wake()

    # Up -----------------------------------------------------------------------------------------------------

    def _attachment(self) -> None:
        self.eni = f"eni-0{durations.random('ecs.ids').getrandbits(64):016x}"
        self.record["attachments"] = [
            {
                "id": new_uuid(),
                "type": "ElasticNetworkInterface",
                "status": "PRECREATED",
                "details": [{"name": "subnetId", "value": self.subnet}],
            }
        ]

    def _provisioned(self) -> None:
        if not self.wanted:
            return
        try:
            self.has_address = capacity.take_address(self.subnet)
            if not self.has_address:
                raise OSError
            named = f"task {self.id}"
            self.interface = reachability.in_subnet(named, self.subnet, self.security_groups, self.public, self.arn)
        except OSError:
            return self.stop(
                "TaskFailedToStart",
                "Unexpected EC2 error while attempting to Create Network Interface with public IP assignment "
                f"{'enabled' if self.public else 'disabled'} in subnet '{self.subnet}': "
                "InsufficientFreeAddressesInSubnet",
            )
        self.security_groups = list(self.interface.groups)
        (self.private_address,) = self.interface.addresses
        self.address = addresses.allocate()
        reachability.plug(self.interface, self.address)
        namespaces.make(self.interface.what)
        addresses.enter(self.interface, self.address, self._ports())
        mac = "0e:" + ":".join(f"{durations.random('ecs.interfaces').randrange(256):02x}" for _ in range(5))
        attachment = self.record["attachments"][0]
        attachment["status"] = "ATTACHED"
        attachment["details"] += [
            {"name": "networkInterfaceId", "value": self.eni},
            {"name": "macAddress", "value": mac},
            {"name": "privateDnsName", "value": self._private_name()},
            {"name": "privateIPv4Address", "value": self.private_address},
        ]
        for container in self.containers:
            container.record["networkInterfaces"] = [
                {"attachmentId": attachment["id"], "privateIpv4Address": self.private_address}
            ]
        subnet = ec2._subnets.get(self.subnet) or {}
        ec2._network_interfaces[self.eni] = {
            "NetworkInterfaceId": self.eni,
            "SubnetId": self.subnet,
            "VpcId": subnet.get("VpcId", ""),
            "AvailabilityZone": self.record["availabilityZone"],
            "Description": attachment["id"],
            "OwnerId": self.account,
            "Status": "in-use",
            "PrivateIpAddress": self.private_address,
            "InterfaceType": "interface",
            "SourceDestCheck": True,
            "MacAddress": mac,
            "Groups": [
                {"GroupId": g, "GroupName": (ec2._security_groups.get(g) or {}).get("GroupName", g)}
                for g in self.security_groups
            ],
            "Attachment": None,
        }
        self._is("PENDING", connectivity="CONNECTED", connectivityAt=clock.now())
        self.after(durations.seconds("ecs.pending"), self._initialize)

    def _ports(self) -> set[int]:
        mappings = [one for c in self.containers for one in c.definition.get("portMappings") or []]
        return {one["containerPort"] for one in mappings if one.get("containerPort")}

    def _private_name(self) -> str:
        zone = "ec2.internal" if self.region == "us-east-1" else f"{self.region}.compute.internal"
        return f"ip-{self.private_address.replace('.', '-')}.{zone}"

    def _initialize(self, patient: bool = True) -> None:
        if not self.wanted:
            return
        cut_off = next((why for why in (container.cut_off() for container in self.containers) if why), "")
        if cut_off and patient:  # it is tried again for minutes
            return self.after(durations.seconds("ecs.unreachable"), lambda: self._initialize(patient=False))
        try:
            if cut_off:
                raise StartError(cut_off)
            if self.execution_role:
                self._assume(self.execution_role)
            if self.definition.get("taskRoleArn"):
                self._assume(self.definition["taskRoleArn"])
            for container in self.containers:
                container.read_secrets()
            self.record["pullStartedAt"] = clock.now()
            for container in self.containers:
                try:
                    container.pull(self.deployment.digests.get(container.name) if self.deployment else None)
                except images.PullError as error:
                    if str(error).startswith("CannotPull"):
                        container.record["reason"] = str(error)
                    raise StartError(str(error)) from None
            for container in self.containers:
                container.open_log()
        except StartError as error:
            return self.stop("TaskFailedToStart", str(error))
        if self.deployment:
            for container in self.containers:
                self.deployment.digests.setdefault(container.name, container.image.digest)
        self.after(durations.seconds("ecs.pull"), self._pulled)

    def _assume(self, arn: str) -> None:
        record = rights.role(arn)
        # The ARN says no more than that it is ECS of this account: AWS cannot tell clusters apart here.
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
        if record is None or not rights.trusts(record, f"arn:aws:ecs:{self.region}:{self.account}:*"):
            raise StartError(
                f"ECS was unable to assume the role '{arn}' that was provided for this task. Please verify that the "
                "role being passed has the "
                "proper trust relationship and permissions and that your IAM user has permissions to pass this role."
            )
        cloudtrail.assumed(arn, self.id, rights.ECS_TASKS, self.region)

    def _pulled(self) -> None:
        self.record["pullStoppedAt"] = clock.now()
        self._start_what_can()

    def _start_what_can(self) -> None:
        """Start each container whose dependencies are met; when all have been started, the task is up."""
        if not self.wanted:
            return
        for container in self.containers:
            if container.started:
                continue
            state = self._dependencies(container)
            if state == "failed":
                return self._gave_up(container)
            if state == "met":
                try:
                    container.start()
                except StartError as error:
                    container.record |= {"lastStatus": "STOPPED", "reason": str(error)}
                    return self.stop("TaskFailedToStart", str(error))
        if all(c.started for c in self.containers) and self.record["lastStatus"] == "PENDING":
            if self.service and (self.service.load_balancers or self.service.registries):
                self._is("ACTIVATING")
                self.after(durations.seconds("ecs.activating"), self._activated)
            else:
                self._activated()

    def _gave_up(self, container: Container) -> None:
        self.stop(
            "TaskFailedToStart",
            f"Container {container.name} could not be started: a dependency did not reach its condition",
        )

    def start_timed_out(self, container: Container) -> None:
        """`container` had its startTimeout to become what others wait for."""
        for other in self.containers:
            waits = [d["containerName"] for d in other.definition.get("dependsOn") or []]
            if self.wanted and not other.started and container.name in waits and self._dependencies(other) == "waiting":
                return self._gave_up(other)

    def _dependencies(self, container: Container) -> str:
        for dependency in container.definition.get("dependsOn") or []:
            other = next(c for c in self.containers if c.name == dependency["containerName"])
            condition, code = dependency["condition"], other.record.get("exitCode")
            if condition == "START" and other.started:
                continue
            if condition == "COMPLETE" and other.exited:
                continue
            if condition == "SUCCESS" and other.exited:
                if code == 0:
                    continue
                return "failed"
            if condition == "HEALTHY":
                if other.record["healthStatus"] == "HEALTHY":
                    continue
                if other.exited or other.record["healthStatus"] == "UNHEALTHY":
                    return "failed"
            return "waiting"
        return "met"

    def _activated(self) -> None:
        if not self.wanted:
            return
        if self.service:
            self._register()
        self.running_for = processes.Span(self.address)
        self._is("RUNNING", startedAt=clock.now())

    def _register(self) -> None:
        groups: dict[str, int] = {}
        for entry in self.service.load_balancers:
            arn, port = entry["targetGroupArn"], entry["containerPort"]
            self.targets.append((arn, port))
            try:
                balancer.register(arn, self.private_address, port)
            except KeyError:
                self.service.event(f"failed to register targets in (target-group {arn}) with (error it does not exist)")
                continue
            groups[arn] = groups.get(arn, 0) + 1
        for arn, count in groups.items():
            self.service.event(f"registered {count} targets in (target-group {arn})")
        for registry in self.service.registries:
            service_id = registry["registryArn"].rsplit("/", 1)[-1]
            port = registry.get("port") or registry.get("containerPort")
            cloudmap._register_instance(
                {
                    "ServiceId": service_id,
                    "InstanceId": self.id,
                    "Attributes": {
                        "AWS_INSTANCE_IPV4": self.private_address,
                        "AVAILABILITY_ZONE": self.record["availabilityZone"],
                        "REGION": self.region,
                        "ECS_CLUSTER_NAME": self.record["clusterArn"].rsplit("/", 1)[-1],
                        "ECS_SERVICE_NAME": self.service.name,
                        "ECS_TASK_DEFINITION_FAMILY": self.definition["family"],
                        **({"AWS_INSTANCE_PORT": str(port)} if port else {}),
                    },
                }
            )
            self.instances.append(service_id)
        self._tell_cloudmap()

    def _tell_cloudmap(self) -> None:
        """A registered instance without a container check is healthy; with one, when the check says so."""
        unhealthy = any(c.check and c.essential for c in self.containers) and self.record["healthStatus"] != "HEALTHY"
        for service_id in self.instances:
            cloudmap._update_instance_custom_health_status(
                {"ServiceId": service_id, "InstanceId": self.id, "Status": "UNHEALTHY" if unhealthy else "HEALTHY"}
            )

    # Health -------------------------------------------------------------------------------------------------

    def health_changed(self) -> None:
        states = [c.record["healthStatus"] for c in self.containers if c.essential and c.check]
        health = (
            "UNHEALTHY" if "UNHEALTHY" in states else "HEALTHY" if states and set(states) == {"HEALTHY"} else "UNKNOWN"
        )
        if health != self.record["healthStatus"]:
            self.record |= {"healthStatus": health, "version": self.record["version"] + 1}
            self._tell_cloudmap()
        self._start_what_can()
        if self.service:
            self.service.wake()

    @property
    def healthy(self) -> bool:
        """As the scheduler counts it: running, its container checks pass, and every target group says healthy."""
        if not self.running:
            return False
        if any(c.essential and c.check for c in self.containers) and self.record["healthStatus"] != "HEALTHY":
            return False
        return all(balancer.health(arn, self.private_address, port)[0] == "healthy" for arn, port in self.targets)

    def unhealthy_target(self) -> tuple[str, int, str, str] | None:
        """(target group ARN, port, reason, description) of one that its target group calls unhealthy."""
        for arn, port in self.targets if self.running else []:
            state, reason, description = balancer.health(arn, self.private_address, port)
            if state == "unhealthy":
                return arn, port, reason, description
        return None

    # Down ---------------------------------------------------------------------------------------------------

    def container_exited(self, container: Container) -> None:
        if self.wanted and (container.essential or all(c.exited for c in self.containers)):
            return self.stop("EssentialContainerExited", "Essential container in task exited")
        self.record["version"] += 1
        announcements.task_changed(self)
        self._start_what_can()
        if self.record["lastStatus"] == "STOPPING":
            self._stop_in_order()

    def interrupt(self) -> None:
        """Spot takes its capacity back: a warning as an event and as SIGTERM, at most two minutes before SIGKILL.
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
        """
        if self.record.get("capacityProviderName") != "FARGATE_SPOT":
            raise ValueError(f"{self.arn} does not run on Fargate Spot")
        self.stop("SpotInterruption", "Your Spot Task was interrupted.", at_once=True)

    def announce_retirement(self, days: float | None) -> None:
        """AWS Health tells that the platform is retired; the account's waiting period later the task is. Service tasks
        are replaced within the deployment's percentages, others just end.
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-maintenance.html
        """
        if days is None:
            days = float(ecs._account_settings.get(RETIREMENT_SETTING, RETIREMENT_DAYS))
        wait = days * 86400
        announcements.retirement_noticed(self, clock.now() + wait)
        self.after(wait, self._retire)

    def _retire(self) -> None:
        if not self.wanted:
            return
        if self.service is None or self.deployment is not self.service.primary:
            return self.stop("TerminationNotice", MAINTENANCE)
        self.replace = ("TerminationNotice", MAINTENANCE)
        self.service.wake()

    def out_of_memory(self, name: str | None) -> None:
        """The kernel kills a container's process for want of memory."""
        container = next((c for c in self.containers if name in (None, c.name) and c.started and not c.exited), None)
        if container is None:
            raise LookupError(f"no container of {self.arn} runs")
        container.record["reason"] = "OutOfMemoryError: Container killed due to memory usage"
        container.process.kill()

    def stop(self, code: str, reason: str, at_once: bool = False) -> None:
        """Deregister and drain, stop the containers, give back the network. `code` is ECS's stopCode. `at_once`: the
        containers are told while their targets still drain.
        """
        if not self.wanted:
            return
        self.record |= {
            "desiredStatus": "STOPPED",
            "stopCode": code,
            "stoppedReason": reason,
            "stoppingAt": clock.now(),
            "version": self.record["version"] + 1,
        }
        announcements.task_changed(self)
        if self.service:
            self.service.task_stopping(self, code, reason)
        up = any(c.started and not c.exited for c in self.containers)
        if self.targets or self.instances:
            drain = up and bool(self.targets) and not at_once
            self._deregister()
            self._is("DEACTIVATING")
            self.after(durations.seconds("ecs.deactivating"), self._drained if drain else self._stop_containers)
        elif up:
            self._stop_containers()
        else:
            self._deprovision()

    def _deregister(self) -> None:
        for arn, port in self.targets:
            balancer.deregister(arn, self.private_address, port)
        for arn in dict.fromkeys(arn for arn, _ in self.targets):
            self.service.event(
                f"deregistered {sum(1 for a, _ in self.targets if a == arn)} targets in (target-group {arn})"
            )
        for service_id in self.instances:
            cloudmap._deregister_instance({"ServiceId": service_id, "InstanceId": self.id})
        self.instances = []

    def _drained(self) -> None:
        """Look until no target group drains it any more (deregistration delay, requests in flight), then stop its
        containers.
        """
        draining = any(balancer.health(arn, self.private_address, port)[0] == "draining" for arn, port in self.targets)
        if draining and any(not c.exited for c in self.containers):
            self.after(DRAIN_LOOK_SECONDS, self._drained)
        else:
            self._stop_containers()

    def _stop_containers(self) -> None:
        self._is("STOPPING")
        self._stop_in_order()

    def _stop_in_order(self) -> None:
        """Containers that others depend on are stopped after those:
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
        """
        up = [c for c in self.containers if c.started and not c.exited]
        needed = {d["containerName"] for c in up for d in c.definition.get("dependsOn") or []}
        for container in up:
            if container.name not in needed:
                container.stop()
        if not up:
            self._deprovision()

    def _deprovision(self) -> None:
        if self.record["lastStatus"] in ("DEPROVISIONING", "STOPPED"):
            return
        for container in self.containers:
            container.record["lastStatus"] = "STOPPED"
        self._is("DEPROVISIONING", executionStoppedAt=clock.now())
        self.after(durations.seconds("ecs.deprovisioning"), self._gone)

    def _gone(self) -> None:
        ec2._network_interfaces.pop(self.eni, None)
        if self.has_address:
            capacity.give_address(self.subnet)
        for attachment in self.record["attachments"]:
            attachment["status"] = "DELETED"
        self._is("STOPPED", stoppedAt=clock.now())
        self.record["connectivity"] = (
            "DISCONNECTED" if not self.address else self.record.get("connectivity", "CONNECTED")
        )
        self.release()
        del live[self.arn]
        if self.service:
            self.service.task_gone(self)
        arn, record = self.arn, self.record
        scheduler.after(durations.kept("ecs.task.stopped"), self.account, self.region, lambda: forget(arn, record))

    def release(self) -> None:
        for container in self.containers:
            ecs_metadata.unregister_token(container.token)
            credentials.withdraw(container.token)
        if self.address:
            addresses.leave(self.interface)
            namespaces.remove(self.interface.what)
            reachability.unplug(self.interface)
            addresses.release(self.address)
            self.address = ""
        reachability.give_back(self.arn)
        shutil.rmtree(settings.DIRECTORY / "tasks" / self.id, ignore_errors=True)


def forget(arn: str, record: dict) -> None:
    if ecs._tasks.get(arn) is record:
        del ecs._tasks[arn]
        ecs._tags.pop(arn, None)
