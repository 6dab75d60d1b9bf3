"""The call log: every AWS call over HTTP, who made it, on what, how long it took and how it ended. Denied and faulted
ones too.

Of a request only the name, ARN or identifier that it acts on is kept, never a value: secrets and passwords pass
through here.
"""

import asyncio
import contextvars
import json
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from urllib.parse import parse_qs

from account import clock, control

KEPT = 50_000
ANSWER_KEPT = 1 << 20  # of an answer, for who listens; AWS answers no more at a time
log = logging.getLogger("rehearsal")

# Fields that name what a call acts on, most telling first.
NAMES = {
    "application-autoscaling": ("ResourceId", "ResourceIds", "ResourceARN"),
    "cloudformation": ("StackName", "ChangeSetName"),
    "ec2": (
        "GroupId",
        "GroupName",
        "NatGatewayId",
        "SubnetId",
        "VpcId",
        "ResourceId.1",
        "GroupId.1",
        "SubnetId.1",
        "VpcId.1",
    ),
    "cloudtrail": ("Name", "TrailName"),
    "ecr": ("repositoryName", "repositoryNames", "resourceArn"),
    "ecs": (
        "serviceName",
        "service",
        "services",
        "tasks",
        "task",
        "family",
        "familyPrefix",
        "taskDefinition",
        "taskDefinitions",
        "serviceDeploymentArn",
        "serviceDeploymentArns",
        "serviceRevisionArns",
        "resourceArn",
        "clusterName",
        "cluster",
        "clusters",
    ),
    "elasticloadbalancing": (
        "Name",
        "Names.member.1",
        "RuleArn",
        "RuleArns.member.1",
        "TargetGroupArn",
        "TargetGroupArns.member.1",
        "ListenerArn",
        "ListenerArns.member.1",
        "LoadBalancerArn",
        "LoadBalancerArns.member.1",
        "ResourceArns.member.1",
    ),
    "events": ("Name", "Rule", "NamePrefix", "ResourceARN", "EventBusName"),
    "iam": ("RoleName", "UserName", "PolicyArn", "PolicySourceArn", "PolicyName", "AWSServiceName"),
    "lambda": (),
    "logs": ("logGroupName", "logGroupIdentifier", "resourceArn", "logGroupNamePrefix"),
    "rds": (
        "DBInstanceIdentifier",
        "DBSnapshotIdentifier",
        "DBSubnetGroupName",
        "DBParameterGroupName",
        "ResourceName",
    ),
    "secretsmanager": ("SecretId", "Name"),
    "servicediscovery": ("ServiceId", "Id", "Name", "NamespaceId", "ServiceName", "OperationId", "ResourceARN"),
    "sqs": ("QueueUrl", "QueueName", "QueueNamePrefix"),
    "ssm": ("Name", "Names"),
    "sts": ("RoleArn",),
    "tag": ("ResourceARNList",),
}

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d+/([^/]+)/([^/]+)/")
# The caller is not who it says: nothing after it was believed.
_NOT_BELIEVED = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


@dataclass
class Call:
    at: float
    account: str
    region: str
    principal: str
    session: str
    service: str
    action: str
    resource: str
    n: int = 0
    seconds: float = 0
    status: int = 0
    error: str = ""
    why: str = ""  # what allowed or denied it
    via: str = ""  # the AWS service that made it for the principal, '' for a call over HTTP
    checks: list[list[str]] = field(default_factory=list)  # each action that IAM was asked for, and what decided it


Listener = Callable[[Call, dict[str, str], bytes, int, dict[str, str], bytes], None]
_listeners: list[Listener] = []


def after(listener: Listener) -> None:
    """Call it after each call: (call, the request's headers, its body, status, the answer's headers, its body), header
    names in lower case.

    Calls that a service made for someone have no headers and no bodies. It runs on the event loop: it must be quick.
    """
    _listeners.append(listener)


def _tell(call: Call, headers: dict[str, str], body: bytes, answered: dict[str, str], answer: bytes) -> None:
    for listener in _listeners:
        try:
            listener(call, headers, body, call.status, answered, answer)
        except Exception:
            log.exception("after %s:%s", call.service, call.action)


_calls: deque[Call] = deque(maxlen=KEPT)
_next = 1
_order = threading.Lock()  # services act on worker threads
# The call over HTTP that is being answered.
current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("rehearsal_call", default=None)


def _append(call: Call) -> None:
    global _next
    with _order:
        call.n, _next = _next, _next + 1
        _calls.append(call)


def record(
    service: str,
    action: str,
    resource: str,
    account: str,
    region: str,
    principal: str,
    session: str,
    via: str,
    why: str,
    error: str = "",
) -> None:
    """A call that an AWS service made with someone's rights: `via` is the service's principal."""
    from ministack import app

    status = 400 if error else 200
    call = Call(
        clock.now(), account, region, principal, session, service, action, resource or "*",
        status=status, error=error, why=why, via=via, checks=[] if error else [[f"{service}:{action}", why]],
    )  # fmt: skip
    _append(call)
    if not _listeners:
        return
    try:
        asyncio.get_running_loop()
        _tell(call, {}, b"", {}, b"")
    except RuntimeError:
        app._MAIN_LOOP.call_soon_threadsafe(_tell, call, {}, b"", {}, b"")


def parameters(headers: dict[str, str], body: bytes, query: dict[str, list[str]]) -> dict:
    """A request's parameters: JSON as it is, query protocols flat with single values."""
    if body[:1] == b"{":
        try:
            return json.loads(body)
        except ValueError:
            return {}
    flat = {name: values[0] for name, values in query.items()}
    if b"=" in body and "json" not in headers.get("content-type", ""):
        flat.update((name, values[0]) for name, values in parse_qs(body.decode("utf-8", "replace")).items())
    return flat


