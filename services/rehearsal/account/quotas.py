"""Service Quotas, and that they hold: what would be one too many is refused with the service's own code.

Values are AWS's defaults (quotas.json). `POST /_rehearsal/quotas {"account", "code", "value"}` sets one low, so that a
test need not make fifty load balancers. The inputs have been checked before, and who asks is allowed to; what exists
already under a name is not one more. What CloudFormation makes is not counted before it is made.
"""

import json
import re
import uuid
from pathlib import Path
from typing import Any, Callable, Iterator

from account import added, clock, control, pages, wire
from account.answers import Refused
from account.faults import body_of
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response

_FILE = json.loads((Path(__file__).parent / "quotas.json").read_text())
QUOTAS: dict[str, dict] = _FILE["quotas"]
NAMES: dict[str, str] = _FILE["services"]
_set: dict[tuple[str, str], float] = {}  # (account, code) -> value
_requests: dict[tuple[str, str, str, str], dict] = {}  # (account, region, code, id)


def value(code: str) -> float:
    """The quota that applies to the account of this request."""
    row = QUOTAS[code]
    return _set.get((get_account_id(), code), row.get("applied", row["value"]))


class Reached(Exception):
    """One more would be too many; the error in the service's words."""

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code, self.status = code, status


def _limit(quota: str, used: int, refusal: Reached, more: int = 1) -> None:
    if used + more > value(quota):
        raise refusal


# What each call would add ----------------------------------------------------------------------------------------

RDS = "The request would result in the user exceeding the allowed number of {}."


