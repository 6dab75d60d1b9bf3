"""Reads that come too early see what was before, as on AWS, whose services answer from copies that follow.

- EC2: "The Amazon EC2 API follows an eventual consistency model": a new security group is not found for a moment, by
  reads and by calls that change it. https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
- ECS: "The Amazon ECS API follows an eventual consistency model": a new service or task is MISSING, a changed one shows
  its old values, a deleted one is ACTIVE. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
- Elastic Load Balancing does not document it and does it: a new target group is not found, its tags come later still.
  https://github.com/hashicorp/terraform-provider-aws/issues/16860 and /pull/18634
- Application Auto Scaling does not find a service that ECS has just made.
  https://github.com/hashicorp/terraform-provider-aws/pull/11693
- The tagging API's index follows all of these by some seconds, for what is new, changed and gone.

Only reads over HTTP are late. Calls that change something see the truth, but for EC2's, and so does everything inside.
RDS, CloudWatch Logs, Cloud Map and Secrets Manager's single reads answer the truth: AWS documents no lag that shows.
"""

import asyncio
import contextvars
import copy
import json
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Iterator

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, request_scope
from ministack.services import alb, ec2, ecs

from account import clock, durations, lists, settings, tags, trail

ABSENT: Any = object()
LOOKS_SECONDS = 0.1  # the tagging index is brought up to date at most this often, real time
KEPT = 5000  # changes, after which those that everybody sees are swept out
READS = ("Describe", "Get", "List", "BatchGet", "Discover")


@dataclass
class _Change:
    """What was visible before a change, until when, and when the change was."""

    before: Any
    until: float
    at: float


_lock = threading.RLock()  # requests come on several threads
_changes: dict[tuple, deque[_Change]] = {}
_reading: contextvars.ContextVar[bool] = contextvars.ContextVar("rehearsal_reading", default=False)


def note(key: tuple, before: Any, lag: str, at: float | None = None) -> None:
    """`key` has changed: for a while reads see `before`, or nothing for ABSENT."""
    now = clock.now()
    change = _Change(before, clock.monotonic() + durations.seconds(lag) * settings.LAG, now if at is None else at)
    with _lock:
        if len(_changes) > KEPT:
            for one in list(_changes):
                late(one)
        _changes.setdefault(key, deque()).append(change)


def late(key: tuple) -> _Change | None:
    """The oldest change of `key` that reads do not see yet."""
    with _lock:
        changes = _changes.get(key)
        while changes and changes[0].until <= clock.monotonic():
            changes.popleft()
        if not changes:
            _changes.pop(key, None)
            return None
        return changes[0]


# Stores: reads see what was --------------------------------------------------------------------------------


def _overlay(store) -> None:
    """Give a store of ministack's the past for those who read it with `_reading` set."""
    kind = type(store)

    def past(self) -> dict:
        """Key: what reads see of it, for all that differs from the truth now."""
        own = (id(self), *(scope if isinstance(scope := self._prefix(), tuple) else (scope,)))
        found = {}
        for key in list(_changes):
            if key[: len(own)] == own and (change := late(key)):
                found[key[-1]] = change.before
        return found

    class Late(kind):
        __slots__ = ()

        def get(self, key, default=None):
            if _reading.get() and (change := late(_key(self, key))):
                return default if change.before is ABSENT else change.before
            return kind.get(self, key, default)

        def __getitem__(self, key):
            found = self.get(key, ABSENT)
            if found is ABSENT:
                raise KeyError(key)
            return found

        def __contains__(self, key):
            return self.get(key, ABSENT) is not ABSENT

        def items(self):
            rows = dict(kind.items(self))
            if _reading.get():
                for key, before in past(self).items():
                    if before is ABSENT:
                        rows.pop(key, None)
                    else:
                        rows[key] = before
            return list(rows.items())

        def keys(self):
            return [key for key, _ in self.items()]

        def values(self):
            return [value for _, value in self.items()]

        def __iter__(self) -> Iterator:
            return iter(self.keys())

    store.__class__ = Late


def _key(store, key) -> tuple:
    return (id(store), *store._scoped(key))


def _reads(actions: dict, name: str) -> None:
    inner = actions[name]

    def call(params):
        token = _reading.set(True)
        try:
            return inner(params)
        finally:
            _reading.reset(token)

    actions[name] = call


def _writes(actions: dict, name: str, stores: list[tuple[Any, str]]) -> None:
    """After the call succeeded, what it changed in the stores is seen late. A store with its lag's name."""
    inner = actions[name]

    def call(params):
        named = {one for values in params.values() for one in (values if isinstance(values, list) else [values])}
        before = [
            (store, lag, set(store.keys()), {key: copy.deepcopy(store[key]) for key in named if key in store})
            for store, lag in stores
        ]
        answer = inner(params)
        if answer[0] == 200:
            for store, lag, keys, copies in before:
                for key in set(store.keys()) - keys:
                    note(_key(store, key), ABSENT, lag)
                for key, was in copies.items():
                    if store.get(key, ABSENT) != was:
                        note(_key(store, key), was, lag)
        return answer

    actions[name] = call


