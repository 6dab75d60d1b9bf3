"""Task definitions, checked as ECS checks them for Fargate. ministack stores them (`_task_defs`) and counts their
revisions.
"""

import json
import re
from typing import Any

from ministack.services import ecs

from account import clock, images
from account.answers import Refused, caller, client, invalid, page

FARGATE = {  # vCPU units: memory in MiB, from the Fargate table of the ECS developer guide
    256: [512, 1024, 2048],
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
CONTAINER_DEFAULTS: dict[str, Any] = {
    "cpu": 0,
    "portMappings": [],
    "environment": [],
    "mountPoints": [],
    "volumesFrom": [],
    "systemControls": [],
}
_store = ecs._register_task_definition  # ministack's own, before ecs.install() replaces it


def key_of(reference: str) -> str | None:
    """`family:revision`; a family alone is its newest ACTIVE revision."""
    key = ecs._resolve_td_key(reference or "")
    if key is None or ":" not in (reference or "").rsplit("/", 1)[-1]:
        family = (key or reference or "").split(":")[0]
        active = [d for d in ecs._task_defs.values() if d["family"] == family and d["status"] == "ACTIVE"]
        return f"{family}:{max(d['revision'] for d in active)}" if active else None
    return key


def find(reference: str) -> dict:
    definition = ecs._task_defs.get(key_of(reference) or "")
    if definition is None:
        raise client("TaskDefinition not found.")
    if definition["status"] != "ACTIVE":
        raise client("TaskDefinition is inactive")
    return definition


def _check_definition(data: dict) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", data.get("family") or ""):
        raise client(
            "Family contains invalid characters." if data.get("family") else "Family should not be null or empty."
        )
    containers = data.get("containerDefinitions") or []
    if not containers:
        raise client("TaskDefinition must contain at least one container definition.")
    names = [c.get("name") for c in containers]
    for container in containers:
        name = container.get("name")
        if not NAME.fullmatch(name or ""):
            raise client(
                "Container.name contains invalid characters." if name else "Container.name should not be null or empty."
            )
        if not container.get("image"):
            raise client("Container.image should not be null or empty.")
        if names.count(name) > 1:
            raise client(f"Container name '{name}' is used more than once.")
        _check_container(container, names, containers)
    if not any(c.get("essential", True) for c in containers):
        raise client("There must be at least one essential container in the task definition.")
    if "FARGATE" in (data.get("requiresCompatibilities") or []):
        _check_fargate(data, containers)


def _check_dependency(name: str, dependency: dict, containers: list[dict]) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html"""
    condition = dependency["condition"]
    other = next(c for c in containers if c.get("name") == dependency["containerName"])
    if condition in ("COMPLETE", "SUCCESS") and other.get("essential", True):
        raise client(
            f"Container '{name}' depends on the condition {condition} of container '{other['name']}', which can't be "
            "set on an essential container."
        )
    if condition == "HEALTHY" and not other.get("healthCheck"):
        raise client(
            f"Container '{name}' depends on the condition HEALTHY of container '{other['name']}', which has no health "
            "check."
        )
    needed = {c.get("name"): [d.get("containerName") for d in c.get("dependsOn") or []] for c in containers}
    seen: list[str] = [other["name"]]
    for each in seen:
        seen += [one for one in needed.get(each, []) if one not in seen]
    if name in seen:
        raise client(f"Container '{name}' depends on itself: dependencies must not form a circle.")


def _check_container(container: dict, names: list, containers: list[dict]) -> None:
    plain = [pair.get("name") for pair in container.get("environment") or []]
    secret = [pair.get("name") for pair in container.get("secrets") or []]
    for name in secret:
        if name in plain or secret.count(name) > 1:
            raise client(
                "The secret name must be unique and not shared with any new or existing environment variables set "
                f"on the container, such as '{name}'."
            )
    for dependency in container.get("dependsOn") or []:
        if dependency.get("containerName") not in names:
            raise client(
                f"Container '{container['name']}' depends on container '{dependency.get('containerName')}', which "
                "does not exist."
            )
        if dependency.get("condition") not in ("START", "COMPLETE", "SUCCESS", "HEALTHY"):
            raise client(f"Invalid dependency condition: {dependency.get('condition')}")
        _check_dependency(container["name"], dependency, containers)
    check = container.get("healthCheck")
    if check:
        for key, low, high in (("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("startPeriod", 0, 300)):
            if key in check and not low <= check[key] <= high:
                raise client(
                    f"Invalid 'healthCheck.{key}' setting for container '{container['name']}': it must be between "
                    f"{low} and {high}."
                )
        if not check.get("command"):
            raise client(f"The health check of container '{container['name']}' has no command.")


def _check_fargate(data: dict, containers: list[dict]) -> None:
    cpu, memory = _units(data.get("cpu"), "vCPU"), _units(data.get("memory"), "GB")
    if data.get("networkMode") != "awsvpc":
        raise client("Fargate only supports network mode 'awsvpc'.")
    if cpu is None:
        raise client("Fargate requires that 'cpu' be defined at the task level.")
    if memory is None:
        raise client("Fargate requires that 'memory' be defined at the task level.")
    if memory not in FARGATE.get(cpu, []):
        raise client(
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS "
            "documentation for the valid values."
        )
    if sum(c.get("cpu") or 0 for c in containers) > cpu:
        raise client("Invalid setting for container. The sum of the containers' cpu exceeds the task's cpu.")
    for container in containers:
        if (container.get("memory") or 0) > memory or (container.get("memoryReservation") or 0) > memory:
            raise client(f"Invalid setting for container '{container['name']}'. Its memory exceeds the task's memory.")
        if (container.get("startTimeout") or 0) > 120:
            raise client(
                f"Invalid 'startTimeout' setting for container '{container['name']}': on Fargate it is at most 120 "
                "seconds."
            )
        if (container.get("stopTimeout") or 0) > 120:
            raise client(
                f"Invalid 'stopTimeout' setting for container '{container['name']}': on Fargate it is at most 120 "
                "seconds."
            )
        for mapping in container.get("portMappings") or []:
            if mapping.get("hostPort") not in (None, 0, mapping.get("containerPort")):
                raise client("When networkMode=awsvpc, the host ports and container ports in port mappings must match.")
        if data.get("executionRoleArn"):
            continue
        driver = (container.get("logConfiguration") or {}).get("logDriver")
        if container.get("secrets"):
            raise client(
                "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
            )
        if driver == "awslogs":
            raise client("Fargate requires task definition to have execution role ARN to support log driver awslogs.")
        if images.is_private(container["image"]):
            raise client("Fargate requires task definition to have execution role ARN to support ECR images.")


def _units(value: Any, unit: str) -> int | None:
    """1024, '1024', '1 vCPU' or '2 GB' as an integer."""
    text = str(value or "").strip()
    found = re.fullmatch(rf"([0-9.]+)\s*{unit}", text, re.I)
    if found:
        return int(float(found[1]) * 1024)
    return int(text) if text.isdigit() else None


def register(data: dict) -> dict:
    _check_definition(data)
    for container in data["containerDefinitions"]:
        for key, value in CONTAINER_DEFAULTS.items():
            container.setdefault(key, [] if isinstance(value, list) else value)
        container.setdefault("essential", True)
        for mapping in container["portMappings"]:
            if data.get("networkMode") == "awsvpc":
                mapping["hostPort"] = mapping.get("hostPort") or mapping.get("containerPort")
            mapping.setdefault("protocol", "tcp")
    if data.get("cpu") is not None:
        data["cpu"] = str(_units(data["cpu"], "vCPU") or data["cpu"])
    if data.get("memory") is not None:
        data["memory"] = str(_units(data["memory"], "GB") or data["memory"])
    status, _, body = _store(data)
    answer = json.loads(body)
    if status >= 400:
        raise Refused(str(answer.get("__type", "ClientException")).rsplit("#", 1)[-1], answer.get("message", ""))
    stored = ecs._task_defs[f"{answer['taskDefinition']['family']}:{answer['taskDefinition']['revision']}"]
    for key in [k for k, v in stored.items() if v in ("", None)]:
        del stored[key]  # AWS leaves out what was not given
    stored["registeredAt"] = clock.now()
    stored["registeredBy"] = caller()
    return {"taskDefinition": stored, "tags": data.get("tags") or None}


def describe(data: dict) -> dict:
    definition = ecs._task_defs.get(key_of(data.get("taskDefinition", "")) or "")
    if definition is None:
        raise client("Unable to describe task definition.")
    tags = ecs._tags.get(definition["taskDefinitionArn"], []) if "TAGS" in (data.get("include") or []) else None
    return {"taskDefinition": definition, "tags": tags}


def deregister(data: dict) -> dict:
    reference = data.get("taskDefinition", "")
    if ":" not in reference.rsplit("/", 1)[-1]:
        raise invalid("Invalid revision number. Number of tokens: 1")
    definition = ecs._task_defs.get(ecs._resolve_td_key(reference) or "")
    if definition is None:
        raise client("The specified task definition does not exist.")
    definition |= {"status": "INACTIVE", "deregisteredAt": clock.now()}
    return {"taskDefinition": definition}


def delete(data: dict) -> dict:
    deleted, failures = [], []
    for reference in data.get("taskDefinitions") or []:
        key = ecs._resolve_td_delete_key(reference)
        definition = ecs._task_defs.get(key or "")
        if definition is None:
            failures.append(
                {
                    "arn": reference,
                    "reason": "TASK_DEFINITION_NOT_FOUND",
                    "detail": "The specified task definition does not exist.",
                }
            )
        elif definition["status"] == "ACTIVE":
            failures.append(
                {
                    "arn": definition["taskDefinitionArn"],
                    "reason": "TASK_DEFINITION_ACTIVE",
                    "detail": "The specified task definition is still in ACTIVE status. Please deregister the "
                    "target and try again.",
                }
            )
        else:
            definition |= {"status": "DELETE_IN_PROGRESS", "deleteRequestedAt": clock.now()}
            deleted.append(definition)
    return {"taskDefinitions": deleted, "failures": failures}


def list_arns(data: dict) -> dict:
    family, status = data.get("familyPrefix"), data.get("status") or "ACTIVE"
    chosen = [d for d in ecs._task_defs.values() if d["status"] == status and (not family or d["family"] == family)]
    chosen.sort(key=lambda d: (d["family"], d["revision"]), reverse=data.get("sort") == "DESC")
    return page([d["taskDefinitionArn"] for d in chosen], data, 100, "taskDefinitionArns", ordered=True)
