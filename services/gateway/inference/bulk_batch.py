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
from modelyard.services.gateway.codecs import (
    labels,
)
from modelyard.services.gateway.codecs import (
    request as payload,
)
from modelyard.services.gateway.codecs import (
    response as answers,
)
from modelyard.services.gateway.codecs import (
    tfs_json as json_form,
)
from modelyard.services.gateway.codecs import (
    tfs_json_fast as fast_json,
)
from modelyard.services.gateway.codecs.tensors import from_json
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.inference import bisect as halves
from modelyard.services.gateway.inference.bulk_lines import Line
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Serving
from modelyard.services.gateway.settings import GatewaySettings

AGAIN_AFTER_S = 0.5
WORTH_WAITING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
"""Failures after which a bulk body waits and asks again, as long as its deadline lets it."""


@dataclass(frozen=True)
class Task:
    """What is to be done with every line."""

    interface: Interface
    signature: str
    labels: bool
    """Whether a line is answered with its label."""
    timeout_s: float
    """Of each batch."""
    limits: GatewaySettings
    serving: Serving

    @property
    def max_batch(self) -> int:
        """Most lines in one call."""
        return self.interface.max_batch or self.limits.max_batch


@dataclass(frozen=True)
class Answered:
    """The lines to send back."""

    content: bytes
    lines: int
    failed: int


async def answer(task: Task, lines: Sequence[Line]) -> Answered:
    """One line for each, in order: what would stand in ``predictions``, or ``{"error": …, "line": n}``."""
    found: dict[int, Any] = {}
    until = Deadline.after(task.timeout_s)
    for positions, inputs in groups(task, lines, found):
        parts = await halves.asked(lambda rows: run(task, rows, until), inputs, len(positions))
        places = iter(positions)
        for part in parts:
            for entry in entries(task, part):
                found[next(places)] = entry
    written = []
    for position, line in enumerate(lines):
        entry = found[position]
        refused = isinstance(entry, ModelyardError)
        written.append(dumped({"error": str(entry), "line": line.number} if refused else entry))
    failed = sum(isinstance(entry, ModelyardError) for entry in found.values())
    return Answered(b"".join(written), len(lines), failed)


def entries(task: Task, part: halves.Part) -> Sequence[Any]:
    """A part's answers, one per row."""
    if isinstance(part.found, ModelyardError):
        return [part.found] * part.size
    return labels.labelled(part.found, task.interface) if task.labels else json_form.rows(part.found)


def dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


# --- through the model ------------------------------------------------------------------------------------------------


async def run(task: Task, rows: Mapping[str, Array], until: Deadline) -> dict[str, Array]:
    """The outputs for some rows, a row each.

    Raises:
        ServingFailed: the model refuses them, or the server stayed away until the deadline.
        InvalidOutput, InvalidRequest: its outputs cannot be written, or have no row for each of these.
    """
    while True:
        try:
            outputs = await task.serving.predicted(task.interface, task.signature, rows, until, bulk=True)
            break
        except ServingFailed as failure:
            if failure.code not in WORTH_WAITING or until.left_s < 2 * AGAIN_AFTER_S:
                raise
        await asyncio.sleep(AGAIN_AFTER_S)
    found = answers.found_in(outputs, task.signature, task.interface)
    json_form.check_rows(found)
    size = len(next(iter(rows.values())))
    if any(len(array) != size for array in found.values()):
        raise InvalidRequest(f"{task.signature} has no answer for each input, so lines cannot be answered one by one")
    if task.labels:
        labels.labelled(found, task.interface)
    return found


# --- from lines -------------------------------------------------------------------------------------------------------


def groups(task: Task, lines: Sequence[Line], found: dict[int, Any]) -> list[tuple[Sequence[int], dict[str, Array]]]:
    """Positions and inputs of the lines that can share a call; what is wrong with the others goes into ``found``."""
    plain = fast_json.plain(task.interface, task.signature)
    contents = [line.content for line in lines if line.content is not None]
    if plain and len(contents) == len(lines):
        array = fast_json.decode_lines(contents, plain)
        if array is not None:
            return [(range(len(lines)), {plain.name: array})]
    alike: defaultdict[Any, list[tuple[int, dict[str, Array]]]] = defaultdict(list)
    for position, line in enumerate(lines):
        try:
            inputs = inputs_of(task, line)
        except ModelyardError as refused:
            found[position] = refused
        else:
            alike[tuple(array.shape for array in inputs.values())].append((position, inputs))
    return [([position for position, _ in group], joined([inputs for _, inputs in group])) for group in alike.values()]


def inputs_of(task: Task, line: Line) -> dict[str, Array]:
    """One line's inputs, with one row each.

    Raises:
        ModelyardError: it is too long, malformed, or not what the signature takes.
    """
    if line.content is None:
        raise InvalidRequest(f"expected a line of at most {task.limits.max_json_bytes} bytes, received a longer one")
    if not line.content.strip():
        raise InvalidRequest("JSON Parse error: The document is empty")
    spec, ours = task.interface.signatures[task.signature], task.interface.input is not None
    instance = json_form.parse_value(line.content, task.limits.max_depth)
    specs = {tensor.name: tensor for tensor in spec.inputs}
    values = json_form.by_row([instance], specs)
    inputs = {name: from_json(tensor, values[name], shaped=ours) for name, tensor in specs.items()}
    payload.check_inputs(inputs, spec, task.interface, task.limits)
    return inputs


def joined(rows: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([inputs[name] for inputs in rows]) for name in rows[0]}
