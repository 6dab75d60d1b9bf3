"""The ELBv2 API where ministack's is laxer than AWS, and target health as it really is (targets.py).

Records stay in ministack's stores, which CloudFormation writes too; tags, SetSubnets and what else is not here are
ministack's. Messages are AWS's own where they are known.
"""

import random
import re

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import alb

from account import addresses, clock, durations, reachability, settings, targets

LB_DEFAULTS = {
    "access_logs.s3.enabled": "false",
    "access_logs.s3.bucket": "",
    "access_logs.s3.prefix": "",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "connection_logs.s3.bucket": "",
    "connection_logs.s3.prefix": "",
    "deletion_protection.enabled": "false",
    "idle_timeout.timeout_seconds": "60",
    "load_balancing.cross_zone.enabled": "true",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}
TG_DEFAULTS = {
    "deregistration_delay.timeout_seconds": "300",
    "load_balancing.algorithm.anomaly_mitigation": "off",
    "load_balancing.algorithm.type": "round_robin",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    "slow_start.duration_seconds": "0",
    "stickiness.app_cookie.cookie_name": "",
    "stickiness.app_cookie.duration_seconds": "86400",
    "stickiness.enabled": "false",
    "stickiness.lb_cookie.duration_seconds": "86400",
    "stickiness.type": "lb_cookie",
    "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
}
RANGES = {"idle_timeout.timeout_seconds": (1, 4000), "deregistration_delay.timeout_seconds": (0, 3600)}
GROUP_FIELDS = {  # parameter -> (kind, default of an HTTP target group, lowest, highest)
    "HealthCheckProtocol": (str, "HTTP", 0, 0),
    "HealthCheckPort": (str, "traffic-port", 0, 0),
    "HealthCheckPath": (str, "/", 0, 0),
    "HealthCheckIntervalSeconds": (int, 30, 5, 300),
    "HealthCheckTimeoutSeconds": (int, 5, 2, 120),
    "HealthyThresholdCount": (int, 5, 2, 10),
    "UnhealthyThresholdCount": (int, 2, 2, 10),
}
CONDITIONS = ("path-pattern", "host-header", "http-header", "http-request-method", "query-string", "source-ip")
Answer = tuple


class Refused(Exception):
    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.answer = alb._error(code, message)


first, members = alb._p, alb._parse_member_list


def _invalid(message: str) -> Refused:
    return Refused("ValidationError", message)


def _list(rows: list[dict], show, action: str, plural: str) -> Answer:
    """All of them; lists.py cuts pages."""
    return alb._xml(200, action, f"<{plural}>{''.join(show(row) for row in rows)}</{plural}>")


def _every(arns: list[str], store, code: str, what: str) -> list[dict]:
    missing = [arn for arn in arns if arn not in store]
    if missing:
        raise Refused(
            code, f"{what} '{missing[0]}' not found" if len(arns) == 1 else f"One or more {what.lower()}s not found"
        )
    return [store[arn] for arn in arns]


def _attributes(params) -> dict[str, str]:
    given, i = {}, 1
    while key := first(params, f"Attributes.member.{i}.Key"):
        given[key] = first(params, f"Attributes.member.{i}.Value")
        i += 1
    return given


def _set_attributes(store, arn: str, given: dict[str, str], known: dict[str, str], what: str) -> None:
    for key, value in given.items():
        if key not in known:
            raise _invalid(f"{what} attribute key '{key}' is not recognized")
        low, high = RANGES.get(key, (None, None))
        if low is not None and not (value.isdigit() and low <= int(value) <= high):
            raise _invalid(f"{what} attribute key '{key}' must be an integer between '{low}' and '{high}' inclusive")
        if known[key] in ("true", "false") and value not in ("true", "false"):
            raise _invalid(f"{what} attribute '{key}' must be 'true' or 'false'")
    now = {one["Key"]: one["Value"] for one in store.get(arn) or []} | given
    store[arn] = [{"Key": key, "Value": value} for key, value in now.items()]


# Load balancers ------------------------------------------------------------------------------------


def state(record: dict) -> str:
    """provisioning or active."""
    return "provisioning" if clock.monotonic() < record.get("_active_at", 0) else "active"


