"""Whatever rows of named inputs hold, they become tensors that keep the manifest's promises, or an error of ours."""

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.models.errors import ModelyardError
from modelyard.models.inputs import canonical_category, check_date
from modelyard.models.registry.inputs.input_table import InputTable
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import request
from modelyard.services.gateway.codecs.named import form_row
from modelyard.services.gateway.codecs.oip import request as oip
from modelyard.services.gateway.http.body import HttpRequest
from modelyard.services.gateway.inference import bulk_batch
from modelyard.services.gateway.inference.bulk_lines import Line
from modelyard.services.gateway.serving.interface import published_interface
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.named_models import CHURN, COLUMNS, MANIFESTS, PAIR, ROW
from tests.support.versions import seal_as

LIMITS = GatewaySettings()
INTERFACES = {model: published_interface(seal_as(model, **MANIFESTS[model])(1, {})) for model in (CHURN, PAIR)}
TABLE: InputTable = INTERFACES[CHURN].tables["serving_default"]

names = st.sampled_from([*TABLE.by_title, *TABLE.by_name, "x", "", "photo", "caption", "weights"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.sampled_from(["2026-11-29", "2026-11-29T18:30:00Z", "2026-13-01", "3.0", "True", " ", "a cat"]),
    st.just({"b64": "AAAA"}),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2))
good = st.fixed_dictionaries(
    {"age": st.integers(0, 99), "plan": st.text(st.characters(categories=["L"]), min_size=1, max_size=5)},
    optional={
        "tenure_months": st.none() | st.floats(-1e9, 1e9),
        "city": st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
        "since": st.none() | st.dates().map(str),
    },
)
odd = st.dictionaries(names, values, max_size=7)
rows = st.lists(st.one_of(good, good, odd, st.tuples(good, odd).map(lambda pair: pair[0] | pair[1])), max_size=4)


def decode(body: bytes, content_type: str, model: str = CHURN) -> Mapping[str, Array] | None:
    """Tensors, or None for what is refused as it should be."""
    sent = HttpRequest({}, content_type, body)
    return found_or_refused(lambda: request.decode(sent, INTERFACES[model], LIMITS).inputs)


def found_or_refused(run: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array] | None:
    try:
        return run()
    except ModelyardError as error:
        refused = error
    assert refused.status in (400, 415), str(refused)
    assert len(str(refused)) < 1000
    return None


def check(inputs: Mapping[str, Array]) -> None:
    """Every promise that the manifest makes the graph."""
    assert inputs.keys() == TABLE.by_tensor.keys()
    assert len({len(array) for array in inputs.values()}) == 1
    for name, array in inputs.items():
        column = TABLE.by_tensor[name]
        if column.kind == "number":
            assert (array.dtype, array.ndim) == (np.float32, 1)
            assert not np.isinf(array).any()
            assert column.missing or not np.isnan(array).any()
            continue
        texts = [item.decode() for item in array]
        assert column.missing or all(text.strip() for text in texts)
        if column.kind == "category":
            assert [canonical_category(text) for text in texts] == texts
        else:
            assert all(text == "" or check_date(text) is None for text in texts)


def same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(np.array_equal(array, other[name], equal_nan=array.dtype != object) for name, array in one.items())


@given(rows)
def test_any_rows_are_tensors_or_refused_in_whatever_order_their_names_are(given_rows: list[dict[str, Any]]) -> None:
    """And as lines, each is what it is as a row."""
    found = decode(orjson.dumps({"instances": given_rows}), "application/json")
    turned = [dict(reversed(row.items())) for row in given_rows]
    again = decode(orjson.dumps({"instances": turned}), "application/json")
    assert (found is None) == (again is None)
    if found is None or again is None:
        return
    check(found)
    assert same(found, again)
    lines = [Line(number, orjson.dumps(row)) for number, row in enumerate(given_rows, 1)]
    ((positions, by_line),), refused = bulk_batch.group_lines(INTERFACES[CHURN], "serving_default", lines, LIMITS)
    assert (list(positions), refused) == (list(range(len(lines))), {})
    assert same(found, by_line)


