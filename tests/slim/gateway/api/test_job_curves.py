"""Curves of jobs over HTTP, their recipes, and several beside each other."""

import csv
import io
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.models.registry.store import Store
from modelyard.services.gateway.api.job_history.tables import write_csv
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from tests.support.curves import add_job, add_trained, begin_stage, end_epoch, end_step
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.jobs import claim

RECIPE = {
    "epochs": RecipeField(default=4, constraints={"type": "integer", "description": "Passes."}),
    "seed": RecipeField(default=0, constraints={"type": "integer"}),
    "learning_rate": RecipeField(default=0.1, constraints={"type": "number"}),
}


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str, ledger: Ledger) -> GatewaySettings:
    ledger.prepare()
    known = TrainableModel(name=HALF_PLUS, task="", summary="", dataset="", homepage="", recipes={"quick": RECIPE})
    (filled.root / FILE).write_text(Catalog(digest="", trainable={HALF_PLUS: known}).model_dump_json())
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


def compare(client: FlaskClient, *ids: str) -> Any:
    return client.get("/api/jobs/compare", query_string=[("id", each) for each in ids]).json


def test_curves_have_training_beside_validation_and_what_happens_within_epochs(
    client: FlaskClient, ledger: Ledger
) -> None:
    """By epoch; the best epoch is that of the lowest validation loss."""
    job = add_job(ledger)
    begin_stage(ledger, job, "data")
    end_step(ledger, job, 1, 5, 0.9)
    end_epoch(ledger, job, 1, 0.5)
    end_epoch(ledger, job, 2, 0.3)
    end_epoch(ledger, job, 3, 0.4)
    found = client.get(f"/api/jobs/{job.id}/curves").json
    assert (found["epochs"], found["planned"]) == ([1, 2, 3], 4)
    assert found["metrics"]["loss"] == {"training": [0.5, 0.3, 0.4], "validation": [0.6, 0.4, 0.5]}
    assert list(found["metrics"]) == ["loss", "accuracy"]
    assert found["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3])
    assert (found["within"]["epochs"], found["within"]["metrics"]) == ([0.25], {"loss": [0.9]})
    assert found["best"] == {"epoch": 2, "value": 0.4, "since": 1}
    assert len(found["seconds"]) == 3
    assert found["next"] == ledger.jobs.list_events(job.id)[-1].id


def test_epochs_that_an_attempt_trains_again_count_once(client: FlaskClient, ledger: Ledger) -> None:
    """What the lost attempt had done of them is not shown any more."""
    job = add_job(ledger)
    end_epoch(ledger, job, 1, 0.5)
    end_epoch(ledger, job, 2, 0.1)
    end_step(ledger, job, 3, 10, 0.05)
    ledger.jobs.requeue(job, "killed", lost=True)
    again = claim(ledger, job)
    end_epoch(ledger, again, 2, 0.4)
    found = client.get(f"/api/jobs/{job.id}/curves").json
    assert (found["epochs"], found["metrics"]["loss"]["training"]) == ([1, 2], [0.5, 0.4])
    assert found["within"]["epochs"] == []


def test_a_job_without_epochs_has_empty_curves(client: FlaskClient, ledger: Ledger) -> None:
    """And one that does not exist is 404."""
    found = client.get(f"/api/jobs/{add_job(ledger).id}/curves").json
    assert (found["epochs"], found["metrics"], found["best"]) == ([], {}, None)
    for path in ("curves", "recipe"):
        assert client.get(f"/api/jobs/job-0000000000000000/{path}").status_code == 404


def test_a_recipe_begins_with_what_differs(client: FlaskClient, ledger: Ledger) -> None:
    """A number from the command line is a text, and no difference by itself."""
    found = client.get(f"/api/jobs/{add_job(ledger, learning_rate=0.5, epochs='4').id}/recipe").json
    assert [(value["key"], value["value"], value["differs"]) for value in found["values"]] == [
        ("learning_rate", 0.5, True),
        ("epochs", "4", False),
        ("seed", 0, False),
    ]
    assert found["values"][1]["description"] == "Passes."
    gone = client.get(f"/api/jobs/{add_job(ledger, 'gone', size=3).id}/recipe").json
    assert (gone["known"], [value["key"] for value in gone["values"]]) == (False, ["size"])


def test_a_comparison_holds_only_what_differs(client: FlaskClient, ledger: Ledger) -> None:
    """Best and last of each metric, and which job is best: less of a loss, more of an accuracy."""
    one = add_trained(ledger, [0.5, 0.2, 0.3], learning_rate=0.1)
    other = add_trained(ledger, [0.6, 0.4], learning_rate=0.2)
    found = compare(client, one.id, other.id)
    assert [(row["key"], row["values"]) for row in found["recipe"]] == [("learning_rate", [0.1, 0.2])]
    assert (found["seeds"], found["per_class"], found["data"]) == ([], None, [])
    rows = {(row["name"], row["split"]): row for row in found["metrics"]}
    assert rows["loss", "training"]["values"][0] == {"best": 0.2, "epoch": 2, "last": 0.3}
    assert [rows["loss", "validation"]["best"], rows["accuracy", "validation"]["best"]] == [0, 0]
    assert rows["accuracy", "training"]["better"] == "higher"
    assert [curves["job"] for curves in found["curves"]] == [one.id, other.id]


def test_jobs_that_differ_in_their_seed_have_a_mean_and_a_band(client: FlaskClient, ledger: Ledger) -> None:
    """An epoch that only one has trained is its own mean."""
    jobs = [add_trained(ledger, losses, seed=seed) for seed, losses in enumerate(([0.5, 0.3], [0.7], [0.6, 0.5]))]
    stranger = add_trained(ledger, [0.1], learning_rate=0.9, seed=7)
    (group,) = compare(client, *(job.id for job in jobs), stranger.id)["seeds"]
    assert (group["jobs"], group["epochs"]) == ([job.id for job in jobs], [1, 2])
    band = group["metrics"]["loss"]["training"]
    assert (band["mean"], band["low"], band["high"]) == (pytest.approx([0.6, 0.4]), [0.5, 0.3], [0.7, 0.5])


def test_a_comparison_is_a_table_for_others_too(client: FlaskClient, ledger: Ledger) -> None:
    """A line for each job, and one for each value of its curves."""
    jobs = [add_trained(ledger, [0.5, 0.2], learning_rate=rate) for rate in (0.1, 0.2)]
    query = [("id", job.id) for job in jobs]
    answer = client.get("/api/jobs/compare.csv", query_string=query)
    assert answer.content_type == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    assert [(line["job"], line["learning_rate"], line["training_loss_best"]) for line in lines] == [
        (jobs[0].id, "0.1", "0.2"),
        (jobs[1].id, "0.2", "0.2"),
    ]
    text = client.get("/api/jobs/curves.csv", query_string=query).get_data(as_text=True)
    points = list(csv.DictReader(io.StringIO(text)))
    assert len(points) == 2 * 2 * 5
    assert {point["split"] for point in points} == {"training", "validation"}


@pytest.mark.parametrize(("ids", "status"), [([], 400), (["job-x"] * 51, 404), ([f"job-{n}" for n in range(51)], 400)])
def test_a_comparison_names_its_limits(client: FlaskClient, ids: list[str], status: int) -> None:
    """None, too many, and one that does not exist; the same one twice is one."""
    answer = client.get("/api/jobs/compare", query_string=[("id", each) for each in ids])
    assert answer.status_code == status


def test_no_cell_of_a_table_is_a_formula() -> None:
    """Names are users'."""
    assert write_csv([["=1+1", "@x", -1, "a"]]) == "'=1+1,'@x,-1,a\r\n"
