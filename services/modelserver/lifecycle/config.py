"""``models.config``: TensorFlow Serving's ``ModelServerConfig`` in text format -> which versions of which models.

Source of the rules: tensorflow/serving ``config/model_server_config.proto``,
``config/file_system_storage_path_source.proto`` and ``model_servers/server_core.cc``.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from modelyard.models.tfserving.messages import model_server_config_pb2
from modelyard.services.modelserver.errors import InvalidConfig

PLATFORM = "tensorflow"

VersionPolicy = Callable[[Collection[int]], Collection[int]]
"""Versions on disk -> versions wanted."""


@dataclass(frozen=True)
class ModelEntry:
    """One configured model."""

    name: str
    base_path: Path
    policy: VersionPolicy
    labels: Mapping[str, int]
    """Version numbers by label."""


ModelSet = Mapping[str, ModelEntry]
"""The configured models by name."""


def parse_config(text: str) -> ModelSet:
    """The models that a text-format ``ModelServerConfig`` names.

    Raises:
        InvalidConfig: the text has the line that cannot be parsed, or the rule that an entry breaks.
    """
    try:
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise InvalidConfig(f"Error parsing text-format tensorflow.serving.ModelServerConfig: {error}") from error
    return read_config_message(config)


def read_config_message(config: model_server_config_pb2.ModelServerConfig) -> ModelSet:
    """The models of a parsed configuration. An explicit empty list means no models; a missing list is refused.

    Raises:
        InvalidConfig: the rule that an entry breaks.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise InvalidConfig("expected a model_config_list, which is the only kind of configuration supported")
    entries = [_entry(proto) for proto in config.model_config_list.config]
    models = {entry.name: entry for entry in entries}
    if len(models) < len(entries):
        raise InvalidConfig("model names must be unique, received " + ", ".join(entry.name for entry in entries))
    return models


def make_single_model(name: str, base_path: str) -> ModelSet:
    """The latest version of one model, as by ``--model_name`` and ``--model_base_path``.

    Raises:
        InvalidConfig: the path is not absolute.
    """
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return read_config_message(config)


def _entry(proto: Any) -> ModelEntry:
    if not proto.name:
        raise InvalidConfig("every model needs a name")
    if not Path(proto.base_path).is_absolute():
        raise InvalidConfig(f"base_path of {proto.name} must be an absolute path, received {proto.base_path!r}")
    if proto.model_platform != PLATFORM:
        raise InvalidConfig(f"model_platform of {proto.name} must be {PLATFORM!r}, received {proto.model_platform!r}")
    return ModelEntry(
        name=proto.name,
        base_path=Path(proto.base_path),
        policy=_policy(proto.name, proto.model_version_policy),
        labels=dict(proto.version_labels),
    )


def _policy(name: str, proto: Any) -> VersionPolicy:
    """An unset policy means the latest version only."""
    choice = proto.WhichOneof("policy_choice")
    if choice == "all":
        return select_all
    if choice == "specific":
        return partial(select_specific, frozenset(proto.specific.versions))
    if choice == "latest" and proto.latest.num_versions < 1:
        raise InvalidConfig(f"latest.num_versions of {name} must be at least 1, received 0")
    return partial(select_latest, proto.latest.num_versions or 1)


def select_all(on_disk: Collection[int]) -> Collection[int]:
    return on_disk


def select_specific(versions: frozenset[int], on_disk: Collection[int]) -> Collection[int]:
    """The named versions, on disk or not: a missing one is then reported by name."""
    del on_disk
    return versions


def select_latest(count: int, on_disk: Collection[int]) -> Collection[int]:
    return sorted(on_disk)[-count:]
