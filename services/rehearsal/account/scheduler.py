"""The one thread that moves ECS's world: calls that are due, in order, each in its account and region and under one
lock.

API requests run on threads of their own and take the same lock. Nothing that is called here may block.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from ministack.core.responses import request_scope

lock = threading.RLock()
log = logging.getLogger("rehearsal.ecs")
_changed = threading.Condition()
_due: list = []
_order = itertools.count()
_thread: threading.Thread | None = None


def after(seconds: float, account: str, region: str, call: Callable[[], None]) -> None:
    """Call it once, `seconds` from now."""
    global _thread
    with _changed:
        heapq.heappush(_due, (time.monotonic() + max(0.0, seconds), next(_order), account, region, call))
        if _thread is None:
            _thread = threading.Thread(target=_run, daemon=True, name="ecs")
            _thread.start()
        _changed.notify()


def _run() -> None:
    while True:
        with _changed:
            while not _due or _due[0][0] > time.monotonic():
                _changed.wait(_due[0][0] - time.monotonic() if _due else None)
            _, _, account, region, call = heapq.heappop(_due)
        try:
            with lock, request_scope(account, region):
                call()
        except Exception:
            log.exception("scheduler: %s", getattr(call, "__qualname__", call))


def clear() -> None:
    with _changed:
        _due.clear()
