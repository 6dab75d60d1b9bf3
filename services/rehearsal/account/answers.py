"""How our parts of ECS's API answer: refusals with AWS's codes, pages, nothing internal on the wire."""

import json
from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import error_response_json, json_response
from ministack.services import ecs

from account import scheduler


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


def page(items: list, data: dict, default: int, key: str) -> dict[str, Any]:
    try:
        start = int(data.get("nextToken") or 0)
    except ValueError:
        raise invalid("Invalid token") from None
    end = start + int(data.get("maxResults") or default)
    return {key: items[start:end], **({"nextToken": str(end)} if end < len(items) else {})}
