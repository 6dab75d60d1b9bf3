"""With whose rights CloudFormation acts: those of who asked for the stack's change, or of the role that the stack was
given. Each resource is authorised as the calls that the handler of its type makes (stackrights.json), on the resource
and with its tags.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html
"""

import contextvars
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from account import identities, policy, rights, tags, trail
from account.authorization import Request

CLOUDFORMATION = "cloudformation.amazonaws.com"
TABLE: dict[str, dict[str, list[str]]] = json.loads((Path(__file__).parent / "stackrights.json").read_text())["types"]
# Fn::GetAZs asks EC2, too:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-getavailabilityzones.html
ZONES = ("ec2:DescribeAvailabilityZones", "ec2:DescribeAccountAttributes", "ec2:DescribeSubnets")
# Who may use a role that a handler passes on.
PASSED_TO = {"AWS::EC2::FlowLog": "vpc-flow-logs.amazonaws.com", "AWS::Lambda::Function": "lambda.amazonaws.com"}
PASSED = {"AWS::EC2::FlowLog": "DeliverLogsPermissionArn", "AWS::Lambda::Function": "Role"}
# Services that are not called what their prefix is, in the words of CloudFormation's refusals.
SHOWN = {
    "application-autoscaling": "ApplicationAutoScaling",
    "ec2": "Ec2",
    "ecs": "AmazonECS",
    "elasticloadbalancing": "ElasticLoadBalancingV2",
    "iam": "Iam",
    "lambda": "Lambda",
    "logs": "CloudWatchLogs",
    "rds": "Rds",
    "route53": "Route53",
    "s3": "S3",
    "servicediscovery": "ServiceDiscovery",
    "ssm": "Ssm",
}
_JSON = {"application-autoscaling", "ecs", "logs", "servicediscovery", "ssm"}  # refuse with 400, the others with 403
_TAGS_IT = ("Create", "Allocate", "Tag", "AddTags", "RegisterScalableTarget")


@dataclass
class Actor:
    key: str  # access key of who asked
    account: str
    role: str = ""  # ARN of the role that CloudFormation uses instead


_actor: contextvars.ContextVar[Actor | None] = contextvars.ContextVar("rehearsal_actor", default=None)
_zones: contextvars.ContextVar[frozenset[str]] = contextvars.ContextVar("rehearsal_zones", default=frozenset())
# (account, region, stack) -> role: once given it is used for all that is done to the stack.
_roles: dict[tuple[str, str, str], str] = {}


def acting() -> Actor | None:
    """Who has a stack changed just now."""
    return _actor.get()


def begin(stack_name: str, template: dict | None) -> None:
    """An operation on a stack: from here on the actor is who asked for it, or the stack's role."""
    from ministack.core.responses import get_account_id, get_region

    actor = _actor.get()
    if actor is not None:
        role = _roles.get((get_account_id(), get_region(), stack_name), "")
        _actor.set(Actor(actor.key, actor.account, role))
    resources = (template or {}).get("Resources", {})
    _zones.set(frozenset(name for name, one in resources.items() if "Fn::GetAZs" in json.dumps(one, default=str)))


def _principal(actor: Actor) -> tuple[Any, list]:
    """(principal, layers); (None, []) for root."""
    from ministack.core import iam_evaluator
    from ministack.services import iam

    if actor.role:
        name = actor.role.rpartition("/")[2]
        policies = identities.of_role(name, actor.account)
        principal = iam_evaluator.PrincipalInfo(
            arn=f"arn:aws:sts::{actor.account}:assumed-role/{name}/AWSCloudFormation",
            type="AssumedRole",
            account=actor.account,
            policies=policies,
            limits=identities.boundary(iam._roles, name, actor.account),
        )
        return principal, policy.layers_of("", actor.account, principal)
    principal = iam_evaluator.resolve_principal(actor.key, actor.account)
    if isinstance(principal, iam_evaluator.AuthError):
        raise ValueError(principal.message)
    if principal.policies is None:
        return None, []
    return principal, policy.layers_of(actor.key, actor.account, principal)


