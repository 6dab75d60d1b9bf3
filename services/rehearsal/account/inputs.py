"""Requests checked as AWS checks them before anything happens: by the service models (wire.py) - required members,
types, enums, patterns, lengths, ranges - and by the rules that the models do not hold (rules.py). In the code and words
of each service.

AWS authorises first: a call that policies deny is not looked at here. Unknown members are ignored, as AWS's JSON and
query services do; EC2 refuses them. `check` is for what reaches a service without HTTP (CloudFormation).

What a refusal's sentence says beyond its code is AWS's where it is known; for EC2 and RDS it follows their documented
error codes.
"""

import json
import logging
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

from account import faults, rules, wire
from account.rules import Refused

log = logging.getLogger("rehearsal")

SERVICES = {  # ministack's name: IAM's prefix
    "application-autoscaling": "application-autoscaling",
    "cloudformation": "cloudformation",
    "cloudtrail": "cloudtrail",
    "ec2": "ec2",
    "ecr": "ecr",
    "ecs": "ecs",
    "elasticloadbalancing": "elasticloadbalancing",
    "events": "events",
    "iam": "iam",
    "kms": "kms",
    "logs": "logs",
    "monitoring": "cloudwatch",
    "rds": "rds",
    "secretsmanager": "secretsmanager",
    "servicediscovery": "servicediscovery",
    "servicequotas": "servicequotas",
    "sqs": "sqs",
    "ssm": "ssm",
    "sts": "sts",
    "tagging": "tag",
}
CODES = {  # of what a service's validator refuses
    "application-autoscaling": "ValidationException",
    "cloudformation": "ValidationError",
    "cloudtrail": "ValidationException",
    "cloudwatch": "ValidationError",
    "ecr": "InvalidParameterException",
    "ecs": "InvalidParameterException",
    "elasticloadbalancing": "ValidationError",
    "events": "ValidationException",
    "iam": "ValidationError",
    "kms": "ValidationException",
    "logs": "InvalidParameterException",
    "secretsmanager": "ValidationException",
    "servicediscovery": "InvalidInput",
    "servicequotas": "IllegalArgumentException",
    "sqs": "InvalidParameterValue",
    "ssm": "ValidationException",
    "sts": "ValidationError",
    "tag": "InvalidParameterException",
}
# ECS: what is wrong with a task definition is a ClientException.
CLIENT = {
    "DeregisterTaskDefinition",
    "DescribeTaskDefinition",
    "RegisterTaskDefinition",
}
# Members that have a code of their own:
# https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
OWN_CODES = {
    ("cloudtrail", "lookupAttributes"): "InvalidLookupAttributesException",
    ("cloudtrail", "maxResults"): "InvalidMaxResultsException",
}
# Members for which the model allows less than AWS does, or what our parts refuse in AWS's own words.
LEFT = {
    ("cloudtrail", "LookupEvents", "maxResults"),
    ("ecs", "DescribeServices", "services"),
    ("ecs", "RegisterTaskDefinition", "containerDefinitions"),
    ("ecs", "RegisterTaskDefinition", "family"),
    ("elasticloadbalancing", "CreateLoadBalancer", "name"),
    ("elasticloadbalancing", "CreateTargetGroup", "name"),
    ("sts", "AssumeRole", "sourceIdentity"),
}


@dataclass
class Problem:
    kind: str  # null, enum, shortest, longest, pattern, lowest, highest, type
    path: str  # as the request spells it: `Tags.1.Key`
    shape: Any
    value: Any = None
    bound: Any = None


# ---------------------------------------------------------------- against the model


@cache
def _category(letter: str) -> str:
    """The characters of a Unicode category as ranges for a character class."""
    ranges, start = [], None
    for code in range(0x10000):
        inside = unicodedata.category(chr(code))[0] == letter
        if inside and start is None:
            start = code
        if not inside and start is not None:
            ranges.append((start, code - 1))
            start = None
    text = "".join(f"\\u{low:04x}-\\u{high:04x}" for low, high in ranges)
    return text + ("\\U00010000-\\U000e0fff" if letter in "LMNS" else "")


