"""Start the emulated account: `python -m account` in services/rehearsal, or `python services/rehearsal/account`.

Read from the environment, here only:
  REHEARSAL_PORT        port on 127.0.0.1; 0 or unset: any free one
  REHEARSAL_DIR         directory for this run's state (databases, logs); unset: a temporary one, removed at the end
  REHEARSAL_TEMPORARY   remove that directory at the end, too: whoever made it may have been killed
  REHEARSAL_PACE        AWS's own durations are divided by it (1 = as AWS)
  REHEARSAL_TIMER_PACE  timers that the caller configured are divided by it
  REHEARSAL_SEED        a number that all chance comes from: jitter, the order of lists, ids
  REHEARSAL_LAG         how late reads see what was written is multiplied by it (1 = as AWS at this pace, 0 = at once)
  REHEARSAL_THROTTLE    off: request rates are not enforced
  REHEARSAL_NAMESPACES  off: tasks share this machine's network, though it permits them ones of their own
  REHEARSAL_PGBIN       directory with initdb and postgres
  REHEARSAL_CATALOGUE   the images catalogue
  REHEARSAL_PARENT      pid to die with
  REHEARSAL_READY_FD    file descriptor to write {"port": n} to when requests are answered; unset: a line on standard
                        output

One asyncio process serves every account and region. Requests pass, from outside in: the balancers' names
(balancer.serve), our own paths (control), the call log, request rates and faults (trail, throttle, faults), then
ministack with AUTH=true and the parts that our modules replace.
"""

import asyncio
import importlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

sys.path[:] = [str(Path(__file__).resolve().parents[1])] + [
    p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent
]

from account import control, settings  # noqa: E402

# Order matters: later modules use earlier ones.
MODULES = [
    "clock",
    "durations",
    "pages",
    "trail",
    "faults",
    "throttle",
    "identities",
    "policy",
    "queues",
    "events",
    "cloudtrail",
    "notices",
    "processes",
    "namespaces",
    "reachability",
    "addresses",
    "images",
    "layers",
    "registry",
    "databases",
    "cloudmap",
    "secretvalues",
    "keys",
    "parameters",
    "balancer",
    "ecs",
    "autoscaling",
    "lists",
    "network",
    "retention",
    "logs",
    "consistency",
    "stackrights",
    "cloudformation",
    "quotas",
    "inputs",
]
PARENT_LOOK_SECONDS = 0.2
STOP_LIMIT_SECONDS = 4
log = logging.getLogger("rehearsal")


def configure() -> tuple[socket.socket, bool]:
    """Fill in `settings` and ministack's own environment. Returns the listening socket and whether DIRECTORY is ours
    to remove.
    """
    env = os.environ
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(env.get("REHEARSAL_PORT") or 0)))
    listener.listen(1024)
    settings.PORT = listener.getsockname()[1]
    settings.ENDPOINT = f"http://127.0.0.1:{settings.PORT}"
    settings.PACE = float(env.get("REHEARSAL_PACE") or 1)
    settings.TIMER_PACE = float(env.get("REHEARSAL_TIMER_PACE") or 1)
    settings.SEED = int(env.get("REHEARSAL_SEED") or settings.SEED)
    settings.LAG = float(env.get("REHEARSAL_LAG") or 1)
    settings.THROTTLE = env.get("REHEARSAL_THROTTLE") != "off"
    settings.NAMESPACES = env.get("REHEARSAL_NAMESPACES") != "off"
    settings.PGBIN = env.get("REHEARSAL_PGBIN", "")
    settings.CATALOGUE = env.get("REHEARSAL_CATALOGUE", "")
    given = env.get("REHEARSAL_DIR")
    settings.DIRECTORY = Path(given or tempfile.mkdtemp(prefix="rehearsal-"))
    settings.DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name in [n for n in env if n.startswith("AWS_")]:
        del env[name]  # an endpoint or a key of whoever started us would turn the emulator's own calls outward
    env.update(
        AUTH="true",
        GATEWAY_PORT=str(settings.PORT),
        BIND_HOST="127.0.0.1",
        MINISTACK_HOST="127.0.0.1",
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        RDS_BASE_PORT="0",
        DOCKER_HOST=f"unix://{settings.DIRECTORY}/no-docker.sock",  # never the machine's own Docker
        LOG_LEVEL=env.get("LOG_LEVEL", "WARNING"),
        TMPDIR=str(settings.DIRECTORY),
        S3_DATA_DIR=str(settings.DIRECTORY / "s3"),
        MINISTACK_WORKER_THREADS="128",
        PYTHONPATH=str(Path(__file__).parent / "lambda"),  # inline functions find what AWS Lambda gives them
        NODE_PATH=str(settings.ROOT / "node_modules"),
    )
    tempfile.tempdir = str(settings.DIRECTORY)
    return listener, not given or bool(env.get("REHEARSAL_TEMPORARY"))


