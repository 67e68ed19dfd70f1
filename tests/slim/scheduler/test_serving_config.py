"""The scheduler keeps models.config in step, and says what is left out of it."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.serving_config import CONFIG, read_entries
from modelyard.models.registry.serving_set import prepare_config
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.addresses import can_connect
from modelyard.services.scheduler.serving_config import ServingConfig
from tests.support.fakes import HALF_PLUS
from tests.support.ports import free_port

GRAPH = "saved_model.pb"
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def events() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as records:
        yield records


@pytest.fixture
def listening() -> Iterator[str]:
    """The address of something that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def configured(store: Store) -> tuple[int, ...]:
    return read_entries(store)[HALF_PLUS].versions


def test_what_is_left_out_is_logged_once_and_so_is_its_return(filled: Store, events: list[EventDict]) -> None:
    """With the reason; it enters by itself when its files are put back."""
    graph = filled.path(HALF_PLUS, 2) / GRAPH
    whole = graph.read_bytes()
    graph.write_bytes(b"")
    prepare_config(filled)
    config = ServingConfig(filled)
    for _ in range(3):
        config.refresh()
    graph.write_bytes(whole)
    for _ in range(3):
        config.refresh()
    assert [(each["event"], each["version"]) for each in events] == [
        ("version left out", 2),
        ("version no longer left out", 2),
    ]
    assert events[0]["cause"] == "half_plus version 2: saved_model.pb is missing, extra or changed"
    assert configured(filled) == (1, 2)


def test_a_configuration_that_an_interrupted_change_left_behind_is_mended(filled: Store) -> None:
    """The rollout was written, the configuration was not; or it is gone."""
    before = (filled.root / CONFIG).read_text()
    change_rollout(filled, HALF_PLUS, lambda now: now.rollback(by="t", reason="r"))
    (filled.root / CONFIG).write_text(before)
    ServingConfig(filled).refresh()
    assert configured(filled) == (1,)
    (filled.root / CONFIG).unlink()
    ServingConfig(filled).refresh()
    assert configured(filled) == (1,)


def test_damage_is_found_while_no_server_of_one_pool_can_be_reached(filled: Store, listening: str) -> None:
    """A pool whose servers cannot start for one damaged version is not held up by another pool that answers."""
    (filled.path(HALF_PLUS, 1) / GRAPH).write_bytes(b"")
    config = ServingConfig(filled, (listening,), {"gpu": (NOWHERE,)})
    for _ in range(3):
        config.refresh()
    assert configured(filled) == (2,)


def test_damage_is_found_while_no_model_server_can_be_reached(filled: Store, listening: str) -> None:
    """One that answers from memory is left in peace; one that cannot start for it gets a configuration without it."""
    shutil.rmtree(filled.path(HALF_PLUS, 2) / "assets.extra", ignore_errors=True)
    (filled.path(HALF_PLUS, 1) / GRAPH).write_bytes(b"")
    reached, away = ServingConfig(filled, (NOWHERE, listening)), ServingConfig(filled, (NOWHERE,))
    for _ in range(3):
        reached.refresh()
    assert 1 in configured(filled)
    away.refresh()
    assert 1 in configured(filled), "one that is only being restarted is back by the next time"
    away.refresh()
    assert HALF_PLUS not in read_entries(filled)


def test_addresses_of_all_kinds_are_tried(tmp_path: Path, listening: str) -> None:
    """TCP by name and number, a Unix socket, and what is no address."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert can_connect(f"unix:{path}")
    port = listening.rpartition(":")[2]
    assert can_connect(listening)
    assert can_connect(f"localhost:{port}")
    for address in (f"unix:{tmp_path}/none", f"127.0.0.1:{free_port()}", "nobody.invalid:1", "no address", ""):
        assert not can_connect(address)
