"""A table as CSV: columns are found by the header, whatever their order."""

import numpy as np
import pytest

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.codecs import request
from modelyard.services.gateway.codecs.request import PredictCall
from modelyard.services.gateway.http.body import HttpRequest
from modelyard.services.gateway.serving.interface import Interface, published_interface
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.named_models import MANIFESTS
from tests.support.versions import seal_as

HEADER = "age,plan,tenure_months,city,signed up,petal length (cm)"


def interface(model: str) -> Interface:
    return published_interface(seal_as(model, **MANIFESTS[model])(1, {}))


CHURN = interface("churn")


def ask(body: str | bytes, version: Interface = CHURN) -> PredictCall:
    content = body.encode() if isinstance(body, str) else body
    sent = HttpRequest({"content-type": "text/csv"}, "text/csv", content)
    return request.decode(sent, version, GatewaySettings())


def refusal(body: str | bytes, version: Interface = CHURN) -> ModelyardError:
    with pytest.raises(ModelyardError) as refused:
        ask(body, version)
    return refused.value


def test_columns_are_found_by_the_header_in_any_order() -> None:
    """By titles, as the data has them, or by names; each with its own values."""
    first = ask(f"{HEADER}\n41,gold,7,Rome,2026-11-29,1.5\n3,basic,,,,\n")
    other = ask("petal_length_cm,since,plan,city,age,tenure_months\n1.5,2026-11-29,gold,Rome,41,7\n,,basic,,3,\n")
    assert list(first.inputs["age"]) == [41.0, 3.0]
    assert list(first.inputs["city"]) == [b"Rome", b""]
    assert np.isnan(first.inputs["tenure_months"]).tolist() == [False, True]
    for name, array in first.inputs.items():
        np.testing.assert_array_equal(array, other.inputs[name])


@pytest.mark.parametrize(
    "body",
    [
        f'\ufeff{HEADER}\r\n41,gold,7,"Rome, ""old""",2026-11-29,1.5\r\n',
        f'"{HEADER.replace(",", chr(34) + "," + chr(34))}"\n" 41 ","gold",7.0,"Rome, ""old""",2026-11-29,1.5\n\n',
        f'{HEADER.replace(",", " , ")}\n\n+41,gold ,7e0,"Rome, ""old""", 2026-11-29 ,.15e1',
    ],
)
def test_a_table_may_come_from_a_spreadsheet(body: str) -> None:
    """With a byte order mark, CRLF, quotes, blank lines, and space around."""
    found = {name: array[0] for name, array in ask(body).inputs.items()}
    assert found == {
        "age": 41.0,
        "plan": b"gold",
        "tenure_months": 7.0,
        "city": b'Rome, "old"',
        "since": b"2026-11-29",
        "petal_length_cm": 1.5,
    }


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("age\n1\n", "header: missing: plan, tenure_months, city, signed up, petal length (cm); expected age, plan,"),
        (f"{HEADER},churned\n", "header: unknown: churned; expected age"),
        (f"{HEADER},churned\n", "columns that the model does not take, such as the target, have to be left out"),
        (
            HEADER.replace(",", ";"),
            "the columns, age, plan, tenure_months, city, signed up, petal length (cm); received",
        ),
        (HEADER.replace(",", ";"), "; commas separate columns"),
        (f"{HEADER},age\n", "header: given twice: age; expected age"),
        (f"{HEADER},since\n", "header: given twice: signed up, since; expected age"),
        ("41,gold,7,Rome,2026-11-29,1.5\n", "expected a first line with the names of the columns, age, plan"),
        ("", "expected a first line with the names of the columns"),
        (f"{HEADER}\n", "expected 1 to 256 lines below the header, received 0"),
        (f"{HEADER}\n" + "1,a,1,b,,1\n" * 257, "expected 1 to 256 lines below the header, received 257"),
        (f"{HEADER}\n1,a\n", "row 1: expected 6 cells as in the first line, received 2"),
        (f"{HEADER}\n1,a,,,,\nx,a,,,,\n", 'row 2, column age: expected a number, received "x"'),
        (f"{HEADER}\n,a,,,,\n", 'row 1, column age: expected a number, received ""'),
        (f"{HEADER}\nNA,a,,,,\n", 'row 1, column age: expected a number, received "NA"'),
        (f"{HEADER}\n1,a,-,,,\n", "row 1, column tenure_months: expected a number or nothing for a missing one"),
        (f"{HEADER}\n1e39,a,,,,\n", "row 1, column age: expected a finite float32 number"),
        (f"{HEADER}\n1,,,,,\n", "row 1, column plan: expected a category, which may not be missing here"),
        (f"{HEADER}\n1,a,,,soon,\n", "row 1, column signed up: expected a date as ISO 8601"),
        (f'{HEADER}\n1,"a\n', "malformed CSV"),
        (HEADER.encode() + b"\n1,\xff,,,,\n", "expected UTF-8, received byte 0xff"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(body: str | bytes, text: str) -> None:
    """With the header's names, or row and column."""
    error = refusal(body)
    assert (error.status, text in str(error)) == (400, True), str(error)
    assert len(str(error)) < 1000


def test_a_category_in_a_cell_is_written_as_in_json() -> None:
    """3.0, which many programs make of 3 where a cell is empty, is 3."""
    body = f"{HEADER}\n1,3.0,,True,,\n2,03,,TRUE,,\n"
    call = ask(body)
    assert list(call.inputs["plan"]) == [b"3", b"03"]
    assert list(call.inputs["city"]) == [b"true", b"true"]


def test_what_training_reads_as_missing_is_missing() -> None:
    """Marks of numbers and dates; a category is missing where it is empty. A column without a name is skipped."""
    call = ask(f",{HEADER}\n0,1,NA,NaN,NA,n/a,?\n")
    assert list(call.inputs["plan"]) == list(call.inputs["city"]) == [b"NA"]
    assert list(call.inputs["since"]) == [b""]
    assert np.isnan([call.inputs["tenure_months"], call.inputs["petal_length_cm"]]).all()


def test_inputs_that_no_line_can_hold_have_no_table() -> None:
    """Images, vectors and sequences: 415, which says what is taken."""
    error = refusal("photo,caption,weights\n1,2,3\n", interface("pair"))
    assert (error.status, "text/csv" in str(error).partition(";")[0]) == (415, False)
