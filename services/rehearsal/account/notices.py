"""What AWS's services tell EventBridge of themselves, in each service's own shape: RDS, ECR, CloudWatch's alarms and
CloudFormation's stacks. ECS tells its own (services, tasks); calls are told by cloudtrail.
"""

import functools
import json
from datetime import UTC, datetime

from account import clock, durations, events, trail
from ministack.services import cloudwatch, rds

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html: message -> (event id, category)
RDS = {
    "Backing up DB instance": ("RDS-EVENT-0001", "backup"),
    "Creating manual snapshot": ("RDS-EVENT-0040", "creation"),
    "DB instance created": ("RDS-EVENT-0005", "creation"),
    "DB instance deleted": ("RDS-EVENT-0003", "deletion"),
    "DB instance restarted": ("RDS-EVENT-0006", "availability"),
    "DB instance shutdown": ("RDS-EVENT-0004", "availability"),
    "DB instance started": ("RDS-EVENT-0088", "notification"),
    "DB instance stopped": ("RDS-EVENT-0087", "notification"),
    "Finished DB Instance backup": ("RDS-EVENT-0002", "backup"),
    "Finished applying modification to DB instance class": ("RDS-EVENT-0014", "configuration change"),
    "Finished applying modification to allocated storage": ("RDS-EVENT-0017", "configuration change"),
    "Finished applying modification to convert to a Multi-AZ DB instance": ("RDS-EVENT-0025", "configuration change"),
    "Manual snapshot created": ("RDS-EVENT-0042", "creation"),
    "Recovery of the DB instance has started. Recovery time will vary with the amount of data to be recovered.": (
        "RDS-EVENT-0020",
        "recovery",
    ),
    "Recovery of the DB instance is complete.": ("RDS-EVENT-0021", "recovery"),
    "Reset master credentials": ("RDS-EVENT-0016", "configuration change"),
}
# What a modification of these is told as; of others RDS says nothing when it is done.
MODIFIED = {
    "AllocatedStorage": "Finished applying modification to allocated storage",
    "DBInstanceClass": "Finished applying modification to DB instance class",
    "MultiAZ": "Finished applying modification to convert to a Multi-AZ DB instance",
}
KINDS = {
    "db-instance": ("RDS DB Instance Event", "DB_INSTANCE"),
    "db-snapshot": ("RDS DB Snapshot Event", "SNAPSHOT"),
}


def database(kind: str, identifier: str, arn: str, message: str, category: str = "", tags: list | None = None) -> None:
    """One event of RDS: for DescribeEvents and, when AWS has a number for it, EventBridge."""
    number, category = RDS.get(message, ("", category))
    now = clock.now()
    rds._events[durations.identifier("notices.ids")] = {
        "SourceIdentifier": identifier,
        "SourceType": kind,
        "SourceArn": arn,
        "Message": message,
        "Date": now,
        "EventCategories": [category],
    }
    if not number:
        return
    title, source_type = KINDS[kind]
    at = datetime.fromtimestamp(now, UTC)
    detail = {
        "EventCategories": [category],
        "SourceType": source_type,
        "SourceArn": arn,
        "Date": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
        "Message": message,
        "SourceIdentifier": identifier,
        "EventID": number,
        "Tags": {one["Key"]: one["Value"] for one in tags or []},
    }
    events.emit("aws.rds", title, [arn], detail)


def _images(call: trail.Call, _headers, body: bytes, status: int, _answered, answer: bytes) -> None:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html"""
    if call.service != "ecr" or status != 200 or call.action not in ("PutImage", "BatchDeleteImage"):
        return
    said, repository = json.loads(answer), json.loads(body)["repositoryName"]
    pushed = call.action == "PutImage"
    for one in [said["image"]["imageId"]] if pushed else said.get("imageIds", []):
        detail = {
            "result": "SUCCESS",
            "repository-name": repository,
            "image-digest": one.get("imageDigest", ""),
            "action-type": "PUSH" if pushed else "DELETE",
            **({"image-tag": one["imageTag"]} if one.get("imageTag") else {}),
        }
        events.emit("aws.ecr", "ECR Image Action", [], detail, call.account, call.region)


_before: dict[str, dict] = {}  # alarm's ARN -> its state, as told last


def _state(alarm: dict) -> dict:
    at = datetime.fromtimestamp(alarm.get("StateUpdatedTimestamp", clock.now()), UTC)
    data = alarm.get("StateReasonData")
    return {
        "value": alarm["StateValue"],
        "reason": alarm.get("StateReason", ""),
        **({"reasonData": data} if data else {}),
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000",
    }


def _metrics(alarm: dict) -> list[dict]:
    dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions") or []}
    metric = {"namespace": alarm.get("Namespace"), "name": alarm.get("MetricName"), "dimensions": dimensions}
    stat = {"metric": metric, "period": alarm.get("Period"), "stat": alarm.get("Statistic")}
    return [{"id": durations.identifier("notices.ids"), "metricStat": stat, "returnData": True}]


def _alarms() -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html"""
    act = cloudwatch._dispatch_alarm_actions

    @functools.wraps(act)
    def told(alarm, old_state, new_state, reason):
        act(alarm, old_state, new_state, reason)
        arn, now = alarm["AlarmArn"], _state(alarm)
        before = _before.get(arn) or {"value": old_state, "reason": "", "timestamp": now["timestamp"]}
        _before[arn] = now
        text = alarm.get("AlarmDescription")
        about = {"description": text} if text else {}
        if alarm.get("AlarmRule"):
            about["alarmRule"] = alarm["AlarmRule"]
        else:
            about["metrics"] = alarm.get("Metrics") or _metrics(alarm)
        detail = {"alarmName": alarm["AlarmName"], "state": now, "previousState": before, "configuration": about}
        events.emit("aws.cloudwatch", "CloudWatch Alarm State Change", [arn], detail)

    cloudwatch._dispatch_alarm_actions = told


def _stacks() -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/eventbridge-events-status-changes.html"""
    from ministack.services.cloudformation import changesets, handlers, stacks

    add = stacks._add_event

    @functools.wraps(add)
    def told(stack_id, stack_name, logical_id, resource_type, status, reason="", physical_id="", detailed_status=""):
        add(stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, detailed_status)
        if resource_type == "AWS::CloudFormation::Stack" and physical_id in ("", stack_id):
            detail = {
                "stack-id": stack_id,
                "status-details": {"status": status, "status-reason": reason},
                "client-request-token": stacks.CLIENT_REQUEST_TOKEN.get() or "",
            }
            events.emit("aws.cloudformation", "CloudFormation Stack Status Change", [stack_id], detail)

    for module in (changesets, handlers, stacks):
        module._add_event = told


def install() -> None:
    trail.after(_images)
    _alarms()
    _stacks()


def reset() -> None:
    _before.clear()


def stop() -> None:
    pass
