"""The wheel in an environment of its own, used in a folder whose packages and modules have our and others' names."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.environments import install, uv
from tests.support.ports import free_port
from tests.support.repository import ROOT
from tests.support.waiting import wait_until

BUILD_S = 120
COMMAND_S = 480
STOP_S = 180
PACKAGES = ("models", "pipeline", "services")
MODULES = ("json", "redis", "struct")
"""Two of the standard library and a dependency, which a process of ours must not take from here."""
NOT_OURS = "raise ImportError('this file belongs to the user')\n"


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and a user's folder."""

    environment: Path
    folder: Path

    @property
    def program(self) -> str:
        return str(self.environment / "bin" / "modelyard")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(self.program, *arguments)

    def run_module(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(str(self.environment / "bin" / "python"), "-m", "modelyard", *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=plain(), capture_output=True, text=True, timeout=COMMAND_S, check=False
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """A command that serves until it is stopped; ready inside the block."""
        out = self.folder / "printed"
        with out.open("wb") as file:
            process = subprocess.Popen(
                [self.program, *arguments], cwd=self.folder, env=plain(), stdout=file, stderr=file
            )
        try:
            wait_until(lambda: "Ctrl-C stops" in out.read_text() or process.poll() is not None, COMMAND_S, arguments[0])
            assert process.poll() is None, out.read_text()
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S)


def plain() -> dict[str, str]:
    """The variables of a user who has set none of ours, nor Python's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "PYTHON"))}
    return kept | {"COLUMNS": "200"}  # no sentence is wrapped


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a source distribution: what it lacks, the wheel lacks."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, "sdist", folder)
    (source,) = folder.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", source, "-C", folder], check=True, timeout=BUILD_S)
    build(folder / source.name.removesuffix(".tar.gz"), "wheel", folder)
    return next(folder.glob("*.whl"))


def build(project: Path, target: str, folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=BUILD_S)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel; the packages that it needs are those of this environment, without this project."""
    environment, folder = tmp_path_factory.mktemp("wheel") / "environment", tmp_path_factory.mktemp("user")
    install(uv(), "venv", "--quiet", "--python", sys.executable, str(environment))
    python = environment / "bin" / "python"
    install(uv(), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel))
    (site,) = environment.glob("lib/python3.*/site-packages")
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # whose own .pth files are not read
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(NOT_OURS)
    return Installed(environment, folder)


def test_the_wheel_holds_one_package_and_all_of_its_files(wheel: Path) -> None:
    """Every file of the three folders, data included; nothing else beside the metadata."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    expected = {f"modelyard/{path}" for path in files if path.parent.name != "__pycache__"}
    assert names == expected | {
        f"modelyard/{name}" for name in ("__init__.py", "__init__.pyi", "__main__.py", "py.typed")
    }


@pytest.mark.parametrize("by_module", [False, True])
def test_the_version_is_that_of_the_wheel(installed: Installed, wheel: Path, *, by_module: bool) -> None:
    """``modelyard --version`` and ``python -m modelyard --version``."""
    found = installed.run_module("--version") if by_module else installed.run("--version")
    assert found.stdout == f"modelyard {wheel.name.split('-')[1]}\n", found.stderr


def test_the_wheel_makes_a_project(installed: Installed) -> None:
    """It holds the files of the template."""
    made = installed.run("init", "shop", "--example", "neuron")
    assert made.returncode == 0, made.stderr
    files = {
        "data/churn.csv",
        "models/churn.py",
        "models/neuron.py",
        "tests/test_churn.py",
        "modelyard.toml",
        ".gitignore",
    }
    assert files <= {
        str(path.relative_to(installed.folder / "shop")) for path in (installed.folder / "shop").rglob("*")
    }


def test_every_command_works_beside_a_users_own_packages_and_modules(installed: Installed) -> None:
    """``doctor``, ``up``, ``train``, ``predict`` and ``serve`` beside ``models``, ``services``, ``json.py`` …"""
    for name in MODULES:
        (installed.folder / f"{name}.py").write_text(NOT_OURS)
    doctor = installed.run("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "trainable: mnist_cnn, mnist_mlp, neuron, sentiment_lstm" in doctor.stdout

    ports = ("--port", str(port := free_port()), "--serving-port", str(free_port()))
    url = ("--url", f"http://127.0.0.1:{port}")
    ask = ("predict", "neuron", '{"instances": [[1.0]]}', *url)
    with installed.running("up", "--model", "neuron", *ports):
        trained = installed.run("train", "neuron", "--set", "seed=3", "--wait", *url)
        assert trained.returncode == 0, trained.stderr
        assert "neuron version 2" in trained.stdout
        answer = json.loads(installed.run(*ask).stdout)
    with installed.running("serve", "--models-dir", str(installed.folder / ".modelyard" / "store"), *ports):
        assert json.loads(installed.run(*ask).stdout) == answer
