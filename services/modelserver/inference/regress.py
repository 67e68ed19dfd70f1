"""Regress: examples in, one number of each out.

Order of the checks, codes and messages: tensorflow/serving ``servables/tensorflow/regressor.cc``.
"""

from collections.abc import Mapping

import numpy as np

from modelyard.models.tfserving.messages import regression_pb2
from modelyard.services.modelserver.inference.examples import (
    INPUTS,
    check_method,
    dtype_name,
    find_signature,
    format_shape,
    invalid_argument,
    serialize_examples,
)
from modelyard.services.modelserver.runtime.servable import REGRESS, CancelCheck, RequestOptions, Servable, Signature
from modelyard.services.modelserver.runtime.tensor import Tensor

KIND = "regression"
OUTPUTS = "outputs"


def regress(
    servable: Servable, request: regression_pb2.RegressionRequest, options: RequestOptions, check_cancelled: CancelCheck
) -> regression_pb2.RegressionResult:
    """Runs a regression signature.

    Raises:
        Refused: the request or the signature does not fit; TensorFlow's own error of the run.
    """
    signature = find_signature(servable, request.model_spec.signature_name, REGRESS, KIND, options)
    input_name, fetches = find_tensors(signature, options)
    examples = serialize_examples(request.input)
    answers = servable.run({input_name: examples}, fetches, check_cancelled)
    return build_result(signature, examples.shape[0], dict(zip(fetches, answers, strict=True)))


def find_tensors(signature: Signature, options: RequestOptions) -> tuple[str, tuple[str, ...]]:
    """Names in the graph: of the input, and of the output to fetch.

    Raises:
        Refused: the signature is not one for regression.
    """
    check_method(signature, REGRESS, KIND, options)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signature}")
    if OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs[INPUTS].name, (signature.outputs[OUTPUTS].name,)


def build_result(signature: Signature, count: int, answers: Mapping[str, Tensor]) -> regression_pb2.RegressionResult:
    """One value for each of ``count`` examples; ``answers`` are by name in the graph.

    Raises:
        Refused: INVALID_ARGUMENT, the output has the wrong type or shape.
    """
    output = answers[signature.outputs[OUTPUTS].name]
    if len(output.shape) != 1 and output.shape[1:] != (1,):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{format_shape(output.shape)}"
        )
    if output.shape[0] != count:
        raise invalid_argument(f"Input batch size did not match output batch size: {count} vs. {output.shape[0]}")
    if dtype_name(output) != "DT_FLOAT":
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {dtype_name(output)}")
    filled = regression_pb2.RegressionResult()
    for value in np.frombuffer(output.raw, np.float32).tolist():
        filled.regressions.add(value=value)
    return filled
