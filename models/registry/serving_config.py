"""``models.config``: the versions that TensorFlow Serving loads, and the labels by which its clients name them. Slim.

Each pool of model servers has a file of its own with the models that it loads: ``models.config`` is the default pool's,
``models.gpu.config`` that of a pool ``gpu``.

TensorFlow Serving ends at its start where a model has no version that loads, and follows no further configuration after
one that names a model without a version folder, or moves a label to a version that it has not loaded
(``model_servers/server_core.cc``). So a version enters the file only if its files are those of its manifest, a model
only with such a version, and a label only where it is sure to be accepted. What is left out is in ``left_out.json``.
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.models.errors import ModelyardError
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.manifest import FrozenModel
from modelyard.models.registry.store import Store, replace_file
from modelyard.models.types import DEFAULT_POOL, POOL_PATTERN

CONFIG = "models.config"
LEFT_OUT = "left_out.json"
UNBOUND_S = 5.0
"""How long a label that moves to a version not loaded yet is left out: for several polls of the file, 1 s apart."""

_ENTRY = re.compile(r'^  config \{ name: "(\w+)" .* specific \{ ([^}]*) \} \}(.*) \}$', re.MULTILINE)
_POOL_FILE = re.compile(rf"models\.({POOL_PATTERN})\.config")
_LABEL = re.compile(r'key: "([^"]+)" value: (\d+)')

Key = tuple[str, int]
"""Model and version."""


@dataclass(frozen=True)
class Entry:
    """One model: what is wanted of it, or what the file says."""

    versions: tuple[int, ...]
    labels: Mapping[str, int] = field(default_factory=dict)
    """Versions by label."""
    reserves: tuple[int, ...] = ()
    """Earlier stable versions, the newest first; one is loaded where none of ``versions`` is whole."""
    fault: str = ""
    """Why the entry is that of before: its rollout cannot be read."""
    pools: tuple[str, ...] = (DEFAULT_POOL,)
    """The pools that load it."""


NOTHING = Entry(())


class LeftOutVersion(FrozenModel):
    """A version, or with None a model, whose entry could not be written as its rollout wants it."""

    model: str
    version: int | None
    reason: str
    files: str = ""
    """Digest of the names, sizes and times of its files; it is checked again when they have changed."""


class LeftOutLabel(FrozenModel):
    """A label that moves when model servers have forgotten where it was."""

    model: str
    label: str
    since: float
    """Unix time."""
    pool: str = DEFAULT_POOL


class LeftOut(FrozenModel):
    """What ``models.config`` lacks, and why."""

    versions: tuple[LeftOutVersion, ...] = ()
    labels: tuple[LeftOutLabel, ...] = ()


# --- the files --------------------------------------------------------------------------------------------------------


def name_file(pool: str) -> str:
    """The file of a pool's configuration, in the store."""
    return CONFIG if pool == DEFAULT_POOL else f"models.{pool}.config"


def list_pools(store: Store) -> tuple[str, ...]:
    """The default pool, and those that have a file."""
    named = (match[1] for path in store.root.glob("models.*.config") if (match := _POOL_FILE.fullmatch(path.name)))
    return (DEFAULT_POOL, *sorted(named))


def render(store: Store, entries: Mapping[str, Entry]) -> str:
    """``ModelServerConfig`` in text format; each model a line, with specific versions only."""
    lines = (_render_entry(store.folder(model).resolve(), entry) for model, entry in entries.items())
    return "model_config_list {\n" + "".join(lines) + "}\n"


def read_entries(store: Store, pool: str = DEFAULT_POOL) -> dict[str, Entry]:
    """The entries of a pool's present file, by model; none if there is no file."""
    try:
        text = (store.root / name_file(pool)).read_text(errors="replace")
    except OSError:
        return {}
    return {model: _parse_entry(versions, labels, pool) for model, versions, labels in _ENTRY.findall(text)}


def read_present(store: Store) -> dict[str, Entry]:
    """What all pools' present files have of each model, the default pool's first."""
    found: dict[str, Entry] = {}
    for pool in list_pools(store):
        for model, entry in read_entries(store, pool).items():
            known = found.get(model)
            found[model] = entry if known is None else _merge(known, entry)
    return found


def read_left_out(store: Store) -> LeftOut:
    """What the present file lacks; nothing if that cannot be read."""
    try:
        return LeftOut.model_validate_json((store.root / LEFT_OUT).read_bytes())
    except (OSError, ValueError):
        return LeftOut()


