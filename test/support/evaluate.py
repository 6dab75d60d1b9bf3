"""Asks the emulated account's policy engine what AWS would decide, without an account: one JSON object a line is a
role's policy, a session's, and calls of that session; answered by one line, a list of null (allowed) or what forbids.

A call's tags reach a policy only where AWS supplies them for that action on that type of resource.
"""

import functools
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "services" / "rehearsal"))

from account import authorization, policy  # noqa: E402
from account.authorization import REFERENCE, Check, Request  # noqa: E402
from ministack.core import iam_evaluator  # noqa: E402

TAGS = ("aws:requesttag/", "aws:resourcetag/")


@functools.cache
def kind_of(service: str, name: str, resource: str) -> str:
    """The resource's type, of those that the action is authorised on; '' where ministack decides, as of S3."""
    if service not in authorization.GOVERNED:
        return ""
    for kind in authorization.entry(service, name).get("on", {}):
        kind = kind.removesuffix("?")
        template = REFERENCE[service]["types"].get(kind, {}).get("arn", "")
        pattern = re.sub(r"\\\$\\\{\w+\\\}", ".*", re.escape(template))
        if template and re.fullmatch(pattern, resource):
            return kind
    return ""


@functools.cache
def supplied(service: str, name: str, kind: str) -> set[str]:
    if service not in authorization.GOVERNED:
        return set()
    request = Request(service, name, {}, "", "")
    return authorization.supplied(Check(f"{service}:{name}", "", kind, request))


def decided(layers, asked: dict) -> str | None:
    service, _, name = asked["action"].partition(":")
    kind = kind_of(service, name, asked["resource"].partition(":log-stream:")[0])
    keys = {
        key.lower(): value
        for key, value in asked["keys"].items()
        if not key.lower().startswith(TAGS) or authorization._pattern(key) in supplied(service, name, kind)
    }
    parts = asked["role"].split(":")
    request = Request(service, name, {}, parts[4], asked["region"])
    check = Check(asked["action"], asked["resource"], kind, request)
    context = policy.context(check, asked["role"], "AssumedRole", parts[4], {}, keys)
    # Only what is about the action: the same decision, and soon enough.
    about = [policy.Layer(layer.sort, layer.about(asked["action"])) for layer in layers]
    decision = policy.decide(context, about)
    return None if decision.allowed else decision.why


class Statements:
    def __init__(self, sort: str, document: dict):
        self.sort = sort
        self.statements = iam_evaluator.parse_policy_document(document)
        self.about = functools.cache(self._about)

    def _about(self, action: str) -> list:
        return [
            one
            for one in self.statements
            if iam_evaluator._action_matches(action, one.actions, one.not_actions)
        ]


policy._keys()
for line in sys.stdin:
    given = json.loads(line)
    layers = [Statements("identity-based policy", given["role"]), Statements("session policy", given["session"])]
    where = {"role": given["roleArn"], "region": given["region"]}
    print(json.dumps([decided(layers, {**call, **where}) for call in given["calls"]]), flush=True)
