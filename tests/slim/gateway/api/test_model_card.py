"""A version's model card says what its author says, and what its decision record knows; as JSON and as Markdown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry import evaluations
from modelyard.models.registry.cards import model_card
from modelyard.models.registry.cards.model_card import CardRecord, KindRecord, MeasuredRecord
from modelyard.models.registry.manifest import BaselineRecord, ImportRecord
from modelyard.models.registry.retention import remove_version
from modelyard.models.registry.store import Store
from modelyard.models.registry.uncertainty.record import CoverageRecord, TypicalityRecord, UncertaintyRecord
from modelyard.pipeline.results import Evaluation
from tests.support.fakes import DIGITS, HALF_PLUS, publish

MARKUP = "<script>alert(1)</script> | x"
WORDS = CardRecord(
    purpose="Reads digits\n## that were drawn.",
    made_for=("dark ink on light paper",),
    not_made_for=("letters",),
    limits=(f"wrong on {MARKUP}",),
    data="Students of 1998.",
    license="CC-BY-4.0",
    measured=MeasuredRecord(
        recipe="quick",
        by="me",
        kinds=(
            KindRecord(kind="black on white", count=300, measures={"accuracy": 0.987}),
            KindRecord(kind="a|b", group="other", count=20, measures={"auroc": 0.5, "flagged": 0.25}),
        ),
    ),
)
EVALUATION = Evaluation(
    metrics={"accuracy": 0.9}, examples=9, per_class={"1": {"precision": 1.0, "support": 1234.0}}, golden_difference=0
)


def write(content: str) -> Callable[[Path], None]:
    def prepare(staged: Path) -> None:
        (staged / model_card.FILE).write_text(content)
        (staged / evaluations.FILE).write_text(EVALUATION.model_dump_json(exclude={"reference"}))

    return prepare


def path_of(model: str, version: int) -> str:
    return f"/api/models/{model}/versions/{version}/card"


def get_text(client: FlaskClient, path: str) -> str:
    found = client.get(path, headers={"Accept": "text/markdown"})
    assert (found.status_code, found.mimetype, found.headers["Vary"]) == (200, "text/markdown", "Accept")
    return found.text


@pytest.fixture
def version(filled: Store) -> int:
    return publish(
        filled, DIGITS, prepare=write(WORDS.model_dump_json()), baseline=BaselineRecord(method="nearest", value=0.8)
    )


def test_a_card_has_the_authors_words_and_the_records_numbers(client: FlaskClient, version: int) -> None:
    """Data, recipe, verdict, baseline, classes and environment come from the version itself."""
    found = client.get(path_of(DIGITS, version)).json
    said = {name: found[name] for name in vars(WORDS).keys() - {"data"}}
    assert CardRecord.model_validate(said | {"data": found["about_data"]}) == WORDS
    assert (found["baseline"]["value"], found["per_class"]["1"]["precision"]) == (0.8, 1.0)
    assert (found["recipe"]["name"], found["training"]["parameters"]) == ("quick", 2)
    assert found["inputs"][0]["kind"] == "image"


def test_a_card_as_markdown_has_a_head_and_tables(client: FlaskClient, version: int) -> None:
    """No text of a person is HTML, a heading, or a cell of its own."""
    text = get_text(client, path_of(DIGITS, version))
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    values = {name: json.loads(value) for name, _, value in (line.partition(": ") for line in head.splitlines())}
    assert (values["license"], values["pipeline_tag"]) == ("cc-by-4.0", "image-classification")
    assert values["model-index"][0]["results"][0]["metrics"]
    lines = body.splitlines()
    for line in (
        "Reads digits ## that were drawn.",
        "- letters",
        "- wrong on &lt;script>alert(1)&lt;/script> | x",
        "| **black on white** | 300 | 98.7% |",
        r"| **a\|b** | 20 | 0.500 | 25.0% |",
        "- baseline: nearest has 0.8000",
        "| 1 | 1.0000 | 1,234 |",
    ):
        assert line in lines


def test_a_card_says_how_sure_its_answers_are(client: FlaskClient, filled: Store) -> None:
    """As the record has it: coverage on the test split, the share that is flagged, and what becomes of it."""
    said = UncertaintyRecord(
        examples=500,
        temperature=1.25,
        ece_before=0.05,
        coverage=(CoverageRecord(percent=95, threshold=0.4, covered=0.951, mean_size=0.97),),
        typicality=TypicalityRecord(methods=("energy",), flagged=0.012),
    )
    number = publish(filled, DIGITS, uncertainty=said, on_atypical="refuse")
    assert client.get(path_of(DIGITS, number)).json["uncertainty"]["coverage"][0]["percent"] == 95
    lines = get_text(client, path_of(DIGITS, number)).splitlines()
    for line in (
        "- prediction sets of 95 %: 95.1% of the test split are in theirs, 0.97 labels on average",
        "- calibrated by the temperature 1.250; without it, ece 0.0500",
        "- typical by energy; 1.2% of the test split is not",
        "- where an input is not typical: it does not answer",
    ):
        assert line in lines


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html", "text/markdown;q=0.5, */*"])
def test_json_unless_markdown_is_preferred(client: FlaskClient, accept: str | None) -> None:
    """As a client asks that says nothing, or takes everything."""
    found = client.get(path_of(HALF_PLUS, 1), headers={"Accept": accept} if accept else {})
    assert found.json["version"] == 1


def test_a_version_whose_author_says_nothing_has_a_card(client: FlaskClient) -> None:
    """It says so, in place of empty sections."""
    found = client.get(path_of(HALF_PLUS, 1)).json
    assert (found["purpose"], found["limits"], found["measured"]) == ("", [], None)
    text = get_text(client, path_of(HALF_PLUS, 1))
    assert "## Limits\n\nThe author has not said." in text
    assert "On kinds of input" not in text


def test_an_imported_version_has_a_card(client: FlaskClient, filled: Store) -> None:
    """Where it came from, and that nothing was measured."""
    imported = ImportRecord(path="/models/foreign", form="SavedModel", files={}, tensorflow="2.19", test=None)
    number = publish(
        filled, HALF_PLUS, imported=imported, data=None, recipe=None, training=None, metrics={}, input=None
    )
    text = get_text(client, path_of(HALF_PLUS, number))
    assert "- trained elsewhere: SavedModel /models/foreign" in text.splitlines()
    assert "Nothing was measured." in text
    assert "- imported without test data" in text


def test_a_deleted_version_keeps_what_its_record_knows(client: FlaskClient, filled: Store) -> None:
    """The author's words were files of it."""
    number = publish(filled, DIGITS, stable=False, prepare=write(WORDS.model_dump_json()))
    publish(filled, DIGITS)  # the newest stays, and so does the stable one before
    publish(filled, DIGITS)
    remove_version(filled, DIGITS, number, "test", "old")
    found = client.get(path_of(DIGITS, number)).json
    assert (found["verdict"]["accepted"], found["purpose"]) == (True, "")


def test_a_damaged_card_is_said(client: FlaskClient, filled: Store) -> None:
    """As a damaged manifest is; the version's page in the console stays."""
    number = publish(filled, DIGITS, prepare=write("{"))
    found = client.get(path_of(DIGITS, number))
    assert found.status_code == 500
    assert "card.json" in found.json["error"]
    assert client.get(f"/models/{DIGITS}/versions/{number}").status_code == 200
    assert client.get(path_of(DIGITS, 99)).status_code == 404


def test_the_console_shows_the_card(client: FlaskClient, version: int) -> None:
    """Nothing of it is markup; a version whose author says nothing has no such section."""
    page = client.get(f"/models/{DIGITS}/versions/{version}").text
    for text in ("dark ink on light paper", "&lt;script&gt;alert(1)", "black on white", "0.987"):
        assert text in page
    silent = client.get(f"/models/{HALF_PLUS}/versions/1").text
    assert 'id="model-card"' not in silent
    for shown, path in ((page, path_of(DIGITS, version)), (silent, path_of(HALF_PLUS, 1))):
        assert f'href="{path}"' in shown
