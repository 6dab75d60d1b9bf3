"""EventBridge: what AWS's services tell on an account's default bus, and rules that carry it to queues.

ministack keeps buses, rules and targets and has the pattern language. Here: events of AWS's own services (`emit`),
delivery as on AWS (later than the event, without promise of order, at least once, only where the target's policy lets
this rule in, retried, then to the dead-letter queue), and what EventBridge refuses.
"""

import functools
import hashlib
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from account import clock, control, durations, faults, queues, rights, scheduler, trail
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, request_scope
from ministack.services import eventbridge, sqs

PRINCIPAL = "events.amazonaws.com"
KEPT = 2000  # events of AWS's services, for who wants to look
TARGETS = 5  # a rule: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
RULES = 300  # a bus
REQUEST_LIMIT = 256 << 10  # bytes: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html
_recent: deque[dict] = deque(maxlen=KEPT)


class Undelivered(Exception):
    """A target that did not take an event; `again`: EventBridge tries once more."""

    def __init__(self, code: str, message: str, again: bool = False):
        super().__init__(message)
        self.code, self.again = code, again


def emit(
    source: str,
    detail_type: str,
    resources: list[str],
    detail: dict[str, Any],
    account: str | None = None,
    region: str | None = None,
) -> None:
    """An AWS service's event, on the default bus of the account and region (of the request, when not given). May be
    called on any thread and under any lock; nothing is delivered before it returns.
    """
    account, region = account or get_account_id(), region or get_region()
    event = {
        "EventId": durations.identifier("events.ids"),
        "Source": source,
        "DetailType": detail_type,
        "Detail": json.dumps(detail),
        "EventBusName": "default",
        "Time": int(clock.now()),
        "Resources": list(resources),
        "Account": account,
        "Region": region,
    }
    with request_scope(account, region):
        view = eventbridge._pattern_event_view(event)
        _recent.append(view.event_with_detail())
        _dispatch(event, view)


# Calls that only look are for rules that ask for them by their state:
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html
CALL = "AWS API Call via CloudTrail"
LOOKS = ("Describe", "Get", "List")
ALL_CALLS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


def wanted(account: str, region: str, source: str, detail_type: str, looks: bool = False) -> bool:
    """Whether a rule may want such an event: saves making one that nobody reads. Never false where one matches."""
    with request_scope(account, region):
        for rule in list(eventbridge._rules.values()):
            pattern = rule.get("EventPattern")
            if pattern and rule.get("State", "").startswith(ALL_CALLS if looks else "ENABLED"):
                asked = json.loads(pattern)
                if all(
                    any(not isinstance(one, str) or one == value for one in asked.get(name, [value]))
                    for name, value in (("source", source), ("detail-type", detail_type))
                ):
                    return True
    return False


# ---------------------------------------------------------------- delivery


def _dispatch(event: dict, view=None) -> None:
    """To the targets of every rule that matches now, some time later."""
    view = view or eventbridge._pattern_event_view(event)
    account, region = get_account_id(), get_region()
    passed = set(event.get("_DispatchPath") or [])
    looks = event["DetailType"] == CALL and json.loads(event["Detail"]).get("eventName", "").startswith(LOOKS)
    for key, rule in list(eventbridge._rules.items()):
        if rule.get("EventBusName", "default") != event.get("EventBusName", "default") or key in passed:
            continue
        enabled = rule.get("State", "").startswith(ALL_CALLS if looks else "ENABLED")
        if not enabled or not rule.get("EventPattern"):
            continue
        if not eventbridge._matches_pattern_view(rule["EventPattern"], view, f"rule {key}"):
            continue
        for target in list(eventbridge._targets.get(key, [])):
            _later(durations.seconds("events.delivery"), account, region, Delivery(rule, target, event, view))
    log = eventbridge._events_log_list()
    del log[:-KEPT]


class Delivery:
    """One event on its way to one target."""

    def __init__(self, rule: dict, target: dict, event: dict, view):
        self.rule, self.target, self.event, self.view = rule, target, event, view
        self.attempts = 0
        self.began = clock.now()


