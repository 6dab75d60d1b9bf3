"""Tags of everything that can be tagged here, wherever ministack keeps them: for aws:ResourceTag conditions and for
GetResources.
"""

from typing import Iterator

from ministack.core.responses import get_account_id, get_region


def _plain(tags) -> dict[str, str]:
    """A tag map out of any of AWS's shapes: a map, [{Key, Value}], [{key, value}], [{TagKey, TagValue}]."""
    if not tags:
        return {}
    if isinstance(tags, dict):
        return dict(tags)
    return {
        tag.get("Key", tag.get("key", tag.get("TagKey"))): tag.get("Value", tag.get("value", tag.get("TagValue", "")))
        for tag in tags
    }


EC2_TYPES = {
    "sg": "security-group",
    "sgr": "security-group-rule",
    "vpc": "vpc",
    "subnet": "subnet",
    "rtb": "route-table",
    "igw": "internet-gateway",
    "nat": "natgateway",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "fl": "vpc-flow-log",
    "vpce": "vpc-endpoint",
}


def ec2_arn(identifier: str) -> str:
    """ARN of an EC2 resource by its id; '' for an id of a kind that is not known here."""
    kind = EC2_TYPES.get(identifier.rpartition("-")[0])
    return f"arn:aws:ec2:{get_region()}:{get_account_id()}:{kind}/{identifier}" if kind else ""


def _here(arn: str) -> bool:
    parts = arn.split(":", 5)
    return len(parts) == 6 and parts[3] in ("", get_region())


def _ec2_exists(identifier: str) -> bool:
    """ministack keeps the tags of some things that are deleted."""
    from ministack.services import ec2

    stores = {
        "sg": ec2._security_groups,
        "vpc": ec2._vpcs,
        "subnet": ec2._subnets,
        "rtb": ec2._route_tables,
        "igw": ec2._internet_gateways,
        "eipalloc": ec2._addresses,
        "eni": ec2._network_interfaces,
        "fl": ec2._flow_logs,
        "vpce": ec2._vpc_endpoints,
    }
    kind = identifier.rpartition("-")[0]
    if kind == "nat":
        return (ec2._nat_gateways.get(identifier) or {}).get("State") not in (None, "deleted")
    if kind == "sgr":
        return any(
            ec2._sg_rule_id(group["GroupId"], egress, rule) == identifier
            for group in ec2._security_groups.values()
            for egress, rules in ((False, group["IpPermissions"]), (True, group["IpPermissionsEgress"]))
            for rule in rules
        )
    return identifier in stores[kind]


def _ec2() -> Iterator[tuple[str, dict]]:
    from ministack.services import ec2

    for identifier, tags in ec2._tags.items():
        arn = ec2_arn(identifier)
        if arn and _ec2_exists(identifier):
            yield arn, _plain(tags)


def _balancing() -> Iterator[tuple[str, dict]]:
    from ministack.services import alb

    for arn, tags in alb._tags.items():
        if _here(arn) and any(arn in store for store in (alb._lbs, alb._tgs, alb._listeners, alb._rules)):
            yield arn, _plain(tags)


def _rds() -> Iterator[tuple[str, dict]]:
    from ministack.services import rds

    stores = {
        "db": rds._instances,
        "snapshot": rds._snapshots,
        "subgrp": rds._subnet_groups,
        "pg": rds._param_groups,
        "cluster": rds._clusters,
    }
    for arn, tags in rds._tags.items():
        kind, _, name = arn.split(":", 5)[5].partition(":")
        if _here(arn) and (kind not in stores or name in stores[kind]):
            yield arn, _plain(tags)


def _map() -> Iterator[tuple[str, dict]]:
    from ministack.services import servicediscovery

    stores = {"service": servicediscovery._services, "namespace": servicediscovery._namespaces}
    for arn, tags in servicediscovery._resource_tags.items():
        kind, _, name = arn.split(":", 5)[5].partition("/")
        if _here(arn) and name in stores.get(kind, ()):
            yield arn, _plain(tags)