@cache
def _pattern(text: str) -> re.Pattern | None:
    """A model's pattern, which is Java's, in Python's words; None for one that cannot be said in them."""
    own = text.replace("\\uD800\\uDC00-\\uDBFF\\uDFFF", "\\U00010000-\\U0010ffff")
    own = own.replace("\\u10000-\\u10FFFF", "\\U00010000-\\U0010ffff").replace("[\\w-", "[\\w\\-")
    own = re.sub(r"(?<!\[)\\p\{Print\}", r"[\\x20-\\x7e]", own)
    own = re.sub(r"\\p\{([LMNPSZ])\}", lambda found: _category(found[1]), own)
    try:
        return re.compile(own, re.ASCII)
    except re.error:
        log.warning("a pattern that is not checked: %s", text)
        return None


def problems(shape, value: Any, path: str = "", found: list[Problem] | None = None) -> list[Problem]:
    """All that a value violates, in the model's order."""
    found = [] if found is None else found
    kind = shape.type_name
    expected = {
        "structure": dict,
        "list": list,
        "map": dict,
        "string": str,
        "integer": int,
        "long": int,
        "boolean": bool,
        "float": (int, float),
        "double": (int, float),
    }.get(kind)
    if kind in ("integer", "long") and isinstance(value, float) and value.is_integer():
        value = int(value)
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and kind != "boolean")):
        found.append(Problem("type", path, shape, value))
        return found
    if kind == "structure":
        if getattr(shape, "is_document_type", False):
            return found
        for name in shape.required_members:
            if value.get(name) is None:
                found.append(Problem("null", f"{path}.{name}" if path else name, shape.members[name]))
        for name, one in value.items():
            if one is not None and name in shape.members:
                problems(shape.members[name], one, f"{path}.{name}" if path else name, found)
        return found
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if kind in ("list", "map", "string", "blob"):
        if low is not None and len(value) < low:
            found.append(Problem("shortest", path, shape, value, low))
        if high is not None and len(value) > high:
            found.append(Problem("longest", path, shape, value, high))
    elif kind in ("integer", "long", "float", "double"):
        if low is not None and value < low:
            found.append(Problem("lowest", path, shape, value, low))
        if high is not None and value > high:
            found.append(Problem("highest", path, shape, value, high))
    if kind == "list":
        for n, one in enumerate(value, 1):
            problems(shape.member, one, f"{path}.{n}", found)
    elif kind == "map":
        for key, one in value.items():
            problems(shape.key, key, f"{path}.key", found)
            problems(shape.value, one, f"{path}.{key}", found)
    elif kind == "string":
        if getattr(shape, "enum", None) and value not in shape.enum:
            found.append(Problem("enum", path, shape, value, shape.enum))
        text = shape.metadata.get("pattern")
        pattern = _pattern(text) if text else None
        if pattern and not pattern.fullmatch(value):
            found.append(Problem("pattern", path, shape, value, text))
    return found


# ---------------------------------------------------------------- in each service's words


def _lower(path: str) -> str:
    """`Tags.1.Key` as validators write it: `tags.1.member.key`."""
    parts = [part[:1].lower() + part[1:] for part in path.split(".")]
    return ".".join(f"{part}.member" if part.isdigit() and n + 1 < len(parts) else part for n, part in enumerate(parts))


def _constraint(problem: Problem) -> str:
    return {
        "null": "not be null",
        "enum": f"satisfy enum value set: [{', '.join(problem.bound) if problem.kind == 'enum' else ''}]",
        "shortest": f"have length greater than or equal to {problem.bound}",
        "longest": f"have length less than or equal to {problem.bound}",
        "pattern": f"satisfy regular expression pattern: {problem.bound}",
        "lowest": f"have value greater than or equal to {problem.bound}",
        "highest": f"have value less than or equal to {problem.bound}",
    }[problem.kind]