BALANCING_WRITES = (
    "AddTags CreateListener CreateLoadBalancer CreateRule CreateTargetGroup DeleteListener DeleteRule "
    "DeleteTargetGroup ModifyListener ModifyRule ModifyTargetGroup ModifyTargetGroupAttributes RemoveTags "
    "SetRulePriorities"
)
BALANCING_READS = (
    "DescribeListeners DescribeLoadBalancers DescribeRules DescribeTags DescribeTargetGroupAttributes "
    "DescribeTargetGroups"
)
GROUP_WRITES = (
    "AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress CreateSecurityGroup CreateTags DeleteSecurityGroup "
    "DeleteTags RevokeSecurityGroupEgress RevokeSecurityGroupIngress"
)
GROUP_READS = "DescribeSecurityGroupRules DescribeSecurityGroups DescribeTags"


def _balancing() -> None:
    stores = [(store, "elb.consistency") for store in (alb._lbs, alb._tgs, alb._listeners, alb._rules, alb._tg_attrs)]
    stores.append((alb._tags, "elb.consistency.tags"))
    for store, _ in stores:
        _overlay(store)
    for name in BALANCING_WRITES.split():
        _writes(alb._ACTION_MAP, name, stores)
    for name in BALANCING_READS.split():
        _reads(alb._ACTION_MAP, name)


def _security_groups() -> None:
    stores = [(store, "ec2.consistency") for store in (ec2._security_groups, ec2._tags)]
    for store, _ in stores:
        _overlay(store)
    for name in GROUP_WRITES.split():
        _writes(ec2._ACTION_MAP, name, stores)
        _refuses_unseen(name)
    for name in GROUP_READS.split():
        _reads(ec2._ACTION_MAP, name)


def _refuses_unseen(name: str) -> None:
    """A call on a group that was just made may come too early as well."""
    inner = ec2._ACTION_MAP[name]

    def call(params):
        for values in params.values():
            for one in values if isinstance(values, list) else [values]:
                if isinstance(one, str) and one.startswith("sg-"):
                    change = late(_key(ec2._security_groups, one))
                    if change and change.before is ABSENT:
                        return ec2._error("InvalidGroup.NotFound", f"The security group '{one}' does not exist", 400)
        return inner(params)

    ec2._ACTION_MAP[name] = call


# ECS: answers show what was --------------------------------------------------------------------------------


def _mine(kind: str, arn: str) -> tuple:
    return (kind, get_account_id(), get_region(), arn)


def _json(answer: tuple) -> dict:
    return json.loads(answer[2])


def _services() -> None:
    actions = ecs._ACTION_MAP
    names = ("DescribeServices", "ListServices", "ListServiceDeployments")
    describe, listed, history = (actions[name] for name in names)

    def view(data: dict, name: str) -> Any:
        answer = describe({"cluster": data.get("cluster"), "services": [name], "include": ["TAGS"]})
        found = _json(answer).get("services") if answer[0] == 200 else None
        return found[0] if found else ABSENT

    def writes(action: str, member: str) -> None:
        inner = actions[action]

        def call(data: dict) -> tuple:
            before, at = view(data, data.get(member) or ""), clock.now()
            answer = inner(data)
            if answer[0] == 200:
                note(_mine("ecs", _json(answer)["service"]["serviceArn"]), before, "ecs.consistency", at)
            return answer

        actions[action] = call

    def described(data: dict) -> tuple:
        answer = describe(data)
        if answer[0] != 200:
            return answer
        body, shown = _json(answer), []
        for service in body["services"]:
            arn = service["serviceArn"]
            change = late(_mine("ecs", arn))
            if change and change.before is ABSENT:
                body.setdefault("failures", []).append({"arn": arn, "reason": "MISSING"})
                continue
            if change:
                service = dict(change.before)
            tagged = late(_mine("ecs.tags", arn))
            if tagged:
                service["tags"] = tagged.before
            if "TAGS" not in (data.get("include") or []):
                service.pop("tags", None)
            shown.append(service)
        return json_response({**body, "services": shown})

    def unseen(arn: str) -> bool:
        change = late(_mine("ecs", arn))
        return bool(change and change.before is ABSENT)

    def arns(data: dict) -> tuple:
        answer = listed(data)
        if answer[0] != 200:
            return answer
        body = _json(answer)
        return json_response({**body, "serviceArns": [arn for arn in body["serviceArns"] if not unseen(arn)]})

    def deployments(data: dict) -> tuple:
        answer = history(data)
        if answer[0] != 200:
            return answer
        body, shown = _json(answer), []
        for one in body["serviceDeployments"]:
            change = late(_mine("ecs", one["serviceArn"]))
            if change and change.before is ABSENT:
                return error_response_json("ServiceNotFoundException", "Service not found.", 400)
            if not change or one["createdAt"] < change.at:
                shown.append(one)
        return json_response({**body, "serviceDeployments": shown})

    writes("CreateService", "serviceName")
    writes("UpdateService", "service")
    writes("DeleteService", "service")
    actions.update(DescribeServices=described, ListServices=arns, ListServiceDeployments=deployments)