def _ecs() -> Iterator[tuple[str, dict]]:
    """Task definitions stay when they are INACTIVE, as on AWS; services and clusters that are INACTIVE are gone for
    the tagging API.
    """
    from ministack.services import ecs

    gone = {one["serviceArn"] for one in ecs._services.values() if one.get("status") == "INACTIVE"}
    gone |= {one["clusterArn"] for one in ecs._clusters.values() if one.get("status") == "INACTIVE"}
    gone |= {one["taskArn"] for one in ecs._tasks.values() if one.get("lastStatus") == "STOPPED"}
    for arn, tags in ecs._tags.items():
        if _here(arn) and arn not in gone:
            yield arn, _plain(tags)


def _secrets() -> Iterator[tuple[str, dict]]:
    from ministack.services import secretsmanager

    for secret in secretsmanager._secrets.values():
        yield secret["ARN"], _plain(secret.get("Tags"))


def _logs() -> Iterator[tuple[str, dict]]:
    from ministack.services import cloudwatch_logs

    for name, group in cloudwatch_logs._log_groups.items():
        yield f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{name}", _plain(group.get("tags"))


def _ecr() -> Iterator[tuple[str, dict]]:
    from ministack.services import ecr

    for name, repository in ecr._repositories.items():
        yield f"arn:aws:ecr:{get_region()}:{get_account_id()}:repository/{name}", _plain(repository.get("tags"))


def _iam() -> Iterator[tuple[str, dict]]:
    from ministack.services import iam

    for store in (iam._users, iam._roles, iam._policies):
        for entity in store.values():
            yield entity.get("Arn", ""), _plain(entity.get("Tags"))


def _events() -> Iterator[tuple[str, dict]]:
    from ministack.services import eventbridge

    for store in (eventbridge._rules, eventbridge._event_buses):
        for one in store.values():
            yield one["Arn"], _plain(eventbridge._tags.get(one["Arn"]))


def _queues() -> Iterator[tuple[str, dict]]:
    from ministack.services import sqs

    for queue in sqs._queues.values():
        yield queue["attributes"]["QueueArn"], _plain(queue.get("tags"))


def _scaling() -> Iterator[tuple[str, dict]]:
    from account import autoscaling

    return autoscaling.tagged()


def _keys() -> Iterator[tuple[str, dict]]:
    """A key that waits to be deleted has its tags; one that is gone has not."""
    from ministack.services import kms

    for identifier, key in list(kms._keys.items()):
        if kms._resolve_key(identifier) is not None:
            yield key["Arn"], _plain(key.get("Tags"))


def _parameters() -> Iterator[tuple[str, dict]]:
    from ministack.services import ssm

    for arn, tags in ssm._tags.items():
        yield arn, _plain(tags)


def _alarms() -> Iterator[tuple[str, dict]]:
    from ministack.services import cloudwatch

    for arn, tags in cloudwatch._resource_tags.items():
        if _here(arn):
            yield arn, _plain(tags)


STORES = {
    "application-autoscaling": _scaling,
    "cloudwatch": _alarms,
    "ec2": _ec2,
    "ecr": _ecr,
    "ecs": _ecs,
    "elasticloadbalancing": _balancing,
    "events": _events,
    "iam": _iam,
    "kms": _keys,
    "logs": _logs,
    "rds": _rds,
    "secretsmanager": _secrets,
    "servicediscovery": _map,
    "sqs": _queues,
    "ssm": _parameters,
}


def of(arn: str) -> dict[str, str]:
    """The tags of what has this ARN, in the current account and region; {} when it has none or does not exist."""
    service = arn.split(":")[2] if arn.count(":") >= 5 else ""
    if service == "ec2":
        from ministack.services import ec2

        return _plain(ec2._tags.get(arn.rpartition("/")[2]))
    if service == "ecs":
        from ministack.services import ecs

        return _plain(ecs._tags.get(arn))
    store = STORES.get(service)
    return next((tags for found, tags in store() if found == arn), {}) if store else {}
