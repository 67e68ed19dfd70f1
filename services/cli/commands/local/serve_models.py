"""Which models ``modelyard serve`` serves: each folder, and each entry of a configuration, is judged by itself."""

import string
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.models.errors import CorruptData, ModelyardError
from modelyard.models.registry import rollout
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.serving_config import read_entries
from modelyard.models.registry.serving_set import is_current
from modelyard.models.registry.store import NAME, Store
from modelyard.models.types import DEFAULT_POOL

GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
INT64_MAX = 2**63 - 1
PLATFORM = "tensorflow"
MAX_NAME_CHARS = 255
PLAIN = frozenset((string.ascii_letters + string.digits + string.punctuation + " ").encode()) - frozenset(b'"\\')
"""Bytes that stand for themselves between quotes."""
LAYOUT = "expected {0}/NAME/1/saved_model.pb, or {0}/1/saved_model.pb for a single model"


class NothingToServe(ModelyardError):
    """The folder or the configuration names no model that could be served."""

    exit_code = 2


@dataclass(frozen=True)
class Selection:
    """What is served, and what is not."""

    config: Path
    """The model server's configuration."""
    names: tuple[str, ...]
    """Models that the gateway answers for."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """By folder or entry: why it is skipped, or not served yet."""


# --- a folder of models -----------------------------------------------------------------------------------------------


def select_folders(models_dir: Path, config: Path) -> Selection:
    """Every folder with a numbered SavedModel in it; the folder itself if it is one.

    Args:
        models_dir: the folder of folders.
        config: file to write the model server's configuration into, unless the folder is a store with one of its own.

    Raises:
        NothingToServe: there is none; the text has the expected layout, and what is wrong with what is there.
    """
    try:
        folders = list_folders(models_dir)
    except OSError as error:
        raise NothingToServe(f"cannot read {models_dir}: {error.strerror}") from None
    judged = {path: judge_folder(path) for path in folders}
    notes = {show_name(path.name): why for path, why in judged.items() if why}
    found = {path.name: path for path, why in judged.items() if not why}
    if not found:
        raise NothingToServe(f"{models_dir} has no model: {LAYOUT.format(models_dir)}{describe_notes(notes)}")
    if is_live_store(models_dir, found):
        return Selection(models_dir / rollout.CONFIG, tuple(found), notes)
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(render_models(models_dir, found))
    return Selection(config, tuple(found), notes)


def list_folders(models_dir: Path) -> list[Path]:
    """The folder itself if it is a model, or else every folder in it that is not hidden; raises ``OSError``."""
    if list_versions(models_dir) or has_graph(models_dir):
        return [models_dir]
    return [path for path in sorted(models_dir.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def judge_folder(folder: Path) -> str:
    """Why a folder is not served; empty if it is."""
    try:
        if not list_versions(folder):
            return describe_missing_versions(folder)
        if (folder / rollout.FILE).exists() and NAME.fullmatch(folder.name):
            read_rollout(Store(folder.parent), folder.name)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    except CorruptData as error:
        return str(error)
    return judge_path(folder) or judge_name(folder.name)


def describe_missing_versions(folder: Path) -> str:
    if has_graph(folder):
        return "its SavedModel is not in a numbered folder: expected NAME/1/saved_model.pb"
    return "it has no numbered folder with a saved_model.pb"


def list_versions(folder: Path) -> list[int]:
    """Numbers of the SavedModels in a folder; raises ``OSError``."""
    numbered = [path for path in folder.iterdir() if path.name.isascii() and path.name.isdecimal()]
    return [number for path in numbered if (number := int(path.name)) <= INT64_MAX and has_graph(path)]


def has_graph(folder: Path) -> bool:
    return any((folder / name).exists() for name in GRAPHS)


def judge_name(name: str) -> str:
    """Why no address can name a model; empty if one can."""
    if ":" in name or "/" in name:
        return f"a {'colon' if ':' in name else 'slash'} ends a model's name in an address"
    if not name.isprintable():
        return "its name has characters that cannot be printed"
    if len(name) > MAX_NAME_CHARS:
        return f"its name is longer than {MAX_NAME_CHARS} characters"
    return ""


def judge_path(path: Path) -> str:
    """Why a path cannot be written into a configuration; empty if it can."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return ""


def is_live_store(models_dir: Path, found: Collection[str]) -> bool:
    """Whether the folder is a Modelyard store with a rollout of each model: then its own configuration is used.

    Not where a model is in another pool than the default one: here is one model server, which serves all of them.
    """
    store = Store(models_dir)
    rollouts = [read_rollout(store, name) for name in found if NAME.fullmatch(name)]
    ours = len(rollouts) == len(found) and all(now.loaded and now.placement.pool == DEFAULT_POOL for now in rollouts)
    return ours and is_current(store) and set(read_entries(store)) <= set(found)