def _sensitive(problem: Problem) -> bool:
    return bool(problem.shape.metadata.get("sensitive")) or problem.path.rpartition(".")[2].lower() in wire.SECRET


def _shown(problem: Problem) -> str:
    """The value in a sentence; a sensitive one is left out."""
    if problem.kind == "null":
        return "Value null "
    if _sensitive(problem):
        return "Value "
    value = problem.value
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
    return f"Value '{text}' "


def sentence(found: list[Problem]) -> str:
    """As most of AWS's services write it."""
    each = "; ".join(
        f"{_shown(one)}at '{_lower(one.path)}' failed to satisfy constraint: Member must {_constraint(one)}"
        for one in found
    )
    return f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: {each}"


_SENT = {bool: lambda value: "TRUE_VALUE" if value else "FALSE_VALUE", str: lambda _: "STRING_VALUE"}
_WANTED = {
    "string": "a String",
    "integer": "an Integer",
    "long": "a Long",
    "boolean": "a Boolean",
    "float": "a Float",
    "double": "a Double",
}


def _serialization(problem: Problem) -> Refused:
    """What a JSON service cannot read at all."""
    if isinstance(problem.value, dict):
        message = "Start of structure or map found where not expected."
    elif isinstance(problem.value, list):
        message = "Start of list found where not expected"
    elif problem.shape.type_name in ("list", "structure", "map"):
        message = "Expected list or null" if problem.shape.type_name == "list" else "Expected structure or map or null"
    else:
        sent = _SENT.get(type(problem.value), lambda _: "NUMBER_VALUE")(problem.value)
        message = f"{sent} can not be converted to {_WANTED[problem.shape.type_name]}"
    return Refused("SerializationException", message)


def _ec2(problem: Problem) -> Refused:
    name = problem.path
    if problem.kind == "null":
        name = wire.form_name(name.rpartition(".")[2], problem.shape, True)
        return Refused("MissingParameter", f"The request must contain the parameter {name}")
    why = {
        "lowest": f" Expecting a value greater than {problem.bound}.",
        "highest": f" Expecting a value less than or equal to {problem.bound}.",
        "type": f" Expected type: {problem.shape.type_name}.",
    }.get(problem.kind, "")
    return Refused("InvalidParameterValue", f"Value ({problem.value}) for parameter {name} is invalid.{why}")


def _rds(problem: Problem) -> Refused:
    if problem.kind == "null":
        return Refused("MissingParameter", f"The request must contain the parameter {problem.path}")
    if _sensitive(problem):
        return Refused("InvalidParameterValue", f"The parameter {problem.path} is not valid.")
    return Refused("InvalidParameterValue", f"Invalid value {problem.value} for {problem.path}.")


def _ecr(problem: Problem) -> Refused:
    must = _constraint(problem).replace("pattern: ", "'") + ("'" if problem.kind == "pattern" else "")
    return Refused(
        CODES["ecr"], f"Invalid parameter at '{_lower(problem.path)}' failed to satisfy constraint: 'must {must}'"
    )


def refusal(service: str, action: str, found: list[Problem], how: str) -> Refused:
    """One refusal for all that a request violates."""
    wrong = next((one for one in found if one.kind == "type"), None)
    if wrong and how not in ("query", "ec2"):
        return _serialization(wrong)
    if service == "ec2":
        return _ec2(found[0])
    if service == "rds":
        return _rds(found[0])
    if wrong:
        value = "" if _sensitive(wrong) else f": {wrong.value}"
        return Refused("MalformedInput", f"Unexpected value for {wrong.path}{value}")
    if service == "ecr":
        return _ecr(found[0])
    if service == "sqs" and found[0].kind == "null":
        return Refused("MissingParameter", f"The request must contain the parameter {found[0].path}.")
    if service == "sqs" and found[0].kind == "enum":
        return Refused("InvalidAttributeName", f"Unknown Attribute {found[0].value}.")
    code = "ClientException" if service == "ecs" and action in CLIENT else CODES[service]
    code = OWN_CODES.get((service, _lower(found[0].path).partition(".")[0]), code)
    return Refused(code, sentence(found))