def named(service: str, path: str, given: dict) -> str:
    """What the call acts on, '*' when it names nothing."""
    for name in NAMES.get(service, ()):
        value = given.get(name)
        if isinstance(value, list):
            value = ",".join(one for one in value if isinstance(one, str))
        if value and isinstance(value, str):  # no name has another type, and who knows what it holds
            return value[:300]
    if service == "s3" or service not in NAMES:
        return path if path != "/" else "*"
    if service == "lambda":
        return "/".join(path.split("/")[3:5]) or "*"
    return "*"


def caller(key: str) -> tuple[str, str, str]:
    """(account, principal ARN, session name) of an access key; empty where it is unknown."""
    from ministack.core.iam_evaluator import AmbiguousAccessKeyError, find_iam_access_key_account
    from ministack.services import iam, sts

    if re.fullmatch(r"\d{12}", key):
        return key, f"arn:aws:iam::{key}:root", ""
    session = sts._sessions.get(key)
    if session is not None:
        arn = session.get("Arn", "")
        return arn.split(":")[4] if arn else "", arn, arn.rpartition("/")[2] if ":assumed-role/" in arn else ""
    try:
        account = find_iam_access_key_account(key) or ""
    except AmbiguousAccessKeyError:
        account = ""
    record = iam._access_keys.get_scoped(account, None, key) if account else None
    if record is None:
        return "", "", ""
    name = record.get("UserName", "")
    user = iam._users.get_scoped(account, None, name) or {}
    return account, user.get("Arn") or f"arn:aws:iam::{account}:user/{name}", ""


def identify(scope: dict, body: bytes) -> Call | None:
    """The AWS call in a request; None when it is something else (a registry, a callback, an unsigned path of
    ministack's own).
    """
    from ministack import app
    from ministack.core import iam_actions, router

    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path, method = scope["path"], scope["method"]
    if path.startswith("/_"):
        return None
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    signed = _CREDENTIAL.search(headers.get("authorization", ""))
    if not signed and "X-Amz-Credential" in query:  # a signed URL
        signed = _CREDENTIAL.search(f"Credential={query['X-Amz-Credential'][0]}")
    if not signed and "x-amz-target" not in headers and "Action" not in query and b"Action=" not in body[:4096]:
        return None
    key, region = signed.group(1, 2) if signed else ("", "us-east-1")
    given = app._routing_params(method, path, headers, body, query)
    service = router.detect_service(method, path, headers, given)
    action = iam_actions.extract_iam_action(service, method, path, headers, body, given) or ""
    prefix, _, name = action.partition(":")
    prefix = prefix or iam_actions.SERVICE_TO_IAM_NAMESPACE.get(service, service)
    account, principal, session = caller(key)
    resource = named(prefix, path, parameters(headers, body, query))
    return Call(clock.now(), account, region, principal, session, prefix, name or f"{method} {path}", resource)


def error_code(headers: list, body: bytes) -> str:
    """AWS's error code in an answer of any protocol."""
    named = dict(headers).get(b"x-amzn-errortype") or dict(headers).get(b"X-Amzn-Errortype")
    if named:
        return named.decode().partition(":")[0]
    text = body.decode("utf-8", "replace")
    found = re.search(r'"(?:__type|code)"\s*:\s*"([^"]+)"', text) or re.search(r"<Code>([^<]+)</Code>", text)
    if found:
        return found[1].rpartition("#")[2].partition(":")[0]
    at = text.find("__type")  # CBOR: the name, then a text of up to 255 bytes
    if at >= 0:
        return "".join(re.findall(r"[A-Za-z]+", text[at + 6 :])[:1])
    return "?"


def wrap(inner):
    """The ASGI application that logs what passes. It reads the request's body once, for the log and for what
    is inside (scope["rehearsal"], scope["rehearsal_body"]).
    """

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return await inner(scope, receive, send)
        chunks, more = [], True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        body, given = b"".join(chunks), False

        async def replay():
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        call = identify(scope, body)
        if call is None:
            return await inner(scope, replay, send)
        started, answer, answer_headers = time.monotonic(), b"", []

        async def watched(message):
            nonlocal answer, answer_headers
            if message["type"] == "http.response.start":
                call.status, answer_headers = message["status"], message.get("headers", [])
            elif len(answer) < ANSWER_KEPT:
                answer += message.get("body", b"")
            await send(message)

        current.set(call)
        try:
            await inner({**scope, "rehearsal": call, "rehearsal_body": body}, replay, watched)
        finally:
            call.seconds = round(time.monotonic() - started, 4)
            if call.status >= 400:
                call.error = error_code(answer_headers, answer[:8192])
                if call.error in _NOT_BELIEVED:
                    call.principal = call.session = ""
            _append(call)
            if _listeners:
                _tell(call, _texts(scope["headers"]), body, _texts(answer_headers), answer)

    return app


def _texts(headers: list) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


async def _read(request: control.Request) -> dict:
    after = int(request.query.get("after", 0))
    with _order:
        kept, last = list(_calls), _next - 1
    rows = kept[max(0, after - kept[0].n + 1) :] if kept else []
    return {"calls": [asdict(call) for call in rows], "next": rows[-1].n if rows else max(after, last)}


async def _clear(_request: control.Request) -> dict:
    _calls.clear()
    return {}


def install() -> None:
    control.route("GET", "/calls", _read)
    control.route("DELETE", "/calls", _clear)


def reset() -> None:
    _calls.clear()


def stop() -> None:
    pass
