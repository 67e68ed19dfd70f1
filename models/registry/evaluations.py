"""Evaluations on disk: of versions, inside them; of rejected jobs, beside them, as many as are worth keeping.

<store>/<model>/<version>/assets.extra/evaluation.json
<store>/<model>/.rejected/<job>.json
"""

from pathlib import Path

from modelyard.models.errors import UnknownName
from modelyard.models.registry.store import Store, replace_file

FILE = "assets.extra/evaluation.json"
REJECTED = ".rejected"
MAX_REJECTED = 20
"""Evaluations of rejected jobs that are kept for each model, the newest."""


def read_evaluation(store: Store, model: str, version: int) -> bytes:
    """The JSON of a version's evaluation; raises ``UnknownName`` if it has none."""
    path = store.path(model, version) / FILE
    return _read(path, f"version {version} of {model} has no evaluation")


def keep_rejected(store: Store, model: str, job: str, content: bytes) -> None:
    """Keeps the JSON of a rejected job's evaluation, and deletes the oldest where there are too many."""
    folder = store.root / model / REJECTED
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{job}.json", content)
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in kept[MAX_REJECTED:]:
        path.unlink(missing_ok=True)


def read_rejected(store: Store, model: str, job: str) -> bytes:
    """The JSON of a rejected job's evaluation; raises ``UnknownName`` if it is not kept."""
    return _read(store.root / model / REJECTED / f"{job}.json", f"no evaluation of {job} is kept")


def _read(path: Path, missing: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UnknownName(missing) from None
