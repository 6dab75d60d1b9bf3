"""Application load balancers: requests for any account's and region's, by the Host they name, go to a healthy target.

The emulator's own port stands for every load balancer's: either as an HTTP proxy (`http://<DNS name>/path` in the
request line) or by the Host header. `<name>:<port>` is the listener on that port, 80 without one; a Host that a
listener rule names leads to that rule's load balancer, as the customer's own DNS record would. Bodies pass through as
they arrive, in both directions, whatever their size.

Targets and their health are in targets.py, the API is in elbv2.py. What an ALB answers by itself: the ELB user
guide's "Troubleshoot your Application Load Balancers". Not here: TLS, HTTP/2 and WebSockets, connections kept open to
targets, Cognito, Lambda targets.
"""

import asyncio
import ipaddress
import logging
import re
import time
from email.utils import formatdate
from typing import Awaitable, Callable
from urllib.parse import parse_qsl

import h11
from ministack.core.responses import request_scope
from ministack.services import alb

from account import addresses, durations, elbv2, namespaces, reachability, targets
from account.targets import Target

CONNECT_SECONDS = 10.0
READ_BYTES = 64 * 1024
HOP_BY_HOP = {
    b"connection",
    b"expect",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"upgrade",
}
REASONS = {460: "", 502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}
Headers = list[tuple[bytes, bytes]]
Client = reachability.Interface | reachability.Outside | None
Place = tuple[str, str, dict, int, Client]  # account, region, the load balancer's record, port, who asks if known
FROM = b"x-rehearsal-from"  # the address that a test's request comes from
log = logging.getLogger("rehearsal.balancer")

register = targets.register
deregister = targets.deregister
health = targets.health
in_flight = targets.in_flight


# Which load balancer -------------------------------------------------------------------------------


def owns(host: str) -> bool:
    """Whether a request with this Host (`name` or `name:port`) is for a load balancer, be it there or not."""
    return find(host) is not None or host.lower().partition(":")[0].rstrip(".").endswith(".elb.amazonaws.com")


def find(host: str) -> Place | None:
    """The load balancer that a Host names, and the port of the listener that is meant."""
    name, _, port = host.lower().partition(":")
    name, wanted = name.rstrip("."), int(port) if port.isdigit() else 80
    if name in ("127.0.0.1", "localhost", "") or name.endswith(".localhost"):
        return None
    client: Client = None
    if name.startswith("127."):  # of a process that was given the name's address
        name, wanted, client = addresses.meant(name, wanted) or (name, wanted, None)
    for (account, region, _), record in alb._lbs.all_items():
        if record["DNSName"].lower() == name:
            return account, region, record, wanted, client
    if name.endswith((".amazonaws.com", ".amazonaws.com.cn", ".amazon.com")):
        return None
    for (account, region, _), rule in alb._rules.all_items():
        if any(matches_text(pattern, name) for pattern in _hosts(rule)):
            listener = alb._listeners.get_scoped(account, region, rule["ListenerArn"])
            record = listener and alb._lbs.get_scoped(account, region, listener["LoadBalancerArn"])
            if record:
                return account, region, record, wanted, client
    return None


def _hosts(rule: dict) -> list[str]:
    return [
        value
        for one in rule.get("Conditions") or []
        if one["Field"] == "host-header"
        for value in one.get("Values") or []
        if value != "*"
    ]


# Rules ---------------------------------------------------------------------------------------------


