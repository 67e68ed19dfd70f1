"""The kinds of input that `benchmarks.robustness` makes are files that a gateway takes, the same ones each time."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.robustness.alone import compare
from benchmarks.robustness.answers import Answers
from benchmarks.robustness.digits import DIGITS
from benchmarks.robustness.kinds import DigitKind, OtherKind
from benchmarks.robustness.others import OTHERS
from benchmarks.robustness.rated import FOLDER, SOURCES, read_rated_suites
from benchmarks.robustness.records import average, to_record, to_row
from benchmarks.robustness.report import Row, measure_auroc, measure_known, measure_other, render
from benchmarks.robustness.texts import (
    TEXTS,
    WRITTEN,
    WRITTEN_FOR_CHOICES,
    make_other_suites,
    read_written_suites,
)
from modelyard.models.text.vocabulary import tokenise
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.images import count_pixels

OPTIONAL = ("photographs",)
"""Their sources come with packages that are not installed here."""
ASPECT = 0.05


def draw_seven() -> Array:
    image = np.zeros((28, 28), np.uint8)
    image[5:8, 8:20] = 255
    image[8:24, 16:19] = 255
    return image


@pytest.fixture(scope="module")
def digits() -> Array:
    return np.stack([draw_seven()] * 2)


@pytest.mark.parametrize("kind", DIGITS, ids=lambda kind: kind.name)
def test_a_kind_of_digits_is_made_of_files(kind: DigitKind, digits: Array) -> None:
    """Seeded: whoever measures again has the same bytes. No picture of a digit is empty."""
    files = kind.make(digits, 7)
    assert files == kind.make(digits, 7)
    for file in files:
        assert count_pixels("image", file, 4_000_000) >= 28 * 28
        bands = Image.open(io.BytesIO(file)).convert("RGBA").getextrema()
        assert max(high - low for low, high in bands) > 100


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind.name not in OPTIONAL], ids=lambda kind: kind.name)
def test_a_kind_of_no_digits_is_made_of_files(kind: OtherKind, digits: Array) -> None:
    """As many as are asked for."""
    files = kind.make(5, digits, 7)
    assert files == kind.make(5, digits, 7)
    assert len(files) == len([count_pixels("image", file, 4_000_000) for file in files]) == 5


def test_a_turned_file_is_upright_by_its_orientation(digits: Array) -> None:
    """As a viewer shows it, it is the digit as it was drawn."""
    kind = next(kind for kind in DIGITS if kind.name == "turned JPEG")
    expected = 255 - np.asarray(Image.fromarray(draw_seven()).resize((112, 112), Image.Resampling.BICUBIC), np.float32)
    for seed in range(8):
        for file in kind.make(digits, seed):
            shown = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("L")
            assert np.abs(np.asarray(shown, np.float32) - expected).mean() < 255 * ASPECT


def test_texts_are_the_same_for_the_same_seed() -> None:
    """As many as there were; those of no known word have none of English."""
    texts, classes = ["I don't think it's good. Not at all", 'A "fine" film & more'], [0, 1]
    for kind in TEXTS:
        suite = kind.make(texts, classes, 1)
        assert suite == kind.make(texts, classes, 1)
        assert len(suite.texts) == len(texts)
    escaped = next(kind for kind in TEXTS if kind.name == "escaped").make(texts, classes, 1).texts
    assert escaped == ["I don&#39;t think it&#39;s good. Not at all", "A &quot;fine&quot; film &amp; more"]
    for other in make_other_suites(20, 1):
        assert (len(other.texts), other.classes) == (20, None)
        assert not set("aeiou") & set("".join(other.texts))


def test_a_written_suite_is_a_file(tmp_path: Path) -> None:
    """Its groups are suites of their own; a text may hold anything but a line's end."""
    (tmp_path / "negation.tsv").write_text("1\tfilm\tNot bad\tat all.\n0\thome\tNot good.\n1\tfilm\tNo fault.\n")
    whole, film, home = read_written_suites(tmp_path)
    assert (whole.name, whole.classes) == ("negation", [1, 0, 1])
    assert (film.name, film.texts, film.classes) == ("negation, film", ["Not bad\tat all.", "No fault."], [1, 1])
    assert (home.name, home.classes) == ("negation, home", [0])


