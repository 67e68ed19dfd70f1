"""Predictions with everything that people hold, through a real gateway; the asynchronous client does the same."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelyard.client import InvalidInput, ModelyardClientError, NotFound, WrongKind
from modelyard.client.inputs import encode_png
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, encoded
from tests.support.named_models import CHURN, PAIR, ROW, SIZES, TAGS, WRITER
from tests.support.uncertain_models import LINE, SURE

PIXELS = np.full((28, 28), 200, np.uint8)


class Table:
    """As much of a data frame of pandas as is used: it is known by its methods."""

    columns = ("age", "plan", "tenure_months")

    def to_dict(self, *, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        gold = {"age": np.int64(41), "plan": "gold", "tenure_months": float("nan")}
        return [gold, {"age": 30.5, "plan": "basic", "tenure_months": np.float32(2)}]


def test_an_image_is_given_in_any_form(client: Any, tmp_path: Path) -> None:
    """A path, a file's bytes, an image of Pillow, an array: one answer, with label, scores and where it comes from."""
    (tmp_path / "seven.png").write_bytes(encoded("PNG"))
    forms = (
        tmp_path / "seven.png",
        encoded("PNG"),
        Image.new("L", (28, 28), 200),
        Image.new("CMYK", (28, 28)),
        PIXELS,
        np.stack([PIXELS] * 4, axis=2),
    )
    for given in forms:
        found = client.predict(DIGITS, given)
        assert (found.kind, found.label, found.class_id, found.score) == ("class", "light", 1, 0.75)
        assert found.scores == {"dark": 0.25, "light": 0.75}
        assert (found.model, found.version, found.data) == (DIGITS, 1, "real")
        assert found.request_id
        assert found.latency_s > 0
    assert client.predict(DIGITS, encoded("JPEG")).label == "dark"


def test_an_array_as_a_png_has_its_pixels() -> None:
    """Of every number of channels."""
    for shape in ((3, 5), (3, 5, 1), (3, 5, 2), (3, 5, 3), (3, 5, 4)):
        pixels = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
        found = np.asarray(Image.open(io.BytesIO(encode_png(pixels))))
        np.testing.assert_array_equal(found, pixels.reshape(found.shape))


def test_a_text_is_a_text_whatever_it_looks_like(client: Any, tmp_path: Path) -> None:
    """No file is read for a str: who answers strangers with a model would send its files to them."""
    (tmp_path / "good.txt").write_text("bad")
    for text in ("a good film", str(tmp_path / "good.txt"), '{"instances": ["good"]}', "good ☂"):
        assert client.predict(REVIEWS, text).label == "positive"
    assert client.predict(WRITER, "a ☂").text == "<a ☂>"


def test_rows_by_name(client: Any) -> None:
    """A dict, a list of them, a table: missing values too."""
    found = client.predict(CHURN, ROW)
    assert (found.label, found.scores["yes"]) == ("yes", pytest.approx(0.9))
    assert [each.label for each in client.predict_many(CHURN, [ROW, {**ROW, "plan": "basic"}])] == ["yes", "no"]
    assert [each.label for each in client.predict_many(CHURN, Table())] == ["yes", "no"]
    photo = {"photo": Image.new("RGB", (2, 2)), "caption": "a cat", "weights": np.arange(3.0)}
    assert client.predict(PAIR, photo).label == "yes"
    assert [each.row for each in client.predict_many(PAIR, [photo, photo])] == [0, 1]


def test_every_kind_of_answer_is_read_by_its_name(client: Any) -> None:
    """And by no other."""
    tags = client.predict(TAGS, "laugh and fight")
    assert (tags.kind, list(tags.labels)) == ("labels", ["action", "comedy"])
    assert tags.scores["war"] == pytest.approx(0.05)
    assert client.predict(SIZES, [1, 2, 3]).values == {"width": 2.0, "height": 4.0}
    number = client.predict(HALF_PLUS, np.float32([1]))
    assert (number.kind, number.outputs) == ("outputs", {"value": [number.version + 0.5]})
    with pytest.raises(WrongKind, match="half_plus answers with outputs, not with label"):
        assert number.label


