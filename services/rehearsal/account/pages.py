"""Lists in pages, as AWS's: what a token says is the account's own business, it is good for one list with one set of
filters and for a while, and the rows come in an order that says nothing about when they were made.

A page continues after the last row that was shown, so that a row which goes or comes between two pages does not hide
another one.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Callable

from ministack.core.responses import get_account_id, get_region

from account import clock, durations, settings

KEPT = 10_000  # tokens; older ones are forgotten, as if expired


class BadToken(Exception):
    """A token that is not of this list, or was; `expired` tells which."""

    def __init__(self, expired: bool):
        super().__init__("expired" if expired else "invalid")
        self.expired = expired


@dataclass
class _Token:
    of: tuple
    until: float
    last: str
    position: int


_tokens: dict[str, _Token] = {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def shuffled(rows: list, identity: Callable[[Any], str]) -> list:
    """In an order of this seed's: the same in every call, and nothing of how they came to be."""
    return sorted(rows, key=lambda row: _digest(f"{settings.SEED} {identity(row)}"))


def cut(
    call: str,
    given: dict,
    rows: list,
    size: int,
    token: str | None,
    identity: Callable[[Any], str] = str,
    ordered: bool = False,
    valid: str = "token",
) -> tuple[list, str | None]:
    """One page and the token of the next. `given`: the request without its page size and token. `ordered`: AWS promises
    the order that the rows have. `valid`: how long a token is good, of the table. Raises BadToken.
    """
    of = (get_account_id(), get_region(), call, json.dumps(given, sort_keys=True, default=str))
    if not ordered:
        rows = shuffled(rows, identity)
    start = 0
    if token:
        known = _tokens.get(token)
        if known is None or known.of != of:
            raise BadToken(False)
        if clock.now() >= known.until:
            raise BadToken(True)
        start = _after(rows, known, identity, ordered)
    page = rows[start : start + size]
    if start + size >= len(rows):
        return page, None
    last = identity(page[-1])
    name = f"{durations.random('tokens').getrandbits(320):080x}"
    _tokens[name] = _Token(of, clock.now() + durations.kept(valid), last, start + size)
    if len(_tokens) > KEPT:
        del _tokens[next(iter(_tokens))]
    return page, name


def _after(rows: list, token: _Token, identity: Callable[[Any], str], ordered: bool) -> int:
    names = [identity(row) for row in rows]
    if token.last in names:
        return names.index(token.last) + 1
    if ordered:
        return min(token.position, len(rows))
    at = _digest(f"{settings.SEED} {token.last}")
    return sum(1 for name in names if _digest(f"{settings.SEED} {name}") <= at)


def install() -> None:
    pass


def reset() -> None:
    _tokens.clear()


def stop() -> None:
    pass
