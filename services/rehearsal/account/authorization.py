"""What a request must be allowed to do: which actions, on which resources, with which condition keys.

authorization.json holds AWS's own service authorization reference for the services that Freehold uses: the resource
types of each action, their ARNs, the condition keys that exist. This module fills them in from a request. What the
reference says exists but is not computed here raises Unknown: a policy that uses it would otherwise pass or deny by
accident.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from account import tags

REFERENCE: dict[str, dict] = json.loads((Path(__file__).parent / "authorization.json").read_text())["services"]

# The reference merges the classic and the current load balancer APIs; the current one's tagging covers all its types.
for _name in ("AddTags", "RemoveTags"):
    REFERENCE["elasticloadbalancing"]["actions"][_name]["on"] = {
        f"{kind}?": [] for kind in ("loadbalancer/app/", "listener/app", "listener-rule/app", "targetgroup")
    }
# Tags and source identity are decided on the same request, with the same keys, as the AssumeRole that they come with.
for _name in ("TagSession", "SetSourceIdentity"):
    REFERENCE["sts"]["actions"][_name]["keys"] = REFERENCE["sts"]["actions"]["AssumeRole"]["keys"]


class Unknown(Exception):
    """The emulated account cannot tell what AWS would decide."""


@dataclass
class Request:
    service: str
    action: str
    given: dict  # parameters as `trail.parameters` reads them
    account: str
    region: str
    via: str = ""  # the AWS service that makes it with the caller's rights (a forward access session)
    arns: dict[str, list[str]] | None = None  # of each resource type, where they are known otherwise than by `given`
    made: dict[str, str] = field(default_factory=dict)  # tags of what was just made, whose ARN ends in * here


@dataclass
class Check:
    """One question to the policies."""

    action: str
    resource: str
    kind: str  # resource type in the reference, '' for actions that only know '*'
    request: Request
    extra: dict[str, Any] = field(default_factory=dict)  # keys that come from elsewhere than the request

    @property
    def service(self) -> str:
        return self.action.partition(":")[0]

    @property
    def name(self) -> str:
        return self.action.partition(":")[2]


def listed(given: dict, name: str) -> list:
    """A list parameter: JSON as it is, query protocols name.1, name.member.1 or any wrapper's name in between."""
    value = given.get(name)
    if isinstance(value, list):
        return value
    found = [
        (int(m[1]), given[key]) for key in given if (m := re.fullmatch(rf"{re.escape(name)}(?:\.\w+)?\.(\d+)", key))
    ]
    return [value for _, value in sorted(found)] or ([value] if isinstance(value, str) and value else [])


def _last(name: str) -> str:
    return name.rpartition("/")[2]


# ---------------------------------------------------------------- ARNs


def _arn(request: Request, resource: str, service: str = "") -> str:
    return f"arn:aws:{service or request.service}:{request.region}:{request.account}:{resource}"


def _cluster(request: Request) -> str:
    given = request.given.get("cluster") or ""
    if given:
        return _last(given)
    for name in ("serviceDeploymentArn", "serviceDeploymentArns", "serviceRevisionArns"):
        for arn in listed(request.given, name):
            return arn.split("/")[1]
    return "default"


def _ecs_services(request: Request) -> list[str]:
    given = request.given
    named = listed(given, "services") or [given.get("service") or given.get("serviceName")]
    found = []
    for name in named:
        if name and name.startswith("arn:") and name.count("/") == 2:
            found.append(name)
        elif name:
            found.append(_arn(request, f"service/{_cluster(request)}/{_last(name)}"))
    for field_name in ("serviceDeploymentArn", "serviceDeploymentArns", "serviceRevisionArns"):
        for arn in listed(given, field_name):
            _, cluster, service, _ = arn.split("/")
            found.append(_arn(request, f"service/{cluster}/{service}"))
    return list(dict.fromkeys(found))


def _task_definitions(request: Request) -> list[str]:
    given = request.given
    if request.action == "RegisterTaskDefinition":
        return [_arn(request, f"task-definition/{given.get('family', '')}:*")]
    named = listed(given, "taskDefinitions") or listed(given, "taskDefinition")
    full = [name if name.startswith("arn:") else _arn(request, f"task-definition/{name}") for name in named]
    return [name if re.search(r":\d+$", name) else f"{name}:*" for name in full]


def _tasks(request: Request) -> list[str]:
    named = listed(request.given, "tasks") or listed(request.given, "task")
    return [one if one.startswith("arn:") else _arn(request, f"task/{_cluster(request)}/{one}") for one in named]


def _clusters(request: Request) -> list[str]:
    given = request.given
    named = listed(given, "clusters") or listed(given, "clusterName") or listed(given, "cluster") or ["default"]
    return [one if one.startswith("arn:") else _arn(request, f"cluster/{one}") for one in named]


def _named(field_name: str, kind: str) -> Callable[[Request], list[str]]:
    def build(request: Request) -> list[str]:
        return [
            one if str(one).startswith("arn:") else _arn(request, f"{kind}{one}")
            for one in listed(request.given, field_name)
        ]

    return build


def _security_groups(request: Request) -> list[str]:
    given = request.given
    if request.action == "CreateSecurityGroup":
        return [_arn(request, "security-group/*")]
    if given.get("GroupId"):
        return [_arn(request, f"security-group/{given['GroupId']}")]
    return [arn for arn in _ec2_tagged(request) if ":security-group/" in arn]


def _security_group_rules(request: Request) -> list[str]:
    if any(value == "security-group-rule" for key, value in request.given.items() if key.endswith(".ResourceType")):
        return [_arn(request, "security-group-rule/*")]
    return [arn for arn in _ec2_tagged(request) if ":security-group-rule/" in arn]