def authorise(
    resource_type: str,
    operation: str,
    logical_id: str,
    physical_id: str,
    props: dict,
    stack_name: str,
    old: dict | None = None,
) -> None:
    """ValueError, in CloudFormation's words, when the actor may not make one of the handler's calls."""
    from ministack.core.responses import get_region

    actor = _actor.get()
    if actor is None:
        return
    principal, layers = _principal(actor)
    root = principal is None
    if resource_type not in TABLE and not _custom(resource_type):
        if root or resource_type.startswith("AWS::CloudFormation::"):
            return
        raise ValueError(f"stackrights.json does not say what CloudFormation calls for {resource_type}: add it")
    region = get_region()
    arns = _arns(resource_type, logical_id, physical_id, props, stack_name, region, actor.account)
    wanted = _calls(resource_type, operation, props, old)
    if operation == "create" and logical_id in _zones.get():
        wanted = [*((action, {}) for action in ZONES), *wanted]
    for action, extra in wanted:
        service, _, name = action.partition(":")
        given = {key: value for key, value in props.items() if key != "Tags"} | extra
        if resource_type == "AWS::IAM::ManagedPolicy":
            given["PolicyArn"] = arns["policy"][0]
        if name.startswith(_TAGS_IT):
            given["Tags"] = _request_tags(props)
        made = {} if operation != "create" or name.startswith(_TAGS_IT) else tags._plain(props.get("Tags"))
        request = Request(
            service, name, given, actor.account, region, "" if actor.role else CLOUDFORMATION, arns, made
        )
        to = PASSED_TO.get(resource_type, "")
        if action == "iam:PassRole":
            request.arns = {"role": [props[PASSED[resource_type]]]}
        if root:
            root_arn, resource = f"arn:aws:iam::{actor.account}:root", _first(arns)
            denial = policy.by_organization(actor.account, action, resource)
            why = policy.told(action, resource, denial) if denial else "root"
            _record(request, root_arn, resource, why, "AccessDenied" if denial else "")
            if denial is None:
                continue
            refusal = policy.Refusal(action, root_arn, resource, denial.why)
        else:
            told = _teller(request, principal.arn)
            refusal = policy.refused(request, principal, layers, told, to)
        if refusal is not None:
            status = 400 if service in _JSON else 403
            code = "UnauthorizedOperation" if service == "ec2" else "AccessDenied"
            said = refusal.unknown or refusal.message
            if service == "ec2":
                said = f"You are not authorized to perform this operation. {said}"
            raise ValueError(
                f'Resource handler returned message: "{said} (Service: {SHOWN.get(service, service)}, '
                f'Status Code: {status}, Request ID: {uuid.uuid4()})" '
                f"(RequestToken: {uuid.uuid4()}, HandlerErrorCode: {code})"
            )


def _teller(request: Request, principal: str):
    def tell(check, decision) -> None:
        error = "" if decision.allowed else "AccessDenied"
        why = decision.by if decision.allowed else policy.told(check.action, check.resource, decision)
        _record(request, principal, check.resource, why, error, check.action)

    return tell


def _record(request: Request, principal: str, resource: str, why: str, error: str, action: str = "") -> None:
    service, _, name = (action or f"{request.service}:{request.action}").partition(":")
    session = principal.rpartition("/")[2] if ":assumed-role/" in principal else ""
    trail.record(
        service, name, resource, request.account, request.region, principal, session, CLOUDFORMATION, why, error
    )


def _first(arns: dict[str, list[str]]) -> str:
    return next((arn for found in arns.values() for arn in found), "*")


def _custom(resource_type: str) -> bool:
    return resource_type.startswith("Custom::") or resource_type == "AWS::CloudFormation::CustomResource"


def _request_tags(props: dict) -> list[dict]:
    """Tags as the caller chose them: what CloudFormation adds by itself (aws:…) is nobody's request."""
    return [{"Key": key, "Value": value} for key, value in tags._plain(props.get("Tags")).items() if key[:4] != "aws:"]


