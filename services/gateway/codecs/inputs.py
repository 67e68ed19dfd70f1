"""A decoded request, and the checks of its inputs, whatever format they came in."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelyard.models.registry.manifest import ImageLimits, OneLimits, SequenceLimits, TensorSpec, TextLimits
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import images
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

MAX_EXPLAINED = 8
"""Inputs that one request may have explained."""


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """What to run, and on what; each protocol adds the form of the response."""

    signature: str
    inputs: Mapping[str, Array]
    timeout_s: float | None = None
    """The client's, where the body has one."""
    explain: bool = False
    """Whether the response is to say why, too."""
    explanation: Mapping[str, Array] | None = None
    """The outputs that do, as soon as there are any."""


def check_inputs(inputs: Mapping[str, Array], signature: str, interface: Interface, limits: GatewaySettings) -> None:
    """Checks the number of inputs, and what strings hold; shapes and types have been checked before.

    Raises:
        InvalidRequest: names the input.
    """
    pixels = 0
    for spec in interface.signatures[signature].inputs:
        array = inputs[spec.name]
        if interface.is_explanation(signature):
            check_explained(len(array) if array.shape else 0)
        check_rows(spec, array.shape, interface, limits)
        known = interface.find_limits(signature, spec.name)
        if known is None:
            continue
        if known.kind == "sequence":
            check_steps(spec, array, known)
        elif array.dtype == object:
            pixels += check_contents(spec.name, array, known)
            check_pixels(spec.name, pixels, limits)
        elif known.kind == "image":
            check_levels(spec.name, array)


def check_levels(name: str, array: Array) -> None:
    """Raises ``InvalidRequest`` for images of numbers that were scaled already, which the graph does itself."""
    if (index := find_scaled(array)) is not None:
        is_signed = array[index].min() < 0
        scale, hint = ("-1..1", "send them as they are") if is_signed else ("0..1", "multiply by 255")
        raise InvalidRequest(f"{name}[{index}]: expected pixels 0..255, received values within {scale}: {hint}")


def find_scaled(array: Array) -> int | None:
    """The first image ``[N,H,W,C]`` all of whose values lie within -1..1; None if there is none.

    One of noughts alone is black in any scale.
    """
    rows = array.reshape(len(array), -1)
    if not rows.size or ((highest := rows.max(axis=1)).tolist()[0] > 1 and (len(rows) == 1 or highest.min() > 1)):
        return None
    dark = rows[highest <= 1]
    found = np.flatnonzero(highest <= 1)[(dark.min(axis=1) >= -1) & dark.any(axis=1)]
    return int(found[0]) if len(found) else None


def check_rows(spec: TensorSpec, shape: tuple[int, ...], interface: Interface, limits: GatewaySettings) -> None:
    """Checks the number of rows of a model of the pipeline, where it is open.

    Nothing says whether an external model's first axis counts inputs: a waveform may be ``[16000]``. Its inputs are
    limited in bytes and elements alone, but for the instances of the row form.
    """
    if interface.input is None or not shape or not spec.shape or spec.shape[0] is not None:
        return
    if not 1 <= shape[0] <= limits.max_instances:
        raise InvalidRequest(f"{spec.name}: expected 1 to {limits.max_instances} inputs, received {shape[0]}")


def check_explained(rows: int) -> None:
    """Raises ``InvalidRequest`` for more inputs than are explained at once: each costs as much as dozens of answers."""
    if not 1 <= rows <= MAX_EXPLAINED:
        raise InvalidRequest(f"explain: expected 1 to {MAX_EXPLAINED} inputs, received {rows}")


def check_contents(name: str, array: Array, known: OneLimits) -> int:
    """Checks that strings are of their kind of input: texts within its length, or images within its size.

    Returns:
        The pixels of all images.
    """
    pixels = 0
    if isinstance(known, TextLimits):
        for index, content in enumerate(array.ravel()):
            check_text(f"{name}[{index}]", content, known)
    elif isinstance(known, ImageLimits):
        for index, content in enumerate(array.ravel()):
            pixels += images.count_pixels(f"{name}[{index}]", content, known.max_pixels)
    return pixels


def check_pixels(name: str, pixels: int, limits: GatewaySettings) -> None:
    """Raises ``InvalidRequest`` for images of too many pixels together, those of other inputs counted."""
    if pixels > limits.max_batch_pixels:
        expected = f"expected at most {limits.max_batch_pixels} pixels in all"
        raise InvalidRequest(f"{name}: {expected}, received {pixels}")


def check_steps(spec: TensorSpec, array: Array, known: SequenceLimits) -> None:
    """Raises ``InvalidRequest`` for sequences without any step, or with too many."""
    steps = array.shape[1] if len(array.shape) > 1 else 0
    if not 1 <= steps <= known.max_steps:
        raise InvalidRequest(f"{spec.name}: expected 1 to {known.max_steps} steps, received {steps}")


def check_text(where: str, content: bytes, known: TextLimits) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x} at position {error.start}"
        raise InvalidRequest(f"{where}: expected UTF-8, received {found}") from None
    if not text.strip() and not known.missing:
        raise InvalidRequest(f"{where}: expected a text, received {'only white space' if text else 'an empty one'}")
    if len(text) > known.max_chars:
        raise InvalidRequest(f"{where}: expected at most {known.max_chars} characters, received {len(text)}")