def complete(record: dict) -> None:
    """What AWS derives: zones and VPC from the subnets, the DNS name, its address here."""
    from ministack.services import ec2

    found = [ec2._subnets.get(subnet) or {} for subnet in record["Subnets"]]
    zones = [subnet.get("AvailabilityZone", f"{get_region()}a") for subnet in found]
    record["AvailabilityZones"] = [
        {"ZoneName": zone, "SubnetId": subnet} for zone, subnet in zip(zones, record["Subnets"])
    ]
    record["VpcId"] = next((subnet["VpcId"] for subnet in found if subnet.get("VpcId")), record.get("VpcId", ""))
    if "_digits" not in record:
        record["_digits"] = str(random.randrange(10**8, 2 * 10**9))
        internal = "internal-" if record["Scheme"] == "internal" else ""
        suffix = "elb.amazonaws.com.cn" if get_region().startswith("cn-") else "elb.amazonaws.com"
        record["DNSName"] = f"{internal}{record['LoadBalancerName']}-{record['_digits']}.{get_region()}.{suffix}"
        # A process that is given this name reaches the balancer through the emulator's own port.
        account, region = get_account_id(), get_region()

        def behind(_port: int) -> list[addresses.Target]:
            with request_scope(account, region):
                return [(("127.0.0.1", settings.PORT), reachability.of_balancer(record))]

        addresses.publish(record["DNSName"], None, behind)
        reachability.of_balancer(record)  # takes its private addresses now
    attributes = alb._lb_attrs.get(record["LoadBalancerArn"]) or []
    alb._lb_attrs[record["LoadBalancerArn"]] = _with_defaults(attributes, LB_DEFAULTS)


def _with_defaults(attributes: list[dict], defaults: dict[str, str]) -> list[dict]:
    there = {one["Key"]: str(one["Value"]) for one in attributes}
    return [{"Key": key, "Value": value} for key, value in (defaults | there).items()]


def _subnets(params) -> list[str]:
    found, i = members(params, "Subnets"), 1
    while subnet := first(params, f"SubnetMappings.member.{i}.SubnetId"):
        found.append(subnet)
        i += 1
    return found


def _network(subnets: list[str], groups: list[str]) -> None:
    """Refuse subnets and security groups that do not exist or do not fit."""
    from ministack.services import ec2

    for subnet in subnets:
        if subnet not in ec2._subnets:
            raise Refused("SubnetNotFound", f"The subnet ID '{subnet}' does not exist")
    if len({ec2._subnets[subnet]["AvailabilityZone"] for subnet in subnets}) < 2:
        raise _invalid("At least two subnets in two different Availability Zones must be specified")
    if len({ec2._subnets[subnet]["AvailabilityZone"] for subnet in subnets}) < len(subnets):
        raise Refused(
            "InvalidConfigurationRequest",
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        )
    vpcs = {ec2._subnets[subnet]["VpcId"] for subnet in subnets}
    if len(vpcs) > 1:
        raise Refused("InvalidConfigurationRequest", "All subnets must belong to the same VPC")
    for group in groups:
        if group not in ec2._security_groups:
            raise Refused("InvalidConfigurationRequest", f"The security group ID '{group}' does not exist")
        if ec2._security_groups[group]["VpcId"] not in vpcs:
            raise Refused(
                "InvalidConfigurationRequest", f"Security group '{group}' does not belong to VPC '{vpcs.pop()}'"
            )


def _name(params, what: str) -> str:
    name = first(params, "Name")
    if not name:
        raise _invalid(f"A {what} name must be specified")
    if len(name) > 32:
        raise _invalid(f"{what.capitalize()} name '{name}' cannot be longer than '32' characters")
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise _invalid(
            f"{what.capitalize()} name '{name}' can only contain characters that are alphanumeric characters and "
            "hyphens(-)"
        )
    if name.startswith("-") or name.endswith("-"):
        raise _invalid(f"{what.capitalize()} name '{name}' cannot begin or end with '-'")
    return name


def _balancer_xml(record: dict) -> str:
    zones = "".join(
        f"<member><ZoneName>{one['ZoneName']}</ZoneName><SubnetId>{one['SubnetId']}</SubnetId>"
        "<LoadBalancerAddresses/></member>"
        for one in record.get("AvailabilityZones") or []
    )
    text = re.sub(
        r"<AvailabilityZones>.*</AvailabilityZones>",
        f"<AvailabilityZones>{zones}</AvailabilityZones>",
        alb._lb_xml(record),
    )
    return text.replace("<State><Code>active</Code></State>", f"<State><Code>{state(record)}</Code></State>")


