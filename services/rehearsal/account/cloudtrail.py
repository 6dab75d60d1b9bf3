"""CloudTrail: the event history that every account has. Each management call becomes a record as AWS writes it, in the
account that made it and in the account whose resource it was, some minutes later; `LookupEvents` finds it.

Records are made when they are first looked at: until then the request is kept as it came, within a limit.
Nothing secret is in a record: wire.redacted takes it out.
"""

import base64
import hashlib
import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from account import clock, durations, events, trail, wire
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import cloudtrail, iam, sts

KEPT = 20_000  # calls, of all accounts together
KEPT_BYTES = 32 << 20
HISTORY_SECONDS = 90 * 86400
PAGE = 50
FIELD_LIMIT = 100 << 10  # bytes of one field, as AWS cuts it

# Data events, which no event history has:
# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html
DATA = {
    "cloudwatch": {"GetMetricData", "GetMetricWidgetImage", "ListMetrics", "PutMetricData"},
    "events": {"PutEvents"},
    "lambda": {"Invoke", "InvokeFunction"},
    "logs": {"PutLogEvents"},
    "s3": {"DeleteObject", "DeleteObjects", "GetObject", "HeadObject", "ListBucket", "ListObjectsV2", "PutObject"},
    "servicediscovery": {"DiscoverInstances", "DiscoverInstancesRevision", "GetInstancesHealthStatus"},
    "sqs": {
        "ChangeMessageVisibility",
        "ChangeMessageVisibilityBatch",
        "DeleteMessage",
        "DeleteMessageBatch",
        "ReceiveMessage",
        "SendMessage",
        "SendMessageBatch",
    },
}
# Rights that are no calls.
ONLY_RIGHTS = {("iam", "PassRole"), ("sts", "SetSourceIdentity"), ("sts", "TagSession")}
READS = ("BatchCheck", "BatchGet", "Describe", "Filter", "Get", "Head", "List", "Lookup", "Search", "Simulate", "Test")
READ_ONLY = {("sts", "AssumeRole"), ("kms", "Decrypt"), ("kms", "Encrypt"), ("kms", "GenerateDataKey")}
SOURCES = {"cloudwatch": "monitoring", "tag": "tagging"}
GLOBAL = {"iam": "us-east-1"}  # a global service's calls are recorded where it lives
# What a member of a request or an answer names, by service; lower case.
TYPES: dict[str, dict[str, str]] = {
    "cloudformation": {"stackname": "AWS::CloudFormation::Stack", "stackid": "AWS::CloudFormation::Stack"},
    "cloudwatch": {"alarmname": "AWS::CloudWatch::Alarm"},
    "ec2": {
        "groupid": "AWS::EC2::SecurityGroup",
        "internetgatewayid": "AWS::EC2::InternetGateway",
        "natgatewayid": "AWS::EC2::NatGateway",
        "routetableid": "AWS::EC2::RouteTable",
        "subnetid": "AWS::EC2::Subnet",
        "vpcendpointid": "AWS::EC2::VPCEndpoint",
        "vpcid": "AWS::EC2::VPC",
    },
    "ecr": {"repositoryname": "AWS::ECR::Repository"},
    "ecs": {
        "cluster": "AWS::ECS::Cluster",
        "clustername": "AWS::ECS::Cluster",
        "service": "AWS::ECS::Service",
        "servicename": "AWS::ECS::Service",
        "task": "AWS::ECS::Task",
        "taskdefinition": "AWS::ECS::TaskDefinition",
        "taskdefinitionarn": "AWS::ECS::TaskDefinition",
    },
    "elasticloadbalancing": {
        "listenerarn": "AWS::ElasticLoadBalancingV2::Listener",
        "loadbalancerarn": "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "rulearn": "AWS::ElasticLoadBalancingV2::ListenerRule",
        "targetgrouparn": "AWS::ElasticLoadBalancingV2::TargetGroup",
    },
    "events": {"rule": "AWS::Events::Rule"},
    "iam": {
        "accesskeyid": "AWS::IAM::AccessKey",
        "policyarn": "AWS::IAM::Policy",
        "policyname": "AWS::IAM::Policy",
        "rolename": "AWS::IAM::Role",
        "username": "AWS::IAM::User",
    },
    "kms": {"keyid": "AWS::KMS::Key"},
    "logs": {"loggroupname": "AWS::Logs::LogGroup"},
    "rds": {
        "dbinstanceidentifier": "AWS::RDS::DBInstance",
        "dbparametergroupname": "AWS::RDS::DBParameterGroup",
        "dbsnapshotidentifier": "AWS::RDS::DBSnapshot",
        "dbsubnetgroupname": "AWS::RDS::DBSubnetGroup",
    },
    "secretsmanager": {"secretid": "AWS::SecretsManager::Secret"},
    "servicediscovery": {
        "namespaceid": "AWS::ServiceDiscovery::Namespace",
        "serviceid": "AWS::ServiceDiscovery::Service",
    },
    "sqs": {"queueurl": "AWS::SQS::Queue"},
    "sts": {"accesskeyid": "AWS::IAM::AccessKey", "rolearn": "AWS::IAM::Role"},
}
# A member called just Name, of a call that makes something.
NAMED = {
    "elasticloadbalancing": {
        "CreateLoadBalancer": "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "CreateTargetGroup": "AWS::ElasticLoadBalancingV2::TargetGroup",
    },
    "events": {"PutRule": "AWS::Events::Rule", "DeleteRule": "AWS::Events::Rule"},
    "secretsmanager": {"CreateSecret": "AWS::SecretsManager::Secret"},
    "servicediscovery": {"CreateService": "AWS::ServiceDiscovery::Service"},
    "ssm": {"PutParameter": "AWS::SSM::Parameter", "DeleteParameter": "AWS::SSM::Parameter"},
}


