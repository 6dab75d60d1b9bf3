"""The entry point of the rehearsal's `langgraph-server` image: the real LangGraph API server, third-party runtime.

Test dependency only, never shipped: langgraph-api is under the Elastic License 2.0 (see requirements.txt); in
production a deployment runs the customer's own licensed image. This file takes the environment that such an image
takes and mends what the third-party PostgreSQL runtime leaves out:

- DATABASE_URI, or POSTGRES_URI_CUSTOM before it; REDIS_URI, or REDIS_URI_CUSTOM before it (the runtime reads only the
  first of each pair);
- `sslmode=require` encrypts without verifying, as libpq does it (asyncpg's `ssl=True` verifies, and refuses RDS's own
  certificate authority);
- LANGGRAPH_POSTGRES_POOL_MAX_SIZE bounds the connection pool; a password may hold any character that a URI may;
- what is stored as JSON may hold whatever the server puts there, a run's authenticated user among it;
- several servers may start at once on an empty database: one migrates, the others wait;
- SIGTERM stops the claiming of runs at once, then lets requests and runs in flight finish for
  BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS (default 180); the exit code is then 0;
- /metrics holds the queue's gauges (pending and running runs, workers).

Also read: HOST (0.0.0.0), PORT (8000), LANGSERVE_GRAPHS, MOUNT_PREFIX, N_JOBS_PER_WORKER, LANGSMITH_HOST_REVISION_ID
(shown by /info) and whatever else langgraph-api reads. STARTUP_DELAY_SECONDS, for tests, makes a slow start.
"""

import asyncio
import contextlib
import functools
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

environment = os.environ
for name, instead in (("DATABASE_URI", "POSTGRES_URI_CUSTOM"), ("REDIS_URI", "REDIS_URI_CUSTOM")):
    if environment.get(instead):
        environment[name] = environment[instead]
if not environment.get("DATABASE_URI") and environment.get("POSTGRES_URI"):
    environment["DATABASE_URI"] = environment["POSTGRES_URI"]
for name in ("DATABASE_URI", "REDIS_URI", "LANGSERVE_GRAPHS"):
    if not environment.get(name):
        sys.exit(f"{name} is not set")
environment["LANGGRAPH_RUNTIME_EDITION"] = "pg"
environment.setdefault("LANGGRAPH_NO_VERSION_CHECK", "true")
environment.setdefault("LANGSMITH_TRACING", "false")  # nothing may leave the machine
if pool := environment.get("LANGGRAPH_POSTGRES_POOL_MAX_SIZE"):
    environment.setdefault("PG_POOL_SIZE", str(min(int(pool), 20)))
    environment.setdefault("PG_MAX_OVERFLOW", str(max(min(int(pool) - 20, 20), 0)))

import psycopg  # noqa: E402  (the environment comes first: these packages read it when they are imported)
import uvicorn  # noqa: E402
from langgraph_runtime_pg import database, lifespan as runtime_lifespan, metrics, migrate, queue  # noqa: E402

GRACE = float(environment.get("BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS", "180"))
MIGRATION_LOCK = 7_305_811_945_420_113  # any number that nothing else on the database uses

term_at: float | None = None  # monotonic time of the first SIGTERM
failure: BaseException | None = None  # why the server did not start


# --- the database

_build_ssl = database._build_asyncpg_ssl_connect_arg
_alembic_url = migrate.to_sync_url
_start_pool = database.start_pool


def build_ssl(ssl: dict[str, str | None]) -> Any:
    return "require" if ssl.get("sslmode") == "require" and not ssl.get("sslrootcert") else _build_ssl(ssl)


async def start_pool() -> None:
    """Migrate under a lock. Polled: a connection that *waits* for a lock holds a snapshot, and CREATE INDEX
    CONCURRENTLY waits for snapshots."""
    uri = database.to_psycopg_uri()
    async with await psycopg.AsyncConnection.connect(uri, autocommit=True, connect_timeout=10) as lock:
        while not (await (await lock.execute("select pg_try_advisory_lock(%s)", (MIGRATION_LOCK,))).fetchone())[0]:
            await asyncio.sleep(0.1)
        await _start_pool()


def as_json(value: Any) -> str:
    from langgraph_api import serde

    return serde.json_dumpb(value).decode()