def matches_text(pattern: str, text: str, fold: bool = True) -> bool:
    """`*` is any characters, `?` is one, nothing else is special."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def applies(condition: dict, method: str, path: str, query: str, headers: Headers, source: str) -> bool:
    """Whether one condition of a rule holds. Paths are compared with their case, as they were sent."""
    kind, values = condition["Field"], condition.get("Values") or []
    if kind == "path-pattern":
        return any(matches_text(value, path, fold=False) for value in values)
    if kind == "host-header":
        host = _value(headers, b"host").rpartition(":")[0] or _value(headers, b"host")
        return any(matches_text(value, host) for value in values)
    if kind == "http-request-method":
        return method in values
    if kind == "http-header":
        wanted = condition.get("HttpHeaderConfig") or {}
        name = wanted.get("HttpHeaderName", "").lower().encode()
        given = [value.decode("latin-1") for key, value in headers if key.lower() == name]
        return any(matches_text(pattern, value) for pattern in wanted.get("Values") or values for value in given)
    if kind == "query-string":
        given = parse_qsl(query, keep_blank_values=True)
        pairs = (condition.get("QueryStringConfig") or {}).get("Values") or [_pair(value) for value in values]
        return any(
            matches_text(pair["Value"], value) and (not pair.get("Key") or matches_text(pair["Key"], key))
            for pair in pairs
            for key, value in given
        )
    if kind == "source-ip":
        return any(ipaddress.ip_address(source) in ipaddress.ip_network(value, strict=False) for value in values)
    return False


def _pair(text: str) -> dict:
    key, equals, value = text.partition("=")
    return {"Key": key, "Value": value} if equals else {"Value": text}


def _value(headers: Headers, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")


def _attribute(store, arn: str, key: str, default: str) -> str:
    return next((one["Value"] for one in store.get(arn) or [] if one["Key"] == key), default)


# Serving -------------------------------------------------------------------------------------------


class Broken(Exception):
    """The target did not answer properly; `status` is what the load balancer answers instead."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


async def serve(scope: dict, receive: Callable[[], Awaitable[dict]], send: Callable[[dict], Awaitable[None]]) -> None:
    """Answer a request that `owns` has taken. An ASGI application."""
    host = _value(scope["headers"], b"host")
    place = find(host)
    if place is None:
        # AWS's DNS would not know the name; a proxy says that with 502.
        return await _plain(send, 502, [(b"x-rehearsal", b"no load balancer has this name")])
    account, region, record, port, client = place
    named = _value(scope["headers"], FROM)
    with request_scope(account, region):
        if client is None:
            client = reachability.Outside(named) if named else reachability.client_of(record)
            why = await _kept_out(client, record, port)
            if why:
                # On AWS nothing answers and the connection times out; this is how a proxy says so.
                return await _plain(send, 504, [(b"x-rehearsal", why.encode())])
        source = client.addresses[0] if isinstance(client, reachability.Interface) else client.address
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() != FROM]}
        await _listen(record, port, source, scope, receive, send)


async def _kept_out(client: Client, record: dict, port: int) -> str:
    """'' once the rules let the client in, or why they have not within the time that it waits."""
    end = time.monotonic() + durations.timer(CONNECT_SECONDS)
    for pause in reachability.retries():
        why = reachability.may_connect(client, reachability.of_balancer(record), port)
        if not why or time.monotonic() + pause > end:
            return why
        await asyncio.sleep(pause)
    return why


async def _listen(record: dict, port: int, source: str, scope: dict, receive, send) -> None:
    arn = record["LoadBalancerArn"]
    listener = next(
        (one for one in alb._listeners.values() if one["LoadBalancerArn"] == arn and one.get("Port", 80) == port), None
    )
    if listener is None or elbv2.state(record) != "active":
        # AWS would not accept the connection; HTTP has no way to say so but this.
        return await _plain(send, 503, [(b"x-rehearsal", f"no listener on port {port}, or not active yet".encode())])
    method, path = scope["method"], scope.get("raw_path", scope["path"].encode()).partition(b"?")[0].decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    rules = sorted(
        (rule for rule in alb._rules.values() if rule["ListenerArn"] == listener["ListenerArn"]), key=alb._rule_sort_key
    )
    rule = next(
        one
        for one in rules
        if one.get("IsDefault")
        or all(applies(each, method, path, query, scope["headers"], source) for each in one["Conditions"])
    )
    headers = _towards_target(record, listener, scope["headers"], source)
    for action in sorted(rule.get("Actions") or listener["DefaultActions"], key=lambda one: int(one.get("Order") or 1)):
        kind = action["Type"]
        if kind == "forward":
            return await _forward(action, record, method, path, query, headers, receive, send)
        flat = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in headers}
        if kind == "authenticate-oidc":
            answer = await alb._authenticate_oidc(
                action, method, path, flat, b"", dict(parse_qsl(query)), port, lb_arn=arn
            )
            if answer is None:
                headers = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in flat.items()]
                continue
        elif kind in ("redirect", "fixed-response"):
            answer = await alb._execute_action(action, method, path, flat, b"", {}, raw_query_string=query)
        else:
            return await _plain(send, 501)
        return await _own_answer(send, listener, *answer)
    await _plain(send, 503)


