"""A version that is damaged on disk is named by whoever starts the system, by the doctor and in the metrics."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from typer.testing import CliRunner

from modelyard.models.registry import rollout as rollouts
from modelyard.models.registry.serving_config import CONFIG, read_entries
from modelyard.models.registry.serving_set import prepare_config
from modelyard.models.registry.store import Store
from modelyard.services.cli.commands.local.doctor import check_store
from modelyard.services.cli.commands.local.up import list_loadable
from modelyard.services.cli.main import app
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS

GRAPH = "saved_model.pb"
CAUSE = "saved_model.pb is missing, extra or changed"


@pytest.fixture
def damaged(filled: Store) -> Store:
    """The stable version of one model, and the only one of another."""
    for model, version in ((HALF_PLUS, 2), (DIGITS, 1)):
        (filled.path(model, version) / GRAPH).write_bytes(b"damaged")
    return filled


def test_migrate_leaves_it_out_says_so_and_ends_well(
    damaged: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else starts, so the step before it must not fail."""
    monkeypatch.setenv("MODELYARD_STORE", str(damaged.root))
    monkeypatch.setenv("MODELYARD_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    done = CliRunner().invoke(app, ["migrate"])
    assert done.exit_code == 0, done.output
    said = done.stderr.splitlines()
    assert said == [
        f"warning: digits version 1 is left out of models.config: digits version 1: {CAUSE}",
        f"warning: half_plus version 2 is left out of models.config: half_plus version 2: {CAUSE}",
    ]
    assert {model: entry.versions for model, entry in read_entries(damaged).items()} == {HALF_PLUS: (1,), REVIEWS: (1,)}


def test_an_empty_store_gets_a_configuration_without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow Serving ends where the file is missing."""
    monkeypatch.setenv("MODELYARD_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MODELYARD_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    assert CliRunner().invoke(app, ["migrate"]).exit_code == 0
    assert (tmp_path / "store" / CONFIG).read_text() == "model_config_list {\n}\n"


def test_up_waits_for_no_model_that_nobody_loads(damaged: Store) -> None:
    """The others are served."""
    prepare_config(damaged)
    assert list_loadable(damaged, [DIGITS, HALF_PLUS, REVIEWS]) == [REVIEWS]


def test_the_doctor_checks_every_version_with_a_role(damaged: Store) -> None:
    """Not only stable ones, as a damaged one of any role would end TensorFlow Serving; and what to do."""
    (damaged.folder(REVIEWS) / rollouts.FILE).write_text("{")
    found = list(check_store(damaged.root.parent))
    bad = [each for each in found if each.level == "bad"]
    assert [each.message.partition(":")[0] for each in bad] == [
        "digits version 1",
        "half_plus version 2",
        "rollout of reviews is damaged",
    ]
    assert all("restore the file from a backup" in each.remedy for each in bad)
    assert "half_plus version 1 is complete (numbers)" in [each.message for each in found]


def test_the_metrics_name_what_is_left_out_until_it_is_whole(damaged: Store, client: FlaskClient) -> None:
    """An alarm can be set on it."""
    lines = 'modelyard_left_out_versions{model="half_plus",version="2"} 1.0'
    prepare_config(damaged)
    assert lines in client.get("/metrics").text.splitlines()
    (damaged.path(HALF_PLUS, 2) / GRAPH).write_bytes(b"no graph")
    prepare_config(damaged)
    after = [line for line in client.get("/metrics").text.splitlines() if line.startswith("modelyard_left_out")]
    assert after == ['modelyard_left_out_versions{model="digits",version="1"} 1.0']
