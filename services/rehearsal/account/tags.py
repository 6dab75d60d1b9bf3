"""Tags of everything that can be tagged here, wherever ministack keeps them: for aws:ResourceTag conditions and for GetResources."""

from typing import Iterator

from ministack.core.responses import get_account_id, get_region


def _plain(tags) -> dict[str, str]:
    """A tag map out of any of AWS's shapes: a map, [{Key, Value}], [{key, value}], [{TagKey, TagValue}]."""
    if not tags:
        return {}
    if isinstance(tags, dict):
        return dict(tags)
    return {
        tag.get("Key", tag.get("key", tag.get("TagKey"))): tag.get("Value", tag.get("value", tag.get("TagValue", ""))) for tag in tags
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


def _ec2() -> Iterator[tuple[str, dict]]:
    from ministack.services import ec2

    for identifier, tags in ec2._tags.items():
        arn = ec2_arn(identifier)
        if arn:
            yield arn, _plain(tags)


def _by_arn(module: str, store: str):
    def rows() -> Iterator[tuple[str, dict]]:
        import importlib

        service = importlib.import_module(f"ministack.services.{module}")
        for arn, tags in getattr(service, store).items():
            if _here(arn):
                yield arn, _plain(tags)

    return rows


def _ecs() -> Iterator[tuple[str, dict]]:
    """Task definitions stay when they are INACTIVE, as on AWS; services and clusters that are INACTIVE are gone for the tagging API."""
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


def _scaling() -> Iterator[tuple[str, dict]]:
    from account import autoscaling

    return autoscaling.tagged()


STORES = {
    "application-autoscaling": _scaling,
    "ec2": _ec2,
    "ecr": _ecr,
    "ecs": _ecs,
    "elasticloadbalancing": _by_arn("alb", "_tags"),
    "iam": _iam,
    "logs": _logs,
    "rds": _by_arn("rds", "_tags"),
    "secretsmanager": _secrets,
    "servicediscovery": _by_arn("servicediscovery", "_resource_tags"),
}


def of(arn: str) -> dict[str, str]:
    """The tags of the resource with this ARN, in the current account and region; {} when it has none or does not exist."""
    service = arn.split(":")[2] if arn.count(":") >= 5 else ""
    if service == "ec2":
        from ministack.services import ec2

        return _plain(ec2._tags.get(arn.rpartition("/")[2]))
    if service == "ecs":
        from ministack.services import ecs

        return _plain(ecs._tags.get(arn))
    store = STORES.get(service)
    return next((tags for found, tags in store() if found == arn), {}) if store else {}