def _ec2_tagged(request: Request) -> list[str]:
    return (
        [tags.ec2_arn(one) for one in listed(request.given, "ResourceId")]
        if request.action in ("CreateTags", "DeleteTags")
        else []
    )


def _ec2_kind(kind: str, name: str = "") -> Callable[[Request], list[str]]:
    def build(request: Request) -> list[str]:
        if name and request.given.get(name):
            return [_arn(request, f"{kind}/{request.given[name]}")]
        return [arn for arn in _ec2_tagged(request) if f":{kind}/" in arn]

    return build


def _balanced(kind: str, fields: tuple[str, ...]) -> Callable[[Request], list[str]]:
    """Load balancing: by the ARNs that the request names; a new one by its name."""

    def build(request: Request) -> list[str]:
        given, action = request.given, request.action
        if kind == "targetgroup" and action == "CreateTargetGroup":
            return [_arn(request, f"targetgroup/{given.get('Name', '')}/*")]
        if kind == "loadbalancer" and action == "CreateLoadBalancer":
            return [_arn(request, f"loadbalancer/app/{given.get('Name', '')}/*")]
        arns = [arn for name in fields for arn in listed(given, name)]
        arns += [value for key, value in given.items() if re.fullmatch(r"RulePriorities\.member\.\d+\.RuleArn", key)]
        return [arn for arn in arns if f":{kind.rstrip('/')}/" in arn]

    return build


_BALANCED = ("TargetGroupArn", "ListenerArn", "RuleArn", "LoadBalancerArn", "ResourceArns")


def _rds(kind: str, name: str) -> Callable[[Request], list[str]]:
    def build(request: Request) -> list[str]:
        given = request.given
        resource = given.get("ResourceName", "")
        if f":{kind}:" in resource:
            return [resource]
        if given.get(name, "").startswith("arn:"):
            return [given[name]]
        if given.get(name):
            return [_arn(request, f"{kind}:{given[name].lower()}")]
        if kind == "snapshot" and request.action == "DeleteDBInstance" and given.get("FinalDBSnapshotIdentifier"):
            return [_arn(request, f"snapshot:{given['FinalDBSnapshotIdentifier'].lower()}")]
        if kind == "db" and request.action.startswith("Describe"):
            return [_arn(request, "db:*")]
        if kind == "snapshot" and request.action == "DescribeDBSnapshots":
            return [_arn(request, "snapshot:*")]
        return []

    return build


def _secret(request: Request) -> list[str]:
    from ministack.services import secretsmanager

    given = request.given
    if request.action == "CreateSecret":  # its ARN will end in six characters of AWS's choice
        return [_arn(request, f"secret:{given.get('Name', '')}-AbCdEf")]
    name = given.get("SecretId", "")
    _, secret = secretsmanager._resolve(name) if name else (None, None)
    if secret:
        return [secret["ARN"]]
    return [name if name.startswith("arn:") else _arn(request, f"secret:{name}")]


def _log_group(request: Request) -> list[str]:
    given = request.given
    if request.action in ("TagResource", "UntagResource", "ListTagsForResource"):
        return [given.get("resourceArn", "")]
    name = given.get("logGroupName") or given.get("logGroupIdentifier") or ""
    name = name.split(":log-group:")[-1].removesuffix(":*")
    # All but the tagging calls are authorised as if on a stream: a policy needs log-group:NAME:*
    return [_arn(request, f"log-group:{name}:log-stream:")] if name else []


def _log_stream(request: Request) -> list[str]:
    return [f"{arn}{request.given.get('logStreamName', '')}" for arn in _log_group(request)]


def _map_namespace(request: Request) -> list[str]:
    from ministack.services import servicediscovery

    given = request.given
    if request.action == "GetOperation":
        operation = servicediscovery._operations.get(given.get("OperationId", "")) or {}
        identifier = (operation.get("Targets") or {}).get("NAMESPACE", "*")
    elif given.get("NamespaceName"):
        found = [one["Id"] for one in servicediscovery._namespaces.values() if one["Name"] == given["NamespaceName"]]
        identifier = (found or ["*"])[0]
    else:
        identifier = (
            given.get("NamespaceId") or (given.get("DnsConfig") or {}).get("NamespaceId") or given.get("Id") or "*"
        )
    return [_arn(request, f"namespace/{_last(identifier)}")]


def _map_service(request: Request) -> list[str]:
    from ministack.services import servicediscovery

    given = request.given
    if request.action == "CreateService":
        return [_arn(request, "service/*")]
    if request.action == "GetOperation":
        return []
    if given.get("ServiceName"):
        found = [one["Id"] for one in servicediscovery._services.values() if one["Name"] == given["ServiceName"]]
        return [_arn(request, f"service/{(found or ['*'])[0]}")]
    return [_arn(request, f"service/{_last(given.get('ServiceId') or given.get('Id') or '*')}")]


def _scalable_target(request: Request) -> list[str]:
    from account import autoscaling

    given = request.given
    return [
        given.get("ResourceARN")
        or autoscaling.arn_of(given.get("ResourceId", ""))
        or _arn(request, "scalable-target/*")
    ]


