"""The one thread that moves ECS's world: calls that are due, in order, each in its account and region and under one
lock.

API requests run on threads of their own and take the same lock. Nothing that is called here may block.
"""

import heapq
import itertools
import logging
import threading
from collections.abc import Callable

from ministack.core.responses import request_scope

from account import clock

SETTLED_SECONDS = 10  # the longest that a skip of the clock waits for what it made due
lock = threading.RLock()
log = logging.getLogger("rehearsal.ecs")
_changed = threading.Condition()
_due: list = []
_running = False
_order = itertools.count()
_thread: threading.Thread | None = None


def after(seconds: float, account: str, region: str, call: Callable[[], None]) -> None:
    """Call it once, `seconds` from now."""
    global _thread
    with _changed:
        heapq.heappush(_due, (clock.monotonic() + max(0.0, seconds), next(_order), account, region, call))
        if _thread is None:
            clock.on_skip(_settle)
            _thread = threading.Thread(target=_run, daemon=True, name="ecs")
            _thread.start()
        _changed.notify_all()


def _run() -> None:
    global _running
    while True:
        with _changed:
            _running = False
            _changed.notify_all()
            while not _due or _due[0][0] > clock.monotonic():
                _changed.wait(_due[0][0] - clock.monotonic() if _due else None)
            _, _, account, region, call = heapq.heappop(_due)
            _running = True
        try:
            with lock, request_scope(account, region):
                call()
        except Exception:
            log.exception("scheduler: %s", getattr(call, "__qualname__", call))


def _settle() -> None:
    """After a skip: what it made due has happened."""
    until = clock.monotonic()
    with _changed:
        _changed.notify_all()
        _changed.wait_for(lambda: not _running and not (_due and _due[0][0] <= until), SETTLED_SECONDS)


def clear() -> None:
    with _changed:
        _due.clear()
        _changed.notify_all()
