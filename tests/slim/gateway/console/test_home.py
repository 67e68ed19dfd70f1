"""Home: one look at whether anything is wrong, what trains and what serves."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from modelyard.models.catalog import FILE, Catalog
from modelyard.models.registry import manifest
from modelyard.models.registry.rollout import Canary, change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from modelyard.services.ledger import Kind, Ledger, State
from modelyard.services.ledger.observations import Drift
from tests.slim.conftest import open_app
from tests.slim.gateway.console.conftest import MARKUP, add, end
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer, publish
from tests.support.jobs import claim
from tests.support.keyed import KEY_SECRET, bearer_header, key_for
from tests.support.waiting import wait_until

BROWSER = {"Accept": "text/html"}


def read(client: FlaskClient, headers: object = None) -> str:
    answer = client.get("/", headers={**BROWSER, **(headers or {})})
    assert answer.status_code == 200, answer.get_data(as_text=True)[:500]
    return re.sub(r"\s+", " ", answer.get_data(as_text=True))


def test_when_all_is_well_it_says_so_in_one_line(client: FlaskClient) -> None:
    """And what serves, with its version and metric."""
    page = read(client)
    assert "All is well: 3 models serve" in page
    assert "need a look" not in page
    assert f'<a href="/models/{HALF_PLUS}/versions/2">version 2</a>' in page


def test_what_is_wrong_leads_to_its_page(client: FlaskClient, ledger: Ledger, catalog: Catalog, filled: Store) -> None:
    """Failed jobs, rejected versions, broken files, damaged versions and jobs without a worker, the worst first."""
    del catalog
    failed = end(ledger, State.FAILED, reason=f"no memory {MARKUP}")
    rejected = end(ledger, State.REJECTED, model="bare", reason="accuracy is below the floor")
    add(ledger, devices="gpu")
    (filled.path(DIGITS, 1) / manifest.FILE).write_text("{")
    wait_until(lambda: "Jobs wait for a worker" in read(client))
    page = read(client)
    assert MARKUP not in page
    assert "no memory &lt;img" in page
    for path in (f"/jobs/{failed.id}", f"/jobs/{rejected.id}", f"/models/{DIGITS}", "/queue", "/models"):
        assert f'<li class="bad"><a href="{path}">' in page or f'<li class="warn"><a href="{path}">' in page, path
    assert page.rindex('<li class="bad">') < page.index('<li class="warn">')


@pytest.mark.usefixtures("catalog")
def test_a_failure_that_was_mended_is_no_news(client: FlaskClient, ledger: Ledger) -> None:
    """A later job of the model went through."""
    end(ledger, State.FAILED, reason="no memory")
    end(ledger, State.SUCCEEDED, version=3)
    page = read(client)
    assert "no memory" not in page
    assert "→ version 3" in page


@pytest.mark.usefixtures("catalog")
def test_drift_beyond_its_limit_is_named(client: FlaskClient, ledger: Ledger) -> None:
    """Of the stable version only: by the trigger's limit, else a quarter."""
    shifts = {"size": {"psi": 0.2, "p_value": 0.0}}
    ledger.observations.put_drift(Drift(HALF_PLUS, 2, 500, shifts, datetime.now(UTC)))
    assert "drifts" not in read(client)
    ledger.triggers.put(HALF_PLUS, "moved", {"psi": 0.1}, "ann")
    page = read(client)
    assert "half_plus drifts" in page
    assert "size has moved by 0.2, more than 0.1" in page
    assert f'href="/models/{HALF_PLUS}/feedback"' in page


def test_what_trains_now_says_how_far_it_is(client: FlaskClient, ledger: Ledger) -> None:
    """With its estimate, and what waits behind it."""
    ledger.workers.register("w", ["train.cpu"])
    job = claim(ledger, add(ledger), "w")
    said = {"stage": "train", "epoch": 2, "epochs": 4, "step": 10, "steps": 20, "eta_s": 130.0}
    ledger.jobs.record_progress(job, said, milestone=False)
    add(ledger, "bare", by=MARKUP)
    page = read(client)
    assert "38 % · epoch 2 of 4" in page
    assert "about 2 min 10 s left" in page
    assert "1 waiting" in page