def _iam(kind: str, name: str, store: str) -> Callable[[Request], list[str]]:
    def build(request: Request) -> list[str]:
        from ministack.services import iam

        given = request.given
        if name == "PolicyArn":
            made = [f"arn:aws:iam::{request.account}:policy{given.get('Path', '/')}{given.get('PolicyName')}"]
            return (
                listed(given, "PolicyArn")
                if not request.action.startswith("Create") or given.get("PolicyArn")
                else made
            )
        if request.action == "SimulatePrincipalPolicy":
            source = given.get("PolicySourceArn", "")
            return [source] if f":{kind}/" in source else []
        if request.action == "CreateServiceLinkedRole" and kind == "role":
            return [f"arn:aws:iam::{request.account}:role/aws-service-role/{given.get('AWSServiceName')}/*"]
        found = given.get(name)
        if not found:
            return []
        record = getattr(iam, store).get(found) or {}
        return [record.get("Arn") or f"arn:aws:iam::{request.account}:{kind}{given.get('Path', '/')}{found}"]

    return build


def _bus(given: dict) -> str:
    return (given.get("EventBusName") or "default").rpartition("/")[2]


def _rule(default: bool) -> Callable[[Request], list[str]]:
    """EventBridge: a rule on the default bus, or on another."""

    def build(request: Request) -> list[str]:
        given, bus = request.given, _bus(request.given)
        tagged = given.get("ResourceARN", "")
        if ":rule/" in tagged:
            return [tagged] if (tagged.count("/") == 1) == default else []
        name = given.get("Rule") or (given.get("Name") if request.action.endswith("Rule") else "")
        if not name or (bus == "default") != default:
            return []
        return [_arn(request, f"rule/{name}" if default else f"rule/{bus}/{name}")]

    return build


def _event_bus(request: Request) -> list[str]:
    given = request.given
    if given.get("ResourceARN"):
        return [given["ResourceARN"]] if ":event-bus/" in given["ResourceARN"] else []
    if request.action == "PutEvents":
        named = [one.get("EventBusName") or "default" for one in listed(given, "Entries") if isinstance(one, dict)]
    elif request.action.endswith("EventBus"):
        named = [given.get("Name") or "default"]
    else:
        named = [given.get("EventBusName") or "default"]
    arns = [one if one.startswith("arn:") else _arn(request, f"event-bus/{one}") for one in named]
    return list(dict.fromkeys(arns))


def _queue(request: Request) -> list[str]:
    """A queue belongs to the account that its URL names."""
    given = request.given
    if given.get("QueueUrl"):
        owner, _, name = given["QueueUrl"].rstrip("/").rpartition("/")
        owner = owner.rpartition("/")[2]
        return [f"arn:aws:sqs:{request.region}:{owner if owner.isdigit() else request.account}:{name}"]
    owner = given.get("QueueOwnerAWSAccountId") or request.account
    return [f"arn:aws:sqs:{request.region}:{owner}:{given.get('QueueName', '')}"] if given.get("QueueName") else []


def _stack(request: Request) -> list[str]:
    given = request.given
    name = given.get("StackName", "")
    if not name and given.get("ChangeSetName", "").startswith("arn:"):
        name = given["ChangeSetName"].split("/")[1]
    return [] if not name else [name] if name.startswith("arn:") else [_arn(request, f"stack/{name}/*")]


def _key(request: Request) -> list[str]:
    """KMS decides on the key, however it is named:
    https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html
    """
    from account import keys

    given = request.given
    named = given.get("KeyId") or given.get("TargetKeyId") or given.get("SourceKeyId")
    if not named and request.action in ("Decrypt", "ReEncrypt", "ReEncryptFrom"):
        named = keys.of_ciphertext(given.get("CiphertextBlob", ""))
    if not named and request.action == "DeleteAlias":
        named = given.get("AliasName")
    return [keys.arn_of(named, request)] if named else []


def _alias(request: Request) -> list[str]:
    name = request.given.get("AliasName")
    return [_arn(request, name)] if name else []


def _parameter(request: Request) -> list[str]:
    given = request.given
    named = listed(given, "Names") or [given.get("Name") or given.get("Path") or given.get("ResourceId") or ""]
    whole = [one if one.startswith("arn:") else _arn(request, f"parameter/{one.lstrip('/')}") for one in named if one]
    if request.action == "GetParametersByPath":
        return [f"{one.rstrip('/')}/*" if one.rstrip("/").endswith(":parameter") else one.rstrip("/") for one in whole]
    return [re.sub(r"(:parameter/[^:]+):.*", r"\1", one) for one in whole]