def _towards_target(record: dict, listener: dict, given: Headers, source: str) -> Headers:
    """The request's headers as a target gets them."""
    arn = record["LoadBalancerArn"]
    port = int(listener.get("Port", 80))
    kept = [(key.lower(), value) for key, value in given if key.lower() not in HOP_BY_HOP]
    single = {
        key.encode(): value.encode("latin-1")
        for key, value in alb._target_headers(arn, listener, _flat(kept), source).items()
    }
    if (
        _attribute(alb._lb_attrs, arn, "routing.http.preserve_host_header.enabled", "false") != "true"
        and b"host" in single
    ):
        single[b"host"] = alb._target_host_header(single[b"host"].decode("latin-1"), port).encode("latin-1")
    ours = {b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port", b"x-amzn-trace-id"}
    return [(key, value) for key, value in kept if key not in ours] + [
        (key, single[key]) for key in sorted(ours) if key in single
    ]


def _flat(headers: Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for key, value in headers:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        joined[name] = f"{joined[name]}, {text}" if name in joined else text
    return joined


async def _own_answer(send, listener: dict, status: int, headers: dict, body: bytes) -> None:
    rows: Headers = [(b"date", formatdate(usegmt=True).encode())]
    if (
        _attribute(alb._listener_attrs, listener["ListenerArn"], "routing.http.response.server.enabled", "true")
        == "true"
    ):
        rows.append((b"server", b"awselb/2.0"))
    for key, value in headers.items():
        rows += [
            (key.lower().encode(), one.encode("latin-1"))
            for one in (value if isinstance(value, list) else [str(value)])
        ]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*rows, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _plain(send, status: int, more: Headers | None = None) -> None:
    """The page that a load balancer answers by itself."""
    reason = f"{status} {REASONS.get(status, '')}".strip()
    lines = ["<html>", f"<head><title>{reason}</title></head>", "<body>", f"<center><h1>{reason}</h1></center>"]
    page = "\r\n".join([*lines, "</body>", "</html>", ""]).encode()
    rows = [(b"server", b"awselb/2.0"), (b"date", formatdate(usegmt=True).encode()), (b"content-type", b"text/html")]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*rows, (b"content-length", str(len(page)).encode()), *(more or [])],
        }
    )
    await send({"type": "http.response.body", "body": page})


# Forwarding ----------------------------------------------------------------------------------------


async def _forward(
    action: dict, record: dict, method: str, path: str, query: str, headers: Headers, receive, send
) -> None:
    weights = targets.forwards([action])
    groups = [arn for arn, weight in weights.items() if weight > 0]
    group = durations.random("balancer").choices(groups, [weights[arn] for arn in groups])[0] if groups else None
    idle = float(_attribute(alb._lb_attrs, record["LoadBalancerArn"], "idle_timeout.timeout_seconds", "60"))
    exchange = Exchange(reachability.of_balancer(record), idle, receive, send)
    target = targets.take(group, exchange.cut) if group else None
    if target is None:
        return await _plain(send, 503)
    try:
        await exchange.run(target, method, f"{path}?{query}" if query else path, headers)
    except Broken as broken:
        if not exchange.answering:
            await _plain(send, broken.status)
        # Otherwise the client already has a part: returning without an end cuts its connection, as an ALB does.


