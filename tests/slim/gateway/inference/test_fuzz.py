"""Whatever a body holds, decoding it ends in arrays that fit the manifest or in an error of ours."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.tfserving.messages import input_pb2
from modelyard.services.gateway.codecs import csv_rows, request, tf_examples, tfs_json, tfs_json_errors
from modelyard.services.gateway.codecs.json_syntax import SMALL_BYTES, measure
from modelyard.services.gateway.codecs.request import PredictCall
from modelyard.services.gateway.http.body import HttpRequest
from modelyard.services.gateway.http.headers import media_type
from modelyard.services.gateway.inference import bulk_batch, multipart
from modelyard.services.gateway.inference.bulk_lines import Line, Lines
from modelyard.services.gateway.serving.interface import Interface, published_interface
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.fakes import DIGITS, HALF_PLUS, KINDS, REVIEWS, encoded
from tests.support.versions import seal_as

INTERFACES = {model: published_interface(seal_as(model, **KINDS[model])(1, {})) for model in KINDS}
LIMITS = GatewaySettings()

keys = st.sampled_from(
    ["instances", "inputs", "signature_name", "b64", "images", "image_bytes", "text", "vectors", "x"]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["serving_default", "image_bytes", "AAAA", "good"]),
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)
json_bodies = st.dictionaries(keys, values).map(orjson.dumps)
cut = st.tuples(st.sampled_from([encoded("PNG"), encoded("JPEG")]), st.integers(0, 1000), st.binary(max_size=30))
image_bodies = cut.map(lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :])
content_types = st.sampled_from(
    ["", "application/json", "image/png", "image/jpeg", "text/plain", "text/csv", "text/html", "x"]
)
cells = st.one_of(st.integers().map(str), st.floats().map(str), st.text(max_size=5), st.sampled_from(["", '"', '"1"']))
tables = st.lists(st.lists(cells, max_size=3).map(",".join)).map("\n".join).map(str.encode)
forms = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b'Content-Disposition: form-data; name="a"; filename="f"', b"--"]
        ),
    )
).map(b"".join)
bodies = st.one_of(st.binary(), json_bodies, image_bodies, tables)
examples = st.fixed_dictionaries(
    {"examples": st.one_of(values, st.lists(st.dictionaries(keys, values), min_size=1))},
    optional={"context": st.one_of(values, st.dictionaries(keys, values))},
)
line_bodies = st.lists(
    st.one_of(values.map(orjson.dumps), st.binary(max_size=20), st.integers(0, 9).map(lambda n: b"[%d]" % n))
)


def outcome(body: bytes, content_type: str, version: Interface) -> PredictCall | ModelyardError:
    headers = {"content-type": content_type} if content_type else {}
    try:
        return request.decode(HttpRequest(headers, media_type(headers), body), version, LIMITS)
    except ModelyardError as refused:
        return refused


def decode_or_none(decode: Callable[[], Any]) -> Any:
    """What is decoded, or None where it is refused as it should be."""
    try:
        return decode()
    except ModelyardError as error:
        refused = error
    assert refused.status in (400, 501)
    assert len(str(refused)) < 1000
    return None


def fits(array: np.ndarray[Any, Any], version: Interface, signature: str, name: str) -> bool:
    spec = next(spec for spec in version.signatures[signature].inputs if spec.name == name)
    dtype = "string" if array.dtype == object else array.dtype.name
    return dtype == spec.dtype and all(want in (None, size) for want, size in zip(spec.shape, array.shape, strict=True))


@pytest.mark.parametrize("model", [DIGITS, REVIEWS, HALF_PLUS])
@given(bodies, content_types)
def test_any_body_is_understood_or_refused(model: str, body: bytes, content_type: str) -> None:
    """Never any other exception; what is let through has the type and shape that the manifest promises the model."""
    version = INTERFACES[model]
    found = outcome(body, content_type, version)
    if isinstance(found, ModelyardError):
        assert 400 <= found.status < 500
        assert len(str(found)) < 1000
    else:
        assert all(fits(array, version, found.signature, name) for name, array in found.inputs.items())
        assert 1 <= found.size <= LIMITS.max_instances


def brackets(body: bytes) -> Iterator[int]:
    level, inside, escaped = 0, False, False
    for byte in body:
        if inside:
            inside, escaped = escaped or byte != ord('"'), not escaped and byte == ord("\\")
        elif byte == ord('"'):
            inside = True
        else:
            level += (byte in b"[{") - (byte in b"]}")
            yield level


@given(json_bodies)
def test_depth_is_what_a_plain_loop_finds(body: bytes) -> None:
    """Both fast scans, of small and of large bodies, agree with the obvious one on any JSON."""
    small, large = measure(body), measure(b" " * SMALL_BYTES + body)
    assert small.depth == large.depth == max(brackets(body), default=0)
    assert small.values == large.values


FOREIGN = [
    TensorSpec(name="vectors", dtype=dtype, shape=None)
    for dtype in ("float32", "int8", "int64", "uint64", "bool", "string", "float16", "DT_BFLOAT16")
]


@pytest.mark.parametrize("count", [1, 2])
@given(spec=st.sampled_from(FOREIGN), body=st.dictionaries(keys, values), rows=st.booleans())
def test_any_body_for_any_saved_model_is_understood_or_refused(
    count: int, spec: TensorSpec, body: dict[str, Any], rows: bool
) -> None:
    """And what TensorFlow Serving refuses is refused here, too: its words are found for nothing that is let through."""
    specs = (spec, TensorSpec(name="x", dtype="float32", shape=None))[:count]
    asked = {**body, "instances" if rows else "inputs": body.get("instances", [1.5])}
    asked.pop("inputs" if rows else "instances", None)
    signature = SignatureSpec(inputs=specs, outputs=())
    found = decode_or_none(lambda: tfs_json.decode_inputs(asked, signature, 256, shaped=False))
    if found:
        named = {spec.name: spec for spec in specs}
        find = tfs_json_errors.check_rows if rows else tfs_json_errors.check_columns
        find(asked["instances" if rows else "inputs"], named)
        for name, array in found[1].items():
            assert array.dtype == (object if named[name].dtype == "string" else named[name].dtype)


@given(tables)
def test_any_table_is_understood_or_refused(body: bytes) -> None:
    """What is let through is finite numbers."""
    spec = TensorSpec(name="vectors", dtype="float32", shape=(None, 2))
    found = decode_or_none(lambda: csv_rows.decode(body, spec, LIMITS))
    if found is not None:
        assert (found.shape[1], bool(np.isfinite(found).all())) == (2, True)


@given(forms)
def test_any_form_is_understood_or_refused(body: bytes) -> None:
    """At most so many files, of no more bytes than arrived."""
    found = decode_or_none(lambda: multipart.parse_uploads(body, b"b", 3))
    if found is not None:
        assert 1 <= len(found) <= 3
        assert sum(len(upload.content) for upload in found) <= len(body)


@given(examples)
def test_any_examples_are_understood_or_refused(body: dict[str, Any]) -> None:
    """As many as came."""
    found = input_pb2.Input()
    if decode_or_none(lambda: tf_examples.fill_input(found, body, 256) or True):
        filled = found.example_list_with_context if "context" in body else found.example_list
        assert len(filled.examples) == len(body["examples"])


@pytest.mark.parametrize("model", [REVIEWS, HALF_PLUS])
@given(line_bodies)
def test_any_line_is_understood_or_refused_alone(model: str, contents: list[bytes]) -> None:
    """Each has a row or an error, whatever stands in the others."""
    version, signature = INTERFACES[model], "serving_default"
    lines = [Line(number, content) for number, content in enumerate(contents, 1) if b"\n" not in content]
    groups, refused = bulk_batch.group_lines(version, signature, lines, LIMITS) if lines else ([], {})
    placed = [position for positions, _ in groups for position in positions]
    assert sorted([*placed, *refused]) == list(range(len(lines)))
    assert all(len(array) == len(positions) for positions, inputs in groups for array in inputs.values())
    for positions, inputs in groups:
        for row, position in enumerate(positions):
            alone = bulk_batch.decode_line(version, signature, lines[position], LIMITS)
            assert all(np.array_equal(inputs[name][row : row + 1], alone[name]) for name in inputs)


@given(st.lists(st.binary(max_size=12)), st.integers(1, 10))
def test_lines_are_the_bodys_whatever_its_chunks(chunks: list[bytes], longest: int) -> None:
    """And too long ones are noticed without being stored."""
    arrived = Lines(longest)
    for chunk in filter(None, chunks):
        arrived.feed(chunk)
    arrived.feed(b"")
    whole = b"".join(chunks).split(b"\n")
    expected = whole if whole[-1] else whole[:-1]
    found = arrived.take(1000, 10**9)
    assert [line.content for line in found] == [line if len(line) <= longest else None for line in expected]
    assert [line.number for line in found] == list(range(1, len(expected) + 1))
    assert arrived.held_bytes == 0
