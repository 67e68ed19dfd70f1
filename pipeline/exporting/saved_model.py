"""Writes a SavedModel, with the answers of the model in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modelyard.models.images.png import encode_png
from modelyard.models.inputs import State, name_encoded_image, name_inputs
from modelyard.models.registry.uncertainty.record import FILE, write_uncertainty
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.exporting.explaining.background import Background, learn_background
from modelyard.pipeline.exporting.signatures import Endpoint, build_endpoints, make_endpoint
from modelyard.pipeline.exporting.uncertainty import CalibrationExamples
from modelyard.pipeline.golden import input_key, output_key


def write_saved_model(
    spec: ModelSpec,
    model: Any,
    state: State,
    raw: Mapping[str, Array],
    folder: Path,
    examples: CalibrationExamples | None = None,
    background: Background | None = None,
) -> dict[str, Array]:
    """Writes the graph, and the record of its uncertainty beside it.

    Args:
        raw: a few raw inputs by name.
        examples: what the model's uncertainty is learned from.
        background: what explanations put in the place of an input; None: what these few have.

    Returns:
        Golden inputs and outputs: the answers of the model in memory.
    """
    if background is None:
        background = learn_background(spec.input, raw if isinstance(spec.input, Mapping) else next(iter(raw.values())))
    found = build_endpoints(spec, model, state, background, examples)
    answers: dict[str, Array] = {}
    for endpoint in found.all:
        if not endpoint.is_golden:
            continue
        inputs = {tensor.name: encode_golden_input(tensor, raw, spec) for tensor in endpoint.inputs}
        outputs = endpoint.function(**{name: tf.constant(value) for name, value in inputs.items()})
        # The call also builds the encoder, which must happen before it is tracked.
        answers |= {input_key(endpoint.name, name): value for name, value in inputs.items()}
        answers |= {output_key(endpoint.name, name): value.numpy() for name, value in outputs.items()}
    archive = keras.export.ExportArchive()
    archive.track(model)
    for resource in found.resources:
        archive.track(resource)
    for endpoint in found.all:
        archive.add_endpoint(endpoint.name, trace_once(endpoint), input_signature=list(endpoint.inputs))
    archive.write_out(folder, verbose=False)
    if found.record:
        (folder / FILE).parent.mkdir(exist_ok=True)
        write_uncertainty(folder, found.record)
    return answers


def trace_once(endpoint: Endpoint) -> Any:
    """A function that calls the endpoint's graph: Keras and TensorFlow trace what they write once each."""
    inputs = list(endpoint.inputs)
    traced = tf.function(endpoint.function, input_signature=inputs, autograph=False).get_concrete_function()
    return make_endpoint(endpoint.name, traced, inputs).function


def encode_golden_input(tensor: Any, raw: Mapping[str, Array], spec: ModelSpec) -> Array:
    """Raw examples as a signature takes them: numbers, UTF-8 bytes, or PNG bytes."""
    names = name_inputs(spec.input)
    if tensor.name not in names:
        (image,) = (name for name in names if name_encoded_image(name, names) == tensor.name)
        return np.array([encode_png(image) for image in raw[image]], dtype=object)
    values = raw[tensor.name]
    if values.dtype == object:
        return np.array([text.encode() for text in values], dtype=object)
    return values.astype(np.float32)
