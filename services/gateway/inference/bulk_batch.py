"""Some neighbouring lines of a bulk body: to arrays, through the model, and back to lines."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import orjson

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import labels, tfs_json, tfs_json_fast
from modelyard.services.gateway.codecs.inputs import check_inputs, find_scaled
from modelyard.services.gateway.codecs.named import json_rows
from modelyard.services.gateway.codecs.named.names import SHOWN_CHARS
from modelyard.services.gateway.codecs.request import FAST_BYTES, Words
from modelyard.services.gateway.codecs.response import describe_rows, is_quick_to_write, select_outputs
from modelyard.services.gateway.codecs.tensors import from_json
from modelyard.services.gateway.codecs.uncertainty import refuse_atypical
from modelyard.services.gateway.http.body import find_limit
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest
from modelyard.services.gateway.http.side_process import INLINE_BYTES
from modelyard.services.gateway.inference.bisect import Part, run_bisected
from modelyard.services.gateway.inference.bulk_lines import Line
from modelyard.services.gateway.inference.prediction import Predictions
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

Group = tuple[Sequence[int], dict[str, Array]]
"""Positions of lines, and their inputs."""
LINE_BYTES = 256
"""What a line costs beside its bytes: a short one with an error takes 0.1 ms."""
RETRY_INTERVAL_S = 0.5
RETRYABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
"""Failures after which a batch is sent again, as long as its deadline allows."""


@dataclass(frozen=True)
class Task:
    """How every line of a body is predicted."""

    interface: Interface
    signature: str
    words: Words
    """Whether the response to a line is in words."""
    timeout_s: float
    """Of each batch."""
    predictions: Predictions

    @property
    def limits(self) -> GatewaySettings:
        return self.predictions.limits

    @property
    def max_batch(self) -> int:
        """Largest number of lines in one call."""
        return self.interface.max_batch or self.limits.max_batch


@dataclass(frozen=True)
class BatchResult:
    """The lines to send back."""

    content: bytes
    lines: int
    failed: int


async def predict_lines(task: Task, lines: Sequence[Line]) -> BatchResult:
    """One line for each, in order: what would stand in ``predictions``, or ``{"error": …, "line": n}``."""
    deadline = Deadline.after(task.timeout_s)
    try:
        groups, results = await read_lines(task, lines, deadline)
    except ModelyardError as error:
        groups, results = [], dict.fromkeys(range(len(lines)), error)
    for positions, inputs in groups:
        parts = await run_bisected(lambda rows: run(task, rows, deadline), inputs, len(positions))
        places = iter(positions)
        for part in parts:
            for entry in await encode_part(task, part):
                results[next(places)] = entry
    encoded = []
    for position, line in enumerate(lines):
        entry = results[position]
        refused = isinstance(entry, ModelyardError)
        if not isinstance(entry, bytes):
            entry = encode_line({"error": str(entry), "line": line.number} if refused else entry)
        encoded.append(entry)
        if len(encoded[-1]) > LINE_BYTES or position % LINE_BYTES == 0:
            await asyncio.sleep(0)  # a line may be long, and all of them together longer
    failed = sum(isinstance(entry, ModelyardError) for entry in results.values())
    return BatchResult(b"".join(encoded), len(lines), failed)


async def encode_part(task: Task, part: Part) -> Sequence[Any]:
    """A part's predictions, one per row; large ones are written already."""
    if isinstance(part.result, ModelyardError):
        return [part.result] * part.size
    if is_quick_to_write(part.result):
        return list_rows(part.result, task.interface, task.signature, task.words)
    side_process = task.predictions.predictor.side_process
    return await side_process.run(encode_result, part.result, task.interface, task.signature, task.words)


def list_rows(result: Mapping[str, Array], interface: Interface, signature: str, words: Words) -> Sequence[Any]:
    if words == "false":
        return tfs_json.encode_rows(result)
    in_words = describe_rows(result, signature, interface) if words == "scores" else None
    rows = labels.label_rows(result, interface, signature) if in_words is None else in_words
    return refuse_atypical(rows, result, interface)


def encode_result(result: Mapping[str, Array], interface: Interface, signature: str, words: Words) -> list[Any]:
    """The lines of some rows, and the errors of those that are refused."""
    rows = list_rows(result, interface, signature, words)
    return [row if isinstance(row, ModelyardError) else encode_line(row) for row in rows]


def encode_line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


# --- through the model ------------------------------------------------------------------------------------------------


