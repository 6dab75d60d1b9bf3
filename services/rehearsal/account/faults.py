"""Faults on purpose, for the calls that match, in the wire shape of the service's protocol.

A fault is a JSON object. Which calls: each of service, action, resource, account that it has must match (action and
resource are regular expressions); it hits from the `nth` matching call on, `times` times, with `probability` (chance
from `seed`), for `forSeconds`. What happens, one of:

  code, status     an error, before the call has any effect or, with `after`, once it has taken effect
  throttle         the error with which this service says that requests come too fast
  down             the whole service is out of order: 503
  cut              the connection ends without an answer; with `after`, once the call has taken effect
  timeout          no answer until the caller gives up; likewise
  hold             the call stands still until it is let go (`DELETE /faults?id=…`), and then goes on as if nothing had
                   been, or until its caller is gone: before it has any effect or, with `after`, once it has taken effect
                   and before it is answered. `GET /faults/held?id=…` answers with the call when there is one
  stale            so many reads are answered as before the last write (or as if nothing were there), then rightly
  suspended        the account is blocked
  deniedByOrganization  actions (`ecs:Create*`) that a service control policy denies

`delaySeconds` waits first, and may be all.
"""

import asyncio
import fnmatch
import itertools
import json
import random
import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from account import control, settings

REST_XML = {"s3", "route53", "cloudfront"}
EFFECTS = (
    "code", "status", "throttle", "down", "cut", "timeout", "hold", "stale", "suspended", "deniedByOrganization",
)  # fmt: skip
HELD_SECONDS = 20  # whoever asks for a held call asks again after so long


def _pattern(value: Any) -> str:
    if not isinstance(value, str):
        return "not a regular expression"
    try:
        re.compile(value)
        return ""
    except re.error as error:
        return f"not a regular expression: {error}"


def _is(kind: type | tuple, words: str, test=lambda value: True):
    return lambda value: (
        "" if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) and test(value) else words
    )


# field -> what is wrong with a value, '' for nothing
FIELDS = {
    "service": _is(str, "not IAM's prefix of a service", bool),
    "action": _pattern,
    "resource": _pattern,
    "account": _is(str, "not an account's twelve digits", lambda value: re.fullmatch(r"\d{12}", value)),
    "nth": _is(int, "not a whole number from 1", lambda value: value >= 1),
    "times": _is(int, "not a whole number from 1", lambda value: value >= 1),
    "probability": _is((int, float), "not between 0 and 1", lambda value: 0 < value <= 1),
    "seed": _is(int, "not a whole number"),
    "forSeconds": _is((int, float), "not a number above 0", lambda value: value > 0),
    "code": _is(str, "not an error code", lambda value: re.fullmatch(r"[A-Za-z0-9.]+", value)),
    "status": _is(int, "not an HTTP error", lambda value: 400 <= value <= 599),
    "message": _is(str, "not a text"),
    "delaySeconds": _is((int, float), "not a number above 0", lambda value: value > 0),
    "after": _is(bool, "neither true nor false"),
    "cut": _is(bool, "neither true nor false"),
    "throttle": _is(bool, "neither true nor false"),
    "down": _is(bool, "neither true nor false"),
    "timeout": _is(bool, "neither true nor false"),
    "hold": _is(bool, "neither true nor false"),
    "stale": _is(int, "not a whole number from 1", lambda value: value >= 1),
    "suspended": _is(bool, "neither true nor false"),
    "deniedByOrganization": _is(
        str, "not an action such as ecs:Create*", lambda value: re.fullmatch(r"\*|[a-z0-9-]+:[\w*?]+", value)
    ),
}


