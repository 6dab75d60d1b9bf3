"""The container agent's endpoint inside a task, $ECS_AGENT_URI: a task protects itself from scale-in.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html. The agent calls
ECS with the task's own role, so the role must allow ecs:UpdateTaskProtection or ecs:GetTaskProtection.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from ministack.core.responses import json_response, new_uuid, request_scope
from ministack.services import ecs_metadata

from account import rights, scheduler, tasks
from account.answers import Refused

PATH = "/task-protection/v1/state"
_ministack = ecs_metadata.handle_request


async def _answer(method, path, headers, body, query_params):
    if not path.endswith(f"/api{PATH}"):
        return await _ministack(method, path, headers, body, query_params)
    token = path.split("/")[2]
    return await asyncio.to_thread(_protection, token, method, body)


def _protection(token: str, method: str, body: bytes) -> tuple:
    with scheduler.lock:
        task = next((t for t in tasks.live.values() if any(c.token == token for c in t.containers)), None)
        if task is None:
            return json_response({"message": "unknown token"}, status=404)
        if method not in ("GET", "PUT"):
            return json_response({"message": "method not allowed"}, status=405)
        with request_scope(task.account, task.region):
            return _asked(task, method, body)


def _asked(task: "tasks.Task", method: str, body: bytes) -> tuple:
    from account import ecs

    action = "ecs:UpdateTaskProtection" if method == "PUT" else "ecs:GetTaskProtection"

    def error(code: str, message: str, status: int) -> tuple:
        told = {"Arn": task.arn, "Code": code, "Message": message}
        return json_response({"requestID": new_uuid(), "error": told}, status=status)

    data: dict[str, Any] = {"cluster": task.record["clusterArn"], "tasks": [task.arn]}
    if method == "PUT":
        try:
            given = json.loads(body or b"{}")
        except ValueError:
            return error("InvalidParameterException", "Failed to decode request", 400)
        if not isinstance(given.get("ProtectionEnabled"), bool):
            message = "Invalid request: does not contain 'ProtectionEnabled' field"
            return error("InvalidParameterException", message, 400)
        data["protectionEnabled"] = given["ProtectionEnabled"]
        if given.get("ExpiresInMinutes") is not None:
            data["expiresInMinutes"] = given["ExpiresInMinutes"]
    role = task.overrides.get("taskRoleArn") or task.definition.get("taskRoleArn")
    if not role:
        message = "Invalid Request: no task IAM role credentials available for task"
        return error("AccessDeniedException", message, 403)
    why = rights.denied(role, task.id, action, task.arn, task.region, {"ecs:cluster": task.record["clusterArn"]})
    if why:
        return error("AccessDeniedException", why, 400)
    try:
        answer = ecs.HANDLERS[action.split(":")[1]][1](data)
    except Refused as refused:
        return error(refused.code, str(refused), 400)
    if answer["failures"]:
        failure = answer["failures"][0]
        told = {"Arn": failure["arn"], "Detail": failure.get("detail"), "Reason": failure["reason"]}
        return json_response({"failure": told})
    one = answer["protectedTasks"][0]
    until = one.get("expirationDate")
    expires = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if until else None
    protection = {
        "ExpirationDate": expires,
        "ProtectionEnabled": one["protectionEnabled"],
        "TaskArn": one["taskArn"],
    }
    return json_response({"protection": protection})


def install() -> None:
    ecs_metadata.handle_request = _answer
