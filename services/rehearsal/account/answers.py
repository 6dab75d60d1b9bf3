"""How our parts of ECS's API answer: refusals with AWS's codes, pages, nothing internal on the wire."""

import json
from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import error_response_json, json_response
from ministack.services import ecs

from account import pages, scheduler


class Refused(Exception):
    """An error in AWS's words."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def invalid(message: str) -> Refused:
    return Refused("InvalidParameterException", message)


def client(message: str) -> Refused:
    return Refused("ClientException", message)


def caller() -> str:
    """ARN of who makes the request."""
    return iam_evaluator.caller_arn()


def answering(act: Callable[[dict], dict]) -> Callable[[dict], tuple]:
    """An API function for ministack's dispatcher: under the scheduler's lock, without members that are None or begin
    with `_`.
    """

    def answer(data: dict) -> tuple:
        try:
            with scheduler.lock:
                return json_response(json.loads(json.dumps(ecs._sanitize(act(data)))))
        except Refused as error:
            return error_response_json(error.code, str(error), 400)

    return answer


def page(
    items: list, data: dict, default: int, key: str, identity: Callable[[Any], str] = str, ordered: bool = False
) -> dict[str, Any]:
    """`items` in the answer's member `key`, a page of them; see pages.cut."""
    given = {name: value for name, value in data.items() if name not in ("nextToken", "maxResults")}
    size = min(int(data.get("maxResults") or default), 100)
    try:
        rows, token = pages.cut(f"ecs.{key}", given, items, size, data.get("nextToken"), identity, ordered)
    except pages.BadToken:
        raise invalid("Invalid token") from None
    return {key: rows, **({"nextToken": token} if token else {})}
