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

Each task gets an address of its own for each name, so the address that a connection arrives at tells who makes it, and
the live rules say whether it may be made (reachability.may_connect). One that is dropped on AWS hangs here: a
listening socket has already accepted it, so nothing is answered, the rules are asked again at each moment when the
client's system would send another SYN, and after its last the connection is reset. The address that `names` tells is
for this machine itself: no rule applies to it.
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

from account import control, namespaces, reachability, settings
from account.reachability import Interface, Outside

Endpoint = tuple[str, int]
# Where on this machine, and what it stands for: an interface, an address on the internet, or nothing but itself.
Target = tuple[Endpoint, Interface | Outside | None]
Scope = tuple[str, str, str] | None  # account, region, VPC

GUARD_PORT = 47999
CONNECT_SECONDS = 5.0
SCHEME_PORTS = {"http": 80, "https": 443, "postgres": 5432, "postgresql": 5432, "redis": 6379, "rediss": 6379}
_NAME = re.compile(
    r"(?<![A-Za-z0-9.-])((?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)+[A-Za-z]{2,})(?![A-Za-z0-9.-])"
    r"(?::(\d{1,5})(?!\d))?"
)
_SCHEME = re.compile(r"([a-z][a-z0-9]*)(?:\+[a-z0-9]+)?://[^/\s]*$")
log = logging.getLogger("rehearsal.addresses")


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
class Face:
    """A name as one client sees it."""

    address: str
    client: Interface | None  # None: this machine
    listeners: dict[int, socket.socket] = field(default_factory=dict)  # by the port that is meant


@dataclass
class Name:
    name: str
    scope: Scope  # for names of private zones, None for public ones
    targets: Callable[[int], list[Target]]
    own: Face
    faces: dict[str, Face] = field(default_factory=dict)  # by what the client is: "task …"

    @property
    def address(self) -> str:
        return self.own.address


_lock = threading.RLock()
_names: dict[tuple[Scope, str], Name] = {}
_doors: dict[str, list[Name]] = {}  # by what the client is


def publish(name: str, port: int | None, targets: Callable[[int], list[Target]], vpc: str = "") -> str:
    """Give `name` an address, and listen there on `port`; None: only on ports it is mentioned with. Returns the
    address.

    `targets(port)` says where a connection to `port` goes now; the first that answers gets it, none means it is
    refused. It is called from a thread of this module, without an account or region. `vpc`: the name is known only in
    this VPC of the caller's account and region, as in a private hosted zone. Publishing it again replaces the targets
    and keeps the address.
    """
    name = name.lower().rstrip(".")
    scope = (get_account_id(), get_region(), vpc) if vpc else None
    with _lock:
        entry = _names.get((scope, name))
        if entry is None:
            entry = _names[(scope, name)] = Name(name, scope, targets, Face(allocate(), None))
        entry.targets = targets
        if port is not None:
            _listen(entry, entry.own, port)
        return entry.address


def withdraw(name: str, vpc: str = "") -> None:
    """The name is gone. Connections through it live on."""
    name = name.lower().rstrip(".")
    with _lock:
        entry = _names.pop(((get_account_id(), get_region(), vpc) if vpc else None, name), None)
    if entry is not None:
        _close(entry)


def meant(address: str, port: int) -> tuple[str, int, Interface | None] | None:
    """The name and port that a client means which connects to this address and port, and who that client is."""
    with _lock:
        for entry in _names.values():
            for face in (entry.own, *entry.faces.values()):
                if face.address == address:
                    listeners = dict(face.listeners)
                    wanted = next((one for one, there in listeners.items() if _port_of(there) == port), port)
                    return entry.name, wanted, face.client
    return None


def rewrite(env: dict[str, str], client: Interface) -> dict[str, str]:
    """The environment with every name that the client can resolve replaced by the address that it has for it."""

    def changed(value: str) -> str:
        return _NAME.sub(lambda found: _replace(found, value, client), value)

    return {key: changed(value) for key, value in env.items()}


def enter(client: Interface, address: str, ports: set[int]) -> None:
    """The doors of a client that has a network of its own: from inside, to the emulator's port (AWS, the task's
    metadata and credentials); from this machine, to the ports that it publishes. Nothing where it has none.
    """
    if namespaces.of(client.what) is None:
        return
    doors = [
        Name("the emulated account", None, lambda port: [(("127.0.0.1", port), None)], Face("127.0.0.1", client)),
        Name(client.what, None, lambda port: [((address, port), client)], Face(address, None)),
    ]
    with _lock:
        _doors[client.what] = doors
        for door, there in zip(doors, ({settings.PORT}, ports)):
            for port in there:
                _listen(door, door.own, port)


