"""What goes, or comes, by itself after days: deleted secrets, automated backups, the records of deleted things, objects
of buckets with lifecycle rules.

Worked out when somebody asks, from the account's clock, so that a skip of thirty days costs nothing.
"""

from datetime import UTC, datetime

from ministack.core.responses import get_account_id, get_region
from ministack.services import ec2, rds, s3, secretsmanager
from ministack.services.cloudformation import _stacks, handlers

from account import clock, databases, durations, network

DAY = 86400


def secrets() -> None:
    """A secret ends at the end of its recovery window, not before.
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_delete-secret.html
    """
    for name, secret in secretsmanager._secrets.items():
        if secret.get("DeletedDate") and clock.now() >= secret["DeletedDate"]:
            secretsmanager._purge_secret(name, secret)


def backups() -> None:
    """RDS takes one backup a day, the first after creation, and keeps each for the retention period; they go with the
    instance. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithAutomatedBackups.html
    """
    wanted: dict[str, tuple[dict, float]] = {}
    for (account, region, identifier), database in list(databases._databases.items()):
        first, record = database.backed_up, database.record
        days = record["BackupRetentionPeriod"]
        if (account, region) != (get_account_id(), get_region()) or first is None or database.ended.is_set():
            continue
        passed = int((clock.now() - first) // DAY)
        for day in range(max(0, passed - days + 1), passed + 1) if days else ():
            at = first + day * DAY
            wanted[f"rds:{identifier}-{datetime.fromtimestamp(at, UTC):%Y-%m-%d-%H-%M}"] = (record, at)
    for name, snapshot in rds._snapshots.items():
        if snapshot["SnapshotType"] == "automated" and name not in wanted:
            del rds._snapshots[name]
    for name, (record, at) in wanted.items():
        if name not in rds._snapshots:
            shown = rds._format_time(at)
            rds._create_snapshot_internal(name, record).update(
                SnapshotType="automated",
                SnapshotCreateTime=shown,
                OriginalSnapshotCreateTime=shown,
                SnapshotDatabaseTime=shown,
                VpcId=record["DBSubnetGroup"]["VpcId"],
                TagList=[],
            )


def gateways() -> None:
    """A deleted NAT gateway is shown for about an hour.
    https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-working-with.html
    """
    for name, nat in ec2._nat_gateways.items():
        since = nat.get("_until") or clock.monotonic()
        if network.nat_state(nat) != "deleted":
            continue
        if clock.monotonic() >= nat.setdefault("_shown_until", since + durations.kept("nat.deleted")):
            del ec2._nat_gateways[name]
            ec2._tags.pop(name, None)


def stacks() -> None:
    """ListStacks and DescribeStacks by id know a deleted stack for 90 days.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListStacks.html
    """
    for name, stack in list(_stacks.items()):
        if stack.get("StackStatus") != "DELETE_COMPLETE":
            continue
        if clock.now() >= stack.setdefault("_shown_until", clock.now() + durations.kept("cloudformation.deleted")):
            del _stacks[name]


def objects() -> None:
    """An object goes at the midnight (UTC) after the days of its bucket's lifecycle rule.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
    """
    for name, rules in list(s3._bucket_lifecycle.items()):
        bucket = s3._buckets.get(name)
        for rule in rules if bucket and isinstance(rules, list) else []:
            days = (rule.get("Expiration") or {}).get("Days")
            prefix = (rule.get("Filter") or {}).get("Prefix") or rule.get("Prefix") or ""
            if not days or rule.get("Status") != "Enabled" or s3._bucket_versioning.get(name):
                continue
            for key, one in list(bucket["objects"].items()):
                written = datetime.fromisoformat(one["last_modified"]).timestamp()
                if key.startswith(prefix) and clock.now() >= ((written + days * DAY) // DAY + 1) * DAY:
                    del bucket["objects"][key]


def _now_iso() -> str:
    return f"{datetime.fromtimestamp(clock.now(), UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def _first(actions: dict, names: str, work) -> None:
    """Bring things up to date before these calls."""
    for name in names.split():

        def call(params, inner=actions[name]):
            work()
            return inner(params)

        actions[name] = call


def install() -> None:
    answer = secretsmanager.handle_request

    async def handle_request(method, path, headers, body, query_params):
        secrets()
        return await answer(method, path, headers, body, query_params)

    secretsmanager.handle_request = handle_request
    store = s3.handle_request

    async def stored(*given, **named):
        objects()
        return await store(*given, **named)

    s3.handle_request, s3.now_iso = stored, _now_iso
    _first(rds._ACTION_MAP, "DescribeDBSnapshots DeleteDBSnapshot CreateDBSnapshot", backups)
    _first(ec2._ACTION_MAP, "DescribeNatGateways DescribeTags", gateways)
    _first(handlers._ACTION_HANDLERS, "DescribeStacks ListStacks DescribeStackEvents", stacks)


def reset() -> None:
    pass


def stop() -> None:
    pass
