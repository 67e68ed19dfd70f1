"""Operations of a SavedModel that a plain CPU server cannot run. Needs the messages alone, not TensorFlow's runtime."""

from collections.abc import Iterator
from pathlib import Path

from modelyard.pipeline.errors import ExportRejected

UNSERVABLE = ("Cudnn", "PyFunc", "EagerPyFunc", "Xla")
"""Prefixes of operations that TensorFlow Serving on a CPU refuses or does not have."""


def check_operations(saved_model: Path) -> None:
    """Checks every operation of the graph and of its functions.

    Raises:
        ExportRejected: a plain CPU server cannot run one of them.
    """
    found = sorted({name for name in list_operations(saved_model) if name.startswith(UNSERVABLE)})
    if found:
        raise ExportRejected(f"the exported graph has {', '.join(found)}, which a plain CPU server cannot run")


def list_operations(saved_model: Path) -> Iterator[str]:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    parsed = SavedModel.FromString(saved_model.read_bytes())
    for graph in (meta.graph_def for meta in parsed.meta_graphs):
        for node in graph.node:
            yield node.op
        for function in graph.library.function:
            for node in function.node_def:
                yield node.op
