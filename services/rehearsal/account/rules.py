"""What AWS refuses and its service models do not say: limits that only the documentation has, combinations, what is
missing or in use. Each rule names its page; what our own parts (ecs.py, definitions.py, elbv2.py, databases.py,
network.py, autoscaling.py, cloudmap.py) or ministack refuse themselves is not here again.

A rule is called after the model's checks, with the parameters as the model names and types them.
"""

import json
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Any


class Refused(Exception):
    """An error in AWS's words."""

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code, self.status = code, status


Rule = Callable[[dict], None]
_rules: dict[tuple[str, str], list[Rule]] = {}
_every: dict[str, list[Callable[[str, dict], None]]] = {}


def rule(service: str, *actions: str):
    """For these actions of a service."""

    def keep(check: Rule) -> Rule:
        for action in actions:
            _rules.setdefault((service, action), []).append(check)
        return check

    return keep


def always(service: str):
    """For every action of a service; the action is the first argument."""

    def keep(check: Callable[[str, dict], None]):
        _every.setdefault(service, []).append(check)
        return check

    return keep


def check(service: str, action: str, given: dict) -> None:
    """Raises Refused."""
    for each in _rules.get((service, action), ()):
        each(given)
    for each in _every.get(service, ()):
        each(action, given)


def _violates(value: Any, member: str, must: str) -> str:
    """The sentence of most validators, for one value."""
    shown = "" if value is None else f"'{value}' "
    return f"1 validation error detected: Value {shown}at '{member}' failed to satisfy constraint: Member must {must}"


# ---------------------------------------------------------------- tags

TAGS = 50  # a resource
# service: (code, words) for a key that begins with aws:, for a repeated key, for too many. None: the model has it, or
# AWS lets the last one win.
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html#id_tags_naming_best_practices
# and each service's TagResource page.
RESERVED = {
    "application-autoscaling": (
        "ValidationException",
        "Tag keys cannot start with aws:, which is reserved for system use",
    ),
    "ecr": ("InvalidTagParameterException", "Tag keys that begin with aws: are reserved for system use"),
    "ecs": ("InvalidParameterException", "Tag keys that begin with aws: are reserved for AWS use."),
    "ec2": ("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use"),
    "elasticloadbalancing": ("ValidationError", "Tag keys with the prefix 'aws:' are reserved for AWS use"),
    "iam": ("InvalidInput", "Tag keys beginning with 'aws:' are reserved for system use"),
    "logs": ("InvalidParameterException", "aws: prefixed tag key names are not allowed for external use."),
    "rds": ("InvalidParameterValue", "Tag keys beginning with 'aws:' are reserved for system use"),
    "secretsmanager": ("InvalidParameterException", "Tag keys beginning with aws: are reserved for system use."),
    "servicediscovery": ("InvalidInput", "Tag keys beginning with aws: are reserved for AWS use."),
    "sqs": ("InvalidParameterValue", "Tag keys beginning with aws: are reserved for system use."),
    "ssm": ("ValidationException", "Tag keys beginning with aws: or ssm: are reserved."),
    "tag": ("InvalidParameterException", "Tag keys beginning with aws: are reserved for system use"),
}
TWICE = {
    "ecr": ("InvalidTagParameterException", "Duplicate tag keys found"),
    "ecs": ("InvalidParameterException", "Duplicate tag keys found. Please note that Tag keys are case insensitive."),
    "ec2": ("InvalidParameterValue", "Duplicate tag key '{}' specified."),
    "elasticloadbalancing": ("DuplicateTagKeys", "Duplicate tag key '{}' specified"),
    "iam": ("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive."),
    "rds": ("InvalidParameterValue", "Duplicate tag key: {}"),
    "secretsmanager": ("InvalidParameterException", "Duplicate tag keys are not allowed: {}"),
    "servicediscovery": ("InvalidInput", "Duplicate tag keys are not allowed: {}"),
}
MANY = {
    "application-autoscaling": ("TooManyTagsException", "A resource can have at most 50 tags"),
    "ec2": ("TagLimitExceeded", "More than 50 tags specified for a resource"),
    "ecr": ("TooManyTagsException", "The list of tags on the repository is over the limit of 50"),
    "elasticloadbalancing": ("TooManyTags", "You've reached the limit on the number of tags per resource"),
    "logs": ("TooManyTagsException", "A resource can have no more than 50 tags."),
    "rds": ("InvalidParameterValue", "A resource can have at most 50 tags."),
    "secretsmanager": ("InvalidParameterException", "A secret can have at most 50 tags."),
    "servicediscovery": ("TooManyTagsException", "The list of tags on the resource is over the quota of 50."),
}
# What the model does not bound: the longest key and value.
UNBOUND = {"ec2", "ecr", "rds"}


def _tag_lists(given: dict) -> Iterable[list[tuple[str, str]]]:
    """Every list of tags that a request sets."""
    for name in ("Tags", "tags"):
        tags = given.get(name)
        if isinstance(tags, dict):
            yield list(tags.items())
        elif tags:
            yield [
                (
                    one.get("Key", one.get("key", one.get("TagKey", ""))) or "",
                    one.get("Value", one.get("value", one.get("TagValue", ""))) or "",
                )
                for one in tags
                if isinstance(one, dict)
            ]
    for specification in given.get("TagSpecifications") or []:
        yield [(one.get("Key") or "", one.get("Value") or "") for one in specification.get("Tags") or []]


def check_tags(service: str, given: dict) -> None:
    """Every list of tags in a request."""
    for tags in _tag_lists(given) if service in RESERVED else ():
        _check_tags(service, tags)


def _tags(service: str):
    def checked(action: str, given: dict) -> None:
        if not action.startswith(("Describe", "Delete", "Untag", "Remove")):
            check_tags(service, given)

    always(service)(checked)


def _check_tags(service: str, tags: list[tuple[str, str]]) -> None:
    code, message = RESERVED[service]
    keys = [key for key, _ in tags]
    for key in keys:
        if key.lower().startswith("aws:"):
            raise Refused(code, message)
    if service in TWICE:
        folded = [key.lower() for key in keys] if service == "iam" else keys
        twice = next((key for key in folded if folded.count(key) > 1), None)
        if twice is not None:
            raise Refused(TWICE[service][0], TWICE[service][1].format(twice))
    if service in MANY and len(tags) > TAGS:
        raise Refused(*MANY[service])
    if service in UNBOUND:
        for key, value in tags:
            if not 1 <= len(key) <= 128:
                raise Refused(code, f"Tag key exceeds the maximum length of 128 characters: {key!r}")
            if len(value) > 256:
                raise Refused(code, f"Tag value exceeds the maximum length of 256 characters: {value!r}")


for _service in RESERVED:
    _tags(_service)


# ---------------------------------------------------------------- Amazon ECS

NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
DEFINITION_BYTES = 65536


