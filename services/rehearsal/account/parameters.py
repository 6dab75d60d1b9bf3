"""Parameter Store: who has written each version, what a value must look like, how many versions are kept.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ParameterHistory.html
https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
"""

import contextvars
import re

from ministack.core.responses import error_response_json
from ministack.services import ssm

from account import stackrights, trail

VERSIONS = 100

_writer: contextvars.ContextVar[str] = contextvars.ContextVar("rehearsal_writer", default="")


def _callers() -> None:
    from ministack.core.router import extract_access_key_id

    handle = ssm.handle_request

    async def handled(method, path, headers, body, query_params):
        _, caller, _ = trail.caller(extract_access_key_id(headers, query_params) or "")
        token = _writer.set(caller)
        try:
            return await handle(method, path, headers, body, query_params)
        finally:
            _writer.reset(token)

    ssm.handle_request = handled


def _versions() -> None:
    put = ssm._put_parameter

    def putting(data):
        name = data.get("Name") or ""
        there = ssm._parameters.get(name)
        pattern = data.get("AllowedPattern") or (there or {}).get("AllowedPattern") or ""
        if pattern and not re.search(pattern, data.get("Value", "")):
            message = f"Parameter value failed to satisfy constraint: {pattern}."
            return error_response_json("ParameterPatternMismatchException", message, 400)
        answer = put({**data, "AllowedPattern": pattern})
        if answer[0] == 200:
            history = ssm._parameter_history[name]
            actor = stackrights.acting()
            history[-1]["LastModifiedUser"] = _writer.get() or (trail.caller(actor.key)[1] if actor else "")
            del history[:-VERSIONS]
        return answer

    ssm._put_parameter = putting


def install() -> None:
    _callers()
    _versions()


def reset() -> None:
    pass


def stop() -> None:
    pass
