"""Real processes behind emulated containers and databases.

One thread reads the output and notices the end of all of them. None outlives the emulator, not even after kill -9: a
keeper process holds the other end of a pipe, and when the pipe closes it kills every process group it was told of and
every process that carries this run's mark in its environment (which covers one started an instant before the end, and
one that left its group).

Callbacks run on that one thread and must not block. Limits on memory and CPU are not enforced.
"""

import collections
import contextlib
import heapq
import itertools
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from account import clock, control, namespaces

MARK = "REHEARSAL_KEEPER"
LINE_LIMIT = 256 * 1024  # CloudWatch Logs' largest event
READ_BYTES = 64 * 1024
log = logging.getLogger("rehearsal.processes")

_KEEPER = """
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
mark, groups = sys.argv[1].encode(), set()
for line in sys.stdin.buffer:
    (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
for _ in range(3):
    for group in groups:
        try: os.killpg(group, signal.SIGKILL)
        except OSError: pass
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid(): continue
        try:
            with open("/proc/" + name + "/environ", "rb") as f:
                if mark in f.read(): os.kill(int(name), signal.SIGKILL)
        except OSError: pass
    time.sleep(0.1)
"""


class Process:
    """A running program with its own session and process group. Made by `start`."""

    def __init__(self, argv: list[str], address: str, label: dict[str, Any], on_line, on_exit):
        self.argv = argv
        self.address = address
        self.label = label
        self.started = time.time()
        self.exit_code: int | None = None  # as a container's: 128 + n after signal n
        self._on_line = on_line
        self._on_exit = on_exit
        self._lock = threading.Lock()  # no signal may reach a pid that was given to someone else
        self._ended = threading.Event()
        self._partial = b""

    def _spawn(self, env: dict[str, str], cwd: str | None, uid: int | None) -> None:
        as_user = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        self._popen = subprocess.Popen(
            self.argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            **as_user,
        )
        self.pid = self._popen.pid
        os.set_blocking(self._popen.stdout.fileno(), False)

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    def send(self, number: int, group: bool = False) -> None:
        """To the first process only, as Docker does, or to all of its group. Nothing when it has ended."""
        with self._lock:
            if self.exit_code is None:
                try:
                    (os.killpg if group else os.kill)(self.pid, number)
                except ProcessLookupError:
                    pass

    def stop(self, timeout: float, number: int = signal.SIGTERM) -> None:
        """SIGTERM (or `number`), and SIGKILL to the whole group if it still runs `timeout` seconds later. Returns at
        once; see `wait`.
        """
        self.send(number)
        _loop.after(timeout, self.kill)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        self.send(signal.SIGKILL, group=True)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after `timeout` seconds. Not for callbacks: they run on the thread
        that notices the end.
        """
        self._ended.wait(timeout)
        return self.exit_code

    # On the loop's thread -----------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Hand on what was written since; False at the end of output."""
        while True:
            try:
                data = os.read(self._popen.stdout.fileno(), READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, rest = (self._partial + data).split(b"\n")
            if len(rest) > LINE_LIMIT:
                lines, rest = [*lines, rest], b""
            self._partial = rest
            for line in lines:
                self._call(self._on_line, line.decode(errors="replace").rstrip("\r"))

    def _finish(self) -> None:
        with self._lock:
            try:
                os.killpg(
                    self.pid, signal.SIGKILL
                )  # when its first process ends, a container ends; still a zombie, so the pid is ours
            except (ProcessLookupError, PermissionError):
                pass
            code = self._popen.wait()
            self.exit_code = code if code >= 0 else 128 - code
        self._read()
        if self._partial:
            self._call(self._on_line, self._partial.decode(errors="replace"))
            self._partial = b""
        self._popen.stdout.close()
        self._ended.set()
        self._call(self._on_exit, self.exit_code)

    def _call(self, callback, value) -> None:
        if callback is None:
            return
        try:
            callback(value)
        except Exception:
            log.exception("%s: callback", self.argv[0])


class _Loop:
    """The thread that reads, reaps and keeps time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._new: collections.deque = collections.deque()
        self._timers: list = []
        self._order = itertools.count()

    def _ensure(self) -> None:
        with self._lock:
            if self._thread is None:
                self._selector = selectors.DefaultSelector()
                self._awake, self._wake = os.pipe()
                os.set_blocking(self._awake, False)
                self._selector.register(self._awake, selectors.EVENT_READ, None)
                self._thread = threading.Thread(target=self._run, daemon=True, name="processes")
                self._thread.start()

    def add(self, process: Process) -> None:
        self._ensure()
        self._new.append(process)
        os.write(self._wake, b".")

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self._ensure()
        with self._lock:
            heapq.heappush(self._timers, (time.monotonic() + max(0.0, seconds), next(self._order), call))
        os.write(self._wake, b".")

    def _due(self) -> float | None:
        """Run timers that are due; seconds until the next one."""
        while True:
            with self._lock:
                if not self._timers:
                    return None
                wait = self._timers[0][0] - time.monotonic()
                if wait > 0:
                    return wait
                call = heapq.heappop(self._timers)[2]
            try:
                call()
            except Exception:
                log.exception("timer")

    def _watch(self, process: Process) -> None:
        self._selector.register(process._popen.stdout, selectors.EVENT_READ, (process, "output"))
        try:
            self._selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ, (process, "end"))
        except OSError:  # a kernel before 5.3

            def waited() -> None:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                self.after(0, lambda: self._end(process))

            threading.Thread(target=waited, daemon=True, name=f"wait-{process.pid}").start()

    def _end(self, process: Process) -> None:
        try:
            self._selector.unregister(process._popen.stdout)
        except (KeyError, ValueError):
            pass
        process._finish()
        _running.discard(process)
        _keeper.tell(b"-%d\n" % process.pid)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(self._due()):
                if key.data is None:
                    try:
                        os.read(self._awake, READ_BYTES)
                    except BlockingIOError:
                        pass
                    while self._new:
                        self._watch(self._new.popleft())
                    continue
                process, what = key.data
                if what == "end":
                    self._selector.unregister(key.fd)
                    os.close(key.fd)
                    self._end(process)
                elif process.alive and not process._read():
                    self._selector.unregister(process._popen.stdout)


class _Keeper:
    """The process that outlives us by an instant."""

    def __init__(self):
        self._lock = threading.Lock()
        self._popen: subprocess.Popen | None = None
        self.mark = uuid.uuid4().hex

    def tell(self, line: bytes) -> None:
        with self._lock:
            if self._popen is None:
                self._popen = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _KEEPER, f"{MARK}={self.mark}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,
                    bufsize=0,
                )
            try:
                self._popen.stdin.write(line)
            except (BrokenPipeError, ValueError):
                log.error("the keeper process is gone: children may outlive the emulator")

    def end(self) -> None:
        with self._lock:
            if self._popen is not None:
                self._popen.stdin.close()
                self._popen = None


_loop = _Loop()
_keeper = _Keeper()
_running: set[Process] = set()


def start(
    argv: list[str],
    env: dict[str, str],
    cwd: str | None,
    address: str = "",
    on_line: Callable[[str], None] | None = None,
    on_exit: Callable[[int], None] | None = None,
    uid: int | None = None,
    label: dict[str, Any] | None = None,
    within: str = "",
) -> Process:
    """Start a program with exactly this environment, plus HOST=`address` when one is given.

    on_line gets each line of stdout and stderr in the order written; on_exit the exit code after the last line. `label`
    says what it is for: `kill` and GET /_rehearsal/processes use `account` and `taskArn` or `database` of it. `within`
    says whose network it is in (namespaces.py). Raises OSError when the program cannot be run.
    """
    env = {**env, MARK: _keeper.mark}
    if address:
        env["HOST"] = address
    process = Process(argv, address, label or {}, on_line, on_exit)
    namespaces.start(within, lambda: process._spawn(env, cwd, uid))
    _keeper.tell(b"+%d\n" % process.pid)
    _running.add(process)
    _loop.add(process)
    return process


class Span:
    """Time since it was made, as what runs at an address could have used it: less what the thread that waited longest
    for a processor has waited, by the kernel's own count (/proc/<pid>/task/<tid>/schedstat). Where the kernel does not
    count, all of it. Limits of real processes are held against this: a busy machine is no fault of theirs.
    """

    def __init__(self, address: str, now: Callable[[], float] = clock.monotonic):
        self._address, self._now = address, now
        self._began, self._lost, self._waits = now(), 0.0, _waits(address)

    def exceeds(self, seconds: float) -> bool:
        elapsed = self._now() - self._began
        return elapsed >= seconds and elapsed - self._waited() >= seconds

    def _waited(self) -> float:
        before, self._waits = self._waits, _waits(self._address)
        self._lost += max((now - before.get(thread, 0) for thread, now in self._waits.items()), default=0) / 1e9
        return self._lost


def _waits(address: str) -> dict[int, int]:
    """How many nanoseconds each thread of what runs at the address has waited for a processor so far, by its id."""
    sessions = {process.pid for process in list(_running) if process.address == address}
    if not sessions or not os.path.isdir("/proc"):
        return {}
    found: dict[int, int] = {}
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        with contextlib.suppress(OSError):  # it has ended
            for thread in os.listdir(f"/proc/{pid}/task") if os.getsid(pid) in sessions else []:
                counted = _read_of(pid, f"task/{thread}/schedstat").split()
                if len(counted) > 1:
                    found[int(thread)] = int(counted[1])
    return found


@contextlib.contextmanager
def standing_still(process: Process):
    """A process and its children do nothing meanwhile. While their parent stands, nobody else gets the pid of a child
    that ends.
    """
    process.send(signal.SIGSTOP)
    try:
        _stands(process.pid)
        children = [int(pid) for pid in _read_of(process.pid, f"task/{process.pid}/children").split()]
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        try:
            for pid in children:
                _stands(pid)
            yield
        finally:
            for pid in children:
                os.kill(pid, signal.SIGCONT)
    finally:
        process.send(signal.SIGCONT)


def _read_of(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}") as file:
            return file.read()
    except OSError:  # it has ended
        return ""


def _stands(pid: int) -> None:
    """Return when it has stopped or ended: a signal takes a moment."""
    while (stat := _read_of(pid, "stat")) and stat.rpartition(")")[2].split()[0] not in "TtZX":
        time.sleep(0.001)


def running(**label: Any) -> list[Process]:
    """Those whose label has all of these."""
    return [p for p in list(_running) if p.alive and all(p.label.get(k) == v for k, v in label.items())]


def kill(signal_name: str = "SIGKILL", **label: Any) -> int:
    """Send a signal from outside, without AWS's knowledge. Returns how many processes got it. LookupError when there is
    none.
    """
    number = getattr(signal, signal_name, None)
    if not isinstance(number, signal.Signals):
        raise ValueError(f"no such signal: {signal_name!r}")
    found = running(**label)
    if not found:
        raise LookupError(f"no process runs for {label}")
    for process in found:
        process.send(number, group=number == signal.SIGKILL)
    return len(found)


def kill_all() -> None:
    found = list(_running)
    for process in found:
        process.kill()
    deadline = time.monotonic() + 3
    for process in found:
        process.wait(max(0.0, deadline - time.monotonic()))


def _table(_request: control.Request) -> dict:
    rows = [
        {"pid": p.pid, "address": p.address, "argv": p.argv, "since": p.started, **p.label}
        for p in list(_running)
        if p.alive
    ]
    return {"processes": sorted(rows, key=lambda row: row["since"])}


def _kill_asked(request: control.Request) -> dict:
    body = request.body or {}
    which = {k: body[k] for k in ("account", "taskArn", "database") if body.get(k)}
    if "account" not in which or len(which) != 2:
        raise ValueError("give account and either taskArn or database")
    return {"killed": kill(body.get("signal") or "SIGKILL", **which)}


def install() -> None:
    control.route("GET", "/processes", _table)
    control.route("POST", "/processes/kill", _kill_asked)


def reset() -> None:
    kill_all()


def stop() -> None:
    kill_all()
    _keeper.end()
