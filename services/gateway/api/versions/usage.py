"""What a version takes: its inputs, and a request that works as it is."""

from typing import Any

from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.inputs import TENSOR_NAMES
from modelyard.models.registry.inputs.example_body import make_example_body
from modelyard.models.registry.manifest import Manifest, NamedLimits, OneLimits, TensorSpec
from modelyard.models.registry.store import Store
from modelyard.services.gateway.codecs.tensors import format_shape
from modelyard.services.gateway.codecs.tfs_json import DEFAULT_SIGNATURE
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.serving.interface import published_interface

MAX_VALUES = 100
"""Of a category, as many as are listed."""


class InputDescription(Body):
    """One input: by its name or its title a client names it."""

    name: str
    title: str
    """Its name in the data."""
    kind: str
    missing: bool
    """Whether it may be left out, or null."""
    values: tuple[str, ...] | None = None
    """Of a category, those that training saw, 100 at most; any other is taken as unknown."""
    limits: dict[str, int | str]
    """Sizes: of images, texts, vectors and sequences."""


class Usage(Body):
    """How a model is asked for a prediction."""

    version: int
    inputs: list[InputDescription]
    example: dict[str, Any] | None = Field(description="A body of :predict that works as it is.")
    explains: bool = Field(default=False, description="Whether ?explain=1 adds why it answers so.")


def describe_usage(store: Store, model: str, version: int) -> Usage | None:
    """What one version takes; None where its manifest cannot be read."""
    try:
        manifest = store.manifest(model, version)
    except CorruptData:
        return None
    return Usage(
        version=version,
        inputs=describe_inputs(manifest),
        example=make_example_body(manifest),
        explains=explains(manifest),
    )


def explains(manifest: Manifest) -> bool:
    """Whether something explains what ``serving_default`` answers."""
    return published_interface(manifest).find_explanation(DEFAULT_SIGNATURE) is not None


def describe_inputs(manifest: Manifest) -> list[InputDescription]:
    """Each input; of a version that says nothing of them, the tensors of its default signature."""
    if isinstance(manifest.input, NamedLimits):
        return [describe_input(name, limits) for name, limits in manifest.input.inputs.items()]
    if manifest.input is not None:
        return [describe_input(TENSOR_NAMES[manifest.input.kind], manifest.input)]
    default = manifest.signatures.get(DEFAULT_SIGNATURE)
    return [describe_tensor(spec) for spec in default.inputs] if default else []


def describe_tensor(spec: TensorSpec) -> InputDescription:
    """An input of which nothing is known but its tensor."""
    limits: dict[str, int | str] = {"dtype": spec.dtype, "shape": format_shape(spec.shape)}
    return InputDescription(name=spec.name, title=spec.name, kind="tensor", missing=False, limits=limits)


def describe_input(name: str, limits: OneLimits) -> InputDescription:
    fields = limits.model_dump()
    values = fields.pop("values", None)
    return InputDescription(
        name=name,
        title=fields.pop("title", "") or name,
        kind=fields.pop("kind"),
        missing=fields.pop("missing", False),
        values=None if values is None else values[:MAX_VALUES],
        limits=fields,
    )
