"""Settings of gateways with keys, each with a ledger of its own; for tests of the guard in its process."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.models.registry.store import Store
from tests.support.fakes import FakeModelServer
from tests.support.keyed import KEY_SECRET
from tests.support.ledgers import new_ledger_file

VIA_VIEW = {"Origin": "http://elsewhere", "Sec-Fetch-Site": "same-origin"}


def settings_with_keys(store: Store, server: FakeModelServer, ledger: Path) -> dict[str, Any]:
    return {
        "store": store.root,
        "serving": server.address,
        "ledger_url": f"sqlite:///{ledger}",
        "broker_url": "redis://127.0.0.1:1/0",
        "key_secret": KEY_SECRET,
    }


@pytest.fixture
def own_ledger(tmp_path: Path) -> Path:
    return new_ledger_file(tmp_path / "ledger.db")


@pytest.fixture
def gateway_settings(filled: Store, server: FakeModelServer, own_ledger: Path) -> dict[str, Any]:
    """Settings of a gateway with keys, of one test."""
    return settings_with_keys(filled, server, own_ledger)