RESOURCES: dict[str, dict[str, Callable[[Request], list[str]]]] = {
    "application-autoscaling": {"ScalableTarget": _scalable_target},
    "cloudformation": {"changeset": lambda request: [], "stack": _stack, "stackset": lambda request: []},
    "cloudtrail": {
        "trail": lambda request: _named("Name", "trail/")(request) or _named("TrailName", "trail/")(request),
    },
    "ec2": {
        "security-group": _security_groups,
        "security-group-rule": _security_group_rules,
        "vpc": _ec2_kind("vpc", "VpcId"),
        "subnet": _ec2_kind("subnet", "SubnetId"),
        **{
            kind: _ec2_kind(kind)
            for kind in tags.EC2_TYPES.values()
            if kind not in ("security-group", "security-group-rule", "vpc", "subnet")
        },
    },
    "ecr": {
        "repository": lambda request: (
            _named("repositoryName", "repository/")(request)
            or _named("repositoryNames", "repository/")(request)
            or listed(request.given, "resourceArn")
        )
    },
    "ecs": {
        "cluster": _clusters,
        "service": _ecs_services,
        "task": _tasks,
        "task-definition": _task_definitions,
        "container-instance": lambda request: [_arn(request, f"container-instance/{_cluster(request)}/*")],
        "service-deployment": lambda request: (
            listed(request.given, "serviceDeploymentArns") or listed(request.given, "serviceDeploymentArn")
        ),
        "service-revision": lambda request: listed(request.given, "serviceRevisionArns"),
    },
    "elasticloadbalancing": {
        **{
            kind: _balanced(kind, _BALANCED)
            for kind in ("targetgroup", "listener/app", "listener-rule/app", "loadbalancer/app/")
        },
        "loadbalancer": _balanced("loadbalancer", _BALANCED),
        **{
            kind: lambda request: []
            for kind in (
                "listener/net",
                "listener/gwy",
                "listener-rule/net",
                "loadbalancer/net/",
                "loadbalancer/gwy/",
                "truststore",
            )
        },
    },
    "events": {
        "event-bus": _event_bus,
        "rule-on-default-event-bus": _rule(True),
        "rule-on-custom-event-bus": _rule(False),
    },
    "iam": {
        "role": _iam("role", "RoleName", "_roles"),
        "user": _iam("user", "UserName", "_users"),
        "group": _iam("group", "GroupName", "_groups"),
        "policy": _iam("policy", "PolicyArn", "_policies"),
    },
    "logs": {"log-group": _log_group, "log-stream": _log_stream},
    "rds": {
        "db": _rds("db", "DBInstanceIdentifier"),
        "snapshot": _rds("snapshot", "DBSnapshotIdentifier"),
        "subgrp": _rds("subgrp", "DBSubnetGroupName"),
        "pg": _rds("pg", "DBParameterGroupName"),
        "og": _rds("og", "OptionGroupName"),
        "cluster": _rds("cluster", "DBClusterIdentifier"),
    },
    "kms": {"key": _key, "alias": _alias},
    "secretsmanager": {"Secret": _secret},
    "servicediscovery": {"namespace": _map_namespace, "service": _map_service},
    "servicequotas": {
        "quota": lambda request: (
            [_arn(request, f"{request.given['ServiceCode']}/{request.given['QuotaCode']}")]
            if request.given.get("ServiceCode") and request.given.get("QuotaCode")
            else []
        )
    },
    "sqs": {"queue": _queue},
    "ssm": {"parameter": _parameter},
    "sts": {"role": lambda request: listed(request.given, "RoleArn")},
    "tag": {},
}
GOVERNED = frozenset(RESOURCES)

# Actions with tags in the request need the right to tag as well, which may be limited to the creating call.
TAGGING = {
    "application-autoscaling": ("TagResource", ""),
    "cloudformation": ("TagResource", "cloudformation:CreateAction"),
    "ec2": ("CreateTags", "ec2:CreateAction"),
    "ecr": ("TagResource", ""),
    "ecs": ("TagResource", "ecs:CreateAction"),
    "elasticloadbalancing": ("AddTags", "elasticloadbalancing:CreateAction"),
    "events": ("TagResource", ""),
    "logs": ("TagResource", ""),
    "rds": ("AddTagsToResource", ""),
    "secretsmanager": ("TagResource", ""),
    "servicediscovery": ("TagResource", ""),
    "sqs": ("TagQueue", ""),
}

# The type of what a call makes, where it is authorised on something else.
MADE = {
    ("elasticloadbalancing", "CreateRule"): (
        "listener-rule/app",
        lambda arn: arn.replace(":listener/", ":listener-rule/") + "/*",
    ),
    ("elasticloadbalancing", "CreateListener"): (
        "listener/app",
        lambda arn: arn.replace(":loadbalancer/", ":listener/") + "/*",
    ),
    ("ecs", "RunTask"): ("task", lambda arn: arn.split(":task-definition/")[0] + ":task/*"),
}
MADE_FIRST = {
    ("ec2", "AllocateAddress"): "elastic-ip",
    ("ec2", "CreateFlowLogs"): "vpc-flow-log",
    ("ec2", "CreateInternetGateway"): "internet-gateway",
    ("ec2", "CreateNatGateway"): "natgateway",
    ("ec2", "CreateRouteTable"): "route-table",
    ("ec2", "CreateSubnet"): "subnet",
    ("ec2", "CreateVpc"): "vpc",
    ("ec2", "CreateSecurityGroup"): "security-group",
    ("ec2", "AuthorizeSecurityGroupIngress"): "security-group-rule",
    ("ec2", "AuthorizeSecurityGroupEgress"): "security-group-rule",
    ("rds", "CreateDBInstance"): "db",
    ("rds", "CreateDBSnapshot"): "snapshot",
    ("rds", "RestoreDBInstanceFromDBSnapshot"): "db",
    ("servicediscovery", "CreateService"): "service",
}


def entry(service: str, action: str) -> dict:
    found = REFERENCE[service]["actions"].get(action)
    if found is None:
        raise Unknown(
            f"{service}:{action} is not in authorization.json: add it from AWS's service authorization reference"
        )
    return found


