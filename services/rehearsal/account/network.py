"""EC2 networking where ministack is laxer than AWS: what is in use is not deleted, duplicates are refused, a NAT
gateway takes its time, routes and endpoints lead somewhere.
"""

import re
from typing import Iterator

from account import clock, durations, reachability


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


def nat_state(nat: dict) -> str:
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
        nat_state(nat)


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
            nat_state(nat)
        return describe_nat(params)

    def nat_deleted(params):
        answer = delete_nat(params)
        nat = ec2._nat_gateways.get(first(params, "NatGatewayId"))
        if nat is not None:
            nat.update(State="deleting", _until=clock.monotonic() + durations.seconds("nat.delete"))
        return answer

    actions.update(CreateNatGateway=nat_created, DescribeNatGateways=nat_described, DeleteNatGateway=nat_deleted)
    _routes(actions, replace)
    _prefix_lists()
    _endpoints(actions)
    _acls(actions, replace)
    _default_groups(actions)


def _routes(actions: dict, replace) -> None:
    """A route leads to what there is; it is a black hole once that is gone."""
    from ministack.services import ec2

    first, error = ec2._p, ec2._error

    def leads_somewhere(params):
        table = ec2._route_tables.get(first(params, "RouteTableId"))
        if table is None:
            return None
        gateway, nat = first(params, "GatewayId"), first(params, "NatGatewayId")
        if gateway.startswith("igw-"):
            if gateway not in ec2._internet_gateways:
                return error("InvalidInternetGatewayID.NotFound", f"The gateway ID '{gateway}' does not exist", 400)
            if not reachability.attached(gateway, table["VpcId"]):
                return error(
                    "InvalidParameterValue",
                    f"route table {table['RouteTableId']} and network gateway {gateway} belong to different networks",
                    400,
                )
        if nat:
            record = ec2._nat_gateways.get(nat)
            if record is None or nat_state(record) in ("deleted", "failed"):
                return error("NatGatewayNotFound", f"NatGateway {nat} was not found", 400)

    def new_route(params):
        refused = leads_somewhere(params)
        if refused is not None:
            return refused
        table, cidr = ec2._route_tables.get(first(params, "RouteTableId")), first(params, "DestinationCidrBlock")
        if table and any(one.get("DestinationCidrBlock") == cidr for one in table["Routes"]):
            return error("RouteAlreadyExists", f"The route identified by {cidr} already exists.", 400)

    def is_there(params):
        table, cidr = ec2._route_tables.get(first(params, "RouteTableId")), first(params, "DestinationCidrBlock")
        if table and not any(one.get("DestinationCidrBlock") == cidr for one in table["Routes"]):
            message = f"no route with destination-cidr-block {cidr} in route table {table['RouteTableId']}"
            return error("InvalidRoute.NotFound", message, 400)

    def one_table_a_subnet(params):
        subnet = first(params, "SubnetId")
        if subnet and subnet not in ec2._subnets:
            return error("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist", 400)
        for table in ec2._route_tables.values():
            for there in table["Associations"]:
                if there.get("SubnetId") == subnet:
                    message = f"the specified association for route table {table['RouteTableId']} conflicts with an "
                    return error("Resource.AlreadyAssociated", f"{message}existing association", 400)

    replace("CreateRoute", new_route)
    replace("ReplaceRoute", lambda params: is_there(params) or leads_somewhere(params))
    replace("DeleteRoute", is_there)
    replace("AssociateRouteTable", one_table_a_subnet)
    describe_tables = actions["DescribeRouteTables"]

    def tables_described(params):
        for table in ec2._route_tables.values():
            for route in table["Routes"]:
                nat, gateway = ec2._nat_gateways.get(route.get("NatGatewayId", "")), route.get("GatewayId", "")
                lost = "NatGatewayId" in route and (nat is None or nat_state(nat) in ("deleted", "failed"))
                lost = lost or gateway.startswith("igw-") and not reachability.attached(gateway, table["VpcId"])
                route["State"] = "blackhole" if lost else "active"
        return describe_tables(params)

    actions["DescribeRouteTables"] = tables_described


