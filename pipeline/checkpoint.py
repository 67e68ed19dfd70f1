"""What a run needs to go on after its process was killed: one folder for each epoch, whole or absent.

    <folder>/epoch-0003/variables.npz     weights, optimiser and random state as training goes on with them
                        kept.weights.h5   the weights to export if training ended now
                        checkpoint.json   history and time so far; checksums of the other two; written last

Everything else follows from these: which epoch was the best, and how long none was better. Keras's ``BackupAndRestore``
forgets what its callbacks knew, so that a best model can be replaced by a worse one (keras-team/keras#17012).
"""

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from pydantic import BaseModel, ConfigDict

from modelyard.models.registry.store import flush, flush_tree, rename_no_replace
from modelyard.models.spec import Recipe
from modelyard.models.types import Array

VARIABLES, KEPT, META = "variables.npz", "kept.weights.h5", "checkpoint.json"
WHOLE = "epoch-[0-9]*"
NEWEST = 2
"""How many stay: an older one than the newest, in case that one is found damaged."""

History = tuple[dict[str, float], ...]


class Checkpoint(BaseModel):
    """``checkpoint.json``."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")  # a loss may be NaN

    history: History = ()
    """Per finished epoch: loss and metrics on the training and (``val_``) validation split."""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    """What fitting has taken so far, over all attempts."""
    started_from: int | None = None
    """The version whose weights the first epoch began with; None for random ones."""
    files: dict[str, str] = {}
    """SHA-256 by name."""

    @property
    def epoch(self) -> int:
        """Epochs that are finished."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the least validation loss, from 1 on; 0 before there is one."""
        losses = [epoch["val_loss"] for epoch in self.history]
        return 1 + losses.index(min(losses)) if losses else 0

    def kept_epoch(self, recipe: Recipe) -> int:
        """The epoch whose weights are exported if training ends now."""
        return self.epoch if recipe.keep == "last" else self.best_epoch

    def ends(self, recipe: Recipe) -> bool:
        """Whether training is over: all epochs done, or none better for ``patience`` of them."""
        hopeless = recipe.patience and self.epoch > 1 and self.epoch - self.best_epoch >= recipe.patience
        return self.epoch >= recipe.epochs or bool(hopeless)


class Checkpoints:
    """Those of one run, newest last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".partial-*"):
            shutil.rmtree(left, ignore_errors=True)

    def newest(self) -> Checkpoint:
        """The newest one that is whole, or an empty one; those that are damaged are removed."""
        for path in sorted(self._folder.glob(WHOLE), reverse=True):
            try:
                found = Checkpoint.model_validate_json((path / META).read_bytes())
                if found.files == checksums(path):
                    return found
            except (OSError, ValueError):
                pass  # removed, as one whose checksums differ
            shutil.rmtree(path)
        return Checkpoint()

    def kept(self, epoch: int) -> Path:
        """The weights to export after this epoch."""
        return self._path(epoch) / KEPT

    def restore(self, model: Any, epoch: int) -> bool:
        """Puts a compiled model where it was after ``epoch``; False, and nothing is changed, if it is another one."""
        with np.load(self._path(epoch) / VARIABLES, allow_pickle=False) as found:
            variables = dict(variables_of(model))
            if {name: variable.shape for name, variable in variables.items()} != shapes(found):
                return False
            for name, variable in variables.items():
                variable.assign(found[name])
        return True

    def write(self, model: Any, variables: Mapping[str, Array], meta: Checkpoint, *, keep: bool) -> None:
        """Adds the checkpoint of an epoch; one of the same epoch, by an attempt that was thought lost, stays.

        Args:
            variables: as ``variables_of``.
            keep: whether the model's weights of now are those to export; else the previous epoch's are.
        """
        partial = self._folder / f".partial-{secrets.token_hex(4)}"
        partial.mkdir()
        np.savez(partial / VARIABLES, allow_pickle=False, **variables)
        if keep:
            model.save_weights(partial / KEPT)
        else:
            shutil.copyfile(self.kept(meta.epoch - 1), partial / KEPT)
        meta = meta.model_copy(update={"files": checksums(partial)})
        (partial / META).write_text(meta.model_dump_json())
        flush_tree(partial)
        if not rename_no_replace(partial, self._path(meta.epoch)):
            shutil.rmtree(partial)
        flush(self._folder)
        for path in self._folder.glob(WHOLE):
            if path.name <= self._path(meta.epoch - NEWEST).name:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:04d}"


def variables_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Every variable that the next batch depends on, under a name that does not change from process to process."""
    for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
        for number, variable in enumerate(variables):
            yield f"{kind}/{number:04d}", variable


def values_of(model: Any) -> dict[str, Array]:
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in variables_of(model)}


def shapes(archive: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in archive.items()}


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of what a checkpoint consists of, by name."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (VARIABLES, KEPT)}