def create_balancer(params) -> Answer:
    name = _name(params, "load balancer")
    if name.startswith("internal-"):
        raise _invalid(f"Load balancer name '{name}' cannot begin with 'internal-'")
    if (first(params, "Type") or "application") != "application":
        raise _invalid("Only application load balancers are emulated")
    subnets, groups = _subnets(params), members(params, "SecurityGroups")
    _network(subnets, groups)
    for other in alb._lbs.values():
        if other["LoadBalancerName"] == name:
            same = sorted(other["Subnets"]) == sorted(subnets) and other["Scheme"] == (
                first(params, "Scheme") or "internet-facing"
            )
            same = same and (not groups or sorted(other["SecurityGroups"]) == sorted(groups))
            if not same:
                raise Refused(
                    "DuplicateLoadBalancerName",
                    f"A load balancer with the same name '{name}' exists, but with different settings",
                )
            return alb._xml(200, "CreateLoadBalancer", f"<LoadBalancers>{_balancer_xml(other)}</LoadBalancers>")
    before = set(alb._lbs.keys())
    given = {**params, **{f"Subnets.member.{i}": [subnet] for i, subnet in enumerate(subnets, 1)}}
    _made["CreateLoadBalancer"](given)
    (arn,) = set(alb._lbs.keys()) - before
    record = alb._lbs[arn]
    record["_active_at"] = clock.monotonic() + durations.seconds("elb.create")
    complete(record)
    return alb._xml(200, "CreateLoadBalancer", f"<LoadBalancers>{_balancer_xml(record)}</LoadBalancers>")


def describe_balancers(params) -> Answer:
    arns, wanted = members(params, "LoadBalancerArns"), members(params, "Names")
    rows = list(alb._lbs.values())
    if arns:
        rows = _every(arns, alb._lbs, "LoadBalancerNotFound", "Load balancer")
    if wanted:
        by_name = {row["LoadBalancerName"]: row for row in rows}
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise Refused("LoadBalancerNotFound", f"Load balancers '[{', '.join(missing)}]' not found")
        rows = [by_name[name] for name in wanted]
    return _list(rows, _balancer_xml, "DescribeLoadBalancers", "LoadBalancers")


def delete_balancer(params) -> Answer:
    arn = first(params, "LoadBalancerArn")
    if {"Key": "deletion_protection.enabled", "Value": "true"} in (alb._lb_attrs.get(arn) or []):
        raise Refused(
            "OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
        )
    remove_balancer(arn)
    return alb._empty("DeleteLoadBalancer")


def remove_balancer(arn: str) -> None:
    """With its listeners and rules; nothing when it does not exist, as on AWS."""
    for listener in [one for one in alb._listeners.values() if one["LoadBalancerArn"] == arn]:
        alb._delete_listener({"ListenerArn": [listener["ListenerArn"]]})
    record = alb._lbs.get(arn)
    if record is not None:
        addresses.withdraw(record["DNSName"])
        reachability.give_back(arn)
    for store in (alb._lbs, alb._lb_attrs, alb._tags):
        store.pop(arn, None)


def modify_balancer_attributes(params) -> Answer:
    (record,) = _every([first(params, "LoadBalancerArn")], alb._lbs, "LoadBalancerNotFound", "Load balancer")
    _set_attributes(alb._lb_attrs, record["LoadBalancerArn"], _attributes(params), LB_DEFAULTS, "Load balancer")
    return alb._xml(
        200,
        "ModifyLoadBalancerAttributes",
        f"<Attributes>{alb._attrs_xml(alb._lb_attrs[record['LoadBalancerArn']])}</Attributes>",
    )


def set_subnets(params) -> Answer:
    (record,) = _every([first(params, "LoadBalancerArn")], alb._lbs, "LoadBalancerNotFound", "Load balancer")
    _network(_subnets(params), [])
    answer = _made["SetSubnets"](params)
    complete(record)
    return answer


def set_security_groups(params) -> Answer:
    (record,) = _every([first(params, "LoadBalancerArn")], alb._lbs, "LoadBalancerNotFound", "Load balancer")
    _network(record["Subnets"], members(params, "SecurityGroups"))
    return _made["SetSecurityGroups"](params)


# Target groups -------------------------------------------------------------------------------------


