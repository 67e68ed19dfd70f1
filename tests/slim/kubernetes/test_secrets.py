"""`make-secrets` makes what processes read, and each reads it from the folder that its pod has."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from modelyard.services.cli.settings import MigrationSettings
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import ServiceSettings
from modelyard.services.trainer.settings import TrainerSettings
from tests.support.kubernetes import FOLDER

ADDRESS = "ledger.internal:5432/modelyard?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"
PASSWORD = "it's \\ $HOME"  # what a shell or YAML could take for something else
PROCESSES: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "scheduler": SchedulerSettings,
    "trainer": TrainerSettings,
    "migrate": MigrationSettings,
}


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **environment}
    program = [FOLDER / "make-secrets", *arguments]
    return subprocess.run(program, capture_output=True, text=True, env=environment, check=False)


def write(printed: str, folder: Path) -> dict[str, Path]:
    """The folders of secrets, as pods have them."""
    for each in yaml.safe_load_all(printed):
        (folder / each["metadata"]["name"]).mkdir()
        for name, value in each["stringData"].items():
            (folder / each["metadata"]["name"] / name).write_text(value)
    return {each.name: each for each in folder.iterdir()}


def load(process: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    monkeypatch.setenv("MODELYARD_SECRETS_DIR", str(folder))
    return PROCESSES[process].load()


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_finds_its_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: str) -> None:
    """Elsewhere, by a URL in its secrets; each by a role of its own."""
    folders = write(make(ADDRESS, MODELYARD_LEDGER_PASSWORD=PASSWORD).stdout, tmp_path)
    settings = load(process, folders[process], monkeypatch)
    role = "modelyard" if process == "migrate" else f"modelyard_{process}"
    assert re.fullmatch(rf"postgresql\+psycopg://{role}:[^@]+@{re.escape(ADDRESS)}", settings.ledger)
    assert "postgres" not in folders


def test_passwords_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `migrate` gives a role is what its process says; the owner's own is the one that was given."""
    folders = write(make(ADDRESS, MODELYARD_LEDGER_PASSWORD=PASSWORD).stdout, tmp_path)
    migration = load("migrate", folders["migrate"], monkeypatch)
    assert migration.ledger_password
    assert migration.ledger_password.get_secret_value() == PASSWORD
    for process in ("gateway", "scheduler", "trainer"):
        settings = load(process, folders[process], monkeypatch)
        assert settings.ledger_password == getattr(migration, f"{process}_ledger_password")
    broker = (folders["redis"] / "modelyard_broker_password").read_text()
    for process in ("gateway", "scheduler", "trainer"):
        assert (folders[process] / "modelyard_broker_password").read_text() == broker


def test_no_two_runs_make_the_same() -> None:
    """And with PostgreSQL inside the cluster, its owner's password is made, too."""
    values = re.findall(r": '([0-9a-f]{64})'", make().stdout + make().stdout)
    assert len(set(values)) == 2 * len({"broker", "key", "token", "gateway", "scheduler", "trainer", "ledger"})


def test_a_password_that_is_missing_is_asked_for() -> None:
    """Nothing is printed that looks as if it would do."""
    done = make(ADDRESS)
    assert (done.returncode, done.stdout) == (1, "")
    assert "MODELYARD_LEDGER_PASSWORD" in done.stderr
