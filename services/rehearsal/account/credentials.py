"""What a container finds at its AWS_CONTAINER_CREDENTIALS_FULL_URI: a session of its task's role, like any other."""

import time
from datetime import UTC, datetime

from ministack.core.responses import json_response
from ministack.services import iam, imds, sts

from account import clock, settings

PATH = "/v2/credentials/"
VALID_SECONDS = 6 * 3600
_given: dict[str, tuple[str, str]] = {}  # container's token: role ARN, session name
_until: dict[str, float] = {}  # access key: when it expires on the machine's clock, which is the process's
_ministack = imds.handle_request


def issue(token: str, role_arn: str, session: str) -> str:
    """The URI at which the container gets credentials of this role."""
    _given[token] = (role_arn, session)
    return f"{settings.ENDPOINT}{PATH}{token}"


def withdraw(token: str) -> None:
    _given.pop(token, None)


async def _answer(method, path, headers, body, query_params):
    found = _given.get(path.removeprefix(PATH)) if path.startswith(PATH) and method == "GET" else None
    if found is None:
        return await _ministack(method, path, headers, body, query_params)
    role_arn, session = found
    account, name = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    role = iam._roles.get_scoped(account, None, name) or {}
    key, secret, token = iam._gen_session_access_key(), iam._gen_secret(), iam._gen_session_token()
    until = _until[key] = time.time() + VALID_SECONDS
    sts.register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
            "UserId": f"{role.get('RoleId', name)}:{session}",
            "SecretAccessKey": secret,
            "SessionToken": token,
            "Expiration": until + clock.now() - time.time(),
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        },
    )
    return json_response(
        {
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "RoleArn": role_arn,
        }
    )


def _renewed() -> None:
    """A process that lived through the time that was skipped would have fetched new ones in time."""
    for key, until in _until.items():
        session = sts._sessions.get(key)
        if session is not None:
            session["Expiration"] = until + clock.now() - time.time()


def install() -> None:
    clock.on_skip(_renewed)
    imds.handle_request = _answer


def reset() -> None:
    _given.clear()
    _until.clear()