def test_an_answer_says_how_far_it_can_be_trusted(client: Any) -> None:
    """Sets, intervals and whether the input is typical; of a version that says none of it, None and nothing."""
    found = client.predict(SURE, "hm")
    assert found.prediction_set == {95: ("positive",), 99: ("negative", "positive")}
    assert (found.typical, found.atypicality) == (True, 0.25)
    assert client.predict(SURE, "xyz").typical is False
    number = client.predict(LINE, [1.0])
    assert number.intervals == {95: {"width": (1.0, 3.0)}, 99: {"width": (0.0, 4.0)}}
    old = client.predict(REVIEWS, "good")
    assert (old.typical, old.atypicality, old.prediction_set, old.intervals) == (None, None, {}, {})


def test_many_are_answered_in_order_in_as_many_requests_as_it_takes(client: Any) -> None:
    """More than a request may have; a generator; images, which come as files in JSON."""
    texts = [f"{'good' if number % 3 else 'bad'} {number}" for number in range(600)]
    found = client.predict_many(REVIEWS, iter(texts))
    assert [each.label == "positive" for each in found] == [bool(number % 3) for number in range(600)]
    assert [each.row for each in found] == [*range(256), *range(256), *range(88)]
    assert len({each.request_id for each in found}) == 3
    images = [encoded("PNG" if number % 2 else "JPEG") for number in range(40)]
    assert [each.label for each in client.predict_many(DIGITS, images)] == ["dark", "light"] * 20
    assert [each.label for each in client.predict_many(DIGITS, np.stack([PIXELS] * 3))] == ["light"] * 3
    assert client.predict_many(REVIEWS, []) == []


def test_a_version_or_a_label_is_named(client: Any) -> None:
    """Not both."""
    for named in ({"version": 1}, {"label": "stable"}):
        assert client.predict(HALF_PLUS, [1.0], **named).version == (1 if "version" in named else 2)
    with pytest.raises(InvalidInput, match="expected one of version and label"):
        client.predict(HALF_PLUS, [1.0], version=1, label="stable")
    with pytest.raises(NotFound) as missing:
        client.predict(HALF_PLUS, [1.0], version=9)
    assert (missing.value.status, bool(missing.value.request_id)) == (404, True)


def test_a_name_with_any_character_is_one_part_of_the_path(client: Any) -> None:
    """Nothing of it becomes a route or a query."""
    for name in ("../api/models/x", "x:rollback", "x?a=b", "é%2F"):
        with pytest.raises(ModelyardClientError) as refused:
            client.predict(name, "text")
        assert refused.value.status in (400, 404)
        assert name in str(refused.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"no image", "expected an image, received 8 bytes"),
        (Path("missing.png"), "missing.png: No such file"),
        (Path(__file__), "expected an image; a text is given as str"),
        ({"age": float("inf")}, "numbers that are finite"),
        (object(), "received object"),
        ({"age": object()}, "expected a text, numbers"),
        (Table(), "`predict_many` takes all its rows"),
        ({"age": 41, "plann": "gold"}, "plann"),
    ],
)
def test_what_no_model_takes_is_said(client: Any, given: object, words: str) -> None:
    """Before it is sent, or by the gateway, with the names that it expects."""
    with pytest.raises(InvalidInput, match=words):
        client.predict(CHURN, given)


def test_a_name_that_no_address_can_hold_is_said(client: Any) -> None:
    """Not an error of the HTTP library."""
    with pytest.raises(ModelyardClientError):
        client.predict("x" * 100_000, "text")


def test_one_where_several_are_expected_is_said(client: Any) -> None:
    """A text would be as many inputs as it has characters."""
    for given in ("a text", {"age": 1}, 3):
        with pytest.raises(InvalidInput, match="`predict` takes one"):
            client.predict_many(CHURN, given)


def test_a_body_goes_as_it_is(client: Any) -> None:
    """``predict_raw``: any of the gateway's forms."""
    row = client.predict_raw(HALF_PLUS, {"instances": [[1.0]]})
    assert (row.status, row.json(), row.version) == (200, {"predictions": [[2.5]]}, 2)
    lines = client.predict_raw(HALF_PLUS, b"1\n2\n", content_type="text/csv", headers={"Accept": "text/csv"})
    assert lines.content.startswith(b"value")
    assert client.metadata(HALF_PLUS)["model_spec"]["name"] == HALF_PLUS