def wrong(asked: Any) -> str:
    """What is wrong with a fault, naming the field; '' for nothing."""
    if not isinstance(asked, dict):
        return "a fault is an object"
    unknown = sorted(set(asked) - set(FIELDS))
    if unknown:
        return f"a fault has no field {', '.join(unknown)}; it has {', '.join(sorted(FIELDS))}"
    for name, value in asked.items():
        why = FIELDS[name](value)
        if why:
            return f"{name}: {why}: {json.dumps(value)}"
    effects = [name for name in EFFECTS if asked.get(name)]
    if not effects and "delaySeconds" not in asked:
        return f"a fault without {', '.join(EFFECTS)} or delaySeconds does nothing"
    if len(effects) > 1 and effects != ["code", "status"]:
        return f"{effects[1]}: a fault has one effect; this one has {effects[0]} already"
    if "down" in effects and "service" not in asked:
        return "service: which one is down?"
    if "suspended" in effects and "account" not in asked:
        return "account: which one is suspended?"
    if "seed" in asked and "probability" not in asked:
        return "seed: chance needs a probability"
    if "after" in asked and not {"code", "status", "cut", "timeout", "hold"} & set(effects):
        return "after: only with code, status, cut, timeout or hold"
    return ""


_ids = itertools.count(1)


@dataclass
class Fault:
    wanted: dict
    id: int = field(default_factory=lambda: next(_ids))
    seen: int = 0
    hits: int = 0
    until: float = float("inf")
    chance: random.Random = field(default_factory=random.Random)
    before: dict = field(default_factory=dict)  # of stale: what each read answered, and after how many writes
    told: dict = field(default_factory=dict)  # of stale: how often a read was answered wrongly since the last write
    held: list = field(default_factory=list)  # of hold: the calls that stand still
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.wanted.get("seed", settings.SEED))
        if "forSeconds" in self.wanted:
            self.until = time.monotonic() + self.wanted["forSeconds"]

    def concerns(self, call) -> bool:
        want = self.wanted
        if time.monotonic() >= self.until:
            return False
        if "service" in want and want["service"] != call.service:
            return False
        if "account" in want and want["account"] != call.account:
            if not (want.get("suspended") and _enters(call, want)):
                return False
        if "action" in want and not re.fullmatch(want["action"], call.action):
            return False
        if "resource" in want and not re.search(want["resource"], call.resource):
            return False
        pattern = want.get("deniedByOrganization")
        return not pattern or fnmatch.fnmatchcase(f"{call.service}:{call.action}".lower(), pattern.lower())

    def matches(self, call) -> bool:
        want = self.wanted
        if want.get("stale") or not self.concerns(call):
            return False
        self.seen += 1
        if self.seen < want.get("nth", 1) or self.hits >= want.get("times", float("inf")):
            return False
        if self.chance.random() >= want.get("probability", 1):
            return False
        self.hits += 1
        return True


def _enters(call, want: dict) -> bool:
    """Whether a call takes a role in the suspended account."""
    return call.service == "sts" and call.action == "AssumeRole" and f"::{want['account']}:" in call.resource


_faults: list[Fault] = []


def body_of(service: str, headers: dict[str, str], code: str, message: str) -> tuple[str, bytes]:
    """(content type, body) of an error in the protocol that the request came in."""
    if "cbor" in headers.get("content-type", "") or "cbor" in headers.get("smithy-protocol", ""):
        return "application/cbor", b"\xa2" + b"".join(_cbor_text(text) for text in ("__type", code, "message", message))
    if headers.get("x-amz-target") or "json" in headers.get("content-type", ""):
        return "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode()
    code, message = (text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for text in (code, message))
    if service == "ec2":
        return "text/xml", (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            "<RequestID>fault</RequestID></Response>"
        ).encode()
    if service in REST_XML:
        return (
            "application/xml",
            f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>fault</RequestId></Error>".encode(),
        )
    if "x-www-form-urlencoded" in headers.get("content-type", ""):
        return "text/xml", (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            "<RequestId>fault</RequestId></ErrorResponse>"
        ).encode()
    return "application/json", json.dumps({"__type": code, "code": code, "message": message}).encode()


