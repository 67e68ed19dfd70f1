"""A model server of our own on some of the CPUs, for as long as it is measured."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.serving_config import Entry, render
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.cli.commands.batching.choice import ServingFlags
from modelyard.services.cli.commands.batching.serving_file import write_parameters

START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 10.0
POLL_INTERVAL_S = 0.05


class MeasurementFailed(ModelyardError):
    """The model server that is measured does not come up."""


@contextmanager
def run_server(
    store: Store, versions: Mapping[str, int], flags: ServingFlags, cpus: frozenset[int]
) -> Iterator[ServingClient]:
    """A client of a model server that has loaded the versions, and computes on ``cpus`` alone.

    Raises:
        MeasurementFailed: it ends, or has not loaded them within two minutes.
    """
    with tempfile.TemporaryDirectory(prefix="modelyard-plan-") as name:
        folder = Path(name)
        config, parameters, log = folder / "models.config", folder / "batching.txt", folder / "log"
        config.write_text(render(store, {model: Entry((version,)) for model, version in versions.items()}))
        parameters.write_text(write_parameters(flags))
        command = [
            *(sys.executable, "-m", "modelyard.services.modelserver", "--port=0"),
            f"--grpc_socket_path={folder / 'sock'}",
            f"--model_config_file={config}",
            "--model_config_file_poll_wait_seconds=0",
            "--enable_batching",
            f"--batching_parameters_file={parameters}",
            f"--tensorflow_intra_op_parallelism={flags.intra_op}",
            f"--tensorflow_inter_op_parallelism={flags.inter_op}",
            f"--grpc_max_threads={4 * len(cpus)}",  # its default on a machine of so many
            "--enable_serialization_as_tensor_content",
        ]
        with log.open("wb") as output, use_cpus(cpus):
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
            )
        client = ServingClient(f"unix:{folder / 'sock'}")
        try:
            wait_loaded(client, versions, process, log)
            yield client
        finally:
            client.close()
            stop(process)


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """SIGTERM is as Ctrl-C meanwhile: no model server stays behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def use_cpus(cpus: frozenset[int]) -> Iterator[None]:
    """This thread, and what it starts, runs on these CPUs meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wait_loaded(
    client: ServingClient, versions: Mapping[str, int], process: subprocess.Popen[bytes], log: Path
) -> None:
    """Raises ``MeasurementFailed``."""
    deadline = time.monotonic() + START_DEADLINE_S
    waited_for = dict(versions)
    while waited_for:
        if process.poll() is not None or time.monotonic() > deadline:
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise MeasurementFailed(f"the model server that is measured did not start: {last}")
        waited_for = {model: version for model, version in waited_for.items() if not is_loaded(client, model, version)}
        if waited_for:
            time.sleep(POLL_INTERVAL_S)


def is_loaded(client: ServingClient, model: str, version: int) -> bool:
    try:
        return any(found.state == "AVAILABLE" for found in client.status(model, 1.0, version))
    except ServingFailed:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
