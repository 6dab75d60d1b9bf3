"""EC2 networking where ministack is laxer than AWS: what is in use is not deleted, duplicates are refused, a NAT
gateway takes its time.
"""

import re
from typing import Iterator

from account import clock, durations


def users_of_group(group_id: str) -> Iterator[str]:
    """What keeps a security group from being deleted: interfaces that carry it, rules of other groups that name it."""
    from ministack.services import alb, ec2, rds

    for group in ec2._security_groups.values():
        if group["GroupId"] != group_id:
            for rule in group["IpPermissions"] + group["IpPermissionsEgress"]:
                if any(pair.get("GroupId") == group_id for pair in rule.get("UserIdGroupPairs", [])):
                    yield f"rule of {group['GroupId']}"
    for balancer in alb._lbs.values():
        if group_id in (balancer.get("SecurityGroups") or []):
            yield balancer["LoadBalancerArn"]
    for instance in rds._instances.values():
        if any(one.get("VpcSecurityGroupId") == group_id for one in instance.get("VpcSecurityGroups") or []):
            yield instance.get("DBInstanceArn", instance["DBInstanceIdentifier"])
    for task, groups, _ in _interfaces():
        if group_id in groups:
            yield task


def users_of_subnet(subnet_id: str) -> Iterator[str]:
    from ministack.services import alb, ec2, rds

    for balancer in alb._lbs.values():
        if any(zone.get("SubnetId") == subnet_id for zone in balancer.get("AvailabilityZones") or []):
            yield balancer["LoadBalancerArn"]
    for nat in ec2._nat_gateways.values():
        if nat["SubnetId"] == subnet_id and nat["State"] not in ("deleted", "failed"):
            yield nat["NatGatewayId"]
    for instance in rds._instances.values():
        if any(
            one.get("SubnetIdentifier") == subnet_id
            for one in (instance.get("DBSubnetGroup") or {}).get("Subnets") or []
        ):
            yield instance["DBInstanceIdentifier"]
    for task, _, subnets in _interfaces():
        if subnet_id in subnets:
            yield task


def _interfaces() -> Iterator[tuple[str, list[str], list[str]]]:
    """Running tasks with the security groups and subnets that their interface may be in."""
    from ministack.services import ecs

    places: dict[str, list[dict]] = {}
    for service in ecs._services.values():
        for one in [service, *service.get("deployments", [])]:
            found = (one.get("networkConfiguration") or {}).get("awsvpcConfiguration")
            if found:
                places.setdefault(f"service:{service['serviceName']}", []).append(found)
    for task in ecs._tasks.values():
        if task.get("lastStatus") in ("STOPPED", "DEPROVISIONING"):
            continue
        own = ((task.get("_network") or task.get("networkConfiguration") or {}).get("awsvpcConfiguration")) or {}
        all_of_it = [own] if own else places.get(task.get("group", ""), [])
        yield (
            task["taskArn"],
            [group for place in all_of_it for group in place.get("securityGroups", [])],
            [subnet for place in all_of_it for subnet in place.get("subnets", [])],
        )


def _state(nat: dict) -> str:
    """pending until it is made, deleting until it is gone; AWS shows a deleted one for about an hour."""
    due = nat.get("_until")
    if due is not None and clock.monotonic() >= due:
        nat["State"] = {"pending": "available", "deleting": "deleted"}.get(nat["State"], nat["State"])
        nat.pop("_until")
    return nat["State"]


def settle(nat_id: str) -> None:
    """Whatever the NAT gateway was becoming, it is now."""
    from ministack.services import ec2

    nat = ec2._nat_gateways.get(nat_id)
    if nat is not None and "_until" in nat:
        nat["_until"] = 0
        _state(nat)


