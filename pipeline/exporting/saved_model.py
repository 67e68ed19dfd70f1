"""Writes a SavedModel, with the answers of the model in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.images.png import encode_png
from modelyard.models.inputs import State, name_encoded_image, name_inputs
from modelyard.models.registry.uncertainty.record import FILE, write_uncertainty
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.exporting.explaining.background import Background, learn_background
from modelyard.pipeline.exporting.features import list_layers
from modelyard.pipeline.exporting.signatures import Endpoint, Endpoints, build_endpoints
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
    *,
    files: bool = True,
) -> dict[str, Array]:
    """Writes the graph, and the record of its uncertainty beside it.

    Args:
        raw: a few raw inputs by name.
        examples: what the model's uncertainty is learned from.
        background: what explanations put in the place of an input; None: what these few have.
        files: whether images are taken as files, too, by signatures of their own.

    Returns:
        Golden inputs and outputs: the answers of the model in memory.
    """
    if background is None:
        background = learn_background(spec.input, raw if isinstance(spec.input, Mapping) else next(iter(raw.values())))
    finish_learning(model)
    found = build_endpoints(spec, model, state, background, examples, files=files)
    answers: dict[str, Array] = {}
    for endpoint in found.all:
        if not endpoint.is_golden:
            continue
        inputs = {tensor.name: encode_golden_input(tensor, raw, spec) for tensor in endpoint.inputs}
        outputs = endpoint.function(**{name: tf.constant(value) for name, value in inputs.items()})
        # The call also builds the encoder, whose tables must be there before the graph is traced.
        answers |= {input_key(endpoint.name, name): value for name, value in inputs.items()}
        answers |= {output_key(endpoint.name, name): value.numpy() for name, value in outputs.items()}
    save(model, found, folder)
    if found.record:
        (folder / FILE).parent.mkdir(exist_ok=True)
        write_uncertainty(folder, found.record)
    return answers


def finish_learning(model: Any) -> None:
    """Tells the layers that want to know it that they learn nothing more; what they compute stays the same."""
    for layer in list_layers(model):
        if hasattr(layer, "finish_learning"):
            layer.finish_learning()


def save(model: Any, found: Endpoints, folder: Path) -> None:
    """Writes the signatures, with the variables and tables that they use, and nothing else of the model.

    ``keras.export.ExportArchive`` would trace each signature twice more, and the functions of the model's layers with
    it: half of the time that a small export takes.
    """
    traced = {endpoint.name: trace(endpoint) for endpoint in found.all}
    root = tf.Module()
    root.variables_used = list({id(each): each for one in traced.values() for each in one.variables}.values())
    root.resources = [each for owner in (model, *found.resources) for each in list_resources(owner)]
    tf.saved_model.save(root, str(folder), signatures=traced)


def trace(endpoint: Endpoint) -> Any:
    """The graph of a signature."""
    inputs = list(endpoint.inputs)
    return tf.function(endpoint.function, input_signature=inputs, autograph=False).get_concrete_function()


def list_resources(owner: Any) -> list[Any]:
    """Tables, which a graph captures without saying whose they are."""
    from tensorflow.saved_model.experimental import TrackableResource

    return [each for each in tf.train.TrackableView(owner).descendants() if isinstance(each, TrackableResource)]


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