def resources(request: Request) -> list[tuple[str, str]]:
    """(resource type, ARN) that AWS authorises this request on; [('', '*')] for what only knows all resources."""
    on = entry(request.service, request.action).get("on", {})
    found: list[tuple[str, str]] = []
    builders = RESOURCES.get(request.service, {})
    for name in on:
        kind, optional = name.removesuffix("?"), name.endswith("?")
        build = builders.get(kind)
        if request.arns is not None:
            build, arns = None, request.arns.get(kind, [])
            if kind == "log-group" and request.action in ("TagResource", "UntagResource", "ListTagsForResource"):
                arns = [arn.removesuffix(":log-stream:") for arn in arns]
            if request.action == "DescribeLogGroups":
                return [("", "*")]
        else:
            arns = build(request) if build else []
            if not arns and request.service == "ec2" and request.action.startswith(("Create", "Allocate")):
                arns = [_arn(request, f"{kind}/*")] if MADE_FIRST.get(("ec2", request.action)) == kind else []
        if not arns and not optional and build is None and request.arns is None:
            template = REFERENCE[request.service]["types"][kind]["arn"]
            filled = (
                template.replace("${Partition}", "aws")
                .replace("${Region}", request.region)
                .replace("${Account}", request.account)
            )
            arns = [re.sub(r"\$\{\w+\}", "*", filled)]
        found += [(kind, arn) for arn in arns if arn]
    tagging = request.action in ("TagResource", "UntagResource", "ListTagsForResource")
    if request.service == "ecs" and request.arns is None and tagging:
        arn = request.given.get("resourceArn", "")
        return [(arn.split(":")[5].partition("/")[0], arn)] if arn.count(":") >= 5 else [("", "*")]
    return found or [("", "*")]


def checks(request: Request) -> list[Check]:
    """Everything that must be allowed, in the order in which AWS names what is missing."""
    service, action, given = request.service, request.action, request.given
    targets = resources(request)
    found = [Check(f"{service}:{action}", arn, kind, request) for kind, arn in targets]
    if service in TAGGING and request_tags(request) and action not in (TAGGING[service][0],):
        tagging, key = TAGGING[service]
        extra = {key.lower(): action} if key else {}
        made = MADE.get((service, action))
        only = MADE_FIRST.get((service, action))
        for kind, arn in targets:
            if only and kind != only:
                continue
            if made:
                kind, arn = made[0], made[1](arn)
            if service == "logs":
                arn = arn.removesuffix(":log-stream:")
            if service == "servicediscovery":
                kind, arn = "", "*"
            found.append(Check(f"{service}:{tagging}", arn, kind, request, extra))
            break
    if service == "ecs" and action in ("RegisterTaskDefinition", "RunTask"):
        roles = [given.get(name) for name in ("executionRoleArn", "taskRoleArn")]
        roles += [(given.get("overrides") or {}).get(name) for name in ("executionRoleArn", "taskRoleArn")]
        if action == "RunTask":
            definition = _definition(given.get("taskDefinition", ""))
            roles += [definition.get(name) for name in ("executionRoleArn", "taskRoleArn")]
        found += _passed(request, roles, "ecs-tasks.amazonaws.com")
    if service == "events":
        roles = [given.get("RoleArn")] + [one.get("RoleArn") for one in listed(given, "Targets")]
        found += _passed(request, roles, "events.amazonaws.com")
    if service == "cloudformation":
        found += _passed(request, [given.get("RoleARN")], "cloudformation.amazonaws.com")
    if service == "rds":
        found += _passed(request, [given.get("MonitoringRoleArn")], "monitoring.rds.amazonaws.com")
    if service in ("secretsmanager", "rds", "ssm"):
        from account import keys

        found += keys.checks(request)
    if service == "sts" and action == "AssumeRole":
        if listed_tags(given):
            found.append(Check("sts:TagSession", targets[0][1], "role", request))
        if given.get("SourceIdentity"):
            found.append(Check("sts:SetSourceIdentity", targets[0][1], "role", request))
    return found


def _passed(request: Request, roles: list, to: str) -> list[Check]:
    arns = [
        arn if arn.startswith("arn:") else f"arn:aws:iam::{request.account}:role/{arn}"
        for arn in dict.fromkeys(filter(None, roles))
    ]
    return [Check("iam:PassRole", arn, "role", request, {"iam:passedtoservice": to}) for arn in arns]


def _definition(name: str) -> dict:
    from ministack.services import ecs

    short = _last(name)
    if ":" not in short:
        short = f"{short}:{ecs._task_def_latest.get(short, '')}"
    return ecs._task_defs.get(short) or {}


# ---------------------------------------------------------------- condition keys

_QUERY_TAG = re.compile(r"^(?:Tags?(?:\.(?:member|Tag))?|TagSpecification\.(\d+)\.Tag)\.(\d+)\.Key$")


def listed_tags(given: dict, kind: str = "") -> dict[str, str]:
    """The tags that a request sets. EC2 names the type that each set is for: `kind` picks one."""
    raw = given.get("tags", given.get("Tags"))
    if isinstance(raw, dict):
        return {str(name): str(value) for name, value in raw.items()}
    if isinstance(raw, list):
        return {
            str(tag.get("Key", tag.get("key"))): str(tag.get("Value", tag.get("value", "")))
            for tag in raw
            if isinstance(tag, dict)
        }
    found = {}
    for name, value in given.items():
        match = _QUERY_TAG.match(name)
        if match and (not match[1] or not kind or given.get(f"TagSpecification.{match[1]}.ResourceType") == kind):
            found[value] = given.get(name.removesuffix("Key") + "Value", "")
    return found


def request_tags(request: Request, kind: str = "") -> dict[str, str]:
    return listed_tags(request.given, kind if request.service == "ec2" else "")


def tag_keys(request: Request, kind: str = "") -> list[str]:
    given = request.given
    removed = listed(given, "TagKeys") or listed(given, "tagKeys")
    return list(request_tags(request, kind)) + [str(name) for name in removed]


def _network(given: dict) -> dict:
    return (given.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}


def _boolean(value: Any, default: str | None = None) -> str | None:
    return default if value is None else str(value).lower()


def _existing_db(check: Check) -> dict:
    from ministack.services import rds

    return rds._instances.get(check.resource.rpartition(":")[2]) or {}


