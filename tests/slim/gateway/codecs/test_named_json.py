"""Rows and columns by name, as JSON: what reaches the model, and what is refused with the names that are expected."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import CategoryLimits, NumberLimits, TensorSpec, TextLimits
from modelyard.services.gateway.codecs import request
from modelyard.services.gateway.codecs.request import PredictCall
from modelyard.services.gateway.http.body import HttpRequest
from modelyard.services.gateway.http.side_process import INLINE_BYTES
from modelyard.services.gateway.serving.interface import Interface, published_interface
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.named_models import COLUMNS, MANIFESTS, ROW, table
from tests.support.versions import seal_as

LIMITS = GatewaySettings()
NAMES = "age, plan, tenure_months (may be missing), city (may be missing), signed up (may be missing)"
REQUIRED = {"age": 41, "plan": "gold"}


def interface(columns: Mapping[str, Any]) -> Interface:
    return published_interface(seal_as("m", **table(columns))(1, {}))


CHURN = interface(COLUMNS)


def ask(body: Any, version: Interface = CHURN) -> PredictCall:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request.decode(HttpRequest({}, "application/json", content), version, LIMITS)


def refusal(body: Any, version: Interface = CHURN) -> str:
    with pytest.raises(ModelyardError) as refused:
        ask(body, version)
    assert refused.value.status == 400
    return str(refused.value)


def values(call: PredictCall, name: str) -> list[Any]:
    return list(call.inputs[name])


# --- names ------------------------------------------------------------------------------------------------------------


def test_columns_are_found_by_name_in_any_order() -> None:
    """Each row in an order of its own."""
    backwards = dict(reversed(ROW.items()))
    call = ask({"instances": [ROW, backwards | {"age": 3}]})
    assert values(call, "age") == [41.0, 3.0]
    assert values(call, "plan") == [b"gold", b"gold"]
    assert values(call, "since") == [b"2026-11-29"] * 2
    assert {array.dtype.name for array in call.inputs.values()} == {"float32", "object"}


def test_a_columns_title_in_the_data_is_its_name_too() -> None:
    """Also beside the names of tensors, row by row."""
    titled = REQUIRED | {"petal length (cm)": 2.5, "signed up": "2026-01-02"}
    call = ask({"instances": [ROW, titled]})
    assert values(call, "petal_length_cm") == [1.5, 2.5]
    assert values(call, "since") == [b"2026-11-29", b"2026-01-02"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (ROW | {"agee": 1}, "instances[0]: unknown: agee; expected age, plan"),
        ({"agee": 1, "plan": "x"}, f"instances[0]: unknown: agee; missing: age; expected {NAMES}"),
        ({"plan": "gold"}, "instances[0]: missing: age; expected age"),
        ({}, "instances[0]: missing: age, plan; expected age"),
        ({"": 1} | REQUIRED, 'instances[0]: unknown: ""; expected age'),
        (ROW | {"petal length (cm)": 2}, "given twice: petal_length_cm, petal length (cm); expected"),
        ([41, "gold"], f"instances[0]: expected an object with the names {NAMES}"),
        (41, "instances[0]: expected an object with the names age"),
    ],
)
def test_wrong_names_are_refused_with_the_expected_ones(row: Any, text: str) -> None:
    """And with the row."""
    assert text in refusal({"instances": [row]})
    later = refusal({"instances": [ROW, ROW, row]})
    assert text.replace("instances[0]", "instances[2]") in later


def test_a_name_given_twice_in_one_object_is_refused() -> None:
    """Parsers keep the last one; nobody knows which was meant."""
    twice = b'{"instances": [{"age": 1, "plan": "x:y", "age": 2}]}'
    assert refusal(twice) == "age: expected once in an object, received more than once"
    assert refusal(b'{"inputs": {"age": [1], "plan": ["x"], "age": [2]}}').startswith("age: expected once")
    assert values(ask(b'{"instances": [{"age": 1, "plan": "x:y"}]}'), "plan") == [b"x:y"]


def test_a_name_that_means_two_columns_is_decided_by_the_others() -> None:
    """A title may be another column's name: all names decide, or nothing does."""
    version = interface({"b": NumberLimits(title="a"), "a": NumberLimits(title="c", missing=True)})
    assert [values(ask({"instances": [{"a": 1, "c": 2}]}, version), name) for name in "ba"] == [[1.0], [2.0]]
    assert [values(ask({"instances": [{"a": 1, "b": 2}]}, version), name) for name in "ba"] == [[2.0], [1.0]]
    assert "expected either the titles or the names of all, as a can be both" in refusal(
        {"instances": [{"a": 1}]}, version
    )


