"""Arrays and golden answers travel between processes without pickles and without loss."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.pipeline.arrays import load_arrays, save_arrays
from modelyard.pipeline.golden import load_golden, max_difference, save_golden


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_texts_come_back_as_they_were(tmp_path_factory: object, texts: list[str]) -> None:
    """Any Unicode text, empty ones and NULs included."""
    path = tmp_path_factory.mktemp("a") / "x.npz"  # type: ignore[attr-defined]
    array = np.array(texts, dtype=object)
    assert load_arrays(save_arrays(path, {"x": array}))["x"].tolist() == texts


def test_numbers_keep_type_and_shape(tmp_path: Path) -> None:
    """Nothing is converted."""
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    found = load_arrays(save_arrays(tmp_path / "x.npz", {"x": array}))["x"]
    assert found.dtype == np.uint8
    assert found.tolist() == array.tolist()


def test_golden_bytes_come_back_as_they_were(tmp_path: Path) -> None:
    """Image files hold every byte value."""
    (tmp_path / "assets.extra").mkdir()
    content = np.array([bytes(range(256)), b""], dtype=object)
    save_golden(tmp_path, {"image_bytes/image_bytes": content})
    assert load_golden(tmp_path)["image_bytes/image_bytes"].tolist() == content.tolist()


def test_difference_is_infinite_where_nothing_can_be_compared() -> None:
    """Another shape, or a value that is not finite, is never within a tolerance."""
    one = np.zeros(2)
    assert max_difference(one, np.zeros(3)) == float("inf")
    assert max_difference(one, np.array([0, np.nan])) == float("inf")
    assert max_difference(one, np.array([0, 0.5])) == 0.5


def test_large_numbers_are_compared_by_their_digits() -> None:
    """Neighbours of 32 bits around 150 are equal enough; a prediction of 151 for 150 is not."""
    large = np.array([150.0, 0.5], np.float32)
    assert max_difference(large, np.nextafter(large, np.float32(np.inf))) < 1e-6
    assert max_difference(large, large + np.float32(1)) == pytest.approx(1 / 151)
    assert max_difference(np.array([1e9]), np.zeros(1)) == 1


def test_equal_texts_do_not_differ() -> None:
    """Texts are equal or not."""
    texts = np.array([[b"a", b"b"]], dtype=object)
    assert max_difference(texts, texts.copy()) == 0
    assert max_difference(texts, np.array([[b"a", b"c"]], dtype=object)) == float("inf")


def test_golden_texts_keep_their_shape(tmp_path: Path) -> None:
    """Rows of several, none at all, and one without a dimension."""
    (tmp_path / "assets.extra").mkdir()
    for shape in ((2, 3), (0, 3), ()):
        content = np.full(shape, b"\xff", dtype=object)
        save_golden(tmp_path, {"serving_default/words": content})
        found = load_golden(tmp_path)["serving_default/words"]
        assert found.shape == shape
        assert found.ravel().tolist() == content.ravel().tolist()
