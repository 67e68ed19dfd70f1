"""``--batching_parameters_file``: TensorFlow Serving's ``BatchingParameters`` in text format.

The message (tensorflow/serving ``servables/tensorflow/session_bundle_config.proto``) is in no published package, so
its fields are declared here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from modelyard.services.modelserver.errors import InvalidConfig

PER_MODEL_FILE = "batching_params.pbtxt"
"""In a version's folder, with ``--enable_per_model_batching_parameters``."""

_FIELD = descriptor_pb2.FieldDescriptorProto
NUMBERS = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


@dataclass(frozen=True)
class BatchingParameters:
    """How calls are joined. Defaults are those of TensorFlow's batch scheduler."""

    max_batch_size: int = 1000
    """Rows."""
    batch_timeout_micros: int = 0
    """Maximum time that a batch waits for further calls after its first."""
    max_enqueued_batches: int = 10
    """Maximum for each version and signature; further calls are refused."""
    num_batch_threads: int = os.cpu_count() or 1
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    """Ascending; a batch is padded with copies of a row to the next size. Empty: any size."""
    pad_variable_length_inputs: bool = False
    """Whether inner dimensions are padded to the maximum among the calls of a batch."""

    def with_threads_of(self, other: "BatchingParameters") -> "BatchingParameters":
        """These parameters with another's threads: all models share the threads."""
        return replace(self, num_batch_threads=other.num_batch_threads, thread_pool_name=other.thread_pool_name)


def read_parameters(path: Path) -> BatchingParameters:
    """The parameters in a file.

    Raises:
        InvalidConfig: it cannot be read or parsed, or breaks a rule.
    """
    try:
        return parse_parameters(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"cannot read batching parameters: {error}") from error


def parse_parameters(text: str) -> BatchingParameters:
    """The parameters in a text, with defaults for missing fields.

    Raises:
        InvalidConfig: the text has the place that cannot be parsed, or the rule that is broken.
    """
    try:
        found: Any = text_format.Parse(text, _message_class()())
    except text_format.ParseError as error:
        raise InvalidConfig(f"not a text-format BatchingParameters: {error}") from error
    given: dict[str, Any] = {
        name: getattr(found, name).value for name in (*NUMBERS, "thread_pool_name") if found.HasField(name)
    }
    parameters = BatchingParameters(
        **given,
        allowed_batch_sizes=tuple(found.allowed_batch_sizes),
        pad_variable_length_inputs=found.pad_variable_length_inputs,
    )
    _check(parameters)
    return parameters


def _check(parameters: BatchingParameters) -> None:
    minimums: Mapping[str, int] = dict.fromkeys(NUMBERS, 1) | {"batch_timeout_micros": 0}
    for name, minimum in minimums.items():
        if getattr(parameters, name) < minimum:
            raise InvalidConfig(f"{name} must be at least {minimum}, received {getattr(parameters, name)}")
    sizes = parameters.allowed_batch_sizes
    if list(sizes) != sorted(set(sizes)) or (sizes and sizes[0] < 1):
        raise InvalidConfig(f"allowed_batch_sizes must be positive and ascending, received {list(sizes)}")
    if sizes and sizes[-1] != parameters.max_batch_size:
        raise InvalidConfig(
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            f"last entry was {sizes[-1]}; expected {parameters.max_batch_size}"
        )


@cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="modelyard/batching_parameters.proto",
        package="modelyard",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    optional, repeated = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
    for number, name in enumerate((*NUMBERS, "thread_pool_name"), start=1):
        wrapper = "StringValue" if name == "thread_pool_name" else "Int64Value"
        message.field.add(
            name=name,
            number=number,
            label=optional,
            type=_FIELD.TYPE_MESSAGE,
            type_name=f".google.protobuf.{wrapper}",
        )
    message.field.add(name="allowed_batch_sizes", number=6, label=repeated, type=_FIELD.TYPE_INT64)
    message.field.add(name="pad_variable_length_inputs", number=7, label=optional, type=_FIELD.TYPE_BOOL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("modelyard.BatchingParameters"))
