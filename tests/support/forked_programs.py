"""What forks run instead of ``python -m modelyard...``: the same program, without the seconds that its imports take."""

import gc
import json
import logging
import os
import sys
from contextlib import closing
from pathlib import Path

os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")  # as modelyard.services.trainer does before it imports Celery

import typer

from modelyard.pipeline import __main__ as pipeline
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services import logs
from modelyard.services.cli import entry
from modelyard.services.cli.main import app
from modelyard.services.gateway import __main__ as gateway
from modelyard.services.gateway import lifecycle
from modelyard.services.modelserver import __main__ as modelserver
from modelyard.services.scheduler import scheduler
from modelyard.services.trainer.settings import TrainerSettings
from modelyard.services.trainer.worker import work

assert lifecycle.create_app  # which the gateway's program imports once it has begun
list(typer.main.get_command(app).commands.values())  # whose modules a command imports once it has begun


def main(program: str, *arguments: str) -> None:
    PROGRAMS[program](*arguments)


def run_command(environment: str, folder: str, *arguments: str) -> None:
    """``modelyard ...``, in a folder."""
    set_environment(environment)
    os.chdir(folder)
    sys.argv = ["modelyard", *arguments]
    entry.main()


def run_gateway(environment: str, log: str) -> None:
    """``python -m modelyard.services.gateway``."""
    begin(environment, log)
    gc.disable()
    sys.exit(gateway.main())


def run_modelserver(environment: str, log: str, *flags: str) -> None:
    """``python -m modelyard.services.modelserver``."""
    begin(environment, log)
    status = modelserver.main(flags)
    logging.shutdown()
    os._exit(status)


def run_scheduler(environment: str, log: str) -> None:
    """``python -m modelyard.services.scheduler``."""
    begin(environment, log)
    sys.exit(scheduler.main())


def run_worker(environment: str, log: str) -> None:
    """``python -m modelyard.services.trainer``, whose fork server is a fork of it."""
    begin(environment, log)
    settings = TrainerSettings.load()
    logs.configure("trainer", settings.log_level)
    with ForkServer(fork=True) as forks:
        sys.exit(work(settings, forks))


def train(model: str, folder: str, *overrides: str) -> None:
    """``python -m modelyard.pipeline`` on what ships with the project: a store, and what it needs besides."""
    places = {f"{name}_dir": Path(folder, name) for name in ("data", "work", "tensorboard")}
    pipeline.main(model, set_=list(overrides), data="sample", store=Path(folder, "store"), **places)


def begin(environment: str, log: str) -> None:
    """As a service in this environment, whose output goes into a file."""
    set_environment(environment)
    with closing(Path(log).open("wb")) as out:
        for number in (1, 2):
            os.dup2(out.fileno(), number)


def set_environment(environment: str) -> None:
    os.environ.clear()
    os.environ.update(json.loads(environment))
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))  # which Python has read at its start


PROGRAMS = {
    "command": run_command,
    "gateway": run_gateway,
    "modelserver": run_modelserver,
    "scheduler": run_scheduler,
    "worker": run_worker,
    "training": train,
}