@dataclass
class Record:
    """A call, as one account sees it."""

    account: str
    region: str
    at: float
    seen_from: float  # LookupEvents shows it from then on
    call: trail.Call
    identity: dict
    read_only: bool
    shared: str  # sharedEventID, '' for a call that concerns one account
    raw: tuple | None  # (request headers, request, answer headers, answer), until `text` is made of it
    size: int
    id: str = field(default_factory=lambda: durations.identifier("cloudtrail.ids"))
    text: str = ""
    named: list[dict] = field(default_factory=list)


_records: deque[Record] = deque()
_bytes = 0


def source(service: str) -> str:
    return f"{SOURCES.get(service, service)}.amazonaws.com"


def _reads(call: trail.Call) -> bool:
    return call.action.startswith(READS) or (call.service, call.action) in READ_ONLY


# ---------------------------------------------------------------- who


def _identity(key: str, call: trail.Call) -> dict:
    """https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html"""
    arn = call.principal
    if not arn.startswith("arn:"):
        return {"type": "AWSService", "invokedBy": call.via or arn}
    account, resource = arn.split(":")[4], arn.split(":", 5)[5]
    invoked = {"invokedBy": call.via} if call.via else {}
    shown = {"accessKeyId": key} if key and key != account else {}
    if resource == "root":
        return {"type": "Root", "principalId": account, "arn": arn, "accountId": account, **shown, **invoked}
    if resource.startswith("assumed-role/"):
        _, name, session_name = resource.split("/", 2)
        session = sts._sessions.get(key) or {}
        role = iam._roles.get_scoped(account, None, name) or {}
        issuer = (session.get("UserId") or f"{role.get('RoleId', 'AROA')}:{session_name}").partition(":")[0]
        since = datetime.fromtimestamp(session.get("IssuedAt", call.at), UTC)
        return {
            "type": "AssumedRole",
            "principalId": f"{issuer}:{session_name}",
            "arn": arn,
            "accountId": account,
            **shown,
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": issuer,
                    "arn": role.get("Arn") or f"arn:aws:iam::{account}:role/{name}",
                    "accountId": account,
                    "userName": name,
                },
                "attributes": {"creationDate": f"{since:%Y-%m-%dT%H:%M:%SZ}", "mfaAuthenticated": "false"},
                **({"sourceIdentity": session["SourceIdentity"]} if session.get("SourceIdentity") else {}),
            },
            **invoked,
        }
    name = resource.rpartition("/")[2]
    user = iam._users.get_scoped(account, None, name) or {}
    return {
        "type": "IAMUser",
        "principalId": user.get("UserId", name),
        "arn": arn,
        "accountId": account,
        **shown,
        "userName": name,
        **invoked,
    }