@given(rows)
def test_a_bad_line_takes_no_other_with_it(given_rows: list[dict[str, Any]]) -> None:
    """Each is read as it would be alone."""
    lines = [Line(number, orjson.dumps(row)) for number, row in enumerate(given_rows, 1)]
    groups, refused = bulk_batch.group_lines(INTERFACES[CHURN], "serving_default", lines, LIMITS) if lines else ([], {})
    for positions, inputs in groups:
        for index, position in enumerate(positions):
            alone = decode(orjson.dumps({"instances": [given_rows[position]]}), "application/json")
            assert alone is not None
            assert same(alone, {name: array[index : index + 1] for name, array in inputs.items()})
    placed = [position for positions, _ in groups for position in positions]
    assert sorted([*placed, *refused]) == list(range(len(lines)))


@given(st.dictionaries(names, st.lists(scalars, max_size=3) | values, max_size=7))
def test_any_columns_are_tensors_or_refused(columns: dict[str, Any]) -> None:
    """Also of different lengths."""
    if (found := decode(orjson.dumps({"inputs": columns}), "application/json")) is not None:
        check(found)


@given(st.lists(good | odd, min_size=1, max_size=3))
def test_any_rows_of_images_and_texts_are_tensors_or_refused(given_rows: list[dict[str, Any]]) -> None:
    """In both signatures."""
    for signature in ("serving_default", "image_bytes"):
        decode(orjson.dumps({"instances": given_rows, "signature_name": signature}), "application/json", PAIR)


cells = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(["", " ", "2026-11-29", "True", "3.0", "gold"]),
)
complete = st.permutations([*ROW])


@given(complete | st.lists(names, max_size=7), st.lists(st.lists(cells, min_size=6, max_size=6), max_size=3))
def test_any_table_is_tensors_or_refused(header: list[str], body: list[list[str]]) -> None:
    """However it is quoted."""
    file = io.StringIO()
    csv.writer(file).writerows([header, *body])
    if (found := decode(file.getvalue().encode(), "text/csv")) is not None:
        check(found)


@given(st.lists(good, min_size=1, max_size=4), complete)
def test_a_table_is_the_rows_that_it_was_written_from(given_rows: list[dict[str, Any]], header: list[str]) -> None:
    """In whatever order its columns are."""
    file = io.StringIO()
    writer = csv.DictWriter(file, header)
    writer.writeheader()
    writer.writerows(given_rows)
    by_table = decode(file.getvalue().encode(), "text/csv")
    by_row = decode(orjson.dumps({"instances": given_rows}), "application/json")
    assert by_table is not None
    assert by_row is not None
    assert same(by_table, by_row)


@given(st.lists(st.tuples(names, st.binary(max_size=10)), max_size=7))
def test_any_form_is_a_row_or_refused(parts: list[tuple[str, bytes]]) -> None:
    """Of one value per input."""
    if (found := found_or_refused(lambda: form_row.decode(parts, TABLE, LIMITS))) is not None:
        check(found)


tensors = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from([*COLUMNS]),
            "shape": st.sampled_from([[1], [2], [0], [1, 1]]),
            "datatype": st.sampled_from(["FP32", "BYTES"]),
            "data": st.lists(scalars, max_size=2),
        }
    ),
    max_size=6,
)


@given(tensors)
def test_any_tensors_are_a_tables_or_refused(inputs: list[dict[str, Any]]) -> None:
    """Of ``/v2``."""
    sent = HttpRequest({}, "", orjson.dumps({"inputs": inputs}))
    if (found := found_or_refused(lambda: oip.decode(sent, INTERFACES[CHURN], LIMITS).inputs)) is not None:
        check(found)


@pytest.mark.parametrize("value", [3, 3.0, True, 2**60, 1e300, 1e-7, -0.0])
def test_a_category_read_again_is_the_same(value: Any) -> None:
    """So that what one reader has written, another may read."""
    once = canonical_category(value)
    assert canonical_category(once) == once == canonical_category(str(value))
    assert canonical_category(np.asarray(value)[()]) == once


@given(st.text())
def test_any_category_read_again_is_the_same(text: str) -> None:
    """And never has white space around it."""
    once = canonical_category(text)
    assert canonical_category(once) == once == once.strip()
