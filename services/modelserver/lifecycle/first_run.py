"""Runs a version once before it answers, where no recorded requests do: a version that cannot run replaces none."""

import math
from collections.abc import Mapping
from typing import Any

import grpc
import structlog

from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.runtime.servable import DEFAULT_SIGNATURE, Servable, never_cancelled
from modelyard.services.modelserver.runtime.tensor import ITEM_BYTES, STRING, Tensor

MAX_ELEMENTS = 4 * 1024 * 1024
"""Of one input; signatures that need more are not run."""
BROKEN = frozenset({grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS})
"""What TensorFlow says where something of the graph is missing, such as the value of a variable. Any other error is an
answer to inputs that nobody has thought about."""

log = structlog.get_logger()


def run_once(servable: Servable) -> None:
    """Runs one signature, the default one if there is it, on zeros and empty strings; open sizes are 1.

    Raises:
        Refused: with TensorFlow's code and text: no input would get an answer.
    """
    name = choose_signature(servable)
    feeds = None if name is None else make_feeds(servable, name)
    if name is None or feeds is None:
        return
    fetches = tuple(sorted({info.name for info in servable.signatures[name].outputs.values()}))
    try:
        servable.run(feeds, fetches, never_cancelled)
    except Refused as refusal:
        if refusal.code in BROKEN:
            raise Refused(refusal.code, f"a first run of {name} failed: {refusal}") from refusal
        log.debug("first_run_refused", signature=name, cause=str(refusal))


def choose_signature(servable: Servable) -> str | None:
    """The default signature, or else the first one with outputs; None if there is none."""
    names = sorted(name for name, signature in servable.signatures.items() if signature.outputs)
    return DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names else next(iter(names), None)


def make_feeds(servable: Servable, signature: str) -> Mapping[str, Tensor] | None:
    """A value of each input by its name in the graph; None if one cannot be made."""
    feeds: dict[str, Tensor] = {}
    for info in servable.signature_defs.signature_def[signature].inputs.values():
        tensor = make_tensor(info)
        if tensor is None:
            return None
        feeds[info.name] = tensor
    return feeds


def make_tensor(info: Any) -> Tensor | None:
    """Zeros or empty strings for a ``TensorInfo``; None if its type has none, or there were too many."""
    shape = tuple(1 if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    size = math.prod(shape)
    if size > MAX_ELEMENTS or (info.dtype != STRING and info.dtype not in ITEM_BYTES):
        return None
    if info.dtype == STRING:
        return Tensor(STRING, shape, [b""] * size)
    return Tensor(info.dtype, shape, bytes(size * ITEM_BYTES[info.dtype]))
