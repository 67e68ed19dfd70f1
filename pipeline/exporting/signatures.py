"""The signatures of an exported version, by its kinds of input. TensorFlow code, for the export process only."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import tensorflow as tf

from modelyard.models.errors import InvalidSpec
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
from modelyard.pipeline.exporting.explaining.background import Background
from modelyard.pipeline.exporting.explaining.scoring import TASKS, Scores, make_scores
from modelyard.pipeline.exporting.explaining.signature import EXPLAIN, EXPLAIN_BYTES, Explainer, show_pixels
from modelyard.pipeline.exporting.forward import Forward
from modelyard.pipeline.exporting.uncertainty import (
    CalibrationExamples,
    Uncertainty,
    learn_uncertainty,
    name_outputs,
)

Outputs = Mapping[str, Any]
Decode = Callable[[Any], Any]
"""PNG or JPEG files ``string [N]`` -> images."""
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
    is_golden: bool = True
    """Whether its answers are kept for comparison. An explanation's are not: it costs many runs, and its weights are
    small differences of large numbers."""


@dataclass(frozen=True)
class Endpoints:
    """All signatures of a version, ``serving_default`` first, and the resources that they use."""

    all: tuple[Endpoint, ...]
    resources: tuple[Any, ...] = ()
    record: UncertaintyRecord | None = None
    """What was learned of the model's uncertainty."""


def build_endpoints(
    spec: ModelSpec,
    model: Any,
    state: State,
    background: Background,
    examples: CalibrationExamples | None = None,
    *,
    files: bool = True,
) -> Endpoints:
    """The signatures of ``spec``: ``serving_default``, those of its own, and ``image_bytes`` if it takes images.

    ``explain`` and ``explain_bytes`` say why, unless the spec has an ``explain`` of its own.

    Args:
        background: what explanations put in the place of an input.
        examples: what the model's uncertainty is learned from; without, answers say nothing of it.
        files: whether there are ``image_bytes`` and ``explain_bytes``.
    """
    inputs = name_inputs(spec.input)
    encode, record, learned = make_encoder(spec, state), OWN_OUTPUTS if spec.signatures else None, None
    if spec.signatures:
        functions = spec.signatures(model, state)
    else:
        forward = Forward(spec, model, encode, state)
        if examples:
            signature = [make_tensor_spec(key, kind) for key, kind in inputs.items()]
            learned = learn_uncertainty(spec, forward, signature, examples)
            record = learned.record
        functions = {DEFAULT: make_predict(spec, forward, learned)}
    endpoints = [
        make_endpoint(name, functions[name], [make_tensor_spec(key, kind) for key, kind in inputs.items()])
        for name in sorted(functions, key=lambda name: name != DEFAULT)
    ]
    decoders = {name: trace_decoder(kind) for name, kind in inputs.items() if files and isinstance(kind, ImageInput)}
    if decoders:
        endpoints.append(_image_endpoint(IMAGE_BYTES, inputs, decoders, functions[DEFAULT]))
    if spec.explain and EXPLAIN not in functions:
        lean = learned.lean_logits if learned and learned.shares is not None else None
        specs = [make_tensor_spec(key, kind) for key, kind in inputs.items()]
        scores = make_scores(spec, model, encode, functions[DEFAULT], specs, lean) if spec.task in TASKS else None
        endpoints += explain_endpoints(spec, scores, decoders, background) if scores else []
    return Endpoints(tuple(endpoints), resources=() if encode is None else (encode,), record=record)


def explain_endpoints(
    spec: ModelSpec, scores: Scores, decoders: Mapping[str, Decode], background: Background
) -> list[Endpoint]:
    """``explain``, and ``explain_bytes`` if it takes images."""
    inputs = name_inputs(spec.input)
    specs = [make_tensor_spec(name, kind) for name, kind in inputs.items()]
    explainer = Explainer(scores, inputs, background)
    function = make_endpoint(EXPLAIN, explainer.explain, specs).function
    # Traced once, for both signatures: TensorFlow traces a signature's own function again when it saves.
    try:
        traced = tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
    except Exception as error:
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InvalidSpec(f"{spec.name}: explain: {said}; explain=False exports the model without it") from error
    found = [make_endpoint(EXPLAIN, traced, specs)]
    if decoders:

        def explain_files(**raw: Any) -> Outputs:
            seen = {explainer.name_output(name, "images"): show_pixels(raw[name]) for name in decoders}
            return {**traced(**raw), **seen}

        found.append(_image_endpoint(EXPLAIN_BYTES, inputs, decoders, explain_files))
    return [replace(endpoint, is_golden=False) for endpoint in found]


@cache
def trace_decoder(kind: ImageInput) -> Decode:
    """One function of the graph, for all signatures that take files, of all versions that are exported here."""
    decode = tf.function(make_image_decoder(kind), input_signature=[tf.TensorSpec((None,), tf.string)], autograph=False)
    traced: Decode = decode.get_concrete_function()
    return traced


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


def _image_endpoint(
    name: str, inputs: Mapping[str, OneInput], decoders: Mapping[str, Decode], function: SignatureFunction
) -> Endpoint:
    """A signature of a function of raw inputs, with images as files hold them."""
    encoded = {name_encoded_image(key, inputs): key for key in decoders}

    def from_bytes(**named: Any) -> Outputs:
        raw = {encoded.get(key, key): tensor for key, tensor in named.items()}
        for key, decode in decoders.items():
            raw[key] = decode(raw[key])
        return function(**raw)

    specs = [
        tf.TensorSpec((None,), tf.string, name=name_encoded_image(key, inputs))
        if key in decoders
        else make_tensor_spec(key, kind)
        for key, kind in inputs.items()
    ]
    return make_endpoint(name, from_bytes, specs)
