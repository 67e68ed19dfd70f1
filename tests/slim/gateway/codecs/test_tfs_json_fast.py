"""The quick way through a body gives what the careful way gives, or nothing at all."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.services.gateway.codecs import tfs_json, tfs_json_fast
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings


def interface(*shape: int, dtype: str = "float32") -> Interface:
    spec = TensorSpec(name="x", dtype=dtype, shape=(None, *shape))
    return Interface(
        "m", 1, {"serving_default": SignatureSpec(inputs=(spec,), outputs=())}, None, (), None, batches=True
    )


def parse_fully(body: bytes, taken: Interface) -> Any:
    try:
        asked = tfs_json.parse(body, GatewaySettings())
        return tfs_json.decode_inputs(asked, taken.signatures["serving_default"], 256)[1]["x"]
    except InvalidRequest:
        return None


def quickly(body: bytes, taken: Interface) -> Any:
    found = tfs_json_fast.decode(body, taken, 256)
    return None if found is None else found["x"]


@pytest.mark.parametrize("shape", [(1,), (2, 3), (28, 28, 1)])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("whole", [True, False])
def test_the_common_form_is_read(shape: tuple[int, ...], rows: int, *, whole: bool) -> None:
    """Whole numbers or not, with spaces or without."""
    wanted = np.arange(rows * np.prod(shape)).reshape(rows, *shape) / (1 if whole else 7)
    listed = wanted.astype(int).tolist() if whole else wanted.tolist()
    for option in (0, orjson.OPT_INDENT_2):
        found = quickly(orjson.dumps({"instances": listed}, option=option), interface(*shape))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted.astype(np.float32))


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [[1, 2, 3], [4]]}',
        b'{"instances": [[[1], [2]]]}',
        b'{"instances": [[1, 2], 3]}',
        b'{"instances": []}',
        b'{"instances": [[]]}',
        b'{"instances": [[1, null]]}',
        b'{"instances": [[1, true]]}',
        b'{"instances": [[1, "2"]]}',
        b'{"instances": [[1, 1e999]]}',
        b'{"instances": [[1, 1e39]]}',
        b'{"instances": [[1, NaN]]}',
        b'{"instances": [[1, 2]], "signature_name": "other"}',
        b'{"signature_name": "other", "instances": [[1, 2]]}',
        b'{"inputs": [[1, 2]]}',
        b'{"instances": [{"x": [1, 2]}]}',
        b'{"instances": [[1, 2]]',
        b'{"instances": [[1, 2]]}}',
        b'{"instances": [[1, 2]], }',
        b'{"instances": [[1 2]]}',
        b'{"instances": [[1,, 2]]}',
        b'{"instances": [[01, 2]]}',
        b'{"instances": [[1, 2]]} x',
        b'{"instances": [[1, 2]]}[,]',
        b'\xef\xbb\xbf{"instances": [[1, 2]]}',
        b"",
    ],
)
def test_everything_else_is_left_to_the_full_parser(body: bytes) -> None:
    """Wrong shapes, types and syntax too: it alone words the errors."""
    assert quickly(body, interface(2)) is None


@pytest.mark.parametrize("taken", [interface(2, dtype="int64"), interface(2, dtype="string")])
def test_other_types_are_left_to_the_full_parser(taken: Interface) -> None:
    """1.0 is no integer, which a buffer of doubles does not show."""
    assert quickly(b'{"instances": [[1, 2]]}', taken) is None


NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.none(), st.booleans(), st.text(max_size=2))
NESTED = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3), max_leaves=8)


@given(NESTED, st.sampled_from([(1,), (2,), (2, 1), (1, 2)]))
def test_both_ways_agree(instances: object, shape: tuple[int, ...]) -> None:
    """Whatever the quick way reads, the careful way reads as the same numbers."""
    body = (
        orjson.dumps({"instances": instances}, option=orjson.OPT_PASSTHROUGH_SUBCLASS, default=str)
        if _fits(instances)
        else b""
    )
    found = quickly(body, interface(*shape))
    if found is not None:
        np.testing.assert_array_equal(found, parse_fully(body, interface(*shape)))


def _fits(value: object) -> bool:
    if isinstance(value, list):
        return all(_fits(item) for item in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64