def install() -> None:
    from ministack.services import ec2

    actions = ec2._ACTION_MAP
    first, error = ec2._p, ec2._error

    def replace(name: str, before):
        inner = actions[name]

        def call(params):
            refused = before(params)
            return refused if refused is not None else inner(params)

        actions[name] = call

    def group_unused(params):
        group = first(params, "GroupId")
        if group in ec2._security_groups and any(users_of_group(group)):
            return error("DependencyViolation", f"resource {group} has a dependent object", 400)

    def subnet_unused(params):
        subnet = first(params, "SubnetId")
        if subnet in ec2._subnets and any(users_of_subnet(subnet)):
            return error("DependencyViolation", f"The subnet '{subnet}' has dependencies and cannot be deleted.", 400)

    def group_can_be_made(params):
        if not first(params, "GroupDescription"):
            return error("MissingParameter", "The request must contain the parameter GroupDescription", 400)
        vpc = first(params, "VpcId")
        if vpc and vpc not in ec2._vpcs:
            return error("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist", 400)
        name = first(params, "GroupName")
        if name.startswith("sg-") or not re.fullmatch(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}", name):
            return error("InvalidParameterValue", f"Value ({name}) for parameter GroupName is invalid.", 400)

    def rules(params, direction):
        group = ec2._security_groups.get(first(params, "GroupId"))
        if group is None:
            return None, []
        return group, ec2._parse_ip_permissions(params, "IpPermissions")

    def shown(rule: dict) -> str:
        peer = next(
            iter(
                [pair.get("GroupId", "") for pair in rule.get("UserIdGroupPairs", [])]
                + [one["CidrIp"] for one in rule.get("IpRanges", [])]
                + [one["CidrIpv6"] for one in rule.get("Ipv6Ranges", [])]
            ),
            "",
        )
        ports = f"from port: {rule['FromPort']}, to port: {rule['ToPort']}" if "FromPort" in rule else "ALL"
        return f"peer: {peer}, {rule['IpProtocol'].upper()}, {ports}, ALLOW"

    def can_authorize(direction):
        def before(params):
            group, wanted = rules(params, direction)
            for rule in wanted if group else []:
                for pair in rule.get("UserIdGroupPairs", []):
                    if pair.get("GroupId") and pair["GroupId"] not in ec2._security_groups:
                        return error(
                            "InvalidGroup.NotFound", f"The security group '{pair['GroupId']}' does not exist", 400
                        )
                if any(ec2._rules_match(rule, there) for there in group[direction]):
                    return error(
                        "InvalidPermission.Duplicate", f'the specified rule "{shown(rule)}" already exists', 400
                    )

        return before

    def can_revoke(direction):
        def before(params):
            group, wanted = rules(params, direction)
            for rule in wanted if group else []:
                if not any(ec2._rules_match(rule, there) for there in group[direction]):
                    return error(
                        "InvalidPermission.NotFound", "The specified rule does not exist in this security group.", 400
                    )

        return before

    replace("DeleteSecurityGroup", group_unused)
    delete_group = actions["DeleteSecurityGroup"]

    def group_deleted(params):
        answer = delete_group(params)
        if answer[0] == 200:
            ec2._tags.pop(first(params, "GroupId"), None)
        return answer

    actions["DeleteSecurityGroup"] = group_deleted
    replace("DeleteSubnet", subnet_unused)
    replace("CreateSecurityGroup", group_can_be_made)
    replace("AuthorizeSecurityGroupIngress", can_authorize("IpPermissions"))
    replace("AuthorizeSecurityGroupEgress", can_authorize("IpPermissionsEgress"))
    replace("RevokeSecurityGroupIngress", can_revoke("IpPermissions"))
    replace("RevokeSecurityGroupEgress", can_revoke("IpPermissionsEgress"))

    create_nat, describe_nat, delete_nat = (
        actions[name] for name in ("CreateNatGateway", "DescribeNatGateways", "DeleteNatGateway")
    )

    def nat_created(params):
        if first(params, "SubnetId") not in ec2._subnets:
            return error("InvalidSubnetID.NotFound", f"The subnet ID '{first(params, 'SubnetId')}' does not exist", 400)
        before = set(ec2._nat_gateways.keys())
        status, headers, body = create_nat(params)
        for name in set(ec2._nat_gateways.keys()) - before:
            ec2._nat_gateways[name].update(State="pending", _until=clock.monotonic() + durations.seconds("nat.create"))
        text = body.decode() if isinstance(body, bytes) else body
        return status, headers, text.replace("<state>available</state>", "<state>pending</state>").encode()

    def nat_described(params):
        for nat in ec2._nat_gateways.values():
            _state(nat)
        return describe_nat(params)

    def nat_deleted(params):
        answer = delete_nat(params)
        nat = ec2._nat_gateways.get(first(params, "NatGatewayId"))
        if nat is not None:
            nat.update(State="deleting", _until=clock.monotonic() + durations.seconds("nat.delete"))
        return answer

    actions.update(CreateNatGateway=nat_created, DescribeNatGateways=nat_described, DeleteNatGateway=nat_deleted)


def reset() -> None:
    pass


def stop() -> None:
    pass
