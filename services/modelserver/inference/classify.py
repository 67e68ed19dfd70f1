"""Classify: examples in, labels and scores of each out.

Order of the checks, codes and messages: tensorflow/serving ``servables/tensorflow/classifier.cc``.
"""

from collections.abc import Mapping

import numpy as np

from modelyard.models.tfserving.messages import classification_pb2
from modelyard.services.modelserver.inference.examples import (
    INPUTS,
    check_method,
    dtype_name,
    find_signature,
    format_shape,
    invalid_argument,
    serialize_examples,
)
from modelyard.services.modelserver.runtime.servable import CLASSIFY, CancelCheck, RequestOptions, Servable, Signature
from modelyard.services.modelserver.runtime.tensor import Tensor

KIND = "classification"
CLASSES, SCORES = "classes", "scores"
DTYPES = {CLASSES: "DT_STRING", SCORES: "DT_FLOAT"}


def classify(
    servable: Servable,
    request: classification_pb2.ClassificationRequest,
    options: RequestOptions,
    check_cancelled: CancelCheck,
) -> classification_pb2.ClassificationResult:
    """Runs a classification signature.

    Raises:
        Refused: the request or the signature does not fit; TensorFlow's own error of the run.
    """
    signature = find_signature(servable, request.model_spec.signature_name, CLASSIFY, KIND, options)
    input_name, fetches = find_tensors(signature, options)
    examples = serialize_examples(request.input)
    answers = servable.run({input_name: examples}, fetches, check_cancelled)
    return build_result(signature, examples.shape[0], dict(zip(fetches, answers, strict=True)))


def find_tensors(signature: Signature, options: RequestOptions) -> tuple[str, tuple[str, ...]]:
    """Names in the graph: of the input, and of the outputs to fetch.

    Raises:
        Refused: the signature is not one for classification.
    """
    check_method(signature, CLASSIFY, KIND, options)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in {1, 2}:
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    found = tuple(signature.outputs[alias].name for alias in (CLASSES, SCORES) if alias in signature.outputs)
    if not found:
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {signature}"
        )
    return signature.inputs[INPUTS].name, found


def build_result(
    signature: Signature, count: int, answers: Mapping[str, Tensor]
) -> classification_pb2.ClassificationResult:
    """Pairs labels with scores, one list for each of ``count`` examples; ``answers`` are by name in the graph.

    Raises:
        Refused: INVALID_ARGUMENT, an output has the wrong type or shape.
    """
    found = {alias: answers[info.name] for alias, info in signature.outputs.items() if alias in DTYPES}
    for alias, tensor in found.items():
        _check(alias, tensor, count)
    widths = {alias: tensor.shape[1] for alias, tensor in found.items()}
    if len(set(widths.values())) > 1:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {widths[CLASSES]} vs. {widths[SCORES]}"
        )
    width = next(iter(widths.values()))
    labels = found[CLASSES].strings if CLASSES in found else [b""] * (count * width)
    scores = np.frombuffer(found[SCORES].raw, np.float32).tolist() if SCORES in found else [0.0] * (count * width)
    filled = classification_pb2.ClassificationResult()
    for row in range(count):
        classes = filled.classifications.add().classes
        for position in range(row * width, (row + 1) * width):
            classes.add(label=labels[position].decode(errors="replace"), score=scores[position])
    return filled


def _check(alias: str, tensor: Tensor, count: int) -> None:
    if len(tensor.shape) != 2:  # noqa: PLR2004 - [batch_size num_classes]
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {format_shape(tensor.shape)}")
    if dtype_name(tensor) != DTYPES[alias]:
        raise invalid_argument(f"Expected {alias} Tensor of {DTYPES[alias]}. Got: {dtype_name(tensor)}")
    if tensor.shape[0] != count:
        raise invalid_argument(f"Expected {alias} output batch size of {count}. Got: {tensor.shape[0]}")