async def run(task: Task, rows: Mapping[str, Array], deadline: Deadline) -> dict[str, Array]:
    """The outputs for some rows, a row each.

    Raises:
        ServingFailed: the model refuses them, or the server stayed away until the deadline.
        InvalidOutput, InvalidRequest: its outputs cannot be written, or have no row for each of these.
    """
    while True:
        try:
            outputs = await task.predictions.predictor.predict(
                task.interface, task.signature, rows, deadline, bulk=True
            )
            break
        except ServingFailed as failure:
            if failure.code not in RETRYABLE or deadline.remaining_s < 2 * RETRY_INTERVAL_S:
                raise
        await asyncio.sleep(RETRY_INTERVAL_S)
    results = select_outputs(outputs, task.signature, task.interface)
    tfs_json.check_rows(results)
    size = len(next(iter(rows.values())))
    if any(len(array) != size for array in results.values()):
        raise InvalidRequest(
            f"{task.signature} does not return one row for each input, so it cannot predict line by line"
        )
    if task.words != "false" and labels.has_labels(task.interface, task.signature):
        labels.name_rows(results, task.interface, task.signature)
    return results


# --- from lines -------------------------------------------------------------------------------------------------------


async def read_lines(task: Task, lines: Sequence[Line], deadline: Deadline) -> tuple[list[Group], dict[int, Any]]:
    """As ``group_lines``; what would hold the loop is done by the side process.

    Raises:
        ServingFailed: that takes longer than the deadline allows. SideProcessEnded: it ended.
    """
    size = sum(LINE_BYTES + len(line.content or b"") for line in lines)
    if size <= FAST_BYTES and (quick := group_numbers(task.interface, task.signature, lines)):
        return [quick], {}
    if size <= INLINE_BYTES and (quick := group_named(task.interface, task.signature, lines, task.limits)):
        return [quick], {}
    work = (group_lines, task.interface, task.signature, lines)
    return await task.predictions.decode_body(deadline, size, *work)


def group_numbers(interface: Interface, signature: str, lines: Sequence[Line]) -> Group | None:
    """All lines, if they are rows of numbers of a known shape, and none has pixels of another scale."""
    numeric = tfs_json_fast.find_numeric_input(interface, signature)
    contents = [line.content for line in lines if line.content is not None]
    if numeric is None or len(contents) < len(lines):
        return None
    array = tfs_json_fast.decode_lines(contents, numeric)
    known = interface.find_limits(signature, numeric.name)
    if array is None or (known is not None and known.kind == "image" and find_scaled(array) is not None):
        return None
    return range(len(lines)), {numeric.name: array}


def group_named(interface: Interface, signature: str, lines: Sequence[Line], limits: GatewaySettings) -> Group | None:
    """All lines, if they are rows of named inputs, and all of them good."""
    table, contents = interface.tables.get(signature), [line.content for line in lines if line.content]
    if table is None or len(contents) < len(lines):
        return None
    try:
        parsed = [tfs_json.parse_value(content, limits) for content in contents]
        inputs = json_rows.decode_rows(parsed, table, name_value)
        for row, content in zip(parsed, contents, strict=True):
            json_rows.check_unambiguous(content, json_rows.count_names([row]))
        check_inputs(inputs, signature, interface, limits)
    except ModelyardError:
        return None
    return range(len(lines)), inputs


def name_value(_: int, name: str) -> str:
    return name[:SHOWN_CHARS]


def group_lines(
    interface: Interface, signature: str, lines: Sequence[Line], limits: GatewaySettings
) -> tuple[list[Group], dict[int, Any]]:
    """Positions and inputs of the lines that can share a call, and by position what is wrong with the others."""
    quick = group_numbers(interface, signature, lines) or group_named(interface, signature, lines, limits)
    if quick:
        return [quick], {}
    results: dict[int, Any] = {}
    by_shape: defaultdict[Any, list[tuple[int, dict[str, Array]]]] = defaultdict(list)
    for position, line in enumerate(lines):
        try:
            inputs = decode_line(interface, signature, line, limits)
        except ModelyardError as refused:
            results[position] = refused
        else:
            by_shape[tuple(array.shape for array in inputs.values())].append((position, inputs))
    groups: list[Group] = [
        ([position for position, _ in group], concatenate([inputs for _, inputs in group]))
        for group in by_shape.values()
    ]
    return groups, results


def decode_line(interface: Interface, signature: str, line: Line, limits: GatewaySettings) -> dict[str, Array]:
    """One line's inputs, with one row each.

    Raises:
        ModelyardError: it is too long, malformed, or not what the signature takes.
    """
    if line.content is None:
        raise BodyTooLarge(find_limit(limits, "max_json_bytes").describe("a longer one", "a line"))
    if not line.content.strip():
        raise InvalidRequest("JSON Parse error: The document is empty")
    instance = tfs_json.parse_value(line.content, limits)
    if (table := interface.tables.get(signature)) is not None:
        inputs = json_rows.decode_rows([instance], table, name_value)
        json_rows.check_unambiguous(line.content, json_rows.count_names([instance]))
    else:
        specs, ours = {spec.name: spec for spec in interface.signatures[signature].inputs}, interface.input is not None
        values = tfs_json.split_rows([instance], specs)
        inputs = {name: from_json(spec, values[name], shaped=ours) for name, spec in specs.items()}
    check_inputs(inputs, signature, interface, limits)
    return inputs


def concatenate(rows: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([inputs[name] for inputs in rows]) for name in rows[0]}
