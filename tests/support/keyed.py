"""API keys for tests, made as an admin makes them: in the ledger."""

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import update

from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.key_cache import POLL_INTERVAL_S
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import KeyRequest, Role
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.sql.clock import now
from modelyard.services.ledger.sql.engine import open_engine
from modelyard.services.ledger.sql.tables import KeyRow
from tests.support.fakes import FakeModelServer
from tests.support.ledgers import new_ledger_file
from tests.support.waiting import TIMEOUT_S

KEY_SECRET = "0123456789abcdef0123456789abcdef"
"""The server's."""
ENDED_WITHIN_S = 5.0
"""What is promised of a key that was revoked."""


def keyed_settings(store: Store, server: FakeModelServer, ledger: Path, **more: Any) -> GatewaySettings:
    """Of a gateway whose keys are in this ledger."""
    return GatewaySettings(
        store=store.root,
        serving=(server.address,),
        ledger_url=f"sqlite:///{ledger}",
        broker_url="redis://127.0.0.1:1/0",
        key_secret=KEY_SECRET,
        **more,
    )


def key_for(ledger: Path, role: Role, *models: str, name: str | None = None) -> str:
    """The text of a new key; of the role's name unless another is given."""
    with closing(Ledger(f"sqlite:///{ledger}")) as found:
        asked = KeyRequest(name=name or role.value, role=role, models=models)
        return found.keys.create(asked, "test", KEY_SECRET.encode())[1]


def new_keyed_ledger(file: Path) -> Path:
    """Makes ``file`` a ledger with a key of each role, whose texts are ``keys_of_all_roles()``; returns it."""
    return Path(shutil.copyfile(Path(make_keys()[0].name, "ledger.db"), file))


def keys_of_all_roles() -> Mapping[Role, str]:
    return make_keys()[1]


@cache
def make_keys() -> tuple["TemporaryDirectory[str]", Mapping[Role, str]]:
    """A folder with a ledger that has them; it lives as long as this process."""
    folder = TemporaryDirectory(prefix="modelyard-keys-")
    file = new_ledger_file(Path(folder.name, "ledger.db"))
    return folder, {role: key_for(file, role) for role in Role}


def expire(ledger_url: str, key: str) -> None:
    """A minute ago; no request can create a key that has expired already."""
    engine = open_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(update(KeyRow).where(KeyRow.prefix == prefix_of(key)).values(expires_at=now(-60)))
    engine.dispose()


def revoke(ledger: Path, key: str) -> None:
    with closing(Ledger(f"sqlite:///{ledger}")) as found:
        found.keys.revoke(prefix_of(key), "test")


def until_ended(condition: Callable[[], bool], age_s: Callable[[], float], polls: int = 2) -> None:
    """Waits for what is promised within ``ENDED_WITHIN_S`` of a revocation, by the gateway's clock: its polls.

    Args:
        age_s: since its last poll ended, as the gateway reports it.
        polls: that many have ended at most when it is so. The first of them may have begun before the revocation.
    """
    assert 2 * POLL_INTERVAL_S < ENDED_WITHIN_S
    seen, before = 0, age_s()
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert seen < polls
        assert time.monotonic() < deadline
        age = age_s()
        seen, before = seen + (age < before), age
        time.sleep(0.05)


def prefix_of(key: str) -> str:
    return key.split("_", 2)[1]


def bearer_header(key: str) -> Mapping[str, str]:
    """The header that sends a key."""
    return {"Authorization": f"Bearer {key}"}