def _foreign(identity: dict) -> dict:
    """How another account's caller is shown to the owner of the resource."""
    return {
        name: value
        for name, value in {**identity, "type": "AWSAccount"}.items()
        if name in ("type", "principalId", "accountId")
    }


def _owner(call: trail.Call) -> str:
    """The account of what the call acts on."""
    parts = call.resource.split(":")
    if len(parts) >= 6 and parts[4].isdigit() and len(parts[4]) == 12:
        return parts[4]
    if call.service == "sqs" and call.resource.startswith("http"):
        return call.resource.split("/")[-2]
    return call.account


# ---------------------------------------------------------------- what is kept


def _after(
    call: trail.Call, headers: dict[str, str], body: bytes, status: int, answered: dict[str, str], answer: bytes
) -> None:
    global _bytes
    if not call.account or (not call.principal and not call.via) or call.action in DATA.get(call.service, ()):
        return
    if " " in call.action or (call.service, call.action) in ONLY_RIGHTS:  # with a space: a REST path
        return
    read_only = _reads(call)
    found = trail._CREDENTIAL.search(headers.get("authorization", ""))
    identity = _identity(found[1] if found else "", call)
    kept = answer if status >= 400 or not read_only or call.action == "AssumeRole" else b""
    now, region = clock.now(), GLOBAL.get(call.service, call.region)
    owner = _owner(call) if status < 400 else call.account
    accounts = list(dict.fromkeys((call.account, owner)))
    shared = durations.identifier("cloudtrail.ids") if len(accounts) > 1 else ""
    for account in accounts:
        record = Record(
            account=account,
            region=region,
            at=now,
            seen_from=now + durations.seconds("cloudtrail.delivery"),
            call=call,
            identity=identity if account == call.account else _foreign(identity),
            read_only=read_only,
            shared=shared,
            raw=(headers, body, answered, kept),
            size=1024 + len(body) + len(kept),
        )
        _records.append(record)
        _bytes += record.size
        _tell(record)
    while _records and (len(_records) > KEPT or _bytes > KEPT_BYTES):
        _bytes -= _records.popleft().size


def assumed(role_arn: str, session: str, service: str, region: str) -> None:
    """An AWS service took a role, as its trust policy lets it. May be called on any thread."""
    from ministack import app

    account = role_arn.split(":")[4]
    call = trail.Call(clock.now(), account, region, "", session, "sts", "AssumeRole", role_arn, status=200, via=service)
    form = urlencode({"RoleArn": role_arn, "RoleSessionName": session, "DurationSeconds": 3600})
    headers = {"content-type": "application/x-www-form-urlencoded"}
    app._MAIN_LOOP.call_soon_threadsafe(_after, call, headers, form.encode(), 200, {}, b"")


def _tell(record: Record) -> None:
    """EventBridge hears of it where a trail logs:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html
    """
    told = "aws." + source(record.call.service).removesuffix(".amazonaws.com")
    looks = record.call.action.startswith(events.LOOKS)
    if not events.wanted(record.account, record.region, told, events.CALL, looks):
        return
    if _logged(record.account, record.region):
        events.emit(told, events.CALL, [], json.loads(_made(record)), record.account, record.region)