_current: Delivery | None = None  # what the scheduler's one thread delivers at the moment


def _later(seconds: float, account: str, region: str, delivery: Delivery) -> None:
    scheduler.after(seconds, account, region, functools.partial(_deliver, delivery))


def _deliver(delivery: Delivery) -> None:
    global _current
    _current = delivery
    try:
        eventbridge._invoke_target(delivery.target, delivery.event, delivery.rule, delivery.view)
    finally:
        _current = None


def _to_queue(spec, payload: str, parameters: dict | None = None) -> None:
    delivery = _current
    if delivery is None:
        return
    try:
        _send(delivery, str(spec), payload, parameters or {})
    except Undelivered as failed:
        _failed(delivery, payload, failed)


def _send(delivery: Delivery, arn: str, payload: str, parameters: dict) -> None:
    rule, account, region = delivery.rule, get_account_id(), get_region()
    owner, there = arn.split(":")[4], arn.split(":")[3]
    role = delivery.target.get("RoleArn") or ""
    if there != region:
        raise Undelivered("SDK_CLIENT_ERROR", f"The queue {arn} is in another region than the rule.")
    with request_scope(owner, there):
        queue = sqs._queue_by_arn(arn)
        if queue is None:
            raise Undelivered("NO_RESOURCE", "The specified queue does not exist.")
        why = _role_refused(role, arn, rule["Arn"], region) if owner != account else ""
        if why:
            raise Undelivered("NO_PERMISSIONS", why)
        if owner == account and not sqs.queue_policy_allows(arn, PRINCIPAL, rule["Arn"], account):
            raise Undelivered("NO_PERMISSIONS", f"The policy of {arn} does not let {rule['Arn']} send messages.")
        fault = _fault(account, region, rule, queue)
        if fault is not None and not fault.wanted.get("after"):
            raise _as_failure(fault)
        _add(queue, payload, parameters)
        if fault is not None:
            raise _as_failure(fault)  # it took effect, and is sent again: at least once


def _role_refused(role: str, queue_arn: str, rule_arn: str, region: str) -> str:
    """Another account's queue is reached with a role of the rule's account, which the queue's policy must allow too:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-cross-account.html
    """
    record = rights.role(role) if role else None
    if record is None:
        return "A queue of another account needs an execution role."
    if not rights.trusts(record, rule_arn, PRINCIPAL):
        return f"{role} cannot be assumed by {PRINCIPAL}."
    return rights.denied(role, "EventBridge", "sqs:SendMessage", queue_arn, region, via=PRINCIPAL) or ""


def _fault(account: str, region: str, rule: dict, queue: dict):
    call = trail.Call(clock.now(), account, region, rule["Arn"], "", "sqs", "SendMessage", queue["url"], via=PRINCIPAL)
    fault = next((one for one in faults._faults if one.matches(call)), None)
    return fault if fault and any(name in fault.wanted for name in ("code", "status", "cut")) else None


def _as_failure(fault) -> Undelivered:
    code = fault.wanted.get("code", "InternalFailure")
    throttled = "hrottl" in code or code == "RequestLimitExceeded"
    again = throttled or "cut" in fault.wanted or fault.wanted.get("status", 400) >= 500
    return Undelivered("THROTTLING" if throttled else "ERROR_FROM_TARGET" if again else "SDK_CLIENT_ERROR", code, again)


