"""The queue's page: what runs and waits, and a form made from a recipe's fields."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from modelyard.services.ledger import Ledger
from tests.slim.conftest import open_app
from tests.slim.gateway.console.conftest import MARKUP, add
from tests.support.fakes import HALF_PLUS
from tests.support.jobs import claim
from tests.support.keyed import KEY_SECRET, bearer_header, key_for

pytestmark = pytest.mark.usefixtures("catalog")
BROWSER = {"Accept": "text/html"}


def read(client: FlaskClient, headers: Any = None, **query: str) -> str:
    answer = client.get("/queue", query_string=query, headers={**BROWSER, **(headers or {})})
    assert answer.status_code == 200, answer.get_data(as_text=True)[:500]
    return re.sub(r"\s+", " ", answer.get_data(as_text=True))


def test_what_runs_and_waits_can_be_cancelled_there(client: FlaskClient, ledger: Ledger) -> None:
    """With its worker, stage and reason; markup in a name is text."""
    ledger.workers.register("w", ["train.cpu"])
    runs = claim(ledger, add(ledger), "w")
    ledger.jobs.record_progress(runs, {"stage": "data"}, milestone=False)
    waits = add(ledger, devices="gpu", by=MARKUP)
    page = read(client)
    assert "no trainer with a GPU is alive" in page
    assert f'data-api="POST /api/jobs/{runs.id}:cancel"' in page
    assert f'data-api="POST /api/jobs/{waits.id}:cancel"' in page
    assert "1 job is before it" not in page
    assert "Nobody can say when the queue will be empty" in page or "The queue stands still" in page
    assert MARKUP not in page


def test_a_dead_trainer_is_said(client: FlaskClient, ledger: Ledger) -> None:
    """What was running waits, and why."""
    claim(ledger, add(ledger), "gone")
    page = read(client)
    assert "no trainer is alive; the job starts when one does" in page
    assert "No worker is alive" in page


def test_the_form_has_the_fields_of_the_chosen_recipe(client: FlaskClient) -> None:
    """Typed, with range, default and description; what is common stands first."""
    page = read(client, model=HALF_PLUS, recipe="full")
    assert "<option selected>full</option>" in page
    assert "&#34;recipe&#34;:&#34;full&#34;" in page
    rate = re.search(r'<input id="overrides-learning_rate"[^>]*>', page)
    assert rate
    assert 'type="number"' in rate[0]
    assert 'step="any" max="10" placeholder="0.001"' in rate[0]
    assert "A number above 0 and of at most 10." in page
    assert '<option value="">adamw (as it is)</option> <option value="sgd">sgd</option>' in page
    assert 'list="overrides-devices-choices"' in page
    assert page.index("overrides-epochs") < page.index("<summary>") < page.index("overrides-warmup")


def test_a_search_offers_its_ranges(client: FlaskClient) -> None:
    """All ticked; a model without ranges says why there is no search."""
    page = read(client, model=HALF_PLUS, kind="search")
    assert 'data-api="POST /api/searches"' in page
    assert 'learning_rate <span class="muted">0.0001 to 0.1, by magnitude' in page
    assert 'batch_size <span class="muted">8, 16, 32' in page
    assert "bare cannot be searched: it declares no ranges" in read(client, model="bare", kind="search")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"model": "nobody<i>"}, "There is no model nobody&lt;i&gt; that can be trained"),
        ({"model": HALF_PLUS, "recipe": "quik"}, "half_plus has no recipe quik; quick is chosen"),
        ({"model": "bare"}, "This recipe has no values that can be changed"),
        ({"model": "many"}, "Find a value"),
    ],
)
def test_odd_choices_are_said_at_the_form(client: FlaskClient, query: dict[str, str], text: str) -> None:
    """An address that somebody sent may name what is gone; a recipe may have no values, or two hundred."""
    assert text in read(client, **query)


def test_who_may_not_train_sees_no_form(settings: GatewaySettings, filled: Store) -> None:
    """Nor a button that would be refused."""
    keyed = GatewaySettings(
        store=settings.store, serving=settings.serving, ledger_url=settings.ledger_url, key_secret=KEY_SECRET
    )
    ledger = Ledger(settings.ledger)
    add(ledger)
    viewer = bearer_header(key_for(filled.root.parent / "ledger.db", Role.VIEWER))
    with open_app(keyed) as app:
        page = read(app.test_client(), viewer)
    assert "half_plus" in page
    assert "new-form" not in page
    assert ":cancel" not in page


def test_a_ledger_that_is_away_is_said_on_the_page(settings: GatewaySettings, filled: Store) -> None:
    """The form stays: what was typed is not lost."""
    broken = filled.root.parent / "broken.db"
    broken.write_bytes(b"this is no database, and long enough to be seen as none" * 40)
    other = GatewaySettings(store=settings.store, serving=settings.serving, ledger_url=f"sqlite:///{broken}")
    with open_app(other) as app:
        page = read(app.test_client())
    assert "The queue cannot be read." in page
    assert "new-form" in page