def _logged(account: str, region: str) -> bool:
    return any(
        one.get("IsLogging") and (home == region or one.get("IsMultiRegionTrail"))
        for (owner, home, _), one in cloudtrail._trails.all_items()
        if owner == account
    )


# ---------------------------------------------------------------- the record


def _cased(value: Any, shape=None) -> Any:
    """Members as CloudTrail writes them: first letter small, times as text. Keys of maps stay."""
    if isinstance(value, dict):
        is_map = shape is not None and shape.type_name == "map"
        members = shape.members if shape is not None and shape.type_name == "structure" else {}
        inner = shape.value if is_map else None
        return {
            (name if is_map else name[:1].lower() + name[1:]): _cased(one, members.get(name, inner))
            for name, one in value.items()
        }
    if isinstance(value, list):
        member = shape.member if shape is not None and shape.type_name == "list" else None
        return [_cased(one, member) for one in value]
    if isinstance(value, datetime):
        hour = value.hour % 12 or 12
        return f"{value:%b} {value.day}, {value:%Y} {hour}:{value:%M:%S %p}"
    return value


def _ec2(value: Any, top: bool = True) -> Any:
    """EC2's lists are sets of items, and some members have older names."""
    if isinstance(value, dict):
        return {
            (EC2_NAMES.get(name, name) if top else name): _ec2(
                [{"resourceId": each} for each in one] if top and name == "resources" else one, False
            )
            for name, one in value.items()
        }
    return {"items": [_ec2(one, False) for one in value]} if isinstance(value, list) else value


EC2_NAMES = {
    "resources": "resourcesSet",
    "return": "_return",
    "securityGroupRules": "securityGroupRuleSet",
    "tagSpecifications": "tagSpecificationSet",
    "tags": "tagSet",
}


def _cut(value: Any) -> Any:
    text = json.dumps(value)
    if len(text) <= FIELD_LIMIT:
        return value
    return {"omitted": True, "originalSize": len(text), "reason": "The size of this field exceeds the limit."}