def _invalid(message: str) -> Refused:
    return Refused("InvalidParameterException", message)


def _most(given: Any, count: int, name: str) -> None:
    if len(given or []) > count:
        raise _invalid(f"{name} can have at most {count} items.")


@rule("ecs", "CreateCluster")
def _cluster_name(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCluster.html"""
    name = given.get("clusterName")
    if name is not None and not NAME.fullmatch(name):
        raise _invalid(f"Cluster must match ^[a-zA-Z0-9\\-_]{{1,255}}$, but was {name}")


@rule("ecs", "DescribeClusters")
def _clusters(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeClusters.html"""
    _most(given.get("clusters"), 100, "clusters")


@rule("ecs", "ListServices", "ListTasks", "ListTaskDefinitions", "ListClusters", "ListServiceDeployments")
def _ecs_page(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServices.html"""
    size = given.get("maxResults")
    if size is not None and not 1 <= size <= 100:
        raise _invalid("maxResults must be between 1 and 100.")


@rule("ecs", "CreateService", "RunTask", "UpdateService")
def _placement(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_AwsVpcConfiguration.html and
    API_CapacityProviderStrategyItem.html
    """
    network = (given.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    _most(network.get("subnets"), 16, "subnets")
    _most(network.get("securityGroups"), 5, "securityGroups")
    strategy = given.get("capacityProviderStrategy") or []
    _most(strategy, 20, "capacityProviderStrategy")
    if strategy and not any(one.get("weight", 0) for one in strategy) and len(strategy) > 1:
        raise _invalid("The specified capacity provider strategy must have at least one weight greater than 0.")
    if sum(1 for one in strategy if one.get("base")) > 1:
        raise _invalid("The specified capacity provider strategy can have only one capacity provider with a base.")


@rule("ecs", "CreateService", "UpdateService")
def _ecs_service(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html"""
    _most(given.get("loadBalancers"), 5, "loadBalancers")
    _most(given.get("serviceRegistries"), 1, "serviceRegistries")
    if given.get("desiredCount", 0) < 0:
        raise _invalid("desiredCount must be greater than or equal to 0.")
    grace = given.get("healthCheckGracePeriodSeconds")
    if grace is not None and not 0 <= grace <= 2147483647:
        raise _invalid("healthCheckGracePeriodSeconds must be between 0 and 2,147,483,647.")
    if given.get("schedulingStrategy") == "DAEMON":
        raise _invalid("The daemon scheduling strategy is not supported for tasks that use Fargate.")


@rule("ecs", "CreateService", "RunTask")
def _ecs_token(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html: up to 64 characters (RunTask), 36
    (CreateService), of the range 33-126.
    """
    token = given.get("clientToken")
    most = 36 if "serviceName" in given else 64
    if token is not None and not re.fullmatch(rf"[!-~]{{1,{most}}}", token):
        raise _invalid(f"clientToken must be up to {most} ASCII characters in the range of 33-126.")


@rule("ecs", "RunTask")
def _run_task(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html"""
    started = given.get("startedBy")
    if started is not None and not re.fullmatch(r"[A-Za-z0-9_/-]{1,128}", started):
        raise _invalid("startedBy must be up to 128 letters, numbers, hyphens, forward slashes and underscores.")
    overrides = json.dumps(given.get("overrides") or {}, default=str)
    if len(overrides) > 8192:
        raise _invalid("Overrides length must be at most 8192.")


@rule("ecs", "UpdateTaskProtection")
def _protection(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateTaskProtection.html"""
    _most(given.get("tasks"), 10, "tasks")
    minutes = given.get("expiresInMinutes")
    if minutes is not None and not 1 <= minutes <= 2880:
        raise _invalid("expiresInMinutes must be between 1 and 2,880.")


@rule("ecs", "GetTaskProtection")
def _protections(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_GetTaskProtection.html"""
    _most(given.get("tasks"), 100, "tasks")


@rule("ecs", "DeleteTaskDefinitions")
def _definitions_at_once(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteTaskDefinitions.html"""
    _most(given.get("taskDefinitions"), 10, "taskDefinitions")


@rule("ecs", "RegisterTaskDefinition")
def _definition(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html (10 containers, 64 KB) and
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
    """
    size = len(json.dumps(given, default=str))
    if size > DEFINITION_BYTES:
        message = f"Actual length: '{size}'. Max allowed length is '{DEFINITION_BYTES}' bytes."
        raise Refused("ClientException", message)
    containers = given.get("containerDefinitions") or []
    if len(containers) > 10:
        raise Refused("ClientException", "Container definitions can have at most 10 items.")
    for container in containers:
        for mapping in container.get("portMappings") or []:
            port = mapping.get("containerPort", 1)
            if not 1 <= port <= 65535:
                raise Refused("ClientException", f"Invalid 'containerPort' setting for container: {port}")
        for name in ("cpu", "memory", "memoryReservation"):
            value = container.get(name)
            least = {"cpu": 0, "memory": 6, "memoryReservation": 6}[name]
            if value is not None and value < least:
                what = container.get("name")
                raise Refused("ClientException", f"Invalid setting for container '{what}'. {name} must be >= {least}.")
    storage = (given.get("ephemeralStorage") or {}).get("sizeInGiB")
    if storage is not None and not 21 <= storage <= 200:
        raise Refused("ClientException", "The ephemeralStorage sizeInGiB must be between 21 and 200.")
    if "FARGATE" in (given.get("requiresCompatibilities") or []):
        for container in containers:
            if container.get("privileged"):
                raise Refused("ClientException", "Fargate does not support privileged containers.")
            if container.get("links"):
                raise Refused("ClientException", "Links are not supported when networkMode=awsvpc.")
            driver = (container.get("logConfiguration") or {}).get("logDriver", "awslogs")
            if driver not in ("awslogs", "splunk", "awsfirelens"):
                raise Refused("ClientException", f"Fargate does not support the log driver: {driver}")
        if given.get("placementConstraints"):
            raise Refused("ClientException", "Fargate does not support placement constraints.")


# ---------------------------------------------------------------- Amazon EC2

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html: identifier, code, sentence.
_MISSING = {
    "sg": ("_security_groups", "InvalidGroup.NotFound", "The security group '{}' does not exist"),
    "vpc": ("_vpcs", "InvalidVpcID.NotFound", "The vpc ID '{}' does not exist"),
    "subnet": ("_subnets", "InvalidSubnetID.NotFound", "The subnet ID '{}' does not exist"),
    "rtb": ("_route_tables", "InvalidRouteTableID.NotFound", "The routeTable ID '{}' does not exist"),
    "igw": ("_internet_gateways", "InvalidInternetGatewayID.NotFound", "The internetGateway ID '{}' does not exist"),
    "nat": ("_nat_gateways", "NatGatewayNotFound", "NatGateway {} was not found"),
    "eipalloc": ("_addresses", "InvalidAllocationID.NotFound", "The allocation ID '{}' does not exist"),
    "eni": ("_network_interfaces", "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '{}' does not exist"),
    "vpce": ("_vpc_endpoints", "InvalidVpcEndpointId.NotFound", "The Vpc Endpoint Id '{}' does not exist"),
}
# Members that name something which has to be there, with the kind they name.
_NAMED = {
    "AllocationId": "eipalloc",
    "AllocationIds": "eipalloc",
    "GroupId": "sg",
    "GroupIds": "sg",
    "InternetGatewayId": "igw",
    "InternetGatewayIds": "igw",
    "NatGatewayId": "nat",
    "NatGatewayIds": "nat",
    "NetworkInterfaceIds": "eni",
    "RouteTableId": "rtb",
    "RouteTableIds": "rtb",
    "SubnetId": "subnet",
    "SubnetIds": "subnet",
    "VpcEndpointIds": "vpce",
    "VpcId": "vpc",
    "VpcIds": "vpc",
}
_MALFORMED = {"sg": "InvalidGroupId.Malformed", "vpc": "InvalidVpcID.Malformed", "subnet": "InvalidSubnetID.Malformed"}
_TAGGED = "tag tag-key"
# The filters of each Describe, from its page: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_<action>.html
FILTERS = {
    "DescribeAddresses": "allocation-id association-id instance-id network-border-group network-interface-id "
    f"network-interface-owner-id private-ip-address public-ip {_TAGGED}",
    "DescribeAvailabilityZones": "group-long-name group-name message opt-in-status parent-zone-id parent-zone-name "
    "region-name state zone-id zone-name zone-type",
    "DescribeInternetGateways": f"attachment.state attachment.vpc-id internet-gateway-id owner-id {_TAGGED}",
    "DescribeNatGateways": f"nat-gateway-id state subnet-id vpc-id {_TAGGED}",
    "DescribeRouteTables": "association.gateway-id association.route-table-association-id association.route-table-id "
    "association.subnet-id association.main owner-id route-table-id route.destination-cidr-block "
    "route.destination-ipv6-cidr-block route.destination-prefix-list-id route.egress-only-internet-gateway-id "
    "route.gateway-id route.instance-id route.nat-gateway-id route.transit-gateway-id route.origin route.state "
    f"route.vpc-peering-connection-id vpc-id {_TAGGED}",
    "DescribeSecurityGroupRules": "group-id security-group-rule-id tag",
    "DescribeSecurityGroups": "description egress.ip-permission.cidr egress.ip-permission.from-port "
    "egress.ip-permission.group-id egress.ip-permission.group-name egress.ip-permission.ipv6-cidr "
    "egress.ip-permission.prefix-list-id egress.ip-permission.protocol egress.ip-permission.to-port "
    "egress.ip-permission.user-id group-id group-name ip-permission.cidr ip-permission.from-port "
    "ip-permission.group-id ip-permission.group-name ip-permission.ipv6-cidr ip-permission.prefix-list-id "
    f"ip-permission.protocol ip-permission.to-port ip-permission.user-id owner-id vpc-id {_TAGGED}",
    "DescribeSubnets": "availability-zone availabilityZone availability-zone-id availabilityZoneId "
    "available-ip-address-count cidr-block cidr cidrBlock customer-owned-ipv4-pool default-for-az defaultForAz "
    "enable-dns64 enable-lni-at-device-index ipv6-cidr-block-association.ipv6-cidr-block "
    "ipv6-cidr-block-association.association-id ipv6-cidr-block-association.state ipv6-native "
    "map-customer-owned-ip-on-launch map-public-ip-on-launch outpost-arn owner-id "
    "private-dns-name-options-on-launch.hostname-type "
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record "
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record state subnet-arn subnet-id vpc-id "
    f"{_TAGGED}",
    "DescribeTags": "key resource-id resource-type tag value",
    "DescribeVpcEndpoints": "ip-address-type service-name service-region vpc-id vpc-endpoint-id vpc-endpoint-state "
    f"vpc-endpoint-type {_TAGGED}",
    "DescribeVpcs": "cidr cidr-block-association.cidr-block cidr-block-association.association-id "
    "cidr-block-association.state dhcp-options-id ipv6-cidr-block-association.ipv6-cidr-block "
    "ipv6-cidr-block-association.ipv6-pool ipv6-cidr-block-association.association-id "
    f"ipv6-cidr-block-association.state is-default isDefault owner-id state vpc-id {_TAGGED}",
}


def _there(identifier: str, kind: str) -> None:
    from ministack.services import ec2

    store, code, message = _MISSING[kind]
    if not re.fullmatch(rf"{kind}-[0-9a-f]+", identifier) and kind in _MALFORMED:
        raise Refused(_MALFORMED[kind], f'Invalid id: "{identifier}" (expecting "{kind}-...")')
    if identifier not in getattr(ec2, store):
        raise Refused(code, message.format(identifier))


@rule("ec2", *FILTERS)
def _listed(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Filter.html"""
    for one in given.get("Filters") or given.get("Filter") or []:
        if len(one.get("Values") or []) > 200:
            message = "The maximum number of filter values specified on a single call is 200"
            raise Refused("FilterLimitExceeded", message)


@always("ec2")
def _filters(action: str, given: dict) -> None:
    known = FILTERS.get(action)
    for one in (given.get("Filters") or given.get("Filter") or []) if known else []:
        name = one.get("Name", "")
        if name not in known.split() and not re.fullmatch(r"tag:.+", name):
            raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")


@always("ec2")
def _named(action: str, given: dict) -> None:
    """What a request names has to be there: DescribeSecurityGroups of a missing id is an error, not an empty list."""
    for member, kind in _NAMED.items():
        value = given.get(member)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                _there(one, kind)


def _range(text: str, member: str = "CidrBlock"):
    try:
        return ip_network(text)
    except ValueError:
        message = f"Value ({text}) for parameter {member} is invalid. This is not a valid CIDR block."
        raise Refused("InvalidParameterValue", message) from None


@rule("ec2", "CreateRoute", "ReplaceRoute")
def _gateway(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html"""
    if str(given.get("GatewayId", "")).startswith("igw-"):
        _there(given["GatewayId"], "igw")


@rule("ec2", "CreateVpc")
def _vpc_range(given: dict) -> None:
    """https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"""
    if given.get("CidrBlock") and not 16 <= _range(given["CidrBlock"]).prefixlen <= 28:
        raise Refused("InvalidVpc.Range", f"The CIDR '{given['CidrBlock']}' is invalid.")


@rule("ec2", "CreateSubnet")
def _subnet_range(given: dict) -> None:
    """Within its VPC and apart from its other subnets:
    https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
    """
    from ministack.services import ec2

    vpc = ec2._vpcs.get(given.get("VpcId"))
    if not vpc or not given.get("CidrBlock"):
        return
    mine = _range(given["CidrBlock"])
    ranges = [vpc["CidrBlock"], *(one.get("CidrBlock") for one in vpc.get("CidrBlockAssociationSet") or [])]
    if not 16 <= mine.prefixlen <= 28 or not any(mine.subnet_of(ip_network(one)) for one in ranges if one):
        raise Refused("InvalidSubnet.Range", f"The CIDR '{mine}' is invalid.")
    for other in ec2._subnets.values():
        if other["VpcId"] == vpc["VpcId"] and mine.overlaps(ip_network(other["CidrBlock"])):
            raise Refused("InvalidSubnet.Conflict", f"The CIDR '{mine}' conflicts with another subnet")


@rule(
    "ec2",
    "AuthorizeSecurityGroupIngress",
    "AuthorizeSecurityGroupEgress",
    "RevokeSecurityGroupIngress",
    "RevokeSecurityGroupEgress",
)
def _rule_ranges(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html"""
    permissions = [given, *(given.get("IpPermissions") or [])]
    for permission in permissions:
        for text in [permission.get("CidrIp"), *(one.get("CidrIp") for one in permission.get("IpRanges") or [])]:
            if text:
                try:
                    ip_network(text, strict=False)
                except ValueError:
                    raise Refused("InvalidParameterValue", f"CIDR block {text} is malformed") from None
        if permission.get("IpProtocol") in ("tcp", "udp", "6", "17"):
            for port in (permission.get("FromPort"), permission.get("ToPort")):
                if port is not None and not -1 <= port <= 65535:
                    message = f"Invalid value '{port}' for portRange. Must be between 0 and 65535"
                    raise Refused("InvalidParameterValue", message)


@rule("ec2", "CreateSecurityGroup")
def _new_group(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html"""
    from ministack.services import ec2

    description = given.get("Description", "")
    if not re.fullmatch(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}", description):
        raise Refused(
            "InvalidParameterValue",
            f"Value ({description}) for parameter GroupDescription is invalid. Character sets beyond ASCII are not "
            "supported.",
        )
    vpc = given.get("VpcId")
    if given["GroupName"].lower() == "default" and vpc in ec2._vpcs:
        raise Refused("InvalidGroup.Reserved", "Cannot use reserved security group name: default")


@rule("ec2", "DeleteSecurityGroup")
def _default_group(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html"""
    from ministack.services import ec2

    if not given.get("GroupId") and not given.get("GroupName"):
        raise Refused("MissingParameter", "The request must contain the parameter groupName or groupId")
    group = ec2._security_groups.get(given.get("GroupId", ""))
    if group and group["GroupName"] == "default":
        raise Refused(
            "CannotDelete", f'the specified group: "{group["GroupId"]}" name: "default" cannot be deleted by a user'
        )


@rule(
    "ec2",
    "AuthorizeSecurityGroupIngress",
    "AuthorizeSecurityGroupEgress",
    "RevokeSecurityGroupIngress",
    "RevokeSecurityGroupEgress",
)
def _permissions(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html"""
    import ipaddress

    if not given.get("GroupId") and not given.get("GroupName"):
        raise Refused("MissingParameter", "The request must contain the parameter groupName or groupId")
    rules = given.get("IpPermissions") or []
    flat = {"IpProtocol", "FromPort", "ToPort", "CidrIp", "SourceSecurityGroupName", "SecurityGroupRuleIds"}
    if not rules and not flat & set(given):
        raise Refused("MissingParameter", "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.")
    for one in rules:
        protocol = str(one.get("IpProtocol", ""))
        if not protocol:
            raise Refused("MissingParameter", "The request must contain the parameter ipProtocol")
        if protocol not in ("tcp", "udp", "icmp", "icmpv6", "-1", "all") and not (
            protocol.isdigit() and int(protocol) <= 255
        ):
            raise Refused("InvalidPermission.Malformed", f"Invalid IP protocol: '{protocol}'")
        low, high = one.get("FromPort"), one.get("ToPort")
        if protocol in ("tcp", "udp", "6", "17"):
            if low is None or high is None:
                missing = "fromPort" if low is None else "toPort"
                raise Refused("MissingParameter", f"The request must contain the parameter {missing}")
            if not (0 <= low <= 65535 and 0 <= high <= 65535) or low > high:
                raise Refused("InvalidParameterValue", f"Invalid {protocol.upper()} port range ({low}:{high})")
        for cidr in [r.get("CidrIp", "") for r in one.get("IpRanges") or []]:
            try:
                ipaddress.IPv4Network(cidr, strict=False)
                sized = "/" in cidr
            except ValueError:
                sized = False
            if not sized:
                raise Refused("InvalidParameterValue", f"CIDR block {cidr} is malformed")
        for cidr in [r.get("CidrIpv6", "") for r in one.get("Ipv6Ranges") or []]:
            try:
                ipaddress.IPv6Network(cidr, strict=False)
            except ValueError:
                raise Refused("InvalidParameterValue", f"CIDR block {cidr} is malformed") from None
        for range_ in [*(one.get("IpRanges") or []), *(one.get("UserIdGroupPairs") or [])]:
            text = range_.get("Description")
            if text is not None and not re.fullmatch(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{0,255}", text):
                raise Refused(
                    "InvalidParameterValue",
                    "Invalid rule description. Valid descriptions are strings less than 256 characters from the "
                    "following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
                )
        for pair in one.get("UserIdGroupPairs") or []:
            if pair.get("GroupId") and not re.fullmatch(r"sg-[0-9a-f]+", pair["GroupId"]):
                raise Refused("InvalidGroupId.Malformed", f'Invalid id: "{pair["GroupId"]}" (expecting "sg-...")')


@rule("ec2", "CreateTags", "DeleteTags")
def _tagged(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html"""
    from ministack.services import ec2

    for identifier in given.get("Resources") or []:
        kind, _, number = identifier.rpartition("-")
        if not kind or not re.fullmatch(r"[0-9a-f]+", number):
            raise Refused("InvalidID", f"The ID '{identifier}' is not valid")
        if kind in _MISSING:
            _there(identifier, kind)
    if any("Key" not in tag for tag in given.get("Tags") or []):
        raise Refused("MissingParameter", "The request must contain the parameter key")
    before = [ec2._tags.get(one) or [] for one in given.get("Resources") or []]
    for tags in before if "Tags" in given else []:
        keys = {tag["Key"] for tag in tags} | {tag["Key"] for tag in given["Tags"]}
        if len([key for key in keys if not key.startswith("aws:")]) > TAGS:
            raise Refused(*MANY["ec2"])


@always("ec2")
def _dry_run(action: str, given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html: DryRun."""
    if given.get("DryRun"):
        raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


# ---------------------------------------------------------------- Amazon RDS

_NOW = r"([01]\d|2[0-3]):[0-5]\d"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _value(message: str) -> Refused:
    return Refused("InvalidParameterValue", message)


def _combination(message: str) -> Refused:
    return Refused("InvalidParameterCombination", message)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


@rule(
    "rds",
    "DescribeDBInstances",
    "DescribeDBSnapshots",
    "DescribeDBSubnetGroups",
    "DescribeDBParameterGroups",
    "DescribeDBParameters",
    "DescribeEvents",
    "DescribeDBEngineVersions",
)
def _records(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBInstances.html"""
    size = given.get("MaxRecords")
    if size is not None and not 20 <= size <= 100:
        raise _value(f"Invalid value {size} for MaxRecords. Must be between 20 and 100")


@rule("rds", "CreateDBInstance", "ModifyDBInstance", "RestoreDBInstanceFromDBSnapshot")
def _windows(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html"""
    window = given.get("PreferredBackupWindow")
    if window is not None:
        if not re.fullmatch(f"{_NOW}-{_NOW}", window):
            raise _value(f"Invalid backup window format: {window}. Should be specified as a range hh24:mi-hh24:mi.")
        start, end = (_minutes(part) for part in window.split("-"))
        if (end - start) % 1440 < 30:
            raise _value(f"The backup window must be at least 30 minutes: {window}")
    window = given.get("PreferredMaintenanceWindow")
    if window is not None:
        if not re.fullmatch(f"({'|'.join(_DAYS)}):{_NOW}-({'|'.join(_DAYS)}):{_NOW}", window.lower()):
            raise _value(
                f"Invalid maintenance window format: {window}. Should be specified as a range "
                "ddd:hh24:mi-ddd:hh24:mi."
            )
        start, end = (
            _DAYS.index(part[:3]) * 1440 + _minutes(part[4:]) for part in window.lower().split("-")
        )
        if not 30 <= (end - start) % 10080 < 1440:
            raise _value(f"The maintenance window must be at least 30 minutes and less than 24 hours: {window}")


@rule("rds", "CreateDBInstance", "ModifyDBInstance")
def _monitoring(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html"""
    interval = given.get("MonitoringInterval")
    if interval is not None and interval not in (0, 1, 5, 10, 15, 30, 60):
        raise _value(f"Invalid value for MonitoringInterval: {interval}. Valid values: 0, 1, 5, 10, 15, 30, 60")
    if interval and not given.get("MonitoringRoleArn"):
        raise _combination(
            "A MonitoringRoleARN value is required if you specify a MonitoringInterval value other than 0."
        )
    largest, size = given.get("MaxAllocatedStorage"), given.get("AllocatedStorage")
    if largest is not None and size is not None and largest < size * 1.1:
        raise _combination(
            "Max storage size must be greater than storage size, by at least 10%: "
            f"max storage {largest}, storage {size}"
        )


@rule("rds", "CreateDBInstance", "RestoreDBInstanceFromDBSnapshot")
def _zone(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html"""
    if given.get("MultiAZ") and given.get("AvailabilityZone"):
        raise _combination("Requesting a specific availability zone is not valid for Multi-AZ instances.")


@rule("rds", "CreateDBInstance")
def _new_instance(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html"""
    if given.get("KmsKeyId") and given.get("StorageEncrypted") is False:
        raise _combination("You can't specify KmsKeyId for a DB instance that is not encrypted.")
    if len(given.get("MasterUsername") or "") > 63:
        raise _value("The parameter MasterUsername is not valid: it must be at most 63 characters.")
    if given.get("Iops") and given.get("StorageType") not in ("io1", "io2", "gp3"):
        raise _combination("The Iops parameter is valid only for the storage types io1, io2 and gp3.")
    if given.get("StorageType") in ("io1", "io2") and not given.get("Iops"):
        raise _combination("You must specify both the storage size and iops when creating an instance with io1 or io2.")


@rule("rds", "CreateDBSubnetGroup", "ModifyDBSubnetGroup")
def _subnet_group(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSubnetGroup.html"""
    from ministack.services import rds

    subnets = given.get("SubnetIds") or []
    if not subnets:
        raise _value("The parameter SubnetIds must be provided and must not be blank.")
    if len(subnets) > 20:
        raise Refused("DBSubnetQuotaExceededFault", "Subnets in a subnet group are limited to 20.")
    group = rds._subnet_groups.get(given["DBSubnetGroupName"].lower())
    kept = set(subnets)
    for record in rds._instances.values() if group else ():
        its = record.get("DBSubnetGroup") or {}
        if its.get("DBSubnetGroupName") != group["DBSubnetGroupName"]:
            continue
        zone = record.get("AvailabilityZone")
        used = [
            one["SubnetIdentifier"] for one in its["Subnets"] if one["SubnetAvailabilityZone"]["Name"] == zone
        ]
        if used and not kept & set(used):
            raise Refused("SubnetAlreadyInUse", f"Some of the subnets to be removed are currently in use: {used[0]}")


@rule("rds", "AddTagsToResource", "ListTagsForResource", "RemoveTagsFromResource")
def _rds_resource(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_AddTagsToResource.html"""
    from ministack.services import rds

    arn = given["ResourceName"]
    parts = arn.split(":")
    if len(parts) != 7 or parts[:1] != ["arn"] or parts[2] != "rds":
        raise _value(f"Invalid resource name: {arn}")
    store, code, what = {
        "db": (rds._instances, "DBInstanceNotFound", "DBInstance"),
        "snapshot": (rds._snapshots, "DBSnapshotNotFound", "DBSnapshot"),
        "subgrp": (rds._subnet_groups, "DBSubnetGroupNotFoundFault", "DBSubnetGroup"),
        "pg": (rds._param_groups, "DBParameterGroupNotFound", "DBParameterGroup"),
    }.get(parts[5], (None, "", ""))
    if store is not None and parts[6] not in store:
        raise Refused(code, f"{what} not found: {parts[6]}", 404)


# ---------------------------------------------------------------- Elastic Load Balancing

_ARN_KINDS = {
    "LoadBalancerArn": ("loadbalancer/", "load balancer"),
    "TargetGroupArn": ("targetgroup/", "target group"),
    "ListenerArn": ("listener/", "listener"),
    "RuleArn": ("listener-rule/", "listener rule"),
}


@always("elasticloadbalancing")
def _balancing_arns(action: str, given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html: ValidationError"""
    for member, (kind, what) in _ARN_KINDS.items():
        values = [given[member]] if member in given else given.get(f"{member}s") or []
        for arn in values:
            if not re.match(r"arn:aws[a-z-]*:elasticloadbalancing:", arn) or f":{kind}" not in arn:
                raise Refused("ValidationError", f"'{arn}' is not a valid {what} ARN")


@rule("elasticloadbalancing", "AddTags", "RemoveTags", "DescribeTags")
def _balancing_resources(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddTags.html"""
    from ministack.services import alb

    arns = given.get("ResourceArns") or []
    if len(arns) > 20:
        shown = f"[{', '.join(arns)}]"
        raise Refused("ValidationError", _violates(shown, "resourceArns", "have length less than or equal to 20"))
    for arn in arns:
        store, code, what = next(
            (
                found
                for kind, found in {
                    ":loadbalancer/": (alb._lbs, "LoadBalancerNotFound", "Load balancer"),
                    ":targetgroup/": (alb._tgs, "TargetGroupNotFound", "Target group"),
                    ":listener-rule/": (alb._rules, "RuleNotFound", "Rule"),
                    ":listener/": (alb._listeners, "ListenerNotFound", "Listener"),
                }.items()
                if kind in arn
            ),
            (None, "", ""),
        )
        if store is None:
            raise Refused("ValidationError", f"'{arn}' is not a valid resource ARN")
        if arn not in store:
            raise Refused(code, f"{what} '{arn}' not found")


@rule("elasticloadbalancing", "AddTags")
def _balancing_tags(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddTags.html: 50 a resource."""
    from ministack.services import alb

    for arn in given.get("ResourceArns") or []:
        keys = {tag["Key"] for tag in alb._tags.get(arn) or []} | {tag["Key"] for tag in given.get("Tags") or []}
        if len([key for key in keys if not key.startswith("aws:")]) > TAGS:
            raise Refused(*MANY["elasticloadbalancing"])


@rule("elasticloadbalancing", "CreateRule", "ModifyRule")
def _conditions(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RuleCondition.html"""
    for one in given.get("Conditions") or []:
        field = one.get("Field", "")
        configs = {"path-pattern": "PathPatternConfig", "host-header": "HostHeaderConfig"}
        values = (one.get("Values") or []) + ((one.get(configs.get(field, "")) or {}).get("Values") or [])
        for value in values if field in configs else []:
            if not 1 <= len(value) <= 128:
                raise Refused("ValidationError", "Condition value must be between '1' and '128' characters long")
            if field == "path-pattern" and not re.fullmatch(r"[A-Za-z0-9_\-.$/~\"'@:+&()!,;=*?%\[\]\\]+", value):
                raise Refused("ValidationError", "Path pattern contains invalid characters: " + value)
            if field == "host-header" and not re.fullmatch(r"[A-Za-z0-9\-.*?]+", value):
                raise Refused("ValidationError", f"Host header value '{value}' contains invalid characters")
    _actions(given.get("Actions"))


@rule("elasticloadbalancing", "CreateListener", "ModifyListener")
def _listener_actions(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html"""
    if given.get("SslPolicy") and given.get("Protocol") == "HTTP":
        raise Refused("InvalidConfigurationRequest", "SSL policies can only be specified for HTTPS listeners")
    if given.get("Certificates") and given.get("Protocol") == "HTTP":
        raise Refused(
            "InvalidConfigurationRequest", "Certificates can only be specified for HTTPS and TLS listeners"
        )
    _actions(given.get("DefaultActions"))


def _actions(actions: list[dict] | None) -> None:
    for one in actions or []:
        groups = (one.get("ForwardConfig") or {}).get("TargetGroups") or []
        if len(groups) > 5:
            raise Refused("TooManyTargetGroups", "A forward action can have at most 5 target groups")
        for group in groups:
            if not 0 <= group.get("Weight", 1) <= 999:
                raise Refused("ValidationError", "The weight must be between '0' and '999' inclusive")
        if one.get("Type") == "forward" and not groups and not one.get("TargetGroupArn"):
            raise Refused("ValidationError", "A target group ARN must be specified")
        for kind, config in (("redirect", "RedirectConfig"), ("fixed-response", "FixedResponseConfig")):
            if one.get("Type") == kind and not one.get(config):
                raise Refused("InvalidLoadBalancerAction", f"A {kind} action needs {config}")


@rule("elasticloadbalancing", "CreateTargetGroup")
def _internal_group(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html"""
    if given.get("ProtocolVersion") not in (None, "GRPC", "HTTP1", "HTTP2"):
        raise Refused(
            "ValidationError", f"Protocol version '{given['ProtocolVersion']}' must be one of 'GRPC, HTTP1, HTTP2'"
        )


# ---------------------------------------------------------------- AWS Secrets Manager

SECRET_BYTES = 65536


@rule("secretsmanager", "CreateSecret", "PutSecretValue", "UpdateSecret")
def _secret(given: dict) -> None:
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html; 65,536 bytes:
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
    """
    name = given.get("Name")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9/_+=.@!-]{1,512}", name):
        raise Refused(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        )
    text, binary = given.get("SecretString"), given.get("SecretBinary")
    if text is not None and binary is not None:
        raise _invalid("You can't specify both a binary secret value and a string secret value in the same secret.")
    if text is not None and len(text.encode()) > SECRET_BYTES:
        raise Refused(
            "ValidationException",
            _violates(None, "secretString", f"have length less than or equal to {SECRET_BYTES}"),
        )


@rule("secretsmanager", "PutSecretValue")
def _some_value(given: dict) -> None:
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html"""
    if given.get("SecretString") is None and given.get("SecretBinary") is None:
        raise _invalid("You must provide either SecretString or SecretBinary.")
    stages = given.get("VersionStages")
    if stages is not None and len(stages) > 20:
        raise _invalid("A version can have at most 20 staging labels.")


@rule("secretsmanager", "CreateSecret", "PutSecretValue")
def _own_token(given: dict) -> None:
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html: the SDKs make the token;
    a raw request has to bring one.
    """
    valued = given.get("SecretString") is not None or given.get("SecretBinary") is not None
    if valued and not given.get("ClientRequestToken"):
        raise Refused(
            "InvalidRequestException",
            "You must provide a ClientRequestToken value. We recommend a UUID-type value.",
        )


@rule("secretsmanager", "TagResource")
def _secret_tags(given: dict) -> None:
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_TagResource.html: 50 a secret."""
    from ministack.services import secretsmanager

    _, secret = secretsmanager._resolve(given["SecretId"])
    keys = {tag["Key"] for tag in (secret or {}).get("Tags") or []} | {tag.get("Key") for tag in given["Tags"]}
    if len([key for key in keys if key and not key.startswith("aws:")]) > TAGS:
        raise Refused(*MANY["secretsmanager"])


# ---------------------------------------------------------------- Amazon CloudWatch Logs

DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


@rule("logs", "PutRetentionPolicy")
def _retention(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""
    days = given["retentionInDays"]
    if days not in DAYS:
        raise _invalid(_violates(days, "retentionInDays", f"satisfy enum value set: [{', '.join(map(str, DAYS))}]"))


@rule("logs", "CreateLogGroup")
def _log_group(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html"""
    if given["logGroupName"].lower().startswith("aws/"):
        raise _invalid("Log groups starting with AWS/ are reserved for AWS.")


@rule("logs", "DescribeLogStreams")
def _log_streams(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html"""
    if given.get("orderBy") == "LastEventTime" and given.get("logStreamNamePrefix"):
        raise _invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    if bool(given.get("logGroupName")) == bool(given.get("logGroupIdentifier")):
        raise _invalid("You must include either logGroupIdentifier or logGroupName, but not both.")


_2024 = 1_704_067_200_000
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
_REGEX = re.compile(r"%[A-Za-z0-9_#=@/;,:\-^$?\[\]{}|\\*+.]+%")


@rule("logs", "FilterLogEvents")
def _search(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html"""
    _one_group(given)
    if given.get("logStreamNames") and given.get("logStreamNamePrefix"):
        raise _invalid("You cannot specify both logStreamNames and logStreamNamePrefix.")
    if given.get("startFromHead") is False and given.get("startTime", 0) < _2024:
        raise _invalid("startFromHead=false is supported only when startTime is on or after January 1, 2024.")
    if given.get("startTime", 0) > given.get("endTime", float("inf")):
        raise _invalid("The startTime must not be after the endTime.")
    pattern = given.get("filterPattern") or ""
    if pattern.startswith("%") and not _REGEX.fullmatch(pattern):
        raise _invalid("Invalid character(s) in the regular expression of the filter pattern")
    if pattern and not pattern.startswith("%"):
        raise _invalid(f"A filter pattern other than a regular expression is not emulated: {pattern}")


@rule("logs", "GetLogEvents")
def _one_group(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html"""
    if bool(given.get("logGroupName")) == bool(given.get("logGroupIdentifier")):
        raise _invalid("You must include either logGroupIdentifier or logGroupName, but not both.")


# ---------------------------------------------------------------- AWS Cloud Map


@rule("servicediscovery", "CreatePrivateDnsNamespace", "CreatePublicDnsNamespace")
def _namespace(given: dict) -> None:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_CreatePrivateDnsNamespace.html"""
    from ministack.services import ec2

    vpc = given.get("Vpc")
    if vpc is not None and vpc not in ec2._vpcs:
        raise Refused("InvalidInput", f"The VPC ID {vpc} does not exist.")


@rule("servicediscovery", "CreateService")
def _map_service(given: dict) -> None:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_CreateService.html"""
    if given.get("HealthCheckConfig") is not None and given.get("HealthCheckCustomConfig") is not None:
        raise Refused(
            "InvalidInput", "You can specify either HealthCheckConfig or HealthCheckCustomConfig, but not both."
        )
    records = (given.get("DnsConfig") or {}).get("DnsRecords") or []
    kinds = [one.get("Type") for one in records]
    if len(set(kinds)) < len(kinds) or ("CNAME" in kinds and len(kinds) > 1):
        raise Refused("InvalidInput", f"Invalid combination of DNS record types: {', '.join(map(str, kinds))}")


@rule("servicediscovery", "RegisterInstance")
def _instance(given: dict) -> None:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_RegisterInstance.html"""
    if len(given.get("Attributes") or {}) > 30:
        raise Refused("InvalidInput", "An instance can have at most 30 custom attributes.")


# ---------------------------------------------------------------- AWS IAM

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: characters without white space.
MANAGED, INLINE_ROLE, INLINE_USER, TRUST, ATTACHED = 6144, 10240, 2048, 2048, 10


def _size(document: str) -> int:
    return len(re.sub(r"\s", "", document))


def _exceeds(what: str, limit: int) -> Refused:
    return Refused("LimitExceeded", f"Maximum policy size of {limit} bytes exceeded for {what}", 409)


@rule("iam", "CreateRole", "UpdateAssumeRolePolicy")
def _trust(given: dict) -> None:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html: MalformedPolicyDocument"""
    document = given.get("AssumeRolePolicyDocument") or given.get("PolicyDocument") or ""
    try:
        statements = json.loads(document).get("Statement")
    except (ValueError, AttributeError):
        raise Refused("MalformedPolicyDocument", "This policy contains invalid Json") from None
    for one in statements if isinstance(statements, list) else [statements]:
        if not isinstance(one, dict) or one.get("Effect") not in ("Allow", "Deny"):
            raise Refused("MalformedPolicyDocument", "Syntax errors in policy.")
        if "Resource" in one or "NotResource" in one:
            raise Refused("MalformedPolicyDocument", "Has prohibited field Resource")
        if "Principal" not in one and "NotPrincipal" not in one:
            raise Refused("MalformedPolicyDocument", "Missing required field Principal")
        actions = one.get("Action", [])
        for action in [actions] if isinstance(actions, str) else actions:
            if not action.lower().startswith("sts:"):
                message = "AssumeRole policy may only specify STS AssumeRole actions."
                raise Refused("MalformedPolicyDocument", message)


def resources(document: Any) -> None:
    """IAM's ARNs have no region, and S3's, but for access points, neither region nor account; `*` is refused, too:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html
    """
    try:
        policy = json.loads(document) if isinstance(document, str) else document
        statements = policy.get("Statement") or []
    except (ValueError, AttributeError):
        return
    for one in statements if isinstance(statements, list) else [statements]:
        named = [one.get(field) or [] for field in ("Resource", "NotResource")]
        for arn in [arn for arns in named for arn in (arns if isinstance(arns, list) else [arns])]:
            _, _, service, region, account, resource = ([*str(arn).split(":", 5)] + [""] * 6)[:6]
            if service == "iam" and region:
                raise Refused("MalformedPolicyDocument", f"IAM resource {arn} cannot contain region information.")
            if service == "s3" and not resource.startswith("accesspoint/") and (region or account):
                message = f"Resource {arn} can not contain {'region' if region else 'account'} information."
                raise Refused("MalformedPolicyDocument", message)


@rule("iam", "CreatePolicy", "CreatePolicyVersion", "PutRolePolicy", "PutUserPolicy", "PutGroupPolicy")
def _resources(given: dict) -> None:
    resources(given.get("PolicyDocument"))


@rule("sts", "AssumeRole")
def _session_resources(given: dict) -> None:
    resources(given.get("Policy"))


@rule("iam", "CreatePolicy", "CreatePolicyVersion")
def _managed_size(given: dict) -> None:
    if _size(given["PolicyDocument"]) > MANAGED:
        raise Refused("LimitExceeded", f"Cannot exceed quota for PolicySize: {MANAGED}", 409)


@rule("iam", "CreateRole", "UpdateAssumeRolePolicy")
def _trust_size(given: dict) -> None:
    document = given.get("AssumeRolePolicyDocument") or given.get("PolicyDocument") or ""
    if _size(document) > TRUST:
        raise Refused("LimitExceeded", f"Cannot exceed quota for ACLSizePerRole: {TRUST}", 409)


def inline_size(role: str, documents: Iterable[Any]) -> None:
    """All inline policies of a role together."""
    if sum(_size(one if isinstance(one, str) else json.dumps(one)) for one in documents) > INLINE_ROLE:
        raise _exceeds(f"role {role}", INLINE_ROLE)


@rule("iam", "PutRolePolicy")
def _inline_role(given: dict) -> None:
    from ministack.services import iam

    kept = (iam._roles.get(given["RoleName"]) or {}).get("InlinePolicies") or {}
    others = [text for name, text in kept.items() if name != given["PolicyName"]]
    inline_size(given["RoleName"], [given["PolicyDocument"], *others])


@rule("iam", "PutUserPolicy")
def _inline_user(given: dict) -> None:
    if _size(given["PolicyDocument"]) > INLINE_USER:
        raise _exceeds(f"user {given['UserName']}", INLINE_USER)


@rule("iam", "AttachRolePolicy")
def _attached(given: dict) -> None:
    from ministack.services import iam

    role = iam._roles.get(given["RoleName"]) or {}
    arns = role.get("AttachedPolicies") or []
    if given["PolicyArn"] not in arns and len(arns) >= ATTACHED:
        raise Refused("LimitExceeded", f"Cannot exceed quota for PoliciesPerRole: {ATTACHED}", 409)


# ---------------------------------------------------------------- AWS CloudFormation

_STACK = r"[a-zA-Z][-a-zA-Z0-9]*"


@rule("cloudformation", "CreateStack", "CreateChangeSet", "UpdateStack")
def _stack(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html"""
    name = given.get("StackName", "")
    if not name.startswith("arn:") and not re.fullmatch(_STACK, name):
        raise Refused(
            "ValidationError", _violates(name, "stackName", f"satisfy regular expression pattern: {_STACK}")
        )
    if not name.startswith("arn:") and len(name) > 128:
        raise Refused("ValidationError", _violates(name, "stackName", "have length less than or equal to 128"))
    if len(given.get("TemplateBody") or "") > 51200:
        raise Refused(
            "ValidationError", _violates(None, "templateBody", "have length less than or equal to 51200")
        )
    if given.get("TemplateBody") and given.get("TemplateURL"):
        raise Refused("ValidationError", "You cannot specify both TemplateBody and TemplateURL")


# ---------------------------------------------------------------- Amazon ECR


@rule("ecr", "DeleteRepository")
def _repository(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DeleteRepository.html"""
    from ministack.core.responses import get_account_id
    from ministack.services import ecr

    name = given["repositoryName"]
    if ecr._images.get(name) and not given.get("force"):
        raise Refused(
            "RepositoryNotEmptyException",
            f"The repository with name '{name}' in registry with id '{get_account_id()}' cannot be deleted because it "
            "still contains images",
        )


# ---------------------------------------------------------------- Application Auto Scaling


@rule("application-autoscaling", "RegisterScalableTarget")
def _target(given: dict) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html"""
    if given.get("MaxCapacity", 0) < 0:
        raise Refused("ValidationException", f"Maximum capacity cannot be less than 0: {given['MaxCapacity']}")


@rule("application-autoscaling", "PutScalingPolicy")
def _policy(given: dict) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html"""
    kind, tracking = given.get("PolicyType", "StepScaling"), given.get("TargetTrackingScalingPolicyConfiguration")
    if kind == "TargetTrackingScaling" and not tracking:
        raise Refused("ValidationException", "TargetTrackingScalingPolicyConfiguration cannot be null")
    if kind == "StepScaling" and not given.get("StepScalingPolicyConfiguration"):
        raise Refused("ValidationException", "StepScalingPolicyConfiguration cannot be null")
    if tracking:
        chosen = [
            name for name in ("PredefinedMetricSpecification", "CustomizedMetricSpecification") if tracking.get(name)
        ]
        if len(chosen) != 1:
            raise Refused(
                "ValidationException",
                "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified",
            )


# ---------------------------------------------------------------- Resource Groups Tagging API


@rule("tag", "GetResources")
def _pages(given: dict) -> None:
    """https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html"""
    size = given.get("TagsPerPage")
    if size is not None and (size % 100 or not 100 <= size <= 500):
        raise _invalid("TagsPerPage must be a multiple of 100 between 100 and 500")
    keys = [one.get("Key") for one in given.get("TagFilters") or []]
    if None in keys:
        raise _invalid("Each tag filter must contain a key with zero or more associated values")


# ---------------------------------------------------------------- Amazon SQS


@rule("sqs", "CreateQueue")
def _queue(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html"""
    name = given["QueueName"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo", name):
        raise Refused(
            "InvalidParameterValue",
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )


@rule("sqs", "ReceiveMessage")
def _receive(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""
    for name, low, high in (("MaxNumberOfMessages", 1, 10), ("WaitTimeSeconds", 0, 20)):
        value = given.get(name)
        if value is not None and not low <= value <= high:
            raise Refused(
                "InvalidParameterValue",
                f"Value {value} for parameter {name} is invalid. Reason: Must be >= {low} and <= {high}, if provided.",
            )


# ---------------------------------------------------------------- AWS Systems Manager, Amazon EventBridge


@rule("ssm", "PutParameter")
def _parameter(given: dict) -> None:
    """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html"""
    from ministack.services import ssm

    name = given["Name"]
    if not name.startswith("arn:") and not re.fullmatch(r"[a-zA-Z0-9_.\-/]+", name):
        raise Refused(
            "ValidationException", "Only a mix of letters, numbers and the following 4 symbols .-_/ are allowed."
        )
    if re.match(r"/?aws", name, re.I):
        raise Refused("AccessDeniedException", f"No access to reserved parameter name: {name.removeprefix('/')}.")
    if re.match(r"/?ssm", name, re.I):
        raise Refused("ValidationException", 'Parameter name: can\'t be prefixed with "ssm" (case-insensitive).')
    if name.strip("/").count("/") >= 15:
        raise Refused("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of 15 levels.")
    size = len(given["Value"].encode())
    if given.get("Tier", "Standard") == "Standard" and size > 4096:
        raise Refused(
            "ValidationException",
            "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger "
            "parameter value, upgrade the parameter to use the advanced-parameter tier.",
        )
    if size > 8192:
        raise Refused(
            "ValidationException", "Advanced tier parameters support a maximum parameter value of 8192 characters."
        )
    there = ssm._parameters.get(name)
    if there and given.get("Type") not in (None, there.get("Type")):
        raise Refused(
            "HierarchyTypeMismatchException",
            "Parameter Store doesn't support changing a parameter type in a hierarchy. For example, you can't change a "
            "parameter from a String type to a SecureString type. You must create a new, unique parameter.",
        )
    if given.get("Tags") and given.get("Overwrite"):
        raise Refused(
            "ValidationException",
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please "
            "remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or "
            "RemoveTagsFromResource.",
        )


@rule("events", "PutRule")
def _event_rule(given: dict) -> None:
    """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html"""
    if not given.get("EventPattern") and not given.get("ScheduleExpression"):
        raise Refused(
            "ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified."
        )