def render_models(models_dir: Path, found: Mapping[str, Path]) -> str:
    """The newest version of each model, or the loaded versions of its rollout, as text for the model server."""
    entries = []
    for name, path in found.items():
        is_ours = (path / rollout.FILE).exists() and NAME.fullmatch(name)
        loaded = read_rollout(Store(models_dir), name).loaded if is_ours else ()
        versions = " ".join(f"versions: {number}" for number in loaded)
        policy = f" model_version_policy {{ specific {{ {versions} }} }}" if versions else ""
        entries.append(
            f"  config {{ name: {quote_text(name)} base_path: {quote_text(str(path))} "
            f'model_platform: "{PLATFORM}"{policy} }}\n'
        )
    return "model_config_list {\n" + "".join(entries) + "}\n"


def quote_text(value: str) -> str:
    """A string of protobuf's text format: everything that is not plain ASCII in octal."""
    return '"' + "".join(chr(byte) if byte in PLAIN else f"\\{byte:03o}" for byte in value.encode()) + '"'


# --- a configuration --------------------------------------------------------------------------------------------------


def select_entries(path: Path, config: Path) -> Selection:
    """The entries of a text-format ``ModelServerConfig`` that can be served.

    The file itself is used, and followed, unless the model server would refuse it for one of its entries.

    Args:
        path: the file.
        config: file to write the rest of it into then.

    Raises:
        NothingToServe: the file cannot be read or parsed, or has no such entry; says where and why.
    """
    from google.protobuf import text_format  # 20 MB with the messages, not needed for a folder of models

    parsed = parse_config(path)
    entries = list(parsed.model_config_list.config)
    if not entries:
        expected = 'expected model_config_list { config { name: "NAME" base_path: "/FOLDER" ... } }'
        raise NothingToServe(f"{path} has no model: {expected}")
    refused = dict(judge_entries(entries))
    kept = [entry for number, entry in enumerate(entries) if number not in refused]
    notes = {show_name(entries[number].name) or f"entry {number + 1}": why for number, why in refused.items()}
    notes |= {show_name(entry.name): why for entry in kept if (why := judge_served_entry(entry))}
    names = tuple(entry.name for entry in kept if not judge_name(entry.name))
    if not names:
        raise NothingToServe(f"{path} has no model that can be served{describe_notes(notes)}")
    if not refused:
        return Selection(path, names, notes)
    del parsed.model_config_list.config[:]
    parsed.model_config_list.config.extend(kept)
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(text_format.MessageToString(parsed))
    return Selection(config, names, notes | {str(path): "changes of it are not followed before all entries are right"})


def parse_config(path: Path) -> Any:
    """The ``ModelServerConfig``; raises ``NothingToServe``."""
    from google.protobuf import text_format

    from modelyard.models.tfserving.messages import model_server_config_pb2

    try:
        return text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise NothingToServe(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise NothingToServe(f"{path} is not a text-format ModelServerConfig: {error}") from None


def judge_entries(entries: Iterable[Any]) -> Iterator[tuple[int, str]]:
    """Positions of the entries for which the model server would refuse the whole file, each with the reason."""
    seen: set[str] = set()
    for position, entry in enumerate(entries):
        if why := judge_entry(entry, seen):
            yield position, why
        seen.add(entry.name)


def judge_entry(entry: Any, seen: set[str]) -> str:
    """The model server's own rules."""
    if not entry.name:
        return "a model without a name"
    if entry.name in seen:
        return "an entry before it has the same name"
    if not Path(entry.base_path).is_absolute():
        return f"base_path must be an absolute path, received {entry.base_path!r}"
    if entry.model_platform != PLATFORM:
        return f"model_platform must be {PLATFORM!r}, received {entry.model_platform!r}"
    policy = entry.model_version_policy
    if policy.WhichOneof("policy_choice") == "latest" and policy.latest.num_versions < 1:
        return "latest.num_versions must be at least 1, received 0"
    return ""


def judge_served_entry(entry: Any) -> str:
    """Why the gateway does not answer for an entry that the model server takes, or not yet."""
    if why := judge_name(entry.name):
        return f"{why}: it can be called by gRPC only"
    try:
        has_versions = bool(list_versions(Path(entry.base_path)))
    except OSError as error:
        return f"{entry.base_path}: {error.strerror}; it is served as soon as a version is there"
    missing = f"{entry.base_path} has no numbered folder with a saved_model.pb"
    return "" if has_versions else f"{missing}; it is served as soon as there is one"


# --- what is said of them ---------------------------------------------------------------------------------------------


def show_name(name: str) -> str:
    """A name as it can be printed on one line."""
    return name if name.isprintable() else ascii(name)


def describe_notes(notes: Mapping[str, str]) -> str:
    """As the end of a sentence."""
    return "".join(f"; {name}: {why}" for name, why in notes.items())