def _add(queue: dict, payload: str, parameters: dict, attributes: dict[str, str] | None = None) -> None:
    limit = int(queue["attributes"].get("MaximumMessageSize", 1 << 20))
    if len(payload.encode()) > limit:
        raise Undelivered("SDK_CLIENT_ERROR", f"Message must be shorter than {limit} bytes.")
    now = clock.now()
    named = {name: {"StringValue": value, "DataType": "String"} for name, value in (attributes or {}).items()}
    message = {
        "id": durations.identifier("events.ids"),
        "body": payload,
        "md5_body": hashlib.md5(payload.encode()).hexdigest(),
        "receipt_handle": None,
        "sent_at": now,
        "visible_at": now + sqs.queue_delay(queue),
        "receive_count": 0,
        "message_attributes": named,
        "sys": {"SenderId": "AIDAIEVENTS", "SentTimestamp": str(int(now * 1000))},
    }
    with queues.lock:
        if queue.get("is_fifo"):
            queue["fifo_seq"] = queue.get("fifo_seq", 0) + 1
            message |= {
                "group_id": parameters.get("MessageGroupId", ""),
                "dedup_id": hashlib.sha256(payload.encode()).hexdigest(),
                "seq": str(queue["fifo_seq"]).zfill(20),
            }
        sqs._ensure_msg_fields(message)
        queue["messages"].append(message)


def _failed(delivery: Delivery, payload: str, failed: Undelivered) -> None:
    """Once more, if it may help and the retry policy allows it; else to the dead-letter queue, or nowhere:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html and …/eb-rule-dlq.html
    """
    policy = delivery.target.get("RetryPolicy") or {}
    pause = durations.seconds("events.retry") * 2 ** min(delivery.attempts, 10)
    exhausted = ""
    if delivery.attempts >= int(policy.get("MaximumRetryAttempts", 185)):
        exhausted = "MaximumRetryAttempts"
    elif clock.now() + pause - delivery.began > int(policy.get("MaximumEventAgeInSeconds", 86_400)):
        exhausted = "MaximumEventAgeInSeconds"
    if failed.again and not exhausted:
        delivery.attempts += 1
        _later(pause, get_account_id(), get_region(), delivery)
        return
    arn = (delivery.target.get("DeadLetterConfig") or {}).get("Arn")
    queue = sqs._queue_by_arn(arn) if arn else None
    if queue is None or not sqs.queue_policy_allows(arn, PRINCIPAL, delivery.rule["Arn"], get_account_id()):
        return
    told = {
        "RULE_ARN": delivery.rule["Arn"],
        "TARGET_ARN": delivery.target["Arn"],
        "ERROR_CODE": failed.code,
        "ERROR_MESSAGE": str(failed),
    }
    if failed.again:
        told |= {"RETRY_ATTEMPTS": str(delivery.attempts), "EXHAUSTED_RETRY_CONDITION": exhausted}
    _add(queue, json.dumps(delivery.view.event_with_detail()), {}, told)


# ---------------------------------------------------------------- what EventBridge refuses


def _refused(code: str, message: str) -> tuple:
    return error_response_json(code, message, 400)


def _missing(data: dict, name: str = "Rule") -> tuple | None:
    rule, bus = data.get(name, ""), _bus(data)
    if eventbridge._rule_key(rule, bus) in eventbridge._rules:
        return None
    return _refused("ResourceNotFoundException", f"Rule {rule} does not exist on EventBus {bus}.")


def _bus(data: dict) -> str:
    return (data.get("EventBusName") or "default").rpartition("/")[2]