def test_an_error_of_many_columns_stays_short() -> None:
    """A table of a thousand has as many names."""
    wide = interface({f"column_{number}": NumberLimits() for number in range(1000)})
    text = refusal({"instances": [{"x" * 1000: 1}]}, wide)
    assert len(text) < 1000
    assert "(1000 in all)" in text


# --- values -----------------------------------------------------------------------------------------------------------


def test_null_and_an_absent_name_are_a_missing_value() -> None:
    """NaN of a number, empty of the others."""
    call = ask({"instances": [ROW, REQUIRED, ROW | {"tenure_months": None, "city": None, "since": None}]})
    assert np.isnan(call.inputs["tenure_months"]).tolist() == [False, True, True]
    assert values(call, "city") == [b"Rome", b"", b""]
    assert values(call, "since") == [b"2026-11-29", b"", b""]
    alone = ask({"instances": [REQUIRED]})
    assert np.isnan(alone.inputs["tenure_months"]).all()
    assert values(alone, "city") == [b""]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"age": None}, "instances[1].age: expected a number, received null"),
        ({"age": "41"}, 'instances[1].age: expected a number, received "41"'),
        ({"age": True}, "instances[1].age: expected a number, received true"),
        ({"age": [41]}, "instances[1].age: expected a number, received a list"),
        ({"age": 1e39}, "instances[1].age: expected a finite float32 number, received 1e+39"),
        ({"tenure_months": ""}, "instances[1].tenure_months: expected a number or null for a missing one"),
        ({"plan": None}, "instances[1].plan: expected a text, a number, true or false, received null"),
        ({"plan": ""}, "instances[1].plan: expected a category, which may not be missing here"),
        ({"plan": " "}, "instances[1].plan: expected a category, which may not be missing here"),
        ({"plan": {"a": 1}}, "instances[1].plan: expected a string or"),
        ({"plan": ["gold"]}, "instances[1].plan: expected a text, a number, true or false, received a list"),
        ({"since": "29.11.2026"}, "instances[1].since: expected a date as ISO 8601, such as 2026-11-29 or"),
        ({"since": "2026-02-30"}, "instances[1].since: expected a date as ISO 8601"),
        ({"since": 20261129}, "instances[1].since: expected a date as ISO 8601"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_row_and_name(change: dict[str, Any], text: str) -> None:
    """In the row form and the column form."""
    rows = [ROW, {**ROW, **change}]
    assert text in refusal({"instances": rows})
    columns = {name: [row[name] for row in rows] for name in ROW}
    (name,) = change
    assert text.replace(f"instances[1].{name}", f"inputs.{name}[1]") in refusal({"inputs": columns})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gold", b"gold"),
        (" gold ", b"gold"),
        (3, b"3"),
        (3.0, b"3"),
        ("3.0", b"3"),
        (-3.5, b"-3.5"),
        (True, b"true"),
        ("True", b"true"),
        (False, b"false"),
        ("007", b"007"),
        ("1.10", b"1.10"),
        ("café", "café".encode()),
        ({"b64": "Z29sZA=="}, b"gold"),
    ],
)
def test_a_category_is_one_text_however_it_is_written(value: Any, expected: bytes) -> None:
    """As the reader of training's data writes it."""
    assert values(ask({"instances": [REQUIRED | {"plan": value}]}), "plan") == [expected]


@pytest.mark.parametrize(("seen", "given"), [("True", True), ("TRUE", "true"), ("3.0", 3), ("3", "3.0"), ("7", 7.0)])
def test_a_category_is_written_as_training_saw_it(seen: str, given: Any) -> None:
    """Whatever its reader made of it; a text that it saw as it is stays so."""
    version = interface({"plan": CategoryLimits(values=(seen, "other", " 1.0"))})
    assert values(ask({"instances": [given, seen, "1.0"]}, version), "plan") == [seen.encode(), seen.encode(), b" 1.0"]


@pytest.mark.parametrize(
    "date",
    ["2026-11-29", "2026-11-29T18:30", "2026-11-29 18:30:05.25", "2026-11-29T18:30:00Z", "2024-02-29T01:30:00+02:00"],
)
def test_a_date_reaches_the_graph_as_it_is_written(date: str) -> None:
    """It takes all of these forms, as the reader of training's data does."""
    assert values(ask({"instances": [REQUIRED | {"since": f" {date} "}]}), "since") == [date.encode()]


def test_texts_are_as_long_as_the_model_takes() -> None:
    """Blank only where they may be missing."""
    version = interface({"note": TextLimits(max_chars=5), "more": TextLimits(max_chars=5, missing=True)})
    assert values(ask({"instances": [{"note": " a b ", "more": ""}]}, version), "note") == [b" a b "]
    assert "instances[0].note: expected at most 5 characters, received 6" in refusal(
        {"instances": [{"note": "abcdef"}]}, version
    )
    assert "instances[0].note: expected a text, which may not be missing" in refusal(
        {"instances": [{"note": ""}]}, version
    )


