"""Evaluations on disk: of versions, inside them; of rejected jobs, beside them, as many as are worth keeping.

<store>/<model>/<version>/assets.extra/evaluation.json, mistakes.jsonl
<store>/<model>/.rejected/<job>.json, <job>.mistakes.jsonl
"""

from pathlib import Path

from modelyard.models.errors import UnknownName
from modelyard.models.registry.store import Store, replace_file

FILE = "assets.extra/evaluation.json"
MISTAKES_FILE = "assets.extra/mistakes.jsonl"
"""One wrong answer a line, the worst first: of each kind, as many as are kept."""
REJECTED = ".rejected"
MISTAKES_SUFFIX = ".mistakes.jsonl"
MAX_REJECTED = 20
"""Evaluations of rejected jobs that are kept for each model, the newest."""


def read_evaluation(store: Store, model: str, version: int) -> bytes:
    """The JSON of a version's evaluation; raises ``UnknownName`` if it has none."""
    path = store.path(model, version) / FILE
    return _read(path, f"version {version} of {model} has no evaluation")


def read_mistakes(store: Store, model: str, version: int) -> list[bytes] | None:
    """The mistakes of a version, one a line of JSON; None for one of a release that kept only the worst."""
    return _read_lines(store.path(model, version) / MISTAKES_FILE)


def keep_rejected(store: Store, model: str, job: str, content: bytes, mistakes: bytes | None = None) -> None:
    """Keeps the JSON of a rejected job's evaluation, and its mistakes; deletes the oldest where there are too many."""
    folder = store.root / model / REJECTED
    folder.mkdir(parents=True, exist_ok=True)
    if mistakes is not None:
        _write(store, folder / f"{job}{MISTAKES_SUFFIX}", mistakes)
    _write(store, folder / f"{job}.json", content)
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in kept[MAX_REJECTED:]:
        store.remove_file(path.with_suffix(MISTAKES_SUFFIX))
        store.remove_file(path)


def _write(store: Store, path: Path, content: bytes) -> None:
    store.change_file(path, lambda: replace_file(path, content))


def read_rejected(store: Store, model: str, job: str) -> bytes:
    """The JSON of a rejected job's evaluation; raises ``UnknownName`` if it is not kept."""
    return _read(store.root / model / REJECTED / f"{job}.json", f"no evaluation of {job} is kept")


def read_rejected_mistakes(store: Store, model: str, job: str) -> list[bytes] | None:
    """The same as ``read_mistakes``, of a rejected job."""
    return _read_lines(store.root / model / REJECTED / f"{job}{MISTAKES_SUFFIX}")


def _read(path: Path, missing: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UnknownName(missing) from None


def _read_lines(path: Path) -> list[bytes] | None:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return None
