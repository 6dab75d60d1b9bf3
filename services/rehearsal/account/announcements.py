"""What ECS tells EventBridge: tasks' states, what a service's scheduler did, how deployments fare.

Shapes: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html. A task's event resembles its
record in DescribeTasks, with times as ISO strings, without health and tags.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from account import clock, events

if TYPE_CHECKING:
    from account.services import Deployment, Service
    from account.tasks import Task

NOT_TOLD = {"tags", "healthStatus", "fargateEphemeralStorage"}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def task_changed(task: "Task") -> None:
    """Once for each new `version` of the task."""
    detail = {}
    for name, value in task.record.items():
        if value is None or name.startswith("_") or name in NOT_TOLD:
            continue
        detail[name] = _iso(value) if name.endswith("At") else value
    detail["containers"] = [
        {k: v for k, v in c.items() if k not in ("healthStatus", "managedAgents")} for c in task.record["containers"]
    ]
    detail["attachments"] = [{**a, "type": "eni"} for a in task.record["attachments"]]
    detail["updatedAt"] = _iso(clock.now())
    events.emit("aws.ecs", "ECS Task State Change", [task.arn], detail, task.account, task.region)


def service_acted(service: "Service", kind: str, name: str, **more: object) -> None:
    """`kind`: INFO, WARN or ERROR; `name`: SERVICE_STEADY_STATE and so on."""
    detail = {
        "eventType": kind,
        "eventName": name,
        "clusterArn": service.record["clusterArn"],
        **more,
        "createdAt": _iso(clock.now()),
    }
    events.emit("aws.ecs", "ECS Service Action", [service.arn], detail, service.account, service.region)


def deployment_changed(deployment: "Deployment", name: str) -> None:
    """`name`: SERVICE_DEPLOYMENT_IN_PROGRESS, _COMPLETED or _FAILED; the reason is the deployment's."""
    service = deployment.service
    detail = {
        "eventType": "ERROR" if name.endswith("FAILED") else "INFO",
        "eventName": name,
        "deploymentId": deployment.id,
        "updatedAt": _iso(deployment.updated),
        "reason": deployment.reason,
    }
    events.emit("aws.ecs", "ECS Deployment State Change", [service.arn], detail, service.account, service.region)


def retirement_noticed(task: "Task", at: float) -> None:
    """AWS Health's notice that the platform under a task is retired:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-maintenance.html. For a service's task it names the
    service.
    """
    entity = (
        f"{task.record['clusterArn'].rsplit('/', 1)[-1]}|{task.service.name}" if task.service else task.arn
    )  # AWS names a service's tasks by cluster and service
    detail = {
        "eventArn": f"arn:aws:health:{task.region}::event/ECS/AWS_ECS_TASK_PATCHING_RETIREMENT/"
        f"AWS_ECS_TASK_PATCHING_RETIREMENT_{task.id}",
        "service": "ECS",
        "eventTypeCode": "AWS_ECS_TASK_PATCHING_RETIREMENT",
        "eventTypeCategory": "scheduledChange",
        "eventScopeCode": "ACCOUNT_SPECIFIC",
        "startTime": _iso(at),
        "lastUpdatedTime": _iso(clock.now()),
        "statusCode": "upcoming",
        "eventRegion": task.region,
        "affectedAccount": task.account,
        "affectedEntities": [{"entityValue": entity, "status": "PENDING", "lastUpdatedTime": _iso(clock.now())}],
    }
    events.emit("aws.health", "AWS Health Event", [entity], detail, task.account, task.region)
