"""A gateway before a fake model server, both in this process."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.fakes import FakeModelServer, fill
from tests.support.ledgers import new_ledger_file
from tests.support.order import FolderScheduling, keep_together
from tests.support.profiles import register_profiles
from tests.support.slim_programs import end_forks
from tests.support.waiting import LONG_TIMEOUTS

register_profiles()
LEDGER = "tests/slim/ledger/"
"""Its tests share a PostgreSQL server."""


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on either database runs on PostgreSQL at every change in ``ledger`` alone: all SQL is the ledger's.

    Elsewhere it is ``long``.
    """
    for item in items:
        if LEDGER not in item.nodeid and is_on_postgresql(item):
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling | None:
    return keep_together(config, log, LEDGER)


def is_on_postgresql(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("ledger_url") == "postgresql"


@pytest.fixture(scope="session", autouse=True)
def long_timeouts() -> Iterator[None]:
    """Gateways have long timeouts unless a test sets others: how busy the machine is says nothing about them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in LONG_TIMEOUTS.items():
            patch.setenv(name, seconds)
        yield


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """What gateways and commands are forked from ends with the tests."""
    yield
    end_forks()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publishing flushes to disk, which takes a while: done once, copied often."""
    return fill(tmp_path_factory.mktemp("template") / "store").root


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(template, tmp_path / "store"))


@pytest.fixture
def server(filled: Store) -> Iterator[FakeModelServer]:
    """Serves what one test has published."""
    with FakeModelServer(filled) as running:
        yield running


@pytest.fixture(scope="module")
def shared_store(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What a gateway serves that several tests share."""
    return Store(shutil.copytree(template, tmp_path_factory.mktemp("shared") / "store"))


@pytest.fixture(scope="module")
def shared_server(shared_store: Store) -> Iterator[FakeModelServer]:
    """That gateway's model server: its calls are those of all tests before, too."""
    with FakeModelServer(shared_store) as running:
        yield running


@pytest.fixture(scope="module")
def shared_app(
    shared_store: Store, shared_server: FakeModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    """That gateway, for tests that change nothing in its store and its ledger."""
    ledger_url = f"sqlite:///{new_ledger_file(tmp_path_factory.mktemp('ledger') / 'ledger.db')}"
    settings = GatewaySettings(store=shared_store.root, serving=(shared_server.address,), ledger_url=ledger_url)
    with open_app(settings) as app:
        yield app


@pytest.fixture
def settings(filled: Store, server: FakeModelServer) -> GatewaySettings:
    ledger_url = f"sqlite:///{new_ledger_file(filled.root.parent / 'ledger.db')}"
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


@pytest.fixture
def app(settings: GatewaySettings) -> Iterator[Flask]:
    with open_app(settings) as app:
        yield app


@contextmanager
def open_app(settings: GatewaySettings) -> Iterator[Flask]:
    """An application, without a process of its own."""
    app = create_app(settings)
    yield app
    app.extensions["predictor"].close()
    if app.extensions["guard"]:
        app.extensions["guard"].key_cache.close()
    app.extensions["queue_watch"].close()
    app.extensions["ledger"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Of a gateway with a store, a model server and a ledger of its own."""
    return app.test_client()


@pytest.fixture
def shared_client(shared_app: Flask, shared_server: FakeModelServer) -> FlaskClient:
    """Of one gateway for all tests of a file that change nothing there: its model server is as it was at first."""
    shared_server.reset()
    return shared_app.test_client()