def _db(name: str, stored: str, default: Any = None) -> Callable[[Check], Any]:
    """Of a new database as asked, of an existing one as it is."""

    def value(check: Check) -> Any:
        if check.name == "CreateDBInstance":
            return check.request.given.get(name, default)
        found = _existing_db(check).get(stored)
        return None if found is None else str(found).lower() if isinstance(found, bool) else found

    return value


def _namespace(check: Check) -> str | None:
    """Service Connect's namespace, which a request may name: the key has its ARN."""
    given = check.request.given
    named = (given.get("serviceConnectConfiguration") or {}).get("namespace") or given.get("namespace")
    if not named or named.startswith("arn:"):
        return named
    found = Request("servicediscovery", "", {"NamespaceName": named}, check.request.account, check.request.region)
    return _map_namespace(found)[0]


def _kms_key(check: Check) -> str | None:
    """The key's ARN, also where the request has an alias or an id."""
    from account import keys

    named = check.request.given.get("KmsKeyId")
    return keys.arn_of(named, check.request) if named else None


def _balancer_subnets(check: Check) -> list[str] | None:
    given = check.request.given
    mapped = [given[name] for name in given if re.fullmatch(r"SubnetMappings\.member\.\d+\.SubnetId", name)]
    return listed(given, "Subnets") + mapped or None


def _group_vpc(check: Check) -> str | None:
    from ministack.services import ec2

    identifier = check.resource.rpartition("/")[2]
    record = (
        ec2._security_groups.get(identifier)
        or ec2._subnets.get(identifier)
        or ec2._route_tables.get(identifier)
        or ec2._nat_gateways.get(identifier)
        or ec2._network_interfaces.get(identifier)
        or {}
    )
    vpc = record.get("VpcId") or (check.request.given.get("VpcId") if check.resource.endswith("/*") else None)
    return _arn(check.request, f"vpc/{vpc}", "ec2") if vpc else None


def _identifier(kind: str) -> Callable[[Check], str | None]:
    return lambda check: (
        check.resource.rpartition("/")[2] if check.kind == kind and not check.resource.endswith("*") else None
    )


def _cluster_arn(check: Check) -> str:
    return _arn(check.request, f"cluster/{_cluster(check.request)}", "ecs")


def _task_definition(check: Check) -> str | None:
    given = check.request.given.get("taskDefinition")
    return (
        None
        if not given
        else given
        if given.startswith("arn:")
        else _arn(check.request, f"task-definition/{given}", "ecs")
    )


def _given(name: str, default: Any = None) -> Callable[[Check], Any]:
    def value(check: Check) -> Any:
        found = check.request.given.get(name, default)
        return str(found).lower() if isinstance(found, bool) else found

    return value


def _created_role(check: Check) -> Any:
    from ministack.services import iam

    given = check.request.given
    record = iam._roles.get(given.get("RoleName", "")) or iam._users.get(given.get("UserName", "")) or {}
    return given.get("PermissionsBoundary") or record.get("PermissionsBoundary") or None


def _event_field(name: str, path: str) -> Callable[[Check], Any]:
    """Of events that are put, what they have; of a rule, what its pattern asks for in so many words."""

    def value(check: Check) -> Any:
        given = check.request.given
        if check.name == "PutEvents":
            return _few([one[name] for one in listed(given, "Entries") if one.get(name)])
        try:
            found: Any = json.loads(given.get("EventPattern") or "{}")
            for part in path.split("."):
                found = found.get(part) or {}
        except (ValueError, AttributeError):
            return None
        return _few([one for one in found if isinstance(one, str)])

    return value


def _few(values: list) -> Any:
    """One value can be compared as one; of several, ForAnyValue or ForAllValues must say how."""
    return values if len(values) > 1 else values[0] if values else None


def _change_set(check: Check) -> str | None:
    """By its name, also where the request has its ARN."""
    given = check.request.given.get("ChangeSetName") or ""
    return given.split("/")[1] if given.startswith("arn:") else given or None