def _prefix_lists() -> None:
    """A rule of a security group may name a prefix list."""
    from ministack.services import ec2

    parse, first = ec2._parse_ip_permissions, ec2._p

    def parsed(params, prefix):
        found = parse(params, prefix)
        for number, rule in enumerate(found, 1):
            position = 1
            while one := first(params, f"{prefix}.{number}.PrefixListIds.{position}.PrefixListId"):
                rule["PrefixListIds"].append({"PrefixListId": one})
                position += 1
        return found

    ec2._parse_ip_permissions = parsed


def _endpoints(actions: dict) -> None:
    """An interface endpoint has subnets, security groups and private DNS; a gateway endpoint route tables."""
    from ministack.services import ec2

    first, error, many = ec2._p, ec2._error, ec2._parse_member_list
    create, delete, fields = actions["CreateVpcEndpoint"], actions["DeleteVpcEndpoints"], ec2._vpce_fields_xml

    def created(params):
        vpc, kind = ec2._vpcs.get(first(params, "VpcId")), first(params, "VpcEndpointType") or "Gateway"
        if vpc is None:
            return error("InvalidVpcId.NotFound", f"The vpc ID '{first(params, 'VpcId')}' does not exist", 400)
        if first(params, "ServiceName").rpartition(".")[0] == "":
            return error("InvalidServiceName", "The Vpc Endpoint Service does not exist", 400)
        for name, store in (("SubnetId", ec2._subnets), ("RouteTableId", ec2._route_tables)):
            for one in many(params, name):
                if (store.get(one) or {}).get("VpcId") != vpc["VpcId"]:
                    return error(f"Invalid{name}.NotFound", f"The {name} '{one}' does not exist", 400)
        private = (first(params, "PrivateDnsEnabled") or ("true" if kind == "Interface" else "false")) == "true"
        if private and not (vpc.get("EnableDnsSupport", True) and vpc.get("EnableDnsHostnames", vpc["IsDefault"])):
            return error(
                "InvalidParameter",
                "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to "
                f"true for {vpc['VpcId']}",
                400,
            )
        before = set(ec2._vpc_endpoints.keys())
        status, headers, body = create(params)
        for made in set(ec2._vpc_endpoints.keys()) - before:
            record = ec2._vpc_endpoints[made]
            record["SecurityGroupIds"] = many(params, "SecurityGroupId") or [vpc["DefaultSecurityGroupId"]]
            record["PrivateDnsEnabled"] = private
            if kind == "Interface":
                reachability.of_endpoint(record)  # takes its private addresses
        return status, headers, body

    def shown(endpoint, tag="item"):
        groups = "".join(
            f"<item><groupId>{one}</groupId><groupName>{(ec2._security_groups.get(one) or {}).get('GroupName', '')}"
            "</groupName></item>"
            for one in endpoint.get("SecurityGroupIds") or []
        )
        private = "true" if endpoint.get("PrivateDnsEnabled") else "false"
        more = f"<privateDnsEnabled>{private}</privateDnsEnabled>"
        if endpoint["VpcEndpointType"] == "Interface":
            more += f"<groupSet>{groups}</groupSet>"
        before, end, after = fields(endpoint, tag).rpartition(f"</{tag}>")
        return before + more + end + after

    def deleted(params):
        for one in many(params, "VpcEndpointId"):
            reachability.give_back(one)
        return delete(params)

    ec2._vpce_fields_xml = shown
    actions.update(CreateVpcEndpoint=created, DeleteVpcEndpoints=deleted)


