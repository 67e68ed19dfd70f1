"""A gateway with a ledger and a catalog, for pages about training."""

from typing import Any

import pytest

from modelyard.models.catalog import FILE, Catalog, TrainableModel, describe_recipe
from modelyard.models.ranges import Choice, NumberRange
from modelyard.models.recipes import Recipe
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Job, JobRequest, Ledger, State
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.jobs import claim
from tests.support.ledgers import new_ledger_file

MARKUP = "<img src=x onerror=alert(1)>"


def make_model(name: str, recipes: Any, **fields: Any) -> TrainableModel:
    known = {"task": "", "summary": MARKUP, "dataset": "", "homepage": ""}
    return TrainableModel(name=name, recipes=recipes, **known | fields)


@pytest.fixture
def catalog(filled: Store) -> Catalog:
    quick = describe_recipe(Recipe())
    many = {f"value_{number}": quick["epochs"] for number in range(200)}
    search = {"learning_rate": NumberRange(kind="log", low=1e-4, high=1e-1), "batch_size": Choice(values=(8, 16, 32))}
    models = {
        HALF_PLUS: make_model(HALF_PLUS, {"quick": quick, "full": quick}, search=search, metric="accuracy"),
        "many": make_model("many", {"quick": many}),
        "bare": make_model("bare", {"quick": {}}),
    }
    found = Catalog(digest="", trainable=models, broken={"worse": f"worse.py:3: {MARKUP}"})
    (filled.root / FILE).write_text(found.model_dump_json())
    return found


@pytest.fixture
def settings(filled: Store, server: FakeModelServer) -> GatewaySettings:
    return GatewaySettings(
        store=filled.root,
        serving=(server.address,),
        ledger_url=f"sqlite:///{new_ledger_file(filled.root.parent / 'ledger.db')}",
    )


@pytest.fixture
def ledger(settings: GatewaySettings) -> Ledger:
    found = Ledger(settings.ledger)
    found.prepare()
    return found


def add(ledger: Ledger, model: str = HALF_PLUS, devices: str = "auto", by: str = "ann", **more: Any) -> Job:
    return ledger.jobs.add(JobRequest(model=model), by=by, devices=devices, **more)


def end(ledger: Ledger, state: State, /, model: str = HALF_PLUS, group: str | None = None, **result: Any) -> Job:
    """A job that was tried, and ended in this state."""
    job = claim(ledger, add(ledger, model, group=group), "w")
    if state is State.SUCCEEDED:
        ledger.jobs.begin_publishing(job)
    assert ledger.jobs.finish(job, state, result)
    return job
