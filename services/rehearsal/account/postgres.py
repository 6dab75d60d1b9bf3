"""The PostgreSQL server behind an emulated RDS instance: a real one, from the directory settings.PGBIN, on an address
of its own.

As on RDS, the superuser is `rdsadmin` and nobody can sign in as it from outside; the master user is a member of
`rds_superuser`, may make roles and databases, and is no superuser. TLS is on, with a certificate made here. It loses
nothing that was committed when it is killed, only in a power cut: it writes, but does not wait for the disk.
"""

import functools
import logging
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import Callable

from account import certificate, processes, settings

NOBODY = 65534  # PostgreSQL refuses to run as root
HERE = "/proc/self/cwd"  # as nobody it may not walk to its directory, but it may stay in the one it was started in
SUPERUSER = "rdsadmin"
READY_SECONDS = 60
STOP_SECONDS = 5
SETTINGS = {
    "autovacuum_naptime": "5min",
    "dynamic_shared_memory_type": "mmap",  # containers have a small /dev/shm, and a killed server leaves nothing there
    "fsync": "off",
    "full_page_writes": "off",
    "huge_pages": "off",
    "io_method": "sync",
    "jit": "off",
    "log_min_error_statement": "panic",  # statements carry passwords
    "log_timezone": "UTC",
    "max_wal_senders": "0",
    "max_wal_size": "64MB",
    "min_wal_size": "2MB",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "16MB",
    "ssl": "on",
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
    "timezone": "UTC",
    "unix_socket_directories": ".",
    "wal_level": "minimal",
}
ROLES = """
create role rds_superuser;
create role rds_password;
create role rds_iam;
grant pg_monitor, pg_signal_backend, pg_checkpoint, pg_use_reserved_connections, rds_password
  to rds_superuser with admin option;
"""
log = logging.getLogger("rehearsal.postgres")


class ServerError(Exception):
    """The server does not start, or refuses a statement."""


def as_nobody() -> dict:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}


def identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@functools.cache
def authority() -> certificate.Authority:
    """What signs the certificates of all instances, as the root of a region does for RDS:
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
    """
    return certificate.authority("Emulated Amazon RDS Root CA")


_template_lock = threading.Lock()


def _template() -> Path:
    """An empty cluster, made once a run: copying it is faster than initdb."""
    path = settings.DIRECTORY / "databases" / "template"
    with _template_lock:
        if (path / "PG_VERSION").exists():
            return path
        _fresh_directory(path)
        command = [
            f"{settings.PGBIN}/initdb",
            "-D",
            HERE,
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--wal-segsize=1",
            "--no-sync",
            "--no-instructions",
        ]
        made = subprocess.run(
            command,
            cwd=path,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            **as_nobody(),
        )
        if made.returncode:
            shutil.rmtree(path)
            raise ServerError(f"initdb: {made.stderr.strip()}")
        return path


def _fresh_directory(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o700)
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)


