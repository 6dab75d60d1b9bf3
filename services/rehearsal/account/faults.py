"""Faults on purpose: errors, delays and lost answers for the calls that match, in the wire shape of the service's
protocol.

A fault is a JSON object; each of service, action, resource, account that it has must match the call (action and
resource are regular expressions). It hits from the `nth` matching call on, `times` times. With `code` or `status` it
answers an error, before the call has any effect or, with `after`, once it has taken effect; with `cut` the connection
ends without an answer; `delaySeconds` waits first.
"""

import asyncio
import json
import re
from dataclasses import dataclass

from account import control

FIELDS = {
    "service",
    "action",
    "resource",
    "account",
    "nth",
    "times",
    "code",
    "status",
    "message",
    "delaySeconds",
    "after",
    "cut",
}
REST_XML = {"s3", "route53", "cloudfront"}


@dataclass
class Fault:
    wanted: dict
    seen: int = 0
    hits: int = 0

    def matches(self, call) -> bool:
        want = self.wanted
        if any(name in want and want[name] != getattr(call, name) for name in ("service", "account")):
            return False
        if "action" in want and not re.fullmatch(want["action"], call.action):
            return False
        if "resource" in want and not re.search(want["resource"], call.resource):
            return False
        self.seen += 1
        if self.seen < want.get("nth", 1) or self.hits >= want.get("times", float("inf")):
            return False
        self.hits += 1
        return True


_faults: list[Fault] = []


def body_of(service: str, headers: dict[str, str], code: str, message: str) -> tuple[str, bytes]:
    """(content type, body) of an error in the protocol that the request came in."""
    if "cbor" in headers.get("content-type", "") or "cbor" in headers.get("smithy-protocol", ""):
        return "application/cbor", b"\xa2" + b"".join(_cbor_text(text) for text in ("__type", code, "message", message))
    if headers.get("x-amz-target") or "json" in headers.get("content-type", ""):
        return "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode()
    code, message = (text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for text in (code, message))
    if service == "ec2":
        return "text/xml", (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            "<RequestID>fault</RequestID></Response>"
        ).encode()
    if service in REST_XML:
        return (
            "application/xml",
            f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>fault</RequestId></Error>".encode(),
        )
    if "x-www-form-urlencoded" in headers.get("content-type", ""):
        return "text/xml", (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            "<RequestId>fault</RequestId></ErrorResponse>"
        ).encode()
    return "application/json", json.dumps({"__type": code, "code": code, "message": message}).encode()


def _cbor_text(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) < 24:
        return bytes([0x60 + len(encoded)]) + encoded
    if len(encoded) < 256:
        return bytes([0x78, len(encoded)]) + encoded
    return b"\x79" + len(encoded).to_bytes(2, "big") + encoded


def wrap(inner):
    async def app(scope, receive, send):
        call = scope.get("rehearsal")
        fault = next((one for one in _faults if one.matches(call)), None) if call else None
        if fault is None:
            return await inner(scope, receive, send)
        want = fault.wanted
        if want.get("delaySeconds"):
            await asyncio.sleep(want["delaySeconds"])
        fails = any(name in want for name in ("code", "status", "cut"))
        if not fails:
            return await inner(scope, receive, send)
        if want.get("after"):

            async def unheard(_message):
                pass

            await inner(scope, receive, unheard)
        if want.get("cut"):  # an answer is promised and never comes: the server closes the connection
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            call.status, call.error = 0, "cut"
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        status = want.get("status", 400)
        code = want.get("code", "InternalFailure" if status >= 500 else "ValidationException")
        kind, body = body_of(call.service, headers, code, want.get("message", f"{code}, on purpose"))
        answer = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"x-amzn-requestid", b"fault"),
            (b"x-amzn-errortype", code.encode()),
        ]
        if kind.endswith("cbor"):
            answer.append((b"smithy-protocol", b"rpc-v2-cbor"))
        await send({"type": "http.response.start", "status": status, "headers": answer})
        await send({"type": "http.response.body", "body": body})

    return app


async def _add(request: control.Request) -> dict:
    asked = request.body if isinstance(request.body, list) else [request.body]
    for one in asked:
        unknown = sorted(set(one) - FIELDS)
        if unknown:
            raise ValueError(f"a fault has no field {', '.join(unknown)}; it has {', '.join(sorted(FIELDS))}")
        if not {"code", "status", "delaySeconds", "cut"} & set(one):
            raise ValueError("a fault without code, status, delaySeconds or cut does nothing")
        for name in ("action", "resource"):
            re.compile(one.get(name, ""))
    _faults.extend(Fault(one) for one in asked)
    return _shown()


def _shown() -> dict:
    return {"faults": [{**one.wanted, "seen": one.seen, "hits": one.hits} for one in _faults]}


async def _list(_request: control.Request) -> dict:
    return _shown()


async def _clear(_request: control.Request) -> dict:
    _faults.clear()
    return {}


def install() -> None:
    control.route("POST", "/faults", _add)
    control.route("GET", "/faults", _list)
    control.route("DELETE", "/faults", _clear)


def reset() -> None:
    _faults.clear()


def stop() -> None:
    pass