def _objects(value: Any) -> list[dict]:
    """A list's objects: what is refused is recorded too, and need not be a list of them."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _in(record: Record, model, headers: dict[str, str], body: bytes) -> dict | None:
    given = wire.redacted(model, wire.given(model, headers, body, {}))
    call = record.call
    if call.service == "sts" and call.action == "AssumeRole":
        tags = {one.get("Key", ""): one.get("Value") for one in _objects(given.pop("Tags", None))}
        given |= {"PrincipalTags": tags} if tags else {}
        return {name[:1].lower() + name[1:]: value for name, value in given.items()} or None
    if call.service == "cloudformation":
        given.pop("TemplateBody", None)
        if "Parameters" in given:
            given["Parameters"] = [{**one, "ParameterValue": wire.HIDDEN} for one in _objects(given["Parameters"])]
    cased = _cased(given, model.input_shape)
    if call.service == "rds" and "masterUserPassword" in cased:
        cased["masterUserPassword"] = "****"
    return (_ec2(cased) if call.service == "ec2" else cased) or None


def _out(record: Record, model, answered: dict[str, str], answer: bytes, status: int) -> dict | None:
    call = record.call
    if record.read_only and call.action != "AssumeRole":
        return None
    said = wire.answered(model, status, answered, answer)
    made = said.get("Credentials") if call.service == "sts" else None
    cased = _cased(wire.redacted(model, said, answer=True), model.output_shape)
    if made:  # AWS shows which key was made: later calls are found by it
        cased["credentials"] = {
            "accessKeyId": made["AccessKeyId"],
            "sessionToken": wire.HIDDEN,
            "expiration": _cased(made["Expiration"]),
        }
    if call.service == "rds" and isinstance(cased.get("dBInstance"), dict):
        cased = cased["dBInstance"]  # AWS shows what is in it
    return (_ec2(cased) if call.service == "ec2" else cased) or None


def _code(call: trail.Call, model) -> str:
    """An error by its name in the service's model, which is not always the one on the wire; EC2's with whose fault."""
    if call.service == "ec2" and call.error:
        return f"{'Client' if call.status < 500 else 'Server'}.{call.error}"
    shapes = model.error_shapes if model is not None and call.error else []
    return next((one.name for one in shapes if one.metadata.get("error", {}).get("code") == call.error), call.error)


def _made(record: Record) -> str:
    """https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html"""
    global _bytes
    if record.text:
        return record.text
    call = record.call
    headers, body, answered, answer = record.raw or ({}, b"", {}, b"")
    model = wire.operation(call.service, call.action)
    given = said = None
    message = call.why if call.via and call.error else ""
    if model is not None and body:
        given = _in(record, model, headers, body)
    if model is not None and call.status >= 400 and answer:
        error = wire.answered(model, call.status, answered, answer).get("Error") or {}
        message = error.get("Message") or error.get("message") or ""
    elif model is not None and answer:
        said = _out(record, model, answered, answer, call.status)
    service = source(call.service)
    code = _code(call, model)
    host = f"{service.removesuffix('.amazonaws.com')}.{call.region}.amazonaws.com"
    it = {
        "eventVersion": "1.11",
        "userIdentity": record.identity,
        "eventTime": f"{datetime.fromtimestamp(record.at, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": service,
        "eventName": call.action,
        "awsRegion": record.region,
        "sourceIPAddress": call.via or "127.0.0.1",
        "userAgent": call.via or headers.get("user-agent", "")[:1024],
        **({"errorCode": code} if code else {}),
        **({"errorMessage": message[:1024]} if message else {}),
        "requestParameters": _cut(given),
        "responseElements": _cut(said),
        "requestID": answered.get("x-amzn-requestid") or answered.get("x-amz-request-id") or record.id,
        "eventID": record.id,
        "readOnly": record.read_only,
        **_resources_of(record),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": record.account,
        **({"sharedEventID": record.shared} if record.shared else {}),
        "eventCategory": "Management",
        **({} if call.via else {"tlsDetails": {"tlsVersion": "TLSv1.3", "clientProvidedHostHeader": host}}),
    }
    record.text, record.named, record.raw = json.dumps(it), _named(call, given, said), None
    _bytes += (size := 1024 + len(record.text)) - record.size
    record.size = size
    return record.text


def _resources_of(record: Record) -> dict:
    """AWS names resources in the record itself for AssumeRole; here also for what a service did for someone, of which
    no parameters are kept.
    """
    call = record.call
    assumes = (call.service, call.action) == ("sts", "AssumeRole")
    if not (assumes or call.via) or call.resource.count(":") < 5:
        return {}
    kind = {"type": "AWS::IAM::Role"} if assumes else {}
    return {"resources": [{"accountId": call.resource.split(":")[4], **kind, "ARN": call.resource}]}


def _named(call: trail.Call, given: Any, said: Any) -> list[dict]:
    """The resources by which LookupEvents finds it."""
    types, found = TYPES.get(call.service, {}), {}

    def walk(value: Any, depth: int) -> None:
        for name, one in value.items() if isinstance(value, dict) else ():
            kind = types.get(name.lower()) or (name == "name" and NAMED.get(call.service, {}).get(call.action))
            if kind and isinstance(one, str):
                found[(kind, one)] = {"ResourceType": kind, "ResourceName": one}
            elif isinstance(one, dict) and depth < 3:
                walk(one, depth + 1)

    walk(given, 0)
    walk(said, 0)
    return list(found.values())


def _user(record: Record) -> str:
    identity = record.identity
    if identity["type"] == "AssumedRole":
        return identity["arn"].rpartition("/")[2]
    return identity.get("userName") or ("root" if identity["type"] == "Root" else "")


# ---------------------------------------------------------------- LookupEvents


def _matches(record: Record, name: str, value: str) -> bool:
    call = record.call
    if name == "EventName":
        return call.action == value
    if name == "EventSource":
        return source(call.service) == value
    if name == "ReadOnly":
        return str(record.read_only).lower() == value
    if name == "Username":
        return _user(record) == value
    if name == "AccessKeyId":
        return record.identity.get("accessKeyId") == value
    if name == "EventId":
        return record.id == value
    if record.raw and name == "ResourceName" and value.encode() not in record.raw[1] + record.raw[3]:
        if value not in call.resource and "%" not in record.raw[1].decode("latin-1"):
            return False  # not worth reading the request for
    _made(record)
    return any(one[name] == value for one in record.named)


def _refused(code: str, message: str) -> tuple:
    return error_response_json(code, message, 400)


KEYS = {"EventId", "EventName", "ReadOnly", "Username", "ResourceType", "ResourceName", "EventSource", "AccessKeyId"}


def _moment(value: Any) -> float | None:
    return None if value is None else float(value)


def lookup(data: dict) -> tuple:
    """https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html"""
    asked = data.get("LookupAttributes") or []
    if len(asked) > 1 or any(one.get("AttributeKey") not in KEYS for one in asked):
        text = "You can only use one lookup attribute, of the documented keys."
        return _refused("InvalidLookupAttributesException", text)
    size = data.get("MaxResults", PAGE)
    if not isinstance(size, int) or not 1 <= size <= PAGE:
        return _refused("InvalidMaxResultsException", "The value of MaxResults must be between 1 and 50.")
    begin, end = _moment(data.get("StartTime")), _moment(data.get("EndTime"))
    if begin is not None and end is not None and begin > end:
        return _refused("InvalidTimeRangeException", "The start time must not be after the end time.")
    category = data.get("EventCategory")
    if category not in (None, "insight"):
        return _refused("InvalidEventCategoryException", f"{category} is not a category of events here.")
    asking = hashlib.sha256(
        json.dumps({name: value for name, value in data.items() if name != "NextToken"}, sort_keys=True).encode()
    ).hexdigest()[:16]
    before = None
    if data.get("NextToken"):
        try:
            before, its = json.loads(base64.urlsafe_b64decode(data["NextToken"]))
        except (ValueError, TypeError):
            before, its = None, ""
        if its != asking:
            text = "The token is invalid, or was returned for other parameters."
            return _refused("InvalidNextTokenException", text)
    now, account, region = clock.now(), get_account_id(), get_region()
    page: list[Record] = []
    passed = before is None
    for record in reversed(_records):
        if not passed:
            passed = record.id == before
            continue
        if (record.account, record.region) != (account, region) or record.seen_from > now:
            continue
        if record.at < now - HISTORY_SECONDS or category == "insight":
            continue
        if (begin is not None and record.at < int(begin)) or (end is not None and record.at > end):
            continue
        if all(_matches(record, one["AttributeKey"], one["AttributeValue"]) for one in asked):
            page.append(record)
            if len(page) > size:
                break
    more = len(page) > size
    page = page[:size]
    token = base64.urlsafe_b64encode(json.dumps([page[-1].id, asking]).encode()).decode() if more else None
    return json_response({"Events": [_shown(one) for one in page], **({"NextToken": token} if token else {})})


def _shown(record: Record) -> dict:
    text = _made(record)
    key = record.identity.get("accessKeyId")
    name = _user(record)
    return {
        "EventId": record.id,
        "EventName": record.call.action,
        "ReadOnly": str(record.read_only).lower(),
        **({"AccessKeyId": key} if key else {}),
        "EventTime": int(record.at),
        "EventSource": source(record.call.service),
        **({"Username": name} if name else {}),
        "Resources": record.named,
        "CloudTrailEvent": text,
    }


def install() -> None:
    trail.after(_after)
    cloudtrail._DISPATCH["LookupEvents"] = lookup


def reset() -> None:
    global _bytes
    _records.clear()
    _bytes = 0


def stop() -> None:
    pass
