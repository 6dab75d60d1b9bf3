"""Application Auto Scaling for ECS services' desired count: targets and their limits, policies, scheduled actions,
tags, activities.

As on AWS, registering or updating a target moves a desired count that lies outside [min, max] to the nearer limit,
and a target outlives its service until it is deregistered. Policies are kept but nothing scales by itself
(docs/fidelity.md).
"""

import asyncio
import json
import re
import uuid
from typing import Any

from ministack.core.responses import (
    AccountRegionScopedDict,
    error_response_json,
    get_account_id,
    get_region,
    json_response,
)

from account import added, clock, pages

DIMENSION = "ecs:service:DesiredCount"
ROLE = "aws-service-role/ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService"
NOT_NULL = "failed to satisfy constraint: Member must not be null"
PAGE = 50  # DescribeScalableTargets answers 1-50

_targets = AccountRegionScopedDict()
_policies = AccountRegionScopedDict()
_scheduled = AccountRegionScopedDict()
_activities = AccountRegionScopedDict()
_tags = AccountRegionScopedDict()


class Refused(Exception):
    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{get_region()}:{get_account_id()}:{resource}"


def _invalid(message: str) -> Refused:
    return Refused("ValidationException", message)


def _key(data: dict) -> tuple[str, str, str]:
    key = tuple(data.get(name) or "" for name in ("ServiceNamespace", "ResourceId", "ScalableDimension"))
    for name, value in zip(("serviceNamespace", "resourceId", "scalableDimension"), key):
        if not value:
            raise _invalid(f"1 validation error detected: Value null at '{name}' {NOT_NULL}")
    if key[0] != "ecs" or key[2] != DIMENSION:
        raise _invalid(f"Unsupported service namespace, resource type or scalable dimension: {'|'.join(key)}")
    return key


def _found(data: dict) -> dict:
    key = _key(data)
    target = _targets.get(key)
    if target is None:
        raise Refused(
            "ObjectNotFoundException",
            f"No scalable target registered for service namespace: {key[0]}, resource ID: {key[1]}, "
            f"scalable dimension: {key[2]}",
        )
    return target


def _service(resource: str) -> dict:
    from ministack.services import ecs

    from account import consistency

    match = re.fullmatch(r"service/([^/]+)/([^/]+)", resource)
    if not match:
        raise _invalid(f"Unsupported resource ID: {resource}")
    service = ecs._services.get(f"{match[1]}/{match[2]}")
    if (
        service is None
        or service.get("status") != "ACTIVE"
        or not consistency.seen_by_scaling(service["serviceArn"])
    ):
        raise _invalid(f"ECS service doesn't exist: {resource}")
    return service


async def _register(data: dict) -> dict:
    from ministack.services import ecs

    key = _key(data)
    service = _service(key[1])
    old = _targets.get(key)
    low, high = (data.get(name, (old or {}).get(name)) for name in ("MinCapacity", "MaxCapacity"))
    if low is None or high is None:
        raise _invalid("MinCapacity and MaxCapacity are required when registering a new scalable target")
    if low < 0:
        raise _invalid(f"Minimum capacity cannot be less than 0: {low}")
    if low > high:
        raise _invalid("Maximum capacity cannot be less than minimum capacity")
    if old is not None and data.get("Tags"):
        raise _invalid("Tags cannot be given for a scalable target that is already registered: use TagResource")
    target = old or {
        "ServiceNamespace": key[0],
        "ResourceId": key[1],
        "ScalableDimension": key[2],
        "RoleARN": f"arn:aws:iam::{get_account_id()}:role/{ROLE}",
        "CreationTime": clock.now(),
        "SuspendedState": {
            "DynamicScalingInSuspended": False,
            "DynamicScalingOutSuspended": False,
            "ScheduledScalingSuspended": False,
        },
        "ScalableTargetARN": _arn("application-autoscaling", f"scalable-target/{uuid.uuid4().hex[:24]}"),
    }
    target.update(MinCapacity=low, MaxCapacity=high)
    target["SuspendedState"] = {**target["SuspendedState"], **(data.get("SuspendedState") or {})}
    _targets[key] = target
    if old is None:
        _tags[target["ScalableTargetARN"]] = dict(data.get("Tags") or {})
    desired = service.get("desiredCount", 0)
    wanted = min(max(desired, low), high)
    if wanted != desired:
        cause = f"minimum capacity was set to {low}" if wanted > desired else f"maximum capacity was set to {high}"
        _, cluster, name = key[1].split("/")
        answer = ecs._ACTION_MAP["UpdateService"]({"cluster": cluster, "service": name, "desiredCount": wanted})
        status, _, body = await answer if asyncio.iscoroutine(answer) else answer
        now = clock.now()
        activity = {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": key[0],
            "ResourceId": key[1],
            "ScalableDimension": key[2],
            "Description": f"Setting desired count to {wanted}.",
            "Cause": cause,
            "StartTime": now,
            "EndTime": now,
            "StatusCode": "Successful" if status < 400 else "Failed",
            "StatusMessage": f"Successfully set desired count to {wanted}." if status < 400 else str(body),
        }
        _activities[activity["ActivityId"]] = activity
    return {"ScalableTargetARN": target["ScalableTargetARN"]}


def _deregister(data: dict) -> dict:
    target, key = _found(data), _key(data)
    for store in (_policies, _scheduled):
        for name in [name for name in store.keys() if name[:3] == key]:
            del store[name]
    _tags.pop(target["ScalableTargetARN"], None)
    del _targets[key]
    return {}