def _health_settings(params, record: dict, creating: bool) -> dict:
    """The group's fields as the request leaves them. Raises Refused."""
    after = dict(record)
    for key, (kind, default, low, high) in GROUP_FIELDS.items():
        given = first(params, key)
        if not given:
            if creating:
                after[key] = default
            continue
        if kind is int:
            if not given.isdigit() or not low <= int(given) <= high:
                raise _invalid(f"{key} '{given}' must be an integer between '{low}' and '{high}' inclusive")
            given = int(given)
        after[key] = given
    if after["HealthCheckProtocol"] not in ("HTTP", "HTTPS"):
        raise _invalid(f"Health check protocol '{after['HealthCheckProtocol']}' must be one of 'HTTP, HTTPS'")
    if after["HealthCheckTimeoutSeconds"] >= after["HealthCheckIntervalSeconds"]:
        raise _invalid("Health check interval must be greater than the timeout.")
    if not after["HealthCheckPath"].startswith("/") or len(after["HealthCheckPath"]) > 1024:
        raise _invalid(
            f"Health check path '{after['HealthCheckPath']}' must begin with a '/' character, and can contain at most "
            "1024 characters"
        )
    port = after["HealthCheckPort"]
    if port != "traffic-port" and not (port.isdigit() and 1 <= int(port) <= 65535):
        raise _invalid(f"Health check port '{port}' must be 'traffic-port' or a port between '1' and '65535' inclusive")
    code = first(params, "Matcher.HttpCode")
    if code or creating:
        code = code or "200"
        for part in code.split(","):
            if not re.fullmatch(r"[2-4]\d\d(-[2-4]\d\d)?", part):
                raise _invalid(f"Health check matcher HTTP code '{code}' must be within '200-499' inclusive")
        after["Matcher"] = {"HttpCode": code}
    return after


def _group_xml(record: dict) -> str:
    text = alb._tg_xml({**record, "LoadBalancerArns": targets.balancers_of(record["TargetGroupArn"])})
    version = f"<ProtocolVersion>{record.get('ProtocolVersion', 'HTTP1')}</ProtocolVersion>"
    return text.replace("<TargetType>", f"{version}<IpAddressType>ipv4</IpAddressType><TargetType>")


def create_group(params) -> Answer:
    from ministack.services import ec2

    name = _name(params, "target group")
    kind, port, vpc = first(params, "TargetType") or "instance", first(params, "Port"), first(params, "VpcId")
    if kind not in ("instance", "ip"):
        raise _invalid(f"Target type '{kind}' is not emulated")
    if first(params, "Protocol") not in ("HTTP", "HTTPS"):
        raise _invalid(
            "A protocol must be specified"
            if not first(params, "Protocol")
            else "Only HTTP and HTTPS target groups are emulated"
        )
    if not (port.isdigit() and 1 <= int(port) <= 65535):
        raise _invalid(
            "A port must be specified" if not port else f"Port '{port}' must be between '1' and '65535' inclusive"
        )
    if not vpc:
        raise _invalid("A VPC ID must be specified")
    if vpc not in ec2._vpcs:
        raise _invalid(f"The VPC ID '{vpc}' is not found")
    wanted = {"TargetType": kind, "Protocol": first(params, "Protocol"), "Port": int(port), "VpcId": vpc}
    wanted |= {"ProtocolVersion": first(params, "ProtocolVersion") or "HTTP1"}
    fields = _health_settings(params, wanted, creating=True)
    for other in alb._tgs.values():
        if other["TargetGroupName"] == name:
            if any(other.get(key) != value for key, value in fields.items()):
                raise Refused(
                    "DuplicateTargetGroupName",
                    f"A target group with the same name '{name}' exists, but with different settings",
                )
            return alb._xml(200, "CreateTargetGroup", f"<TargetGroups>{_group_xml(other)}</TargetGroups>")
    before = set(alb._tgs.keys())
    _made["CreateTargetGroup"](params)
    (arn,) = set(alb._tgs.keys()) - before
    alb._tgs[arn].update(fields)
    complete_group(arn)
    return alb._xml(200, "CreateTargetGroup", f"<TargetGroups>{_group_xml(alb._tgs[arn])}</TargetGroups>")


def complete_group(arn: str) -> None:
    alb._tg_attrs[arn] = _with_defaults(alb._tg_attrs.get(arn) or [], TG_DEFAULTS)


def describe_groups(params) -> Answer:
    arns, wanted, balancer = (
        members(params, "TargetGroupArns"),
        members(params, "Names"),
        first(params, "LoadBalancerArn"),
    )
    rows = list(alb._tgs.values())
    if arns:
        rows = _every(arns, alb._tgs, "TargetGroupNotFound", "Target group")
    if wanted:
        by_name = {row["TargetGroupName"]: row for row in rows}
        if any(name not in by_name for name in wanted):
            raise Refused("TargetGroupNotFound", "One or more target groups not found")
        rows = [by_name[name] for name in wanted]
    if balancer:
        _every([balancer], alb._lbs, "LoadBalancerNotFound", "Load balancer")
        rows = [row for row in rows if balancer in targets.balancers_of(row["TargetGroupArn"])]
    return _list(rows, _group_xml, "DescribeTargetGroups", "TargetGroups")