class Exchange:
    """One request to one target, on a connection of its own."""

    def __init__(self, source: reachability.Interface, idle: float, receive, send):
        self.source, self.idle, self.receive, self.send = source, idle, receive, send
        self.answering = False
        self.is_cut = False
        self.last = time.monotonic()
        self.loop, self.me = asyncio.get_running_loop(), asyncio.current_task()

    def cut(self) -> None:
        """End it, from any thread."""
        self.is_cut = True
        self.loop.call_soon_threadsafe(self.me.cancel)

    async def run(self, target: Target, method: str, path: str, headers: Headers) -> None:
        """Raises Broken."""
        try:
            await self._exchange(target, method, path, headers)
        except asyncio.CancelledError:
            if not self.is_cut:
                raise
            self.me.uncancel()
            raise Broken(504) from None  # its target's deregistration delay is over
        finally:
            targets.done(target, self.cut)

    async def _exchange(self, target: Target, method: str, path: str, headers: Headers) -> None:
        try:
            reaching = targets.reached(self.source, target, target.port)
            what, host = await asyncio.wait_for(reaching, durations.timer(CONNECT_SECONDS))
            opening = namespaces.open_connection(what, host, target.port, limit=READ_BYTES)
            reader, writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
        except asyncio.TimeoutError:
            raise Broken(504) from None
        except OSError:
            raise Broken(502) from None
        wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=READ_BYTES)
        try:
            has_body = any(
                key == b"transfer-encoding" or key == b"content-length" and value != b"0" for key, value in headers
            )
            try:
                writer.write(
                    wire.send(h11.Request(method=method, target=path, headers=[*headers, (b"connection", b"close")]))
                    or b""
                )
            except h11.LocalProtocolError:
                return await _plain(self.send, 400)
            upward = asyncio.ensure_future(self._upward(wire, writer, has_body))
            downward = asyncio.ensure_future(self._downward(wire, reader))
            try:
                await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
                if not downward.done():
                    gone = upward.result()
                    if gone:
                        return  # the client went away: what it asked for is given up
                await downward
            finally:
                for side in (upward, downward):
                    side.cancel()
                await asyncio.gather(upward, downward, return_exceptions=True)
        finally:
            writer.transport.abort()

    async def _upward(self, wire: h11.Connection, writer: asyncio.StreamWriter, has_body: bool) -> bool:
        """The request's body to the target, then wait for the client to go away; True when it did."""
        finished = not has_body
        if finished:
            writer.write(wire.send(h11.EndOfMessage()) or b"")
        while True:
            message = await self.receive()
            self.last = time.monotonic()
            if message["type"] == "http.disconnect":
                return True
            if finished:
                continue
            try:
                if message.get("body"):
                    writer.write(wire.send(h11.Data(data=message["body"])) or b"")
                if not message.get("more_body"):
                    finished = True
                    writer.write(wire.send(h11.EndOfMessage()) or b"")
                await writer.drain()
            except (OSError, h11.LocalProtocolError):
                finished = True  # it does not want the rest; it may still answer

    async def _downward(self, wire: h11.Connection, reader: asyncio.StreamReader) -> None:
        """The target's answer to the client. Raises Broken."""
        while True:
            try:
                event = wire.next_event()
                if event is h11.NEED_DATA:
                    wire.receive_data(await self._read(reader))
                    continue
            except h11.RemoteProtocolError:
                raise Broken(502) from None
            if isinstance(event, h11.Response):
                kept = [
                    (key, value)
                    for key, value in event.headers
                    if key not in HOP_BY_HOP | {b"transfer-encoding", b"date"}
                ]
                self.answering = True
                start = {"status": event.status_code, "headers": [*kept, (b"date", formatdate(usegmt=True).encode())]}
                await self.send({"type": "http.response.start", **start})
            elif isinstance(event, h11.Data):
                await self.send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
                self.last = time.monotonic()
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                if not self.answering:
                    raise Broken(502)
                return await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        while True:
            left = self.last + self.idle - time.monotonic()
            try:
                data = await asyncio.wait_for(reader.read(READ_BYTES), max(left, 0.001))
            except asyncio.TimeoutError:
                if time.monotonic() - self.last >= self.idle:
                    raise Broken(504) from None
                continue
            except OSError:
                raise Broken(502) from None
            self.last = time.monotonic()
            return data


def install() -> None:
    elbv2.install()


def reset() -> None:
    targets.reset()


def stop() -> None:
    targets.reset()
