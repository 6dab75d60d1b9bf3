"""How long AWS takes, from one table (durations.json), divided by the pace of this run; and all chance, from one seed.

Three kinds of time, because real processes cannot be sped up: `seconds` divides what is AWS's own (a database's
creation), `timer` divides what the caller configured (a health check's interval), which is measured against processes
that start as slowly as ever (and more slowly on a busy machine: processes.Span), and `kept` is divided by nothing: how
long AWS keeps or promises something (an hour, seven days) passes only with the clock, which a test may skip.
"""

import json
import random as chance
import sys
import threading
import uuid
from pathlib import Path

from account import settings

TABLE: dict[str, dict] = json.loads((Path(__file__).parent / "durations.json").read_text())
JITTER = 0.1  # AWS never takes exactly as long twice; seeded, so that a run can be repeated
_streams: dict[str, chance.Random] = {}


def random(name: str) -> chance.Random:
    """The source of chance for one purpose. Each name draws from a row of its own, so that what one part of the account
    draws does not depend on how its threads and another's interleave.
    """
    if name not in _streams:
        _streams[name] = chance.Random(f"{settings.SEED} {name}")
    return _streams[name]


def identifier(name: str) -> str:
    """A UUID that comes from the seed."""
    return str(uuid.UUID(int=random(name).getrandbits(128), version=4))


def seconds(name: str) -> float:
    """AWS's duration `name` in seconds of this run, give or take a tenth. KeyError for one that is not in the table."""
    return TABLE[name]["seconds"] * random(name).uniform(1 - JITTER, 1 + JITTER) / settings.PACE


def kept(name: str) -> float:
    """How long AWS keeps or promises `name`, in seconds of the account's clock, whatever the pace."""
    return TABLE[name]["seconds"]


def timer(configured: float) -> float:
    """A timer the caller configured, in seconds of this run. Never for stopTimeout, nor for a health check's time-out:
    a process needs the time it was promised.
    """
    return configured / settings.TIMER_PACE


class _Ids:
    """Stands in for the module `uuid` where ids of the account's things are made."""

    def __getattr__(self, name: str):
        return getattr(uuid, name)

    @staticmethod
    def uuid4() -> uuid.UUID:
        thread = threading.current_thread().name
        row = thread if thread == "ecs" else "requests"  # what the scheduler makes comes between requests, at any time
        return uuid.UUID(identifier(f"ids of {row}"))


def install() -> None:
    import ministack.core.responses  # noqa: F401

    for name, module in list(sys.modules.items()):
        if name.startswith("ministack.") and getattr(module, "uuid", None) is uuid:
            module.uuid = _Ids()
    reset()


def reset() -> None:
    _streams.clear()
    chance.seed(settings.SEED)  # ministack's own ids


def stop() -> None:
    pass
