"""What Classify and Regress have in common: a signature of one ``inputs`` tensor that takes serialized examples."""

import grpc

from modelyard.models.tfserving.messages import types_pb2
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.runtime.servable import (
    DEFAULT_SIGNATURE,
    Rules,
    Servable,
    Signature,
)
from modelyard.services.modelserver.runtime.tensor import Tensor

INPUTS = "inputs"


def find(servable: Servable, name: str, method: str, kind: str, rules: Rules) -> Signature:
    """The signature that a request names.

    Raises:
        Refused: INVALID_ARGUMENT, there is none, or, if that is checked, it is one of another method.
    """
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    check_method(signature, method, kind, rules)
    return signature


def check_method(signature: Signature, method: str, kind: str, rules: Rules) -> None:
    if rules.enable_signature_method_name_check and signature.method_name != method:
        message = f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
        raise invalid(message)


def dtype_name(tensor: Tensor) -> str:
    return str(types_pb2.DataType.Name(tensor.dtype))


def shape_text(shape: tuple[int, ...]) -> str:
    """As ``TensorShape::DebugString`` writes it."""
    return "[" + ",".join(map(str, shape)) + "]"


def invalid(message: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
