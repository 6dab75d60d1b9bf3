"""The account's time: the machine's, plus what a test has skipped. `POST /_rehearsal/clock {"skipSeconds": n}` lets
thirty days pass at once.

AWS's own time is read here and waited for here: durations, windows, expiry, retention. What belongs to real processes
(stop time-outs, probes, a client's signature) stays on the machine's time, so a skip neither kills a process nor
refuses a request. A skip jumps once: what becomes due happens then, in order, and what that sets in motion takes its
time from there.
"""

import asyncio
import datetime as real_datetime
import importlib
import threading
import time as real_time
from collections.abc import Callable
from types import SimpleNamespace

from account import control, settings

_skipped = 0.0
_world = threading.Condition()
_listeners: list[Callable[[], None]] = []
# ministack's modules whose time is AWS's. Not core.sigv4: callers sign with the machine's time.
SERVICES = (
    "alb cloudtrail cloudwatch cloudwatch_logs ec2 ecr ecs eventbridge iam kms rds s3 secretsmanager "
    "servicediscovery sqs ssm sts"
)


def now() -> float:
    """Seconds since 1970."""
    return real_time.time() + _skipped


def monotonic() -> float:
    return real_time.monotonic() + _skipped


def skip(seconds: float) -> None:
    """Let this much time pass at once. ValueError for a negative one: time does not go back."""
    global _skipped
    if not seconds >= 0:
        raise ValueError(f"time does not go back: {seconds}")
    with _world:
        _skipped += seconds
        _world.notify_all()
    for listener in _listeners:
        listener()


def on_skip(call: Callable[[], None]) -> None:
    """Called after each skip, on the thread that skips; the skip is answered when it returns."""
    _listeners.append(call)


class Event:
    """As threading.Event; its wait is measured on this clock, so a skip may end it."""

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        with _world:
            self._set = True
            _world.notify_all()

    def wait(self, seconds: float) -> bool:
        """Whether it was set; False when `seconds` have passed without."""
        end = monotonic() + seconds
        with _world:
            while not self._set and (left := end - monotonic()) > 0:
                _world.wait(left)
            return self._set


def sleep(seconds: float) -> None:
    Event().wait(seconds)


_pauses: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()


async def pause(seconds: float) -> None:
    """`sleep` for coroutines."""
    end, woken = monotonic() + seconds, asyncio.Event()
    mine = (asyncio.get_running_loop(), woken)
    _pauses.add(mine)
    try:
        while (left := end - monotonic()) > 0:
            try:
                await asyncio.wait_for(woken.wait(), left)
            except TimeoutError:
                continue
            woken.clear()
    finally:
        _pauses.discard(mine)


def _wake_pauses() -> None:
    for loop, woken in list(_pauses):
        loop.call_soon_threadsafe(woken.set)


# ministack reads the time by itself ---------------------------------------------------------------------------


class _Time:
    """Stands in for the module `time` where AWS's time is meant. Waits and monotonic() stay real: they measure
    processes.
    """

    def __getattr__(self, name: str):
        return getattr(real_time, name)

    @staticmethod
    def time() -> float:
        return now()

    @staticmethod
    def gmtime(seconds: float | None = None) -> real_time.struct_time:
        return real_time.gmtime(now() if seconds is None else seconds)


class _Datetime(real_datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.datetime.fromtimestamp(now(), tz)

    @classmethod
    def utcnow(cls):
        return real_datetime.datetime.fromtimestamp(now(), real_datetime.UTC).replace(tzinfo=None)


def stand_in(module) -> None:
    """Give a module of ministack's this clock, however it imported the machine's."""
    modules = {real_time: _Time(), real_datetime: SimpleNamespace(**vars(real_datetime) | {"datetime": _Datetime})}
    for name, value in list(vars(module).items()):
        if value is real_time or value is real_datetime:
            setattr(module, name, modules[value])
        elif value is real_datetime.datetime:
            setattr(module, name, _Datetime)


def _skip(request: control.Request) -> dict:
    seconds = (request.body or {}).get("skipSeconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError(f"skipSeconds is not a number: {seconds}")
    skip(seconds)
    return {"now": now()}


def install() -> None:
    from ministack.core import iam_evaluator, responses

    for module in (iam_evaluator, responses):
        stand_in(module)
    for name in SERVICES.split():
        stand_in(importlib.import_module(f"ministack.services.{name}"))
    on_skip(_wake_pauses)
    control.route("POST", "/clock", _skip)
    control.route("GET", "/clock", lambda _: {"now": now(), "pace": settings.PACE})


def reset() -> None:
    pass  # time does not go back


def stop() -> None:
    pass