# --- forms ------------------------------------------------------------------------------------------------------------


def test_columns_give_the_model_what_rows_give() -> None:
    """Where one is left out, it has as many missing values as the others have rows."""
    rows = [ROW, ROW | {"age": 3, "city": None}]
    by_row = ask({"instances": rows})
    by_column = ask({"inputs": {name: [row[name] for row in rows] for name in reversed(ROW)}})
    assert (by_row.form, by_column.form) == ("row", "column")
    for name, array in by_row.inputs.items():
        np.testing.assert_array_equal(array, by_column.inputs[name])
    few = ask({"inputs": {"age": [1, 2], "plan": ["a", "b"]}})
    assert values(few, "city") == [b"", b""]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"age": [1], "plan": ["a", "b"]}, "inputs.plan: expected 1 values as in age, received 2"),
        ({"age": 1, "plan": ["a"]}, "inputs.age: expected a list, received 1"),
        ({"age": [], "plan": []}, "inputs: expected 1 to 256 values in each, received 0"),
        ({"age": [1] * 257, "plan": ["a"] * 257}, "inputs: expected 1 to 256 values in each, received 257"),
        ({"age": [1], "plan": ["a"], "churned": [1]}, "inputs: unknown: churned; expected age"),
        ({"age": [1]}, "inputs: missing: plan; expected age"),
        ([[1]], "inputs: expected an object with the names age"),
    ],
)
def test_columns_that_do_not_fit_are_refused(inputs: Any, text: str) -> None:
    """Names, lengths and forms."""
    assert text in refusal({"inputs": inputs})


def test_a_lone_input_may_stand_bare_and_is_still_of_its_kind() -> None:
    """Of a table with one column, and of a model whose only input is a category."""
    version = interface({"plan": CategoryLimits()})
    for body in ({"instances": [3.0]}, {"instances": [{"plan": 3}]}, {"inputs": ["3"]}, {"inputs": {"plan": [3]}}):
        assert values(ask(body, version), "plan") == [b"3"]
    assert "instances[0].plan" in refusal({"instances": [None]}, version)


def test_a_whole_number_stays_one() -> None:
    """Of a graph whose tensor is of whole numbers, as those that were trained elsewhere may have."""
    fields = table({"age": NumberLimits()})
    spec = TensorSpec(name="age", dtype="int8", shape=(None,))
    signature = fields["signatures"]["serving_default"].model_copy(update={"inputs": (spec,)})
    version = published_interface(seal_as("m", **{**fields, "signatures": {"serving_default": signature}})(1, {}))
    call = ask({"instances": [{"age": 3}, {"age": -4.0}]}, version)
    assert (values(call, "age"), call.inputs["age"].dtype.name) == ([3, -4], "int8")
    for odd in (1.5, 128, "3", None, True, 1e300):
        assert "instances[0].age: expected a whole number of int8" in refusal({"instances": [{"age": odd}]}, version)


def test_a_large_body_is_read_as_a_small_one() -> None:
    """Another path reads it; nothing else differs, errors neither."""
    rows = [ROW | {"city": "x" * 100}] * 200
    assert len(json.dumps({"instances": rows})) > INLINE_BYTES
    small, large = ask({"instances": rows[:1]}), ask({"instances": rows})
    assert {name: array[0] for name, array in large.inputs.items()} == {
        name: array[0] for name, array in small.inputs.items()
    }
    assert "instances[199].age" in refusal({"instances": [*rows[1:], {**ROW, "age": "x"}]})
    assert "expected a list of 1 to 256, received 257" in refusal({"instances": [ROW] * 257})


def test_images_and_texts_are_asked_for_together() -> None:
    """As pixels, or as files in the signature that takes files, under either name; pixels are counted."""
    version = published_interface(seal_as("m", **MANIFESTS["pair"])(1, {}))
    pixels = {"photo": [[[1, 2, 3]] * 2] * 2, "caption": "a cat", "weights": [1, 2, 3]}
    call = ask({"instances": [pixels]}, version)
    assert [call.inputs[name].shape for name in ("photo", "caption", "weights")] == [(1, 2, 2, 3), (1,), (1, 3)]
    assert "instances[0].photo" in refusal({"instances": [pixels | {"photo": [[1]]}]}, version)
    encoded = pixels | {"photo": {"b64": "AAAA"}}
    hint = '"signature_name": "image_bytes"'
    assert hint in refusal({"instances": [encoded]}, version)
    wrong = refusal({"instances": [encoded], "signature_name": "image_bytes"}, version)
    assert wrong.startswith("photo_bytes[0]: expected a PNG or JPEG image, received 3 bytes")