def _calls(resource_type: str, operation: str, props: dict, old: dict | None) -> Iterator[tuple[str, dict]] | list:
    if _custom(resource_type):
        return [("lambda:InvokeFunction", {})]
    found = []
    for one in TABLE[resource_type].get(operation, []):
        mark = next((letter for letter in "?+" if letter in one), "")
        action, _, names = one.partition(mark) if mark else (one, "", "")
        if not mark and ":" in one and "-" in (rest := one.partition(":")[2]):
            mark, (name, _, names) = "-", rest.partition("-")
            action = f"{one.partition(':')[0]}:{name}"
        if not mark or _applies(mark, names.split(","), props, old):
            attaches = action in ("iam:AttachRolePolicy", "iam:DetachRolePolicy")
            arns = (props.get("ManagedPolicyArns") if attaches else None) or [""]
            found += [(action, {"PolicyArn": arn} if arn else {}) for arn in arns]
    return found


def _applies(mark: str, names: list[str], props: dict, old: dict | None) -> bool:
    def value(properties: dict, name: str) -> Any:
        if name == "Tags":
            return _request_tags(properties)
        return properties.get(name)

    for name in names:
        now, before = value(props, name), value(old or {}, name)
        if old is None:
            if now:
                return True
        elif mark == "?" and now != before:
            return True
        elif mark == "+" and now and now != before:
            return True
        elif mark == "-" and before and now != before:
            lost = [one for one in before if one not in (now or [])] if isinstance(before, list) else not now
            if lost:
                return True
    return False