database.create_async_engine = functools.partial(database.create_async_engine, json_serializer=as_json)
database._build_asyncpg_ssl_connect_arg = build_ssl
migrate.to_sync_url = lambda uri: _alembic_url(uri).replace("%", "%%")  # Alembic's configuration interpolates %
runtime_lifespan.start_pool = database.start_pool = start_pool


# --- the end

_claim = queue._claim_and_dispatch
_shutdown_workers = queue._shutdown_workers


async def claim(*arguments: Any) -> object:
    if term_at is None:
        return await _claim(*arguments)
    await asyncio.sleep(0.1)
    return None


async def shutdown_workers(webhooks: set) -> None:
    """Runs still going have the rest of the grace period; then the runtime puts them back to pending, for others."""
    running = [asyncio.wrap_future(w) if not asyncio.isfuture(w) else w for w in queue._workers_snapshot()]
    if running and term_at is not None:
        await asyncio.wait(running, timeout=max(0.0, term_at + GRACE - time.monotonic()))
    await _shutdown_workers(webhooks)


queue._claim_and_dispatch = claim
queue._shutdown_workers = shutdown_workers


class Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        global term_at
        term_at = term_at or time.monotonic()
        super().handle_exit(sig, frame)


# --- metrics

_lifespan = runtime_lifespan.lifespan


def get_metrics() -> dict[str, dict[str, int]]:
    from langgraph_api import config

    most, active = config.N_JOBS_PER_WORKER, queue.get_num_workers()
    return {"workers": {"max": most, "active": active, "available": most - active}}


async def sample(reporter: Any) -> None:
    from langgraph_api import config, metrics_otlp
    from langgraph_runtime_pg import ops

    while True:
        with contextlib.suppress(Exception):
            if config.N_JOBS_PER_WORKER > 0:
                workers = get_metrics()["workers"]
                reporter.record_gauge(metrics_otlp.GAUGE_WORKERS_MAX, workers["max"])
                reporter.record_gauge(metrics_otlp.GAUGE_WORKERS_ACTIVE, workers["active"])
                reporter.record_gauge(metrics_otlp.GAUGE_WORKERS_AVAILABLE, workers["available"])
            async with database.connect() as connection:
                runs = await ops.Runs.stats(connection)
            reporter.record_gauge(metrics_otlp.GAUGE_NUM_PENDING_RUNS, runs["n_pending"])
            reporter.record_gauge(metrics_otlp.GAUGE_NUM_RUNNING_RUNS, runs["n_running"])
        await asyncio.sleep(config.STATS_INTERVAL_SECS)


@contextlib.asynccontextmanager
async def lifespan(app: Any = None, **options: Any) -> AsyncIterator[None]:
    global failure
    from langgraph_api import metrics_otlp

    reporter = metrics_otlp.get_otlp_metrics_reporter()
    reporter.initialize()
    try:
        async with _lifespan(app, **options):
            sampling = asyncio.create_task(sample(reporter))
            try:
                yield
            finally:
                sampling.cancel()
    except Exception as error:
        failure = error
        raise
    reporter.shutdown()


lifespan.get_last_error = _lifespan.get_last_error  # type: ignore[attr-defined]
metrics.get_metrics = get_metrics
runtime_lifespan.lifespan = lifespan


def main() -> None:
    import langgraph_api

    time.sleep(float(environment.get("STARTUP_DELAY_SECONDS", "0")))
    # uvicorn raises the signal once more at its end; as process 1 of a container we would ignore it and exit with 0.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging = json.loads((pathlib.Path(langgraph_api.__file__).parent.parent / "logging.json").read_text())
    server = Server(
        uvicorn.Config(
            "langgraph_api.server:app",
            host=environment.get("HOST", "0.0.0.0"),
            port=int(environment.get("PORT", "8000")),
            access_log=False,
            log_config=logging,
            timeout_graceful_shutdown=max(1, int(GRACE)),
        )
    )
    try:
        server.run()
    finally:
        if failure is not None:  # the cause last: what comes before it is the runtime closing what it had opened
            cause = " ".join(str(failure).split())
            print(json.dumps({"event": f"the server did not start: {cause}", "level": "error"}), flush=True)


if __name__ == "__main__":
    main()