def escape(text: str) -> str:
    """A string between double quotes of the text format."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _render_entry(base_path: Path, entry: Entry) -> str:
    versions = " ".join(f"versions: {number}" for number in entry.versions)
    labels = "".join(
        f' version_labels {{ key: "{escape(label)}" value: {version} }}'
        for label, version in sorted(entry.labels.items())
    )
    return (
        f'  config {{ name: "{base_path.name}" base_path: "{escape(str(base_path))}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ {versions} }} }}{labels} }}\n"
    )


def _parse_entry(versions: str, labels: str, pool: str) -> Entry:
    numbers = tuple(int(number) for number in re.findall(r"\d+", versions))
    return Entry(numbers, {label: int(version) for label, version in _LABEL.findall(labels)}, pools=(pool,))


def _merge(one: Entry, other: Entry) -> Entry:
    versions = tuple(sorted({*one.versions, *other.versions}))
    return Entry(versions, {**other.labels, **one.labels}, pools=(*one.pools, *other.pools))


# --- what is whole ----------------------------------------------------------------------------------------------------


def find_damage(store: Store, model: str, version: int) -> str:
    """Why a version must not be loaded, after a check of all its files; empty if it is whole."""
    try:
        store.verify(model, version)
    except ModelyardError as error:
        return str(error)
    except OSError as error:
        return f"{model} version {version} cannot be read: {error.strerror}"
    return ""


def find_obstacle(store: Store, model: str, version: int) -> str:
    """As ``find_damage``; a version that the file has was checked when it entered, and need only be there."""
    configured = version in read_present(store).get(model, NOTHING).versions
    if configured and (store.path(model, version) / manifests.FILE).exists():
        return ""
    return find_damage(store, model, version)


def _stamp(folder: Path) -> str:
    """Changes when a file below the folder does; costs no reading of contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        try:
            found = path.stat()
        except OSError:
            continue
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_mode}\n".encode(errors="replace"))
    return digest.hexdigest()


# --- what is written --------------------------------------------------------------------------------------------------


def write(store: Store, wanted: Mapping[str, Entry], damage: Mapping[Key, str] | None = None) -> LeftOut:
    """Writes the files that change; the caller holds the store's lock.

    Args:
        damage: of versions that have just been checked; others are checked if no file has them yet.

    Raises:
        StorageFailed: the store cannot be written.
    """
    files, left_out = compose(store, wanted, damage or {})
    for pool, entries in files.items():
        _replace_if_changed(store.root / name_file(pool), render(store, entries).encode())
    if left_out != read_left_out(store):
        replace_file(store.root / LEFT_OUT, left_out.model_dump_json(indent=1).encode())
    return left_out


def compose(
    store: Store, wanted: Mapping[str, Entry], damage: Mapping[Key, str]
) -> tuple[dict[str, dict[str, Entry]], LeftOut]:
    """The entries to write by pool, of each pool that has a file or gets one, and what they lack."""
    before, now = read_left_out(store), time.time()
    check = _Check(store, read_present(store), before, damage)
    pools = dict.fromkeys((*list_pools(store), *(pool for entry in wanted.values() for pool in entry.pools)))
    files: dict[str, dict[str, Entry]] = {pool: {} for pool in pools}
    present, labels = {pool: read_entries(store, pool) for pool in pools}, []
    for model, entry in wanted.items():
        check.note_fault(model, entry)
        versions = check.select_whole(model, entry)
        for pool in entry.pools:
            since = {each.label: each.since for each in before.labels if (each.model, each.pool) == (model, pool)}
            bound, waiting = bind_labels(entry.labels, versions, present[pool].get(model, NOTHING), since, now)
            labels += [LeftOutLabel(model=model, label=name, since=at, pool=pool) for name, at in waiting.items()]
            if versions:
                files[pool][model] = Entry(versions, bound, pools=(pool,))
    return files, LeftOut(versions=tuple(check.left_out), labels=tuple(labels))


def bind_labels(
    wanted: Mapping[str, int], versions: tuple[int, ...], present: Entry, since: Mapping[str, float], now: float
) -> tuple[dict[str, int], dict[str, float]]:
    """Labels that model servers will accept, and those that wait, with the times since when.

    A label moves to a version of the present file, which was loaded before it got the label. To another one, which may
    not be loaded yet, it does not: it is left out first, until model servers have forgotten it.
    """
    bound, waiting = {}, {}
    for label, version in wanted.items():
        if version not in versions:
            continue
        if label in since:
            accepted = now - since[label] >= UNBOUND_S
        else:
            accepted = present.labels.get(label, version) == version or version in present.versions
        if accepted:
            bound[label] = version
        else:
            waiting[label] = since.get(label, now)
    return bound, waiting


class _Check:
    """Which versions are whole; remembers which are not."""

    def __init__(self, store: Store, present: Mapping[str, Entry], before: LeftOut, damage: Mapping[Key, str]) -> None:
        self._store, self._present, self._damage = store, present, damage
        self._before = {(each.model, each.version): each for each in before.versions}
        self.left_out: list[LeftOutVersion] = []

    def note_fault(self, model: str, entry: Entry) -> None:
        if entry.fault:
            self.left_out.append(LeftOutVersion(model=model, version=None, reason=entry.fault))

    def select_whole(self, model: str, entry: Entry) -> tuple[int, ...]:
        """The wanted versions that are whole; else the newest reserve that is."""
        found = tuple(version for version in entry.versions if self._is_whole(model, version))
        if found or not entry.versions:
            return found
        published = set(self._store.versions(model))
        return next(((each,) for each in entry.reserves if each in published and self._is_whole(model, each)), ())

    def _is_whole(self, model: str, version: int) -> bool:
        reason = self._find_damage(model, version)
        if reason:
            stamp = _stamp(self._store.path(model, version))
            self.left_out.append(LeftOutVersion(model=model, version=version, reason=reason, files=stamp))
        return not reason

    def _find_damage(self, model: str, version: int) -> str:
        if (model, version) in self._damage:
            return self._damage[model, version]
        if version in self._present.get(model, NOTHING).versions:
            return ""  # checked when it entered; a folder that is away for a moment must unload nothing
        known = self._before.get((model, version))
        if known and known.files == _stamp(self._store.path(model, version)):
            return known.reason
        return find_damage(self._store, model, version)


def _replace_if_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        replace_file(path, content)