def test_a_canary_and_its_share_are_shown(client: FlaskClient, filled: Store) -> None:
    """Beside the stable version."""
    canary = Canary(version=1, percent=12.5, since=datetime.now(UTC))
    change_rollout(filled, HALF_PLUS, lambda found: found.start_canary(canary, by="ann", reason="try"))
    page = read(client)
    assert re.search(r"canary 1</span></a> <span class=\"muted\">12\.5 %", page)


def test_a_new_system_shows_its_first_trainings(tmp_path: Path, server: FakeModelServer, catalog: Catalog) -> None:
    """Not an empty page; before any, the command that starts one."""
    store = Store(tmp_path / "new")
    store.prepare()
    (store.root / FILE).write_text(catalog.model_dump_json())
    settings = GatewaySettings(store=store.root, serving=(server.address,), ledger_url=f"sqlite:///{tmp_path}/new.db")
    ledger = Ledger(settings.ledger)
    ledger.prepare()
    ledger.workers.register("w", ["train.cpu"])
    with open_app(settings) as app:
        page = read(app.test_client())
        assert "modelyard train bare --wait" in page
        assert "Predictions are not answered" not in page
        claim(ledger, add(ledger), "w")
        page = read(app.test_client())
        assert "The first models are being trained" in page
        assert ">half_plus</strong>" in page


def test_a_gateway_over_finished_models_says_that_nobody_trains(client: FlaskClient) -> None:
    """There is no catalog."""
    assert "nobody trains for it" in read(client)


def test_foreign_models_are_shown_too(tmp_path: Path, server: FakeModelServer) -> None:
    """They have no manifest: nothing but their name is known."""
    store = Store(tmp_path / "none")
    store.prepare()
    url = f"sqlite:///{tmp_path}/none.db"
    settings = GatewaySettings(
        store=store.root, serving=(server.address,), ledger_url=url, external_models=(HALF_PLUS,)
    )
    with open_app(settings) as app:
        page = read(app.test_client())
    assert "All is well: 1 model serves" in page
    assert f'href="/models/{HALF_PLUS}"' in page
    assert "a SavedModel without a manifest" in page
    assert "nobody trains for it" in page
    assert not (tmp_path / "none.db").exists()


def test_a_key_for_predictions_sees_what_serves_only(settings: GatewaySettings, ledger: Ledger, filled: Store) -> None:
    """And no attempt to read more is recorded."""
    end(ledger, State.FAILED, reason="secret")
    key = bearer_header(key_for(filled.root.parent / "ledger.db", Role.PREDICTOR))
    keyed = GatewaySettings(
        store=settings.store, serving=settings.serving, ledger_url=settings.ledger_url, key_secret=KEY_SECRET
    )
    with open_app(keyed) as app:
        page = read(app.test_client(), key)
    assert HALF_PLUS in page
    assert "secret" not in page
    assert "Lately" not in page
    assert ledger.audit.find(filters={"kind": Kind.DENIED}) == ()


def test_a_ledger_that_is_away_is_said_and_the_rest_is_shown(
    settings: GatewaySettings, catalog: Catalog, filled: Store
) -> None:
    """Predictions need none."""
    del catalog
    broken = filled.root.parent / "broken.db"
    broken.write_bytes(b"this is no database, and long enough to be seen as none" * 40)
    other = GatewaySettings(store=settings.store, serving=settings.serving, ledger_url=f"sqlite:///{broken}")
    with open_app(other) as app:
        page = read(app.test_client())
    assert "The ledger cannot be read" in page
    assert HALF_PLUS in page


def test_a_hundred_models_are_all_reached(client: FlaskClient, filled: Store) -> None:
    """The first fifty as rows, the others by a link."""
    for number in range(51):
        publish(filled, f"m{number:03}")
    page = read(client)
    assert page.count('/versions/1">version 1') >= 40
    assert "4 more</a>" in page