# ---------------------------------------------------------------- the way in


def _check(service: str, action: str, model, given: dict, how: str, unknown: list[str]) -> None:
    if how == "ec2" and unknown:
        raise Refused("UnknownParameter", f"The parameter {unknown[0]} is not recognized")
    found = problems(model.input_shape, given) if model.input_shape is not None else []
    found = [one for one in found if one.kind == "type" or (service, action, _lower(one.path)) not in LEFT]
    if found:
        raise refusal(service, action, found, how)
    rules.check(service, action, given)


def check(service: str, action: str, given: dict) -> None:
    """The same for a call in process, its parameters as the model names and types them. Raises Refused."""
    model = wire.operation(service, action)
    if model is not None:
        _check(service, action, model, given, model.service_model.metadata.get("protocol", "json"), [])


def _action(headers: dict[str, str], path: str, body: bytes, query: dict) -> str:
    target = headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2]
    if "/operation/" in path:
        return path.rpartition("/")[2]
    found = re.search(rb"(?:^|&)Action=([A-Za-z0-9]+)", body)
    if found:
        return found[1].decode()
    value = query.get("Action", "")
    return value[0] if isinstance(value, list) and value else str(value)


def refused(service: str, path: str, headers: dict[str, str], body: bytes, query: dict) -> tuple | None:
    """The answer to a request that AWS would refuse; None for one that may pass."""
    action = _action(headers, path, body, query)
    model = wire.operation(service, action) if action else None
    if model is None:
        return None  # what there is none of, the service's own handler refuses
    try:
        try:
            given, unknown = wire.read(model, headers, body, query)
        except wire.Malformed as error:
            raise Refused("SerializationException", str(error)) from None
        _check(service, action, model, given, wire.protocol(model, headers), unknown)
    except Refused as error:
        kind, text = faults.body_of(service, headers, error.code, str(error))
        answer = {"Content-Type": kind, "x-amzn-errortype": error.code}
        if kind.endswith("cbor"):
            answer["smithy-protocol"] = "rpc-v2-cbor"
        return error.status, answer, text
    return None


# ---------------------------------------------------------------- what stacks make

STACKS = {  # resource type: service, action that makes it, properties that the action calls otherwise
    "AWS::EC2::SecurityGroup": ("ec2", "CreateSecurityGroup", {"GroupDescription": "Description"}),
    "AWS::ECR::Repository": ("ecr", "CreateRepository", {}),
    "AWS::ECS::Cluster": ("ecs", "CreateCluster", {}),
    "AWS::ECS::Service": ("ecs", "CreateService", {}),
    "AWS::ECS::TaskDefinition": ("ecs", "RegisterTaskDefinition", {}),
    "AWS::ElasticLoadBalancingV2::Listener": ("elasticloadbalancing", "CreateListener", {}),
    "AWS::ElasticLoadBalancingV2::ListenerRule": ("elasticloadbalancing", "CreateRule", {}),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("elasticloadbalancing", "CreateLoadBalancer", {}),
    "AWS::ElasticLoadBalancingV2::TargetGroup": ("elasticloadbalancing", "CreateTargetGroup", {}),
    "AWS::IAM::ManagedPolicy": ("iam", "CreatePolicy", {"ManagedPolicyName": "PolicyName"}),
    "AWS::IAM::Role": ("iam", "CreateRole", {}),
    "AWS::Logs::LogGroup": ("logs", "CreateLogGroup", {}),
    "AWS::RDS::DBInstance": ("rds", "CreateDBInstance", {"VPCSecurityGroups": "VpcSecurityGroupIds"}),
    "AWS::RDS::DBSubnetGroup": ("rds", "CreateDBSubnetGroup", {}),
    "AWS::SecretsManager::Secret": ("secretsmanager", "CreateSecret", {}),
    "AWS::ServiceDiscovery::PrivateDnsNamespace": ("servicediscovery", "CreatePrivateDnsNamespace", {}),
    "AWS::ServiceDiscovery::Service": ("servicediscovery", "CreateService", {}),
}


