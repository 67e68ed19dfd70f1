"""A version's record says what data it was made of, and what stood out in it."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.cards.data_card import FILE, ColumnCard, DataCard
from modelyard.models.registry.manifest import DataRecord
from modelyard.models.registry.store import Store
from modelyard.services.cli.commands.rollouts import print_record
from tests.support.fakes import HALF_PLUS, publish

CARD = DataCard(
    fingerprint="0" * 64,
    rows={"train": 8, "validation": 1, "test": 1},
    classes={"no": {"train": 5, "validation": 1, "test": 0}, "yes": {"train": 3, "validation": 0, "test": 1}},
    columns={"age": ColumnCard(kind="number", missing=0.25, minimum=1, maximum=99, mean=40)},
    warnings=("the class 'no' (6 rows) is in no row of the test part",),
)
DATA = DataRecord(
    name="churn.csv",
    source="real",
    fingerprint="0" * 64,
    train=8,
    validation=1,
    test=1,
    classes=CARD.count_classes(),
    missing=dict(CARD.list_missing()),
    warnings=CARD.warnings,
)


def write_card(staged: Path) -> None:
    (staged / FILE).write_text(CARD.model_dump_json())


def test_a_version_shows_its_data_card(filled: Store, client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    """In the API as a whole; on the command line its classes, missing shares and warnings."""
    number = publish(filled, HALF_PLUS, stable=False, prepare=write_card, data=DATA)
    record = client.get(f"/api/models/{HALF_PLUS}/versions/{number}").json
    assert DataCard.model_validate(record["data_card"]) == CARD
    assert record["data"]["warnings"] == list(CARD.warnings)
    print_record(record)
    said = " ".join(capsys.readouterr().out.split())
    for text in ("classes no 6, yes 4", "missing age 25.0%", f"warning 1 {CARD.warnings[0]}"):
        assert text in said


def test_a_version_without_a_card_is_shown_all_the_same(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """As those of earlier releases are."""
    record = client.get(f"/api/models/{HALF_PLUS}/versions/1").json
    assert record["data_card"] is None
    print_record(record)
    assert "warning" not in capsys.readouterr().out


def test_a_damaged_card_is_said(filled: Store, client: FlaskClient) -> None:
    """It is part of a version, as its manifest is."""
    number = publish(filled, HALF_PLUS, stable=False, prepare=lambda staged: (staged / FILE).write_text("{"))
    answer = client.get(f"/api/models/{HALF_PLUS}/versions/{number}")
    assert answer.status_code == 500
    assert "data_card.json" in answer.json["error"]
