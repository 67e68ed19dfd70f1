"""``--monitoring_config_file``: TensorFlow Serving's ``MonitoringConfig`` in text format.

The message (tensorflow/serving ``config/monitoring_config.proto``) is in no published package, so its fields are
declared here.
"""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from modelyard.services.modelserver.errors import InvalidConfig

PATH = "/monitoring/prometheus/metrics"
"""Where the metrics are, unless the file has another path."""

_FIELD = descriptor_pb2.FieldDescriptorProto


def read_path(file: Path) -> str | None:
    """The path of the metrics; None if they are not turned on.

    Raises:
        InvalidConfig: the file cannot be read or parsed.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"--monitoring_config_file: {error}") from error
    try:
        found: Any = text_format.Parse(text, _message_class()()).prometheus_config
    except text_format.ParseError as error:
        raise InvalidConfig(f"--monitoring_config_file: {file} is no text-format MonitoringConfig: {error}") from error
    path = str(found.path) or PATH
    if not path.startswith("/"):
        raise InvalidConfig(f"--monitoring_config_file: expected a path that begins with /, received {path!r}")
    return path if found.enable else None


@cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="modelyard/monitoring_config.proto", package="modelyard", syntax="proto3"
    )
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_BOOL)
    prometheus.field.add(name="path", number=2, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
    file.message_type.add(name="MonitoringConfig").field.add(
        name="prometheus_config",
        number=1,
        label=_FIELD.LABEL_OPTIONAL,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".modelyard.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("modelyard.MonitoringConfig"))
