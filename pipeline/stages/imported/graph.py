"""What ``saved_model.pb`` says of itself, judged before it is loaded."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from modelyard.models.errors import describe_unknown
from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.pipeline.errors import ImportRefused
from modelyard.pipeline.exporting.operations import UNSERVABLE
from modelyard.pipeline.stages.publish import describe_signatures

DEFAULT = "serving_default"
SERVE = "serve"
"""Tag of the graph that model servers load."""
NUMPY = re.compile(r"bool|string|u?int(8|16|32|64)|float(16|32|64)")
"""Types whose values can be made and compared here."""


def read_graph(folder: Path) -> Any:
    """The ``MetaGraphDef`` that model servers load.

    Raises:
        ImportRefused: the file cannot be parsed, or has no such graph.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        parsed = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except DecodeError:
        raise ImportRefused("saved_model.pb is damaged: it is no SavedModel") from None
    for meta in parsed.meta_graphs:
        if set(meta.meta_info_def.tags) == {SERVE}:
            return meta
    tags = " and ".join(str(sorted(meta.meta_info_def.tags)) for meta in parsed.meta_graphs) or "no graph"
    raise ImportRefused(f"saved_model.pb: expected a graph with the tag {SERVE!r} alone, received {tags}")


def read_writer(meta: Any, ours: str) -> str:
    """The version of TensorFlow that wrote the graph; empty if it does not say.

    Raises:
        ImportRefused: it is newer than ours: a server must not be older than what wrote the model.
    """
    written: str = meta.meta_info_def.tensorflow_version
    try:
        wrote, here = Version(written), Version(ours)
    except InvalidVersion:
        return written
    if wrote.release[:2] > here.release[:2]:
        raise ImportRefused(
            f"written by TensorFlow {written}, which is newer than the {ours} of this installation and its model "
            "servers; export it there, or bring these up to that version"
        )
    return written


def check_operations(meta: Any) -> None:
    """Checks that TensorFlow as it is installed has every operation, and that a server on a CPU has.

    Raises:
        ImportRefused: lists those that are missing.
    """
    from tensorflow.python.framework import op_def_registry

    functions = {function.signature.name for function in meta.graph_def.library.function}
    used = {*list_operations(meta)} - functions
    custom = sorted(name for name in used if op_def_registry.get(name) is None)
    if custom:
        raise ImportRefused(f"the graph has operations that TensorFlow does not have: {', '.join(custom)}")
    if refused := sorted(name for name in used if name.startswith(UNSERVABLE)):
        raise ImportRefused(f"the graph has {', '.join(refused)}, which a plain CPU server cannot run")


def list_operations(meta: Any) -> Iterator[str]:
    for node in meta.graph_def.node:
        yield node.op
    for function in meta.graph_def.library.function:
        for node in function.node_def:
            yield node.op


def select_signatures(meta: Any, wanted: str | None) -> tuple[str, dict[str, SignatureSpec], list[str]]:
    """The signature to measure, all that can be called, and why others cannot.

    Raises:
        ImportRefused: there is none, or the one to measure cannot be called.
    """
    found = {name: spec for name, spec in describe_signatures(meta).items() if spec.inputs or spec.outputs}
    if not found:
        raise ImportRefused(
            "it has no signatures, which is what model servers call: export it with `model.export(DIR)` of Keras 3, or "
            "`tf.saved_model.save(model, DIR, signatures=…)`"
        )
    chosen = choose_signature(found, wanted)
    obstacles = {name: why for name, spec in found.items() if (why := find_obstacle(meta, name, spec))}
    if chosen in obstacles:
        raise ImportRefused(f"signature {chosen}: {obstacles[chosen]}")
    notes = [f"signature {name} is left out: {why}" for name, why in obstacles.items()]
    return chosen, {name: spec for name, spec in found.items() if name not in obstacles}, notes


def choose_signature(found: Mapping[str, SignatureSpec], wanted: str | None) -> str:
    """The one that was named, else ``serving_default``, else the only one."""
    if wanted is not None:
        if wanted not in found:
            raise ImportRefused(describe_unknown("signature", wanted, found))
        return wanted
    if DEFAULT in found:
        return DEFAULT
    if len(found) == 1:
        return next(iter(found))
    raise ImportRefused(f"it has no {DEFAULT}; name one of its signatures with --signature: {', '.join(sorted(found))}")


def find_obstacle(meta: Any, name: str, spec: SignatureSpec) -> str:
    """Why a signature cannot be called with batches; empty if it can."""
    definition = meta.signature_def[name]
    if not spec.inputs:
        return "it has no inputs"
    for each in (*spec.inputs, *spec.outputs):
        info = definition.inputs.get(each.name) or definition.outputs[each.name]
        if info.WhichOneof("encoding") != "name":
            return f"{each.name} is sparse or ragged, which servers do not take"
        if "/" in each.name or "/" in name:
            return f"{name} or {each.name} has a slash in its name"
        if not NUMPY.fullmatch(each.dtype):
            return f"{each.name} is of type {each.dtype}, which has no form in requests"
    return next(filter(None, map(find_batch_obstacle, spec.inputs)), "")


def find_batch_obstacle(tensor: TensorSpec) -> str:
    """Why an input takes no batches; empty if it does."""
    if tensor.shape is None or (tensor.shape and tensor.shape[0] is None):
        return ""
    if not tensor.shape:
        return f"input {tensor.name} has no batch dimension: expected [n] or [n, …], received a single value"
    shape = ", ".join("n" if size is None else str(size) for size in tensor.shape)
    return (
        f"input {tensor.name} has a fixed batch dimension: expected any number of rows, received [{shape}]; "
        "export it with None as the first dimension"
    )
