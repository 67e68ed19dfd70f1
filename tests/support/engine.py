"""Podman or Docker, as a person uses them: by their commands."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.repository import ROOT

FILES = ("docker-compose.yml", "deploy/compose.embedded.yml", "tests/containers/compose.yml")
IMAGES = ("gateway", "trainer", "modelserver")
SERVICES = ("redis", "postgres", "scheduler", "trainer", "modelserver", "gateway")
NOISE = "systemd"
"""Podman complains on each call where there is no systemd to start its health checks; they are run from here."""
TIMEOUT_S = 900.0


class NoEngine(Exception):
    """Nothing to run containers with."""


def find() -> str:
    """``CONTAINER_ENGINE``, or the first that works.

    Raises:
        NoEngine: in one line.
    """
    asked = os.environ.get("CONTAINER_ENGINE")
    for name in (asked,) if asked else ("podman", "docker"):
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True, check=False).returncode:
            return name
    raise NoEngine(f"no container engine: {asked or 'neither podman nor docker'} works here; install one, or start it")


@dataclass(frozen=True)
class Engine:
    """One engine, and one project of containers on it."""

    name: str
    project: str
    secrets: Path
    port: int
    files: Sequence[str] = FILES
    """Of compose."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further ones, which the compose files read."""

    def run(self, *command: str, given: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """One command of the engine."""
        return self._call([self.name, *command], given, check=check)

    def compose(self, *command: str, given: bytes | None = None, check: bool = True) -> str:
        """One command of compose, over the files of the test; returns its output."""
        done = self._call([*self._compose, *command], given, check=check)
        return (done.stdout + done.stderr).decode(errors="replace")

    def script(self, *command: str) -> None:
        """One of our scripts, with the compose command of this machine."""
        self._call(command, None, check=True)

    @property
    def _compose(self) -> list[str]:
        program = [sys.executable, "-m", "podman_compose"] if self.name == "podman" else ["docker", "compose"]
        return [*program, "-p", self.project, *(part for file in self.files for part in ("-f", file))]

    def container(self, service: str) -> str:
        return f"{self.project}{'_' if self.name == 'podman' else '-'}{service}{'_' if self.name == 'podman' else '-'}1"

    def exec(self, service: str, *command: str, given: bytes | None = None, check: bool = True) -> bytes:
        """What a command in a container writes on its standard output."""
        interactive = ("-i",) if given is not None else ()
        return self.run("exec", *interactive, self.container(service), *command, given=given, check=check).stdout

    def cli(self, *arguments: str, check: bool = True) -> str:
        """What the operators' tool writes on its standard output, in the container that docs/deploy.md names."""
        run = (*self._compose, "--profile", "operator", "run", "--rm", "-T", "operator")
        return self._call([*run, *arguments], None, check=check).stdout.decode()

    def logs(self, service: str) -> str:
        done = self.run("logs", self.container(service), check=False)
        return (done.stdout + done.stderr).decode(errors="replace")

    def inspect(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("inspect", self.container(service)).stdout)[0]
        return found

    def running(self, service: str) -> bool:
        return bool(self.inspect(service)["State"]["Running"])

    def healthy(self, service: str) -> bool:
        """By the check that its image or the compose file has."""
        if self.name == "docker":
            return bool(self.inspect(service)["State"]["Health"]["Status"] == "healthy")
        return not self.run("healthcheck", "run", self.container(service), check=False).returncode

    def restart(self, service: str) -> None:
        """Podman's own refuses where something that a container depended on has ended, as ``migrate`` has."""
        if self.name == "docker":
            self.run("restart", "-t", "60", self.container(service))
        else:
            self.run("stop", "-t", "60", self.container(service))
            self.run("start", self.container(service))

    def stop(self, order: Sequence[str]) -> None:
        """As Docker's compose does, in the reverse order of dependence; Podman's stops all at once."""
        if self.name == "docker":
            self.compose("stop")
            return
        for service in order:
            self.run("stop", "-t", "90", self.container(service))

    def destroy(self) -> None:
        """All containers, volumes and networks of the project."""
        self.compose("down", "--volumes", "--timeout", "10", check=False)
        for kind in ("volume", "network"):
            named = self.run(kind, "ls", "-q", "--filter", f"name={self.project}_").stdout.decode().split()
            for name in named:
                self.run(kind, "rm", name, check=False)

    def _call(self, command: Sequence[str], given: bytes | None, *, check: bool) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            command, input=given, capture_output=True, cwd=ROOT, timeout=TIMEOUT_S, env=self._environment, check=False
        )
        said = b"".join(line for line in done.stderr.splitlines(keepends=True) if NOISE.encode() not in line)
        if check and done.returncode:
            last = said.decode(errors="replace")[-2000:]
            raise AssertionError(f"{' '.join(command)[:200]} ended with {done.returncode}: {last}")
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, said)

    @property
    def _environment(self) -> dict[str, str]:
        ours = {"MODELYARD_SECRETS": str(self.secrets), "MODELYARD_PORT": str(self.port), "MODELYARD_DRAIN_WAIT_S": "1"}
        # An engine refuses a limit above what the machine has.
        ours["MODELYARD_SERVING_CPUS"] = f"{min(3.0, os.cpu_count() or 1)}"
        ours["MODELYARD_SERVING_BATCHING"] = f"./deploy/serving/batching.{min(3, os.cpu_count() or 1)}.txt"
        # Images in OCI's format have no health checks: that is Docker's.
        return {**os.environ, **ours, **self.variables, "BUILDAH_FORMAT": "docker", "COMPOSE": " ".join(self._compose)}


def wait_for(what: str, check: Callable[[], Any], deadline_s: float, pause_s: float = 0.5) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + deadline_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {deadline_s:.0f} s: {what}"
        time.sleep(pause_s)
    return found