def _from_property(shape, value: Any) -> Any:
    """A property as the action's member: templates spell names with a capital and numbers as text, and write policy
    documents out.
    """
    kind = shape.type_name
    if kind == "structure" and isinstance(value, dict):
        members = {name.lower(): name for name in shape.members}
        named = {members[name.lower()]: one for name, one in value.items() if name.lower() in members}
        return {name: _from_property(shape.members[name], one) for name, one in named.items() if one is not None}
    if kind == "list" and isinstance(value, list):
        return [_from_property(shape.member, one) for one in value]
    if kind == "map" and isinstance(value, list) and all(isinstance(one, dict) and "Key" in one for one in value):
        return {one["Key"]: one.get("Value", "") for one in value}  # tags
    if kind == "string" and isinstance(value, dict | list):
        return json.dumps(value)
    if kind == "string" and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if kind in ("integer", "long") and isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    return value


def check_resource(resource_type: str, properties: dict) -> None:
    """What the service would refuse of a stack's resource. Raises Refused. Members that are missing are
    CloudFormation's to name or to demand; tags that begin with aws: are its own.
    """
    service, action, renamed = STACKS[resource_type]
    if isinstance(properties.get("Tags"), list):
        own = [tag for tag in properties["Tags"] if not str(tag.get("Key", "")).startswith("aws:cloudformation:")]
        properties = {**properties, "Tags": own}
    model = wire.operation(service, action)
    filled = {renamed.get(name, name): one for name, one in properties.items() if one not in ([], {})}
    given = _from_property(model.input_shape, filled)
    found = [one for one in problems(model.input_shape, given) if one.kind not in ("null", "type")]
    found = [one for one in found if (service, action, _lower(one.path)) not in LEFT]
    if found:
        raise refusal(service, action, found, model.service_model.metadata.get("protocol", "json"))
    if resource_type == "AWS::Logs::LogGroup" and properties.get("RetentionInDays"):
        rules.check("logs", "PutRetentionPolicy", {"retentionInDays": int(properties["RetentionInDays"])})
    if resource_type == "AWS::IAM::Role":
        documents = [one.get("PolicyDocument") for one in properties.get("Policies") or []]
        rules.inline_size(properties.get("RoleName", ""), documents)
        for one in documents:
            rules.resources(one)
    rules.check_tags(service, given)
    if resource_type.startswith("AWS::IAM::"):
        rules.check(service, action, given)


def _stacks() -> None:
    from ministack.services.cloudformation import provisioners

    kinds = provisioners._RESOURCE_HANDLERS

    def checked(resource_type: str, create):
        def call(logical_id, properties, stack_name, *more, **named):
            try:
                check_resource(resource_type, properties)
            except Refused as error:
                raise ValueError(f"{error} (Service: {resource_type.split('::')[1]}, {error.code})") from None
            return create(logical_id, properties, stack_name, *more, **named)

        return call

    for resource_type in STACKS:
        if resource_type in kinds:
            own = kinds[resource_type]
            kinds[resource_type] = {**own, "create": checked(resource_type, own["create"])}


def install() -> None:
    from ministack import app

    def checked(service: str, inner):
        async def handle(method, path, headers, body, query_params):
            answer = refused(service, path, headers, body, query_params)
            return answer if answer is not None else await inner(method, path, headers, body, query_params)

        return handle

    for name, service in SERVICES.items():
        inner = app.SERVICE_HANDLERS.get(name)
        if inner is not None:
            app.SERVICE_HANDLERS[name] = checked(service, inner)
    _stacks()


def reset() -> None:
    pass


def stop() -> None:
    pass
