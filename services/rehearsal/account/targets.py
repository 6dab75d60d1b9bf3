"""The targets of every target group, and their health: registered, probed by the group's own settings, drained,
forgotten.

One asyncio loop on a thread of its own probes all of them. Sources: the ELB user guide's "Health checks for
Application Load Balancer target groups" (states, reasons, thresholds, the first success) and "Register targets"
(deregistration delay).
"""

import asyncio
import logging
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Callable

from ministack.core.arn import parse_arn
from ministack.core.responses import request_scope
from ministack.services import alb

from account import clock, durations, namespaces, processes, reachability

Health = tuple[str, str, str]  # state, reason, description

REGISTERING: Health = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
CHECKING: Health = ("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
HEALTHY: Health = ("healthy", "", "")
TIMED_OUT: Health = ("unhealthy", "Target.Timeout", "Request timed out")
FAILED: Health = ("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
DRAINING: Health = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
NOT_IN_USE: Health = (
    "unused",
    "Target.NotInUse",
    "Target group is not configured to receive traffic from the load balancer",
)
NOT_REGISTERED: Health = ("unused", "Target.NotRegistered", "Target is not registered to the target group")

UNUSED_LOOK_SECONDS = 0.2
DRAIN_LOOK_SECONDS = 0.05
HEAD_BYTES = 64 * 1024
log = logging.getLogger("rehearsal.targets")


@dataclass(eq=False)
class Target:
    group: str
    ip: str
    port: int
    health: Health = REGISTERING
    in_a_row: int = 0  # successes while not healthy, failures while not unhealthy
    requests: set[Callable[[], None]] = field(default_factory=set)  # in flight: each can be cut
    work: asyncio.Task | None = None

    @property
    def draining(self) -> bool:
        return self.health is DRAINING


_lock = threading.RLock()
_targets: dict[str, dict[tuple[str, int], Target]] = {}  # group ARN -> (ip, port) -> target
_turn: dict[str, int] = {}
_start = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _running() -> asyncio.AbstractEventLoop:
    global _loop
    with _start:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, daemon=True, name="targets").start()
        return _loop


def group(arn: str) -> dict | None:
    """The target group's record, of whatever account and region."""
    try:
        where = parse_arn(arn)
    except Exception:
        return None
    return alb._tgs.get_scoped(where.account_id, where.region, arn)


def balancers_of(arn: str) -> list[str]:
    """ARNs of the load balancers whose listeners or rules forward to the group, in the caller's account and region."""
    listeners = {one["ListenerArn"]: one["LoadBalancerArn"] for one in alb._listeners.values()}
    found = [
        listeners.get(rule["ListenerArn"]) for rule in alb._rules.values() if arn in forwards(rule.get("Actions") or [])
    ]
    found += [
        one["LoadBalancerArn"] for one in alb._listeners.values() if arn in forwards(one.get("DefaultActions") or [])
    ]
    return sorted({one for one in found if one in alb._lbs})


def forwards(actions: list[dict]) -> dict[str, int]:
    """Target group ARN -> weight of what the actions forward to."""
    weights: dict[str, int] = {}
    for action in actions:
        many = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
        weights |= {one["TargetGroupArn"]: int(one.get("Weight", 1)) for one in many}
        if not many and action.get("TargetGroupArn"):
            weights[action["TargetGroupArn"]] = 1
    return weights


def in_use(arn: str) -> bool:
    where = parse_arn(arn)
    with request_scope(where.account_id, where.region):
        return bool(balancers_of(arn))


# Registration --------------------------------------------------------------------------------------


def register(arn: str, ip: str, port: int) -> None:
    """Add it; nothing when it is there already, unless it is draining. KeyError: no such group."""
    if group(arn) is None:
        raise KeyError(arn)
    with _lock:
        there = _targets.setdefault(arn, {}).get((ip, port))
        if there is not None and not there.draining:
            return
        target = _targets[arn][(ip, port)] = Target(arn, ip, port)
        _begin(target, _check(target))


def deregister(arn: str, ip: str, port: int) -> None:
    """No new requests; it is gone when the last one in flight has ended, at the latest after the group's deregistration
    delay.
    """
    with _lock:
        target = _targets.get(arn, {}).get((ip, port))
        if target is None or target.draining:
            return
        record = group(arn)
        target.health = DRAINING
        if not target.requests:
            return _forget(target)
        _begin(target, _drain(target, durations.timer(delay(arn) if record else 0)))


def delay(arn: str) -> float:
    where = parse_arn(arn)
    attributes = alb._tg_attrs.get_scoped(where.account_id, where.region, arn) or []
    return float(
        next((one["Value"] for one in attributes if one["Key"] == "deregistration_delay.timeout_seconds"), 300)
    )


def remove_group(arn: str) -> None:
    with _lock:
        for target in list(_targets.get(arn, {}).values()):
            _forget(target)


def registered(arn: str) -> list[Target]:
    with _lock:
        return list(_targets.get(arn, {}).values())


def health(arn: str, ip: str, port: int) -> Health:
    """(state, reason, description) as DescribeTargetHealth has them."""
    with _lock:
        target = _targets.get(arn, {}).get((ip, port))
        found = target.health if target else NOT_REGISTERED
    if target is None or found is DRAINING or in_use(arn):
        return found
    return NOT_IN_USE


# Choice --------------------------------------------------------------------------------------------


def take(arn: str, cut: Callable[[], None]) -> Target | None:
    """Give a request to the one whose turn it is among the healthy. None of them healthy: among all that finished
    registration (an ALB fails open). None at all: None. `cut` ends the request at once, from any thread; it is called
    when its target's deregistration delay is over. One step, so that a target which is deregistered either drains this
    request or never gets it.
    """
    with _lock:
        able = [one for one in _targets.get(arn, {}).values() if not one.draining and one.health is not REGISTERING]
        able = [one for one in able if one.health is HEALTHY] or able
        if not able:
            return None
        _turn[arn] = turn = _turn.get(arn, -1) + 1
        chosen = able[turn % len(able)]
        chosen.requests.add(cut)
        return chosen


def done(target: Target, cut: Callable[[], None]) -> None:
    """The request has ended."""
    with _lock:
        target.requests.discard(cut)


def in_flight(arn: str, ip: str, port: int) -> int:
    """How many requests the target is answering now."""
    with _lock:
        target = _targets.get(arn, {}).get((ip, port))
        return len(target.requests) if target else 0


# Work ----------------------------------------------------------------------------------------------


def _begin(target: Target, work) -> None:
    """Do this for the target from now on, instead of what was done so far."""
    loop, previous = _running(), target.work

    def begin() -> None:
        if previous is not None:
            previous.cancel()
        if _targets.get(target.group, {}).get((target.ip, target.port)) is target:
            target.work = loop.create_task(work)
        else:
            work.close()  # forgotten meanwhile

    loop.call_soon_threadsafe(begin)


def _forget(target: Target) -> None:
    there = _targets.get(target.group, {})
    if there.get((target.ip, target.port)) is target:
        del there[(target.ip, target.port)]
        if not there:
            del _targets[target.group]
    if target.work is not None:
        _running().call_soon_threadsafe(target.work.cancel)


async def _drain(target: Target, seconds: float) -> None:
    draining_for = processes.Span(_locate(target)[0])
    while target.requests and not draining_for.exceeds(seconds):
        await asyncio.sleep(DRAIN_LOOK_SECONDS)
    with _lock:
        left = list(target.requests)
        _forget(target)
    for cut in left:
        cut()


async def _check(target: Target) -> None:
    """Probe it for as long as it is registered. Groups that no rule uses are not probed."""
    try:
        await clock.pause(durations.seconds("elb.register"))
        while True:
            record = group(target.group)
            if record is None:
                return
            if not in_use(target.group):
                with _lock:
                    if not target.draining:
                        target.health, target.in_a_row = CHECKING, 0
                await asyncio.sleep(UNUSED_LOOK_SECONDS)
                continue
            if target.health is REGISTERING:
                target.health = CHECKING
            began = time.monotonic()
            seen = await _probe(target, record)
            with _lock:
                if target.draining:
                    return
                _judge(target, record, seen)
            await asyncio.sleep(
                max(0.0, began + durations.timer(record["HealthCheckIntervalSeconds"]) - time.monotonic())
            )
    except Exception:
        log.exception("%s %s:%s", target.group, target.ip, target.port)


def _judge(target: Target, record: dict, seen: Health) -> None:
    """Count what was seen. A new target is healthy after its first success, whatever the threshold."""
    state = target.health[0]
    if seen is HEALTHY:
        if state == "healthy":
            target.in_a_row = 0
            return
        target.in_a_row = max(target.in_a_row, 0) + 1
        if state == "initial" or target.in_a_row >= record["HealthyThresholdCount"]:
            target.health, target.in_a_row = HEALTHY, 0
        return
    if state == "unhealthy":
        target.health, target.in_a_row = seen, 0  # the latest reason
        return
    target.in_a_row = min(target.in_a_row, 0) - 1
    if -target.in_a_row >= record["UnhealthyThresholdCount"]:
        target.health, target.in_a_row = seen, 0


def expects(code: int, matcher: str) -> bool:
    """Whether `matcher` (`200`, `200,202`, `200-299`) has the code."""
    for part in matcher.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and int(low) <= code <= int(high or low):
            return True
    return False


def _whence(target: Target) -> reachability.Interface | None:
    """The load balancer that probes it."""
    where = parse_arn(target.group)
    with request_scope(where.account_id, where.region):
        return next((reachability.of_balancer(alb._lbs[arn]) for arn in balancers_of(target.group)), None)


def _locate(target: Target) -> tuple[str, reachability.Interface | None]:
    where, record = parse_arn(target.group), group(target.group)
    return reachability.locate(where.account_id, where.region, (record or {}).get("VpcId", ""), target.ip)


async def reached(source: reachability.Interface | None, target: Target, port: int) -> tuple[str, str]:
    """What the target is and the loopback address that its process listens on, once the rules let the load balancer
    through. Never, if they never do: the caller has a limit.
    """
    for pause in (*reachability.retries(), None):
        host, interface = _locate(target)
        if not reachability.may_connect(source, interface, port):
            return (interface.what if interface else ""), host
        if pause is not None:
            await asyncio.sleep(pause)
    raise asyncio.TimeoutError


async def _probe(target: Target, record: dict) -> Health:
    wanted = record.get("HealthCheckPort") or "traffic-port"
    port = target.port if wanted == "traffic-port" else int(wanted)

    limit = record["HealthCheckTimeoutSeconds"]
    try:
        where = await asyncio.wait_for(reached(_whence(target), target, port), durations.timer(limit))
        status = await asyncio.wait_for(_get(*where, port, record), limit)
    except asyncio.TimeoutError:
        return TIMED_OUT
    except (OSError, ValueError, IndexError):
        return FAILED
    if expects(status, (record.get("Matcher") or {}).get("HttpCode") or "200"):
        return HEALTHY
    return ("unhealthy", "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{status}]")


async def _get(what: str, ip: str, port: int, record: dict) -> int:
    context = None
    if record.get("HealthCheckProtocol") == "HTTPS":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = (
            False,
            ssl.CERT_NONE,
        )  # an ALB does not look at a target's certificate
    reader, writer = await namespaces.open_connection(what, ip, port, ssl=context, limit=HEAD_BYTES)
    try:
        path = record.get("HealthCheckPath") or "/"
        head = [f"GET {path} HTTP/1.1", f"Host: {ip}:{port}", "Connection: close", "User-Agent: ELB-HealthChecker/2.0"]
        writer.write("\r\n".join([*head, "Accept-Encoding: gzip, compressed", "", ""]).encode())
        version, status = (await reader.readline()).split(None, 2)[:2]
        if not version.startswith(b"HTTP/"):
            raise ValueError("not HTTP")
        return int(status)
    finally:
        writer.close()


def reset() -> None:
    with _lock:
        everything = [target for there in list(_targets.values()) for target in list(there.values())]
        for target in everything:
            for cut in list(target.requests):
                cut()
            _forget(target)
        _targets.clear()
        _turn.clear()