def _acls(actions: dict, replace) -> None:
    """A network ACL's entries have ports, its rules numbers of their own, and each subnet has one ACL
    (https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html).
    """
    from ministack.services import ec2

    first, error = ec2._p, ec2._error
    change, move = actions["ReplaceNetworkAclEntry"], actions["ReplaceNetworkAclAssociation"]
    describe, xml = actions["DescribeNetworkAcls"], ec2._network_acl_entry_xml

    def place(params):
        return int(first(params, "RuleNumber") or 0), first(params, "Egress") == "true"

    def taken(params):
        acl = ec2._network_acls.get(first(params, "NetworkAclId"))
        if acl and any((one["RuleNumber"], one["Egress"]) == place(params) for one in acl["Entries"]):
            message = f"The network acl entry identified by {place(params)[0]} already exists."
            return error("NetworkAclEntryAlreadyExists", message, 400)

    def with_ports(call):
        def made(params):
            answer = call(params)
            low, high = first(params, "PortRange.From"), first(params, "PortRange.To")
            if answer[0] == 200 and low and high:
                for one in ec2._network_acls[first(params, "NetworkAclId")]["Entries"]:
                    if (one["RuleNumber"], one["Egress"]) == place(params):
                        one["PortRange"] = {"From": int(low), "To": int(high)}
            return answer

        return made

    def shown(entry):
        ports = entry.get("PortRange")
        more = f"<portRange><from>{ports['From']}</from><to>{ports['To']}</to></portRange>" if ports else ""
        return xml(entry).replace("</item>", f"{more}</item>")

    def associated() -> None:
        there = {one["SubnetId"] for acl in ec2._network_acls.values() for one in acl["Associations"]}
        for subnet_id, subnet in ec2._subnets.items():
            default = ec2._network_acls.get((ec2._vpcs.get(subnet["VpcId"]) or {}).get("DefaultNetworkAclId"))
            if default is not None and subnet_id not in there:
                made = "aclassoc-" + subnet_id.removeprefix("subnet-")
                default["Associations"].append({"NetworkAclAssociationId": made, "SubnetId": subnet_id})

    def described(params):
        associated()
        return describe(params)

    def moved(params):
        associated()
        wanted = first(params, "AssociationId")
        all_of_them = [one for acl in ec2._network_acls.values() for one in acl["Associations"]]
        subnet = next((one["SubnetId"] for one in all_of_them if one["NetworkAclAssociationId"] == wanted), None)
        if subnet is None:
            return error("InvalidAssociationID.NotFound", f"The association ID '{wanted}' does not exist", 400)
        answer = move(params)
        if answer[0] == 200:
            ec2._network_acls[first(params, "NetworkAclId")]["Associations"][-1]["SubnetId"] = subnet
        return answer

    ec2._network_acl_entry_xml = shown
    replace("CreateNetworkAclEntry", taken)
    actions["CreateNetworkAclEntry"] = with_ports(actions["CreateNetworkAclEntry"])
    actions.update(
        ReplaceNetworkAclEntry=with_ports(change),
        ReplaceNetworkAclAssociation=moved,
        DescribeNetworkAcls=described,
    )


def _default_groups(actions: dict) -> None:
    """A VPC's default group lets in whoever else is in it
    (https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html).
    """
    from ministack.services import ec2
    from ministack.services.cloudformation import provisioners

    def from_itself() -> None:
        for group in ec2._security_groups.values():
            if group["GroupName"] == "default" and "_new" not in group:
                group["_new"] = False
                pair = {"GroupId": group["GroupId"], "UserId": group["OwnerId"]}
                rule = {"IpProtocol": "-1", "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": []}
                group["IpPermissions"].append({**rule, "UserIdGroupPairs": [pair]})

    def after(call):
        def made(*given):
            answer = call(*given)
            from_itself()
            return answer

        return made

    for name in ("CreateVpc", "CreateDefaultVpc"):
        actions[name] = after(actions[name])
    ec2._init_defaults = after(ec2._init_defaults)
    handler = provisioners._RESOURCE_HANDLERS["AWS::EC2::VPC"]
    handler["create"] = after(handler["create"])


def reset() -> None:
    pass


def stop() -> None:
    pass