KEYS: dict[str, Callable[[Check], Any]] = {
    "application-autoscaling:scalable-dimension": _given("ScalableDimension"),
    "application-autoscaling:service-namespace": _given("ServiceNamespace"),
    "cloudformation:changesetname": _change_set,
    "cloudformation:createaction": lambda check: None,
    "cloudformation:importresourcetypes": lambda check: None,
    "cloudformation:resourcetypes": lambda check: listed(check.request.given, "ResourceTypes") or None,
    "cloudformation:rolearn": _given("RoleARN"),
    "cloudformation:stackpolicyurl": _given("StackPolicyURL"),
    "cloudformation:templateurl": _given("TemplateURL"),
    "ec2:availabilityzone": lambda check: None,
    "ec2:createaction": lambda check: None,
    "ec2:region": lambda check: check.request.region,
    "ec2:securitygroupid": _identifier("security-group"),
    "ec2:subnetid": _identifier("subnet"),
    "ec2:tenancy": lambda check: "default",
    "ec2:vpc": _group_vpc,
    "ec2:vpcid": _identifier("vpc"),
    "ecs:account-setting": _given("name"),
    "ecs:auto-assign-public-ip": lambda check: _boolean(
        {"ENABLED": True, "DISABLED": False}.get(_network(check.request.given).get("assignPublicIp"))
    ),
    "ecs:capacity-provider": lambda check: (
        [one.get("capacityProvider") for one in check.request.given.get("capacityProviderStrategy") or []] or None
    ),
    "ecs:cluster": _cluster_arn,
    "ecs:compute-compatibility": _given("requiresCompatibilities"),
    "ecs:container-name": _given("container"),
    "ecs:createaction": lambda check: None,
    "ecs:enable-ebs-volumes": lambda check: _boolean(
        any("managedEBSVolume" in one for one in check.request.given.get("volumeConfigurations") or []) or None
    ),
    "ecs:enable-ecs-managed-tags": _given("enableECSManagedTags"),
    "ecs:enable-execute-command": _given("enableExecuteCommand"),
    "ecs:enable-service-connect": lambda check: _boolean(
        (check.request.given.get("serviceConnectConfiguration") or {}).get("enabled")
    ),
    "ecs:enable-vpc-lattice": lambda check: _boolean(bool(check.request.given.get("vpcLatticeConfigurations")) or None),
    "ecs:namespace": _namespace,
    "ecs:privileged": lambda check: _boolean(
        any(one.get("privileged") for one in check.request.given.get("containerDefinitions") or [])
    ),
    "ecs:propagate-tags": _given("propagateTags"),
    "ecs:service": lambda check: (_ecs_services(check.request) or [None])[0],
    "ecs:subnet": lambda check: (
        [_arn(check.request, f"subnet/{one}", "ec2") for one in _network(check.request.given).get("subnets") or []]
        or None
    ),
    "ecs:task-cpu": _given("cpu"),
    "ecs:task-definition": _task_definition,
    "ecs:task-memory": _given("memory"),
    "elasticloadbalancing:createaction": lambda check: None,
    "elasticloadbalancing:listenerprotocol": _given("Protocol"),
    "elasticloadbalancing:scheme": _given("Scheme", "internet-facing"),
    "elasticloadbalancing:securitygroup": lambda check: listed(check.request.given, "SecurityGroups") or None,
    "elasticloadbalancing:securitypolicy": _given("SslPolicy"),
    "elasticloadbalancing:subnet": _balancer_subnets,
    "events:creatoraccount": lambda check: check.request.account,
    "events:detail-type": _event_field("DetailType", "detail-type"),
    "events:detail.eventtypecode": _event_field("", "detail.eventTypeCode"),
    "events:detail.service": _event_field("", "detail.service"),
    "events:detail.useridentity.principalid": _event_field("", "detail.userIdentity.principalId"),
    "events:eventbusinvocation": lambda check: "false",
    "events:managedby": lambda check: None,
    "events:source": _event_field("Source", "source"),
    "events:targetarn": lambda check: _few([one.get("Arn") for one in listed(check.request.given, "Targets")]),
    "iam:associatedresourcearn": lambda check: None,
    "iam:awsservicename": _given("AWSServiceName"),
    "iam:passedtoservice": lambda check: None,
    "iam:permissionsboundary": _created_role,
    "iam:policyarn": _given("PolicyArn"),
    "kms:calleraccount": lambda check: check.request.account,
    "kms:encryptioncontextkeys": lambda check: list(check.request.given.get("EncryptionContext") or {}) or None,
    "kms:grantisforawsresource": lambda check: None,
    "kms:granteeprincipal": _given("GranteePrincipal"),
    "kms:grantoperations": lambda check: listed(check.request.given, "Operations") or None,
    "kms:keyspec": _given("KeySpec"),
    "kms:keyusage": _given("KeyUsage"),
    "kms:requestalias": lambda check: (
        given if (given := check.request.given.get("KeyId", "")).startswith("alias/") else None
    ),
    "kms:retiringprincipal": _given("RetiringPrincipal"),
    "kms:schedulekeydeletionpendingwindowindays": lambda check: str(
        check.request.given.get("PendingWindowInDays", 30)
    ),
    "kms:viaservice": lambda check: None,
    "rds:backuptarget": lambda check: (
        check.request.given.get("BackupTarget", "region") if check.name.startswith(("Create", "Restore")) else None
    ),
    "rds:databaseclass": _db("DBInstanceClass", "DBInstanceClass"),
    "rds:databaseengine": _db("Engine", "Engine"),
    "rds:databasename": _db("DBName", "DBName"),
    "rds:managemasteruserpassword": _given("ManageMasterUserPassword"),
    "rds:multiaz": _db("MultiAZ", "MultiAZ", "false"),
    "rds:piops": _db("Iops", "Iops"),
    "rds:publiclyaccessible": _given("PubliclyAccessible"),
    "rds:storageencrypted": _db("StorageEncrypted", "StorageEncrypted", "false"),
    "rds:storagesize": _db("AllocatedStorage", "AllocatedStorage"),
    "rds:tagsfromrequest": lambda check: _boolean(bool(listed_tags(check.request.given))),
    "rds:vpc": lambda check: "true",
    "secretsmanager:blockpublicpolicy": _given("BlockPublicPolicy"),
    "secretsmanager:description": _given("Description"),
    "secretsmanager:forcedeletewithoutrecovery": lambda check: _boolean(
        check.request.given.get("ForceDeleteWithoutRecovery")
    ),
    "secretsmanager:kmskeyarn": _kms_key,
    "secretsmanager:kmskeyid": _given("KmsKeyId"),
    "secretsmanager:name": _given("Name"),
    "secretsmanager:recoverywindowindays": lambda check: (
        None
        if check.request.given.get("ForceDeleteWithoutRecovery")
        else check.request.given.get("RecoveryWindowInDays")
    ),
    "secretsmanager:resource/type": lambda check: None,
    "secretsmanager:secretid": lambda check: check.resource,
    "secretsmanager:secretprimaryregion": lambda check: check.request.region,
    "secretsmanager:type": lambda check: None,
    "secretsmanager:versionid": _given("VersionId"),
    "secretsmanager:versionstage": _given("VersionStage"),
    "servicediscovery:namespacearn": lambda check: _map_namespace(check.request)[0],
    "servicediscovery:namespacename": _given("NamespaceName"),
    "servicediscovery:servicearn": lambda check: check.resource if check.kind == "service" else None,
    "servicediscovery:servicecreatedbyaccount": lambda check: check.request.account,
    "servicediscovery:servicename": _given("ServiceName"),
    "servicequotas:service": _given("ServiceCode"),
    "ssm:overwrite": lambda check: _boolean(bool(check.request.given.get("Overwrite"))),
    "ssm:policies": _given("Policies"),
    "ssm:recursive": lambda check: _boolean(bool(check.request.given.get("Recursive"))),
    "sts:externalid": _given("ExternalId"),
    "sts:rolesessionname": _given("RoleSessionName"),
    "sts:sourceidentity": _given("SourceIdentity"),
    "sts:transitivetagkeys": lambda check: listed(check.request.given, "TransitiveTagKeys") or None,
}