def _cbor_text(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) < 24:
        return bytes([0x60 + len(encoded)]) + encoded
    if len(encoded) < 256:
        return bytes([0x78, len(encoded)]) + encoded
    return b"\x79" + len(encoded).to_bytes(2, "big") + encoded


async def answer(send, call, headers: dict[str, str], code: str, status: int, message: str) -> None:
    """An error as the service would say it."""
    kind, body = body_of(call.service, headers, code, message)
    said = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-amzn-requestid", b"fault"),
        (b"x-amzn-errortype", code.encode()),
    ]
    if kind.endswith("cbor"):
        said.append((b"smithy-protocol", b"rpc-v2-cbor"))
    await send({"type": "http.response.start", "status": status, "headers": said})
    await send({"type": "http.response.body", "body": body})


def forbids(account: str, action: str, _resource: str) -> bool:
    """Whether an organization's policy denies this, for what AWS's services do with an account's rights."""
    for fault in list(_faults):
        want = fault.wanted
        pattern = want.get("deniedByOrganization")
        if pattern and want.get("account", account) == account and time.monotonic() < fault.until:
            if fnmatch.fnmatchcase(action.lower(), pattern.lower()):
                return True
    return False


def denied_code(service: str) -> tuple[str, int]:
    """(code, status) with which a service denies."""
    if service == "ec2":
        return "UnauthorizedOperation", 403
    if service in ("elasticloadbalancing", "rds", "iam", "sts", "cloudformation", "s3"):
        return "AccessDenied", 403
    return "AccessDeniedException", 400


def _said(want: dict, call) -> tuple[str, int, str]:
    """(code, status, message) of a fault's error."""
    from account import throttle

    if want.get("throttle"):
        code, status, message = throttle.words(call.service)
    elif want.get("down"):
        code, status, message = "ServiceUnavailable", 503, "Service Unavailable. Please try again later."
        if call.service not in ("ec2", "elasticloadbalancing", "rds", "iam", "sts", "cloudformation", "s3"):
            code = "ServiceUnavailableException"
    elif want.get("suspended"):
        code, status, message = _suspended(want, call)
    elif want.get("deniedByOrganization"):
        code, status = denied_code(call.service)
        message = (
            f"User: {call.principal} is not authorized to perform: {call.service}:{call.action} "
            f"on resource: {call.resource} with an explicit deny in a service control policy"
        )
        if call.service == "ec2":
            message = f"You are not authorized to perform this operation. {message}"
    else:
        status = want.get("status", 400)
        code = want.get("code", "InternalFailure" if status >= 500 else "ValidationException")
        message = f"{code}, on purpose"
    return want.get("code", code), want.get("status", status), want.get("message", message)


def _suspended(want: dict, call) -> tuple[str, int, str]:
    """What an account that is blocked hears. Nobody can take a role in it any more:
    https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_accounts_close.html; each service's own
    code: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html,
    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html,
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html, CommonErrors of all others.
    """
    if _enters(call, want):
        role = f"on resource: {call.resource}"
        return "AccessDenied", 403, f"User: {call.principal} is not authorized to perform: sts:AssumeRole {role}"
    if call.service == "ec2":
        return "Blocked", 401, "Your account is currently blocked. Contact AWS Support if you have questions."
    if call.service == "s3":
        message = "There is a problem with your AWS account that prevents the operation from completing successfully."
        return "AccountProblem", 403, message
    if call.service == "ecs" and call.action == "RunTask":
        return "BlockedException", 400, "Your AWS account was blocked. For more information, contact AWS Support."
    return "OptInRequired", 403, "The AWS Access Key Id needs a subscription for the service"


# ---------------------------------------------------------------- wrong, then right

