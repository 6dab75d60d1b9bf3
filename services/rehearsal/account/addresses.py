"""Loopback addresses for whatever has a network interface on AWS, and the DNS names that lead to them.

Addresses: this emulator takes one 127.b.0.0/16 of its own, guarded by a lock that the kernel drops when the process
ends, so any number of emulators run side by side. Tasks and databases each listen on an address of their own, on the
ports they have on AWS.

Names: nothing here resolves `….rds.amazonaws.com` or a Cloud Map name. Instead each name gets an address when its
resource is created, and `rewrite` puts that address into the environment of a process when it starts. What listens
there is a forwarder to the targets the name has at that moment. So a name may change its targets at any time, but a
process knows only names that existed when it started, and only those in its environment: one that it is sent later,
or that it puts together itself, does not resolve.

A name answers on the ports it was published with, and on those it is mentioned with in an environment (`name:6379`,
`redis://name`). Where this machine does not let us have a port (below 1024 when not root; taken on every address by
another program), another one stands in its place, in the environment too.

Each connection to a name passes `may_connect`.
"""

import asyncio
import errno
import logging
import re
import resource
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from ministack.core.responses import get_account_id, get_region

from account import control, settings

Endpoint = tuple[str, int]
Scope = tuple[str, str] | None

GUARD_PORT = 47999
CONNECT_SECONDS = 5.0
SCHEME_PORTS = {"http": 80, "https": 443, "postgres": 5432, "postgresql": 5432, "redis": 6379, "rediss": 6379}
_NAME = re.compile(
    r"(?<![A-Za-z0-9.-])((?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)+[A-Za-z]{2,})(?![A-Za-z0-9.-])"
    r"(?::(\d{1,5})(?!\d))?"
)
_SCHEME = re.compile(r"([a-z][a-z0-9]*)(?:\+[a-z0-9]+)?://[^/\s]*$")
log = logging.getLogger("rehearsal.addresses")


def may_connect(name: str, port: int, source: Endpoint) -> bool:
    """Whether a connection from `source` to `name` on `port` may be made. Everyone may: security groups are kept, not
    evaluated, so far.
    """
    return True


# Addresses -----------------------------------------------------------------------------------------


class _Network:
    """127.b.0.0/16, handed out in turn: an address comes back into use only after 65,000 others, so nobody reaches the
    wrong process.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._guard: socket.socket | None = None
        self._second = 0
        self._next = 1
        self._used: set[str] = set()

    def _claim(self) -> None:
        for step in range(253):
            second = 1 + (settings.PORT + step) % 253
            guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                guard.bind((f"127.{second}.255.254", GUARD_PORT))
                guard.listen(1)
            except OSError:
                guard.close()
                continue
            self._guard, self._second = guard, second
            return
        raise OSError(errno.EADDRINUSE, "every 127.b.0.0/16 is taken by another emulated account")

    def allocate(self) -> str:
        with self._lock:
            if self._guard is None:
                self._claim()
            for _ in range(65_000):
                third, fourth = divmod(self._next, 256)
                self._next = self._next % 65_000 + 1
                address = f"127.{self._second}.{third}.{fourth}"
                if fourth not in (0, 255) and address not in self._used:
                    self._used.add(address)
                    return address
            raise OSError(errno.EADDRNOTAVAIL, "every address is in use")

    def release(self, address: str) -> None:
        with self._lock:
            self._used.discard(address)


_network = _Network()


def allocate() -> str:
    """A loopback address that nothing else in this emulator, or in another one, has."""
    return _network.allocate()


def release(address: str) -> None:
    """Give it back. Unknown ones are ignored."""
    _network.release(address)


# Names ---------------------------------------------------------------------------------------------


@dataclass
class Name:
    name: str
    scope: Scope  # (account, region) for names of private zones, None for public ones
    address: str
    targets: Callable[[int], list[Endpoint]]
    listeners: dict[int, socket.socket] = field(default_factory=dict)  # by the port that is meant


_lock = threading.RLock()
_names: dict[tuple[Scope, str], Name] = {}


def publish(name: str, port: int | None, targets: Callable[[int], list[Endpoint]], private: bool = False) -> str:
    """Give `name` an address, and listen there on `port`; None: only on ports it is mentioned with. Returns the
    address.

    `targets(port)` says where a connection to `port` goes now; the first that answers gets it, none means it is
    refused. It is called from a thread of this module, without an account or region. `private`: the name is known
    only in the account and region of the caller, as in a private hosted zone. Publishing it again replaces the
    targets and keeps the address.
    """
    name = name.lower().rstrip(".")
    scope = (get_account_id(), get_region()) if private else None
    with _lock:
        entry = _names.get((scope, name))
        if entry is None:
            entry = _names[(scope, name)] = Name(name, scope, allocate(), targets)
        entry.targets = targets
        if port is not None:
            _listen(entry, port)
        return entry.address


def withdraw(name: str, private: bool = False) -> None:
    """The name is gone. Connections through it live on."""
    name = name.lower().rstrip(".")
    with _lock:
        entry = _names.pop(((get_account_id(), get_region()) if private else None, name), None)
    if entry is not None:
        _close(entry)


def lookup(name: str) -> str | None:
    """The address of a public name, or of a private one of the caller's account and region."""
    entry = _find(name)
    return entry.address if entry else None


