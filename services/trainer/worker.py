"""Composition root of the trainer: one Celery worker, one task. The task is an adapter; the job is ``pipeline.run``."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_ready
from kombu.exceptions import OperationalError

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services import broker, heartbeat, logs, queues
from modelyard.services.ledger import Ledger
from modelyard.services.metrics.server import serve_metrics
from modelyard.services.settings import InvalidSettings
from modelyard.services.sync.program import prepare_store, share_file
from modelyard.services.tracing.otlp import open_tracing, require_tracing
from modelyard.services.tracing.redis_client import RedisError
from modelyard.services.tracing.spans import Tracing
from modelyard.services.trainer.execute import execute
from modelyard.services.trainer.liveness import LoopLiveness, is_worker_alive
from modelyard.services.trainer.model_watch import watch_models
from modelyard.services.trainer.settings import TrainerSettings

log = structlog.get_logger()

RECOVERY_INTERVAL_S = 5.0
DRAIN_POLL_INTERVAL_S = 0.5


def build_app(settings: TrainerSettings, ledger: Ledger, name: str, forks: ForkServer) -> Celery:
    """The Celery application with its one task. The ledger records the name as the worker of a job."""
    app = broker.make_consumer(settings.broker, settings.visibility_timeout_s)
    app.Worker = make_draining_worker(app, ledger, name, settings.drain_s)

    @app.task(name=broker.TASK)  # type: ignore[untyped-decorator]  # Celery has no type information
    def train(job_id: str) -> None:
        with closing(Ledger(settings.ledger)) as own, tracing_job(settings) as tracing:  # after the fork, not shared
            execute(job_id, name, own, settings, forks, tracing)

    return app


@contextmanager
def tracing_job(settings: TrainerSettings) -> Iterator[Tracing | None]:
    """Tracing for the time of a job, at whose end everything is sent."""
    tracing = open_tracing(settings, "trainer")
    try:
        yield tracing
    finally:
        if tracing is not None:
            tracing.close()


def make_draining_worker(app: Celery, ledger: Ledger, name: str, drain_s: float) -> type[Any]:
    """Celery's worker, which on SIGTERM waits at most ``drain_s`` for its jobs; Celery's own always waits so long."""

    class DrainingWorker(app.Worker):  # type: ignore[misc]  # made by Celery for this application
        def wait_for_soft_shutdown(self) -> None:
            """Called in the main thread, in the signal's handler: meanwhile no other job is started."""
            deadline = time.monotonic() + drain_s
            while time.monotonic() < deadline and has_jobs(ledger, name):
                time.sleep(DRAIN_POLL_INTERVAL_S)

    return DrainingWorker


def has_jobs(ledger: Ledger, name: str) -> bool:
    """Whether a worker runs a job; True while the ledger cannot be reached."""
    try:
        return bool(ledger.jobs.list_held(name))
    except StorageFailed:
        return True


def verify(settings: TrainerSettings, ledger: Ledger, app: Celery) -> None:
    """Checks that store, ledger and broker can be used, before the worker accepts jobs.

    Raises:
        ModelyardError: one cannot be used; the text has which and why.
    """
    settings.require_protected(settings.list_servers(settings.serving))
    require_mlflow(settings)
    require_tracing(settings)
    prepare_store(settings)
    try:
        settings.work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"work folder {settings.work_dir} is not writable: {error.strerror}") from error
    ledger.prepare()
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=3, interval_start=0.2, timeout=5)
    except (OperationalError, OSError, RedisError) as error:
        raise broker.QueueUnavailable(f"the broker is not reachable: {error}") from error


def require_mlflow(settings: TrainerSettings) -> None:
    """Raises ``InvalidSettings`` if runs are to be recorded with a package that is not installed."""
    if settings.mlflow_url and find_spec("mlflow") is None:
        raise InvalidSettings(
            "MODELYARD_MLFLOW_URL: expected the package mlflow with it, which is not installed: "
            "pip install 'modelyard[mlflow]'"
        )


@contextmanager
def recover_jobs(
    settings: TrainerSettings, ledger: Ledger, app: Celery, name: str, served: Sequence[str], loop: LoopLiveness
) -> Iterator[None]:
    """Registers this worker and resends lost jobs, at an interval; at the end requeues the jobs that it still runs."""
    ended = threading.Event()

    def run_recovery() -> None:
        while True:
            try:
                ledger.end_stopped_writer()
                ledger.workers.register(name, served, settings.concurrency)
                if lost := broker.resend_lost(ledger, app):
                    log.warning("lost jobs resent", jobs=lost)
                if is_worker_alive(loop, ledger, name):
                    heartbeat.beat(settings.heartbeat)
            except ModelyardError as error:
                log.warning("recovery failed", cause=str(error))
            except Exception:
                log.exception("recovery failed")  # the outermost boundary of this thread, which has to go on
            if ended.wait(RECOVERY_INTERVAL_S):
                return

    thread = threading.Thread(target=run_recovery, name="recovery", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(5)
        requeue_jobs(ledger, app, name)


def requeue_jobs(ledger: Ledger, app: Celery, name: str) -> None:
    """Requeues the jobs that this worker still runs, at once: the broker would redeliver their messages much later."""
    try:
        ledger.workers.unregister(name)
        for job in ledger.jobs.release(name):
            log.info("job requeued", job=job.id)
            broker.send(app, job, ledger.workers.list_queues())
    except ModelyardError as error:
        log.warning("jobs not requeued: another worker will recover them", cause=str(error))


def main() -> int:
    """Runs until SIGTERM; a running job is then requeued."""
    settings = TrainerSettings.load()
    logs.configure("trainer", settings.log_level)
    log.info("starting", **settings.mask_secrets())
    with ForkServer() as forks:
        return work(settings, forks)


def work(settings: TrainerSettings, forks: ForkServer) -> int:
    """Takes jobs until SIGTERM; they train in ``forks``. Returns the exit status."""
    name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    with closing(Ledger(settings.ledger)) as ledger:
        app = build_app(settings, ledger, name, forks)
        served = queues.list_worker_queues(settings.gpu_count())
        loop = LoopLiveness()
        with ExitStack() as running:
            try:
                verify(settings, ledger, app)
                begin_watch = running.enter_context(
                    watch_models(
                        settings.store,
                        settings.sources(),
                        forks,
                        partial(share_file, settings),
                        settings.pools(settings.serving, settings.serving_files),
                    )
                )
            except ModelyardError as error:
                log.error("cannot start", cause=str(error))  # noqa: TRY400  # the text has the cause
                return error.exit_code
            # The pool of processes has been forked by then.
            worker_ready.connect(lambda **_: begin_watch(), weak=False)
            begin_metrics(settings, ledger, name)
            with recover_jobs(settings, ledger, app, name, served, loop), loop.watch_loop():
                run_worker(settings, app, served)
    return 0


def begin_metrics(settings: TrainerSettings, ledger: Ledger, name: str) -> None:
    """Serves the metrics, if the settings say so."""
    if settings.metrics_port:
        from modelyard.services.trainer.metrics import make_registry

        serve_metrics(settings, make_registry(settings, ledger, name))


def run_worker(settings: TrainerSettings, app: Celery, served: Sequence[str]) -> None:
    """Runs Celery's own loop."""
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(served)}",
            f"--concurrency={settings.concurrency}",
            f"--loglevel={settings.log_level}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
