"""A real gateway before a fake model server, for all tests of the client; and clients of both kinds."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard.models.catalog import FILE, Catalog, TrainableModel
from modelyard.models.registry.store import Store
from modelyard.services.keys import Role
from modelyard.services.ledger import Ledger
from tests.support import uncertain_models
from tests.support.fakes import HALF_PLUS, REVIEWS, FakeModelServer
from tests.support.fault_proxy import FaultProxy
from tests.support.keyed import KEY_SECRET, key_for
from tests.support.ledgers import new_ledger_file
from tests.support.named_models import CHURN, PAIR, SIZES, TAGS, WRITER, serve
from tests.support.slim_programs import gateway
from tests.support.twins import KINDS, open_client

Opens = Callable[..., Any]


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    url: str
    ledger: Path
    key: str
    """Of an operator of every model."""
    store: Store
    server: FakeModelServer

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def open_ledger(self) -> Any:
        return closing(Ledger(f"sqlite:///{self.ledger}"))


@pytest.fixture(scope="package")
def served(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """For all tests of this folder: each takes it as the others left it."""
    store = Store(shutil.copytree(template, tmp_path_factory.mktemp("served") / "store"))
    with FakeModelServer(store) as server:
        yield from serve_models(store, server, new_ledger_file(tmp_path_factory.mktemp("ledger") / "ledger.db"))


def serve_models(store: Store, server: FakeModelServer, ledger: Path) -> Iterator[Gateway]:
    known = TrainableModel(name=HALF_PLUS, task="", summary="", dataset="", homepage="", recipes={"quick": {}})
    (store.root / FILE).write_text(Catalog(digest="", trainable={HALF_PLUS: known}).model_dump_json())
    serve(store, server, CHURN, PAIR, TAGS, SIZES, WRITER)
    uncertain_models.serve(store, server, uncertain_models.SURE)
    uncertain_models.serve(store, server, uncertain_models.LINE, labels=("width",))
    key = key_for(ledger, Role.OPERATOR)
    options: dict[str, Any] = {
        "store": store.root,
        "serving": server.address,
        "ledger_url": f"sqlite:///{ledger}",
        "broker_url": "redis://127.0.0.1:1/0",
        "key_secret": KEY_SECRET,
        "captured_models": f"{REVIEWS},{HALF_PLUS},mnist_cnn",
    }
    with gateway(**options) as (_, http):
        yield Gateway(str(http.base_url).rstrip("/"), ledger, key, store, server)


@pytest.fixture
def proxy(served: Gateway) -> Iterator[FaultProxy]:
    with FaultProxy(served.port) as found:
        yield found


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def opens(kind: str) -> Iterator[Opens]:
    """Opens clients of either kind, which are closed with the test."""
    opened: list[Any] = []
    with asyncio.Runner() as runner:

        def open_one(*args: Any, **kwargs: Any) -> Any:
            opened.append(open_client(kind, runner, *args, **kwargs))
            return opened[-1]

        yield open_one
        for client in opened:
            client.close()


@pytest.fixture
def client(served: Gateway, opens: Opens) -> Any:
    return opens(served.url, served.key)
