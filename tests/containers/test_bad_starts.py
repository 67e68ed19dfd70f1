"""What cannot work is reported in one line, with the remedy, and nothing is harmed."""

import json
from pathlib import Path

import pytest

from tests.containers.conftest import MARK, System
from tests.support.engine import Engine
from tests.support.ports import free_port

URLS = {
    "MODELYARD_LEDGER_URL": "postgresql+psycopg://modelyard@postgres:5432/modelyard",
    "MODELYARD_BROKER_URL": "redis://redis:6379/0",
    "MODELYARD_ALLOW_PLAIN": "broker,ledger,serving",
}
GOOD = ("ledger_password", "broker_password", "key_secret")


@pytest.fixture
def folder(engine: Engine, tmp_path: Path) -> Path:
    """The secrets of the system, to be spoilt."""
    for name in GOOD:
        (tmp_path / f"modelyard_{name}").write_text((engine.secrets / f"modelyard_{name}").read_text())
    tmp_path.chmod(0o755)
    return tmp_path


def start(
    engine: Engine, folder: Path, module: str, *options: str, image: str = "gateway", store: str = ""
) -> tuple[int, str]:
    """Exit status, and the last line that a process wrote."""
    variables = [part for name, value in URLS.items() for part in ("-e", f"{name}={value}")]
    network = ("--network", f"{engine.project}_control")
    volumes = (
        f"{folder}:/run/secrets:ro",
        f"{store or engine.project + '_store'}:/store",
        f"{engine.project}_work:/work",
    )
    mounted = [part for volume in volumes for part in ("-v", volume)]
    done = engine.run(
        *("run", "--rm", "--read-only", "--cap-drop", "all", *network, *variables, *mounted),
        *(*options, f"modelyard/{image}", "python", "-m", module),
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert MARK not in said
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    return done.returncode, str(json.loads(last)["cause"]) if last.startswith("{") else last


def test_an_empty_secret(system: System, folder: Path) -> None:
    """Names it."""
    (folder / "modelyard_broker_password").write_text("\n")
    status, said = start(system.engine, folder, "modelyard.services.gateway")
    assert (status, "MODELYARD_BROKER_PASSWORD" in said, "is empty" in said) == (1, True, True)


def test_a_missing_key_secret(system: System, folder: Path) -> None:
    """Without keys the gateway refuses to be reached from other machines."""
    (folder / "modelyard_key_secret").unlink()
    status, said = start(system.engine, folder, "modelyard.services.gateway")
    assert status == 1
    assert "MODELYARD_KEY_SECRET" in said


def test_a_wrong_database_password(system: System, folder: Path) -> None:
    """Who was refused, and by whom."""
    (folder / "modelyard_ledger_password").write_text("wrong")
    for module, image in (("modelyard.services.scheduler", "gateway"), ("modelyard.services.trainer", "trainer")):
        status, said = start(system.engine, folder, module, image=image)
        assert status == 1
        assert 'password authentication failed for user "modelyard"' in said


def test_a_ledger_that_was_never_migrated(system: System, folder: Path) -> None:
    """The way out is a command."""
    other = URLS["MODELYARD_LEDGER_URL"].removesuffix("/modelyard") + "/postgres"
    status, said = start(system.engine, folder, "modelyard.services.scheduler", "-e", f"MODELYARD_LEDGER_URL={other}")
    assert status == 1
    assert "run `modelyard migrate` once" in said


def test_a_store_of_another_user(system: System, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Says who must own it."""
    store = tmp_path_factory.mktemp("store")
    store.chmod(0o755)
    status, said = start(system.engine, folder, "modelyard.services.scheduler", store=str(store))
    assert status == 1
    assert "/store is not writable" in said
    assert "must belong to user 10001" in said


def test_a_wrong_broker_password(system: System, folder: Path) -> None:
    """The trainer takes no work that it could not give back."""
    (folder / "modelyard_broker_password").write_text("wrong")
    status, said = start(system.engine, folder, "modelyard.services.trainer", image="trainer")
    assert status == 1
    assert "broker" in said


def test_a_port_that_is_taken(system: System) -> None:
    """The engine says so, and what runs goes on."""
    port = system.engine.port
    done = system.engine.run("run", "--rm", "-p", f"127.0.0.1:{port}:8080", "modelyard/gateway", check=False)
    assert done.returncode != 0
    assert str(port) in done.stderr.decode() or "address already in use" in done.stderr.decode()
    assert system.ready()
    assert free_port() != port