class Server:
    """One server and its data. `label` names it for those who look at processes; `died` is called when it ends without
    being asked.
    """

    def __init__(self, directory: Path, address: str, port: int, label: dict, died: Callable[[], None]):
        self.directory, self.address, self.port, self.label, self.died = directory, address, port, label, died
        self.process: processes.Process | None = None
        self.wanted = False
        self.discarded = False
        self.said: deque[str] = deque(maxlen=20)
        self._files = threading.Lock()

    def make(self, name: str, also: list[str], data: Path | None = None) -> None:
        """Its data directory, with a certificate for `name` and `also`: an empty one, or what `copy` or `discard` left."""
        template = data or _template()
        public, private = certificate.make(name, also, authority())
        with self._files:
            if self.discarded:
                raise ServerError("it was given up")
            subprocess.run(["cp", "-a", str(template), str(self.directory)], check=True)
            self._write("server.crt", public)
            self._write("server.key", private)

    def prepare(self, user: str, password: str, database: str | None) -> None:
        """The master user, and the first database if there is to be one besides `postgres`."""
        self.sql(ROLES)
        master = identifier(user)
        self.sql(f"create role {master} login createdb createrole password {literal(password)} in role rds_superuser")
        self.sql(f"alter database postgres owner to {master}")
        if database and database != "postgres":
            self.sql(f"create database {identifier(database)} owner {master}")

    def start(self, max_connections: int, force_ssl: bool) -> None:
        """Returns when it answers. Raises ServerError."""
        lines = [
            f"local all {SUPERUSER} trust",
            f"host all {SUPERUSER} all reject",
            "hostssl all all all scram-sha-256",
        ]
        self._write(
            "pg_hba.conf", "\n".join(lines + ([] if force_ssl else ["hostnossl all all all scram-sha-256"])) + "\n"
        )
        (self.directory / "postmaster.pid").unlink(
            missing_ok=True
        )  # of one that was killed; ours has ended, or we would not be here
        given = {
            **SETTINGS,
            "listen_addresses": self.address,
            "port": str(self.port),
            "max_connections": str(max_connections),
        }
        command = [f"{settings.PGBIN}/postgres", "-D", HERE]
        for name, value in given.items():
            command += ["-c", f"{name}={value}"]
        self.said.clear()
        self.wanted = not self.discarded
        self.process = process = processes.start(
            command,
            {"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            str(self.directory),
            self.address,
            on_line=self.said.append,
            on_exit=lambda code: self._ended(process, code),
            uid=NOBODY if os.getuid() == 0 else None,
            label=self.label,
        )
        if self.discarded:  # meanwhile
            process.kill()
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                return self.sql("select 1")
            except (OSError, ServerError) as error:
                if not process.alive or time.monotonic() > deadline:
                    raise ServerError(f"PostgreSQL does not start: {' | '.join(self.said) or error}") from None
                time.sleep(0.02)

    def _ended(self, process: processes.Process, code: int) -> None:
        if self.wanted and self.process is process:
            self.wanted = False
            log.warning("%s ended with %s: %s", self.label, code, " | ".join(self.said))
            self.died()

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.alive

    def stop(self) -> None:
        """Its sessions are ended; what was committed is kept."""
        self.wanted = False
        if self.process is not None and self.process.alive:
            self.process.stop(STOP_SECONDS, processes.signal.SIGINT)
            self.process.wait(STOP_SECONDS + 1)

    def copy(self, to: Path) -> None:
        """Its data of one instant, as a snapshot of its volume has them: nothing is written meanwhile, and what starts
        from the copy recovers as after a crash. (Of one zone, RDS's snapshots suspend writing too.)
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        with self._files, processes.standing_still(self.process):
            subprocess.run(["cp", "-a", str(self.directory), str(to)], check=True)

    def discard(self, keep: Path | None = None) -> None:
        """Stop it and remove its data, or move them to `keep`. It never starts again."""
        self.wanted, self.discarded = False, True
        if self.process is not None and self.process.alive:
            self.process.stop(1, processes.signal.SIGQUIT)
            self.process.wait(2)
        with self._files:
            if keep:
                keep.parent.mkdir(parents=True, exist_ok=True)
                self.directory.rename(keep)
            shutil.rmtree(self.directory, ignore_errors=True)

    def sql(self, text: str) -> None:
        """Run statements as the superuser, over the Unix socket in its data directory. Raises ServerError, OSError."""
        descriptor = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
                wire.settimeout(30)
                wire.connect(
                    f"/proc/self/fd/{descriptor}/.s.PGSQL.{self.port}"
                )  # a Unix socket's path has at most 107 characters
                body = struct.pack("!i", 196608) + f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
                wire.sendall(struct.pack("!i", len(body) + 4) + body)
                _until_ready(wire)
                query = text.encode() + b"\0"
                wire.sendall(b"Q" + struct.pack("!i", len(query) + 4) + query)
                _until_ready(wire)
        finally:
            os.close(descriptor)

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)
        if os.getuid() == 0:
            os.chown(path, NOBODY, NOBODY)


def _until_ready(wire: socket.socket) -> None:
    """Read messages of PostgreSQL's protocol 3 up to ReadyForQuery. Raises ServerError with the first error."""
    failure = None
    while True:
        kind, size = struct.unpack("!ci", _exactly(wire, 5))
        body = _exactly(wire, size - 4)
        if kind == b"E":
            fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
            failure = failure or fields.get(b"M", "error")
            if fields.get(b"S") in ("FATAL", "PANIC"):
                raise ServerError(failure)
        elif kind == b"Z":
            if failure:
                raise ServerError(failure)
            return


def _exactly(wire: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = wire.recv(size - len(data))
        if not more:
            raise ConnectionError("the server closed the connection")
        data += more
    return data