def watch_parent(pid: int, gone) -> None:
    """Call `gone` once process `pid` has ended, however it ended."""
    child = os.getppid() == pid

    def alive() -> bool:
        if child:
            return os.getppid() == pid
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except FileNotFoundError:
            return False

    def look() -> None:
        while alive():
            time.sleep(PARENT_LOOK_SECONDS)
        gone()

    threading.Thread(target=look, daemon=True, name="parent").start()


def shell(inner, balancer, registry, ready):
    """The outermost ASGI application."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":

            async def announced(message):
                await send(message)
                if message["type"] == "lifespan.startup.complete":
                    ready()

            return await inner(scope, receive, announced)
        if scope["type"] == "http":
            host = next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"), "")
            if scope["path"].startswith("http://"):  # sent to us as a proxy: the target names host and path
                target = urlsplit(scope["path"])
                host = target.netloc
                raw = scope.get("raw_path", b"").split(b"://", 1)[-1].partition(b"/")[2]
                headers = [(n, v) for n, v in scope["headers"] if n.lower() != b"host"] + [(b"host", host.encode())]
                scope = {**scope, "path": target.path or "/", "raw_path": b"/" + raw, "headers": headers}
            if balancer is not None and balancer.owns(host):
                return await balancer.serve(scope, receive, send)
            if registry is not None and registry.owns(host):
                return await registry.serve(scope, receive, send)
            if scope["path"].startswith("/_rehearsal/"):
                return await own(scope, receive, send)
        return await inner(scope, receive, send)

    return app


async def own(scope, receive, send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    query = dict(parse_qsl(scope.get("query_string", b"").decode()))
    try:
        request = control.Request(
            scope["method"], scope["path"].removeprefix("/_rehearsal"), query, json.loads(body) if body else None
        )
        status, answer = await control.serve(request)
    except Exception as error:
        log.exception("%s %s", scope["method"], scope["path"])
        status, answer = 500, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def main() -> None:
    fd = os.environ.get("REHEARSAL_READY_FD")
    parent = int(os.environ.get("REHEARSAL_PARENT") or 0)
    listener, temporary = configure()
    logging.basicConfig(level=os.environ["LOG_LEVEL"], format="%(asctime)s %(levelname)s %(name)s %(message)s")

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app as ministack

    modules = [importlib.import_module(f"account.{name}") for name in MODULES]
    for module in modules:
        module.install()
    named = {module.__name__.rpartition(".")[2]: module for module in modules}

    once = threading.Lock()

    def stop() -> None:
        if not once.acquire(blocking=False):
            return
        for module in reversed(modules):
            try:
                module.stop()
            except Exception:
                log.exception("stopping %s", module.__name__)
        if temporary:
            shutil.rmtree(settings.DIRECTORY, ignore_errors=True)

    def end_now() -> None:
        threading.Thread(target=lambda: (time.sleep(STOP_LIMIT_SECONDS), os._exit(1)), daemon=True).start()
        stop()
        os._exit(0)

    def reset(_request) -> dict:
        for module in reversed(modules):
            module.reset()
        ministack._reset_all_state()
        for module in modules:
            if hasattr(module, "seed"):
                module.seed()  # what an account has from the start
        return {}

    control.route("POST", "/reset", reset)
    control.route(
        "GET",
        "/health",
        lambda _: {
            "pid": os.getpid(),
            "port": settings.PORT,
            "pace": settings.PACE,
            "timerPace": settings.TIMER_PACE,
            "modules": sorted(named),
            "namespaces": named["namespaces"].permitted(),
        },
    )

    def ready() -> None:
        line = json.dumps({"port": settings.PORT}) + "\n"
        if fd:
            os.write(int(fd), line.encode())
            os.close(int(fd))
        else:
            print(f"rehearsal: {settings.ENDPOINT}", flush=True)

    async def run() -> None:
        loop, ending = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        config = Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.keep_alive_timeout = 75
        config.graceful_timeout = 0.1
        config.shutdown_timeout = 1
        config.loglevel = os.environ["LOG_LEVEL"]
        config.h11_max_incomplete_size = 1 << 20
        inner = ministack.app
        for name in ("faults", "throttle", "trail"):  # innermost first
            if name in named:
                inner = named[name].wrap(inner)
        app = shell(inner, named.get("balancer"), named.get("registry"), ready)

        async def asked_to_end() -> None:
            await ending.wait()
            threading.Thread(target=lambda: (time.sleep(STOP_LIMIT_SECONDS), os._exit(1)), daemon=True).start()

        await serve(app, config, shutdown_trigger=asked_to_end)

    if parent:
        watch_parent(parent, end_now)
    try:
        asyncio.run(run())
    finally:
        stop()
    os._exit(0)  # worker threads that still wait for something must not keep us


if __name__ == "__main__":
    main()