READ = re.compile(r"(Describe|Get|List|BatchGet|Head|Lookup|Discover).*")
# What a read says of something that is not there (yet): an answer, or (code, status, message).
NOTHING: dict[tuple[str, str], Any] = {
    ("ecs", "DescribeServices"): {"services": [], "failures": []},
    ("ecs", "DescribeTasks"): {"tasks": [], "failures": []},
    ("ecs", "DescribeClusters"): {"clusters": [], "failures": []},
    ("ecs", "ListServices"): {"serviceArns": []},
    ("ecs", "ListTasks"): {"taskArns": []},
    ("ecs", "ListTaskDefinitions"): {"taskDefinitionArns": []},
    ("ecs", "ListServiceDeployments"): {"serviceDeployments": []},
    ("ecs", "DescribeTaskDefinition"): ("ClientException", 400, "Unable to describe task definition."),
    ("logs", "DescribeLogGroups"): {"logGroups": []},
    ("tag", "GetResources"): {"PaginationToken": "", "ResourceTagMappingList": []},
    ("application-autoscaling", "DescribeScalableTargets"): {"ScalableTargets": []},
    ("application-autoscaling", "DescribeScalingPolicies"): {"ScalingPolicies": []},
    ("secretsmanager", "ListSecrets"): {"SecretList": []},
    ("secretsmanager", "DescribeSecret"): (
        "ResourceNotFoundException",
        400,
        "Secrets Manager can't find the specified secret.",
    ),
    ("secretsmanager", "GetSecretValue"): (
        "ResourceNotFoundException",
        400,
        "Secrets Manager can't find the specified secret.",
    ),
    ("servicediscovery", "ListServices"): {"Services": []},
    ("servicediscovery", "ListNamespaces"): {"Namespaces": []},
    ("ecr", "DescribeImages"): ("ImageNotFoundException", 400, "The image does not exist"),
    ("elasticloadbalancing", "DescribeTargetGroups"): (
        "TargetGroupNotFound",
        400,
        "One or more target groups not found",
    ),
    ("elasticloadbalancing", "DescribeLoadBalancers"): (
        "LoadBalancerNotFound",
        400,
        "One or more load balancers not found",
    ),
    ("elasticloadbalancing", "DescribeRules"): ("RuleNotFound", 400, "One or more rules not found"),
    ("rds", "DescribeDBInstances"): ("DBInstanceNotFound", 404, "DBInstance not found."),
    ("rds", "DescribeDBSubnetGroups"): ("DBSubnetGroupNotFoundFault", 404, "DB subnet group not found."),
    ("ec2", "DescribeSecurityGroups"): ("InvalidGroup.NotFound", 400, "The security group does not exist"),
    ("iam", "GetRole"): ("NoSuchEntity", 404, "The role cannot be found."),
}
_writes: dict[tuple[str, str, str], int] = {}  # of an account, region and service, since a fault looks


async def _read_late(fault: Fault, inner, scope, receive, send) -> None:
    """A read under a `stale` fault."""
    call, wanted = scope["rehearsal"], fault.wanted
    read = (call.account, call.region, call.service, call.action, scope["path"], scope["rehearsal_body"])
    writes = _writes.get(read[:3], 0)
    known = fault.before.get(read)
    told = fault.told.get((read, writes), 0)
    fault.seen += 1
    if (known is None or known[0] != writes) and told < wanted["stale"]:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        nothing = NOTHING.get((call.service, call.action)) if known is None else None
        if known is not None or nothing is not None:
            fault.told[(read, writes)] = told + 1
            fault.hits += 1
            if isinstance(nothing, tuple):
                return await answer(send, call, headers, *nothing)
            messages = known[1] if known is not None else _plain(nothing)
            for message in messages:
                await send(message)
            return
    kept: list = []

    async def keep(message):
        kept.append(message)
        await send(message)

    await inner(scope, receive, keep)
    fault.before[read] = (writes, kept)


