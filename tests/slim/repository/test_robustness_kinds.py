"""The kinds of input that `benchmarks.robustness` makes are files that a gateway takes, the same ones each time."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.robustness.digits import DIGITS
from benchmarks.robustness.kinds import DigitKind, OtherKind
from benchmarks.robustness.others import OTHERS
from benchmarks.robustness.texts import TEXTS, make_other_suites, read_written_suites
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
    film, home = read_written_suites(tmp_path)
    assert (film.name, film.texts, film.classes) == ("negation, film", ["Not bad\tat all.", "No fault."], [1, 1])
    assert (home.name, home.classes) == ("negation, home", [0])