def modify_group(params) -> Answer:
    (record,) = _every([first(params, "TargetGroupArn")], alb._tgs, "TargetGroupNotFound", "Target group")
    record.update(_health_settings(params, record, creating=False))
    return alb._xml(200, "ModifyTargetGroup", f"<TargetGroups>{_group_xml(record)}</TargetGroups>")


def delete_group(params) -> Answer:
    arn = first(params, "TargetGroupArn")
    if arn in alb._tgs:  # an absent one is a success, as on AWS
        if targets.balancers_of(arn):
            raise Refused("ResourceInUse", f"Target group '{arn}' is currently in use by a listener or a rule")
        remove_group(arn)
    return alb._empty("DeleteTargetGroup")


def remove_group(arn: str) -> None:
    for store in (alb._tgs, alb._targets, alb._tg_attrs, alb._tags):
        store.pop(arn, None)
    targets.remove_group(arn)


def modify_group_attributes(params) -> Answer:
    (record,) = _every([first(params, "TargetGroupArn")], alb._tgs, "TargetGroupNotFound", "Target group")
    _set_attributes(alb._tg_attrs, record["TargetGroupArn"], _attributes(params), TG_DEFAULTS, "Target group")
    return alb._xml(
        200,
        "ModifyTargetGroupAttributes",
        f"<Attributes>{alb._attrs_xml(alb._tg_attrs[record['TargetGroupArn']])}</Attributes>",
    )


# Listeners and rules -------------------------------------------------------------------------------


def parse_actions(params, prefix: str = "DefaultActions") -> list[dict]:
    """ministack's, and ForwardConfig, which it drops."""
    actions = _parse_actions(params, prefix)
    for i, action in enumerate(actions, 1):
        weighted, j = [], 1
        base = f"{prefix}.member.{i}.ForwardConfig.TargetGroups.member"
        while arn := first(params, f"{base}.{j}.TargetGroupArn"):
            weighted.append({"TargetGroupArn": arn, "Weight": int(first(params, f"{base}.{j}.Weight") or 1)})
            j += 1
        if weighted:
            action["ForwardConfig"] = {"TargetGroups": weighted}
            if len(weighted) == 1:
                action["TargetGroupArn"] = weighted[0]["TargetGroupArn"]
    return actions


def action_xml(action: dict) -> str:
    """ministack's, and ForwardConfig, which AWS always answers for a forward."""
    text = _action_xml(action)
    if action["Type"] != "forward":
        return text
    groups = "".join(
        f"<member><TargetGroupArn>{arn}</TargetGroupArn><Weight>{weight}</Weight></member>"
        for arn, weight in targets.forwards([action]).items()
    )
    sticky = "<TargetGroupStickinessConfig><Enabled>false</Enabled></TargetGroupStickinessConfig>"
    return text.replace(
        "</member>", f"<ForwardConfig><TargetGroups>{groups}</TargetGroups>{sticky}</ForwardConfig></member>"
    )


def parse_conditions(params, prefix: str = "Conditions") -> list[dict]:
    """ministack's, and QueryStringConfig, which it drops."""
    conditions = _parse_conditions(params, prefix)
    for i, condition in enumerate(conditions, 1):
        pairs, j = [], 1
        base = f"{prefix}.member.{i}.QueryStringConfig.Values.member"
        while value := first(params, f"{base}.{j}.Value"):
            pairs.append({"Value": value, **({"Key": key} if (key := first(params, f"{base}.{j}.Key")) else {})})
            j += 1
        if pairs:
            condition["QueryStringConfig"] = {"Values": pairs}
    return conditions


def condition_xml(condition: dict) -> str:
    text = _condition_xml(condition)
    pairs = (condition.get("QueryStringConfig") or {}).get("Values")
    if not pairs:
        return text
    shown = "".join(
        f"<member><Key>{alb._esc(one.get('Key', ''))}</Key><Value>{alb._esc(one['Value'])}</Value></member>"
        for one in pairs
    )
    return text.removesuffix("</member>") + f"<QueryStringConfig><Values>{shown}</Values></QueryStringConfig></member>"


