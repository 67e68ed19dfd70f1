"""A spec's words for the model card go into each version; a card that is not one is refused before training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.models.check_spec import check_spec
from modelyard.models.errors import InvalidSpec
from modelyard.models.registry.cards.model_card import KindRecord, MeasuredFile, MeasuredRecord
from modelyard.models.spec import Card, ModelSpec
from modelyard.pipeline.stages.publish import make_card
from tests.slim.models.test_check_spec import SPEC

KINDS = (KindRecord(kind="black on white", count=3, measures={"accuracy": 1.0}),)
MEASURED = MeasuredFile(measured=(MeasuredRecord(recipe="quick", kinds=KINDS), MeasuredRecord(kinds=())))


def with_card(folder: Path, card: Any) -> ModelSpec:
    return replace(SPEC, card=card, file=folder / "small.py")


def test_the_words_and_what_was_measured_of_the_recipe_are_kept(tmp_path: Path) -> None:
    """Another recipe has what holds for all; a version of the sample nothing, as the sample was not measured."""
    (tmp_path / "small.json").write_text(MEASURED.model_dump_json())
    spec = with_card(tmp_path, Card(purpose="To test.", limits=("none",), measured="small.json"))
    check_spec(spec)
    found = make_card(spec, "quick", "real")
    assert found
    assert (found.purpose, found.limits) == ("To test.", ("none",))
    assert found.measured == MEASURED.measured[0]
    for recipe, source, measured in (("full", "real", MEASURED.measured[1]), ("quick", "sample", None)):
        other = make_card(spec, recipe, source)  # type: ignore[arg-type]
        assert other
        assert other.measured == measured
    assert make_card(SPEC, "quick", "real") is None


def test_a_file_that_went_away_while_it_trained_costs_no_version(tmp_path: Path) -> None:
    """It was there when the training began."""
    found = make_card(with_card(tmp_path, Card(purpose="To test.", measured="gone.json")), "quick", "real")
    assert found
    assert (found.purpose, found.measured) == ("To test.", None)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"purpose": "x"}, "expected a Card"),
        (Card(limits="one text"), "card: limits: expected a tuple of texts, received 'one text'"),  # type: ignore[arg-type]
        (Card(purpose=3), "card: purpose: expected a text, received 3"),  # type: ignore[arg-type]
        (Card(measured="none.json"), "none.json: expected a file of measured kinds, received none"),
        (Card(measured="bad.json"), "bad.json: expected measured kinds"),
    ],
)
def test_a_card_that_is_none_is_refused(tmp_path: Path, card: Any, words: str) -> None:
    """With the field, before anything is trained."""
    (tmp_path / "bad.json").write_text('{"measured": [{"kinds": [{"kind": "x"}]}]}')
    with pytest.raises(InvalidSpec) as raised:
        check_spec(with_card(tmp_path, card))
    assert words in str(raised.value)