def test_what_choices_are_made_on_is_not_what_is_measured() -> None:
    """Both suites of negations are balanced, and have no five words in a row in common."""
    measured, chosen_on = (next(iter(read_written_suites(folder))) for folder in (WRITTEN, WRITTEN_FOR_CHOICES))
    assert [np.mean(suite.classes) for suite in (measured, chosen_on)] == pytest.approx([0.5, 0.5], abs=0.02)
    there, here = (
        {tuple(words[start : start + 5]) for words in map(tokenise, suite.texts) for start in range(len(words) - 4)}
        for suite in (measured, chosen_on)
    )
    assert min(len(there), len(here)) > 200
    assert not there & here


def test_rated_texts_are_read_where_they_lie(tmp_path: Path) -> None:
    """Clear ratings alone have a class; those with a negator are also a suite of their own."""
    (tmp_path / FOLDER).mkdir(parents=True)
    for _, name, _, _ in SOURCES:
        text = "1_1\t2.5\tA fine day.\n1_2\t-1.0\tNot a fine day.\n1_3\t0.4\tA day.\n"
        (tmp_path / FOLDER / f"{name}_GroundTruth.txt").write_text(text)
    whole, negated, *others = read_rated_suites(tmp_path)
    assert (whole.name, whole.texts, whole.classes) == (
        "rated by people, film",
        ["A fine day.", "Not a fine day."],
        [1, 0],
    )
    assert (negated.name, negated.texts) == ("rated by people, film, negated", ["Not a fine day."])
    assert len(others) == 2 * (len(SOURCES) - 1)


def test_a_difference_is_the_largest_of_an_output() -> None:
    alone = {"probabilities": np.array([[0.25, 0.75], [0.5, 0.5]]), "typical": np.array([True, False])}
    together = alone | {"probabilities": np.array([[0.25, 0.75], [0.375, 0.625]])}
    assert compare(together, alone) == {"probabilities": 0.125, "typical": 0.0}


def test_each_measure_is_of_the_answers() -> None:
    """Sets by the levels of `prediction_set`; AUROC counts ties as a half; what a version does not say is left out."""
    answers = Answers(
        {
            "probabilities": np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.95, 0.05]]),
            "prediction_set": np.array([[95, 100], [99, 95], [99, 95], [95, 100]]),
            "typical": np.array([True, True, True, False]),
            "atypicality": np.array([0.1, 0.2, 0.2, 3.0]),
        }
    )
    known = measure_known("k", "", "made for", answers, np.array([0, 1, 0, 1])).to_json()
    assert (known["accuracy"], known["flagged"], known["sure"]) == (0.5, 0.25, 0.25)
    assert (known["coverage_95"], known["size_95"]) == (0.5, 1.0)
    assert (known["coverage_99"], known["size_99"]) == (0.75, 1.5)
    assert measure_auroc(np.array([0.2, 5.0]), np.array([0.1, 0.2, 0.2, 0.3])) == pytest.approx((2 / 4 + 1) / 2)
    other = measure_other("o", "", Answers({"probabilities": answers.probabilities}), answers).to_json()
    assert other.keys() == {"kind", "group", "count", "confidence", "sure"}


def test_several_versions_are_one_row() -> None:
    """The mean of each measure; as it goes into a card and comes back."""
    rows = [Row("k", "s", "made for", 3, accuracy=value, ece=0.5) for value in (0.25, 0.75)]
    (both,) = average([rows])
    assert both == Row("k", "s", "made for", 3, accuracy=0.5, ece=0.5)
    assert to_row(to_record(both)) == both
    assert "| **k**: s | 3 | 50.0% · - |" in render({"quick": [both]})
