"""TLS certificates, and an authority that signs them, in plain Python: ECDSA on P-256, X.509 v3. Neither OpenSSL's
program nor a package is needed.

For the emulated databases only. Nothing here is constant-time, and nobody's secrets depend on it. Sources: SEC 1
(signature, private key), RFC 5280 (certificate), RFC 5480 (public key).
"""

import base64
import hashlib
import ipaddress
import secrets
import textwrap
import time
from dataclasses import dataclass

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
YEARS = 10
Point = tuple[int, int] | None


def _add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, P) if one == other else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def _times(factor: int, point: Point) -> Point:
    total: Point = None
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    length = (
        bytes([size])
        if size < 128
        else (lambda n: bytes([0x80 | len(n)]) + n)(size.to_bytes((size.bit_length() + 7) // 8, "big"))
    )
    return bytes([tag]) + length + body


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = bytes([40 * first + second])
    for number in rest:
        digits = [number & 127]
        while number := number >> 7:
            digits.append(128 | number & 127)
        body += bytes(reversed(digits))
    return _der(0x06, body)


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, *parts)


def _pem(label: str, body: bytes) -> str:
    return (
        f"-----BEGIN {label}-----\n"
        + "\n".join(textwrap.wrap(base64.b64encode(body).decode(), 64))
        + f"\n-----END {label}-----\n"
    )


def _sign(key: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    while True:
        once = 1 + secrets.randbelow(N - 1)
        r = _times(once, G)[0] % N
        s = pow(once, -1, N) * (digest + r * key) % N
        if r and s:
            return _sequence(_integer(r), _integer(s))


@dataclass(frozen=True)
class Authority:
    """What signs certificates: its own is `certificate`, as PEM."""

    name: str
    key: int
    certificate: str


def authority(name: str) -> Authority:
    key = 1 + secrets.randbelow(N - 1)
    is_authority = _sequence(_oid("2.5.29.19"), _der(0x01, b"\xff"), _der(0x04, _sequence(_der(0x01, b"\xff"))))
    return Authority(name, key, _certificate(name, key, name, key, is_authority))


def make(name: str, also: list[str], issuer: Authority) -> tuple[str, str]:
    """(certificate, private key) as PEM, for the host `name` and for the names and IP addresses in `also`."""
    key = 1 + secrets.randbelow(N - 1)
    alternatives = []
    for host in [name, *also]:
        try:
            alternatives.append(_der(0x87, ipaddress.ip_address(host).packed))
        except ValueError:
            alternatives.append(_der(0x82, host.encode()))
    extension = _sequence(_oid("2.5.29.17"), _der(0x04, _sequence(*alternatives)))
    public = _certificate(name, key, issuer.name, issuer.key, extension)
    private = _sequence(
        _integer(1),
        _der(0x04, key.to_bytes(32, "big")),
        _der(0xA0, CURVE),
        _der(0xA1, _der(0x03, b"\0" + _public(key))),
    )
    return public, _pem("EC PRIVATE KEY", private)


CURVE = _oid("1.2.840.10045.3.1.7")


def _public(key: int) -> bytes:
    x, y = _times(key, G)
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _named(name: str) -> bytes:
    return _sequence(_der(0x31, _sequence(_oid("2.5.4.3"), _der(0x0C, name[:64].encode()))))


def _certificate(name: str, key: int, issuer: str, signer: int, extension: bytes) -> str:
    algorithm = _sequence(_oid("1.2.840.10045.4.3.2"))
    now = time.time()
    validity = _sequence(
        *(
            _der(0x18, time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at)).encode())
            for at in (now - 86400, now + YEARS * 31_556_952)
        )
    )
    body = _sequence(
        _der(0xA0, _integer(2)),
        _integer(secrets.randbits(120)),
        algorithm,
        _named(issuer),
        validity,
        _named(name),
        _sequence(_sequence(_oid("1.2.840.10045.2.1"), CURVE), _der(0x03, b"\0" + _public(key))),
        _der(0xA3, _sequence(extension)),
    )
    return _pem("CERTIFICATE", _sequence(body, algorithm, _der(0x03, b"\0" + _sign(signer, body))))