def _arns(
    resource_type: str, logical_id: str, physical_id: str, props: dict, stack: str, region: str, account: str
) -> dict[str, list[str]]:
    """Of each kind in the authorization reference, the resources that the handler's calls are about."""
    from ministack.services import ec2
    from ministack.services.cloudformation import provisioners

    service, kind = resource_type.split("::")[1:3] if not _custom(resource_type) else ("", "")

    def arn(prefix: str, resource: str, where: str = region) -> list[str]:
        return [f"arn:aws:{prefix}:{where}:{account}:{resource}"]

    def in_ec2(name: str, identifier: str | None) -> list[str]:
        return arn("ec2", f"{name}/{identifier or '*'}")

    if _custom(resource_type):
        return {"function": [props.get("ServiceToken", "")]}
    if service == "EC2":
        if kind == "EIP":
            physical_id = next((key for key, one in ec2._addresses.items() if one.get("PublicIp") == physical_id), "")
        own = {
            "EIP": "elastic-ip",
            "FlowLog": "vpc-flow-log",
            "InternetGateway": "internet-gateway",
            "NatGateway": "natgateway",
            "RouteTable": "route-table",
            "SecurityGroup": "security-group",
            "Subnet": "subnet",
            "VPC": "vpc",
        }
        found = {own[kind]: in_ec2(own[kind], physical_id)} if kind in own else {}
        named = {
            "VpcId": "vpc",
            "SubnetId": "subnet",
            "RouteTableId": "route-table",
            "InternetGatewayId": "internet-gateway",
            "AllocationId": "elastic-ip",
            "GroupId": "security-group",
        }
        for name, of in named.items():
            if props.get(name):
                found.setdefault(of, in_ec2(of, props[name]))
        if kind == "FlowLog" and props.get("ResourceType") == "VPC":
            found["vpc"] = in_ec2("vpc", props.get("ResourceId"))
        return found
    if service == "ECS":
        name = props.get("ClusterName") or props.get("Cluster") or physical_id
        return {"cluster": arn("ecs", f"cluster/{name.rpartition('/')[2]}")}
    if service == "ElasticLoadBalancingV2":
        name = props.get("Name") or provisioners._physical_name(stack, logical_id, max_len=32)
        if kind == "LoadBalancer":
            mine = [physical_id] if physical_id else arn("elasticloadbalancing", f"loadbalancer/app/{name}/*")
            return {"loadbalancer/app/": mine, "loadbalancer": mine}
        if kind == "TargetGroup":
            mine = [physical_id] if physical_id else arn("elasticloadbalancing", f"targetgroup/{name}/*")
            return {"targetgroup": mine}
        balancer = [props.get("LoadBalancerArn", "")]
        return {"loadbalancer/app/": balancer, "listener/app": [physical_id] if physical_id else []}
    if service == "IAM":
        path = props.get("Path", "/")
        if kind == "Role":
            name = props.get("RoleName") or physical_id or provisioners._physical_name(stack, logical_id, max_len=64)
            return {"role": arn("iam", f"role{path}{name}", "")}
        if kind == "ServiceLinkedRole":
            name = physical_id or "*"
            return {"role": arn("iam", f"role/aws-service-role/{props.get('AWSServiceName')}/{name}", "")}
        name = props.get("ManagedPolicyName") or provisioners._physical_name(stack, logical_id, max_len=128)
        roles = [one for role in props.get("Roles") or [] for one in arn("iam", f"role/{role}", "")]
        mine = [physical_id] if physical_id.startswith("arn:") else arn("iam", f"policy{path}{name}", "")
        return {"policy": mine, "role": roles}
    if service == "Lambda":
        name = props.get("FunctionName") or provisioners._physical_name(stack, logical_id, max_len=64)
        return {"function": arn("lambda", f"function:{name}")}
    if service == "Logs":
        name = props.get("LogGroupName") or physical_id or provisioners._physical_name(stack, logical_id, max_len=512)
        return {"log-group": arn("logs", f"log-group:{name}:log-stream:")}
    if service == "RDS":
        group = kind == "DBSubnetGroup"
        name = props.get("DBSubnetGroupName" if group else "DBInstanceIdentifier") or physical_id or f"{stack}-*"
        return {"subgrp": arn("rds", f"subgrp:{name.lower()}")} if group else {"db": arn("rds", f"db:{name.lower()}")}
    if service == "S3":
        name = props.get("BucketName") or props.get("Bucket") or physical_id or f"{stack}-*"
        return {"bucket": [f"arn:aws:s3:::{name}"]}
    if service == "SSM":
        name = props.get("Name") or physical_id or f"{stack}-*"
        return {"parameter": arn("ssm", f"parameter/{name.lstrip('/')}")}
    if service == "ServiceDiscovery":
        zone = "arn:aws:route53:::hostedzone/*"
        return {"namespace": arn("servicediscovery", f"namespace/{physical_id or '*'}"), "hostedzone": [zone]}
    return {}


def _act() -> None:
    from ministack.core.responses import get_account_id, get_region
    from ministack.core.router import extract_access_key_id
    from ministack.services import cloudformation
    from ministack.services.cloudformation import helpers

    handle = cloudformation.handle_request

    async def handled(method, path, headers, body, query_params):
        given = trail.parameters(headers, body, query_params)
        account = get_account_id()
        _actor.set(Actor(extract_access_key_id(headers, query_params) or "", account))
        name = given.get("StackName", "")
        if name.startswith("arn:"):
            name = name.split("/")[1]
        role = given.get("RoleARN")
        source = f"arn:aws:cloudformation:{get_region()}:{account}:stack/{name}/*"
        if role and not ((record := rights.role(role)) and rights.trusts(record, source, CLOUDFORMATION)):
            return helpers._error("ValidationError", f"Role {role} is invalid or cannot be assumed", 400)
        there = cloudformation._stacks.get(name) or {}
        if given.get("Action") in ("CreateStack", "CreateChangeSet") and (
            there.get("StackStatus", "DELETE_COMPLETE") == "DELETE_COMPLETE"
        ):  # a new stack; the role was that of one before it
            _roles.pop((account, get_region(), name), None)
        if role and name:
            _roles[(account, get_region(), name)] = role
        return await handle(method, path, headers, body, query_params)

    cloudformation.handle_request = handled


def install() -> None:
    _act()


def reset() -> None:
    _roles.clear()


def stop() -> None:
    pass
