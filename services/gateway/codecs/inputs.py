"""A decoded request, and the checks of its inputs, whatever format they came in."""

from collections.abc import Mapping
from dataclasses import dataclass

from modelyard.models.registry.manifest import ImageLimits, SignatureSpec, TensorSpec, TextLimits
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import images
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """What to run, and on what; each protocol adds the form of the response."""

    signature: str
    inputs: Mapping[str, Array]
    timeout_s: float | None = None
    """The client's, where the body has one."""


def check_inputs(
    inputs: Mapping[str, Array], signature: SignatureSpec, interface: Interface, limits: GatewaySettings
) -> None:
    """Checks the number of inputs, and what strings hold; shapes and types have been checked before.

    Raises:
        InvalidRequest: names the input.
    """
    for spec in signature.inputs:
        array = inputs[spec.name]
        check_rows(spec, array.shape, interface, limits)
        if array.dtype == object:
            check_contents(spec.name, array, interface, limits.max_batch_pixels)


def check_rows(spec: TensorSpec, shape: tuple[int, ...], interface: Interface, limits: GatewaySettings) -> None:
    """Checks the number of rows of a model of the pipeline, where it is open.

    Nothing says whether an external model's first axis counts inputs: a waveform may be ``[16000]``. Its inputs are
    limited in bytes and elements alone, but for the instances of the row form.
    """
    if interface.input is None or not shape or not spec.shape or spec.shape[0] is not None:
        return
    if not 1 <= shape[0] <= limits.max_instances:
        raise InvalidRequest(f"{spec.name}: expected 1 to {limits.max_instances} inputs, received {shape[0]}")


def check_contents(name: str, array: Array, interface: Interface, max_batch_pixels: int) -> None:
    """Checks that strings are of the model's kind of input: texts within its length, or images within its size."""
    pixels = 0
    for index, content in enumerate(array.ravel()):
        if isinstance(interface.input, TextLimits):
            check_text(f"{name}[{index}]", content, interface.input.max_chars)
        elif isinstance(interface.input, ImageLimits):
            pixels += images.count_pixels(f"{name}[{index}]", content, interface.input.max_pixels)
    if pixels > max_batch_pixels:
        raise InvalidRequest(f"{name}: expected at most {max_batch_pixels} pixels in all, received {pixels}")


def check_text(where: str, content: bytes, max_chars: int) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x} at position {error.start}"
        raise InvalidRequest(f"{where}: expected UTF-8, received {found}") from None
    if not text.strip():
        raise InvalidRequest(f"{where}: expected a text, received {'only white space' if text else 'an empty one'}")
    if len(text) > max_chars:
        raise InvalidRequest(f"{where}: expected at most {max_chars} characters, received {len(text)}")