def leave(client: Interface) -> None:
    """The client is gone, with its doors and the addresses that it had for names."""
    with _lock:
        doors = _doors.pop(client.what, [])
        gone = [entry.faces.pop(client.what) for entry in _names.values() if client.what in entry.faces]
    for door in doors:
        _shut(door)
    for face in gone:
        _close_face(face)


def names() -> dict[str, str]:
    """name -> address, for this machine. A private name that there is several times is listed as
    `account/region/vpc/name`.
    """
    with _lock:
        entries = list(_names.values())
    count: dict[str, int] = {}
    for entry in entries:
        count[entry.name] = count.get(entry.name, 0) + 1
    return {
        e.name if count[e.name] == 1 or e.scope is None else f"{'/'.join(e.scope)}/{e.name}": e.address
        for e in entries
    }


def _replace(found: re.Match, value: str, client: Interface) -> str:
    name = found[1].lower().rstrip(".")
    with _lock:
        entry = _names.get(((client.account, client.region, client.vpc), name)) or _names.get((None, name))
        if entry is None:
            return found[0]
        face = entry.faces.get(client.what)
        if face is None:
            face = entry.faces[client.what] = Face(allocate(), client)
    scheme = _SCHEME.search(value, 0, found.start())
    usual = SCHEME_PORTS.get(scheme[1]) if scheme else None
    port = int(found[2]) if found[2] else usual
    if not port or port > 65535:
        return face.address
    with _lock:
        _listen(entry, entry.own, port)
        there = _listen(entry, face, port)
    return f"{face.address}:{there}" if found[2] or there != usual else face.address


def _listen(entry: Name, face: Face, port: int) -> int:
    """Answer connections to the name on `port`. Returns the port that really is listened on."""
    if port not in face.listeners:
        listener = namespaces.bound(face.client.what if face.client else "", lambda: bind(face.address, port))
        listener.listen(256)
        listener.setblocking(False)
        face.listeners[port] = listener
        _forwarder.serve(entry, face, port, listener)
    return _port_of(face.listeners[port])


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
    for face in (entry.own, *entry.faces.values()):
        _close_face(face)


def _close_face(face: Face) -> None:
    for listener in face.listeners.values():
        _forwarder.end(listener)
    release(face.address)


def _shut(door: Name) -> None:
    """Its address is not ours to give back."""
    for listener in door.own.listeners.values():
        _forwarder.end(listener)


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

    def serve(self, entry: Name, face: Face, port: int, listener: socket.socket) -> None:
        loop = self._running()

        def begin() -> None:
            self._accepting[listener] = loop.create_task(self._accept(entry, face, port, listener))

        loop.call_soon_threadsafe(begin)

    def end(self, listener: socket.socket) -> None:
        def finish() -> None:
            task = self._accepting.pop(listener, None)
            if task is not None:
                task.cancel()
            listener.close()

        self._running().call_soon_threadsafe(finish)

    async def _accept(self, entry: Name, face: Face, port: int, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("%s:%s: %s", entry.name, port, error)
                await asyncio.sleep(0.1)
                continue
            client.setblocking(False)
            asyncio.ensure_future(self._connect(entry, face, port, client))

    async def _connect(self, entry: Name, face: Face, port: int, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            for target, behind in await _reached(entry, face, port, client):
                try:
                    server = await namespaces.towards(behind.what if isinstance(behind, Interface) else "")
                except OSError:  # its network went just now, with the target
                    continue
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


async def _reached(entry: Name, face: Face, port: int, client: socket.socket) -> list[Target]:
    """Where the connection may go; waits while the rules drop it. Empty: there is nothing, or the client has given
    up.
    """
    waits = reachability.retries()
    while True:
        found = entry.targets(port)
        reasons = [reachability.may_connect(face.client, behind, port) for _, behind in found]
        open_ones = [target for target, why in zip(found, reasons) if not why]
        if open_ones or not found:
            return open_ones
        pause = next(waits, None)
        if pause is None or _left(client):
            return []
        log.debug("%s:%s: %s", entry.name, port, reasons[0])
        await asyncio.sleep(pause)


def _left(client: socket.socket) -> bool:
    try:
        return not client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


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


def _outside(request: control.Request) -> dict:
    """{name, port}: a server of this machine, on a loopback port, becomes one on the internet by that name, on any
    port. Tasks that start from now on reach it as far as their way out goes.
    """
    name, port = request.body["name"], int(request.body["port"])
    publish(name, None, lambda _meant: [(("127.0.0.1", port), Outside(reachability.INTERNET))])
    return {}


def install() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536, hard))
    control.route("GET", "/names", lambda _request: names())
    control.route("POST", "/outside", _outside)


def reset() -> None:
    with _lock:
        entries, doors = list(_names.values()), [door for some in _doors.values() for door in some]
        _names.clear()
        _doors.clear()
    for entry in entries:
        _close(entry)
    for door in doors:
        _shut(door)


def stop() -> None:
    _forwarder.stop()