def _plain(value: dict) -> list:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/x-amz-json-1.1"), (b"content-length", str(len(body)).encode())]
    return [
        {"type": "http.response.start", "status": 200, "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


def wrap(inner):
    async def app(scope, receive, send):
        call = scope.get("rehearsal")
        if call is None or not _faults:
            return await inner(scope, receive, send)
        reads = READ.fullmatch(call.action)
        if not reads:
            place = (call.account, call.region, call.service)
            _writes[place] = _writes.get(place, 0) + 1
        fault = next((one for one in _faults if one.matches(call)), None)
        if fault is None:
            late = next((one for one in _faults if reads and one.wanted.get("stale") and one.concerns(call)), None)
            if late is not None:
                return await _read_late(late, inner, scope, receive, send)
            return await inner(scope, receive, send)
        want = fault.wanted
        if want.get("delaySeconds"):
            await asyncio.sleep(want["delaySeconds"])
        if not any(want.get(name) for name in EFFECTS):
            return await inner(scope, receive, send)
        if want.get("hold"):
            return await _hold(fault, inner, scope, receive, send)
        if want.get("after"):

            async def unheard(_message):
                pass

            await inner(scope, receive, unheard)
        if want.get("timeout"):
            call.status, call.error = 0, "timeout"
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if want.get("cut"):  # an answer is promised and never comes: the server closes the connection
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            call.status, call.error = 0, "cut"
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        await answer(send, call, headers, *_said(want, call))

    return app


async def _hold(fault: Fault, inner, scope, receive, send) -> None:
    call, after = scope["rehearsal"], fault.wanted.get("after", False)
    said: list = []

    async def keep(message):
        said.append(message)

    if after:
        await inner(scope, receive, keep)
    else:
        given = await receive()  # the request itself: what comes then is that its caller is gone

        async def replay():
            nonlocal given
            message, given = given, None
            return message if message is not None else await receive()

    fault.held.append(call)
    fault.arrived.set()
    gone, go = asyncio.ensure_future(_gone(receive)), asyncio.ensure_future(fault.released.wait())
    await asyncio.wait((gone, go), return_when=asyncio.FIRST_COMPLETED)
    gone.cancel(), go.cancel()
    fault.held.remove(call)
    if not fault.released.is_set():
        call.status, call.error = 0, "held"
    elif after:
        for message in said:
            await send(message)
    else:
        await inner(scope, replay, send)


async def _gone(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _add(request: control.Request) -> dict:
    asked = request.body if isinstance(request.body, list) else [request.body]
    for one in asked:
        why = wrong(one)
        if why:
            raise ValueError(why)
    added = [Fault(one) for one in asked]
    _faults.extend(added)
    return {**_shown(), "added": [one.id for one in added]}


def _shown() -> dict:
    return {"faults": [{**one.wanted, "id": one.id, "seen": one.seen, "hits": one.hits} for one in _faults]}


def _by_id(request: control.Request) -> Fault:
    asked = request.query.get("id", "")
    for one in _faults:
        if str(one.id) == asked:
            return one
    raise LookupError(f"no fault {asked}")


async def _list(_request: control.Request) -> dict:
    return _shown()


async def _held(request: control.Request) -> dict:
    """The calls that a fault holds; with none, once there is one, or after HELD_SECONDS."""
    fault = _by_id(request)
    if not fault.held:
        fault.arrived.clear()
        try:
            await asyncio.wait_for(fault.arrived.wait(), HELD_SECONDS)
        except TimeoutError:
            pass
    return {"held": [asdict(call) for call in fault.held]}


async def _clear(request: control.Request) -> dict:
    """All of them, or one by its id. What they hold goes on."""
    for one in [_by_id(request)] if "id" in request.query else list(_faults):
        one.released.set()
        _faults.remove(one)
    if not _faults:
        _writes.clear()
    return {}


def install() -> None:
    from account import policy

    policy.organization.append(forbids)
    control.route("POST", "/faults", _add)
    control.route("GET", "/faults", _list)
    control.route("GET", "/faults/held", _held)
    control.route("DELETE", "/faults", _clear)


def reset() -> None:
    for one in _faults:
        one.released.set()
    _faults.clear()
    _writes.clear()


def stop() -> None:
    pass
