"""A network of its own for each task, where this machine permits it (Linux, as root or with CAP_SYS_ADMIN): nothing but
a loopback interface, and the doors that are opened in it. A task's processes then reach neither each other's loopback
addresses nor the machine's internet, only what addresses.py listens for inside, and that asks the live rules.

A socket belongs to the network it was made in, wherever it is used later. So two threads go from network to network and
make there what is asked for, one sockets, one processes, which take longer; nothing else of the emulator ever leaves
the machine's own.
Elsewhere, or with REHEARSAL_NAMESPACES=off, tasks share the machine's network: names still lead only where the rules
allow, but a process could dial another's loopback address itself.
"""

import asyncio
import ctypes
import fcntl
import logging
import os
import queue
import socket
import struct
import sys
import threading
from concurrent.futures import Future
from typing import Any, Callable, TypeVar

from account import settings

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
Made = TypeVar("Made")
log = logging.getLogger("rehearsal.namespaces")


class _Inside:
    """A thread that goes in."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], Future]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, act: Callable[[], Any]) -> Future:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="namespaces")
                self._thread.start()
        done: Future = Future()
        self._asked.put((act, done))
        return done

    def _run(self) -> None:
        while True:
            act, done = self._asked.get()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(act())
            except BaseException as error:
                done.set_exception(error)


_sockets, _processes = _Inside(), _Inside()
_networks: dict[str, "Network"] = {}  # by what is in it: "task …"
_permitted: bool | None = None


def _libc(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _unshare() -> int:
    """A new network with its loopback interface up, as a file that keeps it."""
    _libc("unshare", CLONE_NEWNET)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP | IFF_RUNNING))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Network:
    def __init__(self) -> None:
        self._file = _sockets.ask(_unshare).result()

    def ask(self, thread: _Inside, act: Callable[[], Any]) -> Future:
        """Have it done inside; it must not block."""

        def entered() -> Any:
            if self._file < 0:
                raise OSError("the network is gone")
            _libc("setns", self._file, CLONE_NEWNET)
            return act()

        return thread.ask(entered)

    def close(self) -> None:
        """It is gone once its last process and socket are."""
        file, self._file = self._file, -1
        _sockets.ask(lambda: _processes.ask(lambda: os.close(file)))  # after what was asked for before


def permitted() -> bool:
    """Whether tasks get networks of their own here."""
    global _permitted
    if _permitted is None:
        _permitted = False
        if settings.NAMESPACES and sys.platform == "linux":
            try:
                Network().close()
                _permitted = True
            except OSError as error:
                log.info("tasks share this machine's network: %s", error)
    return _permitted


def make(what: str) -> Network | None:
    """A network for a task; None where there are none."""
    if not permitted():
        return None
    _networks[what] = Network()
    return _networks[what]


def remove(what: str) -> None:
    network = _networks.pop(what, None)
    if network is not None:
        network.close()


def of(what: str) -> Network | None:
    return _networks.get(what)


def bound(what: str, make_socket: Callable[[], socket.socket]) -> socket.socket:
    """A socket made in the network that this is in, the machine's own if it has none."""
    network = _networks.get(what)
    return network.ask(_sockets, make_socket).result() if network is not None else make_socket()


def start(what: str, start_process: Callable[[], Made]) -> Made:
    """A process started there."""
    network = _networks.get(what)
    return network.ask(_processes, start_process).result() if network is not None else start_process()


async def towards(what: str) -> socket.socket:
    """A socket to connect to something in that network."""

    def make_socket() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        return made

    network = _networks.get(what)
    return make_socket() if network is None else await asyncio.wrap_future(network.ask(_sockets, make_socket))


async def open_connection(
    what: str, host: str, port: int, **more: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As asyncio's, to something in that network."""
    made = await towards(what)
    try:
        await asyncio.get_running_loop().sock_connect(made, (host, port))
        if more.get("ssl"):
            more["server_hostname"] = host
        return await asyncio.open_connection(sock=made, **more)
    except BaseException:
        made.close()
        raise


def install() -> None:
    permitted()


def reset() -> None:
    for what in list(_networks):
        remove(what)  # whatever has not left by itself


def stop() -> None:
    pass
