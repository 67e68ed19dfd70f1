"""Named inputs as tensors of ``/v2``: in JSON and in binary, with missing values."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.codecs.oip import request
from modelyard.services.gateway.codecs.oip.binary import to_binary
from modelyard.services.gateway.http.body import HttpRequest
from modelyard.services.gateway.serving.interface import Interface, published_interface
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.named_models import MANIFESTS
from tests.support.versions import seal_as

AGE = {"name": "age", "shape": [2], "datatype": "FP32", "data": [41, 3]}
PLAN = {"name": "plan", "shape": [2], "datatype": "BYTES", "data": ["gold", 3.0]}
TENURE = {"name": "tenure_months", "shape": [2], "datatype": "FP32", "data": [None, 7]}
CITY = {"name": "city", "shape": [2], "datatype": "BYTES", "data": [None, "True"]}
Arrays = Mapping[str, "np.ndarray[Any, Any]"]


def interface(model: str) -> Interface:
    return published_interface(seal_as(model, **MANIFESTS[model])(1, {}))


CHURN = interface("churn")


def ask(*inputs: Mapping[str, Any], tail: bytes = b"", version: Interface = CHURN) -> Arrays:
    head = orjson.dumps({"inputs": inputs})
    headers = {request.HEADER.lower(): str(len(head))} if tail else {}
    return request.decode(HttpRequest(headers, "", head + tail), version, GatewaySettings()).inputs


def refusal(*inputs: Mapping[str, Any], tail: bytes = b"") -> str:
    with pytest.raises(ModelyardError) as refused:
        ask(*inputs, tail=tail)
    assert refused.value.status == 400
    return str(refused.value)


def strings(*contents: bytes) -> bytes:
    array = np.empty(len(contents), object)
    array[:] = contents
    return bytes(to_binary(array))


def binary(tensor: Mapping[str, Any], size: int) -> dict[str, Any]:
    found = {key: value for key, value in tensor.items() if key != "data"}
    return found | {"parameters": {"binary_data_size": size}}


def test_each_input_is_a_tensor_and_null_is_a_missing_value() -> None:
    """In any order; an input that may be missing may be left out."""
    found = ask(CITY, TENURE, PLAN, AGE)
    assert list(found["age"]) == [41.0, 3.0]
    assert list(found["plan"]) == [b"gold", b"3"]
    assert list(found["city"]) == [b"", b"true"]
    assert list(found["since"]) == [b"", b""]
    assert np.isnan(found["tenure_months"]).tolist() == [True, False]
    assert np.isnan(found["petal_length_cm"]).all()


def test_a_missing_number_is_nan_in_binary_form() -> None:
    """And any other missing value is empty."""
    age, tenure = np.array([1, 2], "<f4").tobytes(), np.array([np.nan, 7], "<f4").tobytes()
    plan, since = strings(b"gold", b"3.0"), strings(b"", b"2026-11-29T18:30Z")
    dates = {"name": "since", "shape": [2], "datatype": "BYTES"}
    found = ask(
        binary(AGE, 8),
        binary(TENURE, 8),
        binary(PLAN, len(plan)),
        binary(dates, len(since)),
        tail=age + tenure + plan + since,
    )
    assert np.isnan(found["tenure_months"]).tolist() == [True, False]
    assert list(found["plan"]) == [b"gold", b"3"]
    assert list(found["since"]) == [b"", b"2026-11-29T18:30Z"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"data": [None, 1]}, "age[0]: expected a number, received null"),
        ({"data": [1, "x"]}, 'age[1]: expected a number, received "x"'),
        ({"data": [1, 1e39]}, "age[1]: expected a finite float32 number"),
        ({"shape": [1], "data": [1]}, "plan: expected 1 rows as age has, received 2"),
        ({"shape": [2, 1]}, "age: expected shape [n], received [2,1]"),
        ({"datatype": "FP64"}, "inputs[0].datatype: expected FP32"),
        ({"name": "agee"}, "inputs[0].name: expected age or city or"),
        ({"data": None}, "inputs[0]: expected data or parameters.binary_data_size, received neither"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(change: dict[str, Any], text: str) -> None:
    """With its name and place."""
    assert text in refusal(AGE | change, PLAN)


def test_what_may_not_be_missing_is_refused_in_binary_form_too() -> None:
    """NaN, an empty category, infinity, bytes that are no text; and an input that is left out."""
    plan = strings(b"gold", b"x")
    for odd, text in ((np.nan, "age[1]: expected a finite number, received nan"), (np.inf, "received inf")):
        content = np.array([1, odd], "<f4").tobytes()
        assert text in refusal(binary(AGE, 8), binary(PLAN, len(plan)), tail=content + plan)
    for contents, text in (
        ((b"gold", b""), "plan[1]: expected a category, which may not be missing here"),
        ((b"\xff", b"x"), "plan[0]: expected UTF-8, received byte 0xff at position 0"),
    ):
        tail = strings(*contents)
        assert text in refusal(AGE, binary(PLAN, len(tail)), tail=tail)
    assert "inputs: expected age and city and" in refusal(AGE)
    infinite = np.array([np.inf, 1], "<f4").tobytes()
    assert "or NaN for a missing one, received inf" in refusal(AGE, PLAN, binary(TENURE, 8), tail=infinite)


def test_a_number_in_a_vector_is_never_missing() -> None:
    """NaN stands for something in a column of numbers only."""
    version = interface("pair")
    weights = binary({"name": "weights", "shape": [1, 3], "datatype": "FP32"}, 12)
    photo = {"name": "photo", "shape": [1, 2, 2, 3], "datatype": "FP32", "data": [9.0] * 12}
    caption = {"name": "caption", "shape": [1], "datatype": "BYTES", "data": ["a cat"]}
    good = np.array([1, 2, 3], "<f4").tobytes()
    assert ask(weights, photo, caption, tail=good, version=version)["weights"].tolist() == [[1, 2, 3]]
    with pytest.raises(ModelyardError, match=r"weights\[0\]\[0\]: expected a finite number, received nan"):
        ask(weights, photo, caption, tail=np.array([np.nan, 2, 3], "<f4").tobytes(), version=version)
