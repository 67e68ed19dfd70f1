"""SavedModel folder -> ``Servable``, through TensorFlow's own loader."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from modelyard.models.tfserving.messages import get_model_metadata_pb2, meta_graph_pb2
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.runtime.servable import CancelCheck, Servable, Signature, TensorInfo
from modelyard.services.modelserver.runtime.session import Session
from modelyard.services.modelserver.runtime.tensor import Tensor
from modelyard.services.modelserver.runtime.tensor_message import read_tensor
from modelyard.services.modelserver.runtime.tensorflow_c import TensorFlowC

SAVER_DEF_FIELD, SIGNATURE_DEF_FIELD = 3, 5
"""Of ``MetaGraphDef`` (``meta_graph.proto``)."""
VARIABLES_INDEX = "variables/variables.index"
VARIABLE_TYPES = frozenset(
    {
        *("VarHandleOp", "Variable", "VariableV2", "AutoReloadVariable"),
        *("MutableHashTable", "MutableHashTableV2", "MutableHashTableOfTensors", "MutableHashTableOfTensorsV2"),
        *("MutableDenseHashTable", "MutableDenseHashTableV2"),
    }
)
"""Operations whose values are in the checkpoint."""


@dataclass(frozen=True)
class Runtime:
    """The TensorFlow library, and the configuration of its sessions."""

    c: TensorFlowC
    config: bytes
    """``ConfigProto``, serialized."""
    run_options: bytes
    """``RunOptions``, serialized."""


def load_saved_model(runtime: Runtime, folder: Path, tags: Sequence[str] = ("serve",)) -> Servable:
    """Loads any SavedModel that holds a graph with exactly these tags, TensorFlow 1 or 2, ours or not.

    Raises:
        Refused: TensorFlow's own code and message; DATA_LOSS, its variables are not there.
    """
    has_variables = (folder / VARIABLES_INDEX).exists()  # before the load: a copy may put them there meanwhile
    session = Session(runtime.c, folder, tags, runtime.config, runtime.run_options)
    if not has_variables and needs_variables(session):
        session.close()
        message = f"{VARIABLES_INDEX} is missing, and the graph has variables: the version is not complete"
        raise Refused(grpc.StatusCode.DATA_LOSS, message)
    signature_defs = read_signature_defs(session.meta_graph)

    def run(feeds: Any, fetches: tuple[str, ...], check_cancelled: CancelCheck) -> list[Tensor]:
        check_cancelled()
        return session.run(feeds, fetches)

    signatures = {name: convert_signature(proto) for name, proto in signature_defs.signature_def.items()}
    return Servable(signatures, signature_defs, run, session.close)


def needs_variables(session: Session) -> bool:
    """Whether the graph has variables that are restored from files.

    Without the file, TensorFlow restores none, and says nothing (``cc/saved_model/loader.cc``): each run would fail. A
    graph of TensorFlow 1 whose variables are all local has no saver.
    """
    has_saver = any(_fields(session.meta_graph, SAVER_DEF_FIELD))
    return has_saver and not VARIABLE_TYPES.isdisjoint(session.operation_types())


def read_signature_defs(meta_graph: bytes) -> get_model_metadata_pb2.SignatureDefMap:
    """The signatures of a serialized ``MetaGraphDef``, read without its graph, which may be large."""
    parts = b"".join(_fields(meta_graph, SIGNATURE_DEF_FIELD))
    found = meta_graph_pb2.MetaGraphDef.FromString(parts)
    return get_model_metadata_pb2.SignatureDefMap(signature_def=found.signature_def)


def convert_signature(proto: meta_graph_pb2.SignatureDef) -> Signature:
    defaults = {alias: read_tensor(value) for alias, value in proto.defaults.items()}
    return Signature(
        inputs=_tensors(proto.inputs),
        outputs=_tensors(proto.outputs),
        method_name=proto.method_name,
        defaults={alias: value for alias, value in defaults.items() if value is not None},
    )


def _tensors(infos: Any) -> dict[str, TensorInfo]:
    return {alias: TensorInfo(infos[alias].name, infos[alias].dtype) for alias in sorted(infos)}


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """The encoded fields of one number; ``MetaGraphDef`` has only fields with a length, or single varints."""
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        length, position = _varint(message, position)
        if tag & 7 == 2:  # noqa: PLR2004 - wire type "length-delimited"
            position += length
        if tag >> 3 == wanted:
            yield message[start:position]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - no further byte follows
            return value, position