def meant(address: str, port: int) -> Endpoint | None:
    """The name and port that a client means which connects to this address and port."""
    with _lock:
        entry = next((one for one in _names.values() if one.address == address), None)
        listeners = dict(entry.listeners) if entry else {}
    if entry is None:
        return None
    return entry.name, next((one for one, listener in listeners.items() if _port_of(listener) == port), port)


def rewrite(env: dict[str, str]) -> dict[str, str]:
    """The environment with every name that is known in the caller's account and region replaced by its address."""
    return {key: _NAME.sub(lambda found, value=value: _replace(found, value), value) for key, value in env.items()}


def names() -> dict[str, str]:
    """name -> address. A private name that several accounts have is listed as `account/region/name`."""
    with _lock:
        entries = list(_names.values())
    count: dict[str, int] = {}
    for entry in entries:
        count[entry.name] = count.get(entry.name, 0) + 1
    return {
        e.name if count[e.name] == 1 or e.scope is None else f"{e.scope[0]}/{e.scope[1]}/{e.name}": e.address
        for e in entries
    }


def _find(name: str) -> Name | None:
    name = name.lower().rstrip(".")
    with _lock:
        return _names.get(((get_account_id(), get_region()), name)) or _names.get((None, name))


def _replace(found: re.Match, value: str) -> str:
    entry = _find(found[1])
    if entry is None:
        return found[0]
    scheme = _SCHEME.search(value, 0, found.start())
    usual = SCHEME_PORTS.get(scheme[1]) if scheme else None
    port = int(found[2]) if found[2] else usual
    if not port or port > 65535:
        return entry.address
    with _lock:
        there = _listen(entry, port)
    return f"{entry.address}:{there}" if found[2] or there != usual else entry.address


def _listen(entry: Name, port: int) -> int:
    """Answer connections to the name on `port`. Returns the port that really is listened on."""
    if port not in entry.listeners:
        listener = bind(entry.address, port)
        listener.listen(256)
        listener.setblocking(False)
        entry.listeners[port] = listener
        _forwarder.serve(entry, port, listener)
    return _port_of(entry.listeners[port])


def bind(address: str, port: int) -> socket.socket:
    """A socket on `port` of the address, or on any other port where this machine does not let us have that one."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
    except OSError as error:
        bound.bind((address, 0))
        log.warning("port %s: %s; %s:%s stands in its place", port, error.strerror, address, _port_of(bound))
    return bound


def _port_of(bound: socket.socket) -> int:
    return bound.getsockname()[1]


def _close(entry: Name) -> None:
    for listener in entry.listeners.values():
        _forwarder.end(listener)
    release(entry.address)


# Connections ---------------------------------------------------------------------------------------


class _Forwarder:
    """Accepts connections to names, decides where they go, and hands both ends to a process of its own that moves the
    bytes.

    In that process, a database's traffic neither waits for this one nor slows it down. It ends when this one does.
    """

    def __init__(self):
        self._start = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepting: dict[socket.socket, asyncio.Task] = {}
        self._mover: tuple[subprocess.Popen, socket.socket] | None = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._start:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="addresses").start()
            return self._loop

    def serve(self, entry: Name, port: int, listener: socket.socket) -> None:
        loop = self._running()

        def begin() -> None:
            self._accepting[listener] = loop.create_task(self._accept(entry, port, listener))

        loop.call_soon_threadsafe(begin)

    def end(self, listener: socket.socket) -> None:
        def finish() -> None:
            task = self._accepting.pop(listener, None)
            if task is not None:
                task.cancel()
            listener.close()

        self._running().call_soon_threadsafe(finish)

    async def _accept(self, entry: Name, port: int, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, source = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("%s:%s: %s", entry.name, port, error)
                await asyncio.sleep(0.1)
                continue
            client.setblocking(False)
            asyncio.ensure_future(self._connect(entry, port, client, source))

    async def _connect(self, entry: Name, port: int, client: socket.socket, source: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        try:
            allowed = may_connect(entry.name, port, source)
            for target in entry.targets(port) if allowed else []:
                server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                server.setblocking(False)
                try:
                    await asyncio.wait_for(loop.sock_connect(server, target), CONNECT_SECONDS)
                except (OSError, asyncio.TimeoutError):
                    server.close()
                    continue
                try:
                    return self._hand_over(client, server)
                finally:
                    server.close()
            # A listening socket cannot refuse: what the client sees is a connection that is reset at once.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except Exception:
            log.exception("%s:%s", entry.name, port)
        finally:
            client.close()

    def _hand_over(self, client: socket.socket, server: socket.socket) -> None:
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for attempt in (1, 2):
            if self._mover is None or self._mover[0].poll() is not None:
                self._mover = _start_mover()
            try:
                socket.send_fds(self._mover[1], [b"."], [client.fileno(), server.fileno()])
                return
            except OSError:
                self._mover[1].close()
                self._mover = None
                if attempt == 2:
                    raise

    def stop(self) -> None:
        mover, self._mover = self._mover, None
        if mover is not None:
            mover[1].close()
            try:
                mover[0].wait(1)
            except subprocess.TimeoutExpired:
                mover[0].kill()


def _start_mover() -> tuple[subprocess.Popen, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).parent / "mover.py"), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )
    return process, ours


_forwarder = _Forwarder()


def install() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536, hard))
    control.route("GET", "/names", lambda _request: names())


def reset() -> None:
    with _lock:
        entries = list(_names.values())
        _names.clear()
    for entry in entries:
        _close(entry)


def stop() -> None:
    _forwarder.stop()
