"""The wheel in an environment of its own, used in a folder whose packages and modules have our and others' names."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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

    def _run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = plain() | variables
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )

    def shell(self, line: str, port: int) -> subprocess.CompletedProcess[str]:
        """A line of a page, which expects the gateway at port 8080."""
        path = f"{self.environment / 'bin'}:{os.environ['PATH']}"
        url = f"http://127.0.0.1:{port}"
        return self._run(
            "bash", "-c", line.replace("localhost:8080", f"127.0.0.1:{port}"), PATH=path, MODELYARD_URL=url
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
    """Every file of the three folders and of the client, data included; nothing else beside the metadata."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    expected = {f"modelyard/{path}" for path in files if path.parent.name != "__pycache__"}
    own = [
        *(ROOT / "modelyard").glob("*.py*"),
        ROOT / "modelyard" / "py.typed",
        *(ROOT / "modelyard" / "client").glob("*.py"),
    ]
    assert names == expected | {str(path.relative_to(ROOT)) for path in own}


@pytest.mark.parametrize("by_module", [False, True])
def test_the_version_is_that_of_the_wheel(installed: Installed, wheel: Path, *, by_module: bool) -> None:
    """``modelyard --version`` and ``python -m modelyard --version``."""
    found = installed.run_module("--version") if by_module else installed.run("--version")
    assert found.stdout == f"modelyard {wheel.name.split('-')[1]}\n", found.stderr


def read_lines() -> list[str]:
    """The commands that the README begins "Your own model" with."""
    section = (ROOT / "README.md").read_text().partition("## Your own model")[2]
    return [line.partition("  #")[0].strip() for line in section.split("```")[1].strip().splitlines()]


def read_blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each block of code; commands have no language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)


def follow_tutorial(shop: Installed, blocks: list[tuple[str, str]], port: int) -> str:
    """Runs its commands, and saves its model; returns what they printed."""
    printed = []
    for language, text in blocks:
        if language == "python":
            (shop.folder / "models" / "churn.py").write_text(text)
            continue
        for line in text.strip().splitlines():
            done = shop.shell(line, port)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            printed.append(done.stdout)
    return "".join(printed)


@pytest.mark.long
def test_the_tutorial_and_the_readmes_lines_work_beside_a_users_own_packages_and_modules(
    installed: Installed, made: Path
) -> None:
    """From ``modelyard init`` over a canary to an answer by name and an imported model; ``doctor`` and ``serve``."""
    install_line, init, up, train, ask, bring = read_lines()
    begin, model, start, *rest = read_blocks("tutorial.md")
    assert install_line.startswith("pip install 'modelyard[local]'")
    assert begin == ("", "pip install 'modelyard[local]'\nmodelyard init shop && cd shop\n")
    assert (init, up, start) == ("modelyard init shop && cd shop", "modelyard up", ("", "modelyard up\n"))
    created = installed.run(*init.partition(" && ")[0].split()[1:])
    assert created.returncode == 0, created.stderr
    shop = replace(installed, folder=installed.folder / "shop")
    assert (shop.folder / "models" / "churn.py").read_text() == model[1]
    for name in MODULES:
        (shop.folder / f"{name}.py").write_text(NOT_OURS)
    shutil.copytree(made / "imported" / "sharp", shop.folder / "saved_model")

    port = free_port()
    ports = ("--port", str(port), "--serving-port", str(free_port()))
    with shop.running(*up.split()[1:], *ports):
        printed = follow_tutorial(shop, rest, port)
        assert "canary: version 2" in printed
        assert "churn: stable: version 1" in printed.splitlines()
        trained, answer, imported = (shop.shell(line, port) for line in (train, ask, bring))
        assert "churn version 3" in trained.stdout, trained.stderr
        assert len(json.loads(answer.stdout)["predictions"][0]["probabilities"]) == 2, answer.stdout + answer.stderr
        assert "cats version 1" in imported.stdout, imported.stderr
        doctor = shop.shell("modelyard doctor", port)
        assert "trainable: churn" in doctor.stdout, doctor.stdout + doctor.stderr
    with shop.running("serve", "--models-dir", str(shop.folder / ".modelyard" / "store"), *ports):
        again = shop.shell(ask, port)
        assert json.loads(again.stdout) == json.loads(answer.stdout)


def test_an_example_is_copied_into_a_project(installed: Installed) -> None:
    """The wheel holds the files of the template, and the examples."""
    made = installed.run("init", "other", "--example", "neuron")
    assert made.returncode == 0, made.stderr
    files = ("data/churn.csv", "models/churn.py", "models/neuron.py", "tests/test_churn.py", "modelyard.toml")
    assert all((installed.folder / "other" / name).is_file() for name in (*files, ".gitignore"))