def _check_actions(actions: list[dict], balancer: str) -> None:
    if not actions:
        raise _invalid("An action must be specified")
    if actions[-1]["Type"] not in ("forward", "redirect", "fixed-response"):
        raise Refused(
            "InvalidLoadBalancerAction", "The last action must be a forward, redirect or fixed-response action"
        )
    for arn in targets.forwards(actions):
        if arn not in alb._tgs:
            raise Refused("TargetGroupNotFound", f"Target groups '{arn}' not found")
        if (
            alb._tgs[arn].get("VpcId")
            and alb._lbs[balancer].get("VpcId")
            and alb._tgs[arn]["VpcId"] != alb._lbs[balancer]["VpcId"]
        ):
            raise Refused(
                "InvalidConfigurationRequest",
                f"Target group '{arn}' and load balancer '{balancer}' must be in the same VPC",
            )
        others = [one for one in targets.balancers_of(arn) if one != balancer]
        if others:
            raise Refused(
                "TargetGroupAssociationLimit",
                f"The following target groups cannot be associated with more than one load balancer: {arn}",
            )


def create_listener(params) -> Answer:
    (record,) = _every([first(params, "LoadBalancerArn")], alb._lbs, "LoadBalancerNotFound", "Load balancer")
    arn, port = record["LoadBalancerArn"], first(params, "Port")
    if not (port.isdigit() and 1 <= int(port) <= 65535):
        raise _invalid(
            "A listener port must be specified"
            if not port
            else f"Port '{port}' must be between '1' and '65535' inclusive"
        )
    if first(params, "Protocol") not in ("HTTP", "HTTPS"):
        raise _invalid(f"Protocol '{first(params, 'Protocol')}' is not supported by application load balancers")
    if first(params, "Protocol") == "HTTPS" and not alb._parse_certificate_arns(params):
        raise Refused("CertificateNotFound", "A certificate must be specified for HTTPS listeners")
    if any(one["LoadBalancerArn"] == arn and one["Port"] == int(port) for one in alb._listeners.values()):
        raise Refused("DuplicateListener", f"A listener already exists on this port for this load balancer '{arn}'")
    _check_actions(alb._parse_actions(params, "DefaultActions"), arn)
    return _made["CreateListener"](params)


def describe_listeners(params) -> Answer:
    balancer, arns = first(params, "LoadBalancerArn"), members(params, "ListenerArns")
    if not balancer and not arns:
        raise _invalid("You must specify either listener ARNs or a load balancer ARN")
    rows = list(alb._listeners.values())
    if balancer:
        _every([balancer], alb._lbs, "LoadBalancerNotFound", "Load balancer")
        rows = [row for row in rows if row["LoadBalancerArn"] == balancer]
    if arns:
        rows = _every(arns, alb._listeners, "ListenerNotFound", "Listener")
    return _list(rows, alb._listener_xml, "DescribeListeners", "Listeners")


def modify_listener(params) -> Answer:
    (record,) = _every([first(params, "ListenerArn")], alb._listeners, "ListenerNotFound", "Listener")
    actions = alb._parse_actions(params, "DefaultActions")
    if actions:
        _check_actions(actions, record["LoadBalancerArn"])
    return _made["ModifyListener"](params)


