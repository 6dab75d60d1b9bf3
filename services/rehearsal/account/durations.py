"""How long AWS takes, from one table (durations.json), divided by the pace of this run.

Two paces, because real processes cannot be sped up: `seconds` divides what is AWS's own (a database's creation),
`timer` divides what the caller configured (a health check's interval), which is measured against processes that start
as slowly as ever.
"""

import json
import random
from pathlib import Path

from account import settings

TABLE: dict[str, dict] = json.loads((Path(__file__).parent / "durations.json").read_text())
JITTER = 0.1  # AWS never takes exactly as long twice; seeded, so that a run can be repeated
_random = random.Random(20)


def seconds(name: str) -> float:
    """AWS's duration `name` in seconds of this run, give or take a tenth. KeyError for one that is not in the table."""
    return TABLE[name]["seconds"] * _random.uniform(1 - JITTER, 1 + JITTER) / settings.PACE


def timer(configured: float) -> float:
    """A timer the caller configured, in seconds of this run. Never for stopTimeout: a process needs the time it was
    promised.
    """
    return configured / settings.TIMER_PACE


def install() -> None:
    _random.seed(20)


def reset() -> None:
    _random.seed(20)


def stop() -> None:
    pass
