"""A whole system of real processes, as ``modelyard up`` starts it, on free ports and in a temporary folder."""

import fcntl
import fnmatch
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.http import http
from tests.support.order import FolderScheduling, keep_together, longest_first
from tests.support.ports import free_port
from tests.support.programs import train
from tests.support.rehearsals import share_rehearsals
from tests.support.shared_forks import forks, share_forks
from tests.support.waiting import LONG_TIMEOUTS, wait_until

if TYPE_CHECKING:
    from tests.support.training import TrainingCluster  # which stands on this module

__all__ = ["forks"]
SHARED = "tests/system/up/"
LONGEST = (
    *("up", "test_project", "test_workers", "test_postgres", "test_takeovers", "test_queue_faults"),
    *("test_canary", "test_clients", "test_wheel", "test_search"),
)
LITTLE = ("epochs=2", "min_steps=100")
"""Enough for its gate: a training as its recipe has it is better."""
MakeOnce = Callable[[str, Callable[[Path], object]], Path]
READY_S = 480.0
FINISHED_S = 480.0
STOP_S = 180.0
CANCEL_S = 30.0
"""For a training process to notice that nobody wants its result, while it imports TensorFlow on a busy machine."""


def folders(root: Path, pattern: str) -> list[Path]:
    """Those below ``root`` of such a name; ``rglob`` fails if others vanish meanwhile."""
    return [Path(parent, name) for parent, names, _ in os.walk(root) for name in fnmatch.filter(names, pattern)]


@dataclass
class System:
    """One running ``modelyard up``."""

    home: Path
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    serving_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    folder: Path | None = None
    """Working directory, if it matters."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def printed(self) -> str:
        return (self.home.parent / f"{self.home.name}.out").read_text()

    def start(self) -> "System":
        return self.launch().await_ready()

    def launch(self) -> "System":
        """Returns before it is ready."""
        ports = ("--port", str(self.port), "--serving-port", str(self.serving_port))
        share_rehearsals(self.home / "work")
        with (self.home.parent / f"{self.home.name}.out").open("wb") as out:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "modelyard.services.cli.main",
                    "up",
                    "--home",
                    str(self.home),
                    *ports,
                    *self.arguments,
                ],
                stdout=out,
                stderr=out,
                env=LONG_TIMEOUTS | os.environ | {"COLUMNS": "200"},
                cwd=self.folder,
            )
        return self

    def await_ready(self) -> "System":
        assert self.process
        process = self.process
        wait_until(lambda: "Ctrl-C stops everything" in self.printed or process.poll() is not None, READY_S, "up")
        assert process.poll() is None, self.printed
        return self

    def stop(self) -> list[psutil.Process]:
        """Ctrl-C; returns what is left of the processes it had started."""
        assert self.process
        started = self.processes()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_S)
        _, alive = psutil.wait_procs(started, timeout=CANCEL_S)
        return list(alive)

    def processes(self) -> list[psutil.Process]:
        assert self.process
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, *words: str) -> psutil.Process | None:
        """The first process whose command line holds all words."""
        for process in self.processes():
            try:
                command = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if all(word in command for word in words):
                return process
        return None

    def named(self, name: str) -> list[psutil.Process]:
        """Processes by their name in lists of processes: forks have their parent's command line."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if process.name() == name:
                    found.append(process)
        return found

    def get(self, path: str) -> Any:
        response = http.get(self.url + path)
        response.raise_for_status()
        return response.json()

    def submit(self, **job: Any) -> httpx.Response:
        return http.post(f"{self.url}/api/jobs", json=job)

    def cancel(self, job_id: str) -> httpx.Response:
        return http.post(f"{self.url}/api/jobs/{job_id}:cancel")

    def finished(self, job_id: str) -> dict[str, Any]:
        """The job as it ended."""

        def find_ended_job() -> dict[str, Any] | None:
            job: dict[str, Any] = self.get(f"/api/jobs/{job_id}")
            return job if job["state"] not in ("queued", "running", "publishing") else None

        found: dict[str, Any] = wait_until(find_ended_job, FINISHED_S, f"job {job_id}")
        return found


def pytest_configure(config: pytest.Config) -> None:
    share_forks(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest, so that none of them is left alone at the end."""
    longest_first(items, LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling | None:
    return keep_together(config, log, SHARED)


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """``make_once(name, make)``: a folder that ``make`` creates, once for all of pytest's processes; to be copied."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def find_or_make(name: str, make: Callable[[Path], object]) -> Path:
        found, unfinished = root / name, root / f"unfinished-{name}"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not found.exists():
                make(unfinished)
                unfinished.rename(found)
        return found

    return find_or_make


@pytest.fixture(scope="session")
def made(make_once: MakeOnce, forks: ForkServer) -> Path:
    """Folders of saved versions."""

    def make(folder: Path) -> None:
        with forks.start("tests.support.make_models", str(folder)) as process:
            printed = process.stderr.read().decode()
        assert process.returncode == 0, printed

    return make_once("made", make)


@pytest.fixture(scope="session")
def trained(make_once: MakeOnce, forks: ForkServer) -> Path:
    """A store whose one version, of ``mnist_mlp``, was trained on what ships with the project, and is stable."""
    return make_once("trained", lambda folder: train(forks, "mnist_mlp", folder, *LITTLE)) / "store"


@pytest.fixture(scope="session")
def known(made: Path) -> Path:
    """A store with a catalogue, so that workers need not make one; to be copied."""
    return made / "known"


@pytest.fixture
def cluster(tmp_path: Path, known: Path, forks: ForkServer) -> Iterator["TrainingCluster"]:
    """A queue for workers."""
    from tests.support.training import open_cluster

    shutil.copytree(known, tmp_path / "store")
    with open_cluster(tmp_path, forks) as found:
        yield found
