"""A version whose files are those of its manifest, and whose graph no model server can load."""

import shutil

from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.store import Store


def publish_broken(store: Store, model: str, like: int) -> int:
    """Its number; all but the graph is another version's."""
    known = store.manifest(model, like)

    def seal(version: int, files: dict[str, str]) -> Manifest:
        return known.model_copy(update={"version": version, "files": files, "job": None})

    with store.staging(model) as staged:
        shutil.copytree(store.path(model, like), staged, dirs_exist_ok=True)
        (staged / manifests.FILE).unlink()
        (staged / "saved_model.pb").write_bytes(b"no graph")
        return store.publish(staged, seal).version
