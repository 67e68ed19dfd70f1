"""Composition root of the trainer: one Celery worker, one task. The task is an adapter; the job is ``pipeline.run``."""

import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from modelyard.models import catalog
from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.models.registry.store import Store
from modelyard.pipeline.forkserver import ForkServer
from modelyard.services import broker, heartbeat, logs
from modelyard.services.ledger import Ledger
from modelyard.services.trainer.drain import draining
from modelyard.services.trainer.execute import execute
from modelyard.services.trainer.liveness import Pulse, gets_on
from modelyard.services.trainer.settings import TrainerSettings

log = structlog.get_logger()

RECOVER_S = 5.0


def build(settings: TrainerSettings, name: str, forks: ForkServer) -> Celery:
    """The Celery application with its one task. The name says in the ledger who runs a job."""
    app = broker.consumer(settings.broker, settings.visibility_timeout_s)
    app.Worker = draining(app, settings.ledger, name, settings.drain_s)

    @app.task(name=broker.TASK)  # type: ignore[untyped-decorator]  # Celery has no type information
    def train(job_id: str) -> None:
        ledger = Ledger(settings.ledger)  # after the fork: connections must not be shared
        try:
            execute(job_id, name, ledger, settings, forks)
        finally:
            ledger.close()

    return app


def verify(settings: TrainerSettings, app: Celery) -> None:
    """Proves, before work is taken, that store, ledger and broker can be used.

    Raises:
        ModelyardError: names the one that cannot, and why.
    """
    Store(settings.store).prepare()
    try:
        settings.work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"work folder {settings.work_dir} is not writable: {error.strerror}") from error
    ledger = Ledger(settings.ledger)
    ledger.prepare()
    ledger.close()
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=3, interval_start=0.2, timeout=5)
    except (OperationalError, OSError, RedisError) as error:
        raise broker.QueueUnavailable(f"the broker is not reachable: {error}") from error


def announce(settings: TrainerSettings, forks: ForkServer) -> None:
    """Tells the other processes what can be trained, if that changed. Importing Keras takes seconds: not in here.

    Raises:
        ModelyardError: it cannot be described.
    """
    known = catalog.read(settings.store)
    if known is None or known.digest != catalog.digest():
        log.info("describing the zoo")
        with forks.start("modelyard.models.catalog", str(settings.store)) as process:
            errors = process.stderr.read().decode(errors="replace")
        if process.returncode:
            raise ModelyardError(f"the zoo cannot be described: {errors.strip()}")


@contextmanager
def recovering(
    settings: TrainerSettings, app: Celery, name: str, queues: Sequence[str], pulse: Pulse
) -> Iterator[None]:
    """Says that this worker is there and sends lost jobs again, every while; gives back at the end what it runs."""
    ledger, ended = Ledger(settings.ledger), threading.Event()

    def recover() -> None:
        while True:
            try:
                ledger.workers.hello(name, queues)
                if lost := broker.resend_lost(ledger, app):
                    log.warning("jobs sent again that had lost their message or their worker", jobs=lost)
                if gets_on(pulse, ledger, name):
                    heartbeat.beat(settings.heartbeat)
            except ModelyardError as error:
                log.warning("cannot look for lost jobs", cause=str(error))
            if ended.wait(RECOVER_S):
                return

    thread = threading.Thread(target=recover, name="recovery", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(5)
        hand_over(ledger, app, name)
        ledger.close()


def hand_over(ledger: Ledger, app: Celery, name: str) -> None:
    """What this worker still runs goes to whoever is free, now: the broker gave its message out while we held it."""
    try:
        ledger.workers.goodbye(name)
        for job in ledger.give_back(name):
            log.info("job handed back", job=job.id)
            broker.send(app, job, ledger.workers.queues())
    except ModelyardError as error:
        log.warning("jobs are left to be found by another worker", cause=str(error))


def main() -> int:
    """Runs until SIGTERM; a job in flight is then given back to the queue."""
    settings = TrainerSettings.load()
    logs.configure("trainer", settings.log_level)
    log.info("starting", **settings.shown())
    name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    with ForkServer() as forks:
        app = build(settings, name, forks)
        try:
            verify(settings, app)
            announce(settings, forks)
        except ModelyardError as error:
            log.error("cannot start", cause=str(error))  # noqa: TRY400  # the text is the whole story
            return error.exit_code
        queues = broker.queues_of_worker(settings.gpu_count())
        pulse = Pulse()
        with recovering(settings, app, name, queues, pulse), pulse.taken():
            work(settings, app, queues)
    return 0


def work(settings: TrainerSettings, app: Celery, queues: Sequence[str]) -> None:
    """Celery's own loop."""
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(queues)}",
            f"--concurrency={settings.concurrency}",
            f"--loglevel={settings.log_level}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
