"""Arrays and golden answers travel between processes without pickles and without loss."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelyard.pipeline import arrays, golden


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_texts_come_back_as_they_were(tmp_path_factory: object, texts: list[str]) -> None:
    """Any Unicode text, empty ones and NULs included."""
    path = tmp_path_factory.mktemp("a") / "x.npz"  # type: ignore[attr-defined]
    array = np.array(texts, dtype=object)
    assert arrays.load(arrays.save(path, {"x": array}))["x"].tolist() == texts


def test_numbers_keep_type_and_shape(tmp_path: Path) -> None:
    """Nothing is converted."""
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    found = arrays.load(arrays.save(tmp_path / "x.npz", {"x": array}))["x"]
    assert found.dtype == np.uint8
    assert found.tolist() == array.tolist()


def test_golden_bytes_come_back_as_they_were(tmp_path: Path) -> None:
    """Image files hold every byte value."""
    (tmp_path / "assets.extra").mkdir()
    content = np.array([bytes(range(256)), b""], dtype=object)
    golden.save(tmp_path, {"image_bytes/image_bytes": content})
    assert golden.load(tmp_path)["image_bytes/image_bytes"].tolist() == content.tolist()


def test_difference_is_infinite_where_nothing_can_be_compared() -> None:
    """Another shape, or a value that is not finite, is never within a tolerance."""
    one = np.zeros(2)
    assert golden.largest_difference(one, np.zeros(3)) == float("inf")
    assert golden.largest_difference(one, np.array([0, np.nan])) == float("inf")
    assert golden.largest_difference(one, np.array([0, 0.5])) == 0.5
