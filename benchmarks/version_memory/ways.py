"""The two ways in which versions of a model come and go under ``modelyard serve``."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from tests.support.versions import publish_copy

BY = "benchmarks.swaps"


class Versions(Protocol):
    """Where versions come and go."""

    arguments: tuple[str, ...]
    """Of ``modelyard serve``."""

    def publish(self, version: int) -> None: ...
    def promote(self, version: int) -> None: ...
    def retire(self, version: int) -> None: ...


class InFolder:
    """TensorFlow Serving's way: what lies in the folder is loaded, and the highest number answers."""

    def __init__(self, model: str, saved: Path, work: Path) -> None:
        self._model, self._saved, self._folder = model, saved, work / "models" / model
        self._folder.mkdir(parents=True)
        config = work / "models.config"
        entry = f'name: "{self._model}" base_path: "{self._folder}" model_platform: "tensorflow"'
        config.write_text(f"model_config_list {{ config {{ {entry} model_version_policy {{ all {{}} }} }} }}")
        self.arguments: tuple[str, ...] = (f"--model-config={config}",)
        self.publish(1)

    def publish(self, version: int) -> None:
        staged = self._folder / ".staged"
        shutil.copytree(self._saved / str(version), staged)
        staged.rename(self._folder / str(version))

    def promote(self, version: int) -> None:
        """Its number does that."""

    def retire(self, version: int) -> None:
        gone = (self._folder / str(version)).rename(self._folder / ".gone")
        shutil.rmtree(gone)


class InRollout:
    """Our way: published versions stay, ``rollout.json`` says which are loaded and which one answers."""

    def __init__(self, model: str, saved: Path, work: Path) -> None:
        self._model, self._saved, self._store = model, saved, Store(work / "store")
        self._store.folder(self._model).mkdir(parents=True)
        self.publish(1)
        self.promote(1)
        self.arguments: tuple[str, ...] = (f"--models-dir={self._store.root}",)

    def publish(self, version: int) -> None:
        if version not in self._store.versions(self._model):
            publish_copy(self._store, self._model, self._saved / str(version))
        change_rollout(self._store, self._model, lambda now: now.preload(version))

    def promote(self, version: int) -> None:
        change_rollout(self._store, self._model, lambda now: now.promote(version, by=BY, reason="swap"))

    def retire(self, version: int) -> None:
        change_rollout(self._store, self._model, lambda now: now.reject(version, by=BY, reason="swap"))


WAYS: dict[str, Callable[[str, Path, Path], Versions]] = {"folder": InFolder, "rollout": InRollout}