def _rule(data: dict) -> tuple | None:
    if not data.get("EventPattern") and not data.get("ScheduleExpression"):
        return _refused("ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.")
    bus = _bus(data)
    key = eventbridge._rule_key(data.get("Name", ""), bus)
    there = sum(1 for rule in eventbridge._rules.values() if rule.get("EventBusName", "default") == bus)
    if key not in eventbridge._rules and there >= RULES:
        return _refused("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
    return None


def _delete(data: dict) -> tuple | None:
    if eventbridge._targets.get(eventbridge._rule_key(data.get("Name", ""), _bus(data))):
        return _refused("ValidationException", "Rule can't be deleted since it has targets.")
    return None


def _targets(data: dict) -> tuple | None:
    missing = _missing(data)
    if missing:
        return missing
    for target in data.get("Targets", []):
        name, arn = target.get("Id"), target.get("Arn", "")
        if sum(1 for field in ("Input", "InputPath", "InputTransformer") if target.get(field)) > 1:
            text = f"Only one of Input, InputPath, or InputTransformer must be provided for target {name}."
            return _refused("ValidationException", text)
        if arn.endswith(".fifo") and not (target.get("SqsParameters") or {}).get("MessageGroupId"):
            text = f"Parameter(s) MessageGroupId must be specified for target: {name}."
            return _refused("ValidationException", text)
        dead = (target.get("DeadLetterConfig") or {}).get("Arn", "")
        if dead.endswith(".fifo"):
            text = f"Parameter {dead} is not valid. Reason: A dead-letter queue must be a standard queue."
            return _refused("ValidationException", text)
        if dead and dead.split(":")[2:4] != ["sqs", get_region()]:
            text = f"Parameter {dead} is not valid. Reason: A dead-letter queue must be in the rule's region."
            return _refused("ValidationException", text)
    key = eventbridge._rule_key(data["Rule"], _bus(data))
    names = {one["Id"] for one in eventbridge._targets.get(key, [])}
    if len(names | {one.get("Id") for one in data.get("Targets", [])}) > TARGETS:
        return _refused("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
    return None


def _put(inner: Callable) -> Callable:
    """Up to 256 KiB of events in one request; each is taken or refused by itself:
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
    """

    @functools.wraps(inner)
    def call(data: dict, **options) -> tuple:
        entries = data.get("Entries", [])
        if len(entries) > 10:
            return inner(data, **options)
        size = 0
        for entry in entries:
            size += 14 if entry.get("Time") is not None else 0
            size += sum(len(str(entry.get(name) or "").encode()) for name in ("Source", "DetailType", "Detail"))
            size += sum(len(one.encode()) for one in entry.get("Resources") or [])
        if size > REQUEST_LIMIT:
            return _refused("ValidationException", "Total size of the entries in the request is over the limit.")
        results = []
        for entry in entries:
            refused = _entry_refused(entry)
            results += [refused] if refused else json.loads(inner({"Entries": [entry]}, **options)[2])["Entries"]
        failed = sum("ErrorCode" in one for one in results)
        return json_response({"FailedEntryCount": failed, "Entries": results})

    return call


def _entry_refused(entry: dict) -> dict | None:
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            text = f"Parameter {name} is not valid. Reason: {name} is a required argument."
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": text}
    try:
        if isinstance(json.loads(entry["Detail"]), dict):
            return None
    except ValueError:
        pass
    return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}


CHECKS: dict[str, tuple[str, Callable[[dict], tuple | None]]] = {
    "PutRule": ("_put_rule", _rule),
    "DeleteRule": ("_delete_rule", _delete),
    "PutTargets": ("_put_targets", _targets),
    "RemoveTargets": ("_remove_targets", _missing),
    "ListTargetsByRule": ("_list_targets_by_rule", _missing),
    "EnableRule": ("_enable_rule", lambda data: _missing(data, "Name")),
    "DisableRule": ("_disable_rule", lambda data: _missing(data, "Name")),
}


def _checked(name: str, check: Callable[[dict], tuple | None]) -> None:
    inner = getattr(eventbridge, name)

    @functools.wraps(inner)
    def call(data, *rest, **options):
        if data.get("EventBusName", "").startswith("arn:"):
            data = {**data, "EventBusName": _bus(data)}
        return check(data) or inner(data, *rest, **options)

    setattr(eventbridge, name, call)


async def _seen(request: control.Request) -> dict:
    wanted_account = request.query.get("account")
    return {"events": [one for one in list(_recent) if wanted_account in (None, one["account"])]}


def install() -> None:
    for name, check in CHECKS.values():
        _checked(name, check)
    eventbridge._put_events = _put(eventbridge._put_events)
    eventbridge._dispatch_event = _dispatch
    eventbridge._dispatch_to_sqs = _to_queue
    inside = eventbridge._target_matches_request_scope
    eventbridge._target_matches_request_scope = lambda spec: spec.service == "sqs" or inside(spec)
    control.route("GET", "/events", _seen)


def reset() -> None:
    _recent.clear()


def stop() -> None:
    pass