def _tasks() -> None:
    actions = ecs._ACTION_MAP
    run, describe, listed = (actions[name] for name in ("RunTask", "DescribeTasks", "ListTasks"))

    def unseen(arn: str) -> bool:
        return late(_mine("ecs.task", arn)) is not None

    def started(data: dict) -> tuple:
        answer = run(data)
        if answer[0] == 200:
            for task in _json(answer)["tasks"]:
                note(_mine("ecs.task", task["taskArn"]), ABSENT, "ecs.consistency")
        return answer

    def described(data: dict) -> tuple:
        answer = describe(data)
        if answer[0] != 200:
            return answer
        body = _json(answer)
        missing = [{"arn": task["taskArn"], "reason": "MISSING"} for task in body["tasks"] if unseen(task["taskArn"])]
        return json_response(
            {
                "tasks": [task for task in body["tasks"] if not unseen(task["taskArn"])],
                "failures": [*body.get("failures", []), *missing],
            }
        )

    def arns(data: dict) -> tuple:
        answer = listed(data)
        if answer[0] != 200:
            return answer
        body = _json(answer)
        return json_response({**body, "taskArns": [arn for arn in body["taskArns"] if not unseen(arn)]})

    actions.update(RunTask=started, DescribeTasks=described, ListTasks=arns)


def _tags_of_services() -> None:
    actions = ecs._ACTION_MAP
    read = actions["ListTagsForResource"]

    def writes(action: str) -> None:
        inner = actions[action]

        def call(data: dict) -> tuple:
            arn = data.get("resourceArn", "")
            before = copy.deepcopy(ecs._tags.get(arn, []))
            answer = inner(data)
            if answer[0] == 200:
                note(_mine("ecs.tags", arn), before, "ecs.consistency")
            return answer

        actions[action] = call

    def tags_of(data: dict) -> tuple:
        answer = read(data)
        arn = data.get("resourceArn", "")
        service, own = late(_mine("ecs", arn)), late(_mine("ecs.tags", arn))
        if answer[0] != 200 or not (service or own):
            return answer
        if own:
            return json_response({"tags": own.before})
        return json_response({"tags": [] if service.before is ABSENT else service.before.get("tags", [])})

    writes("TagResource")
    writes("UntagResource")
    actions["ListTagsForResource"] = tags_of


def seen_by_scaling(arn: str) -> bool:
    """Whether Application Auto Scaling finds this ECS service already."""
    change = late(_mine("ecs", arn))
    return not (change and change.before is ABSENT)


# The tagging API's index -----------------------------------------------------------------------------------

_known: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
_due: set[tuple[str, str]] = set()
_truth: Callable[[], list[tuple[str, dict[str, str]]]] = lists.everything


def _look() -> dict[str, dict[str, str]]:
    """Note what has changed in this account and region since the last look. Returns the truth."""
    here = (get_account_id(), get_region())
    now, known = dict(_truth()), _known.get(here, {})
    for arn in now.keys() | known.keys():
        if now.get(arn) != known.get(arn):
            note(_mine("tags", arn), known.get(arn, ABSENT), "tags.consistency")
    _known[here] = {arn: dict(its) for arn, its in now.items()}
    return now


def indexed() -> list[tuple[str, dict[str, str]]]:
    """(ARN, tags) as the tagging API knows them."""
    rows = _look()
    own = ("tags", get_account_id(), get_region())
    for key in list(_changes):
        if key[:3] == own and (change := late(key)):
            if change.before is ABSENT:
                rows.pop(key[3], None)
            else:
                rows[key[3]] = change.before
    return list(rows.items())


def _after(call: trail.Call, _headers, _body, status: int, _answered, _answer) -> None:
    """A write may have changed tags: look soon, once for many."""
    here = (call.account, call.region)
    if call.service not in tags.STORES or call.action.startswith(READS) or status >= 400 or here in _due:
        return
    _due.add(here)

    def look() -> None:
        _due.discard(here)
        with request_scope(*here):
            _look()

    loop = asyncio.get_running_loop()
    loop.call_later(LOOKS_SECONDS, lambda: loop.run_in_executor(None, look))


def install() -> None:
    if not settings.LAG:
        return
    _balancing()
    _security_groups()
    _services()
    _tasks()
    _tags_of_services()
    lists.everything = indexed
    trail.after(_after)


def reset() -> None:
    with _lock:
        _changes.clear()
    _known.clear()


def stop() -> None:
    pass