def _priority(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 50000:
        raise _invalid(f"Rule priority '{text}' must be between '1' and '50000' inclusive")
    return int(text)


def _check_priority(listener: str, priority: int, but: set[str] = frozenset()) -> None:
    for rule in alb._rules.values():
        if rule["ListenerArn"] == listener and rule["Priority"] == str(priority) and rule["RuleArn"] not in but:
            raise Refused("PriorityInUse", f"Priority '{priority}' is currently in use")


def _check_conditions(conditions: list[dict]) -> None:
    if not conditions:
        raise _invalid("A condition must be specified")
    for one in conditions:
        values = (
            one.get("Values")
            or (one.get("HttpHeaderConfig") or {}).get("Values")
            or (one.get("QueryStringConfig") or {}).get("Values")
        )
        if one["Field"] not in CONDITIONS:
            raise _invalid(f"Condition field '{one['Field']}' must be one of '[{', '.join(CONDITIONS)}]'")
        if not values:
            raise _invalid("A condition value must be specified")
    if sum(len(one.get("Values") or []) for one in conditions) > 5:
        raise Refused("TooManyRules", "A rule can have at most 5 condition values")


def create_rule(params) -> Answer:
    (record,) = _every([first(params, "ListenerArn")], alb._listeners, "ListenerNotFound", "Listener")
    priority = _priority(first(params, "Priority"))
    _check_conditions(alb._parse_conditions(params))
    _check_actions(alb._parse_actions(params, "Actions"), record["LoadBalancerArn"])
    _check_priority(record["ListenerArn"], priority)
    return _made["CreateRule"](params)


def describe_rules(params) -> Answer:
    listener, arns = first(params, "ListenerArn"), members(params, "RuleArns")
    if bool(listener) == bool(arns):
        raise _invalid("You must specify either listener rule ARNs or a listener ARN")
    if listener:
        _every([listener], alb._listeners, "ListenerNotFound", "Listener")
        rows = [row for row in alb._rules.values() if row["ListenerArn"] == listener]
    else:
        rows = _every(arns, alb._rules, "RuleNotFound", "Rule")
    return _list(sorted(rows, key=alb._rule_sort_key), alb._rule_xml, "DescribeRules", "Rules")


def modify_rule(params) -> Answer:
    (record,) = _every([first(params, "RuleArn")], alb._rules, "RuleNotFound", "Rule")
    conditions, actions = alb._parse_conditions(params), alb._parse_actions(params, "Actions")
    if conditions:
        _check_conditions(conditions)
    if actions:
        _check_actions(actions, alb._listeners[record["ListenerArn"]]["LoadBalancerArn"])
    return _made["ModifyRule"](params)


def delete_rule(params) -> Answer:
    _every([first(params, "RuleArn")], alb._rules, "RuleNotFound", "Rule")
    return _made["DeleteRule"](params)


def set_priorities(params) -> Answer:
    wanted, i = {}, 1
    while arn := first(params, f"RulePriorities.member.{i}.RuleArn"):
        wanted[arn] = _priority(first(params, f"RulePriorities.member.{i}.Priority"))
        i += 1
    for rule in _every(list(wanted), alb._rules, "RuleNotFound", "Rule"):
        if rule.get("IsDefault"):
            raise Refused("OperationNotPermitted", "Cannot set a priority for a default rule")
        _check_priority(rule["ListenerArn"], wanted[rule["RuleArn"]], set(wanted))
    if len(set(wanted.values())) < len(wanted):
        raise _invalid("Rule priorities must be different")
    return _made["SetRulePriorities"](params)


# Targets -------------------------------------------------------------------------------------------


def _named(params, record: dict) -> list[tuple[str, int]]:
    return [(one["Id"], int(one.get("Port") or record["Port"])) for one in alb._parse_targets_param(params)]


def register_targets(params) -> Answer:
    (record,) = _every([first(params, "TargetGroupArn")], alb._tgs, "TargetGroupNotFound", "Target group")
    given = _named(params, record)
    if not given:
        raise _invalid("At least one target must be specified")
    for ip, port in given:
        if record["TargetType"] == "ip" and not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", ip):
            raise _invalid(f"The IP address '{ip}' is not a valid IPv4 address")
        if not 1 <= port <= 65535:
            raise Refused("InvalidTarget", f"Port '{port}' must be between '1' and '65535' inclusive")
    for ip, port in given:
        targets.register(record["TargetGroupArn"], ip, port)
    return alb._empty("RegisterTargets")


def deregister_targets(params) -> Answer:
    (record,) = _every([first(params, "TargetGroupArn")], alb._tgs, "TargetGroupNotFound", "Target group")
    there = {(one.ip, one.port) for one in targets.registered(record["TargetGroupArn"])}
    for one in alb._parse_targets_param(params):
        # Without a port: every registration of that address.
        found = [each for each in there if each[0] == one["Id"] and one.get("Port") in (None, each[1])]
        if not found:
            raise Refused("InvalidTarget", f"The following targets are not registered: '{one['Id']}'")
        for ip, port in found:
            targets.deregister(record["TargetGroupArn"], ip, port)
    return alb._empty("DeregisterTargets")


def describe_health(params) -> Answer:
    (record,) = _every([first(params, "TargetGroupArn")], alb._tgs, "TargetGroupNotFound", "Target group")
    arn, wanted = record["TargetGroupArn"], _named(params, record)
    rows = ""
    for ip, port in wanted or [(one.ip, one.port) for one in targets.registered(arn)]:
        state, reason, description = targets.health(arn, ip, port)
        check = port if record["HealthCheckPort"] == "traffic-port" else record["HealthCheckPort"]
        why = (f"<Reason>{reason}</Reason>" if reason else "") + (
            f"<Description>{description}</Description>" if description else ""
        )
        rows += f"<member><Target><Id>{ip}</Id><Port>{port}</Port></Target><HealthCheckPort>{check}</HealthCheckPort>"
        rows += f"<TargetHealth><State>{state}</State>{why}</TargetHealth></member>"
    return alb._xml(200, "DescribeTargetHealth", f"<TargetHealthDescriptions>{rows}</TargetHealthDescriptions>")


# Installation --------------------------------------------------------------------------------------

_made = dict(alb._ACTION_MAP)
_parse_actions, _action_xml = alb._parse_actions, alb._action_xml
_parse_conditions, _condition_xml = alb._parse_conditions, alb._condition_xml

ACTIONS = {
    "CreateLoadBalancer": create_balancer,
    "DescribeLoadBalancers": describe_balancers,
    "DeleteLoadBalancer": delete_balancer,
    "ModifyLoadBalancerAttributes": modify_balancer_attributes,
    "SetSubnets": set_subnets,
    "SetSecurityGroups": set_security_groups,
    "CreateTargetGroup": create_group,
    "DescribeTargetGroups": describe_groups,
    "ModifyTargetGroup": modify_group,
    "DeleteTargetGroup": delete_group,
    "ModifyTargetGroupAttributes": modify_group_attributes,
    "CreateListener": create_listener,
    "DescribeListeners": describe_listeners,
    "ModifyListener": modify_listener,
    "CreateRule": create_rule,
    "DescribeRules": describe_rules,
    "ModifyRule": modify_rule,
    "DeleteRule": delete_rule,
    "SetRulePriorities": set_priorities,
    "RegisterTargets": register_targets,
    "DeregisterTargets": deregister_targets,
    "DescribeTargetHealth": describe_health,
}


def _stacks() -> None:
    """What CloudFormation makes and deletes is completed and refused in the same way."""
    from ministack.services.cloudformation import provisioners

    types = provisioners._RESOURCE_HANDLERS
    prefix = "AWS::ElasticLoadBalancingV2::"
    kinds = {name: dict(types[prefix + name]) for name in ("LoadBalancer", "TargetGroup", "ListenerRule")}

    def refused(code, call, *given):
        try:
            return call(*given)
        except Refused as error:
            raise ValueError(f"{error} (Service: ElasticLoadBalancingV2, {code})") from None

    def balancer_create(logical_id, props, stack_name):
        subnets = [one for one in props.get("Subnets") or []]
        subnets += [one["SubnetId"] for one in props.get("SubnetMappings") or []]
        refused("CreateLoadBalancer", _network, subnets, props.get("SecurityGroups") or [])
        if props.get("Name") and any(one["LoadBalancerName"] == props["Name"] for one in alb._lbs.values()):
            raise ValueError(f"{props['Name']} already exists")
        arn, attributes = kinds["LoadBalancer"]["create"](logical_id, {**props, "Subnets": subnets}, stack_name)
        complete(alb._lbs[arn])
        return arn, {**attributes, "DNSName": alb._lbs[arn]["DNSName"]}

    def balancer_update(physical_id, old, new, stack_name, logical_id=None):
        arn, attributes = kinds["LoadBalancer"]["update"](physical_id, old, new, stack_name, logical_id)
        complete(alb._lbs[arn])
        return arn, {**attributes, "DNSName": alb._lbs[arn]["DNSName"]}

    def balancer_delete(physical_id, props):
        refused("DeleteLoadBalancer", delete_balancer, {"LoadBalancerArn": [physical_id]})

    def group_create(logical_id, props, stack_name):
        if props.get("Name") and any(one["TargetGroupName"] == props["Name"] for one in alb._tgs.values()):
            raise ValueError(f"{props['Name']} already exists")
        arn, attributes = kinds["TargetGroup"]["create"](logical_id, props, stack_name)
        complete_group(arn)
        return arn, attributes

    def group_delete(physical_id, props):
        refused("DeleteTargetGroup", delete_group, {"TargetGroupArn": [physical_id]})

    def rule_create(logical_id, props, stack_name):
        refused("CreateRule", _check_priority, props.get("ListenerArn"), int(props["Priority"]))
        return kinds["ListenerRule"]["create"](logical_id, props, stack_name)

    types[prefix + "LoadBalancer"] = {
        **kinds["LoadBalancer"],
        "create": balancer_create,
        "update": balancer_update,
        "delete": balancer_delete,
    }
    types[prefix + "TargetGroup"] = {**kinds["TargetGroup"], "create": group_create, "delete": group_delete}
    types[prefix + "ListenerRule"] = {**kinds["ListenerRule"], "create": rule_create}


def install() -> None:
    def answering(act):
        def call(params) -> Answer:
            try:
                return act(params)
            except Refused as refused:
                return refused.answer

        return call

    alb._parse_actions, alb._action_xml = parse_actions, action_xml
    alb._parse_conditions, alb._condition_xml = parse_conditions, condition_xml
    alb._ACTION_MAP.update({name: answering(act) for name, act in ACTIONS.items()})
    alb.find_lb_for_host = alb._find_lb_by_name = lambda _name: (
        None
    )  # requests come in through the balancer's own names only
    _stacks()