def _put_policy(data: dict) -> dict:
    _found(data)
    key = (*_key(data), data["PolicyName"])
    policy = _policies.get(key) or {
        "PolicyARN": _arn(
            "autoscaling",
            f"scalingPolicy:{uuid.uuid4()}:resource/ecs/{data['ResourceId']}:policyName/{data['PolicyName']}",
        ),
        "CreationTime": clock.now(),
        "Alarms": [],
    }
    if data.get("PolicyType") == "TargetTrackingScaling" and not policy["Alarms"]:
        for side in ("High", "Low"):
            name = f"TargetTracking-{data['ResourceId']}-Alarm{side}-{uuid.uuid4()}"
            policy["Alarms"].append(
                {"AlarmName": name, "AlarmARN": f"arn:aws:cloudwatch:{get_region()}:{get_account_id()}:alarm:{name}"}
            )
    policy.update(data)
    _policies[key] = policy
    return {"PolicyARN": policy["PolicyARN"], "Alarms": policy["Alarms"]}


def _delete_policy(data: dict) -> dict:
    if _policies.pop((*_key(data), data.get("PolicyName")), None) is None:
        raise Refused(
            "ObjectNotFoundException",
            f"No scaling policy found for {'|'.join(_key(data))} named {data.get('PolicyName')}",
        )
    return {}


def _put_scheduled(data: dict) -> dict:
    _found(data)
    _scheduled[(*_key(data), data["ScheduledActionName"])] = {**data, "CreationTime": clock.now()}
    return {}


def _delete_scheduled(data: dict) -> dict:
    if _scheduled.pop((*_key(data), data.get("ScheduledActionName")), None) is None:
        raise Refused("ObjectNotFoundException", f"No scheduled action found named {data.get('ScheduledActionName')}")
    return {}


def _page(data: dict, rows: list[dict], field: str) -> dict:
    if not data.get("ServiceNamespace"):
        raise _invalid(f"1 validation error detected: Value null at 'serviceNamespace' {NOT_NULL}")
    given = {name: value for name, value in data.items() if name not in ("MaxResults", "NextToken")}
    size = min(data.get("MaxResults") or PAGE, PAGE)

    def identity(row: dict) -> str:
        names = ("ResourceId", "ScalableDimension", "PolicyName", "ScheduledActionName")
        return json.dumps([row.get(name) for name in names])

    try:
        shown, token = pages.cut(f"application-autoscaling.{field}", given, rows, size, data.get("NextToken"), identity)
    except pages.BadToken:
        raise Refused("InvalidNextTokenException", "The next token supplied was invalid.") from None
    answer: dict[str, Any] = {field: shown}
    if token:
        answer["NextToken"] = token
    return answer


def _selected(store, data: dict) -> list[dict]:
    wanted = ("ServiceNamespace", "ResourceId", "ScalableDimension")
    return [row for row in store.values() if all(not data.get(name) or row.get(name) == data[name] for name in wanted)]


def _describe_targets(data: dict) -> dict:
    rows = [
        row
        for row in _selected(_targets, data)
        if not data.get("ResourceIds") or row["ResourceId"] in data["ResourceIds"]
    ]
    return _page(data, rows, "ScalableTargets")


def _describe_policies(data: dict) -> dict:
    rows = [
        row
        for row in _selected(_policies, data)
        if not data.get("PolicyNames") or row["PolicyName"] in data["PolicyNames"]
    ]
    return _page(data, rows, "ScalingPolicies")


def _tagged(data: dict) -> dict:
    tags = _tags.get(data.get("ResourceARN"))
    if tags is None:
        raise Refused("ResourceNotFoundException", f"The specified resource doesn't exist: {data.get('ResourceARN')}")
    return tags


ACTIONS = {
    "RegisterScalableTarget": _register,
    "DeregisterScalableTarget": _deregister,
    "DescribeScalableTargets": _describe_targets,
    "PutScalingPolicy": _put_policy,
    "DeleteScalingPolicy": _delete_policy,
    "DescribeScalingPolicies": _describe_policies,
    "PutScheduledAction": _put_scheduled,
    "DeleteScheduledAction": _delete_scheduled,
    "DescribeScheduledActions": lambda data: _page(data, _selected(_scheduled, data), "ScheduledActions"),
    "DescribeScalingActivities": lambda data: _page(
        data, sorted(_selected(_activities, data), key=lambda row: -row["StartTime"]), "ScalingActivities"
    ),
    "TagResource": lambda data: _tagged(data).update(data.get("Tags") or {}) or {},
    "UntagResource": lambda data: [_tagged(data).pop(name, None) for name in data.get("TagKeys") or []] and {} or {},
    "ListTagsForResource": lambda data: {"Tags": dict(_tagged(data))},
}


async def call(action: str, data: dict) -> dict:
    """One API call in process. Raises Refused."""
    answer = ACTIONS[action](data)
    return await answer if asyncio.iscoroutine(answer) else answer


async def handle_request(method, path, headers, body, query_params):
    action = headers.get("x-amz-target", "").rpartition(".")[2]
    if action not in ACTIONS:
        return error_response_json("UnknownOperationException", f"Unknown operation: {action}", 400)
    try:
        return json_response(await call(action, json.loads(body or b"{}")))
    except Refused as refused:
        return error_response_json(refused.code, str(refused), 400)


def tagged():
    """(ARN, tags) of every scalable target of the current account and region."""
    for arn, tags in _tags.items():
        yield arn, dict(tags)


def arn_of(resource: str, dimension: str = DIMENSION) -> str:
    """The target's ARN, '' when none is registered."""
    return (_targets.get(("ecs", resource, dimension)) or {}).get("ScalableTargetARN", "")


def install() -> None:
    added.add("application-autoscaling", "AnyScaleFrontendService", handle_request, reset)


def reset() -> None:
    for store in (_targets, _policies, _scheduled, _activities, _tags):
        store.clear()


def stop() -> None:
    pass
