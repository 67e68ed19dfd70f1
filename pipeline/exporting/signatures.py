"""The signatures of an exported version, by its kinds of input. TensorFlow code, for the export process only."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from modelyard.models.images.decoding import make_image_decoder
from modelyard.models.inputs import (
    ImageInput,
    OneInput,
    SequenceInput,
    State,
    TextInput,
    VectorInput,
    name_encoded_image,
    name_inputs,
)
from modelyard.models.registry.uncertainty.record import UncertaintyRecord
from modelyard.models.spec import Encode, ModelSpec, SignatureFunction
from modelyard.pipeline.exporting.forward import Forward
from modelyard.pipeline.exporting.uncertainty import (
    CalibrationExamples,
    Uncertainty,
    learn_uncertainty,
    name_outputs,
)

Outputs = Mapping[str, Any]
DEFAULT, IMAGE_BYTES = "serving_default", "image_bytes"
OWN_OUTPUTS = UncertaintyRecord(examples=0, notes=("the model's own signatures: their outputs are as they are",))


@dataclass(frozen=True)
class Endpoint:
    """One signature: a function of named batches."""

    name: str
    function: Callable[..., Outputs]
    """Takes its inputs in the order of ``inputs``, or by their names."""
    inputs: tuple[Any, ...]
    """``tf.TensorSpec`` with a batch dimension of any size, each."""


@dataclass(frozen=True)
class Endpoints:
    """All signatures of a version, ``serving_default`` first, and the resources that they use."""

    all: tuple[Endpoint, ...]
    resources: tuple[Any, ...] = ()
    record: UncertaintyRecord | None = None
    """What was learned of the model's uncertainty."""


def build_endpoints(
    spec: ModelSpec, model: Any, state: State, examples: CalibrationExamples | None = None
) -> Endpoints:
    """The signatures of ``spec``: ``serving_default``, those of its own, and ``image_bytes`` if it takes images.

    Args:
        examples: what the model's uncertainty is learned from; without, answers say nothing of it.
    """
    inputs = name_inputs(spec.input)
    encode, record = make_encoder(spec, state), OWN_OUTPUTS if spec.signatures else None
    if spec.signatures:
        functions = spec.signatures(model, state)
    else:
        forward, learned = Forward(spec, model, encode), None
        if examples:
            signature = [make_tensor_spec(key, kind) for key, kind in inputs.items()]
            learned = learn_uncertainty(spec, forward, signature, examples)
            record = learned.record
        functions = {DEFAULT: make_predict(spec, forward, learned)}
    endpoints = [
        make_endpoint(name, functions[name], [make_tensor_spec(key, kind) for key, kind in inputs.items()])
        for name in sorted(functions, key=lambda name: name != DEFAULT)
    ]
    if any(isinstance(kind, ImageInput) for kind in inputs.values()):
        endpoints.append(_image_endpoint(inputs, functions[DEFAULT]))
    return Endpoints(tuple(endpoints), resources=() if encode is None else (encode,), record=record)


def make_encoder(spec: ModelSpec, state: State) -> Encode | None:
    """The function between raw inputs and the model; None if the model takes the raw inputs."""
    if spec.encode:
        return spec.encode(state)
    if isinstance(spec.input, TextInput) and spec.input.vectorise:
        return spec.input.vectorise(state)
    return None


def make_endpoint(name: str, function: SignatureFunction, inputs: Sequence[Any]) -> Endpoint:
    """A signature of a function that takes tensors by keyword."""
    names = [spec.name for spec in inputs]

    def call(*tensors: Any, **named: Any) -> Outputs:
        return function(**dict(zip(names, tensors, strict=False)), **named)

    # TensorFlow names the inputs of a signature after the parameters of its function.
    parameters = [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD) for key in names]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks for
    return Endpoint(name, call, tuple(inputs))


def make_tensor_spec(name: str, kind: OneInput) -> Any:
    """The type and shape of a raw input."""
    if isinstance(kind, ImageInput):
        return tf.TensorSpec((None, kind.height, kind.width, kind.channels), tf.float32, name=name)
    if isinstance(kind, VectorInput):
        return tf.TensorSpec((None, kind.size), tf.float32, name=name)
    if isinstance(kind, SequenceInput):
        return tf.TensorSpec((None, None, kind.size), tf.float32, name=name)
    return tf.TensorSpec((None,), tf.float32 if kind.kind == "number" else tf.string, name=name)


def make_predict(spec: ModelSpec, forward: Forward, learned: Uncertainty | None) -> SignatureFunction:
    """Runs the model on its only input, or on its inputs by name."""

    def predict(**named: Any) -> Outputs:
        raw, observed = forward(**named)
        return learned.name_outputs(raw, observed) if learned else name_outputs(spec.task, raw)

    return predict


def _image_endpoint(inputs: Mapping[str, OneInput], function: SignatureFunction) -> Endpoint:
    """As ``serving_default``, with images as files hold them."""
    decoders = {name: make_image_decoder(kind) for name, kind in inputs.items() if isinstance(kind, ImageInput)}
    encoded = {name_encoded_image(name, inputs): name for name in decoders}

    def from_bytes(**named: Any) -> Outputs:
        raw = {encoded.get(name, name): tensor for name, tensor in named.items()}
        for name, decode in decoders.items():
            raw[name] = decode(raw[name])
        return function(**raw)

    specs = [
        tf.TensorSpec((None,), tf.string, name=name_encoded_image(name, inputs))
        if name in decoders
        else make_tensor_spec(name, kind)
        for name, kind in inputs.items()
    ]
    return make_endpoint(IMAGE_BYTES, from_bytes, specs)
