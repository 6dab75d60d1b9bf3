"""The emulator's own HTTP paths, /_rehearsal/*: unauthenticated, loopback only, never part of AWS.

A module adds its own in `install()`:

    control.route("GET", "/names", lambda request: {...})

A route gets a Request and returns what becomes the JSON answer. It may be a coroutine function; a plain function runs
on a worker thread, so it may block. ValueError answers 400, LookupError 404.
"""

import asyncio
import inspect
import json
from dataclasses import dataclass, field
from typing import Any, Callable


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None


_routes: dict[tuple[str, str], Callable[[Request], Any]] = {}


def route(method: str, path: str, answer: Callable[[Request], Any]) -> None:
    """Answer `method` on /_rehearsal + `path` with what `answer` returns."""
    _routes[(method, path)] = answer


async def serve(request: Request) -> tuple[int, bytes]:
    answer = _routes.get((request.method, request.path))
    if answer is None:
        known = sorted(f"{method} /_rehearsal{path}" for method, path in _routes)
        return 404, json.dumps({"error": f"no such path; there are: {', '.join(known)}"}).encode()
    try:
        if inspect.iscoroutinefunction(answer):
            result = await answer(request)
        else:
            result = await asyncio.to_thread(answer, request)
    except LookupError as error:
        return 404, json.dumps({"error": str(error)}).encode()
    except ValueError as error:
        return 400, json.dumps({"error": str(error)}).encode()
    return 200, json.dumps(result).encode()
