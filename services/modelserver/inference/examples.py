"""``Input`` of Classify, Regress and MultiInference -> one DT_STRING ``[n]`` of serialized ``tf.Example``.

Source: tensorflow/serving ``servables/tensorflow/util.cc``.
"""

import grpc

from modelyard.models.tfserving.messages import input_pb2
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.runtime.tensor import STRING, Tensor


def serialized(sent: input_pb2.Input) -> Tensor:
    """The examples; a context comes first in each, so that an example's own features win (protobuf's merging).

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
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Input is empty.")
    return Tensor(STRING, (len(examples),), examples)