def _create_db_instance(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html,
    API_RestoreDBInstanceFromDBSnapshot.html
    """
    from ministack.services import rds

    if given.get("DBInstanceIdentifier", "").lower() not in rds._instances:
        refusal = Reached("InstanceQuotaExceeded", RDS.format("DB instances"))
        _limit("L-7B6409FD", len(list(rds._instances.keys())), refusal)


def _create_db_subnet_group(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSubnetGroup.html"""
    from ministack.services import rds

    if given.get("DBSubnetGroupName", "").lower() not in rds._subnet_groups:
        refusal = Reached("DBSubnetGroupQuotaExceeded", RDS.format("DB subnet groups"))
        _limit("L-48C6BF61", len(list(rds._subnet_groups.keys())), refusal)


def _snapshot(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html, API_DeleteDBInstance.html"""
    from ministack.services import rds

    name = given.get("DBSnapshotIdentifier") or given.get("FinalDBSnapshotIdentifier")
    if name and name.lower() not in rds._snapshots:
        manual = [one for one in rds._snapshots.values() if one.get("SnapshotType", "manual") == "manual"]
        _limit("L-272F1212", len(manual), Reached("SnapshotQuotaExceeded", RDS.format("DB snapshots")))


ELB = "You've reached the limit on the number of {}"


def _create_load_balancer(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html"""
    from ministack.services import alb

    if all(one["LoadBalancerName"] != given.get("Name") for one in alb._lbs.values()):
        refusal = Reached("TooManyLoadBalancers", ELB.format("load balancers for your AWS account"))
        _limit("L-53DA6B97", len(list(alb._lbs.keys())), refusal)


def _create_target_group(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html"""
    from ministack.services import alb

    if all(one["TargetGroupName"] != given.get("Name") for one in alb._tgs.values()):
        refusal = Reached("TooManyTargetGroups", ELB.format("target groups for your AWS account"))
        _limit("L-B22855CB", len(list(alb._tgs.keys())), refusal)


def _forwarded(actions: list[dict]) -> set[str]:
    found = {one["TargetGroupArn"] for one in actions if one.get("TargetGroupArn")}
    for one in actions:
        groups = (one.get("ForwardConfig") or {}).get("TargetGroups") or []
        found |= {group["TargetGroupArn"] for group in groups if group.get("TargetGroupArn")}
    return found


def _listeners(balancer: str) -> list[dict]:
    from ministack.services import alb

    return [one for one in alb._listeners.values() if one["LoadBalancerArn"] == balancer]


def _rules(balancer: str) -> list[dict]:
    from ministack.services import alb

    listeners = {one["ListenerArn"] for one in _listeners(balancer)}
    return [one for one in alb._rules.values() if one["ListenerArn"] in listeners]


def _target_groups(balancer: str, actions: list[dict]) -> None:
    used: set[str] = set()
    for listener in _listeners(balancer):
        used |= _forwarded(listener.get("DefaultActions") or [])
    for rule in _rules(balancer):
        used |= _forwarded(rule.get("Actions") or [])
    words = (
        "unique target groups per load balancer across all listeners. If a target group is used by multiple actions "
        "for a load balancer, it is counted as only one use"
    )
    refusal = Reached("TooManyUniqueTargetGroupsPerLoadBalancer", ELB.format(words))
    _limit("L-822D1B1B", len(used), refusal, len(_forwarded(actions) - used))


def _create_listener(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html"""
    balancer = given.get("LoadBalancerArn", "")
    listeners = _listeners(balancer)
    if all(one.get("Port") != given.get("Port") for one in listeners):
        refusal = Reached("TooManyListeners", ELB.format("listeners per load balancer"))
        _limit("L-B6DF7632", len(listeners), refusal)
    _target_groups(balancer, given.get("DefaultActions") or [])


def _create_rule(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html; "not counting default
    rules": https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    from ministack.services import alb

    listener = alb._listeners.get(given.get("ListenerArn", ""))
    if listener is None:
        return
    rules = [one for one in _rules(listener["LoadBalancerArn"]) if not one.get("IsDefault")]
    _limit("L-7EED9B64", len(rules), Reached("TooManyRules", ELB.format("rules per load balancer")))
    _target_groups(listener["LoadBalancerArn"], given.get("Actions") or [])


def _add_certificates(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddListenerCertificates.html

    The default certificate is not counted.
    """
    from ministack.services import alb

    listener = alb._listeners.get(given.get("ListenerArn", ""))
    if listener is None:
        return
    has = {one.get("CertificateArn") for one in listener.get("Certificates") or [] if not one.get("IsDefault")}
    new = {one.get("CertificateArn") for one in given.get("Certificates") or []} - has
    refusal = Reached("TooManyCertificates", ELB.format("certificates per load balancer"))
    _limit("L-9365A611", len(has), refusal, len(new))


def _register_targets(given: dict) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html"""
    from ministack.services import alb

    has = {(one.get("Id"), one.get("Port")) for one in alb._targets.get(given.get("TargetGroupArn", "")) or []}
    new = {(one.get("Id"), one.get("Port")) for one in given.get("Targets") or []} - has
    _limit("L-A0D0B863", len(has), Reached("TooManyTargets", ELB.format("targets")), len(new))


def _create_security_group(given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""
    from ministack.services import ec2

    same = [
        one
        for one in ec2._security_groups.values()
        if (one.get("GroupName"), one.get("VpcId")) == (given.get("GroupName"), given.get("VpcId"))
    ]
    if not same:
        message = "The maximum number of security groups has been reached."
        _limit("L-E79EC296", len(list(ec2._security_groups.keys())), Reached("SecurityGroupLimitExceeded", message))


def _sources(permissions: list[dict]) -> Iterator[tuple]:
    """Each source is a rule: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html"""
    for one in permissions:
        key = (str(one.get("IpProtocol")), one.get("FromPort"), one.get("ToPort"))
        for name in ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs"):
            for source in one.get(name) or []:
                which = next((source[k] for k in ("CidrIp", "CidrIpv6", "PrefixListId", "GroupId") if k in source), "")
                yield (*key, which)


def _authorize(field: str) -> Callable[[dict], None]:
    def check(given: dict) -> None:
        from ministack.services import ec2

        group = ec2._security_groups.get(given.get("GroupId", ""))
        if group is None:
            return
        has = set(_sources(group.get(field) or []))
        new = set(_sources(given.get("IpPermissions") or [])) - has
        message = "The maximum number of rules per security group has been reached."
        _limit("L-0EA8095F", len(has), Reached("RulesPerSecurityGroupLimitExceeded", message), len(new))

    return check


def _allocate_address(_given: dict) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""
    from ministack.services import ec2

    refusal = Reached("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    _limit("L-0263D0A3", len(list(ec2._addresses.keys())), refusal)


def _create_nat_gateway(given: dict) -> None:
    """https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html: per zone; pending, active and deleting
    ones count
    """
    from ministack.services import ec2

    def zone(subnet: str) -> str:
        return (ec2._subnets.get(subnet) or {}).get("AvailabilityZone", "")

    here = zone(given.get("SubnetId", ""))
    living = [
        one
        for one in ec2._nat_gateways.values()
        if one.get("State") not in ("deleted", "failed") and zone(one.get("SubnetId", "")) == here
    ]
    message = "The maximum number of NAT Gateways has been reached."
    _limit("L-FE5A380F", len(living), Reached("NatGatewayLimitExceeded", message))


def _create_vpc(_given: dict) -> None:
    from ministack.services import ec2

    refusal = Reached("VpcLimitExceeded", "The maximum number of VPCs has been reached.")
    _limit("L-F678F1CE", len(list(ec2._vpcs.keys())), refusal)


def _create_subnet(given: dict) -> None:
    from ministack.services import ec2

    has = [one for one in ec2._subnets.values() if one.get("VpcId") == given.get("VpcId")]
    _limit("L-407747CB", len(has), Reached("SubnetLimitExceeded", "The maximum number of subnets has been reached."))


def _create_endpoint(given: dict) -> None:
    from ministack.services import ec2

    kind = given.get("VpcEndpointType") or "Gateway"
    has = [one for one in ec2._vpc_endpoints.values() if (one.get("VpcEndpointType") or "Gateway") == kind]
    refusal = Reached("VpcEndpointLimitExceeded", "The maximum number of VPC endpoints has been reached.")
    if kind == "Gateway":
        return _limit("L-1B52E74A", len(has), refusal)
    _limit("L-29B6F2EB", sum(one.get("VpcId") == given.get("VpcId") for one in has), refusal)


def _security_groups(given: dict) -> None:
    """https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html: five to an interface"""
    network = (given.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    groups = network.get("securityGroups") or []
    most = int(value("L-2AFB9258"))
    message = f"securityGroups can have at most {most} items."
    _limit("L-2AFB9258", 0, Reached("InvalidParameterException", message), len(groups))


def _create_service(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html"""
    from ministack.services import ecs

    cluster = (given.get("cluster") or "default").rpartition("/")[2]
    has = [one for one in ecs._services.values() if one.get("clusterArn", "").rpartition("/")[2] == cluster]
    living = [one for one in has if one.get("status") != "INACTIVE"]
    if all(one["serviceName"] != given.get("serviceName") for one in living):
        message = f"You've reached the limit on the number of services in a cluster: {value('L-9EF96962'):g}"
        _limit("L-9EF96962", len(living), Reached("InvalidParameterException", message))
    _desired(given)


def _desired(given: dict) -> None:
    message = f"You've reached the limit on the number of tasks per service: {value('L-46458851'):g}"
    _limit("L-46458851", 0, Reached("InvalidParameterException", message), given.get("desiredCount") or 0)
    _security_groups(given)


def _create_role(given: dict) -> None:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html"""
    from ministack.services import iam

    if given.get("RoleName") not in iam._roles:
        refusal = Reached("LimitExceeded", f"Cannot exceed quota for RolesPerAccount: {value('L-FE177D64'):g}", 409)
        _limit("L-FE177D64", len(list(iam._roles.keys())), refusal)


def _create_namespace(given: dict) -> None:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_CreatePrivateDnsNamespace.html"""
    from ministack.services import servicediscovery

    message = "The resource can't be created because you've reached the quota on the number of resources."
    refusal = Reached("ResourceLimitExceeded", message)
    if all(one.get("Name") != given.get("Name") for one in servicediscovery._namespaces.values()):
        _limit("L-0FE3F50E", len(list(servicediscovery._namespaces.keys())), refusal)


def _register_instance(given: dict) -> None:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_RegisterInstance.html"""
    from ministack.services import servicediscovery

    service = servicediscovery._services.get(given.get("ServiceId", ""))
    if service is None or given.get("InstanceId") in (servicediscovery._instances.get(service["Id"]) or {}):
        return
    beside = [one["Id"] for one in servicediscovery._services.values() if one["NamespaceId"] == service["NamespaceId"]]
    used = sum(len(servicediscovery._instances.get(one) or {}) for one in beside)
    message = "The resource can't be created because you've reached the quota on the number of resources."
    _limit("L-D95E8A57", used, Reached("ResourceLimitExceeded", message))


def _create_log_group(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html"""
    from ministack.services import cloudwatch_logs

    groups = list(cloudwatch_logs._log_groups.keys())
    if given.get("logGroupName") not in groups:
        _limit("L-D2832119", len(groups), Reached("LimitExceededException", "Resource limit exceeded."))


def _create_repository(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html"""
    from ministack.services import ecr

    names = list(ecr._repositories.keys())
    if given.get("repositoryName") not in names:
        message = (
            "The operation did not succeed because it would have exceeded a service limit for your account: the "
            f"repositories per registry limit of '{value('L-CFEB8E8D'):g}'"
        )
        _limit("L-CFEB8E8D", len(names), Reached("LimitExceededException", message))


def _put_image(given: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html"""
    from ministack.services import ecr

    images = ecr._images.get(given.get("repositoryName", "")) or []
    if all(one.get("imageManifest") != given.get("imageManifest") for one in images):
        message = (
            "The operation did not succeed because it would have exceeded a service limit for your account: the images "
            f"per repository limit of '{value('L-03A36CE1'):g}'"
        )
        _limit("L-03A36CE1", len(images), Reached("LimitExceededException", message))


CHECKS: dict[tuple[str, str], Callable[[dict], None]] = {
    ("ec2", "AllocateAddress"): _allocate_address,
    ("ec2", "AuthorizeSecurityGroupEgress"): _authorize("IpPermissionsEgress"),
    ("ec2", "AuthorizeSecurityGroupIngress"): _authorize("IpPermissions"),
    ("ec2", "CreateNatGateway"): _create_nat_gateway,
    ("ec2", "CreateSecurityGroup"): _create_security_group,
    ("ec2", "CreateSubnet"): _create_subnet,
    ("ec2", "CreateVpc"): _create_vpc,
    ("ec2", "CreateVpcEndpoint"): _create_endpoint,
    ("ecr", "CreateRepository"): _create_repository,
    ("ecr", "PutImage"): _put_image,
    ("ecs", "CreateService"): _create_service,
    ("ecs", "RunTask"): _security_groups,
    ("ecs", "UpdateService"): _desired,
    ("elasticloadbalancing", "AddListenerCertificates"): _add_certificates,
    ("elasticloadbalancing", "CreateListener"): _create_listener,
    ("elasticloadbalancing", "CreateLoadBalancer"): _create_load_balancer,
    ("elasticloadbalancing", "CreateRule"): _create_rule,
    ("elasticloadbalancing", "CreateTargetGroup"): _create_target_group,
    ("elasticloadbalancing", "RegisterTargets"): _register_targets,
    ("iam", "CreateRole"): _create_role,
    ("logs", "CreateLogGroup"): _create_log_group,
    ("rds", "CreateDBInstance"): _create_db_instance,
    ("rds", "CreateDBSnapshot"): _snapshot,
    ("rds", "CreateDBSubnetGroup"): _create_db_subnet_group,
    ("rds", "DeleteDBInstance"): _snapshot,
    ("rds", "RestoreDBInstanceFromDBSnapshot"): _create_db_instance,
    ("servicediscovery", "CreateHttpNamespace"): _create_namespace,
    ("servicediscovery", "CreatePrivateDnsNamespace"): _create_namespace,
    ("servicediscovery", "RegisterInstance"): _register_instance,
}


def refused(service: str, headers: dict[str, str], body: bytes, query: dict, path: str) -> tuple | None:
    """The answer to a call that would be one too many; None when it may go on."""
    form = body.decode("utf-8", "replace") if b"Action=" in body else ""
    action = headers.get("x-amz-target", "").rpartition(".")[2]
    if not action:
        named = re.search(r"(?:^|&)Action=(\w+)", form)
        action = named[1] if named else next(iter(query.get("Action") or [""]))
    check = CHECKS.get((service, action))
    model = wire.operation(service, action) if check else None
    if check is None or model is None:
        return None
    try:
        check(wire.given(model, headers, body, query))
    except Reached as reached:
        kind, text = body_of(service, headers, reached.code, str(reached))
        return reached.status, {"Content-Type": kind, "x-amzn-errortype": reached.code}, text
    return None


def vcpus(provider: str, units: int) -> str:
    """Why a task of so many CPU units may not start, in ECS's words; '' when it may. What runs and what starts counts:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/throttling.html
    """
    from ministack.services import ecs

    spot = provider == "FARGATE_SPOT"
    used = sum(
        int(task.get("cpu") or 0)
        for task in list(ecs._tasks.values())
        if task.get("lastStatus") != "STOPPED" and (task.get("capacityProviderName") == "FARGATE_SPOT") == spot
    )
    if (used + units) / 1024 <= value("L-36FBB829" if spot else "L-3032A538"):
        return ""
    return "You've reached the limit on the number of vCPUs you can run concurrently"


# The API ---------------------------------------------------------------------------------------------------------


def _shown(code: str, default: bool = False) -> dict:
    row, service = QUOTAS[code], QUOTAS[code]["service"]
    region = "" if row.get("global") else get_region()
    return {
        "ServiceCode": service,
        "ServiceName": NAMES[service],
        "QuotaArn": f"arn:aws:servicequotas:{region}:{'' if default else get_account_id()}:{service}/{code}",
        "QuotaCode": code,
        "QuotaName": row["name"],
        "Value": row["value"] if default else value(code),
        "Unit": "None",
        "Adjustable": row["adjustable"],
        "GlobalQuota": bool(row.get("global")),
        "QuotaAppliedAtLevel": "ACCOUNT",
    }


def _absent(what: str) -> Refused:
    return Refused("NoSuchResourceException", f"The request failed because the specified {what} does not exist.")


def _asked(data: dict) -> str:
    code = data.get("QuotaCode", "")
    if QUOTAS.get(code, {}).get("service") != data.get("ServiceCode"):
        raise _absent("service or quota")
    return code


def _get(data: dict) -> dict:
    return {"Quota": _shown(_asked(data))}


def _get_default(data: dict) -> dict:
    return {"Quota": _shown(_asked(data), True)}


def _page(data: dict, rows: list, name: str, identity: Callable[[Any], str]) -> dict:
    given = {key: one for key, one in data.items() if key not in ("MaxResults", "NextToken")}
    size = min(data.get("MaxResults") or 100, 100)
    try:
        shown, token = pages.cut(f"servicequotas.{name}", given, rows, size, data.get("NextToken"), identity)
    except pages.BadToken:
        raise Refused("InvalidPaginationTokenException", "Invalid input was provided.") from None
    return {name: shown, **({"NextToken": token} if token else {})}


def _list(default: bool) -> Callable[[dict], dict]:
    def act(data: dict) -> dict:
        if data.get("ServiceCode") not in NAMES:
            raise _absent("service")
        codes = [code for code, row in QUOTAS.items() if row["service"] == data["ServiceCode"]]
        if data.get("QuotaCode"):
            codes = [code for code in codes if code == data["QuotaCode"]]
        return _page(data, [_shown(code, default) for code in codes], "Quotas", lambda row: row["QuotaCode"])

    return act


def _list_services(data: dict) -> dict:
    rows = [{"ServiceCode": code, "ServiceName": name} for code, name in NAMES.items()]
    return _page(data, rows, "Services", lambda row: row["ServiceCode"])


def _request_increase(data: dict) -> dict:
    """It stays PENDING: nobody at AWS looks at it here.
    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_RequestServiceQuotaIncrease.html
    """
    code = _asked(data)
    row = QUOTAS[code]
    if not row["adjustable"] or data.get("DesiredValue", 0) <= value(code):
        message = "You must provide a quota value greater than the current quota value."
        raise Refused("IllegalArgumentException", message)
    place = (get_account_id(), get_region(), code)
    if any(key[:3] == place and one["Status"] == "PENDING" for key, one in _requests.items()):
        message = "Only one open service quota increase request is allowed per quota."
        raise Refused("ResourceAlreadyExistsException", message)
    made = {
        **{key: one for key, one in _shown(code).items() if key not in ("Value", "Adjustable")},
        "Id": uuid.uuid4().hex,
        "DesiredValue": data["DesiredValue"],
        "Status": "PENDING",
        "Created": clock.now(),
        "LastUpdated": clock.now(),
    }
    _requests[*place, made["Id"]] = made
    return {"RequestedQuota": made}


def _get_request(data: dict) -> dict:
    place = (get_account_id(), get_region())
    for key, one in _requests.items():
        if key[:2] == place and key[3] == data.get("RequestId"):
            return {"RequestedQuota": one}
    raise _absent("request")


def _list_requests(data: dict) -> dict:
    place = (get_account_id(), get_region())
    rows = [
        one
        for key, one in _requests.items()
        if key[:2] == place
        and data.get("ServiceCode", one["ServiceCode"]) == one["ServiceCode"]
        and data.get("Status", one["Status"]) == one["Status"]
    ]
    return _page(data, rows, "RequestedQuotas", lambda row: row["Id"])


ACTIONS: dict[str, Callable[[dict], dict]] = {
    "GetAWSDefaultServiceQuota": _get_default,
    "GetRequestedServiceQuotaChange": _get_request,
    "GetServiceQuota": _get,
    "ListAWSDefaultServiceQuotas": _list(True),
    "ListRequestedServiceQuotaChangeHistory": _list_requests,
    "ListServiceQuotas": _list(False),
    "ListServices": _list_services,
    "RequestServiceQuotaIncrease": _request_increase,
}


async def handle_request(method, path, headers, body, query_params):
    act = ACTIONS.get(headers.get("x-amz-target", "").rpartition(".")[2])
    if act is None:
        return error_response_json("UnknownOperationException", "The operation is not emulated.", 400)
    try:
        return json_response(act(json.loads(body or b"{}")))
    except Refused as error:
        return error_response_json(error.code, str(error), 400)


def _set_one(request: control.Request) -> dict:
    asked = request.body or {}
    account, code, wanted = asked.get("account"), asked.get("code"), asked.get("value")
    if not isinstance(account, str) or not re.fullmatch(r"\d{12}", account):
        raise ValueError(f"account: not twelve digits: {account}")
    if code not in QUOTAS:
        raise LookupError(f"no quota {code}; there are: {', '.join(sorted(QUOTAS))}")
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)) or wanted < 0:
        raise ValueError(f"value: not a number from 0: {wanted}")
    _set[account, code] = wanted
    return {"account": account, "code": code, "value": wanted}


def install() -> None:
    from ministack import app
    from ministack.core import iam_actions

    added.add("servicequotas", "ServiceQuotasV20190624", handle_request, reset)

    def limited(service: str, inner):
        async def handle(method, path, headers, body, query_params):
            answer = refused(service, headers, body, query_params, path)
            return answer if answer is not None else await inner(method, path, headers, body, query_params)

        return handle

    for name, inner in list(app.SERVICE_HANDLERS.items()):
        service = iam_actions.SERVICE_TO_IAM_NAMESPACE.get(name, name)
        if any(service == one for one, _ in CHECKS):
            app.SERVICE_HANDLERS[name] = limited(service, inner)
    control.route("POST", "/quotas", _set_one)


def reset() -> None:
    _set.clear()
    _requests.clear()


def stop() -> None:
    pass
