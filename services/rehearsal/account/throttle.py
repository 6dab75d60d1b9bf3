"""Request rates, by token buckets, as AWS publishes them (throttle.json): per account, region, service and group of
actions.

A bucket's size is AWS's own; it refills at AWS's rate times the pace, as everything that is AWS's runs faster here. A
call that finds no token is refused in the service's own words before anything else looks at it; it is in the call log.
What services do among themselves (CloudFormation's calls, ECS's) takes no tokens, as it takes none of the caller's on
AWS for the services whose pages say so.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from account import clock, settings, trail

TABLE: dict[str, dict] = json.loads((Path(__file__).parent / "throttle.json").read_text())["services"]
OTHERS = {"code": "ThrottlingException", "status": 400, "message": "Rate exceeded"}


@dataclass
class Bucket:
    tokens: float
    at: float


_buckets: dict[tuple, Bucket] = {}


def words(service: str) -> tuple[str, int, str]:
    """(code, status, message) with which a service says that requests come too fast."""
    said = TABLE.get(service, OTHERS)
    return said["code"], said["status"], said["message"]


def _unfiltered(headers: dict[str, str], body: bytes) -> bool:
    given = trail.parameters(headers, body, {})
    return not any(name in ("MaxResults", "NextToken") or name.startswith("Filter.") for name in given)


def _row(call: trail.Call, headers: dict[str, str], body: bytes) -> dict | None:
    for row in TABLE.get(call.service, {}).get("rows", ()):
        if re.fullmatch(row["actions"], call.action) and (not row.get("unfiltered") or _unfiltered(headers, body)):
            return row
    return None


def refused(call: trail.Call, headers: dict[str, str], body: bytes) -> bool:
    """Take a token; True when there is none."""
    row = _row(call, headers, body)
    if row is None or not call.account:
        return False
    burst = row.get("burst", row["refill"])
    name = (call.account, call.region, call.service, row["name"], call.action if row.get("each") else "")
    now = clock.monotonic()
    bucket = _buckets.setdefault(name, Bucket(burst, now))
    bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * row["refill"] * settings.PACE)
    bucket.at = now
    if bucket.tokens < 1:
        return True
    bucket.tokens -= 1
    return False


def wrap(inner):
    from account import faults

    async def app(scope, receive, send):
        call = scope.get("rehearsal")
        if call is None or not settings.THROTTLE or call.service not in TABLE:
            return await inner(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not refused(call, headers, scope["rehearsal_body"]):
            return await inner(scope, receive, send)
        await faults.answer(send, call, headers, *words(call.service))

    return app


def install() -> None:
    pass


def reset() -> None:
    _buckets.clear()


def stop() -> None:
    pass
