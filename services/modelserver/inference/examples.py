"""What Classify, Regress and MultiInference share: examples, and a signature whose one input ``inputs`` takes them.

Source: tensorflow/serving ``servables/tensorflow/util.cc``.
"""

import grpc

from modelyard.models.tfserving.messages import input_pb2, types_pb2
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.runtime.servable import DEFAULT_SIGNATURE, RequestOptions, Servable, Signature
from modelyard.services.modelserver.runtime.tensor import STRING, Tensor

INPUTS = "inputs"


def serialize_examples(sent: input_pb2.Input) -> Tensor:
    """The examples of a request, serialized: DT_STRING ``[n]``.

    A context comes first in each, so that an example's own features win (protobuf's merging).

    Raises:
        Refused: INVALID_ARGUMENT, there is none.
    """
    kind = sent.WhichOneof("kind")
    if kind == "example_list_with_context":
        context = sent.example_list_with_context.context.SerializeToString()
        examples = [context + example.SerializeToString() for example in sent.example_list_with_context.examples]
    else:
        examples = [example.SerializeToString() for example in sent.example_list.examples]
    if not examples:
        raise invalid_argument("Input is empty.")
    return Tensor(STRING, (len(examples),), examples)


def find_signature(servable: Servable, name: str, method: str, kind: str, options: RequestOptions) -> Signature:
    """The signature that a request names.

    Raises:
        Refused: INVALID_ARGUMENT, there is none, or, if that is checked, it is one of another method.
    """
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    check_method(signature, method, kind, options)
    return signature


def check_method(signature: Signature, method: str, kind: str, options: RequestOptions) -> None:
    if options.enable_signature_method_name_check and signature.method_name != method:
        message = f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
        raise invalid_argument(message)


def dtype_name(tensor: Tensor) -> str:
    return str(types_pb2.DataType.Name(tensor.dtype))


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape as ``TensorShape::DebugString`` writes it."""
    return "[" + ",".join(map(str, shape)) + "]"


def invalid_argument(message: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