# prefix of a key with a tag's name in it -> the resource types that have it ('' = any)
RESOURCE_TAGS = {
    "aws:resourcetag/": "",
    "ec2:resourcetag/": "",
    "ecs:resourcetag/": "",
    "ecr:resourcetag/": "",
    "elasticloadbalancing:resourcetag/": "",
    "secretsmanager:resourcetag/": "",
    "iam:resourcetag/": "",
    "ssm:resourcetag/": "",
    "rds:db-tag/": "db",
    "rds:snapshot-tag/": "snapshot",
    "rds:subgrp-tag/": "subgrp",
    "rds:pg-tag/": "pg",
    "rds:og-tag/": "og",
    "rds:cluster-tag/": "cluster",
}
REQUEST_TAGS = ("aws:requesttag/", "rds:req-tag/")

# Global keys: what a call from outside AWS's own services has, and what it never has.
ABSENT = {
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:ec2instancesourceprivateipv4",
    "aws:ec2instancesourcevpc",
    "aws:federatedprovider",
    "aws:multifactorauthage",
    "aws:principalservicename",
    "aws:principalservicenameslist",
    "aws:referer",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:vpcsourceip",
    "aws:principalorgpaths",
    "aws:resourceorgid",
    "aws:resourceorgpaths",
    "aws:multifactorauthpresent",
    "aws:assumedroot",
}
FIXED = {"aws:viaawsservice": "false", "aws:principalisawsservice": "false"}


def _pattern(key: str) -> str:
    """aws:ResourceTag/team -> aws:resourcetag/*, to compare with the reference, which has ${TagKey} or tag-key there."""
    if key.lower().startswith("kms:encryptioncontext:"):
        return "kms:encryptioncontext:*"
    return re.sub(r"/(?!type$|allowrotation).*$", "/*", key.lower())


def supplied(check: Check) -> set[str]:
    """The service's and tag keys that AWS supplies for this action on this resource type."""
    action = entry(check.service, check.name)
    on = action.get("on", {})
    types = REFERENCE[check.service]["types"].get(check.kind, {}).get("keys", [])
    return {
        _pattern(key)
        for key in [*action.get("keys", []), *on.get(check.kind, []), *on.get(f"{check.kind}?", []), *types]
    }


_ALL = {_pattern(key) for service in REFERENCE.values() for key in service["keys"]}


def value(check: Check, key: str) -> Any:
    """What AWS would have for a service's or a tag's condition key here; None when the request does not carry it.
    Raises Unknown.
    """
    name, pattern = key.lower(), _pattern(key)
    if name in check.extra:
        return check.extra[name]
    for prefix in REQUEST_TAGS:
        if name.startswith(prefix):
            wanted = name[len(prefix) :]
            if pattern not in supplied(check):
                return None
            return next((v for k, v in request_tags(check.request, check.kind).items() if k.lower() == wanted), None)
    for prefix, kind in RESOURCE_TAGS.items():
        if name.startswith(prefix):
            wanted = name[len(prefix) :]
            if (pattern not in supplied(check)) or (kind and kind != check.kind):
                return None
            unnamed = check.resource.endswith("*")
            found = check.request.made if unnamed else tags.of(check.resource.removesuffix(":log-stream:"))
            return next((v for k, v in found.items() if k.lower() == wanted), None)
    if name == "aws:tagkeys":
        return tag_keys(check.request, check.kind) or None if pattern in supplied(check) else None
    if check.request.via and name in ("aws:calledvia", "aws:calledviafirst", "aws:calledvialast"):
        return [check.request.via] if name == "aws:calledvia" else check.request.via
    if check.request.via and name == "aws:viaawsservice":
        return "true"
    if name in FIXED:
        return FIXED[name]
    if name in ABSENT:
        return None
    if name.startswith("aws:"):
        raise Unknown(f"the condition key {key} is not known to the emulated account (for {check.action})")
    if pattern not in _ALL:
        raise Unknown(
            f"the condition key {key} does not exist in AWS's service authorization reference (for {check.action})"
        )
    if pattern not in supplied(check):
        return None  # as AWS: the key is not part of this action's context
    if pattern == "kms:encryptioncontext:*":
        pairs = (check.request.given.get("EncryptionContext") or {}).items()
        return next((v for k, v in pairs if k.lower() == name.removeprefix("kms:encryptioncontext:")), None)
    compute = KEYS.get(name)
    if compute is None:
        raise Unknown(f"the condition key {key} is not computed by the emulated account (for {check.action})")
    return compute(check)
